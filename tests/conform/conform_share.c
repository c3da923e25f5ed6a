/* conform_share.c: streams that several workers use: at once, one after the other, in tasks that were stolen. */
#include "nxt_net.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- both directions at once, each end on two workers ---- */

static void full_duplex(nx_stream *one, nx_stream *other, const int workers[4], size_t len)
{
    struct nxt_stream_flow flows[4] = {
        {one, {.len = len, .seed = 1, .chunk = 5000}},
        {other, {.seed = 1, .chunk = 3000}},
        {other, {.len = len, .seed = 2, .chunk = 4000}},
        {one, {.seed = 2, .chunk = 7000}},
    };
    nx_task tasks[4];
    for (int i = 0; i < 4; i++)
        tasks[i] = nxt_task_on(workers[i], i % 2 ? nxt_stream_receive : nxt_stream_send, &flows[i]);
    nxt_expect_eq(nxt_result(tasks[0]), len);
    nxt_expect_eq(nx_shutdown(one, NX_SHUT_WRITE), 0);
    nxt_expect_eq(nxt_result(tasks[2]), len);
    nxt_expect_eq(nx_shutdown(other, NX_SHUT_WRITE), 0);
    nxt_expect_eq(nxt_result(tasks[1]), len);
    nxt_expect_eq(nxt_result(tasks[3]), len);
}

NXT_TASK_TEST(both_directions_of_a_stream_may_be_used_on_any_workers, .workers = 3)
{
    static const int ways[][4] = {{0, 0, 0, 0}, {0, 1, 0, 1}, {0, 1, 1, 0}, {0, 0, 1, 1}, {0, 1, 2, 1}, {2, 1, 0, 2}};
    for (size_t i = 0; i < NXT_COUNT(ways); i++) {
        nx_stream *pair[2];
        nxt_require(nxt_stream_pair(pair));
        if (i % 2)
            nxt_small_buffers(nx_stream_fd(pair[0]));
        full_duplex(pair[0], pair[1], ways[i], (size_t)nxt_scaled(1000000, 100000));
        nx_close(pair[0]);
        nx_close(pair[1]);
    }
}

static intptr_t read_with_deadlines(void *arg)
{
    uint64_t random = (uint64_t)(uintptr_t)arg;
    for (int i = 0; i < 20; i++) {
        char byte;
        ssize_t got = nx_read(arg, &byte, 1, nx_after_ns((int64_t)(nxt_random(&random) % 200000)));
        if (got != -ETIMEDOUT)
            return got;
    }
    return -ETIMEDOUT;
}

static intptr_t read_one(void *arg)
{
    char byte;
    return nx_read(arg, &byte, 1, NX_FOREVER);
}

NXT_TASK_TEST(deadlines_and_cancels_of_readers_on_two_workers_hit_only_them, .workers = 2)
{
    for (int64_t i = 0; i < nxt_scaled(100, 10); i++) {
        int peer;
        nx_stream *stream = nxt_unix_stream(&peer);
        nxt_require(stream);
        nx_task brief[2], lasting[2];
        for (int worker = 0; worker < 2; worker++) {
            lasting[worker] = nxt_task_on(worker, read_one, stream);
            brief[worker] = nxt_task_on(worker, read_with_deadlines, stream);
        }
        nxt_expect_eq(nxt_result(brief[0]), -ETIMEDOUT);
        nxt_expect_eq(nxt_result(brief[1]), -ETIMEDOUT);
        nx_cancel(lasting[i % 2]);
        nxt_expect_eq(nxt_result(lasting[i % 2]), -ECANCELED);
        nxt_expect_eq(nx_join(lasting[1 - i % 2], NULL, NX_POLL), -EAGAIN);
        nxt_expect(nxt_write_all(peer, "x", 1));
        nxt_expect_eq(nxt_result(lasting[1 - i % 2]), 1);
        nxt_close_fd(&peer);
        nx_close(stream);
    }
}

/* ---- moving ---- */

struct hop {
    nx_stream *stream;
    int64_t number;
};

static intptr_t echo_once(void *arg)
{
    struct hop *hop = arg;
    int64_t number = -1;
    nxt_expect_eq(nx_read_exact(hop->stream, &number, sizeof(number), NX_FOREVER), sizeof(number));
    nxt_expect_eq(number, hop->number);
    nxt_expect_eq(nx_write(hop->stream, &number, sizeof(number), NX_FOREVER), sizeof(number));
    return 0;
}

static void hop_about(nx_stream *stream, int peer, const nx_task_options *options, int64_t rounds)
{
    for (int64_t i = 0; i < rounds && nxt_failures() == 0; i++) {
        struct hop hop = {stream, i};
        int64_t back = -1;
        nx_task task = options ? nx_spawn_with(options, echo_once, &hop) : nxt_task_on((int)(i % 3), echo_once, &hop);
        if (i % 2)
            nxt_await_parked(task);
        nxt_expect(nxt_write_all(peer, &i, sizeof(i)));
        nxt_result(task);
        nxt_expect_eq(nxt_read_all(peer, &back, sizeof(back)), sizeof(back));
        nxt_expect_eq(back, i);
    }
}

NXT_TASK_TEST(a_stream_moves_from_worker_to_worker, .workers = 3)
{
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    hop_about(stream, peer, NULL, nxt_scaled(3000, 100));
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(a_stream_is_handed_to_tasks_that_start_anywhere, .workers = 3)
{
    int peer;
    nx_stream *stream = nxt_tcp_stream(&peer);
    nxt_require(stream);
    hop_about(stream, peer, NXT_WITH(.flags = NX_TASK_SPREAD), nxt_scaled(1000, 100));
    hop_about(stream, peer, NXT_WITH(.flags = NX_TASK_MIGRATABLE), nxt_scaled(1000, 100));
    nxt_close_fd(&peer);
    nx_close(stream);
}

#define PAIRS 32

static intptr_t echo_until_end(void *arg)
{
    char buffer[256];
    ssize_t got;
    while ((got = nx_read(arg, buffer, sizeof(buffer), NX_FOREVER)) > 0)
        nxt_expect_eq(nx_write(arg, buffer, (size_t)got, NX_FOREVER), got);
    nx_close(arg);
    return got;
}

static intptr_t ask_often(void *arg)
{
    for (int64_t i = 0; i < nxt_scaled(200, 20); i++) {
        int64_t back = -1;
        nxt_expect_eq(nx_write(arg, &i, sizeof(i), NX_FOREVER), sizeof(i));
        nxt_require_eq(nx_read_exact(arg, &back, sizeof(back), NX_FOREVER), sizeof(back), 0);
        nxt_require_eq(back, i, 0);
        if (i % 16 == 0)
            nxt_burn(20000); /* so that others are taken away meanwhile */
    }
    nx_close(arg);
    return 0;
}

NXT_TASK_TEST(tasks_that_may_be_stolen_or_moved_keep_their_streams, .workers = 3)
{
    nx_task tasks[2 * PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        nx_stream *pair[2];
        nxt_require(nxt_stream_pair(pair));
        const nx_task_options *options = NXT_WITH(.flags = i % 2 ? NX_TASK_MIGRATABLE : 0);
        tasks[2 * i] = nx_spawn_with(options, echo_until_end, pair[0]);
        tasks[2 * i + 1] = nx_spawn_with(options, ask_often, pair[1]);
    }
    for (int i = 0; i < 2 * PAIRS; i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
}

/* ---- not waiting, from another worker ---- */

static intptr_t poll_byte(void *arg)
{
    char byte = 0;
    ssize_t got;
    nxt_await((got = nx_read(arg, &byte, 1, NX_POLL)) != -EAGAIN);
    return got == 1 ? byte : got;
}

static intptr_t poll_empty(void *arg)
{
    return nx_read(arg, &(char){0}, 1, NX_POLL);
}

static intptr_t late_byte(void *arg)
{
    char byte = 0;
    ssize_t got;
    nxt_await((got = nx_read(arg, &byte, 1, 1)) != -ETIMEDOUT);
    return got == 1 ? byte : got;
}

static intptr_t poll_write(void *arg)
{
    ssize_t sent;
    nxt_await((sent = nx_write(arg, "x", 1, NX_POLL)) != -EAGAIN);
    return sent;
}

NXT_TASK_TEST(polling_a_stream_of_another_worker_says_again_and_gets_there, .workers = 2)
{
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    for (int owner = 0; owner < 2; owner++) {
        nxt_expect_eq(nxt_result(nxt_task_on(owner, poll_write, stream)), 1); /* now it is that worker's */
        nxt_expect_eq(nxt_result(nxt_task_on(1 - owner, poll_empty, stream)), -EAGAIN);
        nxt_expect_eq(nxt_result(nxt_task_on(owner, poll_write, stream)), 1);
        nxt_expect(nxt_write_all(peer, "a", 1));
        nxt_expect_eq(nxt_result(nxt_task_on(1 - owner, poll_byte, stream)), 'a');
        nxt_expect_eq(nxt_result(nxt_task_on(owner, poll_write, stream)), 1);
        nxt_expect(nxt_write_all(peer, "b", 1));
        nxt_expect_eq(nxt_result(nxt_task_on(1 - owner, late_byte, stream)), 'b');
    }
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(polling_a_stream_on_which_another_worker_waits_gets_there, .workers = 2)
{
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    for (int owner = 0; owner < 2; owner++) {
        nx_task reader = nxt_task_on(owner, read_one, stream);
        nxt_await_parked(reader);
        nxt_expect_eq(nxt_result(nxt_task_on(1 - owner, poll_write, stream)), 1); /* while the read is in flight */
        nxt_expect_eq(nxt_result(nxt_task_on(1 - owner, poll_empty, stream)), -EAGAIN);
        nxt_expect(nxt_write_all(peer, "c", 1));
        nxt_expect_eq(nxt_result(reader), 1);
    }
    nxt_close_fd(&peer);
    nx_close(stream);
}

/* ---- deadlines, elsewhere ---- */

static atomic_int busy;

static intptr_t hold_worker(void *arg)
{
    (void)arg;
    atomic_store(&busy, 1);
    while (atomic_load(&busy) == 1) /* until the other's deadline has passed */
        nxt_burn(1000);
    return 0;
}

static intptr_t write_too_late(void *arg)
{
    nx_scope *scope;
    nxt_require_eq(nx_scope_open(&(nx_scope_options){.size = sizeof(nx_scope_options), .timeout_ns = 1}, &scope), 0, 0);
    nxt_burn(1000);
    nxt_expect_eq(nx_write(arg, "x", 1, NX_FOREVER), 1);
    nxt_expect_eq(nx_write(arg, "x", 1, nx_now()), 1);
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), 0); /* no child was cut */
    return 0;
}

static intptr_t let_go(void *arg)
{
    nx_time until = *(nx_time *)arg;
    while (nxt_clock() <= until + 1000000)
        nxt_burn(10000);
    atomic_store(&busy, 2);
    return 0;
}

static intptr_t write_in_time(void *arg)
{
    nxt_await(atomic_load(&busy) == 1);
    nx_time deadline = nx_after_ms(5);
    struct nxt_thread *thread = nxt_thread_start(let_go, &deadline);
    ssize_t sent = nx_write(arg, "x", 1, deadline);
    nxt_thread_await(thread);
    return sent;
}

NXT_TASK_TEST(a_deadline_that_has_passed_tries_once_on_another_worker_too, .workers = 3)
{
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nx_task reader = nxt_task_on(1, read_one, stream);
    nxt_await_parked(reader); /* its worker keeps the stream */
    nxt_result(nxt_task_on(2, write_too_late, stream));
    nx_task writer = nxt_task_on(2, write_in_time, stream), holder = nxt_task_on(1, hold_worker, NULL);
    nxt_expect_eq(nxt_result(writer), 1);
    nxt_result(holder);
    atomic_store(&busy, 0);
    nxt_expect(nxt_write_all(peer, "c", 1));
    nxt_expect_eq(nxt_result(reader), 1);
    nxt_close_fd(&peer);
    nx_close(stream);
}

static intptr_t read_impatiently(void *arg)
{
    int64_t timeouts = 0;
    char byte;
    ssize_t got;
    while ((got = nx_read(arg, &byte, 1, nx_after_ns(1000 + timeouts % 32 * 1000))) != 0) {
        nxt_require(got == 1 || got == -ETIMEDOUT, 0);
        timeouts += got < 0;
        if (timeouts % 8 == 0)
            nxt_burn(5000);
    }
    nx_close(arg);
    return timeouts;
}

static intptr_t write_now_and_then(void *arg)
{
    for (int64_t i = 0; i < nxt_scaled(300, 30); i++) {
        nxt_expect_eq(nx_write(arg, "x", 1, NX_FOREVER), 1);
        nx_sleep_until(nx_after_ns(i % 10 ? i % 16 * 20000 : 2000000)); /* at times for long: on a busy machine, too */
    }
    nx_close(arg);
    return 0;
}

NXT_TASK_TEST(deadlines_of_tasks_that_move_stay_with_the_right_worker, .workers = 3)
{
    nx_task tasks[2 * 6];
    for (size_t i = 0; i < NXT_COUNT(tasks) / 2; i++) {
        nx_stream *pair[2];
        nxt_require(nxt_stream_pair(pair));
        tasks[2 * i] = nx_spawn_with(NXT_WITH(.flags = NX_TASK_MIGRATABLE), read_impatiently, pair[0]);
        tasks[2 * i + 1] = nx_spawn_with(NXT_WITH(.flags = NX_TASK_MIGRATABLE), write_now_and_then, pair[1]);
    }
    int64_t timeouts = 0;
    for (size_t i = 0; i < NXT_COUNT(tasks) / 2; i++) {
        timeouts += nxt_result(tasks[2 * i]);
        nxt_result(tasks[2 * i + 1]);
    }
    nxt_expect_gt(timeouts, 0);
}

/* ---- runtimes ---- */

static intptr_t use_foreign(void *arg)
{
    char byte = 0;
    nxt_expect_eq(nx_read(arg, &byte, 1, NX_FOREVER), -EXDEV);
    nxt_expect_eq(nx_read_exact(arg, &byte, 1, NX_FOREVER), -EXDEV);
    nxt_expect_eq(nx_write(arg, &byte, 1, NX_FOREVER), -EXDEV);
    nxt_expect_eq(nx_writev(arg, &(struct iovec){&byte, 1}, 1, NX_FOREVER), -EXDEV);
    nxt_expect_eq(nx_shutdown(arg, NX_SHUT_BOTH), -EXDEV);
    nxt_expect_eq(nx_close(arg), -EXDEV);
    return 0;
}

static intptr_t accept_foreign(void *arg)
{
    nx_stream *stream;
    nxt_expect_eq(nx_accept(arg, &stream, NX_FOREVER), -EXDEV);
    nxt_expect_eq(nx_listener_close(arg), -EXDEV);
    return 0;
}

NXT_TASK_TEST(a_stream_or_listener_of_another_runtime_is_refused_and_unharmed, .workers = 2)
{
    char text[64];
    nx_stream *pair[2];
    nx_runtime *other = nxt_start(NXT_OPTIONS(.workers = 1));
    nx_listener *listener = nxt_listen_on("127.0.0.1:0", text, sizeof(text));
    nxt_require(other && listener && nxt_stream_pair(pair));
    nxt_result(nx_spawn_on(other, NULL, use_foreign, pair[0]));
    nxt_result(nx_spawn_on(other, NULL, accept_foreign, listener));
    nxt_expect_eq(nx_write(pair[0], "x", 1, NX_FOREVER), 1);
    nxt_expect_eq(read_one(pair[1]), 1);
    nx_close(pair[0]);
    nx_close(pair[1]);
    nx_listener_close(listener);
    nxt_stop(other);
}

static intptr_t connect_and_ask(void *arg)
{
    nx_stream *stream;
    nxt_require_eq(nx_connect(arg, NULL, &stream, NX_FOREVER), 0, -1);
    return ask_often(stream);
}

NXT_TASK_TEST(runtimes_talk_to_each_other_by_sockets, .workers = 2)
{
    char text[64];
    nx_stream *stream;
    nx_runtime *other = nxt_start(NXT_OPTIONS(.workers = 2));
    nx_listener *listener = nxt_listen_on("127.0.0.1:0", text, sizeof(text));
    nxt_require(other && listener);
    nx_task clients[4], servers[4];
    for (int i = 0; i < 4; i++)
        clients[i] = nx_spawn_on(other, NULL, connect_and_ask, text);
    for (int i = 0; i < 4; i++) {
        nxt_require_eq(nx_accept(listener, &stream, NX_FOREVER), 0);
        servers[i] = nxt_task_on(i % 2, echo_until_end, stream);
    }
    for (int i = 0; i < 4; i++) {
        nxt_expect_eq(nxt_result(clients[i]), 0);
        nxt_expect_eq(nxt_result(servers[i]), 0);
    }
    nx_listener_close(listener);
    nxt_stop(other);
}
