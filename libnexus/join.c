/*
 * join.c: joining and detaching.
 *
 * Who ends a task's id by joining must be one: CLAIMED, set by compare-and-swap. A joiner that has to wait then writes
 * task->joiner and sets JOINER (release). The task's end sets DONE (acq_rel). Both are RMWs on ctl: either the end
 * sees JOINER, and wakes the joiner, or setting JOINER returns DONE, and there is nothing to wait for. A joiner that
 * gives up clears JOINER and CLAIMED by compare-and-swap unless DONE is set; if it is, the wake is on its way.
 *
 * Where workers share nothing (worker->sole) and joiner and task are at home on the same one, the task can't end while
 * the joiner runs: CLAIMED and JOINER are set in one step, and task->joiner is written after it, by the thread that
 * will read it.
 */
#include "choice.h"

/* Claims the task for joining: 0, or why not. bits: CLAIMED, and JOINER where that may be set at once unless it has
 * ended. */
static inline int claim_as(struct nxi_task *task, uint64_t *inout_ctl, uint64_t bits)
{
    uint64_t seen = atomic_load_explicit(&task->ctl, memory_order_acquire);
    do {
        if (seen >> 32 != *inout_ctl >> 32 || seen & NXI_CTL_RETIRE)
            return -ESRCH;
        if (seen & NXI_CTL_DETACHED)
            return -EINVAL;
        if (seen & NXI_CTL_CLAIMED)
            return -EBUSY;
        if (seen & NXI_CTL_DONE)
            bits = NXI_CTL_CLAIMED;
    } while (!atomic_compare_exchange_weak_explicit(&task->ctl, &seen, seen | bits, memory_order_acq_rel,
                                                    memory_order_acquire));
    *inout_ctl = seen | bits;
    return 0;
}

static int claim(struct nxi_task *task, uint64_t *inout_ctl)
{
    return claim_as(task, inout_ctl, NXI_CTL_CLAIMED);
}

/* Undoes claim and JOINER; false if the task has ended meanwhile. */
static bool unclaim(struct nxi_task *task)
{
    uint64_t seen = atomic_load_explicit(&task->ctl, memory_order_acquire);
    do {
        if (seen & NXI_CTL_DONE)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&task->ctl, &seen,
                                                    seen & ~(uint64_t)(NXI_CTL_CLAIMED | NXI_CTL_JOINER),
                                                    memory_order_acq_rel, memory_order_acquire));
    return true;
}

/* The claimed task has ended. */
static int take_result(struct nxi_task *task, uint64_t ctl, intptr_t *ret_result)
{
    if (ctl & NXI_CTL_PANICKED) { /* the id stays for the message */
        nxi_task_mark(task, NXI_CTL_SEEN, true);
        atomic_fetch_and_explicit(&task->ctl, ~(uint64_t)NXI_CTL_CLAIMED, memory_order_acq_rel);
        return -NX_EPANIC;
    }
    if (ret_result)
        *ret_result = task->result;
    nxi_task_retire_ended(task, ctl);
    return 0;
}

/* A child that has not started goes next, in its parent's place: so a tree of tasks is walked depth first, with few
 * stacks, all warm. If it has started, or is elsewhere, the scheduler does not find it. */
static void run_first(struct nxi_worker *worker, struct nxi_task *task)
{
    if (NXI_HAS(worker->sched_ops, take) && !worker->stolen &&
        worker->sched_ops->take(worker->sched, worker->index, &task->ready))
        worker->stolen = &task->ready;
}

/* A cancel has come just then, and the parent did not park: the child goes back to where thieves can see it. */
static void run_later(struct nxi_worker *worker, struct nxi_task *task)
{
    if (worker->stolen != &task->ready)
        return;
    worker->stolen = NULL;
    uint64_t ready = nxi_counted(&worker->counters.ready); /* it is among them still */
    atomic_store_explicit(&worker->counters.ready, ready - (ready > 0), memory_order_relaxed);
    nxi_enqueue(worker, task, NX_REASON_SPAWN);
}

/* Waits for the end of a task that is claimed. registered: JOINER is set, and it is at home here, as is who waits. */
static int wait_for_end(struct nxi_worker *worker, struct nxi_task *task, nx_time deadline, bool registered)
{
    struct nxi_waiter waiter;
    nxi_waiter_init(&waiter, worker);
    nxi_waiter_note(&waiter, "join", NXI_OBJECT_TASK, (uint64_t)nxi_task_id(task));
    task->joiner = &waiter;
    if (!registered && atomic_fetch_or_explicit(&task->ctl, NXI_CTL_JOINER, memory_order_acq_rel) & NXI_CTL_DONE) {
        nxi_waiter_forget(&waiter);
        return 0;
    }
    if (registered && nxi_waiter_is_usual(worker, deadline) && nxi_waiter_wait_once(&waiter, worker))
        return 0;
    if (worker && !registered)
        run_first(worker, task);
    int error = nxi_waiter_wait(&waiter, deadline, true);
    if (error < 0 && worker)
        run_later(waiter.worker, task);
    if (error < 0 && unclaim(task)) {
        nxi_waiter_forget(&waiter);
        return error;
    }
    if (error < 0)
        nxi_waiter_wait(&waiter, NX_FOREVER, false);
    return 0;
}

/* ---- for a select: it waits as a joiner does, and then leaves the task to whoever joins it ---- */

int nxi_join_look(nx_task id, const struct nxi_worker *worker)
{
    uint64_t ctl;
    struct nxi_task *task = nxi_task_find(id, &ctl);
    if (!task || ctl & NXI_CTL_RETIRE)
        return -ESRCH;
    if (task == worker->current)
        return -EDEADLK;
    if (ctl & NXI_CTL_DETACHED)
        return -EINVAL;
    if (ctl & NXI_CTL_CLAIMED)
        return -EBUSY;
    return ctl & NXI_CTL_DONE ? 0 : -EAGAIN;
}

/* The task has ended: unclaim can't undo that. Not to be touched afterwards, it may be joined. */
static void unclaim_ended(struct nxi_task *task)
{
    atomic_fetch_and_explicit(&task->ctl, ~(uint64_t)(NXI_CTL_CLAIMED | NXI_CTL_JOINER), memory_order_acq_rel);
}

int nxi_join_enter(nx_task id, struct nxi_worker *worker, struct nxi_waiter *waiter, struct nxi_choice *choice,
                   struct nxi_task **ret_task)
{
    uint64_t ctl;
    struct nxi_task *task = nxi_task_find(id, &ctl);
    int error = task ? claim(task, &ctl) : -ESRCH;
    if (error < 0)
        return error;
    nxi_waiter_init(waiter, worker);
    waiter->choice = choice;
    task->joiner = waiter;
    if (atomic_fetch_or_explicit(&task->ctl, NXI_CTL_JOINER, memory_order_acq_rel) & NXI_CTL_DONE) {
        nxi_waiter_forget(waiter);
        unclaim_ended(task);
        return 0;
    }
    *ret_task = task;
    return -EAGAIN;
}

void nxi_join_leave(struct nxi_task *task, struct nxi_waiter *waiter)
{
    if (unclaim(task)) {
        nxi_waiter_forget(waiter);
        return;
    }
    nxi_waiter_wait(waiter, NX_FOREVER, false);
    unclaim_ended(task);
}

int nx_join(nx_task id, intptr_t *ret_result, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker && nxi_forked())
        return -NX_EFORKED;
    if (!worker && nxi_self())
        return -NX_ENOTASK; /* a worker's own thread can't be blocked */
    uint64_t ctl;
    struct nxi_task *task = nxi_task_find(id, &ctl);
    if (!task)
        return -ESRCH;
    if (worker && task == worker->current)
        return -EDEADLK;
    bool beside = worker && worker->sole && atomic_load_explicit(&task->worker, memory_order_relaxed) == worker &&
                  deadline != NX_POLL && !nxi_task_cancelled(worker->current);
    int error = claim_as(task, &ctl, beside ? NXI_CTL_CLAIMED | NXI_CTL_JOINER : NXI_CTL_CLAIMED);
    if (error < 0)
        return error;
    if (!(ctl & NXI_CTL_DONE)) {
        error = beside                                          ? 0
                : worker && nxi_task_cancelled(worker->current) ? -ECANCELED
                : deadline == NX_POLL                           ? -EAGAIN
                                                                : 0;
        if (error < 0) {
            bool undone = unclaim(task);
            if (worker)
                nxi_charge(worker);
            if (undone)
                return error;
        } else {
            error = wait_for_end(worker, task, deadline, beside);
            if (error < 0)
                return error;
        }
        ctl = atomic_load_explicit(&task->ctl, memory_order_acquire);
    }
    return take_result(task, ctl, ret_result);
}

int nx_join_message(nx_task id, char *ret_message, size_t size)
{
    NXI_ENTRY(-ENOSYS);
    uint64_t ctl;
    struct nxi_task *task;
    int error = nxi_task_look_up(id, &task, &ctl);
    if (error < 0)
        return error;
    if ((!ret_message && size > 0) || !(ctl & NXI_CTL_PANICKED))
        return -EINVAL;
    return snprintf(ret_message, size, "%s", nxi_panic_message(task));
}

int nx_detach(nx_task id)
{
    NXI_ENTRY(-ENOSYS);
    uint64_t ctl;
    struct nxi_task *task;
    int error = nxi_task_look_up(id, &task, &ctl);
    if (error == 0)
        error = claim(task, &ctl);
    if (error < 0)
        return error;
    uint64_t old = atomic_fetch_or_explicit(&task->ctl, NXI_CTL_DETACHED, memory_order_acq_rel);
    if ((old & (NXI_CTL_PANICKED | NXI_CTL_SEEN)) == NXI_CTL_PANICKED)
        nxi_panic_unjoined(task);
    if (old & NXI_CTL_DONE) /* else its end retires it */
        nxi_task_retire(task);
    return 0;
}
