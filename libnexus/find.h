/* Where plugins are: built in, in the directories of NEXUS_PLUGIN_PATH, in the installed one. Loads nothing. */
#ifndef NXI_FIND_H
#define NXI_FIND_H

#include <nexus/plugin.h>
#include <stdbool.h>
#include <stddef.h>

#define NXI_DIRECTORIES_MAX 64 /* of NEXUS_PLUGIN_PATH */
#define NXI_FOUND_MAX 256      /* plugin files of a directory */

extern const struct nx_plugin *const nxi_builtin_plugins[]; /* ends with NULL; the build makes it */

/* Holds backends/ and sched/ of what is installed; a variable so that tests can look elsewhere. */
extern const char *nxi_plugin_dir;

/* A plugin that is there: built in, or a file that was looked into and not loaded. */
struct nxi_found {
    char name[64];
    char *path;                     /* "": built in */
    const struct nx_plugin *plugin; /* built in; else NULL */
    uint32_t kind;                  /* 0 when refused before it was known */
    uint16_t abi_major, abi_minor;
    int32_t priority;
    bool shadowed; /* an earlier one has its name */
    int error;     /* 0, or why it can't be loaded: -errno and a sentence */
    char *refusal;
};

struct nxi_found_list {
    struct nxi_found *items;
    size_t count, room;
};

/*
 * Every plugin of a kind, those of unknown kind included: built-ins, then the directories of plugin_path (may be NULL),
 * then the installed one; of two with one name the first is chosen and the others are marked shadowed. Sorted for the
 * automatic choice: priority, then name. 0, -ENOMEM, -EMFILE, -ENFILE, or -EINVAL with a sentence about plugin_path.
 */
int nxi_find_all(uint32_t kind, const char *plugin_path, struct nxi_found_list *ret_list, char *error,
                 size_t error_size);
void nxi_found_list_clear(struct nxi_found_list *list);

/* Adds the file at an absolute path, unless it is in the list already. -EINVAL, -ENOMEM, -EMFILE, -ENFILE. */
int nxi_find_add(struct nxi_found_list *list, uint32_t kind, const char *path);

/* The built-in of that kind and name, or NULL. */
const struct nx_plugin *nxi_find_builtin(uint32_t kind, const char *name);

/* The file for a name: the first <name>.so or lib<name>.so in those directories. 0; -ENOENT with the directories that
 * were looked in; -ENOMEM; -EINVAL with a sentence about plugin_path. */
int nxi_find_file(uint32_t kind, const char *plugin_path, const char *name, char **ret_path, char *error,
                  size_t error_size);

#endif
