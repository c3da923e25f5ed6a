/* nxt_chan.h: help for tests of channels: users of them, in a task or a thread, who may have to wait. (users.c) */
#ifndef NXT_CHAN_H
#define NXT_CHAN_H

#include "nxt_net.h"

nx_chan *nxt_chan(size_t elem_size, size_t capacity, unsigned flags); /* NULL after recording why */
/* How many wait in it, on either side: so that a case knows when somebody, a thread too, does. */
int nxt_waiting(nx_chan *chan);

/* A case whose body is bound to worker 0, the home of its local channels; there are two. */
#define NXT_HOME_TEST(test)                                                                                            \
    static void test##_at_home(void);                                                                                  \
    NXT_TASK_TEST(test, .workers = 2)                                                                                  \
    {                                                                                                                  \
        nxt_at_home(test##_at_home);                                                                                   \
    }                                                                                                                  \
    static void test##_at_home(void)
void nxt_at_home(void (*fn)(void));

/* ---- somebody who sends or receives int64_t ---- */

#define NXT_THREAD (-1)

struct nxt_user {
    nx_chan *chan;
    int64_t first, count; /* values, upwards */
    nx_time deadline;     /* of each call; 0: NX_FOREVER */
    nx_task task;
    struct nxt_thread *thread;
};
intptr_t nxt_send_values(void *user); /* 0, or the first error */
intptr_t nxt_recv_values(void *user); /* until the channel is closed: how many came, which are checked; or an error */
intptr_t nxt_recv_value(void *user);  /* one: the value, or the error */
/* On that worker of the runtime, or as NXT_THREAD. */
void nxt_user_start(struct nxt_user *user, int where, nx_task_fn fn);
intptr_t nxt_user_result(struct nxt_user *user); /* joins */

int nxt_send_now(nx_chan *chan, int64_t value); /* NX_POLL */
int64_t nxt_recv_now(nx_chan *chan);            /* the value, or the error */

#endif
