/* procfs.c: a process' CPU time, memory and descriptors. */
#include "load.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The number after a key of /proc/PID/status, or -1. */
static long status_number(pid_t pid, const char *key)
{
    char path[64], line[256];
    long number = -1;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return -1;
    while (number < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, key, strlen(key)) == 0)
            number = strtol(line + strlen(key), NULL, 10);
    fclose(file);
    return number;
}

static long count_fds(pid_t pid)
{
    char path[64];
    long count = 0;
    snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    if (!dir)
        return -1;
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static bool look_at_thread(pid_t pid, pid_t tid, struct process_thread *ret_thread)
{
    char path[64];
    struct process_thread thread = {.tid = tid};
    long long cpu_ns = 0;
    snprintf(path, sizeof path, "/proc/%d/task/%d/schedstat", (int)pid, (int)tid);
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool ok = fscanf(file, "%lld", &cpu_ns) == 1;
    fclose(file);
    thread.cpu_ns = cpu_ns;

    snprintf(path, sizeof path, "/proc/%d/task/%d/comm", (int)pid, (int)tid);
    file = ok ? fopen(path, "re") : NULL;
    if (!file)
        return false;
    ok = fscanf(file, "%15[^\n]", thread.name) == 1;
    fclose(file);
    if (ok)
        *ret_thread = thread;
    return ok;
}

static void look_at_threads(pid_t pid, struct process *process)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    if (!dir)
        return;
    for (struct dirent *entry; (entry = readdir(dir)) && process->thread_count < PROCESS_THREADS_MAX;) {
        pid_t tid = (pid_t)atol(entry->d_name);
        if (tid > 0 && look_at_thread(pid, tid, &process->threads[process->thread_count]))
            process->thread_count++;
    }
    closedir(dir);
}

int process_look(pid_t pid, struct process *ret_process)
{
    clockid_t clock;
    struct timespec ts;
    int error = clock_getcpuclockid(pid, &clock); /* to the ns, also of a thread that runs right now */
    if (error)
        return -error;
    if (clock_gettime(clock, &ts) < 0)
        return -errno;

    struct process process = {.cpu_ns = ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec};
    process.rss_kib = status_number(pid, "VmRSS:");
    process.rss_max_kib = status_number(pid, "VmHWM:");
    process.fds = count_fds(pid);
    look_at_threads(pid, &process);
    *ret_process = process;
    return 0;
}
