/* conform/sched_policy.c: who runs how often, and who waits how long. */
#include "sched_rig.h"

#include <stdlib.h>

#define YIELDERS 8u
#define ROUNDS 100u
#define PER_PRIORITY 8u
#define SHARE_TURNS 4200u
#define BUSY 12u /* tasks that are ready again at once */
#define TURNS_EACH 64u

/* What worker 0 runs next, when there is always something. */
static struct task *turn(struct bed *bed)
{
    struct task *task = NULL;

    for (uint32_t i = 0; i < 16 && !task; i++)
        task = pull(bed, 0);
    CHECK(task != NULL, "dequeue gives nothing 16 times, with %u tasks queued", bed->queued);
    return task;
}

void sched_yielding(const struct subject *subject)
{
    for (uint32_t stealable = 0; stealable < 2; stealable++) {
        struct bed *bed = bed_open(subject, 1, YIELDERS);

        for (uint32_t i = 0; i < YIELDERS; i++) {
            bed->tasks[i].ready.stealable = (uint8_t)stealable;
            push(bed, 0, &bed->tasks[i], NX_REASON_YIELD);
        }
        for (uint32_t i = 0; i < YIELDERS * ROUNDS; i++)
            push(bed, 0, turn(bed), NX_REASON_YIELD);
        for (uint32_t i = 0; i < YIELDERS; i++)
            CHECK(bed->tasks[i].given >= ROUNDS / 2 && bed->tasks[i].given <= 2 * ROUNDS,
                  "of %u turns among %u tasks that yield, task %u had %llu", YIELDERS * ROUNDS, YIELDERS, i,
                  (unsigned long long)bed->tasks[i].given);
        bed_close(bed);
    }
}

/* A yield by the slot of that name, or by the two that it stands for. */
static struct task *give_way(struct bed *bed, struct task *task, bool by_slot)
{
    if (!by_slot) {
        push(bed, 0, task, NX_REASON_YIELD);
        return turn(bed);
    }
    task->queued = true;
    bed->queued++;
    return book_out(bed, bed->ops->yield(bed->sched, 0, &task->ready), "yield");
}

static void compare_yields(const struct subject *subject, uint32_t tasks, uint32_t priority)
{
    struct bed *one = bed_open(subject, 1, tasks), *two = bed_open(subject, 1, tasks);
    struct task *mine, *theirs;

    for (uint32_t i = 0; i < tasks; i++) {
        one->tasks[i].ready.priority = two->tasks[i].ready.priority = (uint8_t)(priority < 3 ? priority : i % 3);
        push(one, 0, &one->tasks[i], NX_REASON_SPAWN);
        push(two, 0, &two->tasks[i], NX_REASON_SPAWN);
    }
    mine = turn(one);
    theirs = turn(two);
    for (uint32_t i = 0; i < YIELDERS * ROUNDS; i++) {
        mine = give_way(one, mine, true);
        theirs = give_way(two, theirs, false);
        CHECK(mine != NULL, "yield gives out nothing, not even the task that yields");
        CHECK(priority == 3 || mine->number == theirs->number,
              "yield %u of %u tasks gives out task %u, and enqueue and dequeue task %u", i + 1, tasks, mine->number,
              theirs->number);
    }
    for (uint32_t i = 0; i < tasks; i++)
        CHECK(one->tasks[i].given * 3 + 3 > two->tasks[i].given,
              "of %u yields task %u had %llu turns, and %llu by enqueue and dequeue", YIELDERS * ROUNDS, i,
              (unsigned long long)one->tasks[i].given, (unsigned long long)two->tasks[i].given);
    drain_bed(one);
    drain_bed(two);
    bed_close(one);
    bed_close(two);
}

void sched_yield_slot(const struct subject *subject)
{
    if (subject->sched->size < offsetof(struct nx_sched_ops, yield) + sizeof(subject->sched->yield) ||
        !subject->sched->yield)
        skip("yield is NULL: enqueue and dequeue do it");
    for (uint32_t priority = 0; priority < 4; priority++) { /* 3: some of each */
        compare_yields(subject, 1, priority);
        compare_yields(subject, 2, priority);
        compare_yields(subject, YIELDERS, priority);
    }
}

void sched_shares(const struct subject *subject)
{
    static const uint8_t priorities[] = {1, 0, 2}; /* high, normal, low */
    struct bed *bed = bed_open(subject, 1, 3 * PER_PRIORITY);
    uint32_t turns[3] = {0};

    for (uint32_t i = 0; i < bed->task_count; i++) {
        bed->tasks[i].ready.priority = priorities[i % 3];
        push(bed, 0, &bed->tasks[i], NX_REASON_IO);
    }
    for (uint32_t i = 0; i < SHARE_TURNS; i++) {
        struct task *task = turn(bed);

        turns[task->number % 3]++;
        push(bed, 0, task, NX_REASON_IO);
    }
    CHECK(turns[2] >= SHARE_TURNS / 256, "of %u turns high had %u, normal %u and low %u: low priority starves",
          SHARE_TURNS, turns[0], turns[1], turns[2]);
    CHECK(turns[0] + SHARE_TURNS / 50 >= turns[1] && turns[1] + SHARE_TURNS / 50 >= turns[2],
          "of %u turns high had %u, normal %u and low %u", SHARE_TURNS, turns[0], turns[1], turns[2]);
    bed_close(bed);
}

/* One task waits; the others are ready again as soon as they have run, for a reason. */
static void pass_by(const struct subject *subject, uint32_t reason, uint32_t stealable, uint32_t priority)
{
    struct bed *bed = bed_open(subject, 1, BUSY + 1);
    struct task *waiting = &bed->tasks[BUSY];
    const uint32_t bound = TURNS_EACH * (BUSY + 1);
    uint32_t turns = 0;

    for (uint32_t i = 0; i < BUSY; i++) {
        bed->tasks[i].ready.stealable = (uint8_t)(stealable == 2 ? i % 2 : stealable);
        push(bed, 0, &bed->tasks[i], reason);
    }
    for (uint32_t i = 0; i < 200; i++) /* so that they are at it */
        push(bed, 0, turn(bed), reason);
    waiting->ready.stealable = (uint8_t)(stealable == 1);
    waiting->ready.priority = (uint8_t)priority;
    push(bed, 0, waiting, NX_REASON_IO);
    while (waiting->queued) { /* ends: the bound */
        struct task *task = turn(bed);

        CHECK(++turns <= bound,
              "a ready task of priority %u was passed by %u times by %u others that became ready again for reason %u",
              priority, turns, BUSY, reason);
        if (task != waiting)
            push(bed, 0, task, reason);
    }
    bed_close(bed);
}

void sched_fairness(const struct subject *subject)
{
    for (uint32_t reason = 0; reason <= NX_REASON_RETURN; reason++)
        for (uint32_t stealable = 0; stealable < 3; stealable++)
            for (uint32_t priority = 0; priority < 3; priority++)
                pass_by(subject, reason, stealable, priority);
}
