/* wheel.c: timers on the core's wheel, in bulk. */
#include "wheel.h"
#include "timer.h"

#include <stdlib.h>

struct bench_wheel {
    struct nxi_wheel wheel;
    uint64_t seed;
    size_t count;
    struct nxi_timer one_more;
    struct nxi_timer timers[];
};

static const nx_time start = INT64_C(1000000000000);

static uint64_t random_number(struct bench_wheel *bench)
{
    bench->seed = bench->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return bench->seed >> 24;
}

static nx_time random_deadline(struct bench_wheel *bench)
{
    const uint64_t hour_ns = UINT64_C(3600000000000);
    return start + 1000000 + (nx_time)((random_number(bench) * (__uint128_t)hour_ns) >> 40);
}

static void fire(struct nxi_timer *timer)
{
    (void)timer;
    abort(); /* the wheel's time never moves */
}

struct bench_wheel *bench_wheel_new(size_t timers)
{
    struct bench_wheel *bench = calloc(1, sizeof(*bench) + timers * sizeof(bench->timers[0]));

    if (!bench)
        return NULL;
    bench->count = timers;
    bench->seed = 42;
    nxi_wheel_init(&bench->wheel, start);
    nxi_timer_init(&bench->one_more, fire);
    for (size_t i = 0; i < timers; i++) {
        nxi_timer_init(&bench->timers[i], fire);
        nxi_timer_start(&bench->wheel, &bench->timers[i], random_deadline(bench));
    }
    return bench;
}

void bench_wheel_free(struct bench_wheel *bench)
{
    free(bench);
}

void bench_wheel_start_stop(struct bench_wheel *bench, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        nxi_timer_start(&bench->wheel, &bench->one_more, random_deadline(bench));
        nxi_timer_stop(&bench->wheel, &bench->one_more);
    }
}

void bench_wheel_reset(struct bench_wheel *bench, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct nxi_timer *timer = &bench->timers[(random_number(bench) * (__uint128_t)bench->count) >> 40];

        nxi_timer_start(&bench->wheel, timer, random_deadline(bench));
    }
}

bool bench_wheel_is_whole(const struct bench_wheel *bench)
{
    return nxi_wheel_count(&bench->wheel) == bench->count;
}
