/* Looks through built-ins and directories. The order of directory entries and of links never shows in a result. */
#define _GNU_SOURCE
#include "find.h"
#include "loader.h"
#include "spec.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifndef NXI_PLUGIN_DIR
#define NXI_PLUGIN_DIR "/usr/local/lib/nexus"
#endif

const char *nxi_plugin_dir = NXI_PLUGIN_DIR;

struct directories {
    char *paths[2 * NXI_DIRECTORIES_MAX + 1];
    size_t count;
};

static void clear_directories(struct directories *directories)
{
    for (size_t i = 0; i < directories->count; i++)
        free(directories->paths[i]);
}

static int add_directory(struct directories *directories, const char *path, size_t length, const char *below)
{
    char *copy;

    if (asprintf(&copy, "%.*s%s", (int)length, path, below) < 0)
        return -ENOMEM;
    directories->paths[directories->count++] = copy;
    return 0;
}

/* Each directory of the path as it is and with what `make install` puts below it. Empty pieces, as a ':' too many
 * leaves them, mean nothing: the current directory least of all. */
static int add_plugin_path(struct directories *directories, const char *plugin_path, const char *below, char *error,
                           size_t error_size)
{
    int r = 0;

    if (strnlen(plugin_path, NXI_SPEC_LENGTH_MAX + 1) > NXI_SPEC_LENGTH_MAX) {
        snprintf(error, error_size, "NEXUS_PLUGIN_PATH is longer than %d bytes", NXI_SPEC_LENGTH_MAX);
        return -EINVAL;
    }
    while (*plugin_path && r == 0) { /* ends: each turn consumes a piece */
        size_t length = strcspn(plugin_path, ":");

        if (length > 0 && *plugin_path != '/') {
            snprintf(error, error_size,
                     "NEXUS_PLUGIN_PATH: '%s' begins with a relative path: directories must be absolute",
                     nxi_quote(plugin_path).text);
            return -EINVAL;
        }
        if (length > 0 && directories->count + 2 >= 2 * NXI_DIRECTORIES_MAX + 1) {
            snprintf(error, error_size, "NEXUS_PLUGIN_PATH has more than %d directories", NXI_DIRECTORIES_MAX);
            return -EINVAL;
        }
        if (length > 0)
            r = add_directory(directories, plugin_path, length, "");
        if (length > 0 && r == 0)
            r = add_directory(directories, plugin_path, length, below);
        plugin_path += length + (plugin_path[length] == ':');
    }
    return r;
}

static int list_directories(uint32_t kind, const char *plugin_path, struct directories *ret_directories, char *error,
                            size_t error_size)
{
    const char *below = kind == NX_PLUGIN_SCHEDULER ? "/sched" : "/backends";
    struct directories directories = {.count = 0};
    int r;

    snprintf(error, error_size, "out of memory");
    r = plugin_path ? add_plugin_path(&directories, plugin_path, below, error, error_size) : 0;
    if (r == 0)
        r = add_directory(&directories, nxi_plugin_dir, strlen(nxi_plugin_dir), below);
    if (r < 0) {
        clear_directories(&directories);
        return r;
    }
    *ret_directories = directories;
    return 0;
}

const struct nx_plugin *nxi_find_builtin(uint32_t kind, const char *name)
{
    for (size_t i = 0; nxi_builtin_plugins[i]; i++)
        if (nxi_builtin_plugins[i]->kind == kind && strcmp(nxi_builtin_plugins[i]->name, name) == 0)
            return nxi_builtin_plugins[i];
    return NULL;
}

/* ---- by name ---- */

/* Whatever is there under the name is the answer; whether it can be used is the loader's question. */
static bool is_there(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

static int find_in(const char *directory, const char *name, char **ret_path)
{
    static const char *const prefixes[] = {"", "lib"};

    for (size_t i = 0; i < 2; i++) {
        char *path;

        if (asprintf(&path, "%s/%s%s.so", directory, prefixes[i], name) < 0)
            return -ENOMEM;
        if (is_there(path)) {
            *ret_path = path;
            return 0;
        }
        free(path);
    }
    return -ENOENT;
}

static void name_directories(const struct directories *directories, char *text, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < directories->count && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", directories->paths[i]);
}

int nxi_find_file(uint32_t kind, const char *plugin_path, const char *name, char **ret_path, char *error,
                  size_t error_size)
{
    struct directories directories;
    int r = list_directories(kind, plugin_path, &directories, error, error_size);

    if (r < 0)
        return r;
    r = -ENOENT;
    for (size_t i = 0; i < directories.count && r == -ENOENT; i++)
        r = find_in(directories.paths[i], name, ret_path);
    if (r == -ENOENT)
        name_directories(&directories, error, error_size);
    clear_directories(&directories);
    return r;
}

/* ---- all ---- */

static void clear_found(struct nxi_found *found)
{
    free(found->path);
    free(found->refusal);
}

void nxi_found_list_clear(struct nxi_found_list *list)
{
    if (!list)
        return;
    for (size_t i = 0; i < list->count; i++)
        clear_found(&list->items[i]);
    free(list->items);
    *list = (struct nxi_found_list){0};
}

/* Takes what found points to, in any case. */
static int append(struct nxi_found_list *list, struct nxi_found *found)
{
    if (list->count == list->room) {
        size_t room = list->room ? 2 * list->room : 8;
        struct nxi_found *items = realloc(list->items, room * sizeof(*items));

        if (!items) {
            clear_found(found);
            return -ENOMEM;
        }
        list->items = items;
        list->room = room;
    }
    for (size_t i = 0; i < list->count; i++)
        found->shadowed |= strcmp(list->items[i].name, found->name) == 0 && !list->items[i].shadowed;
    list->items[list->count++] = *found;
    return 0;
}

static int add_builtins(struct nxi_found_list *list, uint32_t kind)
{
    for (size_t i = 0; nxi_builtin_plugins[i]; i++) {
        const struct nx_plugin *plugin = nxi_builtin_plugins[i];
        struct nxi_found found = {
            .plugin = plugin,
            .kind = plugin->kind,
            .abi_major = plugin->abi_major,
            .abi_minor = plugin->abi_minor,
            .priority = plugin->priority,
            .path = strdup(""),
        };

        if (plugin->kind != kind) {
            free(found.path);
            continue;
        }
        snprintf(found.name, sizeof(found.name), "%s", plugin->name);
        if (!found.path || append(list, &found) < 0)
            return -ENOMEM;
    }
    return 0;
}

/* "libfoo.so" is foo; "" for what can't be a plugin's name. */
static void name_of_file(const char *base, char *ret_name, size_t size)
{
    size_t length;

    if (strncmp(base, "lib", 3) == 0)
        base += 3;
    length = strcspn(base, ".");
    snprintf(ret_name, size, "%.*s", length < size ? (int)length : 0, base);
    if (!nxi_name_valid(ret_name))
        *ret_name = '\0';
}

/* What the numbers in the file say. A file of the other kind belongs to the other list. */
static int add_file(struct nxi_found_list *list, uint32_t kind, const char *directory, const char *base)
{
    struct nxi_found found = {.shadowed = false};
    struct nxi_peek peek = {.kind = 0};
    char name[sizeof(found.name)], sentence[512] = "";

    name_of_file(base, name, sizeof(name));
    if (!*name)
        return 0;
    snprintf(found.name, sizeof(found.name), "%s", nxi_name_canonical(name));
    if (asprintf(&found.path, "%s/%s", directory, base) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i].path, found.path) == 0) {
            clear_found(&found);
            return 0;
        }
    found.error = nxi_loader_look(found.path, 0, &peek, sentence, sizeof(sentence));
    if (found.error == -EMFILE || found.error == -ENFILE || found.error == -ENOMEM) {
        clear_found(&found);
        return found.error;
    }
    if (peek.kind && peek.kind != kind && peek.magic == NX_PLUGIN_MAGIC) {
        clear_found(&found);
        return 0;
    }
    found.kind = peek.kind;
    found.abi_major = peek.abi_major;
    found.abi_minor = peek.abi_minor;
    found.priority = peek.priority;
    if (found.error < 0) {
        found.refusal = strdup(sentence);
        if (!found.refusal) {
            clear_found(&found);
            return -ENOMEM;
        }
    }
    return append(list, &found);
}

static int is_module(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);

    return entry->d_name[0] != '.' && length > 3 && strcmp(entry->d_name + length - 3, ".so") == 0;
}

static int add_directory_files(struct nxi_found_list *list, uint32_t kind, const char *directory)
{
    struct dirent **entries;
    int r = 0, count = scandir(directory, &entries, is_module, alphasort);

    if (count < 0) /* a directory that isn't there holds nothing, as in PATH */
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : 0;
    for (int i = 0; i < count; i++) {
        if (r == 0 && i < NXI_FOUND_MAX)
            r = add_file(list, kind, directory, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
    return r;
}

static int by_priority(const void *left, const void *right)
{
    const struct nxi_found *a = left, *b = right;

    if (a->priority != b->priority)
        return a->priority > b->priority ? -1 : 1;
    if (strcmp(a->name, b->name) != 0)
        return strcmp(a->name, b->name);
    return a->shadowed != b->shadowed ? a->shadowed - b->shadowed : strcmp(a->path, b->path);
}

int nxi_find_add(struct nxi_found_list *list, uint32_t kind, const char *path)
{
    const char *base = strrchr(path, '/');
    char *directory = base ? strndup(path, (size_t)(base - path)) : NULL;
    size_t count = list->count;
    int r;

    if (!base)
        return -EINVAL;
    r = directory ? add_file(list, kind, directory, base + 1) : -ENOMEM;
    free(directory);
    if (r == 0 && list->count > count)
        list->items[count].shadowed = false; /* asked for by its path, it is taken whatever its name */
    return r;
}

int nxi_find_all(uint32_t kind, const char *plugin_path, struct nxi_found_list *ret_list, char *error,
                 size_t error_size)
{
    struct nxi_found_list list = {0};
    struct directories directories;
    int r = list_directories(kind, plugin_path, &directories, error, error_size);

    if (r < 0)
        return r;
    r = add_builtins(&list, kind);
    for (size_t i = 0; r == 0 && i < directories.count; i++)
        r = add_directory_files(&list, kind, directories.paths[i]);
    clear_directories(&directories);
    if (r < 0) {
        snprintf(error, error_size, "looking for plugins: %s", strerror(-r));
        nxi_found_list_clear(&list);
        return r;
    }
    if (list.count > 0)
        qsort(list.items, list.count, sizeof(list.items[0]), by_priority);
    *ret_list = list;
    return 0;
}
