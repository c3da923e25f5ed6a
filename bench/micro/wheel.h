/* wheel.h: the core's timing wheel for timer.cc: its own header is C11 with atomics, which C++ can't read. */
#ifndef BENCH_WHEEL_H
#define BENCH_WHEEL_H

#include <nexus/base.h>

NX_BEGIN_DECLS

struct bench_wheel;

/* A wheel with that many timers running, random ones of up to an hour. NULL: no memory. */
struct bench_wheel *bench_wheel_new(size_t timers);
void bench_wheel_free(struct bench_wheel *bench);

/* Starts one more timer, at random up to an hour, and stops it: `count` times. */
void bench_wheel_start_stop(struct bench_wheel *bench, size_t count);
/* Moves a running timer, a random one, to a random deadline: `count` times. */
void bench_wheel_reset(struct bench_wheel *bench, size_t count);

/* Whether as many timers run as should. */
bool bench_wheel_is_whole(const struct bench_wheel *bench);

NX_END_DECLS

#endif
