/*
 * os_child.c: one child process.
 *
 * Linux: everything goes by a pidfd, which never means another process that got the number. Elsewhere the descriptor
 * is a kqueue that watches for the end of the process: a kqueue is readable when it has something to tell, so that
 * another kqueue can wait for it (and poll(2), but not on macOS). Numbers are safe there as long as nobody but us
 * reaps: until then the number is the child's, or its remains'.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#else
#include <sys/event.h>
#endif

#define NAP_MS 1000 /* where there is no memory, or no descriptor, to wait by */

#ifdef __linux__

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

int nxi_child_open(pid_t pid, struct nxi_child *ret_child)
{
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return errno == ESRCH ? -ECHILD : -errno;
    *ret_child = (struct nxi_child){pid, fd};
    return 0;
}

bool nxi_child_ended(const struct nxi_child *child)
{
    struct pollfd pollfd = {.fd = child->fd, .events = POLLIN};
    return poll(&pollfd, 1, 0) > 0;
}

void nxi_children_wait(const struct nxi_child *children, size_t count, int ear)
{
    struct pollfd *polls = calloc(count + 1, sizeof(*polls));
    if (!polls) {
        poll(NULL, 0, NAP_MS);
        return;
    }
    polls[0] = (struct pollfd){.fd = ear, .events = POLLIN};
    for (size_t i = 0; i < count; i++)
        polls[i + 1] = (struct pollfd){.fd = children[i].fd, .events = POLLIN};
    poll(polls, count + 1, count > 0 ? -1 : NAP_MS);
    if (polls[0].revents)
        nxi_bell_hear(ear);
    free(polls);
}

/* Since Linux 6.15 a pidfd keeps the status of a process that somebody else has reaped: PIDFD_GET_INFO. */
static int status_of_reaped(int pidfd, int *ret_status)
{
    struct {
        uint64_t mask, cgroup;
        uint32_t ids[11];
        int32_t exit_code;
    } info = {.mask = 8}; /* PIDFD_INFO_EXIT */
    _Static_assert(sizeof(info) == 64, "PIDFD_INFO_SIZE_VER0");
    if (ioctl(pidfd, _IOC(_IOC_READ | _IOC_WRITE, 0xff, 11, sizeof(info)), &info) < 0 || !(info.mask & 8))
        return -ECHILD;
    *ret_status = info.exit_code;
    return 0;
}

int nxi_child_reap(const struct nxi_child *child, int *ret_status)
{
    siginfo_t info = {0};
    if (waitid((idtype_t)P_PIDFD, (id_t)child->fd, &info, WEXITED | WNOHANG) < 0)
        return errno == ECHILD ? status_of_reaped(child->fd, ret_status) : -errno;
    if (info.si_pid == 0)
        return -EAGAIN;
    *ret_status = info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8
                                             : info.si_status | (info.si_code == CLD_DUMPED ? 0x80 : 0);
    return 0;
}

int nxi_child_kill(const struct nxi_child *child, int signo)
{
    return syscall(SYS_pidfd_send_signal, child->fd, signo, NULL, 0) < 0 ? -errno : 0;
}

void nxi_child_forget(const struct nxi_child *child)
{
    close(child->fd);
}

#else

/* A child that has ended already is ESRCH on some systems, and an event at once on the others. */
int nxi_child_open(pid_t pid, struct nxi_child *ret_child)
{
    struct kevent change;
    siginfo_t info = {0};
    int error, fd = kqueue();
    if (fd < 0)
        return -errno;
    fcntl(fd, F_SETFD, FD_CLOEXEC); /* no child of ours has it: a kqueue is not inherited */
    EV_SET(&change, (uintptr_t)pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, 0);
    if (kevent(fd, &change, 1, NULL, 0, NULL) < 0) {
        error = -errno;
        /* It stays to be reaped: the event is made up, by a filter that has one at once. */
        if (error == -ESRCH) {
            EV_SET(&change, 1, EVFILT_TIMER, EV_ADD, 0, 1, 0);
            error = waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 ? -ECHILD : 0;
        }
        if (error == 0 && kevent(fd, &change, 1, NULL, 0, NULL) < 0)
            error = -errno;
        if (error < 0) {
            close(fd);
            return error;
        }
    }
    *ret_child = (struct nxi_child){pid, fd};
    return 0;
}

bool nxi_child_ended(const struct nxi_child *child)
{
    siginfo_t info = {0};
    return waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid != 0;
}

/* A number that has been reaped meanwhile is an error, which ends the wait as well. */
void nxi_children_wait(const struct nxi_child *children, size_t count, int ear)
{
    const struct timespec nap = {.tv_sec = NAP_MS / 1000};
    struct kevent *changes = calloc(count + 1, sizeof(*changes)), event;
    int fd = changes ? kqueue() : -1;
    if (fd < 0) {
        nanosleep(&nap, NULL);
    } else {
        EV_SET(&changes[0], (uintptr_t)ear, EVFILT_READ, EV_ADD, 0, 0, 0);
        for (size_t i = 0; i < count; i++)
            EV_SET(&changes[i + 1], (uintptr_t)children[i].pid, EVFILT_PROC, EV_ADD, NOTE_EXIT, 0, 0);
        if (kevent(fd, changes, (int)count + 1, &event, 1, count > 0 ? NULL : &nap) == 1 && event.filter == EVFILT_READ)
            nxi_bell_hear(ear);
        close(fd);
    }
    free(changes);
}

/* Whether the descriptor has told of the end. Looks without taking. */
static bool was_told(const struct nxi_child *child)
{
    const struct timespec now = {0};
    struct kevent change, event;
    int fd = kqueue();
    if (fd < 0)
        return false;
    EV_SET(&change, (uintptr_t)child->fd, EVFILT_READ, EV_ADD, 0, 0, 0);
    int n = kevent(fd, &change, 1, &event, 1, &now);
    close(fd);
    return n == 1 && !(event.flags & EV_ERROR);
}

/* macOS tells of the end a moment before there is something to reap: that is waited for. */
int nxi_child_reap(const struct nxi_child *child, int *ret_status)
{
    int status;
    pid_t pid;
    do
        pid = waitpid(child->pid, &status, WNOHANG);
    while (pid < 0 && errno == EINTR);
    if (pid == 0 && was_told(child))
        do
            pid = waitpid(child->pid, &status, 0);
        while (pid < 0 && errno == EINTR);
    if (pid < 0)
        return -errno;
    if (pid == 0)
        return -EAGAIN;
    *ret_status = status;
    return 0;
}

int nxi_child_kill(const struct nxi_child *child, int signo)
{
    return kill(child->pid, signo) < 0 ? -errno : 0;
}

/* A kqueue is not inherited: its number is nothing here, or something else. */
void nxi_child_forget(const struct nxi_child *child)
{
    (void)child;
}

#endif
