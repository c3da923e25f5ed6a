/*
 * readiness/os.h: sockets where they differ between systems. Not installed.
 *
 * macOS makes sockets that neither are close-on-exec nor don't block, and marks them afterwards: a fork in another
 * thread between the two inherits one.
 */
#ifndef NEXUS_READINESS_OS_H
#define NEXUS_READINESS_OS_H

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>
#ifdef __APPLE__
#include <poll.h>
#include <sys/event.h>
#endif

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#define OS_NOSIGPIPE_BY_OPTION 1 /* SO_NOSIGPIPE says it once */
#endif
#ifndef MSG_CMSG_CLOEXEC
#define MSG_CMSG_CLOEXEC 0
#define OS_MARKS_RECEIVED 1 /* descriptors that came are marked one by one */
#endif
#ifndef POLLRDHUP
#define POLLRDHUP 0 /* POLLHUP, which poll always looks for, means it there */
#endif

/*
 * A short read of a TCP stream means that nothing is left, unless it stopped at urgent data. Where no poller can tell
 * of those each read is tried until it would block.
 */
#if defined(__linux__) || defined(__APPLE__) || defined(__OpenBSD__)
#define OS_TELLS_URGENT 1
#else
#define OS_TELLS_URGENT 0
#endif

#ifdef __linux__
#define OS_ABSTRACT_NAMES 1
/* A read of a Unix stream that stops short has taken all, unless it stopped at a message that carried descriptors,
 * which its flags tell. Elsewhere they don't. */
#define OS_UNIX_TELLS_ALL 1
#else
#define OS_ABSTRACT_NAMES 0
#define OS_UNIX_TELLS_ALL 0
#endif

#ifdef __OpenBSD__
#define OS_DUAL_STACK 0 /* IPv6 sockets never take IPv4, and asking for it is an error */
#else
#define OS_DUAL_STACK 1
#endif

static inline int os_mark(int fd, bool nonblock)
{
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || (nonblock && fcntl(fd, F_SETFL, O_NONBLOCK) < 0)) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/*
 * Of a descriptor that is ours: writing to a peer that is gone raises no signal. Sockets are told so with each write
 * where there is MSG_NOSIGNAL; of pipes some kernels send the signal to the process, not to the thread that has it
 * blocked.
 */
static inline void os_no_sigpipe(int fd, bool is_socket)
{
    int error = errno;
#ifdef OS_NOSIGPIPE_BY_OPTION
    const int on = 1;
    if (is_socket)
        setsockopt(fd, SOL_SOCKET, SO_NOSIGPIPE, &on, sizeof(on));
#endif
#ifdef F_SETNOSIGPIPE
    if (!is_socket)
        fcntl(fd, F_SETNOSIGPIPE, 1);
#endif
    (void)fd;
    (void)is_socket;
    errno = error;
}

/* As socket(2). */
static inline int os_socket(int domain, int type, bool nonblock)
{
#ifdef __APPLE__
    int fd = socket(domain, type, 0);
    if (fd >= 0)
        fd = os_mark(fd, nonblock);
#else
    int fd = socket(domain, type | SOCK_CLOEXEC | (nonblock ? SOCK_NONBLOCK : 0), 0);
#endif
    if (fd >= 0)
        os_no_sigpipe(fd, true);
    return fd;
}

/* As accept(2): one that does not block. */
static inline int os_accept(int listener)
{
#ifdef __APPLE__
    int fd = accept(listener, NULL, NULL);
    if (fd >= 0)
        fd = os_mark(fd, true);
#else
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
#endif
    if (fd >= 0)
        os_no_sigpipe(fd, true);
    return fd;
}

/* AF_..., or -errno. */
static inline int os_domain(int fd)
{
#ifdef SO_DOMAIN
    int domain = 0;
    socklen_t len = sizeof(domain);
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ? -errno : domain;
#else
    struct sockaddr_storage name = {0};
    socklen_t len = sizeof(name);
    return getsockname(fd, (struct sockaddr *)&name, &len) < 0 ? -errno : name.ss_family;
#endif
}

#ifdef __APPLE__
/* poll(2) knows neither devices nor kqueues there: the events that hold now, as POLL... */
static inline int os_level(int fd, int events)
{
    const struct timespec now = {0};
    struct kevent changes[2], found[2];
    int count = 0, ready = 0, kq = kqueue();
    if (kq < 0)
        return -errno;
    if (events & POLLIN)
        EV_SET(&changes[count++], (uintptr_t)fd, EVFILT_READ, EV_ADD, 0, 0, 0);
    if (events & POLLOUT)
        EV_SET(&changes[count++], (uintptr_t)fd, EVFILT_WRITE, EV_ADD, 0, 0, 0);
    int n = kevent(kq, changes, count, found, 2, &now);
    int error = n < 0 ? errno : 0;
    close(kq);
    for (int i = 0; i < n; i++) {
        if (found[i].flags & EV_ERROR)
            error = (int)found[i].data;
        else
            ready |= found[i].filter == EVFILT_READ ? POLLIN : POLLOUT;
    }
    if (error == EINVAL || error == ENODEV || error == EPERM) /* no filter for it: always ready, as a file is */
        return events;
    return ready ? ready : -error;
}
#endif

/* A group and the interface, by its number. NetBSD takes the number for an address of network 0. */
#ifdef __NetBSD__
struct os_group {
    struct in_addr imr_multiaddr;
    struct in_addr imr_interface;
};
#define OS_GROUP(index) ((struct os_group){.imr_interface.s_addr = htonl((uint32_t)(index))})
#define OS_INTERFACE(group) (&(group).imr_interface)
#define OS_INTERFACE_SIZE sizeof(struct in_addr)
#else
#define os_group ip_mreqn
#define OS_GROUP(index) ((struct ip_mreqn){.imr_ifindex = (int)(index)})
#define OS_INTERFACE(group) (&(group))
#define OS_INTERFACE_SIZE sizeof(struct ip_mreqn)
#endif

static inline bool os_is_tcp(int fd)
{
    int value = 0;
    socklen_t len = sizeof(value);
#ifdef SO_PROTOCOL
    return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &value, &len) == 0 && value == IPPROTO_TCP;
#else
    return getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &len) == 0;
#endif
}

#endif
