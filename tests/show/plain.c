/*
 * plain: the server one writes without nx_serve: accept in a task, a task for each connection.   plain spread|spawn
 *
 * spread: the handler starts on the least loaded worker; spawn: on its parent's, unless the scheduler steals it.
 */
#include "servers.h"

#include <errno.h>
#include <string.h>

static intptr_t handle(void *arg)
{
    nx_stream *stream = arg;
    show_echo(stream);
    nx_close(stream);
    return 0;
}

static int start(nx_stream *stream, const nx_task_options *options)
{
    nx_task task = nx_spawn_with(options, handle, stream);
    if (task < 0) {
        nx_close(stream);
        return (int)task;
    }
    return nx_detach(task);
}

static intptr_t serve(void *arg)
{
    nx_task_options options = {.size = sizeof options};
    nx_listener *listener;
    nx_stream *stream;
    nx_addr addr;
    if (strcmp(arg, "spread") == 0)
        options.flags = NX_TASK_SPREAD;
    int error = show_stoppable();
    if (!error)
        error = nx_listen("127.0.0.1:0", NULL, &listener);
    if (error) {
        fprintf(stderr, "plain: %s\n", nx_strerror(error));
        return 1;
    }
    nx_listener_addr(listener, &addr);
    show_announce(&addr, NULL);
    while ((error = nx_accept(listener, &stream, NX_FOREVER)) == 0)
        if ((error = start(stream, &options)) < 0)
            break;
    nx_listener_close(listener);
    return error != -ECANCELED;
}

int main(int argc, char **argv)
{
    if (argc != 2 || (strcmp(argv[1], "spread") != 0 && strcmp(argv[1], "spawn") != 0)) {
        fprintf(stderr, "usage: plain spread|spawn\n");
        return 2;
    }
    return nx_run(serve, argv[1]);
}
