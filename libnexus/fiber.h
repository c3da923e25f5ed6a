/*
 * fiber.h: a stack and the registers to go on with. Nothing here schedules, allocates or locks.
 *
 * A switch keeps what the C ABI says a call keeps: the callee-saved registers and the stack pointer. The floating-point
 * control words belong to the thread (struct nxi_fpenv is for the tasks that asked for their own), and so does the
 * signal mask. doc/design/switch.md has the reasons and the figures.
 */
#ifndef NXI_FIBER_H
#define NXI_FIBER_H

#include <stddef.h>
#include <stdint.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define NXI_ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define NXI_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) && !defined(NXI_ASAN)
#define NXI_ASAN 1
#endif
#if defined(__SANITIZE_THREAD__) && !defined(NXI_TSAN)
#define NXI_TSAN 1
#endif

struct nxi_fiber {
    void *sp; /* first: the assembly reads it. While it does not run: where its registers are saved */
#ifdef NXI_ASAN
    void *fake_stack;
    void *low;
    size_t size;
#endif
#ifdef NXI_TSAN
    void *tsan; /* made by the first switch to it: TSan before LLVM 22 can't destroy a fiber that never ran */
#endif
#if defined(NXI_ASAN) || defined(NXI_TSAN)
    struct nxi_fiber *(*entry)(void *arg);
    void *arg;
#endif
};

/* What a fiber does: its return is its last switch, as nxi_fiber_leave() is, to the fiber that it returns. */
typedef struct nxi_fiber *nxi_fiber_fn(void *arg);

/*
 * The first switch to the fiber calls entry(arg) on the stack [low, top). Writes only the fiber and less than 192 bytes
 * below top (ucontext: less than 1200).
 */
void nxi_fiber_make(struct nxi_fiber *fiber, void *low, void *top, nxi_fiber_fn *entry, void *arg);

/* The fiber stands for the calling thread's own stack, so that it can be switched from and back to. */
void nxi_fiber_thread(struct nxi_fiber *fiber);
void nxi_fiber_thread_done(struct nxi_fiber *fiber);

/* The machine's part: pushes the registers, stores the stack pointer in *ret_sp, continues at to_sp. */
void nxi_fiber_swap(void **ret_sp, void *to_sp);

#if defined(NXI_ASAN) || defined(NXI_TSAN)

void nxi_fiber_switch(struct nxi_fiber *from, struct nxi_fiber *to);
_Noreturn void nxi_fiber_leave(struct nxi_fiber *from, struct nxi_fiber *to);
void nxi_fiber_forget(struct nxi_fiber *fiber);

/* Makes `to` and switches to it. Cheaper than the two: an entry that returns without a switch in between is predicted.
 */
void nxi_fiber_enter_new(struct nxi_fiber *from, struct nxi_fiber *to, void *low, void *top, nxi_fiber_fn *entry,
                         void *arg);

static inline int nxi_fiber_call(void *a, void *b, void *c, void *d, int (*fn)(void *, void *, void *, void *))
{
    return fn(a, b, c, d);
}

#else

#if defined(__x86_64__) && !defined(__ILP32__) && !defined(NXI_FIBER_UCONTEXT)

void nxi_fiber_enter(void **ret_sp, void *end, nxi_fiber_fn *entry, void *arg);

static inline void nxi_fiber_enter_new(struct nxi_fiber *from, struct nxi_fiber *to, void *low, void *top,
                                       nxi_fiber_fn *entry, void *arg)
{
    (void)to;
    (void)low;
    nxi_fiber_enter(&from->sp, (void *)(((uintptr_t)top & ~(uintptr_t)15) - 16), entry, arg);
}

#else

static inline void nxi_fiber_enter_new(struct nxi_fiber *from, struct nxi_fiber *to, void *low, void *top,
                                       nxi_fiber_fn *entry, void *arg)
{
    nxi_fiber_make(to, low, top, entry, arg);
    nxi_fiber_swap(&from->sp, to->sp);
}

#endif

#if defined(__x86_64__) && !defined(__ILP32__) && !defined(NXI_FIBER_UCONTEXT)
#define NXI_FIBER_JUMP 1

/* As nxi_fiber_swap, which may continue what this has left and the other way round, but goes on by a jump: predicted
 * where fibers stop at different places. For tail calls, so that no return lies between the switch and the user. */
void nxi_fiber_jump(void **ret_sp, void *to_sp);

/*
 * fn(a, b, c, d), which switches, and then back to the caller by a jump: for tail calls. After a switch the return
 * predictor has the frames of who was switched from. As far as both wait in the same functions it is right even so; the
 * first return beyond, to the user's code, would be wrong each time.
 */
int nxi_fiber_call(void *a, void *b, void *c, void *d, int (*fn)(void *, void *, void *, void *));

void nxi_fiber_interlude(void);

/* The next switch to the fiber, which is stopped, calls fn(arg) on its stack first. */
static inline void nxi_fiber_before(struct nxi_fiber *fiber, void (*fn)(void *), void *arg)
{
    uintptr_t *frame = (uintptr_t *)fiber->sp - 7; /* r15 r14 r13 r12 rbx rbp, where to go on */
    frame[2] = (uintptr_t)fn;
    frame[3] = (uintptr_t)arg;
    frame[6] = (uintptr_t)nxi_fiber_interlude;
    fiber->sp = frame;
}

#else

static inline int nxi_fiber_call(void *a, void *b, void *c, void *d, int (*fn)(void *, void *, void *, void *))
{
    return fn(a, b, c, d);
}

#endif

/* Saves the running fiber, which must be `from`, and continues `to`. Returns when somebody switches to `from` again. */
static inline void nxi_fiber_switch(struct nxi_fiber *from, struct nxi_fiber *to)
{
    nxi_fiber_swap(&from->sp, to->sp);
}

/* The last switch of a fiber: nobody may switch to `from` again, its stack may be reused as soon as `to` runs. */
_Noreturn static inline void nxi_fiber_leave(struct nxi_fiber *from, struct nxi_fiber *to)
{
    nxi_fiber_swap(&from->sp, to->sp);
    __builtin_trap();
}

/* After the leave, called on another fiber: gives up what a sanitizer keeps of it. */
static inline void nxi_fiber_forget(struct nxi_fiber *fiber)
{
    (void)fiber;
}

#endif

/* The floating-point control words: rounding, masked exceptions, flush to zero. For NX_TASK_FPENV tasks. */
#if defined(__x86_64__)

struct nxi_fpenv {
    uint32_t mxcsr;
    uint16_t x87;
};

/* What a process starts with. */
static const struct nxi_fpenv nxi_fpenv_default = {0x1f80, 0x037f};

static inline void nxi_fpenv_get(struct nxi_fpenv *ret_env)
{
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(ret_env->mxcsr), "=m"(ret_env->x87));
}

/* The barrier keeps the compiler from moving loads and stores over it; plain arithmetic it may still move, as after
 * fesetround(3) without FENV_ACCESS: call it next to a switch. */
static inline void nxi_fpenv_set(const struct nxi_fpenv *env)
{
    __asm__ volatile("ldmxcsr %0\n\tfldcw %1" : : "m"(env->mxcsr), "m"(env->x87) : "memory");
}

#elif defined(__aarch64__)

struct nxi_fpenv {
    uint64_t fpcr;
};

static const struct nxi_fpenv nxi_fpenv_default = {0};

static inline void nxi_fpenv_get(struct nxi_fpenv *ret_env)
{
    __asm__ volatile("mrs %0, fpcr" : "=r"(ret_env->fpcr));
}

static inline void nxi_fpenv_set(const struct nxi_fpenv *env)
{
    __asm__ volatile("msr fpcr, %0" : : "r"(env->fpcr) : "memory");
}

#else

#include <fenv.h>

/* fenv_t holds the sticky exception flags too; elsewhere they go along. */
struct nxi_fpenv {
    fenv_t env;
};

extern const struct nxi_fpenv nxi_fpenv_default;

static inline void nxi_fpenv_get(struct nxi_fpenv *ret_env)
{
    fegetenv(&ret_env->env);
}

static inline void nxi_fpenv_set(const struct nxi_fpenv *env)
{
    fesetenv(&env->env);
}

#endif
#endif
