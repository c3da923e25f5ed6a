/* nexus/runtime.h: runtimes: worker threads with a driver and a scheduler. A process may have several. */
#ifndef NEXUS_RUNTIME_H
#define NEXUS_RUNTIME_H

#include <nexus/base.h>
#include <nexus/task.h>

NX_BEGIN_DECLS

typedef struct nx_runtime nx_runtime;

#define NX_PIN_BACKEND 1u /* the environment may not override options.backend */
#define NX_PIN_SCHED 2u
#define NX_PIN_WORKERS 4u /* options.workers and options.cpus */

#define NX_NO_SIGSEGV 1u /* leave SIGSEGV and SIGBUS alone: a stack overflow then dies without its sentence */

enum nx_panic_policy { NX_PANIC_ABORT, NX_PANIC_ISOLATE };
enum nx_log_level { NX_LOG_ERROR, NX_LOG_WARN, NX_LOG_INFO, NX_LOG_DEBUG };

typedef struct nx_runtime_options {
    size_t size;
    unsigned workers;        /* 0: the cpus this process may use (affinity, cgroup quota) */
    const char *thread_name; /* default "nexus-worker": threads nexus-worker-0, nexus-worker-1, ... */
    const char *backend;     /* a list as in NEXUS_BACKEND; NULL: automatic */
    const char *scheduler;   /* a list as in NEXUS_SCHED; NULL: automatic */
    unsigned pin;            /* NX_PIN_... */
    const char *cpus;        /* "auto": a cpu per worker; "none" (default); or a list such as "0-3,6" */
    size_t stack_size;       /* of tasks; default 64 KiB (256 KiB under AddressSanitizer) */
    enum nx_panic_policy on_panic;
    unsigned flags;   /* NX_NO_SIGSEGV */
    int64_t grace_ns; /* nx_runtime_shutdown lets tasks finish this long before it cancels them; default 0 */
    void (*log)(void *arg, int level, const char *message); /* any thread; default: stderr */
    void *log_arg;
    char *error; /* where create puts the sentence why it failed */
    size_t error_size;
} nx_runtime_options;

/*
 * Starts a runtime: all workers up, or everything undone. -errno, with a sentence in options->error that names the
 * cause and the remedy; -EINVAL for a bad option or list, -ENOENT for an unknown plugin, the driver's reason otherwise.
 */
NX_API int nx_runtime_create(const nx_runtime_options *options, nx_runtime **ret_runtime);

/*
 * Runs fn as a task and waits for it in the calling thread. 0, with what fn returned in *ret_result (may be NULL);
 * -NX_EPANIC under NX_PANIC_ISOLATE; -ESHUTDOWN; in a task: -EDEADLK. [threads]
 */
NX_API int nx_block_on(nx_runtime *runtime, nx_task_fn fn, void *arg, intptr_t *ret_result);

/*
 * No new tasks from outside (-ESHUTDOWN); every nx_serve stops accepting and drains; after options.grace_ns all tasks
 * are cancelled; waits for their end. 0, or -ETIMEDOUT at the deadline: the tasks still there are named in the log.
 * May be called again. In a task of this runtime: -EDEADLK. [threads]
 */
NX_API int nx_runtime_shutdown(nx_runtime *runtime, nx_time deadline);

/* Shuts down (without grace, waiting up to a second), ends the workers and frees the runtime. Tasks that would not
 * end are logged by name and leaked with what they use, never freed. NULL is fine. Not from a task of this runtime. */
NX_API void nx_runtime_destroy(nx_runtime *runtime);

/*
 * A whole main(): creates a runtime, runs fn, shuts down. The result is for main to return: fn's own if it is 0 to 125;
 * else 1, after a sentence on stderr.
 */
NX_API int nx_run(nx_task_fn fn, void *arg);

/* What a runtime chose, and why not the others. Strings live as long as the runtime. */
struct nx_runtime_info {
    size_t size;
    const char *backend;      /* name of the network driver, "epoll" */
    const char *backend_path; /* its file; "" if built in */
    const char *file_backend;
    const char *scheduler;
    const char *scheduler_path;
    const char *why; /* the decision, a sentence a line: candidates, refusals, the rule that decided */
    unsigned workers;
    unsigned task_size; /* bytes of a task's header */
    size_t stack_size;  /* of a task by default, guard included */
    size_t live_tasks;
};
NX_API int nx_runtime_info(nx_runtime *runtime, struct nx_runtime_info *ret_info);

NX_END_DECLS
#endif
