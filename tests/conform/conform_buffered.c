/* conform_buffered.c: nx_read_until and what it keeps in the stream, the buffered writer, loans, zero-copy writes. */
#include "nxt_net.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOON nx_after_ms(1)

/* ---- nx_read_until ---- */

static void expect_line(nx_stream *stream, const char *delim, const char *line)
{
    char buf[256];
    ssize_t got = nx_read_until(stream, buf, sizeof(buf) - 1, delim, NX_FOREVER);
    buf[got > 0 ? got : 0] = 0;
    nxt_expect_str(buf, line);
}

static bool put(int peer, const char *text)
{
    return nxt_expect(nxt_write_all(peer, text, strlen(text)));
}

NXT_TASK_TEST(lines_that_came_together_are_read_one_by_one)
{
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    put(peer, "one\r\ntwo\r\n\r\nthree\r\n");
    expect_line(stream, "\r\n", "one\r\n");
    expect_line(stream, "\r\n", "two\r\n");
    expect_line(stream, "\r\n", "\r\n");
    expect_line(stream, "\r\n", "three\r\n");
    nxt_expect_eq(nx_read_until(stream, (char[8]){0}, 8, "\r\n", NX_POLL), -EAGAIN);
    nxt_close_fd(&peer);
    nxt_expect_eq(nx_read_until(stream, (char[8]){0}, 8, "\r\n", NX_FOREVER), 0);
    nx_close(stream);
}

struct line {
    nx_stream *stream;
    const char *delim, *expected;
};

static intptr_t read_line(void *arg)
{
    const struct line *line = arg;
    expect_line(line->stream, line->delim, line->expected);
    return 0;
}

NXT_TASK_TEST(a_delimiter_may_come_in_pieces, .workers = 2)
{
    static const char *const texts[] = {"\r\n", "x\r\r\n", "\r\r\r\n", "abc\r\n"};
    for (size_t i = 0; i < NXT_COUNT(texts); i++) {
        for (int worker = 0; worker < 2; worker++) {
            int peer;
            nx_stream *stream = nxt_unix_stream(&peer);
            nxt_require(stream);
            struct line line = {stream, "\r\n", texts[i]};
            nx_task task = nxt_task_on(worker, read_line, &line);
            for (const char *next = texts[i]; *next; next++) {
                nxt_await_parked(task);
                nxt_await(nxt_unread(nx_stream_fd(stream)) == 0);
                nxt_expect(nxt_write_all(peer, next, 1));
            }
            nxt_result(task);
            nxt_close_fd(&peer);
            nx_close(stream);
        }
    }
}

NXT_TASK_TEST(a_delimiter_of_one_and_of_sixteen_bytes_is_found)
{
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    put(peer, "a\nb0123456789abcdefc0123456789abcde0123456789abcdef!");
    expect_line(stream, "\n", "a\n");
    expect_line(stream, "0123456789abcdef", "b0123456789abcdef");
    expect_line(stream, "0123456789abcdef", "c0123456789abcde0123456789abcdef");
    char byte = 0;
    nxt_expect_eq(nx_read(stream, &byte, 1, NX_FOREVER), 1);
    nxt_expect_eq(byte, '!');
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(a_line_that_is_too_long_is_refused_and_stays)
{
    int peer;
    char buf[16];
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    put(peer, "0123456\n89");
    nxt_expect_eq(nx_read_until(stream, buf, 7, "\n", NX_FOREVER), -EMSGSIZE);
    nxt_expect_eq(nx_read_until(stream, buf, 7, "\n", NX_FOREVER), -EMSGSIZE); /* and again, from what is kept */
    nxt_expect_eq(nx_read_until(stream, buf, 8, "\n", NX_FOREVER), 8);         /* exactly at the limit */
    nxt_expect_mem(buf, "0123456\n", 8);
    nxt_expect_eq(nx_read_until(stream, buf, 2, "\n", NX_FOREVER), -EMSGSIZE);
    nxt_expect_eq(nx_read(stream, buf, sizeof(buf), NX_FOREVER), 2);
    nxt_expect_mem(buf, "89", 2);
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(other_reads_get_what_is_kept_first)
{
    int peer;
    char buf[16] = "";
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    put(peer, "1\nabcdefgh");
    expect_line(stream, "\n", "1\n");
    nxt_expect_eq(nx_read(stream, buf, 3, NX_POLL), 3);
    nxt_expect_mem(buf, "abc", 3);
    put(peer, "ij");
    nxt_expect_eq(nx_read_exact(stream, buf, 6, NX_FOREVER), 6); /* kept and new ones */
    nxt_expect_mem(buf, "defghi", 6);
    nxt_expect_eq(nx_read(stream, buf, 9, NX_FOREVER), 1);
    put(peer, "2\nxyz");
    expect_line(stream, "\n", "2\n");
    nxt_expect_eq(nx_read_exact(stream, buf, 3, NX_FOREVER), 3);
    nxt_expect_mem(buf, "xyz", 3);
    nxt_expect_eq(nx_read(stream, buf, 9, NX_POLL), -EAGAIN);
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(select_sees_what_is_kept)
{
    int peer;
    char buf[8];
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    put(peer, "1\nab");
    expect_line(stream, "\n", "1\n");
    nx_case cases[] = {NX_CASE_READ(stream, buf, sizeof(buf)), NX_CASE_TIMER(nx_after_ms(60000))};
    nxt_expect_eq(nx_selectv(cases, 2, 0, NX_FOREVER), 0);
    nxt_expect_eq(cases[0].result, 2);
    nxt_expect_mem(buf, "ab", 2);
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(an_end_of_stream_gives_what_there_is)
{
    int peer;
    char buf[8];
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    put(peer, "a\nrest");
    nxt_close_fd(&peer);
    expect_line(stream, "\n", "a\n");
    nxt_expect_eq(nx_read_until(stream, buf, sizeof(buf), "\n", NX_FOREVER), 4);
    nxt_expect_mem(buf, "rest", 4);
    nxt_expect_eq(nx_read_until(stream, buf, sizeof(buf), "\n", NX_FOREVER), 0);
    nx_close(stream);
}

NXT_TASK_TEST(what_came_before_an_error_is_kept)
{
    int peer;
    char buf[16];
    nx_stream *stream = nxt_tcp_stream(&peer);
    nxt_require(stream);
    put(peer, "part");
    nxt_await(nxt_unread(nx_stream_fd(stream)) == 4);
    nxt_expect_eq(nx_read_until(stream, buf, sizeof(buf), "\n", NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_read_until(stream, buf, sizeof(buf), "\n", SOON), -ETIMEDOUT);
    nxt_expect_eq(nx_read_until(stream, buf, sizeof(buf), "\n", 1), -ETIMEDOUT);
    put(peer, "ial\nmore");
    expect_line(stream, "\n", "partial\n");
    nxt_reset(&peer);
    nxt_expect_eq(nx_read_exact(stream, buf, 4, NX_FOREVER), 4);
    nxt_expect_mem(buf, "more", 4);
    nxt_expect_eq(nx_read_until(stream, buf, sizeof(buf), "\n", NX_FOREVER), -ECONNRESET);
    nx_close(stream);
}

static intptr_t read_cancelled(void *arg)
{
    char buf[16];
    ssize_t got = nx_read_until(arg, buf, sizeof(buf), "\n", NX_FOREVER);
    nxt_expect_eq(got, -ECANCELED);
    nxt_expect_eq(nx_read(arg, buf, sizeof(buf), NX_FOREVER), -ECANCELED); /* though something is kept */
    nxt_expect_eq(nx_read_exact(arg, buf, 1, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_read_until(arg, buf, sizeof(buf), "\n", NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_read_loan(arg, &(nx_loan){0}, NX_FOREVER), -ECANCELED);
    return 0;
}

NXT_TASK_TEST(a_cancelled_reader_of_lines_loses_nothing, .workers = 2)
{
    for (int64_t i = 0; i < nxt_scaled(60, 6); i++) {
        int peer;
        nx_stream *stream = nxt_unix_stream(&peer);
        nxt_require(stream);
        nx_task task = nxt_task_on((int)(i % 2), read_cancelled, stream);
        nxt_await_parked(task);
        put(peer, "half ");
        if (i % 3)
            nxt_await(nxt_unread(nx_stream_fd(stream)) == 0);
        nx_cancel(task);
        nxt_result(task);
        put(peer, "line\n");
        expect_line(stream, "\n", "half line\n");
        nxt_close_fd(&peer);
        nx_close(stream);
    }
}

static intptr_t await_line(void *arg)
{
    char buf[16];
    return nx_read_until(arg, buf, sizeof(buf), "\n", NX_FOREVER);
}

NXT_TASK_TEST(closing_ends_a_reader_of_lines_and_frees_what_is_kept, .workers = 2)
{
    for (int worker = 0; worker < 2; worker++) {
        int peer;
        nx_stream *stream = nxt_unix_stream(&peer);
        nxt_require(stream);
        nx_task task = nxt_task_on(worker, await_line, stream);
        nxt_await_parked(task);
        put(peer, "half");
        nxt_await(nxt_unread(nx_stream_fd(stream)) == 0);
        nx_close(stream);
        nxt_expect_eq(nxt_result(task), -EBADF);
        nxt_close_fd(&peer);
    }
}

/* ---- many readers: each byte once ---- */

#define READERS 4

struct tally {
    nx_stream *stream;
    _Atomic int64_t lines, bytes;
    uint64_t seed;
};

static intptr_t tally_lines(void *arg)
{
    struct tally *tally = arg;
    uint64_t random = (uint64_t)nx_self();
    ssize_t got;
    do {
        char buf[64];
        nx_time deadline = nxt_random(&random) % 4 ? NX_FOREVER : nx_after_ns((int64_t)(nxt_random(&random) % 100000));
        if (nxt_random(&random) % 3)
            got = nx_read_until(tally->stream, buf, sizeof(buf), "\n", deadline);
        else
            got = nx_read(tally->stream, buf, 1 + nxt_random(&random) % 20, deadline);
        for (ssize_t i = 0; i < got; i++)
            atomic_fetch_add(&tally->lines, buf[i] == '\n');
        if (got > 0)
            atomic_fetch_add(&tally->bytes, got);
    } while (got > 0 || got == -ETIMEDOUT || got == -EAGAIN || got == -EMSGSIZE);
    return got;
}

NXT_TASK_TEST(readers_on_several_workers_get_each_byte_once, .workers = 3)
{
    int fds[2];
    const int64_t lines = nxt_scaled(5000, 300);
    nxt_require(nxt_socketpair(fds));
    struct tally tally = {.stream = nxt_stream_of(fds[0])};
    nx_stream *writer = nxt_stream_of(fds[1]);
    nxt_require(tally.stream && writer);
    nx_task tasks[READERS];
    for (int i = 0; i < READERS; i++)
        tasks[i] = nxt_task_on(i % 3, tally_lines, &tally);
    int64_t sent = 0;
    for (int64_t i = 0; i < lines; i++) {
        char text[32];
        int len = snprintf(text, sizeof(text), "line %lld\n", (long long)i * i);
        nxt_expect_eq(nx_write(writer, text, (size_t)len, NX_FOREVER), len);
        sent += len;
    }
    nx_close(writer);
    for (int i = 0; i < READERS; i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
    char rest[256]; /* what one has put back when the others had seen the end already */
    ssize_t got;
    while ((got = nx_read(tally.stream, rest, sizeof(rest), NX_FOREVER)) > 0) {
        tally.bytes += got;
        for (ssize_t i = 0; i < got; i++)
            tally.lines += rest[i] == '\n';
    }
    nxt_expect_eq(tally.bytes, sent);
    nxt_expect_eq(tally.lines, lines);
    nx_close(tally.stream);
}

NXT_TASK_TEST(read_until_refuses_what_makes_no_sense)
{
    int peer;
    char buf[8];
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nxt_expect_eq(nx_read_until(stream, buf, 0, "\n", NX_POLL), -EINVAL);
    nxt_expect_eq(nx_read_until(stream, NULL, 8, "\n", NX_POLL), -EINVAL);
    nxt_expect_eq(nx_read_until(stream, buf, 8, "", NX_POLL), -EINVAL);
    nxt_expect_eq(nx_read_until(stream, buf, 8, NULL, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_read_until(stream, buf, 8, "0123456789abcdefg", NX_POLL), -EINVAL);
    nxt_expect_eq(nx_read_until(NULL, buf, 8, "\n", NX_POLL), -EINVAL);
    nxt_close_fd(&peer);
    nx_close(stream);
}

/* ---- the writer ---- */

static void expect_sent(int peer, const char *text)
{
    char buf[512] = "";
    nxt_expect_eq(nxt_read_all(peer, buf, strlen(text)), (ssize_t)strlen(text));
    nxt_expect_str(buf, text);
}

NXT_TASK_TEST(small_writes_are_gathered_until_the_buffer_is_full_or_flushed)
{
    int peer;
    char buffer[16];
    nx_writer writer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nxt_require_eq(nx_writer_init(&writer, stream, buffer, sizeof(buffer)), 0);
    nxt_expect_eq(nx_writer_write(&writer, "0123456789", 10, NX_FOREVER), 10);
    nxt_expect_eq(nx_writer_write(&writer, NULL, 0, NX_FOREVER), 0);
    nxt_expect_eq(nxt_unread(peer), 0);
    nxt_expect_eq(nx_writer_flush(&writer, NX_FOREVER), 0);
    expect_sent(peer, "0123456789");
    nxt_expect_eq(nx_writer_flush(&writer, NX_FOREVER), 0);
    nxt_expect_eq(nxt_unread(peer), 0);
    nxt_expect_eq(nx_writer_write(&writer, "abc", 3, NX_FOREVER), 3);
    nxt_expect_eq(nx_writer_write(&writer, "a long text that does not fit", 29, NX_FOREVER), 29);
    expect_sent(peer, "abca long text that does not fit");
    nxt_expect_eq(writer.used, 0);
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(the_writer_prints)
{
    int peer;
    char buffer[16];
    nx_writer writer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nxt_require_eq(nx_writer_init(&writer, stream, buffer, sizeof(buffer)), 0);
    nxt_expect_eq(nx_writer_printf(&writer, NX_FOREVER, "%d-%s", 12, "abcdef"), 9);
    nxt_expect_eq(nxt_unread(peer), 0);
    nxt_expect_eq(nx_writer_printf(&writer, NX_FOREVER, "%s", "ghijklmno"), 9); /* the first must go before it */
    expect_sent(peer, "12-abcdef");
    nxt_expect_eq(nxt_unread(peer), 0);
    nxt_expect_eq(nx_writer_printf(&writer, NX_FOREVER, "%s", "0123456789abcdef"), -EMSGSIZE);
    nxt_expect_eq(nx_writer_printf(&writer, NX_FOREVER, "%s", "0123456789abcde"), 15);
    expect_sent(peer, "ghijklmno");
    nxt_expect_eq(nx_writer_flush(&writer, NX_FOREVER), 0);
    expect_sent(peer, "0123456789abcde");
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(a_flush_that_fails_keeps_the_rest)
{
    int peer;
    char buffer[16], *big = malloc(1 << 20);
    nx_writer writer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream && big);
    nxt_fill(big, 1 << 20, 0, 3);
    nxt_require_eq(nx_writer_init(&writer, stream, buffer, sizeof(buffer)), 0);
    ssize_t taken = nx_writer_write(&writer, big, 1 << 20, SOON);
    nxt_expect_gt(taken, 0);
    nxt_expect_lt(taken, 1 << 20);
    nxt_expect_eq(nx_writer_write(&writer, big + taken, 10, NX_FOREVER), 10);
    nxt_expect_eq(nx_writer_flush(&writer, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_writer_flush(&writer, SOON), -ETIMEDOUT);
    nxt_expect_eq(nx_writer_write(&writer, big + taken + 10, 10, NX_POLL), -EAGAIN);
    nxt_expect_eq(writer.used, 10);
    nxt_expect_eq(nxt_read_all(peer, big, (size_t)taken), taken);
    nxt_expect_eq(nxt_check_fill(big, (size_t)taken, 0, 3), taken);
    nxt_expect_eq(nx_writer_flush(&writer, NX_FOREVER), 0);
    nxt_expect_eq(nxt_read_all(peer, big, 10), 10);
    nxt_expect_eq(nxt_check_fill(big, 10, (uint64_t)taken, 3), 10);
    nxt_close_fd(&peer);
    nxt_expect_eq(nx_writer_write(&writer, "x", 1, NX_FOREVER), 1);
    nxt_expect_eq(nx_writer_flush(&writer, NX_FOREVER), -EPIPE);
    nxt_expect_eq(writer.used, 1);
    nx_close(stream);
    free(big);
}

static intptr_t write_cancelled(void *arg)
{
    nx_cancel(nx_self());
    nxt_expect_eq(nx_writer_write(arg, "x", 1, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_writer_printf(arg, NX_FOREVER, "x"), -ECANCELED);
    nxt_expect_eq(nx_writer_flush(arg, NX_FOREVER), -ECANCELED);
    return 0;
}

NXT_TASK_TEST(the_writer_heeds_cancels_and_refuses_what_makes_no_sense)
{
    int peer;
    char buffer[16];
    nx_writer writer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nxt_expect_eq(nx_writer_init(NULL, stream, buffer, 16), -EINVAL);
    nxt_expect_eq(nx_writer_init(&writer, NULL, buffer, 16), -EINVAL);
    nxt_expect_eq(nx_writer_init(&writer, stream, NULL, 16), -EINVAL);
    nxt_expect_eq(nx_writer_init(&writer, stream, buffer, 0), -EINVAL);
    nxt_require_eq(nx_writer_init(&writer, stream, buffer, 16), 0);
    nxt_expect_eq(nx_writer_write(&writer, NULL, 1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_writer_write(NULL, "x", 1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_writer_flush(NULL, NX_FOREVER), -EINVAL);
    nxt_result(nx_spawn(write_cancelled, &writer));
    nxt_expect_eq(writer.used, 0);
    nxt_close_fd(&peer);
    nx_close(stream);
}

/* ---- loans ---- */

NXT_TASK_TEST(a_loan_has_what_came_until_it_is_returned)
{
    int peer;
    nx_loan loan = {0};
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nxt_expect_eq(nx_read_loan(stream, &loan, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_read_loan(stream, &loan, SOON), -ETIMEDOUT);
    nxt_expect_eq(nx_read_loan(stream, NULL, NX_POLL), -EINVAL);
    put(peer, "first");
    nxt_require_eq(nx_read_loan(stream, &loan, NX_FOREVER), 5);
    nxt_expect_eq(loan.len, 5);
    put(peer, "1\nkept");
    expect_line(stream, "\n", "1\n");
    nxt_expect_mem(loan.data, "first", 5); /* others' reads don't touch it */
    nx_loan_return(&loan);
    nx_loan_return(&loan); /* once is enough, twice does nothing */
    nx_loan_return(NULL);
    nxt_require_eq(nx_read_loan(stream, &loan, NX_FOREVER), 4);
    nxt_expect_mem(loan.data, "kept", 4);
    nx_loan_return(&loan);
    nxt_close_fd(&peer);
    nxt_expect_eq(nx_read_loan(stream, &loan, NX_FOREVER), 0);
    nx_loan_return(&loan);
    nx_close(stream);
}

static intptr_t receive_by_loans(void *arg)
{
    uint64_t offset = 0;
    for (;;) {
        nx_loan loan;
        ssize_t got = nx_read_loan(arg, &loan, NX_FOREVER);
        if (got <= 0)
            return got < 0 ? got : (intptr_t)offset;
        nxt_expect_eq(nxt_check_fill(loan.data, (size_t)got, offset, 7), got);
        offset += (uint64_t)got;
        nx_loan_return(&loan);
    }
}

NXT_TASK_TEST(a_flow_is_read_by_loans_on_any_worker, .workers = 2)
{
    const size_t len = (size_t)nxt_scaled(4000000, 300000);
    for (int worker = 0; worker < 2; worker++) {
        nx_stream *pair[2];
        nxt_require(nxt_stream_pair(pair));
        struct nxt_stream_flow flow = {pair[1], {.len = len, .seed = 7, .chunk = 70000}};
        nx_task reader = nxt_task_on(worker, receive_by_loans, pair[0]);
        nxt_expect_eq(nxt_stream_send(&flow), len);
        nx_close(pair[1]);
        nxt_expect_eq(nxt_result(reader), len);
        nx_close(pair[0]);
    }
}

static intptr_t lend_one(void *arg)
{
    nx_loan loan;
    ssize_t got = nx_read_loan(arg, &loan, NX_FOREVER);
    if (got > 0)
        nx_loan_return(&loan);
    return got;
}

size_t nxi_live_bytes(void); /* the core is linked in; the audit would wait for tasks to end */

NXT_TASK_TEST(idle_connections_hold_no_buffer, .workers = 2)
{
    const int64_t count = nxt_scaled(1000, 100);
    nx_stream *(*pairs)[2] = malloc((size_t)count * sizeof(*pairs));
    nx_task *tasks = malloc((size_t)count * sizeof(*tasks));
    nxt_require(pairs && tasks);
    for (int64_t i = 0; i < count; i++)
        nxt_require(nxt_stream_pair(pairs[i]));
    size_t before = nxi_live_bytes();
    for (int64_t i = 0; i < count; i++)
        tasks[i] = nxt_task_on((int)(i % 2), lend_one, pairs[i][0]);
    for (int64_t i = 0; i < count; i++)
        nxt_await_parked(tasks[i]);
    /* Tasks and a few buffers, but not one for each. */
    nxt_expect_lt(nxi_live_bytes() - before, (size_t)count * 2048 + 64 * 16384);
    for (int64_t i = 0; i < count; i++)
        nxt_expect_eq(nx_write(pairs[i][1], "x", 1, NX_FOREVER), 1);
    for (int64_t i = 0; i < count; i++)
        nxt_expect_eq(nxt_result(tasks[i]), 1);
    for (int64_t i = 0; i < count; i++) {
        nx_close(pairs[i][0]);
        nx_close(pairs[i][1]);
    }
    free(pairs);
    free(tasks);
}

NXT_TASK_TEST(when_all_buffers_are_lent_a_reader_waits_for_one)
{
    enum { MOST = 1000 };
    int peer, lent = 0;
    nx_loan *loans = malloc(MOST * sizeof(*loans));
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream && loans);
    ssize_t got = 1;
    while (got == 1 && lent < MOST) {
        nxt_expect(nxt_write_all(peer, "x", 1));
        got = nx_read_loan(stream, &loans[lent], NX_POLL);
        lent += got == 1;
    }
    nxt_expect_eq(got, -EAGAIN);
    nxt_expect_lt(lent, MOST);
    nxt_expect_eq(nx_read_loan(stream, &(nx_loan){0}, SOON), -ETIMEDOUT);
    nx_task tasks[3];
    for (int i = 0; i < 3; i++) {
        tasks[i] = nx_spawn(lend_one, stream);
        nxt_await_parked(tasks[i]);
        nxt_expect(nxt_write_all(peer, "y", 1));
    }
    nx_cancel(tasks[0]);
    nx_loan_return(&loans[--lent]);
    nxt_expect_eq(nxt_result(tasks[0]), -ECANCELED); /* the buffer that came at that moment goes on to the next */
    nxt_expect_gt(nxt_result(tasks[1]), 0);
    nx_cancel(tasks[2]);
    nxt_result(tasks[2]);
    while (lent > 0)
        nx_loan_return(&loans[--lent]);
    nxt_close_fd(&peer);
    nx_close(stream);
    free(loans);
}

/* ---- zero-copy ---- */

static void send_all_ways(nx_stream *stream, int peer, size_t len)
{
    char *data = malloc(len);
    nxt_require(data);
    struct nxt_flow flow = {.fd = peer, .seed = 5, .len = len + len / 2 + 100};
    struct nxt_thread *thread = nxt_thread_start(nxt_flow_receive, &flow);
    nxt_fill(data, len, 0, 5);
    nxt_expect_eq(nx_write_zerocopy(stream, data, len, NX_FOREVER), len);
    nxt_fill(data, len / 2, len, 5); /* the memory is ours again: what was sent doesn't change */
    nxt_expect_eq(nx_write_zerocopy(stream, data, len / 2, NX_FOREVER), len / 2);
    nxt_fill(data, 100, len + len / 2, 5);
    nxt_expect_eq(nx_write_zerocopy(stream, data, 100, NX_FOREVER), 100);
    nxt_expect_eq(nxt_thread_await(thread), len + len / 2 + 100);
    free(data);
}

NXT_TASK_TEST(a_zerocopy_write_sends_all_over_tcp_and_unix_sockets)
{
    const size_t sizes[] = {1000, 16384, 100000, 3000000};
    for (size_t i = 0; i < NXT_COUNT(sizes); i++) {
        for (int tcp = 0; tcp < 2; tcp++) {
            int peer;
            nx_stream *stream = tcp ? nxt_tcp_stream(&peer) : nxt_unix_stream(&peer);
            nxt_require(stream);
            send_all_ways(stream, peer, sizes[i]);
            nxt_close_fd(&peer);
            nx_close(stream);
        }
    }
}

struct sending {
    nx_stream *stream;
    char *data;
    size_t len;
    nx_time deadline;
};

static intptr_t send_zerocopy(void *arg)
{
    const struct sending *sending = arg;
    return nx_write_zerocopy(sending->stream, sending->data, sending->len, sending->deadline);
}

NXT_TASK_TEST(a_zerocopy_write_that_is_cut_short_says_how_much_went, .workers = 2)
{
    for (int way = 0; way < 3; way++) {
        int peer;
        struct sending sending = {.len = 8 << 20, .deadline = way == 0 ? nx_after_ms(5) : NX_FOREVER};
        nx_stream *stream = nxt_tcp_stream(&peer);
        sending.stream = stream;
        sending.data = malloc(sending.len);
        nxt_require(stream && sending.data);
        nxt_fill(sending.data, sending.len, 0, 9);
        nx_task task = nxt_task_on(way % 2, send_zerocopy, &sending);
        nxt_await(nxt_unread(peer) > 0);
        if (way == 1)
            nx_cancel(task);
        if (way == 2)
            nx_shutdown(stream, NX_SHUT_BOTH);
        struct nxt_flow flow = {.fd = peer, .seed = 9};
        if (way < 2) /* the memory is free only when the peer has it */
            nx_sleep_ms(way == 0 ? 10 : 0);
        struct nxt_thread *thread = nxt_thread_start(nxt_flow_receive, &flow);
        ssize_t sent = nxt_result(task);
        nxt_expect_gt(sent, 0);
        nxt_expect_le(sent, sending.len);
        memset(sending.data, 0, sending.len);
        nx_close(stream);
        nxt_expect_eq(nxt_thread_await(thread), sent);
        nxt_close_fd(&peer);
        free(sending.data);
    }
}

NXT_TASK_TEST(a_zerocopy_write_reports_a_peer_that_is_gone)
{
    int peer;
    char *data = calloc(1, 1 << 20);
    nx_stream *stream = nxt_tcp_stream(&peer);
    nxt_require(stream && data);
    nxt_reset(&peer);
    ssize_t sent = nx_write_zerocopy(stream, data, 1 << 20, NX_FOREVER);
    nxt_expect(sent == -ECONNRESET || sent == -EPIPE);
    nxt_expect_eq(nx_write_zerocopy(stream, NULL, 1, NX_FOREVER), -EINVAL);
    nx_close(stream);
    free(data);
}

NXT_TEST(outside_a_task_buffered_calls_say_so)
{
    char buf[8];
    nx_writer writer = {0};
    nxt_expect_eq(nx_read_until(NULL, buf, 8, "\n", NX_POLL), -NX_ENOTASK);
    nxt_expect_eq(nx_read_loan(NULL, &(nx_loan){0}, NX_POLL), -NX_ENOTASK);
    nxt_expect_eq(nx_write_zerocopy(NULL, buf, 8, NX_POLL), -NX_ENOTASK);
    nxt_expect_eq(nx_writer_write(&writer, buf, 8, NX_POLL), -NX_ENOTASK);
    nxt_expect_eq(nx_writer_printf(&writer, NX_POLL, "x"), -NX_ENOTASK);
    nxt_expect_eq(nx_writer_flush(&writer, NX_POLL), -NX_ENOTASK);
}
