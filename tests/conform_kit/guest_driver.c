/*
 * guest_driver: a good driver that behaves badly in the process. It loads the driver in NXT_GUEST_REAL and hands its
 * table on, but does what NXT_GUEST names:
 *
 *     talks     prints as it is loaded
 *     forks     open makes a child that never ends
 *     ignores   open ignores a real-time signal
 *     hangs     open never returns
 *     closes    open closes descriptors that are not its own, and never returns
 *     keeps     forked closes nothing
 *     sticks    forked never returns
 */
#define _GNU_SOURCE
#include "real.h"
#include <nexus/driver.h>

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#define DESCRIPTORS 256

static const struct nx_driver_ops *real;
static struct nx_driver_ops table;
static struct nx_param params[64];
static char manner; /* its first letter; "closes" has its second */

static void never_return(void)
{
    for (;;)
        pause();
}

static int guest_open(const struct nx_host *host, const struct nx_config *config, uint32_t id,
                      struct nx_driver **ret_driver, struct nx_reason *ret_reason)
{
    if (manner == 'l')
        for (int fd = 3; fd < DESCRIPTORS; fd++)
            close(fd);
    if (manner == 'h' || manner == 'l' || (manner == 'f' && fork() == 0))
        never_return();
    if (manner == 'i')
        signal(SIGRTMIN + 1, SIG_IGN);
    return real->open(host, config, id, ret_driver, ret_reason);
}

static void guest_forked(struct nx_driver *driver)
{
    if (manner == 's')
        never_return();
    if (manner != 'k')
        real->forked(driver);
}

/* Before the loader looks at the table. */
static void __attribute__((constructor)) load(void)
{
    const char *path = getenv("NXT_GUEST_REAL"), *guest = getenv("NXT_GUEST");
    const struct nx_plugin *plugin = path && guest ? real_plugin(path) : NULL;

    if (!plugin)
        return;
    manner = guest[0] == 'c' ? 'l' : guest[0];
    if (manner == 't')
        puts("a word of the plugin");
    real = plugin->ops;
    for (uint32_t i = 0; plugin->params && plugin->params[i].name && i < 63; i++)
        params[i] = plugin->params[i];
    table = *real;
    table.open = guest_open;
    table.forked = guest_forked;
}

NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_guest_driver = {
    .magic = NX_PLUGIN_MAGIC,
    .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR,
    .abi_minor = NX_ABI_MINOR,
    .kind = NX_PLUGIN_DRIVER,
    .name = "guest_driver",
    .version = "1.0",
    .summary = "a good driver that behaves badly in the process",
    .priority = -1,
    .params = params,
    .ops = &table,
};
