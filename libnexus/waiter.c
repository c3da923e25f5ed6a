/*
 * waiter.c: waiting for somebody else's doing.
 *
 * The rule that makes it safe to have waiters on stacks: whoever takes a waiter out of the list (or word) that it is
 * registered in wakes it exactly once, and the waiter does not return before that wake has arrived. So the waker may
 * touch the waiter until its wake is through, and no wake ever comes late, to a frame that is gone.
 *
 * A task is woken on its own worker: a waker elsewhere posts the waiter's node there. A plain thread sleeps on one of a
 * few condition variables that live for ever, so that nothing of the sleeper is touched after its flag is set.
 */
#include "core.h"
#include "os.h"

#define BUCKETS 64u

static struct bucket {
    pthread_mutex_t lock;
    pthread_cond_t woken;
} buckets[BUCKETS];
static pthread_once_t buckets_once = PTHREAD_ONCE_INIT;

static void init_buckets(void)
{
    for (unsigned i = 0; i < BUCKETS; i++) {
        pthread_mutex_init(&buckets[i].lock, NULL);
        nxi_os_cond_init(&buckets[i].woken);
    }
}

static struct bucket *bucket_of(const struct nxi_waiter *waiter)
{
    pthread_once(&buckets_once, init_buckets);
    return &buckets[((uintptr_t)waiter >> 6) % BUCKETS];
}

static void timer_fired(struct nxi_timer *timer)
{
    struct nxi_waiter *waiter = nxi_container(timer, struct nxi_waiter, timer);
    waiter->timed_out = true;
    nxi_ready(waiter->worker, waiter->task, NX_REASON_TIMER);
}

void nxi_waiter_forget(struct nxi_waiter *waiter)
{
    if (waiter->task)
        waiter->task->pins--;
}

/* On the waiter's worker. The timer goes first, or the task would be tied to this worker's wheel. */
static void wake_here(struct nxi_worker *worker, struct nxi_waiter *waiter, uint32_t reason)
{
    if (nxi_timer_active(&waiter->timer))
        nxi_timer_stop(&worker->wheel, &waiter->timer);
    struct nxi_task *task = waiter->task;
    task->pins--;
    atomic_store_explicit(&waiter->woken, true, memory_order_relaxed);
    if (waiter->choice)
        atomic_store_explicit(&waiter->choice->stirred, true, memory_order_relaxed);
    nxi_ready(worker, task, reason);
}

static void wake_arrived(struct nxi_worker *worker, struct nxi_node *node)
{
    wake_here(worker, nxi_container(node, struct nxi_waiter, node), NX_REASON_REMOTE);
}

static void wake_thread(struct nxi_waiter *waiter)
{
    struct bucket *bucket = bucket_of(waiter);
    pthread_mutex_lock(&bucket->lock);
    atomic_store_explicit(&waiter->woken, true, memory_order_relaxed);
    pthread_cond_broadcast(&bucket->woken);
    pthread_mutex_unlock(&bucket->lock);
}

/* Wakes a waiter that the caller has unlinked. Any thread; the waiter may be gone when this returns. */
void nxi_waiter_wake(struct nxi_waiter *waiter, uint32_t reason)
{
    if (!waiter->task) {
        wake_thread(waiter);
    } else if (waiter->worker == nxi_self()) {
        wake_here(waiter->worker, waiter, reason);
    } else {
        waiter->node.run = wake_arrived;
        nxi_post(waiter->worker, &waiter->node);
    }
}

static int wait_thread(struct nxi_waiter *waiter, nx_time deadline)
{
    struct bucket *bucket = bucket_of(waiter);
    int error = 0;
    pthread_mutex_lock(&bucket->lock);
    while (!atomic_load_explicit(&waiter->woken, memory_order_relaxed) && error == 0) {
        if (deadline == NX_FOREVER)
            pthread_cond_wait(&bucket->woken, &bucket->lock);
        else
            error = nxi_os_cond_wait_until(&bucket->woken, &bucket->lock, deadline);
    }
    bool woken = atomic_load_explicit(&waiter->woken, memory_order_relaxed);
    pthread_mutex_unlock(&bucket->lock);
    return woken ? 0 : -ETIMEDOUT;
}

static nx_time earlier(nx_time a, nx_time b)
{
    return a < b ? a : b;
}

static nx_time shield_of(const struct nxi_task *task)
{
    return task->cold ? task->cold->shield : 0;
}

static bool limited(const struct nxi_task *task)
{
    return NXI_UNLIKELY(task->flags & NXI_TASK_LIMITED);
}

nx_time nxi_deadline(const struct nxi_worker *worker, nx_time deadline)
{
    const struct nxi_task *task = worker->current;
    if (!limited(task) || deadline == NX_POLL || shield_of(task) > nx_now())
        return deadline;
    return earlier(task->cold->limit, deadline);
}

/* When to look again: at the deadline, to which *inout_deadline is brought forward by a scope's; or at the end of the
 * shield behind which a cancel or a scope's deadline waits. */
static nx_time look_again(struct nxi_task *task, bool heed_cancel, nx_time *inout_deadline)
{
    bool cancelled = atomic_load_explicit(&task->ctl, memory_order_relaxed) & NXI_CTL_CANCEL;
    if (NXI_LIKELY(!heed_cancel || !(cancelled || limited(task))))
        return *inout_deadline;
    nx_time shield = shield_of(task);
    if (shield > nx_now())
        return earlier(shield, *inout_deadline);
    if (limited(task))
        *inout_deadline = earlier(task->cold->limit, *inout_deadline);
    return *inout_deadline;
}

/* A cancel that comes while the timer runs may bring the time to look again forward. */
static void start_timer(struct nxi_waiter *waiter, nx_time until)
{
    struct nxi_wheel *wheel = &waiter->worker->wheel;
    if (nxi_timer_active(&waiter->timer) && waiter->timer.deadline == until)
        return;
    nxi_timer_stop(wheel, &waiter->timer);
    waiter->timer.fire = timer_fired;
    nxi_timer_start(wheel, &waiter->timer, until);
}

/* Until *woken, which something on this worker sets before it readies the task. */
static inline int wait_task(struct nxi_waiter *waiter, const atomic_bool *woken, nx_time deadline, bool heed_cancel)
{
    struct nxi_worker *worker = waiter->worker;
    struct nxi_task *task = waiter->task;
    int error = 0;
    waiter->note.since = worker->turn_time;
    task->waiting = waiter;
    while (!atomic_load_explicit(woken, memory_order_relaxed)) {
        if (heed_cancel && nxi_task_cancelled(task)) {
            error = -ECANCELED;
            break;
        }
        nx_time until = look_again(task, heed_cancel, &deadline);
        if (waiter->timed_out) {
            waiter->timed_out = false;
            if (until == deadline && deadline <= nx_now()) {
                error = -ETIMEDOUT;
                break;
            }
        }
        if (until != NX_FOREVER)
            start_timer(waiter, until);
        nxi_park(worker);
    }
    if (nxi_timer_active(&waiter->timer))
        nxi_timer_stop(&worker->wheel, &waiter->timer);
    return error;
}

/*
 * Waits for the wake. 0: it has come. -ETIMEDOUT, -ECANCELED: it hasn't, and the waiter is still registered: the caller
 * unlinks it and calls nxi_waiter_forget, or, when somebody else has unlinked it already, waits again for the wake.
 */
int nxi_waiter_wait(struct nxi_waiter *waiter, nx_time deadline, bool heed_cancel)
{
    return waiter->task ? wait_task(waiter, &waiter->woken, deadline, heed_cancel) : wait_thread(waiter, deadline);
}

NXI_NOINLINE int nxi_choice_wait(struct nxi_waiter *clock, struct nxi_choice *choice, nx_time deadline)
{
    return wait_task(clock, &choice->stirred, deadline, true);
}

/* ---- lists ---- */

/*
 * A choice is claimed by a compare-and-swap of its winner from 0, under the lock of the object in whose list the waiter
 * is. So at most one of its waiters is served; and its task, which takes each of them out under the same locks before
 * it goes on, finds that one out of its list, and waits for its wake. Others that it finds out of their lists were
 * skipped, by somebody who has failed to claim them: those are forgotten, no wake comes.
 */
bool nxi_waiter_claim(struct nxi_waiter *waiter)
{
    uint32_t open = 0;
    return !waiter->choice || atomic_compare_exchange_strong_explicit(&waiter->choice->winner, &open, waiter->number,
                                                                      memory_order_acq_rel, memory_order_relaxed);
}

struct nxi_waiter *nxi_waiters_pop(struct nxi_waiters *list)
{
    struct nxi_waiter *waiter;
    while ((waiter = list->first)) { /* ends: each turn takes one out */
        nxi_waiters_remove(list, waiter);
        if (nxi_waiter_claim(waiter))
            return waiter;
    }
    return NULL;
}
