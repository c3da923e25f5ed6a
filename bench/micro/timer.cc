/*
 * timer: starting and stopping a timer, and moving a running one, while N others run; and how late a sleep ends.
 *
 * Programs see timers as deadlines only, so the first two are measured on the wheel itself.
 * p50_us and p99_us of sleep_1ms are microseconds after the time that was asked for.
 */
#include "micro.h"
#include "wheel.h"

#include <string>
#include <vector>

static const size_t batch = 1000;

static void on_wheel(benchmark::State &state, size_t timers, void (*work)(bench_wheel *bench, size_t count))
{
    bench_wheel *bench = bench_wheel_new(timers);
    cases::must(bench != nullptr, "there is memory for the timers");
    work(bench, 10 * batch);
    while (state.KeepRunningBatch(batch))
        work(bench, batch);
    cases::must(bench_wheel_is_whole(bench), "as many timers run as before");
    bench_wheel_free(bench);
}

/* At least so many samples for a 99th percentile, whatever --benchmark_min_time says. */
static const int sleeps = 300;

static void sleep_1ms(benchmark::State &state)
{
    std::vector<int64_t> late;
    while (state.KeepRunningBatch(sleeps))
        for (int i = 0; i < sleeps; i++) {
            nx_time due = nx_now() + 1000000;
            micro::ok(nx_sleep_until(due), "nx_sleep_until");
            late.push_back(nx_now() - due);
            cases::must(late.back() >= 0, "a sleep never ends early");
        }
    state.counters["p50_us"] = cases::quantile(late.data(), late.size(), 0.5) / 1000;
    state.counters["p99_us"] = cases::quantile(late.data(), late.size(), 0.99) / 1000;
}

int main(int argc, char **argv)
{
    for (size_t timers : {1000, 10000, 100000, 1000000}) {
        micro::add("timer_start_stop/" + std::to_string(timers),
                   [=](benchmark::State &state) { on_wheel(state, timers, bench_wheel_start_stop); });
        micro::add("timer_reset/" + std::to_string(timers),
                   [=](benchmark::State &state) { on_wheel(state, timers, bench_wheel_reset); });
    }
    micro::add("sleep_1ms", sleep_1ms);
    return micro::run(argc, argv);
}
