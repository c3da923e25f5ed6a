/* micro_asio: the cases that Asio has without coroutines: timers, wakes by post(), and calls on a thread_pool. */
#include "micro_peer.h"

#include <asio.hpp>

namespace
{

using std::chrono::milliseconds;

/* A timer that is stopped has a handler to run: that is part of the price, paid in batches by poll(). */
class Timers
{
  public:
    explicit Timers(size_t count) : context(1), extra(context)
    {
        uint64_t seed = 2;
        timers.reserve(count);
        for (size_t i = 0; i < count; i++) {
            timers.emplace_back(context);
            reset(i, peer::random_ms(seed));
        }
    }

    void start_stop(uint64_t ms)
    {
        start(extra, ms);
        extra.cancel();
        settle();
    }

    void reset(size_t which, uint64_t ms)
    {
        start(timers[which], ms); /* which stops it first */
        settle();
    }

    bool running()
    {
        context.poll();
        return fired == 0;
    }

  private:
    void start(asio::steady_timer &timer, uint64_t ms)
    {
        timer.expires_after(milliseconds(ms));
        timer.async_wait([this](std::error_code error) { fired += !error; });
    }

    void settle()
    {
        if (++since % 64 == 0)
            context.poll();
    }

    asio::io_context context;
    asio::steady_timer extra;
    std::vector<asio::steady_timer> timers;
    uint64_t fired = 0, since = 0;
};

void sleep_1ms(benchmark::State &state)
{
    asio::io_context context(1);
    asio::steady_timer timer(context);
    peer::sleep_1ms(state, [&] {
        timer.expires_after(milliseconds(1));
        timer.async_wait([](std::error_code) {});
        context.restart();
        context.run();
    });
}

struct Wake {
    asio::io_context here{1}, there{1};
    int left = 0, rung = 0;
};

void ring(Wake &wake)
{
    asio::post(wake.there, [&wake] {
        wake.rung++;
        asio::post(wake.here, [&wake] {
            if (--wake.left > 0)
                ring(wake);
            else
                wake.here.stop();
        });
    });
}

void wake_parked(benchmark::State &state)
{
    Wake wake;
    auto stay_here = asio::make_work_guard(wake.here), stay_there = asio::make_work_guard(wake.there);
    /* Without anything on the reactor a context waits on a condition; a server's has sockets there, and waits in
     * epoll. */
    asio::steady_timer far_here(wake.here, milliseconds(peer::hour_ms)),
        far_there(wake.there, milliseconds(peer::hour_ms));
    far_here.async_wait([](std::error_code) {});
    far_there.async_wait([](std::error_code) {});
    peer::Pinned pinned(0);
    std::thread other([&] {
        cases::pin(1);
        wake.there.run();
    });
    while (state.KeepRunningBatch(peer::trips)) {
        wake.left = peer::trips;
        ring(wake);
        wake.here.restart();
        wake.here.run();
    }
    wake.there.stop();
    other.join();
    cases::must(wake.rung == state.iterations(), "each call was answered once");
}

void pool_hop(benchmark::State &state)
{
    const intptr_t batch = 50;
    asio::io_context context(1);
    asio::thread_pool pool(4);
    intptr_t wrong = 0;
    while (state.KeepRunningBatch(batch))
        for (intptr_t i = 0; i < batch; i++) {
            intptr_t value = i;
            auto stay = asio::make_work_guard(context);
            asio::post(pool, [&] {
                value++;
                asio::post(context, [&] { stay.reset(); });
            });
            context.restart();
            context.run();
            wrong += value != i + 1;
        }
    cases::must(wrong == 0, "each call on the pool returned its successor");
}

} // namespace

int main(int argc, char **argv)
{
    peer::add_timers<Timers>();
    cases::add("sleep_1ms", sleep_1ms);
    cases::add("wake_parked", wake_parked);
    cases::add("pool_hop", pool_hop);
    return cases::run(argc, argv);
}
