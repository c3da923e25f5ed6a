/*
 * chan_parts.h: what the files of a channel share among themselves: chan.c, which has the channel and what may be done
 * while it is held, chan_one.c and chan_many.c, which send and receive. chan.h says how it is held.
 */
#ifndef NXI_CHAN_PARTS_H
#define NXI_CHAN_PARTS_H

#include "chan.h"

/* Both locks have been taken. */
void nxi_chan_enter_both(struct nx_chan *chan);

/* Under the side's lock: who uses it. */
static inline void nxi_chan_note_user(struct nxi_chan_side *side, struct nxi_worker *worker)
{
    if (NXI_LIKELY(side->user == worker)) {
        side->streak++;
        return;
    }
    __atomic_store_n(&side->user, worker, __ATOMIC_RELAXED);
    side->streak = 0;
}

/* Under both locks: moves in, if nobody else has come by for long. worker NULL: a plain thread, which never does. */
void nxi_chan_consider_home(struct nx_chan *chan, struct nxi_worker *worker);

/* The sending side is at its end, and an element is to follow. 0 or -ENOMEM. */
int nxi_chan_more_tail(struct nx_chan *chan);
/* The receiving side is, and there is another element. */
void nxi_chan_more_head(struct nx_chan *chan);

/* The side is not at its end. All is held; or its own lock alone, and then the count is for the other side to see. */
static inline void nxi_chan_put_here(struct nx_chan *chan, const void *elem)
{
    struct nxi_chan_side *send = &chan->send;
    nxi_chan_copy(send->next, elem, chan->elem_size);
    send->next += chan->elem_size;
    __atomic_store_n(&send->done, send->done + 1, __ATOMIC_RELEASE);
}

static inline void nxi_chan_take_here(struct nx_chan *chan, void *ret_elem)
{
    struct nxi_chan_side *recv = &chan->recv;
    nxi_chan_copy(ret_elem, recv->next, chan->elem_size);
    recv->next += chan->elem_size;
    __atomic_store_n(&recv->done, recv->done + 1, __ATOMIC_RELEASE);
}

/* The same wherever the side is. Of a bounded channel it can't fail. */
int nxi_chan_put(struct nx_chan *chan, const void *elem);

/* A wait in this place is over without a wake: the result of who has served it all the same, or error. */
int64_t nxi_chan_give_up(const struct nxi_chan_place *place, struct nxi_waiter *waiter, int error);

/* nxi_chan_wait() of a channel that is held. */
int64_t nxi_chan_wait_to_send(struct nx_chan *chan, struct nxi_worker *worker, const void *elem, nx_time deadline);
int64_t nxi_chan_wait_to_recv(struct nx_chan *chan, struct nxi_worker *worker, void *ret_elem, nx_time deadline);

/* Why a local channel that is used from somewhere it is not at home refuses. */
int nxi_chan_not_here(void);

static inline size_t nxi_chan_least(size_t a, size_t b)
{
    return a < b ? a : b;
}

#endif
