/*
 * wake: there and back between two threads. wake_spin: each watches a cache line of the other's; wake_parked: each
 * sleeps in epoll_wait until its eventfd is written. Each on a cpu of its own, as far as there are two.
 */
#include "cases.h"

#include <atomic>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <thread>
#include <unistd.h>

static const int batch = 100;

static inline void relax()
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

struct alignas(64) Line {
    std::atomic<uint64_t> value{0};
    void wait(uint64_t wanted)
    {
        while (value.load(std::memory_order_acquire) != wanted)
            relax();
    }
};

static const uint64_t end = UINT64_MAX;

static void wake_spin(benchmark::State &state)
{
    Line there, back;
    std::thread other([&] {
        cases::pin(1);
        for (uint64_t seen = 0, now; seen != end; seen = now) {
            while ((now = there.value.load(std::memory_order_acquire)) == seen)
                relax();
            back.value.store(now, std::memory_order_release);
        }
    });
    uint64_t number = 0;
    while (state.KeepRunningBatch(batch))
        for (int i = 0; i < batch; i++) {
            there.value.store(++number, std::memory_order_release);
            back.wait(number);
        }
    there.value.store(end, std::memory_order_release);
    other.join();
    cases::must(back.value == end, "the other one has seen the end");
}

/* An eventfd and the epoll set it is in. */
class Bell
{
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    int set = epoll_create1(EPOLL_CLOEXEC);

  public:
    Bell()
    {
        struct epoll_event interest = {};
        interest.events = EPOLLIN | EPOLLET;
        cases::must(epoll_ctl(set, EPOLL_CTL_ADD, event, &interest) == 0, "an eventfd can be watched");
    }
    ~Bell()
    {
        close(set);
        close(event);
    }
    void ring()
    {
        uint64_t one = 1;
        cases::must(write(event, &one, sizeof one) == sizeof one, "an eventfd can be written");
    }
    /* Edge-triggered, so that nothing need be read: each write is an event. */
    void wait()
    {
        struct epoll_event event_out;
        while (epoll_wait(set, &event_out, 1, -1) != 1)
            ;
    }
};

static void wake_parked(benchmark::State &state)
{
    Bell there, back;
    std::atomic<bool> stop{false};
    uint64_t answered = 0;
    std::thread other([&] {
        cases::pin(1);
        for (;;) {
            there.wait();
            if (stop)
                return;
            answered++;
            back.ring();
        }
    });
    while (state.KeepRunningBatch(batch))
        for (int i = 0; i < batch; i++) {
            there.ring();
            back.wait();
        }
    stop = true;
    there.ring();
    other.join();
    cases::must(answered == static_cast<uint64_t>(state.iterations()), "each call was answered once");
}

int main(int argc, char **argv)
{
    cases::pin(0);
    cases::add("wake_spin", wake_spin);
    cases::add("wake_parked", wake_parked);
    return cases::run(argc, argv);
}
