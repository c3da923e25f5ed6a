/*
 * A scheduler as an author could have built it for ABI 0.1: a queue per worker, first in, first out. Not part of any
 * build: see driver_0_1.c.
 */
#include <errno.h>
#include <nexus/sched.h>
#include <stddef.h>

struct queue {
    _Alignas(128) struct nx_ready *first, **end;
};

struct nx_sched {
    const struct nx_host *host;
    size_t size;
    uint32_t workers;
    struct queue queue[];
};

static int sched_open(const struct nx_host *host, const struct nx_config *config, uint32_t workers,
                      struct nx_sched **ret_sched, struct nx_reason *ret_reason)
{
    size_t size = sizeof(struct nx_sched) + workers * sizeof(struct queue);
    struct nx_sched *sched = host->alloc(size, 128);

    (void)config;
    if (!sched) {
        ret_reason->error = ENOMEM;
        return -ENOMEM;
    }
    sched->host = host;
    sched->size = size;
    sched->workers = workers;
    for (uint32_t i = 0; i < workers; i++)
        sched->queue[i].end = &sched->queue[i].first;
    *ret_sched = sched;
    return 0;
}

static void sched_close(struct nx_sched *sched)
{
    sched->host->free(sched, sched->size);
}

/* A child stays where its parent is, unless it is to be spread. */
static uint32_t sched_select(struct nx_sched *sched, const struct nx_ready *ready, uint32_t from, uint32_t spread,
                             const uint32_t *loads)
{
    uint32_t least = 0;

    (void)ready;
    if (from != UINT32_MAX && !spread)
        return from;
    for (uint32_t i = 1; i < sched->workers; i++)
        if (loads[i] < loads[least])
            least = i;
    return least;
}

static uint32_t sched_enqueue(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready, uint32_t reason)
{
    struct queue *queue = &sched->queue[worker];

    (void)reason;
    ready->next = NULL;
    *queue->end = ready;
    queue->end = &ready->next;
    return NX_WAKE_NONE;
}

static struct nx_ready *sched_dequeue(struct nx_sched *sched, uint32_t worker)
{
    struct queue *queue = &sched->queue[worker];
    struct nx_ready *ready = queue->first;

    if (!ready)
        return NULL;
    queue->first = ready->next;
    if (!queue->first)
        queue->end = &queue->first;
    return ready;
}

static uint32_t sched_has_work(struct nx_sched *sched, uint32_t worker)
{
    return sched->queue[worker].first != NULL;
}

static const struct nx_sched_ops sched_ops = {
    .size = sizeof(struct nx_sched_ops),
    .open = sched_open,
    .close = sched_close,
    .select = sched_select,
    .enqueue = sched_enqueue,
    .dequeue = sched_dequeue,
    .has_work = sched_has_work,
};

NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_sched_0_1 = {
    .magic = NX_PLUGIN_MAGIC,
    .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR,
    .abi_minor = NX_ABI_MINOR,
    .kind = NX_PLUGIN_SCHEDULER,
    .name = "sched_0_1",
    .version = "0.1",
    .summary = "first in, first out; built for ABI 0.1",
    .priority = -1,
    .ops = &sched_ops,
};
