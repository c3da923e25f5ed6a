/* os_program.c: which file this program is. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <mach-o/dyld.h>
#elif defined(__FreeBSD__) || defined(__NetBSD__)
#include <sys/sysctl.h>
#elif defined(__OpenBSD__)
#include <sys/stat.h>
#include <sys/sysctl.h>
#endif

#if defined(__linux__)

int nxi_os_program(char *ret_path, size_t size)
{
    ssize_t length = readlink("/proc/self/exe", ret_path, size);
    if (length < 0)
        return -errno;
    if ((size_t)length >= size)
        return -ENAMETOOLONG;
    ret_path[length] = '\0';
    return 0;
}

#elif defined(__APPLE__)

int nxi_os_program(char *ret_path, size_t size)
{
    char named[PATH_MAX], whole[PATH_MAX];
    uint32_t named_size = sizeof(named);
    if (_NSGetExecutablePath(named, &named_size) != 0)
        return -ENAMETOOLONG;
    if (!realpath(named, whole))
        return -errno;
    if (strlen(whole) >= size)
        return -ENAMETOOLONG;
    strcpy(ret_path, whole);
    return 0;
}

#elif defined(__FreeBSD__) || defined(__NetBSD__)

int nxi_os_program(char *ret_path, size_t size)
{
#ifdef __FreeBSD__
    const int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_PATHNAME, -1};
#else
    const int name[] = {CTL_KERN, KERN_PROC_ARGS, -1, KERN_PROC_PATHNAME};
#endif
    return sysctl(name, 4, ret_path, &size, NULL, 0) < 0 ? -errno : 0;
}

#else

/* The kernel keeps no path there: what it was called by, looked for as the shell did. */
static int search(const char *name, char *ret_path, size_t size)
{
    const char *folders = getenv("PATH");
    struct stat st;
    while (folders && *folders) {
        size_t length = strcspn(folders, ":");
        if (length > 0 && length + strlen(name) + 2 <= size) {
            memcpy(ret_path, folders, length);
            ret_path[length] = '/';
            strcpy(ret_path + length + 1, name);
            if (stat(ret_path, &st) == 0 && S_ISREG(st.st_mode) && access(ret_path, X_OK) == 0)
                return 0;
        }
        folders += length + (folders[length] == ':');
    }
    return -ENOENT;
}

int nxi_os_program(char *ret_path, size_t size)
{
    const int name[] = {CTL_KERN, KERN_PROC_ARGS, getpid(), KERN_PROC_ARGV};
    char *words[4096], whole[PATH_MAX]; /* the pointers, and behind them what they point at */
    size_t words_size = sizeof(words);
    if (sysctl(name, 4, words, &words_size, NULL, 0) < 0)
        return -errno;
    if (words_size < sizeof(words[0]) || !words[0])
        return -ENOENT;
    if (!strchr(words[0], '/'))
        return search(words[0], ret_path, size);
    if (!realpath(words[0], whole))
        return -errno;
    if (strlen(whole) >= size)
        return -ENAMETOOLONG;
    strcpy(ret_path, whole);
    return 0;
}

#endif
