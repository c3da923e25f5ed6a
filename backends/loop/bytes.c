/*
 * loop/bytes.c: what moves between the two ends of a connection.
 *
 * Each direction is a list of segments. A write fills segments as far as the window lets it; a read empties them, or
 * borrows the first as it is. Lent bytes count against the window until they come back, so a reader that keeps its
 * loans slows its peer down. Who closes with bytes unread resets the connection: the peer reads what had come to it,
 * and is then told.
 */
#include "loop.h"
#include <string.h>

#define SEGMENT_ROOM 4096u
#define CUT_ONE_IN 3u

struct nxi_loop_segment {
    struct nxi_loop_segment *next;
    struct nxi_loop_link *link; /* while it is lent */
    struct nxi_loop_pipe *pipe;
    uint32_t start, end;
    char data[SEGMENT_ROOM];
};

/* ---- links ---- */

static struct nxi_loop_pipe *in_of(const struct nxi_loop_end *end)
{
    return &end->link->pipe[end->side];
}

static struct nxi_loop_pipe *out_of(const struct nxi_loop_end *end)
{
    return &end->link->pipe[1 - end->side];
}

struct nxi_loop_end *nxi_loop_peer(const struct nxi_loop_end *end)
{
    return end->link->end[1 - end->side];
}

struct nxi_loop_link *nxi_loop_join(struct nx_driver *driver, struct nxi_loop_end *one, struct nxi_loop_end *other)
{
    struct nxi_loop_link *link = driver->host->alloc(sizeof(*link), 0);
    if (!link)
        return NULL;
    link->end[0] = one;
    link->end[1] = other;
    one->link = other->link = link;
    one->side = 0;
    other->side = 1;
    one->kind = other->kind = NXI_LOOP_STREAM;
    return link;
}

static void free_if_unused(struct nx_driver *driver, struct nxi_loop_link *link)
{
    if (!link->end[0] && !link->end[1] && link->loans == 0)
        driver->host->free(link, sizeof(*link));
}

static void drop_bytes(struct nx_driver *driver, struct nxi_loop_pipe *pipe)
{
    struct nxi_loop_segment *segment;
    while ((segment = pipe->first)) {
        pipe->first = segment->next;
        driver->host->free(segment, sizeof(*segment));
    }
    pipe->bytes = 0;
}

void nxi_loop_part(struct nx_driver *driver, struct nxi_loop_end *end)
{
    struct nxi_loop_link *link = end->link;
    struct nxi_loop_end *peer = nxi_loop_peer(end);
    bool unread = in_of(end)->bytes > 0;
    drop_bytes(driver, in_of(end));
    out_of(end)->closed = true;
    if (!peer)
        drop_bytes(driver, out_of(end));
    else if (unread)
        peer->error = ECONNRESET;
    link->end[end->side] = NULL;
    end->link = NULL;
    nxi_loop_stir(driver, peer);
    free_if_unused(driver, link);
}

/* ---- reading ---- */

/* An error that is to be told, once: true. */
static bool tell(struct nxi_loop_end *end, struct nx_completion *ret)
{
    if (end->error == 0)
        return false;
    ret->result = -end->error;
    end->error = 0;
    return true;
}

/* What a read gives if there are no bytes. */
static bool read_nothing(struct nxi_loop_end *end, struct nx_completion *ret)
{
    if (tell(end, ret))
        return true;
    ret->result = 0;
    return in_of(end)->closed || in_of(end)->deaf || !nxi_loop_peer(end);
}

static bool is_stream(const struct nxi_loop_end *end, struct nx_completion *ret)
{
    ret->result = -ENOTCONN;
    return end->kind == NXI_LOOP_STREAM;
}

/* How many of so many bytes are moved this time. */
static size_t portion(struct nx_driver *driver, size_t len)
{
    if (!driver->cuts || len < 2 || nxi_loop_random(driver, CUT_ONE_IN) != 0)
        return len;
    return 1 + nxi_loop_random(driver, len < UINT32_MAX ? (uint32_t)len - 1 : UINT32_MAX);
}

static size_t take_bytes(struct nx_driver *driver, struct nxi_loop_pipe *pipe, char *to, size_t len)
{
    size_t taken = 0;
    while (taken < len && pipe->first) {
        struct nxi_loop_segment *segment = pipe->first;
        size_t part = segment->end - segment->start;
        part = part < len - taken ? part : len - taken;
        memcpy(to + taken, segment->data + segment->start, part);
        segment->start += (uint32_t)part;
        taken += part;
        if (segment->start < segment->end)
            continue;
        pipe->first = segment->next;
        driver->host->free(segment, sizeof(*segment));
    }
    pipe->bytes -= taken;
    return taken;
}

size_t nxi_loop_iov_size(const struct iovec *iov, uint32_t count)
{
    size_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        sum += iov[i].iov_len;
    return sum;
}

bool nxi_loop_read(struct nx_driver *driver, struct nxi_loop_end *end, const struct iovec *iov, uint32_t count,
                   struct nx_completion *ret)
{
    if (!is_stream(end, ret))
        return true;
    struct nxi_loop_pipe *pipe = in_of(end);
    size_t size = nxi_loop_iov_size(iov, count), moved = 0;
    if (pipe->bytes == 0 && size > 0)
        return read_nothing(end, ret);
    size = portion(driver, size < pipe->bytes ? size : pipe->bytes);
    for (uint32_t i = 0; i < count && moved < size; i++) {
        size_t part = iov[i].iov_len < size - moved ? iov[i].iov_len : size - moved;
        moved += take_bytes(driver, pipe, iov[i].iov_base, part);
    }
    nxi_loop_stir(driver, nxi_loop_peer(end));
    ret->result = (int64_t)moved;
    return true;
}

/* ---- lending ---- */

bool nxi_loop_lend(struct nx_driver *driver, struct nxi_loop_end *end, struct nx_completion *ret)
{
    if (!is_stream(end, ret))
        return true;
    struct nxi_loop_pipe *pipe = in_of(end);
    struct nxi_loop_segment *segment = pipe->first;
    if (!segment)
        return read_nothing(end, ret);
    size_t len = segment->end - segment->start;
    pipe->first = segment->next;
    pipe->bytes -= len;
    pipe->lent += len;
    segment->link = end->link;
    segment->pipe = pipe;
    segment->link->loans++;
    segment->next = driver->lent;
    driver->lent = segment;
    driver->loans++;
    ret->data = segment->data + segment->start;
    ret->flags = NX_COMPLETION_LOANED;
    ret->result = (int64_t)len;
    return true;
}

static int take_back(struct nx_driver *driver, const void *data)
{
    struct nxi_loop_segment **place = &driver->lent, *segment;
    while (*place && (*place)->data + (*place)->start != data)
        place = &(*place)->next;
    segment = *place;
    if (!segment)
        return -EINVAL;
    *place = segment->next;
    struct nxi_loop_link *link = segment->link;
    segment->pipe->lent -= segment->end - segment->start;
    link->loans--;
    nxi_loop_stir(driver, link->end[segment->pipe == &link->pipe[0]]); /* who writes into that pipe */
    free_if_unused(driver, link);
    driver->host->free(segment, sizeof(*segment));
    return 0;
}

int nxi_loop_loan_return(struct nx_ctx *ctx, void *data)
{
    struct nx_driver *driver = ctx->driver;
    nxi_loop_enter(driver);
    int result = take_back(driver, data);
    nxi_loop_settle(driver, ctx);
    nxi_loop_leave(driver);
    return result;
}

/* At the network's end: what nobody has given back. */
void nxi_loop_loans_free(struct nx_driver *driver)
{
    while (driver->lent)
        take_back(driver, driver->lent->data + driver->lent->start);
}

/* ---- writing ---- */

/* The segment to go on with; NULL: out of memory. */
static struct nxi_loop_segment *last_with_room(struct nx_driver *driver, struct nxi_loop_pipe *pipe)
{
    struct nxi_loop_segment *last = pipe->first ? pipe->last : NULL;
    if (last && last->end < SEGMENT_ROOM)
        return last;
    struct nxi_loop_segment *segment = driver->host->alloc(sizeof(*segment), 0);
    if (!segment)
        return NULL;
    if (last)
        last->next = segment;
    else
        pipe->first = segment;
    pipe->last = segment;
    return segment;
}

static size_t put_bytes(struct nx_driver *driver, struct nxi_loop_pipe *pipe, const char *from, size_t len)
{
    size_t put = 0;
    while (put < len) {
        struct nxi_loop_segment *segment = last_with_room(driver, pipe);
        if (!segment)
            break;
        size_t part = SEGMENT_ROOM - segment->end;
        part = part < len - put ? part : len - put;
        memcpy(segment->data + segment->end, from + put, part);
        segment->end += (uint32_t)part;
        put += part;
    }
    pipe->bytes += put;
    return put;
}

static size_t room_in(const struct nx_driver *driver, const struct nxi_loop_pipe *pipe)
{
    size_t used = pipe->bytes + pipe->lent;
    return used < driver->window ? driver->window - used : 0;
}

static bool is_broken(const struct nxi_loop_end *end)
{
    return out_of(end)->closed || !nxi_loop_peer(end);
}

bool nxi_loop_write(struct nx_driver *driver, struct nxi_loop_end *end, const struct iovec *iov, uint32_t count,
                    struct nx_completion *ret)
{
    if (!is_stream(end, ret) || tell(end, ret))
        return true;
    struct nxi_loop_pipe *pipe = out_of(end);
    size_t size = nxi_loop_iov_size(iov, count), room = room_in(driver, pipe), moved = 0;
    ret->result = is_broken(end) ? -EPIPE : (int64_t)size;
    if (is_broken(end) || pipe->deaf || size == 0)
        return true;
    if (room == 0)
        return false;
    size = portion(driver, size < room ? size : room);
    for (uint32_t i = 0; i < count && moved < size; i++) {
        size_t part = iov[i].iov_len < size - moved ? iov[i].iov_len : size - moved;
        size_t put = put_bytes(driver, pipe, iov[i].iov_base, part);
        moved += put;
        if (put < part)
            break;
    }
    nxi_loop_stir(driver, nxi_loop_peer(end));
    ret->result = moved > 0 ? (int64_t)moved : -ENOBUFS;
    return true;
}

int64_t nxi_loop_shutdown(struct nx_driver *driver, struct nxi_loop_end *end, uint64_t how)
{
    if (end->kind != NXI_LOOP_STREAM)
        return -ENOTCONN;
    if (how > NX_SHUT_BOTH)
        return -EINVAL;
    if (how != NX_SHUT_READ)
        out_of(end)->closed = true;
    if (how != NX_SHUT_WRITE) {
        in_of(end)->deaf = true;
        drop_bytes(driver, in_of(end));
    }
    nxi_loop_stir(driver, nxi_loop_peer(end));
    nxi_loop_stir(driver, end);
    return 0;
}

/* ---- ready ---- */

static bool is_readable(const struct nxi_loop_end *end)
{
    if (end->kind == NXI_LOOP_LISTENER)
        return end->backlog_count > 0;
    if (end->kind == NXI_LOOP_DATAGRAM)
        return end->datagrams || end->error;
    const struct nxi_loop_pipe *pipe = in_of(end);
    return pipe->bytes > 0 || pipe->closed || pipe->deaf || end->error || !nxi_loop_peer(end);
}

static bool is_writable(const struct nx_driver *driver, const struct nxi_loop_end *end)
{
    if (end->kind != NXI_LOOP_STREAM)
        return end->kind == NXI_LOOP_DATAGRAM;
    return room_in(driver, out_of(end)) > 0 || end->error || is_broken(end) || out_of(end)->deaf;
}

int64_t nxi_loop_ready(const struct nx_driver *driver, const struct nxi_loop_end *end, uint64_t wanted)
{
    if (end->kind == NXI_LOOP_FRESH) /* as a socket that is not connected: hang-up shows as both */
        return (int64_t)(wanted & (NX_READABLE | NX_WRITABLE));
    return (int64_t)(wanted & ((is_readable(end) ? NX_READABLE : 0) | (is_writable(driver, end) ? NX_WRITABLE : 0)));
}
