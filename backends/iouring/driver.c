/*
 * iouring/driver.c: the io_uring driver: life, loop, wake, handles. flight.c has the ops.
 *
 * One ring per context, made and entered by its worker alone. submit and cancel only queue; poll enters the kernel if
 * something is queued or due; wait enters once to submit, wait and time out. With nothing to do there is no system
 * call.
 *
 * The wake. An eventfd; its READ is always queued or in flight. wake_state is the only word that threads share:
 *
 *     AWAKE ── arm, wait (CAS) ──> ARMED         from ARMED on, whoever wakes must ring
 *     any ── wake (exchange) ──> NOTIFIED        and rings, by write(2), if it took ARMED away
 *     ARMED ── disarm (CAS) ──> AWAKE            NOTIFIED stays: that wake ends the next wait
 *     AWAKE ── arm, where another driver waits (CAS) ──> ARMED_FD: as ARMED, with the bell of wait_fd
 *     any ── end of wait (exchange) ──> AWAKE
 *
 * Invariants: at most one write per sleep, since only one exchange can take ARMED away. No wake is lost: it finds
 * ARMED and rings, or it finds AWAKE and leaves NOTIFIED, which wait's CAS then meets, and so does not sleep; or it
 * finds NOTIFIED, and the waker before it has done either. The bell is heard whenever it rings: a READ in the kernel
 * completes, one still queued completes at once when it gets there, for the eventfd keeps the count. All accesses are
 * seq_cst read-modify-writes: what a waker wrote before its wake is seen by the worker after its wait.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pipe2, ppoll, pwritev2 */
#endif
#include "ctx.h"
#include "files.h"
#include "inline.h"
#include "message.h"
#include "probe.h"
#include "uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#define AWAKE 0u
#define ARMED 1u
#define NOTIFIED 2u
#define ARMED_FD 3u

#define POLL_TURNS 2u   /* of poll: a second one if the CQ had overflowed into the kernel's list */
#define CLOSE_ENTERS 8u /* to get the eventfd's READ back: the first does, unless signals come */
#define NS_PER_S INT64_C(1000000000)

/* ---- the driver ---- */

/* Writes to a pipe with the flag: only the call can tell. */
static bool have_nosignal(void)
{
    int fds[2];
    char byte = 0;
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    if (pipe2(fds, O_CLOEXEC) < 0)
        return false;
    ssize_t n = pwritev2(fds[1], &iov, 1, -1, NX_URING_RWF_NOSIGNAL);
    close(fds[0]);
    close(fds[1]);
    return n == 1;
}

static int iouring_open(const struct nx_host *host, const struct nx_config *config, uint32_t id,
                        struct nx_driver **ret_driver, struct nx_reason *ret_reason)
{
    struct nxi_uring_options options;
    uint32_t rung;
    int r = nxi_uring_options(host, config, &options, ret_reason);
    if (r == 0)
        r = nxi_uring_climb(&options, &rung, ret_reason);
    if (r < 0)
        return r;
    struct nx_driver *driver = host->alloc(sizeof(*driver), 0);
    if (!driver)
        return nxi_uring_explain("memory", -ENOMEM, rung, ret_reason);
    r = nx_fds_open(host, id, &driver->fds);
    if (r < 0) {
        host->free(driver, sizeof(*driver));
        return nxi_uring_explain("memory", r, rung, ret_reason);
    }
    driver->host = host;
    driver->options = options;
    driver->rung = rung;
    driver->file_ops = nxi_uring_files_probe(options.rung == NXI_URING_PLAIN);
    driver->nosignal = options.rung != NXI_URING_PLAIN && have_nosignal();
    *ret_driver = driver;
    return 0;
}

static void iouring_close(struct nx_driver *driver)
{
    const struct nx_host *host = driver->host;
    struct nxi_uring_record *record = atomic_load(&driver->records), *next;
    for (; record; record = next) {
        next = record->next;
        host->free(record, sizeof(*record));
    }
    nx_fds_close(driver->fds);
    host->free(driver, sizeof(*driver));
}

static void iouring_forked(struct nx_driver *driver)
{
    /* The rings' memory is not here (DONTFORK); a descriptor left open would keep the parent's ring alive. */
    for (struct nxi_uring_record *record = atomic_load(&driver->records); record; record = record->next) {
        _Atomic int32_t *const kept[] = {&record->ring_fd, &record->event_fd, &record->notify_fd};
        for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
            int32_t fd = atomic_exchange(kept[i], -1);
            if (fd >= 0)
                close(fd);
        }
    }
    nx_fds_close_all(driver->fds);
}

/* ---- a context's life ---- */

static struct nxi_uring_record *record_take(struct nx_driver *driver)
{
    struct nxi_uring_record *first = atomic_load(&driver->records), *record;
    for (record = first; record; record = record->next)
        if (!atomic_exchange(&record->taken, 1))
            return record;
    record = driver->host->alloc(sizeof(*record), 0);
    if (!record)
        return NULL;
    atomic_init(&record->taken, 1);
    atomic_init(&record->ring_fd, -1);
    atomic_init(&record->event_fd, -1);
    atomic_init(&record->notify_fd, -1);
    /* Ends: a failure means that another context got its record in. */
    do
        record->next = first;
    while (!atomic_compare_exchange_weak(&driver->records, &first, record));
    return record;
}

static void record_give(struct nxi_uring_record *record)
{
    if (!record)
        return;
    atomic_store(&record->ring_fd, -1);
    atomic_store(&record->event_fd, -1);
    atomic_store(&record->notify_fd, -1);
    atomic_store(&record->taken, 0);
}

static int iouring_ctx_open(struct nx_driver *driver, uint32_t worker, struct nx_ctx **ret_ctx,
                            struct nx_reason *ret_reason)
{
    const struct nx_host *host = driver->host;
    int r;

    (void)worker;
    struct nx_ctx *ctx = host->alloc(sizeof(*ctx), _Alignof(struct nx_ctx));
    if (!ctx)
        return nxi_uring_explain("memory", -ENOMEM, driver->rung, ret_reason);
    ctx->notify_fd = -1;
    ctx->driver = driver;
    ctx->fds = driver->fds;
    ctx->slots.host = ctx->host = host;
    ctx->record = record_take(driver);
    if (!ctx->record || nxi_slots_grow(&ctx->slots) < 0) {
        r = nxi_uring_explain("memory", -ENOMEM, driver->rung, ret_reason);
        goto fail_memory;
    }
    /* Not O_NONBLOCK: its READ is to wait. A write would only block at 2^64 - 1. */
    ctx->event_fd = eventfd(0, EFD_CLOEXEC);
    if (ctx->event_fd < 0) {
        r = nxi_uring_explain("eventfd(2)", -errno, driver->rung, ret_reason);
        goto fail_memory;
    }
    r = nxi_uring_open(&ctx->uring, &driver->options, driver->rung, ret_reason);
    if (r < 0)
        goto fail_ring;
    nxi_uring_files_prepare(&ctx->uring);
    ctx->wake_wanted = true;
    nxi_uring_listen(ctx);
    atomic_store(&ctx->record->ring_fd, ctx->uring.ring.ring_fd);
    atomic_store(&ctx->record->event_fd, ctx->event_fd);
    *ret_ctx = ctx;
    return 0;

fail_ring:
    close(ctx->event_fd);
fail_memory:
    record_give(ctx->record);
    nxi_slots_destroy(&ctx->slots);
    host->free(ctx, sizeof(*ctx));
    return r;
}

static void ring_bell(int fd)
{
    const uint64_t one = 1;
    int before = errno;
    ssize_t n = write(fd, &one, sizeof(one)); /* can't fail: eight bytes into an eventfd far from its limit */
    (void)n;
    errno = before;
}

static void iouring_ctx_close(struct nx_ctx *ctx)
{
    const struct nx_host *host = ctx->host;
    struct nx_completion unused[16];

    /* The kernel takes a closed ring down in its own time, and the READ points into ctx: have it back first. */
    uint64_t before = ctx->wakes;
    ring_bell(ctx->event_fd);
    for (uint32_t i = 0; i < CLOSE_ENTERS && ctx->wakes == before; i++) {
        nxi_uring_enter(&ctx->uring, 1, IORING_ENTER_GETEVENTS, NULL);
        nxi_uring_reap(ctx, unused, 16);
    }
    record_give(ctx->record);
    nxi_uring_close(&ctx->uring);
    close(ctx->event_fd);
    if (ctx->notify_fd >= 0)
        close(ctx->notify_fd);
    nxi_slots_destroy(&ctx->slots);
    nxi_uring_messages_free(ctx);
    host->free(ctx, sizeof(*ctx));
}

/* ---- the loop ---- */

static bool have_cqes(const struct nx_ctx *ctx)
{
    return io_uring_cq_ready(&ctx->uring.ring) != 0;
}

/* What a poll would certainly find. */
static bool have_work(struct nx_ctx *ctx)
{
    return have_cqes(ctx) || (nxi_uring_flags(&ctx->uring) & IORING_SQ_CQ_OVERFLOW) || ctx->backlog_first;
}

/*
 * TASKRUN says that completions would be made if this thread entered the kernel, but it may say so when there are none:
 * the kernel sets it after it has queued the work, and when this thread has done the work in between, it stays set
 * until the next completion. So it is a reason to enter, never one not to sleep: an enter that sleeps looks itself.
 */
static bool must_enter(const struct nx_ctx *ctx)
{
    return nxi_uring_queued(&ctx->uring) ||
           (nxi_uring_flags(&ctx->uring) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW));
}

static uint32_t iouring_poll(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max)
{
    uint32_t n = ctx->backlog_first || ctx->wake_wanted ? nxi_uring_drain(ctx, out, max) : 0;

    for (uint32_t turn = 0; turn < POLL_TURNS; turn++) {
        if (must_enter(ctx))
            nxi_uring_enter(&ctx->uring, 0, IORING_ENTER_GETEVENTS, NULL);
        n += nxi_uring_reap(ctx, out + n, max - n);
        if (__builtin_expect(!(nxi_uring_flags(&ctx->uring) & IORING_SQ_CQ_OVERFLOW), 1))
            break;
        nxi_uring_count(&ctx->overflows, 1);
    }
    return n;
}

/* Another driver waits: nobody will call wait, so flush now, and let an early wake count as work. What completes after
 * the enter is told by the descriptor, which was read before. */
static int arm_for_another(struct nx_ctx *ctx, bool notified)
{
    uint64_t count;
    ssize_t r = read(ctx->notify_fd, &count, sizeof(count)); /* what it told of is looked at below */
    (void)r;
    if (must_enter(ctx))
        nxi_uring_enter(&ctx->uring, 0, IORING_ENTER_GETEVENTS, NULL);
    if (!notified && !have_work(ctx))
        return 0;
    atomic_exchange(&ctx->wake_state, AWAKE);
    return -EAGAIN;
}

static int iouring_arm(struct nx_ctx *ctx)
{
    uint32_t state = AWAKE;

    if (ctx->wake_wanted)
        nxi_uring_listen(ctx);
    if (ctx->wake_wanted || have_work(ctx))
        return -EAGAIN;
    atomic_compare_exchange_strong(&ctx->wake_state, &state, ctx->notify_fd < 0 ? ARMED : ARMED_FD);
    /* wait submits what is queued, and meets a wake that came before. */
    return ctx->notify_fd < 0 ? 0 : arm_for_another(ctx, state == NOTIFIED);
}

static void iouring_disarm(struct nx_ctx *ctx)
{
    uint32_t state = ctx->notify_fd < 0 ? ARMED : ARMED_FD;
    atomic_compare_exchange_strong(&ctx->wake_state, &state, AWAKE);
}

/* Without EXT_ARG (before 5.11) a wait has no timeout of its own: submit, then sleep on the ring's descriptor. */
static void sleep_by_ppoll(struct nx_ctx *ctx, int64_t timeout_ns)
{
    struct pollfd pollfd = {.fd = ctx->uring.ring.ring_fd, .events = POLLIN};
    struct timespec timeout = {.tv_sec = timeout_ns / NS_PER_S, .tv_nsec = timeout_ns % NS_PER_S};

    if (must_enter(ctx))
        nxi_uring_enter(&ctx->uring, 0, IORING_ENTER_GETEVENTS, NULL);
    if (!have_work(ctx))
        ppoll(&pollfd, 1, &timeout, NULL);
}

static void ring_sleep(struct nx_ctx *ctx, nx_time until)
{
    if (until == NX_FOREVER) {
        nxi_uring_enter(&ctx->uring, 1, IORING_ENTER_GETEVENTS, NULL);
        return;
    }
    int64_t timeout_ns = until - ctx->host->now();
    if (timeout_ns <= 0) {
        nxi_uring_enter(&ctx->uring, 0, IORING_ENTER_GETEVENTS, NULL);
    } else if (ctx->uring.traits & NXI_URING_HAS_EXT_ARG) {
        struct __kernel_timespec timeout = {.tv_sec = timeout_ns / NS_PER_S, .tv_nsec = timeout_ns % NS_PER_S};
        nxi_uring_enter(&ctx->uring, 1, IORING_ENTER_GETEVENTS, &timeout);
    } else {
        sleep_by_ppoll(ctx, timeout_ns);
    }
}

static uint32_t iouring_wait(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max, nx_time until)
{
    uint32_t n = 0, state = AWAKE;

    /* A caller that did not arm, or armed for another waiter, gets the same promise. */
    if (!atomic_compare_exchange_strong(&ctx->wake_state, &state, ARMED) && state == ARMED_FD)
        atomic_compare_exchange_strong(&ctx->wake_state, &state, ARMED);
    if (ctx->backlog_first || ctx->wake_wanted)
        n = nxi_uring_drain(ctx, out, max);
    if (n || state == NOTIFIED || until == NX_POLL || ctx->wake_wanted || have_work(ctx)) {
        n += iouring_poll(ctx, out + n, max - n);
    } else {
        ring_sleep(ctx, until);
        n = nxi_uring_reap(ctx, out, max);
    }
    atomic_exchange(&ctx->wake_state, AWAKE);
    return n;
}

static void iouring_wake(struct nx_ctx *ctx)
{
    uint32_t state = atomic_exchange(&ctx->wake_state, NOTIFIED);
    if (state == ARMED)
        ring_bell(ctx->event_fd);
    else if (state == ARMED_FD)
        ring_bell(ctx->notify_fd); /* set before the state, and for good */
}

/*
 * Not the ring's own descriptor: under DEFER_TASKRUN it turns readable when a completion is due, but wakes nobody who
 * sleeps on it (Linux 6.18). A registered eventfd is signalled then, on every rung. A wake writes to it directly: by
 * way of event_fd's READ the signal would be one eventfd's out of another's, which the kernel puts off by an RCU
 * grace period.
 */
static int iouring_wait_fd(struct nx_ctx *ctx)
{
    if (ctx->notify_fd >= 0)
        return ctx->notify_fd;
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return -errno;
    int r = io_uring_register_eventfd(&ctx->uring.ring, fd);
    if (r < 0) {
        close(fd);
        return r;
    }
    ctx->notify_fd = fd;
    atomic_store(&ctx->record->notify_fd, fd);
    return fd;
}

/* ---- handles ---- */

static int iouring_socket(struct nx_ctx *ctx, uint32_t family, uint32_t type, nx_handle *ret_handle)
{
    return nx_fds_socket(ctx->fds, family, type, 0, ret_handle);
}

static int iouring_bind(struct nx_ctx *ctx, nx_handle handle, const struct nx_addr *addr)
{
    return nx_fds_bind(ctx->fds, handle, addr);
}

static int iouring_listen(struct nx_ctx *ctx, nx_handle handle, int32_t backlog)
{
    int r = nx_fds_listen(ctx->fds, handle, backlog);
    return r < 0 ? r : nxi_inline_nonblock(nx_fds_get(ctx->fds, handle));
}

static int iouring_option(struct nx_ctx *ctx, nx_handle handle, uint32_t option, int64_t value)
{
    return nx_fds_option(ctx->fds, handle, option, value);
}

static int iouring_name(struct nx_ctx *ctx, nx_handle handle, uint32_t peer, struct nx_addr *ret_addr)
{
    return nx_fds_name(ctx->fds, handle, peer, ret_addr);
}

static int iouring_import_fd(struct nx_ctx *ctx, int32_t fd, uint32_t flags, nx_handle *ret_handle)
{
    return nx_fds_import(ctx->fds, fd, flags, 0, ret_handle);
}

static int iouring_export_fd(struct nx_ctx *ctx, nx_handle handle)
{
    return nx_fds_export(ctx->fds, handle);
}

/* ---- what and how ---- */

static int file_capability(const struct nx_driver *driver, uint32_t code, struct nx_capability *ret_capability)
{
    struct nx_capability capability = {.size = sizeof(capability), .level = NX_CAP_NATIVE, .flags = NX_OP_NOWAIT};
    const char *reason = "";
    if (!(driver->file_ops & 1u << code)) {
        capability.level = NX_CAP_NO;
        capability.flags = 0;
        reason = "this kernel's io_uring hasn't got it: done on the blocking pool";
    } else if (code == NX_OP_PREADV || code == NX_OP_PWRITEV) {
        reason = "inline what the page cache takes or has";
    } else {
        reason = "by a thread of the kernel's";
    }
    snprintf(capability.reason, sizeof(capability.reason), "%s", reason);
    *ret_capability = capability;
    return 0;
}

static int iouring_capability(struct nx_driver *driver, uint32_t code, struct nx_capability *ret_capability)
{
    struct nx_capability capability = {.size = sizeof(capability), .level = NX_CAP_NATIVE, .flags = NX_OP_NOWAIT};
    const char *reason = "";
    if (code >= NX_OP_OPEN && code <= NX_OP_MKDIR)
        return file_capability(driver, code, ret_capability);
    switch (code) {
    case NX_OP_NOP:
    case NX_OP_READ:
    case NX_OP_RECVMSG:
    case NX_OP_SENDMSG:
        break;
    case NX_OP_CONNECT:
        reason = "without waiting only Unix sockets connect";
        break;
    case NX_OP_POLL:
        if (driver->rung <= NXI_URING_COOP)
            capability.flags |= NX_OP_MULTISHOT;
        else
            reason = "no edges by MULTISHOT on this rung";
        break;
    case NX_OP_WRITE:
        if (driver->rung == NXI_URING_DEFER) /* TCP and UDP; other sockets say -EOPNOTSUPP */
            capability.flags |= NX_OP_ZEROCOPY;
        /* fallthrough */
    case NX_OP_WRITEV:
        if (!driver->nosignal)
            reason = "pipes are written to by pwritev2(2): this kernel has no RWF_NOSIGNAL";
        break;
    case NX_OP_ACCEPT:
        if (driver->rung <= NXI_URING_COOP)
            capability.flags |= NX_OP_MULTISHOT;
        else
            reason = "one connection an op: multishot accept needs Linux 5.19";
        break;
    case NX_OP_SHUTDOWN:
    case NX_OP_CLOSE:
    case NX_OP_MEMBERSHIP:
        capability.level = NX_CAP_INLINE;
        break;
    default:
        capability.level = NX_CAP_NO;
        capability.flags = 0;
        reason = "not an operation of this driver";
    }
    snprintf(capability.reason, sizeof(capability.reason), "%s", reason);
    *ret_capability = capability;
    return 0;
}

/* Any thread may call this. */
static uint32_t iouring_stats(struct nx_ctx *ctx, struct nx_stat *out, uint32_t max)
{
    const struct nx_stat stats[] = {
        {"rung", ctx->uring.rung},
        {"enters", ctx->uring.enters},
        {"sqes", ctx->uring.sqes},
        {"cqes", ctx->cqes},
        {"cq_overflows", ctx->overflows},
        {"sq_full", ctx->sq_full},
        {"in_flight", ctx->slots.in_flight},
        {"retries", ctx->retries},
        {"wakes", ctx->wakes},
        {"stray_cqes", ctx->strays},
        {"kernel_entries", ctx->uring.enters + ctx->calls},
    };
    uint32_t count = sizeof(stats) / sizeof(stats[0]);
    if (count > max)
        count = max;
    memcpy(out, stats, count * sizeof(*out));
    return count;
}

static const struct nx_driver_ops iouring_ops = {
    .size = sizeof(struct nx_driver_ops),
    .domains = NX_DOMAIN_NETWORK | NX_DOMAIN_FILES | NX_DOMAIN_FOREIGN,
    .affinity = NX_AFFINITY_FREE,
    .open = iouring_open,
    .close = iouring_close,
    .ctx_open = iouring_ctx_open,
    .ctx_close = iouring_ctx_close,
    .submit = nxi_uring_submit,
    .cancel = nxi_uring_cancel,
    .poll = iouring_poll,
    .arm = iouring_arm,
    .disarm = iouring_disarm,
    .wait = iouring_wait,
    .wake = iouring_wake,
    .wait_fd = iouring_wait_fd,
    .socket = iouring_socket,
    .bind = iouring_bind,
    .listen = iouring_listen,
    .option = iouring_option,
    .name = iouring_name,
    .import_fd = iouring_import_fd,
    .export_fd = iouring_export_fd,
    .capability = iouring_capability,
    .stats = iouring_stats,
    .forked = iouring_forked,
};

static const struct nx_param iouring_params[] = {
    {"entries", NX_PARAM_UINT, 0, "256", "submission queue entries of each worker's ring"},
    {"cq_entries", NX_PARAM_UINT, 0, "4096", "completion queue entries of each worker's ring"},
    {"sqpoll", NX_PARAM_BOOL, 0, "0",
     "1: a kernel thread per ring submits; ops that need rights cost two system calls more"},
    {"rung", NX_PARAM_STRING, 0, "auto", "defer (Linux 6.1), coop (5.19), plain (5.7) or auto, the best there is"},
    {0},
};

NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_iouring = {
    .magic = NX_PLUGIN_MAGIC,
    .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR,
    .abi_minor = NX_ABI_MINOR,
    .kind = NX_PLUGIN_DRIVER,
    .name = "iouring",
    .version = "0.1.0",
    .summary = "io_uring, one ring per worker (Linux 5.7 and newer)",
    .priority = 80,
    .params = iouring_params,
    .probe = nxi_uring_probe,
    .ops = &iouring_ops,
};
