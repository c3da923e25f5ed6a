/*
 * A driver as an author could have built it for ABI 0.1: epoll behind the adapter of that time, which is linked in. Not
 * part of any build: make.sh has made x86_64-linux-gnu/driver_0_1.so of it once, against the headers of that time, and
 * tests/abi/ loads that file for as long as ABI 0 lasts.
 */
#include <errno.h>
#include <nexus/readiness.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS_MAX 64
#define WAKE UINT64_MAX /* the token of the eventfd */

struct nx_poller {
    const struct nx_host *host;
    int epoll_fd, wake_fd;
    atomic_bool woken; /* reset only when an edge of wake_fd is consumed: one write per wait */
    struct epoll_event events[EVENTS_MAX];
};

static void poller_close(struct nx_poller *poller)
{
    if (poller->epoll_fd >= 0)
        close(poller->epoll_fd);
    if (poller->wake_fd >= 0)
        close(poller->wake_fd);
    poller->host->free(poller, sizeof(*poller));
}

static int poller_open(const struct nx_host *host, const struct nx_config *config, struct nx_poller **ret_poller,
                       struct nx_reason *ret_reason)
{
    struct nx_poller *poller = host->alloc(sizeof(*poller), 0);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = WAKE};
    int r = -ENOMEM;

    (void)config;
    if (poller) {
        poller->host = host;
        poller->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        poller->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (poller->epoll_fd >= 0 && poller->wake_fd >= 0 &&
            epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, poller->wake_fd, &event) == 0) {
            *ret_poller = poller;
            return 0;
        }
        r = -errno;
        poller_close(poller);
    }
    ret_reason->error = -r;
    snprintf(ret_reason->call, sizeof(ret_reason->call), "epoll_create1(2)");
    snprintf(ret_reason->text, sizeof(ret_reason->text), "no memory or no descriptors");
    return r;
}

static int poller_watch(struct nx_poller *poller, int32_t fd, uint32_t events, uint64_t token)
{
    struct epoll_event event = {.events = EPOLLET, .data.u64 = token};

    event.events |=
        (events & NX_READY_IN ? EPOLLIN | EPOLLRDHUP | EPOLLPRI : 0) | (events & NX_READY_OUT ? EPOLLOUT : 0);
    return epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void poller_unwatch(struct nx_poller *poller, int32_t fd)
{
    epoll_ctl(poller->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static int timeout_ms(const struct nx_poller *poller, nx_time until)
{
    nx_time left;

    if (until == NX_FOREVER)
        return -1;
    left = until == NX_POLL ? 0 : until - poller->host->now();
    if (left <= 0)
        return 0;
    return left / 1000000 >= 1000000 ? 1000000000 : (int)((left + 999999) / 1000000);
}

static uint32_t poller_wait(struct nx_poller *poller, struct nx_ready_event *out, uint32_t max, nx_time until)
{
    uint32_t count = 0;
    int n = epoll_wait(poller->epoll_fd, poller->events, max < EVENTS_MAX ? (int)max : EVENTS_MAX,
                       timeout_ms(poller, until));

    for (int i = 0; i < n; i++) {
        uint32_t got = poller->events[i].events;

        if (poller->events[i].data.u64 == WAKE) {
            atomic_store(&poller->woken, false);
            continue;
        }
        out[count++] = (struct nx_ready_event){
            .token = poller->events[i].data.u64,
            .events = (got & (EPOLLIN | EPOLLPRI) ? NX_READY_IN : 0) | (got & EPOLLOUT ? NX_READY_OUT : 0) |
                      (got & (EPOLLHUP | EPOLLRDHUP | EPOLLERR | EPOLLPRI) ? NX_READY_HUP : 0),
        };
    }
    return count;
}

static void poller_wake(struct nx_poller *poller)
{
    int before = errno;

    if (!atomic_exchange(&poller->woken, true))
        eventfd_write(poller->wake_fd, 1);
    errno = before;
}

static const struct nx_poller_ops poller_ops = {
    .size = sizeof(struct nx_poller_ops),
    .flags = NX_POLLER_EDGE,
    .open = poller_open,
    .close = poller_close,
    .watch = poller_watch,
    .unwatch = poller_unwatch,
    .wait = poller_wait,
    .wake = poller_wake,
};

NX_READINESS_DRIVER(driver_ops, poller_ops, NX_DOMAIN_NETWORK | NX_DOMAIN_FOREIGN);

NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_driver_0_1 = {
    .magic = NX_PLUGIN_MAGIC,
    .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR,
    .abi_minor = NX_ABI_MINOR,
    .kind = NX_PLUGIN_DRIVER,
    .name = "driver_0_1",
    .version = "0.1",
    .summary = "epoll, built for ABI 0.1",
    .priority = -1,
    .ops = &driver_ops,
};
