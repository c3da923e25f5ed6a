/* sync.c: waiting in the list of a mutex, an event or one of their like. */
#include "sync.h"

int nxi_sync_wait(uint32_t *lock, struct nx_waiters_ *waiters, struct nxi_waiter *waiter, const char *what,
                  nx_time deadline)
{
    struct nxi_worker *worker = nxi_in_task();
    struct nxi_waiters *list = nxi_sync_list(waiters);
    int error = nxi_sync_too_late(worker, deadline);
    if (error < 0)
        return error;
    nxi_waiter_init(waiter, worker);
    nxi_waiter_note(waiter, what, NXI_OBJECT_POINTER, (uintptr_t)lock);
    nxi_waiters_push(list, waiter);
    nxi_unlock(lock);
    error = nxi_waiter_wait(waiter, deadline, true);
    if (NXI_LIKELY(error == 0))
        return 0;
    nxi_lock(lock);
    if (waiter->link) {
        nxi_waiters_remove(list, waiter);
        nxi_waiter_forget(waiter);
        return error;
    }
    nxi_unlock(lock);
    nxi_waiter_wait(waiter, NX_FOREVER, false);
    return 0;
}

int nxi_sync_wait_simply(uint32_t *lock, struct nx_waiters_ *waiters, const char *what, nx_time deadline)
{
    struct nxi_waiter waiter;
    int error = nxi_sync_wait(lock, waiters, &waiter, what, deadline);
    if (error == 0)
        return 0;
    nxi_unlock(lock);
    return error;
}

struct nxi_sync_chain nxi_sync_pop_all(struct nx_waiters_ *waiters)
{
    struct nxi_sync_chain chain = {NULL, NULL};
    struct nxi_waiter *waiter;
    while ((waiter = nxi_waiters_pop(nxi_sync_list(waiters)))) /* ends: each turn takes one out */
        nxi_sync_chain_add(&chain, waiter);
    return chain;
}

void nxi_sync_wake(struct nxi_sync_chain chain)
{
    for (struct nxi_waiter *waiter = chain.first, *next; waiter; waiter = next) {
        next = waiter->next; /* it is gone once it is woken */
        nxi_waiter_wake(waiter, NX_REASON_UNBLOCK);
    }
}
