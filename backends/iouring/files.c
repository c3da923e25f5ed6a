/*
 * iouring/files.c: ops on files.
 *
 * Reading and writing with NX_OP_NOWAIT is preadv2(2) with RWF_NOWAIT; without it the core has tried that already, by
 * the descriptor (file.c): what the page cache has costs no way through the ring. Not with O_DIRECT, where such a call
 * waits for the disk; and no more on a descriptor whose file system says that it doesn't know the flag. All else is an
 * SQE: most of those the kernel gives to threads of its own at once.
 *
 * An open is given to a kernel thread at once: the kernel's own first try is made with O_NONBLOCK, and a FIFO is then
 * open before it has another end, or can't be opened. The kernel would have four such threads per cpu; tasks that open
 * FIFOs which others are to open later would soon hold all of them, and each further op on a file would wait. So each
 * worker may have as many as a blocking pool has.
 *
 * Ops are younger than the rings: openat, statx, readv 5.6, rename, unlink 5.11, mkdir 5.15, ftruncate 6.9. What the
 * kernel lacks the core does on its blocking pool; the kernel is asked once per driver.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* preadv2, statx */
#endif
#include "files.h"
#include "uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#define KERNEL_THREADS 64u /* as NXI_BLOCKING_THREADS */

/* What is known of a handle's descriptor, in nx_fd_slot.user[1]. All contexts that find it out find the same. */
#define TRAIT_KNOWN 1u
#define TRAIT_DIRECT 2u     /* O_DIRECT */
#define TRAIT_READ_SLOW 4u  /* no RWF_NOWAIT for reading */
#define TRAIT_WRITE_SLOW 8u /* nor for writing */

#define OPS_OLDEST                                                                                                     \
    (1u << NX_OP_OPEN | 1u << NX_OP_PREADV | 1u << NX_OP_PWRITEV | 1u << NX_OP_FSYNC | 1u << NX_OP_STAT) /* 5.7 */

uint32_t nxi_uring_files_probe(bool oldest)
{
    static const int opcodes[] = {
        [NX_OP_OPEN] = IORING_OP_OPENAT,          [NX_OP_PREADV] = IORING_OP_READV,
        [NX_OP_PWRITEV] = IORING_OP_WRITEV,       [NX_OP_FSYNC] = IORING_OP_FSYNC,
        [NX_OP_TRUNCATE] = NX_URING_OP_FTRUNCATE, [NX_OP_STAT] = IORING_OP_STATX,
        [NX_OP_RENAME] = IORING_OP_RENAMEAT,      [NX_OP_UNLINK] = IORING_OP_UNLINKAT,
        [NX_OP_MKDIR] = IORING_OP_MKDIRAT,
    };
    uint32_t ops = 0;
    struct io_uring_probe *probe = io_uring_get_probe();
    for (uint32_t code = NX_OP_OPEN; probe && code <= NX_OP_MKDIR; code++)
        ops |= io_uring_opcode_supported(probe, opcodes[code]) ? 1u << code : 0;
    if (probe)
        io_uring_free_probe(probe);
    return oldest ? ops & OPS_OLDEST : ops;
}

/* Before 5.15 the kernel's own limit stays. */
void nxi_uring_files_prepare(struct nxi_uring *uring)
{
    unsigned limits[] = {KERNEL_THREADS,
                         0}; /* of what ends by itself, as the kernel sees it; of sockets and the like: as it is */
    io_uring_register_iowq_max_workers(&uring->ring, limits);
}

/* ---- without waiting ---- */

static uint32_t traits_of(struct nx_fd_slot *handle)
{
    _Atomic uintptr_t *traits = (_Atomic uintptr_t *)&handle->user[1];
    uint32_t known = (uint32_t)atomic_load_explicit(traits, memory_order_relaxed);
    if (known & TRAIT_KNOWN)
        return known;
    int flags = fcntl(handle->fd, F_GETFL);
    known = TRAIT_KNOWN | (flags >= 0 && flags & O_DIRECT ? TRAIT_DIRECT : 0);
    atomic_fetch_or_explicit(traits, known, memory_order_relaxed);
    return known;
}

static int64_t try_now(struct nx_ctx *ctx, const struct nx_op *op, struct nx_fd_slot *handle)
{
    bool reads = op->code == NX_OP_PREADV;
    uint32_t slow = reads ? TRAIT_READ_SLOW : TRAIT_WRITE_SLOW;
    if (traits_of(handle) & (TRAIT_DIRECT | slow))
        return -EAGAIN;
    nxi_uring_count(&ctx->calls, 1);
    ssize_t r = reads ? preadv2(handle->fd, op->data, (int)op->len, (off_t)op->offset, RWF_NOWAIT)
                      : pwritev2(handle->fd, op->data, (int)op->len, (off_t)op->offset, RWF_NOWAIT);
    if (r >= 0)
        return r;
    if (errno == EOPNOTSUPP)
        atomic_fetch_or_explicit((_Atomic uintptr_t *)&handle->user[1], slow, memory_order_relaxed);
    return errno == EOPNOTSUPP || errno == EINTR ? -EAGAIN : -errno;
}

/* ---- in flight ---- */

static int64_t check(const struct nx_ctx *ctx, const struct nx_op *op, const struct nx_fd_slot *handle)
{
    bool moves = op->code == NX_OP_PREADV || op->code == NX_OP_PWRITEV;
    if (!(ctx->driver->file_ops & 1u << op->code))
        return -ENOTSUP;
    if (handle && handle->flags & NX_FD_FOREIGN)
        return -EINVAL;
    return moves && (op->len > NX_IOV_MAX || (int64_t)op->offset < 0) ? -EINVAL : 0;
}

bool nxi_uring_file_begin(struct nx_ctx *ctx, struct nx_op *op, struct nx_fd_slot *handle, int64_t *ret_result)
{
    bool moves = op->code == NX_OP_PREADV || op->code == NX_OP_PWRITEV;
    *ret_result = check(ctx, op, handle);
    if (*ret_result < 0)
        return false;
    *ret_result = moves && op->flags & NX_OP_NOWAIT ? try_now(ctx, op, handle) : -EAGAIN;
    if (*ret_result != -EAGAIN || op->flags & NX_OP_NOWAIT)
        return false;
    if (op->code != NX_OP_STAT)
        return true;
    struct statx *room = ctx->host->alloc(sizeof(*room), 0);
    op->driver[1] = (uintptr_t)room;
    *ret_result = -ENOMEM;
    return room;
}

static void fill_stat(const struct nx_op *op, int fd, struct io_uring_sqe *sqe)
{
    struct statx *room = (struct statx *)op->driver[1];
    if (op->handle)
        io_uring_prep_statx(sqe, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, room);
    else
        io_uring_prep_statx(sqe, AT_FDCWD, op->data, 0, STATX_BASIC_STATS, room);
}

void nxi_uring_file_fill(const struct nx_op *op, int fd, struct io_uring_sqe *sqe)
{
    switch (op->code) {
    case NX_OP_OPEN:
        io_uring_prep_openat(sqe, AT_FDCWD, op->data, (int)(uint32_t)op->arg | O_CLOEXEC, (mode_t)(op->arg >> 32));
        sqe->flags |= IOSQE_ASYNC;
        return;
    case NX_OP_PREADV:
        io_uring_prep_readv(sqe, fd, op->data, op->len, op->offset);
        return;
    case NX_OP_PWRITEV:
        io_uring_prep_writev(sqe, fd, op->data, op->len, op->offset);
        return;
    case NX_OP_FSYNC:
        io_uring_prep_fsync(sqe, fd, op->arg ? IORING_FSYNC_DATASYNC : 0);
        return;
    case NX_OP_TRUNCATE:
        io_uring_prep_rw(NX_URING_OP_FTRUNCATE, sqe, fd, NULL, 0, op->offset);
        return;
    case NX_OP_STAT:
        fill_stat(op, fd, sqe);
        return;
    case NX_OP_RENAME:
        io_uring_prep_renameat(sqe, AT_FDCWD, op->data, AT_FDCWD, (const char *)(uintptr_t)op->arg, 0);
        return;
    case NX_OP_UNLINK:
        io_uring_prep_unlinkat(sqe, AT_FDCWD, op->data, (int)op->arg);
        return;
    default:
        io_uring_prep_mkdirat(sqe, AT_FDCWD, op->data, (mode_t)op->arg);
    }
}

static struct timespec time_of(const struct statx_timestamp *time)
{
    return (struct timespec){.tv_sec = time->tv_sec, .tv_nsec = time->tv_nsec};
}

static void to_stat(const struct statx *from, struct stat *ret_stat)
{
    *ret_stat = (struct stat){
        .st_dev = makedev(from->stx_dev_major, from->stx_dev_minor),
        .st_ino = from->stx_ino,
        .st_mode = from->stx_mode,
        .st_nlink = from->stx_nlink,
        .st_uid = from->stx_uid,
        .st_gid = from->stx_gid,
        .st_rdev = makedev(from->stx_rdev_major, from->stx_rdev_minor),
        .st_size = (off_t)from->stx_size,
        .st_blksize = (blksize_t)from->stx_blksize,
        .st_blocks = (blkcnt_t)from->stx_blocks,
        .st_atim = time_of(&from->stx_atime),
        .st_mtim = time_of(&from->stx_mtime),
        .st_ctim = time_of(&from->stx_ctime),
    };
}

int64_t nxi_uring_file_end(struct nx_ctx *ctx, struct nx_op *op, int64_t result)
{
    nx_handle handle;
    if (op->code == NX_OP_STAT) {
        struct statx *room = (struct statx *)op->driver[1];
        if (result >= 0)
            to_stat(room, (struct stat *)(uintptr_t)op->arg);
        ctx->host->free(room, sizeof(*room));
        op->driver[1] = 0;
    }
    if (op->code != NX_OP_OPEN || result < 0)
        return result;
    int r = nx_fds_add(ctx->fds, (int32_t)result, 0, &handle);
    if (r == 0)
        return (int64_t)handle;
    close((int)result);
    return r;
}
