/*
 * iouring/inline.c: ops by plain system calls that do not wait.
 *
 * Sockets have MSG_DONTWAIT, everything newer RWF_NOWAIT. What is left are devices such as terminals: reading polls
 * first, which is exact unless another process reads the same terminal in between; writing can't be asked whether it
 * would block and so answers -EAGAIN, except on a descriptor that is O_NONBLOCK itself. O_NONBLOCK is never set on a
 * descriptor that was handed in, other than a listener: it would change it for every process that shares it (a
 * shell's terminal).
 *
 * Writing to a pipe nobody reads raises SIGPIPE. Kernels with RWF_NOSIGNAL don't; on older ones the signal is blocked
 * in this thread for the write and eaten if it came from it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* accept4, preadv2 */
#endif
#include "inline.h"
#include "message.h"
#include "uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define IO_MAX 0x7ffff000u /* what Linux moves at most in one call */

static int64_t result(ssize_t r)
{
    return r < 0 ? -errno : r;
}

uint32_t nxi_inline_kind(struct nx_fd_slot *handle)
{
    struct stat stat;
    uint32_t kind = nxi_kind_load(handle);
    if (kind & NXI_KIND_KNOWN)
        return kind;
    kind = NXI_KIND_KNOWN;
    if (handle->flags & NX_FD_SOCKET) {
        int domain = AF_UNSPEC;
        socklen_t len = sizeof(domain);
        getsockopt(handle->fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
        kind |= domain == AF_INET || domain == AF_INET6 ? NXI_KIND_INTERNET : 0;
    }
    if (!(handle->flags & NX_FD_SOCKET) && fstat(handle->fd, &stat) == 0)
        kind |= S_ISFIFO(stat.st_mode) ? NXI_KIND_FIFO : S_ISREG(stat.st_mode) ? NXI_KIND_REGULAR : 0;
    return kind | (uint32_t)atomic_fetch_or_explicit((_Atomic uintptr_t *)&handle->user[0], kind, memory_order_relaxed);
}

int nxi_inline_nonblock(struct nx_fd_slot *handle)
{
    if (nxi_kind_load(handle) & NXI_KIND_NONBLOCK)
        return 0;
    int flags = fcntl(handle->fd, F_GETFL);
    if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(handle->fd, F_SETFL, flags | O_NONBLOCK) < 0))
        return -errno;
    atomic_fetch_or_explicit((_Atomic uintptr_t *)&handle->user[0], NXI_KIND_NONBLOCK, memory_order_relaxed);
    return 0;
}

/* ---- events ---- */

int64_t nxi_inline_events(int events)
{
    if (events & POLLNVAL)
        return -EBADF;
    if (events & (POLLHUP | POLLERR))
        return NX_READABLE | NX_WRITABLE;
    return (events & POLLIN ? NX_READABLE : 0) | (events & POLLOUT ? NX_WRITABLE : 0);
}

short nxi_inline_poll_mask(uint64_t arg)
{
    return (short)((arg & NX_READABLE ? POLLIN : 0) | (arg & NX_WRITABLE ? POLLOUT : 0));
}

static int64_t poll_now(int fd, short events)
{
    struct pollfd pollfd = {.fd = fd, .events = events};
    int r = poll(&pollfd, 1, 0);
    if (r < 0)
        return errno == EINTR ? -EAGAIN : -errno;
    return r == 0 ? -EAGAIN : nxi_inline_events(pollfd.revents);
}

/* ---- descriptors that are no sockets ---- */

/* The op's memory as an array; one is the room for an array of one. */
static struct iovec *as_iovec(const struct nx_op *op, struct iovec *one, int *ret_count)
{
    if (op->code == NX_OP_WRITEV) {
        *ret_count = (int)op->len;
        return op->data;
    }
    *one = (struct iovec){.iov_base = op->data, .iov_len = op->len < IO_MAX ? op->len : IO_MAX};
    *ret_count = 1;
    return one;
}

/* Only for a descriptor that knows no RWF_NOWAIT. */
static int64_t read_device(const struct nx_op *op, int fd, bool regular)
{
    int64_t r = regular ? 0 : poll_now(fd, POLLIN);
    return r < 0 ? r : result(read(fd, op->data, op->len < IO_MAX ? op->len : IO_MAX));
}

static int64_t write_device(const struct nx_op *op, int fd, uint32_t kind)
{
    struct iovec one, *iov;
    int count;

    iov = as_iovec(op, &one, &count);
    int flags = kind & NXI_KIND_REGULAR ? O_NONBLOCK : fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    if (flags & O_NONBLOCK)
        return result(writev(fd, iov, count));
    if (!(kind & NXI_KIND_FIFO))
        return -EAGAIN;
    /* A pipe that polls writable takes PIPE_BUF bytes at once. */
    int64_t r = poll_now(fd, POLLOUT);
    if (r < 0)
        return r;
    while (count > 1 && iov->iov_len == 0)
        iov++, count--;
    return count < 1 ? 0 : result(write(fd, iov->iov_base, iov->iov_len < PIPE_BUF ? iov->iov_len : PIPE_BUF));
}

static int64_t read_now(const struct nx_op *op, struct nx_fd_slot *handle)
{
    struct iovec one, *iov;
    int count;

    iov = as_iovec(op, &one, &count);
    int64_t r = result(preadv2(handle->fd, iov, count, -1, RWF_NOWAIT));
    if (r == -EOPNOTSUPP)
        r = read_device(op, handle->fd, nxi_inline_kind(handle) & NXI_KIND_REGULAR);
    return r == -EINTR ? -EAGAIN : r;
}

static int64_t write_now(const struct nx_op *op, int fd, uint32_t kind, int rw_flags)
{
    struct iovec one, *iov;
    int count;

    iov = as_iovec(op, &one, &count);
    int64_t r = result(pwritev2(fd, iov, count, -1, RWF_NOWAIT | rw_flags));
    if (r == -EOPNOTSUPP)
        r = write_device(op, fd, kind);
    return r == -EINTR ? -EAGAIN : r;
}

int64_t nxi_inline_write_fifo(const struct nx_op *op, int fd, bool nosignal)
{
    sigset_t pipe_set, before, pending;
    const struct timespec at_once = {0, 0};

    if (nosignal)
        return write_now(op, fd, NXI_KIND_FIFO, NX_URING_RWF_NOSIGNAL);
    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    /* One that is pending already is the program's, which blocks it and wants to see it. */
    bool foreign = sigpending(&pending) == 0 && sigismember(&pending, SIGPIPE) == 1;
    int r = pthread_sigmask(SIG_BLOCK, &pipe_set, &before);
    if (r != 0)
        return -r;
    int64_t n = write_now(op, fd, NXI_KIND_FIFO, 0);
    if (n == -EPIPE && !foreign)
        sigtimedwait(&pipe_set, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return n;
}

/* ---- sockets ---- */

static int64_t socket_now(const struct nx_op *op, int fd)
{
    if (op->code == NX_OP_READ)
        return result(recv(fd, op->data, op->len, MSG_DONTWAIT));
    if (op->code == NX_OP_WRITE)
        return result(send(fd, op->data, op->len, MSG_DONTWAIT | MSG_NOSIGNAL));
    struct msghdr message = {.msg_iov = op->data, .msg_iovlen = op->len};
    return result(sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL));
}

static int64_t accept_now(struct nx_fd_slot *handle)
{
    int r = nxi_inline_nonblock(handle);
    return r < 0 ? r : result(accept4(handle->fd, NULL, NULL, SOCK_CLOEXEC));
}

/*
 * Only a Unix socket connects at once, and only its connect can be tried without leaving a handshake behind that nobody
 * waits for. O_NONBLOCK for the one call is safe: a socket that isn't connected has no other op it could disturb.
 */
static int64_t connect_now(const struct nx_op *op, int fd)
{
    struct sockaddr_storage address;
    int len = nx_fds_to_sockaddr(op->data, &address);
    if (len < 0)
        return len;
    if (address.ss_family != AF_UNIX)
        return -EAGAIN;
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0))
        return -errno;
    int64_t r = result(connect(fd, (struct sockaddr *)&address, (socklen_t)len));
    if (!(flags & O_NONBLOCK))
        fcntl(fd, F_SETFL, flags);
    return r;
}

int64_t nxi_inline_connect(const struct nx_op *op, int fd)
{
    struct sockaddr_storage address;
    int len = nx_fds_to_sockaddr(op->data, &address);
    return len < 0 ? len : result(connect(fd, (struct sockaddr *)&address, (socklen_t)len));
}

int64_t nxi_inline_shutdown(const struct nx_op *op, int fd)
{
    _Static_assert(NX_SHUT_READ == SHUT_RD && NX_SHUT_WRITE == SHUT_WR && NX_SHUT_BOTH == SHUT_RDWR, "the same");
    return op->arg > NX_SHUT_BOTH ? -EINVAL : result(shutdown(fd, (int)op->arg));
}

int nxi_inline_socket_error(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0 ? -errno : -error;
}

int64_t nxi_inline_try(const struct nx_op *op, struct nx_fd_slot *handle, bool nosignal)
{
    switch (op->code) {
    case NX_OP_ACCEPT:
        return accept_now(handle);
    case NX_OP_CONNECT:
        return connect_now(op, handle->fd);
    case NX_OP_POLL:
        return poll_now(handle->fd, nxi_inline_poll_mask(op->arg));
    case NX_OP_READ:
        return handle->flags & NX_FD_SOCKET ? socket_now(op, handle->fd) : read_now(op, handle);
    case NX_OP_RECVMSG:
    case NX_OP_SENDMSG:
        return nxi_uring_message_now(op, handle);
    case NX_OP_WRITE:
    case NX_OP_WRITEV:
        if (handle->flags & NX_FD_SOCKET)
            return socket_now(op, handle->fd);
        if (nxi_inline_kind(handle) & NXI_KIND_FIFO)
            return nxi_inline_write_fifo(op, handle->fd, nosignal);
        return write_now(op, handle->fd, nxi_inline_kind(handle), 0);
    default:
        return -ENOTSUP;
    }
}
