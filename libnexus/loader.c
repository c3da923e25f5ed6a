/*
 * From a path to a checked struct nx_plugin:
 *
 *     realpath → every directory and the file trusted → open, fstat → look into the file (peek.c): ELF, symbol, magic,
 *     ABI, kind → dlopen → same file still → dlsym, in this very object → the struct, its parameters, its table
 *
 * Why dlopen gets the path and not /proc/self/fd/N of the checked descriptor: the dynamic linker knows objects by name.
 * A second plugin that happens to get the same N would be answered with the first one; $ORIGIN, debuggers, profilers
 * and backtraces would show the number too. Nothing is lost by it: only root and this user can change what is at the
 * path, by the check just made, and a replacement between check and load (an upgrade) shows in device and inode
 * afterwards.
 */
#define _GNU_SOURCE
#include "loader.h"
#include "config.h"
#include "spec.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct sentence {
    char *text;
    size_t size;
};

NX_PRINTF(3, 4) static int refuse(const struct sentence *sentence, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(sentence->text, sentence->size, format, args);
    va_end(args);
    return -error;
}

const char *nxi_kind_name(uint32_t kind)
{
    switch (kind) {
    case NX_PLUGIN_DRIVER:
        return "backend"; /* as those who choose call it */
    case NX_PLUGIN_SCHEDULER:
        return "scheduler";
    case NX_PLUGIN_LAYER:
        return "layer";
    default:
        return "plugin of unknown kind";
    }
}

static void mangle(char *text)
{
    for (; *text; text++)
        if (!((*text >= 'a' && *text <= 'z') || (*text >= 'A' && *text <= 'Z') || (*text >= '0' && *text <= '9')))
            *text = '_';
}

int nxi_loader_symbol(const char *path, char *ret_symbol, size_t size)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    char name[NXI_NAME_MAX + 1];
    size_t length;

    if (strncmp(base, "lib", 3) == 0)
        base += 3;
    length = strcspn(base, ".");
    if (length == 0 || length > NXI_NAME_MAX)
        return -EINVAL;
    memcpy(name, base, length);
    name[length] = '\0';
    mangle(name);
    if ((size_t)snprintf(ret_symbol, size, "nexus_plugin_%s", name) >= size)
        return -EINVAL;
    return 0;
}

/* ---- trust ---- */

/* Whether the file at path, or a directory above it, is in the hands of the same user as the one described; by_group:
 * can be written by the same group. */
static bool is_in_same_hands(const char *path, const struct stat *described, bool by_group)
{
    char above[PATH_MAX];

    if (!realpath(path, above))
        return false;
    for (;;) { /* ends: each turn takes a component off */
        struct stat st;

        if (stat(*above ? above : "/", &st) < 0)
            return false;
        if (by_group ? (st.st_mode & S_IWGRP) && !(st.st_mode & S_ISVTX) && st.st_gid == described->st_gid
                     : st.st_uid == described->st_uid)
            return true;
        if (!*above)
            return false;
        *strrchr(above, '/') = '\0';
    }
}

/*
 * Beside root and this user, those are trusted who could change the code that runs already: who has power over the
 * file, or a directory above, of the program, of this library, of the C library. So a build tree works in a folder of
 * another user or of a group, for programs of that tree alone; and so do the system's files where root is not mapped
 * into the user namespace (unshare -U, sandboxes) and they all show the overflow id.
 */
static bool has_power_already(const struct stat *described, bool by_group)
{
    const uintptr_t code[] = {(uintptr_t)nxi_loader_open, (uintptr_t)getppid};
    Dl_info info;

    if (is_in_same_hands("/proc/self/exe", described, by_group))
        return true;
    for (size_t i = 0; i < sizeof(code) / sizeof(code[0]); i++)
        if (dladdr((void *)code[i], &info) && info.dli_fname && info.dli_fname[0] == '/' &&
            is_in_same_hands(info.dli_fname, described, by_group))
            return true;
    return false;
}

static int check_owner(const char *what, const char *path, const struct stat *st, const struct sentence *sentence)
{
    if (st->st_uid == 0 || st->st_uid == geteuid() || has_power_already(st, false))
        return 0;
    return refuse(sentence, EACCES, "not trusted: %s%s belongs to user %u, neither root nor this user (%u)", what, path,
                  (unsigned)st->st_uid, (unsigned)geteuid());
}

static bool is_writable_by_others(const struct stat *st)
{
    return (st->st_mode & S_IWOTH) || ((st->st_mode & S_IWGRP) && !has_power_already(st, true));
}

/* A directory others can write is harmless if they can't rename what is not theirs (sticky), and what comes next in the
 * path is trusted itself: /tmp. */
static int check_directory(const char *path, const struct sentence *sentence)
{
    struct stat st;
    int r;

    if (stat(path, &st) < 0)
        return refuse(sentence, errno == ENOENT ? ENOENT : EACCES, "%s: %s", path, strerror(errno));
    r = check_owner("the directory ", path, &st, sentence);
    if (r < 0)
        return r;
    if (!(st.st_mode & S_ISVTX) && is_writable_by_others(&st))
        return refuse(sentence, EACCES, "not trusted: others can write to the directory %s (chmod go-w)", path);
    return 0;
}

/* The directories of a canonical path, the root first. */
static int check_directories(const char *path, const struct sentence *sentence)
{
    char directory[PATH_MAX] = "/";
    const char *end = path;
    int r = check_directory(directory, sentence);

    while (r == 0 && (end = strchr(end + 1, '/')) != NULL) {
        memcpy(directory, path, (size_t)(end - path));
        directory[end - path] = '\0';
        r = check_directory(directory, sentence);
    }
    return r;
}

static const char *file_type(mode_t mode)
{
    return S_ISDIR(mode) ? "a directory" : S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket" : "a device";
}

static int check_file(const char *path, const struct stat *st, const struct sentence *sentence)
{
    int r;

    if (!S_ISREG(st->st_mode))
        return refuse(sentence, EACCES, "it is %s, not a regular file", file_type(st->st_mode));
    r = check_owner("", path, st, sentence);
    if (r < 0)
        return r;
    if (is_writable_by_others(st))
        return refuse(sentence, EACCES, "not trusted: others can write to it (chmod go-w %s)", path);
    return 0;
}

/* The descriptor of the file at a canonical path. */
static int open_trusted(const char *path, struct stat *ret_st, const struct sentence *sentence)
{
    int fd, r;

    if (stat(path, ret_st) < 0)
        return refuse(sentence, errno, "stat(2): %s", strerror(errno));
    if (!S_ISREG(ret_st->st_mode)) /* before open(2), which some devices notice */
        return check_file(path, ret_st, sentence);
    r = check_directories(path, sentence);
    if (r < 0)
        return r;
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return refuse(sentence, errno, "open(2): %s", strerror(errno));
    r = fstat(fd, ret_st) < 0 ? -errno : check_file(path, ret_st, sentence);
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

/* ---- what a plugin says ---- */

/* The part that can be checked before the file's code is in the process. */
static int check_numbers(const struct nxi_peek *peek, uint32_t kind, const struct sentence *sentence)
{
    const size_t need = offsetof(struct nx_plugin, ops) + sizeof(void *);
    const bool newer =
        peek->abi_major > NX_ABI_MAJOR || (peek->abi_major == NX_ABI_MAJOR && peek->abi_minor > NX_ABI_MINOR);

    if (peek->magic != NX_PLUGIN_MAGIC)
        return refuse(sentence, ENOEXEC, "its magic is 0x%08x, and a plugin's is 0x%08x", peek->magic, NX_PLUGIN_MAGIC);
    if (peek->abi_major != NX_ABI_MAJOR || peek->abi_minor > NX_ABI_MINOR)
        return refuse(sentence, ENOEXEC, "it was built for plugin ABI %u.%u, and this libnexus has %u.%u: %s",
                      peek->abi_major, peek->abi_minor, NX_ABI_MAJOR, NX_ABI_MINOR,
                      newer ? "it needs a newer libnexus" : "rebuild the plugin");
    if (peek->size < need || peek->symbol_size < peek->size)
        return refuse(sentence, ENOEXEC, "its struct nx_plugin says %u bytes and has %llu, and needs %zu", peek->size,
                      (unsigned long long)peek->symbol_size, need);
    if (peek->kind < NX_PLUGIN_DRIVER || peek->kind > NX_PLUGIN_LAYER)
        return refuse(sentence, ENOEXEC, "it is of the unknown kind %u", peek->kind);
    if (kind && peek->kind != kind)
        return refuse(sentence, ENOEXEC, "it is a %s, not a %s", nxi_kind_name(peek->kind), nxi_kind_name(kind));
    return 0;
}

#define CHECK_SLOT(ops, slot)                                                                                          \
    do {                                                                                                               \
        if (!NXI_HAS(ops, slot))                                                                                       \
            return refuse(sentence, ENOEXEC, "its table lacks the mandatory slot '%s'", #slot);                        \
    } while (0)

static int check_driver(const struct nx_driver_ops *ops, const struct sentence *sentence)
{
    if (ops->size < offsetof(struct nx_driver_ops, open))
        return refuse(sentence, ENOEXEC, "its table says it has %u bytes", ops->size);
    CHECK_SLOT(ops, open);
    CHECK_SLOT(ops, close);
    CHECK_SLOT(ops, ctx_open);
    CHECK_SLOT(ops, ctx_close);
    CHECK_SLOT(ops, submit);
    CHECK_SLOT(ops, cancel);
    CHECK_SLOT(ops, poll);
    CHECK_SLOT(ops, arm);
    CHECK_SLOT(ops, disarm);
    CHECK_SLOT(ops, wake);
    if (ops->domains == 0)
        return refuse(sentence, ENOEXEC, "it offers no domain");
    if (ops->affinity > NX_AFFINITY_PINNED)
        return refuse(sentence, ENOEXEC, "its handles have the unknown affinity %u", ops->affinity);
    if (ops->affinity == NX_AFFINITY_REBIND)
        CHECK_SLOT(ops, release);
    return 0;
}

static int check_scheduler(const struct nx_sched_ops *ops, const struct sentence *sentence)
{
    if (ops->size < offsetof(struct nx_sched_ops, open))
        return refuse(sentence, ENOEXEC, "its table says it has %u bytes", ops->size);
    CHECK_SLOT(ops, open);
    CHECK_SLOT(ops, close);
    CHECK_SLOT(ops, select);
    CHECK_SLOT(ops, enqueue);
    CHECK_SLOT(ops, dequeue);
    CHECK_SLOT(ops, has_work);
    return 0;
}

int nxi_loader_check(const struct nx_plugin *plugin, uint32_t kind, char *error, size_t error_size)
{
    const struct sentence *sentence = &(struct sentence){error, error_size};
    struct nxi_peek peek = {
        .magic = plugin->magic,
        .size = plugin->size,
        .kind = plugin->kind,
        .abi_major = plugin->abi_major,
        .abi_minor = plugin->abi_minor,
        .symbol_size = plugin->size,
    };
    int r = check_numbers(&peek, kind, sentence);

    if (r < 0)
        return r;
    if (!plugin->name || !nxi_name_valid(plugin->name))
        return refuse(sentence, ENOEXEC, "the name it gives itself, '%s', is none: letters, digits, '_' and '-'",
                      nxi_quote(plugin->name ? plugin->name : "").text);
    if (nxi_config_check_table(plugin->params, error, error_size) < 0)
        return -ENOEXEC;
    if (!plugin->ops)
        return refuse(sentence, ENOEXEC, "it has no table of operations");
    if (plugin->kind == NX_PLUGIN_DRIVER)
        return check_driver(plugin->ops, sentence);
    if (plugin->kind == NX_PLUGIN_SCHEDULER)
        return check_scheduler(plugin->ops, sentence);
    return refuse(sentence, ENOEXEC, "layers are reserved");
}

/* ---- loading ---- */

/* dlopen(3) keeps its errno to itself; whether descriptors ran out can be tried. */
static int dlopen_error(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (copy < 0 && (errno == EMFILE || errno == ENFILE))
        return errno;
    if (copy >= 0)
        close(copy);
    return ENOEXEC;
}

static bool same_file(const char *path, const struct stat *checked)
{
    struct stat st;

    return stat(path, &st) == 0 && st.st_dev == checked->st_dev && st.st_ino == checked->st_ino;
}

/* dlsym(3) also looks into what the object depends on; a plugin that is linked to another one would pass for it. */
static bool is_from(void *symbol, void *object)
{
    struct link_map *map = NULL;
    Dl_info info;

    return dlinfo(object, RTLD_DI_LINKMAP, &map) == 0 && dladdr(symbol, &info) && info.dli_fname && map->l_name &&
           strcmp(info.dli_fname, map->l_name) == 0;
}

static int load(const char *path, int fd, const struct stat *checked, const char *symbol_name, uint32_t kind,
                const struct nx_plugin **ret_plugin, const struct sentence *sentence)
{
    const struct nx_plugin *plugin;
    char named[NXI_SYMBOL_MAX];
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol;
    int r;

    if (!object) {
        const char *message = dlerror();

        return refuse(sentence, dlopen_error(fd), "dlopen(3): %s", message ? message : "failed");
    }
    if (!same_file(path, checked))
        return refuse(sentence, ENOEXEC, "it was replaced while it was being loaded: start again");
    symbol = dlsym(object, symbol_name);
    if (!symbol || !is_from(symbol, object))
        return refuse(sentence, ENOEXEC, "its %s comes from another file", symbol_name);
    plugin = symbol;
    r = nxi_loader_check(plugin, kind, sentence->text, sentence->size);
    if (r < 0)
        return r;
    /* Users write the file's name and messages show the plugin's: one word for both, or '^name' would miss it. */
    if (nxi_loader_symbol(plugin->name, named, sizeof(named)) < 0 || strcmp(named, symbol_name) != 0)
        return refuse(sentence, ENOEXEC, "it calls itself '%s', so its file must be called %s.so", plugin->name,
                      plugin->name);
    *ret_plugin = plugin;
    return 0;
}

/* Up to the load: the file's descriptor, canonical path and numbers. */
static int look(const char *path, uint32_t kind, char *ret_canonical, struct stat *ret_st, char *ret_symbol,
                struct nxi_peek *ret_peek, const struct sentence *sentence)
{
    int fd, r;

    if (path[0] != '/')
        return refuse(sentence, EACCES, "it is a relative path");
    if (!realpath(path, ret_canonical))
        return refuse(sentence, errno, "%s", errno == ENOENT ? "there is no such file" : strerror(errno));
    if (nxi_loader_symbol(path, ret_symbol, NXI_SYMBOL_MAX) < 0)
        return refuse(sentence, ENOEXEC, "no plugin can have this file name");
    fd = open_trusted(ret_canonical, ret_st, sentence);
    if (fd < 0)
        return fd;
    r = nxi_peek(fd, ret_symbol, ret_peek, sentence->text, sentence->size);
    if (r == 0)
        r = check_numbers(ret_peek, kind, sentence);
    if (r < 0) {
        close(fd);
        return r;
    }
    return fd;
}

int nxi_loader_look(const char *path, uint32_t kind, struct nxi_peek *ret_peek, char *error, size_t error_size)
{
    char canonical[PATH_MAX], symbol[NXI_SYMBOL_MAX];
    struct stat st;
    int fd = look(path, kind, canonical, &st, symbol, ret_peek, &(struct sentence){error, error_size});

    if (fd < 0)
        return fd;
    close(fd);
    return 0;
}

int nxi_loader_open(const char *path, uint32_t kind, const struct nx_plugin **ret_plugin, char *error,
                    size_t error_size)
{
    const struct sentence sentence = {error, error_size};
    char canonical[PATH_MAX], symbol[NXI_SYMBOL_MAX];
    struct nxi_peek peek;
    struct stat st;
    int fd = look(path, kind, canonical, &st, symbol, &peek, &sentence);
    int r;

    if (fd < 0)
        return fd;
    r = load(canonical, fd, &st, symbol, kind, ret_plugin, &sentence);
    close(fd);
    return r;
}
