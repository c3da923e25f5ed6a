/* readiness/adapter.h: what adapter.c (queues, events), calls.c (the system calls of ops) and context.c (life, handles)
 * share. Not installed. */
#ifndef NEXUS_READINESS_ADAPTER_H
#define NEXUS_READINESS_ADAPTER_H

#include "fds.h"

/*
 * slot->user[]: tails of circular lists of pending ops (op->driver[0] is the next), and the state word. Only the
 * context that uses the handle touches them (law 5), so they need neither lock nor atomics.
 */
#define SLOT_IN 0   /* READ, RECVMSG, ACCEPT, in order */
#define SLOT_OUT 1  /* WRITE, WRITEV, SENDMSG, CONNECT, in order */
#define SLOT_POLL 2 /* POLL: takes nothing away, so it waits in no line; or one multishot POLL */
#define SLOT_STATE 3

/* The state word, zero for a new handle: epoch << SLOT_EPOCH_SHIFT | bits. Epoch 0: not watched. */
#define SLOT_BLOCKED_IN 1u  /* the last call found nothing: try after the next event. Clear: may be ready */
#define SLOT_BLOCKED_OUT 2u /* SLOT_BLOCKED_IN << SLOT_OUT */
#define SLOT_HUP 4u         /* an event said hang-up, error or urgent data: a short read is not the end */
#define SLOT_WATCHED 8u     /* the poller knows it */
#define SLOT_COVERED_IN 16u /* ONESHOT, or a foreign descriptor: the present interest */
#define SLOT_COVERED_OUT 32u
#define SLOT_DUP 64u     /* what is watched is a duplicate of the descriptor */
#define SLOT_STREAM 128u /* TCP or a Unix stream: a short transfer means that the kernel's buffer is empty (full) */
#define SLOT_UNIX 256u   /* Unix stream: reads also stop short after a message that carried descriptors */
#define SLOT_KIND (SLOT_STREAM | SLOT_UNIX)
#define SLOT_EPOCH_SHIFT 12
#if UINTPTR_MAX > UINT32_MAX /* an error that a poller has taken off the socket, for the next op that finds none */
#define SLOT_ERROR_SHIFT 48
#define SLOT_ERROR ((uintptr_t)0xffff << SLOT_ERROR_SHIFT)
#else
#define SLOT_ERROR_SHIFT 0 /* no room */
#define SLOT_ERROR ((uintptr_t)0)
#endif
#define SLOT_EPOCH_MASK ((uint32_t)(UINTPTR_MAX >> SLOT_EPOCH_SHIFT))

/* op->driver[2] while the op is pending */
#define OP_PENDING 1u   /* in a list of its slot */
#define OP_KICKED 2u    /* and in ctx->kicked, linked by driver[1] */
#define OP_CANCELLED 4u /* in ctx->done, linked by driver[0]; driver[1] is the result, negated */

/* Written by the context's worker with readiness_count, read by anybody. */
struct readiness_stats {
    _Atomic uint64_t watches, unwatches; /* calls of the poller's watch and unwatch */
    _Atomic uint64_t waits, events;      /* turns of the poller, and what they reported */
    _Atomic uint64_t stale;              /* events for a registration that is gone */
    _Atomic uint64_t calls, again;       /* system calls made for ops, and how many of them would have blocked */
};

static inline void readiness_count(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more, memory_order_relaxed);
}

struct watch_dup {
    struct watch_dup *next;
    struct nx_fd_slot *slot;
    int32_t fd;
};

struct nx_driver {
    const struct nx_host *host;
    const struct nx_config *config;
    const struct nx_poller_ops *poller_ops;
    struct nx_fd_table *table;
    uint32_t event_batch;
    _Atomic uint32_t epoch; /* one count for all contexts: an old token fits no registration of any of them */
    atomic_flag lock;       /* guards the list, in ctx_open and ctx_close */
    struct nx_ctx *_Atomic contexts;
};

struct nx_ctx {
    struct nx_driver *driver;
    struct nx_poller *poller;
    const struct nx_poller_ops *poller_ops;
    struct nx_fd_table *table;
    uint32_t oneshot, event_batch;
    _Atomic uint32_t watched; /* slots the poller knows; the owner's to write */
    uint32_t event_next, event_count;
    struct nx_op *done_tail, *kicked_first, *kicked_last;
    struct watch_dup *dups;
    struct readiness_stats stats;
    struct nx_ctx *next;
    struct nx_ready_event events[];
};

/* Before the descriptor is closed or leaves this context: nothing of the registration is left, the slot is as if new.
 */
void nxi_readiness_unwatch(struct nx_ctx *ctx, struct nx_fd_slot *slot, uint32_t index);

/*
 * Makes the op's system call once. Its result, or -errno. -EAGAIN with the direction's BLOCKED bit set: nothing
 * happened, wait; without it, -EAGAIN is the op's result.
 */
int64_t nxi_readiness_try(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op);

/* Starts a connect: 0, -errno, or -EINPROGRESS: nxi_readiness_try then tells when it is there. */
int nxi_readiness_connect(struct nx_ctx *ctx, struct nx_fd_slot *slot, const struct nx_addr *addr);

/* Which of NX_READABLE and NX_WRITABLE hold now; 0: none; -EBADF. */
int nxi_readiness_level(struct nx_ctx *ctx, struct nx_fd_slot *slot, uint32_t wanted);

/* SHUTDOWN: 0 or -errno. */
int nxi_readiness_shutdown(struct nx_fd_slot *slot, uint64_t how);

/* Notes the kind of a socket that has just been made (family, type: NX_...), or imported. */
void nxi_readiness_made(struct nx_fd_slot *slot, uint32_t family, uint32_t type);
void nxi_readiness_classify(struct nx_fd_slot *slot);

#endif
