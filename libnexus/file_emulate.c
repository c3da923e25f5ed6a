/* file_emulate.c: operations on files without a driver's help: the plain system call, on a thread of the blocking pool.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* preadv */
#endif
#include "file.h"
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* macOS' fsync leaves the bytes in the disk's cache. Not every file system has the other two. */
static int sync_file(int fd, bool data_only)
{
#ifdef __APPLE__
    (void)data_only; /* fsync(2) and F_BARRIERFSYNC only keep the order: the disk's cache may hold it still */
    int r = fcntl(fd, F_FULLFSYNC);
    return r < 0 && errno != EBADF && errno != EIO ? fsync(fd) : r;
#else
    return data_only ? fdatasync(fd) : fsync(fd);
#endif
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
        return sync_file(fd, op->arg);
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

int64_t nxi_file_emulate(struct nxi_worker *worker, int fd, const struct nx_op *op, nx_time deadline)
{
    struct emulation emulation;
    emulation.call.call = emulate_there;
    emulation.op = op;
    emulation.fd = fd;
    int error = nxi_blocking_run(worker, worker->runtime->blocking, &emulation.call, nxi_op_names[op->code], deadline);
    return error < 0 ? error : emulation.result;
}
