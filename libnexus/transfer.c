/*
 * transfer.c: reading and writing: calls made of one operation of stream.c, or several.
 *
 * What a call returns says what moved. An error after some bytes is the next call's: it is kept in the stream's stash,
 * one for each direction, if the next call would not find it by itself.
 */
#include "transfer.h"
#include "file.h"

#define ZEROCOPY_MIN ((size_t)16 << 10) /* below, copying is cheaper than being told that the memory is free */
#define TRANSFER_MAX                                                                                                   \
    ((size_t)1 << 30) /* bytes per operation: nx_op.len is 32 bits, a result is an int in many kernels */

int nxi_take_stash(nx_stream *stream, enum nxi_direction direction)
{
    if (NXI_LIKELY(atomic_load_explicit(&stream->stash[direction], memory_order_relaxed) == 0))
        return 0;
    return atomic_exchange_explicit(&stream->stash[direction], 0, memory_order_relaxed);
}

/* What moved is the result, and the error the next call's, unless the next call finds out by itself. */
ssize_t nxi_cut_short(nx_stream *stream, enum nxi_direction direction, size_t total, int64_t error)
{
    if (total == 0)
        return (ssize_t)error;
    if (error != -ETIMEDOUT && error != -ECANCELED && error != -EAGAIN && error != -EBADF && error != 0)
        atomic_store_explicit(&stream->stash[direction], (int32_t)error, memory_order_relaxed);
    return (ssize_t)total;
}

uint32_t nxi_clamp(size_t len)
{
    return (uint32_t)(len < TRANSFER_MAX ? len : TRANSFER_MAX);
}

/* Kept bytes. 0: another reader was faster, or len is 0. */
static NXI_NOINLINE ssize_t read_kept(nx_stream *stream, void *buf, size_t len)
{
    struct nxi_worker *worker = nxi_self();
    if (len == 0)
        return 0;
    ssize_t result = nxi_task_cancelled(worker->current) ? -ECANCELED : nxi_kept_read(stream, buf, len);
    if (result != 0)
        nxi_charge(worker);
    return result;
}

static NXI_NOINLINE ssize_t read_anyway(nx_stream *stream, void *buf, size_t len, nx_time deadline)
{
    int error = nxi_stream_check(stream, buf, len);
    if (error == 0 && NXI_UNLIKELY(nxi_stream_kept(stream))) {
        ssize_t result = read_kept(stream, buf, len);
        if (result != 0)
            return result;
    }
    if (error == 0)
        error = nxi_take_stash(stream, NXI_READ_SIDE);
    if (error < 0 || len == 0)
        return error;
    struct nx_op op = {.code = NX_OP_READ, .data = buf, .len = nxi_clamp(len)};
    return (ssize_t)nxi_stream_run(stream, &op, deadline, NULL);
}

ssize_t nx_read(nx_stream *stream, void *buf, size_t len, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    int64_t result = nxi_stream_quick(stream, NXI_READ_SIDE, buf, len, deadline, NULL);
    return NXI_LIKELY(result != NXI_STREAM_UNUSUAL) ? (ssize_t)result : read_anyway(stream, buf, len, deadline);
}

ssize_t nxi_stream_read_now(nx_stream *stream, void *buf, size_t len)
{
    ssize_t kept = len > 0 ? nxi_kept_read(stream, buf, len) : 0;
    if (kept != 0)
        return kept;
    int error = nxi_take_stash(stream, NXI_READ_SIDE);
    if (error < 0 || len == 0)
        return error;
    struct nx_op op = {.code = NX_OP_READ, .data = buf, .len = nxi_clamp(len)};
    return (ssize_t)nxi_stream_try(stream, &op);
}

void nxi_charge_between(nx_stream *stream, bool last, bool *inout_held)
{
    if (!last)
        nxi_stream_hold(stream, inout_held);
    nxi_charge(nxi_self());
}

/* Repeats one operation until all is moved; total is already. The stream is released if it is held. */
static NXI_NOINLINE ssize_t move_rest(nx_stream *stream, uint16_t code, enum nxi_direction direction, char *data,
                                      size_t len, nx_time deadline, uint16_t flags, size_t total, bool held)
{
    ssize_t result = (ssize_t)total;
    while (total < len && result >= 0) {
        struct nx_op op = {.code = code, .flags = flags, .data = data + total, .len = nxi_clamp(len - total)};
        int64_t moved = nxi_stream_run(stream, &op, deadline, &held);
        if (NXI_UNLIKELY(flags && (moved == -EOPNOTSUPP || moved == -ENOTSUP || moved == -EAGAIN || moved == -EINTR))) {
            flags = 0; /* not on this kind of socket */
            continue;
        }
        if (moved <= 0) {
            result = nxi_cut_short(stream, direction, total, moved);
            break;
        }
        total += (size_t)moved;
        result = (ssize_t)total;
        nxi_charge_between(stream, total == len, &held);
    }
    nxi_stream_release(stream, held);
    return result;
}

/* All of it, from the beginning. */
static NXI_NOINLINE ssize_t move_all(nx_stream *stream, uint16_t code, enum nxi_direction direction, char *data,
                                     size_t len, nx_time deadline, uint16_t flags)
{
    size_t total = 0;
    bool held = false;
    ssize_t result = 0;
    int error = nxi_stream_check(stream, data, len);
    if (error == 0 && direction == NXI_READ_SIDE && NXI_UNLIKELY(nxi_stream_kept(stream))) {
        nxi_stream_hold(stream, &held);
        result = read_kept(stream, data, len);
        total = result > 0 ? (size_t)result : 0;
        error = result < 0 ? (int)result : 0;
    }
    if (error == 0 && total < len)
        error = nxi_take_stash(stream, direction);
    if (error < 0) {
        result = nxi_cut_short(stream, direction, total, error);
        nxi_stream_release(stream, held);
        return result;
    }
    return move_rest(stream, code, direction, data, len, deadline, flags, total, held);
}

ssize_t nx_read_exact(nx_stream *stream, void *buf, size_t len, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    return move_all(stream, NX_OP_READ, NXI_READ_SIDE, buf, len, deadline, 0);
}

/* The first operation nearly always moves all. */
ssize_t nx_write(nx_stream *stream, const void *buf, size_t len, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    char *data = (char *)(uintptr_t)buf;
    bool held = false;
    int64_t moved = nxi_stream_quick(stream, NXI_WRITE_SIDE, data, len, deadline, &held);
    if (NXI_UNLIKELY(moved == NXI_STREAM_UNUSUAL))
        return move_all(stream, NX_OP_WRITE, NXI_WRITE_SIDE, data, len, deadline, 0);
    if (NXI_LIKELY(moved <= 0 || (size_t)moved == len)) {
        nxi_stream_release(stream, held);
        return (ssize_t)moved;
    }
    nxi_charge_between(stream, false, &held);
    return move_rest(stream, NX_OP_WRITE, NXI_WRITE_SIDE, data, len, deadline, 0, (size_t)moved, held);
}

static bool copies_nothing(const nx_stream *stream)
{
    const struct nxi_drivers_instance *driver = &stream->runtime->drivers[stream->driver];
    struct nx_capability capability = {.size = sizeof(capability)};
    return NXI_HAS(driver->ops, capability) &&
           driver->ops->capability(driver->instance, NX_OP_WRITE, &capability) == 0 &&
           (capability.flags & NX_OP_ZEROCOPY);
}

ssize_t nx_write_zerocopy(nx_stream *stream, const void *buf, size_t len, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    int error = nxi_stream_check(stream, buf, len);
    if (error < 0)
        return error;
    bool worth = len >= ZEROCOPY_MIN && deadline != NX_POLL && copies_nothing(stream);
    return move_all(stream, NX_OP_WRITE, NXI_WRITE_SIDE, (char *)(uintptr_t)buf, len, deadline,
                    worth ? NX_OP_ZEROCOPY : 0);
}

/* The rest of a vector that is begun, by itself; else as many whole ones as an operation takes. */
static struct nx_op next_writev(const struct nxi_cursor *cursor)
{
    if (cursor->offset > 0)
        return (struct nx_op){.code = NX_OP_WRITE,
                              .data = (char *)cursor->iov->iov_base + cursor->offset,
                              .len = nxi_clamp(cursor->iov->iov_len - cursor->offset)};
    return (struct nx_op){.code = NX_OP_WRITEV,
                          .data = (void *)(uintptr_t)cursor->iov,
                          .len = cursor->count < NX_IOV_MAX ? cursor->count : NX_IOV_MAX};
}

int nxi_write_all(nx_stream *stream, const struct iovec *iov, uint32_t count, nx_time deadline, size_t *ret_moved,
                  bool *inout_held)
{
    struct nxi_cursor cursor = {.iov = iov, .count = count};
    int64_t moved = 1;
    *ret_moved = 0;
    nxi_cursor_advance(&cursor, 0); /* over empty ones */
    while (cursor.count > 0 && moved > 0) {
        struct nx_op op = next_writev(&cursor);
        moved = nxi_stream_run(stream, &op, deadline, inout_held);
        if (moved > 0) {
            *ret_moved += (size_t)moved;
            nxi_cursor_advance(&cursor, (size_t)moved);
            nxi_charge_between(stream, cursor.count == 0, inout_held);
        }
    }
    return moved < 0 ? (int)moved : cursor.count > 0 ? -EIO : 0;
}

ssize_t nx_writev(nx_stream *stream, const struct iovec *iov, int count, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    size_t total;
    bool held = false;
    int error = nxi_stream_check(stream, iov, count > 0 ? (size_t)count : 0);
    if (error == 0 && count < 0)
        error = -EINVAL;
    if (error == 0)
        error = nxi_take_stash(stream, NXI_WRITE_SIDE);
    if (error < 0)
        return error;
    error = nxi_write_all(stream, iov, (uint32_t)count, deadline, &total, &held);
    ssize_t result = error < 0 ? nxi_cut_short(stream, NXI_WRITE_SIDE, total, error) : (ssize_t)total;
    nxi_stream_release(stream, held);
    return result;
}

int nx_shutdown(nx_stream *stream, int how)
{
    NXI_ENTRY(-ENOSYS);
    int error = nxi_stream_check(stream, NULL, 0);
    if (error < 0)
        return error;
    if (how < NX_SHUT_READ || how > NX_SHUT_BOTH)
        return -EINVAL;
    struct nx_op op = {.code = NX_OP_SHUTDOWN, .arg = (uint64_t)how};
    return (int)nxi_stream_run(stream, &op, NX_FOREVER, NULL);
}
