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

#define SEGMENT_TASKS 1024u
#define SEGMENTS_MAX 16384u        /* 16 M tasks */
#define GENERATION_MAX 0x7fffffffu /* ids are positive */
#define CACHE_MAX 2048u            /* free headers a worker keeps */
#define CACHE_BATCH 256u           /* moved between a worker and the common list at once */

static _Atomic(struct nxi_task *) segments[SEGMENTS_MAX];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for the four below */
static struct nxi_task *common;
static uint32_t common_count, segment_count;

static uint32_t generation_of(uint64_t ctl)
{
    return (uint32_t)(ctl >> 32);
}

nx_task nxi_task_id(const struct nxi_task *task)
{
    uint64_t ctl = atomic_load_explicit(&task->ctl, memory_order_relaxed);
    return (nx_task)((uint64_t)generation_of(ctl) << 32 | task->slot);
}

static struct nxi_task *slot_at(uint32_t slot)
{
    if (slot / SEGMENT_TASKS >= SEGMENTS_MAX)
        return NULL;
    struct nxi_task *segment = atomic_load_explicit(&segments[slot / SEGMENT_TASKS], memory_order_acquire);
    return segment ? &segment[slot % SEGMENT_TASKS] : NULL;
}

struct nxi_task *nxi_task_find(nx_task id, uint64_t *ret_ctl)
{
    if (id <= 0)
        return NULL;
    struct nxi_task *task = slot_at((uint32_t)id);
    if (!task)
        return NULL;
    uint64_t ctl = atomic_load_explicit(&task->ctl, memory_order_acquire);
    if (generation_of(ctl) != (uint32_t)((uint64_t)id >> 32) || ctl & NXI_CTL_RETIRE)
        return NULL;
    *ret_ctl = ctl;
    return task;
}

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
    if (segment_count == SEGMENTS_MAX)
        return -ENOMEM;
    struct nxi_task *segment = aligned_alloc(_Alignof(struct nxi_task), SEGMENT_TASKS * sizeof(*segment));
    if (!segment)
        return -ENOMEM;
    for (uint32_t i = SEGMENT_TASKS; i-- > 0;) {
        segment[i] = (struct nxi_task){.slot = segment_count * SEGMENT_TASKS + i};
        atomic_init(&segment[i].ctl, UINT64_C(1) << 32);
        push_free(&common, &segment[i]);
    }
    common_count += SEGMENT_TASKS;
    atomic_store_explicit(&segments[segment_count++], segment, memory_order_release);
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

struct nxi_task *nxi_slot_take(struct nxi_worker *worker)
{
    uint32_t count;
    if (!worker)
        return take_common(1, &count);
    if (!worker->free_tasks)
        worker->free_tasks = take_common(CACHE_BATCH, &worker->free_count);
    struct nxi_task *task = worker->free_tasks;
    if (task) {
        worker->free_tasks = next_free(task);
        worker->free_count--;
    }
    return task;
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

void nxi_slot_give(struct nxi_task *task)
{
    struct nxi_worker *worker = nxi_self();
    uint32_t generation = generation_of(atomic_load_explicit(&task->ctl, memory_order_relaxed));
    if (generation == GENERATION_MAX) { /* the last one: its id stays stale for ever */
        atomic_store_explicit(&task->ctl, 0, memory_order_release);
        return;
    }
    atomic_store_explicit(&task->state, NXI_FREE, memory_order_relaxed);
    atomic_store_explicit(&task->ctl, (uint64_t)(generation + 1) << 32, memory_order_release);
    if (!worker) {
        give_common(task, task, 1);
        return;
    }
    push_free(&worker->free_tasks, task);
    if (++worker->free_count > CACHE_MAX)
        shed(worker, CACHE_MAX / 2);
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
    while ((task = slot_at(*inout_slot))) { /* ends: there are so many slots */
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
    for (uint32_t slot = 0; (task = slot_at(slot)); slot++)
        if (is_of(task, runtime, &ctl))
            visit(arg, task, ctl);
}
