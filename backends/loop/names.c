/*
 * loop/names.c: addresses, listening, connecting, accepting.
 *
 * Every address belongs to this network, as long as an end has it; a Unix path is a name and makes no file. A
 * connection is whole as soon as it is in the listener's backlog; where that is full the connect waits, in a list of
 * the driver's, until somebody accepts or the listener is closed.
 */
#include "loop.h"
#include <string.h>

#define PORTS_FROM 32768u /* of those that are given away for port 0 */

/* ---- addresses ---- */

static bool is_any(const struct nx_addr *addr)
{
    static const uint8_t zeros[16];
    return addr->family != NX_AF_UNIX && addr->len <= sizeof(zeros) && memcmp(addr->data, zeros, addr->len) == 0;
}

static bool is_same(const struct nx_addr *a, const struct nx_addr *b)
{
    return a->family == b->family && a->port == b->port && a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* To nowhere in particular means to this machine. */
static struct nx_addr destination(const struct nx_addr *addr)
{
    struct nx_addr to = *addr;
    if (is_any(addr) && addr->family == NX_AF_INET)
        memcpy(to.data, (const uint8_t[]){127, 0, 0, 1}, 4);
    else if (is_any(addr))
        to.data[15] = 1;
    return to;
}

/* Where an end seems to be to whoever has the address `to`. */
struct nx_addr nxi_loop_source(const struct nxi_loop_end *end, const struct nx_addr *to)
{
    struct nx_addr from = end->local;
    if (is_any(&from) && from.family == to->family) {
        from = destination(to);
        from.port = end->local.port;
    }
    return from;
}

/* Whether what is sent to addr comes to an end of this name. */
static bool takes(const struct nxi_loop_end *end, const struct nx_addr *addr)
{
    const struct nx_addr *local = &end->local;
    if (is_same(local, addr))
        return true;
    if (!is_any(local) || local->port != addr->port || addr->family == NX_AF_UNIX)
        return false;
    return local->family == addr->family || (local->family == NX_AF_INET6 && !end->v6_only);
}

static bool is_stream(const struct nxi_loop_end *end)
{
    return end->kind != NXI_LOOP_DATAGRAM;
}

/* Two ends can't have these names beside each other. */
static bool collides(const struct nxi_loop_end *other, const struct nxi_loop_end *end)
{
    if (is_stream(other) != is_stream(end) || (other->reuse_port && end->reuse_port))
        return false;
    return takes(other, &end->local) || takes(end, &other->local);
}

static bool is_free(const struct nx_driver *driver, const struct nxi_loop_end *end)
{
    for (const struct nxi_loop_end *other = driver->named; other; other = other->named_next)
        if (other != end && collides(other, end))
            return false;
    return true;
}

struct nxi_loop_end *nxi_loop_who(struct nx_driver *driver, enum nxi_loop_kind kind, const struct nx_addr *addr)
{
    const struct nx_addr to = destination(addr);
    struct nxi_loop_end *found = NULL;
    uint32_t count = 0;
    for (struct nxi_loop_end *end = driver->named; end; end = end->named_next)
        if (end->kind == kind && takes(end, &to) && nxi_loop_random(driver, ++count) == 0) /* several: by lot */
            found = end;
    return found;
}

/* ---- naming ---- */

static void enlist(struct nx_driver *driver, struct nxi_loop_end *end)
{
    end->named_next = driver->named;
    end->named = &driver->named;
    if (end->named_next)
        end->named_next->named = &end->named_next;
    driver->named = end;
}

void nxi_loop_unname(struct nxi_loop_end *end)
{
    if (!end->named)
        return;
    *end->named = end->named_next;
    if (end->named_next)
        end->named_next->named = end->named;
    end->named = NULL;
}

/* The next port that nobody has, for an address whose port is 0. */
static int give_port(struct nx_driver *driver, struct nxi_loop_end *end)
{
    for (uint32_t tries = 0; tries < 65536u - PORTS_FROM; tries++) {
        driver->last_port = driver->last_port < 65535 ? driver->last_port + 1 : (uint16_t)PORTS_FROM;
        end->local.port = driver->last_port;
        if (is_free(driver, end))
            return 0;
    }
    end->local.port = 0;
    return -EADDRINUSE;
}

/* The name of one who has not asked for any, seen from `to`. */
int nxi_loop_name_any(struct nx_driver *driver, struct nxi_loop_end *end, const struct nx_addr *to)
{
    if (end->named || end->local.family == NX_AF_UNIX)
        return 0;
    end->local = destination(to);
    end->local.scope = 0;
    return give_port(driver, end);
}

static int bind_end(struct nx_driver *driver, struct nxi_loop_end *end, const struct nx_addr *addr)
{
    if (addr->family != end->local.family)
        return -EAFNOSUPPORT;
    if (end->named || addr->len == 0 || addr->len > sizeof(addr->data) ||
        (end->kind != NXI_LOOP_FRESH && end->kind != NXI_LOOP_DATAGRAM))
        return -EINVAL;
    struct nx_addr none = end->local;
    end->local = *addr;
    int error = 0;
    if (addr->family != NX_AF_UNIX && addr->port == 0)
        error = give_port(driver, end);
    else if (!is_free(driver, end))
        error = -EADDRINUSE;
    if (error == 0)
        enlist(driver, end);
    else
        end->local = none;
    return error;
}

int nxi_loop_bind(struct nx_ctx *ctx, nx_handle handle, const struct nx_addr *addr)
{
    struct nx_driver *driver = ctx->driver;
    nxi_loop_enter(driver);
    struct nxi_loop_end *end = nxi_loop_find(driver, handle);
    int result = end ? bind_end(driver, end, addr) : -EBADF;
    nxi_loop_leave(driver);
    return result;
}

static int listen_end(struct nxi_loop_end *end, int32_t backlog)
{
    if (end->kind != NXI_LOOP_FRESH && end->kind != NXI_LOOP_LISTENER)
        return end->kind == NXI_LOOP_DATAGRAM ? -ENOTSUP : -EINVAL;
    if (!end->named)
        return -EDESTADDRREQ;
    end->kind = NXI_LOOP_LISTENER;
    end->backlog_max = backlog > 0 ? (uint32_t)backlog : 1;
    return 0;
}

int nxi_loop_listen(struct nx_ctx *ctx, nx_handle handle, int32_t backlog)
{
    struct nx_driver *driver = ctx->driver;
    nxi_loop_enter(driver);
    struct nxi_loop_end *end = nxi_loop_find(driver, handle);
    int result = end ? listen_end(end, backlog) : -EBADF;
    nxi_loop_leave(driver);
    return result;
}

/* ---- connecting and accepting ---- */

static void connect_later(struct nx_driver *driver, struct nxi_loop_end *end)
{
    if (end->connects)
        return;
    end->connect_next = driver->connecting;
    end->connects = &driver->connecting;
    if (end->connect_next)
        end->connect_next->connects = &end->connect_next;
    driver->connecting = end;
}

void nxi_loop_connect_over(struct nxi_loop_end *end)
{
    if (!end->connects)
        return;
    *end->connects = end->connect_next;
    if (end->connect_next)
        end->connect_next->connects = end->connects;
    end->connects = NULL;
}

void nxi_loop_stir_connecting(struct nx_driver *driver)
{
    for (struct nxi_loop_end *end = driver->connecting; end; end = end->connect_next)
        nxi_loop_stir(driver, end);
}

/* A connection from end to the listener, in its backlog: 0 or -errno. */
static int enter_backlog(struct nx_driver *driver, struct nxi_loop_end *listener, struct nxi_loop_end *end,
                         const struct nx_addr *addr)
{
    struct nxi_loop_end *other = nxi_loop_end_new(driver, NULL);
    if (!other)
        return -ENOBUFS;
    int error = nxi_loop_name_any(driver, end, addr);
    if (error == 0 && !nxi_loop_join(driver, end, other))
        error = -ENOBUFS;
    if (error < 0) {
        nxi_loop_end_free(driver, other);
        return error;
    }
    end->peer = destination(addr);
    other->local = end->peer;
    other->peer = end->local;
    struct nxi_loop_end **place = &listener->backlog;
    while (*place)
        place = &(*place)->backlog_next;
    *place = other;
    listener->backlog_count++;
    nxi_loop_stir(driver, listener);
    return 0;
}

/* A path that nobody has is not there; an abstract name never is. */
static int refusal(struct nx_driver *driver, const struct nx_addr *addr)
{
    bool is_path = addr->family == NX_AF_UNIX && addr->data[0] != '\0';
    return is_path && !nxi_loop_who(driver, NXI_LOOP_FRESH, addr) ? -ENOENT : -ECONNREFUSED;
}

static int64_t why_not(const struct nxi_loop_end *end, const struct nx_addr *addr)
{
    if (end->kind == NXI_LOOP_STREAM)
        return -EISCONN;
    if (end->kind != NXI_LOOP_FRESH)
        return -EINVAL;
    return addr->family != end->local.family ? -EAFNOSUPPORT : 0;
}

bool nxi_loop_connect(struct nx_driver *driver, struct nxi_loop_end *end, const struct nx_addr *addr,
                      struct nx_completion *ret)
{
    ret->result = why_not(end, addr);
    struct nxi_loop_end *listener = ret->result == 0 ? nxi_loop_who(driver, NXI_LOOP_LISTENER, addr) : NULL;
    if (listener && listener->backlog_count >= listener->backlog_max) {
        connect_later(driver, end);
        return false;
    }
    if (ret->result == 0)
        ret->result = listener ? enter_backlog(driver, listener, end, addr) : refusal(driver, addr);
    nxi_loop_connect_over(end);
    return true;
}

bool nxi_loop_accept(struct nx_driver *driver, struct nxi_loop_end *end, struct nx_completion *ret)
{
    if (end->kind != NXI_LOOP_LISTENER) {
        ret->result = -EINVAL;
        return true;
    }
    struct nxi_loop_end *accepted = end->backlog;
    if (!accepted)
        return false;
    end->backlog = accepted->backlog_next;
    end->backlog_count--;
    accepted->backlog_next = NULL;
    accepted->home = end->home;
    nxi_loop_stir_connecting(driver);
    ret->result = (int64_t)accepted->handle;
    ret->flags = ret->op->flags & NX_OP_MULTISHOT ? NX_COMPLETION_MORE : 0;
    return true;
}
