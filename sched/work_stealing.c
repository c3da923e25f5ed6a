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
 * The ring (memory orders)
 *   A slot is a cell of its own: whoever exchanges the pointer in it for NULL owns the task, be it the owner, a thief, or
 *   the owner who takes a task from the middle because the running task is about to wait for it (take). head and tail
 *   only say where to look; both are written by the owner alone, and what others read of them may be old.
 *   push   slot.store(release): the slot is NULL, for head has only passed slots that were found NULL, and none but the
 *          owner fills one. tail.store(release) shows it.
 *   take   head.load(acquire), then tail.load(acquire); of the slots between them, oldest first, load, and what is not
 *          NULL exchange(acq_rel). However old head and tail were: a pointer that the exchange returns has been given
 *          out to nobody else. The owner then moves head on (release), past what is NULL.
 *   look   the same loads. A task that was there before the look began is found, or somebody has taken it: head passes
 *          no filled slot, tail goes back (after a take from the end) over no filled slot, and head.store is a release
 *          after the tail that allowed it, so that head first, tail second never gives a tail behind head.
 *   Indices run freely modulo 2^32 and start near the wrap, so that an error there shows in the first second and not in
 *   the first month.
 *   A full ring that is mostly holes is closed up by the owner (ring_close_up), else its older half is spilled.
 *
 * newest moves by exchange(acq_rel) only: whoever gets the pointer owns the task.
 *
 * The shared queue: a stack that any thread pushes by CAS (release), and a list in order behind `taking`.
 *   Who takes sets taking by exchange, never waits for it, and first appends the whole stack, reversed, to the list. So
 *   producers are lock-free: a thread that is preempted anywhere in here holds up no producer, and takers only if it
 *   has taking; they look elsewhere and come back (has_work says yes). That is why this is not a FIFO under a spin
 *   lock, whose holder would hold up foreign threads too, while it walks a batch.
 *   No ABA: takers compare nothing, and a pusher that finds the same top again, after it was away, may link to it.
 *   A task that moves from here to a ring is published there before the list gives it up (out.store(release)).
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
#include "shares.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#define NOINLINE __attribute__((noinline))
#define LINE 128u /* two cache lines: neighbours are fetched in pairs */

/* The model test makes these small. */
#ifndef RING_SIZE
#define RING_SIZE 256u
#endif
#ifndef SHARED_INTERVAL
#define SHARED_INTERVAL 61u
#endif
#define RING_HALF (RING_SIZE / 2)
#define FIRST_INDEX (0u - 3 * RING_SIZE)
#define NEWEST_STREAK 3u
#define RETURN_STREAK 60u /* about as long as what comes by the shared queue waits */
#ifndef SUSPECT_LOOKS
#define SUSPECT_LOOKS 4u
#endif
#define STEAL_PASSES 2u /* rings; then rings and newest */

/* What thieves look at: one line for all priorities. */
struct lane {
    _Atomic uint32_t head, tail;
    _Atomic(struct nx_ready *) newest;
    _Atomic uint32_t news; /* how often newest was set */
};

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
    _Alignas(LINE) struct lane lane[PRIORITIES];
    _Alignas(LINE) _Atomic(struct nx_ready *) slot[PRIORITIES][RING_SIZE];
    struct nx_ready *moving[RING_SIZE]; /* the owner's, while it closes a ring up */
};

struct shared {
    _Alignas(LINE) _Atomic(struct nx_ready *) stack; /* newest on top */
    _Alignas(LINE) _Atomic uint32_t taking;
    _Atomic(struct nx_ready *) list; /* oldest first; written by who has taking */
    struct nx_ready *list_last;      /* so are these; means nothing while list is NULL */
    uint32_t list_count;
};

struct nx_sched {
    const struct nx_host *host;
    size_t size;
    uint32_t workers;
    _Alignas(LINE) _Atomic uint32_t rotate;
    struct shared shared[PRIORITIES];
    struct worker worker[];
};

static inline uint32_t minimum(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* A mix by weight: count tasks of this weight came; the lower priorities may follow for as many rounds as those last.
 */
static inline uint32_t rounds_left(uint32_t rounds, uint32_t count, uint32_t weight)
{
    return count == 0 ? rounds : minimum(rounds, (count + weight - 1) / weight);
}

/* ---- the shared queues ---- */

/* Any thread. From top down to last, newest first. */
static void shared_push(struct shared *shared, struct nx_ready *top, struct nx_ready *last)
{
    struct nx_ready *old = atomic_load_explicit(&shared->stack, memory_order_relaxed);

    do
        last->next = old;
    while (
        !atomic_compare_exchange_weak_explicit(&shared->stack, &old, top, memory_order_release, memory_order_relaxed));
}

/* 0: empty, and whatever was taken from it is in a ring that the caller can see. */
static int shared_filled(struct shared *shared)
{
    return atomic_load_explicit(&shared->stack, memory_order_acquire) != NULL ||
           atomic_load_explicit(&shared->taking, memory_order_acquire) != 0 ||
           atomic_load_explicit(&shared->list, memory_order_acquire) != NULL;
}

/* By who has taking: the list, with what is on the stack by now at its end. */
static struct nx_ready *shared_list(struct shared *shared)
{
    struct nx_ready *list = atomic_load_explicit(&shared->list, memory_order_relaxed);
    struct nx_ready *ready = NULL, *younger = NULL, *last;

    if (atomic_load_explicit(&shared->stack, memory_order_relaxed) != NULL)
        ready = atomic_exchange_explicit(&shared->stack, NULL, memory_order_acq_rel);
    last = ready;
    while (ready != NULL) {
        struct nx_ready *older = ready->next;

        ready->next = younger;
        younger = ready;
        ready = older;
        shared->list_count++;
    }
    if (last == NULL)
        return list;
    if (list != NULL)
        shared->list_last->next = younger;
    shared->list_last = last;
    return list != NULL ? list : younger;
}

/* ---- places in the ring ---- */

/* Where it was put last, for take: a guess, since it may have gone on to another ring. Relaxed, as that one's owner
 * writes it. */
static inline void set_place(struct nx_ready *ready, uint32_t index)
{
    __atomic_store_n(&ready->sched[0], index % RING_SIZE, __ATOMIC_RELAXED);
}

static inline uint32_t place_of(const struct nx_ready *ready)
{
    return (uint32_t)__atomic_load_n(&ready->sched[0], __ATOMIC_RELAXED) % RING_SIZE;
}

/* The owner: puts it at index, beyond tail. */
static inline void slot_fill(struct worker *w, uint32_t priority, uint32_t index, struct nx_ready *ready)
{
    set_place(ready, index);
    atomic_store_explicit(&w->slot[priority][index % RING_SIZE], ready, memory_order_release);
}

static inline int slot_filled(struct worker *w, uint32_t priority, uint32_t index)
{
    return atomic_load_explicit(&w->slot[priority][index % RING_SIZE], memory_order_acquire) != NULL;
}

static inline struct nx_ready *slot_take(struct worker *w, uint32_t priority, uint32_t index)
{
    if (!slot_filled(w, priority, index))
        return NULL;
    return atomic_exchange_explicit(&w->slot[priority][index % RING_SIZE], NULL, memory_order_acq_rel);
}

/* The owner: moves head past what thieves and take have emptied. Returns how many places the ring has left. */
static uint32_t ring_room(struct worker *w, uint32_t priority)
{
    struct lane *lane = &w->lane[priority];
    uint32_t head = atomic_load_explicit(&lane->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_relaxed);

    while (head != tail && !slot_filled(w, priority, head))
        head++;
    atomic_store_explicit(&lane->head, head, memory_order_release);
    return RING_SIZE - (tail - head);
}

/* Puts up to limit tasks into the worker's own queue: 1/workers of the shared one, at most half a ring and what there
 * is room for. A ring without room takes one all the same, by way of bound: what is shared may not wait for a ring
 * that is never empty. Returns how many. */
static uint32_t shared_take(struct nx_sched *sched, struct worker *w, uint32_t priority, uint32_t limit)
{
    struct shared *shared = &sched->shared[priority];
    struct lane *lane = &w->lane[priority];
    struct nx_ready *ready;
    uint32_t count = 0;

    if (atomic_exchange_explicit(&shared->taking, 1, memory_order_acquire) != 0)
        return 0;
    ready = shared_list(shared);
    if (ready != NULL) {
        uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_relaxed), room = ring_room(w, priority);

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

                slot_fill(w, priority, tail++, ready);
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

/* ---- the ring ---- */

/* The owner, ring full: the older half of the places goes to the shared queue. */
static void ring_spill(struct nx_sched *sched, struct worker *w, uint32_t priority)
{
    struct lane *lane = &w->lane[priority];
    uint32_t head = atomic_load_explicit(&lane->head, memory_order_relaxed);
    struct nx_ready *top = NULL, *last = NULL;

    for (uint32_t i = 0; i < RING_HALF; i++, head++) {
        struct nx_ready *ready = slot_take(w, priority, head);

        if (ready == NULL)
            continue;
        last = last != NULL ? last : ready;
        ready->next = top;
        top = ready;
    }
    atomic_store_explicit(&lane->head, head, memory_order_release);
    if (top != NULL)
        shared_push(&sched->shared[priority], top, last);
}

/* The owner, ring full of holes: moves the tasks together, in their order. */
static void ring_close_up(struct worker *w, uint32_t priority)
{
    struct lane *lane = &w->lane[priority];
    uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_relaxed), count = 0;

    for (uint32_t i = tail - RING_SIZE; i != tail; i++) {
        struct nx_ready *ready = slot_take(w, priority, i);

        if (ready != NULL)
            w->moving[count++] = ready;
    }
    atomic_store_explicit(&lane->head, tail, memory_order_release);
    for (uint32_t i = 0; i < count; i++)
        slot_fill(w, priority, tail++, w->moving[i]);
    atomic_store_explicit(&lane->tail, tail, memory_order_release);
}

static NOINLINE void ring_make_room(struct nx_sched *sched, struct worker *w, uint32_t priority)
{
    uint32_t count = 0;

    if (ring_room(w, priority) >= RING_HALF)
        return;
    for (uint32_t i = 0; i < RING_SIZE; i++)
        count += slot_filled(w, priority, i);
    if (count > RING_HALF)
        ring_spill(sched, w, priority);
    else
        ring_close_up(w, priority);
}

/* The owner. */
static inline void ring_push(struct nx_sched *sched, struct worker *w, uint32_t priority, struct nx_ready *ready)
{
    struct lane *lane = &w->lane[priority];
    uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_relaxed);

    if (tail - atomic_load_explicit(&lane->head, memory_order_relaxed) == RING_SIZE) {
        ring_make_room(sched, w, priority);
        tail = atomic_load_explicit(&lane->tail, memory_order_relaxed);
    }
    slot_fill(w, priority, tail, ready);
    atomic_store_explicit(&lane->tail, tail + 1, memory_order_release);
}

/* Where to look, oldest first: *ret_head up to what is returned. */
static inline uint32_t ring_window(struct lane *lane, uint32_t *ret_head)
{
    uint32_t head = atomic_load_explicit(&lane->head, memory_order_acquire);
    uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_acquire);

    *ret_head = tail - head > RING_SIZE ? tail - RING_SIZE : head; /* more: both moved on between the loads */
    return tail;
}

/* The oldest, for a thief. */
static struct nx_ready *ring_rob(struct worker *victim, uint32_t priority)
{
    struct nx_ready *ready = NULL;
    uint32_t head, tail = ring_window(&victim->lane[priority], &head);

    for (; head != tail && ready == NULL; head++)
        ready = slot_take(victim, priority, head);
    return ready;
}

/* The oldest, for the owner. */
static inline struct nx_ready *ring_take(struct worker *w, uint32_t priority)
{
    struct lane *lane = &w->lane[priority];
    uint32_t head = atomic_load_explicit(&lane->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_relaxed);
    struct nx_ready *ready = NULL;

    if (head == tail)
        return NULL;
    for (; head != tail && ready == NULL; head++)
        ready = slot_take(w, priority, head);
    atomic_store_explicit(&lane->head, head, memory_order_release);
    return ready;
}

static uint32_t ring_count(struct worker *w, uint32_t priority)
{
    uint32_t head, tail = ring_window(&w->lane[priority], &head), count = 0;

    for (; head != tail; head++)
        count += slot_filled(w, priority, head);
    return count;
}

static int ring_filled(struct worker *w, uint32_t priority)
{
    uint32_t head, tail = ring_window(&w->lane[priority], &head);

    for (; head != tail; head++)
        if (slot_filled(w, priority, head))
            return 1;
    return 0;
}

/* The thief: up to limit, the older half (rounded down) of the victim's ring, into its own. Returns how many. */
static uint32_t ring_steal(struct worker *thief, struct worker *victim, uint32_t priority, uint32_t limit)
{
    struct lane *to = &thief->lane[priority];
    uint32_t to_tail = atomic_load_explicit(&to->tail, memory_order_relaxed);
    uint32_t want = minimum(minimum(ring_count(victim, priority) / 2, limit), ring_room(thief, priority));
    uint32_t count = 0, head, tail = ring_window(&victim->lane[priority], &head);

    for (; head != tail && count < want; head++) {
        struct nx_ready *ready = slot_take(victim, priority, head);

        if (ready != NULL)
            slot_fill(thief, priority, to_tail + count++, ready);
    }
    if (count == 0)
        return 0;
    atomic_store_explicit(&to->tail, to_tail + count, memory_order_release);
    thief->shares.ready |= 1u << priority;
    return count;
}

static struct nx_ready *newest_take(struct lane *lane)
{
    if (atomic_load_explicit(&lane->newest, memory_order_relaxed) == NULL)
        return NULL;
    return atomic_exchange_explicit(&lane->newest, NULL, memory_order_acq_rel);
}

/* ---- a worker's own ---- */

/* The owner: the next of one priority. */
static struct nx_ready *own_take_of(struct worker *w, uint32_t priority)
{
    struct lane *lane = &w->lane[priority];
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
    ready = ring_take(w, priority);
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
            atomic_store_explicit(&w->lane[priority].head, FIRST_INDEX, memory_order_relaxed);
            atomic_store_explicit(&w->lane[priority].tail, FIRST_INDEX, memory_order_relaxed);
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
    if (reason == NX_REASON_SPAWN || reason == NX_REASON_UNBLOCK || reason == NX_REASON_RETURN) {
        struct lane *lane = &w->lane[priority];
        uint32_t news = atomic_load_explicit(&lane->news, memory_order_relaxed);

        atomic_store_explicit(&lane->news, news + 1, memory_order_relaxed);
        ready = atomic_exchange_explicit(&lane->newest, ready, memory_order_acq_rel);
    }
    if (ready != NULL)
        ring_push(sched, w, priority, ready);
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
    struct worker *w = &sched->worker[worker];
    struct lane *lane = &w->lane[ready->priority];
    uint32_t place = place_of(ready), head, tail;
    struct nx_ready *found = ready;

    if (atomic_load_explicit(&lane->newest, memory_order_relaxed) == ready)
        return atomic_compare_exchange_strong_explicit(&lane->newest, &found, NULL, memory_order_acq_rel,
                                                       memory_order_relaxed);
    if (atomic_load_explicit(&w->slot[ready->priority][place], memory_order_relaxed) != ready ||
        !atomic_compare_exchange_strong_explicit(&w->slot[ready->priority][place], &found, NULL, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return 0;
    head = atomic_load_explicit(&lane->head, memory_order_relaxed);
    tail = atomic_load_explicit(&lane->tail, memory_order_relaxed);
    while (tail != head && !slot_filled(w, ready->priority, tail - 1))
        tail--;
    atomic_store_explicit(&lane->tail, tail, memory_order_release);
    return 1;
}

/* A victim's oldest, of which priority: by the thief's credits. It is given out and never put into the thief's ring,
 * so of each theft one task runs, and two thieves can't hand one to and fro. Then up to half of what is left, mixed
 * by weight. */
static struct nx_ready *steal_rings(struct worker *thief, struct worker *victim)
{
    struct nx_ready *ready = NULL;
    uint32_t filled = 0, rounds = RING_SIZE;

    for (uint32_t priority = 0; priority < PRIORITIES; priority++)
        filled |= ring_filled(victim, priority) ? 1u << priority : 0;
    for (uint32_t left = filled; left != 0 && ready == NULL;) {
        uint32_t priority = shares_pick(&thief->shares, left);

        ready = ring_rob(victim, priority);
        if (ready == NULL)
            shares_refund(&thief->shares, priority);
        left &= ~(1u << priority);
    }
    for (uint32_t i = 0; i < PRIORITIES && ready != NULL; i++) {
        uint32_t priority = priority_order[i], weight = shares_weight(priority);

        if ((filled & 1u << priority) != 0)
            rounds = rounds_left(rounds, ring_steal(thief, victim, priority, rounds * weight), weight);
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
        struct lane *lane = &victim->lane[priority];
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

            if (atomic_load_explicit(&w->lane[priority].newest, memory_order_acquire) != NULL ||
                ring_filled(w, priority))
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
        struct lane *lane = &w->lane[priority];
        struct nx_ready *newest = atomic_load(&lane->newest);

        if (w->returned[priority] != NULL && count < max)
            out[count++] = w->returned[priority];
        if (newest != NULL && count < max)
            out[count++] = newest;
        for (uint32_t i = atomic_load(&lane->head); i != atomic_load(&lane->tail) && count < max; i++) {
            struct nx_ready *ready = atomic_load(&w->slot[priority][i % RING_SIZE]);

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
