/* test_fiber.c: switching stacks. Fibers only record; the thread's own stack asserts. */
#define _GNU_SOURCE

#include "fiber.h"

#include <execinfo.h>
#include <fenv.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef VALGRIND_STACK_REGISTER
#define VALGRIND_STACK_REGISTER(low, high) 0
#define VALGRIND_STACK_DEREGISTER(id) ((void)(id))
#endif

#define STACK_BYTES ((size_t)256 << 10)
#define FIBERS 16

struct task {
    struct nxi_fiber fiber;
    struct nxi_fiber *home;
    char *stack;
    unsigned valgrind_id;
    int steps;
    int wanted_steps;
    uint64_t sum;
};

static void task_init(struct task *task, struct nxi_fiber *home, nxi_fiber_fn *entry)
{
    memset(task, 0, sizeof(*task));
    task->home = home;
    task->stack =
        mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
    assert_true(task->stack != MAP_FAILED);
    task->valgrind_id =
        VALGRIND_STACK_REGISTER(task->stack, task->stack + STACK_BYTES - 1); /* as nxi_stack_get() does */
    nxi_fiber_make(&task->fiber, task->stack, task->stack + STACK_BYTES, entry, task);
}

static void task_free(struct task *task)
{
    nxi_fiber_forget(&task->fiber);
    VALGRIND_STACK_DEREGISTER(task->valgrind_id);
    munmap(task->stack, STACK_BYTES);
}

static struct nxi_fiber *count_steps(void *arg)
{
    struct task *task = arg;

    while (task->steps < task->wanted_steps) {
        task->steps++;
        nxi_fiber_switch(&task->fiber, task->home);
    }
    nxi_fiber_leave(&task->fiber, task->home);
}

/* The same, but it ends by returning where to go on, to whoever has come last. */
static struct nxi_fiber *count_and_return(void *arg)
{
    struct task *task = arg;

    while (task->steps < task->wanted_steps) {
        task->steps++;
        nxi_fiber_switch(&task->fiber, task->home);
    }
    return task->home;
}

static void a_fiber_that_returns_goes_on_with_what_it_returned(void **state)
{
    struct nxi_fiber home;
    struct task made, entered;

    (void)state;
    nxi_fiber_thread(&home);
    for (unsigned steps = 0; steps < 3; steps++) {
        task_init(&made, &home, count_and_return);
        task_init(&entered, &home, count_and_return);
        made.wanted_steps = entered.wanted_steps = steps;
        nxi_fiber_switch(&home, &made.fiber);
        nxi_fiber_enter_new(&home, &entered.fiber, entered.stack, entered.stack + STACK_BYTES, count_and_return,
                            &entered);
        for (unsigned i = 0; i < steps; i++) {
            assert_int_equal(made.steps, i + 1);
            assert_int_equal(entered.steps, i + 1);
            nxi_fiber_switch(&home, &made.fiber);
            nxi_fiber_switch(&home, &entered.fiber);
        }
        assert_int_equal(made.steps, steps);
        assert_int_equal(entered.steps, steps);
        task_free(&made);
        task_free(&entered);
    }
    nxi_fiber_thread_done(&home);
}

static void a_fiber_runs_between_switches_and_leaves_once(void **state)
{
    struct nxi_fiber home;
    struct task task;

    (void)state;
    nxi_fiber_thread(&home);
    task_init(&task, &home, count_steps);
    task.wanted_steps = 3;
    assert_int_equal(task.steps, 0);
    for (int i = 1; i <= 3; i++) {
        nxi_fiber_switch(&home, &task.fiber);
        assert_int_equal(task.steps, i);
    }
    nxi_fiber_switch(&home, &task.fiber); /* comes back by the leave */
    assert_int_equal(task.steps, 3);
    task_free(&task);
    nxi_fiber_thread_done(&home);
}

/* Enough live values of both kinds that the compiler has to keep some in every callee-saved register. */
__attribute__((noinline)) static uint64_t mix(struct task *task, uint64_t salt)
{
    volatile uint64_t in = salt;
    uint64_t a = in + 1, b = in + 2, c = in + 3, d = in + 4, e = in + 5, f = in + 6, g = in + 7, h = in + 8, i = in + 9,
             j = in + 10, k = in + 11, l = in + 12;
    volatile double real = (double)salt;
    double p = real + 1, q = real + 2, r = real + 3, s = real + 4, t = real + 5, u = real + 6, v = real + 7,
           w = real + 8;

    for (int n = 0; n < 100; n++) {
        nxi_fiber_switch(&task->fiber, task->home);
        a += b, b += c, c += d, d += e, e += f, f += g, g += h, h += i, i += j, j += k, k += l, l += a;
        p += q, q += r, r += s, s += t, t += u, u += v, v += w, w += 1;
    }
    return a ^ b ^ c ^ d ^ e ^ f ^ g ^ h ^ i ^ j ^ k ^ l ^ (uint64_t)(p + q + r + s + t + u + v + w);
}

static struct nxi_fiber *run_mix(void *arg)
{
    struct task *task = arg;

    task->sum = mix(task, (uint64_t)task->wanted_steps);
    nxi_fiber_leave(&task->fiber, task->home);
}

static void every_register_a_call_keeps_survives_switches(void **state)
{
    struct nxi_fiber home;
    struct task tasks[FIBERS];

    (void)state;
    nxi_fiber_thread(&home);
    for (int i = 0; i < FIBERS; i++) {
        task_init(&tasks[i], &home, run_mix);
        tasks[i].wanted_steps = i / 2; /* pairs must agree */
    }
    for (int n = 0; n <= 100; n++)
        for (int i = 0; i < FIBERS; i++)
            nxi_fiber_switch(&home, &tasks[i].fiber);
    for (int i = 0; i < FIBERS; i += 2) {
        assert_int_equal(tasks[i].sum, tasks[i + 1].sum);
        if (i > 0)
            assert_int_not_equal(tasks[i].sum, tasks[i - 1].sum);
    }
    for (int i = 0; i < FIBERS; i++)
        task_free(&tasks[i]);
    nxi_fiber_thread_done(&home);
}

struct ring {
    struct task *tasks;
    int turns;
};

static struct ring ring;

/* Each switches to its neighbour directly; the last turn goes home. */
static struct nxi_fiber *pass_round(void *arg)
{
    struct task *task = arg;
    int index = (int)(task - ring.tasks);

    while (ring.turns > 0) {
        ring.turns--;
        task->steps++;
        nxi_fiber_switch(&task->fiber, &ring.tasks[(index + 1) % FIBERS].fiber);
    }
    if (index + 1 < FIBERS)
        nxi_fiber_leave(&task->fiber, &ring.tasks[index + 1].fiber);
    nxi_fiber_leave(&task->fiber, task->home);
}

static void fibers_switch_to_each_other_directly(void **state)
{
    struct nxi_fiber home;
    struct task tasks[FIBERS];

    (void)state;
    nxi_fiber_thread(&home);
    for (int i = 0; i < FIBERS; i++)
        task_init(&tasks[i], &home, pass_round);
    ring = (struct ring){.tasks = tasks, .turns = FIBERS * 100};
    nxi_fiber_switch(&home, &tasks[0].fiber);
    for (int i = 0; i < FIBERS; i++) {
        assert_int_equal(tasks[i].steps, 100);
        task_free(&tasks[i]);
    }
    nxi_fiber_thread_done(&home);
}

/* The same memory many times over, as a cache of stacks does: sanitizers must not remember the last owner. */
static struct nxi_fiber *touch_deep(void *arg)
{
    struct task *task = arg;
    volatile char frame[20000];

    for (size_t i = 0; i < sizeof(frame); i += 64)
        frame[i] = (char)i;
    task->sum += (uint64_t)frame[64] + 1;
    nxi_fiber_leave(&task->fiber, task->home);
}

static void a_stack_can_be_used_again_after_the_leave(void **state)
{
    struct nxi_fiber home;
    struct task task;

    (void)state;
    nxi_fiber_thread(&home);
    task_init(&task, &home, touch_deep);
    for (int i = 0; i < 200; i++) {
        nxi_fiber_switch(&home, &task.fiber);
        nxi_fiber_forget(&task.fiber);
#ifdef NXI_ASAN
        void __asan_unpoison_memory_region(void const volatile *address, size_t size); /* as nxi_stack_put() does */
        __asan_unpoison_memory_region(task.stack, STACK_BYTES);
#endif
        nxi_fiber_make(&task.fiber, task.stack, task.stack + STACK_BYTES, touch_deep, &task);
    }
    assert_int_equal(task.sum, 200 * 65);
    task_free(&task);
    nxi_fiber_thread_done(&home);
}

static void a_fiber_made_but_never_run_can_be_forgotten(void **state)
{
    struct nxi_fiber home;
    struct task task;

    (void)state;
    nxi_fiber_thread(&home);
    task_init(&task, &home, count_steps);
    task_free(&task);
    nxi_fiber_thread_done(&home);
    assert_int_equal(task.steps, 0);
}

#if defined(__x86_64__) || defined(__aarch64__)

static struct nxi_fiber *note_alignment(void *arg)
{
    struct task *task = arg;

    /* the caller's stack pointer at the call is a multiple of 16: two words above the saved frame pointer */
    task->sum = ((uint64_t)(uintptr_t)__builtin_frame_address(0)) % 16;
    nxi_fiber_leave(&task->fiber, task->home);
}

static void a_fiber_starts_on_an_aligned_stack_whatever_the_top(void **state)
{
    struct nxi_fiber home;
    struct task task;

    (void)state;
    nxi_fiber_thread(&home);
    for (size_t off = 0; off < 64; off += 8) {
        task_init(&task, &home, note_alignment);
        nxi_fiber_make(&task.fiber, task.stack, task.stack + STACK_BYTES - off, note_alignment, &task);
        nxi_fiber_switch(&home, &task.fiber);
        assert_int_equal(task.sum, 0);
        task_free(&task);
    }
    nxi_fiber_thread_done(&home);
}

#endif

static void *frames[64];
static int frame_count;

__attribute__((noinline)) static struct nxi_fiber *take_backtrace(void *arg)
{
    struct task *task = arg;

    frame_count = backtrace(frames, 64);
    nxi_fiber_leave(&task->fiber, task->home);
}

static void a_backtrace_ends_at_the_fibers_entry(void **state)
{
    struct nxi_fiber home;
    struct task task;

    (void)state;
    nxi_fiber_thread(&home);
    frame_count = backtrace(frames, 1); /* loads the unwinder while the stack is the thread's */
    task_init(&task, &home, take_backtrace);
    nxi_fiber_switch(&home, &task.fiber);
    assert_true(frame_count >= 1);
    assert_true(frame_count <= 5); /* take_backtrace, the entry, and a sanitizer's frames */
    task_free(&task);
    nxi_fiber_thread_done(&home);
}

/* A fiber started on one thread goes on on another: with it go its registers and nothing of the thread. */
static void *run_one_step(void *arg)
{
    struct task *task = arg;
    struct nxi_fiber home;

    nxi_fiber_thread(&home);
    task->home = &home;
    nxi_fiber_switch(&home, &task->fiber);
    nxi_fiber_thread_done(&home);
    return NULL;
}

static void a_parked_fiber_goes_on_on_another_thread(void **state)
{
    struct task task;

    (void)state;
    task_init(&task, NULL, count_steps);
    task.wanted_steps = 4;
    for (int i = 0; i < 5; i++) {
        pthread_t thread;

        assert_int_equal(pthread_create(&thread, NULL, run_one_step, &task), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    assert_int_equal(task.steps, 4);
    task_free(&task);
}

#if !defined(NXI_FIBER_UCONTEXT)

static struct nxi_fiber *round_upward(void *arg)
{
    struct task *task = arg;

    fesetround(FE_UPWARD);
    nxi_fiber_leave(&task->fiber, task->home);
}

static void the_control_words_belong_to_the_thread_and_fpenv_keeps_them(void **state)
{
    struct nxi_fiber home;
    struct task task;
    struct nxi_fpenv before;

    (void)state;
    nxi_fiber_thread(&home);
    nxi_fpenv_get(&before);
    task_init(&task, &home, round_upward);
    nxi_fiber_switch(&home, &task.fiber);
    assert_int_equal(fegetround(), FE_UPWARD);
    nxi_fpenv_set(&before);
    assert_int_equal(fegetround(), FE_TONEAREST);
    fesetround(FE_DOWNWARD);
    nxi_fpenv_set(&nxi_fpenv_default);
    assert_int_equal(fegetround(), FE_TONEAREST);
    task_free(&task);
    nxi_fiber_thread_done(&home);
}

#endif

#if !defined(NXI_ASAN) && !defined(NXI_TSAN)
static void a_fiber_is_one_pointer(void **state)
{
    (void)state;
    assert_int_equal(sizeof(struct nxi_fiber), sizeof(void *));
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fiber_runs_between_switches_and_leaves_once),
        cmocka_unit_test(a_fiber_that_returns_goes_on_with_what_it_returned),
        cmocka_unit_test(every_register_a_call_keeps_survives_switches),
        cmocka_unit_test(fibers_switch_to_each_other_directly),
        cmocka_unit_test(a_stack_can_be_used_again_after_the_leave),
        cmocka_unit_test(a_fiber_made_but_never_run_can_be_forgotten),
#if defined(__x86_64__) || defined(__aarch64__)
        cmocka_unit_test(a_fiber_starts_on_an_aligned_stack_whatever_the_top),
#endif
        cmocka_unit_test(a_backtrace_ends_at_the_fibers_entry),
        cmocka_unit_test(a_parked_fiber_goes_on_on_another_thread),
#if !defined(NXI_FIBER_UCONTEXT)
        cmocka_unit_test(the_control_words_belong_to_the_thread_and_fpenv_keeps_them),
#endif
#if !defined(NXI_ASAN) && !defined(NXI_TSAN)
        cmocka_unit_test(a_fiber_is_one_pointer),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
