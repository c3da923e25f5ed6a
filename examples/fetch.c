/*
 * fetch: downloads several URLs at once.   fetch [-t SECONDS] FOLDER URL...
 *
 * Each goes to FOLDER/1, FOLDER/2, ... in order; its status, size and URL are printed when it is done. After SECONDS
 * (60) what is still under way is given up. The status is 0 if all came with 200.
 *
 * libcurl has its own sockets and says what it waits for (its "multi socket" interface). One task drives it; for each
 * socket a small one waits with a one-shot watch and tells the driver by a channel. The driver waits for those, and for
 * the time that libcurl has asked for, in one nx_select; when libcurl has dealt with a socket its watch is armed again.
 */
#include <curl/curl.h>
#include <nexus/nexus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STACK_SIZE ((size_t)512 << 10) /* name lookups and TLS of libcurl's want more than a task usually has */
#define DEFAULT_SECONDS 60

struct fetch {
    CURLM *multi;
    nx_chan *ready;         /* of struct ready */
    nx_time alarm;          /* when libcurl wants to be called; NX_FOREVER: not */
    struct source *sources; /* its sockets */
    struct transfer *transfers;
    unsigned last_id;
    int failures;
};

/* A socket of libcurl's. Its number may come again, its id doesn't. */
struct source {
    struct fetch *fetch;
    struct source *next;
    nx_watch *watch;
    nx_task task;
    unsigned id, events;
    curl_socket_t fd;
};

struct ready {
    unsigned id;
    int events;
};

struct transfer {
    CURL *easy; /* NULL: done */
    FILE *file;
};

/* ---- sockets ---- */

static intptr_t wait_for_socket(void *arg)
{
    struct source *source = arg;
    struct ready ready = {.id = source->id};
    while ((ready.events = nx_watch_next(source->watch, NX_FOREVER)) > 0)
        if (nx_chan_send(source->fetch->ready, &ready, NX_FOREVER) < 0)
            break;
    return 0;
}

static unsigned wanted(int what)
{
    return (what & CURL_POLL_IN ? NX_READABLE : 0) | (what & CURL_POLL_OUT ? NX_WRITABLE : 0);
}

static struct source *add_source(struct fetch *fetch, curl_socket_t fd, int what)
{
    struct source *source = calloc(1, sizeof *source);
    if (!source)
        return NULL;
    source->fetch = fetch;
    source->id = ++fetch->last_id;
    source->fd = fd;
    source->events = wanted(what);
    if (nx_watch_open(fd, source->events, NX_WATCH_ONESHOT, &source->watch) < 0)
        goto fail_memory;
    source->task = nx_spawn(wait_for_socket, source);
    if (source->task < 0)
        goto fail_watch;
    source->next = fetch->sources;
    fetch->sources = source;
    return source;
fail_watch:
    nx_watch_close(source->watch);
fail_memory:
    free(source);
    return NULL;
}

static void remove_source(struct fetch *fetch, struct source *source)
{
    struct source **at = &fetch->sources;
    while (*at != source)
        at = &(*at)->next;
    *at = source->next;
    nx_cancel(source->task);
    nx_join(source->task, NULL, NX_FOREVER); /* then nobody uses the watch */
    nx_watch_close(source->watch);
    free(source);
}

static struct source *find_source(const struct fetch *fetch, unsigned id)
{
    struct source *source = fetch->sources;
    while (source && source->id != id)
        source = source->next;
    return source;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
    struct fetch *fetch = arg;
    struct source *source = known;
    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (source)
            remove_source(fetch, source);
        return 0;
    }
    if (source) {
        source->events = wanted(what);
        return nx_watch_set(source->watch, source->events);
    }
    source = add_source(fetch, fd, what);
    return source ? (int)curl_multi_assign(fetch->multi, fd, source) : -1;
}

static int on_timer(CURLM *multi, long ms, void *arg)
{
    struct fetch *fetch = arg;
    (void)multi;
    fetch->alarm = ms < 0 ? NX_FOREVER : nx_after_ms(ms);
    return 0;
}

/* ---- transfers ---- */

static int add_transfer(struct fetch *fetch, const char *folder, int number, const char *url)
{
    struct transfer *transfer = &fetch->transfers[number - 1];
    char path[4096];
    snprintf(path, sizeof path, "%s/%d", folder, number);
    transfer->file = fopen(path, "w");
    if (!transfer->file) {
        perror(path);
        return -1;
    }
    transfer->easy = curl_easy_init();
    curl_easy_setopt(transfer->easy, CURLOPT_URL, url);
    curl_easy_setopt(transfer->easy, CURLOPT_PRIVATE, transfer);
    curl_easy_setopt(transfer->easy, CURLOPT_WRITEDATA, transfer->file);
    curl_easy_setopt(transfer->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(transfer->easy, CURLOPT_FOLLOWLOCATION, 1L);
    curl_multi_add_handle(fetch->multi, transfer->easy);
    return 0;
}

static void end_transfer(struct fetch *fetch, struct transfer *transfer, const char *why)
{
    long status = 0;
    curl_off_t size = 0;
    const char *url = "";
    curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(transfer->easy, CURLINFO_SIZE_DOWNLOAD_T, &size);
    curl_easy_getinfo(transfer->easy, CURLINFO_EFFECTIVE_URL, &url);
    if (fclose(transfer->file) != 0 && !why)
        why = "not written";
    printf("%ld %lld %s%s%s\n", status, (long long)size, url, why ? ": " : "", why ? why : "");
    fetch->failures += why || status != 200;
    curl_multi_remove_handle(fetch->multi, transfer->easy);
    curl_easy_cleanup(transfer->easy);
    transfer->easy = NULL;
}

static void end_finished(struct fetch *fetch)
{
    CURLMsg *message;
    int left;
    while ((message = curl_multi_info_read(fetch->multi, &left))) {
        struct transfer *transfer;
        if (message->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        end_transfer(fetch, transfer, message->data.result ? curl_easy_strerror(message->data.result) : NULL);
    }
}

/* ---- the driver ---- */

static int act(struct fetch *fetch, const struct ready *ready)
{
    struct source *source = find_source(fetch, ready->id);
    int running = 1;
    if (!source) /* told just before it was removed */
        return running;
    curl_multi_socket_action(fetch->multi, source->fd,
                             (ready->events & NX_READABLE ? CURL_CSELECT_IN : 0) |
                                 (ready->events & NX_WRITABLE ? CURL_CSELECT_OUT : 0),
                             &running);
    source = find_source(fetch, ready->id);
    if (source)
        nx_watch_set(source->watch, source->events);
    return running;
}

static void drive(struct fetch *fetch, nx_time deadline)
{
    struct ready ready;
    int running = 1;
    curl_multi_socket_action(fetch->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    while (running > 0) {
        switch (nx_select(deadline, NX_CASE_TIMER(fetch->alarm), NX_CASE_RECV(fetch->ready, &ready))) {
        case 0:
            fetch->alarm = NX_FOREVER;
            curl_multi_socket_action(fetch->multi, CURL_SOCKET_TIMEOUT, 0, &running);
            break;
        case 1:
            running = act(fetch, &ready);
            break;
        default: /* too late */
            return;
        }
        end_finished(fetch);
    }
    end_finished(fetch);
}

static int run(struct fetch *fetch, const char *folder, char **urls, nx_time deadline)
{
    int count = 0;
    curl_multi_setopt(fetch->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(fetch->multi, CURLMOPT_SOCKETDATA, fetch);
    curl_multi_setopt(fetch->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(fetch->multi, CURLMOPT_TIMERDATA, fetch);
    for (; urls[count]; count++)
        if (add_transfer(fetch, folder, count + 1, urls[count]) < 0)
            fetch->failures++;
    drive(fetch, deadline);
    for (int i = 0; i < count; i++)
        if (fetch->transfers[i].easy)
            end_transfer(fetch, &fetch->transfers[i], "given up");
    curl_multi_cleanup(fetch->multi);
    return fetch->failures > 0;
}

static intptr_t fetch_all(void *arg)
{
    char **args = (char **)arg + 1;
    int seconds = DEFAULT_SECONDS;
    size_t count = 0;
    if (args[0] && args[1] && strcmp(args[0], "-t") == 0) {
        seconds = atoi(args[1]);
        args += 2;
    }
    if (!args[0] || !args[1]) {
        fprintf(stderr, "usage: fetch [-t SECONDS] FOLDER URL...\n");
        return 2;
    }
    while (args[count + 1])
        count++;
    struct fetch fetch = {
        .multi = curl_multi_init(), .alarm = NX_FOREVER, .transfers = calloc(count, sizeof *fetch.transfers)};
    int result = 1;
    if (fetch.multi && fetch.transfers && nx_chan_create(sizeof(struct ready), NX_UNBOUNDED, &fetch.ready) == 0)
        result = run(&fetch, args[0], args + 1, nx_after_ms(1000LL * seconds));
    nx_chan_destroy(fetch.ready);
    free(fetch.transfers);
    return result;
}

static intptr_t with_a_large_stack(void *args)
{
    intptr_t result = 1;
    nx_task task =
        nx_spawn_with(&(nx_task_options){.size = sizeof(nx_task_options), .stack_size = STACK_SIZE}, fetch_all, args);
    if (task < 0 || nx_join(task, &result, NX_FOREVER) < 0)
        return 1;
    return result;
}

int main(int argc, char **argv)
{
    (void)argc;
    curl_global_init(CURL_GLOBAL_DEFAULT);
    int result = nx_run(with_a_large_stack, argv);
    curl_global_cleanup();
    return result;
}
