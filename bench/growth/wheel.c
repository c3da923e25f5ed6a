/*
 * wheel: the core's timers, bare, among N that run, in one JSON document as growth prints it: ns per start and stop of
 * one more at a random deadline, and ns per move of a running one, a random one, to another random deadline.
 *
 *   wheel [--max=N]
 */
#include "wheel.h"

#include <nexus/nexus.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT 500000
#define ROUNDS 5

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* The median of a few, after one that warms up; < 0 if there is no memory, or timers were lost. */
static double ns_each(size_t timers, void (*work)(struct bench_wheel *wheel, size_t count))
{
    struct bench_wheel *wheel = bench_wheel_new(timers);
    double taken[ROUNDS];
    bool whole;

    if (!wheel)
        return -1;
    work(wheel, COUNT);
    for (int i = 0; i < ROUNDS; i++) {
        nx_time start = nx_now();

        work(wheel, COUNT);
        taken[i] = (double)(nx_now() - start) / COUNT;
    }
    whole = bench_wheel_is_whole(wheel);
    bench_wheel_free(wheel);
    qsort(taken, ROUNDS, sizeof(taken[0]), compare);
    return whole ? taken[ROUNDS / 2] : -1;
}

static int grow(const char *subject, unsigned long max, void (*work)(struct bench_wheel *wheel, size_t count))
{
    printf("{\"subject\": \"%s\", \"unit\": \"ns\", \"points\": [", subject);
    for (unsigned long n = 1000; n <= max; n *= 10) {
        double ns = ns_each(n, work);

        if (ns < 0) {
            fprintf(stderr, "wheel: %lu timers: no memory, or timers were lost\n", n);
            return 1;
        }
        printf("%s\n    {\"n\": %lu, \"value\": %.2f, \"bytes\": 0}", n > 1000 ? "," : "", n, ns);
        fflush(stdout);
    }
    printf("\n]}");
    return 0;
}

int main(int argc, char **argv)
{
    unsigned long max = 1000000;

    if (argc == 2 && strncmp(argv[1], "--max=", 6) == 0)
        max = strtoul(argv[1] + 6, NULL, 10);
    else if (argc != 1)
        max = 0;
    if (max < 1000) {
        fprintf(stderr, "usage: wheel [--max=N]   N from 1000 on\n");
        return 2;
    }
    printf("{\"subjects\": [\n");
    if (grow("timers on the wheel, start and stop", max, bench_wheel_start_stop))
        return 1;
    printf(",\n");
    if (grow("timers on the wheel, reset at random", max, bench_wheel_reset))
        return 1;
    printf("\n]}\n");
    return 0;
}
