/*
 * file_emulate.c: operations on files without a driver's help: what the page cache has or takes at once in the calling
 * worker, by RWF_NOWAIT; the rest by the plain system call, on a thread of the blocking pool.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* preadv2 */
#endif
#include "file.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* nx_file.traits: found out when first needed; whoever finds them finds the same */
#define TRAIT_KNOWN 1u
#define TRAIT_DIRECT 2u     /* O_DIRECT: preadv2 waits for the disk there, RWF_NOWAIT or not */
#define TRAIT_READ_SLOW 4u  /* the file system has no RWF_NOWAIT for reading */
#define TRAIT_WRITE_SLOW 8u /* nor for writing */

static uint32_t traits_of(int fd, _Atomic uint32_t *traits)
{
    uint32_t known = atomic_load_explicit(traits, memory_order_relaxed);
    if (known & TRAIT_KNOWN)
        return known;
    int flags = fcntl(fd, F_GETFL);
    known = TRAIT_KNOWN;
#ifdef O_DIRECT
    known |= flags >= 0 && flags & O_DIRECT ? TRAIT_DIRECT : 0;
#endif
    return known | atomic_fetch_or_explicit(traits, known, memory_order_relaxed);
}

#ifdef RWF_NOWAIT
static int64_t try_now(int fd, _Atomic uint32_t *traits, const struct nx_op *op)
{
    bool reads = op->code == NX_OP_PREADV;
    uint32_t slow = reads ? TRAIT_READ_SLOW : TRAIT_WRITE_SLOW;
    if ((!reads && op->code != NX_OP_PWRITEV) || traits_of(fd, traits) & (TRAIT_DIRECT | slow))
        return -EAGAIN;
    ssize_t moved = reads ? preadv2(fd, op->data, (int)op->len, (off_t)op->offset, RWF_NOWAIT)
                          : pwritev2(fd, op->data, (int)op->len, (off_t)op->offset, RWF_NOWAIT);
    if (moved >= 0)
        return moved;
    if (errno == EOPNOTSUPP)
        atomic_fetch_or_explicit(traits, slow, memory_order_relaxed);
    return errno == EOPNOTSUPP || errno == EINTR ? -EAGAIN : -errno;
}
#else
static int64_t try_now(int fd, _Atomic uint32_t *traits, const struct nx_op *op)
{
    (void)fd;
    (void)traits;
    (void)op;
    return -EAGAIN;
}
#endif

/* ---- on the pool's thread ---- */

struct emulation {
    struct nxi_call call;
    const struct nx_op *op;
    int fd;
    int64_t result;
};

static int64_t stat_any(const struct nx_op *op, int fd)
{
    struct stat *ret_stat = (struct stat *)(uintptr_t)op->arg;
    return op->data ? stat(op->data, ret_stat) : fstat(fd, ret_stat);
}

/* As the system call has it: -1 and errno. */
static int64_t carry_out(const struct nx_op *op, int fd)
{
    switch (op->code) {
    case NX_OP_OPEN:
        return open(op->data, (int)(uint32_t)op->arg | O_CLOEXEC, (mode_t)(op->arg >> 32));
    case NX_OP_PREADV:
        return preadv(fd, op->data, (int)op->len, (off_t)op->offset);
    case NX_OP_PWRITEV:
        return pwritev(fd, op->data, (int)op->len, (off_t)op->offset);
    case NX_OP_FSYNC:
        return op->arg ? fdatasync(fd) : fsync(fd);
    case NX_OP_TRUNCATE:
        return ftruncate(fd, (off_t)op->offset);
    case NX_OP_STAT:
        return stat_any(op, fd);
    case NX_OP_RENAME:
        return renameat(AT_FDCWD, op->data, AT_FDCWD, (const char *)(uintptr_t)op->arg);
    case NX_OP_UNLINK:
        return unlinkat(AT_FDCWD, op->data, (int)op->arg);
    case NX_OP_MKDIR:
        return mkdirat(AT_FDCWD, op->data, (mode_t)op->arg);
    default:
        errno = ENOTSUP;
        return -1;
    }
}

static void emulate_there(struct nxi_call *call)
{
    struct emulation *emulation = nxi_container(call, struct emulation, call);
    int64_t result;
    do
        result = carry_out(emulation->op, emulation->fd);
    while (result < 0 && errno == EINTR); /* ends: the thread gets no signals but a profiler's */
    emulation->result = result < 0 ? -errno : result;
}

int64_t nxi_file_emulate(struct nxi_worker *worker, int fd, _Atomic uint32_t *traits, const struct nx_op *op,
                         nx_time deadline)
{
    struct emulation emulation = {.call = {.call = emulate_there}, .op = op, .fd = fd};
    int64_t result = traits ? try_now(fd, traits, op) : -EAGAIN;
    if (result != -EAGAIN || deadline == NX_POLL) {
        nxi_charge(worker);
        return result;
    }
    int error = nxi_blocking_run(worker, worker->runtime->blocking, &emulation.call, nxi_op_names[op->code], deadline);
    return error < 0 ? error : emulation.result;
}
