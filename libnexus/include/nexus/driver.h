/*
 * nexus/driver.h: the contract of an I/O driver.
 *
 * A driver is asked to carry out operations (struct nx_op) and reports their completions. Completion is the model; a
 * readiness interface such as epoll or kqueue is turned into it by nexus/readiness.h, with a fifth of the work.
 *
 * The laws
 *  1. Each op that was accepted completes exactly once: one completion without NX_COMPLETION_MORE. A multishot op may
 *     have any number with MORE before it. After its terminal completion the driver never touches op or buffer again.
 *  2. cancel asks. The op then completes once all the same: with what it did, or with -ECANCELED having done nothing.
 *  3. From submit until the terminal completion op and buffer are the driver's: nobody else writes them. (INJECT:
 *     the buffer is the caller's again when submit returns. ZEROCOPY: the buffer stays the driver's until RELEASED.
 *     LOAN: the driver lends memory, its borrower's until loan_return, on the context that lent it and also when the
 *     handle is gone.)
 *  4. A context (struct nx_ctx) belongs to the worker that opened it: only that thread calls anything that takes it,
 *     wake, name, export_fd and stats aside. The instance (struct nx_driver) is shared by all workers.
 *  5. A handle is used by one context at a time: the core sees to it that no op of it is in flight, and calls release
 *     on the old context, before another context uses it. Its first use after creation may be on any context.
 *  6. NX_OP_CLOSE is submitted when no op of that handle is in flight. From its submission the handle is dead.
 *  7. wait is the only slot that may sleep. No slot calls back into the core or the application, but for the host
 *     table.
 *  8. Nothing here exits, aborts, forks, or installs a signal handler.
 *  9. An op is carried out with the credentials that the process has when it is submitted, whoever carries it out:
 *     a process may change them at any time.
 *
 * The handshake before sleep: arm() flushes what is queued and answers -EAGAIN if there is work after all; then the
 * core looks at its own queues once more, and calls wait() or disarm(). A wake() that comes at any time after arm()
 * began ends this wait, or makes it return at once.
 */
#ifndef NEXUS_DRIVER_H
#define NEXUS_DRIVER_H

#include <nexus/host.h>
#include <nexus/net.h>
#include <nexus/plugin.h>

/* driver 8 (1..127) | generation 24 | index 32. 0 is none. A stale one gives -EBADF. */
typedef uint64_t nx_handle;

#define NX_HANDLE(driver, generation, index)                                                                           \
    ((uint64_t)(driver) << 56 | (uint64_t)((generation)&0xffffffu) << 32 | (uint32_t)(index))
#define NX_HANDLE_INDEX(handle) ((uint32_t)(handle))
#define NX_HANDLE_GENERATION(handle) ((uint32_t)((handle) >> 32) & 0xffffffu)
#define NX_HANDLE_DRIVER(handle) ((uint32_t)((handle) >> 56))

/* What an op does; what len, data, offset and arg are for it. A code the driver doesn't know completes with -ENOTSUP.
 */
#define NX_OP_NOP 0u
#define NX_OP_ACCEPT 1u   /* result: the new handle. MULTISHOT allowed */
#define NX_OP_CONNECT 2u  /* data: const struct nx_addr. A datagram socket: at once, also beside other ops */
#define NX_OP_READ 3u     /* data, len: a buffer. Stream: any bytes, 0 is end of stream */
#define NX_OP_WRITE 4u    /* data, len: a buffer. Stream: any bytes; never SIGPIPE */
#define NX_OP_WRITEV 5u   /* data: const struct iovec, len of them (at most NX_IOV_MAX) */
#define NX_OP_SHUTDOWN 6u /* arg: NX_SHUT_... */
#define NX_OP_CLOSE 7u    /* never fails for the handle: it is gone, whatever the result. arg: NX_CLOSE_... */
#define NX_OP_POLL                                                                                                     \
    8u                   /* arg: NX_READABLE | NX_WRITABLE; result: the ready events, hang-up and error show as both.
                           * MULTISHOT: see below */
#define NX_OP_RECVMSG 9u /* data: struct nx_message. Datagram: its real length, 0 is one of no bytes */
#define NX_OP_SENDMSG                                                                                                  \
    10u /* data: struct nx_message. Stream: any bytes, descriptors with the first of them. To a Unix
                           * datagram address also -EAGAIN: its queue is full, and nothing tells when it is not */
/* Files, domain FILES. Once begun they need not heed cancel. */
#define NX_OP_OPEN 11u     /* handle 0; data: path; arg: open(2)'s flags, mode << 32. Result: the new handle */
#define NX_OP_PREADV 12u   /* data: const struct iovec, len of them; offset. Tries without waiting first */
#define NX_OP_PWRITEV 13u  /* likewise */
#define NX_OP_FSYNC 14u    /* arg: 1: fdatasync */
#define NX_OP_TRUNCATE 15u /* offset: the new length */
#define NX_OP_STAT 16u     /* handle 0: data is the path; arg: pointer to struct stat */
#define NX_OP_RENAME 17u   /* handle 0; data: from; arg: pointer to the path to */
#define NX_OP_UNLINK 18u   /* handle 0; data: path; arg: AT_REMOVEDIR or 0 */
#define NX_OP_MKDIR 19u    /* handle 0; data: path; arg: mode */
#define NX_OP_MEMBERSHIP                                                                                               \
    20u /* data: const struct nx_addr, a group; offset: the interface's index or 0; arg: 1 joins,
                              * 0 leaves. Inline */
#define NX_OP_COUNT 21u

/*
 * A POLL with NX_OP_MULTISHOT, of a handle imported with NX_IMPORT_FOREIGN, reports edges: first what is ready now, if
 * anything is; then, each time that something of what arg names has become ready, all of it that is ready then. What
 * stays ready untouched is not reported again. It ends by cancel or an error, or, if the driver has no room, with a
 * report. Alone on its handle: the core has no other POLL there, and a driver may say -EBUSY. Without the
 * capability POLL, flag MULTISHOT, -ENOTSUP.
 */

#define NX_IOV_MAX 1024u
#define NX_CLOSE_KEEP 1u /* forget the handle, leave the descriptor open */

/* op.flags */
#define NX_OP_NOWAIT 1u /* complete inline in submit, with -EAGAIN if it would have to wait */
#define NX_OP_MULTISHOT 2u
#define NX_OP_LOAN                                                                                                     \
    4u /* READ: data is NULL, and len a hint. Only where the capability has it: then bytes are always lent */
#define NX_OP_ZEROCOPY 8u
#define NX_OP_INJECT 16u
#define NX_OP_LINK 32u /* the next op of this context begins when this one has succeeded; else it is -ECANCELED */

struct nx_op { /* 64 bytes */
    nx_handle handle;
    uint16_t code, flags;
    uint32_t len;
    void *data;
    uint64_t offset, arg;
    uintptr_t driver[3]; /* the driver's while the op is in flight; zero when submitted first */
};

/* What SENDMSG and RECVMSG move. The driver's until the op completes; RECVMSG writes addr, flags and fd_count. */
struct nx_message {
    struct iovec *iov;
    uint32_t iov_count;   /* at most NX_IOV_MAX */
    uint32_t flags;       /* RECVMSG: NX_MESSAGE_... that happened */
    struct nx_addr *addr; /* to, from; NULL: the connected peer, not asked for */
    int32_t *fds;         /* descriptors to go along, or room for those that come (close-on-exec) */
    uint32_t fd_count;    /* room; then how many came. At most NX_FDS_MAX */
    uint32_t reserved;
};
#define NX_FDS_MAX 64u
#define NX_MESSAGE_CUT 1u     /* the datagram was longer */
#define NX_MESSAGE_FDS_CUT 2u /* descriptors without room were closed */

/* completion.flags */
#define NX_COMPLETION_MORE 1u     /* not the last one of this op */
#define NX_COMPLETION_LOANED 2u   /* data, result bytes, until loan_return */
#define NX_COMPLETION_RELEASED 4u /* zero-copy: the buffer is free */
#define NX_COMPLETION_COPIED 8u   /* zero-copy: it was copied after all */

struct nx_completion { /* 32 bytes */
    struct nx_op *op;
    int64_t result; /* >= 0, or -errno */
    void *data;
    uint32_t flags, aux;
};

#define NX_DOMAIN_NETWORK 1u
#define NX_DOMAIN_FILES 2u
#define NX_DOMAIN_FOREIGN 4u /* import_fd of any pollable descriptor, and NX_OP_POLL */
#define NX_DOMAIN_PROCESS 8u

/* Which contexts may use a handle. */
#define NX_AFFINITY_FREE 0u   /* any, at once; release is absent */
#define NX_AFFINITY_REBIND 1u /* one at a time; release lets it go */
#define NX_AFFINITY_PINNED                                                                                             \
    2u /* the one it was made on (accepted: the one that accepted); the core forwards ops there */

#define NX_CAP_NO 0u
#define NX_CAP_NATIVE 1u /* waits in the driver without holding anything else up */
#define NX_CAP_INLINE 2u /* always completes in submit */

struct nx_capability {
    uint32_t size, level; /* NX_CAP_... */
    uint32_t flags;       /* op.flags it honours natively */
    uint32_t reserved;
    char reason[128]; /* for NO, and for what a fallback costs */
};

struct nx_stat {
    char name[32];
    uint64_t value;
};

#define NX_OPTION_REUSE_ADDR 1u
#define NX_OPTION_REUSE_PORT 2u
#define NX_OPTION_NODELAY 3u /* ignored (0) where it makes no sense */
#define NX_OPTION_V6_ONLY 4u
#define NX_OPTION_UNIX_MODE 5u /* before bind: the mode of the socket's file */
/* Of datagram sockets */
#define NX_OPTION_BROADCAST 6u
#define NX_OPTION_TTL 7u /* of unicast and multicast, 1..255 */
#define NX_OPTION_MULTICAST_LOOP 8u
#define NX_OPTION_MULTICAST_SCOPE 9u /* index of the interface that multicast leaves by */
#define NX_OPTION_RECEIVE_BUFFER 10u /* bytes */

#define NX_IMPORT_FOREIGN 1u /* only polled; left as it is; NX_OP_CLOSE with NX_CLOSE_KEEP follows */

struct nx_driver; /* an instance: one per runtime and domain set */
struct nx_ctx;    /* an instance's part for one worker */

struct nx_driver_ops {
    uint32_t size, domains; /* NX_DOMAIN_... */
    uint32_t affinity, reserved;

    /* ---- life ---- */

    /* Once per runtime, on the thread that creates it. id (1..127) goes into the handles. ret_reason as in probe. */
    int (*open)(const struct nx_host *host, const struct nx_config *config, uint32_t id, struct nx_driver **ret_driver,
                struct nx_reason *ret_reason);
    void (*close)(struct nx_driver *driver); /* after every ctx_close */
    /* On the worker's own thread. Failing, it leaves nothing. */
    int (*ctx_open)(struct nx_driver *driver, uint32_t worker, struct nx_ctx **ret_ctx, struct nx_reason *ret_reason);
    void (*ctx_close)(struct nx_ctx *ctx); /* no op is in flight */

    /* ---- hot: on the worker's thread ---- */

    /*
     * 0: accepted; a completion will come by poll or wait. 1: completed inline, in *ret_inline (terminal, never MORE).
     * -EAGAIN: no room, nothing taken: the core polls and tries again. Every other failure is an inline completion.
     * Needs no system call: what it queues may be flushed by poll, arm or wait.
     */
    int (*submit)(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline);
    /* Law 2. op is in flight on this ctx. Cannot fail. Asking twice is allowed. */
    void (*cancel)(struct nx_ctx *ctx, struct nx_op *op);
    /* Flushes and reaps without blocking: up to max completions. */
    uint32_t (*poll)(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max);
    int (*arm)(struct nx_ctx *ctx);
    void (*disarm)(struct nx_ctx *ctx);
    /* Sleeps until a completion, a wake or the time (of this driver's now, else of host->now; NX_FOREVER); may return
     * early with nothing. NULL: this driver can't wait, another one does. One that has nothing to sleep on of its own
     * can use host->sleep. */
    uint32_t (*wait)(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max, nx_time until);
    /* Any thread, from ctx_open's return until ctx_close; async-signal-safe, idempotent. */
    void (*wake)(struct nx_ctx *ctx);
    nx_time (*next_deadline)(struct nx_ctx *ctx); /* the stack's own timers; NULL: none */
    /* For a driver that doesn't wait: a descriptor that is readable when poll has something to do; -ENOTSUP. NULL: this
     * driver, whenever another thread gives poll something to do, calls host->wake_worker, also if it is not waiting
     * itself; what its own context does needs no call, for arm tells. */
    int (*wait_fd)(struct nx_ctx *ctx);
    /* Only a driver that owns the clock; any thread. Asked right after open: 0 means that with these parameters it
     * does not. The network's driver alone may own it, and it has wait. Beside another driver its wait is called only
     * when that one has nothing in flight on this worker. */
    nx_time (*now)(struct nx_driver *driver);

    /* ---- handles: made and named at once; all that takes time is an op ---- */
    int (*socket)(struct nx_ctx *ctx, uint32_t family, uint32_t type,
                  nx_handle *ret_handle); /* NX_AF_..., NX_SOCK_... */
    int (*bind)(struct nx_ctx *ctx, nx_handle handle, const struct nx_addr *addr);
    int (*listen)(struct nx_ctx *ctx, nx_handle handle, int32_t backlog);
    int (*option)(struct nx_ctx *ctx, nx_handle handle, uint32_t option, int64_t value); /* -ENOTSUP: unknown */
    int (*name)(struct nx_ctx *ctx, nx_handle handle, uint32_t peer,
                struct nx_addr *ret_addr); /* any thread may call */
    int (*import_fd)(struct nx_ctx *ctx, int32_t fd, uint32_t flags, nx_handle *ret_handle);
    int (*export_fd)(struct nx_ctx *ctx, nx_handle handle); /* any thread may call; stays the handle's; -ENOTSUP */
    void (*release)(struct nx_ctx *ctx, nx_handle handle);  /* law 5; REBIND drivers only */

    /* ---- memory ---- */
    int (*loan_return)(struct nx_ctx *ctx, void *data); /* also opens the peer's window */
    int (*memory_register)(struct nx_driver *driver, void *memory, size_t size, uint32_t *ret_key);
    void (*memory_unregister)(struct nx_driver *driver, uint32_t key);

    /* ---- what and how ---- */
    int (*capability)(struct nx_driver *driver, uint32_t code, struct nx_capability *ret_capability);
    /* Any thread may call, also while ops run. "kernel_entries": the system calls made for I/O, waits included. */
    uint32_t (*stats)(struct nx_ctx *ctx, struct nx_stat *out, uint32_t max);
    void (*forked)(struct nx_driver *driver); /* in the child: close descriptors the child must not keep; only that */

    /* Since ABI 0.2. Only a driver that owns the clock: more (or, < 0, fewer) operations are in flight that take real
     * time, on the blocking pool. While there are any the clock stands. Any thread; never below zero. What such an
     * operation has caused, a wake, comes before its release. */
    void (*hold)(struct nx_driver *driver, int32_t more);
};

#define NX_SOCK_STREAM 1u
#define NX_SOCK_DGRAM 2u

#endif
