/*
 * signal.c: nx_signal_wait.
 *
 * A handler, installed by the first wait for a signal, notes it in a bit of `pending` and writes a byte to the pipe of
 * every waiter; a waiter takes bits of its set and otherwise waits for its pipe to become readable. Pipes are kept in a
 * small table and never closed while a handler may be running, so that a byte never goes to a descriptor that has
 * become something else. When the process' last runtime is gone, dispositions and pipes are given back.
 */
#include "os.h"
#include "signals.h"
#include <fcntl.h>
#include <nexus/net.h>
#include <nexus/process.h>
#include <signal.h>
#include <unistd.h>

#define SIGNALS_MAX 64
#define PIPES_MAX 64

static _Atomic uint64_t pending;          /* bit n - 1: signal n */
static _Atomic int write_ends[PIPES_MAX]; /* descriptor + 1; 0: none */
static _Atomic int handlers;              /* running now */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* for the rest */
static int read_ends[PIPES_MAX];
static bool in_use[PIPES_MAX];
static struct sigaction previous[SIGNALS_MAX];
static uint64_t installed;

/* For nx_until_signal: its second signal ends the process here, in the handler, if its task has not done so within
 * PATIENCE_NS: its worker may be stuck. With several such calls at once each signal is one task's, and this is off. */
#define PATIENCE_NS (200 * INT64_C(1000000))
static _Atomic uint64_t last_resort; /* signals */
static _Atomic int64_t first_at;     /* 0: none yet */
static atomic_int guard_count;

static uint64_t bit_of(int signo)
{
    return UINT64_C(1) << (signo - 1);
}

void nxi_signals_guard(const struct nxi_signals *signals, bool on)
{
    int others = on ? atomic_fetch_add(&guard_count, 1) : atomic_fetch_sub(&guard_count, 1) - 1;
    atomic_store(&last_resort, 0);
    atomic_store(&first_at, 0);
    if (on && others == 0)
        atomic_store(&last_resort, signals->bits);
}

_Noreturn void nxi_signals_end_process(int signo)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signo);
    sigemptyset(&action.sa_mask);
    sigaction(signo, &action, NULL);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
    raise(signo);
    _exit(128 + signo); /* its default is not to end anything */
}

/* In the handler. */
static void count_for_guard(int signo)
{
    int64_t none = 0, now = nxi_clock();
    if (!(atomic_load(&last_resort) & bit_of(signo)) || atomic_compare_exchange_strong(&first_at, &none, now))
        return;
    if (now - none > PATIENCE_NS)
        nxi_signals_end_process(signo);
}

static void handler(int signo)
{
    int saved = errno;
    if (nxi_forked()) { /* the child has nobody who would wait for it */
        sigaction(signo, &previous[signo - 1], NULL);
        raise(signo);
        errno = saved;
        return;
    }
    count_for_guard(signo);
    atomic_fetch_add(&handlers, 1);
    atomic_fetch_or(&pending, bit_of(signo));
    for (int i = 0; i < PIPES_MAX; i++) {
        int fd = atomic_load(&write_ends[i]) - 1;
        ssize_t ignored = fd >= 0 ? write(fd, "", 1) : 0; /* full: it is readable anyway */
        (void)ignored;
    }
    atomic_fetch_sub(&handlers, 1);
    errno = saved;
}

/* The signals of the set as bits; 0 if one of them can't be waited for. */
static uint64_t bits_of(const sigset_t *set)
{
    uint64_t bits = 0;
    for (int signo = 1; signo <= nxi_os_signal_max(); signo++) {
        if (sigismember(set, signo) != 1)
            continue;
        if (signo > SIGNALS_MAX || signo == SIGKILL || signo == SIGSTOP || signo == SIGSEGV || signo == SIGBUS ||
            signo == SIGFPE || signo == SIGILL || signo == SIGTRAP || nxi_os_signal_reserved(signo))
            return 0;
        bits |= bit_of(signo);
    }
    return bits;
}

/* The lock is held. */
static int install(uint64_t bits)
{
    for (int signo = 1; signo <= SIGNALS_MAX; signo++) {
        struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART | SA_ONSTACK};
        if (!(bits & ~installed & bit_of(signo)))
            continue;
        sigfillset(&action.sa_mask);
        if (sigaction(signo, &action, &previous[signo - 1]) < 0)
            return -errno;
        installed |= bit_of(signo);
    }
    return 0;
}

/* A pipe nobody uses, made when there is none. The lock is held. */
static int take_pipe(void)
{
    int ends[2], error;
    for (int i = 0; i < PIPES_MAX; i++) {
        if (in_use[i])
            continue;
        if (atomic_load(&write_ends[i]) == 0) {
            error = nxi_os_pipe(ends, true);
            if (error < 0)
                return error;
            read_ends[i] = ends[0];
            atomic_store(&write_ends[i], ends[1] + 1);
        }
        in_use[i] = true;
        return i;
    }
    return -EAGAIN;
}

static void empty_pipe(int fd)
{
    char buffer[64];
    while (read(fd, buffer, sizeof(buffer)) > 0)
        ;
}

/* Takes one pending signal of the set; 0: none. */
static int take_pending(uint64_t bits)
{
    uint64_t seen = atomic_load(&pending);
    while (seen & bits) {
        int signo = __builtin_ctzll(seen & bits) + 1;
        if (atomic_compare_exchange_weak(&pending, &seen, seen & ~bit_of(signo)))
            return signo;
    }
    return 0;
}

int nxi_signals_open(const sigset_t *set, struct nxi_signals *ret_signals)
{
    uint64_t bits = bits_of(set);
    if (bits == 0)
        return -EINVAL;
    pthread_mutex_lock(&lock);
    int error = install(bits);
    int index = error < 0 ? error : take_pipe();
    if (index >= 0)
        *ret_signals = (struct nxi_signals){.bits = bits, .pipe = index, .fd = read_ends[index]};
    pthread_mutex_unlock(&lock);
    return index < 0 ? index : 0;
}

int nxi_signals_next(const struct nxi_signals *signals, const atomic_bool *other, nx_time deadline)
{
    for (;;) { /* another waiter may have taken what woke this one */
        empty_pipe(signals->fd);
        int signo = take_pending(signals->bits);
        if (signo > 0 || (other && atomic_load(other)))
            return signo;
        int error = nx_fd_wait(signals->fd, NX_READABLE, deadline);
        if (error < 0)
            return error;
    }
}

/* The pipe is in use, so it is not being closed. */
void nxi_signals_rouse(const struct nxi_signals *signals)
{
    ssize_t ignored = write(atomic_load(&write_ends[signals->pipe]) - 1, "", 1);
    (void)ignored;
}

void nxi_signals_close(const struct nxi_signals *signals)
{
    pthread_mutex_lock(&lock);
    in_use[signals->pipe] = false;
    pthread_mutex_unlock(&lock);
}

int nx_signal_wait(const sigset_t *set, int *ret_signo, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_signals signals;
    if (!nxi_in_task())
        return nxi_no_task();
    if (!set || !ret_signo)
        return -EINVAL;
    nxi_charge(nxi_self());
    int error = nxi_task_cancelled(nxi_self()->current) ? -ECANCELED : nxi_signals_open(set, &signals);
    if (error < 0)
        return error;
    int signo = nxi_signals_next(&signals, NULL, deadline);
    nxi_signals_close(&signals);
    if (signo < 0)
        return signo;
    *ret_signo = signo;
    return 0;
}

void nxi_signals_restore(void)
{
    pthread_mutex_lock(&lock);
    struct sigaction now;
    for (int signo = 1; signo <= SIGNALS_MAX; signo++) /* a handler that was put over ours meanwhile stays */
        if (installed & bit_of(signo) && sigaction(signo, NULL, &now) == 0 && now.sa_handler == handler)
            sigaction(signo, &previous[signo - 1], NULL);
    installed = 0;
    for (int i = 0; i < PIPES_MAX; i++) {
        int fd = atomic_exchange(&write_ends[i], 0) - 1;
        if (fd < 0)
            continue;
        while (atomic_load(&handlers) > 0)
            sched_yield();
        close(fd);
        close(read_ends[i]);
    }
    atomic_store(&pending, 0);
    pthread_mutex_unlock(&lock);
}
