/*
 * conform_chan_home.c: channels: a worker that has one to itself, until others come; also where membarrier(2), which
 * makes that cheap, is forbidden from the start, or from some moment on.
 */
#include "nxt_chan.h"
#include "nxt_net.h"
#include <sys/syscall.h>

struct both {
    int64_t mine_sent, mine, theirs; /* mine go down from -1, theirs up from 0 */
};

/* One, if there is one: false if it is not the next of its sender. */
static bool take_one(nx_chan *chan, struct both *both)
{
    int64_t value;
    if (nx_chan_recv(chan, &value, NX_POLL) < 0)
        return true;
    return nxt_expect_eq(value, value < 0 ? -1 - both->mine++ : both->theirs++);
}

static void send_mine(nx_chan *chan, struct both *both)
{
    both->mine_sent += nxt_send_now(chan, -1 - both->mine_sent) == 0;
}

/* The task has the channel to itself for long. */
static void be_alone(nx_chan *chan, struct both *both)
{
    for (int i = 0; i < 200; i++) {
        send_mine(chan, both);
        take_one(chan, both);
    }
}

/* It goes on while others begin to send, or one does. */
static void be_joined(nx_chan *chan, struct both *both, int where)
{
    struct nxt_user user = {.chan = chan, .count = 50};
    nxt_user_start(&user, where, nxt_send_values);
    bool right = true;
    while (right && both->theirs < user.count) {
        send_mine(chan, both);
        right = take_one(chan, both) && take_one(chan, both);
    }
    if (!right)
        nx_chan_close(chan);
    nxt_expect_eq(nxt_user_result(&user), 0);
    while (right && nx_chan_len(chan) > 0)
        right = take_one(chan, both);
    nxt_expect_eq(both->mine, both->mine_sent);
    nxt_expect_eq(both->theirs, user.count);
}

static void join_in(size_t capacity, int where)
{
    struct both both = {0};
    nx_chan *chan = nxt_chan(sizeof(int64_t), capacity, 0);
    be_alone(chan, &both);
    be_joined(chan, &both, where);
    nx_chan_destroy(chan);
}

NXT_HOME_TEST(a_worker_that_has_a_channel_to_itself_loses_nothing_when_others_join_in)
{
    for (int64_t i = nxt_scaled(200, 10); i > 0; i--) {
        join_in(3, NXT_THREAD);
        join_in(NX_UNBOUNDED, NXT_THREAD);
        join_in(8, 1);
    }
}

/* ---- without membarrier(2) ---- */

static void join_in_everywhere(void)
{
    join_in(3, NXT_THREAD);
    join_in(NX_UNBOUNDED, 1);
}

/* Whoever joins in holds the locks for long now, so the worker sleeps for one, without anybody to wake it. */
static void forbid_when_alone(void)
{
    static const int where[] = {NXT_THREAD, 1, NXT_THREAD};
    nx_chan *chans[NXT_COUNT(where)];
    struct both both[NXT_COUNT(where)] = {{0}};
    for (size_t i = 0; i < NXT_COUNT(where); i++) {
        chans[i] = nxt_chan(sizeof(int64_t), 4, 0);
        be_alone(chans[i], &both[i]);
    }
    nxt_expect(nxt_deny(SYS_membarrier, EPERM));
    for (size_t i = 0; i < NXT_COUNT(where); i++) {
        be_joined(chans[i], &both[i], where[i]);
        nx_chan_destroy(chans[i]);
    }
    join_in_everywhere();
}

static intptr_t at_home(void *arg)
{
    nxt_at_home(arg ? join_in_everywhere : forbid_when_alone);
    return 0;
}

static int run_at_home(void *arg)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    nxt_require(runtime, 1);
    int error = nx_block_on(runtime, at_home, arg, NULL);
    nxt_stop(runtime);
    return nxt_expect_eq(error, 0) ? 0 : 1;
}

NXT_CHILD(never_may_call_membarrier)
{
    char before = 0;
    nxt_require(nxt_deny(SYS_membarrier, ENOSYS), 1);
    return run_at_home(&before);
}

NXT_CHILD(no_longer_may_call_membarrier)
{
    return run_at_home(NULL);
}

static void expect_ok(const struct nxt_output *output)
{
    if (!nxt_expect_eq(output->status, 0))
        nxt_show_output(output);
}

NXT_TEST(channels_and_locks_do_without_membarrier)
{
    static struct nxt_output output;
    if (!nxt_can_deny()) {
        nxt_skip("no seccomp filters here");
        return;
    }
    nxt_run_child(never_may_call_membarrier, NULL, &output);
    expect_ok(&output);
}

NXT_TEST(a_filter_that_comes_later_and_forbids_membarrier_loses_no_message)
{
    static struct nxt_output output;
    if (!nxt_can_deny()) {
        nxt_skip("no seccomp filters here");
        return;
    }
    nxt_run_child(no_longer_may_call_membarrier, NULL, &output);
    expect_ok(&output);
}
