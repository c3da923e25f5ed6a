/*
 * lock.c: the lock of objects that tasks and plain threads share: channels, mutexes, events.
 *
 * A word, so that it fits into a struct with a static initialiser and needs no destroying. What it guards is short: no
 * call that parks, blocks or allocates much, so a waiter spins first. Then it sleeps, since the holder's thread may
 * have been preempted.
 *
 * To take it is a compare-and-swap (acquire), to give it back a plain store (release), which saves half of what a lock
 * costs that nobody else wants. So whoever gives it back must see who sleeps, without a barrier between its store and
 * its look. The sleeper, who has time, has the barrier executed for it:
 *
 *   who gives it back                      who goes to sleep, under its bucket's mutex
 *     a  lock = 0 (release)                  1  sleepers++, of all and of the bucket
 *     b  look at sleepers                    2  membarrier(2): a full barrier on every running thread of the process
 *     c  if there are any: take the          3  compare-and-swap lock 0 → 1: has it, or
 *        bucket's mutex, broadcast           4  sleeps on the bucket's condition, and then 3 again
 *
 * Let B be the moment at which the thread of a and b executed the barrier of 2 (if it was not running, the switch to
 * or from it was one). If a comes before B, 3 sees it. Else b comes after B too, and sees 1: then c either waits for
 * the mutex until the sleeper is in 4, or comes before 3, which sees a. The counts stay up until the sleeper has the
 * lock, so one barrier does for all its sleeps. tests/spin/lock.pml has the proof and what breaks without each.
 *
 * Where there is no membarrier (an old kernel, another system, a seccomp filter) the sleeper naps, and looks again.
 *
 * The counts are not in the lock's object, which may be gone after a: its next holder may have freed it.
 */
#include "core.h"
#include <errno.h>
#include <time.h>
#ifdef __linux__
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

#define SPINS 100
#define BUCKETS 64u
#define NAP_NS 50000

static struct bucket {
    _Alignas(64) pthread_mutex_t mutex;
    pthread_cond_t freed;
    uint32_t sleepers; /* written under mutex; read as it is */
} buckets[BUCKETS] = {[0 ... BUCKETS - 1] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0}};

struct nxi_sleepers nxi_sleepers; /* of all buckets */

static struct bucket *bucket_of(const uint32_t *lock)
{
    return &buckets[((uintptr_t)lock >> 4) % BUCKETS];
}

bool nxi_barrier_everywhere(void)
{
#if defined(__linux__) && defined(SYS_membarrier)
    int saved = errno;
    long error = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    if (error < 0 && errno == EPERM && /* the process has not registered */
        syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) == 0)
        error = syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
    errno = saved;
    return error == 0;
#else
    return false;
#endif
}

void nxi_relax(uint32_t *inout_turns)
{
    const struct timespec nap = {.tv_nsec = NAP_NS};
    if (++*inout_turns > SPINS) {
        nanosleep(&nap, NULL);
        return;
    }
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool try_lock(uint32_t *lock)
{
    uint32_t unlocked = 0;
    return __atomic_load_n(lock, __ATOMIC_RELAXED) == 0 &&
           __atomic_compare_exchange_n(lock, &unlocked, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static void count_sleeper(struct bucket *bucket, uint32_t more)
{
    __atomic_fetch_add(&bucket->sleepers, more, __ATOMIC_SEQ_CST);
    __atomic_fetch_add(&nxi_sleepers.count, more, __ATOMIC_SEQ_CST);
}

void nxi_locks_forked(void)
{
    for (size_t i = 0; i < BUCKETS; i++)
        buckets[i] = (struct bucket){PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    nxi_sleepers.count = 0;
}

static void sleep_for(uint32_t *lock)
{
    struct bucket *bucket = bucket_of(lock);
    nxi_fork_watch();
    pthread_mutex_lock(&bucket->mutex);
    count_sleeper(bucket, 1);
    bool told = nxi_barrier_everywhere();
    while (!try_lock(lock)) { /* ends: holders are short */
        if (told) {
            pthread_cond_wait(&bucket->freed, &bucket->mutex);
            continue;
        }
        uint32_t turns = SPINS;
        pthread_mutex_unlock(&bucket->mutex);
        nxi_relax(&turns);
        pthread_mutex_lock(&bucket->mutex);
    }
    count_sleeper(bucket, UINT32_MAX);
    pthread_mutex_unlock(&bucket->mutex);
}

NXI_NOINLINE void nxi_lock_slow(uint32_t *lock)
{
    for (uint32_t turns = 0; turns < SPINS;) {
        if (try_lock(lock))
            return;
        nxi_relax(&turns);
    }
    sleep_for(lock);
}

NXI_NOINLINE void nxi_unlock_slow(const uint32_t *lock)
{
    struct bucket *bucket = bucket_of(lock); /* by address: the object may be gone already */
    if (__atomic_load_n(&bucket->sleepers, __ATOMIC_RELAXED) == 0)
        return;
    pthread_mutex_lock(&bucket->mutex);
    pthread_cond_broadcast(&bucket->freed); /* others may sleep in this bucket for another lock */
    pthread_mutex_unlock(&bucket->mutex);
}
