/* nexus(1): finds the subcommand. */
#define _GNU_SOURCE
#include "nexus.h"
#include "spec.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <nexus/base.h>
#include <nexus/plugin.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} commands[] = {
    {"bench", nexus_bench, "measures backends and schedulers against raw limits and other runtimes"},
    {"conform", nexus_conform, "tests a driver or a scheduler against the numbered requirements"},
    {"info", nexus_info, "plugins, what would be chosen and why, capabilities, environment"},
    {"new", nexus_new, "writes a project to start a driver or a scheduler of one's own from"},
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))
#define OPTIONS_MAX 16 /* of a command */

static int usage(FILE *to, int status)
{
    fputs("usage: nexus COMMAND [OPTION...]\n\n", to);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].help);
    fputs("\n  --help     this; nexus COMMAND --help: that command's options\n"
          "  --version  of this program and of the plugin ABI\n",
          to);
    return status;
}

static int unknown(const char *word)
{
    const char *names[COMMAND_COUNT], *near;

    for (size_t i = 0; i < COMMAND_COUNT; i++)
        names[i] = commands[i].name;
    near = nxi_nearest(word, names, COMMAND_COUNT);
    fprintf(stderr, "nexus: there is no command '%s'%s%s%s; nexus --help lists them\n", nxi_quote(word).text,
            near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    return NEXUS_USAGE;
}

/* getopt_long has gone past a long option that is wrong: optopt is 0, or the value of one that takes no argument. */
void nexus_bad_option(const char *command, const struct option *options, char **argv)
{
    const char *word = argv[optind - 1], *names[OPTIONS_MAX], *near;
    char name[NXI_NAME_MAX + 1];
    size_t count = 0;
    bool is_long = optopt == 0;

    for (const struct option *option = options; option->name && count < OPTIONS_MAX; option++) {
        is_long = is_long || (strncmp(word, "--", 2) == 0 && strchr(word, '=') && option->val == optopt);
        names[count++] = option->name;
    }
    if (!is_long) {
        fprintf(stderr, "%s: there is no option '-%s'\n", command, nxi_quote((char[]){(char)optopt, '\0'}).text);
        return;
    }
    if (optopt != 0) {
        fprintf(stderr, "%s: '%s': this option takes no value\n", command, nxi_quote(word).text);
        return;
    }
    snprintf(name, sizeof(name), "%.*s", (int)strcspn(word + 2, "="), word + 2);
    near = nxi_nearest(name, names, count);
    fprintf(stderr, "%s: there is no option '--%s'%s%s%s\n", command, nxi_quote(name).text,
            near ? " (did you mean '--" : "", near ? near : "", near ? "'?)" : "");
}

int nexus_output_aside(void)
{
    int kept;

    fflush(stdout);
    kept = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (kept >= 0)
        dup2(STDERR_FILENO, STDOUT_FILENO);
    return kept;
}

void nexus_output_back(int kept)
{
    if (kept < 0)
        return;
    fflush(stdout); /* what they have left in the buffer */
    dup2(kept, STDOUT_FILENO);
    close(kept);
}

static int run(int argc, char **argv)
{
    static const struct option options[] = {
        {"help", no_argument, NULL, 'h'},
        {"version", no_argument, NULL, 'V'},
        {NULL, 0, NULL, 0},
    };

    opterr = 0;
    switch (getopt_long(argc, argv, "+hV", options, NULL)) { /* one decides, whatever follows it */
    case -1:
        break;
    case 'h':
        return usage(stdout, NEXUS_OK);
    case 'V':
        printf("nexus %s, plugin ABI %d.%d\n", nx_version(), NX_ABI_MAJOR, NX_ABI_MINOR);
        return NEXUS_OK;
    default:
        nexus_bad_option("nexus", options, argv);
        return usage(stderr, NEXUS_USAGE);
    }
    argc -= optind;
    argv += optind;
    optind = 0; /* the subcommand parses anew */
    if (argc == 0)
        return usage(stderr, NEXUS_USAGE);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(argv[0], commands[i].name) == 0)
            return commands[i].run(argc, argv);
    return unknown(argv[0]);
}

int main(int argc, char **argv)
{
    int status = run(argc, argv);

    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "nexus: can't write: %s\n", strerror(errno));
        return NEXUS_FAILED;
    }
    return status;
}
