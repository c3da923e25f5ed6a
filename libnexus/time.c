/* time.c: the clock, sleeping, tickers. */
#include "core.h"
#include <nexus/time.h>

nx_time nx_now(void)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_self();
    return worker ? nxi_worker_now(worker) : nxi_clock();
}

nx_time nx_after_ns(int64_t ns)
{
    NXI_ENTRY(-ENOSYS);
    if (ns == NX_FOREVER)
        return NX_FOREVER;
    nx_time now = nx_now();
    if (ns < 0)
        return now + ns < 1 ? 1 : now + ns;
    return nxi_time_add(now, ns);
}

nx_time nx_after_ms(int64_t ms)
{
    NXI_ENTRY(-ENOSYS);
    const int64_t max = INT64_MAX / 1000000;
    return nx_after_ns(ms > max ? NX_FOREVER : ms < -max ? -INT64_MAX : ms * 1000000);
}

int nx_sleep_until(nx_time until)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (nxi_task_cancelled(worker->current)) {
        nxi_charge(worker);
        return -ECANCELED;
    }
    nx_time now = nx_now();
    if (until <= now) {
        nxi_yield(worker);
        return 0;
    }
    if (nxi_deadline(worker, until) <= now) {
        nxi_charge(worker);
        return -ETIMEDOUT;
    }
    struct nxi_waiter waiter; /* nobody wakes it but the timer and a cancel */
    nxi_waiter_init(&waiter, worker);
    nxi_waiter_note(&waiter, "sleep", NXI_OBJECT_NONE, 0);
    int error = nxi_waiter_wait(&waiter, until, true);
    nxi_waiter_forget(&waiter);
    return error == -ETIMEDOUT && until <= nx_now() ? 0 : error; /* or a scope's deadline has come first */
}

int nx_sleep_ms(int64_t ms)
{
    NXI_ENTRY(-ENOSYS);
    return nx_sleep_until(nx_after_ms(ms));
}

int nx_ticker_init(nx_ticker *ticker, int64_t period_ns)
{
    NXI_ENTRY(-ENOSYS);
    if (!ticker || period_ns <= 0)
        return -EINVAL;
    *ticker = (nx_ticker){.next = nx_after_ns(period_ns), .period_ns = period_ns};
    return 0;
}

int64_t nx_ticker_next(nx_ticker *ticker)
{
    NXI_ENTRY(-ENOSYS);
    if (!ticker || ticker->period_ns <= 0)
        return -EINVAL;
    nx_time now = nx_now();
    int64_t missed = now > ticker->next ? (now - ticker->next) / ticker->period_ns : 0;
    nx_time tick = nxi_time_add(ticker->next, missed * ticker->period_ns);
    int error = nx_sleep_until(tick);
    if (error < 0)
        return error;
    ticker->next = nxi_time_add(tick, ticker->period_ns);
    return missed;
}
