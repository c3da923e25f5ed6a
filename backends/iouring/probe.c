/*
 * iouring/probe.c: can it run here, and if not, why and what to do. The question is put to the kernel in the sandbox
 * the process lives in, never to a version number: containers, sysctls and limits decide more often than the kernel's
 * age.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* liburing.h */
#endif
#include "probe.h"
#include "ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define OTHERWISE "or set NEXUS_BACKEND=epoll"

/* kernel.io_uring_disabled: 0, 1 (privileged and one group only), 2 (nobody); -1 where there is no such switch. */
static int sysctl_disabled(void)
{
    char digit = 0;
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, &digit, 1);
    close(fd);
    return n == 1 && digit >= '0' && digit <= '2' ? digit - '0' : -1;
}

static void explain_forbidden(struct nx_reason *reason)
{
    int disabled = sysctl_disabled();
    if (disabled > 0) {
        snprintf(reason->text, sizeof(reason->text), "the sysctl kernel.io_uring_disabled=%d forbids it to %s",
                 disabled,
                 disabled == 2 ? "every process" : "processes without CAP_SYS_ADMIN or kernel.io_uring_group");
        snprintf(reason->remedy, sizeof(reason->remedy), "set kernel.io_uring_disabled=0%s, " OTHERWISE,
                 disabled == 1 ? ", join that group" : "");
        return;
    }
    snprintf(reason->text, sizeof(reason->text),
             "a seccomp filter forbids it, as container runtimes' default profiles do, or a security module does");
    snprintf(reason->remedy, sizeof(reason->remedy), "allow io_uring in the container's seccomp profile, " OTHERWISE);
}

static void explain_memory(struct nx_reason *reason)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
        snprintf(reason->text, sizeof(reason->text),
                 "no memory for the rings: kernels before 5.12 count them against RLIMIT_MEMLOCK, here %llu KiB",
                 (unsigned long long)limit.rlim_cur / 1024);
    else
        snprintf(reason->text, sizeof(reason->text), "no memory for the rings");
    snprintf(reason->remedy, sizeof(reason->remedy), "raise `ulimit -l`, use a smaller entries=, " OTHERWISE);
}

static void explain_rung(uint32_t rung, struct nx_reason *reason)
{
    static const char *const since[NXI_URING_RUNGS] = {"6.1", "5.19", "5.7"};
    snprintf(reason->text, sizeof(reason->text), "the kernel refuses the set-up of rung %s, which needs Linux %s",
             nxi_uring_rung_names[rung], since[rung]);
    snprintf(reason->remedy, sizeof(reason->remedy), "use rung=auto, " OTHERWISE);
}

int nxi_uring_explain(const char *call, int error, uint32_t rung, struct nx_reason *ret_reason)
{
    struct nx_reason reason = {.error = -error};
    snprintf(reason.call, sizeof(reason.call), "%s", call);
    switch (-error) {
    case EPERM:
    case EACCES:
        explain_forbidden(&reason);
        break;
    case ENOSYS:
        snprintf(reason.text, sizeof(reason.text),
                 "the kernel has no io_uring (older than 5.1, or built without it), or a sandbox hides it");
        snprintf(reason.remedy, sizeof(reason.remedy),
                 "use Linux 5.7 or newer and allow io_uring in the sandbox, " OTHERWISE);
        break;
    case EOPNOTSUPP:
        snprintf(reason.text, sizeof(reason.text),
                 "the kernel's io_uring is too old: Linux 5.7 (sqpoll: 5.11) is needed");
        snprintf(reason.remedy, sizeof(reason.remedy), "use a newer kernel, " OTHERWISE);
        break;
    case ENOMEM:
        explain_memory(&reason);
        break;
    case EMFILE:
    case ENFILE:
        snprintf(reason.text, sizeof(reason.text), "the limit of open files is reached");
        snprintf(reason.remedy, sizeof(reason.remedy), "raise `ulimit -n`");
        break;
    case EINVAL:
        explain_rung(rung, &reason);
        break;
    default:
        snprintf(reason.text, sizeof(reason.text), "unexpected here");
        snprintf(reason.remedy, sizeof(reason.remedy), "set NEXUS_BACKEND=epoll");
    }
    *ret_reason = reason;
    return error;
}

int nxi_uring_probe(const struct nx_host *host, const struct nx_config *config, struct nx_reason *ret_reason)
{
    struct nxi_uring_options options;
    uint32_t rung;
    int r = nxi_uring_options(host, config, &options, ret_reason);
    return r < 0 ? r : nxi_uring_climb(&options, &rung, ret_reason);
}
