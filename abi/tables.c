/*
 * The plugin ABI for tools that only see what an object exports: libnexus exports none of it, since plugins hand their
 * tables over by address. Built with debug information for tests/abi/abidiff.sh and `make abi-baseline`, run by nobody.
 */
#include <nexus/driver.h>
#include <nexus/readiness.h>
#include <nexus/sched.h>

#define SHOW(type) NX_PLUGIN_EXPORT struct nx_##type abi_##type = {0}

SHOW(plugin);
SHOW(param);
SHOW(host);
SHOW(reason);
SHOW(driver_ops);
SHOW(op);
SHOW(message);
SHOW(completion);
SHOW(capability);
SHOW(stat);
SHOW(sched_ops);
SHOW(ready);
SHOW(poller_ops);
SHOW(ready_event);
SHOW(fd_slot);

/* The adapter's functions, which authors link into their module. */
#define FUNCTION(name) NX_PLUGIN_EXPORT __typeof__(name) *abi_##name = NULL

FUNCTION(nx_readiness_open);
FUNCTION(nx_readiness_close);
FUNCTION(nx_readiness_ctx_open);
FUNCTION(nx_readiness_ctx_close);
FUNCTION(nx_readiness_submit);
FUNCTION(nx_readiness_cancel);
FUNCTION(nx_readiness_poll);
FUNCTION(nx_readiness_arm);
FUNCTION(nx_readiness_disarm);
FUNCTION(nx_readiness_wait);
FUNCTION(nx_readiness_wake);
FUNCTION(nx_readiness_wait_fd);
FUNCTION(nx_readiness_socket);
FUNCTION(nx_readiness_bind);
FUNCTION(nx_readiness_listen);
FUNCTION(nx_readiness_option);
FUNCTION(nx_readiness_name);
FUNCTION(nx_readiness_import_fd);
FUNCTION(nx_readiness_export_fd);
FUNCTION(nx_readiness_release);
FUNCTION(nx_readiness_capability);
FUNCTION(nx_readiness_stats);
FUNCTION(nx_readiness_forked);
FUNCTION(nx_fds_open);
FUNCTION(nx_fds_close);
FUNCTION(nx_fds_add);
FUNCTION(nx_fds_get);
FUNCTION(nx_fds_drop);
FUNCTION(nx_fds_close_all);
FUNCTION(nx_fds_socket);
FUNCTION(nx_fds_bind);
FUNCTION(nx_fds_listen);
FUNCTION(nx_fds_option);
FUNCTION(nx_fds_membership);
FUNCTION(nx_fds_name);
FUNCTION(nx_fds_import);
FUNCTION(nx_fds_export);
FUNCTION(nx_fds_to_sockaddr);
FUNCTION(nx_fds_from_sockaddr);
