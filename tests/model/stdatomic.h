/*
 * stdatomic.h, the model's: comes before the compiler's, so that sched/work_stealing.c compiles unchanged and every
 * atomic operation in it is a point where another virtual thread may go on. All virtual threads share one real one,
 * so plain accesses do, and what is explored are the interleavings (sequential consistency; store buffers are
 * tests/spin's part).
 *
 * NXT_MUTANT 1: a compare-and-swap that can be torn between its comparison and its store. 2: an exchange, likewise.
 */
#ifndef NXT_MODEL_STDATOMIC_H
#define NXT_MODEL_STDATOMIC_H

void nxt_point(void);

#if NXT_MUTANT == 1
#define NXT_TEAR_CAS() nxt_point()
#else
#define NXT_TEAR_CAS() (void)0
#endif
#if NXT_MUTANT == 2
#define NXT_TEAR_EXCHANGE() nxt_point()
#else
#define NXT_TEAR_EXCHANGE() (void)0
#endif

/* The comma makes a value of it, without _Atomic: clang would keep that in __auto_type. */
#define atomic_load_explicit(object, order) (nxt_point(), *(object))
#define atomic_load(object) atomic_load_explicit(object, seq_cst)
#define atomic_store_explicit(object, value, order) (nxt_point(), (void)(*(object) = (value)))
#define atomic_fetch_add_explicit(object, value, order) (nxt_point(), (*(object) += (value)) - (value))
#define atomic_fetch_or(object, value)                                                                                 \
    ({                                                                                                                 \
        nxt_point();                                                                                                   \
        __auto_type nxt_old = ((void)0, *(object));                                                                    \
        *(object) |= (value);                                                                                          \
        nxt_old;                                                                                                       \
    })
#define atomic_fetch_and(object, value)                                                                                \
    ({                                                                                                                 \
        nxt_point();                                                                                                   \
        __auto_type nxt_old = ((void)0, *(object));                                                                    \
        *(object) &= (value);                                                                                          \
        nxt_old;                                                                                                       \
    })
#define atomic_exchange_explicit(object, value, order)                                                                 \
    ({                                                                                                                 \
        nxt_point();                                                                                                   \
        __auto_type nxt_old = ((void)0, *(object));                                                                    \
        NXT_TEAR_EXCHANGE();                                                                                           \
        *(object) = (value);                                                                                           \
        nxt_old;                                                                                                       \
    })
#define atomic_compare_exchange_strong_explicit(object, expected, value, order, failure)                               \
    ({                                                                                                                 \
        nxt_point();                                                                                                   \
        __auto_type nxt_old = ((void)0, *(object));                                                                    \
        NXT_TEAR_CAS();                                                                                                \
        int nxt_same = nxt_old == *(expected);                                                                         \
        if (nxt_same)                                                                                                  \
            *(object) = (value);                                                                                       \
        else                                                                                                           \
            *(expected) = nxt_old;                                                                                     \
        nxt_same;                                                                                                      \
    })
#define atomic_compare_exchange_weak_explicit atomic_compare_exchange_strong_explicit

#endif
