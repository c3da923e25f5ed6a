/*
 * What a plugin file says about itself, read without running any of its code: the fields of its struct nx_plugin that
 * are plain numbers lie in the file as they will lie in memory, so magic, ABI, kind and priority need no registry, no
 * cache that grows stale, and no dlopen(3) of files that nobody asked for.
 */
#ifndef NXI_PEEK_H
#define NXI_PEEK_H

#include <nexus/plugin.h>

struct nxi_peek {
    uint32_t magic, size, kind;
    uint16_t abi_major, abi_minor;
    int32_t priority;
    uint64_t symbol_size; /* what the file has for the struct */
};

/*
 * Looks for the symbol in the open file. Also refuses files that are shorter than their segments: mapped, those raise
 * SIGBUS. 0; -ENOEXEC with a sentence; -ENOMEM; what pread(2) says.
 */
int nxi_peek(int fd, const char *symbol, struct nxi_peek *ret_peek, char *error, size_t error_size);

#endif
