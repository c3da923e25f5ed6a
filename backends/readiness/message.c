/*
 * readiness/message.c: messages: an address and descriptors beside the bytes.
 *
 * Received descriptors are the process's the moment recvmsg(2) has returned: whatever is not handed on is closed here.
 * Room for control data is given only if descriptors are wanted; without it the kernel drops them itself. With it there
 * is more than for the wanted ones, since the kernel may put credentials in front of them.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* MSG_CMSG_CLOEXEC */
#endif
#include "message.h"
#include "os.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define PIDFD_MESSAGE 4 /* SCM_PIDFD of Linux 6.5, not in every libc's header */

static void attach(const struct nx_message *message, struct nxi_message_room *room)
{
    const size_t size = message->fd_count * sizeof(int);
    room->header.msg_control = room->control;
    room->header.msg_controllen = CMSG_SPACE(size);
    memset(room->control, 0, CMSG_SPACE(size));
    struct cmsghdr *header = CMSG_FIRSTHDR(&room->header);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(header), message->fds, size);
}

int nxi_message_begin(const struct nx_op *op, struct nxi_message_room *room)
{
    const struct nx_message *message = op->data;
    if (message->iov_count > NX_IOV_MAX || message->fd_count > NX_FDS_MAX)
        return -EINVAL;
    memset(&room->header, 0, sizeof(room->header));
    room->header.msg_iov = message->iov;
    room->header.msg_iovlen = message->iov_count;
    if (message->addr && op->code == NX_OP_RECVMSG) {
        room->header.msg_name = &room->address;
        room->header.msg_namelen = sizeof(room->address);
    } else if (message->addr) {
        int len = nx_fds_to_sockaddr(message->addr, &room->address);
        if (len < 0)
            return len;
        room->header.msg_name = &room->address;
        room->header.msg_namelen = (socklen_t)len;
    }
    if (message->fds && op->code == NX_OP_RECVMSG) {
        room->header.msg_control = room->control;
        room->header.msg_controllen = sizeof(room->control);
    } else if (message->fds && message->fd_count > 0) {
        attach(message, room);
    }
    return 0;
}

int nxi_message_flags(const struct nx_op *op, const struct nx_fd_slot *slot)
{
    if (op->code == NX_OP_SENDMSG)
        return MSG_NOSIGNAL;
    /* On a stream MSG_TRUNC would throw bytes away. */
    return MSG_CMSG_CLOEXEC | (slot->flags & NX_FD_DATAGRAM ? MSG_TRUNC : 0);
}

/* Takes the descriptors of one control message; closes those beyond room. */
static uint32_t take_fds(struct cmsghdr *control, int32_t *ret_fds, uint32_t room)
{
    uint32_t count = (uint32_t)((control->cmsg_len - CMSG_LEN(0)) / sizeof(int)), taken = 0;
    for (uint32_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(fd));
#ifdef OS_MARKS_RECEIVED
        fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
        if (control->cmsg_type == SCM_RIGHTS && taken < room)
            ret_fds[taken++] = fd;
        else
            close(fd);
    }
    return taken;
}

void nxi_message_received(const struct nx_op *op, const struct nxi_message_room *room)
{
    struct nx_message *message = op->data;
    struct msghdr header = room->header;
    uint32_t taken = 0, came = 0;
    if (message->addr && nx_fds_from_sockaddr(&room->address, header.msg_namelen, message->addr) < 0)
        *message->addr = (struct nx_addr){0}; /* of a stream, or of a family that has no name here */
    for (struct cmsghdr *at = CMSG_FIRSTHDR(&header); at; at = CMSG_NXTHDR(&header, at)) {
        if (at->cmsg_level != SOL_SOCKET || (at->cmsg_type != SCM_RIGHTS && at->cmsg_type != PIDFD_MESSAGE))
            continue;
        if (at->cmsg_type == SCM_RIGHTS)
            came += (uint32_t)((at->cmsg_len - CMSG_LEN(0)) / sizeof(int));
        taken += take_fds(at, message->fds + taken, message->fd_count - taken);
    }
    message->fd_count = taken;
    message->flags = (header.msg_flags & MSG_TRUNC ? NX_MESSAGE_CUT : 0) |
                     (header.msg_flags & MSG_CTRUNC || came > taken ? NX_MESSAGE_FDS_CUT : 0);
}
