/*
 * pattern.h: what the load generator sends: bytes that depend on the connection and on the position in its stream.
 *
 * One table of noise, its period a prime, so that bytes lost, doubled, swapped or sent to another connection never look
 * right. Sending is a pointer into the table, checking a memcmp with it.
 */
#ifndef NX_BENCH_PATTERN_H
#define NX_BENCH_PATTERN_H

#include <stdint.h>
#include <string.h>

#define PATTERN_PERIOD 65521u
#define PATTERN_CHUNK 65536u /* bytes that pattern_at() gives in one piece */

extern unsigned char pattern_table[PATTERN_PERIOD + PATTERN_CHUNK];

static inline void pattern_init(void)
{
    uint64_t x = UINT64_C(0x9e3779b97f4a7c15);
    for (unsigned i = 0; i < PATTERN_PERIOD; i++) {
        x ^= x << 13; /* xorshift64 */
        x ^= x >> 7;
        x ^= x << 17;
        pattern_table[i] = (unsigned char)(x >> 56);
    }
    for (unsigned i = PATTERN_PERIOD; i < sizeof pattern_table; i++)
        pattern_table[i] = pattern_table[i - PATTERN_PERIOD];
}

/* The bytes at an offset of a connection's stream. */
static inline const unsigned char *pattern_at(unsigned connection, uint64_t offset)
{
    return pattern_table + (connection * UINT64_C(7919) + offset) % PATTERN_PERIOD;
}

#endif
