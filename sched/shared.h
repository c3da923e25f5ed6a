/*
 * shared.h: a queue that any thread fills and one worker at a time takes from: a stack that is pushed by CAS (release),
 * and a list in order behind `taking`.
 *
 * Who takes sets taking by exchange, never waits for it, and first appends the whole stack, reversed, to the list. So
 * producers are lock-free: a thread that is preempted anywhere in here holds up no producer, and takers only if it
 * has taking; they look elsewhere and come back (has_work says yes). That is why this is not a FIFO under a spin
 * lock, whose holder would hold up foreign threads too, while it walks a batch.
 * No ABA: takers compare nothing, and a pusher that finds the same top again, after it was away, may link to it.
 * A task that moves from here to a ring is published there before the list gives it up (out.store(release)).
 */
#ifndef SCHED_SHARED_H
#define SCHED_SHARED_H

#include "ring.h"

struct shared {
    _Alignas(LINE) _Atomic(struct nx_ready *) stack; /* newest on top */
    _Alignas(LINE) _Atomic uint32_t taking;
    _Atomic(struct nx_ready *) list; /* oldest first; written by who has taking */
    struct nx_ready *list_last;      /* so are these; means nothing while list is NULL */
    uint32_t list_count;
};

/* Any thread. From top down to last, newest first. */
static void shared_push(struct shared *shared, struct nx_ready *top, struct nx_ready *last)
{
    struct nx_ready *old = atomic_load_explicit(&shared->stack, memory_order_relaxed);

    do
        last->next = old;
    while (
        !atomic_compare_exchange_weak_explicit(&shared->stack, &old, top, memory_order_release, memory_order_relaxed));
}

/* 0: empty, and whatever was taken from it is in a ring that the caller can see. */
static int shared_filled(struct shared *shared)
{
    return atomic_load_explicit(&shared->stack, memory_order_acquire) != NULL ||
           atomic_load_explicit(&shared->taking, memory_order_acquire) != 0 ||
           atomic_load_explicit(&shared->list, memory_order_acquire) != NULL;
}

/* By who has taking: the list, with what is on the stack by now at its end. */
static struct nx_ready *shared_list(struct shared *shared)
{
    struct nx_ready *list = atomic_load_explicit(&shared->list, memory_order_relaxed);
    struct nx_ready *ready = NULL, *younger = NULL, *last;

    if (atomic_load_explicit(&shared->stack, memory_order_relaxed) != NULL)
        ready = atomic_exchange_explicit(&shared->stack, NULL, memory_order_acq_rel);
    last = ready;
    while (ready != NULL) {
        struct nx_ready *older = ready->next;

        ready->next = younger;
        younger = ready;
        ready = older;
        shared->list_count++;
    }
    if (last == NULL)
        return list;
    if (list != NULL)
        shared->list_last->next = younger;
    shared->list_last = last;
    return list != NULL ? list : younger;
}

#endif
