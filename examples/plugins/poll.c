/*
 * A driver on poll(2): a poller for the readiness adapter, which makes completions out of what it reports.
 *
 * The adapter asks for one report at a time: watch() says which descriptor is wanted for what, wait() sleeps until
 * something of it is ready and reports it, and with the report that interest has ended (NX_POLLER_ONESHOT). Each worker
 * has a poller of its own, and its thread alone calls these functions; but wake() comes from any thread.
 *
 * poll(2) takes an array of all that is wanted, and each wait costs time for each of them, which is why there are other
 * system calls. It must not be longer than RLIMIT_NOFILE, which anybody may lower: so it has no entries for descriptors
 * that nothing is wanted of, other than until the next wait. Nobody starves when more is ready than a wait may report:
 * entries keep their order, and a new interest is put behind them.
 */
#define _GNU_SOURCE /* pipe2, ppoll */
#include <nexus/readiness.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000
#define ROOM_LEAST 64u

struct interest {
    uint64_t token; /* what a report names the descriptor by; 0: not watched */
    size_t place;   /* in the set; 0: none, for the first entry is the pipe's */
};

struct nx_poller {
    const struct nx_host *host;
    int wake_fds[2];            /* a pipe: any thread writes, the worker reads */
    struct interest *interests; /* by descriptor */
    struct pollfd *set; /* .fd is ~fd where nothing is wanted any more: the kernel passes over what is negative */
    size_t room, count; /* of both arrays; of the set */
};

/* All that users see of a driver that can't run: CALL: ERROR (TEXT). REMEDY */
static int refuse(struct nx_reason *ret_reason, const char *call, int error)
{
    ret_reason->error = error;
    snprintf(ret_reason->call, sizeof(ret_reason->call), "%s", call);
    snprintf(ret_reason->text, sizeof(ret_reason->text), "%s", strerror(error));
    snprintf(ret_reason->remedy, sizeof(ret_reason->remedy), "%s",
             error == EMFILE ? "raise RLIMIT_NOFILE (ulimit -n)" : "use another backend");
    return -error;
}

/* ---- life ---- */

/* Each descriptor has at most one entry in the set, so both arrays are as long as the highest one asks for. */
static int make_room(struct nx_poller *poller, size_t wanted)
{
    const struct nx_host *host = poller->host;
    size_t room = wanted < ROOM_LEAST ? ROOM_LEAST : 2 * wanted;
    struct interest *interests;
    struct pollfd *set;

    if (wanted <= poller->room)
        return 0;
    interests = host->alloc(room * sizeof(*interests), 0);
    set = host->alloc(room * sizeof(*set), 0);
    if (!interests || !set) {
        host->free(set, room * sizeof(*set));
        host->free(interests, room * sizeof(*interests));
        return -ENOMEM;
    }
    if (poller->room > 0) {
        memcpy(interests, poller->interests, poller->room * sizeof(*interests));
        memcpy(set, poller->set, poller->count * sizeof(*set));
    }
    host->free(poller->set, poller->room * sizeof(*set));
    host->free(poller->interests, poller->room * sizeof(*interests));
    poller->interests = interests;
    poller->set = set;
    poller->room = room;
    return 0;
}

static void poller_close(struct nx_poller *poller)
{
    const struct nx_host *host = poller->host;

    host->free(poller->set, poller->room * sizeof(*poller->set));
    host->free(poller->interests, poller->room * sizeof(*poller->interests));
    close(poller->wake_fds[1]);
    close(poller->wake_fds[0]);
    host->free(poller, sizeof(*poller));
}

static int poller_open(const struct nx_host *host, const struct nx_config *config, struct nx_poller **ret_poller,
                       struct nx_reason *ret_reason)
{
    struct nx_poller *poller = host->alloc(sizeof(*poller), 0);

    (void)config; /* the adapter reads the parameter "events" */
    if (!poller)
        return refuse(ret_reason, "malloc(3)", ENOMEM);
    poller->host = host;
    if (pipe2(poller->wake_fds, O_NONBLOCK | O_CLOEXEC) < 0) {
        int error = errno;

        host->free(poller, sizeof(*poller));
        return refuse(ret_reason, "pipe2(2)", error);
    }
    if (make_room(poller, ROOM_LEAST) < 0) {
        poller_close(poller);
        return refuse(ret_reason, "malloc(3)", ENOMEM);
    }
    poller->set[poller->count++] = (struct pollfd){.fd = poller->wake_fds[0], .events = POLLIN};
    *ret_poller = poller;
    return 0;
}

/* Can it run here and now? Makes the calls that decide, and leaves nothing. */
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
    int r = make_room(poller, (size_t)fd + 1);
    struct interest *interest;
    struct pollfd *entry;

    if (r < 0)
        return r;
    interest = &poller->interests[fd];
    if (interest->token != 0 && interest->token != token)
        return -EEXIST; /* the adapter watches a duplicate then */
    interest->token = token;
    if (interest->place == 0) {
        interest->place = poller->count++;
        poller->set[interest->place] = (struct pollfd){.fd = fd};
    }
    entry = &poller->set[interest->place];
    entry->fd = fd;
    if (events & NX_READY_IN)
        entry->events |= POLLIN;
    if (events & NX_READY_OUT)
        entry->events |= POLLOUT;
    return 0;
}

static void poller_unwatch(struct nx_poller *poller, int32_t fd)
{
    struct interest *interest = &poller->interests[fd];

    interest->token = 0;
    if (interest->place > 0)
        poller->set[interest->place] = (struct pollfd){.fd = ~fd};
}

/* Takes out of the set what nothing is wanted of; the others keep their order. */
static void tidy(struct nx_poller *poller)
{
    size_t count = 1;

    for (size_t i = 1; i < poller->count; i++) {
        struct pollfd entry = poller->set[i];

        if (entry.fd < 0) {
            poller->interests[~entry.fd].place = 0;
            continue;
        }
        poller->interests[entry.fd].place = count;
        poller->set[count++] = entry;
    }
    poller->count = count;
}

/* ---- waiting ---- */

/* What the kernel says of a descriptor, as an event. The interest in that ends; by a hang-up or an error, which poll(2)
 * would report for ever, the interest in both directions. */
static struct nx_ready_event report(struct nx_poller *poller, struct pollfd *entry)
{
    struct nx_ready_event event = {.token = poller->interests[entry->fd].token};

    if (entry->revents & POLLIN)
        event.events |= NX_READY_IN;
    if (entry->revents & POLLOUT)
        event.events |= NX_READY_OUT;
    if (entry->revents & ~(POLLIN | POLLOUT))
        event.events |= NX_READY_HUP;
    entry->events &= (short)(event.events & NX_READY_HUP ? 0 : ~entry->revents);
    if (entry->events == 0)
        entry->fd = ~entry->fd;
    return event;
}

static uint32_t poller_wait(struct nx_poller *poller, struct nx_ready_event *out, uint32_t max, nx_time until)
{
    nx_time left = until == NX_POLL || until == NX_FOREVER ? 0 : until - poller->host->now();
    struct timespec timeout = {0};
    uint32_t count = 0;
    char bytes[64];
    int n;

    if (left > 0)
        timeout = (struct timespec){.tv_sec = left / NS_PER_S, .tv_nsec = left % NS_PER_S};
    tidy(poller);
    n = ppoll(poller->set, poller->count, until == NX_FOREVER ? NULL : &timeout, NULL);
    if (n <= 0) /* < 0: a signal, an early return */
        return 0;
    if (poller->set[0].revents != 0)
        while (read(poller->wake_fds[0], bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes)) /* ends: wakers give way */
            ;
    for (size_t i = 1; i < poller->count && count < max; i++)
        if (poller->set[i].revents != 0)
            out[count++] = report(poller, &poller->set[i]);
    return count;
}

/* A byte in the pipe stays until a wait has read it, so that no wake is lost between two of them. */
static void poller_wake(struct nx_poller *poller)
{
    int saved_errno = errno; /* a signal handler may call this */
    ssize_t n = write(poller->wake_fds[1], "", 1);

    (void)n; /* the pipe is full: it is readable anyway */
    errno = saved_errno;
}

/* ---- what the file exports ---- */

static const struct nx_poller_ops poller_ops = {
    .size = sizeof(struct nx_poller_ops),
    .flags = NX_POLLER_ONESHOT,
    .open = poller_open,
    .close = poller_close,
    .watch = poller_watch,
    .unwatch = poller_unwatch,
    .wait = poller_wait,
    .wake = poller_wake,
};

NX_READINESS_DRIVER(driver_ops, poller_ops, NX_DOMAIN_NETWORK | NX_DOMAIN_FOREIGN | NX_DOMAIN_PROCESS);

static const struct nx_param params[] = {
    {"events", NX_PARAM_UINT, 0, "256", "most events taken at once"},
    {0},
};

NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_poll = {
    .magic = NX_PLUGIN_MAGIC,
    .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR,
    .abi_minor = NX_ABI_MINOR,
    .kind = NX_PLUGIN_DRIVER,
    .name = "poll",
    .version = "0.1.0",
    .summary = "poll(2): level-triggered readiness, on every Unix",
    .priority = -1, /* only when it is asked for */
    .params = params,
    .probe = probe,
    .ops = &driver_ops,
};
