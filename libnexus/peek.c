/*
 * Finds a data symbol in an ELF file: section headers, .dynsym, the symbol's address, the segment that holds it, bytes.
 * Every offset and count comes from a file that may be anything, so each is checked against the file's size or a bound
 * before it is used.
 */
#define _GNU_SOURCE
#include "peek_file.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
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
    struct nxi_peek_file file;
    ElfW(Ehdr) header;
    ElfW(Phdr) * segments;
    ElfW(Sym) * symbols;
    size_t symbol_count;
    char *strings;
    size_t strings_size;
};

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
    return nxi_peek_refuse(
        &image->file, "it was built for %s (ELF machine %u), this program for %s (%u): rebuild it for this machine",
        machine_name(machine), machine, own ? machine_name(own) : "another class or byte order", own);
}

static int read_header(struct image *image)
{
    struct stat st;
    int r;

    if (fstat(image->file.fd, &st) < 0)
        return -errno;
    image->file.size = (uint64_t)st.st_size;
    if (image->file.size < sizeof(image->header))
        return nxi_peek_refuse(&image->file, "it is no shared object: it has only %llu bytes: install it again",
                               (unsigned long long)image->file.size);
    r = nxi_peek_read(&image->file, 0, &image->header, sizeof(image->header));
    if (r < 0)
        return r;
    if (memcmp(image->header.e_ident, ELFMAG, SELFMAG) != 0)
        return nxi_peek_refuse(&image->file, "it is no shared object: a plugin is an ELF file, linked with -shared");
    r = check_machine(image);
    if (r < 0)
        return r;
    if (image->header.e_type != ET_DYN)
        return nxi_peek_refuse(&image->file, "it is an ELF file, but no shared object: link it with -shared");
    return 0;
}

static int read_segments(struct image *image)
{
    size_t count = image->header.e_phnum;
    int r;

    if (count == 0 || count > SEGMENTS_MAX || image->header.e_phentsize != sizeof(ElfW(Phdr)))
        return nxi_peek_refuse(&image->file, "its program headers are damaged: install it again");
    r = nxi_peek_read_new(&image->file, image->header.e_phoff, count * sizeof(ElfW(Phdr)), &image->segments);
    for (size_t i = 0; r == 0 && i < count; i++) {
        const ElfW(Phdr) *segment = &image->segments[i];

        if (segment->p_type == PT_LOAD &&
            (segment->p_offset > image->file.size || segment->p_filesz > image->file.size - segment->p_offset))
            r = nxi_peek_refuse(&image->file,
                                "it is truncated: %llu bytes, and its segments need more: install it again",
                                (unsigned long long)image->file.size);
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
        return nxi_peek_refuse(
            &image->file,
            "it has no section headers, so what it exports can't be seen: install it again, or strip less");
    r = nxi_peek_read_new(&image->file, image->header.e_shoff, count * sizeof(ElfW(Shdr)), &sections);
    if (r < 0)
        return r;
    for (size_t i = 0; i < count && !dynsym; i++)
        if (sections[i].sh_type == SHT_DYNSYM)
            dynsym = &sections[i];
    if (!dynsym || dynsym->sh_link >= count || dynsym->sh_size > TABLE_MAX) {
        r = nxi_peek_refuse(&image->file, "it exports nothing: declare its struct nx_plugin with NX_PLUGIN_EXPORT");
        goto out;
    }
    dynstr = &sections[dynsym->sh_link];
    if (dynstr->sh_size == 0 || dynstr->sh_size > TABLE_MAX) {
        r = nxi_peek_refuse(&image->file, "its table of names is damaged: install it again");
        goto out;
    }
    image->symbol_count = dynsym->sh_size / sizeof(ElfW(Sym));
    image->strings_size = dynstr->sh_size;
    r = nxi_peek_read_new(&image->file, dynsym->sh_offset, image->symbol_count * sizeof(ElfW(Sym)), &image->symbols);
    if (r == 0)
        r = nxi_peek_read_new(&image->file, dynstr->sh_offset, image->strings_size, &image->strings);
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
    const size_t size = offsetof(struct nx_plugin, reserved);

    for (size_t i = 0; i < image->header.e_phnum; i++) {
        const ElfW(Phdr) *segment = &image->segments[i];
        uint64_t inside = symbol->st_value - segment->p_vaddr;

        if (segment->p_type != PT_LOAD || symbol->st_value < segment->p_vaddr || inside >= segment->p_filesz ||
            segment->p_filesz - inside < size)
            continue;
        return nxi_peek_read_plugin(&image->file, segment->p_offset + inside, symbol->st_size, ret_peek);
    }
    return nxi_peek_refuse(&image->file, "its %s is no initialised data: define it as a const struct nx_plugin",
                           name_of(image, symbol));
}

int nxi_peek(int fd, const char *symbol_name, struct nxi_peek *ret_peek, char *error, size_t error_size)
{
    struct image image = {.file = {.fd = fd, .error = error, .error_size = error_size}};
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
        r = nxi_peek_refuse_name(&image.file, symbol_name, other);
    else if (ELF64_ST_TYPE(symbol->st_info) != STT_OBJECT || symbol->st_size < offsetof(struct nx_plugin, reserved))
        r = nxi_peek_refuse(&image.file, "its %s is no struct nx_plugin: define it as one", symbol_name);
    else
        r = read_plugin(&image, symbol, ret_peek);
out:
    free(image.segments);
    free(image.symbols);
    free(image.strings);
    return r;
}
