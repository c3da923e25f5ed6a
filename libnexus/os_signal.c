/* os_signal.c: which signals there are, and who sent one. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os.h"

int nxi_os_signal_max(void)
{
#ifdef SIGRTMAX
    return SIGRTMAX;
#else
    return NSIG - 1;
#endif
}

bool nxi_os_signal_reserved(int signo)
{
    if (signo < 1 || signo > nxi_os_signal_max())
        return true;
#if defined(__linux__)
    return signo > SIGSYS && signo < SIGRTMIN;
#elif defined(__FreeBSD__)
    return signo == SIGTHR || signo == SIGLIBRT;
#elif defined(__OpenBSD__)
    return signo == SIGTHR;
#else
    return false;
#endif
}

/* macOS and OpenBSD tell a thread's signal from none other. */
bool nxi_os_signal_sent_here(const siginfo_t *info)
{
#if defined(SI_TKILL)
    return info->si_code == SI_TKILL;
#elif defined(SI_LWP)
    return info->si_code == SI_LWP;
#else
    (void)info;
    return true;
#endif
}

/* Faults count from 1, and Linux' kernel itself is 128; what processes send is negative or 0 there and on NetBSD and
 * OpenBSD, and 0x10001 and up on FreeBSD and macOS. */
bool nxi_os_signal_of_fault(const siginfo_t *info)
{
    return info->si_code > 0 && info->si_code <= 0x10000;
}

/* Real-time signals from above, where there are any; else the one that no kernel raises on today's processors. */
int nxi_os_signal_spare(int turn)
{
#ifdef SIGRTMAX
    int signo = SIGRTMAX - 1 - turn;
    return signo > SIGRTMIN ? signo : 0;
#else
    return turn == 0 ? SIGEMT : 0;
#endif
}
