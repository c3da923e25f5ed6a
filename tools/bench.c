/*
 * nexus bench: becomes the Python program that does it. Which one: $NEXUS_BENCH; that of the build folder this program
 * lies in, then with --build said; the installed one. What the user says comes behind and wins.
 */
#define _GNU_SOURCE
#include "env.h"
#include "nexus.h"
#include "os.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PYTHON "python3"

struct place {
    char program[PATH_MAX];
    char build[PATH_MAX + 16]; /* "--build=FOLDER"; empty: not in a build folder */
};

/* The build folder has the program at bench/report, ours is in tools. */
static bool in_build_folder(struct place *place)
{
    char self[PATH_MAX];
    if (nxi_os_program(self, sizeof self) < 0)
        return false;
    for (int i = 0; i < 2; i++) {
        char *slash = strrchr(self, '/');
        if (!slash)
            return false;
        *slash = '\0';
    }
    int written = snprintf(place->program, sizeof place->program, "%s/bench/report/nexus-bench", self);
    if (written < 0 || (size_t)written >= sizeof place->program || access(place->program, R_OK) < 0)
        return false;
    snprintf(place->build, sizeof place->build, "--build=%s", self);
    return true;
}

static void find(struct place *place)
{
    const char *named = nxi_env_one("NEXUS_BENCH");
    place->build[0] = '\0';
    if (named)
        snprintf(place->program, sizeof place->program, "%s", named);
    else if (!in_build_folder(place))
        snprintf(place->program, sizeof place->program, "%s/nexus-bench", NEXUS_LIBEXEC);
}

int nexus_bench(int argc, char **argv)
{
    static struct place place;
    find(&place);
    if (access(place.program, R_OK) < 0) {
        fprintf(stderr, "nexus bench: %s: %s\n", place.program, strerror(errno));
        return NEXUS_FAILED;
    }
    char **args = calloc((size_t)argc + 4, sizeof *args);
    if (!args) {
        fputs("nexus: out of memory\n", stderr);
        return NEXUS_FAILED;
    }
    int count = 0;
    args[count++] = PYTHON;
    args[count++] = place.program;
    if (place.build[0])
        args[count++] = place.build;
    for (int i = 1; i < argc; i++)
        args[count++] = argv[i];
    execvp(PYTHON, args);
    fprintf(stderr, "nexus bench: %s: %s (Debian: python3)\n", PYTHON, strerror(errno));
    free(args);
    return NEXUS_FAILED;
}
