/* host.c: the world as plugins see it, and the only file that asks the system for time, randomness and memory. */
#include "blocking.h"
#include "config.h"
#include "core.h"
#include "os.h"
#include "sleeper.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static _Atomic int64_t live_bytes;

nx_time nxi_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (nx_time)now.tv_sec * 1000000000 + now.tv_nsec + 1;
}

/* Where a sandbox denies it: good enough for a seed. */
static uint64_t host_random(void)
{
    static _Atomic uint64_t count;
    uint64_t value;
    if (nxi_os_random(&value, sizeof(value)))
        return value;
    value = (uint64_t)nxi_clock() + atomic_fetch_add(&count, 1) * UINT64_C(0x9e3779b97f4a7c15);
    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9); /* splitmix64 */
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

void *nxi_alloc(size_t size)
{
    void *memory = calloc(1, size);
    if (memory)
        atomic_fetch_add_explicit(&live_bytes, (int64_t)size, memory_order_relaxed);
    return memory;
}

void nxi_free(void *memory, size_t size)
{
    if (!memory)
        return;
    free(memory);
    atomic_fetch_sub_explicit(&live_bytes, (int64_t)size, memory_order_relaxed);
}

size_t nxi_live_bytes(void)
{
    return (size_t)atomic_load_explicit(&live_bytes, memory_order_relaxed);
}

static void *host_alloc(size_t size, size_t align)
{
    if (align <= _Alignof(max_align_t))
        return nxi_alloc(size);
    void *memory = NULL;
    if (posix_memalign(&memory, align, size) != 0)
        return NULL;
    memset(memory, 0, size);
    atomic_fetch_add_explicit(&live_bytes, (int64_t)size, memory_order_relaxed);
    return memory;
}

static void host_log(int32_t level, const char *message)
{
    struct nxi_worker *worker = nxi_self();
    nxi_log(worker ? worker->runtime : NULL, level, "%s", message);
}

/* A plugin's job may do this until the pool is closed: foreign keeps the worker from closing its context between the
 * look at its state and the wake (runtime.c waits for it when no worker can be parked any more). */
static void host_wake_worker(const struct nx_config *config, uint32_t index)
{
    struct nx_runtime *runtime = nxi_config_runtime(config);
    if (!runtime || !runtime->workers || index >= runtime->worker_count)
        return; /* while the driver is being opened there are none */
    atomic_fetch_add(&runtime->foreign, 1);
    nxi_notify(runtime->workers[index]);
    atomic_fetch_sub(&runtime->foreign, 1);
}

static void host_sleep(uint32_t *word, uint32_t value, nx_time until)
{
    nxi_word_sleep(word, value, until);
}

static void host_rouse(uint32_t *word)
{
    nxi_word_rouse(word);
}

struct deferred {
    struct nxi_job job;
    void (*fn)(void *arg);
    void *arg;
};

static void run_deferred(struct nxi_job *job)
{
    const struct deferred deferred = *nxi_container(job, struct deferred, job);
    nxi_free(nxi_container(job, struct deferred, job), sizeof(deferred));
    deferred.fn(deferred.arg);
}

/* The calling worker's runtime has the threads: another thread, that of a plugin's open too, has none to use. */
static int host_defer_blocking(void (*fn)(void *arg), void *arg)
{
    struct nxi_worker *worker = nxi_self();
    if (!worker)
        return -ENOTSUP;
    struct deferred *deferred = nxi_alloc(sizeof(*deferred));
    if (!deferred)
        return -EAGAIN;
    *deferred = (struct deferred){.job.run = run_deferred, .fn = fn, .arg = arg};
    int error = nxi_blocking_post(worker->runtime->blocking, &deferred->job);
    if (error < 0)
        nxi_free(deferred, sizeof(*deferred));
    return error;
}

const struct nx_host nxi_host = {
    .size = sizeof(struct nx_host),
    .now = nxi_clock,
    .random = host_random,
    .alloc = host_alloc,
    .free = nxi_free,
    .log = host_log,
    .param = nxi_config_param,
    .defer_blocking = host_defer_blocking,
    .wake_worker = host_wake_worker,
    .sleep = host_sleep,
    .rouse = host_rouse,
};
