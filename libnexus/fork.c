/*
 * fork.c: which worker this thread is, and what fork(2) does to that.
 *
 * A child of fork has one thread, a copy of the forking one, and none of the workers; the rings are not even mapped. So
 * the child handler clears the thread-local worker and raises a flag, and every call returns -NX_EFORKED from then on,
 * without a getpid(2) on any path that is hot. A child of a process that has no runtime at that moment is not affected:
 * its locks, mutexes and channels go on, unless a thread that stayed behind held one.
 */
#include "core.h"
#include <stdlib.h>
#include <unistd.h>

_Thread_local struct nxi_worker *nxi_this_worker NXI_THIS_WORKER;
static atomic_bool forked;
static pthread_once_t once = PTHREAD_ONCE_INIT;
atomic_uint nxi_runtime_count;

#ifndef NXI_SELF_INLINE
NXI_NOINLINE struct nxi_worker *nxi_self(void)
{
    struct nxi_worker *worker = nxi_this_worker;
    __asm__ volatile("" : "+r"(worker) : : "memory"); /* no caller may think that two calls give the same */
    return worker;
}
#endif

void nxi_self_set(struct nxi_worker *worker)
{
    nxi_this_worker = worker;
}

bool nxi_forked(void)
{
    return NXI_UNLIKELY(atomic_load_explicit(&forked, memory_order_relaxed));
}

int nxi_no_task(void)
{
    return nxi_forked() ? -NX_EFORKED : -NX_ENOTASK;
}

static void in_child(void)
{
    nxi_locks_forked();
    if (atomic_load(&nxi_runtime_count) == 0)
        return;
    nxi_this_worker = NULL;
    atomic_store(&forked, true);
    nxi_runtimes_forked();
}

static void watch(void)
{
    pthread_atfork(NULL, NULL, in_child);
}

void nxi_fork_watch(void)
{
    pthread_once(&once, watch);
}

void nxi_end_in_forked_child(void)
{
    static const char text[] = "nexus: a task of the parent ended in a fork(2)ed child: call exec or _exit there\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)ignored;
    abort();
}
