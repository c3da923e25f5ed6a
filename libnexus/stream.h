/*
 * stream.h: what the files that move bytes share about streams: stream.c owns them and carries operations out,
 * transfer.c is made of those, choice.c has several in flight at once.
 */
#ifndef NXI_STREAM_H
#define NXI_STREAM_H

#include "core.h"
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
 * (closed). what is code, len, data, arg and flags; with NX_OP_LOAN what->data is written, NULL if nothing was lent.
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
void nxi_stream_release(nx_stream *stream, bool held);

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

#endif
