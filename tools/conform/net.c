/* conform/net.c: connections through a driver's own handles, both ends in one instance. */
#include "rig.h"

#include <errno.h>
#include <string.h>

#define CHUNK 65536u

struct nx_addr loopback(uint16_t port)
{
    struct nx_addr addr = {.len = 4, .family = NX_AF_INET, .port = port};

    memcpy(addr.data, (const uint8_t[]){127, 0, 0, 1}, 4);
    return addr;
}

nx_handle make_socket(struct rig *rig, uint32_t context, uint32_t type)
{
    nx_handle handle = 0;
    int r;

    doing("socket");
    r = rig->ops->socket(rig->context[context], NX_AF_INET, type, &handle);
    CHECK(r == 0, "socket of family NX_AF_INET and type %u fails with %s", type, error_text(r));
    return handle;
}

void close_handle(struct rig *rig, uint32_t context, nx_handle handle)
{
    carry_out(rig, context, (struct nx_op){.handle = handle, .code = NX_OP_CLOSE});
}

nx_handle make_listener(struct rig *rig, uint32_t context, struct nx_addr *ret_addr)
{
    nx_handle handle = make_socket(rig, context, NX_SOCK_STREAM);
    const struct nx_addr any = loopback(0);
    struct nx_ctx *ctx = rig->context[context];
    int r;

    doing("bind");
    r = rig->ops->bind(ctx, handle, &any);
    CHECK(r == 0, "bind to 127.0.0.1:0 fails with %s", error_text(r));
    doing("listen");
    r = rig->ops->listen(ctx, handle, 128);
    CHECK(r == 0, "listen fails with %s", error_text(r));
    doing("name");
    r = rig->ops->name(ctx, handle, 0, ret_addr);
    CHECK(r == 0, "name of a listener fails with %s", error_text(r));
    CHECK(ret_addr->family == NX_AF_INET && ret_addr->port != 0,
          "name of a listener bound to port 0 gives family %u, port %u", ret_addr->family, ret_addr->port);
    return handle;
}

/* As the core accepts: MULTISHOT, and again when that has ended. */
void listen_on(struct net *net)
{
    net->accept = fly(net->rig, net->context,
                      (struct nx_op){.handle = net->listener, .code = NX_OP_ACCEPT, .flags = NX_OP_MULTISHOT});
}

struct net net_open(struct rig *rig, uint32_t context)
{
    struct net net = {.rig = rig, .context = context};

    net.listener = make_listener(rig, context, &net.addr);
    listen_on(&net);
    return net;
}

void net_close(struct net *net)
{
    ask_cancel(net->rig, net->accept);
    finish(net->rig, net->accept);
    for (uint32_t i = net->accept->report_next; i < net->accept->report_count; i++)
        close_handle(net->rig, net->context, (nx_handle)net->accept->reports[i]);
    if (net->accept->result > 0)
        close_handle(net->rig, net->context, (nx_handle)net->accept->result);
    close_handle(net->rig, net->context, net->listener);
}

nx_handle net_accept(struct net *net)
{
    int64_t result = next_report(net->rig, net->accept);

    CHECK(result > 0, "ACCEPT fails with %s", error_text(result));
    if (ended(net->accept) && net->accept->report_next == net->accept->report_count) {
        net->accept->result = 0; /* taken */
        listen_on(net);
    }
    return (nx_handle)result;
}

struct flight *start_connect(struct rig *rig, uint32_t context, nx_handle handle, const struct nx_addr *addr)
{
    return fly(rig, context, (struct nx_op){.handle = handle, .code = NX_OP_CONNECT, .data = (void *)(uintptr_t)addr});
}

struct pair pair_make(struct net *net, uint32_t client_context)
{
    struct rig *rig = net->rig;
    struct pair pair = {.rig = rig, .client_context = client_context, .server_context = net->context};
    struct flight *connect;
    int64_t r;

    pair.client = make_socket(rig, client_context, NX_SOCK_STREAM);
    connect = start_connect(rig, client_context, pair.client, &net->addr);
    pair.server = net_accept(net);
    r = finish(rig, connect);
    CHECK(r == 0, "CONNECT to a listener fails with %s", error_text(r));
    return pair;
}

struct pair pair_open(struct rig *rig)
{
    struct net net = net_open(rig, 0);
    struct pair pair = pair_make(&net, 0);

    net_close(&net);
    return pair;
}

void pair_close(struct pair *pair)
{
    close_handle(pair->rig, pair->client_context, pair->client);
    close_handle(pair->rig, pair->server_context, pair->server);
}

struct nx_op read_op(nx_handle handle, void *data, uint32_t len)
{
    return (struct nx_op){.handle = handle, .code = NX_OP_READ, .data = data, .len = len};
}

struct nx_op write_op(nx_handle handle, const void *data, uint32_t len)
{
    return (struct nx_op){.handle = handle, .code = NX_OP_WRITE, .data = (void *)(uintptr_t)data, .len = len};
}

void write_all(struct rig *rig, uint32_t context, nx_handle handle, const void *data, size_t len)
{
    for (size_t at = 0; at < len;) { /* ends: each turn moves a byte or fails */
        int64_t r = carry_out(rig, context, write_op(handle, (const char *)data + at, (uint32_t)(len - at)));

        CHECK(r > 0 && (uint64_t)r <= len - at, "WRITE of %zu bytes gives %s", len - at, error_text(r));
        at += (size_t)r;
    }
}

size_t read_some(struct rig *rig, uint32_t context, nx_handle handle, void *data, size_t len)
{
    int64_t r = carry_out(rig, context, read_op(handle, data, (uint32_t)len));

    CHECK(r >= 0 && (uint64_t)r <= len, "READ of up to %zu bytes gives %s", len, error_text(r));
    return (size_t)r;
}

void read_all(struct rig *rig, uint32_t context, nx_handle handle, void *data, size_t len)
{
    for (size_t at = 0; at < len;) { /* ends: likewise */
        size_t n = read_some(rig, context, handle, (char *)data + at, len - at);

        CHECK(n > 0, "end of stream after %zu of %zu bytes", at, len);
        at += n;
    }
}

uint64_t fill(struct rig *rig, uint32_t context, nx_handle handle)
{
    static char chunk[CHUNK];
    uint64_t all = 0;

    for (;;) { /* ends: no window is a gigabyte */
        struct nx_op op = write_op(handle, chunk, sizeof(chunk));
        int64_t r;

        op.flags = NX_OP_NOWAIT;
        r = carry_out(rig, context, op);
        if (r == -EAGAIN)
            return all;
        CHECK(r > 0 && r <= CHUNK, "WRITE of %u bytes with NOWAIT gives %s", CHUNK, error_text(r));
        all += (uint64_t)r;
        CHECK(all < (uint64_t)1 << 30, "a gigabyte was written, nobody reads, and NOWAIT never gave -EAGAIN");
    }
}
