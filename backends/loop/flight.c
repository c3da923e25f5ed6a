/*
 * loop/flight.c: an op's way to its completion.
 *
 *     submit ── can be done ──> done inline, or, as the dice fall, in the context's array `done` ── poll ──> completed
 *        └──── has to wait ──> in the end's list `waiting` ── stirred, can be done ──> done ── poll ──> completed
 *                                                          └─ cancel: -ECANCELED ──> done
 *
 * What an op does is done when it leaves `waiting`, also if its completion is taken much later: a cancel then finds
 * nothing to take back. A multishot op is in one place at a time, too: while a completion of its is in `done` it does
 * not wait, so that its completions stay in order, and a cancel makes that one its last.
 */
#include "loop.h"
#include <string.h>

/* ---- waiting ---- */

static struct nx_op *next_of(const struct nx_op *op)
{
    return (struct nx_op *)op->driver[0];
}

static void append(struct nxi_loop_end *end, struct nx_op *op)
{
    struct nx_op *last = end->waiting;
    op->driver[0] = 0;
    while (last && next_of(last)) /* few wait on one end */
        last = next_of(last);
    if (last)
        last->driver[0] = (uintptr_t)op;
    else
        end->waiting = op;
}

/* False: it does not wait there. */
static bool take_out(struct nxi_loop_end *end, const struct nx_op *op)
{
    struct nx_op *before = NULL, *at = end->waiting;
    while (at && at != op) {
        before = at;
        at = next_of(at);
    }
    if (at && before)
        before->driver[0] = at->driver[0];
    else if (at)
        end->waiting = next_of(at);
    return at != NULL;
}

/* ---- doing ---- */

static bool done_with(struct nx_completion *ret, int64_t result)
{
    ret->result = result;
    return true;
}

static bool try_poll(const struct nx_driver *driver, const struct nxi_loop_end *end, const struct nx_op *op,
                     struct nx_completion *ret)
{
    ret->result = nxi_loop_ready(driver, end, op->arg);
    return ret->result != 0;
}

static bool try_message(struct nx_driver *driver, struct nxi_loop_end *end, const struct nx_op *op,
                        struct nx_completion *ret)
{
    struct nx_message *message = op->data;
    bool sends = op->code == NX_OP_SENDMSG;
    if (end->kind == NXI_LOOP_DATAGRAM)
        return sends ? done_with(ret, nxi_loop_send(driver, end, message)) : nxi_loop_recv(driver, end, message, ret);
    if (sends)
        return message->fd_count > 0 ? done_with(ret, -ENOTSUP)
                                     : nxi_loop_write(driver, end, message->iov, message->iov_count, ret);
    if (!nxi_loop_read(driver, end, message->iov, message->iov_count, ret))
        return false;
    message->fd_count = 0;
    message->flags = 0;
    return true;
}

static bool try_bytes(struct nx_driver *driver, struct nxi_loop_end *end, const struct nx_op *op,
                      struct nx_completion *ret)
{
    struct iovec one = {.iov_base = op->data, .iov_len = op->len};
    const struct iovec *iov = op->code == NX_OP_WRITEV ? op->data : &one;
    uint32_t count = op->code == NX_OP_WRITEV ? op->len : 1;
    struct nx_message message = {.iov = (struct iovec *)(uintptr_t)iov, .iov_count = count};
    if (end->kind == NXI_LOOP_DATAGRAM)
        return op->code == NX_OP_READ ? nxi_loop_recv(driver, end, &message, ret)
                                      : done_with(ret, nxi_loop_send(driver, end, &message));
    if (op->code != NX_OP_READ)
        return nxi_loop_write(driver, end, iov, count, ret);
    return op->flags & NX_OP_LOAN ? nxi_loop_lend(driver, end, ret) : nxi_loop_read(driver, end, iov, count, ret);
}

/* Does it, if it can be done now. */
static bool try_op(struct nx_driver *driver, struct nxi_loop_end *end, struct nx_op *op, struct nx_completion *ret)
{
    *ret = (struct nx_completion){.op = op};
    switch (op->code) {
    case NX_OP_ACCEPT:
        return nxi_loop_accept(driver, end, ret);
    case NX_OP_CONNECT:
        return end->kind == NXI_LOOP_DATAGRAM ? done_with(ret, nxi_loop_point(driver, end, op->data))
                                              : nxi_loop_connect(driver, end, op->data, ret);
    case NX_OP_READ:
    case NX_OP_WRITE:
    case NX_OP_WRITEV:
        return try_bytes(driver, end, op, ret);
    case NX_OP_RECVMSG:
    case NX_OP_SENDMSG:
        return try_message(driver, end, op, ret);
    case NX_OP_POLL:
        return try_poll(driver, end, op, ret);
    case NX_OP_SHUTDOWN:
        return done_with(ret, nxi_loop_shutdown(driver, end, op->arg));
    case NX_OP_CLOSE:
        nxi_loop_end_close(driver, end);
        return done_with(ret, 0);
    default:
        return done_with(ret, -ENOTSUP);
    }
}

/* ---- done ---- */

/* There is room: it was made when the op was accepted. */
static void deliver(struct nx_ctx *ctx, const struct nx_completion *completion, const struct nx_ctx *self)
{
    ctx->done[ctx->done_count++] = *completion;
    if (ctx == self || ctx->ringing)
        return;
    ctx->ringing = true;
    ctx->ring_next = ctx->driver->ringing;
    ctx->driver->ringing = ctx;
}

static int make_room(struct nx_ctx *ctx)
{
    const struct nx_host *host = ctx->driver->host;
    if (ctx->in_flight < ctx->done_room)
        return 0;
    uint32_t room = ctx->done_room ? 2 * ctx->done_room : 64;
    struct nx_completion *done = host->alloc(room * sizeof(*done), 0);
    if (!done)
        return -ENOMEM;
    if (ctx->done_count > 0)
        memcpy(done, ctx->done, ctx->done_count * sizeof(*done));
    host->free(ctx->done, ctx->done_room * sizeof(*done));
    ctx->done = done;
    ctx->done_room = room;
    return 0;
}

void nxi_loop_stir(struct nx_driver *driver, struct nxi_loop_end *end)
{
    if (!end || end->stirred || !end->waiting)
        return;
    end->stirred = true;
    end->stirred_next = driver->stirred;
    driver->stirred = end;
}

/* Ends: each turn takes one out, and only an op that was done stirs others. */
void nxi_loop_settle(struct nx_driver *driver, const struct nx_ctx *self)
{
    struct nxi_loop_end *end;
    while ((end = driver->stirred)) {
        driver->stirred = end->stirred_next;
        end->stirred = false;
        for (struct nx_op *op = end->waiting, *next; op; op = next) {
            struct nx_completion completion;
            next = next_of(op);
            if (!try_op(driver, end, op, &completion))
                continue;
            take_out(end, op);
            deliver(end->home, &completion, self);
        }
    }
}

/* ---- the slots ---- */

/* What is no such op, whatever the state of its end: -ENOTSUP for a flag that this code doesn't take, -EINVAL. */
static int refusal(const struct nx_op *op)
{
    uint32_t flags = NX_OP_NOWAIT;
    flags |= op->code == NX_OP_ACCEPT ? NX_OP_MULTISHOT : op->code == NX_OP_READ ? NX_OP_LOAN : 0;
    if (op->flags & ~flags)
        return -ENOTSUP;
    if (op->code == NX_OP_POLL && (!op->arg || op->arg & ~(uint64_t)(NX_READABLE | NX_WRITABLE)))
        return -EINVAL;
    return op->code == NX_OP_WRITEV && op->len > NX_IOV_MAX ? -EINVAL : 0;
}

/* Which are always inline: those that the core waits for without a task, or that have nothing to wait for. */
static bool always_inline(const struct nxi_loop_end *end, const struct nx_op *op)
{
    return op->flags & NX_OP_NOWAIT || op->code == NX_OP_SHUTDOWN || op->code == NX_OP_CLOSE ||
           (op->code == NX_OP_CONNECT && end->kind == NXI_LOOP_DATAGRAM);
}

static int accept_op(struct nx_ctx *ctx, struct nxi_loop_end *end, struct nx_op *op)
{
    append(end, op);
    ctx->in_flight++;
    if (op->flags & NX_OP_MULTISHOT)
        nxi_loop_stir(ctx->driver, end);
    return 0;
}

static int submit(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret)
{
    struct nx_driver *driver = ctx->driver;
    struct nxi_loop_end *end = nxi_loop_find(driver, op->handle);
    *ret = (struct nx_completion){.op = op, .result = op->code == NX_OP_NOP ? 0 : -EBADF};
    if (op->code == NX_OP_NOP || !end)
        return 1;
    if (end->home != ctx) {
        ret->result = -EXDEV;
        return 1;
    }
    ret->result = refusal(op);
    if (ret->result < 0)
        return 1;
    bool at_once = always_inline(end, op);
    if (!at_once && make_room(ctx) < 0) {
        ret->result = -ENOMEM;
        return 1;
    }
    if (!at_once && op->flags & NX_OP_MULTISHOT && op->code == NX_OP_ACCEPT)
        return accept_op(ctx, end, op);
    if (!try_op(driver, end, op, ret)) {
        if (!at_once)
            return accept_op(ctx, end, op);
        *ret = (struct nx_completion){.op = op, .result = -EAGAIN};
        return 1;
    }
    ret->flags &= ~NX_COMPLETION_MORE;
    if (at_once || nxi_loop_random(driver, 2))
        return 1;
    ctx->in_flight++;
    deliver(ctx, ret, ctx);
    return 0;
}

int nxi_loop_submit(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline)
{
    struct nx_driver *driver = ctx->driver;
    nxi_loop_enter(driver);
    int result = submit(ctx, op, ret_inline);
    ctx->completed += result == 1;
    nxi_loop_settle(driver, ctx);
    nxi_loop_leave(driver);
    return result;
}

void nxi_loop_cancel(struct nx_ctx *ctx, struct nx_op *op)
{
    struct nx_driver *driver = ctx->driver;
    nxi_loop_enter(driver);
    struct nxi_loop_end *end = nxi_loop_find(driver, op->handle);
    if (end && take_out(end, op)) {
        struct nx_completion completion = {.op = op, .result = -ECANCELED};
        nxi_loop_connect_over(end);
        deliver(ctx, &completion, ctx);
    } else {
        for (uint32_t i = 0; i < ctx->done_count; i++)
            if (ctx->done[i].op == op)
                ctx->done[i].flags &= ~NX_COMPLETION_MORE;
    }
    nxi_loop_leave(driver);
}

/* Some of what is done, at least one, in any order. */
uint32_t nxi_loop_poll(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max)
{
    struct nx_driver *driver = ctx->driver;
    uint32_t count = 0, share = 0;
    nxi_loop_enter(driver);
    if (ctx->done_count > 0)
        share = nxi_loop_random(driver, 2) ? ctx->done_count : 1 + nxi_loop_random(driver, ctx->done_count);
    for (share = share < max ? share : max; count < share; count++) {
        struct nx_completion *picked = &ctx->done[nxi_loop_random(driver, ctx->done_count)];
        out[count] = *picked;
        *picked = ctx->done[--ctx->done_count];
        if (!(out[count].flags & NX_COMPLETION_MORE)) {
            ctx->in_flight--;
            continue;
        }
        struct nxi_loop_end *end = nxi_loop_find(driver, out[count].op->handle);
        append(end, out[count].op);
        nxi_loop_stir(driver, end);
    }
    ctx->completed += count;
    ctx->late += count;
    nxi_loop_settle(driver, ctx);
    nxi_loop_leave(driver);
    return count;
}
