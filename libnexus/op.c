/*
 * op.c: operations that belong to no stream: submitted, and waited for by the current task.
 *
 * The op lives on the waiting task's stack. That is safe because the task does not return before the driver has
 * reported the op's terminal completion: a deadline or a cancel only asks the driver, and what the completion says is
 * what happened.
 */
#include "core.h"

#define SUBMIT_TRIES 64 /* each one reaps completions, which makes room; a driver that still has none is broken */

int nxi_submit_once(struct nxi_worker *worker, uint32_t index, struct nxi_op *op, struct nx_completion *ret_inline)
{
    const struct nxi_driver *driver = &worker->drivers[index];
    uint32_t code = op->op.code;
    int result = driver->ops->submit(driver->ctx, &op->op, ret_inline);
    if (result == -EAGAIN)
        return result;
    if (NXI_LIKELY(code < NX_METRICS_OPS))
        nxi_count(&worker->counters.ops[code], 1);
    if (result == 0) {
        worker->in_flight++;
        worker->in_second += index;
        return 0;
    }
    nxi_count(&worker->counters.ops_inline, 1);
    if (result < 0)
        *ret_inline = (struct nx_completion){.op = &op->op, .result = result};
    return 1;
}

int nxi_submit(struct nxi_worker *worker, uint32_t index, struct nxi_op *op, struct nx_completion *ret_inline)
{
    int result = nxi_submit_once(worker, index, op, ret_inline);
    for (int i = 0; i < SUBMIT_TRIES && result == -EAGAIN && !worker->dispatching; i++) {
        nxi_poll_drivers(worker);
        result = nxi_submit_once(worker, index, op, ret_inline);
    }
    if (result != -EAGAIN || worker->dispatching) /* polling would overwrite what is being dispatched */
        return result;
    *ret_inline = (struct nx_completion){.op = &op->op, .result = -ENOBUFS};
    return 1;
}

struct task_op {
    struct nxi_op base;
    struct nxi_waiter waiter;
};

static void task_op_done(struct nxi_worker *worker, struct nxi_op *base, const struct nx_completion *completion)
{
    struct task_op *op = nxi_container(base, struct task_op, base);
    (void)worker;
    op->waiter.result = completion->result;
    nxi_waiter_wake(&op->waiter, NX_REASON_IO);
}

int64_t nxi_op_run(struct nxi_worker *worker, uint32_t driver, const struct nx_op *what, nx_time deadline,
                   bool heed_cancel)
{
    struct task_op op = {.base = {.op = *what, .done = task_op_done}};
    struct nx_completion completion;
    if (deadline == NX_POLL)
        op.base.op.flags |= NX_OP_NOWAIT;
    if (nxi_submit(worker, driver, &op.base, &completion)) {
        nxi_charge(worker);
        return completion.result;
    }
    nxi_waiter_init(&op.waiter, worker);
    nxi_waiter_note_op(&op.waiter, &op.base.op);
    int reason = nxi_waiter_wait(&op.waiter, deadline, heed_cancel);
    if (reason < 0) {
        worker->drivers[driver].ops->cancel(worker->drivers[driver].ctx, &op.base.op);
        nxi_waiter_wait(&op.waiter, NX_FOREVER, false);
    }
    if (reason == 0 || op.waiter.result != -ECANCELED)
        return op.waiter.result;
    /* A deadline in the past means to try once; the driver may not have looked yet. A connect can't be tried. */
    if (reason != -ETIMEDOUT || what->code != NX_OP_POLL)
        return reason;
    int64_t result = nxi_op_run(worker, driver, what, NX_POLL, false);
    return result == -EAGAIN ? -ETIMEDOUT : result;
}
