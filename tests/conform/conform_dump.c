/* conform_dump.c: nx_dump and SIGQUIT: what every task does, told without anybody's help. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "nxt_net.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <nexus/process.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define TEXT_MAX ((size_t)256 << 10)
#define SLEEPERS 400 /* the text about them is more than a pipe takes */

/* What nx_dump says now; to be freed. */
static char *dump_text(void)
{
    char *text = calloc(1, TEXT_MAX);
    int fd = memfd_create("dump", MFD_CLOEXEC);
    nxt_expect(text && fd >= 0);
    nxt_expect_eq(nx_dump(fd), 0);
    nxt_expect_gt(pread(fd, text, TEXT_MAX - 1, 0), 0);
    close(fd);
    return text;
}

/* The part about the task of this name, up to the next one's; to be freed. Empty: it is not there. */
static char *about(const char *name)
{
    char *text = dump_text(), label[80];
    snprintf(label, sizeof(label), " '%s' ", name);
    char *begin = strstr(text, label);
    if (!begin) {
        text[0] = '\0';
        return text;
    }
    char *end = strstr(begin, "\ntask ");
    if (end)
        *end = '\0';
    memmove(text, begin, strlen(begin) + 1);
    return text;
}

static bool about_has(const char *name, const char *part)
{
    char *text = about(name);
    bool has = strstr(text, part) != NULL;
    free(text);
    return has;
}

static void expect_about(const char *name, const char *part)
{
    char *text = about(name);
    if (!nxt_expect(strstr(text, part)))
        printf("# in vain: \"%s\" in: %s\n", part, text);
    free(text);
}

static nx_task spawn_named(const char *name, nx_task_fn fn, void *arg)
{
    nx_task task = nx_spawn_with(NXT_WITH(.name = name), fn, arg);
    nxt_expect_gt(task, 0);
    return task;
}

static void end(nx_task task)
{
    nx_cancel(task);
    nxt_expect_eq(nxt_result(task), -ECANCELED);
}

/* ---- each kind of wait ---- */

static intptr_t sleep_long(void *arg)
{
    (void)arg;
    return nx_sleep_ms(1000000);
}

static intptr_t read_one(void *arg)
{
    char byte;
    return nx_read(arg, &byte, 1, NX_FOREVER);
}

static intptr_t write_much(void *arg)
{
    static char data[1 << 20];
    ssize_t n;
    do
        n = nx_write(arg, data, sizeof(data), NX_FOREVER);
    while (n > 0);
    return n;
}

static intptr_t accept_one(void *arg)
{
    nx_stream *stream;
    return nx_accept(arg, &stream, NX_FOREVER);
}

static intptr_t join_it(void *arg)
{
    return nx_join(*(nx_task *)arg, NULL, NX_FOREVER);
}

static intptr_t wait_fd(void *arg)
{
    return nx_fd_wait(*(int *)arg, NX_READABLE, NX_FOREVER);
}

NXT_TASK_TEST(a_sleeper_a_reader_and_a_writer_are_named, .workers = 2)
{
    int peer;
    char fd[32];
    nx_stream *stream = nxt_tcp_stream(&peer);
    nxt_require(stream);
    snprintf(fd, sizeof(fd), ", fd %d, peer 127.0.0.1:", nx_stream_fd(stream));
    nx_task sleeper = spawn_named("a sleeper", sleep_long, NULL);
    nx_task reader = spawn_named("a reader", read_one, stream);
    nx_task writer = spawn_named("a writer", write_much, stream);
    nxt_await_parked(sleeper);
    nxt_await_parked(reader);
    nxt_await_parked(writer);
    expect_about("a sleeper", "parked waits for sleep");
    expect_about("a sleeper", ", for ");
    expect_about("a reader", "parked waits for read");
    expect_about("a reader", fd);
    nxt_await(about_has("a writer", "parked waits for write")); /* it fills the buffers first */
    end(sleeper);
    end(reader);
    end(writer);
    nxt_close_fd(&peer);
    nx_close(stream);
}

NXT_TASK_TEST(an_acceptor_a_joiner_and_a_watcher_are_named)
{
    char where[64], id[64];
    int fds[2];
    nxt_require(nxt_pipe(fds));
    nx_listener *listener = nxt_listen_on("127.0.0.1:0", where, sizeof(where));
    nxt_require(listener);
    nx_task sleeper = spawn_named("sleeper", sleep_long, NULL);
    nx_task acceptor = spawn_named("acceptor", accept_one, listener);
    nx_task joiner = spawn_named("joiner", join_it, &sleeper);
    nx_task watcher = spawn_named("watcher", wait_fd, &fds[0]);
    nxt_await_parked(acceptor);
    nxt_await_parked(joiner);
    nxt_await_parked(watcher);
    snprintf(id, sizeof(id), " of task %lld, for ", (long long)sleeper);
    expect_about("joiner", "parked waits for join");
    expect_about("joiner", id);
    expect_about("acceptor", "parked waits for accept");
    expect_about("watcher", "parked waits for poll");
    end(acceptor);
    end(joiner);
    end(watcher);
    end(sleeper);
    nx_listener_close(listener);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

static nx_mutex mutex = NX_MUTEX_INIT;
static nx_sem sem = NX_SEM_INIT(0);
static nx_event event = NX_EVENT_INIT;
static _Atomic int go_on;

static intptr_t lock_it(void *arg)
{
    (void)arg;
    return nx_mutex_lock(&mutex, NX_FOREVER);
}

static intptr_t acquire_it(void *arg)
{
    (void)arg;
    return nx_sem_acquire(&sem, 1, NX_FOREVER);
}

static intptr_t wait_event(void *arg)
{
    (void)arg;
    return nx_event_wait(&event, NX_FOREVER);
}

static intptr_t receive(void *arg)
{
    int element;
    return nx_chan_recv(arg, &element, NX_FOREVER);
}

static intptr_t block(void *arg)
{
    (void)arg;
    while (!atomic_load(&go_on))
        nxt_burn(100000);
    return 0;
}

static intptr_t call_block(void *arg)
{
    (void)arg;
    return nx_blocking(block, NULL, NULL, NX_FOREVER);
}

NXT_TASK_TEST(waits_for_other_tasks_and_for_threads_are_named)
{
    nx_chan *chan;
    nxt_require_eq(nx_chan_create(sizeof(int), 1, &chan), 0);
    nxt_expect_eq(nx_mutex_lock(&mutex, NX_FOREVER), 0);
    atomic_store(&go_on, 0);
    const struct {
        const char *name;
        nx_task_fn fn;
        const char *wait;
    } waits[] = {
        {"locker", lock_it, "parked waits for mutex"},
        {"acquirer", acquire_it, "parked waits for semaphore"},
        {"watcher", wait_event, "parked waits for event"},
        {"receiver", receive, "parked waits for receive"},
    };
    nx_task tasks[NXT_COUNT(waits)];
    for (size_t i = 0; i < NXT_COUNT(waits); i++) {
        tasks[i] = spawn_named(waits[i].name, waits[i].fn, chan);
        nxt_await_parked(tasks[i]);
        expect_about(waits[i].name, waits[i].wait);
    }
    nx_task blocked = spawn_named("blocked", call_block, NULL);
    nxt_await_parked(blocked);
    expect_about("blocked", "nx_blocking");
    atomic_store(&go_on, 1);
    nxt_expect_eq(nxt_result(blocked), 0);
    for (size_t i = 0; i < NXT_COUNT(waits); i++)
        end(tasks[i]);
    nxt_expect_eq(nx_mutex_unlock(&mutex), 0);
    nx_chan_destroy(chan);
}

NXT_TASK_TEST(how_long_a_task_has_waited_is_told)
{
    nx_task sleeper = spawn_named("patient", sleep_long, NULL);
    nxt_await_parked(sleeper);
    nx_sleep_ms(60);
    char *text = about("patient");
    const char *since = strstr(text, ", for ");
    nxt_expect(since && strtod(since + strlen(", for "), NULL) >= 0.04);
    free(text);
    end(sleeper);
}

/* ---- backtraces, spawn sites, stacks ---- */

static __attribute__((noinline)) intptr_t wait_in_here(void)
{
    volatile intptr_t result = nx_sleep_ms(1000000);
    return result;
}

static __attribute__((noinline)) intptr_t goes_deep(int depth)
{
    volatile char frame[1000];
    frame[depth] = (char)depth;
    volatile intptr_t result = depth > 0 ? goes_deep(depth - 1) : wait_in_here();
    return result + frame[depth] - (char)depth;
}

static intptr_t deep_task(void *arg)
{
    volatile intptr_t result = goes_deep((int)(intptr_t)arg);
    return result;
}

static __attribute__((noinline)) nx_task spawns_it(int depth)
{
    nx_task task = spawn_named("deep", deep_task, (void *)(intptr_t)depth);
    __asm__ volatile("" ::: "memory");
    return task;
}

NXT_TASK_TEST(the_backtrace_of_a_parked_task_goes_down_to_its_function)
{
    nx_task task = spawns_it(12);
    nxt_await_parked(task);
    char *text = about("deep");
    nxt_expect_contains(text, "nx_sleep_until");
    nxt_expect_contains(text, " wait_in_here");
    nxt_expect_contains(text, " deep_task");
    int count = 0;
    for (const char *at = text; (at = strstr(at, " goes_deep")); at++)
        count++;
    nxt_expect_eq(count, 13);
    nxt_expect_contains(text, "spawned at spawn"); /* spawn_named, which may be part of spawns_it */
    const char *stack = strstr(text, ", stack ");
    nxt_expect(stack && strtol(stack + strlen(", stack "), NULL, 10) >= 13);
    free(text);
    end(task);
}

static intptr_t nothing(void *arg)
{
    return (intptr_t)arg;
}

NXT_TASK_TEST(tasks_that_are_ready_running_and_ended_are_shown_as_that)
{
    nx_task self = nx_self();
    nx_task waiting = spawn_named("new one", nothing, NULL);
    expect_about("new one", " new");
    nxt_expect_eq(nxt_result(waiting), 0);
    char id[64], *text = dump_text();
    snprintf(id, sizeof(id), "task %lld ", (long long)self);
    char *mine = strstr(text, id);
    nxt_expect(mine && strstr(mine, " running") && strstr(mine, " running") < strchr(mine, '\n'));
    free(text);
}

NXT_TASK_TEST(one_that_has_ended_and_nobody_has_joined_is_shown)
{
    nx_task ended = spawn_named("ended one", nothing, NULL);
    nxt_await(about_has("ended one", "ended, not joined"));
    nxt_expect_eq(nxt_result(ended), 0);
}

NXT_TASK_TEST(a_cancelled_task_is_marked)
{
    nx_task task = spawn_named("stubborn", nothing, NULL);
    nx_cancel(task);
    expect_about("stubborn", "cancelled");
    nxt_expect_eq(nxt_result(task), 0);
}

NXT_TASK_TEST(what_can_not_be_written_is_an_error)
{
    nxt_expect_eq(nx_dump(-1), -EBADF);
}

/* ---- without help ---- */

static atomic_bool stuck, let_go;

static intptr_t compute_for_ever(void *arg)
{
    (void)arg;
    atomic_store(&stuck, true);
    while (!atomic_load(&let_go))
        nxt_burn(10000);
    return 0;
}

NXT_TEST(a_worker_that_is_stuck_is_no_obstacle)
{
    nx_runtime *runtime = nxt_start(NULL);
    nxt_require(runtime);
    atomic_store(&stuck, false);
    atomic_store(&let_go, false);
    nx_task sleeper = nx_spawn_on(runtime, NXT_WITH(.name = "asleep"), sleep_long, NULL);
    nxt_await_parked(sleeper);
    nx_task task = nx_spawn_on(runtime, NXT_WITH(.name = "stuck one"), compute_for_ever, NULL);
    nxt_await(atomic_load(&stuck));
    expect_about("stuck one", " running");
    expect_about("asleep", "parked waits for sleep");
    atomic_store(&let_go, true);
    nxt_expect_eq(nx_join(task, NULL, NX_FOREVER), 0);
    nx_cancel(sleeper);
    nx_join(sleeper, NULL, NX_FOREVER);
    nxt_stop(runtime);
}

static atomic_bool dumping;
static _Atomic int dumps;

static intptr_t keep_dumping(void *arg)
{
    (void)arg;
    for (; atomic_load(&dumping); atomic_fetch_add(&dumps, 1))
        free(dump_text());
    return 0;
}

static intptr_t hop(void *arg)
{
    for (int i = 0; i < 50; i++) {
        if (i % 3 == 0)
            nx_sleep_ms(0);
        else if (i % 3 == 1)
            nx_sleep_until(nx_after_ns(20000));
        else
            nx_yield();
    }
    return (intptr_t)arg;
}

NXT_TASK_TEST(tasks_that_move_meanwhile_do_no_harm, .workers = 2)
{
    atomic_store(&dumping, true);
    atomic_store(&dumps, 0);
    struct nxt_thread *thread = nxt_thread_start(keep_dumping, NULL);
    nxt_require(thread);
    while (atomic_load(&dumps) < nxt_scaled(20, 3)) {
        nx_task tasks[8];
        for (int i = 0; i < 8; i++) {
            tasks[i] = nxt_task_on(i % 2, hop, (void *)(intptr_t)i);
            if (i % 2)
                nx_cancel(tasks[i]);
        }
        for (int i = 0; i < 8; i++)
            nxt_result(tasks[i]);
    }
    atomic_store(&dumping, false);
    nxt_expect_eq(nxt_thread_await(thread), 0);
}

/* ---- SIGQUIT ---- */

/* Runs a runtime with these flags, quits at it, and returns what it wrote. */
static int quit_and_look(unsigned flags)
{
    signal(SIGQUIT, SIG_DFL); /* ignored in what a shell script has put into the background */
    static char text[TEXT_MAX];
    int fds[2], saved = dup(2);
    size_t used = 0;
    struct sigaction after;
    nx_runtime *runtime;
    nxt_require(nxt_pipe(fds), 1);
    nxt_require(nx_runtime_create(NXT_OPTIONS(.workers = 2, .flags = flags), &runtime) == 0, 2);
    nx_task sleeper = nx_spawn_on(runtime, NXT_WITH(.name = "quiet"), sleep_long, NULL);
    nxt_await_parked(sleeper);
    dup2(fds[1], 2);
    kill(getpid(), SIGQUIT);
    while (used < sizeof(text) - 1 && !strstr(text, "end of the dump")) {
        ssize_t n = read(fds[0], text + used, sizeof(text) - 1 - used);
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    dup2(saved, 2);
    nxt_expect_contains(text, "'quiet' parked waits for sleep");
    nx_cancel(sleeper);
    nx_join(sleeper, NULL, NX_FOREVER);
    nx_runtime_destroy(runtime);
    sigaction(SIGQUIT, NULL, &after);
    nxt_expect(!(after.sa_flags & SA_SIGINFO) && after.sa_handler == SIG_DFL);
    return 0;
}

NXT_CHILD(asks_for_it_in_its_options)
{
    return quit_and_look(NX_DUMP_ON_SIGQUIT);
}

NXT_CHILD(asks_for_nothing)
{
    return quit_and_look(0);
}

static void expect_child(const struct nxt_output *output, int status, int signal)
{
    if (!nxt_expect_eq(output->status, status) || !nxt_expect_eq(output->signal, signal))
        nxt_show_output(output);
}

NXT_TEST(sigquit_writes_a_dump_if_the_program_has_asked_for_it)
{
    static struct nxt_output output;
    nxt_run_child(asks_for_it_in_its_options, NULL, &output);
    expect_child(&output, 0, 0);
}

NXT_TEST(sigquit_writes_a_dump_if_the_environment_asks_for_it)
{
    static struct nxt_output output;
    nxt_run_child(asks_for_nothing, ((const char *const[]){"NEXUS_DUMP=sigquit", NULL}), &output);
    expect_child(&output, 0, 0);
}

NXT_TEST(sigquit_ends_a_process_that_has_not_asked)
{
    static struct nxt_output output;
    nxt_run_child(asks_for_nothing, NULL, &output);
    expect_child(&output, -1, SIGQUIT);
}

NXT_CHILD(starts_a_runtime)
{
    char error[512] = "";
    nx_runtime *runtime;
    int result = nx_runtime_create(NXT_OPTIONS(.error = error, .error_size = sizeof(error)), &runtime);
    printf("%s\n", error);
    if (result == 0)
        nx_runtime_destroy(runtime);
    return -result;
}

NXT_TEST(another_word_in_nexus_dump_is_refused)
{
    static struct nxt_output output;
    nxt_run_child(starts_a_runtime, ((const char *const[]){"NEXUS_DUMP=sigint", NULL}), &output);
    expect_child(&output, EINVAL, 0);
    nxt_expect_contains(output.out, "NEXUS_DUMP=sigint");
}

/* ---- descriptors that take nothing, kernels that forbid ---- */

static intptr_t dump_to_pipe(void *arg)
{
    return nx_dump(*(int *)arg);
}

static intptr_t spawn_sleepers(void *arg)
{
    nx_task *tasks = arg;
    for (int i = 0; i < SLEEPERS; i++)
        tasks[i] = spawn_named("one of many", sleep_long, NULL);
    for (int i = 0; i < SLEEPERS; i++)
        nxt_await_parked(tasks[i]);
    return 0;
}

NXT_TEST(a_dump_that_is_not_read_holds_up_no_runtime)
{
    int fds[2];
    nx_task tasks[SLEEPERS];
    char text[4096];
    nx_runtime *full = nxt_start(NULL);
    nxt_require(full && nxt_pipe(fds));
    nxt_expect_eq(nx_block_on(full, spawn_sleepers, tasks, NULL), 0);
    struct nxt_thread *dumper = nxt_thread_start(dump_to_pipe, &fds[1]);
    ssize_t n = read(fds[0], text, 1); /* it is at it: the text is longer than a pipe takes */
    nxt_expect_eq(n, 1);
    for (int i = 0; i < 3; i++) {
        nx_runtime *other = nxt_start(NULL);
        nxt_expect(other);
        nxt_stop(other);
    }
    nxt_expect(!nxt_thread_ended(dumper));
    bool end_seen = false;
    size_t kept = 0;
    while (!end_seen && (n = read(fds[0], text + kept, sizeof(text) - 1 - kept)) > 0) {
        text[kept + (size_t)n] = '\0';
        end_seen = strstr(text, "end of the dump") != NULL;
        kept = kept + (size_t)n > 64 ? 64 : kept + (size_t)n;
        memmove(text, text + strlen(text) - kept, kept);
    }
    nxt_expect(end_seen);
    nxt_expect_eq(nxt_thread_join(dumper), 0);
    for (int i = 0; i < SLEEPERS; i++)
        end(tasks[i]);
    nxt_stop(full);
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

static bool forbid_process_vm_readv(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_process_vm_readv, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {NXT_COUNT(filter), filter};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

static intptr_t look_all_the_same(void *arg)
{
    (void)arg;
    nx_task sleeper = spawn_named("a sleeper", sleep_long, NULL);
    nxt_await_parked(sleeper);
    expect_about("a sleeper", "parked waits for sleep");
    expect_about("a sleeper", "sleep_long");
    end(sleeper);
    return 0;
}

NXT_CHILD(may_not_call_process_vm_readv)
{
    if (!forbid_process_vm_readv())
        return 77;
    nx_runtime *runtime = nxt_start(NULL);
    nxt_expect_eq(nx_block_on(runtime, look_all_the_same, NULL, NULL), 0);
    nxt_stop(runtime);
    return 0;
}

NXT_TEST(a_dump_shows_as_much_where_process_vm_readv_is_forbidden)
{
    static struct nxt_output output;
    nxt_run_child(may_not_call_process_vm_readv, NULL, &output);
    if (output.status == 77)
        nxt_skip("no seccomp filters here");
    else
        expect_child(&output, 0, 0);
}

NXT_CHILD(quits_while_nobody_reads_its_stderr)
{
    int fds[2];
    nx_task tasks[SLEEPERS];
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.flags = NX_DUMP_ON_SIGQUIT));
    int saved = dup(STDERR_FILENO);
    nxt_require(runtime && saved >= 0 && nxt_pipe(fds), 1);
    nxt_expect_eq(nx_block_on(runtime, spawn_sleepers, tasks, NULL), 0);
    nxt_expect_eq(dup2(fds[1], STDERR_FILENO), STDERR_FILENO);
    nxt_expect_eq(kill(getpid(), SIGQUIT), 0);
    char first;
    nxt_expect_eq(read(fds[0], &first, 1), 1);
    for (int i = 0; i < SLEEPERS; i++)
        end(tasks[i]);
    nxt_stop(runtime); /* while its dump waits for room */
    dup2(saved, STDERR_FILENO);
    return 0;
}

NXT_TEST(a_stderr_that_takes_nothing_holds_up_no_runtimes_end)
{
    static struct nxt_output output;
    nxt_run_child(quits_while_nobody_reads_its_stderr, NULL, &output);
    expect_child(&output, 0, 0);
}
