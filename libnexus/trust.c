/*
 * Walks a path as the kernel would, one name at a time, and asks of each thing it meets who can change it:
 *
 *     /opt/plugins/x.so  →  /  /opt  /opt/plugins  (a link: whose?)  /  /srv  /srv/p  /srv/p/x.so
 *
 * realpath(3) and a look at the directories of its result would do for the file, but not for the choice of the file:
 * who can write to a directory that a link lies in can point the link at any other trusted file, an older version
 * with a known hole for one. Passed, all of it can be changed by nobody but who is trusted, so what is at the path
 * stays there between check and use.
 */
#define _GNU_SOURCE
#include "trust.h"
#include "os.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <nexus/base.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINKS_MAX 40 /* as many as the kernel follows */

struct walk {
    char at[PATH_MAX];      /* where it is, without links; "" is the root */
    char pending[PATH_MAX]; /* what is left of the path */
    unsigned links;
    char *error;
    size_t error_size;
};

NX_PRINTF(3, 4) static int refuse(const struct walk *walk, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(walk->error, walk->error_size, format, args);
    va_end(args);
    return -error;
}

/* ---- whose is it ---- */

/* Whether the file at path, or a directory above it, is in the hands of the same user as the one described; by_group:
 * can be written by the same group. */
static bool is_in_same_hands(const char *path, const struct stat *described, bool by_group)
{
    char above[PATH_MAX];

    if (!realpath(path, above))
        return false;
    for (;;) { /* ends: each turn takes a component off */
        struct stat st;

        if (stat(*above ? above : "/", &st) < 0)
            return false;
        if (by_group ? (st.st_mode & S_IWGRP) && !(st.st_mode & S_ISVTX) && st.st_gid == described->st_gid
                     : st.st_uid == described->st_uid)
            return true;
        if (!*above)
            return false;
        *strrchr(above, '/') = '\0';
    }
}

/*
 * Beside root and this user, those are trusted who could change the code that runs already: who has power over the
 * file, or a directory above, of the program, of this library, of the C library. So a build tree works in a folder of
 * another user or of a group, for programs of that tree alone; and so do the system's files where root is not mapped
 * into the user namespace (unshare -U, sandboxes) and they all show the overflow id.
 */
static bool has_power_already(const struct stat *described, bool by_group)
{
    const uintptr_t code[] = {(uintptr_t)nxi_trust_open, (uintptr_t)getppid};
    char program[PATH_MAX];
    Dl_info info;

    if (nxi_os_program(program, sizeof(program)) == 0 && is_in_same_hands(program, described, by_group))
        return true;
    for (size_t i = 0; i < sizeof(code) / sizeof(code[0]); i++)
        if (dladdr((void *)code[i], &info) && info.dli_fname && info.dli_fname[0] == '/' &&
            is_in_same_hands(info.dli_fname, described, by_group))
            return true;
    return false;
}

static int check_owner(const struct walk *walk, const char *what, const struct stat *st)
{
    if (st->st_uid == 0 || st->st_uid == geteuid() || has_power_already(st, false))
        return 0;
    return refuse(walk, EACCES,
                  "not trusted: %s%s belongs to user %u, neither root nor this user (%u): chown it, or use a copy of "
                  "your own",
                  what, *walk->at ? walk->at : "/", (unsigned)st->st_uid, (unsigned)geteuid());
}

static bool is_writable_by_others(const struct stat *st)
{
    return (st->st_mode & S_IWOTH) || ((st->st_mode & S_IWGRP) && !has_power_already(st, true));
}

/* A directory others can write is harmless if they can't rename what is not theirs (sticky), and what comes next in the
 * path is trusted itself: /tmp. */
static int check_directory(const struct walk *walk)
{
    const char *path = *walk->at ? walk->at : "/";
    struct stat st;
    int r;

    if (stat(path, &st) < 0)
        return refuse(walk, errno == ENOENT ? ENOENT : EACCES, "%s: %s: let this user search it", path,
                      strerror(errno));
    r = check_owner(walk, "the directory ", &st);
    if (r < 0)
        return r;
    if (!(st.st_mode & S_ISVTX) && is_writable_by_others(&st))
        return refuse(walk, EACCES, "not trusted: others can write to the directory %s (chmod go-w)", path);
    return 0;
}

static const char *file_type(mode_t mode)
{
    return S_ISDIR(mode) ? "a directory" : S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket" : "a device";
}

static int check_file(const struct walk *walk, const struct stat *st)
{
    int r;

    if (!S_ISREG(st->st_mode))
        return refuse(walk, EACCES, "it is %s, not a regular file: name the plugin's file", file_type(st->st_mode));
    r = check_owner(walk, "", st);
    if (r < 0)
        return r;
    if (is_writable_by_others(st))
        return refuse(walk, EACCES, "not trusted: others can write to it (chmod go-w %s)", walk->at);
    return 0;
}

/* ---- the way there ---- */

static int refuse_errno(const struct walk *walk, const char *call, int error)
{
    switch (error) {
    case ENOENT:
        return refuse(walk, ENOENT, "there is no such file: nexus info lists the plugins there are");
    case EACCES:
        return refuse(walk, EACCES,
                      "%s: %s: this user needs the right to search its directories and to read it (chmod)", call,
                      strerror(error));
    default:
        return refuse(walk, error, "%s: %s", call, strerror(error));
    }
}

static void step_up(struct walk *walk)
{
    char *slash = strrchr(walk->at, '/');

    if (slash)
        *slash = '\0';
}

/* Goes on with what the link at the current place says, and what is pending after it. Who can put a link into a
 * directory others can write to, sticky or not, is known by its owner only. */
static int follow(struct walk *walk, const struct stat *st)
{
    char target[PATH_MAX];
    ssize_t length;
    size_t rest = strlen(walk->pending);
    int r;

    if (++walk->links > LINKS_MAX)
        return refuse_errno(walk, "readlink(2)", ELOOP);
    r = check_owner(walk, "the link ", st);
    if (r < 0)
        return r;
    length = readlink(walk->at, target, sizeof(target));
    if (length < 0)
        return refuse_errno(walk, "readlink(2)", errno);
    if (length == 0 || (size_t)length + rest + 2 > sizeof(target))
        return refuse_errno(walk, "readlink(2)", length ? ENAMETOOLONG : ENOENT);
    target[length] = '/';
    memcpy(target + length + 1, walk->pending, rest + 1);
    if (rest == 0) /* no slash at the end that was not there: the last one need not be a directory */
        target[length] = '\0';
    memcpy(walk->pending, target, (size_t)length + rest + 2);
    if (target[0] == '/')
        walk->at[0] = '\0';
    else
        step_up(walk);
    return 0;
}

/* One name further. */
static int step(struct walk *walk, struct stat *ret_st)
{
    size_t skip = strspn(walk->pending, "/");
    const char *name = walk->pending + skip;
    size_t length = strcspn(name, "/"), depth = strlen(walk->at);
    bool more = name[length] != '\0';

    if ((length == 1 && name[0] == '.') || (length == 2 && name[0] == '.' && name[1] == '.')) {
        if (length == 2)
            step_up(walk);
        memmove(walk->pending, name + length, strlen(name + length) + 1);
        return stat(*walk->at ? walk->at : "/", ret_st) < 0 ? refuse_errno(walk, "stat(2)", errno) : 0;
    }
    if (depth + 1 + length >= sizeof(walk->at))
        return refuse_errno(walk, "stat(2)", ENAMETOOLONG);
    walk->at[depth] = '/';
    memcpy(walk->at + depth + 1, name, length);
    walk->at[depth + 1 + length] = '\0';
    memmove(walk->pending, name + length, strlen(name + length) + 1);
    if (lstat(walk->at, ret_st) < 0)
        return refuse_errno(walk, "stat(2)", errno);
    if (S_ISLNK(ret_st->st_mode))
        return follow(walk, ret_st);
    if (more && !S_ISDIR(ret_st->st_mode))
        return refuse_errno(walk, "stat(2)", ENOTDIR);
    return more ? check_directory(walk) : 0;
}

int nxi_trust_open(const char *path, char *ret_canonical, struct stat *ret_st, char *error, size_t error_size)
{
    struct walk walk = {.error = error, .error_size = error_size};
    char reached[PATH_MAX];
    int fd, r;

    if (path[0] != '/')
        return refuse(&walk, EACCES, "it is a relative path: write it from / on");
    if (!realpath(path, reached)) /* what isn't there is not a question of trust */
        return refuse_errno(&walk, "realpath(3)", errno);
    if (strlen(path) >= sizeof(walk.pending))
        return refuse_errno(&walk, "realpath(3)", ENAMETOOLONG);
    strcpy(walk.pending, path);
    r = check_directory(&walk);
    while (r == 0 && walk.pending[strspn(walk.pending, "/")] != '\0') /* ends: each turn takes a name, or one link */
        r = step(&walk, ret_st);
    if (r < 0)
        return r;
    if (!*walk.at)
        return refuse(&walk, EACCES, "it is a directory, not a regular file: name the plugin's file");
    if (!S_ISREG(ret_st->st_mode)) /* before open(2), which some devices notice */
        return check_file(&walk, ret_st);
    fd = open(walk.at, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    if (fd < 0)
        return refuse_errno(&walk, "open(2)", errno);
    r = fstat(fd, ret_st) < 0 ? refuse_errno(&walk, "fstat(2)", errno) : check_file(&walk, ret_st);
    if (r < 0) {
        close(fd);
        return r;
    }
    strcpy(ret_canonical, walk.at);
    return fd;
}
