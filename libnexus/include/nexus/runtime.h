/* nexus/runtime.h: runtimes: worker threads with a backend and a scheduler. A process may have several. */
#ifndef NEXUS_RUNTIME_H
#define NEXUS_RUNTIME_H

#include <nexus/base.h>
#include <nexus/task.h>

NX_BEGIN_DECLS

typedef struct nx_runtime nx_runtime;

#define NX_PIN_BACKEND 1u /* the environment may not override options.backend */
#define NX_PIN_SCHED 2u
#define NX_PIN_WORKERS 4u /* options.workers and options.cpus */

#define NX_NO_SIGSEGV 1u      /* leave SIGSEGV and SIGBUS alone: a stack overflow then dies without its sentence */
#define NX_DUMP_ON_SIGQUIT 2u /* SIGQUIT (Ctrl-\\) writes nx_dump to stderr instead of ending the process */

enum nx_panic_policy { NX_PANIC_ABORT, NX_PANIC_ISOLATE };
enum nx_log_level { NX_LOG_ERROR, NX_LOG_WARN, NX_LOG_INFO, NX_LOG_DEBUG };

typedef struct nx_runtime_options {
    size_t size;               /* sizeof(nx_runtime_options). One that can't be is -EINVAL, and error isn't looked at */
    unsigned workers;          /* 0: the cpus this process may use (affinity, cgroup quota) */
    const char *thread_name;   /* default "nexus-worker": threads nexus-worker-0, nexus-worker-1, ... */
    const char *backend;       /* a list as in NEXUS_BACKEND; NULL: automatic */
    const char *scheduler;     /* a list as in NEXUS_SCHED; NULL: automatic */
    unsigned pin;              /* NX_PIN_... */
    const char *cpus;          /* "auto": a cpu per worker; "none" (default); or a list such as "0-3,6" */
    size_t stack_size;         /* of tasks; default 64 KiB (256 KiB under AddressSanitizer) */
    unsigned blocking_threads; /* most threads for nx_blocking and emulated files; 0: 64. They come and go as needed */
    enum nx_panic_policy on_panic;
    unsigned flags;   /* NX_NO_SIGSEGV, NX_DUMP_ON_SIGQUIT */
    int64_t grace_ns; /* nx_runtime_shutdown lets tasks finish this long before it cancels them; default 0 */
    void (*log)(void *arg, int level, const char *message); /* any thread; default: stderr */
    void *log_arg;
    char *error; /* where create puts the sentence why it failed */
    size_t error_size;
} nx_runtime_options;

/*
 * Starts a runtime: all workers up, or everything undone. -errno, with a sentence in options->error that names the
 * cause and the remedy; -EINVAL for a bad option or list, -ENOENT for an unknown plugin, the backend's reason
 * otherwise.
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
    const char *backend;      /* name of the network backend, "epoll" */
    const char *backend_path; /* its file; "" if built in */
    const char *file_backend; /* "pool": files are served by the blocking pool */
    const char *scheduler;
    const char *scheduler_path;
    const char *why; /* the decision, a sentence a line: candidates, refusals, the rule that decided */
    unsigned workers;
    unsigned task_size; /* bytes of a task's header */
    size_t stack_size;  /* of a task by default, guard included */
    size_t live_tasks;
};
NX_API int nx_runtime_info(nx_runtime *runtime, struct nx_runtime_info *ret_info);

/* The calling task's runtime; NULL outside a task. */
NX_API nx_runtime *nx_runtime_current(void);

/* Operations counted by nx_metrics.ops: the driver ABI's NX_OP_... codes; nx_op_name(code) is "read". */
#define NX_METRICS_OPS 32u
NX_API const char *nx_op_name(unsigned code); /* NULL: there is none. Static. [threads] */

/* Of one worker, since it started; counts only grow but for the gauges. */
struct nx_worker_metrics {
    uint64_t tasks_live;          /* gauge */
    uint64_t tasks_spawned;       /* by tasks of this worker; the total has those spawned from outside too */
    uint64_t tasks_stolen;        /* taken from other workers */
    uint64_t switches;            /* tasks run: starts, resumptions and yields */
    uint64_t polls;               /* looks at the backends without waiting */
    uint64_t parks;               /* waits in a backend */
    uint64_t wakes;               /* doorbells this worker was rung by */
    uint64_t inbox;               /* messages from other threads */
    uint64_t ops[NX_METRICS_OPS]; /* submitted to backends, by code */
    uint64_t ops_inline;          /* of these completed in submit */
    uint64_t ops_in_flight;       /* gauge */
    uint64_t kernel_entries;      /* system calls of the backends for I/O, as they report them */
    uint64_t timers;              /* gauge: running */
    uint64_t timers_fired;
    uint64_t queue_high;    /* most tasks that were ready at once, as counted here */
    uint64_t stacks_cached; /* gauge */
    uint64_t stacks_made;   /* that came from no cache */
};

struct nx_pool_metrics {            /* of the blocking pool, of the resolver's */
    uint64_t threads, busy, queued; /* gauges */
    uint64_t queue_high, jobs;
};

struct nx_metrics {
    size_t size; /* sizeof(struct nx_metrics), set by the caller */
    unsigned workers;
    unsigned worker_room;             /* set by the caller: room in worker[] */
    struct nx_worker_metrics *worker; /* set by the caller: NULL, or worker_room of them */
    struct nx_worker_metrics total;   /* sums; queue_high: the highest */
    struct nx_pool_metrics blocking, resolver;
};

/* What has happened so far. Always on; reads counters without stopping anything, so that they may be a moment apart.
 * -EINVAL: a wrong size. [threads] */
NX_API int nx_runtime_metrics(nx_runtime *runtime, struct nx_metrics *ret_metrics);

/*
 * Writes to fd, for a person to read: every task of every runtime with name, state, what it waits for and since when,
 * spawn site, backtrace, how deep its stack has been. Running tasks are shown without backtrace. Meant for a process
 * that hangs: it takes no lock that a task may hold and asks no worker; what moves meanwhile may be shown half.
 * -errno of write(2). Blocks the calling thread. [threads]
 */
NX_API int nx_dump(int fd);

NX_END_DECLS
#endif
