/*
 * nexus/task.h: tasks. A task is a function with a stack of its own that may wait anywhere without holding a thread.
 *
 * Once it has started a task stays on its worker, so thread-local storage and errno are safe in it, unless it was
 * spawned NX_TASK_MIGRATABLE. The stack comes when it first runs; a task that waits in a queue is a header of at most
 * 192 bytes.
 */
#ifndef NEXUS_TASK_H
#define NEXUS_TASK_H

#include <nexus/base.h>

NX_BEGIN_DECLS

struct nx_runtime;

/* What a task runs. The result is the task's own business: a value, a pointer or -errno. */
typedef intptr_t (*nx_task_fn)(void *arg);

/* Process-wide id: slot and generation, > 0; < 0 is -errno. Never reused: a stale id gives -ESRCH. */
typedef int64_t nx_task;

/* Shares of a busy worker, not strict order: low never starves. */
enum nx_priority { NX_PRIO_NORMAL, NX_PRIO_HIGH, NX_PRIO_LOW };

#define NX_TASK_MIGRATABLE 1u /* may continue on another thread after it has started: keep no thread-local address */
#define NX_TASK_SPREAD 2u     /* starts on the least loaded worker instead of its parent's */
#define NX_TASK_FPENV 4u      /* has its own floating-point control words (rounding, masks) */

typedef struct nx_task_options {
    size_t size;
    const char *name;  /* copied; at most 63 bytes are kept */
    size_t stack_size; /* 0: the runtime's; rounded up to a size class */
    enum nx_priority priority;
    int worker_plus_1; /* 0: the scheduler's choice; n: worker n - 1, and never stolen from it */
    unsigned flags;    /* NX_TASK_... */
    size_t arg_size;   /* > 0: that many bytes of *arg are copied, and the task gets the copy's address */
} nx_task_options;

/*
 * Starts a task on the calling task's runtime: when the caller parks, or at once on another worker under a scheduler
 * that steals. The result is its id, to be joined or detached exactly once. From a plain thread: -NX_ENOTASK.
 * -ENOMEM; then arg is still the caller's. From then on arg belongs to the task, even when it is cancelled before it
 * starts: it still runs.
 */
NX_API NX_MUST_USE nx_task nx_spawn(nx_task_fn fn, void *arg);
NX_API NX_MUST_USE nx_task nx_spawn_with(const nx_task_options *options, nx_task_fn fn, void *arg);

/* Starts a task on a runtime from anywhere: a plain thread, or a task of another runtime. -ESHUTDOWN once the runtime
 * is shutting down, for callers outside it. [threads] */
NX_API NX_MUST_USE nx_task nx_spawn_on(struct nx_runtime *runtime, const nx_task_options *options, nx_task_fn fn,
                                       void *arg);

/* Starts a task nobody joins. 0 or -errno as nx_spawn. A panic in it aborts the process. */
NX_API int nx_go(nx_task_fn fn, void *arg);

/*
 * Waits until the task has ended, takes its result and gives the id up. ret_result may be NULL.
 *   0           *ret_result is what fn returned (also after a cancel: the task decides what it returns)
 *   -NX_EPANIC  the task panicked; the id stays for nx_join_message() until nx_detach()
 *   -ETIMEDOUT, -EAGAIN (NX_POLL), -ECANCELED (the caller was cancelled): the task goes on, the id stays valid
 *   -ESRCH stale id; -EINVAL detached task; -EBUSY somebody else is joining; -EDEADLK a task joining itself
 * [parks] [threads]
 */
NX_API int nx_join(nx_task task, intptr_t *ret_result, nx_time deadline);

/* After -NX_EPANIC: the panic's message, cut to size. Its full length, or -ESRCH, -EINVAL (did not panic). [threads] */
NX_API int nx_join_message(nx_task task, char *ret_message, size_t size);

/* Nobody will join: the id goes when the task ends. -ESRCH, -EINVAL (already detached), -EBUSY (being joined).
 * [threads] */
NX_API int nx_detach(nx_task task);

/*
 * Asks a task to end: from now on each of its [parks] calls returns -ECANCELED; one that is waiting returns as soon as
 * its operation has settled. What was already transferred is returned first. Cancelling twice, or a task that has just
 * ended, does nothing: 0. -ESRCH for a stale id. [threads]
 */
NX_API int nx_cancel(nx_task task);

/* Whether the calling task has been cancelled and is not shielded. False outside a task. */
NX_API bool nx_cancelled(void);

/*
 * Until the given time cancellation is not seen by this task, so that clean-up may wait; 0 ends the shield, NX_FOREVER
 * keeps it. Returns the previous value, to be put back. Outside a task, or when there is no memory for it: 0, and there
 * is no shield.
 */
NX_API nx_time nx_shield(nx_time until);

/* Lets other ready tasks run. Does nothing outside a task. [parks] */
NX_API void nx_yield(void);

/* The calling task's id, or -NX_ENOTASK. */
NX_API nx_task nx_self(void);

/* A task's name, cut to size; its length, 0 for a task without one. -ESRCH. [threads] */
NX_API int nx_task_name(nx_task task, char *ret_name, size_t size);

/* Calls fn(arg) when the task ends, last registered first, after a panic too. The function may park.
 * -ENOMEM, -NX_ENOTASK. */
NX_API int nx_defer(void (*fn)(void *arg), void *arg);

/*
 * Ends the task for a reason that is a bug. Prints the message, the task's name, where it was spawned and a backtrace.
 * Under NX_PANIC_ABORT, or in a task nobody joins, or outside a task: abort(3). Under NX_PANIC_ISOLATE: runs the task's
 * deferred functions; its joiner gets -NX_EPANIC. Memory that was not deferred is leaked.
 */
NX_API NX_NORETURN NX_PRINTF(1, 2) void nx_panic(const char *format, ...);

/* Task-local storage. A key is made once per process and never freed; the destructor (may be NULL) is called at a
 * task's end for a value that is not NULL. -EAGAIN: out of keys (64). [threads] */
typedef uint32_t nx_local_key;
NX_API int nx_local_key_create(void (*destructor)(void *value), nx_local_key *ret_key);
NX_API void *nx_local_get(nx_local_key key); /* NULL if unset, or outside a task */
NX_API int nx_local_set(nx_local_key key, void *value);

/* ---- scopes: children that end before their scope does ---- */

typedef struct nx_scope nx_scope;

#define NX_SCOPE_COLLECT 1u /* a child's error leaves its siblings alone; else the first error cancels them */

typedef struct nx_scope_options {
    size_t size;
    int64_t timeout_ns; /* 0: none. Then every wait in the scope, its opener's included, gives -ETIMEDOUT */
    unsigned flags;     /* NX_SCOPE_... */
} nx_scope_options;

/*
 * Opens a scope in the calling task, inside the scopes that it, or whoever spawned it into one, is in already: of
 * nested deadlines the earliest counts. Scopes close in the reverse order of opening; one still open when its task
 * ends is cancelled and closed then. nx_shield holds off scope deadlines as it does cancels: clean-up may do I/O.
 * -ENOMEM, -NX_ENOTASK.
 */
NX_API int nx_scope_open(const nx_scope_options *options, nx_scope **ret_scope);

/*
 * Spawns a child of the scope: by its opener, or by a task of the scope for itself a sibling. The scope joins it: a
 * result < 0 is an error, a panic is -NX_EPANIC. Neither cancels the opener, which is told by the close: what it waits
 * for elsewhere in the scope, and would not wait for after an error, belongs in a child. The id may be cancelled, not
 * joined or detached (-EBUSY). As nx_spawn_with; -ECANCELED once the scope is cancelled, -ETIMEDOUT after its
 * deadline; -EPERM: the caller is not in it.
 */
NX_API NX_MUST_USE nx_task nx_scope_spawn(nx_scope *scope, nx_task_fn fn, void *arg);
NX_API NX_MUST_USE nx_task nx_scope_spawn_with(nx_scope *scope, const nx_task_options *options, nx_task_fn fn,
                                               void *arg);

/* Cancels all children, present and to come. By any task of the scope, else -EPERM. */
NX_API int nx_scope_cancel(nx_scope *scope);

/*
 * Waits for all children and frees the scope, always: the deadline, or a cancel of the caller, cancels the children,
 * and they are waited for all the same. 0; the first error of a child; -ETIMEDOUT, -ECANCELED if that ended them and no
 * child failed before. NX_POLL is a deadline in the past. -EPERM (the scope is not the caller's innermost) leaves it
 * open. [parks]
 */
NX_API int nx_scope_close(nx_scope *scope, nx_time deadline);

/* ---- calls that block ---- */

/*
 * Runs fn(arg) on a thread of the runtime's blocking pool (nx_runtime_options.blocking_threads) and waits for it: 0,
 * with what it returned in *ret_result (may be NULL). Deadline and cancel take back what has not begun: -ETIMEDOUT,
 * -ECANCELED, and fn is never called; once begun it is waited for. -EAGAIN: no thread can be had, or NX_POLL. fn is
 * not in a task: it must not park. [parks]
 */
NX_API int nx_blocking(nx_task_fn fn, void *arg, intptr_t *ret_result, nx_time deadline);

NX_END_DECLS
#endif
