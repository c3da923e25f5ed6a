/* test_timer.c: the timing wheel against a model that only knows a list, and the cases other wheels got wrong. */
#include "timer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TICK (INT64_C(1) << 14)
#define CONTAINER(timer) ((struct item *)(timer))

struct item {
    struct nxi_timer timer; /* first */
    nx_time expected;       /* deadline in the model, or NX_FOREVER */
    nx_time fired_at;
    int fired_count;
    void (*then)(struct item *item);
    struct item *other;
};

static struct nxi_wheel wheel;
static nx_time now;
static unsigned early_count;
static unsigned wrong_count; /* fired though the model says it is not active */

static void fire(struct nxi_timer *timer)
{
    struct item *item = CONTAINER(timer);

    early_count += timer->deadline > now;
    wrong_count += item->expected != timer->deadline || nxi_timer_active(timer);
    item->expected = NX_FOREVER;
    item->fired_at = now;
    item->fired_count++;
    if (item->then != NULL)
        item->then(item);
}

static void begin(nx_time at)
{
    now = at;
    early_count = 0;
    wrong_count = 0;
    nxi_wheel_init(&wheel, at);
}

static void prepare(struct item *item)
{
    memset(item, 0, sizeof(*item));
    item->expected = NX_FOREVER;
    nxi_timer_init(&item->timer, fire);
}

static void start(struct item *item, nx_time deadline)
{
    item->expected = deadline;
    nxi_timer_start(&wheel, &item->timer, deadline);
}

static void stop(struct item *item)
{
    item->expected = NX_FOREVER;
    nxi_timer_stop(&wheel, &item->timer);
}

static unsigned expire_at(nx_time at)
{
    now = at;
    return nxi_wheel_expire(&wheel, at, 1000000);
}

static const nx_time clocks[] = {0, 1, TICK - 1, INT64_C(123456789012345), INT64_C(1) << 61, (INT64_C(1) << 62) - 1};
#define CLOCKS (sizeof(clocks) / sizeof(clocks[0]))

static void an_empty_wheel_waits_for_ever(void **state)
{
    (void)state;
    begin(1);
    assert_int_equal(nxi_wheel_next(&wheel), NX_FOREVER);
    assert_int_equal(expire_at(NX_FOREVER - 1), 0);
    assert_int_equal(nxi_wheel_next(&wheel), NX_FOREVER);
    assert_int_equal(nxi_wheel_count(&wheel), 0);
}

/* Each level's edge and one to either side, alone: exact next, silent just before, fired at the deadline. */
static void a_lone_timer_fires_at_its_nanosecond_at_every_edge(void **state)
{
    (void)state;
    for (size_t c = 0; c < CLOCKS; c++)
        for (int bit = 0; bit < 63; bit++)
            for (int off = -1; off <= 1; off++) {
                struct item item;
                nx_time deadline;

                if (clocks[c] > NX_FOREVER - 2 - (INT64_C(1) << bit))
                    continue;
                deadline = clocks[c] + (INT64_C(1) << bit) + off;
                if (deadline <= clocks[c])
                    continue;
                begin(clocks[c]);
                prepare(&item);
                start(&item, deadline);
                assert_int_equal(nxi_wheel_next(&wheel), deadline);
                assert_int_equal(expire_at(deadline - 1), 0);
                assert_int_equal(nxi_wheel_next(&wheel), deadline);
                assert_int_equal(expire_at(deadline), 1);
                assert_int_equal(item.fired_count, 1);
                assert_int_equal(early_count + wrong_count, 0);
                assert_int_equal(nxi_wheel_count(&wheel), 0);
            }
}

/* Absolute edges: where the slot index of a level wraps. */
static void deadlines_around_an_absolute_level_edge_fire_in_order(void **state)
{
    (void)state;
    for (int bit = 14; bit < 63; bit++) {
        struct item items[3];
        nx_time edge = INT64_C(1) << bit;

        begin(edge - 5);
        for (int i = 0; i < 3; i++) {
            prepare(&items[i]);
            start(&items[i], edge - 1 + i);
        }
        for (int i = 0; i < 3; i++) {
            assert_int_equal(nxi_wheel_next(&wheel), edge - 1 + i);
            assert_int_equal(expire_at(edge - 1 + i), 1);
            assert_int_equal(items[i].fired_count, 1);
        }
        assert_int_equal(early_count + wrong_count, 0);
    }
}

static void a_deadline_in_the_past_fires_at_the_next_expire(void **state)
{
    static const nx_time pasts[] = {INT64_MIN, -1, 0, 1, 999999, 1000000};

    (void)state;
    for (size_t i = 0; i < sizeof(pasts) / sizeof(pasts[0]); i++) {
        struct item item;

        begin(1000000);
        prepare(&item);
        start(&item, pasts[i]);
        assert_true(nxi_wheel_next(&wheel) <= 1000000);
        assert_int_equal(expire_at(1000000), 1);
        assert_int_equal(nxi_wheel_next(&wheel), NX_FOREVER);
    }
}

static void forever_is_never_stored(void **state)
{
    struct item item;

    (void)state;
    begin(5);
    prepare(&item);
    start(&item, NX_FOREVER);
    assert_false(nxi_timer_active(&item.timer));
    start(&item, NX_FOREVER - 1);
    assert_int_equal(nxi_wheel_next(&wheel), NX_FOREVER - 1);
    start(&item, NX_FOREVER);
    assert_int_equal(nxi_wheel_count(&wheel), 0);
    assert_int_equal(nxi_wheel_next(&wheel), NX_FOREVER);
}

static void a_big_jump_of_the_clock_fires_everything_once(void **state)
{
    static struct item items[63];

    (void)state;
    begin(1);
    for (int i = 0; i < 62; i++) {
        prepare(&items[i]);
        start(&items[i], (INT64_C(1) << i) + 1);
    }
    prepare(&items[62]);
    start(&items[62], NX_FOREVER - 1);
    assert_int_equal(expire_at(NX_FOREVER - 2), 62);
    assert_int_equal(nxi_wheel_next(&wheel), NX_FOREVER - 1);
    for (int i = 0; i < 62; i++)
        assert_int_equal(items[i].fired_count, 1);
    assert_int_equal(expire_at(NX_FOREVER - 1), 1);
}

static void a_clock_that_goes_back_fires_nothing_early(void **state)
{
    struct item item;

    (void)state;
    begin(1000000);
    prepare(&item);
    start(&item, 2000000);
    expire_at(1500000);
    assert_int_equal(expire_at(1200000), 0);
    assert_int_equal(nxi_wheel_next(&wheel), 2000000);
    assert_int_equal(expire_at(2000000), 1);
}

static void stop_other_then_self(struct item *item)
{
    stop(item->other);
    stop(item);
}

static void timer_cancelled_in_another_ones_callback_never_fires(void **state)
{
    struct item items[2];

    (void)state;
    for (int distance = 0; distance < 2; distance++) {
        begin(1);
        for (int i = 0; i < 2; i++) {
            prepare(&items[i]);
            items[i].then = stop_other_then_self;
            items[i].other = &items[1 - i];
            start(&items[i], 5 * TICK + i * distance * TICK);
        }
        assert_int_equal(expire_at(100 * TICK), 1);
        assert_int_equal(items[0].fired_count + items[1].fired_count, 1);
        assert_int_equal(nxi_wheel_count(&wheel), 0);
        assert_int_equal(nxi_wheel_next(&wheel), NX_FOREVER);
        assert_int_equal(wrong_count, 0);
    }
}

static void start_over_now(struct item *item)
{
    start(item, now);
}

static void timer_restarted_for_now_in_its_callback_waits_for_the_next_expire(void **state)
{
    struct item item;

    (void)state;
    begin(1);
    prepare(&item);
    item.then = start_over_now;
    start(&item, 100);
    assert_int_equal(expire_at(100), 1);
    assert_true(nxi_wheel_next(&wheel) <= 100);
    assert_int_equal(expire_at(100), 1);
    assert_int_equal(item.fired_count, 2);
}

static void start_over_soon(struct item *item)
{
    start(item, item->timer.deadline + 1000);
}

static int order_count;
static int fired_order[64];
static struct item ordered[64];

static void note_rank(struct item *item)
{
    fired_order[order_count++] = (int)(item - ordered);
}

/* Timers of one tick, started in this order of ranks, fire by rank. */
static void fires_by_rank(const int *ranks, int count)
{
    begin(1);
    order_count = 0;
    for (int i = 0; i < count; i++)
        prepare(&ordered[i]);
    for (int i = 0; i < count; i++) {
        ordered[ranks[i]].then = note_rank;
        start(&ordered[ranks[i]], 100 * TICK + ranks[i]);
    }
    now = 200 * TICK;
    assert_int_equal(nxi_wheel_expire(&wheel, now, 1000), count);
    for (int i = 0; i < count; i++)
        assert_int_equal(fired_order[i], i);
}

static void timers_due_together_fire_in_the_order_of_their_deadlines(void **state)
{
    static const int few[] = {3, 0, 6, 1, 5, 2, 4};
    int ascending[64], descending[64];

    (void)state;
    for (int i = 0; i < 64; i++) {
        ascending[i] = i;
        descending[i] = 63 - i;
    }
    fires_by_rank(few, 7);
    fires_by_rank(ascending, 64);
    fires_by_rank(descending, 64);
}

/* A period of 1 µs and a clock that jumps by 1 ms: each expire fires it once, for what is due then counts as late. */
static void a_period_shorter_than_the_turn_can_not_hold_the_worker(void **state)
{
    struct item item;

    (void)state;
    begin(1);
    prepare(&item);
    item.then = start_over_soon;
    start(&item, 1001);
    for (int i = 1; i <= 10; i++)
        assert_int_equal(expire_at(i * 1000000), 1);
}

static void free_self(struct item *item)
{
    memset(item, 0xee, sizeof(*item));
    free(item);
}

static void a_callback_may_free_its_timer(void **state)
{
    (void)state;
    begin(1);
    for (int i = 0; i < 100; i++) {
        struct item *item = malloc(sizeof(*item));

        assert_non_null(item);
        prepare(item);
        item->then = free_self;
        start(item, 50 + i / 3);
    }
    assert_int_equal(expire_at(1000), 100);
    assert_int_equal(nxi_wheel_count(&wheel), 0);
}

static void stop_is_idempotent_and_starting_twice_moves_the_timer(void **state)
{
    struct item item;

    (void)state;
    begin(1);
    prepare(&item);
    stop(&item);
    start(&item, 5000000);
    start(&item, 70000);
    assert_int_equal(nxi_wheel_count(&wheel), 1);
    assert_int_equal(nxi_wheel_next(&wheel), 70000);
    start(&item, 900000000);
    assert_int_equal(nxi_wheel_next(&wheel), 900000000);
    assert_int_equal(expire_at(899999999), 0);
    stop(&item);
    stop(&item);
    assert_int_equal(nxi_wheel_count(&wheel), 0);
    assert_int_equal(expire_at(2000000000), 0);
    assert_int_equal(item.fired_count, 0);
}

/* Bounded by max, with a cascade of many in between: nothing is lost, next() says there is more until there isn't. */
static void expire_bounded_by_max_resumes_where_it_stopped(void **state)
{
    enum { COUNT = 3000 };
    static struct item items[COUNT];
    unsigned fired_count = 0;
    unsigned call_count = 0;

    (void)state;
    begin(1);
    for (int i = 0; i < COUNT; i++) {
        prepare(&items[i]);
        start(&items[i], 10000000 + i % 7);
    }
    now = 10000010;
    while (nxi_wheel_next(&wheel) <= now && call_count < 10 * COUNT) {
        unsigned count = nxi_wheel_expire(&wheel, now, 7);

        assert_true(count <= 7);
        fired_count += count;
        call_count++;
    }
    assert_int_equal(fired_count, COUNT);
    assert_true(call_count <= 2 * (COUNT / 7 + 10));
    assert_int_equal(early_count + wrong_count, 0);
    assert_int_equal(nxi_wheel_next(&wheel), NX_FOREVER);
}

static void timers_stopped_in_the_middle_of_a_bounded_cascade_never_fire(void **state)
{
    enum { COUNT = 1000 };
    static struct item items[COUNT];
    struct item later;

    (void)state;
    begin(1);
    for (int i = 0; i < COUNT; i++) {
        prepare(&items[i]);
        start(&items[i], 80 * TICK); /* level 1 */
    }
    now = 70 * TICK; /* its bucket has begun: the cascade stops half-way */
    nxi_wheel_expire(&wheel, now, 10);
    assert_true(nxi_wheel_next(&wheel) <= now);
    for (int i = 0; i < COUNT; i++)
        stop(&items[i]);
    assert_int_equal(nxi_wheel_next(&wheel), NX_FOREVER);
    /* the same slot of level 1, a turn later: must not be taken for the half-done one */
    prepare(&later);
    start(&later, now + 64 * 64 * TICK);
    start(&items[0], now + TICK);
    assert_int_equal(nxi_wheel_next(&wheel), now + TICK);
    assert_int_equal(expire_at(now + TICK), 1);
    assert_int_equal(expire_at(later.expected), 1);
    assert_int_equal(early_count + wrong_count, 0);
}

/* A wait for one of many timers in a far bucket ends early at most once a level. */
static void many_far_timers_wake_early_at_most_once_a_level(void **state)
{
    enum { COUNT = 5000 };
    static struct item items[COUNT];
    unsigned wake_count = 0;

    (void)state;
    begin(1);
    for (int i = 0; i < COUNT; i++) {
        prepare(&items[i]);
        start(&items[i], INT64_C(30000000000));
    }
    while (nxi_wheel_count(&wheel) > 0 && wake_count < 100) {
        nx_time next = nxi_wheel_next(&wheel);

        assert_true(next > now || wake_count > 0);
        expire_at(next);
        wake_count++;
    }
    assert_true(wake_count <= 5);
    assert_int_equal(now, INT64_C(30000000000));
    assert_int_equal(early_count + wrong_count, 0);
}

/* The idle timeouts of busy connections: restarted for later again and again, they cost no wake each. */
static void restarting_for_later_keeps_next_exact_and_fires_once(void **state)
{
    enum { COUNT = 50 };
    static struct item items[COUNT];

    (void)state;
    begin(1);
    for (int i = 0; i < COUNT; i++) {
        prepare(&items[i]);
        start(&items[i], 1000000 + i);
    }
    for (int round = 1; round < 1000; round++)
        for (int i = 0; i < COUNT; i++)
            start(&items[i], 1000000 + i + round * INT64_C(3000000));
    assert_int_equal(nxi_wheel_next(&wheel), 1000000 + 999 * INT64_C(3000000));
    assert_int_equal(expire_at(999 * INT64_C(3000000)), 0);
    assert_int_equal(expire_at(1000000 + 999 * INT64_C(3000000) + COUNT), COUNT);
    assert_int_equal(early_count + wrong_count, 0);
}

/*
 * The model
 */

#define ITEMS 200

static struct item items[ITEMS];
static uint64_t seed;

static uint64_t random_bits(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* Mostly near, each magnitude sometimes, often next to an edge. */
static nx_time random_deadline(void)
{
    int bits = (int)(random_bits() % 100 < 80 ? random_bits() % 30 : random_bits() % 63);
    nx_time distance = (nx_time)(random_bits() & ((UINT64_C(1) << bits) - 1));
    nx_time deadline;

    if (random_bits() % 8 == 0)
        return now - distance % 100000;
    deadline = distance > NX_FOREVER - 2 - now ? NX_FOREVER - 1 : now + distance;
    if (random_bits() % 4 == 0) {
        int edge = 14 + 6 * (int)(random_bits() % 8);
        nx_time rounded = deadline >> edge << edge;

        deadline = rounded + (nx_time)(random_bits() % 3) - 1;
    }
    return deadline;
}

static void random_then(struct item *item)
{
    switch (random_bits() % 6) {
    case 0:
        start(item, random_deadline());
        break;
    case 1:
        stop(&items[random_bits() % ITEMS]);
        break;
    case 2:
        start(&items[random_bits() % ITEMS], random_deadline());
        break;
    case 3:
        (void)nxi_wheel_next(&wheel);
        break;
    default:
        break;
    }
}

static nx_time model_next(unsigned *ret_count)
{
    nx_time next = NX_FOREVER;

    *ret_count = 0;
    for (int i = 0; i < ITEMS; i++) {
        *ret_count += items[i].expected != NX_FOREVER;
        if (items[i].expected < next)
            next = items[i].expected;
    }
    return next;
}

static void check_against_model(bool exact)
{
    unsigned count;
    nx_time expected = model_next(&count);
    nx_time next = nxi_wheel_next(&wheel);

    assert_int_equal(nxi_wheel_count(&wheel), count);
    for (int i = 0; i < ITEMS; i++) {
        assert_int_equal(nxi_timer_active(&items[i].timer), items[i].expected != NX_FOREVER);
        if (items[i].expected != NX_FOREVER)
            assert_int_equal(items[i].timer.deadline, items[i].expected);
    }
    if (expected == NX_FOREVER)
        assert_int_equal(next, NX_FOREVER);
    else if (expected > now && exact)
        assert_int_equal(next, expected);
    else
        assert_true(next <= expected || next <= now);
    assert_int_equal(early_count + wrong_count, 0);
}

/* Drains what is due by the clock; a timer started during an expire may take one call more. */
static void expire_all(unsigned max)
{
    unsigned calls = 0;

    do
        nxi_wheel_expire(&wheel, now, max);
    while (++calls < 100000 && random_bits() % 4 != 0 && nxi_wheel_next(&wheel) <= now);
}

static void run_model(uint64_t new_seed, nx_time at, int active, int rounds)
{
    seed = new_seed;
    begin(at);
    for (int i = 0; i < ITEMS; i++) {
        prepare(&items[i]);
        items[i].then = random_then;
    }
    for (int round = 0; round < rounds; round++) {
        for (uint64_t ops = random_bits() % 8; ops > 0; ops--) {
            struct item *item = &items[random_bits() % (uint64_t)active];

            if (random_bits() % 3 == 0)
                stop(item);
            else
                start(item, random_deadline());
        }
        if (random_bits() % 2 == 0)
            check_against_model(active <= 64);
        switch (random_bits() % 4) {
        case 0: { /* as a worker does: wait until next, or a little longer */
            nx_time next = nxi_wheel_next(&wheel);

            if (next != NX_FOREVER && next > now)
                now = next + (nx_time)(random_bits() % 3) * (random_bits() % 2 ? 1 : 20000);
            break;
        }
        case 1:
            now += (nx_time)(random_bits() & ((UINT64_C(1) << random_bits() % 24) - 1));
            break;
        case 2:
            if (random_bits() % 16 == 0 && now < INT64_C(1) << 61)
                now += (nx_time)(random_bits() & ((UINT64_C(1) << random_bits() % 56) - 1));
            break;
        default:
            break;
        }
        if (now < at || now > NX_FOREVER - (INT64_C(1) << 40))
            return;
        if (random_bits() % 3 == 0) {
            expire_all(1 + (unsigned)(random_bits() % 5)); /* may leave a cascade half done: next() is then `now` */
            check_against_model(false);
        }
        expire_all(1000000);
        check_against_model(wheel.count <= 64);
    }
}

static void random_operations_agree_with_a_list(void **state)
{
    (void)state;
    for (size_t c = 0; c < CLOCKS; c++)
        for (uint64_t s = 1; s <= 30; s++)
            run_model(s * UINT64_C(0x9e3779b97f4a7c15) + c, clocks[c] + 1, s % 3 == 0 ? ITEMS : 5 + (int)s, 700);
}

/* Nothing that is due is left when next() says so: the other half of "never lost". */
static void what_is_due_has_fired_once_next_is_in_the_future(void **state)
{
    (void)state;
    for (uint64_t s = 1; s <= 50; s++) {
        seed = s * UINT64_C(0xd1342543de82ef95);
        begin(1);
        for (int i = 0; i < ITEMS; i++) {
            prepare(&items[i]);
            start(&items[i], 1 + (nx_time)(random_bits() % UINT64_C(200000000)));
        }
        while (nxi_wheel_count(&wheel) > 0) {
            now += (nx_time)(random_bits() % 5000000);
            do
                nxi_wheel_expire(&wheel, now, 3);
            while (nxi_wheel_next(&wheel) <= now);
            for (int i = 0; i < ITEMS; i++)
                assert_true(items[i].expected == NX_FOREVER || items[i].expected > now);
        }
        assert_int_equal(early_count + wrong_count, 0);
    }
}

static nx_time last_tick;
static unsigned disorder_count;

static void note_order(struct item *item)
{
    disorder_count += item->timer.deadline / TICK < last_tick;
    last_tick = item->timer.deadline / TICK;
}

static void timers_fire_in_the_order_of_their_buckets(void **state)
{
    (void)state;
    seed = 42;
    begin(1);
    last_tick = 0;
    disorder_count = 0;
    for (int i = 0; i < ITEMS; i++) {
        prepare(&items[i]);
        items[i].then = note_order;
        start(&items[i], 2 + (nx_time)(random_bits() % UINT64_C(10000000000)));
    }
    assert_int_equal(expire_at(INT64_C(10000000002)), ITEMS);
    assert_int_equal(disorder_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_wheel_waits_for_ever),
        cmocka_unit_test(a_lone_timer_fires_at_its_nanosecond_at_every_edge),
        cmocka_unit_test(deadlines_around_an_absolute_level_edge_fire_in_order),
        cmocka_unit_test(a_deadline_in_the_past_fires_at_the_next_expire),
        cmocka_unit_test(forever_is_never_stored),
        cmocka_unit_test(a_big_jump_of_the_clock_fires_everything_once),
        cmocka_unit_test(a_clock_that_goes_back_fires_nothing_early),
        cmocka_unit_test(timer_cancelled_in_another_ones_callback_never_fires),
        cmocka_unit_test(timer_restarted_for_now_in_its_callback_waits_for_the_next_expire),
        cmocka_unit_test(a_period_shorter_than_the_turn_can_not_hold_the_worker),
        cmocka_unit_test(a_callback_may_free_its_timer),
        cmocka_unit_test(stop_is_idempotent_and_starting_twice_moves_the_timer),
        cmocka_unit_test(expire_bounded_by_max_resumes_where_it_stopped),
        cmocka_unit_test(timers_stopped_in_the_middle_of_a_bounded_cascade_never_fire),
        cmocka_unit_test(many_far_timers_wake_early_at_most_once_a_level),
        cmocka_unit_test(restarting_for_later_keeps_next_exact_and_fires_once),
        cmocka_unit_test(random_operations_agree_with_a_list),
        cmocka_unit_test(what_is_due_has_fired_once_next_is_in_the_future),
        cmocka_unit_test(timers_due_together_fire_in_the_order_of_their_deadlines),
        cmocka_unit_test(timers_fire_in_the_order_of_their_buckets),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
