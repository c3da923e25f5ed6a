/*
 * dispatch: what lies between the core and its plugins. Built twice: bench/micro/dispatch loads them from their files,
 * bench/micro/dispatch_builtin has the same objects linked in; all else is the same, so that the difference between
 * the two is the price of the plugin boundary.
 *
 * dispatch_yield: a switch, so one enqueue and one dequeue; dispatch_try: a read that is refused in submit;
 * dispatch_read: 64 bytes through a pair of sockets, there and back, with a task on each end that has to wait;
 * dispatch_accepted: the same when nobody has to wait, a write and a read.
 */
#include "micro.h"

#include <cstring>

#ifdef BENCH_BUILTIN
static const bool builtin = true;
#else
static const bool builtin = false;
#endif

/* Where the plugins come from decides what is measured. */
static void must_be_where_they_should()
{
    struct nx_runtime_info info = {};
    info.size = sizeof info;
    micro::ok(nx_runtime_info(nx_runtime_current(), &info), "nx_runtime_info");
    cases::must((info.backend_path[0] == 0) == builtin, "the backend is where this program wants it");
    cases::must((info.scheduler_path[0] == 0) == builtin, "the scheduler is where this program wants it");
}

static bool stop;

static intptr_t turner(void *)
{
    while (!stop)
        nx_yield();
    return 0;
}

static void dispatch_yield(benchmark::State &state)
{
    const int batch = 1000;
    must_be_where_they_should();
    stop = false;
    nx_task other = micro::spawn_at(micro::here, turner, nullptr);
    nx_yield();
    while (state.KeepRunningBatch(2 * batch))
        for (int i = 0; i < batch; i++)
            nx_yield();
    stop = true;
    micro::join(other);
}

struct Pair {
    nx_stream *one = nullptr, *other = nullptr;
    Pair()
    {
        micro::ok(nx_pair(&one, &other), "nx_pair");
    }
    ~Pair()
    {
        nx_close(one);
        nx_close(other);
    }
};

static const int batch = 100;

static void dispatch_try(benchmark::State &state)
{
    must_be_where_they_should();
    Pair pair;
    char byte;
    int refused = 0;
    while (state.KeepRunningBatch(batch))
        for (int i = 0; i < batch; i++)
            refused += nx_read(pair.one, &byte, 1, NX_POLL) == -EAGAIN;
    cases::must(refused == static_cast<int>(state.iterations()), "there was nothing to read");
}

static char message[64];

static bool pass_on(nx_stream *from, nx_stream *to)
{
    char buf[sizeof message];
    return nx_read_exact(from, buf, sizeof buf, NX_FOREVER) == sizeof buf &&
           nx_write(to, buf, sizeof buf, NX_FOREVER) == sizeof buf;
}

static intptr_t echo(void *arg)
{
    nx_stream *stream = static_cast<nx_stream *>(arg);
    while (pass_on(stream, stream))
        ;
    return 0;
}

static void dispatch_read(benchmark::State &state)
{
    must_be_where_they_should();
    Pair *pair = new Pair;
    nx_task other = micro::spawn_at(micro::here, echo, pair->other);
    micro::ok(nx_write(pair->one, message, sizeof message, NX_FOREVER), "nx_write");
    int wrong = 0;
    while (state.KeepRunningBatch(batch))
        for (int i = 0; i < batch; i++)
            wrong += !pass_on(pair->one, pair->one);
    cases::must(wrong == 0, "each message came back");
    nx_close(pair->one);
    pair->one = nullptr;
    micro::join(other);
    delete pair;
}

static void dispatch_accepted(benchmark::State &state)
{
    must_be_where_they_should();
    Pair pair;
    int wrong = 0;
    while (state.KeepRunningBatch(batch))
        for (int i = 0; i < batch; i++) {
            char buf[sizeof message];
            wrong += nx_write(pair.one, message, sizeof message, NX_FOREVER) != sizeof message;
            wrong += nx_read(pair.other, buf, sizeof buf, NX_FOREVER) != sizeof buf;
        }
    cases::must(wrong == 0, "each message arrived");
}

int main(int argc, char **argv)
{
    std::memset(message, 'x', sizeof message);
    micro::add("dispatch_yield", dispatch_yield);
    micro::add("dispatch_try", dispatch_try);
    micro::add("dispatch_read", dispatch_read);
    micro::add("dispatch_accepted", dispatch_accepted);
    return micro::run(argc, argv);
}
