/* mutex.h: the mutex as the condition needs it. */
#ifndef NXI_MUTEX_H
#define NXI_MUTEX_H

#include "sync.h"

/* Who the caller is: a task's id, or of a plain thread something negative that is its own. worker: nxi_in_task(). */
int64_t nxi_sync_self(const struct nxi_worker *worker);
bool nxi_mutex_is_mine(const nx_mutex *mutex, const struct nxi_worker *worker);

/* Unlocks it; the caller has it. */
void nxi_mutex_release(nx_mutex *mutex);

/* Locks it whatever happens; the caller does not have it. */
void nxi_mutex_lock_again(nx_mutex *mutex);

/* What a waiter in the mutex's list has been woken with. */
#define NXI_MUTEX_CANDIDATE 0 /* it may try */
#define NXI_MUTEX_HANDED 1    /* it has the mutex */

/*
 * Puts somebody else's waiter, which is in no list and will not give up, into the mutex's list as if it had called
 * lock. False: the mutex is free, and the caller wakes the waiter instead.
 */
bool nxi_mutex_requeue(nx_mutex *mutex, struct nxi_waiter *waiter);

/* Waits, being in the list, for the mutex: 0; -ETIMEDOUT, -ECANCELED: not in the list any more. */
int nxi_mutex_wait(nx_mutex *mutex, struct nxi_waiter *waiter, nx_time deadline, bool heed_cancel);

#endif
