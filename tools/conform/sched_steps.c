/* conform/sched_steps.c: what holds at every step, whatever the order: seeded runs of several workers in one thread. */
#include "sched_rig.h"

#include <string.h>

#define WORKERS 4u
#define TASKS 700u /* more than any ring */
#define STEPS 200000u

enum looks { LOOK_WHERE = 1, LOOK_FIELDS = 2 };

struct fields {
    uint32_t home;
    uint16_t reserved;
    uint8_t priority, stealable;
};

static struct fields fields_of(const struct task *task)
{
    return (struct fields){task->ready.home, task->ready.reserved, task->ready.priority, task->ready.stealable};
}

static struct task *some_task(struct bed *bed)
{
    const uint32_t start = (uint32_t)(next_random(&bed->random) % bed->task_count);

    for (uint32_t i = 0; i < 8; i++) { /* often there is none: then it is time to take some out */
        struct task *task = &bed->tasks[(start + i) % bed->task_count];

        if (!task->queued)
            return task;
    }
    return NULL;
}

static void dress(struct bed *bed, struct task *task)
{
    const uint64_t dice = next_random(&bed->random);

    task->ready.priority = (uint8_t)(dice % 3);
    task->ready.stealable = (dice >> 8) % 2;
}

static void put_in(struct bed *bed, uint32_t worker, bool by_inject)
{
    struct task *task = some_task(bed);

    if (!task)
        return;
    dress(bed, task);
    task->ready.home = worker;
    if (by_inject && SCHED_HAS(bed, inject)) {
        task->ready.stealable = 1;
        push_inject(bed, task);
    } else {
        push(bed, worker, task, (uint32_t)(next_random(&bed->random) % (NX_REASON_RETURN + 1)));
    }
}

static void check(const struct task *task, uint32_t worker, const char *how, uint32_t looks)
{
    if (looks & LOOK_WHERE)
        CHECK(task->ready.stealable || task->where == worker || task->where == ANYWHERE,
              "%s on worker %u gives out task %u, which may not leave worker %u", how, worker, task->number,
              task->where);
}

static void take_out(struct bed *bed, uint32_t worker, uint32_t looks)
{
    struct task *task = pull(bed, worker);
    const char *how = "dequeue";

    if (!task) {
        task = pull_stolen(bed, worker);
        how = "steal";
    }
    if (task)
        check(task, worker, how, looks);
}

static void check_fields(struct bed *bed, const struct fields *fields)
{
    for (uint32_t i = 0; i < bed->task_count; i++) {
        struct fields now = fields_of(&bed->tasks[i]);

        CHECK(memcmp(&now, &fields[i], sizeof(now)) == 0,
              "home, reserved, priority or stealable of task %u has changed: %u %u %u %u, it was %u %u %u %u", i,
              now.home, now.reserved, now.priority, now.stealable, fields[i].home, fields[i].reserved,
              fields[i].priority, fields[i].stealable);
    }
}

/* Waves: the queues run full, then empty. */
static void run_steps(struct bed *bed, uint32_t steps, uint32_t looks)
{
    struct fields fields[TASKS];

    for (uint32_t i = 0; i < steps; i++) {
        const uint64_t dice = next_random(&bed->random);
        const uint32_t worker = (uint32_t)(dice % bed->workers), wave = i / 2000 % 2 ? 60 : 40;

        if ((dice >> 8) % 100 < wave)
            put_in(bed, worker, (dice >> 16) % 8 == 0);
        else
            take_out(bed, worker, looks);
        if (!(looks & LOOK_FIELDS) || i % 50)
            continue;
        for (uint32_t j = 0; i % 100 == 0 && j < bed->task_count; j++)
            fields[j] = fields_of(&bed->tasks[j]);
        if (i % 100 == 50)
            continue;
        for (uint32_t j = 0; j < 3 * bed->workers; j++) /* nothing is put in meanwhile: nothing may change */
            take_out(bed, j % bed->workers, looks);
        check_fields(bed, fields);
    }
}

void sched_once(const struct subject *subject)
{
    struct bed *bed = bed_open(subject, WORKERS, TASKS);

    doing("%u steps of seed %llu", STEPS, (unsigned long long)subject->seed);
    run_steps(bed, STEPS, 0);
    drain_bed(bed);
    for (uint32_t worker = 0; worker < WORKERS; worker++)
        CHECK(!pull(bed, worker) && !pull_stolen(bed, worker), "a task comes out of empty queues");
    bed_close(bed);
}

void sched_bound(const struct subject *subject)
{
    struct bed *bed = bed_open(subject, WORKERS, TASKS);

    doing("%u steps of seed %llu", STEPS / 4, (unsigned long long)subject->seed);
    run_steps(bed, STEPS / 4, LOOK_WHERE);
    bed_close(bed);
}

void sched_fields(const struct subject *subject)
{
    struct bed *bed = bed_open(subject, WORKERS, TASKS);
    struct fields before;

    for (uint32_t i = 0; i < 100; i++) { /* by enqueue itself */
        struct task *task = &bed->tasks[i];

        dress(bed, task);
        task->ready.home = i % WORKERS;
        before = fields_of(task);
        push(bed, i % WORKERS, task, NX_REASON_SPAWN);
        struct fields now = fields_of(task);
        CHECK(memcmp(&now, &before, sizeof(now)) == 0,
              "enqueue changes home, reserved, priority or stealable of a task");
    }
    run_steps(bed, STEPS / 20, LOOK_FIELDS);
    bed_close(bed);
}

void sched_flag(const struct subject *subject)
{
    struct bed *bed = bed_open(subject, 2, 1);
    struct task *task = &bed->tasks[0];

    for (uint32_t i = 0; i < 200; i++) {
        task->ready.stealable = 1;
        push(bed, 0, task, i % 2 ? NX_REASON_SPAWN : NX_REASON_IO);
        while (!pull(bed, 0)) /* ends: it is the only one; once says so */
            ;
        task->ready.stealable = 0;
        push(bed, 0, task, i % 2 ? NX_REASON_UNBLOCK : NX_REASON_IO);
        for (uint32_t look = 0; look < 16; look++)
            CHECK(!pull(bed, 1) && !pull_stolen(bed, 1),
                  "a task that was enqueued without stealable, after it had been stealable, leaves its worker");
        drain_bed(bed);
    }
    bed_close(bed);
}
