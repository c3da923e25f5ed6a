/* conform_file.c: files, the same whoever serves them. */
#include "nxt_net.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* Without what others use: a path of this process. */
static void path_of(char ret_path[PATH_MAX], const char *name)
{
    snprintf(ret_path, PATH_MAX, "%s", nxt_temp_path(name));
}

static nx_file *open_at(const char *path, int flags)
{
    nx_file *file = NULL;
    nxt_expect_eq(nx_file_open(path, flags, 0644, &file, NX_FOREVER), 0);
    return file;
}

/* A file of so many bytes of nxt_fill, open for reading and writing. */
static nx_file *filled(const char *path, size_t size)
{
    char chunk[16384];
    int fd = open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0644);
    if (!nxt_expect_ge(fd, 0))
        return NULL;
    for (size_t at = 0; at < size; at += sizeof(chunk)) {
        size_t len = size - at < sizeof(chunk) ? size - at : sizeof(chunk);
        nxt_fill(chunk, len, at, 1);
        nxt_expect(nxt_write_all(fd, chunk, len));
    }
    close(fd);
    return open_at(path, O_RDWR);
}

/* ---- reading and writing ---- */

NXT_TASK_TEST(what_was_written_is_read_back_at_any_offset)
{
    char path[PATH_MAX], out[1000], in[1000];
    path_of(path, "back");
    nx_file *file = open_at(path, O_CREAT | O_EXCL | O_RDWR);
    nxt_require(file);
    nxt_fill(out, sizeof(out), 0, 3);
    nxt_expect_eq(nx_pwrite(file, out, sizeof(out), 0, NX_FOREVER), 1000);
    nxt_expect_eq(nx_pwrite(file, out, 10, 5000, NX_FOREVER), 10);
    nxt_expect_eq(nx_pread(file, in, 500, 500, NX_FOREVER), 500);
    nxt_expect_mem(in, out + 500, 500);
    nxt_expect_eq(nx_pread(file, in, 10, 5000, NX_FOREVER), 10);
    nxt_expect_mem(in, out, 10);
    nxt_expect_eq(nx_pread(file, in, 100, 3000, NX_FOREVER), 100); /* the hole */
    nxt_expect(in[0] == 0 && in[99] == 0);
    nxt_expect_eq(nx_file_close(file), 0);
    nxt_expect_eq(nx_unlink(path, NX_FOREVER), 0);
}

NXT_TASK_TEST(reading_is_short_at_the_end_only_and_behind_it_there_is_nothing)
{
    char path[PATH_MAX], in[100];
    path_of(path, "end");
    nx_file *file = filled(path, 1050);
    nxt_require(file);
    nxt_expect_eq(nx_pread(file, in, 100, 1000, NX_FOREVER), 50);
    nxt_expect_eq(nxt_check_fill(in, 50, 1000, 1), 50);
    nxt_expect_eq(nx_pread(file, in, 100, 1050, NX_FOREVER), 0);
    nxt_expect_eq(nx_pread(file, in, 100, INT64_C(1) << 40, NX_FOREVER), 0);
    nxt_expect_eq(nx_pread(file, in, 0, 0, NX_FOREVER), 0);
    nxt_expect_eq(nx_pwrite(file, in, 0, 5000, NX_FOREVER), 0);
    struct stat stat;
    nxt_expect_eq(nx_file_stat(file, &stat, NX_FOREVER), 0);
    nxt_expect_eq(stat.st_size, 1050);
    nx_file_close(file);
    unlink(path);
}

/* More buffers than one system call takes, of odd sizes, some empty. */
NXT_TASK_TEST(vectors_of_any_length_are_gathered_and_scattered)
{
    enum { COUNT = 2500, MAX = 64 };
    char path[PATH_MAX];
    path_of(path, "vector");
    struct iovec *iov = calloc(COUNT, sizeof(*iov));
    char *memory = calloc(COUNT, MAX);
    nx_file *file = open_at(path, O_CREAT | O_TRUNC | O_RDWR);
    nxt_require(iov && memory && file);
    size_t sum = 0;
    for (int i = 0; i < COUNT; i++) {
        iov[i] = (struct iovec){.iov_base = memory + (size_t)i * MAX, .iov_len = (size_t)(i * 7 % MAX)};
        nxt_fill(iov[i].iov_base, iov[i].iov_len, sum, 9);
        sum += iov[i].iov_len;
    }
    nxt_expect_eq(nx_pwritev(file, iov, COUNT, 100, NX_FOREVER), sum);
    memset(memory, 0, (size_t)COUNT * MAX);
    nxt_expect_eq(nx_preadv(file, iov, COUNT, 100, NX_FOREVER), sum);
    size_t at = 0;
    bool same = true;
    for (int i = 0; i < COUNT; at += iov[i++].iov_len)
        same = same && nxt_check_fill(iov[i].iov_base, iov[i].iov_len, at, 9) == iov[i].iov_len;
    nxt_expect(same);
    nxt_expect_eq(nx_preadv(file, iov, COUNT, 100 + (int64_t)sum - 30, NX_FOREVER), 30);
    nxt_expect_eq(nx_preadv(file, iov, 0, 0, NX_FOREVER), 0);
    nx_file_close(file);
    unlink(path);
    free(memory);
    free(iov);
}

NXT_TASK_TEST(appending_goes_to_the_end_whatever_the_offset)
{
    char path[PATH_MAX], in[16];
    path_of(path, "append");
    nx_file *file = open_at(path, O_CREAT | O_TRUNC | O_RDWR | O_APPEND);
    nxt_require(file);
    nxt_expect_eq(nx_pwrite(file, "one", 3, 0, NX_FOREVER), 3);
    nxt_expect_eq(nx_pwrite(file, "two", 3, 0, NX_FOREVER), 3);
    nxt_expect_eq(nx_pwrite(file, "three", 5, 100, NX_FOREVER), 5);
    nxt_expect_eq(nx_pread(file, in, sizeof(in), 0, NX_FOREVER), 11);
    nxt_expect_mem(in, "onetwothree", 11);
    nx_file_close(file);
    unlink(path);
}

struct reader {
    nx_file *file;
    size_t size;
    uint64_t seed;
};

static intptr_t read_at_random(void *arg)
{
    struct reader *reader = arg;
    char *buf = malloc(8192);
    intptr_t bad = 0;
    for (int i = 0; buf && i < nxt_scaled(200, 10); i++) {
        size_t offset = nxt_random(&reader->seed) % reader->size, len = 1 + nxt_random(&reader->seed) % 8192;
        size_t rest = reader->size - offset, expected = len < rest ? len : rest;
        ssize_t got = nx_pread(reader->file, buf, len, (int64_t)offset, NX_FOREVER);
        bad += got != (ssize_t)expected || nxt_check_fill(buf, expected, offset, 1) != expected;
    }
    free(buf);
    return bad;
}

NXT_TASK_TEST(thirty_two_tasks_read_one_file_at_random_offsets, .workers = 2)
{
    char path[PATH_MAX];
    struct reader readers[32];
    nx_task tasks[NXT_COUNT(readers)];
    size_t size = (size_t)nxt_scaled(4 << 20, 100000) + 77;
    path_of(path, "random");
    nx_file *file = filled(path, size);
    nxt_require(file);
    posix_fadvise(nx_file_fd(file), 0, 0, POSIX_FADV_DONTNEED); /* not all of it from the page cache */
    for (size_t i = 0; i < NXT_COUNT(readers); i++) {
        readers[i] = (struct reader){.file = file, .size = size, .seed = i + 1};
        tasks[i] = nxt_task_on((int)(i % 2), read_at_random, &readers[i]);
    }
    for (size_t i = 0; i < NXT_COUNT(readers); i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
    nx_file_close(file);
    unlink(path);
}

static intptr_t write_a_block(void *arg)
{
    struct reader *reader = arg;
    char buf[4096];
    uint64_t offset = reader->seed * sizeof(buf);
    nxt_fill(buf, sizeof(buf), offset, 1);
    return nx_pwrite(reader->file, buf, sizeof(buf), (int64_t)offset, NX_FOREVER);
}

NXT_TASK_TEST(tasks_of_two_workers_write_one_file, .workers = 2)
{
    char path[PATH_MAX], in[4096];
    struct reader writers[32];
    nx_task tasks[NXT_COUNT(writers)];
    path_of(path, "written");
    nx_file *file = open_at(path, O_CREAT | O_TRUNC | O_RDWR);
    nxt_require(file);
    for (size_t i = 0; i < NXT_COUNT(writers); i++) {
        writers[i] = (struct reader){.file = file, .seed = i};
        tasks[i] = nxt_task_on((int)(i % 2), write_a_block, &writers[i]);
    }
    for (size_t i = 0; i < NXT_COUNT(writers); i++)
        nxt_expect_eq(nxt_result(tasks[i]), sizeof(in));
    for (size_t i = 0; i < NXT_COUNT(writers); i++) {
        nxt_expect_eq(nx_pread(file, in, sizeof(in), (int64_t)(i * sizeof(in)), NX_FOREVER), sizeof(in));
        nxt_expect_eq(nxt_check_fill(in, sizeof(in), i * sizeof(in), 1), sizeof(in));
    }
    nx_file_close(file);
    unlink(path);
}

#ifdef O_DIRECT
NXT_TASK_TEST(direct_reads_and_writes_pass_the_page_cache_by)
{
    enum { BLOCK = 4096 };
    char path[PATH_MAX];
    path_of(path, "direct");
    nx_file *file = NULL;
    int error = nx_file_open(path, O_CREAT | O_TRUNC | O_RDWR | O_DIRECT, 0644, &file, NX_FOREVER);
    char *buf = aligned_alloc(BLOCK, BLOCK);
    if (error == -EINVAL) {
        nxt_skip("this file system has no O_DIRECT");
        free(buf);
        return;
    }
    nxt_require(error == 0 && buf);
    nxt_fill(buf, BLOCK, 0, 5);
    nxt_expect_eq(nx_pwrite(file, buf, BLOCK, BLOCK, NX_FOREVER), BLOCK);
    memset(buf, 0, BLOCK);
    nxt_expect_eq(nx_pread(file, buf, BLOCK, BLOCK, NX_POLL), -EAGAIN); /* a disk can't be tried */
    nxt_expect_eq(nx_pread(file, buf, BLOCK, BLOCK, NX_FOREVER), BLOCK);
    nxt_expect_eq(nxt_check_fill(buf, BLOCK, 0, 5), BLOCK);
    nx_file_close(file);
    unlink(path);
    free(buf);
}
#endif

/* ---- the rest of an open file ---- */

NXT_TASK_TEST(a_file_is_cut_and_grown_and_its_size_told)
{
    char path[PATH_MAX], in[10];
    struct stat stat = {.st_size = -1}, plain;
    path_of(path, "cut");
    nx_file *file = filled(path, 3000);
    nxt_require(file);
    nxt_expect_eq(nx_file_truncate(file, 1000, NX_FOREVER), 0);
    nxt_expect_eq(nx_file_stat(file, &stat, NX_FOREVER), 0);
    nxt_expect_eq(stat.st_size, 1000);
    nxt_expect_eq(nx_file_truncate(file, 2000, NX_FOREVER), 0);
    nxt_expect_eq(nx_stat(path, &stat, NX_FOREVER), 0);
    nxt_expect_eq(fstat(nx_file_fd(file), &plain), 0);
    nxt_expect(stat.st_size == 2000 && stat.st_ino == plain.st_ino && stat.st_dev == plain.st_dev &&
               stat.st_mode == plain.st_mode && stat.st_nlink == plain.st_nlink && stat.st_uid == plain.st_uid &&
               stat.st_blocks == plain.st_blocks && stat.st_blksize == plain.st_blksize &&
               stat.st_mtim.tv_sec == plain.st_mtim.tv_sec && stat.st_mtim.tv_nsec == plain.st_mtim.tv_nsec);
    nxt_expect_eq(nx_pread(file, in, 10, 1500, NX_FOREVER), 10);
    nxt_expect(in[0] == 0 && in[9] == 0);
    nxt_expect_eq(nx_file_truncate(file, -1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_fsync(file, NX_FOREVER), 0);
    nxt_expect_eq(nx_fdatasync(file, NX_FOREVER), 0);
    nx_file_close(file);
    unlink(path);
}

NXT_TASK_TEST(an_open_descriptor_becomes_a_file)
{
    char path[PATH_MAX], in[10];
    path_of(path, "fd");
    nx_file_close(filled(path, 100));
    nx_file *file = (nx_file *)&file;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    nxt_expect_eq(nx_file_from_fd(-1, &file), -EBADF);
    nxt_expect_eq(nx_file_from_fd(1 << 20, &file), -EBADF);
    nxt_expect_eq(nx_file_from_fd(fd, NULL), -EINVAL);
    nxt_expect(file == (nx_file *)&file);
    nxt_require_eq(nx_file_from_fd(fd, &file), 0);
    nxt_expect_eq(nx_file_fd(file), fd);
    nxt_expect_eq(nx_pread(file, in, 10, 90, NX_FOREVER), 10);
    nxt_expect_eq(nxt_check_fill(in, 10, 90, 1), 10);
    nxt_expect_eq(nx_pwrite(file, in, 10, 0, NX_FOREVER), -EBADF); /* open for reading only */
    nxt_expect_eq(nx_file_close(file), 0);
    nxt_expect_eq(fcntl(fd, F_GETFD), -1);
    unlink(path);
}

NXT_TASK_TEST(a_file_is_closed_on_exec_and_made_with_the_mode_less_the_umask)
{
    char path[PATH_MAX];
    struct stat stat;
    path_of(path, "mode");
    mode_t before = umask(027);
    nx_file *file = NULL;
    nxt_expect_eq(nx_file_open(path, O_CREAT | O_EXCL | O_WRONLY, 0666, &file, NX_FOREVER), 0);
    umask(before);
    nxt_require(file);
    nxt_expect_eq(fcntl(nx_file_fd(file), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    nxt_expect_eq(nx_stat(path, &stat, NX_FOREVER), 0);
    nxt_expect_eq(stat.st_mode & 0777, 0640);
    nx_file_close(file);
    unlink(path);
}

/* ---- paths ---- */

NXT_TASK_TEST(files_are_renamed_and_removed_and_folders_made_and_removed)
{
    char folder[PATH_MAX], one[PATH_MAX + 4], other[PATH_MAX + 4];
    struct stat stat;
    path_of(folder, "folder");
    snprintf(one, sizeof(one), "%s/1", folder);
    snprintf(other, sizeof(other), "%s/2", folder);
    nxt_require_eq(nx_mkdir(folder, 0750, NX_FOREVER), 0);
    nxt_expect_eq(nx_mkdir(folder, 0750, NX_FOREVER), -EEXIST);
    nxt_expect_eq(nx_stat(folder, &stat, NX_FOREVER), 0);
    nxt_expect(S_ISDIR(stat.st_mode));
    nx_file_close(open_at(one, O_CREAT | O_WRONLY));
    nxt_expect_eq(nx_rename(one, other, NX_FOREVER), 0);
    nxt_expect_eq(nx_rename(one, other, NX_FOREVER), -ENOENT);
    nxt_expect_eq(nx_stat(one, &stat, NX_FOREVER), -ENOENT);
    nxt_expect_eq(nx_stat(other, &stat, NX_FOREVER), 0);
    nxt_expect_eq(nx_rmdir(folder, NX_FOREVER), -ENOTEMPTY);
    nxt_expect_eq(nx_unlink(folder, NX_FOREVER), -EISDIR);
    nxt_expect_eq(nx_rmdir(other, NX_FOREVER), -ENOTDIR);
    nxt_expect_eq(nx_unlink(other, NX_FOREVER), 0);
    nxt_expect_eq(nx_unlink(other, NX_FOREVER), -ENOENT);
    nxt_expect_eq(nx_rmdir(folder, NX_FOREVER), 0);
    nxt_expect_eq(access(folder, F_OK), -1);
}

NXT_TASK_TEST(stat_follows_links)
{
    char path[PATH_MAX], link[PATH_MAX];
    struct stat stat;
    path_of(path, "target");
    path_of(link, "link");
    nx_file_close(filled(path, 12));
    nxt_require_eq(symlink(path, link), 0);
    nxt_expect_eq(nx_stat(link, &stat, NX_FOREVER), 0);
    nxt_expect(S_ISREG(stat.st_mode) && stat.st_size == 12);
    unlink(path);
    nxt_expect_eq(nx_stat(link, &stat, NX_FOREVER), -ENOENT);
    unlink(link);
}

/* ---- errors ---- */

NXT_TASK_TEST(errors_are_the_systems)
{
    char path[PATH_MAX], long_name[400], buf[16];
    struct stat stat = {.st_size = 77};
    nx_file *file = (nx_file *)&file;
    path_of(path, "errors");
    memset(long_name, 'x', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = '\0';
    nxt_expect_eq(nx_file_open(path, O_RDONLY, 0, &file, NX_FOREVER), -ENOENT);
    nxt_expect_eq(nx_file_open("/", O_WRONLY, 0, &file, NX_FOREVER), -EISDIR);
    nxt_expect_eq(nx_file_open("/dev/null/x", O_RDONLY, 0, &file, NX_FOREVER), -ENOTDIR);
    nxt_expect_eq(nx_file_open(long_name, O_RDONLY, 0, &file, NX_FOREVER), -ENAMETOOLONG);
    nxt_expect_eq(nx_file_open("", O_RDONLY, 0, &file, NX_FOREVER), -ENOENT);
    nxt_expect(file == (nx_file *)&file);
    nxt_expect_eq(nx_stat(path, &stat, NX_FOREVER), -ENOENT);
    nxt_expect_eq(stat.st_size, 77);
    nxt_expect_eq(nx_mkdir("/dev/null/x", 0700, NX_FOREVER), -ENOTDIR);
    nxt_expect_eq(nx_rename("/", path, NX_FOREVER), -EBUSY);
    file = open_at("/", O_RDONLY | O_DIRECTORY);
    nxt_require(file);
    nxt_expect_eq(nx_pread(file, buf, sizeof(buf), 0, NX_FOREVER), -EISDIR);
    nxt_expect_eq(nx_file_truncate(file, 0, NX_FOREVER), -EINVAL);
    nx_file_close(file);
    file = open_at(path, O_CREAT | O_WRONLY);
    nxt_require(file);
    nxt_expect_eq(nx_pread(file, buf, sizeof(buf), 0, NX_FOREVER), -EBADF);
    nx_file_close(file);
    unlink(path);
}

NXT_TASK_TEST(a_full_device_says_so_and_one_that_can_not_seek_too)
{
    char buf[64] = "";
    nx_file *file = open_at("/dev/full", O_RDWR);
    nxt_require(file);
    nxt_expect_eq(nx_pwrite(file, buf, sizeof(buf), 0, NX_FOREVER), -ENOSPC);
    nxt_expect_eq(nx_pwrite(file, buf, sizeof(buf), 0, NX_FOREVER), -ENOSPC);
    buf[0] = 1;
    nxt_expect_eq(nx_pread(file, buf, sizeof(buf), 0, NX_FOREVER), sizeof(buf));
    nxt_expect_eq(buf[0], 0);
    nx_file_close(file);
    int fds[2];
    nxt_require(nxt_pipe(fds));
    nxt_require_eq(nx_file_from_fd(fds[0], &file), 0);
    nxt_expect_eq(nx_pread(file, buf, sizeof(buf), 0, NX_FOREVER), -ESPIPE);
    nx_file_close(file);
    close(fds[1]);
}

static intptr_t use_in_a_thread(void *arg)
{
    char buf[1];
    struct stat stat;
    nx_file *file;
    nx_dir *dir;
    nx_dir_entry entry;
    int results[] = {
        nx_file_open("/", O_RDONLY, 0, &file, NX_FOREVER),
        (int)nx_pread(arg, buf, 1, 0, NX_FOREVER),
        nx_file_stat(arg, &stat, NX_FOREVER),
        nx_stat("/", &stat, NX_FOREVER),
        nx_file_close(arg),
        nx_file_fd(arg),
        nx_file_from_fd(0, &file),
        nx_dir_open("/", &dir, NX_FOREVER),
        nx_dir_next(arg, &entry, NX_FOREVER),
    };
    for (size_t i = 0; i < NXT_COUNT(results); i++)
        nxt_expect_eq(results[i], -NX_ENOTASK);
    return 0;
}

NXT_TASK_TEST(what_can_not_be_is_refused)
{
    char buf[4];
    struct stat stat;
    struct iovec bad[2] = {{buf, 4}, {NULL, 4}}, huge = {buf, SIZE_MAX};
    nx_file *file = open_at("/dev/zero", O_RDONLY);
    nxt_require(file);
    nxt_expect_eq(nx_file_open(NULL, O_RDONLY, 0, &file, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_file_open("/", O_RDONLY, 0, NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_pread(NULL, buf, 4, 0, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_pread(file, NULL, 4, 0, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_pread(file, buf, 4, -1, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_pwrite(file, buf, 4, INT64_MAX, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_preadv(file, bad, 2, 0, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_preadv(file, &huge, 1, 0, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_pwritev(file, bad, -1, 0, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_file_stat(file, NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_stat(NULL, &stat, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_rename("/", NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_unlink(NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_fsync(NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_file_close(NULL), 0);
    nxt_expect_eq(nx_dir_close(NULL), 0);
    struct nxt_thread *thread = nxt_thread_start(use_in_a_thread, file);
    nxt_require(thread);
    nxt_thread_await(thread);
    nx_file_close(file);
}

/* ---- deadline and cancel ---- */

NXT_TASK_TEST(polling_reads_what_is_in_the_page_cache_and_begins_nothing_that_waits)
{
    char path[PATH_MAX], in[100];
    struct stat stat;
    path_of(path, "poll");
    nx_file *file = filled(path, 100);
    nxt_require(file);
    if (!nxt_can_read_nowait(path)) {
        nxt_skip("no RWF_NOWAIT here: nothing is read without waiting");
        nx_file_close(file);
        unlink(path);
        return;
    }
    nxt_expect_eq(nx_pread(file, in, 100, 0, NX_FOREVER), 100);
    nxt_expect_eq(nx_pread(file, in, 100, 0, NX_POLL), 100);
    nxt_expect_eq(nx_fsync(file, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_file_stat(file, &stat, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_unlink(path, NX_POLL), -EAGAIN);
    nxt_expect_eq(access(path, F_OK), 0);
    nx_file_close(file);
    unlink(path);
}

NXT_TASK_TEST(a_deadline_that_has_passed_still_reads_the_page_cache)
{
    char path[PATH_MAX], in[100];
    path_of(path, "past");
    nx_file *file = filled(path, 100);
    nxt_require(file);
    if (!nxt_can_read_nowait(path)) {
        nxt_skip("no RWF_NOWAIT here: nothing is read without waiting");
        nx_file_close(file);
        unlink(path);
        return;
    }
    nxt_expect_eq(nx_pread(file, in, 100, 0, NX_FOREVER), 100);
    nxt_expect_eq(nx_pread(file, in, 100, 0, 1), 100);
    nx_file_close(file);
    unlink(path);
}

struct use {
    nx_file *file;
    const char *path;
};

static intptr_t use_when_cancelled(void *arg)
{
    struct use *use = arg;
    char in[4];
    struct stat stat;
    nx_file *file;
    nx_cancel(nx_self());
    int results[] = {
        nx_file_open(use->path, O_RDONLY, 0, &file, NX_FOREVER),
        (int)nx_pread(use->file, in, 4, 0, NX_FOREVER),
        (int)nx_pwrite(use->file, in, 4, 0, NX_FOREVER),
        nx_fsync(use->file, NX_FOREVER),
        nx_file_stat(use->file, &stat, NX_FOREVER),
        nx_unlink(use->path, NX_FOREVER),
    };
    for (size_t i = 0; i < NXT_COUNT(results); i++)
        nxt_expect_eq(results[i], -ECANCELED);
    return nx_file_close(use->file);
}

NXT_TASK_TEST(a_cancelled_task_closes_its_file_and_begins_nothing_else)
{
    char path[PATH_MAX];
    path_of(path, "cancelled");
    struct use use = {.file = filled(path, 10), .path = path};
    nxt_require(use.file);
    int fd = nx_file_fd(use.file);
    nxt_expect_eq(nxt_result(nx_spawn(use_when_cancelled, &use)), 0);
    nxt_expect_eq(fcntl(fd, F_GETFD), -1);
    nxt_expect_eq(unlink(path), 0);
}

struct slow {
    const char *path;
    int flags;
    nx_time deadline;
};

static intptr_t open_slowly(void *arg)
{
    struct slow *slow = arg;
    nx_file *file;
    int error = nx_file_open(slow->path, slow->flags, 0, &file, slow->deadline);
    return error < 0 ? error : nx_file_close(file);
}

/* The open of a FIFO waits for the other end, as long as that takes. */
NXT_TASK_TEST(an_open_that_waits_holds_nobody_up)
{
    char path[PATH_MAX];
    path_of(path, "fifo");
    nxt_require_eq(mkfifo(path, 0600), 0);
    struct slow reader = {.path = path, .flags = O_RDONLY, .deadline = NX_FOREVER};
    struct slow writer = {.path = path, .flags = O_WRONLY, .deadline = NX_FOREVER};
    nx_task waiting = nx_spawn(open_slowly, &reader);
    nxt_await_parked(waiting);
    struct stat stat;
    nxt_expect_eq(nx_stat(path, &stat, NX_FOREVER), 0);
    nxt_expect(S_ISFIFO(stat.st_mode));
    nxt_expect_eq(nx_join(waiting, NULL, NX_POLL), -EAGAIN);
    nxt_expect_eq(open_slowly(&writer), 0);
    nxt_expect_eq(nxt_result(waiting), 0);
    unlink(path);
}

/* More of them than a small pool has threads. Their other ends are files too: nobody must be in the way of those. */
NXT_TASK_TEST(many_opens_that_wait_hold_nobody_up_either)
{
    enum { COUNT = 40 };
    static char paths[COUNT][PATH_MAX];
    char name[16];
    struct slow readers[COUNT];
    nx_task waiting[COUNT];
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof(name), "many-%d", i);
        path_of(paths[i], name);
        nxt_require_eq(mkfifo(paths[i], 0600), 0);
        readers[i] = (struct slow){.path = paths[i], .flags = O_RDONLY, .deadline = NX_FOREVER};
        waiting[i] = nx_spawn(open_slowly, &readers[i]);
        nxt_await_parked(waiting[i]);
    }
    struct stat stat;
    nxt_expect_eq(nx_stat("/", &stat, NX_FOREVER), 0);
    for (int i = COUNT - 1; i >= 0; i--) {
        struct slow writer = {.path = paths[i], .flags = O_WRONLY, .deadline = NX_FOREVER};
        nxt_expect_eq(open_slowly(&writer), 0);
    }
    for (int i = 0; i < COUNT; i++) {
        nxt_expect_eq(nxt_result(waiting[i]), 0);
        unlink(paths[i]);
    }
}

/* Called back or waited for: the driver decides, and what it says is what happened. */
NXT_TASK_TEST(a_cancelled_open_tells_whether_it_has_a_file)
{
    char path[PATH_MAX];
    path_of(path, "fifo2");
    nxt_require_eq(mkfifo(path, 0600), 0);
    struct slow reader = {.path = path, .flags = O_RDONLY, .deadline = NX_FOREVER};
    int fds = nxt_open_fds();
    nx_task waiting = nx_spawn(open_slowly, &reader);
    nxt_await_parked(waiting);
    nxt_expect_eq(nx_cancel(waiting), 0);
    int writer = -1;
    intptr_t result = 1;
    while (nx_join(waiting, &result, NX_POLL) == -EAGAIN) { /* lets the open end where it can't be called back */
        int fd = writer < 0 ? open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC) : -1;
        writer = fd >= 0 ? fd : writer;
        nxt_pause(1000);
    }
    nxt_expect(result == -ECANCELED || (result == 0 && writer >= 0));
    if (writer >= 0)
        close(writer);
    nxt_expect_eq(nxt_open_fds(), fds);
    unlink(path);
}

/* ---- closing ---- */

static intptr_t read_all(void *arg)
{
    struct reader *reader = arg;
    char *buf = malloc(reader->size);
    ssize_t got = buf ? nx_pread(reader->file, buf, reader->size, 0, NX_FOREVER) : -ENOMEM;
    bool good = got == (ssize_t)reader->size && nxt_check_fill(buf, reader->size, 0, 1) == reader->size;
    free(buf);
    return good ? 0 : got < 0 ? got : -1;
}

NXT_TASK_TEST(reads_under_way_end_by_themselves_when_the_file_is_closed, .workers = 2)
{
    char path[PATH_MAX];
    path_of(path, "closed");
    for (int round = 0; round < nxt_scaled(20, 3); round++) {
        struct reader reader = {.file = filled(path, 300000), .size = 300000};
        nx_task tasks[8];
        nxt_require(reader.file);
        posix_fadvise(nx_file_fd(reader.file), 0, 0, POSIX_FADV_DONTNEED);
        for (size_t i = 0; i < NXT_COUNT(tasks); i++) {
            tasks[i] = nxt_task_on((int)(i % 2), read_all, &reader);
            nxt_await_parked(tasks[i]);
        }
        nxt_expect_eq(nx_file_close(reader.file), 0);
        for (size_t i = 0; i < NXT_COUNT(tasks); i++)
            nxt_expect_eq(nxt_result(tasks[i]), 0);
        unlink(path);
    }
}

/* ---- directories ---- */

NXT_TASK_TEST(a_folder_of_three_thousand_entries_is_read_whole)
{
    enum { COUNT = 3000 };
    char folder[PATH_MAX], path[PATH_MAX + 32], first[PATH_MAX + 32];
    static bool seen[COUNT];
    memset(seen, 0, sizeof(seen));
    path_of(folder, "many");
    nxt_require_eq(mkdir(folder, 0700), 0);
    snprintf(first, sizeof(first), "%s/entry-1", folder);
    for (int i = 0; i < COUNT; i++) {
        snprintf(path, sizeof(path), "%s/entry-%d", folder, i);
        if (i % 500 == 0)
            nxt_expect_eq(mkdir(path, 0700), 0);
        else if (i == 1)
            close(open(first, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        else
            nxt_expect_eq(link(first, path), 0); /* faster than files */
    }
    nx_dir *dir = NULL;
    nx_dir_entry entry;
    int result, count = 0;
    nxt_require_eq(nx_dir_open(folder, &dir, NX_FOREVER), 0);
    while ((result = nx_dir_next(dir, &entry, NX_FOREVER)) == 1) {
        int number = -1;
        nxt_expect(sscanf(entry.name, "entry-%d", &number) == 1 && number >= 0 && number < COUNT && !seen[number]);
        if (number < 0 || number >= COUNT)
            continue;
        seen[number] = true;
        nxt_expect(entry.inode > 0);
        nxt_expect(entry.type == DT_UNKNOWN || entry.type == (number % 500 == 0 ? DT_DIR : DT_REG));
        count++;
    }
    nxt_expect_eq(result, 0);
    nxt_expect_eq(count, COUNT);
    nxt_expect_eq(nx_dir_next(dir, &entry, NX_FOREVER), 0); /* still */
    nxt_expect_eq(nx_dir_close(dir), 0);
    for (int i = 0; i < COUNT; i++) {
        snprintf(path, sizeof(path), "%s/entry-%d", folder, i);
        remove(path);
    }
    nxt_expect_eq(rmdir(folder), 0);
}

NXT_TASK_TEST(an_empty_folder_has_no_entries_and_what_is_none_is_no_folder)
{
    char folder[PATH_MAX];
    nx_dir *dir = (nx_dir *)&dir;
    nx_dir_entry entry;
    path_of(folder, "empty");
    nxt_expect_eq(nx_dir_open(folder, &dir, NX_FOREVER), -ENOENT);
    nxt_expect_eq(nx_dir_open("/dev/null", &dir, NX_FOREVER), -ENOTDIR);
    nxt_expect_eq(nx_dir_open(NULL, &dir, NX_FOREVER), -EINVAL);
    nxt_expect(dir == (nx_dir *)&dir);
    nxt_require_eq(mkdir(folder, 0700), 0);
    nxt_require_eq(nx_dir_open(folder, &dir, NX_FOREVER), 0);
    nxt_expect_eq(nx_dir_next(dir, NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_dir_next(dir, &entry, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_dir_next(dir, &entry, NX_FOREVER), 0);
    nxt_expect_eq(nx_dir_close(dir), 0);
    rmdir(folder);
}

/* ---- in a fork ---- */

NXT_TASK_TEST(a_forked_child_is_told)
{
    if (NXT_TSAN) {
        nxt_skip("ThreadSanitizer does not survive a fork of several threads");
        return;
    }
    char in[4];
    struct stat stat;
    nx_file *file = open_at("/dev/zero", O_RDONLY);
    nxt_require(file);
    pid_t child = fork();
    if (child == 0)
        _exit(nx_pread(file, in, 4, 0, NX_FOREVER) == -NX_EFORKED && nx_stat("/", &stat, NX_FOREVER) == -NX_EFORKED &&
                      nx_file_close(file) == -NX_EFORKED
                  ? 42
                  : 1);
    int status = 0;
    waitpid(child, &status, 0);
    nxt_expect(WIFEXITED(status) && WEXITSTATUS(status) == 42);
    nx_file_close(file);
}
