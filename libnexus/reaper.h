/* reaper.h: ends of child processes that nobody waits for any more. */
#ifndef NXI_REAPER_H
#define NXI_REAPER_H

/* Reaps a child that has ended: 0; -EAGAIN: it runs; -errno of waitid(2). process.c */
int nxi_reap(int pidfd, int *ret_status);

/* Takes the pidfd over: reaps the child when it ends, and closes it. Any thread. */
void nxi_reap_later(int pidfd);

#endif
