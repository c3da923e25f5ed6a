/* peer.h: what the C and C++ echo servers here share and no request passes through: arguments, listeners, the end. */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PEER_WORKERS_MAX = 64, PEER_BUFFER = 4096, PEER_BACKLOG = 4096 };

struct peer {
    struct sockaddr_in address;
    int workers;
    int listeners
        [PEER_WORKERS_MAX]; /* one for each worker, by SO_REUSEPORT: the kernel spreads connections by a hash */
};

static inline void peer_die(const char *what)
{
    perror(what);
    exit(1);
}

static inline void peer_end(int signal)
{
    (void)signal;
    _exit(0);
}

/* The first listener of several finds out the port that 0 stands for. */
static inline int peer_listener(struct peer *peer)
{
    struct sockaddr *address = (struct sockaddr *)&peer->address;
    socklen_t len = sizeof peer->address;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        (peer->workers > 1 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0) ||
        bind(fd, address, len) < 0 || listen(fd, PEER_BACKLOG) < 0 || getsockname(fd, address, &len) < 0)
        peer_die("listen");
    return fd;
}

/* ADDRESS:PORT [WORKERS] */
static inline struct peer peer_listen(int argc, char **argv)
{
    struct peer peer;
    struct rlimit limit;
    char host[INET_ADDRSTRLEN] = "127.0.0.1";
    unsigned port = 7777;
    peer.address.sin_family = AF_INET;
    peer.workers = argc > 2 ? atoi(argv[2]) : 1;
    if (argc > 3 || (argc > 1 && sscanf(argv[1], "%15[0-9.]:%u", host, &port) != 2) || port > 65535 ||
        peer.workers < 1 || peer.workers > PEER_WORKERS_MAX || inet_pton(AF_INET, host, &peer.address.sin_addr) != 1) {
        fprintf(stderr, "usage: %s [ADDRESS:PORT [WORKERS]]\n", argv[0]);
        exit(2);
    }
    peer.address.sin_port = htons((unsigned short)port);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    for (int i = 0; i < peer.workers; i++)
        peer.listeners[i] = peer_listener(&peer);
    signal(SIGTERM, peer_end);
    signal(SIGINT, peer_end);
    signal(SIGPIPE, SIG_IGN);
    printf("echo: listening on %s:%u\n", host, ntohs(peer.address.sin_port));
    fflush(stdout);
    return peer;
}

/* Runs work(&listener) on a thread for each worker, the calling one included; it never returns. */
static inline void peer_run(struct peer *peer, void *(*work)(void *listener))
{
    for (int i = 1; i < peer->workers; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work, &peer->listeners[i]) != 0)
            peer_die("pthread_create");
    }
    work(&peer->listeners[0]);
    exit(1);
}

static inline void peer_no_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

#endif
