/* conform_resolve.c: names and services, and connecting to what they stand for. Nobody is asked but a table here. */
#include "../../libnexus/resolve.h"
#include "nxt_net.h"
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MS INT64_C(1000000)

/* ---- a getaddrinfo(3) that looks into a table ---- */

static struct {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    int code, number; /* what it says: an EAI_... and errno; 0: the addresses */
    nx_addr addrs[80];
    size_t count;
    char name[300], service[80];
    unsigned begun, let;
    bool gated; /* it waits until it is let go */
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER};

struct fake_info {
    struct addrinfo info;
    struct sockaddr_storage address;
};

/* The one name that the system's own table is asked for. */
static int ask_the_system(const char *name, const char *service, const struct addrinfo *hints,
                          struct addrinfo **ret_list)
{
    struct addrinfo *list;
    int code = getaddrinfo(name, service, hints, &list);
    for (const struct addrinfo *info = code == 0 ? list : NULL; info; info = info->ai_next) {
        struct fake_info *made = calloc(1, sizeof(*made));
        made->info.ai_family = info->ai_family;
        made->info.ai_addr = (struct sockaddr *)&made->address;
        made->info.ai_next = *ret_list;
        memcpy(&made->address, info->ai_addr, info->ai_addrlen);
        *ret_list = &made->info;
    }
    if (code == 0)
        freeaddrinfo(list);
    return code;
}

static struct addrinfo *make_info(const nx_addr *addr, struct addrinfo *next)
{
    struct fake_info *made = calloc(1, sizeof(*made));
    made->info.ai_family = addr->family == NX_AF_INET ? AF_INET : AF_INET6;
    made->info.ai_addr = (struct sockaddr *)&made->address;
    made->info.ai_next = next;
    if (addr->family == NX_AF_INET) {
        struct sockaddr_in *in = (struct sockaddr_in *)&made->address;
        in->sin_family = AF_INET;
        in->sin_port = htons(addr->port);
        memcpy(&in->sin_addr, addr->data, 4);
    } else {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&made->address;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(addr->port);
        memcpy(&in6->sin6_addr, addr->data, 16);
    }
    return &made->info;
}

static int fake_getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                            struct addrinfo **ret_list)
{
    if (strcmp(name, "localhost") == 0)
        return ask_the_system(name, service, hints, ret_list);
    pthread_mutex_lock(&fake.lock);
    snprintf(fake.name, sizeof(fake.name), "%s", name);
    snprintf(fake.service, sizeof(fake.service), "%s", service);
    fake.begun++;
    while (fake.gated && fake.let == 0)
        pthread_cond_wait(&fake.moved, &fake.lock);
    fake.let -= fake.gated;
    int code = hints->ai_socktype == SOCK_STREAM ? fake.code : EAI_SOCKTYPE;
    for (size_t i = fake.count; code == 0 && i-- > 0;)
        *ret_list = make_info(&fake.addrs[i], *ret_list);
    errno = fake.number;
    pthread_mutex_unlock(&fake.lock);
    return code;
}

static void fake_freeaddrinfo(struct addrinfo *list)
{
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

/* For good: a look-up that was left may still use them when the next case begins. */
__attribute__((constructor)) static void fake_install(void)
{
    nxi_getaddrinfo = fake_getaddrinfo;
    nxi_freeaddrinfo = fake_freeaddrinfo;
}

static void fake_clear(void)
{
    pthread_mutex_lock(&fake.lock);
    fake.code = fake.number = 0;
    fake.count = fake.begun = fake.let = 0;
    fake.gated = false;
    pthread_mutex_unlock(&fake.lock);
}

/* One more address of the name. */
static void fake_add(const char *text, uint16_t port)
{
    char whole[80];
    snprintf(whole, sizeof(whole), "%s:%u", text, port);
    nxt_expect_eq(nx_addr_parse(whole, &fake.addrs[fake.count++]), 0);
}

static void fake_gate(void)
{
    pthread_mutex_lock(&fake.lock);
    fake.gated = true;
    pthread_mutex_unlock(&fake.lock);
}

static void fake_let(unsigned count)
{
    pthread_mutex_lock(&fake.lock);
    fake.let += count;
    pthread_cond_broadcast(&fake.moved);
    pthread_mutex_unlock(&fake.lock);
}

static unsigned fake_begun(void)
{
    pthread_mutex_lock(&fake.lock);
    unsigned begun = fake.begun;
    pthread_mutex_unlock(&fake.lock);
    return begun;
}

static unsigned fake_unused(void)
{
    pthread_mutex_lock(&fake.lock);
    unsigned unused = fake.let;
    pthread_mutex_unlock(&fake.lock);
    return unused;
}

static struct nx_pool_metrics metrics(void)
{
    struct nx_metrics all = {.size = sizeof(all)};
    nxt_expect_eq(nx_runtime_metrics(nxt_runtime(), &all), 0);
    return all.resolver;
}

/* ---- looking up ---- */

NXT_TASK_TEST(an_address_is_its_own_and_nobody_is_asked)
{
    nx_addr addrs[2];
    size_t count = 2;
    char text[64];
    fake_clear();
    nxt_expect_eq(nx_resolve("127.0.0.1:80", addrs, &count, NX_POLL), 0);
    nxt_require_eq(count, 1);
    nx_addr_format(&addrs[0], text, sizeof(text));
    nxt_expect_str(text, "127.0.0.1:80");
    count = 2;
    nxt_expect_eq(nx_resolve("[::1]:80", addrs, &count, NX_FOREVER), 0);
    nxt_expect(count == 1 && addrs[0].family == NX_AF_INET6);
    count = 2;
    nxt_expect_eq(nx_resolve("unix:/run/x", addrs, &count, NX_FOREVER), 0);
    nxt_expect(count == 1 && addrs[0].family == NX_AF_UNIX);
    nxt_expect_eq(fake_begun(), 0);
}

NXT_TASK_TEST(a_name_gives_its_addresses_in_their_order_as_many_as_there_is_room)
{
    nx_addr addrs[4];
    size_t count = 4;
    char text[64];
    fake_clear();
    fake_add("[::1]", 443);
    fake_add("127.0.0.1", 443);
    fake_add("127.0.0.2", 443);
    nxt_require_eq(nx_resolve("example.test:443", addrs, &count, NX_FOREVER), 0);
    nxt_require_eq(count, 3);
    nxt_expect_str(fake.name, "example.test");
    nxt_expect_str(fake.service, "443");
    nx_addr_format(&addrs[0], text, sizeof(text));
    nxt_expect_str(text, "[::1]:443");
    nx_addr_format(&addrs[2], text, sizeof(text));
    nxt_expect_str(text, "127.0.0.2:443");
    memset(&addrs[1], 0, sizeof(addrs[1]));
    count = 1;
    nxt_expect_eq(nx_resolve("example.test:https", addrs, &count, NX_FOREVER), 0);
    nxt_expect_eq(count, 3);
    nxt_expect_eq(addrs[1].family, 0); /* no room for it */
    nxt_expect_str(fake.service, "https");
    count = 0;
    nxt_expect_eq(nx_resolve("example.test:443", NULL, &count, NX_FOREVER), 0);
    nxt_expect_eq(count, 3);
}

NXT_TASK_TEST(the_systems_own_table_knows_localhost)
{
    nx_addr addrs[8];
    size_t count = 8;
    fake_clear();
    int error = nx_resolve("localhost:80", addrs, &count, NX_FOREVER);
    if (error == -ENOENT || error == -EAGAIN) {
        nxt_skip("no localhost in /etc/hosts");
        return;
    }
    nxt_require_eq(error, 0);
    nxt_expect(count > 0 && addrs[0].port == 80);
}

NXT_TASK_TEST(each_failure_has_its_number)
{
    static const struct {
        int code, number, error;
    } failures[] = {
        {EAI_NONAME, 0, -ENOENT}, {EAI_NODATA, 0, -ENOENT}, {EAI_SERVICE, 0, -ENOENT}, {EAI_AGAIN, 0, -EAGAIN},
        {EAI_FAIL, 0, -EIO},      {EAI_MEMORY, 0, -ENOMEM}, {EAI_FAMILY, 0, -EIO},     {EAI_SYSTEM, EMFILE, -EMFILE},
        {EAI_SYSTEM, 0, -EIO},    {0, 0, -ENOENT}, /* no address that could be used */
    };
    for (size_t i = 0; i < NXT_COUNT(failures); i++) {
        nx_addr addr = {.family = 77};
        size_t count = 1;
        fake_clear();
        fake.code = failures[i].code;
        fake.number = failures[i].number;
        nxt_expect_eq(nx_resolve("example.test:1", &addr, &count, NX_FOREVER), failures[i].error);
        nxt_expect(addr.family == 77 && count == 1);
    }
}

static intptr_t resolve_in_a_thread(void *arg)
{
    nx_addr addr;
    return nx_resolve("127.0.0.1:1", &addr, arg, NX_FOREVER);
}

NXT_TASK_TEST(malformed_text_is_refused_and_never_looked_up)
{
    static const char *const bad[] = {
        "",         "name",  ":80",      "name:",     "name:65536", "name:80:81", "[name]:80",     "na me:80",
        "name:8 0", "unix:", "na/me:80", "name:80\n", "[::1]",      "[::1]:x y",  "127.0.0.1:0x/", "name\x7f:80"};
    char long_name[400];
    nx_addr addr;
    size_t count = 1;
    fake_clear();
    for (size_t i = 0; i < NXT_COUNT(bad); i++)
        if (!nxt_expect_eq(nx_resolve(bad[i], &addr, &count, NX_FOREVER), -EINVAL))
            printf("# %s\n", bad[i]);
    memset(long_name, 'a', sizeof(long_name));
    memcpy(long_name + sizeof(long_name) - 4, ":80", 4);
    nxt_expect_eq(nx_resolve(long_name, &addr, &count, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_resolve(NULL, &addr, &count, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_resolve("a:1", NULL, &count, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_resolve("a:1", &addr, NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_resolve("a:1", &addr, &count, NX_POLL), -EAGAIN);
    struct nxt_thread *thread = nxt_thread_start(resolve_in_a_thread, &count);
    nxt_require(thread);
    nxt_expect_eq(nxt_thread_await(thread), -NX_ENOTASK);
    nxt_expect_eq(fake_begun(), 0);
}

/* ---- slow name servers ---- */

static intptr_t resolve(void *arg)
{
    nx_addr addr;
    size_t count = 1;
    return nx_resolve("slow.test:1", &addr, &count, arg ? *(nx_time *)arg : NX_FOREVER);
}

/* Until a look-up has begun and been left. */
static intptr_t leave_one(void *arg)
{
    (void)arg;
    while (fake_begun() == 0) { /* ends: a thread gets round to it */
        nx_time deadline = nx_after_ms(5);
        nxt_expect_eq(resolve(&deadline), -ETIMEDOUT);
    }
    return 0;
}

static intptr_t answer(void *arg)
{
    return (intptr_t)arg;
}

NXT_TASK_TEST(slow_look_ups_hold_no_blocking_call_and_no_file_up, .blocking_threads = 1)
{
    nx_task tasks[20];
    intptr_t result = 0;
    struct stat stat;
    fake_clear();
    fake_add("127.0.0.1", 1);
    fake_gate();
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        tasks[i] = nx_spawn(resolve, NULL);
    nxt_await(fake_begun() == 8); /* as many as there may be */
    nxt_await(metrics().queued == NXT_COUNT(tasks) - 8);
    nxt_expect_eq(metrics().threads, 8);
    nxt_expect_eq(nx_blocking(answer, (void *)42, &result, NX_FOREVER), 0);
    nxt_expect_eq(result, 42);
    nxt_expect_eq(nx_stat("/", &stat, NX_FOREVER), 0);
    fake_let(NXT_COUNT(tasks));
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
}

NXT_TASK_TEST(at_the_deadline_or_a_cancel_the_task_goes_and_the_look_up_ends_alone, .workers = 2)
{
    fake_clear();
    fake_add("127.0.0.1", 1);
    fake_gate();
    leave_one(NULL);
    nx_task cancelled = nx_spawn(resolve, NULL);
    nxt_await(fake_begun() == 2);
    nxt_expect_eq(nx_cancel(cancelled), 0);
    nxt_expect_eq(nxt_result(cancelled), -ECANCELED);
    nxt_expect_eq(metrics().busy, 2);
    fake_let(2);
    nxt_await(metrics().busy == 0); /* what they held is free: the audit sees that */
}

static intptr_t resolve_until_random(void *arg)
{
    uint64_t seed = (uintptr_t)arg;
    intptr_t bad = 0;
    for (int i = 0; i < nxt_scaled(2000, 100); i++) {
        nx_time deadline = nx_after_ns((int64_t)(nxt_random(&seed) % 60000));
        intptr_t result = resolve(&deadline);
        bad += result != 0 && result != -ETIMEDOUT;
    }
    return bad;
}

NXT_TASK_TEST(a_look_up_and_a_deadline_that_meet_settle_who_frees, .workers = 2)
{
    nx_task tasks[4];
    fake_clear();
    fake_add("127.0.0.1", 1);
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        tasks[i] = nxt_task_on((int)(i % 2), resolve_until_random, (void *)(i + 1));
    for (size_t i = 0; i < NXT_COUNT(tasks); i++)
        nxt_expect_eq(nxt_result(tasks[i]), 0);
}

NXT_TEST(a_runtime_is_destroyed_over_a_look_up_that_nobody_waits_for)
{
    nx_runtime *runtime = nxt_start(NULL);
    nxt_require(runtime);
    fake_clear();
    fake_gate();
    nxt_expect_eq(nx_block_on(runtime, leave_one, NULL, NULL), 0);
    nxt_expect_eq(fake_begun(), 1);
    nxt_stop(runtime); /* it doesn't hang */
    fake_let(1);
    nxt_await(fake_unused() == 0);
}

/* ---- connecting to a name ---- */

/* A port where connections neither come about nor fail: the queue of the listener is full. */
struct hole {
    int listener, filler;
    uint16_t port;
};

static bool dig(struct hole *hole)
{
    hole->listener = nxt_listen(0, &hole->port);
    hole->filler = hole->listener < 0 ? -1 : nxt_connect(hole->port);
    return hole->filler >= 0;
}

static void fill_in(struct hole *hole)
{
    close(hole->filler);
    close(hole->listener);
}

/* A port that nobody listens at. */
static uint16_t dead_port(void)
{
    uint16_t port = 0;
    int fd = nxt_listen(1, &port);
    close(fd);
    return port;
}

static bool serves(nx_stream *stream, int listener)
{
    char byte = 0;
    int fd = nxt_accept(listener);
    bool good = fd >= 0 && nx_write(stream, "x", 1, NX_FOREVER) == 1 && nxt_read_all(fd, &byte, 1) == 1 && byte == 'x';
    close(fd);
    return good;
}

NXT_TASK_TEST(a_name_of_one_address_is_connected_to)
{
    uint16_t port;
    int listener = nxt_listen(5, &port);
    nx_stream *stream = NULL;
    fake_clear();
    fake_add("127.0.0.1", port);
    nxt_require_eq(nx_connect("example.test:1", NULL, &stream, NX_FOREVER), 0);
    nxt_expect(serves(stream, listener));
    nx_close(stream);
    close(listener);
}

NXT_TASK_TEST(after_a_refusal_the_next_address_is_tried_at_once)
{
    uint16_t port;
    int listener = nxt_listen(5, &port);
    nx_stream *stream = NULL;
    fake_clear();
    for (int i = 0; i < 20; i++) /* one a quarter of a second would take five */
        fake_add("127.0.0.1", dead_port());
    fake_add("127.0.0.1", port);
    nx_time begin = nxt_clock();
    nxt_require_eq(nx_connect("example.test:1", NULL, &stream, NX_FOREVER), 0);
    nxt_expect_lt(nxt_clock() - begin, 4000 * MS);
    nxt_expect(serves(stream, listener));
    nx_close(stream);
    close(listener);
}

NXT_TASK_TEST(an_address_that_leads_nowhere_costs_a_quarter_of_a_second)
{
    struct hole hole;
    uint16_t port;
    int listener = nxt_listen(5, &port);
    nx_stream *stream = NULL;
    nxt_require(dig(&hole));
    fake_clear();
    fake_add("127.0.0.1", hole.port);
    fake_add("127.0.0.1", port);
    nx_time begin = nxt_clock();
    nxt_require_eq(nx_connect("example.test:1", NULL, &stream, NX_FOREVER), 0);
    nxt_expect_ge(nxt_clock() - begin, 249 * MS);
    nxt_expect(serves(stream, listener));
    nx_close(stream);
    close(listener);
    fill_in(&hole);
}

NXT_TASK_TEST(families_take_turns)
{
    struct hole hole;
    uint16_t port;
    nx_listener *six = NULL;
    nx_stream *stream = NULL;
    nx_addr addr, peer;
    if (nx_listen("[::1]:0", NULL, &six) < 0) {
        nxt_skip("there is no IPv6 here");
        return;
    }
    nx_listener_addr(six, &addr);
    int listener = nxt_listen(5, &port);
    nxt_require(dig(&hole));
    fake_clear();
    fake_add("127.0.0.1", hole.port);
    fake_add("127.0.0.1", port);
    fake_add("[::1]", addr.port);
    nxt_require_eq(nx_connect("example.test:1", NULL, &stream, NX_FOREVER), 0);
    nxt_expect_eq(nx_stream_peer(stream, &peer), 0);
    nxt_expect_eq(peer.family, NX_AF_INET6);
    nx_close(stream);
    nx_listener_close(six);
    close(listener);
    fill_in(&hole);
}

NXT_TASK_TEST(when_all_fail_the_first_error_is_told)
{
    nx_stream *stream = (nx_stream *)&stream;
    fake_clear();
    fake_add("127.0.0.1", dead_port());
    fake_add("127.0.0.1", dead_port());
    nxt_expect_eq(nx_connect("example.test:1", NULL, &stream, NX_FOREVER), -ECONNREFUSED);
    fake.code = EAI_NONAME;
    nxt_expect_eq(nx_connect("example.test:1", NULL, &stream, NX_FOREVER), -ENOENT);
    nxt_expect_eq(nx_connect("example.test:1", NULL, &stream, NX_POLL), -EAGAIN);
    nxt_expect(stream == (nx_stream *)&stream);
}

static intptr_t connect_to_the_name(void *arg)
{
    nx_stream *stream;
    int error = nx_connect("example.test:1", NULL, &stream, arg ? *(nx_time *)arg : NX_FOREVER);
    if (error == 0)
        nx_close(stream);
    return error;
}

NXT_TASK_TEST(timeouts_and_cancels_end_all_attempts_and_leave_nothing)
{
    struct hole hole;
    nx_stream *stream;
    const nx_connect_options options = {.size = sizeof(options), .timeout_ns = 5 * MS};
    nxt_require(dig(&hole));
    fake_clear();
    for (int i = 0; i < 5; i++)
        fake_add("127.0.0.1", hole.port);
    int fds = nxt_open_fds();
    nxt_expect_eq(nx_connect("example.test:1", &options, &stream, NX_FOREVER), -ETIMEDOUT);
    nx_time deadline = nx_after_ms(300); /* two are under way */
    nxt_expect_eq(connect_to_the_name(&deadline), -ETIMEDOUT);
    for (int i = 0; i < nxt_scaled(50, 5); i++) {
        nx_task task = nx_spawn(connect_to_the_name, NULL);
        nxt_await(nxt_open_fds() > fds);
        nxt_expect_eq(nx_cancel(task), 0);
        nxt_expect_eq(nxt_result(task), -ECANCELED);
        nxt_await(nxt_open_fds() == fds);
    }
    fill_in(&hole);
}

/* So many descriptors more than are open now; the limit before. */
static struct rlimit allow_descriptors(int more)
{
    struct rlimit before, now;
    int lowest_free = dup(STDIN_FILENO);
    close(lowest_free);
    nxt_expect_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    now = before;
    now.rlim_cur = (rlim_t)(lowest_free + more);
    nxt_expect_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
    return before;
}

NXT_TASK_TEST(without_a_descriptor_for_the_next_address_the_first_goes_on)
{
    struct hole hole;
    uint16_t port;
    nx_stream *stream = (nx_stream *)&stream;
    int listener = nxt_listen(5, &port);
    nxt_require(listener >= 0 && dig(&hole));
    int fds = nxt_open_fds();
    fake_clear();
    fake_add("127.0.0.1", hole.port);
    fake_add("127.0.0.1", port);
    struct rlimit before = allow_descriptors(0);
    int without = nx_connect("example.test:1", NULL, &stream, NX_FOREVER);
    setrlimit(RLIMIT_NOFILE, &before);
    allow_descriptors(1);
    int with_one = nx_connect("example.test:1", NULL, &stream, nx_after_ms(270));
    setrlimit(RLIMIT_NOFILE, &before);
    nxt_expect_eq(without, -EMFILE);
    nxt_expect_eq(with_one, -ETIMEDOUT);
    nxt_expect_eq(nxt_open_fds(), fds);
    fake_clear();
    fake_add("127.0.0.1", dead_port());
    fake_add("127.0.0.1", port);
    allow_descriptors(1);
    int in_turn = nx_connect("example.test:1", NULL, &stream, NX_FOREVER);
    setrlimit(RLIMIT_NOFILE, &before);
    nxt_require_eq(in_turn, 0);
    nx_close(stream);
    close(listener);
    fill_in(&hole);
}

NXT_TASK_TEST(a_local_address_picks_the_family)
{
    uint16_t port;
    int listener = nxt_listen(5, &port);
    nx_stream *stream = NULL;
    nx_connect_options options = {.size = sizeof(options), .local = "127.0.0.1:0"};
    fake_clear();
    fake_add("[::1]", port);
    nxt_expect_eq(nx_connect("example.test:1", &options, &stream, NX_FOREVER), -EAFNOSUPPORT);
    fake_add("127.0.0.1", port);
    nxt_require_eq(nx_connect("example.test:1", &options, &stream, NX_FOREVER), 0);
    nxt_expect(serves(stream, listener));
    nx_close(stream);
    options.local = "nonsense";
    nxt_expect_eq(nx_connect("example.test:1", &options, &stream, NX_FOREVER), -EINVAL);
    close(listener);
}

struct mover {
    nx_stream *stream;
    int listener;
};

static intptr_t use_elsewhere(void *arg)
{
    struct mover *mover = arg;
    bool good = serves(mover->stream, mover->listener);
    nx_close(mover->stream);
    return good;
}

NXT_TASK_TEST(the_winners_stream_is_used_by_any_worker, .workers = 2)
{
    uint16_t port;
    struct mover mover = {.listener = nxt_listen(5, &port)};
    fake_clear();
    fake_add("127.0.0.1", dead_port());
    fake_add("127.0.0.1", port);
    nxt_require_eq(nx_connect("example.test:1", NULL, &mover.stream, NX_FOREVER), 0);
    nxt_expect_eq(nxt_result(nxt_task_on(0, use_elsewhere, &mover)), 1);
    nxt_require_eq(nx_connect("example.test:1", NULL, &mover.stream, NX_FOREVER), 0);
    nxt_expect_eq(nxt_result(nxt_task_on(1, use_elsewhere, &mover)), 1);
    close(mover.listener);
}
