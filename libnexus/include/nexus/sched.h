/*
 * nexus/sched.h: the contract of a scheduler: ready queues and policy.
 *
 * The core owns threads, task states, inboxes, timers, parking, wake throttling and the budget. A scheduler decides
 * which ready task runs next, where a new one goes, and what may be stolen. It never blocks, reads no clock, makes no
 * thread and no system call, and needs at most 1 KiB of stack: it runs on the stack of the task that parks.
 *
 * The laws
 *  1. A task that was enqueued is given out exactly once, by dequeue or steal. None is lost, none runs twice.
 *  2. A worker's own queue is touched by that worker (enqueue, dequeue, has_work) and by thieves (steal); select and
 *     inject are called by any thread. The scheduler provides the memory order: what happened before enqueue or inject
 *     is visible to whoever gets the task.
 *  3. Only a task with ready->stealable set may leave the worker it was enqueued on.
 *  4. Every ready task is given out after a bounded number of others: priorities are shares, not strict.
 *  5. has_work after a push by this worker, or by another worker or thread that finished before, answers yes.
 */
#ifndef NEXUS_SCHED_H
#define NEXUS_SCHED_H

#include <nexus/host.h>
#include <nexus/plugin.h>

/* A ready task as its scheduler sees it; embedded in the task. 40 bytes. Written by the core but for next and sched. */
struct nx_ready {
    struct nx_ready *next; /* the scheduler's while queued */
    uint32_t home;         /* the worker it belongs to */
    uint16_t reserved;
    uint8_t priority;  /* 0 normal, 1 high, 2 low: NX_PRIO_... */
    uint8_t stealable; /* may be taken by another worker: has not started, or may migrate and nothing holds it */
    uint64_t sched[3]; /* the scheduler's, kept over the task's life; zero at first */
};

/* Why a task became ready. */
#define NX_REASON_SPAWN 0u
#define NX_REASON_IO 1u
#define NX_REASON_TIMER 2u
#define NX_REASON_YIELD 3u   /* to the back of its queue */
#define NX_REASON_UNBLOCK 4u /* another task let it go: join, channel, lock */
#define NX_REASON_REMOTE 5u  /* came by the inbox */
#define NX_REASON_RETURN 6u  /* the task that it joins has ended on this worker, and leaves it its place */

#define NX_WORKER_INJECT UINT32_MAX /* select: any worker may take it; the core calls inject */

/* enqueue's answer */
#define NX_WAKE_NONE 0u
#define NX_WAKE_ANY 1u /* another worker could take it: the core wakes one if none is searching */

struct nx_sched; /* an instance: one per runtime */

struct nx_sched_ops {
    uint32_t size, reserved;
    int (*open)(const struct nx_host *host, const struct nx_config *config, uint32_t workers,
                struct nx_sched **ret_sched, struct nx_reason *ret_reason);
    void (*close)(struct nx_sched *sched); /* the workers have ended; queues are empty, or what is in them is leaked */

    /* Where a task that is not bound goes: a worker, or NX_WORKER_INJECT. from: the calling worker or UINT32_MAX;
     * spread: 1 if the caller asked for the least loaded one. loads[w] is the core's count of tasks at home on w. Any
     * thread. */
    uint32_t (*select)(struct nx_sched *sched, const struct nx_ready *ready, uint32_t from, uint32_t spread,
                       const uint32_t *loads);
    /* On that worker: the task is ready there. NX_WAKE_... */
    uint32_t (*enqueue)(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready, uint32_t reason);
    /* Any thread: ready for whoever takes it. The core then wakes one. Absent if select never says NX_WORKER_INJECT. */
    void (*inject)(struct nx_sched *sched, struct nx_ready *ready);
    /* On that worker: what it runs next; NULL: it has nothing, which holds until the next enqueue. Where workers share
     * nothing (no steal, inject or take) the core may run a task that alone is ready without enqueueing it. */
    struct nx_ready *(*dequeue)(struct nx_sched *sched, uint32_t worker);
    /* On that worker, when dequeue has given nothing: takes one stealable task from others, and may move more into
     * its own queue. Absent: workers share nothing. May give nothing although has_work says yes: it is asked again. */
    struct nx_ready *(*steal)(struct nx_sched *sched, uint32_t thief);
    /* On that worker, after the drivers are armed: 1 if dequeue or steal could give something. */
    uint32_t (*has_work)(struct nx_sched *sched, uint32_t worker);
    /* Optional: up to max of a worker's queue, while all workers stand still. */
    uint32_t (*dump)(struct nx_sched *sched, uint32_t worker, struct nx_ready **out, uint32_t max);
    /* Optional, on that worker: the running task is about to wait for this one, which was enqueued and has not started.
     * 1: it was in the worker's queue and is given out, to run in the other's place; 0: it isn't, or is hard to find.
     * It may be elsewhere by now, in another's queue or running: only what the scheduler finds may be relied upon. */
    uint32_t (*take)(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready);
    /* Optional, on that worker, where workers share nothing: the running task gives way. enqueue with NX_REASON_YIELD
     * and dequeue in one, so it gives something out, if only the same task. */
    struct nx_ready *(*yield)(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready);
};

#endif
