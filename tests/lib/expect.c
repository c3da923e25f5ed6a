/* expect.c: what a case's tasks and threads have found wrong, kept until the main thread can say it. */
#include "nxt.h"
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define RECORDS_MAX 32 /* a broken loop shows the same thing a million times */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char records[RECORDS_MAX][512];
static unsigned recorded;

static const char *file_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool nxt_fail(const char *file, int line, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    int at = snprintf(text, sizeof(text), "%s:%d: ", file_of(file), line);
    vsnprintf(text + at, sizeof(text) - (size_t)at, format, args);
    va_end(args);
    pthread_mutex_lock(&lock);
    if (recorded < RECORDS_MAX)
        memcpy(records[recorded], text, sizeof(text));
    recorded++;
    pthread_mutex_unlock(&lock);
    return false;
}

/* A number, and what it means if it may be an error. */
static void describe(int64_t value, char *ret_text, size_t size)
{
    const char *meaning = value < 0 && value > -20000 ? nx_strerror((int)value) : NULL;
    snprintf(ret_text, size, "%lld%s%s%s", (long long)value, meaning ? " (" : "", meaning ? meaning : "",
             meaning ? ")" : "");
}

bool nxt_failed_compare(const char *file, int line, const char *expression, int64_t left, int64_t right)
{
    char left_text[96], right_text[96];
    describe(left, left_text, sizeof(left_text));
    describe(right, right_text, sizeof(right_text));
    return nxt_fail(file, line, "%s: with %s and %s", expression, left_text, right_text);
}

bool nxt_check_str(const char *file, int line, const char *expression, const char *actual, const char *expected)
{
    if (actual && strcmp(actual, expected) == 0)
        return true;
    return nxt_fail(file, line, "%s is \"%.160s\", not \"%.160s\"", expression, actual ? actual : "(null)", expected);
}

bool nxt_check_contains(const char *file, int line, const char *expression, const char *text, const char *part)
{
    if (text && strstr(text, part))
        return true;
    return nxt_fail(file, line, "%s has no \"%.120s\": \"%.240s\"", expression, part, text ? text : "(null)");
}

bool nxt_check_mem(const char *file, int line, const char *expression, const void *actual, const void *expected,
                   size_t size)
{
    const unsigned char *left = actual, *right = expected;
    for (size_t i = 0; i < size; i++)
        if (left[i] != right[i])
            return nxt_fail(file, line, "%s: byte %zu of %zu is 0x%02x, not 0x%02x", expression, i, size, left[i],
                            right[i]);
    return true;
}

unsigned nxt_failures(void)
{
    pthread_mutex_lock(&lock);
    unsigned count = recorded;
    pthread_mutex_unlock(&lock);
    return count;
}

void nxt_expect_begin(void)
{
    pthread_mutex_lock(&lock);
    recorded = 0;
    pthread_mutex_unlock(&lock);
}

unsigned nxt_expect_report(void)
{
    pthread_mutex_lock(&lock);
    unsigned count = recorded, shown = count < RECORDS_MAX ? count : RECORDS_MAX;
    for (unsigned i = 0; i < shown; i++)
        printf("# %s\n", records[i]);
    if (shown < count)
        printf("# and %u more\n", count - shown);
    fflush(stdout);
    pthread_mutex_unlock(&lock);
    return count;
}
