/*
 * nexus/base.h: what every other header stands on: linkage, time, error codes.
 *
 * Conventions of the whole API
 *  - int and ssize_t results: >= 0 is success, < 0 is -errno or -NX_E...; nx_strerror() prints both. errno means
 *    nothing after a call: compilers keep its address across a task switch.
 *  - ret_x output parameters are untouched on failure.
 *  - [parks] may suspend the calling task, never its thread. Such a call takes an absolute deadline, last: NX_FOREVER
 *    waits; NX_POLL tries once and never parks (-EAGAIN); a deadline in the past tries once, then gives -ETIMEDOUT.
 *    Outside a task it returns -NX_ENOTASK, unless it is also marked [threads].
 *  - [threads] works from plain threads too.
 *  - In a child after fork(2) every call that needs its runtime returns -NX_EFORKED: the rings and the threads stayed
 *    with the parent.
 *  - Options structs start with their size, sizeof of the struct; 0, or a field behind what this library knows that
 *    is not zero, is -EINVAL. NULL means all defaults. Deadlines in them are relative, 0 is none.
 */
#ifndef NEXUS_BASE_H
#define NEXUS_BASE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
#define NX_BEGIN_DECLS extern "C" {
#define NX_END_DECLS }
#else
#define NX_BEGIN_DECLS
#define NX_END_DECLS
#endif

#if defined(__GNUC__)
#define NX_API __attribute__((visibility("default")))
#define NX_PRINTF(fmt, first) __attribute__((format(printf, fmt, first)))
#define NX_MUST_USE __attribute__((warn_unused_result))
#define NX_NORETURN __attribute__((noreturn))
#else
#define NX_API
#define NX_PRINTF(fmt, first)
#define NX_MUST_USE
#define NX_NORETURN
#endif

NX_BEGIN_DECLS

/* Nanoseconds on CLOCK_MONOTONIC, or on the clock of a backend that owns one. 0 is never a time. */
typedef int64_t nx_time;

#define NX_FOREVER INT64_MAX
#define NX_POLL INT64_C(0)

/* Codes beside errno's. Returned negated. */
#define NX_ENOTASK 10001 /* the call must be made from a task */
#define NX_EPANIC 10002  /* the task panicked; nx_join_message() has its message */
#define NX_EFORKED 10003 /* the process is a fork(2)ed child; exec or _exit */

/* The text of a result of this library, negative or not: "Connection refused", "Not called from a task". Static. */
NX_API const char *nx_strerror(int code);

/* The library's version, "0.1.0". Static. */
NX_API const char *nx_version(void);

NX_END_DECLS
#endif
