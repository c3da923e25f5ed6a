/*
 * stack.h: the tasks' stacks: guarded slots of big slabs, kept warm in a cache per worker.
 *
 *   slot (a power of two, 16 KiB … 64 MiB):
 *   [ guard | canary ……… stack, growing down …… tripwire … frames ][ struct nxi_stack ][ colour ]
 *           low                                                   top
 *
 * The control block sits at the top of its own slot, frames start right below it: a task that sleeps in a shallow call
 * keeps one page. Neither get of a warm stack nor put makes a system call or takes a lock. doc/design/stacks.md.
 *
 * The fast path, inline: the cache has a place for one spare stack, the last one put, whatever its size. A stack whose
 * flags are NXI_STACK_CLEAN (guarded, never deep in this life or an earlier one) goes there and comes back from there
 * by a load, two comparisons and a store. What is special about a stack, a sanitizer or valgrind watching it included,
 * is a flag, so one comparison finds it out; it takes the slow path in stack.c. In the life of a task:
 *
 *     nxi_stack_get          when it first runs
 *     nxi_stack_parking      each time it parks
 *     nxi_stack_overflowed   when it has ended: the one look at the tripwire, which the put then relies on
 *     nxi_stack_put          on another stack; or nxi_stack_again on this one, if the next task goes on with it at once
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

/* struct nxi_stack.flags; NXI_STACK_CLEAN is what the fast path is for. */
#define NXI_STACK_DEEP 1u        /* pages below the topmost one are resident, left by an earlier life */
#define NXI_STACK_PARKED_DEEP 2u /* in this life */
#define NXI_STACK_GUARDED 4u
#define NXI_STACK_TRIPPED 8u  /* the tripwire is damaged: it ran deep in this life */
#define NXI_STACK_WATCHED 16u /* by AddressSanitizer or valgrind, which are told of each get and put */
#define NXI_STACK_CLEAN NXI_STACK_GUARDED

#define NXI_STACK_MAGIC UINT64_C(0x6b63617473786e21)    /* "!nxstack" */
#define NXI_STACK_TRIPWIRE UINT64_C(0x6572697770697274) /* "tripwire" */
#define NXI_STACK_LINE 64

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
    _Atomic(struct nxi_stack *) spare; /* the hottest one; atomic for metrics, which only look whether there is one */
    struct {
        struct nxi_stack_list hot;
        struct nxi_stack_list full;
    } classes[NXI_STACK_CLASSES];
    int64_t taken_count; /* out of the lists: in use, or spare */
    /* For metrics: the owner's to write, anybody's to read. */
    _Atomic int64_t listed_count;
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

static inline struct nxi_stack *nxi_stack_spare(const struct nxi_stack_cache *cache)
{
    return atomic_load_explicit(&cache->spare, memory_order_relaxed);
}

/* Gets less puts; the sum over all caches is the number of stacks in use. The owner's to ask. */
static inline int64_t nxi_stack_live_count(const struct nxi_stack_cache *cache)
{
    return cache->taken_count - (nxi_stack_spare(cache) != NULL);
}

/* How many are in the cache, at about this time. Any thread. */
static inline int64_t nxi_stack_cached_count(const struct nxi_stack_cache *cache)
{
    return atomic_load_explicit(&cache->listed_count, memory_order_relaxed) + (nxi_stack_spare(cache) != NULL);
}

struct nxi_stack *nxi_stack_get_slow(struct nxi_stack_cache *cache, size_t size);
void nxi_stack_put_slow(struct nxi_stack_cache *cache, struct nxi_stack *stack);
bool nxi_stack_overflowed_slow(struct nxi_stack *stack);
void nxi_stack_again_slow(struct nxi_stack *stack);

/* A stack of at least size bytes, the guard and the control block included: sizes are rounded up to a power of two
 * from NXI_STACK_SIZE_MIN on. NULL: out of memory, or size > NXI_STACK_SIZE_MAX. */
static inline struct nxi_stack *nxi_stack_get(struct nxi_stack_cache *cache, size_t size)
{
    struct nxi_stack *spare = nxi_stack_spare(cache);

    if (__builtin_expect(spare != NULL && NXI_STACK_SIZE_MIN << spare->size_class == size, 1)) {
        atomic_store_explicit(&cache->spare, NULL, memory_order_relaxed);
        return spare;
    }
    return nxi_stack_get_slow(cache, size);
}

/* As nxi_stack_put(), for the usual, and on that stack itself: by who leaves it before the cache is asked for another.
 * False: not this one, it wants a put. */
static inline bool nxi_stack_put_early(struct nxi_stack_cache *cache, struct nxi_stack *stack)
{
    if (__builtin_expect(
            stack->magic != NXI_STACK_MAGIC || stack->flags != NXI_STACK_CLEAN || nxi_stack_spare(cache) != NULL, 0))
        return false;
    atomic_store_explicit(&cache->spare, stack, memory_order_relaxed);
    return true;
}

/* Gives a stack back to the cache of whoever ran it last, after nxi_stack_overflowed(). Called on another stack. Aborts
 * when the control block was overwritten: then a neighbour has overflowed, and no memory can be trusted. */
static inline void nxi_stack_put(struct nxi_stack_cache *cache, struct nxi_stack *stack)
{
    if (!nxi_stack_put_early(cache, stack))
        nxi_stack_put_slow(cache, stack);
}

/* Called on the stack of a task that has ended, near its top and after nxi_stack_overflowed(), when the next task goes
 * on with it: as a put and a get. */
static inline void nxi_stack_again(struct nxi_stack *stack)
{
    if (__builtin_expect(stack->flags != NXI_STACK_CLEAN, 0))
        nxi_stack_again_slow(stack);
}

extern size_t nxi_stack_page_size;

/* 64 bytes as far below the top of every stack, near the low end of its topmost page, and so as coloured as the tops:
 * else all tripwires would share a set of the L1 cache. */
static inline uint64_t *nxi_stack_tripwire(const struct nxi_stack *stack)
{
    return (uint64_t *)((uintptr_t)stack - (nxi_stack_page_size - 16 * NXI_STACK_LINE));
}

static inline bool nxi_stack_tripwire_intact(const struct nxi_stack *stack)
{
    const uint64_t *wire = nxi_stack_tripwire(stack);

    return ((wire[0] ^ NXI_STACK_TRIPWIRE) | (wire[1] ^ NXI_STACK_TRIPWIRE) | (wire[2] ^ NXI_STACK_TRIPWIRE) |
            (wire[3] ^ NXI_STACK_TRIPWIRE) | (wire[4] ^ NXI_STACK_TRIPWIRE) | (wire[5] ^ NXI_STACK_TRIPWIRE) |
            (wire[6] ^ NXI_STACK_TRIPWIRE) | (wire[7] ^ NXI_STACK_TRIPWIRE)) == 0;
}

/* Whether the canary at the low end is damaged: the task has used all of its stack or stepped over the guard. Ask once,
 * when a task has ended. A guarded stack that never ran deep can't have, and is not looked at. */
static inline bool nxi_stack_overflowed(struct nxi_stack *stack)
{
    if (__builtin_expect(stack->flags == NXI_STACK_CLEAN && nxi_stack_tripwire_intact(stack), 1))
        return false;
    return nxi_stack_overflowed_slow(stack);
}

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

/* That nxi_stack_parking() would do nothing, told without a look at the stack's own line: as long as the alarm is where
 * most stacks have it, see nxi_stack_alarm_usual(). Pages are at least 4 KiB. */
static inline bool nxi_stack_shallow(const struct nxi_stack *stack, const void *sp)
{
    return (uintptr_t)sp >= ((uintptr_t)stack & ~(uintptr_t)4095);
}

/* The same told by the alarm itself, for one that has a page or so in use. */
static inline bool nxi_stack_alarmed(const struct nxi_stack *stack, const void *sp)
{
    return (uintptr_t)sp < stack->alarm;
}

static inline bool nxi_stack_alarm_usual(const struct nxi_stack *stack)
{
    return stack->alarm <= ((uintptr_t)stack & ~(uintptr_t)4095);
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
