/* test_stack.c: guards, the cache and the depot, and what a stack costs in memory. */
#define _GNU_SOURCE

#include "stack.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#if defined(__has_include)
#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#endif
#endif
#ifndef RUNNING_ON_VALGRIND
#define RUNNING_ON_VALGRIND 0
#endif

#define SIZE ((size_t)64 << 10)
#define MANY 100000

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static struct nxi_stack_cache cache;
static size_t page_size;

static char *top_of(const struct nxi_stack *stack)
{
    return nxi_stack_top(stack);
}

static char *low_of(const struct nxi_stack *stack)
{
    return nxi_stack_low(stack);
}

/* As at a task's end. */
static void give_back(struct nxi_stack_cache *to, struct nxi_stack *stack)
{
    if (nxi_stack_overflowed(stack))
        abort();
    nxi_stack_put(to, stack);
}

/* Whether the kernel can read the address: a guard gives EFAULT. */
static bool readable(const void *address)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    uint64_t copy;
    bool result = false;

    if (fd >= 0 && write(fd, address, sizeof(copy)) != -1)
        result = true;
    else if (errno != EFAULT)
        result = true; /* read it, and did not like the value */
    close(fd);
    return result;
}

static size_t resident_bytes(void)
{
    long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%*s %ld", &pages), 1);
    fclose(file);
    return (size_t)pages * page_size;
}

#ifndef SANITIZED
static size_t mapping_count(void)
{
    size_t count = 0;
    int c;
    FILE *file = fopen("/proc/self/maps", "r");

    assert_non_null(file);
    while ((c = fgetc(file)) != EOF)
        count += c == '\n';
    fclose(file);
    return count;
}
#endif

static size_t resident_pages(const struct nxi_stack *stack)
{
    static unsigned char resident[16384];
    size_t pages = (size_t)(top_of(stack) - low_of(stack) + (ptrdiff_t)page_size - 1) / page_size;
    size_t count = 0;

    assert_int_equal(mincore(low_of(stack), pages * page_size, resident), 0);
    for (size_t i = 0; i < pages; i++)
        count += resident[i] & 1;
    return count;
}

static int setup(void **state)
{
    (void)state;
    page_size = (size_t)sysconf(_SC_PAGESIZE);
    return nxi_stacks_init();
}

static int drain(void **state)
{
    (void)state;
    nxi_stack_cache_drain(&cache);
    while (nxi_stack_decay(&cache))
        ;
    return nxi_stack_live_count(&cache) == 0 && nxi_stacks_depot_count() == 0 ? 0 : -1;
}

static void sizes_are_rounded_up_to_a_power_of_two(void **state)
{
    static const struct {
        size_t asked, given;
    } cases[] = {{0, 16 << 10},        {1, 16 << 10},
                 {16 << 10, 16 << 10}, {(16 << 10) + 1, 32 << 10},
                 {64 << 10, 64 << 10}, {(64 << 10) + 1, 128 << 10},
                 {5 << 20, 8 << 20},   {64 << 20, 64 << 20}};

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct nxi_stack *stack = nxi_stack_get(&cache, cases[i].asked);

        assert_non_null(stack);
        if (page_size == 4096)
            assert_int_equal(nxi_stack_size(stack), cases[i].given);
        assert_true(nxi_stack_size(stack) >= cases[i].asked);
        assert_int_equal((uintptr_t)nxi_stack_top(stack) % 64, 0);
        memset(low_of(stack) + 64, 1, (size_t)(top_of(stack) - low_of(stack)) - 64); /* all of it but the canary */
        assert_false(nxi_stack_overflowed(stack));
        give_back(&cache, stack);
    }
    assert_null(nxi_stack_get(&cache, NXI_STACK_SIZE_MAX + 1));
    assert_null(nxi_stack_get(&cache, SIZE_MAX));
}

static void every_size_has_a_guard_below_it(void **state)
{
    (void)state;
    for (size_t size = NXI_STACK_SIZE_MIN; size <= NXI_STACK_SIZE_MAX; size *= 2) {
        struct nxi_stack *stack = nxi_stack_get(&cache, size);
        size_t found = 0;

        assert_non_null(stack);
        assert_true(readable(low_of(stack)));
        assert_false(readable(low_of(stack) - 8));
        assert_false(readable(low_of(stack) - page_size));
        assert_true(nxi_stack_guard_hit(low_of(stack) - 1, &found));
        assert_int_equal(found, nxi_stack_size(stack));
        assert_true(nxi_stack_guard_hit(low_of(stack) - page_size, NULL));
        assert_false(nxi_stack_guard_hit(low_of(stack), NULL));
        assert_false(nxi_stack_guard_hit(top_of(stack), NULL));
        give_back(&cache, stack);
    }
    assert_false(nxi_stack_guard_hit(NULL, NULL));
    assert_false(nxi_stack_guard_hit(&cache, NULL));
}

static void the_last_stack_given_back_is_the_next_one_given_out(void **state)
{
    struct nxi_stack *first = nxi_stack_get(&cache, SIZE);
    struct nxi_stack *second = nxi_stack_get(&cache, SIZE);

    (void)state;
    give_back(&cache, first);
    give_back(&cache, second);
    assert_ptr_equal(nxi_stack_get(&cache, SIZE), second);
    assert_ptr_equal(nxi_stack_get(&cache, SIZE), first);
    assert_int_equal(nxi_stack_live_count(&cache), 2);
    give_back(&cache, second);
    give_back(&cache, first);
}

static void neighbours_tops_differ_in_their_cache_set(void **state)
{
    struct nxi_stack *stacks[16];
    uint64_t seen = 0;

    (void)state;
    for (int i = 0; i < 16; i++) {
        stacks[i] = nxi_stack_get(&cache, SIZE);
        seen |= UINT64_C(1) << ((uintptr_t)nxi_stack_top(stacks[i]) % page_size / 64 % 64);
    }
    for (int i = 0; i < 16; i++)
        give_back(&cache, stacks[i]);
    assert_true(__builtin_popcountll(seen) >= 8); /* 16 if they are fresh; the cache may have kept some colours twice */
}

static void a_damaged_canary_is_noticed(void **state)
{
    struct nxi_stack *stack = nxi_stack_get(&cache, SIZE);

    (void)state;
    assert_false(nxi_stack_overflowed(stack));
    memset(low_of(stack), 0x55, (size_t)(top_of(stack) - low_of(stack)));
    assert_true(nxi_stack_overflowed(stack));
    memset(low_of(stack), 0, 64);
    assert_false(nxi_stack_overflowed(stack));
    give_back(&cache, stack);
}

static void an_overwritten_control_block_aborts_at_put(void **state)
{
    struct nxi_stack *stack = nxi_stack_get(&cache, SIZE);
    int status = 0;
    pid_t child;

    (void)state;
    child = fork();
    assert_int_not_equal(child, -1);
    if (child == 0) {
        int null = open("/dev/null", O_WRONLY);
        struct rlimit no_core = {0, 0};

        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        dup2(null, STDERR_FILENO);
        memset(stack, 0x41, sizeof(*stack));
        nxi_stack_put(&cache, stack);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) != 0);
    nxi_stack_put(&cache, stack);
}

/* As when a frame larger than the guard was entered: the task parks from outside its stack. Twice, since a stack that
 * has parked deep looks no more at how deep. */
static void parking_outside_the_stack_says_so_and_aborts(void **state)
{
    (void)state;
    for (int deep = 0; deep < 2; deep++) {
        struct nxi_stack *stack = nxi_stack_get(&cache, SIZE);
        char text[512] = "";
        int status = 0, ends[2];
        assert_int_equal(pipe(ends), 0);
        pid_t child = fork();
        assert_int_not_equal(child, -1);
        if (child == 0) {
            struct rlimit no_core = {0, 0};
            setrlimit(RLIMIT_CORE, &no_core);
            signal(SIGABRT, SIG_DFL);
            dup2(ends[1], STDERR_FILENO);
            if (deep)
                nxi_stack_parking(stack, low_of(stack) + 64);
            nxi_stack_parking(stack, low_of(stack) - 70000);
            _exit(0);
        }
        close(ends[1]);
        assert_true(read(ends[0], text, sizeof(text) - 1) > 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        close(ends[0]);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
        assert_non_null(strstr(text, "overflowed its 64 KiB stack"));
        give_back(&cache, stack);
    }
}

static void a_stack_that_ran_deep_gives_its_pages_back_when_a_task_parks_on_it(void **state)
{
    struct nxi_stack *stack = nxi_stack_get(&cache, SIZE);

    (void)state;
    memset(low_of(stack) + 64, 1, (size_t)(top_of(stack) - low_of(stack)) - 64);
    assert_true(resident_pages(stack) > 10);
    give_back(&cache, stack);
    assert_ptr_equal(nxi_stack_get(&cache, SIZE), stack);
    assert_true(resident_pages(stack) > 10);
    nxi_stack_parking(stack, top_of(stack) - 300);
    assert_int_equal(resident_pages(stack), 1);
    assert_true(nxi_stack_high_water(stack) <= 4096);

    /* once: the next deep call of the same life keeps its pages */
    memset(low_of(stack) + 64, 1, (size_t)(top_of(stack) - low_of(stack)) - 64);
    nxi_stack_parking(stack, top_of(stack) - 300);
    assert_true(resident_pages(stack) > 10);
    give_back(&cache, stack);
}

static void a_stack_that_ran_deep_and_goes_on_with_the_next_task_is_trimmed_as_well(void **state)
{
    struct nxi_stack *stack = nxi_stack_get(&cache, SIZE);

    (void)state;
    memset(low_of(stack) + 4096, 0x55, (size_t)(top_of(stack) - low_of(stack)) - 4096);
    assert_false(nxi_stack_overflowed(stack));
    nxi_stack_again(stack);
    assert_true(nxi_stack_high_water(stack) > SIZE / 2);
    nxi_stack_parking(stack, top_of(stack) - 300);
    assert_true(nxi_stack_high_water(stack) <= 4096);
    give_back(&cache, stack);
}

static void the_books_are_right_with_a_spare_stack_and_without(void **state)
{
    int64_t cached = nxi_stack_cached_count(&cache);
    struct nxi_stack *first = nxi_stack_get(&cache, SIZE);
    struct nxi_stack *second = nxi_stack_get(&cache, SIZE);
    struct nxi_stack *other;

    (void)state;
    give_back(&cache, first);
    assert_int_equal(nxi_stack_live_count(&cache), 1);
    give_back(&cache, second);
    assert_int_equal(nxi_stack_live_count(&cache), 0);
    assert_true(nxi_stack_cached_count(&cache) >= 2);
    other = nxi_stack_get(&cache, 2 * SIZE); /* not the spare one's size */
    assert_ptr_not_equal(other, second);
    assert_int_equal(nxi_stack_size(other), 2 * SIZE);
    assert_ptr_equal(nxi_stack_get(&cache, SIZE), second);
    assert_int_equal(nxi_stack_live_count(&cache), 2);
    give_back(&cache, second);
    give_back(&cache, other);
    assert_int_equal(nxi_stack_live_count(&cache), 0);
    nxi_stack_cache_drain(&cache);
    assert_int_equal(nxi_stack_cached_count(&cache), 0);
    assert_true(nxi_stacks_depot_count() >= 3);
    assert_true(cached >= 0);
}

static void parking_deep_keeps_what_is_in_use(void **state)
{
    struct nxi_stack *stack = nxi_stack_get(&cache, SIZE);
    char *sp = top_of(stack) - 20000;

    (void)state;
    memset(low_of(stack) + 64, 1, (size_t)(top_of(stack) - low_of(stack)) - 64);
    give_back(&cache, stack);
    assert_ptr_equal(nxi_stack_get(&cache, SIZE), stack);
    memset(sp, 7, (size_t)(top_of(stack) - sp));
    nxi_stack_parking(stack, sp);
    for (char *at = sp; at < top_of(stack); at++)
        if (*at != 7)
            fail_msg("%zu bytes below the top were lost", (size_t)(top_of(stack) - at));
    assert_true(resident_pages(stack) <= 20000 / page_size + 3);
    give_back(&cache, stack);

    /* it parked deep, and its topmost page alone would not tell */
    assert_ptr_equal(nxi_stack_get(&cache, SIZE), stack);
    nxi_stack_parking(stack, top_of(stack) - 300);
    assert_int_equal(resident_pages(stack), 1);
    give_back(&cache, stack);
}

static void a_shallow_stack_is_never_trimmed(void **state)
{
    struct nxi_stack *stack;

    (void)state;
    drain(NULL);
    stack = nxi_stack_get(&cache, SIZE);
    for (int life = 0; life < 3; life++) {
        memset(top_of(stack) - 2900, 1, 2900);
        assert_int_equal(stack->flags & 1, 0);
        give_back(&cache, stack);
        assert_ptr_equal(nxi_stack_get(&cache, SIZE), stack);
        assert_true((uintptr_t)top_of(stack) - 2900 >= stack->alarm);
    }
    give_back(&cache, stack);
}

static void decay_trims_deep_stacks_and_empties_the_depot(void **state)
{
    enum { COUNT = 700 };
    static struct nxi_stack *stacks[COUNT];
    size_t before, used, after;
    int calls = 0;

    (void)state;
    drain(NULL);
    before = resident_bytes();
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = nxi_stack_get(&cache, SIZE);
        memset(low_of(stacks[i]) + 64, 1, (size_t)(top_of(stacks[i]) - low_of(stacks[i])) - 64);
    }
    for (int i = 0; i < COUNT; i++)
        give_back(&cache, stacks[i]);
    used = resident_bytes();
    assert_true(used - before > COUNT * 50000);
    assert_true(nxi_stacks_depot_count() > 0);
    while (nxi_stack_decay(&cache) && calls < 1000)
        calls++;
    after = resident_bytes();
    assert_true(calls < 100);
    assert_int_equal(nxi_stacks_depot_count(), 0);
#ifndef SANITIZED
    assert_true(after < before + 300 * 4096 + (1 << 20)); /* one batch stays warm, at a page each */
#endif
    (void)after;

    /* given-back slots come again before new slabs, and with their guards */
    before = nxi_stacks_mapped_bytes();
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = nxi_stack_get(&cache, SIZE);
        assert_false(readable(low_of(stacks[i]) - 8));
        assert_false(nxi_stack_overflowed(stacks[i]));
    }
    assert_int_equal(nxi_stacks_mapped_bytes(), before);
    for (int i = 0; i < COUNT; i++)
        give_back(&cache, stacks[i]);
}

static void what_one_worker_drains_another_one_gets(void **state)
{
    static struct nxi_stack_cache other;
    struct nxi_stack *stack;
    size_t before;

    (void)state;
    drain(NULL);
    stack = nxi_stack_get(&cache, SIZE);
    give_back(&cache, stack);
    nxi_stack_cache_drain(&cache);
    assert_int_equal(nxi_stacks_depot_count(), 1);
    before = nxi_stacks_mapped_bytes();
    assert_ptr_equal(nxi_stack_get(&other, SIZE), stack);
    assert_int_equal(nxi_stacks_mapped_bytes(), before);
    give_back(&other, stack);
    nxi_stack_cache_drain(&other);
}

static void warn(const char *text);
static unsigned warning_count;

static void warn(const char *text)
{
    warning_count += strchr(text, '\n') == NULL;
}

static void without_guards_stacks_work_and_one_warning_says_so(void **state)
{
    enum { COUNT = 300 };
    static struct nxi_stack *stacks[COUNT];
    enum nxi_stack_guards guards = nxi_stacks_guards();
    int guarded_count = 0, found_count = 0;
    const size_t size = (size_t)128 << 10; /* a class no other test uses much: fresh slots */

    (void)state;
    drain(NULL);
    warning_count = 0;
    nxi_stacks_set_warn(warn);
    nxi_stacks_set_guards(NXI_GUARDS_MPROTECT, 100);
    for (int i = 0; i < COUNT; i++) {
        stacks[i] = nxi_stack_get(&cache, size);
        assert_non_null(stacks[i]);
        if (!readable(low_of(stacks[i]) - 8))
            guarded_count++;
        else if (nxi_stack_guard_hit(low_of(stacks[i]) - 8, NULL))
            found_count++;
    }
    nxi_stacks_set_guards(guards, 10000);
    assert_true(guarded_count >= 100);
    assert_true(guarded_count <= 132); /* and what earlier tests left of this class */
    assert_int_equal(found_count, 0);
    assert_int_equal(warning_count, 1);
    for (int i = 0; i < COUNT; i++) {
        assert_false(nxi_stack_overflowed(stacks[i]));
        if (readable(low_of(stacks[i]) - 8)) { /* the canary alone, without the tripwire's help */
            low_of(stacks[i])[3] = 1;
            assert_true(nxi_stack_overflowed(stacks[i]));
            low_of(stacks[i])[3] = 0;
        }
        give_back(&cache, stacks[i]);
    }
}

static void locked_memory_falls_back_to_mprotect(void **state)
{
    int status = 0;
    pid_t child;

    (void)state;
    child = fork();
    assert_int_not_equal(child, -1);
    if (child == 0) {
        struct nxi_stack *stack;

        if (mlockall(MCL_FUTURE) != 0)
            _exit(77);
        stack = nxi_stack_get(&cache, (size_t)256 << 10); /* a class of its own: its slab is mapped locked */
        if (stack == NULL || readable(low_of(stack) - 8) || !nxi_stack_guard_hit(low_of(stack) - 8, NULL))
            _exit(1);
        memset(low_of(stack) + 64, 1, 100000);
        give_back(&cache, stack);
        nxi_stack_parking(nxi_stack_get(&cache, (size_t)256 << 10), top_of(stack) - 300);
        give_back(&cache, stack);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("skipped: mlockall is not allowed here\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void high_water_is_what_was_written(void **state)
{
    struct nxi_stack *stack;

    (void)state;
    drain(NULL);
    stack = nxi_stack_get(&cache, (size_t)1 << 20);
    assert_int_equal(nxi_stack_high_water(stack), 0);
    top_of(stack)[-800] = 1;
    assert_int_equal(nxi_stack_high_water(stack), 800);
    top_of(stack)[-600000] = 1;
    assert_true(nxi_stack_high_water(stack) >= 600000 && nxi_stack_high_water(stack) < 600008);
    give_back(&cache, stack);
}

#ifndef SANITIZED

static void a_hundred_thousand_guarded_stacks_cost_a_page_each_and_no_mappings(void **state)
{
    static struct nxi_stack *stacks[MANY];
    size_t before, after, mappings;

    (void)state;
    if (nxi_stacks_guards() != NXI_GUARDS_MADVISE) {
        print_message("skipped: no MADV_GUARD_INSTALL here\n");
        skip();
    }
    if (RUNNING_ON_VALGRIND) {
        print_message("skipped: valgrind's own memory is in the figures\n");
        skip();
    }
    drain(NULL);
    memset(stacks, 0xff, sizeof(stacks)); /* resident before the measurement */
    before = resident_bytes();
    mappings = mapping_count();
    for (int i = 0; i < MANY; i++) {
        stacks[i] = nxi_stack_get(&cache, SIZE);
        if (stacks[i] == NULL)
            fail_msg("no memory for stack %d", i);
        memset(top_of(stacks[i]) - 600, 1, 600);
        nxi_stack_parking(stacks[i], top_of(stacks[i]) - 600);
    }
    after = resident_bytes();
    print_message("%zu bytes a stack\n", (after - before) / MANY);
    if (page_size == 4096)
        assert_true((after - before) / MANY <= 4300);
    assert_true(mapping_count() < mappings + MANY / 50);
    for (int i = 0; i < MANY; i += 997)
        assert_false(readable(low_of(stacks[i]) - 8));
    for (int i = 0; i < MANY; i++)
        give_back(&cache, stacks[i]);
    assert_int_equal(drain(NULL), 0);
    assert_true(resident_bytes() < before + ((size_t)20 << 20));
}

#endif

#define WORKERS 4
#define ROUNDS 20000

static void *churn(void *arg)
{
    struct nxi_stack_cache *own = arg;
    struct nxi_stack *held[64] = {NULL};
    uint64_t seed = (uintptr_t)arg;
    uintptr_t bad_count = 0;

    for (int i = 0; i < ROUNDS; i++) {
        size_t at = (seed >> 33) % 64;

        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
        if (held[at] == NULL) {
            held[at] = nxi_stack_get(own, NXI_STACK_SIZE_MIN << ((seed >> 20) % 3));
            if (held[at] == NULL) {
                bad_count++;
                continue;
            }
            memset(top_of(held[at]) - 256, (int)at + 1, 256);
        } else {
            for (int j = 1; j <= 256; j++)
                bad_count += top_of(held[at])[-j] != (char)(at + 1);
            give_back(own, held[at]);
            held[at] = NULL;
        }
        if (i % 1000 == 999)
            nxi_stack_cache_drain(own);
        if (i % 500 == 250)
            nxi_stack_decay(own);
    }
    for (int i = 0; i < 64; i++)
        if (held[i] != NULL)
            give_back(own, held[i]);
    nxi_stack_cache_drain(own);
    return (void *)bad_count;
}

static void workers_share_the_depot_and_never_a_stack(void **state)
{
    static struct nxi_stack_cache caches[WORKERS];
    pthread_t threads[WORKERS];

    (void)state;
    for (int i = 0; i < WORKERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, &caches[i]), 0);
    for (int i = 0; i < WORKERS; i++) {
        void *bad_count;

        pthread_join(threads[i], &bad_count);
        assert_null(bad_count);
        assert_int_equal(nxi_stack_live_count(&caches[i]), 0);
    }
}

static void out_of_address_space_is_null_and_not_the_end(void **state)
{
#ifdef SANITIZED
    (void)state;
    print_message("skipped: the sanitizer's shadow needs the address space\n");
    skip();
#else
    struct rlimit limit, none;
    struct nxi_stack *stacks[64];
    int count = 0;
    void *probe;

    (void)state;
    if (RUNNING_ON_VALGRIND) {
        print_message("skipped: valgrind needs the address space\n");
        skip();
    }
    assert_int_equal(getrlimit(RLIMIT_AS, &limit), 0);
    none = (struct rlimit){(rlim_t)1 << 20, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_AS, &none), 0);
    /* Of this process, or of an emulator around it, which has room already? */
    probe = mmap(NULL, (size_t)8 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    while (count < 64 && (stacks[count] = nxi_stack_get(&cache, NXI_STACK_SIZE_MAX)) != NULL)
        count++;
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    if (probe != MAP_FAILED) {
        munmap(probe, (size_t)8 << 20);
        while (count > 0)
            give_back(&cache, stacks[--count]);
        print_message("skipped: RLIMIT_AS limits nothing here\n");
        skip();
    }
    assert_true(count < 64);
    while (count > 0)
        give_back(&cache, stacks[--count]);
    stacks[0] = nxi_stack_get(&cache, NXI_STACK_SIZE_MAX);
    assert_non_null(stacks[0]);
    give_back(&cache, stacks[0]);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_rounded_up_to_a_power_of_two),
        cmocka_unit_test(every_size_has_a_guard_below_it),
        cmocka_unit_test(the_last_stack_given_back_is_the_next_one_given_out),
        cmocka_unit_test(neighbours_tops_differ_in_their_cache_set),
        cmocka_unit_test(a_damaged_canary_is_noticed),
        cmocka_unit_test(an_overwritten_control_block_aborts_at_put),
        cmocka_unit_test(parking_outside_the_stack_says_so_and_aborts),
        cmocka_unit_test(a_stack_that_ran_deep_gives_its_pages_back_when_a_task_parks_on_it),
        cmocka_unit_test(a_stack_that_ran_deep_and_goes_on_with_the_next_task_is_trimmed_as_well),
        cmocka_unit_test(the_books_are_right_with_a_spare_stack_and_without),
        cmocka_unit_test(parking_deep_keeps_what_is_in_use),
        cmocka_unit_test(a_shallow_stack_is_never_trimmed),
        cmocka_unit_test(decay_trims_deep_stacks_and_empties_the_depot),
        cmocka_unit_test(what_one_worker_drains_another_one_gets),
        cmocka_unit_test(without_guards_stacks_work_and_one_warning_says_so),
        cmocka_unit_test(locked_memory_falls_back_to_mprotect),
        cmocka_unit_test(high_water_is_what_was_written),
#ifndef SANITIZED
        cmocka_unit_test(a_hundred_thousand_guarded_stacks_cost_a_page_each_and_no_mappings),
#endif
        cmocka_unit_test(workers_share_the_depot_and_never_a_stack),
        cmocka_unit_test(out_of_address_space_is_null_and_not_the_end),
    };

    return cmocka_run_group_tests(tests, setup, drain);
}
