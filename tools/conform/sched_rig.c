/* conform/sched_rig.c: pushes and pulls, with a book of who is where. */
#include "sched_rig.h"

#include <stdlib.h>
#include <string.h>

#define DRAIN_TRIES 4096u /* rounds of all workers that give nothing */

struct bed *bed_open(const struct subject *subject, uint32_t workers, uint32_t tasks)
{
    struct bed *bed = calloc(1, sizeof(*bed));
    struct nx_reason reason = {0};
    int r;

    CHECK(bed != NULL, "this program has run out of memory");
    bed->subject = subject;
    bed->ops = subject->sched;
    bed->workers = workers;
    bed->task_count = tasks;
    bed->random = subject->seed;
    bed->tasks = calloc(tasks ? tasks : 1, sizeof(*bed->tasks));
    CHECK(bed->tasks != NULL, "this program has run out of memory");
    for (uint32_t i = 0; i < tasks; i++)
        bed->tasks[i].number = i;
    doing("open for %u workers", workers);
    r = bed->ops->open(&conform_host, subject->config, workers, &bed->sched, &reason);
    CHECK(r == 0, "open for %u workers fails with %s: %s %s", workers, error_text(r), reason.call, reason.text);
    return bed;
}

void bed_close(struct bed *bed)
{
    doing("close");
    bed->ops->close(bed->sched);
    free(bed->tasks);
    free(bed);
}

static void book_in(struct bed *bed, struct task *task, uint32_t where)
{
    task->queued = true;
    task->where = where;
    task->since = bed->turn;
    bed->queued++;
}

uint32_t push(struct bed *bed, uint32_t worker, struct task *task, uint32_t reason)
{
    book_in(bed, task, worker);
    task->ready.home = worker;
    return bed->ops->enqueue(bed->sched, worker, &task->ready, reason);
}

void push_inject(struct bed *bed, struct task *task)
{
    book_in(bed, task, ANYWHERE);
    bed->ops->inject(bed->sched, &task->ready);
}

/* A pointer is one of the tasks', or nobody's. */
struct task *book_out(struct bed *bed, struct nx_ready *ready, const char *what)
{
    const uintptr_t at = (uintptr_t)ready - (uintptr_t)bed->tasks;
    struct task *task = (struct task *)ready;

    if (!ready)
        return NULL;
    CHECK(at / sizeof(*task) < bed->task_count && at % sizeof(*task) == 0, "%s gives out %p, which is no task", what,
          (void *)ready);
    CHECK(task->queued, "%s gives out task %u, which was given out before and not queued again", what, task->number);
    task->queued = false;
    task->given++;
    bed->queued--;
    bed->turn++;
    return task;
}

struct task *pull(struct bed *bed, uint32_t worker)
{
    return book_out(bed, bed->ops->dequeue(bed->sched, worker), "dequeue");
}

struct task *pull_stolen(struct bed *bed, uint32_t thief)
{
    return SCHED_HAS(bed, steal) ? book_out(bed, bed->ops->steal(bed->sched, thief), "steal") : NULL;
}

void drain_bed(struct bed *bed)
{
    uint32_t empty = 0;

    doing("taking out all that is queued");
    while (bed->queued > 0) { /* ends: nothing comes for too long */
        uint32_t before = bed->queued;

        for (uint32_t worker = 0; worker < bed->workers; worker++)
            if (!pull(bed, worker))
                pull_stolen(bed, worker);
        empty = bed->queued == before ? empty + 1 : 0;
        CHECK(empty < DRAIN_TRIES, "%u tasks that were queued are never given out", bed->queued);
    }
}
