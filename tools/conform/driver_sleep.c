/* conform/driver_sleep.c: arm, wait, wake: no wake is lost, nothing but wait sleeps, and who waits uses no cpu. */
#include "rig.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>

#define LONG (2000 * MS) /* nobody waits for that long unless something was lost */
#define WAKES 100000u
#define POLLS 301u
#define STRESS 4000u
#define ECHOES 400u
#define IDLE (150 * MS)

static bool owns_clock(const struct rig *rig)
{
    return HAS(rig, now) && rig->ops->now(rig->driver) != 0;
}

/* Far away; on a clock that jumps there is only "never". */
static nx_time far_away(const struct rig *rig)
{
    return owns_clock(rig) ? NX_FOREVER : rig_now(rig) + LONG;
}

static void need_wait(const struct rig *rig)
{
    if (!HAS(rig, wait))
        skip("wait is NULL: another driver waits");
}

/* Armed by the rules: what is there is polled for first. */
static void arm_it(struct rig *rig)
{
    doing("arm");
    for (uint32_t i = 0; i < 1000; i++) {
        int r = rig->ops->arm(rig->context[0]);

        if (r == 0)
            return;
        CHECK(r == -EAGAIN, "arm gives %s", error_text(r));
        step(rig, NX_POLL);
    }
    fail("arm says -EAGAIN again and again, and poll has nothing");
}

static void expect_return(struct rig *rig, const char *when)
{
    struct nx_completion out[8];
    const nx_time start = real_now();

    doing("wait, after a wake %s", when);
    uint32_t count = rig->ops->wait(rig->context[0], out, 8, far_away(rig));
    for (uint32_t i = 0; i < count; i++)
        take_completion(rig, &out[i], 0, false);
    CHECK(real_now() - start < LONG / 2, "a wake %s did not end the wait", when);
}

static void *wake_later(void *arg)
{
    struct rig *rig = arg;

    snooze(20 * MS);
    rig->ops->wake(rig->context[0]);
    return NULL;
}

void driver_wake(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    pthread_t thread;

    need_wait(rig);
    arm_it(rig);
    rig->ops->wake(rig->context[0]);
    expect_return(rig, "between arm and wait");
    rig->ops->wake(rig->context[0]);
    arm_it(rig);
    expect_return(rig, "before arm");
    arm_it(rig);
    rig->ops->disarm(rig->context[0]);
    rig->ops->wake(rig->context[0]);
    arm_it(rig);
    expect_return(rig, "after disarm");
    arm_it(rig);
    CHECK(pthread_create(&thread, NULL, wake_later, rig) == 0, "this program could not start a thread");
    expect_return(rig, "on another thread, during the wait");
    pthread_join(thread, NULL);
    rig_close(rig);
}

void driver_wake_often(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    const uint64_t blocks = books.live_blocks;
    nx_time start;

    need_wait(rig);
    doing("%u wakes that nobody waits for", WAKES);
    start = real_now();
    for (uint32_t i = 0; i < WAKES; i++)
        rig->ops->wake(rig->context[0]);
    CHECK(real_now() - start < PATIENCE, "%u wakes took %lld ms", WAKES, (long long)((real_now() - start) / MS));
    CHECK(books.live_blocks == blocks, "%u wakes hold %llu pieces of memory", WAKES,
          (unsigned long long)(books.live_blocks - blocks));
    arm_it(rig);
    expect_return(rig, "that came many times");
    uint32_t returns = 0;
    for (nx_time until = rig_now(rig) + 30 * MS; rig_now(rig) < until; returns++) { /* all of them were one */
        arm_it(rig);
        rig->ops->wait(rig->context[0], (struct nx_completion[8]){{0}}, 8, until);
        CHECK(returns < 1000, "%u wakes make a thousand waits return at once", WAKES);
    }
    rig_close(rig);
}

/* What has completed and was not reaped keeps nobody asleep. */
void driver_arm(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    char byte;

    need_wait(rig);
    settle(rig);
    for (uint32_t i = 0; i < 16; i++) {
        struct flight *read = fly(rig, 0, read_op(pair.server, &byte, 1));
        struct nx_completion out[8];
        const nx_time start = real_now();
        uint32_t count;

        if (i % 2)
            ask_cancel(rig, read);
        else
            CHECK(carry_out(rig, 0, write_op(pair.client, "x", 1)) == 1, "WRITE of a byte does not write it");
        while (!ended(read)) { /* ends: wait does, or it is seen here */
            doing("arm and wait, with a completion that is there");
            if (rig->ops->arm(rig->context[0]) == -EAGAIN)
                count = rig->ops->poll(rig->context[0], out, 8);
            else
                count = rig->ops->wait(rig->context[0], out, 8, far_away(rig));
            for (uint32_t j = 0; j < count; j++)
                take_completion(rig, &out[j], 0, false);
            CHECK(real_now() - start < LONG / 2, "arm says 0 and wait sleeps although %s completed",
                  i % 2 ? "a cancelled operation has" : "an operation has");
        }
    }
    pair_close(&pair);
    rig_close(rig);
}

void driver_until(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct nx_completion out[8];

    need_wait(rig);
    for (uint32_t i = 0; i < 3; i++) {
        const nx_time until = rig_now(rig) + (i == 0 ? 0 : 5 * MS << i), start = real_now();
        uint32_t returns = 0;

        for (; rig_now(rig) < until; returns++) {
            arm_it(rig);
            doing("wait until %lld ms from now", (long long)((until - rig_now(rig)) / MS));
            CHECK(rig->ops->wait(rig->context[0], out, 8, until) == 0, "a completion of nothing");
            CHECK(returns < 1000, "wait returns a thousand times before its time");
        }
        CHECK(real_now() - start < LONG / 2, "a wait of %u ms took %lld ms", i ? 5u << i : 0,
              (long long)((real_now() - start) / MS));
    }
    arm_it(rig);
    doing("wait with NX_POLL");
    const nx_time start = real_now();
    rig->ops->wait(rig->context[0], out, 8, NX_POLL);
    CHECK(real_now() - start < LONG / 2, "wait with NX_POLL slept");
    rig_close(rig);
}

static int compare_times(const void *a, const void *b)
{
    const nx_time *one = a, *other = b;

    return (*one > *other) - (*one < *other);
}

/* The median of what a slot takes: a machine that is busy now and then doesn't show. */
static nx_time median_of(struct rig *rig, struct pair *pair, uint32_t which)
{
    static nx_time times[POLLS];
    struct nx_completion out[8];
    char byte;

    for (uint32_t i = 0; i < POLLS; i++) {
        const nx_time start = real_now();
        struct flight *read = NULL;

        if (which == 0)
            rig->ops->poll(rig->context[0], out, 8);
        else if (which == 1)
            read = fly(rig, 0, read_op(pair->client, &byte, 1));
        else if (rig->ops->arm(rig->context[0]) == 0)
            rig->ops->disarm(rig->context[0]);
        times[i] = real_now() - start;
        if (read) {
            ask_cancel(rig, read);
            finish(rig, read);
            drop(rig, read);
        }
    }
    qsort(times, POLLS, sizeof(times[0]), compare_times);
    return times[POLLS / 2];
}

void driver_sleepless(const struct subject *subject)
{
    static const char *const names[] = {"poll", "submit", "arm and disarm"};
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    char byte;
    struct flight *read = fly(rig, 0, read_op(pair.server, &byte, 1)); /* waits all the time */

    settle(rig);
    for (uint32_t which = 0; which < 3; which++) {
        doing("%s with nothing to do", names[which]);
        nx_time median = median_of(rig, &pair, which);
        CHECK(median < MS / 2, "%s takes %lld us with nothing to do: it sleeps", names[which],
              (long long)(median / 1000));
    }
    ask_cancel(rig, read);
    finish(rig, read);
    pair_close(&pair);
    rig_close(rig);
}

void driver_idle(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    char byte;
    struct flight *read = fly(rig, 0, read_op(pair.server, &byte, 1));
    struct nx_completion out[8];
    nx_time until, cpu, start;
    uint32_t returns = 0;

    need_wait(rig);
    settle(rig);
    until = rig_now(rig) + IDLE;
    start = real_now();
    cpu = cpu_now();
    doing("sleeping, with a READ that waits");
    while (rig_now(rig) < until) { /* ends: until comes, or the returns are too many */
        if (rig->ops->arm(rig->context[0]) == 0)
            CHECK(rig->ops->wait(rig->context[0], out, 8, until) == 0, "a completion, although nothing has happened");
        CHECK(++returns < 100, "%u waits have returned in %lld ms, and nothing has happened", returns,
              (long long)((real_now() - start) / MS));
    }
    cpu = cpu_now() - cpu;
    CHECK(cpu < IDLE / 5, "%lld ms of cpu in %lld ms of sleep", (long long)(cpu / MS), (long long)(IDLE / MS));
    ask_cancel(rig, read);
    finish(rig, read);
    pair_close(&pair);
    rig_close(rig);
}

/* ---- with other threads ---- */

/* The core's handshake in small: mail is put and then, if the sleeper says that it is idle, it is woken. */
struct sleeper {
    struct rig *rig;
    uint32_t mail, idle, stop;
    uint64_t taken, random;
};

static void *send_mail(void *arg)
{
    struct sleeper *sleeper = arg;
    nx_time moved = real_now();
    uint64_t taken = 0;

    while (!__atomic_load_n(&sleeper->stop, __ATOMIC_ACQUIRE)) { /* ends: told so, or gives up */
        uint64_t now_taken = __atomic_load_n(&sleeper->taken, __ATOMIC_ACQUIRE);

        uint64_t dice = next_random(&sleeper->random); /* from far too early to when it sleeps soundly */

        for (uint64_t spin = (dice >> 8) % (UINT64_C(1) << dice % 16); spin > 0; spin--)
            __asm__ volatile("");
        __atomic_fetch_add(&sleeper->mail, 1, __ATOMIC_SEQ_CST);
        if (__atomic_exchange_n(&sleeper->idle, 0, __ATOMIC_SEQ_CST))
            sleeper->rig->ops->wake(sleeper->rig->context[0]);
        if (now_taken != taken) {
            taken = now_taken;
            moved = real_now();
        }
        CHECK(real_now() - moved < PATIENCE, "a wake was lost after %llu sleeps: the worker sleeps for ever",
              (unsigned long long)taken);
        while (__atomic_load_n(&sleeper->mail, __ATOMIC_ACQUIRE) > 0 && real_now() - moved < PATIENCE)
            ; /* ends: it was taken, or time is over */
    }
    return NULL;
}

void driver_wake_stress(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct sleeper sleeper = {.rig = rig, .random = subject->seed};
    struct nx_completion out[8];
    const nx_time end = real_now() + PATIENCE;
    pthread_t thread;

    need_wait(rig);
    CHECK(pthread_create(&thread, NULL, send_mail, &sleeper) == 0, "this program could not start a thread");
    doing("sleeps that another thread ends");
    while (sleeper.taken < STRESS && (sleeper.taken < 100 || real_now() < end)) {
        __atomic_store_n(&sleeper.idle, 1, __ATOMIC_SEQ_CST);
        int r = rig->ops->arm(rig->context[0]);
        if (__atomic_load_n(&sleeper.mail, __ATOMIC_SEQ_CST) > 0) {
            if (r == 0)
                rig->ops->disarm(rig->context[0]);
        } else if (r == 0) {
            rig->ops->wait(rig->context[0], out, 8, NX_FOREVER);
        }
        __atomic_store_n(&sleeper.idle, 0, __ATOMIC_SEQ_CST);
        if (__atomic_exchange_n(&sleeper.mail, 0, __ATOMIC_SEQ_CST) > 0)
            __atomic_fetch_add(&sleeper.taken, 1, __ATOMIC_RELEASE);
    }
    __atomic_store_n(&sleeper.stop, 1, __ATOMIC_RELEASE);
    pthread_join(thread, NULL);
    rig_close(rig);
}

struct other_end {
    struct rig *main;
    struct nx_addr addr;
    uint32_t done, echoes;
};

/* Both sleep without a time: a third one sees that they don't wake. */
static void *watch_echoes(void *arg)
{
    struct other_end *other = arg;
    nx_time moved = real_now();
    uint32_t seen = 0;

    while (!__atomic_load_n(&other->done, __ATOMIC_ACQUIRE)) { /* ends: done, or nothing moves */
        uint32_t echoes = __atomic_load_n(&other->echoes, __ATOMIC_RELAXED);

        moved = echoes != seen ? real_now() : moved;
        seen = echoes;
        CHECK(real_now() - moved < PATIENCE, "after %u of %u echoes both workers sleep, and nothing wakes them", seen,
              ECHOES);
        snooze(5 * MS);
    }
    return NULL;
}

static void *echo_there(void *arg)
{
    struct other_end *other = arg;
    struct rig *rig = rig_attach(other->main, 1);
    nx_handle client = make_socket(rig, 0, NX_SOCK_STREAM);
    char byte = 'x';
    int64_t r;

    rig->patient = true;
    r = finish(rig, start_connect(rig, 0, client, &other->addr));
    CHECK(r == 0, "CONNECT to a listener of another worker gives %s", error_text(r));
    for (uint32_t i = 0; i < ECHOES; i++) {
        write_all(rig, 0, client, &byte, 1);
        read_all(rig, 0, client, &byte, 1);
        __atomic_fetch_add(&other->echoes, 1, __ATOMIC_RELAXED);
    }
    close_handle(rig, 0, client);
    rig_close(rig);
    __atomic_store_n(&other->done, 1, __ATOMIC_RELEASE);
    return NULL;
}

void driver_threads(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct other_end other = {.main = rig};
    nx_handle listener = make_listener(rig, 0, &other.addr), server;
    struct flight *accept;
    pthread_t thread, watcher;
    char byte;

    need_wait(rig);
    rig->patient = true;
    accept = fly(rig, 0, (struct nx_op){.handle = listener, .code = NX_OP_ACCEPT});
    CHECK(pthread_create(&thread, NULL, echo_there, &other) == 0 &&
              pthread_create(&watcher, NULL, watch_echoes, &other) == 0,
          "this program could not start a thread");
    server = (nx_handle)finish(rig, accept);
    CHECK(accept->result > 0, "ACCEPT gives %s", error_text(accept->result));
    for (uint32_t i = 0; i < ECHOES; i++) {
        doing("echo %u of %u between two workers that sleep without a time", i + 1, ECHOES);
        read_all(rig, 0, server, &byte, 1);
        write_all(rig, 0, server, &byte, 1);
    }
    CHECK(read_some(rig, 0, server, &byte, 1) == 0, "a byte that nobody has written");
    pthread_join(thread, NULL);
    pthread_join(watcher, NULL);
    close_handle(rig, 0, server);
    close_handle(rig, 0, listener);
    rig_close(rig);
}

/* ---- beside another driver; a clock of its own ---- */

void driver_wait_fd(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    int fd = HAS(rig, wait_fd) ? rig->ops->wait_fd(rig->context[0]) : -ENOTSUP;
    struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
    struct pair pair;
    struct flight *read;
    char byte;

    if (fd < 0)
        skip("wait_fd is not offered");
    pair = pair_open(rig);
    read = fly(rig, 0, read_op(pair.server, &byte, 1));
    settle(rig);
    arm_it(rig);
    CHECK(poll(&poll_fd, 1, 0) == 0, "wait_fd is readable with nothing to do");
    rig->ops->disarm(rig->context[0]);
    CHECK(carry_out(rig, 0, write_op(pair.client, "x", 1)) == 1, "WRITE of a byte does not write it");
    if (!ended(read) && rig->ops->arm(rig->context[0]) == 0) {
        CHECK(poll(&poll_fd, 1, (int)(LONG / MS)) == 1, "wait_fd does not become readable when poll has a completion");
        rig->ops->disarm(rig->context[0]);
    }
    finish(rig, read);
    pair_close(&pair);
    rig_close(rig);
}

void driver_clock(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct nx_completion out[8];
    nx_time last, until;

    if (!owns_clock(rig))
        skip("now is NULL or says 0: the clock is the host's");
    need_wait(rig);
    last = rig->ops->now(rig->driver);
    until = last + 20 * MS;
    for (uint32_t i = 0; i < 1000 || last < until; i++) {
        nx_time now;

        arm_it(rig);
        doing("wait on the driver's own clock");
        rig->ops->wait(rig->context[0], out, 8, last < until ? until : NX_POLL);
        now = rig->ops->now(rig->driver);
        CHECK(now >= last, "the driver's clock goes back, by %lld ns", (long long)(last - now));
        CHECK(i < 100000, "many waits, and the driver's clock has not come to its time");
        last = now;
    }
    rig_close(rig);
}
