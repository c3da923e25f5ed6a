/* probe.c: what this system can do. Emulators of one (qemu-user) and sandboxes leave things out. */
#include "nxt.h"
#include <fcntl.h>
#include <limits.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

bool nxt_is_emulated(void)
{
    char path[PATH_MAX] = "";
    struct stat runs, named;
    return readlink("/proc/self/exe", path, sizeof(path) - 1) > 0 && stat("/proc/self/exe", &runs) == 0 &&
           stat(path, &named) == 0 && (runs.st_dev != named.st_dev || runs.st_ino != named.st_ino);
}

/* Without a filter at the address: EFAULT where there are filters, EINVAL where there are none. */
bool nxt_can_deny(void)
{
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, NULL, 0, 0) < 0 && errno == EFAULT;
}

bool nxt_can_send(int signo)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    if (sigaction(signo, &ignore, &before) < 0)
        return false;
    bool sent = kill(getpid(), signo) == 0;
    sigaction(signo, &ignore, NULL); /* where all threads block it, it was kept, and now is not */
    sigaction(signo, &before, NULL);
    return sent;
}

bool nxt_can_vfork(void)
{
    char *arguments[] = {"nowhere", NULL};
    pid_t pid;
    if (posix_spawn(&pid, "/nowhere/at/all", NULL, NULL, arguments, environ) != 0)
        return true;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
        ;
    return false;
}

bool nxt_can_read_nowait(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool can = preadv2(fd, &(struct iovec){&byte, 1}, 1, 0, RWF_NOWAIT) >= 0 || errno == EAGAIN;
    close(fd);
    return can;
}

bool nxt_can_multicast(void)
{
    struct ip_mreqn by = {.imr_ifindex = 1};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool can = setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, &by, sizeof(by)) == 0 || errno != ENOPROTOOPT;
    close(fd);
    return can;
}
