/* conform/rig.c: opens a driver, submits, and keeps the books of completions. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BATCH 32u
#define SUBMIT_TRIES 64u /* the core's */

static const char *const code_names[NX_OP_COUNT] = {
    [NX_OP_NOP] = "NOP",           [NX_OP_ACCEPT] = "ACCEPT",   [NX_OP_CONNECT] = "CONNECT",
    [NX_OP_READ] = "READ",         [NX_OP_WRITE] = "WRITE",     [NX_OP_WRITEV] = "WRITEV",
    [NX_OP_SHUTDOWN] = "SHUTDOWN", [NX_OP_CLOSE] = "CLOSE",     [NX_OP_POLL] = "POLL",
    [NX_OP_RECVMSG] = "RECVMSG",   [NX_OP_SENDMSG] = "SENDMSG", [NX_OP_OPEN] = "OPEN",
    [NX_OP_PREADV] = "PREADV",     [NX_OP_PWRITEV] = "PWRITEV", [NX_OP_FSYNC] = "FSYNC",
    [NX_OP_TRUNCATE] = "TRUNCATE", [NX_OP_STAT] = "STAT",       [NX_OP_RENAME] = "RENAME",
    [NX_OP_UNLINK] = "UNLINK",     [NX_OP_MKDIR] = "MKDIR",     [NX_OP_MEMBERSHIP] = "MEMBERSHIP",
};

const char *code_name(uint32_t code)
{
    return code < NX_OP_COUNT ? code_names[code] : "an unknown code";
}

/* Whom host->wake_worker means, by worker. */
static const struct nx_driver_ops *woken_ops;
static struct nx_ctx *woken[CONTEXTS_MAX];

static void wake_context(uint32_t worker)
{
    struct nx_ctx *ctx = worker < CONTEXTS_MAX ? __atomic_load_n(&woken[worker], __ATOMIC_ACQUIRE) : NULL;

    if (ctx)
        woken_ops->wake(ctx);
}

static void open_context(struct rig *rig, uint32_t worker)
{
    struct nx_reason reason = {0};
    int r;

    doing("ctx_open of worker %u", worker);
    r = rig->ops->ctx_open(rig->driver, worker, &rig->context[rig->contexts], &reason);
    CHECK(r == 0, "ctx_open of worker %u fails with %s: %s %s", worker, error_text(r), reason.call, reason.text);
    if (rig->ops == woken_ops)
        __atomic_store_n(&woken[worker], rig->context[rig->contexts], __ATOMIC_RELEASE);
    rig->contexts++;
}

static struct rig *open_with(const struct subject *subject, const struct nx_driver_ops *ops,
                             const struct nx_config *config, uint32_t contexts)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    struct nx_reason reason = {0};
    int r;

    CHECK(rig != NULL, "this program has run out of memory");
    rig->subject = subject;
    rig->ops = ops;
    doing("open");
    r = ops->open(&conform_host, config, DRIVER_ID, &rig->driver, &reason);
    CHECK(r == 0, "open fails with %s: %s %s", error_text(r), reason.call, reason.text);
    for (uint32_t i = 0; i < contexts; i++)
        open_context(rig, i);
    return rig;
}

struct rig *rig_open(const struct subject *subject, uint32_t contexts)
{
    woken_ops = subject->driver;
    host_on_wake_worker = wake_context;
    return open_with(subject, subject->driver, subject->config, contexts);
}

struct rig *rig_attach(struct rig *main, uint32_t worker)
{
    struct rig *rig = calloc(1, sizeof(*rig));

    CHECK(rig != NULL, "this program has run out of memory");
    rig->subject = main->subject;
    rig->ops = main->ops;
    rig->driver = main->driver;
    rig->first_worker = worker;
    rig->attached = true;
    open_context(rig, worker);
    return rig;
}

struct rig *rig_open_reference(const struct subject *subject, uint32_t contexts)
{
    return subject->reference ? open_with(subject, subject->reference, subject->reference_config, contexts) : NULL;
}

static void free_flight(struct flight *flight)
{
    if (!flight->window)
        free(flight->op);
    free(flight);
}

void rig_close(struct rig *rig)
{
    CHECK(rig->in_flight == 0, "%u operations never completed", rig->in_flight);
    for (uint32_t i = rig->contexts; i-- > 0;) {
        doing("ctx_close of worker %u", rig->first_worker + i);
        if (rig->ops == woken_ops)
            __atomic_store_n(&woken[rig->first_worker + i], NULL, __ATOMIC_RELEASE);
        rig->ops->ctx_close(rig->context[i]);
    }
    doing("close");
    if (!rig->attached)
        rig->ops->close(rig->driver);
    for (uint32_t i = 0; i < rig->flight_count; i++)
        free_flight(rig->flights[i]);
    free(rig);
}

nx_time rig_now(const struct rig *rig)
{
    nx_time now = HAS(rig, now) ? rig->ops->now(rig->driver) : 0;

    return now ? now : real_now();
}

/* ---- completions ---- */

/* Newest first: those are the ones that complete. */
static struct flight *find(struct rig *rig, const struct nx_op *op)
{
    for (uint32_t i = rig->flight_count; i-- > 0;)
        if (rig->flights[i]->op == op)
            return rig->flights[i];
    return NULL;
}

static void give_back(struct flight *flight)
{
    if (flight->buffer && !flight->buffer->closed)
        window_close(flight->buffer);
    if (flight->window && !flight->window->closed)
        window_close(flight->window);
}

void take_completion(struct rig *rig, const struct nx_completion *completion, uint32_t context, bool is_inline)
{
    struct flight *flight = find(rig, completion->op);

    CHECK(flight != NULL, "a completion names no operation that was submitted (op %p, result %s)",
          (void *)completion->op, error_text(completion->result));
    CHECK(flight->terminals == 0, "an operation has completed already, with %s, and completes again with %s",
          error_text(flight->result), error_text(completion->result));
    CHECK(flight->context == context, "a completion came on context %u of an operation submitted on context %u",
          context, flight->context);
    if (completion->flags & NX_COMPLETION_MORE) {
        flight->more++;
        if (flight->report_count < REPORTS_MAX)
            flight->reports[flight->report_count++] = completion->result;
    } else {
        flight->terminals++;
        flight->result = completion->result;
        rig->in_flight--;
        give_back(flight);
    }
    flight->flags |= completion->flags;
    flight->data = completion->data ? completion->data : flight->data;
    flight->was_inline = flight->was_inline || is_inline;
}

static uint32_t sleep_as_the_core(struct rig *rig, nx_time until, struct nx_completion *out)
{
    if (rig->ops->arm(rig->context[0]) == -EAGAIN)
        return rig->ops->poll(rig->context[0], out, BATCH);
    return rig->ops->wait(rig->context[0], out, BATCH, until);
}

uint32_t step(struct rig *rig, nx_time until)
{
    struct nx_completion out[BATCH];
    uint32_t all = 0, count;

    for (uint32_t i = 0; i < rig->contexts; i++) {
        count = rig->ops->poll(rig->context[i], out, BATCH);
        CHECK(count <= BATCH, "poll was given room for %u completions and says that it has written %u", BATCH, count);
        for (uint32_t j = 0; j < count; j++)
            take_completion(rig, &out[j], i, false);
        all += count;
    }
    if (all > 0 || until == NX_POLL)
        return all;
    if (rig->contexts > 1 || !HAS(rig, wait)) {
        snooze(MS / 20);
        return 0;
    }
    count = sleep_as_the_core(rig, until, out);
    for (uint32_t j = 0; j < count; j++)
        take_completion(rig, &out[j], 0, false);
    return count;
}

/* ---- operations ---- */

static struct flight *new_flight(struct rig *rig, uint32_t context, const struct nx_op *op)
{
    struct flight *flight = calloc(1, sizeof(*flight));

    CHECK(flight != NULL && rig->flight_count < FLIGHTS_MAX, "this program has run out of operations");
    flight->context = context;
    if (rig->strict) {
        flight->window = window_new(sizeof(*op), "the struct nx_op of a %s", code_name(op->code));
        flight->op = (struct nx_op *)flight->window->data;
    } else {
        flight->op = malloc(sizeof(*op));
        CHECK(flight->op != NULL, "this program has run out of memory");
    }
    *flight->op = *op;
    rig->flights[rig->flight_count++] = flight;
    rig->in_flight++;
    return flight;
}

struct flight *fly_with(struct rig *rig, uint32_t context, struct nx_op op, struct window *buffer)
{
    struct flight *flight = new_flight(rig, context, &op);
    struct nx_completion done = {0};
    int r = -EAGAIN;

    flight->buffer = buffer;
    doing("submit of %s", code_name(op.code));
    for (uint32_t i = 0; i < SUBMIT_TRIES && r == -EAGAIN; i++) {
        r = rig->ops->submit(rig->context[context], flight->op, &done);
        if (r == -EAGAIN)
            step(rig, NX_POLL);
    }
    CHECK(r != -EAGAIN, "submit of %s says -EAGAIN %u times, although it was polled in between", code_name(op.code),
          SUBMIT_TRIES);
    CHECK(r == 0 || r == 1, "submit of %s returns %s, which is neither 0, 1 nor -EAGAIN", code_name(op.code),
          error_text(r));
    if (r == 1)
        take_completion(rig, &done, context, true);
    doing("what follows the submit of %s", code_name(op.code));
    return flight;
}

struct flight *fly(struct rig *rig, uint32_t context, struct nx_op op)
{
    return fly_with(rig, context, op, NULL);
}

void ask_cancel(struct rig *rig, struct flight *flight)
{
    if (ended(flight))
        return;
    doing("cancel");
    rig->ops->cancel(rig->context[flight->context], flight->op);
    doing("what follows a cancel");
}

bool ended(const struct flight *flight)
{
    return flight->terminals > 0;
}

int64_t finish(struct rig *rig, struct flight *flight)
{
    const nx_time until = real_now() + PATIENCE;

    while (!ended(flight)) { /* ends: until comes */
        CHECK(real_now() < until, "an operation never completed");
        step(rig, rig->patient ? NX_FOREVER : rig_now(rig) + 5 * MS);
    }
    return flight->result;
}

/* Forgets it, but for its memory in a strict rig, which stays a trap. */
void drop(struct rig *rig, struct flight *flight)
{
    uint32_t i = rig->flight_count;

    if (flight->window)
        return;
    while (rig->flights[--i] != flight) /* ends: it is there */
        ;
    rig->flights[i] = rig->flights[--rig->flight_count];
    free_flight(flight);
}

int64_t carry_out(struct rig *rig, uint32_t context, struct nx_op op)
{
    struct flight *flight = fly(rig, context, op);
    int64_t result = finish(rig, flight);

    drop(rig, flight);
    return result;
}

void settle(struct rig *rig)
{
    nx_time until = real_now() + QUIET;

    while (real_now() < until) {
        if (step(rig, NX_POLL) > 0)
            until = real_now() + QUIET;
        else
            snooze(MS / 5);
    }
}

int64_t next_report(struct rig *rig, struct flight *flight)
{
    const nx_time until = real_now() + PATIENCE;

    while (flight->report_next == flight->report_count && !ended(flight)) { /* ends: until comes */
        CHECK(real_now() < until, "an operation never reported what it waits for");
        step(rig, rig->patient ? NX_FOREVER : rig_now(rig) + 5 * MS);
    }
    if (flight->report_next == flight->report_count)
        return flight->result;
    int64_t result = flight->reports[flight->report_next++];
    if (flight->report_next == flight->report_count)
        flight->report_next = flight->report_count = 0;
    return result;
}

struct nx_capability capability_of(struct rig *rig, uint32_t code)
{
    struct nx_capability capability = {.size = sizeof(capability), .level = NX_CAP_NATIVE};

    if (HAS(rig, capability)) {
        doing("capability of %s", code_name(code));
        int r = rig->ops->capability(rig->driver, code, &capability);
        CHECK(r == 0, "capability of %s (%u) fails with %s", code_name(code), code, error_text(r));
    }
    capability.reason[sizeof(capability.reason) - 1] = '\0';
    return capability;
}
