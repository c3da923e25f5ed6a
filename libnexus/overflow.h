/*
 * overflow.h: a stack overflow is reported with the task's name before it kills the process.
 *
 * The handler acts only on addresses inside a guard of ours (stack.h) and passes every other fault on, as if it were
 * not there: to the handler it found, or to the default action.
 */
#ifndef NXI_OVERFLOW_H
#define NXI_OVERFLOW_H

#include <stdbool.h>
#include <stddef.h>

/* Writes who runs on this thread, as in "task 'fetch' (spawned at main.c:42)", without newline, and returns its length,
 * at most size; 0: unknown. Called in a signal handler: async-signal-safe. */
typedef size_t (*nxi_overflow_describe_fn)(char *buf, size_t size);

void nxi_overflow_set_describe(nxi_overflow_describe_fn describe);

/* Installs the handler for SIGSEGV and SIGBUS; the second time counts only. leave_alone: does nothing. 0 or -errno. */
int nxi_overflow_install(bool leave_alone);

/* Undoes one install; the last one puts back what was there, unless somebody has installed over ours. */
void nxi_overflow_remove(void);

/* The running task is found outside its stack, having stepped over the guard: says so and aborts, since what lies below
 * may be another task's. */
_Noreturn void nxi_overflow_found(size_t stack_size);

/* Gives the calling thread a signal stack if it has none, and takes it away again. 0 or -errno. */
int nxi_overflow_thread(void);
void nxi_overflow_thread_done(void);

#endif
