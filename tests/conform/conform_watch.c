/* conform_watch.c: watches: levels, edges, one-shots, on foreign descriptors. */
#include "nxt_net.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static nx_watch *watch_of(int fd, unsigned events, unsigned flags)
{
    nx_watch *watch = NULL;
    nxt_expect_eq(nx_watch_open(fd, events, flags, &watch), 0);
    return watch;
}

/* Nothing, and not for want of time: the other end of the pair has been read since, by the same means. */
static void expect_quiet(nx_watch *watch)
{
    nxt_expect_eq(nx_watch_next(watch, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_watch_next(watch, nx_after_ms(2)), -ETIMEDOUT);
}

static void put(int fd)
{
    nxt_expect(nxt_write_all(fd, "x", 1));
}

static void take(int fd)
{
    char byte;
    nxt_expect_eq(read(fd, &byte, 1), 1);
}

/* ---- levels ---- */

NXT_TASK_TEST(a_level_is_reported_as_long_as_it_lasts)
{
    int fds[2];
    nxt_require(nxt_socketpair(fds));
    nx_watch *watch = watch_of(fds[0], NX_READABLE, 0);
    nxt_require(watch);
    for (int round = 0; round < 3; round++) {
        expect_quiet(watch);
        put(fds[1]);
        for (int i = 0; i < 3; i++)
            nxt_expect_eq(nx_watch_next(watch, i == 2 ? NX_POLL : NX_FOREVER), NX_READABLE);
        take(fds[0]);
    }
    expect_quiet(watch);
    nxt_expect_eq(nx_watch_close(watch), 0);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

static intptr_t next_of(void *arg)
{
    return nx_watch_next(arg, NX_FOREVER);
}

static void wake_a_waiter(unsigned flags)
{
    int fds[2];
    nxt_require(nxt_socketpair(fds));
    nx_watch *watch = watch_of(fds[0], NX_READABLE, flags);
    nxt_require(watch);
    for (int worker = 0; worker < 2; worker++) { /* of another worker, too */
        nx_task waiter = nxt_task_on(worker, next_of, watch);
        nxt_await_parked(waiter);
        put(fds[1]);
        nxt_expect_eq(nxt_result(waiter), NX_READABLE);
        take(fds[0]);
        if (flags & NX_WATCH_ONESHOT)
            nxt_expect_eq(nx_watch_set(watch, NX_READABLE), 0);
    }
    nx_watch_close(watch);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

NXT_TASK_TEST(a_level_wakes_who_waits, .workers = 2)
{
    wake_a_waiter(0);
}

NXT_TASK_TEST(an_edge_wakes_who_waits, .workers = 2)
{
    wake_a_waiter(NX_WATCH_EDGE);
}

NXT_TASK_TEST(a_one_shot_wakes_who_waits, .workers = 2)
{
    wake_a_waiter(NX_WATCH_ONESHOT);
    wake_a_waiter(NX_WATCH_ONESHOT | NX_WATCH_EDGE);
}

/* ---- edges ---- */

NXT_TASK_TEST(an_edge_is_reported_once_however_long_it_stays_ready)
{
    int fds[2];
    nxt_require(nxt_pipe(fds));
    nx_watch *watch = watch_of(fds[0], NX_READABLE, NX_WATCH_EDGE);
    nxt_require(watch);
    expect_quiet(watch);
    put(fds[1]);
    nxt_expect_eq(nx_watch_next(watch, NX_FOREVER), NX_READABLE);
    expect_quiet(watch); /* unread */
    take(fds[0]);
    expect_quiet(watch);
    put(fds[1]);
    nxt_expect_eq(nx_watch_next(watch, NX_FOREVER), NX_READABLE);
    nx_watch_close(watch);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

NXT_TASK_TEST(an_edge_before_the_call_and_before_the_open_is_reported)
{
    int fds[2];
    nxt_require(nxt_socketpair(fds));
    put(fds[1]);
    nx_watch *watch = watch_of(fds[0], NX_READABLE, NX_WATCH_EDGE);
    nxt_require(watch);
    nxt_expect_eq(nx_watch_next(watch, NX_POLL), NX_READABLE);
    expect_quiet(watch);
    take(fds[0]);
    put(fds[1]);
    nx_yield();
    put(fds[1]);
    nxt_expect_eq(nx_watch_next(watch, NX_FOREVER), NX_READABLE);
    nx_watch_close(watch);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

NXT_TASK_TEST(an_edge_of_one_direction_is_none_of_the_other)
{
    int fds[2];
    nxt_require(nxt_socketpair(fds));
    nxt_set_nonblock(fds[0]);
    while (send(fds[0], "fill", 4, MSG_NOSIGNAL) > 0)
        ;
    put(fds[1]);
    nx_watch *readable = watch_of(fds[0], NX_READABLE, NX_WATCH_EDGE);
    nx_watch *writable = watch_of(fds[0], NX_WRITABLE, NX_WATCH_EDGE);
    nxt_require(readable && writable);
    nxt_expect_eq(nx_watch_next(readable, NX_FOREVER), NX_READABLE);
    expect_quiet(writable);
    char buf[4096];
    while (recv(fds[1], buf, sizeof(buf), MSG_DONTWAIT) > 0)
        ;
    nxt_expect_eq(nx_watch_next(writable, NX_FOREVER), NX_WRITABLE);
    expect_quiet(readable); /* what came before is still unread */
    nx_watch_close(readable);
    nx_watch_close(writable);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

/* ---- one-shots and changes ---- */

NXT_TASK_TEST(a_one_shot_reports_once_until_it_is_set_again)
{
    int fds[2];
    nxt_require(nxt_socketpair(fds));
    nx_watch *watch = watch_of(fds[0], NX_READABLE, NX_WATCH_ONESHOT);
    nxt_require(watch);
    expect_quiet(watch);
    put(fds[1]);
    for (int i = 0; i < 3; i++) {
        nxt_expect_eq(nx_watch_next(watch, i == 1 ? NX_POLL : NX_FOREVER), NX_READABLE);
        expect_quiet(watch);
        nxt_expect_eq(nx_watch_set(watch, NX_READABLE), 0);
    }
    nx_watch_close(watch);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

static void change_events(unsigned flags, int worker)
{
    int fds[2];
    nxt_require(nxt_socketpair(fds));
    nx_watch *watch = watch_of(fds[0], NX_READABLE, flags);
    nxt_require(watch);
    nx_task waiter = nxt_task_on(worker, next_of, watch);
    nxt_await_parked(waiter);
    nxt_expect_eq(nx_watch_set(watch, 0), 0); /* none: it goes on waiting */
    put(fds[1]);
    nx_yield();
    nxt_expect_eq(nx_watch_set(watch, NX_WRITABLE), 0);
    nxt_expect_eq(nxt_result(waiter), NX_WRITABLE);
    nxt_expect_eq(nx_watch_set(watch, NX_READABLE | NX_WRITABLE), 0);
    nxt_expect_eq(nx_watch_next(watch, NX_FOREVER), NX_READABLE | NX_WRITABLE);
    nxt_expect_eq(nx_watch_set(watch, 0), 0);
    expect_quiet(watch);
    nx_watch_close(watch);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

NXT_TASK_TEST(who_waits_goes_on_with_the_new_events, .workers = 2)
{
    for (int worker = 0; worker < 2; worker++) {
        change_events(0, worker);
        change_events(NX_WATCH_ONESHOT, worker);
        change_events(NX_WATCH_EDGE, worker);
    }
}

static intptr_t set_both(void *arg)
{
    return nx_watch_set(arg, NX_READABLE | NX_WRITABLE);
}

NXT_TASK_TEST(a_task_of_another_worker_changes_the_events, .workers = 2)
{
    static const unsigned kinds[] = {0, NX_WATCH_EDGE, NX_WATCH_ONESHOT};
    for (size_t i = 0; i < NXT_COUNT(kinds); i++) {
        int fds[2];
        nxt_require(nxt_socketpair(fds));
        nx_watch *watch = watch_of(fds[0], NX_READABLE, kinds[i]);
        nxt_require(watch);
        nx_task waiter = nxt_task_on(0, next_of, watch);
        nxt_await_parked(waiter);
        nxt_expect_eq(nxt_result(nxt_task_on(1, set_both, watch)), 0);
        nxt_expect_eq(nxt_result(waiter), NX_WRITABLE);
        nx_watch_close(watch);
        nxt_close_fd(&fds[0]);
        nxt_close_fd(&fds[1]);
    }
}

/* ---- ends ---- */

NXT_TASK_TEST(hang_up_shows_as_both)
{
    static const unsigned kinds[] = {0, NX_WATCH_EDGE, NX_WATCH_ONESHOT};
    for (size_t i = 0; i < NXT_COUNT(kinds); i++) {
        int fds[2];
        nxt_require(nxt_socketpair(fds));
        nx_watch *watch = watch_of(fds[0], NX_READABLE, kinds[i]);
        nxt_require(watch);
        nxt_close_fd(&fds[1]);
        nxt_expect_eq(nx_watch_next(watch, NX_FOREVER), NX_READABLE | NX_WRITABLE);
        nx_watch_close(watch);
        nxt_close_fd(&fds[0]);
    }
}

static intptr_t close_it(void *arg)
{
    return nx_watch_close(arg);
}

NXT_TASK_TEST(a_watch_that_is_closed_wakes_who_waits, .workers = 2)
{
    static const unsigned kinds[] = {0, NX_WATCH_EDGE, NX_WATCH_ONESHOT};
    for (size_t i = 0; i < 4 * NXT_COUNT(kinds); i++) {
        int fds[2];
        nxt_require(nxt_socketpair(fds));
        nx_watch *watch = watch_of(fds[0], NX_READABLE, kinds[i % 3]);
        nxt_require(watch);
        nx_task waiter = nxt_task_on(i / 3 & 1, next_of, watch);
        nxt_await_parked(waiter);
        nxt_expect_eq(nxt_result(nxt_task_on((int)(i / 6), close_it, watch)), 0);
        nxt_expect_eq(nxt_result(waiter), -EBADF);
        nxt_close_fd(&fds[0]);
        nxt_close_fd(&fds[1]);
    }
}

NXT_TASK_TEST(a_watch_that_nobody_closes_ends_with_the_runtime)
{
    int fds[2];
    nx_watch *watch;
    nxt_require(nxt_socketpair(fds));
    watch_of(fds[0], NX_READABLE, NX_WATCH_EDGE);
    watch_of(fds[0], NX_READABLE, 0);
    watch = watch_of(fds[0], NX_READABLE, 0);
    nxt_expect_eq(nx_watch_next(watch, nx_after_ms(1)), -ETIMEDOUT);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

NXT_TASK_TEST(cancel_and_deadline_take_a_wait_back, .workers = 2)
{
    static const unsigned kinds[] = {0, NX_WATCH_EDGE, NX_WATCH_ONESHOT};
    for (size_t i = 0; i < NXT_COUNT(kinds); i++) {
        int fds[2];
        nxt_require(nxt_socketpair(fds));
        nx_watch *watch = watch_of(fds[0], NX_READABLE, kinds[i]);
        nxt_require(watch);
        for (int worker = 0; worker < 2; worker++) {
            nx_task waiter = nxt_task_on(worker, next_of, watch);
            nxt_await_parked(waiter);
            nxt_expect_eq(nx_watch_next(watch, NX_FOREVER), -EBUSY);
            nx_cancel(waiter);
            nxt_expect_eq(nxt_result(waiter), -ECANCELED);
            expect_quiet(watch);
        }
        put(fds[1]);
        nxt_expect_eq(nx_watch_next(watch, 1), NX_READABLE); /* a deadline in the past tries once */
        nx_watch_close(watch);
        nxt_close_fd(&fds[0]);
        nxt_close_fd(&fds[1]);
    }
}

struct pinged {
    nx_watch *watch;
    int fd;
    int64_t count;
};

/* Takes what comes until all have come; between two reports each byte is read. */
static intptr_t read_all(void *arg)
{
    struct pinged *pinged = arg;
    uint64_t seed = 7;
    int64_t total = 0;
    char buf[64];
    while (total < pinged->count) {
        int events = nx_watch_next(pinged->watch, nx_after_ns((int64_t)(nxt_random(&seed) % 50000)));
        if (events == -ETIMEDOUT)
            continue;
        if (!nxt_expect_eq(events, NX_READABLE))
            break;
        ssize_t got;
        while ((got = recv(pinged->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
            total += got;
    }
    return 0;
}

static intptr_t ping(void *arg)
{
    struct nxt_flow *flow = arg;
    for (size_t i = 0; i < flow->len; i++) {
        if (!nxt_write_all(flow->fd, "x", 1))
            return -1;
        if (i % 16 == 0)
            usleep(10);
    }
    return 0;
}

NXT_TASK_TEST(no_edge_is_lost_to_a_deadline, .workers = 2)
{
    for (int worker = 0; worker < 2; worker++) {
        int fds[2];
        nxt_require(nxt_socketpair(fds));
        struct pinged pinged = {
            .watch = watch_of(fds[0], NX_READABLE, NX_WATCH_EDGE), .fd = fds[0], .count = nxt_scaled(5000, 300)};
        nxt_require(pinged.watch);
        struct nxt_flow flow = {.fd = fds[1], .len = (size_t)pinged.count};
        struct nxt_thread *thread = nxt_thread_start(ping, &flow);
        nxt_result(nxt_task_on(worker, read_all, &pinged));
        nxt_expect_eq(nxt_thread_await(thread), 0);
        nx_watch_close(pinged.watch);
        nxt_close_fd(&fds[0]);
        nxt_close_fd(&fds[1]);
    }
}

/* ---- descriptors ---- */

NXT_TASK_TEST(the_descriptor_may_be_closed_and_its_number_used_again)
{
    int fds[2], others[2];
    nxt_require(nxt_socketpair(fds));
    nx_watch *watch = watch_of(fds[0], NX_READABLE, NX_WATCH_EDGE);
    nxt_expect_eq(nx_watch_next(watch, NX_POLL), -EAGAIN);
    nx_watch_close(watch);
    nxt_close_fd(&fds[0]);
    nxt_require(nxt_socketpair(others)); /* one of them has the number */
    watch = watch_of(others[0], NX_READABLE, 0);
    expect_quiet(watch);
    put(others[1]);
    nxt_expect_eq(nx_watch_next(watch, NX_FOREVER), NX_READABLE);
    nx_watch_close(watch);
    nxt_close_fd(&fds[1]);
    nxt_close_fd(&others[0]);
    nxt_close_fd(&others[1]);
}

NXT_TASK_TEST(a_regular_file_is_always_ready)
{
    FILE *file = tmpfile();
    nxt_require(file);
    static const unsigned kinds[] = {0, NX_WATCH_EDGE, NX_WATCH_ONESHOT};
    for (size_t i = 0; i < NXT_COUNT(kinds); i++) {
        nx_watch *watch = watch_of(fileno(file), NX_READABLE, kinds[i]);
        nxt_require(watch);
        nxt_expect_eq(nx_watch_next(watch, NX_FOREVER), NX_READABLE);
        nxt_expect_eq(nx_watch_set(watch, NX_READABLE), 0);
        nxt_expect_eq(nx_watch_next(watch, NX_POLL), NX_READABLE);
        nx_watch_close(watch);
    }
    fclose(file);
}

NXT_TASK_TEST(what_can_not_be_watched_is_refused)
{
    int fds[2];
    nx_watch *watch = NULL;
    nxt_require(nxt_pipe(fds));
    nxt_expect_eq(nx_watch_open(-1, NX_READABLE, 0, &watch), -EBADF);
    nxt_expect_eq(nx_watch_open(fds[0], 4, 0, &watch), -EINVAL);
    nxt_expect_eq(nx_watch_open(fds[0], NX_READABLE, 4, &watch), -EINVAL);
    nxt_expect_eq(nx_watch_open(fds[0], NX_READABLE, 0, NULL), -EINVAL);
    nxt_expect(!watch);
    watch = watch_of(fds[0], 0, 0);
    nxt_require(watch);
    nxt_expect_eq(nx_watch_set(watch, 4), -EINVAL);
    nxt_expect_eq(nx_watch_set(NULL, NX_READABLE), -EINVAL);
    nxt_expect_eq(nx_watch_next(NULL, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_watch_close(NULL), 0);
    nx_watch_close(watch);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

static intptr_t use_foreign(void *arg)
{
    nxt_expect_eq(nx_watch_next(arg, NX_FOREVER), -EXDEV);
    nxt_expect_eq(nx_watch_set(arg, NX_READABLE), -EXDEV);
    nxt_expect_eq(nx_watch_close(arg), -EXDEV);
    return 0;
}

NXT_TASK_TEST(a_watch_of_another_runtime_is_refused)
{
    int fds[2];
    nxt_require(nxt_pipe(fds));
    nx_watch *watch = watch_of(fds[0], NX_READABLE, 0);
    nx_runtime *other = nxt_start(NXT_OPTIONS(.workers = 1));
    nxt_require(watch && other);
    nxt_result(nx_spawn_on(other, NULL, use_foreign, watch));
    nxt_stop(other);
    nx_watch_close(watch);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

static intptr_t wait_cancelled(void *arg)
{
    nx_cancel(nx_self());
    nxt_expect_eq(nx_watch_next(arg, NX_FOREVER), -ECANCELED);
    return nx_watch_close(arg);
}

NXT_TASK_TEST(a_cancelled_task_does_not_wait_but_closes)
{
    int fds[2];
    nxt_require(nxt_pipe(fds));
    put(fds[1]);
    nx_watch *watch = watch_of(fds[0], NX_READABLE, 0);
    nxt_expect_eq(nxt_result(nx_spawn(wait_cancelled, watch)), 0);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

NXT_TEST(there_are_no_watches_outside_a_task)
{
    nx_watch *watch;
    nxt_expect_eq(nx_watch_open(0, NX_READABLE, 0, &watch), -NX_ENOTASK);
    nxt_expect_eq(nx_watch_next(NULL, NX_POLL), -NX_ENOTASK);
    nxt_expect_eq(nx_watch_set(NULL, 0), -NX_ENOTASK);
}
