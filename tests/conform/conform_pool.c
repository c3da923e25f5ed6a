/* conform_pool.c: the connection pool, against servers made here. */
#include "nxt_net.h"
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MS INT64_C(1000000)

/* A server that answers each byte by itself, and says who has connected. */
struct server {
    nx_listener *listener;
    nx_task task;
    char addr[64];
    _Atomic int accepted, live;
    atomic_bool cut; /* drops what it has after the next byte */
};

struct client {
    struct server *server;
    nx_stream *stream;
};

static intptr_t serve_client(void *arg)
{
    struct client client = *(struct client *)arg;
    char byte;
    while (nx_read(client.stream, &byte, 1, NX_FOREVER) == 1 && !atomic_load(&client.server->cut))
        if (byte == '!') /* more than was asked for */
            nx_write(client.stream, "!!", 2, NX_FOREVER);
        else
            nx_write(client.stream, &byte, 1, NX_FOREVER);
    nx_close(client.stream);
    atomic_fetch_sub(&client.server->live, 1);
    return 0;
}

static intptr_t serve_all(void *arg)
{
    struct server *server = arg;
    struct client client = {.server = server};
    while (nx_accept(server->listener, &client.stream, NX_FOREVER) == 0) {
        atomic_fetch_add(&server->accepted, 1);
        atomic_fetch_add(&server->live, 1);
        nx_task task = nx_spawn_with(NXT_WITH(.arg_size = sizeof(client)), serve_client, &client);
        nxt_expect_eq(nx_detach(task), 0);
    }
    return 0;
}

static bool start(struct server *server)
{
    memset(server, 0, sizeof(*server));
    server->listener = nxt_listen_on("127.0.0.1:0", server->addr, sizeof(server->addr));
    server->task = server->listener ? nx_spawn(serve_all, server) : -1;
    return nxt_expect(server->task > 0);
}

/* Once the pools are gone. */
static void stop(struct server *server)
{
    nx_cancel(server->task);
    nxt_result(server->task);
    nx_listener_close(server->listener);
    nxt_await(atomic_load(&server->live) == 0);
}

static nx_pool *make_pool(const nx_pool_options *options)
{
    nx_pool *pool = NULL;
    nxt_expect_eq(nx_pool_create(options, &pool), 0);
    return pool;
}
#define POOL(...) make_pool(&(const nx_pool_options){.size = sizeof(nx_pool_options), __VA_ARGS__})

static struct nx_pool_stats stats_of(nx_pool *pool)
{
    struct nx_pool_stats stats = {.size = sizeof(stats)};
    nxt_expect_eq(nx_pool_stats(pool, &stats), 0);
    return stats;
}

static nx_stream *get(nx_pool *pool, const char *addr)
{
    nx_stream *stream = NULL;
    nxt_expect_eq(nx_pool_get(pool, addr, &stream, NX_FOREVER), 0);
    return stream;
}

static bool ask(nx_stream *stream, char byte)
{
    char answer = 0;
    return stream && nxt_expect_eq(nx_write(stream, &byte, 1, NX_FOREVER), 1) &&
           nxt_expect_eq(nx_read(stream, &answer, 1, NX_FOREVER), 1) && nxt_expect_eq(answer, byte);
}

NXT_TASK_TEST(a_connection_that_was_put_is_used_again)
{
    struct server server;
    nx_pool *pool = POOL(.max_idle = 4);
    nxt_require(pool && start(&server));
    nx_stream *first = get(pool, server.addr);
    nxt_expect(ask(first, 'a'));
    nxt_expect_eq(stats_of(pool).in_use, 1);
    nx_pool_put(pool, first, true);
    nxt_expect_eq(stats_of(pool).idle, 1);
    for (int i = 0; i < 10; i++) {
        nx_stream *again = get(pool, server.addr);
        nxt_expect(again == first);
        nxt_expect(ask(again, 'b'));
        nx_pool_put(pool, again, true);
    }
    struct nx_pool_stats stats = stats_of(pool);
    nxt_expect_eq(stats.opened, 1);
    nxt_expect_eq(stats.reused, 10);
    nxt_expect_eq(stats.idle, 1);
    nxt_expect_eq(stats.in_use, 0);
    nxt_expect_eq(atomic_load(&server.accepted), 1);
    nx_pool_destroy(pool);
    stop(&server);
}

NXT_TASK_TEST(the_most_recently_used_goes_first_and_no_more_than_max_idle_stay)
{
    struct server server;
    nx_stream *streams[4];
    nx_pool *pool = POOL(.max_idle = 2);
    nxt_require(pool && start(&server));
    for (int i = 0; i < 4; i++)
        streams[i] = get(pool, server.addr);
    nxt_await(atomic_load(&server.live) == 4);
    for (int i = 0; i < 4; i++)
        nx_pool_put(pool, streams[i], true);
    nxt_await(atomic_load(&server.live) == 2);
    nxt_expect_eq(stats_of(pool).idle, 2);
    nxt_expect(get(pool, server.addr) == streams[3]);
    nxt_expect(get(pool, server.addr) == streams[2]);
    nx_pool_put(pool, streams[2], true);
    nx_pool_put(pool, streams[3], false); /* not healthy */
    nxt_await(atomic_load(&server.live) == 1);
    nx_pool_destroy(pool);
    stop(&server);
}

NXT_TASK_TEST(addresses_have_connections_of_their_own)
{
    struct server one, other;
    nx_pool *pool = POOL(.max_total = 1);
    nxt_require(pool && start(&one) && start(&other));
    nx_stream *first = get(pool, one.addr), *second = get(pool, other.addr);
    nxt_expect_eq(nx_pool_get(pool, one.addr, &(nx_stream *){NULL}, NX_POLL), -EAGAIN);
    nx_pool_put(pool, second, true);
    nxt_expect_eq(nx_pool_get(pool, one.addr, &(nx_stream *){NULL}, nx_after_ms(1)), -ETIMEDOUT);
    nx_pool_put(pool, first, true);
    nxt_expect(get(pool, one.addr) == first);
    nx_pool_put(pool, first, true);
    nx_pool_destroy(pool);
    stop(&one);
    stop(&other);
}

/* ---- what is never handed out ---- */

NXT_TASK_TEST(a_connection_whose_server_has_dropped_it_is_not_handed_out, .workers = 2)
{
    for (int64_t i = 0; i < nxt_scaled(50, 5); i++) {
        uint16_t port;
        int listener = nxt_listen(16, &port), peers[4];
        nx_stream *streams[4], *stream;
        nx_pool *pool = POOL(.max_idle = 4);
        nxt_require(pool && listener >= 0);
        for (int k = 0; k < 4; k++) {
            streams[k] = get(pool, nxt_loopback(port));
            peers[k] = nxt_accept(listener);
        }
        for (int k = 0; k < 4; k++)
            nx_pool_put(pool, streams[k], true);
        nxt_reset(&peers[3]);
        nxt_close_fd(&peers[2]);
        nxt_expect(nxt_write_all(peers[1], "?", 1)); /* what nobody asked for */
        nxt_expect_eq(nx_pool_get(pool, nxt_loopback(port), &stream, NX_FOREVER), 0);
        nxt_expect(stream == streams[0]);
        nxt_expect_eq(stats_of(pool).dropped, 3);
        nxt_expect(nxt_write_all(peers[0], "x", 1));
        char byte;
        nxt_expect_eq(nx_read(stream, &byte, 1, NX_FOREVER), 1); /* the check has taken nothing */
        nx_pool_put(pool, stream, true);
        nx_pool_destroy(pool);
        for (int k = 0; k < 4; k++)
            nxt_close_fd(&peers[k]);
        nxt_close_fd(&listener);
    }
}

NXT_TASK_TEST(a_connection_with_bytes_kept_in_it_is_closed)
{
    struct server server;
    char buf[8];
    nx_pool *pool = POOL(.max_idle = 4);
    nxt_require(pool && start(&server));
    nx_stream *stream = get(pool, server.addr);
    nxt_expect_eq(nx_write(stream, "!", 1, NX_FOREVER), 1);
    nxt_await(nxt_unread(nx_stream_fd(stream)) == 2);
    nxt_expect_eq(nx_read_until(stream, buf, sizeof(buf), "!", NX_FOREVER), 1);
    nx_pool_put(pool, stream, true);
    nxt_await(atomic_load(&server.live) == 0);
    nxt_expect_eq(stats_of(pool).idle, 0);
    nx_pool_destroy(pool);
    stop(&server);
}

struct checks {
    int healthy, connects;
    int refuse_connects;
};

static bool check_health(nx_stream *stream, void *arg)
{
    struct checks *checks = arg;
    nx_yield(); /* it may park */
    return ask(stream, 'h') && checks->healthy-- > 0;
}

static int greet(nx_stream *stream, void *arg)
{
    struct checks *checks = arg;
    checks->connects++;
    if (checks->refuse_connects-- > 0)
        return -EACCES;
    return ask(stream, 'g') ? 0 : -EIO;
}

NXT_TASK_TEST(callbacks_decide_on_new_and_on_idle_connections)
{
    struct server server;
    struct checks checks = {.healthy = 1, .refuse_connects = 1};
    nx_stream *stream = NULL;
    nx_pool *pool = POOL(.max_total = 1, .healthy = check_health, .on_connect = greet, .arg = &checks);
    nxt_require(pool && start(&server));
    nxt_expect_eq(nx_pool_get(pool, server.addr, &stream, NX_FOREVER), -EACCES);
    nxt_expect(!stream);
    stream = get(pool, server.addr); /* so the slot of the refused one was given back */
    nxt_expect_eq(checks.connects, 2);
    nx_pool_put(pool, stream, true);
    nxt_expect(get(pool, server.addr) == stream); /* healthy */
    nx_pool_put(pool, stream, true);
    nx_stream *other = get(pool, server.addr); /* not healthy: a new one */
    nxt_expect_eq(checks.connects, 3);
    nxt_expect_eq(stats_of(pool).dropped, 1);
    nx_pool_put(pool, other, true);
    nx_pool_destroy(pool);
    stop(&server);
}

struct traps {
    bool healthy, connect;
    atomic_int waiting;
};

static bool trap_healthy(nx_stream *stream, void *arg)
{
    struct traps *traps = arg;
    char byte;
    if (traps->healthy)
        nx_panic("healthy");
    if (atomic_load(&traps->waiting) == 0)
        return true;
    atomic_fetch_add(&traps->waiting, 1);
    return nx_read(stream, &byte, 1, NX_FOREVER) > 0;
}

static int trap_connect(nx_stream *stream, void *arg)
{
    const struct traps *traps = arg;
    (void)stream;
    if (traps->connect)
        nx_panic("connect");
    return 0;
}

struct getter {
    nx_pool *pool;
    const char *addr;
};

static intptr_t get_in_vain(void *arg)
{
    const struct getter *getter = arg;
    nx_stream *stream = NULL;
    int error = nx_pool_get(getter->pool, getter->addr, &stream, NX_FOREVER);
    if (error == 0)
        nx_pool_put(getter->pool, stream, true);
    return error;
}

static void expect_panic(struct getter *getter)
{
    nx_task task = nx_spawn(get_in_vain, getter);
    nxt_expect_eq(nx_join(task, NULL, NX_FOREVER), -NX_EPANIC);
    nxt_expect_eq(nx_detach(task), 0);
}

NXT_TASK_TEST(a_callback_that_panics_costs_no_slot_and_no_connection, .on_panic = NX_PANIC_ISOLATE)
{
    struct server server;
    struct traps traps = {.connect = true};
    nx_pool *pool = POOL(.max_total = 1, .healthy = trap_healthy, .on_connect = trap_connect, .arg = &traps);
    nxt_require(pool && start(&server));
    struct getter getter = {pool, server.addr};
    expect_panic(&getter);
    traps.connect = false;
    nxt_expect_eq(get_in_vain(&getter), 0);
    traps.healthy = true;
    expect_panic(&getter);
    traps.healthy = false;
    nxt_expect_eq(get_in_vain(&getter), 0);
    nxt_expect_eq(stats_of(pool).in_use, 0);
    nxt_await(atomic_load(&server.live) == 1);
    nx_pool_destroy(pool);
    stop(&server);
}

NXT_TASK_TEST(a_get_that_is_cancelled_in_its_callback_spares_the_other_connections)
{
    struct server server;
    struct traps traps = {.waiting = 0};
    nx_pool *pool = POOL(.max_total = 3, .healthy = trap_healthy, .arg = &traps);
    nx_stream *streams[3];
    nxt_require(pool && start(&server));
    for (int i = 0; i < 3; i++)
        streams[i] = get(pool, server.addr);
    for (int i = 0; i < 3; i++)
        nx_pool_put(pool, streams[i], true);
    atomic_store(&traps.waiting, 1);
    nx_task task = nx_spawn(get_in_vain, &(struct getter){pool, server.addr});
    nxt_await(atomic_load(&traps.waiting) == 2);
    nx_cancel(task);
    nxt_expect_eq(nxt_result(task), -ECANCELED);
    nxt_expect_eq(stats_of(pool).idle, 2);
    nxt_expect_eq(stats_of(pool).dropped, 1);
    atomic_store(&traps.waiting, 0);
    for (int i = 0; i < 3; i++) /* the slot of the one that was closed is free */
        streams[i] = get(pool, server.addr);
    nxt_expect_eq(stats_of(pool).opened, 4);
    for (int i = 0; i < 3; i++)
        nx_pool_put(pool, streams[i], true);
    nx_pool_destroy(pool);
    stop(&server);
}

/* ---- time ---- */

NXT_TASK_TEST(an_idle_connection_times_out_by_itself, .workers = 2)
{
    struct server server;
    nx_stream *streams[3];
    nx_pool *pool = POOL(.idle_timeout_ns = 10 * MS);
    nxt_require(pool && start(&server));
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 3; i++)
            streams[i] = get(pool, server.addr);
        nxt_await(atomic_load(&server.live) == 3);
        nx_time begin = nx_now();
        for (int i = 0; i < 3; i++)
            nx_pool_put(pool, streams[i], true);
        nxt_await(atomic_load(&server.live) == 0);
        nxt_expect_ge(nx_now() - begin, 10 * MS);
        nxt_expect_eq(stats_of(pool).idle, 0);
        nxt_expect_eq(stats_of(pool).dropped, 3 * (round + 1));
    }
    nx_pool_destroy(pool);
    stop(&server);
}

NXT_TASK_TEST(a_connection_past_its_age_is_not_used_again)
{
    struct server server;
    nx_pool *pool = POOL(.idle_timeout_ns = -1, .max_age_ns = 5 * MS);
    nxt_require(pool && start(&server));
    nx_stream *stream = get(pool, server.addr);
    nx_sleep_ms(6);
    nx_pool_put(pool, stream, true);
    nxt_await(atomic_load(&server.live) == 0);
    stream = get(pool, server.addr);
    nx_time born = nx_now();
    nx_pool_put(pool, stream, true);
    nxt_await(atomic_load(&server.live) == 0);
    nxt_expect_ge(nx_now() - born, 4 * MS);
    nxt_expect_eq(stats_of(pool).idle, 0);
    nx_pool_destroy(pool);
    stop(&server);
}

/* ---- waiting ---- */

struct waiting {
    nx_pool *pool;
    const char *addr;
    _Atomic int *turn;
    nx_stream *stream;
    int served;
};

static intptr_t wait_for_turn(void *arg)
{
    struct waiting *waiting = arg;
    int error = nx_pool_get(waiting->pool, waiting->addr, &waiting->stream, NX_FOREVER);
    if (error < 0)
        return error;
    waiting->served = atomic_fetch_add(waiting->turn, 1);
    nxt_expect(ask(waiting->stream, 'w'));
    nx_pool_put(waiting->pool, waiting->stream, waiting->served % 2 == 0); /* a connection, or only its slot */
    return 0;
}

NXT_TASK_TEST(who_waits_is_served_in_order, .workers = 2)
{
    struct server server;
    _Atomic int turn = 0;
    struct waiting waiting[8];
    nx_task tasks[8];
    nx_pool *pool = POOL(.max_total = 1);
    nxt_require(pool && start(&server));
    nx_stream *stream = get(pool, server.addr);
    for (int i = 0; i < 8; i++) {
        waiting[i] = (struct waiting){.pool = pool, .addr = server.addr, .turn = &turn};
        tasks[i] = nxt_task_on(i % 2, wait_for_turn, &waiting[i]);
        nxt_await(stats_of(pool).waiting == (uint32_t)i + 1);
    }
    nx_pool_put(pool, stream, true);
    for (int i = 0; i < 8; i++) {
        nxt_expect_eq(nxt_result(tasks[i]), 0);
        nxt_expect_eq(waiting[i].served, i);
    }
    nxt_expect_eq(stats_of(pool).in_use, 0);
    nx_pool_destroy(pool);
    stop(&server);
}

static intptr_t get_and_put(void *arg)
{
    struct waiting *waiting = arg;
    int error = nx_pool_get(waiting->pool, waiting->addr, &waiting->stream, NX_FOREVER);
    if (error == 0)
        nx_pool_put(waiting->pool, waiting->stream, true);
    return error;
}

NXT_TASK_TEST(a_waiter_that_is_cancelled_as_it_is_served_loses_nothing, .workers = 2)
{
    struct server server;
    nx_pool *pool = POOL(.max_total = 1);
    nxt_require(pool && start(&server));
    for (int64_t i = 0; i < nxt_scaled(200, 20); i++) {
        struct waiting waiting = {.pool = pool, .addr = server.addr};
        nx_stream *stream = get(pool, server.addr);
        nx_task task = nxt_task_on((int)(i % 2), get_and_put, &waiting);
        nxt_await(stats_of(pool).waiting == 1);
        if (i % 4 < 2)
            nx_cancel(task);
        nx_pool_put(pool, stream, i % 3);
        nx_cancel(task);
        intptr_t result = 0;
        nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0);
        nxt_expect(result == 0 || result == -ECANCELED);
        nxt_expect_eq(stats_of(pool).in_use, 0);
        nxt_expect_eq(stats_of(pool).waiting, 0);
        nx_pool_put(pool, get(pool, server.addr), true); /* the one slot is free */
    }
    nx_pool_destroy(pool);
    stop(&server);
}

static intptr_t get_cancelled(void *arg)
{
    struct waiting *waiting = arg;
    nx_stream *stream = get(waiting->pool, waiting->addr), *none = NULL;
    nx_cancel(nx_self());
    nxt_expect_eq(nx_pool_get(waiting->pool, waiting->addr, &none, NX_FOREVER), -ECANCELED);
    nx_pool_put(waiting->pool, stream, true);
    nxt_expect_eq(stats_of(waiting->pool).idle, 1);
    stream = NULL;
    return 0;
}

NXT_TASK_TEST(putting_works_in_a_cancelled_task)
{
    struct server server;
    nx_pool *pool = POOL(.max_total = 1);
    nxt_require(pool && start(&server));
    struct waiting waiting = {.pool = pool, .addr = server.addr};
    nxt_result(nx_spawn(get_cancelled, &waiting));
    nx_pool_destroy(pool);
    stop(&server);
}

/* ---- many tasks ---- */

struct crowd {
    nx_pool *pool;
    struct server *servers;
    _Atomic int asked, in_use[2];
};

static intptr_t use_pool(void *arg)
{
    struct crowd *crowd = arg;
    uint64_t random = (uint64_t)nx_self();
    for (int64_t i = 0; i < nxt_scaled(100, 10); i++) {
        int which = (int)(nxt_random(&random) % 2);
        nx_stream *stream;
        nx_time deadline = nxt_random(&random) % 4 ? NX_FOREVER : nx_after_ns((int64_t)(nxt_random(&random) % 300000));
        int error = nx_pool_get(crowd->pool, crowd->servers[which].addr, &stream, deadline);
        if (error < 0) {
            nxt_expect_eq(error, -ETIMEDOUT);
            continue;
        }
        nxt_expect_le(atomic_fetch_add(&crowd->in_use[which], 1), 4);
        nxt_expect(ask(stream, (char)('a' + i % 20)));
        atomic_fetch_add(&crowd->asked, 1);
        atomic_fetch_sub(&crowd->in_use[which], 1);
        nx_pool_put(crowd->pool, stream, nxt_random(&random) % 8);
    }
    return 0;
}

NXT_TASK_TEST(many_tasks_on_several_workers_share_a_pool, .workers = 3)
{
    struct server servers[2];
    nx_task tasks[24];
    nx_pool *pool = POOL(.max_total = 5, .max_idle = 2, .idle_timeout_ns = 2 * MS);
    nxt_require(pool && start(&servers[0]) && start(&servers[1]));
    struct crowd crowd = {.pool = pool, .servers = servers};
    for (int i = 0; i < 24; i++)
        tasks[i] = nxt_task_on(i % 3, use_pool, &crowd);
    for (int i = 0; i < 24; i++)
        nxt_result(tasks[i]);
    struct nx_pool_stats stats = stats_of(pool);
    nxt_expect_eq(stats.in_use, 0);
    nxt_expect_eq(stats.waiting, 0);
    nxt_expect_eq(stats.opened + stats.reused, atomic_load(&crowd.asked));
    nx_pool_destroy(pool);
    stop(&servers[0]);
    stop(&servers[1]);
}

/* ---- the end ---- */

static intptr_t destroy_there(void *arg)
{
    nx_pool_destroy(arg);
    return 0;
}

NXT_TASK_TEST(destroying_wakes_who_waits_and_spares_who_has_one, .workers = 2)
{
    for (int worker = 0; worker < 2; worker++) {
        struct server server;
        _Atomic int turn = 0;
        nx_pool *pool = POOL(.max_total = 2);
        nxt_require(pool && start(&server));
        struct waiting waiting = {.pool = pool, .addr = server.addr, .turn = &turn};
        nx_stream *one = get(pool, server.addr), *other = get(pool, server.addr);
        nx_pool_put(pool, other, true); /* so the timer runs, on this worker */
        nxt_expect(get(pool, server.addr) == other);
        nx_task task = nxt_task_on(1 - worker, wait_for_turn, &waiting);
        nxt_await(stats_of(pool).waiting == 1);
        nxt_result(nxt_task_on(worker, destroy_there, pool));
        nxt_expect_eq(nxt_result(task), -EBADF);
        nxt_expect(ask(one, 'x'));
        nx_pool_put(pool, one, true);
        nxt_expect_eq(nx_pool_get(pool, server.addr, &one, NX_FOREVER), -EBADF);
        nxt_expect(ask(other, 'y'));
        nx_pool_put(pool, other, true); /* with this one the pool goes */
        stop(&server);
    }
}

NXT_TASK_TEST(nobody_listening_is_reported_and_costs_no_slot)
{
    uint16_t port;
    nx_stream *stream;
    int listener = nxt_listen(1, &port);
    nx_pool *pool = POOL(.max_total = 1, .connect_timeout_ns = 1000 * MS);
    nxt_require(pool && listener >= 0);
    nxt_close_fd(&listener);
    for (int i = 0; i < 3; i++)
        nxt_expect_eq(nx_pool_get(pool, nxt_loopback(port), &stream, NX_FOREVER), -ECONNREFUSED);
    nxt_expect_eq(stats_of(pool).in_use, 0);
    nx_pool_destroy(pool);
}

NXT_TASK_TEST(a_pool_refuses_what_makes_no_sense)
{
    nx_stream *stream;
    nx_pool *pool;
    nxt_expect_eq(nx_pool_create(NULL, NULL), -EINVAL);
    nxt_expect_eq(nx_pool_create(&(nx_pool_options){.size = 1}, &pool), -EINVAL);
    nxt_expect_eq(nx_pool_create(&(nx_pool_options){.size = sizeof(nx_pool_options), .max_age_ns = -1}, &pool),
                  -EINVAL);
    nxt_require_eq(nx_pool_create(NULL, &pool), 0);
    nxt_expect_eq(nx_pool_get(NULL, "127.0.0.1:1", &stream, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_pool_get(pool, NULL, &stream, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_pool_get(pool, "127.0.0.1:1", NULL, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_pool_get(pool, "nonsense", &stream, nx_after_ms(1000)), -EINVAL);
    nxt_expect_eq(nx_pool_stats(NULL, &(struct nx_pool_stats){.size = 64}), -EINVAL);
    nxt_expect_eq(nx_pool_stats(pool, &(struct nx_pool_stats){.size = 0}), -EINVAL);
    nx_pool_put(pool, NULL, true);
    nx_pool_destroy(pool);
    nx_pool_destroy(NULL);
}

NXT_TEST(outside_a_task_a_pool_says_so)
{
    nx_pool *pool;
    nxt_expect_eq(nx_pool_create(NULL, &pool), -NX_ENOTASK);
    nxt_expect_eq(nx_pool_get(NULL, "127.0.0.1:1", NULL, NX_POLL), -NX_ENOTASK);
}
