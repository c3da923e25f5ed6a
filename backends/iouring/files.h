/* iouring/files.h: ops on files: NX_OP_OPEN to NX_OP_MKDIR. flight.c carries them. Not installed. */
#ifndef NEXUS_IOURING_FILES_H
#define NEXUS_IOURING_FILES_H

#include "ctx.h"

static inline bool nxi_uring_is_file(const struct nx_op *op)
{
    return op->code >= NX_OP_OPEN && op->code <= NX_OP_MKDIR;
}

/* The ops that this kernel has, bit NX_OP_...; oldest: as if it were Linux 5.7. */
uint32_t nxi_uring_files_probe(bool oldest);
/* Of a ring that is new. */
void nxi_uring_files_prepare(struct nxi_uring *uring);

/* handle: of an op that has one, else NULL. True: to be queued, end follows in any case; else the op's result. */
bool nxi_uring_file_begin(struct nx_ctx *ctx, struct nx_op *op, struct nx_fd_slot *handle, int64_t *ret_result);
void nxi_uring_file_fill(const struct nx_op *op, int fd, struct io_uring_sqe *sqe);
/* From the kernel's result to the op's; < 0 also for an op that was never issued. */
int64_t nxi_uring_file_end(struct nx_ctx *ctx, struct nx_op *op, int64_t result);

#endif
