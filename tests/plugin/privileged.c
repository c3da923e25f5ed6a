/* What the library sees of the environment; run set-gid by test_privileged.sh. With a directory as its argument:
 * whether set-id bits count there. Ends by _exit(2): a leak checker can't attach to a privileged process. */
#define _GNU_SOURCE
#include "env.h"

#include <nexus/plugin.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <unistd.h>

static void warn(void *arg, const char *sentence)
{
    (void)arg;
    printf("warned: %s\n", sentence);
}

int main(int argc, char **argv)
{
    struct statvfs fs;
    struct nxi_env env;

    if (argc > 1) {
        if (statvfs(argv[1], &fs) == 0 && fs.f_flag & ST_NOSUID)
            puts("nosuid");
    } else {
        nxi_env_read(&env);
        printf("privileged: %s\n", env.privileged ? "yes" : "no");
        for (const struct nxi_env_variable *variable = nxi_env_variables; variable->name; variable++)
            if (nxi_env_value(&env, variable))
                printf("sees %s\n", variable->name);
        nxi_env_warn_near_misses(warn, NULL);
    }
    fflush(stdout);
    _exit(0);
}
