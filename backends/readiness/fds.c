/*
 * readiness/fds.c: handles that are file descriptors, for any driver on a kernel with sockets. fds.h has the
 * invariants.
 *
 * The lock is a spin lock: a plugin makes no use of thread functions, what it guards is three loads and three stores,
 * and memory for a new segment is allocated outside of it. A holder that was preempted is waited for by giving the
 * cpu away.
 */
#include "fds.h"
#include "datagram.h"
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define FDS_SPINS 100u /* before the cpu is offered to whoever holds the lock */

_Static_assert(sizeof(struct nx_addr) == 128, "an ABI struct");
_Static_assert(sizeof(struct sockaddr_un) <= 128, "what to_sockaddr may write");
_Static_assert(sizeof(struct nx_fd_slot) == 16 + 4 * sizeof(uintptr_t), "an ABI struct");

static void table_lock(struct nx_fd_table *table)
{
    /* Ends because the holder only has a bounded, sleepless section left. */
    for (unsigned spins = 0; atomic_flag_test_and_set_explicit(&table->lock, memory_order_acquire); spins++)
        if (spins >= FDS_SPINS)
            sched_yield();
}

static void table_unlock(struct nx_fd_table *table)
{
    atomic_flag_clear_explicit(&table->lock, memory_order_release);
}

int nx_fds_open(const struct nx_host *host, uint32_t driver_id, struct nx_fd_table **ret_table)
{
    struct nx_fd_table *table = host->alloc(sizeof(*table), 0);
    if (!table)
        return -ENOMEM;
    table->host = host;
    table->driver_id = driver_id;
    atomic_flag_clear(&table->lock);
    *ret_table = table;
    return 0;
}

void nx_fds_close_all(struct nx_fd_table *table)
{
    /* No lock: in a forked child its holder may not exist. */
    for (uint32_t index = 0; index < table->segment_count * FDS_SEGMENT_SLOTS; index++) {
        struct nx_fd_slot *slot = fds_at(table, index);
        if (!slot)
            break;
        if ((atomic_load_explicit(fds_generation(slot), memory_order_acquire) & 1) && !(slot->flags & NX_FD_FOREIGN))
            close(slot->fd);
    }
}

void nx_fds_close(struct nx_fd_table *table)
{
    if (!table)
        return;
    nx_fds_close_all(table);
    const struct nx_host *host = table->host;
    for (uint32_t i = 0; i < table->segment_count; i++) {
        struct nx_fd_slot *slots = atomic_load_explicit(&table->segments[i], memory_order_relaxed);
        host->free(slots, FDS_SEGMENT_SLOTS * sizeof(*slots));
    }
    host->free(table, sizeof(*table));
}

/* Adds a segment, unless another thread has meanwhile. 0, -ENOMEM, or -ENFILE at the table's limit. */
static int table_grow(struct nx_fd_table *table, uint32_t seen_count)
{
    const size_t size = FDS_SEGMENT_SLOTS * sizeof(struct nx_fd_slot);
    if (seen_count == FDS_SEGMENTS)
        return -ENFILE;
    struct nx_fd_slot *slots = table->host->alloc(size, 64);
    if (!slots)
        return -ENOMEM;
    table_lock(table);
    if (table->segment_count == seen_count) {
        atomic_store_explicit(&table->segments[seen_count], slots, memory_order_release);
        table->segment_count = seen_count + 1;
        slots = NULL;
    }
    table_unlock(table);
    table->host->free(slots, size);
    return 0;
}

/* A free slot's index, no longer on any list: nobody else has it. */
static int table_take(struct nx_fd_table *table, uint32_t *ret_index)
{
    /* Ends: each turn takes a slot, or adds one of a limited number of segments. */
    for (;;) {
        table_lock(table);
        uint32_t segment_count = table->segment_count, first = table->free_first, index;
        bool found = true;
        if (first) {
            index = first - 1;
            table->free_first = fds_at(table, index)->next_free;
        } else if (table->used < segment_count * FDS_SEGMENT_SLOTS) {
            index = table->used++;
        } else {
            found = false;
        }
        table_unlock(table);
        if (found) {
            *ret_index = index;
            return 0;
        }
        int r = table_grow(table, segment_count);
        if (r < 0)
            return r;
    }
}

int nx_fds_add(struct nx_fd_table *table, int32_t fd, uint32_t flags, nx_handle *ret_handle)
{
    uint32_t index;
    int r = table_take(table, &index);
    if (r < 0)
        return r;
    struct nx_fd_slot *slot = fds_at(table, index);
    uint32_t generation = atomic_load_explicit(fds_generation(slot), memory_order_relaxed) + 1;
    atomic_store_explicit(fds_fd(slot), fd, memory_order_relaxed);
    slot->flags = flags;
    memset(slot->user, 0, sizeof(slot->user));
    atomic_store_explicit(fds_generation(slot), generation, memory_order_release);
    *ret_handle = NX_HANDLE(table->driver_id, generation, index);
    return 0;
}

struct nx_fd_slot *nx_fds_get(struct nx_fd_table *table, nx_handle handle)
{
    return fds_get(table, handle);
}

void nx_fds_drop(struct nx_fd_table *table, nx_handle handle)
{
    uint32_t index = NX_HANDLE_INDEX(handle);
    struct nx_fd_slot *slot = fds_get(table, handle);
    if (!slot)
        return;
    uint32_t next = NX_HANDLE_GENERATION(handle) + 1;
    table_lock(table);
    /* Of two drops of one handle the second finds another generation. */
    if (atomic_load_explicit(fds_generation(slot), memory_order_relaxed) == next - 1) {
        atomic_store_explicit(fds_generation(slot), next, memory_order_release);
        if (next < FDS_GENERATION_MAX) {
            slot->next_free = table->free_first;
            table->free_first = index + 1;
        }
    }
    table_unlock(table);
}

/* ---- addresses ---- */

static int to_unix(const struct nx_addr *addr, struct sockaddr_un *un)
{
    if (addr->len > sizeof(un->sun_path))
        return -ENAMETOOLONG;
    bool abstract = addr->len > 0 && addr->data[0] == 0;
    if (!abstract && memchr(addr->data, 0, addr->len))
        return -EINVAL; /* the kernel would cut the path there, and another file would be meant */
    un->sun_family = AF_UNIX;
    memcpy(un->sun_path, addr->data, addr->len);
    /* Abstract names are counted bytes. Paths get their NUL if it still fits, as most readers of one expect it. */
    size_t len = addr->len;
    if (!abstract && len > 0 && len < sizeof(un->sun_path))
        len++;
    return (int)(offsetof(struct sockaddr_un, sun_path) + len);
}

int nx_fds_to_sockaddr(const struct nx_addr *addr, void *ret_sockaddr)
{
    union {
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_un un;
    } sa;
    int len = -EAFNOSUPPORT;

    memset(&sa, 0, sizeof(sa));
    if (addr->family == NX_AF_INET && addr->len == 4) {
        sa.in.sin_family = AF_INET;
        sa.in.sin_port = htons(addr->port);
        memcpy(&sa.in.sin_addr, addr->data, 4);
        len = sizeof(sa.in);
    } else if (addr->family == NX_AF_INET6 && addr->len == 16) {
        sa.in6.sin6_family = AF_INET6;
        sa.in6.sin6_port = htons(addr->port);
        sa.in6.sin6_scope_id = addr->scope;
        memcpy(&sa.in6.sin6_addr, addr->data, 16);
        len = sizeof(sa.in6);
    } else if (addr->family == NX_AF_UNIX) {
        len = to_unix(addr, &sa.un);
    }
    if (len > 0)
        memcpy(ret_sockaddr, &sa, (size_t)len);
    return len;
}

int nx_fds_from_sockaddr(const void *sockaddr, uint32_t len, struct nx_addr *ret_addr)
{
    struct nx_addr addr;
    sa_family_t family;

    memset(&addr, 0, sizeof(addr));
    if (len < offsetof(struct sockaddr, sa_family) + sizeof(family)) /* the BSDs have a length before it */
        return -EAFNOSUPPORT;
    memcpy(&family, (const char *)sockaddr + offsetof(struct sockaddr, sa_family), sizeof(family));
    if (family == AF_INET && len >= sizeof(struct sockaddr_in)) {
        const struct sockaddr_in *in = sockaddr;
        addr.family = NX_AF_INET;
        addr.len = 4;
        addr.port = ntohs(in->sin_port);
        memcpy(addr.data, &in->sin_addr, 4);
    } else if (family == AF_INET6 && len >= sizeof(struct sockaddr_in6)) {
        const struct sockaddr_in6 *in6 = sockaddr;
        addr.family = NX_AF_INET6;
        addr.len = 16;
        addr.port = ntohs(in6->sin6_port);
        addr.scope = in6->sin6_scope_id;
        memcpy(addr.data, &in6->sin6_addr, 16);
    } else if (family == AF_UNIX) {
        const char *path = (const char *)sockaddr + offsetof(struct sockaddr_un, sun_path);
        size_t size = len > offsetof(struct sockaddr_un, sun_path) ? len - offsetof(struct sockaddr_un, sun_path) : 0;
        if (size > sizeof(addr.data))
            return -EAFNOSUPPORT;
        if (size > 0 && (path[0] != 0 || !OS_ABSTRACT_NAMES))
            size = strnlen(path, size); /* the kernel counts a path's NUL; no name at all is zeros on the BSDs */
        addr.family = NX_AF_UNIX;
        addr.len = (uint16_t)size;
        memcpy(addr.data, path, size);
    } else {
        return -EAFNOSUPPORT;
    }
    *ret_addr = addr;
    return (int)addr.len;
}

/* ---- the slots of nx_driver_ops ---- */

static int family_to_os(uint32_t family)
{
    switch (family) {
    case NX_AF_UNIX:
        return AF_UNIX;
    case NX_AF_INET:
        return AF_INET;
    case NX_AF_INET6:
        return AF_INET6;
    default:
        return -EAFNOSUPPORT;
    }
}

int nx_fds_socket(struct nx_fd_table *table, uint32_t family, uint32_t type, uint32_t nonblock, nx_handle *ret_handle)
{
    int domain = family_to_os(family);
    if (domain < 0)
        return domain;
    if (type != NX_SOCK_STREAM && type != NX_SOCK_DGRAM)
        return -EPROTOTYPE;
    int os_type = type == NX_SOCK_STREAM ? SOCK_STREAM : SOCK_DGRAM;
    int fd = os_socket(domain, os_type, nonblock);
    if (fd < 0)
        return -errno;
    int r = nx_fds_add(table, fd, NX_FD_SOCKET | (type == NX_SOCK_DGRAM ? NX_FD_DATAGRAM : 0), ret_handle);
    if (r < 0)
        close(fd);
    return r;
}

/* What bind, listen and option work on: a socket that is ours. */
static int own_socket(struct nx_fd_table *table, nx_handle handle, struct nx_fd_slot **ret_slot)
{
    struct nx_fd_slot *slot = fds_get(table, handle);
    if (!slot)
        return -EBADF;
    if (slot->flags & NX_FD_FOREIGN)
        return -EINVAL; /* it is only polled */
    if (!(slot->flags & NX_FD_SOCKET))
        return -ENOTSOCK;
    *ret_slot = slot;
    return 0;
}

int nx_fds_bind(struct nx_fd_table *table, nx_handle handle, const struct nx_addr *addr)
{
    struct nx_fd_slot *slot;
    struct sockaddr_storage sa;
    int r = own_socket(table, handle, &slot);
    if (r < 0)
        return r;
    int len = nx_fds_to_sockaddr(addr, &sa);
    if (len < 0)
        return len;
    return bind(slot->fd, (struct sockaddr *)&sa, (socklen_t)len) < 0 ? -errno : 0;
}

int nx_fds_listen(struct nx_fd_table *table, nx_handle handle, int32_t backlog)
{
    struct nx_fd_slot *slot;
    int r = own_socket(table, handle, &slot);
    if (r < 0)
        return r;
    if (listen(slot->fd, backlog) < 0)
        return -errno;
    slot->flags |= NX_FD_LISTEN;
    return 0;
}

static int set_flag(int fd, int level, int name, int64_t value)
{
    int on = value != 0;
    return setsockopt(fd, level, name, &on, sizeof(on)) < 0 ? -errno : 0;
}

/*
 * bind(2) makes the file with the socket's own mode, less the umask: fchmod beforehand narrows it without a moment in
 * which the file could be opened by others, and can't give what the umask withholds. Other systems change the mode of
 * files alone, and so only when it would be too late: there the folder's mode has to guard it.
 */
static int set_unix_mode(int fd, int64_t value)
{
    if (value < 0 || value > 0777)
        return -EINVAL;
    int domain = os_domain(fd);
    if (domain < 0)
        return domain;
    if (domain != AF_UNIX)
        return -EINVAL;
#ifdef __linux__
    return fchmod(fd, (mode_t)value) < 0 ? -errno : 0;
#else
    return -ENOTSUP;
#endif
}

int nx_fds_option(struct nx_fd_table *table, nx_handle handle, uint32_t option, int64_t value)
{
    struct nx_fd_slot *slot;
    int r = own_socket(table, handle, &slot);
    if (r == -ENOTSOCK && option == NX_OPTION_NODELAY)
        return 0; /* a pipe or a terminal as a stream */
    if (r < 0)
        return r;
    switch (option) {
    case NX_OPTION_REUSE_ADDR:
        return set_flag(slot->fd, SOL_SOCKET, SO_REUSEADDR, value);
    case NX_OPTION_REUSE_PORT:
        return set_flag(slot->fd, SOL_SOCKET, SO_REUSEPORT, value);
    case NX_OPTION_NODELAY:
        r = set_flag(slot->fd, IPPROTO_TCP, TCP_NODELAY, value);
        return r < 0 && !os_is_tcp(slot->fd) ? 0 : r; /* Unix sockets, datagrams */
    case NX_OPTION_V6_ONLY:
        if (!value && !OS_DUAL_STACK)
            return 0;
        return set_flag(slot->fd, IPPROTO_IPV6, IPV6_V6ONLY, value);
    case NX_OPTION_UNIX_MODE:
        return set_unix_mode(slot->fd, value);
    default:
        return nxi_datagram_option(slot->fd, option, value);
    }
}

int nx_fds_membership(struct nx_fd_table *table, const struct nx_op *op)
{
    struct nx_fd_slot *slot;
    int r = own_socket(table, op->handle, &slot);
    return r < 0 ? r : nxi_datagram_membership(slot->fd, op);
}

int nx_fds_name(struct nx_fd_table *table, nx_handle handle, uint32_t peer, struct nx_addr *ret_addr)
{
    struct sockaddr_storage sa;
    struct nx_addr addr;
    socklen_t len = sizeof(sa);

    struct nx_fd_slot *slot = fds_get(table, handle);
    if (!slot)
        return -EBADF;
    int fd = atomic_load_explicit(fds_fd(slot), memory_order_relaxed);
    int r = (peer ? getpeername : getsockname)(fd, (struct sockaddr *)&sa, &len) < 0 ? -errno : 0;
    /* Whoever closes drops the handle first: if it is still there, fd was the handle's during the call. */
    if (!fds_get(table, handle))
        return -EBADF;
    if (r < 0)
        return r;
    r = nx_fds_from_sockaddr(&sa, len, &addr);
    if (r < 0)
        return r;
    *ret_addr = addr;
    return 0;
}

static int set_nonblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    if (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

int nx_fds_import(struct nx_fd_table *table, int32_t fd, uint32_t flags, uint32_t nonblock, nx_handle *ret_handle)
{
    int listens = 0;
    socklen_t len = sizeof(listens);

    if (fcntl(fd, F_GETFD) < 0)
        return -errno;
    if (flags & ~NX_IMPORT_FOREIGN)
        return -EINVAL;
    if (flags & NX_IMPORT_FOREIGN)
        return nx_fds_add(table, fd, NX_FD_FOREIGN, ret_handle);

    uint32_t slot_flags = 0;
    int type = 0;
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) == 0)
        slot_flags = NX_FD_SOCKET | (listens ? NX_FD_LISTEN : 0);
    else if (errno != ENOTSOCK)
        slot_flags = NX_FD_SOCKET; /* a socket of a family without that option */
    len = sizeof(type);
    if (slot_flags && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_DGRAM)
        slot_flags |= NX_FD_DATAGRAM;
    nx_handle handle;
    int r = nx_fds_add(table, fd, slot_flags, &handle);
    if (r < 0)
        return r;
    /* Last, so that a failure leaves the descriptor as it was. */
    r = nonblock ? set_nonblock(fd) : 0;
    if (r < 0) {
        nx_fds_drop(table, handle);
        return r;
    }
    os_no_sigpipe(fd, slot_flags != 0);
    *ret_handle = handle;
    return 0;
}

int nx_fds_export(struct nx_fd_table *table, nx_handle handle)
{
    struct nx_fd_slot *slot = fds_get(table, handle);
    if (!slot)
        return -EBADF;
    int fd = atomic_load_explicit(fds_fd(slot), memory_order_relaxed);
    return fds_get(table, handle) ? fd : -EBADF;
}
