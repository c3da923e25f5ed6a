/*
 * echo_epoll: the least epoll echo server, as the limit a runtime is held against.
 * echo_epoll [ADDRESS:PORT [WORKERS [SPIN_US]]]
 *
 * A registration a connection, edge-triggered; a request is a share of an epoll_wait, recv, send; a short read means
 * drained, so there is no probe for EAGAIN. It expects what a closed-loop client does: replies fit into the socket
 * buffer (it blocks in poll(2) where they don't).
 *
 * A worker is a thread with its own epoll instance. The first one accepts, and connections go to all in turn: with
 * SO_REUSEPORT the kernel's hash would put them on two workers as unevenly as chance has it.
 */
#define _GNU_SOURCE
#include "echo.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>

#define BATCH 256

static struct echo_options options;
static int listener;
static int epolls[ECHO_WORKERS_MAX];

static int send_rest(int fd, const char *buf, ssize_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, buf, (size_t)len, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            return -1;
        if (n < 0 && poll(&(struct pollfd){.fd = fd, .events = POLLOUT}, 1, -1) < 0)
            return -1;
        if (n > 0) {
            buf += n;
            len -= n;
        }
    }
    return 0;
}

static void echo(int fd, unsigned events)
{
    char buf[4096];
    for (;;) {
        ssize_t n = recv(fd, buf, sizeof buf, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0 || send_rest(fd, buf, n) < 0)
            break;
        if (n < (ssize_t)sizeof buf && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
            return;
    }
    close(fd);
}

static void accept_all(void)
{
    static unsigned next;
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        echo_no_delay(fd);
        struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        if (epoll_ctl(epolls[next++ % (unsigned)options.workers], EPOLL_CTL_ADD, fd, &ev) < 0)
            close(fd);
    }
}

/* Polls for spin_ns, if that is asked for, and then blocks. */
static int wait_for(int epoll, struct epoll_event *events)
{
    if (options.spin_ns > 0) {
        int64_t end = echo_now() + options.spin_ns;
        do {
            int count = epoll_wait(epoll, events, BATCH, 0);
            if (count != 0)
                return count;
        } while (echo_now() < end);
    }
    return epoll_wait(epoll, events, BATCH, -1);
}

static void *run(void *arg)
{
    int epoll = *(int *)arg;
    struct epoll_event events[BATCH];
    for (;;) {
        int count = wait_for(epoll, events);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                accept_all();
            else
                echo(events[i].data.fd, events[i].events);
        }
    }
    return NULL;
}

int main(int argc, char **argv)
{
    options = echo_options(argc, argv);
    for (int i = 0; i < options.workers; i++)
        if ((epolls[i] = epoll_create1(EPOLL_CLOEXEC)) < 0)
            echo_die("epoll_create1");
    listener = echo_listen(&options);
    struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.fd = listener};
    if (epoll_ctl(epolls[0], EPOLL_CTL_ADD, listener, &ev) < 0)
        echo_die("epoll_ctl");
    for (int i = 1; i < options.workers; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, run, &epolls[i]) != 0)
            echo_die("pthread_create");
    }
    run(&epolls[0]);
}
