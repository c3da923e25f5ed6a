/* servers.h: what the servers of this folder share: the address line, and the end by SIGTERM. */
#ifndef NX_TESTS_SHOW_SERVERS_H
#define NX_TESTS_SHOW_SERVERS_H

#include <nexus/nexus.h>
#include <signal.h>
#include <stdio.h>

static inline void show_announce(const nx_addr *addr, void *arg)
{
    char text[128];
    (void)arg;
    nx_addr_format(addr, text, sizeof text);
    printf("listening on %s\n", text);
    fflush(stdout);
}

static inline sigset_t show_term(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    return set;
}

/* A task: cancels the task whose id it is given at SIGTERM. */
static inline intptr_t show_stop_on_term(void *server)
{
    sigset_t set = show_term();
    int signo;
    if (nx_signal_wait(&set, &signo, NX_FOREVER) == 0)
        nx_cancel((nx_task)server);
    return 0;
}

/* From here on SIGTERM cancels the calling task. Before the address is announced, so that no signal comes too early. */
static inline int show_stoppable(void)
{
    sigset_t set = show_term();
    int signo;
    nx_signal_wait(&set, &signo, NX_POLL);
    return nx_go(show_stop_on_term, (void *)nx_self());
}

static inline intptr_t show_echo(nx_stream *stream)
{
    char buf[4096];
    ssize_t n;
    while ((n = nx_read(stream, buf, sizeof buf, NX_FOREVER)) > 0 && nx_write(stream, buf, (size_t)n, NX_FOREVER) == n)
        ;
    return 0;
}

#endif
