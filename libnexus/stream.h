/*
 * stream.h: what the files that move bytes share about streams: stream.c owns them and carries operations out,
 * transfer.c is made of those, choice.c has several in flight at once.
 */
#ifndef NXI_STREAM_H
#define NXI_STREAM_H

#include "core.h"
#include <errno.h>
#include <nexus/net.h>

enum nxi_direction { NXI_READ_SIDE, NXI_WRITE_SIDE };

struct nxi_stream_op;
struct nxi_kept;

struct nx_stream {
    struct nx_runtime *runtime;
    nx_handle handle;
    uint32_t driver;
    bool closing;
    _Atomic(struct nxi_worker *) owner;
    _Atomic uint32_t references;
    _Atomic(struct nxi_kept *) kept; /* read and not yet taken by anybody (kept.c), or NULL */
    _Atomic int32_t stash[2];        /* by nxi_direction: error that came after some bytes: the next call's */
    struct nxi_stream_op *ops;       /* in flight */
    struct nxi_op close_op;
    struct nxi_node close_node, stir_node;
    atomic_bool stirring; /* stir_node is under way, and holds the stream */
};

/* A task's operation, on its stack or at least in its hands. waiter.result is the completion's. */
struct nxi_stream_op {
    struct nxi_op base;
    struct nxi_waiter waiter;
    struct nx_stream *stream;
    struct nxi_stream_op *next, **link; /* in stream->ops; link is NULL when not in flight. The owner's */
    bool closed;                        /* ended by the stream's closing */
    bool retry;                         /* the stream was given up instead: start again */
    bool posted;                        /* the owner was elsewhere */
    _Atomic uint32_t phase;             /* of a posted operation */
};

/* Whether the calling task may use this stream and this buffer at all: 0 or -errno. */
int nxi_stream_check(const nx_stream *stream, const void *buffer, size_t len);

/*
 * Carries an operation out, wherever the stream is: the driver's result, -ETIMEDOUT, -ECANCELED (nothing done), -EBADF
 * (closed). what is code, len, data, arg and flags; with NX_OP_LOAN what->data is written, NULL if nothing was lent,
 * and what->driver[0], the worker whose context has lent it.
 * inout_held: the caller touches the stream again, in this call or after it; *inout_held, at first false, says whether
 * it is held for that, and goes to nxi_stream_release at the end. NULL: it doesn't, and has been charged.
 */
int64_t nxi_stream_run(nx_stream *stream, struct nx_op *what, nx_time deadline, bool *inout_held);
/* The same at once, with NX_OP_NOWAIT, whether or not the task has been cancelled; the caller holds the stream. Parks
 * only for the answer of an owner elsewhere. */
int64_t nxi_stream_try(nx_stream *stream, struct nx_op *what);

/* Another task may close a stream as soon as nothing of the caller's is in flight; its memory stays while it is held.
 * Before each park, then, unless nxi_stream_run has done it. */
void nxi_stream_hold(nx_stream *stream, bool *inout_held);
void nxi_stream_unreference(nx_stream *stream);

static inline void nxi_stream_release(nx_stream *stream, bool held)
{
    if (NXI_UNLIKELY(held))
        nxi_stream_unreference(stream);
}

/*
 * An operation in flight beside others of the same task, which holds the stream. Start: 1: it has completed; 0: when it
 * completes op->waiter, made by the start, is woken, and the choice is stirred. Then the result; -EAGAIN: start again,
 * the stream has changed hands, or was stirred. What is no longer wanted is cancelled, which may park for the owner's
 * answer, and then still waited for by nxi_waiter_wait.
 */
int nxi_stream_start(nx_stream *stream, struct nxi_stream_op *op, const struct nx_op *what, struct nxi_choice *choice);
void nxi_stream_cancel(struct nxi_stream_op *op);
int64_t nxi_stream_result(const struct nxi_stream_op *op);
/* Bytes are kept now, by a seq_cst write to stream->kept: completes each NX_OP_POLL that was started so. */
void nxi_stream_stir(nx_stream *stream);

/* Closes a stream nobody uses; also from what the worker's loop calls. */
void nxi_stream_close(struct nxi_worker *worker, nx_stream *stream);

/* transfer.c: what nx_read would return now, -EAGAIN if it would wait: for nx_selectv. The caller holds the stream. */
ssize_t nxi_stream_read_now(nx_stream *stream, void *buf, size_t len);

/* kept.c: whether bytes have been read and are kept: then a read doesn't wait. */
bool nxi_stream_kept(const nx_stream *stream);
void nxi_kept_free(nx_stream *stream); /* with the stream itself */

/* ---- the usual call ---- */

/* The rest of an operation that this worker's driver has accepted: to its result. inout_held: nxi_stream_run's. */
int64_t nxi_stream_wait(struct nxi_worker *worker, nx_stream *stream, struct nxi_stream_op *op, nx_time deadline,
                        bool *inout_held);
void nxi_stream_done(struct nxi_worker *worker, struct nxi_op *op, const struct nx_completion *completion);

#define NXI_STREAM_UNUSUAL INT64_MIN
#define NXI_QUICK_MAX ((size_t)1 << 30)

/* This worker's stream, with nothing kept, left over, closing or cancelled, and a deadline that is not NX_POLL. */
static inline bool nxi_stream_is_usual(const struct nxi_worker *worker, const nx_stream *stream,
                                       enum nxi_direction side, const void *data, size_t len, nx_time deadline)
{
    if (!worker || !stream || !data || len - 1 >= NXI_QUICK_MAX || deadline == NX_POLL)
        return false;
    if (atomic_load_explicit(&stream->owner, memory_order_relaxed) != worker || stream->closing)
        return false;
    return !(atomic_load_explicit(&worker->current->ctl, memory_order_acquire) & NXI_CTL_CANCEL) &&
           atomic_load_explicit(&stream->stash[side], memory_order_relaxed) == 0 &&
           (side == NXI_WRITE_SIDE || !atomic_load_explicit(&stream->kept, memory_order_relaxed));
}

/*
 * What nearly every nx_read and nx_write is, in one piece. NXI_STREAM_UNUSUAL: it is something else, nothing has been
 * done, and the long way finds out what. What was done at once is charged for, unless it is a part of a write: the
 * caller goes on with that.
 */
static inline __attribute__((always_inline)) int64_t
nxi_stream_quick(nx_stream *stream, enum nxi_direction side, void *data, size_t len, nx_time deadline, bool *inout_held)
{
    const uint16_t code = side == NXI_READ_SIDE ? NX_OP_READ : NX_OP_WRITE;
    struct nxi_worker *worker = nxi_in_task();
    struct nxi_stream_op op;
    struct nx_completion completion;
    if (NXI_UNLIKELY(!nxi_stream_is_usual(worker, stream, side, data, len, deadline)))
        return NXI_STREAM_UNUSUAL;
    op.base.op = (struct nx_op){.handle = stream->handle, .code = code, .len = (uint32_t)len, .data = data};
    op.base.done = nxi_stream_done;
    op.stream = stream;
    op.closed = false;
    const struct nxi_driver *driver = &worker->drivers[stream->driver];
    int result = driver->ops->submit(driver->ctx, &op.base.op, &completion);
    if (NXI_UNLIKELY(result == -EAGAIN)) /* no room: the long way makes some */
        return NXI_STREAM_UNUSUAL;
    nxi_count(&worker->counters.ops[code], 1);
    if (result == 0) {
        worker->in_flight++;
        if (NXI_UNLIKELY(stream->driver > 0))
            worker->in_second++;
        return nxi_stream_wait(worker, stream, &op, deadline, inout_held);
    }
    nxi_count(&worker->counters.ops_inline, 1);
    int64_t moved = result < 0 ? result : completion.result;
    if (!inout_held || moved <= 0 || (size_t)moved == len) /* else the caller does, who needs the stream afterwards */
        nxi_charge(worker);
    return moved;
}

#endif
