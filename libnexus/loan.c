/*
 * loan.c: nx_read_loan: reading without a buffer of one's own.
 *
 * A runtime has a bounded number of buffers. While a reader waits for its peer only NX_OP_POLL is in flight and it has
 * no buffer; then it gets one, and reads what is there without waiting. So a thousand idle connections hold none, and
 * a reader that finds nothing after all, because another one was faster, gives its buffer back before it waits again.
 *
 * Where the driver lends what it has read, a waiting read holds nothing anyway: its memory goes to the reader as it is,
 * and back to the context that lent it, by a message if the borrower is elsewhere by then.
 *
 * As in pool.c: while somebody waits for a buffer none is free, a returned one goes to the first who waits, and who
 * gives up just when one is handed to him hands it on.
 */
#include "transfer.h"

#define LENT_PER_WORKER 64u
#define CACHED_PER_WORKER 16u

enum kind { KIND_BUFFER = 1, KIND_KEPT, KIND_DRIVERS }; /* nx_loan.private_[0] */

struct buffer {
    struct buffer *next;
};

struct nxi_loans {
    uint32_t lock;
    uint32_t lent, cached;
    struct buffer *cache;
    struct nxi_waiters waiters;
};

static struct nxi_loans *loans_of(struct nx_runtime *runtime)
{
    struct nxi_loans *loans = atomic_load_explicit(&runtime->loans, memory_order_acquire);
    if (NXI_LIKELY(loans != NULL))
        return loans;
    struct nxi_loans *fresh = nxi_alloc(sizeof(*fresh));
    if (!fresh)
        return NULL;
    if (atomic_compare_exchange_strong_explicit(&runtime->loans, &loans, fresh, memory_order_acq_rel,
                                                memory_order_acquire))
        return fresh;
    nxi_free(fresh, sizeof(*fresh)); /* another worker was faster */
    return loans;
}

void nxi_loans_free(struct nx_runtime *runtime)
{
    struct nxi_loans *loans = atomic_exchange(&runtime->loans, NULL);
    if (!loans)
        return;
    while (loans->cache) {
        struct buffer *buffer = loans->cache;
        loans->cache = buffer->next;
        nxi_free(buffer, NXI_LOAN_SIZE);
    }
    nxi_free(loans, sizeof(*loans));
}

void nxi_loan_put(struct nx_runtime *runtime, void *memory)
{
    struct nxi_loans *loans = loans_of(runtime);
    struct buffer *buffer = memory;
    nxi_lock(&loans->lock);
    struct nxi_waiter *waiter = nxi_waiters_pop(&loans->waiters);
    bool cache = !waiter && loans->cached < CACHED_PER_WORKER * runtime->worker_count;
    if (waiter) {
        waiter->data = memory;
    } else {
        loans->lent--;
        loans->cached += cache;
    }
    if (cache) {
        buffer->next = loans->cache;
        loans->cache = buffer;
    }
    nxi_unlock(&loans->lock);
    if (waiter)
        nxi_waiter_wake(waiter, NX_REASON_UNBLOCK);
    else if (!cache)
        nxi_free(memory, NXI_LOAN_SIZE);
}

/* A right to a buffer without the buffer. */
static int make_buffer(struct nxi_loans *loans, void **ret_buffer)
{
    void *memory = nxi_alloc(NXI_LOAN_SIZE);
    if (memory) {
        *ret_buffer = memory;
        return 0;
    }
    nxi_lock(&loans->lock);
    loans->lent--; /* who waits is served by a buffer that comes back, not by this one's chance to be made */
    nxi_unlock(&loans->lock);
    return -ENOMEM;
}

/* All are lent; the lock is held. */
static int wait_for_buffer(struct nx_runtime *runtime, struct nxi_loans *loans, nx_time deadline, void **ret_buffer)
{
    struct nxi_waiter waiter;
    nxi_waiter_init(&waiter, nxi_self());
    nxi_waiter_note(&waiter, "loan", NXI_OBJECT_NONE, 0);
    nxi_waiters_push(&loans->waiters, &waiter);
    nxi_unlock(&loans->lock);
    int error = nxi_waiter_wait(&waiter, deadline, true);
    if (error == 0) {
        *ret_buffer = waiter.data;
        return 0;
    }
    nxi_lock(&loans->lock);
    bool waiting = waiter.link != NULL;
    if (waiting)
        nxi_waiters_remove(&loans->waiters, &waiter);
    nxi_unlock(&loans->lock);
    if (waiting) {
        nxi_waiter_forget(&waiter);
        return error;
    }
    nxi_waiter_wait(&waiter, NX_FOREVER, false);
    nxi_loan_put(runtime, waiter.data);
    return error;
}

int nxi_loan_get(struct nx_runtime *runtime, nx_time deadline, void **ret_buffer)
{
    struct nxi_loans *loans = loans_of(runtime);
    if (!loans)
        return -ENOMEM;
    nxi_lock(&loans->lock);
    if (loans->lent >= LENT_PER_WORKER * runtime->worker_count) {
        if (deadline != NX_POLL)
            return wait_for_buffer(runtime, loans, deadline, ret_buffer);
        nxi_unlock(&loans->lock);
        return -EAGAIN;
    }
    loans->lent++;
    struct buffer *buffer = loans->cache;
    if (buffer) {
        loans->cache = buffer->next;
        loans->cached--;
    }
    nxi_unlock(&loans->lock);
    if (!buffer)
        return make_buffer(loans, ret_buffer);
    *ret_buffer = buffer;
    return 0;
}

/* ---- reading ---- */

/* What is kept is lent as it is. */
static ssize_t lend_kept(nx_stream *stream, nx_loan *ret_loan)
{
    int error;
    struct nxi_kept *kept = nxi_kept_take(stream, &error);
    if (!kept)
        return error;
    *ret_loan = (nx_loan){.data = kept->data + kept->start, .len = kept->end - kept->start, .owner = kept};
    ret_loan->private_[0] = KIND_KEPT;
    return (ssize_t)ret_loan->len;
}

/* What is there, in a buffer: -EAGAIN if nothing is. */
static ssize_t lend_now(nx_stream *stream, nx_loan *ret_loan, nx_time deadline, bool *inout_held)
{
    struct nx_runtime *runtime = stream->runtime;
    void *buffer;
    int error = nxi_loan_get(runtime, deadline, &buffer);
    if (error < 0)
        return error;
    struct nx_op op = {.code = NX_OP_READ, .data = buffer, .len = (uint32_t)NXI_LOAN_SIZE};
    int64_t moved = nxi_stream_run(stream, &op, NX_POLL, inout_held);
    if (moved <= 0) {
        nxi_loan_put(runtime, buffer);
        return (ssize_t)moved;
    }
    *ret_loan = (nx_loan){.data = buffer, .len = (size_t)moved, .owner = runtime};
    ret_loan->private_[0] = KIND_BUFFER;
    return (ssize_t)moved;
}

/* ---- what the driver lends ---- */

struct lent {
    struct nxi_node node;
    struct nxi_worker *worker;
    uint32_t driver;
    void *data;
};

static void give_back(struct nxi_worker *worker, struct nxi_node *node)
{
    struct lent *lent = nxi_container(node, struct lent, node);
    const struct nxi_driver *driver = &worker->drivers[lent->driver];
    driver->ops->loan_return(driver->ctx, lent->data);
    nxi_free(lent, sizeof(*lent));
}

static ssize_t borrow(nx_stream *stream, nx_loan *ret_loan, nx_time deadline, bool *inout_held)
{
    struct lent *lent = nxi_alloc(sizeof(*lent));
    if (!lent)
        return -ENOMEM;
    struct nx_op op = {.code = NX_OP_READ, .flags = NX_OP_LOAN, .len = (uint32_t)NXI_LOAN_SIZE};
    int64_t moved = nxi_stream_run(stream, &op, deadline, inout_held);
    if (moved <= 0) {
        nxi_free(lent, sizeof(*lent));
        return (ssize_t)moved;
    }
    lent->node.run = give_back;
    lent->worker = (struct nxi_worker *)op.driver[0];
    lent->driver = stream->driver;
    lent->data = op.data;
    *ret_loan = (nx_loan){.data = op.data, .len = (size_t)moved, .owner = lent};
    ret_loan->private_[0] = KIND_DRIVERS;
    return (ssize_t)moved;
}

/* ---- the calls ---- */

/* Ends when something has come that no other reader took. */
static ssize_t lend_buffer(nx_stream *stream, nx_loan *ret_loan, nx_time deadline, bool *inout_held)
{
    for (;;) {
        ssize_t result = lend_now(stream, ret_loan, deadline, inout_held);
        if (result != -EAGAIN || deadline == NX_POLL)
            return result;
        struct nx_op poll = {.code = NX_OP_POLL, .arg = NX_READABLE};
        int64_t ready = nxi_stream_run(stream, &poll, deadline, inout_held);
        if (ready < 0)
            return (ssize_t)ready;
    }
}

ssize_t nx_read_loan(nx_stream *stream, nx_loan *ret_loan, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    bool held = false;
    int error = nxi_stream_check(stream, ret_loan, sizeof(*ret_loan));
    if (error < 0)
        return error;
    if (nxi_task_cancelled(nxi_self()->current)) {
        nxi_charge(nxi_self());
        return -ECANCELED;
    }
    ssize_t result = lend_kept(stream, ret_loan);
    if (result == 0)
        result = nxi_take_stash(stream, NXI_READ_SIDE);
    nxi_stream_hold(stream, &held); /* a wait for a buffer has nothing in flight that would keep it */
    if (result == 0)
        result =
            (stream->runtime->lends && stream->driver == 0 ? borrow : lend_buffer)(stream, ret_loan, deadline, &held);
    nxi_stream_release(stream, held);
    nxi_charge(nxi_self());
    return result;
}

void nx_loan_return(nx_loan *loan)
{
    NXI_ENTRY();
    if (!loan || !loan->data || nxi_forked())
        return;
    struct lent *lent = loan->owner;
    if (loan->private_[0] == KIND_KEPT)
        nxi_kept_drop(loan->owner);
    else if (loan->private_[0] == KIND_DRIVERS && lent->worker == nxi_self())
        give_back(lent->worker, &lent->node);
    else if (loan->private_[0] == KIND_DRIVERS)
        nxi_post(lent->worker, &lent->node);
    else
        nxi_loan_put(loan->owner, (void *)(uintptr_t)loan->data);
    *loan = (nx_loan){.data = NULL};
}
