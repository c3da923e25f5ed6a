/*
 * readiness/calls.c: the system calls of ops, and what their results say about readiness.
 *
 * A short transfer on a stream means that the kernel has no more, so that the next call would be a wasted one: the
 * bit is cleared at once and the next edge sets it. That holds for TCP and for Unix streams, and needs care in these
 * places:
 *  - hang-up, error: the report came with the last data and no edge follows; SLOT_HUP keeps the bit set;
 *  - TCP and Unix urgent data: recv stops short at the mark; pollers report it as NX_READY_HUP;
 *  - Unix: recv stops short after a message with descriptors or, with SO_PASSCRED, between writers. recvmsg without
 *    room for control data says so by MSG_CTRUNC.
 * It does not hold for packet pipes, terminals (a line at a time), datagrams and sockets of unknown kind: they pay a
 * call that gives EAGAIN.
 *
 * Nothing raises SIGPIPE on sockets (MSG_NOSIGNAL). On other descriptors the signal is directed at the calling
 * thread, which the core has block it; write(2) then gives EPIPE.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* POLLRDHUP */
#endif
#include "adapter.h"
#include "message.h"
#include "quick.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "os.h" /* behind <poll.h> */

/* Connections in a row that failed before they were accepted, which are passed over within one op. */
#define ACCEPT_RETRIES 64

static int64_t blocked(struct nx_ctx *ctx, struct nx_fd_slot *slot, uintptr_t bit)
{
    readiness_count(&ctx->stats.again, 1);
    slot->user[SLOT_STATE] |= bit;
    return -EAGAIN;
}

static int64_t failed(struct nx_ctx *ctx, struct nx_fd_slot *slot, uintptr_t bit)
{
    return errno == EAGAIN || errno == EWOULDBLOCK ? blocked(ctx, slot, bit) : -errno;
}

static ssize_t recv_unix(int fd, void *data, size_t len, bool *ret_cut)
{
    struct iovec iov = {.iov_base = data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
    ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT);
    *ret_cut = msg.msg_flags & MSG_CTRUNC;
    return n;
}

/* cut: the call stopped short of what is there for a reason of its own. */
static int64_t got(struct nx_ctx *ctx, struct nx_fd_slot *slot, ssize_t n, size_t wanted, bool cut)
{
    if (n < 0)
        return failed(ctx, slot, SLOT_BLOCKED_IN);
    if (n > 0 && (size_t)n < wanted && !cut && OS_TELLS_URGENT &&
        (slot->user[SLOT_STATE] & (SLOT_STREAM | SLOT_HUP)) == SLOT_STREAM)
        slot->user[SLOT_STATE] |= SLOT_BLOCKED_IN;
    return n;
}

/* -errno as the calls that are libc's tell it. */
static ssize_t as_libc(ssize_t n)
{
    if (n >= 0)
        return n;
    errno = (int)-n;
    return -1;
}

static int64_t try_read(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op)
{
    bool cut = false;
    ssize_t n;
    do { /* ends: a call that doesn't sleep is interrupted only by chance */
        readiness_count(&ctx->stats.calls, 1);
        if (slot->user[SLOT_STATE] & SLOT_UNIX)
            n = recv_unix(slot->fd, op->data, op->len, &cut);
        else if (slot->flags & NX_FD_SOCKET)
            n = as_libc(quick_recv(slot->fd, op->data, op->len));
        else
            n = read(slot->fd, op->data, op->len);
    } while (n < 0 && errno == EINTR);
    return got(ctx, slot, n, op->len, cut);
}

static int64_t wrote(struct nx_ctx *ctx, struct nx_fd_slot *slot, ssize_t n, size_t wanted)
{
    if (n < 0)
        return failed(ctx, slot, SLOT_BLOCKED_OUT);
    if ((size_t)n < wanted && (slot->user[SLOT_STATE] & SLOT_STREAM))
        slot->user[SLOT_STATE] |= SLOT_BLOCKED_OUT;
    return n;
}

static int64_t try_write(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op)
{
    ssize_t n;
    do { /* ends as in try_read */
        readiness_count(&ctx->stats.calls, 1);
        if (slot->flags & NX_FD_SOCKET)
            n = as_libc(quick_send(slot->fd, op->data, op->len));
        else
            n = write(slot->fd, op->data, op->len);
    } while (n < 0 && errno == EINTR);
    return wrote(ctx, slot, n, op->len);
}

static size_t size_of(const struct iovec *iov, uint32_t count)
{
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++)
        size += iov[i].iov_len;
    return size;
}

static int64_t try_writev(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op)
{
    struct msghdr msg = {.msg_iov = op->data, .msg_iovlen = op->len};
    ssize_t n;

    if (op->len > NX_IOV_MAX)
        return -EINVAL;
    do { /* ends as in try_read */
        readiness_count(&ctx->stats.calls, 1);
        if (slot->flags & NX_FD_SOCKET)
            n = sendmsg(slot->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
        else
            n = writev(slot->fd, op->data, (int)op->len);
    } while (n < 0 && errno == EINTR);
    return wrote(ctx, slot, n, size_of(op->data, op->len));
}

static int64_t try_recvmsg(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op)
{
    const struct nx_message *message = op->data;
    struct nxi_message_room room;
    ssize_t n;
    int r = nxi_message_begin(op, &room);
    if (r < 0)
        return r;
    do { /* ends as in try_read */
        readiness_count(&ctx->stats.calls, 1);
        n = recvmsg(slot->fd, &room.header, MSG_DONTWAIT | nxi_message_flags(op, slot));
    } while (n < 0 && errno == EINTR);
    /* Descriptors, taken or dropped, stop it short of what is there. */
    bool cut = (room.header.msg_flags & MSG_CTRUNC) || (message->fds && room.header.msg_controllen > 0);
    int64_t result = got(ctx, slot, n, size_of(message->iov, message->iov_count), cut);
    if (n >= 0)
        nxi_message_received(op, &room);
    return result;
}

/* An unconnected Unix datagram socket is writable while the receiver's queue is full: no event tells of its room. */
static bool full_for_good(struct nx_ctx *ctx, struct nx_fd_slot *slot, const struct nx_message *message)
{
    int error = errno;
    bool full = message->addr && message->addr->family == NX_AF_UNIX && (error == EAGAIN || error == EWOULDBLOCK) &&
                nxi_readiness_level(ctx, slot, NX_WRITABLE) > 0;
    errno = error;
    return full;
}

static int64_t try_sendmsg(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op)
{
    const struct nx_message *message = op->data;
    struct nxi_message_room room;
    ssize_t n;
    int r = nxi_message_begin(op, &room);
    if (r < 0)
        return r;
    do { /* ends as in try_read */
        readiness_count(&ctx->stats.calls, 1);
        n = sendmsg(slot->fd, &room.header, MSG_DONTWAIT | nxi_message_flags(op, slot));
    } while (n < 0 && errno == EINTR);
    if (n < 0 && full_for_good(ctx, slot, message))
        return -EAGAIN;
    return wrote(ctx, slot, n, size_of(message->iov, message->iov_count));
}

/* accept(2) passes on what befell the connection before it was accepted; the next one may be well. */
static bool peer_gave_up(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
#ifdef ENONET
    case ENONET:
#endif
    case EHOSTUNREACH:
    case ENETUNREACH:
        return true;
    default:
        return false;
    }
}

static int64_t try_accept(struct nx_ctx *ctx, struct nx_fd_slot *slot)
{
    nx_handle handle;
    int fd, tries = 0;
    do {
        readiness_count(&ctx->stats.calls, 1);
        fd = os_accept(slot->fd);
    } while (fd < 0 && peer_gave_up(errno) && ++tries < ACCEPT_RETRIES);
    if (fd < 0)
        return failed(ctx, slot, SLOT_BLOCKED_IN);
    int r = nx_fds_add(ctx->table, fd, NX_FD_SOCKET, &handle);
    if (r < 0) {
        close(fd);
        return r;
    }
    fds_get(ctx->table, handle)->user[SLOT_STATE] = slot->user[SLOT_STATE] & SLOT_KIND;
    return (int64_t)handle;
}

int nxi_readiness_connect(struct nx_ctx *ctx, struct nx_fd_slot *slot, const struct nx_addr *addr)
{
    struct sockaddr_storage sa;
    int len = nx_fds_to_sockaddr(addr, &sa);
    if (len < 0)
        return len;
    readiness_count(&ctx->stats.calls, 1);
    if (connect(slot->fd, (struct sockaddr *)&sa, (socklen_t)len) == 0)
        return 0;
    return errno == EINTR ? -EINPROGRESS : -errno; /* interrupted, it goes on by itself */
}

/* Whether the peer of a socket that has just been connected is gone already. A hang-up seen until now may be that, told
 * by the event that told of the connection, and no edge will tell it again; or be the unconnected socket's own. */
static bool has_ended(int fd)
{
    struct pollfd look = {.fd = fd, .events = POLLPRI | POLLRDHUP};
    return POLLRDHUP == 0 || poll(&look, 1, 0) != 0; /* without it a half-close can't be seen: a read finds out */
}

static int64_t try_connected(struct nx_ctx *ctx, struct nx_fd_slot *slot)
{
    int error = 0;
    socklen_t len = sizeof(error);
    /* An event may be older than the connect: only a socket that is writable by now has an answer in SO_ERROR. */
    int ready = nxi_readiness_level(ctx, slot, NX_WRITABLE);
    if (ready < 0)
        return ready;
    if (!(ready & (int)NX_WRITABLE))
        return blocked(ctx, slot, SLOT_BLOCKED_OUT);
    if (getsockopt(slot->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        return -errno;
    if (!error)
        slot->user[SLOT_STATE] &= ~(uintptr_t)(SLOT_BLOCKED_OUT | (has_ended(slot->fd) ? 0 : SLOT_HUP));
    return -error;
}

static int64_t try_any(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op)
{
    switch (op->code) {
    case NX_OP_READ:
        return try_read(ctx, slot, op);
    case NX_OP_WRITE:
        return try_write(ctx, slot, op);
    case NX_OP_WRITEV:
        return try_writev(ctx, slot, op);
    case NX_OP_RECVMSG:
        return try_recvmsg(ctx, slot, op);
    case NX_OP_SENDMSG:
        return try_sendmsg(ctx, slot, op);
    case NX_OP_ACCEPT:
        return try_accept(ctx, slot);
    case NX_OP_CONNECT:
        return try_connected(ctx, slot);
    default:
        return -ENOTSUP;
    }
}

/* The error that the poller has taken off the socket, where the call would have told it. */
static int64_t tell_error(struct nx_fd_slot *slot, const struct nx_op *op, int64_t result)
{
    const int64_t error = (int64_t)(slot->user[SLOT_STATE] >> SLOT_ERROR_SHIFT);
    const bool ended = result == 0 && (op->code == NX_OP_CONNECT || !(slot->flags & NX_FD_DATAGRAM));
    if (!ended && result != -EAGAIN && result != -EPIPE && result != -ENOTCONN)
        return result;
    slot->user[SLOT_STATE] &= ~(SLOT_ERROR | SLOT_BLOCKED_IN | SLOT_BLOCKED_OUT);
    return -error;
}

int64_t nxi_readiness_try(struct nx_ctx *ctx, struct nx_fd_slot *slot, struct nx_op *op)
{
    int64_t result = try_any(ctx, slot, op);
    return __builtin_expect((slot->user[SLOT_STATE] & SLOT_ERROR) != 0, 0) ? tell_error(slot, op, result) : result;
}

int nxi_readiness_level(struct nx_ctx *ctx, struct nx_fd_slot *slot, uint32_t wanted)
{
    struct pollfd pfd = {.fd = slot->fd};
    int ready = 0;

    pfd.events = (short)((wanted & NX_READABLE ? POLLIN : 0) | (wanted & NX_WRITABLE ? POLLOUT : 0));
    readiness_count(&ctx->stats.calls, 1);
    if (poll(&pfd, 1, 0) < 0)
        return errno == EINTR ? 0 : -errno;
#ifdef __APPLE__
    if (pfd.revents & POLLNVAL) {
        int level = os_level(slot->fd, pfd.events);
        if (level < 0)
            return level;
        pfd.revents = (short)level;
    }
#endif
    if (pfd.revents & POLLNVAL)
        return -EBADF;
    if (pfd.revents & (POLLIN | POLLHUP | POLLERR))
        ready |= (int)NX_READABLE;
    if (pfd.revents & (POLLOUT | POLLHUP | POLLERR))
        ready |= (int)NX_WRITABLE;
    if (!ready)
        readiness_count(&ctx->stats.again, 1);
    return ready;
}

int nxi_readiness_shutdown(struct nx_fd_slot *slot, uint64_t how)
{
    static const int os_how[] = {[NX_SHUT_READ] = SHUT_RD, [NX_SHUT_WRITE] = SHUT_WR, [NX_SHUT_BOTH] = SHUT_RDWR};
    if (how > NX_SHUT_BOTH)
        return -EINVAL;
    return shutdown(slot->fd, os_how[how]) < 0 ? -errno : 0;
}

void nxi_readiness_made(struct nx_fd_slot *slot, uint32_t family, uint32_t type)
{
    if (type == NX_SOCK_STREAM && (family != NX_AF_UNIX || OS_UNIX_TELLS_ALL))
        slot->user[SLOT_STATE] |= SLOT_STREAM | (family == NX_AF_UNIX ? SLOT_UNIX : 0);
}

static int socket_trait(int fd, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    return getsockopt(fd, SOL_SOCKET, name, &value, &len) < 0 ? -1 : value;
}

void nxi_readiness_classify(struct nx_fd_slot *slot)
{
    if (!(slot->flags & NX_FD_SOCKET) || socket_trait(slot->fd, SO_TYPE) != SOCK_STREAM)
        return;
    if (os_domain(slot->fd) == AF_UNIX)
        slot->user[SLOT_STATE] |= OS_UNIX_TELLS_ALL ? SLOT_STREAM | SLOT_UNIX : 0;
    else if (os_is_tcp(slot->fd)) /* not MPTCP, SCTP, vsock: unproven */
        slot->user[SLOT_STATE] |= SLOT_STREAM;
}
