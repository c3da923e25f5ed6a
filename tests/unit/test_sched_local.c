/* The scheduler `local`, by its table alone. */
#include "sched_host.h"

#include <nexus/task.h>

extern const struct nx_plugin nexus_plugin_local;

static const struct nx_sched_ops *ops;

static struct nx_sched *opened(uint32_t workers)
{
    return nxt_sched_open(ops, workers);
}

static void closed(struct nx_sched *sched)
{
    nxt_sched_close(ops, sched);
}

static void table_says_what_it_is(void **state)
{
    (void)state;
    nxt_sched_says_what_it_is(&nexus_plugin_local, "local", 80);
    assert_null(ops->steal);
    assert_null(ops->inject);
}

static void open_that_fails_says_why_and_leaves_nothing(void **state)
{
    (void)state;
    nxt_sched_open_fails_clean(ops);
}

static void one_priority_is_first_in_first_out(void **state)
{
    (void)state;
    for (uint8_t priority = NX_PRIO_NORMAL; priority <= NX_PRIO_LOW; priority++) {
        struct nx_sched *sched = opened(1);
        struct nxt_item *items = nxt_items(100, priority, 1);

        for (uint32_t i = 0; i < 100; i++)
            assert_int_equal(ops->enqueue(sched, 0, &items[i].ready, i % 6), NX_WAKE_NONE);
        for (uint32_t i = 0; i < 100; i++)
            assert_ptr_equal(ops->dequeue(sched, 0), &items[i].ready);
        assert_null(ops->dequeue(sched, 0));
        closed(sched);
        free(items);
    }
}

static void queue_works_again_after_it_ran_dry(void **state)
{
    struct nx_sched *sched = opened(1);
    struct nxt_item *items = nxt_items(2, NX_PRIO_NORMAL, 0);

    (void)state;
    for (int round = 0; round < 10; round++) {
        assert_int_equal(ops->has_work(sched, 0), 0);
        (void)ops->enqueue(sched, 0, &items[0].ready, NX_REASON_IO);
        (void)ops->enqueue(sched, 0, &items[1].ready, NX_REASON_IO);
        assert_int_equal(ops->has_work(sched, 0), 1);
        assert_ptr_equal(ops->dequeue(sched, 0), &items[0].ready);
        assert_int_equal(ops->has_work(sched, 0), 1);
        assert_ptr_equal(ops->dequeue(sched, 0), &items[1].ready);
        assert_null(ops->dequeue(sched, 0));
    }
    closed(sched);
    free(items);
}

static void workers_never_see_each_others_tasks(void **state)
{
    struct nx_sched *sched = opened(3);
    struct nxt_item *items = nxt_items(1, NX_PRIO_NORMAL, 1);

    (void)state;
    (void)ops->enqueue(sched, 1, &items[0].ready, NX_REASON_SPAWN);
    for (uint32_t worker = 0; worker < 3; worker += 2) {
        assert_null(ops->dequeue(sched, worker));
        assert_int_equal(ops->has_work(sched, worker), 0);
    }
    assert_ptr_equal(ops->dequeue(sched, 1), &items[0].ready);
    closed(sched);
    free(items);
}

/* What is given out goes back at once, as tasks that yield do. */
static void run_yielding(struct nx_sched *sched, uint32_t turns, uint32_t *counts)
{
    for (uint32_t i = 0; i < turns; i++) {
        struct nx_ready *ready = ops->dequeue(sched, 0);

        assert_non_null(ready);
        counts[ready->priority]++;
        (void)ops->enqueue(sched, 0, ready, NX_REASON_YIELD);
    }
}

static void priorities_are_shares_of_16_4_1(void **state)
{
    struct nx_sched *sched = opened(1);
    struct nxt_item *items[3];
    uint32_t counts[3] = {0};

    (void)state;
    for (uint8_t priority = 0; priority < 3; priority++) {
        items[priority] = nxt_items(priority + 1, priority, 0);
        for (uint32_t i = 0; i <= priority; i++)
            (void)ops->enqueue(sched, 0, &items[priority][i].ready, NX_REASON_SPAWN);
    }
    run_yielding(sched, 21000, counts);
    assert_in_range(counts[NX_PRIO_HIGH], 14400, 17600);
    assert_in_range(counts[NX_PRIO_NORMAL], 3600, 4400);
    assert_in_range(counts[NX_PRIO_LOW], 900, 1100);
    closed(sched);
    for (int i = 0; i < 3; i++)
        free(items[i]);
}

static void absent_priority_gives_its_share_up(void **state)
{
    struct nx_sched *sched = opened(1);
    struct nxt_item *high = nxt_items(1, NX_PRIO_HIGH, 0), *low = nxt_items(1, NX_PRIO_LOW, 0);
    uint32_t counts[3] = {0};

    (void)state;
    (void)ops->enqueue(sched, 0, &high->ready, NX_REASON_SPAWN);
    (void)ops->enqueue(sched, 0, &low->ready, NX_REASON_SPAWN);
    run_yielding(sched, 17000, counts);
    assert_in_range(counts[NX_PRIO_LOW], 900, 1100);
    closed(sched);
    free(high);
    free(low);
}

static void low_waits_for_at_most_twenty_others(void **state)
{
    (void)state;
    for (uint32_t phase = 0; phase < 50; phase++) {
        struct nx_sched *sched = opened(1);
        struct nxt_item *high = nxt_items(8, NX_PRIO_HIGH, 0), *normal = nxt_items(8, NX_PRIO_NORMAL, 0);
        struct nxt_item *low = nxt_items(1, NX_PRIO_LOW, 0);
        uint32_t counts[3] = {0}, waited = 0;
        struct nx_ready *ready;

        for (int i = 0; i < 8; i++) {
            (void)ops->enqueue(sched, 0, &high[i].ready, NX_REASON_IO);
            (void)ops->enqueue(sched, 0, &normal[i].ready, NX_REASON_IO);
        }
        run_yielding(sched, phase, counts);
        (void)ops->enqueue(sched, 0, &low->ready, NX_REASON_IO);
        while ((ready = ops->dequeue(sched, 0)) != &low->ready) {
            assert_non_null(ready);
            (void)ops->enqueue(sched, 0, ready, NX_REASON_YIELD);
            assert_true(++waited <= 20);
        }
        closed(sched);
        free(high);
        free(normal);
        free(low);
    }
}

/* Alone, several of one priority, and several of all three: worker 0 yields, worker 1 does the two. */
static void yield_gives_out_what_enqueue_and_dequeue_would(void **state)
{
    static const uint8_t kinds[][7] = {
        {NX_PRIO_NORMAL}, {NX_PRIO_LOW}, {NX_PRIO_NORMAL, NX_PRIO_NORMAL, NX_PRIO_NORMAL}, {0, 1, 2, 0, 1, 2, 0}};
    static const uint32_t counts[] = {1, 1, 3, 7};

    (void)state;
    for (int kind = 0; kind < 4; kind++) {
        struct nx_sched *sched = opened(2);
        struct nxt_item *ones = nxt_items(counts[kind], 0, 0), *twos = nxt_items(counts[kind], 0, 0);

        for (uint32_t i = 0; i < counts[kind]; i++) {
            ones[i].ready.priority = twos[i].ready.priority = kinds[kind][i];
            if (i > 0)
                (void)ops->enqueue(sched, 0, &ones[i].ready, NX_REASON_IO);
            if (i > 0)
                (void)ops->enqueue(sched, 1, &twos[i].ready, NX_REASON_IO);
        }
        struct nx_ready *in_one = &ones[0].ready, *in_two = &twos[0].ready;
        for (int turn = 0; turn < 100; turn++) {
            in_one = ops->yield(sched, 0, in_one);
            (void)ops->enqueue(sched, 1, in_two, NX_REASON_YIELD);
            in_two = ops->dequeue(sched, 1);
            assert_non_null(in_one);
            assert_int_equal(nxt_item(in_one)->id, nxt_item(in_two)->id);
            assert_int_equal(ops->has_work(sched, 0), counts[kind] > 1);
        }
        for (uint32_t i = 1; i < counts[kind]; i++)
            assert_non_null(ops->dequeue(sched, 0));
        assert_null(ops->dequeue(sched, 0));
        closed(sched);
        free(ones);
        free(twos);
    }
}

static void child_stays_with_its_parent(void **state)
{
    struct nx_sched *sched = opened(4);
    const uint32_t loads[4] = {9, 9, 0, 9};
    const struct nx_ready ready = {.stealable = 1};

    (void)state;
    for (uint32_t from = 0; from < 4; from++)
        assert_int_equal(ops->select(sched, &ready, from, 0, loads), from);
    closed(sched);
}

static void spread_and_foreign_tasks_go_to_the_least_loaded(void **state)
{
    struct nx_sched *sched = opened(4);
    const uint32_t loads[4] = {5, 3, 4, 9};
    const struct nx_ready ready = {.stealable = 1};

    (void)state;
    for (int i = 0; i < 9; i++) {
        assert_int_equal(ops->select(sched, &ready, 0, 1, loads), 1);
        assert_int_equal(ops->select(sched, &ready, UINT32_MAX, 0, loads), 1);
    }
    closed(sched);
}

static void equally_loaded_workers_take_turns(void **state)
{
    struct nx_sched *sched = opened(4);
    const uint32_t same[4] = {0}, two[4] = {7, 2, 7, 2};
    const struct nx_ready ready = {.stealable = 1};
    uint32_t counts[4] = {0};

    (void)state;
    for (int i = 0; i < 400; i++)
        counts[ops->select(sched, &ready, UINT32_MAX, 0, same)]++;
    for (int i = 0; i < 4; i++)
        assert_int_equal(counts[i], 100);
    memset(counts, 0, sizeof(counts));
    for (int i = 0; i < 400; i++)
        counts[ops->select(sched, &ready, 2, 1, two)]++;
    assert_int_equal(counts[1], 200);
    assert_int_equal(counts[3], 200);
    closed(sched);
}

static void loads_that_follow_the_choice_stay_level(void **state)
{
    struct nx_sched *sched = opened(3);
    const struct nx_ready ready = {.stealable = 1};
    uint32_t loads[3] = {10, 0, 4};

    (void)state;
    for (int i = 0; i < 46; i++)
        loads[ops->select(sched, &ready, (uint32_t)i % 3, 1, loads)]++;
    for (int i = 0; i < 3; i++)
        assert_int_equal(loads[i], 20);
    closed(sched);
}

static void dump_lists_what_is_queued_and_takes_nothing(void **state)
{
    struct nx_sched *sched = opened(2);
    struct nxt_item *items = nxt_items(3, NX_PRIO_NORMAL, 0);
    struct nx_ready *out[4] = {NULL};

    (void)state;
    items[2].ready.priority = NX_PRIO_LOW;
    for (int i = 0; i < 3; i++)
        (void)ops->enqueue(sched, 1, &items[i].ready, NX_REASON_IO);
    assert_int_equal(ops->dump(sched, 0, out, 4), 0);
    assert_int_equal(ops->dump(sched, 1, out, 2), 2);
    assert_int_equal(ops->dump(sched, 1, out, 4), 3);
    assert_ptr_equal(out[0], &items[0].ready);
    assert_ptr_equal(out[2], &items[2].ready);
    for (int i = 0; i < 3; i++)
        assert_non_null(ops->dequeue(sched, 1));
    assert_null(ops->dequeue(sched, 1));
    closed(sched);
    free(items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_says_what_it_is),
        cmocka_unit_test(open_that_fails_says_why_and_leaves_nothing),
        cmocka_unit_test(one_priority_is_first_in_first_out),
        cmocka_unit_test(queue_works_again_after_it_ran_dry),
        cmocka_unit_test(workers_never_see_each_others_tasks),
        cmocka_unit_test(priorities_are_shares_of_16_4_1),
        cmocka_unit_test(absent_priority_gives_its_share_up),
        cmocka_unit_test(low_waits_for_at_most_twenty_others),
        cmocka_unit_test(yield_gives_out_what_enqueue_and_dequeue_would),
        cmocka_unit_test(child_stays_with_its_parent),
        cmocka_unit_test(spread_and_foreign_tasks_go_to_the_least_loaded),
        cmocka_unit_test(equally_loaded_workers_take_turns),
        cmocka_unit_test(loads_that_follow_the_choice_stay_level),
        cmocka_unit_test(dump_lists_what_is_queued_and_takes_nothing),
    };

    ops = nexus_plugin_local.ops;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
