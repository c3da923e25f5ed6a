/*
 * os_spawn.c: starts a program.
 *
 * By posix_spawn(3) where that can do all that is wanted (glibc, macOS): the child borrows our memory, or the kernel
 * makes the process as a whole, so nothing is copied. Elsewhere by fork and exec, and a pipe that exec closes or that
 * carries the error. Not by vfork, though that copies no page tables: the child would reset signal handlers where the
 * parent's C library keeps its own list of them (FreeBSD's), and change the environment under the parent's other threads.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#if defined(POSIX_SPAWN_SETSID)

/* A directory that can't be entered is found by the child after it has begun, as a program that isn't there is. */
static int add_actions(posix_spawn_file_actions_t *actions, const struct nxi_spawn *what)
{
    int error = 0;
    for (int i = 0; i < 3 && error == 0; i++)
        if (what->stdio[i] >= 0)
            error = posix_spawn_file_actions_adddup2(actions, what->stdio[i], i);
    if (error == 0 && what->err_as_out)
        error = posix_spawn_file_actions_adddup2(actions, 1, 2);
#ifdef __APPLE__
    for (int i = 0; i < 3 && error == 0; i++) /* POSIX_SPAWN_CLOEXEC_DEFAULT closes all but what is named */
        if (what->stdio[i] < 0 && !(i == 2 && what->err_as_out) && fcntl(i, F_GETFD) >= 0)
            error = posix_spawn_file_actions_addinherit_np(actions, i);
#else
    if (error == 0)
        error = posix_spawn_file_actions_addclosefrom_np(actions, 3);
#endif
    if (error == 0 && what->cwd)
        error = posix_spawn_file_actions_addchdir_np(actions, what->cwd);
    return -error;
}

static int set_attributes(posix_spawnattr_t *attributes, const struct nxi_spawn *what)
{
    sigset_t none, all;
    int flags = POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK;
#ifdef __APPLE__
    flags |= POSIX_SPAWN_CLOEXEC_DEFAULT;
#endif
    if (what->new_session)
        flags |= POSIX_SPAWN_SETSID;
    sigemptyset(&none);
    sigfillset(&all);
#ifdef __APPLE__
    sigdelset(&all, SIGKILL); /* it takes a set with these for an error */
    sigdelset(&all, SIGSTOP);
#endif
    int error = posix_spawnattr_setflags(attributes, (short)flags);
    if (error == 0)
        error = posix_spawnattr_setsigdefault(attributes, &all);
    if (error == 0)
        error = posix_spawnattr_setsigmask(attributes, &none);
    return -error;
}

int nxi_os_spawn(const struct nxi_spawn *what, pid_t *ret_pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int error = -posix_spawn_file_actions_init(&actions);
    if (error < 0)
        return error;
    error = -posix_spawnattr_init(&attributes);
    if (error == 0) {
        error = add_actions(&actions, what);
        if (error == 0)
            error = set_attributes(&attributes, what);
        if (error == 0)
            error = -posix_spawnp(ret_pid, what->argv[0], &actions, &attributes, (char *const *)(uintptr_t)what->argv,
                                  what->envp ? (char *const *)(uintptr_t)what->envp : environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

#else

/* In the child: ends by exec or _exit. */
static _Noreturn void become(const struct nxi_spawn *what, int report)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t none;
    int error;
    sigemptyset(&action.sa_mask);
    for (int signo = 1; signo < NSIG; signo++)
        sigaction(signo, &action, NULL);
    if (what->new_session)
        setsid();
    for (int i = 0; i < 3; i++)
        if (what->stdio[i] >= 0 && dup2(what->stdio[i], i) < 0)
            goto fail;
    if (what->err_as_out && dup2(1, 2) < 0)
        goto fail;
    if (report != 3 && dup2(report, 3) < 0)
        goto fail;
    report = 3;
    if (fcntl(report, F_SETFD, FD_CLOEXEC) < 0 || (what->cwd && chdir(what->cwd) < 0))
        goto fail;
    closefrom(4);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (what->envp)
        environ = (char **)(uintptr_t)what->envp;
    execvp(what->argv[0], (char *const *)(uintptr_t)what->argv);
fail:
    error = errno;
    if (write(report, &error, sizeof(error)) < 0)
        _exit(127);
    _exit(127);
}

/* No handler of ours runs in the child: all signals are blocked until exec. */
int nxi_os_spawn(const struct nxi_spawn *what, pid_t *ret_pid)
{
    sigset_t all, old;
    int ends[2], error = nxi_os_pipe(ends, false);
    if (error < 0)
        return error;
    if (ends[1] < 3) { /* the child puts 0, 1 and 2 in place first */
        int above = fcntl(ends[1], F_DUPFD_CLOEXEC, 3);
        error = above < 0 ? -errno : 0;
        close(ends[1]);
        ends[1] = above;
    }
    if (error == 0) {
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        pid_t pid = fork();
        if (pid == 0)
            become(what, ends[1]);
        error = pid < 0 ? -errno : 0;
        pthread_sigmask(SIG_SETMASK, &old, NULL);
        close(ends[1]);
        int child_error = 0;
        ssize_t n = -1;
        while (error == 0 && (n = read(ends[0], &child_error, sizeof(child_error))) < 0 && errno == EINTR)
            ;
        if (n == (ssize_t)sizeof(child_error)) {
            while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
            error = -child_error;
        }
        if (error == 0)
            *ret_pid = pid;
    }
    close(ends[0]);
    return error;
}

#endif
