/* signals.h: waiting for signals, or for another event of the same task's making. */
#ifndef NXI_SIGNALS_H
#define NXI_SIGNALS_H

#include "core.h"
#include <nexus/process.h>
#include <signal.h>

struct nxi_signals {
    uint64_t bits; /* bit n - 1: signal n */
    int pipe, fd;  /* its index, and the end to read */
};

/* Takes the dispositions: 0, -EINVAL, -EAGAIN. In a task. */
int nxi_signals_open(const sigset_t *set, struct nxi_signals *ret_signals);
/* The next one's number; 0: none, but *other (may be NULL) has become true; or nx_fd_wait's error. [parks] */
int nxi_signals_next(const struct nxi_signals *signals, const atomic_bool *other, nx_time deadline);
/* Makes nxi_signals_next look at *other. Any thread, before the close. */
void nxi_signals_rouse(const struct nxi_signals *signals);
void nxi_signals_close(const struct nxi_signals *signals);
/* While on, the second of these signals ends the process even if no worker looks at it. */
void nxi_signals_guard(const struct nxi_signals *signals, bool on);
/* Ends the process as the signal would have without us. Async-signal-safe. */
_Noreturn void nxi_signals_end_process(int signo);

#endif
