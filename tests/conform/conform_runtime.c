/* conform_runtime.c: making runtimes, running in them, ending them; several at once; fork; what is refused and how. */
#include "nxt.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define WITH(...) (&(const nx_task_options){.size = sizeof(nx_task_options), __VA_ARGS__})
#define MS INT64_C(1000000)

static struct nxt_output output;

static intptr_t return_arg(void *arg)
{
    return (intptr_t)arg;
}

static intptr_t sleep_for_ever(void *arg)
{
    (void)arg;
    return nx_sleep_until(NX_FOREVER);
}

static intptr_t result_of(nx_task task)
{
    intptr_t result = -1;
    if (nxt_expect_gt(task, 0))
        nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0);
    return result;
}

/* ---- block_on ---- */

static intptr_t block_in_task(void *arg)
{
    intptr_t result = 9;
    nxt_expect_eq(nx_block_on(arg, return_arg, NULL, &result), -EDEADLK);
    nxt_expect_eq(result, 9);
    return 0;
}

NXT_TEST(block_on_gives_what_the_function_returned)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    nxt_require(runtime);
    intptr_t result = 0;
    nxt_expect_eq(nx_block_on(runtime, return_arg, (void *)31, &result), 0);
    nxt_expect_eq(result, 31);
    nxt_expect_eq(nx_block_on(runtime, return_arg, (void *)(intptr_t)-EIO, &result), 0); /* the function's, not ours */
    nxt_expect_eq(result, -EIO);
    nxt_expect_eq(nx_block_on(runtime, return_arg, NULL, NULL), 0);
    nxt_expect_eq(nx_block_on(runtime, block_in_task, runtime, &result), 0);
    nxt_expect_eq(nx_block_on(runtime, NULL, NULL, NULL), -EINVAL);
    nxt_expect_eq(nx_block_on(NULL, return_arg, NULL, NULL), -EINVAL);
    nxt_stop(runtime);
}

static intptr_t block_on_it(void *arg)
{
    intptr_t sum = 0, result;
    for (intptr_t i = 0; i < 50; i++)
        if (nxt_expect_eq(nx_block_on(arg, return_arg, (void *)i, &result), 0))
            sum += result;
    return sum;
}

NXT_TEST(several_threads_block_on_one_runtime)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    nxt_require(runtime);
    struct nxt_thread *threads[4];
    for (size_t i = 0; i < NXT_COUNT(threads); i++)
        threads[i] = nxt_thread_start(block_on_it, runtime);
    for (size_t i = 0; i < NXT_COUNT(threads); i++)
        nxt_expect_eq(nxt_thread_join(threads[i]), 50 * 49 / 2);
    nxt_stop(runtime);
}

NXT_TEST(a_runtime_starts_and_stops_many_times)
{
    for (int i = 0; i < nxt_scaled(30, 3); i++) {
        nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 1 + (unsigned)i % 4));
        nxt_require(runtime);
        if (i % 2)
            nxt_expect_eq(nx_block_on(runtime, return_arg, NULL, NULL), 0);
        nxt_stop(runtime);
    }
    nx_runtime_destroy(NULL);
}

/* ---- several runtimes ---- */

struct visitor {
    nx_runtime **runtimes;
    int count, depth;
};

static intptr_t visit_others(void *arg)
{
    struct visitor visitor = *(const struct visitor *)arg;
    if (visitor.depth-- == 0)
        return 1;
    intptr_t sum = 0;
    nx_task tasks[4];
    for (int i = 0; i < visitor.count; i++)
        tasks[i] = nx_spawn_on(visitor.runtimes[i], WITH(.arg_size = sizeof(visitor)), visit_others, &visitor);
    for (int i = 0; i < visitor.count; i++)
        sum += result_of(tasks[i]);
    return sum;
}

static intptr_t cancel_elsewhere(void *arg)
{
    for (int i = 0; i < 100; i++) {
        nx_task task = nx_spawn_on(arg, NULL, sleep_for_ever, NULL);
        if (i % 2)
            nx_yield();
        nxt_expect_eq(nx_cancel(task), 0);
        nxt_expect_eq(result_of(task), -ECANCELED);
    }
    return 0;
}

NXT_TEST(four_runtimes_spawn_join_and_cancel_in_each_other)
{
    nx_runtime *runtimes[4];
    for (unsigned i = 0; i < 4; i++)
        nxt_require((runtimes[i] = nxt_start(NXT_OPTIONS(.workers = 1 + i % 2))));
    struct visitor visitor = {runtimes, 4, 4};
    nx_task tasks[8];
    for (int i = 0; i < 4; i++) {
        tasks[i] = nx_spawn_on(runtimes[i], NULL, visit_others, &visitor);
        tasks[i + 4] = nx_spawn_on(runtimes[i], NULL, cancel_elsewhere, runtimes[(i + 1) % 4]);
    }
    for (int i = 0; i < 8; i++)
        nxt_expect_eq(result_of(tasks[i]), i < 4 ? 256 : 0);
    for (int i = 0; i < 4; i++)
        nxt_stop(runtimes[i]);
}

static intptr_t make_and_destroy(void *arg)
{
    nx_runtime *runtime = nxt_start(NULL);
    nxt_require(runtime, 1);
    nx_task task = nx_spawn_on(runtime, NULL, return_arg, arg);
    intptr_t result = result_of(task);
    nxt_stop(runtime);
    return result;
}

NXT_TASK_TEST(a_runtime_is_made_and_destroyed_in_a_task_of_another, .workers = 2)
{
    nxt_expect_eq(result_of(nx_spawn(make_and_destroy, (void *)12)), 12);
}

/* ---- shutdown ---- */

static intptr_t sleep_20_ms(void *arg)
{
    (void)arg;
    return nx_sleep_ms(20);
}

NXT_TEST(in_its_grace_time_a_task_ends_by_itself)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2, .grace_ns = 60000 * MS));
    nxt_require(runtime);
    nx_task task = nx_spawn_on(runtime, NULL, sleep_20_ms, NULL);
    nxt_expect_eq(nx_runtime_shutdown(runtime, NX_FOREVER), 0);
    nxt_expect_eq(nx_join(task, NULL, NX_POLL), 0);
    nxt_stop(runtime);
}

NXT_TEST(after_its_grace_time_a_task_is_cancelled)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2, .grace_ns = 20 * MS));
    nxt_require(runtime);
    nx_task task = nx_spawn_on(runtime, NULL, sleep_for_ever, NULL);
    nx_time start = nxt_clock();
    nxt_expect_eq(nx_runtime_shutdown(runtime, NX_FOREVER), 0);
    nxt_expect_ge(nxt_clock() - start, 20 * MS);
    nxt_expect_eq(result_of(task), -ECANCELED);
    nxt_stop(runtime);
}

NXT_TEST(without_grace_tasks_are_cancelled_at_once)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    nxt_require(runtime);
    nx_task tasks[100];
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        tasks[i] = nx_spawn_on(runtime, NULL, sleep_for_ever, NULL);
    nxt_expect_eq(nx_runtime_shutdown(runtime, NX_FOREVER), 0);
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        nxt_expect_eq(result_of(tasks[i]), -ECANCELED);
    nxt_stop(runtime);
}

static intptr_t ignore_cancel(void *arg)
{
    atomic_bool *may_end = arg;
    while (!atomic_load(may_end))
        nx_sleep_ms(1);
    return 4;
}

NXT_TEST(a_shutdown_that_times_out_names_who_is_left_and_may_be_repeated)
{
    atomic_bool may_end = false;
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    nxt_require(runtime);
    nx_task task = nx_spawn_on(runtime, WITH(.name = "stubborn"), ignore_cancel, &may_end);
    nx_task other = nx_spawn_on(runtime, WITH(.name = "obedient"), sleep_for_ever, NULL);
    nx_time start = nxt_clock();
    nxt_expect_eq(nx_runtime_shutdown(runtime, nx_after_ms(50)), -ETIMEDOUT);
    nxt_expect_ge(nxt_clock() - start, 50 * MS - 2);
    nxt_expect(nxt_logged("stubborn"));
    nxt_expect(!nxt_logged("obedient"));
    nxt_expect_eq(result_of(other), -ECANCELED);
    nxt_expect_eq(nx_runtime_shutdown(runtime, 1), -ETIMEDOUT);
    atomic_store(&may_end, true);
    nxt_expect_eq(nx_runtime_shutdown(runtime, NX_FOREVER), 0);
    nxt_expect_eq(result_of(task), 4);
    nxt_expect_eq(nx_runtime_shutdown(runtime, NX_FOREVER), 0);
    nxt_expect_eq(nx_runtime_shutdown(runtime, 1), 0);
    nxt_stop(runtime);
}

static intptr_t spawn_outside_is_refused(void *arg)
{
    nxt_expect_eq(nx_spawn_on(arg, NULL, return_arg, NULL), -ESHUTDOWN);
    return 0;
}

NXT_TASK_TEST(after_a_shutdown_nothing_is_spawned_from_outside, .workers = 1)
{
    nx_runtime *other = nxt_start(NXT_OPTIONS(.workers = 2));
    nxt_require(other);
    nxt_expect_eq(nx_runtime_shutdown(other, NX_FOREVER), 0);
    spawn_outside_is_refused(other);                                     /* a task of another runtime */
    nxt_thread_await(nxt_thread_start(spawn_outside_is_refused, other)); /* a thread */
    nxt_stop(other);
}

NXT_TEST(after_a_shutdown_block_on_is_refused)
{
    nx_runtime *runtime = nxt_start(NULL);
    nxt_require(runtime);
    intptr_t result = 8;
    nxt_expect_eq(nx_runtime_shutdown(runtime, NX_FOREVER), 0);
    nxt_expect_eq(nx_block_on(runtime, return_arg, NULL, &result), -ESHUTDOWN);
    nxt_expect_eq(result, 8);
    nxt_expect_eq(nx_runtime_shutdown(NULL, NX_FOREVER), -EINVAL);
    nxt_stop(runtime);
}

static intptr_t spawn_while_closing(void *arg)
{
    (void)arg;
    int error = nx_sleep_until(NX_FOREVER);
    nx_time shield = nx_shield(NX_FOREVER);
    nxt_expect_eq(result_of(nx_spawn(return_arg, (void *)3)), 3); /* clean-up that needs a helper */
    nx_shield(shield);
    return error;
}

NXT_TEST(a_task_may_still_spawn_while_its_runtime_shuts_down)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    nxt_require(runtime);
    nx_task task = nx_spawn_on(runtime, NULL, spawn_while_closing, NULL);
    nxt_expect_eq(nx_runtime_shutdown(runtime, NX_FOREVER), 0);
    nxt_expect_eq(result_of(task), -ECANCELED);
    nxt_stop(runtime);
}

NXT_TASK_TEST(a_task_cannot_shut_its_own_runtime_down)
{
    nxt_expect_eq(nx_runtime_shutdown(nxt_runtime(), NX_FOREVER), -EDEADLK);
    nxt_expect_eq(result_of(nx_spawn(return_arg, (void *)2)), 2); /* it has not begun to */
}

NXT_TEST(destroy_ends_tasks_that_still_run)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 4));
    nxt_require(runtime);
    for (int i = 0; i < 200; i++)
        nxt_expect_eq(nx_detach(nx_spawn_on(runtime, NULL, sleep_for_ever, NULL)), 0);
    nxt_forget(runtime);
    nx_runtime_destroy(runtime);
}

static intptr_t spawn_until_refused(void *arg)
{
    nx_runtime *runtime = *(nx_runtime **)arg;
    intptr_t spawned = 0;
    nx_task task;
    while ((task = nx_spawn_on(runtime, NULL, return_arg, NULL)) > 0) {
        nxt_expect_eq(nx_join(task, NULL, NX_FOREVER), 0);
        spawned++;
    }
    nxt_expect_eq(task, -ESHUTDOWN);
    return spawned;
}

NXT_TEST(spawns_race_with_a_shutdown_and_each_runs_or_is_refused)
{
    for (int i = 0; i < nxt_scaled(20, 3); i++) {
        nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
        nxt_require(runtime);
        struct nxt_thread *first = nxt_thread_start(spawn_until_refused, &runtime);
        struct nxt_thread *second = nxt_thread_start(spawn_until_refused, &runtime);
        nxt_burn(i * MS / 10);
        nxt_expect_eq(nx_runtime_shutdown(runtime, NX_FOREVER), 0);
        nxt_thread_join(first);
        nxt_thread_join(second);
        nxt_stop(runtime);
    }
}

NXT_CHILD(destroys_with_a_task_that_ignores_it)
{
    static atomic_bool may_end;
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    nx_task task = nx_spawn_on(runtime, WITH(.name = "leaked"), ignore_cancel, &may_end);
    nx_runtime_destroy(runtime);
    nxt_expect(nxt_logged("leaked"));
    nxt_expect_eq(nx_join(task, NULL, NX_POLL), -EAGAIN); /* never freed: it still runs */
    atomic_store(&may_end, true);
    nxt_expect_eq(result_of(task), 4);
    return 0;
}

NXT_TEST(destroy_leaks_a_task_that_will_not_end_and_says_so)
{
    nxt_run_child(destroys_with_a_task_that_ignores_it, ((const char *[]){"ASAN_OPTIONS=detect_leaks=0", NULL}),
                  &output);
    nxt_expect_eq(output.status, 0);
}

/* ---- nx_run ---- */

static int run_and_return(intptr_t value)
{
    return nx_run(return_arg, (void *)value);
}

NXT_CHILD(runs_and_returns_0)
{
    return run_and_return(0);
}
NXT_CHILD(runs_and_returns_7)
{
    return run_and_return(7);
}
NXT_CHILD(runs_and_returns_125)
{
    return run_and_return(125);
}
NXT_CHILD(runs_and_returns_126)
{
    return run_and_return(126);
}
NXT_CHILD(runs_and_returns_eio)
{
    return run_and_return(-EIO);
}

NXT_TEST(run_returns_what_main_is_to_return)
{
    nxt_run_child(runs_and_returns_0, NULL, &output);
    nxt_expect_eq(output.status, 0);
    nxt_run_child(runs_and_returns_7, NULL, &output);
    nxt_expect_eq(output.status, 7);
    nxt_expect_str(output.err, "");
    nxt_run_child(runs_and_returns_125, NULL, &output);
    nxt_expect_eq(output.status, 125);
    nxt_run_child(runs_and_returns_126, NULL, &output);
    nxt_expect_eq(output.status, 1);
    nxt_expect_contains(output.err, "126");
    nxt_run_child(runs_and_returns_eio, NULL, &output);
    nxt_expect_eq(output.status, 1);
    nxt_expect_contains(output.err, "-5: Input/output error");
}

NXT_TEST(run_says_why_it_can_not)
{
    nxt_run_child(runs_and_returns_0, ((const char *[]){"NEXUS_BACKEND=nosuchthing", NULL}), &output);
    nxt_expect_eq(output.status, 1);
    nxt_expect_contains(output.err, "nosuchthing");
}

/* ---- what create refuses ---- */

static char error_text[512];

static void expect_refused(int result, const char *part, nx_runtime_options options)
{
    nx_runtime *const untouched = (nx_runtime *)&error_text;
    nx_runtime *runtime = untouched;
    error_text[0] = '\0';
    if (options.size == 0)
        options.size = sizeof(options);
    options.error = error_text;
    options.error_size = sizeof(error_text);
    options.log = nxt_log;
    nxt_expect_eq(nx_runtime_create(&options, &runtime), result);
    nxt_expect(runtime == untouched);
    if (part)
        nxt_expect_contains(error_text, part);
}

#define REFUSED(result, part, ...) expect_refused(result, part, (nx_runtime_options){__VA_ARGS__})

NXT_TEST(create_says_what_is_wrong_with_its_options)
{
    REFUSED(-EINVAL, "256", .workers = 257, .pin = NX_PIN_WORKERS);
    REFUSED(-EINVAL, "options.grace_ns is -1; ", .grace_ns = -1);
    REFUSED(-EINVAL, "options.stack_size is 67108865; the most is 67108864", .stack_size = (64u << 20) + 1);
    REFUSED(-EINVAL, "options.on_panic is 9; ", .on_panic = (enum nx_panic_policy)9);
    REFUSED(-EINVAL, "options.pin is 0x41; no NX_PIN_... is 0x40", .pin = NX_PIN_BACKEND | 64);
    REFUSED(-EINVAL, "options.flags is 0x41; this libnexus has no flag 0x40", .flags = NX_NO_SIGSEGV | 64);
    REFUSED(-EINVAL, "options.cpus=first: \"auto\"", .cpus = "first", .pin = NX_PIN_WORKERS);
    REFUSED(-EINVAL, "options.cpus=65535: there is no cpu 65535, or", .cpus = "65535", .pin = NX_PIN_WORKERS);
    nxt_expect_eq(nx_runtime_create(NULL, NULL), -EINVAL);
}

/* As a program does that was compiled against a later version, and sets what is new in it. */
NXT_TEST(create_says_that_it_does_not_know_all_options)
{
    struct {
        nx_runtime_options known;
        uint64_t later;
    } newer = {.known = {.size = sizeof(newer), .error = error_text, .error_size = sizeof(error_text)}, .later = 1};
    nx_runtime *const untouched = (nx_runtime *)&error_text, *runtime = untouched;
    char size[64];
    error_text[0] = '\0';
    nxt_expect_eq(nx_runtime_create(&newer.known, &runtime), -EINVAL);
    snprintf(size, sizeof(size), "options.size is %zu: ", sizeof(newer));
    nxt_expect_contains(error_text, size);
    nxt_expect(runtime == untouched);
    error_text[0] = '\0';
    newer.known.size = SIZE_MAX; /* nothing of it can be meant, so error isn't either */
    nxt_expect_eq(nx_runtime_create(&newer.known, &runtime), -EINVAL);
    newer.known.size = 0;
    nxt_expect_eq(nx_runtime_create(&newer.known, &runtime), -EINVAL);
    nxt_expect_str(error_text, "");
}

NXT_TEST(create_says_which_plugin_is_unknown)
{
    REFUSED(-ENOENT, "nosuchdriver", .backend = "nosuchdriver", .pin = NX_PIN_BACKEND);
    REFUSED(-ENOENT, "nosuchsched", .scheduler = "nosuchsched", .pin = NX_PIN_SCHED);
    REFUSED(-EINVAL, "+", .backend = "chaos+other", .pin = NX_PIN_BACKEND);
    REFUSED(-EINVAL, "auto", .backend = "auto,other", .pin = NX_PIN_BACKEND);
    REFUSED(-ENOENT, "/nosuch/path.so", .scheduler = "/nosuch/path.so", .pin = NX_PIN_SCHED);
}

NXT_TEST(create_refuses_an_options_struct_of_a_size_it_can_not_know)
{
    nx_runtime *runtime = NULL;
    nx_runtime_options options = {.size = 0};
    nxt_expect_eq(nx_runtime_create(&options, &runtime), -EINVAL);
    options.size = sizeof(size_t) - 1;
    nxt_expect_eq(nx_runtime_create(&options, &runtime), -EINVAL);
    options.size = SIZE_MAX;
    nxt_expect_eq(nx_runtime_create(&options, &runtime), -EINVAL);
    nxt_expect(runtime == NULL);
}

NXT_TEST(create_understands_an_options_struct_of_an_older_library)
{
    nx_runtime *runtime = NULL;
    nx_runtime_options options = {.workers = 1, .stack_size = SIZE_MAX, .flags = ~0u, .grace_ns = -5};
    options.size = offsetof(nx_runtime_options, thread_name); /* it ended here */
    nxt_expect_eq(nx_runtime_create(&options, &runtime), 0);
    nx_runtime_destroy(runtime);
}

/* ---- info ---- */

NXT_TASK_TEST(info_tells_what_was_chosen, .workers = 2, .stack_size = 128 << 10)
{
    struct nx_runtime_info info = {.size = sizeof(info)};
    nxt_expect_eq(nx_runtime_info(nxt_runtime(), &info), 0);
    nxt_expect_eq(info.size, sizeof(info));
    nxt_expect_eq(info.workers, 2);
    nxt_expect_gt(info.task_size, 0);
    nxt_expect_le(info.task_size, NXT_ASAN || NXT_TSAN ? 320 : 192); /* with the sanitizer's notes */
    nxt_expect_ge(info.stack_size, 128 << 10);
    nxt_expect_lt(info.stack_size, 512 << 10);
    nxt_expect_eq(info.live_tasks, 1);
    nxt_expect(info.backend && *info.backend && info.backend_path && info.file_backend && *info.file_backend);
    nxt_expect(info.scheduler && *info.scheduler && info.scheduler_path && info.why && *info.why);
    if (getenv("NEXUS_BACKEND"))
        nxt_expect_str(info.backend, getenv("NEXUS_BACKEND"));
    if (getenv("NEXUS_SCHED"))
        nxt_expect_str(info.scheduler, getenv("NEXUS_SCHED"));
    nxt_expect_contains(info.why, info.backend);
    nxt_expect_contains(info.why, info.scheduler);
}

static size_t live_tasks(void)
{
    struct nx_runtime_info info = {.size = sizeof(info)};
    nxt_expect_eq(nx_runtime_info(nxt_runtime(), &info), 0);
    return info.live_tasks;
}

NXT_TASK_TEST(info_counts_tasks_wherever_they_are, .workers = 4)
{
    nx_task tasks[40];
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        tasks[i] = nx_spawn_with(WITH(.flags = i % 2 ? NX_TASK_SPREAD : NX_TASK_MIGRATABLE), sleep_for_ever, NULL);
    nxt_expect_eq(live_tasks(), 41);
    nxt_expect_eq(nx_sleep_ms(1), 0);
    nxt_expect_eq(live_tasks(), 41);
    for (size_t i = 0; i < NXT_COUNT(tasks); i++) {
        nx_cancel(tasks[i]);
        result_of(tasks[i]);
    }
    nxt_await(live_tasks() == 1);
}

NXT_TASK_TEST(info_fills_as_much_as_the_caller_has_room_for)
{
    struct nx_runtime_info info;
    memset(&info, 0x5a, sizeof(info));
    info.size = offsetof(struct nx_runtime_info, file_backend);
    nxt_expect_eq(nx_runtime_info(nxt_runtime(), &info), 0);
    nxt_expect_eq(info.size, offsetof(struct nx_runtime_info, file_backend));
    nxt_expect(info.backend && *info.backend);
    nxt_expect_eq(info.workers, 0x5a5a5a5a);
    info.size = 0;
    nxt_expect_eq(nx_runtime_info(nxt_runtime(), &info), -EINVAL);
    nxt_expect_eq(nx_runtime_info(nxt_runtime(), NULL), -EINVAL);
    nxt_expect_eq(nx_runtime_info(NULL, &info), -EINVAL);
}

/* ---- idle ---- */

/* From a thread that is no worker. */
static int sleep_thread(int64_t ms)
{
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * MS};
    return clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

NXT_TEST(an_idle_runtime_uses_no_cpu)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 4));
    nxt_require(runtime);
    nx_task task = nx_spawn_on(runtime, NULL, sleep_for_ever, NULL);
    nxt_expect_eq(nx_block_on(runtime, sleep_20_ms, NULL, NULL), 0);
    nxt_expect_idle(sleep_thread, 1000, 2 * MS);
    nx_cancel(task);
    result_of(task);
    nxt_stop(runtime);
}

/* ---- a hundred thousand tasks ---- */

static int count_maps(void)
{
    FILE *file = fopen("/proc/self/maps", "re");
    int lines = 0, c;
    while (file && (c = getc(file)) != EOF)
        lines += c == '\n';
    if (file)
        fclose(file);
    return lines;
}

NXT_TASK_TEST(a_hundred_thousand_guarded_tasks_live_at_once_within_the_default_map_limit, .workers = 2)
{
    int count = (int)nxt_scaled(NXT_ASAN || NXT_TSAN ? 5000 : 100000, 1000);
    nx_task *tasks = calloc((size_t)count, sizeof(*tasks));
    for (int i = 0; i < count; i++)
        if (!nxt_expect_gt(tasks[i] = nx_spawn(sleep_for_ever, NULL), 0))
            break;
    nxt_await(live_tasks() == (size_t)count + 1);
    nxt_expect_eq(nx_sleep_ms(1), 0); /* all have run, and park */
    nxt_expect_lt(count_maps(), 65530);
    for (int i = 0; i < count && tasks[i] > 0; i++)
        nxt_expect_eq(nx_cancel(tasks[i]), 0);
    for (int i = 0; i < count && tasks[i] > 0; i++)
        nxt_expect_eq(result_of(tasks[i]), -ECANCELED);
    free(tasks);
}

/* ---- outside a task ---- */

/* A listener and a stream to call with where calls must be refused before they look at them. */
static nx_listener *some_listener;
static nx_stream *some_stream, *its_peer;
static nx_runtime *some_runtime;
static nx_task some_task;

static intptr_t open_some(void *arg)
{
    (void)arg;
    nx_addr address;
    char text[64];
    nxt_require_eq(nx_listen("127.0.0.1:0", NULL, &some_listener), 0, 1);
    nxt_expect_eq(nx_listener_addr(some_listener, &address), 0);
    nxt_expect_gt(nx_addr_format(&address, text, sizeof(text)), 0);
    nxt_require_eq(nx_connect(text, NULL, &some_stream, NX_FOREVER), 0, 1);
    nxt_require_eq(nx_accept(some_listener, &its_peer, NX_FOREVER), 0, 1);
    return 0;
}

static intptr_t close_some(void *arg)
{
    char text[4] = "";
    (void)arg;
    nxt_expect_eq(nx_write(some_stream, "abc", 3, NX_FOREVER), 3);
    nxt_expect_eq(nx_read_exact(its_peer, text, 3, NX_FOREVER), 3);
    nxt_expect_str(text, "abc");
    nxt_expect_eq(nx_close(some_stream), 0);
    nxt_expect_eq(nx_close(its_peer), 0);
    nxt_expect_eq(nx_listener_close(some_listener), 0);
    return 0;
}

static bool open_all(void)
{
    intptr_t failed = 1;
    some_runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    if (!some_runtime)
        return false;
    some_task = nx_spawn_on(some_runtime, NULL, sleep_for_ever, NULL);
    nxt_expect_eq(nx_block_on(some_runtime, open_some, NULL, &failed), 0);
    return nxt_expect_eq(failed, 0);
}

static void close_all(void)
{
    intptr_t failed = 1;
    nxt_expect_eq(nx_block_on(some_runtime, close_some, NULL, &failed), 0);
    nxt_expect_eq(failed, 0);
    nx_cancel(some_task);
    nxt_expect_eq(result_of(some_task), -ECANCELED);
    nxt_stop(some_runtime);
}

static intptr_t serve_nothing(nx_stream *stream, void *arg)
{
    (void)stream;
    (void)arg;
    return 0;
}

static void do_nothing(void *arg)
{
    (void)arg;
}

/* Each call, of those that may fail, with arguments that would do if it were made in the right place. */
static int64_t call_accept(void)
{
    nx_stream *stream;
    return nx_accept(some_listener, &stream, NX_FOREVER);
}

static int64_t call_block_on(void)
{
    return nx_block_on(some_runtime, return_arg, NULL, NULL);
}

static int64_t call_cancel(void)
{
    return nx_cancel(some_task);
}

static int64_t call_close(void)
{
    return nx_close(some_stream);
}

static int64_t call_connect(void)
{
    nx_stream *stream;
    return nx_connect("127.0.0.1:1", NULL, &stream, NX_FOREVER);
}

static int64_t call_defer(void)
{
    return nx_defer(do_nothing, NULL);
}

static int64_t call_detach(void)
{
    return nx_detach(some_task);
}

static int64_t call_fd_wait(void)
{
    return nx_fd_wait(0, NX_READABLE, NX_FOREVER);
}

static int64_t call_go(void)
{
    return nx_go(return_arg, NULL);
}

static int64_t call_join(void)
{
    return nx_join(some_task, NULL, NX_FOREVER);
}

static int64_t call_join_message(void)
{
    char text[8];
    return nx_join_message(some_task, text, sizeof(text));
}

static int64_t call_listen(void)
{
    nx_listener *listener;
    return nx_listen("127.0.0.1:0", NULL, &listener);
}

static int64_t call_listener_addr(void)
{
    nx_addr address;
    return nx_listener_addr(some_listener, &address);
}

static int64_t call_listener_close(void)
{
    return nx_listener_close(some_listener);
}

static int64_t call_local_key_create(void)
{
    nx_local_key key;
    return nx_local_key_create(NULL, &key);
}

static int64_t call_local_set(void)
{
    return nx_local_set(0, NULL);
}

static char byte;

static int64_t call_read(void)
{
    return nx_read(some_stream, &byte, 1, NX_FOREVER);
}

static int64_t call_read_exact(void)
{
    return nx_read_exact(some_stream, &byte, 1, NX_FOREVER);
}

static int64_t call_runtime_create(void)
{
    nx_runtime *runtime;
    return nx_runtime_create(NULL, &runtime);
}

static int64_t call_runtime_info(void)
{
    struct nx_runtime_info info = {.size = sizeof(info)};
    return nx_runtime_info(some_runtime, &info);
}

static int64_t call_runtime_shutdown(void)
{
    return nx_runtime_shutdown(some_runtime, NX_FOREVER);
}

static int64_t call_serve(void)
{
    return nx_serve("127.0.0.1:0", NULL, serve_nothing, NULL, NX_FOREVER);
}

static int64_t call_shutdown(void)
{
    return nx_shutdown(some_stream, NX_SHUT_BOTH);
}

static int64_t call_signal_wait(void)
{
    sigset_t set;
    int signo;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    return nx_signal_wait(&set, &signo, NX_FOREVER);
}

static int64_t call_sleep_ms(void)
{
    return nx_sleep_ms(1);
}

static int64_t call_sleep_until(void)
{
    return nx_sleep_until(NX_FOREVER);
}

static int64_t call_spawn(void)
{
    return nx_spawn(return_arg, NULL);
}

static int64_t call_spawn_on(void)
{
    return nx_spawn_on(some_runtime, NULL, return_arg, NULL);
}

static int64_t call_spawn_with(void)
{
    return nx_spawn_with(NULL, return_arg, NULL);
}

static int64_t call_stream_fd(void)
{
    return nx_stream_fd(some_stream);
}

static int64_t call_stream_from_fd(void)
{
    nx_stream *stream;
    return nx_stream_from_fd(0, &stream);
}

static int64_t call_stream_peer(void)
{
    nx_addr address;
    return nx_stream_peer(some_stream, &address);
}

static int64_t call_task_name(void)
{
    char name[8];
    return nx_task_name(some_task, name, sizeof(name));
}

static int64_t call_ticker_next(void)
{
    nx_ticker ticker = {.next = NX_FOREVER, .period_ns = 1};
    return nx_ticker_next(&ticker);
}

static int64_t call_write(void)
{
    return nx_write(some_stream, "x", 1, NX_FOREVER);
}

static int64_t call_writev(void)
{
    struct iovec iov = {.iov_base = &byte, .iov_len = 1};
    return nx_writev(some_stream, &iov, 1, NX_FOREVER);
}

#define IN_TASK 1 /* a task is needed, else -NX_ENOTASK */

static const struct call {
    const char *name;
    int64_t (*call)(void);
    int where;
} calls[] = {
    {"nx_accept", call_accept, IN_TASK},
    {"nx_block_on", call_block_on, 0},
    {"nx_cancel", call_cancel, 0},
    {"nx_close", call_close, 0},
    {"nx_connect", call_connect, IN_TASK},
    {"nx_defer", call_defer, IN_TASK},
    {"nx_detach", call_detach, 0},
    {"nx_fd_wait", call_fd_wait, IN_TASK},
    {"nx_go", call_go, IN_TASK},
    {"nx_join", call_join, 0},
    {"nx_join_message", call_join_message, 0},
    {"nx_listen", call_listen, IN_TASK},
    {"nx_listener_addr", call_listener_addr, 0},
    {"nx_listener_close", call_listener_close, 0},
    {"nx_local_key_create", call_local_key_create, 0},
    {"nx_local_set", call_local_set, IN_TASK},
    {"nx_read", call_read, IN_TASK},
    {"nx_read_exact", call_read_exact, IN_TASK},
    {"nx_runtime_create", call_runtime_create, 0},
    {"nx_runtime_info", call_runtime_info, 0},
    {"nx_runtime_shutdown", call_runtime_shutdown, 0},
    {"nx_self", nx_self, IN_TASK},
    {"nx_serve", call_serve, IN_TASK},
    {"nx_shutdown", call_shutdown, 0},
    {"nx_signal_wait", call_signal_wait, IN_TASK},
    {"nx_sleep_ms", call_sleep_ms, IN_TASK},
    {"nx_sleep_until", call_sleep_until, IN_TASK},
    {"nx_spawn", call_spawn, IN_TASK},
    {"nx_spawn_on", call_spawn_on, 0},
    {"nx_spawn_with", call_spawn_with, IN_TASK},
    {"nx_stream_fd", call_stream_fd, 0},
    {"nx_stream_from_fd", call_stream_from_fd, IN_TASK},
    {"nx_stream_peer", call_stream_peer, 0},
    {"nx_task_name", call_task_name, 0},
    {"nx_ticker_next", call_ticker_next, IN_TASK},
    {"nx_write", call_write, IN_TASK},
    {"nx_writev", call_writev, IN_TASK},
};

/* The tables only knock at each door: enosys.sh is to find cases that go through it. */
static bool skip_tables(void)
{
    if (getenv("NEXUS_TEST_ENOSYS"))
        nxt_skip("a missing function is to be missed by its own cases");
    return getenv("NEXUS_TEST_ENOSYS") != NULL;
}

static void expect_call(const struct call *call, int64_t expected)
{
    int64_t result = call->call();
    if (result != expected)
        nxt_fail(__FILE__, __LINE__, "%s gives %lld, not %lld", call->name, (long long)result, (long long)expected);
}

NXT_TEST(what_needs_a_task_says_so_outside_one)
{
    if (skip_tables() || !open_all())
        return;
    for (size_t i = 0; i < NXT_COUNT(calls); i++)
        if (calls[i].where == IN_TASK)
            expect_call(&calls[i], -NX_ENOTASK);
    nxt_expect(!nx_cancelled());
    nxt_expect_eq(nx_shield(NX_FOREVER), 0);
    nxt_expect_eq(nx_shield(0), 0);
    nxt_expect(nx_local_get(0) == NULL);
    nx_yield();
    close_all();
}

/* ---- fork ---- */

/* In the child: what has failed goes to stderr, for the recording thread's report is the parent's. */
static int check_forked(void)
{
    nxt_expect_begin();
    for (size_t i = 0; i < NXT_COUNT(calls); i++)
        expect_call(&calls[i], -NX_EFORKED);
    nx_runtime_destroy(some_runtime); /* nothing */
    nx_yield();
    nxt_expect(!nx_cancelled());
    nxt_expect_eq(nx_shield(NX_FOREVER), 0);
    nxt_expect(nx_local_get(0) == NULL);
    nxt_expect_eq(nx_run(return_arg, NULL), 1);
    /* what needs no runtime works */
    nx_addr address;
    nxt_expect_gt(nx_now(), 0);
    nxt_expect_gt(nx_after_ms(1), nx_after_ns(1));
    nxt_expect_eq(nx_addr_parse("127.0.0.1:1", &address), 0);
    nxt_expect_str(nx_strerror(-NX_EFORKED), nx_strerror(NX_EFORKED));
    return nxt_expect_report() > 0 ? NXT_CHILD_FAILED : 0;
}

static void fork_and_check(void)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        _exit(check_forked());
    int status = -1;
    if (nxt_expect_gt(pid, 0))
        nxt_expect_eq(waitpid(pid, &status, 0), pid);
    nxt_expect(WIFEXITED(status));
    nxt_expect_eq(WEXITSTATUS(status), 0);
}

static intptr_t fork_in_task(void *arg)
{
    (void)arg;
    fork_and_check();
    nxt_expect_eq(nx_sleep_ms(1), 0); /* the parent's worker is as it was */
    return 0;
}

NXT_TEST(in_a_forked_child_every_call_is_refused_and_the_parent_goes_on)
{
    if (skip_tables() || !open_all())
        return;
    fork_and_check();
    nxt_expect_eq(nx_block_on(some_runtime, fork_in_task, NULL, NULL), 0);
    close_all();
}

NXT_CHILD(forks_and_leaves_by_exit)
{
    if (!open_all())
        return 1;
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        exit(3); /* destructors and all */
    int status = -1;
    nxt_expect_eq(waitpid(pid, &status, 0), pid);
    nxt_expect(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    close_all();
    return 0;
}

NXT_TEST(a_forked_child_may_leave_by_exit)
{
    /* a leak check at its exit would stop the parent's threads */
    nxt_run_child(forks_and_leaves_by_exit, ((const char *[]){"ASAN_OPTIONS=detect_leaks=0", NULL}), &output);
    nxt_expect_eq(output.status, 0);
    nxt_expect_str(output.err, "");
}

NXT_CHILD(uses_the_library_after_a_fork_without_runtimes)
{
    make_and_destroy(NULL);
    pid_t pid = fork();
    if (pid == 0)
        _exit(make_and_destroy((void *)6) == 6 ? 0 : 1);
    int status = -1;
    nxt_expect_eq(waitpid(pid, &status, 0), pid);
    nxt_expect(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    return 0;
}

NXT_TEST(a_child_forked_when_no_runtime_lived_may_make_one)
{
    if (NXT_TSAN) {
        nxt_skip("ThreadSanitizer allows no threads in a child of a process that had some");
        return;
    }
    nxt_run_child(uses_the_library_after_a_fork_without_runtimes, NULL, &output);
    nxt_expect_eq(output.status, 0);
}

/* ---- texts ---- */

NXT_TEST(each_error_has_a_text)
{
    nxt_expect_str(nx_strerror(0), "Success");
    nxt_expect_str(nx_strerror(ECONNREFUSED), "Connection refused");
    nxt_expect_str(nx_strerror(-ECONNREFUSED), "Connection refused");
    static const int own[] = {NX_ENOTASK, NX_EPANIC, NX_EFORKED};
    for (size_t i = 0; i < NXT_COUNT(own); i++) {
        const char *text = nx_strerror(own[i]);
        nxt_expect(text && strcmp(text, nx_strerror(99999)) != 0);
        nxt_expect_str(nx_strerror(-own[i]), text ? text : "");
    }
    nxt_expect_str(nx_strerror(99999), "Unknown error");
    nxt_expect_str(nx_strerror(INT32_MIN), "Unknown error");
}

NXT_TEST(the_version_is_three_numbers)
{
    unsigned major, minor, patch;
    char rest;
    const char *version = nx_version();
    nxt_require(version);
    nxt_expect_eq(sscanf(version, "%u.%u.%u%c", &major, &minor, &patch, &rest), 3);
}
