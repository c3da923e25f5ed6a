/*
 * sleep: how late tasks wake from 1 ms, against a raw wait of the kernel's in a plain thread.
 *
 * Both are taken in turn, a few at a time, so that what the machine does meanwhile happens to both. The raw wait is the
 * backend's own: io_uring_enter with a timeout (the kernel gives it no slack), or epoll_pwait2 with a timer slack of
 * 1 ns. Prints the medians, their ratio and how many sleeps were early; 1 if any was, or if the ratio is above 1.2.
 */
#define _GNU_SOURCE
#include <nexus/nexus.h>

#include <errno.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLEEP_NS INT64_C(1000000)
#define BATCH 20
#define ROUNDS 60
#define COUNT (BATCH * ROUNDS)
#define RATIO_LIMIT 1.2

static int64_t task_late[COUNT], raw_late[COUNT];

static int64_t clock_ns(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* A task: a batch of sleeps, each to 1 ms from the clock's now. */
static intptr_t sleep_batch(void *arg)
{
    int64_t *late = arg;
    for (int i = 0; i < BATCH; i++) {
        int64_t until = clock_ns() + SLEEP_NS;
        if (nx_sleep_until(until) < 0)
            return 1;
        late[i] = clock_ns() - until;
    }
    return 0;
}

/* The raw waits: fd is an empty epoll set, or a ring on which nothing completes. */
static int wait_epoll(int fd)
{
    struct epoll_event event;
    return epoll_pwait2(fd, &event, 1, &(struct timespec){.tv_nsec = SLEEP_NS}, NULL);
}

static int wait_ring(int fd)
{
    struct __kernel_timespec ts = {.tv_nsec = SLEEP_NS};
    struct io_uring_getevents_arg arg = {.ts = (uint64_t)(uintptr_t)&ts};
    long n = syscall(SYS_io_uring_enter, fd, 0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg, sizeof arg);
    return n < 0 && errno == ETIME ? 0 : -1;
}

static int open_raw(const char *backend, int (**ret_wait)(int fd))
{
    if (strcmp(backend, "iouring") == 0) {
        struct io_uring_params params = {.flags = 0};
        *ret_wait = wait_ring;
        return (int)syscall(SYS_io_uring_setup, 4, &params);
    }
    *ret_wait = wait_epoll;
    return epoll_create1(EPOLL_CLOEXEC);
}

static int raw_batch(int (*wait)(int fd), int fd, int64_t *late)
{
    for (int i = 0; i < BATCH; i++) {
        int64_t until = clock_ns() + SLEEP_NS;
        if (wait(fd) != 0)
            return -1;
        late[i] = clock_ns() - until;
    }
    return 0;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static int report(const char *backend)
{
    qsort(task_late, COUNT, sizeof *task_late, compare);
    qsort(raw_late, COUNT, sizeof *raw_late, compare);
    int early = 0;
    while (early < COUNT && task_late[early] < 0)
        early++;
    double task = (double)task_late[COUNT / 2] / 1e3, raw = (double)raw_late[COUNT / 2] / 1e3;
    printf(
        "%d sleeps of 1 ms: %d early, late by p50 %.1f us p99 %.1f us; raw %s wait p50 %.1f p99 %.1f; p50 ratio %.2f "
        "(limit %.1f)\n",
        COUNT, early, task, (double)task_late[COUNT * 99 / 100] / 1e3,
        strcmp(backend, "iouring") == 0 ? "ring" : "epoll", raw, (double)raw_late[COUNT * 99 / 100] / 1e3, task / raw,
        RATIO_LIMIT);
    return early > 0 || task > raw * RATIO_LIMIT;
}

int main(void)
{
    char error[512] = "";
    nx_runtime_options options = {.size = sizeof options, .workers = 1, .error = error, .error_size = sizeof error};
    struct nx_runtime_info info = {.size = sizeof info};
    nx_runtime *runtime;
    int (*wait)(int fd);
    if (nx_runtime_create(&options, &runtime) < 0 || nx_runtime_info(runtime, &info) < 0) {
        printf("no runtime: %s\n", error);
        return 1;
    }
    int fd = open_raw(info.backend, &wait);
    prctl(PR_SET_TIMERSLACK, 1ul);
    for (int round = 0; round < ROUNDS; round++) {
        intptr_t failed = 1;
        if (nx_block_on(runtime, sleep_batch, task_late + round * BATCH, &failed) < 0 || failed ||
            raw_batch(wait, fd, raw_late + round * BATCH) < 0) {
            printf("a wait failed in round %d\n", round);
            return 1;
        }
    }
    int failed = report(info.backend);
    close(fd);
    nx_runtime_destroy(runtime);
    return failed;
}
