/*
 * inbox.c: messages to a worker from anywhere, and the doorbell.
 *
 * A worker's inbox is a stack of nodes: pushed by compare-and-swap (release), taken whole by exchange (acquire) and
 * turned round, so messages of one poster arrive in order.
 *
 * The doorbell (decision "park protocol", doc/design/park.md): after a push the poster exchanges the worker's state for
 * NOTIFIED, unconditionally, and rings only if it was PARKED. The exchange is an RMW on the word that the worker itself
 * exchanges to IDLE before its last look at the inbox: in the order of these RMWs either the worker's comes first,
 * and the poster sees IDLE or PARKED and stops it or rings, or the poster's comes first, and the worker reads it, and
 * with it the push.
 *
 * A poster outside the runtime marks itself in runtime->foreign while it touches the worker: nx_runtime_destroy waits
 * for zero. What keeps the runtime alive until the mark is set is the message itself: each stands for a live task.
 */
#include "core.h"

void nxi_notify(struct nxi_worker *worker)
{
    if (atomic_exchange(&worker->state, NXI_WORKER_NOTIFIED) != NXI_WORKER_PARKED)
        return;
    /* It may have woken up meanwhile and wait with another one: that is then rung for no reason. */
    const struct nxi_driver *driver = &worker->drivers[atomic_load_explicit(&worker->waiter, memory_order_relaxed)];
    driver->ops->wake(driver->ctx);
}

static void push(struct nxi_worker *worker, struct nxi_node *node)
{
    struct nxi_node *head = atomic_load_explicit(&worker->inbox, memory_order_relaxed);
    do {
        node->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&worker->inbox, &head, node, memory_order_release,
                                                    memory_order_relaxed));
}

void nxi_post(struct nxi_worker *worker, struct nxi_node *node)
{
    struct nx_runtime *runtime = worker->runtime;
    struct nxi_worker *self = nxi_self();
    bool foreign = !self || self->runtime != runtime;
    if (foreign)
        atomic_fetch_add(&runtime->foreign, 1);
    push(worker, node);
    if (worker != self) /* a worker looks into its own inbox before it sleeps */
        nxi_notify(worker);
    if (foreign)
        atomic_fetch_sub(&runtime->foreign, 1);
}

bool nxi_inbox_drain(struct nxi_worker *worker)
{
    if (!atomic_load_explicit(&worker->inbox, memory_order_relaxed))
        return false;
    struct nxi_node *list = atomic_exchange_explicit(&worker->inbox, NULL, memory_order_acquire);
    struct nxi_node *ordered = NULL;
    uint64_t count = 0;
    while (list) {
        struct nxi_node *next = list->next;
        list->next = ordered;
        ordered = list;
        list = next;
        count++;
    }
    nxi_count(&worker->counters.inbox, count);
    while (ordered) {
        struct nxi_node *next = ordered->next;
        ordered->run(worker, ordered);
        ordered = next;
    }
    return true;
}
