/*
 * slots.h: task headers by their ids, and the worker's free ones: the short parts of slots.c and task.c, which are done
 * where they are called: a spawn and a join is one of each. Included by core.h.
 */
#ifndef NXI_SLOTS_H
#define NXI_SLOTS_H

#include "core.h"

#define NXI_SEGMENT_TASKS 1024u
#define NXI_SEGMENTS_MAX 16384u        /* 16 M tasks */
#define NXI_GENERATION_MAX 0x7fffffffu /* ids are positive */
#define NXI_FREE_MAX 2048u             /* free headers a worker keeps */

extern _Atomic(struct nxi_task *) nxi_segments[NXI_SEGMENTS_MAX];

struct nxi_task *nxi_slot_take_common(struct nxi_worker *worker);
void nxi_slot_give_common(struct nxi_worker *worker, struct nxi_task *task);

/* ---- ids: generation << 32 | slot ---- */

static inline nx_task nxi_task_id(const struct nxi_task *task)
{
    uint64_t ctl = atomic_load_explicit(&task->ctl, memory_order_relaxed);
    return (nx_task)(ctl >> 32 << 32 | task->slot);
}

static inline struct nxi_task *nxi_slot_at(uint32_t slot)
{
    if (NXI_UNLIKELY(slot / NXI_SEGMENT_TASKS >= NXI_SEGMENTS_MAX))
        return NULL;
    struct nxi_task *segment = atomic_load_explicit(&nxi_segments[slot / NXI_SEGMENT_TASKS], memory_order_acquire);
    return segment ? &segment[slot % NXI_SEGMENT_TASKS] : NULL;
}

/* NULL: stale. Any thread. */
static inline struct nxi_task *nxi_task_find(nx_task id, uint64_t *ret_ctl)
{
    struct nxi_task *task = id > 0 ? nxi_slot_at((uint32_t)id) : NULL;
    if (!task)
        return NULL;
    uint64_t ctl = atomic_load_explicit(&task->ctl, memory_order_acquire);
    if (ctl >> 32 != (uint64_t)id >> 32 || ctl & NXI_CTL_RETIRE)
        return NULL;
    *ret_ctl = ctl;
    return task;
}

/* Any thread may set it, the task itself heeds it. */
static inline bool nxi_task_cancelled(const struct nxi_task *task)
{
    return NXI_UNLIKELY(atomic_load_explicit(&task->ctl, memory_order_acquire) & NXI_CTL_CANCEL) &&
           nxi_task_cancelled_now(task);
}

/* ---- free headers ---- */

/* worker NULL: a plain thread. NULL: out of memory. */
static inline struct nxi_task *nxi_slot_take(struct nxi_worker *worker)
{
    if (NXI_UNLIKELY(!worker || !worker->free_tasks))
        return nxi_slot_take_common(worker);
    struct nxi_task *task = worker->free_tasks;
    worker->free_tasks = task->ready.next ? nxi_task_of(task->ready.next) : NULL;
    worker->free_count--;
    return task;
}

/* The next generation begins, with nothing set. */
static inline void nxi_slot_free(struct nxi_task *task, uint64_t ctl)
{
    atomic_store_explicit(&task->state, NXI_FREE, memory_order_relaxed);
    atomic_store_explicit(&task->ctl, ((ctl >> 32) + 1) << 32, memory_order_release);
}

/* Any thread; the task has no cold part. */
static inline void nxi_slot_give(struct nxi_task *task)
{
    struct nxi_worker *worker = nxi_self();
    uint64_t ctl = atomic_load_explicit(&task->ctl, memory_order_relaxed);
    if (NXI_UNLIKELY(!worker || worker->free_count >= NXI_FREE_MAX || ctl >> 32 == NXI_GENERATION_MAX)) {
        nxi_slot_give_common(worker, task);
        return;
    }
    nxi_slot_free(task, ctl);
    task->ready.next = worker->free_tasks ? &worker->free_tasks->ready : NULL;
    worker->free_tasks = task;
    worker->free_count++;
}

/* As nxi_task_retire(). ctl, acquired, has DONE: so RETIRE comes before the name goes only where there is one. */
static inline void nxi_task_retire_ended(struct nxi_task *task, uint64_t ctl)
{
    if (NXI_LIKELY(!(ctl & NXI_CTL_QUEUED) && !task->cold))
        nxi_slot_give(task);
    else
        nxi_task_retire(task);
}

#endif
