/*
 * blocking.c: pools of threads for calls that block.
 *
 * A pool has a queue of jobs, first in first out, and a stack of idle threads. A post queues its job, and then wakes
 * the thread that became idle last or, if none is idle, makes one, up to the limit. The thread at the bottom of the
 * stack is so the one that is needed least: when it has been idle for nxi_blocking_idle_ns it leaves. A thread looks
 * into the queue before it becomes idle or leaves, under the lock, so no job is left lying while a thread has time.
 *
 * Who has a job: the queue, while job->link is set, and then whoever posted it may take it back; or a thread, which
 * took it out under the lock. Then it runs to its end. Whoever waits for it is woken by the thread (nxi_waiter_wake),
 * and from then on the job's memory may be gone.
 *
 * A thread's struct is not freed before the pool is: so it may be rung without the lock (sleeper.h), which spares the
 * woken thread from meeting it. One that is rung late, for another owner of its struct, looks and sleeps again. A
 * thread that leaves is joined by the next one that leaves, or by the close.
 *
 * Where a driver owns the clock, that stands while there are jobs: each holds it from its post until what it did is
 * done, a wake included. A pool without a runtime left (orphaned) has no clock.
 *
 * The close waits for all threads. Those of look-ups that nobody waits for any more may sit in the C library for half a
 * minute: they are detached at a deadline, and the last of them frees the pool.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_setname_np */
#endif
#include "blocking.h"
#include "os.h"
#include "setup.h"
#include "sleeper.h"
#include <string.h>
#include <time.h>

_Atomic int64_t nxi_blocking_idle_ns = INT64_C(10000000000);

enum thread_state { FREE, BUSY, IDLE, LEFT, JOINED }; /* LEFT: has ended or is about to; JOINED: is being joined */

struct pool_thread {
    struct nxi_blocking *pool;
    struct pool_thread *next;  /* of all */
    struct pool_thread *below; /* while IDLE: on the stack */
    struct nxi_sleeper sleeper;
    pthread_t thread;
    enum thread_state state;
    uint32_t index;
    bool running;  /* in a job */
    nx_task task;  /* that waits for it */
    nx_time since; /* when it began */
};

struct nxi_blocking {
    pthread_mutex_t lock;
    pthread_cond_t gone; /* a thread has become LEFT */
    struct nxi_job *first, **last;
    struct pool_thread *threads, *idle;
    uint32_t thread_max;
    uint32_t thread_count; /* BUSY and IDLE */
    uint32_t made;         /* structs */
    bool closing, orphaned;
    struct nx_driver *clock; /* NULL: nobody's; under the lock */
    void (*hold_clock)(struct nx_driver *clock, int32_t more);
    struct nx_pool_metrics metrics;
    char name[12];
};

static void hold(const struct nxi_blocking *pool, int32_t more)
{
    if (NXI_UNLIKELY(pool->clock != NULL) && !pool->orphaned)
        pool->hold_clock(pool->clock, more);
}

/* ---- the queue; under the lock ---- */

static void push(struct nxi_blocking *pool, struct nxi_job *job)
{
    struct nxi_job **last = pool->first ? pool->last : &pool->first;
    job->next = NULL;
    job->link = last;
    *last = job;
    pool->last = &job->next;
    pool->metrics.queued++;
    if (pool->metrics.queued > pool->metrics.queue_high)
        pool->metrics.queue_high = pool->metrics.queued;
}

static void unlink_job(struct nxi_blocking *pool, struct nxi_job *job)
{
    *job->link = job->next;
    if (job->next)
        job->next->link = job->link;
    else
        pool->last = job->link;
    job->link = NULL;
    pool->metrics.queued--;
}

/* ---- a thread ---- */

static void run_job(struct nxi_blocking *pool, struct pool_thread *self, struct nxi_job *job)
{
    unlink_job(pool, job);
    self->running = true;
    self->task = job->task;
    self->since = nxi_clock();
    pool->metrics.busy++;
    pool->metrics.jobs++;
    pthread_mutex_unlock(&pool->lock);
    job->run(job);
    pthread_mutex_lock(&pool->lock);
    pool->metrics.busy--;
    self->running = false;
    hold(pool, -1);
}

static void idle_remove(struct nxi_blocking *pool, struct pool_thread *self)
{
    struct pool_thread **link = &pool->idle;
    while (*link != self) /* ends: it is on the stack */
        link = &(*link)->below;
    *link = self->below;
}

/* Sleeps until somebody has a job: true, or until it has slept long enough or the pool closes. */
static bool wait_for_work(struct nxi_blocking *pool, struct pool_thread *self)
{
    if (pool->closing)
        return false;
    nx_time until = nxi_time_add(nxi_clock(), atomic_load(&nxi_blocking_idle_ns));
    self->state = IDLE;
    self->below = pool->idle;
    pool->idle = self;
    nxi_sleeper_reset(&self->sleeper);
    pthread_mutex_unlock(&pool->lock);
    nxi_sleeper_sleep(&self->sleeper, until);
    pthread_mutex_lock(&pool->lock);
    bool woken = nxi_sleeper_woken(&self->sleeper);
    if (!woken)
        idle_remove(pool, self);
    self->state = BUSY;
    return pool->first || (woken && !pool->closing);
}

static void free_pool(struct nxi_blocking *pool)
{
    while (pool->threads) {
        struct pool_thread *thread = pool->threads;
        pool->threads = thread->next;
        nxi_free(thread, sizeof(*thread));
    }
    pthread_cond_destroy(&pool->gone);
    pthread_mutex_destroy(&pool->lock);
    nxi_free(pool, sizeof(*pool));
}

/* Joins those that have left, which is a matter of moments; the lock is let go meanwhile. */
static void join_left(struct nxi_blocking *pool)
{
    for (struct pool_thread *thread = pool->threads; thread; thread = thread->next) {
        if (thread->state != LEFT || pool->orphaned)
            continue;
        thread->state = JOINED; /* by nobody else */
        pthread_mutex_unlock(&pool->lock);
        pthread_join(thread->thread, NULL);
        pthread_mutex_lock(&pool->lock);
        thread->state = FREE;
    }
}

static void name_thread(const struct nxi_blocking *pool, const struct pool_thread *self)
{
    char name[28];
    snprintf(name, sizeof(name), "%s-%u", pool->name, self->index % 1000);
    nxi_os_thread_name(name);
}

/* Until the pool closes or has nothing to do for so long. While others are joined a job may have come: that is looked
 * for before the thread is no longer counted. */
static void work(struct nxi_blocking *pool, struct pool_thread *self)
{
    do {
        do {
            while (pool->first)
                run_job(pool, self, pool->first);
        } while (wait_for_work(pool, self));
        join_left(pool);
    } while (pool->first);
}

static void *thread_main(void *arg)
{
    struct pool_thread *self = arg;
    struct nxi_blocking *pool = self->pool;
    name_thread(pool, self);
    pthread_mutex_lock(&pool->lock);
    work(pool, self);
    pool->thread_count--;
    self->state = LEFT;
    bool last = pool->orphaned && pool->thread_count == 0;
    pthread_cond_broadcast(&pool->gone);
    pthread_mutex_unlock(&pool->lock);
    if (last)
        free_pool(pool);
    return NULL;
}

/* A free struct, or a new one; NULL: out of memory. Under the lock. */
static struct pool_thread *thread_take(struct nxi_blocking *pool)
{
    struct pool_thread *thread = pool->threads;
    while (thread && thread->state != FREE)
        thread = thread->next;
    if (thread) {
        thread->state = BUSY;
        return thread;
    }
    thread = nxi_alloc(sizeof(*thread));
    if (!thread)
        return NULL;
    thread->pool = pool;
    thread->state = BUSY;
    thread->index = pool->made++;
    thread->next = pool->threads;
    pool->threads = thread;
    return thread;
}

/* Under the lock, which is the first thing the new thread takes. It inherits the worker's signal mask: signals belong
 * to the program's own threads. */
static bool thread_make(struct nxi_blocking *pool)
{
    struct pool_thread *thread = thread_take(pool);
    if (!thread)
        return false;
    int error = pthread_create(&thread->thread, NULL, thread_main, thread);
    if (error == 0)
        pool->thread_count++;
    else
        thread->state = FREE;
    return error == 0;
}

/* ---- posting ---- */

int nxi_blocking_post(struct nxi_blocking *pool, struct nxi_job *job)
{
    int result = 0;
    pthread_mutex_lock(&pool->lock);
    hold(pool, 1);
    push(pool, job);
    struct pool_thread *idle = pool->idle;
    bool asleep = false;
    if (idle) {
        pool->idle = idle->below;
        asleep = nxi_sleeper_wake(&idle->sleeper);
    } else if (pool->thread_count < pool->thread_max && !thread_make(pool) && pool->thread_count == 0) {
        unlink_job(pool, job);
        hold(pool, -1);
        result = -EAGAIN;
    }
    pthread_mutex_unlock(&pool->lock);
    if (asleep)
        nxi_sleeper_ring(&idle->sleeper);
    return result;
}

bool nxi_blocking_take_back(struct nxi_blocking *pool, struct nxi_job *job)
{
    pthread_mutex_lock(&pool->lock);
    bool queued = job->link;
    if (queued) {
        unlink_job(pool, job);
        hold(pool, -1);
    }
    pthread_mutex_unlock(&pool->lock);
    return queued;
}

/* ---- life ---- */

int nxi_blocking_open(const char *name, uint32_t thread_max, struct nxi_blocking **ret_pool)
{
    struct nxi_blocking *pool = nxi_alloc(sizeof(*pool));
    if (!pool)
        return -ENOMEM;
    pthread_mutex_init(&pool->lock, NULL);
    nxi_os_cond_init(&pool->gone);
    pool->thread_max = thread_max;
    snprintf(pool->name, sizeof(pool->name), "%s", name);
    *ret_pool = pool;
    return 0;
}

/* At the deadline: nobody will join the threads that are left. */
static void orphan(struct nxi_blocking *pool)
{
    pool->orphaned = true;
    for (struct pool_thread *thread = pool->threads; thread; thread = thread->next)
        if (thread->state == BUSY || thread->state == IDLE || thread->state == LEFT)
            pthread_detach(thread->thread);
}

void nxi_blocking_close(struct nxi_blocking *pool, nx_time deadline)
{
    int error = 0;
    if (!pool)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->closing = true;
    for (struct pool_thread *thread; (thread = pool->idle); pool->idle = thread->below)
        if (nxi_sleeper_wake(&thread->sleeper))
            nxi_sleeper_ring(&thread->sleeper);
    while (pool->thread_count > 0 && error == 0)
        error = deadline == NX_FOREVER ? pthread_cond_wait(&pool->gone, &pool->lock)
                                       : nxi_os_cond_wait_until(&pool->gone, &pool->lock, deadline);
    bool all = pool->thread_count == 0;
    if (all)
        join_left(pool);
    else
        orphan(pool);
    pthread_mutex_unlock(&pool->lock);
    if (all)
        free_pool(pool);
}

/* ---- what happens in it ---- */

static void label(nx_task id, char *ret, size_t size)
{
    uint64_t ctl;
    struct nxi_task *task = id ? nxi_task_find(id, &ctl) : NULL;
    if (task)
        nxi_task_label(task, ret, size);
    else
        snprintf(ret, size, "that is gone");
}

unsigned nxi_blocking_log_running(struct nxi_blocking *pool, struct nx_runtime *runtime, const char *when,
                                  int64_t least_ns)
{
    struct {
        nx_task task;
        int64_t ns;
    } running[16];
    unsigned count = 0, shown = 0;
    nx_time now = nxi_clock();
    pthread_mutex_lock(&pool->lock); /* a log function may do anything, so not under it */
    for (struct pool_thread *thread = pool->threads; thread; thread = thread->next) {
        if (!thread->running || !thread->task || now - thread->since < least_ns)
            continue;
        count++;
        if (shown < sizeof(running) / sizeof(running[0])) {
            running[shown].task = thread->task;
            running[shown++].ns = now - thread->since;
        }
    }
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < shown; i++) {
        char name[64];
        label(running[i].task, name, sizeof(name));
        nxi_log(runtime, NX_LOG_WARN, "%s: task %s waits for a blocking call, which has been running for %lld ms", when,
                name, (long long)(running[i].ns / 1000000));
    }
    if (count > shown)
        nxi_log(runtime, NX_LOG_WARN, "%s: %u more blocking calls are running", when, count - shown);
    return count;
}

void nxi_blocking_metrics(struct nxi_blocking *pool, struct nx_pool_metrics *ret_metrics)
{
    pthread_mutex_lock(&pool->lock);
    *ret_metrics = pool->metrics;
    ret_metrics->threads = pool->thread_count;
    pthread_mutex_unlock(&pool->lock);
}

/* ---- for a task ---- */

static void run_call(struct nxi_job *job)
{
    struct nxi_call *call = nxi_container(job, struct nxi_call, job);
    call->call(call);
    nxi_waiter_wake(&call->waiter, NX_REASON_REMOTE);
}

int nxi_blocking_run(struct nxi_worker *worker, struct nxi_blocking *pool, struct nxi_call *call, const char *what,
                     nx_time deadline)
{
    int error = nxi_task_cancelled(worker->current) ? -ECANCELED : deadline == NX_POLL ? -EAGAIN : 0;
    if (error == 0) {
        nxi_waiter_init(&call->waiter, worker);
        nxi_waiter_note(&call->waiter, what, NXI_OBJECT_NONE, 0);
        call->job.run = run_call;
        call->job.task = nxi_task_id(worker->current);
        error = nxi_blocking_post(pool, &call->job);
        if (error < 0)
            nxi_waiter_forget(&call->waiter);
    }
    if (error < 0) {
        nxi_charge(worker);
        return error;
    }
    error = nxi_waiter_wait(&call->waiter, deadline, true);
    if (error < 0 && nxi_blocking_take_back(pool, &call->job)) {
        nxi_waiter_forget(&call->waiter);
        return error;
    }
    if (error < 0)
        nxi_waiter_wait(&call->waiter, NX_FOREVER, false);
    return 0;
}

struct blocking_call {
    struct nxi_call call;
    nx_task_fn fn;
    void *arg;
    intptr_t result;
};

static void call_fn(struct nxi_call *base)
{
    struct blocking_call *call = nxi_container(base, struct blocking_call, call);
    call->result = call->fn(call->arg);
}

int nx_blocking(nx_task_fn fn, void *arg, intptr_t *ret_result, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (!fn)
        return -EINVAL;
    struct blocking_call call = {.call = {.call = call_fn}, .fn = fn, .arg = arg};
    int error = nxi_blocking_run(worker, worker->runtime->blocking, &call.call, "blocking call", deadline);
    if (error == 0 && ret_result)
        *ret_result = call.result;
    return error;
}

/* ---- both of a runtime ---- */

static void tie_to_clock(struct nxi_blocking *pool, const struct nx_runtime *runtime)
{
    const struct nx_driver_ops *ops = runtime->drivers[0].ops;
    if (!runtime->clock || !NXI_HAS(ops, hold))
        return;
    pool->clock = runtime->clock;
    pool->hold_clock = ops->hold;
}

int nxi_pools_open(struct nx_runtime *runtime)
{
    int error = nxi_blocking_open("nexus-block", runtime->setup->blocking_threads, &runtime->blocking);
    if (error == 0)
        error = nxi_blocking_open("nexus-dns", NXI_RESOLVER_THREADS, &runtime->resolver);
    if (error < 0)
        return error;
    tie_to_clock(runtime->blocking, runtime);
    tie_to_clock(runtime->resolver, runtime);
    return 0;
}

/* What runs for a task has ended with the task, and a plugin's own jobs need the plugin. A look-up needs nobody. */
void nxi_pools_close(struct nx_runtime *runtime)
{
    nxi_blocking_close(runtime->blocking, NX_FOREVER);
    nxi_blocking_close(runtime->resolver, nxi_time_add(nxi_clock(), INT64_C(1000000000)));
}
