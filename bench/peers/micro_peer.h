/* micro_peer.h: what the peers' cases of timers and wakes have in common, so that each is the same work. */
#ifndef BENCH_MICRO_PEER_H
#define BENCH_MICRO_PEER_H

#include "cases.h"

#include <ctime>
#include <sched.h>
#include <string>
#include <thread>
#include <vector>

namespace peer
{

const size_t batch = 1000;
const uint32_t hour_ms = 3600 * 1000;

inline uint64_t random(uint64_t &seed)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return seed >> 33;
}

inline uint64_t random_ms(uint64_t &seed)
{
    return 1000 + random(seed) % hour_ms;
}

/*
 * A class of timers: Timers(size_t count) starts them, a second to an hour away. start_stop(ms) starts one more and
 * stops it; reset(index, ms) moves a running one.
 */
template <class Timers>
void add_timers()
{
    for (size_t count : {1000, 10000, 100000, 1000000}) {
        cases::add("timer_start_stop/" + std::to_string(count), [=](benchmark::State &state) {
            Timers timers(count);
            uint64_t seed = 1;
            while (state.KeepRunningBatch(batch))
                for (size_t i = 0; i < batch; i++)
                    timers.start_stop(random_ms(seed));
            cases::must(timers.running(), "the timers run as before");
        });
        cases::add("timer_reset/" + std::to_string(count), [=](benchmark::State &state) {
            Timers timers(count);
            uint64_t seed = 1;
            while (state.KeepRunningBatch(batch))
                for (size_t i = 0; i < batch; i++) {
                    size_t which = random(seed) % count;
                    timers.reset(which, random_ms(seed));
                }
            cases::must(timers.running(), "the timers run as before");
        });
    }
}

const int sleeps = 300; /* samples for a 99th percentile */

/* sleep(1 ms) through sleep_ms(), which returns when the timer has fired; an early end shows as a negative lateness. */
template <class Sleep>
void sleep_1ms(benchmark::State &state, Sleep sleep_ms)
{
    std::vector<int64_t> late;
    while (state.KeepRunningBatch(sleeps))
        for (int i = 0; i < sleeps; i++) {
            int64_t due = cases::now_ns() + 1000000;
            sleep_ms();
            late.push_back(cases::now_ns() - due);
        }
    state.counters["p50_us"] = cases::quantile(late.data(), late.size(), 0.5) / 1000;
    state.counters["p99_us"] = cases::quantile(late.data(), late.size(), 0.99) / 1000;
    state.counters["early"] = cases::quantile(late.data(), late.size(), 0) < 0;
}

const int trips = 100; /* there and back, in a batch */

/* Keeps this thread, and another that starts by pinning itself to 1, on a CPU each: on one there would be no wake. */
class Pinned
{
  public:
    explicit Pinned(unsigned number)
    {
        sched_getaffinity(0, sizeof before, &before);
        cases::pin(number);
    }
    ~Pinned()
    {
        sched_setaffinity(0, sizeof before, &before);
    }

  private:
    cpu_set_t before;
};

} // namespace peer

#endif
