/* conform/driver_address.c: addresses of the other families, and groups. */
#define _GNU_SOURCE
#include "rig.h"

#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <unistd.h>

/* A stream socket bound to it; skips where the driver has no such family. */
static nx_handle bound(struct rig *rig, const struct nx_addr *addr, const char *family, int *ret_result)
{
    nx_handle handle = 0;
    int r;

    doing("socket of family %s", family);
    r = rig->ops->socket(rig->context[0], addr->family, NX_SOCK_STREAM, &handle);
    if (r == -EAFNOSUPPORT || r == -ENOTSUP)
        skip("socket says %s to family %s", error_text(r), family);
    CHECK(r == 0, "socket of family %s gives %s", family, error_text(r));
    doing("bind of family %s", family);
    *ret_result = rig->ops->bind(rig->context[0], handle, addr);
    return handle;
}

static bool is_same(const struct nx_addr *one, const struct nx_addr *other)
{
    return one->family == other->family && one->len == other->len && one->port == other->port &&
           one->len <= sizeof(one->data) && memcmp(one->data, other->data, one->len) == 0;
}

static int64_t connect_to(struct rig *rig, const struct nx_addr *addr, nx_handle *ret_handle)
{
    nx_handle handle = 0;
    int r = rig->ops->socket(rig->context[0], addr->family, NX_SOCK_STREAM, &handle);

    CHECK(r == 0, "a second socket of a family gives %s", error_text(r));
    *ret_handle = handle;
    return finish(rig, start_connect(rig, 0, handle, addr));
}

/* A connection by that listener that carries a byte each way. The client, for its names. */
static nx_handle converse(struct rig *rig, nx_handle listener, const struct nx_addr *addr, nx_handle *ret_server)
{
    struct flight *accept = fly(rig, 0, (struct nx_op){.handle = listener, .code = NX_OP_ACCEPT});
    nx_handle client;
    int64_t r = connect_to(rig, addr, &client);
    char byte = 0;

    CHECK(r == 0, "CONNECT to a listener gives %s", error_text(r));
    r = finish(rig, accept);
    CHECK(r > 0, "ACCEPT gives %s", error_text(r));
    *ret_server = (nx_handle)r;
    write_all(rig, 0, client, "a", 1);
    read_all(rig, 0, *ret_server, &byte, 1);
    CHECK(byte == 'a', "another byte comes than was written");
    write_all(rig, 0, *ret_server, "b", 1);
    read_all(rig, 0, client, &byte, 1);
    CHECK(byte == 'b', "another byte comes back than was written");
    return client;
}

static void name_of(struct rig *rig, nx_handle handle, uint32_t peer, struct nx_addr *ret_addr)
{
    int r = rig->ops->name(rig->context[0], handle, peer, ret_addr);

    CHECK(r == 0, "name%s gives %s", peer ? " of the peer" : "", error_text(r));
}

void driver_inet6(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct nx_addr addr = {.len = 16, .family = NX_AF_INET6, .data = {[15] = 1}}, own, peer, mine, theirs;
    nx_handle listener, client, server;
    int r;

    listener = bound(rig, &addr, "NX_AF_INET6", &r);
    if (r == -EADDRNOTAVAIL)
        skip("this machine has no ::1");
    CHECK(r == 0, "bind to [::1]:0 gives %s", error_text(r));
    r = rig->ops->listen(rig->context[0], listener, 16);
    CHECK(r == 0, "listen on [::1]:0 gives %s", error_text(r));
    name_of(rig, listener, 0, &own);
    addr.port = own.port;
    CHECK(own.port != 0 && is_same(&own, &addr), "name of a listener on [::1]:0 is another address");
    client = converse(rig, listener, &own, &server);
    name_of(rig, client, 1, &peer);
    name_of(rig, client, 0, &mine);
    name_of(rig, server, 1, &theirs);
    CHECK(is_same(&peer, &own), "the client's peer is not the address of the listener");
    CHECK(is_same(&mine, &theirs), "the client's address is not that of the accepted end's peer");
    close_handle(rig, 0, client);
    close_handle(rig, 0, server);
    close_handle(rig, 0, listener);
    int64_t refused = connect_to(rig, &own, &client);
    CHECK(refused == -ECONNREFUSED, "CONNECT to where nobody listens gives %s", error_text(refused));
    close_handle(rig, 0, client);
    rig_close(rig);
}

/* ---- Unix ---- */

#ifdef __linux__
#define HAS_ABSTRACT(rig) true
#else /* unless the network is the driver's own */
#define HAS_ABSTRACT(rig) (!HAS(rig, export_fd))
#endif

static struct nx_addr unix_address(bool abstract, const char *what)
{
    struct nx_addr addr = {.family = NX_AF_UNIX};
    const int length = snprintf((char *)addr.data, sizeof(addr.data), "%s/tmp/nexus-conform-%s-%ld",
                                abstract ? "@" : "", what, (long)getpid());

    if (abstract)
        addr.data[0] = 0;
    addr.len = (uint16_t)length;
    return addr;
}

static void listen_by_name(struct rig *rig, bool abstract)
{
    const struct nx_addr addr = unix_address(abstract, "here");
    const char *const kind = abstract ? "an abstract name" : "a path";
    struct nx_addr own, peer;
    nx_handle client, server, second, listener;
    int r;

    listener = bound(rig, &addr, "NX_AF_UNIX", &r);
    CHECK(r == 0, "bind to %s gives %s", kind, error_text(r));
    r = rig->ops->listen(rig->context[0], listener, 16);
    CHECK(r == 0, "listen on %s gives %s", kind, error_text(r));
    name_of(rig, listener, 0, &own);
    CHECK(is_same(&own, &addr), "name of a listener on %s of %u bytes is another one, of %u", kind, addr.len, own.len);
    client = converse(rig, listener, &addr, &server);
    name_of(rig, client, 1, &peer);
    CHECK(is_same(&peer, &addr), "the peer of a client that has connected to %s has another", kind);
    second = bound(rig, &addr, "NX_AF_UNIX", &r);
    if (r == 0)
        r = rig->ops->listen(rig->context[0], second, 16);
    CHECK(r == -EADDRINUSE, "a second listener on %s gives %s", kind, error_text(r));
    close_handle(rig, 0, second);
    close_handle(rig, 0, client);
    close_handle(rig, 0, server);
    close_handle(rig, 0, listener);
    if (!abstract)
        unlink((const char *)addr.data); /* where it made a file; the next run has another name anyway */
}

void driver_unix(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct nx_addr nobody;
    nx_handle client;
    int64_t r;

    listen_by_name(rig, false);
    if (HAS_ABSTRACT(rig))
        listen_by_name(rig, true);
    nobody = unix_address(false, "nobody");
    r = connect_to(rig, &nobody, &client);
    CHECK(r == -ENOENT, "CONNECT to a path that is not there gives %s", error_text(r));
    close_handle(rig, 0, client);
    if (HAS_ABSTRACT(rig)) {
        nobody = unix_address(true, "nobody");
        r = connect_to(rig, &nobody, &client);
        CHECK(r == -ECONNREFUSED, "CONNECT to an abstract name that nobody has gives %s", error_text(r));
        close_handle(rig, 0, client);
    }
    rig_close(rig);
}

/* ---- groups ---- */

static const struct nx_addr group = {.len = 4, .family = NX_AF_INET, .data = {239, 255, 77, 78}};

static int64_t membership(struct rig *rig, nx_handle handle, uint64_t scope, uint64_t join)
{
    struct flight *flight = fly(rig, 0,
                                (struct nx_op){.handle = handle,
                                               .code = NX_OP_MEMBERSHIP,
                                               .data = (void *)(uintptr_t)&group,
                                               .offset = scope,
                                               .arg = join});

    CHECK(flight->was_inline && ended(flight), "MEMBERSHIP did not complete in submit");
    return flight->result;
}

static int64_t message(struct rig *rig, nx_handle handle, uint16_t code, uint16_t flags, struct nx_addr *addr)
{
    char bytes[8] = "group";
    struct iovec iov = {bytes, code == NX_OP_SENDMSG ? 5 : sizeof(bytes)};
    struct nx_message message = {.iov = &iov, .iov_count = 1, .addr = addr};

    return carry_out(rig, 0, (struct nx_op){.handle = handle, .code = code, .flags = flags, .data = &message});
}

static int64_t receive_within(struct rig *rig, nx_handle handle, nx_time time)
{
    int64_t r = -EAGAIN;

    for (const nx_time until = real_now() + time; r == -EAGAIN && real_now() < until;) {
        r = message(rig, handle, NX_OP_RECVMSG, NX_OP_NOWAIT, NULL);
        if (r == -EAGAIN)
            snooze(MS / 5);
    }
    return r;
}

void driver_membership(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct nx_ctx *ctx = rig->context[0];
    const struct nx_addr any = {.len = 4, .family = NX_AF_INET};
    struct nx_addr to;
    const uint32_t scope = if_nametoindex("lo") ? if_nametoindex("lo") : if_nametoindex("lo0");
    nx_handle member = 0, sender = 0;
    int64_t r;

    if (capability_of(rig, NX_OP_MEMBERSHIP).level == NX_CAP_NO)
        skip("capability says NX_CAP_NO to MEMBERSHIP: %s", capability_of(rig, NX_OP_MEMBERSHIP).reason);
    if (!HAS(rig, option))
        skip("option is NULL: a sender can't choose the interface");
    if (scope == 0)
        skip("this machine has no interface lo or lo0");
    r = rig->ops->socket(ctx, NX_AF_INET, NX_SOCK_DGRAM, &member);
    r = r < 0 ? r : rig->ops->bind(ctx, member, &any);
    r = r < 0 ? r : rig->ops->name(ctx, member, 0, &to);
    r = r < 0 ? r : rig->ops->socket(ctx, NX_AF_INET, NX_SOCK_DGRAM, &sender);
    CHECK(r == 0, "socket, bind and name of datagram sockets give %s", error_text(r));
    r = rig->ops->option(ctx, sender, NX_OPTION_MULTICAST_SCOPE, scope);
    r = r < 0 ? r : rig->ops->option(ctx, sender, NX_OPTION_MULTICAST_LOOP, 1);
    CHECK(r == 0, "the options of multicast give %s", error_text(r));
    memcpy(to.data, group.data, 4);
    r = membership(rig, member, scope, 1);
    CHECK(r == 0, "MEMBERSHIP, to join a group on the loopback interface, gives %s", error_text(r));
    r = message(rig, sender, NX_OP_SENDMSG, 0, &to);
    CHECK(r == 5, "SENDMSG to a group gives %s", error_text(r));
    r = receive_within(rig, member, 1000 * MS);
    CHECK(r == 5, "a datagram to a group that was joined is not received: %s", error_text(r));
    r = membership(rig, member, scope, 0);
    CHECK(r == 0, "MEMBERSHIP, to leave a group, gives %s", error_text(r));
    message(rig, sender, NX_OP_SENDMSG, 0, &to);
    r = receive_within(rig, member, 20 * MS);
    CHECK(r == -EAGAIN, "a datagram to a group that was left is received");
    r = membership(rig, member, scope, 0);
    CHECK(r < 0 && r != -EAGAIN, "MEMBERSHIP, to leave a group that was left, gives %s", error_text(r));
    close_handle(rig, 0, member);
    close_handle(rig, 0, sender);
    r = membership(rig, member, scope, 1);
    CHECK(r == -EBADF, "MEMBERSHIP of a closed handle gives %s", error_text(r));
    rig_close(rig);
}
