/*
 * stack_slab.c: where stacks come from: slots of slabs of 4 MiB, or of a stack's own size if that is more.
 *
 * Slabs are never unmapped. A slot that is given back loses its pages and keeps its guard, and is the next one to go
 * out. doc/design/stacks.md.
 */
#include "os.h"
#include "stack_parts.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define SLAB_BYTES ((size_t)4 << 20)
#define GUARD_BYTES_MAX ((size_t)64 << 10)

struct slot {
    _Atomic uint8_t state; /* enum nxi_guard: how it is guarded; the signal handler reads it */
    uint16_t free_index;   /* this entry of the slab's stack of free slots */
};

struct nxi_slab {
    struct nxi_slab *next;      /* all slabs, newest first: for the signal handler */
    struct nxi_slab *next_free; /* slabs of a class with slots left; under the lock, as are the counts */
    char *base;
    size_t guard_size;
    unsigned size_class;
    unsigned slot_count;
    unsigned used_count; /* slots that have been handed out at least once */
    unsigned free_count; /* of those, how many are given back */
    struct slot slots[];
};

static struct {
    pthread_mutex_t lock;
    struct nxi_slab *free[NXI_STACK_CLASSES]; /* those with slots left; under the lock */
    _Atomic(struct nxi_slab *) all;           /* never shorter */
    _Atomic size_t mapped_bytes;
} slabs = {.lock = PTHREAD_MUTEX_INITIALIZER};

static size_t guard_bytes(unsigned size_class)
{
    size_t bytes = nxi_stack_class_bytes(size_class) / 16;

    if (bytes > GUARD_BYTES_MAX)
        bytes = GUARD_BYTES_MAX;
    return bytes < nxi_stack_page_size ? nxi_stack_page_size : bytes & ~(nxi_stack_page_size - 1);
}

static struct nxi_slab *map_slab(unsigned size_class)
{
    size_t size = nxi_stack_class_bytes(size_class);
    unsigned slot_count = size < SLAB_BYTES ? (unsigned)(SLAB_BYTES / size) : 1;
    struct nxi_slab *slab = calloc(1, sizeof(*slab) + slot_count * sizeof(slab->slots[0]));

    if (slab == NULL)
        return NULL;
    slab->base = nxi_os_stacks_map(size * slot_count);
    if (slab->base == NULL) {
        free(slab);
        return NULL;
    }
    slab->guard_size = guard_bytes(size_class);
    slab->size_class = size_class;
    slab->slot_count = slot_count;
    slab->next = atomic_load(&slabs.all);
    atomic_store(&slabs.all, slab);
    atomic_fetch_add(&slabs.mapped_bytes, size * slot_count);
    return slab;
}

/* Called with the lock held. Given-back slots first: they have their guard. */
static struct nxi_slab *take_slot(unsigned size_class, unsigned *ret_index)
{
    struct nxi_slab *slab = slabs.free[size_class];

    if (slab == NULL) {
        slab = map_slab(size_class);
        if (slab == NULL)
            return NULL;
        slab->next_free = NULL;
        slabs.free[size_class] = slab;
    }
    *ret_index = slab->free_count > 0 ? slab->slots[--slab->free_count].free_index : slab->used_count++;
    if (slab->free_count == 0 && slab->used_count == slab->slot_count)
        slabs.free[size_class] = slab->next_free;
    return slab;
}

static bool is_watched(void)
{
#ifdef STACK_ASAN
    return true;
#else
    return nxi_on_valgrind;
#endif
}

struct nxi_stack *nxi_slab_stack(unsigned size_class)
{
    size_t size = nxi_stack_class_bytes(size_class);
    struct nxi_slab *slab;
    struct nxi_stack *stack;
    unsigned index;
    char *slot;

    pthread_mutex_lock(&slabs.lock);
    slab = take_slot(size_class, &index);
    pthread_mutex_unlock(&slabs.lock);
    if (slab == NULL)
        return NULL;
    slot = slab->base + index * size;
    if (atomic_load(&slab->slots[index].state) == NXI_GUARD_NONE_YET) {
        atomic_store(&slab->slots[index].state, nxi_guard_install(slot, slab->guard_size));
#ifdef STACK_VALGRIND
        if (nxi_on_valgrind)
            (void)VALGRIND_STACK_REGISTER(slot + slab->guard_size, slot + size - 1);
#endif
    }
    stack = (struct nxi_stack *)(slot + size - (index % COLOURS) * LINE - sizeof(*stack));
    memset(stack, 0, sizeof(*stack));
    stack->low = slot + slab->guard_size;
    stack->slab = slab;
    stack->magic = NXI_STACK_MAGIC;
    stack->index = index;
    stack->size_class = (uint8_t)size_class;
    if (atomic_load(&slab->slots[index].state) != NXI_GUARD_NONE)
        stack->flags = NXI_STACK_GUARDED;
    if (is_watched())
        stack->flags |= NXI_STACK_WATCHED;
    nxi_stack_set_tripwire(stack);
    return stack;
}

/* The slot becomes a fresh one that has its guard already. Its control block goes with its pages. */
void nxi_slab_give_back(struct nxi_stack *stack)
{
    struct nxi_slab *slab = stack->slab;
    unsigned index = stack->index;
    unsigned size_class = stack->size_class;
    char *end = slab->base + (index + 1) * nxi_stack_class_bytes(size_class);

    nxi_os_pages_drop(stack->low, (size_t)(end - stack->low));
    pthread_mutex_lock(&slabs.lock);
    if (slab->free_count == 0 && slab->used_count == slab->slot_count) {
        slab->next_free = slabs.free[size_class];
        slabs.free[size_class] = slab;
    }
    slab->slots[slab->free_count++].free_index = (uint16_t)index;
    pthread_mutex_unlock(&slabs.lock);
}

/* ---- looking ---- */

bool nxi_stack_guard_hit(const void *address, size_t *ret_size)
{
    uintptr_t wanted = (uintptr_t)address;

    /* bounded by the number of slabs; entered at most once in a process's life, when it dies */
    for (struct nxi_slab *slab = atomic_load(&slabs.all); slab != NULL; slab = slab->next) {
        size_t size = nxi_stack_class_bytes(slab->size_class);
        uintptr_t offset = wanted - (uintptr_t)slab->base;

        if (wanted < (uintptr_t)slab->base || offset >= size * slab->slot_count)
            continue;
        if (offset % size >= slab->guard_size || atomic_load(&slab->slots[offset / size].state) < NXI_GUARD_MPROTECT)
            return false;
        if (ret_size != NULL)
            *ret_size = size;
        return true;
    }
    return false;
}

size_t nxi_stacks_mapped_bytes(void)
{
    return atomic_load(&slabs.mapped_bytes);
}
