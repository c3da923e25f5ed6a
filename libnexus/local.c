/* local.c: what a task carries along to its end: deferred functions and task-local values. */
#include "core.h"
#include <nexus/task.h>

#define LOCAL_KEYS_MAX 64u
#define LOCAL_PASSES_MAX 4 /* a destructor may set values again; as many rounds as POSIX has for threads */

int nx_defer(void (*fn)(void *arg), void *arg)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (!fn)
        return -EINVAL;
    struct nxi_cold *cold = nxi_task_cold(worker->current);
    struct nxi_defer *defer = cold ? nxi_alloc(sizeof(*defer)) : NULL;
    if (!defer)
        return -ENOMEM;
    *defer = (struct nxi_defer){.next = cold->defers, .fn = fn, .arg = arg};
    cold->defers = defer;
    return 0;
}

int nxi_guard(struct nxi_defer *guard, void (*fn)(void *arg), void *arg)
{
    struct nxi_cold *cold = nxi_task_cold(nxi_self()->current);
    if (!cold)
        return -ENOMEM;
    *guard = (struct nxi_defer){.next = cold->defers, .fn = fn, .arg = arg, .guard = true};
    cold->defers = guard;
    return 0;
}

void nxi_unguard(struct nxi_defer *guard)
{
    struct nxi_cold *cold = nxi_self()->current->cold;
    struct nxi_defer **link = &cold->defers;
    while (*link != guard) /* ends: before it is only what the function has deferred */
        link = &(*link)->next;
    *link = guard->next;
}

void nxi_undefer(void (*fn)(void *arg), void *arg)
{
    struct nxi_defer **link = &nxi_self()->current->cold->defers;
    while ((*link)->fn != fn || (*link)->arg != arg) /* ends: it is there */
        link = &(*link)->next;
    struct nxi_defer *defer = *link;
    *link = defer->next;
    nxi_free(defer, sizeof(*defer));
}

void nxi_run_defers(struct nxi_task *task)
{
    struct nxi_cold *cold = task->cold;
    while (cold->defers) {
        struct nxi_defer defer = *cold->defers;
        if (!defer.guard)
            nxi_free(cold->defers, sizeof(defer));
        cold->defers = defer.next;
        defer.fn(defer.arg);
    }
}

static _Atomic uint32_t key_count;
static _Atomic(void (*)(void *)) destructors[LOCAL_KEYS_MAX];

int nx_local_key_create(void (*destructor)(void *value), nx_local_key *ret_key)
{
    NXI_ENTRY(-ENOSYS);
    if (nxi_forked())
        return -NX_EFORKED;
    if (!ret_key)
        return -EINVAL;
    uint32_t key = atomic_load(&key_count);
    do {
        if (key == LOCAL_KEYS_MAX)
            return -EAGAIN;
    } while (!atomic_compare_exchange_weak(&key_count, &key, key + 1));
    atomic_store(&destructors[key], destructor);
    *ret_key = key;
    return 0;
}

void *nx_local_get(nx_local_key key)
{
    NXI_ENTRY(NULL);
    struct nxi_worker *worker = nxi_in_task();
    struct nxi_cold *cold = worker ? worker->current->cold : NULL;
    return cold && cold->locals && key < LOCAL_KEYS_MAX ? cold->locals[key] : NULL;
}

int nx_local_set(nx_local_key key, void *value)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker = nxi_in_task();
    if (!worker)
        return nxi_no_task();
    if (key >= atomic_load(&key_count))
        return -EINVAL;
    struct nxi_cold *cold = nxi_task_cold(worker->current);
    if (cold && !cold->locals)
        cold->locals = nxi_alloc(LOCAL_KEYS_MAX * sizeof(*cold->locals));
    if (!cold || !cold->locals)
        return -ENOMEM;
    cold->locals[key] = value;
    return 0;
}

static bool destroy_pass(struct nxi_cold *cold)
{
    bool any = false;
    for (uint32_t key = 0; key < LOCAL_KEYS_MAX; key++) {
        void *value = cold->locals[key];
        void (*destructor)(void *) = atomic_load(&destructors[key]);
        cold->locals[key] = NULL;
        if (value && destructor) {
            destructor(value);
            any = true;
        }
    }
    return any;
}

void nxi_run_local_destructors(struct nxi_task *task)
{
    struct nxi_cold *cold = task->cold;
    if (!cold->locals)
        return;
    for (int pass = 0; pass < LOCAL_PASSES_MAX && destroy_pass(cold); pass++)
        nxi_run_defers(task); /* a destructor may have deferred something */
    nxi_free(cold->locals, LOCAL_KEYS_MAX * sizeof(*cold->locals));
    cold->locals = NULL;
}
