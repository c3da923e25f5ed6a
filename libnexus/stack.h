/*
 * stack.h: the tasks' stacks: guarded slots of big slabs, kept warm in a cache per worker.
 *
 *   slot (a power of two, 16 KiB … 64 MiB):
 *   [ guard | canary ……… stack, growing down …… tripwire … frames ][ struct nxi_stack ][ colour ]
 *           low                                                   top
 *
 * The control block sits at the top of its own slot, frames start right below it: a task that sleeps in a shallow call
 * keeps one page. Neither get of a warm stack nor put makes a system call or takes a lock. doc/design/stacks.md.
 */
#ifndef NXI_STACK_H
#define NXI_STACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NXI_STACK_SIZE_MIN ((size_t)16 << 10)
#define NXI_STACK_SIZE_MAX ((size_t)64 << 20)
#define NXI_STACK_CLASSES 13

struct nxi_slab;

/* One cache line. Its owner is whoever has the stack; `next` is the owner's while it is in use. */
struct nxi_stack {
    struct nxi_stack *next;
    struct nxi_stack *next_batch; /* in the depot, in the first stack of a batch; so are the two counts */
    char *low;                    /* lowest usable byte, above the guard */
    uintptr_t alarm;              /* parking below this address takes the slow path, see nxi_stack_parking() */
    struct nxi_slab *slab;
    uint64_t magic; /* overwritten when the neighbour above steps over its guard */
    uint32_t batch_count;
    uint32_t batch_deep_count;
    uint32_t index; /* slot in the slab */
    uint8_t size_class;
    uint8_t flags;
    uint16_t spare;
};

struct nxi_stack_list {
    struct nxi_stack *head;
    unsigned count;
    unsigned deep_count;
};

/* One per worker, zeroed to begin with. `full` is what went cold; it goes to the depot as one batch. */
struct nxi_stack_cache {
    struct {
        struct nxi_stack_list hot;
        struct nxi_stack_list full;
    } classes[NXI_STACK_CLASSES];
    int64_t live_count; /* gets less puts; the sum over all caches is the number of stacks in use */
    /* For metrics: the owner's to write, anybody's to read. */
    _Atomic int64_t cached_count;
    _Atomic int64_t made_count; /* fresh ones: from no cache and no depot */
};

enum nxi_stack_guards {
    NXI_GUARDS_NONE,     /* canaries only */
    NXI_GUARDS_MPROTECT, /* two mappings a stack */
    NXI_GUARDS_MADVISE   /* MADV_GUARD_INSTALL, Linux 6.13: no mapping */
};

/* Finds out once per process how stacks can be guarded. 0 or -errno. Threads may race for it. */
int nxi_stacks_init(void);

/* Where the one warning goes when stacks have to do without guards: a line without newline. Set before the init. */
void nxi_stacks_set_warn(void (*warn)(const char *text));

enum nxi_stack_guards nxi_stacks_guards(void);

/* For tests: from now on new stacks are guarded so, at most mprotect_max of them by mprotect. */
void nxi_stacks_set_guards(enum nxi_stack_guards guards, size_t mprotect_max);

/* A stack of at least size bytes, the guard and the control block included: sizes are rounded up to a power of two
 * from NXI_STACK_SIZE_MIN on. NULL: out of memory, or size > NXI_STACK_SIZE_MAX. */
struct nxi_stack *nxi_stack_get(struct nxi_stack_cache *cache, size_t size);

/* Gives a stack back to the cache of whoever ran it last. Called on another stack. Aborts when the control block was
 * overwritten: then a neighbour has overflowed, and no memory can be trusted. */
void nxi_stack_put(struct nxi_stack_cache *cache, struct nxi_stack *stack);

/* Whether the canary at the low end is damaged: the task has used all of its stack or stepped over the guard. Ask when
 * a task has ended, before the put. */
bool nxi_stack_overflowed(const struct nxi_stack *stack);

/* The size of the class that a stack of this size comes from. size: at most NXI_STACK_SIZE_MAX. */
static inline size_t nxi_stack_round(size_t size)
{
    size_t rounded = NXI_STACK_SIZE_MIN;
    while (rounded < size)
        rounded <<= 1;
    return rounded;
}

static inline void *nxi_stack_top(const struct nxi_stack *stack)
{
    return (void *)stack;
}

static inline void *nxi_stack_low(const struct nxi_stack *stack)
{
    return stack->low;
}

/* The size of its class, as in "overflowed its 64 KiB stack". */
static inline size_t nxi_stack_size(const struct nxi_stack *stack)
{
    return NXI_STACK_SIZE_MIN << stack->size_class;
}

void nxi_stack_parking_slow(struct nxi_stack *stack, void *sp);

/*
 * Called when the task on the stack is about to park with its stack pointer at sp (or a little above it). A stack that
 * ran deep in an earlier life gives its lower pages back here, once: most tasks sleep shallow.
 */
static inline void nxi_stack_parking(struct nxi_stack *stack, void *sp)
{
    if (__builtin_expect((uintptr_t)sp < stack->alarm, 0))
        nxi_stack_parking_slow(stack, sp);
}

/* Everything to the depot, for other workers: at worker exit. The live counters stay. */
void nxi_stack_cache_drain(struct nxi_stack_cache *cache);

/*
 * For a worker that is about to idle for long: gives back pages of cached stacks that ran deep, moves what went cold to
 * the depot, and gives back whole stacks of the depot. At most 64 system calls of about 1 µs. True: there is more to
 * do.
 */
bool nxi_stack_decay(struct nxi_stack_cache *cache);

/* Async-signal-safe: is the address inside a guard of ours? *ret_size is then the size of the stack above it, and
 * *ret_size may be NULL. */
bool nxi_stack_guard_hit(const void *address, size_t *ret_size);

/* The most the stack has been used so far, in bytes below its top, earlier lives included unless trimmed since. Looks
 * at resident pages only; the task may be running. */
size_t nxi_stack_high_water(const struct nxi_stack *stack);
/* The same by a copy of the control block, for who does not own the stack at that address. */
size_t nxi_stack_high_water_at(const struct nxi_stack *control, const void *address);

/* Address space in slabs, and the stacks in the depot. For tests and `nexus info`. */
size_t nxi_stacks_mapped_bytes(void);
size_t nxi_stacks_depot_count(void);

#endif
