/* sched_host.h: a host table and a few tasks, to drive a scheduler's table without a runtime. */
#ifndef NXT_SCHED_HOST_H
#define NXT_SCHED_HOST_H

#include <nexus/sched.h>
#include <stdlib.h>
#include <string.h>

/* A ready task with a name of its own. */
struct nxt_item {
    struct nx_ready ready; /* first: a struct nx_ready * is a struct nxt_item * */
    uint32_t id;
    uint32_t given; /* how often it was given out */
};

static size_t nxt_live_bytes;
static int nxt_alloc_fails;

static inline uint64_t nxt_random(void)
{
    static uint64_t state = 0x9e3779b97f4a7c15u;

    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 11;
}

static inline void *nxt_alloc(size_t size, size_t align)
{
    void *memory = NULL;

    if (nxt_alloc_fails || posix_memalign(&memory, align ? align : sizeof(void *) * 2, size) != 0)
        return NULL;
    nxt_live_bytes += size;
    return memset(memory, 0, size);
}

static inline void nxt_free(void *memory, size_t size)
{
    if (memory != NULL)
        nxt_live_bytes -= size;
    free(memory);
}

static const struct nx_host nxt_host = {
    .size = sizeof(struct nx_host),
    .random = nxt_random,
    .alloc = nxt_alloc,
    .free = nxt_free,
};

static inline struct nxt_item *nxt_items(uint32_t count, uint8_t priority, uint8_t stealable)
{
    struct nxt_item *items = calloc(count, sizeof(*items));

    if (items == NULL)
        abort();
    for (uint32_t i = 0; i < count; i++) {
        items[i].id = i;
        items[i].ready.priority = priority;
        items[i].ready.stealable = stealable;
    }
    return items;
}

static inline struct nxt_item *nxt_item(struct nx_ready *ready)
{
    return (struct nxt_item *)ready;
}

/* NXT_SCALE shrinks long cases: sanitizer builds are slow. */
static inline uint32_t nxt_scaled(uint32_t count)
{
    const char *scale = getenv("NXT_SCALE");
    double factor = scale != NULL ? strtod(scale, NULL) : 1;
    double scaled = count * (factor > 0 ? factor : 1);

    return scaled < 64 ? 64 : (uint32_t)scaled;
}

#endif
