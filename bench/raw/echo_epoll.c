/*
 * echo_epoll: the least epoll echo server, as the limit a runtime is held against.   echo_epoll [ADDRESS:PORT
 * [THREADS]]
 *
 * A registration a connection, edge-triggered; a request is epoll_wait, recv, send; a short read means drained, so
 * there is no probe for EAGAIN. It expects what a closed-loop client does: replies fit into the socket buffer (it
 * blocks in poll(2) where they don't).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_THREADS 64
#define BATCH 256

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int send_all(int fd, const char *buf, ssize_t len)
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
    char buf[16384];
    for (;;) {
        ssize_t n = recv(fd, buf, sizeof buf, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0 || send_all(fd, buf, n) < 0)
            break;
        if (n < (ssize_t)sizeof buf && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
            return;
    }
    close(fd);
}

static void *run(void *arg)
{
    int epoll = *(int *)arg;
    struct epoll_event events[BATCH];
    for (;;) {
        int count = epoll_wait(epoll, events, BATCH, -1);
        for (int i = 0; i < count; i++)
            echo(events[i].data.fd, events[i].events);
    }
    return NULL;
}

/* Connections go to the threads in turn. */
static void accept_forever(int listener, const int *epolls, int threads)
{
    for (unsigned next = 0;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            die("echo_epoll: accept");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        struct epoll_event ev = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        if (epoll_ctl(epolls[next++ % (unsigned)threads], EPOLL_CTL_ADD, fd, &ev) < 0)
            close(fd);
    }
}

int main(int argc, char **argv)
{
    static int epolls[MAX_THREADS];
    char host[64] = "127.0.0.1";
    unsigned port = 7777;
    int threads = argc > 2 ? atoi(argv[2]) : 1;
    if ((argc > 1 && sscanf(argv[1], "%63[0-9.]:%u", host, &port) != 2) || threads < 1 || threads > MAX_THREADS) {
        fprintf(stderr, "usage: echo_epoll [ADDRESS:PORT [THREADS]]\n");
        return 2;
    }

    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    socklen_t len = sizeof addr;
    inet_pton(AF_INET, host, &addr.sin_addr);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (listener < 0 || bind(listener, (struct sockaddr *)&addr, sizeof addr) < 0 || listen(listener, 1024) < 0 ||
        getsockname(listener, (struct sockaddr *)&addr, &len) < 0)
        die("echo_epoll: listen");
    for (int i = 0; i < threads; i++) {
        pthread_t thread;
        epolls[i] = epoll_create1(EPOLL_CLOEXEC);
        if (epolls[i] < 0 || pthread_create(&thread, NULL, run, &epolls[i]) != 0)
            die("echo_epoll: thread");
    }
    printf("echo: listening on %s:%u\n", host, ntohs(addr.sin_port));
    fflush(stdout);
    accept_forever(listener, epolls, threads);
}
