/* conform/sched_rig.h: a scheduler and tasks that know where they are. */
#ifndef NEXUS_CONFORM_SCHED_RIG_H
#define NEXUS_CONFORM_SCHED_RIG_H

#include "conform.h"

#define ANYWHERE UINT32_MAX

struct task {
    struct nx_ready ready;
    uint32_t number;
    bool queued;
    uint32_t where;   /* the worker it was enqueued on, or ANYWHERE: injected */
    uint64_t given;   /* how often it was given out */
    uint64_t since;   /* the turn in which it was queued */
    uint64_t payload; /* written before it is queued, by whoever does that */
};

struct bed { /* a scheduler with its workers and tasks */
    const struct subject *subject;
    const struct nx_sched_ops *ops;
    struct nx_sched *sched;
    uint32_t workers, task_count, queued;
    struct task *tasks;
    uint32_t loads[64];
    uint64_t random, turn;
};

#define SCHED_HAS(bed, slot)                                                                                           \
    ((bed)->ops->size >= offsetof(struct nx_sched_ops, slot) + sizeof((bed)->ops->slot) && (bed)->ops->slot != NULL)

struct bed *bed_open(const struct subject *subject, uint32_t workers, uint32_t tasks);
void bed_close(struct bed *bed);

/* NX_WAKE_... */
uint32_t push(struct bed *bed, uint32_t worker, struct task *task, uint32_t reason);
void push_inject(struct bed *bed, struct task *task);
/* What dequeue or steal gives, or NULL; it is checked that it may be given out, and that it was queued. */
struct task *pull(struct bed *bed, uint32_t worker);
struct task *pull_stolen(struct bed *bed, uint32_t thief);
/* The same of what a slot has given out already. */
struct task *book_out(struct bed *bed, struct nx_ready *ready, const char *what);
/* All that is queued, by every worker in turn. */
void drain_bed(struct bed *bed);

#endif
