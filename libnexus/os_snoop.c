/*
 * os_snoop.c: reading memory that may not be there, by having the kernel do it.
 *
 * Linux: process_vm_readv(2), or /proc/self/mem where a seccomp profile denies that. macOS: vm_read_overwrite.
 * Elsewhere: write(2) of it to a pipe fails with EFAULT instead of faulting.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <sys/uio.h>
#elif defined(__APPLE__)
#include <mach/mach.h>
#endif

#if defined(__linux__)

static atomic_bool readv_denied;

/* Three system calls, and no descriptor that would have to be kept, closed and looked after in a forked child. */
static ssize_t read_own_memory(void *to, uintptr_t from, size_t size)
{
    int fd = open("/proc/self/mem", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = pread(fd, to, size, (off_t)from);
    close(fd);
    return n;
}

bool nxi_snoop(void *to, const void *from, size_t size)
{
    int saved_errno = errno;
    ssize_t n = -1;
#ifdef SYS_process_vm_readv
    struct iovec local = {to, size}, remote = {(void *)(uintptr_t)from, size};
    if (!atomic_load_explicit(&readv_denied, memory_order_relaxed)) {
        n = syscall(SYS_process_vm_readv, getpid(), &local, 1UL, &remote, 1UL, 0UL);
        if (n < 0 && errno != EFAULT && errno != ENOMEM) /* a seccomp profile: EPERM, ENOSYS or what it likes */
            atomic_store_explicit(&readv_denied, true, memory_order_relaxed);
    }
#else
    atomic_store_explicit(&readv_denied, true, memory_order_relaxed);
#endif
    if (atomic_load_explicit(&readv_denied, memory_order_relaxed))
        n = read_own_memory(to, (uintptr_t)from, size);
    errno = saved_errno;
    return n == (ssize_t)size;
}

#elif defined(__APPLE__)

bool nxi_snoop(void *to, const void *from, size_t size)
{
    vm_size_t copied = 0;
    return vm_read_overwrite(mach_task_self(), (vm_address_t)from, size, (vm_address_t)to, &copied) == KERN_SUCCESS &&
           copied == size;
}

#else

#define CHUNK ((size_t)512) /* every pipe holds that */

/* The pipe lives as long as the call, so that nothing is shared with a handler that does the same. */
bool nxi_snoop(void *to, const void *from, size_t size)
{
    int saved_errno = errno, ends[2];
    size_t done = 0;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        errno = saved_errno;
        return false;
    }
    while (done < size) { /* ends: each turn moves bytes, or breaks */
        size_t chunk = size - done < CHUNK ? size - done : CHUNK;
        ssize_t n = write(ends[1], (const char *)from + done, chunk);
        if (n <= 0 || read(ends[0], (char *)to + done, (size_t)n) != n)
            break;
        done += (size_t)n;
    }
    close(ends[0]);
    close(ends[1]);
    errno = saved_errno;
    return done == size;
}

#endif
