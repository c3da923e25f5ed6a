/*
 * file.h: what the files that serve files share: file.c (open files, paths), file_emulate.c (what the driver doesn't
 * do), dir.c; and who else moves bytes of a file.
 */
#ifndef NXI_FILE_H
#define NXI_FILE_H

#include "blocking.h"
#include <nexus/file.h>

/*
 * A file: a descriptor and, where the driver serves files, its handle. Any worker uses it at any time. It is closed
 * when nobody holds it: each operation does, and the nx_file itself until nx_file_close.
 */
struct nx_file {
    struct nx_runtime *runtime;
    nx_handle handle; /* 0: the descriptor alone */
    int fd;           /* the handle's, if there is one; -1: it has none */
    _Atomic uint32_t references;
    _Atomic uint32_t traits; /* of the descriptor: file.c */
};

/* Whether the calling task may use this file at all: 0 or -errno. Then it is held until nxi_file_release. */
int nxi_file_hold(nx_file *file);
void nxi_file_release(nx_file *file);

/*
 * Carries out one operation for the current task, by the driver or on the pool, with no try at once: what an op's
 * completion says, -ETIMEDOUT, -ECANCELED (nothing done). file: held, or NULL for an op by path. Heeds a cancel before
 * it begins.
 */
int64_t nxi_file_run(nx_file *file, const struct nx_op *op, nx_time deadline);

/* file_emulate.c: the same without the driver. fd: the file's, or -1. */
int64_t nxi_file_emulate(struct nxi_worker *worker, int fd, const struct nx_op *op, nx_time deadline);

/* The rest of a vector of buffers, as operations take it. */
struct nxi_cursor {
    const struct iovec *iov;
    struct iovec rest; /* of the first one, if that is begun */
    uint32_t count;
    size_t offset; /* into the first one */
};
void nxi_cursor_advance(struct nxi_cursor *cursor, size_t moved);
/* The buffers of the next operation: how many; *ret_iov stays valid until the cursor moves. */
uint32_t nxi_cursor_next(struct nxi_cursor *cursor, const struct iovec **ret_iov);

#endif
