/*
 * growth: what it costs to have many, in one JSON document:
 *
 *   growth [--max=N] tasks      ns per spawn and end of a task that parks in between, N alive at once; resident bytes
 *   growth [--max=N] timers     ns per task that is spawned, starts a timer at random among N running ones, is
 *                               cancelled, which stops it, and ends: a program sees timers as deadlines only. wheel.c
 *                               has them bare
 *   growth [--max=N] workers    on 1, 2, 4 ... N workers, by the clock and not by CPU time: ns per task of a tree of
 *                               111,111 tasks; per task of some microseconds of work that is spread at its spawn; per
 *                               message there and back over loopback, both ends tasks of the same runtime
 *
 *   {"subjects": [{"subject", "unit", "points": [{"n", "value", "bytes"}]}]}; bytes is 0 where none are counted. tasks
 *   has "limits", as connections has. Each point is a process of its own. The backend and, but for workers, which needs
 *   one that steals, the scheduler are what the environment says.
 */
#include <nexus/nexus.h>

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TREE_WIDTH 10
#define TREE_DEPTH 5
#define TREE_TASKS 111111
#define ROUNDS 5
#define STARTS 100000
#define WORK_STEPS 1000
#define SPREAD_AT_ONCE 1000
#define SPREAD_ROUNDS 30
#define ECHO_CONNECTIONS 32
#define ECHO_MESSAGES 1000
#define ECHO_MESSAGE 64

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

/* The most that a point had: it is in another process. */
static unsigned long *most_mappings;

static void count_mappings(void)
{
    unsigned long count = 0;
    FILE *file = fopen("/proc/self/maps", "re");

    for (int c; file && (c = getc_unlocked(file)) != EOF;)
        count += c == '\n';
    if (file)
        fclose(file);
    if (count > *most_mappings)
        *most_mappings = count;
}

static unsigned long system_limit(const char *path)
{
    unsigned long limit = 0;
    FILE *file = fopen(path, "re");

    if (file && fscanf(file, "%lu", &limit) != 1)
        limit = 0;
    if (file)
        fclose(file);
    return limit;
}

/* Guard pages must not make a mapping of each stack; nor is a task a thread. */
static void print_limits(void)
{
    unsigned long limit = system_limit("/proc/sys/vm/max_map_count");

    printf(", \"limits\": [{\"name\": \"vm.max_map_count\", \"value\": %lu, \"used\": %lu, \"met\": %s,\n"
           "    \"what\": \"mappings with the most tasks alive\"}]",
           limit, *most_mappings, limit > 0 && *most_mappings >= limit ? "true" : "false");
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
    count_mappings();
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
static intptr_t median_at(unsigned long n, double (*ns_each)(void))
{
    double taken[ROUNDS];

    ns_each();
    for (int i = 0; i < ROUNDS; i++)
        taken[i] = ns_each();
    qsort(taken, ROUNDS, sizeof(taken[0]), compare);
    point(n, taken[ROUNDS / 2], 0);
    return 0;
}

static double tree(void)
{
    nx_time start = nx_now();

    if (node((void *)TREE_DEPTH) != TREE_TASKS)
        fail("a tree that lost tasks", -EIO);
    return (double)(nx_now() - start) / TREE_TASKS;
}

static intptr_t tree_at(void *arg)
{
    return median_at(*(unsigned long *)arg, tree);
}

static nx_task spawn_spread(nx_task_fn fn, void *arg)
{
    nx_task_options options = {.size = sizeof(options), .flags = NX_TASK_SPREAD};
    nx_task task = nx_spawn_with(&options, fn, arg);

    if (task < 0)
        fail("spawn", (int)task);
    return task;
}

static intptr_t join(nx_task task)
{
    intptr_t result = 0;
    int error = nx_join(task, &result, NX_FOREVER);

    if (error < 0)
        fail("join", error);
    return result;
}

/* Some microseconds that no memory is needed for; the same for the same seed. */
static intptr_t works(void *arg)
{
    uint64_t state = (uint64_t)(uintptr_t)arg * 2 + 1;

    for (int i = 0; i < WORK_STEPS; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
    }
    return (intptr_t)(state >> 1);
}

static double spread(void)
{
    nx_task tasks[SPREAD_AT_ONCE];
    intptr_t expected = works((void *)1);
    nx_time start = nx_now();

    for (int round = 0; round < SPREAD_ROUNDS; round++) {
        for (int i = 0; i < SPREAD_AT_ONCE; i++)
            tasks[i] = spawn_spread(works, (void *)1);
        for (int i = 0; i < SPREAD_AT_ONCE; i++)
            if (join(tasks[i]) != expected)
                fail("a task that did not do its work", -EIO);
    }
    return (double)(nx_now() - start) / (SPREAD_ROUNDS * SPREAD_AT_ONCE);
}

static intptr_t spread_at(void *arg)
{
    return median_at(*(unsigned long *)arg, spread);
}

static intptr_t echoes(void *arg)
{
    nx_stream *stream = arg;
    char buf[256];
    ssize_t n;

    while ((n = nx_read(stream, buf, sizeof(buf), NX_FOREVER)) > 0)
        if (nx_write(stream, buf, (size_t)n, NX_FOREVER) != n)
            fail("the echo's write", -EIO);
    if (n < 0)
        fail("the echo's read", (int)n);
    nx_close(stream);
    return 0;
}

static intptr_t asks(void *arg)
{
    nx_stream *stream;
    unsigned char sent[ECHO_MESSAGE], back[ECHO_MESSAGE];
    int error = nx_connect(arg, NULL, &stream, NX_FOREVER);

    if (error < 0)
        fail("connect", error);
    for (int k = 0; k < ECHO_MESSAGES; k++) {
        memset(sent, k, sizeof(sent));
        memcpy(sent, &k, sizeof(k));
        if (nx_write(stream, sent, sizeof(sent), NX_FOREVER) != ECHO_MESSAGE ||
            nx_read_exact(stream, back, sizeof(back), NX_FOREVER) != ECHO_MESSAGE ||
            memcmp(sent, back, sizeof(sent)) != 0)
            fail("a message that did not come back as it was", -EIO);
    }
    nx_close(stream);
    return 0;
}

static double echo(void)
{
    nx_task server[ECHO_CONNECTIONS], client[ECHO_CONNECTIONS];
    nx_listener *listener;
    nx_addr addr;
    char text[128];
    nx_time start = nx_now();
    int error = nx_listen("127.0.0.1:0", NULL, &listener);

    if (error < 0 || (error = nx_listener_addr(listener, &addr)) < 0 ||
        (error = nx_addr_format(&addr, text, sizeof(text))) < 0)
        fail("listen", error);
    for (int i = 0; i < ECHO_CONNECTIONS; i++)
        client[i] = spawn_spread(asks, text);
    for (int i = 0; i < ECHO_CONNECTIONS; i++) {
        nx_stream *stream;

        if ((error = nx_accept(listener, &stream, NX_FOREVER)) < 0)
            fail("accept", error);
        server[i] = spawn_spread(echoes, stream);
    }
    for (int i = 0; i < ECHO_CONNECTIONS; i++) {
        join(client[i]);
        join(server[i]);
    }
    nx_listener_close(listener);
    return (double)(nx_now() - start) / (ECHO_CONNECTIONS * ECHO_MESSAGES);
}

static intptr_t echo_at(void *arg)
{
    return median_at(*(unsigned long *)arg, echo);
}

/* ---- */

struct growth {
    const char *group, *subject, *unit;
    nx_task_fn at;
};

static const struct growth all[] = {
    {"tasks", "tasks", "ns/task", tasks_at},
    {"timers", "timers of tasks", "ns/spawn, timer start, cancel, stop, end", timers_at},
    {"workers", "workers, a tree", "ns/task", tree_at},
    {"workers", "workers, spread at spawn", "ns/task", spread_at},
    {"workers", "workers, echo over loopback", "ns/message", echo_at},
};

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

/* A point in a process of its own: what an earlier one left in caches is neither memory nor time of this one. */
static void run_apart(const struct growth *growth, unsigned workers, const char *scheduler, unsigned long n)
{
    int status;
    pid_t child;

    fflush(stdout);
    child = fork();
    if (child < 0)
        fail("fork", -errno);
    if (child == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        run(growth->at, workers, scheduler, n);
        fflush(stdout);
        _exit(0);
    }
    if (waitpid(child, &status, 0) != child)
        fail("waitpid", -errno);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        exit(1); /* it has said why */
    first_point = false;
}

/* From 1 on twice as many each time, from 1000 on ten times; and at last as many as there may be. */
static void grow(const struct growth *growth, unsigned long max)
{
    bool workers = strcmp(growth->group, "workers") == 0;
    unsigned long n = workers ? 1 : 1000;

    if (!workers && max < n)
        n = max;
    first_point = true;
    printf("{\"subject\": \"%s\", \"unit\": \"%s\", \"points\": [", growth->subject, growth->unit);
    while (true) {
        run_apart(growth, workers ? (unsigned)n : 1, workers ? "work_stealing" : NULL, n);
        if (n >= max)
            break;
        n *= workers ? 2 : 10;
        if (n > max)
            n = max;
    }
    printf("\n]");
    if (*most_mappings > 0)
        print_limits();
    printf("}");
}

int main(int argc, char **argv)
{
    unsigned long max = 0;
    int at = 1, shown = 0;

    if (at < argc && strncmp(argv[at], "--max=", 6) == 0)
        max = strtoul(argv[at++] + 6, NULL, 10);
    const char *group = at + 1 == argc ? argv[at] : "";
    most_mappings = mmap(NULL, sizeof(*most_mappings), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (most_mappings == MAP_FAILED)
        fail("mmap", -errno);
    if (max == 0)
        max = strcmp(group, "workers") == 0 ? (unsigned long)sysconf(_SC_NPROCESSORS_ONLN) : 1000000;
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (strcmp(group, all[i].group) == 0) {
            printf(shown++ ? ",\n" : "{\"subjects\": [\n");
            grow(&all[i], max);
        }
    if (shown == 0) {
        fprintf(stderr, "usage: growth [--max=N] tasks|timers|workers\n");
        return 2;
    }
    printf("\n]}\n");
    return 0;
}
