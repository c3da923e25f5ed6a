/*
 * spawn: what it costs to start a task and to learn of its end.
 *
 * spawn_join: one at a time; spawn_join_1000: a thousand, then all are joined; tree: every task but a leaf spawns ten
 * and joins them, 1,111,111 in all (under a scheduler that steals, with more than one worker, they spread).
 */
#include "micro.h"

#include <vector>

static intptr_t successor(void *arg)
{
    return reinterpret_cast<intptr_t>(arg) + 1;
}

static intptr_t spawned_result(intptr_t number)
{
    intptr_t result = 0;
    nx_task task = nx_spawn(successor, reinterpret_cast<void *>(number));
    return nx_join(task, &result, NX_FOREVER) == 0 ? result : -1;
}

static void spawn_join(benchmark::State &state)
{
    const int batch = 100;
    int64_t sum = 0;
    while (state.KeepRunningBatch(batch))
        for (int i = 0; i < batch; i++)
            sum += spawned_result(i);
    cases::must(sum == static_cast<int64_t>(state.iterations()) / batch * (batch * (batch + 1) / 2),
                "every task has returned its successor");
}

static void spawn_join_1000(benchmark::State &state)
{
    const int batch = 1000;
    std::vector<nx_task> tasks(batch);
    int64_t sum = 0;
    while (state.KeepRunningBatch(batch)) {
        for (intptr_t i = 0; i < batch; i++)
            tasks[i] = nx_spawn(successor, reinterpret_cast<void *>(i));
        for (nx_task task : tasks) {
            intptr_t result = 0;
            sum += nx_join(task, &result, NX_FOREVER) == 0 ? result : -1;
        }
    }
    cases::must(sum == static_cast<int64_t>(state.iterations()) / batch * (batch * (batch + 1) / 2),
                "every task has returned its successor");
}

/* How many tasks there are in the tree below this one, itself included. */
static intptr_t node(void *arg)
{
    intptr_t height = reinterpret_cast<intptr_t>(arg), count = 1;
    if (height == 0)
        return count;
    nx_task children[10];
    for (nx_task &child : children)
        child = nx_spawn(node, reinterpret_cast<void *>(height - 1));
    for (nx_task child : children) {
        intptr_t below = 0;
        count += nx_join(child, &below, NX_FOREVER) == 0 ? below : 0;
    }
    return count;
}

static void tree(benchmark::State &state)
{
    const intptr_t height = 6, size = 1111111;
    while (state.KeepRunningBatch(size))
        cases::must(node(reinterpret_cast<void *>(height)) == size, "every task of the tree has been counted");
}

int main(int argc, char **argv)
{
    micro::add("spawn_join", spawn_join);
    micro::add("spawn_join_1000", spawn_join_1000);
    micro::add("tree", tree);
    return micro::run(argc, argv);
}
