/*
 * second.c: a worker with two drivers. One waits for both: it polls the descriptor by which the other one shows that
 * it has something to do. The poll is asked for anew before each sleep, because it reports a state, not a change. A
 * driver without such a descriptor rings the worker itself (nexus/driver.h, wait_fd); and where one owns the clock they
 * wait by turns (idle.c).
 */
#include "core.h"

static void watch_done(struct nxi_worker *worker, struct nxi_op *op, const struct nx_completion *completion)
{
    (void)op;
    (void)completion;
    worker->watch.armed = false; /* the loop polls every driver after a wait */
}

int nxi_watch_open(struct nxi_worker *worker)
{
    struct nx_runtime *runtime = worker->runtime;
    if (worker->driver_count < 2 || runtime->clock)
        return 0;
    const struct nxi_driver *waiter = &worker->drivers[runtime->waiter];
    const struct nxi_driver *other = &worker->drivers[1 - runtime->waiter];
    if (!NXI_HAS(other->ops, wait_fd))
        return 0;
    int fd = other->ops->wait_fd(other->ctx);
    if (fd < 0) {
        snprintf(worker->start_reason.text, sizeof(worker->start_reason.text),
                 "the second backend has no descriptor that the first one could watch");
        return fd;
    }
    struct nxi_op *op = nxi_alloc(sizeof(*op));
    if (!op)
        return -ENOMEM;
    int error = waiter->ops->import_fd(waiter->ctx, fd, NX_IMPORT_FOREIGN, &op->op.handle);
    if (error < 0) {
        nxi_free(op, sizeof(*op));
        return error;
    }
    op->done = watch_done;
    worker->watch.op = op;
    return 0;
}

void nxi_watch_arm(struct nxi_worker *worker)
{
    struct nxi_op *op = worker->watch.op;
    struct nx_completion completion;
    if (worker->watch.armed)
        return;
    op->op = (struct nx_op){.handle = op->op.handle, .code = NX_OP_POLL, .arg = NX_READABLE};
    worker->watch.armed = true;
    if (nxi_submit(worker, worker->runtime->waiter, op, &completion))
        worker->watch.armed = false; /* ready already: the other driver's own arm says so too */
}

void nxi_watch_close(struct nxi_worker *worker)
{
    struct nxi_op *op = worker->watch.op;
    if (!op)
        return;
    const struct nxi_driver *waiter = &worker->drivers[worker->runtime->waiter];
    struct nx_completion completion;
    if (worker->watch.armed)
        waiter->ops->cancel(waiter->ctx, &op->op);
    while (worker->watch.armed) /* ends: a cancelled op completes */
        nxi_poll_drivers(worker);
    op->op = (struct nx_op){.handle = op->op.handle, .code = NX_OP_CLOSE, .arg = NX_CLOSE_KEEP};
    worker->watch.armed = nxi_submit(worker, worker->runtime->waiter, op, &completion) == 0;
    while (worker->watch.armed)
        nxi_poll_drivers(worker);
    worker->watch.op = NULL;
    nxi_free(op, sizeof(*op));
}
