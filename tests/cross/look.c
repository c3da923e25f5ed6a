/*
 * look PLUGIN...: has each plugin file looked into by the library's own reader, that for Mach-O or that for ELF, built
 * for the processor that NXI_PEEK_CPU names, and prints what it sees: kind, ABI and priority. So a cross-built plugin
 * is known to be one without a system that could load it.
 */
#include "peek.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* As the loader makes it of a file name. */
static void symbol_of(const char *path, char *ret_symbol, size_t size)
{
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    snprintf(ret_symbol, size, "nexus_plugin_%.*s", (int)strcspn(base, "."), base);
}

int main(int argc, char **argv)
{
    int failures = 0;
    for (int i = 1; i < argc; i++) {
        char symbol[256], error[512] = "";
        struct nxi_peek peek = {0};
        int fd = open(argv[i], O_RDONLY | O_CLOEXEC);
        int r = fd < 0 ? -errno : 0;
        symbol_of(argv[i], symbol, sizeof(symbol));
        if (r == 0)
            r = nxi_peek(fd, symbol, &peek, error, sizeof(error));
        if (r == 0 && peek.magic != NX_PLUGIN_MAGIC) {
            snprintf(error, sizeof(error), "its magic is %08x", (unsigned)peek.magic);
            r = -ENOEXEC;
        }
        if (r < 0) {
            printf("%s: %s (%d)\n", argv[i], error, r);
            failures++;
        } else {
            printf("%s: %s, ABI %u.%u, priority %d, size %u\n", argv[i],
                   peek.kind == NX_PLUGIN_DRIVER ? "backend" : "scheduler", (unsigned)peek.abi_major,
                   (unsigned)peek.abi_minor, (int)peek.priority, (unsigned)peek.size);
        }
        if (fd >= 0)
            close(fd);
    }
    return failures > 0;
}
