/* os_random.c: the kernel's random bytes. */
#include "os.h"
#include <errno.h>
#include <unistd.h>
#if defined(__linux__) || defined(__APPLE__)
#include <sys/random.h>
#endif

/* Only a signal before the system's first seeding interrupts the call. */
bool nxi_os_random(void *ret_bytes, size_t size)
{
#ifdef __linux__
    ssize_t got;
    do
        got = getrandom(ret_bytes, size, 0);
    while (got < 0 && errno == EINTR);
    return got == (ssize_t)size;
#else
    return getentropy(ret_bytes, size) == 0;
#endif
}
