/*
 * chan.c: channels.
 *
 * A ring of elements, or a chain of blocks, with a list of waiting receivers and one of waiting senders. chan.h says
 * how it is held.
 * A send that meets a waiting receiver copies straight into its memory; a receive from a full channel lets the first
 * waiting sender's element follow into the place that has come free. So no waiter ever tries again: one that is taken
 * out has been served, which makes wakes one for one, and nobody overtakes it.
 *
 * Ring and blocks are filled and emptied by the same code: each side runs through a piece of memory, and at its end
 * nxi_chan_more_tail and nxi_chan_more_head say where the next one begins, which for a ring is its own beginning. From
 * block to block it goes only with both locks.
 *
 * A waiter gives up (deadline, cancel) by taking itself out while it holds the channel. If it is out already,
 * somebody has served it and will wake it, and it waits for that and returns what it was given: nothing is lost,
 * nothing is sent twice.
 */
#include "chan_parts.h"

#define BLOCK_BYTES 4064u /* of elements, so that the allocation is a little less than a page */
#define HOME_AFTER 64u    /* calls by one worker; an eviction costs a few dozen of them at first */
#define HOME_AGAIN 16u    /* after each eviction it takes so many times more of them */

/* ---- holding ---- */

/* Under both locks: whoever is home is home no longer. */
static NXI_NOINLINE void evict(struct nx_chan *chan)
{
    __atomic_store_n(&chan->home, NULL, __ATOMIC_SEQ_CST);
    if (!nxi_barrier_everywhere()) {
        /* Not here, though it has been possible before: a filter on this thread. No store takes as long as this. */
        const struct timespec wait = {.tv_nsec = 10000000};
        nanosleep(&wait, NULL);
    }
    for (uint32_t turns = 0; __atomic_load_n(&chan->inside, __ATOMIC_ACQUIRE);) /* ends: it is short */
        nxi_relax(&turns);
    chan->home_after = chan->home_after < UINT32_MAX / HOME_AGAIN ? chan->home_after * HOME_AGAIN : UINT32_MAX;
    chan->send.user = chan->recv.user = NULL;
    chan->send.streak = chan->recv.streak = 0;
}

void nxi_chan_enter_both(struct nx_chan *chan)
{
    if (NXI_UNLIKELY(__atomic_load_n(&chan->home, __ATOMIC_RELAXED) != NULL))
        evict(chan);
    chan->held_at_home = false;
}

void nxi_chan_lock_both(struct nx_chan *chan)
{
    nxi_lock(&chan->send.lock);
    nxi_lock(&chan->recv.lock);
    nxi_chan_enter_both(chan);
}

/* Under both locks: moves in, if nobody else has come by for long. */
void nxi_chan_consider_home(struct nx_chan *chan, struct nxi_worker *worker)
{
    const struct nxi_chan_side *send = &chan->send, *recv = &chan->recv;
    if (!worker || send->user != worker || recv->user != worker || chan->home_after == UINT32_MAX ||
        (uint64_t)send->streak + recv->streak < chan->home_after)
        return;
    if (nxi_barrier_everywhere()) /* else nobody could evict it */
        __atomic_store_n(&chan->home, worker, __ATOMIC_RELAXED);
    else
        chan->home_after = UINT32_MAX;
}

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
    chan->recv.next = block->elems;
    chan->recv.end = chan->recv.next + block_elems(chan) * chan->elem_size;
}

int nxi_chan_more_tail(struct nx_chan *chan)
{
    if (chan->capacity != NX_UNBOUNDED) {
        chan->send.next = chan->ring;
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
    chan->send.next = block->elems;
    chan->send.end = chan->send.next + block_elems(chan) * chan->elem_size;
    return 0;
}

void nxi_chan_more_head(struct nx_chan *chan)
{
    if (chan->capacity != NX_UNBOUNDED) {
        chan->recv.next = chan->ring;
        return;
    }
    struct nxi_chan_block *drained = chan->first;
    enter_head(chan, drained->next);
    if (chan->spare)
        nxi_free(drained, block_bytes(chan));
    else
        chan->spare = drained;
}

int nxi_chan_put(struct nx_chan *chan, const void *elem)
{
    int error = chan->send.next == chan->send.end ? nxi_chan_more_tail(chan) : 0;
    if (error == 0)
        nxi_chan_put_here(chan, elem);
    return error;
}

static void take(struct nx_chan *chan, void *ret_elem)
{
    if (chan->recv.next == chan->recv.end)
        nxi_chan_more_head(chan);
    nxi_chan_take_here(chan, ret_elem);
}

/* ---- one element, of a channel that is held ---- */

int nxi_chan_try_send(struct nx_chan *chan, const void *elem, struct nxi_waiter **ret_woken)
{
    *ret_woken = NULL;
    if (NXI_UNLIKELY(chan->closed))
        return -EPIPE;
    if (chan->receivers.first && (*ret_woken = nxi_waiters_pop(&chan->receivers))) {
        nxi_chan_copy((*ret_woken)->data, elem, chan->elem_size);
        return 0;
    }
    if (nxi_chan_count(chan) >= chan->capacity)
        return -EAGAIN;
    return nxi_chan_put(chan, elem);
}

int nxi_chan_try_recv(struct nx_chan *chan, void *ret_elem, struct nxi_waiter **ret_woken)
{
    *ret_woken = NULL;
    if (NXI_LIKELY(nxi_chan_count(chan) > 0)) {
        take(chan, ret_elem);
        if (chan->senders.first && (*ret_woken = nxi_waiters_pop(&chan->senders)))
            nxi_chan_put(chan, (*ret_woken)->data); /* bounded: it can't fail */
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

static void hold(const struct nxi_chan_place *place, const struct nxi_worker *worker)
{
    if (place->chan)
        nxi_chan_lock(place->chan, worker);
    else
        nxi_lock(place->lock);
}

static void let_go(const struct nxi_chan_place *place, const struct nxi_worker *worker)
{
    if (place->chan)
        nxi_chan_unlock(place->chan, worker);
    else
        nxi_unlock(place->lock);
}

NXI_NOINLINE int64_t nxi_chan_give_up(const struct nxi_chan_place *place, struct nxi_waiter *waiter, int error)
{
    hold(place, waiter->worker);
    bool unserved = waiter->link != NULL;
    if (unserved)
        nxi_waiters_remove(place->list, waiter);
    let_go(place, waiter->worker);
    if (unserved) {
        nxi_waiter_forget(waiter);
        return error;
    }
    nxi_waiter_wait(waiter, NX_FOREVER, false);
    return waiter->result;
}

NXI_NOINLINE int64_t nxi_chan_wait(const struct nxi_chan_place *place, struct nxi_worker *worker, void *data,
                                   nx_time deadline)
{
    int error = too_late(worker, deadline);
    if (error < 0) {
        let_go(place, worker);
        if (worker)
            nxi_charge(worker);
        return error;
    }
    struct nxi_waiter waiter;
    nxi_waiter_init(&waiter, worker);
    nxi_waiter_note(&waiter, place->what, NXI_OBJECT_POINTER, (uintptr_t)place->object);
    waiter.data = data;
    nxi_waiters_push(place->list, &waiter);
    let_go(place, worker);
    error = nxi_waiter_wait(&waiter, deadline, true);
    return NXI_LIKELY(error == 0) ? waiter.result : nxi_chan_give_up(place, &waiter, error);
}

void nxi_chan_wake_all(struct nxi_waiter *chain)
{
    while (chain) { /* the first is gone once it is woken */
        struct nxi_waiter *next = chain->next;
        nxi_waiter_wake(chain, NX_REASON_UNBLOCK);
        chain = next;
    }
}

int64_t nxi_chan_wait_to_send(struct nx_chan *chan, struct nxi_worker *worker, const void *elem, nx_time deadline)
{
    const struct nxi_chan_place place = {NULL, chan, &chan->senders, "send", chan};
    return nxi_chan_wait(&place, worker, (void *)(uintptr_t)elem, deadline); /* it is only read from */
}

int64_t nxi_chan_wait_to_recv(struct nx_chan *chan, struct nxi_worker *worker, void *ret_elem, nx_time deadline)
{
    const struct nxi_chan_place place = {NULL, chan, &chan->receivers, "receive", chan};
    return nxi_chan_wait(&place, worker, ret_elem, deadline);
}

int nxi_chan_not_here(void)
{
    return nxi_forked() ? -NX_EFORKED : -EXDEV;
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
    chan->held_at_home = chan->local; /* of those who may use it */
    chan->home = chan->local ? worker : NULL;
    chan->home_after = HOME_AFTER;
    chan->elem_size = known.elem_size;
    chan->capacity = known.capacity;
    chan->memory_size = memory_size;
    if (bounded) {
        chan->recv.next = chan->send.next = chan->ring;
        chan->recv.end = chan->send.end = chan->ring + ring_bytes;
    }
    if (known.elem_size == 0) /* it never moves, and so never gets there */
        chan->recv.end = chan->send.end = (char *)chan;
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
    struct nxi_worker *worker = nxi_in_task();
    nxi_chan_lock(chan, worker);
    chan->closed = true;
    struct nxi_waiter *senders = nxi_chan_pop_all(&chan->senders, -EPIPE);
    struct nxi_waiter *receivers = nxi_chan_pop_all(&chan->receivers, -EPIPE); /* then it is empty */
    nxi_chan_unlock(chan, worker);
    nxi_chan_wake_all(senders);
    nxi_chan_wake_all(receivers);
}

void nx_chan_destroy(nx_chan *chan)
{
    NXI_ENTRY();
    if (!chan || nxi_forked())
        return;
    if (!chan->local) /* whose last element was received may yet be about to unlock */
        nxi_chan_lock(chan, nxi_in_task());
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
    struct nx_chan *seen = (struct nx_chan *)(uintptr_t)chan; /* only how it is held changes */
    struct nxi_worker *worker = nxi_in_task();
    nxi_chan_lock(seen, worker);
    size_t count = nxi_chan_count(seen);
    nxi_chan_unlock(seen, worker);
    return count;
}

bool nx_chan_closed(const nx_chan *chan)
{
    NXI_ENTRY(false);
    if (!at_home(chan))
        return false;
    struct nx_chan *seen = (struct nx_chan *)(uintptr_t)chan;
    struct nxi_worker *worker = nxi_in_task();
    nxi_chan_lock(seen, worker);
    bool closed = seen->closed;
    nxi_chan_unlock(seen, worker);
    return closed;
}
