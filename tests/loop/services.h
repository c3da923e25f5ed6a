/*
 * services.h: what the examples serve, as functions for a test's tasks. Each service_*.c is an example's source under
 * other names, so that a program can have several, and its own main.
 */
#ifndef NXT_SERVICES_H
#define NXT_SERVICES_H

#include "nxt_net.h"

/* Until cancelled; arg: the address, but for the proxy. 0 if it could listen. */
intptr_t nxt_serve_kv(void *addr);
intptr_t nxt_serve_http(void *addr);
void nxt_http_begin(const char *folder); /* before it is served */

struct nxt_proxy {
    const char *listen, *upstream;
    uint32_t max_total;
    struct nx_pool_stats stats; /* at the end */
};
intptr_t nxt_serve_proxy(void *proxy);

/* Connects as soon as somebody listens. NULL after recording why. */
static inline nx_stream *nxt_reach(const char *addr)
{
    nx_stream *stream = NULL;
    int error;
    while ((error = nx_connect(addr, NULL, &stream, NX_FOREVER)) == -ECONNREFUSED)
        nx_sleep_ms(1);
    nxt_expect_eq(error, 0);
    return stream;
}

#endif
