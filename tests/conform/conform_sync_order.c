/* conform_sync_order.c: locks, semaphores, conditions, events and their like: who is served, and when. */
#include "nxt_net.h"
#include <nexus/select.h>
#include <nexus/sync.h>

/* Somebody who takes a lock, notes when, and holds it until he may go. */
struct holder {
    nx_rwlock *rwlock;
    bool writes;
    nx_time deadline;
    atomic_int *turn;
    int mine; /* the turn he had */
    nx_event go;
    nx_task task;
};

static intptr_t hold(void *arg)
{
    struct holder *holder = arg;
    int error = holder->writes ? nx_rwlock_wrlock(holder->rwlock, holder->deadline)
                               : nx_rwlock_rdlock(holder->rwlock, holder->deadline);
    if (error < 0)
        return error;
    holder->mine = atomic_fetch_add(holder->turn, 1) + 1;
    nx_event_wait(&holder->go, NX_FOREVER);
    return nx_rwlock_unlock(holder->rwlock);
}

static void start_holder(struct holder *holder, nx_rwlock *rwlock, bool writes, atomic_int *turn)
{
    *holder = (struct holder){.rwlock = rwlock, .writes = writes, .deadline = NX_FOREVER, .turn = turn};
    holder->task = nxt_task_on(0, hold, holder);
    nxt_await_parked(holder->task);
}

static void let_go(struct holder *holder)
{
    nx_event_set(&holder->go);
    nxt_expect_eq(nxt_result(holder->task), 0);
}

NXT_TASK_TEST(readers_share_and_a_waiting_writer_goes_before_those_that_come_later)
{
    nx_rwlock rwlock = NX_RWLOCK_INIT;
    atomic_int turn = 0;
    struct holder early[2], writer, late[2], last;
    start_holder(&early[0], &rwlock, false, &turn);
    start_holder(&early[1], &rwlock, false, &turn);
    nxt_expect_eq(atomic_load(&turn), 2);
    start_holder(&writer, &rwlock, true, &turn);
    start_holder(&late[0], &rwlock, false, &turn);
    start_holder(&late[1], &rwlock, false, &turn);
    start_holder(&last, &rwlock, true, &turn);
    nxt_expect_eq(nx_rwlock_rdlock(&rwlock, NX_POLL), -EAGAIN);
    let_go(&early[0]);
    nxt_expect_eq(atomic_load(&turn), 2);
    let_go(&early[1]);
    nxt_await(atomic_load(&turn) == 3);
    nxt_expect_eq(writer.mine, 3);
    let_go(&writer);
    nxt_await(atomic_load(&turn) == 5); /* both late readers at once */
    nxt_expect(late[0].mine > 3 && late[1].mine > 3);
    let_go(&late[1]);
    let_go(&late[0]);
    let_go(&last);
    nxt_expect_eq(last.mine, 6);
}

NXT_TASK_TEST(a_writer_that_gives_up_lets_the_readers_behind_it_go_on)
{
    for (int cancels = 0; cancels < 2; cancels++) {
        nx_rwlock rwlock = NX_RWLOCK_INIT;
        atomic_int turn = 0;
        struct holder first, reader,
            writer = {
                .rwlock = &rwlock, .writes = true, .turn = &turn, .deadline = cancels ? NX_FOREVER : nx_after_ms(5)};
        start_holder(&first, &rwlock, false, &turn);
        writer.task = nxt_task_on(0, hold, &writer);
        nxt_await_parked(writer.task);
        start_holder(&reader, &rwlock, false, &turn);
        if (cancels)
            nx_cancel(writer.task);
        nxt_expect_eq(nxt_result(writer.task), cancels ? -ECANCELED : -ETIMEDOUT);
        nxt_await(atomic_load(&turn) == 2);
        let_go(&reader);
        let_go(&first);
    }
}

/* ---- semaphore ---- */

struct taker {
    nx_sem *sem;
    uint32_t n;
    nx_time deadline;
    atomic_int *turn;
    int mine;
};

static intptr_t take(void *arg)
{
    struct taker *taker = arg;
    int error = nx_sem_acquire(taker->sem, taker->n, taker->deadline);
    taker->mine = error < 0 ? -1 : atomic_fetch_add(taker->turn, 1) + 1;
    return error;
}

static nx_task start_taker(struct taker *taker)
{
    nx_task task = nxt_task_on(0, take, taker);
    nxt_await_parked(task);
    return task;
}

NXT_TASK_TEST(who_asks_for_much_is_not_overtaken_by_who_asks_for_little)
{
    nx_sem sem = NX_SEM_INIT(1);
    atomic_int turn = 0;
    struct taker much = {&sem, 3, NX_FOREVER, &turn, 0}, little = {&sem, 1, NX_FOREVER, &turn, 0};
    nx_task first = start_taker(&much), second = start_taker(&little);
    nxt_expect_eq(nx_sem_acquire(&sem, 1, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_sem_release(&sem, 1), 0);
    nxt_expect_eq(nx_join(second, NULL, nx_after_ms(1)), -ETIMEDOUT);
    nxt_expect_eq(nx_sem_release(&sem, 2), 0);
    nxt_expect_eq(nxt_result(first), 0);
    nxt_expect_eq(nxt_result(second), 0);
    nxt_expect(much.mine == 1 && little.mine == 2);
    nxt_expect_eq(nx_sem_acquire(&sem, 1, NX_POLL), -EAGAIN);
}

NXT_TASK_TEST(who_asked_for_too_much_and_gives_up_lets_those_behind_go_on)
{
    for (int cancels = 0; cancels < 2; cancels++) {
        nx_sem sem = NX_SEM_INIT(1);
        atomic_int turn = 0;
        struct taker much = {&sem, 3, cancels ? NX_FOREVER : nx_after_ms(5), &turn, 0};
        struct taker little = {&sem, 1, NX_FOREVER, &turn, 0};
        nx_task first = start_taker(&much), second = start_taker(&little);
        if (cancels)
            nx_cancel(first);
        nxt_expect_eq(nxt_result(first), cancels ? -ECANCELED : -ETIMEDOUT);
        nxt_expect_eq(nxt_result(second), 0);
    }
}

/* ---- condition ---- */

struct sleeper {
    nx_mutex *mutex;
    nx_cond *cond;
    atomic_int *turn;
    int mine;
};

static intptr_t sleep_once(void *arg)
{
    struct sleeper *sleeper = arg;
    nxt_expect_eq(nx_mutex_lock(sleeper->mutex, NX_FOREVER), 0);
    int error = nx_cond_wait(sleeper->cond, sleeper->mutex, NX_FOREVER);
    sleeper->mine = atomic_fetch_add(sleeper->turn, 1) + 1;
    nxt_expect_eq(nx_mutex_unlock(sleeper->mutex), 0);
    return error;
}

NXT_TASK_TEST(a_signal_wakes_one_the_longest_waiting_and_a_broadcast_all, .workers = 2)
{
    nx_mutex mutex = NX_MUTEX_INIT;
    nx_cond cond = NX_COND_INIT;
    atomic_int turn = 0;
    struct sleeper sleepers[5];
    nx_task tasks[5];
    nx_cond_signal(&cond); /* remembered by nobody */
    nx_cond_broadcast(&cond);
    for (int i = 0; i < 5; i++) {
        sleepers[i] = (struct sleeper){&mutex, &cond, &turn, 0};
        tasks[i] = nxt_task_on(i % 2, sleep_once, &sleepers[i]);
        nxt_await_parked(tasks[i]);
    }
    nxt_expect_eq(nx_mutex_lock(&mutex, NX_FOREVER), 0);
    nx_cond_signal(&cond);
    nx_cond_signal(&cond);
    nxt_expect_eq(atomic_load(&turn), 0); /* they have yet to get the mutex */
    nxt_expect_eq(nx_mutex_unlock(&mutex), 0);
    nxt_expect_eq(nxt_result(tasks[0]), 0);
    nxt_expect_eq(nxt_result(tasks[1]), 0);
    nxt_expect_eq(sleepers[0].mine + sleepers[1].mine, 3);
    for (int i = 2; i < 5; i++)
        nxt_expect_eq(nx_join(tasks[i], NULL, NX_POLL), -EAGAIN);
    nx_cond_broadcast(&cond);
    for (int i = 2; i < 5; i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
    nxt_expect_eq(atomic_load(&turn), 5);
}

struct late_sleeper {
    nx_mutex mutex;
    nx_cond cond;
    int64_t patience; /* ms */
    atomic_int returned;
};

static intptr_t sleep_past_deadline(void *arg)
{
    struct late_sleeper *sleeper = arg;
    nxt_expect_eq(nx_mutex_lock(&sleeper->mutex, NX_FOREVER), 0);
    int error = nx_cond_wait(&sleeper->cond, &sleeper->mutex, nx_after_ms(sleeper->patience));
    atomic_store(&sleeper->returned, 1);
    nxt_expect_eq(nx_mutex_unlock(&sleeper->mutex), 0);
    return error;
}

/* Whether the mutex was had before the sleeper gave up: only then does it show anything. */
static bool outsleep(int64_t patience, bool cancels)
{
    struct late_sleeper sleeper = {NX_MUTEX_INIT, NX_COND_INIT, patience, 0};
    nx_task task = nxt_task_on(1, sleep_past_deadline, &sleeper);
    nxt_await_parked(task);
    nxt_expect_eq(nx_mutex_lock(&sleeper.mutex, NX_FOREVER), 0);
    bool had = atomic_load(&sleeper.returned) == 0;
    if (had) {
        if (cancels)
            nx_cancel(task);
        nx_sleep_ms(2 * patience); /* it has given up by now, or will yet: it must not return */
        nxt_expect_eq(atomic_load(&sleeper.returned), 0);
    }
    nxt_expect_eq(nx_mutex_unlock(&sleeper.mutex), 0);
    intptr_t result = nxt_result(task);
    nxt_expect(result == -ETIMEDOUT || (cancels && result == -ECANCELED));
    return had;
}

NXT_TASK_TEST(a_condition_gives_the_mutex_back_past_deadline_and_cancel, .workers = 2)
{
    for (int cancels = 0; cancels < 2; cancels++) {
        int64_t patience = 5;
        while (!outsleep(patience, cancels)) /* a machine so busy that the deadline came first */
            nxt_require((patience *= 2) < 2000);
    }
}

/* ---- event ---- */

static intptr_t pass(void *arg)
{
    return nx_event_wait(arg, NX_FOREVER);
}

NXT_TASK_TEST(an_event_stays_set_until_it_is_cleared, .workers = 2)
{
    nx_event event = NX_EVENT_INIT;
    nx_task tasks[6];
    for (int i = 0; i < 6; i++) {
        tasks[i] = nxt_task_on(i % 2, pass, &event);
        nxt_await_parked(tasks[i]);
    }
    nxt_expect(!nx_event_is_set(&event));
    nx_event_set(&event);
    nxt_expect(nx_event_is_set(&event));
    for (int i = 0; i < 6; i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
    nxt_expect_eq(nx_event_wait(&event, NX_POLL), 0);
    nxt_expect_eq(nx_event_wait(&event, NX_POLL), 0);
    nx_event_clear(&event);
    nxt_expect(!nx_event_is_set(&event));
    nxt_expect_eq(nx_event_wait(&event, NX_POLL), -EAGAIN);
}

NXT_TASK_TEST(an_automatic_event_lets_one_pass_for_each_set, .workers = 2)
{
    nx_event event = NX_EVENT_AUTO_INIT;
    nx_task tasks[2];
    nx_event_set(&event);
    nx_event_set(&event); /* one in advance, not two */
    nxt_expect(nx_event_is_set(&event));
    nxt_expect_eq(nx_event_wait(&event, NX_POLL), 0);
    nxt_expect(!nx_event_is_set(&event));
    nxt_expect_eq(nx_event_wait(&event, NX_POLL), -EAGAIN);
    for (int i = 0; i < 2; i++) {
        tasks[i] = nxt_task_on(i, pass, &event);
        nxt_await_parked(tasks[i]);
    }
    nx_event_set(&event);
    nxt_expect(!nx_event_is_set(&event)); /* it is the first waiter's */
    nxt_expect_eq(nxt_result(tasks[0]), 0);
    nxt_expect_eq(nx_join(tasks[1], NULL, NX_POLL), -EAGAIN);
    nx_event_set(&event);
    nxt_expect_eq(nxt_result(tasks[1]), 0);
}

struct selecting {
    nx_event *first, *second;
};

static intptr_t select_two(void *arg)
{
    const struct selecting *selecting = arg;
    nx_case cases[] = {NX_CASE_EVENT(selecting->first), NX_CASE_EVENT(selecting->second)};
    return nx_selectv(cases, 2, 0, NX_FOREVER);
}

NXT_TASK_TEST(an_automatic_event_passes_over_a_select_that_another_has_won, .workers = 2)
{
    nx_event event = NX_EVENT_AUTO_INIT, other = NX_EVENT_AUTO_INIT;
    struct selecting selecting = {&event, &other};
    nx_task chooser = nxt_task_on(0, select_two, &selecting);
    nxt_await_parked(chooser);
    nx_task waiter = nxt_task_on(1, pass, &event);
    nxt_await_parked(waiter);
    nx_event_set(&other);
    nx_event_set(&event); /* the select is still in the list, in front */
    nxt_expect_eq(nxt_result(chooser), 1);
    nxt_expect_eq(nxt_result(waiter), 0);
    nxt_expect(!nx_event_is_set(&event));
    chooser = nxt_task_on(0, select_two, &selecting);
    nxt_await_parked(chooser);
    nx_event_set(&event);
    nxt_expect_eq(nxt_result(chooser), 0);
    nxt_expect_eq(nx_event_wait(&event, NX_POLL), -EAGAIN); /* consumed */
}

/* ---- barrier ---- */

#define PARTIES 4

struct rounds {
    nx_barrier barrier;
    int64_t count;
    _Atomic int64_t arrived, leaders;
};

static intptr_t play_rounds(void *arg)
{
    struct rounds *rounds = arg;
    for (int64_t round = 0; round < rounds->count; round++) {
        atomic_fetch_add(&rounds->arrived, 1);
        int result = nx_barrier_wait(&rounds->barrier, NX_FOREVER);
        nxt_require(result == 0 || result == 1, -1);
        atomic_fetch_add(&rounds->leaders, result);
        nxt_expect_ge(atomic_load(&rounds->arrived), (round + 1) * PARTIES); /* nobody is let go early */
    }
    return 0;
}

NXT_TASK_TEST(a_barrier_lets_each_round_go_together, .workers = 2)
{
    struct rounds rounds = {.barrier = NX_BARRIER_INIT(PARTIES), .count = nxt_scaled(2000, 100)};
    struct nxt_thread *thread = nxt_thread_start(play_rounds, &rounds);
    nx_task tasks[PARTIES - 1];
    for (int i = 0; i < PARTIES - 1; i++)
        tasks[i] = nxt_task_on(i % 2, play_rounds, &rounds);
    for (int i = 0; i < PARTIES - 1; i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
    nxt_expect_eq(nxt_thread_await(thread), 0);
    nxt_expect_eq(atomic_load(&rounds.leaders), rounds.count);
}

NXT_TASK_TEST(who_gives_up_at_a_barrier_has_not_arrived)
{
    struct rounds rounds = {.barrier = NX_BARRIER_INIT(2)};
    nxt_expect_eq(nx_barrier_wait(&rounds.barrier, nx_after_ms(1)), -ETIMEDOUT);
    nxt_expect_eq(nx_barrier_wait(&rounds.barrier, NX_POLL), -EAGAIN);
}

/* ---- once ---- */

struct making {
    nx_once once;
    int failures; /* so many calls fail */
    atomic_int calls, inside;
};

static int make(void *arg)
{
    struct making *making = arg;
    nxt_expect_eq(atomic_fetch_add(&making->inside, 1), 0);
    nx_sleep_ms(1); /* it may park; a thread's returns at once */
    atomic_fetch_sub(&making->inside, 1);
    return atomic_fetch_add(&making->calls, 1) < making->failures ? -EIO : 0;
}

static intptr_t make_once(void *arg)
{
    struct making *making = arg;
    return nx_once_run(&making->once, make, making, NX_FOREVER);
}

NXT_TASK_TEST(once_is_once_and_a_failure_is_tried_again_by_the_next, .workers = 2)
{
    for (int failures = 0; failures <= 3; failures++) {
        struct making making = {.once = NX_ONCE_INIT, .failures = failures};
        struct nxt_thread *thread = nxt_thread_start(make_once, &making);
        nx_task tasks[6];
        for (int i = 0; i < 6; i++)
            tasks[i] = nxt_task_on(i % 2, make_once, &making);
        int failed = 0;
        for (int i = 0; i < 6; i++)
            failed += nxt_result(tasks[i]) == -EIO;
        failed += nxt_thread_await(thread) == -EIO;
        nxt_expect_eq(failed, failures);
        nxt_expect_eq(atomic_load(&making.calls), failures + 1);
        nxt_expect_eq(nx_once_run(&making.once, make, &making, NX_FOREVER), 0);
        nxt_expect_eq(atomic_load(&making.calls), failures + 1);
    }
}
