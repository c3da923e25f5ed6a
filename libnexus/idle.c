/*
 * idle.c: what a worker does when nothing is ready on it: steal, spin, park.
 *
 * Parking is a handshake with everybody who may give this worker something to do (doc/design/park.md):
 *
 *   the worker                                     whoever posts to its inbox (inbox.c)
 *     1 exchange state → IDLE                        a push to the inbox
 *     2 arm every driver                             b exchange state → NOTIFIED
 *     3 look at inbox, queues, drivers               c if it was PARKED: ring the doorbell, driver->wake
 *     4 compare-and-swap IDLE → PARKED
 *     5 wait                                       1 and b are RMWs on one word: if b comes before 1, the worker reads
 *     6 exchange state → RUNNING                   NOTIFIED and with it the push; if after, 4 fails, or b saw PARKED.
 *
 *   whoever makes stealable work (worker.c)        A second word, runtime->idle, counts searching and sleeping workers.
 *     d enqueue                                    The worker enters itself between 2 and 3 (announce). Both sides do
 *     e RMW on runtime->idle                       an RMW on that word and then act on what the other did before its
 *     f nobody searches, somebody sleeps: wake one own: either e sees the sleeper, or the sleeper's look 3 sees d.
 *                                                  A searcher that gives up leaves the count in the same RMW that
 *                                                  enters it as a sleeper: work that f left to it is found by its
 *                                                  look 3.
 *
 * All of these are seq_cst RMWs. No timeout rescues a lost wake: it would hang, and a test would show it.
 */
#include "core.h"

#define SEARCHING UINT64_C(1)
#define SLEEPING (UINT64_C(1) << 32)
#define SPIN_DEFAULT_NS INT64_C(50000) /* about what waking a halted virtual cpu costs */
#define SPIN_SOON_NS INT64_C(200000)   /* a wait as short, which includes that waking, may be one for a spin */
#define SPIN_SCORE_MAX 8
#define SPIN_VAIN 4
#define SPIN_BACKOFF_MAX 1024
#define SPIN_LOOKS 4    /* at memory, for each one that may cost a system call */
#define PAUSE_LEAST 16u /* turns; about half a microsecond */
#define PAUSE_MOST 128u
#define DECAY_NS INT64_C(1000000000)

/* With one worker too: what plain threads inject is nobody's until it is taken. */
static bool shares_work(const struct nx_runtime *runtime)
{
    return NXI_HAS(runtime->sched_ops, steal) || NXI_HAS(runtime->sched_ops, inject);
}

/* ---- waking ---- */

static struct nxi_worker *claim_sleeper(struct nx_runtime *runtime)
{
    struct nxi_worker *sleeper = NULL;
    pthread_mutex_lock(&runtime->idle_lock);
    uint64_t idle = atomic_load(&runtime->idle);
    if ((uint32_t)idle == 0 && idle >> 32 > 0) {
        for (uint32_t i = 0; !sleeper && i < runtime->worker_count; i++)
            sleeper = runtime->workers[i]->asleep ? runtime->workers[i] : NULL;
        if (sleeper) {
            sleeper->asleep = false;
            atomic_fetch_add(&runtime->idle, SEARCHING - SLEEPING);
        }
    }
    pthread_mutex_unlock(&runtime->idle_lock);
    return sleeper;
}

/* There is work that any worker may take: wakes one, unless one is looking already. Any thread. */
void nxi_wake_one(struct nx_runtime *runtime)
{
    uint64_t idle = atomic_fetch_add(&runtime->idle, 0);
    if ((uint32_t)idle > 0 || idle >> 32 == 0)
        return;
    struct nxi_worker *sleeper = claim_sleeper(runtime);
    if (sleeper)
        nxi_notify(sleeper);
}

/* Enters the worker as a sleeper, no longer as a searcher. */
static void announce(struct nxi_worker *worker)
{
    struct nx_runtime *runtime = worker->runtime;
    if (!shares_work(runtime))
        return;
    pthread_mutex_lock(&runtime->idle_lock);
    worker->asleep = true;
    atomic_fetch_add(&runtime->idle, worker->searching ? SLEEPING - SEARCHING : SLEEPING);
    worker->searching = false;
    pthread_mutex_unlock(&runtime->idle_lock);
}

/* Undoes it; a worker that somebody woke for stealable work is a searcher now. */
static void retract(struct nxi_worker *worker)
{
    struct nx_runtime *runtime = worker->runtime;
    if (!shares_work(runtime))
        return;
    pthread_mutex_lock(&runtime->idle_lock);
    if (worker->asleep)
        atomic_fetch_sub(&runtime->idle, SLEEPING);
    else
        worker->searching = true;
    worker->asleep = false;
    pthread_mutex_unlock(&runtime->idle_lock);
}

/* ---- stealing ---- */

/* At most half of the workers search at a time. */
static bool start_searching(struct nxi_worker *worker)
{
    struct nx_runtime *runtime = worker->runtime;
    if (worker->searching)
        return true;
    uint64_t idle = atomic_load(&runtime->idle);
    do {
        if (2 * (uint32_t)idle >= runtime->worker_count)
            return false;
    } while (!atomic_compare_exchange_weak(&runtime->idle, &idle, idle + SEARCHING));
    worker->searching = true;
    return true;
}

static void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static bool anything_queued(struct nxi_worker *worker)
{
    return atomic_load(&worker->inbox) || worker->sched_ops->has_work(worker->sched, worker->index);
}

/* A message ends it. */
static void relax(const struct nxi_worker *worker, uint32_t turns)
{
    for (uint32_t i = 0; i < turns && !atomic_load_explicit(&worker->inbox, memory_order_relaxed); i++)
        cpu_relax();
}

/*
 * What a thief sees and does not get, its owner is most likely about to take itself. Each look takes the line from the
 * owner that it is about to write to, so looks in vain come further and further apart.
 */
static void look_less_often(struct nxi_worker *worker)
{
    if (worker->look_pause < PAUSE_MOST)
        worker->look_pause = worker->look_pause > 0 ? 2 * worker->look_pause : PAUSE_LEAST;
    worker->look_left = worker->look_pause;
    relax(worker, worker->look_pause);
}

static bool steal(struct nxi_worker *worker)
{
    if (!NXI_HAS(worker->sched_ops, steal) || !start_searching(worker))
        return false;
    worker->stolen = worker->sched_ops->steal(worker->sched, worker->index);
    if (worker->stolen)
        worker->look_pause = 0;
    else if (worker->sched_ops->has_work(worker->sched, worker->index))
        look_less_often(worker);
    return worker->stolen != NULL;
}

/* It is about to run something. If it was the last searcher, what others left to it may still be there: wakes the
 * next. */
void nxi_stop_searching(struct nxi_worker *worker)
{
    worker->searching = false;
    if ((uint32_t)atomic_fetch_sub(&worker->runtime->idle, SEARCHING) == 1)
        nxi_wake_one(worker->runtime);
}

/* ---- spinning ---- */

static int64_t spin_limit(const struct nxi_worker *worker)
{
    int64_t fixed = worker->runtime->spin_ns;
    if (fixed >= 0)
        return fixed;
    return worker->spin_score > 0 ? SPIN_DEFAULT_NS : 0;
}

/*
 * Spinning is tried where waits are so short that a spin might see their end. That alone does not say that it pays:
 * where a client shares this cpu, it answers at once if the worker sleeps, and not at all while it spins. So what
 * counts is whether spins bear fruit. One in vain costs as much as SPIN_VAIN good ones bring, and when the score is
 * used up there is no trial for a while: each failed one doubles the number of waits that must end early before the
 * next.
 */
static void spin_learn(struct nxi_worker *worker, bool paid)
{
    if (paid) {
        worker->spin_score += worker->spin_score < SPIN_SCORE_MAX;
        if (worker->spin_score == SPIN_SCORE_MAX)
            worker->spin_backoff = 1;
        return;
    }
    worker->spin_score -= SPIN_VAIN;
    if (worker->spin_score > 0)
        return;
    worker->spin_score = -worker->spin_backoff;
    if (worker->spin_backoff < SPIN_BACKOFF_MAX)
        worker->spin_backoff *= 2;
}

/* A wait without a spin has ended, soon enough for one or not. */
static void wait_learn(struct nxi_worker *worker, bool soon)
{
    if (soon)
        worker->spin_score++;
    else if (worker->spin_score > -SPIN_SCORE_MAX)
        worker->spin_score--;
}

static bool look_at_queues(struct nxi_worker *worker)
{
    if (worker->look_left > 0) {
        worker->look_left--;
        return false;
    }
    worker->look_left = worker->look_pause;
    return worker->sched_ops->has_work(worker->sched, worker->index);
}

/* Some looks at the memory that others write to. True: there is something. */
static bool watch_memory(struct nxi_worker *worker)
{
    for (int i = 0; i < SPIN_LOOKS; i++) {
        if (atomic_load(&worker->inbox) || look_at_queues(worker))
            return true;
        cpu_relax();
    }
    return false;
}

/* Polls for a while before parking, if that has paid lately; whether something came. */
static bool spin(struct nxi_worker *worker)
{
    int64_t limit = spin_limit(worker);
    if (limit == 0)
        return false;
    nx_time end = 0, now;
    do {
        if (nxi_poll_drivers(worker) > 0 || watch_memory(worker) || nxi_expire(worker) > 0) {
            spin_learn(worker, true);
            return true;
        }
        now = nxi_clock();
        if (end == 0) /* most spins end at their first look, without a clock */
            end = nxi_time_add(now, limit);
    } while (now < end);
    spin_learn(worker, false);
    return false;
}

/* ---- parking ---- */

static void disarm(struct nxi_worker *worker, uint32_t count, uint32_t except)
{
    for (uint32_t i = count; i-- > 0;)
        if (i != except)
            worker->drivers[i].ops->disarm(worker->drivers[i].ctx);
}

static bool arm(struct nxi_worker *worker)
{
    if (worker->watch.op)
        nxi_watch_arm(worker);
    for (uint32_t i = 0; i < worker->driver_count; i++) {
        if (worker->drivers[i].ops->arm(worker->drivers[i].ctx) == 0)
            continue;
        disarm(worker, i, UINT32_MAX);
        return false;
    }
    return true;
}

static nx_time wake_time(struct nxi_worker *worker)
{
    nx_time until = nxi_wheel_next(&worker->wheel);
    for (uint32_t i = 0; i < worker->driver_count; i++) {
        const struct nxi_driver *driver = &worker->drivers[i];
        if (!NXI_HAS(driver->ops, next_deadline))
            continue;
        nx_time deadline = driver->ops->next_deadline(driver->ctx);
        until = deadline < until ? deadline : until;
    }
    return until;
}

/*
 * Which driver is to wait. Where one owns the clock the other one knows nothing of that time: it waits, without end,
 * while it has something in flight here. The clock stands meanwhile, since this worker is not in its owner's wait.
 */
static uint32_t choose_waiter(struct nxi_worker *worker)
{
    uint32_t waiter = worker->runtime->clock && worker->in_second > 0 ? 1 : worker->runtime->waiter;
    atomic_store_explicit(&worker->waiter, waiter, memory_order_relaxed);
    return waiter;
}

static nx_time wait_until(struct nxi_worker *worker, uint32_t waiter)
{
    return worker->runtime->clock && waiter > 0 ? NX_FOREVER : wake_time(worker);
}

/* Steps 5 and 6. */
static void sleep_now(struct nxi_worker *worker, uint32_t waiter)
{
    const struct nxi_driver *driver = &worker->drivers[waiter];
    bool learn = worker->runtime->spin_ns < 0 && worker->spin_score <= 0;
    nx_time start = learn ? nxi_clock() : 0;
    uint32_t count =
        driver->ops->wait(driver->ctx, worker->completions, NXI_COMPLETIONS_MAX, wait_until(worker, waiter));
    worker->look_pause = worker->look_left = 0;
    nxi_count(&worker->counters.parks, 1);
    if (atomic_exchange(&worker->state, NXI_WORKER_RUNNING) == NXI_WORKER_NOTIFIED)
        nxi_count(&worker->counters.wakes, 1); /* PARKED → NOTIFIED is what rings */
    retract(worker);
    disarm(worker, worker->driver_count, waiter);
    if (learn)
        wait_learn(worker, nxi_clock() - start < SPIN_SOON_NS);
    nxi_dispatch(worker, waiter, count);
    for (uint32_t i = 0; worker->driver_count > 1 && i < worker->driver_count; i++)
        if (i != waiter)
            nxi_dispatch(
                worker, i,
                worker->drivers[i].ops->poll(worker->drivers[i].ctx, worker->completions, NXI_COMPLETIONS_MAX));
}

/* Stacks that tasks have left behind go back to the system by and by. The timer runs only while there are some. */
static void decay_stacks(struct nxi_timer *timer)
{
    struct nxi_worker *worker = nxi_container(timer, struct nxi_worker, decay_timer);
    worker->stacks_left = nxi_stack_decay(&worker->stacks);
}

static void plan_decay(struct nxi_worker *worker)
{
    if (NXI_LIKELY(!worker->stacks_left) || nxi_timer_active(&worker->decay_timer))
        return;
    nxi_timer_start(&worker->wheel, &worker->decay_timer, nxi_time_add(nxi_worker_now(worker), DECAY_NS));
}

void nxi_idle_init(struct nxi_worker *worker)
{
    nxi_timer_init(&worker->decay_timer, decay_stacks);
    worker->spin_backoff = 1;
}

static void park(struct nxi_worker *worker)
{
    plan_decay(worker);
    if (atomic_exchange(&worker->state, NXI_WORKER_IDLE) == NXI_WORKER_NOTIFIED) {
        atomic_exchange(&worker->state, NXI_WORKER_RUNNING);
        return;
    }
    if (!arm(worker)) {
        atomic_exchange(&worker->state, NXI_WORKER_RUNNING);
        nxi_poll_drivers(worker);
        return;
    }
    uint32_t waiter = choose_waiter(worker);
    announce(worker);
    uint32_t expected = NXI_WORKER_IDLE;
    if (anything_queued(worker) || !atomic_compare_exchange_strong(&worker->state, &expected, NXI_WORKER_PARKED)) {
        atomic_exchange(&worker->state, NXI_WORKER_RUNNING);
        retract(worker);
        disarm(worker, worker->driver_count, UINT32_MAX);
        return;
    }
    sleep_now(worker, waiter);
}

void nxi_idle(struct nxi_worker *worker)
{
    if (steal(worker) || spin(worker))
        return;
    park(worker);
}
