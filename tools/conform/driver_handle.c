/* conform/driver_handle.c: handles: their form, their end, their names, who may use them, and when there
 * are no more. */
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define HANDLES 64u
#define REUSES 4096u

void driver_handle(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    nx_handle handles[HANDLES];
    struct pair pair = pair_open(rig);

    CHECK(NX_HANDLE_DRIVER(pair.server) == DRIVER_ID,
          "the handle of an accepted connection has the driver id %u, not %u", NX_HANDLE_DRIVER(pair.server),
          DRIVER_ID);
    for (uint32_t i = 0; i < HANDLES; i++) {
        handles[i] = make_socket(rig, 0, NX_SOCK_STREAM);
        CHECK(NX_HANDLE_DRIVER(handles[i]) == DRIVER_ID, "handle %#llx has the driver id %u; open was given %u",
              (unsigned long long)handles[i], NX_HANDLE_DRIVER(handles[i]), DRIVER_ID);
        for (uint32_t j = 0; j < i; j++)
            CHECK(NX_HANDLE_INDEX(handles[i]) != NX_HANDLE_INDEX(handles[j]), "two open handles have the index %u",
                  NX_HANDLE_INDEX(handles[i]));
    }
    for (uint32_t i = 0; i < HANDLES; i++)
        close_handle(rig, 0, handles[i]);
    pair_close(&pair);
    rig_close(rig);
}

static void expect_stale(struct rig *rig, nx_handle handle, const char *when)
{
    char byte = 0;
    struct nx_addr addr = loopback(9);
    const struct nx_op ops[] = {
        read_op(handle, &byte, 1),
        write_op(handle, &byte, 1),
        {.handle = handle, .code = NX_OP_ACCEPT},
        {.handle = handle, .code = NX_OP_CONNECT, .data = &addr},
        {.handle = handle, .code = NX_OP_SHUTDOWN, .arg = NX_SHUT_BOTH},
        {.handle = handle, .code = NX_OP_POLL, .arg = NX_READABLE},
        {.handle = handle, .code = NX_OP_CLOSE},
    };
    int r;

    for (uint32_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        struct flight *flight = fly(rig, 0, ops[i]);
        ask_cancel(rig, flight);
        int64_t result = finish(rig, flight);
        CHECK(result == -EBADF, "%s on a handle %s gives %s", code_name(ops[i].code), when, error_text(result));
    }
    r = rig->ops->bind(rig->context[0], handle, &addr);
    CHECK(r == -EBADF, "bind of a handle %s gives %s", when, error_text(r));
    r = rig->ops->listen(rig->context[0], handle, 1);
    CHECK(r == -EBADF, "listen on a handle %s gives %s", when, error_text(r));
    r = rig->ops->name(rig->context[0], handle, 0, &addr);
    CHECK(r == -EBADF, "name of a handle %s gives %s", when, error_text(r));
}

void driver_stale(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    nx_handle handle = make_socket(rig, 0, NX_SOCK_STREAM);

    close_handle(rig, 0, handle);
    expect_stale(rig, handle, "that is closed");
    rig_close(rig);
}

void driver_generation(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    nx_handle first = make_socket(rig, 0, NX_SOCK_STREAM), again = 0;

    close_handle(rig, 0, first);
    for (uint32_t i = 0; i < REUSES; i++) {
        again = make_socket(rig, 0, NX_SOCK_STREAM);
        CHECK(again != first, "a new handle is the same number as a closed one, %#llx", (unsigned long long)first);
        if (NX_HANDLE_INDEX(again) == NX_HANDLE_INDEX(first))
            break;
        close_handle(rig, 0, again);
        again = 0;
    }
    if (!again) { /* never reused: nothing to mix up */
        rig_close(rig);
        return;
    }
    expect_stale(rig, first, "whose index is in use again");
    struct nx_addr any = loopback(0);
    int r = rig->ops->bind(rig->context[0], again, &any); /* the present one has not been hit */
    CHECK(r == 0, "operations on a stale handle have hit the one that has its index now: bind gives %s", error_text(r));
    close_handle(rig, 0, again);
    rig_close(rig);
}

void driver_close(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    nx_handle fresh = make_socket(rig, 0, NX_SOCK_STREAM);
    char byte;
    struct flight *read = fly(rig, 0, read_op(pair.client, &byte, 1));
    int64_t r;

    carry_out(rig, 0, (struct nx_op){.handle = pair.server, .code = NX_OP_CLOSE});
    r = carry_out(rig, 0, write_op(pair.server, "x", 1));
    CHECK(r == -EBADF, "WRITE on a handle after its CLOSE gives %s", error_text(r));
    r = finish(rig, read);
    CHECK(r == 0, "READ of a peer that waits gives %s when the other end is closed", error_text(r));
    r = carry_out(rig, 0, (struct nx_op){.handle = fresh, .code = NX_OP_CLOSE});
    CHECK(r == 0, "CLOSE of a socket that was never used gives %s", error_text(r));
    close_handle(rig, 0, pair.client);
    rig_close(rig);
}

/* ---- names, from any thread ---- */

struct asker {
    struct rig *rig;
    nx_handle handle;
    uint16_t port;
    bool stop, wrong;
    uint64_t asked;
};

static void *ask_names(void *arg)
{
    struct asker *asker = arg;

    while (!__atomic_load_n(&asker->stop, __ATOMIC_ACQUIRE)) {
        struct nx_addr addr = {0};

        if (asker->rig->ops->name(asker->rig->context[0], asker->handle, 0, &addr) != 0 || addr.port != asker->port)
            asker->wrong = true;
        __atomic_fetch_add(&asker->asked, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static void check_names(struct rig *rig, const struct pair *pair, const struct nx_addr *listener)
{
    struct nx_addr client, client_peer, server, server_peer;
    struct nx_ctx *ctx = rig->context[0];
    int r = rig->ops->name(ctx, pair->client, 0, &client);

    r = r ? r : rig->ops->name(ctx, pair->client, 1, &client_peer);
    r = r ? r : rig->ops->name(ctx, pair->server, 0, &server);
    r = r ? r : rig->ops->name(ctx, pair->server, 1, &server_peer);
    CHECK(r == 0, "name of an end of a connection gives %s", error_text(r));
    CHECK(client_peer.port == listener->port && server.port == listener->port,
          "the listener's port is %u; the client's peer has %u, the accepted end %u", listener->port, client_peer.port,
          server.port);
    CHECK(client.port == server_peer.port && client.port != 0,
          "the client has the port %u, and the accepted end's peer %u", client.port, server_peer.port);
    CHECK(client.len == 4 && memcmp(client.data, "\177\0\0\1", 4) == 0, "the client's own address is not 127.0.0.1");
}

void driver_name(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct net net = net_open(rig, 0);
    struct pair pair = pair_make(&net, 0);
    struct asker asker = {.rig = rig, .handle = net.listener, .port = net.addr.port};
    pthread_t thread;
    char byte = 'x';

    check_names(rig, &pair, &net.addr);
    CHECK(pthread_create(&thread, NULL, ask_names, &asker) == 0, "this program could not start a thread");
    doing("name on another thread, while operations run");
    for (nx_time until = real_now() + PATIENCE; __atomic_load_n(&asker.asked, __ATOMIC_RELAXED) < 100;) {
        write_all(rig, 0, pair.client, &byte, 1);
        read_all(rig, 0, pair.server, &byte, 1);
        nx_handle other = make_socket(rig, 0, NX_SOCK_STREAM);
        close_handle(rig, 0, other);
        CHECK(real_now() < until, "name on another thread does not return");
    }
    __atomic_store_n(&asker.stop, true, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    CHECK(!asker.wrong, "name, called on another thread, gave another address than before");
    pair_close(&pair);
    net_close(&net);
    rig_close(rig);
}

/* ---- no more descriptors ---- */

static int last_descriptor(void)
{
    int fd = dup(0);

    CHECK(fd >= 0, "this program can't duplicate its standard input");
    close(fd);
    return fd;
}

static void limit_descriptors(rlim_t limit)
{
    struct rlimit old;

    getrlimit(RLIMIT_NOFILE, &old);
    old.rlim_cur = limit;
    CHECK(setrlimit(RLIMIT_NOFILE, &old) == 0, "this program could not lower RLIMIT_NOFILE");
}

void driver_descriptors(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct nx_addr addr;
    nx_handle listener = make_listener(rig, 0, &addr), client = make_socket(rig, 0, NX_SOCK_STREAM), none = 0;
    struct flight *connect;
    struct rlimit before;
    int64_t r;

    if (!HAS(rig, export_fd) || rig->ops->export_fd(rig->context[0], listener) < 0)
        skip("export_fd is not offered: its handles are no descriptors");
    getrlimit(RLIMIT_NOFILE, &before);
    connect = start_connect(rig, 0, client, &addr);
    finish(rig, connect);
    limit_descriptors((rlim_t)last_descriptor());
    r = rig->ops->socket(rig->context[0], NX_AF_INET, NX_SOCK_STREAM, &none);
    CHECK(r == -EMFILE, "socket without a free descriptor gives %s", error_text(r));
    struct flight *accept =
        fly(rig, 0, (struct nx_op){.handle = listener, .code = NX_OP_ACCEPT, .flags = NX_OP_MULTISHOT});
    r = finish(rig, accept);
    CHECK(r == -EMFILE, "ACCEPT without a free descriptor gives %s", error_text(r));
    limit_descriptors(before.rlim_cur);
    r = carry_out(rig, 0, (struct nx_op){.handle = listener, .code = NX_OP_ACCEPT});
    CHECK(r > 0, "a connection that could not be accepted for want of descriptors: later ACCEPT gives %s",
          error_text(r));
    close_handle(rig, 0, (nx_handle)r);
    close_handle(rig, 0, client);
    close_handle(rig, 0, listener);
    rig_close(rig);
}

/* ---- more than one context ---- */

static void echo_byte(struct rig *rig, uint32_t from_context, nx_handle from, uint32_t to_context, nx_handle to)
{
    char byte = 0;
    struct flight *read = fly(rig, to_context, read_op(to, &byte, 1)); /* waits: it must be registered there */

    write_all(rig, from_context, from, "x", 1);
    int64_t r = finish(rig, read);
    CHECK(r == 1 && byte == 'x', "READ on context %u of a handle that was used on another gives %s", to_context,
          error_text(r));
}

void driver_affinity(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 2);
    struct net net = net_open(rig, 0);
    struct pair pair = pair_make(&net, 0);
    const bool rebind = rig->ops->affinity == NX_AFFINITY_REBIND;

    if (rig->ops->affinity == NX_AFFINITY_PINNED)
        skip("affinity is NX_AFFINITY_PINNED");
    if (rebind) /* it has connected there */
        rig->ops->release(rig->context[0], pair.client);
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t context = i % 2;

        echo_byte(rig, 1 - context, pair.client, context, pair.server);
        echo_byte(rig, context, pair.server, 1 - context, pair.client);
        if (rebind) {
            doing("release");
            rig->ops->release(rig->context[context], pair.server);
            rig->ops->release(rig->context[1 - context], pair.client);
        }
    }
    pair_close(&pair);
    net_close(&net);
    settle(rig);
    rig_close(rig);
}

/* Two workers, one instance: an end on each. */
void driver_contexts(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 2);
    struct net net = net_open(rig, 1);
    struct pair pairs[8];

    for (uint32_t i = 0; i < 8; i++)
        pairs[i] = pair_make(&net, 0);
    for (uint32_t i = 0; i < 32; i++) {
        struct pair *pair = &pairs[i % 8];

        echo_byte(rig, 0, pair->client, 1, pair->server);
        echo_byte(rig, 1, pair->server, 0, pair->client);
    }
    for (uint32_t i = 0; i < 8; i++)
        pair_close(&pairs[i]);
    net_close(&net);
    rig_close(rig);
}

void driver_option(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    nx_handle handle = make_socket(rig, 0, NX_SOCK_STREAM);
    struct nx_ctx *ctx = rig->context[0];
    int r;

    if (!HAS(rig, option))
        skip("option is NULL: nothing can be set");
    r = rig->ops->option(ctx, handle, NX_OPTION_REUSE_ADDR, 1);
    CHECK(r == 0, "option NX_OPTION_REUSE_ADDR, which the core sets on every listener, gives %s", error_text(r));
    r = rig->ops->option(ctx, handle, NX_OPTION_NODELAY, 1);
    CHECK(r == 0, "option NX_OPTION_NODELAY, which the core sets on every stream, gives %s", error_text(r));
    r = rig->ops->option(ctx, handle, 4711, 1);
    CHECK(r == -ENOTSUP, "an option that does not exist gives %s", error_text(r));
    close_handle(rig, 0, handle);
    r = rig->ops->option(ctx, handle, NX_OPTION_REUSE_ADDR, 1);
    CHECK(r == -EBADF, "option of a closed handle gives %s", error_text(r));
    rig_close(rig);
}
