/*
 * iouring/flight.c: an op's way from submit to its completion.
 *
 * The way of nearly all: submit takes a slot and fills an SQE; the CQE names the slot; the completion goes out. What
 * can come in between, by the slot's stage:
 *
 *              submit
 *                │
 *      ┌──────> OP ──── done ────────────────────────────> completion
 *      │         │ -EAGAIN: an O_NONBLOCK descriptor, on kernels that then won't wait for it
 *      │         v
 *      └─ready─ POLL                                        a POLL_ADD for the op's direction
 *              FIFO ── ready: write(2) here, EAGAIN: again ─> completion    pipes, kernels without RWF_NOSIGNAL
 *           CONNECT ── ready: SO_ERROR ──────────────────────> completion    -EINPROGRESS, O_NONBLOCK likewise
 *
 * Each POLL round waits in the kernel for a change, so going round is not a busy loop, however often another reader
 * of the same descriptor gets there first.
 *
 * Cancelling sets CANCEL and sends an ASYNC_CANCEL for the token, which is the same in every stage. The CQE of the
 * stage is the truth: data wins. Between two stages nothing has been done, so a slot with CANCEL never starts
 * another: it completes with -ECANCELED. An SQE that finds no room leaves its slot on the backlog (WANT_SQE,
 * WANT_CANCEL), which poll and wait work off; nothing is ever dropped.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* liburing.h */
#endif
#include "../readiness/fds.h"
#include "ctx.h"
#include "files.h"
#include "identity.h"
#include "inline.h"
#include "message.h"
#include "uapi.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

/* slot.stage */
#define STAGE_OP 0u
#define STAGE_POLL 1u
#define STAGE_FIFO 2u
#define STAGE_CONNECT 3u

/* slot.flags */
#define SLOT_SOCKET 1u
#define SLOT_NOSIGNAL 2u /* a pipe: RWF_NOSIGNAL */
#define SLOT_CANCEL 4u   /* cancel was asked for */
#define SLOT_WANT_SQE 8u
#define SLOT_WANT_CANCEL 16u
#define SLOT_LISTED 32u

static uint32_t flags_of(uint32_t code)
{
    return NX_OP_NOWAIT | (code == NX_OP_ACCEPT || code == NX_OP_POLL ? NX_OP_MULTISHOT : 0) |
           (code == NX_OP_WRITE ? NX_OP_ZEROCOPY : 0);
}

/*
 * A cancel can fail though the op is still there: between two attempts of its own the kernel has it on no list (a
 * connect to a full Unix listener is tried 128 times before a kernel thread gets to wait for it), and such a thread
 * may not have gone to sleep yet. The cancel is sent again, each time with the turn's own system call.
 */
#define CANCELS_MAX UINT8_MAX
#define CANCELS_OF_FILES 8 /* a disk doesn't heed them, and it would be asked in a busy loop */

static struct io_uring_sqe *take_sqe(struct nx_ctx *ctx)
{
    struct io_uring_sqe *sqe = nxi_uring_sqe(&ctx->uring);
    if (__builtin_expect(sqe != NULL, 1))
        return sqe;
    nxi_uring_count(&ctx->sq_full, 1);
    nxi_uring_enter(&ctx->uring, 0, 0, NULL);
    return nxi_uring_sqe(&ctx->uring);
}

static void backlog_add(struct nx_ctx *ctx, struct nxi_slot *slot, uint8_t want)
{
    slot->flags |= want;
    slot->simple = 0;
    if (slot->flags & SLOT_LISTED)
        return;
    slot->flags |= SLOT_LISTED;
    slot->next = NULL;
    if (ctx->backlog_first)
        ctx->backlog_last->next = slot;
    else
        ctx->backlog_first = slot;
    ctx->backlog_last = slot;
}

/* ---- SQEs ---- */

static void fill_write(const struct nxi_slot *slot, const struct nx_op *op, struct io_uring_sqe *sqe)
{
    if (op->flags & NX_OP_ZEROCOPY) { /* WAITALL: whoever waits for the peer to have all does so once */
        io_uring_prep_send_zc(sqe, slot->fd, op->data, op->len, MSG_NOSIGNAL | MSG_WAITALL, 0);
        return;
    }
    if (slot->flags & SLOT_SOCKET) {
        io_uring_prep_send(sqe, slot->fd, op->data, op->len, MSG_NOSIGNAL);
        return;
    }
    io_uring_prep_write(sqe, slot->fd, op->data, op->len, (uint64_t)-1);
    sqe->rw_flags = slot->flags & SLOT_NOSIGNAL ? NX_URING_RWF_NOSIGNAL : 0;
}

static void fill_writev(struct nx_ctx *ctx, const struct nxi_slot *slot, const struct nx_op *op,
                        struct io_uring_sqe *sqe)
{
    if (slot->flags & SLOT_SOCKET) {
        io_uring_prep_sendmsg(sqe, slot->fd, &nxi_slots_extra(&ctx->slots, slot)->message, MSG_NOSIGNAL);
        return;
    }
    io_uring_prep_writev(sqe, slot->fd, op->data, op->len, (uint64_t)-1);
    sqe->rw_flags = slot->flags & SLOT_NOSIGNAL ? NX_URING_RWF_NOSIGNAL : 0;
}

static void fill_op(struct nx_ctx *ctx, const struct nxi_slot *slot, struct io_uring_sqe *sqe)
{
    const struct nx_op *op = slot->op;
    switch (op->code) {
    case NX_OP_READ:
        if (slot->flags & SLOT_SOCKET)
            io_uring_prep_recv(sqe, slot->fd, op->data, op->len, 0);
        else
            io_uring_prep_read(sqe, slot->fd, op->data, op->len, (uint64_t)-1);
        return;
    case NX_OP_WRITE:
        fill_write(slot, op, sqe);
        return;
    case NX_OP_WRITEV:
        fill_writev(ctx, slot, op, sqe);
        return;
    case NX_OP_ACCEPT:
        io_uring_prep_accept(sqe, slot->fd, NULL, NULL, SOCK_CLOEXEC);
        if ((op->flags & NX_OP_MULTISHOT) && (ctx->uring.traits & NXI_URING_HAS_ACCEPT_MULTISHOT))
            sqe->ioprio |= IORING_ACCEPT_MULTISHOT;
        return;
    case NX_OP_CONNECT: {
        const union nxi_slot_extra *extra = nxi_slots_extra(&ctx->slots, slot);
        io_uring_prep_connect(sqe, slot->fd, (const struct sockaddr *)&extra->address, extra->address_len);
        return;
    }
    case NX_OP_POLL:
        io_uring_prep_poll_add(sqe, slot->fd, (unsigned)nxi_inline_poll_mask(op->arg));
        if (op->flags & NX_OP_MULTISHOT)
            sqe->len |= IORING_POLL_ADD_MULTI; /* reports edges */
        return;
    case NX_OP_RECVMSG:
    case NX_OP_SENDMSG:
        nxi_uring_message_fill(op, slot->fd, sqe);
        return;
    default:
        if (nxi_uring_is_file(op))
            nxi_uring_file_fill(op, slot->fd, sqe);
        else
            io_uring_prep_nop(sqe);
    }
}

static void fill_stage(struct nx_ctx *ctx, const struct nxi_slot *slot, struct io_uring_sqe *sqe)
{
    uint16_t code = slot->op->code;
    bool in = code == NX_OP_READ || code == NX_OP_ACCEPT || code == NX_OP_RECVMSG;
    if (slot->stage == STAGE_OP) {
        fill_op(ctx, slot, sqe);
        sqe->personality = nxi_uring_identity(slot->op);
    } else {
        io_uring_prep_poll_add(sqe, slot->fd, in ? POLLIN : POLLOUT);
    }
    sqe->user_data = slot->token;
}

static void fill_cancel(struct nx_ctx *ctx, const struct nxi_slot *slot, struct io_uring_sqe *sqe)
{
    io_uring_prep_cancel64(sqe, slot->token, 0);
    sqe->user_data = slot->token | NXI_TOKEN_CANCEL;
    if (ctx->uring.traits & NXI_URING_HAS_CQE_SKIP)
        sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
}

/* Starts the stage the slot is in, now or when there is room. */
static void issue(struct nx_ctx *ctx, struct nxi_slot *slot)
{
    struct io_uring_sqe *sqe = take_sqe(ctx);
    if (sqe)
        fill_stage(ctx, slot, sqe);
    else
        backlog_add(ctx, slot, SLOT_WANT_SQE);
}

static void issue_cancel(struct nx_ctx *ctx, struct nxi_slot *slot)
{
    struct io_uring_sqe *sqe = take_sqe(ctx);
    if (sqe)
        fill_cancel(ctx, slot, sqe);
    else
        backlog_add(ctx, slot, SLOT_WANT_CANCEL);
}

/* ---- submit ---- */

static int complete_inline(struct nx_op *op, int64_t result, struct nx_completion *ret_inline)
{
    *ret_inline = (struct nx_completion){.op = op, .result = result};
    return 1;
}

static int64_t close_handle(struct nx_ctx *ctx, const struct nx_op *op, const struct nx_fd_slot *handle)
{
    int fd = handle->fd;
    bool keep = (op->arg & NX_CLOSE_KEEP) || (handle->flags & NX_FD_FOREIGN);
    nx_fds_drop(ctx->fds, op->handle);
    /* By system call: measured, an SQE is no cheaper, and this way the peer and the limit of open files know now. Linux
     * has closed the descriptor even where close(2) says EINTR. */
    if (keep || close(fd) == 0 || errno == EINTR)
        return 0;
    return -errno;
}

/* An accepted descriptor becomes a handle. */
static int64_t accepted(struct nx_ctx *ctx, int fd)
{
    nx_handle handle;
    int r = nx_fds_add(ctx->fds, fd, NX_FD_SOCKET, &handle);
    if (r == 0)
        return (int64_t)handle;
    close(fd);
    return r;
}

static int64_t try_now(struct nx_ctx *ctx, const struct nx_op *op, struct nx_fd_slot *handle)
{
    nxi_uring_count(&ctx->calls, 1);
    int64_t r = nxi_inline_try(op, handle, ctx->driver->nosignal);
    return r >= 0 && op->code == NX_OP_ACCEPT ? accepted(ctx, (int)r) : r;
}

/* What the op needs besides its SQE. 0, or -errno to complete with. */
static int prepare(struct nx_ctx *ctx, struct nxi_slot *slot, struct nx_fd_slot *handle)
{
    struct nx_op *op = slot->op;
    bool writes = op->code == NX_OP_WRITE || op->code == NX_OP_WRITEV;

    if (nxi_uring_is_message(op))
        return nxi_uring_message_begin(ctx, op, handle);
    if (!(slot->flags & SLOT_SOCKET)) {
        if (writes && (nxi_inline_kind(handle) & NXI_KIND_FIFO)) {
            slot->flags |= ctx->driver->nosignal ? SLOT_NOSIGNAL : 0;
            slot->stage = ctx->driver->nosignal ? STAGE_OP : STAGE_FIFO;
        }
        return 0;
    }
    if (op->code != NX_OP_CONNECT && op->code != NX_OP_WRITEV)
        return 0;
    union nxi_slot_extra *extra = nxi_slots_extra(&ctx->slots, slot);
    if (!extra)
        return -ENOMEM;
    if (op->code == NX_OP_WRITEV) {
        memset(&extra->message, 0, sizeof(extra->message));
        extra->message.msg_iov = op->data;
        extra->message.msg_iovlen = op->len;
        return 0;
    }
    int len = nx_fds_to_sockaddr(op->data, &extra->address);
    extra->address_len = (uint32_t)len;
    return len < 0 ? len : 0;
}

/* All that was got for an op that can't begin. Returns error. */
static int give_back(struct nx_ctx *ctx, struct nxi_slot *slot, int error)
{
    struct nx_op *op = slot->op;
    if (nxi_uring_is_message(op))
        nxi_uring_message_end(ctx, op, error);
    if (nxi_uring_is_file(op))
        nxi_uring_file_end(ctx, op, error);
    nxi_uring_identity_give(ctx, op);
    nxi_slots_give(&ctx->slots, slot);
    return error;
}

static int queue_op(struct nx_ctx *ctx, struct nx_op *op, struct nx_fd_slot *handle, struct nx_completion *ret_inline)
{
    struct nxi_slot *slot = nxi_slots_take(&ctx->slots);
    if (!slot)
        return complete_inline(op, nxi_uring_is_file(op) ? nxi_uring_file_end(ctx, op, -ENOMEM) : -ENOMEM, ret_inline);
    slot->op = op;
    slot->fd = handle ? handle->fd : -1;
    slot->stage = STAGE_OP;
    slot->flags = handle && (handle->flags & NX_FD_SOCKET) ? SLOT_SOCKET : 0;
    slot->cancels = nxi_uring_is_file(op) ? CANCELS_MAX - CANCELS_OF_FILES : 0;
    slot->simple = 0;

    int r = handle ? prepare(ctx, slot, handle) : 0;
    if (r < 0) {
        nxi_slots_give(&ctx->slots, slot);
        return complete_inline(op, r, ret_inline);
    }
    if (__builtin_expect(nxi_uring_identity_counts(ctx, op, handle), 0)) {
        r = nxi_uring_identity_take(ctx, op);
        if (r < 0)
            return give_back(ctx, slot, r), complete_inline(op, r, ret_inline);
    }
    struct io_uring_sqe *sqe = take_sqe(ctx);
    if (!sqe)
        return give_back(ctx, slot, -EAGAIN);
    op->driver[0] = slot->token;
    fill_stage(ctx, slot, sqe);
    return 0;
}

/* Ops that end in submit, and arguments that are wrong: the result, or 1 if the op is to be queued. */
static int64_t settle_early(struct nx_ctx *ctx, const struct nx_op *op, struct nx_fd_slot *handle)
{
    if (op->code >= NX_OP_COUNT || (op->flags & ~flags_of(op->code)))
        return -ENOTSUP;
    if ((op->flags & NX_OP_ZEROCOPY) &&
        (!(handle->flags & NX_FD_SOCKET) || !(ctx->uring.traits & NXI_URING_HAS_SEND_ZC)))
        return -ENOTSUP;
    if (op->code == NX_OP_CLOSE)
        return close_handle(ctx, op, handle);
    if (op->code == NX_OP_POLL ? !nxi_inline_poll_mask(op->arg) : (handle->flags & NX_FD_FOREIGN))
        return -EINVAL;
    if (op->code == NX_OP_WRITEV && op->len > NX_IOV_MAX)
        return -EINVAL;
    if (op->code == NX_OP_POLL && (op->flags & NX_OP_MULTISHOT) &&
        (!(handle->flags & NX_FD_FOREIGN) || !(ctx->uring.traits & NXI_URING_HAS_ACCEPT_MULTISHOT)))
        return -ENOTSUP; /* the kernel's is as old as 5.13, but a rung says no finer */
    if (op->code == NX_OP_MEMBERSHIP)
        return nx_fds_membership(ctx->fds, op);
    if (op->code == NX_OP_CONNECT && (handle->flags & NX_FD_DATAGRAM)) /* it doesn't wait for anybody */
        return nxi_inline_connect(op, handle->fd);
    if (op->code == NX_OP_SHUTDOWN) /* by system call: the kernel gives an SQE for it to a thread */
        return nxi_inline_shutdown(op, handle->fd);
    if ((op->code == NX_OP_ACCEPT || op->code == NX_OP_CONNECT) && !(handle->flags & NX_FD_SOCKET))
        return -ENOTSOCK;
    return op->flags & NX_OP_NOWAIT ? try_now(ctx, op, handle) : 1;
}

static int submit_file(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline)
{
    bool by_path = op->code == NX_OP_OPEN || op->code >= NX_OP_RENAME || (op->code == NX_OP_STAT && !op->handle);
    struct nx_fd_slot *handle = by_path ? NULL : nx_fds_get(ctx->fds, op->handle);
    if (op->flags & ~flags_of(op->code))
        return complete_inline(op, -ENOTSUP, ret_inline);
    if (!by_path && !handle)
        return complete_inline(op, -EBADF, ret_inline);
    int64_t r;
    return nxi_uring_file_begin(ctx, op, handle, &r) ? queue_op(ctx, op, handle, ret_inline)
                                                     : complete_inline(op, r, ret_inline);
}

static int submit_any(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline)
{
    if (op->code == NX_OP_NOP && !(op->flags & ~flags_of(op->code)))
        return op->flags & NX_OP_NOWAIT ? complete_inline(op, 0, ret_inline) : queue_op(ctx, op, NULL, ret_inline);
    if (nxi_uring_is_file(op))
        return submit_file(ctx, op, ret_inline);
    struct nx_fd_slot *handle = nx_fds_get(ctx->fds, op->handle);
    if (!handle)
        return complete_inline(op, op->code >= NX_OP_COUNT ? -ENOTSUP : -EBADF, ret_inline);
    int64_t r = settle_early(ctx, op, handle);
    bool ends = op->code == NX_OP_CLOSE || op->code == NX_OP_SHUTDOWN || (op->flags & NX_OP_NOWAIT) || r <= 0;
    return ends ? complete_inline(op, r, ret_inline) : queue_op(ctx, op, handle, ret_inline);
}

int nxi_uring_submit(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline)
{
    /* What a request consists of, straight on: receiving and sending. Whatever is not as usual goes the long way. */
    bool writes = op->code == NX_OP_WRITE;
    if (op->flags || !(writes || op->code == NX_OP_READ) || !ctx->slots.free_first)
        return submit_any(ctx, op, ret_inline);
    const struct nx_fd_slot *handle = fds_get(ctx->fds, op->handle);
    if (!handle || (handle->flags & (NX_FD_SOCKET | NX_FD_FOREIGN)) != NX_FD_SOCKET)
        return submit_any(ctx, op, ret_inline);
    if (__builtin_expect(nxi_uring_is_polled(&ctx->uring), 0)) /* rights may count: identity.c */
        return submit_any(ctx, op, ret_inline);
    struct io_uring_sqe *sqe = nxi_uring_sqe(&ctx->uring);
    if (__builtin_expect(!sqe, 0))
        return submit_any(ctx, op, ret_inline);

    struct nxi_slot *slot = nxi_slots_pop(&ctx->slots);
    slot->op = op;
    slot->fd = handle->fd;
    slot->stage = STAGE_OP;
    slot->flags = SLOT_SOCKET;
    slot->cancels = 0;
    slot->simple = 1;
    op->driver[0] = slot->token;
    io_uring_prep_rw(writes ? IORING_OP_SEND : IORING_OP_RECV, sqe, handle->fd, op->data, op->len, 0);
    sqe->msg_flags = writes ? MSG_NOSIGNAL : 0;
    sqe->user_data = slot->token;
    return 0;
}

void nxi_uring_cancel(struct nx_ctx *ctx, struct nx_op *op)
{
    struct nxi_slot *slot = nxi_slots_find(&ctx->slots, op->driver[0]);
    if (!slot || slot->op != op || (slot->flags & SLOT_CANCEL))
        return;
    slot->flags |= SLOT_CANCEL;
    slot->simple = 0;
    if (!(slot->flags & SLOT_WANT_SQE)) /* else nothing is in the kernel, and the backlog completes it */
        issue_cancel(ctx, slot);
}

/* ---- completions ---- */

void nxi_uring_listen(struct nx_ctx *ctx)
{
    struct io_uring_sqe *sqe = ctx->wake_wanted ? take_sqe(ctx) : NULL;
    if (!sqe)
        return;
    io_uring_prep_read(sqe, ctx->event_fd, &ctx->event_sum, sizeof(ctx->event_sum), 0);
    sqe->user_data = NXI_TOKEN_WAKE;
    ctx->wake_wanted = false;
}

static uint32_t finish(struct nx_ctx *ctx, struct nxi_slot *slot, int64_t result, uint32_t flags,
                       struct nx_completion *out)
{
    if (nxi_uring_is_message(slot->op))
        nxi_uring_message_end(ctx, slot->op, result);
    if (nxi_uring_is_file(slot->op))
        result = nxi_uring_file_end(ctx, slot->op, result);
    if (!(flags & NX_COMPLETION_MORE))
        nxi_uring_identity_give(ctx, slot->op);
    out->op = slot->op;
    out->result = result;
    out->data = NULL;
    out->flags = flags;
    out->aux = 0;
    if (!(flags & NX_COMPLETION_MORE)) {
        /* On the backlog only for a cancel that now has no object: the generation tells, see nxi_uring_drain. */
        if (slot->flags & SLOT_LISTED) {
            slot->flags &= (uint8_t) ~(SLOT_WANT_SQE | SLOT_WANT_CANCEL);
            slot->op = NULL;
        } else {
            nxi_slots_give(&ctx->slots, slot);
        }
    }
    return 1;
}

/* On to another stage, or to the end if cancel was asked for: nothing has been done so far. */
static uint32_t proceed(struct nx_ctx *ctx, struct nxi_slot *slot, uint8_t stage, struct nx_completion *out)
{
    if (slot->flags & SLOT_CANCEL)
        return finish(ctx, slot, -ECANCELED, 0, out);
    nxi_uring_count(&ctx->retries, 1);
    slot->simple = 0;
    slot->stage = stage;
    issue(ctx, slot);
    return 0;
}

static uint32_t polled(struct nx_ctx *ctx, struct nxi_slot *slot, int32_t res, struct nx_completion *out)
{
    if (res < 0)
        return finish(ctx, slot, res, 0, out);
    if (slot->stage == STAGE_POLL)
        return proceed(ctx, slot, STAGE_OP, out);
    if (slot->stage == STAGE_CONNECT)
        return finish(ctx, slot, nxi_inline_socket_error(slot->fd), 0, out);
    if (slot->flags & SLOT_CANCEL)
        return finish(ctx, slot, -ECANCELED, 0, out);
    nxi_uring_count(&ctx->calls, 1);
    int64_t r = nxi_inline_write_fifo(slot->op, slot->fd, ctx->driver->nosignal);
    return r == -EAGAIN ? proceed(ctx, slot, STAGE_FIFO, out) : finish(ctx, slot, r, 0, out);
}

/*
 * By a cancel, whose signal reached the kernel's thread, or by a passing nuisance of the same kind. What the kernel
 * keeps to itself, ERESTARTSYS (512) to ERESTART_RESTARTBLOCK (516), gets out where it isn't turned into EINTR: the
 * open of a FIFO (Linux 6.18).
 */
static bool was_interrupted(int32_t res)
{
    return res == -EINTR || (res <= -512 && res >= -516);
}

/* The CQE of the op itself was negative. */
static uint32_t failed(struct nx_ctx *ctx, struct nxi_slot *slot, int32_t res, uint32_t flags,
                       struct nx_completion *out)
{
    uint16_t code = slot->op->code;
    if (flags & NX_COMPLETION_MORE)
        return finish(ctx, slot, res, flags, out);
    if (was_interrupted(res))
        return proceed(ctx, slot, STAGE_OP, out);
    if (code == NX_OP_CONNECT)
        return res == -EINPROGRESS ? proceed(ctx, slot, STAGE_CONNECT, out) : finish(ctx, slot, res, 0, out);
    bool waits = code == NX_OP_READ || code == NX_OP_WRITE || code == NX_OP_WRITEV || code == NX_OP_ACCEPT ||
                 nxi_uring_message_waits(slot->op);
    return res == -EAGAIN && waits ? proceed(ctx, slot, STAGE_POLL, out) : finish(ctx, slot, res, 0, out);
}

/* CQEs that are nobody's completion. */
static void reap_own(struct nx_ctx *ctx, const struct io_uring_cqe *cqe)
{
    if (cqe->user_data == NXI_TOKEN_WAKE) {
        nxi_uring_count(&ctx->wakes, 1);
        ctx->wake_wanted = true;
        nxi_uring_listen(ctx);
        return;
    }
    if (!(cqe->user_data & NXI_TOKEN_CANCEL)) {
        nxi_uring_count(&ctx->strays, 1);
        return;
    }
    struct nxi_slot *slot = nxi_slots_find(&ctx->slots, cqe->user_data & ~NXI_TOKEN_CANCEL);
    if (slot && cqe->res < 0 && !(slot->flags & (SLOT_WANT_SQE | SLOT_WANT_CANCEL)) && slot->cancels < CANCELS_MAX) {
        slot->cancels++;
        issue_cancel(ctx, slot);
    }
}

/* First what was sent, then, when the peer has it, that the memory is free; or one CQE, if the kernel took none. */
static uint32_t sent(struct nx_ctx *ctx, struct nxi_slot *slot, const struct io_uring_cqe *cqe,
                     struct nx_completion *out)
{
    if (cqe->flags & IORING_CQE_F_NOTIF)
        return finish(ctx, slot, 0, NX_COMPLETION_RELEASED, out);
    if (!(cqe->flags & IORING_CQE_F_MORE))
        return cqe->res < 0 ? failed(ctx, slot, cqe->res, 0, out) : finish(ctx, slot, cqe->res, 0, out);
    slot->cancels = CANCELS_MAX; /* there is nothing to cancel any more */
    bool interrupted = (slot->flags & SLOT_CANCEL) && was_interrupted(cqe->res);
    return finish(ctx, slot, interrupted ? -ECANCELED : cqe->res, NX_COMPLETION_MORE, out);
}

static uint32_t reap_any(struct nx_ctx *ctx, struct nxi_slot *slot, const struct io_uring_cqe *cqe,
                         struct nx_completion *out)
{
    if (!slot) {
        reap_own(ctx, cqe);
        return 0;
    }
    int32_t res = cqe->res;
    uint32_t flags = cqe->flags & IORING_CQE_F_MORE ? NX_COMPLETION_MORE : 0;
    if (slot->stage != STAGE_OP)
        return polled(ctx, slot, res, out);
    if (slot->op->flags & NX_OP_ZEROCOPY)
        return sent(ctx, slot, cqe, out);
    if (res < 0)
        return failed(ctx, slot, res, flags, out);
    int64_t result = res;
    if (slot->op->code == NX_OP_ACCEPT)
        result = accepted(ctx, res);
    else if (slot->op->code == NX_OP_POLL)
        result = nxi_inline_events(res);
    return finish(ctx, slot, result, flags, out);
}

uint32_t nxi_uring_reap(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max)
{
    struct io_uring_cq *cq = &ctx->uring.ring.cq;
    const struct io_uring_cqe *cqes = cq->cqes;
    uint32_t head = *cq->khead, first = head, n = 0, mask = cq->ring_mask;
    uint32_t tail = io_uring_smp_load_acquire(cq->ktail);
    for (; head != tail && n < max; head++) {
        const struct io_uring_cqe *cqe = &cqes[head & mask];
        struct nxi_slot *slot = nxi_slots_find(&ctx->slots, cqe->user_data);
        if (__builtin_expect(slot && slot->simple && cqe->res >= 0, 1)) {
            __builtin_prefetch(slot->op); /* on a stack that may be cold: it is here when the batch is dispatched */
            out[n++] = (struct nx_completion){.op = slot->op, .result = cqe->res};
            nxi_slots_give(&ctx->slots, slot);
        } else {
            n += reap_any(ctx, slot, cqe, out + n);
        }
    }
    nxi_uring_count(&ctx->cqes, head - first);
    io_uring_smp_store_release(cq->khead, head);
    return n;
}

static bool backlog_try(struct nx_ctx *ctx, struct nxi_slot *slot)
{
    struct io_uring_sqe *sqe = take_sqe(ctx);
    if (!sqe)
        return false;
    if (slot->flags & SLOT_WANT_SQE)
        fill_stage(ctx, slot, sqe);
    else
        fill_cancel(ctx, slot, sqe);
    slot->flags &= (uint8_t) ~(SLOT_WANT_SQE | SLOT_WANT_CANCEL);
    return true;
}

uint32_t nxi_uring_drain(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max)
{
    uint32_t n = 0;
    nxi_uring_listen(ctx);
    while (ctx->backlog_first && n < max) {
        struct nxi_slot *slot = ctx->backlog_first;
        bool idle = slot->op && (slot->flags & SLOT_WANT_SQE) && (slot->flags & SLOT_CANCEL);
        bool wants = slot->flags & (SLOT_WANT_SQE | SLOT_WANT_CANCEL);
        if (slot->op && wants && !idle && !backlog_try(ctx, slot))
            break;
        ctx->backlog_first = slot->next;
        slot->flags &= (uint8_t)~SLOT_LISTED;
        if (idle)
            n += finish(ctx, slot, -ECANCELED, 0, out + n);
        else if (!slot->op)
            nxi_slots_give(&ctx->slots, slot);
    }
    return n;
}
