/*
 * os.h: what systems do differently, each thing behind one function in a file of its own. Linux has what the core is
 * made for; the others do the same by what they have. doc/design/portability.md lists it, and what can't be had where.
 *
 * 0 or -errno, unless said otherwise.
 */
#ifndef NXI_OS_H
#define NXI_OS_H

#include <nexus/base.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* ---- os_fd.c: descriptors that are close-on-exec from the start, or as soon as the system can ---- */

int nxi_os_pipe(int ret_ends[2], bool nonblock);
int nxi_os_socketpair(int ret_fds[2]);

/* Wakes a thread that reads or polls `ear`. An eventfd, of which both ends are the same descriptor, or a pipe. Ringing
 * is async-signal-safe and never waits; each read of the ear takes all rings up to then, or waits if it was opened to
 * wait. */
struct nxi_bell {
    int ear, rope;
};
#define NXI_BELL_NONE ((struct nxi_bell){-1, -1})

int nxi_bell_open(struct nxi_bell *ret_bell, bool nonblock);
void nxi_bell_close(struct nxi_bell *bell);
void nxi_bell_ring(int rope);
bool nxi_bell_hear(int ear); /* false: there was no ring */

/* ---- os_thread.c ---- */

void nxi_os_thread_name(const char *name);                  /* of the calling thread; the system may cut it */
void nxi_os_thread_exact_timers(void);                      /* its sleeps are not prolonged to save power */
void nxi_os_thread_stack(void **ret_low, size_t *ret_size); /* of the calling thread; NULL, 0: not known */
size_t nxi_os_signal_frame_size(void);                      /* what the kernel puts on a signal stack at most */

/* A condition whose deadlines are those of nx_now(). */
int nxi_os_cond_init(pthread_cond_t *cond);
int nxi_os_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, nx_time deadline); /* 0 or ETIMEDOUT */

/* ---- os_pages.c: memory of task stacks ---- */

void *nxi_os_stacks_map(size_t size);           /* zeros, that cost nothing until they are written; NULL: none left */
void nxi_os_pages_drop(void *low, size_t size); /* gives the memory back and leaves zeros; locked memory may stay */
bool nxi_os_pages_resident(void *low, size_t page_count, unsigned char *ret_resident); /* [i] & 1; false: unknown */
size_t nxi_os_mappings_max(void);

/* ---- os_program.c ---- */

/* The running program's file, as the system names it now. */
int nxi_os_program(char *ret_path, size_t size);

/* ---- os_snoop.c ---- */

/* Copies memory of this process that may change or vanish meanwhile: the kernel reads it, so that nothing faults. All
 * of it or false. Async-signal-safe. */
bool nxi_snoop(void *to, const void *from, size_t size);

/* ---- os_random.c ---- */

bool nxi_os_random(void *ret_bytes, size_t size); /* false: a sandbox denies it */

/* ---- os_signal.c ---- */

int nxi_os_signal_max(void);
bool nxi_os_signal_reserved(int signo);              /* the C library's own, or no signal */
bool nxi_os_signal_sent_here(const siginfo_t *info); /* may be by pthread_kill of this process */
bool nxi_os_signal_of_fault(const siginfo_t *info);  /* an instruction's doing, not somebody's kill(2) */
int nxi_os_signal_spare(int turn);                   /* signals that programs leave alone, best first; 0: no more */

/* ---- os_context.c ---- */

struct nxi_os_context {
    uintptr_t pc, sp, fp; /* fp: the frame pointer's register */
};

/* Where a signal has stopped this thread: context is the handler's third argument. False: this machine isn't known. */
bool nxi_os_context(const void *context, struct nxi_os_context *ret);

/* ---- os_child.c: a child process by a descriptor that is readable when the child has ended ---- */

struct nxi_child {
    pid_t pid;
    int fd; /* a pidfd, or a kqueue that watches for the end */
};

int nxi_child_open(pid_t pid, struct nxi_child *ret_child); /* -ECHILD: it has ended, and somebody has reaped it */
bool nxi_child_ended(const struct nxi_child *child);
int nxi_child_reap(const struct nxi_child *child, int *ret_status); /* -EAGAIN: it runs; -ECHILD as above */
int nxi_child_kill(const struct nxi_child *child, int signo);       /* a child that has not been reaped */
void nxi_child_forget(const struct nxi_child *child);               /* a parent's child, in a forked process */

/* Waits until one of them ends, or the ear's bell is rung, and takes the rings. Maybe less long; of none: a second. */
void nxi_children_wait(const struct nxi_child *children, size_t count, int ear);

/* ---- os_spawn.c ---- */

struct nxi_spawn {
    const char *const *argv; /* argv[0] is looked for in PATH */
    const char *const *envp;
    const char *cwd; /* NULL: as ours */
    int stdio[3];    /* above 2, or -1: as ours */
    bool err_as_out; /* stderr goes where stdout goes */
    bool new_session;
};

/* All other descriptors are closed in the child, all signals are unblocked and have their default. What fails before
 * the program runs, exec included, is the result. */
int nxi_os_spawn(const struct nxi_spawn *what, pid_t *ret_pid);

#endif
