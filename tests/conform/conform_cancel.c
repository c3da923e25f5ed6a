/* conform_cancel.c: asking a task to end, and not hearing it for a while. */
#include "nxt.h"
#include <stdlib.h>

#define WITH(...) (&(const nx_task_options){.size = sizeof(nx_task_options), __VA_ARGS__})

static intptr_t sleep_for_ever(void *arg)
{
    (void)arg;
    return nx_sleep_until(NX_FOREVER);
}

static intptr_t result_of(nx_task task)
{
    intptr_t result = -1;
    if (nxt_expect_gt(task, 0))
        nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0);
    return result;
}

/* ---- what a cancel ends ---- */

NXT_TASK_TEST(a_sleep_without_end_is_ended_by_a_cancel, .workers = 2)
{
    nx_task task = nx_spawn(sleep_for_ever, NULL);
    nx_yield(); /* it sleeps */
    nxt_expect_eq(nx_cancel(task), 0);
    nxt_expect_eq(result_of(task), -ECANCELED);
}

static intptr_t join_for_ever(void *arg)
{
    return nx_join(*(nx_task *)arg, NULL, NX_FOREVER);
}

NXT_TASK_TEST(a_cancelled_joiner_gives_up_and_the_task_it_waited_for_goes_on, .workers = 2)
{
    nx_task sleeper = nx_spawn(sleep_for_ever, NULL);
    nx_task joiner = nx_spawn(join_for_ever, &sleeper);
    nx_yield();
    nx_yield();
    nxt_expect_eq(nx_cancel(joiner), 0);
    nxt_expect_eq(result_of(joiner), -ECANCELED);
    nxt_expect_eq(nx_join(sleeper, NULL, NX_POLL), -EAGAIN); /* not -EBUSY: nobody joins any more */
    nxt_expect_eq(nx_cancel(sleeper), 0);
    nxt_expect_eq(result_of(sleeper), -ECANCELED);
}

static intptr_t yield_until_cancelled(void *arg)
{
    (void)arg;
    intptr_t turns = 0;
    while (!nx_cancelled()) {
        nx_yield();
        turns++;
    }
    return turns;
}

NXT_TASK_TEST(a_yielding_task_sees_that_it_is_cancelled, .workers = 2)
{
    nx_task task = nx_spawn(yield_until_cancelled, NULL);
    for (int i = 0; i < 10; i++)
        nx_yield();
    nxt_expect_eq(nx_cancel(task), 0);
    nxt_expect_ge(result_of(task), 0);
}

NXT_TASK_TEST(nobody_is_cancelled_until_asked)
{
    nxt_expect(!nx_cancelled());
    nx_cancel(nx_self());
    nxt_expect(nx_cancelled());
    nxt_expect_eq(nx_sleep_ms(0), -ECANCELED);
    nxt_expect_eq(nx_sleep_ms(1000000), -ECANCELED);
    nx_yield(); /* comes back */
}

/* ---- from where ---- */

struct cancel_from {
    atomic_bool ready;
    _Atomic nx_task task;
};

static intptr_t sleep_and_say(void *arg)
{
    struct cancel_from *from = arg;
    atomic_store(&from->ready, true);
    return nx_sleep_until(NX_FOREVER);
}

static intptr_t cancel_it(void *arg)
{
    struct cancel_from *from = arg;
    nxt_await(atomic_load(&from->task) && atomic_load(&from->ready));
    return nx_cancel(atomic_load(&from->task));
}

NXT_TASK_TEST(a_cancel_comes_from_the_same_worker, .workers = 2)
{
    struct cancel_from from = {.ready = false};
    nx_task sleeper = nx_spawn_with(WITH(.worker_plus_1 = 1), sleep_and_say, &from);
    nx_task canceller = nx_spawn_with(WITH(.worker_plus_1 = 1), cancel_it, &from);
    atomic_store(&from.task, sleeper);
    nxt_expect_eq(result_of(canceller), 0);
    nxt_expect_eq(result_of(sleeper), -ECANCELED);
}

NXT_TASK_TEST(a_cancel_comes_from_another_worker, .workers = 2)
{
    for (int i = 0; i < nxt_scaled(500, 20); i++) {
        struct cancel_from from = {.ready = false};
        nx_task sleeper = nx_spawn_with(WITH(.worker_plus_1 = 1), sleep_and_say, &from);
        nx_task canceller = nx_spawn_with(WITH(.worker_plus_1 = 2), cancel_it, &from);
        atomic_store(&from.task, sleeper);
        nxt_expect_eq(result_of(canceller), 0);
        nxt_expect_eq(result_of(sleeper), -ECANCELED);
    }
}

NXT_TASK_TEST(a_cancel_comes_from_a_plain_thread, .workers = 2)
{
    struct cancel_from from = {.ready = false};
    atomic_store(&from.task, nx_spawn(sleep_and_say, &from));
    nxt_expect_eq(nxt_thread_await(nxt_thread_start(cancel_it, &from)), 0);
    nxt_expect_eq(result_of(from.task), -ECANCELED);
}

NXT_TASK_TEST(a_cancel_comes_from_another_runtime, .workers = 2)
{
    nx_runtime *other = nxt_start(NXT_OPTIONS(.workers = 1));
    nxt_require(other);
    struct cancel_from from = {.ready = false};
    atomic_store(&from.task, nx_spawn(sleep_and_say, &from));
    nxt_expect_eq(result_of(nx_spawn_on(other, NULL, cancel_it, &from)), 0);
    nxt_expect_eq(result_of(from.task), -ECANCELED);
    nxt_stop(other);
}

static intptr_t end_at_once(void *arg)
{
    return (intptr_t)arg;
}

NXT_TASK_TEST(cancelling_twice_or_after_the_end_does_nothing, .workers = 2)
{
    nx_task task = nx_spawn(sleep_for_ever, NULL);
    for (int i = 0; i < 3; i++)
        nxt_expect_eq(nx_cancel(task), 0);
    nxt_expect_eq(result_of(task), -ECANCELED);
    nxt_expect_eq(nx_cancel(task), -ESRCH);
    task = nx_spawn(end_at_once, (void *)4);
    nx_yield();
    nxt_expect_eq(nx_cancel(task), 0);
    nxt_expect_eq(result_of(task), 4);
}

static intptr_t cancel_many(void *arg)
{
    _Atomic nx_task *tasks = arg;
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 300; i++)
            nx_cancel(atomic_load(&tasks[i]));
    return 0;
}

static intptr_t nap_a_little(void *arg)
{
    return nx_sleep_until(nx_after_ns((intptr_t)arg));
}

NXT_TASK_TEST(cancels_race_with_each_other_and_with_the_tasks_own_end, .workers = 4)
{
    static _Atomic nx_task tasks[300];
    uint64_t seed = 3;
    for (int round = 0; round < nxt_scaled(20, 2); round++) {
        for (size_t i = 0; i < NXT_COUNT(tasks); i++)
            atomic_store(&tasks[i], nx_spawn_with(WITH(.flags = NX_TASK_SPREAD), nap_a_little,
                                                  (void *)(intptr_t)(nxt_random(&seed) % 200000)));
        nx_task canceller = nx_spawn_with(WITH(.flags = NX_TASK_SPREAD), cancel_many, tasks);
        struct nxt_thread *thread = nxt_thread_start(cancel_many, tasks);
        for (size_t i = 0; i < NXT_COUNT(tasks); i++) {
            intptr_t result = result_of(atomic_load(&tasks[i]));
            nxt_expect(result == 0 || result == -ECANCELED);
        }
        result_of(canceller);
        nxt_thread_await(thread);
    }
}

/* ---- level-triggered ---- */

static intptr_t ignore_cancel(void *arg)
{
    atomic_int *refused = arg;
    nx_task other = nx_spawn(sleep_for_ever, NULL);
    nx_task self = nx_self();
    nx_cancel(self);
    for (int i = 0; i < 5; i++) {
        nxt_expect_eq(nx_sleep_until(NX_FOREVER), -ECANCELED);
        nxt_expect_eq(nx_sleep_ms(1), -ECANCELED);
        nxt_expect_eq(nx_join(other, NULL, NX_FOREVER), -ECANCELED);
        nxt_expect_eq(nx_join(other, NULL, nx_after_ms(1000)), -ECANCELED);
        nx_ticker ticker;
        nxt_expect_eq(nx_ticker_init(&ticker, 1000000), 0);
        nxt_expect_eq(nx_ticker_next(&ticker), -ECANCELED);
        atomic_fetch_add(refused, 5);
    }
    nx_cancel(other);
    nx_time shield = nx_shield(NX_FOREVER);
    nxt_expect_eq(result_of(other), -ECANCELED);
    nx_shield(shield);
    return 0;
}

NXT_TASK_TEST(each_waiting_call_of_a_cancelled_task_says_so_again_and_again)
{
    atomic_int refused = 0;
    nxt_expect_eq(result_of(nx_spawn(ignore_cancel, &refused)), 0);
    nxt_expect_eq(atomic_load(&refused), 25);
}

struct stubborn {
    atomic_bool others_ran;
    intptr_t refused;
};

static intptr_t sleep_stubbornly(void *arg)
{
    struct stubborn *stubborn = arg;
    nx_cancel(nx_self());
    while (!atomic_load(&stubborn->others_ran)) { /* as a careless program would */
        nx_sleep_ms(1000);
        stubborn->refused++;
    }
    return 0;
}

static intptr_t join_stubbornly(void *arg)
{
    struct stubborn *stubborn = arg;
    nx_task other = nx_spawn(sleep_for_ever, NULL);
    nx_cancel(nx_self());
    while (!atomic_load(&stubborn->others_ran)) {
        nx_join(other, NULL, NX_FOREVER);
        stubborn->refused++;
    }
    nx_cancel(other);
    nx_detach(other);
    return 0;
}

static intptr_t run_after_sleep(void *arg)
{
    struct stubborn *stubborn = arg;
    nxt_expect_eq(nx_sleep_ms(2), 0);
    atomic_store(&stubborn->others_ran, true);
    return 0;
}

static void check_stubborn(nx_task_fn fn)
{
    struct stubborn stubborn = {.refused = 0};
    nx_task loop = nx_spawn(fn, &stubborn), other = nx_spawn(run_after_sleep, &stubborn);
    result_of(loop);
    result_of(other);
    nxt_expect_gt(stubborn.refused, 0);
}

NXT_TASK_TEST(a_loop_that_ignores_its_cancel_does_not_hold_its_worker)
{
    check_stubborn(sleep_stubbornly);
    check_stubborn(join_stubbornly);
}

/* ---- shields ---- */

static intptr_t shielded_until_told(void *arg)
{
    atomic_bool *go_on = arg;
    nxt_expect_eq(nx_shield(NX_FOREVER), 0);
    nx_cancel(nx_self());
    nxt_expect(!nx_cancelled());
    nxt_expect_eq(nx_sleep_ms(2), 0);
    nxt_await(atomic_load(go_on));
    nxt_expect_eq(nx_sleep_ms(1), 0);
    nxt_expect_eq(nx_shield(0), NX_FOREVER);
    nxt_expect(nx_cancelled());
    return nx_sleep_ms(1);
}

NXT_TASK_TEST(a_shield_without_end_hides_a_cancel_until_it_is_taken_away, .workers = 2)
{
    atomic_bool go_on = false;
    nx_task task = nx_spawn(shielded_until_told, &go_on);
    nxt_expect_eq(nx_sleep_ms(3), 0);
    atomic_store(&go_on, true);
    nxt_expect_eq(result_of(task), -ECANCELED);
}

static intptr_t wait_behind_shield(void *arg)
{
    nx_time end = nx_after_ms(10);
    nxt_expect_eq(nx_shield(end), 0);
    if (arg)
        nx_cancel(nx_self());
    nxt_expect_eq(nx_sleep_until(NX_FOREVER), -ECANCELED);
    nxt_expect_ge(nx_now(), end);
    nxt_expect(nx_cancelled());
    return 0;
}

NXT_TASK_TEST(a_cancel_behind_a_shield_wakes_the_task_when_the_shield_ends, .workers = 2)
{
    nxt_expect_eq(result_of(nx_spawn(wait_behind_shield, (void *)1)), 0); /* cancelled before it waits */
    nx_task task = nx_spawn(wait_behind_shield, NULL);                    /* and while */
    nxt_expect_eq(nx_sleep_ms(1), 0);
    nxt_expect_eq(nx_cancel(task), 0);
    nxt_expect_eq(result_of(task), 0);
}

static intptr_t join_behind_shield(void *arg)
{
    nx_time end = nx_after_ms(10);
    nx_shield(end);
    nx_cancel(nx_self());
    nxt_expect_eq(nx_join(*(nx_task *)arg, NULL, NX_FOREVER), -ECANCELED);
    nxt_expect_ge(nx_now(), end);
    return 0;
}

NXT_TASK_TEST(a_join_behind_a_shield_ends_with_it)
{
    nx_task sleeper = nx_spawn(sleep_for_ever, NULL);
    nxt_expect_eq(result_of(nx_spawn(join_behind_shield, &sleeper)), 0);
    nx_cancel(sleeper);
    result_of(sleeper);
}

static intptr_t outlive_shield(void *arg)
{
    (void)arg;
    nx_shield(nx_after_ms(2));
    nxt_expect_eq(nx_sleep_ms(10), 0); /* nobody cancels: the end of the shield is no event */
    nx_shield(nx_after_ms(1));
    nxt_expect_eq(nx_join(nx_self() + 0, NULL, NX_POLL), -EDEADLK);
    nx_time deadline = nx_after_ms(5);
    nx_task sleeper = nx_spawn(sleep_for_ever, NULL);
    nxt_expect_eq(nx_join(sleeper, NULL, deadline), -ETIMEDOUT);
    nxt_expect_ge(nx_now(), deadline);
    nx_cancel(sleeper);
    return result_of(sleeper);
}

NXT_TASK_TEST(the_end_of_a_shield_without_a_cancel_changes_nothing)
{
    nxt_expect_eq(result_of(nx_spawn(outlive_shield, NULL)), -ECANCELED);
}

static intptr_t nest_shields(void *arg)
{
    (void)arg;
    nx_time first = nx_after_ms(100000), second = nx_after_ms(200000);
    nxt_expect_eq(nx_shield(first), 0);
    nxt_expect_eq(nx_shield(second), first);
    nxt_expect_eq(nx_shield(first), second);
    nxt_expect_eq(nx_shield(0), first);
    nxt_expect_eq(nx_shield(0), 0);
    return 0;
}

NXT_TASK_TEST(shields_nest_by_putting_the_previous_one_back)
{
    nxt_expect_eq(result_of(nx_spawn(nest_shields, NULL)), 0);
}

static intptr_t clean_up_behind_shield(void *arg)
{
    int error = nx_sleep_until(NX_FOREVER);
    nx_time previous = nx_shield(nx_after_ms(60000));
    nxt_expect_eq(nx_sleep_ms(2), 0); /* clean-up that waits */
    nx_task helper = nx_spawn(end_at_once, (void *)6);
    nxt_expect_eq(result_of(helper), 6);
    nx_shield(previous);
    nxt_expect_eq(nx_sleep_ms(1), -ECANCELED);
    atomic_store((atomic_bool *)arg, true);
    return error;
}

NXT_TASK_TEST(a_cancelled_task_cleans_up_behind_a_shield, .workers = 2)
{
    atomic_bool cleaned = false;
    nx_task task = nx_spawn(clean_up_behind_shield, &cleaned);
    nx_yield();
    nx_cancel(task);
    nxt_expect_eq(result_of(task), -ECANCELED);
    nxt_expect(atomic_load(&cleaned));
}

/* ---- before the start ---- */

static intptr_t look(void *arg)
{
    (void)arg;
    return nx_cancelled() && nx_sleep_ms(1) == -ECANCELED;
}

static intptr_t cancel_before_start(void *arg)
{
    (void)arg;
    for (int i = 0; i < 200; i++) {
        /* bound to this worker, which we don't leave before the cancel */
        nx_task task = nx_spawn_with(WITH(.worker_plus_1 = 2), look, NULL);
        nxt_expect_eq(nx_cancel(task), 0);
        nxt_expect_eq(result_of(task), 1);
    }
    return 0;
}

NXT_TASK_TEST(a_task_cancelled_before_it_starts_runs_and_sees_it, .workers = 2)
{
    nxt_expect_eq(result_of(nx_spawn_with(WITH(.worker_plus_1 = 2), cancel_before_start, NULL)), 0);
}

/* The cancel comes at every moment from the spawn to the sleep: before the start has arrived, between, and after. */
NXT_TASK_TEST(no_cancel_is_lost_while_the_task_starts_on_another_worker, .workers = 2)
{
    uint64_t seed = 11;
    for (int i = 0; i < nxt_scaled(20000, 500); i++) {
        nx_task task = nx_spawn_with(WITH(.worker_plus_1 = 1 + i % 2), sleep_for_ever, NULL);
        nxt_burn((int64_t)(nxt_random(&seed) % 8000));
        nxt_expect_eq(nx_cancel(task), 0);
        nxt_expect_eq(result_of(task), -ECANCELED);
    }
}

static intptr_t spawn_and_cancel(void *arg)
{
    uint64_t seed = 12;
    for (int i = 0; i < nxt_scaled(5000, 200); i++) {
        nx_task task = nx_spawn_on(arg, NULL, sleep_for_ever, NULL);
        nxt_burn((int64_t)(nxt_random(&seed) % 8000));
        nxt_expect_eq(nx_cancel(task), 0);
        nxt_expect_eq(result_of(task), -ECANCELED);
    }
    return 0;
}

NXT_TASK_TEST(no_cancel_is_lost_while_a_task_starts_that_a_thread_has_spawned, .workers = 2)
{
    nxt_thread_await(nxt_thread_start(spawn_and_cancel, nxt_runtime()));
}

static intptr_t count_run(void *arg)
{
    return (intptr_t)atomic_fetch_add((atomic_int *)arg, 1);
}

NXT_TASK_TEST(a_task_cancelled_on_its_way_to_another_worker_runs_once, .workers = 2)
{
    atomic_int runs = 0;
    int rounds = (int)nxt_scaled(3000, 200);
    for (int i = 0; i < rounds; i++) {
        nx_task task = nx_spawn_with(WITH(.worker_plus_1 = 1 + i % 2), count_run, &runs);
        nxt_expect_eq(nx_cancel(task), 0);
        result_of(task);
    }
    nxt_expect_eq(atomic_load(&runs), rounds);
}
