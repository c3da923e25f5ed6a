/*
 * echo_event: echo on libevent.   echo_event [ADDRESS:PORT [WORKERS]]
 *
 * Raw events: a bufferevent would add FIONREAD and two epoll_ctl to every request. A base a thread, without its lock;
 * an event is added once and stays, level-triggered: recv, send, back to the loop. Only when a reply doesn't fit does a
 * connection wait for room instead of data.
 */
#include "peer.h"

#include <errno.h>
#include <event2/event.h>

struct connection {
    struct event *readable, *writable; /* one of them is added */
    size_t begin, end;                 /* of what is in buf[] and not out yet */
    char buf[PEER_BUFFER];
};

static void close_connection(struct connection *connection)
{
    int fd = event_get_fd(connection->readable);
    event_free(connection->readable);
    event_free(connection->writable);
    close(fd);
    free(connection);
}

/* 0: all is out; 1: there is no room; -1: closed. */
static int send_rest(struct connection *connection, int fd)
{
    while (connection->begin < connection->end) {
        ssize_t n = send(fd, connection->buf + connection->begin, connection->end - connection->begin, MSG_NOSIGNAL);
        if (n < 0)
            return errno == EAGAIN ? 1 : -1;
        connection->begin += (size_t)n;
    }
    return 0;
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
    struct connection *connection = arg;
    (void)what;
    ssize_t n = recv(fd, connection->buf, sizeof connection->buf, 0);
    if (n < 0 && errno == EAGAIN)
        return;
    connection->begin = 0;
    connection->end = n > 0 ? (size_t)n : 0;
    int left = n > 0 ? send_rest(connection, fd) : -1;
    if (left < 0)
        close_connection(connection);
    else if (left > 0) {
        event_del(connection->readable);
        event_add(connection->writable, NULL);
    }
}

static void on_writable(evutil_socket_t fd, short what, void *arg)
{
    struct connection *connection = arg;
    (void)what;
    int left = send_rest(connection, fd);
    if (left < 0)
        close_connection(connection);
    else if (left == 0) {
        event_del(connection->writable);
        event_add(connection->readable, NULL);
    }
}

static void on_connections(evutil_socket_t listener, short what, void *base)
{
    int fd;
    (void)what;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *connection = malloc(sizeof *connection);
        if (!connection)
            peer_die("malloc");
        peer_no_delay(fd);
        connection->readable = event_new(base, fd, EV_READ | EV_PERSIST, on_readable, connection);
        connection->writable = event_new(base, fd, EV_WRITE | EV_PERSIST, on_writable, connection);
        if (!connection->readable || !connection->writable || event_add(connection->readable, NULL) < 0)
            peer_die("event_add");
    }
}

static void *work(void *listener)
{
    struct event_config *config = event_config_new();
    event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    struct event *connections =
        base ? event_new(base, *(int *)listener, EV_READ | EV_PERSIST, on_connections, base) : NULL;
    if (!connections || event_add(connections, NULL) < 0)
        peer_die("libevent");
    event_base_dispatch(base);
    return NULL;
}

int main(int argc, char **argv)
{
    struct peer peer = peer_listen(argc, argv);
    peer_run(&peer, work);
}
