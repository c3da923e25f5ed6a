/*
 * From a path to a checked struct nx_plugin:
 *
 *     the file and the way to it trusted, opened (trust.c) → look into the file (peek.c): ELF, machine, symbol, magic,
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
#include "os.h"
#include "spec.h"
#include "trust.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
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

/* ---- what a plugin says ---- */

/* The part that can be checked before the file's code is in the process. */
static int check_numbers(const struct nxi_peek *peek, uint32_t kind, const struct sentence *sentence)
{
    const size_t need = offsetof(struct nx_plugin, ops) + sizeof(void *);
    const bool newer =
        peek->abi_major > NX_ABI_MAJOR || (peek->abi_major == NX_ABI_MAJOR && peek->abi_minor > NX_ABI_MINOR);

    if (peek->magic != NX_PLUGIN_MAGIC)
        return refuse(sentence, ENOEXEC, "its magic is 0x%08x, and a plugin's is 0x%08x: set it to NX_PLUGIN_MAGIC",
                      peek->magic, NX_PLUGIN_MAGIC);
    if (newer || peek->abi_major != NX_ABI_MAJOR || peek->abi_minor < NXI_ABI_MINOR_OLDEST)
        return refuse(sentence, ENOEXEC, "it was built for plugin ABI %u.%u, and this libnexus has %u.%u: %s",
                      peek->abi_major, peek->abi_minor, NX_ABI_MAJOR, NX_ABI_MINOR,
                      newer ? "it needs a newer libnexus" : "rebuild the plugin");
    if (peek->size < need || peek->symbol_size < peek->size)
        return refuse(sentence, ENOEXEC,
                      "its struct nx_plugin says %u bytes and has %llu, and needs %zu: set size to its sizeof",
                      peek->size, (unsigned long long)peek->symbol_size, need);
    if (peek->kind < NX_PLUGIN_DRIVER || peek->kind > NX_PLUGIN_LAYER)
        return refuse(sentence, ENOEXEC, "it is of the unknown kind %u: see NX_PLUGIN_DRIVER in nexus/plugin.h",
                      peek->kind);
    if (kind && peek->kind != kind)
        return refuse(sentence, ENOEXEC, "it is a %s, not a %s: that is chosen by %s", nxi_kind_name(peek->kind),
                      nxi_kind_name(kind),
                      peek->kind == NX_PLUGIN_DRIVER      ? "NEXUS_BACKEND"
                      : peek->kind == NX_PLUGIN_SCHEDULER ? "NEXUS_SCHED"
                                                          : "nothing yet");
    return 0;
}

#define CHECK_SLOT(ops, slot)                                                                                          \
    do {                                                                                                               \
        if (!NXI_HAS(ops, slot))                                                                                       \
            return refuse(sentence, ENOEXEC, "its table lacks the mandatory slot '%s': %s has the list", #slot, page); \
    } while (0)

static int check_driver(const struct nx_driver_ops *ops, const struct sentence *sentence)
{
    const char *page = "nexus-driver(7)";

    if (ops->size < offsetof(struct nx_driver_ops, open))
        return refuse(sentence, ENOEXEC, "its table says it has %u bytes: set size to its sizeof", ops->size);
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
        return refuse(sentence, ENOEXEC, "it offers no domain: set domains to NX_DOMAIN_NETWORK or others");
    if (ops->affinity > NX_AFFINITY_PINNED)
        return refuse(sentence, ENOEXEC, "its handles have the unknown affinity %u: see NX_AFFINITY_FREE",
                      ops->affinity);
    if (ops->affinity == NX_AFFINITY_REBIND)
        CHECK_SLOT(ops, release);
    return 0;
}

static int check_scheduler(const struct nx_sched_ops *ops, const struct sentence *sentence)
{
    const char *page = "nexus-sched(7)";

    if (ops->size < offsetof(struct nx_sched_ops, open))
        return refuse(sentence, ENOEXEC, "its table says it has %u bytes: set size to its sizeof", ops->size);
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
        return refuse(sentence, ENOEXEC, "it has no table of operations: set ops");
    if (plugin->kind == NX_PLUGIN_DRIVER)
        return check_driver(plugin->ops, sentence);
    if (plugin->kind == NX_PLUGIN_SCHEDULER)
        return check_scheduler(plugin->ops, sentence);
    return refuse(sentence, ENOEXEC, "layers are reserved: nothing loads them");
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
static bool is_from(void *symbol, const struct stat *checked)
{
    Dl_info info;

    return dladdr(symbol, &info) && info.dli_fname && same_file(info.dli_fname, checked);
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

        return refuse(sentence, dlopen_error(fd), "dlopen(3): %s: install what it needs (ldd %s)",
                      message ? message : "failed", path);
    }
    if (!same_file(path, checked))
        return refuse(sentence, ENOEXEC, "it was replaced while it was being loaded: start again");
    symbol = dlsym(object, symbol_name);
    if (!symbol || !is_from(symbol, checked))
        return refuse(sentence, ENOEXEC, "its %s comes from another file: a plugin must not link another", symbol_name);
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

    fd = nxi_trust_open(path, ret_canonical, ret_st, sentence->text, sentence->size);
    if (fd < 0)
        return fd;
    if (nxi_loader_symbol(path, ret_symbol, NXI_SYMBOL_MAX) < 0)
        r = refuse(sentence, ENOEXEC,
                   "no plugin can have this file name: letters, digits, '_' and '-', at most %d, and .so",
                   NXI_NAME_MAX);
    else
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
