/*
 * mutex.c: the mutex.
 *
 * A state word that is all when nobody waits: one compare-and-swap to lock (acquire), one to unlock (release).
 *
 *   HELD     somebody has it
 *   QUEUED   the list is not empty; written under mutex->lock
 *   WOKEN    a waiter, the candidate, has been taken out of the list and is on its way to try; it clears the bit
 *
 * To lock is to set HELD, by whoever comes first: a woken waiter may lose to one that has come later and was running
 * already. Handing the mutex over at each unlock would be fairer and needs less code, and makes convoys: with waiters
 * there, each unlock leaves the mutex with a task that has yet to be scheduled, and each lock parks. So bypassing is
 * bounded instead. A candidate that has lost goes back to the front, and the next unlock hands the mutex to it: HELD
 * stays set. Nobody at the front is bypassed but between one unlock and its own wake.
 *
 * No wake is lost. A waiter enters the list under the lock, and by a compare-and-swap that sets QUEUED on a word that
 * has HELD: the holder's unlock then sees QUEUED and goes the long way, behind the lock. While there is a candidate
 * unlock only drops HELD, as the candidate will look: it takes the mutex, or goes back by a compare-and-swap that
 * clears WOKEN on a word that has HELD, and again the holder's unlock sees that. In short, in every state either HELD
 * or WOKEN is set, or the list is empty.
 *
 * A waiter that gives up takes itself out; a candidate that is cancelled tries all the same, and when it loses, HELD is
 * set, and the holder will see to the others.
 *
 * The condition (cond.c) puts its waiters straight into this list (nxi_mutex_requeue).
 */
#include "mutex.h"

#define HELD 1u
#define QUEUED 2u
#define WOKEN 4u

/* What a waiter is, in nxi_waiter.weight. */
#define FRESH 0u
#define LOST 1u /* has been a candidate once */

static uint32_t load_state(const nx_mutex *mutex)
{
    return __atomic_load_n(&mutex->state, __ATOMIC_RELAXED);
}

static bool swap_state(nx_mutex *mutex, uint32_t *inout_seen, uint32_t wanted, int order)
{
    return __atomic_compare_exchange_n(&mutex->state, inout_seen, wanted, false, order, __ATOMIC_RELAXED);
}

/* ---- who ---- */

int64_t nxi_sync_self(const struct nxi_worker *worker)
{
    return NXI_LIKELY(worker != NULL) ? nxi_task_id(worker->current) : -(int64_t)(uintptr_t)pthread_self();
}

static void own(nx_mutex *mutex, int64_t owner)
{
    __atomic_store_n(&mutex->owner, owner, __ATOMIC_RELAXED);
}

bool nxi_mutex_is_mine(const nx_mutex *mutex, const struct nxi_worker *worker)
{
    return __atomic_load_n(&mutex->owner, __ATOMIC_RELAXED) == nxi_sync_self(worker);
}

/* ---- waiting ---- */

/* Sets HELD, and clears these bits, unless HELD is set. */
static bool take(nx_mutex *mutex, uint32_t clear)
{
    uint32_t seen = load_state(mutex);
    while (!(seen & HELD))
        if (swap_state(mutex, &seen, (seen | HELD) & ~clear, __ATOMIC_ACQUIRE))
            return true;
    return false;
}

/* With the lock: as take, or changes a state that has HELD: sets and clears bits. Whether it has taken the mutex. */
static bool take_or_change(nx_mutex *mutex, uint32_t set, uint32_t clear)
{
    uint32_t seen = load_state(mutex);
    for (;;) { /* ends: others change the word only finitely often between two of our tries */
        bool held = seen & HELD;
        uint32_t wanted = ((held ? seen | set : seen | HELD) & ~clear);
        if (swap_state(mutex, &seen, wanted, __ATOMIC_ACQUIRE))
            return !held;
    }
}

static void begin_wait(nx_mutex *mutex, struct nxi_waiter *waiter, struct nxi_worker *worker, uint32_t weight)
{
    nxi_waiter_init(waiter, worker);
    nxi_waiter_note(waiter, "mutex", NXI_OBJECT_POINTER, (uintptr_t)mutex);
    waiter->weight = weight;
}

/* With the lock. */
static void push_front(struct nxi_waiters *list, struct nxi_waiter *waiter)
{
    waiter->next = list->first;
    waiter->link = &list->first;
    if (waiter->next)
        waiter->next->link = &waiter->next;
    else
        list->last = &waiter->next;
    list->first = waiter;
}

/* With the lock: the waiter leaves the list. */
static void take_out(nx_mutex *mutex, struct nxi_waiter *waiter)
{
    struct nxi_waiters *list = nxi_sync_list(&mutex->waiters);
    nxi_waiters_remove(list, waiter);
    if (!list->first)
        __atomic_fetch_and(&mutex->state, ~QUEUED, __ATOMIC_RELAXED);
}

/* The deadline has come, or a cancel. True: the waiter is out of the list, and nothing has been given to it. */
static bool give_up(nx_mutex *mutex, struct nxi_waiter *waiter)
{
    nxi_lock(&mutex->lock);
    bool waits = waiter->link != NULL;
    if (waits)
        take_out(mutex, waiter);
    nxi_unlock(&mutex->lock);
    if (waits)
        nxi_waiter_forget(waiter);
    else
        nxi_waiter_wait(waiter, NX_FOREVER, false);
    return waits;
}

/* The candidate that the waiter was goes back to the front of the list. False: it has the mutex. */
static bool go_back(nx_mutex *mutex, struct nxi_waiter *waiter)
{
    nxi_lock(&mutex->lock);
    bool taken = take_or_change(mutex, QUEUED, WOKEN);
    if (!taken) {
        begin_wait(mutex, waiter, nxi_in_task(), LOST);
        push_front(nxi_sync_list(&mutex->waiters), waiter);
    }
    nxi_unlock(&mutex->lock);
    return !taken;
}

/* The candidate does not go back. Whether it has the mutex. */
static bool try_last(nx_mutex *mutex)
{
    nxi_lock(&mutex->lock);
    bool taken = take_or_change(mutex, 0, WOKEN);
    nxi_unlock(&mutex->lock);
    return taken;
}

int nxi_mutex_wait(nx_mutex *mutex, struct nxi_waiter *waiter, nx_time deadline, bool heed_cancel)
{
    for (;;) { /* ends: who has lost once is handed the mutex */
        int error = nxi_waiter_wait(waiter, deadline, heed_cancel);
        if (error < 0 && give_up(mutex, waiter))
            return error;
        if (waiter->result == NXI_MUTEX_HANDED || take(mutex, WOKEN))
            break;
        if (error < 0) {
            if (!try_last(mutex))
                return error;
            break;
        }
        if (!go_back(mutex, waiter))
            break;
    }
    own(mutex, nxi_sync_self(nxi_in_task()));
    return 0;
}

/* Takes the mutex, or enters the waiter at the end of the list. */
static bool take_or_queue(nx_mutex *mutex, struct nxi_waiter *waiter, struct nxi_worker *worker)
{
    nxi_lock(&mutex->lock);
    bool taken = take_or_change(mutex, QUEUED, 0);
    if (!taken) {
        begin_wait(mutex, waiter, worker, FRESH);
        nxi_waiters_push(nxi_sync_list(&mutex->waiters), waiter);
    }
    nxi_unlock(&mutex->lock);
    return taken;
}

static NXI_NOINLINE int lock_slowly(nx_mutex *mutex, struct nxi_worker *worker, nx_time deadline, bool heed_cancel)
{
    struct nxi_waiter waiter;
    if (nxi_mutex_is_mine(mutex, worker))
        return -EDEADLK;
    if (!take(mutex, 0)) {
        int error = heed_cancel ? nxi_sync_too_late(worker, deadline) : 0;
        if (error < 0)
            return error;
        if (!take_or_queue(mutex, &waiter, worker))
            return nxi_mutex_wait(mutex, &waiter, deadline, heed_cancel);
    }
    own(mutex, nxi_sync_self(worker));
    return 0;
}

int nx_mutex_lock(nx_mutex *mutex, nx_time deadline)
{
    NXI_ENTRY(-ENOSYS);
    struct nxi_worker *worker;
    int error = NXI_LIKELY(mutex != NULL) ? nxi_sync_admit(&worker) : -EINVAL;
    if (NXI_UNLIKELY(error < 0))
        return error;
    uint32_t seen = 0;
    if (NXI_UNLIKELY(!swap_state(mutex, &seen, HELD, __ATOMIC_ACQUIRE)))
        return lock_slowly(mutex, worker, deadline, true);
    own(mutex, nxi_sync_self(worker));
    return 0;
}

void nxi_mutex_lock_again(nx_mutex *mutex)
{
    uint32_t seen = 0;
    struct nxi_worker *worker = nxi_in_task();
    if (swap_state(mutex, &seen, HELD, __ATOMIC_ACQUIRE))
        own(mutex, nxi_sync_self(worker));
    else
        lock_slowly(mutex, worker, NX_FOREVER, false);
}

/* ---- unlocking ---- */

/* With the lock; the caller holds the mutex, and somebody waits. Who is to be woken. */
static struct nxi_waiter *release_to_waiter(nx_mutex *mutex)
{
    struct nxi_waiter *first = mutex->waiters.first;
    first->result = first->weight == LOST ? NXI_MUTEX_HANDED : NXI_MUTEX_CANDIDATE;
    take_out(mutex, first);
    if (first->result == NXI_MUTEX_CANDIDATE) { /* one step: between two somebody might see neither bit */
        uint32_t seen = load_state(mutex);
        while (!swap_state(mutex, &seen, (seen & ~HELD) | WOKEN, __ATOMIC_RELEASE)) {
        }
    }
    return first;
}

/* Where nobody is woken, to drop HELD is the last that is done with the mutex: whoever has it next may free it. */
static NXI_NOINLINE void unlock_slowly(nx_mutex *mutex)
{
    struct nxi_waiter *waiter = NULL;
    while (!waiter) { /* ends: in each further turn who waited has given up, and somebody else has come */
        uint32_t seen = load_state(mutex);
        while (!(seen & QUEUED) || seen & WOKEN)
            if (swap_state(mutex, &seen, seen & ~HELD, __ATOMIC_RELEASE))
                return;
        nxi_lock(&mutex->lock);
        if (mutex->waiters.first)
            waiter = release_to_waiter(mutex);
        nxi_unlock(&mutex->lock);
    }
    nxi_waiter_wake(waiter, NX_REASON_UNBLOCK);
}

void nxi_mutex_release(nx_mutex *mutex)
{
    uint32_t seen = HELD;
    own(mutex, 0);
    if (NXI_UNLIKELY(!swap_state(mutex, &seen, 0, __ATOMIC_RELEASE)))
        unlock_slowly(mutex);
}

int nx_mutex_unlock(nx_mutex *mutex)
{
    NXI_ENTRY(-ENOSYS);
    if (NXI_UNLIKELY(!mutex))
        return -EINVAL;
    struct nxi_worker *worker = nxi_in_task();
    if (NXI_UNLIKELY(!worker && nxi_forked()))
        return -NX_EFORKED;
    if (NXI_UNLIKELY(!nxi_mutex_is_mine(mutex, worker)))
        return -EPERM;
    nxi_mutex_release(mutex);
    return 0;
}

/* ---- for conditions ---- */

bool nxi_mutex_requeue(nx_mutex *mutex, struct nxi_waiter *waiter)
{
    nxi_lock(&mutex->lock);
    uint32_t seen = load_state(mutex);
    while (seen & HELD && !swap_state(mutex, &seen, seen | QUEUED, __ATOMIC_RELAXED)) {
    }
    if (seen & HELD) {
        waiter->weight = FRESH;
        nxi_waiters_push(nxi_sync_list(&mutex->waiters), waiter);
    }
    nxi_unlock(&mutex->lock);
    return seen & HELD;
}
