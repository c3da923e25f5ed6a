/* service_proxy.c: examples/proxy.c, without its main and its signals. */
int proxy_main(int argc, char **argv);
#define main proxy_main
#include "../../examples/proxy.c"
#undef main
#include "services.h"

intptr_t nxt_serve_proxy(void *arg)
{
    struct nxt_proxy *given = arg;
    struct proxy proxy = {.listen = given->listen, .upstream = given->upstream};
    nx_pool_options options = {.size = sizeof options, .max_total = given->max_total, .max_idle = 32};
    nxt_require_eq(nx_pool_create(&options, &proxy.pool), 0, 1);
    intptr_t result = serve(&proxy);
    nx_shield(NX_FOREVER);
    given->stats.size = sizeof given->stats;
    nxt_expect_eq(nx_pool_stats(proxy.pool, &given->stats), 0);
    nx_pool_destroy(proxy.pool);
    return result;
}
