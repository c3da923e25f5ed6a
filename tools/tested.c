/*
 * tested.c: the record beside x.so is x.tested: what cksum(1) says of the file that the suite was run with. So a file
 * that was built again, or stripped, is another one, and not known to be good.
 */
#include "tested.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* Drivers that make check does not run wherever they can be built. */
static const char *const watched[] = {"kqueue"};

/* POSIX: the CRC of Ethernet, most significant bit first, over the bytes and then the length, least byte first. */
static uint32_t add_byte(uint32_t crc, unsigned byte)
{
    crc ^= (uint32_t)byte << 24;
    for (int bit = 0; bit < 8; bit++)
        crc = crc << 1 ^ (crc >> 31 ? UINT32_C(0x04c11db7) : 0);
    return crc;
}

/* 0, or -1: it can't be read. */
static int sum_of(const char *path, uint32_t *ret_crc, uint64_t *ret_size)
{
    uint32_t crc = 0;
    uint64_t size = 0;
    int byte;
    FILE *file = fopen(path, "re");

    if (!file)
        return -1;
    for (; (byte = getc(file)) != EOF; size++)
        crc = add_byte(crc, (unsigned)byte);
    int failed = ferror(file);
    fclose(file);
    for (uint64_t rest = size; rest > 0; rest >>= 8)
        crc = add_byte(crc, (unsigned)(rest & 0xff));
    *ret_crc = ~crc;
    *ret_size = size;
    return failed ? -1 : 0;
}

static int recorded(const char *path, uint32_t *ret_crc, uint64_t *ret_size)
{
    char record[PATH_MAX];
    size_t length = strlen(path);

    if (length < 3 || length + 8 > sizeof(record) || strcmp(path + length - 3, ".so") != 0)
        return -1;
    snprintf(record, sizeof(record), "%.*s.tested", (int)(length - 3), path);
    FILE *file = fopen(record, "re");
    if (!file)
        return -1;
    int count = fscanf(file, "%" SCNu32 " %" SCNu64, ret_crc, ret_size);
    fclose(file);
    return count == 2 ? 0 : -1;
}

const char *nexus_untested(const char *name, const char *path)
{
    uint32_t crc, recorded_crc;
    uint64_t size, recorded_size;
    int is_watched = 0;

    for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
        is_watched |= strcmp(name, watched[i]) == 0;
    if (!is_watched)
        return NULL;
    if (!*path)
        return "untested: it is built in, and make check-kqueue keeps its record of modules only";
    if (recorded(path, &recorded_crc, &recorded_size) < 0)
        return "untested: no run of make check-kqueue with this file is recorded beside it";
    if (sum_of(path, &crc, &size) < 0 || crc != recorded_crc || size != recorded_size)
        return "untested: make check-kqueue was run with another build of it";
    return NULL;
}
