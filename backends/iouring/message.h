/* iouring/message.h: what a RECVMSG or SENDMSG needs in memory while it is in flight. Not installed. */
#ifndef NEXUS_IOURING_MESSAGE_H
#define NEXUS_IOURING_MESSAGE_H

#include "../readiness/message.h"
#include "ctx.h"

/* A room for the op, in op->driver[1] from then on, filled. 0, or -errno and there is none. */
int nxi_uring_message_begin(struct nx_ctx *ctx, struct nx_op *op, const struct nx_fd_slot *handle);
void nxi_uring_message_fill(const struct nx_op *op, int fd, struct io_uring_sqe *sqe);
bool nxi_uring_message_waits(const struct nx_op *op); /* after -EAGAIN, until the socket polls ready */
/* result as the completion has it, < 0 also for an op that was never issued: the room is given back. */
void nxi_uring_message_end(struct nx_ctx *ctx, struct nx_op *op, int64_t result);
void nxi_uring_messages_free(struct nx_ctx *ctx); /* those that are not in flight, and none is */

/* By a system call, without waiting. */
int64_t nxi_uring_message_now(const struct nx_op *op, const struct nx_fd_slot *handle);

static inline bool nxi_uring_is_message(const struct nx_op *op)
{
    return op->code == NX_OP_RECVMSG || op->code == NX_OP_SENDMSG;
}

#endif
