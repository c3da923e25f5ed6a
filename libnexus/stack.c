/*
 * stack.c: stacks for tasks (the picture is in stack.h, the reasons and figures are in doc/design/stacks.md).
 *
 * A worker takes a stack from its own cache, LIFO, so a task that ends without parking leaves a warm stack to the next.
 * An empty cache takes a batch from the depot, or a fresh slot of a slab; a full one gives its older half to the depot.
 * The depot and the slabs (stack_slab.c) are all that workers share, behind a mutex each.
 *
 * What goes wrong, and where it is noticed:
 *  - a task runs into its guard: SIGSEGV, overflow.c names it. Code built with -fstack-clash-protection always does.
 *  - other code can step over the guard: then the canary at the low end (64 zero bytes: fresh memory needs no writing,
 *    which would cost a second page) is damaged, or the neighbour's control block is, found when that is put back.
 *  - a task ran deep and its stack keeps all those pages: the tripwire, 64 bytes near the low end of the topmost page,
 *    is damaged at put, or the task parked deep. The next task on the stack that parks gives the pages back.
 *  - guards can't be had (old kernel, mlockall, vm.max_map_count): mprotect, then canaries only with one warning.
 */
#include "os.h"
#include "overflow.h"
#include "stack_parts.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH_BYTES ((size_t)16 << 20) /* of address space in a batch, within the two limits below */
#define BATCH_COUNT_MAX 256
#define DECAY_CALLS 64
/* What may lie below the stack pointer a parking task reports: its switch, a scheduler plugin's 1 KiB, our own
 * frames. */
#define PARKING_MARGIN ((size_t)2048)

_Static_assert(sizeof(struct nxi_stack) == LINE, "the control block is one cache line");

static struct {
    pthread_mutex_t lock;
    struct nxi_stack *batches[NXI_STACK_CLASSES];
    _Atomic size_t count;
} depot = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---- sizes ---- */

static unsigned class_of(size_t size)
{
    size_t size_min = NXI_STACK_SIZE_MIN;

    if (size < 4 * nxi_stack_page_size) /* 64 KiB pages: guard, frames, and some to spare */
        size = 4 * nxi_stack_page_size;
    if (size <= size_min)
        return 0;
    return (unsigned)(64 - __builtin_clzll((unsigned long long)(size - 1) / size_min));
}

/* Without the division: this is in every put. */
static unsigned class_batch(unsigned size_class)
{
    unsigned count = (unsigned)(BATCH_BYTES / NXI_STACK_SIZE_MIN) >> size_class;

    if (count > BATCH_COUNT_MAX)
        return BATCH_COUNT_MAX;
    return count > 0 ? count : 1;
}

static uintptr_t top_page(const struct nxi_stack *stack)
{
    return (uintptr_t)stack & ~(uintptr_t)(nxi_stack_page_size - 1);
}

/* ---- the depot ---- */

static void list_push(struct nxi_stack_list *list, struct nxi_stack *stack)
{
    stack->next = list->head;
    list->head = stack;
    list->count++;
    if (stack->flags & NXI_STACK_DEEP)
        list->deep_count++;
}

static struct nxi_stack *list_pop(struct nxi_stack_list *list)
{
    struct nxi_stack *stack = list->head;

    list->head = stack->next;
    list->count--;
    if (stack->flags & NXI_STACK_DEEP)
        list->deep_count--;
    return stack;
}

/* Called with the lock held. */
static void push_batch(unsigned size_class, const struct nxi_stack_list *batch)
{
    batch->head->batch_count = batch->count;
    batch->head->batch_deep_count = batch->deep_count;
    batch->head->next_batch = depot.batches[size_class];
    depot.batches[size_class] = batch->head;
    atomic_fetch_add(&depot.count, batch->count);
}

/* Called with the lock held. False: there is none. */
static bool pop_batch(unsigned size_class, struct nxi_stack_list *ret_batch)
{
    struct nxi_stack *head = depot.batches[size_class];

    if (head == NULL)
        return false;
    depot.batches[size_class] = head->next_batch;
    atomic_fetch_sub(&depot.count, head->batch_count);
    *ret_batch =
        (struct nxi_stack_list){.head = head, .count = head->batch_count, .deep_count = head->batch_deep_count};
    return true;
}

static void to_depot(unsigned size_class, struct nxi_stack_list *list)
{
    if (list->head == NULL)
        return;
    pthread_mutex_lock(&depot.lock);
    push_batch(size_class, list);
    pthread_mutex_unlock(&depot.lock);
    *list = (struct nxi_stack_list){0};
}

static bool from_depot(unsigned size_class, struct nxi_stack_list *ret_list)
{
    bool found;

    if (atomic_load(&depot.count) == 0)
        return false;
    pthread_mutex_lock(&depot.lock);
    found = pop_batch(size_class, ret_list);
    pthread_mutex_unlock(&depot.lock);
    return found;
}

/* ---- get and put ---- */

static inline void add_to(_Atomic int64_t *counter, int64_t more)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more, memory_order_relaxed);
}

static struct nxi_stack *refill(struct nxi_stack_cache *cache, unsigned size_class)
{
    struct nxi_stack_list *hot = &cache->classes[size_class].hot;
    struct nxi_stack_list *full = &cache->classes[size_class].full;

    if (full->head != NULL) {
        *hot = *full;
        *full = (struct nxi_stack_list){0};
        return list_pop(hot);
    }
    if (from_depot(size_class, hot)) {
        add_to(&cache->listed_count, hot->count);
        return list_pop(hot);
    }
    struct nxi_stack *stack = nxi_slab_stack(size_class);
    if (stack != NULL) {
        add_to(&cache->made_count, 1);
        add_to(&cache->listed_count, 1); /* get takes it off again */
    }
    return stack;
}

static void set_alarm(struct nxi_stack *stack)
{
    stack->alarm = stack->flags & NXI_STACK_DEEP ? UINTPTR_MAX : top_page(stack);
}

/* The spare one is of another size, or there is none; or the size is none of ours. */
struct nxi_stack *nxi_stack_get_slow(struct nxi_stack_cache *cache, size_t size)
{
    unsigned size_class;
    struct nxi_stack *stack;

    if (size > NXI_STACK_SIZE_MAX)
        return NULL;
    size_class = class_of(size);
    stack = nxi_stack_spare(cache);
    if (stack != NULL && stack->size_class == size_class) {
        atomic_store_explicit(&cache->spare, NULL, memory_order_relaxed);
        return stack;
    }
    if (cache->classes[size_class].hot.head != NULL)
        stack = list_pop(&cache->classes[size_class].hot);
    else
        stack = refill(cache, size_class);
    if (stack == NULL)
        return NULL;
    set_alarm(stack);
    cache->taken_count++;
    add_to(&cache->listed_count, -1);
#ifdef STACK_ASAN
    /* what only a parked task holds on to is not a leak */
    __lsan_register_root_region(stack->low, (size_t)((char *)stack - stack->low));
#endif
    return stack;
}

__attribute__((noinline, cold, noreturn)) static void die_overwritten(void)
{
    static const char text[] = "nexus: the end of a task's stack was overwritten: the task on the stack above it has "
                               "overflowed and stepped over its guard (build with -fstack-clash-protection)\n";
    ssize_t ignored = write(STDERR_FILENO, text, sizeof(text) - 1);

    (void)ignored;
    abort();
}

/* To memcheck what is below the stack pointer is out of bounds; the tripwire and the canary are. */
__attribute__((noinline, cold)) static void tell_valgrind(const struct nxi_stack *stack)
{
#ifdef STACK_VALGRIND
    VALGRIND_MAKE_MEM_DEFINED(stack->low, (char *)stack - stack->low);
#endif
    (void)stack;
}

/* The task's frames were not unwound, so their poison is still there. Only notes what it sees: whoever asks may stand
 * on the tripwire. An untouched lowest page is not read: that would cost a page fault. */
__attribute__((no_sanitize("address"))) bool nxi_stack_overflowed_slow(struct nxi_stack *stack)
{
    const uint64_t *wire = nxi_stack_tripwire(stack);
    const uint64_t *canary = (const uint64_t *)stack->low;
    uint64_t damage = 0, difference = 0;

    if (stack->magic != NXI_STACK_MAGIC)
        die_overwritten();
    if (__builtin_expect(nxi_on_valgrind, 0))
        tell_valgrind(stack);
    for (size_t i = 0; i < LINE_WORDS; i++)
        difference |= wire[i] ^ NXI_STACK_TRIPWIRE;
    if (difference != 0)
        stack->flags |= NXI_STACK_TRIPPED;
    if ((stack->flags & (NXI_STACK_GUARDED | NXI_STACK_PARKED_DEEP | NXI_STACK_TRIPPED)) == NXI_STACK_GUARDED)
        return false;
    for (size_t i = 0; i < LINE_WORDS; i++)
        damage |= canary[i];
    return damage != 0;
}

static inline void forget_poison(struct nxi_stack *stack)
{
#ifdef STACK_ASAN
    size_t size = (size_t)((char *)stack - stack->low);

    __asan_unpoison_memory_region(stack->low, size);
    __lsan_unregister_root_region(stack->low, size);
#endif
    if (__builtin_expect(nxi_on_valgrind, 0))
        tell_valgrind(stack);
}

/* A life is over: what it found out about the stack is what the next one is told. */
static void begin_anew(struct nxi_stack *stack)
{
    if (stack->flags & NXI_STACK_TRIPPED)
        nxi_stack_set_tripwire(stack);
    if (stack->flags & (NXI_STACK_TRIPPED | NXI_STACK_PARKED_DEEP)) {
        stack->flags &= (uint8_t) ~(NXI_STACK_TRIPPED | NXI_STACK_PARKED_DEEP);
        stack->flags |= NXI_STACK_DEEP;
    }
}

void nxi_stack_again_slow(struct nxi_stack *stack)
{
    /* whoever stands on the tripwire leaves it alone; then the next task that parks is no worse off for it */
    if ((uintptr_t)__builtin_frame_address(0) - PARKING_MARGIN / 4 < (uintptr_t)nxi_stack_tripwire(stack) + LINE)
        return;
    begin_anew(stack);
    set_alarm(stack);
}

static void put_on_list(struct nxi_stack_cache *cache, struct nxi_stack *stack)
{
    unsigned size_class = stack->size_class;
    struct nxi_stack_list *hot = &cache->classes[size_class].hot;

    forget_poison(stack);
    cache->taken_count--;
    add_to(&cache->listed_count, 1);
    list_push(hot, stack);
    if (hot->count >= class_batch(size_class)) {
        add_to(&cache->listed_count, -(int64_t)cache->classes[size_class].full.count);
        to_depot(size_class, &cache->classes[size_class].full);
        cache->classes[size_class].full = *hot;
        *hot = (struct nxi_stack_list){0};
    }
}

static void list_spare(struct nxi_stack_cache *cache)
{
    struct nxi_stack *spare = nxi_stack_spare(cache);

    atomic_store_explicit(&cache->spare, NULL, memory_order_relaxed);
    if (spare != NULL)
        put_on_list(cache, spare);
}

/* The last one put is the first one taken, and only clean ones are spare: an older spare one goes to its list first. */
void nxi_stack_put_slow(struct nxi_stack_cache *cache, struct nxi_stack *stack)
{
    if (stack->magic != NXI_STACK_MAGIC)
        die_overwritten();
    list_spare(cache);
    begin_anew(stack);
    if (stack->flags == NXI_STACK_CLEAN)
        atomic_store_explicit(&cache->spare, stack, memory_order_relaxed);
    else
        put_on_list(cache, stack);
}

/* ---- giving pages back ---- */

static void trim(struct nxi_stack *stack, uintptr_t end)
{
    end &= ~(uintptr_t)(nxi_stack_page_size - 1);
    if (end > (uintptr_t)stack->low)
        nxi_os_pages_drop(stack->low, end - (uintptr_t)stack->low);
    stack->flags &= (uint8_t)~NXI_STACK_DEEP;
}

void nxi_stack_parking_slow(struct nxi_stack *stack, void *sp)
{
    uintptr_t lowest = (uintptr_t)sp;
    uintptr_t here = (uintptr_t)__builtin_frame_address(0);

    if (lowest < (uintptr_t)stack->low || lowest > (uintptr_t)stack)
        nxi_overflow_found(nxi_stack_size(stack));
    if (here >= (uintptr_t)stack->low && here < lowest)
        lowest = here;
    if (stack->flags & NXI_STACK_DEEP)
        trim(stack, lowest - PARKING_MARGIN);
    stack->alarm = top_page(stack);
    if ((uintptr_t)sp < stack->alarm) {
        stack->flags |= NXI_STACK_PARKED_DEEP;
        stack->alarm = (uintptr_t)stack->low; /* nothing more to learn in this life but an overflow */
    }
}

void nxi_stack_cache_drain(struct nxi_stack_cache *cache)
{
    list_spare(cache);
    for (unsigned i = 0; i < NXI_STACK_CLASSES; i++) {
        to_depot(i, &cache->classes[i].full);
        to_depot(i, &cache->classes[i].hot);
    }
    atomic_store_explicit(&cache->listed_count, 0, memory_order_relaxed);
}

/* Returns how many system calls are left of `calls`. */
static unsigned trim_list(struct nxi_stack_list *list, unsigned calls)
{
    for (struct nxi_stack *stack = list->head; stack != NULL && list->deep_count > 0 && calls > 0; stack = stack->next)
        if (stack->flags & NXI_STACK_DEEP) {
            trim(stack, top_page(stack));
            list->deep_count--;
            calls--;
        }
    return calls;
}

/* Takes at most max stacks out of the depot, the rest of the batch goes back. Returns the first, linked by next. */
static struct nxi_stack *take_from_depot(unsigned size_class, unsigned max, unsigned *ret_count)
{
    struct nxi_stack_list batch;
    struct nxi_stack *taken = NULL;

    *ret_count = 0;
    if (!from_depot(size_class, &batch))
        return NULL;
    while (batch.head != NULL && *ret_count < max) {
        struct nxi_stack *stack = list_pop(&batch);

        stack->next = taken;
        taken = stack;
        ++*ret_count;
    }
    to_depot(size_class, &batch);
    return taken;
}

bool nxi_stack_decay(struct nxi_stack_cache *cache)
{
    unsigned calls = DECAY_CALLS;
    bool more = false;

    list_spare(cache);
    for (unsigned i = 0; i < NXI_STACK_CLASSES; i++) {
        calls = trim_list(&cache->classes[i].hot, calls);
        calls = trim_list(&cache->classes[i].full, calls);
        more = more || cache->classes[i].hot.deep_count > 0 || cache->classes[i].full.head != NULL;
    }
    for (unsigned i = 0; i < NXI_STACK_CLASSES && calls > 0; i++) {
        unsigned count;
        struct nxi_stack *stack = take_from_depot(i, calls, &count);

        calls -= count;
        while (stack != NULL) {
            struct nxi_stack *next = stack->next;

            nxi_slab_give_back(stack);
            stack = next;
        }
    }
    /* Last, so that what goes to the depot now stays there until the next time: another worker may want it. */
    for (unsigned i = 0; i < NXI_STACK_CLASSES; i++) {
        add_to(&cache->listed_count, -(int64_t)cache->classes[i].full.count);
        to_depot(i, &cache->classes[i].full);
    }
    return more || atomic_load(&depot.count) > 0;
}

/* ---- looking ---- */

/* The first byte of [from, to) that somebody has written, or NULL. Others may be writing: the result is a hint. */
__attribute__((no_sanitize("address"), no_sanitize("thread"))) static const char *
first_written(const char *wire, const char *from, const char *to)
{
    for (const char *at = from; at < to; at += sizeof(uint64_t)) {
        uint64_t word = *(const volatile uint64_t *)at;

        if (word != 0 && !(word == NXI_STACK_TRIPWIRE && at >= wire && at < wire + LINE))
            return at;
    }
    return NULL;
}

size_t nxi_stack_high_water(const struct nxi_stack *stack)
{
    return nxi_stack_high_water_at(stack, stack);
}

size_t nxi_stack_high_water_at(const struct nxi_stack *control, const void *address)
{
    const char *top = address;
    const char *page = (const char *)((uintptr_t)address & ~(uintptr_t)(nxi_stack_page_size - 1));
    const char *wire = page + (COLOURS - 1 - control->index % COLOURS) * LINE;
    unsigned char resident[256];

    if (control->magic != NXI_STACK_MAGIC || control->low >= top)
        return 0;
    for (char *at = control->low; at < top;) {
        size_t pages = ((size_t)(top - at) + nxi_stack_page_size - 1) / nxi_stack_page_size;

        if (pages > sizeof(resident))
            pages = sizeof(resident);
        if (!nxi_os_pages_resident(at, pages, resident))
            return 0;
        for (size_t i = 0; i < pages; i++, at += nxi_stack_page_size) {
            const char *end = at + nxi_stack_page_size < top ? at + nxi_stack_page_size : top;
            const char *found = resident[i] & 1 ? first_written(wire, at, end) : NULL;

            if (found != NULL)
                return (size_t)(top - found);
        }
    }
    return 0;
}

size_t nxi_stacks_depot_count(void)
{
    return atomic_load(&depot.count);
}
