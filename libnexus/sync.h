/*
 * sync.h: what the files of nexus/sync.h share: who may wait, and waiting in an object's list under its lock.
 *
 * All objects are alike: a lock (lock.c), a few words that it guards, and a list of waiters (waiter.c). Who makes
 * something come true takes the waiters that it serves out of the list, under the lock, and wakes them once the lock
 * has been dropped. Who gives up takes itself out under the lock; if it is out already it has been served, waits for
 * its wake and reports success, so that nothing is handed to nobody.
 */
#ifndef NXI_SYNC_H
#define NXI_SYNC_H

#include "core.h"
#include <nexus/sync.h>

_Static_assert(sizeof(struct nx_waiters_) == sizeof(struct nxi_waiters), "same layout");
_Static_assert(offsetof(struct nx_waiters_, first) == offsetof(struct nxi_waiters, first), "same layout");
_Static_assert(offsetof(struct nx_waiters_, last) == offsetof(struct nxi_waiters, last), "same layout");

/* The list as the library sees it. The public type has void pointers, which may alias any other. */
static inline struct nxi_waiters *nxi_sync_list(struct nx_waiters_ *waiters)
{
    return (struct nxi_waiters *)(void *)waiters;
}

/*
 * What a call that parks or, of a plain thread, blocks begins with: whether the caller may make it, and *ret_worker,
 * the task's or NULL. It is charged here and not at its end, or a task whose credit is used up would yield with the
 * lock that it has just got.
 */
static inline int nxi_sync_admit(struct nxi_worker **ret_worker)
{
    struct nxi_worker *worker = nxi_in_task();
    *ret_worker = worker;
    if (NXI_UNLIKELY(!worker))
        return nxi_forked() ? -NX_EFORKED : nxi_self() ? -NX_ENOTASK : 0; /* a worker's own thread can't be blocked */
    if (NXI_UNLIKELY(--worker->credit <= 0)) {
        nxi_yield(worker);
        *ret_worker = worker = nxi_in_task();
    }
    return NXI_UNLIKELY(nxi_task_cancelled(worker->current)) ? -ECANCELED : 0;
}

/* Why a wait with this deadline need not begin, or 0. */
static inline int nxi_sync_too_late(const struct nxi_worker *worker, nx_time deadline)
{
    if (deadline == NX_POLL)
        return -EAGAIN;
    nx_time until = worker ? nxi_deadline(worker, deadline) : deadline;
    return until != NX_FOREVER && until <= nx_now() ? -ETIMEDOUT : 0;
}

/*
 * Waits in the list, whose lock is held, and drops that. 0: served, and ret_waiter->result is what the waker put there.
 * -EAGAIN, -ETIMEDOUT, -ECANCELED: not served; then the lock is held again, for who has to let others go on.
 * ret_waiter->weight and data are the caller's. what is the object's kind, for nx_dump; the lock is where it begins.
 */
int nxi_sync_wait(uint32_t *lock, struct nx_waiters_ *waiters, struct nxi_waiter *ret_waiter, const char *what,
                  nx_time deadline);

/* The same where nobody else's turn depends on who gives up: the lock is dropped in any case. */
int nxi_sync_wait_simply(uint32_t *lock, struct nx_waiters_ *waiters, const char *what, nx_time deadline);

/* Waiters that are to be woken once the lock is dropped, linked by next. */
struct nxi_sync_chain {
    struct nxi_waiter *first, **last;
};

static inline void nxi_sync_chain_add(struct nxi_sync_chain *chain, struct nxi_waiter *waiter)
{
    struct nxi_waiter **last = chain->first ? chain->last : &chain->first;
    waiter->next = NULL;
    *last = waiter;
    chain->last = &waiter->next;
}

/* Takes all out of the list, under its lock. */
struct nxi_sync_chain nxi_sync_pop_all(struct nx_waiters_ *waiters);
void nxi_sync_wake(struct nxi_sync_chain chain);

/* event.c, under event->lock: whether one may pass now, which then has. */
bool nxi_event_pass(nx_event *event);

#endif
