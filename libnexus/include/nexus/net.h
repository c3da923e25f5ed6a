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
 * also for a host's name: nx_resolve looks those up. [threads] */
NX_API int nx_addr_parse(const char *text, nx_addr *ret_addr);

/* The same text back, cut to size and terminated. Its full length, or -EINVAL. [threads] */
NX_API int nx_addr_format(const nx_addr *addr, char *ret_text, size_t size);

/*
 * The addresses of "name:port" or "name:service", best first as getaddrinfo(3) sorts them; an address is its own. room
 * is *inout_count on entry; then how many there were, of which room at most are written. -EINVAL: malformed; -ENOENT:
 * no such name; -EAGAIN: the name servers don't answer now (also NX_POLL); -EIO: they failed. Lookups run on threads
 * of their own, apart from the blocking pool; at the deadline or a cancel this returns while the lookup ends alone.
 * [parks]
 */
NX_API int nx_resolve(const char *host_port, nx_addr *ret_addrs, size_t *inout_count, nx_time deadline);

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
/*
 * Connects to an address or a name ("example.org:443"); the earlier of deadline and options->timeout_ns counts. A
 * name's addresses are tried in turn, families alternating, the next one 250 ms after the last or as soon as that has
 * failed, and the first to connect wins (RFC 8305); else the first error. -ECONNREFUSED, -ETIMEDOUT, nx_resolve's...
 * [parks]
 */
NX_API int nx_connect(const char *addr, const nx_connect_options *options, nx_stream **ret_stream, nx_time deadline);

/*
 * Transfers return what moved: read at least a byte, 0 is end of stream; read_exact, write and writev all of it unless
 * end of stream, deadline, cancel or an error came after some bytes; the next call then finds the same, an error that
 * the system reports only once included. < 0 only if nothing moved. A stream may be read by one task while another
 * writes; any worker may use it, one at a time per direction is best. Never raises SIGPIPE: -EPIPE. TCP_NODELAY is
 * on. buf is the backend's until the call returns. [parks]
 */
NX_API ssize_t nx_read(nx_stream *stream, void *buf, size_t len, nx_time deadline);
NX_API ssize_t nx_read_exact(nx_stream *stream, void *buf, size_t len, nx_time deadline);
NX_API ssize_t nx_write(nx_stream *stream, const void *buf, size_t len, nx_time deadline);
NX_API ssize_t nx_writev(nx_stream *stream, const struct iovec *iov, int count, nx_time deadline);

/*
 * Reads up to and with delim, a text of 1 to 16 bytes ("\r\n"): as many bytes as that is, delimiter included. What came
 * behind it is kept in the stream for the next call, of whatever kind. 0, or fewer bytes that do not end in delim: end
 * of stream came first. -EMSGSIZE: no delimiter in size bytes; nothing is lost, a nx_read gets them. After another
 * error what came is kept likewise. Holds memory only while something is kept. Of several tasks that read at once each
 * byte goes to one; but a read, not a select, that waits already sees what another keeps only when more comes. [parks]
 */
NX_API ssize_t nx_read_until(nx_stream *stream, void *buf, size_t size, const char *delim, nx_time deadline);

/* Memory lent by the runtime, or by its backend: data and len may be read until it is returned. */
typedef struct nx_loan {
    const void *data;
    size_t len;
    void *owner; /* private */
    uint64_t private_[2];
} nx_loan;
/* As nx_read, without a buffer of one's own: while it waits no memory is held. 0: end of stream, nothing was lent.
 * Return each loan soon, in a task of the same runtime: buffers are few; when all are lent it waits. [parks] */
NX_API ssize_t nx_read_loan(nx_stream *stream, nx_loan *ret_loan, nx_time deadline);
NX_API void nx_loan_return(nx_loan *loan);

/* nx_write without copying where the backend can (capability WRITE, flag ZEROCOPY): returns when the memory is free
 * again, which over TCP is when the peer has acknowledged, also after a deadline, a cancel or a close have ended the
 * sending. Worth it from some 16 KiB on; below, and elsewhere, the same as nx_write. [parks] */
NX_API ssize_t nx_write_zerocopy(nx_stream *stream, const void *buf, size_t len, nx_time deadline);

/* Moves bytes from stream to stream, in the kernel where it can, until len of them (SIZE_MAX: all), end of stream, or
 * an error: how many, by the rule of transfers. What was read and could not be written is kept in from. [parks] */
NX_API ssize_t nx_stream_copy(nx_stream *to, nx_stream *from, size_t len, nx_time deadline);

/* A buffered writer in the caller's memory: small writes are gathered. One task at a time. */
typedef struct nx_writer {
    nx_stream *stream;
    char *buffer;
    size_t size, used;
} nx_writer;
NX_API int nx_writer_init(nx_writer *writer, nx_stream *stream, void *buffer, size_t size);
/* How many of the bytes were taken: all, or fewer when a flush failed in between, < 0 if none. [parks] */
NX_API ssize_t nx_writer_write(nx_writer *writer, const void *data, size_t len, nx_time deadline);
/* printf into the buffer: bytes added, or < 0 and nothing added; what doesn't fit in an empty buffer is -EMSGSIZE.
 * [parks] */
NX_API ssize_t nx_writer_printf(nx_writer *writer, nx_time deadline, const char *format, ...) NX_PRINTF(3, 4);
/* Writes out what is buffered: 0, or -errno with the rest still in it. [parks] */
NX_API int nx_writer_flush(nx_writer *writer, nx_time deadline);

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
/* The descriptor, still the stream's: for getsockopt and the like. -ENOTSUP where the backend has none. */
NX_API int nx_stream_fd(const nx_stream *stream);

/* Two streams connected to each other (socketpair(2)). In a task. */
NX_API int nx_pair(nx_stream **ret_one, nx_stream **ret_other);

/* Bytes over a Unix socket together with copies of descriptors, at most 64: they go with the first byte. len > 0. Bytes
 * sent; a short send has taken the descriptors along. [parks] */
NX_API ssize_t nx_stream_send_fds(nx_stream *stream, const void *buf, size_t len, const int *fds, size_t fd_count,
                                  nx_time deadline);
/* Bytes read, and descriptors, now the caller's and close-on-exec: *inout_count is room on entry, then how many.
 * Those without room are closed. nx_read on such a stream closes what descriptors come. [parks] */
NX_API ssize_t nx_stream_recv_fds(nx_stream *stream, void *buf, size_t len, int *ret_fds, size_t *inout_count,
                                  nx_time deadline);

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
    void (*on_drain)(void *arg); /* called once, when accepting has ended: time to tell idle connections */
} nx_serve_options;

/*
 * A whole server: listens, and runs on_conn in a task of its own for each connection, on the worker with the fewest;
 * the stream is closed when on_conn returns. The deadline, nx_cancel or nx_runtime_shutdown end accepting; then
 * connections get drain_ns, what is left is cancelled and waited for. Returns how many were cut, or -errno if it
 * could not listen. [parks]
 */
NX_API int nx_serve(const char *addr, const nx_serve_options *options,
                    intptr_t (*on_conn)(nx_stream *stream, void *arg), void *arg, nx_time deadline);

/* ---- watches: a foreign descriptor looked at again and again, for client libraries with their own sockets ---- */

typedef struct nx_watch nx_watch;

#define NX_WATCH_EDGE 1u    /* reports what became ready since the last report; else: whatever is ready now */
#define NX_WATCH_ONESHOT 2u /* reports once, then waits for nx_watch_set */

/* Watches fd, which stays the caller's: the watch holds a duplicate, until it is closed. Registered once for as long as
 * it lives, on the worker of the calling task; tasks of any worker may use it. Several may watch one descriptor. Close
 * the watch before fd, or the other end learns of that only when the watch is closed, too. events may be 0. -EBADF,
 * -EINVAL, -ENOTSUP: no edges from this backend (capability POLL, flag MULTISHOT). In a task. */
NX_API int nx_watch_open(int fd, unsigned events, unsigned flags, nx_watch **ret_watch);
/* Changes the events (0: none), and arms a one-shot again; a task that waits goes on with the new ones. An edge watch
 * then begins anew: what is ready is reported. In a task. */
NX_API int nx_watch_set(nx_watch *watch, unsigned events);
/* The ready events, > 0; hang-up and error show as both. -EBADF: closed meanwhile. One task at a time (-EBUSY). A
 * regular file is always ready. With NX_POLL an edge watch of another worker says what that one knows. [parks] */
NX_API int nx_watch_next(nx_watch *watch, nx_time deadline);
/* Never parks; works in a cancelled task. NULL is fine. */
NX_API int nx_watch_close(nx_watch *watch);

/* ---- UDP ---- */

typedef struct nx_udp nx_udp;

typedef struct nx_udp_options {
    size_t size;
    bool reuse_port;
    bool broadcast; /* may send to broadcast addresses */
    bool v6_only;
    bool no_multicast_loop;   /* what is sent to a group is not received here */
    uint8_t ttl;              /* of unicast and multicast; 0: the system's */
    uint32_t multicast_scope; /* index of the interface that multicast leaves by; 0: the system's */
    int receive_buffer;       /* bytes, SO_RCVBUF; 0: the system's */
} nx_udp_options;

/* A socket bound to the address; port 0: any. "unix:..." is one for Unix datagrams; the file of that address is the
 * caller's to remove, before a bind that is to succeed or after the close. Any worker may use it, as a stream.
 * -EADDRINUSE, ... In a task. */
NX_API int nx_udp_bind(const char *addr, const nx_udp_options *options, nx_udp **ret_udp);
/* From now on only this peer's datagrams are received, send needs no address, and ICMP errors are reported. */
NX_API int nx_udp_connect(nx_udp *udp, const nx_addr *peer);
/* Sends one datagram; to may be NULL on a connected socket. len, or -errno: -EMSGSIZE, -ECONNREFUSED (connected), ...
 * [parks] */
NX_API ssize_t nx_udp_send(nx_udp *udp, const void *buf, size_t len, const nx_addr *to, nx_time deadline);
/* Receives one, of any length up to 0 bytes; ret_from may be NULL. Its real length, which is more than len if the rest
 * was cut off. [parks] */
NX_API ssize_t nx_udp_recv(nx_udp *udp, void *buf, size_t len, nx_addr *ret_from, nx_time deadline);

typedef struct nx_datagram {
    void *data;
    size_t len;    /* of the memory; received: the datagram's real length, in `length` */
    size_t length; /* received: its real length */
    nx_addr addr;  /* to; len 0: the connected peer. Received: from; family 0: a Unix socket without a name */
} nx_datagram;
/* Several by one call: how many went (came), at least one, or -errno. Waits for the first only; an error that comes
 * after it is the next call's. [parks] */
NX_API int nx_udp_send_many(nx_udp *udp, const nx_datagram *datagrams, size_t count, nx_time deadline);
NX_API int nx_udp_recv_many(nx_udp *udp, nx_datagram *datagrams, size_t count, nx_time deadline);

/* Joins or leaves a group; scope: the interface's index, 0: the system's choice. -EADDRINUSE: joined already,
 * -EADDRNOTAVAIL: not joined, -ENODEV. */
NX_API int nx_udp_join(nx_udp *udp, const nx_addr *group, uint32_t scope);
NX_API int nx_udp_leave(nx_udp *udp, const nx_addr *group, uint32_t scope);
NX_API int nx_udp_addr(const nx_udp *udp, nx_addr *ret_addr);
NX_API int nx_udp_fd(const nx_udp *udp); /* still the socket's; -ENOTSUP */
NX_API int nx_udp_close(nx_udp *udp);    /* as nx_close */

/* ---- connection pool ---- */

typedef struct nx_pool nx_pool;

typedef struct nx_pool_options {
    size_t size;
    uint32_t max_idle;       /* per address, 0: 16 */
    uint32_t max_total;      /* per address, idle and in use, 0: no limit; at the limit nx_pool_get waits, in order */
    int64_t idle_timeout_ns; /* an idle connection is closed after it, 0: 60 s; < 0: never */
    int64_t connect_timeout_ns; /* 0: nx_pool_get's deadline */
    int64_t max_age_ns;         /* an older one is not used again, 0: no limit */
    /* Called in nx_pool_get on an idle connection that is still open, may park: false closes it and takes another. */
    bool (*healthy)(nx_stream *stream, void *arg);
    /* Called on a new connection: greeting, authentication, TLS. < 0: closed, and nx_pool_get returns that. */
    int (*on_connect)(nx_stream *stream, void *arg);
    void *arg;
} nx_pool_options;

/* In a task, whose runtime it belongs to. -EINVAL, -ENOMEM. */
NX_API int nx_pool_create(const nx_pool_options *options, nx_pool **ret_pool);
/*
 * A connection to addr (as nx_connect's): idle, most recently used first, or new. One whose peer has closed, or has
 * sent what nobody asked for, is not handed out. To be given back with nx_pool_put, not closed. nx_connect's errors;
 * -EBADF: the pool is being destroyed. Any worker of the runtime. [parks]
 */
NX_API int nx_pool_get(nx_pool *pool, const char *addr, nx_stream **ret_stream, nx_time deadline);
/* Gives it back; healthy false, or bytes kept unread in it: closed. Never parks; works in a cancelled task. */
NX_API void nx_pool_put(nx_pool *pool, nx_stream *stream, bool healthy);
/* Closes idle connections; waiting gets return -EBADF; frees itself when the last connection was put. NULL is fine.
 * In a task. */
NX_API void nx_pool_destroy(nx_pool *pool);
struct nx_pool_stats {
    size_t size; /* set by the caller */
    uint32_t idle, in_use, waiting;
    uint64_t opened, reused, dropped; /* dropped: idle ones found dead, unhealthy, too old or timed out */
};
NX_API int nx_pool_stats(nx_pool *pool, struct nx_pool_stats *ret_stats); /* of all addresses */

NX_END_DECLS
#endif
