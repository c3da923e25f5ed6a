/*
 * iouring/uapi.h: what the kernel offers and liburing 2.3's copy of its header doesn't name yet. Only constants: each
 * is used behind the feature bit or the trial call that proves it.
 */
#ifndef NEXUS_IOURING_UAPI_H
#define NEXUS_IOURING_UAPI_H

/* Linux 6.15: a wait that is not disk I/O: without it an idle worker shows as 100 % iowait. */
#define NX_URING_FEAT_NO_IOWAIT (1u << 17)
#define NX_URING_ENTER_NO_IOWAIT (1u << 7)

/* Linux 6.18: pwritev2 and IORING_OP_WRITE raise no SIGPIPE. */
#define NX_URING_RWF_NOSIGNAL 0x100

/* Linux 6.9: ftruncate(2). */
#define NX_URING_OP_FTRUNCATE 55

#endif
