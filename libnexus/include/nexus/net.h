/* nexus/net.h: addresses, listeners, streams, servers. */
#ifndef NEXUS_NET_H
#define NEXUS_NET_H

#include <nexus/base.h>
#include <nexus/task.h>
#include <sys/uio.h>

NX_BEGIN_DECLS

#define NX_AF_UNIX 1
#define NX_AF_INET 2
#define NX_AF_INET6 3
#define NX_AF_DRIVER 64 /* and up: a driver's own */

/* An address of any family. len bytes of data count: 4, 16, or a path (abstract if its first byte is 0). 128 bytes. */
typedef struct nx_addr {
    uint16_t len;
    uint16_t family;
    uint16_t port; /* host order */
    uint16_t reserved;
    uint32_t scope; /* of a link-local IPv6 address */
    uint8_t data[116];
} nx_addr;

/* "127.0.0.1:80", "[::1]:80", "[fe80::1%2]:80", "unix:/run/x.sock", "unix:@abstract". The port is mandatory. -EINVAL,
 * also for a host's name: this version looks no names up. [threads] */
NX_API int nx_addr_parse(const char *text, nx_addr *ret_addr);

/* The same text back, cut to size and terminated. Its full length, or -EINVAL. [threads] */
NX_API int nx_addr_format(const nx_addr *addr, char *ret_text, size_t size);

/* Both belong to the runtime they were made in: used from a task of another one they give -EXDEV. */
typedef struct nx_listener nx_listener;
typedef struct nx_stream nx_stream;

typedef struct nx_listen_options {
    size_t size;
    int backlog;     /* 0: 1024, which the kernel cuts to net.core.somaxconn */
    bool reuse_port; /* several listeners on one address, the kernel shares out */
    bool v6_only;    /* an IPv6 listener takes no IPv4 connections */
    unsigned mode;   /* of a Unix socket's file, 0: by umask */
} nx_listen_options;

typedef struct nx_connect_options {
    size_t size;
    int64_t timeout_ns; /* 0: the deadline's */
    const char *local;  /* address to bind first, or NULL */
} nx_connect_options;

/* Binds and listens; sets SO_REUSEADDR; a stale Unix socket file is an error. -EINVAL, -EADDRINUSE, ... In a task. */
NX_API int nx_listen(const char *addr, const nx_listen_options *options, nx_listener **ret_listener);
/* Where it listens, with the port that 0 became. [threads] */
NX_API int nx_listener_addr(const nx_listener *listener, nx_addr *ret_addr);

/*
 * The next connection, closed on exec. A connection the peer has already given up is passed over. At the limit of open
 * files or buffers (EMFILE, ENFILE, ENOBUFS, ENOMEM) it says so in the log, now and then, and goes on waiting without
 * using cpu until there is room; with NX_POLL that error is returned. -EBADF when the listener is closed meanwhile.
 * [parks]
 */
NX_API int nx_accept(nx_listener *listener, nx_stream **ret_stream, nx_time deadline);
/* Connects to an address; the earlier of deadline and options->timeout_ns counts. -ECONNREFUSED, -ETIMEDOUT, ...
 * [parks] */
NX_API int nx_connect(const char *addr, const nx_connect_options *options, nx_stream **ret_stream, nx_time deadline);

/*
 * Transfers return what moved: read at least a byte, 0 is end of stream; read_exact, write and writev all of it unless
 * end of stream, deadline, cancel or an error came after some bytes; the next call then finds the same, an error that
 * the system reports only once included. < 0 only if nothing moved. A stream may be read by one task while another
 * writes; any worker may use it, one at a time per direction is best. Never raises SIGPIPE: -EPIPE. TCP_NODELAY is
 * on. buf is the driver's until the call returns. [parks]
 */
NX_API ssize_t nx_read(nx_stream *stream, void *buf, size_t len, nx_time deadline);
NX_API ssize_t nx_read_exact(nx_stream *stream, void *buf, size_t len, nx_time deadline);
NX_API ssize_t nx_write(nx_stream *stream, const void *buf, size_t len, nx_time deadline);
NX_API ssize_t nx_writev(nx_stream *stream, const struct iovec *iov, int count, nx_time deadline);

#define NX_SHUT_READ 0
#define NX_SHUT_WRITE 1
#define NX_SHUT_BOTH 2
/* Ends one direction or both; NX_SHUT_WRITE lets the peer read end of stream. Doesn't wait for the peer and works in a
 * cancelled task. -ENOTCONN. */
NX_API int nx_shutdown(nx_stream *stream, int how);

/*
 * Closes and frees. Never parks, works in a cancelled task. Calls of other tasks that wait on the stream return -EBADF
 * (bytes already moved first); the file descriptor is closed after the last of them has settled. From that moment the
 * pointer is invalid for new calls. NULL is fine.
 */
NX_API int nx_close(nx_stream *stream);
/* The same for a listener. Its address is free again when the accept in flight has settled, a moment later. */
NX_API int nx_listener_close(nx_listener *listener);

/* The address at the other end. -ENOTCONN; -ENOTSUP, -ENOTSOCK for what has none. [threads] */
NX_API int nx_stream_peer(const nx_stream *stream, nx_addr *ret_addr);

/* A stream from a connected socket, a pipe or a terminal; the stream owns fd from then on, and on failure not. */
NX_API int nx_stream_from_fd(int fd, nx_stream **ret_stream);
/* The descriptor, still the stream's: for getsockopt and the like. -ENOTSUP where the driver has none. */
NX_API int nx_stream_fd(const nx_stream *stream);

#define NX_READABLE 1u
#define NX_WRITABLE 2u
/* Waits until a foreign descriptor is ready; it stays the caller's and is not changed. The ready events (> 0),
 * hang-up and error show as both; a regular file is always ready. -EBADF, -EINVAL. Do not close fd meanwhile. [parks]
 */
NX_API int nx_fd_wait(int fd, unsigned events, nx_time deadline);

typedef struct nx_serve_options {
    size_t size;
    const nx_listen_options *listen;
    int64_t drain_ns;       /* 0: 10 s; < 0: none. What connections get to finish once accepting has ended */
    size_t stack_size;      /* of a connection's task */
    size_t max_connections; /* 0: no limit; at the limit no more are accepted */
    void (*on_listen)(const nx_addr *addr, void *arg); /* called once, when connections are accepted */
} nx_serve_options;

/*
 * A whole server: listens, and runs on_conn in a task of its own for each connection, on the worker with the fewest;
 * the stream is closed when on_conn returns. The deadline, nx_cancel or nx_runtime_shutdown end accepting; then
 * connections get drain_ns, what is left is cancelled and waited for. Returns how many were cut, or -errno if it
 * could not listen. [parks]
 */
NX_API int nx_serve(const char *addr, const nx_serve_options *options,
                    intptr_t (*on_conn)(nx_stream *stream, void *arg), void *arg, nx_time deadline);

NX_END_DECLS
#endif
