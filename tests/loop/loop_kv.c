/* loop_kv.c: examples/kv and its clients in one process: tests/examples/kv.sh, without a socket. */
#include "services.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KV "127.0.0.1:6380"
#define BIG 3000000

/* One request, given word by word; the answer's bytes. */
static bool says_bytes(nx_stream *stream, const char *wanted, size_t len, const char *const *words)
{
    char request[512], answer[256];
    int count = 0, used;
    while (words[count])
        count++;
    used = snprintf(request, sizeof(request), "*%d\r\n", count);
    for (int i = 0; i < count; i++)
        used += snprintf(request + used, sizeof(request) - (size_t)used, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    return nxt_expect_eq(nx_write(stream, request, (size_t)used, NX_FOREVER), used) &&
           nxt_expect_eq(nx_read_exact(stream, answer, len, NX_FOREVER), len) && nxt_expect_mem(answer, wanted, len);
}

#define says(stream, wanted, ...) says_bytes(stream, wanted, strlen(wanted), (const char *const[]){__VA_ARGS__, NULL})

static nx_task start(void)
{
    return nx_spawn(nxt_serve_kv, (void *)(uintptr_t)KV);
}

static void stop(nx_task server)
{
    nx_cancel(server);
    nxt_expect_eq(nxt_result(server), 0);
}

NXT_TASK_TEST(kv_answers, .workers = 2)
{
    nx_task server = start();
    nx_stream *c = nxt_reach(KV);
    nxt_require(c);
    says(c, "+PONG\r\n", "PING");
    says(c, "$-1\r\n", "GET", "nothing");
    says(c, "+OK\r\n", "SET", "key", "a value");
    says(c, "$7\r\na value\r\n", "GET", "key");
    says(c, ":1\r\n", "INCR", "counter");
    says(c, ":2\r\n", "INCR", "counter");
    says(c, "-ERR value is not an integer or out of range\r\n", "INCR", "key");
    says(c, ":2\r\n", "DEL", "key", "counter", "nothing");
    says(c, "+OK\r\n", "SET", "brief", "1", "PX", "50");
    says(c, "$1\r\n1\r\n", "GET", "brief");
    nx_sleep_ms(60);
    says(c, "$-1\r\n", "GET", "brief");
    says(c, ":0\r\n", "EXPIRE", "nothing", "10");
    says(c, "+OK\r\n", "SET", "lasting", "1");
    says(c, ":1\r\n", "EXPIRE", "lasting", "100");
    says(c, ":100\r\n", "TTL", "lasting");
    says(c, "-ERR unknown command 'FLY'\r\n", "FLY");
    nx_close(c);
    stop(server);
}

/* ---- as redis-benchmark does ---- */

struct load {
    int depth;
    int64_t requests;
};

static intptr_t drive(void *arg)
{
    static const char request[] = "*2\r\n$4\r\nINCR\r\n$5\r\ntotal\r\n";
    const struct load *load = arg;
    char batch[64 * sizeof(request)], line[32];
    size_t used = 0;
    nx_stream *stream = nxt_reach(KV);
    nxt_require(stream, -1);
    for (int i = 0; i < load->depth; i++, used += sizeof(request) - 1)
        memcpy(batch + used, request, sizeof(request) - 1);
    for (int64_t done = 0; done < load->requests; done += load->depth) {
        nxt_require_eq(nx_write(stream, batch, used, NX_FOREVER), used, -1);
        for (int i = 0; i < load->depth; i++)
            nxt_require(nx_read_until(stream, line, sizeof(line), "\r\n", NX_FOREVER) > 3 && line[0] == ':', -1);
    }
    nx_close(stream);
    return 0;
}

NXT_TASK_TEST(fifty_clients_one_and_sixteen_deep_count_to_the_last, .workers = 2)
{
    nx_task server = start(), clients[50];
    int64_t total = 0;
    char text[64];
    for (int depth = 1; depth <= 16; depth += 15) {
        struct load load = {depth, nxt_scaled(800, 80)};
        load.requests = (load.requests + depth - 1) / depth * depth;
        for (int i = 0; i < 50; i++)
            clients[i] = nxt_task_on(i % 2, drive, &load);
        for (int i = 0; i < 50; i++)
            nxt_expect_eq(nxt_result(clients[i]), 0);
        total += 50 * load.requests;
    }
    nx_stream *c = nxt_reach(KV);
    nxt_require(c);
    snprintf(text, sizeof(text), ":%lld\r\n", (long long)total + 1);
    says(c, text, "INCR", "total");
    says(c, ":1\r\n", "DEL", "total");
    nx_close(c);
    stop(server);
}

NXT_TASK_TEST(a_value_larger_than_every_window_comes_back_whole, .workers = 2)
{
    nx_task server = start();
    nx_stream *c = nxt_reach(KV);
    char *value = malloc(BIG), *back = malloc(BIG), head[64];
    nxt_require(c && value && back);
    nxt_fill(value, BIG, 0, 5);
    int used = snprintf(head, sizeof(head), "*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n$%d\r\n", BIG);
    nxt_expect_eq(nx_write(c, head, (size_t)used, NX_FOREVER), used);
    nxt_expect_eq(nx_write(c, value, BIG, NX_FOREVER), BIG);
    nxt_expect_eq(nx_write(c, "\r\n", 2, NX_FOREVER), 2);
    nxt_expect_eq(nx_read_exact(c, head, 5, NX_FOREVER), 5);
    nxt_expect_mem(head, "+OK\r\n", 5);
    says(c, "$3000000\r\n", "GET", "big");
    nxt_expect_eq(nx_read_exact(c, back, BIG, NX_FOREVER), BIG);
    nxt_expect_eq(nxt_check_fill(back, BIG, 0, 5), BIG);
    nxt_expect_eq(nx_read_exact(c, head, 2, NX_FOREVER), 2);
    says(c, ":1\r\n", "DEL", "big");
    nx_close(c);
    stop(server);
    free(value);
    free(back);
}
