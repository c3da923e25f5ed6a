/*
 * setup.c: from the program's options and the environment to a runtime with its plugins opened.
 *
 * The environment wins over the options, unless the program pins them. The decision itself is select.c's.
 */
#include "setup.h"
#include "cpus.h"
#include "env.h"
#include "overflow.h"
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
        say(error, size, "NEXUS_WORKERS=%.32s: a number from 1 to %u, or auto", text, NXI_WORKERS_MAX);
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
    runtime->setup->cpu_count = nxi_cpus_parse(cpus, runtime->setup->cpus, NXI_WORKERS_MAX);
    if (runtime->setup->cpu_count < 0) {
        say(error, size, "%s=%.64s: \"auto\", \"none\", or a list such as 0-3,6 of cpus this process may use",
            cpus == env->cpus ? "NEXUS_CPUS" : "options.cpus", cpus);
        return -EINVAL;
    }
    return 0;
}

static int read_rest(struct nx_runtime *runtime, const nx_runtime_options *options, const struct nxi_env *env,
                     char *error, size_t size)
{
    unsigned long spin = 0;
    runtime->spin_ns = -1;
    if (env->spin && strcmp(env->spin, "auto") != 0) {
        if (parse_number(env->spin, SPIN_MAX_US, &spin) < 0) {
            say(error, size, "NEXUS_SPIN=%.32s: microseconds from 0 (off) to %d, or auto", env->spin, SPIN_MAX_US);
            return -EINVAL;
        }
        runtime->spin_ns = (int64_t)spin * 1000;
    }
    if (options->stack_size > NXI_STACK_MAX || options->grace_ns < 0 ||
        (unsigned)options->on_panic > NX_PANIC_ISOLATE ||
        options->pin & ~(NX_PIN_BACKEND | NX_PIN_SCHED | NX_PIN_WORKERS) || options->flags & ~NX_NO_SIGSEGV) {
        say(error, size, "an option is out of range: stack_size (at most 64 MiB), grace_ns, on_panic, pin or flags");
        return -EINVAL;
    }
    runtime->stack_size = nxi_stack_round(options->stack_size ? options->stack_size : STACK_DEFAULT);
    runtime->grace_ns = options->grace_ns;
    runtime->on_panic = options->on_panic;
    runtime->flags = options->flags;
    snprintf(runtime->setup->thread_name, sizeof(runtime->setup->thread_name), "%s",
             options->thread_name ? options->thread_name : "nexus-worker");
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
    say(error, size, "NEXUS_LOG=%.32s: one of error, warn, info, debug", env->log);
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

/* The driver that sleeps for all: the network one if it can. */
static int elect_waiter(struct nx_runtime *runtime, char *error, size_t size)
{
    for (uint32_t i = 0; i < runtime->driver_count; i++) {
        if (!NXI_HAS(runtime->drivers[i].ops, wait))
            continue;
        runtime->waiter = i;
        return 0;
    }
    say(error, size, "none of the chosen drivers can wait; add one that does with NEXUS_BACKEND_FILE");
    return -EINVAL;
}

static void find_clock(struct nx_runtime *runtime)
{
    for (uint32_t i = 0; i < runtime->driver_count; i++) {
        if (!NXI_HAS(runtime->drivers[i].ops, now))
            continue;
        runtime->clock = runtime->drivers[i].instance;
        runtime->clock_now = runtime->drivers[i].ops->now;
        return;
    }
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
        result = nxi_select(&request, &setup->file, error, size);
        runtime->file_driver = 1;
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
        result = open_process_parts(runtime);
    if (result == 0)
        result = choose(runtime, &options, &env, error, size);
    if (result == 0)
        result = elect_waiter(runtime, error, size);
    if (result == 0)
        result = join_why(runtime->setup);
    if (result == 0)
        find_clock(runtime);
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
    info->file_backend = file->plugin->name;
    info->scheduler = setup->sched.plugin->name;
    info->scheduler_path = setup->sched.path;
    info->why = setup->why;
}

void nxi_setup_describe_failure(const struct nx_runtime *runtime, const struct nxi_worker *worker, char *error,
                                size_t size)
{
    char text[480];
    nxi_reason_text(&worker->start_reason, worker->start_error, text, sizeof(text));
    say(error, size, "worker %u can't open its part of the driver %s: %s", worker->index,
        runtime->setup->net.plugin->name, text);
}

void nxi_setup_give_error(const nx_runtime_options *options, const char *error)
{
    if (options->error && options->error_size > 0)
        snprintf(options->error, options->error_size, "%s", error);
}
