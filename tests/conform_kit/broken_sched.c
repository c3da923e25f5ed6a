/*
 * broken_sched: a good scheduler with one fault; see broken_driver.c. A letter behind the number is another fault of
 * the same requirement.
 */
#define _GNU_SOURCE
#include "real.h"
#include <nexus/sched.h>

#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKERS_MAX 64u

static uint32_t rule;
static char variant; /* 0, 'b' */
static const struct nx_sched_ops *real;
static struct nx_sched_ops table;
static const struct nx_host *host;

static uint64_t counter;
static uint32_t worker_count;
static struct nx_ready *first[WORKERS_MAX]; /* a place of the worker's that goes before all others */
static uint64_t pushed[WORKERS_MAX], pulled[WORKERS_MAX];
static struct nx_ready *last, *list;
static uint32_t repeats;

static int broken_open(const struct nx_host *given_host, const struct nx_config *config, uint32_t workers,
                       struct nx_sched **ret_sched, struct nx_reason *ret_reason)
{
    host = given_host;
    worker_count = workers;
    return real->open(host, config, workers, ret_sched, ret_reason);
}

static void broken_close(struct nx_sched *sched)
{
    if (rule != 1)
        real->close(sched);
}

static uint32_t broken_select(struct nx_sched *sched, const struct nx_ready *ready, uint32_t from, uint32_t spread,
                              const uint32_t *loads)
{
    return rule == 6 && spread ? worker_count : real->select(sched, ready, from, spread, loads);
}

/* As if it had that flag and that priority. */
static uint32_t enqueue_as(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready, uint32_t reason,
                           uint8_t stealable, uint8_t priority)
{
    const uint8_t old_stealable = ready->stealable, old_priority = ready->priority;
    uint32_t answer;

    ready->stealable = stealable;
    ready->priority = priority;
    answer = real->enqueue(sched, worker, ready, reason);
    ready->stealable = old_stealable;
    ready->priority = old_priority;
    return answer;
}

/* Last in, first out. */
static uint32_t enqueue_first(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready)
{
    struct nx_ready *before = first[worker];

    first[worker] = ready;
    /* This one nobody else gets, that one again. */
    return before ? real->enqueue(sched, worker, before, NX_REASON_IO) : NX_WAKE_NONE;
}

static void __attribute__((noinline)) go_deep(void)
{
    volatile char deep[4096];

    for (uint32_t i = 0; i < sizeof(deep); i += 64)
        deep[i] = 0;
}

static uint32_t broken_enqueue(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready, uint32_t reason)
{
    static const uint8_t swapped[] = {0, 2, 1};
    uint32_t answer;

    pushed[worker]++;
    repeats = ready == last ? repeats + 1 : 0;
    last = ready;
    if (rule == 2)
        host->free(host->alloc(16, 0), 16);
    if (rule == 3 && !variant && ++counter % 4000 == 0)
        return NX_WAKE_NONE;
    if (rule == 4 || (rule == 5 && repeats > 20))
        return enqueue_as(sched, worker, ready, reason, 1, ready->priority);
    if ((rule == 12 && reason == NX_REASON_YIELD) || (rule == 14 && reason == NX_REASON_UNBLOCK))
        return enqueue_first(sched, worker, ready);
    if (rule == 13)
        return enqueue_as(sched, worker, ready, reason, ready->stealable, swapped[ready->priority]);
    if (rule == 17)
        ready->reserved++;
    if (rule == 19 && !variant)
        host->now();
    if (rule == 19 && variant)
        go_deep();
    answer = real->enqueue(sched, worker, ready, reason);
    return rule == 10 ? NX_WAKE_NONE : answer;
}

/* 20: always; 21: as long as all are one thread, so that only who is stopped between two instructions finds it. */
static bool is_racy(void)
{
    return rule == 20 || (rule == 21 && getpid() == gettid());
}

static void broken_inject(struct nx_sched *sched, struct nx_ready *ready)
{
    struct nx_ready *before = list;

    if (rule == 7) {
        enqueue_as(sched, 0, ready, NX_REASON_REMOTE, 0, ready->priority);
        return;
    }
    if (!is_racy()) {
        real->inject(sched, ready);
        return;
    }
    before = *(struct nx_ready *volatile *)&list;
    if (rule == 20)
        sched_yield(); /* between the look and the deed */
    ready->next = before;
    list = ready;
}

static struct nx_ready *broken_dequeue(struct nx_sched *sched, uint32_t worker)
{
    struct nx_ready *ready = first[worker], *before;

    if (rule == 18 && last)
        counter += *(volatile const uint8_t *)&last->priority;
    if (is_racy() && (before = *(struct nx_ready *volatile *)&list) != NULL) {
        if (rule == 20)
            sched_yield();
        list = before->next;
        return before;
    }
    if (rule == 3 && variant && ++counter % 4000 == 0 && last)
        return last; /* once more, or too early */
    if (ready)
        first[worker] = NULL;
    else
        ready = real->dequeue(sched, worker);
    if (ready)
        pulled[worker]++;
    if (rule == 18)
        last = ready;
    return ready;
}

static struct nx_ready *broken_steal(struct nx_sched *sched, uint32_t thief)
{
    struct nx_ready *ready;

    if (rule == 11 && counter > 24)
        return NULL;
    ready = real->steal(sched, thief);
    if (rule == 11)
        counter += ready != NULL;
    return ready;
}

static uint32_t broken_has_work(struct nx_sched *sched, uint32_t worker)
{
    if (rule == 8) /* its own only */
        return pushed[worker] > pulled[worker];
    if (rule == 9)
        return 1;
    return first[worker] || list ? 1 : real->has_work(sched, worker);
}

static uint32_t broken_dump(struct nx_sched *sched, uint32_t worker, struct nx_ready **out, uint32_t max)
{
    uint32_t count = real->dump(sched, worker, out, max);

    return rule == 16 && count > 0 ? count - 1 : count;
}

static uint32_t broken_take(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready)
{
    uint32_t answer = real->take(sched, worker, ready);

    return rule == 15 ? 0 : answer;
}

static struct nx_ready *broken_yield(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready)
{
    return rule == 22 ? ready : real->yield(sched, worker, ready);
}

static void make_table(void)
{
    table = *real;
    table.size = sizeof(table);
    table.open = broken_open;
    table.close = broken_close;
    table.select = broken_select;
    table.enqueue = broken_enqueue;
    if (real->inject)
        table.inject = broken_inject;
    table.dequeue = broken_dequeue;
    if (real->steal)
        table.steal = broken_steal;
    table.has_work = broken_has_work;
    if (real->dump)
        table.dump = broken_dump;
    if (real->take)
        table.take = broken_take;
    if (real->size > offsetof(struct nx_sched_ops, yield) && real->yield)
        table.yield = broken_yield;
}

/* Before the loader looks at the table. */
static void __attribute__((constructor)) load(void)
{
    const char *path = getenv("NXT_BROKEN_REAL"), *broken = getenv("NXT_BROKEN");
    const struct nx_plugin *plugin;
    char *end;

    if (!path || !broken || strncmp(broken, "NXS-", 4) != 0)
        return;
    plugin = real_plugin(path);
    if (!plugin)
        return;
    real = plugin->ops;
    rule = (uint32_t)strtoul(broken + 4, &end, 10);
    variant = *end;
    make_table();
}

NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_broken_sched = {
    .magic = NX_PLUGIN_MAGIC,
    .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR,
    .abi_minor = NX_ABI_MINOR,
    .kind = NX_PLUGIN_SCHEDULER,
    .name = "broken_sched",
    .version = "1.0",
    .summary = "a good scheduler with one fault",
    .priority = -1,
    .ops = &table,
};
