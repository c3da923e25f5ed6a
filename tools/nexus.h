/* The nexus program: a file per subcommand. Exit status: 0 done, 1 it can't be done or doesn't hold, 2 wrong usage. */
#ifndef NEXUS_TOOL_H
#define NEXUS_TOOL_H

#define NEXUS_OK 0
#define NEXUS_FAILED 1
#define NEXUS_USAGE 2

struct option;

/* After getopt_long said '?', with opterr 0: the sentence about the option, on stderr. command: "nexus info". */
void nexus_bad_option(const char *command, const struct option *options, char **argv);

/*
 * While plugins are loaded and probed: what they print goes to standard error, as it is no part of the result. Back
 * takes what aside has returned, < 0 where nothing could be done.
 */
int nexus_output_aside(void);
void nexus_output_back(int kept);

/* Each gets the arguments from the subcommand's name on, and returns the exit status. */
int nexus_bench(int argc, char **argv);
int nexus_conform(int argc, char **argv);
int nexus_info(int argc, char **argv);
int nexus_new(int argc, char **argv);

#endif
