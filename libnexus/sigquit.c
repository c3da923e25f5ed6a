/*
 * sigquit.c: SIGQUIT writes a dump to stderr.
 *
 * The handler only rings a bell; a thread that waits for it writes the dump. So nothing of the dump has to be
 * async-signal-safe, and no worker needs to be alive. The bell is closed when no handler can be about to write to
 * it: the handler counts itself in before it reads the descriptor, and remove takes the descriptor away before it
 * waits for the count to be zero (all seq_cst).
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "core.h"
#include "dump.h"
#include "os.h"
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

static _Atomic int rope; /* the bell's + 1; 0: none */
static _Atomic int handlers;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for the rest */
static unsigned installed;
static struct sigaction previous;
static struct nxi_bell bell;
static pthread_t thread;
static atomic_bool ending;

static void handle(int signo)
{
    int saved_errno = errno;
    if (nxi_forked()) { /* the child has no thread that would write */
        sigaction(signo, &previous, NULL);
        raise(signo);
        errno = saved_errno;
        return;
    }
    atomic_fetch_add(&handlers, 1);
    int fd = atomic_load(&rope) - 1;
    if (fd >= 0)
        nxi_bell_ring(fd);
    atomic_fetch_sub(&handlers, 1);
    errno = saved_errno;
}

static void *dump_main(void *arg)
{
    const int ear = *(int *)arg;
    nxi_free(arg, sizeof(int));
    nxi_os_thread_name("nexus-dump");
    for (;;) { /* ends: remove rings after it has set ending */
        bool rung = nxi_bell_hear(ear);
        if (atomic_load(&ending))
            return NULL;
        if (rung)
            nxi_dump(STDERR_FILENO, &ending); /* a stderr that takes nothing holds up no runtime's end */
    }
}

/* With all signals blocked: handlers belong to the program's threads. */
static int start_thread(void)
{
    sigset_t all, old;
    int *arg = nxi_alloc(sizeof(*arg));
    if (!arg)
        return -ENOMEM;
    *arg = bell.ear;
    atomic_store(&ending, false);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = -pthread_create(&thread, NULL, dump_main, arg);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error < 0)
        nxi_free(arg, sizeof(*arg));
    return error;
}

static void stop_thread(void)
{
    atomic_store(&ending, true);
    nxi_bell_ring(bell.rope);
    pthread_join(thread, NULL);
}

/* The lock is held. */
static int install(void)
{
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART | SA_ONSTACK};
    int error = nxi_bell_open(&bell, false);
    if (error < 0)
        return error;
    error = start_thread();
    if (error == 0) {
        atomic_store(&rope, bell.rope + 1);
        sigfillset(&action.sa_mask);
        if (sigaction(SIGQUIT, &action, &previous) == 0)
            return 0;
        error = -errno;
        atomic_store(&rope, 0);
        stop_thread();
    }
    nxi_bell_close(&bell);
    return error;
}

int nxi_sigquit_install(void)
{
    pthread_mutex_lock(&lock);
    int error = installed == 0 ? install() : 0;
    installed += error == 0;
    pthread_mutex_unlock(&lock);
    return error;
}

void nxi_sigquit_remove(void)
{
    struct sigaction now;
    pthread_mutex_lock(&lock);
    if (--installed == 0) {
        /* Another library may have put its handler over ours: that stays. */
        if (sigaction(SIGQUIT, NULL, &now) == 0 && now.sa_handler == handle)
            sigaction(SIGQUIT, &previous, NULL);
        atomic_store(&rope, 0);
        while (atomic_load(&handlers) > 0) /* ends: each is a few instructions */
            sched_yield();
        stop_thread();
        nxi_bell_close(&bell);
    }
    pthread_mutex_unlock(&lock);
}
