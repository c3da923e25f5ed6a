/* conform/driver_tells.c: what a driver says of itself. */
#include "rig.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#define STATS_MAX 64u
#define QUESTIONS 200u

static void need_codes(struct rig *rig, uint32_t domain, const char *name, const uint32_t *codes, size_t count)
{
    if (!(rig->ops->domains & domain))
        return;
    for (size_t i = 0; i < count; i++)
        CHECK(capability_of(rig, codes[i]).level != NX_CAP_NO, "domains has %s, and capability says no to %s", name,
              code_name(codes[i]));
}

void driver_capability(const struct subject *subject)
{
    static const uint32_t network[] = {NX_OP_ACCEPT, NX_OP_CONNECT, NX_OP_READ,     NX_OP_WRITE,
                                       NX_OP_WRITEV, NX_OP_POLL,    NX_OP_SHUTDOWN, NX_OP_CLOSE};
    static const uint32_t foreign[] = {NX_OP_POLL, NX_OP_CLOSE}, files[] = {NX_OP_CLOSE};
    struct rig *rig = rig_open(subject, 1);

    if (!HAS(rig, capability))
        skip("capability is NULL");
    for (uint32_t code = 0; code < NX_OP_COUNT + 3; code++) {
        struct nx_capability capability = capability_of(rig, code);

        CHECK(capability.size >= offsetof(struct nx_capability, reason), "capability of %s has the size %u",
              code_name(code), capability.size);
        CHECK(capability.level <= NX_CAP_INLINE, "capability of %s has the level %u", code_name(code),
              capability.level);
        CHECK(capability.level != NX_CAP_NO || capability.reason[0], "capability says no to %s and gives no reason",
              code_name(code));
        CHECK(code < NX_OP_COUNT || capability.level == NX_CAP_NO, "capability claims code %u, which does not exist",
              code);
    }
    need_codes(rig, NX_DOMAIN_NETWORK, "NX_DOMAIN_NETWORK", network, sizeof(network) / sizeof(network[0]));
    need_codes(rig, NX_DOMAIN_FOREIGN, "NX_DOMAIN_FOREIGN", foreign, 2);
    need_codes(rig, NX_DOMAIN_FILES, "NX_DOMAIN_FILES", files, 1);
    rig_close(rig);
}

/* Levels and flags, as the operations behave. */
void driver_truth(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    char byte;
    struct nx_op ops[] = {
        {.code = NX_OP_NOP},
        read_op(pair.server, &byte, 1),
        write_op(pair.client, "x", 1),
        {.handle = pair.client, .code = NX_OP_POLL, .arg = NX_READABLE},
        {.handle = pair.client, .code = NX_OP_SHUTDOWN, .arg = NX_SHUT_WRITE},
        {.handle = pair.client, .code = NX_OP_CLOSE},
    };

    if (!HAS(rig, capability))
        skip("capability is NULL");
    for (uint32_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
        struct nx_capability capability = capability_of(rig, ops[i].code);
        struct flight *flight;

        if (capability.level == NX_CAP_NO)
            continue;
        if (capability.level == NX_CAP_NATIVE && (capability.flags & NX_OP_NOWAIT) && ops[i].code != NX_OP_CLOSE &&
            ops[i].code != NX_OP_SHUTDOWN)
            ops[i].flags = NX_OP_NOWAIT;
        flight = fly(rig, 0, ops[i]);
        CHECK(flight->was_inline || capability.level != NX_CAP_INLINE,
              "capability says NX_CAP_INLINE to %s, and it did not complete in submit", code_name(ops[i].code));
        CHECK(flight->was_inline || !ops[i].flags,
              "capability says that %s honours NOWAIT, and it did not complete in submit", code_name(ops[i].code));
        CHECK(!ended(flight) || flight->result != -ENOTSUP, "capability offers %s, which gives -ENOTSUP",
              code_name(ops[i].code));
        finish(rig, flight);
    }
    close_handle(rig, 0, pair.server);
    rig_close(rig);
}

/* ---- counters ---- */

struct reader {
    struct rig *rig;
    uint32_t stop;
    uint64_t asked;
};

static void *read_stats(void *arg)
{
    struct reader *reader = arg;
    struct nx_stat stats[STATS_MAX];

    while (!__atomic_load_n(&reader->stop, __ATOMIC_ACQUIRE)) {
        reader->rig->ops->stats(reader->rig->context[0], stats, STATS_MAX);
        __atomic_fetch_add(&reader->asked, 1, __ATOMIC_RELAXED);
    }
    return NULL;
}

static uint64_t kernel_entries(struct rig *rig)
{
    struct nx_stat stats[STATS_MAX];
    uint32_t count = rig->ops->stats(rig->context[0], stats, STATS_MAX);

    for (uint32_t i = 0; i < count; i++)
        if (strcmp(stats[i].name, "kernel_entries") == 0)
            return stats[i].value;
    return 0;
}

static void check_stats(struct rig *rig, uint32_t max)
{
    struct window *window = window_new(max * sizeof(struct nx_stat), "an array for %u counters", max);
    struct nx_stat *stats = (struct nx_stat *)window->data;

    doing("stats with room for %u counters", max);
    uint32_t count = rig->ops->stats(rig->context[0], stats, max);
    CHECK(count <= max, "stats was given room for %u counters and says that it has written %u", max, count);
    window_check(window);
    for (uint32_t i = 0; i < count; i++)
        CHECK(stats[i].name[0] && memchr(stats[i].name, 0, sizeof(stats[i].name)),
              "counter %u has no name, or one without an end", i);
}

void driver_stats(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct reader reader = {.rig = rig};
    struct pair pair = pair_open(rig);
    pthread_t thread;
    uint64_t entries;
    char byte = 'x';

    if (!HAS(rig, stats))
        skip("stats is NULL");
    check_stats(rig, 1);
    check_stats(rig, STATS_MAX);
    entries = kernel_entries(rig);
    CHECK(pthread_create(&thread, NULL, read_stats, &reader) == 0, "this program could not start a thread");
    doing("stats on another thread, while operations run");
    for (nx_time until = real_now() + PATIENCE; __atomic_load_n(&reader.asked, __ATOMIC_RELAXED) < QUESTIONS;) {
        write_all(rig, 0, pair.client, &byte, 1);
        read_all(rig, 0, pair.server, &byte, 1);
        CHECK(real_now() < until, "stats on another thread does not return");
    }
    __atomic_store_n(&reader.stop, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    CHECK(kernel_entries(rig) >= entries, "kernel_entries goes back");
    pair_close(&pair);
    rig_close(rig);
}
