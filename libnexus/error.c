/* error.c: codes to text, the version, options structs of other versions. */
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

int nxi_options_copy(void *ret_options, size_t known_size, const void *given)
{
    size_t size = given ? *(const size_t *)given : 0;
    memset(ret_options, 0, known_size);
    if (!given)
        return 0;
    if (size < sizeof(size_t) || size > known_size + 4096)
        return -EINVAL;
    memcpy(ret_options, given, size < known_size ? size : known_size);
    for (size_t i = known_size; i < size; i++)
        if (((const char *)given)[i])
            return -EINVAL;
    return 0;
}

#ifdef NXI_ENOSYS_HOOKS
int nxi_enosys(const char *function)
{
    const char *name = getenv("NEXUS_TEST_ENOSYS");
    return name && strcmp(name, function) == 0;
}
#endif
