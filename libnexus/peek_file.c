/* peek_file.c: see peek_file.h. */
#define _GNU_SOURCE
#include "peek_file.h"
#include "spec.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int nxi_peek_refuse(struct nxi_peek_file *file, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(file->error, file->error_size, format, args);
    va_end(args);
    return -ENOEXEC;
}

int nxi_peek_refuse_name(struct nxi_peek_file *file, const char *name, const char *other)
{
    return nxi_peek_refuse(file, "it has no symbol %s%s%s%s", name, other ? ", but " : "",
                           other ? nxi_quote(other).text : "", other ? ": was the file renamed?" : "; it is no plugin");
}

int nxi_peek_read(struct nxi_peek_file *file, uint64_t offset, void *out, size_t size)
{
    size_t done = 0;

    if (offset > file->size || size > file->size - offset)
        return nxi_peek_refuse(file, "it is truncated or damaged: install it again");
    while (done < size) {
        ssize_t n = pread(file->fd, (char *)out + done, size - done, (off_t)(file->start + offset + done));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int r = -errno;

            nxi_peek_refuse(file, "pread(2): %s", strerror(-r));
            return r;
        }
        if (n == 0)
            return nxi_peek_refuse(file, "it was truncated while it was read: start again");
        done += (size_t)n;
    }
    return 0;
}

int nxi_peek_read_new(struct nxi_peek_file *file, uint64_t offset, size_t size, void *ret_memory)
{
    void *memory = malloc(size ? size : 1);
    int r;

    if (!memory) {
        nxi_peek_refuse(file, "out of memory");
        return -ENOMEM;
    }
    r = nxi_peek_read(file, offset, memory, size);
    if (r < 0) {
        free(memory);
        return r;
    }
    memcpy(ret_memory, &memory, sizeof(memory));
    return 0;
}

int nxi_peek_read_plugin(struct nxi_peek_file *file, uint64_t offset, uint64_t symbol_size, struct nxi_peek *ret_peek)
{
    struct nx_plugin plugin;
    int r = nxi_peek_read(file, offset, &plugin, offsetof(struct nx_plugin, reserved));

    if (r < 0)
        return r;
    *ret_peek = (struct nxi_peek){
        .magic = plugin.magic,
        .size = plugin.size,
        .kind = plugin.kind,
        .abi_major = plugin.abi_major,
        .abi_minor = plugin.abi_minor,
        .priority = plugin.priority,
        .symbol_size = symbol_size,
    };
    return 0;
}
