/* stacks.c: the core's stacks, used once. */
#define _GNU_SOURCE

#include "stacks.h"
#include "stack.h"

#include <sys/mman.h>
#include <unistd.h>

int bench_stacks_take(void **ret_tops, size_t count, size_t size)
{
    static struct nxi_stack_cache cache; /* stays empty: nothing is put */
    int error = nxi_stacks_init();

    for (size_t i = 0; i < count && !error; i++) {
        ret_tops[i] = nxi_stack_get(&cache, size);
        error = ret_tops[i] ? 0 : -ENOMEM;
    }
    return error;
}

void bench_stacks_forget(void **tops, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct nxi_stack *stack = tops[i];
        size_t page = (size_t)sysconf(_SC_PAGESIZE);
        char *end = (char *)(((uintptr_t)stack | (page - 1)) + 1);

        madvise(stack->low, (size_t)(end - stack->low), MADV_DONTNEED);
    }
}

bool bench_stack_is_guarded(const void *top)
{
    const struct nxi_stack *stack = top;
    int ends[2];
    bool refused;

    if (pipe(ends) != 0)
        return false;
    refused = write(ends[1], stack->low - 1, 1) < 0 && errno == EFAULT;
    close(ends[0]);
    close(ends[1]);
    return refused;
}
