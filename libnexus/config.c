/* Parameters: found by name in the plugin's table, checked once here so that a plugin may parse without doubt. */
#include "config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct nx_config {
    const struct nx_plugin *plugin;
    void *runtime;
    char *values[NXI_PARAMS_MAX]; /* by position in the table; NULL: the default */
};

static size_t table_count(const struct nx_param *params)
{
    size_t count = 0;

    while (params && count < NXI_PARAMS_MAX && params[count].name)
        count++;
    return count;
}

static bool is_uint(const char *text)
{
    uint64_t value = 0;

    if (*text == '\0')
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9' || value > (UINT64_MAX - 9) / 10)
            return false;
        value = value * 10 + (uint64_t)(*text - '0');
    }
    return true;
}

static bool is_of_type(const char *text, uint32_t type)
{
    if (type == NX_PARAM_UINT)
        return is_uint(text);
    if (type == NX_PARAM_BOOL)
        return strcmp(text, "0") == 0 || strcmp(text, "1") == 0;
    return type == NX_PARAM_STRING;
}

static const char *type_name(uint32_t type)
{
    return type == NX_PARAM_UINT ? "a decimal number" : type == NX_PARAM_BOOL ? "0 or 1" : "text";
}

static const char *default_of(const struct nx_param *param)
{
    return param->default_value ? param->default_value : "";
}

int nxi_config_check_table(const struct nx_param *params, char *error, size_t error_size)
{
    size_t count = table_count(params);

    if (count == NXI_PARAMS_MAX) {
        snprintf(error, error_size, "its table of parameters has no end, or more than %d", NXI_PARAMS_MAX - 1);
        return -EINVAL;
    }
    for (size_t i = 0; i < count; i++) {
        const struct nx_param *param = &params[i];

        if (param->type < NX_PARAM_UINT || param->type > NX_PARAM_STRING) {
            snprintf(error, error_size, "its parameter '%s' is of the unknown type %u", nxi_quote(param->name).text,
                     param->type);
            return -EINVAL;
        }
        if (!is_of_type(default_of(param), param->type)) {
            snprintf(error, error_size, "its parameter '%s' must be %s, and its default is '%s'",
                     nxi_quote(param->name).text, type_name(param->type), nxi_quote(default_of(param)).text);
            return -EINVAL;
        }
    }
    return 0;
}

/* "entries (a decimal number, default 256), sqpoll (0 or 1, default 0)" */
static void describe_table(const struct nx_param *params, size_t count, char *text, size_t size)
{
    size_t used = 0;

    text[0] = '\0';
    for (size_t i = 0; i < count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s (%s, default '%s')", i ? ", " : "",
                                 nxi_quote(params[i].name).text, type_name(params[i].type),
                                 nxi_quote(default_of(&params[i])).text);
}

static void refuse_unknown(const struct nx_plugin *plugin, const char *key, char *error, size_t error_size)
{
    const char *names[NXI_PARAMS_MAX], *near;
    size_t count = table_count(plugin->params);
    char table[768];

    if (count == 0) {
        snprintf(error, error_size, "%s has no parameters, so none called '%s'", plugin->name, nxi_quote(key).text);
        return;
    }
    for (size_t i = 0; i < count; i++)
        names[i] = plugin->params[i].name;
    near = nxi_nearest(key, names, count);
    describe_table(plugin->params, count, table, sizeof(table));
    snprintf(error, error_size, "%s has no parameter '%s'%s%s%s; it has: %s", plugin->name, nxi_quote(key).text,
             near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "", table);
}

static int set(struct nx_config *config, const struct nxi_spec_param *given, char *error, size_t error_size)
{
    const struct nx_param *table = config->plugin->params;
    size_t count = table_count(table);

    for (size_t i = 0; i < count; i++) {
        if (strcmp(table[i].name, given->key) != 0)
            continue;
        if (!is_of_type(given->value, table[i].type)) {
            char all[768];

            describe_table(table, count, all, sizeof(all));
            snprintf(error, error_size, "%s: the parameter '%s' must be %s, not '%s'; there are: %s",
                     config->plugin->name, given->key, type_name(table[i].type), nxi_quote(given->value).text, all);
            return -EINVAL;
        }
        free(config->values[i]);
        config->values[i] = strdup(given->value);
        if (config->values[i])
            return 0;
        snprintf(error, error_size, "out of memory");
        return -ENOMEM;
    }
    refuse_unknown(config->plugin, given->key, error, error_size);
    return -EINVAL;
}

int nxi_config_new(const struct nx_plugin *plugin, const struct nxi_spec_param *params, size_t count,
                   struct nx_config **ret_config, char *error, size_t error_size)
{
    struct nx_config *config = calloc(1, sizeof(*config));

    if (!config) {
        snprintf(error, error_size, "out of memory");
        return -ENOMEM;
    }
    config->plugin = plugin;
    for (size_t i = 0; i < count; i++) {
        int r = set(config, &params[i], error, error_size);

        if (r < 0) {
            nxi_config_free(config);
            return r;
        }
    }
    *ret_config = config;
    return 0;
}

void nxi_config_free(struct nx_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < NXI_PARAMS_MAX; i++)
        free(config->values[i]);
    free(config);
}

const char *nxi_config_param(const struct nx_config *config, const char *name)
{
    const struct nx_param *table = config->plugin->params;
    size_t count = table_count(table);

    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0)
            return config->values[i] ? config->values[i] : default_of(&table[i]);
    return NULL;
}

void nxi_config_set_runtime(const struct nx_config *config, void *runtime)
{
    ((struct nx_config *)config)->runtime = runtime; /* made by calloc above, never a const object */
}

void *nxi_config_runtime(const struct nx_config *config)
{
    return config->runtime;
}
