/*
 * conform/sched_interleave.c: workers that are stopped between two instructions, in an order that a seed gives.
 *
 * All actors are coroutines of one thread. Of some calls of the scheduler's slots it is drawn that they stop after so
 * many instructions: the processor's trap flag is set, a SIGTRAP comes after each instruction, and its handler, on that
 * coroutine's stack, counts them and in the end goes over to another coroutine. Others then call slots, whole ones or
 * such as stop in turn, until the first goes on. The same seed gives the same order, down to the instruction. Outside
 * of slots nothing stops, so that the books need no care: who has been given a task books it before anybody else runs.
 *
 * A trap takes microseconds. So no call is traced longer than to where it stops, and it stops once: most faults need no
 * more.
 *
 * What this can't show is memory order: one thread sees its own stores in order. That is NXS-020's.
 */
#define _GNU_SOURCE
#include "sched_rig.h"

#if defined(__linux__) && defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CAN_TRACE 1
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#undef CAN_TRACE
#endif
#endif
#endif

#ifndef CAN_TRACE

void sched_interleave(const struct subject *subject)
{
    (void)subject;
    skip("this program can't stop between two instructions here: it can on Linux on x86-64, without sanitizers");
}

#else

#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>

#define WORKERS 3u
#define ACTORS (WORKERS + 1) /* one of them injects, and is no worker */
#define TASKS 14u
#define STEPS 14u
#define ROUNDS 100u
#define STACK_SIZE (64u << 10)
#define TRAP_FLAG 0x100

struct actor {
    ucontext_t context;
    uint32_t worker; /* WORKERS: it is none */
    bool done;
};

/* Of one round. */
static struct {
    struct bed *bed;
    struct actor actors[ACTORS];
    ucontext_t director;
    uint32_t current, takers;
    uint64_t random, left; /* instructions until it stops */
    uint64_t clock, takes;
    uint64_t pushed_at[TASKS]; /* when its push had finished; 0: it has not */
    bool for_all[TASKS];       /* any worker may take it */
} stage;

/* ---- changing over ---- */

static uint64_t dice(void)
{
    return next_random(&stage.random);
}

static void change_over(void)
{
    const uint32_t from = stage.current, start = (uint32_t)(dice() % ACTORS);

    for (uint32_t i = 0; i < ACTORS; i++) {
        const uint32_t to = (start + i) % ACTORS;

        if (stage.actors[to].done)
            continue;
        stage.current = to;
        if (to != from)
            swapcontext(&stage.actors[from].context, &stage.actors[to].context);
        return;
    }
}

static void on_trap(int signal, siginfo_t *info, void *context)
{
    (void)signal, (void)info;
    if (stage.left > 1) {
        stage.left--;
        return;
    }
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
    change_over();
}

/* Below the red zone: what the compiler keeps there stays. */
static inline __attribute__((always_inline)) void set_trap_flag(void)
{
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\tpushfq\n\torq $0x100, (%%rsp)\n\tpopfq\n\tleaq 128(%%rsp), %%rsp" ::
                         : "memory", "cc");
}

static inline __attribute__((always_inline)) void clear_trap_flag(void)
{
    __asm__ volatile("leaq -128(%%rsp), %%rsp\n\tpushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq\n\tleaq 128(%%rsp), %%rsp" ::
                         : "memory", "cc");
}

/* Around a call of a slot: one in three stops, and most of those soon, where the slots are short. */
static inline __attribute__((always_inline)) void begin(void)
{
    const uint64_t draw = dice();

    if (draw % 3 != 0)
        return;
    stage.left = 2 + (draw >> 8) % (draw & 48 ? 16 : 64);
    set_trap_flag();
}

static inline __attribute__((always_inline)) void end(void)
{
    clear_trap_flag();
}

/* ---- what actors do ---- */

static void put_in(const struct actor *actor)
{
    struct bed *bed = stage.bed;
    struct task *task = &bed->tasks[dice() % TASKS];
    const uint32_t reason = (uint32_t)(dice() % (NX_REASON_RETURN + 1));
    uint32_t answer = NX_WAKE_ANY;

    if (task->queued)
        return;
    task->ready.priority = (uint8_t)(dice() % 4 ? 0 : dice() % 3);
    task->ready.stealable = actor->worker == WORKERS || dice() % 4 != 0;
    task->queued = true;
    task->where = actor->worker == WORKERS ? ANYWHERE : actor->worker;
    task->ready.home = actor->worker % WORKERS;
    bed->queued++;
    stage.pushed_at[task->number] = 0;
    begin();
    if (actor->worker == WORKERS)
        bed->ops->inject(bed->sched, &task->ready);
    else
        answer = bed->ops->enqueue(bed->sched, actor->worker, &task->ready, reason);
    end();
    if (!task->queued) /* somebody was quicker */
        return;
    stage.for_all[task->number] = answer == NX_WAKE_ANY;
    stage.pushed_at[task->number] = ++stage.clock;
}

static bool book(struct nx_ready *ready, uint32_t worker, const char *what)
{
    struct bed *bed = stage.bed;
    const uintptr_t at = (uintptr_t)ready - (uintptr_t)bed->tasks;
    struct task *task = (struct task *)ready;

    stage.takers--;
    if (!ready)
        return false;
    CHECK(at / sizeof(*task) < TASKS && at % sizeof(*task) == 0, "%s gives out %p, which is no task", what,
          (void *)ready);
    CHECK(task->queued, "%s gives out task %u, which was given out before and not queued again", what, task->number);
    CHECK(task->ready.stealable || task->where == worker,
          "%s on worker %u gives out task %u, which may not leave worker %u", what, worker, task->number, task->where);
    task->queued = false;
    bed->queued--;
    return true;
}

static bool take_out(const struct actor *actor, bool may_steal)
{
    struct bed *bed = stage.bed;
    struct nx_ready *ready;

    stage.takers++;
    stage.takes++;
    begin();
    ready = bed->ops->dequeue(bed->sched, actor->worker);
    end();
    if (book(ready, actor->worker, "dequeue"))
        return true;
    if (!may_steal || !SCHED_HAS(bed, steal))
        return false;
    stage.takers++;
    stage.takes++;
    begin();
    ready = bed->ops->steal(bed->sched, actor->worker);
    end();
    return book(ready, actor->worker, "steal");
}

/* Law 5, while others are in the middle of pushing: what was pushed before is seen. Not while somebody else takes: who
 * knows what he has. */
static void look(const struct actor *actor)
{
    struct bed *bed = stage.bed;
    const uint64_t start = ++stage.clock, takes = stage.takes;
    const bool calm = stage.takers == 0;
    uint32_t answer;

    begin();
    answer = bed->ops->has_work(bed->sched, actor->worker);
    end();
    if (answer || !calm || stage.takes != takes)
        return;
    for (uint32_t i = 0; i < TASKS; i++) {
        const struct task *task = &bed->tasks[i];

        CHECK(!task->queued || stage.pushed_at[i] == 0 || stage.pushed_at[i] > start ||
                  (!stage.for_all[i] && task->where != actor->worker),
              "has_work says no on worker %u, and task %u was pushed before it was asked", actor->worker, i);
    }
}

static void play(uint32_t number)
{
    struct actor *actor = &stage.actors[number];

    for (uint32_t i = 0; i < STEPS; i++) {
        const uint64_t what = dice() % 8;

        if (actor->worker == WORKERS || what < 4)
            put_in(actor);
        else if (!take_out(actor, what < 7))
            look(actor);
        if (dice() % 2)
            change_over();
    }
    actor->done = true;
    change_over();
    setcontext(&stage.director); /* the last one */
}

/* ---- rounds ---- */

static void play_round(const struct subject *subject, uint8_t *stacks, uint64_t seed)
{
    struct bed *bed = bed_open(subject, WORKERS, TASKS);
    const bool has_inject = SCHED_HAS(bed, inject);

    memset(&stage, 0, sizeof(stage));
    stage.bed = bed;
    stage.random = seed;
    doing("a round of seed %llu", (unsigned long long)subject->seed);
    for (uint32_t i = 0; i < ACTORS; i++) {
        struct actor *actor = &stage.actors[i];

        actor->worker = i;
        actor->done = i == WORKERS && !has_inject;
        CHECK(getcontext(&actor->context) == 0, "this program could not make a coroutine");
        actor->context.uc_stack.ss_sp = stacks + i * STACK_SIZE;
        actor->context.uc_stack.ss_size = STACK_SIZE;
        makecontext(&actor->context, (void (*)(void))play, 1, i);
    }
    swapcontext(&stage.director, &stage.actors[0].context);
    drain_bed(bed);
    for (uint32_t worker = 0; worker < WORKERS; worker++)
        CHECK(!pull(bed, worker) && !pull_stolen(bed, worker), "a task comes out of empty queues");
    bed_close(bed);
}

void sched_interleave(const struct subject *subject)
{
    uint8_t *stacks = mmap(NULL, ACTORS * STACK_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0);
    struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO};
    uint64_t random = subject->seed;

    CHECK(stacks != MAP_FAILED, "this program has run out of memory");
    sigemptyset(&action.sa_mask);
    sigaction(SIGTRAP, &action, NULL);
    host_never_sleeps = true;
    for (uint32_t i = 0; i < ROUNDS; i++)
        play_round(subject, stacks, next_random(&random));
    munmap(stacks, ACTORS * STACK_SIZE);
}

#endif
