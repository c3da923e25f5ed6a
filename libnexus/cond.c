/*
 * cond.c: conditions.
 *
 * A signal puts the waiter that it serves straight into the list of the mutex, if that is held, as its signaller's
 * mostly is: woken at once, all of a broadcast would but find it locked, one after the other.
 *
 * waiter.number is 0 until the waiter has been signalled; written under cond->lock. A waiter whose deadline has come
 * looks there: 0, and it takes itself out of the condition's list, and the next signal is another's; 1, and it has been
 * signalled, which is what it returns, and is in the mutex's list or on its way there, where it waits as long as it
 * takes.
 */
#include "mutex.h"

#define WAITS 0u
#define SIGNALLED 1u
#define FREE_MUTEX (-1) /* woken with this: it has to lock the mutex itself */

static int wait_unlocked(nx_cond *cond, struct nxi_waiter *waiter, nx_time deadline)
{
    int error = nxi_waiter_wait(waiter, deadline, true);
    if (NXI_LIKELY(error == 0))
        return 0;
    nxi_lock(&cond->lock);
    bool waits = waiter->number == WAITS;
    if (waits)
        nxi_waiters_remove(nxi_sync_list(&cond->waiters), waiter);
    nxi_unlock(&cond->lock);
    if (waits)
        nxi_waiter_forget(waiter);
    else
        nxi_waiter_wait(waiter, NX_FOREVER, false);
    return waits ? error : 0;
}

int nx_cond_wait(nx_cond *cond, nx_mutex *mutex, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker;
    int error = cond && mutex ? nxi_sync_admit(&worker) : -EINVAL;
    if (error < 0)
        return error;
    if (!nxi_mutex_is_mine(mutex, worker))
        return -EPERM;
    error = nxi_sync_too_late(worker, deadline);
    if (error < 0)
        return error;
    struct nxi_waiter waiter;
    nxi_waiter_init(&waiter, worker);
    nxi_waiter_note(&waiter, "condition", NXI_OBJECT_POINTER, (uintptr_t)cond);
    waiter.data = mutex;
    waiter.number = WAITS;
    nxi_lock(&cond->lock);
    nxi_waiters_push(nxi_sync_list(&cond->waiters), &waiter);
    nxi_unlock(&cond->lock);
    nxi_mutex_release(mutex);
    error = wait_unlocked(cond, &waiter, deadline);
    if (error < 0 || waiter.result == FREE_MUTEX)
        nxi_mutex_lock_again(mutex);
    else
        nxi_mutex_wait(mutex, &waiter, NX_FOREVER, false);
    return error;
}

/* The waiter is out of the condition's list. */
static void pass_on(struct nxi_waiter *waiter)
{
    if (nxi_mutex_requeue(waiter->data, waiter))
        return;
    waiter->result = FREE_MUTEX;
    nxi_waiter_wake(waiter, NX_REASON_UNBLOCK);
}

void nx_cond_signal(nx_cond *cond)
{
    NXI_ENTRY();
    if (!cond || nxi_forked())
        return;
    nxi_lock(&cond->lock);
    struct nxi_waiter *waiter = nxi_waiters_pop(nxi_sync_list(&cond->waiters));
    if (waiter)
        waiter->number = SIGNALLED;
    nxi_unlock(&cond->lock);
    if (waiter)
        pass_on(waiter);
}

void nx_cond_broadcast(nx_cond *cond)
{
    NXI_ENTRY();
    if (!cond || nxi_forked())
        return;
    nxi_lock(&cond->lock);
    struct nxi_sync_chain chain = nxi_sync_pop_all(&cond->waiters);
    for (struct nxi_waiter *waiter = chain.first; waiter; waiter = waiter->next)
        waiter->number = SIGNALLED;
    nxi_unlock(&cond->lock);
    for (struct nxi_waiter *waiter = chain.first, *next; waiter; waiter = next) {
        next = waiter->next;
        pass_on(waiter);
    }
}
