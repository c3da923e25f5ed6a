/* balance: an echo server by nx_serve that says at its end how many connections each of its threads has served. */
#define _GNU_SOURCE
#include "servers.h"

#include <pthread.h>
#include <unistd.h>

#define THREADS_MAX 64

static struct {
    pthread_mutex_t lock;
    unsigned count;
    struct {
        pid_t tid;
        unsigned connections;
    } threads[THREADS_MAX];
} served = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void count_connection(pid_t tid)
{
    unsigned i = 0;
    pthread_mutex_lock(&served.lock);
    while (i < served.count && served.threads[i].tid != tid)
        i++;
    if (i == served.count && i < THREADS_MAX)
        served.threads[served.count++].tid = tid;
    if (i < THREADS_MAX)
        served.threads[i].connections++;
    pthread_mutex_unlock(&served.lock);
}

static intptr_t on_conn(nx_stream *stream, void *arg)
{
    (void)arg;
    count_connection(gettid());
    return show_echo(stream);
}

static intptr_t serve(void *arg)
{
    nx_serve_options options = {.size = sizeof options, .on_listen = show_announce, .drain_ns = 1000000000};
    (void)arg;
    if (show_stoppable() < 0)
        return 1;
    int cut = nx_serve("127.0.0.1:0", &options, on_conn, NULL, NX_FOREVER);
    if (cut < 0)
        fprintf(stderr, "balance: %s\n", nx_strerror(cut));
    for (unsigned i = 0; i < served.count; i++)
        printf("%d %u\n", (int)served.threads[i].tid, served.threads[i].connections);
    return cut != 0;
}

int main(void)
{
    return nx_run(serve, NULL);
}
