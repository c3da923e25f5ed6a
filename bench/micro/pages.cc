/* pages.cc: makes the file. */
#include "pages.h"

#include <cstdio>
#include <cstdlib>
#include <fcntl.h>
#include <string>
#include <unistd.h>

namespace pages
{

[[noreturn]] static void die(const char *what)
{
    std::perror(what);
    _exit(1);
}

int make()
{
    const char *folder = std::getenv("TMPDIR");
    std::string path = std::string(folder ? folder : "/tmp") + "/nexus-bench-XXXXXX";
    int fd = mkostemp(&path[0], O_CLOEXEC);
    if (fd < 0)
        die(path.c_str());
    unlink(path.c_str());
    alignas(64) static uint64_t page[SIZE / sizeof(uint64_t)];
    for (uint64_t number = 0; number < COUNT; number++) {
        page[0] = number;
        page[SIZE / sizeof(uint64_t) - 1] = ~number;
        if (pwrite(fd, page, SIZE, place(number)) != static_cast<ssize_t>(SIZE))
            die("pwrite");
    }
    return fd;
}

} // namespace pages
