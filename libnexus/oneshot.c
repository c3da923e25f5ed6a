/* oneshot.c: one value, once. Whoever takes it leaves the oneshot as if closed. */
#include "chan.h"

enum state { EMPTY, FULL, TAKEN };

struct nx_oneshot {
    uint32_t lock;
    enum state state; /* under lock, as what follows */
    bool closed;
    struct nxi_waiters receivers;
    size_t elem_size;
    _Alignas(16) char value[];
};

int nx_oneshot_create(size_t elem_size, nx_oneshot **ret_oneshot)
{
    NXI_ENTRY(-ENOSYS);
    if (!ret_oneshot || elem_size > PTRDIFF_MAX)
        return -EINVAL;
    if (nxi_forked())
        return -NX_EFORKED;
    struct nx_oneshot *oneshot = nxi_alloc(sizeof(*oneshot) + elem_size);
    if (!oneshot)
        return -ENOMEM;
    oneshot->elem_size = elem_size;
    *ret_oneshot = oneshot;
    return 0;
}

/* Under the lock. *ret_woken: who is to be woken. */
static int try_send(struct nx_oneshot *oneshot, const void *elem, struct nxi_waiter **ret_woken)
{
    if (oneshot->state != EMPTY)
        return -EALREADY;
    if (oneshot->closed)
        return -EPIPE;
    struct nxi_waiter *receiver = nxi_waiters_pop(&oneshot->receivers);
    nxi_chan_copy(receiver ? receiver->data : oneshot->value, elem, oneshot->elem_size);
    oneshot->state = receiver ? TAKEN : FULL;
    if (receiver)
        receiver->next = nxi_chan_pop_all(&oneshot->receivers, -EPIPE); /* the others have nothing to wait for */
    *ret_woken = receiver;
    return 0;
}

int nx_oneshot_send(nx_oneshot *oneshot, const void *elem)
{
    NXI_ENTRY(-ENOSYS);
    if (!oneshot || (!elem && oneshot->elem_size > 0))
        return -EINVAL;
    if (nxi_forked())
        return -NX_EFORKED;
    struct nxi_waiter *woken = NULL;
    nxi_lock(&oneshot->lock);
    int error = try_send(oneshot, elem, &woken);
    nxi_unlock(&oneshot->lock);
    nxi_chan_wake_all(woken);
    return error;
}

int nx_oneshot_recv(nx_oneshot *oneshot, void *ret_elem, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    if (!oneshot || (!ret_elem && oneshot->elem_size > 0))
        return -EINVAL;
    struct nxi_worker *worker = nxi_in_task();
    int error = nxi_chan_admit(worker);
    if (error < 0)
        return error;
    nxi_lock(&oneshot->lock);
    if (oneshot->state == FULL) {
        nxi_chan_copy(ret_elem, oneshot->value, oneshot->elem_size);
        oneshot->state = TAKEN;
    } else if (oneshot->state == TAKEN || oneshot->closed) {
        error = -EPIPE;
    } else {
        const struct nxi_chan_place place = {&oneshot->lock, NULL, &oneshot->receivers, "oneshot", oneshot};
        return (int)nxi_chan_wait(&place, worker, ret_elem, deadline);
    }
    nxi_unlock(&oneshot->lock);
    if (worker)
        nxi_charge(worker);
    return error;
}

void nx_oneshot_close(nx_oneshot *oneshot)
{
    NXI_ENTRY();
    if (!oneshot || nxi_forked())
        return;
    nxi_lock(&oneshot->lock);
    oneshot->closed = true;
    struct nxi_waiter *receivers = nxi_chan_pop_all(&oneshot->receivers, -EPIPE);
    nxi_unlock(&oneshot->lock);
    nxi_chan_wake_all(receivers);
}

void nx_oneshot_destroy(nx_oneshot *oneshot)
{
    NXI_ENTRY();
    if (oneshot && !nxi_forked())
        nxi_free(oneshot, sizeof(*oneshot) + oneshot->elem_size);
}
