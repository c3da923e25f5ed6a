/*
 * handle.c: driver handles that are no stream: foreign descriptors waited for, and handles to be closed unused. Where
 * the network's driver has no descriptors, foreign ones are the files' driver's.
 */
#include "choice.h"

struct orphan_close {
    struct nxi_op op;
    struct nxi_node node;
    uint32_t driver;
};

static void orphan_closed(struct nxi_worker *worker, struct nxi_op *op, const struct nx_completion *completion)
{
    (void)worker;
    (void)completion;
    nxi_free(nxi_container(op, struct orphan_close, op), sizeof(struct orphan_close));
}

static void orphan_submit(struct nxi_worker *worker, struct nxi_node *node)
{
    struct orphan_close *orphan = nxi_container(node, struct orphan_close, node);
    struct nx_completion completion;
    int result = nxi_submit(worker, orphan->driver, &orphan->op, &completion);
    if (result == 1)
        orphan_closed(worker, &orphan->op, &completion);
    else if (result < 0)
        nxi_post(worker, node);
}

void nxi_handle_close(struct nxi_worker *worker, uint32_t driver, nx_handle handle)
{
    struct orphan_close *orphan = nxi_alloc(sizeof(*orphan));
    if (!orphan)
        return; /* the driver closes it at its end */
    *orphan = (struct orphan_close){
        .op = {.op = {.handle = handle, .code = NX_OP_CLOSE}, .done = orphan_closed},
        .node = {.run = orphan_submit},
        .driver = driver,
    };
    if (worker == nxi_self())
        orphan_submit(worker, &orphan->node);
    else
        nxi_post(worker, &orphan->node);
}

/* ---- foreign descriptors ---- */

/* The handle is bound to this context until it is dropped: the caller has the task pinned. */
static int import(struct nxi_worker *worker, int fd, nx_handle *ret_handle)
{
    const struct nxi_driver *driver = nxi_foreign_driver(worker);
    if (!NXI_HAS(driver->ops, import_fd))
        return -ENOTSUP;
    return driver->ops->import_fd(driver->ctx, fd, NX_IMPORT_FOREIGN, ret_handle);
}

static void drop(struct nxi_worker *worker, nx_handle handle)
{
    struct nx_op op = {.handle = handle, .code = NX_OP_CLOSE, .arg = NX_CLOSE_KEEP};
    nxi_op_run(worker, worker->runtime->foreign_driver, &op, NX_FOREVER, false);
}

static int wait_for(struct nxi_worker *worker, int fd, unsigned events, nx_time deadline, bool heed_cancel)
{
    nx_handle handle;
    worker->current->pins++;
    int error = import(worker, fd, &handle);
    if (error == 0) {
        struct nx_op poll = {.handle = handle, .code = NX_OP_POLL, .arg = events};
        error = (int)nxi_op_run(worker, worker->runtime->foreign_driver, &poll, deadline, heed_cancel);
        drop(worker, handle);
    }
    nxi_self()->current->pins--;
    return error;
}

int nx_fd_wait(int fd, unsigned events, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (events == 0 || events & ~(NX_READABLE | NX_WRITABLE))
        return -EINVAL;
    if (nxi_task_cancelled(worker->current)) {
        nxi_charge(worker);
        return -ECANCELED;
    }
    return wait_for(worker, fd, events, deadline, true);
}

int nxi_fd_look(struct nxi_worker *worker, int fd, unsigned events)
{
    return wait_for(worker, fd, events, NX_POLL, false);
}

static void fd_op_done(struct nxi_worker *worker, struct nxi_op *base, const struct nx_completion *completion)
{
    struct nxi_fd_op *op = nxi_container(base, struct nxi_fd_op, base);
    (void)worker;
    op->waiter.result = completion->result;
    nxi_waiter_wake(&op->waiter, NX_REASON_IO);
}

int nxi_fd_start(struct nxi_fd_op *op, struct nxi_worker *worker, int fd, unsigned events, struct nxi_choice *choice)
{
    struct nx_completion completion;
    nx_handle handle;
    op->waiter.result = import(worker, fd, &handle);
    if (op->waiter.result < 0)
        return 1;
    op->base = (struct nxi_op){.op = {.handle = handle, .code = NX_OP_POLL, .arg = events}, .done = fd_op_done};
    if (nxi_submit(worker, worker->runtime->foreign_driver, &op->base, &completion) != 0) {
        op->waiter.result = completion.result;
        drop(worker, handle);
        return 1;
    }
    nxi_waiter_init(&op->waiter, worker);
    nxi_waiter_note_op(&op->waiter, &op->base.op);
    op->waiter.choice = choice;
    return 0;
}

void nxi_fd_cancel(struct nxi_fd_op *op)
{
    const struct nxi_driver *driver = nxi_foreign_driver(op->waiter.worker);
    driver->ops->cancel(driver->ctx, &op->base.op);
}

void nxi_fd_end(struct nxi_fd_op *op)
{
    nxi_waiter_wait(&op->waiter, NX_FOREVER, false);
    drop(op->waiter.worker, op->base.op.handle);
}
