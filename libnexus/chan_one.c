/*
 * chan_one.c: channels: to send one element, and to receive one, without a wait as a rule: at home, or under the side's
 * own lock.
 */
#include "chan_parts.h"

#define SPIN_TURNS 40u /* looks at the other side before a wait: about 2 us */
#define SPIN_BATCH 64u /* places that a sender spins for, rather than go on one by one */
#define SPIN_SKIPS 16u /* waits without a spin after one that was in vain */

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
        return (int)nxi_chan_wait_to_send(chan, worker, elem, deadline);
    nxi_chan_unlock(chan, worker);
    return finish(worker, woken, result);
}

static NXI_NOINLINE int recv_held(struct nx_chan *chan, struct nxi_worker *worker, void *ret_elem, nx_time deadline)
{
    struct nxi_waiter *woken;
    int result = nxi_chan_try_recv(chan, ret_elem, &woken);
    if (result == -EAGAIN)
        return (int)nxi_chan_wait_to_recv(chan, worker, ret_elem, deadline);
    nxi_chan_unlock(chan, worker);
    return finish(worker, woken, result);
}

static NXI_NOINLINE int give_up_at_home(struct nx_chan *chan, struct nxi_waiters *list, struct nxi_waiter *waiter)
{
    const struct nxi_chan_place place = {NULL, chan, list, waiter->note.what, chan};
    int error = nxi_waiter_wait(waiter, NX_FOREVER, true);
    return (int)(error == 0 ? waiter->result : nxi_chan_give_up(&place, waiter, error));
}

/* A channel that is held at home, and is let go, in the usual case of a wait. By way of nxi_fiber_call(). */
static int wait_at_home(void *channel, void *its_worker, void *its_list, void *data)
{
    struct nx_chan *chan = channel;
    struct nxi_worker *worker = its_worker;
    struct nxi_waiters *list = its_list;
    struct nxi_waiter waiter;
    nxi_waiter_init_here(&waiter, worker);
    nxi_waiter_note(&waiter, list == &chan->senders ? "send" : "receive", NXI_OBJECT_POINTER, (uintptr_t)chan);
    waiter.data = data;
    nxi_waiters_push(list, &waiter);
    nxi_chan_leave_home(chan);
    return NXI_LIKELY(nxi_waiter_wait_once(&waiter, worker)) ? (int)waiter.result
                                                             : give_up_at_home(chan, list, &waiter);
}

static NXI_NOINLINE int let_others_run(struct nxi_worker *worker)
{
    return finish(worker, NULL, 0);
}

/* The end of a call that met nobody. */
static inline int charge(struct nxi_worker *worker)
{
    if (NXI_UNLIKELY(!worker || worker->credit <= 1))
        return let_others_run(worker);
    worker->credit--;
    return 0;
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
        return nxi_chan_not_here();
    int error = nxi_chan_admit(worker);
    if (NXI_UNLIKELY(error < 0))
        return error;
    nxi_lock(&chan->send.lock);
    nxi_chan_note_user(&chan->send, worker);
    bool wait = cannot_put(chan);
    if (NXI_UNLIKELY(wait) && pays_to_spin(chan, &chan->send, &chan->recv, worker, deadline) &&
        spin(&chan->send, &chan->recv, worker, nxi_chan_least(SPIN_BATCH, chan->capacity / 2 + 1)))
        wait = cannot_put(chan);
    if (NXI_UNLIKELY(wait)) {
        nxi_lock(&chan->recv.lock);
        nxi_chan_enter_both(chan);
        nxi_chan_consider_home(chan, worker);
        return send_held(chan, worker, elem, deadline);
    }
    nxi_chan_put_here(chan, elem);
    nxi_unlock(&chan->send.lock);
    return charge(worker);
}

static NXI_NOINLINE int recv_shared(struct nx_chan *chan, struct nxi_worker *worker, void *ret_elem, nx_time deadline)
{
    if (chan->local)
        return nxi_chan_not_here();
    int error = nxi_chan_admit(worker);
    if (NXI_UNLIKELY(error < 0))
        return error;
    nxi_lock(&chan->recv.lock);
    nxi_chan_note_user(&chan->recv, worker);
    bool wait = cannot_take(chan);
    if (NXI_UNLIKELY(wait) && pays_to_spin(chan, &chan->recv, &chan->send, worker, deadline) &&
        spin(&chan->recv, &chan->send, worker, 1))
        wait = cannot_take(chan);
    if (NXI_UNLIKELY(wait)) {
        nxi_unlock(&chan->recv.lock); /* the sender's comes first */
        nxi_chan_lock_both(chan);
        nxi_chan_consider_home(chan, worker);
        return recv_held(chan, worker, ret_elem, deadline);
    }
    nxi_chan_take_here(chan, ret_elem);
    nxi_unlock(&chan->recv.lock);
    return charge(worker);
}

/*
 * At home. A message that finds room, or one that is there, takes one pass without a call, so nothing is saved; all
 * else goes on in a function of its own.
 */
static NXI_NOINLINE int ready_and_charge(struct nxi_worker *worker, struct nxi_task *task)
{
    nxi_ready(worker, task, NX_REASON_UNBLOCK);
    return charge(worker);
}

static NXI_NOINLINE int send_at_home(struct nx_chan *chan, struct nxi_worker *worker, const void *elem,
                                     nx_time deadline)
{
    struct nxi_waiter *receiver = chan->receivers.first;
    if (receiver && NXI_LIKELY(nxi_waiter_is_beside(receiver, worker)) &&
        NXI_LIKELY(nxi_chan_copy_short(receiver->data, elem, chan->elem_size))) {
        struct nxi_task *task = receiver->task;
        nxi_waiters_remove(&chan->receivers, receiver);
        nxi_chan_leave_home(chan);
        return NXI_LIKELY(nxi_waiter_wake_beside(receiver, worker, NX_REASON_UNBLOCK)) ? charge(worker)
                                                                                       : ready_and_charge(worker, task);
    }
    bool full = nxi_chan_count(chan) >= chan->capacity;
    if (full && !receiver && !chan->closed && NXI_LIKELY(nxi_waiter_is_usual(worker, deadline)))
        return nxi_fiber_call(chan, worker, &chan->senders, (void *)(uintptr_t)elem, wait_at_home);
    chan->held_at_home = true;
    return send_held(chan, worker, elem, deadline);
}

static NXI_NOINLINE int recv_at_home(struct nx_chan *chan, struct nxi_worker *worker, void *ret_elem, nx_time deadline)
{
    if (nxi_chan_count(chan) == 0 && !chan->senders.first && !chan->closed &&
        NXI_LIKELY(nxi_waiter_is_usual(worker, deadline)))
        return nxi_fiber_call(chan, worker, &chan->receivers, ret_elem, wait_at_home);
    chan->held_at_home = true;
    return recv_held(chan, worker, ret_elem, deadline);
}

/* Looks at everything that the two below see no trouble in. */
static NXI_NOINLINE int send_anywhere(struct nx_chan *chan, const void *elem, nx_time deadline)
{
    if (!chan || (!elem && chan->elem_size > 0))
        return -EINVAL;
    struct nxi_worker *worker = nxi_in_task();
    if (!nxi_chan_is_home(chan, worker))
        return send_shared(chan, worker, elem, deadline);
    int error = nxi_chan_admit(worker);
    if (error < 0)
        return error;
    if (!nxi_chan_enter_home(chan, worker))
        return send_shared(chan, worker, elem, deadline);
    return send_at_home(chan, worker, elem, deadline);
}

static NXI_NOINLINE int recv_anywhere(struct nx_chan *chan, void *ret_elem, nx_time deadline)
{
    if (!chan || (!ret_elem && chan->elem_size > 0))
        return -EINVAL;
    struct nxi_worker *worker = nxi_in_task();
    if (!nxi_chan_is_home(chan, worker))
        return recv_shared(chan, worker, ret_elem, deadline);
    int error = nxi_chan_admit(worker);
    if (error < 0)
        return error;
    if (!nxi_chan_enter_home(chan, worker))
        return recv_shared(chan, worker, ret_elem, deadline);
    return recv_at_home(chan, worker, ret_elem, deadline);
}

/* Whether the caller, a task that has not been cancelled, is at home: then it holds the channel. */
static inline bool come_home(struct nx_chan *chan, const struct nxi_worker *worker)
{
    const struct nxi_task *task;
    if (NXI_UNLIKELY(!worker) || NXI_UNLIKELY(__atomic_load_n(&chan->home, __ATOMIC_RELAXED) != worker))
        return false;
    task = worker->current;
    if (NXI_UNLIKELY(!task) || NXI_UNLIKELY(atomic_load_explicit(&task->ctl, memory_order_acquire) & NXI_CTL_CANCEL))
        return false;
    return nxi_chan_enter_home(chan, worker);
}

int nx_chan_send(nx_chan *chan, const void *elem, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_self();
    if (NXI_UNLIKELY(!chan) || NXI_UNLIKELY(!elem) || !come_home(chan, worker))
        return send_anywhere(chan, elem, deadline);
    size_t done = chan->send.done, size = chan->elem_size;
    char *place = chan->send.next;
    if (NXI_UNLIKELY(chan->receivers.first || done - chan->recv.done >= chan->capacity || place == chan->send.end ||
                     chan->closed) ||
        NXI_UNLIKELY(!nxi_chan_copy_short(place, elem, size)))
        return send_at_home(chan, worker, elem, deadline);
    chan->send.next = place + size;
    __atomic_store_n(&chan->send.done, done + 1, __ATOMIC_RELEASE);
    nxi_chan_leave_home(chan);
    return charge(worker);
}

int nx_chan_recv(nx_chan *chan, void *ret_elem, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_self();
    if (NXI_UNLIKELY(!chan) || NXI_UNLIKELY(!ret_elem) || !come_home(chan, worker))
        return recv_anywhere(chan, ret_elem, deadline);
    size_t done = chan->recv.done, size = chan->elem_size;
    char *place = chan->recv.next;
    if (NXI_UNLIKELY(chan->senders.first || chan->send.done == done || place == chan->recv.end) ||
        NXI_UNLIKELY(!nxi_chan_copy_short(ret_elem, place, size)))
        return recv_at_home(chan, worker, ret_elem, deadline);
    chan->recv.next = place + size;
    __atomic_store_n(&chan->recv.done, done + 1, __ATOMIC_RELEASE);
    nxi_chan_leave_home(chan);
    return charge(worker);
}
