/* conform/driver_cancel.c: a cancel asks, the completion answers, and nothing that was moved is lost. */
#include "rig.h"

#include <errno.h>
#include <string.h>

#define RACES 400u
#define CONNECTIONS 24u
#define WRITES 40u

void driver_cancel(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    char byte;
    struct nx_addr addr;
    nx_handle listener = make_listener(rig, 0, &addr);
    const struct nx_op ops[] = {
        read_op(pair.server, &byte, 1),
        {.handle = pair.server, .code = NX_OP_POLL, .arg = NX_READABLE},
        {.handle = listener, .code = NX_OP_ACCEPT, .flags = NX_OP_MULTISHOT},
    };

    for (uint32_t i = 0; i < 3; i++) {
        struct flight *flight = fly(rig, 0, ops[i]);
        int64_t r;

        CHECK(!ended(flight), "%s, which has to wait, completes with %s", code_name(ops[i].code),
              error_text(flight->result));
        ask_cancel(rig, flight);
        CHECK(!ended(flight), "%s completed within cancel", code_name(ops[i].code));
        r = finish(rig, flight);
        CHECK(r == -ECANCELED, "%s that was cancelled having done nothing gives %s", code_name(ops[i].code),
              error_text(r));
    }
    settle(rig);
    write_all(rig, 0, pair.client, "x", 1); /* the handle is as it was */
    read_all(rig, 0, pair.server, &byte, 1);
    pair_close(&pair);
    close_handle(rig, 0, listener);
    rig_close(rig);
}

void driver_cancel_twice(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    char byte;

    for (uint32_t i = 0; i < 16; i++) {
        struct flight *read = fly(rig, 0, read_op(pair.server, &byte, 1));

        if (i % 4 == 3) /* it may have completed and not been reaped */
            write_all(rig, 0, pair.client, "x", 1);
        ask_cancel(rig, read);
        ask_cancel(rig, read);
        if (i % 2 == 1)
            step(rig, NX_POLL);
        ask_cancel(rig, read);
        finish(rig, read);
        settle(rig);
        struct nx_op rest = read_op(pair.server, &byte, 1);
        rest.flags = NX_OP_NOWAIT;
        carry_out(rig, 0, rest); /* whether the byte is still there is another requirement's */
    }
    pair_close(&pair);
    rig_close(rig);
}

/* What a read that is cancelled has got is its result, or still there. */
static uint64_t race(struct rig *rig, struct pair *pair, uint64_t *random, char *next)
{
    char bytes[64];
    struct flight *read = fly(rig, 0, read_op(pair->server, bytes, sizeof(bytes)));
    uint64_t dice = next_random(random), sent = 1 + (dice >> 8) % sizeof(bytes), got = 0;
    char out[64];

    for (uint64_t i = 0; i < sent; i++)
        out[i] = (char)(*next + (char)i);
    if (dice & 1)
        step(rig, NX_POLL);
    struct flight *write = fly(rig, 0, write_op(pair->client, out, (uint32_t)sent));
    if (dice & 2)
        step(rig, NX_POLL);
    ask_cancel(rig, read);
    int64_t wrote = finish(rig, write), r = finish(rig, read);
    CHECK(wrote > 0, "WRITE gives %s", error_text(wrote));
    CHECK(r > 0 || r == -ECANCELED, "a READ that was cancelled gives %s", error_text(r));
    got = r > 0 ? (uint64_t)r : 0;
    CHECK(got <= (uint64_t)wrote, "a READ that was cancelled gives %llu bytes of %lld", (unsigned long long)got,
          (long long)wrote);
    while (got < (uint64_t)wrote) { /* ends: each turn moves a byte; finish gives up if none comes */
        struct flight *rest = fly(rig, 0, read_op(pair->server, bytes + got, (uint32_t)((uint64_t)wrote - got)));

        r = finish(rig, rest);
        CHECK(r > 0, "READ after a cancelled one gives %s", error_text(r));
        got += (uint64_t)r;
        drop(rig, rest);
    }
    CHECK(memcmp(bytes, out, got) == 0, "bytes were lost or changed by a READ that was cancelled");
    *next = (char)(*next + (char)wrote);
    drop(rig, read);
    drop(rig, write);
    return got;
}

void driver_cancel_bytes(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    uint64_t random = subject->seed;
    char next = 0;

    doing("READs that are cancelled as bytes come");
    for (uint32_t i = 0; i < RACES; i++)
        race(rig, &pair, &random, &next);
    pair_close(&pair);
    rig_close(rig);
}

/* Every connection that a client has is accepted once, by the cancelled ACCEPT or by the next. */
void driver_cancel_accept(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct nx_addr addr;
    nx_handle listener = make_listener(rig, 0, &addr), clients[CONNECTIONS];
    struct flight *connects[CONNECTIONS];
    uint32_t accepted = 0;

    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        struct flight *accept =
            fly(rig, 0, (struct nx_op){.handle = listener, .code = NX_OP_ACCEPT, .flags = NX_OP_MULTISHOT});

        clients[i] = make_socket(rig, 0, NX_SOCK_STREAM);
        connects[i] = start_connect(rig, 0, clients[i], &addr);
        if (i % 3 == 0)
            step(rig, NX_POLL);
        ask_cancel(rig, accept);
        finish(rig, accept);
        for (uint32_t j = 0; j < accept->report_count; j++, accepted++)
            close_handle(rig, 0, (nx_handle)accept->reports[j]);
        if (accept->result > 0) {
            close_handle(rig, 0, (nx_handle)accept->result);
            accepted++;
        }
    }
    for (uint32_t i = 0; i < CONNECTIONS; i++) {
        int64_t r = finish(rig, connects[i]);
        CHECK(r == 0, "CONNECT %u gives %s", i + 1, error_text(r));
    }
    while (accepted < CONNECTIONS) { /* ends: carry_out gives up when no more come */
        struct flight *accept = fly(rig, 0, (struct nx_op){.handle = listener, .code = NX_OP_ACCEPT});
        const nx_time until = real_now() + PATIENCE;

        while (!ended(accept)) {
            CHECK(real_now() < until,
                  "%u clients have connected, and %u connections were accepted: a cancelled ACCEPT lost the rest",
                  CONNECTIONS, accepted);
            step(rig, rig_now(rig) + 5 * MS);
        }
        CHECK(accept->result > 0, "ACCEPT after a cancelled one gives %s", error_text(accept->result));
        close_handle(rig, 0, (nx_handle)accept->result);
        accepted++;
    }
    for (uint32_t i = 0; i < CONNECTIONS; i++)
        close_handle(rig, 0, clients[i]);
    close_handle(rig, 0, listener);
    rig_close(rig);
}

/* A WRITE without room, cancelled as its peer reads: what it says to have moved is what comes. */
void driver_cancel_write(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    static char bytes[65536];
    uint64_t sent = 0, got = 0, random = subject->seed;
    int64_t r;

    for (uint32_t i = 0; i < WRITES; i++) {
        sent += fill(rig, 0, pair.client);
        struct flight *write = fly(rig, 0, write_op(pair.client, bytes, sizeof(bytes)));
        const uint64_t dice = next_random(&random);

        doing("cancel %u of a WRITE that waits for room", i + 1);
        for (uint64_t reads = dice % 24; reads > 0 && got < sent; reads--)
            got += read_some(rig, 0, pair.server, bytes, sent - got < sizeof(bytes) ? sent - got : sizeof(bytes));
        if (dice & 64)
            step(rig, NX_POLL);
        ask_cancel(rig, write);
        r = finish(rig, write);
        CHECK((r > 0 && (uint64_t)r <= sizeof(bytes)) || r == -ECANCELED, "a WRITE that was cancelled gives %s",
              error_text(r));
        sent += r > 0 ? (uint64_t)r : 0;
        drop(rig, write);
    }
    r = carry_out(rig, 0, (struct nx_op){.handle = pair.client, .code = NX_OP_SHUTDOWN, .arg = NX_SHUT_WRITE});
    CHECK(r == 0, "SHUTDOWN gives %s", error_text(r));
    for (size_t n = 1; n > 0; got += n)
        n = read_some(rig, 0, pair.server, bytes, sizeof(bytes));
    CHECK(got == sent, "WRITEs say that they have moved %llu bytes, cancelled ones among them, and %llu came",
          (unsigned long long)sent, (unsigned long long)got);
    pair_close(&pair);
    rig_close(rig);
}
