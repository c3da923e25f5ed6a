/*
 * nxt.h: help for tests that run tasks. A program is some NXT_TASK_TEST, NXT_TEST and NXT_CHILD and nothing else: main
 * is in the library (runner.c), and what is defined is run, in order.
 *
 *   NXT_TASK_TEST(a_child_runs_when_its_parent_parks, .workers = 2)
 *   {
 *       nx_task child = nx_spawn(answer, NULL);
 *       nxt_require(child > 0);
 *       intptr_t result = 0;
 *       nxt_expect_eq(nx_join(child, &result, NX_FOREVER), 0);
 *       nxt_expect_eq(result, 42);
 *   }
 *
 * The body runs as a task of a fresh runtime, on the driver and the scheduler that NEXUS_BACKEND and NEXUS_SCHED name;
 * no test names one. CMocka's own asserts kill the process without a report on any thread but the main one, so tasks
 * record: nxt_expect... may be called from anywhere, and the main thread fails the case once the body has been joined.
 *
 * Around each case: open file descriptors, threads, the library's live bytes, live tasks and unjoined ids must be the
 * same after as before. A case that does not end in time ends the program, after saying which it was and where it
 * stands.
 */
#ifndef NXT_H
#define NXT_H

#include <errno.h>
#include <nexus/nexus.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#if defined(__SANITIZE_ADDRESS__)
#define NXT_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NXT_ASAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define NXT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define NXT_TSAN 1
#endif
#endif
#ifndef NXT_ASAN
#define NXT_ASAN 0
#endif
#ifndef NXT_TSAN
#define NXT_TSAN 0
#endif

#define NXT_COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* ---- cases (runner.c) ---- */

struct nxt_case {
    const char *name;
    void (*body)(void);
    bool in_task;
    nx_runtime_options options;
    struct nxt_case *next;
};
void nxt_register_case(struct nxt_case *test);

#define NXT_CASE_(test, as_task, ...)                                                                                  \
    static void test(void);                                                                                            \
    __attribute__((constructor)) static void register_##test(void)                                                     \
    {                                                                                                                  \
        static struct nxt_case self = {                                                                                \
            .name = #test, .body = test, .in_task = as_task, .options = {.size = sizeof(self.options), __VA_ARGS__}};  \
        nxt_register_case(&self);                                                                                      \
    }                                                                                                                  \
    static void test(void)

/* A case whose body is a task of a runtime with these nx_runtime_options. Without .workers it has one worker. */
#define NXT_TASK_TEST(test, ...) NXT_CASE_(test, true, __VA_ARGS__)

/* A case on the main thread, without a runtime: it makes its own with nxt_start(). */
#define NXT_TEST(test) NXT_CASE_(test, false, .flags = 0)

/* The runtime of the NXT_TASK_TEST that is running. */
nx_runtime *nxt_runtime(void);

/* A runtime as the cases get it: one worker unless options say otherwise, logging to nxt_log. NULL if it fails. */
nx_runtime *nxt_start(const nx_runtime_options *options);
#define NXT_OPTIONS(...) (&(const nx_runtime_options){.size = sizeof(nx_runtime_options), __VA_ARGS__})
/* Audits its tasks (none is live, no id is left), and destroys it. */
void nxt_stop(nx_runtime *runtime);
/* Before a case destroys one of nxt_start()'s itself. */
void nxt_forget(nx_runtime *runtime);

/* The present case can't run here: says why, and once the body has returned the case counts as skipped. */
void nxt_skip(const char *format, ...) NX_PRINTF(1, 2);

/* The scheduler of the cell steals: decided by NEXUS_SCHED. For skipping, not for other expectations. */
bool nxt_cell_steals(void);

/* NXT_SCALE (1 is full size) times full, but at least least. */
double nxt_scale(void);
int64_t nxt_scaled(int64_t full, int64_t least);

/* What runtimes from nxt_start() have logged during this case. Also: .log = nxt_log. */
void nxt_log(void *arg, int level, const char *message);
bool nxt_logged(const char *part);

/* ---- expectations (expect.c): any task, any thread. Each is true if it holds, else records where and what. ---- */

#define nxt_expect(condition) ((condition) ? true : nxt_fail(__FILE__, __LINE__, "%s", #condition))
#define nxt_expect_eq(actual, expected) NXT_COMPARE_(actual, ==, expected)
#define nxt_expect_ne(actual, unexpected) NXT_COMPARE_(actual, !=, unexpected)
#define nxt_expect_lt(actual, limit) NXT_COMPARE_(actual, <, limit)
#define nxt_expect_le(actual, limit) NXT_COMPARE_(actual, <=, limit)
#define nxt_expect_gt(actual, limit) NXT_COMPARE_(actual, >, limit)
#define nxt_expect_ge(actual, limit) NXT_COMPARE_(actual, >=, limit)
#define nxt_expect_str(actual, expected) nxt_check_str(__FILE__, __LINE__, #actual, actual, expected)
#define nxt_expect_contains(text, part) nxt_check_contains(__FILE__, __LINE__, #text, text, part)
#define nxt_expect_mem(actual, expect, len) nxt_check_mem(__FILE__, __LINE__, #actual, actual, expect, len)

/* The same, and returns from the calling function: nxt_require(p), or nxt_require(p, value) where it has a result. */
#define nxt_require(condition, ...)                                                                                    \
    do {                                                                                                               \
        if (!nxt_expect(condition))                                                                                    \
            return __VA_ARGS__;                                                                                        \
    } while (0)
#define nxt_require_eq(actual, expected, ...)                                                                          \
    do {                                                                                                               \
        if (!nxt_expect_eq(actual, expected))                                                                          \
            return __VA_ARGS__;                                                                                        \
    } while (0)

bool nxt_fail(const char *file, int line, const char *format, ...) NX_PRINTF(3, 4); /* false */
bool nxt_check_str(const char *file, int line, const char *expression, const char *actual, const char *expected);
bool nxt_check_contains(const char *file, int line, const char *expression, const char *text, const char *part);
bool nxt_check_mem(const char *file, int line, const char *expression, const void *actual, const void *expected,
                   size_t size);
bool nxt_failed_compare(const char *file, int line, const char *expression, int64_t left, int64_t right);

#define NXT_COMPARE_(left, op, right)                                                                                  \
    ({                                                                                                                 \
        int64_t nxt_left = (int64_t)(left), nxt_right = (int64_t)(right);                                              \
        nxt_left op nxt_right ? true                                                                                   \
                              : nxt_failed_compare(__FILE__, __LINE__, #left " " #op " " #right, nxt_left, nxt_right); \
    })

unsigned nxt_failures(void); /* recorded in this case so far */

/* ---- waiting ---- */

/* Waits until the condition, which somebody else makes true, holds: a task yields and naps, a thread likewise. Works in
 * a cancelled task. There is no timeout: the case's own ends it. */
#define nxt_await(condition)                                                                                           \
    do {                                                                                                               \
        for (unsigned nxt_turn = 0; !(condition); nxt_turn++)                                                          \
            nxt_pause(nxt_turn);                                                                                       \
    } while (0)
void nxt_pause(unsigned turn);

nx_time nxt_clock(void);    /* CLOCK_MONOTONIC, not by way of the library */
int64_t nxt_cpu_time(void); /* ns of the process, user and system */
/* While it sleeps the process uses less CPU time than limit (ns; ten times that under a sanitizer). Once in three is
 * enough: the end of what was before reaches into the first, and a host may charge what it gave to others. */
void nxt_expect_idle(int (*sleep)(int64_t ms), int64_t ms, int64_t limit);
void nxt_burn(int64_t ns);           /* holds the calling thread */
int nxt_thread_id(void);             /* gettid */
uint64_t nxt_random(uint64_t *seed); /* a small generator; a seed of 0 is fine */

/* ---- plain threads ---- */

struct nxt_thread;
/* NULL after recording why. The function's result is nxt_thread_join's. */
struct nxt_thread *nxt_thread_start(intptr_t (*fn)(void *arg), void *arg);
/* Blocks the caller, a task too: let the thread have finished what needs this worker (nxt_thread_ended). */
intptr_t nxt_thread_join(struct nxt_thread *thread);
bool nxt_thread_ended(const struct nxt_thread *thread);
/* From a task: waits as nxt_await does, then joins. */
intptr_t nxt_thread_await(struct nxt_thread *thread);

/* ---- child processes (child.c): a function of this program in a fresh process, as fork(2) would not do ---- */

struct nxt_child {
    const char *name;
    int (*body)(void);
    struct nxt_child *next;
};
void nxt_register_child(struct nxt_child *child);

/* Its result is the exit status; a failed expectation makes that NXT_CHILD_FAILED. Nothing is audited in it. */
#define NXT_CHILD(child)                                                                                               \
    static int child(void);                                                                                            \
    __attribute__((constructor)) static void register_##child(void)                                                    \
    {                                                                                                                  \
        static struct nxt_child self = {.name = #child, .body = child};                                                \
        nxt_register_child(&self);                                                                                     \
    }                                                                                                                  \
    static int child(void)
#define NXT_CHILD_FAILED 99

struct nxt_output {
    int status;                  /* exit status, or -1 */
    int signal;                  /* that ended it, or 0 */
    char out[16384], err[65536]; /* cut */
};
/* Runs NXT_CHILD(child) with these changes to the environment ("NAME=value", or "NAME" to unset it; NULL ends the list;
 * or NULL) and waits for its end. Blocks the calling thread. */
#define nxt_run_child(child, changes, ret_output) nxt_run_child_named(#child, changes, ret_output)
void nxt_run_child_named(const char *name, const char *const *changes, struct nxt_output *ret_output);
/* Prints what a child wrote as comments: for a case that is about to fail. */
void nxt_show_output(const struct nxt_output *output);

/* The whole program in a child, only the case of this name, which is one of NXT_HIDDEN_TEST: what it said, as TAP. */
void nxt_run_hidden_case(const char *name, const char *const *changes, struct nxt_output *ret_output);

/* Cases that only nxt_run_hidden_case runs: those that must fail. */
#define NXT_HIDDEN_TASK_TEST(test, ...) NXT_CASE_(test, true, .log_arg = nxt_hidden, __VA_ARGS__)
#define NXT_HIDDEN_TEST(test) NXT_CASE_(test, false, .log_arg = nxt_hidden)
extern char nxt_hidden[1];

/* ---- loopback sockets and data (net.c): plain blocking calls, for threads that play the peer ---- */

int nxt_listen(int backlog, uint16_t *ret_port); /* on 127.0.0.1; fd, or -1 after recording why */
int nxt_connect(uint16_t port);
int nxt_accept(int fd);
bool nxt_socketpair(int ret_fds[2]); /* AF_UNIX, SOCK_STREAM, close on exec */
bool nxt_pipe(int ret_fds[2]);
bool nxt_write_all(int fd, const void *data, size_t len); /* false at the first error, not recorded */
ssize_t nxt_read_all(int fd, void *data, size_t len);     /* until len or end of stream; what came, or -errno */
void nxt_close_fd(int *fd);                               /* once; then it is -1 */
/* "127.0.0.1:port" in a static buffer of the calling thread. */
const char *nxt_loopback(uint16_t port);
/* Bytes that depend on their position and the seed, so that a lost, doubled or moved byte shows. */
void nxt_fill(void *data, size_t len, uint64_t offset, uint32_t seed);
/* The index of the first byte that is not nxt_fill's, or len. */
size_t nxt_check_fill(const void *data, size_t len, uint64_t offset, uint32_t seed);

/* ---- audit (audit.c) ---- */

struct nxt_audit {
    int fds, threads;
    size_t bytes;
    uint64_t open[1024 / 64]; /* which of the low descriptors */
};
void nxt_audit_begin(struct nxt_audit *ret_audit);
/* Records what there is more, or less, of than at the beginning. Waits for threads that are just ending. */
void nxt_audit_end(const struct nxt_audit *audit);
/* Records live tasks and ids that nobody has joined or detached. */
void nxt_audit_tasks(nx_runtime *runtime);

/* ---- what this system can do (probe.c): found out by doing it. For skipping ---- */

/* This program is run by another one, an emulator: /proc/self/exe is that. */
bool nxt_is_emulated(void);
bool nxt_can_deny(void);      /* seccomp filters */
bool nxt_can_send(int signo); /* kill(2) of this process; the signal is ignored meanwhile */
bool nxt_can_vfork(void);     /* a child's failed exec is seen by its parent: posix_spawn(3) relies on it */
bool nxt_can_read_nowait(const char *path); /* RWF_NOWAIT on that file, which is in the page cache */
bool nxt_can_multicast(void);               /* by an interface of one's choice */

/* ---- between the library's files ---- */

bool nxt_case_is_hidden(void);
void nxt_each_runtime(void (*visit)(void *arg, nx_runtime *runtime), void *arg);
void nxt_expect_begin(void);                          /* a new case */
unsigned nxt_expect_report(void);                     /* prints what was recorded; how many */
void nxt_watchdog_start(void);                        /* its thread; before the first audit */
void nxt_watchdog_set(const char *name, int seconds); /* name NULL: nothing is running */
int nxt_child_main(const char *name);                 /* the exit status */
int nxt_spawn_self(const char *const *args, const char *const *changes, struct nxt_output *ret_output);

#endif
