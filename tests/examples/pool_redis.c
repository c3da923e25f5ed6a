/*
 * pool_redis ADDRESS: nx_pool against a real redis-server: many tasks, connections that the server drops, a server that
 * is started again. Before the restart it says "restart" and waits for a line. Status 0, or 1 and what was wrong.
 */
#include <nexus/nexus.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TASKS 48
#define CONNECTIONS 8
#define ROUNDS 40

static const char *address;
static nx_pool *pool;
static _Atomic int failures, broken;

static bool check(bool holds, const char *what, int64_t value)
{
    if (!holds) {
        atomic_fetch_add(&failures, 1);
        fprintf(stderr, "pool_redis: %s (%lld: %s)\n", what, (long long)value,
                value < 0 ? nx_strerror((int)value) : "");
    }
    return holds;
}

/* ---- the protocol ---- */

/* Sends words; the reply's first line without its end, and the text that follows a '$'. 0 or -errno. */
static int command(nx_stream *stream, char *ret_line, char *ret_text, size_t size, const char *const *words)
{
    char buffer[1024];
    nx_writer writer;
    nx_time deadline = nx_after_ms(20000);
    int count = 0, error = nx_writer_init(&writer, stream, buffer, sizeof(buffer));
    while (words[count])
        count++;
    if (error == 0)
        error = (int)nx_writer_printf(&writer, deadline, "*%d\r\n", count);
    for (int i = 0; i < count && error >= 0; i++)
        error = (int)nx_writer_printf(&writer, deadline, "$%zu\r\n%s\r\n", strlen(words[i]), words[i]);
    if (error >= 0)
        error = nx_writer_flush(&writer, deadline);
    ssize_t got = error < 0 ? error : nx_read_until(stream, ret_line, 128, "\r\n", deadline);
    if (got < 2)
        return got < 0 ? (int)got : -EPIPE;
    ret_line[got - 2] = 0;
    if (ret_line[0] != '$')
        return 0;
    size_t len = (size_t)atol(ret_line + 1);
    if (len + 2 > size)
        return -EMSGSIZE;
    got = nx_read_exact(stream, ret_text, len + 2, deadline);
    if (got != (ssize_t)len + 2)
        return got < 0 ? (int)got : -EPIPE;
    ret_text[len] = 0;
    return 0;
}
#define COMMAND(stream, line, text, ...)                                                                               \
    command(stream, line, text, sizeof(text), (const char *const[]){__VA_ARGS__, NULL})

/* ---- the server's side, on a connection of its own ---- */

static int clients_of(nx_stream *admin)
{
    static char list[65536];
    char line[128];
    int count = 0;
    if (COMMAND(admin, line, list, "CLIENT", "LIST") < 0)
        return -1;
    for (const char *next = list; (next = strchr(next, '\n')); next++)
        count++;
    return count;
}

/* The server drops all connections but this one, and has done so when this returns. */
static void drop_all(nx_stream *admin)
{
    char line[128] = "", text[16];
    int error = COMMAND(admin, line, text, "CLIENT", "KILL", "TYPE", "normal");
    check(error == 0 && line[0] == ':', "CLIENT KILL", error);
    nx_time until = nx_after_ms(20000);
    while (clients_of(admin) > 1 && nx_now() < until)
        nx_sleep_ms(1);
    check(clients_of(admin) == 1, "the server has dropped its connections", 0);
}

/* ---- users of the pool ---- */

struct user {
    int number, rounds;
    bool may_break; /* somebody drops connections meanwhile */
    int64_t counted, in_doubt;
};

/* One use of a connection: 0 or -errno. */
static int use(nx_stream *stream, struct user *user, int round)
{
    char line[128], text[256] = "", key[32], value[32], counter[32];
    snprintf(key, sizeof(key), "key:%d:%d", user->number, round);
    snprintf(value, sizeof(value), "value %d of %d", round, user->number);
    snprintf(counter, sizeof(counter), "counter:%d", user->number);
    int error = COMMAND(stream, line, text, "SET", key, value);
    if (error == 0 && check(strcmp(line, "+OK") == 0, "SET is answered with OK", 0))
        error = COMMAND(stream, line, text, "GET", key);
    if (error < 0)
        return error;
    check(strcmp(text, value) == 0, "GET gives what SET has set: replies go to who asked", 0);
    user->in_doubt++;
    error = COMMAND(stream, line, text, "INCR", counter);
    if (error == 0) {
        user->in_doubt--;
        user->counted++;
        check(line[0] == ':', "INCR is answered with a number", 0);
    }
    return error;
}

static intptr_t run_user(void *arg)
{
    struct user *user = arg;
    for (int i = 0; i < user->rounds; i++) {
        nx_stream *stream;
        int error = nx_pool_get(pool, address, &stream, nx_after_ms(20000));
        if (!check(error == 0, "nx_pool_get", error))
            return 0;
        error = use(stream, user, i);
        nx_pool_put(pool, stream, error == 0);
        if (error < 0 && user->may_break)
            atomic_fetch_add(&broken, 1);
        else
            check(error == 0, "a connection from the pool was dead", error);
    }
    return 0;
}

static void run_users(bool may_break, nx_stream *admin)
{
    struct user users[TASKS];
    nx_task tasks[TASKS];
    char line[128], text[64];
    check(COMMAND(admin, line, text, "FLUSHALL") == 0, "FLUSHALL", 0);
    for (int i = 0; i < TASKS; i++) {
        users[i] = (struct user){.number = i, .rounds = ROUNDS, .may_break = may_break};
        nx_task_options options = {.size = sizeof(options), .flags = NX_TASK_SPREAD};
        tasks[i] = nx_spawn_with(&options, run_user, &users[i]);
    }
    for (int i = 0; may_break && i < 20; i++) {
        COMMAND(admin, line, text, "CLIENT", "KILL", "TYPE", "normal");
        nx_sleep_ms(2);
    }
    for (int i = 0; i < TASKS; i++) {
        char counter[32] = "", name[32];
        check(nx_join(tasks[i], NULL, NX_FOREVER) == 0, "join", 0);
        snprintf(name, sizeof(name), "counter:%d", i);
        check(COMMAND(admin, line, counter, "GET", name) == 0, "GET", 0);
        int64_t there = atoll(counter);
        check(there >= users[i].counted && there <= users[i].counted + users[i].in_doubt, "the server has counted",
              there - users[i].counted);
    }
    check(clients_of(admin) <= CONNECTIONS + 1, "no more connections than the limit", clients_of(admin));
}

static struct nx_pool_stats stats(void)
{
    struct nx_pool_stats stats = {.size = sizeof(stats)};
    nx_pool_stats(pool, &stats);
    return stats;
}

static nx_stream *connect_admin(void)
{
    nx_stream *admin = NULL;
    nx_time until = nx_after_ms(20000);
    int error;
    while ((error = nx_connect(address, NULL, &admin, until)) < 0 && nx_now() < until)
        nx_sleep_ms(10); /* it is just being started */
    check(error == 0, "the server can be reached", error);
    return admin;
}

static bool ping(nx_stream *stream, void *arg)
{
    char line[128], text[16];
    atomic_fetch_add((_Atomic int *)arg, 1);
    return COMMAND(stream, line, text, "PING") == 0 && strcmp(line, "+PONG") == 0;
}

static void wait_for_restart(void)
{
    char byte;
    puts("restart");
    fflush(stdout);
    do {
        check(nx_fd_wait(STDIN_FILENO, NX_READABLE, nx_after_ms(60000)) > 0, "the server is started again", 0);
    } while (read(STDIN_FILENO, &byte, 1) == 1 && byte != '\n');
}

static intptr_t run(void *arg)
{
    _Atomic int pings = 0;
    nx_pool_options options = {.size = sizeof(options), .max_idle = CONNECTIONS, .max_total = CONNECTIONS};
    nx_stream *admin = connect_admin();
    (void)arg;
    if (!admin || nx_pool_create(&options, &pool) < 0)
        return 1;
    run_users(false, admin);
    check(stats().opened <= CONNECTIONS && stats().reused > 0, "connections were used again", (int64_t)stats().opened);
    uint32_t idle = stats().idle;
    drop_all(admin);
    run_users(false, admin);
    check(stats().dropped == idle, "each of those the server dropped was found", (int64_t)stats().dropped);
    run_users(true, admin);
    printf("broken in use %d, opened %llu, reused %llu, dropped %llu\n", atomic_load(&broken),
           (unsigned long long)stats().opened, (unsigned long long)stats().reused, (unsigned long long)stats().dropped);
    nx_close(admin);
    wait_for_restart();
    admin = connect_admin();
    if (!admin)
        return 1;
    run_users(false, admin); /* none of the old server's was handed out */
    nx_pool_destroy(pool);

    options.healthy = ping;
    options.arg = &pings;
    options.idle_timeout_ns = 5000000;
    if (nx_pool_create(&options, &pool) < 0)
        return 1;
    run_users(false, admin);
    check(atomic_load(&pings) > 0, "the health check was asked", 0);
    while (stats().idle > 0)
        nx_sleep_ms(1);
    nx_time until = nx_after_ms(20000);
    while (clients_of(admin) > 1 && nx_now() < until)
        nx_sleep_ms(1);
    check(clients_of(admin) == 1, "idle connections time out", clients_of(admin));
    nx_pool_destroy(pool);
    nx_close(admin);
    return atomic_load(&failures) > 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: pool_redis ADDRESS\n");
        return 2;
    }
    address = argv[1];
    return nx_run(run, NULL);
}
