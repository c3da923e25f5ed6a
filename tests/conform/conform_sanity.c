/* conform_sanity.c: the suite's own smoke detector: cases that must fail, and that the audit says why. */
#include "nxt.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *nxi_alloc(size_t size); /* of the core, which is linked in: it counts */

static intptr_t return_arg(void *arg)
{
    return (intptr_t)arg;
}

static intptr_t sleep_for_ever(void *arg)
{
    (void)arg;
    while (nx_sleep_until(NX_FOREVER) == 0)
        ;
    return 0;
}

/* ---- what must fail ---- */

NXT_HIDDEN_TASK_TEST(leaks_a_descriptor)
{
    nxt_expect(open("/dev/null", O_RDONLY | O_CLOEXEC) >= 0);
}

NXT_HIDDEN_TASK_TEST(closes_a_descriptor_of_somebody_else)
{
    close(0);
}

NXT_HIDDEN_TASK_TEST(leaks_bytes)
{
    nxt_expect(nxi_alloc(4321) != NULL);
}

NXT_HIDDEN_TASK_TEST(leaks_a_task, .workers = 2)
{
    const nx_task_options options = {.size = sizeof(options), .name = "forgotten"};
    nxt_expect_gt(nx_spawn_with(&options, sleep_for_ever, NULL), 0);
}

NXT_HIDDEN_TASK_TEST(leaks_an_id)
{
    const nx_task_options options = {.size = sizeof(options), .name = "unjoined"};
    nxt_expect_gt(nx_spawn_with(&options, return_arg, NULL), 0);
}

static intptr_t hold_on(void *arg)
{
    (void)arg;
    for (;;)
        pause();
    return 0;
}

NXT_HIDDEN_TEST(leaks_a_thread)
{
    nxt_thread_start(hold_on, NULL);
}

static intptr_t expect_three(void *arg)
{
    nxt_expect_eq((intptr_t)arg, 3);
    return 0;
}

NXT_HIDDEN_TASK_TEST(fails_in_a_task, .workers = 2)
{
    nx_task task = nx_spawn(expect_three, (void *)4);
    nx_join(task, NULL, NX_FOREVER);
}

NXT_HIDDEN_TEST(fails_in_a_thread)
{
    nxt_thread_join(nxt_thread_start(expect_three, (void *)5));
}

NXT_HIDDEN_TASK_TEST(fails_with_text)
{
    nxt_expect_str("abc", "abd");
    nxt_expect_contains("one two", "three");
    nxt_expect_mem("abcd", "abxd", 4);
    nxt_expect_eq(-ECANCELED, 0);
}

NXT_HIDDEN_TASK_TEST(requires_and_returns)
{
    nxt_require(1 == 2);
    nxt_fail(__FILE__, __LINE__, "went on");
}

NXT_HIDDEN_TEST(hangs)
{
    nxt_watchdog_set("hangs", 1);
    nxt_await(false);
}

NXT_HIDDEN_TASK_TEST(passes, .workers = 2)
{
    nx_task task = nx_spawn(return_arg, (void *)6);
    intptr_t result = 0;
    nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0);
    nxt_expect_eq(result, 6);
}

NXT_HIDDEN_TASK_TEST(skips)
{
    nxt_skip("no %s here", "cheese");
}

/* ---- that they fail ---- */

static struct nxt_output output;

static void expect_failure(const char *name, const char *why)
{
    nxt_run_hidden_case(name, NULL, &output);
    bool good = nxt_expect_ne(output.status, 0);
    good &= nxt_expect_contains(output.out, why);
    if (!good)
        nxt_show_output(&output);
}

NXT_TEST(the_audit_sees_a_leaked_descriptor)
{
    expect_failure("leaks_a_descriptor", "/dev/null) is still open");
}

NXT_TEST(the_audit_sees_a_descriptor_that_has_gone)
{
    expect_failure("closes_a_descriptor_of_somebody_else", "file descriptors before the case");
}

NXT_TEST(the_audit_sees_leaked_bytes)
{
    expect_failure("leaks_bytes", "(+4321)");
}

NXT_TEST(the_audit_names_a_task_that_is_left)
{
    expect_failure("leaks_a_task", "task forgotten is still live");
}

NXT_TEST(the_audit_names_a_task_that_nobody_joined)
{
    expect_failure("leaks_an_id", "task unjoined has ended, and nobody has joined or detached it");
}

NXT_TEST(the_audit_sees_a_thread_that_is_left)
{
    expect_failure("leaks_a_thread", "threads before the case");
}

NXT_TEST(an_expectation_fails_the_case_from_a_task_and_from_a_thread)
{
    expect_failure("fails_in_a_task", "(intptr_t)arg == 3: with 4 and 3");
    expect_failure("fails_in_a_thread", "(intptr_t)arg == 3: with 5 and 3");
}

NXT_TEST(a_failed_expectation_says_what_it_saw)
{
    expect_failure("fails_with_text", "\"abc\" is \"abc\", not \"abd\"");
    nxt_expect_contains(output.out, "has no \"three\": \"one two\"");
    nxt_expect_contains(output.out, "byte 2 of 4 is 0x63, not 0x78");
    nxt_expect_contains(output.out, "with -125 (Operation canceled) and 0");
    nxt_expect_contains(output.err, "4 expectations failed");
}

NXT_TEST(a_failed_requirement_ends_the_body)
{
    expect_failure("requires_and_returns", "1 == 2");
    nxt_expect(!strstr(output.out, "went on"));
}

NXT_TEST(the_watchdog_ends_a_case_that_hangs_and_names_it)
{
    expect_failure("hangs", "hangs: it has not ended in its time");
    nxt_expect_eq(output.status, 124);
    if (!NXT_TSAN) /* there the watchdog can't interrupt the threads */
        nxt_expect_contains(output.out, "# thread ");
}

NXT_TEST(a_good_case_passes_and_a_skip_says_why)
{
    nxt_run_hidden_case("passes", NULL, &output);
    if (!nxt_expect_eq(output.status, 0))
        nxt_show_output(&output);
    nxt_run_hidden_case("skips", NULL, &output);
    nxt_expect_contains(output.out, "skips is skipped: no cheese here");
}
