/*
 * Which plugin runs, and why. Explicit is strict: what was asked for runs or is an error, unless the list goes on; only
 * an unset choice, or a list ending in "auto", falls back, only for "unavailable", and says so.
 */
#ifndef NXI_SELECT_H
#define NXI_SELECT_H

#include "config.h"
#include <nexus/plugin.h>
#include <stdbool.h>
#include <stddef.h>

struct nxi_selection {
    const struct nx_plugin *plugin;
    const struct nx_config *config;
    char *path; /* "": built in */
    char *why;  /* the decision, a sentence a line */
};

struct nxi_request {
    uint32_t kind;            /* NX_PLUGIN_DRIVER or NX_PLUGIN_SCHEDULER */
    uint32_t domains;         /* drivers: NX_DOMAIN_... it must offer; 0: any */
    const char *variable;     /* "NEXUS_BACKEND", for sentences */
    const char *env_value;    /* or NULL */
    const char *option_value; /* the program's, or NULL */
    bool pinned;              /* the program's choice stands, even if it is "automatic" */
    const char *plugin_path;  /* NEXUS_PLUGIN_PATH or NULL */
    const struct nx_host *host;
    /* Makes the instance, after the probe; the config lives until it fails or the selection is cleared. NULL: only
     * probe. 0 or -errno with reason: what "unavailable" means is the same as for a probe. */
    int (*open)(void *arg, const struct nx_plugin *plugin, const struct nx_config *config,
                struct nx_reason *ret_reason);
    void *open_arg;
    void (*log)(void *arg, int level, const char *message); /* NX_LOG_...; may be NULL. Every line of why, as DEBUG */
    void *log_arg;
};

/*
 * 0; or a sentence in error and -EINVAL (bad list or parameter), -ENOENT (unknown plugin, or none at all), -EACCES,
 * -ENOEXEC (file not trusted, not usable), what the probe or open said, -ENOMEM, -EMFILE, -ENFILE. error may be NULL
 * with size 0.
 */
int nxi_select(const struct nxi_request *request, struct nxi_selection *ret_selection, char *error, size_t error_size);
void nxi_selection_clear(struct nxi_selection *selection);

/*
 * For `nexus info`: whether a plugin runs here, with its default parameters. path: "" or NULL for a built-in,
 * *io_plugin then set; else the file, which is loaded. 0; -errno with the sentence that a refusal has.
 */
int nxi_select_try(const char *path, uint32_t kind, const struct nx_host *host, const struct nx_plugin **io_plugin,
                   char *error, size_t error_size);

/* "io_uring_setup(2): EPERM (text). remedy", from what a probe or open left in reason, and its result. */
void nxi_reason_text(const struct nx_reason *reason, int error, char *ret_text, size_t size);

#endif
