/* conform_sched.c: who runs where and when: priorities, placing, pins, stealing, moving, floating-point state. */
#include "nxt.h"
#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WITH(...) (&(const nx_task_options){.size = sizeof(nx_task_options), __VA_ARGS__})
#define MS INT64_C(1000000)

static intptr_t result_of(nx_task task)
{
    intptr_t result = -1;
    if (nxt_expect_gt(task, 0))
        nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0);
    return result;
}

static intptr_t tell_thread(void *arg)
{
    (void)arg;
    return nxt_thread_id();
}

/* ---- priorities ---- */

struct load {
    int64_t picks[3], total, limit;
};

struct loader {
    struct load *load;
    enum nx_priority priority;
};

static intptr_t take_turns(void *arg)
{
    struct loader *loader = arg;
    struct load *load = loader->load;
    while (load->total < load->limit) { /* all on one worker */
        load->total++;
        load->picks[loader->priority]++;
        nx_yield();
    }
    return 0;
}

/* Runs as many tasks as given of each priority, always ready, until they have had limit turns together. */
static void run_load(struct load *load, int normal, int high, int low)
{
    struct loader loaders[] = {{load, NX_PRIO_NORMAL}, {load, NX_PRIO_HIGH}, {load, NX_PRIO_LOW}};
    int counts[] = {normal, high, low}, spawned = 0;
    nx_task tasks[64];
    for (int p = 0; p < 3; p++)
        for (int i = 0; i < counts[p]; i++)
            tasks[spawned++] =
                nx_spawn_with(WITH(.priority = loaders[p].priority, .worker_plus_1 = 1), take_turns, &loaders[p]);
    for (int i = 0; i < spawned; i++)
        result_of(tasks[i]);
}

NXT_TASK_TEST(under_full_high_priority_load_a_low_priority_task_runs_at_about_its_share)
{
    struct load load = {.limit = nxt_scaled(42000, 4200)};
    run_load(&load, 4, 4, 1);
    /* 1 of 21 picks; the tasks' ends and beginnings blur it a little */
    nxt_expect_gt(load.picks[NX_PRIO_LOW] * 42, load.total);
    nxt_expect_lt(load.picks[NX_PRIO_LOW] * 21, load.total * 2);
    nxt_expect_gt(load.picks[NX_PRIO_HIGH], 2 * load.picks[NX_PRIO_NORMAL]);
    nxt_expect_gt(load.picks[NX_PRIO_NORMAL], 2 * load.picks[NX_PRIO_LOW]);
}

NXT_TASK_TEST(a_low_priority_task_does_not_starve_beside_many_high_ones)
{
    struct load load = {.limit = nxt_scaled(42000, 4200)};
    run_load(&load, 0, 20, 1);
    nxt_expect_gt(load.picks[NX_PRIO_LOW] * 42, load.total);
    nxt_expect_lt(load.picks[NX_PRIO_LOW] * 8, load.total);
}

NXT_TASK_TEST(a_normal_task_does_not_starve_beside_high_ones_nor_a_low_one_beside_normal_ones)
{
    struct load load = {.limit = nxt_scaled(20000, 2000)};
    run_load(&load, 8, 8, 0); /* 4 of 20 */
    nxt_expect_gt(load.picks[NX_PRIO_NORMAL] * 10, load.total);
    nxt_expect_lt(load.picks[NX_PRIO_NORMAL] * 5, load.total * 2);
    load = (struct load){.limit = nxt_scaled(20000, 2000)};
    run_load(&load, 8, 0, 4); /* 1 of 5 */
    nxt_expect_gt(load.picks[NX_PRIO_LOW] * 10, load.total);
    nxt_expect_gt(load.picks[NX_PRIO_NORMAL], load.picks[NX_PRIO_LOW]);
}

NXT_TASK_TEST(tasks_of_one_priority_take_turns)
{
    struct load loads[4];
    struct loader loaders[4];
    nx_task tasks[4];
    for (int i = 0; i < 4; i++) {
        loads[i] = (struct load){.limit = 1000};
        loaders[i] = (struct loader){&loads[i], NX_PRIO_NORMAL};
        tasks[i] = nx_spawn_with(WITH(.worker_plus_1 = 1), take_turns, &loaders[i]);
    }
    while (loads[0].total < 500)
        nx_yield();
    for (int i = 1; i < 4; i++) {
        nxt_expect_ge(loads[i].total, 490);
        nxt_expect_le(loads[i].total, 510);
    }
    for (int i = 0; i < 4; i++)
        result_of(tasks[i]);
}

/* ---- spread, pins ---- */

static atomic_int started;

static intptr_t stay_until_all_started(void *arg)
{
    int thread = nxt_thread_id();
    atomic_fetch_add(&started, 1);
    nxt_await(atomic_load(&started) == (int)(intptr_t)arg);
    return thread;
}

#define SPREAD_WORKERS 4

static atomic_int threads_here[SPREAD_WORKERS];
static nx_time give_up;

/* Holds its worker until each of them has such a task: else a thread that is slow to begin finds all stolen. */
static intptr_t hold_until_all_are_here(void *arg)
{
    int thread = nxt_thread_id();
    (void)arg;
    for (int i = 0, none = 0; i < SPREAD_WORKERS; i++, none = 0)
        if (atomic_load(&threads_here[i]) == thread || atomic_compare_exchange_strong(&threads_here[i], &none, thread))
            break;
    while (atomic_load(&threads_here[SPREAD_WORKERS - 1]) == 0 && nxt_clock() < give_up)
        nxt_pause(100);
    return thread;
}

static int distinct(const intptr_t *values, int count)
{
    int found = 0;
    for (int i = 0; i < count; i++) {
        bool seen = false;
        for (int j = 0; j < i; j++)
            seen |= values[j] == values[i];
        found += !seen;
    }
    return found;
}

NXT_TASK_TEST(tasks_that_spread_use_all_workers, .workers = SPREAD_WORKERS)
{
    enum { COUNT = 64 };
    nx_task tasks[COUNT];
    intptr_t threads[COUNT];
    for (int i = 0; i < SPREAD_WORKERS; i++)
        atomic_store(&threads_here[i], 0);
    give_up = nxt_clock() + 10000 * MS;
    for (int i = 0; i < COUNT; i++)
        tasks[i] = nx_spawn_with(WITH(.flags = NX_TASK_SPREAD), hold_until_all_are_here, NULL);
    for (int i = 0; i < COUNT; i++)
        threads[i] = result_of(tasks[i]);
    nxt_expect_eq(distinct(threads, COUNT), SPREAD_WORKERS);
}

NXT_TASK_TEST(a_child_stays_with_its_parent_where_nothing_steals, .workers = 4)
{
    if (nxt_cell_steals()) {
        nxt_skip("this scheduler gives a worker's tasks to whoever is idle");
        return;
    }
    int thread = nxt_thread_id();
    for (int i = 0; i < 100; i++)
        nxt_expect_eq(result_of(nx_spawn(tell_thread, NULL)), thread);
}

static intptr_t check_pinned(void *arg)
{
    int expected = (int)(intptr_t)arg;
    for (int i = 0; i < 5; i++) {
        nxt_expect_eq(nxt_thread_id(), expected);
        nx_yield();
        nxt_expect_eq(nx_sleep_until(nx_after_ns(20000)), 0);
    }
    return nxt_thread_id();
}

NXT_TASK_TEST(a_pinned_task_runs_on_its_worker_and_nowhere_else, .workers = 4)
{
    intptr_t threads[4];
    for (int w = 0; w < 4; w++)
        threads[w] = result_of(nx_spawn_with(WITH(.worker_plus_1 = w + 1), tell_thread, NULL));
    nxt_expect_eq(distinct(threads, 4), 4);
    nx_task tasks[40];
    for (int i = 0; i < 40; i++)
        tasks[i] = nx_spawn_with(WITH(.worker_plus_1 = i % 4 + 1), check_pinned, (void *)threads[i % 4]);
    for (int i = 0; i < 40; i++)
        nxt_expect_eq(result_of(tasks[i]), threads[i % 4]);
}

static intptr_t hold_worker(void *arg)
{
    (void)arg;
    atomic_fetch_add(&started, 1);
    nxt_burn(10 * MS); /* long enough for an idle thief to come by */
    return nxt_thread_id();
}

NXT_TASK_TEST(a_pinned_task_waits_for_its_worker_even_when_others_are_idle, .workers = 2)
{
    atomic_store(&started, 0);
    nx_task holder = nx_spawn_with(WITH(.worker_plus_1 = 2), hold_worker, NULL);
    nxt_await(atomic_load(&started) == 1);
    nx_task tasks[20];
    for (int i = 0; i < 20; i++)
        tasks[i] = nx_spawn_with(WITH(.worker_plus_1 = 2, .flags = NX_TASK_MIGRATABLE), tell_thread, NULL);
    intptr_t thread = result_of(holder);
    for (int i = 0; i < 20; i++)
        nxt_expect_eq(result_of(tasks[i]), thread);
}

/* ---- stealing and moving ---- */

static intptr_t compute_until_children_ran(void *arg)
{
    atomic_int *ran = arg;
    nx_task children[20];
    for (size_t i = 0; i < NXT_COUNT(children); i++)
        children[i] = nx_spawn(stay_until_all_started, (void *)NXT_COUNT(children));
    while (atomic_load(&started) < (int)NXT_COUNT(children)) /* never parks: only a thief can start them */
        atomic_fetch_add(ran, 1);
    int self = nxt_thread_id();
    for (size_t i = 0; i < NXT_COUNT(children); i++)
        nxt_expect_ne(result_of(children[i]), self);
    return 0;
}

NXT_TASK_TEST(a_worker_stuck_in_a_computation_does_not_hold_its_unstarted_children, .workers = 2)
{
    if (!nxt_cell_steals()) {
        nxt_skip("this scheduler does not steal: a child stays with its parent unless it is spread");
        return;
    }
    atomic_int turns = 0;
    atomic_store(&started, 0);
    result_of(nx_spawn(compute_until_children_ran, &turns));
}

struct mover {
    atomic_bool *stop;
    atomic_int *moves;
    uint32_t seed;
    bool may_move;
};

static void work_and_wait(int turn)
{
    nxt_burn(20000);
    if (turn % 8 == 0)
        nxt_expect_eq(nx_sleep_until(nx_after_ns(10000)), 0);
    else if (turn % 8 == 4)
        result_of(nx_spawn(tell_thread, NULL));
    else
        nx_yield();
}

static intptr_t move_about(void *arg)
{
    struct mover *mover = arg;
    unsigned char mine[700];
    nxt_fill(mine, sizeof(mine), 0, mover->seed);
    int thread = nxt_thread_id();
    nx_task self = nx_self();
    for (int turn = 0; turn < 50 || !atomic_load(mover->stop); turn++) {
        work_and_wait(turn);
        int now = nxt_thread_id();
        if (now != thread) {
            nxt_expect(mover->may_move);
            atomic_fetch_add(mover->moves, 1);
        }
        thread = now;
        nxt_expect_eq(nx_self(), self);
        if (!nxt_expect_eq(nxt_check_fill(mine, sizeof(mine), 0, mover->seed), sizeof(mine)))
            break;
        if (mover->may_move && atomic_load(mover->moves) >= 10)
            atomic_store(mover->stop, true);
    }
    return 0;
}

static void run_movers(int count, bool some_move, atomic_int *moves)
{
    atomic_bool stop = !some_move;
    struct mover movers[16];
    nx_task tasks[16];
    for (int i = 0; i < count; i++) {
        movers[i] = (struct mover){&stop, moves, (uint32_t)i + 1, some_move && i % 4 != 0};
        tasks[i] = nx_spawn_with(WITH(.flags = movers[i].may_move ? NX_TASK_MIGRATABLE : 0), move_about, &movers[i]);
    }
    for (int i = 0; i < count; i++)
        result_of(tasks[i]);
}

NXT_TASK_TEST(a_migratable_task_really_moves_and_keeps_working_and_others_never_do, .workers = 4)
{
    atomic_int moves = 0;
    if (!nxt_cell_steals()) {
        nxt_skip("this scheduler moves no task");
        return;
    }
    run_movers(3, true, &moves); /* fewer than workers, so that some are idle */
    nxt_expect_ge(atomic_load(&moves), 10);
}

NXT_TASK_TEST(a_task_that_has_started_stays_on_its_thread, .workers = 4)
{
    atomic_int moves = 0;
    run_movers(16, false, &moves);
    nxt_expect_eq(atomic_load(&moves), 0);
}

static intptr_t nap_and_move(void *arg)
{
    intptr_t naps = (intptr_t)arg, done = 0;
    while (done < naps && nx_sleep_until(nx_after_ns(1000)) == 0) {
        nx_yield();
        done++;
    }
    return done;
}

NXT_TASK_TEST(migratable_tasks_are_cancelled_wherever_they_are, .workers = 4)
{
    for (int round = 0; round < nxt_scaled(60, 4); round++) {
        nx_task tasks[32];
        for (size_t i = 0; i < NXT_COUNT(tasks); i++)
            tasks[i] = nx_spawn_with(WITH(.flags = NX_TASK_MIGRATABLE), nap_and_move, (void *)INTPTR_MAX);
        nxt_expect_eq(nx_sleep_until(nx_after_ns(100000)), 0);
        for (size_t i = 0; i < NXT_COUNT(tasks); i++)
            nxt_expect_eq(nx_cancel(tasks[i]), 0);
        for (size_t i = 0; i < NXT_COUNT(tasks); i++)
            nxt_expect_ge(result_of(tasks[i]), 0);
    }
}

/* ---- floating point ---- */

static volatile double one = 1.0, three = 3.0;

static intptr_t round_upwards(void *arg)
{
    atomic_bool *others_may_go = arg;
    nxt_expect_eq(fesetround(FE_UPWARD), 0);
    double third = one / three;
    atomic_store(others_may_go, true);
    for (int i = 0; i < 20; i++) {
        nx_yield();
        nxt_expect_eq(fegetround(), FE_UPWARD);
        nxt_expect(one / three == third);
        nxt_expect_eq(nx_sleep_until(nx_after_ns(1000)), 0);
        nxt_expect_eq(fegetround(), FE_UPWARD);
    }
    return third > 0.333333333333333314829616256247; /* the double below a third */
}

static intptr_t round_to_nearest(void *arg)
{
    nxt_await(atomic_load((atomic_bool *)arg));
    for (int i = 0; i < 40; i++) {
        nxt_expect_eq(fegetround(), FE_TONEAREST);
        nx_yield();
    }
    return one / three == 1.0 / 3.0;
}

NXT_TASK_TEST(a_rounding_mode_of_a_tasks_own_survives_parking_and_stays_its_own, .workers = 1)
{
    atomic_bool set = false;
    nx_task plain = nx_spawn(round_to_nearest, &set);
    nx_task upward = nx_spawn_with(WITH(.flags = NX_TASK_FPENV), round_upwards, &set);
    nx_task own = nx_spawn_with(WITH(.flags = NX_TASK_FPENV), round_to_nearest, &set);
    nxt_expect_eq(result_of(upward), 1);
    nxt_expect_eq(fegetround(), FE_TONEAREST);
    nx_task later = nx_spawn(round_to_nearest, &set);
    nxt_expect_eq(result_of(plain), 1);
    nxt_expect_eq(result_of(own), 1);
    nxt_expect_eq(result_of(later), 1);
}

NXT_TASK_TEST(a_rounding_mode_moves_with_a_migratable_task, .workers = 2)
{
    atomic_bool set = false;
    nx_task tasks[8];
    for (int i = 0; i < 8; i++)
        tasks[i] = nx_spawn_with(WITH(.flags = NX_TASK_FPENV | (i & 1 ? NX_TASK_MIGRATABLE : 0)),
                                 i & 2 ? round_to_nearest : round_upwards, &set);
    for (int i = 0; i < 8; i++)
        nxt_expect_eq(result_of(tasks[i]), 1);
}
