/*
 * chan.c: channels.
 *
 * A ring of elements, or a chain of blocks, under a lock, with a list of waiting receivers and one of waiting senders.
 * A send that meets a waiting receiver copies straight into its memory; a receive from a full channel lets the first
 * waiting sender's element follow into the place that has come free. So no waiter ever tries again: one that is taken
 * out has been served, which makes wakes one for one, and nobody overtakes it.
 *
 * Ring and blocks are filled and emptied by the same code: head and tail run through a piece of memory, and at its end
 * more_head and more_tail say where the next one begins, which for a ring is its own beginning.
 *
 * A waiter gives up (deadline, cancel) by taking itself out under the lock. If it is out already, somebody has served
 * it and will wake it, and it waits for that and returns what it was given: nothing is lost, nothing is sent twice.
 */
#include "chan.h"
#include <limits.h>

#define BLOCK_BYTES 4064u /* of elements, so that the allocation is a little less than a page */
#define BATCH 256u        /* elements moved under one hold of the lock */

/* ---- memory ---- */

static size_t block_elems(const struct nx_chan *chan)
{
    return chan->elem_size < BLOCK_BYTES ? BLOCK_BYTES / chan->elem_size : 1;
}

static size_t block_bytes(const struct nx_chan *chan)
{
    return sizeof(struct nxi_chan_block) + block_elems(chan) * chan->elem_size;
}

static void enter_head(struct nx_chan *chan, struct nxi_chan_block *block)
{
    chan->first = block;
    chan->head = block->elems;
    chan->head_end = chan->head + block_elems(chan) * chan->elem_size;
}

/* tail is at its end, and an element is to follow. */
static NXI_NOINLINE int more_tail(struct nx_chan *chan)
{
    if (chan->capacity != NX_UNBOUNDED) {
        chan->tail = chan->ring;
        return 0;
    }
    struct nxi_chan_block *block = chan->spare;
    if (!block && !(block = nxi_alloc(block_bytes(chan))))
        return -ENOMEM;
    chan->spare = NULL;
    block->next = NULL;
    if (chan->last)
        chan->last->next = block;
    else
        enter_head(chan, block);
    chan->last = block;
    chan->tail = block->elems;
    chan->tail_end = chan->tail + block_elems(chan) * chan->elem_size;
    return 0;
}

/* head is at its end, and there is another element. */
static NXI_NOINLINE void more_head(struct nx_chan *chan)
{
    if (chan->capacity != NX_UNBOUNDED) {
        chan->head = chan->ring;
        return;
    }
    struct nxi_chan_block *drained = chan->first;
    enter_head(chan, drained->next);
    if (chan->spare)
        nxi_free(drained, block_bytes(chan));
    else
        chan->spare = drained;
}

/* tail is not at its end. */
static inline void put_here(struct nx_chan *chan, const void *elem)
{
    nxi_chan_copy(chan->tail, elem, chan->elem_size);
    chan->tail += chan->elem_size;
    chan->count++;
}

static inline void take_here(struct nx_chan *chan, void *ret_elem)
{
    nxi_chan_copy(ret_elem, chan->head, chan->elem_size);
    chan->head += chan->elem_size;
    chan->count--;
}

static int put(struct nx_chan *chan, const void *elem)
{
    int error = chan->tail == chan->tail_end ? more_tail(chan) : 0;
    if (error == 0)
        put_here(chan, elem);
    return error;
}

static void take(struct nx_chan *chan, void *ret_elem)
{
    if (chan->head == chan->head_end)
        more_head(chan);
    take_here(chan, ret_elem);
}

/* ---- one element, under the lock ---- */

int nxi_chan_try_send(struct nx_chan *chan, const void *elem, struct nxi_waiter **ret_woken)
{
    *ret_woken = NULL;
    if (NXI_UNLIKELY(chan->closed))
        return -EPIPE;
    if (chan->receivers.first && (*ret_woken = nxi_waiters_pop(&chan->receivers))) {
        nxi_chan_copy((*ret_woken)->data, elem, chan->elem_size);
        return 0;
    }
    if (chan->count >= chan->capacity)
        return -EAGAIN;
    return put(chan, elem);
}

int nxi_chan_try_recv(struct nx_chan *chan, void *ret_elem, struct nxi_waiter **ret_woken)
{
    *ret_woken = NULL;
    if (NXI_LIKELY(chan->count > 0)) {
        take(chan, ret_elem);
        if (chan->senders.first && (*ret_woken = nxi_waiters_pop(&chan->senders)))
            put(chan, (*ret_woken)->data); /* bounded: it can't fail */
        return 0;
    }
    if (chan->senders.first && (*ret_woken = nxi_waiters_pop(&chan->senders))) { /* rendezvous */
        nxi_chan_copy(ret_elem, (*ret_woken)->data, chan->elem_size);
        return 0;
    }
    return chan->closed ? -EPIPE : -EAGAIN;
}

/* ---- waiting ---- */

/* Why a wait with this deadline need not begin, or 0. */
static int too_late(const struct nxi_worker *worker, nx_time deadline)
{
    if (deadline == NX_POLL)
        return -EAGAIN;
    nx_time until = worker ? nxi_deadline(worker, deadline) : deadline;
    return until != NX_FOREVER && until <= nx_now() ? -ETIMEDOUT : 0;
}

static void unlock(uint32_t *lock)
{
    if (lock)
        nxi_unlock(lock);
}

NXI_NOINLINE int64_t nxi_chan_wait(const struct nxi_chan_place *place, struct nxi_worker *worker, void *data,
                                   nx_time deadline)
{
    uint32_t *lock = place->lock;
    int error = too_late(worker, deadline);
    if (error < 0) {
        unlock(lock);
        if (worker)
            nxi_charge(worker);
        return error;
    }
    struct nxi_waiter waiter;
    nxi_waiter_init(&waiter, worker);
    nxi_waiter_note(&waiter, place->what, NXI_OBJECT_POINTER, (uintptr_t)place->object);
    waiter.data = data;
    nxi_waiters_push(place->list, &waiter);
    unlock(lock);
    error = nxi_waiter_wait(&waiter, deadline, true);
    if (NXI_LIKELY(error == 0))
        return waiter.result;
    if (lock)
        nxi_lock(lock);
    bool unserved = waiter.link != NULL;
    if (unserved)
        nxi_waiters_remove(place->list, &waiter);
    unlock(lock);
    if (unserved) {
        nxi_waiter_forget(&waiter);
        return error;
    }
    nxi_waiter_wait(&waiter, NX_FOREVER, false);
    return waiter.result;
}

void nxi_chan_wake_all(struct nxi_waiter *chain)
{
    while (chain) { /* the first is gone once it is woken */
        struct nxi_waiter *next = chain->next;
        nxi_waiter_wake(chain, NX_REASON_UNBLOCK);
        chain = next;
    }
}

/* ---- send, receive ---- */

static int64_t wait_to_send(struct nx_chan *chan, struct nxi_worker *worker, const void *elem, nx_time deadline)
{
    const struct nxi_chan_place place = {chan->local ? NULL : &chan->lock, &chan->senders, "send", chan};
    return nxi_chan_wait(&place, worker, (void *)(uintptr_t)elem, deadline); /* it is only read from */
}

static int64_t wait_to_recv(struct nx_chan *chan, struct nxi_worker *worker, void *ret_elem, nx_time deadline)
{
    const struct nxi_chan_place place = {chan->local ? NULL : &chan->lock, &chan->receivers, "receive", chan};
    return nxi_chan_wait(&place, worker, ret_elem, deadline);
}

/* A local channel is used from somewhere it is not at home. */
static int not_here(void)
{
    return nxi_forked() ? -NX_EFORKED : -EXDEV;
}

/* What follows once the lock has been dropped, in a call that did not park. */
static int finish(struct nxi_worker *worker, struct nxi_waiter *woken, int result)
{
    if (woken)
        nxi_waiter_wake(woken, NX_REASON_UNBLOCK);
    if (worker)
        nxi_charge(worker);
    return result;
}

/* Under the lock, which it drops. */
static NXI_NOINLINE int send_locked(struct nx_chan *chan, struct nxi_worker *worker, const void *elem, nx_time deadline)
{
    struct nxi_waiter *woken;
    int result = nxi_chan_try_send(chan, elem, &woken);
    if (result == -EAGAIN)
        return (int)wait_to_send(chan, worker, elem, deadline);
    nxi_chan_unlock(chan);
    return finish(worker, woken, result);
}

static NXI_NOINLINE int recv_locked(struct nx_chan *chan, struct nxi_worker *worker, void *ret_elem, nx_time deadline)
{
    struct nxi_waiter *woken;
    int result = nxi_chan_try_recv(chan, ret_elem, &woken);
    if (result == -EAGAIN)
        return (int)wait_to_recv(chan, worker, ret_elem, deadline);
    nxi_chan_unlock(chan);
    return finish(worker, woken, result);
}

/* Whether the caller may use it now: 0, or why not. Takes the lock. */
static inline int enter(struct nx_chan *chan, struct nxi_worker *worker)
{
    if (NXI_UNLIKELY(nxi_chan_usable(chan, worker) < 0))
        return not_here();
    int error = nxi_chan_admit(worker);
    if (NXI_LIKELY(error == 0))
        nxi_chan_lock(chan);
    return error;
}

/* The end of a call that met nobody. */
static inline int leave(struct nx_chan *chan, struct nxi_worker *worker)
{
    nxi_chan_unlock(chan);
    if (NXI_UNLIKELY(!worker || worker->credit <= 1)) /* time to let others run */
        return finish(worker, NULL, 0);
    worker->credit--;
    return 0;
}

int nx_chan_send(nx_chan *chan, const void *elem, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    if (NXI_UNLIKELY(!chan || (!elem && chan->elem_size > 0)))
        return -EINVAL;
    struct nxi_worker *worker = nxi_in_task();
    int error = enter(chan, worker);
    if (NXI_UNLIKELY(error < 0))
        return error;
    if (NXI_UNLIKELY(chan->receivers.first || chan->count >= chan->capacity || chan->tail == chan->tail_end ||
                     chan->closed))
        return send_locked(chan, worker, elem, deadline);
    put_here(chan, elem);
    return leave(chan, worker);
}

int nx_chan_recv(nx_chan *chan, void *ret_elem, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    if (NXI_UNLIKELY(!chan || (!ret_elem && chan->elem_size > 0)))
        return -EINVAL;
    struct nxi_worker *worker = nxi_in_task();
    int error = enter(chan, worker);
    if (NXI_UNLIKELY(error < 0))
        return error;
    if (NXI_UNLIKELY(chan->senders.first || chan->count == 0 || chan->head == chan->head_end))
        return recv_locked(chan, worker, ret_elem, deadline);
    take_here(chan, ret_elem);
    return leave(chan, worker);
}

/* ---- several ---- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Puts elements in as long as there is room: how many. *inout_error says why not more. */
static size_t fill(struct nx_chan *chan, const char *elems, size_t count, int *inout_error)
{
    size_t size = chan->elem_size, want = least(count, chan->capacity - chan->count), done = 0;
    if (size == 0)
        done = want;
    while (done < want) {
        if (chan->tail == chan->tail_end && (*inout_error = more_tail(chan)) < 0)
            break;
        size_t run = least(want - done, (size_t)(chan->tail_end - chan->tail) / size);
        memcpy(chan->tail, elems + done * size, run * size);
        chan->tail += run * size;
        done += run;
    }
    chan->count += done;
    return done;
}

static size_t drain(struct nx_chan *chan, char *ret_elems, size_t max)
{
    size_t size = chan->elem_size, want = least(max, chan->count), done = 0;
    if (size == 0)
        done = want;
    while (done < want) {
        if (chan->head == chan->head_end)
            more_head(chan);
        size_t run = least(want - done, (size_t)(chan->head_end - chan->head) / size);
        memcpy(ret_elems + done * size, chan->head, run * size);
        chan->head += run * size;
        done += run;
    }
    chan->count -= done;
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
    while ((done < max || chan->count < chan->capacity) && (sender = nxi_waiters_pop(&chan->senders))) {
        if (done < max)
            nxi_chan_copy(ret_elems + done++ * chan->elem_size, sender->data, chan->elem_size);
        else
            put(chan, sender->data);
        sender->next = NULL;
        *end = sender;
        end = &sender->next;
    }
    *ret_error = done == max ? 0 : chan->closed ? -EPIPE : -EAGAIN;
    return done;
}

/* Batch by batch, so that others get the lock in between. The first element may wait. */
static ssize_t many(struct nx_chan *chan, bool send, char *elems, size_t count, nx_time deadline)
{
    struct nxi_worker *worker = nxi_in_task();
    int error = nxi_chan_usable(chan, worker) < 0 ? not_here() : nxi_chan_admit(worker);
    if (error < 0)
        return error;
    size_t total = 0;
    if (chan->elem_size == 0)
        elems = chan->ring; /* not NULL: it is counted up from */
    while (total < count && error == 0) {
        struct nxi_waiter *woken;
        nxi_chan_lock(chan);
        char *next = elems + total * chan->elem_size;
        size_t want = least(count - total, BATCH);
        size_t done =
            send ? try_send_many(chan, next, want, &error, &woken) : try_recv_many(chan, next, want, &error, &woken);
        total += done;
        if (total == 0 && error == -EAGAIN) {
            int64_t served =
                send ? wait_to_send(chan, worker, elems, deadline) : wait_to_recv(chan, worker, elems, deadline);
            if (served < 0)
                return (ssize_t)served;
            worker = nxi_in_task(); /* it may be another now */
            total = 1;
            error = 0;
            continue;
        }
        nxi_chan_unlock(chan);
        nxi_chan_wake_all(woken);
    }
    if (worker) {
        worker->credit -= (int32_t)least(total / BATCH, NXI_TASK_CREDIT);
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

/* ---- create, close, destroy ---- */

int nx_chan_create_with(const nx_chan_options *options, nx_chan **ret_chan)
{
    NXI_ENTRY(-ENOSYS);
    nx_chan_options known;
    if (!ret_chan || nxi_options_copy(&known, sizeof(known), options) < 0 || known.flags & ~NX_CHAN_LOCAL)
        return -EINVAL;
    bool bounded = known.capacity != NX_UNBOUNDED;
    size_t ring_bytes;
    if (__builtin_mul_overflow(known.elem_size, bounded ? known.capacity : 1, &ring_bytes) || ring_bytes > PTRDIFF_MAX)
        return -EINVAL;
    if (nxi_forked())
        return -NX_EFORKED;
    struct nxi_worker *worker = nxi_in_task();
    if (known.flags & NX_CHAN_LOCAL && !worker)
        return -EXDEV;
    size_t memory_size = sizeof(struct nx_chan) + (bounded ? ring_bytes : 0);
    struct nx_chan *chan = nxi_alloc(memory_size);
    if (!chan)
        return -ENOMEM;
    chan->local = known.flags & NX_CHAN_LOCAL;
    chan->owner = chan->local ? worker : NULL;
    chan->elem_size = known.elem_size;
    chan->capacity = known.capacity;
    chan->memory_size = memory_size;
    if (bounded) {
        chan->head = chan->tail = chan->ring;
        chan->head_end = chan->tail_end = chan->ring + ring_bytes;
    }
    if (known.elem_size == 0) /* it never moves, and so never gets there */
        chan->head_end = chan->tail_end = (char *)chan;
    *ret_chan = chan;
    return 0;
}

int nx_chan_create(size_t elem_size, size_t capacity, nx_chan **ret_chan)
{
    NXI_ENTRY(-ENOSYS);
    const nx_chan_options options = {.size = sizeof(options), .elem_size = elem_size, .capacity = capacity};
    return nx_chan_create_with(&options, ret_chan);
}

/* Whether the caller may look at it. */
static bool at_home(const struct nx_chan *chan)
{
    return chan && !nxi_forked() && nxi_chan_usable(chan, nxi_in_task()) == 0;
}

void nx_chan_close(nx_chan *chan)
{
    NXI_ENTRY();
    if (!at_home(chan))
        return;
    nxi_chan_lock(chan);
    chan->closed = true;
    struct nxi_waiter *senders = nxi_chan_pop_all(&chan->senders, -EPIPE);
    struct nxi_waiter *receivers = nxi_chan_pop_all(&chan->receivers, -EPIPE); /* then it is empty */
    nxi_chan_unlock(chan);
    nxi_chan_wake_all(senders);
    nxi_chan_wake_all(receivers);
}

void nx_chan_destroy(nx_chan *chan)
{
    NXI_ENTRY();
    if (!chan || nxi_forked())
        return;
    struct nxi_chan_block *block = chan->first;
    while (block) {
        struct nxi_chan_block *next = block->next;
        nxi_free(block, block_bytes(chan));
        block = next;
    }
    if (chan->spare)
        nxi_free(chan->spare, block_bytes(chan));
    nxi_free(chan, chan->memory_size);
}

size_t nx_chan_len(const nx_chan *chan)
{
    NXI_ENTRY(0);
    if (!at_home(chan))
        return 0;
    struct nx_chan *seen = (struct nx_chan *)(uintptr_t)chan; /* only its lock changes */
    nxi_chan_lock(seen);
    size_t count = seen->count;
    nxi_chan_unlock(seen);
    return count;
}

bool nx_chan_closed(const nx_chan *chan)
{
    NXI_ENTRY(false);
    if (!at_home(chan))
        return false;
    struct nx_chan *seen = (struct nx_chan *)(uintptr_t)chan;
    nxi_chan_lock(seen);
    bool closed = seen->closed;
    nxi_chan_unlock(seen);
    return closed;
}
