/*
 * work_stealing: workers share what they have too much of.
 *
 * A worker has, per priority, four places for ready tasks (dequeue picks the priority by weight first: shares.h):
 *
 *   bound    a private FIFO of tasks that may not leave: started ones, pinned ones. No other thread ever looks at it.
 *   ring     256 stealable tasks, oldest first. The owner pushes at tail; owner and thieves take at head.
 *   newest   one stealable task that was spawned or unblocked last: its data is warm, so it runs next. After three in a
 *            row the others get their turn. It is not hidden from thieves: behind a task that never parks it would wait
 *            for ever (tokio 4323, 4941). They look at it last, and take it only when nothing has moved there for a few
 *            looks, since its owner is most often about to take it.
 *   returned one bound task whose child has just ended: it goes on in the child's place, up to sixty times in a row.
 *            With take (a parent that waits for an unstarted child gives its own place to it) trees of tasks are walked
 *            depth first, on few and warm stacks, while tasks that nobody waits for stay first in, first out.
 *
 * and all workers share, per priority, a queue of what was injected from outside or spilled from a full ring.
 *
 *   enqueue -> newest -(displaced)-> ring -(full: the older half)-> shared -(a batch)-> ring of whoever is short
 *   dequeue <- newest (at most 3 in a row), then ring and bound in turn
 *   steal   <- a victim's oldest, and up to half of its rings for later
 *
 * Every 61st dequeue, and when a worker has nothing of its own, it takes a fair part of the shared queues into its own.
 * 61 is prime and Go's and tokio's figure: rare enough to cost nothing, often enough that nothing waits long.
 * What a worker takes from others or from the shared queues is mixed by weight: of a lower priority no more than its
 * share beside what came of the higher ones. Else it would run dry of high tasks and then work off a heap of low ones.
 *
 * Nobody sleeps while something waits (law 5). The core does, on one word:
 *
 *   producer  enqueue or inject; RMW(seq_cst) of the idle word, wakes a sleeper it sees
 *   sleeper   RMW(seq_cst) of the idle word, now it shows; has_work; parks only if that says no
 *
 *   The two RMW are ordered by the word itself. If the producer's is first, the sleeper's reads from it or from a chain
 *   of RMW that starts at it: a release sequence, so the push happened before has_work, whose loads then find it or
 *   something later. If the sleeper's is first, the producer sees it and wakes. has_work needs acquire loads only, in
 *   this order: the shared stack, taking, the shared list, then rings. A task moves from the shared queue to a ring,
 *   and each step is visible before the one that hides it: stack emptied (release) after taking was set; taking cleared
 *   (release) after the list was set; list shortened (release) after the ring has it.
 *   Three moves go the other way or between rings, and for a moment the task is in nobody's queue: spilling and closing
 *   up, of which the enqueue that does it says NX_WAKE_ANY afterwards, and stealing. Therefore a worker that has stolen
 *   owes the others a look: the core wakes one more when the last searcher finds work.
 */
#include "ring.h"
#include "shared.h"
#include "shares.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#define NOINLINE __attribute__((noinline))

#ifndef SHARED_INTERVAL
#define SHARED_INTERVAL 61u
#endif
#define NEWEST_STREAK 3u
#define RETURN_STREAK 60u /* about as long as what comes by the shared queue waits */
#ifndef SUSPECT_LOOKS
#define SUSPECT_LOOKS 4u
#endif
#define STEAL_PASSES 2u /* rings; then rings and newest */

struct worker {
    /* the owner's */
    _Alignas(LINE) struct shares shares; /* .ready: a bit may stand for a lane that thieves have emptied */
    struct fifo bound[PRIORITIES];
    struct nx_ready *returned[PRIORITIES]; /* a task whose child has ended: goes on in its place */
    uint64_t random;
    struct suspect {
        struct lane *lane; /* NULL: nobody */
        uint32_t news, looks;
    } suspect; /* whose newest waits while nothing moves there */
    uint32_t dequeues;
    uint8_t streak[PRIORITIES];     /* uses of newest in a row */
    uint8_t returns[PRIORITIES];    /* uses of returned in a row */
    uint8_t bound_turn[PRIORITIES]; /* 1: bound goes before the ring */
    /* the owner's and thieves' */
    struct rings rings;
};

struct nx_sched {
    const struct nx_host *host;
    size_t size;
    uint32_t workers;
    _Alignas(LINE) _Atomic uint32_t rotate;
    struct shared shared[PRIORITIES];
    struct worker worker[];
};

/* A mix by weight: count tasks of this weight came; the lower priorities may follow for as many rounds as those last.
 */
static inline uint32_t rounds_left(uint32_t rounds, uint32_t count, uint32_t weight)
{
    return count == 0 ? rounds : minimum(rounds, (count + weight - 1) / weight);
}

/* Puts up to limit tasks into the worker's own queue: 1/workers of the shared one, at most half a ring and what there
 * is room for. A ring without room takes one all the same, by way of bound: what is shared may not wait for a ring
 * that is never empty. Returns how many. */
static uint32_t shared_take(struct nx_sched *sched, struct worker *w, uint32_t priority, uint32_t limit)
{
    struct shared *shared = &sched->shared[priority];
    struct lane *lane = &w->rings.lane[priority];
    struct nx_ready *ready;
    uint32_t count = 0;

    if (atomic_exchange_explicit(&shared->taking, 1, memory_order_acquire) != 0)
        return 0;
    ready = shared_list(shared);
    if (ready != NULL) {
        uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_relaxed), room = ring_room(&w->rings, priority);

        count = minimum(shared->list_count, shared->list_count / sched->workers + 1);
        count = minimum(minimum(count, RING_HALF), limit);
        if (room == 0) {
            struct nx_ready *next = ready->next;

            fifo_push(&w->bound[priority], ready);
            ready = next;
            count = 1;
        } else {
            count = minimum(count, room);
            for (uint32_t i = 0; i < count; i++) {
                struct nx_ready *next = ready->next; /* before a thief can have it */

                slot_fill(&w->rings, priority, tail++, ready);
                ready = next;
            }
            atomic_store_explicit(&lane->tail, tail, memory_order_release);
        }
        shared->list_count -= count;
        w->shares.ready |= 1u << priority;
    }
    atomic_store_explicit(&shared->list, ready, memory_order_release);
    atomic_store_explicit(&shared->taking, 0, memory_order_release);
    return count;
}

/* rounds_min: for how many rounds of shares the lower priorities may come along at least. */
static void shared_take_all(struct nx_sched *sched, struct worker *w, uint32_t rounds_min)
{
    uint32_t rounds = RING_SIZE;

    for (uint32_t i = 0; i < PRIORITIES; i++) {
        uint32_t priority = priority_order[i], weight = shares_weight(priority);

        if (!shared_filled(&sched->shared[priority]))
            continue;
        rounds = rounds_left(rounds, shared_take(sched, w, priority, rounds * weight), weight);
        rounds = rounds < rounds_min ? rounds_min : rounds;
    }
}

/* ---- a worker's own ---- */

/* The owner, ring full. */
static NOINLINE void make_room(struct nx_sched *sched, struct worker *w, uint32_t priority)
{
    struct nx_ready *last, *top = ring_make_room(&w->rings, priority, &last);

    if (top != NULL)
        shared_push(&sched->shared[priority], top, last);
}

static inline void own_push(struct nx_sched *sched, struct worker *w, struct nx_ready *ready)
{
    if (ring_full(&w->rings.lane[ready->priority]))
        make_room(sched, w, ready->priority);
    ring_push(&w->rings, ready->priority, ready);
}

/* The owner: the next of one priority. */
static struct nx_ready *own_take_of(struct worker *w, uint32_t priority)
{
    struct lane *lane = &w->rings.lane[priority];
    struct nx_ready *ready = w->returned[priority];

    if (ready != NULL) {
        w->returned[priority] = NULL;
        if (w->returns[priority]++ < RETURN_STREAK)
            return ready;
        fifo_push(&w->bound[priority], ready);
    }
    w->returns[priority] = 0;
    if (w->streak[priority] < NEWEST_STREAK) {
        ready = newest_take(lane);
        if (ready != NULL) {
            w->streak[priority]++;
            return ready;
        }
    }
    w->streak[priority] = 0;
    w->bound_turn[priority] ^= 1;
    if (w->bound_turn[priority] && w->bound[priority].head != NULL)
        return fifo_pop(&w->bound[priority]);
    ready = ring_take(&w->rings, priority);
    if (ready == NULL)
        ready = fifo_pop(&w->bound[priority]);
    return ready != NULL ? ready : newest_take(lane); /* it had its three in a row, but there is nobody else */
}

static struct nx_ready *own_take(struct worker *w)
{
    while (w->shares.ready != 0) {
        uint32_t priority = shares_pick(&w->shares, w->shares.ready);
        struct nx_ready *ready = own_take_of(w, priority);

        if (ready != NULL)
            return ready;
        shares_refund(&w->shares, priority);
        w->shares.ready &= ~(1u << priority);
    }
    return NULL;
}

/* ---- the table ---- */

static int steal_open(const struct nx_host *host, const struct nx_config *config, uint32_t workers,
                      struct nx_sched **ret_sched, struct nx_reason *ret_reason)
{
    size_t size = sizeof(struct nx_sched) + workers * sizeof(struct worker);
    struct nx_sched *sched;

    (void)config;
    if (workers == 0)
        return -EINVAL;
    sched = host->alloc(size, LINE);
    if (sched == NULL) {
        ret_reason->error = ENOMEM;
        (void)snprintf(ret_reason->call, sizeof(ret_reason->call), "alloc");
        (void)snprintf(ret_reason->text, sizeof(ret_reason->text), "no memory for %u run queues", workers);
        return -ENOMEM;
    }
    sched->host = host;
    sched->size = size;
    sched->workers = workers;
    for (uint32_t i = 0; i < workers; i++) {
        struct worker *w = &sched->worker[i];

        w->random = host->random() | 1; /* xorshift stays at 0 */
        for (uint32_t priority = 0; priority < PRIORITIES; priority++) {
            fifo_init(&w->bound[priority]);
            atomic_store_explicit(&w->rings.lane[priority].head, FIRST_INDEX, memory_order_relaxed);
            atomic_store_explicit(&w->rings.lane[priority].tail, FIRST_INDEX, memory_order_relaxed);
        }
    }
    *ret_sched = sched;
    return 0;
}

static void steal_close(struct nx_sched *sched)
{
    if (sched != NULL)
        sched->host->free(sched, sched->size);
}

static uint32_t steal_select(struct nx_sched *sched, const struct nx_ready *ready, uint32_t from, uint32_t spread,
                             const uint32_t *loads)
{
    if (from < sched->workers && !spread)
        return from;
    if (!spread && ready->stealable)
        return NX_WORKER_INJECT;
    return least_loaded(loads, sched->workers, atomic_fetch_add_explicit(&sched->rotate, 1, memory_order_relaxed));
}

static uint32_t steal_enqueue(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready, uint32_t reason)
{
    struct worker *w = &sched->worker[worker];
    uint32_t priority = ready->priority;

    w->shares.ready |= 1u << priority;
    if (!ready->stealable) {
        if (reason == NX_REASON_RETURN) {
            struct nx_ready *older = w->returned[priority];

            w->returned[priority] = ready;
            ready = older;
        }
        if (ready != NULL)
            fifo_push(&w->bound[priority], ready);
        return NX_WAKE_NONE;
    }
    if (reason == NX_REASON_SPAWN || reason == NX_REASON_UNBLOCK || reason == NX_REASON_RETURN)
        ready = newest_put(&w->rings.lane[priority], ready);
    if (ready != NULL)
        own_push(sched, w, ready);
    return NX_WAKE_ANY;
}

static void steal_inject(struct nx_sched *sched, struct nx_ready *ready)
{
    shared_push(&sched->shared[ready->priority], ready, ready);
}

static struct nx_ready *steal_dequeue(struct nx_sched *sched, uint32_t worker)
{
    struct worker *w = &sched->worker[worker];
    struct nx_ready *ready;

    if (++w->dequeues == SHARED_INTERVAL) {
        w->dequeues = 0;
        shared_take_all(sched, w, SHARED_INTERVAL / SHARES_ROUND + 1); /* as many as can run until the next time */
    }
    ready = own_take(w);
    if (ready != NULL)
        return ready;
    shared_take_all(sched, w, 1);
    return own_take(w);
}

/* The owner: its running task is about to wait for this one. */
static uint32_t steal_take(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready)
{
    struct rings *rings = &sched->worker[worker].rings;
    struct lane *lane = &rings->lane[ready->priority];

    return newest_is(lane, ready) ? newest_take_this(lane, ready) : ring_take_this(rings, ready);
}

/* A victim's oldest, of which priority: by the thief's credits. It is given out and never put into the thief's ring,
 * so of each theft one task runs, and two thieves can't hand one to and fro. Then up to half of what is left, mixed
 * by weight. */
static struct nx_ready *steal_rings(struct worker *thief, struct worker *victim)
{
    struct nx_ready *ready = NULL;
    uint32_t filled = 0, rounds = RING_SIZE;

    for (uint32_t priority = 0; priority < PRIORITIES; priority++)
        filled |= ring_filled(&victim->rings, priority) ? 1u << priority : 0;
    for (uint32_t left = filled; left != 0 && ready == NULL;) {
        uint32_t priority = shares_pick(&thief->shares, left);

        ready = ring_rob(&victim->rings, priority);
        if (ready == NULL)
            shares_refund(&thief->shares, priority);
        left &= ~(1u << priority);
    }
    for (uint32_t i = 0; i < PRIORITIES && ready != NULL; i++) {
        uint32_t priority = priority_order[i], weight = shares_weight(priority), count;

        if ((filled & 1u << priority) == 0)
            continue;
        count = ring_steal(&thief->rings, &victim->rings, priority, rounds * weight);
        thief->shares.ready |= count != 0 ? 1u << priority : 0;
        rounds = rounds_left(rounds, count, weight);
    }
    return ready;
}

/* Most often the owner is just about to take it, and a thief that comes between costs both more than the task is worth.
 * So one is let be until nothing has changed there for a few looks; has_work says yes meanwhile, so the thief looks
 * again. It keeps to one suspect at a time: looks at others do not start it anew. */
static int is_stuck(struct suspect *suspect, struct lane *lane)
{
    uint32_t news = atomic_load_explicit(&lane->news, memory_order_relaxed);
    int there = atomic_load_explicit(&lane->newest, memory_order_relaxed) != NULL;

    if (suspect->lane == NULL && there)
        *suspect = (struct suspect){.lane = lane, .news = news};
    if (suspect->lane != lane)
        return 0;
    if (!there || suspect->news != news) {
        suspect->lane = NULL;
        return 0;
    }
    return ++suspect->looks >= SUSPECT_LOOKS;
}

static struct nx_ready *steal_newest(struct worker *thief, struct worker *victim)
{
    for (uint32_t left = PRIORITY_ALL; left != 0;) {
        uint32_t priority = shares_pick(&thief->shares, left);
        struct lane *lane = &victim->rings.lane[priority];
        struct nx_ready *ready = is_stuck(&thief->suspect, lane) ? newest_take(lane) : NULL;

        if (ready != NULL)
            return ready;
        shares_refund(&thief->shares, priority);
        left &= ~(1u << priority);
    }
    return NULL;
}

static struct nx_ready *steal_steal(struct nx_sched *sched, uint32_t thief)
{
    struct worker *w = &sched->worker[thief];

    for (uint32_t pass = 0; pass < STEAL_PASSES; pass++) {
        uint32_t start;

        w->random ^= w->random << 13;
        w->random ^= w->random >> 7;
        w->random ^= w->random << 17;
        start = (uint32_t)(w->random >> 32) % sched->workers;
        for (uint32_t i = 0; i < sched->workers; i++) {
            struct worker *victim = &sched->worker[(start + i) % sched->workers];
            struct nx_ready *ready;

            if (victim == w)
                continue;
            ready = steal_rings(w, victim);
            if (ready == NULL && pass != 0)
                ready = steal_newest(w, victim);
            if (ready != NULL)
                return ready;
        }
    }
    return NULL;
}

/* The order of looking is part of the protocol: see the top. */
static uint32_t steal_has_work(struct nx_sched *sched, uint32_t worker)
{
    for (uint32_t priority = 0; priority < PRIORITIES; priority++) {
        if (sched->worker[worker].returned[priority] != NULL || sched->worker[worker].bound[priority].head != NULL ||
            shared_filled(&sched->shared[priority]))
            return 1;
    }
    for (uint32_t i = 0; i < sched->workers; i++) {
        for (uint32_t priority = 0; priority < PRIORITIES; priority++) {
            struct worker *w = &sched->worker[i];

            if (atomic_load_explicit(&w->rings.lane[priority].newest, memory_order_acquire) != NULL ||
                ring_filled(&w->rings, priority))
                return 1;
        }
    }
    return 0;
}

static uint32_t dump_list(struct nx_ready *ready, struct nx_ready **out, uint32_t count, uint32_t max)
{
    for (; ready != NULL && count < max; ready = ready->next)
        out[count++] = ready;
    return count;
}

/* The shared queues show up as worker 0's. */
static uint32_t steal_dump(struct nx_sched *sched, uint32_t worker, struct nx_ready **out, uint32_t max)
{
    struct worker *w = &sched->worker[worker];
    uint32_t count = 0;

    for (uint32_t priority = 0; priority < PRIORITIES; priority++) {
        struct lane *lane = &w->rings.lane[priority];
        struct nx_ready *newest = atomic_load(&lane->newest);

        if (w->returned[priority] != NULL && count < max)
            out[count++] = w->returned[priority];
        if (newest != NULL && count < max)
            out[count++] = newest;
        for (uint32_t i = atomic_load(&lane->head); i != atomic_load(&lane->tail) && count < max; i++) {
            struct nx_ready *ready = atomic_load(&w->rings.slot[priority][i % RING_SIZE]);

            if (ready != NULL)
                out[count++] = ready;
        }
        count = dump_list(w->bound[priority].head, out, count, max);
        if (worker == 0) {
            count = dump_list(atomic_load(&sched->shared[priority].list), out, count, max);
            count = dump_list(atomic_load(&sched->shared[priority].stack), out, count, max);
        }
    }
    return count;
}

static const struct nx_sched_ops ops = {
    .size = sizeof(ops),
    .open = steal_open,
    .close = steal_close,
    .select = steal_select,
    .enqueue = steal_enqueue,
    .inject = steal_inject,
    .dequeue = steal_dequeue,
    .steal = steal_steal,
    .has_work = steal_has_work,
    .dump = steal_dump,
    .take = steal_take,
};

NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_work_stealing = {
    .magic = NX_PLUGIN_MAGIC,
    .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR,
    .abi_minor = NX_ABI_MINOR,
    .kind = NX_PLUGIN_SCHEDULER,
    .name = "work_stealing",
    .version = "0.1.0",
    .summary = "workers take each other's tasks that may move: unstarted and NX_TASK_MIGRATABLE ones",
    .priority = 50,
    .ops = &ops,
};
