/* spawn: a function called on a stack of its own that is warm: made ready, switched to, and back. The limit of spawn
 * and join. */
#include "cases.h"
#include "fiber.h"

static void *caller_sp, *fiber_sp;
static int64_t argument, result;

static void entry()
{
    result = argument + 1;
    raw_switch(&fiber_sp, caller_sp);
    std::abort(); /* nobody comes back */
}

static void spawn_join(benchmark::State &state)
{
    const int batch = 100;
    char *stack = fiber::map_stacks(1);
    int64_t sum = 0;
    while (state.KeepRunningBatch(batch))
        for (int i = 0; i < batch; i++) {
            argument = i;
            raw_switch(&caller_sp, fiber::prepare(stack + fiber::STACK, entry));
            sum += result;
        }
    cases::must(sum == static_cast<int64_t>(state.iterations()) / batch * (batch * (batch + 1) / 2),
                "every call has returned its successor");
    munmap(stack, fiber::STACK);
}

int main(int argc, char **argv)
{
    cases::add("spawn_join", spawn_join);
    return cases::run(argc, argv);
}
