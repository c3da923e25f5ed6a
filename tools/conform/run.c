/* conform/run.c: a requirement in a child of its own; what ends that child is a verdict. */
#define _GNU_SOURCE
#include "conform.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static struct report *report;        /* shared with the parent */
static _Thread_local bool tells_all; /* the child's first thread: what others do is not what it is stuck in */

static void conclude(enum verdict verdict, const char *format, va_list args) __attribute__((noreturn));
static void conclude(enum verdict verdict, const char *format, va_list args)
{
    enum verdict none = VERDICT_NONE;

    /* Of several threads the first one tells, and ends the process when it has. */
    while (!__atomic_compare_exchange_n(&report->verdict, &none, verdict, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        pause();
    vsnprintf(report->text, sizeof(report->text), format, args);
    _exit(0);
}

void fail(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    conclude(VERDICT_FAIL, format, args);
}

void skip(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    conclude(VERDICT_SKIP, format, args);
}

static void pass(const char *format, ...) NX_PRINTF(1, 2) __attribute__((noreturn));
static void pass(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    conclude(VERDICT_PASS, format, args);
}

void doing(const char *format, ...)
{
    va_list args;

    if (!tells_all)
        return;
    va_start(args, format);
    vsnprintf(report->doing, sizeof(report->doing), format, args);
    va_end(args);
}

const char *scratch_folder(void)
{
    const char *place = getenv("TMPDIR");
    char path[sizeof(report->folder)];

    if (!place || *place != '/' || strlen(place) > sizeof(path) - sizeof("/nexus-conform-XXXXXX"))
        place = "/tmp";
    snprintf(path, sizeof(path), "%s/nexus-conform-XXXXXX", place);
    if (!mkdtemp(path))
        return NULL;
    return strcpy(report->folder, path);
}

static void remove_folder(void)
{
    DIR *folder = report->folder[0] ? opendir(report->folder) : NULL;

    if (!folder)
        return;
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        if (unlinkat(dirfd(folder), entry->d_name, 0) < 0 && entry->d_name[0] != '.')
            unlinkat(dirfd(folder), entry->d_name, AT_REMOVEDIR);
    closedir(folder);
    rmdir(report->folder);
}

static void child(const struct requirement *requirement, const struct subject *subject) __attribute__((noreturn));
static void child(const struct requirement *requirement, const struct subject *subject)
{
    struct rlimit no_core = {0, 0};

    tells_all = true;
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(STDERR_FILENO, STDOUT_FILENO); /* what the plugin prints is no part of the report */
    windows_watch();
    requirement->run(subject);
    pass("%s", "");
}

/* The pipe's other end is the child's alone: it closes when the child is gone. */
static bool ends_in_time(int fd, uint32_t limit_ms)
{
    const nx_time until = real_now() + (nx_time)limit_ms * 1000000;
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    for (;;) { /* ends: until comes */
        nx_time left = until - real_now();

        if (left <= 0)
            return false;
        if (poll(&poll_fd, 1, (int)(left / 1000000) + 1) > 0)
            return true;
    }
}

static void judge(int status, bool in_time, uint32_t limit_ms)
{
    const char *during = report->doing[0] ? report->doing : "the start";

    if (report->verdict != VERDICT_NONE)
        return;
    report->verdict = VERDICT_FAIL;
    if (!in_time)
        snprintf(report->text, sizeof(report->text), "nothing had ended after %u s; last begun: %s", limit_ms / 1000,
                 during);
    else if (WIFSIGNALED(status))
        snprintf(report->text, sizeof(report->text), "the process got signal %d (%s); last begun: %s", WTERMSIG(status),
                 strsignal(WTERMSIG(status)), during);
    else
        snprintf(report->text, sizeof(report->text), "the process exited with status %d; last begun: %s",
                 WEXITSTATUS(status), during);
}

int run_requirement(const struct requirement *requirement, const struct subject *subject, uint32_t limit_ms,
                    struct report *ret_report)
{
    int gone[2], status = 0, r = 0;
    pid_t pid;
    bool in_time;

    report = mmap(NULL, sizeof(*report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANON, -1, 0);
    if (report == MAP_FAILED)
        return -errno;
    if (pipe(gone) < 0) {
        r = -errno;
        goto unmap;
    }
    fflush(NULL);
    pid = fork();
    if (pid < 0) {
        r = -errno;
        goto close_pipe;
    }
    if (pid == 0)
        child(requirement, subject);
    close(gone[1]);
    gone[1] = -1;
    in_time = ends_in_time(gone[0], limit_ms);
    if (!in_time)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    judge(status, in_time, limit_ms);
    remove_folder();
    *ret_report = *report;
close_pipe:
    close(gone[0]);
    if (gone[1] >= 0)
        close(gone[1]);
unmap:
    munmap(report, sizeof(*report));
    return r;
}
