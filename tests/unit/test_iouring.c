/*
 * The io_uring driver through its table, on every rung and on emulated older kernels: one body, and a variant each.
 *
 * ring.c is part of this file, with its two system calls replaced: the stand-ins refuse what the emulated kernel
 * doesn't know and record what should not have been used. A variant "nowait" makes ops on O_NONBLOCK descriptors fail
 * with -EAGAIN instead of waiting, as Linux before 6.x does.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <liburing.h>

static int kernel_setup(unsigned entries, struct io_uring_params *params);
static int kernel_enter(unsigned fd, unsigned to_submit, unsigned wait_count, unsigned flags, sigset_t *arg,
                        size_t size);
#define io_uring_setup kernel_setup
#define io_uring_enter2 kernel_enter
#include "../../backends/iouring/ring.c"
#undef io_uring_setup
#undef io_uring_enter2

#include "../../backends/iouring/ctx.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>

#include <cmocka.h>

extern const struct nx_plugin nexus_plugin_iouring;
static const struct nx_driver_ops *ops;

/* ---- the variants ---- */

struct variant {
    const char *name, *rung, *sqpoll;
    uint32_t setup, features; /* what the kernel knows */
    bool old_ops;             /* no multishot accept, no CQE_SKIP, no EXT_ARG, no registered ring */
    bool nowait;              /* O_NONBLOCK descriptors are not waited for */
    uint64_t want_rung;
};

#define ALL UINT32_MAX
#define SETUP_5_10                                                                                                     \
    (IORING_SETUP_IOPOLL | IORING_SETUP_SQPOLL | IORING_SETUP_SQ_AFF | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |      \
     IORING_SETUP_ATTACH_WQ | IORING_SETUP_R_DISABLED)
#define SETUP_5_19 (SETUP_5_10 | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG)
#define FEATURES_5_10 0x7fu
#define FEATURES_5_19 0xfffu

static const struct variant variants[] = {
    {"defer", "defer", "0", ALL, ALL, false, false, NXI_URING_DEFER},
    {"coop", "coop", "0", ALL, ALL, false, false, NXI_URING_COOP},
    {"plain", "plain", "0", SETUP_5_10, ALL, true, false, NXI_URING_PLAIN},
    {"linux_5_19", "auto", "0", SETUP_5_19, FEATURES_5_19, false, true, NXI_URING_COOP},
    {"linux_5_10", "auto", "0", SETUP_5_10, FEATURES_5_10, true, true, NXI_URING_PLAIN},
    {"sqpoll", "auto", "1", ALL, ALL, false, false, NXI_URING_DEFER},
};

static const struct variant *kernel; /* NULL: as it is */
static struct nx_ctx *looked_at;     /* whose SQEs the stand-in sees */
static uint64_t misuses;             /* uses of what the emulated kernel doesn't have */
static uint32_t busy_enters;         /* fail that many with -EBUSY */

static int kernel_setup(unsigned entries, struct io_uring_params *params)
{
    if (kernel && (params->flags & ~kernel->setup))
        return -EINVAL;
    int fd = io_uring_setup(entries, params);
    if (fd >= 0 && kernel)
        params->features &= kernel->features;
    return fd;
}

/* Makes an op on an O_NONBLOCK descriptor behave as it once did. */
static void make_nowait(struct io_uring_sqe *sqe)
{
    int fl = fcntl(sqe->fd, F_GETFL);
    if (fl < 0 || !(fl & O_NONBLOCK))
        return;
    switch (sqe->opcode) {
    case IORING_OP_RECV:
    case IORING_OP_SEND:
    case IORING_OP_SENDMSG:
        sqe->msg_flags |= MSG_DONTWAIT;
        break;
    case IORING_OP_READ:
    case IORING_OP_WRITE:
    case IORING_OP_WRITEV:
        if (!isatty(sqe->fd))
            sqe->rw_flags |= RWF_NOWAIT;
        break;
    case IORING_OP_ACCEPT:
        sqe->ioprio |= 1u << 1; /* IORING_ACCEPT_DONTWAIT */
        break;
    case IORING_OP_CONNECT: {
        /* A NOP with the result of connect(2) itself. */
        int r = connect(sqe->fd, (struct sockaddr *)(uintptr_t)sqe->addr, (socklen_t)sqe->off) < 0 ? -errno : 0;
        sqe->opcode = IORING_OP_NOP;
        sqe->rw_flags = 1; /* IORING_NOP_INJECT_RESULT */
        sqe->len = (uint32_t)r;
        sqe->addr = sqe->off = 0;
        sqe->fd = -1;
        break;
    }
    default:
        break;
    }
}

static void look_at_sqes(struct io_uring *ring, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct io_uring_sqe *sqe = &ring->sq.sqes[(*ring->sq.khead + i) & ring->sq.ring_mask];
        bool multishot = sqe->opcode == IORING_OP_ACCEPT && (sqe->ioprio & IORING_ACCEPT_MULTISHOT);
        if (kernel->old_ops && ((sqe->flags & IOSQE_CQE_SKIP_SUCCESS) || multishot || sqe->opcode > IORING_OP_TEE))
            misuses++;
        if (kernel->old_ops && sqe->opcode == IORING_OP_ASYNC_CANCEL && sqe->cancel_flags)
            misuses++;
        if (kernel->nowait)
            make_nowait(sqe);
    }
}

static int kernel_enter(unsigned fd, unsigned to_submit, unsigned wait_count, unsigned flags, sigset_t *arg,
                        size_t size)
{
    if (kernel && kernel->old_ops && (flags & ~(IORING_ENTER_GETEVENTS | IORING_ENTER_SQ_WAKEUP)))
        misuses++;
    if (busy_enters) {
        busy_enters--;
        return -EBUSY;
    }
    if (kernel && looked_at && !nxi_uring_is_polled(&looked_at->uring))
        look_at_sqes(&looked_at->uring.ring, to_submit);
    return io_uring_enter2(fd, to_submit, wait_count, flags, arg, size);
}

/* ---- the host ---- */

struct nx_config {
    const char *entries, *cq_entries, *sqpoll, *rung;
};

static _Atomic int64_t live_bytes;
static int64_t fail_alloc = -1; /* the allocation that fails, counted from 0 */

static nx_time host_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void *host_alloc(size_t size, size_t align)
{
    void *memory = NULL;
    if (fail_alloc >= 0 && fail_alloc-- == 0)
        return NULL;
    if (posix_memalign(&memory, align < 16 ? 16 : align, size) != 0)
        return NULL;
    atomic_fetch_add(&live_bytes, (int64_t)size);
    return memset(memory, 0, size);
}

static void host_free(void *memory, size_t size)
{
    if (memory)
        atomic_fetch_sub(&live_bytes, (int64_t)size);
    free(memory);
}

static const char *host_param(const struct nx_config *config, const char *name)
{
    const char *value = NULL;
    for (const struct nx_param *param = nexus_plugin_iouring.params; param->name; param++)
        if (strcmp(param->name, name) == 0)
            value = param->default_value;
    const struct {
        const char *name, *value;
    } own[] = {{"entries", config->entries},
               {"cq_entries", config->cq_entries},
               {"sqpoll", config->sqpoll},
               {"rung", config->rung}};
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++)
        if (own[i].value && strcmp(own[i].name, name) == 0)
            value = own[i].value;
    return value;
}

static const struct nx_host host = {
    .size = sizeof(host), .now = host_now, .alloc = host_alloc, .free = host_free, .param = host_param};

/* ---- fixture ---- */

#define MS INT64_C(1000000)
#define SOON (host_now() + 20000 * MS) /* what must happen does so long before */

struct fixture {
    const struct variant *variant;
    struct nx_config config;
    struct nx_driver *driver;
    struct nx_ctx *ctx;
    int fds_before;
    int64_t bytes_before;
    /* Completions that were reaped and not yet asked for. */
    struct nx_completion seen[4096];
    uint32_t seen_count;
};

static struct fixture fix;

static int count_fds(void)
{
    int count = 0;
    DIR *dir = opendir("/proc/self/fd");
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static uint64_t stat_of(const char *name)
{
    struct nx_stat stats[32];
    uint32_t count = ops->stats(fix.ctx, stats, 32);
    for (uint32_t i = 0; i < count; i++)
        if (strcmp(stats[i].name, name) == 0)
            return stats[i].value;
    fail_msg("no statistic %s", name);
    return 0;
}

static void start(const char *entries, const char *cq_entries)
{
    struct nx_reason reason;
    fix.config.entries = entries;
    fix.config.cq_entries = cq_entries;
    assert_int_equal(ops->open(&host, &fix.config, 5, &fix.driver, &reason), 0);
    assert_int_equal(ops->ctx_open(fix.driver, 0, &fix.ctx, &reason), 0);
    looked_at = fix.ctx;
    fix.seen_count = 0;
}

static void stop(void)
{
    looked_at = NULL;
    ops->ctx_close(fix.ctx);
    ops->close(fix.driver);
    fix.ctx = NULL;
}

static int set_up(void **state)
{
    fix.variant = *state;
    kernel = fix.variant;
    misuses = 0;
    fix.fds_before = count_fds();
    fix.bytes_before = live_bytes;
    fix.config.rung = fix.variant->rung;
    fix.config.sqpoll = fix.variant->sqpoll;
    start("64", "256");
    assert_int_equal(stat_of("rung"), fix.variant->want_rung);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(fix.seen_count, 0);
    assert_int_equal(stat_of("in_flight"), 0);
    assert_int_equal(stat_of("stray_cqes"), 0);
    stop();
    kernel = NULL;
    assert_int_equal(misuses, 0);
    assert_int_equal(live_bytes, fix.bytes_before);
    assert_int_equal(count_fds(), fix.fds_before);
    return 0;
}

/* ---- ops ---- */

static struct nx_op make_op(uint16_t code, nx_handle handle, void *data, uint32_t len)
{
    return (struct nx_op){.handle = handle, .code = code, .len = len, .data = data};
}

static void queue(struct nx_op *op)
{
    struct nx_completion completion;
    nx_time until = SOON;
    int r;
    while ((r = ops->submit(fix.ctx, op, &completion)) == -EAGAIN && host_now() < until)
        fix.seen_count += ops->poll(fix.ctx, fix.seen + fix.seen_count, 4096 - fix.seen_count);
    assert_int_equal(r, 0);
}

static int64_t inline_result(struct nx_op *op)
{
    struct nx_completion completion;
    assert_int_equal(ops->submit(fix.ctx, op, &completion), 1);
    assert_ptr_equal(completion.op, op);
    assert_int_equal(completion.flags, 0);
    return completion.result;
}

/* The loop's part: arm, wait; whatever comes is put by. */
static void turn(nx_time until)
{
    if (ops->arm(fix.ctx) == 0)
        fix.seen_count += ops->wait(fix.ctx, fix.seen + fix.seen_count, 4096 - fix.seen_count, until);
    else
        fix.seen_count += ops->poll(fix.ctx, fix.seen + fix.seen_count, 4096 - fix.seen_count);
}

static bool take_seen(const struct nx_op *op, struct nx_completion *ret_completion)
{
    for (uint32_t i = 0; i < fix.seen_count; i++) {
        if (fix.seen[i].op != op)
            continue;
        *ret_completion = fix.seen[i];
        fix.seen_count--;
        memmove(fix.seen + i, fix.seen + i + 1, (fix.seen_count - i) * sizeof(fix.seen[0]));
        return true;
    }
    return false;
}

static struct nx_completion next_of(const struct nx_op *op)
{
    struct nx_completion completion;
    nx_time until = SOON;
    while (!take_seen(op, &completion)) {
        assert_true(host_now() < until);
        turn(until);
    }
    return completion;
}

static int64_t result_of(const struct nx_op *op)
{
    struct nx_completion completion = next_of(op);
    assert_int_equal(completion.flags, 0);
    return completion.result;
}

static int64_t run(uint16_t code, nx_handle handle, const void *data, uint32_t len)
{
    struct nx_op op = make_op(code, handle, (void *)(uintptr_t)data, len);
    queue(&op);
    return result_of(&op);
}

static int64_t run_nowait(uint16_t code, nx_handle handle, const void *data, uint32_t len)
{
    struct nx_op op = make_op(code, handle, (void *)(uintptr_t)data, len);
    op.flags = NX_OP_NOWAIT;
    return inline_result(&op);
}

static void close_handle(nx_handle handle)
{
    struct nx_op op = make_op(NX_OP_CLOSE, handle, NULL, 0);
    assert_int_equal(inline_result(&op), 0);
}

static nx_handle import(int fd)
{
    nx_handle handle = 0;
    assert_int_equal(ops->import_fd(fix.ctx, fd, 0, &handle), 0);
    return handle;
}

/* Lets the kernel have all that is queued, and see it wait: completes nothing that was put in flight before. */
static void settle_kernel(void)
{
    struct nx_op op = make_op(NX_OP_NOP, 0, NULL, 0);
    queue(&op);
    assert_int_equal(result_of(&op), 0);
}

static nx_handle listener(struct nx_addr *ret_addr)
{
    nx_handle handle = 0;
    struct nx_addr addr = {.family = NX_AF_INET, .len = 4, .data = {127, 0, 0, 1}};
    assert_int_equal(ops->socket(fix.ctx, NX_AF_INET, NX_SOCK_STREAM, &handle), 0);
    assert_int_equal(ops->option(fix.ctx, handle, NX_OPTION_REUSE_ADDR, 1), 0);
    assert_int_equal(ops->bind(fix.ctx, handle, &addr), 0);
    assert_int_equal(ops->listen(fix.ctx, handle, 128), 0);
    assert_int_equal(ops->name(fix.ctx, handle, 0, ret_addr), 0);
    assert_int_not_equal(ret_addr->port, 0);
    return handle;
}

static nx_handle unix_listener(struct nx_addr *ret_addr, int backlog)
{
    static unsigned serial;
    nx_handle handle = 0;
    struct nx_addr addr = {.family = NX_AF_UNIX};
    addr.len = (uint16_t)(1 + snprintf((char *)addr.data + 1, 60, "nxt-iouring-%d-%u", (int)getpid(), serial++));
    assert_int_equal(ops->socket(fix.ctx, NX_AF_UNIX, NX_SOCK_STREAM, &handle), 0);
    assert_int_equal(ops->bind(fix.ctx, handle, &addr), 0);
    assert_int_equal(ops->listen(fix.ctx, handle, backlog), 0);
    *ret_addr = addr;
    return handle;
}

/* Two connected sockets: a handle of ours and a plain descriptor. */
static nx_handle half_pair(int *ret_peer)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    *ret_peer = fds[1];
    return import(fds[0]);
}

static double scale(void)
{
    const char *text = getenv("NXT_SCALE");
    double value = text ? atof(text) : 1;
    return value > 0 && value <= 1 ? value : 1;
}

/* ---- tests: the ways an op goes ---- */

static void nop_completes_once(void **state)
{
    (void)state;
    assert_int_equal(run(NX_OP_NOP, 0, NULL, 0), 0);
    assert_int_equal(run_nowait(NX_OP_NOP, 0, NULL, 0), 0);
    turn(NX_POLL);
    assert_int_equal(fix.seen_count, 0);
}

static void tcp_connects_and_carries_bytes_both_ways(void **state)
{
    (void)state;
    struct nx_addr addr, name;
    char buffer[64];
    nx_handle server = listener(&addr), client = 0;
    struct nx_op accept_op = make_op(NX_OP_ACCEPT, server, NULL, 0);

    queue(&accept_op);
    assert_int_equal(ops->socket(fix.ctx, NX_AF_INET, NX_SOCK_STREAM, &client), 0);
    assert_int_equal(run(NX_OP_CONNECT, client, &addr, 0), 0);
    nx_handle peer = (nx_handle)result_of(&accept_op);
    assert_int_equal(NX_HANDLE_DRIVER(peer), 5);
    assert_int_equal(ops->option(fix.ctx, peer, NX_OPTION_NODELAY, 1), 0);
    assert_int_equal(ops->name(fix.ctx, client, 1, &name), 0);
    assert_int_equal(name.port, addr.port);

    struct nx_op read_op = make_op(NX_OP_READ, peer, buffer, sizeof(buffer));
    queue(&read_op);
    assert_int_equal(run(NX_OP_WRITE, client, "hello", 5), 5);
    assert_int_equal(result_of(&read_op), 5);
    assert_memory_equal(buffer, "hello", 5);

    struct iovec iov[3] = {{"one", 3}, {"", 0}, {"two", 3}};
    assert_int_equal(run(NX_OP_WRITEV, peer, iov, 3), 6);
    assert_int_equal(run(NX_OP_READ, client, buffer, 6), 6);
    assert_memory_equal(buffer, "onetwo", 6);

    struct nx_op shut = make_op(NX_OP_SHUTDOWN, client, NULL, 0);
    shut.arg = NX_SHUT_WRITE;
    assert_int_equal(inline_result(&shut), 0);
    assert_int_equal(run(NX_OP_READ, peer, buffer, sizeof(buffer)), 0);
    close_handle(peer);
    close_handle(client);
    close_handle(server);
}

static void connect_to_nobody_is_refused(void **state)
{
    (void)state;
    struct nx_addr addr;
    nx_handle server = listener(&addr), client = 0;
    close_handle(server);
    assert_int_equal(ops->socket(fix.ctx, NX_AF_INET, NX_SOCK_STREAM, &client), 0);
    assert_int_equal(run(NX_OP_CONNECT, client, &addr, 0), -ECONNREFUSED);
    close_handle(client);
    assert_int_equal(ops->socket(fix.ctx, NX_AF_INET, NX_SOCK_STREAM, &client), 0);
    struct nx_addr odd = {.family = NX_AF_DRIVER};
    struct nx_op op = make_op(NX_OP_CONNECT, client, &odd, 0);
    assert_int_equal(inline_result(&op), -EAFNOSUPPORT);
    close_handle(client);
}

static void connect_on_a_nonblocking_descriptor_waits_for_its_end(void **state)
{
    (void)state;
    struct nx_addr addr;
    nx_handle server = listener(&addr);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    nx_handle client = import(fd);
    assert_int_equal(run(NX_OP_CONNECT, client, &addr, 0), 0);
    assert_int_equal(run(NX_OP_WRITE, client, "x", 1), 1);
    close_handle(client);
    close_handle(server);
    client = import(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    assert_int_equal(run(NX_OP_CONNECT, client, &addr, 0), -ECONNREFUSED);
    close_handle(client);
}

static void multishot_accept_gives_every_connection(void **state)
{
    (void)state;
    enum { CLIENTS = 40 };
    struct nx_addr addr;
    nx_handle server = unix_listener(&addr, CLIENTS), clients[CLIENTS], peers[CLIENTS];
    struct nx_capability capability;
    struct nx_op op = make_op(NX_OP_ACCEPT, server, NULL, 0);
    op.flags = NX_OP_MULTISHOT;

    assert_int_equal(ops->capability(fix.driver, NX_OP_ACCEPT, &capability), 0);
    bool native = capability.flags & NX_OP_MULTISHOT;
    assert_int_equal(native, !fix.variant->old_ops);
    queue(&op);
    settle_kernel(); /* the accept waits before the first connection comes */
    for (int i = 0; i < CLIENTS; i++) {
        assert_int_equal(ops->socket(fix.ctx, NX_AF_UNIX, NX_SOCK_STREAM, &clients[i]), 0);
        assert_int_equal(run_nowait(NX_OP_CONNECT, clients[i], &addr, 0), 0);
    }
    for (int i = 0; i < CLIENTS; i++) {
        struct nx_completion completion = next_of(&op);
        assert_true(completion.result > 0);
        assert_int_equal(completion.flags, native ? NX_COMPLETION_MORE : 0);
        peers[i] = (nx_handle)completion.result;
        assert_true(fcntl(ops->export_fd(fix.ctx, peers[i]), F_GETFD) & FD_CLOEXEC);
        if (!native)
            queue(&op);
    }
    ops->cancel(fix.ctx, &op);
    assert_int_equal(result_of(&op), -ECANCELED);
    for (int i = 0; i < CLIENTS; i++) {
        close_handle(clients[i]);
        close_handle(peers[i]);
    }
    close_handle(server);
}

static void nowait_completes_inline_or_says_again(void **state)
{
    (void)state;
    struct nx_addr addr;
    char buffer[16];
    int fds[2];
    nx_handle server = unix_listener(&addr, 4), client = 0, tcp = 0;

    assert_int_equal(run_nowait(NX_OP_ACCEPT, server, NULL, 0), -EAGAIN);
    assert_int_equal(ops->socket(fix.ctx, NX_AF_UNIX, NX_SOCK_STREAM, &client), 0);
    assert_int_equal(run_nowait(NX_OP_CONNECT, client, &addr, 0), 0);
    assert_int_equal(fcntl(ops->export_fd(fix.ctx, client), F_GETFL) & O_NONBLOCK, 0);
    nx_handle peer = (nx_handle)run_nowait(NX_OP_ACCEPT, server, NULL, 0);
    assert_int_equal(run_nowait(NX_OP_READ, peer, buffer, 16), -EAGAIN);
    assert_int_equal(run_nowait(NX_OP_WRITE, client, "abc", 3), 3);
    assert_int_equal(run_nowait(NX_OP_READ, peer, buffer, 16), 3);
    struct iovec iov[2] = {{"d", 1}, {"ef", 2}};
    assert_int_equal(run_nowait(NX_OP_WRITEV, peer, iov, 2), 3);
    assert_int_equal(run_nowait(NX_OP_READ, client, buffer, 16), 3);
    assert_memory_equal(buffer, "def", 3);
    close_handle(peer);
    assert_int_equal(run_nowait(NX_OP_WRITE, client, "x", 1), -EPIPE);

    assert_int_equal(ops->socket(fix.ctx, NX_AF_INET, NX_SOCK_STREAM, &tcp), 0);
    struct nx_addr any = {.family = NX_AF_INET, .len = 4, .port = 1, .data = {127, 0, 0, 1}};
    assert_int_equal(run_nowait(NX_OP_CONNECT, tcp, &any, 0), -EAGAIN);
    close_handle(tcp);

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    nx_handle in = import(fds[0]), out = import(fds[1]);
    assert_int_equal(run_nowait(NX_OP_READ, in, buffer, 16), -EAGAIN);
    assert_int_equal(run_nowait(NX_OP_WRITE, out, "abc", 3), 3);
    assert_int_equal(run_nowait(NX_OP_WRITEV, out, iov, 2), 3);
    assert_int_equal(run_nowait(NX_OP_READ, in, buffer, 16), 6);
    char big[8192] = "";
    int64_t moved = 1;
    for (int i = 0; i < 100 && moved > 0; i++)
        moved = run_nowait(NX_OP_WRITE, out, big, sizeof(big));
    assert_int_equal(moved, -EAGAIN);
    close_handle(in);
    assert_int_equal(run_nowait(NX_OP_WRITE, out, "x", 1), -EPIPE); /* and no SIGPIPE, which would end this */
    close_handle(out);
    close_handle(client);
    close_handle(server);
}

static void an_imported_blocking_listener_is_tried_without_blocking(void **state)
{
    (void)state;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un {
        sa_family_t family;
        char path[108];
    } addr = {AF_UNIX, ""};
    int len = snprintf(addr.path + 1, 100, "nxt-iouring-import-%d", (int)getpid());
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, (socklen_t)(sizeof(sa_family_t) + 1 + (size_t)len)), 0);
    assert_int_equal(listen(fd, 1), 0);
    nx_handle server = import(fd);
    assert_int_equal(run_nowait(NX_OP_ACCEPT, server, NULL, 0), -EAGAIN);
    close_handle(server);
}

static void regular_files_are_read_and_written(void **state)
{
    (void)state;
    char path[] = "/tmp/nxt-iouring-XXXXXX", buffer[16];
    int fd = mkostemp(path, O_CLOEXEC);
    assert_true(fd >= 0);
    unlink(path);
    nx_handle file = import(fd);
    assert_int_equal(run(NX_OP_WRITE, file, "abcdef", 6), 6);
    struct iovec iov = {"ghi", 3};
    assert_int_equal(run(NX_OP_WRITEV, file, &iov, 1), 3);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    assert_int_equal(run(NX_OP_READ, file, buffer, 4), 4);
    assert_memory_equal(buffer, "abcd", 4);
    assert_int_equal(run(NX_OP_READ, file, buffer, 16), 5);
    assert_memory_equal(buffer, "efghi", 5);
    assert_int_equal(run(NX_OP_READ, file, buffer, 16), 0);

    struct nx_op op = make_op(NX_OP_POLL, file, NULL, 0);
    op.arg = NX_READABLE;
    queue(&op);
    assert_int_equal(result_of(&op), NX_READABLE);
    close_handle(file);
}

/* ---- tests: files ---- */

static int64_t run_file(struct nx_op op)
{
    struct nx_completion completion;
    nx_time until = SOON;
    int r;
    while ((r = ops->submit(fix.ctx, &op, &completion)) == -EAGAIN && host_now() < until)
        fix.seen_count += ops->poll(fix.ctx, fix.seen + fix.seen_count, 4096 - fix.seen_count);
    return r == 1 ? completion.result : result_of(&op);
}

/* What the driver doesn't offer it refuses; what only the kernel below the emulated one has is left alone. */
static void expect_if_offered(struct nx_op op, int64_t expected)
{
    struct nx_capability capability = {.size = sizeof(capability)};
    assert_int_equal(ops->capability(fix.driver, op.code, &capability), 0);
    if (capability.level == NX_CAP_NO)
        assert_int_equal(run_file(op), -ENOTSUP);
    else if (!kernel->old_ops)
        assert_int_equal(run_file(op), expected);
}

static struct nx_op open_op(const char *path, int flags)
{
    struct nx_op op = make_op(NX_OP_OPEN, 0, (void *)(uintptr_t)path, 0);
    op.arg = (uint32_t)flags | UINT64_C(0600) << 32;
    return op;
}

static void make_folder(char *folder, size_t size)
{
    snprintf(folder, size, "/tmp/nxt-iouring-XXXXXX");
    assert_non_null(mkdtemp(folder));
}

static void an_open_file_moves_bytes_at_offsets_and_tells_its_size(void **state)
{
    (void)state;
    char folder[64], path[80], buffer[16];
    struct stat stat, plain;
    struct iovec out = {"abcdef", 6}, in = {buffer, sizeof(buffer)};
    make_folder(folder, sizeof(folder));
    snprintf(path, sizeof(path), "%s/file", folder);
    nx_handle file = (nx_handle)run_file(open_op(path, O_CREAT | O_EXCL | O_RDWR));
    assert_true((int64_t)file > 0);
    assert_int_equal(run_file(open_op(path, O_CREAT | O_EXCL | O_RDWR)), -EEXIST);
    int fd = ops->export_fd(fix.ctx, file);
    assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    assert_int_equal(
        run_file((struct nx_op){.code = NX_OP_PWRITEV, .handle = file, .data = &out, .len = 1, .offset = 10}), 6);
    assert_int_equal(run_file((struct nx_op){.code = NX_OP_PREADV, .handle = file, .data = &in, .len = 1, .offset = 8}),
                     8);
    assert_memory_equal(buffer, "\0\0abcdef", 8);
    struct nx_op now = {
        .code = NX_OP_PREADV, .flags = NX_OP_NOWAIT, .handle = file, .data = &in, .len = 1, .offset = 16};
    assert_int_equal(inline_result(&now), 0); /* the end */
    assert_int_equal(run_file((struct nx_op){.code = NX_OP_FSYNC, .handle = file}), 0);
    assert_int_equal(run_file((struct nx_op){.code = NX_OP_FSYNC, .handle = file, .arg = 1}), 0);
    struct nx_op ask = {.code = NX_OP_STAT, .handle = file, .arg = (uintptr_t)&stat};
    assert_int_equal(run_file(ask), 0);
    assert_int_equal(fstat(fd, &plain), 0);
    assert_true(stat.st_size == 16 && stat.st_ino == plain.st_ino && stat.st_dev == plain.st_dev);
    fail_alloc = 0;
    assert_int_equal(inline_result(&ask), -ENOMEM);
    fail_alloc = -1;
    ask.flags = NX_OP_NOWAIT;
    assert_int_equal(inline_result(&ask), -EAGAIN);
    expect_if_offered((struct nx_op){.code = NX_OP_TRUNCATE, .handle = file, .offset = 5}, 0);
    assert_int_equal(run_file((struct nx_op){.code = NX_OP_FSYNC}), -EBADF);
    close_handle(file);
    assert_int_equal(run_file((struct nx_op){.code = NX_OP_FSYNC, .handle = file}), -EBADF);
    unlink(path);
    rmdir(folder);
}

static void paths_are_made_renamed_and_removed(void **state)
{
    (void)state;
    char folder[64], one[80], other[80];
    make_folder(folder, sizeof(folder));
    snprintf(one, sizeof(one), "%s/1", folder);
    snprintf(other, sizeof(other), "%s/2", folder);
    const struct nx_op make = {.code = NX_OP_MKDIR, .data = one, .arg = 0700};
    const struct nx_op move = {.code = NX_OP_RENAME, .data = one, .arg = (uintptr_t)other};
    expect_if_offered(make, 0);
    expect_if_offered(make, -EEXIST);
    expect_if_offered(move, 0);
    expect_if_offered(move, -ENOENT);
    expect_if_offered((struct nx_op){.code = NX_OP_UNLINK, .data = other}, -EISDIR);
    expect_if_offered((struct nx_op){.code = NX_OP_UNLINK, .data = other, .arg = AT_REMOVEDIR}, 0);
    assert_int_equal(rmdir(folder), 0);
}

/* More than the kernel has threads for such work, if nobody asks for more. */
static void opens_that_wait_hold_nothing_up_and_are_called_back(void **state)
{
    enum { COUNT = 40 };
    static char paths[COUNT][80];
    static struct nx_op opens[COUNT];
    char folder[64];
    struct stat stat;
    (void)state;
    make_folder(folder, sizeof(folder));
    for (int i = 0; i < COUNT; i++) {
        snprintf(paths[i], sizeof(paths[i]), "%s/%d", folder, i);
        assert_int_equal(mkfifo(paths[i], 0600), 0);
        opens[i] = open_op(paths[i], O_RDONLY);
        queue(&opens[i]);
    }
    settle_kernel();
    assert_int_equal(run_file((struct nx_op){.code = NX_OP_STAT, .data = folder, .arg = (uintptr_t)&stat}), 0);
    assert_int_equal(fix.seen_count, 0);
    for (int i = 0; i < COUNT; i++)
        ops->cancel(fix.ctx, &opens[i]);
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(result_of(&opens[i]), -ECANCELED);
        unlink(paths[i]);
    }
    rmdir(folder);
}

/* ---- tests: O_NONBLOCK descriptors, pipes, terminals ---- */

/* Reading waits until peer writes; writing waits until room is made. */
static void waits_both_ways(nx_handle end, int peer, bool reads, bool writes)
{
    bool steady = !isatty(peer); /* the kernel goes on moving a full terminal's bytes, and so makes room */
    static char big[1 << 16];
    char buffer[8];
    if (reads) {
        struct nx_op op = make_op(NX_OP_READ, end, buffer, sizeof(buffer));
        queue(&op);
        settle_kernel();
        assert_int_equal(fix.seen_count, 0);
        assert_int_equal(write(peer, "abc\n", 4), 4);
        assert_int_equal(result_of(&op), 4);
        assert_memory_equal(buffer, "abc\n", 4);
    }
    if (writes) {
        int64_t moved = 1;
        for (int i = 0; i < 1000 && moved > 0; i++)
            moved = run_nowait(NX_OP_WRITE, end, big, sizeof(big));
        assert_int_equal(moved, -EAGAIN);
        struct nx_op op = make_op(NX_OP_WRITE, end, big, sizeof(big));
        queue(&op);
        settle_kernel();
        assert_true(fix.seen_count == 0 || !steady);
        struct nx_completion completion;
        for (nx_time until = SOON; !take_seen(&op, &completion); turn(NX_POLL)) {
            assert_true(host_now() < until);
            struct pollfd pollfd = {.fd = peer, .events = POLLIN};
            if (poll(&pollfd, 1, 0) == 1)
                assert_true(read(peer, big, sizeof(big)) > 0);
        }
        assert_true(completion.result > 0);
    }
}

static void nonblocking_sockets_are_waited_for(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    nx_handle end = import(fds[0]);
    waits_both_ways(end, fds[1], true, true);
    close_handle(end);
    close(fds[1]);
}

static void nonblocking_pipes_are_waited_for(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    nx_handle in = import(fds[0]);
    waits_both_ways(in, fds[1], true, false);
    close_handle(in);
    close(fds[1]);
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    nx_handle out = import(fds[1]);
    waits_both_ways(out, fds[0], false, true);
    close_handle(out);
    close(fds[0]);
}

static void blocking_pipes_are_waited_for(void **state)
{
    (void)state;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    nx_handle in = import(fds[0]);
    waits_both_ways(in, fds[1], true, false);
    close_handle(in);
    close(fds[1]);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    nx_handle out = import(fds[1]);
    waits_both_ways(out, fds[0], false, true);
    close_handle(out);
    close(fds[0]);
}

static void terminals_are_waited_for(void **state)
{
    (void)state;
    for (int flags = 0; flags <= O_NONBLOCK; flags += O_NONBLOCK) {
        char name[64], buffer[8];
        int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
        assert_int_equal(ptsname_r(master, name, sizeof(name)), 0);
        int slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC | flags);
        assert_true(slave >= 0);
        struct termios raw;
        tcgetattr(slave, &raw);
        cfmakeraw(&raw);
        tcsetattr(slave, TCSANOW, &raw);
        nx_handle end = import(slave);
        assert_int_equal(run_nowait(NX_OP_READ, end, buffer, 8), -EAGAIN);
        waits_both_ways(end, master, true, flags != 0);
        if (!flags)
            assert_int_equal(run_nowait(NX_OP_WRITE, end, "x", 1), -EAGAIN);
        assert_int_equal(write(master, "xy\n", 3), 3);
        assert_int_equal(run(NX_OP_READ, end, buffer, 8), 3);
        close_handle(end);
        close(master);
    }
}

static void writing_where_nobody_reads_is_an_error_and_no_signal(void **state)
{
    (void)state;
    int fds[2], peer;
    struct iovec iov = {"x", 1};
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    close(fds[0]);
    nx_handle out = import(fds[1]), stream = half_pair(&peer);
    assert_int_equal(run(NX_OP_WRITE, out, "x", 1), -EPIPE);
    assert_int_equal(run(NX_OP_WRITEV, out, &iov, 1), -EPIPE);
    close(peer);
    assert_int_equal(run(NX_OP_WRITE, stream, "x", 1), -EPIPE);
    assert_int_equal(run(NX_OP_WRITEV, stream, &iov, 1), -EPIPE);
    sigset_t pending;
    sigpending(&pending);
    assert_false(sigismember(&pending, SIGPIPE));
    close_handle(out);
    close_handle(stream);
}

static void a_sigpipe_of_the_programs_own_is_left_pending(void **state)
{
    (void)state;
    int fds[2];
    sigset_t set, pending;
    const struct timespec at_once = {0, 0};
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_kill(pthread_self(), SIGPIPE);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    close(fds[0]);
    nx_handle out = import(fds[1]);
    assert_int_equal(run(NX_OP_WRITE, out, "x", 1), -EPIPE);
    assert_int_equal(run_nowait(NX_OP_WRITE, out, "x", 1), -EPIPE);
    sigpending(&pending);
    assert_true(sigismember(&pending, SIGPIPE));
    assert_int_equal(sigtimedwait(&set, NULL, &at_once), SIGPIPE);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    close_handle(out);
}

/* ---- tests: poll ops ---- */

static int64_t poll_result(nx_handle handle, uint64_t arg, uint16_t flags)
{
    struct nx_op op = make_op(NX_OP_POLL, handle, NULL, 0);
    op.arg = arg;
    op.flags = flags;
    if (flags & NX_OP_NOWAIT)
        return inline_result(&op);
    queue(&op);
    return result_of(&op);
}

static void poll_reports_readiness_and_leaves_a_foreign_descriptor_alone(void **state)
{
    (void)state;
    int fds[2];
    char byte;
    nx_handle in = 0;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(ops->import_fd(fix.ctx, fds[0], NX_IMPORT_FOREIGN, &in), 0);
    assert_int_equal(poll_result(in, NX_READABLE, NX_OP_NOWAIT), -EAGAIN);
    struct nx_op op = make_op(NX_OP_POLL, in, NULL, 0);
    op.arg = NX_READABLE;
    queue(&op);
    settle_kernel();
    assert_int_equal(write(fds[1], "x", 1), 1);
    assert_int_equal(result_of(&op), NX_READABLE);
    assert_int_equal(poll_result(in, NX_READABLE, NX_OP_NOWAIT), NX_READABLE);
    assert_int_equal(read(fds[0], &byte, 1), 1);
    close(fds[1]);
    assert_int_equal(poll_result(in, NX_READABLE, 0), NX_READABLE | NX_WRITABLE);
    assert_int_equal(poll_result(in, NX_READABLE, NX_OP_NOWAIT), NX_READABLE | NX_WRITABLE);

    struct nx_op bad = make_op(NX_OP_POLL, in, NULL, 0);
    assert_int_equal(inline_result(&bad), -EINVAL);
    bad = make_op(NX_OP_READ, in, &byte, 1);
    assert_int_equal(inline_result(&bad), -EINVAL);
    bad = make_op(NX_OP_CLOSE, in, NULL, 0);
    bad.arg = NX_CLOSE_KEEP;
    assert_int_equal(inline_result(&bad), 0);
    assert_true(fcntl(fds[0], F_GETFD) >= 0);
    close(fds[0]);
}

static void close_kills_the_handle_and_keep_leaves_the_descriptor(void **state)
{
    (void)state;
    int peer;
    char byte;
    nx_handle stream = half_pair(&peer);
    int fd = ops->export_fd(fix.ctx, stream);
    close_handle(stream);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
    assert_int_equal(read(peer, &byte, 1), 0);
    struct nx_op op = make_op(NX_OP_READ, stream, &byte, 1);
    assert_int_equal(inline_result(&op), -EBADF);
    op.code = NX_OP_CLOSE;
    assert_int_equal(inline_result(&op), -EBADF);
    assert_int_equal(ops->export_fd(fix.ctx, stream), -EBADF);
    nx_handle kept = import(peer);
    op = make_op(NX_OP_CLOSE, kept, NULL, 0);
    op.arg = NX_CLOSE_KEEP;
    assert_int_equal(inline_result(&op), 0);
    assert_true(fcntl(peer, F_GETFD) >= 0);
    close(peer);
}

static void what_is_not_offered_completes_with_enotsup(void **state)
{
    (void)state;
    int peer;
    char byte;
    nx_handle stream = half_pair(&peer);
    struct nx_op op = make_op(NX_OP_COUNT, stream, NULL, 0);
    assert_int_equal(inline_result(&op), -ENOTSUP);
    const uint16_t flags[] = {NX_OP_MULTISHOT, NX_OP_LOAN, NX_OP_ZEROCOPY, NX_OP_INJECT, NX_OP_LINK};
    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        op = make_op(NX_OP_READ, stream, &byte, 1);
        op.flags = flags[i];
        assert_int_equal(inline_result(&op), -ENOTSUP);
    }
    struct nx_capability capability;
    for (uint32_t code = 0; code <= NX_OP_COUNT; code++) {
        assert_int_equal(ops->capability(fix.driver, code, &capability), 0);
        bool younger = code >= NX_OP_TRUNCATE && code <= NX_OP_MKDIR && code != NX_OP_STAT; /* than Linux 5.7 */
        if (!younger || strcmp(fix.variant->rung, "plain") == 0) /* else as this kernel has it */
            assert_int_equal(capability.level == NX_CAP_NO, code == NX_OP_COUNT || younger);
    }
    close_handle(stream);
    close(peer);
}

/* ---- tests: messages and edges ---- */

static struct nx_message message_of(struct iovec *iov, struct nx_addr *addr, int32_t *fds, uint32_t fd_count)
{
    return (struct nx_message){.iov = iov, .iov_count = 1, .addr = addr, .fds = fds, .fd_count = fd_count};
}

static nx_handle udp_socket(struct nx_addr *ret_addr)
{
    nx_handle handle = 0;
    struct nx_addr addr = {.family = NX_AF_INET, .len = 4, .data = {127, 0, 0, 1}};
    assert_int_equal(ops->socket(fix.ctx, NX_AF_INET, NX_SOCK_DGRAM, &handle), 0);
    assert_int_equal(ops->bind(fix.ctx, handle, &addr), 0);
    assert_int_equal(ops->name(fix.ctx, handle, 0, ret_addr), 0);
    return handle;
}

static void a_datagram_has_an_address_and_its_real_length(void **state)
{
    (void)state;
    struct nx_addr addrs[2], from = {0};
    char buf[4];
    nx_handle one = udp_socket(&addrs[0]), other = udp_socket(&addrs[1]);
    struct iovec in = {buf, sizeof(buf)}, out = {(char[]){"datagram"}, 8}, none = {NULL, 0};
    struct nx_message received = message_of(&in, &from, NULL, 0), sent = message_of(&out, &addrs[1], NULL, 0);
    struct nx_op recv_op = make_op(NX_OP_RECVMSG, other, &received, 0);
    queue(&recv_op);
    settle_kernel();
    struct nx_op send_op = make_op(NX_OP_SENDMSG, one, &sent, 0);
    send_op.flags = NX_OP_NOWAIT;
    assert_int_equal(inline_result(&send_op), 8);
    assert_int_equal(result_of(&recv_op), 8);
    assert_memory_equal(buf, "data", 4);
    assert_int_equal(received.flags, NX_MESSAGE_CUT);
    assert_int_equal(from.port, addrs[0].port);

    sent = message_of(&none, NULL, NULL, 0); /* by the address of a connect, one of no bytes */
    struct nx_op op = make_op(NX_OP_CONNECT, one, &addrs[1], 0);
    assert_int_equal(inline_result(&op), 0);
    received = message_of(&in, &from, NULL, 0);
    recv_op = make_op(NX_OP_RECVMSG, other, &received, 0);
    queue(&recv_op);
    settle_kernel();
    send_op = make_op(NX_OP_SENDMSG, one, &sent, 0);
    send_op.flags = NX_OP_NOWAIT;
    assert_int_equal(inline_result(&send_op), 0);
    assert_int_equal(result_of(&recv_op), 0);
    assert_int_equal(received.flags, 0);

    recv_op = make_op(NX_OP_RECVMSG, other, &received, 0);
    queue(&recv_op);
    settle_kernel();
    ops->cancel(fix.ctx, &recv_op);
    assert_int_equal(result_of(&recv_op), -ECANCELED);
    op = make_op(NX_OP_MEMBERSHIP, other, &addrs[0], 0);
    op.arg = 1;
    assert_int_equal(inline_result(&op), -EINVAL); /* no group */
    received.fd_count = NX_FDS_MAX + 1;
    op = make_op(NX_OP_RECVMSG, other, &received, 0);
    op.flags = NX_OP_NOWAIT;
    assert_int_equal(inline_result(&op), -EINVAL);
    close_handle(one);
    close_handle(other);
}

static void descriptors_come_with_a_message_and_surplus_ones_are_closed(void **state)
{
    (void)state;
    int pair[2], fds[2];
    char buf[4];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    nx_handle one = import(pair[0]), other = import(pair[1]);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    int before = count_fds();
    for (uint32_t room = 0; room < 3; room++) {
        int32_t came[2], sent_fds[2] = {fds[0], fds[1]};
        struct iovec in = {buf, sizeof(buf)}, out = {(char[]){"xy"}, 2};
        struct nx_message received = message_of(&in, NULL, came, room), sent = message_of(&out, NULL, sent_fds, 2);
        struct nx_op recv_op = make_op(NX_OP_RECVMSG, other, &received, 0);
        queue(&recv_op);
        settle_kernel();
        struct nx_op send_op = make_op(NX_OP_SENDMSG, one, &sent, 0);
        send_op.flags = NX_OP_NOWAIT;
        assert_int_equal(inline_result(&send_op), 2);
        assert_int_equal(result_of(&recv_op), 2);
        assert_int_equal(received.fd_count, room);
        assert_int_equal(received.flags, room < 2 ? NX_MESSAGE_FDS_CUT : 0);
        assert_int_equal(count_fds(), before + (int)room);
        for (uint32_t i = 0; i < room; i++) {
            assert_int_equal(fcntl(came[i], F_GETFD), FD_CLOEXEC);
            close(came[i]);
        }
    }
    close_handle(one);
    close_handle(other);
    close(fds[0]);
    close(fds[1]);
}

static void a_multishot_poll_reports_edges(void **state)
{
    (void)state;
    int fds[2];
    char byte;
    nx_handle in = 0;
    struct nx_capability capability;
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(ops->import_fd(fix.ctx, fds[0], NX_IMPORT_FOREIGN, &in), 0);
    assert_int_equal(ops->capability(fix.driver, NX_OP_POLL, &capability), 0);
    struct nx_op op = make_op(NX_OP_POLL, in, NULL, 0);
    op.arg = NX_READABLE;
    op.flags = NX_OP_MULTISHOT;
    if (capability.flags & NX_OP_MULTISHOT) {
        assert_int_equal(write(fds[1], "x", 1), 1);
        queue(&op);
        for (int i = 0; i < 3; i++) { /* as it is, then each change */
            struct nx_completion completion = next_of(&op);
            assert_ptr_equal(completion.op, &op);
            assert_int_equal(completion.flags, NX_COMPLETION_MORE);
            assert_int_equal(completion.result, NX_READABLE);
            settle_kernel();
            struct nx_completion more;
            assert_false(take_seen(&op, &more)); /* unread */
            assert_int_equal(read(fds[0], &byte, 1), 1);
            if (i < 2)
                assert_int_equal(write(fds[1], "x", 1), 1);
        }
        ops->cancel(fix.ctx, &op);
        assert_int_equal(result_of(&op), -ECANCELED);
    } else {
        assert_int_equal(inline_result(&op), -ENOTSUP);
    }
    op = make_op(NX_OP_CLOSE, in, NULL, 0);
    op.arg = NX_CLOSE_KEEP;
    assert_int_equal(inline_result(&op), 0);
    close(fds[0]);
    close(fds[1]);
}

/* ---- tests: cancel ---- */

static void a_cancelled_read_completes_once(void **state)
{
    (void)state;
    int peer;
    char buffer[8];
    nx_handle stream = half_pair(&peer);
    struct nx_op op = make_op(NX_OP_READ, stream, buffer, sizeof(buffer));
    queue(&op);
    settle_kernel();
    ops->cancel(fix.ctx, &op);
    ops->cancel(fix.ctx, &op);
    assert_int_equal(result_of(&op), -ECANCELED);
    queue(&op); /* still only queued when it is cancelled */
    ops->cancel(fix.ctx, &op);
    assert_int_equal(result_of(&op), -ECANCELED);
    settle_kernel();
    assert_int_equal(fix.seen_count, 0);
    assert_int_equal(write(peer, "abc", 3), 3);
    assert_int_equal(run(NX_OP_READ, stream, buffer, sizeof(buffer)), 3);
    close_handle(stream);
    close(peer);
}

static void every_kind_of_waiting_op_can_be_cancelled(void **state)
{
    (void)state;
    struct nx_addr addr;
    static char big[1 << 16];
    char buffer[8];
    int peer, in[2], out[2];
    nx_handle server = unix_listener(&addr, 0), stream = half_pair(&peer), clients[2], late = 0;
    assert_int_equal(pipe2(in, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    nx_handle reader = import(in[0]), writer = import(out[1]);
    int64_t moved = 1;
    while (moved > 0)
        moved = run_nowait(NX_OP_WRITE, stream, big, sizeof(big));
    moved = 1;
    while (moved > 0)
        moved = run_nowait(NX_OP_WRITE, writer, big, sizeof(big));

    struct iovec iov = {big, sizeof(big)};
    struct nx_op waiting[] = {
        make_op(NX_OP_READ, stream, buffer, 8), make_op(NX_OP_WRITE, stream, big, sizeof(big)),
        make_op(NX_OP_WRITEV, stream, &iov, 1), make_op(NX_OP_READ, reader, buffer, 8),
        make_op(NX_OP_WRITE, writer, big, 100), make_op(NX_OP_WRITEV, writer, &iov, 1),
        make_op(NX_OP_ACCEPT, server, NULL, 0), make_op(NX_OP_POLL, stream, NULL, 0),
    };
    waiting[7].arg = NX_READABLE;
    const size_t count = sizeof(waiting) / sizeof(waiting[0]);
    for (size_t i = 0; i < count; i++)
        queue(&waiting[i]);
    settle_kernel();
    settle_kernel(); /* the second turn is for the ones that wait by POLL */
    for (size_t i = 0; i < count; i++)
        ops->cancel(fix.ctx, &waiting[i]);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(result_of(&waiting[i]), -ECANCELED);

    /* Connects wait for room in the listener's queue. */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ops->socket(fix.ctx, NX_AF_UNIX, NX_SOCK_STREAM, &clients[i]), 0);
        moved = run_nowait(NX_OP_CONNECT, clients[i], &addr, 0);
    }
    assert_int_equal(moved, -EAGAIN);
    assert_int_equal(ops->socket(fix.ctx, NX_AF_UNIX, NX_SOCK_STREAM, &late), 0);
    struct nx_op connect_op = make_op(NX_OP_CONNECT, late, &addr, 0);
    queue(&connect_op);
    settle_kernel();
    ops->cancel(fix.ctx, &connect_op);
    assert_int_equal(result_of(&connect_op), -ECANCELED);

    close_handle(late);
    close_handle(clients[0]);
    close_handle(clients[1]);
    close_handle(reader);
    close_handle(writer);
    close_handle(stream);
    close_handle(server);
    close(peer);
    close(in[1]);
    close(out[0]);
}

static void a_cancel_never_hits_the_next_op_at_the_same_address(void **state)
{
    (void)state;
    int peer;
    char buffer[8];
    nx_handle stream = half_pair(&peer);
    struct nx_op op = make_op(NX_OP_READ, stream, buffer, sizeof(buffer));
    for (int i = 0; i < 100; i++) {
        queue(&op);
        settle_kernel();
        assert_int_equal(write(peer, "a", 1), 1);
        ops->cancel(fix.ctx, &op); /* late: it may find data, or its op gone */
        int64_t r = result_of(&op);
        if (r == -ECANCELED)
            r = run(NX_OP_READ, stream, buffer, sizeof(buffer));
        assert_int_equal(r, 1);
        op = make_op(NX_OP_READ, stream, buffer, sizeof(buffer));
        queue(&op);
        settle_kernel();
        settle_kernel();
        assert_int_equal(fix.seen_count, 0);
        assert_int_equal(write(peer, "b", 1), 1);
        assert_int_equal(result_of(&op), 1);
    }
    close_handle(stream);
    close(peer);
}

static void a_cancel_racing_with_data_loses_no_byte(void **state)
{
    (void)state;
    const int rounds = (int)(20000 * scale());
    int peer, cancelled = 0;
    nx_handle stream = half_pair(&peer);
    uint8_t sent = 0, buffer;
    for (int i = 0; i < rounds; i++) {
        struct nx_op op = make_op(NX_OP_READ, stream, &buffer, 1);
        queue(&op);
        if (i & 1) /* in the kernel, or only queued */
            ops->poll(fix.ctx, NULL, 0);
        if (i & 2)
            ops->cancel(fix.ctx, &op);
        if (i & 4) /* the cancel there before the data, or after it */
            ops->poll(fix.ctx, NULL, 0);
        assert_int_equal(write(peer, &sent, 1), 1);
        ops->cancel(fix.ctx, &op);
        int64_t r = result_of(&op);
        if (r == -ECANCELED) {
            cancelled++;
            r = run_nowait(NX_OP_READ, stream, &buffer, 1);
        }
        assert_int_equal(r, 1);
        assert_int_equal(buffer, sent);
        sent++;
        assert_int_equal(fix.seen_count, 0);
    }
    assert_int_equal(run_nowait(NX_OP_READ, stream, &buffer, 1), -EAGAIN);
    assert_true(cancelled > 0 || fix.variant->sqpoll[0] == '1'); /* where another thread submits, it depends */
    close_handle(stream);
    close(peer);
}

/* ---- tests: full queues ---- */

#define MANY 300

static void open_many(nx_handle *handles, int *peers)
{
    for (int i = 0; i < MANY; i++)
        handles[i] = half_pair(&peers[i]);
}

static void close_many(nx_handle *handles, int *peers)
{
    for (int i = 0; i < MANY; i++) {
        close_handle(handles[i]);
        close(peers[i]);
    }
}

static void more_ops_than_both_queues_hold_complete_once_each(void **state)
{
    (void)state;
    static nx_handle handles[MANY];
    static int peers[MANY];
    static struct nx_op reads[MANY];
    static char buffers[MANY];
    stop();
    start("4", "8");
    open_many(handles, peers);
    for (int i = 0; i < MANY; i++) {
        reads[i] = make_op(NX_OP_READ, handles[i], &buffers[i], 1);
        queue(&reads[i]);
    }
    settle_kernel();
    assert_int_equal(fix.seen_count, 0);
    for (int i = 0; i < MANY; i++) {
        char byte = (char)i;
        assert_int_equal(write(peers[i], &byte, 1), 1);
    }
    for (int i = 0; i < MANY; i++) {
        assert_int_equal(result_of(&reads[i]), 1);
        assert_int_equal(buffers[i], (char)i);
    }
    assert_true(stat_of("sq_full") > 0);
    settle_kernel();
    close_many(handles, peers);
}

static void a_cancel_needs_no_room(void **state)
{
    (void)state;
    static nx_handle handles[MANY];
    static int peers[MANY];
    static struct nx_op reads[MANY];
    static char buffers[MANY];
    stop();
    start("4", "8");
    open_many(handles, peers);
    for (int i = 0; i < MANY; i++) {
        reads[i] = make_op(NX_OP_READ, handles[i], &buffers[i], 1);
        queue(&reads[i]);
    }
    settle_kernel();
    busy_enters = 1000; /* the kernel takes nothing: all but the first few have to be kept */
    for (int i = 0; i < MANY; i++)
        ops->cancel(fix.ctx, &reads[i]);
    busy_enters = 0;
    assert_true(fix.variant->sqpoll[0] == '1' || ops->arm(fix.ctx) == -EAGAIN);
    ops->disarm(fix.ctx);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(result_of(&reads[i]), -ECANCELED);
    settle_kernel();
    close_many(handles, peers);
}

static void a_kernel_that_takes_nothing_gives_eagain_and_no_loss(void **state)
{
    (void)state;
    struct nx_op nops[64];
    struct nx_completion completion;
    int taken = 0, r = 0;
    stop();
    start("4", "8");
    busy_enters = UINT32_MAX;
    for (; taken < 64 && r == 0; taken += r == 0) {
        nops[taken] = make_op(NX_OP_NOP, 0, NULL, 0);
        r = ops->submit(fix.ctx, &nops[taken], &completion);
    }
    assert_int_equal(r, -EAGAIN);
    assert_true(taken > 0);
    assert_int_equal(stat_of("in_flight"), (uint64_t)taken);
    busy_enters = 0;
    for (int i = 0; i < taken; i++)
        assert_int_equal(result_of(&nops[i]), 0);
}

static void a_retry_that_finds_no_room_is_kept_and_can_be_cancelled(void **state)
{
    (void)state;
    int fds[2], peer;
    char byte, other;
    stop();
    start("4", "8");
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    nx_handle in = import(fds[0]), stream = half_pair(&peer);
    for (int round = 0; round < 2; round++) {
        struct nx_op op = make_op(NX_OP_READ, in, &byte, 1), fill[4];
        queue(&op);
        nxi_uring_enter(&fix.ctx->uring, 0, IORING_ENTER_GETEVENTS, NULL); /* the CQE says -EAGAIN, unseen so far */
        uint32_t filled = 0;
        for (; nxi_uring_queued(&fix.ctx->uring) < 4; filled++) {
            fill[filled] = make_op(NX_OP_READ, stream, &other, 1);
            queue(&fill[filled]);
        }
        busy_enters = 100;
        struct nx_completion out[8];
        assert_int_equal(nxi_uring_reap(fix.ctx, out, 8), 0);
        assert_non_null(fix.ctx->backlog_first);
        assert_int_equal(ops->arm(fix.ctx), -EAGAIN);
        if (round == 0)
            ops->cancel(fix.ctx, &op);
        busy_enters = 0;
        if (round == 1)
            assert_int_equal(write(fds[1], "x", 1), 1);
        assert_int_equal(result_of(&op), round == 0 ? -ECANCELED : 1);
        for (uint32_t i = 0; i < filled; i++)
            ops->cancel(fix.ctx, &fill[i]);
        for (uint32_t i = 0; i < filled; i++)
            assert_int_equal(result_of(&fill[i]), -ECANCELED);
    }
    close_handle(in);
    close_handle(stream);
    close(fds[1]);
    close(peer);
}

static void out_of_memory_is_a_completion_and_leaves_nothing(void **state)
{
    (void)state;
    static nx_handle handles[MANY];
    static int peers[MANY];
    static struct nx_op reads[MANY];
    static char buffers[MANY];
    struct nx_completion completion;
    int failed = 0, queued = 0;
    open_many(handles, peers);
    for (int i = 0; i < MANY; i++) {
        reads[i] = make_op(NX_OP_READ, handles[i], &buffers[i], 1);
        fail_alloc = 0;
        int r = ops->submit(fix.ctx, &reads[i], &completion);
        fail_alloc = -1;
        if (r == 1) {
            assert_int_equal(completion.result, -ENOMEM);
            failed++;
        } else if (r == 0) {
            queued++;
            assert_int_equal(failed, 0);
        } else {
            turn(NX_POLL);
            i--;
        }
    }
    assert_int_equal(queued, NXI_SLOT_SEGMENT);
    assert_int_equal(failed, MANY - NXI_SLOT_SEGMENT);
    for (int i = 0; i < queued; i++)
        ops->cancel(fix.ctx, &reads[i]);
    for (int i = 0; i < queued; i++)
        assert_int_equal(result_of(&reads[i]), -ECANCELED);
    struct iovec iov = {"x", 1};
    struct nx_op op = make_op(NX_OP_WRITEV, handles[0], &iov, 1);
    fail_alloc = 0;
    assert_int_equal(inline_result(&op), -ENOMEM);
    fail_alloc = -1;
    assert_int_equal(run(NX_OP_WRITEV, handles[0], &iov, 1), 1);
    close_many(handles, peers);

    stop();
    struct nx_reason reason;
    int opened = 0;
    for (int nth = 0; nth < 16 && !opened; nth++) {
        fail_alloc = nth;
        int r = ops->open(&host, &fix.config, 5, &fix.driver, &reason);
        if (r == 0) {
            r = ops->ctx_open(fix.driver, 0, &fix.ctx, &reason);
            if (r < 0)
                ops->close(fix.driver);
        }
        opened = r == 0 ? nth + 1 : 0;
        fail_alloc = -1;
        if (r < 0) {
            assert_int_equal(r, -ENOMEM);
            assert_int_equal(live_bytes, fix.bytes_before);
            assert_int_equal(count_fds(), fix.fds_before);
        }
    }
    assert_true(opened > 4);
    looked_at = fix.ctx;
}

/* ---- tests: the loop ---- */

static void with_nothing_to_do_no_system_call_is_made(void **state)
{
    (void)state;
    settle_kernel();
    turn(NX_POLL);
    uint64_t before = stat_of("enters");
    struct nx_completion out[4];
    for (int i = 0; i < 100; i++) {
        assert_int_equal(ops->poll(fix.ctx, out, 4), 0);
        assert_int_equal(ops->arm(fix.ctx), 0);
        ops->disarm(fix.ctx);
    }
    assert_int_equal(stat_of("enters"), before);
}

/* The flag of work for this thread may be set a moment after the work was done, and nobody takes it back. */
static void a_flag_of_work_that_is_not_there_keeps_nobody_awake(void **state)
{
    (void)state;
    struct nx_completion out[4];
    uint32_t returns = 0;
    settle_kernel();
    turn(NX_POLL);
    __atomic_fetch_or(fix.ctx->uring.ring.sq.kflags, IORING_SQ_TASKRUN, __ATOMIC_SEQ_CST);
    for (nx_time until = host_now() + 20 * MS; host_now() < until; returns++) {
        if (ops->arm(fix.ctx) == 0)
            assert_int_equal(ops->wait(fix.ctx, out, 4, until), 0);
        else
            assert_int_equal(ops->poll(fix.ctx, out, 4), 0);
    }
    assert_true(returns < 20);
    assert_true(ops->wait_fd(fix.ctx) >= 0); /* and where another driver sleeps */
    for (returns = 0; returns < 20 && ops->arm(fix.ctx) == -EAGAIN; returns++)
        ops->poll(fix.ctx, out, 4);
    ops->disarm(fix.ctx);
    assert_true(returns < 20);
    __atomic_fetch_and(fix.ctx->uring.ring.sq.kflags, ~IORING_SQ_TASKRUN, __ATOMIC_SEQ_CST);
}

static void a_turn_submits_and_waits_in_one_system_call(void **state)
{
    (void)state;
    int peer;
    char buffer[8];
    nx_handle stream = half_pair(&peer);
    for (int i = 0; i < 10; i++) {
        struct nx_op in = make_op(NX_OP_READ, stream, buffer, 8), out = make_op(NX_OP_WRITE, stream, "x", 1);
        struct nx_completion completions[8];
        assert_int_equal(write(peer, "y", 1), 1);
        settle_kernel();
        uint64_t before = stat_of("enters");
        queue(&in);
        queue(&out);
        assert_int_equal(ops->arm(fix.ctx), 0);
        assert_int_equal(stat_of("enters"), before);
        assert_int_equal(ops->wait(fix.ctx, completions, 8, NX_FOREVER), 2);
        assert_int_equal(stat_of("enters"), before + 1);
    }
    close_handle(stream);
    close(peer);
}

static void completions_are_handed_out_up_to_max(void **state)
{
    (void)state;
    struct nx_op nops[10];
    struct nx_completion out[16];
    uint32_t n = 0;
    for (int i = 0; i < 10; i++) {
        nops[i] = make_op(NX_OP_NOP, 0, NULL, 0);
        queue(&nops[i]);
    }
    nx_time until = SOON;
    while (n < 9) {
        assert_true(host_now() < until);
        uint32_t got = ops->poll(fix.ctx, out + n, n < 8 ? 3 : 1);
        assert_true(got <= 3);
        n += got;
    }
    assert_int_equal(n, 9);
    while (n < 10) {
        assert_true(host_now() < until);
        if (ops->arm(fix.ctx) == 0)
            ops->disarm(fix.ctx);
        n += ops->wait(fix.ctx, out + n, 1, until);
    }
    assert_int_equal(ops->poll(fix.ctx, out, 16), 0);
}

static void a_wait_ends_in_time_and_not_before(void **state)
{
    (void)state;
    struct nx_completion out[4];
    for (int ms = 0; ms < 20; ms += 5) {
        nx_time until = host_now() + ms * MS;
        while (host_now() < until) {
            assert_int_equal(ops->arm(fix.ctx), 0);
            assert_int_equal(ops->wait(fix.ctx, out, 4, until), 0);
        }
        assert_int_equal(ops->arm(fix.ctx), 0);
        assert_int_equal(ops->wait(fix.ctx, out, 4, NX_POLL), 0);
        assert_int_equal(ops->arm(fix.ctx), 0);
        assert_int_equal(ops->wait(fix.ctx, out, 4, until), 0);
    }
    /* An idle wait sleeps: it doesn't come back again and again. */
    uint64_t before = stat_of("enters");
    nx_time until = host_now() + 50 * MS;
    while (host_now() < until) {
        assert_int_equal(ops->arm(fix.ctx), 0);
        assert_int_equal(ops->wait(fix.ctx, out, 4, until), 0);
    }
    assert_in_range(stat_of("enters") - before, 0, 4);
}

static void a_wake_ends_the_wait_whenever_it_comes(void **state)
{
    (void)state;
    struct nx_completion out[4];
    for (int i = 0; i < 50; i++) {
        ops->wake(fix.ctx); /* before arm */
        if (i & 1)
            ops->wake(fix.ctx);
        if (ops->arm(fix.ctx) == 0)
            assert_int_equal(ops->wait(fix.ctx, out, 4, NX_FOREVER), 0);
        while (ops->arm(fix.ctx) < 0)
            ops->poll(fix.ctx, out, 4);
        ops->wake(fix.ctx); /* between */
        if (i & 1)
            ops->wake(fix.ctx);
        assert_int_equal(ops->wait(fix.ctx, out, 4, NX_FOREVER), 0);
        while (ops->arm(fix.ctx) < 0)
            ops->poll(fix.ctx, out, 4);
        ops->wake(fix.ctx);
        ops->disarm(fix.ctx); /* taken back: the wake is for the next wait */
        assert_int_equal(ops->wait(fix.ctx, out, 4, NX_FOREVER), 0);
    }
    /* And then, with no wake left, a wait lasts. Stale bells may end the first ones. */
    int early = 0;
    for (;;) {
        nx_time until = host_now() + 10 * MS;
        if (ops->arm(fix.ctx) < 0)
            ops->poll(fix.ctx, out, 4);
        else
            ops->wait(fix.ctx, out, 4, until);
        if (host_now() >= until)
            break;
        assert_true(++early < 10);
    }
}

#define WAKERS 4

struct wakers {
    _Atomic uint64_t asked[WAKERS];
    _Atomic uint64_t answered;
    uint64_t rounds;
    struct nx_ctx *ctx;
    _Atomic int next;
};

/* Each waits for the answer of its last wake: one that is lost hangs the test. */
static void *waker(void *arg)
{
    struct wakers *wakers = arg;
    int self = atomic_fetch_add(&wakers->next, 1);
    for (uint64_t i = 1; i <= wakers->rounds; i++) {
        atomic_store(&wakers->asked[self], i);
        ops->wake(wakers->ctx);
        if (i % 3 == 0)
            while (!(atomic_load(&wakers->answered) >> (16 * self) & 0xffff) ||
                   (atomic_load(&wakers->answered) >> (16 * self) & 0xffff) < i)
                sched_yield();
    }
    return NULL;
}

static void no_wake_of_many_threads_is_lost(void **state)
{
    (void)state;
    static struct wakers wakers;
    pthread_t threads[WAKERS];
    struct nx_completion out[4];
    uint64_t want = 0, answer = 0;
    memset(&wakers, 0, sizeof(wakers));
    wakers.rounds = (uint64_t)(3000 * scale());
    wakers.ctx = fix.ctx;
    for (int i = 0; i < WAKERS; i++) {
        want |= wakers.rounds << (16 * i);
        assert_int_equal(pthread_create(&threads[i], NULL, waker, &wakers), 0);
    }
    while (answer != want) {
        if (ops->arm(fix.ctx) < 0) {
            ops->poll(fix.ctx, out, 4);
        } else {
            /* The core looks at its queues once more. */
            uint64_t seen = 0;
            for (int i = 0; i < WAKERS; i++)
                seen |= atomic_load(&wakers.asked[i]) << (16 * i);
            if (seen == answer)
                ops->wait(fix.ctx, out, 4, NX_FOREVER);
            else
                ops->disarm(fix.ctx);
        }
        answer = 0;
        for (int i = 0; i < WAKERS; i++)
            answer |= atomic_load(&wakers.asked[i]) << (16 * i);
        atomic_store(&wakers.answered, answer);
    }
    for (int i = 0; i < WAKERS; i++)
        pthread_join(threads[i], NULL);
}

static void *wake_from_a_thread(void *arg)
{
    ops->wake(arg);
    return NULL;
}

static void another_waiter_sees_completions_and_wakes_on_the_descriptor(void **state)
{
    (void)state;
    int peer;
    char byte;
    nx_handle stream = half_pair(&peer);
    struct pollfd pollfd = {.fd = ops->wait_fd(fix.ctx), .events = POLLIN};
    struct nx_completion out[4];
    assert_true(pollfd.fd >= 0);
    for (int i = 0; i < 20; i++) {
        struct nx_op op = make_op(NX_OP_READ, stream, &byte, 1);
        queue(&op);
        nx_time until = SOON;
        do { /* it may tell of nothing, but not for ever */
            assert_true(host_now() < until);
            while (ops->arm(fix.ctx) < 0)
                assert_int_equal(ops->poll(fix.ctx, out, 4), 0);
        } while (poll(&pollfd, 1, 0) != 0);
        assert_int_equal(write(peer, "x", 1), 1);
        assert_int_equal(poll(&pollfd, 1, 20000), 1);
        ops->disarm(fix.ctx);
        assert_int_equal(result_of(&op), 1);

        while (ops->arm(fix.ctx) < 0)
            assert_int_equal(ops->poll(fix.ctx, out, 4), 0);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, wake_from_a_thread, fix.ctx), 0);
        assert_int_equal(poll(&pollfd, 1, 20000), 1);
        pthread_join(thread, NULL);
        ops->disarm(fix.ctx);
        ops->wake(fix.ctx); /* not armed: it must count as work at the next arm */
        assert_int_equal(ops->arm(fix.ctx), -EAGAIN);
    }
    close_handle(stream);
    close(peer);
}

/* ---- tests: the process around it ---- */

static void no_descriptor_survives_exec(void **state)
{
    (void)state;
    nx_handle socket_handle = 0;
    struct nx_addr addr;
    assert_int_equal(ops->socket(fix.ctx, NX_AF_INET6, NX_SOCK_DGRAM, &socket_handle), 0);
    nx_handle server = listener(&addr);
    assert_true(fcntl(fix.ctx->uring.ring.ring_fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(fix.ctx->event_fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(ops->export_fd(fix.ctx, server), F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(ops->export_fd(fix.ctx, socket_handle), F_GETFD) & FD_CLOEXEC);
    close_handle(server);
    close_handle(socket_handle);
}

/* The flags line of the mapping that holds an address; "" if there is none. */
static void mapping_flags(const void *address, char *ret_flags, size_t size)
{
    char line[512];
    bool inside = false;
    FILE *file = fopen("/proc/self/smaps", "r");
    ret_flags[0] = 0;
    while (file && fgets(line, sizeof(line), file)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            inside = (uintptr_t)address >= from && (uintptr_t)address < to;
        else if (inside && strncmp(line, "VmFlags:", 8) == 0)
            snprintf(ret_flags, size, "%s", line + 8);
    }
    if (file)
        fclose(file);
}

static void a_forked_child_has_neither_ring_nor_descriptors(void **state)
{
    (void)state;
    int peer;
    char flags[512], byte;
    nx_handle stream = half_pair(&peer);
    const int watched[] = {fix.ctx->uring.ring.ring_fd, fix.ctx->event_fd, ops->export_fd(fix.ctx, stream)};
    mapping_flags(fix.ctx->uring.ring.sq.sqes, flags, sizeof(flags));
    assert_non_null(strstr(flags, " dc "));
    mapping_flags(fix.ctx->uring.ring.cq.khead, flags, sizeof(flags));
    assert_non_null(strstr(flags, " dc "));
    pid_t child = fork();
    if (child == 0) {
        int open_count = 0;
        ops->forked(fix.driver);
        for (int i = 0; i < 3; i++)
            open_count += fcntl(watched[i], F_GETFD) >= 0;
        _exit(open_count);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    /* The parent's go on. */
    assert_int_equal(write(peer, "x", 1), 1);
    assert_int_equal(run(NX_OP_READ, stream, &byte, 1), 1);
    close_handle(stream);
    close(peer);
}

static void *own_context(void *arg)
{
    struct nx_completion completion = {0};
    struct nx_reason reason;
    struct nx_ctx *ctx;
    struct nx_op op = make_op(NX_OP_NOP, 0, NULL, 0);
    intptr_t good = 0;
    for (int i = 0; i < 5; i++) {
        if (ops->ctx_open(arg, 1, &ctx, &reason) < 0)
            return (void *)good;
        if (ops->submit(ctx, &op, &completion) == 0)
            while (ops->arm(ctx) < 0 || ops->wait(ctx, &completion, 1, NX_FOREVER) == 0)
                if (ops->poll(ctx, &completion, 1))
                    break;
        good += completion.op == &op;
        ops->ctx_close(ctx);
    }
    return (void *)good;
}

static void workers_open_and_close_contexts_at_the_same_time(void **state)
{
    (void)state;
    pthread_t threads[4];
    struct nx_ctx *own = looked_at;
    const struct variant *before = kernel;
    looked_at = NULL;
    kernel = before->old_ops || before->nowait ? before : NULL;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, own_context, fix.driver), 0);
    for (int i = 0; i < 4; i++) {
        void *good = NULL;
        pthread_join(threads[i], &good);
        assert_int_equal((intptr_t)good, 5);
    }
    looked_at = own;
    kernel = before;
}

/* ---- main ---- */

/* Where a claim has a meaning. */
#define ANYWHERE 0
#define OWN_SUBMIT 1 /* not with SQPOLL: there a kernel thread takes SQEs, whatever io_uring_enter says */
#define RETRIES 2    /* where O_NONBLOCK descriptors are not waited for */

#define TEST(function) TEST_ON(function, ANYWHERE)
#define TEST_ON(function, where)                                                                                       \
    {                                                                                                                  \
#function, function, where                                                                                     \
    }

static const struct {
    const char *name;
    CMUnitTestFunction function;
    int where;
} tests[] = {
    TEST(nop_completes_once),
    TEST(tcp_connects_and_carries_bytes_both_ways),
    TEST(connect_to_nobody_is_refused),
    TEST(connect_on_a_nonblocking_descriptor_waits_for_its_end),
    TEST(multishot_accept_gives_every_connection),
    TEST(nowait_completes_inline_or_says_again),
    TEST(an_imported_blocking_listener_is_tried_without_blocking),
    TEST(regular_files_are_read_and_written),
    TEST(an_open_file_moves_bytes_at_offsets_and_tells_its_size),
    TEST(paths_are_made_renamed_and_removed),
    TEST(opens_that_wait_hold_nothing_up_and_are_called_back),
    TEST(nonblocking_sockets_are_waited_for),
    TEST(nonblocking_pipes_are_waited_for),
    TEST(blocking_pipes_are_waited_for),
    TEST(terminals_are_waited_for),
    TEST(writing_where_nobody_reads_is_an_error_and_no_signal),
    TEST(a_sigpipe_of_the_programs_own_is_left_pending),
    TEST(poll_reports_readiness_and_leaves_a_foreign_descriptor_alone),
    TEST(close_kills_the_handle_and_keep_leaves_the_descriptor),
    TEST(a_datagram_has_an_address_and_its_real_length),
    TEST(descriptors_come_with_a_message_and_surplus_ones_are_closed),
    TEST(a_multishot_poll_reports_edges),
    TEST(what_is_not_offered_completes_with_enotsup),
    TEST(a_cancelled_read_completes_once),
    TEST(every_kind_of_waiting_op_can_be_cancelled),
    TEST(a_cancel_never_hits_the_next_op_at_the_same_address),
    TEST(a_cancel_racing_with_data_loses_no_byte),
    TEST(more_ops_than_both_queues_hold_complete_once_each),
    TEST(a_cancel_needs_no_room),
    TEST_ON(a_kernel_that_takes_nothing_gives_eagain_and_no_loss, OWN_SUBMIT),
    TEST_ON(a_retry_that_finds_no_room_is_kept_and_can_be_cancelled, RETRIES),
    TEST(out_of_memory_is_a_completion_and_leaves_nothing),
    TEST(with_nothing_to_do_no_system_call_is_made),
    TEST(a_flag_of_work_that_is_not_there_keeps_nobody_awake),
    TEST_ON(a_turn_submits_and_waits_in_one_system_call, OWN_SUBMIT),
    TEST(completions_are_handed_out_up_to_max),
    TEST(a_wait_ends_in_time_and_not_before),
    TEST(a_wake_ends_the_wait_whenever_it_comes),
    TEST(no_wake_of_many_threads_is_lost),
    TEST(another_waiter_sees_completions_and_wakes_on_the_descriptor),
    TEST(no_descriptor_survives_exec),
    TEST(a_forked_child_has_neither_ring_nor_descriptors),
    TEST(workers_open_and_close_contexts_at_the_same_time),
};

#define TESTS (sizeof(tests) / sizeof(tests[0]))
#define VARIANTS (sizeof(variants) / sizeof(variants[0]))

int main(void)
{
    static struct CMUnitTest all[TESTS * VARIANTS];
    static char names[TESTS * VARIANTS][96];
    ops = nexus_plugin_iouring.ops;

    struct nx_reason reason;
    const struct nx_config config = {0};
    int r = nexus_plugin_iouring.probe(&host, &config, &reason);
    if (r < 0) {
        printf("1..0 # SKIP io_uring can't run here: %s: %s\n", reason.call, reason.text);
        return 0;
    }
    size_t count = 0;
    for (size_t v = 0; v < VARIANTS; v++) {
        for (size_t t = 0; t < TESTS; t++) {
            if ((tests[t].where == OWN_SUBMIT && variants[v].sqpoll[0] == '1') ||
                (tests[t].where == RETRIES && !variants[v].nowait))
                continue;
            snprintf(names[count], sizeof(names[count]), "%s: %s", variants[v].name, tests[t].name);
            all[count] = (struct CMUnitTest){names[count], tests[t].function, set_up, tear_down, (void *)&variants[v]};
            count++;
        }
    }
    return _cmocka_run_group_tests("iouring", all, count, NULL, NULL);
}
