/*
 * conform_cancel_io.c: cancels, deadlines and closes that meet a transfer which is just happening.
 *
 * Every byte is numbered (nxt_fill). Whatever a call answers, the next one must go on exactly where that answer said:
 * a byte that was taken and not told of, told of and not taken, or given to another stream shows at once.
 */
#include "nxt_net.h"
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- reads ---- */

struct line {
    nx_runtime *runtime;
    nx_stream *stream;
    int peer, worker;         /* where the readers run */
    int64_t rounds, got_some; /* how often a read took bytes */
    uint64_t sent, got, random;
    nx_time deadline; /* of the next read */
};

static intptr_t read_on(void *arg)
{
    struct line *line = arg;
    char buffer[64];
    ssize_t got = nx_read(line->stream, buffer, sizeof(buffer), line->deadline);
    if (got > 0) {
        if (nxt_check_fill(buffer, (size_t)got, line->got, 1) < (size_t)got)
            nxt_fail(__FILE__, __LINE__, "the bytes at %llu are others", (unsigned long long)line->got);
        line->got += (uint64_t)got;
    }
    return got;
}

static void send_some(struct line *line)
{
    char buffer[16];
    size_t len = 1 + nxt_random(&line->random) % sizeof(buffer);
    nxt_fill(buffer, len, line->sent, 1);
    line->sent += len;
    nxt_expect(nxt_write_all(line->peer, buffer, len));
}

static nx_task start_on(struct line *line, nx_task_fn fn, void *arg)
{
    nx_task task = nx_spawn_on(line->runtime, NXT_WITH(.worker_plus_1 = line->worker + 1), fn, arg);
    nxt_expect_gt(task, 0);
    return task;
}

/* The peer has written; then the reader is cancelled. In a task or a thread. */
static intptr_t cancel_readers(void *arg)
{
    struct line *line = arg;
    for (int64_t i = 0; i < line->rounds && nxt_failures() == 0; i++) {
        line->deadline = NX_FOREVER;
        nx_task reader = start_on(line, read_on, line);
        uint64_t way = nxt_random(&line->random) % 8;
        if (way > 0) /* 0: it may not even have started */
            nxt_await_parked(reader);
        send_some(line);
        if (way > 5)
            nxt_burn((int64_t)(nxt_random(&line->random) % 20000));
        nxt_expect_eq(nx_cancel(reader), 0);
        intptr_t result = nxt_result(reader);
        nxt_expect(result > 0 || result == -ECANCELED);
        line->got_some += result > 0;
    }
    return 0;
}

/* The peer writes just when the deadline comes. */
static intptr_t let_readers_expire(void *arg)
{
    struct line *line = arg;
    for (int64_t i = 0; i < line->rounds && nxt_failures() == 0; i++) {
        int64_t span = (int64_t)(nxt_random(&line->random) % 50000);
        nx_time when = nxt_clock() + span;
        line->deadline = when;
        nx_task reader = start_on(line, read_on, line);
        if (nxt_random(&line->random) % 4)
            nxt_await_parked(reader);
        while (nxt_clock() < when - 5000 + (nx_time)(nxt_random(&line->random) % 8192))
            ;
        send_some(line);
        intptr_t result = nxt_result(reader);
        nxt_expect(result > 0 || result == -ETIMEDOUT);
        line->got_some += result > 0;
    }
    return 0;
}

enum driver { SAME_WORKER, OTHER_WORKER, PLAIN_THREAD };

static void drive(enum driver driver, nx_task_fn rounds, void *arg)
{
    if (driver == PLAIN_THREAD)
        nxt_thread_await(nxt_thread_start(rounds, arg));
    else
        nxt_result(nxt_task_on(0, rounds, arg));
}

static void race_reads(enum driver driver, bool tcp, nx_task_fn rounds, int64_t count)
{
    struct line line = {.runtime = nxt_runtime(), .worker = driver == OTHER_WORKER, .rounds = nxt_scaled(count, 200)};
    line.stream = tcp ? nxt_tcp_stream(&line.peer) : nxt_unix_stream(&line.peer);
    nxt_require(line.stream);
    drive(driver, rounds, &line);
    line.deadline = nx_after_ms(5000); /* a lost byte is said, not waited for */
    while (line.got < line.sent && nxt_failures() == 0)
        nxt_expect_gt(read_on(&line), 0);
    nxt_expect_eq(nxt_unread(nx_stream_fd(line.stream)), 0);
    nxt_expect_eq(line.got, line.sent);
    nxt_expect_gt(line.got_some, 0);
    nxt_close_fd(&line.peer);
    nx_close(line.stream);
}

NXT_TASK_TEST(a_reader_cancelled_on_its_worker_loses_no_byte, .workers = 2)
{
    race_reads(SAME_WORKER, false, cancel_readers, 20000);
}

NXT_TASK_TEST(a_reader_cancelled_on_its_worker_loses_no_byte_of_tcp, .workers = 2)
{
    race_reads(SAME_WORKER, true, cancel_readers, 20000);
}

NXT_TASK_TEST(a_reader_cancelled_from_another_worker_loses_no_byte, .workers = 2)
{
    race_reads(OTHER_WORKER, false, cancel_readers, 6000);
}

NXT_TASK_TEST(a_reader_cancelled_by_a_thread_loses_no_byte, .workers = 2)
{
    race_reads(PLAIN_THREAD, false, cancel_readers, 6000);
}

NXT_TASK_TEST(a_reader_whose_deadline_comes_with_the_bytes_loses_none, .workers = 2)
{
    race_reads(SAME_WORKER, false, let_readers_expire, 2000);
    race_reads(OTHER_WORKER, false, let_readers_expire, 2000);
    race_reads(PLAIN_THREAD, true, let_readers_expire, 2000);
}

/* ---- writes ---- */

#define PIECE 8192

struct outlet {
    struct line line;
    char data[PIECE];
    size_t len;
    bool vector;
    bool timed; /* a deadline ends the writes, not a cancel */
};

static intptr_t write_on(void *arg)
{
    struct outlet *outlet = arg;
    size_t half = outlet->len / 2;
    const struct iovec iov[] = {{outlet->data, half}, {NULL, 0}, {outlet->data + half, outlet->len - half}};
    return outlet->vector ? nx_writev(outlet->line.stream, iov, 3, outlet->line.deadline)
                          : nx_write(outlet->line.stream, outlet->data, outlet->len, outlet->line.deadline);
}

static nx_task start_write(struct outlet *outlet, size_t len, nx_time deadline)
{
    struct line *line = &outlet->line;
    line->deadline = deadline;
    outlet->len = len;
    outlet->vector = nxt_random(&line->random) % 2;
    nxt_fill(outlet->data, outlet->len, line->sent, 1);
    return start_on(line, write_on, outlet);
}

static intptr_t end_write(struct outlet *outlet, nx_task writer)
{
    intptr_t result = nxt_result(writer);
    nxt_expect((result > 0 && result <= (intptr_t)outlet->len) || result == (outlet->timed ? -ETIMEDOUT : -ECANCELED));
    outlet->line.sent += result > 0 ? (uint64_t)result : 0;
    return result;
}

/* Nobody receives, and a piece is more than the buffers hold: each write stops half-way. */
static intptr_t cut_writers(void *arg)
{
    struct outlet *outlet = arg;
    struct line *line = &outlet->line;
    static char received[PIECE];
    for (int64_t i = 0; i < nxt_scaled(100, 10) && nxt_failures() == 0; i++) {
        uint64_t offset = line->sent;
        nx_task writer = start_write(outlet, PIECE, outlet->timed ? nx_after_ns((i % 2) * 100000) : NX_FOREVER);
        nxt_await(nxt_unread(line->peer) > 0);
        if (i % 2)
            nxt_await_parked(writer); /* in the next operation; else the first may be about to be told */
        if (!outlet->timed)
            nxt_expect_eq(nx_cancel(writer), 0);
        intptr_t result = end_write(outlet, writer);
        nxt_expect(result > 0 && result < PIECE);
        nxt_require_eq(nxt_unread(line->peer), result, 0);
        nxt_expect_eq(nxt_read_all(line->peer, received, (size_t)result), result);
        nxt_expect_eq(nxt_check_fill(received, (size_t)result, offset, 1), result);
    }
    return 0;
}

static size_t some_len(struct outlet *outlet)
{
    return 1 + nxt_random(&outlet->line.random) % PIECE;
}

static intptr_t cancel_writers(void *arg)
{
    struct outlet *outlet = arg;
    for (int64_t i = 0; i < outlet->line.rounds && nxt_failures() == 0; i++) {
        nx_task writer = start_write(outlet, some_len(outlet), NX_FOREVER);
        if (nxt_random(&outlet->line.random) % 8)
            nxt_await_parked(writer);
        nxt_burn((int64_t)(nxt_random(&outlet->line.random) % 4096));
        nx_cancel(writer);
        end_write(outlet, writer);
    }
    return 0;
}

static intptr_t let_writers_expire(void *arg)
{
    struct outlet *outlet = arg;
    for (int64_t i = 0; i < outlet->line.rounds && nxt_failures() == 0; i++) {
        nx_time deadline = nxt_clock() + (nx_time)(nxt_random(&outlet->line.random) % 200000);
        end_write(outlet, start_write(outlet, some_len(outlet), deadline));
    }
    return 0;
}

/* First with nobody at the other end, so that it surely is half-way; then against one who takes the bytes meanwhile. */
static void race_writes(enum driver driver, bool timed, int64_t count)
{
    struct outlet *outlet = calloc(1, sizeof(*outlet));
    outlet->timed = timed;
    outlet->line =
        (struct line){.runtime = nxt_runtime(), .worker = driver == OTHER_WORKER, .rounds = nxt_scaled(count, 200)};
    nx_stream *stream = outlet->line.stream = nxt_unix_stream(&outlet->line.peer);
    nxt_require(stream);
    nxt_small_buffers(outlet->line.peer); /* so that most writes find it full */
    nxt_small_buffers(nx_stream_fd(stream));
    drive(driver, cut_writers, outlet);
    uint64_t cut = outlet->line.sent;
    struct nxt_flow flow = {.fd = outlet->line.peer, .seed = 1, .chunk = 1500, .offset = cut};
    struct nxt_thread *receiver = nxt_thread_start(nxt_flow_receive, &flow);
    drive(driver, timed ? let_writers_expire : cancel_writers, outlet);
    nxt_expect_eq(nx_shutdown(stream, NX_SHUT_WRITE), 0);
    nxt_expect_eq(nxt_thread_await(receiver), outlet->line.sent - cut); /* what the writers told is what has arrived */
    nxt_close_fd(&outlet->line.peer);
    nx_close(stream);
    free(outlet);
}

NXT_TASK_TEST(a_writer_cancelled_half_way_on_its_worker_tells_what_has_gone, .workers = 2)
{
    race_writes(SAME_WORKER, false, 20000);
}

NXT_TASK_TEST(a_writer_cancelled_half_way_from_another_worker_tells_what_has_gone, .workers = 2)
{
    race_writes(OTHER_WORKER, false, 5000);
}

NXT_TASK_TEST(a_writer_cancelled_half_way_by_a_thread_tells_what_has_gone, .workers = 2)
{
    race_writes(PLAIN_THREAD, false, 4000);
}

NXT_TASK_TEST(a_writer_whose_deadline_comes_half_way_tells_what_has_gone, .workers = 2)
{
    race_writes(SAME_WORKER, true, 2000);
    race_writes(OTHER_WORKER, true, 2000);
    race_writes(PLAIN_THREAD, true, 2000);
}

/* ---- closing while others wait ---- */

static intptr_t read_one(void *arg)
{
    char byte;
    return nx_read(arg, &byte, 1, NX_FOREVER);
}

static intptr_t write_much(void *arg)
{
    static const char data[1 << 20];
    return nx_write(arg, data, sizeof(data), NX_FOREVER);
}

/* Reader and writer wait on these workers, the closer is this task. */
static void close_under(int reader_worker, int writer_worker)
{
    int peer;
    static char data[1 << 20];
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nx_task reader = nxt_task_on(reader_worker, read_one, stream),
            writer = nxt_task_on(writer_worker, write_much, stream);
    nxt_await_parked(reader);
    nxt_await(nxt_unread(peer) > 0);
    nxt_await_parked(writer);
    nxt_expect_eq(nx_close(stream), 0);
    nxt_expect_eq(nxt_result(reader), -EBADF);
    intptr_t sent = nxt_result(writer);
    nxt_expect(sent > 0 && sent < (intptr_t)sizeof(data)); /* what had gone comes before the reason */
    nxt_expect_eq(nxt_read_all(peer, data, sizeof(data)), sent);
    nxt_close_fd(&peer);
}

static intptr_t close_under_all(void *unused)
{
    (void)unused;
    for (int64_t i = 0; i < nxt_scaled(100, 10); i++)
        for (int reader = 0; reader < 3; reader++)
            for (int writer = 0; writer < 3; writer++)
                close_under(reader, writer);
    return 0;
}

NXT_TASK_TEST(a_close_ends_those_who_wait_on_any_worker, .workers = 3)
{
    nxt_result(nxt_task_on(0, close_under_all, NULL));
}

/* The stream is its first user's; another worker's read makes it change hands, and the close comes just then. */
static intptr_t close_on_the_move(void *unused)
{
    uint64_t random = 5;
    (void)unused;
    for (int64_t i = 0; i < nxt_scaled(2000, 200) && nxt_failures() == 0; i++) {
        int peer;
        nx_stream *stream = nxt_unix_stream(&peer);
        nxt_require(stream, 0);
        nxt_expect_eq(nx_read(stream, &(char){0}, 1, NX_POLL), -EAGAIN); /* now it is this worker's */
        nx_task first = nxt_task_on(1, read_one, stream), second = nxt_task_on(2, read_one, stream);
        nxt_await_parked(first);
        nxt_await_parked(second);
        nxt_burn((int64_t)(nxt_random(&random) % 4096));
        nx_close(stream);
        nxt_expect_eq(nxt_result(first), -EBADF);
        nxt_expect_eq(nxt_result(second), -EBADF);
        nxt_close_fd(&peer);
    }
    return 0;
}

NXT_TASK_TEST(a_close_reaches_calls_whose_stream_is_just_changing_workers, .workers = 3)
{
    nxt_result(nxt_task_on(0, close_on_the_move, NULL));
}

struct between {
    nx_stream *stream, *bell;
};

static intptr_t close_at_the_bell(void *arg)
{
    struct between *between = arg;
    char byte;
    nxt_expect_eq(nx_read(between->bell, &byte, 1, NX_FOREVER), 1);
    return nx_close(between->stream);
}

/* A write of many operations: one has just completed, and before the writer runs on, another task closes. */
NXT_TASK_TEST(a_close_between_two_operations_of_one_call_ends_it_with_its_bytes)
{
    static char data[1 << 20];
    for (int64_t i = 0; i < nxt_scaled(500, 50) && nxt_failures() == 0; i++) {
        int peer, bell;
        struct between between = {nxt_unix_stream(&peer), nxt_unix_stream(&bell)};
        nxt_require(between.stream && between.bell);
        nx_task closer = nxt_task_on(0, close_at_the_bell, &between);
        nx_task writer = nxt_task_on(0, write_much, between.stream);
        nxt_await_parked(closer);
        nxt_await(nxt_unread(peer) > 0);
        nxt_await_parked(writer);
        nxt_expect(nxt_write_all(bell, "!", 1)); /* both get ready in this order, and the closer runs first */
        nxt_expect(nxt_set_nonblock(peer));
        intptr_t received = nxt_read_all(peer, data, sizeof(data));
        nxt_expect_eq(nxt_result(closer), 0);
        intptr_t sent = nxt_result(writer), rest;
        nxt_expect_gt(sent, 0);
        while ((rest = nxt_read_all(peer, data, sizeof(data))) > 0)
            received += rest;
        nxt_expect_eq(received, sent);
        nx_close(between.bell);
        nxt_close_fd(&peer);
        nxt_close_fd(&bell);
    }
}

struct closing {
    nx_stream *stream;
    nx_task reader;
};

static intptr_t close_it(void *arg)
{
    nxt_await_parked(((struct closing *)arg)->reader);
    return nx_close(((struct closing *)arg)->stream);
}

NXT_TASK_TEST(a_close_from_another_worker_than_the_streams_works, .workers = 3)
{
    for (int64_t i = 0; i < nxt_scaled(500, 50); i++) {
        int peer;
        struct closing closing = {.stream = nxt_unix_stream(&peer)};
        nxt_require(closing.stream);
        closing.reader = nxt_task_on((int)(i % 3), read_one, closing.stream);
        nx_task closer = nxt_task_on((int)(i / 3 % 3), close_it, &closing);
        nxt_expect_eq(nxt_result(closing.reader), -EBADF);
        nxt_expect_eq(nxt_result(closer), 0);
        nxt_expect_eq(nxt_read_all(peer, &(char){0}, 1), 0);
        nxt_close_fd(&peer);
    }
}

static intptr_t close_cancelled(void *arg)
{
    nx_cancel(nx_self());
    nxt_expect(nx_cancelled());
    return nx_close(arg);
}

NXT_TASK_TEST(a_cancelled_task_closes_and_the_others_are_told, .workers = 2)
{
    for (int worker = 0; worker < 2; worker++) {
        int peer;
        nx_stream *stream = nxt_unix_stream(&peer);
        nxt_require(stream);
        nx_task reader = nxt_task_on(worker, read_one, stream);
        nxt_await_parked(reader);
        nxt_expect_eq(nxt_result(nxt_task_on(0, close_cancelled, stream)), 0);
        nxt_expect_eq(nxt_result(reader), -EBADF);
        nxt_expect_eq(nxt_read_all(peer, &(char){0}, 1), 0);
        nxt_close_fd(&peer);
    }
}

NXT_TASK_TEST(a_close_and_a_cancel_at_once_end_a_read_once, .workers = 2)
{
    for (int64_t i = 0; i < nxt_scaled(2000, 100); i++) {
        int peer;
        nx_stream *stream = nxt_unix_stream(&peer);
        nxt_require(stream);
        nx_task reader = nxt_task_on((int)(i % 2), read_one, stream);
        nxt_await_parked(reader);
        nx_cancel(reader);
        nx_close(stream);
        intptr_t result = nxt_result(reader);
        nxt_expect(result == -ECANCELED || result == -EBADF);
        nxt_close_fd(&peer);
    }
}

/* ---- numbers that come back ---- */

static intptr_t read_marker(void *arg)
{
    int64_t marker = -1;
    ssize_t got = nx_read_exact(arg, &marker, sizeof(marker), NX_FOREVER);
    return got == sizeof(marker) ? (intptr_t)marker : (intptr_t)got;
}

struct reuse {
    nx_stream *stream;
    nx_task reader;
    int peer, fd;
};

static bool open_next(struct reuse *ret_next, int worker)
{
    ret_next->stream = nxt_unix_stream(&ret_next->peer);
    nxt_require(ret_next->stream, false);
    ret_next->fd = nx_stream_fd(ret_next->stream);
    ret_next->reader = nxt_task_on(worker, read_marker, ret_next->stream);
    return true;
}

static intptr_t close_and_open(void *arg)
{
    int64_t rounds = nxt_scaled(arg ? 4000 : 10000, 300), reused = 0;
    int other = arg ? 1 : 0;
    uint64_t random = 3;
    struct reuse old, next;
    nxt_require(open_next(&old, 0), 0);
    for (int64_t i = 0; i < rounds && nxt_failures() == 0; i++) {
        nxt_await_parked(old.reader);
        if (i % 3 == 1)
            nxt_expect(nxt_write_all(old.peer, "late", 4)); /* bytes under way to the one that is closed */
        nx_close(old.stream);
        if (i % 3 == 0)
            nxt_close_fd(&old.peer); /* a hang-up under way */
        intptr_t result = nxt_result(old.reader);
        nxt_expect(result == -EBADF || (i % 3 == 0 && result == 0) ||
                   (i % 3 == 1 && result == 4)); /* what came first */
        nxt_require(open_next(&next, i % 2 ? other : 0), 0);
        reused += next.fd == old.fd;
        nxt_close_fd(&old.peer);
        if (nxt_random(&random) % 2)
            nxt_await_parked(next.reader);
        nx_yield();
        nxt_expect_eq(nx_join(next.reader, NULL, NX_POLL), -EAGAIN); /* nothing of old's has reached it */
        nxt_expect(nxt_write_all(next.peer, &i, sizeof(i)));
        nxt_expect_eq(nxt_result(next.reader), i);
        next.reader = nxt_task_on(i % 2 ? other : 0, read_marker, next.stream);
        old = next;
    }
    nxt_await_parked(old.reader);
    nxt_await_parked(old.reader);
    nx_close(old.stream);
    nxt_expect_eq(nxt_result(old.reader), -EBADF);
    nxt_close_fd(&old.peer);
    nxt_expect_gt(reused, rounds / 2); /* else this has shown nothing */
    return 0;
}

NXT_TASK_TEST(nothing_of_a_closed_stream_reaches_the_next_owner_of_its_number, .workers = 2)
{
    nxt_result(nxt_task_on(0, close_and_open, NULL));
}

NXT_TASK_TEST(nothing_of_a_closed_stream_reaches_the_next_owner_of_its_number_on_another_worker, .workers = 2)
{
    nxt_result(nxt_task_on(0, close_and_open, (void *)1));
}
