/* conform_select.c: the first of several: every kind of case, alone and among others; what losers keep; races. */
#include "nxt_net.h"

#include <fcntl.h>
#include <nexus/select.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FAR 3600000 /* ms: later than any case of this file may last */

/* ---- a thing to wait for, of any kind ---- */

struct thing {
    unsigned op;
    nx_chan *chan;
    nx_stream *ends[2], *accepted, *client;
    nx_listener *listener;
    char addr[128];
    nx_event event, gate;
    nx_task task;
    int fds[2];
    nx_time at;
    int32_t elem;
    char buf[16];
};

static const unsigned kinds[] = {NX_CASE_OP_RECV,     NX_CASE_OP_SEND,     NX_CASE_OP_READ,
                                 NX_CASE_OP_ACCEPT,   NX_CASE_OP_TIMER,    NX_CASE_OP_JOIN,
                                 NX_CASE_OP_READABLE, NX_CASE_OP_WRITABLE, NX_CASE_OP_EVENT};

static intptr_t wait_at_gate(void *arg)
{
    struct thing *thing = arg;
    nx_event_wait(&thing->gate, NX_FOREVER);
    return 42;
}

static void fill_pipe(int fd)
{
    char page[4096] = "";
    while (write(fd, page, sizeof(page)) > 0)
        ;
}

static bool open_thing(struct thing *thing, unsigned op)
{
    int32_t first = 1;
    *thing = (struct thing){.op = op, .event = NX_EVENT_AUTO_INIT, .gate = NX_EVENT_INIT, .fds = {-1, -1}, .elem = 7};
    thing->at = nx_after_ms(FAR);
    switch (op) {
    case NX_CASE_OP_RECV:
        return nxt_expect_eq(nx_chan_create(sizeof(int32_t), 1, &thing->chan), 0);
    case NX_CASE_OP_SEND:
        return nxt_expect_eq(nx_chan_create(sizeof(int32_t), 1, &thing->chan), 0) &&
               nxt_expect_eq(nx_chan_send(thing->chan, &first, NX_POLL), 0);
    case NX_CASE_OP_READ:
        return nxt_stream_pair(thing->ends);
    case NX_CASE_OP_ACCEPT:
        thing->listener = nxt_listen_on("127.0.0.1:0", thing->addr, sizeof(thing->addr));
        return thing->listener != NULL;
    case NX_CASE_OP_JOIN:
        thing->task = nx_spawn(wait_at_gate, thing);
        return nxt_expect_gt(thing->task, 0);
    case NX_CASE_OP_READABLE:
        return nxt_pipe(thing->fds);
    case NX_CASE_OP_WRITABLE:
        if (!nxt_pipe(thing->fds) || !nxt_set_nonblock(thing->fds[1]))
            return false;
        fill_pipe(thing->fds[1]);
        return true;
    default:
        return true;
    }
}

static nx_case case_of(struct thing *thing)
{
    switch (thing->op) {
    case NX_CASE_OP_RECV:
        return NX_CASE_RECV(thing->chan, &thing->elem);
    case NX_CASE_OP_SEND:
        return NX_CASE_SEND(thing->chan, &thing->elem);
    case NX_CASE_OP_READ:
        return NX_CASE_READ(thing->ends[0], thing->buf, sizeof(thing->buf));
    case NX_CASE_OP_ACCEPT:
        return NX_CASE_ACCEPT(thing->listener, &thing->accepted);
    case NX_CASE_OP_TIMER:
        return NX_CASE_TIMER(thing->at);
    case NX_CASE_OP_JOIN:
        return NX_CASE_JOIN(thing->task);
    case NX_CASE_OP_READABLE:
        return NX_CASE_READABLE(thing->fds[0]);
    case NX_CASE_OP_WRITABLE:
        return NX_CASE_WRITABLE(thing->fds[1]);
    default:
        return NX_CASE_EVENT(&thing->event);
    }
}

/* Makes its case ready; a timer must be before it is waited for. */
static void fire(struct thing *thing)
{
    int32_t elem = 99;
    char page[8192];
    switch (thing->op) {
    case NX_CASE_OP_RECV:
        nxt_expect_eq(nx_chan_send(thing->chan, &elem, NX_FOREVER), 0);
        break;
    case NX_CASE_OP_SEND:
        nxt_expect_eq(nx_chan_recv(thing->chan, &elem, NX_FOREVER), 0);
        break;
    case NX_CASE_OP_READ:
        nxt_expect_eq(nx_write(thing->ends[1], "abc", 3, NX_FOREVER), 3);
        break;
    case NX_CASE_OP_ACCEPT:
        nxt_expect_eq(nx_connect(thing->addr, NULL, &thing->client, NX_FOREVER), 0);
        break;
    case NX_CASE_OP_TIMER:
        thing->at = nx_after_ms(3);
        break;
    case NX_CASE_OP_JOIN:
        nx_event_set(&thing->gate);
        break;
    case NX_CASE_OP_READABLE:
        nxt_expect_eq(write(thing->fds[1], "x", 1), 1);
        break;
    case NX_CASE_OP_WRITABLE:
        nxt_expect_gt(read(thing->fds[0], page, sizeof(page)), 0);
        break;
    default:
        nx_event_set(&thing->event);
    }
}

/* Its case has won with this result. */
static void expect_won(struct thing *thing, ssize_t result)
{
    intptr_t joined = 0;
    int32_t elem = 0;
    switch (thing->op) {
    case NX_CASE_OP_RECV:
        nxt_expect_eq(result, 0);
        nxt_expect_eq(thing->elem, 99);
        nxt_expect_eq(nx_chan_len(thing->chan), 0);
        break;
    case NX_CASE_OP_SEND:
        nxt_expect_eq(result, 0);
        nxt_expect_eq(nx_chan_recv(thing->chan, &elem, NX_POLL), 0);
        nxt_expect_eq(elem, 7);
        break;
    case NX_CASE_OP_READ:
        nxt_expect_eq(result, 3);
        nxt_expect_mem(thing->buf, "abc", 3);
        break;
    case NX_CASE_OP_ACCEPT:
        nxt_expect_eq(result, 0);
        nxt_expect(thing->accepted != NULL);
        break;
    case NX_CASE_OP_TIMER:
        nxt_expect_eq(result, 0);
        nxt_expect_ge(nx_now(), thing->at);
        break;
    case NX_CASE_OP_JOIN:
        nxt_expect_eq(result, 0);
        nxt_expect_eq(nx_join(thing->task, &joined, NX_POLL), 0);
        nxt_expect_eq(joined, 42);
        thing->task = 0;
        break;
    case NX_CASE_OP_READABLE:
        nxt_expect(result > 0 && result & NX_READABLE);
        break;
    case NX_CASE_OP_WRITABLE:
        nxt_expect(result > 0 && result & NX_WRITABLE);
        break;
    default:
        nxt_expect_eq(result, 0);
        nxt_expect(!nx_event_is_set(&thing->event));
    }
}

/* It is ready, or will be, and nobody has taken anything of it. */
static void expect_kept(struct thing *thing)
{
    intptr_t joined = 0;
    int32_t elem = 0;
    char buf[16];
    struct pollfd entry = {.fd = thing->op == NX_CASE_OP_READABLE ? thing->fds[0] : thing->fds[1],
                           .events = thing->op == NX_CASE_OP_READABLE ? POLLIN : POLLOUT};
    switch (thing->op) {
    case NX_CASE_OP_RECV:
        nxt_expect_eq(thing->elem, 7);
        nxt_expect_eq(nx_chan_recv(thing->chan, &elem, NX_POLL), 0);
        nxt_expect_eq(elem, 99);
        break;
    case NX_CASE_OP_SEND:
        nxt_expect_eq(nx_chan_len(thing->chan), 0);
        break;
    case NX_CASE_OP_READ:
        nxt_expect_eq(nx_read(thing->ends[0], buf, sizeof(buf), NX_FOREVER), 3);
        nxt_expect_mem(buf, "abc", 3);
        break;
    case NX_CASE_OP_ACCEPT:
        nxt_expect(!thing->accepted);
        nxt_expect_eq(nx_accept(thing->listener, &thing->accepted, NX_FOREVER), 0);
        break;
    case NX_CASE_OP_JOIN:
        nxt_expect_eq(nx_join(thing->task, &joined, NX_FOREVER), 0);
        nxt_expect_eq(joined, 42);
        thing->task = 0;
        break;
    case NX_CASE_OP_READABLE:
    case NX_CASE_OP_WRITABLE:
        nxt_expect_eq(poll(&entry, 1, 0), 1);
        break;
    case NX_CASE_OP_EVENT:
        nxt_expect_eq(nx_event_wait(&thing->event, NX_POLL), 0);
        break;
    default:
        break;
    }
}

static void close_thing(struct thing *thing)
{
    nx_event_set(&thing->gate);
    if (thing->task > 0)
        nxt_result(thing->task);
    nx_chan_destroy(thing->chan);
    nx_close(thing->ends[0]);
    nx_close(thing->ends[1]);
    nx_close(thing->accepted);
    nx_close(thing->client);
    nx_listener_close(thing->listener);
    nxt_close_fd(&thing->fds[0]);
    nxt_close_fd(&thing->fds[1]);
}

/* ---- a task that selects ---- */

struct selector {
    nx_case cases[NX_SELECT_MAX];
    size_t count;
    unsigned flags;
    nx_time deadline;
    ssize_t result;
};

static intptr_t select_once(void *arg)
{
    struct selector *selector = arg;
    int winner = nx_selectv(selector->cases, selector->count, selector->flags, selector->deadline);
    selector->result = nx_select_result();
    return winner;
}

static nx_task start(struct selector *selector)
{
    nx_task task = nx_spawn(select_once, selector);
    nxt_await_parked(task);
    return task;
}

/* ---- winning ---- */

NXT_TASK_TEST(each_kind_wins_alone_when_it_is_ready_at_once)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        struct thing thing;
        nxt_require(open_thing(&thing, kinds[k]));
        fire(&thing);
        nx_case one = case_of(&thing);
        nxt_expect_eq(nx_selectv(&one, 1, 0, NX_FOREVER), 0);
        nxt_expect_eq(one.done, 1);
        nxt_expect_eq(one.result, nx_select_result());
        expect_won(&thing, one.result);
        close_thing(&thing);
    }
}

NXT_TASK_TEST(each_kind_wins_alone_after_a_wait)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        struct thing thing;
        struct selector selector = {.count = 1, .deadline = NX_FOREVER};
        nxt_require(open_thing(&thing, kinds[k]));
        if (kinds[k] == NX_CASE_OP_TIMER)
            fire(&thing);
        selector.cases[0] = case_of(&thing);
        nx_task task = start(&selector);
        if (kinds[k] != NX_CASE_OP_TIMER)
            fire(&thing);
        nxt_expect_eq(nxt_result(task), 0);
        nxt_expect_eq(selector.cases[0].done, 1);
        nxt_expect_eq(selector.result, selector.cases[0].result);
        expect_won(&thing, selector.result);
        close_thing(&thing);
    }
}

/* Some of each kind, and one of them fires: it wins, and none of the others has lost anything. */
static void win_among_64(size_t chosen)
{
    static struct thing things[NX_SELECT_MAX];
    struct selector *selector = calloc(1, sizeof(*selector));
    nxt_require(selector != NULL);
    selector->count = NX_SELECT_MAX;
    selector->deadline = NX_FOREVER;
    bool open = true;
    for (size_t i = 0; i < NX_SELECT_MAX; i++)
        open = open_thing(&things[i], kinds[i % NXT_COUNT(kinds)]) && open;
    bool timer = things[chosen].op == NX_CASE_OP_TIMER;
    if (timer)
        fire(&things[chosen]);
    for (size_t i = 0; i < NX_SELECT_MAX; i++)
        selector->cases[i] = case_of(&things[i]);
    if (open) {
        nx_task task = start(selector);
        if (!timer)
            fire(&things[chosen]);
        nxt_expect_eq(nxt_result(task), chosen);
        expect_won(&things[chosen], selector->result);
    }
    for (size_t i = 0; i < NX_SELECT_MAX; i++) {
        if (i != chosen && open) {
            nxt_expect_eq(selector->cases[i].done, 0);
            fire(&things[i]);
            expect_kept(&things[i]);
        }
        close_thing(&things[i]);
    }
    free(selector);
}

NXT_TASK_TEST(each_kind_wins_among_64_mixed_and_the_others_lose_nothing)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++)
        win_among_64(k + 3 * NXT_COUNT(kinds));
    win_among_64(0);
    win_among_64(NX_SELECT_MAX - 1);
}

NXT_TASK_TEST(a_case_without_an_object_never_wins)
{
    nx_case cases[] = {NX_CASE_RECV(NULL, NULL),   NX_CASE_SEND(NULL, NULL), NX_CASE_READ(NULL, NULL, 0),
                       NX_CASE_ACCEPT(NULL, NULL), NX_CASE_JOIN(0),          NX_CASE_READABLE(-1),
                       NX_CASE_WRITABLE(-1),       NX_CASE_EVENT(NULL),      NX_CASE_TIMER(NX_FOREVER)};
    nxt_expect_eq(nx_selectv(cases, NXT_COUNT(cases), 0, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_selectv(cases, NXT_COUNT(cases), 0, nx_after_ms(2)), -ETIMEDOUT);
}

NXT_TASK_TEST(no_case_at_all_waits_for_the_deadline)
{
    nx_time until = nx_after_ms(5);
    nxt_expect_eq(nx_selectv(NULL, 0, 0, until), -ETIMEDOUT);
    nxt_expect_ge(nx_now(), until);
    nxt_expect_eq(nx_selectv(NULL, 0, 0, NX_POLL), -EAGAIN);
}

NXT_TASK_TEST(too_many_cases_an_unknown_one_and_unknown_flags_are_refused)
{
    nx_case cases[NX_SELECT_MAX + 1];
    for (size_t i = 0; i < NXT_COUNT(cases); i++)
        cases[i] = NX_CASE_TIMER(NX_FOREVER);
    nxt_expect_eq(nx_selectv(cases, NXT_COUNT(cases), 0, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_selectv(cases, NX_SELECT_MAX, 0, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_selectv(cases, 1, 16, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_selectv(NULL, 1, 0, NX_POLL), -EINVAL);
    cases[1].op = 0;
    nxt_expect_eq(nx_selectv(cases, 2, 0, NX_POLL), -EINVAL);
    cases[1].op = NX_CASE_OP_EVENT + 1;
    nxt_expect_eq(nx_selectv(cases, 2, 0, NX_POLL), -EINVAL);
}

NXT_TEST(outside_a_task_it_is_refused)
{
    nx_case one = NX_CASE_TIMER(NX_FOREVER);
    nxt_expect_eq(nx_selectv(&one, 1, 0, NX_POLL), -NX_ENOTASK);
    nxt_expect_eq(nx_select_result(), -NX_ENOTASK);
}

NXT_TASK_TEST(a_select_reads_as_a_switch)
{
    nx_chan *jobs;
    int32_t job = 5, got = 0;
    char buf[8];
    nx_stream *ends[2];
    nxt_require_eq(nx_chan_create(sizeof(job), 1, &jobs), 0);
    nxt_require(nxt_stream_pair(ends));
    for (int round = 0; round < 3; round++) {
        if (round == 1)
            nxt_expect_eq(nx_write(ends[1], "hello", 5, NX_FOREVER), 5);
        if (round == 0)
            nxt_expect_eq(nx_chan_send(jobs, &job, NX_POLL), 0);
        switch (nx_select(nx_after_ms(round < 2 ? FAR : 2), NX_CASE_RECV(jobs, &got),
                          NX_CASE_READ(ends[0], buf, sizeof(buf)))) {
        case 0:
            nxt_expect_eq(round, 0);
            nxt_expect_eq(nx_select_result(), 0);
            nxt_expect_eq(got, 5);
            break;
        case 1:
            nxt_expect_eq(round, 1);
            nxt_expect_eq(nx_select_result(), 5);
            break;
        case -ETIMEDOUT:
            nxt_expect_eq(round, 2);
            break;
        default:
            nxt_fail(__FILE__, __LINE__, "another result");
        }
    }
    nx_chan_destroy(jobs);
    nx_close(ends[0]);
    nx_close(ends[1]);
}

/* ---- order ---- */

/* Two channels with an element each all the time, `apart` places apart among `count`: how often the first wins. */
static int64_t wins_of_first(size_t count, size_t first, size_t second, unsigned flags, int64_t rounds)
{
    nx_case cases[NX_SELECT_MAX];
    nx_chan *chans[2];
    int64_t wins = 0;
    nxt_require_eq(nx_chan_create(0, 1, &chans[0]), 0, -1);
    nxt_require_eq(nx_chan_create(0, 1, &chans[1]), 0, -1);
    for (size_t i = 0; i < count; i++)
        cases[i] = NX_CASE_RECV(i == first ? chans[0] : i == second ? chans[1] : NULL, NULL);
    for (int64_t i = 0; i < rounds; i++) {
        nx_chan_send(chans[0], NULL, NX_POLL);
        nx_chan_send(chans[1], NULL, NX_POLL);
        int winner = nx_selectv(cases, count, flags, NX_FOREVER);
        nxt_expect(winner == (int)first || winner == (int)second);
        wins += winner == (int)first;
    }
    nx_chan_destroy(chans[0]);
    nx_chan_destroy(chans[1]);
    return wins;
}

NXT_TASK_TEST(of_two_that_are_always_ready_each_wins_its_share)
{
    static const size_t places[][3] = {{2, 0, 1}, {3, 0, 1}, {64, 10, 11}, {64, 0, 63}, {7, 2, 5}};
    for (size_t i = 0; i < NXT_COUNT(places); i++) {
        int64_t wins = wins_of_first(places[i][0], places[i][1], places[i][2], 0, 1000);
        nxt_expect_ge(wins, 350);
        nxt_expect_le(wins, 650);
    }
}

NXT_TASK_TEST(a_biased_select_takes_the_first_in_order)
{
    nxt_expect_eq(wins_of_first(2, 0, 1, NX_SELECT_BIASED, 100), 100);
    nxt_expect_eq(wins_of_first(64, 11, 10, NX_SELECT_BIASED, 100), 0);
}

NXT_TASK_TEST(a_biased_select_prefers_any_kind_that_stands_first)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        struct thing first, second;
        nxt_require(open_thing(&first, kinds[k]) && open_thing(&second, NX_CASE_OP_EVENT));
        fire(&first);
        fire(&second);
        if (kinds[k] == NX_CASE_OP_TIMER)
            nx_sleep_until(first.at);
        if (kinds[k] == NX_CASE_OP_JOIN)
            nxt_await(nx_selectv(&(nx_case){.op = NX_CASE_OP_JOIN, .at = first.task}, 1, 0, NX_POLL) == 0);
        nx_case cases[] = {case_of(&first), case_of(&second)};
        nxt_expect_eq(nx_selectv(cases, 2, NX_SELECT_BIASED, NX_FOREVER), 0);
        expect_won(&first, cases[0].result);
        expect_kept(&second);
        close_thing(&first);
        close_thing(&second);
    }
}

/* ---- losing ---- */

NXT_TASK_TEST(a_loser_that_is_ready_keeps_what_it_has)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        struct thing loser, winner;
        nxt_require(open_thing(&loser, kinds[k]) && open_thing(&winner, NX_CASE_OP_RECV));
        fire(&loser);
        fire(&winner);
        nx_case cases[] = {case_of(&winner), case_of(&loser)};
        nxt_expect_eq(nx_selectv(cases, 2, NX_SELECT_BIASED, NX_FOREVER), 0);
        expect_won(&winner, cases[0].result);
        expect_kept(&loser);
        close_thing(&loser);
        close_thing(&winner);
    }
}

NXT_TASK_TEST(what_comes_for_a_loser_after_the_winner_goes_to_others)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        struct thing loser, winner;
        struct selector selector = {.count = 2, .deadline = NX_FOREVER};
        nxt_require(open_thing(&loser, kinds[k]) && open_thing(&winner, NX_CASE_OP_EVENT));
        selector.cases[0] = case_of(&loser);
        selector.cases[1] = case_of(&winner);
        nx_task task = start(&selector);
        fire(&winner); /* the task has not run yet: its choice is made all the same */
        fire(&loser);
        nxt_expect_eq(nxt_result(task), 1);
        expect_won(&winner, selector.result);
        expect_kept(&loser);
        close_thing(&loser);
        close_thing(&winner);
    }
}

static intptr_t accept_one(void *arg)
{
    struct thing *thing = arg;
    return nx_accept(thing->listener, &thing->accepted, NX_FOREVER);
}

NXT_TASK_TEST(a_connection_passes_a_waiter_whose_select_is_decided)
{
    struct thing listener, event;
    struct selector selector = {.count = 2, .deadline = NX_FOREVER};
    nx_stream *unused = NULL;
    nxt_require(open_thing(&listener, NX_CASE_OP_ACCEPT) && open_thing(&event, NX_CASE_OP_EVENT));
    selector.cases[0] = NX_CASE_ACCEPT(listener.listener, &unused);
    selector.cases[1] = case_of(&event);
    nx_task first = start(&selector);
    nx_task second = nx_spawn(accept_one, &listener);
    nxt_await_parked(second);
    fire(&event);
    fire(&listener);
    nxt_expect_eq(nxt_result(first), 1);
    nxt_expect_eq(nxt_result(second), 0);
    nxt_expect(!unused);
    close_thing(&listener);
    close_thing(&event);
}

NXT_TASK_TEST(a_timer_is_never_early_and_the_earliest_wins)
{
    for (int i = 0; i < 8; i++) {
        nx_time at = nx_after_ms(2);
        nx_case cases[] = {NX_CASE_TIMER(at + 20000000000), NX_CASE_TIMER(at), NX_CASE_TIMER(NX_FOREVER)};
        nxt_expect_eq(nx_selectv(cases, 3, NX_SELECT_BIASED, nx_after_ms(FAR)), 1);
        nxt_expect_ge(nx_now(), at);
    }
}

/* ---- the end of the wait ---- */

NXT_TASK_TEST(a_poll_never_waits_and_has_no_effect)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        struct thing thing;
        nxt_require(open_thing(&thing, kinds[k]));
        nx_case one = case_of(&thing);
        nxt_expect_eq(nx_selectv(&one, 1, 0, NX_POLL), -EAGAIN);
        nxt_expect_eq(one.done, 0);
        fire(&thing);
        expect_kept(&thing);
        close_thing(&thing);
    }
}

NXT_TASK_TEST(a_deadline_ends_it_without_effect)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        struct thing thing;
        nxt_require(open_thing(&thing, kinds[k]));
        nx_case one = case_of(&thing);
        nx_time deadline = nx_after_ms(2);
        nxt_expect_eq(nx_selectv(&one, 1, 0, deadline), -ETIMEDOUT);
        nxt_expect_ge(nx_now(), deadline);
        fire(&thing);
        expect_kept(&thing);
        close_thing(&thing);
    }
}

NXT_TASK_TEST(a_deadline_in_the_past_tries_once)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        struct thing thing;
        nxt_require(open_thing(&thing, kinds[k]));
        nx_case one = case_of(&thing);
        nxt_expect_eq(nx_selectv(&one, 1, 0, nx_now() - 1), -ETIMEDOUT);
        fire(&thing);
        if (kinds[k] == NX_CASE_OP_TIMER)
            nx_sleep_until(thing.at);
        if (kinds[k] == NX_CASE_OP_JOIN)
            nxt_await(nx_selectv(&one, 1, 0, NX_POLL) == 0);
        one = case_of(&thing);
        nxt_expect_eq(nx_selectv(&one, 1, 0, nx_now() - 1), 0);
        expect_won(&thing, one.result);
        close_thing(&thing);
    }
}

NXT_TASK_TEST(a_cancel_ends_it_without_effect)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        struct thing thing;
        struct selector selector = {.count = 1, .deadline = NX_FOREVER};
        nxt_require(open_thing(&thing, kinds[k]));
        selector.cases[0] = case_of(&thing);
        nx_task task = start(&selector);
        nxt_expect_eq(nx_cancel(task), 0);
        nxt_expect_eq(nxt_result(task), -ECANCELED);
        fire(&thing);
        expect_kept(&thing);
        close_thing(&thing);
    }
}

static intptr_t select_cancelled(void *arg)
{
    nx_cancel(nx_self());
    return select_once(arg);
}

NXT_TASK_TEST(in_a_cancelled_task_it_has_no_effect_even_if_something_is_ready)
{
    for (size_t k = 0; k < NXT_COUNT(kinds); k++) {
        struct thing thing;
        struct selector selector = {.count = 1, .deadline = NX_POLL};
        nxt_require(open_thing(&thing, kinds[k]));
        fire(&thing);
        selector.cases[0] = case_of(&thing);
        nxt_expect_eq(nxt_result(nx_spawn(select_cancelled, &selector)), -ECANCELED);
        expect_kept(&thing);
        close_thing(&thing);
    }
}

NXT_TASK_TEST(a_winner_that_came_before_the_cancel_counts)
{
    struct thing thing;
    struct selector selector = {.count = 1, .deadline = NX_FOREVER};
    nxt_require(open_thing(&thing, NX_CASE_OP_RECV));
    selector.cases[0] = case_of(&thing);
    nx_task task = start(&selector);
    fire(&thing);
    nxt_expect_eq(nx_cancel(task), 0);
    nxt_expect_eq(nxt_result(task), 0);
    expect_won(&thing, selector.result);
    close_thing(&thing);
}

/* ---- what a stream has kept ---- */

NXT_TASK_TEST(bytes_kept_by_an_earlier_read_win_at_once)
{
    struct thing thing;
    char line[8];
    nxt_require(open_thing(&thing, NX_CASE_OP_READ));
    nxt_expect_eq(nx_write(thing.ends[1], "x\nabc", 5, NX_FOREVER), 5);
    nxt_expect_eq(nx_read_until(thing.ends[0], line, sizeof(line), "\n", NX_FOREVER), 2);
    nx_case one = case_of(&thing);
    nxt_expect_eq(nx_selectv(&one, 1, 0, NX_POLL), 0);
    expect_won(&thing, one.result);
    close_thing(&thing);
}

struct kept {
    nx_stream *stream;
    char line[8], buf[8];
    ssize_t line_len, got; /* -1: not yet */
};

static intptr_t read_a_line(void *arg)
{
    struct kept *kept = arg;
    ssize_t len = nx_read_until(kept->stream, kept->line, sizeof(kept->line), "\n", NX_FOREVER);
    __atomic_store_n(&kept->line_len, len, __ATOMIC_RELEASE);
    return 0;
}

static intptr_t select_the_rest(void *arg)
{
    struct kept *kept = arg;
    int winner = nx_select(nx_after_ms(20000), NX_CASE_READ(kept->stream, kept->buf, sizeof(kept->buf)));
    __atomic_store_n(&kept->got, winner < 0 ? winner : nx_select_result(), __ATOMIC_RELEASE);
    return winner;
}

/* Both wait when a line and a half comes: if the line's reader is first, it keeps what the select waits for. */
static void keep_while_a_select_waits(int reader, int selector)
{
    struct thing thing;
    nxt_require(open_thing(&thing, NX_CASE_OP_READ));
    struct kept kept = {.stream = thing.ends[0], .line_len = -1, .got = -1};
    nx_task reads = nxt_task_on(reader, read_a_line, &kept);
    nxt_await_parked(reads);
    nx_task selects = nxt_task_on(selector, select_the_rest, &kept);
    nxt_await_parked(selects);
    nxt_expect_eq(nx_write(thing.ends[1], "x\nabc", 5, NX_FOREVER), 5);
    nxt_expect_eq(nxt_result(selects), 0);
    if (kept.got == 5) /* it was first itself */
        nxt_expect_eq(nx_write(thing.ends[1], "\n", 1, NX_FOREVER), 1);
    nxt_expect_eq(nxt_result(reads), 0);
    nxt_expect(kept.got == 5 ? kept.line_len == 1 : kept.got == 3 && kept.line_len == 2);
    close_thing(&thing);
}

NXT_TASK_TEST(bytes_that_a_line_leaves_behind_wake_a_select, .workers = 2)
{
    for (int64_t i = nxt_scaled(40, 8); i > 0; i--)
        keep_while_a_select_waits((int)i & 1, (int)(i >> 1) & 1);
}

static intptr_t read_ten(void *arg)
{
    char buf[10];
    return nx_read_exact(arg, buf, sizeof(buf), NX_FOREVER);
}

NXT_TASK_TEST(an_error_that_came_after_some_bytes_wins)
{
    int peer;
    char buf[8];
    nx_stream *stream = nxt_tcp_stream(&peer);
    nxt_require(stream != NULL);
    nxt_require_eq(write(peer, "abc", 3), 3);
    nx_task task = nx_spawn(read_ten, stream);
    nxt_await_parked(task);
    nxt_await(nxt_unread(nx_stream_fd(stream)) == 0);
    nxt_reset(&peer);
    nxt_expect_eq(nxt_result(task), 3);
    nxt_expect_eq(nx_select(NX_FOREVER, NX_CASE_READ(stream, buf, sizeof(buf))), 0);
    nxt_expect_eq(nx_select_result(), -ECONNRESET);
    nx_close(stream);
}

/* ---- closing meanwhile ---- */

NXT_TASK_TEST(a_channel_closed_meanwhile_wins_with_epipe)
{
    for (int sends = 0; sends < 2; sends++) {
        struct thing thing;
        struct selector selector = {.count = 1, .deadline = NX_FOREVER};
        nxt_require(open_thing(&thing, sends ? NX_CASE_OP_SEND : NX_CASE_OP_RECV));
        selector.cases[0] = case_of(&thing);
        nx_task task = start(&selector);
        nx_chan_close(thing.chan);
        nxt_expect_eq(nxt_result(task), 0);
        nxt_expect_eq(selector.result, -EPIPE);
        nxt_expect_eq(nx_selectv(selector.cases, 1, 0, NX_POLL), 0);
        nxt_expect_eq(nx_select_result(), -EPIPE);
        close_thing(&thing);
    }
}

NXT_TASK_TEST(a_stream_or_listener_closed_meanwhile_wins_with_ebadf)
{
    static const unsigned closed[] = {NX_CASE_OP_READ, NX_CASE_OP_ACCEPT};
    for (size_t k = 0; k < NXT_COUNT(closed); k++) {
        struct thing thing;
        struct selector selector = {.count = 2, .deadline = NX_FOREVER};
        nx_event never = NX_EVENT_INIT;
        nxt_require(open_thing(&thing, closed[k]));
        selector.cases[0] = NX_CASE_EVENT(&never);
        selector.cases[1] = case_of(&thing);
        nx_task task = start(&selector);
        nx_close(thing.ends[0]);
        thing.ends[0] = NULL;
        nx_listener_close(thing.listener);
        thing.listener = NULL;
        nxt_expect_eq(nxt_result(task), 1);
        nxt_expect_eq(selector.result, -EBADF);
        close_thing(&thing);
    }
}

NXT_TASK_TEST(the_end_of_a_stream_wins_with_0)
{
    struct thing thing;
    struct selector selector = {.count = 1, .deadline = NX_FOREVER};
    nxt_require(open_thing(&thing, NX_CASE_OP_READ));
    selector.cases[0] = case_of(&thing);
    nx_task task = start(&selector);
    nx_close(thing.ends[1]);
    thing.ends[1] = NULL;
    nxt_expect_eq(nxt_result(task), 0);
    nxt_expect_eq(selector.result, 0);
    close_thing(&thing);
}

NXT_TASK_TEST(a_descriptor_that_is_none_wins_with_ebadf)
{
    int fds[2];
    nxt_require(nxt_pipe(fds));
    int gone = fds[0];
    nxt_close_fd(&fds[0]);
    nxt_expect_eq(nx_select(NX_FOREVER, NX_CASE_TIMER(NX_FOREVER), NX_CASE_READABLE(gone)), 1);
    nxt_expect_eq(nx_select_result(), -EBADF);
    nxt_close_fd(&fds[1]);
}

NXT_TASK_TEST(one_descriptor_may_be_in_a_select_both_ways)
{
    int fds[2];
    nxt_require(nxt_socketpair(fds));
    nxt_expect_eq(nx_select(NX_FOREVER, NX_CASE_READABLE(fds[0]), NX_CASE_WRITABLE(fds[0])), 1);
    nxt_require(nxt_set_nonblock(fds[0]));
    fill_pipe(fds[0]);
    nxt_expect_eq(nx_select(nx_after_ms(2), NX_CASE_READABLE(fds[0]), NX_CASE_WRITABLE(fds[0])), -ETIMEDOUT);
    nxt_expect_eq(write(fds[1], "x", 1), 1);
    nxt_expect_eq(nx_select(NX_FOREVER, NX_CASE_READABLE(fds[0]), NX_CASE_WRITABLE(fds[0])), 0);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

/* ---- joins ---- */

NXT_TASK_TEST(a_task_that_was_selected_on_in_vain_can_be_joined_by_another)
{
    struct thing thing;
    nxt_require(open_thing(&thing, NX_CASE_OP_JOIN));
    nxt_expect_eq(nx_select(nx_after_ms(2), NX_CASE_JOIN(thing.task)), -ETIMEDOUT);
    struct selector selector = {.cases = {case_of(&thing)}, .count = 1, .deadline = NX_FOREVER};
    nx_task other = start(&selector);
    nxt_expect_eq(nx_join(thing.task, NULL, NX_POLL), -EBUSY);
    nxt_expect_eq(nx_select(NX_FOREVER, NX_CASE_JOIN(thing.task)), 0);
    nxt_expect_eq(nx_select_result(), -EBUSY);
    nx_cancel(other);
    nxt_expect_eq(nxt_result(other), -ECANCELED);
    fire(&thing);
    nxt_expect_eq(nx_select(NX_FOREVER, NX_CASE_JOIN(thing.task)), 0);
    nxt_expect_eq(nx_select_result(), 0);
    nxt_expect_eq(nx_select(NX_FOREVER, NX_CASE_JOIN(thing.task)), 0);
    expect_won(&thing, nx_select_result());
    close_thing(&thing);
}

NXT_TASK_TEST(a_task_may_be_in_a_select_twice)
{
    struct thing thing, event;
    nxt_require(open_thing(&thing, NX_CASE_OP_JOIN) && open_thing(&event, NX_CASE_OP_EVENT));
    struct selector selector = {
        .cases = {case_of(&thing), case_of(&thing), case_of(&event)}, .count = 3, .deadline = NX_FOREVER};
    nx_task task = nx_spawn(select_once, &selector);
    nxt_await_parked(task); /* and does not go round and round */
    fire(&event);
    nxt_expect_eq(nxt_result(task), 2);
    task = nx_spawn(select_once, &selector);
    nxt_await_parked(task);
    fire(&thing);
    nxt_expect_lt(nxt_result(task), 2);
    expect_won(&thing, selector.result);
    close_thing(&thing);
    close_thing(&event);
}

NXT_TASK_TEST(a_channel_case_without_a_place_for_its_element_wins_with_einval)
{
    nx_chan *chan;
    nxt_require_eq(nx_chan_create(sizeof(int32_t), 1, &chan), 0);
    nxt_expect_eq(nx_select(NX_FOREVER, NX_CASE_SEND(chan, NULL)), 0);
    nxt_expect_eq(nx_select_result(), -EINVAL);
    nxt_expect_eq(nx_select(NX_FOREVER, NX_CASE_RECV(chan, NULL)), 0);
    nxt_expect_eq(nx_select_result(), -EINVAL);
    nx_chan_destroy(chan);
}

NXT_TASK_TEST(a_task_that_can_not_be_joined_wins_with_the_error)
{
    struct thing thing;
    nxt_require(open_thing(&thing, NX_CASE_OP_JOIN));
    nx_task gone = thing.task;
    fire(&thing);
    nxt_expect_eq(nxt_result(thing.task), 42);
    thing.task = 0;
    nxt_expect_eq(nx_select(NX_FOREVER, NX_CASE_JOIN(gone)), 0);
    nxt_expect_eq(nx_select_result(), -ESRCH);
    nxt_expect_eq(nx_select(NX_FOREVER, NX_CASE_JOIN(nx_self())), 0);
    nxt_expect_eq(nx_select_result(), -EDEADLK);
    close_thing(&thing);
}

/* ---- events ---- */

NXT_TASK_TEST(a_manual_event_lets_all_selects_pass_and_an_automatic_one_one)
{
    nx_event manual = NX_EVENT_INIT, automatic = NX_EVENT_AUTO_INIT;
    struct selector selectors[4];
    nx_task tasks[4];
    for (int i = 0; i < 4; i++) {
        selectors[i] = (struct selector){.cases = {NX_CASE_EVENT(&manual)}, .count = 1, .deadline = NX_FOREVER};
        tasks[i] = start(&selectors[i]);
    }
    nx_event_set(&manual);
    for (int i = 0; i < 4; i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
    nxt_expect_eq(nx_select(NX_POLL, NX_CASE_EVENT(&manual)), 0);
    nxt_expect_eq(nx_select(NX_POLL, NX_CASE_EVENT(&manual)), 0);
    for (int i = 0; i < 4; i++) {
        selectors[i].cases[0] = NX_CASE_EVENT(&automatic);
        tasks[i] = start(&selectors[i]);
    }
    for (int i = 0; i < 4; i++) {
        nx_event_set(&automatic);
        nxt_expect_eq(nxt_result(tasks[i]), 0); /* in the order in which they came */
    }
    nxt_expect_eq(nx_select(NX_POLL, NX_CASE_EVENT(&automatic)), -EAGAIN);
    nx_event_set(&automatic);
    nx_event_set(&automatic);
    nxt_expect_eq(nx_select(NX_POLL, NX_CASE_EVENT(&automatic)), 0);
    nxt_expect_eq(nx_select(NX_POLL, NX_CASE_EVENT(&automatic)), -EAGAIN);
}

/* ---- spread over workers ---- */

NXT_TASK_TEST(a_stream_of_another_worker_can_be_selected_on, .workers = 2)
{
    struct thing thing, event;
    nxt_require(open_thing(&thing, NX_CASE_OP_READ) && open_thing(&event, NX_CASE_OP_EVENT));
    char buf[4];
    nxt_expect_eq(nx_read(thing.ends[0], buf, sizeof(buf), NX_POLL), -EAGAIN); /* it is ours */
    for (int round = 0; round < 4; round++) {
        struct selector selector = {.cases = {case_of(&thing), case_of(&event)}, .count = 2, .deadline = NX_FOREVER};
        nx_task task = nxt_task_on(1 - round % 2, select_once, &selector);
        nxt_await_parked(task);
        if (round == 2)
            nx_cancel(task);
        else
            fire(round < 2 ? &thing : &event);
        nxt_expect_eq(nxt_result(task), round < 2 ? 0 : round == 2 ? -ECANCELED : 1);
        if (round != 2)
            expect_won(round < 2 ? &thing : &event, selector.result);
    }
    close_thing(&thing);
    close_thing(&event);
}

NXT_TASK_TEST(a_listener_of_another_worker_can_be_selected_on, .workers = 2)
{
    struct thing thing;
    nxt_require(open_thing(&thing, NX_CASE_OP_ACCEPT));
    nx_stream *none;
    nxt_expect_eq(nx_accept(thing.listener, &none, NX_POLL), -EAGAIN); /* its home is here */
    struct selector selector = {.cases = {case_of(&thing)}, .count = 1, .deadline = NX_FOREVER};
    nx_task task = nxt_task_on(1, select_once, &selector);
    nxt_await_parked(task);
    fire(&thing);
    nxt_expect_eq(nxt_result(task), 0);
    expect_won(&thing, selector.result);
    close_thing(&thing);
}

struct reader {
    nx_stream *stream;
    _Atomic int64_t *bytes;
    int64_t total;
    nx_event *end;
};

static intptr_t read_by_select(void *arg)
{
    struct reader *reader = arg;
    char buf[7];
    for (;;) {
        int winner = nx_select(NX_FOREVER, NX_CASE_READ(reader->stream, buf, sizeof(buf)), NX_CASE_EVENT(reader->end));
        if (winner == 1)
            return 0;
        ssize_t got = nx_select_result();
        if (!nxt_expect(winner == 0 && got > 0))
            return -1;
        if (atomic_fetch_add(reader->bytes, got) + got == reader->total)
            nx_event_set(reader->end);
    }
}

NXT_TASK_TEST(two_selects_on_one_stream_lose_no_byte, .workers = 2)
{
    struct thing thing;
    nx_event end = NX_EVENT_INIT;
    _Atomic int64_t bytes = 0;
    nxt_require(open_thing(&thing, NX_CASE_OP_READ));
    struct reader reader = {.stream = thing.ends[0], .bytes = &bytes, .total = nxt_scaled(20000, 2000), .end = &end};
    nx_task readers[4];
    for (int i = 0; i < 4; i++)
        readers[i] = nxt_task_on(i % 2, read_by_select, &reader);
    char data[10] = "0123456789";
    for (int64_t sent = 0; sent < reader.total; sent += 10)
        nxt_expect_eq(nx_write(thing.ends[1], data, 10, NX_FOREVER), 10);
    for (int i = 0; i < 4; i++)
        nxt_result(readers[i]);
    nxt_expect_eq(bytes, reader.total);
    close_thing(&thing);
}

/* ---- many selects on the same channels ---- */

struct crowd {
    nx_chan *chans[3];
    _Atomic int64_t sent, received, sum_sent, sum_received;
    int64_t rounds;
    _Atomic int64_t left;
};

/* Sends and receives on all three at once, until all elements of the crowd have been sent and received. */
static intptr_t send_and_receive(void *arg)
{
    struct crowd *crowd = arg;
    for (;;) {
        int64_t elem = atomic_fetch_sub(&crowd->left, 1), got[3] = {0};
        bool sends = elem > 0;
        for (bool sent = false; !sent;) {
            nx_case cases[6];
            for (int i = 0; i < 3; i++) {
                cases[i] = NX_CASE_RECV(crowd->chans[i], &got[i]);
                cases[3 + i] = NX_CASE_SEND(sends ? crowd->chans[i] : NULL, &elem);
            }
            int winner = nx_selectv(cases, 6, 0, NX_FOREVER);
            if (winner < 0)
                return nxt_fail(__FILE__, __LINE__, "a select ended with %d", winner);
            if (cases[winner].result == -EPIPE)
                return 0;
            nxt_expect_eq(cases[winner].result, 0);
            if (winner >= 3) {
                atomic_fetch_add(&crowd->sum_sent, elem);
                sent = true;
                continue;
            }
            atomic_fetch_add(&crowd->sum_received, got[winner]);
            if (atomic_fetch_add(&crowd->received, 1) + 1 == crowd->rounds) {
                for (int i = 0; i < 3; i++)
                    nx_chan_close(crowd->chans[i]);
            }
        }
    }
}

static void run_crowd(size_t capacity)
{
    struct crowd crowd = {.rounds = nxt_scaled(4000, 400)};
    nx_task tasks[16];
    crowd.left = crowd.rounds;
    for (int i = 0; i < 3; i++)
        nxt_require_eq(nx_chan_create(sizeof(int64_t), capacity, &crowd.chans[i]), 0);
    for (int i = 0; i < 16; i++)
        tasks[i] = nxt_task_on(i % 2, send_and_receive, &crowd);
    for (int i = 0; i < 16; i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
    nxt_expect_eq(crowd.received, crowd.rounds);
    nxt_expect_eq(crowd.sum_received, crowd.sum_sent);
    nxt_expect_eq(crowd.sum_sent, crowd.rounds * (crowd.rounds + 1) / 2);
    for (int i = 0; i < 3; i++)
        nx_chan_destroy(crowd.chans[i]);
}

NXT_TASK_TEST(sixteen_selects_meet_at_three_rendezvous_channels, .workers = 2)
{
    run_crowd(0);
}

NXT_TASK_TEST(sixteen_selects_meet_at_three_bounded_channels, .workers = 2)
{
    run_crowd(2);
}

NXT_TASK_TEST(the_same_channel_may_be_in_a_select_many_times)
{
    struct thing thing;
    struct selector selector = {.count = 20, .deadline = NX_FOREVER};
    nxt_require(open_thing(&thing, NX_CASE_OP_RECV));
    for (size_t i = 0; i < selector.count; i++)
        selector.cases[i] = case_of(&thing);
    nx_task task = start(&selector);
    fire(&thing);
    nxt_expect_ge(nxt_result(task), 0);
    expect_won(&thing, selector.result);
    close_thing(&thing);
}

NXT_TASK_TEST(a_select_does_not_meet_itself_at_a_rendezvous)
{
    nx_chan *chan;
    int64_t in = 1, out = 0;
    nxt_require_eq(nx_chan_create(sizeof(in), 0, &chan), 0);
    nxt_expect_eq(nx_select(nx_after_ms(2), NX_CASE_RECV(chan, &out), NX_CASE_SEND(chan, &in)), -ETIMEDOUT);
    nxt_expect_eq(out, 0);
    nx_chan_destroy(chan);
}

static intptr_t poll_chan(void *arg)
{
    nx_case one = NX_CASE_RECV(arg, NULL);
    int winner = nx_selectv(&one, 1, 0, NX_POLL);
    return winner < 0 ? winner : one.result;
}

static intptr_t select_at_home(void *arg)
{
    const nx_chan_options options = {.size = sizeof(options), .capacity = 1, .flags = NX_CHAN_LOCAL};
    struct selector selector = {.count = 1, .deadline = NX_FOREVER};
    nx_chan *chan;
    (void)arg;
    nxt_require_eq(nx_chan_create_with(&options, &chan), 0, 0);
    selector.cases[0] = NX_CASE_RECV(chan, NULL);
    nx_task task = nxt_task_on(0, select_once, &selector); /* bound: one that has not started might be stolen */
    nxt_await_parked(task);
    nxt_expect_eq(nx_chan_send(chan, NULL, NX_FOREVER), 0);
    nxt_expect_eq(nxt_result(task), 0);
    nxt_expect_eq(selector.result, 0);
    nxt_expect_eq(nxt_result(nxt_task_on(0, poll_chan, chan)), -EAGAIN);
    nxt_expect_eq(nxt_result(nxt_task_on(1, poll_chan, chan)), -EXDEV);
    nx_chan_destroy(chan);
    return 0;
}

NXT_TASK_TEST(a_local_channel_can_be_selected_on_at_home_only, .workers = 2)
{
    nxt_result(nxt_task_on(0, select_at_home, NULL));
}
