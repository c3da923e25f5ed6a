/* conform_join.c: joining and detaching. */
#include "nxt.h"
#include <stdlib.h>

static intptr_t return_arg(void *arg)
{
    return (intptr_t)arg;
}

static intptr_t wait_for_flag(void *arg)
{
    nxt_await(atomic_load((atomic_bool *)arg));
    return 11;
}

static intptr_t sleep_for_ever(void *arg)
{
    (void)arg;
    return nx_sleep_until(NX_FOREVER);
}

static intptr_t cancel_and_join(nx_task task)
{
    intptr_t result = 0;
    nxt_expect_eq(nx_cancel(task), 0);
    nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0);
    return result;
}

NXT_TASK_TEST(join_gives_the_result_of_a_task_that_has_ended_and_of_one_that_has_not)
{
    atomic_bool flag = true;
    intptr_t result = 0;
    nx_task task = nx_spawn(wait_for_flag, &flag);
    nx_yield(); /* it has ended */
    nxt_expect_eq(nx_join(task, &result, NX_POLL), 0);
    nxt_expect_eq(result, 11);
    task = nx_spawn(wait_for_flag, &flag);
    nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0);
    nxt_expect_eq(nx_join(nx_spawn(return_arg, (void *)1), NULL, NX_FOREVER), 0);
}

NXT_TASK_TEST(join_that_only_asks_never_parks)
{
    atomic_bool flag = false;
    intptr_t result = 99;
    nx_task task = nx_spawn(wait_for_flag, &flag);
    for (int i = 0; i < 10; i++)
        nxt_expect_eq(nx_join(task, &result, NX_POLL), -EAGAIN);
    nxt_expect_eq(result, 99);
    atomic_store(&flag, true);
    nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0);
    nxt_expect_eq(result, 11);
}

static void join_in_time(nx_task task)
{
    intptr_t result = 99;
    nx_time start = nxt_clock();
    nxt_expect_eq(nx_join(task, &result, nx_after_ms(5)), -ETIMEDOUT);
    nxt_expect_ge(nxt_clock() - start, 5000000 - 2); /* a time is a nanosecond after the clock's */
    nxt_expect_eq(nx_join(task, &result, nx_now()), -ETIMEDOUT);
    nxt_expect_eq(nx_join(task, &result, 1), -ETIMEDOUT);
    nxt_expect_eq(nx_join(task, &result, NX_POLL), -EAGAIN);
    nxt_expect_eq(result, 99);
}

NXT_TASK_TEST(a_join_that_times_out_leaves_the_task_and_its_id, .workers = 2)
{
    nx_task task = nx_spawn(sleep_for_ever, NULL);
    join_in_time(task);
    nxt_expect_eq(cancel_and_join(task), -ECANCELED);
}

NXT_TEST(a_join_of_a_thread_times_out_and_succeeds_like_a_tasks)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    nxt_require(runtime);
    nx_task task = nx_spawn_on(runtime, NULL, sleep_for_ever, NULL);
    nxt_require(task > 0);
    join_in_time(task);
    nxt_expect_eq(cancel_and_join(task), -ECANCELED);
    nxt_stop(runtime);
}

struct joiner {
    nx_task task;
    atomic_bool joining;
    int result;
    intptr_t value;
};

static intptr_t join_it(void *arg)
{
    struct joiner *joiner = arg;
    atomic_store(&joiner->joining, true);
    joiner->result = nx_join(joiner->task, &joiner->value, NX_FOREVER);
    return joiner->result;
}

static void check_second_joiner(bool thread)
{
    struct joiner joiner = {.task = nx_spawn(sleep_for_ever, NULL)};
    nx_task first = thread ? 0 : nx_spawn(join_it, &joiner);
    struct nxt_thread *first_thread = thread ? nxt_thread_start(join_it, &joiner) : NULL;
    nxt_await(atomic_load(&joiner.joining));
    /* It says that it is about to: until it is there, we are first. */
    int error;
    do
        nx_yield();
    while ((error = nx_join(joiner.task, NULL, NX_POLL)) == -EAGAIN);
    nxt_expect_eq(error, -EBUSY);
    nxt_expect_eq(nx_join(joiner.task, NULL, NX_FOREVER), -EBUSY);
    nxt_expect_eq(nx_detach(joiner.task), -EBUSY);
    nxt_expect_eq(nx_cancel(joiner.task), 0);
    if (thread)
        nxt_thread_await(first_thread);
    else
        nxt_expect_eq(nx_join(first, NULL, NX_FOREVER), 0);
    nxt_expect_eq(joiner.result, 0);
    nxt_expect_eq(joiner.value, -ECANCELED);
}

NXT_TASK_TEST(a_second_joiner_is_told_that_somebody_joins_already, .workers = 2)
{
    check_second_joiner(false);
}

NXT_TASK_TEST(a_task_is_told_that_a_thread_joins_already, .workers = 2)
{
    check_second_joiner(true);
}

static intptr_t join_self(void *arg)
{
    (void)arg;
    nxt_expect_eq(nx_join(nx_self(), NULL, NX_FOREVER), -EDEADLK);
    nxt_expect_eq(nx_join(nx_self(), NULL, NX_POLL), -EDEADLK);
    return 0;
}

NXT_TASK_TEST(a_task_cannot_join_itself)
{
    nxt_expect_eq(nx_join(nx_spawn(join_self, NULL), NULL, NX_FOREVER), 0);
}

static void expect_stale(nx_task task)
{
    char text[8];
    intptr_t result = 99;
    nxt_expect_eq(nx_join(task, &result, NX_FOREVER), -ESRCH);
    nxt_expect_eq(nx_join(task, &result, NX_POLL), -ESRCH);
    nxt_expect_eq(result, 99);
    nxt_expect_eq(nx_detach(task), -ESRCH);
    nxt_expect_eq(nx_cancel(task), -ESRCH);
    nxt_expect_eq(nx_task_name(task, text, sizeof(text)), -ESRCH);
    nxt_expect_eq(nx_join_message(task, text, sizeof(text)), -ESRCH);
}

NXT_TASK_TEST(a_stale_id_is_known_as_one_even_when_its_header_is_used_again, .workers = 2)
{
    nx_task stale = nx_spawn(return_arg, NULL);
    nxt_expect_eq(nx_join(stale, NULL, NX_FOREVER), 0);
    expect_stale(stale);
    for (int i = 0; i < 3000; i++) {
        nx_task task = nx_spawn(return_arg, NULL);
        nxt_expect_ne(task, stale);
        nxt_expect_eq(nx_join(task, NULL, NX_FOREVER), 0);
    }
    expect_stale(stale);
    expect_stale(0);
    expect_stale(-1);
    expect_stale(INT64_MAX);
    expect_stale(INT64_MIN);
    expect_stale(INT64_C(1) << 32 | 0x00ffffff);
}

NXT_TASK_TEST(a_detached_task_goes_on_and_its_id_is_no_longer_for_joining, .workers = 2)
{
    atomic_bool flag = false;
    nx_task task = nx_spawn(wait_for_flag, &flag);
    nxt_expect_eq(nx_detach(task), 0);
    nxt_expect_eq(nx_join(task, NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_join(task, NULL, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_detach(task), -EINVAL);
    nxt_expect_eq(nx_cancel(task), 0);
    atomic_store(&flag, true);
    nxt_await(nx_cancel(task) == -ESRCH);
    expect_stale(task);
}

NXT_TASK_TEST(a_task_is_detached_after_its_end)
{
    nx_task task = nx_spawn(return_arg, NULL);
    nx_yield();
    nxt_expect_eq(nx_detach(task), 0);
    expect_stale(task);
}

NXT_TASK_TEST(tasks_are_detached_while_they_end, .workers = 4)
{
    for (int i = 0; i < nxt_scaled(20000, 1000); i++) {
        nx_task task =
            nx_spawn_on(nxt_runtime(), &(nx_task_options){.size = sizeof(nx_task_options), .flags = NX_TASK_SPREAD},
                        return_arg, NULL);
        nxt_expect_gt(task, 0);
        if (i & 1)
            nx_yield();
        nxt_expect_eq(nx_detach(task), 0);
    }
}

static intptr_t join_with_short_deadlines(void *arg)
{
    nx_task task = *(nx_task *)arg;
    int error;
    while ((error = nx_join(task, NULL, nx_after_ns(1000))) == -ETIMEDOUT)
        ;
    return error;
}

static intptr_t nap(void *arg)
{
    return nx_sleep_until(nx_after_ns((intptr_t)arg));
}

NXT_TASK_TEST(a_join_whose_deadline_meets_the_tasks_end_gives_one_or_the_other, .workers = 2)
{
    uint64_t seed = 5;
    for (int i = 0; i < nxt_scaled(1000, 50); i++) {
        nx_task task = nx_spawn_with(&(nx_task_options){.size = sizeof(nx_task_options), .flags = NX_TASK_SPREAD}, nap,
                                     (void *)(intptr_t)(nxt_random(&seed) % 30000));
        if (i & 1)
            nxt_expect_eq(join_with_short_deadlines(&task), 0);
        else
            nxt_expect_eq(nxt_thread_await(nxt_thread_start(join_with_short_deadlines, &task)), 0);
    }
}

/* Two who want the same end: one gets it, the other learns so. */
static intptr_t race_to_join(void *arg)
{
    nx_task task = *(nx_task *)arg;
    return nx_join(task, NULL, NX_FOREVER);
}

NXT_TASK_TEST(of_several_joiners_exactly_one_gets_the_result, .workers = 4)
{
    for (int i = 0; i < nxt_scaled(2000, 100); i++) {
        nx_task_options spread = {.size = sizeof(spread), .flags = NX_TASK_SPREAD};
        nx_task task = nx_spawn_with(&spread, return_arg, NULL);
        nx_task joiners[3];
        int won = 0;
        for (size_t j = 0; j < NXT_COUNT(joiners); j++)
            joiners[j] = nx_spawn_with(&spread, race_to_join, &task);
        for (size_t j = 0; j < NXT_COUNT(joiners); j++) {
            intptr_t result = 1;
            nxt_expect_eq(nx_join(joiners[j], &result, NX_FOREVER), 0);
            nxt_expect(result == 0 || result == -EBUSY || result == -ESRCH);
            won += result == 0;
        }
        nxt_expect_eq(won, 1);
    }
}

static intptr_t join_next(void *arg)
{
    nx_task next = *(nx_task *)arg;
    intptr_t result = 0;
    return next ? nx_join(next, &result, NX_FOREVER) < 0 ? -1 : result + 1 : 0;
}

NXT_TASK_TEST(a_chain_of_joins_unwinds_from_its_far_end, .workers = 2)
{
    enum { LENGTH = 1000 };
    nx_task *tasks = calloc(LENGTH + 1, sizeof(*tasks));
    for (int i = 0; i < LENGTH; i++)
        tasks[i + 1] = nx_spawn(join_next, &tasks[i]);
    intptr_t result = 0;
    nxt_expect_eq(nx_join(tasks[LENGTH], &result, NX_FOREVER), 0);
    nxt_expect_eq(result, LENGTH - 1);
    free(tasks);
}

static intptr_t join_many(void *arg)
{
    nx_task *tasks = arg;
    intptr_t sum = 0, result;
    for (int i = 0; i < 500; i++)
        if (nxt_expect_eq(nx_join(tasks[i], &result, NX_FOREVER), 0))
            sum += result;
    return sum;
}

NXT_TASK_TEST(a_thread_joins_what_a_task_has_spawned, .workers = 2)
{
    nx_task tasks[500];
    for (intptr_t i = 0; i < 500; i++)
        tasks[i] = nx_spawn(return_arg, (void *)i);
    nxt_expect_eq(nxt_thread_await(nxt_thread_start(join_many, tasks)), 500 * 499 / 2);
}

struct pelted {
    _Atomic nx_task latest;
    atomic_bool over;
};

static intptr_t cancel_the_latest(void *arg)
{
    struct pelted *pelted = arg;
    intptr_t hits = 0;
    while (!atomic_load(&pelted->over)) {
        int error = nx_cancel(atomic_load(&pelted->latest));
        hits += error == 0;
        if (error < 0 && error != -ESRCH)
            return error;
    }
    return hits;
}

/* The cancel's message may be on its way to the worker when the task has ended and the joiner gives its header back. */
NXT_TASK_TEST(tasks_that_a_thread_cancels_all_the_while_are_joined_on_their_own_worker, .workers = 1)
{
    const intptr_t rounds = nxt_scaled(20000, 2000);
    struct pelted pelted = {0};
    struct nxt_thread *thread = nxt_thread_start(cancel_the_latest, &pelted);
    for (intptr_t i = 0; i < rounds; i++) {
        intptr_t result = -1;
        nx_task task = nx_spawn(return_arg, (void *)i);
        atomic_store(&pelted.latest, task);
        if (i % 3 == 0)
            nx_yield(); /* then it has ended before the join */
        if (!nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0) || !nxt_expect_eq(result, i))
            break;
    }
    atomic_store(&pelted.over, true);
    nxt_expect(nxt_thread_await(thread) >= 0);
}

struct shielded {
    nx_time shield;
    int ran;
    nx_task child;
};

static intptr_t count_run(void *arg)
{
    return ((struct shielded *)arg)->ran++;
}

/* Is cancelled from the moment on when its shield ends, which is somewhere on the way through the join. */
static intptr_t join_a_new_child(void *arg)
{
    struct shielded *shielded = arg;
    nx_shield(NX_FOREVER);
    nxt_expect_eq(nx_cancel(nx_self()), 0);
    shielded->child = nx_spawn(count_run, shielded);
    nx_shield(nx_after_ns(shielded->shield));
    return nx_join(shielded->child, NULL, NX_FOREVER);
}

/* A scheduler may have given the child out already, to run in its parent's place, when the parent does not wait. */
NXT_TASK_TEST(a_child_whose_parent_is_cancelled_on_the_way_into_its_join_runs_once_all_the_same, .workers = 1)
{
    const int rounds = nxt_scaled(20000, 2000);
    struct shielded shielded = {0};
    for (int i = 0; i < rounds; i++) {
        intptr_t error = 1, order = -1;
        shielded.shield = 7 * i % 4000;
        nxt_expect_eq(nx_join(nx_spawn(join_a_new_child, &shielded), &error, NX_FOREVER), 0);
        if (error == -ECANCELED)
            nxt_expect_eq(nx_join(shielded.child, &order, NX_FOREVER), 0);
        if (!nxt_expect(error == 0 || (error == -ECANCELED && order == i)) || !nxt_expect_eq(shielded.ran, i + 1))
            break;
    }
}

struct turns {
    uint32_t count;
};

static intptr_t take_turns(void *arg)
{
    struct turns *turns = arg;
    for (int i = 0; i < 100; i++) {
        turns->count++;
        nx_yield();
    }
    return (intptr_t)turns->count;
}

/* One, then two, then three others are ready: each yield lets all of them run before it returns. */
NXT_TASK_TEST(a_yield_lets_every_other_ready_task_go_first_however_few_there_are, .workers = 1)
{
    for (int others = 1; others <= 3; others++) {
        struct turns turns[3] = {0};
        nx_task tasks[3];
        for (int i = 0; i < others; i++)
            tasks[i] = nx_spawn(take_turns, &turns[i]);
        for (uint32_t i = 1; i <= 50; i++) {
            nx_yield();
            for (int j = 0; j < others; j++)
                nxt_expect(turns[j].count + 1 >= i && turns[j].count <= i + 1);
        }
        for (int i = 0; i < others; i++)
            nxt_expect_eq(nx_join(tasks[i], NULL, NX_FOREVER), 0);
    }
}
