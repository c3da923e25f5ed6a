/*
 * readiness/adapter.c: completions out of a readiness interface.
 *
 * The happy path: an op finds its direction's may-be-ready bit set, its system call succeeds, and it completes inline
 * in submit. Or the bit is clear, or the call gives EAGAIN and clears it: the op is appended to its direction's
 * queue, and the slot is made known to the poller, once. An event sets the bit, and the queue's ops are tried in
 * order until one blocks.
 *
 * Why no edge is lost
 *  - Registering reports the present state, so what became ready between EAGAIN and the registration is its first
 *    event.
 *  - Once registered, a change after the EAGAIN (or the short read, see calls.c) is an event after it.
 *  - Invariant: while a direction's queue is not empty, its bit is clear, or an event for the slot waits in
 *    ctx->events, or the queue's first op is in ctx->kicked. So nothing that could go on is forgotten when the
 *    caller's array is full.
 *
 * Why no event hits the wrong handle: a token is index and epoch; the epoch comes from one count per instance, is in
 * the slot only while it is registered, and unwatch voids the events already fetched.
 *
 * A foreign descriptor is watched for what its ops want and nothing else, so that a multishot POLL reports edges of
 * that only; it is watched anew for each of those, and then reported once as it is.
 *
 * Three lists hold what the next poll must do, and make arm answer -EAGAIN: cancelled ops, kicked multishot accepts
 * (there may be more to accept, and no edge will say so), and events fetched but not served.
 */
#include "adapter.h"
#include "os.h"
#include "quick.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define ACCEPTS_PER_TURN 64 /* of one multishot accept, before others get their turn */

/* Where completions go; room is a question before each. */
struct batch {
    struct nx_completion *out;
    uint32_t count, max;
};

static bool batch_full(const struct batch *batch)
{
    return batch->count == batch->max;
}

static void batch_put(struct batch *batch, struct nx_op *op, int64_t result, uint32_t flags)
{
    batch->out[batch->count++] = (struct nx_completion){.op = op, .result = result, .flags = flags};
}

/* ---- circular lists of ops, linked by driver[0]; what is kept is the last, 0 for none ---- */

static struct nx_op *list_first(uintptr_t tail)
{
    return tail ? (struct nx_op *)((struct nx_op *)tail)->driver[0] : NULL;
}

static void list_append(uintptr_t *tail, struct nx_op *op)
{
    struct nx_op *last = (struct nx_op *)*tail;
    op->driver[0] = last ? last->driver[0] : (uintptr_t)op;
    if (last)
        last->driver[0] = (uintptr_t)op;
    *tail = (uintptr_t)op;
}

static struct nx_op *list_shift(uintptr_t *tail)
{
    struct nx_op *last = (struct nx_op *)*tail, *first = (struct nx_op *)last->driver[0];
    if (first == last)
        *tail = 0;
    else
        last->driver[0] = first->driver[0];
    return first;
}

/* Takes op out of the list if it is there. As long as the list is: pending ops of one handle and direction. */
static bool list_remove(uintptr_t *tail, struct nx_op *op)
{
    struct nx_op *last = (struct nx_op *)*tail, *before = last;
    if (!last)
        return false;
    do {
        struct nx_op *next = (struct nx_op *)before->driver[0];
        if (next == op) {
            before->driver[0] = op->driver[0];
            if (op == last)
                *tail = before == op ? 0 : (uintptr_t)before;
            return true;
        }
        before = next;
    } while (before != last);
    return false;
}

/* ---- the kicked: multishot accepts to be tried without an event; a handful, one per listener ---- */

static void kick(struct nx_ctx *ctx, struct nx_op *op)
{
    if (op->driver[2] & OP_KICKED)
        return;
    op->driver[2] |= OP_KICKED;
    op->driver[1] = 0;
    if (ctx->kicked_last)
        ctx->kicked_last->driver[1] = (uintptr_t)op;
    else
        ctx->kicked_first = op;
    ctx->kicked_last = op;
}

static void unkick(struct nx_ctx *ctx, struct nx_op *op)
{
    struct nx_op *before = NULL;
    if (!(op->driver[2] & OP_KICKED))
        return;
    for (struct nx_op *at = ctx->kicked_first; at != op; at = (struct nx_op *)at->driver[1])
        before = at;
    if (before)
        before->driver[1] = op->driver[1];
    else
        ctx->kicked_first = (struct nx_op *)op->driver[1];
    if (ctx->kicked_last == op)
        ctx->kicked_last = before;
    op->driver[2] &= ~(uintptr_t)OP_KICKED;
}

static void finish_later(struct nx_ctx *ctx, struct nx_op *op, int error)
{
    uintptr_t tail = (uintptr_t)ctx->done_tail;
    op->driver[1] = (uintptr_t)error;
    op->driver[2] = OP_CANCELLED;
    list_append(&tail, op);
    ctx->done_tail = (struct nx_op *)tail;
}

static void fail_pending(struct nx_ctx *ctx, struct nx_fd_slot *slot, int error)
{
    for (int queue = SLOT_IN; queue <= SLOT_POLL; queue++)
        while (slot->user[queue]) {
            struct nx_op *op = list_shift(&slot->user[queue]);
            unkick(ctx, op);
            finish_later(ctx, op, error);
        }
}

/* ---- the poller ---- */

static uint32_t slot_epoch(const struct nx_fd_slot *slot)
{
    return (uint32_t)(slot->user[SLOT_STATE] >> SLOT_EPOCH_SHIFT);
}

static uint64_t slot_token(const struct nx_fd_slot *slot, uint32_t index)
{
    return (uint64_t)slot_epoch(slot) << 32 | index;
}

static uint32_t next_epoch(struct nx_driver *driver)
{
    uint32_t epoch;
    do /* twice at most: one in 2^20 or more is the 0 that means none */
        epoch = (atomic_fetch_add_explicit(&driver->epoch, 1, memory_order_relaxed) + 1) & SLOT_EPOCH_MASK;
    while (epoch == 0);
    return epoch;
}

static struct watch_dup **dup_of(struct nx_ctx *ctx, const struct nx_fd_slot *slot)
{
    struct watch_dup **at = &ctx->dups;
    while ((*at)->slot != slot) /* ends: SLOT_DUP says that it is there */
        at = &(*at)->next;
    return at;
}

/* The same descriptor is watched under another token (a second wait on a foreign one): watch a duplicate. */
static int watch_duplicate(struct nx_ctx *ctx, struct nx_fd_slot *slot, uint32_t events, uint64_t token)
{
    struct watch_dup *dup = ctx->driver->host->alloc(sizeof(*dup), 0);
    if (!dup)
        return -ENOMEM;
    int r = dup->fd = fcntl(slot->fd, F_DUPFD_CLOEXEC, 0);
    if (r < 0) {
        r = -errno;
        goto fail_memory;
    }
    r = ctx->poller_ops->watch(ctx->poller, dup->fd, events, token);
    if (r < 0)
        goto fail_fd;
    dup->slot = slot;
    dup->next = ctx->dups;
    ctx->dups = dup;
    slot->user[SLOT_STATE] |= SLOT_DUP;
    return 0;
fail_fd:
    close(dup->fd);
fail_memory:
    ctx->driver->host->free(dup, sizeof(*dup));
    return r;
}

static uint32_t covered_events(uintptr_t state)
{
    return (state & SLOT_COVERED_IN ? NX_READY_IN : 0) | (state & SLOT_COVERED_OUT ? NX_READY_OUT : 0);
}

/* The part of ensure_watched that needs the poller. 1, or -errno. */
static int watch(struct nx_ctx *ctx, struct nx_fd_slot *slot, uint32_t index, uint32_t wanted)
{
    const uintptr_t state = slot->user[SLOT_STATE];
    const bool exact = ctx->oneshot || (slot->flags & NX_FD_FOREIGN);
    const uint32_t events = exact ? wanted | covered_events(state) : NX_READY_IN | NX_READY_OUT;
    if (!(state & SLOT_WATCHED))
        slot->user[SLOT_STATE] |= (uintptr_t)next_epoch(ctx->driver) << SLOT_EPOCH_SHIFT;
    uint64_t token = slot_token(slot, index);
    readiness_count(&ctx->stats.watches, 1);
    int fd = state & SLOT_DUP ? (*dup_of(ctx, slot))->fd : slot->fd;
    if (!ctx->oneshot && (state & SLOT_WATCHED)) /* a foreign one, to be widened */
        ctx->poller_ops->unwatch(ctx->poller, fd);
    int r = ctx->poller_ops->watch(ctx->poller, fd, events, token);
    if (r == -EEXIST && !(state & SLOT_WATCHED))
        r = watch_duplicate(ctx, slot, events, token);
    if (r < 0) {
        slot->user[SLOT_STATE] = state;
        if (!ctx->oneshot && (state & SLOT_WATCHED)) { /* the narrower interest is gone: nothing may rely on it */
            nxi_readiness_unwatch(ctx, slot, index);
            fail_pending(ctx, slot, -r);
        }
        return r;
    }
    if (!(state & SLOT_WATCHED))
        atomic_store_explicit(&ctx->watched, ctx->watched + 1, memory_order_relaxed);
    slot->user[SLOT_STATE] |= SLOT_WATCHED;
    if (exact)
        slot->user[SLOT_STATE] |=
            (events & NX_READY_IN ? SLOT_COVERED_IN : 0) | (events & NX_READY_OUT ? SLOT_COVERED_OUT : 0);
    return 1;
}

/* Sees to it that the poller reports wanted (NX_READY_...). 1: newly so, and the present state will be reported; 0: it
 * was already; -errno. */
static inline int ensure_watched(struct nx_ctx *ctx, struct nx_fd_slot *slot, uint32_t index, uint32_t wanted)
{
    const uintptr_t state = slot->user[SLOT_STATE];
    if (ctx->oneshot || (slot->flags & NX_FD_FOREIGN) ? !(wanted & ~covered_events(state))
                                                      : (state & SLOT_WATCHED) != 0)
        return 0;
    return watch(ctx, slot, index, wanted);
}

void nxi_readiness_unwatch(struct nx_ctx *ctx, struct nx_fd_slot *slot, uint32_t index)
{
    if (slot->user[SLOT_STATE] & SLOT_WATCHED) {
        uint64_t token = slot_token(slot, index);
        readiness_count(&ctx->stats.unwatches, 1);
        atomic_store_explicit(&ctx->watched, ctx->watched - 1, memory_order_relaxed);
        if (slot->user[SLOT_STATE] & SLOT_DUP) {
            struct watch_dup **at = dup_of(ctx, slot), *dup = *at;
            ctx->poller_ops->unwatch(ctx->poller, dup->fd);
            close(dup->fd);
            *at = dup->next;
            ctx->driver->host->free(dup, sizeof(*dup));
        } else {
            ctx->poller_ops->unwatch(ctx->poller, slot->fd);
        }
        for (uint32_t i = ctx->event_next; i < ctx->event_count; i++)
            if (ctx->events[i].token == token)
                ctx->events[i].token = 0; /* epoch 0 is nobody's */
    }
    slot->user[SLOT_STATE] &= SLOT_KIND | SLOT_ERROR;
}

/* ---- serving pending ops ---- */

static void finish_first(struct nx_ctx *ctx, struct nx_fd_slot *slot, int queue, int64_t result, struct batch *batch)
{
    struct nx_op *op = list_shift(&slot->user[queue]);
    unkick(ctx, op);
    batch_put(batch, op, result, 0);
}

/* False: the op ended. */
static bool serve_multishot(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op, struct batch *batch)
{
    for (int i = 0; i < ACCEPTS_PER_TURN && !batch_full(batch); i++) {
        int64_t r = nxi_readiness_try(ctx, slot, op);
        if (r == -EAGAIN)
            return true;
        if (r < 0) {
            finish_first(ctx, slot, SLOT_IN, r, batch);
            return false;
        }
        batch_put(batch, op, r, NX_COMPLETION_MORE);
    }
    kick(ctx, op);
    return true;
}

/* Tries a direction's ops in order until one blocks. False: out is full, and there is more to do. */
static inline bool serve(struct nx_ctx *ctx, struct nx_fd_slot *slot, int queue, struct batch *batch)
{
    const uintptr_t blocked = (uintptr_t)SLOT_BLOCKED_IN << queue;
    struct nx_op *op;
    /* Ends: each turn ends an op, or returns. */
    while ((op = list_first(slot->user[queue])) && !(slot->user[SLOT_STATE] & blocked)) {
        if (batch_full(batch))
            return false;
        if (op->flags & NX_OP_MULTISHOT) {
            if (serve_multishot(ctx, slot, op, batch))
                return true;
            continue;
        }
        int64_t r = nxi_readiness_try(ctx, slot, op);
        if (r == -EAGAIN && (slot->user[SLOT_STATE] & blocked))
            return true;
        finish_first(ctx, slot, queue, r, batch);
    }
    return true;
}

/* Completes the POLL ops for which the present state is enough. As serve. */
static bool serve_polls(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct batch *batch)
{
    struct nx_op *last = (struct nx_op *)slot->user[SLOT_POLL], *op;
    uint32_t wanted = 0;
    bool all = true;

    for (op = list_first((uintptr_t)last); op != last; op = (struct nx_op *)op->driver[0])
        wanted |= (uint32_t)op->arg;
    int ready = nxi_readiness_level(ctx, slot, wanted | (uint32_t)last->arg);
    if (ready == 0)
        return true;
    if (ready > 0 && (last->flags & NX_OP_MULTISHOT)) {
        if (batch_full(batch))
            return false;
        batch_put(batch, last, ready, NX_COMPLETION_MORE);
        return true;
    }
    do { /* once around: what stays is appended again, in order */
        op = list_shift(&slot->user[SLOT_POLL]);
        bool done = ready < 0 || ((uint32_t)ready & op->arg);
        if (done && !batch_full(batch)) {
            batch_put(batch, op, ready, 0);
        } else {
            all = all && !done;
            list_append(&slot->user[SLOT_POLL], op);
        }
    } while (op != last);
    return all;
}

static uint32_t wanted_events(const struct nx_fd_slot *slot)
{
    uint32_t wanted = 0;
    const struct nx_op *last = (const struct nx_op *)slot->user[SLOT_POLL], *op = last;
    if (slot->user[SLOT_IN] && (slot->user[SLOT_STATE] & SLOT_BLOCKED_IN))
        wanted |= NX_READY_IN;
    if (slot->user[SLOT_OUT] && (slot->user[SLOT_STATE] & SLOT_BLOCKED_OUT))
        wanted |= NX_READY_OUT;
    while (op) {
        wanted |= (uint32_t)op->arg; /* NX_READABLE is NX_READY_IN, NX_WRITABLE is NX_READY_OUT */
        op = (const struct nx_op *)op->driver[0];
        if (op == last)
            break;
    }
    return wanted;
}

_Static_assert(NX_READABLE == NX_READY_IN && NX_WRITABLE == NX_READY_OUT, "op->arg is used as events");

/* ONESHOT: the report ended the interest; ops that still wait need it anew. If that fails, they fail. */
static void watch_again(struct nx_ctx *ctx, struct nx_fd_slot *slot, uint32_t index)
{
    uint32_t wanted = wanted_events(slot);
    int r = wanted ? ensure_watched(ctx, slot, index, wanted) : 0;
    if (r < 0)
        fail_pending(ctx, slot, -r);
}

/* As nxi_readiness_try, in line for a TCP connection whose peer is there: a short read means that the kernel has no
 * more. */
static inline int64_t read_usual(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op)
{
    const uintptr_t state = slot->user[SLOT_STATE];
    if (!OS_TELLS_URGENT || (state & (SLOT_STREAM | SLOT_UNIX | SLOT_HUP)) != SLOT_STREAM ||
        !(slot->flags & NX_FD_SOCKET))
        return nxi_readiness_try(ctx, slot, op);
    readiness_count(&ctx->stats.calls, 1);
    ssize_t n = quick_recv(slot->fd, op->data, op->len);
    if (__builtin_expect(n < 0, 0)) { /* an error is told once: only what is none is tried again */
        bool again = n == -EAGAIN || n == -EINTR;
        return again ? nxi_readiness_try(ctx, slot, op) : n;
    }
    if (n > 0 && (size_t)n < op->len)
        slot->user[SLOT_STATE] = state | SLOT_BLOCKED_IN;
    return n;
}

/* The usual event: one read waits for it, and gets something. */
static inline bool serve_usual(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct batch *batch)
{
    struct nx_op *op = (struct nx_op *)slot->user[SLOT_IN];
    if (!op || op->code != NX_OP_READ || (slot->user[SLOT_OUT] | slot->user[SLOT_POLL]) || ctx->oneshot ||
        op->driver[0] != (uintptr_t)op || (slot->user[SLOT_STATE] & SLOT_BLOCKED_IN) || batch_full(batch))
        return false;
    int64_t r = read_usual(ctx, slot, op);
    if (r == -EAGAIN && (slot->user[SLOT_STATE] & SLOT_BLOCKED_IN))
        return true;
    slot->user[SLOT_IN] = 0;
    batch_put(batch, op, r, 0);
    return true;
}

/* False: out is full, and there is more to do for this event. */
static bool serve_event(struct nx_ctx *ctx, const struct nx_ready_event *event, struct batch *batch)
{
    const uint32_t index = (uint32_t)event->token, epoch = (uint32_t)(event->token >> 32), events = event->events;
    struct nx_fd_slot *slot = fds_at(ctx->table, index);
    if (!slot || epoch == 0 || slot_epoch(slot) != epoch) {
        readiness_count(&ctx->stats.stale, 1);
        return true;
    }
    uintptr_t state = slot->user[SLOT_STATE];
    if (events & (NX_READY_IN | NX_READY_HUP))
        state &= ~(uintptr_t)(SLOT_BLOCKED_IN | (ctx->oneshot ? SLOT_COVERED_IN : 0));
    if (events & (NX_READY_OUT | NX_READY_HUP))
        state &= ~(uintptr_t)(SLOT_BLOCKED_OUT | (ctx->oneshot ? SLOT_COVERED_OUT : 0));
    if (events & NX_READY_HUP)
        state |= SLOT_HUP;
    if (event->error && SLOT_ERROR != 0)
        state = (state & ~SLOT_ERROR) | (uintptr_t)event->error << SLOT_ERROR_SHIFT;
    slot->user[SLOT_STATE] = state;

    if (serve_usual(ctx, slot, batch))
        return true;
    bool all = true;
    if (slot->user[SLOT_POLL])
        all = serve_polls(ctx, slot, batch);
    if (slot->user[SLOT_IN])
        all = serve(ctx, slot, SLOT_IN, batch) && all;
    if (slot->user[SLOT_OUT])
        all = serve(ctx, slot, SLOT_OUT, batch) && all;
    if (ctx->oneshot && all)
        watch_again(ctx, slot, index);
    return all;
}

static void serve_events(struct nx_ctx *ctx, struct batch *batch)
{
    while (ctx->event_next < ctx->event_count && !batch_full(batch)) {
        if (!serve_event(ctx, &ctx->events[ctx->event_next], batch))
            return;
        ctx->event_next++;
    }
}

static void serve_kicked(struct nx_ctx *ctx, struct batch *batch)
{
    struct nx_op *op, *last = ctx->kicked_last;
    do { /* once around: what is kicked again goes behind last */
        if (batch_full(batch))
            return;
        op = ctx->kicked_first;
        unkick(ctx, op);
        struct nx_fd_slot *slot = fds_get(ctx->table, op->handle);
        bool all = serve(ctx, slot, SLOT_IN, batch);
        /* Out was full when the op had ended: its successor must not be forgotten. */
        if (!all)
            kick(ctx, list_first(slot->user[SLOT_IN]));
        else if (ctx->oneshot)
            watch_again(ctx, slot, NX_HANDLE_INDEX(op->handle));
    } while (op != last);
}

static void serve_done(struct nx_ctx *ctx, struct batch *batch)
{
    uintptr_t tail = (uintptr_t)ctx->done_tail;
    while (tail && !batch_full(batch)) {
        struct nx_op *op = list_shift(&tail);
        batch_put(batch, op, -(int64_t)op->driver[1], 0);
    }
    ctx->done_tail = (struct nx_op *)tail;
}

static bool work_queued(const struct nx_ctx *ctx)
{
    return ctx->done_tail || ctx->kicked_first || ctx->event_next < ctx->event_count;
}

/* What is queued first; then a look at the poller, with at most as many events as there is room for completions. */
static uint32_t turn(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max, nx_time until)
{
    struct batch batch = {.out = out, .max = max};
    if (work_queued(ctx)) {
        if (ctx->done_tail)
            serve_done(ctx, &batch);
        if (ctx->kicked_first)
            serve_kicked(ctx, &batch);
        serve_events(ctx, &batch);
        if (batch.count > 0 || work_queued(ctx))
            until = NX_POLL;
    }
    if (batch_full(&batch) || ctx->event_next < ctx->event_count)
        return batch.count;
    if (until == NX_POLL && ctx->watched == 0)
        return batch.count;
    uint32_t room = batch.max - batch.count;
    readiness_count(&ctx->stats.waits, 1);
    ctx->event_next = 0;
    ctx->event_count =
        ctx->poller_ops->wait(ctx->poller, ctx->events, room < ctx->event_batch ? room : ctx->event_batch, until);
    readiness_count(&ctx->stats.events, ctx->event_count);
    serve_events(ctx, &batch);
    return batch.count;
}

uint32_t nx_readiness_poll(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max)
{
    return turn(ctx, out, max, NX_POLL);
}

uint32_t nx_readiness_wait(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max, nx_time until)
{
    return turn(ctx, out, max, until);
}

int nx_readiness_arm(struct nx_ctx *ctx)
{
    return work_queued(ctx) ? -EAGAIN : 0;
}

void nx_readiness_disarm(struct nx_ctx *ctx)
{
    (void)ctx;
}

void nx_readiness_wake(struct nx_ctx *ctx)
{
    ctx->poller_ops->wake(ctx->poller);
}

int nx_readiness_wait_fd(struct nx_ctx *ctx)
{
    return ctx->poller_ops->wait_fd ? ctx->poller_ops->wait_fd(ctx->poller) : -ENOTSUP;
}

/* ---- submit and cancel ---- */

static int complete(struct nx_completion *ret_inline, struct nx_op *op, int64_t result)
{
    *ret_inline = (struct nx_completion){.op = op, .result = result};
    return 1;
}

static void pend(struct nx_fd_slot *slot, struct nx_op *op, int queue)
{
    op->driver[1] = 0;
    op->driver[2] = OP_PENDING;
    list_append(&slot->user[queue], op);
}

/* What moves bytes, messages, connections. Inlined for each queue: most of its cost on the hot path is being called. */
static inline __attribute__((always_inline)) int submit_transfer(struct nx_ctx *ctx, struct nx_fd_slot *slot,
                                                                 struct nx_op *op, int queue,
                                                                 struct nx_completion *ret_inline)
{
    const uintptr_t blocked = (uintptr_t)SLOT_BLOCKED_IN << queue;
    /* A pending op is never overtaken; that it pends is EAGAIN's own word. */
    if (!slot->user[queue] && (!(slot->user[SLOT_STATE] & blocked) || (op->flags & NX_OP_NOWAIT))) {
        int64_t r = nxi_readiness_try(ctx, slot, op);
        if (r != -EAGAIN || !(slot->user[SLOT_STATE] & blocked))
            return complete(ret_inline, op, r);
    }
    if (op->flags & NX_OP_NOWAIT)
        return complete(ret_inline, op, -EAGAIN);
    int r = ensure_watched(ctx, slot, NX_HANDLE_INDEX(op->handle), queue == SLOT_IN ? NX_READY_IN : NX_READY_OUT);
    if (r < 0)
        return complete(ret_inline, op, r);
    pend(slot, op, queue);
    return 0;
}

/* Its first completion may have MORE, so it can't be inline: the next poll makes the first call. */
static int submit_multishot(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op,
                            struct nx_completion *ret_inline)
{
    bool first = !slot->user[SLOT_IN];
    int r = ensure_watched(ctx, slot, NX_HANDLE_INDEX(op->handle), NX_READY_IN);
    if (r < 0)
        return complete(ret_inline, op, r);
    pend(slot, op, SLOT_IN);
    if (r > 0)
        slot->user[SLOT_STATE] |= SLOT_BLOCKED_IN; /* the registration's own event clears it */
    else if (first && !(slot->user[SLOT_STATE] & SLOT_BLOCKED_IN))
        kick(ctx, op);
    return 0;
}

static int submit_connect(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op,
                          struct nx_completion *ret_inline)
{
    if (slot->user[SLOT_OUT] && !(slot->flags & NX_FD_DATAGRAM))
        return complete(ret_inline, op, -EALREADY);
    int r = nxi_readiness_connect(ctx, slot, op->data);
    if (r == -EINPROGRESS && (op->flags & NX_OP_NOWAIT))
        r = -EAGAIN;
    if (r != -EINPROGRESS) /* -EAGAIN on a Unix socket: the listener's backlog is full, and no event tells when not */
        return complete(ret_inline, op, r);
    r = ensure_watched(ctx, slot, NX_HANDLE_INDEX(op->handle), NX_READY_OUT);
    if (r < 0)
        return complete(ret_inline, op, r);
    slot->user[SLOT_STATE] |= SLOT_BLOCKED_OUT;
    pend(slot, op, SLOT_OUT);
    return 0;
}

/* Edges. The registration's own event is the first report, of the present state. */
static int submit_edges(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op, struct nx_completion *ret_inline)
{
    if (ctx->oneshot || !(slot->flags & NX_FD_FOREIGN))
        return complete(ret_inline, op, -ENOTSUP);
    nxi_readiness_unwatch(ctx, slot, NX_HANDLE_INDEX(op->handle));
    int r = ensure_watched(ctx, slot, NX_HANDLE_INDEX(op->handle), (uint32_t)op->arg);
    if (r < 0)
        return complete(ret_inline, op, r == -EPERM ? (int64_t)op->arg : r);
    pend(slot, op, SLOT_POLL);
    return 0;
}

static int submit_poll(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op, struct nx_completion *ret_inline)
{
    const uint64_t all = NX_READABLE | NX_WRITABLE;
    const struct nx_op *other = list_first(slot->user[SLOT_POLL]);
    if (!(op->arg & all) || (op->arg & ~all))
        return complete(ret_inline, op, -EINVAL);
    if (other && ((op->flags | other->flags) & NX_OP_MULTISHOT))
        return complete(ret_inline, op, -EBUSY);
    if (op->flags & NX_OP_MULTISHOT)
        return submit_edges(ctx, slot, op, ret_inline);
    /* The level first: then each edge that comes later is one this op waits for. */
    int r = nxi_readiness_level(ctx, slot, (uint32_t)op->arg);
    if (r != 0 || (op->flags & NX_OP_NOWAIT))
        return complete(ret_inline, op, r ? r : -EAGAIN);
    r = ensure_watched(ctx, slot, NX_HANDLE_INDEX(op->handle), (uint32_t)op->arg);
    if (r < 0)
        return complete(ret_inline, op, r == -EPERM ? (int64_t)op->arg : r);
    pend(slot, op, SLOT_POLL);
    return 0;
}

static int64_t close_handle(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op)
{
    int fd = slot->fd;
    bool keep = (op->arg & NX_CLOSE_KEEP) || (slot->flags & NX_FD_FOREIGN);
    nxi_readiness_unwatch(ctx, slot, NX_HANDLE_INDEX(op->handle));
    nx_fds_drop(ctx->table, op->handle); /* first: nx_fds_name on another thread relies on it */
    if (keep || close(fd) == 0 || errno == EINTR || errno == ECONNRESET)
        return 0; /* interrupted or not, the number is free; FreeBSD tells of a reset that nobody read */
    return -errno;
}

/* All that is not a plain transfer on a handle of our own. */
static int submit_other(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op, struct nx_completion *ret_inline)
{
    if (op->code == NX_OP_NOP)
        return complete(ret_inline, op, 0);
    if (!slot)
        return complete(ret_inline, op, -EBADF);
    if (op->code == NX_OP_CLOSE)
        return complete(ret_inline, op, close_handle(ctx, slot, op));
    if ((slot->flags & NX_FD_FOREIGN) && op->code != NX_OP_POLL)
        return complete(ret_inline, op, -EINVAL);
    if (op->code == NX_OP_ACCEPT && !(op->flags & ~(NX_OP_NOWAIT | NX_OP_MULTISHOT)))
        return op->flags & NX_OP_NOWAIT ? submit_transfer(ctx, slot, op, SLOT_IN, ret_inline)
                                        : submit_multishot(ctx, slot, op, ret_inline);
    if (op->code == NX_OP_POLL && op->flags == NX_OP_MULTISHOT)
        return submit_poll(ctx, slot, op, ret_inline);
    if (op->flags & ~NX_OP_NOWAIT)
        return complete(ret_inline, op, -ENOTSUP);
    switch (op->code) {
    case NX_OP_RECVMSG:
        return submit_transfer(ctx, slot, op, SLOT_IN, ret_inline);
    case NX_OP_SENDMSG:
        return submit_transfer(ctx, slot, op, SLOT_OUT, ret_inline);
    case NX_OP_MEMBERSHIP:
        return complete(ret_inline, op, nx_fds_membership(ctx->table, op));
    case NX_OP_CONNECT:
        return submit_connect(ctx, slot, op, ret_inline);
    case NX_OP_POLL:
        return submit_poll(ctx, slot, op, ret_inline);
    case NX_OP_SHUTDOWN:
        return complete(ret_inline, op, nxi_readiness_shutdown(slot, op->arg));
    default:
        return complete(ret_inline, op, -ENOTSUP);
    }
}

/* The usual read, of the next request: nothing has come since the last one, and the poller knows the descriptor. */
static inline bool pend_usual_read(const struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op)
{
    const uintptr_t usual = SLOT_BLOCKED_IN | SLOT_WATCHED;
    if (op->code != NX_OP_READ || op->flags || (slot->flags & NX_FD_FOREIGN) || slot->user[SLOT_IN] || ctx->oneshot ||
        (slot->user[SLOT_STATE] & usual) != usual)
        return false;
    op->driver[0] = (uintptr_t)op;
    op->driver[1] = 0;
    op->driver[2] = OP_PENDING;
    slot->user[SLOT_IN] = (uintptr_t)op;
    return true;
}

/* The usual write: nobody waits to write, and the kernel has room. False: it isn't that, and nothing has been done. */
static inline bool write_usual(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op,
                               struct nx_completion *ret_inline)
{
    if (op->code != NX_OP_WRITE || op->flags || (slot->flags & (NX_FD_FOREIGN | NX_FD_SOCKET)) != NX_FD_SOCKET ||
        slot->user[SLOT_OUT] || (slot->user[SLOT_STATE] & (SLOT_BLOCKED_OUT | SLOT_ERROR)))
        return false;
    readiness_count(&ctx->stats.calls, 1);
    ssize_t n = quick_send(slot->fd, op->data, op->len);
    if (__builtin_expect(n < 0, 0)) {
        if (n == -EAGAIN) {
            readiness_count(&ctx->stats.again, 1);
            slot->user[SLOT_STATE] |= SLOT_BLOCKED_OUT;
        }
        if (n == -EAGAIN || n == -EINTR)
            return false;
        complete(ret_inline, op, n); /* now: the kernel tells some errors once */
        return true;
    }
    if ((size_t)n < op->len && (slot->user[SLOT_STATE] & SLOT_STREAM))
        slot->user[SLOT_STATE] |= SLOT_BLOCKED_OUT;
    complete(ret_inline, op, n);
    return true;
}

static __attribute__((noinline)) int submit_any(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op,
                                                struct nx_completion *ret_inline)
{
    if (slot && !(slot->flags & NX_FD_FOREIGN) && !(op->flags & ~NX_OP_NOWAIT)) {
        if (op->code == NX_OP_READ || op->code == NX_OP_ACCEPT)
            return submit_transfer(ctx, slot, op, SLOT_IN, ret_inline);
        if (op->code == NX_OP_WRITE || op->code == NX_OP_WRITEV)
            return submit_transfer(ctx, slot, op, SLOT_OUT, ret_inline);
    }
    return submit_other(ctx, slot, op, ret_inline);
}

/* Apart from the read, which needs none of the registers that a system call takes. */
static __attribute__((noinline)) int submit_write(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op,
                                                  struct nx_completion *ret_inline)
{
    return write_usual(ctx, slot, op, ret_inline) ? 1 : submit_any(ctx, slot, op, ret_inline);
}

int nx_readiness_submit(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline)
{
    struct nx_fd_slot *slot = fds_get(ctx->table, op->handle);
    if (__builtin_expect(!slot, 0))
        return submit_any(ctx, slot, op, ret_inline);
    return pend_usual_read(ctx, slot, op) ? 0 : submit_write(ctx, slot, op, ret_inline);
}

void nx_readiness_cancel(struct nx_ctx *ctx, struct nx_op *op)
{
    struct nx_fd_slot *slot = fds_get(ctx->table, op->handle);
    if (!slot || !(op->driver[2] & OP_PENDING))
        return; /* asked twice */
    bool was_kicked = op->driver[2] & OP_KICKED;
    unkick(ctx, op);
    for (int queue = SLOT_IN; queue <= SLOT_POLL; queue++)
        if (list_remove(&slot->user[queue], op))
            break;
    finish_later(ctx, op, ECANCELED);
    if (was_kicked && slot->user[SLOT_IN])
        kick(ctx, list_first(slot->user[SLOT_IN]));
}
