/*
 * runner.c: main of every program of cases.
 *
 *   PROGRAM                 all cases, as TAP if CMOCKA_MESSAGE_OUTPUT says so
 *   PROGRAM NAME...         those whose name contains one of these
 *   PROGRAM --child NAME    an NXT_CHILD (child.c)
 *   PROGRAM --hidden NAME   a case that is expected to fail
 *
 * NXT_SCALE scales sizes, NXT_SECONDS is what a case may take, NXT_STOP ends the program at the first case that fails.
 * Exit status 77, with the reason as the last line: the driver or the scheduler of this cell can't run on this machine.
 */
#include "nxt.h"
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h> /* needs those above */

#define SECONDS 30 /* what a case may take at scale 1 */
#define CASES_MAX 256
#define EXIT_SKIP 77

static struct nxt_case *first, **last = &first;
static const struct nxt_case *running;
static nx_runtime *runtime_of_case;
static _Atomic(nx_runtime *) live_runtimes[16]; /* for the watchdog's report; more are just not in it */
static char skip_reason[256];
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_text[16384];
static size_t log_length;
char nxt_hidden[1];

void nxt_register_case(struct nxt_case *test)
{
    *last = test;
    last = &test->next;
}

nx_runtime *nxt_runtime(void)
{
    return runtime_of_case;
}

static bool is_hidden(const struct nxt_case *test)
{
    return test->options.log_arg == nxt_hidden;
}

bool nxt_case_is_hidden(void)
{
    return running && is_hidden(running);
}

/* ---- scale, skips, log ---- */

double nxt_scale(void)
{
    const char *text = getenv("NXT_SCALE");
    double scale = text ? atof(text) : 1.0;
    return scale > 0 ? scale : 1.0;
}

int64_t nxt_scaled(int64_t full, int64_t least)
{
    int64_t scaled = (int64_t)((double)full * nxt_scale());
    return scaled > least ? scaled : least;
}

void nxt_skip(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(skip_reason, sizeof(skip_reason), format, args);
    va_end(args);
}

bool nxt_cell_steals(void)
{
    const char *scheduler = getenv("NEXUS_SCHED");
    return scheduler && strcmp(scheduler, "work_stealing") == 0;
}

void nxt_log(void *arg, int level, const char *message)
{
    (void)arg;
    (void)level;
    pthread_mutex_lock(&log_lock);
    size_t room = sizeof(log_text) - log_length;
    int length = snprintf(log_text + log_length, room, "%s\n", message);
    if (length > 0)
        log_length += (size_t)length < room ? (size_t)length : room - 1;
    pthread_mutex_unlock(&log_lock);
}

bool nxt_logged(const char *part)
{
    pthread_mutex_lock(&log_lock);
    bool found = strstr(log_text, part) != NULL;
    pthread_mutex_unlock(&log_lock);
    return found;
}

static void clear_log(void)
{
    pthread_mutex_lock(&log_lock);
    log_text[0] = '\0';
    log_length = 0;
    pthread_mutex_unlock(&log_lock);
}

static void print_log(void)
{
    pthread_mutex_lock(&log_lock);
    for (char *line = log_text; *line;) {
        int length = (int)strcspn(line, "\n");
        printf("# log: %.*s\n", length, line);
        line += length + (line[length] == '\n');
    }
    pthread_mutex_unlock(&log_lock);
}

/* ---- runtimes ---- */

static int create(const nx_runtime_options *given, char *error, size_t error_size, nx_runtime **ret_runtime)
{
    nx_runtime_options options = given ? *given : (nx_runtime_options){.workers = 1};
    options.size = sizeof(options);
    if (options.workers == 0)
        options.workers = 1;
    options.pin |= NX_PIN_WORKERS; /* NEXUS_WORKERS is the user's; a case means what it says */
    if (!options.log)
        options.log = nxt_log;
    options.error = error;
    options.error_size = error_size;
    return nx_runtime_create(&options, ret_runtime);
}

static void replace_live(nx_runtime *from, nx_runtime *to)
{
    for (size_t i = 0; i < NXT_COUNT(live_runtimes); i++) {
        nx_runtime *expected = from;
        if (atomic_compare_exchange_strong(&live_runtimes[i], &expected, to))
            return;
    }
}

nx_runtime *nxt_start(const nx_runtime_options *options)
{
    char error[512] = "";
    nx_runtime *runtime = NULL;
    int result = create(options, error, sizeof(error), &runtime);
    if (result < 0)
        nxt_fail(__FILE__, __LINE__, "nx_runtime_create gives %d: %s", result, error);
    else
        replace_live(NULL, runtime);
    return runtime;
}

void nxt_stop(nx_runtime *runtime)
{
    if (runtime)
        nxt_audit_tasks(runtime);
    nxt_forget(runtime);
    nx_runtime_destroy(runtime);
}

void nxt_forget(nx_runtime *runtime)
{
    if (runtime)
        replace_live(runtime, NULL);
}

void nxt_each_runtime(void (*visit)(void *arg, nx_runtime *runtime), void *arg)
{
    for (size_t i = 0; i < NXT_COUNT(live_runtimes); i++) {
        nx_runtime *runtime = atomic_load(&live_runtimes[i]);
        if (runtime)
            visit(arg, runtime);
    }
}

/* ---- a case ---- */

static intptr_t body_as_task(void *arg)
{
    const struct nxt_case *test = arg;
    test->body();
    return 1;
}

static void run_in_task(struct nxt_case *test)
{
    nx_runtime *runtime = nxt_start(&test->options);
    if (!runtime)
        return;
    runtime_of_case = runtime;
    intptr_t result = 0;
    nxt_expect_eq(nx_block_on(runtime, body_as_task, test, &result), 0);
    nxt_expect_eq(result, 1); /* the body has come to its end */
    nxt_stop(runtime);
    runtime_of_case = NULL;
}

static int seconds(void)
{
    double scale = nxt_scale() > 1 ? nxt_scale() : 1;
    const char *text = getenv("NXT_SECONDS");
    if (text && atoi(text) > 0)
        return atoi(text);
    return (int)(SECONDS * scale * (NXT_ASAN || NXT_TSAN ? 4 : 1));
}

/* For who wants to know only whether a case fails (enosys.sh). */
static void stop_if_asked(const struct nxt_case *test)
{
    if (!getenv("NXT_STOP"))
        return;
    printf("not ok - %s\n", test->name);
    fflush(stdout);
    _exit(1);
}

static void run_case(void **state)
{
    struct nxt_case *test = *state;
    struct nxt_audit audit;
    running = test;
    nxt_expect_begin();
    clear_log();
    skip_reason[0] = '\0';
    nxt_watchdog_set(test->name, seconds());
    nxt_audit_begin(&audit);
    if (test->in_task)
        run_in_task(test);
    else
        test->body();
    nxt_audit_end(&audit);
    nxt_watchdog_set(NULL, 0);
    unsigned failures = nxt_expect_report();
    if (failures > 0) {
        print_log();
        stop_if_asked(test);
        fflush(stdout);
        fail_msg("%u expectations failed", failures);
    }
    if (skip_reason[0]) {
        printf("# %s is skipped: %s\n", test->name, skip_reason);
        fflush(stdout);
        skip();
    }
}

/* ---- the program ---- */

static bool wanted(const struct nxt_case *test, int count, char **names)
{
    if (count == 2 && strcmp(names[0], "--hidden") == 0)
        return is_hidden(test) && strcmp(test->name, names[1]) == 0;
    if (is_hidden(test))
        return false;
    for (int i = 0; i < count; i++)
        if (strstr(test->name, names[i]))
            return true;
    return count == 0;
}

static intptr_t do_nothing(void *arg)
{
    (void)arg;
    return 0;
}

/* What the first runtime of a process opens and keeps (plugins, tables) is no leak of the first case. It is also where
 * a cell that this machine doesn't have is found out: no such plugin, or a kernel that refuses. Anything else is a
 * failure of the cell, not a reason to skip it. */
static int warm_up(void)
{
    struct nxt_audit before;
    nxt_audit_begin(&before);
    char error[512] = "";
    nx_runtime *runtime;
    int result = create(NXT_OPTIONS(.workers = 4), error, sizeof(error), &runtime);
    if (result < 0 && getenv("NEXUS_TEST_ENOSYS"))
        return 0; /* that is what is tested: the cases are to fail */
    if (result == -ENOENT || result == -EPERM || result == -ENOSYS || result == -EACCES) {
        printf("%s\n", error);
        return EXIT_SKIP;
    }
    if (result < 0) {
        printf("# can't make a runtime: %d, %s\n", result, error);
        return 1;
    }
    nx_block_on(runtime, do_nothing, NULL, NULL);
    nx_runtime_destroy(runtime);
    return 0;
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 3 && strcmp(argv[1], "--child") == 0)
        return nxt_child_main(argv[2]);
    static struct CMUnitTest tests[CASES_MAX];
    size_t count = 0;
    for (struct nxt_case *test = first; test; test = test->next)
        if (wanted(test, argc - 1, argv + 1) && count < CASES_MAX)
            tests[count++] = (struct CMUnitTest){.name = test->name, .test_func = run_case, .initial_state = test};
    if (count == 0) {
        fprintf(stderr, "nxt: no such case\n");
        return 1;
    }
    printf("# NXT_SCALE=%g\n", nxt_scale());
    nxt_watchdog_start();
    nxt_watchdog_set("starting", seconds());
    int status = warm_up();
    nxt_watchdog_set(NULL, 0);
    if (status != 0)
        return status;
    const char *slash = strrchr(argv[0], '/');
    return _cmocka_run_group_tests(slash ? slash + 1 : argv[0], tests, count, NULL, NULL) > 0;
}
