/* conform_blocking.c: calls that block, on threads of their own. */
#include "../../libnexus/blocking.h"
#include "nxt_net.h"
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A call that blocks until it is let go, and says when it has begun. */
struct gate {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    unsigned begun, let, most, running; /* let: how many may go; most: that were inside at once */
};
#define GATE                                                                                                           \
    {                                                                                                                  \
        .lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER                                           \
    }

static intptr_t pass(void *arg)
{
    struct gate *gate = arg;
    pthread_mutex_lock(&gate->lock);
    unsigned number = ++gate->begun;
    if (++gate->running > gate->most)
        gate->most = gate->running;
    while (gate->let == 0)
        pthread_cond_wait(&gate->moved, &gate->lock);
    gate->let--;
    gate->running--;
    pthread_mutex_unlock(&gate->lock);
    return number;
}

static unsigned begun(struct gate *gate)
{
    pthread_mutex_lock(&gate->lock);
    unsigned count = gate->begun;
    pthread_mutex_unlock(&gate->lock);
    return count;
}

static void let(struct gate *gate, unsigned count)
{
    pthread_mutex_lock(&gate->lock);
    gate->let += count;
    pthread_cond_broadcast(&gate->moved);
    pthread_mutex_unlock(&gate->lock);
}

static intptr_t block(void *gate)
{
    intptr_t number = 0;
    int error = nx_blocking(pass, gate, &number, NX_FOREVER);
    return error < 0 ? error : number;
}

static struct nx_pool_metrics metrics(void)
{
    struct nx_metrics all = {.size = sizeof(all)};
    nxt_expect_eq(nx_runtime_metrics(nxt_runtime(), &all), 0);
    return all.blocking;
}

/* ---- one call ---- */

struct seen {
    pthread_t thread;
    sigset_t blocked;
    char name[16];
    nx_task self;
    int parks;
};

static intptr_t look_around(void *arg)
{
    struct seen *seen = arg;
    seen->thread = pthread_self();
    pthread_getname_np(pthread_self(), seen->name, sizeof(seen->name));
    pthread_sigmask(SIG_BLOCK, NULL, &seen->blocked);
    seen->self = nx_self();
    seen->parks = nx_sleep_ms(1);
    return 4711;
}

NXT_TASK_TEST(a_call_runs_on_a_thread_that_is_no_worker_and_its_result_comes_back)
{
    struct seen seen;
    intptr_t result = 0;
    nxt_require_eq(nx_blocking(look_around, &seen, &result, NX_FOREVER), 0);
    nxt_expect_eq(result, 4711);
    nxt_expect(!pthread_equal(seen.thread, pthread_self()));
    nxt_expect_eq(seen.self, -NX_ENOTASK);
    nxt_expect_eq(seen.parks, -NX_ENOTASK);
    nxt_expect_eq(nx_blocking(look_around, &seen, NULL, NX_FOREVER), 0);
}

NXT_TASK_TEST(its_thread_has_a_name_and_no_signals)
{
    struct seen seen;
    nxt_require_eq(nx_blocking(look_around, &seen, NULL, NX_FOREVER), 0);
    nxt_expect_eq(strncmp(seen.name, "nexus-block-", 12), 0);
    nxt_expect_eq(sigismember(&seen.blocked, SIGTERM), 1);
    nxt_expect_eq(sigismember(&seen.blocked, SIGINT), 1);
    nxt_expect_eq(sigismember(&seen.blocked, SIGCHLD), 1);
}

static intptr_t count_on(void *arg)
{
    intptr_t sum = 0;
    for (int i = 0; i < (int)(intptr_t)arg; i++)
        sum += i;
    return sum;
}

static intptr_t call_often(void *arg)
{
    (void)arg;
    intptr_t calls = nxt_scaled(2000, 100), sum = 0, result;
    for (intptr_t i = 0; i < calls; i++) {
        nxt_require_eq(nx_blocking(count_on, (void *)(i % 10), &result, NX_FOREVER), 0, -1);
        sum += result == (i % 10) * (i % 10 - 1) / 2;
    }
    return calls - sum;
}

NXT_TASK_TEST(calls_from_tasks_of_all_workers_each_get_their_own_result, .workers = 2, .blocking_threads = 3)
{
    nx_task tasks[8];
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        tasks[i] = nxt_task_on((int)(i % 2), call_often, NULL);
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
    nxt_expect_le(metrics().threads, 3);
}

static intptr_t touch(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
    return 0;
}

NXT_TASK_TEST(the_worker_runs_others_meanwhile)
{
    struct gate gate = GATE;
    atomic_bool touched = false;
    nx_task blocked = nx_spawn(block, &gate);
    nx_task other = nx_spawn(touch, &touched);
    nxt_await(begun(&gate) == 1 && atomic_load(&touched));
    nxt_expect_eq(nx_join(other, NULL, NX_FOREVER), 0);
    let(&gate, 1);
    nxt_expect_eq(nxt_result(blocked), 1);
}

static intptr_t call_from_a_thread(void *arg)
{
    return nx_blocking(look_around, arg, NULL, NX_FOREVER);
}

NXT_TASK_TEST(what_can_not_be_is_refused)
{
    struct seen seen = {.self = 0};
    nxt_expect_eq(nx_blocking(NULL, NULL, NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_blocking(look_around, &seen, NULL, NX_POLL), -EAGAIN);
    nxt_expect_eq(seen.self, 0);
    struct nxt_thread *thread = nxt_thread_start(call_from_a_thread, &seen);
    nxt_require(thread);
    nxt_expect_eq(nxt_thread_await(thread), -NX_ENOTASK);
    nxt_expect_eq(metrics().jobs, 0);
}

static intptr_t call_in_a_fork(void *arg)
{
    (void)arg;
    pid_t child = fork();
    if (child == 0)
        _exit(nx_blocking(look_around, NULL, NULL, NX_FOREVER) == -NX_EFORKED ? 42 : 1);
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

NXT_TASK_TEST(a_forked_child_is_told)
{
    if (NXT_TSAN) {
        nxt_skip("ThreadSanitizer does not survive a fork of several threads");
        return;
    }
    struct gate gate = GATE;
    nx_task inside = nx_spawn(block, &gate);
    nxt_await(begun(&gate) == 1);
    nxt_expect_eq(call_in_a_fork(NULL), 42);
    let(&gate, 1);
    nxt_expect_eq(nxt_result(inside), 1); /* the parent's threads are as they were */
}

/* ---- how many threads ---- */

NXT_TASK_TEST(no_more_run_at_once_than_there_may_be_threads, .blocking_threads = 3)
{
    struct gate gate = GATE;
    nx_task tasks[10];
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        tasks[i] = nx_spawn(block, &gate);
    nxt_await(begun(&gate) == 3);
    struct nx_pool_metrics now = metrics();
    nxt_expect_eq(now.threads, 3);
    nxt_expect_eq(now.busy, 3);
    nxt_await(metrics().queued == 7);
    let(&gate, 10);
    intptr_t sum = 0;
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        sum += nxt_result(tasks[i]);
    nxt_expect_eq(sum, 55);
    nxt_expect_eq(gate.most, 3);
    now = metrics();
    nxt_expect_eq(now.jobs, 10);
    nxt_expect_eq(now.queued, 0);
    nxt_expect_ge(now.queue_high, 7);
}

NXT_TASK_TEST(threads_come_as_they_are_needed_and_an_idle_one_is_used_again)
{
    struct gate gate = GATE;
    nxt_expect_eq(metrics().threads, 0);
    let(&gate, 3);
    for (int i = 0; i < 3; i++) {
        nxt_expect_eq(block(&gate), i + 1);
        nxt_await(metrics().busy == 0);
    }
    nxt_expect_eq(metrics().threads, 1);
    nx_task tasks[5];
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        tasks[i] = nx_spawn(block, &gate);
    nxt_await(begun(&gate) == 8);
    nxt_expect_eq(metrics().threads, 5);
    let(&gate, 5);
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        nxt_expect_gt(nxt_result(tasks[i]), 0);
}

NXT_TASK_TEST(idle_threads_leave_and_come_back)
{
    int64_t before = atomic_exchange(&nxi_blocking_idle_ns, 1000000);
    for (int round = 0; round < 3; round++) {
        struct gate gate = GATE;
        nx_task tasks[4];
        for (size_t i = 0; i < NXT_COUNT(tasks); i++)
            tasks[i] = nx_spawn(block, &gate);
        nxt_await(begun(&gate) == 4);
        let(&gate, 4);
        for (size_t i = 0; i < NXT_COUNT(tasks); i++)
            nxt_expect_gt(nxt_result(tasks[i]), 0);
        nxt_await(metrics().threads == 0);
    }
    atomic_store(&nxi_blocking_idle_ns, before);
}

NXT_TASK_TEST(threads_that_come_and_go_all_the_time_lose_no_call, .workers = 2, .blocking_threads = 2)
{
    int64_t before = atomic_exchange(&nxi_blocking_idle_ns, 1000);
    nx_task tasks[4];
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        tasks[i] = nxt_task_on((int)(i % 2), call_often, NULL);
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
    atomic_store(&nxi_blocking_idle_ns, before);
}

static struct nx_metrics metrics_of(nx_runtime *runtime)
{
    struct nx_metrics all = {.size = sizeof(all)};
    nxt_expect_eq(nx_runtime_metrics(runtime, &all), 0);
    return all;
}

/* The pool has one thread, and no other can be made; the resolver has none. */
static intptr_t call_without_threads(void *arg)
{
    nx_runtime *runtime = arg;
    struct gate gate = GATE;
    nx_addr addr;
    size_t count = 1;
    nx_task first = nx_spawn(block, &gate);
    nxt_await(begun(&gate) == 1);
    nxt_require(nxt_deny(SYS_clone3, EAGAIN), 1);
    if (!NXT_ASAN) /* whose search for leaks needs it, and whose libc has the other */
        nxt_require(nxt_deny(SYS_clone, EAGAIN), 1);
    nx_task second = nx_spawn(block, &gate);
    nxt_await(metrics_of(runtime).blocking.queued == 1);
    nxt_expect_eq(metrics_of(runtime).blocking.threads, 1);
    nxt_expect_eq(nx_resolve("localhost:1", &addr, &count, NX_FOREVER), -EAGAIN);
    nxt_expect_eq(nx_resolve("localhost:1", &addr, &count, NX_FOREVER), -EAGAIN);
    nxt_expect_eq(metrics_of(runtime).resolver.queued, 0);
    let(&gate, 2);
    nxt_expect_eq(nxt_result(first), 1);
    nxt_expect_eq(nxt_result(second), 2);
    return 0;
}

NXT_CHILD(run_without_threads)
{
    nx_runtime *runtime = nxt_start(NULL);
    nxt_require(runtime, 1);
    nxt_expect_eq(nx_block_on(runtime, call_without_threads, runtime, NULL), 0);
    nxt_stop(runtime);
    return 0;
}

NXT_TEST(where_no_thread_can_be_made_calls_wait_for_those_there_are_or_fail_and_none_is_lost)
{
    static struct nxt_output output;
    if (!nxt_can_deny()) {
        nxt_skip("no seccomp filters here");
        return;
    }
    nxt_run_child(run_without_threads, NULL, &output);
    if (!nxt_expect_eq(output.status, 0))
        nxt_show_output(&output);
}

/* ---- deadline and cancel ---- */

struct timed {
    atomic_bool called;
    int result;
    nx_time deadline;
};

static intptr_t timed_call(void *arg)
{
    struct timed *timed = arg;
    timed->result = nx_blocking(touch, &timed->called, NULL, timed->deadline);
    return timed->result;
}

NXT_TASK_TEST(a_deadline_takes_back_what_has_not_begun, .blocking_threads = 1)
{
    struct gate gate = GATE;
    nx_task first = nx_spawn(block, &gate);
    nxt_await(begun(&gate) == 1);
    struct timed timed = {.deadline = nx_after_ms(5)};
    nxt_expect_eq(timed_call(&timed), -ETIMEDOUT);
    nxt_expect_eq(metrics().queued, 0);
    timed.deadline = 1; /* long past */
    nxt_expect_eq(timed_call(&timed), -ETIMEDOUT);
    let(&gate, 1);
    nxt_expect_eq(nxt_result(first), 1);
    nxt_await(metrics().busy == 0);
    nxt_expect(!atomic_load(&timed.called));
}

NXT_TASK_TEST(a_cancel_takes_back_what_has_not_begun, .blocking_threads = 1, .workers = 2)
{
    struct gate gate = GATE;
    nx_task first = nx_spawn(block, &gate);
    nxt_await(begun(&gate) == 1);
    struct timed timed = {.deadline = NX_FOREVER};
    nx_task second = nx_spawn(timed_call, &timed);
    nxt_await(metrics().queued == 1);
    nxt_expect_eq(nx_cancel(second), 0);
    nxt_expect_eq(nxt_result(second), -ECANCELED);
    nxt_expect_eq(metrics().queued, 0);
    let(&gate, 1);
    nxt_expect_eq(nxt_result(first), 1);
    nxt_expect(!atomic_load(&timed.called));
}

static intptr_t block_until(void *arg)
{
    intptr_t number = 0;
    int error;
    do /* until a thread gets round to it in time */
        error = nx_blocking(pass, arg, &number, nx_after_ms(1));
    while (error == -ETIMEDOUT);
    return error < 0 ? error : number;
}

NXT_TASK_TEST(what_has_begun_is_waited_for)
{
    struct gate gate = GATE;
    nx_task cancelled = nx_spawn(block, &gate);
    nxt_await(begun(&gate) == 1);
    nxt_expect_eq(nx_cancel(cancelled), 0);
    nx_task late = nx_spawn(block_until, &gate);
    nxt_await(begun(&gate) == 2);
    nxt_expect_eq(nx_sleep_ms(3), 0); /* its deadline is over */
    nxt_expect_eq(nx_join(cancelled, NULL, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_join(late, NULL, NX_POLL), -EAGAIN);
    let(&gate, 2);
    nxt_expect_eq(nxt_result(cancelled), 1);
    nxt_expect_eq(nxt_result(late), 2);
}

static intptr_t call_when_cancelled(void *arg)
{
    nx_cancel(nx_self());
    return nx_blocking(touch, arg, NULL, NX_FOREVER);
}

NXT_TASK_TEST(a_cancelled_task_begins_nothing)
{
    atomic_bool called = false;
    nxt_expect_eq(nxt_result(nx_spawn(call_when_cancelled, &called)), -ECANCELED);
    nxt_expect(!atomic_load(&called));
    nxt_expect_eq(metrics().jobs, 0);
}

static intptr_t cancel_at_random(void *arg)
{
    (void)arg;
    uint64_t seed = 7;
    intptr_t bad = 0;
    for (int i = 0; i < nxt_scaled(2000, 100); i++) {
        struct timed timed = {.deadline = nx_after_ns((int64_t)(nxt_random(&seed) % 40000))};
        nx_task task = nx_spawn(timed_call, &timed);
        if (nxt_random(&seed) % 2)
            nx_yield();
        if (nxt_random(&seed) % 2)
            nx_cancel(task);
        intptr_t result = nxt_result(task);
        bad += (result == 0) != atomic_load(&timed.called) ||
               (result != 0 && result != -ETIMEDOUT && result != -ECANCELED);
    }
    return bad;
}

NXT_TASK_TEST(a_call_is_made_exactly_if_the_result_says_so, .workers = 2, .blocking_threads = 2)
{
    nx_task tasks[3];
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        tasks[i] = nxt_task_on((int)(i % 2), cancel_at_random, NULL);
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
}

/* ---- for drivers ---- */

static void touch_later(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
}

static intptr_t defer_from_a_thread(void *arg)
{
    return nxi_host.defer_blocking(touch_later, arg);
}

NXT_TASK_TEST(a_plugin_defers_to_the_same_threads_from_a_worker_only)
{
    static atomic_bool touched;
    atomic_store(&touched, false);
    struct nxt_thread *thread = nxt_thread_start(defer_from_a_thread, &touched);
    nxt_require(thread);
    nxt_expect_eq(nxt_thread_await(thread), -ENOTSUP);
    nxt_expect(!atomic_load(&touched));
    nxt_expect_eq(nxi_host.defer_blocking(touch_later, &touched), 0);
    nxt_await(atomic_load(&touched));
}

/* ---- shutdown ---- */

static intptr_t stop_at(void *arg)
{
    nx_runtime *runtime = arg;
    return nx_runtime_shutdown(runtime, nx_after_ms(30));
}

static intptr_t stop_for_good(void *arg)
{
    return nx_runtime_shutdown(arg, NX_FOREVER);
}

NXT_TEST(shutdown_waits_for_what_runs_and_names_who_waits_for_it)
{
    struct gate gate = GATE;
    nx_runtime *runtime = nxt_start(NULL);
    nxt_require(runtime);
    nx_task task = nx_spawn_on(runtime, NXT_WITH(.name = "scribe"), block, &gate);
    nxt_await(begun(&gate) == 1);
    nxt_expect_eq(stop_at(runtime), -ETIMEDOUT);
    nxt_expect(nxt_logged("task scribe waits for a blocking call"));
    struct nxt_thread *thread = nxt_thread_start(stop_for_good, runtime);
    nxt_require(thread);
    nxt_await(nxt_logged("shutdown waits: task scribe"));
    nxt_expect(!nxt_thread_ended(thread));
    let(&gate, 1);
    nxt_expect_eq(nxt_thread_join(thread), 0);
    intptr_t result = 0;
    nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0);
    nxt_expect_eq(result, 1); /* not cut off by the cancel */
    nxt_stop(runtime);
}

NXT_TEST(too_many_threads_are_refused_with_a_sentence)
{
    char error[256] = "";
    nx_runtime *runtime = NULL;
    nx_runtime_options options = {.size = sizeof(options),
                                  .workers = 1,
                                  .blocking_threads = NXI_BLOCKING_THREADS_MAX + 1,
                                  .error = error,
                                  .error_size = sizeof(error)};
    nxt_expect_eq(nx_runtime_create(&options, &runtime), -EINVAL);
    nxt_expect_contains(error, "blocking_threads");
}
