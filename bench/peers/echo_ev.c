/*
 * echo_ev: echo on libev.   echo_ev [ADDRESS:PORT [WORKERS]]
 *
 * A loop a thread, on epoll. A watcher is started once and stays, level-triggered: recv, send, back to the loop. Only
 * when a reply doesn't fit does a connection wait for room instead of data.
 */
#include "peer.h"

#include <errno.h>
#include <ev.h>

struct connection {
    ev_io io;          /* for data, or for room */
    size_t begin, end; /* of what is in buf[] and not out yet */
    char buf[PEER_BUFFER];
};

static void close_connection(struct ev_loop *loop, struct connection *connection)
{
    ev_io_stop(loop, &connection->io);
    close(connection->io.fd);
    free(connection);
}

/* 0: all is out; 1: there is no room; -1: closed. */
static int send_rest(struct connection *connection)
{
    while (connection->begin < connection->end) {
        ssize_t n = send(connection->io.fd, connection->buf + connection->begin, connection->end - connection->begin,
                         MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN ? 1 : -1;
        connection->begin += (size_t)n;
    }
    return 0;
}

static void wait_for(struct ev_loop *loop, struct connection *connection, int events)
{
    ev_io_stop(loop, &connection->io);
    ev_io_set(&connection->io, connection->io.fd, events);
    ev_io_start(loop, &connection->io);
}

static void on_ready(struct ev_loop *loop, ev_io *io, int events)
{
    struct connection *connection = (struct connection *)io;
    if (events & EV_READ) {
        ssize_t n = recv(io->fd, connection->buf, sizeof connection->buf, 0);
        if (n < 0 && errno == EAGAIN)
            return;
        connection->begin = 0;
        connection->end = n > 0 ? (size_t)n : 0;
        if (n <= 0) {
            close_connection(loop, connection);
            return;
        }
    }
    int left = send_rest(connection);
    if (left < 0)
        close_connection(loop, connection);
    else if (left > 0 && (events & EV_READ))
        wait_for(loop, connection, EV_WRITE);
    else if (left == 0 && (events & EV_WRITE))
        wait_for(loop, connection, EV_READ);
}

static void on_connections(struct ev_loop *loop, ev_io *listener, int events)
{
    int fd;
    (void)events;
    while ((fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = malloc(sizeof *connection);
        if (!connection)
            peer_die("malloc");
        peer_no_delay(fd);
        ev_io_init(&connection->io, on_ready, fd, EV_READ);
        ev_io_start(loop, &connection->io);
    }
}

static void *work(void *listener)
{
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    ev_io connections;
    if (!loop)
        peer_die("libev");
    ev_io_init(&connections, on_connections, *(int *)listener, EV_READ);
    ev_io_start(loop, &connections);
    ev_run(loop, 0);
    return NULL;
}

int main(int argc, char **argv)
{
    struct peer peer = peer_listen(argc, argv);
    peer_run(&peer, work);
}
