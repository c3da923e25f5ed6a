/* handle.c: driver handles that are no stream: foreign descriptors waited for, and handles to be closed unused. */
#include "core.h"
#include <nexus/net.h>

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
    orphan_submit(worker, &orphan->node);
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
    const struct nxi_driver *driver = &worker->drivers[0];
    nx_handle handle;
    if (!NXI_HAS(driver->ops, import_fd))
        return -ENOTSUP;
    worker->current->pins++; /* the handle is bound to this context until it is dropped */
    int error = driver->ops->import_fd(driver->ctx, fd, NX_IMPORT_FOREIGN, &handle);
    if (error == 0) {
        struct nx_op poll = {.handle = handle, .code = NX_OP_POLL, .arg = events};
        struct nx_op drop = {.handle = handle, .code = NX_OP_CLOSE, .arg = NX_CLOSE_KEEP};
        error = (int)nxi_op_run(worker, 0, &poll, deadline, true);
        nxi_op_run(worker, 0, &drop, NX_FOREVER, false);
    }
    nxi_self()->current->pins--;
    return error;
}
