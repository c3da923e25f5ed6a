/*
 * iouring/identity.c: whose rights an op is carried out with.
 *
 * The kernel checks rights at submission: those of the thread that enters the kernel, which are the process's as they
 * are then. Its own threads (io-wq) carry out what they get under the rights of that moment. So nothing is to be done,
 * but with sqpoll: there a kernel thread submits, under the credentials that the process had when the ring was made. A
 * server that opens its ring as root and then calls setuid(2) would go on opening files as root (CVE-2024-22017), and
 * Unix peers would see root at the other end.
 *
 * So with sqpoll each op whose result can depend on rights takes the present ones along: a personality, registered for
 * this op alone and dropped at its end. Kept for longer one would be as stale as the ring's: a process can change its
 * credentials without anybody here being told. That costs two system calls an op; it is not paid on TCP and UDP
 * sockets, for what moves there was decided by who made the socket, and there sqpoll is of use.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* liburing.h */
#endif
#include "identity.h"
#include "files.h"
#include "inline.h"

bool nxi_uring_identity_counts(struct nx_ctx *ctx, const struct nx_op *op, struct nx_fd_slot *handle)
{
    if (!nxi_uring_is_polled(&ctx->uring) || op->code == NX_OP_NOP || op->code == NX_OP_POLL)
        return false;
    return !handle || op->code == NX_OP_CONNECT || !(nxi_inline_kind(handle) & NXI_KIND_INTERNET);
}

int nxi_uring_identity_take(struct nx_ctx *ctx, struct nx_op *op)
{
    nxi_uring_count(&ctx->calls, 1);
    int id = io_uring_register_personality(&ctx->uring.ring);
    if (id < 0)
        return id;
    op->driver[2] = (uintptr_t)id;
    return 0;
}

void nxi_uring_identity_give(struct nx_ctx *ctx, struct nx_op *op)
{
    if (op->driver[2] == 0)
        return;
    nxi_uring_count(&ctx->calls, 1);
    io_uring_unregister_personality(&ctx->uring.ring, (int)op->driver[2]);
    op->driver[2] = 0;
}
