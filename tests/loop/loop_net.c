/*
 * loop_net.c: the network of the loop driver, as tasks see it: what TCP, Unix sockets and UDP would do, with both ends
 * in this process. Run in the loop cells only.
 */
#include "nxt_net.h"
#include <stdlib.h>
#include <string.h>

#define WINDOW 65536 /* the parameter's default */
#define SOON nx_after_ms(20)

struct pair {
    nx_listener *listener;
    char where[64];
    nx_stream *client, *server;
};

static bool pair_open(struct pair *pair, const char *addr)
{
    pair->listener = nxt_listen_on(addr, pair->where, sizeof(pair->where));
    return nxt_expect(pair->listener) && nxt_expect_eq(nx_connect(pair->where, NULL, &pair->client, NX_FOREVER), 0) &&
           nxt_expect_eq(nx_accept(pair->listener, &pair->server, NX_FOREVER), 0);
}

static void pair_close(struct pair *pair)
{
    nx_close(pair->client);
    nx_close(pair->server);
    nx_listener_close(pair->listener);
}

/* ---- bytes ---- */

NXT_TASK_TEST(bytes_come_in_order_and_an_end_after_shutdown)
{
    struct pair pair;
    char text[16] = "";
    nxt_require(pair_open(&pair, "127.0.0.1:0"));
    nxt_expect_eq(nx_write(pair.client, "question", 8, NX_FOREVER), 8);
    nxt_expect_eq(nx_shutdown(pair.client, NX_SHUT_WRITE), 0);
    nxt_expect_eq(nx_read_exact(pair.server, text, sizeof(text), NX_FOREVER), 8);
    nxt_expect_str(text, "question");
    nxt_expect_eq(nx_read(pair.server, text, sizeof(text), NX_FOREVER), 0);
    nxt_expect_eq(nx_write(pair.server, "answer", 6, NX_FOREVER), 6);
    nxt_expect_eq(nx_read_exact(pair.client, text, 6, NX_FOREVER), 6);
    nxt_expect_mem(text, "answer", 6);
    nxt_expect_eq(nx_write(pair.client, "more", 4, NX_FOREVER), -EPIPE);
    pair_close(&pair);
}

NXT_TASK_TEST(a_window_bounds_what_is_under_way)
{
    struct pair pair;
    char *data = malloc(4 * WINDOW);
    nxt_require(data && pair_open(&pair, "127.0.0.1:0"));
    nxt_fill(data, 4 * WINDOW, 0, 1);
    nxt_expect_eq(nx_write(pair.client, data, 4 * WINDOW, SOON), WINDOW);
    nxt_expect_eq(nx_write(pair.client, data, 1, SOON), -ETIMEDOUT);
    nxt_expect_eq(nx_write(pair.client, data, 1, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_read_exact(pair.server, data, 1000, NX_FOREVER), 1000);
    nxt_expect_eq(nx_write(pair.client, data, 4 * WINDOW, SOON), 1000);
    pair_close(&pair);
    free(data);
}

static intptr_t write_much(void *arg)
{
    char *data = malloc(2 * WINDOW);
    nxt_require(data, -1);
    memset(data, 'w', 2 * WINDOW);
    ssize_t result = nx_write(arg, data, 2 * WINDOW, NX_FOREVER);
    free(data);
    return result;
}

NXT_TASK_TEST(a_loan_keeps_the_window_shut_until_it_is_returned, .workers = 2)
{
    struct pair pair;
    nx_loan loans[64];
    size_t count = 0, sum = 0;
    nxt_require(pair_open(&pair, "127.0.0.1:0"));
    nx_task writer = nxt_task_on(1, write_much, pair.client);
    while (sum < WINDOW && count < NXT_COUNT(loans)) {
        nxt_require(nx_read_loan(pair.server, &loans[count], NX_FOREVER) > 0);
        sum += loans[count++].len;
    }
    nxt_expect_eq(sum, WINDOW);
    nxt_expect_eq(nx_read_loan(pair.server, &loans[0], SOON), -ETIMEDOUT);
    nxt_expect_eq(nx_join(writer, NULL, NX_POLL), -EAGAIN);
    for (size_t i = count; i-- > 0;) {
        nxt_expect(((const char *)loans[i].data)[0] == 'w');
        nx_loan_return(&loans[i]);
    }
    for (ssize_t got; sum < 2 * WINDOW; sum += (size_t)got) {
        got = nx_read_loan(pair.server, &loans[0], NX_FOREVER);
        nxt_require(got > 0);
        nx_loan_return(&loans[0]);
    }
    nxt_expect_eq(nxt_result(writer), 2 * WINDOW);
    pair_close(&pair);
}

static intptr_t borrow_and_return(void *arg)
{
    struct pair *pair = arg;
    nx_loan loan;
    nxt_require_eq(nx_read_loan(pair->server, &loan, NX_FOREVER), 3, -1);
    nx_close(pair->server);
    nx_close(pair->client);
    nxt_expect_mem(loan.data, "abc", 3);
    nx_loan_return(&loan);
    return 0;
}

NXT_TASK_TEST(a_loan_outlives_its_stream_and_is_returned_from_any_worker, .workers = 2)
{
    for (int worker = 0; worker < 2; worker++) {
        struct pair pair;
        nxt_require(pair_open(&pair, "127.0.0.1:0"));
        nxt_expect_eq(nx_write(pair.client, "abc", 3, NX_FOREVER), 3);
        nxt_expect_eq(nxt_result(nxt_task_on(worker, borrow_and_return, &pair)), 0);
        nx_listener_close(pair.listener);
    }
}

/* ---- the end ---- */

NXT_TASK_TEST(closing_with_bytes_unread_resets)
{
    struct pair pair;
    char byte;
    nxt_require(pair_open(&pair, "127.0.0.1:0"));
    nxt_expect_eq(nx_write(pair.client, "unread", 6, NX_FOREVER), 6);
    nxt_expect_eq(nx_write(pair.server, "!", 1, NX_FOREVER), 1);
    nx_close(pair.server);
    nxt_expect_eq(nx_read(pair.client, &byte, 1, NX_FOREVER), 1);
    nxt_expect_eq(nx_read(pair.client, &byte, 1, NX_FOREVER), -ECONNRESET);
    nxt_expect_eq(nx_read(pair.client, &byte, 1, NX_FOREVER), 0);
    nxt_expect_eq(nx_write(pair.client, "x", 1, NX_FOREVER), -EPIPE);
    nx_close(pair.client);
    nx_listener_close(pair.listener);
}

static intptr_t read_one(void *arg)
{
    char byte;
    return nx_read(arg, &byte, 1, NX_FOREVER);
}

NXT_TASK_TEST(a_close_ends_the_reads_of_both_ends, .workers = 2)
{
    struct pair pair;
    nxt_require(pair_open(&pair, "127.0.0.1:0"));
    nx_task here = nxt_task_on(0, read_one, pair.server), there = nxt_task_on(1, read_one, pair.server);
    nx_task peer = nxt_task_on(1, read_one, pair.client);
    nxt_await_parked(here);
    nxt_await_parked(there);
    nxt_await_parked(peer);
    nx_close(pair.server);
    nxt_expect_eq(nxt_result(here), -EBADF);
    nxt_expect_eq(nxt_result(there), -EBADF);
    nxt_expect_eq(nxt_result(peer), 0);
    nx_close(pair.client);
    nx_listener_close(pair.listener);
}

/* ---- connecting ---- */

NXT_TASK_TEST(nobody_there_refuses)
{
    nx_stream *stream;
    char where[64];
    nx_listener *listener = nxt_listen_on("127.0.0.1:0", where, sizeof(where));
    nxt_require(listener);
    nx_listener_close(listener);
    nxt_expect_eq(nx_connect(where, NULL, &stream, NX_FOREVER), -ECONNREFUSED);
    nxt_expect_eq(nx_connect("unix:/nowhere/at/all", NULL, &stream, NX_FOREVER), -ENOENT);
}

NXT_TASK_TEST(addresses_are_given_once_and_come_free)
{
    char one[64], other[64];
    nx_listener *first = nxt_listen_on("127.0.0.1:0", one, sizeof(one)), *second, *none;
    nxt_require(first);
    second = nxt_listen_on("127.0.0.1:0", other, sizeof(other));
    nxt_require(second);
    nxt_expect(strcmp(one, other) != 0);
    nxt_expect_eq(nx_listen(one, NULL, &none), -EADDRINUSE);
    nx_listener_close(first);
    nxt_expect_eq(nx_listen(one, NULL, &first), 0);
    nx_listener_close(first);
    nx_listener_close(second);
}

NXT_TASK_TEST(an_address_for_all_takes_what_is_sent_to_one)
{
    static const char *const addrs[][2] = {
        {"0.0.0.0:7001", "10.1.2.3:7001"}, {"[::]:7002", "[fd00::1]:7002"}, {"[::]:7003", "127.0.0.1:7003"}};
    for (size_t i = 0; i < NXT_COUNT(addrs); i++) {
        nx_listener *listener;
        nx_stream *client, *server;
        nx_addr peer;
        char text[64];
        nxt_require_eq(nx_listen(addrs[i][0], NULL, &listener), 0);
        nxt_require_eq(nx_connect(addrs[i][1], NULL, &client, NX_FOREVER), 0);
        nxt_require_eq(nx_accept(listener, &server, NX_FOREVER), 0);
        nxt_expect_eq(nx_stream_peer(client, &peer), 0);
        nx_addr_format(&peer, text, sizeof(text));
        nxt_expect_str(text, addrs[i][1]);
        nxt_expect_eq(nx_stream_fd(client), -ENOTSUP);
        nx_close(client);
        nx_close(server);
        nx_listener_close(listener);
    }
}

NXT_TASK_TEST(paths_are_names_and_no_files)
{
    struct pair pair;
    nxt_require(pair_open(&pair, "unix:/nowhere/socket"));
    nx_listener *none;
    nxt_expect_eq(nx_listen("unix:/nowhere/socket", NULL, &none), -EADDRINUSE);
    nxt_expect_eq(nx_write(pair.client, "x", 1, NX_FOREVER), 1);
    nxt_expect_eq(read_one(pair.server), 1);
    pair_close(&pair);
}

static intptr_t connect_to(void *arg)
{
    nx_stream *stream;
    int error = nx_connect(arg, NULL, &stream, NX_FOREVER);
    if (error == 0)
        nx_close(stream);
    return error;
}

NXT_TASK_TEST(a_full_backlog_lets_connects_wait, .workers = 2)
{
    nx_listen_options options = {.size = sizeof(options), .backlog = 2};
    nx_listener *listener;
    nx_stream *stream;
    char where[] = "127.0.0.1:7010";
    nx_task clients[4];
    nxt_require_eq(nx_listen(where, &options, &listener), 0);
    for (int i = 0; i < 2; i++)
        nxt_require_eq(nxt_result(nxt_task_on(i, connect_to, where)), 0);
    nxt_expect_eq(nx_connect(where, NULL, &stream, SOON), -ETIMEDOUT);
    for (int i = 0; i < 4; i++) {
        clients[i] = nxt_task_on(i % 2, connect_to, where);
        nxt_await_parked(clients[i]);
    }
    for (int i = 0; i < 4; i++) { /* the two that are there, and room for two more */
        nxt_require_eq(nx_accept(listener, &stream, NX_FOREVER), 0);
        nx_close(stream);
    }
    int done = 0;
    nx_listener_close(listener);
    for (int i = 0; i < 4; i++) {
        intptr_t result = nxt_result(clients[i]);
        nxt_expect(result == 0 || result == -ECONNREFUSED);
        done += result == 0;
    }
    nxt_expect_ge(done, 2);
}

/* ---- cancels ---- */

NXT_TASK_TEST(a_cancelled_read_loses_no_byte, .workers = 2)
{
    struct pair pair;
    nxt_require(pair_open(&pair, "127.0.0.1:0"));
    int64_t got = 0, sent = 0;
    for (int64_t i = 0; i < nxt_scaled(2000, 300); i++) {
        nx_task reader = nxt_task_on((int)i % 2, read_one, pair.server);
        if (i % 3)
            nxt_await_parked(reader);
        sent += nx_write(pair.client, "x", 1, NX_FOREVER);
        nx_cancel(reader);
        intptr_t result = nxt_result(reader);
        nxt_expect(result == 1 || result == -ECANCELED);
        got += result == 1;
    }
    nx_shutdown(pair.client, NX_SHUT_WRITE);
    while (read_one(pair.server) == 1)
        got++;
    nxt_expect_eq(got, sent);
    pair_close(&pair);
}

/* ---- much of it, on two workers ---- */

struct flow {
    const char *where;
    uint32_t seed;
    size_t len;
};

static intptr_t echo(nx_stream *stream, void *arg)
{
    (void)arg;
    char data[3000];
    ssize_t got;
    while ((got = nx_read(stream, data, sizeof(data), NX_FOREVER)) > 0)
        if (nx_write(stream, data, (size_t)got, NX_FOREVER) != got)
            return -1;
    return got;
}

static intptr_t send_all(void *arg)
{
    struct nxt_stream_flow *flow = arg;
    intptr_t sent = nxt_stream_send(flow);
    nx_shutdown(flow->stream, NX_SHUT_WRITE);
    return sent;
}

static intptr_t client(void *arg)
{
    const struct flow *flow = arg;
    nx_stream *stream;
    nxt_require_eq(nx_connect(flow->where, NULL, &stream, NX_FOREVER), 0, -1);
    struct nxt_stream_flow out = {stream, {.len = flow->len, .seed = flow->seed, .chunk = 5000}};
    struct nxt_stream_flow in = {stream, {.seed = flow->seed, .chunk = 7000}};
    nx_task sender = nx_spawn(send_all, &out);
    nxt_expect_eq(nxt_stream_receive(&in), flow->len);
    nxt_expect_eq(nxt_result(sender), flow->len);
    nx_close(stream);
    return 0;
}

NXT_TASK_TEST(many_connections_of_two_workers_mix_nothing_up, .workers = 2)
{
    struct nxt_server server;
    nx_task clients[40];
    struct flow flows[40];
    nxt_server_start(&server, echo);
    for (uint32_t i = 0; i < NXT_COUNT(clients); i++) {
        flows[i] = (struct flow){server.where, i, (size_t)nxt_scaled(200000, 20000)};
        clients[i] = nxt_task_on((int)i % 2, client, &flows[i]);
    }
    for (uint32_t i = 0; i < NXT_COUNT(clients); i++)
        nxt_expect_eq(nxt_result(clients[i]), 0);
    nxt_server_stop(&server);
}

/* ---- datagrams ---- */

NXT_TASK_TEST(datagrams_come_whole_from_whom_they_say, .workers = 2)
{
    nx_udp *one, *other;
    nx_addr here, from;
    char data[8] = "";
    nxt_require_eq(nx_udp_bind("127.0.0.1:0", NULL, &one), 0);
    nxt_require_eq(nx_udp_bind("0.0.0.0:0", NULL, &other), 0);
    nxt_expect_eq(nx_udp_addr(one, &here), 0);
    nxt_expect_eq(nx_udp_send(other, "four", 4, &here, NX_FOREVER), 4);
    nxt_expect_eq(nx_udp_send(other, "", 0, &here, NX_FOREVER), 0);
    nxt_expect_eq(nx_udp_send(other, "too long", 8, &here, NX_FOREVER), 8);
    nxt_expect_eq(nx_udp_recv(one, data, sizeof(data), &from, NX_FOREVER), 4);
    nxt_expect_mem(data, "four", 4);
    nxt_expect_eq(nx_udp_recv(one, data, sizeof(data), NULL, NX_FOREVER), 0);
    nxt_expect_eq(nx_udp_recv(one, data, 3, NULL, NX_FOREVER), 8);
    nxt_expect_eq(nx_udp_recv(one, data, sizeof(data), NULL, SOON), -ETIMEDOUT);
    nxt_expect_eq(nx_udp_connect(one, &from), 0);
    nxt_expect_eq(nx_udp_send(one, "back", 4, NULL, NX_FOREVER), 4);
    nxt_expect_eq(nx_udp_recv(other, data, sizeof(data), &from, NX_FOREVER), 4);
    nxt_expect_eq(from.port, here.port);
    nx_udp_close(other);
    nxt_expect_eq(nx_udp_send(one, "lost", 4, NULL, NX_FOREVER), 4);
    nxt_await(nx_udp_recv(one, data, sizeof(data), NULL, NX_POLL) == -ECONNREFUSED);
    nxt_expect_eq(nx_udp_join(one, &here, 0), -ENOTSUP);
    nx_udp_close(one);
}

static intptr_t receive(void *arg)
{
    char data[8];
    return nx_udp_recv(arg, data, sizeof(data), NULL, NX_FOREVER);
}

NXT_TASK_TEST(who_waits_to_receive_is_told_that_nobody_is_there)
{
    nx_udp *one, *gone;
    nx_addr there;
    nxt_require_eq(nx_udp_bind("127.0.0.1:0", NULL, &one), 0);
    nxt_require_eq(nx_udp_bind("127.0.0.1:0", NULL, &gone), 0);
    nxt_expect_eq(nx_udp_addr(gone, &there), 0);
    nxt_expect_eq(nx_udp_connect(one, &there), 0);
    nx_udp_close(gone);
    nx_task receiver = nx_spawn(receive, one);
    nxt_await_parked(receiver);
    nxt_expect_eq(nx_udp_send(one, "lost", 4, NULL, NX_FOREVER), 4);
    nx_time until = nx_after_ms(2000);
    intptr_t result = 0;
    if (!nxt_expect_eq(nx_join(receiver, &result, until), 0))
        nx_cancel(receiver);
    nxt_expect_eq(result, -ECONNREFUSED);
    nx_udp_close(one);
}
