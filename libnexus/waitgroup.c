/* waitgroup.c: things that many wait for together: wait groups, barriers, once. */
#include "sync.h"

/* ---- wait group ---- */

int nx_waitgroup_add(nx_waitgroup *group, uint32_t n)
{
    NXI_ENTRY(-ENOSYS);
    if (!group)
        return -EINVAL;
    if (nxi_forked())
        return -NX_EFORKED;
    nxi_lock(&group->lock);
    bool fits = group->count <= UINT64_MAX - n;
    if (fits)
        group->count += n;
    nxi_unlock(&group->lock);
    return fits ? 0 : -EOVERFLOW;
}

int nx_waitgroup_done(nx_waitgroup *group)
{
    NXI_ENTRY(-ENOSYS);
    if (!group)
        return -EINVAL;
    if (nxi_forked())
        return -NX_EFORKED;
    struct nxi_sync_chain chain = {NULL, NULL};
    nxi_lock(&group->lock);
    bool any = group->count > 0;
    if (any && --group->count == 0)
        chain = nxi_sync_pop_all(&group->waiters);
    nxi_unlock(&group->lock);
    nxi_sync_wake(chain);
    return any ? 0 : -EPERM;
}

int nx_waitgroup_wait(nx_waitgroup *group, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker;
    int error = group ? nxi_sync_admit(&worker) : -EINVAL;
    if (error < 0)
        return error;
    nxi_lock(&group->lock);
    if (group->count > 0)
        return nxi_sync_wait_simply(&group->lock, &group->waiters, "wait group", deadline);
    nxi_unlock(&group->lock);
    return 0;
}

/* ---- barrier: under the lock arrived is how many are in the list, less than parties ---- */

int nx_barrier_wait(nx_barrier *barrier, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker;
    int error = barrier && barrier->parties > 0 ? nxi_sync_admit(&worker) : -EINVAL;
    if (error < 0)
        return error;
    struct nxi_waiter waiter;
    nxi_lock(&barrier->lock);
    if (barrier->arrived + 1 == barrier->parties) {
        barrier->arrived = 0;
        struct nxi_sync_chain chain = nxi_sync_pop_all(&barrier->waiters);
        nxi_unlock(&barrier->lock);
        nxi_sync_wake(chain);
        return 1;
    }
    barrier->arrived++;
    error = nxi_sync_wait(&barrier->lock, &barrier->waiters, &waiter, "barrier", deadline);
    if (error == 0)
        return 0;
    barrier->arrived--;
    nxi_unlock(&barrier->lock);
    return error;
}

/*
 * ---- once ----
 *
 *   NEW ──first caller──> RUNNING ──fn succeeded──> DONE, all waiters pass
 *                           │ ^
 *     fn failed or panicked │ │ it stays RUNNING: handed to the first waiter, which calls fn itself;
 *                           v │ with nobody waiting it is NEW again
 *
 * state is written under the lock; read without it for the fast way past one that is DONE (release, acquire).
 */

enum { NEW, RUNNING, DONE };

#define HANDED 1 /* what a waiter is woken with: it calls fn; else 0 */

static void put_state(nx_once *once, uint32_t state)
{
    __atomic_store_n(&once->state, state, __ATOMIC_RELEASE);
}

/* The next one tries. */
static void call_failed(void *arg)
{
    nx_once *once = arg;
    nxi_lock(&once->lock);
    struct nxi_waiter *next = nxi_waiters_pop(nxi_sync_list(&once->waiters));
    if (next)
        next->result = HANDED;
    else
        put_state(once, NEW);
    nxi_unlock(&once->lock);
    if (next)
        nxi_waiter_wake(next, NX_REASON_UNBLOCK);
}

static int call_guarded(nx_once *once, int (*fn)(void *arg), void *arg)
{
    struct nxi_defer guard;
    if (!nxi_in_task()) /* a panic outside a task ends the process */
        return fn(arg);
    int result = nxi_guard(&guard, call_failed, once);
    if (result < 0)
        return result;
    result = fn(arg);
    nxi_unguard(&guard);
    return result;
}

static int call(nx_once *once, int (*fn)(void *arg), void *arg)
{
    int result = call_guarded(once, fn, arg);
    if (result < 0) {
        call_failed(once);
        return result;
    }
    nxi_lock(&once->lock);
    put_state(once, DONE);
    struct nxi_sync_chain chain = nxi_sync_pop_all(&once->waiters);
    nxi_unlock(&once->lock);
    nxi_sync_wake(chain);
    return 0;
}

int nx_once_run(nx_once *once, int (*fn)(void *arg), void *arg, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker;
    int error = once && fn ? nxi_sync_admit(&worker) : -EINVAL;
    if (error < 0)
        return error;
    if (NXI_LIKELY(__atomic_load_n(&once->state, __ATOMIC_ACQUIRE) == DONE))
        return 0;
    struct nxi_waiter waiter;
    nxi_lock(&once->lock);
    if (once->state == NEW) {
        put_state(once, RUNNING);
        nxi_unlock(&once->lock);
        return call(once, fn, arg);
    }
    if (once->state == RUNNING) {
        error = nxi_sync_wait(&once->lock, &once->waiters, &waiter, "once", deadline);
        if (error == 0)
            return waiter.result == HANDED ? call(once, fn, arg) : 0;
    }
    nxi_unlock(&once->lock); /* it has been done meanwhile, or the wait is over */
    return error;
}
