/*
 * readiness/fds.h: the inside of the handle table, for the adapter's lookup to be inlined. Not installed.
 *
 * Invariants
 *  - A segment, once published (release), stays where it is until nx_fds_close: a slot's address never changes.
 *  - A slot's generation is odd while its handle lives. nx_fds_add writes fd, flags and user[] before it stores the odd
 *    generation (release); a lookup loads the generation (acquire) and so sees them.
 *  - The generation only grows and is never masked in the slot. A slot whose next odd generation would need more than
 *    the 24 bits of a handle is retired: a stale handle can't become valid again.
 *  - fd may be read by nx_fds_name and nx_fds_export on any thread while the slot is dropped and made anew: both
 *    sides use relaxed atomics, and the reader looks at the generation again afterwards. All other fields are one
 *    context's (law 5 of driver.h).
 */
#ifndef NEXUS_READINESS_FDS_H
#define NEXUS_READINESS_FDS_H

#include <nexus/readiness.h>
#include <stdatomic.h>

#define FDS_SEGMENT_SHIFT 10
#define FDS_SEGMENT_SLOTS (1u << FDS_SEGMENT_SHIFT)
#define FDS_SEGMENTS 4096u
#define FDS_GENERATION_MAX 0xffffffu

struct nx_fd_table {
    const struct nx_host *host;
    uint32_t driver_id;
    atomic_flag lock;    /* guards the three below, and next_free of every slot */
    uint32_t free_first; /* index + 1 of the first free slot; 0: none */
    uint32_t used;       /* slots that were ever handed out */
    uint32_t segment_count;
    _Atomic(struct nx_fd_slot *) segments[FDS_SEGMENTS];
};

/* The header's generation is plain so that C++ may include it; every access to a shared slot's goes through here. */
static inline _Atomic uint32_t *fds_generation(struct nx_fd_slot *slot)
{
    return (_Atomic uint32_t *)&slot->generation;
}

static inline _Atomic int32_t *fds_fd(struct nx_fd_slot *slot)
{
    return (_Atomic int32_t *)&slot->fd;
}

/* The slot at an index, in use or not; NULL where none was made yet. */
static inline struct nx_fd_slot *fds_at(struct nx_fd_table *table, uint32_t index)
{
    uint32_t segment = index >> FDS_SEGMENT_SHIFT;
    if (segment >= FDS_SEGMENTS)
        return NULL;
    struct nx_fd_slot *slots = atomic_load_explicit(&table->segments[segment], memory_order_acquire);
    return slots ? slots + (index & (FDS_SEGMENT_SLOTS - 1)) : NULL;
}

static inline struct nx_fd_slot *fds_get(struct nx_fd_table *table, nx_handle handle)
{
    struct nx_fd_slot *slot = fds_at(table, NX_HANDLE_INDEX(handle));
    if (!slot)
        return NULL;
    uint32_t generation = atomic_load_explicit(fds_generation(slot), memory_order_acquire);
    if ((uint32_t)(handle >> 32) != (table->driver_id << 24 | generation) || !(generation & 1))
        return NULL;
    return slot;
}

#endif
