/*
 * iouring/ring.h: one ring: set-up by the ladder, and the one door into the kernel. Not installed.
 *
 * Rungs, from what the newest kernels offer down to what 5.10 does; a driver works the same on each:
 *   defer  6.1   SINGLE_ISSUER | DEFER_TASKRUN: completions are made when this thread enters for them, never between
 *   coop   5.19  COOP_TASKRUN: they are made at this thread's next system call, without an interrupt
 *   plain  5.7   a ring without flags; one-shot accept; without EXT_ARG a timed wait is a ppoll(2) of the ring
 */
#ifndef NEXUS_IOURING_RING_H
#define NEXUS_IOURING_RING_H

#include <liburing.h>
#include <nexus/driver.h>
#include <stdatomic.h>

#define NXI_URING_DEFER 0u
#define NXI_URING_COOP 1u
#define NXI_URING_PLAIN 2u
#define NXI_URING_RUNGS 3u
#define NXI_URING_AUTO NXI_URING_RUNGS

/* What may be used on a ring; rung=plain asked for by name masks all of it. */
#define NXI_URING_HAS_EXT_ARG 1u
#define NXI_URING_HAS_CQE_SKIP 2u
#define NXI_URING_HAS_NO_IOWAIT 4u
#define NXI_URING_HAS_ACCEPT_MULTISHOT 8u
#define NXI_URING_HAS_RING_FDS 16u
#define NXI_URING_HAS_NOSIGNAL 32u
#define NXI_URING_HAS_SEND_ZC 64u

struct nxi_uring_options {
    uint32_t entries, cq_entries;
    uint32_t sqpoll;
    uint32_t rung; /* NXI_URING_... */
};

struct nxi_uring {
    struct io_uring ring;
    uint32_t rung, traits;         /* NXI_URING_HAS_... */
    uint32_t enter_flags;          /* on every io_uring_enter(2) */
    uint32_t flushed;              /* the SQ tail the kernel was told */
    _Atomic uint64_t enters, sqes; /* by nxi_uring_count */
};

/* For statistics: one thread writes, and no RMW is needed; any may read. */
static inline void nxi_uring_count(_Atomic uint64_t *counter, uint64_t more)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more, memory_order_relaxed);
}

extern const char *const nxi_uring_rung_names[NXI_URING_RUNGS + 1];

/* The parameters of a driver, checked. 0, or -EINVAL with the reason. */
int nxi_uring_options(const struct nx_host *host, const struct nx_config *config, struct nxi_uring_options *ret_options,
                      struct nx_reason *ret_reason);

/* A ring on exactly that rung, for the calling thread. 0, or -errno with the reason; failing, it leaves nothing. */
int nxi_uring_open(struct nxi_uring *uring, const struct nxi_uring_options *options, uint32_t rung,
                   struct nx_reason *ret_reason);
void nxi_uring_close(struct nxi_uring *uring);

/*
 * The best rung that works here and now, or the one that was asked for: makes a small ring, runs a NOP through it and
 * takes it down. 0, or -errno with the reason.
 */
int nxi_uring_climb(const struct nxi_uring_options *options, uint32_t *ret_rung, struct nx_reason *ret_reason);

/* What a failure of a call means and what to do about it. Returns error. */
int nxi_uring_explain(const char *call, int error, uint32_t rung, struct nx_reason *ret_reason);

/*
 * Hands all queued SQEs to the kernel, runs what completions are due and waits for wait_count CQEs: one system call.
 * timeout: relative, or NULL; only with NXI_URING_HAS_EXT_ARG. As io_uring_enter(2); a caller that looks at the queues
 * afterwards may ignore the result.
 */
int nxi_uring_enter(struct nxi_uring *uring, uint32_t wait_count, uint32_t flags, struct __kernel_timespec *timeout);

/* An SQE, to be filled by io_uring_prep_...; NULL: the queue is full. */
static inline struct io_uring_sqe *nxi_uring_sqe(struct nxi_uring *uring)
{
    struct io_uring_sq *sq = &uring->ring.sq;
    unsigned head = atomic_load_explicit((_Atomic unsigned *)sq->khead, memory_order_acquire), tail = sq->sqe_tail;
    if (tail - head >= sq->ring_entries)
        return NULL;
    sq->sqe_tail = tail + 1;
    return &sq->sqes[tail & sq->ring_mask];
}

/* Queued and not yet taken by the kernel. */
static inline uint32_t nxi_uring_queued(const struct nxi_uring *uring)
{
    return io_uring_sq_ready(&uring->ring);
}

static inline uint32_t nxi_uring_flags(const struct nxi_uring *uring)
{
    return atomic_load_explicit((_Atomic unsigned *)uring->ring.sq.kflags, memory_order_relaxed);
}

static inline bool nxi_uring_is_polled(const struct nxi_uring *uring)
{
    return uring->ring.flags & IORING_SETUP_SQPOLL;
}

#endif
