/*
 * conform_chan_fuzz.c: channels under producers and consumers, tasks and threads, that are cancelled, time out and are
 * closed at random: what a send said was sent is received once, and in order. NXT_SEED repeats a run.
 */
#include "nxt_chan.h"
#include <stdlib.h>
#include <string.h>

#define PRODUCERS 6 /* the last two may be threads */
#define CONSUMERS 3 /* the last one may be a thread */
#define VALUES 60   /* of each producer */

struct element {
    int32_t producer, number;
    uint64_t check;
};

struct round {
    nx_chan *chan;
    int64_t max_wait_ns;
    bool many; /* some go several at once */
    struct producer {
        struct round *round;
        uint64_t seed;
        int32_t index, sent; /* numbers below sent were offered, in order, and accepted[] says which were sent */
        bool accepted[VALUES];
        nx_task task;
        struct nxt_thread *thread;
    } producers[PRODUCERS];
    struct consumer {
        struct round *round;
        uint64_t seed;
        int32_t last[PRODUCERS];
        nx_task task;
        struct nxt_thread *thread;
    } consumers[CONSUMERS];
    atomic_uchar received[PRODUCERS][VALUES];
    atomic_int received_count;
};

static uint64_t check_of(int32_t producer, int32_t number)
{
    return ((uint64_t)producer << 32 | (uint32_t)number) * UINT64_C(0x9e3779b97f4a7c15);
}

static nx_time random_deadline(const struct round *round, uint64_t *seed)
{
    uint64_t kind = nxt_random(seed) % 8;
    if (kind == 0)
        return NX_POLL;
    return kind < 3 ? nx_after_ns((int64_t)(nxt_random(seed) % (uint64_t)round->max_wait_ns)) : NX_FOREVER;
}

/* Offers the numbers from sent on: how many are through with, or an error that ends the producer. */
static ssize_t offer(struct producer *producer, uint64_t *seed)
{
    struct round *round = producer->round;
    struct element elements[5];
    size_t count = round->many ? 1 + nxt_random(seed) % 5 : 1;
    if (count > (size_t)(VALUES - producer->sent))
        count = (size_t)(VALUES - producer->sent);
    for (size_t i = 0; i < count; i++) {
        int32_t number = producer->sent + (int32_t)i;
        elements[i] = (struct element){producer->index, number, check_of(producer->index, number)};
    }
    nx_time deadline = random_deadline(round, seed);
    ssize_t sent = 1;
    if (count == 1) {
        int error = nx_chan_send(round->chan, elements, deadline);
        sent = error < 0 ? error : 1;
    } else {
        sent = nx_chan_send_many(round->chan, elements, count, deadline);
    }
    memset(elements, 0xee, sizeof(elements)); /* nobody reads it any more */
    for (ssize_t i = 0; i < sent; i++)
        producer->accepted[producer->sent + i] = true;
    return sent == -EAGAIN || sent == -ETIMEDOUT ? 1 : sent; /* this one was not sent: on to the next */
}

static intptr_t produce(void *arg)
{
    struct producer *producer = arg;
    uint64_t seed = producer->seed;
    while (producer->sent < VALUES) {
        ssize_t through = offer(producer, &seed);
        if (through < 0)
            return through;
        nxt_require(through > 0, -1);
        producer->sent += (int32_t)through;
        if (nxt_random(&seed) % 4 == 0 && nx_self() > 0)
            nx_yield();
    }
    return 0;
}

static void receive(struct consumer *consumer, const struct element *element)
{
    struct round *round = consumer->round;
    nxt_require(element->producer >= 0 && element->producer < PRODUCERS);
    nxt_require(element->number >= 0 && element->number < VALUES);
    nxt_require(element->check == check_of(element->producer, element->number));
    nxt_expect_lt(consumer->last[element->producer], element->number + 1);
    consumer->last[element->producer] = element->number + 1;
    nxt_expect_eq(atomic_fetch_add(&round->received[element->producer][element->number], 1), 0);
    atomic_fetch_add(&round->received_count, 1);
}

static intptr_t consume(void *arg)
{
    struct consumer *consumer = arg;
    struct round *round = consumer->round;
    uint64_t seed = consumer->seed;
    for (;;) {
        struct element elements[5];
        ssize_t got = round->many ? 1 + (ssize_t)(nxt_random(&seed) % 5) : 1;
        nx_time deadline = random_deadline(round, &seed);
        if (got == 1) {
            int error = nx_chan_recv(round->chan, elements, deadline);
            got = error < 0 ? error : 1;
        } else {
            got = nx_chan_recv_many(round->chan, elements, (size_t)got, deadline);
        }
        for (ssize_t i = 0; i < got; i++)
            receive(consumer, &elements[i]);
        if (got == -EPIPE || got == -ECANCELED)
            return got;
        nxt_require(got > 0 || got == -EAGAIN || got == -ETIMEDOUT, -1);
        if (nx_self() == 0 && got == -EAGAIN)
            nxt_pause(0);
    }
}

static void wait_a_little(uint64_t *seed)
{
    uint64_t turns = nxt_random(seed) % 30;
    if (turns == 0)
        nx_sleep_until(nx_after_ns((int64_t)(nxt_random(seed) % 300000)));
    for (uint64_t i = 0; i < turns; i++)
        nx_yield();
}

/* Cancels some and closes it, at some time. */
static void disturb(struct round *round, uint64_t *seed)
{
    for (uint64_t i = nxt_random(seed) % 6; i > 0; i--) {
        wait_a_little(seed);
        uint64_t who = nxt_random(seed) % (PRODUCERS + CONSUMERS);
        nx_task task = who < PRODUCERS ? round->producers[who].task : round->consumers[who - PRODUCERS].task;
        if (task)
            nx_cancel(task);
    }
    for (uint64_t i = nxt_random(seed) % 10; i > 0; i--)
        wait_a_little(seed);
    nx_chan_close(round->chan);
}

static void start_all(struct round *round, uint64_t *seed, bool local)
{
    bool threads = !local && nxt_random(seed) % 4 == 0;
    bool only_one = nxt_random(seed) % 2 == 0;
    for (int i = 0; i < PRODUCERS; i++) {
        struct producer *producer = &round->producers[i];
        *producer = (struct producer){.round = round, .seed = nxt_random(seed), .index = i};
        if (i < 4)
            producer->task = nxt_task_on(local ? 0 : i % 2, produce, producer);
        else if (threads)
            producer->thread = nxt_thread_start(produce, producer);
    }
    for (int i = 0; i < (only_one ? 1 : CONSUMERS); i++) {
        struct consumer *consumer = &round->consumers[i];
        *consumer = (struct consumer){.round = round, .seed = nxt_random(seed)};
        if (i < CONSUMERS - 1)
            consumer->task = nxt_task_on(local ? 0 : i % 2, consume, consumer);
        else if (threads)
            consumer->thread = nxt_thread_start(consume, consumer);
    }
}

static void await_all(struct round *round)
{
    for (int i = 0; i < PRODUCERS; i++) {
        if (round->producers[i].task)
            nxt_result(round->producers[i].task);
        if (round->producers[i].thread)
            nxt_thread_await(round->producers[i].thread);
    }
    for (int i = 0; i < CONSUMERS; i++) {
        if (round->consumers[i].task)
            nxt_result(round->consumers[i].task);
        if (round->consumers[i].thread)
            nxt_thread_await(round->consumers[i].thread);
    }
}

/* What nobody took is taken now, and then received is what was sent. */
static void account(struct round *round)
{
    struct consumer rest = {.round = round};
    struct element element;
    nxt_expect_eq(nxt_waiting(round->chan), 0);
    while (nx_chan_len(round->chan) > 0 && nx_chan_recv(round->chan, &element, NX_POLL) == 0)
        receive(&rest, &element);
    nxt_expect_eq(nx_chan_recv(round->chan, &element, NX_FOREVER), -EPIPE);
    for (int i = 0; i < PRODUCERS; i++)
        for (int k = 0; k < VALUES; k++)
            nxt_expect_eq(atomic_load(&round->received[i][k]), round->producers[i].accepted[k]);
}

static void play(uint64_t seed, bool local)
{
    static const size_t capacities[] = {0, 0, 1, 1, 2, 7, 100, NX_UNBOUNDED};
    static struct round round;
    memset(&round, 0, sizeof(round));
    round.chan = nxt_chan(sizeof(struct element), capacities[nxt_random(&seed) % 8], local ? NX_CHAN_LOCAL : 0);
    round.max_wait_ns = nxt_random(&seed) % 2 ? 1000 : 200000;
    round.many = nxt_random(&seed) % 2;
    start_all(&round, &seed, local);
    disturb(&round, &seed);
    await_all(&round);
    account(&round);
    nx_chan_destroy(round.chan);
}

static void play_rounds(int64_t rounds, bool local)
{
    const char *text = getenv("NXT_SEED");
    uint64_t first = text ? strtoull(text, NULL, 0) : (uint64_t)nxt_clock();
    for (uint64_t i = 0; i < (uint64_t)rounds; i++) {
        uint64_t seed = (first + i) * UINT64_C(0x9e3779b97f4a7c15);
        play(seed, local);
        if (nxt_failures() > 0) {
            nxt_fail(__FILE__, __LINE__, "NXT_SEED=%llu", (unsigned long long)(first + i));
            break;
        }
    }
}

NXT_HOME_TEST(nothing_is_lost_or_doubled_between_workers_and_threads_cancelled_and_closed_at_random)
{
    play_rounds(nxt_scaled(1500, 60), false);
}

NXT_HOME_TEST(nothing_is_lost_or_doubled_in_a_local_channel_cancelled_and_closed_at_random)
{
    play_rounds(nxt_scaled(1500, 60), true);
}
