/* micro_event: the cases that libevent has: timers, and wakes by event_active() from another thread. */
#include "micro_peer.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <event2/thread.h>

namespace
{

void nothing(evutil_socket_t, short, void *)
{
}

timeval after_ms(uint64_t ms)
{
    return {static_cast<time_t>(ms / 1000), static_cast<suseconds_t>(ms % 1000 * 1000)};
}

struct event_base *new_base(int flags)
{
    struct event_config *config = event_config_new();
    event_config_set_flag(config, flags);
    struct event_base *base = event_base_new_with_config(config);
    event_config_free(config);
    cases::must(base != nullptr, "there is a base");
    return base;
}

class Timers
{
  public:
    explicit Timers(size_t count) : base(new_base(EVENT_BASE_FLAG_NOLOCK)), timers(count + 1)
    {
        uint64_t seed = 2;
        for (struct event &timer : timers)
            evtimer_assign(&timer, base, nothing, nullptr);
        for (size_t i = 0; i < count; i++)
            reset(i, peer::random_ms(seed));
    }

    ~Timers()
    {
        for (struct event &timer : timers)
            evtimer_del(&timer);
        event_base_free(base);
    }

    void start_stop(uint64_t ms)
    {
        reset(timers.size() - 1, ms);
        evtimer_del(&timers.back());
    }

    void reset(size_t which, uint64_t ms)
    {
        timeval after = after_ms(ms);
        evtimer_add(&timers[which], &after);
    }

    bool running() const
    {
        return evtimer_pending(&timers.front(), nullptr);
    }

  private:
    struct event_base *base;
    std::vector<struct event> timers;
};

void sleep_1ms(benchmark::State &state)
{
    struct event_base *base = new_base(EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_PRECISE_TIMER);
    struct event *timer = evtimer_new(base, nothing, nullptr);
    peer::sleep_1ms(state, [&] {
        timeval after = after_ms(1);
        evtimer_add(timer, &after);
        event_base_loop(base, EVLOOP_ONCE);
    });
    event_free(timer);
    event_base_free(base);
}

struct Wake {
    struct event_base *here = new_base(0), *there = new_base(0);
    struct event *to_here, *to_there;
    int left = 0, rung = 0;
};

void answer(evutil_socket_t, short, void *arg)
{
    Wake *wake = static_cast<Wake *>(arg);
    wake->rung++;
    event_active(wake->to_here, EV_READ, 0);
}

void answered(evutil_socket_t, short, void *arg)
{
    Wake *wake = static_cast<Wake *>(arg);
    if (--wake->left > 0)
        event_active(wake->to_there, EV_READ, 0);
    else
        event_base_loopbreak(wake->here);
}

void wake_parked(benchmark::State &state)
{
    Wake wake;
    wake.to_here = event_new(wake.here, -1, EV_PERSIST, answered, &wake);
    wake.to_there = event_new(wake.there, -1, EV_PERSIST, answer, &wake);
    peer::Pinned pinned(0);
    std::thread other([&] {
        cases::pin(1);
        event_base_loop(wake.there, EVLOOP_NO_EXIT_ON_EMPTY);
    });
    while (state.KeepRunningBatch(peer::trips)) {
        wake.left = peer::trips;
        event_active(wake.to_there, EV_READ, 0);
        event_base_loop(wake.here, EVLOOP_NO_EXIT_ON_EMPTY);
    }
    event_base_loopbreak(wake.there);
    other.join();
    cases::must(wake.rung == state.iterations(), "each call was answered once");
    event_free(wake.to_here);
    event_free(wake.to_there);
    event_base_free(wake.here);
    event_base_free(wake.there);
}

} // namespace

int main(int argc, char **argv)
{
    evthread_use_pthreads();
    peer::add_timers<Timers>();
    cases::add("sleep_1ms", sleep_1ms);
    cases::add("wake_parked", wake_parked);
    return cases::run(argc, argv);
}
