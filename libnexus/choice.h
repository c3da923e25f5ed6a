/*
 * choice.h: what a select asks of the things that tasks wait for, apart from channels (chan.h) and streams (stream.h):
 * to look, without waiting; to wait beside others; and to leave.
 *
 * Listeners and events are consumed by who is served. Their enter takes what is there only after it has claimed the
 * waiter's own choice, so that nothing is taken for a select that has been served elsewhere. Ended tasks and ready
 * descriptors stay what they are: their wake only says so, and claims nothing.
 */
#ifndef NXI_CHOICE_H
#define NXI_CHOICE_H

#include "core.h"
#include <nexus/net.h>
#include <nexus/sync.h>

/* ---- accept.c, listener.c: the caller holds the listener ---- */

void nxi_listener_hold(nx_listener *listener);
void nxi_listener_release(nx_listener *listener);
/* 0 or -EXDEV: as nx_accept. */
int nxi_listener_check(const nx_listener *listener, const struct nxi_worker *worker);
/* A connection's handle (> 0), -EAGAIN, or why not: as nx_accept with NX_POLL. One that doesn't poll will wait until
 * there is room for a connection: -EAGAIN. */
int64_t nxi_listener_try(nx_listener *listener, struct nxi_worker *worker, bool polls);
/* As try, of what has been accepted already; else (0) the waiter, which has been made and has a choice, waits: its
 * result is a handle or an error. -EAGAIN: the choice is another's. */
int64_t nxi_listener_enter(nx_listener *listener, struct nxi_waiter *waiter);
void nxi_listener_leave(nx_listener *listener, struct nxi_waiter *waiter); /* whether it is still in the list or not */
/* The stream of such a handle, which is closed if that fails. */
int nxi_listener_stream(const nx_listener *listener, nx_handle handle, nx_stream **ret_stream);

/* ---- join.c ---- */

/* 0: it has ended. -EAGAIN: it has not, and may be joined. Else what nx_join would say. */
int nxi_join_look(nx_task id, const struct nxi_worker *worker);
/* The same; with -EAGAIN the waiter, which is made here, waits for the end as the one joiner. */
int nxi_join_enter(nx_task id, struct nxi_worker *worker, struct nxi_waiter *waiter, struct nxi_choice *choice,
                   struct nxi_task **ret_task);
/* Lets it be joined by others again. May park for a wake that is on its way. */
void nxi_join_leave(struct nxi_task *task, struct nxi_waiter *waiter);

/* ---- handle.c ---- */

/* A foreign descriptor waited for. */
struct nxi_fd_op {
    struct nxi_op base;
    struct nxi_waiter waiter; /* its result is the events */
};
/* The events that are ready, -EAGAIN, or -errno. */
int nxi_fd_look(struct nxi_worker *worker, int fd, unsigned events);
/* 1: waiter.result says how it is, events or -errno. 0: it will once the waiter, which is made here, has been woken;
 * then cancel, unless it has been, and end, which waits for that. The task stays pinned all the time. */
int nxi_fd_start(struct nxi_fd_op *op, struct nxi_worker *worker, int fd, unsigned events, struct nxi_choice *choice);
void nxi_fd_cancel(struct nxi_fd_op *op);
void nxi_fd_end(struct nxi_fd_op *op);

#endif
