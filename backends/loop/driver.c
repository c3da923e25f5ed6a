/*
 * loop/driver.c: a network in memory: life, the clock, waiting. No descriptor, no kernel, no thread of its own.
 *
 * What is peculiar to it, and why it is here: it is as unlike epoll and io_uring as a driver can be, so that what the
 * core takes for granted shows. Handles are indices of a table. Ends are pinned to the context that made them, so the
 * core forwards. Completions come in any order, by a seed. Reads may lend the very memory the bytes came in. It has
 * nothing to sleep on, and sleeps by the host table. With time=virtual it owns the clock.
 *
 * The virtual clock. While a context runs, the clock stands. It jumps when nothing can happen before the next deadline:
 *
 *     all contexts are in wait, no bell is set, no completion is there, and nothing is held
 *         now = the earliest `until`; the bells of those who are due are set
 *
 * and is looked at whenever one of those becomes true: by a context that begins to wait, and by the last release of a
 * hold. Whoever gives a waiting context something to do, sets its bell first (wake) or is itself a context that runs,
 * or is held (a thread of the blocking pool is, until after its wake). So no jump comes between a deed and its effect.
 */
#include "loop.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the lock: three states, as in Drepper's "Futexes are tricky" ---- */

void nxi_loop_enter(struct nx_driver *driver)
{
    uint32_t state = 0;
    if (__atomic_compare_exchange_n(&driver->lock, &state, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return;
    while (__atomic_exchange_n(&driver->lock, 2, __ATOMIC_ACQUIRE) != 0) /* ends: holders don't block */
        driver->host->sleep(&driver->lock, 2, NX_FOREVER);
}

static void unlock(struct nx_driver *driver)
{
    if (__atomic_exchange_n(&driver->lock, 0, __ATOMIC_RELEASE) == 2)
        driver->host->rouse(&driver->lock);
}

/* Rings without the lock: the first thing who is rung does is to take it. */
void nxi_loop_leave(struct nx_driver *driver)
{
    struct nx_ctx *ctx;
    while ((ctx = driver->ringing)) { /* ends: each turn takes one out, and others only come by those who ring it too */
        driver->ringing = ctx->ring_next;
        ctx->ringing = false;
        uint32_t worker = ctx->worker; /* without the lock the context may be closed by then */
        unlock(driver);
        driver->host->wake_worker(driver->config, worker);
        nxi_loop_enter(driver);
    }
    unlock(driver);
}

/* xorshift64*: a run with one worker is the same again with the same seed. */
uint32_t nxi_loop_random(struct nx_driver *driver, uint32_t below)
{
    driver->random ^= driver->random >> 12;
    driver->random ^= driver->random << 25;
    driver->random ^= driver->random >> 27;
    return (uint32_t)(driver->random * UINT64_C(0x2545f4914f6cdd1d) >> 32) % below;
}

/* ---- life ---- */

static int refuse(struct nx_reason *ret_reason, int error, const char *call, const char *text, const char *remedy)
{
    ret_reason->error = error;
    snprintf(ret_reason->call, sizeof(ret_reason->call), "%s", call);
    snprintf(ret_reason->text, sizeof(ret_reason->text), "%s", text);
    snprintf(ret_reason->remedy, sizeof(ret_reason->remedy), "%s", remedy);
    return -error;
}

static uint64_t number(const struct nx_host *host, const struct nx_config *config, const char *name)
{
    const char *text = host->param(config, name);
    return text ? strtoull(text, NULL, 10) : 0;
}

static int probe(const struct nx_host *host, const struct nx_config *config, struct nx_reason *ret_reason)
{
    const char *time = host->param(config, "time");
    uint64_t window = number(host, config, "window");
    if (time && strcmp(time, "virtual") != 0 && strcmp(time, "real") != 0)
        return refuse(ret_reason, EINVAL, "time", "the clock is neither real nor virtual",
                      "say time=real or time=virtual");
    if (window == 0 || window > UINT32_MAX / 2)
        return refuse(ret_reason, EINVAL, "window", "no window of that size", "say from 1 to 2147483647 bytes");
    return 0;
}

static int loop_open(const struct nx_host *host, const struct nx_config *config, uint32_t id,
                     struct nx_driver **ret_driver, struct nx_reason *ret_reason)
{
    struct nx_driver *driver = host->alloc(sizeof(*driver), 0);
    if (!driver)
        return refuse(ret_reason, ENOMEM, "alloc", "out of memory", "raise the memory limit of this process");
    const char *time = host->param(config, "time");
    driver->host = host;
    driver->config = config;
    driver->id = id;
    driver->window = (size_t)number(host, config, "window");
    driver->cuts = number(host, config, "short") != 0;
    driver->virtual_time = time && strcmp(time, "virtual") == 0;
    driver->now = host->now();
    driver->last_port = 32767;
    driver->random = number(host, config, "seed");
    for (driver->random *= UINT64_C(0x9e3779b97f4a7c15); driver->random == 0;) /* xorshift can't leave zero */
        driver->random = host->random();
    *ret_driver = driver;
    return 0;
}

/* Listeners first, which close what is in their backlogs. */
static void close_all(struct nx_driver *driver, bool listeners)
{
    for (uint32_t i = 1; i < driver->slot_count; i++) {
        struct nxi_loop_end *end = driver->slots[i].end;
        if (end && (!listeners || end->kind == NXI_LOOP_LISTENER))
            nxi_loop_end_close(driver, end);
    }
}

/* What nobody has closed goes with the network. */
static void loop_close(struct nx_driver *driver)
{
    close_all(driver, true);
    close_all(driver, false);
    nxi_loop_loans_free(driver);
    driver->host->free(driver->slots, driver->slot_count * sizeof(*driver->slots));
    driver->host->free(driver, sizeof(*driver));
}

static int loop_ctx_open(struct nx_driver *driver, uint32_t worker, struct nx_ctx **ret_ctx,
                         struct nx_reason *ret_reason)
{
    struct nx_ctx *ctx = driver->host->alloc(sizeof(*ctx), 0);
    if (!ctx)
        return refuse(ret_reason, ENOMEM, "alloc", "out of memory", "raise the memory limit of this process");
    ctx->driver = driver;
    ctx->worker = worker;
    nxi_loop_enter(driver);
    ctx->next = driver->contexts;
    driver->contexts = ctx;
    nxi_loop_leave(driver);
    *ret_ctx = ctx;
    return 0;
}

static void loop_ctx_close(struct nx_ctx *ctx)
{
    struct nx_driver *driver = ctx->driver;
    nxi_loop_enter(driver);
    struct nx_ctx **link = &driver->contexts;
    while (*link != ctx)
        link = &(*link)->next;
    *link = ctx->next;
    for (link = &driver->ringing; *link; link = &(*link)->ring_next)
        if (*link == ctx) {
            *link = ctx->ring_next;
            break;
        }
    nxi_loop_leave(driver);
    driver->host->free(ctx->done, ctx->done_room * sizeof(*ctx->done));
    driver->host->free(ctx, sizeof(*ctx));
}

/* ---- the clock; under the lock ---- */

static void set_bell(const struct nx_driver *driver, struct nx_ctx *ctx)
{
    if (__atomic_exchange_n(&ctx->bell, 1, __ATOMIC_SEQ_CST) == 0)
        driver->host->rouse(&ctx->bell);
}

/* Jumps, if nothing can happen before the next deadline. */
static void advance(struct nx_driver *driver)
{
    nx_time next = NX_FOREVER;
    if (!driver->virtual_time || driver->held > 0)
        return;
    for (const struct nx_ctx *ctx = driver->contexts; ctx; ctx = ctx->next) {
        if (!ctx->waiting || ctx->done_count > 0 || __atomic_load_n(&ctx->bell, __ATOMIC_SEQ_CST))
            return;
        next = ctx->until < next ? ctx->until : next;
    }
    if (next == NX_FOREVER)
        return;
    if (next > driver->now)
        __atomic_store_n(&driver->now, next, __ATOMIC_RELEASE);
    driver->advances++;
    for (struct nx_ctx *ctx = driver->contexts; ctx; ctx = ctx->next)
        if (ctx->until <= next)
            set_bell(driver, ctx);
}

static nx_time loop_now(struct nx_driver *driver)
{
    return driver->virtual_time ? __atomic_load_n(&driver->now, __ATOMIC_ACQUIRE) : 0;
}

static void loop_hold(struct nx_driver *driver, int32_t more)
{
    nxi_loop_enter(driver);
    driver->held += (uint32_t)more;
    advance(driver);
    nxi_loop_leave(driver);
}

/* ---- waiting ---- */

static int loop_arm(struct nx_ctx *ctx)
{
    nxi_loop_enter(ctx->driver);
    int result = ctx->done_count > 0 ? -EAGAIN : 0;
    nxi_loop_leave(ctx->driver);
    return result;
}

static void loop_disarm(struct nx_ctx *ctx)
{
    (void)ctx; /* who has something for this context rings its worker at any time */
}

static bool is_over(struct nx_ctx *ctx, nx_time until)
{
    struct nx_driver *driver = ctx->driver;
    return __atomic_load_n(&ctx->bell, __ATOMIC_SEQ_CST) != 0 ||
           (until != NX_FOREVER && until <= (driver->virtual_time ? loop_now(driver) : driver->host->now()));
}

static void rest(struct nx_ctx *ctx, nx_time until)
{
    struct nx_driver *driver = ctx->driver;
    nxi_loop_enter(driver);
    ctx->waiting = ctx->done_count == 0 && !is_over(ctx, until);
    ctx->until = until;
    bool wait = ctx->waiting;
    if (wait) {
        ctx->sleeps++;
        advance(driver);
    }
    nxi_loop_leave(driver);
    while (wait && !is_over(ctx, until))
        driver->host->sleep(&ctx->bell, 0, driver->virtual_time ? NX_FOREVER : until);
    nxi_loop_enter(driver);
    ctx->waiting = false;
    nxi_loop_leave(driver);
}

static uint32_t loop_wait(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max, nx_time until)
{
    if (until != NX_POLL)
        rest(ctx, until);
    __atomic_store_n(&ctx->bell, 0, __ATOMIC_SEQ_CST); /* before the look: what comes later sets it again */
    return nxi_loop_poll(ctx, out, max);
}

static void loop_wake(struct nx_ctx *ctx)
{
    set_bell(ctx->driver, ctx);
}

/* ---- what and how ---- */

static int loop_capability(struct nx_driver *driver, uint32_t code, struct nx_capability *ret_capability)
{
    struct nx_capability capability = {.size = sizeof(capability), .level = NX_CAP_NATIVE, .flags = NX_OP_NOWAIT};
    const char *reason = "";
    (void)driver;
    switch (code) {
    case NX_OP_ACCEPT:
        capability.flags |= NX_OP_MULTISHOT;
        break;
    case NX_OP_READ:
        capability.flags |= NX_OP_LOAN;
        break;
    case NX_OP_POLL:
        reason = "its own handles only, no edges: there are no descriptors";
        break;
    case NX_OP_CONNECT:
    case NX_OP_WRITE:
    case NX_OP_WRITEV:
        break;
    case NX_OP_RECVMSG:
    case NX_OP_SENDMSG:
        reason = "no descriptors go along";
        break;
    case NX_OP_NOP:
    case NX_OP_SHUTDOWN:
    case NX_OP_CLOSE:
        capability.level = NX_CAP_INLINE;
        break;
    default:
        capability.level = NX_CAP_NO;
        capability.flags = 0;
        reason = code == NX_OP_MEMBERSHIP ? "one to one only: there are no groups"
                 : code >= NX_OP_OPEN && code <= NX_OP_MKDIR
                     ? "no files: choose NEXUS_BACKEND_FILE, or the blocking pool"
                     : "not an operation of this driver";
    }
    snprintf(capability.reason, sizeof(capability.reason), "%s", reason);
    *ret_capability = capability;
    return 0;
}

static uint32_t loop_stats(struct nx_ctx *ctx, struct nx_stat *out, uint32_t max)
{
    struct nx_driver *driver = ctx->driver;
    nxi_loop_enter(driver);
    const struct nx_stat stats[] = {
        {"completed", ctx->completed},   {"late", ctx->late},
        {"in_flight", ctx->in_flight},   {"loans", driver->loans},
        {"advances", driver->advances},  {"held", driver->held},
        {"kernel_entries", ctx->sleeps},
    };
    nxi_loop_leave(driver);
    uint32_t count = sizeof(stats) / sizeof(stats[0]);
    count = count < max ? count : max;
    memcpy(out, stats, count * sizeof(*out));
    return count;
}

static const struct nx_driver_ops loop_ops = {
    .size = sizeof(struct nx_driver_ops),
    .domains = NX_DOMAIN_NETWORK,
    .affinity = NX_AFFINITY_PINNED,
    .open = loop_open,
    .close = loop_close,
    .ctx_open = loop_ctx_open,
    .ctx_close = loop_ctx_close,
    .submit = nxi_loop_submit,
    .cancel = nxi_loop_cancel,
    .poll = nxi_loop_poll,
    .arm = loop_arm,
    .disarm = loop_disarm,
    .wait = loop_wait,
    .wake = loop_wake,
    .now = loop_now,
    .socket = nxi_loop_socket,
    .bind = nxi_loop_bind,
    .listen = nxi_loop_listen,
    .option = nxi_loop_option,
    .name = nxi_loop_name,
    .loan_return = nxi_loop_loan_return,
    .capability = loop_capability,
    .stats = loop_stats,
    .hold = loop_hold,
};

static const struct nx_param loop_params[] = {
    {"time", NX_PARAM_STRING, 0, "real", "virtual: the clock jumps to the next deadline when nothing else can happen"},
    {"seed", NX_PARAM_UINT, 0, "0", "of the order in which completions come; 0: another one each time"},
    {"window", NX_PARAM_UINT, 0, "65536", "bytes under way in each direction of a connection"},
    {"short", NX_PARAM_BOOL, 0, "0", "1: reads and writes are often cut short"},
    {0},
};

NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_loop = {
    .magic = NX_PLUGIN_MAGIC,
    .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR,
    .abi_minor = NX_ABI_MINOR,
    .kind = NX_PLUGIN_DRIVER,
    .name = "loop",
    .version = "0.1.0",
    .summary = "a network in memory, within the process; virtual time",
    .priority = -10,
    .params = loop_params,
    .probe = probe,
    .ops = &loop_ops,
};
