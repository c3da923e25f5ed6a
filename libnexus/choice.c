/*
 * choice.c: nx_selectv: waiting for the first of several.
 *
 *   try each case without waiting ──one goes──> done
 *        │ none
 *   enter all ──> wait ──> one wins, or the deadline or a cancel does ──> leave all ──> act
 *        ^                                                                              │ nothing was there after all
 *        └──────────────────────────────────────────────────────────────────────────────┘
 *
 * The choice, a word, says who has won; whoever changes it from 0, by compare-and-swap, decides. There are two kinds of
 * cases.
 *
 * Channels, listeners and events are consumed by who is served. Their waiters are in the objects' lists, with the
 * choice. Who serves one claims the choice under the object's lock, so that it hands something over to at most one
 * waiter of a select, and passes the others over to the next in line: a loser loses nothing, and nothing is lost in
 * it. What the select finds there itself, once it is in some list already, it takes only after it has claimed its own
 * choice.
 *
 * Two selects that meet over channels would have to claim both choices at once. It never comes to that: a select locks
 * all its channels, in the order of their addresses, tries them again, and enters all their lists, before it lets go.
 * So one that finds another's waiter is in no list itself and claims the other's choice alone. (So does Go's
 * selectgo.)
 *
 * A stream that is readable, a descriptor, an ended task, the time: these are only told. Their wakes claim nothing; the
 * task claims its choice for them, leaves all others, and then reads. If the bytes are gone by then, somebody else has
 * read them, and it begins again: what others tried to give it in between is still where they left it.
 *
 * Nothing returns before each waiter is out of its list and each operation out of its driver: they live on this stack.
 */
#include "cases.h"

#define FEW 8u /* cases that wait on the stack; more are allocated */
#define GIVEN_UP UINT32_MAX

/* ---- the cases in order ---- */

static uint64_t random_of(struct nxi_worker *worker)
{
    worker->random += UINT64_C(0x9e3779b97f4a7c15) + worker->index;
    uint64_t mixed = worker->random; /* splitmix64 */
    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

/* By steps that no count divides, so that each is visited; forwards and backwards alike, so that of any two that are
 * ready each is as likely to come first, neighbours among many too. */
static void set_order(struct nxi_cases *selection, struct nxi_worker *worker, unsigned flags)
{
    static const uint8_t strides[] = {67, 71, 73, 79, 83, 89, 97, 101}; /* primes above NX_SELECT_MAX */
    uint32_t count = selection->count;
    selection->start = 0;
    selection->stride = 1;
    if (count < 2 || flags & NX_SELECT_BIASED)
        return;
    uint64_t random = random_of(worker);
    uint32_t stride = strides[random & 7] % count;
    selection->stride = random & 8 ? count - stride : stride;
    selection->start = (uint32_t)((random >> 32) * count >> 32);
}

/* The first in order that can go, which has gone then; or -EAGAIN. */
static int try_all(struct nxi_cases *selection)
{
    for (NXI_EACH_CASE(selection, i)) {
        const nx_case *one = &selection->cases[i];
        if (nxi_case_absent(one))
            continue;
        int64_t result = nxi_case_try(selection, one);
        if (result != -EAGAIN) {
            selection->result = result;
            return (int)i;
        }
    }
    return -EAGAIN;
}

/* ---- the choice ---- */

static uint32_t winner_of(const struct nxi_cases *selection)
{
    return atomic_load_explicit(&selection->choice.winner, memory_order_acquire);
}

/* False: another has won. */
static bool decide_for(struct nxi_cases *selection, uint32_t number)
{
    uint32_t open = 0;
    return atomic_compare_exchange_strong_explicit(&selection->choice.winner, &open, number, memory_order_acq_rel,
                                                   memory_order_acquire);
}

/* Once one has won, the others need not be entered. The first that is told to be ready, or -EAGAIN. */
static int enter_all(struct nxi_cases *selection)
{
    nxi_cases_enter_chans(selection);
    for (NXI_EACH_CASE(selection, i)) {
        const nx_case *one = &selection->cases[i];
        if (winner_of(selection))
            break;
        if (one->op <= NX_CASE_OP_SEND || one->op == NX_CASE_OP_TIMER || nxi_case_absent(one))
            continue;
        if (nxi_case_enter(selection, i))
            return (int)i;
    }
    return -EAGAIN;
}

/* ---- waiting ---- */

/* The first that has been told to be ready, or -EAGAIN. */
static int find_told(struct nxi_cases *selection)
{
    for (NXI_EACH_CASE(selection, i)) {
        if (nxi_case_is_told(&selection->cases[i]) && nxi_case_told(selection, i))
            return (int)i;
    }
    return -EAGAIN;
}

static nx_time first_timer(const struct nxi_cases *selection, nx_time deadline)
{
    for (uint32_t i = 0; i < selection->count; i++) {
        const nx_case *one = &selection->cases[i];
        if (one->op == NX_CASE_OP_TIMER && one->at < deadline)
            deadline = one->at;
    }
    return deadline;
}

static int find_timer(const struct nxi_cases *selection)
{
    nx_time now = nx_now();
    for (NXI_EACH_CASE(selection, i)) {
        const nx_case *one = &selection->cases[i];
        if (one->op == NX_CASE_OP_TIMER && one->at <= now)
            return (int)i;
    }
    return -EAGAIN;
}

/* Waits until the choice is made: the winner, -ETIMEDOUT or -ECANCELED. */
static int choose(struct nxi_cases *selection, struct nxi_waiter *clock, nx_time deadline)
{
    nx_time until = first_timer(selection, deadline);
    int ready = enter_all(selection);
    for (;;) { /* ends: one that is ready wins, unless another has */
        if (ready >= 0 && decide_for(selection, (uint32_t)ready + 1))
            return ready;
        if (winner_of(selection))
            return (int)winner_of(selection) - 1;
        int error = nxi_choice_wait(clock, &selection->choice, until);
        atomic_store_explicit(&selection->choice.stirred, false, memory_order_relaxed);
        ready = error == 0 ? find_told(selection) : error == -ETIMEDOUT ? find_timer(selection) : -EAGAIN;
        if (error < 0 && ready < 0 && decide_for(selection, GIVEN_UP))
            return error;
    }
}

/* One round: the winner, -ETIMEDOUT, -ECANCELED, or -EAGAIN: nobody after all. */
static int wait_round(struct nxi_cases *selection, nx_time deadline)
{
    struct nxi_waiter clock;
    selection->worker = nxi_self();
    selection->taken = false;
    atomic_store_explicit(&selection->choice.winner, 0, memory_order_relaxed);
    atomic_store_explicit(&selection->choice.stirred, false, memory_order_relaxed);
    for (uint32_t i = 0; i < selection->count; i++)
        selection->entries[i].waiting = false;
    nxi_waiter_init(&clock, selection->worker);
    nxi_waiter_note(&clock, "select", NXI_OBJECT_NONE, 0);
    int winner = choose(selection, &clock, deadline);
    nxi_cases_leave(selection, winner);
    nxi_waiter_forget(&clock);
    if (winner < 0)
        return winner;
    selection->result = nxi_case_act(selection, winner);
    return selection->result == -EAGAIN ? -EAGAIN : winner;
}

/* Why the wait need not begin, or 0. */
static int too_late(struct nxi_worker *worker, nx_time deadline)
{
    if (nxi_task_cancelled(worker->current))
        return -ECANCELED;
    nx_time until = nxi_deadline(worker, deadline);
    return until != NX_FOREVER && until <= nx_now() ? -ETIMEDOUT : 0;
}

static int wait_rounds(struct nxi_cases *selection, nx_time deadline)
{
    for (;;) { /* ends: each turn lets others run, and somebody reads what wakes us in vain */
        int winner = wait_round(selection, deadline);
        if (winner >= 0 || winner == -ECANCELED)
            return winner;
        int late = winner == -ETIMEDOUT ? winner : too_late(nxi_self(), deadline);
        if (late == -ECANCELED)
            return late;
        winner = try_all(selection); /* the worker may have been busy past the deadline */
        if (winner >= 0 || late < 0)
            return winner >= 0 ? winner : late;
        nxi_charge(nxi_self());
    }
}

static NXI_NOINLINE int wait_on_stack(struct nxi_cases *selection, nx_time deadline)
{
    struct nxi_entry entries[FEW];
    selection->entries = entries;
    return wait_rounds(selection, deadline);
}

static NXI_NOINLINE int wait_for_many(struct nxi_cases *selection, nx_time deadline)
{
    size_t size = selection->count * sizeof(struct nxi_entry);
    selection->entries = nxi_alloc(size);
    if (!selection->entries)
        return -ENOMEM;
    int winner = wait_rounds(selection, deadline);
    nxi_free(selection->entries, size);
    return winner;
}

/* ---- the public calls ---- */

static int check(const nx_case *cases, size_t count, unsigned flags)
{
    if (count > NX_SELECT_MAX || (count > 0 && !cases) || flags & ~NX_SELECT_BIASED)
        return -EINVAL;
    for (size_t i = 0; i < count; i++) {
        if (cases[i].op < NX_CASE_OP_RECV || cases[i].op > NX_CASE_OP_EVENT)
            return -EINVAL;
    }
    return 0;
}

/* What another task may close while this one waits stays in memory. */
static void hold_all(const struct nxi_cases *selection, bool hold)
{
    for (uint32_t i = 0; i < selection->count; i++) {
        const nx_case *one = &selection->cases[i];
        bool held = !hold;
        if (!one->obj)
            continue;
        if (one->op == NX_CASE_OP_READ && hold)
            nxi_stream_hold(one->obj, &held);
        else if (one->op == NX_CASE_OP_READ)
            nxi_stream_release(one->obj, held);
        else if (one->op == NX_CASE_OP_ACCEPT && hold)
            nxi_listener_hold(one->obj);
        else if (one->op == NX_CASE_OP_ACCEPT)
            nxi_listener_release(one->obj);
    }
}

/* The winner or an error. */
static int run(struct nxi_cases *selection, nx_time deadline)
{
    int winner = try_all(selection);
    if (winner == -EAGAIN && !selection->polls) {
        int late = too_late(nxi_self(), deadline);
        if (late == 0)
            return selection->count <= FEW ? wait_on_stack(selection, deadline) : wait_for_many(selection, deadline);
        winner = late;
    }
    nxi_charge(nxi_self());
    return winner;
}

int nx_selectv(nx_case *cases, size_t count, unsigned flags, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (check(cases, count, flags) < 0)
        return -EINVAL;
    struct nxi_cold *cold = nxi_task_cold(worker->current); /* for the result: while nothing has happened */
    if (!cold)
        return -ENOMEM;
    if (nxi_task_cancelled(worker->current)) {
        nxi_charge(worker);
        return -ECANCELED;
    }
    struct nxi_cases selection = {.cases = cases, .count = (uint32_t)count, .polls = deadline == NX_POLL};
    set_order(&selection, worker, flags);
    hold_all(&selection, true);
    int winner = run(&selection, deadline);
    hold_all(&selection, false);
    if (winner < 0)
        return winner;
    cases[winner].done = 1;
    cases[winner].result = (ssize_t)selection.result;
    cold->select_result = (ssize_t)selection.result;
    return winner;
}

ssize_t nx_select_result(void)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    const struct nxi_cold *cold = worker->current->cold;
    return cold ? cold->select_result : 0;
}
