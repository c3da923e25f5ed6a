/*
 * A scheduler: earliest deadline first.
 *
 * A task that becomes ready is due after some turns, fewer the higher its priority; of all that are ready, the one that
 * is due first runs next. A scheduler reads no clock: its time is the number of tasks that it has given out, so a run
 * can be repeated, and deadlines stretch by themselves when there is much to do.
 *
 * Deadlines of one priority are made in order. So a queue for each priority is sorted as it stands, and the earliest
 * deadline of all is at one of three heads.
 *
 * It is fair: a task can be overtaken only until its deadline, for what becomes ready later than that is due later,
 * whatever its priority. With `low=64`, a task of low priority waits for 64 turns and those who were due before it.
 *
 * A worker's queues are its own: nobody else touches them, so nothing is atomic but the count by which select takes
 * turns among equals.
 */
#include <nexus/sched.h>
#include <nexus/task.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRIORITIES 3u
#define TURNS_MAX 4096u /* a bound, for else a task might wait for ever */
#define DUE 0           /* in ready->sched, which is ours for the whole life of the task */

struct queue {
    struct nx_ready *first, *last; /* linked by ->next; last means nothing while first is NULL */
};

struct worker {
    _Alignas(64) uint64_t turn; /* tasks given out so far; on a cache line that other workers do not write */
    struct queue queues[PRIORITIES];
};

struct nx_sched {
    const struct nx_host *host;
    size_t size;
    uint64_t turns[PRIORITIES]; /* until a task of that priority is due */
    uint32_t worker_count;
    _Atomic uint32_t rotation; /* any thread */
    struct worker workers[];
};

/* ---- life ---- */

static int refuse(struct nx_reason *ret_reason, const char *call, int error, const char *text, const char *remedy)
{
    ret_reason->error = error;
    snprintf(ret_reason->call, sizeof(ret_reason->call), "%s", call);
    snprintf(ret_reason->text, sizeof(ret_reason->text), "%s", text);
    snprintf(ret_reason->remedy, sizeof(ret_reason->remedy), "%s", remedy);
    return -error;
}

/* The core has checked that each is a number; whether they make sense is ours to say. */
static int read_turns(const struct nx_host *host, const struct nx_config *config, uint64_t turns[PRIORITIES],
                      struct nx_reason *ret_reason)
{
    turns[NX_PRIO_HIGH] = strtoull(host->param(config, "high"), NULL, 10);
    turns[NX_PRIO_NORMAL] = strtoull(host->param(config, "normal"), NULL, 10);
    turns[NX_PRIO_LOW] = strtoull(host->param(config, "low"), NULL, 10);
    if (turns[NX_PRIO_HIGH] <= turns[NX_PRIO_NORMAL] && turns[NX_PRIO_NORMAL] <= turns[NX_PRIO_LOW] &&
        turns[NX_PRIO_LOW] <= TURNS_MAX)
        return 0;
    return refuse(ret_reason, "parameters", EINVAL, "it must be high <= normal <= low <= 4096",
                  "change the parameters high, normal and low");
}

static int probe(const struct nx_host *host, const struct nx_config *config, struct nx_reason *ret_reason)
{
    uint64_t turns[PRIORITIES];

    return read_turns(host, config, turns, ret_reason);
}

static int sched_open(const struct nx_host *host, const struct nx_config *config, uint32_t workers,
                      struct nx_sched **ret_sched, struct nx_reason *ret_reason)
{
    size_t size = sizeof(struct nx_sched) + workers * sizeof(struct worker);
    struct nx_sched *sched;
    uint64_t turns[PRIORITIES];
    int r = read_turns(host, config, turns, ret_reason);

    if (r < 0)
        return r;
    sched = host->alloc(size, _Alignof(struct nx_sched)); /* zeroed: queues are empty, and it is turn 0 */
    if (!sched)
        return refuse(ret_reason, "malloc(3)", ENOMEM, "no memory for the queues", "start fewer workers");
    sched->host = host;
    sched->size = size;
    sched->worker_count = workers;
    memcpy(sched->turns, turns, sizeof(turns));
    *ret_sched = sched;
    return 0;
}

static void sched_close(struct nx_sched *sched)
{
    sched->host->free(sched, sched->size);
}

/* ---- where a task goes ---- */

/* It stays with the worker that makes it ready; one from outside, or one that is to be spread, goes to whoever has the
 * fewest. The counts are the core's and change meanwhile: one that is a moment old is good enough. */
static uint32_t sched_select(struct nx_sched *sched, const struct nx_ready *ready, uint32_t from, uint32_t spread,
                             const uint32_t *loads)
{
    uint32_t first, best;

    (void)ready;
    if (from < sched->worker_count && !spread)
        return from;
    first = best = atomic_fetch_add_explicit(&sched->rotation, 1, memory_order_relaxed) % sched->worker_count;
    for (uint32_t i = 1; i < sched->worker_count; i++) {
        uint32_t worker = (first + i) % sched->worker_count;

        if (__atomic_load_n(&loads[worker], __ATOMIC_RELAXED) < __atomic_load_n(&loads[best], __ATOMIC_RELAXED))
            best = worker;
    }
    return best;
}

/* ---- which task is next: on the worker's thread, and on the stack of the task that parks ---- */

static uint32_t sched_enqueue(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready, uint32_t reason)
{
    struct worker *w = &sched->workers[worker];
    struct queue *queue = &w->queues[ready->priority];

    (void)reason;
    ready->sched[DUE] = w->turn + sched->turns[ready->priority];
    ready->next = NULL;
    if (queue->first)
        queue->last->next = ready;
    else
        queue->first = ready;
    queue->last = ready;
    return NX_WAKE_NONE; /* no other worker could take it */
}

static struct nx_ready *sched_dequeue(struct nx_sched *sched, uint32_t worker)
{
    static const uint8_t order[PRIORITIES] = {NX_PRIO_HIGH, NX_PRIO_NORMAL, NX_PRIO_LOW}; /* of those due at once */
    struct worker *w = &sched->workers[worker];
    struct queue *earliest = NULL;
    struct nx_ready *ready;

    for (uint32_t i = 0; i < PRIORITIES; i++) {
        struct queue *queue = &w->queues[order[i]];

        if (queue->first && (!earliest || queue->first->sched[DUE] < earliest->first->sched[DUE]))
            earliest = queue;
    }
    if (!earliest)
        return NULL;
    ready = earliest->first;
    earliest->first = ready->next;
    w->turn++;
    return ready;
}

static uint32_t sched_has_work(struct nx_sched *sched, uint32_t worker)
{
    const struct queue *queues = sched->workers[worker].queues;

    return queues[0].first || queues[1].first || queues[2].first;
}

/* For the list of tasks that nx_dump prints; the workers stand still. */
static uint32_t sched_dump(struct nx_sched *sched, uint32_t worker, struct nx_ready **out, uint32_t max)
{
    uint32_t count = 0;

    for (uint32_t priority = 0; priority < PRIORITIES; priority++)
        for (struct nx_ready *ready = sched->workers[worker].queues[priority].first; ready && count < max;
             ready = ready->next)
            out[count++] = ready;
    return count;
}

/* ---- what the file exports ---- */

static const struct nx_sched_ops sched_ops = {
    .size = sizeof(struct nx_sched_ops),
    .open = sched_open,
    .close = sched_close,
    .select = sched_select,
    .enqueue = sched_enqueue,
    .dequeue = sched_dequeue,
    .has_work = sched_has_work,
    .dump = sched_dump,
};

static const struct nx_param params[] = {
    {"high", NX_PARAM_UINT, 0, "4", "turns until a ready task of high priority is due"},
    {"normal", NX_PARAM_UINT, 0, "16", "the same for normal priority"},
    {"low", NX_PARAM_UINT, 0, "64", "the same for low priority"},
    {0},
};

NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_edf = {
    .magic = NX_PLUGIN_MAGIC,
    .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR,
    .abi_minor = NX_ABI_MINOR,
    .kind = NX_PLUGIN_SCHEDULER,
    .name = "edf",
    .version = "0.1.0",
    .summary = "earliest deadline first: due after so many turns, by priority",
    .priority = -1, /* only when it is asked for */
    .params = params,
    .probe = probe,
    .ops = &sched_ops,
};
