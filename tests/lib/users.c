/* users.c: who uses a channel. */
#include "chan.h"
#include "nxt_chan.h"

nx_chan *nxt_chan(size_t elem_size, size_t capacity, unsigned flags)
{
    nx_chan *chan = NULL;
    const nx_chan_options options = {
        .size = sizeof(options), .elem_size = elem_size, .capacity = capacity, .flags = flags};
    nxt_expect_eq(nx_chan_create_with(&options, &chan), 0);
    return chan;
}

int nxt_waiting(nx_chan *chan)
{
    struct nxi_worker *worker = nxi_in_task();
    int count = 0;
    nxi_chan_lock(chan, worker);
    for (struct nxi_waiter *waiter = chan->senders.first; waiter; waiter = waiter->next)
        count++;
    for (struct nxi_waiter *waiter = chan->receivers.first; waiter; waiter = waiter->next)
        count++;
    nxi_chan_unlock(chan, worker);
    return count;
}

struct call {
    void (*fn)(void);
};

static intptr_t call(void *arg)
{
    ((struct call *)arg)->fn();
    return 0;
}

void nxt_at_home(void (*fn)(void))
{
    nxt_result(nxt_task_on(0, call, &(struct call){fn}));
}

/* ---- who uses it ---- */

static nx_time deadline_of(const struct nxt_user *user)
{
    return user->deadline ? user->deadline : NX_FOREVER;
}

intptr_t nxt_send_values(void *arg)
{
    struct nxt_user *user = arg;
    int error = 0;
    for (int64_t i = 0; i < user->count && error == 0; i++)
        error = nx_chan_send(user->chan, &(int64_t){user->first + i}, deadline_of(user));
    return error;
}

intptr_t nxt_recv_values(void *arg)
{
    struct nxt_user *user = arg;
    int64_t count = 0, value = -1;
    int error;
    while ((error = nx_chan_recv(user->chan, &value, deadline_of(user))) == 0)
        nxt_require_eq(value, user->first + count++, -1);
    return error == -EPIPE ? count : error;
}

intptr_t nxt_recv_value(void *arg)
{
    struct nxt_user *user = arg;
    int64_t value = -1;
    int error = nx_chan_recv(user->chan, &value, deadline_of(user));
    return error < 0 ? error : value;
}

void nxt_user_start(struct nxt_user *user, int where, nx_task_fn fn)
{
    if (where == NXT_THREAD)
        user->thread = nxt_thread_start(fn, user);
    else
        user->task = nxt_task_on(where, fn, user);
}

intptr_t nxt_user_result(struct nxt_user *user)
{
    return user->thread ? nxt_thread_await(user->thread) : nxt_result(user->task);
}

int nxt_send_now(nx_chan *chan, int64_t value)
{
    return nx_chan_send(chan, &value, NX_POLL);
}

int64_t nxt_recv_now(nx_chan *chan)
{
    int64_t value = -1;
    int error = nx_chan_recv(chan, &value, NX_POLL);
    return error < 0 ? error : value;
}
