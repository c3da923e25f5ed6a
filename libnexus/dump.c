/*
 * dump.c: nx_dump: what every task is doing, for a person who looks at a process that hangs.
 *
 * It asks nobody: no worker needs to answer, and no lock is taken that a task could hold over a park, or is held while
 * the descriptor may block: text is gathered under the lock of the list of runtimes, a buffer at a time, and written
 * without. So what it looks at may move. Headers are type-stable and stacks are never unmapped; everything that is
 * not atomic is copied by the kernel (nxi_snoop), so nothing can fault, and then the header is copied again: a task
 * that has moved meanwhile is looked at anew, a few times, and else shown as running. A torn copy can't harm: its
 * pointers are followed by nxi_snoop alone. doc/design/dump.md.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "dump.h"
#include "core.h"
#include "setup.h"
#include "unwind.h"
#include <nexus/net.h>
#include <nexus/runtime.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRIES 3
#define OUT_BYTES ((size_t)128 << 10)
#define LINE_MAX_BYTES ((size_t)1024)
#define TASK_MAX_BYTES ((size_t)32 << 10) /* more than the text about one task can be */
#define PIECE_BYTES ((size_t)4096)        /* PIPE_BUF: a pipe that is said to be writable has room for it */
#define STOP_LOOK_MS 100
#define STACK_BYTES_MAX ((size_t)256 << 10) /* of one stack, from its stack pointer up */
#define SHOWN_MAX 40                        /* frames */

struct dump {
    int fd, error;
    char *out;
    size_t used;
    unsigned char *stack;
    struct nxi_symbols *symbols;
    const atomic_bool *stop; /* NULL: goes on to the end */
    uint64_t shown;
    /* where it is: at this slot of this runtime, if that is there still */
    uint64_t serial;
    uint32_t slot;
    bool begun;
    struct nx_runtime *runtime; /* while the list is locked */
};

/* One task, as copied. */
struct view {
    struct nxi_task task;
    uint64_t ctl;
    char name[64];
    struct nxi_wait_note note;
    char what[32];
    bool has_note;
    struct nxi_stack stack;
    bool has_stack;
    uintptr_t pcs[NXI_FRAMES_MAX];
    int pc_count;
};

/* ---- writing ---- */

/* Waits for room. False: it is to stop. */
static bool await_room(const struct dump *dump)
{
    struct pollfd pollfd = {.fd = dump->fd, .events = POLLOUT};
    if (!dump->stop) {
        poll(&pollfd, 1, -1);
        return true;
    }
    while (!atomic_load(dump->stop))
        if (poll(&pollfd, 1, STOP_LOOK_MS) > 0)
            return true;
    return false;
}

static void flush(struct dump *dump)
{
    size_t at = 0;
    while (at < dump->used && dump->error == 0) {
        size_t size = dump->used - at;
        if (dump->stop && size > PIECE_BYTES)
            size = PIECE_BYTES;
        if (dump->stop && !await_room(dump)) {
            dump->error = -ECANCELED;
            break;
        }
        ssize_t n = write(dump->fd, dump->out + at, size);
        if (n >= 0)
            at += (size_t)n;
        else if (errno == EAGAIN)
            await_room(dump);
        else if (errno != EINTR)
            dump->error = -errno;
    }
    dump->used = 0;
}

/* Never writes: the list of runtimes may be locked. */
static NX_PRINTF(2, 3) void put(struct dump *dump, const char *format, ...)
{
    va_list args;
    size_t room = OUT_BYTES - dump->used;
    if (room > LINE_MAX_BYTES)
        room = LINE_MAX_BYTES;
    va_start(args, format);
    int length = vsnprintf(dump->out + dump->used, room, format, args);
    va_end(args);
    if (length > 0)
        dump->used += (size_t)length < room ? (size_t)length : room - 1;
}

/* What others wrote may hold anything. */
static void make_printable(char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            *text = '?';
}

/* ---- looking ---- */

static bool copy_text(char *to, size_t size, const char *from)
{
    memset(to, 0, size);
    /* A string near the end of its page: shorter and shorter. */
    for (size_t length = size - 1; length > 0; length /= 2)
        if (nxi_snoop(to, from, length)) {
            make_printable(to);
            return true;
        }
    return false;
}

static void look_at_wait(struct view *view)
{
    struct nxi_waiter waiter;
    if (!view->task.waiting || !nxi_snoop(&waiter, view->task.waiting, sizeof(waiter)))
        return;
    view->note = waiter.note;
    view->has_note = true;
    if (!waiter.note.what || !copy_text(view->what, sizeof(view->what), waiter.note.what))
        view->what[0] = '\0';
}

static void look_at_stack(struct dump *dump, struct view *view)
{
    uintptr_t sp = (uintptr_t)view->task.fiber.sp, top = (uintptr_t)view->task.stack;
    if (!view->has_stack || sp < (uintptr_t)view->stack.low || sp >= top)
        return;
    struct nxi_stack_copy copy = {.low = sp, .size = top - sp, .bytes = dump->stack};
    struct nxi_registers registers;
    if (copy.size > STACK_BYTES_MAX)
        copy.size = STACK_BYTES_MAX;
    if (nxi_snoop(dump->stack, (const void *)sp, copy.size) && nxi_registers_of_fiber(&registers, sp, &copy))
        view->pc_count = nxi_unwind(&registers, &copy, view->pcs, NXI_FRAMES_MAX);
}

static uint8_t state_of(const struct view *view)
{
    return atomic_load_explicit(&view->task.state, memory_order_relaxed);
}

/* Whether it still is what the copy says. */
static bool unmoved(const struct nxi_task *task, const struct view *view)
{
    struct nxi_task now;
    return nxi_snoop(&now, task, sizeof(now)) && now.ctl >> 32 == view->ctl >> 32 && now.state == state_of(view) &&
           now.fiber.sp == view->task.fiber.sp && now.stack == view->task.stack && now.waiting == view->task.waiting &&
           !(now.ctl & NXI_CTL_RETIRE);
}

/* A copy of the task that is of one moment, as far as that matters. False: it is gone, or does not hold still. */
static bool look(struct dump *dump, const struct nxi_task *task, uint64_t ctl, struct view *view)
{
    for (int try = 0; try < TRIES; try++) {
        memset(view, 0, sizeof(*view));
        if (!nxi_snoop(&view->task, task, sizeof(view->task)))
            return false;
        view->ctl = atomic_load_explicit(&view->task.ctl, memory_order_relaxed);
        if (view->ctl >> 32 != ctl >> 32 || view->ctl & NXI_CTL_RETIRE || state_of(view) == NXI_FREE)
            return false;
        struct nxi_cold *cold = atomic_load_explicit(&view->task.cold, memory_order_relaxed);
        if (!cold || !nxi_snoop(view->name, cold->name, sizeof(view->name)))
            view->name[0] = '\0';
        view->name[sizeof(view->name) - 1] = '\0';
        make_printable(view->name);
        view->has_stack = state_of(view) != NXI_ENDED && view->task.stack &&
                          nxi_snoop(&view->stack, view->task.stack, sizeof(view->stack));
        if (state_of(view) == NXI_PARKED) {
            look_at_wait(view);
            look_at_stack(dump, view);
        }
        if (unmoved(task, view))
            return true;
    }
    return false;
}

/* ---- telling ---- */

/* The call that the task is in: the innermost frame that is one of the public functions. */
static const char *call_of(struct dump *dump, const struct view *view, char *ret, size_t size)
{
    for (int i = 0; i < view->pc_count; i++) {
        const char *name;
        nxi_symbols_describe(dump->symbols, view->pcs[i], true, &name);
        if (strncmp(name, "nx_", 3) != 0)
            continue;
        snprintf(ret, size, "%s", name);
        return ret;
    }
    return NULL;
}

static void put_handle(struct dump *dump, nx_handle handle)
{
    struct nx_runtime *runtime = dump->runtime;
    uint32_t index = NX_HANDLE_DRIVER(handle) - 1;
    if (index >= runtime->driver_count)
        return;
    const struct nxi_driver *driver = &runtime->workers[0]->drivers[index];
    int fd = NXI_HAS(driver->ops, export_fd) ? driver->ops->export_fd(driver->ctx, handle) : -ENOTSUP;
    if (fd >= 0)
        put(dump, ", fd %d", fd);
    for (uint32_t peer = 2; peer-- > 0;) {
        nx_addr addr;
        char text[128];
        if (!NXI_HAS(driver->ops, name) || driver->ops->name(driver->ctx, handle, peer, &addr) < 0 ||
            addr.family == 0 || nx_addr_format(&addr, text, sizeof(text)) < 0)
            continue;
        put(dump, peer ? ", peer %s" : ", local %s", text);
        return;
    }
}

static void put_wait(struct dump *dump, const struct view *view)
{
    char call[96];
    const char *in = call_of(dump, view, call, sizeof(call));
    if (!view->has_note)
        return;
    put(dump, " waits for %s", view->what[0] ? view->what : in ? in : "something");
    if (view->what[0] && in)
        put(dump, " (%s)", in);
    if (view->what[0] && view->note.kind == NXI_OBJECT_HANDLE && view->note.object)
        put_handle(dump, view->note.object);
    else if (view->what[0] && view->note.kind == NXI_OBJECT_TASK)
        put(dump, " of task %llu", (unsigned long long)view->note.object);
    else if (view->what[0] && view->note.kind == NXI_OBJECT_POINTER)
        put(dump, " %p", (void *)(uintptr_t)view->note.object);
    nx_time now = nxi_worker_now(dump->runtime->workers[0]);
    int64_t ms = view->note.since > 0 && now > view->note.since ? (now - view->note.since) / 1000000 : 0;
    put(dump, ", for %lld.%03lld s", (long long)(ms / 1000), (long long)(ms % 1000));
}

static void put_state(struct dump *dump, const struct view *view)
{
    static const char *const names[] = {"free", "new", "ready", "running", "parked", "ended"};
    uint8_t state = state_of(view);
    put(dump, " %s", state < sizeof(names) / sizeof(names[0]) ? names[state] : "?");
    if (view->ctl & NXI_CTL_CANCEL && state != NXI_ENDED)
        put(dump, ", cancelled");
    if (state == NXI_PARKED)
        put_wait(dump, view);
    if (state == NXI_ENDED)
        put(dump, view->ctl & NXI_CTL_PANICKED ? " by a panic, not joined" : ", not joined");
}

static uint32_t home_of(const struct dump *dump, const struct view *view)
{
    const struct nxi_worker *worker = atomic_load_explicit(&view->task.worker, memory_order_relaxed);
    for (uint32_t i = 0; i < dump->runtime->worker_count; i++)
        if (dump->runtime->workers[i] == worker)
            return i;
    return 0;
}

static void put_task(struct dump *dump, const struct nxi_task *task, const struct view *view)
{
    const char *name;
    uintptr_t site = (uintptr_t)view->task.spawn_site;
    put(dump, "task %llu", (unsigned long long)(view->ctl >> 32 << 32 | view->task.slot));
    if (view->name[0])
        put(dump, " '%s'", view->name);
    put_state(dump, view);
    put(dump, "\n    worker %u, spawned at %s", home_of(dump, view),
        site ? nxi_symbols_describe(dump->symbols, site, true, &name) : "?");
    if (view->has_stack) {
        /* Of the stack itself; it is this task's while the header says so. */
        size_t used = nxi_stack_high_water_at(&view->stack, view->task.stack);
        put(dump, ", stack %zu of %zu KiB used at most", (used + 1023) >> 10, (size_t)view->task.stack_size >> 10);
    }
    put(dump, "\n");
    (void)task;
    for (int i = 0; i < view->pc_count && i < SHOWN_MAX; i++)
        put(dump, "    #%-2d %s\n", i, nxi_symbols_describe(dump->symbols, view->pcs[i], true, &name));
    if (view->pc_count > SHOWN_MAX)
        put(dump, "    ... and more\n");
}

/* False: the buffer may have no room for another one. */
static bool visit_task(void *arg, struct nxi_task *task, uint64_t ctl)
{
    struct dump *dump = arg;
    struct view view;
    uint8_t state = atomic_load_explicit(&task->state, memory_order_relaxed);
    if (ctl & NXI_CTL_RETIRE || state == NXI_FREE)
        return true;
    dump->shown++;
    if (look(dump, task, ctl, &view))
        put_task(dump, task, &view);
    else
        put(dump, "task %llu moves too fast to be seen\n", (unsigned long long)(ctl >> 32 << 32 | task->slot));
    return OUT_BYTES - dump->used > TASK_MAX_BYTES;
}

static void put_worker(struct dump *dump, struct nxi_worker *worker)
{
    static const char *const names[] = {"running", "about to sleep", "sleeping in its backend", "woken"};
    uint32_t state = atomic_load_explicit(&worker->state, memory_order_relaxed);
    int32_t live = (int32_t)(atomic_load_explicit(&worker->live, memory_order_relaxed) -
                             atomic_load_explicit(&worker->moved_out, memory_order_relaxed));
    put(dump, "worker %u %s: %d tasks, %llu ready, %u timers, %llu switches so far\n", worker->index, names[state & 3],
        live > 0 ? live : 0, (unsigned long long)nxi_counted(&worker->counters.ready), nxi_wheel_count(&worker->wheel),
        (unsigned long long)nxi_counted(&worker->counters.switches));
}

static void put_runtime(struct dump *dump, struct nx_runtime *runtime)
{
    struct nx_runtime_info info = {.workers = runtime->worker_count};
    nxi_setup_info(runtime, &info);
    put(dump, "runtime %p: backend %s, scheduler %s, %u workers\n", (void *)runtime, info.backend, info.scheduler,
        info.workers);
    for (uint32_t i = 0; i < runtime->worker_count; i++)
        put_worker(dump, runtime->workers[i]);
}

/* As much of the runtime as there is room for. */
static void visit_runtime(void *arg, struct nx_runtime *runtime)
{
    struct dump *dump = arg;
    dump->runtime = runtime;
    if (!dump->begun || runtime->serial != dump->serial) {
        dump->begun = true;
        dump->serial = runtime->serial;
        dump->slot = 0;
        dump->shown = 0;
        put_runtime(dump, runtime);
    }
    if (nxi_tasks_some(runtime, &dump->slot, visit_task, dump))
        return;
    put(dump, "%llu tasks\n", (unsigned long long)dump->shown);
    dump->serial++;
    dump->begun = false;
}

static void write_dump(struct dump *dump)
{
    char probe = 1, copied = 0;
    put(dump, "nexus: dump of process %d\n", (int)getpid());
    if (nxi_snoop(&copied, &probe, 1))
        while (nxi_runtimes_visit(dump->serial, visit_runtime, dump) && dump->error == 0)
            flush(dump);
    else
        put(dump, "nexus: nothing can be shown: neither process_vm_readv(2) nor /proc/self/mem can be used here (a "
                  "seccomp profile?)\n");
    put(dump, "nexus: end of the dump\n");
    flush(dump);
}

int nxi_dump(int fd, const atomic_bool *stop)
{
    struct dump dump = {.fd = fd, .stop = stop};
    dump.out = malloc(OUT_BYTES);
    dump.stack = malloc(STACK_BYTES_MAX);
    dump.symbols = nxi_symbols_open();
    if (dump.out && dump.stack && dump.symbols)
        write_dump(&dump);
    else
        dump.error = -ENOMEM;
    nxi_symbols_close(dump.symbols);
    free(dump.stack);
    free(dump.out);
    return dump.error;
}

int nx_dump(int fd)
{
    NXI_ENTRY(-ENOSYS);
    return nxi_forked() ? -NX_EFORKED : nxi_dump(fd, NULL);
}
