/*
 * nexus/sync.h: mutex, rwlock, condition, semaphore, event, wait group, barrier, once.
 *
 * For tasks of all runtimes and plain threads alike: a task that waits parks, a thread blocks. Every wait can be
 * cancelled and takes a deadline: [parks] [threads]; an error other than -EDEADLK, -EPERM, -EINVAL and -EOVERFLOW means
 * that nothing was taken. Waiters are served in order, so none starves; a mutex may go once to who runs already before
 * its woken waiter has it.
 *
 * Each is a plain struct: static with its initialiser, or a member of yours set to it; no destroying. It must not move
 * or go while somebody uses it. All zeros is the initialiser where that takes no number. The fields are private. What a
 * task holds when it ends or panics stays held: nx_defer gives it back.
 */
#ifndef NEXUS_SYNC_H
#define NEXUS_SYNC_H

#include <nexus/base.h>

NX_BEGIN_DECLS

struct nx_waiters_ {
    void *first, *last;
};

/* ---- mutex ---- */

typedef struct nx_mutex {
    uint32_t lock, state;
    struct nx_waiters_ waiters;
    int64_t owner; /* task id, or a thread's, to tell misuse */
} nx_mutex;
#define NX_MUTEX_INIT                                                                                                  \
    {                                                                                                                  \
        0, 0, {NULL, NULL}, 0                                                                                          \
    }
/* -EDEADLK: the caller has it already. Not recursive. [parks] [threads] */
NX_API int nx_mutex_lock(nx_mutex *mutex, nx_time deadline);
/* -EPERM: the caller does not have it. */
NX_API int nx_mutex_unlock(nx_mutex *mutex);

/* ---- rwlock: many readers or one writer; a waiting writer goes before readers that come after it ---- */

typedef struct nx_rwlock {
    uint32_t lock, readers;
    struct nx_waiters_ waiters;
    int64_t writer;
} nx_rwlock;
#define NX_RWLOCK_INIT                                                                                                 \
    {                                                                                                                  \
        0, 0, {NULL, NULL}, 0                                                                                          \
    }
NX_API int nx_rwlock_rdlock(nx_rwlock *rwlock, nx_time deadline);
NX_API int nx_rwlock_wrlock(nx_rwlock *rwlock, nx_time deadline);
/* Of a reader or the writer. -EPERM: not locked, or by another writer. */
NX_API int nx_rwlock_unlock(nx_rwlock *rwlock);

/* ---- condition ---- */

typedef struct nx_cond {
    uint32_t lock, reserved;
    struct nx_waiters_ waiters;
} nx_cond;
#define NX_COND_INIT                                                                                                   \
    {                                                                                                                  \
        0, 0,                                                                                                          \
        {                                                                                                              \
            NULL, NULL                                                                                                 \
        }                                                                                                              \
    }
/* Gives mutex up, waits for a signal, and has mutex again when it returns, whatever it returns: to lock it again it
 * waits, if need be, past deadline and cancel. Never wakes without a signal. -EPERM: mutex is not the caller's. */
NX_API int nx_cond_wait(nx_cond *cond, nx_mutex *mutex, nx_time deadline);
NX_API void nx_cond_signal(nx_cond *cond);    /* the longest waiting one */
NX_API void nx_cond_broadcast(nx_cond *cond); /* all */

/* ---- semaphore, weighted ---- */

typedef struct nx_sem {
    uint32_t lock, reserved;
    uint64_t count;
    struct nx_waiters_ waiters;
} nx_sem;
#define NX_SEM_INIT(count)                                                                                             \
    {                                                                                                                  \
        0, 0, (count),                                                                                                 \
        {                                                                                                              \
            NULL, NULL                                                                                                 \
        }                                                                                                              \
    }
/* Takes n at once; who asks for much is not overtaken by those who ask for little later. n 0: returns 0. */
NX_API int nx_sem_acquire(nx_sem *sem, uint32_t n, nx_time deadline);
/* Gives n back, or more than there were at first. -EOVERFLOW. Never waits. */
NX_API int nx_sem_release(nx_sem *sem, uint32_t n);

/* ---- event ---- */

typedef struct nx_event {
    uint32_t lock;
    uint16_t set, automatic;
    struct nx_waiters_ waiters;
} nx_event;
#define NX_EVENT_INIT                                                                                                  \
    {                                                                                                                  \
        0, 0, 0,                                                                                                       \
        {                                                                                                              \
            NULL, NULL                                                                                                 \
        }                                                                                                              \
    } /* stays set until nx_event_clear: all waiters pass */
#define NX_EVENT_AUTO_INIT                                                                                             \
    {                                                                                                                  \
        0, 0, 1,                                                                                                       \
        {                                                                                                              \
            NULL, NULL                                                                                                 \
        }                                                                                                              \
    } /* notify: each set lets one waiter pass, one of them in advance */
NX_API void nx_event_set(nx_event *event);
NX_API void nx_event_clear(nx_event *event);
NX_API bool nx_event_is_set(const nx_event *event);
/* The event may go once its only waiter has returned 0: the nx_event_set that let it pass is through with it. */
NX_API int nx_event_wait(nx_event *event, nx_time deadline);

/* ---- wait group: waits until as many are done as were added ---- */

typedef struct nx_waitgroup {
    uint32_t lock, reserved;
    uint64_t count;
    struct nx_waiters_ waiters;
} nx_waitgroup;
#define NX_WAITGROUP_INIT                                                                                              \
    {                                                                                                                  \
        0, 0, 0,                                                                                                       \
        {                                                                                                              \
            NULL, NULL                                                                                                 \
        }                                                                                                              \
    }
NX_API int nx_waitgroup_add(nx_waitgroup *group, uint32_t n); /* -EOVERFLOW */
NX_API int nx_waitgroup_done(nx_waitgroup *group);            /* -EPERM: more than were added */
NX_API int nx_waitgroup_wait(nx_waitgroup *group, nx_time deadline);

/* ---- barrier: each round waits for `parties` callers and lets them go together ---- */

typedef struct nx_barrier {
    uint32_t lock, parties, arrived, reserved;
    struct nx_waiters_ waiters;
} nx_barrier;
#define NX_BARRIER_INIT(parties)                                                                                       \
    {                                                                                                                  \
        0, (parties), 0, 0,                                                                                            \
        {                                                                                                              \
            NULL, NULL                                                                                                 \
        }                                                                                                              \
    }
/* 1 for the last to arrive, 0 for the others. One that gives up (deadline, cancel) has not arrived. -EINVAL: no
 * parties. */
NX_API int nx_barrier_wait(nx_barrier *barrier, nx_time deadline);

/* ---- once ---- */

typedef struct nx_once {
    uint32_t lock, state;
    struct nx_waiters_ waiters;
} nx_once;
#define NX_ONCE_INIT                                                                                                   \
    {                                                                                                                  \
        0, 0,                                                                                                          \
        {                                                                                                              \
            NULL, NULL                                                                                                 \
        }                                                                                                              \
    }
/* Calls fn(arg), which may park, unless that has been done; others wait for it. 0: it has been done. < 0: fn's own
 * error, for this caller; the next caller, or one that waits, then tries itself, as it does when fn has panicked. fn
 * must not run the same once again. -ENOMEM. */
NX_API int nx_once_run(nx_once *once, int (*fn)(void *arg), void *arg, nx_time deadline);

NX_END_DECLS
#endif
