/* offers.c: see offers.h. One link at a time, which is what the requirement asks for. */
#include "offers.h"

#include <errno.h>
#include <string.h>

#define PIECES 16u
#define COPIES 8u
#define COPY_SIZE 4096u
#define TICK INT64_C(5000000)

static uint32_t rule;
static const struct nx_driver_ops *real;
static const struct nx_host *const *host;
static void (*keep)(const struct nx_completion *completion);

static struct { /* NX_OP_LINK */
    struct nx_ctx *ctx;
    struct nx_op *first, *next;
    bool expects, failed;
} chain;

static struct {
    uint8_t *memory;
    uint32_t key;
} pieces[PIECES];
static uint32_t last_key;
static const uint8_t *given_up; /* of 71: looked at all the same */

static nx_time due;
static char copies[COPIES][COPY_SIZE];
static uint32_t next_copy;

static bool has(uint32_t fault)
{
    return rule == 0 || rule == fault;
}

void offers_set_up(uint32_t given_rule, const struct nx_driver_ops *given_real, const struct nx_host *const *given_host,
                   void (*given_keep)(const struct nx_completion *completion))
{
    rule = given_rule;
    real = given_real;
    host = given_host;
    keep = given_keep;
}

/* ---- memory, time ---- */

static int memory_register(struct nx_driver *driver, void *memory, size_t size, uint32_t *ret_key)
{
    (void)driver;
    if (!memory || size == 0)
        return -EINVAL;
    for (uint32_t i = 0; i < PIECES; i++)
        if (!pieces[i].memory) {
            pieces[i].memory = memory;
            pieces[i].key = *ret_key = ++last_key;
            return 0;
        }
    return -ENOBUFS;
}

static void memory_unregister(struct nx_driver *driver, uint32_t key)
{
    (void)driver;
    for (uint32_t i = 0; i < PIECES; i++)
        if (pieces[i].memory && pieces[i].key == key) {
            given_up = rule == 71 ? pieces[i].memory : NULL;
            pieces[i].memory = NULL;
        }
}

static nx_time next_deadline(struct nx_ctx *ctx)
{
    (void)ctx;
    if (due == 0)
        due = (*host)->now() + TICK;
    return due;
}

void offers_poll(void)
{
    if (given_up)
        last_key += *(volatile const uint8_t *)given_up;
    if (rule == 0 && due != 0 && due <= (*host)->now())
        due = (*host)->now() + TICK;
}

void offers_add(struct nx_driver_ops *table)
{
    if (has(71)) {
        table->memory_register = memory_register;
        table->memory_unregister = memory_unregister;
    }
    if (has(72))
        table->next_deadline = next_deadline;
}

void offers_claim(uint32_t code, struct nx_capability *capability)
{
    if (has(74) && (code == NX_OP_READ || code == NX_OP_WRITE))
        capability->flags |= NX_OP_LINK;
    if (rule == 0 && code == NX_OP_WRITE)
        capability->flags |= NX_OP_INJECT;
}

/* ---- links ---- */

static void copy(struct nx_op *op)
{
    char *to = copies[next_copy++ % COPIES];

    op->flags &= (uint16_t)~NX_OP_INJECT;
    op->len = op->len < COPY_SIZE ? op->len : COPY_SIZE;
    memcpy(to, op->data, op->len);
    op->data = to;
}

static int submit_first(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline)
{
    int r;

    op->flags &= (uint16_t)~NX_OP_LINK;
    r = real->submit(ctx, op, ret_inline);
    if (rule == 74 || r == -EAGAIN)
        return r;
    chain.ctx = ctx;
    chain.first = r == 0 ? op : NULL;
    chain.failed = r == 1 && ret_inline->result < 0;
    chain.expects = true;
    return r;
}

bool offers_submit(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline, int *ret_r)
{
    if (rule == 0 && (op->flags & NX_OP_INJECT))
        copy(op);
    if (has(74) && (op->flags & NX_OP_LINK)) {
        *ret_r = submit_first(ctx, op, ret_inline);
        return true;
    }
    if (!chain.expects || chain.ctx != ctx)
        return false;
    chain.expects = false;
    if (chain.first) {
        chain.next = op;
        *ret_r = 0;
        return true;
    }
    if (!chain.failed)
        return false;
    *ret_inline = (struct nx_completion){.op = op, .result = -ECANCELED};
    *ret_r = 1;
    return true;
}

bool offers_cancel(const struct nx_op *op)
{
    if (op != chain.next)
        return false;
    keep(&(struct nx_completion){.op = chain.next, .result = -ECANCELED});
    chain.next = NULL;
    return true;
}

void offers_complete(const struct nx_completion *completion)
{
    struct nx_completion done = {.op = chain.next, .result = -ECANCELED};
    struct nx_op *next = chain.next;
    int r = 1;

    if (!chain.first || completion->op != chain.first)
        return;
    chain.first = chain.next = NULL;
    chain.failed = completion->result < 0;
    if (!next)
        return;
    if (!chain.failed)
        r = real->submit(chain.ctx, next, &done);
    if (r == -EAGAIN)
        done = (struct nx_completion){.op = next, .result = -ENOBUFS};
    if (r != 0)
        keep(&done);
}
