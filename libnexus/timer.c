/*
 * timer.c: the wheel (the design and its figures are in doc/design/timers.md).
 *
 * A tick is 2^14 ns = 16.4 µs. A timer's level is where its tick first differs from `elapsed`, six bits a level, and
 * its slot is those six bits: so all of a level's timers come after all of the levels below, slots are in order
 * without wrapping, and the nine levels span every positive nx_time. Level 0 is 64 buckets of a tick, level 1 64 of
 * 1.05 ms, then 67 ms, 4.3 s, 4.6 min, 4.9 h, 13 days, 2.3 years, 146 years.
 *
 *   expire:  the earliest bucket, if it has begun:   level > 0: move its timers down (cascade)
 *                                                    level 0:   queue its timers with deadline <= now, fire them
 *
 * A timer may stay in a bucket that is too early for it (never one too late): restarting an active timer for later only
 * writes the deadline, which is what a busy connection's idle timeout does all the time. Whoever looks through the
 * bucket next files it where it belongs: each such move was saved at a restart before.
 */
#include "timer.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#define TICK_BITS 14
#define LEVEL_BITS 6
#define SLOT_MASK (NXI_WHEEL_SLOTS - 1)
#define SCAN_MAX 64      /* timers nxi_wheel_next() looks at in a bucket that has not begun */
#define ORDER_SCAN 8     /* timers link_due() looks at */
#define MOVES_PER_FIRE 8 /* nxi_wheel_expire()'s bound on cascading, times max */

#define PLACE_QUEUE NXI_WHEEL_BUCKETS /* and the one after it */
#define NO_BUCKET UINT32_MAX

_Static_assert(TICK_BITS + LEVEL_BITS * NXI_WHEEL_LEVELS >= 63, "the levels span every nx_time");

static uint64_t tick_of(nx_time time)
{
    return time > 0 ? (uint64_t)time >> TICK_BITS : 0;
}

/* No RMW: only the owner writes. */
static void set_count(struct nxi_wheel *wheel, unsigned count)
{
    atomic_store_explicit(&wheel->count, count, memory_order_relaxed);
}

/*
 * Lists and buckets
 */

/* At the end, so that timers of one deadline fire in the order in which they were started. */
static void link_last(struct nxi_wheel *wheel, struct nxi_timer *timer, uint32_t place)
{
    struct nxi_timer_queue *list = &wheel->lists[place];

    timer->place = place;
    timer->next = NULL;
    timer->link = list->head != NULL ? list->tail : &list->head;
    *timer->link = timer;
    list->tail = &timer->next;
}

static uint32_t place_for(const struct nxi_wheel *wheel, uint64_t tick)
{
    uint64_t difference = tick ^ wheel->elapsed;
    unsigned level = difference < NXI_WHEEL_SLOTS ? 0 : (63 - (unsigned)__builtin_clzll(difference)) / LEVEL_BITS;

    return level * NXI_WHEEL_SLOTS + (uint32_t)(tick >> (level * LEVEL_BITS) & SLOT_MASK);
}

/* tick >= elapsed */
static void link_bucket(struct nxi_wheel *wheel, struct nxi_timer *timer, uint32_t place)
{
    unsigned level = place / NXI_WHEEL_SLOTS;

    link_last(wheel, timer, place);
    if (timer->link != &wheel->lists[place].head)
        return;
    wheel->occupied[level] |= UINT64_C(1) << (place & SLOT_MASK);
    wheel->levels |= 1u << level;
}

/* The first tick of a bucket that is not empty: the bits above its level are elapsed's. */
static uint64_t bucket_start(const struct nxi_wheel *wheel, uint32_t place)
{
    unsigned shift = place / NXI_WHEEL_SLOTS * LEVEL_BITS;
    uint64_t above = wheel->elapsed >> shift >> LEVEL_BITS << LEVEL_BITS;

    return (above | (place & SLOT_MASK)) << shift;
}

/* A bucket's bit stays when it empties: first_bucket() clears it, should it ever get there. */
static void unlink_timer(struct nxi_wheel *wheel, struct nxi_timer *timer)
{
    struct nxi_timer *next = timer->next;

    *timer->link = next;
    if (next != NULL)
        next->link = timer->link;
    else
        wheel->lists[timer->place].tail = timer->link;
    timer->link = NULL;
}

static struct nxi_timer *last_of(const struct nxi_timer_queue *list)
{
    return (struct nxi_timer *)((char *)list->tail - offsetof(struct nxi_timer, next));
}

/*
 * What falls due together fires in the order of its deadlines where that costs nothing to speak of: a few timers, and
 * any number that were started in order or in reverse. More is not worth a sort.
 */
static void link_due(struct nxi_wheel *wheel, struct nxi_timer *timer)
{
    struct nxi_timer_queue *queue = &wheel->lists[PLACE_QUEUE + wheel->firing];
    struct nxi_timer **at = &queue->head;

    if (*at == NULL || last_of(queue)->deadline <= timer->deadline) {
        link_last(wheel, timer, PLACE_QUEUE + wheel->firing);
        return;
    }
    for (int i = 0; i < ORDER_SCAN && (*at)->deadline <= timer->deadline; i++) /* ends: the last one is later */
        at = &(*at)->next;
    timer->place = PLACE_QUEUE + wheel->firing;
    timer->next = *at;
    timer->next->link = &timer->next;
    timer->link = at;
    *at = timer;
}

static void mark_empty(struct nxi_wheel *wheel, uint32_t place)
{
    unsigned level = place / NXI_WHEEL_SLOTS;

    wheel->occupied[level] &= ~(UINT64_C(1) << (place & SLOT_MASK));
    if (wheel->occupied[level] == 0)
        wheel->levels &= ~(1u << level);
}

/* The earliest bucket, or NO_BUCKET. One that is being cascaded comes before everything that left it. */
static uint32_t first_bucket(struct nxi_wheel *wheel)
{
    if (wheel->cascading != NO_BUCKET) {
        if (wheel->lists[wheel->cascading].head != NULL)
            return wheel->cascading;
        mark_empty(wheel, wheel->cascading);
        wheel->cascading = NO_BUCKET;
    }
    while (wheel->levels != 0) { /* each turn returns or clears a bit */
        unsigned level = (unsigned)__builtin_ctz(wheel->levels);
        uint32_t place = level * NXI_WHEEL_SLOTS + (uint32_t)__builtin_ctzll(wheel->occupied[level]);

        if (wheel->lists[place].head != NULL)
            return place;
        mark_empty(wheel, place);
    }
    return NO_BUCKET;
}

/*
 * Start and stop
 */

void nxi_wheel_init(struct nxi_wheel *wheel, nx_time now)
{
    memset(wheel, 0, sizeof(*wheel));
    wheel->now = now;
    wheel->elapsed = tick_of(now);
    wheel->cascading = NO_BUCKET;
    wheel->bound = NO_BUCKET;
}

void nxi_timer_init(struct nxi_timer *timer, void (*fire)(struct nxi_timer *timer))
{
    memset(timer, 0, sizeof(*timer));
    timer->fire = fire;
}

void nxi_timer_start(struct nxi_wheel *wheel, struct nxi_timer *timer, nx_time deadline)
{
    if (deadline == NX_FOREVER) {
        nxi_timer_stop(wheel, timer);
        return;
    }
    if (timer->link != NULL) {
        if (timer->deadline == wheel->next)
            wheel->next_valid = false;
        if (deadline >= timer->deadline && timer->place < PLACE_QUEUE) {
            timer->deadline = deadline;
            return;
        }
        unlink_timer(wheel, timer);
    } else {
        set_count(wheel, nxi_wheel_count(wheel) + 1);
    }
    timer->deadline = deadline;
    if (deadline < wheel->next)
        wheel->next = deadline; /* means nothing unless next_valid */
    if (deadline <= wheel->now)
        link_last(wheel, timer, PLACE_QUEUE + !wheel->firing);
    else
        link_bucket(wheel, timer, place_for(wheel, tick_of(deadline)));
}

void nxi_timer_stop(struct nxi_wheel *wheel, struct nxi_timer *timer)
{
    if (timer->link == NULL)
        return;
    if (timer->deadline == wheel->next)
        wheel->next_valid = false;
    unlink_timer(wheel, timer);
    set_count(wheel, nxi_wheel_count(wheel) - 1);
}

/*
 * When next
 */

/*
 * Looks through a bucket for its earliest deadline, at most max timers, and files those that were restarted for later
 * where they belong. False: there are more, or none is left; *ret_deadline is untouched.
 */
static bool scan_bucket(struct nxi_wheel *wheel, uint32_t place, unsigned max, nx_time *ret_deadline)
{
    nx_time earliest = NX_FOREVER;
    struct nxi_timer *next;

    for (struct nxi_timer *timer = wheel->lists[place].head; timer != NULL; timer = next) {
        uint32_t right_place = place_for(wheel, tick_of(timer->deadline));

        next = timer->next;
        if (max-- == 0)
            return false;
        if (right_place != place) {
            unlink_timer(wheel, timer);
            link_bucket(wheel, timer, right_place);
        } else if (timer->deadline < earliest) {
            earliest = timer->deadline;
        }
    }
    if (earliest == NX_FOREVER)
        return false;
    *ret_deadline = earliest;
    return true;
}

static nx_time find_next(struct nxi_wheel *wheel)
{
    for (;;) { /* ends: each turn returns or empties the earliest bucket into later ones */
        uint32_t place = first_bucket(wheel);
        uint64_t start;
        nx_time deadline;

        if (place == NO_BUCKET)
            return NX_FOREVER;
        start = bucket_start(wheel, place);
        if (start <= wheel->elapsed && place >= NXI_WHEEL_SLOTS)
            return wheel->now; /* a cascade was cut short */
        if (scan_bucket(wheel, place, start <= wheel->elapsed ? UINT32_MAX : SCAN_MAX, &deadline))
            return deadline;
        if (wheel->lists[place].head != NULL) {
            wheel->bound = place;
            return (nx_time)(start << TICK_BITS);
        }
    }
}

nx_time nxi_wheel_next(struct nxi_wheel *wheel)
{
    if (wheel->lists[PLACE_QUEUE].head != NULL || wheel->lists[PLACE_QUEUE + 1].head != NULL)
        return wheel->now;
    if (!wheel->next_valid || (wheel->bound != NO_BUCKET && wheel->lists[wheel->bound].head == NULL)) {
        wheel->bound = NO_BUCKET;
        wheel->next = find_next(wheel);
        wheel->next_valid = wheel->next > wheel->now;
    }
    return wheel->next;
}

/*
 * Expire
 */

/* Fires what is queued, at most max timers. Callbacks may do anything but call nxi_wheel_expire(). */
static unsigned fire_queue(struct nxi_wheel *wheel, unsigned max)
{
    unsigned fired_count = 0;
    struct nxi_timer *timer;

    while (fired_count < max && (timer = wheel->lists[PLACE_QUEUE + wheel->firing].head) != NULL) {
        unlink_timer(wheel, timer);
        set_count(wheel, nxi_wheel_count(wheel) - 1);
        fired_count++;
        timer->fire(timer);
    }
    return fired_count;
}

/* Moves the timers of a bucket that begins at `elapsed` to the levels below. False: *moves ran out. */
static bool cascade(struct nxi_wheel *wheel, uint32_t place, uint64_t *moves)
{
    struct nxi_timer *timer;

    wheel->cascading = place;
    while ((timer = wheel->lists[place].head) != NULL) {
        if ((*moves)-- == 0)
            return false;
        unlink_timer(wheel, timer);
        link_bucket(wheel, timer, place_for(wheel, tick_of(timer->deadline)));
    }
    return true;
}

/*
 * Queues what is due of the level 0 bucket that has begun, at most max timers, and files those that were restarted for
 * later where they belong. Returns whether it did anything: else the rest of the bucket is for later.
 */
static bool queue_bucket(struct nxi_wheel *wheel, uint32_t place, unsigned max, uint64_t *moves)
{
    bool changed = false;
    struct nxi_timer *next;

    for (struct nxi_timer *timer = wheel->lists[place].head; timer != NULL && max > 0 && *moves > 0; timer = next) {
        uint32_t right_place;

        next = timer->next;
        if (timer->deadline <= wheel->now) {
            unlink_timer(wheel, timer);
            link_due(wheel, timer);
            changed = true;
            max--;
            continue;
        }
        right_place = place_for(wheel, tick_of(timer->deadline));
        if (right_place != place) {
            unlink_timer(wheel, timer);
            link_bucket(wheel, timer, right_place);
            changed = true;
            --*moves;
        }
    }
    return changed;
}

/* Advances to the earliest bucket if it has begun and takes from it. False: nothing is due, or *moves ran out. */
static bool advance(struct nxi_wheel *wheel, unsigned max, uint64_t *moves)
{
    uint64_t tick = tick_of(wheel->now);
    uint32_t place = first_bucket(wheel);
    uint64_t start = place != NO_BUCKET ? bucket_start(wheel, place) : UINT64_MAX;

    if (start > tick) {
        if (wheel->elapsed < tick)
            wheel->elapsed = tick;
        return false;
    }
    if (wheel->elapsed < start)
        wheel->elapsed = start;
    if (place >= NXI_WHEEL_SLOTS)
        return cascade(wheel, place, moves);
    return queue_bucket(wheel, place, max, moves);
}

unsigned nxi_wheel_expire(struct nxi_wheel *wheel, nx_time now, unsigned max)
{
    uint64_t moves = (uint64_t)max * MOVES_PER_FIRE;
    unsigned fired_count;

    if (now > wheel->now)
        wheel->now = now;
    if (wheel->next_valid && nxi_wheel_next(wheel) > wheel->now)
        return 0;
    /* first what an earlier call could not get to, then what has since been started already due */
    fired_count = fire_queue(wheel, max);
    if (fired_count < max) {
        wheel->firing ^= 1;
        fired_count += fire_queue(wheel, max - fired_count);
    }
    while (fired_count < max && advance(wheel, max - fired_count, &moves))
        fired_count += fire_queue(wheel, max - fired_count);
    wheel->next_valid = false;
    return fired_count;
}
