/*
 * nexus new: writes a plugin's project. What it writes is in files: the build around a plugin in tools/new/, the
 * plugins themselves, which are also examples, in examples/plugins/; here they get their names.
 *
 * A folder is written whole or not at all: mkdir(2) says whether the name was free, and from then on all that is in the
 * folder is ours, to be removed if a write fails. Signals wait meanwhile.
 */
#include "new.h"
#include "../nexus.h"
#include "env.h"
#include "find.h"
#include "loader.h"
#include "spec.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FOLDER_MODE 0755 /* and files less than that: a plugin that others can write to is not loaded */
#define KIND_WORDS 6
#define WORDS (KIND_WORDS + 3)
#define PATH_ROOM (NXI_NAME_MAX + 16)

/* What @word@ stands for. */
struct word {
    const char *word, *value;
};

struct kind {
    const char *name;
    uint32_t plugin;
    struct word words[KIND_WORDS];
};

static const struct kind kinds[] = {
    {"driver",
     NX_PLUGIN_DRIVER,
     {{"kind", "driver"},
      {"source", "poll.c"},
      {"folder", "backenddir"},
      {"page", "nexus-driver"},
      {"row", "backend"},
      {"variable", "NEXUS_BACKEND"}}},
    {"scheduler",
     NX_PLUGIN_SCHEDULER,
     {{"kind", "scheduler"},
      {"source", "edf.c"},
      {"folder", "scheddir"},
      {"page", "nexus-sched"},
      {"row", "scheduler"},
      {"variable", "NEXUS_SCHED"}}},
};

#define KIND_COUNT (sizeof(kinds) / sizeof(kinds[0]))

/* In the order in which they are written. */
static const struct file {
    const char *path, *text; /* both with @words@; text: a name in nexus_texts */
    mode_t mode;
} files[] = {
    {"README.md", "@kind@.md.in", 0644},
    {"@name@.c", "@source@", 0644},
    {"configure.ac", "configure.ac.in", 0644},
    {"Makefile.am", "Makefile.am.in", 0644},
    {"bootstrap", "bootstrap.in", 0755},
    {"conform.sh", "conform.sh.in", 0755},
    {"info.sh", "info.sh.in", 0755},
    {".gitignore", "gitignore.in", 0644},
    {".ci/run", "ci.in", 0755},
};

#define FILE_COUNT (sizeof(files) / sizeof(files[0]))
#define CI_FOLDER ".ci"

struct project {
    const struct kind *kind;
    const char *name;
    char symbol[NXI_SYMBOL_MAX];
    struct word words[WORDS];
    int folder; /* its descriptor */
    size_t written;
};

/* ---- names ---- */

/* One sentence, with the cause and what to do. */
static int refuse_name(const char *name, const char *why)
{
    fprintf(stderr, "nexus new: '%s' can't be the plugin's name: %s\n", nxi_quote(name).text, why);
    return NEXUS_USAGE;
}

static int check_name(const struct kind *kind, const char *name)
{
    struct nxi_env env;
    char *path = NULL, error[1024];

    if (name[0] == '\0')
        return refuse_name(name, "it is empty; give one such as mine");
    if (strlen(name) > NXI_NAME_MAX)
        return refuse_name(name, "it is longer than 63 characters; take a shorter one");
    if (strcmp(name, "auto") == 0)
        return refuse_name(name, "it means the automatic choice; take another one");
    if (strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") == 0)
        return refuse_name(name, "it does not begin with a letter; put one in front");
    if (!nxi_name_valid(name))
        return refuse_name(name, "only letters, digits, '_' and '-' may be in it; leave the others out");
    if (strncmp(name, "lib", 3) == 0)
        return refuse_name(name, "'lib' in front is no part of a name but of a file's; leave it out");
    if (nxi_name_canonical(name) != name) {
        fprintf(stderr, "nexus new: '%s' is another name of %s; take a name of your own\n", name,
                nxi_name_canonical(name));
        return NEXUS_USAGE;
    }
    if (nxi_find_builtin(kind->plugin, name)) {
        fprintf(stderr, "nexus new: the %s '%s' is built into libnexus, and would be found first; take another name\n",
                kind->name, name);
        return NEXUS_USAGE;
    }
    nxi_env_read(&env);
    if (nxi_find_file(kind->plugin, env.plugin_path, name, &path, error, sizeof(error)) == 0) {
        fprintf(stderr, "nexus new: there is a %s '%s' already, %s, and one would hide the other; take another name\n",
                kind->name, name, nxi_quote(path).text);
        free(path);
        return NEXUS_USAGE;
    }
    return NEXUS_OK; /* not found, or not to be looked for: no reason not to write a folder */
}

/* ---- writing ---- */

static const char *text_of(const char *name)
{
    const struct nexus_text *text = nexus_texts;

    while (strcmp(text->name, name) != 0) /* ends: the build has put them all in */
        text++;
    return text->text;
}

/* The value of the word that begins at an '@', or NULL; *ret_end is behind its second '@'. */
static const char *value_at(const struct project *project, const char *at, const char **ret_end)
{
    for (size_t i = 0; i < WORDS; i++) {
        size_t length = strlen(project->words[i].word);

        if (strncmp(at + 1, project->words[i].word, length) == 0 && at[length + 1] == '@') {
            *ret_end = at + length + 2;
            return project->words[i].value;
        }
    }
    return NULL;
}

static void fill_in(const struct project *project, const char *text, FILE *to)
{
    while (*text) {
        const char *end, *value = *text == '@' ? value_at(project, text, &end) : NULL;

        if (value) {
            fputs(value, to);
            text = end;
        } else {
            fputc(*text++, to);
        }
    }
}

/* A path or a text's name, words filled in. 0 or -errno. */
static int expand(const struct project *project, const char *text, char ret_path[PATH_ROOM])
{
    FILE *to = fmemopen(ret_path, PATH_ROOM, "w");

    if (!to)
        return -errno;
    fill_in(project, text, to);
    return fclose(to) == 0 ? 0 : -errno;
}

static int write_file(const struct project *project, const struct file *file)
{
    char name[PATH_ROOM], path[PATH_ROOM];
    int error = 0, fd, r = expand(project, file->text, name);
    FILE *to;

    if (r == 0)
        r = expand(project, file->path, path);
    if (r < 0)
        return r;
    fd = openat(project->folder, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, file->mode);
    if (fd < 0)
        return -errno;
    to = fdopen(fd, "w");
    if (!to) {
        error = errno;
        close(fd);
        return -error;
    }
    errno = 0;
    fill_in(project, text_of(name), to);
    if (ferror(to))
        error = errno ? errno : EIO;
    if (fclose(to) != 0 && error == 0)
        error = errno;
    return -error;
}

static int write_files(struct project *project)
{
    int r = mkdirat(project->folder, CI_FOLDER, FOLDER_MODE) < 0 ? -errno : 0;

    for (; r == 0 && project->written < FILE_COUNT; project->written++)
        r = write_file(project, &files[project->written]);
    return r;
}

/* The last one counts as written also when that has failed. */
static void remove_all(const struct project *project)
{
    char path[PATH_ROOM];

    for (size_t i = project->written; i-- > 0;)
        if (expand(project, files[i].path, path) == 0)
            unlinkat(project->folder, path, 0);
    unlinkat(project->folder, CI_FOLDER, AT_REMOVEDIR);
    rmdir(project->name);
}

static int cant_make(const char *name, int error)
{
    const char *remedy = "call this in a folder that you can write to";

    if (error == EEXIST) {
        fprintf(stderr, "nexus new: '%s' is here already; remove it, take another name, or call this elsewhere\n",
                name);
        return NEXUS_FAILED;
    }
    if (error == ENOSPC || error == EDQUOT)
        remedy = "make room on the disk, or call this elsewhere";
    fprintf(stderr, "nexus new: can't make the folder '%s': %s; %s\n", name, strerror(error), remedy);
    return NEXUS_FAILED;
}

static int write_folder(struct project *project)
{
    int r;

    if (mkdir(project->name, FOLDER_MODE) < 0)
        return cant_make(project->name, errno);
    project->folder = open(project->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    r = project->folder < 0 ? -errno : write_files(project);
    if (r < 0)
        remove_all(project);
    if (project->folder >= 0)
        close(project->folder);
    if (r == 0)
        return NEXUS_OK;
    fprintf(stderr, "nexus new: can't write '%s': %s; nothing is left of it. Make room, or call this elsewhere\n",
            project->name, strerror(-r));
    return NEXUS_FAILED;
}

/* A signal waits until the folder is whole, or gone. */
static int create(struct project *project)
{
    sigset_t all, before;
    int status;

    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, &before);
    status = write_folder(project);
    sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}

/* Who could write to a folder above is the loader's to say, of any file in it. */
static void warn_if_not_trusted(const struct project *project)
{
    char path[PATH_ROOM], absolute[PATH_MAX], error[1024];
    struct nxi_peek peek;

    snprintf(path, sizeof(path), "%s/README.md", project->name);
    if (realpath(path, absolute) && nxi_loader_look(absolute, 0, &peek, error, sizeof(error)) == -EACCES)
        fprintf(stderr, "nexus new: libnexus will load no plugin from here, and make check will fail: %s\n", error);
}

/* ---- the command ---- */

static int usage(FILE *to, int status)
{
    fputs("usage: nexus new driver NAME\n"
          "       nexus new scheduler NAME\n\n"
          "Writes the folder NAME: an Autotools project around a plugin that works as it stands.\n\n"
          "  driver     an I/O driver, on poll(2)\n"
          "  scheduler  earliest deadline first\n"
          "  NAME       letters, digits, '_' and '-', a letter first\n\n"
          "  --help     this\n",
          to);
    return status;
}

static const struct kind *find_kind(const char *word)
{
    const char *names[KIND_COUNT], *near;

    for (size_t i = 0; i < KIND_COUNT; i++) {
        if (strcmp(word, kinds[i].name) == 0)
            return &kinds[i];
        names[i] = kinds[i].name;
    }
    near = nxi_nearest(word, names, KIND_COUNT);
    fprintf(stderr, "nexus new: there is no plugin of the kind '%s'%s%s%s; write driver or scheduler\n",
            nxi_quote(word).text, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
    return NULL;
}

static void name_words(struct project *project)
{
    struct word *word = project->words;

    snprintf(project->symbol, sizeof(project->symbol), "%s", project->name);
    for (char *c = project->symbol; *c; c++)
        *c = (char)(*c == '-' ? '_' : *c);
    for (size_t i = 0; i < KIND_WORDS; i++)
        *word++ = project->kind->words[i];
    *word++ = (struct word){"name", project->name};
    *word++ = (struct word){"symbol", project->symbol};
    *word = (struct word){"version", nx_version()};
}

int nexus_new(int argc, char **argv)
{
    static const struct option options[] = {
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct project project = {.folder = -1};
    int option, status;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        if (option == 'h')
            return usage(stdout, NEXUS_OK);
        nexus_bad_option("nexus new", options, argv);
        return usage(stderr, NEXUS_USAGE);
    }
    if (argc - optind != 2) {
        fprintf(stderr, "nexus new: %s\n",
                argc == optind       ? "name a kind, driver or scheduler, and the plugin"
                : argc - optind == 1 ? "name the plugin, too"
                                     : "name one plugin");
        return usage(stderr, NEXUS_USAGE);
    }
    project.kind = find_kind(argv[optind]);
    if (!project.kind)
        return NEXUS_USAGE;
    project.name = argv[optind + 1];
    status = check_name(project.kind, project.name);
    if (status != NEXUS_OK)
        return status;
    name_words(&project);
    status = create(&project);
    if (status == NEXUS_OK) {
        warn_if_not_trusted(&project);
        printf("%s/ has a %s that works as it stands; README.md says how to make it yours. Next:\n\n"
               "    cd %s && ./bootstrap && ./configure && make check\n",
               project.name, project.kind->name, project.name);
    }
    return status;
}
