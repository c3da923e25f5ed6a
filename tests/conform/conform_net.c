/* conform_net.c: listening, accepting, connecting. */
#include "nxt_net.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000)

static nx_listener *listen_here(uint16_t *ret_port)
{
    char text[64];
    nx_addr addr = {.port = 0};
    nx_listener *listener = nxt_listen_on("127.0.0.1:0", text, sizeof(text));
    if (listener)
        nxt_expect_eq(nx_listener_addr(listener, &addr), 0);
    *ret_port = addr.port;
    return listener;
}

/* ---- what a connection is like ---- */

static int tcp_option(const nx_stream *stream, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    int fd = nx_stream_fd(stream);
    nxt_expect_ge(fd, 0);
    nxt_expect_eq(getsockopt(fd, IPPROTO_TCP, name, &value, &len), 0);
    return value;
}

NXT_TASK_TEST(both_ends_know_each_other_and_have_nodelay_and_close_on_exec)
{
    uint16_t port;
    nx_stream *client, *server;
    nx_addr peer;
    nx_listener *listener = listen_here(&port);
    nxt_require(listener);
    nxt_require_eq(nx_connect(nxt_loopback(port), NULL, &client, NX_FOREVER), 0);
    nxt_require_eq(nx_accept(listener, &server, NX_FOREVER), 0);
    nxt_expect_eq(nx_stream_peer(client, &peer), 0);
    nxt_expect_eq(peer.port, port);
    struct sockaddr_in own;
    socklen_t len = sizeof(own);
    nxt_expect_eq(getsockname(nx_stream_fd(client), (struct sockaddr *)&own, &len), 0);
    nxt_expect_eq(nx_stream_peer(server, &peer), 0);
    nxt_expect_eq(peer.port, ntohs(own.sin_port));
    nxt_expect_eq(tcp_option(client, TCP_NODELAY), 1);
    nxt_expect_eq(tcp_option(server, TCP_NODELAY), 1);
    nxt_expect_eq(fcntl(nx_stream_fd(client), F_GETFD), FD_CLOEXEC);
    nxt_expect_eq(fcntl(nx_stream_fd(server), F_GETFD), FD_CLOEXEC);
    nx_close(client);
    nx_close(server);
    nx_listener_close(listener);
}

NXT_TASK_TEST(the_peer_of_one_that_has_hung_up_is_gone)
{
    int peer_fd;
    nx_addr peer = {.port = 77};
    nx_stream *stream = nxt_tcp_stream(&peer_fd);
    nxt_require(stream);
    nxt_reset(&peer_fd);
    char byte;
    nxt_expect_eq(nx_read(stream, &byte, 1, NX_FOREVER), -ECONNRESET);
    nxt_expect_eq(nx_stream_peer(stream, &peer), -ENOTCONN);
    nxt_expect_eq(peer.port, 77);
    nx_close(stream);
}

/* ---- listening ---- */

NXT_TASK_TEST(an_address_in_use_is_refused_and_free_again_after_closing)
{
    uint16_t port;
    nx_listener *first = listen_here(&port), *second;
    nx_stream *client, *server;
    nxt_require(first);
    nxt_expect_eq(nx_listen(nxt_loopback(port), NULL, &second), -EADDRINUSE);
    nxt_require_eq(nx_connect(nxt_loopback(port), NULL, &client, NX_FOREVER), 0);
    nxt_require_eq(nx_accept(first, &server, NX_FOREVER), 0);
    nx_close(server); /* first: this end has to wait out its time with the address */
    nx_close(client);
    nx_listener_close(first); /* does not wait: the descriptor goes when the accept in flight has settled */
    int error;
    nxt_await((error = nx_listen(nxt_loopback(port), NULL, &second)) != -EADDRINUSE);
    nxt_require_eq(error, 0);
    nx_listener_close(second);
}

struct taker {
    nx_listener *listener;
    int count;
};

static intptr_t take_until_cancelled(void *arg)
{
    struct taker *taker = arg;
    nx_stream *stream;
    int error;
    while ((error = nx_accept(taker->listener, &stream, NX_FOREVER)) == 0) {
        taker->count++;
        nx_close(stream);
    }
    return error;
}

NXT_TASK_TEST(two_listeners_share_an_address_if_both_ask_for_it, .workers = 2)
{
    const nx_listen_options shared = {.size = sizeof(shared), .reuse_port = true};
    struct taker takers[2] = {{.count = 0}};
    nx_listener *third;
    nx_addr addr;
    nx_task tasks[2];
    nxt_require_eq(nx_listen("127.0.0.1:0", &shared, &takers[0].listener), 0);
    nxt_expect_eq(nx_listener_addr(takers[0].listener, &addr), 0);
    nxt_require_eq(nx_listen(nxt_loopback(addr.port), &shared, &takers[1].listener), 0);
    nxt_expect_eq(nx_listen(nxt_loopback(addr.port), NULL, &third), -EADDRINUSE);
    for (int i = 0; i < 2; i++)
        tasks[i] = nxt_task_on(i, take_until_cancelled, &takers[i]);
    for (int i = 0; i < 64; i++) {
        nx_stream *stream;
        char byte;
        nxt_require_eq(nx_connect(nxt_loopback(addr.port), NULL, &stream, NX_FOREVER), 0);
        nxt_expect_eq(nx_read(stream, &byte, 1, NX_FOREVER), 0); /* it has been taken, and closed */
        nx_close(stream);
    }
    for (int i = 0; i < 2; i++) {
        nx_cancel(tasks[i]);
        nxt_expect_eq(nxt_result(tasks[i]), -ECANCELED);
        nxt_expect_gt(takers[i].count, 0);
        nx_listener_close(takers[i].listener);
    }
    nxt_expect_eq(takers[0].count + takers[1].count, 64);
}

static int unix_try(const char *name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t length = strlen(name);
    memcpy(address.sun_path + 1, name, length);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (connect(fd, (struct sockaddr *)&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + length)) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

static nx_listener *listen_unix(int backlog, char *ret_addr, size_t size)
{
    nx_listener *listener = NULL;
    snprintf(ret_addr, size, "unix:@nxt-%d-backlog", (int)getpid());
    nxt_expect_eq(
        nx_listen(ret_addr, &(nx_listen_options){.size = sizeof(nx_listen_options), .backlog = backlog}, &listener), 0);
    return listener;
}

NXT_TASK_TEST(the_backlog_is_as_long_as_asked_for)
{
    char addr[64];
    int fds[16], count = 0, fd = 0;
    nx_listener *listener = listen_unix(2, addr, sizeof(addr));
    nxt_require(listener);
    while (count < 16 && (fd = unix_try(addr + 6)) >= 0)
        fds[count++] = fd;
    nxt_expect_eq(fd, -EAGAIN);
    nxt_expect_eq(count, 3); /* Linux: one more than asked for */
    for (int i = 0; i < count; i++)
        close(fds[i]);
    nx_listener_close(listener);
}

NXT_TASK_TEST(arguments_of_listen_are_checked)
{
    nx_listener *listener;
    nx_addr addr;
    nxt_expect_eq(nx_listen("127.0.0.1:0", NULL, NULL), -EINVAL);
    nxt_expect_eq(nx_listen("127.0.0.1:0", &(nx_listen_options){.size = 1}, &listener), -EINVAL);
    /* of a newer library: fine as long as what this one does not know is not used */
    struct {
        nx_listen_options options;
        uint64_t more;
    } newer = {.options.size = sizeof(newer), .more = 1};
    nxt_expect_eq(nx_listen("127.0.0.1:0", &newer.options, &listener), -EINVAL);
    newer.more = 0;
    nxt_require_eq(nx_listen("127.0.0.1:0", &newer.options, &listener), 0);
    nx_listener_close(listener);
    /* of an older library: it ended after size */
    nxt_require_eq(nx_listen("127.0.0.1:0", &(nx_listen_options){.size = sizeof(size_t), .backlog = -1}, &listener), 0);
    nxt_expect_eq(nx_listener_addr(NULL, &addr), -EINVAL);
    nxt_expect_eq(nx_listener_addr(listener, NULL), -EINVAL);
    nxt_expect_eq(nx_accept(listener, NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_accept(NULL, &(nx_stream *){NULL}, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_listener_close(listener), 0);
    nxt_expect_eq(nx_listener_close(NULL), 0);
    nxt_expect_eq(nx_close(NULL), 0);
}

/* ---- accepting ---- */

static int poll_accept(nx_listener *listener, nx_stream **ret_stream)
{
    int error;
    nxt_await((error = nx_accept(listener, ret_stream, NX_POLL)) != -EAGAIN);
    return error;
}

NXT_TASK_TEST(a_polling_accept_says_again_or_takes_what_is_there)
{
    uint16_t port;
    nx_stream *stream = NULL;
    nx_listener *listener = listen_here(&port);
    nxt_require(listener);
    for (int i = 0; i < 20; i++) {
        nxt_expect_eq(nx_accept(listener, &stream, NX_POLL), -EAGAIN);
        int client = nxt_connect(port);
        nxt_require_eq(poll_accept(listener, &stream), 0);
        nx_close(stream);
        nxt_close_fd(&client);
    }
    nx_listener_close(listener);
}

static intptr_t poll_once(void *arg)
{
    nx_stream *stream;
    return nx_accept(arg, &stream, NX_POLL);
}

static intptr_t poll_for_ten(void *arg)
{
    for (int i = 0; i < 10; i++) {
        nx_stream *stream;
        nxt_require_eq(poll_accept(arg, &stream), 0, 0);
        nx_close(stream);
    }
    return 1;
}

static intptr_t connect_ten(void *arg)
{
    for (int i = 0; i < 10; i++) {
        char byte;
        int fd = nxt_connect((uint16_t)(uintptr_t)arg);
        nxt_expect_eq(nxt_read_all(fd, &byte, 1), 0); /* until it has been taken, and closed */
        nxt_close_fd(&fd);
    }
    return 0;
}

NXT_TASK_TEST(a_polling_accept_on_another_worker_than_the_listeners_gets_connections, .workers = 2)
{
    uint16_t port;
    nx_listener *listener = listen_here(&port);
    nxt_require(listener);
    nxt_expect_eq(nxt_result(nxt_task_on(0, poll_once, listener)), -EAGAIN); /* that is its home from now on */
    struct nxt_thread *clients = nxt_thread_start(connect_ten, (void *)(uintptr_t)port);
    nxt_expect_eq(nxt_result(nxt_task_on(1, poll_for_ten, listener)), 1);
    nxt_thread_await(clients);
    nx_listener_close(listener);
}

static intptr_t accept_late(void *arg)
{
    nx_stream *stream;
    int error;
    /* A deadline in the past tries once: so it never gets nothing while something is there. */
    nxt_await((error = nx_accept(arg, &stream, nx_now())) != -ETIMEDOUT);
    nxt_require_eq(error, 0, 0);
    nx_close(stream);
    return 1;
}

NXT_TASK_TEST(an_accept_whose_deadline_has_passed_tries_once, .workers = 2)
{
    uint16_t port;
    nx_stream *stream;
    nx_listener *listener = listen_here(&port);
    nxt_require(listener);
    nxt_expect_eq(nx_accept(listener, &stream, 1), -ETIMEDOUT);
    for (int worker = 0; worker < 2; worker++) {
        int client = nxt_connect(port);
        nxt_expect_eq(nxt_result(nxt_task_on(worker, accept_late, listener)), 1);
        nxt_close_fd(&client);
    }
    nx_listener_close(listener);
}

NXT_TASK_TEST(an_accept_waits_until_its_deadline_and_not_less)
{
    uint16_t port;
    nx_stream *stream;
    nx_listener *listener = listen_here(&port);
    nxt_require(listener);
    nx_time deadline = nx_after_ms(20);
    nxt_expect_eq(nx_accept(listener, &stream, deadline), -ETIMEDOUT);
    nxt_expect_ge(nx_now(), deadline);
    nx_listener_close(listener);
}

NXT_TASK_TEST(a_connection_reset_before_it_is_accepted_harms_nobody)
{
    uint16_t port;
    nx_listener *listener = listen_here(&port);
    nxt_require(listener);
    for (int i = 0; i < 20; i++) {
        nx_stream *stream;
        char text[2] = "";
        int dead = nxt_connect(port), good = nxt_connect(port);
        nxt_reset(&dead);
        nxt_expect(nxt_write_all(good, "x", 1));
        /* Linux gives the dead one out too: passed over, or reset when it is read. */
        ssize_t got = 0;
        for (int tries = 0; tries < 2 && got != 1; tries++) {
            nxt_require_eq(nx_accept(listener, &stream, NX_FOREVER), 0);
            got = nx_read(stream, text, 1, NX_FOREVER);
            nxt_expect(got == 1 || got == -ECONNRESET);
            nx_close(stream);
        }
        nxt_expect_str(text, "x");
        nxt_close_fd(&good);
    }
    nx_listener_close(listener);
}

#define BURST 300

NXT_TASK_TEST(more_connections_than_the_listener_queues_all_come_in_the_end, .workers = 2)
{
    uint16_t port;
    static int clients[BURST];
    static bool seen[BURST];
    nx_stream *stream;
    nx_listener *listener = listen_here(&port);
    nxt_require(listener);
    memset(seen, 0, sizeof(seen));
    int first = nxt_connect(port); /* its accept leaves the listener accepting ahead */
    nxt_require_eq(nx_accept(listener, &stream, NX_FOREVER), 0);
    nx_close(stream);
    nxt_close_fd(&first);
    for (int i = 0; i < BURST; i++) {
        clients[i] = nxt_connect(port);
        nxt_expect(nxt_write_all(clients[i], &i, sizeof(i)));
        if (i % 32 == 0)
            nx_yield();
    }
    for (int i = 0; i < BURST; i++) {
        int number = -1;
        nxt_require_eq(nx_accept(listener, &stream, NX_FOREVER), 0);
        nxt_expect_eq(nx_read_exact(stream, &number, sizeof(number), NX_FOREVER), sizeof(number));
        nxt_require(number >= 0 && number < BURST && !seen[number]);
        seen[number] = true;
        nx_close(stream);
    }
    nxt_expect_eq(nx_accept(listener, &stream, NX_POLL), -EAGAIN);
    nx_listener_close(listener);
    for (int i = 0; i < BURST; i++)
        nxt_close_fd(&clients[i]);
}

/* ---- connecting ---- */

NXT_TASK_TEST(a_connection_nobody_listens_for_is_refused)
{
    uint16_t port;
    char addr[64];
    nx_stream *stream = (nx_stream *)&stream;
    nx_listener *listener = listen_here(&port);
    nxt_require(listener);
    nx_listener_close(listener);
    nxt_expect_eq(nx_connect(nxt_loopback(port), NULL, &stream, NX_FOREVER), -ECONNREFUSED);
    nxt_expect_eq(nx_connect(nxt_loopback(port), NULL, &stream, nx_after_ms(10000)), -ECONNREFUSED);
    nxt_expect_eq(nx_connect("unix:@nxt-nobody-listens-here", NULL, &stream, NX_FOREVER), -ECONNREFUSED);
    snprintf(addr, sizeof(addr), "unix:%s", nxt_temp_path("refused"));
    nxt_require_eq(nx_listen(addr, NULL, &listener), 0);
    nx_listener_close(listener);
    nxt_expect_eq(nx_connect(addr, NULL, &stream, NX_FOREVER), -ECONNREFUSED); /* the file is there, the listener not */
    unlink(addr + 5);
    nxt_expect_eq(nx_connect(addr, NULL, &stream, NX_FOREVER), -ENOENT);
    nxt_expect(stream == (nx_stream *)&stream);
}

/* A port where no handshake is answered: the kernel drops what comes while the listener's queue is full. */
struct deaf {
    int listener, fillers[8], count;
    uint16_t port;
};

static bool deaf_open(struct deaf *deaf)
{
    deaf->count = 0;
    deaf->listener = nxt_listen(0, &deaf->port);
    nxt_require(deaf->listener >= 0, false);
    for (bool answered = true; answered && deaf->count < (int)NXT_COUNT(deaf->fillers);) {
        struct sockaddr_in to = {
            .sin_family = AF_INET, .sin_port = htons(deaf->port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        struct tcp_info info = {0};
        socklen_t len = sizeof(info);
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        deaf->fillers[deaf->count++] = fd;
        if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
            nxt_expect_eq(errno, EINPROGRESS);
        nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL); /* an answer would be here; if not, one more filler */
        nxt_expect_eq(getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
        answered = info.tcpi_state == TCP_ESTABLISHED;
    }
    return true;
}

static void deaf_close(struct deaf *deaf)
{
    for (int i = 0; i < deaf->count; i++)
        nxt_close_fd(&deaf->fillers[i]);
    nxt_close_fd(&deaf->listener);
}

static intptr_t connect_for_ever(void *arg)
{
    nx_stream *stream;
    int error = nx_connect(arg, NULL, &stream, NX_FOREVER);
    if (error == 0)
        nx_close(stream);
    return error;
}

NXT_TASK_TEST(an_unanswered_connect_ends_at_its_deadline_its_timeout_or_a_cancel, .workers = 2)
{
    struct deaf deaf;
    nx_stream *stream = NULL;
    nxt_require(deaf_open(&deaf));
    const char *addr = nxt_loopback(deaf.port);
    nx_time deadline = nx_after_ms(20);
    nxt_expect_eq(nx_connect(addr, NULL, &stream, deadline), -ETIMEDOUT);
    nxt_expect_ge(nx_now(), deadline);
    const nx_connect_options brief = {.size = sizeof(brief), .timeout_ns = 20 * MS};
    deadline = nx_after_ms(20);
    nxt_expect_eq(nx_connect(addr, &brief, &stream, NX_FOREVER), -ETIMEDOUT);
    nxt_expect_ge(nx_now(), deadline);
    const nx_connect_options lasting = {.size = sizeof(lasting), .timeout_ns = 3600 * 1000 * MS};
    nxt_expect_eq(nx_connect(addr, &lasting, &stream, nx_after_ms(5)), -ETIMEDOUT); /* the earlier one counts */
    nxt_expect_eq(nx_connect(addr, NULL, &stream, 1), -ETIMEDOUT);
    nxt_expect_eq(nx_connect(addr, NULL, &stream, NX_POLL), -EAGAIN);
    for (int worker = 0; worker < 2; worker++) {
        nx_task task = nxt_task_on(worker, connect_for_ever, (void *)addr);
        nxt_await_parked(task);
        nx_cancel(task);
        nxt_expect_eq(nxt_result(task), -ECANCELED);
    }
    nxt_expect(stream == NULL);
    deaf_close(&deaf);
}

NXT_TASK_TEST(a_unix_connect_waits_for_room_in_the_backlog, .workers = 2)
{
    char addr[64];
    int fds[8], count = 0, fd = 0;
    nx_stream *stream;
    nx_listener *listener = listen_unix(1, addr, sizeof(addr));
    nxt_require(listener);
    while (count < 8 && (fd = unix_try(addr + 6)) >= 0)
        fds[count++] = fd;
    nxt_expect_eq(fd, -EAGAIN);
    nxt_expect_eq(nx_connect(addr, NULL, &stream, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_connect(addr, NULL, &stream, 1), -ETIMEDOUT);
    nxt_expect_eq(nx_connect(addr, NULL, &stream, nx_after_ms(20)), -ETIMEDOUT);
    nx_task cancelled = nxt_task_on(1, connect_for_ever, addr);
    nxt_await_parked(cancelled);
    nx_cancel(cancelled);
    nxt_expect_eq(nxt_result(cancelled), -ECANCELED);
    nx_task waiting = nxt_task_on(1, connect_for_ever, addr);
    nxt_await_parked(waiting);
    for (int i = 0; i <= count; i++) {
        nxt_require_eq(nx_accept(listener, &stream, NX_FOREVER), 0);
        nx_close(stream);
    }
    nxt_expect_eq(nxt_result(waiting), 0);
    nx_listener_close(listener);
    for (int i = 0; i < count; i++)
        close(fds[i]);
}

NXT_TASK_TEST(a_connect_that_may_not_wait_connects_at_once_or_says_again)
{
    uint16_t port;
    char addr[64];
    nx_stream *client = NULL, *server;
    nx_listener *tcp = listen_here(&port), *local = listen_unix(0, addr, sizeof(addr));
    nxt_require(tcp && local);
    nxt_require_eq(nx_connect(addr, NULL, &client, NX_POLL), 0);
    nxt_require_eq(nx_accept(local, &server, NX_FOREVER), 0);
    nx_close(client);
    nx_close(server);
    int error = nx_connect(nxt_loopback(port), NULL, &client, NX_POLL);
    nxt_expect(error == 0 || error == -EAGAIN);
    if (error == 0)
        nx_close(client);
    nx_listener_close(tcp);
    nx_listener_close(local);
}

NXT_TASK_TEST(the_local_address_of_a_connection_can_be_chosen)
{
    uint16_t port;
    nx_stream *client, *server, *other;
    nx_addr peer;
    char text[64];
    nx_listener *listener = listen_here(&port);
    nxt_require(listener);
    nx_connect_options from = {.size = sizeof(from), .local = "127.0.0.2:0"};
    nxt_require_eq(nx_connect(nxt_loopback(port), &from, &client, NX_FOREVER), 0);
    nxt_require_eq(nx_accept(listener, &server, NX_FOREVER), 0);
    nxt_expect_eq(nx_stream_peer(server, &peer), 0);
    nx_addr_format(&peer, text, sizeof(text));
    nxt_expect_contains(text, "127.0.0.2:");
    from.local = text; /* the port is taken */
    nxt_expect_eq(nx_connect(nxt_loopback(port), &from, &other, NX_FOREVER), -EADDRINUSE);
    from.local = "nonsense";
    nxt_expect_eq(nx_connect(nxt_loopback(port), &from, &other, NX_FOREVER), -EINVAL);
    from.local = "192.0.2.77:0";
    nxt_expect_eq(nx_connect(nxt_loopback(port), &from, &other, NX_FOREVER), -EADDRNOTAVAIL);
    from.local = "unix:@nxt-wrong-family";
    nxt_expect_lt(nx_connect(nxt_loopback(port), &from, &other, NX_FOREVER), 0);
    nx_close(client);
    nx_close(server);
    nx_listener_close(listener);
}

NXT_TASK_TEST(arguments_of_connect_are_checked)
{
    uint16_t port;
    nx_stream *stream;
    nx_listener *listener = listen_here(&port);
    nxt_require(listener);
    const char *addr = nxt_loopback(port);
    nxt_expect_eq(nx_connect(addr, NULL, NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_connect(addr, &(nx_connect_options){.size = 1}, &stream, NX_FOREVER), -EINVAL);
    struct {
        nx_connect_options options;
        uint64_t more;
    } newer = {.options.size = sizeof(newer), .more = 1};
    nxt_expect_eq(nx_connect(addr, &newer.options, &stream, NX_FOREVER), -EINVAL);
    newer.more = 0;
    nxt_require_eq(nx_connect(addr, &newer.options, &stream, NX_FOREVER), 0);
    nx_close(stream);
    nx_listener_close(listener);
}

/* ---- outside a task ---- */

NXT_TEST(outside_a_task_the_calls_say_so)
{
    nx_listener *listener = NULL;
    nx_stream *stream = NULL;
    char byte = 0;
    nxt_expect_eq(nx_listen("127.0.0.1:0", NULL, &listener), -NX_ENOTASK);
    nxt_expect_eq(nx_accept(listener, &stream, NX_FOREVER), -NX_ENOTASK);
    nxt_expect_eq(nx_connect("127.0.0.1:1", NULL, &stream, NX_FOREVER), -NX_ENOTASK);
    nxt_expect_eq(nx_read(stream, &byte, 1, NX_FOREVER), -NX_ENOTASK);
    nxt_expect_eq(nx_read_exact(stream, &byte, 1, NX_FOREVER), -NX_ENOTASK);
    nxt_expect_eq(nx_write(stream, &byte, 1, NX_FOREVER), -NX_ENOTASK);
    nxt_expect_eq(nx_writev(stream, &(struct iovec){&byte, 1}, 1, NX_FOREVER), -NX_ENOTASK);
    nxt_expect_eq(nx_shutdown(stream, NX_SHUT_BOTH), -NX_ENOTASK);
    nxt_expect_eq(nx_stream_from_fd(0, &stream), -NX_ENOTASK);
    nxt_expect_eq(nx_fd_wait(0, NX_READABLE, NX_FOREVER), -NX_ENOTASK);
    nxt_expect_eq(nx_serve("127.0.0.1:0", NULL, NULL, NULL, NX_FOREVER), -NX_ENOTASK);
}

/* ---- a peer that is faster than the worker ---- */

struct greeter {
    int fd;
    atomic_bool gone;
};

static intptr_t greet_and_go(void *arg)
{
    struct greeter *greeter = arg;
    int fd = nxt_accept(greeter->fd);
    nxt_expect(nxt_write_all(fd, "hello", 5));
    nxt_close_fd(&fd);
    atomic_store(&greeter->gone, true);
    return 0;
}

/* Keeps the worker from looking until the peer has come and gone; a driver that has only queued the connect must be let
 * go to begin it. */
static intptr_t hold_until_gone(void *arg)
{
    struct greeter *greeter = arg;
    nx_time enough = nxt_clock() + 50000000;
    while (!atomic_load(&greeter->gone) && nxt_clock() < enough)
        nxt_burn(10000);
    return 0;
}

NXT_TASK_TEST(a_greeting_and_an_end_that_come_with_the_connection_are_both_seen)
{
    uint16_t port;
    struct greeter greeter = {.fd = nxt_listen(1, &port)};
    nxt_require(greeter.fd >= 0);
    struct nxt_thread *thread = nxt_thread_start(greet_and_go, &greeter);
    nx_task holder = nxt_task_on(0, hold_until_gone, &greeter);
    nx_stream *stream = NULL;
    char buffer[8];
    nxt_expect_eq(nx_connect(nxt_loopback(port), NULL, &stream, NX_FOREVER), 0);
    nxt_require(stream);
    nxt_expect_eq(nx_read_exact(stream, buffer, sizeof(buffer), NX_FOREVER), 5);
    nxt_expect_eq(nx_read(stream, buffer, 1, NX_FOREVER), 0);
    nx_close(stream);
    nxt_result(holder);
    nxt_thread_await(thread);
    nxt_close_fd(&greeter.fd);
}
