/*
 * Finds a data symbol in an ELF file: section headers, .dynsym, the symbol's address, the segment that holds it, bytes.
 * Every offset and count comes from a file that may be anything, so each is checked against the file's size or a bound
 * before it is used, and all reading is by pread(2): a file that shrinks meanwhile ends in an error, not in a signal.
 */
#define _GNU_SOURCE
#include "peek.h"
#include "spec.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef ElfW /* OpenBSD */
#define ElfW(type) Elf_##type
#endif

#define SECTIONS_MAX 4096u
#define SEGMENTS_MAX 256u
#define TABLE_MAX (16u << 20) /* bytes of .dynsym or .dynstr */

#if UINTPTR_MAX > UINT32_MAX
#define OWN_CLASS ELFCLASS64
#else
#define OWN_CLASS ELFCLASS32
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define OWN_DATA ELFDATA2LSB
#else
#define OWN_DATA ELFDATA2MSB
#endif

struct image {
    int fd;
    uint64_t size;
    ElfW(Ehdr) header;
    ElfW(Phdr) * segments;
    ElfW(Sym) * symbols;
    size_t symbol_count;
    char *strings;
    size_t strings_size;
    char *error;
    size_t error_size;
};

NX_PRINTF(2, 3) static int refuse(struct image *image, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(image->error, image->error_size, format, args);
    va_end(args);
    return -ENOEXEC;
}

static int read_at(struct image *image, uint64_t offset, void *out, size_t size)
{
    size_t done = 0;

    if (offset > image->size || size > image->size - offset)
        return refuse(image, "it is truncated or damaged: install it again");
    while (done < size) {
        ssize_t n = pread(image->fd, (char *)out + done, size - done, (off_t)(offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int r = -errno;

            refuse(image, "pread(2): %s", strerror(-r));
            return r;
        }
        if (n == 0)
            return refuse(image, "it was truncated while it was read: start again");
        done += (size_t)n;
    }
    return 0;
}

static int read_new(struct image *image, uint64_t offset, size_t size, void *ret_memory)
{
    void *memory = malloc(size ? size : 1);
    int r;

    if (!memory) {
        refuse(image, "out of memory");
        return -ENOMEM;
    }
    r = read_at(image, offset, memory, size);
    if (r < 0) {
        free(memory);
        return r;
    }
    memcpy(ret_memory, &memory, sizeof(memory));
    return 0;
}

static const char *machine_name(unsigned machine)
{
    switch (machine) {
    case EM_386:
        return "32-bit x86";
    case EM_X86_64:
        return "x86-64";
    case EM_ARM:
        return "32-bit ARM";
    case EM_AARCH64:
        return "aarch64";
    case EM_PPC64:
        return "ppc64";
#ifdef EM_S390
    case EM_S390:
        return "s390";
#endif
    case EM_RISCV:
        return "RISC-V";
    default:
        return "another machine";
    }
}

/* The machine this code was built for, as the header of its own file in memory says; 0: not to be found. */
static unsigned own_machine(void)
{
#ifdef NXI_PEEK_CPU /* for a test of files for other machines */
    return NXI_PEEK_CPU;
#endif
    Dl_info info;
    ElfW(Ehdr) header;

    if (!dladdr((void *)(uintptr_t)nxi_peek, &info) || !info.dli_fbase)
        return 0;
    memcpy(&header, info.dli_fbase, sizeof(header));
    return memcmp(header.e_ident, ELFMAG, SELFMAG) == 0 ? header.e_machine : 0;
}

static int check_machine(struct image *image)
{
    const unsigned char *ident = image->header.e_ident;
    /* What lies behind the identification has the fields' order and width of that machine; e_machine is in the same
     * place in all of them. */
    unsigned machine =
        ident[EI_DATA] == ELFDATA2MSB ? __builtin_bswap16(image->header.e_machine) : image->header.e_machine;
    unsigned own = own_machine();

    if (ident[EI_CLASS] == OWN_CLASS && ident[EI_DATA] == OWN_DATA && (own == 0 || machine == own))
        return 0;
    return refuse(image, "it was built for %s (ELF machine %u), this program for %s (%u): rebuild it for this machine",
                  machine_name(machine), machine, own ? machine_name(own) : "another class or byte order", own);
}

static int read_header(struct image *image)
{
    struct stat st;
    int r;

    if (fstat(image->fd, &st) < 0)
        return -errno;
    image->size = (uint64_t)st.st_size;
    if (image->size < sizeof(image->header))
        return refuse(image, "it is no shared object: it has only %llu bytes: install it again",
                      (unsigned long long)image->size);
    r = read_at(image, 0, &image->header, sizeof(image->header));
    if (r < 0)
        return r;
    if (memcmp(image->header.e_ident, ELFMAG, SELFMAG) != 0)
        return refuse(image, "it is no shared object: a plugin is an ELF file, linked with -shared");
    r = check_machine(image);
    if (r < 0)
        return r;
    if (image->header.e_type != ET_DYN)
        return refuse(image, "it is an ELF file, but no shared object: link it with -shared");
    return 0;
}

static int read_segments(struct image *image)
{
    size_t count = image->header.e_phnum;
    int r;

    if (count == 0 || count > SEGMENTS_MAX || image->header.e_phentsize != sizeof(ElfW(Phdr)))
        return refuse(image, "its program headers are damaged: install it again");
    r = read_new(image, image->header.e_phoff, count * sizeof(ElfW(Phdr)), &image->segments);
    for (size_t i = 0; r == 0 && i < count; i++) {
        const ElfW(Phdr) *segment = &image->segments[i];

        if (segment->p_type == PT_LOAD &&
            (segment->p_offset > image->size || segment->p_filesz > image->size - segment->p_offset))
            r = refuse(image, "it is truncated: %llu bytes, and its segments need more: install it again",
                       (unsigned long long)image->size);
    }
    return r;
}

static int read_symbols(struct image *image)
{
    const ElfW(Shdr) *dynsym = NULL, *dynstr;
    size_t count = image->header.e_shnum;
    ElfW(Shdr) *sections = NULL;
    int r;

    if (count == 0 || count > SECTIONS_MAX || image->header.e_shentsize != sizeof(ElfW(Shdr)))
        return refuse(image,
                      "it has no section headers, so what it exports can't be seen: install it again, or strip less");
    r = read_new(image, image->header.e_shoff, count * sizeof(ElfW(Shdr)), &sections);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count && !dynsym; i++)
        if (sections[i].sh_type == SHT_DYNSYM)
            dynsym = &sections[i];
    if (!dynsym || dynsym->sh_link >= count || dynsym->sh_size > TABLE_MAX) {
        r = refuse(image, "it exports nothing: declare its struct nx_plugin with NX_PLUGIN_EXPORT");
        goto out;
    }
    dynstr = &sections[dynsym->sh_link];
    if (dynstr->sh_size == 0 || dynstr->sh_size > TABLE_MAX) {
        r = refuse(image, "its table of names is damaged: install it again");
        goto out;
    }
    image->symbol_count = dynsym->sh_size / sizeof(ElfW(Sym));
    image->strings_size = dynstr->sh_size;
    r = read_new(image, dynsym->sh_offset, image->symbol_count * sizeof(ElfW(Sym)), &image->symbols);
    if (r == 0)
        r = read_new(image, dynstr->sh_offset, image->strings_size, &image->strings);
    if (r == 0)
        image->strings[image->strings_size - 1] = '\0';
out:
    free(sections);
    return r;
}

static const char *name_of(const struct image *image, const ElfW(Sym) * symbol)
{
    return symbol->st_name < image->strings_size ? image->strings + symbol->st_name : "";
}

static const ElfW(Sym) * find_symbol(const struct image *image, const char *wanted, const char **ret_other)
{
    for (size_t i = 0; i < image->symbol_count; i++) {
        const ElfW(Sym) *symbol = &image->symbols[i];
        const char *name = name_of(image, symbol);

        if (symbol->st_shndx == SHN_UNDEF)
            continue;
        if (strcmp(name, wanted) == 0)
            return symbol;
        if (strncmp(name, "nexus_plugin_", 13) == 0)
            *ret_other = name;
    }
    return NULL;
}

/* The part of struct nx_plugin that is numbers, from the segment that holds the symbol. */
static int read_plugin(struct image *image, const ElfW(Sym) * symbol, struct nxi_peek *ret_peek)
{
    struct nx_plugin plugin;
    const size_t size = offsetof(struct nx_plugin, reserved);

    for (size_t i = 0; i < image->header.e_phnum; i++) {
        const ElfW(Phdr) *segment = &image->segments[i];
        uint64_t inside = symbol->st_value - segment->p_vaddr;
        int r;

        if (segment->p_type != PT_LOAD || symbol->st_value < segment->p_vaddr || inside >= segment->p_filesz ||
            segment->p_filesz - inside < size)
            continue;
        r = read_at(image, segment->p_offset + inside, &plugin, size);
        if (r < 0)
            return r;
        *ret_peek = (struct nxi_peek){
            .magic = plugin.magic,
            .size = plugin.size,
            .kind = plugin.kind,
            .abi_major = plugin.abi_major,
            .abi_minor = plugin.abi_minor,
            .priority = plugin.priority,
            .symbol_size = symbol->st_size,
        };
        return 0;
    }
    return refuse(image, "its %s is no initialised data: define it as a const struct nx_plugin",
                  name_of(image, symbol));
}

int nxi_peek(int fd, const char *symbol_name, struct nxi_peek *ret_peek, char *error, size_t error_size)
{
    struct image image = {.fd = fd, .error = error, .error_size = error_size};
    const ElfW(Sym) * symbol;
    const char *other = NULL;
    int r = read_header(&image);

    if (r == 0)
        r = read_segments(&image);
    if (r == 0)
        r = read_symbols(&image);
    if (r < 0)
        goto out;
    symbol = find_symbol(&image, symbol_name, &other);
    if (!symbol)
        r = refuse(&image, "it has no symbol %s%s%s%s", symbol_name, other ? ", but " : "",
                   other ? nxi_quote(other).text : "", other ? ": was the file renamed?" : "; it is no plugin");
    else if (ELF64_ST_TYPE(symbol->st_info) != STT_OBJECT || symbol->st_size < offsetof(struct nx_plugin, reserved))
        r = refuse(&image, "its %s is no struct nx_plugin: define it as one", symbol_name);
    else
        r = read_plugin(&image, symbol, ret_peek);
out:
    free(image.segments);
    free(image.symbols);
    free(image.strings);
    return r;
}
