/* test_lock.c: the lock of objects that tasks and threads share: who sleeps for it, and what fork(2) leaves of that. */
#define _GNU_SOURCE

#include "core.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define THREADS 4
#define ROUNDS 20000

static uint32_t lock;
static uint64_t guarded;

static void await_sleepers(uint32_t count)
{
    while (__atomic_load_n(&nxi_sleepers.count, __ATOMIC_SEQ_CST) != count)
        usleep(100);
}

static void *add(void *arg)
{
    for (int i = 0; i < ROUNDS; i++) {
        nxi_lock(&lock);
        guarded++;
        if (i % 1024 == 0)
            usleep(1); /* the others spin in vain and go to sleep */
        nxi_unlock(&lock);
    }
    return arg;
}

static void one_at_a_time_and_nobody_is_left_asleep(void **state)
{
    pthread_t threads[THREADS];
    (void)state;
    guarded = 0;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, add, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(guarded, (uint64_t)THREADS * ROUNDS);
    assert_int_equal(nxi_sleepers.count, 0);
    assert_int_equal(lock, 0);
}

static void *take_once(void *arg)
{
    nxi_lock(&lock);
    nxi_unlock(&lock);
    return arg;
}

/* In the child nobody sleeps, and a bucket's mutex is nobody's: else the unlock below waits for a thread that is
 * gone. */
static void a_child_of_fork_does_not_wait_for_sleepers_that_stayed_behind(void **state)
{
    pthread_t sleeper;
    uint32_t other = 0;
    int status = -1;
    (void)state;
    nxi_lock(&lock);
    assert_int_equal(pthread_create(&sleeper, NULL, take_once, NULL), 0);
    await_sleepers(1);
    pid_t child = fork();
    if (child == 0) {
        alarm(10);
        if (nxi_sleepers.count != 0)
            _exit(1);
        nxi_unlock(&lock);
        nxi_lock(&lock);
        nxi_lock(&other);
        nxi_unlock(&other);
        nxi_unlock(&lock);
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    nxi_unlock(&lock);
    assert_int_equal(pthread_join(sleeper, NULL), 0);
    assert_int_equal(nxi_sleepers.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_at_a_time_and_nobody_is_left_asleep),
        cmocka_unit_test(a_child_of_fork_does_not_wait_for_sleepers_that_stayed_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
