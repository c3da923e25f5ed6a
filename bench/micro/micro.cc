/* micro.cc: runtimes for cases. */
#include "micro.h"

#include <cstdio>
#include <cstdlib>
#include <unistd.h>
#include <utility>

namespace micro
{

static nx_runtime *usual, *spinless;

int64_t ok(int64_t result, const char *call)
{
    if (result >= 0)
        return result;
    std::fprintf(stderr, "%s: %s\n", call, nx_strerror(static_cast<int>(result)));
    std::fflush(nullptr);
    _exit(1);
}

static nx_runtime *create()
{
    char error[512] = "";
    nx_runtime_options options = {};
    options.size = sizeof options;
    options.cpus = "auto"; /* a cpu per worker: across threads is across cpus */
    options.error = error;
    options.error_size = sizeof error;
    nx_runtime *runtime = nullptr;
    int result = nx_runtime_create(&options, &runtime);
    if (result < 0) {
        std::fprintf(stderr, "%s\n", error);
        std::exit(1);
    }
    return runtime;
}

static nx_runtime *usual_runtime()
{
    if (!usual)
        usual = create();
    return usual;
}

static nx_runtime *spinless_runtime()
{
    if (spinless)
        return spinless;
    const char *spin = std::getenv("NEXUS_SPIN");
    std::string saved = spin ? spin : "";
    setenv("NEXUS_SPIN", "0", 1);
    spinless = create();
    if (spin)
        setenv("NEXUS_SPIN", saved.c_str(), 1);
    else
        unsetenv("NEXUS_SPIN");
    return spinless;
}

struct Call {
    const cases::Body *body;
    benchmark::State *state;
};

static intptr_t run_body(void *arg)
{
    Call *call = static_cast<Call *>(arg);
    (*call->body)(*call->state);
    return 0;
}

static nx_task_options bound_to(int worker)
{
    nx_task_options options = {};
    options.size = sizeof options;
    options.worker_plus_1 = worker + 1;
    return options;
}

/* Spawned from outside so that it is bound to its worker; what it measures with is that worker's thread. */
static void run_in_task(nx_runtime *runtime, const cases::Body &body, benchmark::State &state)
{
    Call call = {&body, &state};
    nx_task_options options = bound_to(here);
    options.stack_size = 256 << 10;
    nx_task task = ok(nx_spawn_on(runtime, &options, run_body, &call), "nx_spawn_on");
    join(task);
}

void add(const std::string &name, cases::Body body, cases::Clock clock)
{
    cases::add(
        name, [body = std::move(body)](benchmark::State &state) { run_in_task(usual_runtime(), body, state); }, clock);
}

void add_without_spin(const std::string &name, cases::Body body)
{
    cases::add(name,
               [body = std::move(body)](benchmark::State &state) { run_in_task(spinless_runtime(), body, state); });
}

int run(int argc, char **argv)
{
    int status = cases::run(argc, argv);
    nx_runtime_destroy(usual);
    nx_runtime_destroy(spinless);
    return status;
}

nx_task spawn_at(int worker, nx_task_fn fn, void *arg)
{
    nx_task_options options = bound_to(worker);
    return ok(nx_spawn_with(&options, fn, arg), "nx_spawn_with");
}

void join(nx_task task, intptr_t expected)
{
    intptr_t result = 0;
    ok(nx_join(task, &result, NX_FOREVER), "nx_join");
    cases::must(result == expected, "a task returns what its case expects");
}

bool has_two_workers(benchmark::State &state)
{
    struct nx_runtime_info info = {};
    info.size = sizeof info;
    ok(nx_runtime_info(nx_runtime_current(), &info), "nx_runtime_info");
    if (info.workers < 2)
        state.SkipWithError("needs two workers: NEXUS_WORKERS=2");
    return info.workers >= 2;
}

} // namespace micro
