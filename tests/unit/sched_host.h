/* sched_host.h: a host table and a few tasks, to drive a scheduler's table without a runtime; what holds for all. */
#ifndef NXT_SCHED_HOST_H
#define NXT_SCHED_HOST_H

#include <errno.h>
#include <nexus/plugin.h>
#include <nexus/sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

static inline struct nx_sched *nxt_sched_open(const struct nx_sched_ops *ops, uint32_t workers)
{
    struct nx_reason reason = {0};
    struct nx_sched *sched = NULL;

    nxt_live_bytes = 0;
    assert_int_equal(ops->open(&nxt_host, NULL, workers, &sched, &reason), 0);
    return sched;
}

/* Audits too: every byte is back. */
static inline void nxt_sched_close(const struct nx_sched_ops *ops, struct nx_sched *sched)
{
    ops->close(sched);
    assert_int_equal(nxt_live_bytes, 0);
}

static inline void nxt_sched_says_what_it_is(const struct nx_plugin *plugin, const char *name, int priority)
{
    const struct nx_sched_ops *ops = plugin->ops;

    assert_int_equal(plugin->magic, NX_PLUGIN_MAGIC);
    assert_int_equal(plugin->size, sizeof(struct nx_plugin));
    assert_int_equal(plugin->kind, NX_PLUGIN_SCHEDULER);
    assert_string_equal(plugin->name, name);
    assert_int_equal(plugin->priority, priority);
    assert_int_equal(ops->size, sizeof(struct nx_sched_ops));
}

static inline void nxt_sched_open_fails_clean(const struct nx_sched_ops *ops)
{
    struct nx_sched *const untouched = (struct nx_sched *)&nxt_host;
    struct nx_sched *sched = untouched;
    struct nx_reason reason = {0};

    nxt_live_bytes = 0;
    nxt_alloc_fails = 1;
    assert_int_equal(ops->open(&nxt_host, NULL, 2, &sched, &reason), -ENOMEM);
    nxt_alloc_fails = 0;
    assert_int_equal(reason.error, ENOMEM);
    assert_true(reason.call[0] != 0 && reason.text[0] != 0);
    assert_int_equal(ops->open(&nxt_host, NULL, 0, &sched, &reason), -EINVAL);
    assert_ptr_equal(sched, untouched);
    ops->close(NULL);
    assert_int_equal(nxt_live_bytes, 0);
}

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
