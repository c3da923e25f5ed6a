/* conform_task.c: spawning, arguments, names, defers, task-local values. */
#include "nxt.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

size_t nxi_live_bytes(void);

#define WITH(...) (&(const nx_task_options){.size = sizeof(nx_task_options), __VA_ARGS__})

static intptr_t return_arg(void *arg)
{
    return (intptr_t)arg;
}

/* Joins, expecting success; the result. */
static intptr_t result_of(nx_task task)
{
    intptr_t result = -1;
    if (nxt_expect_gt(task, 0))
        nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0);
    return result;
}

/* ---- spawn ---- */

static intptr_t set_flag(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
    return 7;
}

NXT_TASK_TEST(a_child_runs_when_its_parent_parks_and_not_before)
{
    atomic_bool ran = false;
    nx_task child = nx_spawn(set_flag, &ran);
    nxt_expect(!atomic_load(&ran));
    nxt_expect_eq(result_of(child), 7);
    nxt_expect(atomic_load(&ran));
}

NXT_TASK_TEST(a_yield_lets_a_child_run)
{
    atomic_bool ran = false;
    nx_task child = nx_spawn(set_flag, &ran);
    nx_yield();
    nxt_expect(atomic_load(&ran));
    nxt_expect_eq(result_of(child), 7);
}

NXT_TASK_TEST(a_result_is_any_value_a_pointer_holds, .workers = 2)
{
    nxt_expect_eq(result_of(nx_spawn(return_arg, NULL)), 0);
    nxt_expect_eq(result_of(nx_spawn(return_arg, (void *)INTPTR_MIN)), INTPTR_MIN);
    nxt_expect_eq(result_of(nx_spawn(return_arg, (void *)INTPTR_MAX)), INTPTR_MAX);
    nxt_expect_eq(result_of(nx_spawn(return_arg, (void *)(intptr_t)-ECANCELED)), -ECANCELED);
}

NXT_TASK_TEST(ids_are_positive_and_differ_and_self_is_the_id)
{
    nx_task self = nx_self();
    nxt_expect_gt(self, 0);
    nx_task first = nx_spawn(return_arg, NULL), second = nx_spawn(return_arg, NULL);
    nxt_expect_gt(first, 0);
    nxt_expect_gt(second, 0);
    nxt_expect(first != second && first != self && second != self);
    result_of(first);
    result_of(second);
}

static intptr_t tell_self(void *arg)
{
    (void)arg;
    return (intptr_t)nx_self();
}

NXT_TASK_TEST(the_id_that_spawn_returns_is_the_one_the_task_sees, .workers = 2)
{
    for (int i = 0; i < 100; i++) {
        nx_task task =
            i % 2 ? nx_spawn(tell_self, NULL) : nx_spawn_with(WITH(.flags = NX_TASK_SPREAD), tell_self, NULL);
        nxt_expect_eq(result_of(task), task);
    }
}

NXT_TEST(a_plain_thread_spawns_on_a_runtime_and_joins)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2));
    nxt_require(runtime);
    for (intptr_t i = 0; i < 200; i++)
        nxt_expect_eq(result_of(nx_spawn_on(runtime, NULL, return_arg, (void *)i)), i);
    nxt_stop(runtime);
}

static intptr_t spawn_elsewhere(void *arg)
{
    for (intptr_t i = 0; i < 100; i++)
        nxt_expect_eq(result_of(nx_spawn_on(arg, NULL, return_arg, (void *)i)), i);
    return 0;
}

NXT_TASK_TEST(a_task_of_one_runtime_spawns_on_another_and_joins, .workers = 2)
{
    nx_runtime *other = nxt_start(NXT_OPTIONS(.workers = 2));
    nxt_require(other);
    spawn_elsewhere(other);
    /* and from there back again, both at once */
    nx_task there = nx_spawn_on(other, NULL, spawn_elsewhere, nxt_runtime());
    nx_task here = nx_spawn(spawn_elsewhere, other);
    result_of(there);
    result_of(here);
    nxt_stop(other);
}

static intptr_t spawn_from_thread(void *arg)
{
    intptr_t sum = 0;
    for (intptr_t i = 0; i < 500; i++)
        sum += result_of(nx_spawn_on(arg, NULL, return_arg, (void *)i));
    return sum;
}

NXT_TASK_TEST(four_threads_spawn_at_once, .workers = 2)
{
    struct nxt_thread *threads[4];
    for (size_t i = 0; i < NXT_COUNT(threads); i++)
        threads[i] = nxt_thread_start(spawn_from_thread, nxt_runtime());
    for (size_t i = 0; i < NXT_COUNT(threads); i++)
        nxt_expect_eq(nxt_thread_await(threads[i]), 500 * 499 / 2);
}

static intptr_t spawn_and_join_many(void *arg)
{
    int64_t count = (intptr_t)arg;
    intptr_t sum = 0;
    for (int64_t i = 0; i < count; i++) {
        intptr_t result = -1;
        nx_task task = nx_spawn(return_arg, (void *)(intptr_t)(i & 7));
        if (task < 0 || nx_join(task, &result, NX_FOREVER) != 0 || result != (i & 7))
            return nxt_fail(__FILE__, __LINE__, "at %lld: task %lld, result %lld", (long long)i, (long long)task,
                            (long long)result);
        sum += result;
    }
    return sum;
}

NXT_TASK_TEST(a_million_tasks_are_spawned_and_joined_one_after_another)
{
    intptr_t count = nxt_scaled(1000000, 1000) & ~7;
    nxt_expect_eq(spawn_and_join_many((void *)count), count / 8 * 28);
}

NXT_TASK_TEST(tasks_are_spawned_and_joined_on_four_workers_at_once, .workers = 4)
{
    intptr_t count = nxt_scaled(50000, 1000) & ~7;
    nx_task tasks[8];
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        tasks[i] = nx_spawn_with(WITH(.flags = NX_TASK_SPREAD), spawn_and_join_many, (void *)count);
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        nxt_expect_eq(result_of(tasks[i]), count / 8 * 28);
}

NXT_TASK_TEST(many_tasks_wait_in_the_queue_and_all_run, .workers = 2)
{
    enum { TASKS = 5000 };
    nx_task *tasks = calloc(TASKS, sizeof(*tasks));
    for (intptr_t i = 0; i < TASKS; i++)
        tasks[i] = nx_spawn(return_arg, (void *)i);
    intptr_t sum = 0;
    for (intptr_t i = 0; i < TASKS; i++)
        sum += result_of(tasks[i]);
    nxt_expect_eq(sum, (intptr_t)TASKS * (TASKS - 1) / 2);
    free(tasks);
}

static intptr_t tree(void *arg)
{
    intptr_t depth = (intptr_t)arg;
    if (depth == 0)
        return 1;
    nx_task left = nx_spawn(tree, (void *)(depth - 1)), right = nx_spawn(tree, (void *)(depth - 1));
    return result_of(left) + result_of(right);
}

NXT_TASK_TEST(a_tree_of_tasks_adds_up, .workers = 4)
{
    nxt_expect_eq(tree((void *)10), 1024);
}

static intptr_t count_up(void *arg)
{
    atomic_fetch_add((atomic_int *)arg, 1);
    return 0;
}

NXT_TASK_TEST(a_task_nobody_joins_runs_and_leaves_no_id, .workers = 2)
{
    atomic_int count = 0;
    for (int i = 0; i < 1000; i++)
        nxt_expect_eq(nx_go(count_up, &count), 0);
    nxt_await(atomic_load(&count) == 1000);
}

NXT_TASK_TEST(options_that_make_no_sense_are_refused, .workers = 2)
{
    nxt_expect_eq(nx_spawn(NULL, NULL), -EINVAL);
    nxt_expect_eq(nx_go(NULL, NULL), -EINVAL);
    nxt_expect_eq(nx_spawn_on(NULL, NULL, return_arg, NULL), -EINVAL);
    nxt_expect_eq(nx_spawn_with(WITH(.flags = 0x8000), return_arg, NULL), -EINVAL);
    nxt_expect_eq(nx_spawn_with(WITH(.priority = (enum nx_priority)7), return_arg, NULL), -EINVAL);
    nxt_expect_eq(nx_spawn_with(WITH(.worker_plus_1 = 3), return_arg, NULL), -EINVAL);
    nxt_expect_eq(nx_spawn_with(WITH(.worker_plus_1 = -1), return_arg, NULL), -EINVAL);
    nxt_expect_eq(nx_spawn_with(WITH(.stack_size = SIZE_MAX / 2), return_arg, NULL), -EINVAL);
    nxt_expect_eq(nx_spawn_with(WITH(.arg_size = 8), return_arg, NULL), -EINVAL);
    nxt_expect_eq(nx_spawn_with(&(nx_task_options){.size = 0}, return_arg, NULL), -EINVAL);
    nxt_expect_eq(nx_spawn_with(&(nx_task_options){.size = SIZE_MAX}, return_arg, NULL), -EINVAL);
}

NXT_TASK_TEST(an_options_struct_of_a_newer_library_is_understood_unless_it_asks_for_something_new)
{
    struct {
        nx_task_options known;
        uint64_t unknown;
    } options = {.known = {.size = sizeof(options)}};
    intptr_t result = 0;
    nx_task task = nx_spawn_with(&options.known, return_arg, (void *)5);
    nxt_expect_eq(nx_join(task, &result, NX_FOREVER), 0);
    nxt_expect_eq(result, 5);
    options.unknown = 1;
    nxt_expect_eq(nx_spawn_with(&options.known, return_arg, NULL), -EINVAL);
}

NXT_TASK_TEST(an_options_struct_of_an_older_library_is_understood)
{
    /* it ended after name; what lies behind is not ours to read */
    nx_task_options options = {.name = "old", .flags = 0xffff, .worker_plus_1 = 1000};
    options.size = offsetof(nx_task_options, stack_size);
    nxt_expect_eq(result_of(nx_spawn_with(&options, return_arg, (void *)5)), 5);
}

/* ---- arguments ---- */

static intptr_t add_bytes(void *arg)
{
    const unsigned char *bytes = arg; /* the first two are the length */
    size_t length = (size_t)bytes[0] | (size_t)bytes[1] << 8;
    intptr_t sum = 0;
    for (size_t i = 2; i < length; i++)
        sum += bytes[i];
    return (intptr_t)nxt_check_fill(bytes + 2, length - 2, 0, (uint32_t)length) == (intptr_t)length - 2 ? sum : -1;
}

static void check_copied(size_t size, unsigned flags)
{
    static unsigned char buffer[5000];
    intptr_t sum = 0;
    buffer[0] = (unsigned char)size;
    buffer[1] = (unsigned char)(size >> 8);
    nxt_fill(buffer + 2, size - 2, 0, (uint32_t)size);
    for (size_t i = 2; i < size; i++)
        sum += buffer[i];
    nx_task task = nx_spawn_with(WITH(.arg_size = size, .flags = flags), add_bytes, buffer);
    memset(buffer, 0xff, size);
    nxt_expect_eq(result_of(task), sum);
}

NXT_TASK_TEST(a_copied_argument_is_the_tasks_own_whatever_becomes_of_the_callers, .workers = 2)
{
    static const size_t sizes[] = {2, 3, 8, 47, 48, 49, 64, 1000, 5000};
    for (size_t i = 0; i < NXT_COUNT(sizes); i++) {
        check_copied(sizes[i], 0);
        check_copied(sizes[i], NX_TASK_SPREAD);
    }
}

static intptr_t free_arg(void *arg)
{
    atomic_int *counter = *(atomic_int **)arg;
    free(arg);
    atomic_fetch_add(counter, 1);
    return nx_cancelled();
}

NXT_TASK_TEST(ten_thousand_tasks_cancelled_before_they_start_still_run_and_free_their_argument)
{
    int count = (int)nxt_scaled(10000, 500);
    atomic_int freed = 0;
    size_t bytes = nxi_live_bytes();
    nx_task *tasks = calloc((size_t)count, sizeof(*tasks));
    for (int i = 0; i < count; i++) {
        atomic_int **arg = malloc(sizeof(*arg));
        *arg = &freed;
        tasks[i] = nx_spawn(free_arg, arg);
        nxt_expect_gt(tasks[i], 0);
    }
    for (int i = 0; i < count; i++)
        nxt_expect_eq(nx_cancel(tasks[i]), 0);
    int cancelled = 0;
    for (int i = 0; i < count; i++)
        cancelled += result_of(tasks[i]) == 1;
    nxt_expect_eq(atomic_load(&freed), count);
    nxt_expect_eq(cancelled, count); /* no other worker could start one before */
    nxt_expect_eq(nxi_live_bytes(), bytes);
    free(tasks);
}

static intptr_t look_at_copy(void *arg)
{
    return *(const unsigned char *)arg == 0x5a && nx_cancelled();
}

NXT_TASK_TEST(a_task_cancelled_before_it_starts_has_its_copied_argument)
{
    unsigned char small[48], large[400];
    memset(small, 0x5a, sizeof(small));
    memset(large, 0x5a, sizeof(large));
    size_t bytes = nxi_live_bytes();
    nx_task first = nx_spawn_with(WITH(.arg_size = sizeof(small)), look_at_copy, small);
    nx_task second = nx_spawn_with(WITH(.arg_size = sizeof(large)), look_at_copy, large);
    nxt_expect_eq(nx_cancel(first), 0);
    nxt_expect_eq(nx_cancel(second), 0);
    nxt_expect_eq(result_of(first), 1);
    nxt_expect_eq(result_of(second), 1);
    nxt_expect_eq(nxi_live_bytes(), bytes);
}

/* ---- stacks ---- */

static __attribute__((noinline)) intptr_t touch_deep(size_t size)
{
    volatile char *bytes = __builtin_alloca(size);
    for (size_t i = 0; i < size; i += 512)
        bytes[i] = 1;
    return bytes[size - 512 - size % 512];
}

static intptr_t use_stack(void *arg)
{
    return touch_deep((size_t)(uintptr_t)arg);
}

NXT_TASK_TEST(a_task_has_the_stack_it_asked_for, .workers = 2)
{
    for (size_t size = 128 << 10; size <= 8u << 20; size *= 2)
        nxt_expect_eq(result_of(nx_spawn_with(WITH(.stack_size = size), use_stack, (void *)(size - (size >> 2)))), 1);
}

static intptr_t keep_stack(void *arg)
{
    unsigned char mine[2048];
    uint32_t seed = (uint32_t)(uintptr_t)arg;
    nxt_fill(mine, sizeof(mine), 0, seed);
    for (int i = 0; i < 5; i++) {
        nx_yield();
        if (nxt_check_fill(mine, sizeof(mine), 0, seed) != sizeof(mine))
            return 1;
        nx_sleep_until(nx_after_ns(1000));
    }
    return 0;
}

NXT_TASK_TEST(no_task_writes_into_the_stack_of_another, .workers = 4)
{
    nx_task tasks[200];
    for (uintptr_t i = 0; i < NXT_COUNT(tasks); i++)
        tasks[i] = nx_spawn_with(WITH(.flags = NX_TASK_SPREAD), keep_stack, (void *)(i + 1));
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        nxt_expect_eq(result_of(tasks[i]), 0);
}

/* ---- names ---- */

static intptr_t wait_for_flag(void *arg)
{
    nxt_await(atomic_load((atomic_bool *)arg));
    return 0;
}

static intptr_t read_names(void *arg)
{
    nx_task task = *(nx_task *)arg;
    char name[64];
    nxt_expect_eq(nx_task_name(task, name, sizeof(name)), 9);
    nxt_expect_str(name, "the-other");
    return 0;
}

NXT_TASK_TEST(a_name_is_read_from_the_task_itself_other_tasks_and_threads, .workers = 2)
{
    atomic_bool go_on = false;
    char name[64] = "";
    nxt_expect_eq(nx_task_name(nx_self(), name, sizeof(name)), 4);
    nxt_expect_str(name, "main");
    nx_task task = nx_spawn_with(WITH(.name = "the-other"), wait_for_flag, &go_on);
    read_names(&task);
    nx_yield();
    read_names(&task);
    nxt_thread_await(nxt_thread_start(read_names, &task));
    atomic_store(&go_on, true);
    result_of(task);
    nxt_expect_eq(nx_task_name(task, name, sizeof(name)), -ESRCH);
}

NXT_TASK_TEST(a_name_is_copied_and_cut_to_63_bytes, .workers = 2)
{
    char given[100], name[128];
    memset(given, 'x', sizeof(given));
    given[99] = '\0';
    nx_task task = nx_spawn_with(WITH(.name = given), return_arg, NULL);
    given[0] = 'y';
    memset(name, 'z', sizeof(name));
    nxt_expect_eq(nx_task_name(task, name, sizeof(name)), 63);
    nxt_expect_eq(strlen(name), 63);
    nxt_expect_eq(strspn(name, "x"), 63);
    /* the caller's buffer cuts it too, and the length is the whole name's */
    nxt_expect_eq(nx_task_name(task, name, 5), 63);
    nxt_expect_str(name, "xxxx");
    result_of(task);
}

NXT_TASK_TEST(a_task_without_a_name_has_one_of_length_0)
{
    char name[8] = "?";
    nx_task task = nx_spawn(return_arg, NULL);
    nxt_expect_eq(nx_task_name(task, name, sizeof(name)), 0);
    nxt_expect_str(name, "");
    result_of(task);
}

/* A reader while tasks of this name come and go: the name or no task, never another text. */
struct name_race {
    _Atomic nx_task task;
    atomic_bool stop;
};

static intptr_t read_names_for_ever(void *arg)
{
    struct name_race *race = arg;
    intptr_t seen = 0;
    while (!atomic_load(&race->stop)) {
        char name[64] = "";
        int length = nx_task_name(atomic_load(&race->task), name, sizeof(name));
        if (length == -ESRCH)
            continue;
        seen++;
        nxt_expect_eq(length, 11);
        nxt_expect_str(name, "come-and-go");
        if (nxt_failures() > 0)
            break;
    }
    return seen;
}

NXT_TASK_TEST(a_name_read_while_its_task_ends_is_whole_or_gone, .workers = 2)
{
    struct name_race race = {.task = 0};
    struct nxt_thread *reader = nxt_thread_start(read_names_for_ever, &race);
    for (int i = 0; i < nxt_scaled(20000, 1000); i++) {
        nx_task task = nx_spawn_with(WITH(.name = "come-and-go"), return_arg, NULL);
        atomic_store(&race.task, task);
        result_of(task);
    }
    atomic_store(&race.stop, true);
    nxt_thread_await(reader);
}

/* ---- defers ---- */

struct trace {
    char text[32];
    size_t length;
};

static struct trace *traced;

static void append(void *arg)
{
    traced->text[traced->length++] = *(const char *)arg;
}

static void append_after_parking(void *arg)
{
    nxt_expect_eq(nx_sleep_ms(1), 0);
    nx_yield();
    append(arg);
}

static void defer_more(void *arg)
{
    append(arg);
    nxt_expect_eq(nx_defer(append, "m"), 0);
}

static intptr_t defer_some(void *arg)
{
    (void)arg;
    nxt_expect_eq(nx_defer(append, "a"), 0);
    nxt_expect_eq(nx_defer(append_after_parking, "b"), 0);
    nxt_expect_eq(nx_defer(defer_more, "c"), 0);
    nxt_expect_eq(nx_defer(append, "d"), 0);
    nxt_expect_eq(traced->length, 0);
    return 3;
}

NXT_TASK_TEST(deferred_functions_run_last_first_at_the_end_and_may_park_and_defer, .workers = 2)
{
    struct trace trace = {.length = 0};
    traced = &trace;
    nxt_expect_eq(result_of(nx_spawn(defer_some, NULL)), 3);
    nxt_expect_str(trace.text, "dcmba"); /* the result was there only when they had run */
}

static intptr_t defer_many(void *arg)
{
    for (int i = 0; i < 1000; i++)
        nxt_expect_eq(nx_defer((void (*)(void *))free, malloc(8)), 0);
    return (intptr_t)arg;
}

NXT_TASK_TEST(a_task_may_defer_a_thousand_times)
{
    nxt_expect_eq(result_of(nx_spawn(defer_many, (void *)2)), 2);
    nxt_expect_eq(nx_defer(NULL, NULL), -EINVAL);
}

/* ---- task-local values ---- */

static atomic_int destroyed;

static void destroy(void *value)
{
    atomic_fetch_add(&destroyed, (int)(intptr_t)value);
}

static nx_local_key key_with_destructor(void)
{
    static nx_local_key key;
    static bool made;
    if (!made)
        made = nxt_expect_eq(nx_local_key_create(destroy, &key), 0); /* by the first caller, before there are others */
    return key;
}

static nx_local_key plain_key(void)
{
    static nx_local_key key;
    static bool made;
    if (!made)
        made = nxt_expect_eq(nx_local_key_create(NULL, &key), 0); /* by the first caller, before there are others */
    return key;
}

static intptr_t keep_values(void *arg)
{
    nx_local_key plain = plain_key(), destructing = key_with_destructor();
    nxt_expect(nx_local_get(plain) == NULL && nx_local_get(destructing) == NULL);
    nxt_expect_eq(nx_local_set(plain, arg), 0);
    nxt_expect_eq(nx_local_set(destructing, (void *)1), 0);
    for (int i = 0; i < 10; i++) {
        nx_yield();
        nxt_expect(nx_local_get(plain) == arg);
    }
    nxt_expect_eq(nx_local_set(destructing, (void *)(intptr_t)((intptr_t)arg & 1 ? 10 : 0)), 0);
    return 0;
}

NXT_TASK_TEST(each_task_has_its_own_values_and_destructors_run_for_those_that_are_set, .workers = 2)
{
    nx_task tasks[50];
    plain_key();
    key_with_destructor();
    atomic_store(&destroyed, 0);
    for (uintptr_t i = 0; i < NXT_COUNT(tasks); i++)
        tasks[i] = nx_spawn(keep_values, (void *)(i + 1));
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        result_of(tasks[i]);
    nxt_expect_eq(atomic_load(&destroyed), 250);
    nxt_expect(nx_local_get(plain_key()) == NULL);
}

static nx_local_key resetting_key;
static int reset_count;

static void set_again(void *value)
{
    (void)value;
    if (++reset_count < 3)
        nxt_expect_eq(nx_local_set(resetting_key, &reset_count), 0);
}

static intptr_t set_resetting(void *arg)
{
    (void)arg;
    nxt_expect_eq(nx_local_set(resetting_key, &reset_count), 0);
    return 0;
}

NXT_TASK_TEST(a_destructor_that_sets_a_value_is_called_again)
{
    reset_count = 0;
    nxt_expect_eq(nx_local_key_create(set_again, &resetting_key), 0);
    result_of(nx_spawn(set_resetting, NULL));
    nxt_expect_eq(reset_count, 3);
}

static int use_up_keys(void)
{
    nx_local_key key, made = 0;
    int error;
    while ((error = nx_local_key_create(NULL, &key)) == 0)
        made++;
    nxt_expect_eq(error, -EAGAIN);
    nxt_expect_eq(made, 64);
    key = 12345;
    nxt_expect_eq(nx_local_key_create(NULL, &key), -EAGAIN);
    nxt_expect_eq(key, 12345);
    return 0;
}

NXT_CHILD(keys_run_out)
{
    return use_up_keys();
}

NXT_TEST(there_are_64_keys_and_then_an_error)
{
    static struct nxt_output output;
    nxt_run_child(keys_run_out, NULL, &output);
    nxt_expect_eq(output.status, 0);
}

NXT_TASK_TEST(a_key_that_was_not_made_is_refused)
{
    nxt_expect_eq(nx_local_set(63, (void *)1), -EINVAL);
    nxt_expect_eq(nx_local_set(1u << 20, (void *)1), -EINVAL);
    nxt_expect(nx_local_get(1u << 20) == NULL);
}
