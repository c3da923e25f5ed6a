/* conform/driver_optional.c: slots and flags that few drivers have: timers of their own, a clock that stands, links. */
#include "rig.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

/* ---- timers of the driver's own ---- */

void driver_deadline(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct nx_completion out[8];
    nx_time end;
    uint32_t turns = 0;

    if (!HAS(rig, next_deadline))
        skip("next_deadline is NULL: it has no timers of its own");
    end = real_now() + 50 * MS;
    while (real_now() < end) { /* ends: until comes, or the turns are too many */
        doing("next_deadline");
        nx_time deadline = rig->ops->next_deadline(rig->context[0]), now = rig_now(rig);
        CHECK(deadline > 0, "next_deadline says %lld, which is no time", (long long)deadline);
        if (deadline > now) {
            snooze(deadline - now < 5 * MS ? deadline - now : 5 * MS);
            continue;
        }
        doing("poll at next_deadline");
        CHECK(rig->ops->poll(rig->context[0], out, 8) == 0, "a completion, although nothing is in flight");
        deadline = rig->ops->next_deadline(rig->context[0]);
        CHECK(deadline > now, "next_deadline is %lld ns ago after poll at that time: whoever waits for it spins",
              (long long)(now - deadline));
        CHECK(++turns < 500, "next_deadline asks for %u polls in 50 ms, and nothing is in flight", turns);
    }
    rig_close(rig);
}

/* ---- a clock that stands ---- */

struct holder {
    struct rig *rig;
    nx_time start, seen;
    uint32_t done;
};

/* What the blocking pool does: real time passes, the result is posted and the worker woken, then the hold ends. */
static void *work_for_real(void *arg)
{
    struct holder *holder = arg;
    struct rig *rig = holder->rig;

    for (int i = 0; i < 2; i++) {
        snooze(15 * MS);
        holder->seen = rig->ops->now(rig->driver);
        rig->ops->wake(rig->context[0]);
        rig->ops->hold(rig->driver, -1);
    }
    __atomic_store_n(&holder->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

static void wait_until(struct rig *rig, nx_time until)
{
    struct nx_completion out[8];

    if (rig->ops->arm(rig->context[0]) == 0)
        rig->ops->wait(rig->context[0], out, 8, until);
    else
        rig->ops->poll(rig->context[0], out, 8);
}

void driver_hold(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct holder holder = {.rig = rig};
    const nx_time real_start = real_now();
    pthread_t thread;

    if (!HAS(rig, now) || rig->ops->now(rig->driver) == 0)
        skip("now is NULL or says 0: the clock is the host's");
    if (!HAS(rig, hold))
        skip("hold is NULL: its clock knows nothing of what takes real time");
    holder.start = rig->ops->now(rig->driver);
    doing("hold");
    rig->ops->hold(rig->driver, 2);
    CHECK(pthread_create(&thread, NULL, work_for_real, &holder) == 0, "this program could not start a thread");
    doing("wait for an hour, while something is held");
    while (!__atomic_load_n(&holder.done, __ATOMIC_ACQUIRE)) { /* ends: the thread does */
        wait_until(rig, holder.start + 3600 * 1000 * MS);
        CHECK(real_now() - real_start < PATIENCE, "a wake does not end a wait while something is held");
        if (rig->ops->now(rig->driver) != holder.start)
            break;
    }
    pthread_join(thread, NULL);
    CHECK(holder.seen == holder.start, "the clock has moved by %lld ms while something was held",
          (long long)((holder.seen - holder.start) / MS));
    doing("wait for an hour, with nothing held any more");
    while (rig->ops->now(rig->driver) < holder.start + 3600 * 1000 * MS) { /* ends: PATIENCE */
        wait_until(rig, holder.start + 3600 * 1000 * MS);
        CHECK(real_now() - real_start < PATIENCE, "nothing is held any more, and the clock still stands");
    }
    rig_close(rig);
}

/* ---- links ---- */

static struct nx_op linked(struct nx_op op)
{
    op.flags = NX_OP_LINK;
    return op;
}

static int64_t read_now(struct rig *rig, nx_handle handle, char *ret_byte)
{
    struct nx_op op = read_op(handle, ret_byte, 1);

    op.flags = NX_OP_NOWAIT;
    return carry_out(rig, 0, op);
}

void driver_link(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair one = pair_open(rig), other = pair_open(rig);
    char byte, in;
    struct flight *first, *second;
    int64_t r;

    if (!(capability_of(rig, NX_OP_READ).flags & NX_OP_LINK)) {
        first = fly(rig, 0, linked(read_op(one.server, &byte, 1)));
        ask_cancel(rig, first); /* one that takes it waits for ever */
        r = finish(rig, first);
        CHECK(r == -ENOTSUP, "capability of READ lacks NX_OP_LINK, and a READ with it gives %s", error_text(r));
        skip("capability of READ lacks NX_OP_LINK");
    }
    for (uint32_t i = 0; i < 4; i++) {
        first = fly(rig, 0, linked(read_op(one.server, &byte, 1)));
        second = fly(rig, 0, write_op(other.client, "s", 1));
        settle(rig);
        CHECK(!ended(first), "READ with nothing to read completes with %s", error_text(first->result));
        r = read_now(rig, other.server, &in);
        CHECK(r == -EAGAIN && !ended(second), "the operation after one with NX_OP_LINK did not wait for it");
        if (i % 2) {
            ask_cancel(rig, first);
            r = finish(rig, first);
            CHECK(r == -ECANCELED, "READ with NX_OP_LINK that was cancelled gives %s", error_text(r));
            r = finish(rig, second);
            CHECK(r == -ECANCELED, "the operation after one with NX_OP_LINK that has failed gives %s", error_text(r));
            settle(rig);
            CHECK(read_now(rig, other.server, &in) == -EAGAIN,
                  "the operation after one with NX_OP_LINK that has failed was carried out");
        } else {
            write_all(rig, 0, one.client, "f", 1);
            r = finish(rig, first);
            CHECK(r == 1 && byte == 'f', "READ with NX_OP_LINK gives %s", error_text(r));
            r = finish(rig, second);
            CHECK(r == 1, "the operation after one with NX_OP_LINK that has succeeded gives %s", error_text(r));
            read_all(rig, 0, other.server, &in, 1);
        }
    }
    pair_close(&one);
    pair_close(&other);
    rig_close(rig);
}
