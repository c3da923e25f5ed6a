/* readiness/datagram.h: what only datagram sockets have, for fds.c. Not installed. */
#ifndef NEXUS_READINESS_DATAGRAM_H
#define NEXUS_READINESS_DATAGRAM_H

#include <nexus/driver.h>

int nxi_datagram_option(int fd, uint32_t option, int64_t value); /* -ENOTSUP: not one of these */
int nxi_datagram_membership(int fd, const struct nx_op *op);

#endif
