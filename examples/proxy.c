/*
 * proxy: passes TCP connections on.   proxy LISTEN UPSTREAM [MAX]
 *
 * Connections to UPSTREAM come from a pool: at most MAX (100) at a time, further clients wait for one up to 5 s. One
 * whose client has left between a request and the next, that is after the last bytes went from UPSTREAM to it, is
 * used again, which suits protocols that keep no state in the connection: HTTP, Redis without AUTH or SELECT. SIGINT
 * or SIGTERM stops accepting and lets open connections finish; a second one ends at once.
 */
#include <nexus/nexus.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define WAIT_MS 5000

struct link {
    nx_stream *client, *upstream;
    atomic_bool answered; /* the last bytes were the upstream's */
    atomic_bool broken;   /* the upstream's side has ended, or a write failed */
};

struct proxy {
    const char *listen, *upstream;
    nx_pool *pool;
};

/* Moves what has come until one end fails. True: from was at its end. */
static bool pump(struct link *link, nx_stream *from, nx_stream *to)
{
    nx_loan loan;
    ssize_t n;
    while ((n = nx_read_loan(from, &loan, NX_FOREVER)) > 0) {
        ssize_t sent = nx_write(to, loan.data, (size_t)n, NX_FOREVER);
        nx_loan_return(&loan);
        atomic_store(&link->answered, from == link->upstream && sent == n);
        if (sent != n) {
            atomic_store(&link->broken, true);
            return false;
        }
    }
    return n == 0;
}

static intptr_t pump_back(void *arg)
{
    struct link *link = arg;
    if (pump(link, link->upstream, link->client))
        nx_shutdown(link->client, NX_SHUT_WRITE);
    if (!nx_cancelled())
        atomic_store(&link->broken, true);
    return 0;
}

/* Both directions, until the client has left. True: the upstream connection can be used again. */
static bool carry(struct link *link)
{
    nx_task back = nx_spawn(pump_back, link);
    if (back < 0)
        return false;
    bool left = pump(link, link->client, link->upstream);
    bool idle = left && atomic_load(&link->answered) && !atomic_load(&link->broken);
    if (left && !idle)
        nx_shutdown(link->upstream, NX_SHUT_WRITE); /* it may still have something to say */
    else
        nx_cancel(back);
    if (nx_join(back, NULL, NX_FOREVER) < 0) { /* the drain is over: but back uses what is here */
        nx_cancel(back);
        nx_shield(NX_FOREVER);
        nx_join(back, NULL, NX_FOREVER);
    }
    return idle && !atomic_load(&link->broken);
}

static intptr_t on_client(nx_stream *client, void *arg)
{
    struct proxy *proxy = arg;
    struct link link = {.client = client};
    int error = nx_pool_get(proxy->pool, proxy->upstream, &link.upstream, nx_after_ms(WAIT_MS));
    if (error < 0) {
        if (error != -ECANCELED)
            fprintf(stderr, "proxy: %s: %s\n", proxy->upstream, nx_strerror(error));
        return error;
    }
    nx_pool_put(proxy->pool, link.upstream, carry(&link));
    return 0;
}

static void announce(const nx_addr *addr, void *arg)
{
    (void)arg;
    char text[128];
    nx_addr_format(addr, text, sizeof text);
    printf("proxy: listening on %s\n", text);
    fflush(stdout);
}

static intptr_t serve(void *arg)
{
    struct proxy *proxy = arg;
    nx_serve_options options = {.size = sizeof options, .on_listen = announce};
    int cut = nx_serve(proxy->listen, &options, on_client, proxy, NX_FOREVER);
    if (cut < 0)
        fprintf(stderr, "proxy: %s: %s\n", proxy->listen, nx_strerror(cut));
    else
        printf("proxy: %d connections cut\n", cut);
    return cut < 0;
}

static intptr_t start(void *arg)
{
    char **args = arg;
    struct proxy proxy = {.listen = args[1], .upstream = args[2]};
    nx_pool_options options = {
        .size = sizeof options, .max_total = args[3] ? (uint32_t)atoi(args[3]) : 100, .max_idle = 32};
    intptr_t result = 1;
    int error = nx_pool_create(&options, &proxy.pool);
    if (error == 0) {
        nx_until_signal(NULL, serve, &proxy, &result);
        struct nx_pool_stats stats = {.size = sizeof stats};
        if (nx_pool_stats(proxy.pool, &stats) == 0)
            printf("proxy: %llu upstream connections opened, used again %llu times\n", (unsigned long long)stats.opened,
                   (unsigned long long)stats.reused);
        nx_pool_destroy(proxy.pool);
    }
    return result;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fputs("usage: proxy LISTEN UPSTREAM [MAX]\n", stderr);
        return 2;
    }
    return nx_run(start, argv);
}
