/* dir.c: directories, read on the blocking pool, a buffer full at a time: no driver has that. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* getdents64 */
#endif
#include "file.h"
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define BATCH_SIZE ((size_t)16 << 10) /* some hundred entries */

struct nx_dir {
    nx_file *file;
    size_t used, next; /* of batch: bytes read, and where the next entry begins */
#ifndef __linux__
    DIR *listing; /* of a duplicate of the file's descriptor; opened and read there, by one call at a time */
#endif
    _Alignas(8) char batch[BATCH_SIZE];
};

/* An entry of the batch. */
#ifdef __linux__
typedef struct dirent64 dir_record; /* as getdents64 writes them */
#else
typedef struct {
    uint64_t d_ino;
    uint16_t d_reclen;
    uint8_t d_type;
    char d_name[1024]; /* as long as any system's */
} dir_record;
#endif

int nx_dir_open(const char *path, nx_dir **ret_dir, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    if (!nxi_in_task())
        return nxi_no_task();
    if (!path || !ret_dir)
        return -EINVAL;
    nx_dir *dir = nxi_alloc(sizeof(*dir));
    if (!dir)
        return -ENOMEM;
    int error = nx_file_open(path, O_RDONLY | O_DIRECTORY, 0, &dir->file, deadline);
    if (error < 0)
        nxi_free(dir, sizeof(*dir));
    else
        *ret_dir = dir;
    return error;
}

struct batch_read {
    struct nxi_call call;
    nx_dir *dir;
    ssize_t result;
};

#ifdef __linux__

static void read_there(struct nxi_call *call)
{
    struct batch_read *read = nxi_container(call, struct batch_read, call);
    do
        read->result = getdents64(read->dir->file->fd, read->dir->batch, BATCH_SIZE);
    while (read->result < 0 && errno == EINTR); /* ends: as in file_emulate.c */
    if (read->result < 0)
        read->result = -errno;
}

#else

/* The C library's entries, which have another shape on each system, one behind the other as long as the next fits. */
static ssize_t fill(nx_dir *dir)
{
    size_t used = 0;
    if (!dir->listing) {
        int fd = fcntl(dir->file->fd, F_DUPFD_CLOEXEC, 0);
        dir->listing = fd < 0 ? NULL : fdopendir(fd);
        if (!dir->listing) {
            int error = -errno;
            if (fd >= 0)
                close(fd);
            return error;
        }
    }
    while (used + sizeof(dir_record) <= BATCH_SIZE) {
        errno = 0;
        const struct dirent *entry = readdir(dir->listing);
        if (!entry)
            return errno != 0 && used == 0 ? -errno : (ssize_t)used;
        dir_record *record = (dir_record *)(void *)(dir->batch + used);
        size_t length = strlen(entry->d_name);
        if (length >= sizeof(record->d_name))
            length = sizeof(record->d_name) - 1;
        record->d_ino = entry->d_ino;
        record->d_type = entry->d_type;
        memcpy(record->d_name, entry->d_name, length);
        record->d_name[length] = '\0';
        size_t size = (offsetof(dir_record, d_name) + length + 1 + 7) & ~(size_t)7;
        record->d_reclen = (uint16_t)size;
        used += size;
    }
    return (ssize_t)used;
}

static void read_there(struct nxi_call *call)
{
    struct batch_read *read = nxi_container(call, struct batch_read, call);
    do
        read->result = fill(read->dir);
    while (read->result == -EINTR); /* ends: as in file_emulate.c */
}

#endif

/* 1, 0 at the end, or -errno. */
static int read_batch(nx_dir *dir, nx_time deadline)
{
    struct batch_read read = {.call = {.call = read_there}, .dir = dir};
    struct nxi_worker *worker = nxi_self();
    int error = nxi_blocking_run(worker, worker->runtime->blocking, &read.call, "directory", deadline);
    if (error < 0 || read.result <= 0)
        return error < 0 ? error : (int)read.result;
    dir->next = 0;
    dir->used = (size_t)read.result;
    return 1;
}

static bool is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

/* The next one in the batch: 1; 0: there is none; -ENAMETOOLONG: it is passed over. */
static int take(nx_dir *dir, nx_dir_entry *ret_entry)
{
    while (dir->next < dir->used) {
        const dir_record *entry = (const dir_record *)(const void *)(dir->batch + dir->next);
        dir->next += entry->d_reclen;
        if (is_dots(entry->d_name))
            continue;
        size_t length = strlen(entry->d_name);
        if (length >= sizeof(ret_entry->name))
            return -ENAMETOOLONG;
        ret_entry->inode = entry->d_ino;
        ret_entry->type = entry->d_type;
        memcpy(ret_entry->name, entry->d_name, length + 1);
        return 1;
    }
    return 0;
}

static int check(const nx_dir *dir)
{
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (!dir)
        return -EINVAL;
    return dir->file->runtime == worker->runtime ? 0 : -EXDEV;
}

int nx_dir_next(nx_dir *dir, nx_dir_entry *ret_entry, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    int error = check(dir);
    if (error == 0 && !ret_entry)
        error = -EINVAL;
    if (error < 0)
        return error;
    if (nxi_task_cancelled(nxi_self()->current)) {
        nxi_charge(nxi_self());
        return -ECANCELED;
    }
    int result = take(dir, ret_entry);
    if (result != 0) {
        nxi_charge(nxi_self());
        return result;
    }
    do { /* ends: with an entry, the end or an error; a batch may hold nothing but dots */
        result = read_batch(dir, deadline);
        if (result <= 0)
            return result;
        result = take(dir, ret_entry);
    } while (result == 0);
    return result;
}

int nx_dir_close(nx_dir *dir)
{
    NXI_ENTRY(-ENOSYS);
    if (!dir)
        return 0;
    int error = check(dir);
    if (error < 0)
        return error;
#ifndef __linux__
    if (dir->listing)
        closedir(dir->listing);
#endif
    error = nx_file_close(dir->file);
    nxi_free(dir, sizeof(*dir));
    return error;
}
