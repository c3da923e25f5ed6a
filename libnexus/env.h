/* The one door to the environment. Nothing else in the library calls getenv(3). */
#ifndef NXI_ENV_H
#define NXI_ENV_H

#include <stdbool.h>
#include <stddef.h>

/* The values as set; NULL when unset or empty. They point into the environment. */
struct nxi_env {
    const char *backend, *backend_net, *backend_file, *sched, *workers, *cpus, *plugin_path, *spin, *log, *stall_ms,
        *dump;
    bool privileged; /* set-uid, set-gid or file capabilities (AT_SECURE): every value above is NULL */
};

void nxi_env_read(struct nxi_env *ret_env);

/* One variable, by the same rules: NULL when unset, empty, or the process is privileged. */
const char *nxi_env_one(const char *name);

/*
 * A sentence for each variable that is set and within two letters of one of ours (NEXUS_BAKCEND) or another word for it
 * (NEXUS_THREADS). Values are never looked at, and other people's names (NEXUS_HOME, NEXUS_TEST_..., NXT_...) are left
 * alone. Silent in a privileged process.
 */
void nxi_env_warn_near_misses(void (*warn)(void *arg, const char *sentence), void *arg);

/* Every variable, for people. Ends with a NULL name. */
struct nxi_env_variable {
    const char *name;
    size_t field; /* offset of its const char * in struct nxi_env */
    const char *default_value;
    const char *help;
};
extern const struct nxi_env_variable nxi_env_variables[];

/* The value read for a variable of the table, or NULL. */
const char *nxi_env_value(const struct nxi_env *env, const struct nxi_env_variable *variable);

#endif
