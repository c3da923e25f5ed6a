/* stacks.h: fresh stacks from the core for memory.cc: the core's headers are C11 with atomics, which C++ can't read. */
#ifndef BENCH_STACKS_H
#define BENCH_STACKS_H

#include <nexus/base.h>

NX_BEGIN_DECLS

#define BENCH_STACKS_MAX 1024

/* Takes so many stacks, none of which has been used before, into ret_tops. 0 or -ENOMEM. */
int bench_stacks_take(void **ret_tops, size_t count, size_t size);

/* Their pages go back to the kernel, they themselves go nowhere: the next ones are fresh again. */
void bench_stacks_forget(void **tops, size_t count);

/* Whether the kernel refuses to touch what is below the stack. */
bool bench_stack_is_guarded(const void *top);

NX_END_DECLS

#endif
