/* readiness/message.h: struct nx_message as recvmsg(2) and sendmsg(2) want it, for the adapter and for iouring. Not
 * installed. */
#ifndef NEXUS_READINESS_MESSAGE_H
#define NEXUS_READINESS_MESSAGE_H

#include <nexus/readiness.h>
#include <sys/socket.h>

/* Besides the descriptors: credentials and the like, of a socket that was set up elsewhere. */
#define NXI_MESSAGE_OTHERS 256u

/* The address and the descriptors in the system's form; stays until the call, or the kernel's operation, is done. */
struct nxi_message_room {
    struct msghdr header;
    struct sockaddr_storage address;
    _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(NX_FDS_MAX * sizeof(int)) + NXI_MESSAGE_OTHERS];
};

/* Fills room->header for a NX_OP_SENDMSG or NX_OP_RECVMSG. 0, or -errno: -EINVAL, -EAFNOSUPPORT, -ENAMETOOLONG. */
int nxi_message_begin(const struct nx_op *op, struct nxi_message_room *room);

/* The flags of the call, in addition to MSG_DONTWAIT. */
int nxi_message_flags(const struct nx_op *op, const struct nx_fd_slot *slot);

/* After a NX_OP_RECVMSG that succeeded: writes what the message says, closes the descriptors that have no room. */
void nxi_message_received(const struct nx_op *op, const struct nxi_message_room *room);

#endif
