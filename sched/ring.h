/*
 * ring.h: the stealable tasks of one worker: per priority a ring, oldest first, and the newest beside it.
 *
 * The owner pushes at tail; owner and thieves take at head. Memory orders:
 *
 * A slot is a cell of its own: whoever exchanges the pointer in it for NULL owns the task, be it the owner, a thief, or
 * the owner who takes a task from the middle because the running task is about to wait for it (take). head and tail
 * only say where to look; both are written by the owner alone, and what others read of them may be old.
 * push   slot.store(release): the slot is NULL, for head has only passed slots that were found NULL, and none but the
 *        owner fills one. tail.store(release) shows it.
 * take   head.load(acquire), then tail.load(acquire); of the slots between them, oldest first, load, and what is not
 *        NULL exchange(acq_rel). However old head and tail were: a pointer that the exchange returns has been given
 *        out to nobody else. The owner then moves head on (release), past what is NULL.
 * look   the same loads. A task that was there before the look began is found, or somebody has taken it: head passes
 *        no filled slot, tail goes back (after a take from the end) over no filled slot, and head.store is a release
 *        after the tail that allowed it, so that head first, tail second never gives a tail behind head.
 * Indices run freely modulo 2^32 and start near the wrap, so that an error there shows in the first second and not in
 * the first month.
 * A full ring that is mostly holes is closed up by the owner, else its older half goes elsewhere (ring_make_room).
 *
 * newest moves by exchange(acq_rel) only: whoever gets the pointer owns the task.
 */
#ifndef SCHED_RING_H
#define SCHED_RING_H

#include "shares.h"

#include <stdatomic.h>

#define LINE 128u /* two cache lines: neighbours are fetched in pairs */

/* The model test makes these small. */
#ifndef RING_SIZE
#define RING_SIZE 256u
#endif
#define RING_HALF (RING_SIZE / 2)
#define FIRST_INDEX (0u - 3 * RING_SIZE)

/* What thieves look at: one line for all priorities. */
struct lane {
    _Atomic uint32_t head, tail;
    _Atomic(struct nx_ready *) newest;
    _Atomic uint32_t news; /* how often newest was set */
};

struct rings {
    _Alignas(LINE) struct lane lane[PRIORITIES];
    _Alignas(LINE) _Atomic(struct nx_ready *) slot[PRIORITIES][RING_SIZE];
    struct nx_ready *moving[RING_SIZE]; /* the owner's, while it closes a ring up */
};

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
static inline void slot_fill(struct rings *rings, uint32_t priority, uint32_t index, struct nx_ready *ready)
{
    set_place(ready, index);
    atomic_store_explicit(&rings->slot[priority][index % RING_SIZE], ready, memory_order_release);
}

static inline int slot_filled(struct rings *rings, uint32_t priority, uint32_t index)
{
    return atomic_load_explicit(&rings->slot[priority][index % RING_SIZE], memory_order_acquire) != NULL;
}

static inline struct nx_ready *slot_take(struct rings *rings, uint32_t priority, uint32_t index)
{
    if (!slot_filled(rings, priority, index))
        return NULL;
    return atomic_exchange_explicit(&rings->slot[priority][index % RING_SIZE], NULL, memory_order_acq_rel);
}

/* The owner: moves head past what thieves and take have emptied. Returns how many places the ring has left. */
static uint32_t ring_room(struct rings *rings, uint32_t priority)
{
    struct lane *lane = &rings->lane[priority];
    uint32_t head = atomic_load_explicit(&lane->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_relaxed);

    while (head != tail && !slot_filled(rings, priority, head))
        head++;
    atomic_store_explicit(&lane->head, head, memory_order_release);
    return RING_SIZE - (tail - head);
}

/* ---- the ring ---- */

/* The owner, ring full: takes the older half of the places out. Returns it, the newest first, down to *ret_last. */
static struct nx_ready *ring_spill(struct rings *rings, uint32_t priority, struct nx_ready **ret_last)
{
    struct lane *lane = &rings->lane[priority];
    uint32_t head = atomic_load_explicit(&lane->head, memory_order_relaxed);
    struct nx_ready *top = NULL;

    for (uint32_t i = 0; i < RING_HALF; i++, head++) {
        struct nx_ready *ready = slot_take(rings, priority, head);

        if (ready == NULL)
            continue;
        *ret_last = top != NULL ? *ret_last : ready;
        ready->next = top;
        top = ready;
    }
    atomic_store_explicit(&lane->head, head, memory_order_release);
    return top;
}

/* The owner, ring full of holes: moves the tasks together, in their order. */
static void ring_close_up(struct rings *rings, uint32_t priority)
{
    struct lane *lane = &rings->lane[priority];
    uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_relaxed), count = 0;

    for (uint32_t i = tail - RING_SIZE; i != tail; i++) {
        struct nx_ready *ready = slot_take(rings, priority, i);

        if (ready != NULL)
            rings->moving[count++] = ready;
    }
    atomic_store_explicit(&lane->head, tail, memory_order_release);
    for (uint32_t i = 0; i < count; i++)
        slot_fill(rings, priority, tail++, rings->moving[i]);
    atomic_store_explicit(&lane->tail, tail, memory_order_release);
}

static int ring_full(struct lane *lane)
{
    return atomic_load_explicit(&lane->tail, memory_order_relaxed) -
               atomic_load_explicit(&lane->head, memory_order_relaxed) ==
           RING_SIZE;
}

/* The owner, ring full: afterwards there is room. Returns what has to go elsewhere, as ring_spill does, or NULL. */
static struct nx_ready *ring_make_room(struct rings *rings, uint32_t priority, struct nx_ready **ret_last)
{
    uint32_t count = 0;

    if (ring_room(rings, priority) >= RING_HALF)
        return NULL;
    for (uint32_t i = 0; i < RING_SIZE; i++)
        count += slot_filled(rings, priority, i);
    if (count > RING_HALF)
        return ring_spill(rings, priority, ret_last);
    ring_close_up(rings, priority);
    return NULL;
}

/* The owner, ring not full. */
static inline void ring_push(struct rings *rings, uint32_t priority, struct nx_ready *ready)
{
    struct lane *lane = &rings->lane[priority];
    uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_relaxed);

    slot_fill(rings, priority, tail, ready);
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
static struct nx_ready *ring_rob(struct rings *victim, uint32_t priority)
{
    struct nx_ready *ready = NULL;
    uint32_t head, tail = ring_window(&victim->lane[priority], &head);

    for (; head != tail && ready == NULL; head++)
        ready = slot_take(victim, priority, head);
    return ready;
}

/* The oldest, for the owner. */
static inline struct nx_ready *ring_take(struct rings *rings, uint32_t priority)
{
    struct lane *lane = &rings->lane[priority];
    uint32_t head = atomic_load_explicit(&lane->head, memory_order_relaxed);
    uint32_t tail = atomic_load_explicit(&lane->tail, memory_order_relaxed);
    struct nx_ready *ready = NULL;

    if (head == tail)
        return NULL;
    for (; head != tail && ready == NULL; head++)
        ready = slot_take(rings, priority, head);
    atomic_store_explicit(&lane->head, head, memory_order_release);
    return ready;
}

static uint32_t ring_count(struct rings *rings, uint32_t priority)
{
    uint32_t head, tail = ring_window(&rings->lane[priority], &head), count = 0;

    for (; head != tail; head++)
        count += slot_filled(rings, priority, head);
    return count;
}

static int ring_filled(struct rings *rings, uint32_t priority)
{
    uint32_t head, tail = ring_window(&rings->lane[priority], &head);

    for (; head != tail; head++)
        if (slot_filled(rings, priority, head))
            return 1;
    return 0;
}

/* The thief: up to limit, the older half (rounded down) of the victim's ring, into its own. Returns how many. */
static uint32_t ring_steal(struct rings *thief, struct rings *victim, uint32_t priority, uint32_t limit)
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
    if (count != 0)
        atomic_store_explicit(&to->tail, to_tail + count, memory_order_release);
    return count;
}

/* The owner: this one out of the middle, if it is still here. Returns whether it was. */
static int ring_take_this(struct rings *rings, struct nx_ready *ready)
{
    struct lane *lane = &rings->lane[ready->priority];
    uint32_t place = place_of(ready), head, tail;
    struct nx_ready *found = ready;

    if (atomic_load_explicit(&rings->slot[ready->priority][place], memory_order_relaxed) != ready ||
        !atomic_compare_exchange_strong_explicit(&rings->slot[ready->priority][place], &found, NULL,
                                                 memory_order_acq_rel, memory_order_relaxed))
        return 0;
    head = atomic_load_explicit(&lane->head, memory_order_relaxed);
    tail = atomic_load_explicit(&lane->tail, memory_order_relaxed);
    while (tail != head && !slot_filled(rings, ready->priority, tail - 1))
        tail--;
    atomic_store_explicit(&lane->tail, tail, memory_order_release);
    return 1;
}

/* ---- the newest ---- */

/* The owner. Returns the one that it displaces, or NULL. */
static inline struct nx_ready *newest_put(struct lane *lane, struct nx_ready *ready)
{
    uint32_t news = atomic_load_explicit(&lane->news, memory_order_relaxed);

    atomic_store_explicit(&lane->news, news + 1, memory_order_relaxed);
    return atomic_exchange_explicit(&lane->newest, ready, memory_order_acq_rel);
}

static struct nx_ready *newest_take(struct lane *lane)
{
    if (atomic_load_explicit(&lane->newest, memory_order_relaxed) == NULL)
        return NULL;
    return atomic_exchange_explicit(&lane->newest, NULL, memory_order_acq_rel);
}

static inline int newest_is(struct lane *lane, const struct nx_ready *ready)
{
    return atomic_load_explicit(&lane->newest, memory_order_relaxed) == ready;
}

/* This one, if it is still there. Returns whether it was. */
static int newest_take_this(struct lane *lane, struct nx_ready *ready)
{
    return atomic_compare_exchange_strong_explicit(&lane->newest, &ready, NULL, memory_order_acq_rel,
                                                   memory_order_relaxed);
}

#endif
