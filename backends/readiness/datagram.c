/*
 * readiness/datagram.c: options and groups of datagram sockets.
 *
 * An IPv6 socket also sends to IPv4 addresses (::ffff:...), by IPv4's options: both are set, and that the second can't
 * be, on a socket for IPv6 only say, is no error.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* struct ip_mreqn */
#endif
#include "datagram.h"
#include "os.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static int set(int fd, int level, int name, const void *value, socklen_t size)
{
    return setsockopt(fd, level, name, value, size) < 0 ? -errno : 0;
}

static int set_int(int fd, int level, int name, int64_t value)
{
    int number = (int)value;
    return set(fd, level, name, &number, sizeof(number));
}

/* IPv4's options of multicast are a byte on some systems; all take one. */
static int set_byte(int fd, int name, int64_t value)
{
    unsigned char byte = (unsigned char)value;
    return set(fd, IPPROTO_IP, name, &byte, sizeof(byte));
}

static int set_ttl(int fd, int domain, int64_t value)
{
    int r = 0;
    if (domain == AF_INET6) {
        r = set_int(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, value);
        if (r == 0)
            r = set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, value);
    }
    int r4 = set_int(fd, IPPROTO_IP, IP_TTL, value);
    if (r4 == 0)
        r4 = set_byte(fd, IP_MULTICAST_TTL, value);
    return domain == AF_INET6 ? r : r4;
}

static int set_multicast_loop(int fd, int domain, int64_t value)
{
    int r4 = set_byte(fd, IP_MULTICAST_LOOP, value != 0);
    return domain == AF_INET6 ? set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, value != 0) : r4;
}

static int set_multicast_scope(int fd, int domain, int64_t value)
{
    struct os_group by = OS_GROUP(value);
    int r4 = set(fd, IPPROTO_IP, IP_MULTICAST_IF, OS_INTERFACE(by), OS_INTERFACE_SIZE);
    return domain == AF_INET6 ? set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, value) : r4;
}

int nxi_datagram_option(int fd, uint32_t option, int64_t value)
{
    if (option < NX_OPTION_BROADCAST || option > NX_OPTION_RECEIVE_BUFFER)
        return -ENOTSUP;
    if (value < 0 || value > INT_MAX)
        return -EINVAL;
    if (option == NX_OPTION_BROADCAST)
        return set_int(fd, SOL_SOCKET, SO_BROADCAST, value != 0);
    if (option == NX_OPTION_RECEIVE_BUFFER)
        return set_int(fd, SOL_SOCKET, SO_RCVBUF, value);
    int domain = os_domain(fd);
    if (domain < 0)
        return domain;
    if (domain != AF_INET && domain != AF_INET6)
        return -EOPNOTSUPP;
    if (option == NX_OPTION_TTL)
        return value < 1 || value > 255 ? -EINVAL : set_ttl(fd, domain, value);
    return option == NX_OPTION_MULTICAST_LOOP ? set_multicast_loop(fd, domain, value)
                                              : set_multicast_scope(fd, domain, value);
}

int nxi_datagram_membership(int fd, const struct nx_op *op)
{
    const struct nx_addr *group = op->data;
    bool join = op->arg != 0;
    if (op->offset > INT_MAX)
        return -ENODEV;
    if (group->family == NX_AF_INET && group->len == 4) {
        struct os_group request = OS_GROUP(op->offset);
        memcpy(&request.imr_multiaddr, group->data, 4);
        return set(fd, IPPROTO_IP, join ? IP_ADD_MEMBERSHIP : IP_DROP_MEMBERSHIP, &request, sizeof(request));
    }
    if (group->family == NX_AF_INET6 && group->len == 16) {
        struct ipv6_mreq request = {.ipv6mr_interface = (unsigned)op->offset};
        memcpy(&request.ipv6mr_multiaddr, group->data, 16);
        return set(fd, IPPROTO_IPV6, join ? IPV6_JOIN_GROUP : IPV6_LEAVE_GROUP, &request, sizeof(request));
    }
    return -EAFNOSUPPORT;
}
