/* resolve.h: names and addresses: what nx_connect takes from nx_resolve, and the door that tests replace. */
#ifndef NXI_RESOLVE_H
#define NXI_RESOLVE_H

#include "core.h"
#include <netdb.h>
#include <nexus/net.h>

#define NXI_RESOLVED_MAX 64u /* addresses of one name; the rest are left out */

/* getaddrinfo(3) and freeaddrinfo(3), unless a test has put others here before any runtime was made. */
extern int (*nxi_getaddrinfo)(const char *name, const char *service, const struct addrinfo *hints,
                              struct addrinfo **ret_list);
extern void (*nxi_freeaddrinfo)(struct addrinfo *list);

/* As nx_resolve, of a task: all addresses, which go to nxi_free(*ret_addrs, *ret_count * sizeof(nx_addr)). */
int nxi_resolve(const char *host_port, nx_addr **ret_addrs, size_t *ret_count, nx_time deadline);

#endif
