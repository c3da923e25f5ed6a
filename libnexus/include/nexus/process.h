/* nexus/process.h: the process around the tasks, and other processes: signals, pipes, children. */
#ifndef NEXUS_PROCESS_H
#define NEXUS_PROCESS_H

#include <nexus/base.h>
#include <nexus/net.h>
#include <nexus/task.h>
#include <sys/select.h> /* sigset_t, also under -std=c11 */

NX_BEGIN_DECLS

/*
 * Waits for a signal of the set; its number goes to *ret_signo. The first call for a signal takes its disposition, so
 * that it no longer ends the process; from then on an occurrence between two calls is kept for the next one. The old
 * disposition returns when the process' last runtime is destroyed. One waiter gets each occurrence;
 * several of one signal between two calls are one, as with sigwait(3). -EINVAL for an empty set or a signal that
 * can't be caught or belongs to the cpu (SIGSEGV, ...); -EAGAIN: 64 tasks are waiting for signals already. [parks]
 */
NX_API int nx_signal_wait(const sigset_t *set, int *ret_signo, nx_time deadline);

typedef struct nx_until_signal_options {
    size_t size;
    const sigset_t *signals;                 /* NULL: SIGINT and SIGTERM */
    int64_t drain_ns;                        /* after the first signal, 0: 30 s; < 0: no limit */
    void (*on_signal)(int signo, void *arg); /* called at the first signal, in the calling task; may be NULL */
    void *arg;
} nx_until_signal_options;

/*
 * Runs fn in a child task until it returns, or a signal comes: the first one cancels the child, which drains (nx_serve
 * in it stops accepting and lets its connections finish). A second signal, or drain_ns, forces: the process ends by
 * that signal's default action, so that its parent sees which; the second signal does so even if a task holds the
 * worker and doesn't let go, drain_ns is counted by the worker. 0, with fn's result in *ret_result (may be NULL); > 0:
 * it ended after this signal; -NX_EPANIC; -ECANCELED: the caller was cancelled, and the child with it. [parks]
 */
NX_API int nx_until_signal(const nx_until_signal_options *options, nx_task_fn fn, void *arg, intptr_t *ret_result);

/* The two ends of a pipe(2), as streams. In a task. */
NX_API int nx_pipe(nx_stream **ret_read, nx_stream **ret_write);

/* ---- child processes ---- */

typedef struct nx_process nx_process;

#define NX_STDIO_INHERIT 0u /* the parent's own */
#define NX_STDIO_PIPE 1u    /* a pipe to it: nx_process_take_stdin() and so on */
#define NX_STDIO_NULL 2u    /* /dev/null */
#define NX_STDIO_FD 3u      /* a descriptor of the caller's, duplicated */
#define NX_STDIO_STDOUT 4u  /* for stderr: where stdout goes */

typedef struct nx_process_options {
    size_t size;
    const char *const *argv; /* argv[0] is the program, looked up in PATH unless it has a slash; NULL ends it */
    const char *const *envp; /* NULL: the parent's */
    const char *cwd;         /* NULL: the parent's */
    unsigned in, out, err;   /* NX_STDIO_... */
    int in_fd, out_fd, err_fd;
    bool new_session; /* setsid(2) */
} nx_process_options;

/*
 * Starts a program. Signals are as at a program's start: none blocked, defaults; no other descriptor of this process is
 * open in it that is not meant to be. -ENOENT, -EACCES: the program can't be run; -ENOMEM, -EAGAIN, ...; -ECHILD: it
 * has ended already and others have reaped it. In a task.
 */
NX_API int nx_process_spawn(const nx_process_options *options, nx_process **ret_process);
/* Waits for its end: *ret_status is that of waitpid(2). Again and by many: the same. -ECHILD: it has ended, but its
 * status went to others, who wait for all children or ignore SIGCHLD; Linux keeps it all the same since 6.15. [parks]
 * */
NX_API int nx_process_wait(nx_process *process, int *ret_status, nx_time deadline);
/* -ESRCH: it has ended; never hits another process that got its number. [threads] */
NX_API int nx_process_kill(nx_process *process, int signo);
NX_API pid_t nx_process_pid(const nx_process *process);
/* The parent's end of a pipe, until taken the process'; NULL if there is none. Taking: the caller closes it. */
NX_API nx_stream *nx_process_take_stdin(nx_process *process);
NX_API nx_stream *nx_process_take_stdout(nx_process *process);
NX_API nx_stream *nx_process_take_stderr(nx_process *process);
/* Closes what was not taken and frees. One that still runs goes on and is reaped when it ends, without a zombie.
 * Never parks; NULL is fine. In a task. */
NX_API int nx_process_close(nx_process *process);

NX_END_DECLS
#endif
