/*
 * cases.h: Google Benchmark as every program of the comparison uses it (bench/micro, bench/raw, bench/peers).
 *
 * The same case has the same name everywhere, so that `nexus bench` can put them side by side: real time and the
 * whole process's CPU time are measured for every case, and the suffixes that Google Benchmark appends for that to a
 * name ("/real_time") are taken off again. A case does a batch of operations a round and counts operations:
 *
 *     while (state.KeepRunningBatch(100)) ...a hundred of them...
 *
 * so that the time printed is that of one operation.
 */
#ifndef BENCH_CASES_H
#define BENCH_CASES_H

#include <benchmark/benchmark.h>
#include <cstdint>
#include <functional>
#include <string>

namespace cases
{

using Body = std::function<void(benchmark::State &)>;

enum class Clock { REAL, MANUAL }; /* MANUAL: the body calls state.SetIterationTime(), in seconds a batch */

void add(const std::string &name, Body body, Clock clock = Clock::REAL);

/* main()'s work: the cases that --benchmark_filter chooses. Its exit status. */
int run(int argc, char **argv);

/* A figure of work that was not done right is worth nothing: ends the program, with 1, unless it holds. */
void must(bool holds, const char *claim);

int64_t now_ns(); /* CLOCK_MONOTONIC */

/* Of a sorted copy of samples[]: the value below which that share of them lies. */
double quantile(const int64_t *samples, size_t count, double share);

/* Keeps the calling thread on that cpu of those it may use, the last one if there are fewer. */
void pin(unsigned number);

} // namespace cases

#endif
