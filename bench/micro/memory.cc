/*
 * memory: what tasks that sleep keep, in bytes a task, and what a stack costs that was never used before.
 *
 * memory_parked: 100,000 tasks asleep, after a warm-up of deep calls that has left used stacks behind; memory_live_1m:
 * a million, with the number of the process's mappings and the share of stacks that were found guarded. Their time is
 * that of spawning a task, letting it run and park. stack_fresh: a guarded stack, its first page touched.
 */
#include "micro.h"
#include "stacks.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unistd.h>
#include <vector>

struct Memory {
    int64_t rss, page_tables;
};

static Memory memory_now()
{
    Memory memory = {0, 0};
    char line[256];
    FILE *file = std::fopen("/proc/self/status", "re");
    while (file && std::fgets(line, sizeof line, file)) {
        if (std::strncmp(line, "VmRSS:", 6) == 0)
            memory.rss = std::atoll(line + 6) * 1024;
        if (std::strncmp(line, "VmPTE:", 6) == 0)
            memory.page_tables = std::atoll(line + 6) * 1024;
    }
    if (file)
        std::fclose(file);
    cases::must(memory.rss > 0, "/proc/self/status tells the resident memory");
    return memory;
}

static int count_mappings()
{
    int lines = 0;
    FILE *file = std::fopen("/proc/self/maps", "re");
    for (int c; file && (c = std::getc(file)) != EOF;)
        lines += c == '\n';
    if (file)
        std::fclose(file);
    return lines;
}

/* ---- tasks asleep ---- */

static std::atomic<int> asleep, guarded, looked;
static int probe[2];

/* The kernel reads the byte for us: EFAULT instead of a signal. */
static bool is_readable(const char *byte)
{
    char back;
    return write(probe[1], byte, 1) == 1 && read(probe[0], &back, 1) == 1;
}

static void look_for_guard()
{
    char here;
    const uintptr_t page = 4096, depth = 64 << 10;
    uintptr_t at = reinterpret_cast<uintptr_t>(&here) & ~(page - 1), end = at - depth;
    while (at > end && is_readable(reinterpret_cast<const char *>(at)))
        at -= page;
    guarded += at > end;
    looked++;
}

static intptr_t sleeper(void *arg)
{
    asleep++;
    int result = nx_sleep_until(NX_FOREVER);
    if (arg)
        look_for_guard();
    return result;
}

static int descend(int kib)
{
    volatile char room[1024];
    room[0] = static_cast<char>(kib);
    int below = kib > 0 ? descend(kib - 1) : 0;
    return below + room[0];
}

static intptr_t deep(void *)
{
    int sum = descend(40);
    nx_sleep_ms(1); /* all of them at once: each on a stack of its own */
    return sum == 40 * 41 / 2 ? 0 : 1;
}

static void warm_up()
{
    std::vector<nx_task> tasks(200);
    for (nx_task &task : tasks)
        task = micro::ok(nx_spawn(deep, nullptr), "nx_spawn");
    for (nx_task task : tasks)
        micro::join(task);
}

static void park(std::vector<nx_task> &tasks)
{
    nx_task_options options = {};
    options.size = sizeof options;
    options.flags = NX_TASK_SPREAD;
    asleep = 0;
    for (size_t i = 0; i < tasks.size(); i++)
        tasks[i] = micro::ok(nx_spawn_with(&options, sleeper, i % 500 == 0 ? &asleep : nullptr), "nx_spawn_with");
    while (asleep < static_cast<int>(tasks.size()))
        nx_yield();
}

static void wake_all(const std::vector<nx_task> &tasks)
{
    for (nx_task task : tasks)
        micro::ok(nx_cancel(task), "nx_cancel");
    for (nx_task task : tasks)
        micro::join(task, -ECANCELED);
}

static void parked(benchmark::State &state, int count)
{
    static Memory before = memory_now(); /* in a second round the stacks of the first are there already */
    std::vector<nx_task> tasks(count);
    std::memset(tasks.data(), 1, tasks.size() * sizeof(tasks[0])); /* not a task's memory */
    micro::ok(-(probe[1] == 0 && pipe(probe) != 0), "pipe");
    warm_up();
    while (state.KeepRunningBatch(count)) {
        int64_t start = cases::now_ns();
        park(tasks);
        state.SetIterationTime(static_cast<double>(cases::now_ns() - start) / 1e9);
        Memory after = memory_now();
        int64_t ids = static_cast<int64_t>(tasks.size() * sizeof(tasks[0]));
        state.counters["bytes_rss"] = static_cast<double>(after.rss - before.rss - ids) / count;
        state.counters["bytes_page_tables"] = static_cast<double>(after.page_tables - before.page_tables) / count;
        state.counters["mappings"] = count_mappings();
        wake_all(tasks);
    }
    state.counters["guarded"] = static_cast<double>(guarded) / looked;
}

/* ---- fresh stacks ---- */

static void stack_fresh(benchmark::State &state)
{
    const size_t batch = 256, size = 64 << 10;
    void *tops[batch];
    bool are_guarded = true;
    while (state.KeepRunningBatch(batch)) {
        int64_t start = cases::now_ns();
        micro::ok(bench_stacks_take(tops, batch, size), "nxi_stack_get");
        for (void *top : tops)
            static_cast<volatile char *>(top)[-8] = 1;
        state.SetIterationTime(static_cast<double>(cases::now_ns() - start) / 1e9);
        are_guarded = are_guarded && bench_stack_is_guarded(tops[0]) && bench_stack_is_guarded(tops[batch - 1]);
        bench_stacks_forget(tops, batch);
    }
    cases::must(are_guarded, "fresh stacks are guarded");
}

int main(int argc, char **argv)
{
    micro::add(
        "memory_parked", [](benchmark::State &state) { parked(state, 100000); }, cases::Clock::MANUAL);
    micro::add(
        "memory_live_1m", [](benchmark::State &state) { parked(state, 1000000); }, cases::Clock::MANUAL);
    micro::add("stack_fresh", stack_fresh, cases::Clock::MANUAL);
    return micro::run(argc, argv);
}
