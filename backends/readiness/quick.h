/*
 * readiness/quick.h: recv(2) and send(2) for what a request consists of. Not installed.
 *
 * glibc's are cancellation points, which in a program with threads is half of what they cost in user space. Nobody
 * cancels a worker's thread, so the system call alone will do; where a sanitizer wants to see the call, or the
 * architecture hasn't got it under that number, it is libc's.
 */
#ifndef NEXUS_READINESS_QUICK_H
#define NEXUS_READINESS_QUICK_H

#include <sys/socket.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif

#ifdef __has_feature
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer) || __has_feature(memory_sanitizer)
#define QUICK_BY_LIBC 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(SYS_recvfrom) || !defined(SYS_sendto)
#define QUICK_BY_LIBC 1
#endif

static inline ssize_t quick_recv(int fd, void *data, size_t len)
{
#ifdef QUICK_BY_LIBC
    return recv(fd, data, len, MSG_DONTWAIT);
#else
    return syscall(SYS_recvfrom, fd, data, len, MSG_DONTWAIT, NULL, NULL);
#endif
}

static inline ssize_t quick_send(int fd, const void *data, size_t len)
{
#ifdef QUICK_BY_LIBC
    return send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
#else
    return syscall(SYS_sendto, fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL, NULL, 0);
#endif
}

#endif
