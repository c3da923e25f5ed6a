/*
 * listener.c: listening: opening, closing, the address. What it accepts is accept.c's.
 *
 * Closing goes by way of the home worker: it cancels the accept, sends the waiters away, and once the accept has
 * settled closes what was accepted for nobody, and the handle.
 */
#include "listener.h"

#define BACKLOG_DEFAULT 1024

void nxi_listener_hold(nx_listener *listener)
{
    atomic_fetch_add_explicit(&listener->references, 1, memory_order_relaxed);
}

void nxi_listener_release(nx_listener *listener)
{
    if (atomic_fetch_sub_explicit(&listener->references, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&listener->lock);
    nxi_free(listener, sizeof(*listener));
}

/* ---- closing ---- */

static void listener_closed(struct nxi_worker *worker, struct nxi_op *op, const struct nx_completion *completion)
{
    (void)worker;
    (void)completion;
    nxi_listener_release(nxi_container(op, struct nx_listener, close_op));
}

static void close_again(struct nxi_worker *worker, struct nxi_node *node)
{
    (void)worker;
    nxi_listener_close_now(nxi_container(node, struct nx_listener, close_node));
}

/* On the home worker, when the accept is no longer in flight. */
void nxi_listener_close_now(struct nx_listener *listener)
{
    struct nxi_worker *home = listener->home;
    struct nx_completion completion;
    nx_handle handle;
    do {
        pthread_mutex_lock(&listener->lock);
        handle = nxi_listener_pop(listener);
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
    listener->closing = true;
    bool armed = listener->armed;
    if (armed)
        nxi_listener_driver(worker)->ops->cancel(nxi_listener_driver(worker)->ctx, &listener->accept.op);
    struct nxi_waiter *list = NULL;
    while ((waiter = nxi_waiters_pop(&listener->waiters))) {
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
        nxi_listener_close_now(listener);
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
    if (nxi_listener_driver(worker)->ops->affinity == NX_AFFINITY_PINNED)
        listener->home = worker;
    atomic_init(&listener->references, 1);
    pthread_mutex_init(&listener->lock, NULL);
    nxi_listener_init_accept(listener);
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
    const struct nxi_driver *driver = nxi_listener_driver(worker);
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
    const struct nxi_driver *driver =
        nxi_listener_driver(listener->runtime->workers[0]); /* name may be called on any context */
    return driver->ops->name(driver->ctx, listener->handle, 0, ret_addr);
}
