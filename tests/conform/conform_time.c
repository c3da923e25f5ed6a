/* conform_time.c: the clock, sleeping, tickers. */
#include "nxt.h"
#include <stdlib.h>

#define MS INT64_C(1000000)
/* Far more than any sleep is late by on a busy machine, and far less than a lost one. */
#define LATE (INT64_C(5000) * MS)

static intptr_t result_of(nx_task task)
{
    intptr_t result = -1;
    if (nxt_expect_gt(task, 0))
        nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0);
    return result;
}

/* ---- clock and deadlines ---- */

static void check_clock(void)
{
    nx_time before = nx_now();
    nxt_expect_ge(before, 1);
    for (int i = 0; i < 1000; i++) {
        nx_time now = nx_now();
        nxt_expect_ge(now, before);
        before = now;
    }
    nx_time start = nx_now();
    nxt_burn(2 * MS);
    nxt_expect_ge(nx_now() - start, 2 * MS);
    nxt_expect_lt(nx_now() - start, LATE);
}

NXT_TASK_TEST(the_clock_goes_and_never_back)
{
    check_clock();
}

NXT_TEST(the_clock_goes_outside_tasks_too)
{
    check_clock();
}

static void check_after(void)
{
    nx_time now = nx_now();
    nx_time second = nx_after_ms(1000);
    nxt_expect_ge(second, now + 1000 * MS);
    nxt_expect_lt(second, now + 1000 * MS + LATE);
    nxt_expect_ge(nx_after_ns(5), now + 5);
    nxt_expect_lt(nx_after_ns(5), now + LATE);
    nxt_expect_ge(nx_after_ns(0), now);
    /* saturation: no time is past the end of times, nor before their beginning */
    nxt_expect_eq(nx_after_ns(NX_FOREVER), NX_FOREVER);
    nxt_expect_eq(nx_after_ns(NX_FOREVER - 1), NX_FOREVER);
    nxt_expect_eq(nx_after_ms(NX_FOREVER), NX_FOREVER);
    nxt_expect_eq(nx_after_ms(INT64_MAX / 1000000 + 1), NX_FOREVER);
    nxt_expect_eq(nx_after_ns(INT64_MIN), 1);
    nxt_expect_eq(nx_after_ns(-now - 1000 * MS), 1);
    nxt_expect_eq(nx_after_ms(INT64_MIN), 1);
    nxt_expect_lt(nx_after_ms(-1), nx_now());
    nxt_expect_ge(nx_after_ms(-1), 1);
}

NXT_TASK_TEST(a_time_from_now_saturates)
{
    check_after();
}

NXT_TEST(a_time_from_now_saturates_outside_tasks)
{
    check_after();
}

/* ---- sleep ---- */

static intptr_t sleep_and_check(void *arg)
{
    int64_t ns = (intptr_t)arg;
    nx_time start = nxt_clock();
    nx_time until = nx_after_ns(ns);
    nxt_expect_eq(nx_sleep_until(until), 0);
    nxt_expect_ge(nx_now(), until);
    nxt_expect_ge(nxt_clock() - start, ns);
    nxt_expect_lt(nxt_clock() - start, ns + LATE);
    return 0;
}

NXT_TASK_TEST(a_sleep_is_never_early)
{
    static const int64_t times[] = {1,          999,    1000,    99999,   100000,  999999,  1 * MS,      1 * MS + 1,
                                    2 * MS - 1, 3 * MS, 10 * MS, 63 * MS, 64 * MS, 65 * MS, 127 * MS + 1};
    for (size_t i = 0; i < NXT_COUNT(times); i++)
        sleep_and_check((void *)times[i]);
    for (int ms = 0; ms < 4; ms++) {
        nx_time start = nxt_clock();
        nxt_expect_eq(nx_sleep_ms(ms), 0);
        nxt_expect_ge(nxt_clock() - start, ms * MS);
    }
}

static void sleep_many(int64_t count, int64_t longest)
{
    nx_task *tasks = calloc((size_t)count, sizeof(*tasks));
    uint64_t seed = 17;
    for (int64_t i = 0; i < count; i++)
        tasks[i] = nx_spawn_with(&(nx_task_options){.size = sizeof(nx_task_options), .flags = NX_TASK_SPREAD},
                                 sleep_and_check, (void *)(intptr_t)(nxt_random(&seed) % (uint64_t)longest));
    for (int64_t i = 0; i < count; i++)
        nxt_expect_eq(result_of(tasks[i]), 0);
    free(tasks);
}

NXT_TASK_TEST(none_of_a_thousand_random_sleeps_is_early_or_lost, .workers = 2)
{
    sleep_many(nxt_scaled(1000, 100), 300 * MS);
}

NXT_TASK_TEST(sleeps_shorter_than_a_millisecond_are_not_early_either, .workers = 4)
{
    sleep_many(nxt_scaled(2000, 100), MS);
}

NXT_TASK_TEST(a_sleep_into_the_past_returns_at_once_and_lets_others_run)
{
    nx_time start = nxt_clock();
    nxt_expect_eq(nx_sleep_until(1), 0);
    nxt_expect_eq(nx_sleep_until(nx_now()), 0);
    nxt_expect_eq(nx_sleep_ms(0), 0);
    nxt_expect_eq(nx_sleep_ms(-5), 0);
    nxt_expect_lt(nxt_clock() - start, LATE);
    nx_task other = nx_spawn(sleep_and_check, (void *)1);
    while (nx_join(other, NULL, NX_POLL) == -EAGAIN) /* it gets its turns from our sleeps */
        nxt_expect_eq(nx_sleep_until(1), 0);
}

struct order {
    atomic_int *next;
    nx_time until, began;
    int place;
};

static intptr_t wake_in_order(void *arg)
{
    struct order *order = arg;
    order->began = nxt_clock();
    nxt_expect_eq(nx_sleep_until(order->until), 0);
    order->place = atomic_fetch_add(order->next, 1);
    return 0;
}

#define SLEEPERS 100

/* Whether all were asleep before the first one was due: else their order says nothing. */
static bool sleep_in_no_order(struct order order[SLEEPERS], nx_time lead)
{
    nx_task tasks[SLEEPERS];
    atomic_int next = 0;
    nx_time start = nx_after_ns(lead), last = 0;
    for (int i = 0; i < SLEEPERS; i++) {
        int rank = i * 37 % SLEEPERS;
        order[i] = (struct order){.next = &next, .until = start + rank * (MS / 3)};
        tasks[i] = nx_spawn_with(&(nx_task_options){.size = sizeof(nx_task_options), .worker_plus_1 = 1}, wake_in_order,
                                 &order[i]);
    }
    for (int i = 0; i < SLEEPERS; i++)
        result_of(tasks[i]);
    for (int i = 0; i < SLEEPERS; i++)
        last = order[i].began > last ? order[i].began : last;
    return last < start;
}

NXT_TASK_TEST(sleepers_of_one_worker_wake_in_the_order_of_their_times)
{
    struct order order[SLEEPERS];
    nx_time lead = 5 * MS;
    while (!sleep_in_no_order(order, lead)) /* a busy machine */
        lead *= 2;
    for (int i = 0; i < SLEEPERS; i++)
        nxt_expect_eq(order[i].place, i * 37 % SLEEPERS);
}

static intptr_t sleep_for_ever(void *arg)
{
    return nx_sleep_until(arg ? NX_FOREVER - 1 : NX_FOREVER);
}

NXT_TASK_TEST(a_sleep_for_ever_or_nearly_so_ends_only_by_a_cancel)
{
    nx_task first = nx_spawn(sleep_for_ever, NULL), second = nx_spawn(sleep_for_ever, (void *)1);
    nxt_expect_eq(nx_sleep_ms(5), 0);
    nxt_expect_eq(nx_join(first, NULL, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_join(second, NULL, NX_POLL), -EAGAIN);
    nx_cancel(first);
    nx_cancel(second);
    nxt_expect_eq(result_of(first), -ECANCELED);
    nxt_expect_eq(result_of(second), -ECANCELED);
}

static intptr_t sleep_to_be_cancelled(void *arg)
{
    int error = nx_sleep_until(nx_after_ns((intptr_t)arg));
    nxt_expect(error == 0 || error == -ECANCELED);
    return 0;
}

NXT_TASK_TEST(sleeps_that_are_cancelled_leave_no_timer_behind, .workers = 2)
{
    uint64_t seed = 23;
    for (int i = 0; i < nxt_scaled(5000, 200); i++) {
        nx_task task =
            nx_spawn(sleep_to_be_cancelled, (void *)(intptr_t)(nxt_random(&seed) % (UINT64_C(1) << (i % 40))));
        nx_yield();
        nx_cancel(task);
        nxt_expect_eq(result_of(task), 0);
    }
    nxt_expect_eq(nx_sleep_ms(5), 0); /* a stray timer would wake a frame that is gone */
}

/* ---- tickers ---- */

NXT_TASK_TEST(a_ticker_ticks_without_drift)
{
    nx_ticker ticker;
    nx_time start = nx_now();
    nxt_expect_eq(nx_ticker_init(&ticker, 2 * MS), 0);
    nx_time first = ticker.next;
    nxt_expect_ge(first, start + 2 * MS);
    int64_t ticks = 0;
    for (int i = 0; i < 20; i++) {
        int64_t missed = nx_ticker_next(&ticker);
        if (!nxt_expect_ge(missed, 0))
            return;
        ticks += 1 + missed;
        nxt_expect_ge(nx_now(), first + (ticks - 1) * 2 * MS);
        nxt_expect_eq(ticker.next, first + ticks * 2 * MS); /* whatever became late */
        if (i % 5 == 0)
            nxt_burn(MS / 2);
    }
}

NXT_TASK_TEST(a_ticker_counts_what_was_missed_and_keeps_its_rate)
{
    nx_ticker ticker;
    nxt_expect_eq(nx_ticker_init(&ticker, MS), 0);
    nx_time first = ticker.next;
    nxt_expect_eq(nx_sleep_until(first + 10 * MS + MS / 2), 0);
    int64_t missed = nx_ticker_next(&ticker);
    nxt_expect_ge(missed, 10);
    nxt_expect_eq((ticker.next - first) % MS, 0);
    nxt_expect_eq(ticker.next, first + (missed + 1) * MS);
}

NXT_TASK_TEST(a_ticker_has_a_period)
{
    nx_ticker ticker = {.next = 7, .period_ns = 8};
    nxt_expect_eq(nx_ticker_init(&ticker, 0), -EINVAL);
    nxt_expect_eq(nx_ticker_init(&ticker, -1), -EINVAL);
    nxt_expect_eq(ticker.next, 7);
    nxt_expect_eq(nx_ticker_init(NULL, 1), -EINVAL);
    nxt_expect_eq(nx_ticker_init(&ticker, INT64_MAX), 0);
    nxt_expect_eq(ticker.next, NX_FOREVER);
}

static intptr_t tick_for_ever(void *arg)
{
    return (intptr_t)nx_ticker_next(arg);
}

NXT_TASK_TEST(a_cancel_ends_the_wait_for_a_tick)
{
    nx_ticker ticker;
    nxt_expect_eq(nx_ticker_init(&ticker, INT64_C(3600) * 1000 * MS), 0);
    nx_time next = ticker.next;
    nx_task task = nx_spawn(tick_for_ever, &ticker);
    nx_yield();
    nx_cancel(task);
    nxt_expect_eq(result_of(task), -ECANCELED);
    nxt_expect_eq(ticker.next, next);
}

/* ---- timers and busy workers ---- */

struct busy {
    atomic_bool stop;
    intptr_t turns;
};

static intptr_t yield_endlessly(void *arg)
{
    struct busy *busy = arg;
    while (!atomic_load(&busy->stop)) {
        nx_yield();
        busy->turns++;
    }
    return 0;
}

static intptr_t poll_endlessly(void *arg)
{
    struct busy *busy = arg;
    nx_task self_child = nx_spawn(sleep_for_ever, NULL);
    while (!atomic_load(&busy->stop)) { /* work that completes inline: no park point is for free */
        nx_join(self_child, NULL, NX_POLL);
        nx_sleep_until(1);
        busy->turns++;
    }
    nx_cancel(self_child);
    result_of(self_child);
    return 0;
}

static void check_timers_beside(nx_task_fn fn)
{
    struct busy busy[3] = {{.turns = 0}};
    nx_task tasks[3];
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        tasks[i] = nx_spawn(fn, &busy[i]);
    for (int i = 0; i < 10; i++)
        sleep_and_check((void *)MS);
    for (size_t i = 0; i < NXT_COUNT(tasks); i++) {
        atomic_store(&busy[i].stop, true);
        nxt_expect_gt(busy[i].turns, 0);
    }
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        result_of(tasks[i]);
}

NXT_TASK_TEST(tasks_that_are_always_ready_do_not_starve_timers)
{
    check_timers_beside(yield_endlessly);
    check_timers_beside(poll_endlessly);
}
