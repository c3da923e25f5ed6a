/* reaper.h: ends of child processes that nobody waits for any more. */
#ifndef NXI_REAPER_H
#define NXI_REAPER_H

#include "os.h"

/* Takes the child's descriptor over: reaps the child when it ends, and closes it. Any thread. */
void nxi_reap_later(const struct nxi_child *child);

#endif
