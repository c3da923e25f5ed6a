/*
 * worker.c: what runs on a worker's thread: the loop, and switching between tasks.
 *
 *     loop:  drain the inbox → enqueue        run up to NXI_TURN_TASKS tasks, each switching straight to the next
 *            poll the drivers → ready tasks   expire the wheel          nothing to do → idle.c
 *
 * A task leaves its stack in one of three ways: it parks (nxi_park), yields (nxi_yield) or ends (task_main). In each,
 * what must happen only when its registers are saved, or its stack is no longer in use, is left in worker->after,
 * which the context that is switched to runs first (arrive). So nobody can resume a task that has not quite stopped,
 * and a stack is never given away by the one who stands on it.
 */
#include "core.h"
#include "overflow.h"

#define STARVED_TELL_NS INT64_C(1000000000)

/* ---- how many are ready ---- */

/*
 * counters.ready goes up with each enqueue here and down with each dequeue. Thieves take without telling the owner's
 * counter: they count in robbed, which is looked at only when there would be a new record; an empty queue starts anew.
 */
static NXI_NOINLINE void record_ready(struct nxi_worker *worker, uint64_t ready)
{
    struct nxi_counters *counters = &worker->counters;
    uint32_t robbed = atomic_load_explicit(&worker->robbed, memory_order_relaxed);
    uint32_t missing = robbed - worker->robbed_seen;
    worker->robbed_seen = robbed;
    ready = ready > missing ? ready - missing : 1;
    atomic_store_explicit(&counters->ready, ready, memory_order_relaxed);
    if (ready > nxi_counted(&counters->ready_high))
        atomic_store_explicit(&counters->ready_high, ready, memory_order_relaxed);
}

static inline void one_more_ready(struct nxi_worker *worker)
{
    uint64_t ready = nxi_counted(&worker->counters.ready) + 1;
    atomic_store_explicit(&worker->counters.ready, ready, memory_order_relaxed);
    if (NXI_UNLIKELY(ready > nxi_counted(&worker->counters.ready_high)))
        record_ready(worker, ready);
}

static inline void one_less_ready(struct nxi_worker *worker)
{
    uint64_t ready = nxi_counted(&worker->counters.ready);
    atomic_store_explicit(&worker->counters.ready, ready - (ready > 0), memory_order_relaxed);
}

static inline void none_ready(struct nxi_worker *worker)
{
    worker->robbed_seen = atomic_load_explicit(&worker->robbed, memory_order_relaxed);
    atomic_store_explicit(&worker->counters.ready, 0, memory_order_relaxed);
}

/* ---- who runs next ---- */

/* The task comes from another worker's queue, or from nobody's: it is at home here from now on. */
static NXI_NOINLINE void adopt(struct nxi_worker *worker, struct nxi_task *task)
{
    struct nxi_worker *old = atomic_load_explicit(&task->worker, memory_order_relaxed);
    atomic_fetch_add_explicit(&old->moved_out, 1, memory_order_relaxed);
    if (task->flags & NXI_TASK_INJECTED) {
        task->flags &= (uint8_t)~NXI_TASK_INJECTED;
    } else {
        atomic_fetch_add_explicit(&old->robbed, 1, memory_order_relaxed);
        nxi_count(&worker->counters.stolen, 1);
    }
    uint32_t live = atomic_load_explicit(&worker->live, memory_order_relaxed);
    atomic_store_explicit(&worker->live, live + 1, memory_order_relaxed);
    task->ready.home = worker->index;
    /* task.c, third point: worker first, then an RMW on state. */
    atomic_store_explicit(&task->worker, worker, memory_order_relaxed);
    atomic_fetch_or_explicit(&task->state, 0, memory_order_acq_rel);
}

static uint8_t state_of(struct nxi_task *task)
{
    return atomic_load_explicit(&task->state, memory_order_relaxed);
}

/* No memory for a stack: the task waits for one that comes free, or for better times. */
static NXI_NOINLINE void starve(struct nxi_worker *worker, struct nxi_task *task)
{
    nx_time now = nxi_worker_now(worker);
    if (now - worker->starved_told > STARVED_TELL_NS) {
        worker->starved_told = now;
        nxi_log(worker->runtime, NX_LOG_WARN,
                "no memory for the stack of a new task (%u bytes); it starts when there is some", task->stack_size);
    }
    task->ready.next = NULL;
    *(worker->starved ? worker->starved_end : &worker->starved) = &task->ready;
    worker->starved_end = &task->ready.next;
    if (!nxi_timer_active(&worker->starved_timer))
        nxi_timer_start(&worker->wheel, &worker->starved_timer, nx_after_ms(10));
}

/* The one that has waited longest may try again. */
static void starved_next(struct nxi_worker *worker)
{
    struct nx_ready *first = worker->starved;
    worker->starved = first->next;
    nxi_enqueue(worker, nxi_task_of(first), NX_REASON_TIMER);
}

static void starved_again(struct nxi_timer *timer)
{
    struct nxi_worker *worker = nxi_container(timer, struct nxi_worker, starved_timer);
    while (worker->starved)
        starved_next(worker);
}

static struct nxi_fiber *task_main(void *arg);

/*
 * While a task runs, worker->next may have the one other task that is ready, if the scheduler has none. Where workers
 * share nothing (worker->sole) that is what the scheduler would give out next, whatever its policy, so it is spared an
 * enqueue and a dequeue: that is a spawn and a join, a ping-pong, two tasks that yield. A second ready task sends both
 * to the scheduler, in the order in which they came. The loop never finds the place taken: whoever goes back to it
 * has looked for a task in vain, or empties it because the turn is over. So idle.c need not know.
 */
static void give_to_scheduler(struct nxi_worker *worker, struct nxi_task *task, uint32_t reason)
{
    if (worker->sched_ops->enqueue(worker->sched, worker->index, &task->ready, reason) == NX_WAKE_ANY)
        nxi_wake_one(worker->runtime);
}

static void empty_next(struct nxi_worker *worker)
{
    struct nxi_task *task = worker->next;
    if (task) {
        worker->next = NULL;
        give_to_scheduler(worker, task, worker->next_reason);
    }
}

static NXI_NOINLINE struct nxi_task *turn_is_over(struct nxi_worker *worker)
{
    empty_next(worker);
    return NULL;
}

static inline bool give_stack(struct nxi_worker *worker, struct nxi_task *task)
{
    task->stack = nxi_stack_get(&worker->stacks, task->stack_size);
    if (!task->stack)
        return false;
    if (NXI_UNLIKELY(!nxi_stack_alarm_usual(task->stack)))
        task->flags |= NXI_TASK_DEEP;
    return true;
}

/* The next task of this turn, or NULL: none is ready, or the turn is over. It may not have a stack yet. */
static inline struct nxi_task *pick(struct nxi_worker *worker)
{
    if (NXI_UNLIKELY(worker->turn <= 0))
        return turn_is_over(worker);
    struct nxi_task *task = worker->next;
    if (task) {
        worker->next = NULL;
        atomic_store_explicit(&worker->counters.ready, 0, memory_order_relaxed);
        worker->turn--;
        return task;
    }
    struct nx_ready *ready = worker->stolen;
    if (NXI_LIKELY(!ready))
        ready = worker->sched_ops->dequeue(worker->sched, worker->index);
    worker->stolen = NULL;
    if (!ready) {
        none_ready(worker);
        return NULL;
    }
    one_less_ready(worker);
    worker->turn--;
    task = nxi_task_of(ready);
    if (NXI_UNLIKELY(atomic_load_explicit(&task->worker, memory_order_relaxed) != worker))
        adopt(worker, task);
    assert(state_of(task) == NXI_NEW || state_of(task) == NXI_READY);
    return task;
}

/* The same, ready to be switched to. */
static inline struct nxi_task *pick_runnable(struct nxi_worker *worker)
{
    struct nxi_task *task;
    while ((task = pick(worker)) && NXI_UNLIKELY(!task->stack) && !give_stack(worker, task))
        starve(worker, task);
    return task;
}

/* ---- switching ---- */

static inline void arrive(struct nxi_worker *worker)
{
    void (*after)(struct nxi_worker *, void *) = worker->after;
    if (after) {
        worker->after = NULL;
        after(worker, worker->after_arg);
    }
}

/* The task has the cpu from now on. */
static inline void account(struct nxi_worker *worker, struct nxi_task *next)
{
    worker->credit = NXI_TASK_CREDIT;
    nxi_count(&worker->counters.switches, 1);
    atomic_store_explicit(&next->state, NXI_RUNNING, memory_order_relaxed);
}

/* Stops the current context, which is `from`, and continues the task, or with NULL the loop. */
static inline void switch_to(struct nxi_worker *worker, struct nxi_fiber *from, struct nxi_task *next)
{
    worker->current = next;
    if (NXI_UNLIKELY(!next)) {
        nxi_fiber_switch(from, &worker->loop);
        return;
    }
    bool starts = state_of(next) == NXI_NEW;
    account(worker, next);
    if (starts)
        nxi_fiber_enter_new(from, &next->fiber, nxi_stack_low(next->stack), nxi_stack_top(next->stack), task_main,
                            next);
    else
        nxi_fiber_switch(from, &next->fiber);
}

#ifdef NXI_FIBER_JUMP
static void arrive_before(void *arg)
{
    (void)arg;
    arrive(nxi_self());
}
#endif

/* For who does not come back and leaves something to do: the context to go on with, with a frame. */
static struct nxi_fiber *target(struct nxi_worker *worker, struct nxi_task *next)
{
    worker->current = next;
    if (!next)
        return &worker->loop;
    if (state_of(next) == NXI_NEW)
        nxi_fiber_make(&next->fiber, nxi_stack_low(next->stack), nxi_stack_top(next->stack), task_main, next);
#ifdef NXI_FIBER_JUMP
    else if (next->bare)
        nxi_fiber_before(&next->fiber, arrive_before, NULL);
#endif
    account(worker, next);
    return &next->fiber;
}

/* For few tasks: a stack that ran deep earlier, or now, and floating-point control words of its own. */
static NXI_NOINLINE void leave_slowly(struct nxi_worker *worker, struct nxi_task *task, struct nxi_task *next)
{
    bool own_fpenv = task->flags & NX_TASK_FPENV;
    nxi_stack_parking(task->stack, __builtin_frame_address(0));
    if (nxi_stack_alarm_usual(task->stack))
        task->flags &= (uint8_t)~NXI_TASK_DEEP;
    if (own_fpenv) {
        nxi_fpenv_get(&task->cold->fpenv);
        nxi_fpenv_set(&nxi_fpenv_default);
    }
    switch_to(worker, &task->fiber, next);
    arrive(nxi_self());
    if (own_fpenv)
        nxi_fpenv_set(&task->cold->fpenv);
}

/* Away from the running task, and back. */
static inline void leave(struct nxi_worker *worker, struct nxi_task *task, struct nxi_task *next)
{
    task->bare = false;
    void *frame = __builtin_frame_address(0);
    if (NXI_UNLIKELY(task->flags & (NX_TASK_FPENV | NXI_TASK_DEEP)) ||
        NXI_UNLIKELY(!nxi_stack_shallow(task->stack, frame) && nxi_stack_alarmed(task->stack, frame))) {
        leave_slowly(worker, task, next);
        return;
    }
    switch_to(worker, &task->fiber, next);
    arrive(nxi_self());
}

#ifdef NXI_FIBER_JUMP

/* Near enough for nxi_stack_shallow(), without a frame to point at. */
static inline const void *stack_pointer(void)
{
    const void *sp;
    __asm__ volatile("movq %%rsp, %0" : "=r"(sp));
    return sp;
}

/*
 * The common case is bare: nothing is left to do on the way back, so the switch is a tail call and goes straight to
 * the caller. Whoever leaves something in worker->after for a bare task sees to it (target). Only where workers share
 * nothing: elsewhere one that yields leaves something too. next has a stack, so it has started: one that has not gets
 * it just before its first switch.
 */
static inline bool may_be_bare(const struct nxi_task *task)
{
    const void *sp = stack_pointer();
    return NXI_LIKELY(!(task->flags & (NX_TASK_FPENV | NXI_TASK_DEEP))) &&
           (NXI_LIKELY(nxi_stack_shallow(task->stack, sp)) || !nxi_stack_alarmed(task->stack, sp));
}

static inline void leave_bare(struct nxi_worker *worker, struct nxi_task *task, struct nxi_task *next)
{
    task->bare = true;
    worker->current = next;
    account(worker, next);
}

#endif

static NXI_NOINLINE void park_slowly(struct nxi_worker *worker, struct nxi_task *task)
{
    leave(worker, task, pick_runnable(worker));
}

/*
 * Not by a jump, as a yield is: a task that parks comes back to the same place as others, by the same call chain. A
 * child that starts now, and ends without a park of its own, comes back as from a call.
 */
void nxi_park(struct nxi_worker *worker)
{
    struct nxi_task *task = worker->current;
    atomic_store_explicit(&task->state, NXI_PARKED, memory_order_relaxed);
#ifdef NXI_FIBER_JUMP
    struct nxi_task *next = worker->next;
    if (next && NXI_LIKELY(worker->turn > 0 && may_be_bare(task) && (next->stack || give_stack(worker, next)))) {
        bool starts = state_of(next) == NXI_NEW;
        worker->next = NULL;
        worker->turn--;
        atomic_store_explicit(&worker->counters.ready, 0, memory_order_relaxed);
        leave_bare(worker, task, next);
        if (starts)
            nxi_fiber_enter_new(&task->fiber, &next->fiber, nxi_stack_low(next->stack), nxi_stack_top(next->stack),
                                task_main, next);
        else
            nxi_fiber_swap(&task->fiber.sp, next->fiber.sp);
        return;
    }
#endif
    park_slowly(worker, task);
}

static void after_yield(struct nxi_worker *worker, void *arg)
{
    nxi_enqueue(worker, arg, NX_REASON_YIELD);
}

/* Where others may take a ready task: it must not be seen before its registers are saved. */
static NXI_NOINLINE void yield_shared(struct nxi_worker *worker)
{
    struct nxi_task *task = worker->current;
    struct nxi_task *next = pick_runnable(worker);
    worker->after = after_yield;
    worker->after_arg = task;
    leave(worker, task, next);
}

/* With no turn left, with nobody else ready, or with two of different priority. */
static NXI_NOINLINE struct nxi_task *behind_others(struct nxi_worker *worker, struct nxi_task *task)
{
    empty_next(worker);
    nxi_count(&worker->counters.ready, 1);
    give_to_scheduler(worker, task, NX_REASON_YIELD);
    return pick_runnable(worker);
}

/* The task goes to the end of the scheduler's queue: who comes next, which may be the same. */
static inline struct nxi_task *through_scheduler(struct nxi_worker *worker, struct nxi_task *task)
{
    const struct nx_sched_ops *ops = worker->sched_ops;
    struct nx_ready *ready;
    if (NXI_LIKELY(worker->can_yield)) {
        ready = ops->yield(worker->sched, worker->index, &task->ready);
    } else {
        ops->enqueue(worker->sched, worker->index, &task->ready, NX_REASON_YIELD);
        ready = ops->dequeue(worker->sched, worker->index);
    }
    worker->turn--;
    return NXI_LIKELY(ready) ? nxi_task_of(ready) : NULL;
}

/*
 * What else there is to do with who comes next. If the scheduler has no other task left then it has this one alone:
 * that is taken back to worker->next, so that two tasks that yield to each other need the scheduler once.
 */
static NXI_NOINLINE struct nxi_task *see_to_next(struct nxi_worker *worker, struct nxi_task *task,
                                                 struct nxi_task *next)
{
    struct nx_ready *ready;
    if (!next)
        return NULL;
    if (nxi_counted(&worker->counters.ready) == 1 && next != task &&
        (ready = worker->sched_ops->dequeue(worker->sched, worker->index)) != NULL) {
        worker->next = nxi_task_of(ready);
        worker->next_reason = NX_REASON_YIELD;
    }
    if (NXI_UNLIKELY(!next->stack) && !give_stack(worker, next)) {
        starve(worker, next);
        next = pick_runnable(worker);
    }
    return next;
}

/*
 * Where they may not it is enqueued at once, behind the others. With one other task that is ready the two change
 * places; counters.ready stays as it is.
 */
static inline struct nxi_task *after_sole(struct nxi_worker *worker, struct nxi_task *task)
{
    struct nxi_task *next = worker->next;
    atomic_store_explicit(&task->state, NXI_READY, memory_order_relaxed);
    if (NXI_UNLIKELY(worker->turn <= 0))
        return behind_others(worker, task);
    if (!next)
        return see_to_next(worker, task, through_scheduler(worker, task));
    if (next->ready.priority != task->ready.priority || !next->stack)
        return behind_others(worker, task);
    worker->next = task;
    worker->next_reason = NX_REASON_YIELD;
    worker->turn--;
    return next;
}

static NXI_NOINLINE void go_on(struct nxi_worker *worker, struct nxi_task *task, struct nxi_task *next)
{
    if (next == task)
        account(worker, task);
    else
        leave(worker, task, next);
}

#ifdef NXI_FIBER_JUMP

static NXI_NOINLINE void yield_slowly(struct nxi_worker *worker, struct nxi_task *task)
{
    go_on(worker, task, after_sole(worker, task));
}

static NXI_NOINLINE void go_on_slowly(struct nxi_worker *worker, struct nxi_task *task, struct nxi_task *next)
{
    go_on(worker, task, see_to_next(worker, task, next));
}

/* Among three or more. */
static NXI_NOINLINE void yield_through_scheduler(struct nxi_worker *worker, struct nxi_task *task)
{
    struct nxi_task *next = through_scheduler(worker, task);
    if (NXI_UNLIKELY(!next || next == task || !next->stack || nxi_counted(&worker->counters.ready) == 1)) {
        go_on_slowly(worker, task, next);
        return;
    }
    leave_bare(worker, task, next);
    nxi_fiber_jump(&task->fiber.sp, next->fiber.sp);
}

/* after_sole() and go_on(), for the usual. */
static inline void yield_sole(struct nxi_worker *worker)
{
    struct nxi_task *task = worker->current, *next = worker->next;
    atomic_store_explicit(&task->state, NXI_READY, memory_order_relaxed);
    if (NXI_UNLIKELY(worker->turn <= 0 || !may_be_bare(task))) {
        yield_slowly(worker, task);
    } else if (!next) {
        yield_through_scheduler(worker, task);
    } else if (NXI_UNLIKELY(next->ready.priority != task->ready.priority || !next->stack)) {
        yield_slowly(worker, task);
    } else {
        worker->next = task;
        worker->next_reason = NX_REASON_YIELD;
        worker->turn--;
        leave_bare(worker, task, next);
        nxi_fiber_jump(&task->fiber.sp, next->fiber.sp);
    }
}

#else

static inline void yield_sole(struct nxi_worker *worker)
{
    struct nxi_task *task = worker->current;
    go_on(worker, task, after_sole(worker, task));
}

#endif

static inline void yield(struct nxi_worker *worker)
{
    if (NXI_LIKELY(worker->sole))
        yield_sole(worker);
    else
        yield_shared(worker);
}

void nxi_yield(struct nxi_worker *worker)
{
    yield(worker);
}

void nxi_charge(struct nxi_worker *worker)
{
    if (NXI_UNLIKELY(--worker->credit <= 0))
        nxi_yield(worker);
}

void nx_yield(void)
{
    NXI_ENTRY();
    struct nxi_worker *worker = nxi_in_task();
    if (NXI_LIKELY(worker))
        yield(worker);
}

/* ---- ready ---- */

void nxi_enqueue(struct nxi_worker *worker, struct nxi_task *task, uint32_t reason)
{
    if (state_of(task) != NXI_NEW) {
        atomic_store_explicit(&task->state, NXI_READY, memory_order_relaxed);
        task->ready.stealable =
            (task->flags & (NX_TASK_MIGRATABLE | NXI_TASK_PINNED)) == NX_TASK_MIGRATABLE && task->pins == 0;
    }
    if (worker->sole && worker->current) {
        if (nxi_counted(&worker->counters.ready) == 0) {
            worker->next = task;
            worker->next_reason = reason;
            one_more_ready(worker);
            return;
        }
        empty_next(worker);
    }
    one_more_ready(worker);
    give_to_scheduler(worker, task, reason);
}

void nxi_ready(struct nxi_worker *worker, struct nxi_task *task, uint32_t reason)
{
    if (state_of(task) == NXI_PARKED)
        nxi_enqueue(worker, task, reason);
}

/* ---- a task from its first instruction to its last ---- */

/* Gives the stack of the task that has just ended to who comes next. */
static void after_end(struct nxi_worker *worker, void *arg)
{
    nxi_fiber_forget(&worker->dead);
    nxi_stack_put(&worker->stacks, arg);
    worker->stacks_left = true;
    if (NXI_UNLIKELY(worker->starved != NULL))
        starved_next(worker);
}

static NXI_NOINLINE void tell_overflow(struct nxi_task *task)
{
    char name[64];
    nxi_task_label(task, name, sizeof(name));
    nx_panic("task %s overflowed its %zu KiB stack without touching the guard; raise stack_size, or build the code it "
             "calls with -fstack-clash-protection",
             name, nxi_stack_size(task->stack) >> 10);
}

static NXI_NOINLINE void clean_up(struct nxi_task *task)
{
    nxi_scopes_end(task); /* first: children may use what is about to be cleaned up */
    nxi_run_defers(task);
    nxi_run_local_destructors(task);
    nxi_scopes_end(task);
}

/* Everything between the task's last statement and the end others see. */
static inline void wind_up(struct nxi_task *task)
{
    if (NXI_UNLIKELY(task->cold != NULL))
        clean_up(task);
    if (NXI_UNLIKELY(nxi_stack_overflowed(task->stack)))
        tell_overflow(task);
}

/* The current task is over; its stack goes on with the next task if that has none, else it is given back. */
static struct nxi_task *next_on_this_stack(struct nxi_worker *worker, struct nxi_stack *stack, struct nxi_fiber *fiber,
                                           struct nxi_fiber **ret_leave)
{
    struct nxi_task *next = pick(worker);
    if (next && !next->stack && next->stack_size == nxi_stack_size(stack)) {
        nxi_stack_again(stack);
        if (NXI_UNLIKELY(!nxi_stack_alarm_usual(stack)))
            next->flags |= NXI_TASK_DEEP;
        next->stack = stack;
        next->fiber = *fiber;
        worker->current = next;
        account(worker, next);
        return next;
    }
    if (next && !next->stack && !give_stack(worker, next)) {
        starve(worker, next);
        next = pick_runnable(worker);
    }
#ifdef NXI_FIBER_JUMP
    if (next && state_of(next) != NXI_NEW && !worker->starved && nxi_stack_put_early(&worker->stacks, stack)) {
        worker->stacks_left = true;
        worker->current = next;
        account(worker, next);
        *ret_leave = &next->fiber;
        return NULL;
    }
#endif
    worker->dead = *fiber;
    worker->after = after_end;
    worker->after_arg = stack;
    *ret_leave = target(worker, next);
    return NULL;
}

/* Ends the running task and returns the one that continues on its stack. NULL: none, and where to go on instead. */
static struct nxi_task *end_task(struct nxi_task *task, intptr_t result, struct nxi_fiber **ret_leave)
{
    wind_up(task);
    task->result = result; /* only now: while it parks, the place is taken */
    struct nxi_worker *worker = nxi_self();
    if (NXI_UNLIKELY(!worker))
        nxi_end_in_forked_child();
    if (NXI_UNLIKELY(task->flags & NX_TASK_FPENV))
        nxi_fpenv_set(&nxi_fpenv_default);
    struct nxi_stack *stack = task->stack;
    struct nxi_fiber fiber = task->fiber;
    nxi_task_end(worker, task, 0);
    return next_on_this_stack(worker, stack, &fiber, ret_leave);
}

static struct nxi_fiber *task_main(void *arg)
{
    struct nxi_task *task = arg;
    struct nxi_fiber *leave_to;
    arrive(nxi_self());
    do {
        if (NXI_UNLIKELY(task->flags & NX_TASK_FPENV))
            nxi_fpenv_set(&task->cold->fpenv);
        task = end_task(task, task->fn(task->arg), &leave_to);
    } while (task);
    return leave_to;
}

/* A panic ends the task from somewhere deep in its stack, which can't go on with another one. */
_Noreturn void nxi_task_panicked(struct nxi_task *task)
{
    wind_up(task);
    struct nxi_worker *worker = nxi_self();
    if (NXI_UNLIKELY(!worker))
        nxi_end_in_forked_child();
    if (NXI_UNLIKELY(task->flags & NX_TASK_FPENV))
        nxi_fpenv_set(&nxi_fpenv_default);
    struct nxi_stack *stack = task->stack;
    worker->dead = task->fiber;
    nxi_task_end(worker, task, NXI_CTL_PANICKED);
    struct nxi_task *next = pick_runnable(worker);
    worker->after = after_end;
    worker->after_arg = stack;
    nxi_fiber_leave(&worker->dead, target(worker, next));
}

/* ---- drivers and timers ---- */

nx_time nxi_worker_now(const struct nxi_worker *worker)
{
    const struct nx_runtime *runtime = worker->runtime;
    return NXI_UNLIKELY(runtime->clock != NULL) ? runtime->clock_now(runtime->clock) : nxi_clock();
}

static NXI_NOINLINE void count_second(struct nxi_worker *worker, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        worker->in_second -= !(worker->completions[i].flags & NX_COMPLETION_MORE);
}

void nxi_dispatch(struct nxi_worker *worker, uint32_t driver, uint32_t count)
{
    const struct nx_completion *completions = worker->completions;
    if (NXI_UNLIKELY(driver > 0))
        count_second(worker, count);
    worker->dispatching = true;
    for (uint32_t i = 0; i < count; i++) {
        struct nxi_op *op = nxi_container(completions[i].op, struct nxi_op, op);
        if (!(completions[i].flags & NX_COMPLETION_MORE)) {
            worker->in_flight--;
            nxi_count(&worker->counters.ops_done, 1);
        }
        op->done(worker, op, &completions[i]);
    }
    worker->dispatching = false;
}

uint32_t nxi_poll_drivers(struct nxi_worker *worker)
{
    uint32_t total = 0;
    nxi_count(&worker->counters.polls, 1);
    for (uint32_t i = 0; i < worker->driver_count; i++) {
        const struct nxi_driver *driver = &worker->drivers[i];
        uint32_t count = driver->ops->poll(driver->ctx, worker->completions, NXI_COMPLETIONS_MAX);
        nxi_dispatch(worker, i, count);
        total += count;
    }
    return total;
}

uint32_t nxi_expire(struct nxi_worker *worker)
{
    if (nxi_wheel_count(&worker->wheel) == 0)
        return 0;
    uint32_t fired = nxi_wheel_expire(&worker->wheel, nxi_worker_now(worker), NXI_COMPLETIONS_MAX);
    nxi_count(&worker->counters.timers_fired, fired);
    return fired;
}

/* ---- the loop ---- */

/* Runs tasks until none is ready or the turn is over; whether any ran. */
static bool run_turn(struct nxi_worker *worker)
{
    worker->turn = NXI_TURN_TASKS;
    struct nxi_task *task = pick_runnable(worker);
    if (!task)
        return false;
    if (worker->searching)
        nxi_stop_searching(worker);
    do {
        switch_to(worker, &worker->loop, task);
        arrive(worker);
    } while ((task = pick_runnable(worker)));
    return true;
}

void nxi_worker_init(struct nxi_worker *worker, struct nx_runtime *runtime, uint32_t index)
{
    worker->runtime = runtime;
    worker->index = index;
    worker->sched_ops = runtime->sched_ops;
    worker->sched = runtime->sched;
    worker->sole = !NXI_HAS(runtime->sched_ops, steal) && !NXI_HAS(runtime->sched_ops, inject) &&
                   !NXI_HAS(runtime->sched_ops, take);
    worker->can_yield = worker->sole && NXI_HAS(runtime->sched_ops, yield);
    nxi_timer_init(&worker->starved_timer, starved_again);
    nxi_idle_init(worker);
}

void nxi_worker_loop(struct nxi_worker *worker)
{
    while (!nxi_worker_may_stop(worker)) {
        worker->turn_time = nxi_worker_now(worker);
        nxi_inbox_drain(worker);
        run_turn(worker);
        bool more = nxi_expire(worker) > 0 || worker->turn <= 0;
        if (more) { /* look at the world without waiting: neither tasks nor timers may starve I/O */
            nxi_poll_drivers(worker);
        } else if (!nxi_worker_may_stop(worker)) {
            nxi_idle(worker); /* not after the last message has been dealt with: nobody would ring again */
        }
    }
}
