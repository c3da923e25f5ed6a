/*
 * conform/run.c: a requirement in a child of its own; what ends that child is a verdict.
 *
 * Nothing of it outlives its requirement: the child leads a process group, which is killed when the child has ended or
 * its time is over, with what a plugin has forked. Where this program is stopped by a signal it kills the group, too;
 * where it is killed itself, the child's alarm clock does it.
 */
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
    const char *const places[] = {getenv("TMPDIR"), "/tmp"};
    char path[sizeof(report->folder)];

    for (size_t i = 0; i < 2; i++) {
        if (!places[i] || *places[i] != '/' || strlen(places[i]) > sizeof(path) - sizeof("/nexus-conform-XXXXXX"))
            continue;
        snprintf(path, sizeof(path), "%s/nexus-conform-XXXXXX", places[i]);
        if (mkdtemp(path))
            return strcpy(report->folder, path);
    }
    return NULL;
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

/* ---- signals that end this program: the child has to go first ---- */

static const int stops[] = {SIGHUP, SIGINT, SIGTERM};
#define STOPS (sizeof(stops) / sizeof(stops[0]))
static volatile sig_atomic_t stopped;
static struct sigaction stops_before[STOPS];

static void on_stop(int signal)
{
    stopped = signal;
}

static void heed_stops(void)
{
    for (size_t i = 0; i < STOPS; i++) {
        sigaction(stops[i], NULL, &stops_before[i]);
        if (stops_before[i].sa_handler == SIG_DFL)
            sigaction(stops[i], &(struct sigaction){.sa_handler = on_stop}, NULL);
    }
}

static void unheed_stops(void)
{
    for (size_t i = 0; i < STOPS; i++)
        sigaction(stops[i], &stops_before[i], NULL);
}

/* ---- the child ---- */

#define GRACE_S 5 /* after the limit: only where nobody is left to heed that */

static void child(const struct requirement *requirement, const struct subject *subject, uint32_t limit_ms)
    __attribute__((noreturn));
static void child(const struct requirement *requirement, const struct subject *subject, uint32_t limit_ms)
{
    struct rlimit no_core = {0, 0};

    unheed_stops();
    setpgid(0, 0);
    alarm(limit_ms / 1000 + GRACE_S);
    tells_all = true;
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(STDERR_FILENO, STDOUT_FILENO); /* what the plugin prints is no part of the report */
    windows_watch();
    requirement->run(subject);
    pass("%s", "");
}

#define SLICE_MS 50 /* a stop may come between a look and a wait */

/*
 * Until the child has ended, its time is over or this program is to stop. The pipe's other end is the child's and
 * hangs up as it ends; but what a plugin has forked may hold that, and a plugin may have closed it. The child is not
 * reaped yet: until then nobody else gets its number.
 */
static bool ends_in_time(pid_t pid, int fd, uint32_t limit_ms)
{
    const nx_time until = real_now() + (nx_time)limit_ms * 1000000;
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

    while (!stopped && real_now() < until) {
        siginfo_t ended = {0};

        if (waitid(P_PID, (id_t)pid, &ended, WEXITED | WNOHANG | WNOWAIT) == 0 && ended.si_pid == pid)
            return true;
        if (poll(&poll_fd, 1, poll_fd.fd < 0 ? 1 : SLICE_MS) > 0)
            poll_fd.fd = -1;
    }
    return false;
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
    heed_stops();
    pid = fork();
    if (pid < 0) {
        r = -errno;
        goto close_pipe;
    }
    if (pid == 0) {
        close(gone[0]);
        child(requirement, subject, limit_ms);
    }
    close(gone[1]);
    gone[1] = -1;
    in_time = ends_in_time(pid, gone[0], limit_ms);
    kill(-pid, SIGKILL); /* with what it has left */
    kill(pid, SIGKILL);  /* it may not have come to lead a group */
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    judge(status, in_time, limit_ms);
    remove_folder();
    *ret_report = *report;
close_pipe:
    unheed_stops();
    if (stopped)
        raise(stopped);
    close(gone[0]);
    if (gone[1] >= 0)
        close(gone[1]);
unmap:
    munmap(report, sizeof(*report));
    return r;
}
