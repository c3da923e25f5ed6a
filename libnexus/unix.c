/* unix.c: streams connected to each other, and descriptors sent along with bytes. */
#include "os.h"
#include "transfer.h"
#include <unistd.h>

/* Both become streams, or are closed. */
static int adopt(const int fds[2], nx_stream **ret_one, nx_stream **ret_other)
{
    nx_stream *one;
    int error = nx_stream_from_fd(fds[0], &one);
    if (error < 0) {
        close(fds[0]);
        close(fds[1]);
        return error;
    }
    error = nx_stream_from_fd(fds[1], ret_other);
    if (error < 0) {
        nx_close(one);
        close(fds[1]);
        return error;
    }
    *ret_one = one;
    return 0;
}

int nx_pair(nx_stream **ret_one, nx_stream **ret_other)
{
    NXI_ENTRY(-ENOSYS);
    int fds[2];
    if (!nxi_in_task())
        return nxi_no_task();
    if (!ret_one || !ret_other)
        return -EINVAL;
    int error = nxi_os_socketpair(fds);
    return error < 0 ? error : adopt(fds, ret_one, ret_other);
}

int nx_pipe(nx_stream **ret_read, nx_stream **ret_write)
{
    NXI_ENTRY(-ENOSYS);
    int fds[2];
    if (!nxi_in_task())
        return nxi_no_task();
    if (!ret_read || !ret_write)
        return -EINVAL;
    int error = nxi_os_pipe(fds, false);
    return error < 0 ? error : adopt(fds, ret_read, ret_write);
}

/* Over anything but a Unix socket the kernel would send the bytes and drop the descriptors without a word. */
static int check_unix(const nx_stream *stream)
{
    const struct nxi_driver *driver = &stream->runtime->workers[0]->drivers[stream->driver];
    nx_addr addr;
    int error = driver->ops->name(driver->ctx, stream->handle, 0, &addr);
    if (error < 0)
        return error;
    return addr.family == NX_AF_UNIX ? 0 : -ENOTSUP;
}

static ssize_t run_message(nx_stream *stream, uint16_t code, struct nx_message *message, nx_time deadline)
{
    struct nx_op op = {.code = code, .data = message};
    int error = nxi_take_stash(stream, code == NX_OP_RECVMSG ? NXI_READ_SIDE : NXI_WRITE_SIDE);
    return error < 0 ? error : (ssize_t)nxi_stream_run(stream, &op, deadline, NULL);
}

/* Bytes that nx_read_until has left in the stream; their descriptors are gone. 0: there are none after all. */
static ssize_t recv_kept(nx_stream *stream, void *buf, size_t len)
{
    struct nxi_worker *worker = nxi_self();
    ssize_t result = nxi_task_cancelled(worker->current) ? -ECANCELED : nxi_kept_read(stream, buf, len);
    if (result != 0)
        nxi_charge(worker);
    return result;
}

ssize_t nx_stream_send_fds(nx_stream *stream, const void *buf, size_t len, const int *fds, size_t fd_count,
                           nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    int32_t copies[NX_FDS_MAX];
    int error = nxi_stream_check(stream, buf, len);
    if (error < 0)
        return error;
    if (len == 0 || fd_count > NX_FDS_MAX || (!fds && fd_count > 0))
        return -EINVAL;
    error = fd_count > 0 ? check_unix(stream) : 0;
    if (error < 0)
        return error;
    for (size_t i = 0; i < fd_count; i++)
        copies[i] = fds[i];
    struct iovec iov = {.iov_base = (void *)(uintptr_t)buf, .iov_len = len};
    struct nx_message message = {
        .iov = &iov, .iov_count = 1, .fds = fd_count > 0 ? copies : NULL, .fd_count = (uint32_t)fd_count};
    return run_message(stream, NX_OP_SENDMSG, &message, deadline);
}

ssize_t nx_stream_recv_fds(nx_stream *stream, void *buf, size_t len, int *ret_fds, size_t *inout_count,
                           nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    int32_t fds[NX_FDS_MAX];
    int error = nxi_stream_check(stream, buf, len);
    if (error < 0)
        return error;
    if (len == 0 || !inout_count || (!ret_fds && *inout_count > 0))
        return -EINVAL;
    if (nxi_stream_kept(stream)) {
        ssize_t kept = recv_kept(stream, buf, len);
        if (kept > 0)
            *inout_count = 0;
        if (kept != 0)
            return kept;
    }
    size_t room = *inout_count < NX_FDS_MAX ? *inout_count : NX_FDS_MAX;
    struct iovec iov = {.iov_base = buf, .iov_len = len};
    struct nx_message message = {.iov = &iov, .iov_count = 1, .fds = fds, .fd_count = (uint32_t)room};
    ssize_t result = run_message(stream, NX_OP_RECVMSG, &message, deadline);
    if (result < 0)
        return result;
    for (uint32_t i = 0; i < message.fd_count; i++)
        ret_fds[i] = fds[i];
    *inout_count = message.fd_count;
    return result;
}
