/*
 * fiber.c: what comes before the first switch, the switch where no assembly is at hand, and what sanitizers want to
 * know about each one. The switch itself is in fiber_x86_64.S and fiber_aarch64.S.
 */
#define _GNU_SOURCE

#include "fiber.h"
#include "os.h"

#include <pthread.h>
#include <string.h>

#if (defined(__x86_64__) || defined(__aarch64__)) && !defined(__ILP32__) && !defined(NXI_FIBER_UCONTEXT)
#define FIBER_ASM 1
#else
#include <ucontext.h>
#endif

#ifdef NXI_ASAN
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef NXI_TSAN
#include <sanitizer/tsan_interface.h>
#endif

#if !defined(__x86_64__) && !defined(__aarch64__)
const struct nxi_fpenv nxi_fpenv_default = {0};
#endif

#ifdef FIBER_ASM

extern const char nxi_fiber_start[];

/* The frame that nxi_fiber_swap() pops, lowest address first. `end` is above the outermost frame, a multiple of 16. */
#ifdef __x86_64__
struct frame {
    uint64_t r15;
    uint64_t r14;
    nxi_fiber_fn *entry; /* r13 */
    void *arg;           /* r12 */
    uint64_t rbx;
    uint64_t rbp;
    const void *pc;
    uint64_t end[2];
};
#else
void *nxi_fiber_sign(const void *pc, void *sp);

struct frame {
    uint64_t x29;
    const void *pc;      /* x30 */
    nxi_fiber_fn *entry; /* x19 */
    void *arg;           /* x20 */
    uint64_t x21_to_x28[8];
    uint64_t d8_to_d15[8];
    uint64_t end[2];
};
#endif

static void *make_frame(void *low, void *top, nxi_fiber_fn *entry, void *arg)
{
    uintptr_t end = ((uintptr_t)top & ~(uintptr_t)15) - sizeof(((struct frame *)NULL)->end);
    struct frame *frame = (struct frame *)(end - offsetof(struct frame, end));

    (void)low;
    memset(frame, 0, sizeof(*frame));
    frame->entry = entry;
    frame->arg = arg;
#ifdef __x86_64__
    frame->pc = nxi_fiber_start;
#else
    frame->pc = nxi_fiber_sign(nxi_fiber_start, frame->end);
#endif
    return frame;
}

#else

/* makecontext() passes ints. */
static void start(unsigned entry_high, unsigned entry_low, unsigned arg_high, unsigned arg_low)
{
    nxi_fiber_fn *entry = (nxi_fiber_fn *)(uintptr_t)((uint64_t)entry_high << 32 | entry_low);

    setcontext(entry((void *)(uintptr_t)((uint64_t)arg_high << 32 | arg_low))->sp);
    __builtin_trap();
}

static void *make_frame(void *low, void *top, nxi_fiber_fn *entry, void *arg)
{
    ucontext_t *context = (ucontext_t *)(((uintptr_t)top - sizeof(*context)) & ~(uintptr_t)63);
    uint64_t entry_bits = (uintptr_t)entry;
    uint64_t arg_bits = (uintptr_t)arg;

    getcontext(context);
    context->uc_stack.ss_sp = low;
    context->uc_stack.ss_size = (size_t)((char *)context - (char *)low);
    context->uc_link = NULL;
    makecontext(context, (void (*)(void))start, 4, (unsigned)(entry_bits >> 32), (unsigned)entry_bits,
                (unsigned)(arg_bits >> 32), (unsigned)arg_bits);
    return context;
}

/*
 * The context lives on the stack it describes, like the frame of the assembly. It keeps the signal mask and the
 * floating-point environment too and takes two system calls: for machines without a file of their own, and for tests.
 */
void nxi_fiber_swap(void **ret_sp, void *to_sp)
{
    ucontext_t here;
    void *volatile saved = &here;

    *ret_sp = saved;
    swapcontext(&here, to_sp);
}

#endif

#if defined(NXI_ASAN) || defined(NXI_TSAN)

/* Inline even in debug builds: TSan would note its begin on one fiber's account and its end on the other's. */
__attribute__((always_inline)) static inline void announce(struct nxi_fiber *to, void **ret_fake_stack)
{
    (void)to;
    (void)ret_fake_stack;
#ifdef NXI_ASAN
    __sanitizer_start_switch_fiber(ret_fake_stack, to->low, to->size);
#endif
#ifdef NXI_TSAN
    if (to->tsan == NULL)
        to->tsan = __tsan_create_fiber(0);
    __tsan_switch_to_fiber(to->tsan, 0);
#endif
}

/* A fiber's first frame, which has to end the switch that ASan has seen begin. When entry returns, *fiber may be gone.
 * Not instrumented: nobody unpoisons a frame that is never returned from. */
__attribute__((no_sanitize("address"))) static struct nxi_fiber *enter(void *arg)
{
    struct nxi_fiber *fiber = arg;
    void *nobody;

#ifdef NXI_ASAN
    __sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
    fiber = fiber->entry(fiber->arg);
    announce(fiber, NULL);
    nxi_fiber_swap(&nobody, fiber->sp);
    __builtin_trap();
}

void nxi_fiber_make(struct nxi_fiber *fiber, void *low, void *top, nxi_fiber_fn *entry, void *arg)
{
    memset(fiber, 0, sizeof(*fiber));
    fiber->entry = entry;
    fiber->arg = arg;
#ifdef NXI_ASAN
    fiber->low = low;
    fiber->size = (size_t)((char *)top - (char *)low);
#endif
    fiber->sp = make_frame(low, top, enter, fiber);
}

void nxi_fiber_thread(struct nxi_fiber *fiber)
{
    memset(fiber, 0, sizeof(*fiber));
#ifdef NXI_ASAN
    nxi_os_thread_stack(&fiber->low, &fiber->size);
#endif
#ifdef NXI_TSAN
    fiber->tsan = __tsan_get_current_fiber();
#endif
}

void nxi_fiber_switch(struct nxi_fiber *from, struct nxi_fiber *to)
{
    void **ret_fake_stack = NULL;

#ifdef NXI_ASAN
    ret_fake_stack = &from->fake_stack;
#endif
    announce(to, ret_fake_stack);
    nxi_fiber_swap(&from->sp, to->sp);
    /* No tail call: TSan would note this function's end before it, on the other fiber's account. */
    __asm__ volatile("" : : : "memory");
#ifdef NXI_ASAN
    __sanitizer_finish_switch_fiber(from->fake_stack, NULL, NULL);
#endif
}

_Noreturn void nxi_fiber_leave(struct nxi_fiber *from, struct nxi_fiber *to)
{
    announce(to, NULL);
    nxi_fiber_swap(&from->sp, to->sp);
    __builtin_trap();
}

void nxi_fiber_enter_new(struct nxi_fiber *from, struct nxi_fiber *to, void *low, void *top, nxi_fiber_fn *entry,
                         void *arg)
{
    nxi_fiber_make(to, low, top, entry, arg);
    nxi_fiber_switch(from, to);
    /* No tail call, as above. */
    __asm__ volatile("" : : : "memory");
}

void nxi_fiber_forget(struct nxi_fiber *fiber)
{
#ifdef NXI_TSAN
    if (fiber->tsan != NULL)
        __tsan_destroy_fiber(fiber->tsan);
    fiber->tsan = NULL;
#else
    (void)fiber;
#endif
}

#else

void nxi_fiber_make(struct nxi_fiber *fiber, void *low, void *top, nxi_fiber_fn *entry, void *arg)
{
    fiber->sp = make_frame(low, top, entry, arg);
}

void nxi_fiber_thread(struct nxi_fiber *fiber)
{
    fiber->sp = NULL;
}

#endif

void nxi_fiber_thread_done(struct nxi_fiber *fiber)
{
    fiber->sp = NULL;
}
