/* conform_transfer.c: reading and writing: sizes, ends, what is told when a transfer stops half-way. */
#include "nxt_net.h"
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MIB (1024 * 1024)

/* ---- sizes ---- */

NXT_TASK_TEST(a_transfer_of_nothing_is_0_whatever_the_state)
{
    int peer;
    char byte;
    struct iovec empty[3] = {{&byte, 0}, {NULL, 0}, {&byte, 0}};
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    for (int closed = 0; closed < 2; closed++) {
        nxt_expect_eq(nx_read(stream, &byte, 0, NX_FOREVER), 0);
        nxt_expect_eq(nx_read(stream, NULL, 0, NX_FOREVER), 0);
        nxt_expect_eq(nx_read_exact(stream, &byte, 0, NX_FOREVER), 0);
        nxt_expect_eq(nx_write(stream, &byte, 0, NX_FOREVER), 0);
        nxt_expect_eq(nx_write(stream, NULL, 0, NX_FOREVER), 0);
        nxt_expect_eq(nx_writev(stream, empty, 0, NX_FOREVER), 0);
        nxt_expect_eq(nx_writev(stream, NULL, 0, NX_FOREVER), 0);
        nxt_expect_eq(nx_writev(stream, empty, 3, NX_FOREVER), 0);
        nxt_close_fd(&peer);
    }
    nx_close(stream);
}

NXT_TASK_TEST(one_byte_goes_each_way)
{
    nx_stream *pair[2];
    char byte = 0;
    nxt_require(nxt_stream_pair(pair));
    nxt_expect_eq(nx_write(pair[0], "a", 1, NX_FOREVER), 1);
    nxt_expect_eq(nx_read(pair[1], &byte, 1, NX_FOREVER), 1);
    nxt_expect_eq(byte, 'a');
    nxt_expect_eq(nx_writev(pair[1], &(struct iovec){(char[]){'b'}, 1}, 1, NX_FOREVER), 1);
    nxt_expect_eq(nx_read_exact(pair[0], &byte, 1, NX_FOREVER), 1);
    nxt_expect_eq(byte, 'b');
    nx_close(pair[0]);
    nx_close(pair[1]);
}

NXT_TASK_TEST(read_gives_what_is_there_and_read_exact_waits_for_all_of_it, .workers = 2)
{
    int peer;
    char buffer[1000];
    nx_stream *stream = nxt_tcp_stream(&peer);
    nxt_require(stream);
    nxt_expect(nxt_write_all(peer, "abc", 3));
    nxt_expect_eq(nx_read(stream, buffer, sizeof(buffer), NX_FOREVER), 3);
    struct nxt_flow flow = {.fd = peer, .len = 1000, .chunk = 100, .pause_ns = 100000, .seed = 3};
    struct nxt_thread *sender = nxt_thread_start(nxt_flow_send, &flow);
    nxt_expect_eq(nx_read_exact(stream, buffer, sizeof(buffer), NX_FOREVER), 1000);
    nxt_expect_eq(nxt_check_fill(buffer, 1000, 0, 3), 1000);
    nxt_expect_eq(nxt_thread_await(sender), 1000);
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(the_end_of_a_stream_is_0_again_and_again_and_cuts_read_exact_short)
{
    int peer;
    char buffer[10];
    nx_stream *stream = nxt_tcp_stream(&peer);
    nxt_require(stream);
    nxt_expect(nxt_write_all(peer, "abcd", 4));
    nxt_close_fd(&peer);
    nxt_expect_eq(nx_read_exact(stream, buffer, sizeof(buffer), NX_FOREVER), 4);
    nxt_expect_mem(buffer, "abcd", 4);
    for (int i = 0; i < 3; i++) {
        nxt_expect_eq(nx_read_exact(stream, buffer, sizeof(buffer), NX_FOREVER), 0);
        nxt_expect_eq(nx_read(stream, buffer, sizeof(buffer), NX_FOREVER), 0);
        nxt_expect_eq(nx_read(stream, buffer, sizeof(buffer), NX_POLL), 0);
        nxt_expect_eq(nx_read(stream, buffer, sizeof(buffer), 1), 0);
    }
    nx_close(stream);
}

/* ---- vectors ---- */

static void expect_vector(nx_stream *stream, int peer, const struct iovec *iov, int count, size_t total, uint32_t seed)
{
    struct nxt_flow flow = {.fd = peer, .len = total, .seed = seed, .chunk = 3000};
    struct nxt_thread *receiver = nxt_thread_start(nxt_flow_receive, &flow);
    nxt_expect_eq(nx_writev(stream, iov, count, NX_FOREVER), total);
    nxt_expect_eq(nxt_thread_await(receiver), total);
}

NXT_TASK_TEST(a_vector_with_empty_parts_of_any_size_in_any_pieces_arrives_in_order, .workers = 2)
{
    enum { PARTS = 3000, ROUNDS = 6 };
    struct iovec *iov = calloc(PARTS, sizeof(*iov));
    char *data = malloc(PARTS * 100);
    uint64_t seed = 7;
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nxt_small_buffers(peer); /* so that it is cut in odd places */
    nxt_small_buffers(nx_stream_fd(stream));
    for (uint32_t round = 0; round < ROUNDS; round++) {
        static const int counts[ROUNDS] = {1, 2, 1023, 1024, 1025, PARTS};
        size_t total = 0;
        for (int i = 0; i < counts[round]; i++) {
            size_t len = nxt_random(&seed) % 4 == 0 ? 0 : (size_t)(nxt_random(&seed) % 100);
            iov[i] = (struct iovec){len ? data + total : NULL, len};
            total += len;
        }
        nxt_fill(data, total, 0, round);
        expect_vector(stream, peer, iov, counts[round], total, round);
    }
    nxt_close_fd(&peer);
    nx_close(stream);
    free(data);
    free(iov);
}

NXT_TASK_TEST(a_vector_of_large_parts_arrives, .workers = 2)
{
    enum { PART = MIB / 2 + 13 };
    char *data = malloc(3 * PART);
    int peer;
    nx_stream *stream = nxt_tcp_stream(&peer);
    nxt_require(stream);
    nxt_fill(data, 3 * PART, 0, 5);
    const struct iovec iov[] = {{data, 0}, {data, PART}, {data, 0}, {data + PART, PART}, {data + 2 * PART, PART}};
    expect_vector(stream, peer, iov, NXT_COUNT(iov), 3 * PART, 5);
    nxt_close_fd(&peer);
    nx_close(stream);
    free(data);
}

NXT_TASK_TEST(more_than_1024_empty_parts_in_a_row_are_no_end)
{
    enum { PARTS = 2100 };
    static struct iovec iov[PARTS];
    int peer;
    char text[3] = "";
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    memset(iov, 0, sizeof(iov));
    iov[0] = (struct iovec){"a", 1};
    iov[PARTS - 1] = (struct iovec){"b", 1};
    nxt_expect_eq(nx_writev(stream, iov, PARTS, NX_FOREVER), 2);
    nxt_expect_eq(nxt_read_all(peer, text, 2), 2);
    nxt_expect_str(text, "ab");
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(arguments_of_transfers_are_checked)
{
    nx_stream *pair[2];
    char byte;
    nxt_require(nxt_stream_pair(pair));
    nxt_expect_eq(nx_read(NULL, &byte, 1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_read(pair[0], NULL, 1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_read_exact(NULL, &byte, 1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_read_exact(pair[0], NULL, 1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_write(NULL, &byte, 1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_write(pair[0], NULL, 1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_writev(NULL, &(struct iovec){&byte, 1}, 1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_writev(pair[0], NULL, 1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_writev(pair[0], &(struct iovec){&byte, 1}, -1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_shutdown(NULL, NX_SHUT_READ), -EINVAL);
    nxt_expect_eq(nx_shutdown(pair[0], 3), -EINVAL);
    nxt_expect_eq(nx_shutdown(pair[0], -1), -EINVAL);
    nxt_expect_eq(nx_stream_peer(NULL, &(nx_addr){0}), -EINVAL);
    nxt_expect_eq(nx_stream_peer(pair[0], NULL), -EINVAL);
    nxt_expect_eq(nx_stream_fd(NULL), -EINVAL);
    nx_close(pair[0]);
    nx_close(pair[1]);
}

/* ---- half-closed ---- */

NXT_TASK_TEST(an_end_that_has_been_shut_for_writing_still_reads)
{
    int peer;
    char buffer[8];
    nx_stream *stream = nxt_tcp_stream(&peer);
    nxt_require(stream);
    nxt_expect_eq(nx_write(stream, "last", 4, NX_FOREVER), 4);
    nxt_expect_eq(nx_shutdown(stream, NX_SHUT_WRITE), 0);
    nxt_expect_eq(nxt_read_all(peer, buffer, sizeof(buffer)), 4); /* and the end */
    nxt_expect(nxt_write_all(peer, "reply", 5));
    nxt_expect_eq(nx_read_exact(stream, buffer, 5, NX_FOREVER), 5);
    nxt_expect_mem(buffer, "reply", 5);
    nxt_expect_eq(nx_write(stream, "x", 1, NX_FOREVER), -EPIPE);
    nxt_close_fd(&peer);
    nxt_expect_eq(nx_read(stream, buffer, 1, NX_FOREVER), 0);
    nx_close(stream);
}

NXT_TASK_TEST(an_end_whose_peer_has_shut_still_writes)
{
    int peer;
    char buffer[8];
    nx_stream *stream = nxt_tcp_stream(&peer);
    nxt_require(stream);
    nxt_expect(nxt_write_all(peer, "bye", 3));
    nxt_expect_eq(shutdown(peer, SHUT_WR), 0);
    nxt_expect_eq(nx_read_exact(stream, buffer, sizeof(buffer), NX_FOREVER), 3);
    nxt_expect_eq(nx_read(stream, buffer, 1, NX_FOREVER), 0);
    for (int i = 0; i < 3; i++) {
        nxt_expect_eq(nx_write(stream, "reply", 5, NX_FOREVER), 5);
        nxt_expect_eq(nxt_read_all(peer, buffer, 5), 5);
        nxt_expect_mem(buffer, "reply", 5);
    }
    nxt_close_fd(&peer);
    nx_close(stream);
}

static intptr_t read_one(void *arg)
{
    char byte;
    return nx_read(arg, &byte, 1, NX_FOREVER);
}

NXT_TASK_TEST(shutting_the_reading_side_ends_a_read_that_waits, .workers = 2)
{
    for (int worker = 0; worker < 2; worker++) {
        for (int how = 0; how < 2; how++) {
            nx_stream *pair[2];
            nxt_require(nxt_stream_pair(pair));
            nx_task reader = nxt_task_on(worker, read_one, pair[0]);
            nxt_await_parked(reader);
            nxt_expect_eq(nx_shutdown(pair[0], how ? NX_SHUT_BOTH : NX_SHUT_READ), 0);
            nxt_expect_eq(nxt_result(reader), 0);
            nx_close(pair[0]);
            nx_close(pair[1]);
        }
    }
}

NXT_TASK_TEST(a_cancelled_task_may_still_shut_a_stream)
{
    int peer;
    char buffer[8];
    nx_stream *stream = nxt_tcp_stream(&peer);
    nxt_require(stream);
    nx_cancel(nx_self());
    nxt_expect_eq(nx_shutdown(stream, NX_SHUT_WRITE), 0);
    nxt_expect_eq(nxt_read_all(peer, buffer, sizeof(buffer)), 0);
    nxt_close_fd(&peer);
    nx_close(stream);
}

/* ---- much data, slow readers ---- */

static void expect_flow(nx_stream *stream, int peer, size_t len, int64_t pause_ns)
{
    char *data = malloc(len);
    struct nxt_flow flow = {.fd = peer, .len = len, .seed = 9, .pause_ns = pause_ns};
    nxt_fill(data, len, 0, 9);
    struct nxt_thread *receiver = nxt_thread_start(nxt_flow_receive, &flow);
    nxt_expect_eq(nx_write(stream, data, len, NX_FOREVER), len);
    nxt_expect_eq(nxt_thread_await(receiver), len);
    nxt_close_fd(&peer);
    nx_close(stream);
    free(data);
}

NXT_TASK_TEST(one_mib_goes_into_a_slow_reader_by_tcp)
{
    int peer;
    nx_stream *stream = nxt_tcp_stream(&peer);
    nxt_require(stream);
    expect_flow(stream, peer, MIB, 2000000);
}

NXT_TASK_TEST(one_mib_goes_into_a_slow_reader_by_a_small_unix_socket)
{
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nxt_small_buffers(peer);
    nxt_small_buffers(nx_stream_fd(stream));
    expect_flow(stream, peer, MIB, 20000);
}

NXT_TASK_TEST(sixty_four_mib_are_written_by_one_call)
{
    int peer;
    nx_stream *stream = nxt_tcp_stream(&peer);
    nxt_require(stream);
    expect_flow(stream, peer, (size_t)nxt_scaled(64 * MIB, MIB), 0);
}

NXT_TASK_TEST(sixty_four_mib_are_read_by_one_call)
{
    size_t len = (size_t)nxt_scaled(64 * MIB, MIB);
    char *data = malloc(len);
    int peer;
    nx_stream *stream = nxt_tcp_stream(&peer);
    nxt_require(stream);
    struct nxt_flow flow = {.fd = peer, .len = len, .seed = 11};
    struct nxt_thread *sender = nxt_thread_start(nxt_flow_send, &flow);
    nxt_expect_eq(nx_read_exact(stream, data, len, NX_FOREVER), len);
    nxt_expect_eq(nxt_check_fill(data, len, 0, 11), len);
    nxt_expect_eq(nxt_thread_await(sender), len);
    nxt_close_fd(&peer);
    nx_close(stream);
    free(data);
}

/* ---- not waiting ---- */

NXT_TASK_TEST(a_polling_read_says_again_or_takes_what_is_there)
{
    int peer;
    char buffer[8];
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    for (int i = 0; i < 100; i++) {
        nxt_expect_eq(nx_read(stream, buffer, sizeof(buffer), NX_POLL), -EAGAIN);
        nxt_expect_eq(nx_read_exact(stream, buffer, sizeof(buffer), NX_POLL), -EAGAIN);
        nxt_expect(nxt_write_all(peer, "12345", 5));
        nxt_expect_eq(nx_read(stream, buffer, 2, NX_POLL), 2);
        nxt_expect_eq(nx_read_exact(stream, buffer, sizeof(buffer), NX_POLL), 3); /* as much as there is */
    }
    nxt_close_fd(&peer);
    nx_close(stream);
}

/* Writes until the stream is full: how many bytes it took. */
static size_t fill_up(nx_stream *stream, const char *data, size_t size, nx_time deadline, ssize_t full)
{
    size_t total = 0;
    ssize_t sent;
    while ((sent = nx_write(stream, data, size, deadline)) > 0)
        total += (size_t)sent;
    nxt_expect_eq(sent, full);
    return total;
}

static size_t drain(int fd, size_t len)
{
    char buffer[4096];
    size_t total = 0;
    while (total < len) {
        ssize_t got = nxt_read_all(fd, buffer, len - total < sizeof(buffer) ? len - total : sizeof(buffer));
        if (got <= 0)
            break;
        total += (size_t)got;
    }
    return total;
}

NXT_TASK_TEST(a_polling_write_takes_what_fits_and_then_says_again)
{
    static char data[100000];
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    for (int i = 0; i < 10; i++) {
        size_t total = fill_up(stream, data, sizeof(data), NX_POLL, -EAGAIN);
        nxt_expect_gt(total, 0);
        nxt_expect_eq(nx_writev(stream, (struct iovec[]){{data, 10}, {data, 10}}, 2, NX_POLL), -EAGAIN);
        nxt_expect_eq(drain(peer, total), total);
    }
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(a_transfer_whose_deadline_has_passed_tries_once)
{
    static char data[100000];
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nxt_expect_eq(nx_read(stream, data, 10, 1), -ETIMEDOUT);
    nxt_expect_eq(nx_read(stream, data, 10, nx_now()), -ETIMEDOUT);
    nxt_expect(nxt_write_all(peer, "12345", 5));
    nxt_expect_eq(nx_read(stream, data, 2, 1), 2);
    nxt_expect_eq(nx_read_exact(stream, data, 10, 1), 3);
    nxt_expect_eq(nx_write(stream, "abc", 3, 1), 3);
    nxt_expect_eq(nxt_read_all(peer, data, 3), 3);
    size_t total = fill_up(stream, data, sizeof(data), 1, -ETIMEDOUT);
    nxt_expect_gt(total, 0);
    nxt_expect_eq(drain(peer, total), total);
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(a_transfer_waits_until_its_deadline_and_not_less)
{
    static char data[100000];
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nx_time deadline = nx_after_ms(20);
    nxt_expect_eq(nx_read(stream, data, 10, deadline), -ETIMEDOUT);
    nxt_expect_ge(nx_now(), deadline);
    fill_up(stream, data, sizeof(data), NX_POLL, -EAGAIN);
    deadline = nx_after_ms(20);
    nxt_expect_eq(nx_write(stream, data, 10, deadline), -ETIMEDOUT);
    nxt_expect_ge(nx_now(), deadline);
    nxt_close_fd(&peer);
    nx_close(stream);
}

/* ---- stopped half-way ---- */

NXT_TASK_TEST(a_write_cut_by_its_deadline_tells_its_bytes_and_then_the_reason)
{
    char *data = malloc(8 * MIB);
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nxt_fill(data, 8 * MIB, 0, 13);
    nx_time deadline = nx_after_ms(20);
    ssize_t sent = nx_write(stream, data, 8 * MIB, deadline);
    nxt_expect(sent > 0 && sent < 8 * MIB);
    nxt_expect_ge(nx_now(), deadline);
    nxt_expect_eq(nx_write(stream, data + sent, 8 * MIB - (size_t)sent, deadline), -ETIMEDOUT);
    struct nxt_flow flow = {.fd = peer, .len = 8 * MIB, .seed = 13};
    struct nxt_thread *receiver = nxt_thread_start(nxt_flow_receive, &flow);
    nxt_expect_eq(nx_write(stream, data + sent, 8 * MIB - (size_t)sent, NX_FOREVER),
                  8 * MIB - sent); /* as if nothing */
    nxt_expect_eq(nxt_thread_await(receiver), 8 * MIB);
    nxt_close_fd(&peer);
    nx_close(stream);
    free(data);
}

struct cut {
    nx_stream *stream;
    char *data;
    ssize_t first, second;
};

static intptr_t write_twice(void *arg)
{
    struct cut *cut = arg;
    cut->first = nx_write(cut->stream, cut->data, 8 * MIB, NX_FOREVER);
    cut->second = nx_write(cut->stream, cut->data, 1, NX_FOREVER);
    return 0;
}

static intptr_t read_twice(void *arg)
{
    struct cut *cut = arg;
    cut->first = nx_read_exact(cut->stream, cut->data, 1000, NX_FOREVER);
    cut->second = nx_read_exact(cut->stream, cut->data, 1000, NX_FOREVER);
    return 0;
}

NXT_TASK_TEST(a_write_cut_by_a_cancel_tells_its_bytes_and_then_the_reason, .workers = 2)
{
    struct cut cut = {.data = malloc(8 * MIB)};
    for (int worker = 0; worker < 2; worker++) {
        int peer;
        cut.stream = nxt_unix_stream(&peer);
        nxt_require(cut.stream);
        nx_task writer = nxt_task_on(worker, write_twice, &cut);
        nxt_await_parked(writer);
        nx_cancel(writer);
        nxt_result(writer);
        nxt_expect(cut.first > 0 && cut.first < 8 * MIB);
        nxt_expect_eq(cut.second, -ECANCELED);
        nx_close(cut.stream);
        nxt_expect_eq(drain(peer, 8 * MIB), cut.first);
        nxt_close_fd(&peer);
    }
    free(cut.data);
}

NXT_TASK_TEST(a_read_exact_cut_short_tells_its_bytes_and_then_the_reason, .workers = 2)
{
    static const char sent[200];
    char data[1000];
    struct cut cut = {.data = data};
    for (int worker = 0; worker < 2; worker++) {
        int peer;
        cut.stream = nxt_unix_stream(&peer);
        nxt_require(cut.stream);
        nxt_expect(nxt_write_all(peer, sent, 100));
        nx_time deadline = nx_after_ms(10);
        nxt_expect_eq(nx_read_exact(cut.stream, data, sizeof(data), deadline), 100);
        nxt_expect_eq(nx_read_exact(cut.stream, data, sizeof(data), deadline), -ETIMEDOUT);
        nxt_expect(nxt_write_all(peer, sent, 200));
        nx_task reader = nxt_task_on(worker, read_twice, &cut);
        nxt_await_parked(reader);
        nxt_await(nxt_unread(nx_stream_fd(cut.stream)) == 0); /* it has taken the 200 */
        nx_cancel(reader);
        nxt_result(reader);
        nxt_expect_eq(cut.first, 200);
        nxt_expect_eq(cut.second, -ECANCELED);
        nxt_close_fd(&peer);
        nx_close(cut.stream);
    }
}

NXT_TASK_TEST(a_reset_in_the_middle_of_a_read_is_told_after_the_bytes_and_once, .workers = 2)
{
    static const char sent[200];
    char data[1000];
    struct cut cut = {.data = data};
    for (int worker = 0; worker < 2; worker++) {
        int peer;
        cut.stream = nxt_tcp_stream(&peer);
        nxt_require(cut.stream);
        nx_task reader = nxt_task_on(worker, read_twice, &cut);
        nxt_expect(nxt_write_all(peer, sent, 100));
        nxt_await(nxt_unread(nx_stream_fd(cut.stream)) == 0);
        nxt_await_parked(reader);
        nxt_reset(&peer);
        nxt_result(reader);
        nxt_expect(cut.first == 100 || cut.first == -ECONNRESET); /* the second if 100 had not yet come when it was 0 */
        nxt_expect(cut.first == 100 ? cut.second == -ECONNRESET : cut.second == 0);
        nxt_expect_eq(nx_read(cut.stream, data, 1, NX_FOREVER), 0);
        nx_close(cut.stream);
    }
}

NXT_TASK_TEST(a_reset_in_the_middle_of_a_write_is_told_after_the_bytes, .workers = 2)
{
    struct cut cut = {.data = malloc(8 * MIB)};
    for (int worker = 0; worker < 2; worker++) {
        int peer;
        char byte;
        cut.stream = nxt_tcp_stream(&peer);
        nxt_require(cut.stream);
        nx_task writer = nxt_task_on(worker, write_twice, &cut);
        nxt_await(nxt_unread(peer) > 0);
        nxt_await_parked(writer);
        nxt_expect_eq(nxt_read_all(peer, &byte, 1), 1);
        nxt_reset(&peer);
        nxt_result(writer);
        nxt_expect(cut.first > 0 && cut.first < 8 * MIB);
        nxt_expect_eq(cut.second, -ECONNRESET);
        nxt_expect_eq(nx_write(cut.stream, cut.data, 1, NX_FOREVER), -EPIPE);
        nx_close(cut.stream);
    }
    free(cut.data);
}

/* ---- nobody reads ---- */

static bool sigpipe_is_default(void)
{
    struct sigaction action;
    return sigaction(SIGPIPE, NULL, &action) == 0 && !(action.sa_flags & SA_SIGINFO) && action.sa_handler == SIG_DFL;
}

/* Writes until it fails: the first error, which a TCP peer takes a moment to cause. */
static ssize_t write_until_error(nx_stream *stream)
{
    ssize_t sent;
    nxt_await((sent = nx_write(stream, "x", 1, NX_FOREVER)) != 1);
    return sent;
}

NXT_TASK_TEST(writing_to_a_peer_that_has_closed_is_an_error_and_never_a_signal)
{
    int peer;
    nxt_expect(sigpipe_is_default()); /* it would end the process */
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nxt_close_fd(&peer);
    for (int i = 0; i < 3; i++) {
        nxt_expect_eq(nx_write(stream, "x", 1, NX_FOREVER), -EPIPE);
        nxt_expect_eq(nx_writev(stream, (struct iovec[]){{"x", 1}, {"y", 1}}, 2, NX_FOREVER), -EPIPE);
        nxt_expect_eq(nx_write(stream, "x", 1, NX_POLL), -EPIPE);
    }
    nx_close(stream);
    stream = nxt_tcp_stream(&peer);
    nxt_require(stream);
    nxt_close_fd(&peer);
    ssize_t error = write_until_error(stream);
    nxt_expect(error == -EPIPE || error == -ECONNRESET);
    for (int i = 0; i < 3; i++)
        nxt_expect_eq(nx_write(stream, "x", 1, NX_FOREVER), -EPIPE);
    nx_close(stream);
    nxt_expect(sigpipe_is_default());
}

static intptr_t write_much(void *arg)
{
    static const char data[MIB];
    ssize_t sent;
    while ((sent = nx_write(arg, data, sizeof(data), NX_FOREVER)) > 0)
        ;
    return sent;
}

NXT_TASK_TEST(writing_to_a_pipe_nobody_reads_is_an_error_and_never_a_signal, .workers = 2)
{
    int fds[2];
    nxt_expect(sigpipe_is_default());
    nxt_require(nxt_pipe(fds));
    nx_stream *stream = nxt_stream_of(fds[1]);
    nxt_require(stream);
    nxt_close_fd(&fds[0]);
    for (int i = 0; i < 3; i++) {
        nxt_expect_eq(nx_write(stream, "x", 1, NX_FOREVER), -EPIPE);
        nxt_expect_eq(nx_writev(stream, (struct iovec[]){{"x", 1}, {"y", 1}}, 2, NX_FOREVER), -EPIPE);
        nxt_expect_eq(nx_write(stream, "x", 1, NX_POLL), -EPIPE);
    }
    nx_close(stream);
    for (int worker = 0; worker < 2; worker++) { /* and while it waits */
        nxt_require(nxt_pipe(fds));
        stream = nxt_stream_of(fds[1]);
        nxt_require(stream);
        nx_task writer = nxt_task_on(worker, write_much, stream);
        nxt_await_parked(writer);
        nxt_close_fd(&fds[0]);
        nxt_expect_eq(nxt_result(writer), -EPIPE);
        nx_close(stream);
    }
    nxt_expect(sigpipe_is_default());
}

/* ---- several at once ---- */

NXT_TASK_TEST(each_byte_goes_to_exactly_one_of_many_readers, .workers = 2)
{
    enum { READERS = 50 };
    nx_task readers[READERS];
    int peer, got = 0;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    for (int i = 0; i < READERS; i++)
        readers[i] = nxt_task_on(i % 2, read_one, stream);
    for (int i = 0; i < READERS / 2; i++) {
        nxt_expect(nxt_write_all(peer, "x", 1));
        if (i % 3 == 0)
            nx_yield();
    }
    nxt_await(nxt_unread(nx_stream_fd(stream)) == 0);
    nxt_expect_eq(shutdown(peer, SHUT_WR), 0);
    for (int i = 0; i < READERS; i++)
        got += (int)nxt_result(readers[i]);
    nxt_expect_eq(got, READERS / 2);
    nxt_close_fd(&peer);
    nx_close(stream);
}

struct letter {
    nx_stream *stream;
    char letter;
};

static intptr_t write_letters(void *arg)
{
    const struct letter *letter = arg;
    char data[3000];
    memset(data, letter->letter, sizeof(data));
    return nx_write(letter->stream, data, sizeof(data), NX_FOREVER);
}

NXT_TASK_TEST(what_many_writers_write_at_once_all_arrives, .workers = 2)
{
    enum { WRITERS = 16 };
    nx_task writers[WRITERS];
    struct letter letters[WRITERS];
    int peer, counts[WRITERS] = {0};
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nxt_small_buffers(nx_stream_fd(stream));
    for (int i = 0; i < WRITERS; i++) {
        letters[i] = (struct letter){stream, (char)('a' + i)};
        writers[i] = nxt_task_on(i % 2, write_letters, &letters[i]);
    }
    nxt_expect(nxt_set_nonblock(peer));
    for (int total = 0; total < WRITERS * 3000;) {
        char data[512];
        ssize_t got = read(peer, data, sizeof(data));
        for (ssize_t i = 0; i < got; i++)
            counts[data[i] - 'a']++;
        total += got > 0 ? (int)got : 0;
        nx_yield();
    }
    for (int i = 0; i < WRITERS; i++) {
        nxt_expect_eq(nxt_result(writers[i]), 3000);
        nxt_expect_eq(counts[i], 3000);
    }
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(a_cancelled_task_gets_no_byte_and_takes_none, .workers = 1)
{
    nx_stream *pair[2];
    char byte = 0;
    nxt_require(nxt_stream_pair(pair));
    nxt_expect_eq(nx_write(pair[0], "x", 1, NX_FOREVER), 1);
    nx_cancel(nx_self());
    nxt_expect_eq(nx_read(pair[1], &byte, 1, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_read(pair[1], &byte, 1, NX_POLL), -ECANCELED);
    nxt_expect_eq(nx_write(pair[1], "y", 1, NX_FOREVER), -ECANCELED);
    nx_shield(NX_FOREVER);
    nxt_expect_eq(nx_read(pair[1], &byte, 1, NX_FOREVER), 1);
    nxt_expect_eq(nx_read(pair[0], &byte, 1, NX_POLL), -EAGAIN);
    nx_shield(0);
    nx_close(pair[0]);
    nx_close(pair[1]);
}
