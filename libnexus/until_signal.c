/*
 * until_signal.c: nx_until_signal.
 *
 * The calling task waits for signals; its child, when it has ended, sets a flag and rouses it. From the first signal
 * on, or a cancel, the caller is shielded: whatever comes, it waits for the child or ends the process. So does a caller
 * that panics in on_signal: the child works with what is on the caller's stack.
 */
#include "signals.h"

#define DRAIN_DEFAULT_NS (30 * INT64_C(1000000000))

struct guarded {
    nx_task_fn fn;
    void *arg;
    struct nxi_signals signals;
    nx_task child;
    atomic_bool ended;
};

static void note_end(void *arg)
{
    struct guarded *guarded = arg;
    atomic_store(&guarded->ended, true);
    nxi_signals_rouse(&guarded->signals); /* the caller joins us before it closes them */
}

static intptr_t run_guarded(void *arg)
{
    struct guarded *guarded = arg;
    bool deferred = nx_defer(note_end, guarded) == 0; /* so that a panic comes by there too */
    intptr_t result = guarded->fn(guarded->arg);
    if (!deferred)
        note_end(guarded);
    return result;
}

static _Noreturn void force(struct guarded *guarded, int signo, bool late)
{
    char child[64] = "";
    nx_task_name(guarded->child, child, sizeof(child));
    if (late)
        nxi_log(nxi_self()->runtime, NX_LOG_WARN,
                "not drained in time after signal %d: the task %s%sis still there; ending", signo, child,
                *child ? " " : "");
    nxi_signals_end_process(signo);
}

/* Until the child has ended: the first signal's number, 0, or why the caller gave up. The caller is shielded then. */
static int watch(struct guarded *guarded, const nx_until_signal_options *options)
{
    nx_time deadline = NX_FOREVER;
    int first = 0, error = 0;
    for (;;) { /* ends with the child, or at the second signal, or at the deadline */
        int next = nxi_signals_next(&guarded->signals, &guarded->ended, deadline);
        nx_shield(NX_FOREVER);
        if (next == 0)
            return first > 0 ? first : error;
        bool over = next == -ETIMEDOUT || next == -ECANCELED;
        if (first > 0 && (next > 0 || over)) /* again, or the time is up */
            force(guarded, next > 0 ? next : first, next <= 0);
        nx_cancel(guarded->child);
        if (next < 0) {
            error = next;
            if (over)
                continue;
            return first > 0 ? first : error; /* out of memory: it can't watch, only wait for the child */
        }
        first = next;
        if (options->on_signal)
            options->on_signal(first, options->arg);
        if (options->drain_ns >= 0)
            deadline = nx_after_ns(options->drain_ns > 0 ? options->drain_ns : DRAIN_DEFAULT_NS);
    }
}

/* The child's end, or -NX_EPANIC. */
static int take_result(nx_task child, intptr_t *ret_result)
{
    intptr_t result;
    int error = nx_join(child, &result, NX_FOREVER);
    if (error < 0)
        nx_detach(child);
    else if (ret_result)
        *ret_result = result;
    return error;
}

/* The caller has panicked. */
static void abandon(void *arg)
{
    struct guarded *guarded = arg;
    nx_shield(NX_FOREVER);
    nx_cancel(guarded->child);
    take_result(guarded->child, NULL);
    nxi_signals_guard(&guarded->signals, false);
    nxi_signals_close(&guarded->signals);
}

static int watch_guarded(struct guarded *guarded, const nx_until_signal_options *options)
{
    struct nxi_defer guard;
    int result = nxi_guard(&guard, abandon, guarded); /* the cold part is there: it doesn't fail */
    if (result < 0)
        return result;
    result = watch(guarded, options);
    nxi_unguard(&guard);
    return result;
}

static int run(const sigset_t *set, struct guarded *guarded, const nx_until_signal_options *options,
               intptr_t *ret_result)
{
    int error = nxi_signals_open(set, &guarded->signals);
    if (error < 0)
        return error;
    nx_time shield = nxi_self()->current->cold->shield;
    nxi_signals_guard(&guarded->signals, true);
    guarded->child = nx_spawn(run_guarded, guarded);
    int result = guarded->child < 0 ? (int)guarded->child : watch_guarded(guarded, options);
    if (guarded->child > 0) {
        error = take_result(guarded->child, result >= 0 ? ret_result : NULL);
        nx_shield(shield);
    }
    nxi_signals_guard(&guarded->signals, false);
    nxi_signals_close(&guarded->signals);
    return error < 0 ? error : result;
}

int nx_until_signal(const nx_until_signal_options *given, nx_task_fn fn, void *arg, intptr_t *ret_result)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    nx_until_signal_options options;
    if (!worker)
        return nxi_no_task();
    if (!fn || nxi_options_copy(&options, sizeof(options), given) < 0)
        return -EINVAL;
    if (nxi_task_cancelled(worker->current)) {
        nxi_charge(worker);
        return -ECANCELED;
    }
    if (!nxi_task_cold(worker->current)) /* for the shield */
        return -ENOMEM;
    struct guarded guarded = {.fn = fn, .arg = arg};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    return run(options.signals ? options.signals : &set, &guarded, &options, ret_result);
}
