/* conform_chan.c: channels: what goes in comes out, once and in order, and who waits for what. */
#include "core.h"
#include "nxt_chan.h"
#include <stdlib.h>

static const size_t capacities[] = {0, 1, 7, NX_UNBOUNDED};
static const unsigned kinds[] = {0, NX_CHAN_LOCAL};

/* ---- values ---- */

static void pass_values(size_t capacity, unsigned flags, int from, int to)
{
    nx_chan *chan = nxt_chan(sizeof(int64_t), capacity, flags);
    nxt_require(chan);
    int64_t count = nxt_scaled(2000, 200);
    struct nxt_user sender = {.chan = chan, .first = 5, .count = count}, receiver = {.chan = chan, .first = 5};
    nxt_user_start(&sender, from, nxt_send_values);
    nxt_user_start(&receiver, to, nxt_recv_values);
    nxt_expect_eq(nxt_user_result(&sender), 0);
    nx_chan_close(chan);
    nxt_expect_eq(nxt_user_result(&receiver), count);
    nx_chan_destroy(chan);
}

NXT_HOME_TEST(values_arrive_once_and_in_order_at_any_capacity_from_anywhere_to_anywhere)
{
    static const int ways[][2] = {{0, 0}, {0, 1}, {1, 0}, {NXT_THREAD, 0}, {1, NXT_THREAD}, {NXT_THREAD, NXT_THREAD}};
    for (size_t i = 0; i < NXT_COUNT(capacities); i++)
        for (size_t k = 0; k < NXT_COUNT(ways); k++)
            pass_values(capacities[i], 0, ways[k][0], ways[k][1]);
}

NXT_HOME_TEST(values_pass_through_a_local_channel_at_any_capacity)
{
    for (size_t i = 0; i < NXT_COUNT(capacities); i++)
        pass_values(capacities[i], NX_CHAN_LOCAL, 0, 0);
}

NXT_HOME_TEST(elements_of_any_size_come_out_as_they_went_in)
{
    static const size_t sizes[] = {1, 3, 4, 8, 12, 16, 100, 4064, 5000, 70000};
    static char in[70000], out[70001];
    for (size_t i = 0; i < NXT_COUNT(sizes) * 4; i++) {
        size_t size = sizes[i / 4];
        nx_chan *chan = nxt_chan(size, i % 2 ? 3 : NX_UNBOUNDED, kinds[i / 2 % 2]);
        for (uint32_t seed = 0; seed < 20; seed++) {
            nxt_fill(in, size, 0, seed);
            nxt_expect_eq(nx_chan_send(chan, in, NX_POLL), 0);
            if (seed == 0)
                continue; /* one stays behind, so that they cross the ring's end, or a block's, at all places */
            out[size] = 'x';
            nxt_expect_eq(nx_chan_recv(chan, out, NX_POLL), 0);
            nxt_expect_eq(nxt_check_fill(out, size, 0, seed - 1), size);
            nxt_expect_eq(out[size], 'x');
        }
        nx_chan_destroy(chan);
    }
}

static intptr_t send_nothing(void *arg)
{
    return nx_chan_send(arg, NULL, NX_FOREVER);
}

NXT_HOME_TEST(a_channel_of_elements_without_size_counts)
{
    for (size_t i = 0; i < NXT_COUNT(capacities) * 2; i++) {
        size_t capacity = capacities[i / 2];
        nx_chan *chan = nxt_chan(0, capacity, kinds[i % 2]);
        nx_task task = nxt_task_on(0, send_nothing, chan);
        nxt_expect_eq(nx_chan_recv(chan, NULL, NX_FOREVER), 0);
        nxt_expect_eq(nxt_result(task), 0);
        size_t room = capacity == NX_UNBOUNDED ? 100000 : capacity;
        nxt_expect_eq(nx_chan_send_many(chan, NULL, 100000, NX_POLL), room == 0 ? -EAGAIN : (ssize_t)room);
        nxt_expect_eq(nx_chan_len(chan), room);
        nxt_expect_eq(nx_chan_recv_many(chan, NULL, 100000, NX_POLL), room == 0 ? -EAGAIN : (ssize_t)room);
        nxt_expect_eq(nx_chan_recv(chan, NULL, NX_POLL), -EAGAIN);
        nx_chan_destroy(chan);
    }
}

/* ---- room ---- */

static void fill_it(size_t capacity, unsigned flags)
{
    nx_chan *chan = nxt_chan(sizeof(int64_t), capacity, flags);
    int64_t value = -7;
    for (size_t i = 0; i < capacity; i++)
        nxt_expect_eq(nxt_send_now(chan, (int64_t)i), 0);
    nxt_expect_eq(nx_chan_len(chan), capacity);
    nxt_expect_eq(nxt_send_now(chan, 99), -EAGAIN);
    nxt_expect_eq(nx_chan_send(chan, &value, 1), -ETIMEDOUT);
    nx_time until = nx_after_ms(3);
    nxt_expect_eq(nx_chan_send(chan, &value, until), -ETIMEDOUT);
    nxt_expect_ge(nx_now(), until);
    nxt_expect_eq(nx_chan_len(chan), capacity);
    for (size_t i = 0; i < capacity; i++)
        nxt_expect_eq(nxt_recv_now(chan), i);
    nxt_expect_eq(nx_chan_recv(chan, &value, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_chan_recv(chan, &value, 1), -ETIMEDOUT);
    until = nx_after_ms(3);
    nxt_expect_eq(nx_chan_recv(chan, &value, until), -ETIMEDOUT);
    nxt_expect_ge(nx_now(), until);
    nxt_expect_eq(value, -7);
    nxt_expect_eq(nx_chan_len(chan), 0);
    nxt_expect_eq(nxt_waiting(chan), 0);
    nx_chan_destroy(chan);
}

NXT_HOME_TEST(a_full_channel_refuses_a_send_and_an_empty_one_a_receive_when_their_time_is_up)
{
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < NXT_COUNT(kinds); k++)
            fill_it(capacities[i], kinds[k]);
}

NXT_TEST(a_threads_calls_time_out_too)
{
    for (size_t i = 0; i < 3; i++)
        fill_it(capacities[i], 0);
}

NXT_HOME_TEST(a_deadline_that_has_passed_tries_once)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        nx_chan *chan = nxt_chan(sizeof(int64_t), 1, kinds[k]);
        int64_t value = 3;
        nxt_expect_eq(nx_chan_send(chan, &value, 1), 0);
        value = 0;
        nxt_expect_eq(nx_chan_recv(chan, &value, -1), 0);
        nxt_expect_eq(value, 3);
        nx_chan_destroy(chan);
    }
}

static void wait_for_room(size_t capacity, unsigned flags, int where)
{
    nx_chan *chan = nxt_chan(sizeof(int64_t), capacity, flags);
    struct nxt_user sender = {.chan = chan, .count = (int64_t)capacity + 2};
    nxt_user_start(&sender, where, nxt_send_values);
    for (size_t i = 0; i < capacity + 2; i++) {
        nxt_await(nxt_waiting(chan) == 1 || i > 1); /* with the last two inside it has returned */
        nxt_expect_eq(nx_chan_len(chan), i > 1 ? capacity + 2 - i : capacity);
        nxt_expect_eq(nxt_recv_now(chan), i);
        if (i == 0 && where != NXT_THREAD)
            nxt_expect_eq(nx_join(sender.task, NULL, NX_POLL), -EAGAIN);
    }
    nxt_expect_eq(nxt_user_result(&sender), 0);
    nx_chan_destroy(chan);
}

NXT_HOME_TEST(a_sender_without_room_waits_and_each_receive_lets_it_send_one_more)
{
    for (size_t i = 0; i < 3; i++) {
        wait_for_room(capacities[i], 0, 0);
        wait_for_room(capacities[i], 0, 1);
        wait_for_room(capacities[i], 0, NXT_THREAD);
        wait_for_room(capacities[i], NX_CHAN_LOCAL, 0);
    }
}

NXT_HOME_TEST(a_rendezvous_takes_place_only_when_both_are_there)
{
    for (int i = 0; i < 4; i++) {
        int where = i == 3 ? NXT_THREAD : i / 2;
        nx_chan *chan = nxt_chan(sizeof(int64_t), 0, where == 0 ? kinds[i] : 0);
        struct nxt_user receiver = {.chan = chan}, sender = {.chan = chan, .first = 4, .count = 1};
        nxt_expect_eq(nxt_send_now(chan, 3), -EAGAIN);
        nxt_user_start(&receiver, where, nxt_recv_value);
        nxt_await(nxt_waiting(chan) == 1);
        nxt_expect_eq(nxt_send_now(chan, 3), 0);
        nxt_expect_eq(nxt_user_result(&receiver), 3);
        nxt_expect_eq(nxt_recv_now(chan), -EAGAIN);
        nxt_user_start(&sender, where, nxt_send_values);
        nxt_await(nxt_waiting(chan) == 1);
        nxt_expect_eq(nx_chan_len(chan), 0);
        nxt_expect_eq(nxt_recv_now(chan), 4);
        nxt_expect_eq(nxt_user_result(&sender), 0);
        nx_chan_destroy(chan);
    }
}

/* ---- memory ---- */

NXT_HOME_TEST(a_bounded_channel_has_all_its_memory_from_the_beginning)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        size_t before = nxi_live_bytes();
        nx_chan *chan = nxt_chan(sizeof(int64_t), 1000, kinds[k]);
        size_t bytes = nxi_live_bytes();
        nxt_expect_gt(bytes - before, 8000);
        for (int64_t i = 0; i < 5000; i++) {
            nxt_expect_eq(nxt_send_now(chan, i), i < 1000 ? 0 : -EAGAIN);
            nxt_expect_eq(nxi_live_bytes(), bytes);
        }
        for (int64_t i = 0; i < 5000; i++) {
            nxt_expect_eq(nxt_recv_now(chan), i);
            nxt_expect_eq(nxt_send_now(chan, i + 1000), 0);
            nxt_expect_eq(nxi_live_bytes(), bytes);
        }
        nx_chan_destroy(chan);
        nxt_expect_eq(nxi_live_bytes(), before);
    }
}

NXT_HOME_TEST(an_unbounded_channel_grows_with_its_content_and_shrinks_again)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        nx_chan *chan = nxt_chan(sizeof(int64_t), NX_UNBOUNDED, kinds[k]);
        size_t before = nxi_live_bytes();
        for (int round = 0; round < 3; round++) {
            for (int64_t i = 0; i < 20000; i++)
                nxt_expect_eq(nxt_send_now(chan, i), 0);
            nxt_expect_ge(nxi_live_bytes() - before, 160000);
            for (int64_t i = 0; i < 20000; i++)
                nxt_expect_eq(nxt_recv_now(chan), i);
            nxt_expect_lt(nxi_live_bytes() - before, 3 * 4096);
        }
        size_t bytes = nxi_live_bytes();
        for (int64_t i = 0; i < 5000; i++) { /* a few inside: it goes round in what it has */
            nxt_expect_eq(nxt_send_now(chan, i), 0);
            nxt_expect_eq(nxt_recv_now(chan), i);
        }
        nxt_expect_eq(nxi_live_bytes(), bytes);
        nx_chan_destroy(chan);
    }
}

NXT_HOME_TEST(a_channel_is_destroyed_with_what_is_in_it)
{
    for (size_t i = 0; i < NXT_COUNT(capacities); i++)
        for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
            size_t before = nxi_live_bytes();
            nx_chan *chan = nxt_chan(sizeof(int64_t), capacities[i], kinds[k]);
            for (int64_t value = 0; value < 3000 && nxt_send_now(chan, value) == 0; value++)
                ;
            for (int64_t value = 0; value < 1000 && nxt_recv_now(chan) >= 0; value++)
                ;
            nx_chan_destroy(chan);
            nxt_expect_eq(nxi_live_bytes(), before);
        }
    nx_chan_destroy(NULL);
}

/* ---- closing ---- */

static void close_with_content(size_t capacity, unsigned flags)
{
    nx_chan *chan = nxt_chan(sizeof(int64_t), capacity, flags);
    int64_t inside = 0, value;
    while (inside < 3 && nxt_send_now(chan, inside) == 0)
        inside++;
    nxt_expect(!nx_chan_closed(chan));
    nx_chan_close(chan);
    nx_chan_close(chan);
    nxt_expect(nx_chan_closed(chan));
    nxt_expect_eq(nxt_send_now(chan, 9), -EPIPE);
    nxt_expect_eq(nx_chan_send(chan, &(int64_t){9}, NX_FOREVER), -EPIPE);
    nxt_expect_eq(nx_chan_send_many(chan, &(int64_t){9}, 1, NX_FOREVER), -EPIPE);
    nxt_expect_eq(nx_chan_len(chan), inside);
    for (int64_t i = 0; i < inside; i++)
        nxt_expect_eq(nxt_recv_now(chan), i);
    nxt_expect_eq(nxt_recv_now(chan), -EPIPE);
    nxt_expect_eq(nx_chan_recv(chan, &value, NX_FOREVER), -EPIPE);
    nxt_expect_eq(nx_chan_recv_many(chan, &value, 1, NX_FOREVER), -EPIPE);
    nx_chan_destroy(chan);
}

NXT_HOME_TEST(a_closed_channel_takes_nothing_more_and_gives_what_it_has)
{
    for (size_t i = 0; i < NXT_COUNT(capacities); i++)
        for (size_t k = 0; k < NXT_COUNT(kinds); k++)
            close_with_content(capacities[i], kinds[k]);
    nx_chan_close(NULL);
}

static void close_on_senders(size_t capacity, unsigned flags, int where)
{
    nx_chan *chan = nxt_chan(sizeof(int64_t), capacity, flags);
    struct nxt_user senders[3];
    for (size_t i = 0; i < capacity; i++)
        nxt_expect_eq(nxt_send_now(chan, (int64_t)i), 0);
    for (int i = 0; i < 3; i++) {
        senders[i] = (struct nxt_user){.chan = chan, .first = 100, .count = 1};
        nxt_user_start(&senders[i], where, nxt_send_values);
    }
    nxt_await(nxt_waiting(chan) == 3);
    nx_chan_close(chan);
    for (int i = 0; i < 3; i++)
        nxt_expect_eq(nxt_user_result(&senders[i]), -EPIPE);
    for (size_t i = 0; i < capacity; i++) /* and nothing of theirs */
        nxt_expect_eq(nxt_recv_now(chan), i);
    nxt_expect_eq(nxt_recv_now(chan), -EPIPE);
    nx_chan_destroy(chan);
}

static void close_on_receivers(size_t capacity, unsigned flags, int where)
{
    nx_chan *chan = nxt_chan(sizeof(int64_t), capacity, flags);
    struct nxt_user receivers[3];
    for (int i = 0; i < 3; i++) {
        receivers[i] = (struct nxt_user){.chan = chan};
        nxt_user_start(&receivers[i], where, nxt_recv_value);
    }
    nxt_await(nxt_waiting(chan) == 3);
    nx_chan_close(chan);
    for (int i = 0; i < 3; i++)
        nxt_expect_eq(nxt_user_result(&receivers[i]), -EPIPE);
    nx_chan_destroy(chan);
}

NXT_HOME_TEST(closing_ends_the_waits_of_senders_and_receivers)
{
    for (size_t i = 0; i < NXT_COUNT(capacities); i++)
        for (int where = NXT_THREAD; where < 2; where++)
            for (int k = 0; k < (where == 0 ? 2 : 1); k++) {
                if (capacities[i] != NX_UNBOUNDED)
                    close_on_senders(capacities[i], kinds[k], where);
                close_on_receivers(capacities[i], kinds[k], where);
            }
}

static intptr_t close_chan(void *arg)
{
    nx_chan_close(((struct nxt_user *)arg)->chan);
    return 0;
}

NXT_HOME_TEST(a_channel_is_closed_from_anywhere)
{
    for (int where = NXT_THREAD; where < 2; where++) {
        nx_chan *chan = nxt_chan(sizeof(int64_t), 1, 0);
        struct nxt_user closer = {.chan = chan};
        nxt_user_start(&closer, where, close_chan);
        nxt_expect_eq(nx_chan_recv(chan, &(int64_t){0}, NX_FOREVER), -EPIPE);
        nxt_user_result(&closer);
        nx_chan_destroy(chan);
    }
}

/* ---- one for one ---- */

#define WAITERS 5

static void wake_receivers_in_turn(size_t capacity, unsigned flags, int where)
{
    nx_chan *chan = nxt_chan(sizeof(int64_t), capacity, flags);
    struct nxt_user receivers[WAITERS];
    for (int i = 0; i < WAITERS; i++) {
        receivers[i] = (struct nxt_user){.chan = chan};
        nxt_user_start(&receivers[i], where, nxt_recv_value);
        nxt_await(nxt_waiting(chan) == i + 1);
    }
    for (int i = 0; i < WAITERS; i++) {
        nxt_expect_eq(nxt_send_now(chan, 10 + i), 0);
        nxt_expect_eq(nxt_waiting(chan), WAITERS - i - 1); /* so one has gone, and the others go on waiting */
        nxt_expect_eq(nx_chan_len(chan), 0);
        nxt_expect_eq(nxt_user_result(&receivers[i]), 10 + i);
        nxt_expect_eq(nxt_waiting(chan), WAITERS - i - 1);
    }
    nx_chan_destroy(chan);
}

static void wake_senders_in_turn(size_t capacity, unsigned flags, int where)
{
    nx_chan *chan = nxt_chan(sizeof(int64_t), capacity, flags);
    struct nxt_user senders[WAITERS];
    for (size_t i = 0; i < capacity; i++)
        nxt_expect_eq(nxt_send_now(chan, (int64_t)i), 0);
    for (int i = 0; i < WAITERS; i++) {
        senders[i] = (struct nxt_user){.chan = chan, .first = (int64_t)capacity + i, .count = 1};
        nxt_user_start(&senders[i], where, nxt_send_values);
        nxt_await(nxt_waiting(chan) == i + 1);
    }
    for (int i = 0; i < WAITERS; i++) {
        nxt_expect_eq(nxt_recv_now(chan), i);
        nxt_expect_eq(nxt_waiting(chan), WAITERS - i - 1);
        nxt_expect_eq(nx_chan_len(chan), capacity);
        nxt_expect_eq(nxt_user_result(&senders[i]), 0);
    }
    for (size_t i = 0; i < capacity; i++)
        nxt_expect_eq(nxt_recv_now(chan), WAITERS + i);
    nx_chan_destroy(chan);
}

NXT_HOME_TEST(one_value_wakes_one_receiver_and_one_free_place_one_sender_the_first)
{
    for (size_t i = 0; i < NXT_COUNT(capacities); i++)
        for (int where = NXT_THREAD; where < 2; where++)
            for (int k = 0; k < (where == 0 ? 2 : 1); k++) {
                wake_receivers_in_turn(capacities[i], kinds[k], where);
                if (capacities[i] != NX_UNBOUNDED)
                    wake_senders_in_turn(capacities[i], kinds[k], where);
            }
}
