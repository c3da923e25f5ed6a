/* The variables of nexus(7), read through secure_getenv(3) and nothing else. */
#define _GNU_SOURCE
#include "env.h"
#include "spec.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/auxv.h>
#endif

extern char **environ;

#define VARIABLE(name, field, default_value, help)                                                                     \
    {                                                                                                                  \
        name, offsetof(struct nxi_env, field), default_value, help                                                     \
    }

const struct nxi_env_variable nxi_env_variables[] = {
    VARIABLE(
        "NEXUS_BACKEND", backend, "automatic",
        "I/O backends by preference: epoll; iouring,epoll; iouring,auto; ^iouring; /abs/path.so; iouring:entries=64"),
    VARIABLE("NEXUS_BACKEND_NET", backend_net, "NEXUS_BACKEND", "the same for the network alone"),
    VARIABLE("NEXUS_BACKEND_FILE", backend_file, "NEXUS_BACKEND", "the same for files alone"),
    VARIABLE("NEXUS_SCHED", sched, "automatic", "scheduler: local; work_stealing; /abs/path.so; the same grammar"),
    VARIABLE("NEXUS_WORKERS", workers, "auto", "number of workers; auto: the cpus this process may use"),
    VARIABLE("NEXUS_CPUS", cpus, "none", "cpus the workers are bound to: auto; none; or a list such as 0-3,6"),
    VARIABLE("NEXUS_PLUGIN_PATH", plugin_path, "",
             "absolute directories of plugins, looked in before the installed one"),
    VARIABLE("NEXUS_SPIN", spin, "auto", "longest spin of an idle worker before it sleeps, in microseconds; 0: off"),
    VARIABLE("NEXUS_LOG", log, "warn", "error; warn; info; debug"),
    VARIABLE("NEXUS_STALL_MS", stall_ms, "0",
             "warns of a task that holds its worker longer than this, in milliseconds, with a backtrace; 0: off"),
    VARIABLE("NEXUS_DUMP", dump, "",
             "sigquit: SIGQUIT (Ctrl-\\) writes what every task is doing to stderr instead of ending the process"),
    {NULL, 0, NULL, NULL},
};

static bool privileged(void)
{
#ifdef __linux__
    return getauxval(AT_SECURE) != 0;
#else
    return issetugid() != 0;
#endif
}

const char *nxi_env_one(const char *name)
{
#ifdef __linux__
    const char *value = secure_getenv(name);
#else
    const char *value = privileged() ? NULL : getenv(name);
#endif
    return value && *value ? value : NULL;
}

void nxi_env_read(struct nxi_env *ret_env)
{
    struct nxi_env env = {.privileged = privileged()};

    for (const struct nxi_env_variable *variable = nxi_env_variables; variable->name && !env.privileged; variable++) {
        const char *value = nxi_env_one(variable->name);

        memcpy((char *)&env + variable->field, &value, sizeof(value));
    }
    *ret_env = env;
}

const char *nxi_env_value(const struct nxi_env *env, const struct nxi_env_variable *variable)
{
    const char *value;

    memcpy(&value, (const char *)env + variable->field, sizeof(value));
    return value;
}

/* Other words for the same: no slip of the fingers, but as easily made. */
static const struct {
    const char *name, *meant;
} other_words[] = {
    {"NEXUS_DRIVER", "NEXUS_BACKEND"},
    {"NEXUS_SCHEDULER", "NEXUS_SCHED"},
    {"NEXUS_THREADS", "NEXUS_WORKERS"},
};

/* The variable that this name was probably meant to be, or NULL: it is one of ours, or nobody's business. */
static const char *meant(const char *name)
{
    const char *nearest = NULL;
    unsigned nearest_distance = NXI_NEAR + 1;

    if (strncmp(name, "NEXUS_TEST_", 11) == 0 || strncmp(name, "NXT_", 4) == 0)
        return NULL;
    for (const struct nxi_env_variable *variable = nxi_env_variables; variable->name; variable++) {
        unsigned distance;

        if (strcmp(name, variable->name) == 0)
            return NULL;
        distance = nxi_distance(name, variable->name);
        if (distance < nearest_distance) {
            nearest = variable->name;
            nearest_distance = distance;
        }
    }
    for (size_t i = 0; !nearest && i < sizeof(other_words) / sizeof(other_words[0]); i++)
        if (nxi_distance(name, other_words[i].name) <= 1) /* NEXUS_THREAD */
            nearest = other_words[i].meant;
    return nearest;
}

void nxi_env_warn_near_misses(void (*warn)(void *arg, const char *sentence), void *arg)
{
    if (privileged() || !environ)
        return;
    for (char **entry = environ; *entry; entry++) {
        const char *variable;
        char name[NXI_NAME_MAX + 1], sentence[256];
        size_t length = strcspn(*entry, "=");

        if (length >= sizeof(name))
            continue;
        memcpy(name, *entry, length);
        name[length] = '\0';
        variable = meant(name);
        if (!variable)
            continue;
        snprintf(sentence, sizeof(sentence), "the environment variable %s has no meaning: did you mean %s?",
                 nxi_quote(name).text, variable);
        warn(arg, sentence);
    }
}
