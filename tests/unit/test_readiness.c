/*
 * The readiness adapter (backends/readiness/), driven through struct nx_driver_ops as the core drives it, with real
 * sockets. Each case runs on three pollers: epoll, epoll with its timerfd, and the one-shot poll(2) poller below.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <nexus/readiness.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define DRIVER_ID 7
#define MS INT64_C(1000000)
#define PATIENCE (20000 * MS) /* until a missing completion is a failure */

extern const struct nx_plugin nexus_plugin_epoll;

/* ---- the host ---- */

static atomic_llong live_bytes, allocations;

static void *host_alloc(size_t size, size_t align)
{
    void *memory = NULL;
    if (posix_memalign(&memory, align < sizeof(void *) ? sizeof(void *) : align, size))
        return NULL;
    atomic_fetch_add(&live_bytes, (long long)size);
    atomic_fetch_add(&allocations, 1);
    return memset(memory, 0, size);
}

static void host_free(void *memory, size_t size)
{
    if (memory)
        atomic_fetch_sub(&live_bytes, (long long)size);
    free(memory);
}

static nx_time host_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (nx_time)ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

struct nx_config {
    const char *pwait2;
};

static const char *host_param(const struct nx_config *config, const char *name)
{
    if (strcmp(name, "pwait2") == 0)
        return config->pwait2;
    return strcmp(name, "events") == 0 ? "64" : NULL;
}

static const struct nx_host host = {
    .size = sizeof(host), .now = host_now, .alloc = host_alloc, .free = host_free, .param = host_param};

/* ---- a one-shot poller on poll(2) ---- */

enum { POLLER_MAX = 1024 };

struct nx_poller {
    const struct nx_host *host;
    int bell[2];
    atomic_bool rung;
    uint32_t count;
    struct pollfd fds[POLLER_MAX + 1]; /* the last is the bell, while waiting */
    uint64_t tokens[POLLER_MAX];
};

static int once_open(const struct nx_host *poller_host, const struct nx_config *config, struct nx_poller **ret_poller,
                     struct nx_reason *ret_reason)
{
    (void)config, (void)ret_reason;
    struct nx_poller *poller = poller_host->alloc(sizeof(*poller), 0);
    if (pipe2(poller->bell, O_CLOEXEC | O_NONBLOCK) < 0)
        abort();
    poller->host = poller_host;
    *ret_poller = poller;
    return 0;
}

static void once_close(struct nx_poller *poller)
{
    close(poller->bell[0]);
    close(poller->bell[1]);
    poller->host->free(poller, sizeof(*poller));
}

/* The watch of a descriptor, in poll's list or passed over by it; poller->count: there is none. */
static uint32_t find_watch(const struct nx_poller *poller, int32_t fd)
{
    uint32_t i = 0;
    while (i < poller->count && poller->fds[i].fd != fd && poller->fds[i].fd != ~fd)
        i++;
    return i;
}

static int once_watch(struct nx_poller *poller, int32_t fd, uint32_t events, uint64_t token)
{
    short wanted = (short)((events & NX_READY_IN ? POLLIN : 0) | (events & NX_READY_OUT ? POLLOUT : 0));
    uint32_t i = find_watch(poller, fd);
    if (i == POLLER_MAX)
        return -ENOSPC;
    if (i < poller->count && poller->tokens[i] != token)
        return -EEXIST;
    if (i == poller->count) {
        poller->fds[i].events = 0;
        poller->tokens[poller->count++] = token;
    }
    poller->fds[i].fd = fd;
    poller->fds[i].events |= wanted;
    return 0;
}

static void once_unwatch(struct nx_poller *poller, int32_t fd)
{
    uint32_t i = find_watch(poller, fd);
    if (i == poller->count)
        return;
    poller->fds[i] = poller->fds[--poller->count];
    poller->tokens[i] = poller->tokens[poller->count];
}

/* Whether the poller asks a socket that has an error for it, and so takes it away, as libkqueue does. */
static bool takes_errors;

static uint32_t error_of(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);
    return takes_errors && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 ? (uint32_t)error : 0;
}

static uint32_t once_wait(struct nx_poller *poller, struct nx_ready_event *out, uint32_t max, nx_time until)
{
    uint32_t count = 0;
    int timeout = -1;
    char byte;

    if (until != NX_FOREVER) {
        nx_time left = until == NX_POLL ? 0 : until - poller->host->now();
        timeout = left <= 0 ? 0 : (int)((left + MS - 1) / MS);
    }
    poller->fds[poller->count] = (struct pollfd){.fd = poller->bell[0], .events = POLLIN};
    if (poll(poller->fds, poller->count + 1, timeout) <= 0)
        return 0;
    if (poller->fds[poller->count].revents) {
        while (read(poller->bell[0], &byte, 1) > 0)
            ;
        atomic_store(&poller->rung, false);
    }
    for (uint32_t i = 0; i < poller->count && count < max; i++) {
        struct pollfd *pfd = &poller->fds[i];
        if (!pfd->revents)
            continue;
        out[count++] = (struct nx_ready_event){.token = poller->tokens[i],
                                               .events = (pfd->revents & POLLIN ? NX_READY_IN : 0) |
                                                         (pfd->revents & POLLOUT ? NX_READY_OUT : 0) |
                                                         (pfd->revents & (POLLHUP | POLLERR) ? NX_READY_HUP : 0)};
        if (pfd->revents & POLLERR)
            out[count - 1].error = error_of(pfd->fd);
        pfd->events &= (short)~pfd->revents;
        if (!pfd->events || (pfd->revents & (POLLHUP | POLLERR))) {
            pfd->events = 0;
            pfd->fd = ~pfd->fd; /* poll passes over it */
        }
        pfd->revents = 0;
    }
    return count;
}

static void once_wake(struct nx_poller *poller)
{
    if (!atomic_exchange(&poller->rung, true))
        (void)!write(poller->bell[1], "", 1);
}

static const struct nx_poller_ops once_ops = {
    .size = sizeof(once_ops),
    .flags = NX_POLLER_ONESHOT,
    .open = once_open,
    .close = once_close,
    .watch = once_watch,
    .unwatch = once_unwatch,
    .wait = once_wait,
    .wake = once_wake,
};

NX_READINESS_DRIVER(once_driver_ops, once_ops, NX_DOMAIN_NETWORK | NX_DOMAIN_FOREIGN);

/* ---- the fixture ---- */

enum kind { EPOLL, EPOLL_TIMERFD, ONCE, TAKES_ERRORS };
static enum kind kinds[] = {EPOLL, EPOLL_TIMERFD, ONCE, TAKES_ERRORS};

struct fixture {
    enum kind kind;
    const struct nx_driver_ops *ops;
    struct nx_config config;
    struct nx_driver *driver;
    struct nx_ctx *ctx;
    int fds_before;
};

static int open_fd_count(void)
{
    int count = 0;
    for (int fd = 0; fd < 4096; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static int set_up(void **state)
{
    static struct fixture fixture;
    struct nx_reason reason = {0};
    struct fixture *f = &fixture;
    *f = (struct fixture){.kind = *(enum kind *)*state, .fds_before = open_fd_count()};
    f->ops = f->kind >= ONCE ? &once_driver_ops : nexus_plugin_epoll.ops;
    takes_errors = f->kind == TAKES_ERRORS;
    f->config.pwait2 = f->kind == EPOLL_TIMERFD ? "0" : "1";
    if (f->ops->open(&host, &f->config, DRIVER_ID, &f->driver, &reason) < 0 ||
        f->ops->ctx_open(f->driver, 0, &f->ctx, &reason) < 0)
        return -1;
    *state = f;
    return 0;
}

/* Audits too: every byte and every descriptor is back. */
static int tear_down(void **state)
{
    struct fixture *f = *state;
    f->ops->ctx_close(f->ctx);
    f->ops->close(f->driver);
    if (atomic_load(&live_bytes) != 0 || open_fd_count() != f->fds_before) {
        print_error("left over: %lld bytes, %d descriptors\n", atomic_load(&live_bytes),
                    open_fd_count() - f->fds_before);
        return -1;
    }
    return 0;
}

static uint64_t stat_of(struct fixture *f, const char *name)
{
    struct nx_stat stats[16];
    uint32_t count = f->ops->stats(f->ctx, stats, 16);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(stats[i].name, name) == 0)
            return stats[i].value;
    fail_msg("no stat %s", name);
    return 0;
}

static struct nx_op make_op(uint16_t code, nx_handle handle, void *data, uint32_t len)
{
    return (struct nx_op){.code = code, .handle = handle, .data = data, .len = len};
}

/* Submits what must not complete inline. */
static void submit_pending(struct fixture *f, struct nx_op *op)
{
    struct nx_completion completion;
    assert_int_equal(f->ops->submit(f->ctx, op, &completion), 0);
}

/* Submits what must. */
static int64_t submit_inline(struct fixture *f, struct nx_op *op)
{
    struct nx_completion completion;
    assert_int_equal(f->ops->submit(f->ctx, op, &completion), 1);
    assert_ptr_equal(completion.op, op);
    assert_int_equal(completion.flags, 0);
    return completion.result;
}

/* One turn of a core's loop that has nothing else to do: by the book of arm and wait. */
static uint32_t turn(struct fixture *f, struct nx_completion *out, uint32_t max, nx_time until)
{
    if (f->ops->arm(f->ctx) == -EAGAIN) {
        f->ops->disarm(f->ctx);
        return f->ops->poll(f->ctx, out, max);
    }
    return f->ops->wait(f->ctx, out, max, until);
}

/* The next completion, of whatever op. */
static struct nx_completion next_completion(struct fixture *f)
{
    struct nx_completion completion = {0};
    nx_time until = host_now() + PATIENCE;
    while (turn(f, &completion, 1, until) == 0)
        if (host_now() > until)
            fail_msg("no completion");
    return completion;
}

static int64_t await(struct fixture *f, struct nx_op *op)
{
    struct nx_completion completion = next_completion(f);
    assert_ptr_equal(completion.op, op);
    assert_int_equal(completion.flags, 0);
    return completion.result;
}

static int64_t run(struct fixture *f, struct nx_op *op)
{
    struct nx_completion completion;
    int r = f->ops->submit(f->ctx, op, &completion);
    if (r == 0)
        return await(f, op);
    assert_int_equal(r, 1);
    return completion.result;
}

/* Nothing comes, although the driver had its chance. */
static void assert_quiet(struct fixture *f)
{
    struct nx_completion completion;
    for (int i = 0; i < 3; i++)
        assert_int_equal(f->ops->poll(f->ctx, &completion, 1), 0);
    assert_int_equal(f->ops->arm(f->ctx), 0);
    f->ops->disarm(f->ctx);
}

static nx_handle import(struct fixture *f, int fd, uint32_t flags)
{
    nx_handle handle;
    assert_int_equal(f->ops->import_fd(f->ctx, fd, flags, &handle), 0);
    return handle;
}

static void close_handle(struct fixture *f, nx_handle handle)
{
    struct nx_op op = make_op(NX_OP_CLOSE, handle, NULL, 0);
    assert_int_equal(submit_inline(f, &op), 0);
}

static void keep_handle(struct fixture *f, nx_handle handle)
{
    struct nx_op op = make_op(NX_OP_CLOSE, handle, NULL, 0);
    op.arg = NX_CLOSE_KEEP;
    assert_int_equal(submit_inline(f, &op), 0);
}

/* Two connected TCP sockets, on loopback. */
static void tcp_pair(int fds[2])
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&sa, &len), 0);
    fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fds[1], (struct sockaddr *)&sa, len), 0);
    fds[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fds[0] >= 0);
    close(listener);
}

static void unix_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

/* A handle on one end, the other as a plain descriptor. */
static nx_handle tcp_stream(struct fixture *f, int *ret_peer)
{
    int fds[2];
    tcp_pair(fds);
    *ret_peer = fds[1];
    return import(f, fds[0], 0);
}

static void say(int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static nx_handle tcp_listener(struct fixture *f, struct nx_addr *ret_addr)
{
    nx_handle handle;
    struct nx_addr addr = {.family = NX_AF_INET, .len = 4, .data = {127, 0, 0, 1}};
    assert_int_equal(f->ops->socket(f->ctx, NX_AF_INET, NX_SOCK_STREAM, &handle), 0);
    assert_int_equal(f->ops->option(f->ctx, handle, NX_OPTION_REUSE_ADDR, 1), 0);
    assert_int_equal(f->ops->bind(f->ctx, handle, &addr), 0);
    assert_int_equal(f->ops->listen(f->ctx, handle, 512), 0);
    assert_int_equal(f->ops->name(f->ctx, handle, 0, ret_addr), 0);
    return handle;
}

static int tcp_client(const struct nx_addr *addr)
{
    struct sockaddr_storage sa;
    int len = nx_fds_to_sockaddr(addr, &sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, (socklen_t)len), 0);
    return fd;
}

/* ---- reading ---- */

static void a_read_of_waiting_bytes_completes_inline(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    int peer;
    nx_handle stream = tcp_stream(f, &peer);
    say(peer, "hello");
    struct nx_op op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    assert_int_equal(submit_inline(f, &op), 5);
    assert_memory_equal(buf, "hello", 5);
    close_handle(f, stream);
    close(peer);
}

static void a_read_waits_for_bytes_and_gets_them(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    int peer;
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    for (int i = 0; i < 3; i++) {
        submit_pending(f, &op);
        assert_quiet(f);
        say(peer, "abc");
        assert_int_equal(await(f, &op), 3);
    }
    close_handle(f, stream);
    close(peer);
}

static void in_steady_state_an_echo_is_one_recv_and_one_send_and_nothing_else(void **state)
{
    struct fixture *f = *state;
    char buf[64], back[64];
    int peer;
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op read_op = make_op(NX_OP_READ, stream, buf, sizeof(buf)), write_op;
    submit_pending(f, &read_op);
    uint64_t watches = 0, calls = 0, again = 0;
    long long allocated = 0;
    enum { WARM_UP = 2, REQUESTS = 500 };
    for (int i = 0; i < WARM_UP + REQUESTS; i++) {
        if (i == WARM_UP) {
            watches = stat_of(f, "watches");
            calls = stat_of(f, "calls");
            again = stat_of(f, "again");
            allocated = atomic_load(&allocations);
        }
        say(peer, "request");
        assert_int_equal(await(f, &read_op), 7);
        write_op = make_op(NX_OP_WRITE, stream, buf, 7);
        assert_int_equal(submit_inline(f, &write_op), 7);
        read_op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
        submit_pending(f, &read_op);
        assert_int_equal(read(peer, back, sizeof(back)), 7);
    }
    assert_int_equal(stat_of(f, "calls") - calls, 2 * REQUESTS);
    assert_int_equal(stat_of(f, "again") - again, 0);
    assert_int_equal(stat_of(f, "stale"), 0);
    assert_int_equal(stat_of(f, "watches") - watches, f->kind >= ONCE ? REQUESTS : 0);
    assert_int_equal(atomic_load(&allocations), allocated);
    close(peer);
    assert_int_equal(await(f, &read_op), 0);
    close_handle(f, stream);
}

static void reads_complete_in_the_order_of_their_submission(void **state)
{
    struct fixture *f = *state;
    char buf[3];
    int peer;
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op ops[3];
    for (int i = 0; i < 3; i++) {
        ops[i] = make_op(NX_OP_READ, stream, &buf[i], 1);
        submit_pending(f, &ops[i]);
    }
    say(peer, "xyz");
    for (int i = 0; i < 3; i++)
        assert_int_equal(await(f, &ops[i]), 1);
    assert_memory_equal(buf, "xyz", 3);
    close_handle(f, stream);
    close(peer);
}

static void a_nowait_read_makes_the_call_whatever_was_known(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    int peer;
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    op.flags = NX_OP_NOWAIT;
    assert_int_equal(submit_inline(f, &op), -EAGAIN);
    assert_int_equal(submit_inline(f, &op), -EAGAIN);
    say(peer, "now");
    struct pollfd pfd = {.fd = f->ops->export_fd(f->ctx, stream), .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, -1), 1);
    assert_int_equal(submit_inline(f, &op), 3);
    assert_int_equal(stat_of(f, "watches"), 0);
    close_handle(f, stream);
    close(peer);
}

static void a_nowait_read_takes_nothing_from_a_read_that_waits(void **state)
{
    struct fixture *f = *state;
    char first[16], second[16];
    int peer;
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op waiting = make_op(NX_OP_READ, stream, first, sizeof(first));
    struct nx_op nowait = make_op(NX_OP_READ, stream, second, sizeof(second));
    nowait.flags = NX_OP_NOWAIT;
    submit_pending(f, &waiting);
    say(peer, "mine");
    struct pollfd pfd = {.fd = f->ops->export_fd(f->ctx, stream), .events = POLLIN};
    assert_int_equal(poll(&pfd, 1, -1), 1);
    assert_int_equal(submit_inline(f, &nowait), -EAGAIN);
    assert_int_equal(await(f, &waiting), 4);
    close_handle(f, stream);
    close(peer);
}

static void the_end_of_stream_is_seen_behind_the_last_bytes(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    int peer;
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    submit_pending(f, &op);
    say(peer, "last");
    shutdown(peer, SHUT_WR); /* bytes and end arrive as one event, or as two */
    assert_int_equal(await(f, &op), 4);
    assert_int_equal(run(f, &op), 0);
    assert_int_equal(run(f, &op), 0);
    /* half-closed: the other direction works */
    struct nx_op write_op = make_op(NX_OP_WRITE, stream, "bye", 3);
    assert_int_equal(run(f, &write_op), 3);
    assert_int_equal(read(peer, buf, sizeof(buf)), 3);
    close_handle(f, stream);
    close(peer);
}

static void a_reset_connection_is_an_error_of_the_read_that_waits(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    int peer;
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    submit_pending(f, &op);
    struct linger hard = {.l_onoff = 1};
    assert_int_equal(setsockopt(peer, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
    close(peer);
    assert_int_equal(await(f, &op), -ECONNRESET);
    close_handle(f, stream);
}

/* recv stops at the urgent mark: a short read with more behind it. */
static void bytes_behind_urgent_data_are_not_forgotten(void **state)
{
    struct fixture *f = *state;
    char buf[64];
    int peer;
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    submit_pending(f, &op);
    assert_quiet(f);
    say(peer, "before");
    assert_int_equal(send(peer, "!", 1, MSG_OOB), 1);
    say(peer, "after");
    struct pollfd pfd = {.fd = f->ops->export_fd(f->ctx, stream), .events = POLLPRI};
    assert_int_equal(poll(&pfd, 1, -1), 1);
    size_t got = (size_t)await(f, &op);
    while (got < 11) {
        op = make_op(NX_OP_READ, stream, buf + got, (uint32_t)(sizeof(buf) - got));
        got += (size_t)run(f, &op);
    }
    assert_memory_equal(buf, "beforeafter", 11);
    close_handle(f, stream);
    close(peer);
}

/* recv on a Unix stream stops behind a message that carried descriptors: short, with more behind it. */
static void bytes_behind_a_message_with_descriptors_are_not_forgotten(void **state)
{
    struct fixture *f = *state;
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {.iov_base = "carrier", .iov_len = 7};
    struct msghdr msg = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof(control.space)};
    char buf[64];
    int fds[2];

    unix_pair(fds);
    nx_handle stream = import(f, fds[0], 0);
    struct nx_op op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    submit_pending(f, &op);
    struct cmsghdr *header = CMSG_FIRSTHDR(&msg);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fds[1], sizeof(int));
    assert_int_equal(sendmsg(fds[1], &msg, 0), 7);
    say(fds[1], "rest");
    assert_int_equal(await(f, &op), 7);
    assert_int_equal(run(f, &op), 4);
    assert_memory_equal(buf, "rest", 4);
    close_handle(f, stream);
    close(fds[1]);
}

static void on_a_unix_stream_too_a_short_read_spares_the_next_call(void **state)
{
    struct fixture *f = *state;
    char buf[64];
    int fds[2];
    unix_pair(fds);
    nx_handle stream = import(f, fds[0], 0);
    struct nx_op op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    submit_pending(f, &op);
    uint64_t again = stat_of(f, "again");
    for (int i = 0; i < 20; i++) {
        say(fds[1], "ping");
        assert_int_equal(await(f, &op), 4);
        submit_pending(f, &op);
    }
    assert_int_equal(stat_of(f, "again"), again);
    close(fds[1]);
    assert_int_equal(await(f, &op), 0);
    close_handle(f, stream);
}

/* A datagram that is shorter than the buffer says nothing about the next one. */
static void a_short_datagram_does_not_hide_the_next(void **state)
{
    struct fixture *f = *state;
    char buf[64];
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
    nx_handle socket = import(f, fds[0], 0);
    struct nx_op op = make_op(NX_OP_READ, socket, buf, sizeof(buf));
    submit_pending(f, &op);
    say(fds[1], "one");
    say(fds[1], "three");
    assert_int_equal(await(f, &op), 3);
    assert_int_equal(submit_inline(f, &op), 5);
    close_handle(f, socket);
    close(fds[1]);
}

static void pipes_are_streams_too(void **state)
{
    struct fixture *f = *state;
    char buf[16];
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    nx_handle in = import(f, ends[0], 0), out = import(f, ends[1], 0);
    struct nx_op read_op = make_op(NX_OP_READ, in, buf, sizeof(buf));
    struct nx_op write_op = make_op(NX_OP_WRITE, out, "through", 7);
    submit_pending(f, &read_op);
    assert_int_equal(submit_inline(f, &write_op), 7);
    assert_int_equal(await(f, &read_op), 7);
    submit_pending(f, &read_op);
    close_handle(f, out);
    assert_int_equal(await(f, &read_op), 0);
    close_handle(f, in);
}

/* ---- writing ---- */

static void a_mebibyte_into_a_slow_reader_arrives_whole(void **state)
{
    struct fixture *f = *state;
    enum { SIZE = 1 << 20 };
    static unsigned char out[SIZE], in[SIZE];
    size_t sent = 0, got = 0;
    bool pending = false;
    int peer;

    for (size_t i = 0; i < SIZE; i++)
        out[i] = (unsigned char)(i * 7 + i / 251);
    nx_handle stream = tcp_stream(f, &peer);
    int small = 4096;
    setsockopt(f->ops->export_fd(f->ctx, stream), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    struct nx_op op;
    struct nx_completion completion = {0};
    while (got < SIZE) {
        while (!pending && sent < SIZE) {
            op = make_op(NX_OP_WRITE, stream, out + sent, (uint32_t)(SIZE - sent));
            int r = f->ops->submit(f->ctx, &op, &completion);
            pending = r == 0;
            if (!pending) {
                assert_true(completion.result > 0);
                sent += (size_t)completion.result;
            }
        }
        ssize_t n = recv(peer, in + got, 5000, MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
        if (pending && f->ops->poll(f->ctx, &completion, 1) == 1) {
            assert_ptr_equal(completion.op, &op);
            assert_true(completion.result > 0);
            sent += (size_t)completion.result;
            pending = false;
        }
    }
    assert_int_equal(sent, SIZE);
    assert_memory_equal(in, out, SIZE);
    assert_true(stat_of(f, "again") < stat_of(f, "calls") / 2);
    close_handle(f, stream);
    close(peer);
}

static void writev_writes_all_parts_in_order(void **state)
{
    struct fixture *f = *state;
    struct iovec iov[3] = {{"one ", 4}, {"two ", 4}, {"three", 5}};
    char buf[32];
    int peer, ends[2];
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op op = make_op(NX_OP_WRITEV, stream, iov, 3);
    assert_int_equal(run(f, &op), 13);
    assert_int_equal(recv(peer, buf, sizeof(buf), 0), 13);
    assert_memory_equal(buf, "one two three", 13);
    op.len = NX_IOV_MAX + 1;
    assert_int_equal(submit_inline(f, &op), -EINVAL);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    nx_handle out = import(f, ends[1], 0);
    op = make_op(NX_OP_WRITEV, out, iov, 3);
    assert_int_equal(run(f, &op), 13);
    assert_int_equal(read(ends[0], buf, sizeof(buf)), 13);
    close_handle(f, out);
    close(ends[0]);
    close_handle(f, stream);
    close(peer);
}

static void a_write_to_a_peer_that_is_gone_is_epipe_and_no_signal(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    unix_pair(fds);
    nx_handle stream = import(f, fds[0], 0);
    close(fds[1]);
    struct iovec iov = {"x", 1};
    struct nx_op op = make_op(NX_OP_WRITE, stream, "x", 1);
    assert_int_equal(run(f, &op), -EPIPE); /* the default action of SIGPIPE would end this test */
    op = make_op(NX_OP_WRITEV, stream, &iov, 1);
    assert_int_equal(run(f, &op), -EPIPE);
    close_handle(f, stream);
}

static void shutdown_is_seen_by_the_peer_and_by_a_read_that_waits(void **state)
{
    struct fixture *f = *state;
    char buf[8];
    int peer;
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op read_op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    struct nx_op shut = make_op(NX_OP_SHUTDOWN, stream, NULL, 0);
    submit_pending(f, &read_op);
    shut.arg = NX_SHUT_WRITE;
    assert_int_equal(submit_inline(f, &shut), 0);
    assert_int_equal(recv(peer, buf, sizeof(buf), 0), 0);
    shut.arg = NX_SHUT_READ;
    assert_int_equal(submit_inline(f, &shut), 0);
    assert_int_equal(await(f, &read_op), 0);
    shut.arg = 17;
    assert_int_equal(submit_inline(f, &shut), -EINVAL);
    close_handle(f, stream);
    close(peer);
}

/* ---- cancelling ---- */

static void a_cancelled_read_completes_once_and_takes_no_byte(void **state)
{
    struct fixture *f = *state;
    struct nx_completion completion;
    char buf[16];
    int peer;
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op op = make_op(NX_OP_READ, stream, buf, sizeof(buf)), later;
    for (int i = 0; i < 200; i++) {
        submit_pending(f, &op);
        say(peer, "kept");
        f->ops->cancel(f->ctx, &op);
        f->ops->cancel(f->ctx, &op); /* asking twice is allowed */
        assert_int_equal(f->ops->arm(f->ctx), -EAGAIN);
        f->ops->disarm(f->ctx);
        assert_int_equal(f->ops->poll(f->ctx, &completion, 1), 1);
        assert_ptr_equal(completion.op, &op);
        assert_int_equal(completion.result, -ECANCELED);
        later = make_op(NX_OP_READ, stream, buf, sizeof(buf));
        assert_int_equal(run(f, &later), 4);
    }
    assert_quiet(f);
    close_handle(f, stream);
    close(peer);
}

static void cancelling_one_of_many_leaves_the_others_in_order(void **state)
{
    struct fixture *f = *state;
    char buf[5];
    int peer;
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op ops[5];
    for (int i = 0; i < 5; i++) {
        ops[i] = make_op(NX_OP_READ, stream, &buf[i], 1);
        submit_pending(f, &ops[i]);
    }
    static const int cancelled[] = {2, 4, 0}; /* middle, last, first */
    for (int i = 0; i < 3; i++) {
        f->ops->cancel(f->ctx, &ops[cancelled[i]]);
        assert_int_equal(await(f, &ops[cancelled[i]]), -ECANCELED);
    }
    say(peer, "12");
    assert_int_equal(await(f, &ops[1]), 1);
    assert_int_equal(await(f, &ops[3]), 1);
    assert_int_equal(buf[1], '1');
    assert_int_equal(buf[3], '2');
    close_handle(f, stream);
    close(peer);
}

/* ---- accepting and connecting ---- */

static void a_single_accept_gives_a_working_handle(void **state)
{
    struct fixture *f = *state;
    struct nx_addr addr, peer_addr;
    char buf[8];
    nx_handle listener = tcp_listener(f, &addr);
    struct nx_op op = make_op(NX_OP_ACCEPT, listener, NULL, 0);
    submit_pending(f, &op);
    int client = tcp_client(&addr);
    nx_handle stream = (nx_handle)await(f, &op);
    assert_int_equal(NX_HANDLE_DRIVER(stream), DRIVER_ID);
    assert_int_equal(f->ops->name(f->ctx, stream, 1, &peer_addr), 0);
    assert_int_equal(fcntl(f->ops->export_fd(f->ctx, stream), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    say(client, "hi");
    struct nx_op read_op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    assert_int_equal(run(f, &read_op), 2);
    close_handle(f, stream);
    close_handle(f, listener);
    close(client);
}

static void a_multishot_accept_gives_every_connection(void **state)
{
    struct fixture *f = *state;
    enum { CLIENTS = 300 };
    static int clients[CLIENTS];
    static nx_handle streams[CLIENTS];
    struct nx_completion out[7];
    struct nx_addr addr;
    int count = 0;

    nx_handle listener = tcp_listener(f, &addr);
    struct nx_op op = make_op(NX_OP_ACCEPT, listener, NULL, 0);
    op.flags = NX_OP_MULTISHOT;
    submit_pending(f, &op);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = tcp_client(&addr);
    while (count < CLIENTS) {
        uint32_t n = turn(f, out, 7, host_now() + PATIENCE);
        for (uint32_t i = 0; i < n; i++) {
            assert_ptr_equal(out[i].op, &op);
            assert_int_equal(out[i].flags, NX_COMPLETION_MORE);
            assert_true(out[i].result > 0);
            streams[count++] = (nx_handle)out[i].result;
        }
    }
    assert_quiet(f);
    f->ops->cancel(f->ctx, &op);
    assert_int_equal(await(f, &op), -ECANCELED);
    for (int i = 0; i < CLIENTS; i++) {
        close_handle(f, streams[i]);
        close(clients[i]);
    }
    close_handle(f, listener);
}

static void other_sockets_get_their_turn_while_a_backlog_is_accepted(void **state)
{
    struct fixture *f = *state;
    enum { CLIENTS = 200 };
    static int clients[CLIENTS];
    static struct nx_completion out[1024];
    struct nx_addr addr;
    char buf[8];
    int peer;

    nx_handle listener = tcp_listener(f, &addr), stream = tcp_stream(f, &peer);
    struct nx_op accept_op = make_op(NX_OP_ACCEPT, listener, NULL, 0);
    struct nx_op read_op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    accept_op.flags = NX_OP_MULTISHOT;
    submit_pending(f, &accept_op);
    submit_pending(f, &read_op);
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = tcp_client(&addr);
    say(peer, "me too");
    uint32_t n = f->ops->poll(f->ctx, out, 1024), accepted = 0;
    bool was_read = false;
    for (uint32_t i = 0; i < n; i++) {
        was_read = was_read || out[i].op == &read_op;
        accepted += out[i].op == &accept_op;
    }
    assert_true(was_read);
    assert_true(accepted > 0 && accepted < CLIENTS);
    for (int turns = 0; accepted < CLIENTS; turns++) {
        assert_true(turns < 10);
        for (uint32_t i = 0; i < n; i++)
            if (out[i].op == &accept_op)
                close_handle(f, (nx_handle)out[i].result);
        assert_int_equal(f->ops->arm(f->ctx), -EAGAIN); /* there is more, and no edge will say so */
        n = f->ops->poll(f->ctx, out, 1024);
        accepted += n;
    }
    for (uint32_t i = 0; i < n; i++)
        close_handle(f, (nx_handle)out[i].result);
    f->ops->cancel(f->ctx, &accept_op);
    assert_int_equal(await(f, &accept_op), -ECANCELED);
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
    close_handle(f, listener);
    close_handle(f, stream);
    close(peer);
}

static void a_multishot_accept_ends_at_the_limit_of_open_files_and_another_goes_on(void **state)
{
    struct fixture *f = *state;
    struct nx_addr addr;
    struct rlimit limit, low;
    nx_handle listener = tcp_listener(f, &addr);
    struct nx_op op = make_op(NX_OP_ACCEPT, listener, NULL, 0);
    op.flags = NX_OP_MULTISHOT;
    submit_pending(f, &op);
    int client = tcp_client(&addr);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = limit;
    low.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    struct nx_completion completion = next_completion(f);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_ptr_equal(completion.op, &op);
    assert_int_equal(completion.result, -EMFILE);
    assert_int_equal(completion.flags, 0);
    assert_quiet(f);
    submit_pending(f, &op); /* no new edge comes: the connection has been there all the time */
    completion = next_completion(f);
    assert_true(completion.result > 0);
    assert_int_equal(completion.flags, NX_COMPLETION_MORE);
    close_handle(f, (nx_handle)completion.result);
    f->ops->cancel(f->ctx, &op);
    assert_int_equal(await(f, &op), -ECANCELED);
    close_handle(f, listener);
    close(client);
}

static void connect_reaches_a_listener_and_tells_of_none(void **state)
{
    struct fixture *f = *state;
    struct nx_addr addr, nobody = {.family = NX_AF_INET, .len = 4, .port = 1, .data = {127, 0, 0, 1}};
    char buf[8];
    nx_handle listener = tcp_listener(f, &addr), client, refused;
    assert_int_equal(f->ops->socket(f->ctx, NX_AF_INET, NX_SOCK_STREAM, &client), 0);
    struct nx_op connect_op = make_op(NX_OP_CONNECT, client, &addr, 0);
    struct nx_op accept_op = make_op(NX_OP_ACCEPT, listener, NULL, 0);
    assert_int_equal(run(f, &connect_op), 0);
    nx_handle server = (nx_handle)run(f, &accept_op);
    struct nx_op write_op = make_op(NX_OP_WRITE, client, "hi", 2);
    struct nx_op read_op = make_op(NX_OP_READ, server, buf, sizeof(buf));
    assert_int_equal(run(f, &write_op), 2);
    assert_int_equal(run(f, &read_op), 2);
    assert_int_equal(f->ops->socket(f->ctx, NX_AF_INET, NX_SOCK_STREAM, &refused), 0);
    connect_op = make_op(NX_OP_CONNECT, refused, &nobody, 0);
    assert_int_equal(run(f, &connect_op), -ECONNREFUSED);
    close_handle(f, refused);
    close_handle(f, client);
    close_handle(f, server);
    close_handle(f, listener);
}

/* A Unix listener whose backlog is full, and a TCP one: the kernel drops SYNs to the latter, so that connect waits. */
static void a_connect_that_waits_can_be_cancelled(void **state)
{
    struct fixture *f = *state;
    struct nx_addr addr;
    enum { FILLERS = 8 };
    int fillers[FILLERS];
    nx_handle listener = tcp_listener(f, &addr), client;
    struct sockaddr_storage sa;
    int len = nx_fds_to_sockaddr(&addr, &sa);
    assert_int_equal(f->ops->listen(f->ctx, listener, 0), 0);
    for (int i = 0; i < FILLERS; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(fillers[i], (struct sockaddr *)&sa, (socklen_t)len);
    }
    assert_int_equal(f->ops->socket(f->ctx, NX_AF_INET, NX_SOCK_STREAM, &client), 0);
    struct nx_op op = make_op(NX_OP_CONNECT, client, &addr, 0);
    submit_pending(f, &op);
    assert_quiet(f);
    f->ops->cancel(f->ctx, &op);
    assert_int_equal(await(f, &op), -ECANCELED);
    close_handle(f, client);
    close_handle(f, listener);
    for (int i = 0; i < FILLERS; i++)
        close(fillers[i]);
}

static void a_unix_connect_to_a_full_backlog_says_so_at_once(void **state)
{
    struct fixture *f = *state;
    struct nx_addr addr = {.family = NX_AF_UNIX};
    int len = snprintf((char *)addr.data + 1, sizeof(addr.data) - 1, "nexus-test-%d", (int)getpid());
    addr.len = (uint16_t)(len + 1); /* abstract */
    nx_handle listener, clients[2];
    assert_int_equal(f->ops->socket(f->ctx, NX_AF_UNIX, NX_SOCK_STREAM, &listener), 0);
    assert_int_equal(f->ops->bind(f->ctx, listener, &addr), 0);
    assert_int_equal(f->ops->listen(f->ctx, listener, 0), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(f->ops->socket(f->ctx, NX_AF_UNIX, NX_SOCK_STREAM, &clients[i]), 0);
        struct nx_op op = make_op(NX_OP_CONNECT, clients[i], &addr, 0);
        assert_int_equal(submit_inline(f, &op), i == 0 ? 0 : -EAGAIN);
    }
    close_handle(f, clients[0]);
    close_handle(f, clients[1]);
    close_handle(f, listener);
}

/* ---- handles ---- */

static void a_closed_handle_is_stale_and_its_number_serves_another(void **state)
{
    struct fixture *f = *state;
    char buf[8];
    int fds[2], peer;
    nx_handle stream = tcp_stream(f, &peer);
    int number = f->ops->export_fd(f->ctx, stream);
    struct nx_op op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    submit_pending(f, &op);
    f->ops->cancel(f->ctx, &op);
    assert_int_equal(await(f, &op), -ECANCELED);
    say(peer, "for nobody"); /* an event for the old one is on its way */
    close_handle(f, stream);
    assert_int_equal(submit_inline(f, &op), -EBADF);
    assert_int_equal(f->ops->export_fd(f->ctx, stream), -EBADF);

    unix_pair(fds);
    int other = fds[0] == number ? fds[1] : fds[0];
    assert_int_equal(fds[0] == number ? fds[0] : fds[1], number);
    nx_handle again = import(f, number, 0);
    assert_true(again != stream);
    op = make_op(NX_OP_READ, again, buf, sizeof(buf));
    submit_pending(f, &op);
    assert_quiet(f);
    say(other, "mine");
    assert_int_equal(await(f, &op), 4);
    close_handle(f, again);
    close(other);
    close(peer);
}

/*
 * One event gives two completions and fills the caller's array, so that the second event waits inside. Its handle is
 * closed meanwhile, and the slot and the descriptor's number are used again at once.
 */
static void an_event_that_waits_inside_does_not_reach_the_next_owner_of_its_slot(void **state)
{
    struct fixture *f = *state;
    struct nx_completion out[2];
    char buf[2], later[8];
    int peers[2], fresh[2];
    nx_handle busy = tcp_stream(f, &peers[0]), idle = tcp_stream(f, &peers[1]);
    struct nx_op first = make_op(NX_OP_READ, busy, &buf[0], 1), second = make_op(NX_OP_READ, busy, &buf[1], 1);
    struct nx_op op = make_op(NX_OP_READ, idle, later, sizeof(later));
    submit_pending(f, &first);
    submit_pending(f, &second);
    submit_pending(f, &op);
    assert_quiet(f);
    say(peers[0], "12");
    say(peers[1], "3");
    assert_int_equal(f->ops->poll(f->ctx, out, 2), 2);
    assert_ptr_equal(out[0].op, &first);
    assert_ptr_equal(out[1].op, &second);
    assert_int_equal(f->ops->arm(f->ctx), -EAGAIN);
    f->ops->cancel(f->ctx, &op);
    assert_int_equal(f->ops->poll(f->ctx, out, 1), 1);
    assert_ptr_equal(out[0].op, &op);
    assert_int_equal(f->ops->arm(f->ctx), -EAGAIN); /* it still waits */
    int number = f->ops->export_fd(f->ctx, idle);
    close_handle(f, idle);

    unix_pair(fresh);
    int other = fresh[0] == number ? fresh[1] : fresh[0];
    nx_handle next = import(f, number, 0);
    assert_int_equal(NX_HANDLE_INDEX(next), NX_HANDLE_INDEX(idle));
    op = make_op(NX_OP_READ, next, later, sizeof(later));
    submit_pending(f, &op);
    uint64_t again = stat_of(f, "again");
    assert_quiet(f);
    assert_int_equal(stat_of(f, "stale"), 1);
    assert_int_equal(stat_of(f, "again"), again); /* nor is it tried for nothing */
    say(other, "x");
    assert_int_equal(await(f, &op), 1);
    close_handle(f, next);
    close_handle(f, busy);
    close(other);
    close(peers[0]);
    close(peers[1]);
}

static void with_room_for_one_completion_at_a_time_nothing_is_lost(void **state)
{
    struct fixture *f = *state;
    enum { COUNT = 150 };
    static struct nx_op reads[COUNT], writes[COUNT];
    static nx_handle streams[COUNT];
    static char buf[COUNT][8];
    static int peers[COUNT], seen[COUNT];
    struct nx_completion completion;
    for (int i = 0; i < COUNT; i++) {
        int fds[2];
        unix_pair(fds);
        peers[i] = fds[1];
        streams[i] = import(f, fds[0], 0);
        reads[i] = make_op(NX_OP_READ, streams[i], buf[i], sizeof(buf[i]));
        submit_pending(f, &reads[i]);
        say(peers[i], "one");
        seen[i] = 0;
    }
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(turn(f, &completion, 1, host_now() + PATIENCE), 1);
        assert_int_equal(completion.result, 3);
        seen[completion.op - reads]++;
    }
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(seen[i], 1);
        writes[i] = make_op(NX_OP_WRITE, streams[i], "back", 4);
        assert_int_equal(submit_inline(f, &writes[i]), 4);
    }
    assert_quiet(f);
    for (int i = 0; i < COUNT; i++) {
        close_handle(f, streams[i]);
        close(peers[i]);
    }
}

static void close_with_keep_leaves_the_descriptor_open(void **state)
{
    struct fixture *f = *state;
    char buf[8];
    int fds[2];
    unix_pair(fds);
    nx_handle stream = import(f, fds[0], 0);
    struct nx_op op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    submit_pending(f, &op);
    f->ops->cancel(f->ctx, &op);
    assert_int_equal(await(f, &op), -ECANCELED);
    keep_handle(f, stream);
    say(fds[1], "still");
    assert_int_equal(read(fds[0], buf, sizeof(buf)), 5);
    assert_quiet(f);
    close(fds[0]);
    close(fds[1]);
}

static void a_released_handle_works_on_another_context(void **state)
{
    struct fixture *f = *state, other = *f;
    struct nx_reason reason;
    char buf[8];
    int peer;
    assert_int_equal(f->ops->ctx_open(f->driver, 1, &other.ctx, &reason), 0);
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    struct fixture *users[2] = {f, &other};
    for (int i = 0; i < 6; i++) {
        struct fixture *user = users[i % 2];
        submit_pending(user, &op);
        assert_quiet(user);
        say(peer, "move");
        assert_int_equal(await(user, &op), 4);
        if (i > 2)
            say(peer, "ahead"); /* an edge for the context that is left */
        user->ops->release(user->ctx, stream);
        if (i > 2)
            assert_int_equal(run(users[(i + 1) % 2], &op), 5);
        if (i > 2)
            users[(i + 1) % 2]->ops->release(users[(i + 1) % 2]->ctx, stream);
        assert_quiet(user);
    }
    assert_int_equal(stat_of(f, "watched"), 0);
    assert_int_equal(stat_of(&other, "watched"), 0);
    close_handle(&other, stream);
    f->ops->ctx_close(other.ctx);
    close(peer);
}

/* ---- foreign descriptors ---- */

static void polling_a_foreign_descriptor_honours_its_level(void **state)
{
    struct fixture *f = *state;
    char buf[8];
    int fds[2];
    unix_pair(fds);
    nx_handle foreign = import(f, fds[0], NX_IMPORT_FOREIGN);
    struct nx_op op = make_op(NX_OP_POLL, foreign, NULL, 0);
    for (int i = 0; i < 3; i++) {
        op.arg = NX_READABLE;
        submit_pending(f, &op);
        assert_quiet(f);
        say(fds[1], "x");
        assert_int_equal(await(f, &op), NX_READABLE);
        assert_int_equal(submit_inline(f, &op), NX_READABLE); /* it is so until somebody reads */
        op.arg = NX_READABLE | NX_WRITABLE;
        assert_int_equal(submit_inline(f, &op), NX_READABLE | NX_WRITABLE);
        assert_int_equal(read(fds[0], buf, sizeof(buf)), 1);
        assert_int_equal(submit_inline(f, &op), NX_WRITABLE);
    }
    op.arg = NX_READABLE;
    op.flags = NX_OP_NOWAIT;
    assert_int_equal(submit_inline(f, &op), -EAGAIN);
    op.flags = 0;
    op.arg = 0;
    assert_int_equal(submit_inline(f, &op), -EINVAL);
    assert_int_equal(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0);
    struct nx_op read_op = make_op(NX_OP_READ, foreign, buf, 1);
    assert_int_equal(submit_inline(f, &read_op), -EINVAL);
    keep_handle(f, foreign);
    close(fds[0]);
    close(fds[1]);
}

static void a_hang_up_shows_as_both_directions(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    unix_pair(fds);
    nx_handle foreign = import(f, fds[0], NX_IMPORT_FOREIGN);
    struct nx_op op = make_op(NX_OP_POLL, foreign, NULL, 0);
    op.arg = NX_READABLE;
    submit_pending(f, &op);
    close(fds[1]);
    assert_int_equal(await(f, &op), NX_READABLE | NX_WRITABLE);
    keep_handle(f, foreign);
    close(fds[0]);
}

static void a_regular_file_is_always_ready(void **state)
{
    struct fixture *f = *state;
    FILE *file = tmpfile();
    nx_handle foreign = import(f, fileno(file), NX_IMPORT_FOREIGN);
    struct nx_op op = make_op(NX_OP_POLL, foreign, NULL, 0);
    op.arg = NX_READABLE | NX_WRITABLE;
    assert_int_equal(submit_inline(f, &op), NX_READABLE | NX_WRITABLE);
    keep_handle(f, foreign);
    fclose(file);
}

static void one_foreign_descriptor_may_be_waited_for_by_several(void **state)
{
    struct fixture *f = *state;
    enum { WAITERS = 4 };
    struct nx_op ops[WAITERS];
    nx_handle handles[WAITERS];
    int done[WAITERS] = {0}, fd = eventfd(0, EFD_CLOEXEC);
    for (int i = 0; i < WAITERS; i++) {
        handles[i] = import(f, fd, NX_IMPORT_FOREIGN);
        ops[i] = make_op(NX_OP_POLL, handles[i], NULL, 0);
        ops[i].arg = NX_READABLE;
        submit_pending(f, &ops[i]);
    }
    f->ops->cancel(f->ctx, &ops[1]);
    assert_int_equal(await(f, &ops[1]), -ECANCELED);
    keep_handle(f, handles[1]);
    assert_quiet(f);
    eventfd_write(fd, 1);
    for (int i = 0; i < WAITERS - 1; i++) {
        struct nx_completion completion = next_completion(f);
        assert_int_equal(completion.result, NX_READABLE);
        done[completion.op - ops]++;
    }
    assert_int_equal(done[0] + done[2] + done[3], 3);
    for (int i = 0; i < WAITERS; i++)
        if (i != 1)
            keep_handle(f, handles[i]);
    close(fd);
}

static void polls_and_transfers_of_one_stream_keep_out_of_each_others_way(void **state)
{
    struct fixture *f = *state;
    char buf[8];
    int peer;
    nx_handle stream = tcp_stream(f, &peer);
    nx_handle foreign = import(f, f->ops->export_fd(f->ctx, stream), NX_IMPORT_FOREIGN);
    struct nx_op read_op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    struct nx_op own = make_op(NX_OP_POLL, stream, NULL, 0), other = make_op(NX_OP_POLL, foreign, NULL, 0);
    own.arg = other.arg = NX_READABLE;
    submit_pending(f, &read_op);
    submit_pending(f, &own);
    submit_pending(f, &other);
    say(peer, "data");
    int done = 0;
    struct nx_op *seen[3] = {0};
    while (
        !seen[0]) { /* own is looked at before the read empties the socket; other sees what is left: perhaps nothing */
        struct nx_completion completion = next_completion(f);
        seen[completion.op == &read_op ? 0 : completion.op == &own ? 1 : 2] = completion.op;
        done++;
    }
    assert_int_equal(memcmp(buf, "data", 4), 0);
    assert_non_null(seen[1]);
    if (!seen[2]) {
        say(peer, "more");
        assert_int_equal(await(f, &other), NX_READABLE);
        done++;
    }
    assert_int_equal(done, 3);
    keep_handle(f, foreign);
    close_handle(f, stream);
    close(peer);
}

/* ---- waiting and waking ---- */

static void wait_is_never_early_and_comes_back(void **state)
{
    struct fixture *f = *state;
    struct nx_completion completion;
    static const int64_t naps[] = {30000, 700000, 1500000, 5 * MS};
    for (int i = 0; i < 40; i++) {
        nx_time until = host_now() + naps[i % 4];
        /* It may return early with nothing; what matters is that it does not spin its way there. */
        int waits = 0;
        while (host_now() < until) {
            assert_int_equal(f->ops->arm(f->ctx), 0);
            assert_int_equal(f->ops->wait(f->ctx, &completion, 1, until), 0);
            assert_true(++waits < 10);
        }
    }
    assert_int_equal(f->ops->wait(f->ctx, &completion, 1, host_now() - MS), 0);
}

static void a_wake_after_arm_ends_the_wait(void **state)
{
    struct fixture *f = *state;
    struct nx_completion completion;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(f->ops->arm(f->ctx), 0);
        f->ops->wake(f->ctx);
        f->ops->wake(f->ctx);
        assert_int_equal(f->ops->wait(f->ctx, &completion, 1, NX_FOREVER), 0);
    }
}

struct waker {
    struct fixture *f;
    atomic_uint asked, served;
};

enum { WAKES = 20000 };

static void *keep_waking(void *arg)
{
    struct waker *waker = arg;
    for (unsigned i = 1; i <= WAKES; i++) {
        atomic_store(&waker->asked, i);
        waker->f->ops->wake(waker->f->ctx);
        if (i % 3 == 0) /* sometimes in step, sometimes in bursts */
            while (atomic_load(&waker->served) < i)
                ;
    }
    return NULL;
}

/* The core's handshake: arm, look once more, wait. A wake that is lost hangs this test. */
static void no_wake_of_another_thread_is_ever_lost(void **state)
{
    struct fixture *f = *state;
    struct waker waker = {.f = f};
    struct nx_completion completion;
    pthread_t thread;
    unsigned served = 0;
    assert_int_equal(pthread_create(&thread, NULL, keep_waking, &waker), 0);
    while (served < WAKES) {
        if (atomic_load(&waker.asked) == served) {
            f->ops->poll(f->ctx, &completion, 1);
            f->ops->arm(f->ctx);
            if (atomic_load(&waker.asked) == served)
                f->ops->wait(f->ctx, &completion, 1, NX_FOREVER);
            else
                f->ops->disarm(f->ctx);
        }
        served = atomic_load(&waker.asked);
        atomic_store(&waker.served, served);
    }
    pthread_join(thread, NULL);
}

/* ---- two workers ---- */

struct worker {
    struct fixture *f;
    _Atomic nx_handle *hand_over;
    int64_t result;
};

/* Echoes what comes on the handle it is given, until the end of the stream. */
static void *echo_worker(void *arg)
{
    struct worker *worker = arg;
    struct fixture f = *worker->f;
    struct nx_reason reason;
    struct nx_completion completion;
    nx_handle stream;
    char buf[256];
    if (f.ops->ctx_open(f.driver, 1, &f.ctx, &reason) < 0)
        return NULL;
    while ((stream = atomic_load(worker->hand_over)) == 0)
        ;
    for (;;) {
        struct nx_op op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
        if (f.ops->submit(f.ctx, &op, &completion) == 0)
            while (turn(&f, &completion, 1, NX_FOREVER) == 0)
                ;
        if (completion.result <= 0)
            break;
        op = make_op(NX_OP_WRITE, stream, buf, (uint32_t)completion.result);
        f.ops->submit(f.ctx, &op, &completion); /* small enough to go inline */
        worker->result += completion.result;
    }
    struct nx_op op = make_op(NX_OP_CLOSE, stream, NULL, 0);
    f.ops->submit(f.ctx, &op, &completion);
    f.ops->ctx_close(f.ctx);
    return NULL;
}

static void a_handle_moves_between_workers_with_release(void **state)
{
    struct fixture *f = *state;
    enum { ROUNDS = 2000 };
    _Atomic nx_handle hand_over = 0;
    struct worker worker = {.f = f, .hand_over = &hand_over};
    struct nx_addr addr;
    char buf[16];
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, echo_worker, &worker), 0);
    nx_handle listener = tcp_listener(f, &addr);
    int client = tcp_client(&addr);
    struct nx_op op = make_op(NX_OP_ACCEPT, listener, NULL, 0);
    nx_handle stream = (nx_handle)run(f, &op);
    say(client, "here");
    op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    assert_int_equal(run(f, &op), 4);
    submit_pending(f, &op);
    f->ops->cancel(f->ctx, &op);
    assert_int_equal(await(f, &op), -ECANCELED);
    f->ops->release(f->ctx, stream);
    atomic_store(&hand_over, stream);
    int good = 0;
    for (int i = 0; i < ROUNDS; i++) {
        say(client, "echo");
        good += recv(client, buf, 4, MSG_WAITALL) == 4 && memcmp(buf, "echo", 4) == 0;
    }
    shutdown(client, SHUT_WR);
    pthread_join(thread, NULL);
    assert_int_equal(good, ROUNDS);
    assert_int_equal(worker.result, ROUNDS * 4);
    close_handle(f, listener);
    close(client);
}

/* ---- messages and edges ---- */

static struct nx_message message_of(struct iovec *iov, struct nx_addr *addr, int32_t *fds, uint32_t fd_count)
{
    return (struct nx_message){.iov = iov, .iov_count = 1, .addr = addr, .fds = fds, .fd_count = fd_count};
}

static nx_handle udp_socket(struct fixture *f, struct nx_addr *ret_addr)
{
    nx_handle handle = 0;
    struct nx_addr addr = {.family = NX_AF_INET, .len = 4, .data = {127, 0, 0, 1}};
    assert_int_equal(f->ops->socket(f->ctx, NX_AF_INET, NX_SOCK_DGRAM, &handle), 0);
    assert_int_equal(f->ops->bind(f->ctx, handle, &addr), 0);
    assert_int_equal(f->ops->name(f->ctx, handle, 0, ret_addr), 0);
    return handle;
}

static void a_datagram_has_an_address_and_its_real_length(void **state)
{
    struct fixture *f = *state;
    struct nx_addr addrs[2], from = {0};
    char buf[4];
    nx_handle one = udp_socket(f, &addrs[0]), other = udp_socket(f, &addrs[1]);
    struct iovec in = {buf, sizeof(buf)}, out = {(char[]){"datagram"}, 8}, none = {NULL, 0};
    struct nx_message received = message_of(&in, &from, NULL, 0), sent = message_of(&out, &addrs[1], NULL, 0);
    struct nx_op recv_op = make_op(NX_OP_RECVMSG, other, &received, 0);
    submit_pending(f, &recv_op);
    struct nx_op send_op = make_op(NX_OP_SENDMSG, one, &sent, 0);
    send_op.flags = NX_OP_NOWAIT;
    assert_int_equal(submit_inline(f, &send_op), 8);
    assert_int_equal(await(f, &recv_op), 8);
    assert_memory_equal(buf, "data", 4);
    assert_int_equal(received.flags, NX_MESSAGE_CUT);
    assert_int_equal(from.port, addrs[0].port);

    sent = message_of(&none, NULL, NULL, 0); /* by the address of a connect, one of no bytes */
    struct nx_op op = make_op(NX_OP_CONNECT, one, &addrs[1], 0);
    assert_int_equal(submit_inline(f, &op), 0);
    received = message_of(&in, &from, NULL, 0);
    recv_op = make_op(NX_OP_RECVMSG, other, &received, 0);
    submit_pending(f, &recv_op);
    send_op = make_op(NX_OP_SENDMSG, one, &sent, 0);
    send_op.flags = NX_OP_NOWAIT;
    assert_int_equal(submit_inline(f, &send_op), 0);
    assert_int_equal(await(f, &recv_op), 0);
    assert_int_equal(received.flags, 0);

    recv_op = make_op(NX_OP_RECVMSG, other, &received, 0);
    submit_pending(f, &recv_op);
    f->ops->cancel(f->ctx, &recv_op);
    assert_int_equal(await(f, &recv_op), -ECANCELED);
    op = make_op(NX_OP_MEMBERSHIP, other, &addrs[0], 0);
    op.arg = 1;
    assert_int_equal(submit_inline(f, &op), -EINVAL); /* no group */
    received.fd_count = NX_FDS_MAX + 1;
    op = make_op(NX_OP_RECVMSG, other, &received, 0);
    op.flags = NX_OP_NOWAIT;
    assert_int_equal(submit_inline(f, &op), -EINVAL);
    close_handle(f, one);
    close_handle(f, other);
}

static void descriptors_come_with_a_message_and_surplus_ones_are_closed(void **state)
{
    struct fixture *f = *state;
    int pair[2], fds[2];
    char buf[4];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    nx_handle one = import(f, pair[0], 0), other = import(f, pair[1], 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    int before = open_fd_count();
    for (uint32_t room = 0; room < 3; room++) {
        int32_t came[2], sent_fds[2] = {fds[0], fds[1]};
        struct iovec in = {buf, sizeof(buf)}, out = {(char[]){"xy"}, 2};
        struct nx_message received = message_of(&in, NULL, came, room), sent = message_of(&out, NULL, sent_fds, 2);
        struct nx_op recv_op = make_op(NX_OP_RECVMSG, other, &received, 0);
        submit_pending(f, &recv_op);
        struct nx_op send_op = make_op(NX_OP_SENDMSG, one, &sent, 0);
        send_op.flags = NX_OP_NOWAIT;
        assert_int_equal(submit_inline(f, &send_op), 2);
        assert_int_equal(await(f, &recv_op), 2);
        assert_int_equal(received.fd_count, room);
        assert_int_equal(received.flags, room < 2 ? NX_MESSAGE_FDS_CUT : 0);
        assert_int_equal(open_fd_count(), before + (int)room);
        for (uint32_t i = 0; i < room; i++) {
            assert_int_equal(fcntl(came[i], F_GETFD), FD_CLOEXEC);
            close(came[i]);
        }
    }
    close_handle(f, one);
    close_handle(f, other);
    close(fds[0]);
    close(fds[1]);
}

static void a_multishot_poll_reports_edges(void **state)
{
    struct fixture *f = *state;
    int fds[2];
    char byte;
    nx_handle in = 0;
    struct nx_capability capability;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(f->ops->import_fd(f->ctx, fds[0], NX_IMPORT_FOREIGN, &in), 0);
    assert_int_equal(f->ops->capability(f->driver, NX_OP_POLL, &capability), 0);
    struct nx_op op = make_op(NX_OP_POLL, in, NULL, 0);
    op.arg = NX_READABLE;
    op.flags = NX_OP_MULTISHOT;
    if (capability.flags & NX_OP_MULTISHOT) {
        assert_int_equal(write(fds[1], "x", 1), 1);
        submit_pending(f, &op);
        for (int i = 0; i < 3; i++) { /* as it is, then each change */
            struct nx_completion completion = next_completion(f);
            assert_ptr_equal(completion.op, &op);
            assert_int_equal(completion.flags, NX_COMPLETION_MORE);
            assert_int_equal(completion.result, NX_READABLE);
            assert_quiet(f); /* unread */
            assert_int_equal(read(fds[0], &byte, 1), 1);
            if (i < 2)
                assert_int_equal(write(fds[1], "x", 1), 1);
        }
        f->ops->cancel(f->ctx, &op);
        assert_int_equal(await(f, &op), -ECANCELED);
    } else {
        assert_int_equal(submit_inline(f, &op), -ENOTSUP);
    }
    op = make_op(NX_OP_CLOSE, in, NULL, 0);
    op.arg = NX_CLOSE_KEEP;
    assert_int_equal(submit_inline(f, &op), 0);
    close(fds[0]);
    close(fds[1]);
}

/* ---- the rest of the table ---- */

static void what_the_driver_does_not_know_it_says(void **state)
{
    struct fixture *f = *state;
    struct nx_capability capability;
    char buf[8];
    int peer;
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op op = make_op(NX_OP_NOP, 0, NULL, 0);
    assert_int_equal(submit_inline(f, &op), 0);
    op = make_op(NX_OP_COUNT, stream, NULL, 0);
    assert_int_equal(submit_inline(f, &op), -ENOTSUP);
    op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    op.flags = NX_OP_LOAN;
    assert_int_equal(submit_inline(f, &op), -ENOTSUP);
    op.flags = NX_OP_MULTISHOT;
    assert_int_equal(submit_inline(f, &op), -ENOTSUP);
    for (uint32_t code = 0; code < NX_OP_COUNT; code++) {
        assert_int_equal(f->ops->capability(f->driver, code, &capability), 0);
        bool on_files = code >= NX_OP_OPEN && code <= NX_OP_MKDIR; /* never ready or not: others' work */
        assert_int_equal(capability.level == NX_CAP_NO, on_files);
        assert_true(!on_files || strlen(capability.reason) > 0);
        assert_int_equal((capability.flags & NX_OP_MULTISHOT) != 0,
                         code == NX_OP_ACCEPT || (code == NX_OP_POLL && f->kind < ONCE));
    }
    assert_int_equal(f->ops->capability(f->driver, NX_OP_COUNT, &capability), 0);
    assert_int_equal(capability.level, NX_CAP_NO);
    assert_true(strlen(capability.reason) > 0);
    int wait_fd = f->ops->wait_fd(f->ctx);
    assert_true(f->kind >= ONCE ? wait_fd == -ENOTSUP : wait_fd >= 0);
    close_handle(f, stream);
    close(peer);
}

static void a_forked_child_keeps_none_of_the_descriptors(void **state)
{
    struct fixture *f = *state;
    char buf[8];
    int peer, status;
    nx_handle stream = tcp_stream(f, &peer);
    struct nx_op op = make_op(NX_OP_READ, stream, buf, sizeof(buf));
    submit_pending(f, &op);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        f->ops->forked(f->driver);
        _exit(open_fd_count() == f->fds_before + 1 ? 0 : 1); /* the peer is the test's own */
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    say(peer, "alive");
    assert_int_equal(await(f, &op), 5);
    close_handle(f, stream);
    close(peer);
}

static void without_descriptors_left_probe_and_open_say_why(void **state)
{
    struct fixture *f = *state;
    struct nx_reason reason = {0};
    struct rlimit limit, low;
    struct nx_ctx *ctx = NULL;
    if (f->kind >= ONCE)
        return;
    assert_int_equal(nexus_plugin_epoll.probe(&host, &f->config, &reason), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    low = limit;
    low.rlim_cur = 3;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    int probed = nexus_plugin_epoll.probe(&host, &f->config, &reason);
    int opened = f->ops->ctx_open(f->driver, 1, &ctx, &reason);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(probed, -EMFILE);
    assert_int_equal(opened, -EMFILE);
    assert_null(ctx);
    assert_int_equal(reason.error, EMFILE);
    assert_string_equal(reason.call, "epoll_create1(2)");
    assert_non_null(strstr(reason.remedy, "RLIMIT_NOFILE"));
}

#define EACH(test)                                                                                                     \
    {#test " (epoll)", test, set_up, tear_down, &kinds[EPOLL]},                                                        \
        {#test " (epoll with a timerfd)", test, set_up, tear_down, &kinds[EPOLL_TIMERFD]},                             \
        {#test " (a poller that takes errors)", test, set_up, tear_down, &kinds[TAKES_ERRORS]},                        \
    {                                                                                                                  \
#test " (one-shot poll)", test, set_up, tear_down, &kinds[ONCE]                                                \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        EACH(a_read_of_waiting_bytes_completes_inline),
        EACH(a_read_waits_for_bytes_and_gets_them),
        EACH(in_steady_state_an_echo_is_one_recv_and_one_send_and_nothing_else),
        EACH(reads_complete_in_the_order_of_their_submission),
        EACH(a_nowait_read_makes_the_call_whatever_was_known),
        EACH(a_nowait_read_takes_nothing_from_a_read_that_waits),
        EACH(the_end_of_stream_is_seen_behind_the_last_bytes),
        EACH(a_reset_connection_is_an_error_of_the_read_that_waits),
        EACH(bytes_behind_urgent_data_are_not_forgotten),
        EACH(bytes_behind_a_message_with_descriptors_are_not_forgotten),
        EACH(on_a_unix_stream_too_a_short_read_spares_the_next_call),
        EACH(a_short_datagram_does_not_hide_the_next),
        EACH(pipes_are_streams_too),
        EACH(a_mebibyte_into_a_slow_reader_arrives_whole),
        EACH(writev_writes_all_parts_in_order),
        EACH(a_write_to_a_peer_that_is_gone_is_epipe_and_no_signal),
        EACH(shutdown_is_seen_by_the_peer_and_by_a_read_that_waits),
        EACH(a_cancelled_read_completes_once_and_takes_no_byte),
        EACH(cancelling_one_of_many_leaves_the_others_in_order),
        EACH(a_single_accept_gives_a_working_handle),
        EACH(a_multishot_accept_gives_every_connection),
        EACH(other_sockets_get_their_turn_while_a_backlog_is_accepted),
        EACH(a_multishot_accept_ends_at_the_limit_of_open_files_and_another_goes_on),
        EACH(connect_reaches_a_listener_and_tells_of_none),
        EACH(a_connect_that_waits_can_be_cancelled),
        EACH(a_unix_connect_to_a_full_backlog_says_so_at_once),
        EACH(a_closed_handle_is_stale_and_its_number_serves_another),
        EACH(an_event_that_waits_inside_does_not_reach_the_next_owner_of_its_slot),
        EACH(with_room_for_one_completion_at_a_time_nothing_is_lost),
        EACH(close_with_keep_leaves_the_descriptor_open),
        EACH(a_released_handle_works_on_another_context),
        EACH(polling_a_foreign_descriptor_honours_its_level),
        EACH(a_hang_up_shows_as_both_directions),
        EACH(a_regular_file_is_always_ready),
        EACH(one_foreign_descriptor_may_be_waited_for_by_several),
        EACH(polls_and_transfers_of_one_stream_keep_out_of_each_others_way),
        EACH(wait_is_never_early_and_comes_back),
        EACH(a_wake_after_arm_ends_the_wait),
        EACH(no_wake_of_another_thread_is_ever_lost),
        EACH(a_handle_moves_between_workers_with_release),
        EACH(a_datagram_has_an_address_and_its_real_length),
        EACH(descriptors_come_with_a_message_and_surplus_ones_are_closed),
        EACH(a_multishot_poll_reports_edges),
        EACH(what_the_driver_does_not_know_it_says),
        EACH(a_forked_child_keeps_none_of_the_descriptors),
        EACH(without_descriptors_left_probe_and_open_say_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
