/*
 * stream.c: streams: who owns them, operations on them, closing. What moves bytes is in transfer.c.
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
#include "stream.h"
#include <string.h>

#define SUBMITTED 1u
#define CANCELLED 2u

static const struct nx_driver_ops *ops_of(const struct nx_stream *stream)
{
    return stream->runtime->drivers[stream->driver].ops;
}

static struct nx_ctx *ctx_of(const struct nx_stream *stream, const struct nxi_worker *worker)
{
    return worker->drivers[stream->driver].ctx;
}

static void link_op(struct nx_stream *stream, struct nxi_stream_op *op)
{
    op->next = stream->ops;
    op->link = &stream->ops;
    if (op->next)
        op->next->link = &op->next;
    stream->ops = op;
}

static void unlink_op(struct nxi_stream_op *op)
{
    *op->link = op->next;
    if (op->next)
        op->next->link = op->link;
    op->link = NULL;
}

/* ---- closing, on the owner ---- */

static void unreference(struct nx_stream *stream)
{
    if (atomic_fetch_sub_explicit(&stream->references, 1, memory_order_acq_rel) != 1)
        return;
    nxi_kept_free(stream);
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
    for (struct nxi_stream_op *op = stream->ops; op; op = op->next)
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
    return atomic_compare_exchange_strong_explicit(&stream->owner, &owner, worker, memory_order_seq_cst,
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

/* What a completion says. That of zero-copy memory being free again says nothing of the bytes; with lent memory it
 * matters whose context lent it. */
static void note(struct nxi_worker *worker, struct nxi_stream_op *op, const struct nx_completion *completion)
{
    if (!(completion->flags & NX_COMPLETION_RELEASED))
        op->waiter.result = completion->result;
    if (NXI_UNLIKELY(op->base.op.flags & NX_OP_LOAN)) {
        op->base.op.data = completion->flags & NX_COMPLETION_LOANED ? completion->data : NULL;
        op->base.op.driver[0] = (uintptr_t)worker;
    }
}

/* As nxi_waiter_wake. Nearly always the task is this worker's and waits for this alone, with no timer. */
static inline void wake(struct nxi_worker *worker, struct nxi_waiter *waiter)
{
    if (NXI_UNLIKELY(waiter->worker != worker || waiter->choice || nxi_timer_active(&waiter->timer))) {
        nxi_waiter_wake(waiter, NX_REASON_IO);
        return;
    }
    waiter->task->pins--;
    atomic_store_explicit(&waiter->woken, true, memory_order_relaxed);
    nxi_ready(worker, waiter->task, NX_REASON_IO);
}

void nxi_stream_done(struct nxi_worker *worker, struct nxi_op *base, const struct nx_completion *completion)
{
    struct nxi_stream_op *op = nxi_container(base, struct nxi_stream_op, base);
    struct nx_stream *stream = op->stream;
    note(worker, op, completion);
    if (completion->flags & NX_COMPLETION_MORE)
        return;
    if (NXI_LIKELY(op->waiter.worker == worker)) /* where its registers are: others run before it does */
        __builtin_prefetch(op->waiter.task->fiber.sp);
    unlink_op(op);
    op->closed = stream->closing;
    if (NXI_UNLIKELY(stream->closing && !stream->ops))
        submit_close(worker, stream);
    wake(worker, &op->waiter);
}

/* What the completion means to the caller; reason: why the driver was asked to cancel, or 0. */
static int64_t settle(const struct nxi_stream_op *op, int reason)
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

void nxi_stream_hold(nx_stream *stream, bool *inout_held)
{
    if (*inout_held)
        return;
    atomic_fetch_add_explicit(&stream->references, 1, memory_order_relaxed);
    *inout_held = true;
}

void nxi_stream_unreference(nx_stream *stream)
{
    unreference(stream);
}

/* The deadline has passed with nothing done: a deadline in the past means to try once, and the driver may not have
 * looked. The caller holds the stream, which may have gone elsewhere, as a migratable task may. */
static NXI_NOINLINE int64_t try_last(struct nx_stream *stream, struct nxi_stream_op *op)
{
    memset(op->base.op.driver, 0, sizeof(op->base.op.driver));
    int64_t result = nxi_stream_try(stream, &op->base.op);
    return result == -EAGAIN ? -ETIMEDOUT : result;
}

/*
 * As nxi_waiter_init and nxi_waiter_wait. Nearly always there is no deadline, and the first to wake the task is the
 * completion: then the timer is never looked at but for whether it runs, and the rest of it is left as it was. Nobody
 * else knows the waiter, so it can be made anew.
 */
static inline int wait_for(struct nxi_worker *worker, struct nxi_stream_op *op, nx_time deadline)
{
    struct nxi_task *task = worker->current;
    struct nxi_waiter *waiter = &op->waiter;
    if (NXI_LIKELY(deadline == NX_FOREVER && !(task->flags & NXI_TASK_LIMITED) &&
                   !(atomic_load_explicit(&task->ctl, memory_order_acquire) & NXI_CTL_CANCEL))) {
        waiter->task = task;
        waiter->worker = worker;
        waiter->choice = NULL;
        waiter->result = 0;
        waiter->timer.link = NULL;
        waiter->note.since = worker->turn_time;
        nxi_waiter_note_op(waiter, &op->base.op);
        atomic_init(&waiter->woken, false);
        task->pins++;
        task->waiting = waiter;
        nxi_park(worker);
        if (NXI_LIKELY(atomic_load_explicit(&waiter->woken, memory_order_relaxed)))
            return 0;
        nxi_waiter_forget(waiter);
    }
    nxi_waiter_init(waiter, worker);
    nxi_waiter_note_op(waiter, &op->base.op);
    return nxi_waiter_wait(waiter, deadline, heeds_cancel(&op->base.op));
}

int64_t nxi_stream_wait(struct nxi_worker *worker, nx_stream *stream, struct nxi_stream_op *op, nx_time deadline,
                        bool *inout_held)
{
    link_op(stream, op);
    if (inout_held)
        nxi_stream_hold(stream, inout_held);
    int reason = wait_for(worker, op, deadline);
    if (NXI_LIKELY(reason == 0))
        return settle(op, 0);
    bool held = inout_held && *inout_held;
    bool ours = !held;
    nxi_stream_hold(stream, &held);
    ops_of(stream)->cancel(ctx_of(stream, worker), &op->base.op);
    nxi_waiter_wait(&op->waiter, NX_FOREVER, false);
    int64_t result = settle(op, reason);
    if (result == -ETIMEDOUT && op->waiter.result == -ECANCELED && !(op->base.op.flags & NX_OP_NOWAIT))
        result = try_last(stream, op);
    nxi_stream_release(stream, ours);
    return result;
}

/* What a driver lent goes to the caller. */
static inline void hand_back(struct nx_op *what, const struct nxi_stream_op *op)
{
    if (NXI_UNLIKELY(what->flags & NX_OP_LOAN)) {
        what->data = op->base.op.data;
        what->driver[0] = what->data ? op->base.op.driver[0] : 0; /* it may be submitted again, and begins with zero */
    }
}

/* On the owner. inout_held: as in nxi_stream_run. */
static int64_t run_here(struct nxi_worker *worker, struct nx_stream *stream, struct nx_op *what, nx_time deadline,
                        bool *inout_held)
{
    struct nxi_stream_op op;
    struct nx_completion completion;
    if (NXI_UNLIKELY(stream->closing)) /* between two operations of one call: what is in flight has been cancelled */
        return -EBADF;
    op.base.op = *what;
    op.base.done = nxi_stream_done;
    op.stream = stream;
    op.closed = false;
    if (NXI_LIKELY(nxi_submit(worker, stream->driver, &op.base, &completion) == 0)) {
        int64_t result = nxi_stream_wait(worker, stream, &op, deadline, inout_held);
        hand_back(what, &op);
        return result;
    }
    note(worker, &op, &completion);
    hand_back(what, &op);
    if (!inout_held) /* else the caller charges when it no longer needs the stream, or holds it */
        nxi_charge(worker);
    return completion.result;
}

/* On the owner: bytes are there that the driver doesn't know of. */
static bool has_kept(const struct nxi_stream_op *op)
{
    return op->waiter.choice && op->base.op.code == NX_OP_POLL && atomic_load(&op->stream->kept);
}

/* The owner's side of a posted operation: true if it has been answered. */
static bool take_request(struct nxi_worker *worker, struct nx_stream *stream, struct nxi_stream_op *op)
{
    struct nx_completion completion;
    op->retry = owner_of(stream) != worker;
    op->closed = !op->retry && stream->closing;
    op->waiter.result = -ECANCELED;
    if (op->retry || op->closed)
        return true;
    if (has_kept(op)) {
        op->waiter.result = NX_READABLE;
        return true;
    }
    op->retry = give_up(worker, stream);
    if (op->retry || atomic_fetch_or(&op->phase, SUBMITTED) & CANCELLED)
        return true;
    int result = nxi_submit(worker, stream->driver, &op->base, &completion);
    if (result == 0) {
        link_op(stream, op);
        return false;
    }
    note(worker, op, &completion);
    return true;
}

static void request_arrived(struct nxi_worker *worker, struct nxi_node *node)
{
    struct nxi_waiter *waiter = nxi_container(node, struct nxi_waiter, node);
    struct nxi_stream_op *op = nxi_container(waiter, struct nxi_stream_op, waiter);
    if (take_request(worker, op->stream, op))
        nxi_waiter_wake(&op->waiter, NX_REASON_REMOTE);
}

struct remote_cancel {
    struct nxi_waiter waiter;
    struct nxi_stream_op *op;
};

static void cancel_arrived(struct nxi_worker *worker, struct nxi_node *node)
{
    struct nxi_waiter *waiter = nxi_container(node, struct nxi_waiter, node);
    struct nxi_stream_op *op = nxi_container(waiter, struct remote_cancel, waiter)->op;
    if (owner_of(op->stream) == worker && op->link) /* else it has completed meanwhile */
        ops_of(op->stream)->cancel(ctx_of(op->stream, worker), &op->base.op);
    nxi_waiter_wake(waiter, NX_REASON_REMOTE);
}

static void cancel_there(struct nxi_worker *worker, struct nxi_stream_op *op)
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

static void post_there(struct nxi_worker *worker, struct nxi_worker *owner, struct nxi_stream_op *op,
                       struct nxi_choice *choice)
{
    op->posted = true;
    nxi_waiter_init(&op->waiter, worker);
    nxi_waiter_note_op(&op->waiter, &op->base.op);
    op->waiter.choice = choice;
    op->waiter.node.run = request_arrived;
    nxi_post(owner, &op->waiter.node);
}

/* By the owner's hand. *ret_retry: it has given the stream up instead, or the deadline has come before it could try.
 * The caller holds the stream. */
static NXI_NOINLINE int64_t run_there(struct nxi_worker *worker, struct nxi_worker *owner, struct nx_stream *stream,
                                      struct nx_op *what, nx_time deadline, bool *ret_retry)
{
    struct nxi_stream_op op = {.base = {.op = *what, .done = nxi_stream_done}, .stream = stream};
    nx_time until = heeds_cancel(what) ? nxi_deadline(worker, deadline) : deadline;
    bool try_once = until != NX_FOREVER && (until == NX_POLL || until <= nx_now());
    if (try_once) /* the owner answers at once: its answer is waited for, or nothing would ever be tried */
        op.base.op.flags |= NX_OP_NOWAIT;
    post_there(worker, owner, &op, NULL);
    int reason = nxi_waiter_wait(&op.waiter, try_once ? NX_FOREVER : deadline, !try_once && heeds_cancel(what));
    if (reason < 0) {
        cancel_there(worker, &op);
        nxi_waiter_wait(&op.waiter, NX_FOREVER, false);
    }
    bool undone = op.waiter.result == -ECANCELED && !op.closed;
    *ret_retry = undone && (op.retry ? reason != -ECANCELED : reason == -ETIMEDOUT);
    hand_back(what, &op);
    int64_t result = settle(&op, reason);
    return result == -EAGAIN && try_once && deadline != NX_POLL ? -ETIMEDOUT : result;
}

static NXI_NOINLINE int64_t run_elsewhere(struct nxi_worker *worker, struct nx_stream *stream, struct nx_op *what,
                                          nx_time deadline, bool *inout_held)
{
    bool held = inout_held && *inout_held;
    bool ours = !inout_held;
    nxi_stream_hold(stream, &held);
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

static inline int64_t run_anywhere(struct nxi_worker *worker, struct nx_stream *stream, struct nx_op *what,
                                   nx_time deadline, bool *inout_held)
{
    what->handle = stream->handle;
    if (deadline == NX_POLL)
        what->flags |= NX_OP_NOWAIT;
    if (NXI_LIKELY(own(stream, worker)))
        return run_here(worker, stream, what, deadline, inout_held);
    return run_elsewhere(worker, stream, what, deadline, inout_held);
}

int64_t nxi_stream_run(nx_stream *stream, struct nx_op *what, nx_time deadline, bool *inout_held)
{
    struct nxi_worker *worker = nxi_self();
    if (heeds_cancel(what) && nxi_task_cancelled(worker->current)) {
        if (inout_held)
            nxi_stream_hold(stream, inout_held);
        nxi_charge(worker);
        return -ECANCELED;
    }
    return run_anywhere(worker, stream, what, deadline, inout_held);
}

int64_t nxi_stream_try(nx_stream *stream, struct nx_op *what)
{
    bool held = true;
    return run_anywhere(nxi_self(), stream, what, NX_POLL, &held);
}

/* ---- operations beside others ---- */

static int start_here(struct nxi_worker *worker, struct nxi_stream_op *op, struct nxi_choice *choice)
{
    struct nx_completion completion;
    op->closed = op->stream->closing;
    op->waiter.result = -ECANCELED;
    op->waiter.choice = choice;
    if (op->closed)
        return 1;
    if (has_kept(op)) {
        op->waiter.result = NX_READABLE;
        return 1;
    }
    if (nxi_submit(worker, op->stream->driver, &op->base, &completion) != 0) {
        note(worker, op, &completion);
        return 1;
    }
    link_op(op->stream, op);
    nxi_waiter_init(&op->waiter, worker);
    nxi_waiter_note_op(&op->waiter, &op->base.op);
    op->waiter.choice = choice;
    return 0;
}

int nxi_stream_start(nx_stream *stream, struct nxi_stream_op *op, const struct nx_op *what, struct nxi_choice *choice)
{
    struct nxi_worker *worker = nxi_self();
    *op = (struct nxi_stream_op){.base = {.op = *what, .done = nxi_stream_done}, .stream = stream};
    op->base.op.handle = stream->handle;
    for (;;) { /* ends: either somebody owns it, or we do */
        struct nxi_worker *owner = owner_of(stream);
        if (own(stream, worker))
            return start_here(worker, op, choice);
        if (owner) {
            post_there(worker, owner, op, choice);
            return 0;
        }
    }
}

void nxi_stream_cancel(struct nxi_stream_op *op)
{
    struct nxi_worker *worker = nxi_self();
    if (op->posted)
        cancel_there(worker, op);
    else if (op->link) /* ours, as the stream is: it has something in flight */
        ops_of(op->stream)->cancel(ctx_of(op->stream, worker), &op->base.op);
}

/* Nobody but nxi_stream_stir cancels one whose result is asked for. */
int64_t nxi_stream_result(const struct nxi_stream_op *op)
{
    int64_t result = settle(op, 0);
    return op->retry || result == -ECANCELED ? -EAGAIN : result;
}

static void stir_here(struct nxi_worker *worker, struct nx_stream *stream)
{
    for (struct nxi_stream_op *op = stream->ops; op; op = op->next)
        if (op->waiter.choice && op->base.op.code == NX_OP_POLL)
            ops_of(stream)->cancel(ctx_of(stream, worker), &op->base.op);
}

static void stir_arrived(struct nxi_worker *worker, struct nxi_node *node)
{
    struct nx_stream *stream = nxi_container(node, struct nx_stream, stir_node);
    atomic_store(&stream->stirring, false);
    if (owner_of(stream) == worker) /* else it has been given up, with nothing in flight */
        stir_here(worker, stream);
    unreference(stream);
}

/*
 * What is kept was written before the owner is read, and whoever claims the stream, or receives an operation as its
 * owner, looks at what is kept then. All are seq_cst: either it is seen there, or the owner here, who finds the
 * operation in flight when the message comes.
 */
void nxi_stream_stir(nx_stream *stream)
{
    struct nxi_worker *owner = atomic_load(&stream->owner);
    if (!owner)
        return;
    if (owner == nxi_self()) {
        stir_here(owner, stream);
    } else if (!atomic_exchange(&stream->stirring, true)) {
        atomic_fetch_add_explicit(&stream->references, 1, memory_order_relaxed);
        stream->stir_node.run = stir_arrived;
        nxi_post(owner, &stream->stir_node);
    }
}

/* ---- closing, from anywhere ---- */

int nxi_stream_check(const nx_stream *stream, const void *buffer, size_t len)
{
    struct nxi_worker *worker = nxi_in_task();
    if (NXI_UNLIKELY(!worker))
        return nxi_no_task();
    if (NXI_UNLIKELY(!stream || (!buffer && len > 0)))
        return -EINVAL;
    return NXI_LIKELY(stream->runtime == worker->runtime) ? 0 : -EXDEV;
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

void nxi_stream_close(struct nxi_worker *worker, nx_stream *stream)
{
    stream->close_node.run = close_arrived;
    close_arrived(worker, &stream->close_node);
}

int nx_close(nx_stream *stream)
{
    NXI_ENTRY(-ENOSYS);
    if (!stream)
        return 0;
    int error = nxi_stream_check(stream, NULL, 0);
    if (error < 0)
        return error;
    nxi_stream_close(nxi_in_task(), stream);
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
    const uint32_t index = worker->runtime->foreign_driver;
    const struct nxi_driver *driver = &worker->drivers[index];
    nx_handle handle;
    if (!NXI_HAS(driver->ops, import_fd))
        return -ENOTSUP;
    int error = driver->ops->import_fd(driver->ctx, fd, 0, &handle);
    if (error < 0)
        return error;
    error = nxi_stream_new(worker, index, handle, ret_stream);
    if (error == 0 && driver->ops->affinity == NX_AFFINITY_PINNED)
        nxi_stream_own(*ret_stream, worker);
    if (error < 0) {
        struct nx_op keep = {.handle = handle, .code = NX_OP_CLOSE, .arg = NX_CLOSE_KEEP};
        nxi_op_run(worker, index, &keep, NX_FOREVER, false);
    }
    return error;
}
