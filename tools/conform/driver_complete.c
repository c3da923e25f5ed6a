/* conform/driver_complete.c: completions: how many, of what, where. */
#include "rig.h"

#include <errno.h>
#include <string.h>

#define NOPS 64u
#define PAIRS 8u
#define ROUNDS 40u
#define CONNECTIONS 20u
#define QUEUED 4096u

void driver_inline(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);

    for (uint32_t i = 0; i < NOPS; i++) {
        struct nx_op op = {.code = NX_OP_NOP};
        struct nx_completion out[4], done = {.op = NULL, .result = 4711, .flags = UINT32_MAX};
        int r;

        doing("submit of NOP");
        r = rig->ops->submit(rig->context[0], &op, &done);
        CHECK(r == 0 || r == 1, "submit of NOP returns %s, which is neither 0 nor 1", error_text(r));
        for (uint32_t turn = 0; r == 0 && turn < 1000; turn++) { /* later is fine, too */
            uint32_t count = rig->ops->poll(rig->context[0], out, 4);

            if (count > 0)
                done = out[0];
            r = count > 0;
        }
        CHECK(r == 1, "NOP never completed");
        CHECK(done.op == &op, "the completion of a NOP names op %p, not the one submitted, %p", (void *)done.op,
              (void *)&op);
        CHECK(done.result == 0, "the result of NOP is %s", error_text(done.result));
        CHECK(done.flags == 0, "the completion of a NOP has the flags %#x", done.flags);
        CHECK(rig->ops->poll(rig->context[0], out, 4) == 0, "a NOP that has completed completes again in poll");
    }
    rig_close(rig);
}

/* Reads that wait on every connection, served in another order; then once more as much without waiting. */
static void round_of_reads(struct rig *rig, struct pair *pairs, uint32_t round)
{
    struct flight *reads[PAIRS], *polls[PAIRS] = {NULL};
    char bytes[PAIRS][8];
    bool waits = round % 2 == 0, can_poll = capability_of(rig, NX_OP_POLL).level != NX_CAP_NO;
    struct iovec iov[2] = {{"a", 1}, {"bc", 2}};

    for (uint32_t i = 0; i < PAIRS && waits; i++)
        reads[i] = fly(rig, 0, read_op(pairs[i].server, bytes[i], sizeof(bytes[i])));
    for (uint32_t i = 0; i < PAIRS && can_poll && !waits; i++)
        polls[i] = fly(rig, 0, (struct nx_op){.handle = pairs[i].server, .code = NX_OP_POLL, .arg = NX_READABLE});
    for (uint32_t i = 0; i < PAIRS; i++) {
        const nx_handle to = pairs[(i * 5 + round) % PAIRS].client;
        int64_t sent = 0;

        if (i % 2)
            sent = finish(rig, fly(rig, 0, (struct nx_op){.handle = to, .code = NX_OP_WRITEV, .data = iov, .len = 2}));
        write_all(rig, 0, to, &"abc"[sent > 0 ? sent : 0], (size_t)(sent > 0 ? 3 - sent : 3));
    }
    for (uint32_t i = 0; i < PAIRS; i++)
        if (polls[i])
            finish(rig, polls[i]);
    for (uint32_t i = 0; i < PAIRS; i++) {
        if (!waits)
            reads[i] = fly(rig, 0, read_op(pairs[i].server, bytes[i], sizeof(bytes[i])));
        finish(rig, reads[i]);
        CHECK(reads[i]->more == 0, "a READ reported with NX_COMPLETION_MORE");
        while (reads[i]->result > 0 && reads[i]->result < 3) /* short */
            reads[i]->result += (int64_t)read_some(rig, 0, pairs[i].server, bytes[i], 3 - (size_t)reads[i]->result);
        CHECK(reads[i]->result == 3, "a READ of 3 bytes that were written gives %s", error_text(reads[i]->result));
    }
}

void driver_once(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct net net = net_open(rig, 0);
    struct pair pairs[PAIRS];

    for (uint32_t i = 0; i < PAIRS; i++)
        pairs[i] = pair_make(&net, 0);
    for (uint32_t round = 0; round < ROUNDS; round++)
        round_of_reads(rig, pairs, round);
    settle(rig); /* a second completion of anything is found here */
    for (uint32_t i = 0; i < PAIRS; i++)
        pair_close(&pairs[i]);
    net_close(&net);
    settle(rig);
    rig_close(rig);
}

/* Without the flag: one connection, and the next one waits for the next ACCEPT. */
static void expect_one(struct rig *rig)
{
    struct nx_addr addr;
    nx_handle listener = make_listener(rig, 0, &addr), clients[2];
    struct flight *accept = fly(rig, 0, (struct nx_op){.handle = listener, .code = NX_OP_ACCEPT}), *connects[2];

    for (uint32_t i = 0; i < 2; i++) {
        clients[i] = make_socket(rig, 0, NX_SOCK_STREAM);
        connects[i] = start_connect(rig, 0, clients[i], &addr);
    }
    for (uint32_t i = 0; i < 2; i++) {
        int64_t r = finish(rig, accept);

        finish(rig, connects[i]);
        settle(rig);
        CHECK(accept->more == 0 && r > 0, "ACCEPT without NX_OP_MULTISHOT reports %u times with NX_COMPLETION_MORE",
              accept->more);
        close_handle(rig, 0, (nx_handle)r);
        close_handle(rig, 0, clients[i]);
        if (i == 0)
            accept = fly(rig, 0, (struct nx_op){.handle = listener, .code = NX_OP_ACCEPT});
    }
    close_handle(rig, 0, listener);
}

void driver_more(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct net net = net_open(rig, 0);
    struct pair pairs[CONNECTIONS];
    bool multishot = (capability_of(rig, NX_OP_ACCEPT).flags & NX_OP_MULTISHOT) != 0;

    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        const struct flight *accept = net.accept;

        pairs[i] = pair_make(&net, 0);
        CHECK(!accept->was_inline || !accept->more, "an inline completion had NX_COMPLETION_MORE");
        CHECK(!multishot || net.accept == accept,
              "capability says that ACCEPT honours MULTISHOT, and it ended after connection %u", i + 1);
    }
    expect_one(rig);
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        pair_close(&pairs[i]);
    ask_cancel(rig, net.accept);
    finish(rig, net.accept);
    CHECK(net.accept->result == -ECANCELED || net.accept->result > 0, "a cancelled MULTISHOT ACCEPT ends with %s",
          error_text(net.accept->result));
    settle(rig); /* and nothing more of it */
    net_close(&net);
    rig_close(rig);
}

/* ---- all that there are ---- */

#define EARLY 12u

struct crowd {
    struct rig *rig;
    struct nx_addr addr;
    nx_handle clients[2 * EARLY], servers[2 * EARLY];
    struct flight *connects[2 * EARLY];
    bool met[2 * EARLY];
};

static void come(struct crowd *crowd, uint32_t from, uint32_t to)
{
    for (uint32_t i = from; i < to; i++) {
        crowd->clients[i] = make_socket(crowd->rig, 0, NX_SOCK_STREAM);
        crowd->connects[i] = start_connect(crowd->rig, 0, crowd->clients[i], &crowd->addr);
    }
}

/* Each connection is another client's: it brings that one's number. */
static void meet(struct crowd *crowd)
{
    for (uint32_t i = 0; i < 2 * EARLY; i++) {
        const uint8_t number = (uint8_t)i;
        int64_t r = finish(crowd->rig, crowd->connects[i]);

        CHECK(r == 0, "CONNECT %u gives %s", i + 1, error_text(r));
        write_all(crowd->rig, 0, crowd->clients[i], &number, 1);
    }
    for (uint32_t i = 0; i < 2 * EARLY; i++) {
        uint8_t number = UINT8_MAX;

        read_all(crowd->rig, 0, crowd->servers[i], &number, 1);
        CHECK(number < 2 * EARLY && !crowd->met[number], "two connections are those of one client, %u", number);
        crowd->met[number] = true;
    }
    for (uint32_t i = 0; i < 2 * EARLY; i++) {
        close_handle(crowd->rig, 0, crowd->clients[i]);
        close_handle(crowd->rig, 0, crowd->servers[i]);
    }
}

void driver_accept_all(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct crowd crowd = {.rig = rig};
    struct net net = {.rig = rig};
    const nx_time start = real_now();

    net.listener = make_listener(rig, 0, &net.addr);
    crowd.addr = net.addr;
    come(&crowd, 0, EARLY); /* nobody accepts yet */
    settle(rig);
    listen_on(&net);
    for (uint32_t i = 0; i < 2 * EARLY; i++) {
        if (i == EARLY) {
            come(&crowd, EARLY, 2 * EARLY);
            settle(rig);
        }
        while (net.accept->report_next == net.accept->report_count && !ended(net.accept)) { /* ends: too late */
            CHECK(real_now() - start < 1000 * MS, "%u clients have connected, and %u connections came of the ACCEPT",
                  i < EARLY ? EARLY : 2 * EARLY, i);
            step(rig, NX_POLL);
        }
        crowd.servers[i] = net_accept(&net);
    }
    meet(&crowd);
    net_close(&net);
    settle(rig);
    rig_close(rig);
}

/* ---- without waiting ---- */

static void expect_again(struct rig *rig, struct nx_op op)
{
    struct flight *flight;

    op.flags |= NX_OP_NOWAIT;
    flight = fly(rig, 0, op);
    CHECK(flight->was_inline && ended(flight), "%s with NX_OP_NOWAIT did not complete in submit", code_name(op.code));
    CHECK(flight->result == -EAGAIN, "%s with NX_OP_NOWAIT, which would have to wait, gives %s", code_name(op.code),
          error_text(flight->result));
}

void driver_nowait(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct nx_addr addr;
    nx_handle listener = make_listener(rig, 0, &addr);
    struct pair pair = pair_open(rig);
    char bytes[8];
    struct flight *read;
    struct nx_op op = read_op(pair.server, bytes, sizeof(bytes));
    const nx_time start = real_now();

    expect_again(rig, (struct nx_op){.handle = listener, .code = NX_OP_ACCEPT});
    expect_again(rig, op);
    expect_again(rig, (struct nx_op){.handle = pair.server, .code = NX_OP_POLL, .arg = NX_READABLE});
    fill(rig, 0, pair.client); /* ends by -EAGAIN */
    CHECK(real_now() - start < 2000 * MS, "operations with NX_OP_NOWAIT took %lld ms",
          (long long)((real_now() - start) / MS));
    for (nx_time until = real_now() + PATIENCE;;) { /* the bytes may be on their way */
        op.flags = NX_OP_NOWAIT;
        read = fly(rig, 0, op);
        CHECK(ended(read), "READ with NX_OP_NOWAIT did not complete in submit");
        if (read->result != -EAGAIN || real_now() > until)
            break;
        step(rig, NX_POLL);
    }
    CHECK(read->result > 0 && read->result <= (int64_t)sizeof(bytes),
          "READ with NX_OP_NOWAIT of bytes that are there gives %s", error_text(read->result));
    pair_close(&pair);
    close_handle(rig, 0, listener);
    rig_close(rig);
}

void driver_unknown(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    const uint16_t codes[] = {NX_OP_COUNT, 200, UINT16_MAX};
    struct pair pair = pair_open(rig);
    char byte;
    int64_t r;

    for (uint32_t i = 0; i < 3; i++) {
        r = carry_out(rig, 0, (struct nx_op){.handle = pair.client, .code = codes[i]});
        CHECK(r == -ENOTSUP, "an operation with the code %u gives %s", codes[i], error_text(r));
    }
    for (uint32_t code = 1; code < NX_OP_COUNT; code++) {
        if (capability_of(rig, code).level != NX_CAP_NO)
            continue;
        r = carry_out(rig, 0, (struct nx_op){.handle = pair.client, .code = (uint16_t)code});
        CHECK(r == -ENOTSUP, "capability says no to %s, and it gives %s", code_name(code), error_text(r));
    }
    struct flight *read = fly(
        rig, 0,
        (struct nx_op){.handle = pair.client, .code = NX_OP_READ, .flags = NX_OP_MULTISHOT, .data = &byte, .len = 1});
    ask_cancel(rig, read);
    r = finish(rig, read);
    CHECK(r == -ENOTSUP, "READ with NX_OP_MULTISHOT gives %s", error_text(r));
    pair_close(&pair);
    rig_close(rig);
}

/* ---- full arrays, full queues ---- */

void driver_max(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct net net = net_open(rig, 0);
    struct pair pairs[PAIRS];
    struct flight *reads[PAIRS];
    char bytes[PAIRS];
    struct window *window = window_new(sizeof(struct nx_completion), "an array for one completion");
    struct nx_completion *out = (struct nx_completion *)window->data;
    uint32_t done = 0;

    for (uint32_t i = 0; i < PAIRS; i++)
        pairs[i] = pair_make(&net, 0);
    for (uint32_t i = 0; i < PAIRS; i++)
        reads[i] = fly(rig, 0, read_op(pairs[i].server, &bytes[i], 1));
    for (uint32_t i = 0; i < PAIRS; i++)
        CHECK(carry_out(rig, 0, write_op(pairs[i].client, "x", 1)) == 1, "WRITE of a byte does not write it");
    for (nx_time until = real_now() + PATIENCE; done < PAIRS;) { /* ends: until comes */
        doing("poll with room for one completion");
        uint32_t count = rig->ops->poll(rig->context[0], out, 1);

        CHECK(count <= 1, "poll was given room for one completion and says that it has written %u", count);
        if (count == 1)
            take_completion(rig, out, 0, false);
        done = 0;
        for (uint32_t i = 0; i < PAIRS; i++)
            done += ended(reads[i]);
        CHECK(real_now() < until, "polled with room for one completion, %u of %u were forgotten", PAIRS - done, PAIRS);
    }
    window_check(window);
    for (uint32_t i = 0; i < PAIRS; i++)
        pair_close(&pairs[i]);
    net_close(&net);
    rig_close(rig);
}

/* More in flight than any queue has room for. */
void driver_full(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    static char bytes[QUEUED];
    static struct flight *reads[QUEUED];
    uint64_t got = 0, sent = 0;

    for (uint32_t i = 0; i < QUEUED; i++)
        reads[i] = fly(rig, 0, read_op(pair.server, &bytes[i], 1));
    while (sent < QUEUED) { /* ends: each turn moves a byte or fails */
        int64_t r = carry_out(rig, 0, write_op(pair.client, bytes, (uint32_t)(QUEUED - sent)));
        CHECK(r > 0, "WRITE gives %s with %u operations in flight", error_text(r), QUEUED);
        sent += (uint64_t)r;
    }
    for (uint32_t i = 0; i < QUEUED; i++) {
        int64_t r = finish(rig, reads[i]);
        CHECK(r == 1, "READ %u of %u that wait gives %s", i + 1, QUEUED, error_text(r));
        got += (uint64_t)r;
    }
    CHECK(got == sent, "%llu bytes were sent and %llu read", (unsigned long long)sent, (unsigned long long)got);
    pair_close(&pair);
    rig_close(rig);
}
