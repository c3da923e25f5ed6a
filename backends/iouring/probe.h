/* iouring/probe.h: the plugin's probe. Not installed. */
#ifndef NEXUS_IOURING_PROBE_H
#define NEXUS_IOURING_PROBE_H

#include <nexus/plugin.h>

int nxi_uring_probe(const struct nx_host *host, const struct nx_config *config, struct nx_reason *ret_reason);

#endif
