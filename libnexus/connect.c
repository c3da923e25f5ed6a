/*
 * connect.c: connecting a stream, to an address or to a name; and what it shares with listening.
 *
 * A name may have several addresses, some of which lead nowhere. They are tried as RFC 8305 has it: families
 * alternating, the next address 250 ms after the last one was begun, or as soon as that has failed. All attempts are
 * operations of this one task, beside each other, each with a waiter of the task's choice, which any completion stirs
 * (waiter.c). The first to connect wins. What is left is cancelled, waited for and closed before the call returns, so
 * that nothing outlives it; a cancel waits for no peer.
 */
#include "resolve.h"
#include <nexus/net.h>
#include <string.h>

#define UNIX_RETRY_MS 2
#define ATTEMPT_DELAY_MS 250 /* RFC 8305, section 5 */
#define FLYING_MAX 32u /* attempts at once: each has a descriptor, and pins the task, which is counted in 8 bits */

int nxi_socket(const struct nxi_driver *driver, const nx_addr *addr, nx_handle *ret_handle)
{
    if (!NXI_HAS(driver->ops, socket) || !NXI_HAS(driver->ops, bind) || !NXI_HAS(driver->ops, listen))
        return -ENOTSUP;
    return driver->ops->socket(driver->ctx, addr->family, NX_SOCK_STREAM, ret_handle);
}

int nxi_set_option(const struct nxi_driver *driver, nx_handle handle, uint32_t option, int64_t value)
{
    return NXI_HAS(driver->ops, option) ? driver->ops->option(driver->ctx, handle, option, value) : 0;
}

/* A socket that is ready to be connected; local: to bind first, or NULL. On failure there is none. */
static int make_socket(struct nxi_worker *worker, const nx_addr *where, const nx_addr *local, bool shared,
                       nx_handle *ret_handle)
{
    const struct nxi_driver *driver = &worker->drivers[0];
    nx_handle handle;
    int error = nxi_socket(driver, where, &handle);
    if (error < 0)
        return error;
    if (where->family != NX_AF_UNIX)
        error = nxi_set_option(driver, handle, NX_OPTION_NODELAY, 1);
    if (error == 0 && local && shared && local->port) /* attempts beside each other, from one port */
        error = nxi_set_option(driver, handle, NX_OPTION_REUSE_ADDR, 1);
    if (error == 0 && local)
        error = driver->ops->bind(driver->ctx, handle, local);
    if (error < 0)
        nxi_handle_close(worker, 0, handle);
    else
        *ret_handle = handle;
    return error;
}

/* ---- one address ---- */

static int connect_handle(struct nxi_worker *worker, nx_handle handle, const nx_addr *where, nx_time deadline)
{
    struct nx_op op = {.handle = handle, .code = NX_OP_CONNECT, .data = (void *)(uintptr_t)where};
    for (;;) { /* ends at the deadline, or when the listener has taken one of those before us */
        int error = (int)nxi_op_run(worker, 0, &op, deadline, true);
        if (error != -EAGAIN || deadline == NX_POLL)
            return error;
        /* A Unix listener's backlog is full: connect(2) says so at once, and nothing tells when there is room. */
        nx_time again = nx_after_ms(UNIX_RETRY_MS);
        error = nx_sleep_until(again < deadline ? again : deadline);
        if (error < 0)
            return error;
        if (again >= deadline)
            return -ETIMEDOUT;
    }
}

static int connect_one(struct nxi_worker *worker, const nx_addr *where, const nx_addr *local, nx_time deadline,
                       nx_handle *ret_handle)
{
    nx_handle handle;
    int error = make_socket(worker, where, local, false, &handle);
    if (error < 0)
        return error;
    error = connect_handle(worker, handle, where, deadline);
    if (error < 0)
        nxi_handle_close(worker, 0, handle);
    else
        *ret_handle = handle;
    return error;
}

/* ---- several addresses ---- */

struct attempt {
    struct nxi_op base;
    struct nxi_waiter waiter;
    nx_handle handle;
    enum { FLYING, LANDED, OVER } state; /* LANDED: completed, and not looked at */
};

struct race {
    struct nxi_worker *worker;
    const nx_addr *addrs, *local;
    size_t count, begun, flying;
    struct attempt *attempts; /* count of them, of which begun are valid */
    struct nxi_choice choice;
    nx_time next; /* when the next one is begun */
    int first_error;
    nx_handle winner; /* 0: none yet */
};

static void attempt_done(struct nxi_worker *worker, struct nxi_op *base, const struct nx_completion *completion)
{
    struct attempt *attempt = nxi_container(base, struct attempt, base);
    (void)worker;
    attempt->waiter.result = completion->result;
    attempt->state = LANDED;
    nxi_waiter_wake(&attempt->waiter, NX_REASON_IO);
}

/* Takes what an attempt came to: the winner's handle is kept, others are closed. */
static void settle(struct race *race, struct attempt *attempt, int64_t result)
{
    attempt->state = OVER;
    if (result == 0 && !race->winner) {
        race->winner = attempt->handle;
        return;
    }
    nxi_handle_close(race->worker, 0, attempt->handle);
    if (result < 0 && race->first_error == 0)
        race->first_error = (int)result;
}

/* Begins with the next address. One that fails at once lets the next one begin at once. */
static void begin_attempt(struct race *race)
{
    const nx_addr *where = &race->addrs[race->begun];
    struct attempt *attempt = &race->attempts[race->begun++];
    struct nx_completion completion;
    race->next = nx_after_ms(ATTEMPT_DELAY_MS);
    attempt->state = OVER;
    int error = make_socket(race->worker, where, race->local, true, &attempt->handle);
    if (error < 0) {
        race->first_error = race->first_error ? race->first_error : error;
        race->next = 0;
        return;
    }
    attempt->base = (struct nxi_op){
        .op = {.handle = attempt->handle, .code = NX_OP_CONNECT, .data = (void *)(uintptr_t)where},
        .done = attempt_done,
    };
    nxi_waiter_init(&attempt->waiter, race->worker);
    attempt->waiter.choice = &race->choice;
    attempt->state = FLYING;
    if (nxi_submit(race->worker, 0, &attempt->base, &completion) == 0) {
        race->flying++;
        return;
    }
    nxi_waiter_forget(&attempt->waiter);
    settle(race, attempt, completion.result);
    race->next = 0;
}

/* What has landed, the earliest begun first. */
static void look(struct race *race)
{
    for (size_t i = 0; i < race->begun; i++) {
        struct attempt *attempt = &race->attempts[i];
        if (attempt->state != LANDED)
            continue;
        race->flying--;
        settle(race, attempt, attempt->waiter.result);
        race->next = 0;
    }
}

static bool may_begin(const struct race *race)
{
    return race->begun < race->count && race->flying < FLYING_MAX;
}

/* Until there is a winner or none is left: 0; -ETIMEDOUT, -ECANCELED. */
static int run_race(struct race *race, struct nxi_waiter *clock, nx_time deadline)
{
    for (;;) { /* ends: each turn begins an attempt, of which there are so many, or waits for one to end */
        while (!race->winner && may_begin(race) && (race->flying == 0 || race->next <= nx_now()))
            begin_attempt(race);
        if (race->winner || race->flying == 0)
            return 0;
        bool more = may_begin(race) && race->next < deadline;
        int error = nxi_choice_wait(clock, &race->choice, more ? race->next : deadline);
        atomic_store_explicit(&race->choice.stirred, false, memory_order_relaxed);
        look(race);
        if (race->winner)
            return 0;
        if (error == -ECANCELED || (error == -ETIMEDOUT && nxi_deadline(race->worker, deadline) <= nx_now()))
            return error;
    }
}

/* The losers: none is in flight afterwards. */
static void end_race(struct race *race)
{
    const struct nxi_driver *driver = &race->worker->drivers[0];
    for (size_t i = 0; i < race->begun; i++)
        if (race->attempts[i].state == FLYING)
            driver->ops->cancel(driver->ctx, &race->attempts[i].base.op);
    for (size_t i = 0; i < race->begun; i++) {
        struct attempt *attempt = &race->attempts[i];
        if (attempt->state == OVER)
            continue;
        nxi_waiter_wait(&attempt->waiter, NX_FOREVER, false);
        attempt->state = OVER;
        nxi_handle_close(race->worker, 0, attempt->handle);
    }
}

static int connect_any(struct nxi_worker *worker, const nx_addr *addrs, size_t count, const nx_addr *local,
                       nx_time deadline, nx_handle *ret_handle)
{
    struct race race = {.worker = worker, .addrs = addrs, .local = local, .count = count};
    struct nxi_waiter clock;
    race.attempts = nxi_alloc(count * sizeof(*race.attempts));
    if (!race.attempts)
        return -ENOMEM;
    nxi_waiter_init(&clock, worker);
    nxi_waiter_note(&clock, "connect", NXI_OBJECT_NONE, 0);
    int error = run_race(&race, &clock, deadline);
    end_race(&race);
    nxi_waiter_forget(&clock);
    nxi_free(race.attempts, count * sizeof(*race.attempts));
    if (race.winner)
        *ret_handle = race.winner;
    return race.winner ? 0 : error < 0 ? error : race.first_error;
}

/* Families take turns, beginning with the first one's; within a family the order stays. In place. */
static void interleave(nx_addr *addrs, size_t count)
{
    for (size_t i = 1; i < count; i++) {
        size_t other = i;
        while (other < count && addrs[other].family == addrs[i - 1].family)
            other++;
        if (other == i || other == count)
            continue;
        nx_addr next = addrs[other];
        memmove(&addrs[i + 1], &addrs[i], (other - i) * sizeof(*addrs));
        addrs[i] = next;
    }
}

/* Only those that the local address can reach. */
static size_t keep_family(nx_addr *addrs, size_t count, uint16_t family)
{
    size_t kept = 0;
    for (size_t i = 0; i < count; i++)
        if (addrs[i].family == family)
            addrs[kept++] = addrs[i];
    return kept;
}

/* ---- the call ---- */

static int connect_name(struct nxi_worker *worker, const char *name, const nx_addr *local, nx_time deadline,
                        nx_handle *ret_handle)
{
    nx_addr *addrs;
    size_t count;
    int error = nxi_resolve(name, &addrs, &count, deadline);
    if (error < 0)
        return error;
    size_t usable = local ? keep_family(addrs, count, local->family) : count;
    interleave(addrs, usable);
    if (usable == 0)
        error = -EAFNOSUPPORT;
    else
        error = connect_any(worker, addrs, usable, local, deadline, ret_handle);
    nxi_free(addrs, count * sizeof(*addrs));
    return error;
}

/* To an address or a name; the task is pinned to this worker. */
static int connect_to(struct nxi_worker *worker, const char *text, const nx_connect_options *options, nx_time deadline,
                      nx_handle *ret_handle)
{
    nx_addr where, local;
    if (options->local && nx_addr_parse(options->local, &local) < 0)
        return -EINVAL;
    if (options->timeout_ns > 0 && deadline != NX_POLL) {
        nx_time limit = nx_after_ns(options->timeout_ns);
        deadline = limit < deadline ? limit : deadline;
    }
    if (nx_addr_parse(text, &where) < 0)
        return connect_name(worker, text, options->local ? &local : NULL, deadline, ret_handle);
    return connect_one(worker, &where, options->local ? &local : NULL, deadline, ret_handle);
}

int nx_connect(const char *addr, const nx_connect_options *given, nx_stream **ret_stream, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    nx_connect_options options;
    nx_handle handle;
    if (!worker)
        return nxi_no_task();
    if (!addr || !ret_stream || nxi_options_copy(&options, sizeof(options), given) < 0)
        return -EINVAL;
    if (nxi_task_cancelled(worker->current)) {
        nxi_charge(worker);
        return -ECANCELED;
    }
    worker->current->pins++; /* until the handle has its stream, this worker is the only one that may use it */
    int error = connect_to(worker, addr, &options, deadline, &handle);
    if (error == 0) {
        error = nxi_stream_new(worker, 0, handle, ret_stream);
        if (error == 0)
            nxi_stream_own(*ret_stream, worker);
        else
            nxi_handle_close(worker, 0, handle);
    }
    worker->current->pins--;
    return error;
}
