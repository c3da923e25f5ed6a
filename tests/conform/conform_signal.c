/* conform_signal.c: nx_signal_wait, and what the library does not do to the process' signals. */
#include "nxt_net.h"
#include <signal.h>
#include <string.h>
#include <unistd.h>

static sigset_t set_of(int first, int second)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, first);
    if (second)
        sigaddset(&set, second);
    return set;
}

/* Takes the disposition over, so that the signal doesn't end the process, and forgets what has come before. */
static void take_over(int signo)
{
    const sigset_t set = set_of(signo, 0);
    int taken = 0;
    while (nx_signal_wait(&set, &taken, NX_POLL) == 0)
        ;
}

static intptr_t wait_for_one(void *arg)
{
    const sigset_t set = set_of((int)(intptr_t)arg, 0);
    int signo = -1;
    int error = nx_signal_wait(&set, &signo, NX_FOREVER);
    return error < 0 ? error : signo;
}

static void send_signal(int signo)
{
    nxt_expect_eq(kill(getpid(), signo), 0);
}

NXT_TASK_TEST(a_signal_wakes_who_waits_for_it, .workers = 2)
{
    for (int i = 0; i < 20; i++) {
        take_over(SIGUSR1);
        nx_task task = nxt_task_on(i % 2, wait_for_one, (void *)SIGUSR1);
        if (i % 4)
            nxt_await_parked(task);
        send_signal(SIGUSR1);
        nxt_expect_eq(nxt_result(task), SIGUSR1);
    }
}

NXT_TASK_TEST(a_signal_between_two_waits_is_kept_for_the_next)
{
    const sigset_t set = set_of(SIGUSR1, 0);
    int signo = -1;
    nxt_expect_eq(nx_signal_wait(&set, &signo, NX_POLL), -EAGAIN);
    nxt_expect_eq(signo, -1);
    for (int i = 0; i < 20; i++) {
        send_signal(SIGUSR1);
        if (i % 2)
            nx_yield();
        nxt_expect_eq(nx_signal_wait(&set, &signo, NX_FOREVER), 0);
        nxt_expect_eq(signo, SIGUSR1);
        nxt_expect_eq(nx_signal_wait(&set, &signo, NX_POLL), -EAGAIN);
    }
}

NXT_TASK_TEST(one_of_two_waiters_gets_each_occurrence, .workers = 2)
{
    for (int i = 0; i < 20; i++) {
        take_over(SIGUSR2);
        nx_task tasks[2];
        for (int k = 0; k < 2; k++) {
            tasks[k] = nxt_task_on(k, wait_for_one, (void *)SIGUSR2);
            nxt_await_parked(tasks[k]);
        }
        send_signal(SIGUSR2);
        int done = 0;
        nxt_await((nx_join(tasks[0], NULL, NX_POLL) == 0 && (done = 1)) ||
                  (nx_join(tasks[1], NULL, NX_POLL) == 0 && (done = 2)));
        nx_sleep_ms(1); /* time enough for a second one to be woken wrongly; the case is right without it, too */
        nx_task other = tasks[done == 1];
        nxt_expect_eq(nx_join(other, NULL, NX_POLL), -EAGAIN);
        send_signal(SIGUSR2);
        nxt_expect_eq(nxt_result(other), SIGUSR2);
    }
}

NXT_TASK_TEST(a_set_of_several_signals_tells_which_it_was, .workers = 2)
{
    const int signals[] = {SIGUSR1, SIGTERM, SIGRTMIN + 1, SIGRTMAX, SIGCHLD};
    sigset_t set;
    int signo;
    sigemptyset(&set);
    for (size_t i = 0; i < NXT_COUNT(signals); i++) {
        sigaddset(&set, signals[i]);
        if (!nxt_can_send(signals[i])) {
            nxt_skip("the signal %d can't be sent here", signals[i]);
            return;
        }
    }
    while (nx_signal_wait(&set, &signo, NX_POLL) == 0)
        ;
    for (size_t i = 0; i < NXT_COUNT(signals); i++) {
        send_signal(signals[i]);
        nxt_expect_eq(nx_signal_wait(&set, &signo, NX_FOREVER), 0);
        nxt_expect_eq(signo, signals[i]);
    }
    uint64_t seen = 0, all = 0;
    for (size_t i = 0; i < NXT_COUNT(signals); i++) {
        send_signal(signals[i]);
        all |= UINT64_C(1) << (signals[i] - 1);
    }
    for (size_t i = 0; i < NXT_COUNT(signals); i++) {
        nxt_expect_eq(nx_signal_wait(&set, &signo, NX_FOREVER), 0);
        seen |= UINT64_C(1) << (signo - 1);
    }
    nxt_expect_eq(seen, all);
}

NXT_TASK_TEST(a_signal_goes_only_to_those_who_wait_for_it, .workers = 2)
{
    take_over(SIGUSR1);
    take_over(SIGUSR2);
    nx_task one = nxt_task_on(0, wait_for_one, (void *)SIGUSR1), two = nxt_task_on(1, wait_for_one, (void *)SIGUSR2);
    nxt_await_parked(one);
    nxt_await_parked(two);
    send_signal(SIGUSR2);
    nxt_expect_eq(nxt_result(two), SIGUSR2);
    nxt_expect_eq(nx_join(one, NULL, NX_POLL), -EAGAIN);
    send_signal(SIGUSR1);
    nxt_expect_eq(nxt_result(one), SIGUSR1);
}

NXT_TASK_TEST(a_wait_for_a_signal_has_a_deadline_and_is_cancelled, .workers = 2)
{
    const sigset_t set = set_of(SIGUSR1, 0);
    int signo = -1;
    take_over(SIGUSR1);
    nxt_expect_eq(nx_signal_wait(&set, &signo, 1), -ETIMEDOUT);
    nx_time deadline = nx_after_ms(10);
    nxt_expect_eq(nx_signal_wait(&set, &signo, deadline), -ETIMEDOUT);
    nxt_expect_ge(nx_now(), deadline);
    nxt_expect_eq(signo, -1);
    for (int worker = 0; worker < 2; worker++) {
        nx_task task = nxt_task_on(worker, wait_for_one, (void *)SIGUSR1);
        nxt_await_parked(task);
        nx_cancel(task);
        nxt_expect_eq(nxt_result(task), -ECANCELED);
    }
    send_signal(SIGUSR1); /* and none of them has taken this one */
    nxt_expect_eq(nx_signal_wait(&set, &signo, NX_FOREVER), 0);
    send_signal(SIGUSR1);
    nxt_await(nx_signal_wait(&set, &signo, 1) == 0); /* a deadline in the past tries once */
}

NXT_TASK_TEST(what_cannot_be_waited_for_is_refused)
{
    const int bad[] = {SIGKILL, SIGSTOP, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    sigset_t set;
    int signo = 77;
    sigemptyset(&set);
    nxt_expect_eq(nx_signal_wait(&set, &signo, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_signal_wait(NULL, &signo, NX_POLL), -EINVAL);
    for (size_t i = 0; i < NXT_COUNT(bad); i++) {
        set = set_of(bad[i], SIGUSR1);
        nxt_expect_eq(nx_signal_wait(&set, &signo, NX_POLL), -EINVAL);
    }
    set = set_of(SIGUSR1, 0);
    nxt_expect_eq(nx_signal_wait(&set, NULL, NX_POLL), -EINVAL);
    nxt_expect_eq(signo, 77);
}

/* ---- a thread that sends, a task that answers ---- */

struct rally {
    atomic_int served;
    int rounds;
};

static intptr_t serve_signals(void *arg)
{
    struct rally *rally = arg;
    for (int i = 0; i < rally->rounds; i++) {
        send_signal(SIGUSR1);
        nxt_await(atomic_load(&rally->served) > i);
    }
    return 0;
}

NXT_TASK_TEST(no_signal_is_lost_in_many_rounds, .workers = 2)
{
    struct rally rally = {.rounds = (int)nxt_scaled(2000, 100)};
    take_over(SIGUSR1);
    struct nxt_thread *thread = nxt_thread_start(serve_signals, &rally);
    for (int i = 0; i < rally.rounds; i++) {
        nxt_expect_eq(nxt_result(nxt_task_on(i % 2, wait_for_one, (void *)SIGUSR1)), SIGUSR1);
        atomic_fetch_add(&rally.served, 1);
    }
    nxt_thread_await(thread);
}

/* ---- what is put back, and what is left alone ---- */

static atomic_int old_called;

static void old_handler(int signo, siginfo_t *info, void *context)
{
    (void)context;
    atomic_fetch_add(&old_called, signo == SIGUSR1 && info->si_pid == getpid());
}

static intptr_t take_usr1(void *arg)
{
    (void)arg;
    take_over(SIGUSR1);
    send_signal(SIGUSR1);
    return wait_for_one((void *)SIGUSR1);
}

static void expect_old(bool back)
{
    struct sigaction now;
    nxt_expect_eq(sigaction(SIGUSR1, NULL, &now), 0);
    nxt_expect_eq(now.sa_sigaction == old_handler, back);
    if (!back)
        return;
    nxt_expect_eq(now.sa_flags & (SA_SIGINFO | SA_NODEFER), SA_SIGINFO | SA_NODEFER);
    nxt_expect_eq(sigismember(&now.sa_mask, SIGUSR2), 1);
    nxt_expect_eq(sigismember(&now.sa_mask, SIGHUP), 0);
}

NXT_TEST(the_old_disposition_is_back_when_the_last_runtime_is_gone)
{
    struct sigaction old = {.sa_sigaction = old_handler, .sa_flags = SA_SIGINFO | SA_NODEFER}, before;
    sigemptyset(&old.sa_mask);
    sigaddset(&old.sa_mask, SIGUSR2);
    nxt_expect_eq(sigaction(SIGUSR1, &old, &before), 0);
    atomic_store(&old_called, 0);
    for (int round = 0; round < 3; round++) {
        intptr_t result = 0;
        nx_runtime *first = nxt_start(NULL), *second = nxt_start(NULL);
        nxt_require(first && second);
        expect_old(true); /* making runtimes alone changes nothing */
        nxt_expect_eq(nx_block_on(first, take_usr1, NULL, &result), 0);
        nxt_expect_eq(result, SIGUSR1);
        expect_old(false);
        nxt_stop(first);
        expect_old(false);
        nxt_expect_eq(nx_block_on(second, take_usr1, NULL, &result), 0);
        nxt_expect_eq(result, SIGUSR1);
        nxt_stop(second);
        expect_old(true);
        nxt_expect_eq(atomic_load(&old_called), round);
        raise(SIGUSR1);
        nxt_expect_eq(atomic_load(&old_called), round + 1);
    }
    nxt_expect_eq(sigaction(SIGUSR1, &before, NULL), 0);
}

NXT_TEST(one_of_two_runtimes_gets_each_occurrence)
{
    nx_runtime *first = nxt_start(NULL), *second = nxt_start(NULL);
    nxt_require(first && second);
    nx_task one = nx_spawn_on(first, NULL, wait_for_one, (void *)SIGUSR1);
    nx_task two = nx_spawn_on(second, NULL, wait_for_one, (void *)SIGUSR1);
    nxt_await_parked(one);
    nxt_await_parked(two);
    send_signal(SIGUSR1);
    bool first_done = false, second_done = false;
    nxt_await((first_done = nx_join(one, NULL, nx_now()) == 0) || (second_done = nx_join(two, NULL, nx_now()) == 0));
    nxt_expect(first_done != second_done);
    send_signal(SIGUSR1);
    nxt_expect_eq(nxt_result(first_done ? two : one), SIGUSR1);
    nxt_stop(first);
    nxt_stop(second);
}

NXT_TASK_TEST(workers_block_the_signals_of_the_process, .workers = 1)
{
    const int blocked[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGUSR1, SIGUSR2,  SIGPIPE,  SIGALRM,
                           SIGTERM, SIGCHLD, SIGTSTP, SIGURG,  SIGWINCH, SIGRTMIN, SIGRTMAX};
    const int open[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    sigset_t mask;
    nxt_expect_eq(pthread_sigmask(SIG_BLOCK, NULL, &mask), 0);
    for (size_t i = 0; i < NXT_COUNT(blocked); i++)
        if (sigismember(&mask, blocked[i]) != 1 && nxt_can_send(blocked[i]))
            nxt_fail(__FILE__, __LINE__, "signal %d (%s) is not blocked", blocked[i], strsignal(blocked[i]));
    for (size_t i = 0; i < NXT_COUNT(open); i++)
        if (sigismember(&mask, open[i]) != 0)
            nxt_fail(__FILE__, __LINE__, "signal %d (%s) is blocked", open[i], strsignal(open[i]));
}

static atomic_int pipes;

static void count_pipe(int signo)
{
    (void)signo;
    atomic_fetch_add(&pipes, 1);
}

static intptr_t write_to_nobody(void *arg)
{
    int fds[2], peer;
    (void)arg;
    nxt_require(nxt_pipe(fds), 0);
    nx_stream *pipe = nxt_stream_of(fds[1]), *pair = nxt_unix_stream(&peer);
    nxt_require(pipe && pair, 0);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&peer);
    for (int i = 0; i < 10; i++) {
        nxt_expect_eq(nx_write(pipe, "x", 1, NX_FOREVER), -EPIPE);
        nxt_expect_eq(nx_write(pair, "x", 1, NX_FOREVER), -EPIPE);
    }
    nx_close(pipe);
    nx_close(pair);
    return 0;
}

NXT_TEST(the_programs_sigpipe_is_left_alone_and_never_raised)
{
    struct sigaction counting = {.sa_handler = count_pipe, .sa_flags = SA_RESTART}, before, now;
    nxt_expect_eq(sigaction(SIGPIPE, &counting, &before), 0);
    atomic_store(&pipes, 0);
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    nxt_require(runtime);
    nxt_expect_eq(nx_block_on(runtime, write_to_nobody, NULL, NULL), 0);
    nxt_expect_eq(sigaction(SIGPIPE, NULL, &now), 0);
    nxt_expect(now.sa_handler == count_pipe);
    nxt_stop(runtime);
    nxt_expect_eq(sigaction(SIGPIPE, &before, &now), 0);
    nxt_expect(now.sa_handler == count_pipe && now.sa_flags & SA_RESTART);
    nxt_expect_eq(atomic_load(&pipes), 0);
}

NXT_TEST(outside_a_task_a_wait_for_a_signal_says_so)
{
    const sigset_t set = set_of(SIGUSR1, 0);
    int signo;
    struct sigaction now;
    nxt_expect_eq(nx_signal_wait(&set, &signo, NX_POLL), -NX_ENOTASK);
    nxt_expect_eq(sigaction(SIGUSR1, NULL, &now), 0);
    nxt_expect(now.sa_handler == SIG_DFL);
}

static intptr_t wait_cancelled(void *arg)
{
    nxt_expect_eq(nx_cancel(nx_self()), 0);
    return wait_for_one(arg);
}

NXT_TASK_TEST(a_cancelled_task_takes_no_signal)
{
    take_over(SIGUSR1);
    send_signal(SIGUSR1);
    nxt_expect_eq(nxt_result(nxt_task_on(0, wait_cancelled, (void *)SIGUSR1)), -ECANCELED);
    nxt_expect_eq(nxt_result(nxt_task_on(0, wait_for_one, (void *)SIGUSR1)), SIGUSR1);
}

/* A set that was filled by hand, past sigaddset(3), which knows them. */
NXT_TASK_TEST(the_c_librarys_own_signals_are_refused_and_nothing_is_taken_over)
{
    struct sigaction now;
    for (int signo = SIGSYS + 1; signo < SIGRTMIN; signo++) {
        sigset_t set = set_of(SIGUSR2, 0);
        uint64_t bits;
        int taken = 0;
        memcpy(&bits, &set, sizeof(bits));
        bits |= UINT64_C(1) << (signo - 1);
        memcpy(&set, &bits, sizeof(bits));
        nxt_expect_eq(nx_signal_wait(&set, &taken, NX_POLL), -EINVAL);
    }
    nxt_expect_eq(sigaction(SIGUSR2, NULL, &now), 0);
    nxt_expect(now.sa_handler == SIG_DFL);
}

NXT_TEST(a_handler_that_was_put_over_the_librarys_stays)
{
    struct sigaction counting = {.sa_handler = count_pipe}, before, now;
    nxt_expect_eq(sigaction(SIGUSR2, NULL, &before), 0);
    nx_runtime *runtime = nxt_start(NULL);
    nxt_require(runtime);
    nx_task task = nx_spawn_on(runtime, NULL, wait_for_one, (void *)SIGUSR2);
    nxt_await_parked(task);
    send_signal(SIGUSR2);
    nxt_expect_eq(nxt_result(task), SIGUSR2);
    nxt_expect_eq(sigaction(SIGUSR2, &counting, NULL), 0);
    nxt_stop(runtime);
    nxt_expect_eq(sigaction(SIGUSR2, &before, &now), 0);
    nxt_expect(now.sa_handler == count_pipe);
}
