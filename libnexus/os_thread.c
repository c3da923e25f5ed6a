/* os_thread.c: threads: their names and stacks, conditions that go by the monotonic clock, and sleeping by those. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* pthread_setname_np, pthread_getattr_np */
#endif
#include "core.h"
#include "os.h"
#include "sleeper.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/auxv.h>
#include <sys/prctl.h>
#elif defined(__FreeBSD__) || defined(__OpenBSD__)
#include <pthread_np.h>
#endif

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

void nxi_os_thread_name(const char *name)
{
#if defined(__linux__)
    char kept[16]; /* of a longer one the kernel takes nothing */
    snprintf(kept, sizeof(kept), "%s", name);
    pthread_setname_np(pthread_self(), kept);
#elif defined(__APPLE__)
    pthread_setname_np(name);
#elif defined(__NetBSD__)
    pthread_setname_np(pthread_self(), "%s", (void *)(uintptr_t)name);
#else
    pthread_set_name_np(pthread_self(), name);
#endif
}

void nxi_os_thread_exact_timers(void)
{
#ifdef __linux__
    prctl(PR_SET_TIMERSLACK, 1UL); /* else every sleep is 50 us late */
#endif
}

void nxi_os_thread_stack(void **ret_low, size_t *ret_size)
{
    *ret_low = NULL;
    *ret_size = 0;
#if defined(__APPLE__)
    *ret_size = pthread_get_stacksize_np(pthread_self());
    *ret_low = (char *)pthread_get_stackaddr_np(pthread_self()) - *ret_size;
#elif defined(__OpenBSD__)
    stack_t stack;
    if (pthread_stackseg_np(pthread_self(), &stack) == 0) {
        *ret_size = stack.ss_size;
        *ret_low = (char *)stack.ss_sp - stack.ss_size; /* it has the upper end */
    }
#else
    pthread_attr_t attributes;
    void *low;
#ifdef __FreeBSD__
    if (pthread_attr_init(&attributes) != 0)
        return;
    if (pthread_attr_get_np(pthread_self(), &attributes) == 0 &&
#else
    if (pthread_getattr_np(pthread_self(), &attributes) != 0)
        return;
    if (
#endif
        pthread_attr_getstack(&attributes, &low, ret_size) == 0)
        *ret_low = low;
    pthread_attr_destroy(&attributes);
#endif
}

size_t nxi_os_signal_frame_size(void)
{
#if defined(__linux__)
    return (size_t)getauxval(AT_MINSIGSTKSZ);
#elif defined(_SC_MINSIGSTKSZ)
    long size = sysconf(_SC_MINSIGSTKSZ);
    return size > 0 ? (size_t)size : (size_t)MINSIGSTKSZ;
#else
    return (size_t)MINSIGSTKSZ;
#endif
}

/* ---- conditions ---- */

#ifdef __APPLE__

int nxi_os_cond_init(pthread_cond_t *cond)
{
    return -pthread_cond_init(cond, NULL);
}

/* There conditions know the time of day alone, which somebody may set; or how long to wait. */
int nxi_os_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, nx_time deadline)
{
    nx_time left = deadline - nxi_clock();
    if (left <= 0)
        return ETIMEDOUT;
    struct timespec time = {.tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000)};
    return pthread_cond_timedwait_relative_np(cond, mutex, &time);
}

#else

int nxi_os_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    int error = -pthread_condattr_init(&attributes);
    if (error < 0)
        return error;
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    error = -pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
    return error;
}

int nxi_os_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, nx_time deadline)
{
    struct timespec time = {.tv_sec = (time_t)(deadline / 1000000000), .tv_nsec = (long)(deadline % 1000000000)};
    return pthread_cond_timedwait(cond, mutex, &time);
}

#endif

/* ---- sleepers ---- */

#ifndef __linux__
#define SLEEP_MAX_NS INT64_C(86400000000000) /* some systems refuse a time that is too far away */

static pthread_mutex_t sleepers_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t sleepers_bell;
static pthread_once_t sleepers_once = PTHREAD_ONCE_INIT;

static void hang_bell(void)
{
    nxi_os_cond_init(&sleepers_bell);
}

void nxi_sleeper_ring(struct nxi_sleeper *sleeper)
{
    (void)sleeper;
    pthread_once(&sleepers_once, hang_bell);
    pthread_mutex_lock(&sleepers_lock);
    pthread_cond_broadcast(&sleepers_bell);
    pthread_mutex_unlock(&sleepers_lock);
}

/* Who waits looks again whenever it returns 0. */
int nxi_sleeper_wait(struct nxi_sleeper *sleeper, const struct timespec *until)
{
    nx_time now = nxi_clock(), deadline = until->tv_sec * INT64_C(1000000000) + until->tv_nsec;
    if (deadline <= now)
        return ETIMEDOUT;
    pthread_once(&sleepers_once, hang_bell);
    pthread_mutex_lock(&sleepers_lock);
    if (atomic_load(&sleeper->word) == NXI_SLEEPER_ASLEEP)
        nxi_os_cond_wait_until(&sleepers_bell, &sleepers_lock,
                               deadline - now < SLEEP_MAX_NS ? deadline : now + SLEEP_MAX_NS);
    pthread_mutex_unlock(&sleepers_lock);
    return 0;
}

#endif
