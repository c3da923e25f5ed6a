/*
 * iouring/message.c: messages in flight: the kernel reads and writes their header, address and control data until the
 * CQE, and the caller keeps none of these.
 *
 * Rooms without control data, a datagram's, are kept for the next op; those with it, for descriptors, are large and
 * rare and go back at once.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* liburing.h */
#endif
#include "message.h"

#include <errno.h>

struct nxi_uring_message {
    struct nxi_uring_message *next;
    int flags;
    struct nxi_message_room room; /* last: its control data is left off where none is needed */
};

#define SMALL offsetof(struct nxi_uring_message, room.control)

static bool is_large(const struct nx_op *op)
{
    return ((const struct nx_message *)op->data)->fds != NULL;
}

static struct nxi_uring_message *message_of(const struct nx_op *op)
{
    return (struct nxi_uring_message *)op->driver[1];
}

static struct nxi_uring_message *take(struct nx_ctx *ctx, const struct nx_op *op)
{
    struct nxi_uring_message *message = ctx->messages;
    if (is_large(op))
        return ctx->host->alloc(sizeof(*message), 0);
    if (!message)
        return ctx->host->alloc(SMALL, 0);
    ctx->messages = message->next;
    return message;
}

static void give(struct nx_ctx *ctx, const struct nx_op *op, struct nxi_uring_message *message)
{
    if (is_large(op)) {
        ctx->host->free(message, sizeof(*message));
        return;
    }
    message->next = ctx->messages;
    ctx->messages = message;
}

int nxi_uring_message_begin(struct nx_ctx *ctx, struct nx_op *op, const struct nx_fd_slot *handle)
{
    struct nxi_uring_message *message = take(ctx, op);
    if (!message)
        return -ENOMEM;
    int r = nxi_message_begin(op, &message->room);
    message->flags = nxi_message_flags(op, handle);
    if (r < 0)
        give(ctx, op, message);
    else
        op->driver[1] = (uintptr_t)message;
    return r;
}

void nxi_uring_message_fill(const struct nx_op *op, int fd, struct io_uring_sqe *sqe)
{
    struct nxi_uring_message *message = message_of(op);
    if (op->code == NX_OP_RECVMSG)
        io_uring_prep_recvmsg(sqe, fd, &message->room.header, (unsigned)message->flags);
    else
        io_uring_prep_sendmsg(sqe, fd, &message->room.header, (unsigned)message->flags);
}

/* A Unix datagram socket without a peer always polls writable. */
bool nxi_uring_message_waits(const struct nx_op *op)
{
    const struct nx_message *message = op->data;
    if (op->code == NX_OP_SENDMSG)
        return !message->addr || message->addr->family != NX_AF_UNIX;
    return op->code == NX_OP_RECVMSG;
}

void nxi_uring_message_end(struct nx_ctx *ctx, struct nx_op *op, int64_t result)
{
    struct nxi_uring_message *message = message_of(op);
    if (result >= 0 && op->code == NX_OP_RECVMSG)
        nxi_message_received(op, &message->room);
    give(ctx, op, message);
    op->driver[1] = 0;
}

void nxi_uring_messages_free(struct nx_ctx *ctx)
{
    struct nxi_uring_message *message;
    while ((message = ctx->messages)) { /* ends: each turn takes one out */
        ctx->messages = message->next;
        ctx->host->free(message, SMALL);
    }
}

int64_t nxi_uring_message_now(const struct nx_op *op, const struct nx_fd_slot *handle)
{
    struct nxi_message_room room;
    int flags = MSG_DONTWAIT | nxi_message_flags(op, handle);
    ssize_t n = nxi_message_begin(op, &room);
    if (n < 0)
        return n;
    n = op->code == NX_OP_RECVMSG ? recvmsg(handle->fd, &room.header, flags) : sendmsg(handle->fd, &room.header, flags);
    if (n < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    if (op->code == NX_OP_RECVMSG)
        nxi_message_received(op, &room);
    return n;
}
