/*
 * iouring/slots.h: the in-flight table of one context. Not installed.
 *
 * A CQE names its op by slot and generation, never by address: a cancel, or a late completion, of an op that is gone
 * then meets another generation, and not the next op at the same address (a task's stack, so the rule and not the
 * exception). Only the context's thread touches it.
 */
#ifndef NEXUS_IOURING_SLOTS_H
#define NEXUS_IOURING_SLOTS_H

#include <nexus/driver.h>
#include <stdatomic.h>
#include <sys/socket.h>

#define NXI_SLOT_SHIFT 8
#define NXI_SLOT_SEGMENT (1u << NXI_SLOT_SHIFT)

/* A token, the user_data of its CQE: cancel 1 | generation 31 | index 32. An index no slot has is the wake's. */
#define NXI_TOKEN_INDEX(token) ((uint32_t)(token))
#define NXI_TOKEN_CANCEL (UINT64_C(1) << 63)
#define NXI_TOKEN_GENERATION (UINT64_C(1) << 32) /* one of them */
#define NXI_TOKEN_WAKE UINT64_C(0xffffffff)

struct nxi_slot {     /* 32 bytes */
    struct nx_op *op; /* NULL: free */
    uint64_t token;
    struct nxi_slot *next; /* on the list it is on */
    int32_t fd;
    uint8_t stage, flags, cancels;
    uint8_t simple; /* a transfer on a socket, nothing has happened to it */
};

/* What the kernel reads while an op is in flight and the caller doesn't keep. */
union nxi_slot_extra {
    struct {
        struct sockaddr_storage address;
        uint32_t address_len;
    };
    struct msghdr message;
};

struct nxi_slot_segment {
    struct nxi_slot slots[NXI_SLOT_SEGMENT]; /* first: two to a cache line */
    union nxi_slot_extra *extra;             /* an array beside slots, made when the first of them needs it */
};

struct nxi_slots {
    const struct nx_host *host;
    struct nxi_slot_segment **segments;
    uint32_t segment_count, segment_room;
    struct nxi_slot *free_first;
    _Atomic uint32_t in_flight; /* the owner's to write */
};

int nxi_slots_grow(struct nxi_slots *slots); /* 0 or -ENOMEM */
void nxi_slots_destroy(struct nxi_slots *slots);
union nxi_slot_extra *nxi_slots_extra(struct nxi_slots *slots, const struct nxi_slot *slot); /* NULL: no memory */

/* The slot a token names, if its op is still in flight. */
static inline struct nxi_slot *nxi_slots_find(const struct nxi_slots *slots, uint64_t token)
{
    uint32_t index = NXI_TOKEN_INDEX(token);
    if (index >> NXI_SLOT_SHIFT >= slots->segment_count)
        return NULL;
    struct nxi_slot *slot = &slots->segments[index >> NXI_SLOT_SHIFT]->slots[index & (NXI_SLOT_SEGMENT - 1)];
    return slot->op && slot->token == token ? slot : NULL;
}

/* The caller has seen that free_first is not NULL. */
static inline struct nxi_slot *nxi_slots_pop(struct nxi_slots *slots)
{
    struct nxi_slot *slot = slots->free_first;
    slots->free_first = slot->next;
    atomic_store_explicit(&slots->in_flight, slots->in_flight + 1, memory_order_relaxed);
    return slot;
}

static inline struct nxi_slot *nxi_slots_take(struct nxi_slots *slots)
{
    return slots->free_first || nxi_slots_grow(slots) == 0 ? nxi_slots_pop(slots) : NULL;
}

static inline void nxi_slots_give(struct nxi_slots *slots, struct nxi_slot *slot)
{
    slot->op = NULL;
    slot->token = (slot->token + NXI_TOKEN_GENERATION) & ~NXI_TOKEN_CANCEL;
    slot->next = slots->free_first;
    slots->free_first = slot;
    atomic_store_explicit(&slots->in_flight, slots->in_flight - 1, memory_order_relaxed);
}

#endif
