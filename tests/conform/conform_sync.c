/* conform_sync.c: mutex, rwlock, condition, semaphore, event, wait group, barrier, once: what each promises. */
#include "nxt_net.h"
#include <nexus/select.h>
#include <nexus/sync.h>
#include <stdlib.h>

/* All zeros, so that what is tested is also that this is the initialiser. */
static nx_mutex mutex, cond_mutex;
static nx_rwlock rwlock;
static nx_cond cond;
static nx_sem sem;
static nx_event event, notify = NX_EVENT_AUTO_INIT, release_once;
static nx_waitgroup group;
static nx_barrier barrier = NX_BARRIER_INIT(2);
static nx_once once;

/* ---- every wait there is: nobody can pass when it is busy; one can when it has been freed ---- */

struct kind {
    const char *name;
    void (*busy)(void);
    void (*free_)(void);           /* lets one that waits pass */
    int (*wait)(nx_time deadline); /* and, after 0, gives back */
    bool again;                    /* free_ only reaches who waits already: may be repeated */
};

static void lock_mutex(void)
{
    nxt_expect_eq(nx_mutex_lock(&mutex, NX_FOREVER), 0);
}

static void unlock_mutex(void)
{
    nxt_expect_eq(nx_mutex_unlock(&mutex), 0);
}

static int wait_mutex(nx_time deadline)
{
    int error = nx_mutex_lock(&mutex, deadline);
    return error < 0 ? error : nx_mutex_unlock(&mutex);
}

static void lock_write(void)
{
    nxt_expect_eq(nx_rwlock_wrlock(&rwlock, NX_FOREVER), 0);
}

static void lock_read(void)
{
    nxt_expect_eq(nx_rwlock_rdlock(&rwlock, NX_FOREVER), 0);
}

static void unlock_rwlock(void)
{
    nxt_expect_eq(nx_rwlock_unlock(&rwlock), 0);
}

static int wait_read(nx_time deadline)
{
    int error = nx_rwlock_rdlock(&rwlock, deadline);
    return error < 0 ? error : nx_rwlock_unlock(&rwlock);
}

static int wait_write(nx_time deadline)
{
    int error = nx_rwlock_wrlock(&rwlock, deadline);
    return error < 0 ? error : nx_rwlock_unlock(&rwlock);
}

static void nothing(void)
{
}

static void signal_cond(void)
{
    nx_cond_signal(&cond);
}

static void broadcast_cond(void)
{
    nx_cond_broadcast(&cond);
}

/* Locks even in a cancelled task, which nx_mutex_lock does not. */
static void lock_for_cond(void)
{
    nx_time shield = nx_shield(NX_FOREVER);
    nxt_expect_eq(nx_mutex_lock(&cond_mutex, NX_FOREVER), 0);
    nx_shield(shield);
}

static int wait_cond(nx_time deadline)
{
    lock_for_cond();
    int error = nx_cond_wait(&cond, &cond_mutex, deadline);
    nxt_expect_eq(nx_mutex_unlock(&cond_mutex), 0); /* it has the mutex, whatever has happened */
    return error;
}

static void put_one(void)
{
    nxt_expect_eq(nx_sem_acquire(&sem, 1, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_sem_release(&sem, 1), 0);
}

static void put_another(void)
{
    nxt_expect_eq(nx_sem_release(&sem, 1), 0);
}

static int wait_sem(nx_time deadline)
{
    int error = nx_sem_acquire(&sem, 2, deadline);
    return error; /* not given back: the next case finds 0 again */
}

static void clear_event(void)
{
    nx_event_clear(&event);
}

static void set_event(void)
{
    nx_event_set(&event);
}

static int wait_event(nx_time deadline)
{
    return nx_event_wait(&event, deadline);
}

static void set_notify(void)
{
    nx_event_set(&notify);
}

static int wait_notify(nx_time deadline)
{
    return nx_event_wait(&notify, deadline);
}

static void add_two(void)
{
    nxt_expect_eq(nx_waitgroup_add(&group, 2), 0);
}

static void two_done(void)
{
    nxt_expect_eq(nx_waitgroup_done(&group), 0);
    nxt_expect_eq(nx_waitgroup_done(&group), 0);
}

static int wait_group(nx_time deadline)
{
    return nx_waitgroup_wait(&group, deadline);
}

static void arrive(void)
{
    nxt_expect_ge(nx_barrier_wait(&barrier, NX_FOREVER), 0);
}

static int wait_barrier(nx_time deadline)
{
    int result = nx_barrier_wait(&barrier, deadline);
    return result == 1 ? 0 : result;
}

static nx_task once_runner;

static int run_long(void *arg)
{
    (void)arg;
    return nx_event_wait(&release_once, NX_FOREVER);
}

static int never_called(void *arg)
{
    (void)arg;
    return nxt_fail(__FILE__, __LINE__, "called again");
}

static intptr_t run_once(void *arg)
{
    (void)arg;
    return nx_once_run(&once, run_long, NULL, NX_FOREVER);
}

static void start_once(void)
{
    once = (nx_once)NX_ONCE_INIT;
    nx_event_clear(&release_once);
    once_runner = nx_spawn(run_once, NULL);
    nxt_await_parked(once_runner);
}

static void finish_once(void)
{
    nx_event_set(&release_once);
    nxt_expect_eq(nxt_result(once_runner), 0);
}

static int wait_once(nx_time deadline)
{
    return nx_once_run(&once, never_called, NULL, deadline);
}

static const struct kind kinds[] = {
    {"mutex", lock_mutex, unlock_mutex, wait_mutex, false},
    {"reader", lock_write, unlock_rwlock, wait_read, false},
    {"writer", lock_read, unlock_rwlock, wait_write, false},
    {"condition, signalled", nothing, signal_cond, wait_cond, true},
    {"condition, broadcast", nothing, broadcast_cond, wait_cond, true},
    {"semaphore", put_one, put_another, wait_sem, false},
    {"event", clear_event, set_event, wait_event, false},
    {"notify", nothing, set_notify, wait_notify, false},
    {"wait group", add_two, two_done, wait_group, false},
    {"barrier", nothing, arrive, wait_barrier, false},
    {"once", start_once, finish_once, wait_once, false},
};

struct wait {
    const struct kind *kind;
    nx_time deadline;
    bool cancelled;
};

static intptr_t run_wait(void *arg)
{
    const struct wait *wait = arg;
    if (wait->cancelled)
        nx_cancel(nx_self());
    return wait->kind->wait(wait->deadline);
}

static void each_kind(void (*check)(const struct kind *kind))
{
    for (size_t i = 0; i < NXT_COUNT(kinds) && nxt_failures() == 0; i++) {
        check(&kinds[i]);
        if (nxt_failures() > 0)
            nxt_fail(__FILE__, __LINE__, "with a %s", kinds[i].name);
    }
}

static intptr_t wait_in_task(const struct kind *kind, int worker, nx_time deadline, bool cancelled)
{
    struct wait wait = {kind, deadline, cancelled};
    return nxt_result(nxt_task_on(worker, run_wait, &wait));
}

static void check_tries(const struct kind *kind)
{
    kind->busy();
    for (int worker = 0; worker < 2; worker++) {
        nxt_expect_eq(wait_in_task(kind, worker, NX_POLL, false), -EAGAIN);
        nxt_expect_eq(wait_in_task(kind, worker, 1, false), -ETIMEDOUT);
        nxt_expect_eq(wait_in_task(kind, worker, nx_after_ms(2), false), -ETIMEDOUT);
        nxt_expect_eq(wait_in_task(kind, worker, NX_FOREVER, true), -ECANCELED);
    }
    struct wait wait = {kind, NX_FOREVER, false};
    nx_task task = nxt_task_on(1, run_wait, &wait);
    nxt_await_parked(task);
    nxt_expect_eq(nx_join(task, NULL, NX_POLL), -EAGAIN);
    kind->free_();
    nxt_expect_eq(nxt_result(task), 0);
}

NXT_TASK_TEST(who_gives_up_has_taken_nothing_and_who_waits_is_served, .workers = 2)
{
    each_kind(check_tries);
    each_kind(check_tries); /* nothing of the first time is left behind */
}

static void check_cancel(const struct kind *kind)
{
    kind->busy();
    struct wait wait = {kind, NX_FOREVER, false};
    nx_task lasting = nxt_task_on(0, run_wait, &wait);
    nxt_await_parked(lasting);
    for (int worker = 0; worker < 2 && wait.kind->wait != wait_barrier; worker++) { /* it has but one place to wait */
        nx_task cancelled = nxt_task_on(worker, run_wait, &wait);
        nxt_await_parked(cancelled);
        nx_cancel(cancelled);
        nxt_expect_eq(nxt_result(cancelled), -ECANCELED);
    }
    nxt_expect_eq(nx_join(lasting, NULL, NX_POLL), -EAGAIN);
    kind->free_();
    nxt_expect_eq(nxt_result(lasting), 0);
}

NXT_TASK_TEST(a_cancelled_waiter_takes_nothing_and_hits_nobody_else, .workers = 2)
{
    each_kind(check_cancel);
}

static void check_cancelled_first(const struct kind *kind)
{
    kind->busy();
    struct wait wait = {kind, NX_FOREVER, false};
    nx_task first = nxt_task_on(0, run_wait, &wait);
    nxt_await_parked(first);
    nx_cancel(first);
    nxt_expect_eq(nxt_result(first), -ECANCELED);
    nx_task second = nxt_task_on(1, run_wait, &wait);
    nxt_await_parked(second);
    kind->free_();
    nxt_expect_eq(nxt_result(second), 0);
}

NXT_TASK_TEST(a_cancelled_first_in_line_does_not_block_the_next, .workers = 2)
{
    each_kind(check_cancelled_first);
}

static void check_thread(const struct kind *kind)
{
    kind->busy();
    nx_time deadlines[] = {NX_POLL, 1, nx_after_ms(3), NX_FOREVER};
    static const int results[] = {-EAGAIN, -ETIMEDOUT, -ETIMEDOUT, 0};
    for (int i = 0; i < 4; i++) {
        struct wait wait = {kind, deadlines[i], false};
        struct nxt_thread *thread = nxt_thread_start(run_wait, &wait);
        if (i == 3 && !kind->again)
            kind->free_();
        nxt_await(nxt_thread_ended(thread) || (i == 3 && kind->again && (kind->free_(), false)));
        nxt_expect_eq(nxt_thread_join(thread), results[i]);
    }
}

NXT_TASK_TEST(a_thread_waits_as_a_task_does)
{
    each_kind(check_thread);
}

/* No runtime is up: nothing but threads. */
NXT_TEST(threads_need_no_runtime)
{
    for (size_t i = 0; i < NXT_COUNT(kinds); i++)
        if (kinds[i].busy != start_once) /* that one spawns */
            check_thread(&kinds[i]);
}

/* ---- misuse ---- */

static intptr_t unlock_as_thread(void *arg)
{
    (void)arg;
    nxt_expect_eq(nx_mutex_unlock(&mutex), -EPERM);
    nxt_expect_eq(nx_rwlock_unlock(&rwlock), -EPERM);
    nxt_expect_eq(nx_cond_wait(&cond, &mutex, NX_FOREVER), -EPERM);
    return 0;
}

NXT_TASK_TEST(a_mutex_knows_who_has_it)
{
    nxt_expect_eq(nx_mutex_unlock(&mutex), -EPERM);
    lock_mutex();
    lock_write();
    nxt_expect_eq(nx_mutex_lock(&mutex, NX_FOREVER), -EDEADLK);
    nxt_expect_eq(nx_rwlock_wrlock(&rwlock, NX_FOREVER), -EDEADLK);
    nxt_expect_eq(nx_rwlock_rdlock(&rwlock, NX_FOREVER), -EDEADLK);
    nxt_thread_await(nxt_thread_start(unlock_as_thread, NULL));
    nx_task task = nx_spawn(unlock_as_thread, NULL);
    nxt_require(task > 0);
    nxt_result(task);
    unlock_mutex();
    unlock_rwlock();
    nxt_expect_eq(nx_mutex_unlock(&mutex), -EPERM);
    nxt_expect_eq(nx_rwlock_unlock(&rwlock), -EPERM);
    nxt_expect_eq(nx_cond_wait(&cond, &mutex, NX_FOREVER), -EPERM);
}

NXT_TASK_TEST(misuse_has_its_codes)
{
    nx_sem full = NX_SEM_INIT(UINT64_MAX);
    nx_barrier nobody = NX_BARRIER_INIT(0);
    nx_waitgroup many = NX_WAITGROUP_INIT;
    nxt_expect_eq(nx_mutex_lock(NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_mutex_unlock(NULL), -EINVAL);
    nxt_expect_eq(nx_rwlock_rdlock(NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_rwlock_wrlock(NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_rwlock_unlock(NULL), -EINVAL);
    nxt_expect_eq(nx_cond_wait(&cond, NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_cond_wait(NULL, &mutex, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_sem_acquire(NULL, 1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_sem_release(NULL, 1), -EINVAL);
    nxt_expect_eq(nx_sem_release(&full, 1), -EOVERFLOW);
    nxt_expect_eq(nx_sem_acquire(&full, 1, NX_POLL), 0);
    nxt_expect_eq(nx_sem_release(&full, 1), 0);
    nxt_expect_eq(nx_sem_acquire(&sem, 0, NX_FOREVER), 0);
    nxt_expect_eq(nx_event_wait(NULL, NX_FOREVER), -EINVAL);
    nxt_expect(!nx_event_is_set(NULL));
    nxt_expect_eq(nx_waitgroup_add(NULL, 1), -EINVAL);
    nxt_expect_eq(nx_waitgroup_done(NULL), -EINVAL);
    nxt_expect_eq(nx_waitgroup_wait(NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_waitgroup_done(&many), -EPERM);
    many.count = UINT64_MAX - 1;
    nxt_expect_eq(nx_waitgroup_add(&many, 2), -EOVERFLOW);
    nxt_expect_eq(nx_waitgroup_add(&many, 1), 0);
    nxt_expect_eq(nx_barrier_wait(NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_barrier_wait(&nobody, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_once_run(NULL, never_called, NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_once_run(&once, NULL, NULL, NX_FOREVER), -EINVAL);
}

/* ---- functions that panic, objects that go ---- */

static nx_once shaky;
static atomic_int tries;

static int panic_once(void *arg)
{
    (void)arg;
    nxt_expect_eq(nx_event_wait(&release_once, NX_FOREVER), 0);
    if (atomic_fetch_add(&tries, 1) == 0)
        nx_panic("once");
    return 0;
}

static intptr_t run_shaky(void *arg)
{
    (void)arg;
    return nx_once_run(&shaky, panic_once, NULL, NX_FOREVER);
}

NXT_TASK_TEST(a_once_whose_function_panics_is_tried_by_the_next, .workers = 2, .on_panic = NX_PANIC_ISOLATE)
{
    for (int waiters = 0; waiters <= 3; waiters++) {
        nx_task others[3];
        shaky = (nx_once)NX_ONCE_INIT;
        atomic_store(&tries, 0);
        nx_event_clear(&release_once);
        nx_task first = nxt_task_on(0, run_shaky, NULL);
        nxt_await_parked(first);
        for (int i = 0; i < waiters; i++) {
            others[i] = nxt_task_on(i % 2, run_shaky, NULL);
            nxt_await_parked(others[i]);
        }
        nx_event_set(&release_once);
        nxt_expect_eq(nx_join(first, NULL, NX_FOREVER), -NX_EPANIC);
        nxt_expect_eq(nx_detach(first), 0);
        for (int i = 0; i < waiters; i++)
            nxt_expect_eq(nxt_result(others[i]), 0);
        nxt_expect_eq(run_shaky(NULL), 0);
        nxt_expect_eq(atomic_load(&tries), 2);
        nxt_expect_eq(run_shaky(NULL), 0);
        nxt_expect_eq(atomic_load(&tries), 2);
    }
}

static intptr_t set_mine(void *arg)
{
    nx_event_set(arg);
    return 0;
}

/* Under the sanitizers: the setter is through with the event when a wait has seen it set. */
NXT_TASK_TEST(an_event_may_go_when_its_waiter_has_passed, .workers = 2)
{
    for (int64_t i = nxt_scaled(2000, 100); i > 0; i--) {
        nx_event *mine = malloc(sizeof(*mine));
        nxt_require(mine);
        *mine = (nx_event)NX_EVENT_INIT;
        nx_task setter = nxt_task_on(1, set_mine, mine);
        if (i % 2)
            nxt_await(nx_event_is_set(mine));
        nxt_expect_eq(nx_event_wait(mine, NX_FOREVER), 0);
        free(mine);
        nxt_result(setter);
    }
}

struct shared {
    nx_mutex mutex;
    int users;
};

/* As a waiter that gives up, or as a holder; the last one frees it. */
static intptr_t use_and_free(void *arg)
{
    struct shared *shared = arg;
    int error = nx_mutex_lock(&shared->mutex, nx_after_ns(20000));
    if (error < 0)
        error = nx_mutex_lock(&shared->mutex, NX_FOREVER);
    nxt_require_eq(error, 0, 0);
    bool last = --shared->users == 0;
    if (!last)
        nx_sleep_until(nx_after_ns(15000));
    nxt_expect_eq(nx_mutex_unlock(&shared->mutex), 0);
    if (last)
        free(shared);
    return 0;
}

NXT_TASK_TEST(whoever_has_a_mutex_last_may_free_it, .workers = 2)
{
    for (int64_t i = nxt_scaled(500, 50); i > 0; i--) {
        nx_task tasks[4];
        struct shared *shared = malloc(sizeof(*shared));
        nxt_require(shared);
        *shared = (struct shared){NX_MUTEX_INIT, NXT_COUNT(tasks)};
        for (size_t k = 0; k < NXT_COUNT(tasks); k++)
            tasks[k] = nxt_task_on((int)(k % 2), use_and_free, shared);
        for (size_t k = 0; k < NXT_COUNT(tasks); k++)
            nxt_result(tasks[k]);
    }
}
