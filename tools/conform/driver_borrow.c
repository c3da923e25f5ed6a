/* conform/driver_borrow.c: what operations point to besides their bytes, descriptors that go along, and memory that is
 * lent or registered. */
#define _GNU_SOURCE
#include "rig.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* ---- iovecs, addresses, messages ---- */

struct letter { /* a message, each part of it in a window of its own */
    struct window *message, *iov, *bytes, *addr;
};

static struct letter letter_new(const char *what, size_t size, bool with_address)
{
    struct letter letter = {
        .message = window_new(sizeof(struct nx_message), "the struct nx_message of %s", what),
        .iov = window_new(sizeof(struct iovec), "the iovec of %s", what),
        .bytes = window_new(size, "the buffer of %s", what),
        .addr = with_address ? window_new(sizeof(struct nx_addr), "the address of %s", what) : NULL,
    };
    struct iovec *iov = (struct iovec *)letter.iov->data;

    *iov = (struct iovec){letter.bytes->data, size};
    *(struct nx_message *)letter.message->data = (struct nx_message){
        .iov = iov, .iov_count = 1, .addr = with_address ? (struct nx_addr *)letter.addr->data : NULL};
    return letter;
}

static void letter_close(struct letter *letter)
{
    window_close(letter->message);
    window_close(letter->iov);
    window_close(letter->bytes);
    if (letter->addr)
        window_close(letter->addr);
}

static struct flight *post(struct rig *rig, nx_handle handle, uint16_t code, const struct letter *letter)
{
    return fly(rig, 0, (struct nx_op){.handle = handle, .code = code, .data = letter->message->data});
}

static void write_vectors(struct rig *rig, const struct pair *pair, bool full)
{
    struct window *iov = window_new(2 * sizeof(struct iovec), "the iovecs of a WRITEV");
    struct window *bytes = window_new(6, "the buffer of a WRITEV");
    static char drained[65536];
    uint64_t filled = full ? fill(rig, 0, pair->client) : 0;
    struct flight *write;
    int64_t r;

    memcpy(bytes->data, "abcdef", 6);
    ((struct iovec *)iov->data)[0] = (struct iovec){bytes->data, 3};
    ((struct iovec *)iov->data)[1] = (struct iovec){bytes->data + 3, 3};
    write = fly(rig, 0, (struct nx_op){.handle = pair->client, .code = NX_OP_WRITEV, .data = iov->data, .len = 2});
    while (filled > 0) /* ends: read_some gives up */
        filled -= read_some(rig, 0, pair->server, drained, filled < sizeof(drained) ? filled : sizeof(drained));
    r = finish(rig, write);
    window_close(iov);
    window_close(bytes);
    CHECK(r > 0 && r <= 6, "WRITEV of 6 bytes gives %s", error_text(r));
    settle(rig);
    read_all(rig, 0, pair->server, drained, (size_t)r);
    CHECK(memcmp(drained, "abcdef", (size_t)r) == 0, "WRITEV sent other bytes");
}

static void send_letters(struct rig *rig)
{
    nx_handle sockets[2];
    struct nx_addr addrs[2], any = loopback(0);
    struct letter in, out;

    for (uint32_t i = 0; i < 2; i++) {
        sockets[i] = make_socket(rig, 0, NX_SOCK_DGRAM);
        rig->ops->bind(rig->context[0], sockets[i], &any);
        rig->ops->name(rig->context[0], sockets[i], 0, &addrs[i]);
    }
    for (uint32_t i = 0; i < 4; i++) {
        in = letter_new("a RECVMSG", 8, true);
        out = letter_new("a SENDMSG", 8, true);
        *(struct nx_addr *)out.addr->data = addrs[1];
        struct flight *receive = post(rig, sockets[1], NX_OP_RECVMSG, &in);
        if (i == 3) { /* cancelled, all is given back likewise */
            ask_cancel(rig, receive);
            finish(rig, receive);
            letter_close(&in);
        }
        struct flight *send = post(rig, sockets[0], NX_OP_SENDMSG, &out);
        int64_t r = finish(rig, send);
        letter_close(&out);
        CHECK(r == 8, "SENDMSG of 8 bytes gives %s", error_text(r));
        r = finish(rig, receive);
        if (i < 3)
            letter_close(&in);
        CHECK(i == 3 || r == 8, "RECVMSG of 8 bytes gives %s", error_text(r));
        settle(rig);
    }
    close_handle(rig, 0, sockets[0]);
    close_handle(rig, 0, sockets[1]);
}

void driver_pointed(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct nx_addr addr;
    nx_handle listener = make_listener(rig, 0, &addr), client;
    struct flight *accept = fly(rig, 0, (struct nx_op){.handle = listener, .code = NX_OP_ACCEPT});
    struct window *window = window_new(sizeof(addr), "the address of a CONNECT");
    struct pair pair;
    int64_t r;

    memcpy(window->data, &addr, sizeof(addr));
    client = make_socket(rig, 0, NX_SOCK_STREAM);
    r = finish(rig, start_connect(rig, 0, client, (const struct nx_addr *)window->data));
    window_close(window);
    CHECK(r == 0, "CONNECT gives %s", error_text(r));
    r = finish(rig, accept);
    CHECK(r > 0, "ACCEPT gives %s", error_text(r));
    pair = (struct pair){.rig = rig, .client = client, .server = (nx_handle)r};
    for (uint32_t i = 0; i < 4; i++)
        write_vectors(rig, &pair, i % 2);
    if (capability_of(rig, NX_OP_RECVMSG).level != NX_CAP_NO)
        send_letters(rig);
    pair_close(&pair);
    close_handle(rig, 0, listener);
    rig_close(rig);
}

/* ---- descriptors ---- */

static struct pair unix_pair(struct rig *rig)
{
    struct nx_addr addr = {.family = NX_AF_UNIX};
    nx_handle listener = 0, client = 0;
    struct nx_ctx *ctx = rig->context[0];
    int64_t r;

    addr.len =
        (uint16_t)(1 + snprintf((char *)addr.data + 1, sizeof(addr.data) - 1, "nexus-conform-fds-%ld", (long)getpid()));
    r = rig->ops->socket(ctx, NX_AF_UNIX, NX_SOCK_STREAM, &listener);
    if (r == -EAFNOSUPPORT || r == -ENOTSUP)
        skip("socket says %s to family NX_AF_UNIX", error_text(r));
    r = r < 0 ? r : rig->ops->bind(ctx, listener, &addr);
    r = r < 0 ? r : rig->ops->listen(ctx, listener, 4);
    r = r < 0 ? r : rig->ops->socket(ctx, NX_AF_UNIX, NX_SOCK_STREAM, &client);
    CHECK(r == 0, "socket, bind and listen of family NX_AF_UNIX give %s", error_text(r));
    r = finish(rig, start_connect(rig, 0, client, &addr));
    CHECK(r == 0, "CONNECT to a path gives %s", error_text(r));
    r = carry_out(rig, 0, (struct nx_op){.handle = listener, .code = NX_OP_ACCEPT});
    CHECK(r > 0, "ACCEPT of family NX_AF_UNIX gives %s", error_text(r));
    close_handle(rig, 0, listener);
    unlink((const char *)addr.data);
    return (struct pair){.rig = rig, .client = client, .server = (nx_handle)r};
}

static int64_t send_fds(struct rig *rig, nx_handle handle, int32_t *fds, uint32_t count)
{
    struct iovec iov = {"x", 1};
    struct nx_message message = {.iov = &iov, .iov_count = 1, .fds = fds, .fd_count = count};

    return carry_out(rig, 0, (struct nx_op){.handle = handle, .code = NX_OP_SENDMSG, .data = &message});
}

static void pass_descriptors(struct rig *rig, const struct pair *pair, uint32_t room)
{
    int fds[2], before, expected = (int)(room < 2 ? room : 2);
    int32_t came[4] = {-1, -1, -1, -1};
    char byte = 0;
    struct iovec iov = {&byte, 1};
    struct nx_message message = {.iov = &iov, .iov_count = 1, .fds = room ? came : NULL, .fd_count = room};
    struct flight *receive;
    int64_t r;

    CHECK(pipe(fds) == 0, "this program could not make a pipe");
    before = open_descriptors();
    receive = fly(rig, 0, (struct nx_op){.handle = pair->server, .code = NX_OP_RECVMSG, .data = &message});
    r = send_fds(rig, pair->client, fds, 2);
    CHECK(r == 1, "SENDMSG of a byte with two descriptors gives %s", error_text(r));
    r = finish(rig, receive);
    CHECK(r == 1 && byte == 'x', "RECVMSG of a byte with two descriptors gives %s", error_text(r));
    CHECK((int)message.fd_count == expected, "RECVMSG with room for %u descriptors, of two, says that %u came", room,
          message.fd_count);
    CHECK(!(message.flags & NX_MESSAGE_FDS_CUT) == (room >= 2), "RECVMSG with room for %u descriptors, of two, %s",
          room, room >= 2 ? "says NX_MESSAGE_FDS_CUT" : "does not say NX_MESSAGE_FDS_CUT");
    CHECK(open_descriptors() == before + expected, "of two descriptors with room for %u, %d are left open", room,
          open_descriptors() - before);
    for (int i = 0; i < expected; i++)
        CHECK(fcntl(came[i], F_GETFD) & FD_CLOEXEC, "a descriptor that came is left open on exec");
    if (expected == 2) {
        CHECK(write(came[1], "y", 1) == 1 && read(fds[0], &byte, 1) == 1 && byte == 'y',
              "the descriptors that came are not those that were sent");
    }
    for (int i = 0; i < expected; i++)
        close(came[i]);
    close(fds[0]);
    close(fds[1]);
}

void driver_fds(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair;
    int32_t fd = 0;

    if (capability_of(rig, NX_OP_SENDMSG).level == NX_CAP_NO)
        skip("capability says NX_CAP_NO to SENDMSG: %s", capability_of(rig, NX_OP_SENDMSG).reason);
    pair = unix_pair(rig);
    if (!(rig->ops->domains & NX_DOMAIN_FOREIGN)) {
        int64_t r = send_fds(rig, pair.client, &fd, 1);
        CHECK(r == -ENOTSUP, "SENDMSG with a descriptor, of a driver without NX_DOMAIN_FOREIGN, gives %s",
              error_text(r));
        skip("domains lacks NX_DOMAIN_FOREIGN: it has nothing to do with descriptors, and says so");
    }
    for (uint32_t room = 0; room < 4; room++)
        pass_descriptors(rig, &pair, room);
    pair_close(&pair);
    rig_close(rig);
}

/* ---- loans ---- */

static struct flight *borrow(struct rig *rig, nx_handle handle, uint16_t flags)
{
    struct nx_op op = read_op(handle, NULL, 4096);

    op.flags = NX_OP_LOAN | flags;
    return fly(rig, 0, op);
}

static void give_loan_back(struct rig *rig, void *data)
{
    doing("loan_return");
    int r = rig->ops->loan_return(rig->context[0], data);
    CHECK(r == 0, "loan_return gives %s", error_text(r));
}

/* A writer that waits for room goes on when what was lent is returned. */
static void check_room(struct rig *rig)
{
    enum { LOANS = 4096 };
    static void *lent[LOANS];
    static char chunk[65536];
    struct pair pair = pair_open(rig);
    struct flight *loan, *write;
    uint32_t count = 0;

    fill(rig, 0, pair.client);
    write = fly(rig, 0, write_op(pair.client, chunk, sizeof(chunk)));
    while (count < LOANS) { /* ends: nothing comes any more, or it is enough */
        loan = borrow(rig, pair.server, NX_OP_NOWAIT);
        CHECK(ended(loan), "READ with NX_OP_LOAN and NX_OP_NOWAIT did not complete in submit");
        if (loan->result == -EAGAIN)
            break;
        CHECK(loan->result > 0 && (loan->flags & NX_COMPLETION_LOANED), "READ with NX_OP_LOAN gives %s, and lends %s",
              error_text(loan->result), loan->flags & NX_COMPLETION_LOANED ? "it" : "nothing");
        lent[count++] = loan->data;
        drop(rig, loan);
        step(rig, NX_POLL);
    }
    CHECK(!(loan->flags & NX_COMPLETION_LOANED), "READ with NX_OP_LOAN that gives -EAGAIN lends something");
    for (uint32_t i = 0; i < count; i++)
        give_loan_back(rig, lent[i]);
    for (const nx_time until = real_now() + 1000 * MS; !ended(write) && real_now() < until;)
        step(rig, NX_POLL);
    CHECK(ended(write), "a WRITE waits for room, all %u loans were returned, and it still waits", count);
    pair_close(&pair);
}

void driver_lent(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair;
    struct flight *loan;
    char byte;
    int64_t r;

    if (!(capability_of(rig, NX_OP_READ).flags & NX_OP_LOAN))
        skip("capability of READ lacks NX_OP_LOAN");
    pair = pair_open(rig);
    loan = borrow(rig, pair.server, 0);
    ask_cancel(rig, loan);
    r = finish(rig, loan);
    CHECK(r == -ECANCELED && !(loan->flags & NX_COMPLETION_LOANED),
          "READ with NX_OP_LOAN that was cancelled gives %s, and lends %s", error_text(r),
          loan->flags & NX_COMPLETION_LOANED ? "something" : "nothing");
    write_all(rig, 0, pair.client, "lent", 4);
    loan = borrow(rig, pair.server, 0);
    r = finish(rig, loan);
    CHECK(r == 4 && (loan->flags & NX_COMPLETION_LOANED) && memcmp(loan->data, "lent", 4) == 0,
          "READ with NX_OP_LOAN of 4 bytes gives %s", error_text(r));
    CHECK(rig->ops->loan_return(rig->context[0], &byte) < 0, "loan_return of what was not lent gives 0");
    pair_close(&pair);
    settle(rig);
    CHECK(memcmp(loan->data, "lent", 4) == 0, "lent memory has changed when the handle was closed");
    give_loan_back(rig, loan->data);
    check_room(rig);
    rig_close(rig);
}

/* ---- registered memory ---- */

void driver_registered(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct window *windows[2];
    uint32_t keys[2];
    struct pair pair;

    if (!HAS(rig, memory_register))
        skip("memory_register is NULL");
    CHECK(HAS(rig, memory_unregister), "there is memory_register and no memory_unregister");
    pair = pair_open(rig);
    for (uint32_t round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < 2; i++) {
            windows[i] = window_new(4096, "memory that was registered");
            doing("memory_register");
            int r = rig->ops->memory_register(rig->driver, windows[i]->data, 4096, &keys[i]);
            CHECK(r == 0, "memory_register of 4096 bytes gives %s", error_text(r));
        }
        CHECK(keys[0] != keys[1], "two pieces of memory have the key %u", keys[0]);
        memset(windows[0]->data, 'r', 64);
        write_all(rig, 0, pair.client, windows[0]->data, 64);
        read_all(rig, 0, pair.server, windows[1]->data, 64);
        CHECK(memcmp(windows[0]->data, windows[1]->data, 64) == 0,
              "bytes from registered memory to registered memory have changed");
        for (uint32_t i = 0; i < 2; i++) { /* from then on it is the program's alone */
            doing("memory_unregister");
            rig->ops->memory_unregister(rig->driver, keys[i]);
            window_close(windows[i]);
        }
        write_all(rig, 0, pair.client, "x", 1);
        read_all(rig, 0, pair.server, (char[1]){0}, 1);
        settle(rig);
    }
    pair_close(&pair);
    rig_close(rig);
}
