/*
 * parked_tasks: 100,000 tasks asleep at once: what each costs in memory, and whether their stacks are guarded.
 *
 *   parked_tasks memory   after a warm-up of deep calls; 1 if above 4.6 KiB a task, page tables included
 *   parked_tasks guards   within the map-count limit; 1 if a stack ends in anything but a guard page
 */
#include <nexus/nexus.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TASKS 100000
#define BYTES_LIMIT (4.6 * 1024)
#define HEADER_LIMIT 192
#define WARMUP_TASKS 200
#define WARMUP_DEPTH 40 /* KiB, of a stack of 64 */
#define SAMPLE 500      /* every so many-th task looks for its guard */

static nx_task tasks[TASKS];
static _Atomic unsigned asleep, guarded, unguarded;
static bool look_for_guards;
static size_t stack_size;
static int probe_pipe[2];

static long status_kib(const char *key)
{
    char line[256];
    long kib = -1;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && kib < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            kib = strtol(line + strlen(key), NULL, 10);
    if (file)
        fclose(file);
    return kib;
}

static long resident_bytes(void)
{
    return (status_kib("VmRSS:") + status_kib("VmPTE:")) * 1024;
}

static long count_maps(void)
{
    long lines = 0;
    FILE *file = fopen("/proc/self/maps", "re");
    for (int c; file && (c = getc(file)) != EOF;)
        lines += c == '\n';
    if (file)
        fclose(file);
    return lines;
}

/* The kernel reads the byte for us: EFAULT instead of a signal. */
static bool is_readable(const char *byte)
{
    char back;
    if (write(probe_pipe[1], byte, 1) != 1)
        return false;
    return read(probe_pipe[0], &back, 1) == 1;
}

/* Whether something unreadable lies below this stack, no farther than its size. */
static bool stack_is_guarded(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char here;
    const char *at = (const char *)((uintptr_t)&here & ~(page - 1));
    for (size_t below = 0; below <= stack_size; below += page)
        if (!is_readable(at - below))
            return true;
    return false;
}

static intptr_t sleeper(void *arg)
{
    intptr_t number = (intptr_t)arg;
    atomic_fetch_add(&asleep, 1);
    int result = nx_sleep_until(NX_FOREVER);
    if (look_for_guards && number % SAMPLE == 0)
        atomic_fetch_add(stack_is_guarded() ? &guarded : &unguarded, 1);
    return result;
}

static int descend(int kib)
{
    volatile char room[1024];
    room[0] = (char)kib;
    room[sizeof room - 1] = (char)kib;
    int below = kib > 0 ? descend(kib - 1) : 0;
    return below + room[0] + room[sizeof room - 1];
}

static intptr_t deep(void *arg)
{
    (void)arg;
    descend(WARMUP_DEPTH);
    nx_sleep_ms(1); /* all of them on stacks of their own */
    return 0;
}

static int warm_up(void)
{
    for (int i = 0; i < WARMUP_TASKS; i++)
        if ((tasks[i] = nx_spawn(deep, NULL)) < 0)
            return (int)tasks[i];
    for (int i = 0; i < WARMUP_TASKS; i++) {
        int error = nx_join(tasks[i], NULL, NX_FOREVER);
        if (error)
            return error;
    }
    return 0;
}

static int start_sleepers(void)
{
    for (intptr_t i = 0; i < TASKS; i++) {
        tasks[i] = nx_spawn_with(&(nx_task_options){.size = sizeof(nx_task_options), .flags = NX_TASK_SPREAD}, sleeper,
                                 (void *)i);
        if (tasks[i] < 0) {
            printf("task %ld: %s\n", (long)i, nx_strerror((int)tasks[i]));
            return (int)tasks[i];
        }
    }
    nx_time patience = nx_after_ms(60000);
    while (atomic_load(&asleep) < TASKS && nx_now() < patience)
        nx_sleep_ms(1);
    return atomic_load(&asleep) == TASKS ? 0 : -ETIMEDOUT;
}

/* How many did not end with -ECANCELED. */
static int end_sleepers(void)
{
    int wrong = 0;
    for (int i = 0; i < TASKS; i++)
        nx_cancel(tasks[i]);
    for (int i = 0; i < TASKS; i++) {
        intptr_t result = 0;
        wrong += nx_join(tasks[i], &result, NX_FOREVER) != 0 || result != -ECANCELED;
    }
    return wrong;
}

static intptr_t park_all(void *ret_bytes)
{
    memset(tasks, 1, sizeof tasks); /* its pages are not the tasks' */
    long before = resident_bytes(), maps_before = count_maps();
    if (warm_up() < 0) /* what it leaves behind counts */
        return 1;
    if (start_sleepers() < 0) {
        printf("%u of %d tasks are asleep\n", atomic_load(&asleep), TASKS);
        return 1;
    }
    *(double *)ret_bytes = (double)(resident_bytes() - before) / TASKS;
    long maps = count_maps();
    int wrong = end_sleepers();
    if (look_for_guards)
        printf("%d tasks asleep at once: %ld mappings (%ld before), %u of %u stacks looked at end in a guard; ", TASKS,
               maps, maps_before, atomic_load(&guarded), atomic_load(&guarded) + atomic_load(&unguarded));
    if (wrong)
        printf("%d ended wrongly; ", wrong);
    return wrong != 0;
}

static void print_map_limit(void)
{
    long limit = -1;
    FILE *file = fopen("/proc/sys/vm/max_map_count", "re");
    if (file && fscanf(file, "%ld", &limit) == 1)
        printf("vm.max_map_count %ld", limit);
    if (file)
        fclose(file);
}

int main(int argc, char **argv)
{
    char error[512] = "";
    nx_runtime_options options = {.size = sizeof options, .error = error, .error_size = sizeof error};
    struct nx_runtime_info info = {.size = sizeof info};
    nx_runtime *runtime;
    double bytes = 0;
    intptr_t failed = 1;
    look_for_guards = argc == 2 && strcmp(argv[1], "guards") == 0;
    if (argc != 2 || (!look_for_guards && strcmp(argv[1], "memory") != 0)) {
        fprintf(stderr, "usage: parked_tasks memory|guards\n");
        return 2;
    }
    if (nx_runtime_create(&options, &runtime) < 0 || nx_runtime_info(runtime, &info) < 0 || pipe(probe_pipe) < 0) {
        printf("no runtime: %s\n", error);
        return 1;
    }
    stack_size = info.stack_size;
    int result = nx_block_on(runtime, park_all, &bytes, &failed);
    nx_runtime_destroy(runtime);
    if (look_for_guards)
        print_map_limit();
    else
        printf("header %u bytes (limit %d), %d parked tasks: %.0f bytes each, page tables included (limit %.0f)",
               info.task_size, HEADER_LIMIT, TASKS, bytes, BYTES_LIMIT);
    putchar('\n');
    if (result < 0 || failed)
        return 1;
    if (look_for_guards)
        return atomic_load(&guarded) != TASKS / SAMPLE;
    return info.task_size > HEADER_LIMIT || bytes <= 0 || bytes > BYTES_LIMIT;
}
