/*
 * Plugin files: deciding whether to trust them, loading them, checking what they say. Refusals are sentences without a
 * final stop, for nxi_select to put in context.
 */
#ifndef NXI_LOADER_H
#define NXI_LOADER_H

#include "peek.h"
#include <nexus/driver.h>
#include <nexus/sched.h>
#include <stddef.h>

/* Whether a table offers a slot: long enough to have it, and not NULL there. Tables are never copied. */
#define NXI_HAS(ops, slot)                                                                                             \
    ((ops)->size >= offsetof(__typeof__(*(ops)), slot) + sizeof((ops)->slot) && (ops)->slot != NULL)

#define NXI_SYMBOL_MAX 96

/* The oldest minor whose plugins still load (abi/frozen/ has some); raised by who breaks the ABI, before 1.0. */
#define NXI_ABI_MINOR_OLDEST 1

/* "driver" and so on, for sentences that speak to plugin authors. */
const char *nxi_kind_name(uint32_t kind);

/* nexus_plugin_<name> for a file, by the rule of nexus/plugin.h. -EINVAL: the basename yields none. */
int nxi_loader_symbol(const char *path, char *ret_symbol, size_t size);

/*
 * Whether a struct nx_plugin and its table can be used: magic, size, ABI, kind (0: any), name, parameters, mandatory
 * slots. 0, or -ENOEXEC with a sentence.
 */
int nxi_loader_check(const struct nx_plugin *plugin, uint32_t kind, char *error, size_t error_size);

/* Only looks: trust as below, then magic, size, ABI and kind as the file has them. *ret_peek is set as far as known. */
int nxi_loader_look(const char *path, uint32_t kind, struct nxi_peek *ret_peek, char *error, size_t error_size);

/*
 * Loads the plugin in the file at an absolute path, for good: nothing is ever unloaded. Trusts only regular files that,
 * like every directory above them, belong to root, to this user or to who could change the program anyway, and can be
 * written by nobody else; reads magic, ABI and kind before any of the file's code runs. -ENOENT, -EACCES (not trusted),
 * -ENOEXEC (not usable), -EMFILE, -ENFILE, -ENOMEM.
 */
int nxi_loader_open(const char *path, uint32_t kind, const struct nx_plugin **ret_plugin, char *error,
                    size_t error_size);

#endif
