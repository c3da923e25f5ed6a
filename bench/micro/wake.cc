/*
 * wake: how long it takes to wake somebody on another thread and to be woken: there and back.
 *
 * wake_spin: the other one has just gone idle, and looks around for a while before it sleeps (NEXUS_SPIN decides);
 * wake_parked: both sleep in the kernel. pool_hop: a call on the blocking pool.
 */
#include "micro.h"

struct Bell {
    nx_event there = NX_EVENT_AUTO_INIT;
    nx_event back = NX_EVENT_AUTO_INIT;
    bool stop = false;
    uint64_t rung = 0;
};

static intptr_t answer(void *arg)
{
    Bell *bell = static_cast<Bell *>(arg);
    for (;;) {
        micro::ok(nx_event_wait(&bell->there, NX_FOREVER), "nx_event_wait");
        if (bell->stop)
            return 0;
        bell->rung++;
        nx_event_set(&bell->back);
    }
}

static uint64_t parks()
{
    struct nx_metrics metrics = {};
    metrics.size = sizeof metrics;
    micro::ok(nx_runtime_metrics(nx_runtime_current(), &metrics), "nx_runtime_metrics");
    return metrics.total.parks;
}

static void round_trip(Bell &bell)
{
    nx_event_set(&bell.there);
    micro::ok(nx_event_wait(&bell.back, NX_FOREVER), "nx_event_wait");
}

static void wake(benchmark::State &state)
{
    const int batch = 100;
    if (!micro::has_two_workers(state))
        return;
    Bell bell;
    nx_task other = micro::spawn_at(micro::there, answer, &bell);
    for (int i = 0; i < batch; i++) /* an adaptive spin has learnt by then */
        round_trip(bell);
    uint64_t before = parks();
    while (state.KeepRunningBatch(batch))
        for (int i = 0; i < batch; i++)
            round_trip(bell);
    state.counters["parks"] =
        benchmark::Counter(static_cast<double>(parks() - before), benchmark::Counter::kAvgIterations);
    bell.stop = true;
    nx_event_set(&bell.there);
    micro::join(other);
    cases::must(static_cast<int64_t>(bell.rung) == state.iterations() + batch, "each call was answered once");
}

static intptr_t successor(void *arg)
{
    return reinterpret_cast<intptr_t>(arg) + 1;
}

static void pool_hop(benchmark::State &state)
{
    const intptr_t batch = 50;
    intptr_t wrong = 0, result = 0;
    while (state.KeepRunningBatch(batch))
        for (intptr_t i = 0; i < batch; i++) {
            wrong += nx_blocking(successor, reinterpret_cast<void *>(i), &result, NX_FOREVER) != 0;
            wrong += result != i + 1;
        }
    cases::must(wrong == 0, "each call on the pool returned its successor");
}

int main(int argc, char **argv)
{
    micro::add("wake_spin", wake);
    micro::add_without_spin("wake_parked", wake);
    micro::add("pool_hop", pool_hop);
    return micro::run(argc, argv);
}
