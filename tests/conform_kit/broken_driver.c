/*
 * broken_driver: a good driver with one fault. It loads the driver in NXT_BROKEN_REAL and hands its table on, but for
 * what breaks the one requirement that NXT_BROKEN names ("NXD-006"). `nexus conform` must find that one first: so each
 * fault shows only where that requirement is looked at, and the conditions below are as narrow as that takes. "NXD-000"
 * names no fault, but offers what no other driver has. With NXT_BROKEN_OLD its table is as short as those of ABI 0.1.
 */
#define _GNU_SOURCE
#include <nexus/driver.h>

#include "offers.h"
#include "real.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define INDICES 65536u
#define STASH_MAX 64u
#define CONTEXTS_MAX 8u
#define MS INT64_C(1000000)

static uint32_t rule; /* the number of the requirement */
static const struct nx_driver_ops *real;
/* Ends where a page does as far as ABI 0.1 knew it, so that what is behind that can be taken away. */
#define PAGE 4096u
#define OLD_SIZE offsetof(struct nx_driver_ops, hold)
static struct {
    _Alignas(PAGE) uint8_t before[PAGE - OLD_SIZE];
    struct nx_driver_ops table;
    uint8_t behind[PAGE - (sizeof(struct nx_driver_ops) - OLD_SIZE)];
} frame;
#define table frame.table
static struct nx_param params[64];
static const struct nx_host *host;

static struct nx_ctx *contexts[CONTEXTS_MAX]; /* by worker */
static nx_handle current[INDICES];            /* by index: the handle that is open there */
static bool used[INDICES];
static struct nx_completion stash[STASH_MAX];
static uint32_t stash_count;
static uint64_t counter;
static void *scrap; /* memory of the host's */
static const struct nx_op *remembered;
static nx_handle remembered_handle;
static uint32_t sleeping, armed;
static const void *pointed; /* what an operation has pointed to */

static int complete(struct nx_completion *ret_inline, struct nx_op *op, int64_t result)
{
    *ret_inline = (struct nx_completion){.op = op, .result = result};
    return 1;
}

static bool is_second_worker(const struct nx_ctx *ctx)
{
    return ctx == contexts[1];
}

static void pause_for(nx_time time)
{
    struct timespec pause = {.tv_sec = time / 1000000000, .tv_nsec = time % 1000000000};

    nanosleep(&pause, NULL);
}

/* ---- life ---- */

static int broken_open(const struct nx_host *given_host, const struct nx_config *config, uint32_t id,
                       struct nx_driver **ret_driver, struct nx_reason *ret_reason)
{
    int r;

    host = given_host;
    if (getenv("NXT_BROKEN_SAYS")) {
        puts(getenv("NXT_BROKEN_SAYS"));
        fflush(stdout);
    }
    if (rule == 4 || rule == 38)
        scrap = host->alloc(64, 0);
    if (rule == 4 && !scrap) {
        ret_reason->error = ENOMEM;
        return -ENOMEM;
    }
    r = real->open(host, config, rule == 15 ? id + 1 : id, ret_driver, ret_reason);
    if (rule == 50)
        signal(SIGUSR2, SIG_IGN);
    if (rule == 38 && r < 0)
        host->free(scrap, 64);
    return r; /* 4: a failure leaves what came before */
}

static void broken_close(struct nx_driver *driver)
{
    if (rule == 36) /* what nobody has closed stays open */
        for (uint32_t i = 0; i < INDICES; i++)
            if (current[i]) {
                int fd = dup(0);
                (void)fd;
                current[i] = 0;
            }
    real->close(driver);
    if (scrap && (rule == 4 || rule == 38))
        host->free(scrap, rule == 38 ? 63 : 64);
}

static int broken_ctx_open(struct nx_driver *driver, uint32_t worker, struct nx_ctx **ret_ctx,
                           struct nx_reason *ret_reason)
{
    int r = real->ctx_open(driver, worker, ret_ctx, ret_reason);

    if (r < 0 && rule == 4)
        scrap = NULL; /* close won't know of it either */
    if (r == 0 && worker < CONTEXTS_MAX)
        contexts[worker] = *ret_ctx;
    return r;
}

static void broken_ctx_close(struct nx_ctx *ctx)
{
    if (rule == 3) {
        int fd = dup(0);
        (void)fd;
    }
    real->ctx_close(ctx);
}

static void broken_forked(struct nx_driver *driver)
{
    if (rule != 51)
        real->forked(driver);
}

static int broken_probe(const struct nx_host *given_host, const struct nx_config *config, struct nx_reason *ret_reason)
{
    (void)given_host, (void)config, (void)ret_reason;
    if (rule == 2)
        pause_for(8 * MS);
    return 0;
}

/* ---- completions on their way out ---- */

static void put(struct nx_completion *out, uint32_t *count, uint32_t max, const struct nx_completion *completion)
{
    if (*count < max)
        out[(*count)++] = *completion;
}

static void keep(const struct nx_completion *completion)
{
    if (stash_count < STASH_MAX)
        stash[stash_count++] = *completion;
}

static void change(struct nx_completion *completion)
{
    struct nx_op *op = completion->op;

    if (rule == 11 && op->code == NX_OP_READ && completion->result == -ECANCELED)
        completion->result = -EINTR;
    if (rule == 8 && op->code == NX_OP_READ && completion->result > 1000)
        ((char *)op->data)[500] ^= 1;
    if (rule == 23 && op->code == NX_OP_READ && completion->result == 0) {
        if (remembered_handle == op->handle)
            completion->result = -ECONNRESET;
        remembered_handle = op->handle;
    }
    if (rule == 24 && op->code == NX_OP_WRITE && (completion->result == -EPIPE || completion->result == -ECONNRESET) &&
        op->handle != remembered_handle)
        raise(SIGPIPE);
    if (rule == 25 && op->code == NX_OP_CONNECT && completion->result == -ECONNREFUSED)
        completion->result = -ETIMEDOUT;
    if (rule == 28 && op->code == NX_OP_POLL && op->arg == NX_WRITABLE && completion->result > 0)
        completion->result = NX_READABLE | NX_WRITABLE;
    if (rule == 30 && op->code == NX_OP_RECVMSG) {
        struct nx_message *message = op->data;
        if (message->flags & NX_MESSAGE_CUT)
            completion->result = (int64_t)message->iov[0].iov_len;
        message->flags = 0;
    }
    if (rule == 35 && op->code == NX_OP_ACCEPT && completion->result == -EMFILE)
        completion->result = -EIO;
    if (rule == 53 && (completion->flags & NX_COMPLETION_RELEASED))
        completion->result = 1;
    if (rule == 54 && op == remembered && completion->result > 0) { /* a loan, of always the same memory */
        completion->flags |= NX_COMPLETION_LOANED;
        completion->data = op->data;
    }
    if (rule == 59 && op->code == NX_OP_MKDIR && completion->result == -EEXIST)
        completion->result = 0;
    if (rule == 66 && op == remembered && op->code == NX_OP_WRITE && completion->result > 0)
        completion->result = -ECANCELED;
    if (rule == 67 && op->code == NX_OP_WRITEV)
        pointed = op->data;
    if (rule == 68 && op->code == NX_OP_RECVMSG && completion->result > 0) {
        const struct nx_message *message = op->data;
        for (uint32_t i = 0; i < message->fd_count; i++)
            fcntl(message->fds[i], F_SETFD, 0);
    }
    if (rule == 62 && op->code == NX_OP_READ && completion->result > 1000 && counter > 1000)
        ((char *)op->data)[500] ^= 1;
    if ((rule == 17 || rule == 36) && op->code == NX_OP_ACCEPT && completion->result > 0)
        current[NX_HANDLE_INDEX(completion->result) % INDICES] = (nx_handle)completion->result;
}

/* A READ does not come while a WRITE of its handle is under way. */
static bool hold_read(const struct nx_completion *completion)
{
    return rule == 27 && completion->op->code == NX_OP_READ && completion->op->handle == remembered_handle;
}

static uint32_t filter(struct nx_ctx *ctx, struct nx_completion *out, uint32_t count, uint32_t max)
{
    struct nx_completion in[STASH_MAX];
    uint32_t in_count = count < STASH_MAX ? count : STASH_MAX;

    memcpy(in, out, in_count * sizeof(in[0]));
    count = 0;
    for (uint32_t i = 0; i < in_count; i++) {
        struct nx_op *op = in[i].op;
        const uint16_t code = op->code;

        change(&in[i]);
        offers_complete(&in[i]);
        if (rule == 65 && code == NX_OP_ACCEPT && i > 4)
            continue;
        if (!(in[i].flags & NX_COMPLETION_MORE) && rule == 20)
            counter--;
        if (rule == 27 && code == NX_OP_WRITE && op->handle == remembered_handle)
            remembered_handle = 0;
        if (hold_read(&in[i])) {
            keep(&in[i]);
            continue;
        }
        put(out, &count, max, &in[i]);
        if (rule == 6 && code == NX_OP_READ && ++counter % 20 == 0)
            put(out, &count, max, &in[i]);
        if (rule == 7 && code == NX_OP_ACCEPT && (in[i].flags & NX_COMPLETION_MORE))
            counter++;
        else if (rule == 7 && code == NX_OP_ACCEPT && counter > 10)
            keep(&in[i]); /* it comes again */
        if (rule == 57 && code == NX_OP_POLL && (in[i].flags & NX_COMPLETION_MORE))
            keep(&in[i]);
        if (rule == 21)
            remembered = op;
    }
    (void)ctx;
    return count;
}

static uint32_t take_stash(struct nx_completion *out, uint32_t max)
{
    uint32_t count = 0;

    while (stash_count > 0 && count < max)
        out[count++] = stash[--stash_count];
    return count;
}

/* What was put off by submit, until now. */
static uint32_t do_deferred(struct nx_ctx *ctx, struct nx_completion *out)
{
    struct nx_op *op = (struct nx_op *)(uintptr_t)remembered;

    remembered = NULL;
    return real->submit(ctx, op, out) == 1;
}

static uint32_t broken_poll(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max)
{
    struct nx_completion many[STASH_MAX];
    uint32_t count;

    if (rule == 21 && remembered) { /* a look at what was given back */
        uint16_t code = *(volatile const uint16_t *)&remembered->code;
        remembered = code == UINT16_MAX ? NULL : remembered;
    }
    if (pointed) {
        counter += *(volatile const uint8_t *)pointed;
        pointed = NULL;
    }
    offers_poll();
    if (rule == 32 && is_second_worker(ctx))
        return 0;
    if (rule == 52 && remembered)
        return do_deferred(ctx, out);
    if (stash_count > 0 && rule != 49 && !(rule == 27 && remembered_handle))
        return take_stash(out, max);
    if (rule == 19) { /* takes what it can get, and gives what there is room for */
        count = real->poll(ctx, many, STASH_MAX);
        memcpy(out, many, (count < max ? count : max) * sizeof(*out));
        return count < max ? count : max;
    }
    count = real->poll(ctx, out, max);
    if (count == 0 && rule == 46)
        pause_for(2 * MS);
    return filter(ctx, out, count, max);
}

/* ---- operations on their way in ---- */

/* Another code that the driver has, at once: its result, -EAGAIN if it would wait. */
static int64_t at_once(struct nx_ctx *ctx, nx_handle handle, uint16_t code, void *data, uint32_t len)
{
    struct nx_op op = {.handle = handle, .code = code, .flags = NX_OP_NOWAIT, .data = data, .len = len};
    struct nx_completion done = {0};

    return real->submit(ctx, &op, &done) == 1 ? done.result : -EAGAIN;
}

/* True: answered, as *ret_r says. */
static bool refuse(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline, int *ret_r)
{
    static struct iovec iov[NX_IOV_MAX + 1];

    *ret_r = 1;
    if (rule == 5 && op->code == NX_OP_NOP)
        return complete(ret_inline, NULL, 0);
    if (rule == 10 && op->code >= NX_OP_COUNT)
        return complete(ret_inline, op, -EINVAL);
    if (rule == 16 && op->code == NX_OP_READ && at_once(ctx, op->handle, NX_OP_POLL, NULL, 0) == -EBADF)
        return complete(ret_inline, op, -EINVAL);
    if (rule == 20 && counter >= 1000 && op->code == NX_OP_READ) {
        *ret_r = -EAGAIN;
        return true;
    }
    if (rule == 26 && op->code == NX_OP_WRITE && op->len == 65536 && !op->flags)
        return complete(ret_inline, op, at_once(ctx, op->handle, NX_OP_WRITE, op->data, op->len));
    if (rule == 29 && op->code == NX_OP_WRITEV && op->len <= NX_IOV_MAX) {
        for (uint32_t i = 0; i < op->len; i++)
            iov[i] = ((struct iovec *)op->data)[op->len - 1 - i];
        return complete(ret_inline, op, at_once(ctx, op->handle, NX_OP_WRITEV, iov, op->len));
    }
    if (rule == 69 && op->code == NX_OP_MEMBERSHIP && op->arg == 0)
        return complete(ret_inline, op, 0);
    if (rule == 52 && (op->flags & NX_OP_INJECT)) { /* later, from the buffer as it is then */
        op->flags &= (uint16_t)~NX_OP_INJECT;
        remembered = op;
        *ret_r = 0;
        return true;
    }
    return false;
}

static void prepare(struct nx_op *op)
{
    static char lent[64];

    if (rule == 9 && op->code == NX_OP_READ)
        op->flags &= (uint16_t)~NX_OP_NOWAIT;
    if (rule == 17 && op->handle && current[NX_HANDLE_INDEX(op->handle) % INDICES])
        op->handle = current[NX_HANDLE_INDEX(op->handle) % INDICES];
    if (rule == 22 && op->code == NX_OP_READ && op->len > 10 && op->len < 200)
        op->len++;
    if (rule == 24 && op->code == NX_OP_SHUTDOWN)
        remembered_handle = op->handle;
    if (rule == 54 && (op->flags & NX_OP_LOAN)) {
        op->flags &= (uint16_t)~NX_OP_LOAN;
        op->data = lent;
        remembered = op;
    }
    if (rule == 58 && op->code == NX_OP_PWRITEV)
        op->offset++;
    if (rule == 62)
        counter++;
    if ((rule == 17 || rule == 36) && op->code == NX_OP_CLOSE)
        current[NX_HANDLE_INDEX(op->handle) % INDICES] = 0;
}

static int broken_submit(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline)
{
    const uint16_t code = op->code;
    const nx_handle handle = op->handle;
    int r;

    if (rule == 12 && remembered == op)
        remembered = NULL;
    if (refuse(ctx, op, ret_inline, &r) || offers_submit(ctx, op, ret_inline, &r))
        return r;
    prepare(op);
    r = real->submit(ctx, op, ret_inline);
    if (r == 1)
        change(ret_inline);
    if (r == 0 && rule == 20)
        counter++;
    if (r == 0 && rule == 27 && code == NX_OP_WRITE)
        remembered_handle = handle;
    if (rule == 18 && code == NX_OP_CLOSE && r == 1 && !used[NX_HANDLE_INDEX(handle) % INDICES])
        ret_inline->result = -ENOTCONN;
    used[NX_HANDLE_INDEX(handle) % INDICES] = code != NX_OP_CLOSE;
    return r;
}

/* Before its owner hears of it, what has come is thrown away. */
static void lose(struct nx_ctx *ctx, const struct nx_op *op)
{
    char lost[256];
    int fd = real->export_fd(ctx, op->handle);
    ssize_t n;

    if (op->code == NX_OP_ACCEPT) {
        int taken = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
        if (taken >= 0)
            close(taken);
    } else {
        n = recv(fd, lost, sizeof(lost), MSG_DONTWAIT);
        (void)n;
    }
}

static void broken_cancel(struct nx_ctx *ctx, struct nx_op *op)
{
    if (rule == 12 && remembered == op)
        keep(&(struct nx_completion){.op = op, .result = -ECANCELED});
    if (rule == 12)
        remembered = op;
    if ((rule == 13 && op->code == NX_OP_READ) || (rule == 14 && op->code == NX_OP_ACCEPT))
        lose(ctx, op);
    if (rule == 66 && op->code == NX_OP_WRITE) { /* a byte goes, and nobody is told */
        ssize_t n = send(real->export_fd(ctx, op->handle), op->data, 1, MSG_DONTWAIT);
        (void)n;
        remembered = op;
    }
    if (!offers_cancel(op))
        real->cancel(ctx, op);
}

/* ---- sleeping ---- */

static int broken_arm(struct nx_ctx *ctx)
{
    int r = rule == 0 && stash_count > 0 ? -EAGAIN : real->arm(ctx);

    __atomic_store_n(&armed, r == 0, __ATOMIC_SEQ_CST);
    return r;
}

static void broken_disarm(struct nx_ctx *ctx)
{
    __atomic_store_n(&armed, 0, __ATOMIC_SEQ_CST);
    real->disarm(ctx);
}

static uint32_t spin_a_while(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max, nx_time until)
{
    const nx_time end = host->now() + MS / 8 < until ? host->now() + MS / 8 : until;

    while (host->now() < end)
        ;
    return real->wait(ctx, out, max, NX_POLL);
}

static uint32_t broken_wait(struct nx_ctx *ctx, struct nx_completion *out, uint32_t max, nx_time until)
{
    uint32_t count;

    if (rule == 48)
        pause_for(MS / 20); /* a window in which a wake is lost; a busy machine lets the one run who wakes, too */
    __atomic_store_n(&armed, 0, __ATOMIC_SEQ_CST);
    if (rule == 47)
        return spin_a_while(ctx, out, max, until);
    __atomic_store_n(&sleeping, 1, __ATOMIC_SEQ_CST);
    if (rule == 45 && until != NX_FOREVER && until != NX_POLL)
        until += 1500 * MS;
    count = real->wait(ctx, out, max, until);
    __atomic_store_n(&sleeping, 0, __ATOMIC_SEQ_CST);
    count = filter(ctx, out, count, max);
    if (rule == 44 || (rule == 49 && until == NX_FOREVER && is_second_worker(ctx))) {
        for (uint32_t i = 0; i < count; i++)
            keep(&out[i]);
        return 0;
    }
    return count;
}

static void broken_wake(struct nx_ctx *ctx)
{
    if (rule == 42 && !__atomic_load_n(&sleeping, __ATOMIC_SEQ_CST))
        return;
    if (rule == 43)
        scrap = host->alloc(16, 0);
    if (rule == 48 && __atomic_load_n(&armed, __ATOMIC_SEQ_CST) && ++counter > 20)
        return;
    real->wake(ctx);
}

static int broken_wait_fd(struct nx_ctx *ctx)
{
    static int fds[2] = {-1, -1};

    if (rule != 60)
        return real->wait_fd ? real->wait_fd(ctx) : -ENOTSUP;
    return fds[0] >= 0 || pipe(fds) == 0 ? fds[0] : -EMFILE; /* nobody ever writes */
}

static nx_time broken_now(struct nx_driver *driver)
{
    nx_time now = host->now();

    (void)driver;
    return ++counter % 100 == 0 ? now - MS : now;
}

/* ---- handles ---- */

static int broken_socket(struct nx_ctx *ctx, uint32_t family, uint32_t type, nx_handle *ret_handle)
{
    int r;

    if (rule == 37) {
        char *memory = host->alloc(32, 0);
        *memory = 1;
        host->free(memory, 32);
    }
    r = real->socket(ctx, family, type, ret_handle);
    if (r == 0 && (rule == 17 || rule == 36))
        current[NX_HANDLE_INDEX(*ret_handle) % INDICES] = *ret_handle;
    if (r == 0)
        used[NX_HANDLE_INDEX(*ret_handle) % INDICES] = false;
    return r;
}

static int broken_option(struct nx_ctx *ctx, nx_handle handle, uint32_t option, int64_t value)
{
    int r = real->option(ctx, handle, option, value);

    return rule == 34 && r == -ENOTSUP ? 0 : r;
}

static int broken_name(struct nx_ctx *ctx, nx_handle handle, uint32_t peer, struct nx_addr *ret_addr)
{
    int r = real->name(ctx, handle, peer, ret_addr);

    if (r == 0 && rule == 31 && peer)
        ret_addr->port++;
    if (r == 0 && rule == 63 && ret_addr->family == NX_AF_INET6)
        ret_addr->data[15] ^= 2;
    if (r == 0 && rule == 64 && ret_addr->family == NX_AF_UNIX && ret_addr->len > 0)
        ret_addr->len--;
    return r;
}

static int broken_import_fd(struct nx_ctx *ctx, int32_t fd, uint32_t flags, nx_handle *ret_handle)
{
    static int32_t imported = -1;
    int r;

    if (rule == 55 && fd == imported) { /* two imports, one handle */
        *ret_handle = remembered_handle;
        return 0;
    }
    if (rule == 56)
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    r = real->import_fd(ctx, fd, flags, ret_handle);
    imported = fd;
    if (rule == 55)
        remembered_handle = *ret_handle;
    return r;
}

static void broken_release(struct nx_ctx *ctx, nx_handle handle)
{
    if (rule != 33)
        real->release(ctx, handle);
}

static int broken_loan_return(struct nx_ctx *ctx, void *data)
{
    if (rule == 70)
        real->loan_return(ctx, data);
    return 0;
}

static void broken_hold(struct nx_driver *driver, int32_t more)
{
    if (rule != 73)
        real->hold(driver, more);
}

/* ---- what and how ---- */

static int broken_capability(struct nx_driver *driver, uint32_t code, struct nx_capability *ret_capability)
{
    int r = real->capability(driver, code, ret_capability);

    if (rule == 39 && ret_capability->level == NX_CAP_NO)
        memset(ret_capability->reason, 0, sizeof(ret_capability->reason));
    if (rule == 40 && code == NX_OP_POLL)
        ret_capability->level = NX_CAP_INLINE, ret_capability->flags = 0;
    if (rule == 52 && code == NX_OP_WRITE)
        ret_capability->flags |= NX_OP_INJECT;
    if (rule == 54 && code == NX_OP_READ)
        ret_capability->flags |= NX_OP_LOAN;
    if (r == 0)
        offers_claim(code, ret_capability);
    return r;
}

static uint32_t broken_stats(struct nx_ctx *ctx, struct nx_stat *out, uint32_t max)
{
    if (rule == 41)
        memset(&out[max], 0, 8); /* one more than there is room for */
    return real->stats(ctx, out, max);
}

static void make_table(void)
{
    table = *real;
    table.size = sizeof(table);
    table.open = broken_open;
    table.close = broken_close;
    table.ctx_open = broken_ctx_open;
    table.ctx_close = broken_ctx_close;
    if (real->forked)
        table.forked = broken_forked;
    table.submit = broken_submit;
    table.cancel = broken_cancel;
    table.poll = broken_poll;
    table.arm = broken_arm;
    table.disarm = broken_disarm;
    table.wait = broken_wait;
    table.wake = broken_wake;
    table.socket = broken_socket;
    table.option = broken_option;
    table.name = broken_name;
    if (real->import_fd)
        table.import_fd = broken_import_fd;
    table.capability = broken_capability;
    table.stats = broken_stats;
    if (real->release)
        table.release = broken_release;
    if (rule == 1)
        table.affinity = NX_AFFINITY_FREE;
    if (rule == 54 || rule == 70)
        table.loan_return = broken_loan_return;
    if (real->hold)
        table.hold = broken_hold;
    offers_set_up(rule, real, &host, keep);
    offers_add(&table);
    if (rule == 60)
        table.wait_fd = broken_wait_fd;
    if (rule == 61)
        table.now = broken_now;
}

/* As a plugin of ABI 0.1: who reads on behind its table faults. */
static void shorten_table(void)
{
    table.size = OLD_SIZE;
    if (mprotect((uint8_t *)&frame + PAGE, PAGE, PROT_NONE) < 0)
        perror("broken_driver: mprotect");
}

/* Before the loader looks at the table. */
static void __attribute__((constructor)) load(void)
{
    const char *path = getenv("NXT_BROKEN_REAL"), *broken = getenv("NXT_BROKEN");
    const struct nx_plugin *plugin;

    if (!path || !broken || strncmp(broken, "NXD-", 4) != 0)
        return;
    plugin = real_plugin(path);
    if (!plugin)
        return;
    real = plugin->ops;
    for (uint32_t i = 0; plugin->params && plugin->params[i].name && i < 63; i++)
        params[i] = plugin->params[i];
    rule = (uint32_t)strtoul(broken + 4, NULL, 10);
    make_table();
    if (getenv("NXT_BROKEN_OLD"))
        shorten_table();
}

NX_PLUGIN_EXPORT const struct nx_plugin nexus_plugin_broken_driver = {
    .magic = NX_PLUGIN_MAGIC,
    .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR,
    .abi_minor = NX_ABI_MINOR,
    .kind = NX_PLUGIN_DRIVER,
    .name = "broken_driver",
    .version = "1.0",
    .summary = "a good driver with one fault",
    .priority = -1,
    .params = params,
    .probe = broken_probe,
    .ops = &table,
};
