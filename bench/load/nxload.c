/*
 * nxload: TCP load for an echo server, with every byte checked.
 *
 * Closed loop: each connection keeps a fixed number of messages under way, so the server's speed sets the rate. Open
 * loop, --rate: messages are due at that rate, and latency counts from when each was (worker.c). What is reported is
 * what came back between two looks at the clock, at the counters and at the server's process, all taken by the main
 * thread; connecting, warming up and ending are outside. Exits with 1 if anything went wrong.
 */
#define _GNU_SOURCE
#include "load.h"
#include "pattern.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const char usage[] =
    "Usage: nxload [options]\n"
    "  -a, --address=IP:PORT      the server (127.0.0.1:7777)\n"
    "  -c, --connections=N        connections (50)\n"
    "  -s, --size=BYTES           size of a message (64)\n"
    "  -p, --pipeline=N           messages under way on each connection (1)\n"
    "  -d, --duration=SECONDS     the measured window (2)\n"
    "  -w, --warmup=SECONDS       load before it (0.5)\n"
    "  -t, --threads=N            threads (1)\n"
    "      --idle=N               open N connections, echo a message on each, hold them, echo another\n"
    "      --rate=N               open loop: N messages a second, latency counted from when each was due;\n"
    "                             --pipeline is the most under way on a connection, and those beyond wait\n"
    "      --churn                connections that are opened, echo one message, are closed, again and again\n"
    "      --pid=PID              the server's process: report its CPU time, memory and descriptors\n"
    "      --stall=SECONDS        stop that process for so long in the middle of the window: what latency makes of it\n"
    "      --spin                 threads of nxload poll and never sleep\n"
    "      --json                 one JSON object\n"
    "  -h, --help\n";

/* All that is read at one end of the window. */
struct look {
    int64_t now;
    uint64_t requests;
    struct process server, client;
};

struct result {
    struct look begin, end;
    struct load_errors errors;
    uint64_t bytes_verified;
    uint64_t requests_min, requests_max;
    uint64_t unsent;
    int64_t stalled_ns;
    struct histogram latency;
};

/* ---- options ---- */

static int usage_error(const char *what, const char *value)
{
    fprintf(stderr, "nxload: %s: '%s'; nxload --help says more\n", what, value);
    return -EINVAL;
}

static int read_count(const char *text, unsigned max, unsigned *ret_count)
{
    char *end;
    unsigned long value = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || value == 0 || value > max)
        return usage_error("not a number from 1 on, or too large", text);
    *ret_count = (unsigned)value;
    return 0;
}

static int read_seconds(const char *text, int64_t *ret_ns)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0 && value <= 86400))
        return usage_error("not a number of seconds", text);
    *ret_ns = (int64_t)(value * 1e9);
    return 0;
}

static int read_rate(const char *text, double *ret_rate)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0.001 && value <= 1e9))
        return usage_error("not a number of messages a second", text);
    *ret_rate = value;
    return 0;
}

static int read_address(const char *text, struct load *load)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    size_t len = colon ? (size_t)(colon - text) : 0;
    bool brackets = len >= 2 && text[0] == '[' && text[len - 1] == ']';
    if (len == 0 || len >= sizeof host)
        return usage_error("not an IP:PORT", text);
    memcpy(host, text + brackets, len - 2 * brackets);
    host[len - 2 * brackets] = '\0';

    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0)
        return usage_error("not an IP:PORT", text);
    memcpy(&load->addr, found->ai_addr, found->ai_addrlen);
    load->addr_len = found->ai_addrlen;
    freeaddrinfo(found);
    return 0;
}

static int read_option(int option, const char *value, struct load *load)
{
    unsigned number;
    switch (option) {
    case 'a':
        return read_address(value, load);
    case 'c':
        return read_count(value, 1000000, &load->connections);
    case 's':
        return read_count(value, 1u << 30, &load->message);
    case 'p':
        return read_count(value, 4096, &load->depth);
    case 'd':
        return read_seconds(value, &load->window_ns);
    case 'w':
        return read_seconds(value, &load->warmup_ns);
    case 't':
        return read_count(value, 256, &load->threads);
    case 'i':
        load->mode = LOAD_IDLE;
        load->warmup_ns = 0;
        return read_count(value, 1000000, &load->connections);
    case 'u':
        load->mode = LOAD_CHURN;
        return 0;
    case 'r':
        load->mode = LOAD_OPEN;
        return read_rate(value, &load->rate);
    case 'S':
        return read_seconds(value, &load->stall_ns);
    case 'b':
        load->spin = true;
        return 0;
    case 'P':
        if (read_count(value, INT32_MAX, &number) < 0)
            return -EINVAL;
        load->server = (pid_t)number;
        return 0;
    case 'j':
        load->json = true;
        return 0;
    default:
        return -EINVAL; /* getopt has said why */
    }
}

static bool is_loopback(const struct sockaddr_storage *addr)
{
    const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
    return addr->ss_family == AF_INET && ntohl(in->sin_addr.s_addr) >> 24 == 127;
}

static int read_options(int argc, char **argv, struct load *load)
{
    static const struct option options[] = {
        {"address", required_argument, NULL, 'a'},  {"connections", required_argument, NULL, 'c'},
        {"size", required_argument, NULL, 's'},     {"pipeline", required_argument, NULL, 'p'},
        {"duration", required_argument, NULL, 'd'}, {"warmup", required_argument, NULL, 'w'},
        {"threads", required_argument, NULL, 't'},  {"idle", required_argument, NULL, 'i'},
        {"churn", no_argument, NULL, 'u'},          {"rate", required_argument, NULL, 'r'},
        {"stall", required_argument, NULL, 'S'},    {"spin", no_argument, NULL, 'b'},
        {"pid", required_argument, NULL, 'P'},      {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
    };
    if (read_address("127.0.0.1:7777", load) < 0)
        return -EINVAL;
    for (int option; (option = getopt_long(argc, argv, "a:c:s:p:d:w:t:h", options, NULL)) != -1;) {
        if (option == 'h') {
            fputs(usage, stdout);
            exit(0);
        }
        if (read_option(option, optarg, load) < 0)
            return -EINVAL;
    }
    if (optind < argc)
        return usage_error("unexpected argument", argv[optind]);
    if (load->threads > load->connections)
        load->threads = load->connections;
    if (load->stall_ns > 0 && (!load->server || load->stall_ns > load->window_ns))
        return usage_error("--stall needs --pid and a longer --duration", "stall");
    if (load->mode == LOAD_IDLE || load->mode == LOAD_CHURN)
        load->depth = 1;
    load->spread_sources = is_loopback(&load->addr) && (load->mode == LOAD_CHURN || load->connections > 16384);
    return 0;
}

/* ---- the run ---- */

static int raise_fd_limit(unsigned connections)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        return -errno;
    if (limit.rlim_max >= connections + 64u)
        return 0;
    fprintf(stderr, "nxload: %u connections need a higher limit of open files than %llu (ulimit -n)\n", connections,
            (unsigned long long)limit.rlim_max);
    return -EMFILE;
}

static void sleep_until(int64_t when)
{
    struct timespec ts = {.tv_sec = when / 1000000000, .tv_nsec = when % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
        ;
}

static void take_look(const struct load *load, const struct worker *workers, struct look *ret_look)
{
    *ret_look = (struct look){.now = load_now()};
    for (unsigned i = 0; i < load->threads; i++)
        ret_look->requests += atomic_load_explicit(&workers[i].requests, memory_order_relaxed);
    if (load->server)
        process_look(load->server, &ret_look->server);
    process_look(getpid(), &ret_look->client);
}

static void stall_server(const struct load *load, int64_t begin, struct result *result)
{
    if (load->stall_ns == 0)
        return;
    sleep_until(begin + (load->window_ns - load->stall_ns) / 2);
    int64_t stopped = load_now();
    kill(load->server, SIGSTOP);
    sleep_until(stopped + load->stall_ns);
    kill(load->server, SIGCONT);
    result->stalled_ns = load_now() - stopped;
}

static void measure(struct load *load, const struct worker *workers, struct result *result)
{
    pthread_barrier_wait(&load->opened);
    bool refused = atomic_load(&load->refused);
    if (!refused)
        sleep_until(load_now() + load->warmup_ns);
    int64_t now = load_now();
    atomic_store(&load->window_begin, now);
    atomic_store(&load->window_end, now + load->window_ns);
    atomic_store(&load->phase, PHASE_MEASURE);
    take_look(load, workers, &result->begin);
    if (!refused) {
        stall_server(load, now, result);
        sleep_until(now + load->window_ns);
    }
    take_look(load, workers, &result->end);
    atomic_store(&load->phase, PHASE_FINISH);
}

static void merge(struct result *into, const struct worker *worker, bool first)
{
    into->errors.connect += worker->errors.connect;
    into->errors.io += worker->errors.io;
    into->errors.corrupt += worker->errors.corrupt;
    into->errors.lost += worker->errors.lost;
    into->bytes_verified += worker->bytes_verified;
    into->unsent += worker->unsent;
    if (first || worker->requests_min < into->requests_min)
        into->requests_min = worker->requests_min;
    if (worker->requests_max > into->requests_max)
        into->requests_max = worker->requests_max;
    histogram_merge(&into->latency, &worker->latency);
}

static void run(struct load *load, struct worker *workers, struct result *result)
{
    pattern_init();
    pthread_barrier_init(&load->opened, NULL, load->threads + 1);
    for (unsigned i = 0; i < load->threads; i++) {
        struct worker *w = &workers[i];
        w->load = load;
        w->first = (unsigned)((uint64_t)load->connections * i / load->threads);
        w->count = (unsigned)((uint64_t)load->connections * (i + 1) / load->threads) - w->first;
        int error = worker_start(w);
        if (error) {
            fprintf(stderr, "nxload: cannot start a thread: %s\n", strerror(-error));
            exit(1); /* the threads before it wait at the barrier for good */
        }
    }
    measure(load, workers, result);
    for (unsigned i = 0; i < load->threads; i++) {
        pthread_join(workers[i].thread, NULL);
        merge(result, &workers[i], i == 0);
    }
    pthread_barrier_destroy(&load->opened);
}

/* ---- the report ---- */

static double per(double what, double count)
{
    return count > 0 ? what / count : 0;
}

static uint64_t error_count(const struct load_errors *errors)
{
    return errors->connect + errors->io + errors->corrupt + errors->lost;
}

static const char *mode_name(enum load_mode mode)
{
    static const char *const names[] = {
        [LOAD_CLOSED] = "closed", [LOAD_OPEN] = "open", [LOAD_IDLE] = "idle", [LOAD_CHURN] = "churn"};
    return names[mode];
}

/* Process CPU time of a thread at the window's begin; 0 if it did not live then. */
static int64_t cpu_before(const struct process *process, pid_t tid)
{
    for (unsigned i = 0; i < process->thread_count; i++)
        if (process->threads[i].tid == tid)
            return process->threads[i].cpu_ns;
    return 0;
}

static json_t *threads_json(const struct process *begin, const struct process *end)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < end->thread_count; i++) {
        const struct process_thread *thread = &end->threads[i];
        json_array_append_new(list,
                              json_pack("{si ss sI}", "tid", (int)thread->tid, "name", thread->name, "thread_cpu_ns",
                                        (json_int_t)(thread->cpu_ns - cpu_before(begin, thread->tid))));
    }
    return list;
}

static json_t *server_json(const struct look *begin, const struct look *end)
{
    double requests = (double)(end->requests - begin->requests);
    int64_t cpu_ns = end->server.cpu_ns - begin->server.cpu_ns;
    return json_pack("{sI sf sI sI sI so}", "server_cpu_ns", (json_int_t)cpu_ns, "server_cpu_ns_per_request",
                     per((double)cpu_ns, requests), "server_rss_kib", (json_int_t)end->server.rss_kib,
                     "server_rss_max_kib", (json_int_t)end->server.rss_max_kib, "server_fds",
                     (json_int_t)end->server.fds, "server_threads", threads_json(&begin->server, &end->server));
}

/* [quantile, ns] from 0 on; each time the rest to 1 is halved in CURVE_STEPS steps, as far as there are values. */
#define CURVE_STEPS 5
static json_t *percentiles_json(const struct histogram *h)
{
    json_t *curve = json_array();
    for (double rest = 1; h->count > 0 && rest * (double)h->count >= 1; rest /= 2)
        for (int step = 0; step < CURVE_STEPS; step++) {
            double q = 1 - rest + rest / 2 * step / CURVE_STEPS;
            json_array_append_new(curve, json_pack("[fI]", q, (json_int_t)histogram_quantile(h, q)));
        }
    if (h->count > 0)
        json_array_append_new(curve, json_pack("[fI]", 1.0, (json_int_t)h->max));
    return curve;
}

static json_t *latency_json(const struct histogram *h)
{
    static const struct {
        const char *name;
        double quantile;
    } some[] = {{"latency_ns_p50", 0.5},
                {"latency_ns_p90", 0.9},
                {"latency_ns_p99", 0.99},
                {"latency_ns_p99_9", 0.999},
                {"latency_ns_p99_99", 0.9999}};
    json_t *all = json_pack("{sI sI}", "latencies", (json_int_t)h->count, "latency_ns_min", (json_int_t)h->min);
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        json_object_set_new(all, some[i].name, json_integer((json_int_t)histogram_quantile(h, some[i].quantile)));
    json_object_set_new(all, "latency_ns_max", json_integer((json_int_t)h->max));
    json_object_set_new(all, "latency_ns_mean", json_integer((json_int_t)histogram_mean(h)));
    return all;
}

/* Flat but for two lists at the end, with every key once, so that a line of awk can read it too. */
static void print_json(const struct load *load, const struct result *r)
{
    const struct histogram *h = &r->latency;
    double seconds = (double)(r->end.now - r->begin.now) / 1e9;
    uint64_t requests = r->end.requests - r->begin.requests;
    json_t *all = json_pack("{ss si si si si sf}", "mode", mode_name(load->mode), "connections", (int)load->connections,
                            "threads", (int)load->threads, "message_bytes", (int)load->message, "depth",
                            (int)load->depth, "seconds", seconds);
    json_object_update_new(all,
                           json_pack("{sI sf sI sI sI}", "requests", (json_int_t)requests, "requests_per_second",
                                     per((double)requests, seconds), "bytes_verified", (json_int_t)r->bytes_verified,
                                     "connection_requests_min", (json_int_t)r->requests_min, "connection_requests_max",
                                     (json_int_t)r->requests_max));
    if (load->mode == LOAD_OPEN)
        json_object_update_new(all, json_pack("{sf sI}", "rate", load->rate, "unsent", (json_int_t)r->unsent));
    if (load->stall_ns > 0)
        json_object_set_new(all, "stall_ns", json_integer((json_int_t)r->stalled_ns));
    json_object_update_new(all, latency_json(h));
    json_object_update_new(all, json_pack("{sI sI sI sI sI}", "errors", (json_int_t)error_count(&r->errors),
                                          "errors_connect", (json_int_t)r->errors.connect, "errors_io",
                                          (json_int_t)r->errors.io, "errors_corrupt", (json_int_t)r->errors.corrupt,
                                          "errors_lost_bytes", (json_int_t)r->errors.lost));
    json_object_update_new(all, json_pack("{sI sI}", "client_cpu_ns",
                                          (json_int_t)(r->end.client.cpu_ns - r->begin.client.cpu_ns), "client_fds",
                                          (json_int_t)r->end.client.fds));
    if (load->server)
        json_object_update_new(all, server_json(&r->begin, &r->end));
    json_object_set_new(all, "percentiles", percentiles_json(h));
    json_dumpf(all, stdout, JSON_INDENT(1) | JSON_REAL_PRECISION(12));
    putchar('\n');
    json_decref(all);
}

static void print_text(const struct load *load, const struct result *r)
{
    const struct histogram *h = &r->latency;
    double seconds = (double)(r->end.now - r->begin.now) / 1e9;
    double requests = (double)(r->end.requests - r->begin.requests);
    printf("%s: %u connections x %u B, %u deep, %u thread%s, %.2f s\n", mode_name(load->mode), load->connections,
           load->message, load->depth, load->threads, load->threads == 1 ? "" : "s", seconds);
    if (load->mode != LOAD_IDLE) {
        printf("requests/s   %.0f\n", per(requests, seconds));
        if (load->mode == LOAD_OPEN)
            printf("wanted/s     %.0f; latency counts from when a message was due; %llu could not be sent in time\n",
                   load->rate, (unsigned long long)r->unsent);
        printf("latency us   p50 %.1f  p90 %.1f  p99 %.1f  p99.9 %.1f  p99.99 %.1f  max %.1f\n",
               (double)histogram_quantile(h, 0.5) / 1e3, (double)histogram_quantile(h, 0.9) / 1e3,
               (double)histogram_quantile(h, 0.99) / 1e3, (double)histogram_quantile(h, 0.999) / 1e3,
               (double)histogram_quantile(h, 0.9999) / 1e3, (double)h->max / 1e3);
        printf("fairness     %llu to %llu requests a connection\n", (unsigned long long)r->requests_min,
               (unsigned long long)r->requests_max);
    }
    printf("client       %ld descriptors\n", r->end.client.fds);
    if (load->server) {
        double cpu_ns = (double)(r->end.server.cpu_ns - r->begin.server.cpu_ns);
        printf("server       %ld descriptors, %.1f MiB resident, CPU %.1f ms", r->end.server.fds,
               (double)r->end.server.rss_kib / 1024, cpu_ns / 1e6);
        if (requests > 0)
            printf(", %.0f ns a request", cpu_ns / requests);
        putchar('\n');
    }
    printf("errors       %llu connect, %llu i/o, %llu corrupt, %llu bytes lost; %llu bytes verified\n",
           (unsigned long long)r->errors.connect, (unsigned long long)r->errors.io,
           (unsigned long long)r->errors.corrupt, (unsigned long long)r->errors.lost,
           (unsigned long long)r->bytes_verified);
}

int main(int argc, char **argv)
{
    static struct load load = {
        .connections = 50,
        .threads = 1,
        .depth = 1,
        .message = 64,
        .window_ns = INT64_C(2000000000),
        .warmup_ns = INT64_C(500000000),
    };
    static struct result result;
    if (read_options(argc, argv, &load) < 0)
        return 2;
    if (raise_fd_limit(load.connections) < 0)
        return 1;
    struct process server;
    if (load.server && process_look(load.server, &server) < 0) {
        fprintf(stderr, "nxload: no process %d\n", (int)load.server);
        return 1;
    }
    struct worker *workers = aligned_alloc(64, load.threads * sizeof *workers);
    if (!workers)
        return 1;
    memset(workers, 0, load.threads * sizeof *workers);
    run(&load, workers, &result);
    free(workers);
    if (load.json)
        print_json(&load, &result);
    else
        print_text(&load, &result);
    return error_count(&result.errors) ? 1 : 0;
}
