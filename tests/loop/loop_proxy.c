/* loop_proxy.c: examples/proxy between tasks and examples/http: tests/examples/proxy.sh, without a socket. The files
 * come from another driver, or from the blocking pool. */
#include "services.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HTTP "127.0.0.1:8080"
#define PROXY "unix:/no/such/folder/proxy"
#define BIG 3000000

static char folder[512];

static bool make_folder(void)
{
    char path[600], *data = malloc(BIG);
    snprintf(folder, sizeof(folder), "%s", nxt_temp_path("folder"));
    snprintf(path, sizeof(path), "%s/big", folder);
    bool good = nxt_expect(data) && nxt_expect_eq(mkdir(folder, 0700), 0);
    int fd = good ? open(path, O_CREAT | O_WRONLY, 0600) : -1;
    if (fd >= 0) {
        nxt_fill(data, BIG, 0, 9);
        good = nxt_expect_eq(write(fd, data, BIG), BIG);
        close(fd);
    }
    free(data);
    return good && nxt_expect(fd >= 0);
}

static void remove_folder(void)
{
    char path[600];
    snprintf(path, sizeof(path), "%s/big", folder);
    unlink(path);
    rmdir(folder);
}

/* GET /big: the whole file; pause_ms before each piece of the first tenth. */
static bool get_big(nx_stream *stream, int pause_ms)
{
    static const char request[] = "GET /big HTTP/1.1\r\nHost: x\r\n\r\n";
    char line[512], *body = malloc(BIG);
    ssize_t n;
    bool good = nxt_expect(body) &&
                nxt_expect_eq(nx_write(stream, request, sizeof(request) - 1, NX_FOREVER), sizeof(request) - 1);
    size_t got = 0;
    for (int lines = 0; good; lines++) {
        n = nx_read_until(stream, line, sizeof(line), "\r\n", NX_FOREVER);
        good = nxt_expect_gt(n, 1) && (lines > 0 || nxt_expect(strncmp(line, "HTTP/1.1 200", 12) == 0));
        if (n == 2)
            break;
    }
    while (good && got < BIG) {
        if (pause_ms > 0 && got < BIG / 10)
            nx_sleep_ms(pause_ms);
        n = nx_read(stream, body + got, BIG - got < 100000 ? BIG - got : 100000, NX_FOREVER);
        good = nxt_expect_gt(n, 0);
        got += good ? (size_t)n : 0;
    }
    good = good && nxt_expect_eq(nxt_check_fill(body, BIG, 0, 9), BIG);
    free(body);
    return good;
}

struct scene {
    nx_task http, proxy;
    struct nxt_proxy options;
};

static bool scene_begin(struct scene *scene, const char *upstream)
{
    if (!make_folder())
        return false;
    *scene = (struct scene){.options = {.listen = PROXY, .upstream = upstream, .max_total = 50}};
    nxt_http_begin(folder);
    scene->http = nx_spawn(nxt_serve_http, (void *)(uintptr_t)HTTP);
    scene->proxy = nx_spawn(nxt_serve_proxy, &scene->options);
    nx_close(nxt_reach(HTTP));
    return true;
}

static void scene_end(struct scene *scene)
{
    nx_cancel(scene->proxy);
    nxt_expect_eq(nxt_result(scene->proxy), 0);
    nx_cancel(scene->http);
    nxt_expect_eq(nxt_result(scene->http), 0);
    remove_folder();
}

/* A path that nobody has yet is not refused, it is not there. */
static nx_stream *reach_proxy(void)
{
    nx_stream *stream = NULL;
    int error;
    while ((error = nx_connect(PROXY, NULL, &stream, NX_FOREVER)) == -ENOENT)
        nx_sleep_ms(1);
    nxt_expect_eq(error, 0);
    return stream;
}

static intptr_t one_client(void *arg)
{
    nx_stream *stream = reach_proxy();
    bool good = stream != NULL;
    for (int i = 0; good && i < 2; i++)
        good = get_big(stream, *(int *)arg);
    nx_close(stream);
    return good;
}

NXT_TASK_TEST(the_proxy_carries_and_uses_connections_again, .workers = 2)
{
    struct scene scene;
    int no_pause = 0;
    nx_task clients[20];
    nxt_require(scene_begin(&scene, HTTP));
    int64_t rounds = nxt_scaled(20, 4);
    for (int64_t i = 0; i < rounds; i++)
        nxt_expect(one_client(&no_pause));
    for (int i = 0; i < 20; i++)
        clients[i] = nxt_task_on(i % 2, one_client, &no_pause);
    for (int i = 0; i < 20; i++)
        nxt_expect(nxt_result(clients[i]));
    scene_end(&scene);
    nxt_expect_ge(scene.options.stats.reused, 1);
    nxt_expect_le(scene.options.stats.opened, 20 + rounds / 2);
}

NXT_TASK_TEST(a_download_under_way_comes_whole_when_the_proxy_stops, .workers = 2)
{
    struct scene scene;
    int pause = 10;
    nxt_require(scene_begin(&scene, HTTP));
    nx_task slow = nx_spawn(one_client, &pause);
    nx_sleep_ms(50);
    nx_cancel(scene.proxy);
    nxt_expect(nxt_result(slow));
    scene_end(&scene);
}

NXT_TASK_TEST(a_dead_upstream_lets_the_client_go, .workers = 2)
{
    struct scene scene;
    char byte;
    nxt_require(scene_begin(&scene, "127.0.0.1:1"));
    nx_stream *stream = reach_proxy();
    nxt_require(stream);
    nxt_expect_eq(nx_read(stream, &byte, 1, NX_FOREVER), 0);
    nx_close(stream);
    scene_end(&scene);
}
