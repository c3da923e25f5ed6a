/*
 * kqueue/driver.c: the kqueue driver: a poller for the readiness adapter, one kqueue per worker.
 *
 * A descriptor has a filter per direction, added once, edge-triggered (EV_CLEAR); after that there is no change until
 * it is closed or leaves the worker. What kqueue does differently from epoll:
 *  - Adding a filter that is there changes it without a word, and the events of whoever had it go elsewhere. So the
 *    poller keeps a table by descriptor, and says EEXIST itself. A foreign descriptor that was closed while it was
 *    watched leaves a stale entry: that costs the next user of the number a duplicate, and nothing else.
 *  - The two filters fail one by one: a pipe's end may have one direction only. One that is there is enough.
 *  - A pipe whose other end is gone is refused, with EPIPE (NetBSD: EBADF): that is an event, which is made up.
 *  - A regular file is readable unless its offset is at its end: for us it is always ready, as epoll has it.
 *  - EV_EOF comes with the last data, and of a write filter means that the peer takes no more.
 *  - Urgent data makes recv stop short: NOTE_OOB tells of it where there is such a thing, else the adapter tries again.
 *  - A kqueue is not inherited by a forked child: its number may be something else there, and is not closed.
 *
 * Waking: a user event of the kqueue, where it has those, or a pipe in it; edge-triggered both. The flag `woken` keeps
 * it to one system call per wait; the protocol is epoll's (backends/epoll/driver.c), with the pipe emptied before the
 * flag is cleared: a byte that is written later is an edge of its own. Over libkqueue it is the pipe, as its kevent
 * takes a lock, which a signal handler must not.
 *
 * libkqueue (Linux) does all that by epoll, and differs in these:
 *  - It asks for a socket's error to fill in an event, and so takes it away from whoever would have been told: the error
 *    goes with our event.
 *  - The second filter of a descriptor takes the hang-up flag off the first one: the read filter comes last.
 *  - What has no room in the array of events is lost, and a descriptor can have two: the array is our own, and when it
 *    was full every descriptor is looked at by poll(2), and reported as it is.
 *  - Its descriptor can't be polled: there is no wait_fd.
 *  - What a kqueue consists of is freed by a thread of its own after close(2): that is waited for, where it has a
 *    function for it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pipe2 */
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nexus/readiness.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

#include <sys/event.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifdef LIBKQUEUE
void libkqueue_drain_pending_close(void) __attribute__((weak)); /* since 2.7, and in no header */
#endif

#ifdef LIBKQUEUE
#define KQUEUE_BATCH 512 /* what it gives at most, however many are asked for */
#else
#define KQUEUE_BATCH 256 /* events of one system call; the adapter asks for no more than its parameter "events" */
#endif
#define SWEEP_BATCH 64u /* descriptors looked at by one poll(2) */
#define NS_PER_S 1000000000
#define WAIT_MAX_S 86400   /* longer ones are refused by some kernels, and returning early is allowed */
#define TABLE_LEAST 64u    /* descriptors */
#define WAKE_IDENT INT_MAX /* of the user event; the made-up events have the descriptor's number */
#define READS 1u           /* what of a descriptor is watched: READS, WRITES, URGENT */
#define WRITES 2u
#define URGENT 4u
#define MADE_UP 8u /* it has a made-up event, which may not have been reported yet */

#if defined(EVFILT_USER) && defined(NOTE_TRIGGER)
#define HAVE_USER_EVENTS 1
#endif
#if defined(HAVE_USER_EVENTS) && !defined(__linux__)
#define PIPE_DEFAULT "0"
#else
#define PIPE_DEFAULT "1"
#endif

struct watched {
    uint64_t token;
    uint16_t filters; /* READS ...; 0: not watched */
    uint16_t events;  /* NX_READY_..., as wanted */
    uint32_t is_socket;
};

struct nx_poller {
    const struct nx_host *host;
    int kqueue_fd;
    int wake_ends[2]; /* -1: by a user event */
    pid_t owner;
    struct watched *table; /* by descriptor */
    uint32_t table_size;
    int event_next, event_count;    /* what libkqueue's array has beyond what was wanted */
    uint32_t sweep_next;            /* the next descriptor to be looked at; UINT32_MAX: no sweep is on */
    _Alignas(64) atomic_bool woken; /* written by other threads: on a line of its own */
    _Alignas(64) struct kevent events[KQUEUE_BATCH];
};

/* ---- reasons ---- */

static int refuse(struct nx_reason *ret_reason, const char *call, int error)
{
    const char *text = "the kernel refused it", *remedy = "use another backend";
    if (error == EMFILE || error == ENFILE) {
        text = "too many open files, and a worker needs up to three";
        remedy = error == EMFILE ? "raise RLIMIT_NOFILE (ulimit -n)" : "raise kern.maxfiles";
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

/* ---- changes ---- */

static int change(const struct nx_poller *poller, int ident, int filter, unsigned flags, unsigned filter_flags)
{
    struct kevent kevent_change;
    int r;
    EV_SET(&kevent_change, (uintptr_t)ident, filter, flags, filter_flags, 0, 0);
    do /* ends: interrupted only by chance, and what was done may be done again */
        r = kevent(poller->kqueue_fd, &kevent_change, 1, NULL, 0, NULL);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

#ifdef HAVE_USER_EVENTS
/* An event for the descriptor that no filter will tell of: it is there at the next wait, once. */
static int make_up(const struct nx_poller *poller, int fd)
{
    int r = change(poller, fd, EVFILT_USER, EV_ADD | EV_ONESHOT, 0);
    return r < 0 ? r : change(poller, fd, EVFILT_USER, 0, NOTE_TRIGGER);
}
#else
static int make_up(const struct nx_poller *poller, int fd)
{
    (void)poller;
    (void)fd;
    return -EPIPE;
}
#endif

/* ---- life ---- */

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* In a forked child the kqueue is not there. */
static void close_kqueue(const struct nx_poller *poller)
{
    if (poller->kqueue_fd < 0 || poller->owner != getpid())
        return;
    close(poller->kqueue_fd);
#ifdef LIBKQUEUE
    if (libkqueue_drain_pending_close)
        libkqueue_drain_pending_close();
#endif
}

static int open_pipe(int ret_ends[2])
{
#ifdef __APPLE__
    if (pipe(ret_ends) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        fcntl(ret_ends[i], F_SETFD, FD_CLOEXEC);
        fcntl(ret_ends[i], F_SETFL, O_NONBLOCK);
    }
    return 0;
#else
    return pipe2(ret_ends, O_CLOEXEC | O_NONBLOCK) < 0 ? -errno : 0;
#endif
}

static int open_wake(struct nx_poller *poller, bool by_pipe, const char **ret_call)
{
    *ret_call = "kevent(2)";
#ifdef HAVE_USER_EVENTS
    if (!by_pipe)
        return change(poller, WAKE_IDENT, EVFILT_USER, EV_ADD | EV_CLEAR, 0);
#endif
    (void)by_pipe;
    int r = open_pipe(poller->wake_ends);
    if (r < 0) {
        *ret_call = "pipe(2)";
        return r;
    }
    return change(poller, poller->wake_ends[0], EVFILT_READ, EV_ADD | EV_CLEAR, 0);
}

static void poller_close(struct nx_poller *poller)
{
    close_kqueue(poller);
    close_if_open(poller->wake_ends[0]);
    close_if_open(poller->wake_ends[1]);
    poller->host->free(poller->table, poller->table_size * sizeof(*poller->table));
    poller->host->free(poller, sizeof(*poller));
}

static int poller_open(const struct nx_host *host, const struct nx_config *config, struct nx_poller **ret_poller,
                       struct nx_reason *ret_reason)
{
    const char *call = "kqueue(2)", *by_pipe = host->param(config, "pipe");
    struct nx_poller *poller = host->alloc(sizeof(*poller), _Alignof(struct nx_poller));
    if (!poller)
        return refuse(ret_reason, "malloc(3)", ENOMEM);
    poller->host = host;
    poller->owner = getpid();
    poller->wake_ends[0] = poller->wake_ends[1] = -1;
    poller->sweep_next = UINT32_MAX;
    atomic_init(&poller->woken, false);
    poller->kqueue_fd = kqueue();
    int r = poller->kqueue_fd < 0 ? -errno : 0;
    if (r == 0) {
        fcntl(poller->kqueue_fd, F_SETFD, FD_CLOEXEC); /* exec without fork would keep it */
        r = open_wake(poller, (by_pipe ? by_pipe : PIPE_DEFAULT)[0] == '1', &call);
    }
    if (r < 0) {
        poller_close(poller);
        return refuse(ret_reason, call, -r);
    }
    *ret_poller = poller;
    return 0;
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

static int grow_table(struct nx_poller *poller, uint32_t least)
{
    uint32_t size = poller->table_size ? poller->table_size : TABLE_LEAST;
    while (size < least) /* ends: descriptors are below 2^31 */
        size *= 2;
    struct watched *table = poller->host->alloc(size * sizeof(*table), 0);
    if (!table)
        return -ENOMEM;
    if (poller->table_size)
        memcpy(table, poller->table, poller->table_size * sizeof(*table));
    poller->host->free(poller->table, poller->table_size * sizeof(*table));
    poller->table = table;
    poller->table_size = size;
    return 0;
}

/* Adds a filter, READS or so to *inout_filters: 1; 0: the descriptor has no such direction; -errno: why it is not.
 * EBADF: that it is open has been seen. */
static int add_filter(const struct nx_poller *poller, int fd, int filter, unsigned filter_flags, uint32_t bit,
                      uint32_t *inout_filters)
{
    int r = change(poller, fd, filter, EV_ADD | EV_CLEAR, filter_flags);
    if (r == -EPIPE || r == -EBADF) {
        r = make_up(poller, fd);
        bit |= MADE_UP;
    }
    if (r == 0) {
        *inout_filters |= bit;
        return 1;
    }
    return r == -EINVAL || r == -ENODEV || r == -EPERM || r == -EPIPE || r == -ENOTSUP || r == -EOPNOTSUPP ? 0 : r;
}

static void drop_filters(const struct nx_poller *poller, int fd, uint32_t filters)
{
    if (filters & READS)
        change(poller, fd, EVFILT_READ, EV_DELETE, 0);
    if (filters & WRITES)
        change(poller, fd, EVFILT_WRITE, EV_DELETE, 0);
#if defined(EVFILT_EXCEPT) && defined(NOTE_OOB)
    if (filters & URGENT)
        change(poller, fd, EVFILT_EXCEPT, EV_DELETE, 0);
#endif
#ifdef HAVE_USER_EVENTS
    if (filters & MADE_UP)
        change(poller, fd, EVFILT_USER, EV_DELETE, 0); /* if it is still there */
#endif
}

static int add_read(const struct nx_poller *poller, int fd, bool is_socket, uint32_t *inout_filters)
{
    int r = add_filter(poller, fd, EVFILT_READ, 0, READS, inout_filters);
#if defined(EVFILT_EXCEPT) && defined(NOTE_OOB)
    if (r > 0 && is_socket)
        add_filter(poller, fd, EVFILT_EXCEPT, NOTE_OOB, URGENT, inout_filters); /* Unix sockets have none */
#else
    (void)is_socket;
#endif
    return r;
}

/* Sets what the descriptor has: 0; -EPERM: it is always ready; -errno. */
static int add_filters(const struct nx_poller *poller, int fd, struct watched *watched)
{
    uint32_t filters = 0;
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
        return -EPERM;
    int r = watched->events & NX_READY_OUT ? add_filter(poller, fd, EVFILT_WRITE, 0, WRITES, &filters) : 0;
    if (r >= 0 && (watched->events & NX_READY_IN))
        r = add_read(poller, fd, S_ISSOCK(st.st_mode), &filters);
    if (r < 0) {
        drop_filters(poller, fd, filters);
        return r;
    }
    if (!filters)
        return S_ISCHR(st.st_mode) && !isatty(fd) ? -EPERM : -EINVAL;
    watched->filters = (uint16_t)filters;
    watched->is_socket = S_ISSOCK(st.st_mode);
    return 0;
}

static int poller_watch(struct nx_poller *poller, int32_t fd, uint32_t events, uint64_t token)
{
    if (fd < 0)
        return -EBADF;
    if ((uint32_t)fd >= poller->table_size) {
        int error = grow_table(poller, (uint32_t)fd + 1);
        if (error < 0)
            return error;
    }
    struct watched *watched = &poller->table[fd];
    if (watched->filters)
        return -EEXIST;
    watched->token = token;
    watched->events = (uint16_t)events;
    return add_filters(poller, fd, watched);
}

/* A descriptor that is closed already has none, and the changes fail. */
static void poller_unwatch(struct nx_poller *poller, int32_t fd)
{
    if (fd < 0 || (uint32_t)fd >= poller->table_size)
        return;
    drop_filters(poller, fd, poller->table[fd].filters);
    poller->table[fd].filters = 0;
    for (int i = poller->event_next; i < poller->event_count; i++)
        if (poller->events[i].ident == (uintptr_t)fd)
            poller->events[i].ident = UINTPTR_MAX; /* nobody's */
}

/* ---- waiting ---- */

static int wait_for_events(struct nx_poller *poller, int max, nx_time until)
{
    struct timespec timeout = {0};
    if (until == NX_FOREVER)
        return kevent(poller->kqueue_fd, NULL, 0, poller->events, max, NULL);
    nx_time now = until == NX_POLL ? 0 : poller->host->now();
    if (until != NX_POLL && until > now) {
        nx_time left = until - now;
        timeout.tv_sec = (time_t)(left / NS_PER_S < WAIT_MAX_S ? left / NS_PER_S : WAIT_MAX_S);
        timeout.tv_nsec = (long)(left % NS_PER_S);
    }
    return kevent(poller->kqueue_fd, NULL, 0, poller->events, max, &timeout);
}

static void take_wake(struct nx_poller *poller)
{
    char bytes[64];
    if (poller->wake_ends[0] >= 0)
        while (read(poller->wake_ends[0], bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes))
            ; /* ends: there is a byte per wait, if that */
    atomic_store(&poller->woken, false);
}

static bool is_wake(const struct nx_poller *poller, const struct kevent *event)
{
#ifdef HAVE_USER_EVENTS
    if (event->filter == EVFILT_USER)
        return event->ident == (uintptr_t)WAKE_IDENT;
#endif
    return poller->wake_ends[0] >= 0 && event->ident == (uintptr_t)poller->wake_ends[0];
}

static uint32_t to_ready(const struct kevent *event)
{
    if (event->filter == EVFILT_READ)
        return NX_READY_IN | (event->flags & EV_EOF ? NX_READY_HUP : 0);
    if (event->filter == EVFILT_WRITE)
        return NX_READY_OUT | (event->flags & EV_EOF ? NX_READY_HUP : 0);
    return NX_READY_HUP; /* urgent data, or made up */
}

#ifdef LIBKQUEUE
/* Reports the next descriptors of the table as they are. How many events; the sweep may go on. */
static uint32_t sweep(struct nx_poller *poller, struct nx_ready_event *out, uint32_t max)
{
    struct pollfd polls[SWEEP_BATCH];
    uint32_t n = 0, count = 0;
    for (; poller->sweep_next < poller->table_size && n < SWEEP_BATCH && n < max; poller->sweep_next++) {
        const uint32_t filters = poller->table[poller->sweep_next].filters;
        if (filters)
            polls[n++] = (struct pollfd){.fd = (int)poller->sweep_next,
                                         .events = (short)((filters & READS ? POLLIN | POLLRDHUP | POLLPRI : 0) |
                                                           (filters & WRITES ? POLLOUT : 0))};
    }
    if (poller->sweep_next >= poller->table_size)
        poller->sweep_next = UINT32_MAX;
    int r;
    do /* ends: it does not sleep, and is interrupted only by chance */
        r = poll(polls, n, 0);
    while (r < 0 && errno == EINTR);
    if (r < 0) /* out of memory: each of them is worth a try */
        for (uint32_t i = 0; i < n; i++)
            polls[i].revents = POLLIN | POLLOUT | POLLHUP;
    for (uint32_t i = 0; i < n; i++) {
        const int found = polls[i].revents;
        if (found)
            out[count++] = (struct nx_ready_event){.token = poller->table[polls[i].fd].token,
                                                   .events = (found & POLLIN ? NX_READY_IN : 0) |
                                                             (found & POLLOUT ? NX_READY_OUT : 0) |
                                                             (found & ~(POLLIN | POLLOUT) ? NX_READY_HUP : 0)};
    }
    return count;
}

/* Makes sure that there are events to take, if there are any. */
static void fetch(struct nx_poller *poller, uint32_t max, nx_time until)
{
    (void)max;
    if (poller->event_next < poller->event_count || poller->sweep_next != UINT32_MAX)
        return;
    poller->event_next = 0;
    poller->event_count = wait_for_events(poller, KQUEUE_BATCH, until);
    if (poller->event_count == KQUEUE_BATCH)
        poller->sweep_next = 0;
}
#else
static uint32_t sweep(struct nx_poller *poller, struct nx_ready_event *out, uint32_t max)
{
    (void)out;
    (void)max;
    poller->sweep_next = UINT32_MAX;
    return 0;
}

static void fetch(struct nx_poller *poller, uint32_t max, nx_time until)
{
    poller->event_next = 0;
    poller->event_count = wait_for_events(poller, max < KQUEUE_BATCH ? (int)max : KQUEUE_BATCH, until);
}
#endif

static uint32_t poller_wait(struct nx_poller *poller, struct nx_ready_event *out, uint32_t max, nx_time until)
{
    uint32_t count = 0;
    fetch(poller, max, until);
    while (count < max && poller->event_next < poller->event_count) { /* a count < 0: EINTR, an early return */
        const struct kevent *event = &poller->events[poller->event_next++];
        if (is_wake(poller, event)) {
            take_wake(poller);
            continue;
        }
        if (event->ident >= poller->table_size || !poller->table[event->ident].filters)
            continue;
        const struct watched *watched = &poller->table[event->ident];
        struct nx_ready_event *ready = &out[count++];
        *ready = (struct nx_ready_event){.token = watched->token, .events = to_ready(event)};
#ifdef LIBKQUEUE
        if ((event->flags & EV_EOF) && watched->is_socket)
            ready->error = event->fflags;
#endif
    }
    while (count < max && poller->sweep_next != UINT32_MAX) /* ends: it goes on through the table */
        count += sweep(poller, out + count, max - count);
    return count;
}

static void poller_wake(struct nx_poller *poller)
{
    if (atomic_exchange(&poller->woken, true))
        return;
    const int saved_errno = errno; /* a signal handler may call this */
    if (poller->wake_ends[1] >= 0) {
        ssize_t ignored = write(poller->wake_ends[1], "", 1);
        (void)ignored;
    } else {
#ifdef HAVE_USER_EVENTS
        change(poller, WAKE_IDENT, EVFILT_USER, 0, NOTE_TRIGGER); /* EV_ADD here would take EV_CLEAR away */
#endif
    }
    errno = saved_errno;
}

#ifndef LIBKQUEUE
static int poller_wait_fd(struct nx_poller *poller)
{
    return poller->kqueue_fd;
}
#endif

static const struct nx_poller_ops kqueue_poller_ops = {
    .size = sizeof(struct nx_poller_ops),
    .flags = NX_POLLER_EDGE,
    .open = poller_open,
    .close = poller_close,
    .watch = poller_watch,
    .unwatch = poller_unwatch,
    .wait = poller_wait,
    .wake = poller_wake,
#ifndef LIBKQUEUE
    .wait_fd = poller_wait_fd,
#endif
};

NX_READINESS_DRIVER(kqueue_driver_ops, kqueue_poller_ops, NX_DOMAIN_NETWORK | NX_DOMAIN_FOREIGN | NX_DOMAIN_PROCESS);

static const struct nx_param kqueue_params[] = {
    {"events", NX_PARAM_UINT, 0, "256", "most events taken from the kernel at once"},
    {"pipe", NX_PARAM_BOOL, 0, PIPE_DEFAULT,
     "1: other threads end a wait by a pipe, 0: by an event of the kqueue's own"},
    {0},
};

NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_kqueue = {
    .magic = NX_PLUGIN_MAGIC,
    .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR,
    .abi_minor = NX_ABI_MINOR,
    .kind = NX_PLUGIN_DRIVER,
    .name = "kqueue",
    .version = "0.1.0",
    .summary = "kqueue: edge-triggered readiness, on macOS and the BSDs",
#ifdef __linux__
    .priority = -10, /* over a library that does it by epoll: when asked for */
#else
    .priority = 50,
#endif
    .params = kqueue_params,
    .probe = probe,
    .ops = &kqueue_driver_ops,
};
