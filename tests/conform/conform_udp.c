/* conform_udp.c: datagrams: whole or not at all, with their sender, none lost by giving up. */
#include "nxt_net.h"
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static nx_udp *udp_on(const char *addr, const nx_udp_options *options, nx_addr *ret_addr)
{
    nx_udp *udp;
    int error = nx_udp_bind(addr, options, &udp);
    if (!nxt_expect_eq(error, 0))
        return NULL;
    nxt_expect_eq(nx_udp_addr(udp, ret_addr), 0);
    return udp;
}

struct two {
    nx_udp *udp[2];
    nx_addr addr[2];
};

static bool open_two(struct two *two)
{
    two->udp[0] = udp_on("127.0.0.1:0", NULL, &two->addr[0]);
    two->udp[1] = udp_on("127.0.0.1:0", NULL, &two->addr[1]);
    return two->udp[0] && two->udp[1];
}

static void close_two(const struct two *two)
{
    nxt_expect_eq(nx_udp_close(two->udp[0]), 0);
    nxt_expect_eq(nx_udp_close(two->udp[1]), 0);
}

static bool same(const nx_addr *one, const nx_addr *other)
{
    return one->family == other->family && one->port == other->port && one->len == other->len &&
           memcmp(one->data, other->data, one->len) == 0;
}

/* ---- one ---- */

static void carry(const char *one, const char *other)
{
    struct two two = {.udp = {udp_on(one, NULL, &two.addr[0]), udp_on(other, NULL, &two.addr[1])}};
    char buf[64] = "";
    nx_addr from;
    nxt_require(two.udp[0] && two.udp[1]);
    nxt_expect_eq(nx_udp_send(two.udp[0], "hello", 5, &two.addr[1], NX_FOREVER), 5);
    nxt_expect_eq(nx_udp_recv(two.udp[1], buf, sizeof(buf), &from, NX_FOREVER), 5);
    nxt_expect_mem(buf, "hello", 5);
    nxt_expect(same(&from, &two.addr[0]));
    nxt_expect_eq(nx_udp_send(two.udp[1], "back", 4, &from, NX_FOREVER), 4);
    nxt_expect_eq(nx_udp_recv(two.udp[0], buf, sizeof(buf), NULL, NX_FOREVER), 4);
    nxt_expect_mem(buf, "back", 4);
    close_two(&two);
}

NXT_TASK_TEST(a_datagram_arrives_with_its_sender)
{
    carry("127.0.0.1:0", "127.0.0.1:0");
}

NXT_TASK_TEST(an_ipv6_datagram_arrives_with_its_sender)
{
    nx_udp *probe;
    if (nx_udp_bind("[::1]:0", NULL, &probe) == -EADDRNOTAVAIL) {
        nxt_skip("no IPv6 on the loopback");
        return;
    }
    nx_udp_close(probe);
    carry("[::1]:0", "[::1]:0");
}

NXT_TASK_TEST(a_unix_datagram_arrives_with_its_sender)
{
    char one[128], other[128];
    snprintf(one, sizeof(one), "unix:%s", nxt_temp_path("one"));
    snprintf(other, sizeof(other), "unix:%s", nxt_temp_path("other"));
    carry(one, other);
    unlink(one + 5);
    unlink(other + 5);
}

NXT_TASK_TEST(an_abstract_unix_datagram_arrives_with_its_sender)
{
    char one[128], other[128];
    snprintf(one, sizeof(one), "unix:@nxt-%d-one", (int)getpid());
    snprintf(other, sizeof(other), "unix:@nxt-%d-other", (int)getpid());
    carry(one, other);
}

NXT_TASK_TEST(what_does_not_fit_is_cut_and_its_real_length_told)
{
    struct two two;
    char data[1000], buf[10];
    nxt_require(open_two(&two));
    nxt_fill(data, sizeof(data), 0, 1);
    for (int i = 0; i < 2; i++)
        nxt_expect_eq(nx_udp_send(two.udp[0], data, sizeof(data), &two.addr[1], NX_FOREVER), 1000);
    nxt_expect_eq(nx_udp_recv(two.udp[1], buf, sizeof(buf), NULL, NX_FOREVER), 1000);
    nxt_expect_eq(nxt_check_fill(buf, sizeof(buf), 0, 1), sizeof(buf));
    nxt_expect_eq(nx_udp_recv(two.udp[1], buf, sizeof(buf), NULL, NX_POLL), 1000);
    nxt_expect_eq(nx_udp_recv(two.udp[1], buf, sizeof(buf), NULL, NX_POLL), -EAGAIN); /* the rest is gone */
    close_two(&two);
}

NXT_TASK_TEST(a_datagram_of_no_bytes_arrives)
{
    struct two two;
    char buf[8];
    nx_addr from = {0};
    nxt_require(open_two(&two));
    nxt_expect_eq(nx_udp_send(two.udp[0], NULL, 0, &two.addr[1], NX_FOREVER), 0);
    nxt_expect_eq(nx_udp_send(two.udp[0], "x", 1, &two.addr[1], NX_FOREVER), 1);
    nxt_expect_eq(nx_udp_recv(two.udp[1], buf, sizeof(buf), &from, NX_FOREVER), 0);
    nxt_expect(same(&from, &two.addr[0]));
    nxt_expect_eq(nx_udp_recv(two.udp[1], buf, sizeof(buf), NULL, NX_FOREVER), 1);
    close_two(&two);
}

NXT_TASK_TEST(what_is_too_large_is_refused_and_not_sent)
{
    static char data[70000];
    struct two two;
    char buf[8];
    nxt_require(open_two(&two));
    nxt_expect_eq(nx_udp_send(two.udp[0], data, sizeof(data), &two.addr[1], NX_FOREVER), -EMSGSIZE);
    nxt_expect_eq(nx_udp_send(two.udp[0], data, sizeof(data), &two.addr[1], NX_POLL), -EMSGSIZE);
    nxt_expect_eq(nx_udp_send(two.udp[0], data, 65507, &two.addr[1], NX_FOREVER), 65507); /* the largest over IPv4 */
    nxt_expect_eq(nx_udp_recv(two.udp[1], buf, sizeof(buf), NULL, NX_FOREVER), 65507);
    nxt_expect_eq(nx_udp_recv(two.udp[1], buf, sizeof(buf), NULL, NX_POLL), -EAGAIN);
    close_two(&two);
}

/* ---- connected ---- */

NXT_TASK_TEST(a_connected_socket_hears_its_peer_alone)
{
    struct two two;
    nx_addr other_addr;
    char buf[8];
    nxt_require(open_two(&two));
    nx_udp *other = udp_on("127.0.0.1:0", NULL, &other_addr);
    nxt_require(other);
    nxt_expect_eq(nx_udp_send(two.udp[0], "x", 1, NULL, NX_FOREVER), -EDESTADDRREQ);
    nxt_expect_eq(nx_udp_connect(two.udp[0], &two.addr[1]), 0);
    nxt_expect_eq(nx_udp_send(other, "no", 2, &two.addr[0], NX_FOREVER), 2);
    nxt_expect_eq(nx_udp_send(two.udp[0], "ask", 3, NULL, NX_FOREVER), 3);
    nxt_expect_eq(nx_udp_recv(two.udp[1], buf, sizeof(buf), NULL, NX_FOREVER), 3);
    nxt_expect_eq(nx_udp_send(two.udp[1], "answer", 6, &two.addr[0], NX_FOREVER), 6);
    nxt_expect_eq(nx_udp_recv(two.udp[0], buf, sizeof(buf), NULL, NX_FOREVER), 6);
    nxt_expect_mem(buf, "answer", 6);
    nxt_expect_eq(nx_udp_connect(two.udp[0], &other_addr), 0); /* another one */
    nxt_expect_eq(nx_udp_send(two.udp[0], "x", 1, NULL, NX_FOREVER), 1);
    nxt_expect_eq(nx_udp_recv(other, buf, sizeof(buf), NULL, NX_FOREVER), 1);
    nx_udp_close(other);
    close_two(&two);
}

static intptr_t recv_one(void *arg)
{
    char buf[64];
    return nx_udp_recv(arg, buf, sizeof(buf), NULL, NX_FOREVER);
}

NXT_TASK_TEST(a_connected_socket_is_told_that_nobody_is_there)
{
    struct two two;
    nxt_require(open_two(&two));
    nxt_expect_eq(nx_udp_connect(two.udp[0], &two.addr[1]), 0);
    nx_udp_close(two.udp[1]);
    nx_task reader = nx_spawn(recv_one, two.udp[0]);
    nxt_await_parked(reader);
    ssize_t sent;
    nxt_await((sent = nx_udp_send(two.udp[0], "x", 1, NULL, NX_FOREVER)) == 1); /* until its port is really free */
    nxt_expect_eq(nxt_result(reader), -ECONNREFUSED);
    nx_udp_close(two.udp[0]);
}

/* ---- several ---- */

NXT_TASK_TEST(several_go_and_come_by_one_call)
{
    enum { COUNT = 20 };
    struct two two;
    nx_datagram out[COUNT] = {0}, in[COUNT + 5] = {0};
    char data[COUNT][8], buf[COUNT + 5][4];
    nxt_require(open_two(&two));
    for (int i = 0; i < COUNT; i++) {
        snprintf(data[i], sizeof(data[i]), "%06d", i);
        out[i] = (nx_datagram){.data = data[i], .len = i % 7, .addr = two.addr[1]};
    }
    for (int i = 0; i < COUNT + 5; i++)
        in[i] = (nx_datagram){.data = buf[i], .len = 4};
    nxt_expect_eq(nx_udp_send_many(two.udp[0], out, 12, NX_FOREVER), 12);
    nxt_expect_eq(nx_udp_recv_many(two.udp[1], in, 5, NX_FOREVER), 5); /* no more than there is room for */
    nxt_expect_eq(nx_udp_send_many(two.udp[0], out + 12, COUNT - 12, NX_FOREVER), COUNT - 12);
    nxt_expect_eq(nx_udp_recv_many(two.udp[1], in + 5, COUNT, NX_FOREVER), COUNT - 5); /* waits for one, not for all */
    for (int i = 0; i < COUNT; i++) {
        nxt_expect_eq(in[i].length, i % 7); /* whatever fitted */
        nxt_expect_mem(buf[i], data[i], i % 7 < 4 ? i % 7 : 4);
        nxt_expect(same(&in[i].addr, &two.addr[0]));
    }
    nxt_expect_eq(nx_udp_recv_many(two.udp[1], in, COUNT, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_udp_recv_many(two.udp[1], in, COUNT, nx_after_ms(1)), -ETIMEDOUT);
    nxt_expect_eq(nx_udp_recv_many(two.udp[1], in, 0, NX_FOREVER), 0);
    close_two(&two);
}

NXT_TASK_TEST(an_error_among_several_is_the_next_calls)
{
    static char data[70000];
    struct two two;
    nxt_require(open_two(&two));
    nx_datagram out[3] = {{.data = data, .len = 1, .addr = two.addr[1]},
                          {.data = data, .len = sizeof(data), .addr = two.addr[1]},
                          {.data = data, .len = 2, .addr = two.addr[1]}};
    nxt_expect_eq(nx_udp_send_many(two.udp[0], out, 3, NX_FOREVER), 1);
    nxt_expect_eq(nx_udp_send_many(two.udp[0], out + 2, 1, NX_FOREVER), -EMSGSIZE);
    nxt_expect_eq(nx_udp_send_many(two.udp[0], out + 2, 1, NX_FOREVER), 1);
    nxt_expect_eq(nx_udp_send_many(two.udp[0], out + 1, 2, NX_FOREVER), -EMSGSIZE);
    nxt_expect_eq(nx_udp_connect(two.udp[0], &two.addr[1]), 0);
    out[0].addr = (nx_addr){0};
    nxt_expect_eq(nx_udp_send_many(two.udp[0], out, 1, NX_FOREVER), 1); /* to the connected peer */
    close_two(&two);
}

/* ---- giving up ---- */

struct numbers {
    nx_udp *udp;
    atomic_uint received;
    uint32_t count;
    bool wrong;
};

/* Takes one; false: gave up without. */
static bool take_number(struct numbers *numbers, nx_time deadline)
{
    uint32_t number = 0;
    ssize_t got = nx_udp_recv(numbers->udp, &number, sizeof(number), NULL, deadline);
    if (got < 0)
        return false;
    unsigned expected = atomic_fetch_add(&numbers->received, 1);
    if (got != sizeof(number) || number != expected)
        numbers->wrong = true;
    return true;
}

/* A window keeps the kernel's buffer from overflowing. */
static void send_numbers(const struct two *two, struct numbers *numbers)
{
    for (uint32_t i = 0; i < numbers->count; i++) {
        nxt_await(i < atomic_load(&numbers->received) + 8);
        if (!nxt_expect_eq(nx_udp_send(two->udp[0], &i, sizeof(i), &two->addr[1], NX_FOREVER), sizeof(i)))
            return;
    }
}

static intptr_t receive_with_deadlines(void *arg)
{
    struct numbers *numbers = arg;
    uint64_t seed = 1;
    while (atomic_load(&numbers->received) < numbers->count)
        take_number(numbers, nx_after_ns((int64_t)(nxt_random(&seed) % 20000)));
    return 0;
}

NXT_TASK_TEST(a_deadline_loses_no_datagram, .workers = 2)
{
    struct two two;
    nxt_require(open_two(&two));
    struct numbers numbers = {.udp = two.udp[1], .count = (uint32_t)nxt_scaled(5000, 200)};
    nx_task receiver = nxt_task_on(1, receive_with_deadlines, &numbers);
    send_numbers(&two, &numbers);
    nxt_result(receiver);
    nxt_expect(!numbers.wrong);
    close_two(&two);
}

static intptr_t receive_until_cancelled(void *arg)
{
    struct numbers *numbers = arg;
    while (atomic_load(&numbers->received) < numbers->count && take_number(numbers, NX_FOREVER))
        ;
    return 0;
}

static intptr_t receive_in_turns(void *arg)
{
    struct numbers *numbers = arg;
    while (atomic_load(&numbers->received) < numbers->count) {
        nx_task child = nx_spawn(receive_until_cancelled, numbers);
        nx_yield();
        nx_cancel(child);
        nxt_result(child);
    }
    return 0;
}

NXT_TASK_TEST(a_cancel_loses_no_datagram, .workers = 2)
{
    struct two two;
    nxt_require(open_two(&two));
    struct numbers numbers = {.udp = two.udp[1], .count = (uint32_t)nxt_scaled(3000, 200)};
    nx_task receiver = nxt_task_on(1, receive_in_turns, &numbers);
    send_numbers(&two, &numbers);
    nxt_result(receiver);
    nxt_expect(!numbers.wrong);
    close_two(&two);
}

NXT_TASK_TEST(a_socket_that_is_closed_wakes_its_receivers, .workers = 2)
{
    for (int worker = 0; worker < 2; worker++) {
        struct two two;
        nxt_require(open_two(&two));
        nx_task receivers[3];
        for (int i = 0; i < 3; i++) {
            receivers[i] = nxt_task_on(i == 2 ? worker : 0, recv_one, two.udp[0]);
            nxt_await_parked(receivers[i]);
        }
        nx_udp_close(two.udp[0]);
        for (int i = 0; i < 3; i++)
            nxt_expect_eq(nxt_result(receivers[i]), -EBADF);
        nx_udp_close(two.udp[1]);
    }
}

static intptr_t use_cancelled(void *arg)
{
    const struct two *two = arg;
    char buf[8];
    nx_datagram one = {.data = buf, .len = 1, .addr = two->addr[1]};
    nx_cancel(nx_self());
    nxt_expect_eq(nx_udp_send(two->udp[0], "x", 1, &two->addr[1], NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_udp_recv(two->udp[0], buf, sizeof(buf), NULL, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_udp_send_many(two->udp[0], &one, 1, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_udp_recv_many(two->udp[0], &one, 1, NX_FOREVER), -ECANCELED);
    nxt_expect_eq(nx_udp_connect(two->udp[0], &two->addr[1]), 0); /* these don't park */
    nxt_expect_eq(nx_udp_close(two->udp[0]), 0);
    return 0;
}

NXT_TASK_TEST(a_cancelled_task_neither_sends_nor_receives_but_closes)
{
    struct two two;
    nxt_require(open_two(&two));
    nxt_result(nx_spawn(use_cancelled, &two));
    nxt_expect_eq(nx_udp_recv(two.udp[1], &(char){0}, 1, NULL, NX_POLL), -EAGAIN);
    nx_udp_close(two.udp[1]);
}

NXT_TASK_TEST(a_deadline_in_the_past_tries_once)
{
    struct two two;
    char buf[8];
    nxt_require(open_two(&two));
    nxt_expect_eq(nx_udp_recv(two.udp[1], buf, sizeof(buf), NULL, 1), -ETIMEDOUT);
    nxt_expect_eq(nx_udp_send(two.udp[0], "x", 1, &two.addr[1], 1), 1);
    nxt_expect_eq(nx_udp_recv(two.udp[1], buf, sizeof(buf), NULL, 1), 1);
    close_two(&two);
}

/* ---- workers ---- */

static intptr_t echo_some(void *arg)
{
    char buf[64];
    nx_addr from;
    for (;;) { /* until one of no bytes */
        ssize_t got = nx_udp_recv(arg, buf, sizeof(buf), &from, NX_FOREVER);
        if (got <= 0)
            return got;
        nxt_expect_eq(nx_udp_send(arg, buf, (size_t)got, &from, NX_FOREVER), got);
    }
}

struct asker {
    nx_udp *udp;
    nx_addr to;
    int count;
};

static intptr_t ask_some(void *arg)
{
    struct asker *asker = arg;
    char buf[8];
    for (int i = 0; i < asker->count; i++) {
        nxt_expect_eq(nx_udp_send(asker->udp, &i, sizeof(i), &asker->to, NX_FOREVER), sizeof(i));
        nxt_expect_eq(nx_udp_recv(asker->udp, buf, sizeof(buf), NULL, NX_FOREVER), sizeof(i));
        nxt_expect_mem(buf, &i, sizeof(i));
    }
    return 0;
}

NXT_TASK_TEST(a_socket_is_used_from_any_worker, .workers = 2)
{
    struct two two;
    nxt_require(open_two(&two));
    nx_task echo = nxt_task_on(1, echo_some, two.udp[1]);
    struct asker asker = {.udp = two.udp[0], .to = two.addr[1], .count = (int)nxt_scaled(200, 20)};
    for (int worker = 0; worker < 2; worker++)
        nxt_result(nxt_task_on(worker, ask_some, &asker));
    /* While a task of worker 1 receives on it, one of worker 0 sends by it. */
    nxt_expect_eq(nx_udp_send(two.udp[1], "y", 1, &two.addr[0], NX_FOREVER), 1);
    nxt_expect_eq(nx_udp_recv(two.udp[0], &(char){0}, 1, NULL, NX_FOREVER), 1);
    nxt_expect_eq(nx_udp_connect(two.udp[1], &two.addr[0]), 0);
    nxt_expect_eq(nx_udp_send(two.udp[0], NULL, 0, &two.addr[1], NX_FOREVER), 0);
    nxt_expect_eq(nxt_result(echo), 0);
    close_two(&two);
}

static intptr_t use_foreign(void *arg)
{
    char byte = 0;
    nx_addr addr = {0};
    nx_datagram one = {.data = &byte, .len = 1};
    nxt_expect_eq(nx_udp_recv(arg, &byte, 1, NULL, NX_FOREVER), -EXDEV);
    nxt_expect_eq(nx_udp_send(arg, &byte, 1, NULL, NX_FOREVER), -EXDEV);
    nxt_expect_eq(nx_udp_recv_many(arg, &one, 1, NX_FOREVER), -EXDEV);
    nxt_expect_eq(nx_udp_send_many(arg, &one, 1, NX_FOREVER), -EXDEV);
    nxt_expect_eq(nx_udp_connect(arg, &addr), -EXDEV);
    nxt_expect_eq(nx_udp_join(arg, &addr, 0), -EXDEV);
    nxt_expect_eq(nx_udp_close(arg), -EXDEV);
    return 0;
}

NXT_TASK_TEST(a_socket_of_another_runtime_is_refused)
{
    struct two two;
    nxt_require(open_two(&two));
    nx_runtime *other = nxt_start(NXT_OPTIONS(.workers = 1));
    nxt_require(other);
    nxt_result(nx_spawn_on(other, NULL, use_foreign, two.udp[0]));
    nxt_stop(other);
    close_two(&two);
}

/* ---- Unix datagrams ---- */

static intptr_t drain(void *arg)
{
    char buf[8];
    int count = 0;
    while (nx_udp_recv(arg, buf, sizeof(buf), NULL, NX_POLL) == 1)
        count++;
    return count;
}

static intptr_t send_to_full(void *arg)
{
    const struct two *two = arg;
    return nx_udp_send(two->udp[0], "z", 1, two->addr[1].len > 0 ? &two->addr[1] : NULL, NX_FOREVER);
}

static void fill_up(struct two *two, const nx_addr *to)
{
    ssize_t sent;
    int count = 0;
    while ((sent = nx_udp_send(two->udp[0], "x", 1, to, NX_POLL)) == 1)
        count++;
    nxt_expect_eq(sent, -EAGAIN);
    nxt_expect_eq(nx_udp_send(two->udp[0], "y", 1, to, nx_after_ms(5)), -ETIMEDOUT);
    two->addr[1].len = to ? to->len : 0;
    nx_task sender = nx_spawn(send_to_full, two);
    nxt_await_parked(sender);
    nxt_expect_eq(drain(two->udp[1]), count);
    nxt_expect_eq(nxt_result(sender), 1);
    nxt_expect_eq(recv_one(two->udp[1]), 1);
}

NXT_TASK_TEST(a_unix_datagram_waits_for_room_at_the_receiver)
{
    char one[128], other[128];
    snprintf(one, sizeof(one), "unix:@nxt-%d-full-one", (int)getpid());
    snprintf(other, sizeof(other), "unix:@nxt-%d-full-other", (int)getpid());
    struct two two = {.udp = {udp_on(one, NULL, &two.addr[0]), udp_on(other, NULL, &two.addr[1])}};
    nxt_require(two.udp[0] && two.udp[1]);
    nx_addr to = two.addr[1];
    fill_up(&two, &to);
    nxt_expect_eq(nx_udp_connect(two.udp[0], &to), 0);
    fill_up(&two, NULL);
    close_two(&two);
}

/* ---- groups ---- */

/* A datagram behind the one in question tells that it did not come. */
static void expect_heard(nx_udp *udp, const nx_addr *own, bool heard)
{
    char buf[8] = "";
    nxt_expect_eq(nx_udp_send(udp, "own", 3, own, NX_FOREVER), 3);
    ssize_t got = nx_udp_recv(udp, buf, sizeof(buf), NULL, NX_FOREVER);
    nxt_expect_eq(got, heard ? 5 : 3);
    if (got == 5)
        nxt_expect_eq(nx_udp_recv(udp, buf, sizeof(buf), NULL, NX_FOREVER), 3);
}

/* IPv6 on the loopback may be without a route for groups: skips then. */
static void use_group(const char *bound, const char *group_text, const char *own_text)
{
    const uint32_t lo = if_nametoindex("lo");
    if (!nxt_can_multicast()) {
        nxt_skip("no IP_MULTICAST_IF here");
        return;
    }
    nx_addr addr, own, sender_addr, group;
    nx_udp_options options = {.size = sizeof(options), .multicast_scope = lo, .ttl = 1};
    nx_udp *udp = udp_on(bound, NULL, &addr), *sender = udp_on(bound, &options, &sender_addr);
    nxt_require(udp && sender);
    nxt_require_eq(nx_addr_parse(group_text, &group), 0);
    nxt_require_eq(nx_addr_parse(own_text, &own), 0);
    own.port = group.port = addr.port;
    nxt_expect_eq(nx_udp_leave(udp, &group, lo), -EADDRNOTAVAIL);
    nxt_expect_eq(nx_udp_join(udp, &group, lo), 0);
    nxt_expect_eq(nx_udp_join(udp, &group, lo), -EADDRINUSE);
    ssize_t sent = nx_udp_send(sender, "group", 5, &group, NX_FOREVER);
    if (sent == -ENETUNREACH && group.family == NX_AF_INET6) {
        nxt_skip("no route to IPv6 groups on the loopback");
        nxt_expect_eq(nx_udp_leave(udp, &group, lo), 0);
    } else {
        nxt_expect_eq(sent, 5);
        expect_heard(udp, &own, true);
        nxt_expect_eq(nx_udp_leave(udp, &group, lo), 0);
        nxt_expect_eq(nx_udp_send(sender, "group", 5, &group, NX_FOREVER), 5);
        expect_heard(udp, &own, false);
    }
    nx_udp_close(udp);
    nx_udp_close(sender);
}

NXT_TASK_TEST(a_group_is_heard_from_join_to_leave)
{
    use_group("0.0.0.0:0", "239.255.77.77:1", "127.0.0.1:1");
}

NXT_TASK_TEST(an_ipv6_group_is_heard_from_join_to_leave)
{
    nx_udp *probe;
    if (nx_udp_bind("[::1]:0", NULL, &probe) == -EADDRNOTAVAIL) {
        nxt_skip("no IPv6 on the loopback");
        return;
    }
    nx_udp_close(probe);
    use_group("[::]:0", "[ff11::77:77]:1", "[::1]:1");
}

NXT_TASK_TEST(what_is_no_group_is_refused)
{
    struct two two;
    nx_addr unix_addr;
    nxt_require(open_two(&two));
    nxt_require_eq(nx_addr_parse("unix:@x", &unix_addr), 0);
    nxt_expect_eq(nx_udp_join(two.udp[0], &two.addr[1], 0), -EINVAL);
    nxt_expect_eq(nx_udp_join(two.udp[0], &unix_addr, 0), -EAFNOSUPPORT);
    nxt_expect_eq(nx_udp_join(two.udp[0], NULL, 0), -EINVAL);
    nxt_expect_eq(nx_udp_leave(two.udp[0], NULL, 0), -EINVAL);
    close_two(&two);
}

/* ---- options, arguments ---- */

static int option_of(const nx_udp *udp, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    return getsockopt(nx_udp_fd(udp), level, name, &value, &len) == 0 ? value : -errno;
}

NXT_TASK_TEST(options_reach_the_socket)
{
    nx_addr addr, other_addr;
    char text[64];
    nx_udp_options options = {.size = sizeof(options),
                              .reuse_port = true,
                              .broadcast = true,
                              .no_multicast_loop = true,
                              .ttl = 7,
                              .receive_buffer = 20000};
    nx_udp *udp = udp_on("127.0.0.1:0", &options, &addr);
    nxt_require(udp);
    nxt_expect_eq(option_of(udp, SOL_SOCKET, SO_BROADCAST), 1);
    nxt_expect_eq(option_of(udp, SOL_SOCKET, SO_RCVBUF), 40000); /* the kernel doubles it */
    nxt_expect_eq(option_of(udp, IPPROTO_IP, IP_TTL), 7);
    nxt_expect_eq(option_of(udp, IPPROTO_IP, IP_MULTICAST_TTL), 7);
    nxt_expect_eq(option_of(udp, IPPROTO_IP, IP_MULTICAST_LOOP), 0);
    nx_addr_format(&addr, text, sizeof(text));
    nx_udp *other = udp_on(text, &options, &other_addr);
    nxt_expect(other && other_addr.port == addr.port);
    nx_udp_close(other);
    nxt_expect_eq(nx_udp_bind(text, NULL, &other), -EADDRINUSE);
    nx_udp_close(udp);
}

NXT_TASK_TEST(wrong_arguments_are_refused)
{
    nx_udp *udp = NULL;
    nx_addr addr;
    char buf[4];
    nx_udp_options options = {.size = sizeof(options), .receive_buffer = -1};
    nx_datagram bad = {.data = NULL, .len = 1};
    nxt_expect_eq(nx_udp_bind("127.0.0.1:0", NULL, NULL), -EINVAL);
    nxt_expect_eq(nx_udp_bind("nowhere", NULL, &udp), -EINVAL);
    nxt_expect_eq(nx_udp_bind("127.0.0.1:0", &options, &udp), -EINVAL);
    options.size = 3;
    nxt_expect_eq(nx_udp_bind("127.0.0.1:0", &options, &udp), -EINVAL);
    nxt_expect(!udp);
    udp = udp_on("127.0.0.1:0", NULL, &addr);
    nxt_require(udp);
    nxt_expect_ge(nx_udp_fd(udp), 0);
    nxt_expect_eq(nx_udp_fd(NULL), -EINVAL);
    nxt_expect_eq(nx_udp_addr(udp, NULL), -EINVAL);
    nxt_expect_eq(nx_udp_connect(udp, NULL), -EINVAL);
    nxt_expect_eq(nx_udp_recv(udp, NULL, 1, NULL, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_udp_recv(NULL, buf, 1, NULL, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_udp_send(udp, NULL, 1, &addr, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_udp_send_many(udp, &bad, 1, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_udp_recv_many(udp, NULL, 1, NX_POLL), -EINVAL);
    nxt_expect_eq(nx_udp_close(NULL), 0);
    nx_udp_close(udp);
}

NXT_TEST(there_are_no_datagrams_outside_a_task)
{
    nx_udp *udp;
    nxt_expect_eq(nx_udp_bind("127.0.0.1:0", NULL, &udp), -NX_ENOTASK);
    nxt_expect_eq(nx_udp_recv(NULL, NULL, 0, NULL, NX_POLL), -NX_ENOTASK);
}
