/*
 * One module with a plugin per way of being refused, and a few good ones. The tests copy its file under the name of the
 * sample they want: wrong_magic.so has the plugin nexus_plugin_wrong_magic.
 */
#include <errno.h>
#include <nexus/driver.h>
#include <nexus/sched.h>
#include <stdio.h>
#include <string.h>

/* ---- tables that are complete, and do nothing ---- */

static int driver_open(const struct nx_host *host, const struct nx_config *config, uint32_t id,
                       struct nx_driver **ret_driver, struct nx_reason *ret_reason)
{
    (void)host, (void)config, (void)id, (void)ret_driver, (void)ret_reason;
    return -ENOSYS;
}
static void driver_close(struct nx_driver *driver)
{
    (void)driver;
}
static int ctx_open(struct nx_driver *driver, uint32_t worker, struct nx_ctx **ret_ctx, struct nx_reason *ret_reason)
{
    (void)driver, (void)worker, (void)ret_ctx, (void)ret_reason;
    return -ENOSYS;
}
static void ctx_close(struct nx_ctx *ctx)
{
    (void)ctx;
}
static int submit(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline)
{
    (void)ctx, (void)op, (void)ret_inline;
    return -EAGAIN;
}
static void cancel(struct nx_ctx *ctx, struct nx_op *op)
{
    (void)ctx, (void)op;
}
static uint32_t poll(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max)
{
    (void)ctx, (void)out, (void)max;
    return 0;
}
static int arm(struct nx_ctx *ctx)
{
    (void)ctx;
    return 0;
}
static void disarm(struct nx_ctx *ctx)
{
    (void)ctx;
}
static void wake(struct nx_ctx *ctx)
{
    (void)ctx;
}

#define GOOD_TABLE                                                                                                     \
    .size = sizeof(struct nx_driver_ops), .domains = NX_DOMAIN_NETWORK | NX_DOMAIN_FOREIGN, .open = driver_open,       \
    .close = driver_close, .ctx_open = ctx_open, .ctx_close = ctx_close, .submit = submit, .cancel = cancel,           \
    .poll = poll, .arm = arm, .disarm = disarm, .wake = wake

static const struct nx_driver_ops good_ops = {GOOD_TABLE};

static int sched_open(const struct nx_host *host, const struct nx_config *config, uint32_t workers,
                      struct nx_sched **ret_sched, struct nx_reason *ret_reason)
{
    (void)host, (void)config, (void)workers, (void)ret_sched, (void)ret_reason;
    return -ENOSYS;
}
static void sched_close(struct nx_sched *sched)
{
    (void)sched;
}
static uint32_t sched_select(struct nx_sched *sched, const struct nx_ready *ready, uint32_t from, uint32_t spread,
                             const uint32_t *loads)
{
    (void)sched, (void)ready, (void)from, (void)spread, (void)loads;
    return 0;
}
static uint32_t enqueue(struct nx_sched *sched, uint32_t worker, struct nx_ready *ready, uint32_t reason)
{
    (void)sched, (void)worker, (void)ready, (void)reason;
    return NX_WAKE_NONE;
}
static struct nx_ready *dequeue(struct nx_sched *sched, uint32_t worker)
{
    (void)sched, (void)worker;
    return NULL;
}
static uint32_t has_work(struct nx_sched *sched, uint32_t worker)
{
    (void)sched, (void)worker;
    return 0;
}

static const struct nx_sched_ops fair_ops = {.size = sizeof(struct nx_sched_ops),
                                             .open = sched_open,
                                             .close = sched_close,
                                             .select = sched_select,
                                             .enqueue = enqueue,
                                             .dequeue = dequeue,
                                             .has_work = has_work};

/* The fields every sample has; what comes after in an initialiser replaces them, which is what these are for. */
#pragma GCC diagnostic ignored "-Woverride-init"
#define DRIVER(id)                                                                                                     \
    NX_PLUGIN_EXPORT extern const struct nx_plugin nexus_plugin_##id;                                                  \
    const struct nx_plugin nexus_plugin_##id
#define GOOD(id)                                                                                                       \
    .magic = NX_PLUGIN_MAGIC, .size = sizeof(struct nx_plugin), .abi_major = NX_ABI_MAJOR, .abi_minor = NX_ABI_MINOR,  \
    .kind = NX_PLUGIN_DRIVER, .name = #id, .version = "1", .summary = "a sample", .priority = 10, .ops = &good_ops

/* ---- good ones ---- */

static const struct nx_param params[] = {
    {"entries", NX_PARAM_UINT, 0, "64", "how many"},
    {"polled", NX_PARAM_BOOL, 0, "0", "whether"},
    {"label", NX_PARAM_STRING, 0, "none", "which"},
    {NULL, 0, 0, NULL, NULL},
};

DRIVER(good) = {GOOD(good), .params = params};
DRIVER(kqueue) = {GOOD(kqueue)}; /* marked as untested for its name */
DRIVER(better) = {GOOD(better), .priority = 20};
DRIVER(best) = {GOOD(best), .priority = 20};
DRIVER(shy) = {GOOD(shy), .priority = -1};
DRIVER(older) = {GOOD(older), .abi_minor = NX_ABI_MINOR - 1};
DRIVER(fair) = {GOOD(fair), .kind = NX_PLUGIN_SCHEDULER, .ops = &fair_ops};

/* ---- structs nobody can use ---- */

DRIVER(wrong_magic) = {GOOD(wrong_magic), .magic = 0x12345678};
DRIVER(ancient) = {GOOD(ancient), .abi_minor = 0};
DRIVER(newer_minor) = {GOOD(newer_minor), .abi_minor = NX_ABI_MINOR + 1};
DRIVER(other_major) = {GOOD(other_major), .abi_major = NX_ABI_MAJOR + 1};
DRIVER(short_struct) = {GOOD(short_struct), .size = 24};
DRIVER(long_struct) = {GOOD(long_struct), .size = 4096};
DRIVER(unknown_kind) = {GOOD(unknown_kind), .kind = 9};
DRIVER(a_layer) = {GOOD(a_layer), .kind = NX_PLUGIN_LAYER};
DRIVER(no_name) = {GOOD(no_name), .name = NULL};
DRIVER(misnamed) = {GOOD(misnamed), .name = "somebody"};
DRIVER(no_table) = {GOOD(no_table), .ops = NULL};
DRIVER(not_a_struct) = {GOOD(not_a_struct)};
NX_PLUGIN_EXPORT extern const uint32_t nexus_plugin_tiny;
const uint32_t nexus_plugin_tiny = NX_PLUGIN_MAGIC;

static const struct nx_param unknown_type[] = {{"x", 7, 0, "0", ""}, {NULL, 0, 0, NULL, NULL}};
DRIVER(param_type) = {GOOD(param_type), .params = unknown_type};
static const struct nx_param bad_default[] = {{"x", NX_PARAM_UINT, 0, "many", ""}, {NULL, 0, 0, NULL, NULL}};
DRIVER(param_default) = {GOOD(param_default), .params = bad_default};

/* ---- tables nobody can use ---- */

static const struct nx_driver_ops short_ops = {GOOD_TABLE, .size = offsetof(struct nx_driver_ops, wake)};
DRIVER(short_table) = {GOOD(short_table), .ops = &short_ops};
static const struct nx_driver_ops tiny_ops = {GOOD_TABLE, .size = 8};
DRIVER(tiny_table) = {GOOD(tiny_table), .ops = &tiny_ops};
static const struct nx_driver_ops no_submit_ops = {GOOD_TABLE, .submit = NULL};
DRIVER(no_submit) = {GOOD(no_submit), .ops = &no_submit_ops};
static const struct nx_driver_ops no_domain_ops = {GOOD_TABLE, .domains = 0};
DRIVER(no_domain) = {GOOD(no_domain), .ops = &no_domain_ops};
static const struct nx_driver_ops no_release_ops = {GOOD_TABLE, .affinity = NX_AFFINITY_REBIND};
DRIVER(no_release) = {GOOD(no_release), .ops = &no_release_ops};
static const struct nx_sched_ops no_dequeue_ops = {.size = sizeof(struct nx_sched_ops),
                                                   .open = sched_open,
                                                   .close = sched_close,
                                                   .select = sched_select,
                                                   .enqueue = enqueue,
                                                   .has_work = has_work};
DRIVER(no_dequeue) = {GOOD(no_dequeue), .kind = NX_PLUGIN_SCHEDULER, .ops = &no_dequeue_ops};

/* ---- good ones that can't run, or not here ---- */

static int say(struct nx_reason *ret_reason, int error, const char *call, const char *text, const char *remedy)
{
    memset(ret_reason, 0, sizeof(*ret_reason));
    ret_reason->error = error;
    snprintf(ret_reason->call, sizeof(ret_reason->call), "%s", call);
    snprintf(ret_reason->text, sizeof(ret_reason->text), "%s", text);
    snprintf(ret_reason->remedy, sizeof(ret_reason->remedy), "%s", remedy);
    return -error;
}
static int probe_denied(const struct nx_host *host, const struct nx_config *config, struct nx_reason *ret_reason)
{
    (void)host, (void)config;
    return say(ret_reason, EPERM, "sample_setup(2)", "the system forbids samples", "Set kernel.sample_disabled to 0.");
}
static int probe_full(const struct nx_host *host, const struct nx_config *config, struct nx_reason *ret_reason)
{
    (void)host, (void)config;
    return say(ret_reason, EMFILE, "sample_setup(2)", "", "");
}
static int probe_mute(const struct nx_host *host, const struct nx_config *config, struct nx_reason *ret_reason)
{
    (void)host, (void)config, (void)ret_reason;
    return -ENOSYS;
}
static int probe_endless(const struct nx_host *host, const struct nx_config *config, struct nx_reason *ret_reason)
{
    (void)host, (void)config;
    memset(ret_reason, 'x', sizeof(*ret_reason));
    ret_reason->error = EPERM;
    return -EPERM;
}

DRIVER(denied) = {GOOD(denied), .priority = 90, .probe = probe_denied};
DRIVER(full) = {GOOD(full), .priority = 80, .probe = probe_full};
DRIVER(mute) = {GOOD(mute), .probe = probe_mute};
DRIVER(endless) = {GOOD(endless), .probe = probe_endless};
static const struct nx_driver_ops files_ops = {GOOD_TABLE, .domains = NX_DOMAIN_FILES};
DRIVER(files) = {GOOD(files), .ops = &files_ops};
