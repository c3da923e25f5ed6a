/*
 * micro.h: what the programs of bench/micro share: a case runs in a task, on worker 0 of a runtime that NEXUS_BACKEND,
 * NEXUS_SCHED, NEXUS_WORKERS and the others choose as they do for every program; NEXUS_CPUS=none unpins its workers.
 */
#ifndef BENCH_MICRO_H
#define BENCH_MICRO_H

#include "cases.h"
#include <nexus/nexus.h>

namespace micro
{

void add(const std::string &name, cases::Body body, cases::Clock clock = cases::Clock::REAL);

/* The same on a runtime of its own that parks without spinning first: NEXUS_SPIN=0. */
void add_without_spin(const std::string &name, cases::Body body);

/* cases::run(), then the runtimes are taken down. */
int run(int argc, char **argv);

/* A task of that worker, which no other takes; `here` is the case's own. */
const int here = 0, there = 1;
nx_task spawn_at(int worker, nx_task_fn fn, void *arg);
void join(nx_task task, intptr_t expected = 0);

/* False, and the case says so, if there is but one worker. */
bool has_two_workers(benchmark::State &state);

/* Ends the program, with 1, if the result of a call is an error. Returns it. */
int64_t ok(int64_t result, const char *call);

} // namespace micro

#endif
