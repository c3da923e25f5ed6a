/*
 * timer.h: a hierarchical timing wheel, one per worker. No locks, no allocation, no clock read: intrusive timers, and
 * the caller says what time it is.
 *
 * Start, restart and stop are O(1). Timers keep their exact deadlines: none fires early, and nxi_wheel_next() names the
 * earliest one, so that lateness is the kernel's and not a tick's. doc/design/timers.md has the design and figures.
 */
#ifndef NXI_TIMER_H
#define NXI_TIMER_H

#include <nexus/base.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define NXI_WHEEL_LEVELS 9
#define NXI_WHEEL_SLOTS 64
#define NXI_WHEEL_BUCKETS (NXI_WHEEL_LEVELS * NXI_WHEEL_SLOTS)

struct nxi_timer {
    struct nxi_timer *next;
    struct nxi_timer **link; /* what points to this one; NULL while it is not active */
    nx_time deadline;
    void (*fire)(struct nxi_timer *timer);
    uint32_t place; /* bucket or queue */
};

/* Timers that are due, first in, first out. */
struct nxi_timer_queue { /* all zeros is empty */
    struct nxi_timer *head;
    struct nxi_timer **tail; /* of no meaning while it is empty */
};

struct nxi_wheel {
    uint64_t elapsed; /* in ticks; every bucket before it is empty */
    nx_time now;      /* the latest time the wheel was told */
    nx_time next;     /* what nxi_wheel_next() found, while next_valid */
    bool next_valid;
    uint8_t firing;         /* the queue being fired; the other has what was started when it was due already */
    uint32_t levels;        /* bit n: level n is not empty */
    uint32_t cascading;     /* bucket that is being moved down over several calls, or none */
    uint32_t bound;         /* the bucket whose start `next` is, or none: then it is a deadline */
    _Atomic unsigned count; /* the owner's to write */
    uint64_t occupied[NXI_WHEEL_LEVELS];
    struct nxi_timer_queue lists[NXI_WHEEL_BUCKETS + 2]; /* the buckets; what is due, and what was started due */
};

/* now: any time >= 0. A wheel must not be moved in memory while timers are active. */
void nxi_wheel_init(struct nxi_wheel *wheel, nx_time now);

void nxi_timer_init(struct nxi_timer *timer, void (*fire)(struct nxi_timer *timer));

static inline bool nxi_timer_active(const struct nxi_timer *timer)
{
    return timer->link != NULL;
}

/*
 * Starts the timer, or moves it when it is active. A deadline that has passed fires at the next nxi_wheel_expire(),
 * never in the one that is running: a callback that starts its timer over can't hold the worker. NX_FOREVER stops it.
 */
void nxi_timer_start(struct nxi_wheel *wheel, struct nxi_timer *timer, nx_time deadline);

/* Idempotent; allowed in any callback, for its own timer and others: a stopped timer does not fire. */
void nxi_timer_stop(struct nxi_wheel *wheel, struct nxi_timer *timer);

/*
 * When to call nxi_wheel_expire(): NX_FOREVER if there is no timer; the last `now` if it has work left; else the
 * earliest deadline. Only when a bucket that has not begun holds more than 64 timers it is that bucket's start: then
 * the wait for a timer ends early, at most once a level, three times for one of 30 s.
 */
nx_time nxi_wheel_next(struct nxi_wheel *wheel);

/*
 * Fires every timer with deadline <= now, at most max of them, and returns how many. Order: by deadline up to a
 * bucket's 16 µs; what was started already due comes first. A timer is inactive in its callback, which may free or
 * restart it. At most 8 * max timers are moved down a level. When work is left over, nxi_wheel_next() is <= now.
 * A `now` before the last one counts as the last one. Not to be called from a callback.
 */
unsigned nxi_wheel_expire(struct nxi_wheel *wheel, nx_time now, unsigned max);

static inline unsigned nxi_wheel_count(const struct nxi_wheel *wheel)
{
    return atomic_load_explicit(&wheel->count, memory_order_relaxed);
}

#endif
