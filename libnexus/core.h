/*
 * core.h: the types that the files of the core share, and who may touch which field.
 *
 * A task header is type-stable: its memory is a task header for the life of the process, so that a stale id can be
 * looked up without a lock. Everything about a task that is not atomic belongs to the worker it is at home on.
 */
#ifndef NXI_CORE_H
#define NXI_CORE_H

#include "fiber.h"
#include "loader.h"
#include "stack.h"
#include "timer.h"
#include "util.h"
#include <nexus/driver.h>
#include <nexus/nexus.h>
#include <nexus/runtime.h>
#include <nexus/sched.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

struct nxi_worker;
struct nxi_task;

/* ---- messages to a worker (inbox.c) ---- */

/* Posted to a worker; run(node) is called on its thread. The node is the poster's again from then on. */
struct nxi_node {
    struct nxi_node *next;
    void (*run)(struct nxi_worker *worker, struct nxi_node *node);
};

/* ---- tasks (task.c) ---- */

enum nxi_task_state { NXI_FREE, NXI_NEW, NXI_READY, NXI_RUNNING, NXI_PARKED, NXI_ENDED };

/* Bits of nxi_task.ctl, below the generation. */
#define NXI_CTL_CANCEL 1u    /* cancelled */
#define NXI_CTL_DONE 2u      /* ended; result is valid */
#define NXI_CTL_JOINER 4u    /* nxi_task.joiner is registered */
#define NXI_CTL_DETACHED 8u  /* nobody joins */
#define NXI_CTL_QUEUED 16u   /* nxi_task.node is on its way to, or in, an inbox */
#define NXI_CTL_RETIRE 32u   /* given up while QUEUED: whoever clears QUEUED frees it */
#define NXI_CTL_PANICKED 64u /* ended by a panic */
#define NXI_CTL_SERVING 128u /* is in nx_serve: shutdown cancels it first */
#define NXI_CTL_CLAIMED 256u /* somebody joins, or has joined */
#define NXI_CTL_SEEN 512u    /* a joiner has been told of the panic */
#define NXI_CTL_SERVED 1024u /* detached, but its server deals with a panic of it */

/* nxi_task.flags, beside NX_TASK_... in the low bits */
#define NXI_TASK_PINNED 16u   /* bound to its worker, even before it starts */
#define NXI_TASK_LIMITED 32u  /* cold->limit is set */
#define NXI_TASK_INJECTED 64u /* task->worker is a guess until it is taken */
#define NXI_TASK_DEEP 128u    /* its stack's alarm is not where it usually is */

/* The first line is what a switch touches, the second what a spawn, a join and an end do as well. */
struct nxi_task {
    _Alignas(64) struct nx_ready ready; /* the scheduler's */
    struct nxi_fiber fiber;
    struct nxi_stack *stack; /* NULL until it first runs */
    _Atomic uint8_t state;   /* nxi_task_state; the home worker's, RMW where a migration may race */
    uint8_t flags;
    uint8_t pins; /* waits that tie a migratable task to its worker */
    bool bare;    /* it has left by nxi_fiber_jump(): what is to happen on its return is up to who switches to it */
    uint32_t stack_size;

    _Atomic uint64_t ctl; /* generation << 32 | NXI_CTL_...; any thread, by compare-and-swap or RMW */
    nx_task_fn fn;
    union {
        void *arg;                        /* until fn is called */
        const struct nxi_waiter *waiting; /* while PARKED; others look with nxi_snoop alone */
        intptr_t result;                  /* once DONE */
    };
    _Atomic(struct nxi_worker *) worker; /* home; written by the worker that takes the task over */
    struct nxi_waiter *joiner;           /* valid while CTL_JOINER */
    _Atomic(struct nxi_cold *) cold;     /* NULL until needed; made by the home worker */
    void *spawn_site;                    /* return address of the spawn */
    uint32_t slot;

    struct nxi_node node; /* the start of a task spawned from elsewhere; then cancels from elsewhere */
    _Alignas(16) char arg_copy[48];
};

#if defined(__LP64__) && !defined(NXI_ASAN) && !defined(NXI_TSAN)
_Static_assert(offsetof(struct nxi_task, ctl) == 64 && offsetof(struct nxi_task, node) == 128 &&
                   sizeof(struct nxi_task) == 192,
               "a task header is three cache lines");
#endif

/* What few tasks need. */
struct nxi_cold {
    char name[64];
    nx_time shield;
    nx_time limit;                             /* while LIMITED: the earliest deadline of the scopes it is in */
    struct nx_scope *scope;                    /* the innermost one that it has opened, or that it is a child of */
    struct nxi_task *child_next, **child_link; /* of a scope's child, under the scope's lock */
    ssize_t select_result;
    struct nxi_defer *defers;
    void **locals;
    char *message; /* of the panic */
    void *big_arg; /* a copied argument larger than arg_copy */
    size_t big_arg_size;
    struct nxi_fpenv fpenv;
    bool ending; /* it has panicked: a panic from here on aborts */
};

/* Which of several waiters of one task is to be served (nx_selectv): whoever wants to serve one claims the choice
 * first. */
struct nxi_choice {
    _Atomic uint32_t winner; /* 0: open; else the winner's number */
    atomic_bool stirred;     /* the owner worker's: one of its waiters has been woken, for whatever reason */
};

/* What a waiter waits for, for nx_dump. Where nobody says (nxi_waiter_note) the backtrace has to. */
enum nxi_wait_object { NXI_OBJECT_NONE, NXI_OBJECT_HANDLE, NXI_OBJECT_TASK, NXI_OBJECT_POINTER };

struct nxi_wait_note {
    const char *what; /* static: "read"; NULL: not said */
    uint64_t object;  /* as kind has it */
    enum nxi_wait_object kind;
    nx_time since; /* the time at the begin of the loop's turn: no clock is read */
};

/* Somebody who waits for another's doing: a task or a plain thread (waiter.c). Lives on the waiter's stack. */
struct nxi_waiter {
    struct nxi_node node;
    struct nxi_task *task;     /* NULL: a plain thread */
    struct nxi_worker *worker; /* the task's, while it waits */
    struct nxi_timer timer;
    struct nxi_waiter *next, **link; /* in the list of what it waits for; link is NULL outside */
    struct nxi_choice *choice;       /* NULL: it waits for this alone */
    uint32_t number;                 /* in the choice, from 1 */
    uint32_t weight;                 /* what it asks for: a semaphore's units, a lock's kind */
    void *data;                      /* what is handed over, or where to */
    int64_t result;
    atomic_bool woken;
    bool timed_out;
    struct nxi_wait_note note;
};

/* Waiters in order of arrival. All zeros is empty. Under the lock of what is waited for. */
struct nxi_waiters {
    struct nxi_waiter *first, **last;
};

/* ---- workers (worker.c) ---- */

enum nxi_worker_state { NXI_WORKER_RUNNING, NXI_WORKER_IDLE, NXI_WORKER_PARKED, NXI_WORKER_NOTIFIED };

#define NXI_DRIVERS_MAX 2u /* one per domain: network and foreign descriptors; files */
#define NXI_WORKERS_MAX 256u
#define NXI_STACK_MAX (64u << 20)
#define NXI_COMPLETIONS_MAX 256u /* completions taken per poll: what a flood on one socket can hold timers up for */
#define NXI_TURN_TASKS 128u      /* tasks run per loop turn, before drivers and timers are looked at */
#define NXI_TASK_CREDIT 128      /* inline completions before a task must let others run */

struct nxi_op;

struct nxi_driver {
    const struct nx_driver_ops *ops;
    struct nx_driver *instance;
    struct nx_ctx *ctx;
};

/*
 * What has happened on a worker (metrics.c). Written by the owner alone, by load and store and no RMW; read by anybody.
 * Each is one plain instruction on a line that the worker has in its cache; doc/design/metrics.md has the cost.
 */
struct nxi_counters {
    _Alignas(128) _Atomic uint64_t switches; /* in worker.c's target: every task that gets the cpu */
    _Atomic uint64_t ready, ready_high;      /* tasks in the queue as counted here (worker.c) */
    _Atomic uint64_t ops_inline, ops_done;   /* ops_done: terminal completions of those that were not inline */
    _Atomic uint64_t polls, parks, wakes, inbox;
    _Atomic uint64_t stolen, timers_fired;
    _Atomic uint64_t ops[NX_METRICS_OPS];
};

static inline void nxi_count(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more, memory_order_relaxed);
}

static inline uint64_t nxi_counted(const _Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

struct nxi_worker {
    /* the owner's */
    struct nx_runtime *runtime;
    uint32_t index, driver_count;
    struct nxi_task *current;
    const struct nx_sched_ops *sched_ops;
    struct nx_sched *sched;
    int32_t turn, credit;  /* tasks left in this turn; inline completions left to the running task */
    struct nxi_task *next; /* the only ready task, kept from a scheduler that shares nothing (worker.c) */
    uint32_t next_reason;
    bool sole;      /* what is enqueued here is dequeued here: the scheduler has neither steal nor inject */
    bool can_yield; /* and has yield */
    void (*after)(struct nxi_worker *worker, void *arg); /* run by whoever is switched to: the old context is saved */
    void *after_arg;
    struct nxi_task *free_tasks;
    uint32_t free_count;
    uint32_t in_flight; /* operations a driver has accepted and not completed */
    uint32_t in_second; /* of these, the second driver's */
    struct nxi_watch {  /* of the driver that doesn't wait, by the one that does (second.c) */
        struct nxi_op *op;
        bool armed;
    } watch;
    struct nxi_driver drivers[NXI_DRIVERS_MAX];
    struct nxi_fiber loop, dead;
    struct nxi_wheel wheel;
    struct nxi_stack_cache stacks;
    struct nx_ready *stolen; /* what steal gave, to be run next */
    nx_time starved_told;
    struct nx_ready *starved, **starved_end; /* tasks for which there was no memory for a stack */
    struct nxi_timer starved_timer;
    struct nxi_timer decay_timer; /* runs while stacks_left: tasks have ended since the last decay (idle.c) */
    bool stacks_left;
    uint64_t random;      /* where selects begin (choice.c) */
    bool dispatching;     /* completions[] is being read */
    uint32_t robbed_seen; /* of robbed, what counters.ready has accounted for */
    nx_time turn_time;    /* when this turn of the loop began */
    uint32_t look_pause;  /* turns between two looks at others' queues, after some in vain (idle.c) */
    uint32_t look_left;   /* what of it is left while spinning */
    int32_t spin_score;   /* > 0: spinning before parking has paid lately; else what a new trial is away (idle.c) */
    int32_t spin_backoff; /* and how far away the next failure puts it */
    bool searching;       /* counted as a searcher in runtime->idle */
    struct nx_completion completions[NXI_COMPLETIONS_MAX];
    pthread_t thread;
    int start_error;
    uint32_t start_driver; /* whose */
    struct nx_reason start_reason;

    /* written by the owner, read by all */
    _Alignas(128) _Atomic uint64_t spawned;
    _Atomic uint64_t ended;
    _Atomic uint32_t live; /* tasks at home here, as far as the owner counts them; less moved_out is the load */
    struct nxi_counters counters;
    /* written by all */
    _Alignas(128) _Atomic(struct nxi_node *) inbox;
    _Atomic uint32_t state;
    _Atomic uint32_t waiter; /* the driver to ring while PARKED: the owner's to set, before */
    _Atomic uint32_t moved_out;
    _Atomic uint32_t robbed; /* ready tasks that others have taken from here */
    bool asleep;             /* under runtime->idle_lock: counted as a sleeper in runtime->idle */
};

/* ---- runtime (runtime.c) ---- */

struct nx_runtime {
    struct nxi_worker **workers;
    uint32_t worker_count;
    uint32_t flags;
    struct nxi_drivers_instance {
        const struct nx_driver_ops *ops;
        struct nx_driver *instance;
    } drivers[NXI_DRIVERS_MAX];
    uint32_t driver_count, file_driver;
    uint32_t foreign_driver; /* that takes descriptors from outside, if it has import_fd */
    bool lends;              /* the network's driver lends what it has read */
    uint32_t file_ops;       /* bit NX_OP_...: file_driver does it; the others are done on the blocking pool (file.c) */
    uint32_t waiter;         /* index of the driver that waits for all */
    const struct nx_sched_ops *sched_ops;
    struct nx_sched *sched;
    struct nx_driver *clock; /* the network's driver, if it owns the clock, or NULL */
    nx_time (*clock_now)(struct nx_driver *);
    struct nxi_setup *setup;                  /* options, selections: runtime.c */
    struct nxi_blocking *blocking, *resolver; /* blocking.c */
    size_t stack_size;
    enum nx_panic_policy on_panic;
    int64_t grace_ns;
    int64_t spin_ns; /* < 0: adaptive */
    int log_level;
    void (*log)(void *, int, const char *);
    void *log_arg;
    struct nx_runtime *next; /* of all runtimes */
    uint64_t serial;         /* of this one among all that there have been, from 1 */

    /* searching and sleeping workers: searching in the low half, parked in the high half (idle.c) */
    _Alignas(128) _Atomic uint64_t idle;
    pthread_mutex_t idle_lock;
    _Alignas(128) _Atomic uint64_t injected; /* tasks spawned from outside */
    _Atomic uint32_t foreign;                /* threads that are inside a post to one of our workers */
    _Atomic uint32_t closing;                /* 1: no new tasks from outside */
    _Atomic uint32_t phase;                  /* nxi_phase */
    pthread_mutex_t lock;
    pthread_cond_t changed;            /* phase, arrived, or an end of a task while closing */
    uint32_t arrived;                  /* workers that have reached the present phase */
    struct nx_listener *listeners;     /* under lock */
    _Atomic(struct nxi_loans *) loans; /* buffers lent to readers (loan.c); NULL until needed */
    struct nx_watch *watches;          /* under lock */
};

enum nxi_phase { NXI_STARTING, NXI_RUNNING_PHASE, NXI_STOPPING, NXI_STOPPED };

/* ---- an operation in flight (op.c) ---- */

struct nxi_op {
    struct nx_op op;
    void (*done)(struct nxi_worker *worker, struct nxi_op *op, const struct nx_completion *completion);
};

/*
 * The calling thread's worker, or NULL (fork.c). Its address of thread-local storage must not be kept over a switch,
 * so the compiler must not see what is read: two instructions of assembly, or a function that is not inlined.
 * Initial-exec: a program that loads the library late spends 8 bytes of glibc's reserve.
 */
#define NXI_THIS_WORKER __attribute__((tls_model("initial-exec"), visibility("hidden")))
extern _Thread_local struct nxi_worker *nxi_this_worker NXI_THIS_WORKER;

#if defined(__x86_64__) && !defined(__ILP32__) && defined(__linux__)
#define NXI_SELF_INLINE 1
static inline struct nxi_worker *nxi_self(void)
{
    struct nxi_worker *worker;
    __asm__ volatile("movq nxi_this_worker@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0" : "=r"(worker) : : "memory");
    return worker;
}
#else
struct nxi_worker *nxi_self(void);
#endif

/* The same for a call that must be made by a task: NULL also in what the worker's own loop calls, a log function say.
 */
static inline struct nxi_worker *nxi_in_task(void)
{
    struct nxi_worker *worker = nxi_self();
    return worker && worker->current ? worker : NULL;
}

/* handle.c, stream.c, watch.c: whose are descriptors that come from outside */
static inline const struct nxi_driver *nxi_foreign_driver(const struct nxi_worker *worker)
{
    return &worker->drivers[worker->runtime->foreign_driver];
}

/* metrics.c */
extern const char *const nxi_op_names[NX_METRICS_OPS];

static inline void nxi_waiter_note_op(struct nxi_waiter *waiter, const struct nx_op *op)
{
    waiter->note.what = nxi_op_names[op->code % NX_METRICS_OPS];
    waiter->note.kind = NXI_OBJECT_HANDLE;
    waiter->note.object = op->handle;
}

/* Hands an operation to the worker's driver. 1: completed inline; 0: op->done will be called. -EAGAIN, only from
 * inside a done function: no room, try again from the inbox. */
int nxi_submit(struct nxi_worker *worker, uint32_t driver, struct nxi_op *op, struct nx_completion *ret_inline);
int nxi_submit_once(struct nxi_worker *worker, uint32_t driver, struct nxi_op *op,
                    struct nx_completion *ret_inline); /* -EAGAIN from anywhere; polls nothing */
/* Carries an operation out for the current task: its result. -ETIMEDOUT, -ECANCELED: it had no effect. Not for
 * streams. */
int64_t nxi_op_run(struct nxi_worker *worker, uint32_t driver, const struct nx_op *op, nx_time deadline,
                   bool heed_cancel);

/* Refuses a call made outside a task: -NX_ENOTASK or, in a forked child, -NX_EFORKED. */
int nxi_no_task(void);
bool nxi_forked(void);

static inline struct nxi_task *nxi_task_of(struct nx_ready *ready)
{
    return nxi_container(ready, struct nxi_task, ready);
}

/* Reads an options struct: zeros for NULL and for what an older caller doesn't have; -EINVAL for a size that can't
 * be, or for something set that this library doesn't know. */
int nxi_options_copy(void *ret_options, size_t known_size, const void *given);

/* ---- between the files ---- */

/* inbox.c */
void nxi_post(struct nxi_worker *worker, struct nxi_node *node);
void nxi_notify(struct nxi_worker *worker);
bool nxi_inbox_drain(struct nxi_worker *worker); /* whether anything was there */

/* task.c */
/* The same for a public call that any thread may make: 0, -NX_EFORKED or -ESRCH. */
int nxi_task_look_up(nx_task id, struct nxi_task **ret_task, uint64_t *ret_ctl);
void nxi_task_retire(struct nxi_task *task); /* its id is given up */
nx_task nxi_spawn(struct nx_runtime *runtime, const nx_task_options *options, nx_task_fn fn, void *arg, void *site,
                  uint32_t ctl);
/* The same, of a scope's child. */
nx_task nxi_spawn_in(struct nx_scope *scope, struct nx_runtime *runtime, const nx_task_options *options, nx_task_fn fn,
                     void *arg, void *site, uint32_t ctl);
/* ctl tells the generation. */
void nxi_task_cancel(struct nxi_task *task, uint64_t ctl);
/* Publishes the end; the header may be another task's when it returns. */
void nxi_task_end(struct nxi_worker *worker, struct nxi_task *task, uint32_t ctl);
void nxi_task_label(struct nxi_task *task, char *ret, size_t size); /* its name, or #slot; any thread */
struct nxi_cold *nxi_task_cold(struct nxi_task *task);              /* makes it; NULL: out of memory */
bool nxi_task_cancelled_now(const struct nxi_task *task);           /* a cancel has come: heeds the shield */
void nxi_tasks_release(struct nxi_worker *worker);                  /* the worker's cache of free headers */
/* Calls visit for each task of the runtime, ended ones that nobody has joined included. Slow; any thread. */
void nxi_tasks_each(struct nx_runtime *runtime, void (*visit)(void *arg, struct nxi_task *task, uint64_t ctl),
                    void *arg);
/* The same from a slot on, until visit returns false: then true, and *inout_slot is where to go on. */
bool nxi_tasks_some(struct nx_runtime *runtime, uint32_t *inout_slot,
                    bool (*visit)(void *arg, struct nxi_task *task, uint64_t ctl), void *arg);
void nxi_cancel_all(struct nx_runtime *runtime, uint32_t only_ctl); /* tasks with all of these bits */
void nxi_task_mark(struct nxi_task *task, uint32_t ctl, bool on);   /* sets or clears a bit of ctl */
bool nxi_has_worker(const struct nx_runtime *runtime, const struct nxi_worker *worker);
/* The oldest runtime that is up whose serial number is not below this one. It is not destroyed meanwhile, and others
 * can't be created: visit must not block. False: there is none. */
bool nxi_runtimes_visit(uint64_t serial, void (*visit)(void *arg, struct nx_runtime *runtime), void *arg);

/* worker.c: what runs on a worker */
void nxi_ready(struct nxi_worker *worker, struct nxi_task *task,
               uint32_t reason); /* a parked task; else nothing happens */
void nxi_enqueue(struct nxi_worker *worker, struct nxi_task *task, uint32_t reason);
void nxi_park(struct nxi_worker *worker); /* the current task, until nxi_ready; may return for another reason: loop */
void nxi_yield(struct nxi_worker *worker);
void nxi_charge(struct nxi_worker *worker); /* an operation that did not park: yields when the credit is used up */
void nxi_worker_loop(struct nxi_worker *worker);
bool nxi_worker_may_stop(struct nxi_worker *worker); /* runtime.c: the runtime is stopping and nothing is in flight */
void nxi_worker_init(struct nxi_worker *worker, struct nx_runtime *runtime, uint32_t index);
_Noreturn void nxi_task_panicked(struct nxi_task *task);
/* worker->completions, of which that driver has written so many. */
void nxi_dispatch(struct nxi_worker *worker, uint32_t driver, uint32_t count);
uint32_t nxi_poll_drivers(struct nxi_worker *worker);
uint32_t nxi_expire(struct nxi_worker *worker);
nx_time nxi_worker_now(const struct nxi_worker *worker);

/* idle.c */
void nxi_idle_init(struct nxi_worker *worker);
void nxi_idle(struct nxi_worker *worker);
void nxi_wake_one(struct nx_runtime *runtime);
void nxi_stop_searching(struct nxi_worker *worker); /* it has found something to run */

/* waiter.c; more of it is in waiter.h */
/* When a wait of the current task with this deadline ends: a scope's may be earlier. Shields are heeded. */
nx_time nxi_deadline(const struct nxi_worker *worker, nx_time deadline);

/* lock.c: of objects that tasks and threads share. Never parked, blocked or switched while held. */
void nxi_lock_slow(uint32_t *lock);
void nxi_unlock_slow(const uint32_t *lock);
extern struct nxi_sleepers {
    _Alignas(128) uint32_t count; /* read by everybody all the time: on lines of its own */
} nxi_sleepers;
/* Has every thread of the process that runs execute a full memory barrier. False: it can't be had here. */
bool nxi_barrier_everywhere(void);
void nxi_locks_forked(void); /* in the child: who slept for a lock stayed with the parent */
/* A moment's wait for another thread; the longer the more turns there have been. */
void nxi_relax(uint32_t *inout_turns);

/* What comes before it is not moved behind it by the compiler. */
static inline void nxi_compiler_barrier(void)
{
    __asm__ volatile("" : : : "memory");
}

static inline void nxi_lock(uint32_t *lock)
{
    uint32_t unlocked = 0;
    if (NXI_UNLIKELY(!__atomic_compare_exchange_n(lock, &unlocked, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)))
        nxi_lock_slow(lock);
}

static inline void nxi_unlock(uint32_t *lock)
{
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
    nxi_compiler_barrier(); /* the look comes after the store, if only in the program: lock.c */
    if (NXI_UNLIKELY(__atomic_load_n(&nxi_sleepers.count, __ATOMIC_RELAXED) > 0))
        nxi_unlock_slow(lock);
}

/* panic.c */
const char *nxi_panic_message(const struct nxi_task *task); /* of one that has panicked */
_Noreturn void nxi_panic_unjoined(struct nxi_task *task);

/* scope.c */
void nxi_scope_enter(struct nx_scope *scope, struct nxi_task *task); /* a child that has yet to be placed */
void nxi_scope_child_ended(struct nxi_task *task, bool panicked);
void nxi_scopes_end(struct nxi_task *task); /* cancels and closes what the current task has left open; may park */

/* local.c of the core: defers and task-local storage */
struct nxi_defer {
    struct nxi_defer *next;
    void (*fn)(void *arg);
    void *arg;
    bool guard; /* in a frame of the task's stack */
};

/*
 * Around a call of the user's function by the library: if the function panics, fn(arg) is called, after what was
 * deferred since. The guard is in the caller's frame, which outlives the panic. 0 or -ENOMEM. In a task.
 */
int nxi_guard(struct nxi_defer *guard, void (*fn)(void *arg), void *arg);
void nxi_unguard(struct nxi_defer *guard); /* the function has returned */
void nxi_run_defers(struct nxi_task *task);
void nxi_undefer(void (*fn)(void *arg), void *arg); /* the current task's nx_defer taken back */
void nxi_run_local_destructors(struct nxi_task *task);

/* log.c */
void nxi_log(struct nx_runtime *runtime, int level, const char *format, ...) NX_PRINTF(3, 4);
int nxi_log_level(const char *name); /* -EINVAL */

/* host.c */
extern const struct nx_host nxi_host;
nx_time nxi_clock(void);
void *nxi_alloc(size_t size); /* zeroed; NULL. Counted */
void nxi_free(void *memory, size_t size);
size_t nxi_live_bytes(void);

/* second.c */
int nxi_watch_open(struct nxi_worker *worker);
void nxi_watch_arm(struct nxi_worker *worker);   /* before the waiter sleeps */
void nxi_watch_close(struct nxi_worker *worker); /* nothing else is in flight */

/* stream.c, handle.c, connect.c, listener.c, signal.c */
int nxi_stream_new(struct nxi_worker *worker, uint32_t driver, nx_handle handle, nx_stream **ret_stream);
void nxi_stream_own(nx_stream *stream, struct nxi_worker *worker);
struct nxi_worker *nxi_stream_owner(const nx_stream *stream);                        /* NULL: none yet */
void nxi_handle_close(struct nxi_worker *worker, uint32_t driver, nx_handle handle); /* one that no stream has */
int nxi_socket(const struct nxi_driver *driver, const nx_addr *addr, nx_handle *ret_handle);
int nxi_set_option(const struct nxi_driver *driver, nx_handle handle, uint32_t option, int64_t value);
void nxi_listener_one_by_one(nx_listener *listener);  /* accepts only what somebody waits for */
void nxi_listeners_close(struct nx_runtime *runtime); /* those that nobody has closed */
void nxi_watches_close(struct nx_runtime *runtime);   /* likewise (watch.c) */
void nxi_loans_free(struct nx_runtime *runtime);      /* loan.c; the workers are gone */
void nxi_signals_restore(void);                       /* the last runtime is gone */

/* fork.c */
void nxi_fork_watch(void);
extern atomic_uint nxi_runtime_count;
void nxi_self_set(struct nxi_worker *worker);
_Noreturn void nxi_end_in_forked_child(void);
void nxi_runtimes_forked(void); /* in the child: the drivers close what it must not keep */

#include "slots.h" /* last: they take all of the above */
#include "waiter.h"

#endif
