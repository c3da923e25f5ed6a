/* os_context.c: where a signal has stopped a thread, out of the third argument of its handler. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "os.h"
#ifdef __OpenBSD__
#include <signal.h>
#else
#include <sys/ucontext.h>
#endif

#if defined(__aarch64__)
#if defined(__linux__)
#define PC uc_mcontext.pc
#define SP uc_mcontext.sp
#define FP uc_mcontext.regs[29]
#elif defined(__APPLE__)
#define PC uc_mcontext->__ss.__pc
#define SP uc_mcontext->__ss.__sp
#define FP uc_mcontext->__ss.__fp
#elif defined(__FreeBSD__)
#define PC uc_mcontext.mc_gpregs.gp_elr
#define SP uc_mcontext.mc_gpregs.gp_sp
#define FP uc_mcontext.mc_gpregs.gp_x[29]
#elif defined(__NetBSD__)
#define PC uc_mcontext.__gregs[_REG_PC]
#define SP uc_mcontext.__gregs[_REG_SP]
#define FP uc_mcontext.__gregs[_REG_X29]
#elif defined(__OpenBSD__)
#define PC sc_elr
#define SP sc_sp
#define FP sc_x[29]
#endif
#elif defined(__x86_64__) && !defined(__ILP32__)
#if defined(__linux__)
#define PC uc_mcontext.gregs[REG_RIP]
#define SP uc_mcontext.gregs[REG_RSP]
#define FP uc_mcontext.gregs[REG_RBP]
#elif defined(__APPLE__)
#define PC uc_mcontext->__ss.__rip
#define SP uc_mcontext->__ss.__rsp
#define FP uc_mcontext->__ss.__rbp
#elif defined(__FreeBSD__)
#define PC uc_mcontext.mc_rip
#define SP uc_mcontext.mc_rsp
#define FP uc_mcontext.mc_rbp
#elif defined(__NetBSD__)
#define PC uc_mcontext.__gregs[_REG_RIP]
#define SP uc_mcontext.__gregs[_REG_RSP]
#define FP uc_mcontext.__gregs[_REG_RBP]
#elif defined(__OpenBSD__)
#define PC sc_rip
#define SP sc_rsp
#define FP sc_rbp
#endif
#endif

#ifdef PC

bool nxi_os_context(const void *context, struct nxi_os_context *ret)
{
    const ucontext_t *stopped = context;
    *ret = (struct nxi_os_context){
        .pc = (uintptr_t)stopped->PC, .sp = (uintptr_t)stopped->SP, .fp = (uintptr_t)stopped->FP};
    return true;
}

#else

bool nxi_os_context(const void *context, struct nxi_os_context *ret)
{
    (void)context;
    (void)ret;
    return false;
}

#endif
