/*
 * odd_driver: a right driver of an unusual shape. It loads the driver in NXT_ODD_REAL and hands its table on, but does
 * what NXT_ODD names in a way that the contract allows and hardly any driver takes. `nexus conform` must pass it.
 *
 *     later    nothing but NOWAIT and MEMBERSHIP completes inline; what is done comes two polls later
 *     short    READ and WRITE move some bytes, WRITEV the first piece that has any
 *     early    every other wait returns early, with nothing
 *     full     three operations are taken between two polls, then submit says -EAGAIN
 *     single   an ACCEPT is over after one connection, MULTISHOT or not
 *     bare     no slot that a driver need not have
 *     awake    no wait: it runs beside a driver that has it
 */
#include "real.h"
#include <nexus/driver.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STASH_MAX 8192u
#define CONTEXTS_MAX 4u
#define TAKEN_MAX 3u
#define POLLS_LATER 3u

enum shape { NONE, LATER, SHORT, EARLY, FULL, SINGLE, BARE, AWAKE, SHAPES };
static const char *const shape_names[SHAPES] = {"none", "later", "short", "early", "full", "single", "bare", "awake"};

static enum shape shape;
static const struct nx_driver_ops *real;
static struct nx_driver_ops table;
static struct nx_param params[64];

struct odd { /* of a context; a slot only ever has one, and a new one begins with zeros */
    struct nx_ctx *ctx;
    struct nx_completion stash[STASH_MAX];
    uint32_t count, polls, taken, waits;
};
static struct odd odds[CONTEXTS_MAX];

static struct odd *odd_of(const struct nx_ctx *ctx)
{
    struct odd *odd = odds;

    while (odd->ctx != ctx) /* ends: it was opened here */
        odd++;
    return odd;
}

static int odd_ctx_open(struct nx_driver *driver, uint32_t worker, struct nx_ctx **ret_ctx,
                        struct nx_reason *ret_reason)
{
    int r = real->ctx_open(driver, worker, ret_ctx, ret_reason);

    if (r == 0) {
        memset(&odds[worker % CONTEXTS_MAX], 0, sizeof(odds[0]));
        odds[worker % CONTEXTS_MAX].ctx = *ret_ctx;
    }
    return r;
}

/* ---- operations ---- */

static void cut(struct nx_op *op)
{
    const struct iovec *iov = op->data;
    uint32_t pieces = 0;

    if ((op->code == NX_OP_READ || op->code == NX_OP_WRITE) && !(op->flags & NX_OP_LOAN) && op->len > 1)
        op->len = op->len < 100 ? (op->len + 1) / 2 : op->len - 7;
    if (op->code != NX_OP_WRITEV || op->len > NX_IOV_MAX)
        return;
    while (pieces < op->len && iov[pieces].iov_len == 0)
        pieces++;
    op->len = pieces < op->len ? pieces + 1 : op->len;
}

static int odd_submit(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline)
{
    struct odd *odd = odd_of(ctx);
    int r;

    if (shape == FULL && odd->taken == TAKEN_MAX)
        return -EAGAIN;
    if (shape == SHORT)
        cut(op);
    if (shape == SINGLE && op->code == NX_OP_ACCEPT)
        op->flags &= (uint16_t)~NX_OP_MULTISHOT;
    r = real->submit(ctx, op, ret_inline);
    odd->taken += r == 0;
    if (shape != LATER || r != 1 || op->flags & NX_OP_NOWAIT || op->code == NX_OP_MEMBERSHIP || odd->count == STASH_MAX)
        return r;
    odd->stash[odd->count++] = *ret_inline;
    return 0;
}

/* Of the real one, which no longer has it, this would be a cancel of what isn't in flight. */
static void odd_cancel(struct nx_ctx *ctx, struct nx_op *op)
{
    const struct odd *odd = odd_of(ctx);

    for (uint32_t i = 0; i < odd->count; i++)
        if (odd->stash[i].op == op && !(odd->stash[i].flags & NX_COMPLETION_MORE))
            return;
    real->cancel(ctx, op);
}

static uint32_t odd_poll(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max)
{
    struct odd *odd = odd_of(ctx);
    uint32_t count = 0;

    odd->taken = 0;
    if (shape != LATER)
        return real->poll(ctx, out, max);
    odd->count += real->poll(ctx, &odd->stash[odd->count], STASH_MAX - odd->count);
    if (odd->count == 0 || ++odd->polls < POLLS_LATER)
        return 0;
    count = odd->count < max ? odd->count : max;
    memcpy(out, odd->stash, count * sizeof(*out));
    odd->count -= count;
    memmove(odd->stash, &odd->stash[count], odd->count * sizeof(*out));
    odd->polls = 0;
    return count;
}

static int odd_arm(struct nx_ctx *ctx)
{
    return odd_of(ctx)->count > 0 ? -EAGAIN : real->arm(ctx);
}

static uint32_t odd_wait(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max, nx_time until)
{
    struct odd *odd = odd_of(ctx);

    odd->taken = 0;
    if (shape == LATER) {
        odd->count += real->wait(ctx, &odd->stash[odd->count], STASH_MAX - odd->count, until);
        return 0;
    }
    if (shape == EARLY && odd->waits++ % 2 == 0)
        until = NX_POLL;
    return real->wait(ctx, out, max, until);
}

static int odd_capability(struct nx_driver *driver, uint32_t code, struct nx_capability *ret_capability)
{
    int r = real->capability(driver, code, ret_capability);

    if (code == NX_OP_ACCEPT && shape == SINGLE)
        ret_capability->flags &= ~NX_OP_MULTISHOT;
    if (shape == LATER && ret_capability->level == NX_CAP_INLINE)
        ret_capability->level = NX_CAP_NATIVE;
    return r;
}

static void make_table(void)
{
    table = *real;
    table.ctx_open = odd_ctx_open;
    table.submit = odd_submit;
    table.cancel = odd_cancel;
    table.poll = odd_poll;
    table.arm = odd_arm;
    table.wait = shape == AWAKE ? NULL : odd_wait;
    table.capability = shape == BARE ? NULL : odd_capability;
    if (shape != BARE)
        return;
    table.next_deadline = NULL;
    table.wait_fd = NULL;
    table.option = NULL;
    table.export_fd = NULL;
    table.loan_return = NULL;
    table.memory_register = NULL;
    table.memory_unregister = NULL;
    table.stats = NULL;
}

/* Before the loader looks at the table. */
static void __attribute__((constructor)) load(void)
{
    const char *path = getenv("NXT_ODD_REAL"), *odd = getenv("NXT_ODD");
    const struct nx_plugin *plugin;

    if (!path || !odd)
        return;
    for (shape = SHAPES; shape > NONE && (shape == SHAPES || strcmp(odd, shape_names[shape]) != 0);)
        shape--;
    plugin = real_plugin(path);
    if (shape == NONE)
        fprintf(stderr, "odd_driver: no such shape\n");
    if (!plugin || shape == NONE)
        return;
    real = plugin->ops;
    for (uint32_t i = 0; plugin->params && plugin->params[i].name && i < 63; i++)
        params[i] = plugin->params[i];
    make_table();
}

NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_odd_driver = {
    .magic = NX_PLUGIN_MAGIC,
    .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR,
    .abi_minor = NX_ABI_MINOR,
    .kind = NX_PLUGIN_DRIVER,
    .name = "odd_driver",
    .version = "1.0",
    .summary = "a right driver of an unusual shape",
    .priority = -1,
    .params = params,
    .ops = &table,
};
