/* conform_stall.c: NEXUS_STALL_MS: a task that holds its worker is reported. */
#include "nxt_net.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>

static _Atomic int reports, of_hog;
static char last[2048];
static atomic_bool have_last;

static void count_reports(void *arg, int level, const char *message)
{
    (void)arg;
    if (level != NX_LOG_WARN || !strstr(message, " has held worker "))
        return;
    if (strstr(message, "task hog ") && !atomic_load(&have_last)) {
        snprintf(last, sizeof(last), "%s", message);
        atomic_store(&have_last, true);
    }
    if (strstr(message, "task hog "))
        atomic_fetch_add(&of_hog, 1);
    atomic_fetch_add(&reports, 1);
}

/* Holds the worker until it has been told of, or for long. */
static __attribute__((noinline)) bool hold_until(int wanted)
{
    nx_time end = nxt_clock() + INT64_C(30000000000);
    while (atomic_load(&of_hog) < wanted && nxt_clock() < end)
        nxt_burn(100000);
    return atomic_load(&of_hog) >= wanted;
}

static intptr_t hog(void *arg)
{
    (void)arg;
    nxt_expect(hold_until(1));
    nxt_burn(INT64_C(100000000)); /* a while longer: this occurrence has been told of */
    nxt_expect_eq(atomic_load(&of_hog), 1);
    nx_yield(); /* what comes now is another one */
    nxt_expect(hold_until(2));
    return 0;
}

static intptr_t spawn_hog(void *arg)
{
    (void)arg;
    return nxt_result(nx_spawn_with(NXT_WITH(.name = "hog"), hog, NULL));
}

static int run_it(nx_task_fn fn)
{
    nx_runtime *runtime;
    int result = nx_runtime_create(NXT_OPTIONS(.workers = 1, .log = count_reports), &runtime);
    nxt_require(result == 0, 1);
    nxt_expect_eq(nx_block_on(runtime, fn, NULL, NULL), 0);
    nx_runtime_destroy(runtime);
    return 0;
}

NXT_CHILD(holds_its_worker)
{
    run_it(spawn_hog);
    nxt_expect(atomic_load(&have_last));
    nxt_expect_contains(last, "task hog has held worker 0 for ");
    printf("%s\n", last);
    return 0;
}

static intptr_t behave(void *arg)
{
    (void)arg;
    for (int i = 0; i < 60; i++) {
        nxt_burn(1000000);
        if (i % 2)
            nx_yield();
        else
            nx_sleep_ms(1);
    }
    nx_sleep_ms(150); /* asleep, which holds nobody */
    return 0;
}

NXT_CHILD(behaves)
{
    run_it(behave);
    printf("%d reports\n", atomic_load(&reports));
    return 0;
}

static intptr_t hold_a_while(void *arg)
{
    (void)arg;
    nxt_burn(INT64_C(200000000));
    return 0;
}

NXT_CHILD(holds_it_unwatched)
{
    run_it(hold_a_while);
    nxt_expect_eq(atomic_load(&reports), 0);
    return 0;
}

static void expect_child(const struct nxt_output *output, int status)
{
    if (!nxt_expect_eq(output->status, status) || !nxt_expect_eq(output->signal, 0))
        nxt_show_output(output);
}

NXT_TEST(a_task_that_holds_its_worker_is_reported_once_with_its_backtrace)
{
    static struct nxt_output output;
    if (!nxt_can_send(SIGRTMAX - 1)) {
        nxt_skip("the last real-time signal but one can't be sent here: a thread can't be asked where it is");
        return;
    }
    nxt_run_child(holds_its_worker, ((const char *const[]){"NEXUS_STALL_MS=40", NULL}), &output);
    expect_child(&output, 0);
    nxt_expect_contains(output.out, "it is in: ");
    if (!NXT_TSAN) /* it calls handlers later, with the registers of before and another stack */
        nxt_expect_contains(output.out, "hog+");
}

NXT_TEST(tasks_that_yield_or_wait_are_not_reported)
{
    static struct nxt_output output;
    nxt_run_child(behaves, ((const char *const[]){"NEXUS_STALL_MS=5000", NULL}), &output);
    expect_child(&output, 0);
    nxt_expect_contains(output.out, "0 reports");
}

NXT_TEST(nobody_watches_unless_asked)
{
    static struct nxt_output output;
    nxt_run_child(holds_it_unwatched, NULL, &output);
    expect_child(&output, 0);
    nxt_run_child(holds_it_unwatched, ((const char *const[]){"NEXUS_STALL_MS=0", NULL}), &output);
    expect_child(&output, 0);
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

NXT_TEST(a_threshold_that_is_no_number_is_refused)
{
    static struct nxt_output output;
    nxt_run_child(starts_a_runtime, ((const char *const[]){"NEXUS_STALL_MS=soon", NULL}), &output);
    expect_child(&output, EINVAL);
    nxt_expect_contains(output.out, "NEXUS_STALL_MS=soon");
    nxt_run_child(starts_a_runtime, ((const char *const[]){"NEXUS_STALL_MS=3600001", NULL}), &output);
    expect_child(&output, EINVAL);
}
