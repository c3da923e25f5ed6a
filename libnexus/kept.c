/*
 * kept.c: bytes that were read from a stream and wait in it for the next reader; nx_read_until.
 *
 * stream->kept is one heap buffer, never empty, or NULL, so that a stream without any costs a pointer. It is guarded by
 * who has it: a reader takes it out by an exchange with NULL (acquire), uses it alone, and puts the rest back by
 * compare-and-swap from NULL (seq_cst: stream.c, nxi_stream_stir). Who finds something put meanwhile by another
 * reader takes that out, too, and puts both back joined. Two readers at once get each byte once; in what order is as
 * undefined as without this.
 *
 * If there is no memory to keep bytes in, the stream has a hole. No reader must get past it unknowingly: `lost` stays
 * in the stream instead, and every further read says -ENOMEM.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memmem */
#endif
#include "transfer.h"
#include <string.h>

#define DELIM_MAX 16u

static struct nxi_kept lost;

bool nxi_stream_kept(const nx_stream *stream)
{
    return atomic_load_explicit(&stream->kept, memory_order_relaxed) != NULL;
}

void nxi_kept_drop(struct nxi_kept *kept)
{
    if (kept && kept != &lost)
        nxi_free(kept, sizeof(*kept) + kept->size);
}

void nxi_kept_free(nx_stream *stream)
{
    nxi_kept_drop(atomic_exchange_explicit(&stream->kept, NULL, memory_order_acquire));
}

static struct nxi_kept *copy_of(const void *data, size_t len, const void *more, size_t more_len)
{
    struct nxi_kept *kept = nxi_alloc(sizeof(*kept) + len + more_len);
    if (!kept)
        return &lost;
    kept->size = kept->end = len + more_len;
    memcpy(kept->data, data, len);
    if (more_len > 0)
        memcpy(kept->data + len, more, more_len);
    return kept;
}

/* One of both, which are used up. */
static struct nxi_kept *join(struct nxi_kept *first, struct nxi_kept *second)
{
    struct nxi_kept *both = &lost;
    if (first != &lost && second != &lost)
        both = copy_of(first->data + first->start, first->end - first->start, second->data + second->start,
                       second->end - second->start);
    nxi_kept_drop(first);
    nxi_kept_drop(second);
    return both;
}

void nxi_kept_put(nx_stream *stream, struct nxi_kept *kept)
{
    struct nxi_kept *none = NULL;
    if (kept != &lost && kept->start == kept->end) {
        nxi_kept_drop(kept);
        return;
    }
    while (!atomic_compare_exchange_strong_explicit(&stream->kept, &none, kept, memory_order_seq_cst,
                                                    memory_order_relaxed)) { /* ends when nobody else puts */
        struct nxi_kept *other = atomic_exchange_explicit(&stream->kept, NULL, memory_order_acquire);
        if (other)
            kept = join(kept, other);
        none = NULL;
    }
    nxi_stream_stir(stream); /* a select may wait for what we have taken out, and not all taken */
}

struct nxi_kept *nxi_kept_take(nx_stream *stream, int *ret_error)
{
    *ret_error = 0;
    if (NXI_LIKELY(!nxi_stream_kept(stream)))
        return NULL;
    struct nxi_kept *kept = atomic_exchange_explicit(&stream->kept, NULL, memory_order_acquire);
    if (kept != &lost)
        return kept;
    nxi_kept_put(stream, kept);
    *ret_error = -ENOMEM;
    return NULL;
}

void nxi_kept_keep(nx_stream *stream, const void *data, size_t len)
{
    if (len > 0)
        nxi_kept_put(stream, copy_of(data, len, NULL, 0));
}

void nxi_kept_lose(nx_stream *stream)
{
    nxi_kept_put(stream, &lost);
}

static size_t move(struct nxi_kept *kept, void *buf, size_t len)
{
    size_t there = kept->end - kept->start;
    size_t moved = len < there ? len : there;
    memcpy(buf, kept->data + kept->start, moved);
    kept->start += moved;
    return moved;
}

ssize_t nxi_kept_read(nx_stream *stream, void *buf, size_t len)
{
    int error;
    struct nxi_kept *kept = nxi_kept_take(stream, &error);
    if (!kept)
        return error;
    size_t moved = move(kept, buf, len);
    nxi_kept_put(stream, kept);
    return (ssize_t)moved;
}

/* ---- nx_read_until ---- */

struct line {
    char *buf;
    size_t size, have; /* have: bytes read so far, without a delimiter */
    const char *delim;
    size_t delim_len;
};

/* The length of the text up to and with the delimiter, of which the first `old` bytes have been searched; or 0. */
static size_t find(const struct line *line, const char *text, size_t old, size_t len)
{
    size_t from = old < line->delim_len ? 0 : old - (line->delim_len - 1);
    const char *found = memmem(text + from, len - from, line->delim, line->delim_len);
    return found ? (size_t)(found - text) + line->delim_len : 0;
}

/* What is kept: a whole line's length, -errno, or 0: there was none, but line->have bytes of one. */
static ssize_t begin_line(nx_stream *stream, struct line *line)
{
    int error;
    struct nxi_kept *kept = nxi_kept_take(stream, &error);
    if (!kept)
        return error;
    size_t there = kept->end - kept->start;
    size_t looked = there < line->size ? there : line->size;
    ssize_t result = (ssize_t)find(line, kept->data + kept->start, 0, looked);
    if (result > 0)
        move(kept, line->buf, (size_t)result);
    else if (looked == line->size)
        result = -EMSGSIZE;
    else
        line->have = move(kept, line->buf, looked);
    nxi_kept_put(stream, kept);
    return result;
}

/* Reads until the line is whole. */
static ssize_t go_on(nx_stream *stream, struct line *line, nx_time deadline, bool *inout_held)
{
    for (;;) { /* ends: each turn reads something into a buffer of that size */
        struct nx_op op = {
            .code = NX_OP_READ, .data = line->buf + line->have, .len = nxi_clamp(line->size - line->have)};
        int64_t moved = nxi_stream_run(stream, &op, deadline, inout_held);
        if (moved == 0) {
            nxi_charge_between(stream, true, inout_held);
            return (ssize_t)line->have;
        }
        size_t all = line->have + (moved > 0 ? (size_t)moved : 0);
        size_t len = moved > 0 ? find(line, line->buf, line->have, all) : 0;
        if (moved < 0 || len > 0 || all == line->size) {
            nxi_kept_keep(stream, line->buf + len, all - len);
            nxi_charge_between(stream, true, inout_held);
            return moved < 0 ? (ssize_t)moved : len > 0 ? (ssize_t)len : -EMSGSIZE;
        }
        line->have = all;
        nxi_charge_between(stream, false, inout_held);
    }
}

ssize_t nx_read_until(nx_stream *stream, void *buf, size_t size, const char *delim, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    int error = nxi_stream_check(stream, buf, size);
    size_t delim_len = delim ? strnlen(delim, DELIM_MAX + 1) : 0;
    if (error == 0 && (size == 0 || delim_len == 0 || delim_len > DELIM_MAX))
        error = -EINVAL;
    if (error < 0)
        return error;
    struct nxi_worker *worker = nxi_self();
    if (nxi_task_cancelled(worker->current)) {
        nxi_charge(worker);
        return -ECANCELED;
    }
    struct line line = {.buf = buf, .size = size, .delim = delim, .delim_len = delim_len};
    ssize_t result = begin_line(stream, &line);
    if (result == 0) {
        error = nxi_take_stash(stream, NXI_READ_SIDE);
        if (error < 0) {
            nxi_kept_keep(stream, line.buf, line.have);
            return error;
        }
        bool held = false;
        result = go_on(stream, &line, deadline, &held);
        nxi_stream_release(stream, held);
    } else {
        nxi_charge(worker);
    }
    return result;
}
