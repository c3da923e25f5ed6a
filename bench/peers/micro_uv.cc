/* micro_uv: the cases that libuv has: timers, wakes by uv_async_t, files and calls on its pool of threads. */
#include "micro_peer.h"
#include "pages.h"

#include <unistd.h>
#include <uv.h>

namespace
{

void must(int result)
{
    cases::must(result >= 0, "libuv can do it");
}

void nothing(uv_timer_t *)
{
}

struct Loop {
    uv_loop_t loop;
    Loop()
    {
        must(uv_loop_init(&loop));
    }
    ~Loop()
    {
        uv_walk(
            &loop, [](uv_handle_t *handle, void *) { uv_is_closing(handle) ? void() : uv_close(handle, nullptr); },
            nullptr);
        uv_run(&loop, UV_RUN_DEFAULT);
        uv_loop_close(&loop);
    }
};

/* ---- timers ---- */

class Timers
{
  public:
    explicit Timers(size_t count) : timers(count + 1)
    {
        uint64_t seed = 2;
        for (uv_timer_t &timer : timers)
            uv_timer_init(&loop.loop, &timer);
        for (size_t i = 0; i < count; i++)
            uv_timer_start(&timers[i], nothing, peer::random_ms(seed), 0);
    }

    void start_stop(uint64_t ms)
    {
        uv_timer_start(&timers.back(), nothing, ms, 0);
        uv_timer_stop(&timers.back());
    }

    void reset(size_t which, uint64_t ms)
    {
        uv_timer_start(&timers[which], nothing, ms, 0);
    }

    bool running() const
    {
        return uv_is_active(reinterpret_cast<const uv_handle_t *>(&timers.front()));
    }

  private:
    std::vector<uv_timer_t> timers; /* goes after the loop, which closes them */
    Loop loop;
};

void sleep_1ms(benchmark::State &state)
{
    Loop loop;
    uv_timer_t timer;
    uv_timer_init(&loop.loop, &timer);
    peer::sleep_1ms(state, [&] {
        uv_update_time(&loop.loop);
        uv_timer_start(&timer, nothing, 1, 0);
        uv_run(&loop.loop, UV_RUN_DEFAULT);
    });
}

/* ---- a wake there and back ---- */

struct Wake {
    Loop here, there;
    uv_async_t to_here, to_there;
    int left = 0, rung = 0;
};

void answer(uv_async_t *async)
{
    Wake *wake = static_cast<Wake *>(async->data);
    wake->rung++;
    uv_async_send(&wake->to_here);
}

void answered(uv_async_t *async)
{
    Wake *wake = static_cast<Wake *>(async->data);
    if (--wake->left > 0)
        uv_async_send(&wake->to_there);
    else
        uv_stop(&wake->here.loop);
}

void wake_parked(benchmark::State &state)
{
    Wake wake;
    uv_async_t end;
    must(uv_async_init(&wake.here.loop, &wake.to_here, answered));
    must(uv_async_init(&wake.there.loop, &wake.to_there, answer));
    must(uv_async_init(&wake.there.loop, &end, [](uv_async_t *async) { uv_stop(async->loop); }));
    wake.to_here.data = wake.to_there.data = &wake;
    peer::Pinned pinned(0);
    std::thread other([&] {
        cases::pin(1);
        uv_run(&wake.there.loop, UV_RUN_DEFAULT);
    });
    while (state.KeepRunningBatch(peer::trips)) {
        wake.left = peer::trips;
        uv_async_send(&wake.to_there);
        uv_run(&wake.here.loop, UV_RUN_DEFAULT);
    }
    uv_async_send(&end);
    other.join();
    cases::must(wake.rung == state.iterations(), "each call was answered once");
}

/* ---- files, and calls on the pool ---- */

struct Reader {
    uv_fs_t request;
    int fd, *left;
    uint64_t number, seed, wrong;
    alignas(64) char page[pages::SIZE];
};

void on_read(uv_fs_t *request);

void read_next(uv_loop_t *loop, Reader *reader)
{
    uv_buf_t buf = uv_buf_init(reader->page, sizeof reader->page);
    reader->number = pages::random(reader->seed);
    must(uv_fs_read(loop, &reader->request, reader->fd, &buf, 1, pages::place(reader->number), on_read));
}

void on_read(uv_fs_t *request)
{
    Reader *reader = static_cast<Reader *>(request->data);
    reader->wrong += request->result != pages::SIZE || !pages::is_page(reader->page, reader->number);
    uv_fs_req_cleanup(request);
    if ((*reader->left)-- > 0)
        read_next(request->loop, reader);
}

void file_read(benchmark::State &state, int flight)
{
    const int batch = 512;
    Loop loop;
    int fd = pages::make(), left = 0;
    std::vector<Reader> readers(flight);
    while (state.KeepRunningBatch(batch)) {
        left = batch - flight;
        for (int i = 0; i < flight; i++) {
            readers[i].request.data = &readers[i];
            readers[i].fd = fd;
            readers[i].left = &left;
            readers[i].seed += i;
            read_next(&loop.loop, &readers[i]);
        }
        uv_run(&loop.loop, UV_RUN_DEFAULT);
    }
    for (const Reader &reader : readers)
        cases::must(reader.wrong == 0, "each read gave its page");
    close(fd);
}

struct Hop {
    uv_work_t work;
    intptr_t value;
};

void pool_hop(benchmark::State &state)
{
    const intptr_t batch = 50;
    Loop loop;
    Hop hop;
    intptr_t wrong = 0;
    hop.work.data = &hop;
    while (state.KeepRunningBatch(batch))
        for (intptr_t i = 0; i < batch; i++) {
            hop.value = i;
            must(uv_queue_work(
                &loop.loop, &hop.work, [](uv_work_t *work) { static_cast<Hop *>(work->data)->value++; },
                [](uv_work_t *, int) {}));
            uv_run(&loop.loop, UV_RUN_DEFAULT);
            wrong += hop.value != i + 1;
        }
    cases::must(wrong == 0, "each call on the pool returned its successor");
}

} // namespace

int main(int argc, char **argv)
{
    peer::add_timers<Timers>();
    cases::add("sleep_1ms", sleep_1ms);
    cases::add("wake_parked", wake_parked);
    cases::add("file_read_4k/1", [](benchmark::State &state) { file_read(state, 1); });
    cases::add("file_read_4k/32", [](benchmark::State &state) { file_read(state, 32); });
    cases::add("pool_hop", pool_hop);
    return cases::run(argc, argv);
}
