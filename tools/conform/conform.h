/*
 * nexus conform: drives a plugin's table directly, with a host table of its own, and says which numbered requirement of
 * nexus-driver(7) or nexus-sched(7) it breaks.
 *
 * Each requirement runs in a child process with a time limit, so that a plugin that crashes or hangs fails that
 * requirement and not the run. The child tells by shared memory what it has found. It looks for one thing only: what
 * another requirement is about must not fail here, so that the first number that fails is the one that is broken.
 */
#ifndef NEXUS_CONFORM_H
#define NEXUS_CONFORM_H

#include <nexus/driver.h>
#include <nexus/sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct subject {
    const struct nx_plugin *plugin;
    const struct nx_config *config;
    const struct nx_driver_ops *driver; /* one of the two */
    const struct nx_sched_ops *sched;
    const struct nx_driver_ops *reference; /* epoll's, or NULL: there is none here */
    const struct nx_config *reference_config;
    uint32_t profile; /* NX_DOMAIN_... */
    uint64_t seed;
};

struct requirement {
    const char *id;   /* "NXD-001" */
    uint32_t domains; /* NX_DOMAIN_..., one of them is needed; 0: always */
    const char *title, *text, *consequence, *test;
    void (*run)(const struct subject *subject);
};

extern const struct requirement driver_requirements[], sched_requirements[];
extern const size_t driver_requirement_count, sched_requirement_count;

/* What runs each: driver_<function>, sched_<function>. */
#define NXD(number, function, domains, title, text, consequence, test)                                                 \
    void driver_##function(const struct subject *subject);
#include "driver.def"
#undef NXD

#define NXS(number, function, title, text, consequence, test) void sched_##function(const struct subject *subject);
#include "sched.def"
#undef NXS

/* ---- run.c ---- */

enum verdict { VERDICT_NONE, VERDICT_PASS, VERDICT_FAIL, VERDICT_SKIP };

struct report {
    enum verdict verdict;
    char text[1024]; /* what was seen, or what allows the skip */
    char doing[160]; /* while it runs: for a crash, a hang */
    char folder[96]; /* that it has made; removed however it ends */
};

/* Runs it in a child; limit_ms: then it hangs. 0, or -errno if there can't be a child. */
int run_requirement(const struct requirement *requirement, const struct subject *subject, uint32_t limit_ms,
                    struct report *ret_report);

/* In the child; any thread. They don't return. */
void fail(const char *format, ...) NX_PRINTF(1, 2) __attribute__((noreturn));
void skip(const char *format, ...) NX_PRINTF(1, 2) __attribute__((noreturn));
void doing(const char *format, ...) NX_PRINTF(1, 2);
const char *scratch_folder(void); /* a new one, for files right in it; NULL: it can't be made */
#define CHECK(condition, ...)                                                                                          \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            fail(__VA_ARGS__);                                                                                         \
    } while (0)

const char *error_text(int64_t result); /* "-EBADF", "12": a result as people write it; static, eight at a time */

/* ---- memory.c: memory that faults outside its window ---- */

struct window {
    char name[48];
    uint8_t *map, *data; /* data ends where a guard page begins, or begins where one ends */
    size_t map_size, size;
    bool closed;
};

/* size bytes of memory between guard pages, filled with a pattern. */
struct window *window_new(size_t size, const char *format, ...) NX_PRINTF(2, 3);
/* The same, with the first byte behind a guard page instead of the last one in front of one. */
void window_shift(struct window *window);
void window_close(struct window *window);       /* from now on any access faults */
void window_check(const struct window *window); /* fails if the bytes around data have changed */
void windows_watch(void);                       /* installs the handler that turns faults into failures */

/* ---- host.c: the host table ---- */

struct host_books {
    uint64_t allocations, live_bytes, live_blocks;
    uint64_t fail_at; /* this allocation fails, counted from 1; 0: none */
    uint64_t failed;  /* how many have */
    uint64_t now_calls, random_calls;
    uint64_t wake_calls; /* of wake_worker */
    uint32_t wrong_sizes, wrong_pointers;
    uint64_t wrong_given, wrong_real; /* the last wrong size */
};

extern struct host_books books;
extern const struct nx_host conform_host;
extern void (*host_on_wake_worker)(uint32_t worker);
extern bool host_never_sleeps; /* sleep returns at once, which it always may */

void host_fail_at(uint64_t allocation); /* counted from now; 0: none */

/* ---- helpers of all ---- */

uint64_t next_random(uint64_t *state); /* splitmix64 */
nx_time real_now(void);
nx_time cpu_now(void); /* of the whole process */
int open_descriptors(void);
int thread_count(void); /* -1: unknown here */
void snooze(nx_time time);

#endif
