/*
 * copy.c: nx_stream_copy, nx_send_file, nx_recv_file.
 *
 * The kernel moves the bytes, by splice(2) through a pipe or by sendfile(2), where that can't block the worker: the
 * sockets are O_NONBLOCK (splice heeds the descriptor's flag, not its own), and what a file is to give is in the page
 * cache, which cachestat(2) tells. When a call says EAGAIN the task waits by NX_OP_POLL. Otherwise, and under drivers
 * that leave their sockets blocking, the bytes go through a lent buffer. Writing a file by splice can block on the disk
 * and nothing tells in advance: that is always nx_pwrite's. Other systems have no splice, and a sendfile(2) that waits
 * for the disk: there all bytes go through a lent buffer.
 *
 * The calls are made on duplicates of the descriptors, taken while the stream is this worker's. So nx_close elsewhere
 * neither pulls a descriptor away from a system call nor lets its number become another file's; it is noticed at the
 * next wait, or after a few rounds without one.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* splice */
#endif
#include "file.h"
#include "transfer.h"
#include <fcntl.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/sendfile.h>
#include <sys/syscall.h>
#endif

#define CHUNK ((size_t)64 << 10) /* what a pipe holds */
#define ROUNDS_MAX 16u           /* without a wait, before the driver is asked whether the stream is still open */
#define UNSUITABLE 1             /* not by the kernel: through a buffer */

#if defined(__linux__) && !defined(SYS_cachestat)
#define SYS_cachestat 451 /* the same on every architecture */
#endif

/* One call; all of these outlive it. */
struct copy {
    nx_stream *to, *from; /* NULL: the file */
    nx_file *file;
    int64_t offset;
    size_t len, total; /* len: how many are wanted; total: how many have arrived */
    nx_time deadline;
    bool to_held, from_held;
    unsigned rounds;
    int to_fd, from_fd; /* duplicates, or the file's own; or -1 */
};

static size_t left(const struct copy *copy, size_t most)
{
    size_t rest = copy->len - copy->total;
    return rest < most ? rest : most;
}

/* A deadline ends what never has to wait, too, once something has moved. */
static bool overdue(const struct copy *copy)
{
    nx_time deadline = nxi_deadline(nxi_self(), copy->deadline);
    return copy->total > 0 && deadline != NX_POLL && deadline != NX_FOREVER && nx_now() >= deadline;
}

/* ---- through a buffer ---- */

/* Sends some bytes: 0 or -errno, and how many went. */
static int send_bytes(struct copy *copy, const void *data, size_t len, size_t *ret_sent)
{
    const struct iovec iov = {(void *)(uintptr_t)data, len};
    int error = nxi_write_all(copy->to, &iov, 1, copy->deadline, ret_sent, &copy->to_held);
    copy->total += *ret_sent;
    return error;
}

/* The same for a file. */
static int store_bytes(struct copy *copy, const char *data, size_t len, size_t *ret_stored)
{
    size_t stored = 0;
    ssize_t result = 1;
    while (stored < len && result > 0) {
        result = nx_pwrite(copy->file, data + stored, len - stored, copy->offset, copy->deadline);
        if (result > 0) {
            stored += (size_t)result;
            copy->offset += result;
        }
    }
    copy->total += stored;
    *ret_stored = stored;
    return result < 0 ? (int)result : stored < len ? -EIO : 0;
}

/* One lent buffer full from the stream to wherever: > 0, 0 at its end, -errno. *ret_from: it was `from` that failed. */
static int relay(struct copy *copy, bool *ret_from)
{
    nx_loan loan;
    ssize_t got = overdue(copy) ? -ETIMEDOUT : nx_read_loan(copy->from, &loan, copy->deadline);
    *ret_from = got <= 0;
    if (got <= 0)
        return (int)got;
    size_t wanted = left(copy, (size_t)got), moved;
    int error = copy->to ? send_bytes(copy, loan.data, wanted, &moved) : store_bytes(copy, loan.data, wanted, &moved);
    nxi_kept_keep(copy->from, (const char *)loan.data + moved, (size_t)got - moved);
    nx_loan_return(&loan);
    return error < 0 ? error : 1;
}

/* One lent buffer full from the file to the stream: as relay. */
static int relay_file(struct copy *copy, bool *ret_from)
{
    struct nx_runtime *runtime = copy->to->runtime;
    void *buffer;
    size_t sent;
    *ret_from = true;
    int error = overdue(copy) ? -ETIMEDOUT : nxi_loan_get(runtime, copy->deadline, &buffer);
    if (error < 0)
        return error;
    ssize_t got = nx_pread(copy->file, buffer, left(copy, NXI_LOAN_SIZE), copy->offset, copy->deadline);
    int result = (int)got;
    if (got > 0) {
        *ret_from = false;
        result = send_bytes(copy, buffer, (size_t)got, &sent);
        copy->offset += (int64_t)sent;
        result = result < 0 ? result : 1;
    }
    nxi_loan_put(runtime, buffer);
    return result;
}

/* ---- by the kernel ---- */

#ifdef __linux__

/* A duplicate of the stream's descriptor, or UNSUITABLE as a negative number. */
static int duplicate(nx_stream *stream)
{
    struct nx_op poll = {.code = NX_OP_POLL, .flags = NX_OP_NOWAIT, .arg = NX_READABLE | NX_WRITABLE};
    nxi_stream_try(stream, &poll); /* brings it here if nothing of it is in flight elsewhere */
    if (nxi_stream_owner(stream) != nxi_self() || stream->closing)
        return -UNSUITABLE;
    int fd = nx_stream_fd(stream);
    int flags = fd < 0 ? 0 : fcntl(fd, F_GETFL);
    if (flags < 0 || !(flags & O_NONBLOCK))
        return -UNSUITABLE;
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? -UNSUITABLE : fd;
}

/* After a call that moved something (waits 0), or that would have had to wait for these events. */
static int pause_copy(struct copy *copy, nx_stream *stream, unsigned waits)
{
    struct nx_op poll = {.code = NX_OP_POLL, .arg = waits ? waits : NX_READABLE | NX_WRITABLE};
    bool *held = stream == copy->to ? &copy->to_held : &copy->from_held;
    if (!waits && ++copy->rounds % ROUNDS_MAX) {
        nxi_charge(nxi_self());
        return 0;
    }
    if (overdue(copy))
        return -ETIMEDOUT;
    int64_t ready = nxi_stream_run(stream, &poll, waits ? copy->deadline : NX_POLL, held);
    return ready == -EAGAIN && !waits ? 0 : ready < 0 ? (int)ready : 0;
}

/* What is in the pipe is kept in the stream it came from. */
static void keep_piped(struct copy *copy, int pipe_fd, size_t len)
{
    char *data = nxi_alloc(len);
    size_t got = 0;
    ssize_t result = 1;
    while (data && got < len && result > 0) {
        result = read(pipe_fd, data + got, len - got);
        got += result > 0 ? (size_t)result : 0;
    }
    if (got == len)
        nxi_kept_keep(copy->from, data, len);
    else
        nxi_kept_lose(copy->from);
    nxi_free(data, data ? len : 0);
}

/* From the pipe, which holds len bytes, to `to`. */
static int empty_pipe(struct copy *copy, int pipe_fd, size_t len)
{
    int error = 0;
    while (len > 0 && error == 0) {
        ssize_t moved = splice(pipe_fd, NULL, copy->to_fd, NULL, len, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (moved > 0) {
            len -= (size_t)moved;
            copy->total += (size_t)moved;
            error = pause_copy(copy, copy->to, 0);
        } else if (moved < 0 && errno == EAGAIN) {
            error = pause_copy(copy, copy->to, NX_WRITABLE);
        } else {
            error = moved < 0 && errno == EINVAL ? UNSUITABLE : moved < 0 ? -errno : -EIO;
        }
    }
    if (len > 0)
        keep_piped(copy, pipe_fd, len);
    return error;
}

/* 0: all is done, or end of stream. UNSUITABLE, or -errno and which side failed. */
static int splice_all(struct copy *copy, const int pipe_fds[2], bool *ret_from)
{
    int error = 0;
    while (copy->total < copy->len && error == 0) {
        ssize_t got =
            splice(copy->from_fd, NULL, pipe_fds[1], NULL, left(copy, CHUNK), SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        *ret_from = true;
        if (got > 0) {
            *ret_from = false;
            error = empty_pipe(copy, pipe_fds[0], (size_t)got);
        } else if (got == 0) {
            return 0;
        } else if (errno == EAGAIN) {
            error = pause_copy(copy, copy->from, NX_READABLE);
        } else {
            error = errno == EINVAL ? UNSUITABLE : -errno;
        }
    }
    return error;
}

static int splice_streams(struct copy *copy, bool *ret_from)
{
    int pipe_fds[2], error = UNSUITABLE;
    copy->to_fd = duplicate(copy->to);
    copy->from_fd = copy->to_fd < 0 ? -1 : duplicate(copy->from);
    if (copy->from_fd >= 0 && pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) == 0) {
        error = splice_all(copy, pipe_fds, ret_from);
        close(pipe_fds[0]);
        close(pipe_fds[1]);
    }
    return error;
}

/* Whether reading that part of the file would not wait for the disk. */
static bool cached(int fd, int64_t offset, size_t len)
{
    struct {
        uint64_t offset, len;
    } range = {(uint64_t)offset, len};
    struct {
        uint64_t cached, dirty, writeback, evicted, recently_evicted;
    } stat = {0};
    const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (syscall(SYS_cachestat, fd, &range, &stat, 0) < 0)
        return false;
    return stat.cached >= ((uint64_t)offset + len + page - 1) / page - (uint64_t)offset / page;
}

/* How much of the file from here on can be sent by the kernel; at the end of the file that is 0. */
static size_t sendable(const struct copy *copy)
{
    struct stat stat;
    size_t len = left(copy, CHUNK);
    if (fstat(copy->from_fd, &stat) < 0 || stat.st_size <= copy->offset)
        return 0;
    if ((int64_t)len > stat.st_size - copy->offset)
        len = (size_t)(stat.st_size - copy->offset);
    return cached(copy->from_fd, copy->offset, len) ? len : 0;
}

/* As splice_streams. What is not in the page cache goes through a buffer, which brings in what follows, too. */
static int send_cached(struct copy *copy, bool *ret_from)
{
    int error = 0;
    copy->to_fd = duplicate(copy->to);
    if (copy->to_fd < 0)
        return UNSUITABLE;
    while (copy->total < copy->len && error == 0) {
        size_t len = sendable(copy);
        if (len == 0) {
            int result = relay_file(copy, ret_from);
            if (result <= 0)
                return result;
            continue;
        }
        off_t offset = copy->offset;
        ssize_t sent = sendfile(copy->to_fd, copy->from_fd, &offset, len);
        *ret_from = false;
        if (sent > 0) {
            copy->total += (size_t)sent;
            copy->offset += sent;
            error = pause_copy(copy, copy->to, 0);
        } else if (sent < 0 && errno == EAGAIN) {
            error = pause_copy(copy, copy->to, NX_WRITABLE);
        } else {
            error = sent == 0 || errno == EINVAL || errno == ENOSYS ? UNSUITABLE : -errno;
        }
    }
    return error;
}

#else

static int splice_streams(struct copy *copy, bool *ret_from)
{
    (void)copy;
    (void)ret_from;
    return UNSUITABLE;
}

static int send_cached(struct copy *copy, bool *ret_from)
{
    (void)copy;
    (void)ret_from;
    return UNSUITABLE;
}

#endif

/* ---- the calls ---- */

static int begin(struct copy *copy, nx_stream *stream, enum nxi_direction direction)
{
    int error = nxi_stream_check(stream, NULL, 0);
    if (error < 0)
        return error;
    if (nxi_task_cancelled(nxi_self()->current)) {
        nxi_charge(nxi_self());
        return -ECANCELED;
    }
    error = nxi_take_stash(stream, direction);
    if (error == 0)
        nxi_stream_hold(stream, stream == copy->to ? &copy->to_held : &copy->from_held);
    return error;
}

static ssize_t finish(struct copy *copy, bool from, int error)
{
    ssize_t result = (ssize_t)copy->total;
    nx_stream *failed = from ? copy->from : copy->to;
    if (error < 0 && failed)
        result = nxi_cut_short(failed, from ? NXI_READ_SIDE : NXI_WRITE_SIDE, copy->total, error);
    else if (error < 0 && copy->total == 0)
        result = error;
    if (copy->to_fd >= 0)
        close(copy->to_fd);
    if (copy->from_fd >= 0 && !copy->file)
        close(copy->from_fd);
    if (copy->to)
        nxi_stream_release(copy->to, copy->to_held);
    if (copy->from)
        nxi_stream_release(copy->from, copy->from_held);
    if (copy->file)
        nxi_file_release(copy->file);
    nxi_charge(nxi_self());
    return result;
}

ssize_t nx_stream_copy(nx_stream *to, nx_stream *from, size_t len, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct copy copy = {.to = to, .from = from, .len = len, .deadline = deadline, .to_fd = -1, .from_fd = -1};
    bool from_failed = false;
    int error = to == from && to ? -EINVAL : begin(&copy, to, NXI_WRITE_SIDE);
    if (error < 0)
        return error;
    error = begin(&copy, from, NXI_READ_SIDE);
    if (error < 0) {
        nxi_stream_release(to, copy.to_held);
        return error;
    }
    int result = 1;
    while (copy.total < len && result > 0 && nxi_stream_kept(from)) /* ends: what is kept goes, or an error comes */
        result = relay(&copy, &from_failed);
    if (copy.total < len && result > 0)
        result = splice_streams(&copy, &from_failed);
    while (copy.total < len && result > 0)
        result = relay(&copy, &from_failed);
    return finish(&copy, from_failed, result);
}

/* A file and a stream: checked, the file held, the stream begun. */
static int begin_file(struct copy *copy)
{
    nx_stream *stream = copy->to ? copy->to : copy->from;
    int error = nxi_stream_check(stream, copy->file, 1);
    if (error == 0 && copy->offset < 0)
        error = -EINVAL;
    if (error == 0)
        error = nxi_file_hold(copy->file);
    if (error < 0)
        return error;
    error = begin(copy, stream, copy->to ? NXI_WRITE_SIDE : NXI_READ_SIDE);
    if (error < 0)
        nxi_file_release(copy->file);
    return error;
}

ssize_t nx_send_file(nx_stream *to, nx_file *from, int64_t offset, size_t len, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct copy copy = {
        .to = to, .file = from, .offset = offset, .len = len, .deadline = deadline, .to_fd = -1, .from_fd = -1};
    bool from_failed = false;
    int error = begin_file(&copy);
    if (error < 0)
        return error;
    copy.from_fd = from->fd;
    int result = from->fd >= 0 ? send_cached(&copy, &from_failed) : UNSUITABLE;
    while (copy.total < len && result > 0)
        result = relay_file(&copy, &from_failed);
    return finish(&copy, from_failed, result);
}

ssize_t nx_recv_file(nx_file *to, int64_t offset, nx_stream *from, size_t len, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct copy copy = {
        .file = to, .from = from, .offset = offset, .len = len, .deadline = deadline, .to_fd = -1, .from_fd = -1};
    bool from_failed = false;
    int error = begin_file(&copy);
    if (error < 0)
        return error;
    int result = 1;
    while (copy.total < len && result > 0)
        result = relay(&copy, &from_failed);
    return finish(&copy, from_failed, result);
}
