/* conform_serve.c: nx_serve: spreading, draining, cutting, limits, ends of all kinds. */
#include "nxt_net.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define MS INT64_C(1000000)

struct service {
    const char *where;
    nx_serve_options options;
    intptr_t (*on_conn)(nx_stream *stream, void *arg);
    nx_time deadline;
    nx_task task;
    char addr[128];
    nx_addr bound;
    atomic_int listened, running, ended, cancelled;
    atomic_int threads[2], counts[2]; /* connections by thread */
};

static void note_listening(const nx_addr *addr, void *arg)
{
    struct service *service = arg;
    service->bound = *addr;
    nx_addr_format(addr, service->addr, sizeof(service->addr));
    atomic_fetch_add(&service->listened, 1);
}

static intptr_t run_service(void *arg)
{
    struct service *service = arg;
    return nx_serve(service->where, &service->options, service->on_conn, service, service->deadline);
}

static void start(struct service *service, intptr_t (*on_conn)(nx_stream *, void *))
{
    service->where = service->where ? service->where : "127.0.0.1:0";
    service->options.size = sizeof(service->options);
    service->options.on_listen = note_listening;
    service->on_conn = on_conn;
    service->deadline = service->deadline ? service->deadline : NX_FOREVER;
    service->task = nx_spawn(run_service, service);
    nxt_await(atomic_load(&service->listened) > 0);
}

static intptr_t stop(struct service *service)
{
    nx_cancel(service->task);
    intptr_t result = nxt_result(service->task);
    nxt_expect_eq(atomic_load(&service->listened), 1);
    nxt_expect_eq(atomic_load(&service->running), 0); /* nx_serve returns after the last of them */
    return result;
}

static void note_thread(struct service *service)
{
    int self = nxt_thread_id();
    for (size_t i = 0; i < NXT_COUNT(service->threads); i++) {
        int seen = 0;
        if (atomic_compare_exchange_strong(&service->threads[i], &seen, self) || seen == self) {
            atomic_fetch_add(&service->counts[i], 1);
            return;
        }
    }
    nxt_fail(__FILE__, __LINE__, "a third thread");
}

static intptr_t echo(nx_stream *stream, void *arg)
{
    struct service *service = arg;
    char buffer[256];
    ssize_t got;
    atomic_fetch_add(&service->running, 1);
    note_thread(service);
    while ((got = nx_read(stream, buffer, sizeof(buffer), NX_FOREVER)) > 0 &&
           nx_write(stream, buffer, (size_t)got, NX_FOREVER) == got)
        ;
    atomic_fetch_add(&service->cancelled, got == -ECANCELED);
    atomic_fetch_sub(&service->running, 1);
    atomic_fetch_add(&service->ended, 1);
    return 0;
}

static nx_stream *connect_to(const struct service *service)
{
    nx_stream *stream = NULL;
    nxt_expect_eq(nx_connect(service->addr, NULL, &stream, NX_FOREVER), 0);
    return stream;
}

static bool ask(nx_stream *stream, int number)
{
    int back = -1;
    return nxt_expect_eq(nx_write(stream, &number, sizeof(number), NX_FOREVER), sizeof(number)) &&
           nxt_expect_eq(nx_read_exact(stream, &back, sizeof(back), NX_FOREVER), sizeof(back)) &&
           nxt_expect_eq(back, number);
}

static ssize_t read_end(nx_stream *stream)
{
    char byte;
    return nx_read(stream, &byte, 1, NX_FOREVER);
}

/* ---- serving ---- */

NXT_TASK_TEST(connections_are_spread_evenly_over_the_workers, .workers = 2)
{
    struct service service = {0};
    nx_stream *streams[64];
    start(&service, echo);
    for (int i = 0; i < 64; i++) {
        streams[i] = connect_to(&service);
        nxt_require(streams[i]);
        ask(streams[i], i);
    }
    nxt_expect_eq(atomic_load(&service.counts[0]), 32);
    nxt_expect_eq(atomic_load(&service.counts[1]), 32);
    for (int i = 0; i < 64; i++)
        nx_close(streams[i]);
    nxt_await(atomic_load(&service.ended) == 64);
    nxt_expect_eq(stop(&service), 0);
}

NXT_TASK_TEST(a_worker_whose_connections_have_gone_gets_the_next_ones, .workers = 2)
{
    struct service service = {0};
    nx_stream *streams[8];
    start(&service, echo);
    for (int i = 0; i < 8; i++)
        ask(streams[i] = connect_to(&service), i);
    for (int i = 0; i < 8; i += 2) /* they went to the workers in turn: all of one */
        nx_close(streams[i]);
    nxt_await(atomic_load(&service.ended) == 4);
    /* A connection leaves the books just after its function has returned. */
    nxt_await_parked(service.task);
    nx_sleep_ms(1);
    for (int i = 0; i < 8; i += 2)
        ask(streams[i] = connect_to(&service), i);
    nxt_expect_eq(atomic_load(&service.counts[0]) + atomic_load(&service.counts[1]), 12);
    nxt_expect_le(abs(atomic_load(&service.counts[0]) - atomic_load(&service.counts[1])), 4);
    for (int i = 0; i < 8; i++)
        nx_close(streams[i]);
    nxt_await(atomic_load(&service.ended) == 12);
    nxt_expect_eq(stop(&service), 0);
}

static intptr_t talk_often(void *arg)
{
    for (int64_t i = 0; i < nxt_scaled(50, 5); i++) {
        nx_stream *stream = connect_to(arg);
        nxt_require(stream, 0);
        for (int k = 0; k < 10; k++)
            ask(stream, k);
        nx_close(stream);
    }
    return 0;
}

NXT_TASK_TEST(many_clients_come_and_go, .workers = 2)
{
    struct service service = {0};
    nx_task clients[8];
    start(&service, echo);
    for (int i = 0; i < 8; i++)
        clients[i] = nxt_task_on(i % 2, talk_often, &service);
    for (int i = 0; i < 8; i++)
        nxt_result(clients[i]);
    nxt_await(atomic_load(&service.ended) == 8 * nxt_scaled(50, 5));
    nxt_expect_eq(stop(&service), 0);
}

static intptr_t greet(nx_stream *stream, void *arg)
{
    (void)arg;
    nx_write(stream, "hello", 5, NX_FOREVER);
    return 0;
}

NXT_TASK_TEST(the_stream_is_closed_when_the_function_returns, .workers = 2)
{
    struct service service = {0};
    start(&service, greet);
    for (int i = 0; i < 4; i++) {
        char buffer[8];
        nx_stream *stream = connect_to(&service);
        nxt_require(stream);
        nxt_expect_eq(nx_read_exact(stream, buffer, sizeof(buffer), NX_FOREVER), 5);
        nxt_expect_eq(nx_read(stream, buffer, 1, NX_FOREVER), 0);
        nx_close(stream);
    }
    nxt_expect_eq(stop(&service), 0);
}

NXT_TASK_TEST(two_services_one_of_them_on_a_unix_socket_run_at_once, .workers = 2)
{
    char where[64];
    struct service one = {0}, other = {0};
    snprintf(where, sizeof(where), "unix:@nxt-%d-serve", (int)getpid());
    other.where = where;
    start(&one, echo);
    start(&other, greet);
    nxt_expect_str(other.addr, where);
    nx_stream *asking = connect_to(&one), *listening = connect_to(&other);
    nxt_require(asking && listening);
    char buffer[8];
    ask(asking, 1);
    nxt_expect_eq(nx_read_exact(listening, buffer, sizeof(buffer), NX_FOREVER), 5);
    nx_close(listening);
    nxt_expect_eq(stop(&other), 0);
    ask(asking, 2);
    nx_close(asking);
    nxt_expect_eq(stop(&one), 0);
}

static intptr_t use_stack(nx_stream *stream, void *arg)
{
    volatile char room[600 * 1024];
    (void)arg;
    for (size_t i = 0; i < sizeof(room); i += 1024)
        room[i] = 1;
    nxt_expect_eq(room[sizeof(room) - 1024], 1);
    nx_write(stream, "ok", 2, NX_FOREVER);
    return 0;
}

NXT_TASK_TEST(connections_get_the_stack_asked_for, .workers = 2)
{
    struct service service = {.options.stack_size = 1 << 20};
    char buffer[4];
    start(&service, use_stack);
    nx_stream *stream = connect_to(&service);
    nxt_require(stream);
    nxt_expect_eq(nx_read_exact(stream, buffer, sizeof(buffer), NX_FOREVER), 2);
    nx_close(stream);
    nxt_expect_eq(stop(&service), 0);
}

NXT_TASK_TEST(at_max_connections_no_more_are_accepted, .workers = 2)
{
    struct service service = {.options.max_connections = 2};
    nx_stream *streams[5];
    start(&service, echo);
    for (int i = 0; i < 5; i++) {
        nxt_require(streams[i] = connect_to(&service));
        if (i < 2)
            ask(streams[i], i);
    }
    for (int i = 2; i < 5; i++) { /* each gets its turn when another has gone */
        char byte;
        nxt_expect_eq(nx_write(streams[i], "x", 1, NX_FOREVER), 1);
        nxt_expect_eq(nx_read(streams[i], &byte, 1, nx_after_ms(5)), -ETIMEDOUT);
        nxt_expect_le(atomic_load(&service.running), 2);
        nx_close(streams[i - 2]);
        nxt_expect_eq(nx_read(streams[i], &byte, 1, NX_FOREVER), 1);
    }
    nx_close(streams[3]);
    nx_close(streams[4]);
    nxt_expect_eq(stop(&service), 0);
}

/* ---- ending ---- */

NXT_TASK_TEST(a_cancelled_service_lets_its_connections_finish, .workers = 2)
{
    struct service service = {0};
    nx_stream *streams[6], *late;
    start(&service, echo);
    for (int i = 0; i < 6; i++)
        ask(streams[i] = connect_to(&service), i);
    nx_cancel(service.task);
    int error;
    nxt_await((error = nx_connect(service.addr, NULL, &late, NX_FOREVER)) == -ECONNREFUSED ||
              (error == 0 && nx_close(late) < 0));
    for (int i = 0; i < 6; i++) {
        ask(streams[i], 100 + i);
        nx_close(streams[i]);
    }
    nxt_expect_eq(stop(&service), 0);
    nxt_expect_eq(atomic_load(&service.cancelled), 0);
}

NXT_TASK_TEST(what_has_not_finished_after_drain_ns_is_cut_and_counted, .workers = 2)
{
    struct service service = {.options.drain_ns = 20 * MS};
    nx_stream *streams[6];
    start(&service, echo);
    for (int i = 0; i < 6; i++)
        ask(streams[i] = connect_to(&service), i);
    nx_time begin = nx_now();
    nx_cancel(service.task);
    nx_close(streams[0]);
    nxt_expect_eq(stop(&service), 5);
    nxt_expect_ge(nx_now() - begin, 20 * MS);
    nxt_expect_eq(atomic_load(&service.cancelled), 5);
    for (int i = 1; i < 6; i++) {
        nxt_expect_eq(read_end(streams[i]), 0);
        nx_close(streams[i]);
    }
}

NXT_TASK_TEST(without_a_drain_connections_are_cut_at_once, .workers = 2)
{
    struct service service = {.options.drain_ns = -1};
    nx_stream *streams[6];
    start(&service, echo);
    for (int i = 0; i < 6; i++)
        ask(streams[i] = connect_to(&service), i);
    nxt_expect_eq(stop(&service), 6);
    nxt_expect_eq(atomic_load(&service.cancelled), 6);
    for (int i = 0; i < 6; i++) {
        nxt_expect_eq(read_end(streams[i]), 0);
        nx_close(streams[i]);
    }
}

NXT_TASK_TEST(the_deadline_ends_a_service, .workers = 2)
{
    struct service service = {.options.drain_ns = -1, .deadline = nx_after_ms(30)};
    start(&service, echo);
    nx_stream *stream = connect_to(&service);
    nxt_require(stream);
    intptr_t result = nxt_result(service.task);
    nxt_expect(result == 0 || result == 1); /* 0 on a machine so slow that the deadline came before the client */
    nxt_expect_ge(nx_now(), service.deadline);
    nx_close(stream);
}

NXT_TASK_TEST(a_service_started_by_a_cancelled_task_ends_at_once)
{
    struct service service = {.where = "127.0.0.1:0",
                              .options = {.size = sizeof(service.options), .on_listen = note_listening},
                              .on_conn = echo,
                              .deadline = NX_FOREVER};
    nx_cancel(nx_self());
    nxt_expect_eq(run_service(&service), 0);
}

NXT_TASK_TEST(a_service_that_cannot_listen_says_why, .workers = 2)
{
    struct service service = {0}, second = {.options = {.size = sizeof(second.options), .on_listen = note_listening},
                                            .on_conn = echo,
                                            .deadline = NX_FOREVER};
    start(&service, echo);
    second.where = service.addr;
    nxt_expect_eq(run_service(&second), -EADDRINUSE);
    second.where = "nonsense";
    nxt_expect_eq(run_service(&second), -EINVAL);
    second.where = "127.0.0.1:0";
    second.on_conn = NULL;
    nxt_expect_eq(run_service(&second), -EINVAL);
    second.on_conn = echo;
    second.options.size = 1;
    nxt_expect_eq(run_service(&second), -EINVAL);
    nxt_expect_eq(atomic_load(&second.listened), 0);
    nxt_expect_eq(stop(&service), 0);
}

static intptr_t stop_runtime(void *arg)
{
    return nx_runtime_shutdown(arg, nx_after_ms(20000));
}

static intptr_t do_nothing(void *arg)
{
    (void)arg;
    return 0;
}

static bool is_shutting_down(nx_runtime *runtime)
{
    nx_task task = nx_spawn_on(runtime, NULL, do_nothing, NULL);
    if (task > 0)
        nx_join(task, NULL, NX_FOREVER);
    return task == -ESHUTDOWN;
}

/* A connection that has been answered once. */
static int plain_client(const struct service *service)
{
    int fd = nxt_connect(service->bound.port);
    char byte = 'x';
    nxt_expect(nxt_write_all(fd, &byte, 1));
    nxt_expect_eq(nxt_read_all(fd, &byte, 1), 1);
    return fd;
}

NXT_TEST(shutting_the_runtime_down_ends_a_service_and_its_connections_get_the_drain)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2, .grace_ns = INT64_C(20000000000)));
    nxt_require(runtime);
    struct service service = {.where = "127.0.0.1:0",
                              .options = {.size = sizeof(service.options), .on_listen = note_listening},
                              .on_conn = echo,
                              .deadline = NX_FOREVER};
    nx_task task = nx_spawn_on(runtime, NULL, run_service, &service);
    nxt_await(atomic_load(&service.listened) == 1);
    int first = plain_client(&service), second = plain_client(&service);
    struct nxt_thread *stopper = nxt_thread_start(stop_runtime, runtime);
    char text[16];
    nxt_await(is_shutting_down(runtime)); /* no more are accepted; those that are there go on */
    nxt_expect(nxt_write_all(first, "still", 5));
    nxt_expect_eq(nxt_read_all(first, text, 5), 5);
    nxt_close_fd(&first);
    nxt_close_fd(&second);
    nxt_expect_eq(nxt_thread_join(stopper), 0);
    nxt_expect_eq(nxt_result(task), 0);
    nxt_expect_eq(atomic_load(&service.cancelled), 0);
    nxt_stop(runtime);
}

/* ---- panics ---- */

static intptr_t panic_if_told(nx_stream *stream, void *arg)
{
    int number;
    struct service *service = arg;
    while (nx_read_exact(stream, &number, sizeof(number), NX_FOREVER) == sizeof(number)) {
        if (number == 13)
            nx_panic("thirteen");
        nx_write(stream, &number, sizeof(number), NX_FOREVER);
    }
    atomic_fetch_add(&service->ended, 1);
    return 0;
}

NXT_TASK_TEST(a_panic_of_one_connection_closes_it_and_the_service_lives, .workers = 2, .on_panic = NX_PANIC_ISOLATE)
{
    struct service service = {0};
    const int thirteen = 13;
    start(&service, panic_if_told);
    nx_stream *steady = connect_to(&service);
    nxt_require(steady);
    for (int i = 0; i < 5; i++) {
        nx_stream *stream = connect_to(&service);
        nxt_require(stream);
        ask(stream, i);
        nxt_expect_eq(nx_write(stream, &thirteen, sizeof(thirteen), NX_FOREVER), sizeof(thirteen));
        nxt_expect_eq(read_end(stream), 0);
        nx_close(stream);
        ask(steady, i);
    }
    nx_close(steady);
    nxt_expect_eq(stop(&service), 0);
}

/* ---- other people's clients ---- */

struct command {
    char text[256], output[256];
    int status;
};

static intptr_t run_command(void *arg)
{
    struct command *command = arg;
    FILE *pipe = popen(command->text, "re");
    if (!pipe)
        return -errno;
    command->output[fread(command->output, 1, sizeof(command->output) - 1, pipe)] = '\0';
    command->status = pclose(pipe);
    return 0;
}

static void expect_answer(const struct service *service, const char *format)
{
    struct command command = {.status = -1};
    snprintf(command.text, sizeof(command.text), format, service->bound.port);
    nxt_expect_eq(nxt_thread_await(nxt_thread_start(run_command, &command)), 0);
    if (WIFEXITED(command.status) && WEXITSTATUS(command.status) == 127) {
        nxt_skip("none of bash and ncat is here");
        return;
    }
    nxt_expect_eq(command.status, 0);
    nxt_expect_str(command.output, "ping\n");
}

NXT_TASK_TEST(clients_that_are_not_ours_are_served, .workers = 2)
{
    struct service service = {0};
    start(&service, echo);
    expect_answer(&service,
                  "command -v bash >/dev/null || exit 127; "
                  "bash -c 'exec 3<>/dev/tcp/127.0.0.1/%u && echo ping >&3 && read -r line <&3 && echo $line'");
    expect_answer(&service, "command -v ncat >/dev/null || exit 127; echo ping | ncat 127.0.0.1 %u");
    nxt_expect_eq(stop(&service), 0);
}

/* ---- telling connections that the end has come ---- */

static nx_event drained = NX_EVENT_INIT;

static void note_drain(void *arg)
{
    struct service *service = arg;
    atomic_fetch_add(&service->cancelled, 1);
    nx_event_set(&drained);
}

static intptr_t wait_for_drain(nx_stream *stream, void *arg)
{
    struct service *service = arg;
    char byte;
    atomic_fetch_add(&service->running, 1);
    int winner = nx_select(NX_FOREVER, NX_CASE_READ(stream, &byte, 1), NX_CASE_EVENT(&drained));
    nxt_expect_eq(winner, 1);
    atomic_fetch_sub(&service->running, 1);
    return 0;
}

NXT_TASK_TEST(idle_connections_can_be_told_that_accepting_has_ended, .workers = 2)
{
    struct service service = {.options = {.on_drain = note_drain, .drain_ns = 600000 * MS}};
    nx_stream *streams[4];
    nx_event_clear(&drained);
    start(&service, wait_for_drain);
    for (int i = 0; i < 4; i++)
        streams[i] = connect_to(&service);
    nxt_await(atomic_load(&service.running) == 4);
    nxt_expect_eq(atomic_load(&service.cancelled), 0);
    nxt_expect_eq(stop(&service), 0); /* none was cut, and nobody waited for the drain's end */
    nxt_expect_eq(atomic_load(&service.cancelled), 1);
    for (int i = 0; i < 4; i++)
        nx_close(streams[i]);
}
