/*
 * readiness/quick.h: recv(2) and send(2) for what a request consists of. Not installed.
 *
 * glibc's are cancellation points, which in a program with threads is half of what they cost in user space. Nobody
 * cancels a worker's thread, so the system call alone will do; where a sanitizer wants to see the call, or the
 * architecture hasn't got it under that number, it is libc's.
 */
#ifndef NEXUS_READINESS_QUICK_H
#define NEXUS_READINESS_QUICK_H

#include <errno.h>
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

/*
 * The result is -errno, which spares the usual way room for a call. On x86-64 the instruction itself: syscall(2) moves
 * each argument to the next register first.
 */
static inline ssize_t quick_result(ssize_t result)
{
    return __builtin_expect(result < 0, 0) ? -errno : result;
}

#if !defined(QUICK_BY_LIBC) && defined(__x86_64__) && !defined(__ILP32__)
static inline ssize_t quick_call(long number, int fd, const void *data, size_t len, long flags)
{
    register long r10 __asm__("r10") = flags;
    register long r8 __asm__("r8") = 0; /* no address */
    register long r9 __asm__("r9") = 0;
    long result;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"((long)fd), "S"(data), "d"(len), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}
#elif !defined(QUICK_BY_LIBC)
static inline ssize_t quick_call(long number, int fd, const void *data, size_t len, long flags)
{
    return quick_result(syscall(number, fd, data, len, flags, NULL, 0));
}
#endif

static inline ssize_t quick_recv(int fd, void *data, size_t len)
{
#ifdef QUICK_BY_LIBC
    return quick_result(recv(fd, data, len, MSG_DONTWAIT));
#else
    return quick_call(SYS_recvfrom, fd, data, len, MSG_DONTWAIT);
#endif
}

static inline ssize_t quick_send(int fd, const void *data, size_t len)
{
#ifdef QUICK_BY_LIBC
    return quick_result(send(fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL));
#else
    return quick_call(SYS_sendto, fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
#endif
}

#endif
