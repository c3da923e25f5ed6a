/*
 * stack_parts.h: what the files of the tasks' stacks share: stack_guard.c (how a stack is guarded), stack_slab.c (where
 * stacks come from) and stack.c (who has one, and what it finds out about it).
 */
#ifndef NXI_STACK_PARTS_H
#define NXI_STACK_PARTS_H

#include "stack.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define STACK_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(STACK_ASAN)
#define STACK_ASAN 1
#endif
#ifdef STACK_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif

#if defined(__has_include)
#if __has_include(<valgrind/memcheck.h>)
#include <valgrind/memcheck.h>
#define STACK_VALGRIND 1
#endif
#endif

#define LINE NXI_STACK_LINE
#define LINE_WORDS (LINE / sizeof(uint64_t))
#define COLOURS 16 /* how many places the tops of neighbours are spread over */

/* ---- stack_guard.c ---- */

enum nxi_guard { NXI_GUARD_NONE_YET, NXI_GUARD_NONE, NXI_GUARD_MPROTECT, NXI_GUARD_MADVISE };

/* As well as it goes: NXI_GUARD_NONE and one warning per process if there is no way. */
enum nxi_guard nxi_guard_install(char *address, size_t size);

extern bool nxi_on_valgrind; /* written once, by nxi_stacks_init */

/* ---- stack_slab.c ---- */

/* A stack that nobody had before, or that was given back. NULL: out of memory. Any thread. */
struct nxi_stack *nxi_slab_stack(unsigned size_class);
/* Its memory goes back to the system; its guard stays. Any thread. */
void nxi_slab_give_back(struct nxi_stack *stack);

static inline size_t nxi_stack_class_bytes(unsigned size_class)
{
    return NXI_STACK_SIZE_MIN << size_class;
}

static inline void nxi_stack_set_tripwire(struct nxi_stack *stack)
{
    uint64_t *wire = nxi_stack_tripwire(stack);

    for (size_t i = 0; i < LINE_WORDS; i++)
        wire[i] = NXI_STACK_TRIPWIRE;
}

#endif
