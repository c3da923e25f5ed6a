/*
 * runtime.c: making a runtime, running in it, ending it.
 *
 * Start: the plugins are chosen and opened on the creating thread; then each worker opens its driver contexts on its
 * own thread and reports. If one fails all stop, and everything is undone. Stop is the mirror: when no task is left
 * the phase becomes STOPPING, the workers leave their loops, wait for each other (a worker may still ring another's
 * doorbell until it has left its own), and only then close their contexts.
 */
#include "blocking.h"
#include "core.h"
#include "cpus.h"
#include "dump.h"
#include "os.h"
#include "overflow.h"
#include "setup.h"
#include <nexus/runtime.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define SHUTDOWN_STEP_NS INT64_C(10000000)
#define SHUTDOWN_TELL_NS INT64_C(500000000) /* then it says which blocking calls it waits for */

/* ---- all runtimes of the process ---- */

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct nx_runtime *all;

static void enlist(struct nx_runtime *runtime)
{
    static uint64_t last_serial;
    pthread_mutex_lock(&all_lock);
    runtime->serial = ++last_serial;
    runtime->next = all;
    all = runtime;
    pthread_mutex_unlock(&all_lock);
    atomic_fetch_add(&nxi_runtime_count, 1);
}

static void delist(struct nx_runtime *runtime)
{
    pthread_mutex_lock(&all_lock);
    struct nx_runtime **link = &all;
    while (*link != runtime)
        link = &(*link)->next;
    *link = runtime->next;
    pthread_mutex_unlock(&all_lock);
    if (atomic_fetch_sub(&nxi_runtime_count, 1) == 1)
        nxi_signals_restore();
}

bool nxi_runtimes_visit(uint64_t serial, void (*visit)(void *arg, struct nx_runtime *runtime), void *arg)
{
    struct nx_runtime *found = NULL;
    pthread_mutex_lock(&all_lock);
    for (struct nx_runtime *runtime = all; runtime; runtime = runtime->next)
        if (runtime->serial >= serial) /* the list is in the order of serial numbers, the latest first */
            found = runtime;
    if (found)
        visit(arg, found);
    pthread_mutex_unlock(&all_lock);
    return found != NULL;
}

/* The child has one thread, and no lock of the parent's can be trusted: it only reads. */
void nxi_runtimes_forked(void)
{
    for (struct nx_runtime *runtime = all; runtime; runtime = runtime->next)
        for (uint32_t i = 0; i < runtime->driver_count; i++)
            if (NXI_HAS(runtime->drivers[i].ops, forked))
                runtime->drivers[i].ops->forked(runtime->drivers[i].instance);
}

bool nxi_has_worker(const struct nx_runtime *runtime, const struct nxi_worker *worker)
{
    for (uint32_t i = 0; i < runtime->worker_count; i++)
        if (runtime->workers[i] == worker)
            return true;
    return false;
}

/* ---- a worker's thread ---- */

/* Signals belong to the program's own threads: a handler must not run on a task's stack. What the cpu raises stays, and
 * SIGPROF for profilers. This also makes a SIGPIPE of write(2) stay pending unseen. */
static void block_signals(const struct nx_runtime *runtime, sigset_t *ret_old)
{
    static const int synchronous[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < sizeof(synchronous) / sizeof(synchronous[0]); i++)
        sigdelset(&set, synchronous[i]);
    if (runtime->setup->stall_ns > 0 && nxi_stall_signal() > 0)
        sigdelset(&set, nxi_stall_signal());
    pthread_sigmask(SIG_SETMASK, &set, ret_old);
}

static void name_thread(const struct nxi_worker *worker)
{
    char name[16];
    const char *base = worker->runtime->setup->thread_name;
    char index[12];
    int digits = snprintf(index, sizeof(index), "-%u", worker->index);
    snprintf(name, sizeof(name), "%.*s%s", (int)sizeof(name) - 1 - digits, base, index); /* the kernel keeps 15 bytes */
    nxi_os_thread_name(name);
    nxi_os_thread_exact_timers();
}

static void close_contexts(struct nxi_worker *worker)
{
    while (worker->driver_count > 0) {
        struct nxi_driver *driver = &worker->drivers[--worker->driver_count];
        driver->ops->ctx_close(driver->ctx);
    }
}

static int open_contexts(struct nxi_worker *worker)
{
    struct nx_runtime *runtime = worker->runtime;
    for (uint32_t i = 0; i < runtime->driver_count; i++) {
        struct nxi_driver *driver = &worker->drivers[i];
        driver->ops = runtime->drivers[i].ops;
        worker->start_driver = i;
        int error =
            driver->ops->ctx_open(runtime->drivers[i].instance, worker->index, &driver->ctx, &worker->start_reason);
        if (error < 0) {
            close_contexts(worker);
            return error;
        }
        worker->driver_count++;
    }
    int error = nxi_watch_open(worker);
    if (error < 0)
        close_contexts(worker);
    return error;
}

/* Reports that this worker has come to the end of a phase and, if told to, waits until the phase changes. */
static void arrive_at(struct nx_runtime *runtime, uint32_t phase)
{
    pthread_mutex_lock(&runtime->lock);
    runtime->arrived++;
    pthread_cond_broadcast(&runtime->changed);
    while (atomic_load(&runtime->phase) == phase)
        pthread_cond_wait(&runtime->changed, &runtime->lock);
    pthread_mutex_unlock(&runtime->lock);
}

static void *worker_main(void *arg)
{
    struct nxi_worker *worker = arg;
    struct nx_runtime *runtime = worker->runtime;
    const struct nxi_setup *setup = runtime->setup;
    name_thread(worker);
    if (setup->cpu_count > 0)
        nxi_cpus_bind(setup->cpus[worker->index % (uint32_t)setup->cpu_count]);
    nxi_self_set(worker);
    nxi_fiber_thread(&worker->loop);
    nxi_overflow_thread();
    nxi_wheel_init(&worker->wheel, nxi_worker_now(worker));
    worker->start_error = open_contexts(worker);
    arrive_at(runtime, NXI_STARTING);
    if (worker->start_error == 0) {
        nxi_worker_loop(worker);
        arrive_at(runtime, NXI_STOPPING);
        nxi_watch_close(worker);
        close_contexts(worker);
    }
    nxi_stack_cache_drain(&worker->stacks);
    nxi_tasks_release(worker);
    nxi_overflow_thread_done();
    nxi_fiber_thread_done(&worker->loop);
    nxi_self_set(NULL);
    return NULL;
}

bool nxi_worker_may_stop(struct nxi_worker *worker)
{
    return NXI_UNLIKELY(atomic_load_explicit(&worker->runtime->phase, memory_order_acquire) == NXI_STOPPING) &&
           worker->in_flight == worker->watch.armed && !atomic_load_explicit(&worker->inbox, memory_order_relaxed);
}

static void wait_arrived(struct nx_runtime *runtime, uint32_t count)
{
    pthread_mutex_lock(&runtime->lock);
    while (runtime->arrived < count)
        pthread_cond_wait(&runtime->changed, &runtime->lock);
    pthread_mutex_unlock(&runtime->lock);
}

/* A thread outside may be between its push and its last look at a worker (inbox.c); it has a few instructions to go. */
static void wait_for_posters(struct nx_runtime *runtime)
{
    while (atomic_load(&runtime->foreign) > 0)
        sched_yield();
}

/* Moves the runtime on once all workers that run have arrived. None of them is parked then, so that nobody begins to
 * ring one; who has begun has a context to ring until he is through. */
static void next_phase(struct nx_runtime *runtime, uint32_t count, uint32_t phase)
{
    wait_arrived(runtime, count);
    wait_for_posters(runtime);
    pthread_mutex_lock(&runtime->lock);
    runtime->arrived = 0;
    atomic_store(&runtime->phase, phase);
    pthread_cond_broadcast(&runtime->changed);
    pthread_mutex_unlock(&runtime->lock);
}

static void ring_all(struct nx_runtime *runtime)
{
    for (uint32_t i = 0; i < runtime->worker_count; i++)
        nxi_notify(runtime->workers[i]);
}

static void join_workers(struct nx_runtime *runtime, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        pthread_join(runtime->workers[i]->thread, NULL);
}

/* Starts the threads; on failure none is left. */
static int start_workers(struct nx_runtime *runtime, char *error, size_t error_size)
{
    sigset_t old;
    uint32_t started = 0;
    int result = 0;
    block_signals(runtime, &old); /* threads inherit the mask */
    for (; started < runtime->worker_count && result == 0; started += result == 0)
        result = -pthread_create(&runtime->workers[started]->thread, NULL, worker_main, runtime->workers[started]);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (result < 0)
        snprintf(error, error_size,
                 "can't start worker thread %u of %u: %s; lower workers, or raise the limit of "
                 "threads (ulimit -u)",
                 started + 1, runtime->worker_count, nx_strerror(result));

    wait_arrived(runtime, started);
    for (uint32_t i = 0; i < started && result == 0; i++) {
        const struct nxi_worker *worker = runtime->workers[i];
        result = worker->start_error;
        if (result < 0)
            nxi_setup_describe_failure(runtime, worker, error, error_size);
    }
    if (result == 0) {
        next_phase(runtime, started, NXI_RUNNING_PHASE);
        return 0;
    }
    next_phase(runtime, started, NXI_STOPPING); /* the good ones leave their loops at once */
    uint32_t good = 0;
    for (uint32_t i = 0; i < started; i++)
        good += runtime->workers[i]->start_error == 0;
    next_phase(runtime, good, NXI_STOPPED);
    join_workers(runtime, started);
    return result;
}

/* ---- create and destroy ---- */

static void free_workers(struct nx_runtime *runtime)
{
    for (uint32_t i = 0; runtime->workers && i < runtime->worker_count; i++)
        free(runtime->workers[i]);
    free(runtime->workers);
}

static int make_workers(struct nx_runtime *runtime)
{
    runtime->workers = calloc(runtime->worker_count, sizeof(*runtime->workers));
    if (!runtime->workers)
        return -ENOMEM;
    for (uint32_t i = 0; i < runtime->worker_count; i++) {
        struct nxi_worker *worker = aligned_alloc(_Alignof(struct nxi_worker), sizeof(*worker));
        if (!worker)
            return -ENOMEM;
        memset(worker, 0, sizeof(*worker));
        nxi_worker_init(worker, runtime, i);
        runtime->workers[i] = worker;
    }
    return 0;
}

static void free_runtime(struct nx_runtime *runtime)
{
    nxi_pools_close(runtime);
    nxi_loans_free(runtime);
    nxi_setup_close(runtime);
    free_workers(runtime); /* a plugin may ring one until it is closed */
    pthread_cond_destroy(&runtime->changed);
    pthread_mutex_destroy(&runtime->idle_lock);
    pthread_mutex_destroy(&runtime->lock);
    free(runtime);
}

static void init_locks(struct nx_runtime *runtime)
{
    pthread_mutex_init(&runtime->lock, NULL);
    pthread_mutex_init(&runtime->idle_lock, NULL);
    nxi_os_cond_init(&runtime->changed);
}

/* Not worth failing for. */
static void watch_stalls(struct nx_runtime *runtime)
{
    struct nxi_setup *setup = runtime->setup;
    int error = setup->stall_ns > 0 ? nxi_stall_start(runtime, setup->stall_ns, &setup->stall) : 0;
    if (error < 0)
        nxi_log(runtime, NX_LOG_WARN, "NEXUS_STALL_MS: stalls can't be watched for: %s", nx_strerror(error));
}

static void describe_running(struct nx_runtime *runtime)
{
    struct nx_runtime_info info = {.workers = runtime->worker_count};
    nxi_setup_info(runtime, &info);
    nxi_log(runtime, NX_LOG_INFO, "running on backend=%s%s%s sched=%s workers=%u", info.backend,
            strcmp(info.backend, info.file_backend) ? " file_backend=" : "",
            strcmp(info.backend, info.file_backend) ? info.file_backend : "", info.scheduler, info.workers);
}

int nx_runtime_create(const nx_runtime_options *options, nx_runtime **ret_runtime)
{
    NXI_ENTRY(-ENOSYS);
    char scratch[512] = "", *error = scratch;
    size_t error_size = sizeof(scratch);
    if (nxi_forked())
        return -NX_EFORKED;
    nx_runtime_options known;
    if (nxi_options_copy(&known, sizeof(known), options) < 0)
        return nxi_setup_refuse_size(&known);
    if (!ret_runtime)
        return -EINVAL;
    struct nx_runtime *runtime = aligned_alloc(_Alignof(struct nx_runtime), sizeof(*runtime));
    if (!runtime)
        return -ENOMEM;
    memset(runtime, 0, sizeof(*runtime));
    init_locks(runtime);
    nxi_fork_watch();
    nxi_barrier_everywhere(); /* registers for it: that takes milliseconds once there are threads */
    int result = nxi_setup_open(runtime, &known, error, error_size);
    if (result == 0)
        result = nxi_pools_open(runtime);
    if (result == 0)
        result = make_workers(runtime);
    if (result == 0)
        result = start_workers(runtime, error, error_size);
    if (result < 0) {
        if (!*error)
            snprintf(error, error_size, "can't create a runtime: %s", nx_strerror(result));
        nxi_setup_give_error(&known, error);
        free_runtime(runtime);
        return result;
    }
    enlist(runtime);
    describe_running(runtime);
    watch_stalls(runtime);
    *ret_runtime = runtime;
    return 0;
}

/* ---- block_on, run ---- */

int nx_block_on(nx_runtime *runtime, nx_task_fn fn, void *arg, intptr_t *ret_result)
{
    NXI_ENTRY(-ENOSYS);
    if (nxi_forked())
        return -NX_EFORKED;
    if (!runtime || !fn)
        return -EINVAL;
    if (nxi_self())
        return -EDEADLK;
    const nx_task_options options = {.size = sizeof(options), .name = "main"};
    nx_task task = nxi_spawn(runtime, &options, fn, arg, __builtin_return_address(0), 0);
    if (task < 0)
        return (int)task;
    int result = nx_join(task, ret_result, NX_FOREVER);
    if (result == -NX_EPANIC)
        nx_detach(task);
    return result;
}

int nx_run(nx_task_fn fn, void *arg)
{
    NXI_ENTRY(-ENOSYS);
    char error[512] = "";
    nx_runtime *runtime;
    nx_runtime_options options = {.size = sizeof(options), .error = error, .error_size = sizeof(error)};
    int result = nx_runtime_create(&options, &runtime);
    if (result < 0) {
        fprintf(stderr, "nexus: %s\n", *error ? error : nx_strerror(result));
        return 1;
    }
    intptr_t value = 0;
    result = nx_block_on(runtime, fn, arg, &value);
    nx_runtime_destroy(runtime);
    if (result < 0)
        fprintf(stderr, "nexus: the main task did not end well: %s\n", nx_strerror(result));
    else if (value < 0 || value > 125)
        fprintf(stderr, "nexus: the main task returned %lld%s%s\n", (long long)value, value < 0 ? ": " : "",
                value < 0 && value > INT32_MIN ? nx_strerror((int)value) : "");
    return result < 0 || value < 0 || value > 125 ? 1 : (int)value;
}

/* ---- shutdown ---- */

/* Reads the ends first: if the two sums are equal, no task was alive in between (starts only grow). */
static uint64_t live_tasks(struct nx_runtime *runtime)
{
    uint64_t ended = 0, spawned = 0;
    for (uint32_t i = 0; i < runtime->worker_count; i++)
        ended += atomic_load(&runtime->workers[i]->ended);
    for (uint32_t i = 0; i < runtime->worker_count; i++)
        spawned += atomic_load(&runtime->workers[i]->spawned);
    return spawned + atomic_load(&runtime->injected) - ended;
}

/*
 * Waits until no task is left, or until the time: 0 or -ETIMEDOUT. In steps, because the last task's end may not have
 * seen `closing` yet and then tells nobody: to make it certain would cost every end of a task a full barrier.
 */
static int wait_empty(struct nx_runtime *runtime, nx_time until)
{
    pthread_mutex_lock(&runtime->lock);
    while (live_tasks(runtime) > 0 && nxi_clock() < until) {
        nx_time step = nxi_time_add(nxi_clock(), SHUTDOWN_STEP_NS);
        nxi_os_cond_wait_until(&runtime->changed, &runtime->lock, step < until ? step : until);
    }
    pthread_mutex_unlock(&runtime->lock);
    return live_tasks(runtime) > 0 ? -ETIMEDOUT : 0;
}

static void log_straggler(void *arg, struct nxi_task *task, uint64_t ctl)
{
    if (ctl & NXI_CTL_DONE)
        return;
    char name[64];
    nxi_task_label(task, name, sizeof(name));
    nxi_log(arg, NX_LOG_WARN, "task %s has not ended", name);
}

static void log_stragglers(struct nx_runtime *runtime)
{
    nxi_log(runtime, NX_LOG_WARN, "shutdown: %llu tasks have not ended at the deadline",
            (unsigned long long)live_tasks(runtime));
    nxi_tasks_each(runtime, log_straggler, runtime);
    nxi_blocking_log_running(runtime->blocking, runtime, "shutdown", 0);
}

static int shut_down(struct nx_runtime *runtime, int64_t grace_ns, nx_time deadline)
{
    atomic_store(&runtime->closing, 1);
    nxi_cancel_all(runtime, NXI_CTL_SERVING);
    nx_time grace = nxi_time_add(nxi_clock(), grace_ns);
    if (wait_empty(runtime, grace < deadline ? grace : deadline) == 0)
        return 0;
    /* A task may be spawning while the table is walked: whoever was missed is found by the next walk. */
    nx_time begin = nxi_clock(), step;
    for (bool told = false; live_tasks(runtime) > 0;) {
        nxi_cancel_all(runtime, 0);
        if (!told && nxi_clock() - begin > SHUTDOWN_TELL_NS)
            told = nxi_blocking_log_running(runtime->blocking, runtime, "shutdown waits", SHUTDOWN_TELL_NS) > 0;
        step = nxi_time_add(nxi_clock(), SHUTDOWN_STEP_NS);
        if (wait_empty(runtime, step < deadline ? step : deadline) < 0 && nxi_clock() >= deadline) {
            log_stragglers(runtime);
            return -ETIMEDOUT;
        }
    }
    return 0;
}

int nx_runtime_shutdown(nx_runtime *runtime, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    if (nxi_forked())
        return -NX_EFORKED;
    if (!runtime)
        return -EINVAL;
    struct nxi_worker *worker = nxi_self();
    if (worker && worker->runtime == runtime)
        return -EDEADLK;
    return shut_down(runtime, runtime->grace_ns, deadline);
}

static void check_unjoined(void *arg, struct nxi_task *task, uint64_t ctl)
{
    (void)arg;
    const uint64_t told = NXI_CTL_SEEN | NXI_CTL_CLAIMED; /* claimed: somebody is in nx_join */
    if ((ctl & (NXI_CTL_DONE | NXI_CTL_PANICKED | told)) == (NXI_CTL_DONE | NXI_CTL_PANICKED))
        nxi_panic_unjoined(task);
}

void nx_runtime_destroy(nx_runtime *runtime)
{
    NXI_ENTRY();
    if (!runtime || nxi_forked())
        return;
    struct nxi_worker *worker = nxi_self();
    if (worker && worker->runtime == runtime)
        nx_panic("nx_runtime_destroy called from a task of that runtime");
    if (shut_down(runtime, 0, nx_after_ms(1000)) < 0) {
        nxi_log(runtime, NX_LOG_ERROR, "destroy: the runtime is leaked with the tasks that have not ended");
        return;
    }
    nxi_stall_stop(runtime->setup->stall);
    nxi_tasks_each(runtime, check_unjoined, NULL);
    wait_for_posters(runtime);
    nxi_listeners_close(runtime);
    nxi_watches_close(runtime);
    pthread_mutex_lock(&runtime->lock);
    runtime->arrived = 0;
    atomic_store(&runtime->phase, NXI_STOPPING);
    pthread_mutex_unlock(&runtime->lock);
    ring_all(runtime);
    next_phase(runtime, runtime->worker_count, NXI_STOPPED);
    join_workers(runtime, runtime->worker_count);
    wait_for_posters(runtime);
    delist(runtime);
    free_runtime(runtime);
}

int nx_runtime_info(nx_runtime *runtime, struct nx_runtime_info *ret_info)
{
    NXI_ENTRY(-ENOSYS);
    if (nxi_forked())
        return -NX_EFORKED;
    if (!runtime || !ret_info || ret_info->size < sizeof(size_t))
        return -EINVAL;
    struct nx_runtime_info info = {
        .workers = runtime->worker_count,
        .task_size = sizeof(struct nxi_task),
        .stack_size = runtime->stack_size,
        .live_tasks = live_tasks(runtime),
    };
    nxi_setup_info(runtime, &info);
    info.size = ret_info->size < sizeof(info) ? ret_info->size : sizeof(info);
    memcpy(ret_info, &info, info.size);
    return 0;
}
