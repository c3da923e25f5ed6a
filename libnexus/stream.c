/*
 * stream.c: streams: reading, writing, closing.
 *
 * A stream has an owner, the worker whose driver context its handle is bound to; none at first. The owner's tasks use
 * it without any lock: what it holds (the list of operations in flight, closing) is the owner's alone. A task
 * elsewhere first tries to claim a stream without owner, by compare-and-swap. If there is an owner it posts its
 * operation there:
 *
 *     nothing in flight, and the driver lets go     the owner gives the stream up; the asker claims it and goes on
 *     alone otherwise                                     the owner carries the operation out and sends the result back
 *
 * so a stream that moves for good costs one round trip, and one that is used from two workers at once keeps working.
 * A posted operation carries a word, phase: the owner adds SUBMITTED before it submits, the asker adds CANCELLED when
 * its deadline comes or it is cancelled. Both are RMWs: either the owner sees CANCELLED and answers at once, or the
 * asker sees SUBMITTED and sends a second message after the operation. A stream with something in flight doesn't
 * change hands.
 *
 * Closing: the owner cancels what is in flight; the last completion submits NX_OP_CLOSE; its completion drops the
 * stream's own reference. Each posted operation holds one more until its task has gone on.
 */
#include "core.h"
#include <nexus/net.h>
#include <string.h>

enum direction { READ_SIDE, WRITE_SIDE };

struct nx_stream {
    struct nx_runtime *runtime;
    nx_handle handle;
    uint32_t driver;
    bool closing;
    _Atomic(struct nxi_worker *) owner;
    _Atomic uint32_t references;
    _Atomic int32_t stash[2]; /* error that came after some bytes: the next call's */
    struct stream_op *ops;    /* in flight */
    struct nxi_op close_op;
    struct nxi_node close_node;
};

/* A task's operation, on its stack. */
struct stream_op {
    struct nxi_op base;
    struct nxi_waiter waiter;
    struct nx_stream *stream;
    struct stream_op *next, **link; /* in stream->ops; link is NULL when not in flight. The owner's */
    bool closed;                    /* ended by the stream's closing */
    bool retry;                     /* the stream was given up: claim it */
    _Atomic uint32_t phase;         /* of a posted operation */
};

#define SUBMITTED 1u
#define CANCELLED 2u

#define TRANSFER_MAX                                                                                                   \
    ((size_t)1 << 30) /* bytes per operation: nx_op.len is 32 bits, a result is an int in many kernels */

static const struct nx_driver_ops *ops_of(const struct nx_stream *stream)
{
    return stream->runtime->drivers[stream->driver].ops;
}

static struct nx_ctx *ctx_of(const struct nx_stream *stream, const struct nxi_worker *worker)
{
    return worker->drivers[stream->driver].ctx;
}

static void link_op(struct nx_stream *stream, struct stream_op *op)
{
    op->next = stream->ops;
    op->link = &stream->ops;
    if (op->next)
        op->next->link = &op->next;
    stream->ops = op;
}

static void unlink_op(struct stream_op *op)
{
    *op->link = op->next;
    if (op->next)
        op->next->link = op->link;
    op->link = NULL;
}

/* ---- closing, on the owner ---- */

static void unreference(struct nx_stream *stream)
{
    if (atomic_fetch_sub_explicit(&stream->references, 1, memory_order_acq_rel) == 1)
        nxi_free(stream, sizeof(*stream));
}

static void close_done(struct nxi_worker *worker, struct nxi_op *op, const struct nx_completion *completion)
{
    (void)worker;
    (void)completion;
    unreference(nxi_container(op, struct nx_stream, close_op));
}

static void close_again(struct nxi_worker *worker, struct nxi_node *node);

static void submit_close(struct nxi_worker *worker, struct nx_stream *stream)
{
    struct nx_completion completion;
    stream->close_op = (struct nxi_op){.op = {.handle = stream->handle, .code = NX_OP_CLOSE}, .done = close_done};
    int result = nxi_submit(worker, stream->driver, &stream->close_op, &completion);
    if (result == 1) {
        close_done(worker, &stream->close_op, &completion);
    } else if (result < 0) {
        stream->close_node.run = close_again;
        nxi_post(worker, &stream->close_node);
    }
}

static void close_again(struct nxi_worker *worker, struct nxi_node *node)
{
    submit_close(worker, nxi_container(node, struct nx_stream, close_node));
}

static void close_here(struct nxi_worker *worker, struct nx_stream *stream)
{
    stream->closing = true;
    if (!stream->ops) {
        submit_close(worker, stream);
        return;
    }
    for (struct stream_op *op = stream->ops; op; op = op->next)
        ops_of(stream)->cancel(ctx_of(stream, worker), &op->base.op);
}

/* ---- owning ---- */

static struct nxi_worker *owner_of(const struct nx_stream *stream)
{
    return atomic_load_explicit(&stream->owner, memory_order_relaxed);
}

static bool claim(struct nx_stream *stream, struct nxi_worker *worker)
{
    struct nxi_worker *owner = NULL;
    return atomic_compare_exchange_strong_explicit(&stream->owner, &owner, worker, memory_order_acquire,
                                                   memory_order_relaxed);
}

static inline bool own(struct nx_stream *stream, struct nxi_worker *worker)
{
    return NXI_LIKELY(owner_of(stream) == worker) || (!owner_of(stream) && claim(stream, worker));
}

/* Lets the stream go if it can: nothing is in flight, and its driver is not tied to one context. */
static bool give_up(struct nxi_worker *worker, struct nx_stream *stream)
{
    const struct nx_driver_ops *ops = ops_of(stream);
    if (stream->ops || ops->affinity == NX_AFFINITY_PINNED)
        return false;
    if (NXI_HAS(ops, release))
        ops->release(ctx_of(stream, worker), stream->handle);
    atomic_store_explicit(&stream->owner, NULL, memory_order_release);
    return true;
}

/* ---- operations ---- */

static void op_done(struct nxi_worker *worker, struct nxi_op *base, const struct nx_completion *completion)
{
    struct stream_op *op = nxi_container(base, struct stream_op, base);
    struct nx_stream *stream = op->stream;
    unlink_op(op);
    op->waiter.result = completion->result;
    op->closed = stream->closing;
    if (stream->closing && !stream->ops)
        submit_close(worker, stream);
    nxi_waiter_wake(&op->waiter, NX_REASON_IO);
}

/* What the completion means to the caller; reason: why the driver was asked to cancel, or 0. */
static int64_t settle(const struct stream_op *op, int reason)
{
    int64_t result = op->waiter.result;
    if (result != -ECANCELED)
        return result;
    return op->closed ? -EBADF : reason < 0 ? reason : -ECANCELED;
}

/* A half-close is not cut off by a cancel: it doesn't wait for the peer. */
static bool heeds_cancel(const struct nx_op *op)
{
    return op->code != NX_OP_SHUTDOWN;
}

/* The calls of one operation or several keep the stream in memory from the first park on: another task may close it
 * as soon as nothing of theirs is in flight. */
static void hold(struct nx_stream *stream, bool *inout_held)
{
    if (*inout_held)
        return;
    atomic_fetch_add_explicit(&stream->references, 1, memory_order_relaxed);
    *inout_held = true;
}

static void release(struct nx_stream *stream, bool held)
{
    if (NXI_UNLIKELY(held))
        unreference(stream);
}

/* The deadline has passed with nothing done: a deadline in the past means to try once, and the driver may not have
 * looked. */
static int64_t try_last(struct nxi_worker *worker, struct nx_stream *stream, const struct nx_op *what)
{
    struct nxi_op op = {.op = *what};
    struct nx_completion completion;
    if (stream->closing)
        return -EBADF;
    op.op.flags |= NX_OP_NOWAIT;
    memset(op.op.driver, 0, sizeof(op.op.driver));
    if (nxi_submit(worker, stream->driver, &op, &completion) != 1)
        nx_panic("the driver accepted an operation that was not to wait");
    return completion.result == -EAGAIN ? -ETIMEDOUT : completion.result;
}

static NXI_NOINLINE int64_t run_waiting(struct nxi_worker *worker, struct nx_stream *stream, struct stream_op *op,
                                        nx_time deadline, bool *inout_held)
{
    link_op(stream, op);
    nxi_waiter_init(&op->waiter, worker);
    if (inout_held)
        hold(stream, inout_held);
    int reason = nxi_waiter_wait(&op->waiter, deadline, heeds_cancel(&op->base.op));
    if (NXI_LIKELY(reason == 0))
        return settle(op, 0);
    bool held = inout_held && *inout_held;
    bool ours = !held;
    hold(stream, &held);
    ops_of(stream)->cancel(ctx_of(stream, worker), &op->base.op);
    nxi_waiter_wait(&op->waiter, NX_FOREVER, false);
    int64_t result = settle(op, reason);
    if (result == -ETIMEDOUT && op->waiter.result == -ECANCELED && owner_of(stream) == worker)
        result = try_last(worker, stream, &op->base.op);
    release(stream, ours);
    return result;
}

/* On the owner. inout_held: see hold; NULL if the caller doesn't touch the stream again. */
static int64_t run_here(struct nxi_worker *worker, struct nx_stream *stream, const struct nx_op *what, nx_time deadline,
                        bool *inout_held)
{
    struct stream_op op;
    struct nx_completion completion;
    if (NXI_UNLIKELY(
            stream->closing)) /* between two operations of one call: what is in flight has been cancelled already */
        return -EBADF;
    op.base.op = *what;
    op.base.done = op_done;
    op.stream = stream;
    op.closed = false;
    if (NXI_LIKELY(nxi_submit(worker, stream->driver, &op.base, &completion) == 0))
        return run_waiting(worker, stream, &op, deadline, inout_held);
    if (!inout_held) /* else the caller charges when it no longer needs the stream, or holds it */
        nxi_charge(worker);
    return completion.result;
}

/* The owner's side of a posted operation: true if it has been answered. */
static bool take_request(struct nxi_worker *worker, struct nx_stream *stream, struct stream_op *op)
{
    struct nx_completion completion;
    op->retry = owner_of(stream) != worker;
    op->closed = !op->retry && stream->closing;
    op->waiter.result = -ECANCELED;
    if (op->retry || op->closed)
        return true;
    op->retry = give_up(worker, stream);
    if (op->retry || atomic_fetch_or(&op->phase, SUBMITTED) & CANCELLED)
        return true;
    int result = nxi_submit(worker, stream->driver, &op->base, &completion);
    if (result == 0) {
        link_op(stream, op);
        return false;
    }
    op->waiter.result = completion.result;
    return true;
}

static void request_arrived(struct nxi_worker *worker, struct nxi_node *node)
{
    struct stream_op *op = nxi_container(nxi_container(node, struct nxi_waiter, node), struct stream_op, waiter);
    if (take_request(worker, op->stream, op))
        nxi_waiter_wake(&op->waiter, NX_REASON_REMOTE);
}

struct remote_cancel {
    struct nxi_waiter waiter;
    struct stream_op *op;
};

static void cancel_arrived(struct nxi_worker *worker, struct nxi_node *node)
{
    struct nxi_waiter *waiter = nxi_container(node, struct nxi_waiter, node);
    struct stream_op *op = nxi_container(waiter, struct remote_cancel, waiter)->op;
    if (owner_of(op->stream) == worker && op->link) /* else it has completed meanwhile */
        ops_of(op->stream)->cancel(ctx_of(op->stream, worker), &op->base.op);
    nxi_waiter_wake(waiter, NX_REASON_REMOTE);
}

static void cancel_there(struct nxi_worker *worker, struct stream_op *op)
{
    if (!(atomic_fetch_or(&op->phase, CANCELLED) & SUBMITTED))
        return;
    struct nxi_worker *owner = owner_of(op->stream);
    if (!owner)
        return;
    struct remote_cancel cancel = {.op = op};
    nxi_waiter_init(&cancel.waiter, worker);
    cancel.waiter.node.run = cancel_arrived;
    nxi_post(owner, &cancel.waiter.node);
    nxi_waiter_wait(&cancel.waiter, NX_FOREVER, false);
}

/* By the owner's hand. *ret_retry: it has given the stream up instead. The caller holds the stream. */
static NXI_NOINLINE int64_t run_there(struct nxi_worker *worker, struct nxi_worker *owner, struct nx_stream *stream,
                                      const struct nx_op *what, nx_time deadline, bool *ret_retry)
{
    struct stream_op op = {.base = {.op = *what, .done = op_done}, .stream = stream};
    bool try_once = deadline == NX_POLL || (deadline != NX_FOREVER && deadline <= nx_now());
    if (try_once) /* the owner answers at once: its answer is waited for, or nothing would ever be tried */
        op.base.op.flags |= NX_OP_NOWAIT;
    nxi_waiter_init(&op.waiter, worker);
    op.waiter.node.run = request_arrived;
    nxi_post(owner, &op.waiter.node);
    int reason = nxi_waiter_wait(&op.waiter, try_once ? NX_FOREVER : deadline, !try_once && heeds_cancel(what));
    if (reason < 0) {
        cancel_there(worker, &op);
        nxi_waiter_wait(&op.waiter, NX_FOREVER, false);
    }
    *ret_retry = op.retry && reason == 0;
    if (op.retry)
        return reason;
    int64_t result = settle(&op, reason);
    return result == -EAGAIN && try_once && deadline != NX_POLL ? -ETIMEDOUT : result;
}

static NXI_NOINLINE int64_t run_elsewhere(struct nxi_worker *worker, struct nx_stream *stream, const struct nx_op *what,
                                          nx_time deadline, bool *inout_held)
{
    bool held = inout_held && *inout_held;
    bool ours = !inout_held;
    hold(stream, &held);
    if (inout_held)
        *inout_held = held;
    int64_t result = 0;
    for (bool retry = true; retry; worker = nxi_self()) { /* ends when the stream stops changing hands */
        struct nxi_worker *owner = owner_of(stream);
        if (own(stream, worker)) {
            result = run_here(worker, stream, what, deadline, &held);
            retry = false;
        } else if (owner) {
            result = run_there(worker, owner, stream, what, deadline, &retry);
        }
    }
    if (ours) {
        unreference(stream);
        nxi_charge(nxi_self());
    }
    return result;
}

/* Carries an operation out, wherever the stream is. inout_held: as in run_here. */
static int64_t run(struct nx_stream *stream, struct nx_op *what, nx_time deadline, bool *inout_held)
{
    struct nxi_worker *worker = nxi_self();
    if (heeds_cancel(what) && nxi_task_cancelled(worker->current)) {
        if (inout_held)
            hold(stream, inout_held);
        nxi_charge(worker);
        return -ECANCELED;
    }
    what->handle = stream->handle;
    if (deadline == NX_POLL)
        what->flags |= NX_OP_NOWAIT;
    if (NXI_LIKELY(own(stream, worker)))
        return run_here(worker, stream, what, deadline, inout_held);
    return run_elsewhere(worker, stream, what, deadline, inout_held);
}

/* ---- the public calls ---- */

/* Whether the calling task may use this stream at all. */
static int check(const nx_stream *stream, const void *buffer, size_t len)
{
    struct nxi_worker *worker = nxi_in_task();
    if (NXI_UNLIKELY(!worker))
        return nxi_no_task();
    if (NXI_UNLIKELY(!stream || (!buffer && len > 0)))
        return -EINVAL;
    return NXI_LIKELY(stream->runtime == worker->runtime) ? 0 : -EXDEV;
}

static int take_stash(nx_stream *stream, enum direction direction)
{
    if (NXI_LIKELY(atomic_load_explicit(&stream->stash[direction], memory_order_relaxed) == 0))
        return 0;
    return atomic_exchange_explicit(&stream->stash[direction], 0, memory_order_relaxed);
}

/* An error ends a transfer of which total bytes are done: those are the result, and the error the next call's, unless
 * the next call finds out by itself. */
static ssize_t cut_short(nx_stream *stream, enum direction direction, size_t total, int64_t error)
{
    if (total == 0)
        return (ssize_t)error;
    if (error != -ETIMEDOUT && error != -ECANCELED && error != -EAGAIN && error != -EBADF && error != 0)
        atomic_store_explicit(&stream->stash[direction], (int32_t)error, memory_order_relaxed);
    return (ssize_t)total;
}

static uint32_t clamp(size_t len)
{
    return (uint32_t)(len < TRANSFER_MAX ? len : TRANSFER_MAX);
}

ssize_t nx_read(nx_stream *stream, void *buf, size_t len, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    int error = check(stream, buf, len);
    if (error == 0)
        error = take_stash(stream, READ_SIDE);
    if (error < 0 || len == 0)
        return error;
    struct nx_op op = {.code = NX_OP_READ, .data = buf, .len = clamp(len)};
    return (ssize_t)run(stream, &op, deadline, NULL);
}

/* After one of several operations: others get their turn, for which the stream must be held unless this was the last.
 */
static void charge_between(nx_stream *stream, bool last, bool *inout_held)
{
    if (!last)
        hold(stream, inout_held);
    nxi_charge(nxi_self());
}

/* Repeats one operation until all is moved. */
static ssize_t move_all(nx_stream *stream, uint16_t code, enum direction direction, char *data, size_t len,
                        nx_time deadline)
{
    size_t total = 0;
    bool held = false;
    ssize_t result = 0;
    int error = check(stream, data, len);
    if (error == 0)
        error = take_stash(stream, direction);
    if (error < 0)
        return error;
    while (total < len && result >= 0) {
        struct nx_op op = {.code = code, .data = data + total, .len = clamp(len - total)};
        int64_t moved = run(stream, &op, deadline, &held);
        if (moved <= 0) {
            result = cut_short(stream, direction, total, moved);
            break;
        }
        total += (size_t)moved;
        result = (ssize_t)total;
        charge_between(stream, total == len, &held);
    }
    release(stream, held);
    return result;
}

ssize_t nx_read_exact(nx_stream *stream, void *buf, size_t len, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    return move_all(stream, NX_OP_READ, READ_SIDE, buf, len, deadline);
}

ssize_t nx_write(nx_stream *stream, const void *buf, size_t len, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    return move_all(stream, NX_OP_WRITE, WRITE_SIDE, (char *)(uintptr_t)buf, len, deadline);
}

/* Where a vector stands after some bytes. */
struct cursor {
    const struct iovec *iov;
    uint32_t count;
    size_t offset; /* into the first one */
};

static void advance(struct cursor *cursor, size_t moved)
{
    while (cursor->count > 0 && moved >= cursor->iov->iov_len - cursor->offset) {
        moved -= cursor->iov->iov_len - cursor->offset;
        cursor->offset = 0;
        cursor->iov++;
        cursor->count--;
    }
    cursor->offset += moved;
}

/* The rest of a vector that is begun, by itself; else as many whole ones as an operation takes. */
static struct nx_op next_writev(const struct cursor *cursor)
{
    if (cursor->offset > 0)
        return (struct nx_op){.code = NX_OP_WRITE,
                              .data = (char *)cursor->iov->iov_base + cursor->offset,
                              .len = clamp(cursor->iov->iov_len - cursor->offset)};
    return (struct nx_op){.code = NX_OP_WRITEV,
                          .data = (void *)(uintptr_t)cursor->iov,
                          .len = cursor->count < NX_IOV_MAX ? cursor->count : NX_IOV_MAX};
}

ssize_t nx_writev(nx_stream *stream, const struct iovec *iov, int count, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct cursor cursor = {.iov = iov, .count = (uint32_t)count};
    size_t total = 0;
    bool held = false;
    int error = check(stream, iov, count > 0 ? (size_t)count : 0);
    if (error == 0 && count < 0)
        error = -EINVAL;
    if (error == 0)
        error = take_stash(stream, WRITE_SIDE);
    if (error < 0)
        return error;
    ssize_t result = 0;
    advance(&cursor, 0); /* over empty ones */
    while (cursor.count > 0) {
        struct nx_op op = next_writev(&cursor);
        int64_t moved = run(stream, &op, deadline, &held);
        if (moved <= 0) {
            result = cut_short(stream, WRITE_SIDE, total, moved);
            break;
        }
        total += (size_t)moved;
        result = (ssize_t)total;
        advance(&cursor, (size_t)moved);
        charge_between(stream, cursor.count == 0, &held);
    }
    release(stream, held);
    return result;
}

int nx_shutdown(nx_stream *stream, int how)
{
    NXI_ENTRY(-ENOSYS);
    int error = check(stream, NULL, 0);
    if (error < 0)
        return error;
    if (how < NX_SHUT_READ || how > NX_SHUT_BOTH)
        return -EINVAL;
    struct nx_op op = {.code = NX_OP_SHUTDOWN, .arg = (uint64_t)how};
    return (int)run(stream, &op, NX_FOREVER, NULL);
}

static void close_arrived(struct nxi_worker *worker, struct nxi_node *node)
{
    struct nx_stream *stream = nxi_container(node, struct nx_stream, close_node);
    while (!own(stream, worker)) {
        struct nxi_worker *owner = owner_of(stream);
        if (owner) {
            nxi_post(owner, node);
            return;
        }
    }
    close_here(worker, stream);
}

int nx_close(nx_stream *stream)
{
    NXI_ENTRY(-ENOSYS);
    if (!stream)
        return 0;
    int error = check(stream, NULL, 0);
    if (error < 0)
        return error;
    struct nxi_worker *worker = nxi_in_task();
    stream->close_node.run = close_arrived;
    close_arrived(worker, &stream->close_node);
    return 0;
}

/* name and export_fd may be called on any context from any thread. */
static struct nx_ctx *any_ctx(const nx_stream *stream)
{
    return stream->runtime->workers[0]->drivers[stream->driver].ctx;
}

int nx_stream_peer(const nx_stream *stream, nx_addr *ret_addr)
{
    NXI_ENTRY(-ENOSYS);
    if (nxi_forked())
        return -NX_EFORKED;
    if (!stream || !ret_addr)
        return -EINVAL;
    return ops_of(stream)->name(any_ctx(stream), stream->handle, 1, ret_addr);
}

int nx_stream_fd(const nx_stream *stream)
{
    NXI_ENTRY(-ENOSYS);
    if (nxi_forked())
        return -NX_EFORKED;
    if (!stream)
        return -EINVAL;
    if (!NXI_HAS(ops_of(stream), export_fd))
        return -ENOTSUP;
    return ops_of(stream)->export_fd(any_ctx(stream), stream->handle);
}

/* ---- making ---- */

int nxi_stream_new(struct nxi_worker *worker, uint32_t driver, nx_handle handle, nx_stream **ret_stream)
{
    nx_stream *stream = nxi_alloc(sizeof(*stream));
    if (!stream)
        return -ENOMEM;
    stream->runtime = worker->runtime;
    stream->driver = driver;
    stream->handle = handle;
    atomic_init(&stream->references, 1);
    *ret_stream = stream;
    return 0;
}

struct nxi_worker *nxi_stream_owner(const nx_stream *stream)
{
    return owner_of(stream);
}

/* The driver's context has already tied the handle to this worker. */
void nxi_stream_own(nx_stream *stream, struct nxi_worker *worker)
{
    atomic_store_explicit(&stream->owner, worker, memory_order_relaxed);
}

int nx_stream_from_fd(int fd, nx_stream **ret_stream)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (!ret_stream || fd < 0)
        return fd < 0 ? -EBADF : -EINVAL;
    const struct nxi_driver *driver = &worker->drivers[0];
    nx_handle handle;
    if (!NXI_HAS(driver->ops, import_fd))
        return -ENOTSUP;
    int error = driver->ops->import_fd(driver->ctx, fd, 0, &handle);
    if (error < 0)
        return error;
    error = nxi_stream_new(worker, 0, handle, ret_stream);
    if (error == 0 && driver->ops->affinity == NX_AFFINITY_PINNED)
        nxi_stream_own(*ret_stream, worker);
    if (error < 0) {
        struct nx_op keep = {.handle = handle, .code = NX_OP_CLOSE, .arg = NX_CLOSE_KEEP};
        nxi_op_run(worker, 0, &keep, NX_FOREVER, false);
    }
    return error;
}
