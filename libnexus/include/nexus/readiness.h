/*
 * nexus/readiness.h: a driver for who has a readiness interface (epoll, kqueue, poll) and not a completion one.
 *
 * Link libnexus-readiness.a (pkg-config nexus-driver) into the plugin; it calls only the host table and libc. Write the
 * functions of struct nx_poller_ops, then one line each:
 *
 *     NX_READINESS_DRIVER(my_driver_ops, my_poller_ops, NX_DOMAIN_NETWORK | NX_DOMAIN_FOREIGN);
 *     NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_my = { ..., .ops = &my_driver_ops };
 *
 * A handle keeps a may-be-ready bit per direction: set at creation and by an event, cleared by EAGAIN and by a short
 * read (or write) unless hang-up or error was seen. An op makes its system call first only if the bit is set: in
 * steady state a request costs one read and one write.
 */
#ifndef NEXUS_READINESS_H
#define NEXUS_READINESS_H

#include <nexus/driver.h>

#define NX_READY_IN 1u
#define NX_READY_OUT 2u
#define NX_READY_HUP                                                                                                   \
    4u /* peer closed its side, or error: both directions are worth a try, and a short read is not the end */

/* flags: how the poller reports */
#define NX_POLLER_EDGE 1u    /* watch once for both directions; each change is reported once */
#define NX_POLLER_ONESHOT 2u /* watch for the wanted events; the report ends the interest in the reported ones */

struct nx_ready_event {
    uint64_t token;
    uint32_t events; /* NX_READY_... */
    uint32_t error;  /* 0; or what asking the system for this event has taken off the socket (SO_ERROR) */
};

struct nx_poller; /* one per worker, on its thread */

/* One without size, or without a function other than wait_fd, is refused at open: -EINVAL. */
struct nx_poller_ops {
    uint32_t size, flags; /* NX_POLLER_... */
    int (*open)(const struct nx_host *host, const struct nx_config *config, struct nx_poller **ret_poller,
                struct nx_reason *ret_reason);
    void (*close)(struct nx_poller *poller);
    /* Starts or widens the interest in fd. -EEXIST: fd is already watched under another token. -EPERM: fd is always
     * ready (a regular file). EDGE: an fd that is ready now is reported, and watched once until unwatch; events is IN |
     * OUT, except for a foreign descriptor: a poller that reports more there makes edges show that are none. */
    int (*watch)(struct nx_poller *poller, int32_t fd, uint32_t events, uint64_t token);
    void (*unwatch)(struct nx_poller *poller, int32_t fd); /* before fd is closed, or leaves this worker */
    /* Up to max events; until as in nx_driver_ops.wait, NX_POLL: don't sleep. Ends early after wake. >= 0. */
    uint32_t (*wait)(struct nx_poller *poller, struct nx_ready_event *out, uint32_t max, nx_time until);
    void (*wake)(struct nx_poller *poller);   /* any thread, signal-safe, idempotent */
    int (*wait_fd)(struct nx_poller *poller); /* or NULL */
};

NX_BEGIN_DECLS

/* The slots of a readiness driver; NX_READINESS_DRIVER puts them in the table. */
int nx_readiness_open(const struct nx_poller_ops *poller, const struct nx_host *host, const struct nx_config *config,
                      uint32_t id, struct nx_driver **ret_driver, struct nx_reason *ret_reason);
void nx_readiness_close(struct nx_driver *driver);
int nx_readiness_ctx_open(struct nx_driver *driver, uint32_t worker, struct nx_ctx **ret_ctx,
                          struct nx_reason *ret_reason);
void nx_readiness_ctx_close(struct nx_ctx *ctx);
int nx_readiness_submit(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline);
void nx_readiness_cancel(struct nx_ctx *ctx, struct nx_op *op);
uint32_t nx_readiness_poll(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max);
int nx_readiness_arm(struct nx_ctx *ctx);
void nx_readiness_disarm(struct nx_ctx *ctx);
uint32_t nx_readiness_wait(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max, nx_time until);
void nx_readiness_wake(struct nx_ctx *ctx);
int nx_readiness_wait_fd(struct nx_ctx *ctx);
int nx_readiness_socket(struct nx_ctx *ctx, uint32_t family, uint32_t type, nx_handle *ret_handle);
int nx_readiness_bind(struct nx_ctx *ctx, nx_handle handle, const struct nx_addr *addr);
int nx_readiness_listen(struct nx_ctx *ctx, nx_handle handle, int32_t backlog);
int nx_readiness_option(struct nx_ctx *ctx, nx_handle handle, uint32_t option, int64_t value);
int nx_readiness_name(struct nx_ctx *ctx, nx_handle handle, uint32_t peer, struct nx_addr *ret_addr);
int nx_readiness_import_fd(struct nx_ctx *ctx, int32_t fd, uint32_t flags, nx_handle *ret_handle);
int nx_readiness_export_fd(struct nx_ctx *ctx, nx_handle handle);
void nx_readiness_release(struct nx_ctx *ctx, nx_handle handle);
int nx_readiness_capability(struct nx_driver *driver, uint32_t code, struct nx_capability *ret_capability);
uint32_t nx_readiness_stats(struct nx_ctx *ctx, struct nx_stat *out, uint32_t max);
void nx_readiness_forked(struct nx_driver *driver);

#define NX_READINESS_DRIVER(table, poller_ops, domain_set)                                                             \
    static int table##_open(const struct nx_host *host, const struct nx_config *config, uint32_t id,                   \
                            struct nx_driver **ret_driver, struct nx_reason *ret_reason)                               \
    {                                                                                                                  \
        return nx_readiness_open(&(poller_ops), host, config, id, ret_driver, ret_reason);                             \
    }                                                                                                                  \
    static const struct nx_driver_ops table = {                                                                        \
        .size = sizeof(struct nx_driver_ops),                                                                          \
        .domains = (domain_set),                                                                                       \
        .affinity = NX_AFFINITY_REBIND,                                                                                \
        .open = table##_open,                                                                                          \
        .close = nx_readiness_close,                                                                                   \
        .ctx_open = nx_readiness_ctx_open,                                                                             \
        .ctx_close = nx_readiness_ctx_close,                                                                           \
        .submit = nx_readiness_submit,                                                                                 \
        .cancel = nx_readiness_cancel,                                                                                 \
        .poll = nx_readiness_poll,                                                                                     \
        .arm = nx_readiness_arm,                                                                                       \
        .disarm = nx_readiness_disarm,                                                                                 \
        .wait = nx_readiness_wait,                                                                                     \
        .wake = nx_readiness_wake,                                                                                     \
        .wait_fd = nx_readiness_wait_fd,                                                                               \
        .socket = nx_readiness_socket,                                                                                 \
        .bind = nx_readiness_bind,                                                                                     \
        .listen = nx_readiness_listen,                                                                                 \
        .option = nx_readiness_option,                                                                                 \
        .name = nx_readiness_name,                                                                                     \
        .import_fd = nx_readiness_import_fd,                                                                           \
        .export_fd = nx_readiness_export_fd,                                                                           \
        .release = nx_readiness_release,                                                                               \
        .capability = nx_readiness_capability,                                                                         \
        .stats = nx_readiness_stats,                                                                                   \
        .forked = nx_readiness_forked,                                                                                 \
    }

/*
 * ---- Handles that are file descriptors: for any driver on a kernel with sockets; used by the adapter and by iouring
 * ----
 *
 * A table of slots, index and generation making the handle. Slots never move and are never unmapped before close;
 * making and dropping a handle takes a lock, looking one up doesn't. The core's law 5 keeps two threads from one slot.
 */
#define NX_FD_SOCKET 1u  /* recv and send work on it */
#define NX_FD_FOREIGN 2u /* imported with NX_IMPORT_FOREIGN */
#define NX_FD_LISTEN 4u
#define NX_FD_DATAGRAM 8u

struct nx_fd_slot {
    uint32_t generation; /* odd while in use */
    int32_t fd;
    uint32_t flags; /* NX_FD_... */
    uint32_t next_free;
    uintptr_t user[4]; /* the driver's; zero when the handle is made */
};

struct nx_fd_table;

int nx_fds_open(const struct nx_host *host, uint32_t driver_id, struct nx_fd_table **ret_table);
void nx_fds_close(struct nx_fd_table *table); /* closes what is still open, foreign descriptors aside */
int nx_fds_add(struct nx_fd_table *table, int32_t fd, uint32_t flags, nx_handle *ret_handle); /* any thread */
struct nx_fd_slot *nx_fds_get(struct nx_fd_table *table, nx_handle handle); /* NULL if stale; any thread */
void nx_fds_drop(struct nx_fd_table *table, nx_handle handle); /* does not close the descriptor; any thread */
void nx_fds_close_all(struct nx_fd_table *table);              /* for forked: close(2) each, nothing else */

/* The slots of nx_driver_ops that are the same for all of them: 0 or -errno. nonblock: descriptors made O_NONBLOCK. */
int nx_fds_socket(struct nx_fd_table *table, uint32_t family, uint32_t type, uint32_t nonblock, nx_handle *ret_handle);
int nx_fds_bind(struct nx_fd_table *table, nx_handle handle, const struct nx_addr *addr);
int nx_fds_listen(struct nx_fd_table *table, nx_handle handle, int32_t backlog);
int nx_fds_option(struct nx_fd_table *table, nx_handle handle, uint32_t option, int64_t value);
int nx_fds_membership(struct nx_fd_table *table, const struct nx_op *op); /* NX_OP_MEMBERSHIP's result */
int nx_fds_name(struct nx_fd_table *table, nx_handle handle, uint32_t peer, struct nx_addr *ret_addr);
int nx_fds_import(struct nx_fd_table *table, int32_t fd, uint32_t flags, uint32_t nonblock, nx_handle *ret_handle);
int nx_fds_export(struct nx_fd_table *table, nx_handle handle);

/* nx_addr to and from struct sockaddr (as bytes): the length, or -EAFNOSUPPORT. sockaddr: 128 bytes, aligned for it. */
int nx_fds_to_sockaddr(const struct nx_addr *addr, void *ret_sockaddr);
int nx_fds_from_sockaddr(const void *sockaddr, uint32_t len, struct nx_addr *ret_addr);

NX_END_DECLS
#endif
