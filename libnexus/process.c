/*
 * process.c: child processes.
 *
 * Starting one is posix_spawn(3), which is vfork's cousin in glibc: the child borrows our memory until it has called
 * exec, so nothing is copied, exec's error is known when it returns, and signals are blocked meanwhile. The worker is
 * held that long: measured 0.2 to 0.8 ms on a busy machine of two cpus, the same with 1 GiB touched. (Other systems:
 * os_spawn.c.) Then everything goes by a descriptor for the child (os_child.c): its readability is the end, and whoever
 * sees that first reaps and keeps the status.
 *
 * A process that is closed while it runs must not become a zombie: its descriptor goes to a thread that waits for all
 * such ones, is made with the first and ends with the last (reaper.c). It belongs to no runtime, since the child may
 * outlive them.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "core.h"
#include "os.h"
#include "reaper.h"
#include <fcntl.h>
#include <nexus/net.h>
#include <nexus/process.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

struct nx_process {
    struct nxi_child child;
    pthread_mutex_t lock; /* for the two below */
    bool ended;
    int status;
    nx_stream *streams[3]; /* ours: to its stdin, from its stdout and stderr */
};

/* ---- descriptors ---- */

/* What the child gets as 0, 1 and 2, while it is being made. All above 2, so that putting one in place overwrites none
 * of the others. -1: the parent's own, or where stdout goes. */
struct stdio {
    int child[3];
    int parent[3];
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static void close_all(int fds[3])
{
    for (int i = 0; i < 3; i++)
        close_fd(&fds[i]);
}

/* The descriptor, or a copy of it above the three; the given one is closed if ours. */
static int above_stdio(int fd, bool ours)
{
    if (fd > 2 && ours)
        return fd;
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    int error = copy < 0 ? -errno : 0;
    if (ours)
        close(fd);
    return error < 0 ? error : copy;
}

static int open_pipe(struct stdio *stdio, int which)
{
    int ends[2], error = nxi_os_pipe(ends, false);
    if (error < 0)
        return error;
    for (int end = 0; end < 2; end++) {
        int fd = above_stdio(ends[end], true);
        if (fd < 0) {
            if (end == 0)
                close(ends[1]);
            return fd;
        }
        *(end == (which == 0 ? 0 : 1) ? &stdio->child[which] : &stdio->parent[which]) = fd;
    }
    return 0;
}

static int open_one(struct stdio *stdio, int which, unsigned kind, int given)
{
    int fd = -1;
    switch (kind) {
    case NX_STDIO_PIPE:
        return open_pipe(stdio, which);
    case NX_STDIO_NULL:
        fd = open("/dev/null", (which == 0 ? O_RDONLY : O_WRONLY) | O_CLOEXEC);
        fd = fd < 0 ? -errno : above_stdio(fd, true);
        break;
    case NX_STDIO_FD:
        fd = above_stdio(given, false);
        break;
    default:
        return 0;
    }
    if (fd < 0)
        return fd;
    stdio->child[which] = fd;
    return 0;
}

static int open_stdio(const nx_process_options *options, struct stdio *stdio)
{
    const unsigned kinds[3] = {options->in, options->out, options->err};
    const int fds[3] = {options->in_fd, options->out_fd, options->err_fd};
    *stdio = (struct stdio){{-1, -1, -1}, {-1, -1, -1}};
    for (int i = 0; i < 3; i++) {
        int error = open_one(stdio, i, kinds[i], fds[i]);
        if (error < 0) {
            close_all(stdio->child);
            close_all(stdio->parent);
            return error;
        }
    }
    return 0;
}

/* ---- starting ---- */

static int start(const nx_process_options *options, const struct stdio *stdio, pid_t *ret_pid)
{
    const struct nxi_spawn what = {
        .argv = options->argv,
        .envp = options->envp,
        .cwd = options->cwd,
        .stdio = {stdio->child[0], stdio->child[1], stdio->child[2]},
        .err_as_out = options->err == NX_STDIO_STDOUT,
        .new_session = options->new_session,
    };
    return nxi_os_spawn(&what, ret_pid);
}

static bool good(const nx_process_options *options)
{
    const unsigned kinds[3] = {options->in, options->out, options->err};
    const int fds[3] = {options->in_fd, options->out_fd, options->err_fd};
    for (int i = 0; i < 3; i++)
        if (kinds[i] > NX_STDIO_STDOUT || (kinds[i] == NX_STDIO_STDOUT && i != 2) ||
            (kinds[i] == NX_STDIO_FD && fds[i] < 0))
            return false;
    return options->argv && options->argv[0];
}

static int wrap_pipes(struct nx_process *process, struct stdio *stdio)
{
    for (int i = 0; i < 3; i++) {
        if (stdio->parent[i] < 0)
            continue;
        int error = nx_stream_from_fd(stdio->parent[i], &process->streams[i]);
        if (error < 0)
            return error;
        stdio->parent[i] = -1; /* the stream's */
    }
    return 0;
}

static void close_streams(struct nx_process *process)
{
    for (int i = 0; i < 3; i++) {
        if (process->streams[i])
            nx_close(process->streams[i]);
        process->streams[i] = NULL;
    }
}

static void free_process(struct nx_process *process)
{
    pthread_mutex_destroy(&process->lock);
    nxi_free(process, sizeof(*process));
}

/* There is no descriptor for it. The child is ended, if it is ours still: where SIGCHLD is ignored, or somebody waits
 * for all children, its number may be another's already. */
static void end_without_fd(pid_t pid)
{
    siginfo_t info = {0};
    if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
        return;
    kill(pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
}

/* 0 or -errno; -ECHILD: it has ended and somebody else has reaped it. */
static int open_child(struct nx_process *process, pid_t pid)
{
    int error = nxi_child_open(pid, &process->child);
    if (error < 0 && error != -ECHILD)
        end_without_fd(pid);
    return error;
}

int nx_process_spawn(const nx_process_options *given, nx_process **ret_process)
{
    NXI_ENTRY(-ENOSYS);
    nx_process_options options;
    struct stdio stdio;
    if (!nxi_in_task())
        return nxi_no_task();
    if (!ret_process || nxi_options_copy(&options, sizeof(options), given) < 0 || !good(&options))
        return -EINVAL;
    struct nx_process *process = nxi_alloc(sizeof(*process));
    if (!process)
        return -ENOMEM;
    pthread_mutex_init(&process->lock, NULL);
    int error = open_stdio(&options, &stdio);
    if (error < 0) {
        free_process(process);
        return error;
    }
    /* The streams first: what fails after the start would have to end the child again. */
    error = wrap_pipes(process, &stdio);
    pid_t pid;
    if (error == 0)
        error = start(&options, &stdio, &pid);
    if (error == 0)
        error = open_child(process, pid);
    close_all(stdio.child);
    close_all(stdio.parent);
    if (error < 0) {
        close_streams(process);
        free_process(process);
        return error;
    }
    *ret_process = process;
    return 0;
}

/* ---- its end ---- */

/* Takes note of its end. 0; -EAGAIN: it runs; -ECHILD: somebody else has reaped it, and its status is lost. */
static int note_end(struct nx_process *process)
{
    pthread_mutex_lock(&process->lock);
    int error = 0;
    if (!process->ended) {
        error = nxi_child_reap(&process->child, &process->status);
        process->ended = error == 0;
    }
    pthread_mutex_unlock(&process->lock);
    return error;
}

int nx_process_wait(nx_process *process, int *ret_status, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (!process)
        return -EINVAL;
    if (nxi_task_cancelled(worker->current)) {
        nxi_charge(worker);
        return -ECANCELED;
    }
    int error = note_end(process);
    if (error == -EAGAIN && deadline != NX_POLL) {
        error = nx_fd_wait(process->child.fd, NX_READABLE, deadline);
        if (error >= 0)
            error = note_end(process);
    } else {
        nxi_charge(worker);
    }
    if (error == 0 && ret_status)
        *ret_status = process->status;
    return error;
}

int nx_process_kill(nx_process *process, int signo)
{
    NXI_ENTRY(-ENOSYS);
    if (nxi_forked())
        return -NX_EFORKED;
    if (!process || signo < 0 || signo > nxi_os_signal_max())
        return -EINVAL;
    if (nxi_child_ended(&process->child))
        return -ESRCH;
    pthread_mutex_lock(&process->lock); /* until it is reaped the number is the child's */
    int error = process->ended ? -ESRCH : nxi_child_kill(&process->child, signo);
    pthread_mutex_unlock(&process->lock);
    return error;
}

pid_t nx_process_pid(const nx_process *process)
{
    NXI_ENTRY(-ENOSYS);
    return process ? process->child.pid : -EINVAL;
}

static nx_stream *take(nx_process *process, int which)
{
    if (!process)
        return NULL;
    nx_stream *stream = process->streams[which];
    process->streams[which] = NULL;
    return stream;
}

nx_stream *nx_process_take_stdin(nx_process *process)
{
    NXI_ENTRY(NULL);
    return take(process, 0);
}

nx_stream *nx_process_take_stdout(nx_process *process)
{
    NXI_ENTRY(NULL);
    return take(process, 1);
}

nx_stream *nx_process_take_stderr(nx_process *process)
{
    NXI_ENTRY(NULL);
    return take(process, 2);
}

int nx_process_close(nx_process *process)
{
    NXI_ENTRY(-ENOSYS);
    if (!nxi_in_task())
        return nxi_no_task();
    if (!process)
        return 0;
    close_streams(process);
    if (note_end(process) == -EAGAIN)
        nxi_reap_later(&process->child);
    else
        close(process->child.fd);
    free_process(process);
    return 0;
}
