/*
 * cases.h: a select under way (choice.c), and what each kind of case does in it (cases.c).
 */
#ifndef NXI_CASES_H
#define NXI_CASES_H

#include "choice.h"
#include "stream.h"
#include <nexus/select.h>

/* What waits for a case. */
struct nxi_entry {
    union {
        struct nxi_waiter waiter; /* of a channel, listener, event, task */
        struct nxi_stream_op stream;
        struct nxi_fd_op fd;
    };
    struct nxi_task *task; /* that is joined */
    bool waiting;
};

struct nxi_cases {
    nx_case *cases;
    uint32_t count;
    uint32_t start, stride; /* the order in which cases are looked at */
    bool polls;
    struct nxi_choice choice;
    struct nxi_worker *worker; /* while it waits, for which it is pinned */
    struct nxi_entry *entries;
    bool taken;     /* by this task itself, with this result */
    int64_t result; /* of the winner */
};

static inline uint32_t nxi_case_next(const struct nxi_cases *selection, uint32_t index)
{
    index += selection->stride;
    return index >= selection->count ? index - selection->count : index;
}

#define NXI_EACH_CASE(selection, i)                                                                                    \
    uint32_t i = (selection)->start, left_##i = (selection)->count;                                                    \
    left_##i > 0;                                                                                                      \
    i = nxi_case_next(selection, i), left_##i--

/* Never wins. */
bool nxi_case_absent(const nx_case *one);
/* Only told by its wake, which claims nothing. */
bool nxi_case_is_told(const nx_case *one);
/* Without waiting: its result, and then it has gone; -EAGAIN: it would wait. May park for another worker's answer. */
int64_t nxi_case_try(const struct nxi_cases *selection, const nx_case *one);
/* All channels at once, tried again: the choice is made, or a waiter of each case is in its list. */
void nxi_cases_enter_chans(struct nxi_cases *selection);
/* One of the others but a timer. True: it is told to be ready at once, and does not wait. */
bool nxi_case_enter(struct nxi_cases *selection, uint32_t index);
/* Of one that is told: whether it has been. */
bool nxi_case_told(struct nxi_cases *selection, uint32_t index);
/* Takes all out of wherever they wait. winner: who has won, by whomever, or < 0. May park. */
void nxi_cases_leave(struct nxi_cases *selection, int winner);
/* After that: what the winner brings; -EAGAIN: nothing, somebody else was faster. */
int64_t nxi_case_act(const struct nxi_cases *selection, int winner);

#endif
