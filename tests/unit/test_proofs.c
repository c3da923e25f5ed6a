/*
 * What the runtime relies on is what was found to work, not what the kernel, or an emulator of one, says yes to: each
 * case finds out for itself, by other means, and holds what the runtime chose against it. qemu-user accepts
 * MADV_GUARD_INSTALL and installs nothing, and has no epoll_pwait2; kernels have both, one, or none.
 */
#define _GNU_SOURCE
#include "stack.h"

#include <dirent.h>
#include <errno.h>
#include <nexus/nexus.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#define NR_EPOLL_PWAIT2 441 /* on every architecture */

/* Asked of the memory itself: whether the kernel can read there. */
static bool is_readable(const char *address)
{
    int fds[2];
    bool readable;

    assert_int_equal(pipe(fds), 0);
    readable = write(fds[1], address, 1) == 1;
    if (!readable)
        assert_int_equal(errno, EFAULT);
    close(fds[0]);
    close(fds[1]);
    return readable;
}

static void guards_are_of_a_kind_that_guards(void **state)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool accepted = madvise(memory, page, MADV_GUARD_INSTALL) == 0;
    bool guards = accepted && !is_readable(memory);

    (void)state;
    munmap(memory, page);
    assert_int_equal(nxi_stacks_init(), 0);
    print_message("# MADV_GUARD_INSTALL is %s; stacks are guarded by %s\n",
                  guards     ? "there"
                  : accepted ? "accepted and installs nothing"
                             : "not there",
                  nxi_stacks_guards() == NXI_GUARDS_MADVISE ? "it" : "mprotect(2)");
    assert_int_equal(nxi_stacks_guards(), guards ? NXI_GUARDS_MADVISE : NXI_GUARDS_MPROTECT);
}

static int timerfds(void)
{
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *entry;
    int count = 0;

    assert_non_null(folder);
    while ((entry = readdir(folder))) {
        char path[300], target[64] = "";

        snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
        if (readlink(path, target, sizeof(target) - 1) > 0)
            count += strstr(target, "timerfd") != NULL;
    }
    closedir(folder);
    return count;
}

static void waits_end_by_what_the_kernel_has(void **state)
{
    bool lacks = syscall(NR_EPOLL_PWAIT2, -1, NULL, 0, NULL, NULL, 0) < 0 && errno == ENOSYS;
    char error[512] = "";
    const nx_runtime_options options = {.size = sizeof(options),
                                        .workers = 1,
                                        .backend = "epoll",
                                        .pin = NX_PIN_BACKEND,
                                        .error = error,
                                        .error_size = sizeof(error)};
    nx_runtime *runtime;
    int before = timerfds();

    (void)state;
    if (nx_runtime_create(&options, &runtime) < 0) {
        print_message("%s\n", error);
        skip();
    }
    print_message("# epoll_pwait2 is %s; timeouts are %s\n", lacks ? "not there" : "there",
                  timerfds() > before ? "a timerfd's" : "its own");
    assert_int_equal(timerfds() - before, lacks ? 1 : 0);
    nx_runtime_destroy(runtime);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(guards_are_of_a_kind_that_guards),
        cmocka_unit_test(waits_end_by_what_the_kernel_has),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
