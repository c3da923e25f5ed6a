/* fiber.h: the least context switch that keeps the ABI: six registers and the stack pointer. x86-64.
 *
 * It goes on by a jump: a return would be predicted to lead back to the caller, which is never where it leads. */
#ifndef BENCH_RAW_FIBER_H
#define BENCH_RAW_FIBER_H

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <sys/mman.h>

extern "C" void raw_switch(void **save_sp, void *sp);

asm(".text\n"
    ".p2align 4\n"
    ".type raw_switch,@function\n"
    "raw_switch:\n"
    "    pushq %rbp\n"
    "    pushq %rbx\n"
    "    pushq %r12\n"
    "    pushq %r13\n"
    "    pushq %r14\n"
    "    pushq %r15\n"
    "    movq %rsp, (%rdi)\n"
    "    movq %rsi, %rsp\n"
    "    popq %r15\n"
    "    popq %r14\n"
    "    popq %r13\n"
    "    popq %r12\n"
    "    popq %rbx\n"
    "    popq %rbp\n"
    "    popq %rcx\n"
    "    jmp *%rcx\n"
    ".size raw_switch,.-raw_switch\n");

namespace fiber
{

const size_t STACK = 64 << 10;

/* The stack pointer of a fiber that starts with entry(), which must not return. top: of its stack. */
inline void *prepare(char *top, void (*entry)())
{
    void **sp = reinterpret_cast<void **>(reinterpret_cast<uintptr_t>(top) & ~static_cast<uintptr_t>(15));
    *--sp = nullptr; /* where entry would return to: keeps the alignment the ABI wants */
    *--sp = reinterpret_cast<void *>(entry);
    return sp - 6; /* the registers: anything */
}

/* The end of the number-th of many stacks, each coloured: tops 64 KiB apart would share one set of the L1 cache. */
inline char *coloured_top(char *stacks, size_t number)
{
    return stacks + (number + 1) * STACK - number % 16 * 64;
}

inline char *map_stacks(size_t count)
{
    void *stacks =
        mmap(nullptr, count * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (stacks == MAP_FAILED)
        std::abort();
    madvise(stacks, count * STACK, MADV_NOHUGEPAGE);
    return static_cast<char *>(stacks);
}

} // namespace fiber

#endif
