/*
 * reaper.c: a thread that waits for the children that were closed while they ran.
 *
 * There is one, of the process and not of a runtime, while there are such children. What it polls is a copy of the
 * table, made under the lock; an eventfd tells it of a new one. It ends itself under the lock when the table is empty,
 * so whoever adds one either finds it at work or starts it anew.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "reaper.h"
#include "core.h"
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int *orphans; /* pidfds */
static size_t orphan_count, orphan_room;
static int bell = -1; /* the thread's, while there is one */
static pid_t owner;   /* of the thread: a forked child has inherited all of this but for the thread */

/* The lock is held. */
static int add(int pidfd)
{
    if (orphan_count == orphan_room) {
        size_t room = orphan_room > 0 ? 2 * orphan_room : 16;
        int *bigger = realloc(orphans, room * sizeof(*orphans));
        if (!bigger)
            return -ENOMEM;
        orphans = bigger;
        orphan_room = room;
    }
    orphans[orphan_count++] = pidfd;
    return 0;
}

/* Reaps those that have ended. The lock is held. */
static void sweep(void)
{
    for (size_t i = orphan_count; i-- > 0;) {
        int status;
        if (nxi_reap(orphans[i], &status) == -EAGAIN)
            continue;
        close(orphans[i]);
        orphans[i] = orphans[--orphan_count];
    }
}

/* What to poll: the bell and each of them. NULL: no memory. The lock is held. */
static struct pollfd *list(nfds_t *ret_count)
{
    struct pollfd *polls = calloc(orphan_count + 1, sizeof(*polls));
    if (!polls)
        return NULL;
    polls[0] = (struct pollfd){.fd = bell, .events = POLLIN};
    for (size_t i = 0; i < orphan_count; i++)
        polls[i + 1] = (struct pollfd){.fd = orphans[i], .events = POLLIN};
    *ret_count = orphan_count + 1;
    return polls;
}

static void *reaper_main(void *arg)
{
    (void)arg;
    pthread_setname_np(pthread_self(), "nexus-reaper");
    pthread_mutex_lock(&lock);
    for (sweep(); orphan_count > 0; sweep()) {
        nfds_t count = 0;
        uint64_t rung;
        struct pollfd *polls = list(&count);
        pthread_mutex_unlock(&lock);
        poll(polls, count, polls ? -1 : 1000);
        if (polls && polls[0].revents) {
            ssize_t ignored = read(polls[0].fd, &rung, sizeof(rung));
            (void)ignored;
        }
        free(polls);
        pthread_mutex_lock(&lock);
    }
    close(bell);
    bell = -1;
    free(orphans);
    orphans = NULL;
    orphan_room = 0;
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* The lock is held. */
static int start(void)
{
    pthread_t thread;
    pthread_attr_t attributes;
    sigset_t all, old;
    bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (bell < 0)
        return -errno;
    owner = getpid();
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = -pthread_create(&thread, &attributes, reaper_main, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    if (error < 0) {
        close(bell);
        bell = -1;
    }
    return error;
}

/* The parent's thread and children: they are not ours. The lock is held. */
static void forget_parents(void)
{
    if (bell < 0 || owner == getpid())
        return;
    while (orphan_count > 0)
        close(orphans[--orphan_count]);
    close(bell);
    bell = -1;
}

/* Without memory, a thread or a descriptor for it the child waits in the table, if it got there, for the next try. */
void nxi_reap_later(int pidfd)
{
    const uint64_t one = 1;
    pthread_mutex_lock(&lock);
    forget_parents();
    if (add(pidfd) < 0) {
        close(pidfd);
    } else if (bell < 0) {
        start();
    } else {
        ssize_t ignored = write(bell, &one, sizeof(one));
        (void)ignored;
    }
    pthread_mutex_unlock(&lock);
}
