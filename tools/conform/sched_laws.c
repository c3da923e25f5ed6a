/* conform/sched_laws.c: life, and the laws that hold at every step. */
#include "sched_rig.h"

#include <errno.h>

#define ALLOCATIONS_MAX 256u

void sched_life(const struct subject *subject)
{
    static const uint32_t sizes[] = {1, 2, 64};
    const uint64_t bytes = books.live_bytes;

    for (uint32_t i = 0; i < 3; i++) {
        struct bed *bed = bed_open(subject, sizes[i], 8);

        push(bed, sizes[i] - 1, &bed->tasks[0], NX_REASON_SPAWN);
        drain_bed(bed);
        bed_close(bed);
        CHECK(books.live_bytes == bytes, "an instance for %u workers leaves %llu bytes", sizes[i],
              (unsigned long long)(books.live_bytes - bytes));
    }
    CHECK(books.wrong_sizes == 0 && books.wrong_pointers == 0,
          "host->free was called with another pointer or size than host->alloc");
}

void sched_alloc(const struct subject *subject)
{
    const uint64_t bytes = books.live_bytes;
    struct bed *bed;
    uint64_t allocations;

    for (uint64_t k = 1; k < ALLOCATIONS_MAX; k++) {
        struct nx_sched *sched = NULL;
        struct nx_reason reason = {0};
        bool reached;

        host_fail_at(k);
        doing("open with allocation %llu failing", (unsigned long long)k);
        int r = subject->sched->open(&conform_host, subject->config, 4, &sched, &reason);
        reached = books.failed > 0;
        host_fail_at(0);
        if (r == 0)
            subject->sched->close(sched);
        CHECK(r == 0 || r == -ENOMEM, "open fails with %s when allocation %llu does", error_text(r),
              (unsigned long long)k);
        CHECK(r == 0 || reason.error != 0 || reason.text[0], "open fails without a reason when allocation %llu does",
              (unsigned long long)k);
        CHECK(books.live_bytes == bytes, "with allocation %llu failing, open leaves %llu bytes", (unsigned long long)k,
              (unsigned long long)(books.live_bytes - bytes));
        if (!reached)
            break;
    }
    bed = bed_open(subject, 4, 2000);
    allocations = books.allocations;
    for (uint32_t i = 0; i < bed->task_count; i++) {
        bed->tasks[i].ready.stealable = i % 2;
        push(bed, i % 4, &bed->tasks[i], NX_REASON_SPAWN);
    }
    drain_bed(bed);
    CHECK(books.allocations == allocations, "slots other than open allocate: %llu times",
          (unsigned long long)(books.allocations - allocations));
    bed_close(bed);
}
