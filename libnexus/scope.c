/*
 * scope.c: children that end before their scope does.
 *
 * A scope's children are in a list, linked through their cold parts, from before they can run until they have ended;
 * their ids are taken (CLAIMED), so that nobody else joins them, and are given up by the end itself. The last one out
 * wakes the closer. So the close, which returns when the list is empty, is all the joining there is.
 *
 * Everything that changes is under scope->lock: a spawned child's entry, before it can run; a child's end, which
 * leaves; cancelling, which sets `cancelled` and cancels who is in the list. A scope that was cancelled between a
 * spawner's look and its child's entry has the child cancelled. A sibling spawned on another worker while the scope
 * is being closed is entered before the close ends, as its spawner is in the list meanwhile.
 *
 * Who may touch a scope without holding anything: its opener, until it closes it, and tasks that are in it, or in a
 * scope that was opened in it, as it can't be closed before they have ended. A task's scopes are a chain: those it has
 * opened, innermost first, then the one it is a child of, with all that its opener was in.
 *
 * Deadlines: cold->limit is the earliest of all scopes that a task is in. It is taken over by children and by scopes
 * opened within, and put back by the close. Waits heed it (nxi_deadline, waiter.c).
 */
#include "core.h"
#include <limits.h>
#include <nexus/task.h>

struct nx_scope {
    uint32_t lock;
    bool cancelled;            /* by fail-fast, nx_scope_cancel, or the close giving up: no more children */
    unsigned flags;            /* NX_SCOPE_... */
    int error;                 /* what the close returns: the first */
    struct nxi_task *children; /* linked by cold->child_next */
    struct nxi_waiter *closer;
    /* never change */
    struct nxi_task *opener;
    struct nx_scope *outer;
    nx_time limit;       /* of all who are in it, or NX_FOREVER */
    nx_time outer_limit; /* of the opener before */
};

/* ---- deadlines ---- */

static nx_time limit_of(const struct nxi_task *task)
{
    return task->flags & NXI_TASK_LIMITED ? task->cold->limit : NX_FOREVER;
}

static void set_limit(struct nxi_task *task, nx_time limit)
{
    task->cold->limit = limit;
    if (limit == NX_FOREVER)
        task->flags &= (uint8_t)~NXI_TASK_LIMITED;
    else
        task->flags |= NXI_TASK_LIMITED;
}

/* ---- children ---- */

/*
 * It is QUEUED, so that who cancels it leaves its node alone, and a cancel that has come since its spawner looked is
 * its first.
 */
void nxi_scope_enter(struct nx_scope *scope, struct nxi_task *task)
{
    struct nxi_cold *cold = task->cold;
    cold->scope = scope;
    set_limit(task, scope->limit);
    nxi_lock(&scope->lock);
    if (scope->cancelled)
        nxi_task_mark(task, NXI_CTL_CANCEL, true);
    cold->child_next = scope->children;
    cold->child_link = &scope->children;
    if (cold->child_next)
        cold->child_next->cold->child_link = &cold->child_next;
    scope->children = task;
    nxi_unlock(&scope->lock);
}

/* With the lock. */
static void leave(struct nxi_cold *cold)
{
    *cold->child_link = cold->child_next;
    if (cold->child_next)
        cold->child_next->cold->child_link = cold->child_link;
}

/* With the lock. None of them can end meanwhile: its end would have to leave first. */
static void cancel_children(struct nx_scope *scope)
{
    scope->cancelled = true;
    for (struct nxi_task *child = scope->children; child; child = child->cold->child_next)
        nxi_task_cancel(child, atomic_load_explicit(&child->ctl, memory_order_relaxed));
}

/* An error, which ends the scope unless it only collects them. Only the first counts. */
static void fail(struct nx_scope *scope, int error)
{
    if (scope->error == 0)
        scope->error = error;
    if (!(scope->flags & NX_SCOPE_COLLECT) && !scope->cancelled)
        cancel_children(scope);
}

/* By nxi_task_end, when the task has ended for all who look. Its id is given up. */
void nxi_scope_child_ended(struct nxi_task *task, bool panicked)
{
    struct nx_scope *scope = task->cold->scope;
    struct nxi_waiter *closer = NULL;
    intptr_t result = panicked ? -NX_EPANIC : task->result;
    nxi_lock(&scope->lock);
    leave(task->cold);
    nxi_task_retire(task); /* before the close can return */
    if (result < 0)
        fail(scope, result < INT_MIN ? INT_MIN : (int)result);
    if (!scope->children) {
        closer = scope->closer;
        scope->closer = NULL;
    }
    nxi_unlock(&scope->lock); /* if there is no closer yet, it may come now, and the scope be gone */
    if (closer)
        nxi_waiter_wake(closer, NX_REASON_UNBLOCK);
}

/* ---- who may ---- */

/* Whether the task is in the scope: 0 or -EPERM. */
static int check_member(const struct nxi_task *task, const struct nx_scope *scope)
{
    for (const struct nx_scope *in = task->cold ? task->cold->scope : NULL; in; in = in->outer)
        if (in == scope)
            return 0;
    return -EPERM;
}

/* What a call on a scope begins with. */
static int admit(const struct nx_scope *scope)
{
    const struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    return scope ? check_member(worker->current, scope) : -EINVAL;
}

/* ---- open, spawn, cancel ---- */

int nx_scope_open(const nx_scope_options *given, nx_scope **ret_scope)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    nx_scope_options options;
    if (!worker)
        return nxi_no_task();
    if (!ret_scope || nxi_options_copy(&options, sizeof(options), given) < 0 || options.timeout_ns < 0 ||
        options.flags & ~NX_SCOPE_COLLECT)
        return -EINVAL;
    struct nxi_task *task = worker->current;
    struct nxi_cold *cold = nxi_task_cold(task);
    struct nx_scope *scope = cold ? nxi_alloc(sizeof(*scope)) : NULL;
    if (!scope)
        return -ENOMEM;
    nx_time limit = options.timeout_ns > 0 ? nx_after_ns(options.timeout_ns) : NX_FOREVER;
    scope->flags = options.flags;
    scope->opener = task;
    scope->outer = cold->scope;
    scope->outer_limit = limit_of(task);
    scope->limit = limit < scope->outer_limit ? limit : scope->outer_limit;
    cold->scope = scope;
    set_limit(task, scope->limit);
    *ret_scope = scope;
    return 0;
}

static nx_task spawn(struct nx_scope *scope, const nx_task_options *options, nx_task_fn fn, void *arg, void *site)
{
    nx_task child = admit(scope);
    if (child < 0)
        return child;
    bool late = scope->limit != NX_FOREVER && scope->limit <= nx_now();
    nxi_lock(&scope->lock);
    bool cancelled = scope->cancelled;
    nxi_unlock(&scope->lock);
    if (cancelled || late)
        return cancelled ? -ECANCELED : -ETIMEDOUT;
    return nxi_spawn_in(scope, nxi_self()->runtime, options, fn, arg, site, NXI_CTL_CLAIMED);
}

nx_task nx_scope_spawn(nx_scope *scope, nx_task_fn fn, void *arg)
{
    NXI_ENTRY(-ENOSYS);
    return spawn(scope, NULL, fn, arg, __builtin_return_address(0));
}

nx_task nx_scope_spawn_with(nx_scope *scope, const nx_task_options *options, nx_task_fn fn, void *arg)
{
    NXI_ENTRY(-ENOSYS);
    return spawn(scope, options, fn, arg, __builtin_return_address(0));
}

int nx_scope_cancel(nx_scope *scope)
{
    NXI_ENTRY(-ENOSYS);
    int error = admit(scope);
    if (error < 0)
        return error;
    nxi_lock(&scope->lock);
    if (!scope->cancelled)
        cancel_children(scope);
    nxi_unlock(&scope->lock);
    return 0;
}

/* ---- close ---- */

/* The close has been given up waiting for the children as they are: they are cancelled. */
static void end_children(struct nx_scope *scope, int reason)
{
    nxi_lock(&scope->lock);
    if (scope->error == 0 && scope->children)
        scope->error = reason;
    if (!scope->cancelled)
        cancel_children(scope);
    nxi_unlock(&scope->lock);
}

/* Whether there are children; then the waiter is woken when there are none any more. */
static bool await_children(struct nx_scope *scope, struct nxi_waiter *waiter, struct nxi_worker *worker)
{
    nxi_lock(&scope->lock);
    bool any = scope->children != NULL;
    if (any) {
        nxi_waiter_init(waiter, worker);
        nxi_waiter_note(waiter, "scope", NXI_OBJECT_POINTER, (uintptr_t)scope);
        scope->closer = waiter;
    }
    nxi_unlock(&scope->lock);
    return any;
}

/* Waits for the children, frees the scope, and puts the deadline from before it back: the scope's error. */
static int close_scope(struct nxi_worker *worker, struct nx_scope *scope, nx_time deadline)
{
    struct nxi_task *task = worker->current;
    struct nxi_waiter waiter;
    if (await_children(scope, &waiter, worker)) {
        int reason = deadline == NX_POLL ? -ETIMEDOUT : nxi_waiter_wait(&waiter, deadline, true);
        if (reason < 0) {
            end_children(scope, reason);
            nxi_waiter_wait(&waiter, NX_FOREVER, false);
        }
    } else {
        nxi_charge(worker);
    }
    int error = scope->error;
    set_limit(task, scope->outer_limit);
    task->cold->scope = scope->outer;
    nxi_free(scope, sizeof(*scope));
    return error;
}

static bool opened_by(const struct nx_scope *scope, const struct nxi_task *task)
{
    return scope && scope->opener == task;
}

int nx_scope_close(nx_scope *scope, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (!scope)
        return -EINVAL;
    struct nxi_task *task = worker->current;
    if (!task->cold || task->cold->scope != scope || !opened_by(scope, task))
        return -EPERM;
    return close_scope(worker, scope, deadline);
}

void nxi_scopes_end(struct nxi_task *task)
{
    while (opened_by(task->cold->scope, task)) { /* ends: each turn closes one */
        struct nx_scope *scope = task->cold->scope;
        end_children(scope, -ECANCELED);
        close_scope(nxi_self(), scope, NX_FOREVER);
    }
}
