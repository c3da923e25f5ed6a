/* readiness/context.c: instances and contexts, the handle slots of the driver table, and what the driver says of
 * itself. */
#include "adapter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EVENT_BATCH 256u /* unless the plugin has a parameter "events" */
#define EVENT_BATCH_MAX 65536u

/* ---- life ---- */

static void contexts_lock(struct nx_driver *driver)
{
    while (atomic_flag_test_and_set_explicit(&driver->lock, memory_order_acquire))
        ; /* ends: the holder links or unlinks one context */
}

static void contexts_unlock(struct nx_driver *driver)
{
    atomic_flag_clear_explicit(&driver->lock, memory_order_release);
}

static void no_memory(struct nx_reason *ret_reason)
{
    ret_reason->error = ENOMEM;
    snprintf(ret_reason->call, sizeof(ret_reason->call), "malloc(3)");
    snprintf(ret_reason->text, sizeof(ret_reason->text), "out of memory");
    snprintf(ret_reason->remedy, sizeof(ret_reason->remedy), "raise the memory limit of this process");
}

static uint32_t read_event_batch(const struct nx_host *host, const struct nx_config *config)
{
    const char *text = host->param(config, "events");
    unsigned long batch = text ? strtoul(text, NULL, 10) : EVENT_BATCH;
    return batch < 1 ? 1 : batch > EVENT_BATCH_MAX ? EVENT_BATCH_MAX : (uint32_t)batch;
}

static bool is_whole(const struct nx_poller_ops *poller, struct nx_reason *ret_reason)
{
    if (poller->size != 0 && poller->open && poller->close && poller->watch && poller->unwatch && poller->wait &&
        poller->wake)
        return true;
    ret_reason->error = EINVAL;
    snprintf(ret_reason->text, sizeof(ret_reason->text), "its nx_poller_ops lacks size or a function");
    snprintf(ret_reason->remedy, sizeof(ret_reason->remedy), "set size and all functions but wait_fd");
    return false;
}

int nx_readiness_open(const struct nx_poller_ops *poller, const struct nx_host *host, const struct nx_config *config,
                      uint32_t id, struct nx_driver **ret_driver, struct nx_reason *ret_reason)
{
    if (!is_whole(poller, ret_reason))
        return -EINVAL;
    struct nx_driver *driver = host->alloc(sizeof(*driver), 0);
    if (!driver)
        goto fail;
    driver->host = host;
    driver->config = config;
    driver->poller_ops = poller;
    driver->event_batch = read_event_batch(host, config);
    atomic_init(&driver->epoch, 0);
    atomic_init(&driver->contexts, NULL);
    atomic_flag_clear(&driver->lock);
    if (nx_fds_open(host, id, &driver->table) < 0)
        goto fail;
    *ret_driver = driver;
    return 0;
fail:
    host->free(driver, sizeof(*driver));
    no_memory(ret_reason);
    return -ENOMEM;
}

void nx_readiness_close(struct nx_driver *driver)
{
    if (!driver)
        return;
    nx_fds_close(driver->table);
    driver->host->free(driver, sizeof(*driver));
}

static size_t ctx_size(const struct nx_driver *driver)
{
    return sizeof(struct nx_ctx) + driver->event_batch * sizeof(struct nx_ready_event);
}

int nx_readiness_ctx_open(struct nx_driver *driver, uint32_t worker, struct nx_ctx **ret_ctx,
                          struct nx_reason *ret_reason)
{
    (void)worker;
    struct nx_ctx *ctx = driver->host->alloc(ctx_size(driver), 64);
    if (!ctx) {
        no_memory(ret_reason);
        return -ENOMEM;
    }
    int r = driver->poller_ops->open(driver->host, driver->config, &ctx->poller, ret_reason);
    if (r < 0) {
        driver->host->free(ctx, ctx_size(driver));
        return r;
    }
    ctx->driver = driver;
    ctx->poller_ops = driver->poller_ops;
    ctx->table = driver->table;
    ctx->oneshot = driver->poller_ops->flags & NX_POLLER_ONESHOT;
    ctx->event_batch = driver->event_batch;
    contexts_lock(driver);
    ctx->next = atomic_load_explicit(&driver->contexts, memory_order_relaxed);
    atomic_store_explicit(&driver->contexts, ctx, memory_order_release);
    contexts_unlock(driver);
    *ret_ctx = ctx;
    return 0;
}

static void forget_context(struct nx_driver *driver, struct nx_ctx *ctx)
{
    contexts_lock(driver);
    struct nx_ctx *at = atomic_load_explicit(&driver->contexts, memory_order_relaxed);
    if (at == ctx) {
        atomic_store_explicit(&driver->contexts, ctx->next, memory_order_release);
    } else {
        while (at->next != ctx) /* ends: ctx_open put it there */
            at = at->next;
        at->next = ctx->next;
    }
    contexts_unlock(driver);
}

void nx_readiness_ctx_close(struct nx_ctx *ctx)
{
    if (!ctx)
        return;
    struct nx_driver *driver = ctx->driver;
    forget_context(driver, ctx);
    if (ctx->poller)
        ctx->poller_ops->close(ctx->poller);
    while (ctx->dups) { /* of handles that were not closed */
        struct watch_dup *dup = ctx->dups;
        ctx->dups = dup->next;
        close(dup->fd);
        driver->host->free(dup, sizeof(*dup));
    }
    driver->host->free(ctx, ctx_size(driver));
}

void nx_readiness_forked(struct nx_driver *driver)
{
    struct nx_ctx *ctx = atomic_load_explicit(&driver->contexts, memory_order_acquire);
    for (; ctx; ctx = ctx->next) {
        for (struct watch_dup *dup = ctx->dups; dup; dup = dup->next)
            close(dup->fd);
        if (ctx->poller)
            ctx->poller_ops->close(ctx->poller);
        ctx->poller = NULL;
    }
    nx_fds_close_all(driver->table);
}

/* ---- handles ---- */

int nx_readiness_socket(struct nx_ctx *ctx, uint32_t family, uint32_t type, nx_handle *ret_handle)
{
    int r = nx_fds_socket(ctx->table, family, type, 1, ret_handle);
    if (r == 0)
        nxi_readiness_made(fds_get(ctx->table, *ret_handle), family, type);
    return r;
}

int nx_readiness_bind(struct nx_ctx *ctx, nx_handle handle, const struct nx_addr *addr)
{
    return nx_fds_bind(ctx->table, handle, addr);
}

int nx_readiness_listen(struct nx_ctx *ctx, nx_handle handle, int32_t backlog)
{
    return nx_fds_listen(ctx->table, handle, backlog);
}

int nx_readiness_option(struct nx_ctx *ctx, nx_handle handle, uint32_t option, int64_t value)
{
    return nx_fds_option(ctx->table, handle, option, value);
}

int nx_readiness_name(struct nx_ctx *ctx, nx_handle handle, uint32_t peer, struct nx_addr *ret_addr)
{
    return nx_fds_name(ctx->table, handle, peer, ret_addr);
}

int nx_readiness_import_fd(struct nx_ctx *ctx, int32_t fd, uint32_t flags, nx_handle *ret_handle)
{
    int r = nx_fds_import(ctx->table, fd, flags, 1, ret_handle);
    if (r == 0)
        nxi_readiness_classify(fds_get(ctx->table, *ret_handle));
    return r;
}

int nx_readiness_export_fd(struct nx_ctx *ctx, nx_handle handle)
{
    return nx_fds_export(ctx->table, handle);
}

void nx_readiness_release(struct nx_ctx *ctx, nx_handle handle)
{
    struct nx_fd_slot *slot = fds_get(ctx->table, handle);
    if (slot)
        nxi_readiness_unwatch(ctx, slot, NX_HANDLE_INDEX(handle));
}

/* ---- what and how ---- */

static const struct {
    uint32_t level, flags;
    const char *reason;
} capabilities[NX_OP_COUNT] = {
    [NX_OP_NOP] = {NX_CAP_INLINE, NX_OP_NOWAIT, ""},
    [NX_OP_ACCEPT] = {NX_CAP_NATIVE, NX_OP_NOWAIT | NX_OP_MULTISHOT, "a system call per connection"},
    [NX_OP_CONNECT] = {NX_CAP_NATIVE, NX_OP_NOWAIT, ""},
    [NX_OP_READ] = {NX_CAP_NATIVE, NX_OP_NOWAIT,
                    "a system call per op, inline when data is there; regular files block"},
    [NX_OP_WRITE] = {NX_CAP_NATIVE, NX_OP_NOWAIT,
                     "a system call per op, inline when there is room; regular files block"},
    [NX_OP_WRITEV] = {NX_CAP_NATIVE, NX_OP_NOWAIT,
                      "a system call per op, inline when there is room; regular files block"},
    [NX_OP_SHUTDOWN] = {NX_CAP_INLINE, NX_OP_NOWAIT, ""},
    [NX_OP_CLOSE] = {NX_CAP_INLINE, NX_OP_NOWAIT, "close(2) in the worker's thread: slow where SO_LINGER makes it so"},
    [NX_OP_POLL] = {NX_CAP_NATIVE, NX_OP_NOWAIT | NX_OP_MULTISHOT, ""},
    [NX_OP_RECVMSG] = {NX_CAP_NATIVE, NX_OP_NOWAIT, "a system call per op, inline when something is there"},
    [NX_OP_SENDMSG] = {NX_CAP_NATIVE, NX_OP_NOWAIT, "a system call per op, inline when there is room"},
    [NX_OP_MEMBERSHIP] = {NX_CAP_INLINE, NX_OP_NOWAIT, ""},
};

int nx_readiness_capability(struct nx_driver *driver, uint32_t code, struct nx_capability *ret_capability)
{
    struct nx_capability capability = {.size = sizeof(capability), .level = NX_CAP_NO};
    const char *reason = "not an op that a readiness interface has";
    if (code >= NX_OP_OPEN && code <= NX_OP_MKDIR) {
        reason = "done on the blocking pool";
    } else if (code < NX_OP_COUNT) {
        capability.level = capabilities[code].level;
        capability.flags = capabilities[code].flags;
        reason = capabilities[code].reason;
    }
    if (code == NX_OP_POLL && (driver->poller_ops->flags & NX_POLLER_ONESHOT)) {
        capability.flags &= ~NX_OP_MULTISHOT;
        reason = "this poller reports levels: no edges by MULTISHOT";
    }
    snprintf(capability.reason, sizeof(capability.reason), "%s", reason);
    *ret_capability = capability;
    return 0;
}

/* Any thread may call this. */
uint32_t nx_readiness_stats(struct nx_ctx *ctx, struct nx_stat *out, uint32_t max)
{
    const struct readiness_stats *stats = &ctx->stats;
    const uint64_t entries = stats->calls + stats->waits + stats->watches + stats->unwatches;
    const struct nx_stat all[] = {
        {"watches", ctx->stats.watches}, {"unwatches", ctx->stats.unwatches}, {"waits", ctx->stats.waits},
        {"events", ctx->stats.events},   {"stale", ctx->stats.stale},         {"calls", ctx->stats.calls},
        {"again", ctx->stats.again},     {"watched", ctx->watched},           {"kernel_entries", entries},
    };
    uint32_t count = sizeof(all) / sizeof(all[0]);
    if (count > max)
        count = max;
    memcpy(out, all, count * sizeof(all[0]));
    return count;
}
