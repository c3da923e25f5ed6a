/* timer: how late the kernel ends a wait of a millisecond when the thread asks for no slack: clock_nanosleep(2) until
 * an absolute time, the way with the least around it. */
#include "cases.h"

#include <cerrno>
#include <ctime>
#include <sys/prctl.h>
#include <vector>

static const int sleeps = 300;

static void sleep_1ms(benchmark::State &state)
{
    cases::must(prctl(PR_SET_TIMERSLACK, 1UL) == 0, "a thread may do without timer slack");
    std::vector<int64_t> late;
    while (state.KeepRunningBatch(sleeps))
        for (int i = 0; i < sleeps; i++) {
            int64_t due = cases::now_ns() + 1000000;
            struct timespec until;
            until.tv_sec = due / 1000000000;
            until.tv_nsec = due % 1000000000;
            while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR)
                ;
            late.push_back(cases::now_ns() - due);
            cases::must(late.back() >= 0, "a sleep never ends early");
        }
    state.counters["p50_us"] = cases::quantile(late.data(), late.size(), 0.5) / 1000;
    state.counters["p99_us"] = cases::quantile(late.data(), late.size(), 0.99) / 1000;
}

int main(int argc, char **argv)
{
    cases::add("sleep_1ms", sleep_1ms);
    return cases::run(argc, argv);
}
