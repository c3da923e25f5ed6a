/*
 * peek_macho.c: peek.h for Mach-O: load commands, the symbol table, the symbol's address, the segment that holds it,
 * bytes; of a universal file, the part for this processor. As in peek.c, every offset and count is checked against the
 * file before it is used.
 *
 * The structures are written down here and not included, so that the reader can be built and tested on any system. A
 * symbol has no size in Mach-O: what it may have is what is left of its section.
 */
#define _GNU_SOURCE
#include "peek_file.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC_64 0xfeedfacfu
#define MAGIC_FAT 0xcafebabeu /* big-endian, as all of that header */
#define CPU_X86_64 0x01000007u
#define CPU_ARM64 0x0100000cu
#define FILE_DYLIB 6u
#define FILE_BUNDLE 8u
#define COMMAND_SEGMENT_64 0x19u
#define COMMAND_SYMTAB 2u
#define SYMBOL_DEBUG 0xe0u
#define SYMBOL_TYPE 0x0eu
#define SYMBOL_EXTERNAL 1u
#define SYMBOL_IN_SECTION 0x0eu

#define COMMANDS_MAX (1u << 20) /* bytes */
#define FAT_PARTS_MAX 32u
#define TABLE_MAX (16u << 20)

#if defined(NXI_PEEK_CPU) /* for a test of files for other machines */
#define OWN_CPU NXI_PEEK_CPU
#elif defined(__x86_64__)
#define OWN_CPU CPU_X86_64
#elif defined(__aarch64__)
#define OWN_CPU CPU_ARM64
#else
#define OWN_CPU 0u /* no such system */
#endif

struct header {
    uint32_t magic, cpu, cpu_subtype, file_type, command_count, commands_size, flags, reserved;
};

struct command {
    uint32_t code, size;
};

struct segment {
    struct command command;
    char name[16];
    uint64_t address, size, file_offset, file_size;
    uint32_t protection_max, protection, section_count, flags;
};

struct section {
    char name[16], segment[16];
    uint64_t address, size;
    uint32_t offset, align, relocation_offset, relocation_count, flags, reserved[3];
};

struct symtab {
    struct command command;
    uint32_t symbols_offset, symbol_count, strings_offset, strings_size;
};

struct symbol {
    uint32_t name;
    uint8_t type, section;
    uint16_t flags;
    uint64_t value;
};

struct fat_part {
    uint32_t cpu, cpu_subtype, offset, size, align;
};

_Static_assert(sizeof(struct header) == 32, "a file format");
_Static_assert(sizeof(struct segment) == 72, "a file format");
_Static_assert(sizeof(struct section) == 80, "a file format");
_Static_assert(sizeof(struct symbol) == 16, "a file format");

struct image {
    struct nxi_peek_file file;
    struct header header;
    char *commands;
    struct symbol *symbols;
    size_t symbol_count;
    char *strings;
    size_t strings_size;
};

/* Narrows the image to one part of a universal file. */
static int choose_part(struct image *image)
{
    uint32_t head[2];
    int r = nxi_peek_read(&image->file, 0, head, sizeof(head));
    uint32_t count = __builtin_bswap32(head[1]);

    if (r < 0)
        return r;
    if (count > FAT_PARTS_MAX) /* a Java class file begins like this, too */
        return nxi_peek_refuse(&image->file,
                               "it is no shared object: a plugin is a Mach-O file, linked with -bundle or -dynamiclib");
    for (uint32_t i = 0; i < count; i++) {
        struct fat_part part;

        r = nxi_peek_read(&image->file, sizeof(head) + i * sizeof(part), &part, sizeof(part));
        if (r < 0)
            return r;
        if (__builtin_bswap32(part.cpu) != OWN_CPU)
            continue;
        uint64_t offset = __builtin_bswap32(part.offset), size = __builtin_bswap32(part.size);
        if (offset > image->file.size || size > image->file.size - offset)
            return nxi_peek_refuse(&image->file, "it is truncated: install it again");
        image->file.start = offset;
        image->file.size = size;
        return 0;
    }
    return nxi_peek_refuse(&image->file, "it was built for another kind of machine: rebuild it for this one");
}

static int read_header(struct image *image)
{
    struct stat st;
    uint32_t magic;
    int r;

    if (fstat(image->file.fd, &st) < 0)
        return -errno;
    image->file.size = (uint64_t)st.st_size;
    if (image->file.size < sizeof(image->header))
        return nxi_peek_refuse(&image->file, "it is no shared object: it has only %llu bytes: install it again",
                               (unsigned long long)image->file.size);
    r = nxi_peek_read(&image->file, 0, &magic, sizeof(magic));
    if (r == 0 && magic == __builtin_bswap32(MAGIC_FAT))
        r = choose_part(image);
    if (r == 0)
        r = nxi_peek_read(&image->file, 0, &image->header, sizeof(image->header));
    if (r < 0)
        return r;
    if (image->header.magic != MAGIC_64)
        return nxi_peek_refuse(&image->file,
                               "it is no shared object: a plugin is a Mach-O file, linked with -bundle or -dynamiclib");
    if (image->header.cpu != OWN_CPU)
        return nxi_peek_refuse(&image->file, "it was built for another kind of machine: rebuild it for this one");
    if (image->header.file_type != FILE_DYLIB && image->header.file_type != FILE_BUNDLE)
        return nxi_peek_refuse(&image->file,
                               "it is a Mach-O file, but no shared object: link it with -bundle or -dynamiclib");
    if (image->header.commands_size > COMMANDS_MAX)
        return nxi_peek_refuse(&image->file, "its load commands are damaged: install it again");
    return nxi_peek_read_new(&image->file, sizeof(image->header), image->header.commands_size, &image->commands);
}

/* The command behind the given one (NULL: the first) with that code and at least that size. */
static const void *next_command(const struct image *image, const void *after, uint32_t code, size_t size)
{
    size_t at = 0;

    while (image->header.commands_size - at >= sizeof(struct command)) {
        struct command command;

        memcpy(&command, image->commands + at, sizeof(command));
        if (command.size < sizeof(command) || command.size % 4 != 0 || command.size > image->header.commands_size - at)
            return NULL;
        if (command.code == code && command.size >= size && (!after || (const void *)(image->commands + at) > after))
            return image->commands + at;
        at += command.size;
    }
    return NULL;
}

static int check_segments(struct image *image)
{
    const void *at = NULL;

    while ((at = next_command(image, at, COMMAND_SEGMENT_64, sizeof(struct segment)))) {
        struct segment segment;

        memcpy(&segment, at, sizeof(segment));
        if (segment.file_offset > image->file.size || segment.file_size > image->file.size - segment.file_offset)
            return nxi_peek_refuse(&image->file,
                                   "it is truncated: %llu bytes, and its segments need more: install it again",
                                   (unsigned long long)image->file.size);
    }
    return 0;
}

static int read_symbols(struct image *image)
{
    const void *at = next_command(image, NULL, COMMAND_SYMTAB, sizeof(struct symtab));
    struct symtab table;
    int r;

    if (!at)
        return nxi_peek_refuse(&image->file, "it exports nothing: declare its struct nx_plugin with NX_PLUGIN_EXPORT");
    memcpy(&table, at, sizeof(table));
    if (table.symbol_count > TABLE_MAX / sizeof(struct symbol) || table.strings_size == 0 ||
        table.strings_size > TABLE_MAX)
        return nxi_peek_refuse(&image->file, "its table of names is damaged: install it again");
    image->symbol_count = table.symbol_count;
    image->strings_size = table.strings_size;
    r = nxi_peek_read_new(&image->file, table.symbols_offset, image->symbol_count * sizeof(struct symbol),
                          &image->symbols);
    if (r == 0)
        r = nxi_peek_read_new(&image->file, table.strings_offset, image->strings_size, &image->strings);
    if (r == 0)
        image->strings[image->strings_size - 1] = '\0';
    return r;
}

/* In C's spelling: without the underscore in front. */
static const char *name_of(const struct image *image, const struct symbol *symbol)
{
    const char *name = symbol->name < image->strings_size ? image->strings + symbol->name : "";

    return *name == '_' ? name + 1 : "";
}

static const struct symbol *find_symbol(const struct image *image, const char *wanted, const char **ret_other)
{
    for (size_t i = 0; i < image->symbol_count; i++) {
        const struct symbol *symbol = &image->symbols[i];
        const char *name = name_of(image, symbol);

        if ((symbol->type & SYMBOL_DEBUG) || !(symbol->type & SYMBOL_EXTERNAL) ||
            (symbol->type & SYMBOL_TYPE) != SYMBOL_IN_SECTION)
            continue;
        if (strcmp(name, wanted) == 0)
            return symbol;
        if (strncmp(name, "nexus_plugin_", 13) == 0)
            *ret_other = name;
    }
    return NULL;
}

/* The bytes that the file has for the section with the symbol, from it on: how many, and where. 0: none. */
static uint64_t place_of(const struct image *image, const struct symbol *symbol, uint64_t *ret_offset)
{
    const void *at = NULL;

    while ((at = next_command(image, at, COMMAND_SEGMENT_64, sizeof(struct segment)))) {
        struct segment segment;
        const char *sections = (const char *)at + sizeof(segment);

        memcpy(&segment, at, sizeof(segment));
        for (uint32_t i = 0; i < segment.section_count; i++) {
            struct section section;
            size_t end = sizeof(segment) + (size_t)(i + 1) * sizeof(section);

            if (end > segment.command.size)
                break;
            memcpy(&section, sections + i * sizeof(section), sizeof(section));
            uint64_t inside = symbol->value - section.address, from_start = symbol->value - segment.address;
            if (symbol->value < section.address || inside >= section.size || symbol->value < segment.address ||
                from_start >= segment.file_size)
                continue;
            uint64_t in_section = section.size - inside, in_file = segment.file_size - from_start;
            *ret_offset = segment.file_offset + from_start;
            return in_section < in_file ? in_section : in_file;
        }
    }
    return 0;
}

int nxi_peek(int fd, const char *symbol_name, struct nxi_peek *ret_peek, char *error, size_t error_size)
{
    struct image image = {.file = {.fd = fd, .error = error, .error_size = error_size}};
    const struct symbol *symbol;
    const char *other = NULL;
    uint64_t room, offset = 0;
    int r = read_header(&image);

    if (r == 0)
        r = check_segments(&image);
    if (r == 0)
        r = read_symbols(&image);
    if (r < 0)
        goto out;
    symbol = find_symbol(&image, symbol_name, &other);
    room = symbol ? place_of(&image, symbol, &offset) : 0;
    if (!symbol)
        r = nxi_peek_refuse_name(&image.file, symbol_name, other);
    else if (room < offsetof(struct nx_plugin, reserved))
        r = nxi_peek_refuse(&image.file, "its %s is no struct nx_plugin: define it as one", symbol_name);
    else
        r = nxi_peek_read_plugin(&image.file, offset, room, ret_peek);
out:
    free(image.commands);
    free(image.symbols);
    free(image.strings);
    return r;
}
