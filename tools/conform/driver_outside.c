/* conform/driver_outside.c: descriptors of others, and files. */
#define _GNU_SOURCE
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- descriptors of others ---- */

static nx_handle import(struct rig *rig, int fd)
{
    nx_handle handle = 0;

    doing("import_fd");
    int r = rig->ops->import_fd(rig->context[0], fd, NX_IMPORT_FOREIGN, &handle);
    CHECK(r == 0, "import_fd of a pipe with NX_IMPORT_FOREIGN gives %s", error_text(r));
    return handle;
}

static void make_pipe(int *ret_fds)
{
    CHECK(pipe(ret_fds) == 0, "this program could not make a pipe");
}

static void forget(struct rig *rig, nx_handle handle)
{
    int64_t r = carry_out(rig, 0, (struct nx_op){.handle = handle, .code = NX_OP_CLOSE, .arg = NX_CLOSE_KEEP});

    CHECK(r == 0, "CLOSE with NX_CLOSE_KEEP gives %s", error_text(r));
}

void driver_foreign(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    int fds[2];
    char byte;

    make_pipe(fds);
    nx_handle one = import(rig, fds[0]), other = import(rig, fds[0]);
    struct nx_op op = {.handle = one, .code = NX_OP_POLL, .arg = NX_READABLE};
    struct flight *first, *second;

    for (uint32_t i = 0; i < 4; i++) {
        op.handle = one;
        first = fly(rig, 0, op);
        op.handle = other;
        second = fly(rig, 0, op);
        CHECK(!ended(first) && !ended(second), "POLL of an empty pipe completes");
        CHECK(write(fds[1], "x", 1) == 1, "this program could not write to a pipe");
        CHECK(finish(rig, first) == NX_READABLE, "POLL of a pipe with a byte gives %s", error_text(first->result));
        CHECK(finish(rig, second) == NX_READABLE, "a second import of the same pipe: POLL gives %s",
              error_text(second->result));
        CHECK(read(fds[0], &byte, 1) == 1, "POLL has taken a byte of a foreign descriptor");
    }
    first = fly(rig, 0, op);
    close(fds[1]);
    CHECK(finish(rig, first) & NX_READABLE, "POLL of a pipe whose writer has gone gives %s", error_text(first->result));
    forget(rig, one);
    forget(rig, other);
    close(fds[0]);
    rig_close(rig);
}

void driver_keep(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    int fds[2], flags;
    char byte;

    make_pipe(fds);
    flags = fcntl(fds[0], F_GETFL);
    CHECK(write(fds[1], "x", 1) == 1, "this program could not write to a pipe");
    nx_handle handle = import(rig, fds[0]);
    CHECK(carry_out(rig, 0, (struct nx_op){.handle = handle, .code = NX_OP_POLL, .arg = NX_READABLE}) == NX_READABLE,
          "POLL of a pipe with a byte does not say so");
    forget(rig, handle);
    CHECK(fcntl(fds[0], F_GETFD) >= 0, "CLOSE with NX_CLOSE_KEEP has closed a foreign descriptor");
    CHECK(fcntl(fds[0], F_GETFL) == flags, "the flags of a foreign descriptor were %#x and are %#x", (unsigned)flags,
          (unsigned)fcntl(fds[0], F_GETFL));
    CHECK(read(fds[0], &byte, 1) == 1, "a byte of a foreign descriptor is gone");
    int64_t r = carry_out(rig, 0, (struct nx_op){.handle = handle, .code = NX_OP_POLL, .arg = NX_READABLE});
    CHECK(r == -EBADF, "POLL on a handle after CLOSE with NX_CLOSE_KEEP gives %s", error_text(r));
    close(fds[0]);
    close(fds[1]);
    rig_close(rig);
}

static void expect_quiet(struct rig *rig, const struct flight *flight, const char *when)
{
    const uint32_t before = flight->more;

    settle(rig);
    CHECK(flight->more == before && !ended(flight), "an edge was reported %s", when);
}

void driver_edges(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct flight *edges;
    int fds[2];
    char byte;

    if (!(capability_of(rig, NX_OP_POLL).flags & NX_OP_MULTISHOT))
        skip("capability of POLL lacks NX_OP_MULTISHOT: %s", capability_of(rig, NX_OP_POLL).reason);
    make_pipe(fds);
    nx_handle handle = import(rig, fds[0]);
    edges =
        fly(rig, 0, (struct nx_op){.handle = handle, .code = NX_OP_POLL, .flags = NX_OP_MULTISHOT, .arg = NX_READABLE});
    expect_quiet(rig, edges, "of a pipe that was empty all the time");
    for (uint32_t i = 0; i < 4; i++) {
        CHECK(write(fds[1], "x", 1) == 1, "this program could not write to a pipe");
        int64_t r = next_report(rig, edges);
        CHECK(r == NX_READABLE, "the edge of a pipe that has become readable is %s", error_text(r));
        expect_quiet(rig, edges, "again, of what stays ready and is not touched");
        CHECK(read(fds[0], &byte, 1) == 1, "an edge has taken a byte of a foreign descriptor");
    }
    ask_cancel(rig, edges);
    CHECK(finish(rig, edges) == -ECANCELED, "a cancelled POLL with MULTISHOT ends with %s", error_text(edges->result));
    forget(rig, handle);
    close(fds[0]);
    close(fds[1]);
    rig_close(rig);
}

/* ---- files ---- */

static const char *folder;

static void make_folder(void)
{
    folder = scratch_folder();
    if (!folder)
        skip("no folder can be made in TMPDIR or /tmp");
}

static const char *path_of(const char *name)
{
    static char paths[4][128];
    static uint32_t next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

/* A code that is left to the core's pool is no concern here. False: it is. */
static bool offers(struct rig *rig, uint32_t code)
{
    return capability_of(rig, code).level != NX_CAP_NO;
}

static nx_handle open_file(struct rig *rig, const char *path, int flags)
{
    struct nx_op op = {
        .code = NX_OP_OPEN, .data = (void *)(uintptr_t)path, .arg = (uint64_t)flags | UINT64_C(0600) << 32};
    int64_t r = carry_out(rig, 0, op);

    CHECK(r > 0, "OPEN of a file gives %s", error_text(r));
    return (nx_handle)r;
}

static int64_t move(struct rig *rig, nx_handle handle, uint16_t code, struct iovec *iov, uint32_t count,
                    uint64_t offset)
{
    return carry_out(rig, 0,
                     (struct nx_op){.handle = handle, .code = code, .data = iov, .len = count, .offset = offset});
}

void driver_file(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    char in[8] = "";
    struct iovec out[] = {{"0123", 4}, {"4567", 4}}, back = {in, sizeof(in)};
    int64_t r;

    if (!offers(rig, NX_OP_OPEN) || !offers(rig, NX_OP_PREADV) || !offers(rig, NX_OP_PWRITEV))
        skip("capability says NX_CAP_NO to OPEN, PREADV or PWRITEV: %s", capability_of(rig, NX_OP_OPEN).reason);
    make_folder();
    nx_handle file = open_file(rig, path_of("file"), O_RDWR | O_CREAT | O_EXCL);
    r = move(rig, file, NX_OP_PWRITEV, out, 2, 100);
    CHECK(r == 8, "PWRITEV of 8 bytes gives %s", error_text(r));
    r = move(rig, file, NX_OP_PREADV, &back, 1, 102);
    CHECK(r == 6 && memcmp(in, "234567", 6) == 0, "PREADV of the last 6 bytes gives %s", error_text(r));
    r = move(rig, file, NX_OP_PREADV, &back, 1, 108);
    CHECK(r == 0, "PREADV at the end of the file gives %s", error_text(r));
    r = move(rig, file, NX_OP_PREADV, &back, 1, 0);
    CHECK(r == 8 && in[0] == 0, "PREADV of a hole gives %s", error_text(r));
    if (offers(rig, NX_OP_FSYNC))
        for (uint64_t data_only = 0; data_only < 2; data_only++) {
            r = carry_out(rig, 0, (struct nx_op){.handle = file, .code = NX_OP_FSYNC, .arg = data_only});
            CHECK(r == 0, "FSYNC gives %s", error_text(r));
        }
    if (offers(rig, NX_OP_TRUNCATE)) {
        r = carry_out(rig, 0, (struct nx_op){.handle = file, .code = NX_OP_TRUNCATE, .offset = 3});
        CHECK(r == 0, "TRUNCATE gives %s", error_text(r));
        r = move(rig, file, NX_OP_PREADV, &back, 1, 0);
        CHECK(r == 3, "PREADV of a file that was cut to 3 bytes gives %s", error_text(r));
    }
    close_handle(rig, 0, file);
    r = move(rig, file, NX_OP_PREADV, &back, 1, 0);
    CHECK(r == -EBADF, "PREADV of a closed file gives %s", error_text(r));
    rig_close(rig);
}

static int64_t on_path(struct rig *rig, uint16_t code, const char *path, uint64_t arg)
{
    return carry_out(rig, 0, (struct nx_op){.code = code, .data = (void *)(uintptr_t)path, .arg = arg});
}

static void check_descriptor(struct rig *rig, nx_handle file)
{
    int fd = HAS(rig, export_fd) ? rig->ops->export_fd(rig->context[0], file) : -ENOTSUP;

    CHECK(fd < 0 || (fcntl(fd, F_GETFD) & FD_CLOEXEC), "OPEN leaves its descriptor open on exec");
}

void driver_paths(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct stat st = {0};
    int64_t r;

    make_folder();
    if (offers(rig, NX_OP_MKDIR)) {
        r = on_path(rig, NX_OP_MKDIR, path_of("below"), 0700);
        CHECK(r == 0 && access(path_of("below"), F_OK) == 0, "MKDIR gives %s", error_text(r));
        r = on_path(rig, NX_OP_MKDIR, path_of("below"), 0700);
        CHECK(r == -EEXIST, "MKDIR of what is there gives %s", error_text(r));
        rmdir(path_of("below"));
    }
    if (offers(rig, NX_OP_OPEN)) {
        nx_handle file = open_file(rig, path_of("file"), O_WRONLY | O_CREAT);
        check_descriptor(rig, file);
        close_handle(rig, 0, file);
        r = on_path(rig, NX_OP_OPEN, path_of("none"), O_RDONLY);
        CHECK(r == -ENOENT, "OPEN of what is not there gives %s", error_text(r));
    } else {
        close(open(path_of("file"), O_WRONLY | O_CREAT, 0600));
    }
    if (offers(rig, NX_OP_STAT)) {
        r = on_path(rig, NX_OP_STAT, path_of("file"), (uintptr_t)&st);
        CHECK(r == 0 && S_ISREG(st.st_mode) && st.st_size == 0, "STAT of an empty file gives %s", error_text(r));
        r = on_path(rig, NX_OP_STAT, path_of("none"), (uintptr_t)&st);
        CHECK(r == -ENOENT, "STAT of what is not there gives %s", error_text(r));
    }
    if (offers(rig, NX_OP_RENAME)) {
        r = on_path(rig, NX_OP_RENAME, path_of("file"), (uintptr_t)path_of("moved"));
        CHECK(r == 0 && access(path_of("moved"), F_OK) == 0, "RENAME gives %s", error_text(r));
        rename(path_of("moved"), path_of("file"));
    }
    if (offers(rig, NX_OP_UNLINK)) {
        r = on_path(rig, NX_OP_UNLINK, path_of("file"), 0);
        CHECK(r == 0 && access(path_of("file"), F_OK) != 0, "UNLINK gives %s", error_text(r));
        r = on_path(rig, NX_OP_UNLINK, path_of("file"), 0);
        CHECK(r == -ENOENT, "UNLINK of what is not there gives %s", error_text(r));
    }
    rig_close(rig);
}
