/*
 * channel: the price of a message of eight bytes.
 *
 * On one worker: in and out again in one task; from a task to another through a channel of 1024; there and back, each
 * way a message and a switch. The same through NX_CHAN_LOCAL. Between two workers: one by one (chan_mpsc_threads), and
 * by up to 64 at once (chan_spsc_threads).
 */
#include "micro.h"

static const size_t room = 1024;

static nx_chan *create(size_t capacity, unsigned flags)
{
    nx_chan_options options = {};
    nx_chan *chan = nullptr;
    options.size = sizeof options;
    options.elem_size = sizeof(uint64_t);
    options.capacity = capacity;
    options.flags = flags;
    micro::ok(nx_chan_create_with(&options, &chan), "nx_chan_create_with");
    return chan;
}

static void same_task(benchmark::State &state, unsigned flags)
{
    const uint64_t batch = 1000;
    nx_chan *chan = create(room, flags);
    uint64_t got = 0, wrong = 0;
    while (state.KeepRunningBatch(batch))
        for (uint64_t i = 0; i < batch; i++) {
            wrong += nx_chan_send(chan, &i, NX_FOREVER) != 0 || nx_chan_recv(chan, &got, NX_FOREVER) != 0;
            wrong += got != i;
        }
    cases::must(wrong == 0, "each message came back");
    nx_chan_destroy(chan);
}

struct Pair {
    nx_chan *there, *back;
    uint64_t next; /* what comes next, if nothing is lost or out of order */
};

static intptr_t consume(void *arg)
{
    Pair *pair = static_cast<Pair *>(arg);
    uint64_t got, wrong = 0;
    while (nx_chan_recv(pair->there, &got, NX_FOREVER) == 0)
        wrong += got != pair->next++;
    return static_cast<intptr_t>(wrong);
}

static void two_tasks(benchmark::State &state, unsigned flags)
{
    const uint64_t batch = 4 * room;
    Pair pair = {create(room, flags), nullptr, 0};
    nx_task consumer = micro::spawn_at(micro::here, consume, &pair);
    uint64_t sent = 0;
    while (state.KeepRunningBatch(batch)) {
        for (uint64_t end = sent + batch; sent < end; sent++)
            micro::ok(nx_chan_send(pair.there, &sent, NX_FOREVER), "nx_chan_send");
        while (pair.next < sent) /* what is still in the channel belongs to the batch */
            nx_yield();
    }
    nx_chan_close(pair.there);
    micro::join(consumer);
    cases::must(pair.next == sent, "each message was received");
    nx_chan_destroy(pair.there);
}

static intptr_t echo(void *arg)
{
    Pair *pair = static_cast<Pair *>(arg);
    uint64_t got;
    while (nx_chan_recv(pair->there, &got, NX_FOREVER) == 0)
        micro::ok(nx_chan_send(pair->back, &got, NX_FOREVER), "nx_chan_send");
    return 0;
}

static void ping_pong(benchmark::State &state, unsigned flags)
{
    const uint64_t batch = 500;
    Pair pair = {create(1, flags), create(1, flags), 0};
    nx_task partner = micro::spawn_at(micro::here, echo, &pair);
    uint64_t got = 0, wrong = 0;
    while (state.KeepRunningBatch(2 * batch))
        for (uint64_t i = 0; i < batch; i++) {
            wrong += nx_chan_send(pair.there, &i, NX_FOREVER) != 0 || nx_chan_recv(pair.back, &got, NX_FOREVER) != 0;
            wrong += got != i;
        }
    cases::must(wrong == 0, "each message came back");
    nx_chan_close(pair.there);
    micro::join(partner);
    nx_chan_destroy(pair.there);
    nx_chan_destroy(pair.back);
}

static intptr_t produce(void *arg)
{
    nx_chan *chan = static_cast<nx_chan *>(arg);
    uint64_t next = 0;
    int result;
    while ((result = nx_chan_send(chan, &next, NX_FOREVER)) == 0)
        next++;
    return result;
}

static void from_other_worker(benchmark::State &state)
{
    const uint64_t batch = 1000;
    if (!micro::has_two_workers(state))
        return;
    nx_chan *chan = create(room, 0);
    nx_task producer = micro::spawn_at(micro::there, produce, chan);
    uint64_t next = 0, got = 0, wrong = 0;
    micro::ok(nx_chan_recv(chan, &got, NX_FOREVER), "nx_chan_recv"); /* it has started */
    wrong += got != next++;
    while (state.KeepRunningBatch(batch))
        for (uint64_t i = 0; i < batch; i++) {
            wrong += nx_chan_recv(chan, &got, NX_FOREVER) != 0;
            wrong += got != next++;
        }
    cases::must(wrong == 0, "messages arrive in the order they were sent in");
    nx_chan_close(chan);
    micro::join(producer, -EPIPE);
    nx_chan_destroy(chan);
}

static const size_t many = 64;

static intptr_t produce_many(void *arg)
{
    nx_chan *chan = static_cast<nx_chan *>(arg);
    uint64_t next = 0, values[many];
    ssize_t sent;
    do {
        for (size_t i = 0; i < many; i++)
            values[i] = next + i;
        sent = nx_chan_send_many(chan, values, many, NX_FOREVER);
        next += sent > 0 ? sent : 0;
    } while (sent > 0);
    return sent;
}

static void many_from_other_worker(benchmark::State &state)
{
    const uint64_t batch = 4096;
    if (!micro::has_two_workers(state))
        return;
    nx_chan *chan = create(room, 0);
    nx_task producer = micro::spawn_at(micro::there, produce_many, chan);
    uint64_t next = 0, wrong = 0, values[many];
    micro::ok(nx_chan_recv(chan, values, NX_FOREVER), "nx_chan_recv");
    wrong += values[0] != next++;
    while (state.KeepRunningBatch(batch))
        for (uint64_t end = next + batch; next < end;) {
            size_t wanted = end - next < many ? end - next : many;
            ssize_t got = micro::ok(nx_chan_recv_many(chan, values, wanted, NX_FOREVER), "nx_chan_recv_many");
            for (ssize_t i = 0; i < got; i++)
                wrong += values[i] != next++;
        }
    cases::must(wrong == 0, "messages arrive in the order they were sent in");
    nx_chan_close(chan);
    micro::join(producer, -EPIPE);
    nx_chan_destroy(chan);
}

int main(int argc, char **argv)
{
    micro::add("chan_same_task", [](benchmark::State &state) { same_task(state, 0); });
    micro::add("chan_two_tasks", [](benchmark::State &state) { two_tasks(state, 0); });
    micro::add("chan_ping_pong", [](benchmark::State &state) { ping_pong(state, 0); });
    micro::add("chan_local_same_task", [](benchmark::State &state) { same_task(state, NX_CHAN_LOCAL); });
    micro::add("chan_local_two_tasks", [](benchmark::State &state) { two_tasks(state, NX_CHAN_LOCAL); });
    micro::add("chan_local_ping_pong", [](benchmark::State &state) { ping_pong(state, NX_CHAN_LOCAL); });
    micro::add("chan_mpsc_threads", from_other_worker);
    micro::add("chan_spsc_threads", many_from_other_worker);
    return micro::run(argc, argv);
}
