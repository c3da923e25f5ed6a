/* conform_metrics.c: nx_runtime_metrics counts what has happened; nx_op_name, nx_runtime_current. */
#include "nxt_net.h"
#include <nexus/driver.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct nx_worker_metrics total_of(nx_runtime *runtime)
{
    struct nx_metrics metrics = {.size = sizeof(metrics)};
    nxt_expect_eq(nx_runtime_metrics(runtime, &metrics), 0);
    return metrics.total;
}

static struct nx_worker_metrics total(void)
{
    return total_of(nxt_runtime());
}

static intptr_t nothing(void *arg)
{
    return (intptr_t)arg;
}

static intptr_t current_outside(void *arg)
{
    (void)arg;
    return nx_runtime_current() == NULL;
}

NXT_TASK_TEST(a_task_knows_its_runtime_and_a_thread_has_none)
{
    nxt_expect(nx_runtime_current() == nxt_runtime());
    nxt_expect_eq(nxt_thread_await(nxt_thread_start(current_outside, NULL)), 1);
}

NXT_TEST(each_operation_has_a_name_and_nothing_else_has)
{
    for (unsigned code = 0; code < 2 * NX_METRICS_OPS; code++)
        nxt_expect_eq(nx_op_name(code) != NULL, code < NX_OP_COUNT);
    nxt_expect_str(nx_op_name(NX_OP_READ), "read");
    nxt_expect_str(nx_op_name(NX_OP_POLL), "poll");
    nxt_expect(nx_op_name(UINT32_MAX) == NULL);
}

NXT_TASK_TEST(metrics_of_a_wrong_size_or_without_room_are_refused, .workers = 2)
{
    struct nx_worker_metrics room[3];
    struct nx_metrics metrics = {.size = sizeof(metrics) - 1, .workers = 77};
    nxt_expect_eq(nx_runtime_metrics(nxt_runtime(), &metrics), -EINVAL);
    nxt_expect_eq(metrics.workers, 77);
    metrics.size = 0;
    nxt_expect_eq(nx_runtime_metrics(nxt_runtime(), &metrics), -EINVAL);
    metrics = (struct nx_metrics){.size = sizeof(metrics), .worker_room = 1};
    nxt_expect_eq(nx_runtime_metrics(nxt_runtime(), &metrics), -EINVAL);
    metrics.worker_room = 0;
    nxt_expect_eq(nx_runtime_metrics(NULL, &metrics), -EINVAL);
    nxt_expect_eq(nx_runtime_metrics(nxt_runtime(), NULL), -EINVAL);
    memset(room, 0xaa, sizeof(room));
    metrics = (struct nx_metrics){.size = sizeof(metrics), .worker_room = 1, .worker = room};
    nxt_expect_eq(nx_runtime_metrics(nxt_runtime(), &metrics), 0);
    nxt_expect_eq(metrics.workers, 2);
    nxt_expect_eq(room[1].switches, 0xaaaaaaaaaaaaaaaa);
    metrics.worker_room = 3;
    nxt_expect_eq(nx_runtime_metrics(nxt_runtime(), &metrics), 0);
    nxt_expect_eq(room[2].switches, 0xaaaaaaaaaaaaaaaa);
    nxt_expect_eq(metrics.total.switches, room[0].switches + room[1].switches);
}

NXT_TASK_TEST(tasks_are_counted_from_spawn_to_end)
{
    nx_task tasks[100];
    struct nx_worker_metrics before = total();
    nxt_expect_eq(before.tasks_live, 1);
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        tasks[i] = nx_spawn(nothing, NULL);
    struct nx_worker_metrics between = total();
    nxt_expect_eq(between.tasks_spawned - before.tasks_spawned, NXT_COUNT(tasks));
    nxt_expect_eq(between.tasks_live, 1 + NXT_COUNT(tasks));
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        nxt_result(tasks[i]);
    struct nx_worker_metrics after = total();
    nxt_expect_eq(after.tasks_live, 1);
    nxt_expect_ge(after.switches - before.switches, NXT_COUNT(tasks) + 1);
    nxt_expect_ge(after.queue_high, NXT_COUNT(tasks));
    nxt_expect_lt(after.queue_high, NXT_COUNT(tasks) + 3);
    nxt_expect_eq(after.tasks_stolen, 0);
    nxt_expect_gt(after.stacks_made, 0);
    nxt_expect_gt(after.stacks_cached, 0);
}

NXT_TASK_TEST(a_yield_is_a_switch)
{
    struct nx_worker_metrics before = total();
    for (int i = 0; i < 50; i++)
        nx_yield();
    nxt_expect_ge(total().switches - before.switches, 50);
}

static intptr_t read_one(void *arg)
{
    char byte;
    return nx_read(arg, &byte, 1, NX_FOREVER);
}

NXT_TASK_TEST(operations_are_counted_by_code_and_seen_in_flight)
{
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    struct nx_worker_metrics before = total();
    nx_task reader = nx_spawn(read_one, stream);
    nxt_await_parked(reader);
    struct nx_worker_metrics waiting = total();
    nxt_expect_ge(waiting.ops[NX_OP_READ] - before.ops[NX_OP_READ], 1);
    nxt_expect_eq(waiting.ops_in_flight - before.ops_in_flight, 1);
    nxt_expect(nxt_write_all(peer, "x", 1));
    nxt_expect_eq(nxt_result(reader), 1);
    struct nx_worker_metrics after = total();
    nxt_expect_eq(after.ops_in_flight, before.ops_in_flight);
    nxt_expect_gt(after.kernel_entries, before.kernel_entries);
    nxt_expect_eq(nx_write(stream, "y", 1, NX_FOREVER), 1);
    nxt_expect_eq(total().ops[NX_OP_WRITE] - after.ops[NX_OP_WRITE], 1);
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(what_completes_at_once_is_counted_as_inline)
{
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    char byte;
    struct nx_worker_metrics before = total();
    nxt_expect_eq(nx_read(stream, &byte, 1, NX_POLL), -EAGAIN); /* has to be answered in submit */
    struct nx_worker_metrics after = total();
    nxt_expect_eq(after.ops_inline - before.ops_inline, 1);
    nxt_expect_eq(after.ops[NX_OP_READ] - before.ops[NX_OP_READ], 1);
    nxt_close_fd(&peer);
    nx_close(stream);
}

static intptr_t sleep_long(void *arg)
{
    (void)arg;
    return nx_sleep_ms(1000000);
}

NXT_TASK_TEST(timers_that_run_and_those_that_have_fired_are_counted)
{
    struct nx_worker_metrics before = total();
    nx_task sleepers[3];
    for (int i = 0; i < 3; i++)
        sleepers[i] = nx_spawn(sleep_long, NULL);
    for (int i = 0; i < 3; i++)
        nxt_await_parked(sleepers[i]);
    nxt_expect_ge(total().timers, 3);
    nxt_expect_eq(nx_sleep_ms(2), 0);
    nxt_expect_ge(total().timers_fired - before.timers_fired, 1);
    for (int i = 0; i < 3; i++) {
        nx_cancel(sleepers[i]);
        nxt_expect_eq(nxt_result(sleepers[i]), -ECANCELED);
    }
    nxt_expect_lt(total().timers, 3);
}

NXT_TEST(parks_and_messages_and_doorbells_are_counted)
{
    nx_runtime *runtime = nxt_start(NULL);
    nxt_require(runtime);
    struct nx_worker_metrics before = total_of(runtime);
    const uint64_t spawned = before.tasks_spawned;
    uint64_t rounds = 0;
    do { /* ends: a worker with nothing to do goes to sleep some time, and is rung then */
        nx_task task = nx_spawn_on(runtime, NXT_WITH(.worker_plus_1 = 1), nothing, (void *)5);
        intptr_t result = 0;
        nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0);
        nxt_expect_eq(result, 5);
        rounds++;
    } while (total_of(runtime).wakes == before.wakes);
    struct nx_worker_metrics after = total_of(runtime);
    nxt_expect_eq(after.tasks_spawned - spawned, rounds);
    nxt_expect_gt(after.parks, 0);
    nxt_expect_ge(after.inbox - before.inbox, rounds);
    nxt_stop(runtime);
}

static _Atomic int started;

static intptr_t count_start(void *arg)
{
    (void)arg;
    atomic_fetch_add(&started, 1);
    return 0;
}

NXT_TASK_TEST(stolen_tasks_are_counted_where_they_went, .workers = 2)
{
    enum { TASKS = 64 };
    nx_task tasks[TASKS];
    atomic_store(&started, 0);
    for (int i = 0; i < TASKS; i++)
        tasks[i] = nx_spawn(count_start, NULL);
    if (nxt_cell_steals()) {
        for (nx_time end = nxt_clock() + INT64_C(20000000000); atomic_load(&started) == 0 && nxt_clock() < end;)
            nxt_burn(10000); /* without a park: only another worker can run them */
        nxt_expect_gt(total().tasks_stolen, 0);
    }
    for (int i = 0; i < TASKS; i++)
        nxt_result(tasks[i]);
    nxt_expect_eq(atomic_load(&started), TASKS);
    if (!nxt_cell_steals())
        nxt_expect_eq(total().tasks_stolen, 0);
}

static atomic_bool reading;

static intptr_t read_metrics(void *arg)
{
    struct nx_worker_metrics last = total_of(arg);
    intptr_t count = 0;
    for (; atomic_load(&reading); count++) {
        struct nx_worker_metrics now = total_of(arg);
        if (now.switches < last.switches || now.ops[NX_OP_READ] < last.ops[NX_OP_READ] ||
            now.kernel_entries < last.kernel_entries || now.timers_fired < last.timers_fired)
            return -1;
        last = now;
    }
    return count;
}

NXT_TASK_TEST(another_thread_may_read_while_everything_moves, .workers = 2)
{
    nx_stream *pair[2];
    nxt_require(nxt_stream_pair(pair));
    atomic_store(&reading, true);
    struct nxt_thread *thread = nxt_thread_start(read_metrics, nxt_runtime());
    nxt_require(thread);
    for (int64_t i = 0; i < nxt_scaled(2000, 100); i++) {
        nx_task reader = nxt_task_on((int)(i % 2), read_one, pair[0]);
        nxt_expect_eq(nx_write(pair[1], "x", 1, NX_FOREVER), 1);
        nxt_expect_eq(nxt_result(reader), 1);
    }
    atomic_store(&reading, false);
    nxt_expect_ge(nxt_thread_await(thread), 0);
    nx_close(pair[0]);
    nx_close(pair[1]);
}

static atomic_bool go_on;

static intptr_t block(void *arg)
{
    (void)arg;
    while (!atomic_load(&go_on))
        nxt_burn(100000);
    return 0;
}

static intptr_t call_block(void *arg)
{
    (void)arg;
    return nx_blocking(block, NULL, NULL, NX_FOREVER);
}

NXT_TASK_TEST(jobs_of_the_blocking_pool_are_counted, .blocking_threads = 1)
{
    nx_task callers[3];
    struct nx_metrics metrics = {.size = sizeof(metrics)};
    atomic_store(&go_on, false);
    for (int i = 0; i < 3; i++)
        callers[i] = nx_spawn(call_block, NULL);
    for (int i = 0; i < 3; i++)
        nxt_await_parked(callers[i]);
    nxt_await(nx_runtime_metrics(nxt_runtime(), &metrics) == 0 && metrics.blocking.busy == 1);
    nxt_expect_eq(metrics.blocking.threads, 1);
    nxt_expect_eq(metrics.blocking.queued, 2);
    nxt_expect_ge(metrics.blocking.queue_high, 2);
    nxt_expect_eq(metrics.resolver.jobs, 0);
    atomic_store(&go_on, true);
    for (int i = 0; i < 3; i++)
        nxt_expect_eq(nxt_result(callers[i]), 0);
    nxt_expect_eq(nx_runtime_metrics(nxt_runtime(), &metrics), 0);
    nxt_expect_eq(metrics.blocking.jobs, 3);
    nxt_expect_eq(metrics.blocking.queued, 0);
}
