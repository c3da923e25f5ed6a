/*
 * chan.h: a channel as its users inside the library see it: chan.c, and a select over several.
 *
 * Who holds the lock sees: receivers wait only while nothing is in the channel, senders only while it is full, neither
 * once it is closed. Waiters of a select whose choice has gone to another may still be in the lists; they are skipped.
 * What a waiter hands over, or is handed, is copied under the lock, while it can't go away: it is out of its list, so
 * it waits for its wake, which comes after the lock has been dropped.
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

struct nx_chan {
    uint32_t lock;
    bool local;  /* of owner's tasks alone: never locked */
    bool closed; /* under lock, as all below that changes */
    size_t elem_size, capacity;
    size_t count;          /* elements that are in it */
    char *head, *head_end; /* the next to be received; equal: it is at the beginning of the next block, or the ring's */
    char *tail, *tail_end; /* where the next goes, likewise */
    struct nxi_waiters receivers, senders;
    struct nxi_worker *owner;
    struct nxi_chan_block *first, *last, *spare; /* unbounded */
    size_t memory_size;                          /* of this struct with its ring */
    _Alignas(16) char ring[];
};

/* Whether the calling task may use it: 0, -EXDEV. worker: nxi_in_task(). */
static inline int nxi_chan_usable(const struct nx_chan *chan, const struct nxi_worker *worker)
{
    return chan->local && chan->owner != worker ? -EXDEV : 0;
}

/* Several are locked in the order of their addresses, each once. A local one has no lock. */
static inline void nxi_chan_lock(struct nx_chan *chan)
{
    if (!chan->local)
        nxi_lock(&chan->lock);
}

static inline void nxi_chan_unlock(struct nx_chan *chan)
{
    if (!chan->local)
        nxi_unlock(&chan->lock);
}

/*
 * One element, under the lock, without waiting. 0; -EPIPE; -EAGAIN: push a waiter whose data is elem onto the list
 * chan->senders (or chan->receivers) before the lock is dropped: once it is woken its result is 0 or -EPIPE. -ENOMEM,
 * only send. *ret_woken, written in any case: NULL, or a waiter that the caller wakes once the lock is dropped:
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
    uint32_t *lock; /* NULL: there is none */
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

/* One element. Its size is small as a rule: a call would cost more than the copy. */
static inline void nxi_chan_copy(void *to, const void *from, size_t size)
{
    if (NXI_LIKELY(size == 8))
        memcpy(to, from, 8);
    else if (size == 16)
        memcpy(to, from, 16);
    else if (size == 4)
        memcpy(to, from, 4);
    else if (size > 0) /* else to and from may be NULL */
        memcpy(to, from, size);
}

#endif
