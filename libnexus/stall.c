/*
 * stall.c: NEXUS_STALL_MS: a task that holds its worker too long is reported while it does.
 *
 * A thread looks at each worker's count of switches a few times per threshold. One that has not moved for the
 * threshold, while its worker is not asleep, is a task that neither parks nor yields; it is reported once, and again
 * only after the count has moved. Its name is in the table of tasks. Where it is only its own thread can tell: a signal
 * makes it copy its registers and its stack into a buffer that was allocated before, and the copy is unwound here. The
 * copying is async-signal-safe, whatever the task was in the middle of.
 *
 * The buffer: IDLE ── watchdog (store, then kill) ──> ASKED ── handler (CAS) ──> COPYING ──(store)──> COPIED, and
 * back to IDLE by the watchdog. If no answer comes in time the watchdog takes ASKED back by CAS; a handler that comes
 * later fails its own CAS and touches nothing. If it is COPYING the watchdog waits: that ends.
 *
 * Without NEXUS_STALL_MS there is no thread, no handler, and nothing that a worker would do for it.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "core.h"
#include "dump.h"
#include "os.h"
#include "unwind.h"
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define LOOKS_PER_THRESHOLD 4
#define LOOK_NS_MIN INT64_C(1000000)
#define ANSWER_NS INT64_C(200000000) /* how long the thread is given to be scheduled */
#define ANSWER_STEP_NS INT64_C(100000)
#define COPY_BYTES ((size_t)64 << 10)
#define PAGE_BYTES ((uintptr_t)4096)

enum { IDLE, ASKED, COPYING, COPIED };

static struct {
    pthread_mutex_t lock; /* one question at a time; for users and old too */
    unsigned users;
    struct sigaction old;
    _Atomic int state;
    _Atomic pthread_t asked;
    struct nxi_registers registers;
    bool known;
    struct nxi_stack_copy copy;
    unsigned char *bytes;
} buffer = {.lock = PTHREAD_MUTEX_INITIALIZER};

static _Atomic int stall_signal;

struct nxi_stall {
    struct nx_runtime *runtime;
    int64_t threshold_ns;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ending; /* under lock */
    struct watched {
        uint64_t switches;
        nx_time since; /* it was seen first */
        bool told;
    } watched[NXI_WORKERS_MAX];
};

/* ---- on the worker's thread ---- */

/* Down to the end of the mapping or of the buffer: page by page, as nobody says where the stack ends. */
static size_t copy_stack(uintptr_t low)
{
    size_t size = 0;
    while (size < COPY_BYTES) {
        uintptr_t at = low + size, end = (at | (PAGE_BYTES - 1)) + 1;
        size_t chunk = end - at < COPY_BYTES - size ? end - at : COPY_BYTES - size;
        if (!nxi_snoop(buffer.bytes + size, (const void *)at, chunk))
            break;
        size += chunk;
    }
    return size;
}

static void handle(int signo, siginfo_t *info, void *context)
{
    int expected = ASKED;
    (void)signo;
    if (!nxi_os_signal_sent_here(info) || atomic_load(&buffer.state) != ASKED ||
        !pthread_equal(atomic_load(&buffer.asked),
                       pthread_self()) || /* somebody else's signal, which found another thread */
        !atomic_compare_exchange_strong(&buffer.state, &expected, COPYING))
        return;
    buffer.known = nxi_registers_of_signal(&buffer.registers, context);
    uintptr_t low = buffer.registers.of[7] - 128; /* the red zone */
    buffer.copy.low = low;
    buffer.copy.bytes = buffer.bytes;
    buffer.copy.size = buffer.known ? copy_stack(low) : 0;
    atomic_store(&buffer.state, COPIED);
}

/* ---- the signal ---- */

/* A signal that nobody has a handler for. */
int nxi_stall_signal(void)
{
    int chosen = atomic_load(&stall_signal);
    for (int signo, turn = 0; chosen == 0 && (signo = nxi_os_signal_spare(turn)) > 0; turn++) {
        struct sigaction action;
        if (sigaction(signo, NULL, &action) < 0 || action.sa_flags & SA_SIGINFO || action.sa_handler != SIG_DFL)
            continue;
        int none = 0;
        chosen = atomic_compare_exchange_strong(&stall_signal, &none, signo) ? signo : none;
    }
    return chosen;
}

/* The program may have put a handler of its own over ours: that stays, and is not called by us. */
static bool still_ours(void)
{
    struct sigaction now;
    return sigaction(atomic_load(&stall_signal), NULL, &now) == 0 && now.sa_flags & SA_SIGINFO &&
           now.sa_sigaction == handle;
}

static int use_buffer(void)
{
    struct sigaction action = {.sa_sigaction = handle, .sa_flags = SA_SIGINFO | SA_RESTART | SA_ONSTACK};
    int signo = nxi_stall_signal(), error = signo > 0 ? 0 : -EBUSY;
    pthread_mutex_lock(&buffer.lock);
    if (error == 0 && buffer.users == 0) {
        buffer.bytes = nxi_alloc(COPY_BYTES);
        error = buffer.bytes ? 0 : -ENOMEM;
        sigfillset(&action.sa_mask);
        if (error == 0 && sigaction(signo, &action, &buffer.old) < 0)
            error = -errno;
        if (error < 0)
            nxi_free(buffer.bytes, COPY_BYTES);
    }
    buffer.users += error == 0;
    pthread_mutex_unlock(&buffer.lock);
    return error;
}

static void unuse_buffer(void)
{
    pthread_mutex_lock(&buffer.lock);
    if (--buffer.users == 0) {
        /* A signal that a thread has not taken yet finds the state IDLE, or is ignored: never the default, to end. */
        struct sigaction ignore = {.sa_handler = SIG_IGN};
        if (still_ours()) {
            sigaction(atomic_load(&stall_signal), &ignore, NULL);
            sigaction(atomic_load(&stall_signal), &buffer.old, NULL);
        }
        nxi_free(buffer.bytes, COPY_BYTES);
    }
    pthread_mutex_unlock(&buffer.lock);
}

/* ---- the watchdog ---- */

static void nap(void)
{
    struct timespec time = {.tv_nsec = ANSWER_STEP_NS};
    nanosleep(&time, NULL);
}

/* Asks the thread where it is: how many program counters. */
static int ask(struct nxi_worker *worker, uintptr_t *ret_pcs, int max)
{
    int count = 0;
    pthread_mutex_lock(&buffer.lock);
    atomic_store(&buffer.asked, worker->thread);
    atomic_store(&buffer.state, ASKED);
    nx_time until = nxi_clock() + ANSWER_NS;
    if (still_ours() && pthread_kill(worker->thread, atomic_load(&stall_signal)) == 0)
        while (atomic_load(&buffer.state) != COPIED && nxi_clock() < until)
            nap();
    int expected = ASKED;
    if (!atomic_compare_exchange_strong(&buffer.state, &expected, IDLE)) {
        while (atomic_load(&buffer.state) != COPIED) /* ends: the handler is copying */
            nap();
        if (buffer.known)
            count = nxi_unwind(&buffer.registers, &buffer.copy, ret_pcs, max);
        atomic_store(&buffer.state, IDLE);
    }
    pthread_mutex_unlock(&buffer.lock);
    return count;
}

struct culprit {
    const struct nxi_worker *worker;
    char name[64];
    uint64_t id;
};

static void find_running(void *arg, struct nxi_task *task, uint64_t ctl)
{
    struct culprit *culprit = arg;
    if (atomic_load_explicit(&task->state, memory_order_relaxed) != NXI_RUNNING || ctl & NXI_CTL_RETIRE ||
        atomic_load_explicit(&task->worker, memory_order_relaxed) != culprit->worker)
        return;
    culprit->id = ctl >> 32 << 32 | task->slot;
    nxi_task_label(task, culprit->name, sizeof(culprit->name));
}

static void report(struct nxi_stall *stall, struct nxi_worker *worker, int64_t held_ns)
{
    struct culprit culprit = {.worker = worker};
    uintptr_t pcs[NXI_FRAMES_MAX];
    char text[900];
    int length = 0, count;
    nxi_tasks_each(stall->runtime, find_running, &culprit);
    if (!culprit.id)
        return;
    count = ask(worker, pcs, NXI_FRAMES_MAX);
    struct nxi_symbols *symbols = count > 0 ? nxi_symbols_open() : NULL;
    text[0] = '\0';
    for (int i = 0; symbols && i < count && length < (int)sizeof(text) - 1; i++) {
        const char *name;
        length += snprintf(text + length, sizeof(text) - (size_t)length, "%s%s", i ? " < " : "",
                           nxi_symbols_describe(symbols, pcs[i], i > 0, &name));
    }
    nxi_symbols_close(symbols);
    nxi_log(stall->runtime, NX_LOG_WARN, "task %s has held worker %u for %lld ms; it is in: %s", culprit.name,
            worker->index, (long long)(held_ns / 1000000), *text ? text : "(its thread does not answer)");
}

static void look_at(struct nxi_stall *stall, struct nxi_worker *worker)
{
    struct watched *watched = &stall->watched[worker->index];
    uint64_t switches = nxi_counted(&worker->counters.switches);
    nx_time now = nxi_clock();
    if (switches != watched->switches || watched->since == 0 ||
        atomic_load_explicit(&worker->state, memory_order_relaxed) == NXI_WORKER_PARKED) {
        *watched = (struct watched){.switches = switches, .since = now};
        return;
    }
    if (watched->told || now - watched->since < stall->threshold_ns)
        return;
    watched->told = true;
    report(stall, worker, now - watched->since);
}

static void *watch_main(void *arg)
{
    struct nxi_stall *stall = arg;
    int64_t step = stall->threshold_ns / LOOKS_PER_THRESHOLD;
    step = step > LOOK_NS_MIN ? step : LOOK_NS_MIN;
    nxi_os_thread_name("nexus-stall");
    pthread_mutex_lock(&stall->lock);
    while (!stall->ending) {
        nxi_os_cond_wait_until(&stall->changed, &stall->lock, nxi_clock() + step);
        pthread_mutex_unlock(&stall->lock);
        for (uint32_t i = 0; i < stall->runtime->worker_count; i++)
            look_at(stall, stall->runtime->workers[i]);
        pthread_mutex_lock(&stall->lock);
    }
    pthread_mutex_unlock(&stall->lock);
    return NULL;
}

static int start_thread(struct nxi_stall *stall)
{
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int error = -pthread_create(&stall->thread, NULL, watch_main, stall);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error;
}

int nxi_stall_start(struct nx_runtime *runtime, int64_t threshold_ns, struct nxi_stall **ret_stall)
{
    struct nxi_stall *stall = nxi_alloc(sizeof(*stall));
    if (!stall)
        return -ENOMEM;
    stall->runtime = runtime;
    stall->threshold_ns = threshold_ns;
    pthread_mutex_init(&stall->lock, NULL);
    nxi_os_cond_init(&stall->changed);
    int error = use_buffer();
    if (error == 0) {
        error = start_thread(stall);
        if (error == 0) {
            *ret_stall = stall;
            return 0;
        }
        unuse_buffer();
    }
    pthread_cond_destroy(&stall->changed);
    pthread_mutex_destroy(&stall->lock);
    nxi_free(stall, sizeof(*stall));
    return error;
}

void nxi_stall_stop(struct nxi_stall *stall)
{
    if (!stall)
        return;
    pthread_mutex_lock(&stall->lock);
    stall->ending = true;
    pthread_cond_signal(&stall->changed);
    pthread_mutex_unlock(&stall->lock);
    pthread_join(stall->thread, NULL);
    unuse_buffer();
    pthread_cond_destroy(&stall->changed);
    pthread_mutex_destroy(&stall->lock);
    nxi_free(stall, sizeof(*stall));
}
