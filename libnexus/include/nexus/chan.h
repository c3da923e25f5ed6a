/*
 * nexus/chan.h: channels: values handed from task to task, or thread to task.
 *
 * Elements are copied in and out. Everything here may be used from plain threads, which then block, as well as from
 * tasks of any runtime, which park: [parks] [threads]. Waiters are served in order and woken one for one: a value wakes
 * one receiver, a free place one sender. The values of one sender arrive in the order in which it sent them.
 *
 * The owner destroys a channel when nobody uses it any more: after its users were joined, say. Closing is for telling
 * them: it may come from anywhere, at any time before.
 */
#ifndef NEXUS_CHAN_H
#define NEXUS_CHAN_H

#include <nexus/base.h>

NX_BEGIN_DECLS

typedef struct nx_chan nx_chan;

#define NX_UNBOUNDED SIZE_MAX

/* For tasks of the worker that created it and nobody else, and cheaper for it: used from elsewhere, and created outside
 * a task, it gives -EXDEV; there nx_chan_close() does nothing, and nx_chan_len() and nx_chan_closed() see an empty one.
 * Its tasks must not be NX_TASK_MIGRATABLE. */
#define NX_CHAN_LOCAL 1u

typedef struct nx_chan_options {
    size_t size;
    size_t elem_size; /* bytes; 0: the channel counts only, elem is not read or written */
    size_t capacity;  /* elements; 0: rendezvous, a send waits for its receiver; NX_UNBOUNDED: no send waits */
    unsigned flags;   /* NX_CHAN_... */
} nx_chan_options;

/* A bounded channel allocates here and never again; an unbounded one grows and shrinks by blocks. -ENOMEM; -EINVAL:
 * elem_size x capacity is more than half the address space. [threads] */
NX_API int nx_chan_create(size_t elem_size, size_t capacity, nx_chan **ret_chan);
NX_API int nx_chan_create_with(const nx_chan_options *options, nx_chan **ret_chan);

/*
 * 0: *elem was handed over. -EPIPE: closed, also while waiting; -ETIMEDOUT, -EAGAIN (NX_POLL, and full), -ECANCELED: it
 * was not. -ENOMEM only from an unbounded channel. [parks] [threads]
 */
NX_API int nx_chan_send(nx_chan *chan, const void *elem, nx_time deadline);
/* 0: an element is in *ret_elem. -EPIPE: closed, and all that was sent has been received; -ETIMEDOUT, -EAGAIN (NX_POLL,
 * and empty), -ECANCELED: nothing was taken. [parks] [threads] */
NX_API int nx_chan_recv(nx_chan *chan, void *ret_elem, nx_time deadline);

/* Several at once, for throughput: waits until at least one has gone; then as many as go without waiting. How many, or
 * the errors above. [parks] [threads] */
NX_API ssize_t nx_chan_send_many(nx_chan *chan, const void *elems, size_t count, nx_time deadline);
NX_API ssize_t nx_chan_recv_many(nx_chan *chan, void *ret_elems, size_t max, nx_time deadline);

/* Ends sending, now: waiting senders get -EPIPE, receivers first what is there. Closing twice does nothing. NULL is
 * fine. [threads] */
NX_API void nx_chan_close(nx_chan *chan);
/* Frees a channel that nobody uses, with what is in it. NULL is fine. [threads] */
NX_API void nx_chan_destroy(nx_chan *chan);
/* How many elements are in it, at some moment of the call. [threads] */
NX_API size_t nx_chan_len(const nx_chan *chan);
/* Whether it has been closed. [threads] */
NX_API bool nx_chan_closed(const nx_chan *chan);

/* ---- oneshot: one value, once ---- */

typedef struct nx_oneshot nx_oneshot;
NX_API int nx_oneshot_create(size_t elem_size, nx_oneshot **ret_oneshot);
/* Never waits. -EALREADY: something was sent before; -EPIPE: closed. [threads] */
NX_API int nx_oneshot_send(nx_oneshot *oneshot, const void *elem);
/* Takes the value; of several who wait the first one gets it. -EPIPE: closed without a value, or the value has been
 * taken. [parks] [threads] */
NX_API int nx_oneshot_recv(nx_oneshot *oneshot, void *ret_elem, nx_time deadline);
/* By either side: the sender will not send, or the receiver no longer waits; a value already sent can still be
 * received. [threads] */
NX_API void nx_oneshot_close(nx_oneshot *oneshot);
NX_API void nx_oneshot_destroy(nx_oneshot *oneshot);

/* ---- broadcast: every receiver gets every value sent since it subscribed ---- */

typedef struct nx_broadcast nx_broadcast;
typedef struct nx_subscription nx_subscription;
/* The last capacity (> 0) values are kept for those who are slow. */
NX_API int nx_broadcast_create(size_t elem_size, size_t capacity, nx_broadcast **ret_broadcast);
/* Never waits: the oldest value makes place. How many subscriptions there are (0: nobody will see it), -EPIPE: closed.
 * [threads] */
NX_API int nx_broadcast_send(nx_broadcast *broadcast, const void *elem);
/* From now on. -ENOMEM. [threads] */
NX_API int nx_broadcast_subscribe(nx_broadcast *broadcast, nx_subscription **ret_subscription);
/* The next value. The result is how many were lost before it because this receiver was too slow: 0 as a rule. -EPIPE:
 * closed and drained. One task at a time per subscription. [parks] [threads] */
NX_API int64_t nx_broadcast_recv(nx_subscription *subscription, void *ret_elem, nx_time deadline);
NX_API void nx_broadcast_unsubscribe(nx_subscription *subscription);
/* Receivers get what is there first. [threads] */
NX_API void nx_broadcast_close(nx_broadcast *broadcast);
/* After all subscriptions have gone. */
NX_API void nx_broadcast_destroy(nx_broadcast *broadcast);

/* ---- latest: one value that changes, such as a configuration; receivers see the newest (tokio: watch) ---- */

typedef struct nx_latest nx_latest;
/* initial: its first value, version 1. */
NX_API int nx_latest_create(size_t elem_size, const void *initial, nx_latest **ret_latest);
/* Replaces the value and wakes all who wait. -EPIPE: closed. [threads] */
NX_API int nx_latest_set(nx_latest *latest, const void *elem);
/* The value (ret_elem may be NULL) and, as the result, its version. Works after closing. [threads] */
NX_API int64_t nx_latest_get(nx_latest *latest, void *ret_elem);
/* Waits until there is a version newer than seen_version, 0 for any; as nx_latest_get then. -EPIPE: closed, and there
 * is nothing newer; -EINVAL: seen_version is one that has not been given out. [parks] [threads] */
NX_API int64_t nx_latest_wait(nx_latest *latest, int64_t seen_version, void *ret_elem, nx_time deadline);
NX_API void nx_latest_close(nx_latest *latest);
NX_API void nx_latest_destroy(nx_latest *latest);

NX_END_DECLS
#endif
