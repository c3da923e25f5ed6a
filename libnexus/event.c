/*
 * event.c: events, of two kinds.
 *
 * One that stays set: all pass while it is set. An automatic one (notify): each set lets one pass. If somebody waits,
 * it is the first of them, and set stays 0: a set that has found its waiter can't be taken by a third. Else set becomes
 * 1 and the next to come takes that.
 *
 * set is written under the lock only. It is read without it by nx_event_is_set: release and acquire, so that who sees
 * it sees what was written before the set. A wait takes the lock even if the event is set: when it returns,
 * nx_event_set is through with the event, so that an event may be on the stack of who waits for it.
 */
#include "sync.h"

static void put_set(nx_event *event, bool set)
{
    __atomic_store_n(&event->set, set, __ATOMIC_RELEASE);
}

static bool get_set(const nx_event *event)
{
    return __atomic_load_n(&event->set, __ATOMIC_ACQUIRE);
}

bool nxi_event_pass(nx_event *event)
{
    if (!get_set(event))
        return false;
    if (event->automatic)
        put_set(event, false);
    return true;
}

void nx_event_set(nx_event *event)
{
    NXI_ENTRY();
    if (!event || nxi_forked())
        return;
    struct nxi_sync_chain chain = {NULL, NULL};
    nxi_lock(&event->lock);
    if (!event->automatic) {
        put_set(event, true);
        chain = nxi_sync_pop_all(&event->waiters);
    } else {
        struct nxi_waiter *waiter = nxi_waiters_pop(nxi_sync_list(&event->waiters));
        if (waiter)
            nxi_sync_chain_add(&chain, waiter);
        else
            put_set(event, true);
    }
    nxi_unlock(&event->lock);
    nxi_sync_wake(chain);
}

void nx_event_clear(nx_event *event)
{
    NXI_ENTRY();
    if (!event || nxi_forked())
        return;
    nxi_lock(&event->lock);
    put_set(event, false);
    nxi_unlock(&event->lock);
}

bool nx_event_is_set(const nx_event *event)
{
    NXI_ENTRY(false);
    return event && !nxi_forked() && get_set(event);
}

int nx_event_wait(nx_event *event, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker;
    int error = event ? nxi_sync_admit(&worker) : -EINVAL;
    if (error < 0)
        return error;
    nxi_lock(&event->lock);
    if (!nxi_event_pass(event))
        return nxi_sync_wait_simply(&event->lock, &event->waiters, "event", deadline);
    nxi_unlock(&event->lock);
    return 0;
}
