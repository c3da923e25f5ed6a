/* conform/memory.c: windows of memory with nothing around them: who touches what is not theirs faults, and the handler
 * says whose it was. */
#define _GNU_SOURCE
#include "conform.h"

#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define WINDOWS_MAX 1024u
#define PATTERN 0xa5u

static struct window windows[WINDOWS_MAX];
static uint32_t window_count;

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

struct window *window_new(size_t size, const char *format, ...)
{
    const size_t page = page_size(), inside = (size + page - 1) / page * page;
    struct window *window = &windows[window_count];
    va_list args;

    CHECK(window_count < WINDOWS_MAX, "this program has run out of windows");
    window->map_size = inside + 2 * page;
    window->map = mmap(NULL, window->map_size, PROT_NONE, MAP_PRIVATE | MAP_ANON, -1, 0);
    CHECK(window->map != MAP_FAILED && mprotect(window->map + page, inside, PROT_READ | PROT_WRITE) == 0,
          "this program has run out of memory");
    window->size = size;
    window->data = window->map + page + inside - size;
    memset(window->map + page, PATTERN, inside);
    va_start(args, format);
    vsnprintf(window->name, sizeof(window->name), format, args);
    va_end(args);
    window_count++;
    return window;
}

void window_shift(struct window *window)
{
    window->data = window->map + page_size();
}

void window_check(const struct window *window)
{
    const uint8_t *end = window->map + window->map_size - page_size();

    for (const uint8_t *byte = window->map + page_size(); byte < window->data; byte++)
        CHECK(*byte == PATTERN, "%s: memory %zu bytes in front of it was written", window->name,
              (size_t)(window->data - byte));
    for (const uint8_t *byte = window->data + window->size; byte < end; byte++)
        CHECK(*byte == PATTERN, "%s: memory %zu bytes behind it was written", window->name,
              (size_t)(byte - window->data - (ptrdiff_t)window->size));
}

void window_close(struct window *window)
{
    window_check(window);
    window->closed = true;
    mprotect(window->map, window->map_size, PROT_NONE);
}

/* The process is lost anyway, so that what is not signal-safe in printing does no further harm. */
static void on_fault(int signal, siginfo_t *info, void *context)
{
    const uint8_t *at = info->si_addr;

    (void)signal, (void)context;
    for (uint32_t i = 0; i < window_count; i++) {
        const struct window *window = &windows[i];

        if (at < window->map || at >= window->map + window->map_size)
            continue;
        if (window->closed)
            fail("%s was touched after it had been given back", window->name);
        fail("memory outside %s was touched, %td bytes from its start (it has %zu)", window->name, at - window->data,
             window->size);
    }
    struct sigaction action = {.sa_handler = SIG_DFL}; /* not ours: dies of it, and the parent says so */
    sigaction(signal, &action, NULL);
}

void windows_watch(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

    sigemptyset(&action.sa_mask);
    sigaction(SIGSEGV, &action, NULL);
    sigaction(SIGBUS, &action, NULL);
}
