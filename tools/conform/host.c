/* conform/host.c: a host table that keeps books: what is allocated, with which size it comes back, which allocation is
 * to fail. And what all requirements need of the system. */
#define _GNU_SOURCE
#include "config.h"
#include "conform.h"
#include "core.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <mach/mach.h>
#elif defined(__FreeBSD__)
#include <sys/param.h>

#include <sys/sysctl.h>
#include <sys/user.h>
#endif

#define BLOCK_MAGIC UINT64_C(0x626c6f636b6e7864)
#define BLOCK_FREED UINT64_C(0x6672656564626c6b)

struct block { /* in front of the memory */
    uint64_t magic;
    size_t size;
    void *start;
};

struct host_books books;
void (*host_on_wake_worker)(uint32_t worker);
bool host_never_sleeps;

static pthread_mutex_t books_mutex = PTHREAD_MUTEX_INITIALIZER;

void host_fail_at(uint64_t allocation)
{
    pthread_mutex_lock(&books_mutex);
    books.fail_at = allocation ? books.allocations + allocation : 0;
    books.failed = 0;
    pthread_mutex_unlock(&books_mutex);
}

static bool may_allocate(size_t size)
{
    bool may;

    pthread_mutex_lock(&books_mutex);
    may = ++books.allocations != books.fail_at;
    if (may) {
        books.live_bytes += size;
        books.live_blocks++;
    } else {
        books.failed++;
    }
    pthread_mutex_unlock(&books_mutex);
    return may;
}

static void *host_alloc(size_t size, size_t align)
{
    struct block *block;
    uint8_t *start, *memory;

    if (align < _Alignof(max_align_t))
        align = _Alignof(max_align_t);
    if (!may_allocate(size))
        return NULL;
    start = calloc(1, size + align + sizeof(*block));
    CHECK(start != NULL, "out of memory: the plugin asked for %zu bytes", size);
    memory = start + sizeof(*block);
    memory += (align - (uintptr_t)memory % align) % align;
    block = (struct block *)(memory - sizeof(*block));
    *block = (struct block){.magic = BLOCK_MAGIC, .size = size, .start = start};
    return memory;
}

static void host_free(void *memory, size_t size)
{
    struct block *block;

    if (!memory)
        return;
    block = (struct block *)((uint8_t *)memory - sizeof(*block));
    pthread_mutex_lock(&books_mutex);
    if (block->magic != BLOCK_MAGIC) {
        books.wrong_pointers++;
        pthread_mutex_unlock(&books_mutex);
        return;
    }
    if (block->size != size) {
        books.wrong_sizes++;
        books.wrong_given = size;
        books.wrong_real = block->size;
    }
    books.live_bytes -= block->size;
    books.live_blocks--;
    block->magic = BLOCK_FREED;
    pthread_mutex_unlock(&books_mutex);
    free(block->start);
}

static nx_time host_now(void)
{
    __atomic_fetch_add(&books.now_calls, 1, __ATOMIC_RELAXED);
    return real_now();
}

static uint64_t host_random(void)
{
    static uint64_t state = 0x5eed;
    uint64_t value;

    pthread_mutex_lock(&books_mutex);
    books.random_calls++;
    value = next_random(&state);
    pthread_mutex_unlock(&books_mutex);
    return value;
}

static void host_log(int32_t level, const char *message)
{
    (void)level, (void)message; /* stdout is a report, and a driver's words belong to no requirement */
}

static int host_defer_blocking(void (*fn)(void *arg), void *arg)
{
    (void)fn, (void)arg;
    return -ENOTSUP;
}

static void host_wake_worker(const struct nx_config *config, uint32_t worker)
{
    (void)config;
    __atomic_fetch_add(&books.wake_calls, 1, __ATOMIC_RELAXED);
    if (host_on_wake_worker)
        host_on_wake_worker(worker);
}

static void host_sleep(uint32_t *word, uint32_t value, nx_time until)
{
    if (!host_never_sleeps)
        nxi_host.sleep(word, value, until);
}

static void host_rouse(uint32_t *word)
{
    nxi_host.rouse(word);
}

const struct nx_host conform_host = {
    .size = sizeof(struct nx_host),
    .now = host_now,
    .random = host_random,
    .alloc = host_alloc,
    .free = host_free,
    .log = host_log,
    .param = nxi_config_param,
    .defer_blocking = host_defer_blocking,
    .wake_worker = host_wake_worker,
    .sleep = host_sleep,
    .rouse = host_rouse,
};

/* ---- of the system ---- */

uint64_t next_random(uint64_t *state)
{
    uint64_t value = *state += UINT64_C(0x9e3779b97f4a7c15);

    value = (value ^ value >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    value = (value ^ value >> 27) * UINT64_C(0x94d049bb133111eb);
    return value ^ value >> 31;
}

nx_time real_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (nx_time)now.tv_sec * 1000000000 + now.tv_nsec + 1;
}

nx_time cpu_now(void)
{
    struct rusage usage;

    getrusage(RUSAGE_SELF, &usage);
    return ((nx_time)usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000 +
           ((nx_time)usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

int open_descriptors(void)
{
    int count = 0;

    for (int fd = 0; fd < 4096; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* -1: not known here. */
#if defined(__linux__)

/* A ring's kernel workers show up there, and are no threads of the plugin's. */
int thread_count(void)
{
    DIR *folder = opendir("/proc/self/task");
    struct dirent *entry;
    int count = 0;

    if (!folder)
        return -1;
    while ((entry = readdir(folder)) != NULL) {
        char path[300], name[32] = "";
        FILE *file;

        snprintf(path, sizeof(path), "/proc/self/task/%s/comm", entry->d_name);
        if (entry->d_name[0] == '.' || !(file = fopen(path, "re")))
            continue;
        if (fgets(name, sizeof(name), file) && strncmp(name, "iou-", 4) != 0)
            count++;
        fclose(file);
    }
    closedir(folder);
    return count;
}

#elif defined(__APPLE__)

int thread_count(void)
{
    thread_act_array_t threads;
    mach_msg_type_number_t count;

    if (task_threads(mach_task_self(), &threads, &count) != KERN_SUCCESS)
        return -1;
    for (mach_msg_type_number_t i = 0; i < count; i++)
        mach_port_deallocate(mach_task_self(), threads[i]);
    vm_deallocate(mach_task_self(), (vm_address_t)threads, count * sizeof(*threads));
    return (int)count;
}

#elif defined(__FreeBSD__)

int thread_count(void)
{
    const int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID | KERN_PROC_INC_THREAD, getpid()};
    struct kinfo_proc threads[256];
    size_t size = sizeof(threads);

    return sysctl(name, 4, threads, &size, NULL, 0) < 0 ? -1 : (int)(size / sizeof(threads[0]));
}

#else

int thread_count(void)
{
    return -1;
}

#endif

void snooze(nx_time time)
{
    struct timespec pause = {.tv_sec = time / 1000000000, .tv_nsec = time % 1000000000};

    nanosleep(&pause, NULL);
}

const char *error_text(int64_t result)
{
    static char texts[8][48];
    static uint32_t next;
    char *text = texts[next++ % 8];
    const char *name = NULL;

#ifdef __GLIBC__
    name = result < 0 && result > -4096 ? strerrorname_np((int)-result) : NULL;
#endif
    if (name)
        snprintf(text, sizeof(texts[0]), "-%s", name);
    else if (result < 0 && result > -4096)
        snprintf(text, sizeof(texts[0]), "%d (%s)", (int)result, strerror((int)-result));
    else
        snprintf(text, sizeof(texts[0]), "%lld", (long long)result);
    return text;
}
