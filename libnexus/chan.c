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
 * more_tail (sending) and more_head say where the next one begins, which for a ring is its own beginning. From block to
 * block it goes only with both locks.
 *
 * A waiter gives up (deadline, cancel) by taking itself out while it holds the channel. If it is out already,
 * somebody has served it and will wake it, and it waits for that and returns what it was given: nothing is lost,
 * nothing is sent twice.
 */
#include "chan.h"
#include <limits.h>

#define BLOCK_BYTES 4064u /* of elements, so that the allocation is a little less than a page */
#define BATCH 256u        /* elements moved under one hold of the lock */
#define SPIN_TURNS 40u    /* looks at the other side before a wait: about 2 us */
#define SPIN_BATCH 64u    /* places that a sender spins for, rather than go on one by one */
#define SPIN_SKIPS 16u    /* waits without a spin after one that was in vain */
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

/* Both locks have been taken. */
static void enter_both(struct nx_chan *chan)
{
    if (NXI_UNLIKELY(__atomic_load_n(&chan->home, __ATOMIC_RELAXED) != NULL))
        evict(chan);
    chan->held_at_home = false;
}

void nxi_chan_lock_both(struct nx_chan *chan)
{
    nxi_lock(&chan->send.lock);
    nxi_lock(&chan->recv.lock);
    enter_both(chan);
}

/* Under the side's lock: who uses it. */
static inline void note_user(struct nxi_chan_side *side, struct nxi_worker *worker)
{
    if (NXI_LIKELY(side->user == worker)) {
        side->streak++;
        return;
    }
    __atomic_store_n(&side->user, worker, __ATOMIC_RELAXED);
    side->streak = 0;
}

/* Under both locks: moves in, if nobody else has come by for long. */
static void consider_home(struct nx_chan *chan, struct nxi_worker *worker)
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

/* tail is at its end, and an element is to follow. */
static NXI_NOINLINE int more_tail(struct nx_chan *chan)
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

/* head is at its end, and there is another element. */
static NXI_NOINLINE void more_head(struct nx_chan *chan)
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

/* The side is not at its end. All is held; or its own lock alone, and then the count is for the other side to see. */
static inline void put_here(struct nx_chan *chan, const void *elem)
{
    struct nxi_chan_side *send = &chan->send;
    nxi_chan_copy(send->next, elem, chan->elem_size);
    send->next += chan->elem_size;
    __atomic_store_n(&send->done, send->done + 1, __ATOMIC_RELEASE);
}

static inline void take_here(struct nx_chan *chan, void *ret_elem)
{
    struct nxi_chan_side *recv = &chan->recv;
    nxi_chan_copy(ret_elem, recv->next, chan->elem_size);
    recv->next += chan->elem_size;
    __atomic_store_n(&recv->done, recv->done + 1, __ATOMIC_RELEASE);
}

static int put(struct nx_chan *chan, const void *elem)
{
    int error = chan->send.next == chan->send.end ? more_tail(chan) : 0;
    if (error == 0)
        put_here(chan, elem);
    return error;
}

static void take(struct nx_chan *chan, void *ret_elem)
{
    if (chan->recv.next == chan->recv.end)
        more_head(chan);
    take_here(chan, ret_elem);
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
    return put(chan, elem);
}

int nxi_chan_try_recv(struct nx_chan *chan, void *ret_elem, struct nxi_waiter **ret_woken)
{
    *ret_woken = NULL;
    if (NXI_LIKELY(nxi_chan_count(chan) > 0)) {
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

/* The wait is over without a wake. */
static NXI_NOINLINE int64_t give_up(const struct nxi_chan_place *place, struct nxi_waiter *waiter, int error)
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
    return NXI_LIKELY(error == 0) ? waiter.result : give_up(place, &waiter, error);
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
    const struct nxi_chan_place place = {NULL, chan, &chan->senders, "send", chan};
    return nxi_chan_wait(&place, worker, (void *)(uintptr_t)elem, deadline); /* it is only read from */
}

static int64_t wait_to_recv(struct nx_chan *chan, struct nxi_worker *worker, void *ret_elem, nx_time deadline)
{
    const struct nxi_chan_place place = {NULL, chan, &chan->receivers, "receive", chan};
    return nxi_chan_wait(&place, worker, ret_elem, deadline);
}

/* A local channel is used from somewhere it is not at home. */
static int not_here(void)
{
    return nxi_forked() ? -NX_EFORKED : -EXDEV;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
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

/* It is held, and is let go. */
static NXI_NOINLINE int send_held(struct nx_chan *chan, struct nxi_worker *worker, const void *elem, nx_time deadline)
{
    struct nxi_waiter *woken;
    int result = nxi_chan_try_send(chan, elem, &woken);
    if (result == -EAGAIN)
        return (int)wait_to_send(chan, worker, elem, deadline);
    nxi_chan_unlock(chan, worker);
    return finish(worker, woken, result);
}

static NXI_NOINLINE int recv_held(struct nx_chan *chan, struct nxi_worker *worker, void *ret_elem, nx_time deadline)
{
    struct nxi_waiter *woken;
    int result = nxi_chan_try_recv(chan, ret_elem, &woken);
    if (result == -EAGAIN)
        return (int)wait_to_recv(chan, worker, ret_elem, deadline);
    nxi_chan_unlock(chan, worker);
    return finish(worker, woken, result);
}

/*
 * A channel that is held at home, and is let go, in the usual case of a wait: one pass from here to the switch, since
 * a message there and back is little else.
 */
static NXI_NOINLINE int wait_at_home(struct nx_chan *chan, struct nxi_worker *worker, struct nxi_waiters *list,
                                     void *data, nx_time deadline)
{
    const char *what = list == &chan->senders ? "send" : "receive";
    const struct nxi_chan_place place = {NULL, chan, list, what, chan};
    if (NXI_UNLIKELY(!nxi_waiter_is_usual(worker, deadline))) {
        chan->held_at_home = true;
        return (int)nxi_chan_wait(&place, worker, data, deadline);
    }
    struct nxi_waiter waiter;
    nxi_waiter_init(&waiter, worker);
    nxi_waiter_note(&waiter, what, NXI_OBJECT_POINTER, (uintptr_t)chan);
    waiter.data = data;
    nxi_waiters_push(list, &waiter);
    nxi_chan_leave_home(chan);
    int error = NXI_LIKELY(nxi_waiter_wait_once(&waiter, worker)) ? 0 : nxi_waiter_wait(&waiter, NX_FOREVER, true);
    return (int)(NXI_LIKELY(error == 0) ? waiter.result : give_up(&place, &waiter, error));
}

/* The end of a call that met nobody. */
static inline int charge(struct nxi_worker *worker)
{
    if (NXI_UNLIKELY(!worker || worker->credit <= 1)) /* time to let others run */
        return finish(worker, NULL, 0);
    worker->credit--;
    return 0;
}

/* At home, as above: to a task of the same worker that waits. */
static inline void hand_over(struct nx_chan *chan, struct nxi_worker *worker, const void *elem,
                             struct nxi_waiter *receiver)
{
    nxi_waiters_remove(&chan->receivers, receiver);
    nxi_chan_copy(receiver->data, elem, chan->elem_size);
    nxi_chan_leave_home(chan);
    nxi_waiter_wake_beside(receiver, worker, NX_REASON_UNBLOCK);
}

/* Under one lock: somebody is home, and may be changing everything. This comes before any other look. */
static inline bool is_taken(const struct nx_chan *chan)
{
    return __atomic_load_n(&chan->home, __ATOMIC_RELAXED) != NULL;
}

/* Whether this is the moment to think about moving in. */
static inline bool streak_is_long(const struct nx_chan *chan, const struct nxi_chan_side *side)
{
    return NXI_UNLIKELY(side->streak == chan->home_after);
}

/* Under the sender's lock: an element can't simply follow. */
static inline bool cannot_put(struct nx_chan *chan)
{
    struct nxi_chan_side *send = &chan->send;
    if (NXI_UNLIKELY(is_taken(chan) || chan->receivers.first || chan->closed || streak_is_long(chan, send)))
        return true;
    if (send->done - send->others >= chan->capacity) {
        send->others = __atomic_load_n(&chan->recv.done, __ATOMIC_ACQUIRE);
        if (send->done - send->others >= chan->capacity)
            return true;
    }
    if (NXI_UNLIKELY(send->next == send->end)) {
        if (chan->capacity == NX_UNBOUNDED)
            return true;
        send->next = chan->ring;
    }
    return false;
}

/* At home nobody keeps recv->others up to date, so done may be past it. */
static inline bool seen_something(const struct nxi_chan_side *recv)
{
    return (ptrdiff_t)(recv->others - recv->done) > 0;
}

static inline bool cannot_take(struct nx_chan *chan)
{
    struct nxi_chan_side *recv = &chan->recv;
    if (NXI_UNLIKELY(is_taken(chan) || chan->senders.first || streak_is_long(chan, recv)))
        return true;
    if (!seen_something(recv)) {
        recv->others = __atomic_load_n(&chan->send.done, __ATOMIC_ACQUIRE);
        if (!seen_something(recv))
            return true;
    }
    if (NXI_UNLIKELY(recv->next == recv->end)) {
        if (chan->capacity == NX_UNBOUNDED)
            return true;
        recv->next = chan->ring;
    }
    return false;
}

/*
 * A wait for a side that is at work on another thread just now is over sooner than it takes to park and be woken. So
 * a moment is spent looking, if that has paid lately and the worker has nothing else to run. What it costs is charged
 * to the task, and to the turn of the loop, so that I/O is not kept waiting by many such moments.
 */
static bool pays_to_spin(struct nx_chan *chan, struct nxi_chan_side *side, const struct nxi_chan_side *other,
                         struct nxi_worker *worker, nx_time deadline)
{
    if (deadline == NX_POLL || is_taken(chan) || chan->closed || chan->capacity == 0 || chan->receivers.first ||
        chan->senders.first || __atomic_load_n(&other->done, __ATOMIC_RELAXED) == 0 ||
        __atomic_load_n(&other->user, __ATOMIC_RELAXED) == worker ||
        (worker && (nxi_counted(&worker->counters.ready) > 0 || worker->runtime->spin_ns == 0)))
        return false;
    if (side->spin_skips == 0)
        return true;
    side->spin_skips--;
    return false;
}

/* Under the side's lock, which it drops meanwhile: whether there are wanted places, or elements, or some at last. */
static bool spin(struct nxi_chan_side *side, const struct nxi_chan_side *other, struct nxi_worker *worker,
                 size_t wanted)
{
    size_t before = __atomic_load_n(&other->done, __ATOMIC_RELAXED), more = 0;
    nxi_unlock(&side->lock);
    for (uint32_t turns = 0; turns < SPIN_TURNS && more < wanted;) {
        nxi_relax(&turns);
        more = __atomic_load_n(&other->done, __ATOMIC_RELAXED) - before;
    }
    if (worker) {
        worker->credit -= NXI_TASK_CREDIT / 8;
        worker->turn -= (int32_t)NXI_TURN_TASKS / 8;
    }
    nxi_lock(&side->lock);
    side->spin_skips = more > 0 ? 0 : SPIN_SKIPS;
    return more > 0;
}

/* Away from home. */
static NXI_NOINLINE int send_shared(struct nx_chan *chan, struct nxi_worker *worker, const void *elem, nx_time deadline)
{
    if (chan->local)
        return not_here();
    int error = nxi_chan_admit(worker);
    if (NXI_UNLIKELY(error < 0))
        return error;
    nxi_lock(&chan->send.lock);
    note_user(&chan->send, worker);
    bool wait = cannot_put(chan);
    if (NXI_UNLIKELY(wait) && pays_to_spin(chan, &chan->send, &chan->recv, worker, deadline) &&
        spin(&chan->send, &chan->recv, worker, least(SPIN_BATCH, chan->capacity / 2 + 1)))
        wait = cannot_put(chan);
    if (NXI_UNLIKELY(wait)) {
        nxi_lock(&chan->recv.lock);
        enter_both(chan);
        consider_home(chan, worker);
        return send_held(chan, worker, elem, deadline);
    }
    put_here(chan, elem);
    nxi_unlock(&chan->send.lock);
    return charge(worker);
}

static NXI_NOINLINE int recv_shared(struct nx_chan *chan, struct nxi_worker *worker, void *ret_elem, nx_time deadline)
{
    if (chan->local)
        return not_here();
    int error = nxi_chan_admit(worker);
    if (NXI_UNLIKELY(error < 0))
        return error;
    nxi_lock(&chan->recv.lock);
    note_user(&chan->recv, worker);
    bool wait = cannot_take(chan);
    if (NXI_UNLIKELY(wait) && pays_to_spin(chan, &chan->recv, &chan->send, worker, deadline) &&
        spin(&chan->recv, &chan->send, worker, 1))
        wait = cannot_take(chan);
    if (NXI_UNLIKELY(wait)) {
        nxi_unlock(&chan->recv.lock); /* the sender's comes first */
        nxi_chan_lock_both(chan);
        consider_home(chan, worker);
        return recv_held(chan, worker, ret_elem, deadline);
    }
    take_here(chan, ret_elem);
    nxi_unlock(&chan->recv.lock);
    return charge(worker);
}

int nx_chan_send(nx_chan *chan, const void *elem, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    if (NXI_UNLIKELY(!chan || (!elem && chan->elem_size > 0)))
        return -EINVAL;
    struct nxi_worker *worker = nxi_in_task();
    if (!nxi_chan_is_home(chan, worker))
        return send_shared(chan, worker, elem, deadline);
    int error = nxi_chan_admit(worker);
    if (NXI_UNLIKELY(error < 0))
        return error;
    if (NXI_UNLIKELY(!nxi_chan_enter_home(chan, worker)))
        return send_shared(chan, worker, elem, deadline);
    struct nxi_waiter *receiver = chan->receivers.first;
    if (receiver && nxi_waiter_is_beside(receiver, worker)) {
        hand_over(chan, worker, elem, receiver);
        return charge(worker);
    }
    bool full = nxi_chan_count(chan) >= chan->capacity;
    if (NXI_UNLIKELY(receiver || full || chan->send.next == chan->send.end || chan->closed)) {
        if (full && !receiver && !chan->closed)
            return wait_at_home(chan, worker, &chan->senders, (void *)(uintptr_t)elem, deadline);
        chan->held_at_home = true;
        return send_held(chan, worker, elem, deadline);
    }
    put_here(chan, elem);
    nxi_chan_leave_home(chan);
    return charge(worker);
}

int nx_chan_recv(nx_chan *chan, void *ret_elem, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    if (NXI_UNLIKELY(!chan || (!ret_elem && chan->elem_size > 0)))
        return -EINVAL;
    struct nxi_worker *worker = nxi_in_task();
    if (!nxi_chan_is_home(chan, worker))
        return recv_shared(chan, worker, ret_elem, deadline);
    int error = nxi_chan_admit(worker);
    if (NXI_UNLIKELY(error < 0))
        return error;
    if (NXI_UNLIKELY(!nxi_chan_enter_home(chan, worker)))
        return recv_shared(chan, worker, ret_elem, deadline);
    bool empty = nxi_chan_count(chan) == 0;
    if (NXI_UNLIKELY(chan->senders.first || empty || chan->recv.next == chan->recv.end)) {
        if (empty && !chan->senders.first && !chan->closed)
            return wait_at_home(chan, worker, &chan->receivers, ret_elem, deadline);
        chan->held_at_home = true;
        return recv_held(chan, worker, ret_elem, deadline);
    }
    take_here(chan, ret_elem);
    nxi_chan_leave_home(chan);
    return charge(worker);
}

/* ---- several ---- */

/* Puts elements in as long as there is room: how many. *inout_error says why not more. */
static size_t fill(struct nx_chan *chan, const char *elems, size_t count, int *inout_error)
{
    size_t size = chan->elem_size, want = least(count, chan->capacity - nxi_chan_count(chan)), done = 0;
    if (size == 0)
        done = want;
    while (done < want) {
        if (chan->send.next == chan->send.end && (*inout_error = more_tail(chan)) < 0)
            break;
        size_t run = least(want - done, (size_t)(chan->send.end - chan->send.next) / size);
        memcpy(chan->send.next, elems + done * size, run * size);
        chan->send.next += run * size;
        done += run;
    }
    __atomic_store_n(&chan->send.done, chan->send.done + done, __ATOMIC_RELEASE);
    return done;
}

static size_t drain(struct nx_chan *chan, char *ret_elems, size_t max)
{
    size_t size = chan->elem_size, want = least(max, nxi_chan_count(chan)), done = 0;
    if (size == 0)
        done = want;
    while (done < want) {
        if (chan->recv.next == chan->recv.end)
            more_head(chan);
        size_t run = least(want - done, (size_t)(chan->recv.end - chan->recv.next) / size);
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
            put(chan, sender->data);
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
    note_user(side, worker);
    consider_home(chan, worker);
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
        hold_to(chan, send ? &chan->send : &chan->recv, worker);
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
        nxi_chan_unlock(chan, worker);
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
