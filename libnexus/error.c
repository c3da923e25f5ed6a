/* error.c: codes to text, and the version. */
#include "core.h"
#include <stdlib.h>
#include <string.h>

#ifndef NXI_VERSION
#define NXI_VERSION "unknown"
#endif

const char *nx_strerror(int code)
{
    NXI_ENTRY(NULL);
    code = code < 0 && code != INT32_MIN ? -code : code;
    switch (code) {
    case NX_ENOTASK:
        return "Not called from a task";
    case NX_EPANIC:
        return "Task panicked";
    case NX_EFORKED:
        return "Process is a forked child of one with a runtime";
    default:
        break;
    }
#ifdef __GLIBC__
    const char *text =
        strerrordesc_np(code); /* strerror's buffer may be shared by threads, and its text is translated */
#else
    const char *text = strerror(code);
#endif
    return text ? text : "Unknown error";
}

const char *nx_version(void)
{
    NXI_ENTRY(NULL);
    return NXI_VERSION;
}

#ifdef NXI_ENOSYS_HOOKS
int nxi_enosys(const char *function)
{
    const char *name = getenv("NEXUS_TEST_ENOSYS");
    return name && strcmp(name, function) == 0;
}
#endif
