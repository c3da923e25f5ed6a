/*
 * listener.c: listening and accepting.
 *
 * One multishot accept is in flight per listener, on its home worker, as long as somebody wants connections. What it
 * brings goes to the longest waiting task, on whatever worker, or into the listener's queue, so a cancelled accept
 * loses no connection. A queue longer than QUEUE_HIGH stops the accept: the rest stays in the kernel's backlog.
 *
 * Out of descriptors or buffers: the accept ends with that error; the listener says so, at most every TELL_NS, and
 * tries again every RETRY_NS: no spinning, and back within that time when there is room.
 *
 * All fields are under the lock, but for the timer and the op, which are the home worker's. Whoever closes leaves
 * freeing to the last reference: each nx_accept holds one.
 */
#include "core.h"
#include <nexus/net.h>
#include <stdlib.h>
#include <string.h>

#define BACKLOG_DEFAULT 1024
#define QUEUE_HIGH 256u
#define QUEUE_SIZE (2 * QUEUE_HIGH) /* with room for what still arrives after the stop */
#define RETRY_NS (5 * INT64_C(1000000))
#define PASSES_MAX 16u
#define TELL_NS (10 * INT64_C(1000000000)) /* between two warnings of one listener */

struct nx_listener {
    struct nx_runtime *runtime;
    nx_handle handle;
    struct nx_listener *next, **link; /* in runtime->listeners, under its lock */
    _Atomic uint32_t references;
    pthread_mutex_t lock;
    struct nxi_worker *home; /* NULL until the first accept */
    struct nxi_waiter *first, **last;
    nx_handle queue[QUEUE_SIZE];
    uint32_t queued, head;
    bool armed;   /* the accept is in flight */
    bool arming;  /* a message to the home worker is under way */
    bool starved; /* waiting for the retry timer */
    bool polled;  /* somebody asked without waiting: one accept is wanted all the same */
    bool single;  /* one accept per waiter: nothing is taken ahead */
    int32_t tell; /* the error that is still to be told */
    nx_time told_at;
    uint32_t passes; /* connections lost or trouble of the network in a row */
    bool closed;
    struct nxi_op accept;
    struct nxi_op close_op;
    struct nxi_timer retry;
    struct nxi_node node, close_node;
};

static void unreference(struct nx_listener *listener)
{
    if (atomic_fetch_sub_explicit(&listener->references, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&listener->lock);
    nxi_free(listener, sizeof(*listener));
}

static const struct nxi_driver *driver_of(const struct nxi_worker *worker)
{
    return &worker->drivers[0];
}

/* ---- waiters; the lock is held ---- */

static void enqueue_waiter(struct nx_listener *listener, struct nxi_waiter *waiter)
{
    waiter->next = NULL;
    waiter->link = listener->last;
    *listener->last = waiter;
    listener->last = &waiter->next;
}

static void unlink_waiter(struct nx_listener *listener, struct nxi_waiter *waiter)
{
    *waiter->link = waiter->next;
    if (waiter->next)
        waiter->next->link = waiter->link;
    else
        listener->last = waiter->link;
    waiter->link = NULL;
}

static struct nxi_waiter *first_waiter(struct nx_listener *listener)
{
    struct nxi_waiter *waiter = listener->first;
    if (waiter)
        unlink_waiter(listener, waiter);
    return waiter;
}

static nx_handle pop_handle(struct nx_listener *listener)
{
    if (listener->queued == 0)
        return 0;
    nx_handle handle = listener->queue[listener->head];
    listener->head = (listener->head + 1) % QUEUE_SIZE;
    listener->queued--;
    return handle;
}

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
    if (!listener->first || (listener->told_at > 0 && now - listener->told_at < TELL_NS))
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
    const struct nxi_driver *driver = driver_of(listener->home);
    if (driver->ops->name(driver->ctx, listener->handle, 0, &addr) == 0)
        nx_addr_format(&addr, text, sizeof(text));
    nxi_log(listener->runtime, NX_LOG_WARN,
            "accept on %s: %s; connections wait until there is room (raise the limit of open files: ulimit -n)", text,
            nx_strerror(error));
}

/* Gives a connection or an error to who has waited longest; the waiter is to be woken, NULL if it was queued. */
static struct nxi_waiter *give(struct nx_listener *listener, int64_t result)
{
    struct nxi_waiter *waiter = first_waiter(listener);
    if (waiter) {
        waiter->result = result;
    } else if (result >= 0 && listener->queued < QUEUE_SIZE) {
        listener->queue[(listener->head + listener->queued++) % QUEUE_SIZE] = (nx_handle)result;
    } else if (result >= 0) {
        nxi_handle_close(listener->home, 0, (nx_handle)result); /* can't be: the accept was stopped long ago */
    }
    return waiter;
}

static void close_now(struct nx_listener *listener);

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
    return (listener->first || listener->polled) && !listener->armed && !listener->starved && !listener->closed;
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
    bool closed = listener->closed && terminal;
    if (listener->armed && listener->queued == QUEUE_HIGH)
        driver_of(worker)->ops->cancel(driver_of(worker)->ctx, &op->op);
    pthread_mutex_unlock(&listener->lock);
    if (waiter)
        nxi_waiter_wake(waiter, NX_REASON_IO);
    tell_starved(listener);
    if (closed)
        close_now(listener);
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
    unreference(listener);
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

/* ---- accepting ---- */

static int make_stream(struct nxi_worker *worker, struct nxi_worker *home, nx_handle handle, nx_stream **ret_stream)
{
    int error = nxi_stream_new(worker, 0, handle, ret_stream);
    if (error == 0 && driver_of(worker)->ops->affinity == NX_AFFINITY_PINNED)
        nxi_stream_own(*ret_stream, home);
    if (error < 0)
        nxi_handle_close(worker, 0, handle);
    return error;
}

/* A connection that is there already: 0 if there is none; -EBADF. The lock is held. */
static int64_t pop_or_closed(struct nx_listener *listener)
{
    return listener->closed ? -EBADF : (int64_t)pop_handle(listener);
}

static int64_t accept_now(struct nx_listener *listener, struct nxi_worker *worker)
{
    struct nx_op op = {.handle = listener->handle, .code = NX_OP_ACCEPT};
    int64_t result = -EAGAIN;
    for (uint32_t i = 0; i < PASSES_MAX; i++) {
        result = nxi_op_run(worker, 0, &op, NX_POLL, false);
        if (result == -EAGAIN || !passing(result))
            return result;
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
        return accept_now(listener, worker);
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

/* Takes one from the queue, or waits for one. */
static int64_t wait_accept(struct nx_listener *listener, struct nxi_worker *worker, nx_time deadline)
{
    struct nxi_waiter waiter;
    pthread_mutex_lock(&listener->lock);
    nx_handle handle = listener->closed ? 0 : pop_handle(listener);
    if (handle || listener->closed) {
        pthread_mutex_unlock(&listener->lock);
        return handle ? (int64_t)handle : -EBADF;
    }
    if (!listener->home)
        listener->home = worker;
    nxi_waiter_init(&waiter, worker);
    enqueue_waiter(listener, &waiter);
    bool here = listener->home == worker;
    if (!here && wanted(listener))
        arm_later(listener);
    pthread_mutex_unlock(&listener->lock);
    if (here)
        arm_and_wake(listener);

    int reason = nxi_waiter_wait(&waiter, deadline, true);
    if (reason == 0)
        return waiter.result;
    pthread_mutex_lock(&listener->lock);
    bool ours = waiter.link != NULL;
    if (ours)
        unlink_waiter(listener, &waiter);
    pthread_mutex_unlock(&listener->lock);
    if (ours) {
        nxi_waiter_forget(&waiter);
        return reason;
    }
    nxi_waiter_wait(&waiter, NX_FOREVER, false);
    return waiter.result;
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
    atomic_fetch_add_explicit(&listener->references, 1, memory_order_relaxed);
    int64_t result;
    if (deadline == NX_POLL)
        result = try_accept(listener, worker);
    else if (deadline != NX_FOREVER && deadline <= nx_now())
        result = try_accept_late(listener, worker);
    else
        result = wait_accept(listener, worker, deadline);
    struct nxi_worker *home = listener->home;
    unreference(listener);
    nxi_charge(nxi_self());
    return result < 0 ? (int)result : make_stream(nxi_self(), home, (nx_handle)result, ret_stream);
}

/* ---- closing ---- */

static void listener_closed(struct nxi_worker *worker, struct nxi_op *op, const struct nx_completion *completion)
{
    (void)worker;
    (void)completion;
    unreference(nxi_container(op, struct nx_listener, close_op));
}

static void close_again(struct nxi_worker *worker, struct nxi_node *node)
{
    (void)worker;
    close_now(nxi_container(node, struct nx_listener, close_node));
}

/* On the home worker, when the accept is no longer in flight. */
static void close_now(struct nx_listener *listener)
{
    struct nxi_worker *home = listener->home;
    struct nx_completion completion;
    nx_handle handle;
    do {
        pthread_mutex_lock(&listener->lock);
        handle = pop_handle(listener);
        pthread_mutex_unlock(&listener->lock);
        if (handle)
            nxi_handle_close(home, 0, handle);
    } while (handle);
    listener->close_op =
        (struct nxi_op){.op = {.handle = listener->handle, .code = NX_OP_CLOSE}, .done = listener_closed};
    int result = nxi_submit(home, 0, &listener->close_op, &completion);
    if (result == 1)
        listener_closed(home, &listener->close_op, &completion);
    if (result < 0) {
        listener->close_node.run = close_again;
        nxi_post(home, &listener->close_node);
    }
}

static void close_arrived(struct nxi_worker *worker, struct nxi_node *node)
{
    struct nx_listener *listener = nxi_container(node, struct nx_listener, close_node);
    struct nxi_waiter *waiter;
    pthread_mutex_lock(&listener->lock);
    nxi_timer_stop(&worker->wheel, &listener->retry);
    bool armed = listener->armed;
    if (armed)
        driver_of(worker)->ops->cancel(driver_of(worker)->ctx, &listener->accept.op);
    struct nxi_waiter *list = NULL;
    while ((waiter = first_waiter(listener))) {
        waiter->result = -EBADF;
        waiter->next = list;
        list = waiter;
    }
    pthread_mutex_unlock(&listener->lock);
    while (list) {
        waiter = list;
        list = waiter->next;
        nxi_waiter_wake(waiter, NX_REASON_UNBLOCK);
    }
    if (!armed)
        close_now(listener);
}

static void delist(struct nx_listener *listener)
{
    pthread_mutex_lock(&listener->runtime->lock);
    *listener->link = listener->next;
    if (listener->next)
        listener->next->link = listener->link;
    pthread_mutex_unlock(&listener->runtime->lock);
}

/* worker: the caller's; NULL: a plain thread, at the runtime's end. */
static void start_close(struct nx_listener *listener, struct nxi_worker *worker)
{
    delist(listener);
    pthread_mutex_lock(&listener->lock);
    listener->closed = true;
    if (!listener->home)
        listener->home = worker ? worker : listener->runtime->workers[0];
    struct nxi_worker *home = listener->home;
    pthread_mutex_unlock(&listener->lock);
    listener->close_node.run = close_arrived;
    if (home == worker)
        close_arrived(worker, &listener->close_node);
    else
        nxi_post(home, &listener->close_node);
}

void nxi_listener_one_by_one(nx_listener *listener)
{
    listener->single = true; /* before the first accept */
}

int nx_listener_close(nx_listener *listener)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!listener)
        return 0;
    if (!worker)
        return nxi_no_task();
    if (listener->runtime != worker->runtime)
        return -EXDEV;
    start_close(listener, worker);
    return 0;
}

void nxi_listeners_close(struct nx_runtime *runtime)
{
    for (;;) { /* ends: no task is left that could open one */
        pthread_mutex_lock(&runtime->lock);
        struct nx_listener *listener = runtime->listeners;
        pthread_mutex_unlock(&runtime->lock);
        if (!listener)
            return;
        start_close(listener, NULL);
    }
}

/* ---- listening ---- */

static int prepare_listener(const struct nxi_driver *driver, nx_handle handle, const nx_addr *addr,
                            const nx_listen_options *options)
{
    int error = 0;
    if (addr->family != NX_AF_UNIX)
        error = nxi_set_option(driver, handle, NX_OPTION_REUSE_ADDR, 1);
    if (error == 0 && addr->family != NX_AF_UNIX)
        error = nxi_set_option(driver, handle, NX_OPTION_NODELAY, 1); /* accepted ones inherit it */
    if (error == 0 && options->reuse_port)
        error = nxi_set_option(driver, handle, NX_OPTION_REUSE_PORT, 1);
    if (error == 0 && addr->family == NX_AF_INET6)
        error = nxi_set_option(driver, handle, NX_OPTION_V6_ONLY, options->v6_only);
    if (error == 0 && addr->family == NX_AF_UNIX && options->mode)
        error = nxi_set_option(driver, handle, NX_OPTION_UNIX_MODE, options->mode);
    if (error == 0)
        error = driver->ops->bind(driver->ctx, handle, addr);
    if (error == 0)
        error = driver->ops->listen(driver->ctx, handle, options->backlog > 0 ? options->backlog : BACKLOG_DEFAULT);
    return error;
}

static int make_listener(struct nxi_worker *worker, nx_handle handle, nx_listener **ret_listener)
{
    nx_listener *listener = nxi_alloc(sizeof(*listener));
    if (!listener)
        return -ENOMEM;
    struct nx_runtime *runtime = worker->runtime;
    listener->runtime = runtime;
    listener->handle = handle;
    listener->last = &listener->first;
    listener->accept.done = accept_done;
    if (driver_of(worker)->ops->affinity == NX_AFFINITY_PINNED)
        listener->home = worker;
    atomic_init(&listener->references, 1);
    pthread_mutex_init(&listener->lock, NULL);
    nxi_timer_init(&listener->retry, retry_fired);
    pthread_mutex_lock(&runtime->lock);
    listener->next = runtime->listeners;
    listener->link = &runtime->listeners;
    if (listener->next)
        listener->next->link = &listener->next;
    runtime->listeners = listener;
    pthread_mutex_unlock(&runtime->lock);
    *ret_listener = listener;
    return 0;
}

int nx_listen(const char *addr, const nx_listen_options *given, nx_listener **ret_listener)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    nx_listen_options options;
    nx_addr where;
    nx_handle handle;
    int error;
    if (!worker)
        return nxi_no_task();
    if (!ret_listener || nxi_options_copy(&options, sizeof(options), given) < 0)
        return -EINVAL;
    error = nx_addr_parse(addr, &where);
    if (error < 0)
        return error;
    const struct nxi_driver *driver = driver_of(worker);
    error = nxi_socket(driver, &where, &handle);
    if (error < 0)
        return error;
    error = prepare_listener(driver, handle, &where, &options);
    if (error == 0)
        error = make_listener(worker, handle, ret_listener);
    if (error < 0)
        nxi_handle_close(worker, 0, handle);
    return error;
}

int nx_listener_addr(const nx_listener *listener, nx_addr *ret_addr)
{
    NXI_ENTRY(-ENOSYS);
    if (nxi_forked())
        return -NX_EFORKED;
    if (!listener || !ret_addr)
        return -EINVAL;
    const struct nxi_driver *driver = driver_of(listener->runtime->workers[0]); /* name may be called on any context */
    return driver->ops->name(driver->ctx, listener->handle, 0, ret_addr);
}
