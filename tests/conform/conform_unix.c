/* conform_unix.c: pairs, pipes, and descriptors sent along with bytes. */
#include "nxt_net.h"
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool pair_of(nx_stream *ret_pair[2])
{
    return nxt_expect_eq(nx_pair(&ret_pair[0], &ret_pair[1]), 0);
}

static void close_both(nx_stream *const pair[2])
{
    nx_close(pair[0]);
    nx_close(pair[1]);
}

NXT_TASK_TEST(a_pair_carries_bytes_both_ways)
{
    nx_stream *pair[2];
    char buf[8];
    nxt_require(pair_of(pair));
    for (int i = 0; i < 2; i++) {
        nxt_expect_eq(nx_write(pair[i], "there", 5, NX_FOREVER), 5);
        nxt_expect_eq(nx_read(pair[1 - i], buf, sizeof(buf), NX_FOREVER), 5);
        nxt_expect_mem(buf, "there", 5);
        nxt_expect(fcntl(nx_stream_fd(pair[i]), F_GETFD) & FD_CLOEXEC);
    }
    nx_close(pair[0]);
    nxt_expect_eq(nx_read(pair[1], buf, sizeof(buf), NX_FOREVER), 0);
    nx_close(pair[1]);
}

NXT_TASK_TEST(a_pipe_carries_bytes_one_way)
{
    nx_stream *ends[2];
    char buf[8];
    nxt_require_eq(nx_pipe(&ends[0], &ends[1]), 0);
    nxt_expect_eq(nx_read(ends[0], buf, sizeof(buf), NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_write(ends[1], "bytes", 5, NX_FOREVER), 5);
    nxt_expect_eq(nx_read(ends[0], buf, sizeof(buf), NX_FOREVER), 5);
    nxt_expect(fcntl(nx_stream_fd(ends[0]), F_GETFD) & FD_CLOEXEC);
    nx_close(ends[0]);
    nxt_expect_eq(nx_write(ends[1], "x", 1, NX_FOREVER), -EPIPE);
    nx_close(ends[1]);
    nxt_expect_eq(nx_pipe(NULL, &ends[1]), -EINVAL);
    nxt_expect_eq(nx_pair(NULL, &ends[1]), -EINVAL);
}

static intptr_t fill_pipe(void *arg)
{
    static char data[300000];
    nxt_fill(data, sizeof(data), 0, 3);
    ssize_t sent = nx_write(arg, data, sizeof(data), NX_FOREVER);
    nx_close(arg);
    return sent;
}

NXT_TASK_TEST(more_than_a_pipe_holds_goes_through_it, .workers = 2)
{
    nx_stream *ends[2];
    nxt_require_eq(nx_pipe(&ends[0], &ends[1]), 0);
    nx_task writer = nxt_task_on(1, fill_pipe, ends[1]);
    struct nxt_stream_flow flow = {.stream = ends[0], .flow = {.seed = 3}};
    nxt_expect_eq(nxt_stream_receive(&flow), 300000);
    nxt_expect_eq(nxt_result(writer), 300000);
    nx_close(ends[0]);
}

/* ---- descriptors ---- */

/* The read ends of that many pipes, to be told apart by the byte in each. */
static void make_pipes(int *ret_fds, int count)
{
    for (int i = 0; i < count; i++) {
        int fds[2];
        if (!nxt_pipe(fds))
            return;
        char byte = (char)('a' + i);
        nxt_expect(nxt_write_all(fds[1], &byte, 1));
        nxt_close_fd(&fds[1]);
        ret_fds[i] = fds[0];
    }
}

static void close_fds(int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        nxt_close_fd(&fds[i]);
}

/* They are the pipes made, from the first on, and nobody's after an exec. */
static void expect_pipes(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        char byte = 0;
        nxt_expect_eq(read(fds[i], &byte, 1), 1);
        nxt_expect_eq(byte, 'a' + (int)i);
        nxt_expect(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
    }
}

static intptr_t recv_some(void *arg)
{
    int fds[8];
    char buf[16];
    size_t count = NXT_COUNT(fds);
    ssize_t got = nx_stream_recv_fds(arg, buf, sizeof(buf), fds, &count, NX_FOREVER);
    if (got < 0)
        return got;
    expect_pipes(fds, count);
    close_fds(fds, count);
    return (intptr_t)count * 100 + got;
}

NXT_TASK_TEST(descriptors_go_along_with_bytes, .workers = 2)
{
    nx_stream *pair[2];
    int fds[3];
    nxt_require(pair_of(pair));
    for (int waits = 0; waits < 2; waits++) {
        make_pipes(fds, 3);
        nx_task reader = waits ? nxt_task_on(1, recv_some, pair[1]) : 0;
        if (waits)
            nxt_await_parked(reader);
        nxt_expect_eq(nx_stream_send_fds(pair[0], "bytes", 5, fds, 3, NX_FOREVER), 5);
        close_fds(fds, 3);
        nxt_expect_eq(waits ? nxt_result(reader) : recv_some(pair[1]), 305);
    }
    close_both(pair);
}

NXT_TASK_TEST(as_many_descriptors_as_are_allowed_go_at_once)
{
    enum { MOST = 64 };
    nx_stream *pair[2];
    int sent[MOST + 1], came[MOST + 1];
    size_t count = MOST + 1;
    char byte;
    nxt_require(pair_of(pair));
    for (int i = 0; i <= MOST; i++)
        sent[i] = 1;
    nxt_expect_eq(nx_stream_send_fds(pair[0], "x", 1, sent, MOST + 1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_stream_send_fds(pair[0], "x", 1, sent, MOST, NX_FOREVER), 1);
    nxt_expect_eq(nx_stream_recv_fds(pair[1], &byte, 1, came, &count, NX_FOREVER), 1);
    nxt_expect_eq(count, MOST);
    close_fds(came, count);
    close_both(pair);
}

NXT_TASK_TEST(descriptors_without_room_are_closed)
{
    nx_stream *pair[2];
    int fds[3], came[3];
    char buf[8];
    nxt_require(pair_of(pair));
    for (size_t room = 0; room < 3; room++) {
        int before = nxt_open_fds();
        make_pipes(fds, 3);
        nxt_expect_eq(nx_stream_send_fds(pair[0], "x", 1, fds, 3, NX_FOREVER), 1);
        close_fds(fds, 3);
        size_t count = room;
        nxt_expect_eq(nx_stream_recv_fds(pair[1], buf, sizeof(buf), room ? came : NULL, &count, NX_FOREVER), 1);
        nxt_expect_eq(count, room);
        expect_pipes(came, count);
        close_fds(came, count);
        nxt_expect_eq(nxt_open_fds(), before);
    }
    close_both(pair);
}

NXT_TASK_TEST(a_plain_read_closes_descriptors_that_come)
{
    nx_stream *pair[2];
    int fds[2];
    char buf[8];
    nxt_require(pair_of(pair));
    for (int how = 0; how < 3; how++) {
        int before = nxt_open_fds();
        make_pipes(fds, 2);
        nxt_expect_eq(nx_stream_send_fds(pair[0], "xy", 2, fds, 2, NX_FOREVER), 2);
        close_fds(fds, 2);
        if (how == 0)
            nxt_expect_eq(nx_read(pair[1], buf, sizeof(buf), NX_FOREVER), 2);
        else if (how == 1)
            nxt_expect_eq(nx_read(pair[1], buf, sizeof(buf), NX_POLL), 2);
        else
            nxt_expect_eq(nx_read_exact(pair[1], buf, 2, NX_FOREVER), 2);
        nxt_expect_eq(nxt_open_fds(), before);
    }
    close_both(pair);
}

NXT_TASK_TEST(bytes_without_descriptors_come_without)
{
    nx_stream *pair[2];
    int came[2];
    char buf[8];
    nxt_require(pair_of(pair));
    for (int i = 0; i < 2; i++) {
        size_t count = 2;
        if (i == 0)
            nxt_expect_eq(nx_write(pair[0], "x", 1, NX_FOREVER), 1);
        else
            nxt_expect_eq(nx_stream_send_fds(pair[0], "x", 1, NULL, 0, NX_FOREVER), 1);
        nxt_expect_eq(nx_stream_recv_fds(pair[1], buf, sizeof(buf), came, &count, NX_FOREVER), 1);
        nxt_expect_eq(count, 0);
    }
    nx_close(pair[0]);
    size_t count = 2;
    nxt_expect_eq(nx_stream_recv_fds(pair[1], buf, sizeof(buf), came, &count, NX_FOREVER), 0);
    nxt_expect_eq(count, 0);
    nx_close(pair[1]);
}

NXT_TASK_TEST(descriptors_stay_with_their_bytes)
{
    nx_stream *pair[2];
    int fds[1], came[2];
    char buf[64];
    nxt_require(pair_of(pair));
    for (int i = 0; i < 4; i++) {
        make_pipes(fds, 1);
        nxt_expect_eq(nx_write(pair[0], "plain", 5, NX_FOREVER), 5);
        nxt_expect_eq(nx_stream_send_fds(pair[0], "with", 4, fds, 1, NX_FOREVER), 4);
        close_fds(fds, 1);
    }
    size_t total = 0, total_fds = 0;
    while (total < 36) { /* a read goes on up to the end of bytes with descriptors: one of them at most comes */
        size_t count = 2;
        ssize_t got = nx_stream_recv_fds(pair[1], buf, sizeof(buf), came, &count, NX_FOREVER);
        nxt_require(got > 0);
        nxt_expect_le(count, 1);
        close_fds(came, count);
        total += (size_t)got;
        total_fds += count;
    }
    nxt_expect_eq(total, 36);
    nxt_expect_eq(total_fds, 4);
    close_both(pair);
}

NXT_TASK_TEST(bytes_kept_behind_a_line_come_before_descriptors)
{
    nx_stream *pair[2];
    int fds[1], came[2];
    char buf[16];
    size_t count = 2;
    nxt_require(pair_of(pair));
    nxt_expect_eq(nx_write(pair[0], "line\nrest", 9, NX_FOREVER), 9);
    nxt_expect_eq(nx_read_until(pair[1], buf, sizeof(buf), "\n", NX_FOREVER), 5);
    make_pipes(fds, 1);
    nxt_expect_eq(nx_stream_send_fds(pair[0], "with", 4, fds, 1, NX_FOREVER), 4);
    close_fds(fds, 1);
    nxt_expect_eq(nx_stream_recv_fds(pair[1], buf, sizeof(buf), came, &count, NX_FOREVER), 4);
    nxt_expect_mem(buf, "rest", 4);
    nxt_expect_eq(count, 0);
    count = 2;
    nxt_expect_eq(nx_stream_recv_fds(pair[1], buf, sizeof(buf), came, &count, NX_FOREVER), 4);
    nxt_expect_mem(buf, "with", 4);
    nxt_expect_eq(count, 1);
    expect_pipes(came, count);
    close_fds(came, count);
    close_both(pair);
}

NXT_TASK_TEST(only_unix_sockets_carry_descriptors)
{
    int peer;
    nx_stream *ends[2], *stream = nxt_tcp_stream(&peer);
    nxt_require(stream);
    nxt_expect_eq(nx_stream_send_fds(stream, "x", 1, &peer, 1, NX_FOREVER), -ENOTSUP);
    nxt_expect_eq(nxt_unread(peer), 0);
    nx_close(stream);
    nxt_close_fd(&peer);
    nxt_require_eq(nx_pipe(&ends[0], &ends[1]), 0);
    nxt_expect_eq(nx_stream_send_fds(ends[1], "x", 1, &(int){0}, 1, NX_FOREVER), -ENOTSOCK);
    close_both(ends);
}

NXT_TASK_TEST(sending_descriptors_heeds_room_deadline_and_cancel)
{
    nx_stream *pair[2];
    char buf[8];
    size_t count = 1;
    int came = -1;
    nxt_require(pair_of(pair));
    nxt_expect_eq(nx_stream_recv_fds(pair[1], buf, 1, &came, &count, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_stream_recv_fds(pair[1], buf, 1, &came, &count, nx_after_ms(1)), -ETIMEDOUT);
    nxt_expect_eq(count, 1);
    nx_task reader = nx_spawn(recv_some, pair[1]);
    nxt_await_parked(reader);
    nx_cancel(reader);
    nxt_expect_eq(nxt_result(reader), -ECANCELED);
    while (nx_write(pair[0], "fill", 4, NX_POLL) > 0)
        ;
    nxt_expect_eq(nx_stream_send_fds(pair[0], "x", 1, &(int){1}, 1, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_stream_send_fds(pair[0], "x", 1, &(int){1}, 1, nx_after_ms(1)), -ETIMEDOUT);
    reader = nx_spawn(recv_some, pair[0]);
    nxt_await_parked(reader);
    nx_close(pair[0]);
    nxt_expect_eq(nxt_result(reader), -EBADF);
    nx_close(pair[1]);
}

NXT_TASK_TEST(wrong_arguments_of_descriptors_are_refused)
{
    nx_stream *pair[2];
    char buf[8];
    size_t count = 1;
    nxt_require(pair_of(pair));
    nxt_expect_eq(nx_stream_send_fds(pair[0], "", 0, &(int){1}, 1, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_stream_send_fds(pair[0], "x", 1, NULL, 1, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_stream_send_fds(pair[0], "x", 1, &(int){-1}, 1, NX_POLL), -EBADF);
    nxt_expect_eq(nx_stream_send_fds(NULL, "x", 1, NULL, 0, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_stream_recv_fds(pair[0], buf, 0, &(int){0}, &count, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_stream_recv_fds(pair[0], buf, 1, NULL, &count, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_stream_recv_fds(pair[0], buf, 1, &(int){0}, NULL, NX_POLL), -EINVAL);
    close_both(pair);
}

NXT_TEST(there_are_no_pairs_outside_a_task)
{
    nx_stream *one, *other;
    nxt_expect_eq(nx_pair(&one, &other), -NX_ENOTASK);
    nxt_expect_eq(nx_pipe(&one, &other), -NX_ENOTASK);
    nxt_expect_eq(nx_stream_send_fds(NULL, "x", 1, NULL, 0, NX_POLL), -NX_ENOTASK);
    nxt_expect_eq(nx_stream_recv_fds(NULL, NULL, 0, NULL, NULL, NX_POLL), -NX_ENOTASK);
}
