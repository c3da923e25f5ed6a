/*
 * reaper.c: a thread that waits for the children that were closed while they ran.
 *
 * There is one, of the process and not of a runtime, while there are such children. What it waits for is a copy of the
 * table, made under the lock; a bell tells it of a new one. It ends itself under the lock when the table is empty,
 * so whoever adds one either finds it at work or starts it anew.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "reaper.h"
#include "core.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct nxi_child *orphans;
static size_t orphan_count, orphan_room;
static struct nxi_bell bell = {-1, -1}; /* the thread's, while there is one */
static pid_t owner;                     /* of the thread: a forked child has inherited all of this but for the thread */

/* The lock is held. */
static int add(const struct nxi_child *child)
{
    if (orphan_count == orphan_room) {
        size_t room = orphan_room > 0 ? 2 * orphan_room : 16;
        struct nxi_child *bigger = realloc(orphans, room * sizeof(*orphans));
        if (!bigger)
            return -ENOMEM;
        orphans = bigger;
        orphan_room = room;
    }
    orphans[orphan_count++] = *child;
    return 0;
}

/* Reaps those that have ended. The lock is held. */
static void sweep(void)
{
    for (size_t i = orphan_count; i-- > 0;) {
        int status;
        if (nxi_child_reap(&orphans[i], &status) == -EAGAIN)
            continue;
        close(orphans[i].fd);
        orphans[i] = orphans[--orphan_count];
    }
}

static void *reaper_main(void *arg)
{
    (void)arg;
    nxi_os_thread_name("nexus-reaper");
    pthread_mutex_lock(&lock);
    for (sweep(); orphan_count > 0; sweep()) {
        size_t count = orphan_count;
        struct nxi_child *children = malloc(count * sizeof(*children));
        if (children)
            memcpy(children, orphans, count * sizeof(*children));
        int ear = bell.ear;
        pthread_mutex_unlock(&lock);
        nxi_children_wait(children, children ? count : 0, ear);
        free(children);
        pthread_mutex_lock(&lock);
    }
    nxi_bell_close(&bell);
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
    int error = nxi_bell_open(&bell, true);
    if (error < 0)
        return error;
    owner = getpid();
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    error = -pthread_create(&thread, &attributes, reaper_main, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    if (error < 0)
        nxi_bell_close(&bell);
    return error;
}

/* The parent's thread and children: they are not ours. The lock is held. */
static void forget_parents(void)
{
    if (bell.ear < 0 || owner == getpid())
        return;
    while (orphan_count > 0)
        nxi_child_forget(&orphans[--orphan_count]);
    nxi_bell_close(&bell);
}

/* Without memory, a thread or a descriptor for it the child waits in the table, if it got there, for the next try. */
void nxi_reap_later(const struct nxi_child *child)
{
    pthread_mutex_lock(&lock);
    forget_parents();
    if (add(child) < 0)
        close(child->fd);
    else if (bell.ear < 0)
        start();
    else
        nxi_bell_ring(bell.rope);
    pthread_mutex_unlock(&lock);
}
