/*
 * file.c: files: who does an operation, open files, and the calls.
 *
 * What the page cache has is read, and what it takes is written, here and at once, by RWF_NOWAIT. Any other operation
 * is the driver's if runtime->file_ops says so, else it is done on the blocking pool (file_emulate.c); one file may
 * have operations of both kinds, for it has a handle and a descriptor. Handles of such a driver are free
 * of any context (setup.c sees to it), so that unlike a stream a file has no owner: all that is shared is a count of
 * who holds it, and the last one closes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "file.h"
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

/* ---- at once ---- */

/* nx_file.traits: found out when first needed; whoever finds them finds the same */
#define TRAIT_KNOWN 1u
#define TRAIT_DIRECT 2u     /* O_DIRECT: preadv2 waits for the disk there, RWF_NOWAIT or not */
#define TRAIT_READ_SLOW 4u  /* the file system has no RWF_NOWAIT for reading */
#define TRAIT_WRITE_SLOW 8u /* nor for writing */

#if defined(RWF_NOWAIT) && defined(SYS_preadv2)
static NXI_NOINLINE uint32_t find_traits(nx_file *file)
{
    int flags = fcntl(file->fd, F_GETFL);
    uint32_t known = TRAIT_KNOWN;
#ifdef O_DIRECT
    known |= flags >= 0 && flags & O_DIRECT ? TRAIT_DIRECT : 0;
#endif
    return known | atomic_fetch_or_explicit(&file->traits, known, memory_order_relaxed);
}

/* By syscall(2): the C library's call is a cancellation point, which costs two RMWs in a program with threads. */
static int64_t try_now(nx_file *file, uint16_t code, const struct iovec *iov, uint32_t count, int64_t offset)
{
    uint32_t slow = code == NX_OP_PREADV ? TRAIT_READ_SLOW : TRAIT_WRITE_SLOW;
    uint32_t traits = atomic_load_explicit(&file->traits, memory_order_relaxed);
    if (NXI_UNLIKELY(!(traits & TRAIT_KNOWN)) && file->fd >= 0)
        traits = find_traits(file);
    if (file->fd < 0 || traits & (TRAIT_DIRECT | slow))
        return -EAGAIN;
    long moved = syscall(code == NX_OP_PREADV ? SYS_preadv2 : SYS_pwritev2, file->fd, iov, (unsigned long)count,
                         (long)offset, (long)((uint64_t)offset >> 32), RWF_NOWAIT);
    if (NXI_LIKELY(moved >= 0))
        return moved;
    if (errno == EOPNOTSUPP)
        atomic_fetch_or_explicit(&file->traits, slow, memory_order_relaxed);
    return errno == EOPNOTSUPP || errno == EINTR || errno == ENOSYS ? -EAGAIN : -errno;
}
#else
static int64_t try_now(nx_file *file, uint16_t code, const struct iovec *iov, uint32_t count, int64_t offset)
{
    (void)file;
    (void)code;
    (void)iov;
    (void)count;
    (void)offset;
    return -EAGAIN;
}
#endif

/* Moves bytes without waiting: how many, maybe not all; -ECANCELED; -EAGAIN, for whoever may wait. */
static int64_t move_now(nx_file *file, uint16_t code, const struct iovec *iov, uint32_t count, int64_t offset)
{
    struct nxi_worker *worker = nxi_self();
    int64_t moved = -ECANCELED;
    if (NXI_LIKELY(!nxi_task_cancelled(worker->current))) {
        moved = try_now(file, code, iov, count, offset);
        if (moved == -EAGAIN)
            return moved;
        nxi_count(&worker->counters.ops[code], 1);
        nxi_count(&worker->counters.ops_inline, 1);
    }
    nxi_charge(worker);
    return moved;
}

/* ---- operations ---- */

static bool drives(const struct nx_runtime *runtime, uint32_t code)
{
    return runtime->file_ops & 1u << code;
}

int64_t nxi_file_run(nx_file *file, const struct nx_op *what, nx_time deadline)
{
    struct nxi_worker *worker = nxi_self();
    struct nx_runtime *runtime = worker->runtime;
    if (nxi_task_cancelled(worker->current)) {
        nxi_charge(worker);
        return -ECANCELED;
    }
    if (!drives(runtime, what->code) || (file && !file->handle))
        return file && file->fd < 0 ? -ENOTSUP : nxi_file_emulate(worker, file ? file->fd : -1, what, deadline);
    struct nx_op op = *what;
    op.handle = file ? file->handle : 0;
    return nxi_op_run(worker, runtime->file_driver, &op, deadline, true);
}

/* ---- holding and closing ---- */

/* By close(2) in this worker: then the descriptor is gone, and with it its locks, when the call returns. */
static void close_now(const struct nx_file *file)
{
    if (file->handle)
        nxi_handle_close(nxi_self(), file->runtime->file_driver, file->handle);
    else
        close(file->fd);
}

void nxi_file_release(nx_file *file)
{
    if (atomic_fetch_sub_explicit(&file->references, 1, memory_order_acq_rel) != 1)
        return;
    close_now(file);
    nxi_free(file, sizeof(*file));
}

static int check(const nx_file *file)
{
    struct nxi_worker *worker = nxi_in_task();
    if (NXI_UNLIKELY(!worker))
        return nxi_no_task();
    if (NXI_UNLIKELY(!file))
        return -EINVAL;
    return NXI_LIKELY(file->runtime == worker->runtime) ? 0 : -EXDEV;
}

int nxi_file_hold(nx_file *file)
{
    int error = check(file);
    if (error == 0)
        atomic_fetch_add_explicit(&file->references, 1, memory_order_relaxed);
    return error;
}

/* One operation on a file. */
static int64_t run_on(nx_file *file, const struct nx_op *op, nx_time deadline)
{
    int64_t result = nxi_file_hold(file);
    if (result < 0)
        return result;
    result = nxi_file_run(file, op, deadline);
    nxi_file_release(file);
    return result;
}

/* One operation by path. */
static int run_by_path(const char *path, const struct nx_op *op, nx_time deadline)
{
    if (!nxi_in_task())
        return nxi_no_task();
    return path ? (int)nxi_file_run(NULL, op, deadline) : -EINVAL;
}

/* ---- opening ---- */

static nx_file *new_file(struct nx_runtime *runtime)
{
    nx_file *file = nxi_alloc(sizeof(*file));
    if (!file)
        return NULL;
    file->runtime = runtime;
    file->fd = -1;
    atomic_init(&file->references, 1);
    return file;
}

static int export_fd(const struct nxi_worker *worker, nx_handle handle)
{
    const struct nxi_driver *driver = &worker->drivers[worker->runtime->file_driver];
    return NXI_HAS(driver->ops, export_fd) ? driver->ops->export_fd(driver->ctx, handle) : -1;
}

/* Handles are of use if the driver moves bytes by them. */
static bool has_handles(const struct nx_runtime *runtime)
{
    return drives(runtime, NX_OP_PREADV) && drives(runtime, NX_OP_PWRITEV);
}

static int import(struct nxi_worker *worker, int fd, nx_handle *ret_handle)
{
    const struct nxi_driver *driver = &worker->drivers[worker->runtime->file_driver];
    return NXI_HAS(driver->ops, import_fd) ? driver->ops->import_fd(driver->ctx, fd, 0, ret_handle) : -ENOTSUP;
}

/* Gives the file its descriptor, in a handle if the driver has files: 0, or -errno and fd is still the caller's. */
static int adopt(struct nxi_worker *worker, nx_file *file, int fd)
{
    int error = has_handles(worker->runtime) ? import(worker, fd, &file->handle) : 0;
    if (error == 0)
        file->fd = fd;
    return error;
}

static int open_file(nx_file *file, const struct nx_op *op, nx_time deadline)
{
    bool driven = drives(file->runtime, NX_OP_OPEN);
    int64_t result = nxi_file_run(NULL, op, deadline);
    struct nxi_worker *worker = nxi_self();
    if (result < 0)
        return (int)result;
    if (driven) {
        file->handle = (nx_handle)result;
        int fd = export_fd(worker, file->handle);
        file->fd = fd < 0 ? -1 : fd;
        return 0;
    }
    int error = adopt(worker, file, (int)result);
    if (error < 0)
        close((int)result);
    return error;
}

int nx_file_open(const char *path, int flags, mode_t mode, nx_file **ret_file, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    const struct nx_op op = {.code = NX_OP_OPEN,
                             .data = (void *)(uintptr_t)path,
                             .arg = (uint32_t)(flags | O_CLOEXEC) | (uint64_t)mode << 32};
    if (!worker)
        return nxi_no_task();
    if (!path || !ret_file)
        return -EINVAL;
    nx_file *file = new_file(worker->runtime);
    if (!file)
        return -ENOMEM;
    int error = open_file(file, &op, deadline);
    if (error < 0)
        nxi_free(file, sizeof(*file));
    else
        *ret_file = file;
    return error;
}

int nx_file_from_fd(int fd, nx_file **ret_file)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (!ret_file)
        return -EINVAL;
    if (fd < 0 || fcntl(fd, F_GETFD) < 0)
        return -EBADF;
    nx_file *file = new_file(worker->runtime);
    if (!file)
        return -ENOMEM;
    int error = adopt(worker, file, fd);
    if (error < 0)
        nxi_free(file, sizeof(*file));
    else
        *ret_file = file;
    return error;
}

int nx_file_fd(const nx_file *file)
{
    NXI_ENTRY(-ENOSYS);
    int error = check(file);
    return error < 0 ? error : file->fd < 0 ? -ENOTSUP : file->fd;
}

int nx_file_close(nx_file *file)
{
    NXI_ENTRY(-ENOSYS);
    if (!file)
        return 0;
    int error = check(file);
    if (error == 0)
        nxi_file_release(file);
    return error;
}

/* ---- moving bytes ---- */

void nxi_cursor_advance(struct nxi_cursor *cursor, size_t moved)
{
    while (cursor->count > 0 && moved >= cursor->iov->iov_len - cursor->offset) {
        moved -= cursor->iov->iov_len - cursor->offset;
        cursor->offset = 0;
        cursor->iov++;
        cursor->count--;
    }
    cursor->offset += moved;
}

uint32_t nxi_cursor_next(struct nxi_cursor *cursor, const struct iovec **ret_iov)
{
    if (cursor->offset == 0) {
        *ret_iov = cursor->iov;
        return cursor->count < NX_IOV_MAX ? cursor->count : NX_IOV_MAX;
    }
    cursor->rest.iov_base = (char *)cursor->iov->iov_base + cursor->offset;
    cursor->rest.iov_len = cursor->iov->iov_len - cursor->offset;
    *ret_iov = &cursor->rest;
    return 1;
}

/* The rest, of which nothing has been moved yet: moved is what trying at once gave. Until all is moved: short counts
 * are usual, for the page cache has a part, a signal came, 2 GiB are the most. Reading, only 0 is the end. */
static NXI_NOINLINE ssize_t move_rest(nx_file *file, uint16_t code, const struct iovec *vector, uint32_t count,
                                      int64_t offset, nx_time deadline, int64_t moved)
{
    struct nxi_cursor cursor = {.iov = vector, .count = count};
    int64_t total = 0;
    for (;;) { /* ends: each turn moves something, or the next one waits until it has */
        const struct iovec *iov;
        if (moved == -EAGAIN) {
            struct nx_op op = {.code = code, .offset = (uint64_t)(offset + total)};
            op.len = nxi_cursor_next(&cursor, &iov);
            op.data = (void *)(uintptr_t)iov;
            moved = nxi_file_run(file, &op, deadline);
        }
        if (moved <= 0)
            break;
        total += moved;
        nxi_cursor_advance(&cursor, (size_t)moved);
        if (cursor.count == 0)
            break;
        uint32_t next = nxi_cursor_next(&cursor, &iov);
        moved = move_now(file, code, iov, next, offset + total);
    }
    return (ssize_t)(total > 0 ? total : moved);
}

/* sum: of the vector's lengths. */
static ssize_t move(nx_file *file, uint16_t code, const struct iovec *iov, uint32_t count, size_t sum, int64_t offset,
                    nx_time deadline)
{
    if (NXI_UNLIKELY(offset < 0 || sum > (size_t)(INT64_MAX - offset)))
        return -EINVAL;
    if (sum == 0)
        return 0;
    for (; iov->iov_len == 0; iov++) /* else a thousand empty ones would read as the end */
        count--;
    atomic_fetch_add_explicit(&file->references, 1, memory_order_relaxed);
    int64_t moved = move_now(file, code, iov, count < NX_IOV_MAX ? count : NX_IOV_MAX, offset);
    if (NXI_UNLIKELY(moved != (int64_t)sum && (moved > 0 || moved == -EAGAIN)))
        moved = move_rest(file, code, iov, count, offset, deadline, moved);
    nxi_file_release(file);
    return (ssize_t)moved;
}

static ssize_t move1(nx_file *file, uint16_t code, void *buf, size_t len, int64_t offset, nx_time deadline)
{
    const struct iovec iov = {.iov_base = buf, .iov_len = len};
    int error = check(file);
    if (NXI_UNLIKELY(error < 0))
        return error;
    return NXI_LIKELY(buf || len == 0) ? move(file, code, &iov, 1, len, offset, deadline) : -EINVAL;
}

static ssize_t movev(nx_file *file, uint16_t code, const struct iovec *iov, int count, int64_t offset, nx_time deadline)
{
    size_t sum = 0;
    int error = check(file);
    if (error < 0)
        return error;
    if (count < 0 || (!iov && count > 0))
        return -EINVAL;
    for (int i = 0; i < count; i++)
        if ((!iov[i].iov_base && iov[i].iov_len > 0) || iov[i].iov_len > (size_t)INT64_MAX - sum)
            return -EINVAL;
        else
            sum += iov[i].iov_len;
    return move(file, code, iov, (uint32_t)count, sum, offset, deadline);
}

ssize_t nx_pread(nx_file *file, void *buf, size_t len, int64_t offset, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    return move1(file, NX_OP_PREADV, buf, len, offset, deadline);
}

ssize_t nx_pwrite(nx_file *file, const void *buf, size_t len, int64_t offset, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    return move1(file, NX_OP_PWRITEV, (void *)(uintptr_t)buf, len, offset, deadline);
}

ssize_t nx_preadv(nx_file *file, const struct iovec *iov, int count, int64_t offset, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    return movev(file, NX_OP_PREADV, iov, count, offset, deadline);
}

ssize_t nx_pwritev(nx_file *file, const struct iovec *iov, int count, int64_t offset, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    return movev(file, NX_OP_PWRITEV, iov, count, offset, deadline);
}

/* ---- the rest ---- */

int nx_fsync(nx_file *file, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    const struct nx_op op = {.code = NX_OP_FSYNC};
    return (int)run_on(file, &op, deadline);
}

int nx_fdatasync(nx_file *file, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    const struct nx_op op = {.code = NX_OP_FSYNC, .arg = 1};
    return (int)run_on(file, &op, deadline);
}

int nx_file_stat(nx_file *file, struct stat *ret_stat, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct stat stat; /* the caller's is untouched on failure */
    const struct nx_op op = {.code = NX_OP_STAT, .arg = (uintptr_t)&stat};
    int error = check(file);
    if (error == 0)
        error = ret_stat ? (int)run_on(file, &op, deadline) : -EINVAL;
    if (error == 0)
        *ret_stat = stat;
    return error;
}

int nx_file_truncate(nx_file *file, int64_t length, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    const struct nx_op op = {.code = NX_OP_TRUNCATE, .offset = (uint64_t)length};
    int error = check(file);
    if (error < 0)
        return error;
    return length < 0 ? -EINVAL : (int)run_on(file, &op, deadline);
}

int nx_stat(const char *path, struct stat *ret_stat, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct stat stat;
    const struct nx_op op = {.code = NX_OP_STAT, .data = (void *)(uintptr_t)path, .arg = (uintptr_t)&stat};
    int error = run_by_path(ret_stat ? path : NULL, &op, deadline);
    if (error == 0)
        *ret_stat = stat;
    return error;
}

int nx_rename(const char *from, const char *to, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    const struct nx_op op = {.code = NX_OP_RENAME, .data = (void *)(uintptr_t)from, .arg = (uintptr_t)to};
    return run_by_path(to ? from : NULL, &op, deadline);
}

int nx_unlink(const char *path, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    const struct nx_op op = {.code = NX_OP_UNLINK, .data = (void *)(uintptr_t)path};
    return run_by_path(path, &op, deadline);
}

int nx_mkdir(const char *path, mode_t mode, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    const struct nx_op op = {.code = NX_OP_MKDIR, .data = (void *)(uintptr_t)path, .arg = mode};
    return run_by_path(path, &op, deadline);
}

int nx_rmdir(const char *path, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    const struct nx_op op = {.code = NX_OP_UNLINK, .data = (void *)(uintptr_t)path, .arg = AT_REMOVEDIR};
    return run_by_path(path, &op, deadline);
}
