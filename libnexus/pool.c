/*
 * pool.c: nx_pool_*: connections that are kept for the next user.
 *
 * An address has `total` slots in use: one for each connection, idle or handed out, and one for each that is being
 * made. Who gets a slot, by a connection that is put or by one that has gone, is decided under the pool's lock:
 *
 *     put ──> the first waiter, if there is one; else idle (newest first); beyond max_idle the oldest goes
 *     a connection goes ──> its slot to the first waiter, who then connects; else total falls
 *     get ──> newest idle; else a slot if total is below max_total; else it waits, in order
 *
 * So while somebody waits nothing is idle and no slot is free, and nobody is overtaken. A waiter that gives up just
 * when something is handed to it hands it on.
 *
 * Whether the peer has closed, or sent what nobody asked for, is found out when a connection is handed out: a read that
 * does not wait must find nothing.
 *
 * Idle connections time out by one timer on the wheel of the worker that armed it. The timer, each get under way and
 * each connection handed out hold a reference to the pool. Only the timer's worker starts, stops and fires it:
 * nx_pool_destroy elsewhere sets closing and posts a message there; the timer, when it sees closing, leaves all to
 * that.
 */
#include "transfer.h"
#include <string.h>

#define BUCKETS 64u
#define MAX_IDLE_DEFAULT 16u
#define IDLE_TIMEOUT_DEFAULT_NS (60 * INT64_C(1000000000))
#define TIMER_SLACK 64 /* the timer runs at most that often in a timeout, however many connections there are */

struct address;

struct connection {
    struct nx_pool *pool;
    nx_stream *stream;
    struct address *address;
    nx_time born, idle_since;
    struct connection *newer, *older; /* idle, in the address */
    struct connection *next;          /* handed out, in a bucket of the pool; or in a list of those to be closed */
};

struct address {
    struct address *next;
    struct connection *newest, *oldest;
    uint32_t idle, total;
    struct nxi_waiters waiters;
    uint32_t waiting;
    char text[];
};

struct nx_pool {
    struct nx_runtime *runtime;
    nx_pool_options options;
    _Atomic uint32_t references;
    uint32_t lock; /* for what follows */
    bool closing;
    struct nxi_worker *timer_worker; /* whose wheel the timer is on, or NULL */
    struct address *addresses[BUCKETS];
    struct connection *used[BUCKETS];
    struct nx_pool_stats stats;
    /* the timer worker's */
    struct nxi_timer timer;
    struct nxi_node stop;
};

/* What has to be done once the lock is no longer held. */
struct aftermath {
    struct nxi_waiter *wake; /* by next */
    struct connection *close;
};

static void unreference(struct nx_pool *pool)
{
    if (atomic_fetch_sub_explicit(&pool->references, 1, memory_order_acq_rel) == 1)
        nxi_free(pool, sizeof(*pool));
}

static void reference(struct nx_pool *pool)
{
    atomic_fetch_add_explicit(&pool->references, 1, memory_order_relaxed);
}

static void settle(struct aftermath *after)
{
    struct nxi_worker *worker = nxi_self();
    while (after->wake) { /* gone, for all we know, as soon as it is woken */
        struct nxi_waiter *waiter = after->wake;
        after->wake = waiter->next;
        nxi_waiter_wake(waiter, NX_REASON_UNBLOCK);
    }
    while (after->close) {
        struct connection *connection = after->close;
        after->close = connection->next;
        nxi_stream_close(worker, connection->stream);
        nxi_free(connection, sizeof(*connection));
    }
}

/* ---- addresses; the lock is held ---- */

static struct address **address_bucket(struct nx_pool *pool, const char *text)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 16777619u;
    return &pool->addresses[hash % BUCKETS];
}

static struct address *find_address(struct nx_pool *pool, const char *text)
{
    struct address **bucket = address_bucket(pool, text);
    for (struct address *address = *bucket; address; address = address->next)
        if (strcmp(address->text, text) == 0)
            return address;
    size_t size = strlen(text) + 1;
    struct address *address = nxi_alloc(sizeof(*address) + size);
    if (!address)
        return NULL;
    memcpy(address->text, text, size);
    address->next = *bucket;
    return *bucket = address;
}

/* An address is known for as long as there is something of it. */
static void forget_if_unused(struct nx_pool *pool, struct address *address)
{
    if (address->total > 0 || address->waiting > 0)
        return;
    struct address **link = address_bucket(pool, address->text);
    while (*link != address)
        link = &(*link)->next;
    *link = address->next;
    nxi_free(address, sizeof(*address) + strlen(address->text) + 1);
}

static struct nxi_waiter *pop_waiter(struct nx_pool *pool, struct address *address)
{
    struct nxi_waiter *waiter = nxi_waiters_pop(&address->waiters);
    if (waiter) {
        address->waiting--;
        pool->stats.waiting--;
    }
    return waiter;
}

static void push_idle(struct nx_pool *pool, struct connection *connection)
{
    struct address *address = connection->address;
    connection->newer = NULL;
    connection->older = address->newest;
    if (address->newest)
        address->newest->newer = connection;
    else
        address->oldest = connection;
    address->newest = connection;
    address->idle++;
    pool->stats.idle++;
}

static void take_idle(struct nx_pool *pool, struct connection *connection)
{
    struct address *address = connection->address;
    *(connection->newer ? &connection->newer->older : &address->newest) = connection->older;
    *(connection->older ? &connection->older->newer : &address->oldest) = connection->newer;
    address->idle--;
    pool->stats.idle--;
}

/* A slot is free: the first waiter's, or nobody's. */
static void release_slot(struct nx_pool *pool, struct address *address, struct aftermath *after)
{
    struct nxi_waiter *waiter = pop_waiter(pool, address);
    if (waiter) {
        waiter->data = NULL;
        waiter->next = after->wake;
        after->wake = waiter;
        return;
    }
    address->total--;
    forget_if_unused(pool, address);
}

/* A connection, in no list, is to be closed. */
static void retire(struct nx_pool *pool, struct connection *connection, struct aftermath *after)
{
    connection->next = after->close;
    after->close = connection;
    release_slot(pool, connection->address, after);
}

static struct connection **used_bucket(struct nx_pool *pool, const nx_stream *stream)
{
    return &pool->used[((uintptr_t)stream >> 6) % BUCKETS];
}

static void insert_used(struct nx_pool *pool, struct connection *connection)
{
    struct connection **bucket = used_bucket(pool, connection->stream);
    connection->next = *bucket;
    *bucket = connection;
    pool->stats.in_use++;
}

static struct connection *take_used(struct nx_pool *pool, const nx_stream *stream)
{
    struct connection **link = used_bucket(pool, stream), *connection;
    while (*link && (*link)->stream != stream)
        link = &(*link)->next;
    connection = *link;
    if (connection) {
        *link = connection->next;
        pool->stats.in_use--;
    }
    return connection;
}

/* ---- the timer ---- */

static bool times_out(const struct nx_pool *pool)
{
    return pool->options.idle_timeout_ns > 0 || pool->options.max_age_ns > 0;
}

static bool too_old(const struct nx_pool *pool, const struct connection *connection, nx_time now)
{
    int64_t max_age_ns = pool->options.max_age_ns;
    return max_age_ns > 0 && now >= nxi_time_add(connection->born, max_age_ns);
}

static nx_time expiry(const struct nx_pool *pool, const struct connection *connection)
{
    int64_t idle_ns = pool->options.idle_timeout_ns, age_ns = pool->options.max_age_ns;
    nx_time idle = idle_ns > 0 ? nxi_time_add(connection->idle_since, idle_ns) : NX_FOREVER;
    nx_time age = age_ns > 0 ? nxi_time_add(connection->born, age_ns) : NX_FOREVER;
    return idle < age ? idle : age;
}

/* Takes out what has expired; when the next one will. The lock is held. */
static nx_time expire(struct nx_pool *pool, nx_time now, struct aftermath *after)
{
    nx_time next = NX_FOREVER;
    for (unsigned i = 0; i < BUCKETS; i++) {
        struct address *following;
        for (struct address *address = pool->addresses[i]; address; address = following) {
            struct connection *newer;
            following = address->next;
            for (struct connection *connection = address->oldest; connection; connection = newer) {
                nx_time at = expiry(pool, connection);
                newer = connection->newer;
                if (at > now) {
                    next = at < next ? at : next;
                    continue;
                }
                take_idle(pool, connection);
                pool->stats.dropped++;
                retire(pool, connection, after); /* with the last one the address goes: newer is NULL then */
            }
        }
    }
    return next;
}

static void timer_fired(struct nxi_timer *timer)
{
    struct nx_pool *pool = nxi_container(timer, struct nx_pool, timer);
    struct nxi_worker *worker = nxi_self();
    struct aftermath after = {NULL, NULL};
    nx_time now = nxi_worker_now(worker);
    nxi_lock(&pool->lock);
    if (pool->closing) {
        nxi_unlock(&pool->lock);
        return;
    }
    nx_time next = expire(pool, now, &after);
    if (next == NX_FOREVER) {
        pool->timer_worker = NULL;
    } else {
        int64_t timeout_ns = pool->options.idle_timeout_ns > 0 ? pool->options.idle_timeout_ns : 0;
        nx_time soonest = nxi_time_add(now, timeout_ns / TIMER_SLACK);
        nxi_timer_start(&worker->wheel, &pool->timer, next > soonest ? next : soonest);
    }
    nxi_unlock(&pool->lock);
    settle(&after);
    if (next == NX_FOREVER)
        unreference(pool);
}

/* The lock is held. A timer that runs already is due before any new connection's idle timeout. */
static void arm_timer(struct nx_pool *pool, const struct connection *connection)
{
    if (pool->timer_worker || !times_out(pool))
        return;
    pool->timer_worker = nxi_self();
    reference(pool);
    nxi_timer_start(&pool->timer_worker->wheel, &pool->timer, expiry(pool, connection));
}

static void stop_timer(struct nxi_worker *worker, struct nxi_node *node)
{
    struct nx_pool *pool = nxi_container(node, struct nx_pool, stop);
    if (nxi_timer_active(&pool->timer))
        nxi_timer_stop(&worker->wheel, &pool->timer);
    unreference(pool);
}

/* ---- getting ---- */

/* Gives a connection to the first waiter, or lays it by. */
static void hand_over(struct nx_pool *pool, struct connection *connection)
{
    struct aftermath after = {NULL, NULL};
    struct address *address = connection->address;
    connection->idle_since = nx_now();
    nxi_lock(&pool->lock);
    struct nxi_waiter *waiter = pop_waiter(pool, address);
    if (waiter) {
        waiter->data = connection;
        waiter->next = NULL;
        after.wake = waiter;
    } else if (pool->closing) {
        retire(pool, connection, &after);
    } else {
        push_idle(pool, connection);
        if (address->idle > pool->options.max_idle) {
            struct connection *oldest = address->oldest;
            take_idle(pool, oldest);
            retire(pool, oldest, &after);
        }
        arm_timer(pool, connection);
    }
    nxi_unlock(&pool->lock);
    settle(&after);
}

/* Closes a connection and gives up its slot. */
static void drop(struct nx_pool *pool, struct connection *connection, bool counts)
{
    struct aftermath after = {NULL, NULL};
    nxi_lock(&pool->lock);
    pool->stats.dropped += counts;
    retire(pool, connection, &after);
    nxi_unlock(&pool->lock);
    settle(&after);
}

static void give_up_slot(struct nx_pool *pool, struct address *address)
{
    struct aftermath after = {NULL, NULL};
    nxi_lock(&pool->lock);
    release_slot(pool, address, &after);
    nxi_unlock(&pool->lock);
    settle(&after);
}

/* The waiter is in the address' list, and the lock is held. */
static int wait_for_slot(struct nx_pool *pool, struct address *address, struct nxi_waiter *waiter, nx_time deadline)
{
    nxi_unlock(&pool->lock);
    int error = nxi_waiter_wait(waiter, deadline, true);
    if (error == 0)
        return (int)waiter->result;
    nxi_lock(&pool->lock);
    if (waiter->link) {
        nxi_waiters_remove(&address->waiters, waiter);
        address->waiting--;
        pool->stats.waiting--;
        forget_if_unused(pool, address);
        nxi_unlock(&pool->lock);
        nxi_waiter_forget(waiter);
        return error;
    }
    nxi_unlock(&pool->lock);
    nxi_waiter_wait(waiter, NX_FOREVER, false);
    if (waiter->result == 0 && waiter->data)
        hand_over(pool, waiter->data);
    else if (waiter->result == 0)
        give_up_slot(pool, address);
    return error;
}

/* A slot of the address: with an idle connection, or NULL to make one. */
static int acquire(struct nx_pool *pool, const char *text, nx_time deadline, struct address **ret_address,
                   struct connection **ret_connection)
{
    struct nxi_waiter waiter;
    nxi_lock(&pool->lock);
    struct address *address = pool->closing ? NULL : find_address(pool, text);
    if (!address) {
        int error = pool->closing ? -EBADF : -ENOMEM;
        nxi_unlock(&pool->lock);
        return error;
    }
    *ret_address = address;
    *ret_connection = address->newest;
    if (address->newest) {
        take_idle(pool, address->newest);
    } else if (pool->options.max_total == 0 || address->total < pool->options.max_total) {
        address->total++;
    } else if (deadline == NX_POLL) {
        nxi_unlock(&pool->lock);
        return -EAGAIN;
    } else {
        nxi_waiter_init(&waiter, nxi_self());
        nxi_waiter_note(&waiter, "pool", NXI_OBJECT_POINTER, (uintptr_t)pool);
        nxi_waiters_push(&address->waiters, &waiter);
        address->waiting++;
        pool->stats.waiting++;
        int error = wait_for_slot(pool, address, &waiter, deadline);
        *ret_connection = error == 0 ? waiter.data : NULL;
        return error;
    }
    nxi_unlock(&pool->lock);
    return 0;
}

/* A callback has panicked, in a task that is ending: what nx_pool_get had in its hands goes. */
static void abandon(void *arg)
{
    struct connection *connection = arg;
    struct nx_pool *pool = connection->pool;
    drop(pool, connection, false);
    unreference(pool);
}

static int greet(const nx_pool_options *options, struct connection *connection)
{
    if (!options->on_connect)
        return 0;
    bool deferred = nx_defer(abandon, connection) == 0;
    int error = options->on_connect(connection->stream, options->arg);
    if (deferred)
        nxi_undefer(abandon, connection);
    return error;
}

static bool healthy(const nx_pool_options *options, struct connection *connection)
{
    if (!options->healthy)
        return true;
    bool deferred = nx_defer(abandon, connection) == 0;
    bool result = options->healthy(connection->stream, options->arg);
    if (deferred)
        nxi_undefer(abandon, connection);
    return result;
}

/* Nothing is there to be read, not even the end of the stream, and no error is left; and the owner's own check. May
 * park. */
static bool usable(struct nx_pool *pool, struct connection *connection)
{
    char byte;
    return !too_old(pool, connection, nx_now()) && nxi_take_stash(connection->stream, NXI_WRITE_SIDE) == 0 &&
           nxi_stream_read_now(connection->stream, &byte, 1) == -EAGAIN && healthy(&pool->options, connection);
}

/* Closes a connection, whose slot stays the caller's; the next idle one, which brings a slot of its own, or NULL. */
static struct connection *another(struct nx_pool *pool, struct connection *bad)
{
    struct aftermath after = {NULL, bad};
    struct address *address = bad->address;
    bad->next = NULL;
    nxi_lock(&pool->lock);
    pool->stats.dropped++;
    struct connection *next = address->newest;
    if (next) {
        take_idle(pool, next);
        release_slot(pool, address, &after);
    }
    nxi_unlock(&pool->lock);
    settle(&after);
    return next;
}

/* Connects, in a slot of the caller's. */
static int open_connection(struct nx_pool *pool, struct address *address, nx_time deadline,
                           struct connection **ret_connection)
{
    struct nx_connect_options options = {.size = sizeof(options), .timeout_ns = pool->options.connect_timeout_ns};
    struct connection *connection = nxi_alloc(sizeof(*connection));
    nx_stream *stream = NULL;
    int error = connection ? nx_connect(address->text, &options, &stream, deadline) : -ENOMEM;
    if (error == 0) {
        *connection = (struct connection){.pool = pool, .stream = stream, .address = address, .born = nx_now()};
        error = greet(&pool->options, connection);
    }
    if (error >= 0) {
        *ret_connection = connection;
        return 0;
    }
    nx_close(stream);
    nxi_free(connection, sizeof(*connection));
    give_up_slot(pool, address);
    return error;
}

/* An idle connection that can be used, or NULL and the slot of the one given. In a cancelled task every callback fails:
 * that is no reason to look at the others; the slot is given up. */
static int choose(struct nx_pool *pool, struct connection **inout_connection)
{
    struct connection *connection = *inout_connection;
    while (connection && !usable(pool, connection)) { /* ends: each turn closes one */
        if (nxi_task_cancelled(nxi_self()->current)) {
            drop(pool, connection, true);
            return -ECANCELED;
        }
        connection = another(pool, connection);
    }
    *inout_connection = connection;
    return 0;
}

static int get(struct nx_pool *pool, const char *text, nx_stream **ret_stream, nx_time deadline)
{
    struct address *address;
    struct connection *connection;
    int error = acquire(pool, text, deadline, &address, &connection);
    if (error == 0)
        error = choose(pool, &connection);
    bool reused = error == 0 && connection;
    if (error == 0 && !reused)
        error = open_connection(pool, address, deadline, &connection);
    if (error < 0)
        return error;
    nxi_lock(&pool->lock);
    if (pool->closing) {
        nxi_unlock(&pool->lock);
        hand_over(pool, connection);
        return -EBADF;
    }
    insert_used(pool, connection);
    *(reused ? &pool->stats.reused : &pool->stats.opened) += 1;
    *ret_stream = connection->stream; /* another task may use it only once we have returned */
    nxi_unlock(&pool->lock);
    return 0;
}

/* ---- the public calls ---- */

int nx_pool_create(const nx_pool_options *given, nx_pool **ret_pool)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    nx_pool_options options;
    if (!worker)
        return nxi_no_task();
    if (!ret_pool || nxi_options_copy(&options, sizeof(options), given) < 0 || options.connect_timeout_ns < 0 ||
        options.max_age_ns < 0)
        return -EINVAL;
    struct nx_pool *pool = nxi_alloc(sizeof(*pool));
    if (!pool)
        return -ENOMEM;
    pool->runtime = worker->runtime;
    pool->options = options;
    if (options.max_idle == 0)
        pool->options.max_idle = MAX_IDLE_DEFAULT;
    if (options.idle_timeout_ns == 0)
        pool->options.idle_timeout_ns = IDLE_TIMEOUT_DEFAULT_NS;
    atomic_init(&pool->references, 1);
    nxi_timer_init(&pool->timer, timer_fired);
    pool->stop.run = stop_timer;
    *ret_pool = pool;
    return 0;
}

int nx_pool_get(nx_pool *pool, const char *addr, nx_stream **ret_stream, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (!pool || !addr || !ret_stream)
        return -EINVAL;
    if (pool->runtime != worker->runtime)
        return -EXDEV;
    int error = -ECANCELED;
    if (!nxi_task_cancelled(worker->current)) {
        reference(pool); /* goes over to the connection that is handed out */
        error = get(pool, addr, ret_stream, deadline);
        if (error < 0)
            unreference(pool);
    }
    nxi_charge(nxi_self());
    return error;
}

void nx_pool_put(nx_pool *pool, nx_stream *stream, bool healthy)
{
    NXI_ENTRY();
    struct nxi_worker *worker = nxi_in_task();
    if (!pool || !stream || nxi_forked())
        return;
    struct connection *connection = NULL;
    if (worker && worker->runtime == pool->runtime) {
        nxi_lock(&pool->lock);
        connection = take_used(pool, stream);
        nxi_unlock(&pool->lock);
    }
    if (!connection) {
        nxi_log(pool->runtime, NX_LOG_ERROR, "nx_pool_put: %s", worker ? "not a connection of this pool" : "no task");
        return;
    }
    if (healthy && !nxi_stream_kept(stream) && !too_old(pool, connection, nx_now()))
        hand_over(pool, connection);
    else
        drop(pool, connection, false);
    unreference(pool);
}

/* The lock is held: nothing is idle any more, and nobody waits. */
static void close_all(struct nx_pool *pool, struct aftermath *after)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        struct address *following;
        for (struct address *address = pool->addresses[i]; address; address = following) {
            struct nxi_waiter *waiter;
            following = address->next;
            while ((waiter = pop_waiter(pool, address))) {
                waiter->result = -EBADF;
                waiter->next = after->wake;
                after->wake = waiter;
            }
            for (uint32_t left = address->idle; left > 0; left--) { /* with the last one the address may go */
                struct connection *connection = address->newest;
                take_idle(pool, connection);
                retire(pool, connection, after);
            }
        }
    }
}

void nx_pool_destroy(nx_pool *pool)
{
    NXI_ENTRY();
    struct nxi_worker *worker = nxi_in_task();
    if (!pool || nxi_forked())
        return;
    if (!worker || worker->runtime != pool->runtime) {
        nxi_log(pool->runtime, NX_LOG_ERROR, "nx_pool_destroy: not called from a task of the pool's runtime");
        return;
    }
    struct aftermath after = {NULL, NULL};
    nxi_lock(&pool->lock);
    pool->closing = true;
    close_all(pool, &after);
    struct nxi_worker *timer_worker = pool->timer_worker;
    nxi_unlock(&pool->lock);
    settle(&after);
    if (timer_worker == worker)
        stop_timer(worker, &pool->stop);
    else if (timer_worker)
        nxi_post(timer_worker, &pool->stop);
    unreference(pool);
}

int nx_pool_stats(nx_pool *pool, struct nx_pool_stats *ret_stats)
{
    NXI_ENTRY(-ENOSYS);
    if (nxi_forked())
        return -NX_EFORKED;
    if (!pool || !ret_stats || ret_stats->size < sizeof(size_t))
        return -EINVAL;
    nxi_lock(&pool->lock);
    struct nx_pool_stats stats = pool->stats;
    nxi_unlock(&pool->lock);
    stats.size = ret_stats->size < sizeof(stats) ? ret_stats->size : sizeof(stats);
    memcpy(ret_stats, &stats, stats.size);
    return 0;
}
