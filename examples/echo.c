/*
 * echo: sends back what it is sent.   echo [ADDRESS [DRAIN_MS]]
 *
 * SIGINT or SIGTERM ends accepting and gives the open connections DRAIN_MS (10 s) to finish; a second one ends at once.
 * NEXUS_BACKEND and NEXUS_SCHED choose what it runs on.
 */
#include <nexus/nexus.h>
#include <stdio.h>
#include <stdlib.h>

static intptr_t echo(nx_stream *stream, void *arg)
{
    (void)arg;
    char buf[4096];
    ssize_t n;
    while ((n = nx_read(stream, buf, sizeof buf, NX_FOREVER)) > 0 && nx_write(stream, buf, n, NX_FOREVER) == n)
        ;
    return 0;
}

static void announce(const nx_addr *addr, void *arg)
{
    (void)arg;
    char text[128];
    nx_addr_format(addr, text, sizeof text);
    printf("echo: listening on %s\n", text);
    fflush(stdout);
}

static intptr_t serve(void *arg)
{
    char **args = arg;
    const char *addr = args[1] ? args[1] : "127.0.0.1:7777";
    nx_serve_options options = {.size = sizeof options, .on_listen = announce};
    if (args[1] && args[2])
        options.drain_ns = atoll(args[2]) * 1000000;
    int cut = nx_serve(addr, &options, echo, NULL, NX_FOREVER);
    if (cut < 0)
        fprintf(stderr, "echo: %s: %s\n", addr, nx_strerror(cut));
    return cut < 0;
}

static intptr_t start(void *args)
{
    intptr_t result = 1;
    nx_until_signal(NULL, serve, args, &result);
    return result;
}

int main(int argc, char **argv)
{
    (void)argc;
    return nx_run(start, argv);
}
