/* net.c: the peers of what is tested: blocking sockets on the loopback, and bytes that show when one is lost. */
#include "nxt.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int give_up(int fd, const char *what)
{
    nxt_fail(__FILE__, __LINE__, "%s: %s", what, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

int nxt_listen(int backlog, uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return give_up(fd, "socket");
    if (bind(fd, (struct sockaddr *)&address, length) < 0 || listen(fd, backlog) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &length) < 0)
        return give_up(fd, "listen");
    *ret_port = ntohs(address.sin_port);
    return fd;
}

int nxt_connect(uint16_t port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return give_up(fd, "socket");
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return give_up(fd, "connect");
    return fd;
}

int nxt_accept(int fd)
{
    int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    return accepted < 0 ? give_up(-1, "accept4") : accepted;
}

bool nxt_socketpair(int ret_fds[2])
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ret_fds) == 0 ||
           nxt_fail(__FILE__, __LINE__, "socketpair: %s", strerror(errno));
}

bool nxt_pipe(int ret_fds[2])
{
    return pipe2(ret_fds, O_CLOEXEC) == 0 || nxt_fail(__FILE__, __LINE__, "pipe2: %s", strerror(errno));
}

bool nxt_write_all(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);
        if (sent < 0 && errno == ENOTSOCK)
            sent = write(fd, at, len);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        at += sent;
        len -= (size_t)sent;
    }
    return true;
}

ssize_t nxt_read_all(int fd, void *data, size_t len)
{
    size_t total = 0;
    while (total < len) {
        ssize_t got = read(fd, (char *)data + total, len - total);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return total > 0 ? (ssize_t)total : -errno;
        if (got == 0)
            break;
        total += (size_t)got;
    }
    return (ssize_t)total;
}

void nxt_close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

const char *nxt_loopback(uint16_t port)
{
    static _Thread_local char text[32];
    snprintf(text, sizeof(text), "127.0.0.1:%u", port);
    return text;
}

static unsigned char byte_at(uint64_t offset, uint32_t seed)
{
    uint64_t block = (offset >> 3) ^ (uint64_t)seed << 32;
    return (unsigned char)(nxt_random(&block) >> (offset & 7) * 8);
}

void nxt_fill(void *data, size_t len, uint64_t offset, uint32_t seed)
{
    unsigned char *bytes = data;
    for (size_t i = 0; i < len; i++)
        bytes[i] = byte_at(offset + i, seed);
}

size_t nxt_check_fill(const void *data, size_t len, uint64_t offset, uint32_t seed)
{
    const unsigned char *bytes = data;
    for (size_t i = 0; i < len; i++)
        if (bytes[i] != byte_at(offset + i, seed))
            return i;
    return len;
}
