/*
 * echo_uring: the least io_uring echo server, as the limit a runtime is held against.
 * echo_uring [ADDRESS:PORT [WORKERS [SPIN_US]]]
 *
 * A connection has a buffer and one operation in flight, a recv or a send; what a turn of the loop queues is submitted
 * together with the wait, so a busy server enters the kernel once per batch and a request costs no system call of its
 * own. SINGLE_ISSUER and DEFER_TASKRUN: completions are made when the ring's own thread enters for them.
 *
 * A worker is a thread with its own ring. The first one accepts, and connections go to all in turn, by a message from
 * ring to ring.
 */
#define _GNU_SOURCE
#include "echo.h"

#include <liburing.h>
#include <pthread.h>

#define ENTRIES 4096

/* user_data: a connection's address, or one of these */
#define TAG_ACCEPT 1u
#define TAG_GIVEN 2u  /* a connection from the first worker; its descriptor is the result */
#define TAG_IGNORE 3u /* a message has arrived */

struct connection {
    int fd;
    bool sending;
    unsigned len, sent; /* of what is in the buffer */
    char buf[4096];
};

struct worker {
    struct io_uring ring;
    pthread_t thread;
};

static struct echo_options options;
static int listener;
static struct worker workers[ECHO_WORKERS_MAX];
static pthread_barrier_t opened;

static struct io_uring_sqe *sqe_of(struct io_uring *ring)
{
    struct io_uring_sqe *sqe;
    while (!(sqe = io_uring_get_sqe(ring))) /* ends: submitting makes room */
        io_uring_submit(ring);
    return sqe;
}

static void receive(struct io_uring *ring, struct connection *c)
{
    struct io_uring_sqe *sqe = sqe_of(ring);
    io_uring_prep_recv(sqe, c->fd, c->buf, sizeof c->buf, 0);
    io_uring_sqe_set_data(sqe, c);
    c->sending = false;
}

static void send_rest(struct io_uring *ring, struct connection *c)
{
    struct io_uring_sqe *sqe = sqe_of(ring);
    io_uring_prep_send(sqe, c->fd, c->buf + c->sent, c->len - c->sent, MSG_NOSIGNAL);
    io_uring_sqe_set_data(sqe, c);
    c->sending = true;
}

static void accept_more(struct io_uring *ring)
{
    struct io_uring_sqe *sqe = sqe_of(ring);
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    io_uring_sqe_set_data64(sqe, TAG_ACCEPT);
}

static void open_connection(struct io_uring *ring, int fd)
{
    struct connection *c = malloc(sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    c->fd = fd;
    echo_no_delay(fd);
    receive(ring, c);
}

static void accepted(struct io_uring *ring, const struct io_uring_cqe *cqe)
{
    static unsigned next;
    if (cqe->res >= 0) {
        struct worker *to = &workers[next++ % (unsigned)options.workers];
        if (&to->ring == ring) {
            open_connection(ring, cqe->res);
        } else {
            struct io_uring_sqe *sqe = sqe_of(ring);
            io_uring_prep_msg_ring(sqe, to->ring.ring_fd, (unsigned)cqe->res, TAG_GIVEN, 0);
            io_uring_sqe_set_data64(sqe, TAG_IGNORE);
        }
    }
    if (!(cqe->flags & IORING_CQE_F_MORE))
        accept_more(ring);
}

static void moved(struct io_uring *ring, struct connection *c, int res)
{
    if (res <= 0) {
        close(c->fd);
        free(c);
    } else if (c->sending) {
        c->sent += (unsigned)res;
        if (c->sent < c->len)
            send_rest(ring, c);
        else
            receive(ring, c);
    } else {
        c->len = (unsigned)res;
        c->sent = 0;
        send_rest(ring, c);
    }
}

static void completed(struct io_uring *ring, const struct io_uring_cqe *cqe)
{
    switch (cqe->user_data) {
    case TAG_ACCEPT:
        accepted(ring, cqe);
        return;
    case TAG_GIVEN:
        open_connection(ring, cqe->res);
        return;
    case TAG_IGNORE:
        return;
    default:
        moved(ring, io_uring_cqe_get_data(cqe), cqe->res);
    }
}

/* Submits what is queued and waits; polls before that for spin_ns, if that is asked for. */
static void wait_for(struct io_uring *ring)
{
    if (options.spin_ns > 0) {
        int64_t end = echo_now() + options.spin_ns;
        io_uring_submit(ring);
        do {
            io_uring_get_events(ring);
            if (io_uring_cq_ready(ring))
                return;
        } while (echo_now() < end);
    }
    io_uring_submit_and_wait(ring, 1);
}

static void *run(void *arg)
{
    struct worker *w = arg;
    struct io_uring *ring = &w->ring;
    int error = io_uring_queue_init(ENTRIES, ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
    if (error < 0) {
        fprintf(stderr, "echo_uring: io_uring_setup: %s\n", strerror(-error));
        exit(1);
    }
    pthread_barrier_wait(&opened);
    io_uring_register_ring_fd(ring); /* not having it is no failure */
    if (w == workers)
        accept_more(ring);
    for (;;) {
        unsigned head, count = 0;
        struct io_uring_cqe *cqe;
        wait_for(ring);
        io_uring_for_each_cqe(ring, head, cqe)
        {
            completed(ring, cqe);
            count++;
        }
        io_uring_cq_advance(ring, count);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    options = echo_options(argc, argv);
    pthread_barrier_init(&opened, NULL, (unsigned)options.workers);
    listener = echo_listen(&options);
    for (int i = 1; i < options.workers; i++)
        if (pthread_create(&workers[i].thread, NULL, run, &workers[i]) != 0)
            echo_die("pthread_create");
    run(&workers[0]);
}
