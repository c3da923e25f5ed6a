/*
 * blocking.h: threads for calls that block: two pools in each runtime, one for nx_blocking and emulated files, one for
 * name look-ups, so that slow name servers never hold a file up.
 */
#ifndef NXI_BLOCKING_H
#define NXI_BLOCKING_H

#include "core.h"
#include <nexus/runtime.h>

#define NXI_BLOCKING_THREADS 64u /* unless nx_runtime_options.blocking_threads says otherwise */
#define NXI_BLOCKING_THREADS_MAX 10000u
#define NXI_RESOLVER_THREADS 8u

/* What a pool's thread runs. run is called once, on that thread; the job is run's from then on, to free or to give back
 * to whoever waits for it, and the pool doesn't touch it again. */
struct nxi_job {
    struct nxi_job *next, **link; /* in the queue; link is NULL once a thread has taken it out. Under the pool's lock */
    void (*run)(struct nxi_job *job);
    nx_task task; /* who waits for it, or 0 */
};

struct nxi_blocking;

/* How long a thread that has nothing to do stays: 10 s; tests shorten it. */
extern _Atomic int64_t nxi_blocking_idle_ns;

/* name: of its threads, up to 11 bytes; thread_max > 0. No thread is made yet. */
int nxi_blocking_open(const char *name, uint32_t thread_max, struct nxi_blocking **ret_pool);
/*
 * Nobody posts any more. What is queued is still run, and all threads are joined. Those whose job has not ended at the
 * deadline are left to themselves with the pool: such a job uses nothing of the runtime's. NULL is fine.
 */
void nxi_blocking_close(struct nxi_blocking *pool, nx_time deadline);

/* 0, or -EAGAIN: there is no thread, and none can be had. */
int nxi_blocking_post(struct nxi_blocking *pool, struct nxi_job *job);
/* Takes a posted job back: true if it hasn't begun, and never will. Only for one that is waited for, which therefore
 * still exists. */
bool nxi_blocking_take_back(struct nxi_blocking *pool, struct nxi_job *job);
/* Logs the jobs that have been running for at least that long and who waits for them; how many. */
unsigned nxi_blocking_log_running(struct nxi_blocking *pool, struct nx_runtime *runtime, const char *when,
                                  int64_t least_ns);
void nxi_blocking_metrics(struct nxi_blocking *pool, struct nx_pool_metrics *ret_metrics);

/* A job that a task waits for. call is run on the pool's thread, and must not touch what it got afterwards. */
struct nxi_call {
    struct nxi_job job;
    struct nxi_waiter waiter;
    void (*call)(struct nxi_call *call);
};

/*
 * Runs call->call on a thread of the pool for the current task, which waits: 0. -ETIMEDOUT, -ECANCELED: it has not been
 * called; once begun it is waited for. -EAGAIN: no thread, or NX_POLL. what: for nx_dump, static.
 */
int nxi_blocking_run(struct nxi_worker *worker, struct nxi_blocking *pool, struct nxi_call *call, const char *what,
                     nx_time deadline);

/* Both pools of a runtime: 0 or -ENOMEM. On failure close undoes what was done. */
int nxi_pools_open(struct nx_runtime *runtime);
void nxi_pools_close(struct nx_runtime *runtime); /* after the workers */

#endif
