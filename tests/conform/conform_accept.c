/* conform_accept.c: many accepts on one listener: shared, cancelled, timed out, closed under; no connection is lost. */
#include "nxt_net.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static nx_listener *listen_here(uint16_t *ret_port)
{
    char text[64];
    nx_addr addr = {.port = 0};
    nx_listener *listener = nxt_listen_on("127.0.0.1:0", text, sizeof(text));
    if (listener)
        nxt_expect_eq(nx_listener_addr(listener, &addr), 0);
    *ret_port = addr.port;
    return listener;
}

/* ---- clients: each sends its number and waits for it to come back ---- */

struct clients {
    uint16_t port;
    int first, count, lost;
    struct nxt_thread *thread;
};

static intptr_t be_clients(void *arg)
{
    struct clients *clients = arg;
    for (int i = 0; i < clients->count && nxt_failures() == 0; i++) {
        int number = clients->first + i, back = -1;
        int fd = nxt_connect(clients->port);
        nxt_expect(nxt_write_all(fd, &number, sizeof(number)));
        clients->lost += nxt_read_all(fd, &back, sizeof(back)) != sizeof(back) || back != number;
        nxt_reset(&fd); /* no TIME_WAIT by the thousand */
    }
    return 0;
}

/* ---- servers ---- */

struct door {
    nx_listener *listener;
    nx_runtime *runtime;
    atomic_int left; /* connections to come */
    unsigned char *seen;
    int total;
};

/* Answers a connection: each number must come once. */
static void answer(struct door *door, nx_stream *stream)
{
    int number = -1;
    nxt_expect_eq(nx_read_exact(stream, &number, sizeof(number), NX_FOREVER), sizeof(number));
    if (nxt_expect(number >= 0 && number < door->total))
        nxt_expect_eq(door->seen[number]++, 0);
    nxt_expect_eq(nx_write(stream, &number, sizeof(number), NX_FOREVER), sizeof(number));
    nx_close(stream);
    atomic_fetch_sub(&door->left, 1);
}

struct acceptor {
    struct door *door;
    uint64_t random;
    int taken, refused;
};

static intptr_t accept_one(void *arg)
{
    nx_stream *stream;
    int error = nx_accept(arg, &stream, NX_FOREVER);
    return error < 0 ? error : (intptr_t)stream;
}

static intptr_t accept_and_be_cancelled(void *arg)
{
    struct acceptor *self = arg;
    while (atomic_load(&self->door->left) > 0 && nxt_failures() == 0) {
        nx_task task = nxt_task_on((int)(nxt_random(&self->random) % 2), accept_one, self->door->listener);
        uint64_t way = nxt_random(&self->random) % 4;
        if (way == 1)
            nx_yield();
        else if (way > 1)
            nx_sleep_until(nx_after_ns((int64_t)(nxt_random(&self->random) % 100000)));
        nx_cancel(task);
        intptr_t result = nxt_result(task);
        if (result == -ECANCELED) {
            self->refused++;
            continue;
        }
        nxt_require(result > 0, 0);
        self->taken++;
        answer(self->door, (nx_stream *)result);
    }
    return 0;
}

static intptr_t accept_and_time_out(void *arg)
{
    struct acceptor *self = arg;
    while (atomic_load(&self->door->left) > 0 && nxt_failures() == 0) {
        nx_stream *stream;
        int error = nx_accept(self->door->listener, &stream, nx_after_ns((int64_t)(nxt_random(&self->random) % 60000)));
        if (error == -ETIMEDOUT) {
            self->refused++;
            continue;
        }
        nxt_require_eq(error, 0, 0);
        self->taken++;
        answer(self->door, stream);
    }
    return 0;
}

static intptr_t accept_until_done(void *arg)
{
    struct acceptor *self = arg;
    nx_stream *stream;
    int error;
    while ((error = nx_accept(self->door->listener, &stream, NX_FOREVER)) == 0) {
        self->taken++;
        answer(self->door, stream);
    }
    self->refused++;
    return error;
}

#define ACCEPTORS 4

/* Four acceptors on two workers, two threads of clients. */
static void run_door(nx_task_fn fn, int count, bool cancel_at_the_end, struct acceptor acceptors[ACCEPTORS])
{
    uint16_t port;
    struct door door = {.listener = listen_here(&port), .total = count, .seen = calloc((size_t)count, 1)};
    struct clients clients[2] = {{.port = port, .count = count / 2},
                                 {.port = port, .first = count / 2, .count = count - count / 2}};
    nx_task tasks[ACCEPTORS];
    nxt_require(door.listener);
    atomic_store(&door.left, count);
    for (int i = 0; i < ACCEPTORS; i++) {
        acceptors[i] = (struct acceptor){.door = &door, .random = (uint64_t)i};
        tasks[i] = nxt_task_on(i % 2, fn, &acceptors[i]);
    }
    for (int i = 0; i < 2; i++)
        clients[i].thread = nxt_thread_start(be_clients, &clients[i]);
    for (int i = 0; i < 2; i++) {
        nxt_thread_await(clients[i].thread);
        nxt_expect_eq(clients[i].lost, 0);
    }
    for (int i = 0; i < ACCEPTORS; i++) {
        if (cancel_at_the_end)
            nx_cancel(tasks[i]);
        nxt_expect_eq(nxt_result(tasks[i]), cancel_at_the_end ? -ECANCELED : 0);
    }
    nxt_expect_eq(atomic_load(&door.left), 0);
    nx_listener_close(door.listener);
    free(door.seen);
}

NXT_TASK_TEST(acceptors_on_several_workers_share_a_listener, .workers = 2)
{
    struct acceptor acceptors[ACCEPTORS];
    run_door(accept_until_done, 400, true, acceptors);
    for (int i = 0; i < ACCEPTORS; i++)
        nxt_expect_gt(acceptors[i].taken, 0);
}

NXT_TASK_TEST(a_cancelled_accept_loses_no_connection, .workers = 2)
{
    struct acceptor acceptors[ACCEPTORS];
    int refused = 0;
    run_door(accept_and_be_cancelled, (int)nxt_scaled(1000, 100), false, acceptors);
    for (int i = 0; i < ACCEPTORS; i++)
        refused += acceptors[i].refused;
    nxt_expect_gt(refused, 0);
}

NXT_TASK_TEST(an_accept_whose_deadline_comes_loses_no_connection, .workers = 2)
{
    struct acceptor acceptors[ACCEPTORS];
    int refused = 0;
    run_door(accept_and_time_out, (int)nxt_scaled(1000, 100), false, acceptors);
    for (int i = 0; i < ACCEPTORS; i++)
        refused += acceptors[i].refused;
    nxt_expect_gt(refused, 0);
}

static intptr_t answer_in_a_task(void *arg)
{
    void **both = arg;
    answer(both[0], both[1]);
    return 0;
}

static intptr_t accept_and_spawn(void *arg)
{
    struct acceptor *self = arg;
    nx_stream *stream;
    int error;
    while ((error = nx_accept(self->door->listener, &stream, NX_FOREVER)) == 0) {
        void *both[2] = {self->door, stream};
        nx_task task = nx_spawn_with(NXT_WITH(.flags = self->taken % 2 ? NX_TASK_SPREAD : 0, .arg_size = sizeof(both)),
                                     answer_in_a_task, both);
        nxt_expect_gt(task, 0);
        nxt_expect_eq(nx_detach(task), 0);
        self->taken++;
    }
    return error;
}

NXT_TASK_TEST(a_plain_server_accepts_in_one_task_and_spawns_the_others, .workers = 2)
{
    struct acceptor acceptors[ACCEPTORS];
    run_door(accept_and_spawn, (int)nxt_scaled(1000, 100), true, acceptors);
}

/* ---- closing ---- */

NXT_TASK_TEST(closing_a_listener_ends_every_accept_on_every_worker, .workers = 3)
{
    for (int64_t round = 0; round < nxt_scaled(200, 20); round++) {
        uint16_t port;
        nx_task tasks[9];
        nx_listener *listener = listen_here(&port);
        nxt_require(listener);
        for (int i = 0; i < 9; i++)
            tasks[i] = nxt_task_on(i % 3, accept_one, listener);
        for (int i = 0; i < 9; i++)
            nxt_await_parked(tasks[i]);
        nx_listener_close(listener);
        for (int i = 0; i < 9; i++)
            nxt_expect_eq(nxt_result(tasks[i]), -EBADF);
    }
}

static intptr_t close_listener(void *arg)
{
    nx_cancel(nx_self());
    return nx_listener_close(arg);
}

NXT_TASK_TEST(a_listener_is_closed_by_a_cancelled_task_on_another_worker, .workers = 3)
{
    for (int i = 0; i < 9; i++) {
        uint16_t port;
        nx_listener *listener = listen_here(&port);
        nxt_require(listener);
        nx_task waiter = nxt_task_on(i % 3, accept_one, listener);
        nxt_await_parked(waiter);
        nxt_expect_eq(nxt_result(nxt_task_on(i / 3, close_listener, listener)), 0);
        nxt_expect_eq(nxt_result(waiter), -EBADF);
    }
}

NXT_TASK_TEST(connections_nobody_accepted_are_closed_with_the_listener, .workers = 2)
{
    enum { CLIENTS = 40 };
    uint16_t port;
    int fds[CLIENTS];
    nx_stream *stream;
    nx_listener *listener = listen_here(&port);
    nxt_require(listener);
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = nxt_connect(port);
        if (i == CLIENTS / 2) { /* the listener accepts ahead from here on: some wait in it, some in the kernel */
            nxt_require_eq(nx_accept(listener, &stream, NX_FOREVER), 0);
            nx_close(stream);
        }
    }
    nx_listener_close(listener);
    for (int i = 0; i < CLIENTS; i++) {
        char byte;
        ssize_t got;
        nxt_expect(nxt_set_nonblock(fds[i]));
        nxt_await((got = nxt_read_all(fds[i], &byte, 1)) != -EAGAIN);
        nxt_expect(got == 0 || got == -ECONNRESET);
        nxt_close_fd(&fds[i]);
    }
}

NXT_TASK_TEST(a_listener_that_is_never_used_or_never_accepts_is_closed, .workers = 2)
{
    uint16_t port;
    nx_listener *listener = listen_here(&port);
    nxt_require(listener);
    int fd = nxt_connect(port);
    nx_listener_close(listener);
    nxt_expect(nxt_set_nonblock(fd));
    ssize_t got;
    nxt_await((got = nxt_read_all(fd, &(char){0}, 1)) != -EAGAIN);
    nxt_expect(got == 0 || got == -ECONNRESET);
    nxt_close_fd(&fd);
}

static intptr_t listen_and_leave(void *arg)
{
    return (intptr_t)listen_here(arg);
}

NXT_TEST(a_listener_nobody_closed_goes_with_its_runtime)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    nxt_require(runtime);
    uint16_t port;
    intptr_t result;
    nxt_expect_eq(nx_block_on(runtime, listen_and_leave, &port, &result), 0);
    nxt_expect(result != 0);
    nxt_stop(runtime); /* the audit sees a descriptor that is left */
}

struct closing {
    nx_listener *listener;
    uint16_t port;
};

static intptr_t connect_once(void *arg)
{
    const struct closing *closing = arg;
    nx_stream *stream;
    char byte;
    int error = nx_connect(nxt_loopback(closing->port), NULL, &stream, NX_FOREVER);
    if (error < 0)
        return error;
    /* Linux may forget a connection whose last packet of the handshake meets the close, and tells only who sends. */
    ssize_t got = nx_write(stream, "?", 1, NX_FOREVER);
    if (got == 1)
        got = nx_read(stream, &byte, 1, NX_FOREVER);
    nx_close(stream);
    return got;
}

NXT_TASK_TEST(a_connection_that_comes_with_the_close_is_taken_or_told, .workers = 2)
{
    for (int64_t i = 0; i < nxt_scaled(500, 50); i++) {
        struct closing closing;
        closing.listener = listen_here(&closing.port);
        nxt_require(closing.listener);
        nx_task waiter = nxt_task_on((int)(i % 2), accept_one, closing.listener);
        nxt_await_parked(waiter);
        nx_task client = nxt_task_on((int)(i / 2 % 2), connect_once, &closing);
        if (i % 3)
            nx_yield();
        nx_listener_close(closing.listener);
        intptr_t result = nxt_result(waiter);
        nxt_expect(result == -EBADF || result > 0);
        if (result > 0)
            nx_close((nx_stream *)result);
        intptr_t seen = nxt_result(client);
        nxt_expect(seen == 0 || seen == -ECONNRESET || seen == -EPIPE || seen == -ECONNREFUSED);
    }
}

NXT_TASK_TEST(a_scope_whose_deadline_has_passed_lets_an_accept_try_once)
{
    char text[64];
    nx_stream *client, *server;
    nx_scope *scope;
    nx_listener *listener = nxt_listen_on("127.0.0.1:0", text, sizeof(text));
    nxt_require(listener != NULL);
    nxt_require_eq(nx_connect(text, NULL, &client, NX_FOREVER), 0);
    const nx_scope_options options = {.size = sizeof(options), .timeout_ns = 1};
    nxt_require_eq(nx_scope_open(&options, &scope), 0);
    nxt_await(nx_sleep_ms(1) == -ETIMEDOUT);
    if (nxt_expect_eq(nx_accept(listener, &server, NX_FOREVER), 0))
        nx_close(server);
    nxt_expect_eq(nx_accept(listener, &server, NX_FOREVER), -ETIMEDOUT);
    nx_scope_close(scope, NX_FOREVER);
    nx_close(client);
    nx_listener_close(listener);
}

/* ---- closed elsewhere just as the accept in flight ends by itself, for want of descriptors ---- */

struct closer {
    nx_listener *listener;
    atomic_bool closed;
};

static intptr_t close_at_once(void *arg)
{
    struct closer *closer = arg;
    int error = nx_listener_close(closer->listener);
    atomic_store(&closer->closed, true);
    return error;
}

static intptr_t accept_and_close(void *arg)
{
    nx_stream *stream;
    int error = nx_accept(arg, &stream, NX_FOREVER);
    if (error == 0)
        nx_close(stream);
    return error;
}

static intptr_t close_as_the_accept_ends(void *arg)
{
    char text[64];
    nx_addr addr;
    nx_stream *none;
    (void)arg;
    struct closer closer = {.listener = nxt_listen_on("127.0.0.1:0", text, sizeof(text))};
    nx_listener *other = nxt_listen_on("127.0.0.1:0", text, sizeof(text));
    nxt_require(closer.listener && other, 1);
    nxt_expect_eq(nx_listener_addr(closer.listener, &addr), 0);
    nx_task one = nxt_task_on(0, accept_and_close, closer.listener), two = nxt_task_on(0, accept_and_close, other);
    nxt_await_parked(one);
    nxt_await_parked(two);
    int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct rlimit low = {.rlim_cur = 128, .rlim_max = 128};
    nxt_require_eq(setrlimit(RLIMIT_NOFILE, &low), 0, 1);
    while (open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0)
        ;
    nx_task closes = nxt_task_on(1, close_at_once, &closer);
    while (!atomic_load(&closer.closed))
        ; /* this worker, the listener's home, has yet to hear of it */
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(addr.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    nxt_expect_eq(connect(client, (const struct sockaddr *)&to, sizeof(to)), 0);
    for (int i = 0; i < 20; i++) /* looks at what has completed */
        nxt_expect_lt(nx_accept(other, &none, NX_POLL), 0);
    intptr_t result = nxt_result(one);
    nxt_expect(result == -EBADF || result == 0);
    nx_cancel(two);
    nxt_expect_eq(nxt_result(two), -ECANCELED);
    nxt_expect_eq(nxt_result(closes), 0);
    nx_listener_close(other);
    return 0;
}

static intptr_t on_the_first_worker(void *arg)
{
    return nxt_result(nxt_task_on(0, close_as_the_accept_ends, arg));
}

NXT_CHILD(run_close_as_the_accept_ends)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    if (runtime)
        nx_block_on(runtime, on_the_first_worker, NULL, NULL);
    nx_runtime_destroy(runtime);
    return 0;
}

NXT_TEST(a_listener_closed_elsewhere_as_its_accept_ends_is_closed_once)
{
    static struct nxt_output output;
    nxt_run_child_named("run_close_as_the_accept_ends", NULL, &output);
    if (!nxt_expect_eq(output.status, 0))
        nxt_show_output(&output);
}
