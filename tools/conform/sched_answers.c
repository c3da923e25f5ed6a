/* conform/sched_answers.c: what a scheduler says: where to, whether to wake, whether there is work, what is queued. */
#include "sched_rig.h"

#define WORKERS 4u
#define LOOKS 64u

void sched_select(const struct subject *subject)
{
    struct bed *bed = bed_open(subject, WORKERS, 1);
    const bool has_inject = SCHED_HAS(bed, inject);

    for (uint32_t i = 0; i < 4000; i++) {
        const uint64_t dice = next_random(&bed->random);
        const uint32_t from = i % 5 == 4 ? UINT32_MAX : i % 5, spread = (dice >> 4) % 2;
        uint32_t answer;

        for (uint32_t worker = 0; worker < WORKERS; worker++)
            bed->loads[worker] = (uint32_t)(next_random(&bed->random) % 10);
        bed->tasks[0].ready.stealable = (dice >> 5) % 2;
        answer = bed->ops->select(bed->sched, &bed->tasks[0].ready, from, spread, bed->loads);
        CHECK(answer < WORKERS || answer == NX_WORKER_INJECT, "select answers %u, with %u workers", answer, WORKERS);
        CHECK(answer != NX_WORKER_INJECT || has_inject, "select answers NX_WORKER_INJECT, and there is no inject");
    }
    bed_close(bed);
}

static struct task *look(struct bed *bed, uint32_t worker)
{
    struct task *task = NULL;

    for (uint32_t i = 0; i < LOOKS && !task; i++) {
        task = pull(bed, worker);
        if (!task)
            task = pull_stolen(bed, worker);
    }
    return task;
}

static void need_inject(const struct bed *bed)
{
    if (!SCHED_HAS(bed, inject))
        skip("inject is NULL: select never says NX_WORKER_INJECT");
}

static void need_steal(const struct bed *bed)
{
    if (!SCHED_HAS(bed, steal))
        skip("steal is NULL: workers share nothing");
}

void sched_inject(const struct subject *subject)
{
    struct bed *bed = bed_open(subject, WORKERS, 300);

    need_inject(bed);
    for (uint32_t i = 0; i < 300; i++) {
        struct task *task = &bed->tasks[i];

        task->ready.stealable = 1;
        task->ready.priority = (uint8_t)(i % 3);
        push_inject(bed, task);
        if (i % 3 == 0) /* one or three of them */
            continue;
        for (uint32_t look_for = bed->queued; look_for > 0; look_for--)
            CHECK(look(bed, i % WORKERS), "a task was injected, and worker %u does not find it in %u looks",
                  i % WORKERS, LOOKS);
    }
    bed_close(bed);
}

/* The kinds of task that a push can be of; where others could get it. */
static uint32_t push_kind(struct bed *bed, struct task *task, uint32_t kind, uint32_t worker)
{
    task->ready.stealable = kind % 2;
    task->ready.priority = (uint8_t)(kind / 2 % 3);
    return push(bed, worker, task, kind / 6);
}

#define KINDS (2u * 3 * (NX_REASON_RETURN + 1))

void sched_has_work(const struct subject *subject)
{
    struct bed *bed = bed_open(subject, WORKERS, 1);
    struct task *task = &bed->tasks[0];

    for (uint32_t kind = 0; kind < KINDS; kind++) {
        uint32_t worker = kind % WORKERS, answer = push_kind(bed, task, kind, worker);

        CHECK(bed->ops->has_work(bed->sched, worker), "has_work says no on worker %u, on which a task was enqueued",
              worker);
        for (uint32_t other = 0; other < WORKERS && answer == NX_WAKE_ANY && SCHED_HAS(bed, steal); other++)
            CHECK(bed->ops->has_work(bed->sched, other),
                  "has_work says no on worker %u, although enqueue on worker %u said NX_WAKE_ANY", other, worker);
        drain_bed(bed);
        if (!SCHED_HAS(bed, inject))
            continue;
        task->ready.stealable = 1;
        push_inject(bed, task);
        for (uint32_t other = 0; other < WORKERS; other++)
            CHECK(bed->ops->has_work(bed->sched, other), "has_work says no on worker %u after an inject", other);
        drain_bed(bed);
    }
    bed_close(bed);
}

void sched_no_work(const struct subject *subject)
{
    struct bed *bed = bed_open(subject, WORKERS, 700);

    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < bed->task_count; i++)
            push_kind(bed, &bed->tasks[i], (uint32_t)(next_random(&bed->random) % KINDS), i % WORKERS);
        drain_bed(bed);
        for (uint32_t worker = 0; worker < WORKERS; worker++) {
            CHECK(!pull(bed, worker) && !pull_stolen(bed, worker), "a task comes out of empty queues");
            CHECK(!bed->ops->has_work(bed->sched, worker), "has_work says yes on worker %u, and nothing is queued",
                  worker);
        }
    }
    for (uint32_t kind = 0; kind < KINDS; kind += 2) { /* not stealable */
        push_kind(bed, &bed->tasks[0], kind, 1);
        CHECK(!bed->ops->has_work(bed->sched, 0),
              "has_work says yes on worker 0 about a task that may not leave worker 1");
        drain_bed(bed);
    }
    bed_close(bed);
}

/* As many wakes as there are tasks for those who are woken, or more. */
static void count_wakes(const struct subject *subject, uint32_t tasks)
{
    struct bed *bed = bed_open(subject, 2, tasks);
    uint32_t wakes = 0, had = 0;

    for (uint32_t i = 0; i < tasks; i++)
        wakes += push_kind(bed, &bed->tasks[i], (uint32_t)(next_random(&bed->random) % KINDS), 0) == NX_WAKE_ANY;
    while (look(bed, 1)) /* ends: there are so many */
        had++;
    CHECK(had <= wakes, "of %u tasks another worker could take %u, and enqueue said NX_WAKE_ANY of %u", tasks, had,
          wakes);
    drain_bed(bed);
    bed_close(bed);
}

void sched_wake(const struct subject *subject)
{
    struct bed *bed = bed_open(subject, 2, 1);

    for (uint32_t kind = 0; kind < KINDS; kind++) {
        struct task *task = &bed->tasks[0];
        uint32_t answer = push_kind(bed, task, kind, 0);
        struct task *had;

        CHECK(answer == NX_WAKE_NONE || answer == NX_WAKE_ANY, "enqueue answers %u", answer);
        CHECK(answer == NX_WAKE_NONE || task->ready.stealable,
              "enqueue says NX_WAKE_ANY of a task that may not leave its worker");
        CHECK(answer == NX_WAKE_NONE || SCHED_HAS(bed, steal), "enqueue says NX_WAKE_ANY, and there is no steal");
        had = look(bed, 1);
        CHECK(!had || answer == NX_WAKE_ANY, "enqueue says NX_WAKE_NONE of a task that another worker can take");
        CHECK(had || answer == NX_WAKE_NONE, "enqueue says NX_WAKE_ANY of a task that no other worker gets in %u looks",
              LOOKS);
        drain_bed(bed);
    }
    bed_close(bed);
    for (uint32_t tasks = 2; tasks < 700; tasks = tasks * 3 + 1)
        count_wakes(subject, tasks);
}

void sched_steal(const struct subject *subject)
{
    static const uint32_t heaps[] = {1, 2, 3, 17, 256, 257, 600};
    struct bed *bed = bed_open(subject, 3, 600);

    need_steal(bed);
    for (uint32_t i = 0; i < sizeof(heaps) / sizeof(heaps[0]); i++) {
        uint32_t any = 0;

        for (uint32_t j = 0; j < heaps[i]; j++) {
            struct task *task = &bed->tasks[j];

            task->ready.stealable = 1;
            task->ready.priority = (uint8_t)(j % 3);
            any += push(bed, 0, task, j % (NX_REASON_RETURN + 1)) == NX_WAKE_ANY;
        }
        for (uint32_t j = 0; j < any; j++)
            CHECK(look(bed, 1), "of %u tasks that other workers could take one got %u; the others stay where they are",
                  any, j);
        drain_bed(bed);
    }
    bed_close(bed);
}

/* ---- take, dump ---- */

void sched_take(const struct subject *subject)
{
    struct bed *bed = bed_open(subject, 2, 40);
    uint32_t taken = 0;

    if (!SCHED_HAS(bed, take))
        skip("take is NULL");
    for (uint32_t round = 0; round < 400; round++) {
        const uint32_t count = 1 + (uint32_t)(next_random(&bed->random) % bed->task_count);
        struct task *wanted = &bed->tasks[next_random(&bed->random) % count];

        for (uint32_t i = 0; i < count; i++)
            push_kind(bed, &bed->tasks[i], (uint32_t)(next_random(&bed->random) % KINDS) | 1, i % 2 && round % 2);
        for (uint32_t i = 0; i < round % 7; i++)
            pull(bed, 0);
        uint32_t answer = bed->ops->take(bed->sched, 0, &wanted->ready);
        CHECK(answer <= 1, "take answers %u", answer);
        CHECK(!answer || wanted->queued, "take answers 1 for a task that was given out before");
        CHECK(!answer || wanted->where == 0, "take on worker 0 answers 1 for a task that was enqueued on worker %u",
              wanted->where);
        if (answer) { /* drain says if it comes again, or if one is missing */
            wanted->queued = false;
            bed->queued--;
            taken++;
        }
        drain_bed(bed);
        for (uint32_t worker = 0; worker < 2; worker++)
            CHECK(!pull(bed, worker) && !pull_stolen(bed, worker), "a task that take has given out comes again");
    }
    (void)taken; /* what is hard to find need not be found */
    bed_close(bed);
}

static uint32_t dump_all(struct bed *bed, uint32_t max, uint32_t *times)
{
    uint32_t all = 0;

    for (uint32_t worker = 0; worker < bed->workers; worker++) {
        struct window *window = window_new((max ? max : 1) * sizeof(struct nx_ready *), "an array for %u tasks", max);
        struct nx_ready **out = (struct nx_ready **)window->data;

        doing("dump with room for %u tasks", max);
        uint32_t count = bed->ops->dump(bed->sched, worker, out, max);
        CHECK(count <= max, "dump was given room for %u tasks and says that it has written %u", max, count);
        for (uint32_t i = 0; i < count; i++) {
            uintptr_t at = (uintptr_t)out[i] - (uintptr_t)bed->tasks;
            CHECK(at / sizeof(*bed->tasks) < bed->task_count, "dump lists %p, which is no task", (void *)out[i]);
            times[at / sizeof(*bed->tasks)]++;
        }
        all += count;
    }
    return all;
}

void sched_dump(const struct subject *subject)
{
    enum { TASKS = 400 };
    struct bed *bed = bed_open(subject, WORKERS, TASKS);
    uint32_t times[TASKS] = {0}, none[TASKS] = {0};

    if (!SCHED_HAS(bed, dump))
        skip("dump is NULL");
    for (uint32_t i = 0; i < TASKS; i++)
        push_kind(bed, &bed->tasks[i], (uint32_t)(next_random(&bed->random) % KINDS), i % WORKERS);
    for (uint32_t i = 0; i < TASKS / 4; i++)
        pull(bed, i % WORKERS);
    dump_all(bed, TASKS, times);
    for (uint32_t i = 0; i < TASKS; i++)
        CHECK(times[i] == (bed->tasks[i].queued ? 1 : 0), "dump lists task %u, which is%s queued, %u times", i,
              bed->tasks[i].queued ? "" : " not", times[i]);
    dump_all(bed, 3, none);
    dump_all(bed, 0, none);
    drain_bed(bed);
    bed_close(bed);
}
