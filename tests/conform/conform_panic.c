/* conform_panic.c: tasks that end for a bug: nx_panic, and a stack that was too small. */
#include "core.h"
#include "nxt.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define WITH(...) (&(const nx_task_options){.size = sizeof(nx_task_options), __VA_ARGS__})
#define ISOLATE(...) NXT_OPTIONS(.on_panic = NX_PANIC_ISOLATE, __VA_ARGS__)

static struct nxt_output output;

/* A child that is meant to die writes no core, and sees its own faults: the sanitizers look first else. */
static const char *const dying[] = {"ASAN_OPTIONS=handle_segv=0:handle_sigbus=0:handle_abort=0:detect_leaks=0",
                                    "TSAN_OPTIONS=handle_segv=0:handle_sigbus=0:handle_abort=0", NULL};

#define RUN_DYING(child) nxt_run_child(child, dying, &output)

static void no_core(void)
{
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
}

static void expect_signal(int signo)
{
    if (!nxt_expect_eq(output.signal, signo))
        nxt_show_output(&output);
}

static void expect_said(const char *part)
{
    if (!strstr(output.err, part)) {
        nxt_fail(__FILE__, __LINE__, "the child did not say \"%s\"", part);
        nxt_show_output(&output);
    }
}

static intptr_t panic_at_once(void *arg)
{
    nx_panic("the answer is %d, not %s", 42, arg ? (const char *)arg : "41");
}

static intptr_t return_arg(void *arg)
{
    return (intptr_t)arg;
}

static nx_task spawn_named(const char *name, nx_task_fn fn, void *arg)
{
    return nx_spawn_with(WITH(.name = name), fn, arg);
}

/* ---- policy ABORT ---- */

static intptr_t spawn_and_join_panic(void *arg)
{
    (void)arg;
    nx_join(spawn_named("unlucky", panic_at_once, NULL), NULL, NX_FOREVER);
    return 0;
}

NXT_CHILD(panics_under_abort)
{
    no_core();
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    nx_block_on(runtime, spawn_and_join_panic, NULL, NULL);
    return 0;
}

static int lines_after(const char *text, const char *part)
{
    const char *at = strstr(text, part);
    int lines = 0;
    for (at = at ? strchr(at, '\n') : NULL; at && at[1]; at = strchr(at + 1, '\n'))
        lines++;
    return lines;
}

NXT_TEST(a_panic_aborts_and_says_what_who_and_where)
{
    RUN_DYING(panics_under_abort);
    expect_signal(SIGABRT);
    expect_said("task 'unlucky' panicked: the answer is 42, not 41");
    expect_said("spawned at: ");
    expect_said("backtrace:");
    nxt_expect_ge(lines_after(output.err, "backtrace:"), 2);
}

NXT_CHILD(panics_outside_a_task)
{
    no_core();
    nx_panic("nowhere");
}

NXT_TEST(a_panic_outside_a_task_aborts)
{
    RUN_DYING(panics_outside_a_task);
    expect_signal(SIGABRT);
    expect_said("outside a task: nowhere");
}

/* ---- policy ISOLATE ---- */

NXT_TASK_TEST(an_isolated_panic_ends_its_task_only, .workers = 2, .on_panic = NX_PANIC_ISOLATE)
{
    intptr_t result = 77;
    nx_task other = nx_spawn(return_arg, (void *)5);
    nx_task task = spawn_named("isolated", panic_at_once, NULL);
    nxt_expect_eq(nx_join(task, &result, NX_FOREVER), -NX_EPANIC);
    nxt_expect_eq(result, 77);
    char message[64] = "";
    nxt_expect_eq(nx_join_message(task, message, sizeof(message)), 24);
    nxt_expect_str(message, "the answer is 42, not 41");
    nxt_expect_eq(nx_join_message(task, message, 4), 24);
    nxt_expect_str(message, "the");
    nxt_expect_eq(nx_join(task, &result, NX_FOREVER), -NX_EPANIC); /* the id stays */
    nxt_expect_eq(nx_detach(task), 0);
    nxt_expect_eq(nx_join_message(task, message, sizeof(message)), -ESRCH);
    nxt_expect_eq(nx_join(other, &result, NX_FOREVER), 0);
    nxt_expect_eq(result, 5);
    for (int i = 0; i < 20; i++) { /* and the worker goes on as if nothing had been */
        nxt_expect_eq(nx_join(nx_spawn(return_arg, NULL), NULL, NX_FOREVER), 0);
        nxt_expect_eq(nx_sleep_until(nx_after_ns(1000)), 0);
    }
}

static atomic_int deferred;

static void count_deferred(void *arg)
{
    atomic_fetch_add(&deferred, (int)(intptr_t)arg);
}

static void park_and_count(void *arg)
{
    nxt_expect_eq(nx_sleep_ms(1), 0);
    count_deferred(arg);
}

static __attribute__((noinline)) intptr_t panic_deep(int depth)
{
    volatile char frame[512];
    frame[0] = (char)depth;
    if (depth < 0)
        return frame[0];
    if (depth == 0)
        nx_panic("from far down");
    return panic_deep(depth - 1) + frame[0];
}

static intptr_t defer_and_panic(void *arg)
{
    nxt_expect_eq(nx_defer(free, malloc(100)), 0);
    nxt_expect_eq(nx_defer(count_deferred, (void *)1), 0);
    nxt_expect_eq(nx_defer(park_and_count, (void *)10), 0);
    nxt_expect_eq(nx_defer(count_deferred, (void *)100), 0);
    return panic_deep((int)(intptr_t)arg);
}

NXT_TASK_TEST(what_was_deferred_runs_after_a_panic_and_may_park, .workers = 2, .on_panic = NX_PANIC_ISOLATE)
{
    atomic_store(&deferred, 0);
    for (intptr_t i = 1; i <= 20; i++) {
        nx_task task = nx_spawn(defer_and_panic, (void *)i);
        nxt_expect_eq(nx_join(task, NULL, NX_FOREVER), -NX_EPANIC);
        nxt_expect_eq(atomic_load(&deferred), 111 * i);
        nxt_expect_eq(nx_detach(task), 0);
    }
}

NXT_TASK_TEST(only_a_task_that_panicked_has_a_message, .on_panic = NX_PANIC_ISOLATE)
{
    char message[8];
    nx_task task = nx_spawn(return_arg, NULL);
    nxt_expect_eq(nx_join_message(task, message, sizeof(message)), -EINVAL);
    nx_yield();
    nxt_expect_eq(nx_join_message(task, message, sizeof(message)), -EINVAL);
    nxt_expect_eq(nx_join(task, NULL, NX_FOREVER), 0);
}

NXT_TASK_TEST(a_panic_whose_message_found_no_memory_says_so, .on_panic = NX_PANIC_ISOLATE)
{
    char message[32] = "";
    uint64_t ctl;
    nx_task id = nx_spawn(panic_at_once, NULL);
    nxt_expect_eq(nx_join(id, NULL, NX_FOREVER), -NX_EPANIC);
    struct nxi_task *task = nxi_task_find(id, &ctl);
    nxt_require(task && task->cold && task->cold->message);
    nxi_free(task->cold->message, strlen(task->cold->message) + 1);
    task->cold->message = NULL;
    nxt_expect_eq(nx_join_message(id, message, sizeof(message)), 12);
    nxt_expect_str(message, "message lost");
    nxt_expect_eq(nx_detach(id), 0);
}

static intptr_t join_panicked(void *arg)
{
    nx_task task = *(nx_task *)arg;
    return nx_join(task, NULL, NX_FOREVER);
}

NXT_TASK_TEST(a_joiner_that_waits_in_a_thread_is_told_of_the_panic, .workers = 2, .on_panic = NX_PANIC_ISOLATE)
{
    nx_task task = nx_spawn(panic_at_once, NULL);
    nxt_expect_eq(nxt_thread_await(nxt_thread_start(join_panicked, &task)), -NX_EPANIC);
    nxt_expect_eq(nx_detach(task), 0);
}

NXT_TEST(block_on_tells_of_a_panic)
{
    nx_runtime *runtime = nxt_start(ISOLATE(.workers = 2));
    nxt_require(runtime);
    intptr_t result = 3;
    nxt_expect_eq(nx_block_on(runtime, panic_at_once, "this", &result), -NX_EPANIC);
    nxt_expect_eq(result, 3);
    nxt_expect_eq(nx_block_on(runtime, return_arg, (void *)4, &result), 0);
    nxt_expect_eq(result, 4);
    nxt_stop(runtime);
}

/* ---- nobody to tell ---- */

static intptr_t detach_panicked(void *arg)
{
    nx_task task = spawn_named("unjoined", panic_at_once, arg);
    nx_yield();
    nx_detach(task);
    return 0;
}

NXT_CHILD(detaches_a_panicked_task)
{
    no_core();
    nx_block_on(nxt_start(ISOLATE(.workers = 1)), detach_panicked, NULL, NULL);
    return 0;
}

NXT_TEST(a_panic_that_nobody_joined_aborts_at_the_detach)
{
    RUN_DYING(detaches_a_panicked_task);
    expect_signal(SIGABRT);
    expect_said("task 'unjoined' panicked (the answer is 42, not 41) and nobody joined it");
}

static intptr_t leave_panicked(void *arg)
{
    return nx_spawn_with(WITH(.name = "left"), panic_at_once, arg) > 0 ? 0 : 1;
}

NXT_CHILD(destroys_with_a_panicked_task)
{
    no_core();
    nx_runtime *runtime = nxt_start(ISOLATE(.workers = 1));
    nx_block_on(runtime, leave_panicked, NULL, NULL);
    nx_runtime_destroy(runtime);
    return 0;
}

NXT_TEST(a_panic_that_nobody_joined_aborts_when_the_runtime_goes)
{
    RUN_DYING(destroys_with_a_panicked_task);
    expect_signal(SIGABRT);
    expect_said("task 'left' panicked (the answer is 42, not 41) and nobody joined it");
}

static intptr_t go_and_panic(void *arg)
{
    nx_go(panic_at_once, arg);
    nx_sleep_ms(60000);
    return 0;
}

NXT_CHILD(panics_in_a_task_nobody_can_join)
{
    no_core();
    nx_block_on(nxt_start(ISOLATE(.workers = 1)), go_and_panic, NULL, NULL);
    return 0;
}

NXT_TEST(a_panic_of_a_task_nobody_can_join_aborts)
{
    RUN_DYING(panics_in_a_task_nobody_can_join);
    expect_signal(SIGABRT);
    expect_said("panicked: the answer is 42");
    expect_said("nobody can join");
}

static void panic_in_defer(void *arg)
{
    (void)arg;
    nx_panic("again");
}

static intptr_t panic_twice(void *arg)
{
    (void)arg;
    nx_defer(panic_in_defer, NULL);
    nx_panic("first");
}

NXT_CHILD(panics_while_panicking)
{
    no_core();
    nx_block_on(nxt_start(ISOLATE(.workers = 1)), panic_twice, NULL, NULL);
    return 0;
}

NXT_TEST(a_panic_in_what_a_panicked_task_deferred_aborts)
{
    RUN_DYING(panics_while_panicking);
    expect_signal(SIGABRT);
    expect_said("panicked: first");
    expect_said("panicked: again");
}

/* ---- stacks that are too small ---- */

static __attribute__((noinline)) int recurse(volatile char *above)
{
    volatile char frame[256];
    frame[0] = above ? above[0] : 1;
    return frame[0] == 0 ? 0 : recurse(frame) + frame[0];
}

static intptr_t overflow_by_recursion(void *arg)
{
    (void)arg;
    return recurse(NULL);
}

static intptr_t overflow_by_alloca(void *arg)
{
    volatile char *big = __builtin_alloca((size_t)(uintptr_t)arg);
    big[0] = 1; /* only the far end: the compiler's probes meet the guard on the way */
    return big[0];
}

static int overflow(unsigned flags, nx_task_fn fn, void *arg)
{
    no_core();
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2, .flags = flags));
    nx_task task = nx_spawn_on(runtime, WITH(.name = "greedy", .stack_size = 64 << 10), fn, arg);
    nx_join(task, NULL, NX_FOREVER);
    return 0;
}

NXT_CHILD(overflows_by_recursion)
{
    return overflow(0, overflow_by_recursion, NULL);
}

NXT_CHILD(overflows_by_alloca)
{
    return overflow(0, overflow_by_alloca, (void *)(uintptr_t)(1 << 20));
}

NXT_CHILD(overflows_unseen)
{
    return overflow(NX_NO_SIGSEGV, overflow_by_recursion, NULL);
}

NXT_TEST(a_stack_overflow_by_recursion_is_reported_by_name_and_kills_by_sigsegv)
{
    RUN_DYING(overflows_by_recursion);
    expect_signal(SIGSEGV);
    expect_said("task 'greedy' overflowed its 64 KiB stack");
}

NXT_TEST(a_frame_larger_than_the_guard_is_caught_too)
{
    RUN_DYING(overflows_by_alloca);
    expect_signal(SIGSEGV);
    expect_said("task 'greedy' overflowed its 64 KiB stack");
}

NXT_TEST(with_no_sigsegv_an_overflow_dies_without_a_sentence)
{
    RUN_DYING(overflows_unseen);
    expect_signal(SIGSEGV);
    nxt_expect(!strstr(output.err, "overflowed"));
}

/* ---- the program's own handler ---- */

static char *page;

static void mend(int signo, siginfo_t *info, void *context)
{
    (void)context;
    if ((char *)info->si_addr == page)
        mprotect(page, 4096, PROT_READ | PROT_WRITE);
    else
        _exit(signo == SIGSEGV ? 42 : 43);
}

static void install(int flags)
{
    struct sigaction action = {.sa_sigaction = mend, .sa_flags = SA_SIGINFO | flags};
    sigaction(SIGSEGV, &action, NULL);
}

static intptr_t touch_page(void *arg)
{
    page[0] = 9;
    return page[0] + (intptr_t)arg;
}

NXT_CHILD(mends_its_own_faults)
{
    no_core();
    page = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    install(SA_ONSTACK);
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 1));
    intptr_t result = 0;
    for (int i = 0; i < 3; i++) { /* each time: the handler is chained, not replaced once */
        mprotect(page, 4096, PROT_NONE);
        nxt_expect_eq(nx_block_on(runtime, touch_page, (void *)1, &result), 0);
        nxt_expect_eq(result, 10);
    }
    nx_runtime_destroy(runtime);
    struct sigaction now;
    sigaction(SIGSEGV, NULL, &now);
    nxt_expect(now.sa_sigaction == mend); /* as it was */
    return 0;
}

NXT_TEST(a_fault_that_is_not_an_overflow_goes_to_the_programs_own_handler)
{
    RUN_DYING(mends_its_own_faults);
    nxt_expect_eq(output.status, 0);
}

NXT_CHILD(overflows_with_a_handler)
{
    install(SA_ONSTACK);
    return overflow(0, overflow_by_recursion, NULL);
}

NXT_TEST(after_the_sentence_an_overflow_goes_to_the_programs_own_handler)
{
    RUN_DYING(overflows_with_a_handler);
    nxt_expect_eq(output.status, 42);
    expect_said("task 'greedy' overflowed its 64 KiB stack");
}

NXT_CHILD(leaves_sigsegv_alone)
{
    struct sigaction now;
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.flags = NX_NO_SIGSEGV));
    sigaction(SIGSEGV, NULL, &now);
    nxt_expect(now.sa_handler == SIG_DFL);
    nx_runtime *second = nxt_start(NULL); /* this one wants it */
    sigaction(SIGSEGV, NULL, &now);
    nxt_expect(now.sa_handler != SIG_DFL);
    nx_runtime_destroy(second);
    sigaction(SIGSEGV, NULL, &now);
    nxt_expect(now.sa_handler == SIG_DFL);
    nx_runtime_destroy(runtime);
    return 0;
}

NXT_TEST(no_sigsegv_leaves_the_signal_alone_and_the_last_runtime_puts_it_back)
{
    RUN_DYING(leaves_sigsegv_alone);
    nxt_expect_eq(output.status, 0);
}
