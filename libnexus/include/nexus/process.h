/* nexus/process.h: the process around the tasks: signals. */
#ifndef NEXUS_PROCESS_H
#define NEXUS_PROCESS_H

#include <nexus/base.h>
#include <sys/select.h> /* sigset_t, also under -std=c11 */

NX_BEGIN_DECLS

/*
 * Waits for a signal of the set; its number goes to *ret_signo. The first call for a signal takes its disposition, so
 * that it no longer ends the process; from then on an occurrence between two calls is kept for the next one. The old
 * disposition returns when the process' last runtime is destroyed. One waiter gets each occurrence;
 * several of one signal between two calls are one, as with sigwait(3). -EINVAL for an empty set or a signal that
 * can't be caught or belongs to the cpu (SIGSEGV, ...); -EAGAIN: 64 tasks are waiting for signals already. [parks]
 */
NX_API int nx_signal_wait(const sigset_t *set, int *ret_signo, nx_time deadline);

NX_END_DECLS
#endif
