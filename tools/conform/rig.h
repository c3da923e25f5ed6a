/*
 * conform/rig.h: a driver instance, its contexts, and the operations in flight. Both ends of every connection live in
 * the one instance, so that a driver whose network is its own memory can be tested like one with a kernel.
 *
 * One thread plays all workers, which law 4 allows as long as it is the one that opened the contexts. With one context
 * it sleeps as the core does, by arm and wait; with more it only polls, as a wait could wait for its own thread.
 */
#ifndef NEXUS_CONFORM_RIG_H
#define NEXUS_CONFORM_RIG_H

#include "conform.h"

#define MS INT64_C(1000000)
#define PATIENCE (4000 * MS) /* until a completion that doesn't come is missing */
#define QUIET (10 * MS)      /* for which nothing may come */
#define DRIVER_ID 7u
#define CONTEXTS_MAX 4u
#define FLIGHTS_MAX 8192u
#define REPORTS_MAX 64u /* with MORE, kept until they are read */

/* An operation and what has become of it. */
struct flight {
    struct nx_op *op;
    struct window *window; /* the op's, if it is watched */
    uint32_t context;
    bool watched_buffer;
    struct window *buffer;    /* closed at the terminal completion */
    uint32_t terminals, more; /* completions of either kind */
    bool was_inline;
    int64_t result; /* of the terminal one */
    uint32_t flags;
    void *data;
    int64_t reports[REPORTS_MAX]; /* results with MORE */
    uint32_t report_count, report_next;
};

struct rig {
    const struct subject *subject;
    const struct nx_driver_ops *ops;
    struct nx_driver *driver;
    struct nx_ctx *context[CONTEXTS_MAX];
    uint32_t contexts;
    struct flight *flights[FLIGHTS_MAX];
    uint32_t flight_count;
    uint32_t in_flight;
    bool strict;   /* ops are in windows of their own, closed when they end */
    bool patient;  /* waits without a time: a lost completion hangs it */
    bool attached; /* to another one's driver */
    uint32_t first_worker;
};

/* What is behind a slot: NXI_HAS of the loader, for a table of the plugin's size. */
#define HAS(rig, slot)                                                                                                 \
    ((rig)->ops->size >= offsetof(struct nx_driver_ops, slot) + sizeof((rig)->ops->slot) && (rig)->ops->slot != NULL)

/* ---- rig.c: life, operations ---- */

struct rig *rig_open(const struct subject *subject, uint32_t contexts);
/* Another worker of the same driver, on this thread; closed before that one is. */
struct rig *rig_attach(struct rig *main, uint32_t worker);
/* The same of the reference driver; NULL: there is none. */
struct rig *rig_open_reference(const struct subject *subject, uint32_t contexts);
void rig_close(struct rig *rig); /* fails if something is in flight */

nx_time rig_now(const struct rig *rig); /* the driver's clock, else the host's */

/* Submits it; full queues are polled for, as the core does. */
struct flight *fly(struct rig *rig, uint32_t context, struct nx_op op);
/* The same with a buffer that is the driver's until the completion, and taken away then. */
struct flight *fly_with(struct rig *rig, uint32_t context, struct nx_op op, struct window *buffer);
void ask_cancel(struct rig *rig, struct flight *flight);

/* Polls all contexts, or waits in the only one for up to some ms; how many completions came. */
uint32_t step(struct rig *rig, nx_time until);
void take_completion(struct rig *rig, const struct nx_completion *completion, uint32_t context, bool is_inline);
bool ended(const struct flight *flight);
int64_t finish(struct rig *rig, struct flight *flight);                /* until it has ended; its result */
int64_t carry_out(struct rig *rig, uint32_t context, struct nx_op op); /* fly and finish */
void drop(struct rig *rig, struct flight *flight);                     /* it has ended, and nobody looks at it again */
void settle(struct rig *rig);                                          /* until nothing has come for a while */
int64_t next_report(struct rig *rig, struct flight *flight); /* the next result with MORE, or the terminal one */

/* ---- net.c: connections ---- */

struct net {
    struct rig *rig;
    uint32_t context;
    nx_handle listener;
    struct nx_addr addr;
    struct flight *accept;
};

struct pair {
    struct rig *rig;
    uint32_t client_context, server_context;
    nx_handle client, server;
};

struct nx_addr loopback(uint16_t port);
nx_handle make_socket(struct rig *rig, uint32_t context, uint32_t type);
void close_handle(struct rig *rig, uint32_t context, nx_handle handle);
/* A listener on a port of the system's choice. */
nx_handle make_listener(struct rig *rig, uint32_t context, struct nx_addr *ret_addr);
struct net net_open(struct rig *rig, uint32_t context);
void listen_on(struct net *net); /* submits its ACCEPT */
void net_close(struct net *net);
nx_handle net_accept(struct net *net);
struct flight *start_connect(struct rig *rig, uint32_t context, nx_handle handle, const struct nx_addr *addr);
struct pair pair_make(struct net *net, uint32_t client_context);
struct pair pair_open(struct rig *rig); /* with a listener of its own; both ends on context 0 */
void pair_close(struct pair *pair);

struct nx_op read_op(nx_handle handle, void *data, uint32_t len);
struct nx_op write_op(nx_handle handle, const void *data, uint32_t len);
void write_all(struct rig *rig, uint32_t context, nx_handle handle, const void *data, size_t len);
size_t read_some(struct rig *rig, uint32_t context, nx_handle handle, void *data, size_t len);
void read_all(struct rig *rig, uint32_t context, nx_handle handle, void *data, size_t len);
/* Until it would have to wait: how many bytes went. */
uint64_t fill(struct rig *rig, uint32_t context, nx_handle handle);

/* What the driver says of a code; level NX_CAP_NATIVE if it has no such slot. */
struct nx_capability capability_of(struct rig *rig, uint32_t code);
const char *code_name(uint32_t code);

#endif
