/*
 * lock.c: the lock of objects that tasks and plain threads share: channels, mutexes, events.
 *
 * A word, so that it fits into a struct with a static initialiser, needs no destroying, and costs one atomic operation
 * each way when nobody else is there. What it guards is short: no call that parks, blocks or allocates much, so a
 * waiter spins first. Then it sleeps, since the holder's thread may have been preempted.
 *
 * FREE ── lock (CAS, acquire) ──> HELD. A waiter that will sleep exchanges the word to CONTENDED (acquire); if that
 * returned FREE it has the lock, and leaves it marked, which costs one needless wake. Unlock exchanges to FREE
 * (release) and, if it took CONTENDED away, wakes. No wake is lost: sleepers look at the word under the bucket's
 * mutex, which the waker takes between its exchange and its signal.
 */
#include "core.h"
#include <sched.h>

#define FREE 0u
#define HELD 1u
#define CONTENDED 2u
#define SPINS 100
#define BUCKETS 64u

static struct bucket {
    pthread_mutex_t mutex;
    pthread_cond_t freed;
} buckets[BUCKETS] = {[0 ... BUCKETS - 1] = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER}};

static struct bucket *bucket_of(const uint32_t *lock)
{
    return &buckets[((uintptr_t)lock >> 4) % BUCKETS];
}

static void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

NXI_NOINLINE void nxi_lock_slow(uint32_t *lock)
{
    for (int i = 0; i < SPINS; i++) {
        uint32_t seen = __atomic_load_n(lock, __ATOMIC_RELAXED);
        if (seen == FREE && __atomic_compare_exchange_n(lock, &seen, HELD, true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return;
        if (seen == CONTENDED)
            break;
        pause_cpu();
    }
    struct bucket *bucket = bucket_of(lock);
    pthread_mutex_lock(&bucket->mutex);
    while (__atomic_exchange_n(lock, CONTENDED, __ATOMIC_ACQUIRE) != FREE)
        pthread_cond_wait(&bucket->freed, &bucket->mutex);
    pthread_mutex_unlock(&bucket->mutex);
}

NXI_NOINLINE void nxi_unlock_slow(const uint32_t *lock)
{
    struct bucket *bucket = bucket_of(lock); /* by address: the object may be gone already */
    pthread_mutex_lock(&bucket->mutex);
    pthread_cond_broadcast(&bucket->freed); /* others may sleep in this bucket for another lock */
    pthread_mutex_unlock(&bucket->mutex);
}
