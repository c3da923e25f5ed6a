/*
 * nexus/file.h: files, for tasks that must not block their worker.
 *
 * What the page cache has is read at once (RWF_NOWAIT). The rest is the backend's, natively, where it can (io_uring),
 * else done on the blocking pool, with the same results. A deadline or a cancel takes back what has not begun; what
 * the kernel or a pool's thread has begun is waited for where it can't be called back: reads and writes that the disk
 * works on, nx_fsync, nx_file_truncate, and all calls that take a path, the open of a FIFO among them. The result then
 * is what it came to, not -ETIMEDOUT or -ECANCELED. With NX_POLL only nx_pread and nx_pwrite (and their vectors) do
 * anything: what the page cache has, or takes. What waits for ever, as the open of a FIFO may, keeps one of some 64
 * threads: of the blocking pool, or of the kernel's for the calling worker.
 */
#ifndef NEXUS_FILE_H
#define NEXUS_FILE_H

#include <nexus/base.h>
#include <nexus/net.h>
#include <sys/stat.h>
#include <sys/uio.h>

NX_BEGIN_DECLS

typedef struct nx_file nx_file;

/* open(2) with O_CLOEXEC: flags O_RDONLY, O_CREAT, ...; mode for O_CREAT, umask applies. -ENOENT, -EACCES, ...
 * [parks] */
NX_API int nx_file_open(const char *path, int flags, mode_t mode, nx_file **ret_file, nx_time deadline);
/* Any open descriptor of a file, with O_DIRECT set or not for good; the nx_file owns it from then on, and on failure
 * not. -EBADF. In a task. */
NX_API int nx_file_from_fd(int fd, nx_file **ret_file);
NX_API int nx_file_fd(const nx_file *file); /* still the file's; -ENOTSUP */
/* Never parks, works in a cancelled task; calls under way end by themselves first. The descriptor is closed, and its
 * locks are gone, when this returns, or when the last of those calls ends. By close(2) in the calling worker, which is
 * slow where a file system then writes back (NFS): nx_fsync first. NULL is fine. */
NX_API int nx_file_close(nx_file *file);

/* At an offset >= 0. Bytes moved: reading, 0 is the end of the file and fewer than asked the file's end or a limit of
 * the file system; writing, all of them or as many as went before an error, which the next call returns. Any number of
 * tasks at once. [parks] */
NX_API ssize_t nx_pread(nx_file *file, void *buf, size_t len, int64_t offset, nx_time deadline);
NX_API ssize_t nx_pwrite(nx_file *file, const void *buf, size_t len, int64_t offset, nx_time deadline);
NX_API ssize_t nx_preadv(nx_file *file, const struct iovec *iov, int count, int64_t offset, nx_time deadline);
NX_API ssize_t nx_pwritev(nx_file *file, const struct iovec *iov, int count, int64_t offset, nx_time deadline);

NX_API int nx_fsync(nx_file *file, nx_time deadline);     /* data and metadata on the disk. [parks] */
NX_API int nx_fdatasync(nx_file *file, nx_time deadline); /* data, and what is needed to read it back. [parks] */
NX_API int nx_file_stat(nx_file *file, struct stat *ret_stat, nx_time deadline); /* [parks] */
NX_API int nx_file_truncate(nx_file *file, int64_t length, nx_time deadline);    /* [parks] */

/* By path. [parks] */
NX_API int nx_stat(const char *path, struct stat *ret_stat, nx_time deadline); /* follows links */
NX_API int nx_rename(const char *from, const char *to, nx_time deadline);
NX_API int nx_unlink(const char *path, nx_time deadline);
NX_API int nx_mkdir(const char *path, mode_t mode, nx_time deadline);
NX_API int nx_rmdir(const char *path, nx_time deadline);

/* A directory, entry by entry, "." and ".." left out. One task at a time. */
typedef struct nx_dir nx_dir;
typedef struct nx_dir_entry {
    uint64_t inode;
    unsigned char type; /* DT_REG, DT_DIR, ... DT_UNKNOWN: dirent.h */
    char name[256];
} nx_dir_entry;
NX_API int nx_dir_open(const char *path, nx_dir **ret_dir, nx_time deadline); /* [parks] */
/* 1, 0 at the end, -errno; -ENAMETOOLONG: an entry of a longer name was passed over. [parks] */
NX_API int nx_dir_next(nx_dir *dir, nx_dir_entry *ret_entry, nx_time deadline);
NX_API int nx_dir_close(nx_dir *dir); /* never parks; NULL is fine */

/* Moves bytes between a file and a stream, in the kernel where it can, until len of them (SIZE_MAX: all), the end of
 * the file (stream), or an error: how many, by the rule of transfers. [parks] */
NX_API ssize_t nx_send_file(nx_stream *to, nx_file *from, int64_t offset, size_t len, nx_time deadline);
NX_API ssize_t nx_recv_file(nx_file *to, int64_t offset, nx_stream *from, size_t len, nx_time deadline);

NX_END_DECLS
#endif
