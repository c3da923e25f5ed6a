/* util.h: what every file may use. */
#ifndef NXI_UTIL_H
#define NXI_UTIL_H

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#define nxi_container(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))
#define NXI_LIKELY(condition) __builtin_expect(!!(condition), 1)
#define NXI_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define NXI_NOINLINE __attribute__((noinline))

/* In builds with --enable-enosys-hooks the public function named by NEXUS_TEST_ENOSYS fails, so that the suite can show
 * that each function is exercised. */
#ifdef NXI_ENOSYS_HOOKS
int nxi_enosys(const char *function);
#define NXI_ENTRY(value)                                                                                               \
    do {                                                                                                               \
        if (nxi_enosys(__func__))                                                                                      \
            return value;                                                                                              \
    } while (0)
#else
#define NXI_ENTRY(value)                                                                                               \
    do {                                                                                                               \
    } while (0)
#endif

/* a + b without overflow: times saturate at NX_FOREVER. b >= 0. */
static inline int64_t nxi_time_add(int64_t a, int64_t b)
{
    return a > INT64_MAX - b ? INT64_MAX : a + b;
}

#endif
