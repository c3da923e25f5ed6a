/* file: reads of 4 KiB at random places of a file that is in the page cache: by one task, and by 32 at once. */
#include "micro.h"
#include "pages.h"

#include <vector>

struct Reader {
    nx_file *file;
    int reads;
    uint64_t seed;
};

static intptr_t read_pages(void *arg)
{
    Reader *reader = static_cast<Reader *>(arg);
    alignas(64) char page[pages::SIZE];
    intptr_t wrong = 0;
    for (int i = 0; i < reader->reads; i++) {
        uint64_t number = pages::random(reader->seed);
        wrong += nx_pread(reader->file, page, sizeof page, pages::place(number), NX_FOREVER) != sizeof page;
        wrong += !pages::is_page(page, number);
    }
    return wrong;
}

static nx_file *open_pages()
{
    nx_file *file = nullptr;
    micro::ok(nx_file_from_fd(pages::make(), &file), "nx_file_from_fd");
    return file;
}

static void one_at_a_time(benchmark::State &state)
{
    Reader reader = {open_pages(), 256, 1};
    while (state.KeepRunningBatch(reader.reads))
        cases::must(read_pages(&reader) == 0, "each read gave its page");
    nx_file_close(reader.file);
}

/* 32 that read as fast as they can, until the batch is through. */
static void by_32(benchmark::State &state)
{
    const int tasks = 32, reads = 64;
    nx_file *file = open_pages();
    std::vector<Reader> readers;
    for (int i = 0; i < tasks; i++)
        readers.push_back({file, reads, static_cast<uint64_t>(i)});
    while (state.KeepRunningBatch(tasks * reads)) {
        nx_task ids[tasks];
        for (int i = 0; i < tasks; i++)
            ids[i] = micro::spawn_at(micro::here, read_pages, &readers[i]);
        for (nx_task id : ids)
            micro::join(id);
    }
    nx_file_close(file);
}

int main(int argc, char **argv)
{
    micro::add("file_read_4k/1", one_at_a_time);
    micro::add("file_read_4k/32", by_32);
    return micro::run(argc, argv);
}
