/* dump.h: what shows, for people, what tasks are doing: nx_dump, SIGQUIT, the report of stalls. */
#ifndef NXI_DUMP_H
#define NXI_DUMP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct nx_runtime;
struct nxi_stall;

/* stop (may be NULL): gives up soon after it has become true, also while fd takes nothing. 0 or -errno. */
int nxi_dump(int fd, const atomic_bool *stop);

/* sigquit.c: from now on SIGQUIT writes a dump to stderr, by a thread of its own. Counted: the last _remove puts back
 * what was there before. 0 or -errno. */
int nxi_sigquit_install(void);
void nxi_sigquit_remove(void);

/* stall.c: a thread that looks at the runtime's workers, and reports a task that holds one longer than threshold_ns.
 * To be started when the workers run, and stopped before they are gone. 0 or -errno. */
int nxi_stall_start(struct nx_runtime *runtime, int64_t threshold_ns, struct nxi_stall **ret_stall);
void nxi_stall_stop(struct nxi_stall *stall); /* NULL is fine */

/* The signal that asks a worker where it is, chosen when first needed; 0: none. Workers that are watched must not block
 * it. */
int nxi_stall_signal(void);

#endif
