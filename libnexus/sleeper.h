/*
 * sleeper.h: one thread sleeps, another wakes it: a word and, on Linux, a futex.
 *
 *   the sleeper   reset, under the lock where wakers find it; then, without it, sleep: CAS AWAKE → ASLEEP, and the
 *                 kernel sleeps only while the word is ASLEEP
 *   the waker     wake: exchange → WOKEN, once; if that took ASLEEP away, ring
 *
 * No wake is lost: the CAS fails after the exchange, and before it the exchange sees ASLEEP. A sleeper that is still on
 * its way costs its waker no system call. A condition variable takes one more each time: what it gives the mutex back
 * as is marked contended, so that the next unlock asks the kernel to wake nobody. A ring that comes late, when the word
 * has another sleep, is a wake for no reason: that sleep looks at the word and goes on.
 */
#ifndef NXI_SLEEPER_H
#define NXI_SLEEPER_H

#include <errno.h>
#include <nexus/base.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#ifdef __linux__
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

enum { NXI_SLEEPER_AWAKE, NXI_SLEEPER_ASLEEP, NXI_SLEEPER_WOKEN };

struct nxi_sleeper { /* all zeros; stays where it is while others may ring */
    _Atomic uint32_t word;
};

static inline void nxi_sleeper_reset(struct nxi_sleeper *sleeper)
{
    atomic_store(&sleeper->word, NXI_SLEEPER_AWAKE);
}

static inline bool nxi_sleeper_woken(struct nxi_sleeper *sleeper)
{
    return atomic_load(&sleeper->word) == NXI_SLEEPER_WOKEN;
}

/* True: it sleeps, and the caller rings, which needs no lock. */
static inline bool nxi_sleeper_wake(struct nxi_sleeper *sleeper)
{
    return atomic_exchange(&sleeper->word, NXI_SLEEPER_WOKEN) == NXI_SLEEPER_ASLEEP;
}

#ifdef __linux__
static inline void nxi_sleeper_ring(struct nxi_sleeper *sleeper)
{
    syscall(SYS_futex, &sleeper->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/* Until woken, or that time: 0 or ETIMEDOUT, or another error that is for good. */
static inline int nxi_sleeper_wait(struct nxi_sleeper *sleeper, const struct timespec *until)
{
    long r = syscall(SYS_futex, &sleeper->word, FUTEX_WAIT_BITSET_PRIVATE, NXI_SLEEPER_ASLEEP, until, NULL,
                     FUTEX_BITSET_MATCH_ANY);
    return r == 0 || errno == EAGAIN || errno == EINTR ? 0 : errno;
}
#else
/* os_thread.c: one lock and one bell for all: who is not meant looks and sleeps again. */
void nxi_sleeper_ring(struct nxi_sleeper *sleeper);
int nxi_sleeper_wait(struct nxi_sleeper *sleeper, const struct timespec *until);
#endif

/* ---- any word: nexus/host.h's sleep and rouse ---- */

#ifdef __linux__
static inline void nxi_word_sleep(uint32_t *word, uint32_t value, nx_time until)
{
    struct timespec time = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, until == NX_FOREVER ? NULL : &time, NULL,
            FUTEX_BITSET_MATCH_ANY);
    errno = saved;
}

static inline void nxi_word_rouse(uint32_t *word)
{
    int saved = errno;
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
    errno = saved;
}
#else
#define NXI_WORD_NAP_NS 1000000 /* a rouse may come in a signal handler, where no lock may be taken: it is looked for */

static inline void nxi_word_sleep(uint32_t *word, uint32_t value, nx_time until)
{
    struct timespec now, nap = {.tv_nsec = NXI_WORD_NAP_NS};
    clock_gettime(CLOCK_MONOTONIC, &now);
    int64_t left = until - ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
    if (left < NXI_WORD_NAP_NS)
        nap.tv_nsec = left > 0 ? (long)left : 0;
    if (__atomic_load_n(word, __ATOMIC_SEQ_CST) == value)
        nanosleep(&nap, NULL);
}

static inline void nxi_word_rouse(uint32_t *word)
{
    (void)word;
}
#endif

/* By the clock CLOCK_MONOTONIC. Whether it has been woken is nxi_sleeper_woken's to say, under the lock. */
static inline void nxi_sleeper_sleep(struct nxi_sleeper *sleeper, nx_time until)
{
    uint32_t awake = NXI_SLEEPER_AWAKE;
    struct timespec time = {.tv_sec = (time_t)(until / 1000000000), .tv_nsec = (long)(until % 1000000000)};
    if (!atomic_compare_exchange_strong(&sleeper->word, &awake, NXI_SLEEPER_ASLEEP))
        return;
    while (atomic_load(&sleeper->word) == NXI_SLEEPER_ASLEEP && nxi_sleeper_wait(sleeper, &time) == 0)
        ;
}

#endif
