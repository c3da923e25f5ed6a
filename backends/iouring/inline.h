/* iouring/inline.h: ops by plain system calls that do not wait: NX_OP_NOWAIT, and what is no cheaper as an SQE. */
#ifndef NEXUS_IOURING_INLINE_H
#define NEXUS_IOURING_INLINE_H

#include <nexus/readiness.h>
#include <stdatomic.h>

/* What is known of a handle's descriptor, in nx_fd_slot.user[0]; found out when first needed. */
#define NXI_KIND_KNOWN 1u
#define NXI_KIND_FIFO 2u
#define NXI_KIND_REGULAR 4u
#define NXI_KIND_NONBLOCK 8u  /* O_NONBLOCK was set by us */
#define NXI_KIND_INTERNET 16u /* a socket of IPv4 or IPv6 */

/* Affinity is FREE: contexts may find out the same thing at once. All write the same bits. */
static inline uint32_t nxi_kind_load(struct nx_fd_slot *handle)
{
    return (uint32_t)atomic_load_explicit((_Atomic uintptr_t *)&handle->user[0], memory_order_relaxed);
}

uint32_t nxi_inline_kind(struct nx_fd_slot *handle);

/* Makes accept4(2) of a listener safe to try: 0 or -errno. */
int nxi_inline_nonblock(struct nx_fd_slot *handle);

/* The op's result, -EAGAIN if it would have to wait. nosignal: there is RWF_NOSIGNAL. Not NOP, CLOSE, SHUTDOWN. */
int64_t nxi_inline_try(const struct nx_op *op, struct nx_fd_slot *handle, bool nosignal);

/* The same for writing to a pipe of which only the descriptor is known. */
int64_t nxi_inline_write_fifo(const struct nx_op *op, int fd, bool nosignal);

int64_t nxi_inline_connect(const struct nx_op *op, int fd); /* of a datagram socket */
int64_t nxi_inline_shutdown(const struct nx_op *op, int fd);
int nxi_inline_socket_error(int fd);

/* poll(2)'s or io_uring's events as a result of NX_OP_POLL, and back. */
int64_t nxi_inline_events(int events);
short nxi_inline_poll_mask(uint64_t arg);

#endif
