/*
 * load.h: what the parts of nxload share: the options, the threads and what they count.
 *
 * nxload.c reads the options, starts the threads, times the window and reports; worker.c is a thread's life; procfs.c
 * looks at the server's process.
 */
#ifndef NX_BENCH_LOAD_H
#define NX_BENCH_LOAD_H

#include "histogram.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

enum load_mode {
    LOAD_CLOSED, /* each connection keeps depth messages under way */
    LOAD_OPEN,   /* messages are due at a fixed rate, whatever the server does; at most depth under way on each */
    LOAD_IDLE,   /* each connection echoes a message, is held, echoes another */
    LOAD_CHURN,  /* open, echo a message, half-close, see the end of the stream, close; again */
};

enum load_phase { PHASE_WARMUP, PHASE_MEASURE, PHASE_FINISH };

struct load_errors {
    uint64_t connect; /* could not connect */
    uint64_t io;      /* reset, or ended by the server */
    uint64_t corrupt; /* a wrong byte, or one too many; the connection is given up at the first */
    uint64_t lost;    /* bytes that never came back */
};

struct load {
    enum load_mode mode;
    struct sockaddr_storage addr;
    socklen_t addr_len;
    bool spread_sources; /* bind to many addresses of 127/8: one has too few ports */
    unsigned connections;
    unsigned threads;
    unsigned depth;
    unsigned message;
    int64_t window_ns;
    int64_t warmup_ns;
    double rate;      /* open loop: messages a second, of all threads */
    int64_t stall_ns; /* stop the server's process for so long in the middle of the window */
    pid_t server;     /* 0: unknown */
    bool spin;        /* threads poll instead of sleeping */
    bool json;

    atomic_int phase;
    _Atomic int64_t window_begin, window_end; /* set before PHASE_MEASURE; until then 0 */
    atomic_bool refused;                      /* a connection could not be opened: there is nothing to measure */
    pthread_barrier_t opened;                 /* all connections are up and have echoed a message */
};

struct connection;

/* A thread and its share of the connections. */
struct worker {
    _Alignas(64) _Atomic uint64_t requests; /* whole messages back so far; written by the thread alone */
    struct load *load;
    pthread_t thread;
    unsigned first; /* number of its first connection */
    unsigned count;
    struct connection *connections;
    int64_t *started; /* when each message under way was begun: depth a connection */
    int64_t schedule; /* open loop: when the first message is due, */
    double interval;  /* ns from one to the next, */
    uint64_t due;     /* and how many have become due: they go to the connections in turn */
    uint64_t unsent;  /* due in the window, and not even sent by its end */
    unsigned char *buffer;
    int epoll;
    unsigned open;    /* connections */
    unsigned awaited; /* connections with bytes under way */
    unsigned churned; /* connections opened again */
    bool looping;     /* a message back means the next one out, or in churn the connection's end */
    struct load_errors errors;
    uint64_t bytes_verified;
    uint64_t requests_min, requests_max; /* of a connection, in the window */
    struct histogram latency;            /* of the window, ns */
};

int worker_start(struct worker *worker);
int64_t load_now(void);

/* What the kernel says of a process. */
struct process_thread {
    pid_t tid;
    char name[16];
    int64_t cpu_ns;
};

#define PROCESS_THREADS_MAX 256

struct process {
    int64_t cpu_ns; /* of all threads, ended ones too */
    long rss_kib;
    long rss_max_kib;
    long fds;
    unsigned thread_count;
    struct process_thread threads[PROCESS_THREADS_MAX];
};

/* 0 or -errno. */
int process_look(pid_t pid, struct process *ret_process);

#endif
