/*
 * os_pages.c: the memory of task stacks.
 *
 * Dropping pages must leave zeros: a slot that is used again counts on it. Only Linux' MADV_DONTNEED does that; the
 * others, whose advice of the same name drops nothing for sure, get fresh pages mapped over the old ones.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif

/* OpenBSD lets no stack pointer be elsewhere; on FreeBSD it asks for a stack that grows, and nothing else. */
#if defined(MAP_STACK) && !defined(__FreeBSD__)
#define STACK_FLAGS (MAP_PRIVATE | MAP_ANON | MAP_STACK)
#else
#define STACK_FLAGS (MAP_PRIVATE | MAP_ANON)
#endif

void *nxi_os_stacks_map(size_t size)
{
#ifdef __OpenBSD__
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, STACK_FLAGS, -1, 0); /* takes no flag beside them */
#else
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, STACK_FLAGS | MAP_NORESERVE, -1, 0);
#endif
    if (memory == MAP_FAILED)
        return NULL;
#ifdef MADV_NOHUGEPAGE
    /* A huge page per touched stack would be 2 MiB and 229 µs. EINVAL: a kernel without them. */
    madvise(memory, size, MADV_NOHUGEPAGE);
#endif
    return memory;
}

void nxi_os_pages_drop(void *low, size_t size)
{
#ifdef __linux__
    madvise(low, size, MADV_DONTNEED); /* EINVAL: the memory is locked, and stays */
#else
    void *ignored = mmap(low, size, PROT_READ | PROT_WRITE, STACK_FLAGS | MAP_FIXED, -1, 0);
    (void)ignored;
#endif
}

bool nxi_os_pages_resident(void *low, size_t page_count, unsigned char *ret_resident)
{
    const size_t size = page_count * (size_t)sysconf(_SC_PAGESIZE);
#if defined(__linux__)
    return mincore(low, size, ret_resident) == 0;
#elif defined(__OpenBSD__) /* has taken mincore(2) away */
    (void)low, (void)size, (void)ret_resident;
    return false;
#else
    return mincore(low, size, (char *)ret_resident) == 0;
#endif
}

size_t nxi_os_mappings_max(void)
{
#ifdef __linux__
    char text[32] = "";
    size_t count = 65530;
    int fd = open("/proc/sys/vm/max_map_count", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return count;
    if (read(fd, text, sizeof(text) - 1) > 0 && strtoul(text, NULL, 10) > 0)
        count = strtoul(text, NULL, 10);
    close(fd);
    return count;
#else
    return (size_t)1 << 22; /* these have no such limit; each costs the kernel some hundred bytes */
#endif
}
