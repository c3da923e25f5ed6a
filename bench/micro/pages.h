/* pages.h: a file of numbered pages, all in the page cache, for the reading cases of bench/micro, raw and peers. */
#ifndef BENCH_PAGES_H
#define BENCH_PAGES_H

#include <cstdint>

namespace pages
{

const uint32_t SIZE = 4096, COUNT = 16384; /* 64 MiB */

int make(); /* a descriptor of an unlinked file in $TMPDIR; the caller's */

inline int64_t place(uint64_t number)
{
    return static_cast<int64_t>(number) * SIZE;
}

/* The number of a page at random; the seed goes on. */
inline uint64_t random(uint64_t &seed)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % COUNT;
}

/* First and last word carry the page's number. */
inline bool is_page(const char *page, uint64_t number)
{
    const uint64_t *words = reinterpret_cast<const uint64_t *>(page);
    return words[0] == number && words[SIZE / sizeof(uint64_t) - 1] == ~number;
}

} // namespace pages

#endif
