/* conform/driver_memory.c: whose memory it is, and when. */
#include "rig.h"

#include <errno.h>
#include <string.h>

#define ROUNDS 24u

/* Buffers of their own, which are gone when the operation has completed; as are the operations. */
static struct flight *read_into_window(struct rig *rig, nx_handle handle, uint32_t size)
{
    struct window *window = window_new(size, "the buffer of a READ of %u bytes", size);

    return fly_with(rig, 0, read_op(handle, window->data, size), window);
}

static struct flight *write_from_window(struct rig *rig, nx_handle handle, uint32_t size)
{
    struct window *window = window_new(size, "the buffer of a WRITE of %u bytes", size);

    memset(window->data, 'x', size);
    return fly_with(rig, 0, write_op(handle, window->data, size), window);
}

static void drain(struct rig *rig, nx_handle handle, size_t size)
{
    for (char bytes[64]; size > 0;) /* ends: read_some gives up */
        size -= read_some(rig, 0, handle, bytes, size < sizeof(bytes) ? size : sizeof(bytes));
}

void driver_after(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);

    rig->strict = true;
    doing("operations whose memory is taken away when they complete");
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct flight *read = read_into_window(rig, pair.server, 8), *poll;
        struct flight *write;

        if (i % 3 == 0)
            ask_cancel(rig, read);
        write = write_from_window(rig, pair.client, 8);
        finish(rig, write);
        CHECK(write->result > 0, "WRITE of 8 bytes gives %s", error_text(write->result));
        finish(rig, read);
        drain(rig, pair.server, (size_t)(write->result - (read->result > 0 ? read->result : 0)));
        poll = fly(rig, 0, (struct nx_op){.handle = pair.server, .code = NX_OP_POLL, .arg = NX_READABLE});
        ask_cancel(rig, poll);
        finish(rig, poll);
        step(rig, NX_POLL);
        if (i % 8 == 7)
            settle(rig);
    }
    rig->strict = false;
    pair_close(&pair);
    rig_close(rig);
}

static void expect_within(const struct flight *flight, const struct window *window, const char *what)
{
    CHECK(flight->result != -EFAULT, "%s of %zu bytes, with nothing behind them, gives -EFAULT: more was touched", what,
          window->size);
    CHECK(flight->result > 0 && (uint64_t)flight->result <= window->size, "%s of %zu bytes gives %s", what,
          window->size, error_text(flight->result));
}

static void move_within(struct rig *rig, struct pair pair, bool at_start)
{
    for (uint32_t size = 1; size < 200; size = size * 3 + 1) {
        struct window *in = window_new(size, "the buffer of a READ of %u bytes", size);
        struct window *out = window_new(size, "the buffer of a WRITE of %u bytes", size);
        struct flight *read, *write;
        char rest[512] = {0};
        size_t all = size;

        if (at_start) {
            window_shift(in);
            window_shift(out);
        }
        for (uint32_t late = 0; late < 2; late++) { /* the read waits, then it finds more than it has room for */
            if (!late)
                read = fly(rig, 0, read_op(pair.server, in->data, size));
            write = fly(rig, 0, write_op(pair.client, out->data, size));
            finish(rig, write);
            expect_within(write, out, "WRITE");
            all = (size_t)write->result;
            write_all(rig, 0, pair.client, rest, sizeof(rest));
            all += sizeof(rest);
            if (late)
                read = fly(rig, 0, read_op(pair.server, in->data, size));
            finish(rig, read);
            expect_within(read, in, "READ");
            drain(rig, pair.server, all - (size_t)read->result);
            window_check(in);
            window_check(out);
        }
    }
}

void driver_outside(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);

    move_within(rig, pair, false); /* what is touched behind them faults; then what is touched before them */
    move_within(rig, pair, true);
    pair_close(&pair);
    rig_close(rig);
}

/* ---- the other kinds of buffer, for who has them ---- */

static void need_flag(struct rig *rig, uint32_t code, uint32_t flag, const char *name)
{
    if (!(capability_of(rig, code).flags & flag))
        skip("capability of %s lacks %s", code_name(code), name);
}

void driver_inject(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair;
    char bytes[64];

    need_flag(rig, NX_OP_WRITE, NX_OP_INJECT, "NX_OP_INJECT");
    pair = pair_open(rig);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct window *window = window_new(64, "the buffer of a WRITE with NX_OP_INJECT");
        struct nx_op op = write_op(pair.client, window->data, 64);

        memset(window->data, 'a' + (int)i, 64);
        op.flags = NX_OP_INJECT;
        struct flight *write = fly(rig, 0, op);
        window_close(window); /* submit has returned */
        int64_t r = finish(rig, write);
        CHECK(r > 0 && r <= 64, "WRITE with NX_OP_INJECT gives %s", error_text(r));
        read_all(rig, 0, pair.server, bytes, (size_t)r);
        for (int64_t j = 0; j < r; j++)
            CHECK(bytes[j] == 'a' + (char)i, "a WRITE with NX_OP_INJECT sent what came into its buffer afterwards");
    }
    pair_close(&pair);
    rig_close(rig);
}

/* Its result may come first, with MORE; the buffer is the driver's until the last completion, which takes it away. */
void driver_zerocopy(const struct subject *subject)
{
    enum { SIZE = 65536 };
    struct rig *rig = rig_open(subject, 1);
    struct pair pair;
    static char bytes[SIZE];

    need_flag(rig, NX_OP_WRITE, NX_OP_ZEROCOPY, "NX_OP_ZEROCOPY");
    pair = pair_open(rig);
    for (uint32_t i = 0; i < 8; i++) {
        struct window *window = window_new(SIZE, "the buffer of a WRITE with NX_OP_ZEROCOPY");
        struct nx_op op = write_op(pair.client, window->data, SIZE);
        int64_t moved;

        memset(window->data, 'a' + (int)i, SIZE);
        op.flags = NX_OP_ZEROCOPY;
        struct flight *write = fly_with(rig, 0, op, window);
        moved = next_report(rig, write);
        if (moved == -ENOTSUP || moved == -EOPNOTSUPP)
            skip("a WRITE with NX_OP_ZEROCOPY on a stream gives %s", error_text(moved));
        CHECK(moved > 0 && moved <= SIZE, "WRITE with NX_OP_ZEROCOPY gives %s", error_text(moved));
        CHECK(write->more <= 1, "a WRITE with NX_OP_ZEROCOPY reports its result %u times", write->more);
        read_all(rig, 0, pair.server, bytes, (size_t)moved); /* the peer has it: now the buffer can come back */
        for (int64_t j = 0; j < moved; j++)
            CHECK(bytes[j] == 'a' + (char)i, "a WRITE with NX_OP_ZEROCOPY sent other bytes");
        finish(rig, write);
        CHECK(write->more == 0 || (write->flags & NX_COMPLETION_RELEASED),
              "the last completion of a WRITE with NX_OP_ZEROCOPY lacks NX_COMPLETION_RELEASED");
        CHECK(write->more == 0 || write->result == 0, "the release of a WRITE with NX_OP_ZEROCOPY has the result %s",
              error_text(write->result));
    }
    pair_close(&pair);
    rig_close(rig);
}

static struct flight *read_loan(struct rig *rig, nx_handle handle, uint32_t len)
{
    struct nx_op op = read_op(handle, NULL, len);

    op.flags = NX_OP_LOAN;
    return fly(rig, 0, op);
}

void driver_loan(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair;
    static const char *const texts[] = {"loan0", "Loan1", "lOan2", "loAn3"};
    struct flight *loans[4];

    need_flag(rig, NX_OP_READ, NX_OP_LOAN, "NX_OP_LOAN");
    CHECK(HAS(rig, loan_return), "capability of READ has NX_OP_LOAN, and there is no loan_return");
    pair = pair_open(rig);
    for (uint32_t i = 0; i < 4; i++) { /* several at once: what is lent stays as it is */
        loans[i] = read_loan(rig, pair.server, 64);
        write_all(rig, 0, pair.client, texts[i], 5);
        int64_t r = finish(rig, loans[i]);
        CHECK(r > 0 && r <= 5, "READ with NX_OP_LOAN of 5 bytes gives %s", error_text(r));
        CHECK((loans[i]->flags & NX_COMPLETION_LOANED) && loans[i]->data, "READ with NX_OP_LOAN lends nothing");
        drain(rig, pair.server, (size_t)(5 - r));
    }
    for (uint32_t i = 0; i < 4; i++) {
        CHECK(memcmp(loans[i]->data, texts[i], (size_t)loans[i]->result) == 0,
              "lent memory has changed before it was returned");
        doing("loan_return");
        int r = rig->ops->loan_return(rig->context[0], loans[i]->data);
        CHECK(r == 0, "loan_return gives %s", error_text(r));
    }
    close_handle(rig, 0, pair.client);
    struct flight *end = read_loan(rig, pair.server, 64);
    CHECK(finish(rig, end) == 0, "READ with NX_OP_LOAN at the end of the stream gives %s", error_text(end->result));
    CHECK(!(end->flags & NX_COMPLETION_LOANED), "READ with NX_OP_LOAN lends memory at the end of the stream");
    close_handle(rig, 0, pair.server);
    rig_close(rig);
}
