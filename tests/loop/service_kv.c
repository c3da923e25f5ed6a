/* service_kv.c: examples/kv.c, without its main and its signals. */
int kv_main(int argc, char **argv);
#define main kv_main
#include "../../examples/kv.c"
#undef main
#include "services.h"

intptr_t nxt_serve_kv(void *addr)
{
    return serve(addr);
}
