/* conform_foreign.c: descriptors that come from outside: streams made of them, and nx_fd_wait. */
#include "nxt_net.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

/* ---- streams from descriptors ---- */

static void expect_talk(nx_stream *reading, nx_stream *writing)
{
    char buffer[3000], sent[3000];
    struct nxt_stream_flow in = {reading, {.len = 200000, .seed = 4}}, out = {writing, {.len = 200000, .seed = 4}};
    nx_task reader = nxt_task_on(0, nxt_stream_receive, &in), writer = nxt_task_on(1, nxt_stream_send, &out);
    nxt_expect_eq(nxt_result(writer), 200000);
    nxt_expect_eq(nxt_result(reader), 200000);
    nxt_fill(sent, sizeof(sent), 0, 8);
    nxt_expect_eq(
        nx_writev(writing, (struct iovec[]){{sent, 1}, {NULL, 0}, {sent + 1, sizeof(sent) - 1}}, 3, NX_FOREVER),
        sizeof(sent));
    nxt_expect_eq(nx_read_exact(reading, buffer, sizeof(buffer), NX_FOREVER), sizeof(buffer));
    nxt_expect_eq(nxt_check_fill(buffer, sizeof(buffer), 0, 8), sizeof(buffer));
    nxt_expect_eq(nx_read(reading, buffer, 1, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_read(reading, buffer, 1, nx_after_ms(1)), -ETIMEDOUT);
}

static void expect_pair(int fds[2], bool nonblock)
{
    if (nonblock) {
        nxt_set_nonblock(fds[0]);
        nxt_set_nonblock(fds[1]);
    }
    nx_stream *reading = nxt_stream_of(fds[0]), *writing = nxt_stream_of(fds[1]);
    nxt_require(reading && writing);
    nxt_expect_eq(nx_stream_fd(reading), fds[0]);
    expect_talk(reading, writing);
    nx_close(writing);
    nxt_expect_eq(nx_read(reading, &(char){0}, 1, NX_FOREVER), 0);
    nx_close(reading);
}

NXT_TASK_TEST(a_socket_pair_becomes_streams, .workers = 2)
{
    for (int nonblock = 0; nonblock < 2; nonblock++) {
        int fds[2];
        nxt_require(nxt_socketpair(fds));
        expect_pair(fds, nonblock);
    }
}

NXT_TASK_TEST(a_tcp_connection_becomes_streams, .workers = 2)
{
    for (int nonblock = 0; nonblock < 2; nonblock++) {
        int fds[2];
        nxt_require(nxt_tcp_pair(fds));
        expect_pair(fds, nonblock);
    }
}

NXT_TASK_TEST(a_pipe_becomes_streams, .workers = 2)
{
    for (int nonblock = 0; nonblock < 2; nonblock++) {
        int fds[2];
        nx_addr addr;
        nxt_require(nxt_pipe(fds));
        expect_pair(fds, nonblock);
        nxt_require(nxt_pipe(fds));
        nx_stream *stream = nxt_stream_of(fds[0]);
        nxt_require(stream);
        nxt_expect_eq(nx_shutdown(stream, NX_SHUT_READ), -ENOTSOCK);
        nxt_expect_eq(nx_stream_peer(stream, &addr), -ENOTSOCK);
        nxt_expect_lt(nx_write(stream, "x", 1, NX_FOREVER), 0); /* the reading end */
        nx_close(stream);
        nxt_close_fd(&fds[1]);
    }
}

static int open_terminal(int *ret_slave)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    struct termios raw;
    char name[64];
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0 || ptsname_r(master, name, sizeof(name)) != 0)
        return -1;
    *ret_slave = open(name, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (*ret_slave < 0 || tcgetattr(*ret_slave, &raw) < 0)
        return -1;
    cfmakeraw(&raw);
    nxt_expect_eq(tcsetattr(*ret_slave, TCSANOW, &raw), 0);
    return master;
}

NXT_TASK_TEST(a_terminal_becomes_a_stream, .workers = 2)
{
    for (int nonblock = 0; nonblock < 2; nonblock++) {
        int slave, master = open_terminal(&slave);
        char buffer[8];
        nxt_require(master >= 0);
        if (nonblock)
            nxt_set_nonblock(slave);
        nx_stream *stream = nxt_stream_of(slave);
        nxt_require(stream);
        nxt_expect_eq(nx_read(stream, buffer, 1, NX_POLL), -EAGAIN);
        nxt_expect_eq(nx_read(stream, buffer, 1, nx_after_ms(2)), -ETIMEDOUT);
        for (int i = 0; i < 20; i++) {
            nxt_expect_eq(write(master, "key", 3), 3);
            nxt_expect_eq(nx_read_exact(stream, buffer, 3, NX_FOREVER), 3);
            nxt_expect_mem(buffer, "key", 3);
            nxt_expect_eq(nx_write(stream, "echo", 4, NX_FOREVER), 4);
            nxt_expect_eq(nxt_read_all(master, buffer, 4), 4);
            nxt_expect_mem(buffer, "echo", 4);
        }
        nxt_close_fd(&master);
        ssize_t end = nx_read(stream, buffer, 1, NX_FOREVER);
        nxt_expect(end == 0 || end == -EIO); /* Linux: the end, or that the other side has hung up */
        nx_close(stream);
    }
}

static intptr_t read_one(void *arg)
{
    char byte;
    return nx_read(arg, &byte, 1, NX_FOREVER);
}

NXT_TASK_TEST(a_read_of_a_terminal_or_pipe_is_cancelled_and_closed, .workers = 2)
{
    for (int kind = 0; kind < 4; kind++) {
        int fds[2];
        if (kind / 2 == 0)
            nxt_require(nxt_pipe(fds));
        else
            nxt_require((fds[1] = open_terminal(&fds[0])) >= 0);
        nx_stream *stream = nxt_stream_of(fds[0]);
        nxt_require(stream);
        nx_task reader = nxt_task_on(kind % 2, read_one, stream);
        nxt_await_parked(reader);
        nx_cancel(reader);
        nxt_expect_eq(nxt_result(reader), -ECANCELED);
        nxt_expect_eq(write(fds[1], "x", 1), 1);
        nxt_expect_eq(nxt_result(nxt_task_on(kind % 2, read_one, stream)), 1);
        reader = nxt_task_on(kind % 2, read_one, stream);
        nxt_await_parked(reader);
        nx_close(stream);
        nxt_expect_eq(nxt_result(reader), -EBADF);
        nxt_close_fd(&fds[1]);
    }
}

NXT_TASK_TEST(what_is_no_open_descriptor_is_refused_and_stays_the_callers)
{
    int fds[2];
    nx_stream *stream = (nx_stream *)&stream;
    nxt_require(nxt_pipe(fds));
    int stale = fds[0];
    nxt_close_fd(&fds[0]);
    nxt_expect_eq(nx_stream_from_fd(stale, &stream), -EBADF);
    nxt_expect_eq(nx_stream_from_fd(-1, &stream), -EBADF);
    nxt_expect_eq(nx_stream_from_fd(fds[1], NULL), -EINVAL);
    nxt_expect(stream == (nx_stream *)&stream);
    nxt_expect(fcntl(fds[1], F_GETFD) >= 0);
    nxt_close_fd(&fds[1]);
}

/* Not promised, but what happens: a file reads and writes at its position, and never waits. */
NXT_TASK_TEST(a_regular_file_as_a_stream_goes_on_from_its_position)
{
    char path[] = "/tmp/nxt-file-XXXXXX", buffer[16];
    int fd = mkostemp(path, O_CLOEXEC);
    nxt_require(fd >= 0);
    unlink(path);
    nxt_expect_eq(write(fd, "0123456789", 10), 10);
    nxt_expect_eq(lseek(fd, 2, SEEK_SET), 2);
    nx_stream *stream = nxt_stream_of(fd);
    nxt_require(stream);
    nxt_expect_eq(nx_read(stream, buffer, 3, NX_FOREVER), 3);
    nxt_expect_mem(buffer, "234", 3);
    nxt_expect_eq(nx_read_exact(stream, buffer, sizeof(buffer), NX_FOREVER), 5);
    nxt_expect_mem(buffer, "56789", 5);
    nxt_expect_eq(nx_read(stream, buffer, 1, NX_FOREVER), 0);
    nxt_expect_eq(nx_write(stream, "ab", 2, NX_FOREVER), 2);
    nxt_expect_eq(pread(fd, buffer, sizeof(buffer), 10), 2);
    nxt_expect_mem(buffer, "ab", 2);
    nx_close(stream);
}

/* ---- nx_fd_wait ---- */

struct wait {
    int fd;
    unsigned events;
    nx_time deadline;
};

static intptr_t wait_for(void *arg)
{
    const struct wait *wait = arg;
    return nx_fd_wait(wait->fd, wait->events, wait->deadline);
}

static nx_task start_wait(int worker, int fd, unsigned events)
{
    nx_task task = nx_spawn_with(NXT_WITH(.worker_plus_1 = worker + 1, .arg_size = sizeof(struct wait)), wait_for,
                                 &(struct wait){fd, events, NX_FOREVER});
    nxt_expect_gt(task, 0);
    return task;
}

#define BOTH (NX_READABLE | NX_WRITABLE)

NXT_TASK_TEST(a_wait_ends_when_the_descriptor_is_ready_and_says_for_what, .workers = 2)
{
    int fds[2];
    nxt_require(nxt_socketpair(fds));
    nxt_expect_eq(nx_fd_wait(fds[0], NX_WRITABLE, NX_FOREVER), NX_WRITABLE);
    nxt_expect_eq(nx_fd_wait(fds[0], BOTH, NX_FOREVER), NX_WRITABLE);
    nxt_expect_eq(nx_fd_wait(fds[0], NX_READABLE, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_fd_wait(fds[0], NX_READABLE, 1), -ETIMEDOUT);
    nx_time deadline = nx_after_ms(10);
    nxt_expect_eq(nx_fd_wait(fds[0], NX_READABLE, deadline), -ETIMEDOUT);
    nxt_expect_ge(nx_now(), deadline);
    for (int i = 0; i < 20; i++) {
        nx_task task = start_wait(i % 2, fds[0], NX_READABLE);
        nxt_await_parked(task);
        nxt_expect_eq(write(fds[1], "x", 1), 1);
        nxt_expect_eq(nxt_result(task), NX_READABLE);
        nxt_expect_eq(nx_fd_wait(fds[0], BOTH, NX_FOREVER), BOTH);
        nxt_expect_eq(nx_fd_wait(fds[0], BOTH, NX_POLL), BOTH);
        nxt_expect_eq(nx_fd_wait(fds[0], NX_READABLE, 1), NX_READABLE); /* level: still there */
        nxt_expect_eq(read(fds[0], &(char){0}, 1), 1);
    }
    nxt_expect_eq(fcntl(fds[0], F_GETFL) & O_NONBLOCK, 0); /* it was not changed */
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

NXT_TASK_TEST(a_full_pipe_becomes_writable_when_it_is_read, .workers = 2)
{
    int fds[2];
    static char data[1 << 20];
    nxt_require(nxt_pipe(fds));
    nxt_set_nonblock(fds[1]);
    ssize_t sent = write(fds[1], data, sizeof(data));
    nxt_expect_gt(sent, 0);
    nxt_expect_eq(nx_fd_wait(fds[1], NX_WRITABLE, NX_POLL), -EAGAIN);
    nx_task task = start_wait(1, fds[1], BOTH);
    nxt_await_parked(task);
    nxt_expect_eq(nxt_read_all(fds[0], data, (size_t)sent), sent);
    nxt_expect_eq(nxt_result(task), NX_WRITABLE);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

NXT_TASK_TEST(a_hang_up_and_an_error_show_as_both, .workers = 2)
{
    int fds[2];
    for (int worker = 0; worker < 2; worker++) {
        nxt_require(nxt_socketpair(fds));
        nx_task task = start_wait(worker, fds[0], NX_READABLE);
        nxt_await_parked(task);
        nxt_close_fd(&fds[1]);
        nxt_expect_eq(nxt_result(task), BOTH);
        nxt_expect_eq(nx_fd_wait(fds[0], NX_WRITABLE, NX_FOREVER), BOTH);
        nxt_close_fd(&fds[0]);
        nxt_require(nxt_pipe(fds));
        nxt_close_fd(&fds[0]);
        nxt_expect_eq(nx_fd_wait(fds[1], NX_WRITABLE, NX_FOREVER), BOTH); /* the reading end has gone: an error */
        nxt_close_fd(&fds[1]);
    }
}

NXT_TASK_TEST(a_wait_is_cancelled_and_the_next_one_works, .workers = 2)
{
    int fds[2];
    nxt_require(nxt_socketpair(fds));
    for (int i = 0; i < 20; i++) {
        nx_task task = start_wait(i % 2, fds[0], NX_READABLE);
        nxt_await_parked(task);
        nx_cancel(task);
        nxt_expect_eq(nxt_result(task), -ECANCELED);
    }
    nx_task task = start_wait(1, fds[0], NX_READABLE);
    nxt_expect_eq(write(fds[1], "x", 1), 1);
    nxt_expect_eq(nxt_result(task), NX_READABLE);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

NXT_TASK_TEST(several_tasks_on_any_workers_wait_for_one_descriptor, .workers = 2)
{
    int fds[2];
    nxt_require(nxt_socketpair(fds));
    for (int i = 0; i < 20; i++) {
        nx_task tasks[4], writable = start_wait(i % 2, fds[0], NX_WRITABLE);
        for (int k = 0; k < 4; k++)
            tasks[k] = start_wait(k % 2, fds[0], NX_READABLE);
        nxt_expect_eq(nxt_result(writable), NX_WRITABLE);
        for (int k = 0; k < 4; k++)
            nxt_await_parked(tasks[k]);
        nx_cancel(tasks[i % 4]); /* one's end is nothing to the others */
        nxt_expect_eq(nxt_result(tasks[i % 4]), -ECANCELED);
        nxt_expect_eq(write(fds[1], "x", 1), 1);
        for (int k = 0; k < 4; k++)
            if (k != i % 4)
                nxt_expect_eq(nxt_result(tasks[k]), NX_READABLE);
        nxt_expect_eq(read(fds[0], &(char){0}, 1), 1);
    }
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

NXT_TASK_TEST(a_descriptor_that_is_also_a_stream_is_waited_for, .workers = 2)
{
    int peer;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    for (int i = 0; i < 20; i++) {
        nx_task task = start_wait(i % 2, nx_stream_fd(stream), NX_READABLE);
        nx_task reader = nxt_task_on(i / 2 % 2, read_one, stream);
        nxt_await_parked(task);
        nxt_await_parked(reader);
        nxt_expect(nxt_write_all(peer, "xy", 2)); /* the reader takes one of them */
        nxt_expect_eq(nxt_result(task), NX_READABLE);
        nxt_expect_eq(nxt_result(reader), 1);
        nxt_expect_eq(read_one(stream), 1);
        nxt_expect_eq(nx_read(stream, &(char){0}, 1, 1), -ETIMEDOUT);
    }
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(an_eventfd_and_a_timerfd_are_waited_for, .workers = 2)
{
    uint64_t count;
    int event = eventfd(0, EFD_CLOEXEC), timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    nx_task task = start_wait(1, event, NX_READABLE);
    nxt_await_parked(task);
    nxt_expect_eq(eventfd_write(event, 3), 0);
    nxt_expect_eq(nxt_result(task), NX_READABLE);
    nxt_expect_eq(read(event, &count, sizeof(count)), 8);
    nxt_expect_eq(nx_fd_wait(event, NX_READABLE, NX_POLL), -EAGAIN);
    for (int i = 0; i < 5; i++) {
        struct itimerspec soon = {.it_value = {.tv_nsec = 2000000}};
        nx_time start = nx_now();
        nxt_expect_eq(timerfd_settime(timer, 0, &soon, NULL), 0);
        nxt_expect_eq(nx_fd_wait(timer, NX_READABLE, NX_FOREVER), NX_READABLE);
        nxt_expect_ge(nx_now() - start, 2000000);
        nxt_expect_eq(read(timer, &count, sizeof(count)), 8);
    }
    nxt_close_fd(&event);
    nxt_close_fd(&timer);
}

NXT_TASK_TEST(a_regular_file_is_always_ready)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    nxt_require(fd >= 0);
    nxt_expect_eq(nx_fd_wait(fd, NX_READABLE, NX_FOREVER), NX_READABLE);
    nxt_expect_eq(nx_fd_wait(fd, BOTH, NX_FOREVER), BOTH);
    nxt_expect_eq(nx_fd_wait(fd, NX_READABLE, NX_POLL), NX_READABLE);
    nxt_close_fd(&fd);
}

NXT_TASK_TEST(arguments_of_a_wait_are_checked)
{
    int fds[2];
    nxt_require(nxt_pipe(fds));
    nxt_expect_eq(nx_fd_wait(fds[0], 0, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_fd_wait(fds[0], 4, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_fd_wait(fds[0], NX_READABLE | 8, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_fd_wait(-1, NX_READABLE, NX_FOREVER), -EBADF);
    int stale = fds[0];
    nxt_close_fd(&fds[0]);
    nxt_expect_eq(nx_fd_wait(stale, NX_READABLE, NX_FOREVER), -EBADF);
    nxt_expect_eq(nx_fd_wait(stale, NX_READABLE, NX_POLL), -EBADF);
    nxt_close_fd(&fds[1]);
}
