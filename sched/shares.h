/*
 * shares.h: what both schedulers have in common: an intrusive FIFO, the weighted choice among the priorities, and the
 * least loaded worker.
 *
 * Priorities are shares, not ranks (law 4). While tasks of all three are ready, every round of 21 gives out 16 high,
 * 4 normal and 1 low; a priority with nothing ready gives its part up, and saves none of it for later: credits never
 * exceed one round. So a ready task of any priority waits for at most 20 others and those ahead of it in its own queue,
 * 21 for one. With only one priority ready, the ordinary case, the choice is one test and one bit scan.
 */
#ifndef SCHED_SHARES_H
#define SCHED_SHARES_H

#include <nexus/sched.h>
#include <nexus/task.h>
#include <stddef.h>

#define PRIORITIES 3u
#define PRIORITY_ALL 7u /* a bit each */

#define WEIGHT_HIGH 16u
#define WEIGHT_NORMAL 4u
#define WEIGHT_LOW 1u
#define SHARES_ROUND (WEIGHT_HIGH + WEIGHT_NORMAL + WEIGHT_LOW)

static inline uint32_t minimum(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* end points to the last one's next, or to head. */
struct fifo {
    struct nx_ready *head, **end;
};

static inline void fifo_init(struct fifo *fifo)
{
    fifo->head = NULL;
    fifo->end = &fifo->head;
}

static inline void fifo_push(struct fifo *fifo, struct nx_ready *ready)
{
    ready->next = NULL;
    *fifo->end = ready;
    fifo->end = &ready->next;
}

static inline struct nx_ready *fifo_pop(struct fifo *fifo)
{
    struct nx_ready *ready = fifo->head;

    if (ready != NULL) {
        fifo->head = ready->next;
        if (fifo->head == NULL)
            fifo->end = &fifo->head;
    }
    return ready;
}

struct shares {
    uint32_t ready; /* 1 << priority: something of that priority is, or may be, queued */
    uint32_t credit[PRIORITIES];
};

static const uint8_t priority_order[PRIORITIES] = {NX_PRIO_HIGH, NX_PRIO_NORMAL, NX_PRIO_LOW};

static inline uint32_t shares_weight(uint32_t priority)
{
    return priority == NX_PRIO_HIGH ? WEIGHT_HIGH : priority == NX_PRIO_LOW ? WEIGHT_LOW : WEIGHT_NORMAL;
}

/* The slow half of shares_pick: there are rivals. At most two turns of the loop: the second finds full credits. */
static __attribute__((noinline, unused)) uint32_t shares_pick_rivals(struct shares *shares, uint32_t candidates)
{
    for (;;) {
        for (uint32_t i = 0; i < PRIORITIES; i++) {
            uint32_t priority = priority_order[i];

            if ((candidates & 1u << priority) != 0 && shares->credit[priority] != 0) {
                shares->credit[priority]--;
                return priority;
            }
        }
        for (uint32_t priority = 0; priority < PRIORITIES; priority++)
            shares->credit[priority] = shares_weight(priority);
    }
}

/* Whose turn it is among the candidates, a mask that is not 0. One that stands alone pays no credit. */
static inline uint32_t shares_pick(struct shares *shares, uint32_t candidates)
{
    if ((candidates & (candidates - 1)) == 0)
        return (uint32_t)__builtin_ctz(candidates);
    return shares_pick_rivals(shares, candidates);
}

/* The pick turned out to be empty: it costs nothing. */
static inline void shares_refund(struct shares *shares, uint32_t priority)
{
    if (shares->credit[priority] < shares_weight(priority))
        shares->credit[priority]++;
}

/*
 * The worker with the fewest tasks at home. rotate turns the starting point, so that equals take turns. The core's
 * counts move while we look: relaxed loads; a choice by counts a moment old is as good as any.
 */
static inline uint32_t least_loaded(const uint32_t *loads, uint32_t workers, uint32_t rotate)
{
    uint32_t best = rotate % workers, best_load = __atomic_load_n(&loads[best], __ATOMIC_RELAXED);

    for (uint32_t i = 1, worker = best; i < workers && best_load != 0; i++) {
        uint32_t load;

        worker = worker + 1 == workers ? 0 : worker + 1;
        load = __atomic_load_n(&loads[worker], __ATOMIC_RELAXED);
        if (load < best_load) {
            best = worker;
            best_load = load;
        }
    }
    return best;
}

#endif
