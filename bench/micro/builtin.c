/* builtin.c: takes the place of the core's table of built-in plugins in programs that have all of them inside. */
#include "find.h"

extern const struct nx_plugin nexus_plugin_epoll, nexus_plugin_iouring, nexus_plugin_local, nexus_plugin_work_stealing;

const struct nx_plugin *const nxi_builtin_plugins[] = {
    &nexus_plugin_epoll,
#ifdef BENCH_WITH_IOURING
    &nexus_plugin_iouring,
#endif
    &nexus_plugin_local,   &nexus_plugin_work_stealing, NULL,
};
