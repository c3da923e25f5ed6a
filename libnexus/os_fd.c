/*
 * os_fd.c: pipes, pairs of sockets, and what wakes a thread that polls.
 *
 * Where there is no call that makes a descriptor and marks it close-on-exec at once (macOS) a fork in another thread
 * between the two inherits it; processes that this library starts close all that is not theirs (os_spawn.c).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pipe2 */
#endif
#include "os.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/eventfd.h>
#endif

#ifdef __APPLE__
/* Both or none. */
static int mark(const int fds[2], bool nonblock)
{
    for (int i = 0; i < 2; i++)
        if (fcntl(fds[i], F_SETFD, FD_CLOEXEC) < 0 || (nonblock && fcntl(fds[i], F_SETFL, O_NONBLOCK) < 0)) {
            int error = -errno;
            close(fds[0]);
            close(fds[1]);
            return error;
        }
    return 0;
}
#endif

int nxi_os_pipe(int ret_ends[2], bool nonblock)
{
    int ends[2];
#ifdef __APPLE__
    if (pipe(ends) < 0)
        return -errno;
    int error = mark(ends, nonblock);
    if (error < 0)
        return error;
#else
    if (pipe2(ends, O_CLOEXEC | (nonblock ? O_NONBLOCK : 0)) < 0)
        return -errno;
#endif
    ret_ends[0] = ends[0];
    ret_ends[1] = ends[1];
    return 0;
}

int nxi_os_socketpair(int ret_fds[2])
{
    int fds[2];
#ifdef __APPLE__
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) < 0)
        return -errno;
    int error = mark(fds, false);
    if (error < 0)
        return error;
#else
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
#endif
    ret_fds[0] = fds[0];
    ret_fds[1] = fds[1];
    return 0;
}

/* ---- bells ---- */

#ifdef __linux__

int nxi_bell_open(struct nxi_bell *ret_bell, bool nonblock)
{
    int fd = eventfd(0, EFD_CLOEXEC | (nonblock ? EFD_NONBLOCK : 0));
    if (fd < 0)
        return -errno;
    *ret_bell = (struct nxi_bell){fd, fd};
    return 0;
}

void nxi_bell_close(struct nxi_bell *bell)
{
    close(bell->ear);
    *bell = NXI_BELL_NONE;
}

void nxi_bell_ring(int rope)
{
    const uint64_t one = 1;
    ssize_t ignored = write(rope, &one, sizeof(one)); /* full: it is readable anyway */
    (void)ignored;
}

bool nxi_bell_hear(int ear)
{
    uint64_t count;
    return read(ear, &count, sizeof(count)) == (ssize_t)sizeof(count);
}

#else

/* The rope never waits: a full pipe is readable anyway. */
int nxi_bell_open(struct nxi_bell *ret_bell, bool nonblock)
{
    int ends[2], error = nxi_os_pipe(ends, true);
    if (error < 0)
        return error;
    if (!nonblock && fcntl(ends[0], F_SETFL, 0) < 0) {
        error = -errno;
        close(ends[0]);
        close(ends[1]);
        return error;
    }
    *ret_bell = (struct nxi_bell){ends[0], ends[1]};
    return 0;
}

void nxi_bell_close(struct nxi_bell *bell)
{
    close(bell->ear);
    close(bell->rope);
    *bell = NXI_BELL_NONE;
}

void nxi_bell_ring(int rope)
{
    ssize_t ignored = write(rope, "", 1);
    (void)ignored;
}

bool nxi_bell_hear(int ear)
{
    char rings[256];
    return read(ear, rings, sizeof(rings)) > 0;
}

#endif
