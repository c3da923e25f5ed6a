/*
 * echo_uv: echo on libuv.   echo_uv [ADDRESS:PORT [WORKERS]]
 *
 * A loop a thread. What was read goes out at once by uv_try_write(), without a request; only what doesn't fit is
 * queued, and nothing more is read until it is out. All connections of a loop read into one buffer, since it is empty
 * again when the next one reads.
 */
#include "peer.h"

#include <string.h>
#include <uv.h>

struct connection {
    uv_tcp_t tcp;
    uv_write_t write;
    char rest[PEER_BUFFER];
};

static _Thread_local char shared[PEER_BUFFER];

static void lend(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    (void)handle, (void)suggested;
    *ret_buf = uv_buf_init(shared, sizeof shared);
}

static void gone(uv_handle_t *handle)
{
    free(handle);
}

static void end(struct connection *connection)
{
    if (!uv_is_closing((uv_handle_t *)&connection->tcp))
        uv_close((uv_handle_t *)&connection->tcp, gone);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf);

static void on_written(uv_write_t *write, int status)
{
    struct connection *connection = write->data;
    if (status < 0 || uv_read_start((uv_stream_t *)&connection->tcp, lend, on_read) < 0)
        end(connection);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct connection *connection = stream->data;
    if (n == 0)
        return;
    uv_buf_t out = uv_buf_init(buf->base, n > 0 ? (unsigned)n : 0);
    int sent = n > 0 ? uv_try_write(stream, &out, 1) : (int)n;
    if (sent == n && n > 0)
        return;
    if (sent < 0 && sent != UV_EAGAIN) {
        end(connection);
        return;
    }
    sent = sent > 0 ? sent : 0;
    out = uv_buf_init(memcpy(connection->rest, buf->base + sent, (size_t)(n - sent)), (unsigned)(n - sent));
    uv_read_stop(stream);
    if (uv_write(&connection->write, stream, &out, 1, on_written) < 0)
        end(connection);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct connection *connection = status == 0 ? malloc(sizeof *connection) : NULL;
    if (!connection)
        return;
    uv_tcp_init(listener->loop, &connection->tcp);
    connection->tcp.data = connection->write.data = connection;
    if (uv_accept(listener, (uv_stream_t *)&connection->tcp) < 0 || uv_tcp_nodelay(&connection->tcp, 1) < 0 ||
        uv_read_start((uv_stream_t *)&connection->tcp, lend, on_read) < 0)
        end(connection);
}

static void *work(void *listener)
{
    uv_loop_t loop;
    uv_tcp_t tcp;
    if (uv_loop_init(&loop) < 0 || uv_tcp_init(&loop, &tcp) < 0 || uv_tcp_open(&tcp, *(int *)listener) < 0 ||
        uv_listen((uv_stream_t *)&tcp, PEER_BACKLOG, on_connection) < 0)
        peer_die("libuv");
    uv_run(&loop, UV_RUN_DEFAULT);
    return NULL;
}

int main(int argc, char **argv)
{
    struct peer peer = peer_listen(argc, argv);
    peer_run(&peer, work);
}
