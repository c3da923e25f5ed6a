/* service_http.c: examples/http.c, without its main and its signals. */
int http_main(int argc, char **argv);
#define main http_main
#include "../../examples/http.c"
#undef main
#include "services.h"

void nxt_http_begin(const char *from)
{
    folder = from;
    draining = (nx_event)NX_EVENT_INIT;
}

intptr_t nxt_serve_http(void *addr)
{
    return serve(addr);
}
