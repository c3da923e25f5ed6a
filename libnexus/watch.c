/*
 * watch.c: watches: a foreign descriptor looked at again and again.
 *
 * A watch lives on the worker that opened it, its home, whose driver knows its descriptor: a duplicate, so that it
 * stays what it was whatever becomes of the caller's. Tasks of any worker may use it.
 *
 *     level     a POLL is in flight while a task waits; its completion is the report. A task that gives up takes it
 *               back: what it would say later may no longer be so when somebody asks again
 *     edge      a multishot POLL is in flight from open on; reports add up in ready until somebody takes them. Where
 *               it has ended with a report it is begun again by the next task that waits
 *     one-shot  a level of which the report clears armed
 *
 * Under lock: what tasks and home share. home's own: in_flight, cancelling, op. A task changes what is wanted (waiter,
 * events, armed, closing) and then has home look (advance), directly or by a message, of which at most one is under
 * way. advance alone submits, cancels and closes, so that none of these meets another: it compares what is in flight,
 * by its version, with what is wanted. A report of an older version than the present events is none.
 *
 * The watch's own reference ends with the handle's close; each waiting task and each message holds one more. The last
 * one closes the duplicate.
 */
#include "choice.h"
#include "core.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

struct nx_watch {
    struct nx_runtime *runtime;
    struct nxi_worker *home;
    nx_handle handle;
    int fd; /* the duplicate */
    bool edge, oneshot;
    _Atomic uint32_t references;
    struct nx_watch *next, **link; /* in runtime->watches, under its lock */

    uint32_t lock;
    uint32_t events, version; /* another one with each nx_watch_set that changes anything */
    bool armed;               /* one-shot: has not reported yet */
    bool eager;               /* edge: to be begun though nobody waits */
    bool ended;               /* the last poll that was begun */
    bool closing;
    bool posted;   /* a message to home is under way */
    int64_t ready; /* edge: what is to be reported, or an error */
    struct nxi_waiter *waiter;

    bool in_flight, cancelling;
    uint32_t op_version;
    struct nxi_op op; /* then the close */
    struct nxi_node node;
};

static void advance(struct nxi_worker *worker, struct nx_watch *watch);

static void reference(struct nx_watch *watch)
{
    atomic_fetch_add_explicit(&watch->references, 1, memory_order_relaxed);
}

static void unreference(struct nx_watch *watch)
{
    if (atomic_fetch_sub_explicit(&watch->references, 1, memory_order_acq_rel) != 1)
        return;
    close(watch->fd);
    nxi_free(watch, sizeof(*watch));
}

/* ---- home ---- */

static void arrived(struct nxi_worker *worker, struct nxi_node *node)
{
    struct nx_watch *watch = nxi_container(node, struct nx_watch, node);
    nxi_lock(&watch->lock);
    watch->posted = false;
    nxi_unlock(&watch->lock);
    advance(worker, watch);
    unreference(watch);
}

static void post(struct nx_watch *watch)
{
    nxi_lock(&watch->lock);
    bool first = !watch->posted;
    watch->posted = true;
    nxi_unlock(&watch->lock);
    if (!first)
        return;
    reference(watch);
    watch->node.run = arrived;
    nxi_post(watch->home, &watch->node);
}

/* Has home look at what is wanted now. worker: the caller's, or NULL. */
static void stir(struct nxi_worker *worker, struct nx_watch *watch)
{
    if (worker == watch->home)
        advance(worker, watch);
    else
        post(watch);
}

static void closed(struct nxi_worker *worker, struct nxi_op *op, const struct nx_completion *completion)
{
    (void)worker;
    (void)completion;
    unreference(nxi_container(op, struct nx_watch, op));
}

static void submit_close(struct nxi_worker *worker, struct nx_watch *watch)
{
    struct nx_completion completion;
    watch->op =
        (struct nxi_op){.op = {.handle = watch->handle, .code = NX_OP_CLOSE, .arg = NX_CLOSE_KEEP}, .done = closed};
    watch->in_flight = watch->cancelling = true;
    int result = nxi_submit(worker, worker->runtime->foreign_driver, &watch->op, &completion);
    if (result == 1) {
        closed(worker, &watch->op, &completion);
    } else if (result < 0) {
        watch->in_flight = false;
        post(watch);
    }
}

/* Gives a report to who waits for one. */
static void report(struct nx_watch *watch, int64_t result, bool ended)
{
    struct nxi_waiter *waiter = NULL;
    nxi_lock(&watch->lock);
    watch->ended = ended;
    if (watch->op_version == watch->version && result != -ECANCELED && !watch->closing) {
        waiter = watch->waiter;
        watch->waiter = NULL;
        if (watch->edge && result > 0 && watch->ready > 0)
            result |= watch->ready;
        watch->ready = watch->edge && !waiter ? result : 0;
        if (waiter)
            waiter->result = result;
        if (waiter && watch->oneshot && result > 0)
            watch->armed = false;
    }
    nxi_unlock(&watch->lock);
    if (waiter)
        nxi_waiter_wake(waiter, NX_REASON_IO);
}

static void polled(struct nxi_worker *worker, struct nxi_op *op, const struct nx_completion *completion)
{
    struct nx_watch *watch = nxi_container(op, struct nx_watch, op);
    bool ended = !(completion->flags & NX_COMPLETION_MORE);
    if (ended)
        watch->in_flight = false;
    report(watch, completion->result, ended);
    if (ended)
        advance(worker, watch);
}

enum step { STEP_NONE, STEP_POLL, STEP_CANCEL, STEP_CLOSE };

/* The lock is held. */
static enum step next_step(const struct nx_watch *watch)
{
    if (watch->in_flight)
        return !watch->cancelling && (watch->closing || watch->op_version != watch->version) ? STEP_CANCEL : STEP_NONE;
    if (watch->closing)
        return STEP_CLOSE;
    bool wanted = watch->events != 0 && watch->armed && (watch->waiter || watch->eager);
    return wanted ? STEP_POLL : STEP_NONE;
}

/* False: it has been left to a message, or a completion is to come. */
static bool submit_poll(struct nxi_worker *worker, struct nx_watch *watch, uint32_t events)
{
    struct nx_completion completion;
    watch->op = (struct nxi_op){
        .op = {.handle = watch->handle, .code = NX_OP_POLL, .flags = watch->edge ? NX_OP_MULTISHOT : 0, .arg = events},
        .done = polled,
    };
    watch->in_flight = true;
    watch->cancelling = false;
    int result = nxi_submit(worker, worker->runtime->foreign_driver, &watch->op, &completion);
    if (result == 0)
        return false;
    watch->in_flight = false;
    if (result < 0) {
        nxi_lock(&watch->lock);
        watch->eager = watch->edge;
        nxi_unlock(&watch->lock);
        post(watch);
        return false;
    }
    report(watch, completion.result, true);
    return true;
}

/* On home; the caller holds the watch. */
static void advance(struct nxi_worker *worker, struct nx_watch *watch)
{
    enum step step;
    do { /* ends: who waits has been served by the poll that completed inline */
        nxi_lock(&watch->lock);
        step = next_step(watch);
        uint32_t events = watch->events;
        if (step == STEP_POLL) {
            watch->eager = watch->ended = false;
            watch->op_version = watch->version;
        }
        nxi_unlock(&watch->lock);
        if (step == STEP_CANCEL) {
            watch->cancelling = true;
            nxi_foreign_driver(worker)->ops->cancel(nxi_foreign_driver(worker)->ctx, &watch->op.op);
        } else if (step == STEP_CLOSE) {
            submit_close(worker, watch);
        } else if (step == STEP_POLL && !submit_poll(worker, watch, events)) {
            step = STEP_NONE;
        }
    } while (step == STEP_POLL);
}

/* ---- opening and closing ---- */

static bool has_edges(const struct nx_runtime *runtime)
{
    const struct nxi_drivers_instance *driver = &runtime->drivers[runtime->foreign_driver];
    struct nx_capability capability = {.size = sizeof(capability)};
    return NXI_HAS(driver->ops, capability) &&
           driver->ops->capability(driver->instance, NX_OP_POLL, &capability) == 0 &&
           (capability.flags & NX_OP_MULTISHOT);
}

/* What has no edges is always ready: poll(2). */
static bool always_ready(int fd)
{
    struct stat stat;
    return fstat(fd, &stat) == 0 && (S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode));
}

static void enlist(struct nx_watch *watch)
{
    struct nx_runtime *runtime = watch->runtime;
    pthread_mutex_lock(&runtime->lock);
    watch->next = runtime->watches;
    watch->link = &runtime->watches;
    if (watch->next)
        watch->next->link = &watch->next;
    runtime->watches = watch;
    pthread_mutex_unlock(&runtime->lock);
}

static void delist(struct nx_watch *watch)
{
    struct nx_runtime *runtime = watch->runtime;
    pthread_mutex_lock(&runtime->lock);
    *watch->link = watch->next;
    if (watch->next)
        watch->next->link = watch->link;
    pthread_mutex_unlock(&runtime->lock);
}

int nx_watch_open(int fd, unsigned events, unsigned flags, nx_watch **ret_watch)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (!ret_watch || events & ~(NX_READABLE | NX_WRITABLE) || flags & ~(NX_WATCH_EDGE | NX_WATCH_ONESHOT))
        return -EINVAL;
    const struct nxi_driver *driver = nxi_foreign_driver(worker);
    bool oneshot = flags & NX_WATCH_ONESHOT, edge = (flags & NX_WATCH_EDGE) && !oneshot && !always_ready(fd);
    if (!NXI_HAS(driver->ops, import_fd) || (edge && !has_edges(worker->runtime)))
        return -ENOTSUP;
    struct nx_watch *watch = nxi_alloc(sizeof(*watch));
    if (!watch)
        return -ENOMEM;
    int error = watch->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (error < 0) {
        error = -errno;
        goto fail_memory;
    }
    error = driver->ops->import_fd(driver->ctx, watch->fd, NX_IMPORT_FOREIGN, &watch->handle);
    if (error < 0)
        goto fail_fd;
    watch->runtime = worker->runtime;
    watch->home = worker;
    watch->edge = watch->eager = edge;
    watch->oneshot = oneshot;
    watch->events = events;
    watch->armed = true;
    atomic_init(&watch->references, 1);
    enlist(watch);
    advance(worker, watch);
    *ret_watch = watch;
    return 0;
fail_fd:
    close(watch->fd);
fail_memory:
    nxi_free(watch, sizeof(*watch));
    return error;
}

/* worker: the caller's, or NULL. */
static void start_close(struct nxi_worker *worker, struct nx_watch *watch)
{
    delist(watch);
    reference(watch); /* home may see closing by itself, and be done before we have told it */
    nxi_lock(&watch->lock);
    struct nxi_waiter *waiter = watch->waiter;
    watch->waiter = NULL;
    watch->closing = true;
    nxi_unlock(&watch->lock);
    if (waiter) {
        waiter->result = -EBADF;
        nxi_waiter_wake(waiter, NX_REASON_IO);
    }
    stir(worker, watch);
    unreference(watch);
}

void nxi_watches_close(struct nx_runtime *runtime)
{
    for (;;) { /* ends: no task is left that could open one */
        pthread_mutex_lock(&runtime->lock);
        struct nx_watch *watch = runtime->watches;
        pthread_mutex_unlock(&runtime->lock);
        if (!watch)
            return;
        start_close(NULL, watch);
    }
}

static int check(const nx_watch *watch)
{
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (!watch)
        return -EINVAL;
    return watch->runtime == worker->runtime ? 0 : -EXDEV;
}

int nx_watch_close(nx_watch *watch)
{
    NXI_ENTRY(-ENOSYS);
    if (!watch)
        return 0;
    int error = check(watch);
    if (error == 0)
        start_close(nxi_in_task(), watch);
    return error;
}

int nx_watch_set(nx_watch *watch, unsigned events)
{
    NXI_ENTRY(-ENOSYS);
    int error = check(watch);
    if (error < 0)
        return error;
    if (events & ~(NX_READABLE | NX_WRITABLE))
        return -EINVAL;
    nxi_lock(&watch->lock);
    if (watch->edge || watch->events != events)
        watch->version++;
    watch->events = events;
    watch->armed = true;
    watch->eager = watch->edge;
    watch->ready = 0;
    nxi_unlock(&watch->lock);
    stir(nxi_in_task(), watch);
    return 0;
}

/* ---- waiting ---- */

/* What was reported and not taken: events, an error, or 0. The lock is held. */
static int64_t take_ready(struct nx_watch *watch)
{
    int64_t ready = watch->ready;
    watch->ready = 0;
    return ready;
}

/* Of reports: they may not have been fetched yet, or have ended, and who only looks is nobody who waits. */
static int64_t look_edge(struct nxi_worker *worker, struct nx_watch *watch)
{
    if (worker == watch->home)
        nxi_poll_drivers(worker);
    nxi_lock(&watch->lock);
    int64_t ready = watch->waiter ? -EBUSY : take_ready(watch);
    bool ended = ready == 0 && watch->ended;
    watch->eager = watch->eager || ended;
    nxi_unlock(&watch->lock);
    if (ended)
        stir(worker, watch);
    return ready == 0 ? -EAGAIN : ready;
}

/* Without waiting: the events, -EAGAIN, or an error. */
static int64_t look(struct nxi_worker *worker, struct nx_watch *watch)
{
    if (watch->edge)
        return look_edge(worker, watch);
    nxi_lock(&watch->lock);
    int64_t ready = watch->waiter ? -EBUSY : 0;
    uint32_t events = watch->armed ? watch->events : 0;
    nxi_unlock(&watch->lock);
    if (ready != 0)
        return ready;
    if (events == 0)
        return -EAGAIN;
    ready = nxi_fd_look(worker, watch->fd, events);
    if (ready > 0 && watch->oneshot) {
        nxi_lock(&watch->lock);
        ready = watch->armed ? ready : -EAGAIN; /* another one that looked was first */
        watch->armed = false;
        nxi_unlock(&watch->lock);
    }
    return ready;
}

/* Registers as the one that waits: 0, or the result. */
static int64_t enter(struct nx_watch *watch, struct nxi_waiter *waiter)
{
    nxi_lock(&watch->lock);
    int64_t result = watch->waiter ? -EBUSY : take_ready(watch);
    if (result == 0)
        watch->waiter = waiter;
    nxi_unlock(&watch->lock);
    return result;
}

/* False: somebody else has taken the waiter out, and wakes it. */
static bool leave(struct nx_watch *watch, struct nxi_waiter *waiter)
{
    nxi_lock(&watch->lock);
    bool ours = watch->waiter == waiter;
    if (ours)
        watch->waiter = NULL;
    if (ours && !watch->edge)
        watch->version++;
    nxi_unlock(&watch->lock);
    return ours;
}

static int64_t wait_for_report(struct nxi_worker *worker, struct nx_watch *watch, nx_time deadline)
{
    struct nxi_waiter waiter;
    nxi_waiter_init(&waiter, worker);
    nxi_waiter_note(&waiter, "watch", NXI_OBJECT_POINTER, (uintptr_t)watch);
    int64_t result = enter(watch, &waiter);
    if (result != 0) {
        nxi_waiter_forget(&waiter);
        return result;
    }
    stir(worker, watch);
    int reason = nxi_waiter_wait(&waiter, deadline, true);
    if (reason < 0 && leave(watch, &waiter)) {
        nxi_waiter_forget(&waiter);
        if (!watch->edge)
            stir(worker, watch);
        result = reason == -ETIMEDOUT ? look(worker, watch) : reason;
        return result == -EAGAIN || result == -EBUSY ? -ETIMEDOUT : result;
    }
    if (reason < 0)
        nxi_waiter_wait(&waiter, NX_FOREVER, false);
    return waiter.result;
}

int nx_watch_next(nx_watch *watch, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    int error = check(watch);
    if (error < 0)
        return error;
    struct nxi_worker *worker = nxi_in_task();
    if (nxi_task_cancelled(worker->current)) {
        nxi_charge(worker);
        return -ECANCELED;
    }
    reference(watch);
    int64_t result = deadline == NX_POLL ? look(worker, watch) : wait_for_report(worker, watch, deadline);
    unreference(watch);
    nxi_charge(nxi_self());
    return (int)result;
}
