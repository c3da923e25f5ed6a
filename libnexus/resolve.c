/*
 * resolve.c: names to addresses by getaddrinfo(3), on the resolver's threads.
 *
 * A look-up can't be called back, and may take half a minute. So it lives on the heap with copies of all it needs, and
 * a task whose deadline comes goes on alone. Who frees it is settled by one exchange of its word, phase: the thread
 * says DONE when it is through, the task says ABANDONED when it goes; whoever comes second finds the other's word. A
 * task that comes second has a wake on its way, waits for it and uses the result after all. A thread that comes second
 * wakes nobody and frees. The exchanges are acquire and release: what the first one wrote, the second one sees.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* EAI_NODATA */
#endif
#include "resolve.h"
#include "blocking.h"
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

int (*nxi_getaddrinfo)(const char *, const char *, const struct addrinfo *, struct addrinfo **) = getaddrinfo;
void (*nxi_freeaddrinfo)(struct addrinfo *) = freeaddrinfo;

#define NAME_MAX_BYTES 254u /* of a domain name, its last dot included */
#define SERVICE_MAX_BYTES 63u

#define DONE 1u
#define ABANDONED 2u

struct lookup {
    struct nxi_job job;
    struct nxi_waiter *waiter; /* of the task; not to be touched once ABANDONED */
    _Atomic uint32_t phase;
    int error;
    nx_addr *addrs;
    size_t count;
    char name[NAME_MAX_BYTES + 1], service[SERVICE_MAX_BYTES + 1];
};

/* ---- text ---- */

static int cut(const char *begin, size_t length, size_t max, char *ret)
{
    if (length == 0 || length > max)
        return -EINVAL;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)begin[i] <= ' ' || begin[i] == 0x7f)
            return -EINVAL;
    memcpy(ret, begin, length);
    ret[length] = '\0';
    return 0;
}

/* A port's number must be one; getaddrinfo(3) would take it modulo 65536. */
static int check_service(const char *service)
{
    unsigned value = 0;
    if (strspn(service, "0123456789") != strlen(service))
        return 0;
    for (; *service; service++) {
        value = value * 10 + (unsigned)(*service - '0');
        if (value > 65535)
            return -EINVAL;
    }
    return 0;
}

/* "name:port". What looks like another kind of address and isn't a good one is no name. */
static int split(const char *text, char *ret_name, char *ret_service)
{
    const char *colon = strchr(text, ':');
    if (!colon || strchr(colon + 1, ':') || text[0] == '[' || strncmp(text, "unix:", 5) == 0 || strchr(text, '/'))
        return -EINVAL;
    int error = cut(text, (size_t)(colon - text), NAME_MAX_BYTES, ret_name);
    if (error == 0)
        error = cut(colon + 1, strlen(colon + 1), SERVICE_MAX_BYTES, ret_service);
    return error == 0 ? check_service(ret_service) : error;
}

/* ---- on the resolver's thread ---- */

static int error_of(int code)
{
    switch (code) {
    case 0:
        return 0;
    case EAI_NONAME:
    case EAI_SERVICE:
#ifdef EAI_NODATA
    case EAI_NODATA:
#endif
#ifdef EAI_ADDRFAMILY
    case EAI_ADDRFAMILY:
#endif
        return -ENOENT;
    case EAI_AGAIN:
        return -EAGAIN;
    case EAI_MEMORY:
        return -ENOMEM;
    case EAI_SYSTEM:
        return errno > 0 ? -errno : -EIO;
    default:
        return -EIO;
    }
}

static bool to_addr(const struct addrinfo *info, nx_addr *ret_addr)
{
    if (info->ai_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, info->ai_addr, sizeof(in));
        *ret_addr = (nx_addr){.family = NX_AF_INET, .len = 4, .port = ntohs(in.sin_port)};
        memcpy(ret_addr->data, &in.sin_addr, 4);
        return true;
    }
    if (info->ai_family != AF_INET6)
        return false;
    struct sockaddr_in6 in6;
    memcpy(&in6, info->ai_addr, sizeof(in6));
    *ret_addr = (nx_addr){.family = NX_AF_INET6, .len = 16, .port = ntohs(in6.sin6_port), .scope = in6.sin6_scope_id};
    memcpy(ret_addr->data, &in6.sin6_addr, 16);
    return true;
}

static int take_addresses(struct lookup *lookup, const struct addrinfo *list)
{
    nx_addr addr;
    size_t count = 0, room = 0;
    for (const struct addrinfo *info = list; info && room < NXI_RESOLVED_MAX; info = info->ai_next)
        room += to_addr(info, &addr);
    if (room == 0)
        return -ENOENT;
    lookup->addrs = nxi_alloc(room * sizeof(*lookup->addrs));
    if (!lookup->addrs)
        return -ENOMEM;
    for (const struct addrinfo *info = list; info && count < room; info = info->ai_next)
        count += to_addr(info, &lookup->addrs[count]);
    lookup->count = count;
    return 0;
}

static void free_lookup(struct lookup *lookup)
{
    nxi_free(lookup->addrs, lookup->count * sizeof(*lookup->addrs));
    nxi_free(lookup, sizeof(*lookup));
}

static void look_up(struct nxi_job *job)
{
    struct lookup *lookup = nxi_container(job, struct lookup, job);
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    int code = nxi_getaddrinfo(lookup->name, lookup->service, &hints, &list);
    lookup->error = error_of(code);
    if (code == 0) {
        lookup->error = take_addresses(lookup, list);
        nxi_freeaddrinfo(list);
    }
    struct nxi_waiter *waiter = lookup->waiter;
    if (atomic_exchange_explicit(&lookup->phase, DONE, memory_order_acq_rel) == ABANDONED)
        free_lookup(lookup);
    else
        nxi_waiter_wake(waiter, NX_REASON_REMOTE);
}

/* ---- in the task ---- */

/* 0: it is through. Else it no longer concerns the task. */
static int wait_for(struct nxi_blocking *pool, struct lookup *lookup, struct nxi_waiter *waiter, nx_time deadline)
{
    int error = nxi_waiter_wait(waiter, deadline, true);
    if (error == 0)
        return 0;
    bool unbegun = nxi_blocking_take_back(pool, &lookup->job);
    if (!unbegun && atomic_exchange_explicit(&lookup->phase, ABANDONED, memory_order_acq_rel) == DONE) {
        nxi_waiter_wait(waiter, NX_FOREVER, false);
        return 0;
    }
    nxi_waiter_forget(waiter);
    if (unbegun)
        free_lookup(lookup);
    return error;
}

/* The lookup is wait_for's, or freed. */
static int post(struct nxi_worker *worker, struct lookup *lookup, nx_time deadline)
{
    struct nxi_blocking *pool = worker->runtime->resolver;
    struct nxi_waiter waiter;
    nxi_waiter_init(&waiter, worker);
    nxi_waiter_note(&waiter, "resolve", NXI_OBJECT_NONE, 0);
    lookup->waiter = &waiter;
    lookup->job.run = look_up;
    int error = nxi_blocking_post(pool, &lookup->job);
    if (error == 0)
        return wait_for(pool, lookup, &waiter, deadline);
    nxi_waiter_forget(&waiter);
    free_lookup(lookup);
    nxi_charge(worker);
    return error;
}

static int look_up_name(struct nxi_worker *worker, const char *host_port, nx_addr **ret_addrs, size_t *ret_count,
                        nx_time deadline)
{
    struct lookup *lookup = nxi_alloc(sizeof(*lookup));
    if (!lookup)
        return -ENOMEM;
    int error = split(host_port, lookup->name, lookup->service);
    if (error == 0 && deadline == NX_POLL) {
        nxi_charge(worker);
        error = -EAGAIN;
    }
    if (error < 0) {
        free_lookup(lookup);
        return error;
    }
    error = post(worker, lookup, deadline);
    if (error < 0)
        return error;
    error = lookup->error;
    if (error == 0) {
        *ret_addrs = lookup->addrs;
        *ret_count = lookup->count;
        lookup->addrs = NULL;
        lookup->count = 0;
    }
    free_lookup(lookup);
    return error;
}

int nxi_resolve(const char *host_port, nx_addr **ret_addrs, size_t *ret_count, nx_time deadline)
{
    struct nxi_worker *worker = nxi_self();
    nx_addr addr;
    if (nxi_task_cancelled(worker->current)) {
        nxi_charge(worker);
        return -ECANCELED;
    }
    if (nx_addr_parse(host_port, &addr) < 0)
        return look_up_name(worker, host_port, ret_addrs, ret_count, deadline);
    *ret_addrs = nxi_alloc(sizeof(addr));
    if (!*ret_addrs)
        return -ENOMEM;
    **ret_addrs = addr;
    *ret_count = 1;
    return 0;
}

int nx_resolve(const char *host_port, nx_addr *ret_addrs, size_t *inout_count, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    nx_addr *addrs;
    size_t count;
    if (!nxi_in_task())
        return nxi_no_task();
    if (!host_port || !inout_count || (!ret_addrs && *inout_count > 0))
        return -EINVAL;
    int error = nxi_resolve(host_port, &addrs, &count, deadline);
    if (error < 0)
        return error;
    size_t copied = count < *inout_count ? count : *inout_count;
    if (copied > 0)
        memcpy(ret_addrs, addrs, copied * sizeof(*addrs));
    *inout_count = count;
    nxi_free(addrs, count * sizeof(*addrs));
    return 0;
}
