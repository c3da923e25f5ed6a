/* micro_ev: the cases that libev has: timers, and wakes by ev_async. */
#include "micro_peer.h"

#include <ev.h>

namespace
{

void nothing(struct ev_loop *, ev_timer *, int)
{
}

struct ev_loop *new_loop()
{
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    cases::must(loop != nullptr, "there is a loop");
    return loop;
}

class Timers
{
  public:
    explicit Timers(size_t count) : loop(new_loop()), timers(count + 1)
    {
        uint64_t seed = 2;
        for (ev_timer &timer : timers)
            ev_timer_init(&timer, nothing, 0., 0.);
        for (size_t i = 0; i < count; i++)
            start(timers[i], peer::random_ms(seed));
    }

    ~Timers()
    {
        for (ev_timer &timer : timers)
            ev_timer_stop(loop, &timer);
        ev_loop_destroy(loop);
    }

    void start_stop(uint64_t ms)
    {
        start(timers.back(), ms);
        ev_timer_stop(loop, &timers.back());
    }

    /* In place: what ev_timer_again() is for. */
    void reset(size_t which, uint64_t ms)
    {
        timers[which].repeat = static_cast<ev_tstamp>(ms) * 1e-3;
        ev_timer_again(loop, &timers[which]);
    }

    bool running() const
    {
        return ev_is_active(&timers.front());
    }

  private:
    void start(ev_timer &timer, uint64_t ms)
    {
        ev_timer_set(&timer, static_cast<ev_tstamp>(ms) * 1e-3, 0.);
        ev_timer_start(loop, &timer);
    }

    struct ev_loop *loop;
    std::vector<ev_timer> timers;
};

void sleep_1ms(benchmark::State &state)
{
    struct ev_loop *loop = new_loop();
    ev_timer timer;
    ev_timer_init(&timer, nothing, 0., 0.);
    peer::sleep_1ms(state, [&] {
        ev_now_update(loop);
        ev_timer_set(&timer, 1e-3, 0.);
        ev_timer_start(loop, &timer);
        ev_run(loop, 0);
    });
    ev_loop_destroy(loop);
}

struct Wake {
    struct ev_loop *here = new_loop(), *there = new_loop();
    ev_async to_here, to_there, end;
    int left = 0, rung = 0;
};

void answer(struct ev_loop *, ev_async *async, int)
{
    Wake *wake = static_cast<Wake *>(async->data);
    wake->rung++;
    ev_async_send(wake->here, &wake->to_here);
}

void answered(struct ev_loop *loop, ev_async *async, int)
{
    Wake *wake = static_cast<Wake *>(async->data);
    if (--wake->left > 0)
        ev_async_send(wake->there, &wake->to_there);
    else
        ev_break(loop, EVBREAK_ALL);
}

void stop(struct ev_loop *loop, ev_async *, int)
{
    ev_break(loop, EVBREAK_ALL);
}

void wake_parked(benchmark::State &state)
{
    Wake wake;
    ev_async_init(&wake.to_here, answered);
    ev_async_init(&wake.to_there, answer);
    ev_async_init(&wake.end, stop);
    wake.to_here.data = wake.to_there.data = &wake;
    ev_async_start(wake.here, &wake.to_here);
    ev_async_start(wake.there, &wake.to_there);
    ev_async_start(wake.there, &wake.end);
    peer::Pinned pinned(0);
    std::thread other([&] {
        cases::pin(1);
        ev_run(wake.there, 0);
    });
    while (state.KeepRunningBatch(peer::trips)) {
        wake.left = peer::trips;
        ev_async_send(wake.there, &wake.to_there);
        ev_run(wake.here, 0);
    }
    ev_async_send(wake.there, &wake.end);
    other.join();
    cases::must(wake.rung == state.iterations(), "each call was answered once");
    ev_loop_destroy(wake.here);
    ev_loop_destroy(wake.there);
}

} // namespace

int main(int argc, char **argv)
{
    peer::add_timers<Timers>();
    cases::add("sleep_1ms", sleep_1ms);
    cases::add("wake_parked", wake_parked);
    return cases::run(argc, argv);
}
