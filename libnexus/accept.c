/*
 * accept.c: taking connections from a listener.
 *
 * One multishot accept is in flight per listener, on its home worker, as long as somebody wants connections. What it
 * brings goes to the longest waiting task, on whatever worker, or into the listener's queue, so a cancelled accept
 * loses no connection. A queue longer than QUEUE_HIGH stops the accept: the rest stays in the kernel's backlog.
 *
 * Out of descriptors or buffers: the accept ends with that error; the listener says so, at most every TELL_NS, and
 * tries again every RETRY_NS: no spinning, and back within that time when there is room.
 */
#include "listener.h"

#define RETRY_NS (5 * INT64_C(1000000))
#define PASSES_MAX 16u
#define TELL_NS (10 * INT64_C(1000000000)) /* between two warnings of one listener */

/* ---- the accept in flight; on the home worker, the lock is held ---- */

static bool out_of_room(int64_t error)
{
    return error == -EMFILE || error == -ENFILE || error == -ENOBUFS || error == -ENOMEM;
}

/* The connection is gone before it was taken, or the network has told of trouble of its own: accept(2), "Error
 * handling". */
static bool passing(int64_t error)
{
    return error == -ECONNABORTED || error == -EINTR || error == -EPROTO || error == -ENETDOWN ||
           error == -ENETUNREACH || error == -EHOSTDOWN || error == -EHOSTUNREACH || error == -ENOPROTOOPT ||
           error == -EPERM || error == -EAGAIN;
}

static void retry_later(struct nx_listener *listener)
{
    listener->starved = true;
    nxi_timer_start(&listener->home->wheel, &listener->retry, nxi_time_add(nxi_worker_now(listener->home), RETRY_NS));
}

static void starve(struct nx_listener *listener, int64_t error)
{
    retry_later(listener);
    nx_time now = nxi_worker_now(listener->home);
    if (!listener->waiters.first || (listener->told_at > 0 && now - listener->told_at < TELL_NS))
        return; /* nobody is kept waiting, or it has been said */
    listener->told_at = now;
    listener->tell = (int32_t)error;
}

/* Without the lock: the log function is the program's. */
static void tell_starved(struct nx_listener *listener)
{
    pthread_mutex_lock(&listener->lock);
    int32_t error = listener->tell;
    listener->tell = 0;
    pthread_mutex_unlock(&listener->lock);
    if (error == 0)
        return;
    nx_addr addr;
    char text[160] = "a listener";
    const struct nxi_driver *driver = nxi_listener_driver(listener->home);
    if (driver->ops->name(driver->ctx, listener->handle, 0, &addr) == 0)
        nx_addr_format(&addr, text, sizeof(text));
    nxi_log(listener->runtime, NX_LOG_WARN,
            "accept on %s: %s; connections wait until there is room (raise the limit of open files: ulimit -n)", text,
            nx_strerror(error));
}

/* Gives a connection or an error to who has waited longest; the waiter is to be woken, NULL if it was queued. */
static struct nxi_waiter *give(struct nx_listener *listener, int64_t result)
{
    struct nxi_waiter *waiter = nxi_waiters_pop(&listener->waiters);
    if (waiter) {
        waiter->result = result;
    } else if (result >= 0 && listener->queued < QUEUE_SIZE) {
        listener->queue[(listener->head + listener->queued++) % QUEUE_SIZE] = (nx_handle)result;
    } else if (result >= 0) {
        nxi_handle_close(listener->home, 0, (nx_handle)result); /* can't be: the accept was stopped long ago */
    }
    return waiter;
}

/* What one result means; the waiter to be woken, or NULL. */
static struct nxi_waiter *take(struct nx_listener *listener, int64_t result)
{
    if (result == -ECANCELED)
        return NULL;
    listener->passes = result >= 0 ? 0 : listener->passes + 1;
    if (passing(result)) {
        if (listener->passes > PASSES_MAX && !listener->starved && !listener->closed)
            retry_later(listener); /* it doesn't pass: EPERM of a security module, a network that is down */
        return NULL;
    }
    if (out_of_room(result)) {
        if (!listener->closed && !listener->starved)
            starve(listener, result);
        return NULL;
    }
    return give(listener, result);
}

static bool wanted(const struct nx_listener *listener)
{
    return (listener->waiters.first || listener->polled) && !listener->armed && !listener->starved && !listener->closed;
}

static void arm_later(struct nx_listener *listener);

/* Puts the accept in flight while somebody wants it; what completes inline is given out after the lock is dropped. */
static struct nxi_waiter *arm(struct nx_listener *listener)
{
    struct nxi_worker *home = listener->home;
    struct nx_completion completion;
    struct nxi_waiter *waiter = NULL;
    while (wanted(listener) && !waiter) { /* ends: an inline result wakes a waiter, starves or arms */
        listener->accept.op = (struct nx_op){
            .handle = listener->handle, .code = NX_OP_ACCEPT, .flags = listener->single ? 0 : NX_OP_MULTISHOT};
        listener->armed = true;
        listener->polled = false;
        int result = nxi_submit_once(home, 0, &listener->accept, &completion); /* no polling under the lock */
        if (result == 0)
            break;
        listener->armed = false;
        if (result < 0) {
            arm_later(listener);
            break;
        }
        waiter = take(listener, completion.result);
    }
    return waiter;
}

/* Arms and wakes until nothing is left to do. Takes the lock. */
static void arm_and_wake(struct nx_listener *listener)
{
    struct nxi_waiter *waiter;
    do {
        pthread_mutex_lock(&listener->lock);
        waiter = arm(listener);
        pthread_mutex_unlock(&listener->lock);
        if (waiter)
            nxi_waiter_wake(waiter, NX_REASON_IO);
    } while (waiter);
    tell_starved(listener);
}

static void accept_done(struct nxi_worker *worker, struct nxi_op *op, const struct nx_completion *completion)
{
    struct nx_listener *listener = nxi_container(op, struct nx_listener, accept);
    bool terminal = !(completion->flags & NX_COMPLETION_MORE);
    pthread_mutex_lock(&listener->lock);
    struct nxi_waiter *waiter = take(listener, completion->result);
    if (terminal)
        listener->armed = false;
    bool closed = listener->closing && terminal;
    if (listener->armed && listener->queued == QUEUE_HIGH)
        nxi_listener_driver(worker)->ops->cancel(nxi_listener_driver(worker)->ctx, &op->op);
    pthread_mutex_unlock(&listener->lock);
    if (waiter)
        nxi_waiter_wake(waiter, NX_REASON_IO);
    tell_starved(listener);
    if (closed)
        nxi_listener_close_now(listener);
    else if (terminal)
        arm_and_wake(listener);
}

static void retry_fired(struct nxi_timer *timer)
{
    struct nx_listener *listener = nxi_container(timer, struct nx_listener, retry);
    pthread_mutex_lock(&listener->lock);
    listener->starved = false;
    pthread_mutex_unlock(&listener->lock);
    arm_and_wake(listener);
}

static void arm_arrived(struct nxi_worker *worker, struct nxi_node *node)
{
    struct nx_listener *listener = nxi_container(node, struct nx_listener, node);
    (void)worker;
    pthread_mutex_lock(&listener->lock);
    listener->arming = false;
    pthread_mutex_unlock(&listener->lock);
    arm_and_wake(listener);
    nxi_listener_release(listener);
}

/* Asks the home worker to arm. The lock is held. */
static void arm_later(struct nx_listener *listener)
{
    if (listener->arming)
        return;
    listener->arming = true;
    listener->node.run = arm_arrived;
    atomic_fetch_add_explicit(&listener->references, 1, memory_order_relaxed);
    nxi_post(listener->home, &listener->node);
}

void nxi_listener_init_accept(struct nx_listener *listener)
{
    listener->accept.done = accept_done;
    nxi_timer_init(&listener->retry, retry_fired);
}

/* ---- accepting ---- */

static int make_stream(struct nxi_worker *worker, struct nxi_worker *home, nx_handle handle, nx_stream **ret_stream)
{
    const bool pinned = nxi_listener_driver(worker)->ops->affinity == NX_AFFINITY_PINNED;
    int error = nxi_stream_new(worker, 0, handle, ret_stream);
    if (error == 0 && pinned)
        nxi_stream_own(*ret_stream, home);
    if (error < 0)
        nxi_handle_close(pinned ? home : worker, 0, handle);
    return error;
}

/* A connection that is there already: 0 if there is none; -EBADF. The lock is held. */
static int64_t pop_or_closed(struct nx_listener *listener)
{
    return listener->closed ? -EBADF : (int64_t)nxi_listener_pop(listener);
}

/* On the home worker, as long as the task stays there: each try may let others run. */
static int64_t accept_now(struct nx_listener *listener)
{
    struct nx_op op = {.handle = listener->handle, .code = NX_OP_ACCEPT};
    for (uint32_t i = 0; i < PASSES_MAX && nxi_self() == listener->home; i++) {
        int64_t result = nxi_op_run(listener->home, 0, &op, NX_POLL, false);
        if (!passing(result))
            return result;
        if (result == -EAGAIN)
            break;
    }
    return -EAGAIN;
}

/* One try without waiting: the queue; then, on the home worker, the kernel; elsewhere it asks the home worker to
 * accept, and the next try finds what that brings. */
static int64_t try_accept(struct nx_listener *listener, struct nxi_worker *worker)
{
    pthread_mutex_lock(&listener->lock);
    if (!listener->home)
        listener->home = worker;
    int64_t result = pop_or_closed(listener);
    bool here = listener->home == worker, armed = listener->armed;
    if (result == 0 && !here && !armed) {
        listener->polled = true;
        if (wanted(listener))
            arm_later(listener);
    }
    pthread_mutex_unlock(&listener->lock);
    if (result != 0)
        return result;
    if (!here)
        return -EAGAIN;
    if (!armed)
        return accept_now(listener);
    nxi_poll_drivers(worker);
    pthread_mutex_lock(&listener->lock);
    result = pop_or_closed(listener);
    pthread_mutex_unlock(&listener->lock);
    return result == 0 ? -EAGAIN : result;
}

/* By a deadline that has passed: -ETIMEDOUT where a poll says -EAGAIN. */
static int64_t try_accept_late(struct nx_listener *listener, struct nxi_worker *worker)
{
    int64_t result = try_accept(listener, worker);
    return result == -EAGAIN ? -ETIMEDOUT : result;
}

/* Puts the waiter into the list and has the accept armed: true if that is for the caller to do, without the lock. */
static bool enlist(struct nx_listener *listener, struct nxi_waiter *waiter)
{
    if (!listener->home)
        listener->home = waiter->worker;
    nxi_waiter_note(waiter, "accept", NXI_OBJECT_HANDLE, listener->handle);
    nxi_waiters_push(&listener->waiters, waiter);
    if (listener->home == waiter->worker)
        return true;
    if (wanted(listener))
        arm_later(listener);
    return false;
}

int64_t nxi_listener_enter(nx_listener *listener, struct nxi_waiter *waiter)
{
    int64_t result = 0;
    bool here = false;
    pthread_mutex_lock(&listener->lock);
    if (listener->queued == 0 && !listener->closed)
        here = enlist(listener, waiter);
    else
        result = nxi_waiter_claim(waiter) ? pop_or_closed(listener) : -EAGAIN;
    pthread_mutex_unlock(&listener->lock);
    if (here)
        arm_and_wake(listener);
    return result;
}

/* Takes the waiter out: false if somebody else has. */
static bool delist_waiter(struct nx_listener *listener, struct nxi_waiter *waiter)
{
    pthread_mutex_lock(&listener->lock);
    bool listed = waiter->link != NULL;
    if (listed)
        nxi_waiters_remove(&listener->waiters, waiter);
    pthread_mutex_unlock(&listener->lock);
    return listed;
}

void nxi_listener_leave(nx_listener *listener, struct nxi_waiter *waiter)
{
    delist_waiter(listener, waiter);
}

/* Takes one from the queue, or waits for one. */
static int64_t wait_accept(struct nx_listener *listener, struct nxi_worker *worker, nx_time deadline)
{
    struct nxi_waiter waiter;
    nxi_waiter_init(&waiter, worker);
    nxi_waiter_note(&waiter, "accept", NXI_OBJECT_HANDLE, listener->handle);
    int64_t result = nxi_listener_enter(listener, &waiter);
    if (result != 0) {
        nxi_waiter_forget(&waiter);
        return result;
    }
    int reason = nxi_waiter_wait(&waiter, deadline, true);
    if (reason == 0)
        return waiter.result;
    if (delist_waiter(listener, &waiter)) {
        nxi_waiter_forget(&waiter);
        return reason;
    }
    nxi_waiter_wait(&waiter, NX_FOREVER, false);
    return waiter.result;
}

int nxi_listener_check(const nx_listener *listener, const struct nxi_worker *worker)
{
    return listener->runtime == worker->runtime ? 0 : -EXDEV;
}

int64_t nxi_listener_try(nx_listener *listener, struct nxi_worker *worker, bool polls)
{
    int64_t result = try_accept(listener, worker);
    return out_of_room(result) && !polls ? -EAGAIN : result;
}

int nxi_listener_stream(const nx_listener *listener, nx_handle handle, nx_stream **ret_stream)
{
    return make_stream(nxi_self(), listener->home, handle, ret_stream);
}

int nx_accept(nx_listener *listener, nx_stream **ret_stream, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (!listener || !ret_stream)
        return -EINVAL;
    if (listener->runtime != worker->runtime)
        return -EXDEV;
    if (nxi_task_cancelled(worker->current)) {
        nxi_charge(worker);
        return -ECANCELED;
    }
    nxi_listener_hold(listener);
    nx_time until = nxi_deadline(worker, deadline);
    int64_t result;
    if (deadline == NX_POLL)
        result = try_accept(listener, worker);
    else if (until != NX_FOREVER && until <= nx_now())
        result = try_accept_late(listener, worker);
    else
        result = wait_accept(listener, worker, deadline);
    if (result > 0)
        result = nxi_listener_stream(listener, (nx_handle)result, ret_stream);
    nxi_listener_release(listener);
    nxi_charge(nxi_self());
    return (int)result;
}
