/* help.c: waiting, time, threads. */
#include "nxt.h"
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define EAGER_TURNS 32 /* a condition about to come true is seen soon */
#define NAP_NS 100000  /* and one that isn't leaves the cpu to those who make it true */

void nxt_pause(unsigned turn)
{
    if (nx_self() > 0) {
        if (turn < EAGER_TURNS || nx_sleep_until(nx_after_ns(NAP_NS)) < 0)
            nx_yield();
    } else if (turn < EAGER_TURNS) {
        sched_yield();
    } else {
        nanosleep(&(struct timespec){.tv_nsec = NAP_NS}, NULL);
    }
}

static int64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

nx_time nxt_clock(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

int64_t nxt_cpu_time(void)
{
    return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

void nxt_expect_idle(int (*sleep)(int64_t ms), int64_t ms, int64_t limit)
{
    int64_t used = INT64_MAX;
    limit *= NXT_ASAN || NXT_TSAN ? 10 : 1;
    for (int tries = 0; used >= limit && tries < 3; tries++) {
        int64_t before = nxt_cpu_time();
        sleep(ms);
        used = nxt_cpu_time() - before;
    }
    nxt_expect_lt(used, limit);
}

void nxt_burn(int64_t ns)
{
    for (nx_time end = nxt_clock() + ns; nxt_clock() < end;)
        ;
}

/* Not inlined: a task that may move must ask anew each time. */
__attribute__((noinline)) int nxt_thread_id(void)
{
    return (int)syscall(SYS_gettid);
}

uint64_t nxt_random(uint64_t *seed) /* splitmix64 */
{
    uint64_t value = *seed += UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

/* ---- threads ---- */

struct nxt_thread {
    pthread_t thread;
    intptr_t (*fn)(void *arg);
    void *arg;
    intptr_t result;
    atomic_bool ended;
};

static void *thread_main(void *arg)
{
    struct nxt_thread *thread = arg;
    thread->result = thread->fn(thread->arg);
    atomic_store(&thread->ended, true);
    return NULL;
}

struct nxt_thread *nxt_thread_start(intptr_t (*fn)(void *arg), void *arg)
{
    struct nxt_thread *thread = calloc(1, sizeof(*thread));
    if (!thread)
        abort();
    thread->fn = fn;
    thread->arg = arg;
    int error = pthread_create(&thread->thread, NULL, thread_main, thread);
    if (error == 0)
        return thread;
    nxt_fail(__FILE__, __LINE__, "can't start a thread: %s", strerror(error));
    free(thread);
    return NULL;
}

bool nxt_thread_ended(const struct nxt_thread *thread)
{
    return atomic_load(&thread->ended);
}

intptr_t nxt_thread_join(struct nxt_thread *thread)
{
    pthread_join(thread->thread, NULL);
    intptr_t result = thread->result;
    free(thread);
    return result;
}

intptr_t nxt_thread_await(struct nxt_thread *thread)
{
    nxt_await(nxt_thread_ended(thread));
    return nxt_thread_join(thread);
}
