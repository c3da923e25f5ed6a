/*
 * listener.h: a listener: listener.c opens and closes it, accept.c takes connections from it.
 *
 * All fields are under the lock, but for the timer and the op, which are the home worker's. Whoever closes leaves
 * freeing to the last reference: each nx_accept holds one.
 */
#ifndef NXI_LISTENER_H
#define NXI_LISTENER_H

#include "choice.h"

#define QUEUE_HIGH 256u
#define QUEUE_SIZE (2 * QUEUE_HIGH) /* with room for what still arrives after the stop */

struct nx_listener {
    struct nx_runtime *runtime;
    nx_handle handle;
    struct nx_listener *next, **link; /* in runtime->listeners, under its lock */
    _Atomic uint32_t references;
    pthread_mutex_t lock;
    struct nxi_worker *home; /* NULL until the first accept */
    struct nxi_waiters waiters;
    nx_handle queue[QUEUE_SIZE];
    uint32_t queued, head;
    bool closed;  /* nobody may accept any more */
    bool closing; /* the home worker has heard of it: whoever finds nothing in flight closes the handle */
    bool armed;   /* the accept is in flight */
    bool arming;  /* a message to the home worker is under way */
    bool starved; /* waiting for the retry timer */
    bool polled;  /* somebody asked without waiting: one accept is wanted all the same */
    bool single;  /* one accept per waiter: nothing is taken ahead */
    int32_t tell; /* the error that is still to be told */
    nx_time told_at;
    uint32_t passes; /* connections lost or trouble of the network in a row */
    struct nxi_op accept;
    struct nxi_op close_op;
    struct nxi_timer retry;
    struct nxi_node node, close_node;
};

static inline const struct nxi_driver *nxi_listener_driver(const struct nxi_worker *worker)
{
    return &worker->drivers[0];
}

/* Under the lock: a connection that has been accepted, or 0. */
static inline nx_handle nxi_listener_pop(struct nx_listener *listener)
{
    if (listener->queued == 0)
        return 0;
    nx_handle handle = listener->queue[listener->head];
    listener->head = (listener->head + 1) % QUEUE_SIZE;
    listener->queued--;
    return handle;
}

/* accept.c: before the first accept. */
void nxi_listener_init_accept(struct nx_listener *listener);
/* listener.c: on the home worker, closing, and the accept is no longer in flight: once. */
void nxi_listener_close_now(struct nx_listener *listener);

#endif
