/*
 * What the library sees of the environment, and does about it; run with privileges by test_privileged.sh.
 *
 *     privileged               the variables that it sees
 *     privileged run FOLDER    makes a runtime, of plugins in FOLDER where none are named, and says which it has
 *     privileged nosuid FOLDER whether set-id bits count there
 *
 * Ends by _exit(2): a leak checker can't attach to a privileged process.
 */
#define _GNU_SOURCE
#include "env.h"
#include "find.h"

#include <nexus/nexus.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/statvfs.h>
#include <unistd.h>

static void warn(void *arg, const char *sentence)
{
    (void)arg;
    printf("warned: %s\n", sentence);
}

static void look(void)
{
    struct nxi_env env;

    nxi_env_read(&env);
    printf("privileged: %s\n", env.privileged ? "yes" : "no");
    for (const struct nxi_env_variable *variable = nxi_env_variables; variable->name; variable++)
        if (nxi_env_value(&env, variable))
            printf("sees %s\n", variable->name);
    nxi_env_warn_near_misses(warn, NULL);
}

static void log_line(void *arg, int level, const char *message)
{
    (void)arg;
    printf("log %d: %s\n", level, message);
}

static void run(const char *folder)
{
    char error[1024] = "";
    struct nx_runtime_info info = {.size = sizeof(info)};
    nx_runtime *runtime;
    const nx_runtime_options options = {
        .size = sizeof(options), .workers = 1, .log = log_line, .error = error, .error_size = sizeof(error)};

    nxi_plugin_dir = folder;
    if (nx_runtime_create(&options, &runtime) < 0) {
        printf("fails: %s\n", error);
        return;
    }
    nx_runtime_info(runtime, &info);
    printf("has %s %s\n", info.backend_path[0] ? info.backend_path : info.backend, info.scheduler);
    nx_runtime_destroy(runtime);
}

int main(int argc, char **argv)
{
    struct statvfs fs;

    printf("AT_SECURE: %s\n", getauxval(AT_SECURE) ? "yes" : "no");
    if (argc == 3 && strcmp(argv[1], "nosuid") == 0) {
        if (statvfs(argv[2], &fs) == 0 && fs.f_flag & ST_NOSUID)
            puts("nosuid");
    } else if (argc == 3 && strcmp(argv[1], "run") == 0) {
        run(argv[2]);
    } else {
        look();
    }
    fflush(stdout);
    _exit(0);
}
