/* iouring/ctx.h: the inside of driver and context, for driver.c (life, loop) and flight.c (ops). Not installed. */
#ifndef NEXUS_IOURING_CTX_H
#define NEXUS_IOURING_CTX_H

#include "ring.h"
#include "slots.h"

#include <nexus/readiness.h>
#include <stdatomic.h>

/* A context's descriptors, where a forked child finds them without a lock. Kept until the driver closes; reused. */
struct nxi_uring_record {
    _Atomic int32_t ring_fd, event_fd, notify_fd; /* -1: none */
    _Atomic uint32_t taken;
    struct nxi_uring_record *next;
};

struct nx_driver {
    const struct nx_host *host;
    struct nx_fd_table *fds;
    struct nxi_uring_options options;
    uint32_t rung;
    uint32_t file_ops; /* bit NX_OP_...: the kernel has it */
    bool nosignal;     /* the kernel has RWF_NOSIGNAL and we may use it */
    _Atomic(struct nxi_uring_record *) records;
};

struct nx_ctx {
    struct nxi_uring uring;
    struct nxi_slots slots;
    struct nx_driver *driver;
    struct nx_fd_table *fds;
    const struct nx_host *host;
    struct nxi_uring_record *record;

    /* Slots that need an SQE and found no room: first in, first out. */
    struct nxi_slot *backlog_first, *backlog_last;

    struct nxi_uring_message *messages; /* free ones: message.c */

    int32_t event_fd;
    int32_t notify_fd;  /* -1, or: another driver waits, and this eventfd tells it of completions */
    bool wake_wanted;   /* the READ of event_fd is to be queued */
    uint64_t event_sum; /* what that READ fills */

    _Atomic uint64_t cqes, overflows, sq_full, retries, wakes, strays, calls; /* calls: system calls beside the ring */

    _Alignas(64) _Atomic uint32_t wake_state; /* driver.c has the protocol; the one field other threads touch */
};

int nxi_uring_submit(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline);
void nxi_uring_cancel(struct nx_ctx *ctx, struct nx_op *op);

/* Completions out of the CQ, no system call unless an op must be tried again and the SQ is full. */
uint32_t nxi_uring_reap(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max);

/* Queues the READ of the eventfd if it is due; wake_wanted stays if there is no room. */
void nxi_uring_listen(struct nx_ctx *ctx);

/* Issues what waited for room in the SQ; completions of those that were cancelled meanwhile. */
uint32_t nxi_uring_drain(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max);

#endif
