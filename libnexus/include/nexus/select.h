/*
 * nexus/select.h: the first of several, with nothing lost.
 *
 *   struct job job;
 *   char buf[512];
 *   switch (nx_select(nx_after_ms(50), NX_CASE_RECV(jobs, &job), NX_CASE_READ(conn, buf, sizeof(buf)),
 *                     NX_CASE_JOIN(child))) {
 *   case 0: ...            nx_select_result(): 0, or -EPIPE from a closed channel
 *   case 1: ...            nx_select_result(): bytes, 0 at the end of stream, or -errno
 *   case 2: ...            nx_join(child, ...) does not park now
 *   case -ETIMEDOUT: ...
 *   }
 *
 * A loser has no effect: a losing read's bytes stay in the stream, a losing accept's connection in the listener, a
 * losing receive's element in the channel.
 */
#ifndef NEXUS_SELECT_H
#define NEXUS_SELECT_H

#include <nexus/chan.h>
#include <nexus/net.h>
#include <nexus/sync.h>
#include <nexus/task.h>

NX_BEGIN_DECLS

enum nx_case_op {
    NX_CASE_OP_RECV = 1,
    NX_CASE_OP_SEND,
    NX_CASE_OP_READ,
    NX_CASE_OP_ACCEPT,
    NX_CASE_OP_TIMER,
    NX_CASE_OP_JOIN,
    NX_CASE_OP_READABLE,
    NX_CASE_OP_WRITABLE,
    NX_CASE_OP_EVENT
};

/* Made by the functions below. A case whose object is NULL (a task 0, a descriptor -1) never wins. */
typedef struct nx_case {
    uint8_t op;
    uint8_t done; /* 1: this one has won */
    int32_t pad;  /* a descriptor */
    ssize_t result;
    void *obj;
    void *buf;
    size_t len;
    nx_time at; /* a time, or a task */
} nx_case;

#define NX_SELECT_MAX 64u
#define NX_SELECT_BIASED 1u /* of several that are ready the first in order wins; else one at random */

/*
 * Waits until one of the cases can go on, and lets that one: its index. cases[index].result is what the call it stands
 * for returns: recv, send: 0 or -errno; read: bytes, 0 or -errno; accept: 0, the stream at *buf, or -errno; timer,
 * event: 0; join: 0 or -errno (-ESRCH), the task has ended and nx_join does not park; readable, writable: the events.
 * An object that can't be used (-EXDEV, -EBADF) wins with that error. -ETIMEDOUT, -EAGAIN (NX_POLL), -ECANCELED: no
 * case had an effect; nor had one with -ENOMEM: a task's first select, and waiting for more than eight cases, take
 * memory. -EINVAL: more than NX_SELECT_MAX cases, or an unknown op. No case at all waits for the deadline. The array
 * is the caller's; only done and result of the winner are written. [parks]
 */
NX_API int nx_selectv(nx_case *cases, size_t count, unsigned flags, nx_time deadline);

/* The winner's result of the calling task's last select, for a switch over nx_select(), whose cases have no name.
 * -NX_ENOTASK. */
NX_API ssize_t nx_select_result(void);

NX_END_DECLS

static inline nx_case NX_CASE_MAKE_(unsigned op, int fd, void *obj, void *buf, size_t len, nx_time at)
{
    nx_case made;
    made.op = (uint8_t)op;
    made.done = 0;
    made.pad = fd;
    made.result = 0;
    made.obj = obj;
    made.buf = buf;
    made.len = len;
    made.at = at;
    return made;
}

static inline nx_case NX_CASE_RECV(nx_chan *chan, void *ret_elem)
{
    return NX_CASE_MAKE_(NX_CASE_OP_RECV, -1, chan, ret_elem, 0, 0);
}

static inline nx_case NX_CASE_SEND(nx_chan *chan, const void *elem)
{
    return NX_CASE_MAKE_(NX_CASE_OP_SEND, -1, chan, (void *)(uintptr_t)elem, 0, 0);
}

static inline nx_case NX_CASE_READ(nx_stream *stream, void *buf, size_t len)
{
    return NX_CASE_MAKE_(NX_CASE_OP_READ, -1, stream, buf, len, 0);
}

static inline nx_case NX_CASE_ACCEPT(nx_listener *listener, nx_stream **ret_stream)
{
    return NX_CASE_MAKE_(NX_CASE_OP_ACCEPT, -1, listener, (void *)ret_stream, 0, 0);
}

/* At this time; NX_FOREVER never wins. */
static inline nx_case NX_CASE_TIMER(nx_time at)
{
    return NX_CASE_MAKE_(NX_CASE_OP_TIMER, -1, NULL, NULL, 0, at);
}

static inline nx_case NX_CASE_JOIN(nx_task task)
{
    return NX_CASE_MAKE_(NX_CASE_OP_JOIN, -1, NULL, NULL, 0, task);
}

static inline nx_case NX_CASE_READABLE(int fd)
{
    return NX_CASE_MAKE_(NX_CASE_OP_READABLE, fd, NULL, NULL, 0, 0);
}

static inline nx_case NX_CASE_WRITABLE(int fd)
{
    return NX_CASE_MAKE_(NX_CASE_OP_WRITABLE, fd, NULL, NULL, 0, 0);
}

static inline nx_case NX_CASE_EVENT(nx_event *event)
{
    return NX_CASE_MAKE_(NX_CASE_OP_EVENT, -1, event, NULL, 0, 0);
}

/* nx_select(deadline, case, case, ...): nx_selectv over the cases given, fair; nx_select_result() has the result. */
#ifdef __cplusplus
template <typename... Cases>
static inline int nx_select(nx_time deadline, Cases... given)
{
    nx_case cases[] = {given...};
    return nx_selectv(cases, sizeof...(given), 0, deadline);
}
#else
#define nx_select(deadline, ...)                                                                                       \
    nx_selectv((nx_case[]){__VA_ARGS__}, sizeof((nx_case[]){__VA_ARGS__}) / sizeof(nx_case), 0, (deadline))
#endif

#endif
