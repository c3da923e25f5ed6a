/*
 * symbols.c: the names of code addresses, static functions included: from .symtab of the file, else from .dynsym.
 *
 * dladdr(3) knows exported names only, and waits for whoever is in dlopen(3); so the file that holds the address is
 * asked of the loader's lock-free table (glibc 2.35), read by pread(2) and searched here. Everything read is checked
 * against its size: the file may have been replaced. Other C libraries have no such table: there dladdr says which file
 * it is. On macOS, where it knows static functions as well, it says all.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "unwind.h"
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#ifndef __APPLE__
#include <elf.h>
#include <link.h>
#ifndef ElfW /* OpenBSD */
#define ElfW(type) Elf_##type
#endif
#endif

#define MODULES_MAX 32
#define CACHE_SIZE 1024u /* addresses; a dump repeats few */
#define SECTION_MAX ((size_t)256 << 20)
#define SECTIONS_MAX 4096u
#if !defined(__APPLE__) && !defined(STT_GNU_IFUNC)
#define STT_GNU_IFUNC 10
#endif

struct module {
    uintptr_t base; /* what is added to the file's addresses */
    uintptr_t key;  /* what the loader calls it by */
    char path[4096];
#ifndef __APPLE__
    ElfW(Sym) * symbols;
#else
    void *symbols;
#endif
    char *strings;
    size_t symbol_count, strings_size;
};

struct entry {
    uintptr_t pc;
    char text[192];
    char name[96];
};

struct nxi_symbols {
    struct module modules[MODULES_MAX];
    unsigned module_count;
    struct entry cache[CACHE_SIZE];
};

struct nxi_symbols *nxi_symbols_open(void)
{
    return calloc(1, sizeof(struct nxi_symbols));
}

void nxi_symbols_close(struct nxi_symbols *symbols)
{
    if (!symbols)
        return;
    for (unsigned i = 0; i < symbols->module_count; i++) {
        free(symbols->modules[i].symbols);
        free(symbols->modules[i].strings);
    }
    free(symbols);
}

static const char *file_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* symbol: "" if it has none. */
static void write_entry(struct entry *entry, uintptr_t pc, const char *symbol, uintptr_t into, const char *path,
                        uintptr_t address)
{
    char name[sizeof(entry->name) + 24] = "";
    entry->pc = pc;
    snprintf(entry->name, sizeof(entry->name), "%s", symbol);
    if (*symbol)
        snprintf(name, sizeof(name), "%.95s+0x%llx ", symbol, (unsigned long long)into);
    snprintf(entry->text, sizeof(entry->text), "%s(%.60s+0x%llx)", name, file_name(path), (unsigned long long)address);
}

static void write_unknown(struct entry *entry, uintptr_t pc)
{
    entry->pc = pc;
    entry->name[0] = '\0';
    snprintf(entry->text, sizeof(entry->text), "0x%llx", (unsigned long long)pc);
}

#ifdef __APPLE__

static void resolve(struct nxi_symbols *symbols, uintptr_t pc, bool is_return, struct entry *entry)
{
    Dl_info info;
    (void)symbols;
    if (!dladdr((void *)(pc - is_return), &info) || !info.dli_fname)
        write_unknown(entry, pc);
    else
        write_entry(entry, pc, info.dli_sname ? info.dli_sname : "", pc - (uintptr_t)info.dli_saddr, info.dli_fname,
                    pc - (uintptr_t)info.dli_fbase);
}

#else

/* A part of the file in memory of its own, with a zero behind it. */
static void *read_part(int fd, uint64_t offset, uint64_t size)
{
    if (size == 0 || size > SECTION_MAX)
        return NULL;
    char *bytes = malloc(size + 1);
    if (bytes && pread(fd, bytes, size, (off_t)offset) == (ssize_t)size) {
        bytes[size] = '\0';
        return bytes;
    }
    free(bytes);
    return NULL;
}

static void read_symbols(struct module *module, int fd, const ElfW(Shdr) * sections, unsigned count, unsigned type)
{
    for (unsigned i = 0; i < count && !module->symbols; i++) {
        if (sections[i].sh_type != type || sections[i].sh_link >= count)
            continue;
        const ElfW(Shdr) *strings = &sections[sections[i].sh_link];
        module->symbols = read_part(fd, sections[i].sh_offset, sections[i].sh_size);
        module->strings = read_part(fd, strings->sh_offset, strings->sh_size);
        if (module->symbols && module->strings) {
            module->symbol_count = sections[i].sh_size / sizeof(*module->symbols);
            module->strings_size = strings->sh_size;
            return;
        }
        free(module->symbols);
        free(module->strings);
        module->symbols = NULL;
        module->strings = NULL;
    }
}

static void read_file(struct module *module, const char *path)
{
    ElfW(Ehdr) header;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return;
    if (pread(fd, &header, sizeof(header), 0) == (ssize_t)sizeof(header) &&
        memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 && header.e_shentsize == sizeof(ElfW(Shdr)) &&
        header.e_shnum <= SECTIONS_MAX) {
        if (header.e_type == ET_EXEC)
            module->base = 0; /* its addresses are the memory's, wherever it begins */
        ElfW(Shdr) *sections = read_part(fd, header.e_shoff, (uint64_t)header.e_shnum * sizeof(*sections));
        if (sections) {
            read_symbols(module, fd, sections, header.e_shnum, SHT_SYMTAB);
            if (!module->symbols)
                read_symbols(module, fd, sections, header.e_shnum, SHT_DYNSYM);
        }
        free(sections);
    }
    close(fd);
}

/* The file's name, which goes when somebody unloads the file. */
static void copy_path(char *to, size_t size, const char *from)
{
    memset(to, 0, size);
    for (size_t length = size - 1; from && length > 0 && !nxi_snoop(to, from, length); length /= 2)
        memset(to, 0, size);
}

/* Which file the address is in: its base, and its name, "" for the program. */
static bool place_of(uintptr_t pc, uintptr_t *ret_base, const char **ret_path)
{
#if defined(__GLIBC__)
    struct link_map *found = NULL, map;
#if defined(DLFO_STRUCT_HAS_EH_DBASE)
    struct dl_find_object object;
    if (_dl_find_object((void *)pc, &object) == 0)
        found = object.dlfo_link_map;
#else
    Dl_info info;
    if (!dladdr1((void *)pc, &info, (void **)&found, RTLD_DL_LINKMAP))
        found = NULL;
#endif
    if (!found || !nxi_snoop(&map, found, sizeof(map)))
        return false;
    *ret_base = map.l_addr;
    *ret_path = map.l_name;
    return true;
#else
    Dl_info info;
    if (!dladdr((void *)pc, &info))
        return false;
    *ret_base = (uintptr_t)info.dli_fbase;
    *ret_path = info.dli_fname;
    return true;
#endif
}

static struct module *module_of(struct nxi_symbols *symbols, uintptr_t pc)
{
    uintptr_t base;
    const char *path;
    if (!place_of(pc, &base, &path))
        return NULL;
    for (unsigned i = 0; i < symbols->module_count; i++)
        if (symbols->modules[i].key == base)
            return &symbols->modules[i];
    if (symbols->module_count == MODULES_MAX)
        return NULL;
    struct module *module = &symbols->modules[symbols->module_count++];
    module->base = module->key = base;
    copy_path(module->path, sizeof(module->path), path);
    if (*module->path) {
        read_file(module, module->path);
        return module;
    }
#ifdef __linux__
    read_file(module, "/proc/self/exe"); /* also when its file is gone */
#endif
    if (nxi_os_program(module->path, sizeof(module->path)) < 0)
        module->path[0] = '\0';
    return module;
}

/* The function that the file's address is in, or NULL. Without a size it reaches up to the next. */
static const ElfW(Sym) * function_at(const struct module *module, uintptr_t address)
{
    const ElfW(Sym) *best = NULL;
    for (size_t i = 0; i < module->symbol_count; i++) {
        const ElfW(Sym) *symbol = &module->symbols[i];
        unsigned type = symbol->st_info & 0xf;
        if ((type != STT_FUNC && type != STT_NOTYPE && type != STT_GNU_IFUNC) || symbol->st_shndx == SHN_UNDEF ||
            symbol->st_value > address || symbol->st_name >= module->strings_size)
            continue;
        if (symbol->st_size > 0 && address - symbol->st_value >= symbol->st_size)
            continue;
        if (!best || symbol->st_value > best->st_value)
            best = symbol;
    }
    return best;
}

static void resolve(struct nxi_symbols *symbols, uintptr_t pc, bool is_return, struct entry *entry)
{
    struct module *module = module_of(symbols, pc - is_return);
    if (!module) {
        write_unknown(entry, pc);
        return;
    }
    uintptr_t address = pc - module->base;
    const ElfW(Sym) *symbol = function_at(module, address - is_return);
    if (symbol)
        write_entry(entry, pc, module->strings + symbol->st_name, address - symbol->st_value, module->path, address);
    else
        write_entry(entry, pc, "", 0, module->path, address);
}

#endif

const char *nxi_symbols_describe(struct nxi_symbols *symbols, uintptr_t pc, bool is_return, const char **ret_name)
{
    struct entry *entry = &symbols->cache[(pc >> 1 ^ pc >> 11) % CACHE_SIZE];
    if (entry->pc != pc || pc == 0)
        resolve(symbols, pc, is_return, entry);
    *ret_name = entry->name;
    return entry->text;
}
