/*
 * loop/datagram.c: datagrams. Each goes whole into the receiver's queue, at once or never: to an end whose queue is
 * full it is lost, as on a network, or refused with -EAGAIN if its address is a path. One to an address that nobody has
 * is lost too, and a connected sender is told so by its next operation.
 */
#include "loop.h"
#include <string.h>

#define DATAGRAM_MAX 65507u /* as of UDP over IPv4 */

struct nxi_loop_datagram {
    struct nxi_loop_datagram *next;
    struct nx_addr from;
    size_t len;
    char data[];
};

static void pop(struct nx_driver *driver, struct nxi_loop_end *end)
{
    struct nxi_loop_datagram *datagram = end->datagrams;
    end->datagrams = datagram->next;
    end->datagram_bytes -= sizeof(*datagram) + datagram->len;
    driver->host->free(datagram, sizeof(*datagram) + datagram->len);
}

void nxi_loop_datagrams_free(struct nx_driver *driver, struct nxi_loop_end *end)
{
    while (end->datagrams)
        pop(driver, end);
}

static bool is_from(const struct nxi_loop_datagram *datagram, const struct nx_addr *peer)
{
    return datagram->from.family == peer->family && datagram->from.port == peer->port &&
           datagram->from.len == peer->len && memcmp(datagram->from.data, peer->data, peer->len) == 0;
}

/* A connected end receives from its peer alone, also of what came before. */
int64_t nxi_loop_point(struct nx_driver *driver, struct nxi_loop_end *end, const struct nx_addr *peer)
{
    if (peer->family != end->local.family)
        return -EAFNOSUPPORT;
    int error = nxi_loop_name_any(driver, end, peer);
    if (error == 0)
        end->peer = *peer;
    return error;
}

bool nxi_loop_recv(struct nx_driver *driver, struct nxi_loop_end *end, struct nx_message *message,
                   struct nx_completion *ret)
{
    while (end->datagrams && end->peer.family && !is_from(end->datagrams, &end->peer))
        pop(driver, end);
    const struct nxi_loop_datagram *datagram = end->datagrams;
    if (!datagram) {
        ret->result = -end->error;
        end->error = 0;
        return ret->result != 0;
    }
    size_t moved = 0;
    for (uint32_t i = 0; i < message->iov_count && moved < datagram->len; i++) {
        size_t left = datagram->len - moved, part = message->iov[i].iov_len < left ? message->iov[i].iov_len : left;
        memcpy(message->iov[i].iov_base, datagram->data + moved, part);
        moved += part;
    }
    if (message->addr)
        *message->addr = datagram->from;
    message->flags = moved < datagram->len ? NX_MESSAGE_CUT : 0;
    message->fd_count = 0;
    ret->result = (int64_t)datagram->len;
    pop(driver, end);
    return true;
}

/* Into the queue of `to`: 0 or -errno. */
static int put(struct nx_driver *driver, struct nxi_loop_end *to, const struct nx_addr *from,
               const struct nx_message *message, size_t len)
{
    size_t size = sizeof(struct nxi_loop_datagram) + len, moved = 0;
    if (to->datagrams && to->datagram_bytes + size > to->datagram_room)
        return to->local.family == NX_AF_UNIX ? -EAGAIN : 0;
    struct nxi_loop_datagram *datagram = driver->host->alloc(size, 0);
    if (!datagram)
        return -ENOBUFS;
    datagram->from = *from;
    datagram->len = len;
    for (uint32_t i = 0; i < message->iov_count; moved += message->iov[i].iov_len, i++)
        if (message->iov[i].iov_len > 0)
            memcpy(datagram->data + moved, message->iov[i].iov_base, message->iov[i].iov_len);
    *(to->datagrams ? to->datagrams_end : &to->datagrams) = datagram;
    to->datagrams_end = &datagram->next;
    to->datagram_bytes += size;
    nxi_loop_stir(driver, to);
    return 0;
}

int64_t nxi_loop_send(struct nx_driver *driver, struct nxi_loop_end *end, const struct nx_message *message)
{
    const struct nx_addr *to = message->addr ? message->addr : &end->peer;
    size_t len = nxi_loop_iov_size(message->iov, message->iov_count);
    if (end->error) {
        int error = -end->error;
        end->error = 0;
        return error;
    }
    if (!to->family)
        return -EDESTADDRREQ;
    if (to->family != end->local.family)
        return -EAFNOSUPPORT;
    if (message->fd_count > 0)
        return -ENOTSUP;
    if (len > DATAGRAM_MAX)
        return -EMSGSIZE;
    int error = nxi_loop_name_any(driver, end, to);
    struct nxi_loop_end *other = error == 0 ? nxi_loop_who(driver, NXI_LOOP_DATAGRAM, to) : NULL;
    const struct nx_addr from = nxi_loop_source(end, to);
    if (other)
        error = put(driver, other, &from, message, len);
    else if (error < 0)
        return error;
    else if (to->family == NX_AF_UNIX)
        error = to->data[0] ? -ENOENT : -ECONNREFUSED;
    else if (!message->addr) {
        end->error = ECONNREFUSED;
        nxi_loop_stir(driver, end); /* who waits to receive there is told, too */
    }
    return error < 0 ? error : (int64_t)len;
}
