/*
 * loop/ends.c: the table of handles, what a handle is made of, and its end.
 *
 * A handle is an index and a generation. A slot whose generations are used up is not used again.
 */
#include "loop.h"
#include <string.h>

#define GENERATION_MAX 0xffffffu

/* ---- the table ---- */

struct nxi_loop_end *nxi_loop_find(struct nx_driver *driver, nx_handle handle)
{
    uint32_t index = NX_HANDLE_INDEX(handle);
    if (NX_HANDLE_DRIVER(handle) != driver->id || index >= driver->slot_count)
        return NULL;
    const struct nxi_loop_slot *slot = &driver->slots[index];
    return slot->end && slot->generation == NX_HANDLE_GENERATION(handle) ? slot->end : NULL;
}

static int grow(struct nx_driver *driver)
{
    const struct nx_host *host = driver->host;
    uint32_t count = driver->slot_count ? 2 * driver->slot_count : 64;
    struct nxi_loop_slot *slots = count > driver->slot_count ? host->alloc(count * sizeof(*slots), 0) : NULL;
    if (!slots)
        return -ENOMEM;
    if (driver->slot_count > 0)
        memcpy(slots, driver->slots, driver->slot_count * sizeof(*slots));
    for (uint32_t i = count; i-- > driver->slot_count && i > 0;) {
        slots[i].next_free = driver->free_slot;
        driver->free_slot = i;
    }
    host->free(driver->slots, driver->slot_count * sizeof(*slots));
    driver->slots = slots;
    driver->slot_count = count;
    return 0;
}

struct nxi_loop_end *nxi_loop_end_new(struct nx_driver *driver, struct nx_ctx *home)
{
    if (!driver->free_slot && grow(driver) < 0)
        return NULL;
    struct nxi_loop_end *end = driver->host->alloc(sizeof(*end), 0);
    if (!end)
        return NULL;
    uint32_t index = driver->free_slot;
    struct nxi_loop_slot *slot = &driver->slots[index];
    driver->free_slot = slot->next_free;
    slot->end = end;
    slot->generation++;
    end->handle = NX_HANDLE(driver->id, slot->generation, index);
    end->home = home;
    return end;
}

void nxi_loop_end_free(struct nx_driver *driver, struct nxi_loop_end *end)
{
    uint32_t index = NX_HANDLE_INDEX(end->handle);
    struct nxi_loop_slot *slot = &driver->slots[index];
    slot->end = NULL;
    if (slot->generation < GENERATION_MAX) {
        slot->next_free = driver->free_slot;
        driver->free_slot = index;
    }
    driver->host->free(end, sizeof(*end));
}

/* ---- making and closing ---- */

int nxi_loop_socket(struct nx_ctx *ctx, uint32_t family, uint32_t type, nx_handle *ret_handle)
{
    struct nx_driver *driver = ctx->driver;
    if (family != NX_AF_UNIX && family != NX_AF_INET && family != NX_AF_INET6)
        return -EAFNOSUPPORT;
    if (type != NX_SOCK_STREAM && type != NX_SOCK_DGRAM)
        return -EPROTONOSUPPORT;
    nxi_loop_enter(driver);
    struct nxi_loop_end *end = nxi_loop_end_new(driver, ctx);
    if (end) {
        end->kind = type == NX_SOCK_DGRAM ? NXI_LOOP_DATAGRAM : NXI_LOOP_FRESH;
        end->local.family = (uint16_t)family;
        end->datagram_room = driver->window;
        *ret_handle = end->handle;
    }
    nxi_loop_leave(driver);
    return end ? 0 : -ENOMEM;
}

/* Connections that nobody has accepted: their peers learn of it. */
static void close_backlog(struct nx_driver *driver, struct nxi_loop_end *listener)
{
    struct nxi_loop_end *end;
    while ((end = listener->backlog)) {
        struct nxi_loop_end *peer = nxi_loop_peer(end);
        listener->backlog = end->backlog_next;
        if (peer)
            peer->error = ECONNRESET;
        nxi_loop_part(driver, end);
        nxi_loop_end_free(driver, end);
    }
}

void nxi_loop_end_close(struct nx_driver *driver, struct nxi_loop_end *end)
{
    nxi_loop_unname(end);
    nxi_loop_connect_over(end);
    if (end->kind == NXI_LOOP_LISTENER) {
        end->kind = NXI_LOOP_FRESH; /* who waits for room in its backlog is refused */
        nxi_loop_stir_connecting(driver);
        close_backlog(driver, end);
    }
    if (end->kind == NXI_LOOP_DATAGRAM)
        nxi_loop_datagrams_free(driver, end);
    if (end->link)
        nxi_loop_part(driver, end);
    nxi_loop_end_free(driver, end);
}

/* ---- options and names ---- */

static int set_option(struct nxi_loop_end *end, uint32_t option, int64_t value)
{
    switch (option) {
    case NX_OPTION_REUSE_PORT:
        end->reuse_port = value != 0;
        return 0;
    case NX_OPTION_V6_ONLY:
        end->v6_only = value != 0;
        return 0;
    case NX_OPTION_RECEIVE_BUFFER:
        if (value <= 0)
            return -EINVAL;
        end->datagram_room = (size_t)value;
        return 0;
    case NX_OPTION_REUSE_ADDR: /* an address is free again as soon as its end is closed */
    case NX_OPTION_NODELAY:
    case NX_OPTION_UNIX_MODE: /* no file is made */
    case NX_OPTION_TTL:
    case NX_OPTION_BROADCAST:
        return 0;
    default:
        return -ENOTSUP;
    }
}

int nxi_loop_option(struct nx_ctx *ctx, nx_handle handle, uint32_t option, int64_t value)
{
    struct nx_driver *driver = ctx->driver;
    nxi_loop_enter(driver);
    struct nxi_loop_end *end = nxi_loop_find(driver, handle);
    int result = end ? set_option(end, option, value) : -EBADF;
    nxi_loop_leave(driver);
    return result;
}

int nxi_loop_name(struct nx_ctx *ctx, nx_handle handle, uint32_t peer, struct nx_addr *ret_addr)
{
    struct nx_driver *driver = ctx->driver;
    nxi_loop_enter(driver);
    const struct nxi_loop_end *end = nxi_loop_find(driver, handle);
    int result = !end ? -EBADF : peer && !end->peer.family ? -ENOTCONN : 0;
    if (result == 0)
        *ret_addr = peer ? end->peer : end->local;
    nxi_loop_leave(driver);
    return result;
}
