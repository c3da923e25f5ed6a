/*
 * histogram.h: counts of values over the whole 64-bit range, each remembered to within 1/1024 of itself: three digits.
 *
 * Log-linear, as HdrHistogram: values below 1024 have a bucket each; above, every power of two is cut into 1024 equal
 * buckets. Recording is a shift and an increment; merging adds. (Debian 12 packages no HDR library for C.)
 */
#ifndef NX_BENCH_HISTOGRAM_H
#define NX_BENCH_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

#define HISTOGRAM_SUB_BITS 10
#define HISTOGRAM_SUB_COUNT (1u << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_BUCKETS ((64 - HISTOGRAM_SUB_BITS + 1) * HISTOGRAM_SUB_COUNT)

/* All zero is an empty histogram. 440 KiB, of which a run touches a few pages. */
struct histogram {
    uint64_t count;
    uint64_t sum;
    uint64_t min; /* of the recorded values, exact; 0 if none */
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

static inline unsigned histogram_bucket(uint64_t value)
{
    if (value < HISTOGRAM_SUB_COUNT)
        return (unsigned)value;
    unsigned shift = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SUB_BITS;
    /* value >> shift is in 1024..2047: its top bit is the power of two, the rest the bucket within it. */
    return (shift << HISTOGRAM_SUB_BITS) + (unsigned)(value >> shift);
}

/* The greatest value that falls into a bucket. */
static inline uint64_t histogram_bucket_top(unsigned bucket)
{
    if (bucket < 2 * HISTOGRAM_SUB_COUNT)
        return bucket;
    unsigned shift = (bucket >> HISTOGRAM_SUB_BITS) - 1;
    uint64_t head = HISTOGRAM_SUB_COUNT + (bucket & (HISTOGRAM_SUB_COUNT - 1));
    return (head << shift) + ((UINT64_C(1) << shift) - 1);
}

static inline void histogram_record(struct histogram *histogram, uint64_t value)
{
    if (histogram->count == 0 || value < histogram->min)
        histogram->min = value;
    if (value > histogram->max)
        histogram->max = value;
    histogram->count++;
    histogram->sum += value;
    histogram->buckets[histogram_bucket(value)]++;
}

static inline void histogram_merge(struct histogram *into, const struct histogram *from)
{
    if (from->count == 0)
        return;
    if (into->count == 0 || from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
    into->count += from->count;
    into->sum += from->sum;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->buckets[i] += from->buckets[i];
}

/* The value that a share q (0 to 1) of all values does not exceed: never too low, too high by at most 1/1024. 0 if
 * empty. */
static inline uint64_t histogram_quantile(const struct histogram *histogram, double q)
{
    if (histogram->count == 0)
        return 0;
    double exact = q * (double)histogram->count;
    uint64_t rank = (uint64_t)exact;
    if ((double)rank < exact || rank == 0)
        rank++;
    if (rank >= histogram->count)
        return histogram->max;

    uint64_t seen = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += histogram->buckets[i];
        if (seen >= rank) {
            uint64_t top = histogram_bucket_top(i);
            return top < histogram->max ? top : histogram->max;
        }
    }
    return histogram->max;
}

static inline uint64_t histogram_mean(const struct histogram *histogram)
{
    return histogram->count ? histogram->sum / histogram->count : 0;
}

#endif
