/*
 * peek_file.h: what peek.c and peek_macho.c share: reading parts of a file that may be anything, and saying what is
 * wrong with it.
 */
#ifndef NXI_PEEK_FILE_H
#define NXI_PEEK_FILE_H

#include "peek.h"

#include <nexus/base.h>
#include <stddef.h>
#include <stdint.h>

struct nxi_peek_file {
    int fd;
    uint64_t start, size; /* of the part that is looked at */
    char *error;          /* the sentence, if something is wrong */
    size_t error_size;
};

/* Writes the sentence. -ENOEXEC. */
NX_PRINTF(2, 3) int nxi_peek_refuse(struct nxi_peek_file *file, const char *format, ...);
/* Has no symbol of that name; other: one that it has for another plugin, or NULL. -ENOEXEC. */
int nxi_peek_refuse_name(struct nxi_peek_file *file, const char *name, const char *other);

/* All of size at the offset, or -errno with a sentence. By pread(2): a file that shrinks meanwhile ends in an error, not
 * in a signal. */
int nxi_peek_read(struct nxi_peek_file *file, uint64_t offset, void *out, size_t size);
/* The same into memory that the caller frees. ret_memory: where a pointer is; untouched on failure. */
int nxi_peek_read_new(struct nxi_peek_file *file, uint64_t offset, size_t size, void *ret_memory);
/* The numbers of the struct nx_plugin at the offset, of which the file has symbol_size bytes. */
int nxi_peek_read_plugin(struct nxi_peek_file *file, uint64_t offset, uint64_t symbol_size, struct nxi_peek *ret_peek);

#endif
