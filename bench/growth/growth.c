/*
 * growth: what it costs to have many, in one JSON document:
 *
 *   growth [--max=N] tasks      ns per spawn and end of a task that parks in between, N alive at once; resident bytes each
 *   growth [--max=N] timers     ns per task that starts a timer at random among N running ones, and stops it
 *   growth [--max=N] workers    ns per task of a tree of 111,111 tasks on 1, 2, 4 ... N workers
 *
 *   {"subject", "unit", "points": [{"n", "value", "bytes"}]}; bytes is 0 where none are counted. The backend and, but for
 *   workers, which needs one that steals, the scheduler are what the environment says.
 */
#include <nexus/nexus.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TREE_WIDTH 10
#define TREE_DEPTH 5
#define TREE_TASKS 111111
#define TREE_ROUNDS 3
#define STARTS 100000

static bool first_point = true;

static _Noreturn void fail(const char *what, int error)
{
    fprintf(stderr, "growth: %s: %s\n", what, strerror(-error));
    exit(1);
}

static void point(unsigned long n, double value, double bytes)
{
    printf("%s\n    {\"n\": %lu, \"value\": %.2f, \"bytes\": %.1f}", first_point ? "" : ",", n, value, bytes);
    fflush(stdout);
    first_point = false;
}

static long resident_bytes(void)
{
    char line[256];
    long kib = 0, one;
    FILE *file = fopen("/proc/self/status", "re");

    while (file && fgets(line, sizeof(line), file))
        if (sscanf(line, "VmRSS: %ld", &one) == 1 || sscanf(line, "VmPTE: %ld", &one) == 1)
            kib += one;
    if (file)
        fclose(file);
    return kib * 1024;
}

/* ---- tasks ---- */

static intptr_t sleeps_until_cancelled(void *arg)
{
    (void)arg;
    return nx_sleep_until(NX_FOREVER);
}

static intptr_t tasks_at(void *arg)
{
    unsigned long n = *(unsigned long *)arg;
    nx_task *tasks = calloc(n, sizeof(*tasks));
    long before = resident_bytes();
    nx_time start = nx_now(), all_asleep, counted;

    if (!tasks)
        fail("memory for ids", -ENOMEM);
    for (unsigned long i = 0; i < n; i++) {
        tasks[i] = nx_spawn(sleeps_until_cancelled, NULL);
        if (tasks[i] < 0)
            fail("spawn", (int)tasks[i]);
        if (i % 64 == 63)
            nx_yield(); /* as a server does: they run and park as they come */
    }
    nx_yield();
    all_asleep = nx_now();
    long bytes = resident_bytes() - before;
    counted = nx_now();
    for (unsigned long i = 0; i < n; i++)
        nx_cancel(tasks[i]);
    for (unsigned long i = 0; i < n; i++)
        nx_join(tasks[i], NULL, NX_FOREVER);
    point(n, (double)(all_asleep - start + nx_now() - counted) / (double)n, (double)bytes / (double)n);
    free(tasks);
    return 0;
}

/* ---- timers: N sleeping tasks hold N timers; one more starts and stops its own at random ---- */

static uint64_t random_state = 88172645463325252u;

static uint64_t next_random(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

static intptr_t sleeps_long(void *arg)
{
    return nx_sleep_until((nx_time)((uint64_t)nx_now() + 3600000000000u + (uint64_t)(uintptr_t)arg));
}

/* Each is a task that starts a timer at random among those, and is cancelled, which stops it. */
static intptr_t timers_at(void *arg)
{
    unsigned long n = *(unsigned long *)arg;
    nx_task *tasks = calloc(n, sizeof(*tasks));
    long before = resident_bytes();

    if (!tasks)
        fail("memory for ids", -ENOMEM);
    for (unsigned long i = 0; i < n; i++) {
        tasks[i] = nx_spawn(sleeps_long, (void *)(uintptr_t)(next_random() >> 25));
        if (tasks[i] < 0)
            fail("spawn", (int)tasks[i]);
        if (i % 64 == 63)
            nx_yield();
    }
    nx_yield();
    long bytes = resident_bytes() - before;
    nx_time start = nx_now();
    for (unsigned long i = 0; i < STARTS; i++) {
        nx_task task = nx_spawn(sleeps_long, (void *)(uintptr_t)(next_random() >> 25));

        nx_yield();
        nx_cancel(task);
        nx_join(task, NULL, NX_FOREVER);
    }
    point(n, (double)(nx_now() - start) / STARTS, (double)bytes / (double)n);
    for (unsigned long i = 0; i < n; i++)
        nx_cancel(tasks[i]);
    for (unsigned long i = 0; i < n; i++)
        nx_join(tasks[i], NULL, NX_FOREVER);
    free(tasks);
    return 0;
}

/* ---- workers ---- */

static intptr_t node(void *arg)
{
    uintptr_t depth = (uintptr_t)arg;
    nx_task child[TREE_WIDTH];
    intptr_t sum = 1, part = 0;

    for (int i = 0; depth > 0 && i < TREE_WIDTH; i++)
        child[i] = nx_spawn(node, (void *)(depth - 1));
    for (int i = 0; depth > 0 && i < TREE_WIDTH; i++) {
        int error = nx_join(child[i], &part, NX_FOREVER);
        if (error < 0)
            fail("join", error);
        sum += part;
    }
    return sum;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The median of a few, after one that warms up. */
static intptr_t tree_at(void *arg)
{
    double taken[TREE_ROUNDS];

    node((void *)TREE_DEPTH);
    for (int i = 0; i < TREE_ROUNDS; i++) {
        nx_time start = nx_now();

        if (node((void *)TREE_DEPTH) != TREE_TASKS)
            fail("a tree that lost tasks", -EIO);
        taken[i] = (double)(nx_now() - start) / TREE_TASKS;
    }
    qsort(taken, TREE_ROUNDS, sizeof(taken[0]), compare);
    point(*(unsigned long *)arg, taken[TREE_ROUNDS / 2], 0);
    return 0;
}

/* ---- */

static void run(nx_task_fn fn, unsigned workers, const char *scheduler, unsigned long n)
{
    nx_runtime_options options = {.size = sizeof(options), .workers = workers, .scheduler = scheduler};
    nx_runtime *runtime;
    int error = nx_runtime_create(&options, &runtime);

    if (error < 0)
        fail(options.error[0] ? options.error : "runtime", error);
    error = nx_block_on(runtime, fn, &n, NULL);
    if (error < 0)
        fail("run", error);
    nx_runtime_destroy(runtime);
}

int main(int argc, char **argv)
{
    unsigned long max = 0;
    int at = 1;

    if (at < argc && strncmp(argv[at], "--max=", 6) == 0)
        max = strtoul(argv[at++] + 6, NULL, 10);
    const char *subject = at + 1 == argc ? argv[at] : "";
    bool workers = strcmp(subject, "workers") == 0, tasks = strcmp(subject, "tasks") == 0;
    if (!workers && !tasks && strcmp(subject, "timers") != 0) {
        fprintf(stderr, "usage: growth [--max=N] tasks|timers|workers\n");
        return 2;
    }
    if (max == 0)
        max = workers ? (unsigned long)sysconf(_SC_NPROCESSORS_ONLN) : 1000000;
    printf("{\"subject\": \"%s\", \"unit\": \"%s\", \"points\": [", subject,
           workers ? "ns/task"
           : tasks ? "ns/task"
                   : "ns/spawn, timer start, cancel, stop, end");
    for (unsigned long n = workers ? 1 : 1000; n <= max; n *= workers ? 2 : 10)
        run(workers ? tree_at
            : tasks ? tasks_at
                    : timers_at,
            workers ? (unsigned)n : 1, workers ? "work_stealing" : NULL, n);
    printf("\n]}\n");
    return 0;
}
