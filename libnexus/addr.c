/* addr.c: addresses from text and back. */
#include "core.h"
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

static int parse_port(const char *text, uint16_t *ret_port)
{
    unsigned value = 0;
    if (!*text)
        return -EINVAL;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return -EINVAL;
        value = value * 10 + (unsigned)(*text - '0');
        if (value > 65535)
            return -EINVAL;
    }
    *ret_port = (uint16_t)value;
    return 0;
}

static int parse_unix(const char *path, nx_addr *ret_addr)
{
    size_t length = strlen(path);
    nx_addr addr = {.family = NX_AF_UNIX, .len = (uint16_t)length};
    /* sun_path has 108 bytes, with the terminator of a path; an abstract name needs none */
    if (length == 0 || length > (path[0] == '@' ? 108u : 107u) || (path[0] == '@' && length == 1))
        return -EINVAL;
    memcpy(addr.data, path, length);
    if (path[0] == '@')
        addr.data[0] = 0;
    *ret_addr = addr;
    return 0;
}

/* Copies [begin, end) as a string. */
static int cut(const char *begin, const char *end, char *ret, size_t size)
{
    size_t length = (size_t)(end - begin);
    if (length >= size)
        return -EINVAL;
    memcpy(ret, begin, length);
    ret[length] = '\0';
    return 0;
}

static int parse_scope(char *host, uint32_t *ret_scope)
{
    char *percent = strchr(host, '%');
    if (!percent)
        return 0;
    *percent = '\0';
    char *end;
    unsigned long index = strtoul(percent + 1, &end, 10);
    if (percent[1] == '\0')
        return -EINVAL;
    if (percent[1] < '0' || percent[1] > '9') { /* strtoul would take signs and blanks */
        *ret_scope = if_nametoindex(percent + 1);
        return *ret_scope > 0 ? 0 : -EINVAL;
    }
    *ret_scope = *end == '\0' && index <= UINT32_MAX ? (uint32_t)index : if_nametoindex(percent + 1);
    return *ret_scope > 0 ? 0 : -EINVAL;
}

static int parse_inet6(const char *text, nx_addr *ret_addr)
{
    char host[80];
    nx_addr addr = {.family = NX_AF_INET6, .len = 16};
    const char *end = strchr(text, ']');
    if (!end || end[1] != ':' || cut(text + 1, end, host, sizeof(host)) < 0 || parse_scope(host, &addr.scope) < 0 ||
        inet_pton(AF_INET6, host, addr.data) != 1 || parse_port(end + 2, &addr.port) < 0)
        return -EINVAL;
    *ret_addr = addr;
    return 0;
}

static int parse_inet(const char *text, nx_addr *ret_addr)
{
    char host[80];
    nx_addr addr = {.family = NX_AF_INET, .len = 4};
    const char *colon = strrchr(text, ':');
    if (!colon || cut(text, colon, host, sizeof(host)) < 0 || inet_pton(AF_INET, host, addr.data) != 1 ||
        parse_port(colon + 1, &addr.port) < 0)
        return -EINVAL;
    *ret_addr = addr;
    return 0;
}

int nx_addr_parse(const char *text, nx_addr *ret_addr)
{
    NXI_ENTRY(-ENOSYS);
    if (!text || !ret_addr)
        return -EINVAL;
    if (strncmp(text, "unix:", 5) == 0)
        return parse_unix(text + 5, ret_addr);
    return text[0] == '[' ? parse_inet6(text, ret_addr) : parse_inet(text, ret_addr);
}

int nx_addr_format(const nx_addr *addr, char *ret_text, size_t size)
{
    NXI_ENTRY(-ENOSYS);
    char host[INET6_ADDRSTRLEN], scope[16] = "";
    if (!addr || (!ret_text && size > 0))
        return -EINVAL;
    switch (addr->family) {
    case NX_AF_INET:
        inet_ntop(AF_INET, addr->data, host, sizeof(host));
        return snprintf(ret_text, size, "%s:%u", host, addr->port);
    case NX_AF_INET6:
        inet_ntop(AF_INET6, addr->data, host, sizeof(host));
        if (addr->scope)
            snprintf(scope, sizeof(scope), "%%%u", addr->scope);
        return snprintf(ret_text, size, "[%s%s]:%u", host, scope, addr->port);
    case NX_AF_UNIX:
        if (addr->len > sizeof(addr->data))
            return -EINVAL;
        if (addr->len > 0 && addr->data[0] == 0)
            return snprintf(ret_text, size, "unix:@%.*s", addr->len - 1, (const char *)addr->data + 1);
        return snprintf(ret_text, size, "unix:%.*s", addr->len, (const char *)addr->data);
    default:
        return -EINVAL;
    }
}
