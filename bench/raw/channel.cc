/*
 * channel: the least queues that do a channel's work, without waiting for anybody: who finds it full or empty, tries
 * again.
 *
 * Mpsc is Vyukov's bounded queue: each cell has a sequence number that says whose turn it is; producers claim a cell by
 * a CAS on the tail. Spsc has one index each, kept on lines of their own, and each side works on a copy of the other's
 * index until that is used up. Both publish with release and look with acquire.
 */
#include "cases.h"

#include <atomic>
#include <memory>
#include <thread>

static const uint64_t room = 1024;

static inline void relax()
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

class Mpsc
{
    struct Cell {
        std::atomic<uint64_t> turn;
        uint64_t value;
    };
    Cell cells[room];
    alignas(64) std::atomic<uint64_t> tail{0};
    alignas(64) uint64_t head = 0;

  public:
    Mpsc()
    {
        for (uint64_t i = 0; i < room; i++)
            cells[i].turn.store(i, std::memory_order_relaxed);
    }

    bool push(uint64_t value)
    {
        uint64_t at = tail.load(std::memory_order_relaxed);
        for (;;) {
            Cell &cell = cells[at % room];
            int64_t ahead = static_cast<int64_t>(cell.turn.load(std::memory_order_acquire) - at);
            if (ahead < 0)
                return false;
            if (ahead > 0)
                at = tail.load(std::memory_order_relaxed);
            else if (tail.compare_exchange_weak(at, at + 1, std::memory_order_relaxed)) {
                cell.value = value;
                cell.turn.store(at + 1, std::memory_order_release);
                return true;
            }
        }
    }

    bool pop(uint64_t &value)
    {
        Cell &cell = cells[head % room];
        if (cell.turn.load(std::memory_order_acquire) != head + 1)
            return false;
        value = cell.value;
        cell.turn.store(head + room, std::memory_order_release);
        head++;
        return true;
    }
};

class Spsc
{
    uint64_t values[room];
    alignas(64) std::atomic<uint64_t> tail{0};
    uint64_t head_seen = 0;
    alignas(64) std::atomic<uint64_t> head{0};
    uint64_t tail_seen = 0;

  public:
    bool push(uint64_t value)
    {
        uint64_t at = tail.load(std::memory_order_relaxed);
        if (at - head_seen == room && at - (head_seen = head.load(std::memory_order_acquire)) == room)
            return false;
        values[at % room] = value;
        tail.store(at + 1, std::memory_order_release);
        return true;
    }

    bool pop(uint64_t &value)
    {
        uint64_t at = head.load(std::memory_order_relaxed);
        if (at == tail_seen && at == (tail_seen = tail.load(std::memory_order_acquire)))
            return false;
        value = values[at % room];
        head.store(at + 1, std::memory_order_release);
        return true;
    }
};

static void same_thread(benchmark::State &state)
{
    const uint64_t batch = 1000;
    auto queue = std::make_unique<Mpsc>();
    uint64_t got = 0, wrong = 0;
    while (state.KeepRunningBatch(batch))
        for (uint64_t i = 0; i < batch; i++) {
            wrong += !queue->push(i) || !queue->pop(got);
            wrong += got != i;
        }
    cases::must(wrong == 0, "each message came back");
}

template <class Queue>
static void two_threads(benchmark::State &state, uint64_t batch)
{
    auto queue = std::make_unique<Queue>();
    std::atomic<bool> stop{false};
    std::thread producer([&] {
        cases::pin(1);
        for (uint64_t next = 0; !stop.load(std::memory_order_relaxed);)
            if (queue->push(next))
                next++;
            else
                relax();
    });
    uint64_t next = 0, got = 0, wrong = 0;
    auto receive = [&] {
        while (!queue->pop(got))
            relax();
        wrong += got != next++;
    };
    receive(); /* the other one has started */
    while (state.KeepRunningBatch(static_cast<benchmark::IterationCount>(batch)))
        for (uint64_t i = 0; i < batch; i++)
            receive();
    stop = true;
    producer.join();
    cases::must(wrong == 0, "messages arrive in the order they were sent in");
}

int main(int argc, char **argv)
{
    cases::pin(0);
    cases::add("chan_same_task", same_thread);
    cases::add("chan_mpsc_threads", [](benchmark::State &state) { two_threads<Mpsc>(state, 1000); });
    cases::add("chan_spsc_threads", [](benchmark::State &state) { two_threads<Spsc>(state, 4096); });
    return cases::run(argc, argv);
}
