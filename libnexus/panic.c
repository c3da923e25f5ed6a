/* panic.c: ending a task, or the process, for a bug. */
#include "core.h"
#include <execinfo.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FRAMES_MAX 48
#define MESSAGE_MAX 512

static void put(const char *text)
{
    ssize_t ignored = write(STDERR_FILENO, text, strlen(text));
    (void)ignored;
}

static void put_backtrace(void)
{
    void *frames[FRAMES_MAX];
    int count = backtrace(frames, FRAMES_MAX);
    put("  backtrace:\n");
    if (count > 1)
        backtrace_symbols_fd(frames + 1, count - 1, STDERR_FILENO);
}

static void put_site(void *site)
{
    put("  spawned at: ");
    backtrace_symbols_fd(&site, 1, STDERR_FILENO);
}

/* Keeps the message for nx_join_message. */
static void keep_message(struct nxi_task *task, const char *message)
{
    struct nxi_cold *cold = nxi_task_cold(task);
    if (!cold)
        return;
    cold->ending = true;
    cold->message = nxi_alloc(strlen(message) + 1);
    if (cold->message)
        strcpy(cold->message, message);
}

const char *nxi_panic_message(const struct nxi_task *task)
{
    return task->cold && task->cold->message ? task->cold->message : "message lost";
}

static void report(struct nxi_task *task, const char *message)
{
    char line[MESSAGE_MAX + 128], name[64];
    if (task) {
        nxi_task_label(task, name, sizeof(name));
        snprintf(line, sizeof(line), "nexus: task '%s' panicked: %s\n", name, message);
        put(line);
        put_site(task->spawn_site);
    } else {
        snprintf(line, sizeof(line), "nexus: panic outside a task: %s\n", message);
        put(line);
    }
    put_backtrace();
}

void nx_panic(const char *format, ...)
{
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof(message), format, args);
    va_end(args);
    struct nxi_worker *worker = nxi_self();
    struct nxi_task *task = worker ? worker->current : NULL;
    report(task, message);
    if (!task || worker->runtime->on_panic != NX_PANIC_ISOLATE || (task->cold && task->cold->ending))
        abort();
    uint64_t ctl = atomic_load_explicit(&task->ctl, memory_order_relaxed);
    if ((ctl & (NXI_CTL_DETACHED | NXI_CTL_SERVED)) == NXI_CTL_DETACHED) {
        put("nexus: nobody can join the task, so the panic ends the process\n");
        abort();
    }
    keep_message(task, message);
    nxi_task_panicked(task);
}

/* A joinable task that panicked is detached, or its runtime destroyed, without anybody having joined it. */
void nxi_panic_unjoined(struct nxi_task *task)
{
    char line[MESSAGE_MAX + 128], name[64];
    nxi_task_label(task, name, sizeof(name));
    snprintf(line, sizeof(line), "nexus: task '%s' panicked (%s) and nobody joined it\n", name,
             nxi_panic_message(task));
    put(line);
    abort();
}
