/*
 * memory: a stack that was never used before: a guard at its end by MADV_GUARD_INSTALL, which splits no mapping, and
 * its first page touched. Stacks are slots of mappings of 4 MiB.
 */
#include "cases.h"

#include <cerrno>
#include <sys/mman.h>
#include <unistd.h>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

static const size_t stack_bytes = 64 << 10, guard_bytes = 4096, slab_bytes = 4 << 20;

static char *new_slab()
{
    void *slab = mmap(nullptr, slab_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    cases::must(slab != MAP_FAILED, "address space can be had");
    madvise(slab, slab_bytes, MADV_NOHUGEPAGE);
    return static_cast<char *>(slab);
}

static bool is_guarded(const char *byte)
{
    int ends[2];
    if (pipe(ends) != 0)
        return false;
    bool refused = write(ends[1], byte, 1) < 0 && errno == EFAULT;
    close(ends[0]);
    close(ends[1]);
    return refused;
}

static void stack_fresh(benchmark::State &state)
{
    const size_t slabs = 4, per_slab = slab_bytes / stack_bytes;
    while (state.KeepRunningBatch(slabs * per_slab)) {
        char *all[slabs];
        int64_t start = cases::now_ns();
        for (char *&slab : all) {
            slab = new_slab();
            for (char *stack = slab; stack < slab + slab_bytes; stack += stack_bytes) {
                if (madvise(stack, guard_bytes, MADV_GUARD_INSTALL) != 0) {
                    state.SkipWithError("needs MADV_GUARD_INSTALL: Linux 6.13");
                    return;
                }
                static_cast<volatile char *>(stack)[stack_bytes - 128] = 1;
            }
        }
        state.SetIterationTime(static_cast<double>(cases::now_ns() - start) / 1e9);
        cases::must(is_guarded(all[slabs - 1]), "fresh stacks are guarded");
        for (char *slab : all)
            munmap(slab, slab_bytes);
    }
}

int main(int argc, char **argv)
{
    cases::add("stack_fresh", stack_fresh, cases::Clock::MANUAL);
    return cases::run(argc, argv);
}
