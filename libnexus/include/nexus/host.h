/* nexus/host.h: all that a plugin may take from the world, besides its own library or kernel interface. */
#ifndef NEXUS_HOST_H
#define NEXUS_HOST_H

#include <nexus/base.h>

/* One instance's parameters; opaque, read by host->param. */
struct nx_config;

/* Why something can't be had, for a sentence to the user: "io_uring_setup: EPERM (...). remedy". */
struct nx_reason {
    int32_t error; /* errno, positive; 0: none */
    uint32_t reserved;
    char call[64];    /* the call that failed: "io_uring_setup(2)" */
    char text[192];   /* what it means here */
    char remedy[192]; /* what to do about it */
};

struct nx_host {
    uint32_t size, reserved;
    nx_time (*now)(void);
    uint64_t (*random)(void);
    void *(*alloc)(size_t size, size_t align);       /* zeroed; NULL when out of memory; align 0: any object's */
    void (*free)(void *memory, size_t size);         /* NULL is fine */
    void (*log)(int32_t level, const char *message); /* NX_LOG_... of nexus/runtime.h: 0 error .. 3 debug */

    /* The value of a parameter: the user's or its default; checked against its type. NULL for one not in the table. */
    const char *(*param)(const struct nx_config *config, const char *name);

    /* Runs fn(arg) on a thread that may block, before the driver is closed. From a worker's thread, in any slot that is
     * called there: 0, or -EAGAIN. -ENOTSUP on other threads, and on a host without threads that may block. */
    int (*defer_blocking)(void (*fn)(void *arg), void *arg);

    /* Makes that worker's driver poll soon. Any thread, any time between ctx_open and ctx_close. */
    void (*wake_worker)(const struct nx_config *config, uint32_t worker);

    /* Since ABI 0.2. Sleeps while *word is value, until that time of now() or a rouse, or for no reason less long. For
     * drivers that have nothing of their own to sleep on, in wait, and for locks that are held for moments. Any thread,
     * which then does nothing else. */
    void (*sleep)(uint32_t *word, uint32_t value, nx_time until);
    /* Ends all sleeps on that word. Changed before, it is seen by whoever is about to sleep. Any thread;
     * signal-safe. */
    void (*rouse)(uint32_t *word);
};

#endif
