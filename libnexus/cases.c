/*
 * cases.c: what each kind of case does in a select: tried without waiting, entered, told, left; choice.c says when.
 *
 * A case that was entered has a waiter, which is in its object's list or belongs to an operation in flight, until it
 * is left: nothing of the select may go before.
 */
#include "cases.h"
#include "chan.h"
#include "sync.h"

static bool is_chan(const nx_case *one)
{
    return one->op == NX_CASE_OP_RECV || one->op == NX_CASE_OP_SEND;
}

static unsigned fd_events(const nx_case *one)
{
    return one->op == NX_CASE_OP_READABLE ? NX_READABLE : NX_WRITABLE;
}

/* Never wins. */
bool nxi_case_absent(const nx_case *one)
{
    switch (one->op) {
    case NX_CASE_OP_TIMER:
        return one->at == NX_FOREVER;
    case NX_CASE_OP_JOIN:
        return one->at == 0;
    case NX_CASE_OP_READABLE:
    case NX_CASE_OP_WRITABLE:
        return one->pad == -1;
    default:
        return !one->obj;
    }
}

/* ---- without waiting: the result, or -EAGAIN ---- */

/* Under the channel's lock, in none of whose lists we are. */
static int64_t take_chan(const nx_case *one, struct nxi_worker *worker, struct nxi_waiter **ret_woken)
{
    struct nx_chan *chan = one->obj;
    *ret_woken = NULL;
    int error = !one->buf && chan->elem_size > 0 ? -EINVAL : nxi_chan_usable(chan, worker);
    if (error < 0)
        return error;
    return one->op == NX_CASE_OP_RECV ? nxi_chan_try_recv(chan, one->buf, ret_woken)
                                      : nxi_chan_try_send(chan, one->buf, ret_woken);
}

static int64_t try_chan(const nx_case *one, struct nxi_worker *worker)
{
    struct nxi_waiter *woken;
    nxi_chan_lock(one->obj, worker);
    int64_t result = take_chan(one, worker, &woken);
    nxi_chan_unlock(one->obj, worker);
    if (woken)
        nxi_waiter_wake(woken, NX_REASON_UNBLOCK);
    return result;
}

static int64_t try_read(const nx_case *one)
{
    int error = nxi_stream_check(one->obj, one->buf, one->len);
    return error < 0 ? error : nxi_stream_read_now(one->obj, one->buf, one->len);
}

/* What an accept brought becomes a stream. */
static int64_t finish_accept(const nx_case *one, int64_t result)
{
    return result > 0 ? nxi_listener_stream(one->obj, (nx_handle)result, one->buf) : result;
}

static int64_t try_accept(const struct nxi_cases *selection, const nx_case *one, struct nxi_worker *worker)
{
    if (!one->buf)
        return -EINVAL;
    int error = nxi_listener_check(one->obj, worker);
    if (error < 0)
        return error;
    return finish_accept(one, nxi_listener_try(one->obj, worker, selection->polls));
}

static int64_t try_event(nx_event *event)
{
    nxi_lock(&event->lock);
    bool passed = nxi_event_pass(event);
    nxi_unlock(&event->lock);
    return passed ? 0 : -EAGAIN;
}

int64_t nxi_case_try(const struct nxi_cases *selection, const nx_case *one)
{
    struct nxi_worker *worker = nxi_self(); /* each may park, and a migratable task move */
    switch (one->op) {
    case NX_CASE_OP_RECV:
    case NX_CASE_OP_SEND:
        return try_chan(one, worker);
    case NX_CASE_OP_READ:
        return try_read(one);
    case NX_CASE_OP_ACCEPT:
        return try_accept(selection, one, worker);
    case NX_CASE_OP_TIMER:
        return one->at <= nx_now() ? 0 : -EAGAIN;
    case NX_CASE_OP_JOIN:
        return nxi_join_look(one->at, worker);
    case NX_CASE_OP_EVENT:
        return try_event(one->obj);
    default:
        return nxi_fd_look(worker, one->pad, fd_events(one));
    }
}

static void took(struct nxi_cases *selection, int64_t result)
{
    selection->taken = true;
    selection->result = result;
}

/* ---- entering ---- */

/* One that takes part in the choice: in a list, whoever serves it claims. */
static void init_waiter(struct nxi_cases *selection, uint32_t index)
{
    struct nxi_entry *entry = &selection->entries[index];
    nxi_waiter_init(&entry->waiter, selection->worker);
    entry->waiter.choice = &selection->choice;
    entry->waiter.number = index + 1;
    entry->waiting = true;
}

/* It is in no list. */
static void drop_waiter(struct nxi_entry *entry)
{
    nxi_waiter_forget(&entry->waiter);
    entry->waiting = false;
}

/* The channels of all cases, each once, by address: how many. */
static uint32_t sort_chans(const struct nxi_cases *selection, struct nx_chan **ret_chans)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < selection->count; i++) {
        const nx_case *one = &selection->cases[i];
        if (!is_chan(one) || nxi_case_absent(one))
            continue;
        uint32_t place = count;
        while (place > 0 && (uintptr_t)ret_chans[place - 1] > (uintptr_t)one->obj)
            place--;
        if (place > 0 && ret_chans[place - 1] == one->obj)
            continue;
        for (uint32_t j = count++; j > place; j--)
            ret_chans[j] = ret_chans[j - 1];
        ret_chans[place] = one->obj;
    }
    return count;
}

/* All locks are held, and the choice is nobody's yet: a channel that is ready after all wins. */
static bool try_locked_chans(struct nxi_cases *selection, struct nxi_waiter **ret_woken)
{
    for (NXI_EACH_CASE(selection, i)) {
        const nx_case *one = &selection->cases[i];
        if (!is_chan(one) || nxi_case_absent(one))
            continue;
        int64_t result = take_chan(one, selection->worker, ret_woken);
        if (result == -EAGAIN)
            continue;
        took(selection, result);
        atomic_store_explicit(&selection->choice.winner, i + 1, memory_order_relaxed);
        return true;
    }
    return false;
}

static void enter_locked_chans(struct nxi_cases *selection)
{
    for (uint32_t i = 0; i < selection->count; i++) {
        const nx_case *one = &selection->cases[i];
        if (!is_chan(one) || nxi_case_absent(one))
            continue;
        struct nx_chan *chan = one->obj;
        struct nxi_waiter *waiter = &selection->entries[i].waiter;
        init_waiter(selection, i);
        waiter->data = one->buf;
        nxi_waiters_push(one->op == NX_CASE_OP_RECV ? &chan->receivers : &chan->senders, waiter);
    }
}

NXI_NOINLINE void nxi_cases_enter_chans(struct nxi_cases *selection)
{
    struct nx_chan *chans[NX_SELECT_MAX];
    struct nxi_waiter *woken = NULL;
    uint32_t count = sort_chans(selection, chans);
    for (uint32_t i = 0; i < count; i++)
        nxi_chan_lock(chans[i], selection->worker);
    if (!try_locked_chans(selection, &woken))
        enter_locked_chans(selection);
    for (uint32_t i = count; i-- > 0;)
        nxi_chan_unlock(chans[i], selection->worker);
    if (woken)
        nxi_waiter_wake(woken, NX_REASON_UNBLOCK);
}

static void enter_listener(struct nxi_cases *selection, uint32_t index)
{
    struct nxi_entry *entry = &selection->entries[index];
    init_waiter(selection, index);
    int64_t result = nxi_listener_enter(selection->cases[index].obj, &entry->waiter);
    if (result == 0)
        return;
    if (result != -EAGAIN) /* else another has won */
        took(selection, result);
    drop_waiter(entry);
}

static void enter_event(struct nxi_cases *selection, uint32_t index)
{
    struct nxi_entry *entry = &selection->entries[index];
    nx_event *event = selection->cases[index].obj;
    init_waiter(selection, index);
    nxi_lock(&event->lock);
    bool set = event->set;
    bool ours = set && nxi_waiter_claim(&entry->waiter) && nxi_event_pass(event);
    if (!set)
        nxi_waiters_push(nxi_sync_list(&event->waiters), &entry->waiter);
    nxi_unlock(&event->lock);
    if (ours)
        took(selection, 0);
    if (set)
        drop_waiter(entry);
}

/* Only one may wait for a task: of a select that has it several times the first, and that is enough. */
static bool is_waited_for(const struct nxi_cases *selection, uint32_t index)
{
    for (uint32_t i = 0; i < selection->count; i++) {
        const nx_case *other = &selection->cases[i];
        if (i != index && selection->entries[i].waiting && other->op == NX_CASE_OP_JOIN &&
            other->at == selection->cases[index].at)
            return true;
    }
    return false;
}

/* Those that are only told: true if this one need not wait. */
static bool enter_told(struct nxi_cases *selection, uint32_t index)
{
    const nx_case *one = &selection->cases[index];
    struct nxi_entry *entry = &selection->entries[index];
    struct nxi_choice *choice = &selection->choice;
    const struct nx_op poll = {.code = NX_OP_POLL, .arg = NX_READABLE};
    switch (one->op) {
    case NX_CASE_OP_READ:
        entry->waiting = nxi_stream_start(one->obj, &entry->stream, &poll, choice) == 0;
        break;
    case NX_CASE_OP_JOIN:
        if (is_waited_for(selection, index))
            return false;
        entry->waiting = nxi_join_enter(one->at, selection->worker, &entry->waiter, choice, &entry->task) == -EAGAIN;
        break;
    default:
        entry->waiting = nxi_fd_start(&entry->fd, selection->worker, one->pad, fd_events(one), choice) == 0;
    }
    return !entry->waiting;
}

bool nxi_case_enter(struct nxi_cases *selection, uint32_t index)
{
    switch (selection->cases[index].op) {
    case NX_CASE_OP_ACCEPT:
        enter_listener(selection, index);
        return false;
    case NX_CASE_OP_EVENT:
        enter_event(selection, index);
        return false;
    default:
        return enter_told(selection, index);
    }
}

/* ---- told ---- */

static struct nxi_waiter *waiter_of(const nx_case *one, struct nxi_entry *entry)
{
    switch (one->op) {
    case NX_CASE_OP_READ:
        return &entry->stream.waiter;
    case NX_CASE_OP_READABLE:
    case NX_CASE_OP_WRITABLE:
        return &entry->fd.waiter;
    default:
        return &entry->waiter;
    }
}

bool nxi_case_is_told(const nx_case *one)
{
    return one->op == NX_CASE_OP_READ || one->op == NX_CASE_OP_JOIN || one->op == NX_CASE_OP_READABLE ||
           one->op == NX_CASE_OP_WRITABLE;
}

static bool woken(const struct nxi_waiter *waiter)
{
    return atomic_load_explicit(&waiter->woken, memory_order_relaxed);
}

bool nxi_case_told(struct nxi_cases *selection, uint32_t index)
{
    const nx_case *one = &selection->cases[index];
    struct nxi_entry *entry = &selection->entries[index];
    if (!entry->waiting || !woken(waiter_of(one, entry)))
        return false;
    bool moved = one->op == NX_CASE_OP_READ && nxi_stream_result(&entry->stream) == -EAGAIN;
    return !moved || enter_told(selection, index);
}

/* ---- leaving ---- */

/* Out of its list, whether it is still in it or was passed over. The winner's wake is waited for. */
static void leave_list(struct nxi_cases *selection, uint32_t index, bool served)
{
    const nx_case *one = &selection->cases[index];
    struct nxi_entry *entry = &selection->entries[index];
    if (served) {
        nxi_waiter_wait(&entry->waiter, NX_FOREVER, false);
        entry->waiting = false;
        return;
    }
    if (is_chan(one)) {
        struct nx_chan *chan = one->obj;
        nxi_chan_lock(chan, selection->worker);
        if (entry->waiter.link)
            nxi_waiters_remove(one->op == NX_CASE_OP_RECV ? &chan->receivers : &chan->senders, &entry->waiter);
        nxi_chan_unlock(chan, selection->worker);
    } else if (one->op == NX_CASE_OP_ACCEPT) {
        nxi_listener_leave(one->obj, &entry->waiter);
    } else {
        nx_event *event = one->obj;
        nxi_lock(&event->lock);
        if (entry->waiter.link)
            nxi_waiters_remove(nxi_sync_list(&event->waiters), &entry->waiter);
        nxi_unlock(&event->lock);
    }
    drop_waiter(entry);
}

static void cancel_told(const nx_case *one, struct nxi_entry *entry)
{
    if (woken(waiter_of(one, entry)))
        return;
    if (one->op == NX_CASE_OP_READ)
        nxi_stream_cancel(&entry->stream);
    else if (one->op != NX_CASE_OP_JOIN)
        nxi_fd_cancel(&entry->fd);
}

static void leave_told(const nx_case *one, struct nxi_entry *entry)
{
    if (one->op == NX_CASE_OP_READ)
        nxi_waiter_wait(&entry->stream.waiter, NX_FOREVER, false);
    else if (one->op == NX_CASE_OP_JOIN)
        nxi_join_leave(entry->task, &entry->waiter);
    else
        nxi_fd_end(&entry->fd);
}

/* Lists first, which others go through; then all operations are cancelled before the first is waited for. */
void nxi_cases_leave(struct nxi_cases *selection, int winner)
{
    for (uint32_t i = 0; i < selection->count; i++) {
        if (selection->entries[i].waiting && !nxi_case_is_told(&selection->cases[i]))
            leave_list(selection, i, (int)i == winner);
    }
    for (uint32_t i = 0; i < selection->count; i++) {
        if (selection->entries[i].waiting)
            cancel_told(&selection->cases[i], &selection->entries[i]);
    }
    for (uint32_t i = 0; i < selection->count; i++) {
        if (selection->entries[i].waiting)
            leave_told(&selection->cases[i], &selection->entries[i]);
    }
}

/* All have been left. What the winner brings; -EAGAIN: nothing, somebody else was faster. */
int64_t nxi_case_act(const struct nxi_cases *selection, int winner)
{
    const nx_case *one = &selection->cases[winner];
    struct nxi_entry *entry = &selection->entries[winner];
    switch (one->op) {
    case NX_CASE_OP_READABLE:
    case NX_CASE_OP_WRITABLE:
        return entry->fd.waiter.result;
    case NX_CASE_OP_ACCEPT:
        return finish_accept(one, selection->taken ? selection->result : entry->waiter.result);
    case NX_CASE_OP_RECV:
    case NX_CASE_OP_SEND:
    case NX_CASE_OP_EVENT:
        return selection->taken ? selection->result : entry->waiter.result;
    default:
        break;
    }
    int64_t result = nxi_case_try(selection, one);
    if (result == -EAGAIN && one->op == NX_CASE_OP_READ && nxi_stream_result(&entry->stream) < 0)
        return nxi_stream_result(&entry->stream); /* a driver that can't poll */
    return result;
}
