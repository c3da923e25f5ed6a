/* conform/driver_life.c: tables, probes, opening and closing, and what must be as it was afterwards. */
#include "rig.h"

#include <errno.h>
#include <nexus/plugin.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROBES 20u
#define ROUNDS 3u
#define ALLOCATIONS_MAX 4096u

void driver_table(const struct subject *subject)
{
    const struct nx_driver_ops *ops = subject->driver;
    const uint32_t known = NX_DOMAIN_NETWORK | NX_DOMAIN_FILES | NX_DOMAIN_FOREIGN | NX_DOMAIN_PROCESS;
    struct rig rig = {.ops = ops};

    CHECK(ops->domains != 0 && !(ops->domains & ~known), "domains is %#x", ops->domains);
    CHECK(ops->affinity <= NX_AFFINITY_PINNED, "affinity is %u", ops->affinity);
    CHECK(ops->affinity != NX_AFFINITY_FREE || !HAS(&rig, release),
          "affinity is NX_AFFINITY_FREE, and there is a release");
    CHECK(ops->affinity != NX_AFFINITY_REBIND || HAS(&rig, release),
          "affinity is NX_AFFINITY_REBIND without a release");
    if (ops->domains & NX_DOMAIN_NETWORK)
        CHECK(HAS(&rig, socket) && HAS(&rig, bind) && HAS(&rig, listen) && HAS(&rig, name),
              "NX_DOMAIN_NETWORK without all of socket, bind, listen and name");
    if (ops->domains & NX_DOMAIN_FOREIGN)
        CHECK(HAS(&rig, import_fd), "NX_DOMAIN_FOREIGN without import_fd");
}

void driver_probe(const struct subject *subject)
{
    const int descriptors = open_descriptors(), threads = thread_count();
    const uint64_t bytes = books.live_bytes;
    nx_time best = NX_FOREVER;

    if (!subject->plugin->probe)
        skip("probe is NULL: it runs always");
    for (uint32_t i = 0; i < PROBES; i++) { /* the fastest counts: a busy machine is not the plugin's fault */
        struct nx_reason reason = {0};
        nx_time start = real_now();

        doing("probe");
        int r = subject->plugin->probe(&conform_host, subject->config, &reason);
        best = real_now() - start < best ? real_now() - start : best;
        CHECK(r == 0 || reason.error != 0 || reason.text[0], "probe fails with %s and gives no reason", error_text(r));
        CHECK(r == 0, "probe says that it can't run here, %s: %s %s", error_text(r), reason.call, reason.text);
    }
    CHECK(best <= 5 * MS, "the fastest of %u probes took %lld us", PROBES, (long long)best / 1000);
    CHECK(open_descriptors() == descriptors, "%u probes leave %d descriptors", PROBES,
          open_descriptors() - descriptors);
    CHECK(books.live_bytes == bytes, "%u probes leave %llu bytes", PROBES,
          (unsigned long long)(books.live_bytes - bytes));
    CHECK(thread_count() == threads, "%u probes leave %d threads", PROBES, thread_count() - threads);
}

/* A rig that has done something of everything the driver is good for. */
static void use(struct rig *rig)
{
    if (rig->ops->domains & NX_DOMAIN_NETWORK) {
        struct pair pair = pair_open(rig);
        char byte = 'x';

        write_all(rig, 0, pair.client, &byte, 1);
        read_all(rig, 0, pair.server, &byte, 1);
        pair_close(&pair);
    }
}

void driver_life(const struct subject *subject)
{
    int descriptors = 0;
    uint64_t bytes = 0, blocks = 0;

    for (uint32_t i = 0; i < ROUNDS + 1; i++) {
        struct rig *rig;

        if (i == 1) { /* the first round may make what a process needs once */
            descriptors = open_descriptors();
            bytes = books.live_bytes;
            blocks = books.live_blocks;
        }
        rig = rig_open(subject, i % 3); /* also without any context: nexus info does that */
        if (rig->contexts > 0)
            use(rig);
        rig_close(rig);
    }
    CHECK(open_descriptors() == descriptors, "%u openings and closings leave %d descriptors", ROUNDS,
          open_descriptors() - descriptors);
    CHECK(books.live_bytes == bytes, "%u openings and closings leave %llu bytes in %llu pieces", ROUNDS,
          (unsigned long long)(books.live_bytes - bytes), (unsigned long long)(books.live_blocks - blocks));
}

/* ---- memory that can't be had ---- */

/* Opens with the k-th allocation failing. False: it was not reached, all is well. */
static bool open_with_failure(const struct subject *subject, uint64_t k)
{
    const struct nx_driver_ops *ops = subject->driver;
    struct nx_driver *driver = NULL;
    struct nx_ctx *ctx = NULL;
    struct nx_reason reason = {0};
    const char *what = "open";
    bool reached;

    host_fail_at(k);
    doing("open with allocation %llu failing", (unsigned long long)k);
    int r = ops->open(&conform_host, subject->config, DRIVER_ID, &driver, &reason);
    if (r == 0) {
        what = "ctx_open";
        doing("ctx_open with allocation %llu failing", (unsigned long long)k);
        r = ops->ctx_open(driver, 0, &ctx, &reason);
        if (r == 0)
            ops->ctx_close(ctx);
        ops->close(driver);
    }
    reached = books.failed > 0;
    host_fail_at(0);
    CHECK(r == 0 || reached, "%s fails with %s although memory was there", what, error_text(r));
    CHECK(r == 0 || r == -ENOMEM, "%s fails with %s when allocation %llu does", what, error_text(r),
          (unsigned long long)k);
    CHECK(r == 0 || reason.error != 0 || reason.text[0], "%s fails without a reason when allocation %llu does", what,
          (unsigned long long)k);
    return reached;
}

void driver_alloc_open(const struct subject *subject)
{
    int descriptors;
    uint64_t bytes;

    open_with_failure(subject, 0);
    descriptors = open_descriptors();
    bytes = books.live_bytes;
    for (uint64_t k = 1; k < ALLOCATIONS_MAX && open_with_failure(subject, k); k++) {
        CHECK(books.live_bytes == bytes, "with allocation %llu failing, open and ctx_open leave %llu bytes",
              (unsigned long long)k, (unsigned long long)(books.live_bytes - bytes));
        CHECK(open_descriptors() == descriptors, "with allocation %llu failing, open and ctx_open leave %d descriptors",
              (unsigned long long)k, open_descriptors() - descriptors);
    }
}

/* READs that wait, WRITEs and POLL on a connection, any of which may fail. */
static int move_with_failure(struct rig *rig, nx_handle client, nx_handle server)
{
    char bytes[16];
    struct flight *read = fly(rig, 0, read_op(server, bytes, sizeof(bytes)));
    struct flight *poll = fly(rig, 0, (struct nx_op){.handle = client, .code = NX_OP_POLL, .arg = NX_READABLE});
    int64_t r = carry_out(rig, 0, write_op(client, "bytes", 5));

    if (r < 0)
        ask_cancel(rig, read);
    ask_cancel(rig, poll);
    finish(rig, poll);
    r = r < 0 ? r : finish(rig, read);
    finish(rig, read);
    return r < 0 ? (int)r : 0;
}

/* The calls that may fail for want of memory, in a program that goes on: an error is an answer, a crash is none. */
static bool operate_with_failure(struct rig *rig, uint64_t k)
{
    struct nx_addr addr = loopback(0);
    nx_handle listener = 0, client = 0;
    int64_t server = 0;
    bool reached;
    int r;

    host_fail_at(k);
    doing("a connection and its READ, WRITE and POLL with allocation %llu failing", (unsigned long long)k);
    r = rig->ops->socket(rig->context[0], NX_AF_INET, NX_SOCK_STREAM, &listener);
    r = r < 0 ? r : rig->ops->bind(rig->context[0], listener, &addr);
    r = r < 0 ? r : rig->ops->listen(rig->context[0], listener, 16);
    r = r < 0 ? r : rig->ops->name(rig->context[0], listener, 0, &addr);
    r = r < 0 ? r : rig->ops->socket(rig->context[0], NX_AF_INET, NX_SOCK_STREAM, &client);
    if (r == 0) {
        struct flight *accept = fly(rig, 0, (struct nx_op){.handle = listener, .code = NX_OP_ACCEPT});
        struct flight *connect = start_connect(rig, 0, client, &addr);

        if (finish(rig, connect) < 0)
            ask_cancel(rig, accept);
        server = finish(rig, accept);
        r = connect->result < 0 ? (int)connect->result : server < 0 ? (int)server : 0;
        if (r == 0)
            r = move_with_failure(rig, client, (nx_handle)server);
    }
    reached = books.failed > 0;
    host_fail_at(0);
    CHECK(r == 0 || reached, "a connection, its READ or its WRITE fails with %s although memory was there",
          error_text(r));
    if (server > 0)
        close_handle(rig, 0, (nx_handle)server);
    if (client)
        close_handle(rig, 0, client);
    if (listener)
        close_handle(rig, 0, listener);
    return reached;
}

void driver_alloc_ops(const struct subject *subject)
{
    int descriptors = open_descriptors();
    uint64_t bytes = books.live_bytes;

    for (uint64_t k = 1; k < ALLOCATIONS_MAX; k++) {
        struct rig *rig = rig_open(subject, 1); /* a new one each time: what has grown once asks for no more */
        bool reached = operate_with_failure(rig, k);

        operate_with_failure(rig, 0); /* and it has not broken anything */
        rig_close(rig);
        CHECK(open_descriptors() <= descriptors + 1 && books.live_bytes == bytes,
              "with allocation %llu of the operations failing, %llu bytes and %d descriptors are left",
              (unsigned long long)k, (unsigned long long)(books.live_bytes - bytes), open_descriptors() - descriptors);
        if (!reached)
            return;
    }
}

void driver_leftovers(const struct subject *subject)
{
    int descriptors = 0;
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct rig *rig = rig_open(subject, 1);
        struct net net = net_open(rig, 0);
        struct pair one = pair_make(&net, 0), other = pair_make(&net, 0);

        write_all(rig, 0, one.client, "unread", 6);
        close_handle(rig, 0, other.server);
        ask_cancel(rig, net.accept);
        finish(rig, net.accept);
        rig_close(rig);
        if (i == 0) {
            descriptors = open_descriptors();
            bytes = books.live_bytes;
        }
    }
    CHECK(open_descriptors() == descriptors, "descriptors of handles that nobody closed are left: %d more",
          open_descriptors() - descriptors);
    CHECK(books.live_bytes == bytes, "memory of handles that nobody closed is left: %llu bytes more",
          (unsigned long long)(books.live_bytes - bytes));
}

void driver_sizes(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 2);

    use(rig);
    rig_close(rig);
    CHECK(books.wrong_pointers == 0, "host->free was called with what host->alloc did not give, or twice");
    CHECK(books.wrong_sizes == 0, "host->free was called with size %llu for memory of %llu bytes",
          (unsigned long long)books.wrong_given, (unsigned long long)books.wrong_real);
}

/* ---- a guest in the process ---- */

#define SIGNALS 128 /* real-time ones, too; of a number that is none nothing is read */

static void read_handlers(struct sigaction *ret_actions)
{
    memset(ret_actions, 0, SIGNALS * sizeof(*ret_actions));
    for (int i = 1; i < SIGNALS; i++)
        sigaction(i, NULL, &ret_actions[i]);
}

static bool has_children(void)
{
    return waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD;
}

void driver_guest(const struct subject *subject)
{
    struct sigaction before[SIGNALS], after[SIGNALS];
    sigset_t blocked_before, blocked_after;
    const int threads = thread_count();
    struct rig *rig;

    read_handlers(before);
    sigprocmask(SIG_SETMASK, NULL, &blocked_before);
    rig = rig_open(subject, 2);
    use(rig);
    settle(rig);
    read_handlers(after);
    sigprocmask(SIG_SETMASK, NULL, &blocked_after);
    for (int i = 1; i < SIGNALS; i++)
        CHECK(before[i].sa_handler == after[i].sa_handler && before[i].sa_flags == after[i].sa_flags,
              "the handler of signal %d (%s) was changed", i, strsignal(i));
    for (int i = 1; i < SIGNALS; i++)
        CHECK(sigismember(&blocked_before, i) == sigismember(&blocked_after, i), "signal %d (%s) was %s", i,
              strsignal(i), sigismember(&blocked_after, i) ? "blocked" : "unblocked");
    CHECK(thread_count() == threads, "it has started %d threads", thread_count() - threads);
    CHECK(!has_children(), "it has forked: this process has a child");
    rig_close(rig);
    CHECK(!has_children(), "its close has forked: this process has a child");
}

#define FORKED_S 20 /* the child of a child has to end though nobody waits for it any more */
#define LEFT_MAX 100

/* The child of a fork(2), which tells by its status how many descriptors more than before are left. */
static int left_in_child(struct rig *rig, int before)
{
    int status;
    pid_t pid = fork();

    CHECK(pid >= 0, "this program could not fork");
    if (pid == 0) {
        int left;

        alarm(FORKED_S);
        rig->ops->forked(rig->driver);
        left = open_descriptors() - before;
        _exit(left < 0 ? 0 : left < LEFT_MAX ? left : LEFT_MAX);
    }
    CHECK(waitpid(pid, &status, 0) == pid && WIFEXITED(status), "forked ended the child by signal %d",
          WTERMSIG(status));
    return WEXITSTATUS(status);
}

void driver_forked(const struct subject *subject)
{
    const int before = open_descriptors();
    struct rig *rig = rig_open(subject, 2);
    struct pair pair = {0};
    int left;

    if (!HAS(rig, forked) && open_descriptors() == before)
        skip("forked is NULL, and it holds no descriptor");
    CHECK(HAS(rig, forked), "forked is NULL, and it holds %d descriptors", open_descriptors() - before);
    if (rig->ops->domains & NX_DOMAIN_NETWORK)
        pair = pair_open(rig);
    doing("forked");
    left = left_in_child(rig, before);
    CHECK(left == 0, "after forked a child still has %d descriptors of the driver's", left);
    if (pair.rig) { /* the parent goes on */
        char byte = 'x';

        write_all(rig, 0, pair.client, &byte, 1);
        read_all(rig, 0, pair.server, &byte, 1);
        pair_close(&pair);
    }
    rig_close(rig);
}
