/* chan_many.c: channels: to send and to receive several elements at once. All is held, for a batch at a time. */
#include "chan_parts.h"
#include <limits.h>

#define BATCH 256u /* elements moved under one hold of the lock */

/* Puts elements in as long as there is room: how many. *inout_error says why not more. */
static size_t fill(struct nx_chan *chan, const char *elems, size_t count, int *inout_error)
{
    size_t size = chan->elem_size, want = nxi_chan_least(count, chan->capacity - nxi_chan_count(chan)), done = 0;
    if (size == 0)
        done = want;
    while (done < want) {
        if (chan->send.next == chan->send.end && (*inout_error = nxi_chan_more_tail(chan)) < 0)
            break;
        size_t run = nxi_chan_least(want - done, (size_t)(chan->send.end - chan->send.next) / size);
        memcpy(chan->send.next, elems + done * size, run * size);
        chan->send.next += run * size;
        done += run;
    }
    __atomic_store_n(&chan->send.done, chan->send.done + done, __ATOMIC_RELEASE);
    return done;
}

static size_t drain(struct nx_chan *chan, char *ret_elems, size_t max)
{
    size_t size = chan->elem_size, want = nxi_chan_least(max, nxi_chan_count(chan)), done = 0;
    if (size == 0)
        done = want;
    while (done < want) {
        if (chan->recv.next == chan->recv.end)
            nxi_chan_more_head(chan);
        size_t run = nxi_chan_least(want - done, (size_t)(chan->recv.end - chan->recv.next) / size);
        memcpy(ret_elems + done * size, chan->recv.next, run * size);
        chan->recv.next += run * size;
        done += run;
    }
    __atomic_store_n(&chan->recv.done, chan->recv.done + done, __ATOMIC_RELEASE);
    return done;
}

/* As try_send, for up to count: how many; why not more in *ret_error, 0 if all. The woken are a chain. */
static size_t try_send_many(struct nx_chan *chan, const char *elems, size_t count, int *ret_error,
                            struct nxi_waiter **ret_woken)
{
    struct nxi_waiter **end = ret_woken, *receiver;
    size_t done = 0;
    *ret_error = 0;
    *ret_woken = NULL;
    if (chan->closed) {
        *ret_error = -EPIPE;
        return 0;
    }
    while (done < count && (receiver = nxi_waiters_pop(&chan->receivers))) {
        nxi_chan_copy(receiver->data, elems + done++ * chan->elem_size, chan->elem_size);
        receiver->next = NULL;
        *end = receiver;
        end = &receiver->next;
    }
    done += fill(chan, elems + done * chan->elem_size, count - done, ret_error);
    if (done < count && *ret_error == 0)
        *ret_error = -EAGAIN;
    return done;
}

/* As try_recv. What is in the channel goes first, then what senders wait with, and then others' elements move up. */
static size_t try_recv_many(struct nx_chan *chan, char *ret_elems, size_t max, int *ret_error,
                            struct nxi_waiter **ret_woken)
{
    struct nxi_waiter **end = ret_woken, *sender;
    size_t done = drain(chan, ret_elems, max);
    *ret_woken = NULL;
    while ((done < max || nxi_chan_count(chan) < chan->capacity) && (sender = nxi_waiters_pop(&chan->senders))) {
        if (done < max)
            nxi_chan_copy(ret_elems + done++ * chan->elem_size, sender->data, chan->elem_size);
        else
            nxi_chan_put(chan, sender->data);
        sender->next = NULL;
        *end = sender;
        end = &sender->next;
    }
    *ret_error = done == max ? 0 : chan->closed ? -EPIPE : -EAGAIN;
    return done;
}

static void hold_to(struct nx_chan *chan, struct nxi_chan_side *side, struct nxi_worker *worker)
{
    nxi_chan_lock(chan, worker);
    if (chan->held_at_home)
        return;
    nxi_chan_note_user(side, worker);
    nxi_chan_consider_home(chan, worker);
}

/* Batch by batch, so that others get the lock in between. The first element may wait. */
static ssize_t many(struct nx_chan *chan, bool send, char *elems, size_t count, nx_time deadline)
{
    struct nxi_worker *worker = nxi_in_task();
    int error = nxi_chan_usable(chan, worker) < 0 ? nxi_chan_not_here() : nxi_chan_admit(worker);
    if (error < 0)
        return error;
    size_t total = 0;
    if (chan->elem_size == 0)
        elems = chan->ring; /* not NULL: it is counted up from */
    while (total < count && error == 0) {
        struct nxi_waiter *woken;
        hold_to(chan, send ? &chan->send : &chan->recv, worker);
        char *next = elems + total * chan->elem_size;
        size_t want = nxi_chan_least(count - total, BATCH);
        size_t done =
            send ? try_send_many(chan, next, want, &error, &woken) : try_recv_many(chan, next, want, &error, &woken);
        total += done;
        if (total == 0 && error == -EAGAIN) {
            int64_t served = send ? nxi_chan_wait_to_send(chan, worker, elems, deadline)
                                  : nxi_chan_wait_to_recv(chan, worker, elems, deadline);
            if (served < 0)
                return (ssize_t)served;
            worker = nxi_in_task(); /* it may be another now */
            total = 1;
            error = 0;
            continue;
        }
        nxi_chan_unlock(chan, worker);
        nxi_chan_wake_all(woken);
    }
    if (worker) {
        worker->credit -= (int32_t)nxi_chan_least(total / BATCH, NXI_TASK_CREDIT);
        nxi_charge(worker);
    }
    return total > 0 ? (ssize_t)total : error;
}

ssize_t nx_chan_send_many(nx_chan *chan, const void *elems, size_t count, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    if (!chan || count > SSIZE_MAX || (!elems && count > 0 && chan->elem_size > 0))
        return -EINVAL;
    return many(chan, true, (char *)(uintptr_t)elems, count, deadline);
}

ssize_t nx_chan_recv_many(nx_chan *chan, void *ret_elems, size_t max, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    if (!chan || max > SSIZE_MAX || (!ret_elems && max > 0 && chan->elem_size > 0))
        return -EINVAL;
    return many(chan, false, ret_elems, max, deadline);
}
