/* conform_scope.c: scopes: who ends when, and why. */
#include "nxt_net.h"
#include <nexus/select.h>
#include <nexus/sync.h>
#include <string.h>

#define SCOPE(...) (&(const nx_scope_options){.size = sizeof(nx_scope_options), __VA_ARGS__})

static nx_scope *open_scope(const nx_scope_options *options)
{
    nx_scope *scope = NULL;
    nxt_expect_eq(nx_scope_open(options, &scope), 0);
    return scope;
}

static nx_task child(nx_scope *scope, nx_task_fn fn, void *arg)
{
    nx_task task = nx_scope_spawn(scope, fn, arg);
    nxt_expect_gt(task, 0);
    return task;
}

static nx_task child_on(nx_scope *scope, int worker, nx_task_fn fn, void *arg)
{
    nx_task task = nx_scope_spawn_with(scope, NXT_WITH(.worker_plus_1 = worker + 1), fn, arg);
    nxt_expect_gt(task, 0);
    return task;
}

/* In a scope whose deadline is soon: false if it has passed before. */
static bool child_in_time(nx_scope *scope, int worker, nx_task_fn fn, void *arg)
{
    nx_task task = nx_scope_spawn_with(scope, NXT_WITH(.worker_plus_1 = worker + 1), fn, arg);
    nxt_expect(task > 0 || task == -ETIMEDOUT);
    return task > 0;
}

/* A scope with a deadline as soon as this machine can spawn a child before. */
static nx_scope *open_soon_over(int worker, nx_task_fn fn, void *arg)
{
    for (int64_t soon = 1000000;; soon *= 2) {
        nx_scope *scope = open_scope(SCOPE(.timeout_ns = soon));
        if (!scope || child_in_time(scope, worker, fn, arg))
            return scope;
        nx_scope_close(scope, NX_FOREVER);
    }
}

/* ---- what children do ---- */

static intptr_t give(void *arg)
{
    return (intptr_t)arg;
}

static intptr_t count_up(void *arg)
{
    nx_yield();
    atomic_fetch_add((atomic_int *)arg, 1);
    return 0;
}

/* Waits until it is cancelled, or a deadline ends it. */
static intptr_t stay(void *arg)
{
    (void)arg;
    return nx_sleep_until(NX_FOREVER);
}

struct stayer {
    atomic_int waiting, ended;
    atomic_int result;
};

static intptr_t stay_and_tell(void *arg)
{
    struct stayer *stayer = arg;
    atomic_fetch_add(&stayer->waiting, 1);
    int result = nx_sleep_until(NX_FOREVER);
    atomic_store(&stayer->result, result);
    atomic_fetch_add(&stayer->ended, 1);
    return result;
}

static intptr_t panic_now(void *arg)
{
    (void)arg;
    nx_panic("a child of a scope");
}

/* ---- the plain case ---- */

NXT_TASK_TEST(a_scope_closes_when_all_children_have_ended, .workers = 2)
{
    atomic_int count = 0;
    nx_scope *scope = open_scope(NULL);
    nxt_require(scope);
    for (int i = 0; i < 50; i++)
        child_on(scope, i % 2, count_up, &count);
    for (int i = 0; i < 50; i++)
        nxt_expect_gt(nx_scope_spawn_with(scope, NXT_WITH(.flags = NX_TASK_SPREAD), count_up, &count), 0);
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), 0);
    nxt_expect_eq(atomic_load(&count), 100);
}

NXT_TASK_TEST(a_scope_without_children_closes_at_once)
{
    nx_scope *scope = open_scope(SCOPE(.flags = NX_SCOPE_COLLECT));
    nxt_expect_eq(nx_scope_close(scope, NX_POLL), 0);
    nx_cancel(nx_self());
    scope = open_scope(NULL);
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), 0);
}

NXT_TASK_TEST(a_positive_result_of_a_child_is_no_error)
{
    nx_scope *scope = open_scope(NULL);
    child(scope, give, (void *)(intptr_t)7);
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), 0);
}

/* ---- errors ---- */

NXT_TASK_TEST(the_first_error_cancels_the_siblings_and_is_the_scopes, .workers = 2)
{
    struct stayer stayer = {0};
    nx_scope *scope = open_scope(NULL);
    for (int i = 0; i < 6; i++)
        child_on(scope, i % 2, stay_and_tell, &stayer);
    nxt_await(atomic_load(&stayer.waiting) == 6);
    child_on(scope, 1, give, (void *)(intptr_t)-EPROTO);
    nxt_await(atomic_load(&stayer.ended) == 6);
    nxt_expect_eq(atomic_load(&stayer.result), -ECANCELED);
    nxt_expect_eq(nx_scope_spawn(scope, give, NULL), -ECANCELED);
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), -EPROTO);
}

NXT_TASK_TEST(a_scope_that_collects_leaves_the_siblings_alone)
{
    atomic_int count = 0;
    nx_scope *scope = open_scope(SCOPE(.flags = NX_SCOPE_COLLECT));
    nx_task failed = child(scope, give, (void *)(intptr_t)-EPROTO);
    nxt_await(nx_cancel(failed) == -ESRCH);
    child(scope, give, (void *)(intptr_t)-EIO);
    child(scope, count_up, &count);
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), -EPROTO);
    nxt_expect_eq(atomic_load(&count), 1);
}

NXT_TASK_TEST(a_childs_panic_is_an_error_and_counts_as_handled, .workers = 2, .on_panic = NX_PANIC_ISOLATE)
{
    struct stayer stayer = {0};
    nx_scope *scope = open_scope(NULL);
    child_on(scope, 1, stay_and_tell, &stayer);
    nxt_await(atomic_load(&stayer.waiting) == 1);
    child(scope, panic_now, NULL);
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), -NX_EPANIC);
    nxt_expect_eq(atomic_load(&stayer.result), -ECANCELED);
}

/* ---- cancelling ---- */

NXT_TASK_TEST(a_scope_can_be_cancelled_and_takes_no_more_children)
{
    struct stayer stayer = {0};
    nx_scope *scope = open_scope(NULL);
    child(scope, stay_and_tell, &stayer);
    nxt_await(atomic_load(&stayer.waiting) == 1);
    nxt_expect_eq(nx_scope_cancel(scope), 0);
    nxt_expect_eq(nx_scope_cancel(scope), 0);
    nxt_expect_eq(nx_scope_spawn(scope, stay, NULL), -ECANCELED);
    nxt_expect_eq(nx_scope_spawn_with(scope, NULL, stay, NULL), -ECANCELED);
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(atomic_load(&stayer.ended), 1);
    nxt_expect(!nx_cancelled());
}

static intptr_t cancel_own_scope(void *arg)
{
    nxt_expect_eq(nx_scope_cancel(arg), 0);
    return nx_sleep_until(NX_FOREVER);
}

NXT_TASK_TEST(a_child_can_cancel_its_scope)
{
    nx_scope *scope = open_scope(NULL);
    child(scope, stay, NULL);
    child(scope, cancel_own_scope, scope);
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), -ECANCELED);
}

static intptr_t close_cancelled(void *arg)
{
    struct stayer *stayer = arg;
    nx_scope *scope = open_scope(NULL);
    child(scope, stay_and_tell, stayer);
    int error = nx_scope_close(scope, NX_FOREVER);
    nxt_expect_eq(atomic_load(&stayer->ended), 1);
    return error;
}

NXT_TASK_TEST(a_cancel_of_the_closer_cancels_the_children_and_waits_for_them, .workers = 2)
{
    struct stayer stayer = {0};
    nx_task task = nxt_task_on(1, close_cancelled, &stayer);
    nxt_await(atomic_load(&stayer.waiting) == 1);
    nx_cancel(task);
    nxt_expect_eq(nxt_result(task), -ECANCELED);
}

static intptr_t ignore_cancel(void *arg)
{
    atomic_int *go = arg;
    nx_shield(NX_FOREVER);
    while (atomic_load(go) == 0)
        nx_sleep_ms(1);
    atomic_store(go, 2);
    return 0;
}

struct closing {
    atomic_int go, closed;
};

static intptr_t close_late(void *arg)
{
    struct closing *closing = arg;
    nx_scope *scope = open_scope(NULL);
    child(scope, ignore_cancel, &closing->go);
    int error = nx_scope_close(scope, nx_after_ms(1));
    nxt_expect_eq(atomic_load(&closing->go), 2);
    atomic_store(&closing->closed, 1);
    return error;
}

NXT_TASK_TEST(a_child_that_ignores_the_cancel_is_waited_for)
{
    struct closing closing = {0};
    nx_task task = nx_spawn(close_late, &closing);
    nxt_require(task > 0);
    nx_sleep_ms(20); /* past its deadline: nothing here depends on how long */
    nxt_expect_eq(atomic_load(&closing.closed), 0);
    atomic_store(&closing.go, 1);
    nxt_expect_eq(nxt_result(task), -ETIMEDOUT);
}

NXT_TASK_TEST(a_close_that_polls_cancels_at_once)
{
    nx_scope *scope = open_scope(NULL);
    child(scope, stay, NULL);
    nxt_expect_eq(nx_scope_close(scope, NX_POLL), -ETIMEDOUT);
    scope = open_scope(NULL);
    child(scope, stay, NULL);
    nxt_expect_eq(nx_scope_close(scope, 1), -ETIMEDOUT);
}

/* ---- deadlines ---- */

static intptr_t read_forever(void *arg)
{
    char byte;
    return nx_read(arg, &byte, 1, NX_FOREVER);
}

static intptr_t wait_event(void *arg)
{
    return nx_event_wait(arg, NX_FOREVER);
}

static intptr_t spawn_grandchild(void *arg)
{
    nx_scope *scope = open_scope(NULL); /* no deadline of its own */
    child_in_time(scope, 1, wait_event, arg);
    return nx_scope_close(scope, NX_FOREVER);
}

static nx_scope *open_with_three(nx_stream *stream, nx_event *never)
{
    for (int64_t soon = 20000000;; soon *= 2) {
        nx_scope *scope = open_scope(SCOPE(.timeout_ns = soon, .flags = NX_SCOPE_COLLECT));
        if (!scope || (child_in_time(scope, 0, read_forever, stream) &&
                       child_in_time(scope, 1, spawn_grandchild, never) && child_in_time(scope, 1, stay, NULL)))
            return scope;
        nx_scope_close(scope, NX_FOREVER);
    }
}

NXT_TASK_TEST(a_deadline_reaches_the_opener_its_children_and_theirs, .workers = 2)
{
    int peer;
    nx_event never = NX_EVENT_INIT;
    nx_stream *stream = nxt_unix_stream(&peer);
    nxt_require(stream);
    nx_scope *scope = open_with_three(stream, &never);
    nxt_expect_eq(nx_sleep_until(NX_FOREVER), -ETIMEDOUT);
    nxt_expect_eq(nx_event_wait(&never, NX_FOREVER), -ETIMEDOUT);
    nxt_expect_eq(nx_event_wait(&never, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_scope_spawn(scope, stay, NULL), -ETIMEDOUT);
    nxt_expect(!nx_cancelled());
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), -ETIMEDOUT);
    nxt_expect_eq(nx_sleep_ms(1), 0); /* the deadline went with the scope */
    nxt_close_fd(&peer);
    nx_close(stream);
}

/* Each call that parks, by a deadline of a scope that has passed. */
NXT_TASK_TEST(every_wait_heeds_a_deadline_that_has_passed)
{
    int peer;
    char byte;
    struct nx_ticker ticker;
    nx_event never = NX_EVENT_INIT;
    nx_mutex mutex = NX_MUTEX_INIT;
    nx_cond cond = NX_COND_INIT;
    nx_sem sem = NX_SEM_INIT(0);
    nx_chan *chan = NULL;
    nx_stream *stream = nxt_unix_stream(&peer), *accepted = NULL;
    nx_listener *listener = nxt_listen_on("127.0.0.1:0", (char[64]){0}, 64);
    nx_task idle = nx_spawn(stay, NULL);
    nxt_require(stream && listener && idle > 0);
    nxt_require_eq(nx_chan_create(1, 1, &chan), 0);
    nx_ticker_init(&ticker, 1000000000);
    nx_scope *scope = open_scope(SCOPE(.timeout_ns = 1));
    nxt_await(nx_sleep_ms(1) == -ETIMEDOUT);
    nxt_expect_eq(nx_ticker_next(&ticker), -ETIMEDOUT);
    nxt_expect_eq(nx_read(stream, &byte, 1, NX_FOREVER), -ETIMEDOUT);
    nxt_expect_eq(nx_accept(listener, &accepted, NX_FOREVER), -ETIMEDOUT);
    nxt_expect_eq(nx_fd_wait(peer, NX_READABLE, NX_FOREVER), -ETIMEDOUT);
    nxt_expect_eq(nx_join(idle, NULL, NX_FOREVER), -ETIMEDOUT);
    nxt_expect_eq(nx_chan_recv(chan, &byte, NX_FOREVER), -ETIMEDOUT);
    nxt_expect_eq(nx_sem_acquire(&sem, 1, NX_FOREVER), -ETIMEDOUT);
    nxt_expect_eq(nx_selectv(&(nx_case){0}, 0, 0, NX_FOREVER), -ETIMEDOUT);
    nxt_expect_eq(nx_mutex_lock(&mutex, NX_FOREVER), 0); /* what need not wait is done */
    nxt_expect_eq(nx_cond_wait(&cond, &mutex, NX_FOREVER), -ETIMEDOUT);
    nxt_expect_eq(nx_mutex_unlock(&mutex), 0);
    nxt_expect_eq(nx_event_wait(&never, NX_FOREVER), -ETIMEDOUT);
    nxt_expect(nxt_write_all(peer, "x", 1));
    nxt_expect_eq(nx_read(stream, &byte, 1, NX_FOREVER), 1);
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), 0);
    nx_cancel(idle);
    nxt_expect_eq(nxt_result(idle), -ECANCELED);
    nx_chan_destroy(chan);
    nx_listener_close(listener);
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(of_nested_deadlines_the_earlier_counts)
{
    nx_scope *outer = open_scope(SCOPE(.timeout_ns = INT64_C(3600000000000)));
    nx_scope *inner = open_soon_over(0, stay, NULL);
    nxt_expect_eq(nx_sleep_ms(3000000), -ETIMEDOUT);
    nxt_expect_eq(nx_scope_close(inner, NX_FOREVER), -ETIMEDOUT);
    inner = open_scope(SCOPE(.timeout_ns = INT64_C(7200000000000)));
    nxt_expect_eq(nx_sleep_ms(1), 0); /* the outer one's again */
    nxt_expect_eq(nx_scope_close(inner, NX_FOREVER), 0);
    nxt_expect_eq(nx_scope_close(outer, NX_FOREVER), 0);
    for (int64_t soon = 1000000;; soon *= 2) {
        outer = open_scope(SCOPE(.timeout_ns = soon));
        inner = open_scope(SCOPE(.timeout_ns = INT64_C(3600000000000)));
        if (child_in_time(inner, 0, stay, NULL))
            break;
        nx_scope_close(inner, NX_FOREVER);
        nx_scope_close(outer, NX_FOREVER);
    }
    nxt_expect_eq(nx_sleep_ms(3000000), -ETIMEDOUT);
    nxt_expect_eq(nx_scope_close(inner, NX_FOREVER), -ETIMEDOUT);
    nxt_expect_eq(nx_sleep_ms(3000000), -ETIMEDOUT);
    nxt_expect_eq(nx_scope_close(outer, NX_FOREVER), 0);
}

/* ---- clean-up ---- */

struct clean_up {
    nx_stream *stream;
    atomic_int waiting;
};

static intptr_t write_when_it_ends(void *arg)
{
    struct clean_up *clean_up = arg;
    char byte;
    atomic_store(&clean_up->waiting, 1);
    int error = (int)nx_read(clean_up->stream, &byte, 1, NX_FOREVER);
    nx_time before = nx_shield(NX_FOREVER);
    nxt_expect_eq(nx_sleep_ms(1), 0);
    nxt_expect_eq(nx_write(clean_up->stream, "bye", 3, NX_FOREVER), 3);
    nxt_expect_eq(nx_read(clean_up->stream, &byte, 1, NX_FOREVER), 1);
    nx_shield(before);
    ssize_t again = nx_read(clean_up->stream, &byte, 1, NX_FOREVER);
    nxt_expect(again == error || again == -ECANCELED); /* the close has seen the deadline too */
    return error;
}

static intptr_t answer_goodbye(void *arg)
{
    char text[3];
    int fd = *(int *)arg;
    bool came = nxt_read_all(fd, text, 3) == 3 && memcmp(text, "bye", 3) == 0;
    return came && nxt_write_all(fd, "y", 1);
}

/* ended_by: -ECANCELED or -ETIMEDOUT */
static void clean_up_after(int ended_by)
{
    int peer;
    struct clean_up clean_up = {.stream = nxt_unix_stream(&peer)};
    nxt_require(clean_up.stream);
    struct nxt_thread *thread = nxt_thread_start(answer_goodbye, &peer);
    nx_scope *scope = ended_by == -ETIMEDOUT ? open_soon_over(1, write_when_it_ends, &clean_up) : open_scope(NULL);
    if (ended_by == -ECANCELED) {
        child_on(scope, 1, write_when_it_ends, &clean_up);
        nxt_await(atomic_load(&clean_up.waiting) == 1);
        nx_scope_cancel(scope);
    }
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), ended_by);
    nxt_expect_eq(nxt_thread_await(thread), 1);
    nxt_close_fd(&peer);
    nx_close(clean_up.stream);
}

NXT_TASK_TEST(clean_up_under_a_shield_does_io_while_the_scope_is_cancelled, .workers = 2)
{
    clean_up_after(-ECANCELED);
}

NXT_TASK_TEST(clean_up_under_a_shield_does_io_after_the_deadline, .workers = 2)
{
    clean_up_after(-ETIMEDOUT);
}

/* A wait that began under the shield sees the deadline when the shield ends. */
NXT_TASK_TEST(a_shield_that_ends_lets_the_deadline_in)
{
    nx_event never = NX_EVENT_INIT;
    nx_scope *scope = open_scope(SCOPE(.timeout_ns = 1));
    nx_time until = nx_after_ms(5);
    nx_shield(until);
    nxt_expect_eq(nx_event_wait(&never, NX_FOREVER), -ETIMEDOUT);
    nxt_expect_ge(nx_now(), until);
    nx_shield(0);
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), 0);
}

/* ---- scopes that nobody closes ---- */

static void note_end(void *arg)
{
    struct stayer *stayer = arg;
    nxt_expect_eq(atomic_load(&stayer->ended), 2); /* the children may use what is cleaned up here */
    atomic_store(&stayer->result, 1);
}

struct leaver {
    struct stayer stayer;
    bool panics;
};

static intptr_t leave_open(void *arg)
{
    struct leaver *leaver = arg;
    nxt_expect_eq(nx_defer(note_end, &leaver->stayer), 0);
    nx_scope *outer = open_scope(SCOPE(.timeout_ns = INT64_C(3600000000000)));
    nx_scope *inner = open_scope(NULL);
    child(inner, stay_and_tell, &leaver->stayer);
    child(outer, stay_and_tell, &leaver->stayer);
    nxt_await(atomic_load(&leaver->stayer.waiting) == 2);
    if (leaver->panics)
        nx_panic("with scopes open");
    return 5;
}

NXT_TASK_TEST(scopes_left_open_are_cancelled_and_closed_at_the_tasks_end)
{
    struct leaver leaver = {.panics = false};
    nx_task task = nx_spawn(leave_open, &leaver);
    nxt_require(task > 0);
    nxt_expect_eq(nxt_result(task), 5);
    nxt_expect_eq(atomic_load(&leaver.stayer.ended), 2);
    nxt_expect_eq(atomic_load(&leaver.stayer.result), 1);
}

NXT_TASK_TEST(scopes_left_open_by_a_panic_are_cancelled_and_closed, .on_panic = NX_PANIC_ISOLATE)
{
    struct leaver leaver = {.panics = true};
    nx_task task = nx_spawn(leave_open, &leaver);
    nxt_require(task > 0);
    nxt_expect_eq(nx_join(task, NULL, NX_FOREVER), -NX_EPANIC);
    nxt_expect_eq(nx_detach(task), 0);
    nxt_expect_eq(atomic_load(&leaver.stayer.ended), 2);
    nxt_expect_eq(atomic_load(&leaver.stayer.result), 1);
}

static void open_and_leave(void *arg)
{
    child(open_scope(NULL), stay_and_tell, arg);
}

static intptr_t defer_a_scope(void *arg)
{
    return nx_defer(open_and_leave, arg);
}

NXT_TASK_TEST(a_scope_left_open_by_a_deferred_function_is_closed_too)
{
    struct stayer stayer = {0};
    nx_task task = nx_spawn(defer_a_scope, &stayer);
    nxt_require(task > 0);
    nxt_expect_eq(nxt_result(task), 0);
    nxt_expect_eq(atomic_load(&stayer.ended), 1);
}

/* ---- ids, names, misuse ---- */

NXT_TASK_TEST(a_childs_id_can_be_cancelled_but_not_joined)
{
    char name[16];
    nx_scope *scope = open_scope(SCOPE(.flags = NX_SCOPE_COLLECT));
    nx_task task = nx_scope_spawn_with(scope, NXT_WITH(.name = "kid"), stay, NULL);
    nxt_require(task > 0);
    nxt_expect_eq(nx_task_name(task, name, sizeof(name)), 3);
    nxt_expect_str(name, "kid");
    nxt_expect_eq(nx_join(task, NULL, NX_FOREVER), -EBUSY);
    nxt_expect_eq(nx_detach(task), -EBUSY);
    nxt_expect_eq(nx_cancel(task), 0);
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_cancel(task), -ESRCH);
}

static intptr_t try_from_outside(void *arg)
{
    nxt_expect_eq(nx_scope_spawn(arg, stay, NULL), -EPERM);
    nxt_expect_eq(nx_scope_cancel(arg), -EPERM);
    nxt_expect_eq(nx_scope_close(arg, NX_FOREVER), -EPERM);
    return 0;
}

static intptr_t close_as_child(void *arg)
{
    nxt_expect_eq(nx_scope_close(arg, NX_FOREVER), -EPERM);
    return 0;
}

NXT_TASK_TEST(misuse_of_a_scope_has_its_codes)
{
    nx_scope *scope = NULL;
    nxt_expect_eq(nx_scope_open(SCOPE(.timeout_ns = -1), &scope), -EINVAL);
    nxt_expect_eq(nx_scope_open(SCOPE(.flags = 8), &scope), -EINVAL);
    nxt_expect_eq(nx_scope_open(NULL, NULL), -EINVAL);
    nxt_expect(!scope);
    nxt_expect_eq(nx_scope_spawn(NULL, stay, NULL), -EINVAL);
    nxt_expect_eq(nx_scope_cancel(NULL), -EINVAL);
    nxt_expect_eq(nx_scope_close(NULL, NX_FOREVER), -EINVAL);
    scope = open_scope(NULL);
    nxt_expect_eq(nx_scope_spawn(scope, NULL, NULL), -EINVAL);
    nxt_expect_eq(nx_scope_spawn_with(scope, NXT_WITH(.flags = 1u << 20), stay, NULL), -EINVAL);
    nx_task task = nx_spawn(try_from_outside, scope);
    nxt_require(task > 0);
    nxt_result(task);
    child(scope, close_as_child, scope);
    nx_scope *inner = open_scope(NULL);
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), -EPERM); /* not the innermost */
    nxt_expect_eq(nx_scope_close(inner, NX_FOREVER), 0);
    nxt_expect_eq(nx_scope_close(scope, NX_FOREVER), 0);
}

NXT_TEST(a_scope_needs_a_task)
{
    nx_scope *scope = NULL;
    nxt_expect_eq(nx_scope_open(NULL, &scope), -NX_ENOTASK);
    nxt_expect_eq(nx_scope_spawn(NULL, stay, NULL), -NX_ENOTASK);
    nxt_expect_eq(nx_scope_spawn_with(NULL, NULL, stay, NULL), -NX_ENOTASK);
    nxt_expect_eq(nx_scope_cancel(NULL), -NX_ENOTASK);
    nxt_expect_eq(nx_scope_close(NULL, NX_FOREVER), -NX_ENOTASK);
}

/* ---- children that spawn siblings while the scope is closed or cancelled ---- */

struct brood {
    nx_scope *scope;
    atomic_int spawned, ended, refused;
    atomic_int left; /* spawns that may still be tried */
};

static intptr_t spawn_siblings(void *arg)
{
    struct brood *brood = arg;
    for (int i = 0; i < 2 && atomic_fetch_sub(&brood->left, 1) > 0; i++) {
        nx_task task = nx_scope_spawn_with(brood->scope, NXT_WITH(.flags = NX_TASK_SPREAD), spawn_siblings, brood);
        if (task > 0)
            atomic_fetch_add(&brood->spawned, 1);
        else if (nxt_expect_eq(task, -ECANCELED))
            atomic_fetch_add(&brood->refused, 1);
        if (i == 0)
            nx_yield();
    }
    atomic_fetch_add(&brood->ended, 1);
    return 0;
}

NXT_TASK_TEST(a_sibling_spawned_during_the_close_is_joined_or_refused, .workers = 2)
{
    uint64_t seed = (uint64_t)nxt_clock();
    for (int64_t i = 0; i < nxt_scaled(300, 30); i++) {
        struct brood brood = {.scope = open_scope(SCOPE(.flags = NX_SCOPE_COLLECT)), .left = 60};
        bool cut = nxt_random(&seed) % 2;
        child_on(brood.scope, (int)(nxt_random(&seed) % 2), spawn_siblings, &brood);
        child_on(brood.scope, (int)(nxt_random(&seed) % 2), spawn_siblings, &brood);
        nx_time deadline = cut ? nx_after_ns((int64_t)(nxt_random(&seed) % 50000)) : NX_FOREVER;
        int error = nx_scope_close(brood.scope, deadline);
        nxt_expect(error == 0 || (cut && error == -ETIMEDOUT));
        nxt_expect_eq(atomic_load(&brood.ended), atomic_load(&brood.spawned) + 2);
        nxt_expect(cut || atomic_load(&brood.refused) == 0);
    }
}

static intptr_t nest(void *arg)
{
    int64_t depth = (int64_t)(intptr_t)arg;
    if (depth == 0)
        return nx_sleep_until(NX_FOREVER);
    nx_scope *scope = open_scope(NULL);
    for (int i = 0; i < 2; i++)
        if (nx_scope_spawn_with(scope, NXT_WITH(.flags = NX_TASK_SPREAD), nest, (void *)(intptr_t)(depth - 1)) < 0)
            break;
    return nx_scope_close(scope, NX_FOREVER);
}

NXT_TASK_TEST(a_cancel_goes_down_a_tree_of_scopes, .workers = 2)
{
    for (int64_t i = 0; i < nxt_scaled(40, 5); i++) {
        nx_task task = nxt_task_on(1, nest, (void *)(intptr_t)4);
        if (i % 2)
            nxt_await_parked(task);
        nx_cancel(task);
        nxt_expect_eq(nxt_result(task), -ECANCELED);
    }
}
