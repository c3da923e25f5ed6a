/* conform_copy.c: bytes moved between streams and files: each of them arrives once, or is still where it was. */
#include "nxt_net.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOON nx_after_ms(1)

/* Two streams to copy between, and the far ends of both. */
struct line {
    nx_stream *from, *to;
    int source, sink;
};

static bool make_line(struct line *line, bool tcp)
{
    line->from = tcp ? nxt_tcp_stream(&line->source) : nxt_unix_stream(&line->source);
    line->to = tcp ? nxt_tcp_stream(&line->sink) : nxt_unix_stream(&line->sink);
    return line->from && line->to;
}

static void end_line(struct line *line)
{
    nx_close(line->from);
    nx_close(line->to);
    nxt_close_fd(&line->source);
    nxt_close_fd(&line->sink);
}

static intptr_t send_and_close(void *arg)
{
    struct nxt_flow *flow = arg;
    intptr_t sent = nxt_flow_send(flow);
    nxt_close_fd(&flow->fd);
    return sent;
}

NXT_TASK_TEST(a_stream_is_copied_until_its_end, .workers = 2)
{
    const size_t sizes[] = {0, 1, 65536, (size_t)nxt_scaled(5000000, 200000)};
    for (size_t i = 0; i < 2 * NXT_COUNT(sizes); i++) {
        size_t len = sizes[i / 2];
        struct line line;
        nxt_require(make_line(&line, i % 2));
        struct nxt_flow in = {.fd = line.source, .seed = 1, .len = len, .chunk = 50000};
        struct nxt_flow out = {.fd = line.sink, .seed = 1, .len = len, .chunk = 30000};
        line.source = -1;
        struct nxt_thread *sender = nxt_thread_start(send_and_close, &in);
        struct nxt_thread *receiver = nxt_thread_start(nxt_flow_receive, &out);
        nxt_expect_eq(nx_stream_copy(line.to, line.from, SIZE_MAX, NX_FOREVER), len);
        nxt_expect_eq(nx_stream_copy(line.to, line.from, SIZE_MAX, NX_FOREVER), 0);
        nx_shutdown(line.to, NX_SHUT_WRITE);
        nxt_expect_eq(nxt_thread_await(sender), len);
        nxt_expect_eq(nxt_thread_await(receiver), len);
        end_line(&line);
    }
}

NXT_TASK_TEST(a_limit_of_a_copy_leaves_the_rest_in_the_stream)
{
    for (int tcp = 0; tcp < 2; tcp++) {
        struct line line;
        char buf[32] = "";
        nxt_require(make_line(&line, tcp));
        nxt_expect(nxt_write_all(line.source, "0123456789", 10));
        nxt_expect_eq(nx_stream_copy(line.to, line.from, 4, NX_FOREVER), 4);
        nxt_expect_eq(nx_stream_copy(line.to, line.from, 0, NX_FOREVER), 0);
        nxt_expect_eq(nxt_read_all(line.sink, buf, 4), 4);
        nxt_expect_mem(buf, "0123", 4);
        nxt_expect_eq(nx_read_exact(line.from, buf, 6, NX_FOREVER), 6);
        nxt_expect_mem(buf, "456789", 6);
        end_line(&line);
    }
}

NXT_TASK_TEST(a_copy_takes_what_is_kept_first)
{
    for (int tcp = 0; tcp < 2; tcp++) {
        struct line line;
        char buf[32] = "";
        nxt_require(make_line(&line, tcp));
        nxt_expect(nxt_write_all(line.source, "line\nabcdef", 11));
        nxt_expect_eq(nx_read_until(line.from, buf, sizeof(buf), "\n", NX_FOREVER), 5);
        nxt_expect_eq(nx_stream_copy(line.to, line.from, 2, NX_FOREVER), 2);
        nxt_expect(nxt_write_all(line.source, "ghi", 3));
        nxt_expect_eq(nx_stream_copy(line.to, line.from, 7, NX_FOREVER), 7);
        nxt_expect_eq(nxt_read_all(line.sink, buf, 9), 9);
        nxt_expect_mem(buf, "abcdefghi", 9);
        end_line(&line);
    }
}

NXT_TASK_TEST(a_copy_that_finds_nothing_waits_as_long_as_it_may)
{
    struct line line;
    nxt_require(make_line(&line, false));
    nxt_expect_eq(nx_stream_copy(line.to, line.from, 1, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_stream_copy(line.to, line.from, 1, SOON), -ETIMEDOUT);
    nxt_expect_eq(nx_stream_copy(line.to, line.from, 1, 1), -ETIMEDOUT);
    nxt_expect(nxt_write_all(line.source, "x", 1));
    nxt_expect_eq(nx_stream_copy(line.to, line.from, SIZE_MAX, SOON), 1);
    nxt_expect_eq(nx_stream_copy(line.to, line.from, SIZE_MAX, SOON), -ETIMEDOUT);
    end_line(&line);
}

struct copying {
    struct line *line;
    nx_file *file;
    size_t len;
};

static intptr_t copy_all(void *arg)
{
    struct copying *copying = arg;
    return nx_stream_copy(copying->line->to, copying->line->from, SIZE_MAX, NX_FOREVER);
}

/* Whatever the copy had read and not sent is in `from`: what arrived and what is left there are all bytes, in order. */
static void expect_rest(struct line *line, size_t copied, size_t len)
{
    char *data = malloc(len);
    nxt_require(data);
    nx_close(line->to);
    line->to = NULL;
    nxt_expect_eq(nxt_read_all(line->sink, data, copied), copied);
    nxt_expect_eq(nxt_check_fill(data, copied, 0, 4), copied);
    nxt_expect_eq(nx_read_exact(line->from, data, len - copied, NX_FOREVER), len - copied);
    nxt_expect_eq(nxt_check_fill(data, len - copied, copied, 4), len - copied);
    nxt_expect_eq(nx_read(line->from, data, 1, NX_FOREVER), 0);
    free(data);
}

NXT_TASK_TEST(a_copy_that_is_cancelled_in_the_middle_loses_nothing, .workers = 2)
{
    const size_t len = 600000;
    for (int64_t i = 0; i < nxt_scaled(40, 8); i++) {
        struct line line;
        nxt_require(make_line(&line, i % 2));
        nxt_small_buffers(nx_stream_fd(line.to));
        struct nxt_flow in = {.fd = line.source, .seed = 4, .len = len, .chunk = 50000};
        line.source = -1;
        struct nxt_thread *sender = nxt_thread_start(send_and_close, &in);
        struct copying copying = {.line = &line};
        nx_task task = nxt_task_on((int)(i % 4 / 2), copy_all, &copying);
        nxt_await(nxt_unread(line.sink) > 0); /* nobody reads there: it stands still soon */
        if (i % 3)
            nxt_await_parked(task);
        nx_cancel(task);
        intptr_t copied = nxt_result(task);
        nxt_expect_gt(copied, 0);
        expect_rest(&line, (size_t)copied, len);
        nxt_expect_eq(nxt_thread_await(sender), len);
        end_line(&line);
    }
}

NXT_TASK_TEST(closing_a_stream_ends_its_copy, .workers = 2)
{
    for (int i = 0; i < 8; i++) {
        struct line line;
        nxt_require(make_line(&line, i % 2));
        struct copying copying = {.line = &line};
        nx_task task = nxt_task_on(i / 2 % 2, copy_all, &copying);
        nxt_await_parked(task);
        nx_close(line.from);
        nxt_expect_eq(nxt_result(task), -EBADF);
        line.from = NULL;
        end_line(&line);
    }
}

NXT_TASK_TEST(a_copy_to_nobody_says_so_and_keeps_the_bytes)
{
    for (int tcp = 0; tcp < 2; tcp++) {
        struct line line;
        char buf[16] = "";
        nxt_require(make_line(&line, tcp));
        if (tcp)
            nxt_reset(&line.sink);
        else
            nxt_close_fd(&line.sink);
        nxt_expect(nxt_write_all(line.source, "precious", 8));
        ssize_t copied = nx_stream_copy(line.to, line.from, SIZE_MAX, NX_FOREVER);
        nxt_expect(copied == -EPIPE || copied == -ECONNRESET);
        nxt_expect_eq(nx_read_exact(line.from, buf, 8, NX_FOREVER), 8);
        nxt_expect_mem(buf, "precious", 8);
        end_line(&line);
    }
}

static intptr_t copy_round(void *arg)
{
    struct line *line = arg;
    nx_task self = nx_self();
    uint64_t random = (uint64_t)self;
    size_t total = 0;
    for (;;) {
        ssize_t copied = nx_stream_copy(line->to, line->from, 1 + nxt_random(&random) % 100000,
                                        nx_after_ns((int64_t)(nxt_random(&random) % 300000)));
        if (copied == 0)
            return (intptr_t)total;
        if (copied > 0)
            total += (size_t)copied;
        else
            nxt_require_eq(copied, -ETIMEDOUT, copied);
    }
}

NXT_TASK_TEST(copies_with_limits_and_deadlines_on_other_workers_lose_nothing, .workers = 2)
{
    const size_t len = (size_t)nxt_scaled(3000000, 200000);
    for (int i = 0; i < 4; i++) {
        struct line line;
        nxt_require(make_line(&line, i % 2));
        struct nxt_flow in = {.fd = line.source, .seed = 6, .len = len, .chunk = 20000};
        struct nxt_flow out = {.fd = line.sink, .seed = 6, .len = len, .chunk = 10000};
        line.source = -1;
        struct nxt_thread *sender = nxt_thread_start(send_and_close, &in);
        struct nxt_thread *receiver = nxt_thread_start(nxt_flow_receive, &out);
        nxt_expect_eq(nxt_result(nxt_task_on(i / 2, copy_round, &line)), len);
        nxt_expect_eq(nxt_thread_await(sender), len);
        nxt_expect_eq(nxt_thread_await(receiver), len);
        end_line(&line);
    }
}

/* ---- files ---- */

static nx_file *make_file(const char *name, size_t len)
{
    nx_file *file = NULL;
    nxt_expect_eq(nx_file_open(nxt_temp_path(name), O_RDWR | O_CREAT | O_TRUNC, 0600, &file, NX_FOREVER), 0);
    unlink(nxt_temp_path(name));
    char *data = malloc(len + 1);
    nxt_fill(data, len, 0, 8);
    if (file && len > 0)
        nxt_expect_eq(nx_pwrite(file, data, len, 0, NX_FOREVER), len);
    free(data);
    return file;
}

NXT_TASK_TEST(a_file_is_sent_from_an_offset_to_its_end, .workers = 2)
{
    const size_t len = (size_t)nxt_scaled(3000000, 300000);
    for (int i = 0; i < 4; i++) {
        int peer;
        nx_stream *stream = i % 2 ? nxt_tcp_stream(&peer) : nxt_unix_stream(&peer);
        nx_file *file = make_file("sent", len);
        nxt_require(stream && file);
        if (i / 2) { /* so that it must come from the disk, where there is one */
            nxt_expect_eq(nx_fsync(file, NX_FOREVER), 0);
            posix_fadvise(nx_file_fd(file), 0, 0, POSIX_FADV_DONTNEED);
        }
        struct nxt_flow out = {.fd = peer, .seed = 8, .offset = 1234, .len = len - 1234 + 0};
        struct nxt_thread *receiver = nxt_thread_start(nxt_flow_receive, &out);
        nxt_expect_eq(nx_send_file(stream, file, 1234, 1000, NX_FOREVER), 1000);
        nxt_expect_eq(nx_send_file(stream, file, 2234, SIZE_MAX, NX_FOREVER), len - 2234);
        nxt_expect_eq(nx_send_file(stream, file, (int64_t)len, SIZE_MAX, NX_FOREVER), 0);
        nxt_expect_eq(nxt_thread_await(receiver), len - 1234);
        nx_file_close(file);
        nx_close(stream);
        nxt_close_fd(&peer);
    }
}

NXT_TASK_TEST(a_stream_is_received_into_a_file_at_an_offset, .workers = 2)
{
    const size_t len = (size_t)nxt_scaled(2000000, 200000);
    for (int tcp = 0; tcp < 2; tcp++) {
        int peer;
        char *back = malloc(len), buf[8];
        nx_stream *stream = tcp ? nxt_tcp_stream(&peer) : nxt_unix_stream(&peer);
        nx_file *file = make_file("received", 0);
        nxt_require(stream && file && back);
        nxt_expect(nxt_write_all(peer, "1\n", 2));
        nxt_expect_eq(nx_read_until(stream, buf, sizeof(buf), "\n", NX_FOREVER), 2);
        struct nxt_flow in = {.fd = peer, .seed = 3, .len = len};
        struct nxt_thread *sender = nxt_thread_start(send_and_close, &in);
        nxt_expect_eq(nx_recv_file(file, 10, stream, 1000, NX_FOREVER), 1000);
        nxt_expect_eq(nx_recv_file(file, 1010, stream, SIZE_MAX, NX_FOREVER), len - 1000);
        nxt_expect_eq(nx_recv_file(file, 0, stream, SIZE_MAX, NX_FOREVER), 0);
        nxt_expect_eq(nxt_thread_await(sender), len);
        nxt_expect_eq(nx_pread(file, back, len, 10, NX_FOREVER), len);
        nxt_expect_eq(nxt_check_fill(back, len, 0, 3), len);
        nx_file_close(file);
        nx_close(stream);
        free(back);
    }
}

static intptr_t send_file(void *arg)
{
    struct copying *copying = arg;
    return nx_send_file(copying->line->to, copying->file, 0, copying->len, NX_FOREVER);
}

NXT_TASK_TEST(a_cancelled_sending_of_a_file_says_how_much_went, .workers = 2)
{
    const size_t len = 4000000;
    for (int i = 0; i < 4; i++) {
        struct line line;
        char *data = malloc(len);
        nxt_require(make_line(&line, i % 2) && data);
        struct copying copying = {&line, make_file("cut", len), len};
        nxt_require(copying.file);
        nx_task task = nxt_task_on(i / 2, send_file, &copying);
        nxt_await(nxt_unread(line.sink) > 0);
        nxt_await_parked(task);
        nx_cancel(task);
        intptr_t sent = nxt_result(task);
        nxt_expect_gt(sent, 0);
        nx_close(line.to);
        line.to = NULL;
        nxt_expect_eq(nxt_read_all(line.sink, data, len), sent);
        nxt_expect_eq(nxt_check_fill(data, (size_t)sent, 0, 8), sent);
        nx_file_close(copying.file);
        end_line(&line);
        free(data);
    }
}

NXT_TASK_TEST(a_file_that_cannot_be_written_keeps_the_bytes_in_the_stream)
{
    int peer;
    char buf[8] = "";
    nx_file *file;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nxt_require_eq(nx_file_open("/dev/null", O_RDONLY, 0, &file, NX_FOREVER), 0);
    nxt_expect(nxt_write_all(peer, "bytes", 5));
    nxt_expect_eq(nx_recv_file(file, 0, stream, SIZE_MAX, NX_FOREVER), -EBADF);
    nxt_expect_eq(nx_read(stream, buf, sizeof(buf), NX_FOREVER), 5);
    nxt_expect_mem(buf, "bytes", 5);
    nx_file_close(file);
    nx_close(stream);
    nxt_close_fd(&peer);
}

static intptr_t copy_cancelled(void *arg)
{
    struct copying *copying = arg;
    nx_cancel(nx_self());
    nxt_expect_eq(nx_stream_copy(copying->line->to, copying->line->from, 1, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_send_file(copying->line->to, copying->file, 0, 1, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_recv_file(copying->file, 0, copying->line->from, 1, NX_FOREVER), -ECANCELED);
    return 0;
}

NXT_TASK_TEST(copies_heed_cancels_and_refuse_what_makes_no_sense)
{
    struct line line;
    nxt_require(make_line(&line, false));
    struct copying copying = {.line = &line, .file = make_file("refused", 10)};
    nxt_require(copying.file);
    nxt_expect_eq(nx_stream_copy(NULL, line.from, 1, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_stream_copy(line.to, NULL, 1, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_stream_copy(line.to, line.to, 1, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_send_file(line.to, NULL, 0, 1, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_send_file(line.to, copying.file, -1, 1, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_recv_file(NULL, 0, line.from, 1, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_recv_file(copying.file, -1, line.from, 1, NX_POLL), -EINVAL);
    nxt_result(nx_spawn(copy_cancelled, &copying));
    nx_file_close(copying.file);
    end_line(&line);
}

NXT_TEST(outside_a_task_copies_say_so)
{
    nxt_expect_eq(nx_stream_copy(NULL, NULL, 1, NX_POLL), -NX_ENOTASK);
    nxt_expect_eq(nx_send_file(NULL, NULL, 0, 1, NX_POLL), -NX_ENOTASK);
    nxt_expect_eq(nx_recv_file(NULL, 0, NULL, 1, NX_POLL), -NX_ENOTASK);
}
