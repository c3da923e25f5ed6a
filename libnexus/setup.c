/*
 * setup.c: from the program's options and the environment to a runtime with its plugins opened.
 *
 * The environment wins over the options, unless the program pins them. The decision itself is select.c's.
 */
#include "setup.h"
#include "blocking.h"
#include "cpus.h"
#include "dump.h"
#include "env.h"
#include "overflow.h"
#include "spec.h"
#include "stack.h"
#include <nexus/runtime.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#ifdef NXI_ASAN
#define STACK_DEFAULT (256u << 10) /* AddressSanitizer's frames are larger */
#else
#define STACK_DEFAULT (64u << 10)
#endif

#define SPIN_MAX_US 1000000
#define STALL_MAX_MS 3600000

static NX_PRINTF(3, 4) void say(char *error, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(error, size, format, args);
    va_end(args);
}

/* A decimal number up to max: 0, or -EINVAL. */
static int parse_number(const char *text, unsigned long max, unsigned long *ret_value)
{
    char *end;
    if (*text < '0' || *text > '9')
        return -EINVAL;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || *end != '\0' || value > max)
        return -EINVAL;
    *ret_value = value;
    return 0;
}

/* ---- counts and limits ---- */

static int read_workers(struct nx_runtime *runtime, const nx_runtime_options *options, const struct nxi_env *env,
                        char *error, size_t size)
{
    bool pinned = options->pin & NX_PIN_WORKERS;
    unsigned long count = options->workers;
    const char *text = pinned ? NULL : env->workers;
    if (text && strcmp(text, "auto") == 0)
        count = 0;
    else if (text && (parse_number(text, NXI_WORKERS_MAX, &count) < 0 || count == 0)) {
        say(error, size, "NEXUS_WORKERS=%.32s: a number from 1 to %u, or auto", nxi_quote(text).text, NXI_WORKERS_MAX);
        return -EINVAL;
    }
    if (count > NXI_WORKERS_MAX) {
        say(error, size, "options.workers is %lu; the most is %u", count, NXI_WORKERS_MAX);
        return -EINVAL;
    }
    if (count == 0)
        count = nxi_cpus_usable();
    runtime->worker_count = count < NXI_WORKERS_MAX ? (uint32_t)count : NXI_WORKERS_MAX;

    const char *cpus = !pinned && env->cpus ? env->cpus : options->cpus;
    const char *name = cpus == env->cpus ? "NEXUS_CPUS" : "options.cpus";
    uint32_t missing;
    runtime->setup->cpu_count = nxi_cpus_parse(cpus, runtime->setup->cpus, NXI_WORKERS_MAX, &missing);
    if (runtime->setup->cpu_count == -ENODEV)
        say(error, size, "%s=%.64s: there is no cpu %u, or this process may not use it", name, nxi_quote(cpus).text,
            missing);
    else if (runtime->setup->cpu_count < 0)
        say(error, size, "%s=%.64s: \"auto\", \"none\", or a list such as 0-3,6", name, nxi_quote(cpus).text);
    return runtime->setup->cpu_count < 0 ? -EINVAL : 0;
}

static int check_ranges(const nx_runtime_options *options, char *error, size_t size)
{
    const unsigned pin = options->pin & ~(NX_PIN_BACKEND | NX_PIN_SCHED | NX_PIN_WORKERS);
    const unsigned flags = options->flags & ~(NX_NO_SIGSEGV | NX_DUMP_ON_SIGQUIT);
    if (options->stack_size > NXI_STACK_MAX)
        say(error, size, "options.stack_size is %zu; the most is %zu", options->stack_size, (size_t)NXI_STACK_MAX);
    else if (options->grace_ns < 0)
        say(error, size, "options.grace_ns is %lld; it can't be negative", (long long)options->grace_ns);
    else if ((unsigned)options->on_panic > NX_PANIC_ISOLATE)
        say(error, size, "options.on_panic is %d; it is NX_PANIC_ABORT (%d) or NX_PANIC_ISOLATE (%d)",
            (int)options->on_panic, NX_PANIC_ABORT, NX_PANIC_ISOLATE);
    else if (options->blocking_threads > NXI_BLOCKING_THREADS_MAX)
        say(error, size, "options.blocking_threads is %u; the most is %u", options->blocking_threads,
            NXI_BLOCKING_THREADS_MAX);
    else if (pin)
        say(error, size, "options.pin is 0x%x; no NX_PIN_... is 0x%x", options->pin, pin);
    else if (flags)
        say(error, size, "options.flags is 0x%x; this libnexus has no flag 0x%x", options->flags, flags);
    else
        return 0;
    return -EINVAL;
}

static int read_rest(struct nx_runtime *runtime, const nx_runtime_options *options, const struct nxi_env *env,
                     char *error, size_t size)
{
    unsigned long spin = 0;
    runtime->spin_ns = -1;
    if (env->spin && strcmp(env->spin, "auto") != 0) {
        if (parse_number(env->spin, SPIN_MAX_US, &spin) < 0) {
            say(error, size, "NEXUS_SPIN=%.32s: microseconds from 0 (off) to %d, or auto", nxi_quote(env->spin).text,
                SPIN_MAX_US);
            return -EINVAL;
        }
        runtime->spin_ns = (int64_t)spin * 1000;
    }
    if (check_ranges(options, error, size) < 0)
        return -EINVAL;
    runtime->stack_size = nxi_stack_round(options->stack_size ? options->stack_size : STACK_DEFAULT);
    runtime->grace_ns = options->grace_ns;
    runtime->on_panic = options->on_panic;
    runtime->flags = options->flags;
    runtime->setup->blocking_threads = options->blocking_threads ? options->blocking_threads : NXI_BLOCKING_THREADS;
    snprintf(runtime->setup->thread_name, sizeof(runtime->setup->thread_name), "%s",
             options->thread_name ? options->thread_name : "nexus-worker");
    return 0;
}

/* What helps to find out why a program hangs. */
static int read_diagnosis(struct nx_runtime *runtime, const struct nxi_env *env, char *error, size_t size)
{
    unsigned long stall_ms = 0;
    if (env->stall_ms && parse_number(env->stall_ms, STALL_MAX_MS, &stall_ms) < 0) {
        say(error, size, "NEXUS_STALL_MS=%.32s: milliseconds from 1 to %d, or 0 (off)", nxi_quote(env->stall_ms).text,
            STALL_MAX_MS);
        return -EINVAL;
    }
    runtime->setup->stall_ns = (int64_t)stall_ms * 1000000;
    if (env->dump && strcmp(env->dump, "sigquit") != 0) {
        say(error, size, "NEXUS_DUMP=%.32s: sigquit, or nothing", nxi_quote(env->dump).text);
        return -EINVAL;
    }
    if (env->dump)
        runtime->flags |= NX_DUMP_ON_SIGQUIT;
    return 0;
}

static int read_log(struct nx_runtime *runtime, const nx_runtime_options *options, const struct nxi_env *env,
                    char *error, size_t size)
{
    runtime->log = options->log;
    runtime->log_arg = options->log_arg;
    runtime->log_level = env->log ? nxi_log_level(env->log) : NX_LOG_WARN;
    if (runtime->log_level >= 0)
        return 0;
    say(error, size, "NEXUS_LOG=%.32s: one of error, warn, info, debug", nxi_quote(env->log).text);
    return -EINVAL;
}

/* ---- plugins ---- */

static void log_line(void *arg, int level, const char *message)
{
    nxi_log(arg, level, "%s", message);
}

static int open_driver(void *arg, const struct nx_plugin *plugin, const struct nx_config *config,
                       struct nx_reason *ret_reason)
{
    struct nx_runtime *runtime = arg;
    const struct nx_driver_ops *ops = plugin->ops;
    struct nxi_drivers_instance *slot = &runtime->drivers[runtime->driver_count];
    nxi_config_set_runtime(config, runtime);
    int error = ops->open(&nxi_host, config, runtime->driver_count + 1, &slot->instance, ret_reason);
    if (error < 0)
        return error;
    slot->ops = ops;
    runtime->driver_count++;
    return 0;
}

/* One without files means the blocking pool: it isn't opened. */
static int open_file_driver(void *arg, const struct nx_plugin *plugin, const struct nx_config *config,
                            struct nx_reason *ret_reason)
{
    const struct nx_driver_ops *ops = plugin->ops;
    struct nx_runtime *runtime = arg;
    uint32_t index = runtime->driver_count;
    int error = ops->domains & NX_DOMAIN_FILES ? open_driver(arg, plugin, config, ret_reason) : 0;
    if (error == 0)
        runtime->file_driver = index;
    return error;
}

/* Which file operations the driver does. One whose handles are tied to a context does none: files are used from all
 * workers at once. */
static void find_file_ops(struct nx_runtime *runtime)
{
    if (runtime->file_driver >= runtime->driver_count)
        return;
    const struct nxi_drivers_instance *driver = &runtime->drivers[runtime->file_driver];
    const struct nx_driver_ops *ops = driver->ops;
    if (!(ops->domains & NX_DOMAIN_FILES) || ops->affinity != NX_AFFINITY_FREE || !NXI_HAS(ops, capability))
        return;
    for (uint32_t code = NX_OP_OPEN; code <= NX_OP_MKDIR; code++) {
        struct nx_capability capability = {.size = sizeof(capability)};
        if (ops->capability(driver->instance, code, &capability) == 0 && capability.level != NX_CAP_NO)
            runtime->file_ops |= 1u << code;
    }
}

/* The network's, as a rule. */
static void find_foreign(struct nx_runtime *runtime)
{
    const struct nx_driver_ops *second = runtime->driver_count > 1 ? runtime->drivers[1].ops : NULL;
    if (!NXI_HAS(runtime->drivers[0].ops, import_fd) && second && NXI_HAS(second, import_fd) &&
        second->domains & NX_DOMAIN_FOREIGN)
        runtime->foreign_driver = 1;
}

static void find_loans(struct nx_runtime *runtime)
{
    const struct nxi_drivers_instance *driver = &runtime->drivers[0];
    struct nx_capability capability = {.size = sizeof(capability)};
    if (!NXI_HAS(driver->ops, capability) || !NXI_HAS(driver->ops, loan_return))
        return;
    runtime->lends = driver->ops->capability(driver->instance, NX_OP_READ, &capability) == 0 &&
                     capability.level != NX_CAP_NO && capability.flags & NX_OP_LOAN;
}

static int open_scheduler(void *arg, const struct nx_plugin *plugin, const struct nx_config *config,
                          struct nx_reason *ret_reason)
{
    struct nx_runtime *runtime = arg;
    const struct nx_sched_ops *ops = plugin->ops;
    int error = ops->open(&nxi_host, config, runtime->worker_count, &runtime->sched, ret_reason);
    if (error == 0)
        runtime->sched_ops = ops;
    return error;
}

/* Without a descriptor it rings its worker itself: so it is since ABI 0.2, before it was one that can't be waited
 * for. */
static bool rings(const struct nx_runtime *runtime, uint32_t index)
{
    const struct nx_plugin *plugin = index ? runtime->setup->file.plugin : runtime->setup->net.plugin;
    return !NXI_HAS(runtime->drivers[index].ops, wait_fd) && (plugin->abi_major > 0 || plugin->abi_minor >= 2);
}

/* It can wait for the other one, if there is one: by its descriptor, or because that one rings. */
static bool can_wait_for_all(const struct nx_runtime *runtime, uint32_t index)
{
    const struct nx_driver_ops *ops = runtime->drivers[index].ops, *other = runtime->drivers[1 - index].ops;
    if (!NXI_HAS(ops, wait))
        return false;
    return runtime->driver_count < 2 || runtime->clock || rings(runtime, 1 - index) ||
           (NXI_HAS(other, wait_fd) && NXI_HAS(ops, import_fd));
}

/* The driver that sleeps for all: the network one if it can. */
static int elect_waiter(struct nx_runtime *runtime, char *error, size_t size)
{
    for (uint32_t i = 0; i < runtime->driver_count; i++) {
        if (!can_wait_for_all(runtime, i))
            continue;
        runtime->waiter = i;
        return 0;
    }
    say(error, size, "none of the chosen backends can wait%s; add one that does with NEXUS_BACKEND_FILE",
        runtime->driver_count > 1 ? " for both" : "");
    return -EINVAL;
}

static bool owns_clock(const struct nxi_drivers_instance *driver)
{
    return NXI_HAS(driver->ops, now) && driver->ops->now(driver->instance) > 0;
}

static int find_clock(struct nx_runtime *runtime, char *error, size_t size)
{
    if (runtime->driver_count > 1 && owns_clock(&runtime->drivers[1])) {
        say(error, size, "the backend %s would own the clock, which only the network's may",
            runtime->setup->file.plugin->name);
        return -EINVAL;
    }
    if (!owns_clock(&runtime->drivers[0]))
        return 0;
    runtime->clock = runtime->drivers[0].instance;
    runtime->clock_now = runtime->drivers[0].ops->now;
    for (uint32_t i = 0; i < runtime->driver_count; i++)
        if (!NXI_HAS(runtime->drivers[i].ops, wait)) {
            say(error, size, "the backend %s owns the clock: it and one beside it must be able to wait",
                runtime->setup->net.plugin->name);
            return -EINVAL;
        }
    return 0;
}

static int choose(struct nx_runtime *runtime, const nx_runtime_options *options, const struct nxi_env *env, char *error,
                  size_t size)
{
    struct nxi_setup *setup = runtime->setup;
    struct nxi_request request = {
        .kind = NX_PLUGIN_DRIVER,
        .domains = NX_DOMAIN_NETWORK,
        .variable = env->backend_net ? "NEXUS_BACKEND_NET" : "NEXUS_BACKEND",
        .env_value = env->backend_net ? env->backend_net : env->backend,
        .option_value = options->backend,
        .pinned = options->pin & NX_PIN_BACKEND,
        .plugin_path = env->plugin_path,
        .host = &nxi_host,
        .open = open_driver,
        .open_arg = runtime,
        .log = log_line,
        .log_arg = runtime,
    };
    int result = nxi_select(&request, &setup->net, error, size);
    if (result == 0 && env->backend_file && request.pinned)
        nxi_log(runtime, NX_LOG_WARN, "NEXUS_BACKEND_FILE is ignored: the program has pinned its backend");
    if (result == 0 && env->backend_file && !request.pinned) {
        request.domains = NX_DOMAIN_FILES;
        request.variable = "NEXUS_BACKEND_FILE";
        request.env_value = env->backend_file;
        request.option_value = NULL;
        request.open = open_file_driver;
        result = nxi_select(&request, &setup->file, error, size);
    }
    if (result < 0)
        return result;
    request.kind = NX_PLUGIN_SCHEDULER;
    request.domains = 0;
    request.variable = "NEXUS_SCHED";
    request.env_value = env->sched;
    request.option_value = options->scheduler;
    request.pinned = options->pin & NX_PIN_SCHED;
    request.open = open_scheduler;
    return nxi_select(&request, &setup->sched, error, size);
}

static int join_why(struct nxi_setup *setup)
{
    const char *file = setup->file.why ? setup->file.why : "";
    size_t size = strlen(setup->net.why) + strlen(file) + strlen(setup->sched.why) + 3;
    setup->why = nxi_alloc(size);
    if (!setup->why)
        return -ENOMEM;
    setup->why_size = size;
    snprintf(setup->why, size, "%s%s%s", setup->net.why, file, setup->sched.why);
    return 0;
}

static void warn_near_miss(void *arg, const char *sentence)
{
    nxi_log(arg, NX_LOG_WARN, "%s", sentence);
}

static void warn_stacks(const char *text)
{
    nxi_log(NULL, NX_LOG_WARN, "%s", text);
}

/* What the handler of a stack overflow says: async-signal-safe but for snprintf of plain strings and numbers. */
static size_t describe_current(char *buf, size_t size)
{
    struct nxi_worker *worker = nxi_self();
    struct nxi_task *task = worker ? worker->current : NULL;
    if (!task)
        return 0;
    struct nxi_cold *cold = task->cold;
    int length = cold && cold->name[0] ? snprintf(buf, size, "task '%s'", cold->name)
                                       : snprintf(buf, size, "task '#%u'", task->slot);
    return length < 0 ? 0 : (size_t)length < size ? (size_t)length : size - 1;
}

static int open_process_parts(struct nx_runtime *runtime)
{
    nxi_stacks_set_warn(warn_stacks);
    int result = nxi_stacks_init();
    if (result < 0)
        return result;
    nxi_overflow_set_describe(describe_current);
    result = nxi_overflow_install(runtime->flags & NX_NO_SIGSEGV);
    if (result == 0)
        runtime->setup->overflow_installed = !(runtime->flags & NX_NO_SIGSEGV);
    if (result == 0 && runtime->flags & NX_DUMP_ON_SIGQUIT) {
        result = nxi_sigquit_install();
        runtime->setup->sigquit_installed = result == 0;
    }
    return result;
}

int nxi_setup_open(struct nx_runtime *runtime, const nx_runtime_options *given, char *error, size_t size)
{
    const nx_runtime_options options = *given;
    struct nxi_env env;
    runtime->setup = nxi_alloc(sizeof(*runtime->setup));
    if (!runtime->setup)
        return -ENOMEM;
    nxi_env_read(&env);
    int result = read_log(runtime, &options, &env, error, size);
    if (result == 0 && env.privileged)
        nxi_log(runtime, NX_LOG_INFO, "the process is privileged: NEXUS_ variables are not read");
    if (result == 0)
        nxi_env_warn_near_misses(warn_near_miss, runtime);
    if (result == 0)
        result = read_workers(runtime, &options, &env, error, size);
    if (result == 0)
        result = read_rest(runtime, &options, &env, error, size);
    if (result == 0)
        result = read_diagnosis(runtime, &env, error, size);
    if (result == 0)
        result = open_process_parts(runtime);
    if (result == 0)
        result = choose(runtime, &options, &env, error, size);
    if (result == 0)
        result = find_clock(runtime, error, size);
    if (result == 0)
        result = elect_waiter(runtime, error, size);
    if (result == 0)
        result = join_why(runtime->setup);
    if (result == 0) {
        find_file_ops(runtime);
        find_loans(runtime);
        find_foreign(runtime);
    }
    return result;
}

void nxi_setup_close(struct nx_runtime *runtime)
{
    struct nxi_setup *setup = runtime->setup;
    if (!setup)
        return;
    if (runtime->sched_ops)
        runtime->sched_ops->close(runtime->sched);
    while (runtime->driver_count > 0) {
        runtime->driver_count--;
        runtime->drivers[runtime->driver_count].ops->close(runtime->drivers[runtime->driver_count].instance);
    }
    nxi_selection_clear(&setup->sched);
    nxi_selection_clear(&setup->file);
    nxi_selection_clear(&setup->net);
    if (setup->sigquit_installed)
        nxi_sigquit_remove();
    if (setup->overflow_installed)
        nxi_overflow_remove();
    nxi_free(setup->why, setup->why_size);
    nxi_free(setup, sizeof(*setup));
    runtime->setup = NULL;
}

void nxi_setup_info(const struct nx_runtime *runtime, struct nx_runtime_info *info)
{
    const struct nxi_setup *setup = runtime->setup;
    const struct nxi_selection *file = setup->file.plugin ? &setup->file : &setup->net;
    info->backend = setup->net.plugin->name;
    info->backend_path = setup->net.path;
    info->file_backend = runtime->file_ops ? file->plugin->name : "pool";
    info->scheduler = setup->sched.plugin->name;
    info->scheduler_path = setup->sched.path;
    info->why = setup->why;
}

void nxi_setup_describe_failure(const struct nx_runtime *runtime, const struct nxi_worker *worker, char *error,
                                size_t size)
{
    const struct nxi_setup *setup = runtime->setup;
    const struct nxi_selection *failed = worker->start_driver == 0 ? &setup->net : &setup->file;
    char text[480];
    nxi_reason_text(&worker->start_reason, worker->start_error, text, sizeof(text));
    say(error, size, "worker %u can't open its part of the backend %s: %s", worker->index, failed->plugin->name, text);
}

void nxi_setup_give_error(const nx_runtime_options *options, const char *error)
{
    if (options->error && options->error_size > 0)
        snprintf(options->error, options->error_size, "%s", error);
}

/* Of a size that can't be, nothing was read, and there is nowhere to put a sentence. */
int nxi_setup_refuse_size(const nx_runtime_options *known)
{
    char sentence[256];
    say(sentence, sizeof(sentence),
        "options.size is %zu: libnexus %s knows %zu bytes of options, and not what is set behind them", known->size,
        nx_version(), sizeof(*known));
    nxi_setup_give_error(known, sentence);
    return -EINVAL;
}
