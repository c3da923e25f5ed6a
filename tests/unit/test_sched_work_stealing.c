/* The scheduler `work_stealing`, by its table alone: policy on one thread, then exactly-once on many. */
#include "sched_host.h"

#include <nexus/task.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#define RING 256u
#define SHARED_INTERVAL 61u

extern const struct nx_plugin nexus_plugin_work_stealing;

static const struct nx_sched_ops *ops;

static struct nx_sched *opened(uint32_t workers)
{
    return nxt_sched_open(ops, workers);
}

static void closed(struct nx_sched *sched)
{
    nxt_sched_close(ops, sched);
}

/* To the ring, not by way of the newest slot. */
static void push(struct nx_sched *sched, uint32_t worker, struct nxt_item *items, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        (void)ops->enqueue(sched, worker, &items[i].ready, NX_REASON_IO);
}

static uint32_t drain(struct nx_sched *sched, uint32_t worker)
{
    struct nx_ready *ready;
    uint32_t count = 0;

    for (; (ready = ops->dequeue(sched, worker)) != NULL; count++)
        nxt_item(ready)->given++;
    return count;
}

static void table_says_what_it_is(void **state)
{
    (void)state;
    nxt_sched_says_what_it_is(&nexus_plugin_work_stealing, "work_stealing", 50);
}

static void open_that_fails_says_why_and_leaves_nothing(void **state)
{
    (void)state;
    nxt_sched_open_fails_clean(ops);
}

static void only_stealable_work_asks_for_a_wake(void **state)
{
    struct nx_sched *sched = opened(2);
    struct nxt_item *stays = nxt_items(6, NX_PRIO_NORMAL, 0), *moves = nxt_items(6, NX_PRIO_NORMAL, 1);

    (void)state;
    for (uint32_t reason = NX_REASON_SPAWN; reason <= NX_REASON_REMOTE; reason++) {
        assert_int_equal(ops->enqueue(sched, 0, &stays[reason].ready, reason), NX_WAKE_NONE);
        assert_int_equal(ops->enqueue(sched, 0, &moves[reason].ready, reason), NX_WAKE_ANY);
    }
    assert_int_equal(drain(sched, 0), 12);
    closed(sched);
    free(stays);
    free(moves);
}

static void ring_is_first_in_first_out_across_the_index_wrap(void **state)
{
    struct nx_sched *sched = opened(1);
    struct nxt_item *items = nxt_items(RING, NX_PRIO_NORMAL, 1);

    (void)state;
    for (int round = 0; round < 40; round++) { /* indices start 768 before the wrap */
        uint32_t count = 1 + (uint32_t)round * 37 % RING;

        push(sched, 0, items, count);
        for (uint32_t i = 0; i < count; i++)
            assert_ptr_equal(ops->dequeue(sched, 0), &items[i].ready);
        assert_null(ops->dequeue(sched, 0));
    }
    closed(sched);
    free(items);
}

static void thieves_keep_the_order_across_the_index_wrap(void **state)
{
    struct nx_sched *sched = opened(2);
    struct nxt_item *items = nxt_items(RING, NX_PRIO_NORMAL, 1);

    (void)state;
    for (int round = 0; round < 40; round++) {
        uint32_t thief = (uint32_t)round % 2, next = 0;
        struct nx_ready *ready;

        push(sched, 1 - thief, items, 200);
        while ((ready = ops->steal(sched, thief)) != NULL) {
            do
                assert_int_equal(nxt_item(ready)->id, next++);
            while ((ready = ops->dequeue(sched, thief)) != NULL);
        }
        assert_int_equal(next, 200);
    }
    closed(sched);
    free(items);
}

static void bound_tasks_are_first_in_first_out_and_never_stolen(void **state)
{
    struct nx_sched *sched = opened(2);
    struct nxt_item *items = nxt_items(1000, NX_PRIO_NORMAL, 0);

    (void)state;
    for (uint32_t i = 0; i < 1000; i++)
        (void)ops->enqueue(sched, 0, &items[i].ready, i % 6);
    assert_null(ops->steal(sched, 1));
    assert_int_equal(ops->has_work(sched, 1), 0);
    assert_int_equal(ops->has_work(sched, 0), 1);
    for (uint32_t i = 0; i < 1000; i++)
        assert_ptr_equal(ops->dequeue(sched, 0), &items[i].ready);
    assert_int_equal(ops->has_work(sched, 0), 0);
    closed(sched);
    free(items);
}

static void stealable_is_read_at_each_enqueue(void **state)
{
    struct nx_sched *sched = opened(2);
    struct nxt_item *item = nxt_items(1, NX_PRIO_NORMAL, 0);

    (void)state;
    for (int round = 0; round < 10; round++) {
        item->ready.stealable = (uint8_t)(round % 2);
        (void)ops->enqueue(sched, 0, &item->ready, NX_REASON_YIELD);
        assert_ptr_equal(ops->steal(sched, 1), round % 2 ? &item->ready : NULL);
        assert_ptr_equal(ops->dequeue(sched, 0), round % 2 ? NULL : &item->ready);
    }
    closed(sched);
    free(item);
}

static void bound_and_stealable_tasks_alternate(void **state)
{
    struct nx_sched *sched = opened(1);
    struct nxt_item *stays = nxt_items(100, NX_PRIO_NORMAL, 0), *moves = nxt_items(100, NX_PRIO_NORMAL, 1);
    uint32_t moved = 0;

    (void)state;
    push(sched, 0, stays, 100);
    push(sched, 0, moves, 100);
    for (uint32_t i = 0; i < 100; i++) {
        moved += ops->dequeue(sched, 0)->stealable;
        assert_in_range(2 * moved, i, i + 2);
    }
    assert_int_equal(drain(sched, 0), 100);
    closed(sched);
    free(stays);
    free(moves);
}

static void newest_spawned_or_unblocked_runs_next(void **state)
{
    static const uint32_t reasons[] = {NX_REASON_SPAWN, NX_REASON_UNBLOCK};

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct nx_sched *sched = opened(1);
        struct nxt_item *items = nxt_items(4, NX_PRIO_NORMAL, 1);

        push(sched, 0, items, 2);
        (void)ops->enqueue(sched, 0, &items[2].ready, reasons[i]);
        (void)ops->enqueue(sched, 0, &items[3].ready, reasons[i]);
        assert_ptr_equal(ops->dequeue(sched, 0), &items[3].ready);
        for (int k = 0; k < 3; k++)
            assert_ptr_equal(ops->dequeue(sched, 0), &items[k].ready);
        closed(sched);
        free(items);
    }
}

static void newest_goes_first_three_times_in_a_row_at_most(void **state)
{
    struct nx_sched *sched = opened(1);
    struct nxt_item *chain = nxt_items(1, NX_PRIO_NORMAL, 1), *others = nxt_items(50, NX_PRIO_NORMAL, 1);
    uint32_t streak = 0, waited = 0;

    (void)state;
    push(sched, 0, others, 50);
    (void)ops->enqueue(sched, 0, &chain->ready, NX_REASON_SPAWN);
    while (waited < 50) {
        struct nx_ready *ready = ops->dequeue(sched, 0);

        assert_non_null(ready);
        if (ready == &chain->ready) { /* it spawns its like, for ever */
            assert_true(++streak <= 3);
            (void)ops->enqueue(sched, 0, ready, NX_REASON_SPAWN);
        } else {
            streak = 0;
            assert_ptr_equal(ready, &others[waited++].ready);
        }
    }
    assert_int_equal(drain(sched, 0), 1);
    closed(sched);
    free(chain);
    free(others);
}

static void chain_without_competitors_is_not_held_up_by_the_cap(void **state)
{
    struct nx_sched *sched = opened(1);
    struct nxt_item *chain = nxt_items(1, NX_PRIO_NORMAL, 1);

    (void)state;
    (void)ops->enqueue(sched, 0, &chain->ready, NX_REASON_SPAWN);
    for (int i = 0; i < 100; i++) {
        assert_ptr_equal(ops->dequeue(sched, 0), &chain->ready);
        (void)ops->enqueue(sched, 0, &chain->ready, NX_REASON_SPAWN);
    }
    assert_int_equal(drain(sched, 0), 1);
    closed(sched);
    free(chain);
}

/* A thief lets the newest be for a few looks: the owner may be about to take it. */
static struct nx_ready *steal_patiently(struct nx_sched *sched, uint32_t thief)
{
    struct nx_ready *ready = NULL;

    for (int i = 0; i < 8 && ready == NULL; i++)
        ready = ops->steal(sched, thief);
    return ready;
}

/* Worker 0 runs a task that never parks: it neither dequeues nor enqueues again. */
static void newest_is_no_hostage_of_a_stuck_worker(void **state)
{
    (void)state;
    for (uint8_t priority = NX_PRIO_NORMAL; priority <= NX_PRIO_LOW; priority++) {
        struct nx_sched *sched = opened(3);
        struct nxt_item *items = nxt_items(2, priority, 1);

        assert_int_equal(ops->enqueue(sched, 0, &items[0].ready, NX_REASON_SPAWN), NX_WAKE_ANY);
        assert_int_equal(ops->enqueue(sched, 0, &items[1].ready, NX_REASON_SPAWN), NX_WAKE_ANY);
        assert_int_equal(ops->has_work(sched, 2), 1);
        assert_ptr_equal(ops->steal(sched, 2), &items[0].ready); /* the ring before the slot */
        assert_int_equal(ops->has_work(sched, 2), 1);
        assert_ptr_equal(steal_patiently(sched, 2), &items[1].ready);
        assert_int_equal(ops->has_work(sched, 2), 0);
        assert_null(ops->dequeue(sched, 0));
        closed(sched);
        free(items);
    }
}

static void newest_that_moves_is_let_be(void **state)
{
    struct nx_sched *sched = opened(2);
    struct nxt_item *item = nxt_items(1, NX_PRIO_NORMAL, 1);

    (void)state;
    for (int i = 0; i < 100; i++) {
        (void)ops->enqueue(sched, 0, &item->ready, NX_REASON_SPAWN);
        assert_int_equal(ops->has_work(sched, 1), 1);
        assert_null(ops->steal(sched, 1));
        assert_ptr_equal(ops->dequeue(sched, 0), &item->ready);
    }
    closed(sched);
    free(item);
}

static void child_is_taken_from_wherever_it_is_in_the_own_queue(void **state)
{
    struct nx_sched *sched = opened(2);
    struct nxt_item *items = nxt_items(RING, NX_PRIO_NORMAL, 1);

    (void)state;
    push(sched, 0, items, 100);
    for (uint32_t i = 1; i < 99; i += 2) {
        assert_int_equal(ops->take(sched, 1, &items[i].ready), 0); /* not that worker's */
        assert_int_equal(ops->take(sched, 0, &items[i].ready), 1);
        assert_int_equal(ops->take(sched, 0, &items[i].ready), 0);
    }
    (void)ops->enqueue(sched, 0, &items[100].ready, NX_REASON_SPAWN);
    assert_int_equal(ops->take(sched, 0, &items[100].ready), 1);
    for (uint32_t i = 0; i < 100; i += 2)
        assert_ptr_equal(ops->dequeue(sched, 0), &items[i].ready);
    assert_ptr_equal(ops->dequeue(sched, 0), &items[99].ready);
    assert_null(ops->dequeue(sched, 0));
    assert_int_equal(ops->has_work(sched, 1), 0);
    closed(sched);
    free(items);
}

/* 20 that stay, and 5000 that come and are taken: more than the ring has places. */
static void ring_with_holes_keeps_order_and_spills_nothing(void **state)
{
    struct nx_sched *sched = opened(2);
    struct nxt_item *stays = nxt_items(20, NX_PRIO_NORMAL, 1), *passes = nxt_items(2, NX_PRIO_NORMAL, 1);

    (void)state;
    for (uint32_t i = 0; i < 5000; i++) {
        if (i % 250 == 0)
            push(sched, 0, stays + i / 250, 1);
        push(sched, 0, passes + i % 2, 1); /* one of them is always between two that stay, or the last */
        if (i > 0)
            assert_int_equal(ops->take(sched, 0, &passes[(i + 1) % 2].ready), 1);
    }
    assert_int_equal(ops->take(sched, 0, &passes[1].ready), 1);
    assert_null(ops->dequeue(sched, 1)); /* nothing is in the shared queue */
    for (uint32_t i = 0; i < 20; i++)
        assert_ptr_equal(ops->dequeue(sched, 0), &stays[i].ready);
    assert_null(ops->dequeue(sched, 0));
    closed(sched);
    free(stays);
    free(passes);
}

static void parent_goes_on_in_its_childs_place_but_not_for_ever(void **state)
{
    struct nx_sched *sched = opened(1);
    struct nxt_item *parent = nxt_items(1, NX_PRIO_NORMAL, 0), *others = nxt_items(4, NX_PRIO_NORMAL, 0);
    uint32_t streak = 0, waited = 0;

    (void)state;
    push(sched, 0, others, 4);
    while (waited < 4) {
        struct nx_ready *ready;

        (void)ops->enqueue(sched, 0, &parent->ready, NX_REASON_RETURN);
        assert_int_equal(ops->has_work(sched, 0), 1);
        ready = ops->dequeue(sched, 0);
        if (ready == &parent->ready) {
            assert_true(++streak <= 60);
            continue;
        }
        assert_ptr_equal(ready, &others[waited++].ready);
        while ((ready = ops->dequeue(sched, 0)) != &parent->ready)
            assert_ptr_equal(ready, &others[waited++].ready);
        streak = 0;
    }
    closed(sched);
    free(parent);
    free(others);
}

static void thief_takes_the_older_half(void **state)
{
    struct nx_sched *sched = opened(2);
    struct nxt_item *items = nxt_items(100, NX_PRIO_NORMAL, 1);

    (void)state;
    push(sched, 0, items, 100);
    assert_ptr_equal(ops->steal(sched, 1), &items[0].ready);
    assert_int_equal(drain(sched, 1), 49);
    assert_int_equal(items[49].given, 1);
    assert_int_equal(drain(sched, 0), 50);
    for (int i = 1; i < 100; i++)
        assert_int_equal(items[i].given, 1);
    closed(sched);
    free(items);
}

static void thief_finds_the_only_victim_among_many(void **state)
{
    struct nx_sched *sched = opened(9);
    struct nxt_item *items = nxt_items(1, NX_PRIO_LOW, 1);

    (void)state;
    for (uint32_t victim = 0; victim < 9; victim++) {
        for (uint32_t thief = 0; thief < 9; thief++) {
            if (thief == victim)
                continue;
            push(sched, victim, items, 1);
            assert_ptr_equal(ops->steal(sched, thief), &items->ready);
        }
    }
    closed(sched);
    free(items);
}

static void overflow_goes_to_the_shared_queue_and_nothing_is_lost(void **state)
{
    struct nx_sched *sched = opened(2);
    struct nxt_item *items = nxt_items(5000, NX_PRIO_NORMAL, 1);

    (void)state;
    push(sched, 0, items, RING + 1);
    assert_ptr_equal(ops->dequeue(sched, 1), &items[0].ready); /* without stealing, and the oldest */
    items[0].given++;
    push(sched, 0, items + RING + 1, 5000 - RING - 1);
    for (uint32_t i = 0; i < 5000; i++) {
        uint32_t worker = i / 100 % 2;
        struct nx_ready *ready = ops->dequeue(sched, worker);

        if (ready != NULL)
            nxt_item(ready)->given++;
    }
    (void)drain(sched, 0);
    (void)drain(sched, 1);
    for (int i = 0; i < 5000; i++)
        assert_int_equal(items[i].given, 1);
    assert_int_equal(ops->has_work(sched, 0), 0);
    closed(sched);
    free(items);
}

static void injected_tasks_come_in_order(void **state)
{
    struct nx_sched *sched = opened(1);
    struct nxt_item *items = nxt_items(1000, NX_PRIO_NORMAL, 1);

    (void)state;
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 1000; i++)
            ops->inject(sched, &items[i].ready);
        assert_int_equal(ops->has_work(sched, 0), 1);
        for (int i = 0; i < 1000; i++)
            assert_ptr_equal(ops->dequeue(sched, 0), &items[i].ready);
        assert_null(ops->dequeue(sched, 0));
    }
    closed(sched);
    free(items);
}

static void idle_worker_takes_its_part_of_the_injected(void **state)
{
    struct nx_sched *sched = opened(4);
    struct nxt_item *items = nxt_items(100, NX_PRIO_NORMAL, 1);

    (void)state;
    for (int i = 0; i < 100; i++)
        ops->inject(sched, &items[i].ready);
    assert_non_null(ops->dequeue(sched, 0)); /* 100 / 4 + 1 = 26 in all */
    for (uint32_t thief = 1; thief < 4; thief++)
        assert_non_null(ops->dequeue(sched, thief)); /* 74 are left for these: 19, 14, 11 */
    for (uint32_t worker = 0; worker < 4; worker++) {
        uint32_t count = 0;
        struct nx_ready *out[128];

        count = ops->dump(sched, worker, out, 128);
        assert_in_range(count, worker == 0 ? 25 + 30 : 10, worker == 0 ? 25 + 31 : 18);
    }
    closed(sched);
    free(items);
}

/* Law 4: whatever the worker's own queues look like. */
static void injected_task_runs_though_the_workers_own_ring_is_always_full(void **state)
{
    struct nx_sched *sched = opened(1);
    struct nxt_item *flood = nxt_items(RING, NX_PRIO_NORMAL, 1), *item = nxt_items(1, NX_PRIO_NORMAL, 1);
    uint32_t waited = 0;
    struct nx_ready *ready;

    (void)state;
    push(sched, 0, flood, RING);
    ops->inject(sched, &item->ready);
    while ((ready = ops->dequeue(sched, 0)) != &item->ready) {
        (void)ops->enqueue(sched, 0, ready, NX_REASON_YIELD);
        assert_true(++waited <= SHARED_INTERVAL + RING + 1);
    }
    closed(sched);
    free(flood);
    free(item);
}

static void injected_task_runs_beside_bound_tasks_that_never_stop(void **state)
{
    struct nx_sched *sched = opened(1);
    struct nxt_item *stays = nxt_items(3, NX_PRIO_NORMAL, 0), *item = nxt_items(1, NX_PRIO_NORMAL, 1);
    uint32_t waited = 0;
    struct nx_ready *ready;

    (void)state;
    push(sched, 0, stays, 3);
    ops->inject(sched, &item->ready);
    while ((ready = ops->dequeue(sched, 0)) != &item->ready) {
        (void)ops->enqueue(sched, 0, ready, NX_REASON_YIELD);
        assert_true(++waited <= SHARED_INTERVAL + 2);
    }
    closed(sched);
    free(stays);
    free(item);
}

/* What is given out goes back at once, as tasks that yield do. */
static void run_yielding(struct nx_sched *sched, uint32_t workers, uint32_t turns, uint32_t *counts)
{
    for (uint32_t i = 0; i < turns; i++) {
        uint32_t worker = i % workers;
        struct nx_ready *ready = ops->dequeue(sched, worker);

        if (ready == NULL)
            ready = ops->steal(sched, worker);
        if (ready == NULL)
            continue;
        counts[ready->priority]++;
        (void)ops->enqueue(sched, worker, ready, NX_REASON_YIELD);
    }
}

static void priorities_are_shares_of_16_4_1(void **state)
{
    (void)state;
    for (uint8_t stealable = 0; stealable < 2; stealable++) {
        struct nx_sched *sched = opened(1);
        struct nxt_item *items[3];
        uint32_t counts[3] = {0};

        for (uint8_t priority = 0; priority < 3; priority++) {
            items[priority] = nxt_items(3, priority, stealable);
            push(sched, 0, items[priority], 3);
        }
        run_yielding(sched, 1, 21000, counts);
        assert_in_range(counts[NX_PRIO_HIGH], 14400, 17600);
        assert_in_range(counts[NX_PRIO_NORMAL], 3600, 4400);
        assert_in_range(counts[NX_PRIO_LOW], 900, 1100);
        closed(sched);
        for (int i = 0; i < 3; i++)
            free(items[i]);
    }
}

static void low_has_its_share_when_it_comes_by_injection(void **state)
{
    struct nx_sched *sched = opened(1);
    struct nxt_item *high = nxt_items(4, NX_PRIO_HIGH, 0), *low = nxt_items(5000, NX_PRIO_LOW, 1);
    uint32_t given = 0;

    (void)state;
    push(sched, 0, high, 4);
    for (int i = 0; i < 5000; i++)
        ops->inject(sched, &low[i].ready);
    for (int i = 0; i < 17000; i++) {
        struct nx_ready *ready = ops->dequeue(sched, 0);

        if (ready->priority == NX_PRIO_LOW)
            given++;
        else
            (void)ops->enqueue(sched, 0, ready, NX_REASON_YIELD);
    }
    assert_in_range(given, 900, 1100);
    closed(sched);
    free(high);
    free(low);
}

/* Both by injection, and both always waiting: neither may crowd the other out of the batches. */
static void injected_priorities_share_on_every_worker(void **state)
{
    struct nx_sched *sched = opened(3);
    struct nxt_item *high = nxt_items(400, NX_PRIO_HIGH, 1), *low = nxt_items(400, NX_PRIO_LOW, 1);
    uint32_t counts[3] = {0};

    (void)state;
    for (int i = 0; i < 400; i++) {
        ops->inject(sched, &high[i].ready);
        ops->inject(sched, &low[i].ready);
    }
    for (uint32_t i = 0; i < 17000; i++) {
        struct nx_ready *ready = ops->dequeue(sched, i % 3);

        if (ready == NULL)
            ready = ops->steal(sched, i % 3);
        assert_non_null(ready);
        counts[ready->priority]++;
        ops->inject(sched, ready);
    }
    assert_in_range(counts[NX_PRIO_LOW], 850, 1350); /* small batches round up: 100 high bring 7 low */
    closed(sched);
    free(high);
    free(low);
}

/* The victim is stuck but for refilling; the thief lives on theft alone. */
static void stolen_priorities_share(void **state)
{
    struct nx_sched *sched = opened(2);
    struct nxt_item *high = nxt_items(200, NX_PRIO_HIGH, 1), *low = nxt_items(200, NX_PRIO_LOW, 1);
    uint32_t counts[3] = {0};

    (void)state;
    push(sched, 0, high, 200);
    push(sched, 0, low, 200);
    for (int i = 0; i < 17000; i++) {
        struct nx_ready *ready = ops->dequeue(sched, 1);

        if (ready == NULL)
            ready = ops->steal(sched, 1);
        assert_non_null(ready);
        counts[ready->priority]++;
        (void)ops->enqueue(sched, 0, ready, NX_REASON_YIELD);
    }
    assert_in_range(counts[NX_PRIO_LOW], 800, 1500);
    closed(sched);
    free(high);
    free(low);
}

static void low_has_its_share_among_thieves(void **state)
{
    struct nx_sched *sched = opened(3);
    struct nxt_item *high = nxt_items(60, NX_PRIO_HIGH, 1), *low = nxt_items(60, NX_PRIO_LOW, 1);
    uint32_t counts[3] = {0};

    (void)state;
    push(sched, 0, high, 60);
    push(sched, 0, low, 60);
    run_yielding(sched, 3, 51000, counts);
    assert_in_range(counts[NX_PRIO_LOW], 1500, 4500);
    closed(sched);
    free(high);
    free(low);
}

static void select_keeps_children_spreads_on_request_and_injects_from_outside(void **state)
{
    struct nx_sched *sched = opened(4);
    const uint32_t loads[4] = {5, 3, 4, 9}, same[4] = {0};
    const struct nx_ready moves = {.stealable = 1}, stays = {.stealable = 0};
    uint32_t counts[4] = {0};

    (void)state;
    for (uint32_t from = 0; from < 4; from++) {
        assert_int_equal(ops->select(sched, &moves, from, 0, loads), from);
        assert_int_equal(ops->select(sched, &moves, from, 1, loads), 1);
    }
    assert_int_equal(ops->select(sched, &moves, UINT32_MAX, 1, loads), 1);
    assert_int_equal(ops->select(sched, &moves, UINT32_MAX, 0, loads), NX_WORKER_INJECT);
    assert_int_equal(ops->select(sched, &stays, UINT32_MAX, 0, loads), 1);
    for (int i = 0; i < 400; i++)
        counts[ops->select(sched, &moves, 0, 1, same)]++;
    for (int i = 0; i < 4; i++)
        assert_int_equal(counts[i], 100);
    closed(sched);
}

static void has_work_sees_every_place_a_task_can_wait(void **state)
{
    struct nx_sched *sched = opened(3);
    struct nxt_item *item = nxt_items(1, NX_PRIO_NORMAL, 1);

    (void)state;
    for (uint8_t priority = 0; priority < 3; priority++) {
        item->ready.priority = priority;
        for (uint32_t worker = 0; worker < 3; worker++)
            assert_int_equal(ops->has_work(sched, worker), 0);
        push(sched, 0, item, 1);
        assert_int_equal(ops->has_work(sched, 0), 1);
        assert_int_equal(ops->has_work(sched, 2), 1);
        assert_ptr_equal(ops->steal(sched, 2), &item->ready);
        (void)ops->enqueue(sched, 1, &item->ready, NX_REASON_SPAWN);
        assert_int_equal(ops->has_work(sched, 1), 1);
        assert_int_equal(ops->has_work(sched, 2), 1);
        assert_ptr_equal(ops->dequeue(sched, 1), &item->ready);
        ops->inject(sched, &item->ready);
        assert_int_equal(ops->has_work(sched, 2), 1);
        assert_ptr_equal(ops->dequeue(sched, 2), &item->ready);
    }
    closed(sched);
    free(item);
}

static void dump_lists_every_place_and_takes_nothing(void **state)
{
    struct nx_sched *sched = opened(1);
    struct nxt_item *items = nxt_items(4, NX_PRIO_NORMAL, 1);
    struct nx_ready *out[8] = {NULL};

    (void)state;
    items[1].ready.stealable = 0;
    push(sched, 0, items, 2);
    (void)ops->enqueue(sched, 0, &items[2].ready, NX_REASON_SPAWN);
    ops->inject(sched, &items[3].ready);
    assert_int_equal(ops->dump(sched, 0, out, 8), 4);
    for (int i = 0; i < 4; i++)
        nxt_item(out[i])->given++;
    for (int i = 0; i < 4; i++)
        assert_int_equal(items[i].given, 1);
    for (uint32_t max = 0; max < 4; max++)
        assert_int_equal(ops->dump(sched, 0, out, max), max);
    assert_int_equal(drain(sched, 0), 4);
    closed(sched);
    free(items);
}

/*
 * The stress: 4 workers of which one makes most of the work, 2 threads that inject. Each task is given out LIVES times;
 * whoever gets it counts in a plain field, so that the thread sanitizer proves law 2 as well, and enqueues it again
 * on its own worker, with another reason, sometimes bound there.
 */
#define WORKERS 4u
#define INJECTORS 2u
#define LIVES 12u

static struct {
    struct nx_sched *sched;
    struct nxt_item *items;
    uint32_t count, spawned; /* by worker 0; the rest is injected */
    _Atomic uint32_t finished, overtime;
    atomic_uint strays; /* a bound task on another worker */
} stress;

static int out_of_time(const struct timespec *start)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec - start->tv_sec > 120;
}

static void stress_enqueue(uint32_t worker, struct nxt_item *item, uint32_t salt)
{
    item->ready.home = worker;
    item->ready.stealable = salt % 5 != 0;
    (void)ops->enqueue(stress.sched, worker, &item->ready, salt % 6);
}

static void stress_ran(uint32_t worker, struct nxt_item *item, uint32_t *salt)
{
    *salt = *salt * 1664525 + 1013904223;
    if (!item->ready.stealable && item->ready.home != worker)
        atomic_fetch_add(&stress.strays, 1);
    if (++item->given < LIVES)
        stress_enqueue(worker, item, *salt >> 16);
    else
        atomic_fetch_add(&stress.finished, 1);
}

static void *stress_worker(void *arg)
{
    uint32_t worker = (uint32_t)(uintptr_t)arg, next = 0, salt = worker;
    struct timespec start;

    clock_gettime(CLOCK_MONOTONIC, &start);
    while (atomic_load(&stress.finished) < stress.count) {
        struct nx_ready *ready;

        for (int burst = 0; worker == 0 && burst < 3 && next < stress.spawned; burst++, next++)
            stress_enqueue(0, &stress.items[next], next);
        ready = ops->dequeue(stress.sched, worker);
        if (ready == NULL)
            ready = ops->steal(stress.sched, worker);
        if (ready != NULL) {
            stress_ran(worker, nxt_item(ready), &salt);
        } else if (!ops->has_work(stress.sched, worker)) {
            if (out_of_time(&start)) {
                atomic_store(&stress.overtime, 1);
                break;
            }
            sched_yield();
        }
    }
    return NULL;
}

static void *stress_injector(void *arg)
{
    uint32_t first = stress.spawned + (uint32_t)(uintptr_t)arg;

    for (uint32_t i = first; i < stress.count; i += INJECTORS)
        ops->inject(stress.sched, &stress.items[i].ready);
    return NULL;
}

static void every_task_is_given_out_once_per_enqueue_under_stress(void **state)
{
    pthread_t threads[WORKERS + INJECTORS];

    (void)state;
    stress.sched = opened(WORKERS);
    stress.count = nxt_scaled(400000);
    stress.spawned = stress.count / 4 * 3;
    stress.items = nxt_items(stress.count, NX_PRIO_NORMAL, 1);
    for (uint32_t i = 0; i < stress.count; i++)
        stress.items[i].ready.priority = i % 16 == 0 ? NX_PRIO_HIGH : i % 16 == 1 ? NX_PRIO_LOW : NX_PRIO_NORMAL;
    for (uint32_t i = 0; i < WORKERS + INJECTORS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, i < WORKERS ? stress_worker : stress_injector,
                                        (void *)(uintptr_t)(i < WORKERS ? i : i - WORKERS)),
                         0);
    for (uint32_t i = 0; i < WORKERS + INJECTORS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(stress.overtime, 0);
    assert_int_equal(stress.strays, 0);
    for (uint32_t i = 0; i < stress.count; i++)
        assert_int_equal(stress.items[i].given, LIVES);
    for (uint32_t worker = 0; worker < WORKERS; worker++) {
        assert_int_equal(ops->has_work(stress.sched, worker), 0);
        assert_null(ops->dequeue(stress.sched, worker));
    }
    closed(stress.sched);
    free(stress.items);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_says_what_it_is),
        cmocka_unit_test(open_that_fails_says_why_and_leaves_nothing),
        cmocka_unit_test(only_stealable_work_asks_for_a_wake),
        cmocka_unit_test(ring_is_first_in_first_out_across_the_index_wrap),
        cmocka_unit_test(thieves_keep_the_order_across_the_index_wrap),
        cmocka_unit_test(bound_tasks_are_first_in_first_out_and_never_stolen),
        cmocka_unit_test(stealable_is_read_at_each_enqueue),
        cmocka_unit_test(bound_and_stealable_tasks_alternate),
        cmocka_unit_test(newest_spawned_or_unblocked_runs_next),
        cmocka_unit_test(newest_goes_first_three_times_in_a_row_at_most),
        cmocka_unit_test(chain_without_competitors_is_not_held_up_by_the_cap),
        cmocka_unit_test(newest_is_no_hostage_of_a_stuck_worker),
        cmocka_unit_test(newest_that_moves_is_let_be),
        cmocka_unit_test(child_is_taken_from_wherever_it_is_in_the_own_queue),
        cmocka_unit_test(ring_with_holes_keeps_order_and_spills_nothing),
        cmocka_unit_test(parent_goes_on_in_its_childs_place_but_not_for_ever),
        cmocka_unit_test(thief_takes_the_older_half),
        cmocka_unit_test(thief_finds_the_only_victim_among_many),
        cmocka_unit_test(overflow_goes_to_the_shared_queue_and_nothing_is_lost),
        cmocka_unit_test(injected_tasks_come_in_order),
        cmocka_unit_test(idle_worker_takes_its_part_of_the_injected),
        cmocka_unit_test(injected_task_runs_though_the_workers_own_ring_is_always_full),
        cmocka_unit_test(injected_task_runs_beside_bound_tasks_that_never_stop),
        cmocka_unit_test(priorities_are_shares_of_16_4_1),
        cmocka_unit_test(low_has_its_share_when_it_comes_by_injection),
        cmocka_unit_test(injected_priorities_share_on_every_worker),
        cmocka_unit_test(stolen_priorities_share),
        cmocka_unit_test(low_has_its_share_among_thieves),
        cmocka_unit_test(select_keeps_children_spreads_on_request_and_injects_from_outside),
        cmocka_unit_test(has_work_sees_every_place_a_task_can_wait),
        cmocka_unit_test(dump_lists_every_place_and_takes_nothing),
        cmocka_unit_test(every_task_is_given_out_once_per_enqueue_under_stress),
    };

    ops = nexus_plugin_work_stealing.ops;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
