/*
 * kv: a key-value server that speaks the Redis protocol.   kv [ADDRESS]
 *
 * PING, ECHO, GET, SET [EX s | PX ms], DEL, EXISTS, INCR, EXPIRE, TTL, DBSIZE; pipelined requests are answered in one
 * write. Requests are parsed by hiredis, keys live in uthash tables, each under its own nx_mutex, so that workers
 * seldom meet.
 */
#include <hiredis/hiredis.h>
#include <inttypes.h>
#include <nexus/nexus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uthash.h>

#define SHARDS 64u
#define OUT_MAX (64u << 10) /* answers gathered before they are written */

struct entry {
    UT_hash_handle hh;
    nx_time expires; /* or NX_FOREVER */
    char *value;
    size_t value_len;
    size_t key_len;
    char key[];
};

static struct shard {
    nx_mutex mutex;
    struct entry *table;
} shards[SHARDS]; /* all zeros is NX_MUTEX_INIT */

/* A connection, and its answers that are still to be written. Those are gathered in memory: nobody parks while he has a
 * shard, or a client that does not read would stop the others. */
struct client {
    nx_stream *stream;
    redisReader *reader;
    char *out;
    size_t used, room;
    bool failed; /* out of memory, or cancelled: the connection ends */
};

/* ---- the store ---- */

static struct shard *shard_of(const redisReply *key)
{
    uint32_t hash = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < key->len; i++)
        hash = (hash ^ (unsigned char)key->str[i]) * 16777619u;
    return &shards[hash % SHARDS];
}

static void drop(struct shard *shard, struct entry *entry)
{
    HASH_DEL(shard->table, entry);
    free(entry->value);
    free(entry);
}

static struct entry *find(struct shard *shard, const redisReply *key)
{
    struct entry *entry;
    HASH_FIND(hh, shard->table, key->str, key->len, entry);
    if (entry && entry->expires <= nx_now()) {
        drop(shard, entry);
        entry = NULL;
    }
    return entry;
}

/* The entry with this value; NULL: out of memory, nothing changed. */
static struct entry *put(struct shard *shard, const redisReply *key, const char *value, size_t len)
{
    struct entry *entry = find(shard, key);
    char *copy = malloc(len + 1);
    if (!copy)
        return NULL;
    memcpy(copy, value, len);
    copy[len] = 0;
    if (!entry) {
        entry = calloc(1, sizeof *entry + key->len);
        if (!entry) {
            free(copy);
            return NULL;
        }
        entry->key_len = key->len;
        memcpy(entry->key, key->str, key->len);
        HASH_ADD_KEYPTR(hh, shard->table, entry->key, entry->key_len, entry);
    }
    free(entry->value);
    entry->value = copy;
    entry->value_len = len;
    entry->expires = NX_FOREVER;
    return entry;
}

/* Expired keys that nobody asks for go too: a table is looked through every 100 ms. */
static intptr_t sweep(void *arg)
{
    (void)arg;
    for (unsigned i = 0; nx_sleep_ms(100) == 0; i = (i + 1) % SHARDS) { /* ends with the program, by a cancel */
        struct shard *shard = &shards[i];
        struct entry *entry, *next;
        if (nx_mutex_lock(&shard->mutex, NX_FOREVER) < 0)
            break;
        HASH_ITER(hh, shard->table, entry, next)
        if (entry->expires <= nx_now())
            drop(shard, entry);
        nx_mutex_unlock(&shard->mutex);
    }
    return 0;
}

/* ---- answers ---- */

static void say_bytes(struct client *c, const char *data, size_t len)
{
    if (c->used + len > c->room) {
        size_t room = (c->used + len) * 2 + 4096;
        char *out = realloc(c->out, room);
        if (!out) {
            c->failed = true;
            return;
        }
        c->out = out;
        c->room = room;
    }
    memcpy(c->out + c->used, data, len);
    c->used += len;
}

static void say(struct client *c, const char *text)
{
    say_bytes(c, text, strlen(text));
}

static void say_number(struct client *c, int64_t number)
{
    char text[32];
    say_bytes(c, text, (size_t)snprintf(text, sizeof text, ":%" PRId64 "\r\n", number));
}

static void say_error(struct client *c, const char *what, const char *name)
{
    char text[160];
    say_bytes(c, text, (size_t)snprintf(text, sizeof text, "-ERR %s '%.64s'\r\n", what, name));
}

static void say_bulk(struct client *c, const char *data, size_t len)
{
    char text[32];
    say_bytes(c, text, (size_t)snprintf(text, sizeof text, "$%zu\r\n", len));
    say_bytes(c, data, len);
    say(c, "\r\n");
}

static bool flush(struct client *c)
{
    bool good = !c->failed && nx_write(c->stream, c->out, c->used, NX_FOREVER) == (ssize_t)c->used;
    c->used = 0;
    return good;
}

/* A cancelled task gets no lock. */
static bool lock(struct client *c, struct shard *shard)
{
    if (nx_mutex_lock(&shard->mutex, NX_FOREVER) < 0)
        c->failed = true;
    return !c->failed;
}

static bool to_number(const char *text, size_t len, int64_t *ret_number)
{
    char copy[32], *end;
    if (len == 0 || len >= sizeof copy)
        return false;
    memcpy(copy, text, len);
    copy[len] = 0;
    errno = 0;
    *ret_number = strtoll(copy, &end, 10);
    return *end == 0 && errno == 0;
}

static void do_ping(struct client *c, redisReply **args, size_t count)
{
    if (count > 1)
        say_bulk(c, args[1]->str, args[1]->len);
    else
        say(c, "+PONG\r\n");
}

static void do_echo(struct client *c, redisReply **args, size_t count)
{
    (void)count;
    say_bulk(c, args[1]->str, args[1]->len);
}

/* Each of the following runs with the key's shard locked. */

static void do_get(struct client *c, struct shard *shard, redisReply **args, size_t count)
{
    (void)count;
    struct entry *entry = find(shard, args[1]);
    if (entry)
        say_bulk(c, entry->value, entry->value_len);
    else
        say(c, "$-1\r\n");
}

static void do_set(struct client *c, struct shard *shard, redisReply **args, size_t count)
{
    int64_t amount = 0, unit = 0;
    if (count == 5)
        unit = strcasecmp(args[3]->str, "EX") == 0 ? 1000 : strcasecmp(args[3]->str, "PX") == 0 ? 1 : 0;
    if ((count != 3 && count != 5) || (count == 5 && !unit)) {
        say(c, "-ERR syntax error\r\n");
        return;
    }
    if (count == 5 && (!to_number(args[4]->str, args[4]->len, &amount) || amount <= 0 || amount > INT64_MAX / 1000)) {
        say(c, "-ERR invalid expire time in 'set' command\r\n");
        return;
    }
    struct entry *entry = put(shard, args[1], args[2]->str, args[2]->len);
    if (entry && count == 5)
        entry->expires = nx_after_ms(amount * unit);
    say(c, entry ? "+OK\r\n" : "-OOM out of memory\r\n");
}

static void do_incr(struct client *c, struct shard *shard, redisReply **args, size_t count)
{
    (void)count;
    struct entry *entry = find(shard, args[1]);
    nx_time expires = entry ? entry->expires : NX_FOREVER;
    int64_t number = 0;
    char text[32];
    if (entry && (!to_number(entry->value, entry->value_len, &number) || number == INT64_MAX)) {
        say(c, "-ERR value is not an integer or out of range\r\n");
        return;
    }
    int len = snprintf(text, sizeof text, "%" PRId64, number + 1);
    entry = put(shard, args[1], text, (size_t)len);
    if (!entry) {
        say(c, "-OOM out of memory\r\n");
        return;
    }
    entry->expires = expires;
    say_number(c, number + 1);
}

static void do_expire(struct client *c, struct shard *shard, redisReply **args, size_t count)
{
    (void)count;
    struct entry *entry = find(shard, args[1]);
    int64_t seconds;
    if (!to_number(args[2]->str, args[2]->len, &seconds) || seconds > INT64_MAX / 1000 || seconds < -INT64_MAX / 1000) {
        say(c, "-ERR value is not an integer or out of range\r\n");
        return;
    }
    if (entry)
        entry->expires = nx_after_ms(seconds * 1000);
    say_number(c, entry != NULL);
}

static void do_ttl(struct client *c, struct shard *shard, redisReply **args, size_t count)
{
    (void)count;
    struct entry *entry = find(shard, args[1]);
    if (!entry || entry->expires == NX_FOREVER)
        say_number(c, entry ? -1 : -2);
    else
        say_number(c, (entry->expires - nx_now() + 500000000) / 1000000000);
}

/* ---- commands ---- */

static void each_key(struct client *c, redisReply **args, size_t count, bool delete)
{
    int64_t found = 0;
    for (size_t i = 1; i < count; i++) {
        struct shard *shard = shard_of(args[i]);
        if (!lock(c, shard))
            return;
        struct entry *entry = find(shard, args[i]);
        found += entry != NULL;
        if (entry && delete)
            drop(shard, entry);
        nx_mutex_unlock(&shard->mutex);
    }
    say_number(c, found);
}

static void do_del(struct client *c, redisReply **args, size_t count)
{
    each_key(c, args, count, true);
}

static void do_exists(struct client *c, redisReply **args, size_t count)
{
    each_key(c, args, count, false);
}

static void do_dbsize(struct client *c, redisReply **args, size_t count)
{
    (void)args;
    (void)count;
    int64_t sum = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        if (!lock(c, &shards[i]))
            return;
        sum += HASH_COUNT(shards[i].table);
        nx_mutex_unlock(&shards[i].mutex);
    }
    say_number(c, sum);
}

static const struct command {
    const char *name;
    size_t least, most; /* words */
    void (*plain)(struct client *c, redisReply **args, size_t count);
    void (*keyed)(struct client *c, struct shard *shard, redisReply **args, size_t count);
} commands[] = {
    {"GET", 2, 2, NULL, do_get},
    {"SET", 3, 5, NULL, do_set},
    {"INCR", 2, 2, NULL, do_incr},
    {"EXPIRE", 3, 3, NULL, do_expire},
    {"TTL", 2, 2, NULL, do_ttl},
    {"DEL", 2, SIZE_MAX, do_del, NULL},
    {"EXISTS", 2, SIZE_MAX, do_exists, NULL},
    {"PING", 1, 2, do_ping, NULL},
    {"ECHO", 2, 2, do_echo, NULL},
    {"DBSIZE", 1, 1, do_dbsize, NULL},
};

static bool is_request(const redisReply *request)
{
    if (request->type != REDIS_REPLY_ARRAY || request->elements == 0)
        return false;
    for (size_t i = 0; i < request->elements; i++)
        if (request->element[i]->type != REDIS_REPLY_STRING)
            return false;
    return true;
}

static void run(struct client *c, const struct command *command, redisReply **args, size_t count)
{
    if (command->plain) {
        command->plain(c, args, count);
        return;
    }
    struct shard *shard = shard_of(args[1]);
    if (!lock(c, shard))
        return;
    command->keyed(c, shard, args, count);
    nx_mutex_unlock(&shard->mutex);
}

static void answer(struct client *c, redisReply *request)
{
    redisReply **args = request->element;
    size_t count = request->elements;
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcasecmp(args[0]->str, commands[i].name) != 0)
            continue;
        if (count < commands[i].least || count > commands[i].most)
            say_error(c, "wrong number of arguments for", commands[i].name);
        else
            run(c, &commands[i], args, count);
        return;
    }
    say_error(c, "unknown command", args[0]->str);
}

/* Answers all whole requests that have come. False: the connection has to end. */
static bool answer_all(struct client *c)
{
    void *request = NULL;
    while (redisReaderGetReply(c->reader, &request) == REDIS_OK) {
        if (!request)
            return flush(c);
        bool good = is_request(request);
        if (good)
            answer(c, request);
        freeReplyObject(request);
        if (!good)
            break;
        if (c->failed || (c->used > OUT_MAX && !flush(c)))
            return false;
    }
    say(c, "-ERR Protocol error: expected an array of bulk strings\r\n");
    flush(c);
    return false;
}

static intptr_t serve_client(nx_stream *stream, void *arg)
{
    (void)arg;
    struct client c = {.stream = stream, .reader = redisReaderCreate()};
    bool open = c.reader != NULL;
    nx_loan loan;
    while (open && nx_read_loan(stream, &loan, NX_FOREVER) > 0) {
        open = redisReaderFeed(c.reader, loan.data, loan.len) == REDIS_OK;
        nx_loan_return(&loan);
        open = open && answer_all(&c);
    }
    if (c.reader)
        redisReaderFree(c.reader);
    free(c.out);
    return 0;
}

static void announce(const nx_addr *addr, void *arg)
{
    (void)arg;
    char text[128];
    nx_addr_format(addr, text, sizeof text);
    printf("kv: listening on %s\n", text);
    fflush(stdout);
}

static intptr_t serve(void *addr)
{
    nx_task sweeper = nx_spawn(sweep, NULL);
    nx_serve_options options = {.size = sizeof options, .on_listen = announce, .drain_ns = 1000000000};
    int cut = nx_serve(addr, &options, serve_client, NULL, NX_FOREVER);
    if (cut < 0 && cut != -ECANCELED)
        fprintf(stderr, "kv: %s: %s\n", (char *)addr, nx_strerror(cut));
    nx_shield(NX_FOREVER);
    if (sweeper > 0) {
        nx_cancel(sweeper);
        nx_join(sweeper, NULL, NX_FOREVER);
    }
    return cut < 0;
}

static intptr_t start(void *arg)
{
    char **args = arg;
    intptr_t result = 1;
    nx_until_signal(NULL, serve, args[1] ? args[1] : "127.0.0.1:6380", &result);
    return result;
}

int main(int argc, char **argv)
{
    (void)argc;
    return nx_run(start, argv);
}
