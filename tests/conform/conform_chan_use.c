/* conform_chan_use.c: channels: giving up, who may use them, several at once, taking turns. */
#include "nxt_chan.h"
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const size_t capacities[] = {0, 1, 7, NX_UNBOUNDED};
static const unsigned kinds[] = {0, NX_CHAN_LOCAL};

/* ---- giving up ---- */

static void cancel_waiters(unsigned flags, int where)
{
    nx_chan *chan = nxt_chan(sizeof(int64_t), 1, flags);
    struct nxt_user receivers[3], senders[3];
    for (int i = 0; i < 3; i++) {
        receivers[i] = (struct nxt_user){.chan = chan};
        nxt_user_start(&receivers[i], where, nxt_recv_value);
        nxt_await(nxt_waiting(chan) == i + 1);
    }
    nx_cancel(receivers[1].task);
    nxt_expect_eq(nxt_user_result(&receivers[1]), -ECANCELED);
    nxt_expect_eq(nxt_send_now(chan, 1), 0);
    nxt_expect_eq(nxt_send_now(chan, 2), 0);
    nxt_expect_eq(nxt_send_now(chan, 3), 0); /* nobody is left to take this one */
    nxt_expect_eq(nxt_send_now(chan, 4), -EAGAIN);
    nxt_expect_eq(nxt_user_result(&receivers[0]), 1);
    nxt_expect_eq(nxt_user_result(&receivers[2]), 2);
    for (int i = 0; i < 3; i++) {
        senders[i] = (struct nxt_user){.chan = chan, .first = 4 + i, .count = 1};
        nxt_user_start(&senders[i], where, nxt_send_values);
        nxt_await(nxt_waiting(chan) == i + 1);
    }
    nx_cancel(senders[0].task);
    nxt_expect_eq(nxt_user_result(&senders[0]), -ECANCELED);
    nxt_expect_eq(nxt_recv_now(chan), 3);
    nxt_expect_eq(nxt_recv_now(chan), 5);
    nxt_expect_eq(nxt_recv_now(chan), 6);
    nxt_expect_eq(nxt_recv_now(chan), -EAGAIN);
    nxt_expect_eq(nxt_user_result(&senders[1]), 0);
    nxt_expect_eq(nxt_user_result(&senders[2]), 0);
    nx_chan_destroy(chan);
}

NXT_HOME_TEST(a_cancelled_waiter_takes_nothing_and_leaves_nothing)
{
    cancel_waiters(0, 0);
    cancel_waiters(0, 1);
    cancel_waiters(NX_CHAN_LOCAL, 0);
}

static intptr_t use_when_cancelled(void *arg)
{
    nx_chan *chan = arg;
    int64_t value = 5;
    nx_cancel(nx_self());
    nxt_expect_eq(nx_chan_send(chan, &value, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_chan_send(chan, &value, NX_POLL), -ECANCELED);
    nxt_expect_eq(nx_chan_send_many(chan, &value, 1, NX_FOREVER), -ECANCELED);
    nx_shield(NX_FOREVER);
    nxt_expect_eq(nx_chan_len(chan), 0);
    nxt_expect_eq(nx_chan_send(chan, &value, NX_FOREVER), 0);
    nx_shield(0);
    nxt_expect_eq(nx_chan_recv(chan, &value, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_chan_recv_many(chan, &value, 1, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_chan_len(chan), 1);
    return 0;
}

NXT_HOME_TEST(a_cancelled_task_neither_sends_nor_receives_unless_shielded)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        nx_chan *chan = nxt_chan(sizeof(int64_t), 2, kinds[k]);
        nxt_result(nxt_task_on(0, use_when_cancelled, chan));
        nx_chan_destroy(chan);
    }
}

/* The waiter has been served but has not run yet when its reason to give up comes: what was transferred wins. */
static void serve_then_cancel(unsigned flags, int where)
{
    nx_chan *chan = nxt_chan(sizeof(int64_t), 0, flags);
    struct nxt_user receiver = {.chan = chan}, sender = {.chan = chan, .first = 8, .count = 1};
    nxt_user_start(&receiver, where, nxt_recv_value);
    nxt_await(nxt_waiting(chan) == 1);
    nxt_expect_eq(nxt_send_now(chan, 7), 0);
    nx_cancel(receiver.task);
    nxt_expect_eq(nxt_user_result(&receiver), 7);
    nxt_user_start(&sender, where, nxt_send_values);
    nxt_await(nxt_waiting(chan) == 1);
    nxt_expect_eq(nxt_recv_now(chan), 8);
    nx_cancel(sender.task);
    nxt_expect_eq(nxt_user_result(&sender), 0);
    nx_chan_destroy(chan);
}

NXT_HOME_TEST(a_waiter_that_is_served_and_then_cancelled_has_been_served)
{
    for (int64_t i = 0; i < nxt_scaled(100, 10); i++) {
        serve_then_cancel(kinds[i % 2], 0);
        serve_then_cancel(0, 1);
    }
}

NXT_HOME_TEST(a_waiter_that_is_served_after_its_deadline_but_before_it_has_seen_that_has_been_served)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        nx_chan *chan = nxt_chan(sizeof(int64_t), 0, kinds[k]);
        struct nxt_user receiver = {.chan = chan, .deadline = nx_after_ms(20)};
        nxt_user_start(&receiver, 0, nxt_recv_value);
        nxt_await(nxt_waiting(chan) == 1 || nx_now() > receiver.deadline);
        while (nx_now() <= receiver.deadline)
            nxt_burn(100000); /* the only worker: it can't run */
        int sent = nxt_send_now(chan, 7);
        nxt_expect_eq(nxt_user_result(&receiver), sent == 0 ? 7 : -ETIMEDOUT); /* a slow machine may miss it */
        struct nxt_user sender = {.chan = chan, .first = 8, .count = 1, .deadline = nx_after_ms(20)};
        nxt_user_start(&sender, 0, nxt_send_values);
        nxt_await(nxt_waiting(chan) == 1 || nx_now() > sender.deadline);
        while (nx_now() <= sender.deadline)
            nxt_burn(100000);
        int64_t received = nxt_recv_now(chan);
        nxt_expect_eq(nxt_user_result(&sender), received == 8 ? 0 : -ETIMEDOUT);
        nx_chan_destroy(chan);
    }
}

/* ---- who may ---- */

static intptr_t use_from_elsewhere(void *arg)
{
    struct nxt_user *user = arg;
    int64_t values[2] = {1, 2};
    nxt_expect_eq(nx_chan_send(user->chan, values, NX_FOREVER), -EXDEV);
    nxt_expect_eq(nx_chan_recv(user->chan, values, NX_FOREVER), -EXDEV);
    nxt_expect_eq(nx_chan_recv(user->chan, values, NX_POLL), -EXDEV);
    nxt_expect_eq(nx_chan_send_many(user->chan, values, 2, NX_FOREVER), -EXDEV);
    nxt_expect_eq(nx_chan_recv_many(user->chan, values, 2, NX_FOREVER), -EXDEV);
    nxt_expect_eq(nx_chan_len(user->chan), 0);
    nxt_expect(!nx_chan_closed(user->chan));
    nx_chan_close(user->chan); /* nothing */
    return 0;
}

NXT_HOME_TEST(a_local_channel_refuses_all_but_its_worker_and_is_unharmed)
{
    nx_chan *chan = nxt_chan(sizeof(int64_t), 2, NX_CHAN_LOCAL);
    nx_runtime *other = nxt_start(NXT_OPTIONS(.workers = 1));
    nxt_require(chan && other);
    nxt_expect_eq(nxt_send_now(chan, 6), 0);
    struct nxt_user users[3] = {{.chan = chan}, {.chan = chan}, {.chan = chan}};
    nxt_user_start(&users[0], NXT_THREAD, use_from_elsewhere);
    nxt_user_start(&users[1], 1, use_from_elsewhere);
    users[2].task = nx_spawn_on(other, NULL, use_from_elsewhere, &users[2]);
    for (int i = 0; i < 3; i++)
        nxt_user_result(&users[i]);
    nxt_expect(!nx_chan_closed(chan));
    nxt_expect_eq(nxt_recv_now(chan), 6);
    nx_chan_destroy(chan);
    nxt_stop(other);
}

NXT_TEST(a_local_channel_is_not_made_outside_a_task)
{
    nx_chan *chan = (nx_chan *)&chan;
    const nx_chan_options options = {.size = sizeof(options), .flags = NX_CHAN_LOCAL};
    nxt_expect_eq(nx_chan_create_with(&options, &chan), -EXDEV);
    nxt_expect(chan == (nx_chan *)&chan);
}

NXT_HOME_TEST(tasks_of_two_runtimes_and_a_thread_share_a_channel)
{
    nx_runtime *other = nxt_start(NXT_OPTIONS(.workers = 2));
    nxt_require(other);
    for (size_t i = 0; i < NXT_COUNT(capacities); i++) {
        nx_chan *chan = nxt_chan(sizeof(int64_t), capacities[i], 0);
        struct nxt_user there = {.chan = chan, .count = 300}, thread = {.chan = chan, .count = 300};
        there.task = nx_spawn_on(other, NULL, nxt_send_values, &there);
        nxt_user_start(&thread, NXT_THREAD, nxt_send_values);
        int64_t sum = 0, value;
        for (int k = 0; k < 600; k++) {
            nxt_expect_eq(nx_chan_recv(chan, &value, NX_FOREVER), 0);
            sum += value;
        }
        nxt_expect_eq(sum, 2 * (299 * 300 / 2));
        nxt_expect_eq(nxt_user_result(&there), 0);
        nxt_expect_eq(nxt_user_result(&thread), 0);
        nx_chan_destroy(chan);
    }
    nxt_stop(other);
}

NXT_TEST(a_thread_alone_uses_a_channel_without_any_runtime)
{
    nx_chan *chan = NULL;
    nxt_require_eq(nx_chan_create(sizeof(int64_t), 2, &chan), 0);
    struct nxt_user sender = {.chan = chan, .count = 1000}, receiver = {.chan = chan};
    sender.thread = nxt_thread_start(nxt_send_values, &sender);
    receiver.thread = nxt_thread_start(nxt_recv_values, &receiver);
    nxt_expect_eq(nxt_thread_join(sender.thread), 0);
    nx_chan_close(chan);
    nxt_expect_eq(nxt_thread_join(receiver.thread), 1000);
    nx_chan_destroy(chan);
}

NXT_TEST(what_cannot_be_a_channel_or_an_element_is_refused)
{
    nx_chan *chan = (nx_chan *)&chan;
    nx_chan_options options = {.size = sizeof(options), .elem_size = 8, .capacity = SIZE_MAX / 16 + 1};
    nxt_expect_eq(nx_chan_create(8, 1, NULL), -EINVAL);
    nxt_expect_eq(nx_chan_create_with(&options, &chan), -EINVAL);
    options = (nx_chan_options){.size = sizeof(options), .flags = 1u << 20};
    nxt_expect_eq(nx_chan_create_with(&options, &chan), -EINVAL);
    options = (nx_chan_options){.size = 0};
    nxt_expect_eq(nx_chan_create_with(&options, &chan), -EINVAL);
    nxt_expect_eq(nx_chan_create(SIZE_MAX / 2 + 1, NX_UNBOUNDED, &chan), -EINVAL);
    nxt_expect_eq(nx_chan_create(SIZE_MAX / 4, 3, &chan), -EINVAL);
    if (!NXT_ASAN && !NXT_TSAN) /* their allocators end the process */
        nxt_expect_eq(nx_chan_create(SIZE_MAX / 4, 1, &chan), -ENOMEM);
    nxt_expect(chan == (nx_chan *)&chan);
    nxt_require_eq(nx_chan_create(8, 1, &chan), 0);
    nxt_expect_eq(nx_chan_send(NULL, "", NX_POLL), -EINVAL);
    nxt_expect_eq(nx_chan_send(chan, NULL, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_chan_send_many(chan, NULL, 1, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_chan_send_many(chan, "", SIZE_MAX, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_chan_recv(NULL, &options, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_chan_recv(chan, NULL, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_chan_recv_many(chan, NULL, 1, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_chan_recv_many(chan, &options, SIZE_MAX, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_chan_send_many(chan, NULL, 0, NX_FOREVER), 0);
    nxt_expect_eq(nx_chan_recv_many(chan, NULL, 0, NX_FOREVER), 0);
    nxt_expect_eq(nx_chan_len(NULL), 0);
    nx_chan_destroy(chan);
}

/* ---- others get their turn ---- */

struct turns {
    nx_chan *chan;
    int wanted, seen; /* on one worker: the other task has run since it was wanted */
};

#define WAYS 5

static void use_without_parking(nx_chan *chan, int way)
{
    int64_t value = 0;
    switch (way) {
    case 0:
        nxt_expect_eq(nxt_send_now(chan, 1), 0);
        nxt_expect_eq(nxt_recv_now(chan), 1);
        break;
    case 1:
        nxt_expect_eq(nxt_recv_now(chan), -EAGAIN);
        break;
    case 2:
        nxt_expect_eq(nx_chan_recv(chan, &value, 1), -ETIMEDOUT);
        break;
    case 3:
        nxt_expect_eq(nx_chan_send_many(chan, &value, 1, NX_POLL), 1);
        nxt_expect_eq(nx_chan_recv_many(chan, &value, 1, NX_POLL), 1);
        break;
    default:
        nx_cancel(nx_self());
        nxt_expect_eq(nx_chan_recv(chan, &value, NX_FOREVER), -ECANCELED);
    }
}

static intptr_t use_until_seen(void *arg)
{
    struct turns *turns = arg;
    for (int way = 0; way < WAYS; way++) {
        int calls = 0;
        turns->wanted = way + 1;
        for (; turns->seen != turns->wanted; calls++)
            use_without_parking(turns->chan, way);
        nxt_expect_le(calls, 200);
    }
    return 0;
}

static intptr_t see(void *arg)
{
    struct turns *turns = arg;
    while (turns->seen < WAYS) {
        turns->seen = turns->wanted;
        nx_yield();
    }
    return 0;
}

NXT_HOME_TEST(calls_that_never_park_let_other_tasks_run_all_the_same)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        struct turns turns = {.chan = nxt_chan(sizeof(int64_t), 4, kinds[k])};
        nx_task other = nxt_task_on(0, see, &turns);
        nxt_expect_eq(nxt_result(nxt_task_on(0, use_until_seen, &turns)), 0);
        nxt_expect_eq(nxt_result(other), 0);
        nx_chan_destroy(turns.chan);
    }
}

/* ---- several at once ---- */

static bool is_row(const int64_t *values, ssize_t count, int64_t first)
{
    for (ssize_t i = 0; i < count; i++)
        if (!nxt_expect_eq(values[i], first + i))
            return false;
    return true;
}

static const int64_t row[20] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19};

NXT_HOME_TEST(several_are_sent_and_received_as_far_as_they_go)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        int64_t out[20];
        nx_chan *chan = nxt_chan(sizeof(int64_t), 7, kinds[k]);
        for (int round = 0; round < 10; round++) { /* across the end of the ring at all places */
            nxt_expect_eq(nx_chan_send_many(chan, row, 20, NX_FOREVER), 7);
            nxt_expect_eq(nx_chan_send_many(chan, row, 20, NX_POLL), -EAGAIN);
            nxt_expect_eq(nx_chan_send_many(chan, row, 20, 1), -ETIMEDOUT);
            nxt_expect_eq(nx_chan_recv_many(chan, out, 3, NX_FOREVER), 3);
            is_row(out, 3, 0);
            nxt_expect_eq(nx_chan_send_many(chan, row + 7, 2, NX_FOREVER), 2);
            nxt_expect_eq(nx_chan_recv_many(chan, out, 20, NX_FOREVER), 6);
            is_row(out, 6, 3);
            nxt_expect_eq(nx_chan_recv_many(chan, out, 20, NX_POLL), -EAGAIN);
            nxt_expect_eq(nx_chan_recv_many(chan, out, 20, nx_after_ns(100000)), -ETIMEDOUT);
        }
        nxt_expect_eq(nx_chan_send_many(chan, row, 2, NX_FOREVER), 2);
        nx_chan_close(chan);
        nxt_expect_eq(nx_chan_recv_many(chan, out, 20, NX_FOREVER), 2);
        nxt_expect_eq(nx_chan_recv_many(chan, out, 20, NX_FOREVER), -EPIPE);
        nx_chan_destroy(chan);
    }
}

static void serve_many_receivers(size_t capacity, unsigned flags, int where)
{
    nx_chan *chan = nxt_chan(sizeof(int64_t), capacity, flags);
    struct nxt_user receivers[3];
    for (int i = 0; i < 3; i++) {
        receivers[i] = (struct nxt_user){.chan = chan};
        nxt_user_start(&receivers[i], where, nxt_recv_value);
        nxt_await(nxt_waiting(chan) == i + 1);
    }
    size_t sent = capacity == NX_UNBOUNDED ? 20 : 3 + capacity;
    nxt_expect_eq(nx_chan_send_many(chan, row, 20, NX_POLL), sent);
    for (int i = 0; i < 3; i++)
        nxt_expect_eq(nxt_user_result(&receivers[i]), i);
    for (size_t i = 3; i < sent; i++)
        nxt_expect_eq(nxt_recv_now(chan), i);
    nx_chan_destroy(chan);
}

static void serve_many_senders(size_t capacity, unsigned flags, int where, ssize_t max)
{
    nx_chan *chan = nxt_chan(sizeof(int64_t), capacity, flags);
    int64_t out[20];
    struct nxt_user senders[3];
    ssize_t all = (ssize_t)capacity + 3;
    nxt_expect_eq(nx_chan_send_many(chan, row, capacity, NX_POLL), capacity);
    for (int i = 0; i < 3; i++) {
        senders[i] = (struct nxt_user){.chan = chan, .first = (int64_t)capacity + i, .count = 1};
        nxt_user_start(&senders[i], where, nxt_send_values);
        nxt_await(nxt_waiting(chan) == i + 1);
    }
    ssize_t got = max < all ? max : all;
    nxt_expect_eq(nx_chan_recv_many(chan, out, (size_t)max, NX_POLL), got);
    is_row(out, got, 0);
    nxt_expect_eq(nxt_waiting(chan), got < 3 ? 3 - got : 0); /* each place that came free has let one in */
    for (ssize_t i = got; i < all; i++)
        nxt_expect_eq(nxt_recv_now(chan), i);
    for (int i = 0; i < 3; i++)
        nxt_expect_eq(nxt_user_result(&senders[i]), 0);
    nx_chan_destroy(chan);
}

NXT_HOME_TEST(several_at_once_serve_those_who_wait_in_turn)
{
    for (int where = NXT_THREAD; where < 2; where++)
        for (int k = 0; k < (where == 0 ? 2 : 1); k++)
            for (size_t i = 0; i < NXT_COUNT(capacities); i++) {
                serve_many_receivers(capacities[i], kinds[k], where);
                for (ssize_t max = 1; max < 12 && capacities[i] != NX_UNBOUNDED; max++)
                    serve_many_senders(capacities[i], kinds[k], where, max);
            }
}

static intptr_t send_row(void *arg)
{
    return nx_chan_send_many(((struct nxt_user *)arg)->chan, row, 20, NX_FOREVER);
}

static intptr_t recv_row(void *arg)
{
    int64_t out[20];
    ssize_t count = nx_chan_recv_many(((struct nxt_user *)arg)->chan, out, 20, NX_FOREVER);
    return is_row(out, count, 0) ? count : 0;
}

NXT_HOME_TEST(several_wait_until_one_has_gone)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        nx_chan *chan = nxt_chan(sizeof(int64_t), 7, kinds[k]);
        struct nxt_user receiver = {.chan = chan}, sender = {.chan = chan};
        nxt_user_start(&receiver, 0, recv_row);
        nxt_await(nxt_waiting(chan) == 1);
        nxt_expect_eq(nx_chan_send_many(chan, row, 5, NX_FOREVER), 5); /* one to it, four that it finds */
        nxt_expect_eq(nxt_user_result(&receiver), 5);
        nxt_expect_eq(nx_chan_send_many(chan, row + 1, 7, NX_FOREVER), 7);
        nxt_user_start(&sender, 0, send_row);
        nxt_await(nxt_waiting(chan) == 1);
        int64_t out[2];
        nxt_expect_eq(nx_chan_recv_many(chan, out, 2, NX_FOREVER), 2); /* room for its first, and one more */
        nxt_expect_eq(nxt_user_result(&sender), 2);
        nxt_expect_eq(nx_chan_len(chan), 7);
        nxt_user_start(&sender, 0, send_row);
        nxt_await(nxt_waiting(chan) == 1);
        nx_cancel(sender.task);
        nxt_expect_eq(nxt_user_result(&sender), -ECANCELED);
        nxt_user_start(&sender, 0, send_row);
        nxt_await(nxt_waiting(chan) == 1);
        nx_chan_close(chan);
        nxt_expect_eq(nxt_user_result(&sender), -EPIPE);
        nxt_expect_eq(nx_chan_len(chan), 7);
        nx_chan_destroy(chan);
    }
}

#define FLOOD 700 /* more than go under one hold of the lock */

static intptr_t send_flood(void *arg)
{
    struct nxt_user *user = arg;
    int64_t values[FLOOD], sent = 0;
    while (sent < user->count) {
        int64_t count = user->count - sent < FLOOD ? user->count - sent : FLOOD;
        for (int64_t i = 0; i < count; i++)
            values[i] = sent + i;
        ssize_t gone = nx_chan_send_many(user->chan, values, (size_t)count, NX_FOREVER);
        nxt_require(gone > 0, gone);
        sent += gone;
    }
    return 0;
}

static intptr_t recv_flood(void *arg)
{
    struct nxt_user *user = arg;
    int64_t values[FLOOD], received = 0;
    ssize_t got;
    while ((got = nx_chan_recv_many(user->chan, values, FLOOD, NX_FOREVER)) > 0) {
        nxt_require(is_row(values, got, received), -1);
        received += got;
    }
    return got == -EPIPE ? received : got;
}

NXT_HOME_TEST(floods_pass_in_order_by_any_capacity_between_workers_and_threads)
{
    static const int ways[][2] = {{0, 0}, {0, 1}, {NXT_THREAD, 1}, {1, NXT_THREAD}};
    static const size_t sizes[] = {0, 7, 300, 2000, NX_UNBOUNDED};
    for (size_t i = 0; i < NXT_COUNT(sizes) * NXT_COUNT(ways); i++) {
        const int *way = ways[i % NXT_COUNT(ways)];
        nx_chan *chan = nxt_chan(sizeof(int64_t), sizes[i / NXT_COUNT(ways)], 0);
        struct nxt_user sender = {.chan = chan, .count = nxt_scaled(20000, 2000)}, receiver = sender;
        nxt_user_start(&sender, way[0], send_flood);
        nxt_user_start(&receiver, way[1], recv_flood);
        nxt_expect_eq(nxt_user_result(&sender), 0);
        nx_chan_close(chan);
        nxt_expect_eq(nxt_user_result(&receiver), receiver.count);
        nx_chan_destroy(chan);
    }
}

/* ---- fork ---- */

/* In the child, which is not to report: the number of the first call that is wrong, or 0. */
static int wrong_after_fork(nx_chan *const *chans)
{
    for (int i = 0; i < 2; i++) {
        nx_chan *chan = chans[i], *other;
        int64_t value = 1;
        const int results[] = {
            nx_chan_create(8, 1, &other),
            nx_chan_send(chan, &value, NX_POLL),
            nx_chan_recv(chan, &value, NX_FOREVER),
            (int)nx_chan_send_many(chan, &value, 1, NX_POLL),
            (int)nx_chan_recv_many(chan, &value, 1, NX_FOREVER),
        };
        for (size_t k = 0; k < NXT_COUNT(results); k++)
            if (results[k] != -NX_EFORKED)
                return 10 * i + (int)k + 1;
        nx_chan_close(chan);
        nx_chan_destroy(chan);
    }
    return 0;
}

NXT_HOME_TEST(in_a_forked_child_a_channel_refuses_and_the_parents_goes_on)
{
    nx_chan *chans[] = {nxt_chan(8, 1, 0), nxt_chan(8, 1, NX_CHAN_LOCAL)};
    pid_t pid = fork();
    if (pid == 0)
        _exit(wrong_after_fork(chans));
    int status = -1;
    nxt_expect_eq(waitpid(pid, &status, 0), pid);
    nxt_expect(WIFEXITED(status));
    nxt_expect_eq(WEXITSTATUS(status), 0);
    for (int i = 0; i < 2; i++) {
        nxt_expect_eq(nxt_send_now(chans[i], 3), 0);
        nxt_expect_eq(nxt_recv_now(chans[i]), 3);
        nx_chan_destroy(chans[i]);
    }
}
