/*
 * worker.c: a thread of the load generator and its connections.
 *
 * A connection's stream is an endless pattern, seen by three offsets: received <= sent <= goal. A message is a stretch
 * of it; issuing one moves the goal and notes the time, receiving its last byte gives the latency. Sockets are
 * registered once, edge-triggered both ways; a short read means drained.
 *
 *   opening   connect, a message back    -> the barrier: all connections are up
 *   loop      by mode: closed loop, open loop, holding, or churn; until the phase says finish
 *   ending    what is under way comes back; half-close; the server's end of stream; close
 *
 * Open loop. When a message is due follows from its number alone, so nothing is queued where a server falls behind: a
 * connection knows how many of its messages are due, and sends them as soon as there is room. Latency counts from when
 * the message was due, not from when it could be sent: a server that stalls is charged for each request that a
 * stream of independent clients would have made meanwhile, and not for one a connection (coordinated omission). What is
 * due in the window counts, though it come back after it; what was not even sent counts with the time it has waited.
 */
#define _GNU_SOURCE
#include "load.h"
#include "pattern.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define BATCH 256
#define TICK_NS 50000000 /* how long a change of phase may go unseen */
#define PATIENCE_S 5     /* a server from which nothing comes for so long has lost what is under way */
#define PATIENCE_NS (PATIENCE_S * INT64_C(1000000000))
#define ROUND_AWAITED 128u /* connections with a message under way while opening: within any listen backlog */
#define PORTS_PER_SOURCE 16384u
#define CHURN_SOURCES 4096u /* a closed connection keeps its port for a minute (TIME_WAIT) */

struct connection {
    int fd; /* < 0: closed */
    unsigned number;
    bool half_closed;
    uint64_t goal, sent, received;
    uint64_t due;      /* open loop: messages that should have been sent by now, after the opening one */
    uint64_t measured; /* messages back in the window */
    int64_t *started;
};

unsigned char pattern_table[PATTERN_PERIOD + PATTERN_CHUNK];

int64_t load_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void close_connection(struct worker *w, struct connection *c)
{
    close(c->fd);
    c->fd = -1;
    w->open--;
    if (c->goal != c->received) {
        w->errors.lost += c->goal - c->received;
        w->awaited--;
    }
}

static void flush(struct worker *w, struct connection *c)
{
    while (c->sent < c->goal) {
        uint64_t left = c->goal - c->sent;
        size_t len = left < PATTERN_CHUNK ? (size_t)left : PATTERN_CHUNK;
        ssize_t n = send(c->fd, pattern_at(c->number, c->sent), len, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) {
                w->errors.io++;
                close_connection(w, c);
            }
            return;
        }
        c->sent += (uint64_t)n;
    }
}

/* Begins count messages. The connection may have failed and be closed afterwards. */
static void issue(struct worker *w, struct connection *c, uint64_t count, int64_t now)
{
    const struct load *load = w->load;
    if (c->goal == c->received)
        w->awaited++;
    for (uint64_t k = c->goal / load->message, end = k + count; k < end; k++)
        c->started[k % load->depth] = now;
    c->goal += count * load->message;
    flush(w, c);
}

static void half_close(struct connection *c)
{
    shutdown(c->fd, SHUT_WR);
    c->half_closed = true;
}

static void report_connect(void)
{
    static atomic_flag reported = ATOMIC_FLAG_INIT;
    int error = errno;
    if (!atomic_flag_test_and_set(&reported))
        fprintf(stderr, "nxload: connect: %s\n", strerror(error));
}

static int bind_source(int fd, unsigned source)
{
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(0x7f010001u + source); /* 127.1.0.1 and on */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &(int){1}, sizeof(int));
    return bind(fd, (struct sockaddr *)&from, sizeof from);
}

static int connect_socket(struct worker *w, unsigned number)
{
    const struct load *load = w->load;
    unsigned source = number / PORTS_PER_SOURCE;
    if (load->mode == LOAD_CHURN)
        source = (number + load->connections * w->churned++) % CHURN_SOURCES;
    int fd = socket(load->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    struct timeval patience = {.tv_sec = PATIENCE_S};
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience); /* bounds the connect */
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if ((load->spread_sources && bind_source(fd, source) < 0) ||
        connect(fd, (const struct sockaddr *)&load->addr, load->addr_len) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* Connects, at the beginning of the stream, and sends a message. */
static void open_connection(struct worker *w, struct connection *c)
{
    int64_t now = load_now();
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = c};
    c->goal = c->sent = c->received = 0;
    c->half_closed = false;
    c->fd = connect_socket(w, c->number);
    if (c->fd < 0 || epoll_ctl(w->epoll, EPOLL_CTL_ADD, c->fd, &ev) < 0) {
        report_connect();
        w->errors.connect++;
        atomic_store(&w->load->refused, true);
        if (c->fd >= 0)
            close(c->fd);
        c->fd = -1;
        return;
    }
    w->open++;
    issue(w, c, 1, now);
}

static void count_requests(struct worker *w, struct connection *c, uint64_t count)
{
    uint64_t before = atomic_load_explicit(&w->requests, memory_order_relaxed);
    atomic_store_explicit(&w->requests, before + count, memory_order_relaxed);
    if (atomic_load_explicit(&w->load->phase, memory_order_relaxed) == PHASE_MEASURE)
        c->measured += count;
}

static void record_latency(struct worker *w, int64_t started, int64_t now)
{
    if (atomic_load_explicit(&w->load->phase, memory_order_relaxed) == PHASE_MEASURE)
        histogram_record(&w->latency, now > started ? (uint64_t)(now - started) : 0);
}

/* ---- open loop ---- */

/* When the thread's message number k is due. */
static int64_t due_time(const struct worker *w, uint64_t k)
{
    return w->schedule + (int64_t)((double)k * w->interval);
}

/* The same of a connection's own: the opening one is number 0 of its stream and none of the schedule. */
static int64_t due_time_of(const struct worker *w, const struct connection *c, uint64_t message)
{
    return due_time(w, (message - 1) * w->count + (c->number - w->first));
}

/* Whether it was due in the window, and so counts. */
static bool record_due(struct worker *w, int64_t due, int64_t now)
{
    bool counts = due >= atomic_load_explicit(&w->load->window_begin, memory_order_relaxed) &&
                  due < atomic_load_explicit(&w->load->window_end, memory_order_relaxed);
    if (counts)
        histogram_record(&w->latency, now > due ? (uint64_t)(now - due) : 0);
    return counts;
}

/* Sends what is due on a connection, as far as the depth allows. */
static void send_due(struct worker *w, struct connection *c, int64_t now)
{
    const struct load *load = w->load;
    uint64_t issued = c->goal / load->message, room = load->depth - (issued - c->received / load->message);
    uint64_t owed = c->due - (issued - 1);
    uint64_t count = owed < room ? owed : room;
    if (count > 0)
        issue(w, c, count, now);
}

/* Up to now; when the next one is due. */
static int64_t follow_schedule(struct worker *w, int64_t now)
{
    int64_t next;
    while ((next = due_time(w, w->due)) <= now) {
        struct connection *c = &w->connections[w->due++ % w->count];
        c->due++;
        if (c->fd >= 0)
            send_due(w, c, now);
    }
    return next;
}

/* What was due in the window and could not be sent has waited since. */
static void charge_unsent(struct worker *w)
{
    int64_t end = atomic_load(&w->load->window_end), now = load_now();
    while (due_time(w, w->due) < end)
        w->connections[w->due++ % w->count].due++;
    for (unsigned i = 0; i < w->count; i++) {
        const struct connection *c = &w->connections[i];
        for (uint64_t k = c->goal / w->load->message; c->fd >= 0 && k <= c->due; k++)
            w->unsent += record_due(w, due_time_of(w, c, k), now);
    }
}

/* ---- what comes back ---- */

/* Messages first to first + count - 1 are back. */
static void complete(struct worker *w, struct connection *c, uint64_t first, uint64_t count)
{
    const struct load *load = w->load;
    if (c->received == c->goal)
        w->awaited--;
    if (load->mode == LOAD_CHURN) {
        if (w->looping)
            half_close(c);
        return;
    }
    int64_t now = load_now();
    for (uint64_t k = first; k < first + count; k++) {
        if (load->mode != LOAD_OPEN)
            record_latency(w, c->started[k % load->depth], now);
        else if (k > 0)
            record_due(w, due_time_of(w, c, k), now);
    }
    count_requests(w, c, count);
    if (w->looping && load->mode == LOAD_OPEN)
        send_due(w, c, now);
    else if (w->looping)
        issue(w, c, count, now);
}

/* Checks len bytes in the buffer. */
static void receive(struct worker *w, struct connection *c, uint64_t len)
{
    if (len > c->sent - c->received || memcmp(w->buffer, pattern_at(c->number, c->received), len) != 0) {
        fprintf(stderr, "nxload: connection %u: wrong bytes within %llu from offset %llu\n", c->number,
                (unsigned long long)len, (unsigned long long)c->received);
        w->errors.corrupt++;
        close_connection(w, c);
        return;
    }
    uint64_t first = c->received / w->load->message;
    c->received += len;
    w->bytes_verified += len;
    uint64_t count = c->received / w->load->message - first;
    if (count > 0)
        complete(w, c, first, count);
}

/* The server ended the stream, as it must after a half-close and only then. */
static void ended(struct worker *w, struct connection *c)
{
    bool expected = c->half_closed && c->received == c->goal;
    if (!expected)
        w->errors.io++;
    close_connection(w, c);
    if (!expected || w->load->mode != LOAD_CHURN || !w->looping)
        return;
    record_latency(w, c->started[0], load_now());
    count_requests(w, c, 1);
    open_connection(w, c);
}

static void on_readable(struct worker *w, struct connection *c, uint32_t events)
{
    int fd = c->fd;
    while (c->fd == fd) {
        ssize_t n = recv(fd, w->buffer, PATTERN_CHUNK, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            w->errors.io++;
            close_connection(w, c);
            return;
        }
        if (n == 0) {
            ended(w, c);
            return;
        }
        receive(w, c, (uint64_t)n);
        if (n < (ssize_t)PATTERN_CHUNK && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
            return;
    }
}

/* Handles what is ready, waiting up to timeout_ns for the first of it. How many connections were. */
static int handle_events(struct worker *w, int64_t timeout_ns)
{
    struct epoll_event events[BATCH];
    int timeout_ms = (int)(timeout_ns / 1000000);
    if (timeout_ns % 1000000 != 0) { /* epoll_wait(2) knows milliseconds only */
        struct timespec ts = {.tv_nsec = timeout_ns % 1000000000, .tv_sec = timeout_ns / 1000000000};
        ppoll(&(struct pollfd){.fd = w->epoll, .events = POLLIN}, 1, &ts, NULL);
        timeout_ms = 0;
    }
    int count = epoll_wait(w->epoll, events, BATCH, timeout_ms);
    for (int i = 0; i < count; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->fd >= 0 && c->sent < c->goal && (events[i].events & EPOLLOUT))
            flush(w, c);
        if (c->fd >= 0 && (events[i].events & ~(uint32_t)EPOLLOUT))
            on_readable(w, c, events[i].events);
    }
    return count;
}

/* Until no more than limit connections have bytes under way. Those of a silent server are closed, and counted lost. */
static void settle(struct worker *w, unsigned limit)
{
    while (w->awaited > limit && handle_events(w, PATIENCE_NS) > 0)
        ;
    if (w->awaited <= limit)
        return;
    for (unsigned i = 0; i < w->count; i++)
        if (w->connections[i].fd >= 0 && w->connections[i].received != w->connections[i].goal)
            close_connection(w, &w->connections[i]);
}

static void open_all(struct worker *w)
{
    for (unsigned i = 0; i < w->count && w->errors.connect == 0; i++) {
        open_connection(w, &w->connections[i]);
        settle(w, ROUND_AWAITED - 1);
    }
    settle(w, 0);
}

static bool finished(const struct worker *w)
{
    return atomic_load_explicit(&w->load->phase, memory_order_relaxed) == PHASE_FINISH;
}

static void begin_on_each(struct worker *w)
{
    int64_t now = load_now();
    for (unsigned i = 0; i < w->count; i++) {
        struct connection *c = &w->connections[i];
        if (c->fd < 0)
            continue;
        c->started[0] = now;
        if (w->load->mode == LOAD_CHURN)
            half_close(c);
        else
            issue(w, c, w->load->depth, now);
    }
}

static void open_loop(struct worker *w)
{
    const struct load *load = w->load;
    w->interval = 1e9 * load->connections / (load->rate * w->count);
    w->schedule = load_now() + (int64_t)(w->interval * w->first / load->connections); /* threads take turns */
    while (!finished(w)) {
        int64_t now = load_now(), next = follow_schedule(w, now);
        int64_t timeout = next - now < TICK_NS ? next - now : TICK_NS;
        handle_events(w, load->spin ? 0 : timeout);
    }
    charge_unsent(w);
}

static void loop_until_finish(struct worker *w)
{
    w->looping = w->load->mode != LOAD_IDLE;
    if (w->load->mode == LOAD_OPEN)
        open_loop(w);
    else if (w->looping)
        begin_on_each(w);
    while (!finished(w))
        handle_events(w, w->load->spin ? 0 : TICK_NS);
    w->looping = false;
}

static void echo_on_each(struct worker *w)
{
    for (unsigned i = 0; i < w->count; i++) {
        if (w->connections[i].fd >= 0)
            issue(w, &w->connections[i], 1, load_now());
        settle(w, ROUND_AWAITED - 1);
    }
}

static void end_all(struct worker *w)
{
    settle(w, 0);
    for (unsigned i = 0; i < w->count; i++)
        if (w->connections[i].fd >= 0 && !w->connections[i].half_closed)
            half_close(&w->connections[i]);
    while (w->open > 0 && handle_events(w, PATIENCE_NS) > 0)
        ;
    for (unsigned i = 0; i < w->count; i++) {
        if (w->connections[i].fd < 0)
            continue;
        w->errors.io++; /* no end of stream */
        close_connection(w, &w->connections[i]);
    }
}

static void *worker_run(void *arg)
{
    struct worker *w = arg;
    prctl(PR_SET_TIMERSLACK, 1UL); /* else what is due is sent 50 us late */
    open_all(w);
    pthread_barrier_wait(&w->load->opened);
    loop_until_finish(w);
    if (w->load->mode == LOAD_IDLE)
        echo_on_each(w);
    end_all(w);

    w->requests_min = UINT64_MAX;
    for (unsigned i = 0; i < w->count; i++) {
        uint64_t measured = w->connections[i].measured;
        w->requests_min = measured < w->requests_min ? measured : w->requests_min;
        w->requests_max = measured > w->requests_max ? measured : w->requests_max;
    }
    close(w->epoll);
    free(w->buffer);
    free(w->started);
    free(w->connections);
    return NULL;
}

int worker_start(struct worker *w)
{
    w->connections = calloc(w->count, sizeof *w->connections);
    w->started = calloc((size_t)w->count * w->load->depth, sizeof *w->started);
    w->buffer = malloc(PATTERN_CHUNK);
    w->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (!w->connections || !w->started || !w->buffer || w->epoll < 0)
        return -ENOMEM;
    for (unsigned i = 0; i < w->count; i++) {
        w->connections[i].fd = -1;
        w->connections[i].number = w->first + i;
        w->connections[i].started = w->started + (size_t)i * w->load->depth;
    }
    return -pthread_create(&w->thread, NULL, worker_run, w);
}
