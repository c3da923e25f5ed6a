/* iouring/identity.h: whose rights an op has, where a kernel thread submits it (sqpoll). Not installed. */
#ifndef NEXUS_IOURING_IDENTITY_H
#define NEXUS_IOURING_IDENTITY_H

#include "ctx.h"

#include <stdbool.h>

/* Whether ops on this handle (NULL: ops by path) are to be submitted under the credentials that this thread has now. */
bool nxi_uring_identity_counts(struct nx_ctx *ctx, const struct nx_op *op, struct nx_fd_slot *handle);

/* Has the ring keep them for this op, until the op's end. 0 or -errno. */
int nxi_uring_identity_take(struct nx_ctx *ctx, struct nx_op *op);
void nxi_uring_identity_give(struct nx_ctx *ctx, struct nx_op *op); /* also of an op that has none */

/* For the op's SQE; 0: the submitter's own. */
static inline uint16_t nxi_uring_identity(const struct nx_op *op)
{
    return (uint16_t)op->driver[2];
}

#endif
