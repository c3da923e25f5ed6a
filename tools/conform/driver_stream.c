/* conform/driver_stream.c: what streams and datagrams carry, and how they end. */
#include "rig.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define VOLUME (2u << 20)
#define PIECE 50000u

static uint8_t byte_at(uint64_t position)
{
    return (uint8_t)(position * 31 + (position >> 8) * 7 + (position >> 16));
}

struct stream {
    struct rig *rig;
    struct pair pair;
    uint64_t sent, got, random;
    uint8_t out[PIECE], in[PIECE];
    struct flight *write, *read;
    uint64_t asked; /* of the write */
};

static void start_write(struct stream *stream)
{
    stream->asked = 1 + next_random(&stream->random) % PIECE;
    if (stream->asked > VOLUME - stream->sent)
        stream->asked = VOLUME - stream->sent;
    for (uint64_t i = 0; i < stream->asked; i++)
        stream->out[i] = byte_at(stream->sent + i);
    stream->write = fly(stream->rig, 0, write_op(stream->pair.client, stream->out, (uint32_t)stream->asked));
}

static void end_write(struct stream *stream)
{
    int64_t r = stream->write->result;

    CHECK(r > 0 && (uint64_t)r <= stream->asked, "WRITE of %llu bytes gives %s", (unsigned long long)stream->asked,
          error_text(r));
    stream->sent += (uint64_t)r;
    drop(stream->rig, stream->write);
    stream->write = NULL;
}

static void end_read(struct stream *stream)
{
    int64_t r = stream->read->result;

    CHECK(r > 0 && r <= PIECE, "READ gives %s after %llu of %u bytes", error_text(r), (unsigned long long)stream->got,
          VOLUME);
    for (int64_t i = 0; i < r; i++)
        CHECK(stream->in[i] == byte_at(stream->got + (uint64_t)i), "byte %llu of the stream is not the one written",
              (unsigned long long)stream->got + (uint64_t)i);
    stream->got += (uint64_t)r;
    drop(stream->rig, stream->read);
    stream->read = NULL;
}

/* Megabytes in pieces of any size, the reader now slower and now faster than the writer. */
void driver_bytes(const struct subject *subject)
{
    static struct stream stream;
    struct rig *rig = rig_open(subject, 1);
    const nx_time enough = real_now() + 2 * PATIENCE; /* of one that moves a byte at a time it is less */
    nx_time until = real_now() + PATIENCE;
    uint64_t before = 0, volume = VOLUME;

    stream = (struct stream){.rig = rig, .pair = pair_open(rig), .random = subject->seed};
    doing("a stream of %u bytes", VOLUME);
    while (stream.got < volume || stream.write) { /* ends: until comes; a WRITE may tell after its bytes were read */
        if (!stream.write && real_now() > enough)
            volume = stream.sent;
        if (!stream.write && stream.sent < volume)
            start_write(&stream);
        if (!stream.read && stream.got < volume && next_random(&stream.random) % 2)
            stream.read = fly(rig, 0, read_op(stream.pair.server, stream.in, 1 + next_random(&stream.random) % PIECE));
        if (!(stream.write && ended(stream.write)) && !(stream.read && ended(stream.read)))
            step(rig, stream.read ? rig_now(rig) + MS : NX_POLL);
        if (stream.write && ended(stream.write))
            end_write(&stream);
        if (stream.read && ended(stream.read))
            end_read(&stream);
        until = stream.got > before ? real_now() + PATIENCE : until;
        before = stream.got;
        CHECK(real_now() < until, "a stream stands still after %llu of %u bytes", (unsigned long long)stream.got,
              VOLUME);
    }
    CHECK(stream.sent == stream.got, "%llu bytes were taken and %llu came", (unsigned long long)stream.sent,
          (unsigned long long)stream.got);
    pair_close(&stream.pair);
    rig_close(rig);
}

void driver_pressure(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    static char bytes[65536];
    uint64_t filled = fill(rig, 0, pair.client), got = 0;
    struct flight *write = fly(rig, 0, write_op(pair.client, bytes, sizeof(bytes)));

    CHECK(!ended(write), "WRITE without room completes at once, with %s", error_text(write->result));
    doing("reading what a waiting WRITE waits for");
    while (!ended(write) || got < filled + (uint64_t)write->result) { /* ends: read_some gives up */
        got += read_some(rig, 0, pair.server, bytes, sizeof(bytes));
        CHECK(got <= filled + sizeof(bytes), "more bytes come than were written");
        step(rig, NX_POLL);
    }
    CHECK(write->result > 0, "WRITE that has waited for room gives %s", error_text(write->result));
    pair_close(&pair);
    rig_close(rig);
}

void driver_eof(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    char bytes[8];
    int64_t r;

    write_all(rig, 0, pair.client, "last", 4);
    r = carry_out(rig, 0, (struct nx_op){.handle = pair.client, .code = NX_OP_SHUTDOWN, .arg = NX_SHUT_WRITE});
    CHECK(r == 0, "SHUTDOWN gives %s", error_text(r));
    read_all(rig, 0, pair.server, bytes, 4);
    CHECK(memcmp(bytes, "last", 4) == 0, "the bytes before the end of the stream are not those written");
    for (uint32_t i = 0; i < 3; i++) {
        r = carry_out(rig, 0, read_op(pair.server, bytes, sizeof(bytes)));
        CHECK(r == 0, "READ %u at the end of the stream gives %s", i + 1, error_text(r));
    }
    write_all(rig, 0, pair.server, "back", 4); /* the other direction is open */
    read_all(rig, 0, pair.client, bytes, 4);
    CHECK(memcmp(bytes, "back", 4) == 0, "after SHUTDOWN of one direction the other carries other bytes");
    r = carry_out(rig, 0, write_op(pair.client, "x", 1));
    CHECK(r == -EPIPE, "WRITE after one's own SHUTDOWN gives %s", error_text(r));
    pair_close(&pair);
    rig_close(rig);
}

static volatile sig_atomic_t pipe_signals;

static void count_pipe_signal(int signal)
{
    (void)signal;
    pipe_signals = pipe_signals + 1;
}

void driver_reset(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    int64_t r = 1;
    char byte;

    signal(SIGPIPE, count_pipe_signal);
    write_all(rig, 0, pair.client, "unread", 6);
    close_handle(rig, 0, pair.server); /* with something unread: a reset, where there is such a thing */
    for (nx_time until = real_now() + PATIENCE; r > 0 && real_now() < until;) {
        r = carry_out(rig, 0, write_op(pair.client, "x", 1));
        step(rig, NX_POLL);
    }
    CHECK(r == -EPIPE || r == -ECONNRESET, "WRITE to a peer that has gone gives %s", error_text(r));
    r = carry_out(rig, 0, write_op(pair.client, "x", 1));
    CHECK(r == -EPIPE || r == -ECONNRESET, "WRITE to a peer that has gone, once more, gives %s", error_text(r));
    r = carry_out(rig, 0, read_op(pair.client, &byte, 1));
    CHECK(r == 0 || r == -ECONNRESET || r == -EPIPE, "READ from a peer that has gone gives %s", error_text(r));
    CHECK(pipe_signals == 0, "WRITE to a peer that has gone raised SIGPIPE");
    close_handle(rig, 0, pair.client);
    rig_close(rig);
}

void driver_refused(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct nx_addr addr;
    nx_handle listener = make_listener(rig, 0, &addr), second = make_socket(rig, 0, NX_SOCK_STREAM), client;
    int64_t r = rig->ops->bind(rig->context[0], second, &addr);

    if (r == 0)
        r = rig->ops->listen(rig->context[0], second, 1);
    CHECK(r == -EADDRINUSE, "a second listener on 127.0.0.1:%u gives %s", addr.port, error_text(r));
    close_handle(rig, 0, second);
    close_handle(rig, 0, listener);
    client = make_socket(rig, 0, NX_SOCK_STREAM);
    r = finish(rig, start_connect(rig, 0, client, &addr));
    CHECK(r == -ECONNREFUSED, "CONNECT to where nobody listens gives %s", error_text(r));
    close_handle(rig, 0, client);
    rig_close(rig);
}

void driver_duplex(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    static char bytes[65536];
    char byte;
    struct flight *read = fly(rig, 0, read_op(pair.client, &byte, 1));

    fill(rig, 0, pair.client);
    struct flight *write = fly(rig, 0, write_op(pair.client, bytes, sizeof(bytes)));
    CHECK(!ended(read), "READ with nothing to read completes with %s", error_text(read->result));
    CHECK(!ended(write), "WRITE without room completes with %s", error_text(write->result));
    write_all(rig, 0, pair.server, "x", 1);
    int64_t r = finish(rig, read);
    CHECK(r == 1 && byte == 'x', "READ beside a WRITE that waits gives %s", error_text(r));
    CHECK(!ended(write), "WRITE without room completes with %s when the other direction moves",
          error_text(write->result));
    doing("reading what a waiting WRITE waits for");
    while (!ended(write)) { /* ends: read_some gives up */
        read_some(rig, 0, pair.server, bytes, sizeof(bytes));
        step(rig, NX_POLL);
    }
    CHECK(write->result > 0, "WRITE beside a READ gives %s", error_text(write->result));
    pair_close(&pair);
    rig_close(rig);
}

void driver_poll(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    struct nx_op readable = {.handle = pair.server, .code = NX_OP_POLL, .arg = NX_READABLE};
    struct flight *poll;
    char byte;
    int64_t r;

    if (capability_of(rig, NX_OP_POLL).level == NX_CAP_NO)
        skip("capability says NX_CAP_NO to POLL: %s", capability_of(rig, NX_OP_POLL).reason);
    r = carry_out(rig, 0, (struct nx_op){.handle = pair.server, .code = NX_OP_POLL, .arg = NX_WRITABLE});
    CHECK(r == NX_WRITABLE, "POLL for NX_WRITABLE with room gives %s", error_text(r));
    poll = fly(rig, 0, readable);
    CHECK(!ended(poll), "POLL for NX_READABLE with nothing to read completes with %s", error_text(poll->result));
    write_all(rig, 0, pair.client, "x", 1);
    r = finish(rig, poll);
    CHECK(r == NX_READABLE, "POLL for NX_READABLE when a byte has come gives %s", error_text(r));
    r = carry_out(rig, 0, readable);
    CHECK(r == NX_READABLE, "POLL for NX_READABLE with a byte there, again, gives %s", error_text(r));
    read_all(rig, 0, pair.server, &byte, 1);
    poll = fly(rig, 0, readable);
    CHECK(!ended(poll), "POLL for NX_READABLE after the only byte was read completes with %s",
          error_text(poll->result));
    close_handle(rig, 0, pair.client);
    r = finish(rig, poll);
    CHECK(r > 0 && (r & NX_READABLE), "POLL for NX_READABLE when the peer has closed gives %s", error_text(r));
    poll = fly(rig, 0, (struct nx_op){.handle = pair.server, .code = NX_OP_POLL, .arg = 0});
    ask_cancel(rig, poll); /* one that takes it waits for ever */
    r = finish(rig, poll);
    CHECK(r == -EINVAL, "POLL for nothing gives %s", error_text(r));
    close_handle(rig, 0, pair.server);
    rig_close(rig);
}

void driver_vectors(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct pair pair = pair_open(rig);
    struct iovec iov[] = {{"one", 3}, {"", 0}, {"two", 3}, {"three", 5}};
    static struct iovec many[NX_IOV_MAX + 1];
    char bytes[16];
    int64_t r = carry_out(rig, 0, (struct nx_op){.handle = pair.client, .code = NX_OP_WRITEV, .data = iov, .len = 4});

    CHECK(r > 0 && r <= 11, "WRITEV of 11 bytes in four pieces gives %s", error_text(r));
    if (r < 11)
        write_all(rig, 0, pair.client, &"onetwothree"[r], (size_t)(11 - r));
    read_all(rig, 0, pair.server, bytes, 11);
    CHECK(memcmp(bytes, "onetwothree", 11) == 0, "WRITEV of one, two, three came as '%.11s'", bytes);
    for (uint32_t i = 0; i <= NX_IOV_MAX; i++)
        many[i] = (struct iovec){"x", 1};
    r = carry_out(rig, 0,
                  (struct nx_op){.handle = pair.client, .code = NX_OP_WRITEV, .data = many, .len = NX_IOV_MAX + 1});
    CHECK(r == -EINVAL, "WRITEV of %u pieces, one more than NX_IOV_MAX, gives %s", NX_IOV_MAX + 1, error_text(r));
    pair_close(&pair);
    rig_close(rig);
}

/* ---- datagrams ---- */

static nx_handle datagram_socket(struct rig *rig, struct nx_addr *ret_addr)
{
    nx_handle handle = 0;
    const struct nx_addr any = loopback(0);
    int r = rig->ops->socket(rig->context[0], NX_AF_INET, NX_SOCK_DGRAM, &handle);

    if (r < 0)
        skip("socket says %s to NX_SOCK_DGRAM", error_text(r));
    r = rig->ops->bind(rig->context[0], handle, &any);
    r = r < 0 ? r : rig->ops->name(rig->context[0], handle, 0, ret_addr);
    CHECK(r == 0, "bind and name of a datagram socket give %s", error_text(r));
    return handle;
}

static int64_t send_to(struct rig *rig, nx_handle handle, struct nx_addr *to, const char *text)
{
    struct iovec iov = {(void *)(uintptr_t)text, strlen(text)};
    struct nx_message message = {.iov = &iov, .iov_count = 1, .addr = to};

    return carry_out(rig, 0, (struct nx_op){.handle = handle, .code = NX_OP_SENDMSG, .data = &message});
}

static int64_t receive(struct rig *rig, nx_handle handle, char *bytes, size_t size, struct nx_message *ret_message,
                       struct nx_addr *ret_from)
{
    struct iovec iov = {bytes, size};

    *ret_message = (struct nx_message){.iov = &iov, .iov_count = 1, .addr = ret_from};
    return carry_out(rig, 0, (struct nx_op){.handle = handle, .code = NX_OP_RECVMSG, .data = ret_message});
}

void driver_datagrams(const struct subject *subject)
{
    struct rig *rig = rig_open(subject, 1);
    struct nx_addr addr, other_addr, from;
    nx_handle one, other;
    struct nx_message message;
    char bytes[16];
    int64_t r;

    if (capability_of(rig, NX_OP_RECVMSG).level == NX_CAP_NO)
        skip("capability says NX_CAP_NO to RECVMSG: %s", capability_of(rig, NX_OP_RECVMSG).reason);
    one = datagram_socket(rig, &addr);
    other = datagram_socket(rig, &other_addr);
    CHECK((r = send_to(rig, one, &other_addr, "first")) == 5, "SENDMSG of 5 bytes gives %s", error_text(r));
    CHECK((r = send_to(rig, one, &other_addr, "")) == 0, "SENDMSG of an empty datagram gives %s", error_text(r));
    CHECK((r = send_to(rig, one, &other_addr, "too long")) == 8, "SENDMSG of 8 bytes gives %s", error_text(r));
    r = receive(rig, other, bytes, sizeof(bytes), &message, &from);
    CHECK(r == 5 && memcmp(bytes, "first", 5) == 0 && message.flags == 0, "RECVMSG of a datagram of 5 bytes gives %s",
          error_text(r));
    CHECK(from.port == addr.port, "RECVMSG says that a datagram comes from port %u; it was sent from %u", from.port,
          addr.port);
    r = receive(rig, other, bytes, sizeof(bytes), &message, &from);
    CHECK(r == 0, "RECVMSG of an empty datagram gives %s", error_text(r));
    r = receive(rig, other, bytes, 3, &message, &from);
    CHECK(r == 8, "RECVMSG of a datagram of 8 bytes into 3 gives %s, not its real length", error_text(r));
    CHECK(message.flags & NX_MESSAGE_CUT, "RECVMSG cut a datagram and does not say NX_MESSAGE_CUT");
    CHECK(memcmp(bytes, "too", 3) == 0, "RECVMSG cut the wrong end of a datagram off");
    close_handle(rig, 0, one);
    close_handle(rig, 0, other);
    rig_close(rig);
}
