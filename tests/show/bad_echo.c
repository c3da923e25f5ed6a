/*
 * bad_echo: an echo server with a fault, to prove that the load generator sees it.   bad_echo flip|drop|add|swap|end
 *
 * After 100,000 bytes a connection has one bit flipped, a byte left out, a byte added, two bytes swapped, or is closed.
 */
#include "servers.h"

#include <string.h>

#define GOOD_BYTES 100000

static intptr_t on_conn(nx_stream *stream, void *arg)
{
    const char *fault = arg;
    char buf[4096 + 1];
    ssize_t n;
    for (long good = 0; (n = nx_read(stream, buf, sizeof buf - 1, NX_FOREVER)) > 0; good += n) {
        if (good <= GOOD_BYTES && good + n > GOOD_BYTES) {
            if (strcmp(fault, "end") == 0)
                break;
            if (strcmp(fault, "flip") == 0)
                buf[n / 2] ^= 0x10;
            if (strcmp(fault, "drop") == 0)
                n--;
            if (strcmp(fault, "add") == 0)
                buf[n++] = 0;
            for (ssize_t i = 1; strcmp(fault, "swap") == 0 && i < n; i++) {
                if (buf[i - 1] == buf[i])
                    continue;
                char kept = buf[i];
                buf[i] = buf[i - 1];
                buf[i - 1] = kept;
                break;
            }
        }
        if (nx_write(stream, buf, (size_t)n, NX_FOREVER) != n)
            break;
    }
    return 0;
}

static intptr_t serve(void *arg)
{
    nx_serve_options options = {.size = sizeof options, .on_listen = show_announce, .drain_ns = -1};
    if (show_stoppable() < 0)
        return 1;
    return nx_serve("127.0.0.1:0", &options, on_conn, arg, NX_FOREVER) < 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: bad_echo flip|drop|add|swap|end\n");
        return 2;
    }
    return nx_run(serve, argv[1]);
}
