/* writer.c: a buffered writer in the caller's memory: what is small is gathered, what is large goes along with it. */
#include "transfer.h"
#include <stdarg.h>
#include <string.h>

static int check(const nx_writer *writer, const void *data, size_t len)
{
    if (!nxi_in_task())
        return nxi_no_task();
    if (!writer || !writer->buffer || writer->size == 0 || writer->used > writer->size)
        return -EINVAL;
    int error = nxi_stream_check(writer->stream, data, len);
    if (error == 0 && nxi_task_cancelled(nxi_self()->current)) {
        nxi_charge(nxi_self());
        error = -ECANCELED;
    }
    return error;
}

/* Writes out what is buffered, and then data: 0 or -errno, and how much of data went. */
static int push(nx_writer *writer, const void *data, size_t len, nx_time deadline, size_t *ret_taken)
{
    const struct iovec iov[2] = {{writer->buffer, writer->used}, {(void *)(uintptr_t)data, len}};
    size_t moved = 0;
    bool held = false;
    int error = nxi_take_stash(writer->stream, NXI_WRITE_SIDE);
    if (error == 0)
        error = nxi_write_all(writer->stream, iov, 2, deadline, &moved, &held);
    size_t flushed = moved < writer->used ? moved : writer->used;
    if (error < 0 && moved > flushed) /* the caller is told of the bytes, not of the error */
        nxi_cut_short(writer->stream, NXI_WRITE_SIDE, moved, error);
    nxi_stream_release(writer->stream, held);
    memmove(writer->buffer, writer->buffer + flushed, writer->used - flushed);
    writer->used -= flushed;
    *ret_taken = moved - flushed;
    return error;
}

int nx_writer_init(nx_writer *writer, nx_stream *stream, void *buffer, size_t size)
{
    NXI_ENTRY(-ENOSYS);
    if (nxi_forked())
        return -NX_EFORKED;
    if (!writer || !stream || !buffer || size == 0)
        return -EINVAL;
    *writer = (nx_writer){.stream = stream, .buffer = buffer, .size = size};
    return 0;
}

ssize_t nx_writer_write(nx_writer *writer, const void *data, size_t len, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    size_t taken = len;
    int error = check(writer, data, len);
    if (error < 0)
        return error;
    if (len < writer->size - writer->used) {
        if (len > 0)
            memcpy(writer->buffer + writer->used, data, len);
        writer->used += len;
    } else { /* what is in a full buffer can't grow: it goes at once */
        error = push(writer, data, len, deadline, &taken);
    }
    return taken > 0 || error == 0 ? (ssize_t)taken : error;
}

static ssize_t print(nx_writer *writer, nx_time deadline, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    size_t room = writer->size - writer->used, none;
    int len = vsnprintf(writer->buffer + writer->used, room, format, arguments);
    int error = len < 0 ? -EINVAL : (size_t)len >= writer->size ? -EMSGSIZE : 0;
    if (error == 0 && (size_t)len >= room) { /* a terminator needs room, too */
        error = push(writer, NULL, 0, deadline, &none);
        if (error == 0)
            len = vsnprintf(writer->buffer, writer->size, format, again);
    }
    va_end(again);
    if (error < 0)
        return error;
    writer->used += (size_t)len;
    return len;
}

ssize_t nx_writer_printf(nx_writer *writer, nx_time deadline, const char *format, ...)
{
    NXI_ENTRY(-ENOSYS);
    int error = check(writer, format, 1);
    if (error < 0)
        return error;
    va_list arguments;
    va_start(arguments, format);
    ssize_t result = print(writer, deadline, format, arguments);
    va_end(arguments);
    return result;
}

int nx_writer_flush(nx_writer *writer, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    size_t none;
    int error = check(writer, NULL, 0);
    return error < 0 || writer->used == 0 ? error : push(writer, NULL, 0, deadline, &none);
}
