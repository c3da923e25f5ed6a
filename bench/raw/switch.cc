/* switch: two fibers, and a ring of a thousand on coloured stacks, that do nothing but switch to the next. */
#include "cases.h"
#include "fiber.h"

#include <vector>

struct Fiber {
    void *sp;
    Fiber *next;
    uint64_t turns;
};

static Fiber *current;

static inline void yield()
{
    Fiber *from = current;
    current = from->next;
    raw_switch(&from->sp, current->sp);
}

static void entry()
{
    for (;;) {
        current->turns++;
        yield();
    }
}

static void ring(benchmark::State &state, size_t count, int rounds)
{
    char *stacks = fiber::map_stacks(count);
    std::vector<Fiber> fibers(count);
    for (size_t i = 0; i < count; i++)
        fibers[i] = {fiber::prepare(fiber::coloured_top(stacks, i), entry), &fibers[(i + 1) % count], 0};
    current = &fibers[0]; /* the case itself */
    while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(count) * rounds))
        for (int i = 0; i < rounds; i++)
            yield();
    uint64_t expected = state.iterations() / count;
    for (size_t i = 1; i < count; i++)
        cases::must(fibers[i].turns == expected, "each round gives every other fiber a turn");
    munmap(stacks, count * fiber::STACK);
}

int main(int argc, char **argv)
{
    cases::add("yield_2", [](benchmark::State &state) { ring(state, 2, 1000); });
    cases::add("yield_ring_1000", [](benchmark::State &state) { ring(state, 1000, 20); });
    return cases::run(argc, argv);
}
