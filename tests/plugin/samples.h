/* A directory of its own for each test, and copies of the module of samples in it. */
#ifndef NXT_SAMPLES_H
#define NXT_SAMPLES_H

#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char nxt_dir[64];

static int nxt_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st, (void)type, (void)ftw;
    return remove(path);
}

static int nxt_dir_setup(void **state)
{
    (void)state;
    strcpy(nxt_dir, "/tmp/nxt-plugin-XXXXXX"); /* root's, sticky: what comes below it can be trusted */
    return mkdtemp(nxt_dir) ? 0 : -1;
}

static int nxt_dir_teardown(void **state)
{
    (void)state;
    return nftw(nxt_dir, nxt_remove, 8, FTW_DEPTH | FTW_PHYS);
}

/* "<the test's directory>/<rest>"; good until the fourth call from now. */
static inline const char *nxt_path(const char *rest)
{
    static char paths[4][PATH_MAX];
    static unsigned turn;
    char *path = paths[turn++ % 4];

    snprintf(path, PATH_MAX, "%s/%s", nxt_dir, rest);
    return path;
}

static inline const char *nxt_samples_file(void)
{
    static char path[PATH_MAX];
    const char *build = getenv("NXT_BUILD");

    snprintf(path, sizeof(path), "%s/tests/plugin/.libs/samples.so", build ? build : ".");
    return path;
}

/* The module's bytes, once; the size in *ret_size. NULL: not built. */
static inline const char *nxt_samples_bytes(size_t *ret_size)
{
    static char bytes[4 << 20];
    static size_t size;

    if (size == 0) {
        FILE *file = fopen(nxt_samples_file(), "rb");

        if (!file)
            return NULL;
        size = fread(bytes, 1, sizeof(bytes), file);
        fclose(file);
    }
    *ret_size = size;
    return bytes;
}

static inline int nxt_write(const char *path, const void *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    ssize_t n;

    if (fd < 0)
        return -1;
    n = write(fd, bytes, size);
    fchmod(fd, 0755); /* whatever the umask */
    close(fd);
    return n == (ssize_t)size ? 0 : -1;
}

/* Puts the samples at "<the test's directory>/<rest>", which is the path returned; NULL: not built, or disk full. */
static inline const char *nxt_sample(const char *rest)
{
    const char *path = nxt_path(rest);
    size_t size;
    const char *bytes = nxt_samples_bytes(&size);

    return bytes && nxt_write(path, bytes, size) == 0 ? path : NULL;
}

static inline void nxt_mkdir(const char *rest)
{
    mkdir(nxt_path(rest), 0755);
    chmod(nxt_path(rest), 0755);
}

#endif
