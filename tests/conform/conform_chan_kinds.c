/* conform_chan_kinds.c: oneshots, broadcasts and the latest value. */
#include "nxt_net.h"
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define THREAD (-1)

/* Somebody elsewhere: a task of that worker, or a thread. */
struct user {
    void *object;
    int64_t number, value;
    nx_time deadline; /* 0: NX_FOREVER */
    atomic_bool begun;
    nx_task task;
    struct nxt_thread *thread;
};

static nx_time deadline_of(struct user *user)
{
    atomic_store(&user->begun, true);
    return user->deadline ? user->deadline : NX_FOREVER;
}

/* It waits when this returns, unless it is a thread, of which nobody can tell. */
static void start(struct user *user, int where, nx_task_fn fn)
{
    user->value = -1;
    if (where == THREAD) {
        user->thread = nxt_thread_start(fn, user);
        nxt_await(atomic_load(&user->begun));
    } else {
        user->task = nxt_task_on(where, fn, user);
        nxt_await_parked(user->task);
    }
}

static intptr_t result_of(struct user *user)
{
    return user->thread ? nxt_thread_await(user->thread) : nxt_result(user->task);
}

/* ---- oneshot ---- */

static intptr_t oneshot_recv(void *arg)
{
    struct user *user = arg;
    return nx_oneshot_recv(user->object, &user->value, deadline_of(user));
}

NXT_TASK_TEST(a_oneshot_gives_what_was_sent_before, .workers = 2)
{
    for (int where = THREAD; where < 2; where++) {
        nx_oneshot *oneshot = NULL;
        nxt_require_eq(nx_oneshot_create(sizeof(int64_t), &oneshot), 0);
        struct user user = {.object = oneshot};
        nxt_expect_eq(nx_oneshot_send(oneshot, &(int64_t){5}), 0);
        nxt_expect_eq(nx_oneshot_send(oneshot, &(int64_t){6}), -EALREADY);
        start(&user, where, oneshot_recv);
        nxt_expect_eq(result_of(&user), 0);
        nxt_expect_eq(user.value, 5);
        nxt_expect_eq(nx_oneshot_recv(oneshot, &user.value, NX_FOREVER), -EPIPE);
        nxt_expect_eq(nx_oneshot_send(oneshot, &(int64_t){6}), -EALREADY);
        nx_oneshot_destroy(oneshot);
    }
}

NXT_TASK_TEST(a_oneshot_gives_what_is_sent_to_who_waits, .workers = 2)
{
    for (int where = THREAD; where < 2; where++) {
        nx_oneshot *oneshot = NULL;
        nxt_require_eq(nx_oneshot_create(sizeof(int64_t), &oneshot), 0);
        struct user user = {.object = oneshot};
        start(&user, where, oneshot_recv);
        nxt_expect_eq(nx_oneshot_send(oneshot, &(int64_t){7}), 0);
        nxt_expect_eq(result_of(&user), 0);
        nxt_expect_eq(user.value, 7);
        nxt_expect_eq(nx_oneshot_send(oneshot, &(int64_t){8}), -EALREADY);
        nx_oneshot_destroy(oneshot);
    }
}

NXT_TASK_TEST(of_several_who_wait_for_a_oneshot_the_first_gets_it_and_the_others_are_told, .workers = 2)
{
    for (int where = 0; where < 2; where++) {
        nx_oneshot *oneshot = NULL;
        nxt_require_eq(nx_oneshot_create(sizeof(int64_t), &oneshot), 0);
        struct user users[3] = {{.object = oneshot}, {.object = oneshot}, {.object = oneshot}};
        for (int i = 0; i < 3; i++)
            start(&users[i], where, oneshot_recv);
        nxt_expect_eq(nx_oneshot_send(oneshot, &(int64_t){9}), 0);
        nxt_expect_eq(result_of(&users[0]), 0);
        nxt_expect_eq(users[0].value, 9);
        for (int i = 1; i < 3; i++) {
            nxt_expect_eq(result_of(&users[i]), -EPIPE);
            nxt_expect_eq(users[i].value, -1);
        }
        nx_oneshot_destroy(oneshot);
    }
}

NXT_TASK_TEST(a_closed_oneshot_gives_only_what_was_sent, .workers = 2)
{
    for (int where = THREAD; where < 2; where++) {
        nx_oneshot *oneshot = NULL;
        struct user user = {.object = NULL};
        nxt_require_eq(nx_oneshot_create(sizeof(int64_t), &oneshot), 0);
        user.object = oneshot;
        start(&user, where, oneshot_recv);
        nx_oneshot_close(oneshot);
        nxt_expect_eq(result_of(&user), -EPIPE);
        nxt_expect_eq(nx_oneshot_send(oneshot, &(int64_t){1}), -EPIPE);
        nxt_expect_eq(nx_oneshot_recv(oneshot, &user.value, NX_FOREVER), -EPIPE);
        nx_oneshot_destroy(oneshot);
        nxt_require_eq(nx_oneshot_create(sizeof(int64_t), &oneshot), 0);
        nxt_expect_eq(nx_oneshot_send(oneshot, &(int64_t){1}), 0);
        nx_oneshot_close(oneshot);
        nx_oneshot_close(oneshot);
        nxt_expect_eq(nx_oneshot_send(oneshot, &(int64_t){1}), -EALREADY);
        nxt_expect_eq(nx_oneshot_recv(oneshot, &user.value, NX_POLL), 0);
        nxt_expect_eq(user.value, 1);
        nx_oneshot_destroy(oneshot);
    }
}

NXT_TASK_TEST(a_wait_for_a_oneshot_is_given_up_and_the_value_stays, .workers = 2)
{
    for (int where = 0; where < 2; where++) {
        nx_oneshot *oneshot = NULL;
        int64_t value = -1;
        nxt_require_eq(nx_oneshot_create(sizeof(int64_t), &oneshot), 0);
        nxt_expect_eq(nx_oneshot_recv(oneshot, &value, NX_POLL), -EAGAIN);
        nxt_expect_eq(nx_oneshot_recv(oneshot, &value, 1), -ETIMEDOUT);
        nxt_expect_eq(nx_oneshot_recv(oneshot, &value, nx_after_ms(1)), -ETIMEDOUT);
        struct user user = {.object = oneshot};
        start(&user, where, oneshot_recv);
        nx_cancel(user.task);
        nxt_expect_eq(result_of(&user), -ECANCELED);
        nxt_expect_eq(nx_oneshot_send(oneshot, &(int64_t){2}), 0);
        nxt_expect_eq(nx_oneshot_recv(oneshot, &value, 1), 0);
        nxt_expect_eq(value, 2);
        nx_oneshot_destroy(oneshot);
    }
}

/* ---- broadcast ---- */

static nx_broadcast *broadcast_of(size_t capacity)
{
    nx_broadcast *broadcast = NULL;
    nxt_expect_eq(nx_broadcast_create(sizeof(int64_t), capacity, &broadcast), 0);
    return broadcast;
}

static nx_subscription *subscribe(nx_broadcast *broadcast)
{
    nx_subscription *subscription = NULL;
    nxt_expect_eq(nx_broadcast_subscribe(broadcast, &subscription), 0);
    return subscription;
}

static int send_number(nx_broadcast *broadcast, int64_t number)
{
    return nx_broadcast_send(broadcast, &number);
}

/* The value, which comes after so many were lost; or the error. */
static int64_t recv_number(nx_subscription *subscription, int64_t lost)
{
    int64_t value = -1;
    int64_t result = nx_broadcast_recv(subscription, &value, NX_POLL);
    if (result < 0)
        return result;
    nxt_expect_eq(result, lost);
    return value;
}

NXT_TASK_TEST(a_broadcast_reaches_all_who_have_subscribed_from_then_on)
{
    nx_broadcast *broadcast = broadcast_of(4);
    nxt_expect_eq(send_number(broadcast, 1), 0);
    nx_subscription *one = subscribe(broadcast);
    nxt_expect_eq(recv_number(one, 0), -EAGAIN);
    nxt_expect_eq(send_number(broadcast, 2), 1);
    nx_subscription *two = subscribe(broadcast);
    nxt_expect_eq(send_number(broadcast, 3), 2);
    nxt_expect_eq(recv_number(one, 0), 2);
    nxt_expect_eq(recv_number(two, 0), 3);
    nxt_expect_eq(recv_number(two, 0), -EAGAIN);
    nx_broadcast_unsubscribe(two);
    nxt_expect_eq(send_number(broadcast, 4), 1);
    nxt_expect_eq(recv_number(one, 0), 3);
    nxt_expect_eq(recv_number(one, 0), 4);
    nxt_expect_eq(recv_number(one, 0), -EAGAIN);
    nx_broadcast_unsubscribe(one);
    nxt_expect_eq(send_number(broadcast, 5), 0);
    nx_broadcast_destroy(broadcast);
}

NXT_TASK_TEST(a_slow_receiver_is_told_how_many_it_has_lost)
{
    for (int64_t capacity = 1; capacity < 6; capacity++)
        for (int64_t count = 1; count < 20; count++) {
            nx_broadcast *broadcast = broadcast_of((size_t)capacity);
            nx_subscription *slow = subscribe(broadcast), *quick = subscribe(broadcast);
            for (int64_t i = 0; i < count; i++) {
                nxt_expect_eq(send_number(broadcast, i), 2);
                nxt_expect_eq(recv_number(quick, 0), i);
            }
            int64_t lost = count > capacity ? count - capacity : 0;
            for (int64_t i = lost; i < count; i++)
                nxt_expect_eq(recv_number(slow, i == lost ? lost : 0), i);
            nxt_expect_eq(recv_number(slow, 0), -EAGAIN);
            nx_broadcast_unsubscribe(slow);
            nx_broadcast_unsubscribe(quick);
            nx_broadcast_destroy(broadcast);
        }
}

static intptr_t broadcast_recv(void *arg)
{
    struct user *user = arg;
    return nx_broadcast_recv(user->object, &user->value, deadline_of(user));
}

NXT_TASK_TEST(all_who_wait_for_a_broadcast_get_it, .workers = 2)
{
    nx_broadcast *broadcast = broadcast_of(1);
    struct user users[6];
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 6; i++) {
            users[i] = (struct user){.object = subscribe(broadcast)};
            start(&users[i], i % 3 - 1, broadcast_recv);
        }
        nxt_expect_eq(send_number(broadcast, 40 + round), 6);
        for (int i = 0; i < 6; i++) {
            nxt_expect_eq(result_of(&users[i]), 0);
            nxt_expect_eq(users[i].value, 40 + round);
            nxt_expect_eq(recv_number(users[i].object, 0), -EAGAIN);
            nx_broadcast_unsubscribe(users[i].object);
        }
    }
    nx_broadcast_destroy(broadcast);
}

NXT_TASK_TEST(a_closed_broadcast_is_drained_first, .workers = 2)
{
    nx_broadcast *broadcast = broadcast_of(3);
    nx_subscription *late = subscribe(broadcast);
    nxt_expect_eq(send_number(broadcast, 1), 1);
    nxt_expect_eq(send_number(broadcast, 2), 1);
    struct user users[3];
    for (int i = 0; i < 3; i++) {
        users[i] = (struct user){.object = subscribe(broadcast)};
        start(&users[i], i - 1, broadcast_recv);
    }
    nx_broadcast_close(broadcast);
    nx_broadcast_close(broadcast);
    for (int i = 0; i < 3; i++) {
        nxt_expect_eq(result_of(&users[i]), -EPIPE);
        nx_broadcast_unsubscribe(users[i].object);
    }
    nxt_expect_eq(send_number(broadcast, 3), -EPIPE);
    nxt_expect_eq(recv_number(late, 0), 1);
    nxt_expect_eq(recv_number(late, 0), 2);
    nxt_expect_eq(recv_number(late, 0), -EPIPE);
    nxt_expect_eq(nx_broadcast_recv(late, &users[0].value, NX_FOREVER), -EPIPE);
    nx_broadcast_unsubscribe(late);
    nx_broadcast_destroy(broadcast);
}

NXT_TASK_TEST(a_wait_for_a_broadcast_is_given_up_and_nothing_is_missed, .workers = 2)
{
    nx_broadcast *broadcast = broadcast_of(2);
    for (int where = 0; where < 2; where++) {
        struct user user = {.object = subscribe(broadcast)};
        nxt_expect_eq(nx_broadcast_recv(user.object, &user.value, 1), -ETIMEDOUT);
        nxt_expect_eq(nx_broadcast_recv(user.object, &user.value, nx_after_ms(1)), -ETIMEDOUT);
        start(&user, where, broadcast_recv);
        nx_cancel(user.task);
        nxt_expect_eq(result_of(&user), -ECANCELED);
        nxt_expect_eq(send_number(broadcast, 3), 1);
        nxt_expect_eq(recv_number(user.object, 0), 3);
        nx_broadcast_unsubscribe(user.object);
    }
    nx_broadcast_destroy(broadcast);
}

/* Until it is closed: each value is higher than the last one, by one more than is said to be lost. */
static intptr_t follow_broadcast(void *arg)
{
    struct user *user = arg;
    int64_t last = -1, value, lost;
    while ((lost = nx_broadcast_recv(user->object, &value, NX_FOREVER)) >= 0) {
        nxt_require_eq(value, last + lost + 1, -1);
        last = value;
        if (user->number % 2)
            nxt_burn(2000);
    }
    user->value = last;
    return lost;
}

NXT_TASK_TEST(receivers_of_any_speed_account_for_each_value_of_a_broadcast, .workers = 2)
{
    int64_t count = nxt_scaled(20000, 1000);
    nx_broadcast *broadcast = broadcast_of(16);
    struct user users[5];
    for (int i = 0; i < 5; i++) {
        users[i] = (struct user){.object = subscribe(broadcast), .number = i};
        if (i == 4)
            users[i].thread = nxt_thread_start(follow_broadcast, &users[i]);
        else
            users[i].task = nxt_task_on(i / 2, follow_broadcast, &users[i]);
    }
    for (int64_t i = 0; i < count; i++) {
        nxt_expect_eq(send_number(broadcast, i), 5);
        if (i % 16 == 0)
            nx_yield();
    }
    nx_broadcast_close(broadcast);
    for (int i = 0; i < 5; i++) {
        nxt_expect_eq(result_of(&users[i]), -EPIPE);
        nxt_expect_eq(users[i].value, count - 1);
        nx_broadcast_unsubscribe(users[i].object);
    }
    nx_broadcast_destroy(broadcast);
}

/* ---- latest ---- */

static nx_latest *latest_of(int64_t initial)
{
    nx_latest *latest = NULL;
    nxt_expect_eq(nx_latest_create(sizeof(int64_t), &initial, &latest), 0);
    return latest;
}

static int set_number(nx_latest *latest, int64_t number)
{
    return nx_latest_set(latest, &number);
}

NXT_TASK_TEST(the_latest_value_has_a_version_that_counts_from_one)
{
    int64_t value = -1;
    nx_latest *latest = latest_of(10);
    nxt_expect_eq(nx_latest_get(latest, &value), 1);
    nxt_expect_eq(value, 10);
    nxt_expect_eq(nx_latest_wait(latest, 0, &value, NX_FOREVER), 1);
    for (int64_t i = 2; i < 20; i++) {
        nxt_expect_eq(nx_latest_wait(latest, i - 1, &value, NX_POLL), -EAGAIN);
        nxt_expect_eq(set_number(latest, 10 * i), 0);
        nxt_expect_eq(nx_latest_get(latest, NULL), i);
        for (int64_t seen = 0; seen < i; seen++) {
            nxt_expect_eq(nx_latest_wait(latest, seen, &value, NX_FOREVER), i);
            nxt_expect_eq(value, 10 * i);
        }
    }
    nxt_expect_eq(nx_latest_wait(latest, 18, NULL, NX_POLL), 19);
    nxt_expect_eq(nx_latest_wait(latest, 20, NULL, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_latest_wait(latest, -1, NULL, NX_POLL), -EINVAL);
    nx_latest_destroy(latest);
}

static intptr_t latest_wait(void *arg)
{
    struct user *user = arg;
    return nx_latest_wait(user->object, user->number, user->number % 2 ? &user->value : NULL, deadline_of(user));
}

NXT_TASK_TEST(all_who_wait_for_a_newer_value_get_it, .workers = 2)
{
    nx_latest *latest = latest_of(0);
    for (int64_t version = 1; version < 9; version++) {
        struct user users[6];
        for (int i = 0; i < 6; i++) {
            users[i] = (struct user){.object = latest, .number = version};
            start(&users[i], i % 3 - 1, latest_wait);
        }
        nxt_expect_eq(set_number(latest, 100 + version), 0);
        for (int i = 0; i < 6; i++) {
            nxt_expect_eq(result_of(&users[i]), version + 1);
            nxt_expect_eq(users[i].value, version % 2 ? 100 + version : -1);
        }
    }
    nx_latest_destroy(latest);
}

NXT_TASK_TEST(a_closed_latest_value_stays_and_gets_no_newer, .workers = 2)
{
    nx_latest *latest = latest_of(4);
    int64_t value = -1;
    struct user users[3];
    for (int i = 0; i < 3; i++) {
        users[i] = (struct user){.object = latest, .number = 1};
        start(&users[i], i - 1, latest_wait);
    }
    nx_latest_close(latest);
    nx_latest_close(latest);
    for (int i = 0; i < 3; i++)
        nxt_expect_eq(result_of(&users[i]), -EPIPE);
    nxt_expect_eq(set_number(latest, 5), -EPIPE);
    nxt_expect_eq(nx_latest_wait(latest, 1, &value, NX_FOREVER), -EPIPE);
    nxt_expect_eq(nx_latest_wait(latest, 0, &value, NX_FOREVER), 1);
    nxt_expect_eq(value, 4);
    nxt_expect_eq(nx_latest_get(latest, &value), 1);
    nx_latest_destroy(latest);
}

NXT_TASK_TEST(a_wait_for_a_newer_value_is_given_up, .workers = 2)
{
    nx_latest *latest = latest_of(4);
    for (int where = 0; where < 2; where++) {
        struct user user = {.object = latest, .number = 1};
        nxt_expect_eq(nx_latest_wait(latest, 1, &user.value, 1), -ETIMEDOUT);
        nxt_expect_eq(nx_latest_wait(latest, 1, &user.value, nx_after_ms(1)), -ETIMEDOUT);
        start(&user, where, latest_wait);
        nx_cancel(user.task);
        nxt_expect_eq(result_of(&user), -ECANCELED);
    }
    nx_latest_destroy(latest);
}

struct pair {
    int64_t number, complement;
};

static intptr_t follow_latest(void *arg)
{
    struct user *user = arg;
    int64_t version = 0, newer;
    struct pair pair = {0, 0};
    while ((newer = nx_latest_wait(user->object, version, &pair, NX_FOREVER)) > 0) {
        nxt_require(newer > version, -1);
        nxt_require(pair.number == newer && pair.complement == ~newer, -1);
        version = newer;
    }
    user->value = version;
    return newer;
}

NXT_TASK_TEST(followers_of_the_latest_value_see_whole_ones_ever_newer_and_the_last, .workers = 2)
{
    int64_t count = nxt_scaled(20000, 1000);
    nx_latest *latest = NULL;
    nxt_require_eq(nx_latest_create(sizeof(struct pair), &(struct pair){1, ~INT64_C(1)}, &latest), 0);
    struct user users[3] = {{.object = latest}, {.object = latest}, {.object = latest}};
    users[0].task = nxt_task_on(0, follow_latest, &users[0]);
    users[1].task = nxt_task_on(1, follow_latest, &users[1]);
    users[2].thread = nxt_thread_start(follow_latest, &users[2]);
    for (int64_t i = 2; i <= count; i++) {
        nxt_expect_eq(nx_latest_set(latest, &(struct pair){i, ~i}), 0);
        if (i % 16 == 0)
            nx_yield();
    }
    nx_latest_close(latest);
    for (int i = 0; i < 3; i++) {
        nxt_expect_eq(result_of(&users[i]), -EPIPE);
        nxt_expect_eq(users[i].value, count);
    }
    nx_latest_destroy(latest);
}

/* ---- what all have in common ---- */

static intptr_t use_when_cancelled(void *arg)
{
    void *const *objects = arg;
    int64_t value;
    nx_cancel(nx_self());
    nxt_expect_eq(nx_oneshot_recv(objects[0], &value, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_broadcast_recv(objects[1], &value, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_latest_wait(objects[2], 0, &value, NX_FOREVER), -ECANCELED);
    nx_shield(NX_FOREVER);
    nxt_expect_eq(nx_oneshot_recv(objects[0], &value, NX_FOREVER), 0);
    nxt_expect_eq(nx_broadcast_recv(objects[1], &value, NX_FOREVER), 0);
    nxt_expect_eq(nx_latest_wait(objects[2], 0, &value, NX_FOREVER), 1);
    return 0;
}

NXT_TASK_TEST(a_cancelled_task_receives_nothing_of_any_kind_unless_shielded)
{
    nx_oneshot *oneshot = NULL;
    nxt_require_eq(nx_oneshot_create(sizeof(int64_t), &oneshot), 0);
    nx_broadcast *broadcast = broadcast_of(1);
    void *objects[] = {oneshot, subscribe(broadcast), latest_of(3)};
    nxt_expect_eq(nx_oneshot_send(oneshot, &(int64_t){1}), 0);
    nxt_expect_eq(send_number(broadcast, 2), 1);
    nxt_result(nxt_task_on(0, use_when_cancelled, objects));
    nx_broadcast_unsubscribe(objects[1]);
    nx_broadcast_destroy(broadcast);
    nx_oneshot_destroy(oneshot);
    nx_latest_destroy(objects[2]);
}

NXT_TEST(values_of_any_size_pass_through_each_kind)
{
    static const size_t sizes[] = {0, 1, 4, 8, 11, 16, 1000};
    char in[1000], out[1001];
    for (size_t i = 0; i < NXT_COUNT(sizes); i++) {
        size_t size = sizes[i];
        nx_oneshot *oneshot = NULL;
        nx_broadcast *broadcast = NULL;
        nx_subscription *subscription = NULL;
        nx_latest *latest = NULL;
        nxt_fill(in, size, 0, 3);
        nxt_require_eq(nx_oneshot_create(size, &oneshot), 0);
        nxt_require_eq(nx_broadcast_create(size, 2, &broadcast), 0);
        nxt_require_eq(nx_latest_create(size, in, &latest), 0);
        nxt_require_eq(nx_broadcast_subscribe(broadcast, &subscription), 0);
        nxt_expect_eq(nx_oneshot_send(oneshot, in), 0);
        nxt_expect_eq(nx_broadcast_send(broadcast, in), 1);
        for (int kind = 0; kind < 3; kind++) {
            memset(out, 'x', sizeof(out));
            nxt_expect_eq(kind == 0   ? nx_oneshot_recv(oneshot, out, NX_FOREVER)
                          : kind == 1 ? nx_broadcast_recv(subscription, out, NX_FOREVER)
                                      : nx_latest_get(latest, out) - 1,
                          0);
            nxt_expect_eq(nxt_check_fill(out, size, 0, 3), size);
            nxt_expect_eq(out[size], 'x');
        }
        nx_broadcast_unsubscribe(subscription);
        nx_oneshot_destroy(oneshot);
        nx_broadcast_destroy(broadcast);
        nx_latest_destroy(latest);
    }
}

NXT_TEST(what_makes_no_sense_is_refused_by_each_kind)
{
    void *const unset = &(int){0};
    nx_oneshot *oneshot = unset;
    nx_broadcast *broadcast = unset;
    nx_subscription *subscription = unset;
    nx_latest *latest = unset;
    nxt_expect_eq(nx_oneshot_create(8, NULL), -EINVAL);
    nxt_expect_eq(nx_oneshot_create(SIZE_MAX, &oneshot), -EINVAL);
    nxt_expect_eq(nx_broadcast_create(8, 1, NULL), -EINVAL);
    nxt_expect_eq(nx_broadcast_create(8, 0, &broadcast), -EINVAL);
    nxt_expect_eq(nx_broadcast_create(8, SIZE_MAX / 8, &broadcast), -EINVAL);
    nxt_expect_eq(nx_broadcast_subscribe(NULL, &subscription), -EINVAL);
    nxt_expect_eq(nx_latest_create(8, "12345678", NULL), -EINVAL);
    nxt_expect_eq(nx_latest_create(8, NULL, &latest), -EINVAL);
    nxt_expect_eq(nx_latest_create(SIZE_MAX, "", &latest), -EINVAL);
    nxt_expect(oneshot == unset && broadcast == unset && subscription == unset && latest == unset);
    nxt_require_eq(nx_oneshot_create(8, &oneshot), 0);
    nxt_require_eq(nx_broadcast_create(8, 1, &broadcast), 0);
    nxt_require_eq(nx_latest_create(8, "12345678", &latest), 0);
    nxt_require_eq(nx_broadcast_subscribe(broadcast, &subscription), 0);
    nxt_expect_eq(nx_broadcast_subscribe(broadcast, NULL), -EINVAL);
    nxt_expect_eq(nx_oneshot_send(oneshot, NULL), -EINVAL);
    nxt_expect_eq(nx_oneshot_send(NULL, ""), -EINVAL);
    nxt_expect_eq(nx_oneshot_recv(oneshot, NULL, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_oneshot_recv(NULL, &latest, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_broadcast_send(broadcast, NULL), -EINVAL);
    nxt_expect_eq(nx_broadcast_send(NULL, ""), -EINVAL);
    nxt_expect_eq(nx_broadcast_recv(subscription, NULL, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_broadcast_recv(NULL, &latest, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_latest_set(latest, NULL), -EINVAL);
    nxt_expect_eq(nx_latest_set(NULL, ""), -EINVAL);
    nxt_expect_eq(nx_latest_get(NULL, NULL), -EINVAL);
    nxt_expect_eq(nx_latest_wait(NULL, 0, NULL, NX_POLL), -EINVAL);
    nx_broadcast_unsubscribe(subscription);
    nx_oneshot_destroy(oneshot);
    nx_broadcast_destroy(broadcast);
    nx_latest_destroy(latest);
    nx_oneshot_close(NULL);
    nx_oneshot_destroy(NULL);
    nx_broadcast_close(NULL);
    nx_broadcast_unsubscribe(NULL);
    nx_broadcast_destroy(NULL);
    nx_latest_close(NULL);
    nx_latest_destroy(NULL);
}

/* In the child, which is not to report: whether all are refused. */
static bool refused_after_fork(nx_oneshot *oneshot, nx_broadcast *broadcast, nx_subscription *subscription,
                               nx_latest *latest)
{
    int64_t value = 1;
    const int64_t results[] = {
        nx_oneshot_create(8, &oneshot),
        nx_oneshot_send(oneshot, &value),
        nx_oneshot_recv(oneshot, &value, NX_FOREVER),
        nx_broadcast_create(8, 1, &broadcast),
        nx_broadcast_subscribe(broadcast, &subscription),
        nx_broadcast_send(broadcast, &value),
        nx_broadcast_recv(subscription, &value, NX_FOREVER),
        nx_latest_create(8, &value, &latest),
        nx_latest_set(latest, &value),
        nx_latest_get(latest, &value),
        nx_latest_wait(latest, 0, &value, NX_FOREVER),
    };
    for (size_t i = 0; i < NXT_COUNT(results); i++)
        if (results[i] != -NX_EFORKED)
            return false;
    nx_oneshot_close(oneshot);
    nx_broadcast_close(broadcast);
    nx_latest_close(latest);
    return true;
}

NXT_TASK_TEST(in_a_forked_child_each_kind_refuses)
{
    nx_oneshot *oneshot = NULL;
    nxt_require_eq(nx_oneshot_create(8, &oneshot), 0);
    nx_broadcast *broadcast = broadcast_of(1);
    nx_subscription *subscription = subscribe(broadcast);
    nx_latest *latest = latest_of(1);
    pid_t pid = fork();
    if (pid == 0)
        _exit(refused_after_fork(oneshot, broadcast, subscription, latest) ? 0 : 1);
    int status = -1;
    nxt_expect_eq(waitpid(pid, &status, 0), pid);
    nxt_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    nx_broadcast_unsubscribe(subscription);
    nx_oneshot_destroy(oneshot);
    nx_broadcast_destroy(broadcast);
    nx_latest_destroy(latest);
}
