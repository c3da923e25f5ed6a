/*
 * nexus/plugin.h: what a plugin file is: one exported data symbol,
 *
 *     const struct nx_plugin nexus_plugin_<name>;       NX_PLUGIN_EXPORT puts it on the symbol table
 *
 * where <name> is the file's basename less "lib", up to the first dot, every character that is not a letter or a digit
 * replaced by "_". The same source builds as a module or into the library. A plugin links neither libnexus nor
 * threads of its own: what it needs from the world is in struct nx_host.
 *
 * Rules of every struct in plugin.h, host.h, driver.h, sched.h, readiness.h: size first, fields are only appended; no
 * enum, bool, bit-field or type whose layout depends on a macro. A table shorter than the core knows has NULL in the
 * missing slots; NULL is "not offered". The ABI is 0.x: until 1.0 a minor may break, and the core then refuses the
 * older plugin with a sentence.
 */
#ifndef NEXUS_PLUGIN_H
#define NEXUS_PLUGIN_H

#include <nexus/base.h>
#include <nexus/host.h>

#define NX_ABI_MAJOR 0
#define NX_ABI_MINOR 2 /* a plugin's may be older than the core's, not newer */

#define NX_PLUGIN_MAGIC 0x3170786eu /* "nxp1" */

#define NX_PLUGIN_DRIVER 1u
#define NX_PLUGIN_SCHEDULER 2u
#define NX_PLUGIN_LAYER 3u /* reserved */

#define NX_PARAM_UINT 1u /* decimal */
#define NX_PARAM_BOOL 2u /* 0 or 1 */
#define NX_PARAM_STRING 3u

/* A parameter that "name:key=value" in a backend list may set. Arrays end with a NULL name. */
struct nx_param {
    const char *name;
    uint32_t type, reserved;
    const char *default_value; /* as text */
    const char *help;          /* one line */
};

struct nx_plugin {
    uint32_t magic, size;          /* NX_PLUGIN_MAGIC, sizeof(struct nx_plugin) */
    uint16_t abi_major, abi_minor; /* NX_ABI_MAJOR, NX_ABI_MINOR */
    uint32_t kind;                 /* NX_PLUGIN_... */
    const char *name;              /* as users write it, and as its file is called: "epoll" */
    const char *version;
    const char *summary;           /* one line */
    int32_t priority, reserved;    /* automatic choice: higher first, then by name; < 0: only when asked for */
    const struct nx_param *params; /* or NULL */

    /* Can it run here and now? No lasting effect, at most 5 ms. 0, or -errno with reason filled. NULL: always. */
    int (*probe)(const struct nx_host *host, const struct nx_config *config, struct nx_reason *ret_reason);

    const void *ops; /* const struct nx_driver_ops * or const struct nx_sched_ops * */
};

#define NX_PLUGIN_EXPORT __attribute__((visibility("default")))

#endif
