/*
 * stack_guard.c: a page or more below each stack that nobody may touch.
 *
 * MADV_GUARD_INSTALL (Linux 6.13) makes no mapping; mprotect makes two a stack, so there is a limit to those; without
 * either there is one warning, and overflows are found at the end of a task (stack.c). doc/design/stacks.md.
 */
#define _GNU_SOURCE

#include "os.h"
#include "stack_parts.h"

#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__linux__) && !defined(MADV_GUARD_INSTALL)
#define MADV_GUARD_INSTALL 102
#endif

size_t nxi_stack_page_size = 4096; /* written before the first stack is */
bool nxi_on_valgrind;
static _Atomic int guards = NXI_GUARDS_NONE;
static _Atomic size_t mprotect_left; /* each costs two mappings */
static _Atomic(void (*)(const char *)) warn_callback;
static atomic_bool warned;

void nxi_stacks_set_warn(void (*warn)(const char *text))
{
    atomic_store(&warn_callback, warn);
}

static void warn_once(void)
{
    void (*warn)(const char *) = atomic_load(&warn_callback);

    if (!atomic_exchange(&warned, true) && warn != NULL)
        warn("task stacks have no guard pages from now on: an overflow is found only when its task ends "
             "(Linux 6.13, a higher vm.max_map_count or no mlockall would guard them)");
}

/* A kernel may take an advice it doesn't know about, and an emulator any: only a read that fails is a proof. */
static bool guard_works(void)
{
    bool works = false;
#ifdef MADV_GUARD_INSTALL
    uint64_t value = 1;
    int ends[2], error = nxi_os_pipe(ends, true);
    char *page = mmap(NULL, nxi_stack_page_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (error == 0 && page != MAP_FAILED && madvise(page, nxi_stack_page_size, MADV_GUARD_INSTALL) == 0)
        works = write(ends[1], page, sizeof(value)) == -1 && errno == EFAULT &&
                write(ends[1], &value, sizeof(value)) == (ssize_t)sizeof(value);
    if (page != MAP_FAILED)
        munmap(page, nxi_stack_page_size);
    if (error == 0) {
        close(ends[0]);
        close(ends[1]);
    }
#endif
    return works;
}

static bool install_guard_pages(char *address, size_t size)
{
#ifdef MADV_GUARD_INSTALL
    return madvise(address, size, MADV_GUARD_INSTALL) == 0;
#else
    (void)address;
    (void)size;
    return false;
#endif
}

static void init(void)
{
    long size = sysconf(_SC_PAGESIZE);

    if (size > 0)
        nxi_stack_page_size = (size_t)size;
#ifdef STACK_VALGRIND
    nxi_on_valgrind = RUNNING_ON_VALGRIND;
#endif
    /* half of the mappings stay for the program and its other libraries */
    atomic_store(&mprotect_left, nxi_os_mappings_max() / 4);
    atomic_store(&guards, guard_works() ? NXI_GUARDS_MADVISE : NXI_GUARDS_MPROTECT);
}

int nxi_stacks_init(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    return -pthread_once(&once, init);
}

enum nxi_stack_guards nxi_stacks_guards(void)
{
    return (enum nxi_stack_guards)atomic_load(&guards);
}

void nxi_stacks_set_guards(enum nxi_stack_guards new_guards, size_t mprotect_max)
{
    atomic_store(&mprotect_left, mprotect_max);
    atomic_store(&warned, false);
    atomic_store(&guards, new_guards);
}

static bool reserve_mprotect(void)
{
    size_t left = atomic_load(&mprotect_left);

    while (left > 0)
        if (atomic_compare_exchange_weak(&mprotect_left, &left, left - 1))
            return true;
    return false;
}

enum nxi_guard nxi_guard_install(char *address, size_t size)
{
    enum nxi_stack_guards wanted = nxi_stacks_guards();

    /* EINVAL: the memory is locked */
    if (wanted == NXI_GUARDS_MADVISE && install_guard_pages(address, size))
        return NXI_GUARD_MADVISE;
    if (wanted != NXI_GUARDS_NONE && reserve_mprotect()) {
        if (mprotect(address, size, PROT_NONE) == 0)
            return NXI_GUARD_MPROTECT;
        atomic_fetch_add(&mprotect_left, 1);
    }
    warn_once();
    return NXI_GUARD_NONE;
}
