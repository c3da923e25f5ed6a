/* audit.c: what a case must leave as it found it. */
#include "core.h"
#include "nxt.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* For a thread that has ended and not yet gone, and the like; shorter where the audit is meant to complain. */
#define PATIENCE_NS INT64_C(5000000000)
#define PATIENCE_HIDDEN_NS INT64_C(100000000)

static nx_time patience_end(void)
{
    return nxt_clock() + (nxt_case_is_hidden() ? PATIENCE_HIDDEN_NS : PATIENCE_NS);
}

/* Calls visit for each number that is an entry of the folder; how many. */
static int each_number(const char *folder, void (*visit)(void *arg, int number), void *arg)
{
    DIR *directory = opendir(folder);
    if (!directory) {
        nxt_fail(__FILE__, __LINE__, "can't read %s", folder);
        return 0;
    }
    int count = 0;
    for (struct dirent *entry; (entry = readdir(directory));) {
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9')
            continue;
        int number = atoi(entry->d_name);
        if (strcmp(folder, "/proc/self/fd") == 0 && number == dirfd(directory))
            continue;
        count++;
        if (visit)
            visit(arg, number);
    }
    closedir(directory);
    return count;
}

static void note_open(void *arg, int fd)
{
    struct nxt_audit *audit = arg;
    if ((size_t)fd < sizeof(audit->open) * 8)
        audit->open[fd / 64] |= UINT64_C(1) << fd % 64;
}

static void name_new(void *arg, int fd)
{
    const struct nxt_audit *audit = arg;
    if ((size_t)fd < sizeof(audit->open) * 8 && audit->open[fd / 64] >> fd % 64 & 1)
        return;
    char path[64], target[160];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    ssize_t length = readlink(path, target, sizeof(target) - 1);
    target[length > 0 ? length : 0] = '\0';
    nxt_fail(__FILE__, __LINE__, "audit: file descriptor %d (%s) is still open", fd, target);
}

/* pthread_join(3) returns a moment before the kernel has taken the thread out of /proc. */
static int settled_threads(int expected)
{
    nx_time end = patience_end();
    int count;
    while ((count = each_number("/proc/self/task", NULL, NULL)) > expected && nxt_clock() < end)
        nxt_pause(100);
    return count;
}

void nxt_audit_begin(struct nxt_audit *audit)
{
    static int threads_at_start; /* the first call is before the first runtime */
    if (threads_at_start == 0)
        threads_at_start = each_number("/proc/self/task", NULL, NULL);
    memset(audit, 0, sizeof(*audit));
    audit->fds = each_number("/proc/self/fd", note_open, audit);
    audit->threads = settled_threads(threads_at_start);
    audit->bytes = nxi_live_bytes();
}

void nxt_audit_end(const struct nxt_audit *audit)
{
    int threads = settled_threads(audit->threads);
    if (threads != audit->threads)
        nxt_fail(__FILE__, __LINE__, "audit: %d threads before the case, %d after", audit->threads, threads);
    int fds = each_number("/proc/self/fd", name_new, (void *)audit);
    if (fds < audit->fds)
        nxt_fail(__FILE__, __LINE__, "audit: %d file descriptors before the case, %d after", audit->fds, fds);
    size_t bytes = nxi_live_bytes();
    if (bytes != audit->bytes)
        nxt_fail(__FILE__, __LINE__, "audit: %zu live bytes before the case, %zu after (%+lld)", audit->bytes, bytes,
                 (long long)(bytes - audit->bytes));
}

/* ---- tasks ---- */

static size_t live_tasks(nx_runtime *runtime)
{
    struct nx_runtime_info info = {.size = sizeof(info)};
    return nx_runtime_info(runtime, &info) == 0 ? info.live_tasks : SIZE_MAX;
}

static void name_task(void *arg, struct nxi_task *task, uint64_t ctl)
{
    unsigned *count = arg;
    char name[64];
    if (++*count > 8) /* the rest is only counted */
        return;
    nxi_task_label(task, name, sizeof(name));
    nxt_fail(__FILE__, __LINE__, "audit: task %s %s", name,
             ctl & NXI_CTL_DONE ? "has ended, and nobody has joined or detached it" : "is still live");
}

static void count_task(void *arg, struct nxi_task *task, uint64_t ctl)
{
    (void)task;
    (void)ctl;
    ++*(unsigned *)arg;
}

static unsigned ids_left(nx_runtime *runtime)
{
    unsigned count = 0;
    nxi_tasks_each(runtime, count_task, &count);
    return count;
}

void nxt_audit_tasks(nx_runtime *runtime)
{
    /* A task's joiner may go on before the task has been taken off the books, and who waits for a server's last
     * connection before that one's header is given back. */
    nx_time end = patience_end();
    while ((live_tasks(runtime) > 0 || ids_left(runtime) > 0) && nxt_clock() < end)
        nxt_pause(100);
    size_t live = live_tasks(runtime);
    if (live != 0)
        nxt_fail(__FILE__, __LINE__, "audit: %zu tasks are live at the end of the case", live);
    unsigned count = 0;
    nxi_tasks_each(runtime, name_task, &count);
    if (count > 0)
        nxt_fail(__FILE__, __LINE__, "audit: %u tasks or ids left", count);
}
