/* struct nx_config: an instance's parameters, checked against its plugin's table; what host->param reads. */
#ifndef NXI_CONFIG_H
#define NXI_CONFIG_H

#include "spec.h"
#include <nexus/plugin.h>

#define NXI_PARAMS_MAX 64 /* entries of a plugin's table */

/*
 * The values of the plugin's parameters: the given ones over the defaults. The strings are copied. 0; -ENOMEM; -EINVAL
 * for an unknown parameter or a value that isn't of its type, with a sentence that names what the plugin has.
 */
int nxi_config_new(const struct nx_plugin *plugin, const struct nxi_spec_param *params, size_t count,
                   struct nx_config **ret_config, char *error, size_t error_size);
void nxi_config_free(struct nx_config *config);

/* host->param: the value or the default; NULL for a name not in the table. Any thread, as long as the config lives. */
const char *nxi_config_param(const struct nx_config *config, const char *name);

/* Whose instance it is, for host->wake_worker. Set before the instance can call the host. The config is const to
 * plugins only, so that who hands it to them can set this too. */
void nxi_config_set_runtime(const struct nx_config *config, void *runtime);
void *nxi_config_runtime(const struct nx_config *config);

/* 0, or -EINVAL with a sentence when the table itself is wrong: no name, unknown type, a default not of its type. */
int nxi_config_check_table(const struct nx_param *params, char *error, size_t error_size);

#endif
