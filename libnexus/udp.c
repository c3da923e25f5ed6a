/*
 * udp.c: datagrams.
 *
 * A nx_udp is a nx_stream by another name: who owns it, its operations in flight, cancel, deadline and close are
 * stream.c's. Only what is moved differs: whole messages with an address each, by NX_OP_RECVMSG and NX_OP_SENDMSG. A
 * datagram is taken by the operation that completes or by none, so that none is lost by a deadline or a cancel.
 *
 * Of several by one call the first is waited for and the rest tried; an error that ends them is the next call's.
 */
#include "transfer.h"

#define UNIX_RETRY_MS 2 /* to a Unix socket whose queue is full: nothing tells when it is not */

static nx_stream *stream_of(const nx_udp *udp)
{
    return (nx_stream *)(uintptr_t)udp;
}

static int check(const nx_udp *udp, const void *buffer, size_t len)
{
    return nxi_stream_check(stream_of(udp), buffer, len);
}

/* ---- making ---- */

static int set_options(const struct nxi_driver *driver, nx_handle handle, const nx_addr *addr,
                       const nx_udp_options *options)
{
    const struct {
        bool wanted;
        uint32_t option;
        int64_t value;
    } all[] = {
        {options->reuse_port, NX_OPTION_REUSE_PORT, 1},
        {options->broadcast, NX_OPTION_BROADCAST, 1},
        {addr->family == NX_AF_INET6, NX_OPTION_V6_ONLY, options->v6_only},
        {options->no_multicast_loop, NX_OPTION_MULTICAST_LOOP, 0},
        {options->ttl != 0, NX_OPTION_TTL, options->ttl},
        {options->multicast_scope != 0, NX_OPTION_MULTICAST_SCOPE, options->multicast_scope},
        {options->receive_buffer != 0, NX_OPTION_RECEIVE_BUFFER, options->receive_buffer},
    };
    int error = 0;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]) && error == 0; i++)
        if (all[i].wanted)
            error = nxi_set_option(driver, handle, all[i].option, all[i].value);
    return error;
}

int nx_udp_bind(const char *addr, const nx_udp_options *given, nx_udp **ret_udp)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    nx_udp_options options;
    nx_stream *stream;
    nx_addr where;
    nx_handle handle;
    if (!worker)
        return nxi_no_task();
    if (!ret_udp || nxi_options_copy(&options, sizeof(options), given) < 0)
        return -EINVAL;
    int error = nx_addr_parse(addr, &where);
    if (error < 0)
        return error;
    const struct nxi_driver *driver = &worker->drivers[0];
    if (!NXI_HAS(driver->ops, socket) || !NXI_HAS(driver->ops, bind))
        return -ENOTSUP;
    error = driver->ops->socket(driver->ctx, where.family, NX_SOCK_DGRAM, &handle);
    if (error < 0)
        return error;
    error = set_options(driver, handle, &where, &options);
    if (error == 0)
        error = driver->ops->bind(driver->ctx, handle, &where);
    if (error == 0)
        error = nxi_stream_new(worker, 0, handle, &stream);
    if (error < 0) {
        nxi_handle_close(worker, 0, handle);
        return error;
    }
    nxi_stream_own(stream, worker);
    *ret_udp = (nx_udp *)stream;
    return 0;
}

/* What ends at once, also in a cancelled task. */
static int run_now(nx_udp *udp, struct nx_op *op)
{
    nx_stream *stream = stream_of(udp);
    bool held = false;
    nxi_stream_hold(stream, &held);
    int result = (int)nxi_stream_try(stream, op);
    nxi_charge(nxi_self());
    nxi_stream_release(stream, held);
    return result;
}

int nx_udp_connect(nx_udp *udp, const nx_addr *peer)
{
    NXI_ENTRY(-ENOSYS);
    int error = check(udp, NULL, 0);
    if (error < 0)
        return error;
    if (!peer)
        return -EINVAL;
    struct nx_op op = {.code = NX_OP_CONNECT, .data = (void *)(uintptr_t)peer};
    return run_now(udp, &op);
}

static int change_membership(nx_udp *udp, const nx_addr *group, uint32_t scope, bool join)
{
    int error = check(udp, NULL, 0);
    if (error < 0)
        return error;
    if (!group)
        return -EINVAL;
    struct nx_op op = {
        .code = NX_OP_MEMBERSHIP, .data = (void *)(uintptr_t)group, .offset = scope, .arg = join ? 1 : 0};
    return run_now(udp, &op);
}

int nx_udp_join(nx_udp *udp, const nx_addr *group, uint32_t scope)
{
    NXI_ENTRY(-ENOSYS);
    return change_membership(udp, group, scope, true);
}

int nx_udp_leave(nx_udp *udp, const nx_addr *group, uint32_t scope)
{
    NXI_ENTRY(-ENOSYS);
    return change_membership(udp, group, scope, false);
}

int nx_udp_addr(const nx_udp *udp, nx_addr *ret_addr)
{
    NXI_ENTRY(-ENOSYS);
    const nx_stream *stream = stream_of(udp);
    if (nxi_forked())
        return -NX_EFORKED;
    if (!udp || !ret_addr)
        return -EINVAL;
    const struct nxi_driver *driver = &stream->runtime->workers[0]->drivers[stream->driver];
    return driver->ops->name(driver->ctx, stream->handle, 0, ret_addr); /* on any context, from any thread */
}

int nx_udp_fd(const nx_udp *udp)
{
    NXI_ENTRY(-ENOSYS);
    return nx_stream_fd(stream_of(udp));
}

int nx_udp_close(nx_udp *udp)
{
    NXI_ENTRY(-ENOSYS);
    if (!udp)
        return 0;
    int error = check(udp, NULL, 0);
    if (error == 0)
        nxi_stream_close(nxi_in_task(), stream_of(udp));
    return error;
}

/* ---- moving ---- */

static struct nx_message message_of(struct iovec *iov, nx_addr *addr)
{
    return (struct nx_message){.iov = iov, .iov_count = 1, .addr = addr};
}

/* The first of a call, or its only one. The stream is held. */
static int64_t run_first(nx_stream *stream, struct nx_op *op, nx_time deadline, bool *inout_held)
{
    nxi_stream_hold(stream, inout_held);
    for (;;) { /* ends at the deadline, or when the receiver has read one */
        struct nx_op again = *op;
        int64_t result = nxi_stream_run(stream, &again, deadline, inout_held);
        if (result != -EAGAIN || deadline == NX_POLL)
            return result;
        nx_time then = nx_after_ms(UNIX_RETRY_MS);
        int error = nx_sleep_until(then < deadline ? then : deadline);
        if (error < 0)
            return error;
        if (then >= deadline)
            return -ETIMEDOUT;
    }
}

static ssize_t move_one(nx_stream *stream, enum nxi_direction direction, struct nx_message *message, nx_time deadline)
{
    struct nx_op op = {.code = direction == NXI_READ_SIDE ? NX_OP_RECVMSG : NX_OP_SENDMSG, .data = message};
    bool held = false;
    int64_t result = nxi_take_stash(stream, direction);
    if (result == 0) {
        result = run_first(stream, &op, deadline, &held);
        nxi_charge(nxi_self());
    }
    nxi_stream_release(stream, held);
    return (ssize_t)result;
}

ssize_t nx_udp_send(nx_udp *udp, const void *buf, size_t len, const nx_addr *to, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    int error = check(udp, buf, len);
    if (error < 0)
        return error;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
    struct nx_message message = message_of(&iov, (nx_addr *)(uintptr_t)to);
    return move_one(stream_of(udp), NXI_WRITE_SIDE, &message, deadline);
}

ssize_t nx_udp_recv(nx_udp *udp, void *buf, size_t len, nx_addr *ret_from, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    int error = check(udp, buf, len);
    if (error < 0)
        return error;
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    struct nx_message message = message_of(&iov, ret_from);
    return move_one(stream_of(udp), NXI_READ_SIDE, &message, deadline);
}

/* The i-th of several. */
static int64_t move_next(nx_stream *stream, enum nxi_direction direction, nx_datagram *datagram, bool first,
                         nx_time deadline, bool *inout_held)
{
    const bool reads = direction == NXI_READ_SIDE;
    struct iovec iov = {.iov_base = datagram->data, .iov_len = datagram->len};
    struct nx_message message = message_of(&iov, reads || datagram->addr.len > 0 ? &datagram->addr : NULL);
    struct nx_op op = {.code = reads ? NX_OP_RECVMSG : NX_OP_SENDMSG, .data = &message};
    int64_t result = first ? run_first(stream, &op, deadline, inout_held) : nxi_stream_try(stream, &op);
    if (result >= 0 && reads)
        datagram->length = (size_t)result;
    nxi_charge(nxi_self());
    return result;
}

static int move_many(nx_udp *udp, enum nxi_direction direction, nx_datagram *datagrams, size_t count, nx_time deadline)
{
    nx_stream *stream = stream_of(udp);
    bool held = false;
    int error = check(udp, datagrams, count);
    if (error < 0)
        return error;
    for (size_t i = 0; i < count; i++)
        if (!datagrams[i].data && datagrams[i].len > 0)
            return -EINVAL;
    int64_t result = count > INT32_MAX ? -EINVAL : nxi_take_stash(stream, direction);
    size_t moved = 0;
    while (result >= 0 && moved < count) {
        result = move_next(stream, direction, &datagrams[moved], moved == 0, deadline, &held);
        moved += result >= 0;
    }
    if (moved > 0 && result < 0 && result != -EAGAIN && result != -EBADF)
        atomic_store_explicit(&stream->stash[direction], (int32_t)result, memory_order_relaxed);
    nxi_stream_release(stream, held);
    return moved > 0 ? (int)moved : (int)result;
}

int nx_udp_send_many(nx_udp *udp, const nx_datagram *datagrams, size_t count, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    return move_many(udp, NXI_WRITE_SIDE, (nx_datagram *)(uintptr_t)datagrams, count, deadline);
}

int nx_udp_recv_many(nx_udp *udp, nx_datagram *datagrams, size_t count, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    return move_many(udp, NXI_READ_SIDE, datagrams, count, deadline);
}
