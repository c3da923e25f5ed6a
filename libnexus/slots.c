/*
 * slots.c: where task headers live.
 *
 * One table for the process: a directory of segments that never move and are never unmapped. An id is generation and
 * slot; looking it up is two loads and a compare, from any thread, even when the task has long ended. The generation is
 * the upper half of nxi_task.ctl and grows when a header is given back, so that each compare-and-swap on ctl is about
 * one task and no other. A slot whose generation would wrap is never used again.
 *
 * Free headers are kept by each worker, last in first out, because the last one is warm; what a worker has too many of,
 * and what plain threads give back, goes to a common list.
 */
#include "core.h"
#include <stdlib.h>

#define CACHE_BATCH 256u /* moved between a worker and the common list at once */

_Atomic(struct nxi_task *) nxi_segments[NXI_SEGMENTS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for the four below */
static struct nxi_task *common;
static uint32_t common_count, segment_count;

static struct nxi_task *next_free(struct nxi_task *task)
{
    return task->ready.next ? nxi_task_of(task->ready.next) : NULL;
}

static void push_free(struct nxi_task **list, struct nxi_task *task)
{
    task->ready.next = *list ? &(*list)->ready : NULL;
    *list = task;
}

/* Adds a segment's headers to the common list. The lock is held. */
static int grow(void)
{
    if (segment_count == NXI_SEGMENTS_MAX)
        return -ENOMEM;
    struct nxi_task *segment = aligned_alloc(_Alignof(struct nxi_task), NXI_SEGMENT_TASKS * sizeof(*segment));
    if (!segment)
        return -ENOMEM;
    for (uint32_t i = NXI_SEGMENT_TASKS; i-- > 0;) {
        segment[i] = (struct nxi_task){.slot = segment_count * NXI_SEGMENT_TASKS + i};
        atomic_init(&segment[i].ctl, UINT64_C(1) << 32);
        push_free(&common, &segment[i]);
    }
    common_count += NXI_SEGMENT_TASKS;
    atomic_store_explicit(&nxi_segments[segment_count++], segment, memory_order_release);
    return 0;
}

/* Takes up to max headers off the common list. */
static struct nxi_task *take_common(uint32_t max, uint32_t *ret_count)
{
    struct nxi_task *list = NULL;
    *ret_count = 0;
    pthread_mutex_lock(&lock);
    if (common || grow() == 0) {
        for (; *ret_count < max && common; ++*ret_count) {
            struct nxi_task *task = common;
            common = next_free(task);
            push_free(&list, task);
        }
        common_count -= *ret_count;
    }
    pthread_mutex_unlock(&lock);
    return list;
}

static void give_common(struct nxi_task *first, struct nxi_task *last, uint32_t count)
{
    pthread_mutex_lock(&lock);
    last->ready.next = common ? &common->ready : NULL;
    common = first;
    common_count += count;
    pthread_mutex_unlock(&lock);
}

NXI_NOINLINE struct nxi_task *nxi_slot_take_common(struct nxi_worker *worker)
{
    uint32_t count;
    if (!worker)
        return take_common(1, &count);
    worker->free_tasks = take_common(CACHE_BATCH, &worker->free_count);
    return worker->free_tasks ? nxi_slot_take(worker) : NULL;
}

/* Moves count headers from the worker to the common list. */
static void shed(struct nxi_worker *worker, uint32_t count)
{
    struct nxi_task *first = worker->free_tasks, *last = first;
    for (uint32_t i = 1; i < count; i++)
        last = next_free(last);
    worker->free_tasks = next_free(last);
    worker->free_count -= count;
    give_common(first, last, count);
}

/* A plain thread's; the last generation's, whose id stays stale for ever; or one too many. */
NXI_NOINLINE void nxi_slot_give_common(struct nxi_worker *worker, struct nxi_task *task)
{
    uint64_t ctl = atomic_load_explicit(&task->ctl, memory_order_relaxed);
    if (ctl >> 32 == NXI_GENERATION_MAX) {
        atomic_store_explicit(&task->ctl, 0, memory_order_release);
        return;
    }
    nxi_slot_free(task, ctl);
    if (!worker) {
        give_common(task, task, 1);
        return;
    }
    push_free(&worker->free_tasks, task);
    if (++worker->free_count > NXI_FREE_MAX)
        shed(worker, NXI_FREE_MAX / 2);
}

void nxi_tasks_release(struct nxi_worker *worker)
{
    if (worker->free_count > 0)
        shed(worker, worker->free_count);
}

/* Whether the header is a task of the runtime's. In this order: a state other than FREE, seen after this generation, is
 * this generation's, and so is worker. */
static bool is_of(struct nxi_task *task, const struct nx_runtime *runtime, uint64_t *ret_ctl)
{
    *ret_ctl = atomic_load_explicit(&task->ctl, memory_order_acquire);
    uint8_t state = atomic_load_explicit(&task->state, memory_order_acquire);
    struct nxi_worker *worker = atomic_load_explicit(&task->worker, memory_order_relaxed);
    return state != NXI_FREE && nxi_has_worker(runtime, worker);
}

bool nxi_tasks_some(struct nx_runtime *runtime, uint32_t *inout_slot,
                    bool (*visit)(void *arg, struct nxi_task *task, uint64_t ctl), void *arg)
{
    struct nxi_task *task;
    uint64_t ctl;
    while ((task = nxi_slot_at(*inout_slot))) { /* ends: there are so many slots */
        ++*inout_slot;
        if (is_of(task, runtime, &ctl) && !visit(arg, task, ctl))
            return true;
    }
    return false;
}

void nxi_tasks_each(struct nx_runtime *runtime, void (*visit)(void *arg, struct nxi_task *task, uint64_t ctl),
                    void *arg)
{
    struct nxi_task *task;
    uint64_t ctl;
    for (uint32_t slot = 0; (task = nxi_slot_at(slot)); slot++)
        if (is_of(task, runtime, &ctl))
            visit(arg, task, ctl);
}
