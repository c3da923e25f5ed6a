/*
 * watchdog.c: ends a program whose case hangs, after saying which case, where its threads are and which tasks are left.
 *
 * A thread of its own, not alarm(2): the main thread may be the one that is stuck, and the report takes locks.
 */
#include "core.h"
#include "nxt.h"
#include <dirent.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
static const char *running;
static nx_time due;

/* SIGPROF is among the few that workers don't block. */
static void print_stack(int signo)
{
    void *frames[24];
    (void)signo;
    int saved_errno = errno;
    backtrace_symbols_fd(frames, backtrace(frames, (int)NXT_COUNT(frames)), STDOUT_FILENO);
    errno = saved_errno;
}

static void print_file(int thread, const char *name)
{
    char path[64], text[256];
    snprintf(path, sizeof(path), "/proc/self/task/%d/%s", thread, name);
    FILE *file = fopen(path, "r");
    if (!file)
        return;
    if (fgets(text, sizeof(text), file))
        printf("#   %s: %s%s", name, text, strchr(text, '\n') ? "" : "\n");
    fclose(file);
}

static void print_threads(void)
{
    if (NXT_TSAN)
        return; /* it takes backtrace(3) in a handler for what it is, and says only that */
    struct sigaction action = {.sa_handler = print_stack, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigaction(SIGPROF, &action, NULL);
    DIR *directory = opendir("/proc/self/task");
    for (struct dirent *entry; directory && (entry = readdir(directory));) {
        int thread = atoi(entry->d_name);
        if (thread <= 0 || thread == nxt_thread_id())
            continue;
        printf("# thread %d\n", thread);
        print_file(thread, "comm");
        print_file(thread, "wchan");
        print_file(thread, "syscall");
        fflush(stdout);
        syscall(SYS_tgkill, getpid(), thread, SIGPROF);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL); /* for it to write; nothing depends on it */
    }
    if (directory)
        closedir(directory);
}

static void print_task(void *arg, struct nxi_task *task, uint64_t ctl)
{
    static const char *const states[] = {"free", "new", "ready", "running", "parked", "ended"};
    unsigned *count = arg;
    char name[64];
    if (++*count > 40)
        return;
    nxi_task_label(task, name, sizeof(name));
    unsigned state = atomic_load(&task->state);
    printf("#   task %s: %s, ctl 0x%x\n", name, state < NXT_COUNT(states) ? states[state] : "?", (unsigned)ctl);
}

static void print_runtime(void *arg, nx_runtime *runtime)
{
    unsigned count = 0;
    (void)arg;
    printf("# runtime %p:\n", (void *)runtime);
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        struct nxi_worker *worker = runtime->workers[i];
        printf("#   worker %u: state %u, inbox %s, asleep %d\n", i, atomic_load(&worker->state),
               atomic_load(&worker->inbox) ? "full" : "empty", worker->asleep);
    }
    nxi_tasks_each(runtime, print_task, &count);
    printf("#   %u tasks are left\n", count);
}

static _Noreturn void give_up(const char *name)
{
    printf("# %s hangs: it has not ended in its time\n", name);
    nxt_each_runtime(print_runtime, NULL);
    print_threads();
    nxt_expect_report();
    printf("not ok - %s hangs\n", name);
    fflush(stdout);
    _exit(124);
}

static void *watch(void *arg)
{
    (void)arg;
    pthread_mutex_lock(&lock);
    for (;;) {
        if (!running) {
            pthread_cond_wait(&changed, &lock);
        } else if (nxt_clock() >= due) {
            give_up(running);
        } else {
            struct timespec until = {.tv_sec = (time_t)(due / 1000000000), .tv_nsec = (long)(due % 1000000000)};
            pthread_cond_timedwait(&changed, &lock, &until);
        }
    }
    return NULL;
}

void nxt_watchdog_start(void)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&changed, &attributes);
    pthread_condattr_destroy(&attributes);
    sigset_t all, old;
    sigfillset(&all); /* the signals of a case are for the case's threads */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    pthread_t thread;
    int error = pthread_create(&thread, NULL, watch, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (error != 0) {
        fprintf(stderr, "nxt: no thread for the watchdog: %s\n", strerror(error));
        exit(1);
    }
    pthread_detach(thread);
}

void nxt_watchdog_set(const char *name, int seconds)
{
    pthread_mutex_lock(&lock);
    running = name;
    due = nxt_clock() + (nx_time)seconds * 1000000000;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}
