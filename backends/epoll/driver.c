/*
 * epoll/driver.c: the epoll driver: a poller for the readiness adapter, one epoll instance per worker.
 *
 * A descriptor is added once, edge-triggered and for both directions (a foreign one for what is waited for); after that
 * there is no epoll_ctl until it is closed or leaves the worker.
 *
 * Waking: an eventfd in the set, edge-triggered too, so that nobody ever reads it: each write(2) is a new edge. The
 * flag `woken` keeps it to one write per wait.
 *  - wake: exchange woken to true (seq_cst); who finds it false writes.
 *  - the worker, when epoll has reported the eventfd: stores false (seq_cst), then returns.
 * A wake that finds true relies on a write that is coming or whose edge is not consumed yet, or whose edge is being
 * consumed by a wait or poll that has not returned: in each case that wait ends, or the one that follows does, if the
 * wake came after arm. The flag is never reset without an edge consumed: resetting it in arm would lose the wake that
 * found it true just before.
 *
 * Timeouts: epoll_pwait2 has nanoseconds (Linux 5.11). Without it a timerfd in the set serves, set only when the
 * deadline differs from the one it is set to.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* syscall */
#endif
#include <errno.h>
#include <limits.h>
#include <nexus/readiness.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define EPOLL_BATCH 256 /* events of one system call; the adapter asks for no more than its parameter "events" */
#define NS_PER_S 1000000000

/* No token of the adapter's: its index parts end far below. */
#define TOKEN_WAKE UINT64_MAX
#define TOKEN_TIMER (UINT64_MAX - 1)

#ifdef SYS_epoll_pwait2
#define NR_EPOLL_PWAIT2 SYS_epoll_pwait2
#else
#define NR_EPOLL_PWAIT2 441 /* the same number on every architecture */
#endif

struct kernel_timespec { /* both 64 bits on every architecture, unlike libc's */
    int64_t tv_sec;
    long long tv_nsec;
};

struct nx_poller {
    const struct nx_host *host;
    int epoll_fd, wake_fd, timer_fd; /* timer_fd: -1 where epoll_pwait2 is used */
    nx_time timer_set;               /* what timer_fd is set to; 0: it is not */
    _Alignas(64) atomic_bool woken;  /* written by other threads: on a line of its own */
    _Alignas(64) struct epoll_event events[EPOLL_BATCH];
};

/* ---- reasons ---- */

static int refuse(struct nx_reason *ret_reason, const char *call, int error)
{
    const char *text = "the kernel refused it", *remedy = "use another backend";
    if (error == EMFILE || error == ENFILE) {
        text = "too many open files, and a worker needs two";
        remedy = error == EMFILE ? "raise RLIMIT_NOFILE (ulimit -n)" : "raise fs.file-max";
    } else if (error == ENOSYS || error == EPERM || error == EACCES) {
        text = "this kernel or sandbox does not offer it";
        remedy = "let the seccomp profile pass epoll_create1, epoll_ctl, epoll_wait and eventfd2";
    } else if (error == ENOMEM) {
        text = "out of memory";
        remedy = "raise the memory limit of this process";
    }
    ret_reason->error = error;
    snprintf(ret_reason->call, sizeof(ret_reason->call), "%s", call);
    snprintf(ret_reason->text, sizeof(ret_reason->text), "%s", text);
    snprintf(ret_reason->remedy, sizeof(ret_reason->remedy), "%s", remedy);
    return -error;
}

/* ---- life ---- */

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

static int add_internal(const struct nx_poller *poller, int fd, uint64_t token)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = token};
    return epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static int pwait2(int epoll_fd, struct epoll_event *events, int max, nx_time ns)
{
    struct kernel_timespec timeout = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};
    return (int)syscall(NR_EPOLL_PWAIT2, epoll_fd, events, max, &timeout, NULL, (size_t)(_NSIG / 8));
}

/* Fills in the three descriptors. */
static int open_descriptors(struct nx_poller *poller, bool with_timer, struct nx_reason *ret_reason)
{
    const char *call = "epoll_create1(2)";
    int error;

    poller->wake_fd = poller->timer_fd = -1;
    poller->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (poller->epoll_fd < 0)
        goto fail;
    call = "eventfd2(2)";
    poller->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (poller->wake_fd < 0)
        goto fail;
    call = "epoll_ctl(2)";
    if (add_internal(poller, poller->wake_fd, TOKEN_WAKE) < 0)
        goto fail;
    /* Any failure means no: ENOSYS of an old kernel, EPERM of a sandbox that is older than the call. */
    if (!with_timer && pwait2(poller->epoll_fd, poller->events, 1, 0) == 0)
        return 0;
    call = "timerfd_create(2)";
    poller->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (poller->timer_fd < 0)
        goto fail;
    call = "epoll_ctl(2)";
    if (add_internal(poller, poller->timer_fd, TOKEN_TIMER) < 0)
        goto fail;
    return 0;
fail:
    error = errno;
    close_if_open(poller->timer_fd);
    close_if_open(poller->wake_fd);
    close_if_open(poller->epoll_fd);
    return refuse(ret_reason, call, error);
}

static int poller_open(const struct nx_host *host, const struct nx_config *config, struct nx_poller **ret_poller,
                       struct nx_reason *ret_reason)
{
    struct nx_poller *poller = host->alloc(sizeof(*poller), _Alignof(struct nx_poller));
    if (!poller)
        return refuse(ret_reason, "malloc(3)", ENOMEM);
    poller->host = host;
    atomic_init(&poller->woken, false);
    const char *wanted = host->param(config, "pwait2");
    int r = open_descriptors(poller, wanted && wanted[0] == '0', ret_reason);
    if (r < 0) {
        host->free(poller, sizeof(*poller));
        return r;
    }
    *ret_poller = poller;
    return 0;
}

static void poller_close(struct nx_poller *poller)
{
    close_if_open(poller->timer_fd);
    close(poller->wake_fd);
    close(poller->epoll_fd);
    poller->host->free(poller, sizeof(*poller));
}

static int probe(const struct nx_host *host, const struct nx_config *config, struct nx_reason *ret_reason)
{
    struct nx_poller *poller;
    int r = poller_open(host, config, &poller, ret_reason);
    if (r == 0)
        poller_close(poller);
    return r;
}

/* ---- interest ---- */

static int poller_watch(struct nx_poller *poller, int32_t fd, uint32_t events, uint64_t token)
{
    struct epoll_event event = {.events = EPOLLET, .data.u64 = token};
    if (events & NX_READY_IN)
        event.events |= EPOLLIN | EPOLLRDHUP | EPOLLPRI;
    if (events & NX_READY_OUT)
        event.events |= EPOLLOUT;
    return epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void poller_unwatch(struct nx_poller *poller, int32_t fd)
{
    struct epoll_event unused = {0}; /* before 2.6.9 it had to be there */
    epoll_ctl(poller->epoll_fd, EPOLL_CTL_DEL, fd, &unused);
}

/* ---- waiting ---- */

/* Urgent data makes recv stop short of what is there, as an error does: the same rule for the next call. */
static inline uint32_t to_ready(uint32_t events)
{
    if (__builtin_expect(events == (EPOLLIN | EPOLLOUT), 1)) /* a request */
        return NX_READY_IN | NX_READY_OUT;
    return (events & EPOLLIN ? NX_READY_IN : 0) | (events & EPOLLOUT ? NX_READY_OUT : 0) |
           (events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR | EPOLLPRI) ? NX_READY_HUP : 0);
}

/* Waits with the timerfd in the set. It is left set when something else ends the wait: the next deadline is often the
 * same, and an early return is allowed. */
static int wait_by_timer(struct nx_poller *poller, int max, nx_time until, nx_time ns)
{
    if (poller->timer_set != until) {
        struct itimerspec when = {.it_value = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)}};
        if (timerfd_settime(poller->timer_fd, 0, &when, NULL) < 0) /* not with a valid time */
            return epoll_wait(poller->epoll_fd, poller->events, max, 1);
        poller->timer_set = until;
    }
    return epoll_wait(poller->epoll_fd, poller->events, max, -1);
}

static int wait_for_events(struct nx_poller *poller, int max, nx_time until)
{
    if (until == NX_POLL)
        return epoll_wait(poller->epoll_fd, poller->events, max, 0);
    if (until == NX_FOREVER)
        return epoll_wait(poller->epoll_fd, poller->events, max, -1);
    nx_time now = poller->host->now();
    if (until <= now)
        return epoll_wait(poller->epoll_fd, poller->events, max, 0);
    if (poller->timer_fd >= 0)
        return wait_by_timer(poller, max, until, until - now);
    return pwait2(poller->epoll_fd, poller->events, max, until - now);
}

static uint32_t poller_wait(struct nx_poller *poller, struct nx_ready_event *out, uint32_t max, nx_time until)
{
    uint32_t count = 0;
    int n = wait_for_events(poller, max < EPOLL_BATCH ? (int)max : EPOLL_BATCH, until);
    for (int i = 0; i < n; i++) { /* n < 0: EINTR, an early return */
        uint64_t token = poller->events[i].data.u64;
        if (token == TOKEN_WAKE)
            atomic_store(&poller->woken, false);
        else if (token == TOKEN_TIMER)
            poller->timer_set = 0;
        else
            out[count++] = (struct nx_ready_event){.token = token, .events = to_ready(poller->events[i].events)};
    }
    return count;
}

static void poller_wake(struct nx_poller *poller)
{
    if (atomic_exchange(&poller->woken, true))
        return;
    const int saved_errno = errno; /* a signal handler may call this */
    const uint64_t one = 1;
    uint64_t sum;
    /* EAGAIN: 2^64 - 2 writes have filled the counter. Emptied once, it has room. */
    if (write(poller->wake_fd, &one, sizeof(one)) < 0 && errno == EAGAIN &&
        read(poller->wake_fd, &sum, sizeof(sum)) > 0)
        (void)!write(poller->wake_fd, &one, sizeof(one));
    errno = saved_errno;
}

static int poller_wait_fd(struct nx_poller *poller)
{
    return poller->epoll_fd;
}

static const struct nx_poller_ops epoll_poller_ops = {
    .size = sizeof(struct nx_poller_ops),
    .flags = NX_POLLER_EDGE,
    .open = poller_open,
    .close = poller_close,
    .watch = poller_watch,
    .unwatch = poller_unwatch,
    .wait = poller_wait,
    .wake = poller_wake,
    .wait_fd = poller_wait_fd,
};

NX_READINESS_DRIVER(epoll_driver_ops, epoll_poller_ops, NX_DOMAIN_NETWORK | NX_DOMAIN_FOREIGN | NX_DOMAIN_PROCESS);

static const struct nx_param epoll_params[] = {
    {"events", NX_PARAM_UINT, 0, "256", "most events taken from the kernel at once"},
    {"pwait2", NX_PARAM_BOOL, 0, "1", "0: wait with a timerfd, as on kernels before 5.11"},
    {0},
};

NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_epoll = {
    .magic = NX_PLUGIN_MAGIC,
    .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR,
    .abi_minor = NX_ABI_MINOR,
    .kind = NX_PLUGIN_DRIVER,
    .name = "epoll",
    .version = "0.1.0",
    .summary = "epoll: edge-triggered readiness, on every Linux",
    .priority = 50,
    .params = epoll_params,
    .probe = probe,
    .ops = &epoll_driver_ops,
};
