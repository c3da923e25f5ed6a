/*
 * local: thread per core. A task stays on the worker it was put on; workers share nothing but the decision where a task
 * from outside, or one spawned with NX_TASK_SPREAD, goes: to the least loaded.
 *
 * A worker has a FIFO per priority and picks among them by weight (shares.h). Only that worker touches them, so nothing
 * here is atomic but the rotation of select. enqueue and dequeue are a yield's whole scheduling cost: a handful of
 * instructions on one cache line.
 */
#include "shares.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>

#define LINE 128u /* two cache lines: neighbours are fetched in pairs */

struct worker {
    _Alignas(LINE) struct shares shares; /* .ready is exact here */
    struct fifo queue[PRIORITIES];
};

struct nx_sched {
    const struct nx_host *host;
    size_t size;
    uint32_t workers;
    _Alignas(LINE) _Atomic uint32_t rotate; /* any thread */
    struct worker worker[];
};

static int local_open(const struct nx_host *host, const struct nx_config *config, uint32_t workers,
                      struct nx_sched **ret_sched, struct nx_reason *ret_reason)
{
    size_t size = sizeof(struct nx_sched) + workers * sizeof(struct worker);
    struct nx_sched *sched;

    (void)config;
    if (workers == 0)
        return -EINVAL;
    sched = host->alloc(size, LINE);
    if (sched == NULL) {
        ret_reason->error = ENOMEM;
        (void)snprintf(ret_reason->call, sizeof(ret_reason->call), "alloc");
        (void)snprintf(ret_reason->text, sizeof(ret_reason->text), "no memory for %u run queues", workers);
        return -ENOMEM;
    }
    sched->host = host;
    sched->size = size;
    sched->workers = workers;
    for (uint32_t i = 0; i < workers; i++) {
        for (uint32_t priority = 0; priority < PRIORITIES; priority++)
            fifo_init(&sched->worker[i].queue[priority]);
    }
    *ret_sched = sched;
    return 0;
}

static void local_close(struct nx_sched *sched)
{
    if (sched != NULL)
        sched->host->free(sched, sched->size);
}

static uint32_t local_select(struct nx_sched *sched, const struct nx_ready *ready, uint32_t from, uint32_t spread,
                             const uint32_t *loads)
{
    (void)ready;
    if (from < sched->workers && !spread)
        return from;
    return least_loaded(loads, sched->workers, atomic_fetch_add_explicit(&sched->rotate, 1, memory_order_relaxed));
}

static uint32_t local_enqueue(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready, uint32_t reason)
{
    struct worker *w = &sched->worker[worker];

    (void)reason;
    fifo_push(&w->queue[ready->priority], ready);
    w->shares.ready |= 1u << ready->priority;
    return NX_WAKE_NONE;
}

static inline struct nx_ready *take(struct worker *w, uint32_t priority)
{
    struct nx_ready *ready = fifo_pop(&w->queue[priority]);

    if (w->queue[priority].head == NULL)
        w->shares.ready &= ~(1u << priority);
    return ready;
}

/* Out of line, so that the common case below saves no registers. */
static __attribute__((noinline)) struct nx_ready *take_among_rivals(struct worker *w)
{
    return take(w, shares_pick_rivals(&w->shares, w->shares.ready));
}

static struct nx_ready *local_dequeue(struct nx_sched *sched, uint32_t worker)
{
    struct worker *w = &sched->worker[worker];
    uint32_t ready = w->shares.ready;

    if (ready == 1u << NX_PRIO_NORMAL)
        return take(w, NX_PRIO_NORMAL);
    return ready != 0 ? take_among_rivals(w) : NULL;
}

/*
 * Both at once: the task goes to the end of its queue, and the first one comes out. A queue that has something in it
 * before still has something after it, so its bit stays as it is.
 */
static struct nx_ready *local_yield(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready)
{
    struct worker *w = &sched->worker[worker];
    struct fifo *queue = &w->queue[NX_PRIO_NORMAL];

    if (w->shares.ready != 1u << NX_PRIO_NORMAL || ready->priority != NX_PRIO_NORMAL) {
        (void)local_enqueue(sched, worker, ready, NX_REASON_YIELD);
        return local_dequeue(sched, worker);
    }
    fifo_push(queue, ready);
    ready = queue->head;
    queue->head = ready->next;
    return ready;
}

static uint32_t local_has_work(struct nx_sched *sched, uint32_t worker)
{
    return sched->worker[worker].shares.ready != 0;
}

static uint32_t local_dump(struct nx_sched *sched, uint32_t worker, struct nx_ready **out, uint32_t max)
{
    uint32_t count = 0;

    for (uint32_t priority = 0; priority < PRIORITIES; priority++) {
        struct nx_ready *ready = sched->worker[worker].queue[priority].head;

        for (; ready != NULL && count < max; ready = ready->next)
            out[count++] = ready;
    }
    return count;
}

static const struct nx_sched_ops ops = {
    .size = sizeof(ops),
    .open = local_open,
    .close = local_close,
    .select = local_select,
    .enqueue = local_enqueue,
    .dequeue = local_dequeue,
    .has_work = local_has_work,
    .dump = local_dump,
    .yield = local_yield,
};

NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_local = {
    .magic = NX_PLUGIN_MAGIC,
    .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR,
    .abi_minor = NX_ABI_MINOR,
    .kind = NX_PLUGIN_SCHEDULER,
    .name = "local",
    .version = "0.1.0",
    .summary = "thread per core: tasks stay on their worker",
    .priority = 80,
    .ops = &ops,
};
