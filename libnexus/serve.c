/*
 * serve.c: nx_serve, a whole server in one call.
 *
 * The calling task accepts; each connection goes to the worker with the fewest of this server's, in a task bound to it,
 * before its first operation. The record of a connection is unlinked by its own task when it ends; who drops the last
 * reference to the server frees it, so the last connection's task may still be leaving when nx_serve returns.
 */
#include "core.h"
#include <nexus/net.h>
#include <string.h>

#define DRAIN_DEFAULT_NS (10 * INT64_C(1000000000))

struct server {
    struct nx_runtime *runtime;
    intptr_t (*on_conn)(nx_stream *stream, void *arg);
    void *arg;
    size_t stack_size;
    size_t max_connections;
    _Atomic uint32_t references;
    pthread_mutex_t lock; /* for what follows */
    struct connection *connections;
    struct nxi_waiter *waiter; /* nx_serve, waiting for live to go below */
    size_t live, below;
    uint32_t counts[NXI_WORKERS_MAX]; /* live connections by worker */
};

struct connection {
    struct server *server;
    nx_stream *stream;
    nx_task task;
    uint32_t worker;
    struct connection *next, **link;
};

static void unreference(struct server *server)
{
    if (atomic_fetch_sub_explicit(&server->references, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&server->lock);
    nxi_free(server, sizeof(*server));
}

/* ---- a connection's task ---- */

/* The lock is held. */
static struct nxi_waiter *unlink_connection(struct connection *connection)
{
    struct server *server = connection->server;
    *connection->link = connection->next;
    if (connection->next)
        connection->next->link = connection->link;
    server->counts[connection->worker]--;
    server->live--;
    if (!server->waiter || server->live >= server->below)
        return NULL;
    struct nxi_waiter *waiter = server->waiter;
    server->waiter = NULL;
    return waiter;
}

static void end_connection(void *arg)
{
    struct connection *connection = arg;
    struct server *server = connection->server;
    nx_close(connection->stream);
    pthread_mutex_lock(&server->lock);
    struct nxi_waiter *waiter = unlink_connection(connection);
    pthread_mutex_unlock(&server->lock);
    if (waiter)
        nxi_waiter_wake(waiter, NX_REASON_UNBLOCK);
    nxi_free(connection, sizeof(*connection));
    unreference(server);
}

static intptr_t run_connection(void *arg)
{
    struct connection *connection = arg;
    struct server *server = connection->server;
    bool deferred = nx_defer(end_connection, connection) == 0; /* so that a panic comes by there too */
    intptr_t result = server->on_conn(connection->stream, server->arg);
    if (!deferred)
        end_connection(connection);
    return result;
}

/* ---- accepting ---- */

static uint32_t least_loaded(const struct server *server)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < server->runtime->worker_count; i++)
        if (server->counts[i] < server->counts[best])
            best = i;
    return best;
}

/* Enters the connection and starts its task, which can't end before it is entered: the lock is held meanwhile. */
static nx_task enter(struct server *server, struct connection *connection)
{
    pthread_mutex_lock(&server->lock);
    /* A driver that ties connections to a context has chosen already. */
    const struct nxi_worker *home = nxi_stream_owner(connection->stream);
    connection->worker = home ? home->index : least_loaded(server);
    const nx_task_options options = {
        .size = sizeof(options), .worker_plus_1 = (int)connection->worker + 1, .stack_size = server->stack_size};
    atomic_fetch_add_explicit(&server->references, 1, memory_order_relaxed);
    connection->task = nxi_spawn(server->runtime, &options, run_connection, connection,
                                 (void *)(uintptr_t)server->on_conn, NXI_CTL_DETACHED | NXI_CTL_SERVED);
    if (connection->task > 0) {
        connection->next = server->connections;
        connection->link = &server->connections;
        if (connection->next)
            connection->next->link = &connection->next;
        server->connections = connection;
        server->counts[connection->worker]++;
        server->live++;
    }
    nx_task task = connection->task; /* after the unlock the connection may have ended and be gone */
    pthread_mutex_unlock(&server->lock);
    return task;
}

static void start_connection(struct server *server, nx_stream *stream)
{
    struct connection *connection = nxi_alloc(sizeof(*connection));
    nx_task task = -ENOMEM;
    if (connection) {
        *connection = (struct connection){.server = server, .stream = stream};
        task = enter(server, connection);
        if (task < 0)
            unreference(server);
    }
    if (task > 0)
        return;
    nxi_log(server->runtime, NX_LOG_WARN, "a connection is dropped: its task can't be started: %s",
            nx_strerror((int)task));
    if (connection)
        nxi_free(connection, sizeof(*connection));
    nx_close(stream);
}

/* Waits until fewer than `below` connections are left: 0, -ETIMEDOUT, -ECANCELED. */
static int wait_below(struct server *server, size_t below, nx_time deadline, bool heed_cancel)
{
    struct nxi_waiter waiter;
    pthread_mutex_lock(&server->lock);
    bool wait = server->live >= below;
    if (wait) {
        nxi_waiter_init(&waiter, nxi_self());
        nxi_waiter_note(&waiter, "connections to end", NXI_OBJECT_NONE, 0);
        server->waiter = &waiter;
        server->below = below;
    }
    pthread_mutex_unlock(&server->lock);
    if (!wait)
        return 0;
    int reason = nxi_waiter_wait(&waiter, deadline, heed_cancel);
    if (reason == 0)
        return 0;
    pthread_mutex_lock(&server->lock);
    bool ours = server->waiter == &waiter;
    if (ours)
        server->waiter = NULL;
    pthread_mutex_unlock(&server->lock);
    if (!ours) {
        nxi_waiter_wait(&waiter, NX_FOREVER, false);
        return 0;
    }
    nxi_waiter_forget(&waiter);
    return reason;
}

/* Until the deadline, a cancel, or an error of the listener. */
static void accept_all(struct server *server, nx_listener *listener, nx_time deadline)
{
    for (;;) {
        nx_stream *stream;
        if (server->max_connections > 0 && wait_below(server, server->max_connections, deadline, true) < 0)
            return;
        int error = nx_accept(listener, &stream, deadline);
        if (error == 0)
            start_connection(server, stream);
        else if (error != -ETIMEDOUT && error != -ECANCELED)
            nxi_log(server->runtime, NX_LOG_ERROR, "accepting has ended: %s", nx_strerror(error));
        if (error < 0)
            return;
    }
}

/* ---- the end ---- */

static int cancel_connections(struct server *server)
{
    int count = 0;
    pthread_mutex_lock(&server->lock);
    for (struct connection *connection = server->connections; connection; connection = connection->next, count++)
        nx_cancel(connection->task);
    pthread_mutex_unlock(&server->lock);
    return count;
}

/* The task may be cancelled itself: that ended the accepting, and does not end the waiting. */
static int drain(struct server *server, int64_t drain_ns)
{
    if (drain_ns > 0 && wait_below(server, 1, nx_after_ns(drain_ns), false) == 0)
        return 0;
    int cut = cancel_connections(server);
    wait_below(server, 1, NX_FOREVER, false);
    return cut;
}

static struct server *make_server(struct nx_runtime *runtime, const nx_serve_options *options,
                                  intptr_t (*on_conn)(nx_stream *, void *), void *arg)
{
    struct server *server = nxi_alloc(sizeof(*server));
    if (!server)
        return NULL;
    server->runtime = runtime;
    server->on_conn = on_conn;
    server->arg = arg;
    server->stack_size = options->stack_size;
    server->max_connections = options->max_connections;
    atomic_init(&server->references, 1);
    pthread_mutex_init(&server->lock, NULL);
    return server;
}

static void tell_listening(nx_listener *listener, const nx_serve_options *options, void *arg)
{
    nx_addr addr;
    if (options->on_listen && nx_listener_addr(listener, &addr) == 0)
        options->on_listen(&addr, arg);
}

int nx_serve(const char *addr, const nx_serve_options *given, intptr_t (*on_conn)(nx_stream *stream, void *arg),
             void *arg, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    nx_serve_options options;
    nx_listener *listener;
    if (!worker)
        return nxi_no_task();
    if (!on_conn || nxi_options_copy(&options, sizeof(options), given) < 0)
        return -EINVAL;
    struct server *server = make_server(worker->runtime, &options, on_conn, arg);
    if (!server)
        return -ENOMEM;
    int result = nx_listen(addr, options.listen, &listener);
    if (result == 0) {
        struct nxi_task *self = worker->current;
        nxi_task_mark(self, NXI_CTL_SERVING, true);
        if (options.max_connections > 0)
            nxi_listener_one_by_one(listener);
        if (!atomic_load(&worker->runtime->closing)) { /* else shutdown has looked for servers already */
            tell_listening(listener, &options, arg);
            accept_all(server, listener, deadline);
        }
        nx_listener_close(listener);
        if (options.on_drain)
            options.on_drain(arg);
        result = drain(server, options.drain_ns == 0 ? DRAIN_DEFAULT_NS : options.drain_ns);
        nxi_task_mark(self, NXI_CTL_SERVING, false);
    }
    unreference(server);
    return result;
}
