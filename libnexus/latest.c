/* latest.c: one value that changes; who waits for a newer one is handed it, in the state in which it was set. */
#include "chan.h"

struct nx_latest {
    uint32_t lock;
    bool closed; /* under lock, as what follows */
    int64_t version;
    struct nxi_waiters receivers;
    size_t elem_size;
    _Alignas(16) char value[];
};

int nx_latest_create(size_t elem_size, const void *initial, nx_latest **ret_latest)
{
    NXI_ENTRY(-ENOSYS);
    if (!ret_latest || elem_size > PTRDIFF_MAX || (!initial && elem_size > 0))
        return -EINVAL;
    if (nxi_forked())
        return -NX_EFORKED;
    struct nx_latest *latest = nxi_alloc(sizeof(*latest) + elem_size);
    if (!latest)
        return -ENOMEM;
    latest->elem_size = elem_size;
    latest->version = 1;
    nxi_chan_copy(latest->value, initial, elem_size);
    *ret_latest = latest;
    return 0;
}

/* Under the lock. NULL: the value is not wanted. */
static void copy_to(const struct nx_latest *latest, void *ret_elem)
{
    if (ret_elem)
        nxi_chan_copy(ret_elem, latest->value, latest->elem_size);
}

int nx_latest_set(nx_latest *latest, const void *elem)
{
    NXI_ENTRY(-ENOSYS);
    if (!latest || (!elem && latest->elem_size > 0))
        return -EINVAL;
    if (nxi_forked())
        return -NX_EFORKED;
    struct nxi_waiter *woken = NULL;
    nxi_lock(&latest->lock);
    int error = latest->closed ? -EPIPE : 0;
    if (error == 0) {
        nxi_chan_copy(latest->value, elem, latest->elem_size);
        woken = nxi_chan_pop_all(&latest->receivers, ++latest->version);
        for (struct nxi_waiter *waiter = woken; waiter; waiter = waiter->next)
            copy_to(latest, waiter->data);
    }
    nxi_unlock(&latest->lock);
    nxi_chan_wake_all(woken);
    return error;
}

int64_t nx_latest_get(nx_latest *latest, void *ret_elem)
{
    NXI_ENTRY(-ENOSYS);
    if (!latest)
        return -EINVAL;
    if (nxi_forked())
        return -NX_EFORKED;
    nxi_lock(&latest->lock);
    copy_to(latest, ret_elem);
    int64_t version = latest->version;
    nxi_unlock(&latest->lock);
    return version;
}

int64_t nx_latest_wait(nx_latest *latest, int64_t seen_version, void *ret_elem, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    if (!latest || seen_version < 0)
        return -EINVAL;
    struct nxi_worker *worker = nxi_in_task();
    int64_t result = nxi_chan_admit(worker);
    if (result < 0)
        return result;
    nxi_lock(&latest->lock);
    if (latest->version > seen_version) {
        copy_to(latest, ret_elem);
        result = latest->version;
    } else if (latest->version < seen_version) {
        result = -EINVAL; /* it has not been given out */
    } else if (latest->closed) {
        result = -EPIPE;
    } else {
        const struct nxi_chan_place place = {&latest->lock, NULL, &latest->receivers, "latest", latest};
        return nxi_chan_wait(&place, worker, ret_elem, deadline);
    }
    nxi_unlock(&latest->lock);
    if (worker)
        nxi_charge(worker);
    return result;
}

void nx_latest_close(nx_latest *latest)
{
    NXI_ENTRY();
    if (!latest || nxi_forked())
        return;
    nxi_lock(&latest->lock);
    latest->closed = true;
    struct nxi_waiter *receivers = nxi_chan_pop_all(&latest->receivers, -EPIPE);
    nxi_unlock(&latest->lock);
    nxi_chan_wake_all(receivers);
}

void nx_latest_destroy(nx_latest *latest)
{
    NXI_ENTRY();
    if (latest && !nxi_forked())
        nxi_free(latest, sizeof(*latest) + latest->elem_size);
}
