/* conform_until_signal.c: nx_until_signal: what ends a program, and how its parent sees it. */
#include "nxt_net.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct service {
    atomic_bool begun, cancelled, go;
    int signo;
    intptr_t result;
    bool stubborn;
};

static void tell(int signo, void *arg)
{
    struct service *service = arg;
    service->signo = signo;
}

/* Waits to be cancelled, and then until it is let go. */
static intptr_t serve(void *arg)
{
    struct service *service = arg;
    atomic_store(&service->begun, true);
    while (!nx_cancelled())
        nx_sleep_ms(60000);
    atomic_store(&service->cancelled, true);
    if (service->stubborn)
        nxt_await(atomic_load(&service->go));
    return service->result;
}

static intptr_t return_seven(void *arg)
{
    (void)arg;
    nx_yield();
    return 7;
}

static const nx_until_signal_options *with(const sigset_t *signals, int64_t drain_ns, struct service *service)
{
    static nx_until_signal_options options;
    options = (nx_until_signal_options){
        .size = sizeof(options), .signals = signals, .drain_ns = drain_ns, .on_signal = tell, .arg = service};
    return &options;
}

static sigset_t set_of(int signo)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    return set;
}

/* ---- in this process ---- */

NXT_TASK_TEST(a_function_that_ends_by_itself_gives_its_result, .workers = 2)
{
    sigset_t set = set_of(SIGUSR1);
    intptr_t result = 0;
    for (int i = 0; i < 20; i++) {
        result = 0;
        nxt_expect_eq(nx_until_signal(with(&set, 0, NULL), return_seven, NULL, &result), 0);
        nxt_expect_eq(result, 7);
    }
    nxt_expect_eq(nx_until_signal(with(&set, 0, NULL), return_seven, NULL, NULL), 0);
}

struct sender {
    struct service *service;
    int signo;
};

static intptr_t send_when_begun(void *arg)
{
    struct sender *sender = arg;
    nxt_await(atomic_load(&sender->service->begun));
    return kill(getpid(), sender->signo);
}

NXT_TASK_TEST(the_first_signal_cancels_it_and_says_which, .workers = 2)
{
    const int signals[] = {SIGUSR1, SIGUSR2, SIGTERM, SIGINT};
    for (size_t i = 0; i < NXT_COUNT(signals); i++) {
        sigset_t set = set_of(signals[i]);
        struct service service = {.result = 11};
        struct sender sender = {&service, signals[i]};
        intptr_t result = 0;
        nx_task task = nxt_task_on((int)(i % 2), send_when_begun, &sender);
        const sigset_t *signals_or_default = signals[i] == SIGTERM || signals[i] == SIGINT ? NULL : &set;
        nxt_expect_eq(nx_until_signal(with(signals_or_default, 0, &service), serve, &service, &result), signals[i]);
        nxt_expect_eq(result, 11);
        nxt_expect_eq(service.signo, signals[i]);
        nxt_expect(!nx_cancelled());
        nxt_expect_eq(nx_sleep_ms(0), 0);
        nxt_result(task);
    }
}

NXT_TASK_TEST(a_signal_that_came_before_counts)
{
    sigset_t set = set_of(SIGUSR1);
    int signo;
    nxt_expect_eq(nx_signal_wait(&set, &signo, NX_POLL), -EAGAIN);
    nxt_expect_eq(kill(getpid(), SIGUSR1), 0);
    struct service service = {.result = 1};
    nxt_expect_eq(nx_until_signal(with(&set, 0, &service), serve, &service, NULL), SIGUSR1);
    nxt_expect(atomic_load(&service.cancelled)); /* it ran all the same */
}

static intptr_t guard(void *arg)
{
    sigset_t set = set_of(SIGUSR1);
    intptr_t result = 99;
    int ended = nx_until_signal(with(&set, 0, NULL), serve, arg, &result);
    nxt_expect_eq(result, 99);
    nxt_expect(nx_cancelled()); /* the shield it took is gone */
    return ended;
}

NXT_TASK_TEST(a_cancelled_caller_takes_it_along, .workers = 2)
{
    for (int worker = 0; worker < 2; worker++) {
        struct service service = {.stubborn = true};
        nx_task task = nxt_task_on(worker, guard, &service);
        nxt_await(atomic_load(&service.begun));
        nx_cancel(task);
        nxt_await(atomic_load(&service.cancelled));
        nxt_expect_eq(nx_join(task, NULL, NX_POLL), -EAGAIN); /* it waits for it */
        atomic_store(&service.go, true);
        nxt_expect_eq(nxt_result(task), -ECANCELED);
    }
}

static intptr_t cancelled_before(void *arg)
{
    nx_cancel(nx_self());
    return nx_until_signal(NULL, return_seven, arg, NULL);
}

NXT_TASK_TEST(until_signal_refuses_what_makes_no_sense)
{
    sigset_t set;
    sigemptyset(&set);
    nxt_expect_eq(nx_until_signal(NULL, NULL, NULL, NULL), -EINVAL);
    nxt_expect_eq(nx_until_signal(with(&set, 0, NULL), return_seven, NULL, NULL), -EINVAL);
    set = set_of(SIGKILL);
    nxt_expect_eq(nx_until_signal(with(&set, 0, NULL), return_seven, NULL, NULL), -EINVAL);
    nxt_expect_eq(nx_until_signal(&(nx_until_signal_options){.size = 3}, return_seven, NULL, NULL), -EINVAL);
    nxt_expect_eq(nxt_result(nx_spawn(cancelled_before, NULL)), -ECANCELED);
}

static intptr_t break_down(void *arg)
{
    (void)arg;
    nx_panic("broken on purpose");
}

NXT_TASK_TEST(a_panic_is_reported, .on_panic = NX_PANIC_ISOLATE)
{
    sigset_t set = set_of(SIGUSR1);
    nxt_expect_eq(nx_until_signal(with(&set, 0, NULL), break_down, NULL, NULL), -NX_EPANIC);
}

NXT_TEST(outside_a_task_until_signal_says_so)
{
    nxt_expect_eq(nx_until_signal(NULL, return_seven, NULL, NULL), -NX_ENOTASK);
}

/* ---- in a process that ends ---- */

static struct service stubborn = {.stubborn = true};

static void first_signal(int signo, void *arg)
{
    (void)arg;
    stubborn.signo = signo;
    if (getenv("SECOND"))
        kill(getpid(), atoi(getenv("SECOND")));
}

static intptr_t send_first(void *arg)
{
    (void)arg;
    nxt_await(atomic_load(&stubborn.begun));
    return kill(getpid(), SIGTERM);
}

static intptr_t end_this_process(void *arg)
{
    nx_until_signal_options options = {.size = sizeof(options), .on_signal = first_signal};
    options.drain_ns = getenv("SECOND") ? -1 : 5000000;
    (void)arg;
    nxt_expect_eq(nx_detach(nx_spawn(send_first, NULL)), 0);
    nx_until_signal(&options, serve, &stubborn, NULL);
    return 0;
}

NXT_CHILD(stubborn_service)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    nx_block_on(runtime, end_this_process, NULL, NULL);
    return 3;
}

NXT_TEST(a_second_signal_ends_the_process_by_its_default)
{
    const int signals[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < NXT_COUNT(signals); i++) {
        struct nxt_output output;
        const char *changes[] = {nxt_env("SECOND", signals[i]), NULL};
        nxt_run_child(stubborn_service, changes, &output);
        if (!nxt_expect_eq(output.signal, signals[i]))
            nxt_show_output(&output);
    }
}

/* Until the process is gone: how long the second one has to wait is the library's business. */
static intptr_t send_again_and_again(void *unused)
{
    (void)unused;
    for (unsigned turn = 0;; turn++) {
        kill(getpid(), SIGINT);
        nxt_pause(turn);
    }
    return 0;
}

static intptr_t hold_the_worker(void *unused)
{
    (void)unused;
    nxt_thread_start(send_again_and_again, NULL); /* the signals are taken over by now */
    for (;;)
        nxt_burn(1000000);
    return 0;
}

static intptr_t be_held(void *unused)
{
    (void)unused;
    return nx_until_signal(NULL, hold_the_worker, NULL, NULL);
}

NXT_CHILD(held_worker)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 1));
    nx_block_on(runtime, be_held, NULL, NULL);
    return 3;
}

NXT_TEST(a_second_signal_ends_the_process_even_if_its_worker_is_held)
{
    struct nxt_output output;
    nxt_run_child(held_worker, NULL, &output);
    if (!nxt_expect_eq(output.signal, SIGINT))
        nxt_show_output(&output);
}

NXT_TEST(at_the_end_of_the_drain_the_first_signal_ends_the_process)
{
    struct nxt_output output;
    const char *changes[] = {"SECOND", NULL};
    nxt_run_child(stubborn_service, changes, &output);
    if (!nxt_expect_eq(output.signal, SIGTERM))
        nxt_show_output(&output);
}

/* ---- a panic in on_signal ---- */

static void tell_and_panic(int signo, void *arg)
{
    tell(signo, arg);
    nx_panic("on_signal");
}

static intptr_t serve_until_panic(void *arg)
{
    sigset_t set = set_of(SIGUSR1);
    nx_until_signal_options options = *with(&set, 0, arg);
    options.on_signal = tell_and_panic;
    return nx_until_signal(&options, serve, arg, NULL);
}

NXT_TASK_TEST(a_caller_that_panics_cancels_the_child_and_waits_for_it, .workers = 2, .on_panic = NX_PANIC_ISOLATE)
{
    for (int i = 0; i < 70; i++) { /* more than there are places for waiters */
        struct service service = {.stubborn = true};
        nx_task task = nxt_task_on(i % 2, serve_until_panic, &service);
        nxt_await(atomic_load(&service.begun));
        nxt_expect_eq(kill(getpid(), SIGUSR1), 0);
        nxt_await(atomic_load(&service.cancelled));
        nxt_expect_eq(nx_join(task, NULL, NX_POLL), -EAGAIN);
        atomic_store(&service.go, true);
        nxt_expect_eq(nx_join(task, NULL, NX_FOREVER), -NX_EPANIC);
        nxt_expect_eq(nx_detach(task), 0);
        nxt_expect_eq(service.signo, SIGUSR1);
    }
}
