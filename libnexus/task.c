/*
 * task.c: a task's life from spawn to its end, seen from outside: spawn, cancel, names, end.
 *
 *   NEW ──run──> RUNNING ──park──> PARKED ──ready──> READY ──run──> RUNNING ... ──end──> ENDED ──retire──> FREE
 *
 * The state belongs to the home worker. What other threads do to a task goes through ctl, and where the task must be
 * stirred, through its node, posted to the home worker's inbox:
 *
 *  - Who sets NXI_CTL_QUEUED on a live task owns the node, and posts it. Until the home worker has cleared QUEUED the
 *    task counts as live even if it has ended (worker->ended is raised by whoever comes last), so the runtime can't be
 *    destroyed under a poster.
 *  - A header is given back by whoever of these two comes last: the one that gives the id up (RETIRE), and the home
 *    worker clearing QUEUED. Both are RMWs on ctl, so exactly one of them sees the other's bit. Who has seen DONE
 *    without QUEUED (acquire) gives it back at once if it has no cold part: nobody sets QUEUED on an ended task.
 *  - A migratable task may be taken over by a thief at the moment its old home handles the node. The thief writes
 *    task->worker and then does an RMW on state; the old home does an RMW on state and then reads task->worker:
 *    whichever comes second sees the other. Either the old home sees the new one and forwards the node, or the task,
 *    which runs after the thief's RMW, sees the cancel.
 */
#include "core.h"
#include <nexus/task.h>
#include <stdlib.h>
#include <string.h>

/* ---- the cold part ---- */

struct nxi_cold *nxi_task_cold(struct nxi_task *task)
{
    struct nxi_cold *cold = task->cold;
    if (!cold) {
        cold = nxi_alloc(sizeof(*cold));
        task->cold = cold;
    }
    return cold;
}

/* Between who reads the cold part of a task that isn't his (its name) and who frees it. */
static pthread_mutex_t cold_lock = PTHREAD_MUTEX_INITIALIZER;

static void free_cold(struct nxi_task *task)
{
    struct nxi_cold *cold = task->cold;
    if (!cold)
        return;
    pthread_mutex_lock(&cold_lock);
    task->cold = NULL;
    pthread_mutex_unlock(&cold_lock);
    nxi_free(cold->big_arg, cold->big_arg_size);
    if (cold->message)
        nxi_free(cold->message, strlen(cold->message) + 1);
    nxi_free(cold, sizeof(*cold));
}

/* ---- end ---- */

static void give_back(struct nxi_task *task)
{
    free_cold(task);
    nxi_slot_give(task);
}

void nxi_task_retire(struct nxi_task *task)
{
    uint64_t old = atomic_fetch_or_explicit(&task->ctl, NXI_CTL_RETIRE, memory_order_acq_rel);
    if (!(old & NXI_CTL_QUEUED))
        give_back(task);
}

static NXI_NOINLINE void tell_shutdown(struct nx_runtime *runtime)
{
    pthread_mutex_lock(&runtime->lock);
    pthread_cond_broadcast(&runtime->changed);
    pthread_mutex_unlock(&runtime->lock);
}

/* One task less. While the runtime closes, shutdown wants to know. */
static inline void count_ended(struct nxi_worker *worker)
{
    uint64_t ended = atomic_load_explicit(&worker->ended, memory_order_relaxed) + 1;
    atomic_store_explicit(&worker->ended, ended, memory_order_release);
    if (NXI_UNLIKELY(atomic_load_explicit(&worker->runtime->closing, memory_order_relaxed)))
        tell_shutdown(worker->runtime);
}

static inline void wake_joiner(struct nxi_worker *worker, struct nxi_waiter *joiner)
{
    if (NXI_LIKELY(nxi_waiter_is_beside(joiner, worker))) {
        struct nxi_task *task = joiner->task;
        if (!nxi_waiter_wake_beside(joiner, worker, NX_REASON_RETURN))
            nxi_ready(worker, task, NX_REASON_RETURN);
    } else {
        nxi_waiter_wake(joiner, NX_REASON_RETURN);
    }
}

void nxi_task_end(struct nxi_worker *worker, struct nxi_task *task, uint32_t ctl)
{
    atomic_store_explicit(&task->state, NXI_ENDED, memory_order_relaxed);
    uint32_t live = atomic_load_explicit(&worker->live, memory_order_relaxed);
    atomic_store_explicit(&worker->live, live - 1, memory_order_relaxed);

    struct nxi_waiter *joiner = NULL;
    bool child = task->cold && task->cold->scope; /* its own scopes are closed: it is the one that it is a child of */
    uint64_t old = atomic_fetch_or_explicit(&task->ctl, NXI_CTL_DONE | ctl, memory_order_acq_rel);
    if (old & NXI_CTL_JOINER)
        joiner = task->joiner;
    if (!(old & NXI_CTL_QUEUED))
        count_ended(worker);
    if (child)
        nxi_scope_child_ended(task, ctl & NXI_CTL_PANICKED);
    else if (joiner)
        wake_joiner(worker, joiner);
    else if (ctl & NXI_CTL_PANICKED && (old & (NXI_CTL_DETACHED | NXI_CTL_SERVED)) == NXI_CTL_DETACHED)
        nxi_panic_unjoined(task);
    else if (old & NXI_CTL_DETACHED)
        nxi_task_retire_ended(task, old);
}

/* ---- the node: start and cancel from elsewhere ---- */

static void node_arrived(struct nxi_worker *worker, struct nxi_node *node)
{
    struct nxi_task *task = nxi_container(node, struct nxi_task, node);
    uint8_t state = atomic_fetch_or_explicit(&task->state, 0, memory_order_acq_rel);
    struct nxi_worker *home = atomic_load_explicit(&task->worker, memory_order_relaxed);
    if (home != worker) {
        nxi_post(home, node);
        return;
    }
    uint64_t old = atomic_fetch_and_explicit(&task->ctl, ~(uint64_t)NXI_CTL_QUEUED, memory_order_acq_rel);
    if (old & NXI_CTL_DONE) {
        if (old & NXI_CTL_RETIRE)
            give_back(task);
        count_ended(worker);
        return;
    }
    if (state ==
        NXI_PARKED) /* as it was at the RMW: a parked task can't be taken over, any other may have been since */
        nxi_enqueue(worker, task, NX_REASON_REMOTE);
}

static void start_arrived(struct nxi_worker *worker, struct nxi_node *node)
{
    struct nxi_task *task = nxi_container(node, struct nxi_task, node);
    node->run = node_arrived;
    atomic_fetch_and_explicit(&task->ctl, ~(uint64_t)NXI_CTL_QUEUED, memory_order_acq_rel);
    nxi_enqueue(worker, task, NX_REASON_SPAWN);
}

/* ---- look-up ---- */

int nxi_task_look_up(nx_task id, struct nxi_task **ret_task, uint64_t *ret_ctl)
{
    if (nxi_forked())
        return -NX_EFORKED;
    struct nxi_task *task = nxi_task_find(id, ret_ctl);
    if (!task)
        return -ESRCH;
    *ret_task = task;
    return 0;
}

/* ---- spawn ---- */

/* What the options say, with defaults, checked. */
struct plan {
    const char *name;
    size_t stack_size, arg_size;
    uint32_t worker; /* or UINT32_MAX */
    uint8_t priority, flags;
};

static int read_options(struct nx_runtime *runtime, const nx_task_options *options, struct plan *ret_plan)
{
    nx_task_options given;
    *ret_plan = (struct plan){.stack_size = runtime->stack_size, .worker = UINT32_MAX};
    if (nxi_options_copy(&given, sizeof(given), options) < 0)
        return -EINVAL;
    const unsigned known = NX_TASK_MIGRATABLE | NX_TASK_SPREAD | NX_TASK_FPENV;
    if (given.flags & ~known || (unsigned)given.priority > NX_PRIO_LOW || given.worker_plus_1 < 0 ||
        (uint32_t)given.worker_plus_1 > runtime->worker_count || given.stack_size > NXI_STACK_MAX)
        return -EINVAL;
    if (given.stack_size > 0)
        ret_plan->stack_size = nxi_stack_round(given.stack_size);
    if (given.worker_plus_1 > 0)
        ret_plan->worker = (uint32_t)given.worker_plus_1 - 1;
    ret_plan->name = given.name;
    ret_plan->arg_size = given.arg_size;
    ret_plan->priority = (uint8_t)given.priority;
    ret_plan->flags = (uint8_t)(given.flags | (given.worker_plus_1 > 0 ? NXI_TASK_PINNED : 0));
    return 0;
}

/* The rare parts of a new task: name, a large argument, FP environment. */
static int fill_cold(struct nxi_task *task, const struct plan *plan, bool in_scope)
{
    if (!in_scope && !plan->name && plan->arg_size <= sizeof(task->arg_copy) && !(plan->flags & NX_TASK_FPENV))
        return 0;
    struct nxi_cold *cold = nxi_alloc(sizeof(*cold));
    if (!cold)
        return -ENOMEM;
    if (plan->name) {
        size_t length = strnlen(plan->name, sizeof(cold->name) - 1);
        memcpy(cold->name, plan->name, length);
    }
    task->cold = cold; /* with the name in it: nx_task_name may look at any time */
    if (plan->flags & NX_TASK_FPENV)
        nxi_fpenv_get(&cold->fpenv);
    if (plan->arg_size > sizeof(task->arg_copy)) {
        cold->big_arg = nxi_alloc(plan->arg_size);
        if (!cold->big_arg)
            return -ENOMEM;
        cold->big_arg_size = plan->arg_size;
    }
    return 0;
}

static void copy_arg(struct nxi_task *task, const void *arg, size_t size)
{
    task->arg = size > sizeof(task->arg_copy) ? task->cold->big_arg : task->arg_copy;
    memcpy(task->arg, arg, size);
}

/* How many tasks each worker has at home. */
static const uint32_t *loads_of(struct nx_runtime *runtime, uint32_t *ret_loads)
{
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        struct nxi_worker *worker = runtime->workers[i];
        ret_loads[i] = atomic_load_explicit(&worker->live, memory_order_relaxed) -
                       atomic_load_explicit(&worker->moved_out, memory_order_relaxed);
    }
    return ret_loads;
}

/* The spread and the foreign case, which need the loads: out of the way of the hot one's stack. */
static NXI_NOINLINE uint32_t select_by_load(struct nx_runtime *runtime, const struct nxi_task *task, uint32_t from,
                                            uint32_t spread)
{
    uint32_t loads[NXI_WORKERS_MAX];
    return runtime->sched_ops->select(runtime->sched, &task->ready, from, spread, loads_of(runtime, loads));
}

static uint32_t select_worker(struct nx_runtime *runtime, const struct nxi_task *task, struct nxi_worker *from,
                              const struct plan *plan)
{
    uint32_t choice;
    if (plan->worker != UINT32_MAX)
        return plan->worker;
    if (from && !(plan->flags & NX_TASK_SPREAD))
        choice = runtime->sched_ops->select(runtime->sched, &task->ready, from->index, 0, NULL);
    else
        choice = select_by_load(runtime, task, from ? from->index : UINT32_MAX, from != NULL);
    return choice < runtime->worker_count || choice == NX_WORKER_INJECT ? choice : 0;
}

/* Puts a new task where the scheduler wants it. */
static void place(struct nx_runtime *runtime, struct nxi_task *task, struct nxi_worker *from, uint32_t choice,
                  bool in_scope)
{
    bool inject = choice == NX_WORKER_INJECT;
    struct nxi_worker *home = inject ? (from ? from : runtime->workers[0]) : runtime->workers[choice];
    task->ready.home = home->index;
    atomic_store_explicit(&task->worker, home, memory_order_relaxed);
    atomic_store_explicit(&task->state, NXI_NEW, memory_order_release);
    if (NXI_UNLIKELY(in_scope) && (inject || home == from))
        nxi_task_mark(task, NXI_CTL_QUEUED, false); /* cancels may go to its home now */
    if (!inject && home == from) {
        uint32_t live = atomic_load_explicit(&home->live, memory_order_relaxed);
        atomic_store_explicit(&home->live, live + 1, memory_order_relaxed);
        nxi_enqueue(home, task, NX_REASON_SPAWN);
        return;
    }
    /* Counted at once, or a burst of spread tasks would all find the same worker idle. live is its owner's to write. */
    atomic_fetch_sub_explicit(&home->moved_out, 1, memory_order_relaxed);
    if (inject) {
        /* It has no home yet. The guess in task->worker is where cancels go until somebody takes it over. */
        task->flags |= NXI_TASK_INJECTED;
        atomic_fetch_add(&runtime->foreign, 1); /* the task may be all that keeps the runtime, and end at once */
        runtime->sched_ops->inject(runtime->sched, &task->ready);
        nxi_wake_one(runtime);
        atomic_fetch_sub(&runtime->foreign, 1);
    } else {
        task->node.run = start_arrived;
        nxi_post(home, &task->node);
    }
}

/* Counts the task as live before anybody can see it. From outside: fails once the runtime is closing. */
static int count_spawned(struct nx_runtime *runtime, struct nxi_worker *from)
{
    if (from) {
        uint64_t spawned = atomic_load_explicit(&from->spawned, memory_order_relaxed) + 1;
        atomic_store_explicit(&from->spawned, spawned, memory_order_release);
        return 0;
    }
    /* Seq_cst, as shutdown's "closing = 1; read injected": one of the two sees the other. */
    atomic_fetch_add(&runtime->injected, 1);
    if (!atomic_load(&runtime->closing))
        return 0;
    atomic_fetch_sub(&runtime->injected, 1);
    return -ESHUTDOWN;
}

/* What spawn itself knows of a header from the free list, whose node.run is node_arrived and whose cold is NULL. */
static inline void fill(struct nxi_task *task, nx_task_fn fn, void *arg, void *site, uint8_t flags, uint32_t stack_size)
{
    task->fn = fn;
    task->arg = arg;
    task->stack = NULL;
    task->spawn_site = site;
    task->flags = flags;
    task->pins = 0;
    task->stack_size = stack_size;
    task->node.run = node_arrived;
    task->ready.stealable = !(flags & NXI_TASK_PINNED);
    memset(task->ready.sched, 0, sizeof(task->ready.sched));
}

/* The header is complete: its id, and off it goes. */
static nx_task send_off(struct nx_scope *scope, struct nx_runtime *runtime, struct nxi_task *task,
                        struct nxi_worker *from, uint32_t choice, uint32_t ctl)
{
    bool local = choice == NX_WORKER_INJECT || runtime->workers[choice] == from;
    uint64_t generation = atomic_load_explicit(&task->ctl, memory_order_relaxed);
    /* Seen by who looks the id up, which they have only from us. */
    atomic_store_explicit(&task->ctl, generation | ctl | (local && !scope ? 0 : NXI_CTL_QUEUED), memory_order_release);
    nx_task id = nxi_task_id(task);
    if (NXI_UNLIKELY(scope != NULL))
        nxi_scope_enter(scope, task); /* from now on siblings may cancel it */
    place(runtime, task, from, choice, scope != NULL);
    return id;
}

nx_task nxi_spawn_in(struct nx_scope *scope, struct nx_runtime *runtime, const nx_task_options *options, nx_task_fn fn,
                     void *arg, void *site, uint32_t ctl)
{
    struct nxi_worker *self = nxi_self(), *from = self && self->runtime == runtime ? self : NULL;
    struct plan plan;
    int error = read_options(runtime, options, &plan);
    if (error < 0 || !fn || (plan.arg_size > 0 && !arg))
        return -EINVAL;
    struct nxi_task *task = nxi_slot_take(self);
    if (!task)
        return -ENOMEM;
    fill(task, fn, arg, site, plan.flags, (uint32_t)plan.stack_size);
    task->ready.priority = plan.priority;
    error = fill_cold(task, &plan, scope != NULL);
    if (error == 0)
        error = count_spawned(runtime, from);
    if (error < 0) {
        give_back(task);
        return error;
    }
    if (plan.arg_size > 0)
        copy_arg(task, arg, plan.arg_size);
    return send_off(scope, runtime, task, from, select_worker(runtime, task, from, &plan), ctl);
}

/* The same without options, by a task. */
static inline nx_task spawn_plain(struct nxi_worker *worker, nx_task_fn fn, void *arg, void *site, uint32_t ctl)
{
    struct nx_runtime *runtime = worker->runtime;
    if (!fn)
        return -EINVAL;
    struct nxi_task *task = nxi_slot_take(worker);
    if (!task)
        return -ENOMEM;
    fill(task, fn, arg, site, 0, (uint32_t)runtime->stack_size);
    task->ready.priority = NX_PRIO_NORMAL;
    count_spawned(runtime, worker);
    uint32_t choice = worker->sched_ops->select(worker->sched, &task->ready, worker->index, 0, NULL);
    if (NXI_UNLIKELY(choice != worker->index)) {
        choice = choice < runtime->worker_count || choice == NX_WORKER_INJECT ? choice : 0;
        return send_off(NULL, runtime, task, worker, choice, ctl);
    }
    uint64_t generation = atomic_load_explicit(&task->ctl, memory_order_relaxed);
    if (ctl != 0)
        atomic_store_explicit(&task->ctl, generation | ctl, memory_order_release);
    nx_task id = (nx_task)(generation | task->slot); /* as nxi_task_id: a free header has no bits in ctl */
    task->ready.home = choice;
    atomic_store_explicit(&task->worker, worker, memory_order_relaxed);
    atomic_store_explicit(&task->state, NXI_NEW, memory_order_release);
    uint32_t live = atomic_load_explicit(&worker->live, memory_order_relaxed);
    atomic_store_explicit(&worker->live, live + 1, memory_order_relaxed);
    nxi_enqueue(worker, task, NX_REASON_SPAWN);
    return id;
}

nx_task nxi_spawn(struct nx_runtime *runtime, const nx_task_options *options, nx_task_fn fn, void *arg, void *site,
                  uint32_t ctl)
{
    return nxi_spawn_in(NULL, runtime, options, fn, arg, site, ctl);
}

nx_task nx_spawn(nx_task_fn fn, void *arg)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    return worker ? spawn_plain(worker, fn, arg, __builtin_return_address(0), 0) : nxi_no_task();
}

nx_task nx_spawn_with(const nx_task_options *options, nx_task_fn fn, void *arg)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    return worker ? nxi_spawn(worker->runtime, options, fn, arg, __builtin_return_address(0), 0) : nxi_no_task();
}

nx_task nx_spawn_on(struct nx_runtime *runtime, const nx_task_options *options, nx_task_fn fn, void *arg)
{
    NXI_ENTRY(-ENOSYS);
    if (nxi_forked())
        return -NX_EFORKED;
    return runtime ? nxi_spawn(runtime, options, fn, arg, __builtin_return_address(0), 0) : -EINVAL;
}

int nx_go(nx_task_fn fn, void *arg)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    nx_task id = spawn_plain(worker, fn, arg, __builtin_return_address(0), NXI_CTL_DETACHED);
    return id < 0 ? (int)id : 0;
}

/* ---- cancel ---- */

/* Sets bits on a live task of that generation; false if it has ended or all of them are set. ctl tells the
 * generation, and nothing else: its other bits may be old. */
static bool set_ctl(struct nxi_task *task, uint64_t ctl, uint32_t bits)
{
    uint64_t seen = atomic_load_explicit(&task->ctl, memory_order_acquire);
    do {
        if (seen >> 32 != ctl >> 32 || seen & NXI_CTL_DONE || (seen & bits) == bits)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&task->ctl, &seen, seen | bits, memory_order_acq_rel,
                                                    memory_order_acquire));
    return true;
}

void nxi_task_cancel(struct nxi_task *task, uint64_t ctl)
{
    struct nxi_worker *worker = nxi_self();
    if (!set_ctl(task, ctl, NXI_CTL_CANCEL))
        return;
    if (worker && atomic_load_explicit(&task->worker, memory_order_relaxed) == worker) {
        uint8_t state = atomic_fetch_or_explicit(&task->state, 0, memory_order_acq_rel);
        if (atomic_load_explicit(&task->worker, memory_order_relaxed) == worker) {
            if (state == NXI_PARKED)
                nxi_enqueue(worker, task, NX_REASON_UNBLOCK);
            return;
        }
    }
    if (set_ctl(task, ctl, NXI_CTL_QUEUED))
        nxi_post(atomic_load_explicit(&task->worker, memory_order_relaxed), &task->node);
}

int nx_cancel(nx_task id)
{
    NXI_ENTRY(-ENOSYS);
    uint64_t ctl;
    struct nxi_task *task;
    int error = nxi_task_look_up(id, &task, &ctl);
    if (error == 0)
        nxi_task_cancel(task, ctl);
    return error;
}

static void cancel_each(void *arg, struct nxi_task *task, uint64_t ctl)
{
    uint32_t only_ctl = *(const uint32_t *)arg;
    if (!(ctl & NXI_CTL_DONE) && (ctl & only_ctl) == only_ctl)
        nxi_task_cancel(task, ctl);
}

void nxi_cancel_all(struct nx_runtime *runtime, uint32_t only_ctl)
{
    nxi_tasks_each(runtime, cancel_each, &only_ctl);
}

bool nxi_task_cancelled_now(const struct nxi_task *task)
{
    nx_time shield = task->cold ? task->cold->shield : 0;
    return shield == 0 || (shield != NX_FOREVER && shield <= nx_now());
}

bool nx_cancelled(void)
{
    NXI_ENTRY(false);
    struct nxi_worker *worker = nxi_in_task();
    return worker && nxi_task_cancelled(worker->current);
}

nx_time nx_shield(nx_time until)
{
    NXI_ENTRY(0);
    struct nxi_worker *worker = nxi_in_task();
    struct nxi_task *task = worker ? worker->current : NULL;
    if (!task || (!task->cold && until == 0) || !nxi_task_cold(task))
        return 0;
    nx_time previous = task->cold->shield;
    task->cold->shield = until;
    return previous;
}

/* ---- names and marks ---- */

nx_task nx_self(void)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    return worker ? nxi_task_id(worker->current) : nxi_no_task();
}

int nx_task_name(nx_task id, char *ret_name, size_t size)
{
    NXI_ENTRY(-ENOSYS);
    if (nxi_forked())
        return -NX_EFORKED;
    if (!ret_name && size > 0)
        return -EINVAL;
    uint64_t ctl;
    char name[sizeof(((struct nxi_cold *)0)->name)] = "";
    pthread_mutex_lock(&cold_lock);
    struct nxi_task *task = nxi_task_find(id, &ctl);
    struct nxi_cold *cold = task ? task->cold : NULL;
    if (cold)
        memcpy(name, cold->name, sizeof(name));
    pthread_mutex_unlock(&cold_lock);
    if (!task || nxi_task_find(id, &ctl) != task) /* the header may have become another task's meanwhile */
        return -ESRCH;
    return snprintf(ret_name, size, "%s", name);
}

void nxi_task_label(struct nxi_task *task, char *ret, size_t size)
{
    if (nx_task_name(nxi_task_id(task), ret, size) <= 0)
        snprintf(ret, size, "#%u", task->slot);
}

void nxi_task_mark(struct nxi_task *task, uint32_t ctl, bool on)
{
    if (on)
        atomic_fetch_or_explicit(&task->ctl, ctl, memory_order_acq_rel);
    else
        atomic_fetch_and_explicit(&task->ctl, ~(uint64_t)ctl, memory_order_acq_rel);
}
