/*
 * chan.h: a channel as its users inside the library see it: chan.c, and a select over several.
 *
 * Who holds the channel sees: receivers wait only while nothing is in it, senders only while it is full, neither
 * once it is closed. Waiters of a select whose choice has gone to another may still be in the lists; they are skipped.
 * What a waiter hands over, or is handed, is copied while the channel is held, so it can't go away: it is out of its
 * list, so it waits for its wake, which comes after the channel has been let go.
 *
 * A channel is held in one of three ways. The two sides, sending and receiving, have a lock each.
 *
 *   BOTH locks, the sender's first: everything may be read and changed.
 *   ONE lock: what is the side's own may be changed, and an element put or taken, if nobody waits, it is not closed,
 *     and there is room, or something, by the other side's count (release when it counts, acquire when looked at).
 *     All else is read only, and can't change, since that takes both.
 *   AT HOME: while one worker alone uses the channel it is home, and its tasks hold the channel without any lock.
 *
 * home is set, by the worker itself, and cleared, by others, under both locks, and who has any lock first sees to it
 * that there is no home (evict). The worker announces itself, by plain stores and loads:
 *
 *   the worker                                       who evicts it, under both locks
 *     a  inside = 1                                    1  home = NULL
 *     b  home is still me? else inside = 0, lock       2  nxi_barrier_everywhere
 *     c  ...                                           3  until inside is 0 (acquire)
 *     d  inside = 0 (release)
 *
 * Let B be the moment at which the worker executed the barrier. If a comes before B, 3 sees it, or a later d, and with
 * it all of c. Else b comes after B, and sees 1. So c and what follows 3 never overlap. tests/spin/home.pml has it.
 * A channel made with NX_CHAN_LOCAL has its home for ever.
 */
#ifndef NXI_CHAN_H
#define NXI_CHAN_H

#include "core.h"
#include <nexus/chan.h>
#include <string.h>

/* Of an unbounded channel. */
struct nxi_chan_block {
    struct nxi_chan_block *next;
    _Alignas(16) char elems[];
};

/* Sending, or receiving. Each is on cache lines of its own. */
struct nxi_chan_side {
    uint32_t lock;
    uint32_t streak;         /* calls in a row by the same worker, without an eviction */
    uint32_t spin_skips;     /* so many waits begin without a spin */
    struct nxi_worker *user; /* that one; NULL: a plain thread. Atomic: the other side looks */
    char *next, *end; /* the next element's place; equal: it is at the beginning of the next block, or the ring's */
    size_t done;      /* elements that have gone through; the other side looks at it */
    size_t others;    /* the other side's done as this one saw it last: or fewer than that */
};

struct nx_chan {
    struct nxi_worker *home; /* atomic; NULL: it is locked */
    uint32_t inside;         /* atomic, the home worker's: it holds the channel at home */
    bool local;              /* home stays as it is */
    bool held_at_home;       /* of who holds all: how */
    bool closed;
    size_t elem_size, capacity;
    struct nxi_waiters receivers, senders;
    struct nxi_chan_block *first, *last, *spare; /* unbounded */
    size_t memory_size;                          /* of this struct with its ring */
    uint32_t home_after;                         /* so many calls in a row by one worker */
    char apart[64];
    struct nxi_chan_side send;
    char apart_too[64];
    struct nxi_chan_side recv;
    char apart_again[64];
    _Alignas(16) char ring[];
};

/* Whether the calling task may use it: 0, -EXDEV. worker: nxi_in_task(). */
static inline int nxi_chan_usable(const struct nx_chan *chan, const struct nxi_worker *worker)
{
    return chan->local && __atomic_load_n(&chan->home, __ATOMIC_RELAXED) != worker ? -EXDEV : 0;
}

/* How many elements are in it. Held. */
static inline size_t nxi_chan_count(const struct nx_chan *chan)
{
    return chan->send.done - chan->recv.done;
}

static inline bool nxi_chan_is_home(const struct nx_chan *chan, const struct nxi_worker *worker)
{
    return worker && __atomic_load_n(&chan->home, __ATOMIC_RELAXED) == worker;
}

/* Of a worker that is home, as it seems. */
static inline void nxi_chan_leave_home(struct nx_chan *chan)
{
    __atomic_store_n(&chan->inside, 0, __ATOMIC_RELEASE);
}

static inline bool nxi_chan_enter_home(struct nx_chan *chan, const struct nxi_worker *worker)
{
    __atomic_store_n(&chan->inside, 1, __ATOMIC_RELAXED);
    nxi_compiler_barrier();
    if (NXI_LIKELY(__atomic_load_n(&chan->home, __ATOMIC_ACQUIRE) == worker))
        return true;
    nxi_chan_leave_home(chan);
    return false;
}

void nxi_chan_lock_both(struct nx_chan *chan);

/* All of it. Several are taken in the order of their addresses, each once. A local one away from home is left alone. */
static inline void nxi_chan_lock(struct nx_chan *chan, const struct nxi_worker *worker)
{
    if (nxi_chan_is_home(chan, worker) && nxi_chan_enter_home(chan, worker))
        chan->held_at_home = true;
    else if (!chan->local)
        nxi_chan_lock_both(chan);
}

static inline void nxi_chan_unlock(struct nx_chan *chan, const struct nxi_worker *worker)
{
    if (chan->local ? nxi_chan_is_home(chan, worker) : chan->held_at_home) {
        nxi_chan_leave_home(chan);
    } else if (!chan->local) {
        nxi_unlock(&chan->recv.lock);
        nxi_unlock(&chan->send.lock);
    }
}

/*
 * One element of a channel that is held, without waiting. 0; -EPIPE; -EAGAIN: push a waiter whose data is elem onto the
 * list chan->senders (or chan->receivers) before it is let go: once it is woken its result is 0 or -EPIPE. -ENOMEM,
 * only send. *ret_woken, written in any case: NULL, or a waiter that the caller wakes once the channel is let go:
 * nxi_waiter_wake(woken, NX_REASON_UNBLOCK). The caller must have no waiter of its own in the lists.
 */
int nxi_chan_try_send(struct nx_chan *chan, const void *elem, struct nxi_waiter **ret_woken);
int nxi_chan_try_recv(struct nx_chan *chan, void *ret_elem, struct nxi_waiter **ret_woken);

/* ---- for everything in nexus/chan.h ---- */

/* Whether the caller may make a call that parks or, of a plain thread, blocks. worker: nxi_in_task(). */
static inline int nxi_chan_admit(struct nxi_worker *worker)
{
    if (NXI_UNLIKELY(!worker))
        return nxi_forked() ? -NX_EFORKED : nxi_self() ? -NX_ENOTASK : 0; /* a worker's own thread can't be blocked */
    struct nxi_task *task = worker->current;
    bool cancelled = atomic_load_explicit(&task->ctl, memory_order_acquire) & NXI_CTL_CANCEL;
    if (NXI_LIKELY(!cancelled) || !nxi_task_cancelled(task)) /* the call is for shields */
        return 0;
    nxi_charge(worker);
    return -ECANCELED;
}

/* Where to wait, and what nx_dump says about it. */
struct nxi_chan_place {
    uint32_t *lock;       /* NULL: the channel's */
    struct nx_chan *chan; /* NULL: the lock's */
    struct nxi_waiters *list;
    const char *what; /* static */
    const void *object;
};

/* Waits in the list, whose lock is held, and drops it: the result that a waker gave the waiter; -EAGAIN, -ETIMEDOUT,
 * -ECANCELED: nobody served it. */
int64_t nxi_chan_wait(const struct nxi_chan_place *place, struct nxi_worker *worker, void *data, nx_time deadline);

/* Takes all waiters out of the list, under its lock, onto a chain, and gives them this result. */
static inline struct nxi_waiter *nxi_chan_pop_all(struct nxi_waiters *list, int64_t result)
{
    struct nxi_waiter *chain = NULL, **end = &chain, *waiter;
    while ((waiter = nxi_waiters_pop(list))) {
        waiter->result = result;
        *end = waiter;
        end = &waiter->next;
    }
    *end = NULL;
    return chain;
}

/* Wakes a chain linked by next. The lock must have been dropped. */
void nxi_chan_wake_all(struct nxi_waiter *chain);

/* One element, if its size is a usual one: a call would cost more than the copy. */
static inline bool nxi_chan_copy_short(void *to, const void *from, size_t size)
{
    if (NXI_LIKELY(size == 8))
        memcpy(to, from, 8);
    else if (size == 16)
        memcpy(to, from, 16);
    else if (size == 4)
        memcpy(to, from, 4);
    else
        return size == 0; /* then to and from may be NULL */
    return true;
}

static inline void nxi_chan_copy(void *to, const void *from, size_t size)
{
    if (NXI_UNLIKELY(!nxi_chan_copy_short(to, from, size)))
        memcpy(to, from, size);
}

#endif
