/*
 * iouring/ring.c: set-up of a ring, the ladder, and entering the kernel.
 *
 * liburing prepares SQEs; mapping and entering are done here, the latter so that a turn of the loop is one system
 * call on every rung (liburing's helpers enter once more to wait on kernels without EXT_ARG, by way of a timeout op).
 * The SQ's index array is filled with the identity once: queueing then only moves the tail.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* liburing.h */
#endif
#include "ring.h"
#include "uapi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define CLIMB_ENTRIES 4u
#define CLIMB_ENTERS 16u /* a NOP completes in the first; signals may cut some short */
#define ENTRIES_MAX 32768u
#define SQPOLL_IDLE_MS 50u

/* What the driver is built on, all of it in Linux 5.7: lossless CQ, ops that wait without a thread. */
#define FEATURES_NEEDED                                                                                                \
    (IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_RW_CUR_POS |               \
     IORING_FEAT_FAST_POLL)

const char *const nxi_uring_rung_names[NXI_URING_RUNGS + 1] = {"defer", "coop", "plain", "auto"};

static uint32_t setup_flags(uint32_t rung, bool sqpoll)
{
    static const uint32_t own[NXI_URING_RUNGS] = {
        [NXI_URING_DEFER] = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                            IORING_SETUP_TASKRUN_FLAG,
        [NXI_URING_COOP] = IORING_SETUP_SUBMIT_ALL | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
        [NXI_URING_PLAIN] = 0,
    };
    /* A kernel thread that submits also runs the completions: the kernel refuses to combine it with how we would. */
    static const uint32_t polled[NXI_URING_RUNGS] = {
        [NXI_URING_DEFER] = IORING_SETUP_SQPOLL | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_SINGLE_ISSUER,
        [NXI_URING_COOP] = IORING_SETUP_SQPOLL | IORING_SETUP_SUBMIT_ALL,
        [NXI_URING_PLAIN] = IORING_SETUP_SQPOLL,
    };
    return IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE | (sqpoll ? polled : own)[rung];
}

static uint32_t traits_of(uint32_t rung, uint32_t features)
{
    uint32_t traits = 0;
    if (features & IORING_FEAT_EXT_ARG)
        traits |= NXI_URING_HAS_EXT_ARG;
    if (features & IORING_FEAT_CQE_SKIP)
        traits |= NXI_URING_HAS_CQE_SKIP;
    if (features & NX_URING_FEAT_NO_IOWAIT)
        traits |= NXI_URING_HAS_NO_IOWAIT;
    /* No bit tells of these; they came with 5.19 and 5.18, as what the upper rungs are made of. */
    if (rung <= NXI_URING_COOP)
        traits |= NXI_URING_HAS_ACCEPT_MULTISHOT | NXI_URING_HAS_RING_FDS;
    if (rung == NXI_URING_DEFER) /* 6.0 */
        traits |= NXI_URING_HAS_SEND_ZC;
    return traits;
}

static int option_uint(const struct nx_host *host, const struct nx_config *config, const char *name, uint32_t max,
                       uint32_t *ret_value, struct nx_reason *ret_reason)
{
    const char *text = host->param(config, name);
    char *end;
    unsigned long value = text ? strtoul(text, &end, 10) : 0;
    if (!text || *text < '0' || *text > '9' || *end || value > max) {
        struct nx_reason reason = {.error = EINVAL, .call = "parameters", .remedy = "see `nexus info iouring`"};
        snprintf(reason.text, sizeof(reason.text), "%s must be a number up to %u", name, max);
        *ret_reason = reason;
        return -EINVAL;
    }
    *ret_value = (uint32_t)value;
    return 0;
}

int nxi_uring_options(const struct nx_host *host, const struct nx_config *config, struct nxi_uring_options *ret_options,
                      struct nx_reason *ret_reason)
{
    struct nxi_uring_options options;
    int r = option_uint(host, config, "entries", ENTRIES_MAX, &options.entries, ret_reason);
    if (r == 0)
        r = option_uint(host, config, "cq_entries", 2 * ENTRIES_MAX, &options.cq_entries, ret_reason);
    if (r == 0)
        r = option_uint(host, config, "sqpoll", 1, &options.sqpoll, ret_reason);
    if (r < 0)
        return r;
    if (options.entries == 0)
        options.entries = 1;
    if (options.cq_entries < 2 * options.entries)
        options.cq_entries = 2 * options.entries;

    const char *name = host->param(config, "rung");
    for (options.rung = 0; options.rung <= NXI_URING_AUTO; options.rung++)
        if (name && strcmp(name, nxi_uring_rung_names[options.rung]) == 0)
            break;
    if (options.rung > NXI_URING_AUTO) {
        struct nx_reason reason = {.error = EINVAL, .call = "parameters", .remedy = "use rung=auto"};
        snprintf(reason.text, sizeof(reason.text), "rung must be defer, coop, plain or auto");
        *ret_reason = reason;
        return -EINVAL;
    }
    *ret_options = options;
    return 0;
}

static void ring_unmap(struct io_uring *ring)
{
    if (ring->sq.sqes)
        munmap(ring->sq.sqes, ring->sq.ring_entries * sizeof(struct io_uring_sqe));
    if (ring->sq.ring_ptr)
        munmap(ring->sq.ring_ptr, ring->sq.ring_sz);
}

/* A mapping of fd that a forked child doesn't get: it would speak for its parent there. NULL: errno says. */
static void *ring_area(int fd, size_t size, off_t what)
{
    void *area = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, what);
    if (area == MAP_FAILED)
        return NULL;
    if (madvise(area, size, MADV_DONTFORK) == 0)
        return area;
    int error = errno;
    munmap(area, size);
    errno = error;
    return NULL;
}

/*
 * Maps the ring behind fd for liburing's inline functions. By mmap(2) of libc, and not liburing's own system calls:
 * what watches memory (sanitizers, valgrind) then sees areas come and go. 0 or -errno, and nothing is mapped.
 */
static int ring_map(struct io_uring *ring, int fd, const struct io_uring_params *params)
{
    struct io_uring_sq *sq = &ring->sq;
    struct io_uring_cq *cq = &ring->cq;
    size_t sq_size = params->sq_off.array + params->sq_entries * sizeof(unsigned);
    size_t cq_size = params->cq_off.cqes + params->cq_entries * sizeof(struct io_uring_cqe);

    sq->ring_sz = cq->ring_sz = sq_size > cq_size ? sq_size : cq_size;
    sq->ring_entries = params->sq_entries;
    cq->ring_entries = params->cq_entries;
    char *area = sq->ring_ptr = cq->ring_ptr = ring_area(fd, sq->ring_sz, IORING_OFF_SQ_RING);
    if (!area)
        return -errno;
    sq->sqes = ring_area(fd, sq->ring_entries * sizeof(struct io_uring_sqe), IORING_OFF_SQES);
    if (!sq->sqes) {
        int error = errno;
        ring_unmap(ring);
        return -error;
    }
    sq->khead = (unsigned *)(area + params->sq_off.head);
    sq->ktail = (unsigned *)(area + params->sq_off.tail);
    sq->kflags = (unsigned *)(area + params->sq_off.flags);
    sq->kdropped = (unsigned *)(area + params->sq_off.dropped);
    sq->array = (unsigned *)(area + params->sq_off.array);
    sq->ring_mask = sq->ring_entries - 1;
    cq->khead = (unsigned *)(area + params->cq_off.head);
    cq->ktail = (unsigned *)(area + params->cq_off.tail);
    cq->koverflow = (unsigned *)(area + params->cq_off.overflow);
    cq->cqes = (struct io_uring_cqe *)(area + params->cq_off.cqes);
    cq->ring_mask = cq->ring_entries - 1;
    for (unsigned i = 0; i < sq->ring_entries; i++)
        sq->array[i] = i;
    ring->flags = params->flags;
    ring->features = params->features;
    ring->ring_fd = ring->enter_ring_fd = fd;
    return 0;
}

int nxi_uring_open(struct nxi_uring *uring, const struct nxi_uring_options *options, uint32_t rung,
                   struct nx_reason *ret_reason)
{
    struct io_uring_params params;
    memset(&params, 0, sizeof(params));
    params.flags = setup_flags(rung, options->sqpoll);
    params.cq_entries = options->cq_entries;
    params.sq_thread_idle = options->sqpoll ? SQPOLL_IDLE_MS : 0;

    int fd = io_uring_setup(options->entries, &params); /* close-on-exec, by the kernel */
    if (fd < 0)
        return nxi_uring_explain("io_uring_setup(2)", fd, rung, ret_reason);
    uint32_t needed = FEATURES_NEEDED | (options->sqpoll ? IORING_FEAT_SQPOLL_NONFIXED : 0);
    if ((params.features & needed) != needed) {
        close(fd);
        return nxi_uring_explain("io_uring_setup(2): features", -EOPNOTSUPP, rung, ret_reason);
    }
    memset(uring, 0, sizeof(*uring));
    int r = ring_map(&uring->ring, fd, &params);
    if (r < 0) {
        close(fd);
        return nxi_uring_explain("mmap(2) of the rings", r, rung, ret_reason);
    }

    uring->rung = rung;
    uring->traits = options->rung == NXI_URING_PLAIN ? 0 : traits_of(rung, params.features);
    if (uring->traits & NXI_URING_HAS_NO_IOWAIT)
        uring->enter_flags |= NX_URING_ENTER_NO_IOWAIT;
    /* Saves the descriptor look-up of each entry; belongs to this thread. Not having it is no failure. */
    if ((uring->traits & NXI_URING_HAS_RING_FDS) && io_uring_register_ring_fd(&uring->ring) == 1)
        uring->enter_flags |= IORING_ENTER_REGISTERED_RING;
    return 0;
}

void nxi_uring_close(struct nxi_uring *uring)
{
    if (uring->enter_flags & IORING_ENTER_REGISTERED_RING)
        io_uring_unregister_ring_fd(&uring->ring); /* it would keep the ring alive */
    ring_unmap(&uring->ring);
    close(uring->ring.ring_fd);
}

/* Tells the kernel of all SQEs; how many it has not taken yet. */
static uint32_t flush(struct nxi_uring *uring)
{
    struct io_uring_sq *sq = &uring->ring.sq;
    uint32_t fresh = sq->sqe_tail - uring->flushed;
    if (fresh) {
        nxi_uring_count(&uring->sqes, fresh);
        uring->flushed = sq->sqe_tail;
        /* seq_cst: with SQPOLL the flags are read next, and the kernel's thread reads the tail after setting them. */
        atomic_store_explicit((_Atomic unsigned *)sq->ktail, sq->sqe_tail,
                              nxi_uring_is_polled(uring) ? memory_order_seq_cst : memory_order_release);
    }
    return nxi_uring_queued(uring);
}

int nxi_uring_enter(struct nxi_uring *uring, uint32_t wait_count, uint32_t flags, struct __kernel_timespec *timeout)
{
    struct io_uring_getevents_arg arg;
    uint32_t queued = flush(uring);

    flags |= uring->enter_flags;
    if (nxi_uring_is_polled(uring)) {
        unsigned seen = atomic_load_explicit((_Atomic unsigned *)uring->ring.sq.kflags, memory_order_seq_cst);
        if (queued && (seen & IORING_SQ_NEED_WAKEUP))
            flags |= IORING_ENTER_SQ_WAKEUP;
        else if (!wait_count && !(seen & IORING_SQ_CQ_OVERFLOW))
            return 0;
    }
    nxi_uring_count(&uring->enters, 1);
    if (!timeout)
        return io_uring_enter2((unsigned)uring->ring.enter_ring_fd, queued, wait_count, flags, NULL, 0);
    memset(&arg, 0, sizeof(arg));
    arg.ts = (uint64_t)(uintptr_t)timeout;
    return io_uring_enter2((unsigned)uring->ring.enter_ring_fd, queued, wait_count, flags | IORING_ENTER_EXT_ARG,
                           (sigset_t *)&arg, sizeof(arg));
}

/* A NOP there and back. 0 or -errno. */
static int ring_try(struct nxi_uring *uring)
{
    struct io_uring_cqe *cqe = NULL;
    struct io_uring_sqe *sqe = nxi_uring_sqe(uring);
    if (!sqe)
        return -EBUSY;
    io_uring_prep_nop(sqe);
    for (unsigned i = 0; i < CLIMB_ENTERS && !io_uring_cq_ready(&uring->ring); i++) {
        int r = nxi_uring_enter(uring, 1, IORING_ENTER_GETEVENTS, NULL);
        if (r < 0 && r != -EINTR)
            return r;
    }
    if (io_uring_peek_cqe(&uring->ring, &cqe) < 0)
        return -ETIME;
    int r = cqe->res;
    io_uring_cqe_seen(&uring->ring, cqe);
    return r;
}

/* One ring on that rung, made and tried. */
static int rung_try(const struct nxi_uring_options *options, uint32_t rung, struct nx_reason *ret_reason)
{
    struct nxi_uring uring;
    int r = nxi_uring_open(&uring, options, rung, ret_reason);
    if (r < 0)
        return r;
    r = ring_try(&uring);
    nxi_uring_close(&uring);
    return r < 0 ? nxi_uring_explain("io_uring_enter(2)", r, rung, ret_reason) : 0;
}

int nxi_uring_climb(const struct nxi_uring_options *options, uint32_t *ret_rung, struct nx_reason *ret_reason)
{
    bool any = options->rung == NXI_URING_AUTO;
    uint32_t rung = any ? NXI_URING_DEFER : options->rung;
    struct nxi_uring_options small = *options;

    small.entries = CLIMB_ENTRIES;
    small.cq_entries = 2 * CLIMB_ENTRIES;
    small.sqpoll = 0; /* its flags don't tell the rungs apart */
    int r = rung_try(&small, rung, ret_reason);
    /* -EINVAL is a flag this kernel doesn't know; any other failure would be the next rung's too. */
    while (any && r == -EINVAL && rung < NXI_URING_PLAIN)
        r = rung_try(&small, ++rung, ret_reason);
    if (r == 0 && options->sqpoll) {
        small.sqpoll = 1;
        r = rung_try(&small, rung, ret_reason);
    }
    if (r < 0)
        return r;
    *ret_rung = rung;
    return 0;
}
