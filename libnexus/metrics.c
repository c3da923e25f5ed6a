/*
 * metrics.c: nx_runtime_metrics: adding up what the workers, their drivers and the pools have counted.
 *
 * Every counter has one writer, its worker, which loads, adds and stores with relaxed atomics; here they are read the
 * same way, so nothing is stopped and no two of them are of quite the same moment. Differences that could come out
 * negative for that reason are shown as 0. doc/design/metrics.md says what the counting costs.
 */
#include "blocking.h"
#include "core.h"
#include <nexus/runtime.h>
#include <string.h>

#define STATS_MAX 64u /* of one driver */

const char *const nxi_op_names[NX_METRICS_OPS] = {
    [NX_OP_NOP] = "nop",           [NX_OP_ACCEPT] = "accept",   [NX_OP_CONNECT] = "connect",
    [NX_OP_READ] = "read",         [NX_OP_WRITE] = "write",     [NX_OP_WRITEV] = "writev",
    [NX_OP_SHUTDOWN] = "shutdown", [NX_OP_CLOSE] = "close",     [NX_OP_POLL] = "poll",
    [NX_OP_RECVMSG] = "recvmsg",   [NX_OP_SENDMSG] = "sendmsg", [NX_OP_OPEN] = "open",
    [NX_OP_PREADV] = "preadv",     [NX_OP_PWRITEV] = "pwritev", [NX_OP_FSYNC] = "fsync",
    [NX_OP_TRUNCATE] = "truncate", [NX_OP_STAT] = "stat",       [NX_OP_RENAME] = "rename",
    [NX_OP_UNLINK] = "unlink",     [NX_OP_MKDIR] = "mkdir",     [NX_OP_MEMBERSHIP] = "membership",
};

_Static_assert(NX_OP_COUNT <= NX_METRICS_OPS, "each operation has its counter");

const char *nx_op_name(unsigned code)
{
    NXI_ENTRY(NULL);
    return code < NX_METRICS_OPS ? nxi_op_names[code] : NULL;
}

nx_runtime *nx_runtime_current(void)
{
    NXI_ENTRY(NULL);
    struct nxi_worker *worker = nxi_in_task();
    return worker ? worker->runtime : NULL;
}

static uint64_t not_negative(uint64_t difference)
{
    return (int64_t)difference > 0 ? difference : 0;
}

static uint64_t kernel_entries(const struct nxi_worker *worker)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < worker->runtime->driver_count; i++) {
        const struct nxi_driver *driver = &worker->drivers[i];
        struct nx_stat stats[STATS_MAX];
        uint32_t count = NXI_HAS(driver->ops, stats) ? driver->ops->stats(driver->ctx, stats, STATS_MAX) : 0;
        for (uint32_t k = 0; k < count; k++)
            if (strcmp(stats[k].name, "kernel_entries") == 0)
                sum += stats[k].value;
    }
    return sum;
}

static struct nx_worker_metrics of_worker(struct nxi_worker *worker)
{
    const struct nxi_counters *counters = &worker->counters;
    struct nx_worker_metrics metrics = {
        .tasks_spawned = nxi_counted(&worker->spawned),
        .tasks_stolen = nxi_counted(&counters->stolen),
        .switches = nxi_counted(&counters->switches),
        .polls = nxi_counted(&counters->polls),
        .parks = nxi_counted(&counters->parks),
        .wakes = nxi_counted(&counters->wakes),
        .inbox = nxi_counted(&counters->inbox),
        .ops_inline = nxi_counted(&counters->ops_inline),
        .kernel_entries = kernel_entries(worker),
        .timers = nxi_wheel_count(&worker->wheel),
        .timers_fired = nxi_counted(&counters->timers_fired),
        .queue_high = nxi_counted(&counters->ready_high),
    };
    uint64_t done = nxi_counted(&counters->ops_done), submitted = 0;
    for (unsigned code = 0; code < NX_METRICS_OPS; code++)
        submitted += metrics.ops[code] = nxi_counted(&counters->ops[code]);
    metrics.ops_in_flight = not_negative(submitted - metrics.ops_inline - done);
    /* Two counters of 32 bits that wrap, and whose difference means something. */
    int32_t live = (int32_t)(atomic_load_explicit(&worker->live, memory_order_relaxed) -
                             atomic_load_explicit(&worker->moved_out, memory_order_relaxed));
    metrics.tasks_live = live > 0 ? (uint64_t)live : 0;
    metrics.stacks_cached = not_negative((uint64_t)nxi_stack_cached_count(&worker->stacks));
    metrics.stacks_made = (uint64_t)atomic_load_explicit(&worker->stacks.made_count, memory_order_relaxed);
    return metrics;
}

static void add(struct nx_worker_metrics *total, const struct nx_worker_metrics *metrics)
{
    uint64_t high = metrics->queue_high > total->queue_high ? metrics->queue_high : total->queue_high;
    _Static_assert(sizeof(*total) % sizeof(uint64_t) == 0, "numbers of 64 bits, and nothing else");
    uint64_t to[sizeof(*total) / sizeof(uint64_t)], from[sizeof(*total) / sizeof(uint64_t)];
    memcpy(to, total, sizeof(to));
    memcpy(from, metrics, sizeof(from));
    for (size_t i = 0; i < sizeof(to) / sizeof(to[0]); i++)
        to[i] += from[i];
    memcpy(total, to, sizeof(to));
    total->queue_high = high;
}

int nx_runtime_metrics(nx_runtime *runtime, struct nx_metrics *ret_metrics)
{
    NXI_ENTRY(-ENOSYS);
    if (nxi_forked())
        return -NX_EFORKED;
    if (!runtime || !ret_metrics || ret_metrics->size != sizeof(*ret_metrics) ||
        (ret_metrics->worker_room > 0 && !ret_metrics->worker))
        return -EINVAL;
    struct nx_metrics metrics = {
        .size = sizeof(metrics),
        .workers = runtime->worker_count,
        .worker_room = ret_metrics->worker_room,
        .worker = ret_metrics->worker,
    };
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        struct nx_worker_metrics one = of_worker(runtime->workers[i]);
        add(&metrics.total, &one);
        if (i < metrics.worker_room)
            metrics.worker[i] = one;
    }
    metrics.total.tasks_spawned += atomic_load(&runtime->injected);
    nxi_blocking_metrics(runtime->blocking, &metrics.blocking);
    nxi_blocking_metrics(runtime->resolver, &metrics.resolver);
    *ret_metrics = metrics;
    return 0;
}
