/*
 * broadcast.c: every receiver gets every value sent since it subscribed.
 *
 * Values are numbered from 0. The last capacity of them are in a ring, number n in slot n % capacity. A subscription is
 * the number that it wants next; if that has been overwritten, it goes on with the oldest there is, and counts what it
 * missed. Who waits has seen everything, so a send copies straight into the waiters' memory.
 */
#include "chan.h"

struct nx_broadcast {
    uint32_t lock;
    bool closed; /* under lock, as what follows */
    uint32_t subscriptions;
    uint64_t sent;
    struct nxi_waiters receivers;
    size_t elem_size, capacity;
    _Alignas(16) char ring[];
};

struct nx_subscription {
    struct nx_broadcast *broadcast;
    uint64_t next; /* under the broadcast's lock */
};

/* What a waiter's data points to. */
struct reception {
    struct nx_subscription *subscription;
    void *elem;
};

static size_t memory_size(size_t elem_size, size_t capacity)
{
    return sizeof(struct nx_broadcast) + elem_size * capacity;
}

int nx_broadcast_create(size_t elem_size, size_t capacity, nx_broadcast **ret_broadcast)
{
    NXI_ENTRY(-ENOSYS);
    if (!ret_broadcast || capacity == 0 || (elem_size > 0 && capacity > PTRDIFF_MAX / elem_size))
        return -EINVAL;
    if (nxi_forked())
        return -NX_EFORKED;
    struct nx_broadcast *broadcast = nxi_alloc(memory_size(elem_size, capacity));
    if (!broadcast)
        return -ENOMEM;
    broadcast->elem_size = elem_size;
    broadcast->capacity = capacity;
    *ret_broadcast = broadcast;
    return 0;
}

static char *slot(struct nx_broadcast *broadcast, uint64_t number)
{
    return broadcast->ring + (size_t)(number % broadcast->capacity) * broadcast->elem_size;
}

/* Under the lock: hands the value to all who wait. A chain of them, to be woken. */
static struct nxi_waiter *hand_out(struct nx_broadcast *broadcast, const void *elem)
{
    struct nxi_waiter *all = nxi_chan_pop_all(&broadcast->receivers, 0);
    for (struct nxi_waiter *waiter = all; waiter; waiter = waiter->next) {
        const struct reception *reception = waiter->data;
        nxi_chan_copy(reception->elem, elem, broadcast->elem_size);
        reception->subscription->next = broadcast->sent;
    }
    return all;
}

int nx_broadcast_send(nx_broadcast *broadcast, const void *elem)
{
    NXI_ENTRY(-ENOSYS);
    if (!broadcast || (!elem && broadcast->elem_size > 0))
        return -EINVAL;
    if (nxi_forked())
        return -NX_EFORKED;
    struct nxi_waiter *woken = NULL;
    nxi_lock(&broadcast->lock);
    int result = broadcast->closed ? -EPIPE : (int)broadcast->subscriptions;
    if (result > 0) { /* else nobody will ever look at it */
        nxi_chan_copy(slot(broadcast, broadcast->sent), elem, broadcast->elem_size);
        broadcast->sent++;
        woken = hand_out(broadcast, elem);
    }
    nxi_unlock(&broadcast->lock);
    nxi_chan_wake_all(woken);
    return result;
}

int nx_broadcast_subscribe(nx_broadcast *broadcast, nx_subscription **ret_subscription)
{
    NXI_ENTRY(-ENOSYS);
    if (!broadcast || !ret_subscription)
        return -EINVAL;
    if (nxi_forked())
        return -NX_EFORKED;
    struct nx_subscription *subscription = nxi_alloc(sizeof(*subscription));
    if (!subscription)
        return -ENOMEM;
    subscription->broadcast = broadcast;
    nxi_lock(&broadcast->lock);
    broadcast->subscriptions++;
    subscription->next = broadcast->sent;
    nxi_unlock(&broadcast->lock);
    *ret_subscription = subscription;
    return 0;
}

/* Under the lock; there is a value. How many were missed before it. */
static int64_t take(struct nx_subscription *subscription, void *ret_elem)
{
    struct nx_broadcast *broadcast = subscription->broadcast;
    uint64_t behind = broadcast->sent - subscription->next, lost = 0;
    if (behind > broadcast->capacity)
        lost = behind - broadcast->capacity;
    nxi_chan_copy(ret_elem, slot(broadcast, subscription->next + lost), broadcast->elem_size);
    subscription->next += lost + 1;
    return (int64_t)lost;
}

int64_t nx_broadcast_recv(nx_subscription *subscription, void *ret_elem, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    if (!subscription || (!ret_elem && subscription->broadcast->elem_size > 0))
        return -EINVAL;
    struct nxi_worker *worker = nxi_in_task();
    int64_t result = nxi_chan_admit(worker);
    if (result < 0)
        return result;
    struct nx_broadcast *broadcast = subscription->broadcast;
    nxi_lock(&broadcast->lock);
    if (subscription->next != broadcast->sent) {
        result = take(subscription, ret_elem);
    } else if (broadcast->closed) {
        result = -EPIPE;
    } else {
        struct reception reception = {subscription, ret_elem};
        const struct nxi_chan_place place = {&broadcast->lock, NULL, &broadcast->receivers, "broadcast", broadcast};
        return nxi_chan_wait(&place, worker, &reception, deadline);
    }
    nxi_unlock(&broadcast->lock);
    if (worker)
        nxi_charge(worker);
    return result;
}

void nx_broadcast_unsubscribe(nx_subscription *subscription)
{
    NXI_ENTRY();
    if (!subscription || nxi_forked())
        return;
    nxi_lock(&subscription->broadcast->lock);
    subscription->broadcast->subscriptions--;
    nxi_unlock(&subscription->broadcast->lock);
    nxi_free(subscription, sizeof(*subscription));
}

void nx_broadcast_close(nx_broadcast *broadcast)
{
    NXI_ENTRY();
    if (!broadcast || nxi_forked())
        return;
    nxi_lock(&broadcast->lock);
    broadcast->closed = true;
    struct nxi_waiter *receivers = nxi_chan_pop_all(&broadcast->receivers, -EPIPE);
    nxi_unlock(&broadcast->lock);
    nxi_chan_wake_all(receivers);
}

void nx_broadcast_destroy(nx_broadcast *broadcast)
{
    NXI_ENTRY();
    if (broadcast && !nxi_forked())
        nxi_free(broadcast, memory_size(broadcast->elem_size, broadcast->capacity));
}
