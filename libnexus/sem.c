/*
 * sem.c: weighted semaphores.
 *
 * First come, first served, and what is released is handed over: while the first in line asks for more than there is,
 * what comes in is saved up for it, and nobody who asks for less goes before. Under sem->lock: if somebody waits, the
 * first in line asks for more than count.
 */
#include "sync.h"

/* Gives what there is to those at the front. */
static struct nxi_sync_chain serve(nx_sem *sem)
{
    struct nxi_waiters *list = nxi_sync_list(&sem->waiters);
    struct nxi_sync_chain chain = {NULL, NULL};
    struct nxi_waiter *first;
    while ((first = list->first) && first->weight <= sem->count) { /* ends: each turn takes one out */
        nxi_waiters_remove(list, first);
        sem->count -= first->weight;
        nxi_sync_chain_add(&chain, first);
    }
    return chain;
}

int nx_sem_acquire(nx_sem *sem, uint32_t n, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker;
    int error = sem ? nxi_sync_admit(&worker) : -EINVAL;
    if (error < 0)
        return error;
    nxi_lock(&sem->lock);
    if (n == 0 || (!sem->waiters.first && n <= sem->count)) {
        sem->count -= n;
        nxi_unlock(&sem->lock);
        return 0;
    }
    struct nxi_waiter waiter;
    waiter.weight = n;
    error = nxi_sync_wait(&sem->lock, &sem->waiters, &waiter, "semaphore", deadline);
    if (error == 0)
        return 0;
    struct nxi_sync_chain chain = serve(sem); /* those behind may be content with what there is */
    nxi_unlock(&sem->lock);
    nxi_sync_wake(chain);
    return error;
}

int nx_sem_release(nx_sem *sem, uint32_t n)
{
    NXI_ENTRY(-ENOSYS);
    if (!sem)
        return -EINVAL;
    if (nxi_forked())
        return -NX_EFORKED;
    struct nxi_sync_chain chain = {NULL, NULL};
    nxi_lock(&sem->lock);
    bool fits = sem->count <= UINT64_MAX - n;
    if (fits) {
        sem->count += n;
        chain = serve(sem);
    }
    nxi_unlock(&sem->lock);
    nxi_sync_wake(chain);
    return fits ? 0 : -EOVERFLOW;
}
