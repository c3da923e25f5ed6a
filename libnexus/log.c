/* log.c: one line to the program's log function, or to stderr. */
#include "core.h"
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

static const char *const level_names[] = {"error", "warn", "info", "debug"};

int nxi_log_level(const char *name)
{
    for (int level = 0; level < 4; level++)
        if (strcmp(name, level_names[level]) == 0)
            return level;
    return -EINVAL;
}

static void to_stderr(const char *text)
{
    char line[1100];
    int length = snprintf(line, sizeof(line), "nexus: %s\n", text);
    ssize_t ignored = write(STDERR_FILENO, line, (size_t)length); /* one call, so that lines of threads don't mix */
    (void)ignored;
}

void nxi_log(struct nx_runtime *runtime, int level, const char *format, ...)
{
    if (level > (runtime ? runtime->log_level : NX_LOG_WARN))
        return;
    char text[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (runtime && runtime->log)
        runtime->log(runtime->log_arg, level, text);
    else
        to_stderr(text);
}
