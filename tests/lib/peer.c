/* peer.c: the other ends of streams, and what goes between them. */
#include "core.h"
#include "nxt_net.h"
#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define CHUNK 65536u

/* ---- tasks ---- */

nx_task nxt_task_on(int worker, nx_task_fn fn, void *arg)
{
    nx_task task = nx_spawn_with(NXT_WITH(.worker_plus_1 = worker + 1), fn, arg);
    nxt_expect_gt(task, 0);
    return task;
}

intptr_t nxt_result(nx_task task)
{
    intptr_t result = INTPTR_MIN;
    if (nxt_expect_gt(task, 0))
        nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0);
    return result;
}

static bool is_parked(nx_task id)
{
    uint64_t ctl;
    struct nxi_task *task = nxi_task_find(id, &ctl);
    return !task || ctl & NXI_CTL_DONE || atomic_load(&task->state) == NXI_PARKED;
}

void nxt_await_parked(nx_task task)
{
    nxt_await(is_parked(task));
}

/* ---- streams ---- */

nx_stream *nxt_stream_of(int fd)
{
    nx_stream *stream = NULL;
    int error = nx_stream_from_fd(fd, &stream);
    if (!nxt_expect_eq(error, 0))
        close(fd);
    return error < 0 ? NULL : stream;
}

bool nxt_stream_pair(nx_stream *ret_streams[2])
{
    int fds[2];
    if (!nxt_socketpair(fds))
        return false;
    ret_streams[0] = nxt_stream_of(fds[0]);
    ret_streams[1] = nxt_stream_of(fds[1]);
    return ret_streams[0] && ret_streams[1];
}

nx_stream *nxt_unix_stream(int *ret_peer)
{
    int fds[2];
    if (!nxt_socketpair(fds))
        return NULL;
    nx_stream *stream = nxt_stream_of(fds[0]);
    if (!stream)
        close(fds[1]);
    *ret_peer = stream ? fds[1] : -1;
    return stream;
}

bool nxt_tcp_pair(int ret_fds[2])
{
    uint16_t port;
    int listener = nxt_listen(1, &port);
    if (listener < 0)
        return false;
    ret_fds[0] = nxt_connect(port);
    ret_fds[1] = ret_fds[0] < 0 ? -1 : nxt_accept(listener);
    close(listener);
    if (ret_fds[1] < 0)
        nxt_close_fd(&ret_fds[0]);
    return ret_fds[1] >= 0;
}

nx_stream *nxt_tcp_stream(int *ret_peer)
{
    int fds[2];
    if (!nxt_tcp_pair(fds))
        return NULL;
    nx_stream *stream = nxt_stream_of(fds[0]);
    if (!stream)
        close(fds[1]);
    *ret_peer = stream ? fds[1] : -1;
    return stream;
}

void nxt_small_buffers(int fd)
{
    int size = 1; /* the kernel makes it its least */
    nxt_expect_eq(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
    nxt_expect_eq(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)), 0);
}

void nxt_reset(int *fd)
{
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    nxt_expect_eq(setsockopt(*fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
    nxt_close_fd(fd);
}

bool nxt_set_nonblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return nxt_expect(flags >= 0 && fcntl(fd, F_SETFL, flags | O_NONBLOCK) == 0);
}

int nxt_unread(int fd)
{
    int count = -1;
    nxt_expect_eq(ioctl(fd, FIONREAD, &count), 0);
    return count;
}

nx_listener *nxt_listen_on(const char *addr, char *ret_text, size_t size)
{
    nx_listener *listener = NULL;
    nx_addr where;
    if (!nxt_expect_eq(nx_listen(addr, NULL, &listener), 0))
        return NULL;
    if (nxt_expect_eq(nx_listener_addr(listener, &where), 0))
        nxt_expect_gt(nx_addr_format(&where, ret_text, size), 0);
    return listener;
}

static void listens(const nx_addr *addr, void *arg)
{
    struct nxt_server *server = arg;
    nx_addr_format(addr, server->where, sizeof(server->where));
    atomic_store(&server->listens, true);
}

static intptr_t serve(void *arg)
{
    struct nxt_server *server = arg;
    nx_serve_options options = {.size = sizeof(options), .on_listen = listens};
    int error = nx_serve("127.0.0.1:0", &options, server->on_conn, server, NX_FOREVER);
    atomic_store(&server->listens, true); /* if it could not, who waits for it goes on and fails */
    return error;
}

/* Without a sleep: some tests watch the clock. */
void nxt_server_start(struct nxt_server *server, intptr_t (*on_conn)(nx_stream *, void *))
{
    server->on_conn = on_conn;
    server->where[0] = '\0';
    atomic_init(&server->listens, false);
    server->task = nx_spawn(serve, server);
    while (!atomic_load(&server->listens))
        nx_yield();
}

void nxt_server_stop(struct nxt_server *server)
{
    nx_cancel(server->task);
    nxt_expect_eq(nxt_result(server->task), 0);
}

/* ---- flows ---- */

static size_t next_chunk(const struct nxt_flow *flow, size_t done)
{
    size_t chunk = flow->chunk ? flow->chunk : CHUNK, left = flow->len - done;
    return flow->len > 0 && left < chunk ? left : chunk;
}

static void check_bytes(struct nxt_flow *flow, const void *bytes, size_t len)
{
    size_t good = nxt_check_fill(bytes, len, flow->offset, flow->seed);
    if (good < len)
        nxt_fail(__FILE__, __LINE__, "byte %llu of flow %u is wrong", (unsigned long long)(flow->offset + good),
                 flow->seed);
    flow->offset += len;
}

intptr_t nxt_flow_send(void *arg)
{
    struct nxt_flow *flow = arg;
    size_t done = 0;
    char *buffer = malloc(flow->chunk ? flow->chunk : CHUNK);
    while (done < flow->len) {
        size_t size = next_chunk(flow, done);
        nxt_fill(buffer, size, flow->offset, flow->seed);
        if (!nxt_write_all(flow->fd, buffer, size))
            break;
        done += size;
        flow->offset += size;
        if (flow->pause_ns > 0)
            nanosleep(&(struct timespec){.tv_nsec = flow->pause_ns}, NULL);
    }
    free(buffer);
    return (intptr_t)done;
}

intptr_t nxt_flow_receive(void *arg)
{
    struct nxt_flow *flow = arg;
    size_t done = 0;
    char *buffer = malloc(flow->chunk ? flow->chunk : CHUNK);
    while (flow->len == 0 || done < flow->len) {
        ssize_t got = read(flow->fd, buffer, next_chunk(flow, done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        check_bytes(flow, buffer, (size_t)got);
        done += (size_t)got;
        if (flow->pause_ns > 0)
            nanosleep(&(struct timespec){.tv_nsec = flow->pause_ns}, NULL);
    }
    free(buffer);
    return (intptr_t)done;
}

intptr_t nxt_stream_send(void *arg)
{
    struct nxt_stream_flow *self = arg;
    size_t done = 0;
    ssize_t sent = 0;
    char *buffer = malloc(self->flow.chunk ? self->flow.chunk : CHUNK);
    while (done < self->flow.len && sent >= 0) {
        size_t size = next_chunk(&self->flow, done);
        nxt_fill(buffer, size, self->flow.offset, self->flow.seed);
        sent = nx_write(self->stream, buffer, size, NX_FOREVER);
        done += sent > 0 ? (size_t)sent : 0;
        self->flow.offset += sent > 0 ? (size_t)sent : 0;
    }
    free(buffer);
    return sent < 0 ? (intptr_t)sent : (intptr_t)done;
}

intptr_t nxt_stream_receive(void *arg)
{
    struct nxt_stream_flow *self = arg;
    size_t done = 0;
    ssize_t got = 1;
    char *buffer = malloc(self->flow.chunk ? self->flow.chunk : CHUNK);
    while ((self->flow.len == 0 || done < self->flow.len) && got > 0) {
        got = nx_read(self->stream, buffer, next_chunk(&self->flow, done), NX_FOREVER);
        if (got > 0)
            check_bytes(&self->flow, buffer, (size_t)got);
        done += got > 0 ? (size_t)got : 0;
    }
    free(buffer);
    return got < 0 ? (intptr_t)got : (intptr_t)done;
}

/* ---- the process ---- */

bool nxt_deny(int number, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ((uint32_t)error & SECCOMP_RET_DATA)),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = NXT_COUNT(code), .filter = code};
    return nxt_expect_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0) &&
           nxt_expect_eq(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &program), 0);
}

const char *nxt_env(const char *name, int64_t value)
{
    static char texts[4][96];
    static unsigned next;
    char *text = texts[next++ % NXT_COUNT(texts)];
    snprintf(text, sizeof(texts[0]), "%s=%lld", name, (long long)value);
    return text;
}

int nxt_open_fds(void)
{
    DIR *directory = opendir("/proc/self/fd");
    int count = -1; /* that of the folder itself */
    if (!directory)
        return -1;
    for (struct dirent *entry; (entry = readdir(directory));)
        count += entry->d_name[0] != '.';
    closedir(directory);
    return count;
}

static unsigned birth; /* apart from an earlier process of the same id, which may have been killed and left its files */

__attribute__((constructor)) static void note_birth(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    birth = (unsigned)(now.tv_nsec >> 10) & 0xfffff;
}

const char *nxt_temp_path(const char *name)
{
    static _Thread_local char text[100];
    const char *folder = getenv("TMPDIR");
    if (!folder || strlen(folder) > 60) /* a Unix socket's path has 107 bytes */
        folder = "/tmp";
    snprintf(text, sizeof(text), "%s/nxt-%d-%05x-%s", folder, (int)getpid(), birth, name);
    return text;
}
