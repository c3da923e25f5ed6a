/* transfer.h: what the files that read and write streams share: transfer.c, kept.c, loan.c, writer.c, copy.c. */
#ifndef NXI_TRANSFER_H
#define NXI_TRANSFER_H

#include "stream.h"

/* The error that a transfer cut short has left for the next call, or 0. */
int nxi_take_stash(nx_stream *stream, enum nxi_direction direction);
/* An error (0: end of stream) ends a transfer of which total bytes are done: the result of the call. */
ssize_t nxi_cut_short(nx_stream *stream, enum nxi_direction direction, size_t total, int64_t error);
/* As many bytes as one operation may move. */
uint32_t nxi_clamp(size_t len);
/* After one of several operations: others get their turn, for which the stream must be held unless this was the last.
 */
void nxi_charge_between(nx_stream *stream, bool last, bool *inout_held);
/* Writes a vector out: 0, or why not all of it went. *ret_moved is written in any case; inout_held: nxi_stream_run's.
 * */
int nxi_write_all(nx_stream *stream, const struct iovec *iov, uint32_t count, nx_time deadline, size_t *ret_moved,
                  bool *inout_held);

/* kept.c: bytes read from a stream that wait for the next reader; start < end. */
struct nxi_kept {
    size_t size, start, end; /* size: of data */
    char data[];
};

/* What is kept, now the caller's: to be put back or freed. NULL: nothing. *ret_error: -ENOMEM if bytes were lost, which
 * is then so for ever, else 0. */
struct nxi_kept *nxi_kept_take(nx_stream *stream, int *ret_error);
void nxi_kept_put(nx_stream *stream, struct nxi_kept *kept); /* in front of what is kept meanwhile; empty: freed */
void nxi_kept_drop(struct nxi_kept *kept);
/* Keeps a copy, in front of what is kept already. */
void nxi_kept_keep(nx_stream *stream, const void *data, size_t len);
/* Bytes that could not be kept: from now on every read says -ENOMEM. */
void nxi_kept_lose(nx_stream *stream);
/* Moves kept bytes to a buffer: how many, 0: none are kept, or -ENOMEM. */
ssize_t nxi_kept_read(nx_stream *stream, void *buf, size_t len);

/* loan.c: a buffer of the runtime's, of NXI_LOAN_SIZE bytes. Waits while too many are lent; 0 or -errno. */
#define NXI_LOAN_SIZE ((size_t)16 << 10)
int nxi_loan_get(struct nx_runtime *runtime, nx_time deadline, void **ret_buffer);
void nxi_loan_put(struct nx_runtime *runtime, void *buffer);

#endif
