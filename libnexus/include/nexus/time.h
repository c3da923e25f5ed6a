/* nexus/time.h: the clock, sleeping, tickers. */
#ifndef NEXUS_TIME_H
#define NEXUS_TIME_H

#include <nexus/base.h>

NX_BEGIN_DECLS

/* The time now, >= 1. In a task: its runtime's clock, which may be virtual. [threads] */
NX_API nx_time nx_now(void);

/* The time ns (ms) from now: what a deadline argument wants. Saturates at NX_FOREVER, never below 1. [threads] */
NX_API nx_time nx_after_ns(int64_t ns);
NX_API nx_time nx_after_ms(int64_t ms);

/* Sleeps until t, never less: 0; -ECANCELED when the task is cancelled, -ETIMEDOUT when a scope's deadline comes
 * first. A time in the past yields. [parks] */
NX_API int nx_sleep_until(nx_time t);
NX_API int nx_sleep_ms(int64_t ms);

/* Fixed-rate ticks without drift: a late tick does not move the ones after it. One task at a time. */
typedef struct nx_ticker {
    nx_time next;
    int64_t period_ns;
} nx_ticker;

/* The first tick is one period from now. period_ns > 0, else -EINVAL. */
NX_API int nx_ticker_init(nx_ticker *ticker, int64_t period_ns);

/* Sleeps until the next tick; returns how many ticks were missed before it (0 when in time), or as nx_sleep_until.
 * [parks] */
NX_API int64_t nx_ticker_next(nx_ticker *ticker);

NX_END_DECLS
#endif
