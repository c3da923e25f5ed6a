/*
 * model.c: the real sched/work_stealing.c under every schedule that matters.
 *
 * A scenario is a few virtual threads (ucontext fibers) that call the scheduler's table. Each atomic operation is a
 * point (stdatomic.h here) where the explorer chooses who goes on. It runs a scenario again and again: depth first
 * through all schedules with at most BOUND preemptions, then through random ones. Most concurrency bugs need two
 * preemptions or fewer (CHESS); the random schedules are for the rest.
 *
 * The oracles: every task is given out exactly once; one that is bound, on its worker; no sleeper misses work; and at
 * the end has_work says no. A failure prints the scenario and the schedule: who ran from each point on. Equal inputs
 * give equal runs.
 *
 *   model [random schedules per scenario] [preemption bound]
 */
#include <nexus/plugin.h>
#include <nexus/sched.h>
#include <nexus/task.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define THREADS 3
#define ITEMS 16
#define POINTS 4096 /* in one run; more is a livelock */
#define STACK (64 * 1024)

extern const struct nx_plugin nexus_plugin_work_stealing;
static const struct nx_sched_ops *ops;

/* ---- the explorer ---- */

static ucontext_t home, fiber[THREADS];
static char stack[THREADS][STACK];
static uint32_t alive, current, preemptions; /* alive: a bit per fiber */
static int running;

static uint32_t bound;
static struct {
    uint8_t chosen, options;
} path[POINTS]; /* depth first: the choices that had an alternative */
static uint32_t path_length, path_depth;
static uint64_t random_state; /* 0: depth first */
static char schedule[POINTS + 1];
static uint32_t points;
static const char *failure; /* the first of this run */

static void fail(const char *what)
{
    if (failure == NULL)
        failure = what;
}

static uint32_t random_below(uint32_t limit)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 33) % limit;
}

/* One of `options`; 0 is to go on as before. */
static uint32_t choose(uint32_t options, int may_go_on)
{
    if (random_state != 0)
        return may_go_on && random_below(4) != 0 ? 0 : random_below(options);
    if (path_depth == path_length) {
        path[path_length].chosen = 0;
        path[path_length++].options = (uint8_t)options;
    }
    return path[path_depth++].chosen;
}

/* The fiber that goes on: the n-th alive one, counting from the current. */
static uint32_t pick_fiber(void)
{
    int may_go_on = (alive & 1u << current) != 0;
    uint32_t options = (uint32_t)__builtin_popcount(alive), next = current, n;

    if (may_go_on && random_state == 0 && preemptions == bound)
        options = 1;
    n = options > 1 ? choose(options, may_go_on) : 0;
    preemptions += may_go_on && n != 0;
    n += !may_go_on;
    for (; n > 0; n--) {
        do
            next = (next + 1) % THREADS;
        while ((alive & 1u << next) == 0);
    }
    return next;
}

void nxt_point(void)
{
    uint32_t self = current;

    if (!running)
        return;
    if (points == POINTS) {
        fail("livelock");
        alive = 0;
        swapcontext(&fiber[self], &home);
    }
    current = pick_fiber();
    schedule[points++] = (char)('0' + current);
    if (current != self)
        swapcontext(&fiber[self], &fiber[current]);
}

/* The next path in depth-first order; 0: that was the last. */
static int advance(void)
{
    while (path_length > 0 && path[path_length - 1].chosen + 1 == path[path_length - 1].options)
        path_length--;
    if (path_length == 0)
        return 0;
    path[path_length - 1].chosen++;
    return 1;
}

/* ---- the tasks and the host ---- */

struct item {
    struct nx_ready ready; /* first */
    uint32_t given, queued;
};

static struct item items[ITEMS];
static struct nx_sched *sched;
static uint64_t host_random_state;
static _Atomic uint32_t idle_word;
static uint32_t parked;

static uint64_t host_random(void)
{
    host_random_state = host_random_state * 6364136223846793005u + 1442695040888963407u;
    return host_random_state;
}

static void *host_alloc(size_t size, size_t align)
{
    void *memory = NULL;

    return posix_memalign(&memory, align, size) == 0 ? memset(memory, 0, size) : NULL;
}

static void host_free(void *memory, size_t size)
{
    (void)size;
    free(memory);
}

static const struct nx_host host = {
    .size = sizeof(host), .random = host_random, .alloc = host_alloc, .free = host_free};

static struct nx_ready *ready_of(uint32_t id, uint32_t worker, uint8_t stealable)
{
    items[id].ready.home = worker;
    items[id].ready.stealable = stealable;
    items[id].queued++;
    return &items[id].ready;
}

static void put(uint32_t worker, uint32_t id, uint32_t reason)
{
    uint32_t wake = ops->enqueue(sched, worker, ready_of(id, worker, 1), reason);

    if (wake != NX_WAKE_ANY)
        fail("stealable work was queued and nobody is to be woken");
}

static void put_bound(uint32_t worker, uint32_t id)
{
    (void)ops->enqueue(sched, worker, ready_of(id, worker, 0), NX_REASON_IO);
}

static void inject(uint32_t id)
{
    ops->inject(sched, ready_of(id, 0, 1));
}

static int got(uint32_t worker, struct nx_ready *ready)
{
    struct item *item = (struct item *)ready;

    if (item == NULL)
        return 0;
    if (++item->given > item->queued)
        fail("a task was given out twice");
    if (!ready->stealable && ready->home != worker)
        fail("a bound task left its worker");
    return 1;
}

static int take(uint32_t worker)
{
    return got(worker, ops->dequeue(sched, worker));
}

/* The running task is about to wait for this one. */
static int take_child(uint32_t worker, uint32_t id)
{
    return ops->take(sched, worker, &items[id].ready) && got(worker, &items[id].ready);
}

static int steal(uint32_t worker)
{
    return got(worker, ops->steal(sched, worker));
}

/* The core's part of the protocol, reduced to one idle word: see the top of sched/work_stealing.c. */
static void wake(void)
{
    if (atomic_fetch_and(&idle_word, 0) != 0)
        parked = 0;
}

static void sleep_unless_work(uint32_t worker)
{
    (void)atomic_fetch_or(&idle_word, 1);
    if (!ops->has_work(sched, worker) && idle_word != 0)
        parked = 1;
}

/* ---- the scenarios; rings of 4, the shared queue looked at every third dequeue ---- */

static void owner_overflows(void)
{
    for (uint32_t id = 0; id < 6; id++)
        put(0, id, NX_REASON_IO);
    take(0);
    take(0);
}

static void owner_mixes(void)
{
    put(0, 0, NX_REASON_SPAWN);
    put_bound(0, 1);
    put(0, 2, NX_REASON_SPAWN);
    take(0);
    put(0, 3, NX_REASON_UNBLOCK);
    take(0);
    take(0);
}

static void owner_fills_and_drains(void)
{
    for (uint32_t round = 0; round < 3; round++) {
        put(0, 2 * round, NX_REASON_IO);
        put(0, 2 * round + 1, NX_REASON_IO);
        take(0);
    }
    while (take(0))
        continue;
}

/* Ids in the order in which a parent waits for its children: the ring gets holes, is closed up, and goes back. */
static void owner_waits_for_children(void)
{
    for (uint32_t id = 0; id < 4; id++)
        put(0, id, NX_REASON_IO);
    take_child(0, 1);
    take_child(0, 2);
    put(0, 4, NX_REASON_IO);
    take_child(0, 4);
    put(0, 5, NX_REASON_SPAWN);
    take_child(0, 5);
    take(0);
}

static void thief_1(void)
{
    if (steal(1))
        take(1);
    steal(1);
}

static void thief_2(void)
{
    if (steal(2))
        take(2);
}

static void injects_two(void)
{
    inject(8);
    inject(9);
}

static void takes_three_on_1(void)
{
    take(1);
    take(1);
    take(1);
}

static void takes_and_keeps_busy(void)
{
    inject(10);
    inject(11);
    take(1); /* the other of the two may not be hidden from now on */
    wake();
}

static void produces_by_spawn(void)
{
    put(0, 0, NX_REASON_SPAWN);
    wake();
}

static void produces_by_injection(void)
{
    inject(0);
    wake();
}

static void produces_overflow(void)
{
    for (uint32_t id = 0; id < 5; id++) {
        put(0, id, NX_REASON_IO);
        wake();
    }
}

static void only_takes(void)
{
    take(1);
}

static void sleeper(void)
{
    sleep_unless_work(2);
}

static void before_some_injected(void)
{
    for (uint32_t id = 12; id < 16; id++) /* a batch is 4 / 3 + 1 = 2 */
        inject(id);
}

static const struct scenario {
    const char *name;
    void (*before)(void);
    void (*thread[THREADS])(void);
} scenarios[] = {
    {"a ring that overflows, two thieves", NULL, {owner_overflows, thief_1, thief_2}},
    {"a ring that fills and drains, two thieves", NULL, {owner_fills_and_drains, thief_1, thief_2}},
    {"newest, bound and ring, two thieves", NULL, {owner_mixes, thief_1, thief_2}},
    {"children taken by who waits for them, two thieves", NULL, {owner_waits_for_children, thief_1, thief_2}},
    {"two takers of the shared queue, an injector", before_some_injected, {injects_two, takes_three_on_1, thief_2}},
    {"overflow while another takes", NULL, {owner_overflows, takes_three_on_1, injects_two}},
    {"sleep against spawn", NULL, {produces_by_spawn, NULL, sleeper}},
    {"sleep against injection", NULL, {produces_by_injection, NULL, sleeper}},
    {"sleep against overflow", NULL, {produces_overflow, NULL, sleeper}},
    {"sleep while a batch moves", before_some_injected, {NULL, only_takes, sleeper}},
    {"sleep, injection and a taker that stays busy", NULL, {produces_by_spawn, takes_and_keeps_busy, sleeper}},
};

static const struct scenario *scenario;

static void fiber_main(void)
{
    scenario->thread[current]();
    alive &= ~(1u << current);
    if (alive == 0)
        setcontext(&home);
    current = pick_fiber();
    setcontext(&fiber[current]);
}

static void check_the_end(void)
{
    uint32_t left = 0;

    running = 0;
    for (uint32_t id = 0; id < ITEMS; id++)
        left += items[id].queued - items[id].given;
    if (parked && left != 0)
        fail("a worker sleeps while a task waits");
    for (uint32_t worker = 0; worker < THREADS; worker++) {
        while (take(worker) || steal(worker))
            continue;
    }
    for (uint32_t id = 0; id < ITEMS; id++) {
        if (items[id].given != items[id].queued)
            fail("a task was lost");
    }
    if (ops->has_work(sched, 0))
        fail("has_work says yes when all is done");
}

/* One schedule. 0, or -1 after a failure. */
static int run_once(void)
{
    struct nx_reason reason;

    memset(items, 0, sizeof(items));
    host_random_state = 42;
    points = path_depth = preemptions = parked = alive = 0;
    idle_word = 0;
    failure = NULL;
    if (ops->open(&host, NULL, THREADS, &sched, &reason) != 0)
        abort();
    if (scenario->before != NULL)
        scenario->before();
    for (uint32_t i = 0; i < THREADS; i++) {
        if (scenario->thread[i] == NULL)
            continue;
        alive |= 1u << i;
        getcontext(&fiber[i]);
        fiber[i].uc_stack.ss_sp = stack[i];
        fiber[i].uc_stack.ss_size = STACK;
        makecontext(&fiber[i], fiber_main, 0);
    }
    current = (uint32_t)__builtin_ctz(alive);
    current = pick_fiber();
    running = 1;
    swapcontext(&home, &fiber[current]);
    check_the_end();
    ops->close(sched);
    if (failure == NULL)
        return 0;
    schedule[points] = 0;
    printf("%s: %s\n  schedule %s\n", scenario->name, failure, schedule);
    return -1;
}

static int explore(uint32_t random_runs)
{
    uint32_t runs = 0;

    random_state = 0;
    path_length = 0;
    do {
        runs++;
        if (run_once() != 0)
            return -1;
    } while (advance());
    for (uint32_t i = 0; i < random_runs; i++) {
        random_state = 0x9e3779b97f4a7c15u * (i + 1);
        if (run_once() != 0) {
            printf("  random schedule %u\n", i);
            return -1;
        }
    }
    printf("%s: %u schedules with at most %u preemptions, %u random\n", scenario->name, runs, bound, random_runs);
    return 0;
}

int main(int argc, char **argv)
{
    uint32_t random_runs = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 10) : 20000;

    ops = nexus_plugin_work_stealing.ops;
    bound = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 2;
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
        scenario = &scenarios[i];
        if (explore(random_runs) != 0)
            return 1;
    }
    return 0;
}
