/*
 * loop/loop.h: what the files of the loop driver share.
 *
 * The network is one piece of memory under one lock: ends (handles), the links between them, names, the clock. Each
 * slot takes the lock, does what it has to, lets everybody go on for whom that has changed something (nxi_loop_settle),
 * and gives the lock back (nxi_loop_leave), which rings the workers that got completions. What is in flight on an end
 * waits in its list; what is done waits in its context until poll hands it out.
 */
#ifndef NXI_LOOP_H
#define NXI_LOOP_H

#include <errno.h>
#include <nexus/driver.h>
#include <stdbool.h>
#include <stdint.h>

struct nxi_loop_segment;
struct nxi_loop_datagram;

/* One direction of a link: bytes on their way, at most the window with those lent to the reader. */
struct nxi_loop_pipe {
    struct nxi_loop_segment *first, *last;
    size_t bytes, lent;
    bool closed; /* nothing more will come */
    bool deaf;   /* nobody reads any more: what is written is dropped */
};

struct nxi_loop_link {
    struct nxi_loop_pipe pipe[2]; /* [side]: what that side reads */
    struct nxi_loop_end *end[2];  /* NULL: closed */
    uint32_t loans;               /* segments that readers have, which keep the link */
};

enum nxi_loop_kind { NXI_LOOP_FRESH, NXI_LOOP_LISTENER, NXI_LOOP_STREAM, NXI_LOOP_DATAGRAM };

struct nxi_loop_end {
    nx_handle handle;
    enum nxi_loop_kind kind;
    struct nx_ctx *home;                           /* NULL: in a backlog */
    struct nx_op *waiting;                         /* in flight and not done; linked by driver[0] */
    struct nxi_loop_end *stirred_next;             /* while stirred */
    struct nxi_loop_end *named_next, **named;      /* while it has a name of its own; named is NULL otherwise */
    struct nxi_loop_end *connect_next, **connects; /* while it waits for room in a backlog */
    struct nx_addr local, peer;                    /* family 0: none */
    bool stirred, reuse_port, v6_only;
    int32_t error; /* told once, by the next read or write */
    /* stream */
    struct nxi_loop_link *link;
    uint32_t side;
    /* listener */
    struct nxi_loop_end *backlog, **backlog_end, *backlog_next;
    uint32_t backlog_count, backlog_max;
    /* datagram */
    struct nxi_loop_datagram *datagrams, **datagrams_end;
    size_t datagram_bytes, datagram_room;
};

struct nxi_loop_slot {
    struct nxi_loop_end *end;
    uint32_t generation, next_free;
};

struct nx_driver {
    const struct nx_host *host;
    const struct nx_config *config;
    uint32_t id;
    uint32_t lock; /* 0: free, 1: taken, 2: somebody may sleep for it. What follows is under it, but for reads of now */
    size_t window;
    bool virtual_time, cuts;
    uint32_t held; /* real-time operations in flight: the clock stands */
    uint16_t last_port;
    nx_time now; /* virtual; written under the lock */
    uint64_t random;
    struct nx_ctx *contexts, *ringing;
    struct nxi_loop_slot *slots;
    uint32_t slot_count, free_slot; /* 0: none, slot 0 is nobody's */
    struct nxi_loop_end *named, *connecting, *stirred;
    struct nxi_loop_segment *lent;
    uint64_t advances, loans; /* how often the clock has jumped, memory was lent */
};

struct nx_ctx {
    struct nx_driver *driver;
    struct nx_ctx *next, *ring_next;
    uint32_t worker;
    bool ringing; /* it got completions and is to be told */
    bool waiting; /* in wait, until... */
    nx_time until;
    uint32_t bell; /* 1: the wait ends, or the next one. Any thread, without the lock */
    struct nx_completion *done;
    uint32_t done_count, done_room, in_flight; /* done_count <= in_flight <= done_room */
    uint64_t completed, late, sleeps;          /* late: not inline */
};

/* driver.c */
void nxi_loop_enter(struct nx_driver *driver);
void nxi_loop_leave(struct nx_driver *driver); /* also rings who is to be rung */
uint32_t nxi_loop_random(struct nx_driver *driver, uint32_t below);

/* flight.c. self: the calling context, which is not rung; NULL: none */
int nxi_loop_submit(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline);
void nxi_loop_cancel(struct nx_ctx *ctx, struct nx_op *op);
uint32_t nxi_loop_poll(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max);
/* Something has changed for it: what waits there is to be tried again. NULL is fine. */
void nxi_loop_stir(struct nx_driver *driver, struct nxi_loop_end *end);
void nxi_loop_settle(struct nx_driver *driver, const struct nx_ctx *self);

/* ends.c */
struct nxi_loop_end *nxi_loop_find(struct nx_driver *driver, nx_handle handle);       /* NULL: stale */
struct nxi_loop_end *nxi_loop_end_new(struct nx_driver *driver, struct nx_ctx *home); /* NULL: out of memory */
void nxi_loop_end_free(struct nx_driver *driver, struct nxi_loop_end *end); /* nothing is in flight; it is in no list */
void nxi_loop_end_close(struct nx_driver *driver, struct nxi_loop_end *end);
int nxi_loop_socket(struct nx_ctx *ctx, uint32_t family, uint32_t type, nx_handle *ret_handle);
int nxi_loop_option(struct nx_ctx *ctx, nx_handle handle, uint32_t option, int64_t value);
int nxi_loop_name(struct nx_ctx *ctx, nx_handle handle, uint32_t peer, struct nx_addr *ret_addr);

/* names.c; false: it has to wait */
int nxi_loop_bind(struct nx_ctx *ctx, nx_handle handle, const struct nx_addr *addr);
int nxi_loop_listen(struct nx_ctx *ctx, nx_handle handle, int32_t backlog);
bool nxi_loop_accept(struct nx_driver *driver, struct nxi_loop_end *end, struct nx_completion *ret);
bool nxi_loop_connect(struct nx_driver *driver, struct nxi_loop_end *end, const struct nx_addr *addr,
                      struct nx_completion *ret);
void nxi_loop_unname(struct nxi_loop_end *end);
void nxi_loop_connect_over(struct nxi_loop_end *end); /* it no longer waits for room */
void nxi_loop_stir_connecting(struct nx_driver *driver);
int nxi_loop_name_any(struct nx_driver *driver, struct nxi_loop_end *end, const struct nx_addr *to);
struct nx_addr nxi_loop_source(const struct nxi_loop_end *end, const struct nx_addr *to);
/* Which end of that kind has the address; NULL */
struct nxi_loop_end *nxi_loop_who(struct nx_driver *driver, enum nxi_loop_kind kind, const struct nx_addr *addr);

/* bytes.c */
bool nxi_loop_read(struct nx_driver *driver, struct nxi_loop_end *end, const struct iovec *iov, uint32_t count,
                   struct nx_completion *ret);
bool nxi_loop_lend(struct nx_driver *driver, struct nxi_loop_end *end, struct nx_completion *ret);
bool nxi_loop_write(struct nx_driver *driver, struct nxi_loop_end *end, const struct iovec *iov, uint32_t count,
                    struct nx_completion *ret);
int64_t nxi_loop_shutdown(struct nx_driver *driver, struct nxi_loop_end *end, uint64_t how);
int64_t nxi_loop_ready(const struct nx_driver *driver, const struct nxi_loop_end *end, uint64_t wanted); /* 0: not */
void nxi_loop_part(struct nx_driver *driver, struct nxi_loop_end *end); /* the end leaves its link */
struct nxi_loop_link *nxi_loop_join(struct nx_driver *driver, struct nxi_loop_end *one, struct nxi_loop_end *other);
int nxi_loop_loan_return(struct nx_ctx *ctx, void *data);
void nxi_loop_loans_free(struct nx_driver *driver);
size_t nxi_loop_iov_size(const struct iovec *iov, uint32_t count);
struct nxi_loop_end *nxi_loop_peer(const struct nxi_loop_end *end); /* NULL: closed */

/* datagram.c */
bool nxi_loop_recv(struct nx_driver *driver, struct nxi_loop_end *end, struct nx_message *message,
                   struct nx_completion *ret);
int64_t nxi_loop_send(struct nx_driver *driver, struct nxi_loop_end *end, const struct nx_message *message);
int64_t nxi_loop_point(struct nx_driver *driver, struct nxi_loop_end *end, const struct nx_addr *peer);
void nxi_loop_datagrams_free(struct nx_driver *driver, struct nxi_loop_end *end);

#endif
