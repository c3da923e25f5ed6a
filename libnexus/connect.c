/* connect.c: connecting a stream, and what it shares with listening. */
#include "core.h"
#include <nexus/net.h>
#include <string.h>

#define UNIX_RETRY_MS 2

int nxi_socket(const struct nxi_driver *driver, const nx_addr *addr, nx_handle *ret_handle)
{
    if (!NXI_HAS(driver->ops, socket) || !NXI_HAS(driver->ops, bind) || !NXI_HAS(driver->ops, listen))
        return -ENOTSUP;
    return driver->ops->socket(driver->ctx, addr->family, NX_SOCK_STREAM, ret_handle);
}

int nxi_set_option(const struct nxi_driver *driver, nx_handle handle, uint32_t option, int64_t value)
{
    return NXI_HAS(driver->ops, option) ? driver->ops->option(driver->ctx, handle, option, value) : 0;
}

/* Connects the handle; the deadline is the earlier of the two. */
static int connect_handle(struct nxi_worker *worker, nx_handle handle, const nx_addr *where,
                          const nx_connect_options *options, nx_time deadline)
{
    const struct nxi_driver *driver = &worker->drivers[0];
    nx_addr local;
    int error = 0;
    if (where->family != NX_AF_UNIX)
        error = nxi_set_option(driver, handle, NX_OPTION_NODELAY, 1);
    if (error == 0 && options->local)
        error = nx_addr_parse(options->local, &local);
    if (error == 0 && options->local)
        error = driver->ops->bind(driver->ctx, handle, &local);
    if (error < 0)
        return error;
    if (options->timeout_ns > 0) {
        nx_time limit = nx_after_ns(options->timeout_ns);
        deadline = limit < deadline ? limit : deadline;
    }
    struct nx_op op = {.handle = handle, .code = NX_OP_CONNECT, .data = (void *)(uintptr_t)where};
    for (;;) { /* ends at the deadline, or when the listener has taken one of those before us */
        error = (int)nxi_op_run(worker, 0, &op, deadline, true);
        if (error != -EAGAIN || deadline == NX_POLL)
            return error;
        /* A Unix listener's backlog is full: connect(2) says so at once, and nothing tells when there is room. */
        nx_time again = nx_after_ms(UNIX_RETRY_MS);
        error = nx_sleep_until(again < deadline ? again : deadline);
        if (error < 0)
            return error;
        if (again >= deadline)
            return -ETIMEDOUT;
    }
}

int nx_connect(const char *addr, const nx_connect_options *given, nx_stream **ret_stream, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    nx_connect_options options;
    nx_addr where;
    nx_handle handle;
    int error;
    if (!worker)
        return nxi_no_task();
    if (!ret_stream || nxi_options_copy(&options, sizeof(options), given) < 0)
        return -EINVAL;
    error = nx_addr_parse(addr, &where);
    if (error < 0)
        return error;
    if (nxi_task_cancelled(worker->current)) {
        nxi_charge(worker);
        return -ECANCELED;
    }
    error = nxi_socket(&worker->drivers[0], &where, &handle);
    if (error < 0)
        return error;
    worker->current->pins++; /* until the handle has its stream, this worker is the only one that may use it */
    error = connect_handle(worker, handle, &where, &options, deadline);
    if (error == 0)
        error = nxi_stream_new(worker, 0, handle, ret_stream);
    if (error == 0)
        nxi_stream_own(*ret_stream, worker);
    else
        nxi_handle_close(worker, 0, handle);
    worker->current->pins--;
    return error;
}
