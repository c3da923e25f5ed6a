/*
 * overflow.c: the handler that says whose stack was too small.
 *
 * A fault inside a guard of ours: write the sentence, put back what was there before us and return. The instruction
 * faults again, so the process dies of SIGSEGV at the right address, with its core dump, or a crash reporter that was
 * there first gets the fault as if we didn't exist. Any other fault goes on to the old handler each time, which may
 * well mend it (garbage collectors do), or is repeated under the default action.
 *
 * Everything in the handler is async-signal-safe. It runs on the thread's signal stack, as the task's own has no room.
 */
#define _GNU_SOURCE

#include "overflow.h"
#include "os.h"
#include "stack.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIGNAL_STACK_BYTES ((size_t)32 << 10) /* beside the frame, which AVX-512 and AMX make big */

static struct {
    int signo;
    struct sigaction old;
} handled[] = {{.signo = SIGSEGV}, {.signo = SIGBUS}};

#define HANDLED_COUNT (sizeof(handled) / sizeof(handled[0]))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned install_count;
static _Atomic(nxi_overflow_describe_fn) describe_callback;
static _Thread_local void *signal_stack;
static _Thread_local size_t signal_stack_size;

void nxi_overflow_set_describe(nxi_overflow_describe_fn describe)
{
    atomic_store(&describe_callback, describe);
}

/*
 * The sentence. snprintf() is not async-signal-safe.
 */

struct text {
    char bytes[512];
    size_t length;
};

static void add(struct text *text, const char *string)
{
    while (*string != '\0' && text->length < sizeof(text->bytes))
        text->bytes[text->length++] = *string++;
}

static void add_number(struct text *text, size_t number)
{
    char digits[24];
    size_t at = sizeof(digits);

    digits[--at] = '\0';
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    add(text, digits + at);
}

static void add_task(struct text *text)
{
    nxi_overflow_describe_fn describe = atomic_load(&describe_callback);
    size_t room = sizeof(text->bytes) - 200; /* for what follows */
    size_t length = describe != NULL ? describe(text->bytes + text->length, room) : 0;

    if (length > 0 && length <= room)
        text->length += length;
    else
        add(text, "a task");
}

static void report(size_t stack_size)
{
    struct text text = {.length = 0};
    ssize_t ignored;

    add(&text, "nexus: ");
    add_task(&text);
    add(&text, " overflowed its ");
    add_number(&text, stack_size >> 10);
    add(&text, " KiB stack\nnexus: give it more with .stack_size in its nx_task_options, or all tasks in "
               "nx_runtime_options\n");
    ignored = write(STDERR_FILENO, text.bytes, text.length);
    (void)ignored;
}

void nxi_overflow_found(size_t stack_size)
{
    static const char how[] =
        "nexus: by a frame larger than its guard; gcc -fstack-clash-protection stops such a frame "
        "where it begins\n";
    report(stack_size);
    ssize_t ignored = write(STDERR_FILENO, how, sizeof(how) - 1);
    (void)ignored;
    abort();
}

/*
 * The handler
 */

static const struct sigaction *old_action(int signo)
{
    for (size_t i = 0; i < HANDLED_COUNT; i++)
        if (handled[i].signo == signo)
            return &handled[i].old;
    return NULL;
}

static bool has_handler(const struct sigaction *action)
{
    return (action->sa_flags & SA_SIGINFO) || (action->sa_handler != SIG_DFL && action->sa_handler != SIG_IGN);
}

/* The kernel does not ignore a fault of the program's own either. */
static void set_default(int signo)
{
    struct sigaction action = {.sa_handler = SIG_DFL};

    sigemptyset(&action.sa_mask);
    sigaction(signo, &action, NULL);
}

static void pass_on(int signo, siginfo_t *info, void *context, const struct sigaction *old)
{
    bool from_the_cpu = nxi_os_signal_of_fault(info);

    if (has_handler(old)) {
        if ((unsigned)old->sa_flags & (unsigned)SA_RESETHAND)
            set_default(signo);
        if (old->sa_flags & SA_SIGINFO)
            old->sa_sigaction(signo, info, context);
        else
            old->sa_handler(signo);
        return;
    }
    if (old->sa_handler == SIG_IGN && !from_the_cpu)
        return;
    set_default(signo);
    if (!from_the_cpu)
        raise(signo); /* nothing will fault again; delivered when the handler returns */
}

static void handle(int signo, siginfo_t *info, void *context)
{
    const struct sigaction *old = old_action(signo);
    int saved_errno = errno;
    size_t stack_size;

    if (nxi_os_signal_of_fault(info) && nxi_stack_guard_hit(info->si_addr, &stack_size)) {
        report(stack_size);
        if (has_handler(old))
            sigaction(signo, old, NULL);
        else
            set_default(signo);
    } else {
        pass_on(signo, info, context, old);
    }
    errno = saved_errno;
}

/*
 * Installing
 */

/* The old handler's mask and flags go for ours, as it may be called from it. */
static int install_one(int signo, struct sigaction *ret_old)
{
    struct sigaction old;
    struct sigaction action = {.sa_sigaction = handle};

    if (sigaction(signo, NULL, &old) != 0)
        return -errno;
    sigemptyset(&action.sa_mask);
    if (has_handler(&old)) {
        action.sa_mask = old.sa_mask;
        action.sa_flags = old.sa_flags & (SA_NODEFER | SA_RESTART);
    }
    action.sa_flags |= SA_SIGINFO | SA_ONSTACK;
    *ret_old = old; /* before a fault can look for it */
    return sigaction(signo, &action, NULL) == 0 ? 0 : -errno;
}

static void remove_one(int signo, const struct sigaction *old)
{
    struct sigaction now;

    if (sigaction(signo, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) && now.sa_sigaction == handle)
        sigaction(signo, old, NULL);
}

int nxi_overflow_install(bool leave_alone)
{
    int error = 0;

    if (leave_alone)
        return 0;
    pthread_mutex_lock(&lock);
    if (install_count == 0)
        for (size_t i = 0; i < HANDLED_COUNT && error == 0; i++) {
            error = install_one(handled[i].signo, &handled[i].old);
            while (error != 0 && i-- > 0)
                remove_one(handled[i].signo, &handled[i].old);
            if (error != 0)
                break;
        }
    if (error == 0)
        install_count++;
    pthread_mutex_unlock(&lock);
    return error;
}

void nxi_overflow_remove(void)
{
    pthread_mutex_lock(&lock);
    if (install_count > 0 && --install_count == 0)
        for (size_t i = 0; i < HANDLED_COUNT; i++)
            remove_one(handled[i].signo, &handled[i].old);
    pthread_mutex_unlock(&lock);
}

/*
 * Signal stacks
 */

int nxi_overflow_thread(void)
{
    stack_t stack;
    size_t size = SIGNAL_STACK_BYTES + nxi_os_signal_frame_size();
    void *memory;

    if (sigaltstack(NULL, &stack) != 0)
        return -errno;
    if (!(stack.ss_flags & SS_DISABLE)) /* somebody's, ours from before included */
        return 0;
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    stack = (stack_t){.ss_sp = memory, .ss_size = size};
    if (sigaltstack(&stack, NULL) != 0) {
        int error = -errno;

        munmap(memory, size);
        return error;
    }
    signal_stack = memory;
    signal_stack_size = size;
    return 0;
}

void nxi_overflow_thread_done(void)
{
    stack_t stack;

    if (signal_stack == NULL)
        return;
    if (sigaltstack(NULL, &stack) == 0 && stack.ss_sp == signal_stack) {
        stack = (stack_t){.ss_flags = SS_DISABLE};
        sigaltstack(&stack, NULL);
    }
    munmap(signal_stack, signal_stack_size);
    signal_stack = NULL;
}
