/* Claims about bench/load/histogram.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "../../bench/load/histogram.h"

static void every_value_lands_in_a_bucket_within_a_1024th_of_it(void **state)
{
    (void)state;
    uint64_t value = 0;
    for (int i = 0; i < 200000; i++) {
        unsigned bucket = histogram_bucket(value);
        uint64_t top = histogram_bucket_top(bucket);
        assert_in_range(bucket, 0, HISTOGRAM_BUCKETS - 1);
        assert_true(top >= value);
        assert_true(top - value <= value / 1024);
        value += 1 + value / 1000;
    }
    assert_true(value > UINT64_C(1) << 40);
}

static void buckets_follow_each_other_without_gap_or_overlap(void **state)
{
    (void)state;
    for (unsigned i = 0; i + 1 < HISTOGRAM_BUCKETS; i++) {
        uint64_t top = histogram_bucket_top(i);
        assert_int_equal(histogram_bucket(top), i);
        assert_int_equal(histogram_bucket(top + 1), i + 1);
    }
    assert_true(histogram_bucket_top(HISTOGRAM_BUCKETS - 1) == UINT64_MAX);
}

static void quantiles_of_1_to_100000_are_the_values_themselves_or_a_1024th_more(void **state)
{
    (void)state;
    static const double qs[] = {0.0001, 0.01, 0.5, 0.9, 0.99, 0.999, 0.9999};
    static struct histogram h;
    memset(&h, 0, sizeof h);
    for (uint64_t v = 100000; v >= 1; v--)
        histogram_record(&h, v);
    for (size_t i = 0; i < sizeof qs / sizeof *qs; i++) {
        uint64_t want = (uint64_t)(qs[i] * 100000 + 0.5);
        uint64_t got = histogram_quantile(&h, qs[i]);
        assert_true(got >= want);
        assert_true(got - want <= want / 1024);
    }
    assert_int_equal(histogram_quantile(&h, 1.0), 100000);
    assert_int_equal(histogram_quantile(&h, 0.0), 1);
    assert_int_equal(h.min, 1);
    assert_int_equal(h.max, 100000);
    assert_int_equal(histogram_mean(&h), 50000);
}

static void one_slow_value_in_a_thousand_shows_at_the_top_and_not_at_p99(void **state)
{
    (void)state;
    static struct histogram h;
    memset(&h, 0, sizeof h);
    for (int i = 0; i < 999; i++)
        histogram_record(&h, 50);
    histogram_record(&h, 9000000);
    assert_int_equal(histogram_quantile(&h, 0.99), 50);
    assert_int_equal(histogram_quantile(&h, 0.999), 50);
    assert_int_equal(histogram_quantile(&h, 0.9999), 9000000);
}

static void merging_parts_equals_recording_all_in_one(void **state)
{
    (void)state;
    static struct histogram whole, part[3], merged;
    memset(&whole, 0, sizeof whole);
    memset(part, 0, sizeof part);
    memset(&merged, 0, sizeof merged);
    uint64_t value = 12345;
    for (int i = 0; i < 3000; i++) {
        value = value * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        histogram_record(&whole, value >> (i % 60 + 3));
        histogram_record(&part[i % 2], value >> (i % 60 + 3)); /* the third stays empty */
    }
    for (int i = 0; i < 3; i++)
        histogram_merge(&merged, &part[i]);
    assert_memory_equal(&merged, &whole, sizeof whole);
}

static void an_empty_histogram_answers_zero(void **state)
{
    (void)state;
    static const struct histogram h;
    assert_int_equal(histogram_quantile(&h, 0.5), 0);
    assert_int_equal(histogram_mean(&h), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_value_lands_in_a_bucket_within_a_1024th_of_it),
        cmocka_unit_test(buckets_follow_each_other_without_gap_or_overlap),
        cmocka_unit_test(quantiles_of_1_to_100000_are_the_values_themselves_or_a_1024th_more),
        cmocka_unit_test(one_slow_value_in_a_thousand_shows_at_the_top_and_not_at_p99),
        cmocka_unit_test(merging_parts_equals_recording_all_in_one),
        cmocka_unit_test(an_empty_histogram_answers_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
