/* nxt_net.h: help for tests of streams: pairs, peers, flows of checked bytes, tasks on a given worker. (peer.c) */
#ifndef NXT_NET_H
#define NXT_NET_H

#include "nxt.h"

#define NXT_WITH(...) (&(const nx_task_options){.size = sizeof(nx_task_options), __VA_ARGS__})

/* ---- tasks ---- */

nx_task nxt_task_on(int worker, nx_task_fn fn, void *arg); /* bound to that worker of the caller's runtime */
intptr_t nxt_result(nx_task task);                         /* joins, expecting success */
/* Waits until the task waits for something: one whose first wait is a read is in that read then. */
void nxt_await_parked(nx_task task);

/* ---- streams and their plain peers; in a task ---- */

/* Both ends of a Unix socket pair. */
bool nxt_stream_pair(nx_stream *ret_streams[2]);
/* One end, and the descriptor of the other, which blocks. NULL after recording why. */
nx_stream *nxt_unix_stream(int *ret_peer);
nx_stream *nxt_tcp_stream(int *ret_peer);
bool nxt_tcp_pair(int ret_fds[2]);
nx_stream *nxt_stream_of(int fd); /* nx_stream_from_fd; closes fd if that fails */
void nxt_small_buffers(int fd);   /* as small as the kernel makes them */
void nxt_reset(int *fd);          /* closes a TCP connection by a reset */
bool nxt_set_nonblock(int fd);
int nxt_unread(int fd);                                                    /* bytes waiting to be read */
nx_listener *nxt_listen_on(const char *addr, char *ret_text, size_t size); /* and where, as text */

/* nx_serve on some port of 127.0.0.1, in a task of its own, which any worker may run. start returns when it listens. */
struct nxt_server {
    intptr_t (*on_conn)(nx_stream *, void *);
    char where[64];
    atomic_bool listens;
    nx_task task;
};
void nxt_server_start(struct nxt_server *server, intptr_t (*on_conn)(nx_stream *, void *));
void nxt_server_stop(struct nxt_server *server); /* expecting that nothing went wrong */

/* ---- flows: bytes of nxt_fill from one end to the other, by a thread ---- */

struct nxt_flow {
    int fd;
    uint32_t seed;
    size_t len;       /* how many bytes; receiving: 0 is until end of stream */
    size_t chunk;     /* per call; 0: 64 KiB */
    int64_t pause_ns; /* between calls: a slow reader */
    uint64_t offset;  /* of the first byte; of the next one at the end */
};
intptr_t nxt_flow_send(void *flow);    /* bytes sent; stops at an error */
intptr_t nxt_flow_receive(void *flow); /* bytes received; records what is wrong with them */

/* The same in a task, by a stream. */
struct nxt_stream_flow {
    nx_stream *stream;
    struct nxt_flow flow;
};
intptr_t nxt_stream_send(void *flow);    /* bytes sent, or the error */
intptr_t nxt_stream_receive(void *flow); /* bytes received up to the end of stream or len, or the error */

/* ---- the process ---- */

/* From now on the system call gives this error, in the whole process: a seccomp filter. */
bool nxt_deny(int syscall_number, int error);
const char *nxt_env(const char *name, int64_t value); /* "NAME=value", static, a few at a time */
int nxt_open_fds(void);
/* A path below the temporary folder that nothing has yet; the same for the same name in this process. */
const char *nxt_temp_path(const char *name);

#endif
