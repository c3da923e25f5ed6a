/*
 * waiter.h: waiting for somebody else's doing: what waiter.c offers, and the short parts of it, which are done where
 * they are called: a message between two tasks is one wait and one wake. Included by core.h.
 */
#ifndef NXI_WAITER_H
#define NXI_WAITER_H

#include "core.h"

void nxi_waiter_wake(struct nxi_waiter *waiter, uint32_t reason);
int nxi_waiter_wait(struct nxi_waiter *waiter, nx_time deadline, bool heed_cancel);
/* Waits until the choice is stirred. clock is a waiter of the same task that nobody else knows: it has the timer. */
int nxi_choice_wait(struct nxi_waiter *clock, struct nxi_choice *choice, nx_time deadline);
void nxi_waiter_forget(struct nxi_waiter *waiter); /* the caller has unlinked it: no wake will come */

/* What is not set here is not looked at before it is. */
static inline void nxi_waiter_init_of(struct nxi_waiter *waiter, struct nxi_worker *worker, struct nxi_task *task)
{
    waiter->task = task;
    waiter->worker = worker;
    waiter->timer.link = NULL;
    waiter->link = NULL;
    waiter->choice = NULL;
    waiter->result = 0;
    atomic_init(&waiter->woken, false);
    waiter->timed_out = false;
    waiter->note.what = NULL;
}

/* The current task's, which stays on this worker while somebody may post to it here. */
static inline void nxi_waiter_init_here(struct nxi_waiter *waiter, struct nxi_worker *worker)
{
    nxi_waiter_init_of(waiter, worker, worker->current);
    worker->current->pins++;
}

/* worker NULL: a plain thread. */
static inline void nxi_waiter_init(struct nxi_waiter *waiter, struct nxi_worker *worker)
{
    if (worker)
        nxi_waiter_init_here(waiter, worker);
    else
        nxi_waiter_init_of(waiter, NULL, NULL);
}

/* For nx_dump, after nxi_waiter_init: what is static. */
static inline void nxi_waiter_note(struct nxi_waiter *waiter, const char *what, enum nxi_wait_object kind,
                                   uint64_t object)
{
    waiter->note.what = what;
    waiter->note.kind = kind;
    waiter->note.object = object;
}

/*
 * The usual wait: of a task, for ever, and nothing has to be looked at on the way. A cancel that comes from now on
 * readies the task, and nxi_waiter_wait sees to it.
 */
static inline bool nxi_waiter_is_usual(const struct nxi_worker *worker, nx_time deadline)
{
    struct nxi_task *task = worker->current;
    return deadline == NX_FOREVER && !(task->flags & NXI_TASK_LIMITED) &&
           !(atomic_load_explicit(&task->ctl, memory_order_relaxed) & NXI_CTL_CANCEL);
}

/* Its beginning: whether the wake has come. If not, go on with nxi_waiter_wait(waiter, NX_FOREVER, true). */
static inline bool nxi_waiter_wait_once(struct nxi_waiter *waiter, struct nxi_worker *worker)
{
    waiter->note.since = worker->turn_time;
    waiter->task->waiting = waiter;
    nxi_park(worker);
    return atomic_load_explicit(&waiter->woken, memory_order_relaxed);
}

/* Whether the calling worker may wake it by nxi_waiter_wake_beside: it is one of its tasks, with nothing to see to. */
static inline bool nxi_waiter_is_beside(const struct nxi_waiter *waiter, const struct nxi_worker *worker)
{
    return waiter->worker == worker && !waiter->choice && !nxi_timer_active(&waiter->timer);
}

/*
 * True: it is done. False: nxi_ready() is left to the caller. In line is the case of the only task that is ready, where
 * workers share nothing (worker.c).
 */
static inline bool nxi_waiter_wake_beside(struct nxi_waiter *waiter, struct nxi_worker *worker, uint32_t reason)
{
    struct nxi_task *task = waiter->task;
    task->pins--;
    atomic_store_explicit(&waiter->woken, true, memory_order_relaxed);
    if (NXI_UNLIKELY(atomic_load_explicit(&task->state, memory_order_relaxed) != NXI_PARKED || !worker->sole ||
                     nxi_counted(&worker->counters.ready) > 0 || nxi_counted(&worker->counters.ready_high) == 0))
        return false;
    atomic_store_explicit(&task->state, NXI_READY, memory_order_relaxed);
    worker->next = task;
    worker->next_reason = reason;
    atomic_store_explicit(&worker->counters.ready, 1, memory_order_relaxed);
    return true;
}

static inline void nxi_waiters_push(struct nxi_waiters *list, struct nxi_waiter *waiter)
{
    struct nxi_waiter **last = list->first ? list->last : &list->first;
    waiter->next = NULL;
    waiter->link = last;
    *last = waiter;
    list->last = &waiter->next;
}

static inline void nxi_waiters_remove(struct nxi_waiters *list, struct nxi_waiter *waiter)
{
    *waiter->link = waiter->next;
    if (waiter->next)
        waiter->next->link = waiter->link;
    else
        list->last = waiter->link;
    waiter->link = NULL;
}

/* Takes out the first one that is still to be served, which the caller must wake; NULL: there is none. */
struct nxi_waiter *nxi_waiters_pop(struct nxi_waiters *list);
/* The same, left in: the caller decides by its weight and then claims, removes and wakes it. */
bool nxi_waiter_claim(struct nxi_waiter *waiter); /* false: another of its choice has been served */

#endif
