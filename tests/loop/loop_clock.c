/*
 * loop_clock.c: a clock that is the driver's: it jumps when nothing else can happen, and stands while something takes
 * real time. Run with loop:time=virtual only.
 */
#include "nxt_net.h"
#include <fcntl.h>
#include <nexus/chan.h>
#include <nexus/file.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HOUR (INT64_C(3600) * 1000000000)
#define AT_ONCE INT64_C(5000000000) /* for an hour and more: a busy machine stands still now and then */

NXT_TASK_TEST(an_hour_asleep_is_over_at_once)
{
    nx_time real = nxt_clock(), then = nx_now();
    nxt_expect_eq(nx_sleep_until(nx_after_ns(HOUR)), 0);
    nxt_expect_eq(nx_now() - then, HOUR);
    nxt_expect_lt(nxt_clock() - real, AT_ONCE);
}

struct sleeper {
    nx_time until;
    int place;
    atomic_int *count;
};

static intptr_t sleep_and_count(void *arg)
{
    struct sleeper *sleeper = arg;
    int error = nx_sleep_until(sleeper->until);
    nxt_expect_eq(nx_now(), sleeper->until);
    sleeper->place = atomic_fetch_add(sleeper->count, 1);
    return error;
}

NXT_TASK_TEST(sleepers_of_all_workers_wake_in_order_at_their_very_times, .workers = 3)
{
    struct sleeper sleepers[30];
    nx_task tasks[30];
    atomic_int count = 0;
    nx_time real = nxt_clock(), begin = nx_after_ns(HOUR);
    for (int i = 0; i < 30; i++) {
        sleepers[i] = (struct sleeper){.until = begin + (i * 7 % 30) * HOUR, .count = &count};
        tasks[i] = nxt_task_on(i % 3, sleep_and_count, &sleepers[i]);
    }
    for (int i = 0; i < 30; i++) {
        nxt_expect_eq(nxt_result(tasks[i]), 0);
        nxt_expect_eq(sleepers[i].place, i * 7 % 30);
    }
    nxt_expect_lt(nxt_clock() - real, AT_ONCE);
}

static intptr_t answer_late(nx_stream *stream, void *arg)
{
    char byte;
    (void)arg;
    while (nx_read(stream, &byte, 1, NX_FOREVER) == 1) {
        nx_sleep_until(nx_after_ns(HOUR));
        nx_write(stream, &byte, 1, NX_FOREVER);
    }
    return 0;
}

NXT_TASK_TEST(messages_come_before_the_clock_moves_and_deadlines_when_it_does, .workers = 2)
{
    char byte = 'x';
    nx_stream *stream;
    struct nxt_server server;
    nxt_server_start(&server, answer_late);
    nxt_require_eq(nx_connect(server.where, NULL, &stream, NX_FOREVER), 0);
    for (int i = 0; i < 50; i++) {
        nx_time begin = nx_now();
        nxt_expect_eq(nx_write(stream, &byte, 1, NX_FOREVER), 1);
        nxt_expect_eq(nx_read(stream, &byte, 1, begin + HOUR / 2), -ETIMEDOUT);
        nxt_expect_eq(nx_now() - begin, HOUR / 2);
        nxt_expect_eq(nx_read(stream, &byte, 1, begin + HOUR + 1), 1);
        nxt_expect_eq(nx_now() - begin, HOUR);
    }
    nx_close(stream);
    nxt_server_stop(&server);
}

/* ---- a time passes only when there is nothing to do in it ---- */

struct talk {
    nx_listener *listener;
    char where[64], path[128];
    nx_chan *answers;
    uint32_t random;
    int rounds;
};

static uint32_t draw(struct talk *talk, uint32_t below)
{
    talk->random = talk->random * 1664525 + 1013904223;
    return (talk->random >> 8) % below;
}

static intptr_t hear(void *arg)
{
    struct talk *talk = arg;
    nx_stream *stream;
    nx_loan loan;
    nx_time told;
    nxt_require_eq(nx_accept(talk->listener, &stream, NX_FOREVER), 0, -1);
    for (int i = 0; i < talk->rounds; i++) {
        if (i % 2) {
            nxt_require_eq(nx_read_exact(stream, &told, sizeof(told), NX_FOREVER), sizeof(told), -1);
        } else {
            nxt_require_eq(nx_read_loan(stream, &loan, NX_FOREVER), sizeof(told), -1);
            memcpy(&told, loan.data, sizeof(told));
            nx_loan_return(&loan);
        }
        nxt_require_eq(nx_now(), told, -1);
        nxt_require_eq(nx_chan_send(talk->answers, &told, NX_FOREVER), 0, -1);
    }
    nx_close(stream);
    return 0;
}

static intptr_t do_nothing(void *arg)
{
    return (intptr_t)arg;
}

static void do_something(struct talk *talk, nx_file *file)
{
    intptr_t result;
    switch (draw(talk, 5)) {
    case 0:
        nxt_expect_eq(nx_blocking(do_nothing, talk, &result, NX_FOREVER), 0);
        break;
    case 1:
        nxt_expect_eq(nx_pwrite(file, "data", 4, draw(talk, 1000), NX_FOREVER), 4);
        break;
    case 2:
        nxt_expect_eq(nxt_result(nx_spawn(do_nothing, NULL)), 0);
        break;
    case 3:
        nx_yield();
        break;
    default:
        break;
    }
}

static intptr_t speak(void *arg)
{
    struct talk *talk = arg;
    nx_stream *stream;
    nx_file *file;
    nx_time answer;
    nxt_require_eq(nx_connect(talk->where, NULL, &stream, NX_FOREVER), 0, -1);
    nxt_require_eq(nx_file_open(talk->path, O_RDWR | O_CREAT | O_TRUNC, 0600, &file, NX_FOREVER), 0, -1);
    for (int i = 0; i < talk->rounds; i++) {
        nx_time until = nx_after_ns(draw(talk, 1000));
        nxt_expect_eq(nx_sleep_until(until), 0);
        nxt_require_eq(nx_now(), until, -1);
        nxt_require_eq(nx_write(stream, &until, sizeof(until), NX_FOREVER), sizeof(until), -1);
        do_something(talk, file);
        nxt_require_eq(nx_chan_recv(talk->answers, &answer, NX_FOREVER), 0, -1);
        nxt_require_eq(answer, until, -1);
        nxt_require_eq(nx_now(), until, -1);
    }
    nx_close(stream);
    nx_file_close(file);
    unlink(talk->path);
    return 0;
}

NXT_TASK_TEST(no_time_passes_while_anything_is_on_its_way, .workers = 4)
{
    struct talk talks[8];
    nx_task tasks[16];
    for (uint32_t i = 0; i < 8; i++) {
        talks[i] = (struct talk){.random = i + 1, .rounds = (int)nxt_scaled(500, 50)};
        snprintf(talks[i].path, sizeof(talks[i].path), "%s", nxt_temp_path("talk"));
        talks[i].path[strlen(talks[i].path) - 1] = (char)('0' + i);
        talks[i].listener = nxt_listen_on("127.0.0.1:0", talks[i].where, sizeof(talks[i].where));
        nxt_require(talks[i].listener);
        nxt_require_eq(nx_chan_create(sizeof(nx_time), i % 2, &talks[i].answers), 0);
    }
    for (uint32_t i = 0; i < 16; i++)
        tasks[i] = nxt_task_on((int)(i + i / 8) % 4, i < 8 ? hear : speak, &talks[i % 8]);
    for (uint32_t i = 0; i < 16; i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
    for (uint32_t i = 0; i < 8; i++) {
        nx_listener_close(talks[i].listener);
        nx_chan_destroy(talks[i].answers);
    }
}

/* ---- real time ---- */

static intptr_t block_a_while(void *arg)
{
    usleep(50000);
    atomic_store((atomic_bool *)arg, true);
    return 7;
}

static intptr_t block(void *arg)
{
    intptr_t result = 0;
    nx_time begin = nx_now();
    nxt_expect_eq(nx_blocking(block_a_while, arg, &result, NX_FOREVER), 0);
    nxt_expect_eq(nx_now(), begin);
    return result;
}

NXT_TASK_TEST(the_clock_stands_while_a_blocking_call_is_in_flight, .workers = 2)
{
    for (int worker = 0; worker < 2; worker++) {
        atomic_bool over = false;
        nx_time begin = nx_now();
        nx_task blocking = nxt_task_on(worker, block, &over);
        nxt_expect_eq(nx_sleep_until(begin + 1), 0);
        nxt_expect(atomic_load(&over));
        nxt_expect_eq(nx_now(), begin + 1);
        nxt_expect_eq(nxt_result(blocking), 7);
    }
}

static intptr_t block_until(void *arg)
{
    while (!atomic_load((atomic_bool *)arg))
        usleep(1000);
    return 0;
}

struct call {
    atomic_bool *go;
    int *made, place; /* of one worker's tasks: who has a place waits already when others see it */
};

static intptr_t give_up_on(void *arg)
{
    struct call *call = arg;
    call->place = (*call->made)++;
    return nx_blocking(block_until, call->go, NULL, nx_after_ns(HOUR));
}

NXT_TASK_TEST(a_call_that_has_been_taken_back_holds_nothing, .blocking_threads = 1)
{
    atomic_bool go = false;
    int made = 0;
    struct call calls[2] = {{.go = &go, .made = &made}, {.go = &go, .made = &made}};
    nx_task tasks[2] = {nx_spawn(give_up_on, &calls[0]), nx_spawn(give_up_on, &calls[1])};
    while (made < 2) /* a sleep would not end: the clock stands */
        nx_yield();
    int queued = calls[0].place == 1 ? 0 : 1;
    nx_cancel(tasks[queued]);
    nxt_expect_eq(nxt_result(tasks[queued]), -ECANCELED);
    atomic_store(&go, true);
    nxt_expect_eq(nxt_result(tasks[1 - queued]), 0);
    nx_time real = nxt_clock();
    nxt_expect_eq(nx_sleep_until(nx_after_ns(HOUR)), 0);
    nxt_expect_lt(nxt_clock() - real, AT_ONCE);
}

static intptr_t write_and_sync(void *arg)
{
    const char *path = arg;
    nx_file *file;
    nx_time begin = nx_now();
    nxt_require_eq(nx_file_open(path, O_RDWR | O_CREAT | O_TRUNC, 0600, &file, NX_FOREVER), 0, -1);
    for (int i = 0; i < 50; i++) {
        nxt_expect_eq(nx_pwrite(file, "data", 4, i * 4, NX_FOREVER), 4);
        nxt_expect_eq(nx_fsync(file, NX_FOREVER), 0);
    }
    nxt_expect_eq(nx_now(), begin);
    nx_file_close(file);
    unlink(path);
    return 0;
}

NXT_TASK_TEST(the_clock_stands_while_a_file_is_worked_on, .workers = 2)
{
    for (int worker = 0; worker < 2; worker++) {
        const char *path = nxt_temp_path("file");
        nx_time begin = nx_now(), real = nxt_clock();
        nx_task writer = nxt_task_on(worker, write_and_sync, (void *)(uintptr_t)path);
        nxt_expect_eq(nx_sleep_until(begin + 1), 0);
        nxt_expect_eq(nx_join(writer, NULL, NX_POLL), 0);
        nxt_expect_eq(nx_sleep_until(begin + HOUR), 0);
        nxt_expect_eq(nx_now(), begin + HOUR);
        nxt_expect_lt(nxt_clock() - real, 2 * AT_ONCE);
    }
}

static intptr_t write_late(void *arg)
{
    usleep(50000);
    return write(*(int *)arg, "x", 1);
}

static intptr_t wait_readable(void *arg)
{
    nx_time begin = nx_now();
    nxt_expect_eq(nx_fd_wait(*(int *)arg, NX_READABLE, NX_FOREVER), NX_READABLE);
    nxt_expect_eq(nx_now(), begin);
    return 0;
}

NXT_TASK_TEST(the_clock_stands_while_a_foreign_descriptor_is_waited_for, .workers = 2)
{
    int fds[2];
    nxt_require(nxt_pipe(fds));
    if (nx_fd_wait(fds[0], NX_READABLE, NX_POLL) == -ENOTSUP)
        nxt_skip("no backend here takes foreign descriptors");
    for (int worker = 0; worker < 2 && nx_fd_wait(fds[0], NX_READABLE, NX_POLL) == -EAGAIN; worker++) {
        char byte;
        nx_time begin = nx_now();
        nx_task reader = nxt_task_on(worker, wait_readable, &fds[0]);
        struct nxt_thread *writer = nxt_thread_start(write_late, &fds[1]);
        nxt_require(writer);
        nxt_expect_eq(nx_sleep_until(begin + 1), 0);
        nxt_expect_eq(nx_join(reader, NULL, NX_POLL), 0);
        nxt_expect_eq(nx_now(), begin + 1);
        nxt_expect_eq(nxt_thread_join(writer), 1);
        nxt_expect_eq(read(fds[0], &byte, 1), 1);
    }
    nxt_close_fd(&fds[0]);
    nxt_close_fd(&fds[1]);
}

/* ---- the same again ---- */

struct trace {
    char text[4096];
    size_t length;
};

struct player {
    struct trace *trace;
    nx_stream *stream;
    int name;
};

static intptr_t play(void *arg)
{
    const struct player *player = arg;
    char byte;
    for (int i = 0; i < 40; i++) {
        nx_read(player->stream, &byte, 1, NX_FOREVER);
        player->trace->text[player->trace->length++] = (char)('a' + player->name);
    }
    return 0;
}

/* Eight readers of eight connections, which each get forty bytes at a time: who comes first? */
static void record(struct trace *trace)
{
    char where[64];
    nx_listener *listener = nxt_listen_on("127.0.0.1:0", where, sizeof(where));
    struct player players[8];
    nx_stream *clients[8];
    nx_task tasks[8];
    nxt_require(listener);
    for (int i = 0; i < 8; i++) {
        players[i] = (struct player){.trace = trace, .name = i};
        nxt_require_eq(nx_connect(where, NULL, &clients[i], NX_FOREVER), 0);
        nxt_require_eq(nx_accept(listener, &players[i].stream, NX_FOREVER), 0);
        tasks[i] = nx_spawn(play, &players[i]);
    }
    for (int turn = 0; turn < 40; turn++) {
        nx_sleep_ms(1);
        for (int i = 0; i < 8; i++)
            nxt_expect_eq(nx_write(clients[i], "x", 1, NX_FOREVER), 1);
    }
    for (int i = 0; i < 8; i++) {
        nxt_result(tasks[i]);
        nx_close(clients[i]);
        nx_close(players[i].stream);
    }
    nx_listener_close(listener);
}

static intptr_t record_task(void *arg)
{
    record(arg);
    return 0;
}

static void run_with(const char *backend, struct trace *trace)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 1, .backend = backend, .pin = NX_PIN_BACKEND));
    nxt_require(runtime);
    nxt_expect_eq(nx_block_on(runtime, record_task, trace, NULL), 0);
    nxt_stop(runtime);
}

NXT_TEST(the_same_seed_gives_the_same_order_and_another_one_another)
{
    static struct trace one, again, other;
    run_with("loop:time=virtual:seed=1", &one);
    run_with("loop:time=virtual:seed=1", &again);
    run_with("loop:time=virtual:seed=2", &other);
    nxt_expect_eq(one.length, 320);
    nxt_expect_str(again.text, one.text);
    nxt_expect(strcmp(one.text, other.text) != 0);
}
