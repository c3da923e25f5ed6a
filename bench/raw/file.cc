/* file: pread of 4 KiB at random places of a file in the page cache; 32 at once can't be cheaper than one by one. */
#include "cases.h"
#include "pages.h"

#include <unistd.h>

static void read_pages(benchmark::State &state, int batch)
{
    int fd = pages::make();
    alignas(64) char page[pages::SIZE];
    uint64_t seed = 1, wrong = 0;
    while (state.KeepRunningBatch(batch))
        for (int i = 0; i < batch; i++) {
            uint64_t number = pages::random(seed);
            wrong += pread(fd, page, sizeof page, pages::place(number)) != sizeof page;
            wrong += !pages::is_page(page, number);
        }
    cases::must(wrong == 0, "each read gave its page");
    close(fd);
}

int main(int argc, char **argv)
{
    cases::add("file_read_4k/1", [](benchmark::State &state) { read_pages(state, 256); });
    cases::add("file_read_4k/32", [](benchmark::State &state) { read_pages(state, 2048); });
    return cases::run(argc, argv);
}
