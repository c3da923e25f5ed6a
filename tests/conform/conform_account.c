/*
 * conform_account.c: the books balance. Tasks on two workers select, read, write, send, receive, connect, accept and
 * are cancelled, all at random, over the same few channels, streams, listener and events; in the end what went in has
 * come out, no more and no less: elements, bytes, connections, sets.
 *
 * NXT_ROUNDS says how many operations (make check-long: a million), NXT_SEED repeats a run as far as the machine's
 * timing allows: the seed is printed.
 */
#include "nxt_net.h"

#include <inttypes.h>
#include <nexus/select.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHANS 3
#define PAIRS 2
#define EVENTS 2
#define WORKERS 2
#define ACTORS 8 /* per worker */
#define CASES_MAX 12
#define ABROAD_MAX 64 /* connections that are not yet accepted: a listener's backlog is finite */
#define WAIT_NS 200000

struct flow {
    _Atomic uint64_t in, out;         /* how many */
    _Atomic uint64_t sum_in, sum_out; /* of the values: a lost one and a doubled one don't make up for each other */
};

struct world {
    uint64_t seed;
    int64_t rounds;
    _Atomic int64_t left;
    _Atomic uint64_t values, cancelled, won;
    nx_chan *chans[CHANS];
    nx_stream *pairs[PAIRS][2];
    nx_listener *listener;
    char addr[192];
    nx_event events[EVENTS];
    _Atomic uint32_t tokens[EVENTS]; /* 1: set, and nobody has passed yet */
    struct flow elems[CHANS], bytes[PAIRS], connections, sets;
    _Atomic nx_task tasks[WORKERS * ACTORS]; /* whom to cancel; may have ended */
};

struct actor {
    struct world *world;
    uint64_t seed;
    nx_task task;
    int worker, place; /* in world->tasks */
};

static uint64_t pick(struct actor *actor, uint64_t count)
{
    return (nxt_random(&actor->seed) >> 16) % count;
}

/* ---- booking ---- */

static void book_in(struct flow *flow, uint64_t count, uint64_t sum)
{
    atomic_fetch_add(&flow->in, count);
    atomic_fetch_add(&flow->sum_in, sum);
}

static void book_out(struct flow *flow, uint64_t count, uint64_t sum)
{
    atomic_fetch_add(&flow->out, count);
    atomic_fetch_add(&flow->sum_out, sum);
}

static uint64_t sum_of(const unsigned char *bytes, size_t len)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++)
        sum += bytes[i];
    return sum;
}

static void book_accepted(struct world *world, nx_stream *stream)
{
    book_out(&world->connections, 1, 1);
    nx_close(stream);
}

static void book_passed(struct world *world, uint64_t event)
{
    nxt_expect_eq(atomic_exchange(&world->tokens[event], 0), 1); /* else it was passed twice */
    book_out(&world->sets, 1, event);
}

/* ---- operations that are no select ---- */

static nx_time some_deadline(struct actor *actor)
{
    uint64_t which = pick(actor, 8);
    return which == 0 ? NX_POLL : nx_after_ns((int64_t)pick(actor, which < 4 ? 2000 : WAIT_NS));
}

static int64_t send_one(struct actor *actor)
{
    struct world *world = actor->world;
    uint64_t chan = pick(actor, CHANS), value = atomic_fetch_add(&world->values, 1);
    int error = nx_chan_send(world->chans[chan], &value, some_deadline(actor));
    if (error == 0)
        book_in(&world->elems[chan], 1, value);
    return error;
}

static int64_t recv_one(struct actor *actor)
{
    struct world *world = actor->world;
    uint64_t chan = pick(actor, CHANS), value;
    int error = nx_chan_recv(world->chans[chan], &value, some_deadline(actor));
    if (error == 0)
        book_out(&world->elems[chan], 1, value);
    return error;
}

static int64_t write_some(struct actor *actor)
{
    unsigned char data[64];
    struct world *world = actor->world;
    uint64_t pair = pick(actor, PAIRS), len = 1 + pick(actor, sizeof(data));
    for (size_t i = 0; i < len; i++)
        data[i] = (unsigned char)nxt_random(&actor->seed);
    ssize_t moved = nx_write(world->pairs[pair][1], data, len, some_deadline(actor));
    if (moved > 0)
        book_in(&world->bytes[pair], (uint64_t)moved, sum_of(data, (size_t)moved));
    return moved;
}

static int64_t read_some(struct actor *actor)
{
    unsigned char data[48];
    struct world *world = actor->world;
    uint64_t pair = pick(actor, PAIRS);
    ssize_t moved = nx_read(world->pairs[pair][0], data, sizeof(data), some_deadline(actor));
    if (moved > 0)
        book_out(&world->bytes[pair], (uint64_t)moved, sum_of(data, (size_t)moved));
    return moved;
}

/* A connect that is cancelled may have reached the listener all the same: so it isn't. */
static int64_t connect_one(struct actor *actor)
{
    struct world *world = actor->world;
    nx_stream *stream;
    if (atomic_load(&world->connections.in) - atomic_load(&world->connections.out) > ABROAD_MAX)
        return 0;
    nx_time before = nx_shield(NX_FOREVER);
    int error = nx_connect(world->addr, NULL, &stream, NX_FOREVER);
    if (nxt_expect_eq(error, 0)) {
        book_in(&world->connections, 1, 1);
        nx_close(stream);
    }
    nx_shield(before);
    return error;
}

static int64_t accept_one(struct actor *actor)
{
    nx_stream *stream;
    int error = nx_accept(actor->world->listener, &stream, some_deadline(actor));
    if (error == 0)
        book_accepted(actor->world, stream);
    return error;
}

static int64_t set_one(struct actor *actor)
{
    struct world *world = actor->world;
    uint64_t event = pick(actor, EVENTS);
    uint32_t free_token = 0;
    if (atomic_compare_exchange_strong(&world->tokens[event], &free_token, 1)) {
        book_in(&world->sets, 1, event);
        nx_event_set(&world->events[event]);
    }
    return 0;
}

static int64_t pass_one(struct actor *actor)
{
    uint64_t event = pick(actor, EVENTS);
    int error = nx_event_wait(&actor->world->events[event], some_deadline(actor));
    if (error == 0)
        book_passed(actor->world, event);
    return error;
}

/* From any worker, anybody, who may be in any call. */
static int64_t cancel_one(struct actor *actor)
{
    nx_cancel(atomic_load(&actor->world->tasks[pick(actor, WORKERS * ACTORS)]));
    return 0;
}

/* ---- selects ---- */

/* What a case stands for, and where its bytes go. */
struct stake {
    uint64_t index, value;
    nx_stream *stream;
    unsigned char data[48];
};

static nx_case stake_case(struct actor *actor, struct stake *stake)
{
    struct world *world = actor->world;
    switch (pick(actor, 16)) {
    case 0:
    case 1:
    case 2:
    case 3:
        stake->index = pick(actor, CHANS);
        return NX_CASE_RECV(world->chans[stake->index], &stake->value);
    case 4:
    case 5:
    case 6:
        stake->index = pick(actor, CHANS);
        stake->value = atomic_fetch_add(&world->values, 1);
        return NX_CASE_SEND(world->chans[stake->index], &stake->value);
    case 7:
    case 8:
    case 9:
    case 10:
        stake->index = pick(actor, PAIRS);
        return NX_CASE_READ(world->pairs[stake->index][0], stake->data, 1 + pick(actor, sizeof(stake->data)));
    case 11:
    case 12:
        return NX_CASE_ACCEPT(world->listener, &stake->stream);
    case 13:
    case 14:
        stake->index = pick(actor, EVENTS);
        return NX_CASE_EVENT(&world->events[stake->index]);
    default:
        return NX_CASE_TIMER(nx_after_ns((int64_t)pick(actor, WAIT_NS)));
    }
}

static void book_won(struct world *world, const nx_case *won, const struct stake *stake)
{
    nxt_expect_eq(won->done, 1);
    nxt_expect_ge(won->result, won->op == NX_CASE_OP_READ ? 1 : 0); /* nothing is closed meanwhile */
    if (won->result < 0)
        return;
    switch (won->op) {
    case NX_CASE_OP_RECV:
        book_out(&world->elems[stake->index], 1, stake->value);
        break;
    case NX_CASE_OP_SEND:
        book_in(&world->elems[stake->index], 1, stake->value);
        break;
    case NX_CASE_OP_READ:
        book_out(&world->bytes[stake->index], (uint64_t)won->result, sum_of(stake->data, (size_t)won->result));
        break;
    case NX_CASE_OP_ACCEPT:
        book_accepted(world, stake->stream);
        break;
    case NX_CASE_OP_EVENT:
        book_passed(world, stake->index);
        break;
    default:
        break;
    }
}

static int64_t select_some(struct actor *actor)
{
    nx_case cases[CASES_MAX];
    struct stake stakes[CASES_MAX];
    uint64_t count = 1 + pick(actor, pick(actor, 8) == 0 ? CASES_MAX : 5);
    for (uint64_t i = 0; i < count; i++)
        cases[i] = stake_case(actor, &stakes[i]);
    unsigned flags = pick(actor, 2) ? NX_SELECT_BIASED : 0;
    int winner = nx_selectv(cases, count, flags, some_deadline(actor));
    if (winner < 0)
        return winner;
    atomic_fetch_add(&actor->world->won, 1);
    book_won(actor->world, &cases[winner], &stakes[winner]);
    return winner;
}

/* ---- actors ---- */

static int64_t act(struct actor *actor)
{
    switch (pick(actor, 32)) {
    case 0:
    case 1:
    case 2:
        return send_one(actor);
    case 3:
        return recv_one(actor);
    case 4:
    case 5:
    case 6:
    case 7:
        return write_some(actor);
    case 8:
        return read_some(actor);
    case 9:
        return connect_one(actor);
    case 10:
        return accept_one(actor);
    case 11:
    case 12:
    case 13:
        return set_one(actor);
    case 14:
        return pass_one(actor);
    case 15:
    case 16:
        return cancel_one(actor);
    default:
        return select_some(actor);
    }
}

static intptr_t act_until_cancelled(void *arg)
{
    struct actor *actor = arg;
    while (atomic_fetch_sub(&actor->world->left, 1) > 0) {
        int64_t result = act(actor);
        if (result == -ECANCELED)
            return -ECANCELED;
        if (result < 0 && result != -EAGAIN && result != -ETIMEDOUT)
            return nxt_fail(__FILE__, __LINE__, "an operation gave %" PRId64, result);
    }
    return 0;
}

static bool start_actor(struct actor *actor)
{
    actor->task = nxt_task_on(actor->worker, act_until_cancelled, actor);
    atomic_store(&actor->world->tasks[actor->place], actor->task);
    return actor->task > 0;
}

/* Keeps some actors going: those that were cancelled start anew. */
static intptr_t keep_actors(void *arg)
{
    struct actor *self = arg;
    struct world *world = self->world;
    struct actor actors[ACTORS];
    for (int i = 0; i < ACTORS; i++) {
        actors[i] = (struct actor){.world = world,
                                   .seed = nxt_random(&self->seed),
                                   .worker = (int)pick(self, WORKERS),
                                   .place = self->place * ACTORS + i};
        nxt_require(start_actor(&actors[i]), -1);
    }
    while (atomic_load(&world->left) > 0) {
        for (int i = 0; i < ACTORS; i++) {
            intptr_t result;
            if (nx_join(actors[i].task, &result, NX_POLL) < 0)
                continue;
            if (result == -ECANCELED)
                atomic_fetch_add(&world->cancelled, 1);
            nxt_require(start_actor(&actors[i]), -1);
        }
        nx_sleep_until(nx_after_ns((int64_t)pick(self, WAIT_NS / 4)));
    }
    for (int i = 0; i < ACTORS; i++)
        nxt_result(actors[i].task);
    return 0;
}

/* ---- the world ---- */

static bool open_world(struct world *world)
{
    static const size_t capacities[CHANS] = {0, 1, 8};
    const char *path = nxt_temp_path("account");
    for (int i = 0; i < CHANS; i++) {
        if (!nxt_expect_eq(nx_chan_create(sizeof(uint64_t), capacities[i], &world->chans[i]), 0))
            return false;
    }
    for (int i = 0; i < PAIRS; i++) {
        if (!nxt_stream_pair(world->pairs[i]))
            return false;
    }
    for (int i = 0; i < EVENTS; i++)
        world->events[i] = (nx_event)NX_EVENT_AUTO_INIT;
    snprintf(world->addr, sizeof(world->addr), "unix:%s", path);
    unlink(path);
    return nxt_expect_eq(nx_listen(world->addr, NULL, &world->listener), 0);
}

/* What is still inside comes out. */
static void drain(struct world *world)
{
    unsigned char data[4096];
    nx_stream *stream;
    uint64_t value;
    for (int i = 0; i < CHANS; i++) {
        while (nx_chan_recv(world->chans[i], &value, NX_POLL) == 0)
            book_out(&world->elems[i], 1, value);
    }
    for (int i = 0; i < PAIRS; i++) {
        nxt_expect_eq(nx_shutdown(world->pairs[i][1], NX_SHUT_WRITE), 0);
        ssize_t got;
        while ((got = nx_read(world->pairs[i][0], data, sizeof(data), NX_FOREVER)) > 0)
            book_out(&world->bytes[i], (uint64_t)got, sum_of(data, (size_t)got));
        nxt_expect_eq(got, 0);
    }
    while (world->connections.out < world->connections.in &&
           nx_accept(world->listener, &stream, nx_after_ms(2000)) == 0)
        book_accepted(world, stream);
    nxt_expect_eq(nx_accept(world->listener, &stream, nx_after_ms(2)), -ETIMEDOUT);
    for (uint64_t i = 0; i < EVENTS; i++) {
        bool set = nx_event_wait(&world->events[i], NX_POLL) == 0;
        nxt_expect_eq(set, world->tokens[i]);
        if (set)
            book_passed(world, i);
    }
}

static void close_world(struct world *world)
{
    for (int i = 0; i < CHANS; i++)
        nx_chan_destroy(world->chans[i]);
    for (int i = 0; i < PAIRS; i++) {
        nx_close(world->pairs[i][0]);
        nx_close(world->pairs[i][1]);
    }
    nx_listener_close(world->listener);
    unlink(nxt_temp_path("account"));
}

static void expect_balanced(struct flow *flow, const char *what, int index)
{
    if (flow->in != flow->out || flow->sum_in != flow->sum_out)
        nxt_fail(__FILE__, __LINE__, "%s %d: %" PRIu64 " in, %" PRIu64 " out, sums %" PRIu64 " and %" PRIu64, what,
                 index, flow->in, flow->out, flow->sum_in, flow->sum_out);
}

static uint64_t seed_of_run(void)
{
    const char *text = getenv("NXT_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : (uint64_t)nxt_clock() ^ (uint64_t)getpid() << 40;
    printf("# NXT_SEED=%" PRIu64 "\n", seed);
    fflush(stdout);
    return seed;
}

static int64_t rounds_of_run(void)
{
    const char *text = getenv("NXT_ROUNDS");
    return text ? strtoll(text, NULL, 0) : nxt_scaled(50000, 2000);
}

NXT_TASK_TEST(what_goes_in_comes_out_however_selects_and_cancels_meet, .workers = WORKERS)
{
    struct world *world = calloc(1, sizeof(*world));
    nxt_require(world != NULL);
    world->seed = seed_of_run();
    world->left = world->rounds = rounds_of_run();
    world->values = 1;
    nxt_require(open_world(world));
    struct actor keepers[WORKERS];
    for (int i = 0; i < WORKERS; i++) {
        keepers[i] = (struct actor){.world = world, .seed = nxt_random(&world->seed), .place = i};
        keepers[i].task =
            nx_spawn_with(NXT_WITH(.worker_plus_1 = i + 1, .priority = NX_PRIO_HIGH), keep_actors, &keepers[i]);
        nxt_require(keepers[i].task > 0);
    }
    for (int i = 0; i < WORKERS; i++)
        nxt_result(keepers[i].task);
    drain(world);
    for (int i = 0; i < CHANS; i++)
        expect_balanced(&world->elems[i], "channel", i);
    for (int i = 0; i < PAIRS; i++)
        expect_balanced(&world->bytes[i], "stream", i);
    expect_balanced(&world->connections, "connections", 0);
    expect_balanced(&world->sets, "sets", 0);
    printf("# %" PRId64 " rounds, %" PRIu64 " selects won, %" PRIu64 " cancelled; elements %" PRIu64 " %" PRIu64
           " %" PRIu64 ", bytes %" PRIu64 " %" PRIu64 ", connections %" PRIu64 ", sets %" PRIu64 "\n",
           world->rounds, world->won, world->cancelled, world->elems[0].in, world->elems[1].in, world->elems[2].in,
           world->bytes[0].in, world->bytes[1].in, world->connections.in, world->sets.in);
    nxt_expect_gt(world->won, 0);
    nxt_expect_gt(world->cancelled, 0);
    close_world(world);
    free(world);
}
