/*
 * fuzz_timer.c: any sequence of operations on the wheel against a list. A libFuzzer entry; built with
 * -DNXT_FUZZ_MAIN it replays the files it is given.
 *
 * Input: records of four bytes: operation, timer, and a distance as 6 bits of exponent and 10 of mantissa.
 */
#include "timer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ITEMS 64 /* as many as nxi_wheel_next() looks at, so it must be exact */
#define CHECK(condition)                                                                                               \
    do                                                                                                                 \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    while (0)

struct item {
    struct nxi_timer timer; /* first */
    nx_time expected;       /* NX_FOREVER: not active */
};

static struct nxi_wheel wheel;
static struct item items[ITEMS];
static nx_time now;
static const uint8_t *input;
static size_t input_left;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void start(struct item *item, nx_time deadline)
{
    item->expected = deadline;
    nxi_timer_start(&wheel, &item->timer, deadline);
}

static void stop(struct item *item)
{
    item->expected = NX_FOREVER;
    nxi_timer_stop(&wheel, &item->timer);
}

static nx_time distance_of(const uint8_t *record)
{
    unsigned exponent = record[2] & 63;
    uint64_t mantissa = ((uint64_t)record[2] >> 6 << 8 | record[3]);
    uint64_t distance = exponent < 53 ? mantissa << exponent : mantissa << 52;

    return (nx_time)distance;
}

static nx_time after(nx_time distance)
{
    return distance >= NX_FOREVER - now ? NX_FOREVER - 1 : now + distance;
}

/* One operation, also from callbacks. False: the input is used up. */
static bool operate(bool in_callback)
{
    const uint8_t *record = input;
    struct item *item;

    if (input_left < 4)
        return false;
    input += 4;
    input_left -= 4;
    item = &items[record[1] % ITEMS];
    switch (record[0] % 8) {
    case 0:
    case 1:
        start(item, after(distance_of(record)));
        break;
    case 2:
        start(item, now - distance_of(record) % 100000);
        break;
    case 3: /* the edges of what it is in */
        start(item, (after(distance_of(record)) >> (14 + record[1] % 4 * 6) << (14 + record[1] % 4 * 6)) +
                        record[0] / 64 - 1);
        break;
    case 4:
        stop(item);
        break;
    case 5:
        (void)nxi_wheel_next(&wheel);
        break;
    default:
        if (!in_callback) {
            nx_time next = nxi_wheel_next(&wheel);

            now = record[0] % 8 == 6 || next == NX_FOREVER || next <= now ? after(distance_of(record)) : next;
            if (now > NX_FOREVER - 2)
                now = NX_FOREVER - 2;
            nxi_wheel_expire(&wheel, now, record[0] / 8 + 1);
        }
        break;
    }
    return true;
}

static void fire(struct nxi_timer *timer)
{
    struct item *item = (struct item *)timer;

    CHECK(item->expected == timer->deadline);
    CHECK(timer->deadline <= now);
    CHECK(!nxi_timer_active(timer));
    item->expected = NX_FOREVER;
    operate(true);
}

static void check(void)
{
    nx_time earliest = NX_FOREVER;
    nx_time next = nxi_wheel_next(&wheel);
    unsigned count = 0;

    for (int i = 0; i < ITEMS; i++) {
        CHECK(nxi_timer_active(&items[i].timer) == (items[i].expected != NX_FOREVER));
        count += items[i].expected != NX_FOREVER;
        if (items[i].expected < earliest)
            earliest = items[i].expected;
    }
    CHECK(count == nxi_wheel_count(&wheel));
    CHECK(next <= now || next == earliest);
    CHECK(earliest > now || next <= now);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input = data;
    input_left = size;
    now = 1;
    if (size >= 4) { /* the first record sets the clock */
        now = distance_of(data) + 1;
        input += 4;
        input_left -= 4;
    }
    nxi_wheel_init(&wheel, now);
    for (int i = 0; i < ITEMS; i++) {
        nxi_timer_init(&items[i].timer, fire);
        items[i].expected = NX_FOREVER;
    }
    while (operate(false))
        check();
    /* nothing is lost: all that is due fires in a bounded number of calls */
    for (int calls = 0; nxi_wheel_next(&wheel) <= now; calls++) {
        CHECK(calls < 100000);
        nxi_wheel_expire(&wheel, now, 4);
    }
    check();
    return 0;
}

#ifdef NXT_FUZZ_MAIN
int main(int argc, char **argv)
{
    static uint8_t data[1 << 20];

    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        size_t size;

        if (file == NULL) {
            perror(argv[i]);
            return 1;
        }
        size = fread(data, 1, sizeof(data), file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
    }
    printf("%d inputs\n", argc - 1);
    return 0;
}
#endif
