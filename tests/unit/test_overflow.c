/* test_overflow.c: what a stack overflow, and any other fault, looks like from outside: each in a child process. */
#define _GNU_SOURCE

#include "fiber.h"
#include "overflow.h"
#include "stack.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define SENTENCE "nexus: task 'greedy' (spawned at here.c:1) overflowed its 64 KiB stack\n"

static struct nxi_stack_cache cache;
static struct nxi_fiber home, fiber;

/* A child's end: how it died, and what it said. */
struct end {
    int status;
    char text[16384];
};

static void run_child(void (*body)(void), struct end *ret_end)
{
    int ends[2];
    size_t length = 0;
    ssize_t count;
    pid_t child;

    memset(ret_end, 0, sizeof(*ret_end));
    assert_int_equal(pipe(ends), 0);
    child = fork();
    assert_int_not_equal(child, -1);
    if (child == 0) {
        struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGSEGV, SIG_DFL); /* CMocka's */
        signal(SIGBUS, SIG_DFL);
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        body();
        _exit(0);
    }
    close(ends[1]);
    while (length < sizeof(ret_end->text) - 1 &&
           (count = read(ends[0], ret_end->text + length, sizeof(ret_end->text) - 1 - length)) > 0)
        length += (size_t)count;
    close(ends[0]);
    assert_int_equal(waitpid(child, &ret_end->status, 0), child);
}

static size_t describe(char *buf, size_t size)
{
    static const char text[] = "task 'greedy' (spawned at here.c:1)";

    if (size < sizeof(text))
        return 0;
    memcpy(buf, text, sizeof(text) - 1);
    return sizeof(text) - 1;
}

static uint64_t depth_max = UINT64_MAX;

__attribute__((noinline)) static uint64_t recurse(uint64_t depth)
{
    volatile char frame[200];

    frame[depth % sizeof(frame)] = 1;
    if (depth == depth_max)
        return 0;
    return recurse(depth + 1) + (uint64_t)frame[depth % sizeof(frame)];
}

static struct nxi_fiber *overflow(void *arg)
{
    (void)arg;
    recurse(0);
    nxi_fiber_leave(&fiber, &home);
}

static void run_fiber(nxi_fiber_fn *entry)
{
    struct nxi_stack *stack;

    nxi_stacks_init();
    stack = nxi_stack_get(&cache, 64 << 10);
    nxi_fiber_thread(&home);
    nxi_fiber_make(&fiber, nxi_stack_low(stack), nxi_stack_top(stack), entry, NULL);
    nxi_fiber_switch(&home, &fiber);
}

static void begin(void)
{
    nxi_overflow_set_describe(describe);
    if (nxi_overflow_install(false) != 0 || nxi_overflow_thread() != 0)
        _exit(70);
}

static void overflow_in_a_task(void)
{
    begin();
    run_fiber(overflow);
}

static void an_overflow_is_named_and_kills_with_sigsegv(void **state)
{
    struct end end;

    (void)state;
    run_child(overflow_in_a_task, &end);
    assert_non_null(strstr(end.text, SENTENCE));
    assert_non_null(strstr(end.text, "stack_size"));
    assert_true(WIFSIGNALED(end.status));
    assert_int_equal(WTERMSIG(end.status), SIGSEGV);
}

static void overflow_unnamed(void)
{
    begin();
    nxi_overflow_set_describe(NULL);
    run_fiber(overflow);
}

static void an_overflow_of_nobody_known_is_a_tasks(void **state)
{
    struct end end;

    (void)state;
    run_child(overflow_unnamed, &end);
    assert_non_null(strstr(end.text, "nexus: a task overflowed its 64 KiB stack\n"));
}

static void *overflow_on_this_thread(void *arg)
{
    (void)arg;
    if (nxi_overflow_thread() != 0)
        _exit(70);
    run_fiber(overflow);
    return NULL;
}

static void overflow_on_a_worker(void)
{
    pthread_t thread;

    nxi_overflow_set_describe(describe);
    nxi_overflow_install(false);
    pthread_create(&thread, NULL, overflow_on_this_thread, NULL);
    pthread_join(thread, NULL);
}

static void an_overflow_on_another_thread_is_named_too(void **state)
{
    struct end end;

    (void)state;
    run_child(overflow_on_a_worker, &end);
    assert_non_null(strstr(end.text, SENTENCE));
    assert_int_equal(WTERMSIG(end.status), SIGSEGV);
}

static void write_to_null(void)
{
    volatile char *volatile nowhere = (char *)8;

    begin();
    *nowhere = 1;
}

static void any_other_fault_is_as_if_the_handler_were_not_there(void **state)
{
    struct end end;

    (void)state;
    run_child(write_to_null, &end);
    assert_null(strstr(end.text, "nexus:"));
    assert_true(WIFSIGNALED(end.status));
    assert_int_equal(WTERMSIG(end.status), SIGSEGV);
}

static void read_past_the_end_of_a_file(void)
{
    FILE *file = tmpfile();
    volatile char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fileno(file), 0);

    begin();
    (void)*page;
}

static void a_bus_error_stays_a_bus_error(void **state)
{
    struct end end;

    (void)state;
    run_child(read_past_the_end_of_a_file, &end);
    assert_null(strstr(end.text, "nexus:"));
    assert_true(WIFSIGNALED(end.status));
    assert_int_equal(WTERMSIG(end.status), SIGBUS);
}

static void signal_self(void)
{
    begin();
    raise(SIGSEGV);
}

static void a_sent_signal_still_kills(void **state)
{
    struct end end;

    (void)state;
    run_child(signal_self, &end);
    assert_null(strstr(end.text, "nexus:"));
    assert_true(WIFSIGNALED(end.status));
    assert_int_equal(WTERMSIG(end.status), SIGSEGV);
}

static volatile char *mendable;
static volatile int mended_count;

static void mend(int signo, siginfo_t *info, void *context)
{
    (void)signo;
    (void)context;
    if (info->si_addr == (void *)mendable) {
        mprotect((void *)mendable, 4096, PROT_READ | PROT_WRITE);
        mended_count++;
    } else {
        static const char text[] = "the old handler saw it\n";
        ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);

        (void)ignored;
        _exit(42);
    }
}

static void install_mend(void)
{
    struct sigaction action = {.sa_sigaction = mend, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    sigaction(SIGSEGV, &action, NULL);
    mendable = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void fault_and_mend_twice(void)
{
    install_mend();
    begin();
    mendable[0] = 1;
    mprotect((void *)mendable, 4096, PROT_NONE);
    mendable[0] = 2;
    _exit(mended_count == 2 && mendable[0] == 2 ? 0 : 1);
}

static void a_handler_that_was_there_first_still_mends_its_faults(void **state)
{
    struct end end;

    (void)state;
    run_child(fault_and_mend_twice, &end);
    assert_true(WIFEXITED(end.status));
    assert_int_equal(WEXITSTATUS(end.status), 0);
    assert_string_equal(end.text, "");
}

static void overflow_before_an_old_handler(void)
{
    install_mend();
    begin();
    run_fiber(overflow);
}

static void a_handler_that_was_there_first_gets_the_overflow_after_the_sentence(void **state)
{
    struct end end;

    (void)state;
    run_child(overflow_before_an_old_handler, &end);
    assert_non_null(strstr(end.text, SENTENCE));
    assert_non_null(strstr(end.text, "the old handler saw it\n"));
    assert_true(WIFEXITED(end.status));
    assert_int_equal(WEXITSTATUS(end.status), 42);
}

static void overflow_left_alone(void)
{
    struct sigaction now;

    nxi_overflow_install(true);
    sigaction(SIGSEGV, NULL, &now);
    if (now.sa_handler != SIG_DFL)
        _exit(1);
    run_fiber(overflow);
}

static void die_of_it(void)
{
    raise(SIGSEGV);
}

static void left_alone_the_disposition_stays(void **state)
{
    struct end end;

    (void)state;
    run_child(die_of_it, &end);
    if (end.text[0]) {
        print_message("skipped: whoever runs this program has something to say itself: %s\n", end.text);
        skip();
    }
    run_child(overflow_left_alone, &end);
    assert_true(WIFSIGNALED(end.status));
    assert_int_equal(WTERMSIG(end.status), SIGSEGV);
    assert_string_equal(end.text, "");
}

static bool is_default(int signo)
{
    struct sigaction now;

    return sigaction(signo, NULL, &now) == 0 && now.sa_handler == SIG_DFL;
}

static void install_twice_remove_twice(void)
{
    begin();
    nxi_overflow_install(false);
    nxi_overflow_remove();
    if (is_default(SIGSEGV) || is_default(SIGBUS))
        _exit(1);
    nxi_overflow_remove();
    if (!is_default(SIGSEGV) || !is_default(SIGBUS))
        _exit(2);
    nxi_overflow_remove();
    nxi_overflow_install(false);
    install_mend(); /* somebody after us: theirs stays */
    nxi_overflow_remove();
    mendable[0] = 1;
    _exit(mended_count == 1 ? 0 : 3);
}

static void the_last_remove_puts_back_what_was_there(void **state)
{
    struct end end;

    (void)state;
    run_child(install_twice_remove_twice, &end);
    assert_true(WIFEXITED(end.status));
    assert_int_equal(WEXITSTATUS(end.status), 0);
}

static void *signal_stack_comes_and_goes(void *arg)
{
    stack_t stack;
    uintptr_t failed = 0;

    (void)arg;
    sigaltstack(NULL, &stack);
    if (stack.ss_flags & SS_DISABLE) { /* else a sanitizer gave it one */
        failed |= nxi_overflow_thread() != 0;
        sigaltstack(NULL, &stack);
        failed |= (stack.ss_flags & SS_DISABLE) != 0 || stack.ss_size < 16384;
        nxi_overflow_thread_done();
        sigaltstack(NULL, &stack);
        failed |= (stack.ss_flags & SS_DISABLE) == 0;
    }
    return (void *)failed;
}

static void *own_signal_stack_stays(void *arg)
{
    static char memory[65536];
    stack_t stack = {.ss_sp = memory, .ss_size = sizeof(memory)};
    stack_t before, after;
    uintptr_t failed = 0;

    (void)arg;
    sigaltstack(&stack, &before);
    failed |= nxi_overflow_thread() != 0;
    nxi_overflow_thread_done();
    sigaltstack(&before, &after);
    failed |= after.ss_sp != memory;
    return (void *)failed;
}

static void a_thread_gets_a_signal_stack_only_if_it_has_none(void **state)
{
    void *(*bodies[])(void *) = {signal_stack_comes_and_goes, own_signal_stack_stays};

    (void)state;
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        void *failed;

        assert_int_equal(pthread_create(&thread, NULL, bodies[i], NULL), 0);
        pthread_join(thread, &failed);
        assert_null(failed);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_overflow_is_named_and_kills_with_sigsegv),
        cmocka_unit_test(an_overflow_of_nobody_known_is_a_tasks),
        cmocka_unit_test(an_overflow_on_another_thread_is_named_too),
        cmocka_unit_test(any_other_fault_is_as_if_the_handler_were_not_there),
        cmocka_unit_test(a_bus_error_stays_a_bus_error),
        cmocka_unit_test(a_sent_signal_still_kills),
        cmocka_unit_test(a_handler_that_was_there_first_still_mends_its_faults),
        cmocka_unit_test(a_handler_that_was_there_first_gets_the_overflow_after_the_sentence),
        cmocka_unit_test(left_alone_the_disposition_stays),
        cmocka_unit_test(the_last_remove_puts_back_what_was_there),
        cmocka_unit_test(a_thread_gets_a_signal_stack_only_if_it_has_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
