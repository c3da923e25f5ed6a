/* conform/sched_outside.c: memory, stack, and real threads. */
#define _GNU_SOURCE
#include "sched_rig.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define WORKERS 4u
#define TASKS 240u
#define STACK_SIZE (256u << 10)
#define STACK_MAX 1024u
#define STACK_SLACK 256u /* of the calls around a slot */
#define PAINT 0x5a
#define THREAD_TASKS 2000u
#define THREAD_TIME (INT64_C(400) * 1000000)
#define PATIENCE (INT64_C(6000) * 1000000)

/* Sanitizers take stack of their own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

/* ---- what was given out may be gone ---- */

static struct nx_ready *give_out(const struct nx_sched_ops *ops, struct bed *bed, uint32_t worker)
{
    struct nx_ready *ready = ops->dequeue(bed->sched, worker);

    return ready || !SCHED_HAS(bed, steal) ? ready : ops->steal(bed->sched, worker);
}

void sched_after(const struct subject *subject)
{
    struct bed *bed = bed_open(subject, WORKERS, 0);
    struct window *windows[TASKS];
    uint32_t given = 0, empty = 0;

    for (uint32_t i = 0; i < TASKS; i++) {
        windows[i] = window_new(sizeof(struct nx_ready), "the struct nx_ready of a task");
        struct nx_ready *ready = (struct nx_ready *)windows[i]->data;

        memset(ready, 0, sizeof(*ready));
        ready->home = i % WORKERS;
        ready->priority = (uint8_t)(i % 3);
        ready->stealable = i / 2 % 2;
        bed->ops->enqueue(bed->sched, i % WORKERS, ready, i % (NX_REASON_RETURN + 1));
    }
    doing("taking tasks out whose memory is gone then");
    for (uint32_t i = 0; given < TASKS; i++) {
        struct nx_ready *ready = give_out(bed->ops, bed, i % WORKERS);

        empty = ready ? 0 : empty + 1;
        CHECK(empty < 10000, "%u tasks are not given out", TASKS - given);
        for (uint32_t j = 0; ready && j < TASKS; j++)
            if (windows[j]->data == (uint8_t *)ready) {
                window_close(windows[j]);
                given++;
            }
    }
    for (uint32_t worker = 0; worker < WORKERS; worker++) {
        give_out(bed->ops, bed, worker);
        bed->ops->has_work(bed->sched, worker);
    }
    bed_close(bed);
}

/* ---- a guest on the task's stack ---- */

struct guest {
    struct bed *bed;
    uint32_t slot;
};

/* Each with something to do, and without. */
static void *call_slot(void *arg)
{
    struct guest *guest = arg;
    struct bed *bed = guest->bed;
    const struct nx_sched_ops *ops = bed->ops;

    for (uint32_t i = 0; i < 600; i++) {
        if (guest->slot == 1)
            ops->enqueue(bed->sched, 0, &bed->tasks[i].ready, i % (NX_REASON_RETURN + 1));
        else if (guest->slot == 2)
            ops->dequeue(bed->sched, 0);
        else if (guest->slot == 3 && SCHED_HAS(bed, steal))
            ops->steal(bed->sched, 1);
        else if (guest->slot == 4)
            ops->has_work(bed->sched, 0);
    }
    return NULL;
}

static uint32_t depth_of(struct guest *guest, uint32_t slot)
{
    uint8_t *stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    pthread_attr_t attr;
    pthread_t thread;
    uint32_t untouched = 0;

    CHECK(stack != MAP_FAILED, "this program has run out of memory");
    memset(stack, PAINT, STACK_SIZE);
    guest->slot = slot;
    pthread_attr_init(&attr);
    CHECK(pthread_attr_setstack(&attr, stack, STACK_SIZE) == 0 && pthread_create(&thread, &attr, call_slot, guest) == 0,
          "this program could not start a thread");
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attr);
    while (untouched < STACK_SIZE && stack[untouched] == PAINT)
        untouched++;
    munmap(stack, STACK_SIZE);
    return STACK_SIZE - untouched;
}

static void expect_shallow(struct bed *bed, uint32_t slot)
{
    static const char *const names[] = {"nothing", "enqueue", "dequeue", "steal", "has_work"};
    struct guest guest = {.bed = bed};
    const uint32_t empty = depth_of(&guest, 0), depth = depth_of(&guest, slot);

    CHECK(depth <= empty + STACK_MAX + STACK_SLACK, "%s uses %u bytes of stack", names[slot], depth - empty);
}

static void take_all(struct bed *bed)
{
    while (bed->ops->dequeue(bed->sched, 0) || bed->ops->dequeue(bed->sched, 1))
        ; /* ends: nothing is put in */
}

static void check_stack(struct bed *bed)
{
    for (uint32_t slot = 2; slot <= 4; slot++) { /* nothing there; full queues */
        expect_shallow(bed, slot);
        for (uint32_t i = 0; i < bed->task_count; i++)
            bed->tasks[i].ready = (struct nx_ready){.stealable = i % 2};
        expect_shallow(bed, 1);
        expect_shallow(bed, slot);
        take_all(bed);
    }
}

void sched_guest(const struct subject *subject)
{
    struct bed *bed = bed_open(subject, 2, 600);
    const uint64_t looks = books.now_calls;
    const int threads = thread_count();
    struct sigaction before[32], after;

    for (int i = 1; i < 32; i++)
        sigaction(i, NULL, &before[i]);
    if (SANITIZED)
        call_slot(&(struct guest){.bed = bed, .slot = 1});
    else
        check_stack(bed);
    CHECK(books.now_calls == looks, "the clock was read %llu times", (unsigned long long)(books.now_calls - looks));
    /* Of this program's own threads, the last may still be on its way out of the kernel's list. */
    for (const nx_time until = real_now() + PATIENCE / 6; thread_count() != threads && real_now() < until;)
        snooze(1000000);
    CHECK(thread_count() == threads, "it has started %d threads", thread_count() - threads);
    for (int i = 1; i < 32; i++) {
        sigaction(i, NULL, &after);
        CHECK(after.sa_handler == before[i].sa_handler, "the handler of signal %d was changed", i);
    }
    take_all(bed);
    bed_close(bed);
}

/* ---- threads ---- */

struct crowd {
    struct bed *bed;
    uint32_t stop;
    uint32_t owner[THREAD_TASKS]; /* 0: queued; 1: somebody has it. Exchanged: two owners are seen */
    uint64_t value[THREAD_TASKS]; /* written plainly before each push */
    uint64_t moves;
};

struct member {
    struct crowd *crowd;
    uint32_t worker;
    uint64_t random;
};

static void hand_on(struct member *member, struct task *task)
{
    struct crowd *crowd = member->crowd;
    const uint64_t dice = next_random(&member->random);

    task->payload = ++crowd->value[task->number];
    task->ready.priority = (uint8_t)(dice % 3);
    __atomic_store_n(&crowd->owner[task->number], 0, __ATOMIC_RELAXED);
    if ((dice >> 8) % 4 == 0 && SCHED_HAS(crowd->bed, inject)) {
        task->ready.stealable = 1;
        crowd->bed->ops->inject(crowd->bed->sched, &task->ready);
    } else {
        task->ready.stealable = (dice >> 16) % 4 != 0;
        task->ready.home = member->worker;
        crowd->bed->ops->enqueue(crowd->bed->sched, member->worker, &task->ready,
                                 (uint32_t)(dice >> 24) % (NX_REASON_RETURN + 1));
    }
}

static struct task *catch_one(struct member *member)
{
    struct crowd *crowd = member->crowd;
    struct bed *bed = crowd->bed;
    struct nx_ready *ready = bed->ops->dequeue(bed->sched, member->worker);
    struct task *task;

    if (!ready && SCHED_HAS(bed, steal))
        ready = bed->ops->steal(bed->sched, member->worker);
    if (!ready)
        return NULL;
    task = (struct task *)ready;
    CHECK(__atomic_exchange_n(&crowd->owner[task->number], 1, __ATOMIC_RELAXED) == 0,
          "two threads were given task %u at once", task->number);
    CHECK(task->payload == crowd->value[task->number],
          "what was written before task %u was pushed is not visible to the thread that got it", task->number);
    CHECK(task->ready.stealable || task->ready.home == member->worker, "task %u, which may not move, has moved",
          task->number);
    return task;
}

static void *take_part(void *arg)
{
    struct member *member = arg;
    struct crowd *crowd = member->crowd;
    uint64_t moves = 0;

    for (uint32_t i = member->worker; i < THREAD_TASKS; i += WORKERS)
        hand_on(member, &crowd->bed->tasks[i]);
    while (!__atomic_load_n(&crowd->stop, __ATOMIC_ACQUIRE)) { /* ends: told so */
        struct task *task = catch_one(member);

        if (task)
            hand_on(member, task);
        moves += task != NULL;
    }
    __atomic_fetch_add(&crowd->moves, moves, __ATOMIC_RELAXED);
    return NULL;
}

void sched_threads(const struct subject *subject)
{
    static struct crowd crowd;
    struct bed *bed = bed_open(subject, WORKERS, THREAD_TASKS);
    struct member members[WORKERS];
    pthread_t threads[WORKERS];
    uint32_t out = 0;

    crowd.bed = bed;
    memset(crowd.owner, 0xff, sizeof(crowd.owner));
    doing("%u threads that pass tasks on", WORKERS);
    for (uint32_t i = 0; i < WORKERS; i++) {
        members[i] = (struct member){.crowd = &crowd, .worker = i, .random = subject->seed + i};
        CHECK(pthread_create(&threads[i], NULL, take_part, &members[i]) == 0, "this program could not start a thread");
    }
    snooze(THREAD_TIME);
    __atomic_store_n(&crowd.stop, 1, __ATOMIC_RELEASE);
    for (uint32_t i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
    doing("taking out what the threads have left");
    for (nx_time until = real_now() + PATIENCE; out < THREAD_TASKS;) { /* ends: until comes */
        for (uint32_t i = 0; i < WORKERS; i++)
            out += catch_one(&members[i]) != NULL;
        CHECK(real_now() < until, "%u of %u tasks were lost after %llu moves", THREAD_TASKS - out, THREAD_TASKS,
              (unsigned long long)crowd.moves);
    }
    bed_close(bed);
}
