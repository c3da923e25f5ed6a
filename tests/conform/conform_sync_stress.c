/*
 * conform_sync_stress.c: mutex, rwlock, semaphore, condition and event under tasks of two workers and plain threads at
 * once, with deadlines and cancels at random. NXT_SEED repeats a run as far as the machine's timing lets it.
 */
#include "nxt_net.h"
#include <inttypes.h>
#include <nexus/sync.h>
#include <stdio.h>
#include <stdlib.h>

#define TASKS 8
#define THREADS 2

/* What the rivals are about, and what they have seen. */
struct arena {
    nx_mutex mutex;
    nx_rwlock rwlock;
    nx_sem sem;
    nx_cond not_empty, not_full;
    nx_event notify;
    int64_t plain; /* under mutex: a lost update would show */
    int64_t written[2];
    atomic_int writers, readers, units;
    _Atomic int64_t got, put_in, taken_out, sets, passes;
    int queued; /* under mutex: in the bounded queue */
    atomic_bool over;
    int64_t rounds;
};

#define UNITS 5
#define QUEUE_MAX 3

struct rival {
    struct arena *arena;
    void (*play)(struct arena *arena, nx_time deadline, uint64_t *random);
    uint64_t random;
    int64_t played;
    nx_task task;
};

static nx_time some_deadline(uint64_t *random)
{
    switch (nxt_random(random) % 4) {
    case 0:
        return NX_POLL;
    case 1:
        return nx_after_ns((int64_t)(nxt_random(random) % 100000));
    default:
        return NX_FOREVER;
    }
}

static bool is_give_up(int error)
{
    return error == -EAGAIN || error == -ETIMEDOUT || error == -ECANCELED;
}

/* Now and then the holder is away with the lock. */
static void dawdle(uint64_t *random)
{
    if (nxt_random(random) % 8 == 0)
        nx_yield();
}

static intptr_t play_all(void *arg)
{
    struct rival *rival = arg;
    for (; rival->played < rival->arena->rounds && !nx_cancelled(); rival->played++) {
        rival->play(rival->arena, some_deadline(&rival->random), &rival->random);
        if (nxt_random(&rival->random) % 16 == 0)
            nx_yield();
    }
    return 0;
}

static uint64_t first_seed(void)
{
    const char *text = getenv("NXT_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)nxt_clock();
    printf("# NXT_SEED=%" PRIu64 "\n", seed);
    return seed;
}

/* A task that has been cancelled is followed by another one, until all rounds have been played. */
static void disturb(struct rival *rivals, uint64_t *random)
{
    for (int i = 0; i < TASKS; i++) {
        struct rival *rival = &rivals[i];
        while (rival->task > 0) {
            if (nxt_random(random) % 2) {
                nx_sleep_until(nx_after_ns((int64_t)(nxt_random(random) % 200000)));
                nx_cancel(rival->task);
            }
            nxt_result(rival->task);
            bool more = rival->played < rival->arena->rounds;
            rival->task = more ? nxt_task_on(i % 2, play_all, rival) : 0;
        }
    }
}

static void compete(struct arena *arena, void (*play)(struct arena *, nx_time, uint64_t *))
{
    uint64_t random = first_seed();
    struct rival rivals[TASKS + THREADS];
    struct nxt_thread *threads[THREADS];
    for (int i = 0; i < TASKS + THREADS; i++) {
        rivals[i] = (struct rival){.arena = arena, .play = play, .random = nxt_random(&random)};
        if (i < TASKS)
            rivals[i].task = nxt_task_on(i % 2, play_all, &rivals[i]);
        else
            threads[i - TASKS] = nxt_thread_start(play_all, &rivals[i]);
    }
    disturb(rivals, &random);
    for (int i = 0; i < THREADS; i++)
        nxt_thread_await(threads[i]);
}

/* ---- mutex ---- */

static void play_mutex(struct arena *arena, nx_time deadline, uint64_t *random)
{
    int error = nx_mutex_lock(&arena->mutex, deadline);
    if (error < 0) {
        nxt_expect(is_give_up(error));
        return;
    }
    int64_t seen = arena->plain;
    dawdle(random);
    arena->plain = seen + 1;
    atomic_fetch_add(&arena->got, 1);
    nxt_expect_eq(nx_mutex_unlock(&arena->mutex), 0);
}

NXT_TASK_TEST(a_mutex_lets_one_in_at_a_time, .workers = 2)
{
    struct arena arena = {.rounds = nxt_scaled(10000, 500)};
    compete(&arena, play_mutex);
    nxt_expect_eq(arena.plain, atomic_load(&arena.got));
    nxt_expect_eq(nx_mutex_lock(&arena.mutex, NX_POLL), 0);
    nxt_expect_eq(nx_mutex_unlock(&arena.mutex), 0);
}

/* ---- rwlock ---- */

static void write_both(struct arena *arena, uint64_t *random)
{
    nxt_expect_eq(atomic_fetch_add(&arena->writers, 1), 0);
    nxt_expect_eq(atomic_load(&arena->readers), 0);
    arena->written[0]++;
    dawdle(random);
    arena->written[1]++;
    atomic_fetch_sub(&arena->writers, 1);
    atomic_fetch_add(&arena->got, 1);
}

static void read_both(struct arena *arena, uint64_t *random)
{
    atomic_fetch_add(&arena->readers, 1);
    nxt_expect_eq(atomic_load(&arena->writers), 0);
    int64_t first = arena->written[0];
    dawdle(random);
    nxt_expect_eq(arena->written[1], first);
    atomic_fetch_sub(&arena->readers, 1);
}

static void play_rwlock(struct arena *arena, nx_time deadline, uint64_t *random)
{
    bool writes = nxt_random(random) % 3 == 0;
    int error = writes ? nx_rwlock_wrlock(&arena->rwlock, deadline) : nx_rwlock_rdlock(&arena->rwlock, deadline);
    if (error < 0) {
        nxt_expect(is_give_up(error));
        return;
    }
    if (writes)
        write_both(arena, random);
    else
        read_both(arena, random);
    nxt_expect_eq(nx_rwlock_unlock(&arena->rwlock), 0);
}

NXT_TASK_TEST(a_rwlock_lets_readers_or_one_writer_in, .workers = 2)
{
    struct arena arena = {.rounds = nxt_scaled(8000, 400)};
    compete(&arena, play_rwlock);
    nxt_expect_eq(arena.written[0], atomic_load(&arena.got));
    nxt_expect_eq(nx_rwlock_wrlock(&arena.rwlock, NX_POLL), 0);
    nxt_expect_eq(nx_rwlock_unlock(&arena.rwlock), 0);
}

/* ---- semaphore ---- */

static void play_sem(struct arena *arena, nx_time deadline, uint64_t *random)
{
    uint32_t n = 1 + (uint32_t)(nxt_random(random) % UNITS);
    int error = nx_sem_acquire(&arena->sem, n, deadline);
    if (error < 0) {
        nxt_expect(is_give_up(error));
        return;
    }
    nxt_expect_le(atomic_fetch_add(&arena->units, (int)n) + (int)n, UNITS);
    dawdle(random);
    atomic_fetch_sub(&arena->units, (int)n);
    nxt_expect_eq(nx_sem_release(&arena->sem, n), 0);
}

NXT_TASK_TEST(a_semaphore_gives_no_more_than_there_is_and_loses_nothing, .workers = 2)
{
    struct arena arena = {.rounds = nxt_scaled(8000, 400), .sem = NX_SEM_INIT(UNITS)};
    compete(&arena, play_sem);
    nxt_expect_eq(nx_sem_acquire(&arena.sem, UNITS, NX_POLL), 0);
    nxt_expect_eq(nx_sem_acquire(&arena.sem, 1, NX_POLL), -EAGAIN);
}

/* ---- condition: a bounded queue of nothing but its length ---- */

static void put_in(struct arena *arena, nx_time deadline)
{
    int error = 0;
    while (arena->queued == QUEUE_MAX && error == 0)
        error = nx_cond_wait(&arena->not_full, &arena->mutex, deadline);
    if (arena->queued == QUEUE_MAX) {
        nxt_expect(is_give_up(error));
        return;
    }
    arena->queued++;
    atomic_fetch_add(&arena->put_in, 1);
    nx_cond_signal(&arena->not_empty);
}

static void take_out(struct arena *arena, nx_time deadline)
{
    int error = 0;
    while (arena->queued == 0 && error == 0)
        error = nx_cond_wait(&arena->not_empty, &arena->mutex, deadline);
    if (arena->queued == 0) {
        nxt_expect(is_give_up(error));
        return;
    }
    arena->queued--;
    atomic_fetch_add(&arena->taken_out, 1);
    nx_cond_signal(&arena->not_full);
}

/* All deadlines are finite: at the end nobody might come any more. */
static void play_cond(struct arena *arena, nx_time deadline, uint64_t *random)
{
    if (nx_mutex_lock(&arena->mutex, NX_FOREVER) < 0)
        return;
    if (deadline == NX_FOREVER)
        deadline = nx_after_ms(3);
    if (nxt_random(random) % 2)
        put_in(arena, deadline);
    else
        take_out(arena, deadline);
    nxt_expect_eq(nx_mutex_unlock(&arena->mutex), 0);
}

NXT_TASK_TEST(conditions_keep_a_bounded_queue_in_order, .workers = 2)
{
    struct arena arena = {.rounds = nxt_scaled(4000, 200)};
    compete(&arena, play_cond);
    nxt_expect_eq(atomic_load(&arena.put_in), atomic_load(&arena.taken_out) + arena.queued);
    nxt_expect_gt(atomic_load(&arena.taken_out), 0);
}

/* A signal is never lost: two that take turns by it get through. */
struct turns {
    nx_mutex mutex;
    nx_cond cond;
    int64_t turn, rounds;
};

static intptr_t take_turns(void *arg)
{
    struct turns *turns = arg;
    nxt_expect_eq(nx_mutex_lock(&turns->mutex, NX_FOREVER), 0);
    while (turns->turn < turns->rounds) {
        turns->turn++;
        nx_cond_signal(&turns->cond);
        if (turns->turn < turns->rounds)
            nxt_expect_eq(nx_cond_wait(&turns->cond, &turns->mutex, NX_FOREVER), 0);
    }
    nx_cond_broadcast(&turns->cond);
    return nx_mutex_unlock(&turns->mutex);
}

NXT_TASK_TEST(no_signal_is_lost_between_a_thread_and_tasks, .workers = 2)
{
    struct turns turns = {.rounds = nxt_scaled(10000, 300)};
    struct nxt_thread *thread = nxt_thread_start(take_turns, &turns);
    nx_task tasks[2];
    for (int i = 0; i < 2; i++)
        tasks[i] = nxt_task_on(i, take_turns, &turns);
    for (int i = 0; i < 2; i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
    nxt_expect_eq(nxt_thread_await(thread), 0);
    nxt_expect_eq(turns.turn, turns.rounds);
}

/* ---- notify: with a set for each pass that was asked for, all get through ---- */

static void play_notify(struct arena *arena, nx_time deadline, uint64_t *random)
{
    if (nxt_random(random) % 2) {
        atomic_fetch_add(&arena->sets, 1);
        nx_event_set(&arena->notify);
    } else {
        int error = nx_event_wait(&arena->notify, deadline == NX_FOREVER ? nx_after_ms(2) : deadline);
        if (error == 0)
            nxt_expect_le(atomic_fetch_add(&arena->passes, 1) + 1, atomic_load(&arena->sets));
        else
            nxt_expect(is_give_up(error));
    }
}

NXT_TASK_TEST(a_notify_lets_no_more_pass_than_there_were_sets, .workers = 2)
{
    struct arena arena = {.rounds = nxt_scaled(5000, 300), .notify = NX_EVENT_AUTO_INIT};
    compete(&arena, play_notify);
    int64_t left = nx_event_wait(&arena.notify, NX_POLL) == 0;
    nxt_expect_le(atomic_load(&arena.passes) + left, atomic_load(&arena.sets));
    nxt_expect_gt(atomic_load(&arena.passes), 0);
}

/* ---- fairness ---- */

struct contender {
    nx_mutex *mutex;
    atomic_bool *over;
    _Atomic int64_t count;
    bool yields; /* while it has the mutex */
};

static intptr_t contend(void *arg)
{
    struct contender *contender = arg;
    while (!atomic_load(contender->over)) {
        nxt_expect_eq(nx_mutex_lock(contender->mutex, NX_FOREVER), 0);
        atomic_fetch_add(&contender->count, 1);
        if (contender->yields)
            nx_yield();
        nxt_expect_eq(nx_mutex_unlock(contender->mutex), 0);
    }
    return 0;
}

static bool all_have(struct contender *contenders, int64_t least)
{
    for (int i = 0; i < TASKS; i++)
        if (atomic_load(&contenders[i].count) < least)
            return false;
    return true;
}

/* Ends when each has had the mutex often enough: a starving one would never end it. */
static void contend_until_all_have(int workers, bool yields, int64_t least, bool evenly)
{
    nx_mutex mutex = NX_MUTEX_INIT;
    atomic_bool over = false;
    struct contender contenders[TASKS];
    nx_task tasks[TASKS];
    for (int i = 0; i < TASKS; i++) {
        contenders[i] = (struct contender){&mutex, &over, 0, yields};
        tasks[i] = nxt_task_on(i % workers, contend, &contenders[i]);
    }
    nxt_await(all_have(contenders, least));
    atomic_store(&over, true);
    int64_t total = 0;
    for (int i = 0; i < TASKS; i++) {
        nxt_result(tasks[i]);
        total += atomic_load(&contenders[i].count);
    }
    for (int i = 0; i < TASKS && evenly; i++)
        nxt_expect_ge(atomic_load(&contenders[i].count) * TASKS * 2, total); /* at least half its share */
}

NXT_TASK_TEST(none_of_eight_contenders_starves, .workers = 2)
{
    contend_until_all_have(2, false, nxt_scaled(2000, 100), false);
    contend_until_all_have(2, true, nxt_scaled(500, 50), false);
}

NXT_TASK_TEST(contenders_that_hold_it_over_a_wait_get_equal_shares)
{
    contend_until_all_have(1, true, nxt_scaled(1000, 100), true);
}
