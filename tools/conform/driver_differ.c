/*
 * conform/driver_differ.c: the same program of operations on this driver and on epoll.
 *
 * The program is drawn from a seed. It only looks at what every driver must agree on: how many bytes a piece is cut
 * into is left out by reading and writing whole pieces, and so is which of two things that go on at once comes first.
 * What is left is a trace of results and checksums, which must be the same in both.
 */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STEPS 1500u
#define PAIRS 4u
#define UNREAD_MAX 8192u

struct event {
    const char *what;
    uint32_t amount, sum;
    int64_t result;
};

/* One end of a connection, as the program knows it. */
struct end {
    uint32_t unread; /* bytes on their way to it */
    bool finished;   /* it has shut its writing down */
    bool closed;
};

struct program {
    struct rig *rig;
    uint64_t random;
    struct net net;
    struct pair pairs[PAIRS];
    struct end ends[PAIRS][2];
    nx_handle stale;
    uint8_t next;
    struct event *trace;
    uint32_t count;
};

static void note(struct program *program, const char *what, uint32_t amount, int64_t result, uint32_t sum)
{
    program->trace[program->count++] = (struct event){what, amount, sum, result};
}

static uint32_t sum_of(const uint8_t *bytes, size_t size)
{
    uint32_t sum = 2166136261u;

    for (size_t i = 0; i < size; i++)
        sum = (sum ^ bytes[i]) * 16777619u;
    return sum;
}

static nx_handle handle_of(const struct pair *pair, uint32_t side)
{
    return side ? pair->server : pair->client;
}

static void do_write(struct program *program, uint32_t pair, uint32_t side, uint64_t dice)
{
    struct end *mine = &program->ends[pair][side], *other = &program->ends[pair][!side];
    static uint8_t bytes[UNREAD_MAX];
    uint32_t amount = 1 + (uint32_t)(dice % 3000);
    nx_handle handle = handle_of(&program->pairs[pair], side);

    if (other->unread + amount > UNREAD_MAX)
        return;
    for (uint32_t i = 0; i < amount; i++)
        bytes[i] = program->next++;
    if (mine->finished) {
        note(program, "WRITE after SHUTDOWN", amount, carry_out(program->rig, 0, write_op(handle, bytes, amount)), 0);
        return;
    }
    write_all(program->rig, 0, handle, bytes, amount);
    other->unread += amount;
    note(program, "WRITE", amount, amount, 0);
}

static void do_read(struct program *program, uint32_t pair, uint32_t side, uint64_t dice)
{
    struct end *mine = &program->ends[pair][side], *other = &program->ends[pair][!side];
    static uint8_t bytes[UNREAD_MAX];
    nx_handle handle = handle_of(&program->pairs[pair], side);
    struct nx_op op = read_op(handle, bytes, sizeof(bytes));
    uint32_t amount;

    if (mine->unread > 0) {
        amount = 1 + (uint32_t)(dice % mine->unread);
        read_all(program->rig, 0, handle, bytes, amount);
        mine->unread -= amount;
        note(program, "READ", amount, amount, sum_of(bytes, amount));
    } else if (other->finished) {
        note(program, "READ at the end", 0, carry_out(program->rig, 0, op), 0);
    } else if (dice % 2) {
        op.flags = NX_OP_NOWAIT;
        note(program, "READ of nothing, NOWAIT", 0, carry_out(program->rig, 0, op), 0);
    } else {
        struct flight *flight = fly(program->rig, 0, op);
        ask_cancel(program->rig, flight);
        note(program, "READ of nothing, cancelled", 0, finish(program->rig, flight), 0);
        drop(program->rig, flight);
    }
}

static void do_poll(struct program *program, uint32_t pair, uint32_t side)
{
    struct end *mine = &program->ends[pair][side];
    struct nx_op op = {.handle = handle_of(&program->pairs[pair], side), .code = NX_OP_POLL, .arg = NX_READABLE};

    if (mine->unread == 0) {
        if (program->ends[pair][!side].finished || mine->finished)
            return; /* hang-ups show as both events, sooner or later */
        op.flags = NX_OP_NOWAIT;
    }
    note(program, "POLL", mine->unread > 0, carry_out(program->rig, 0, op) & NX_READABLE, 0);
}

static void do_shutdown(struct program *program, uint32_t pair, uint32_t side)
{
    struct nx_op op = {.handle = handle_of(&program->pairs[pair], side), .code = NX_OP_SHUTDOWN, .arg = NX_SHUT_WRITE};

    if (program->ends[pair][side].finished)
        return;
    note(program, "SHUTDOWN", 0, carry_out(program->rig, 0, op), 0);
    program->ends[pair][side].finished = true;
}

/* Both ends go, and another connection takes their place. */
static void do_renew(struct program *program, uint32_t pair)
{
    program->stale = program->pairs[pair].client;
    for (uint32_t side = 0; side < 2; side++)
        note(program, "CLOSE", 0,
             carry_out(program->rig, 0,
                       (struct nx_op){.handle = handle_of(&program->pairs[pair], side), .code = NX_OP_CLOSE}),
             0);
    program->pairs[pair] = pair_make(&program->net, 0);
    memset(program->ends[pair], 0, sizeof(program->ends[pair]));
}

static void do_wrong(struct program *program, uint64_t dice)
{
    struct rig *rig = program->rig;
    uint8_t byte = 0;
    struct nx_addr addr;
    nx_handle handle;
    int r;

    switch (dice % 4) {
    case 0:
        note(program, "READ of a stale handle", 0, carry_out(rig, 0, read_op(program->stale, &byte, 1)), 0);
        break;
    case 1:
        note(program, "an unknown operation", 0,
             carry_out(rig, 0, (struct nx_op){.handle = program->pairs[0].client, .code = 999}), 0);
        break;
    case 2:
        handle = make_listener(rig, 0, &addr);
        close_handle(rig, 0, handle);
        handle = make_socket(rig, 0, NX_SOCK_STREAM);
        note(program, "CONNECT to nobody", 0, finish(rig, start_connect(rig, 0, handle, &addr)), 0);
        close_handle(rig, 0, handle);
        break;
    default:
        handle = make_socket(rig, 0, NX_SOCK_STREAM);
        r = rig->ops->bind(rig->context[0], handle, &program->net.addr);
        r = r < 0 ? r : rig->ops->listen(rig->context[0], handle, 1); /* either may say it */
        note(program, "bind and listen where somebody does", 0, r, 0);
        close_handle(rig, 0, handle);
    }
}

static void run_program(struct program *program)
{
    for (uint32_t i = 0; i < PAIRS; i++)
        program->pairs[i] = pair_make(&program->net, 0);
    program->stale = program->pairs[0].client ^ (UINT64_C(1) << 40); /* another generation */
    for (uint32_t i = 0; i < STEPS; i++) {
        uint64_t dice = next_random(&program->random);
        uint32_t pair = (uint32_t)(dice >> 8) % PAIRS, side = (dice >> 16) & 1, what = (dice >> 20) % 32;

        doing("step %u of the program of seed %llu", i, (unsigned long long)program->rig->subject->seed);
        if (what < 12)
            do_write(program, pair, side, dice >> 32);
        else if (what < 26)
            do_read(program, pair, side, dice >> 32);
        else if (what < 28)
            do_poll(program, pair, side);
        else if (what == 28)
            do_shutdown(program, pair, side);
        else if (what == 29)
            do_renew(program, pair);
        else
            do_wrong(program, dice >> 32);
    }
    for (uint32_t i = 0; i < PAIRS; i++)
        pair_close(&program->pairs[i]);
}

static struct program *trace_of(struct rig *rig)
{
    struct program *program = calloc(1, sizeof(*program));

    CHECK(program != NULL, "this program has run out of memory");
    program->trace = calloc(STEPS * 2, sizeof(*program->trace));
    CHECK(program->trace != NULL, "this program has run out of memory");
    program->rig = rig;
    program->random = rig->subject->seed;
    program->net = net_open(rig, 0);
    run_program(program);
    net_close(&program->net);
    rig_close(rig);
    return program;
}

void driver_differ(const struct subject *subject)
{
    struct program *mine, *theirs;
    struct rig *reference = rig_open_reference(subject, 1);

    if (!reference)
        skip("there is no epoll driver here to compare with");
    theirs = trace_of(reference);
    mine = trace_of(rig_open(subject, 1));
    for (uint32_t i = 0; i < mine->count && i < theirs->count; i++) {
        const struct event *one = &mine->trace[i], *other = &theirs->trace[i];

        CHECK(one->what == other->what && one->amount == other->amount,
              "event %u of the program of seed %llu is %s here and %s with epoll", i, (unsigned long long)subject->seed,
              one->what, other->what);
        CHECK(one->result == other->result, "event %u of the program of seed %llu: %s gives %s, and with epoll %s", i,
              (unsigned long long)subject->seed, one->what, error_text(one->result), error_text(other->result));
        CHECK(one->sum == other->sum,
              "event %u of the program of seed %llu: %s of %u bytes gives other bytes than with epoll", i,
              (unsigned long long)subject->seed, one->what, one->amount);
    }
    CHECK(mine->count == theirs->count, "the program of seed %llu has %u events here and %u with epoll",
          (unsigned long long)subject->seed, mine->count, theirs->count);
}
