/*
 * rwlock.c: many readers or one writer.
 *
 * Waiters are served in order of arrival, all readers between two writers at once, so a stream of readers doesn't
 * starve a writer, nor the other way round: who comes while anybody waits, waits. What is unlocked is handed over to
 * those at the front, before others can come by: a batch of readers then runs at once, which it would not if each had
 * to try, and the hand-over of a lock that is held for long costs little beside the holding.
 *
 * All under rwlock->lock: readers > 0 only if writer is 0. A waiter that gives up at the front may have been all that
 * held the ones behind it.
 */
#include "mutex.h"

#define READER 0u
#define WRITER 1u

/* Who has been let in as a writer and has yet to say who it is. No task's id, no thread's. */
#define SOMEBODY INT64_MIN

/* The locks are given to whom they can be, from the front on. */
static struct nxi_sync_chain let_in(nx_rwlock *rwlock)
{
    struct nxi_waiters *list = nxi_sync_list(&rwlock->waiters);
    struct nxi_sync_chain chain = {NULL, NULL};
    struct nxi_waiter *first;
    while ((first = list->first) && rwlock->writer == 0) { /* ends: each turn takes one out */
        if (first->weight == WRITER && rwlock->readers > 0)
            break;
        nxi_waiters_remove(list, first);
        if (first->weight == WRITER)
            rwlock->writer = SOMEBODY;
        else
            rwlock->readers++;
        nxi_sync_chain_add(&chain, first);
    }
    return chain;
}

static void unlock_and_wake(nx_rwlock *rwlock, struct nxi_sync_chain chain)
{
    nxi_unlock(&rwlock->lock);
    nxi_sync_wake(chain);
}

/* With the lock, which is dropped: waits for its turn. */
static int wait_turn(nx_rwlock *rwlock, uint32_t kind, nx_time deadline)
{
    struct nxi_waiter waiter;
    waiter.weight = kind;
    int error = nxi_sync_wait(&rwlock->lock, &rwlock->waiters, &waiter,
                              kind == WRITER ? "rwlock (write)" : "rwlock (read)", deadline);
    if (error < 0) {
        unlock_and_wake(rwlock, let_in(rwlock));
        return error;
    }
    if (kind == WRITER) {
        nxi_lock(&rwlock->lock);
        rwlock->writer = nxi_sync_self(nxi_in_task());
        nxi_unlock(&rwlock->lock);
    }
    return 0;
}

/* What both begin with: 0, with the lock. */
static int enter(nx_rwlock *rwlock, struct nxi_worker **ret_worker)
{
    int error = rwlock ? nxi_sync_admit(ret_worker) : -EINVAL;
    if (error < 0)
        return error;
    nxi_lock(&rwlock->lock);
    if (rwlock->writer != nxi_sync_self(*ret_worker))
        return 0;
    nxi_unlock(&rwlock->lock);
    return -EDEADLK;
}

int nx_rwlock_rdlock(nx_rwlock *rwlock, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker;
    int error = enter(rwlock, &worker);
    if (error < 0)
        return error;
    if (rwlock->writer != 0 || rwlock->waiters.first)
        return wait_turn(rwlock, READER, deadline);
    rwlock->readers++;
    nxi_unlock(&rwlock->lock);
    return 0;
}

int nx_rwlock_wrlock(nx_rwlock *rwlock, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker;
    int error = enter(rwlock, &worker);
    if (error < 0)
        return error;
    if (rwlock->writer != 0 || rwlock->readers > 0 || rwlock->waiters.first)
        return wait_turn(rwlock, WRITER, deadline);
    rwlock->writer = nxi_sync_self(worker);
    nxi_unlock(&rwlock->lock);
    return 0;
}

int nx_rwlock_unlock(nx_rwlock *rwlock)
{
    NXI_ENTRY(-ENOSYS);
    if (!rwlock)
        return -EINVAL;
    if (nxi_forked())
        return -NX_EFORKED;
    struct nxi_sync_chain chain = {NULL, NULL};
    int64_t self = nxi_sync_self(nxi_in_task());
    int result = 0;
    nxi_lock(&rwlock->lock);
    if (rwlock->writer == self)
        rwlock->writer = 0;
    else if (rwlock->writer == 0 && rwlock->readers > 0)
        rwlock->readers--;
    else
        result = -EPERM;
    if (result == 0)
        chain = let_in(rwlock);
    unlock_and_wake(rwlock, chain);
    return result;
}
