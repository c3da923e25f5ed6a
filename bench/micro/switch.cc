/* switch: from one ready task to the next: two that yield to each other, a ring of a thousand. The cost of a switch. */
#include "micro.h"

#include <vector>

struct Ring {
    bool stop;
    uint64_t yields;
};

static intptr_t turner(void *arg)
{
    Ring *ring = static_cast<Ring *>(arg);
    while (!ring->stop) {
        ring->yields++;
        nx_yield();
    }
    return 0;
}

static void yield_ring(benchmark::State &state, int tasks, int rounds)
{
    Ring ring = {false, 0};
    std::vector<nx_task> others(tasks - 1);
    for (nx_task &other : others)
        other = micro::spawn_at(micro::here, turner, &ring);
    while (ring.yields < others.size())
        nx_yield();
    uint64_t before = ring.yields;
    while (state.KeepRunningBatch(tasks * rounds))
        for (int i = 0; i < rounds; i++)
            nx_yield();
    uint64_t turns = ring.yields - before, expected = state.iterations() / tasks * others.size();
    cases::must(turns + tasks >= expected && turns <= expected + tasks, "each yield lets every other task run once");
    ring.stop = true;
    for (nx_task other : others)
        micro::join(other);
}

int main(int argc, char **argv)
{
    micro::add("yield_2", [](benchmark::State &state) { yield_ring(state, 2, 1000); });
    micro::add("yield_ring_1000", [](benchmark::State &state) { yield_ring(state, 1000, 20); });
    return micro::run(argc, argv);
}
