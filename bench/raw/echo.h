/* echo.h: what the raw echo servers share and no request passes through: arguments, the listener, the end. */
#ifndef NX_BENCH_RAW_ECHO_H
#define NX_BENCH_RAW_ECHO_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ECHO_WORKERS_MAX 64

struct echo_options {
    struct sockaddr_in address;
    int workers;
    int64_t spin_ns; /* poll for so long before blocking */
};

static inline void echo_die(const char *what)
{
    perror(what);
    exit(1);
}

static inline void echo_end(int signal)
{
    (void)signal;
    _exit(0);
}

/* ADDRESS [WORKERS [SPIN_US]] */
static inline struct echo_options echo_options(int argc, char **argv)
{
    char host[64] = "127.0.0.1";
    unsigned port = 7777;
    struct echo_options options = {.address.sin_family = AF_INET, .workers = argc > 2 ? atoi(argv[2]) : 1};
    bool good = argc <= 4 && (argc < 2 || sscanf(argv[1], "%63[0-9.]:%u", host, &port) == 2) && port < 65536 &&
                options.workers >= 1 && options.workers <= ECHO_WORKERS_MAX &&
                inet_pton(AF_INET, host, &options.address.sin_addr) == 1;
    options.address.sin_port = htons((uint16_t)port);
    options.spin_ns = argc > 3 ? atoll(argv[3]) * 1000 : 0;
    if (!good || options.spin_ns < 0) {
        fprintf(stderr, "usage: %s [ADDRESS:PORT [WORKERS [SPIN_US]]]\n", argv[0]);
        exit(2);
    }
    return options;
}

/* A listening socket; says where, and ends the program at SIGTERM and SIGINT. */
static inline int echo_listen(const struct echo_options *options)
{
    struct sockaddr_in address = options->address;
    socklen_t len = sizeof address;
    char host[INET_ADDRSTRLEN];
    struct rlimit limit;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        echo_die("listen");
    signal(SIGTERM, echo_end);
    signal(SIGINT, echo_end);
    inet_ntop(AF_INET, &address.sin_addr, host, sizeof host);
    printf("echo: listening on %s:%u\n", host, ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

static inline int64_t echo_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static inline void echo_no_delay(int fd)
{
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
}

#endif
