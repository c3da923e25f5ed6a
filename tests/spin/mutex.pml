/*
 * mutex.pml: the mutex excludes, loses nobody, and is left alone once it is unlocked.
 *
 * Stands for libnexus/mutex.c: lock_slowly, nxi_mutex_wait, give_up, go_back, try_last, unlock_slowly, release_to_waiter.
 * Three users lock and unlock, the first two of them twice; a user may give up waiting, at any moment, once, and then
 * locks again. The last to have had it frees it, as with a count that the mutex guards. mutex->lock is a lock here too;
 * what is done under it is a step per access of the word, which others change without it. Each of these is a
 * compare-and-swap, or a load whose value one confirms, so store buffers show nothing new, and there is no TSO twin.
 * The oracles: never two holders; who has lost as a candidate has the mutex at its next wake; nobody touches a mutex that
 * has been freed; when nothing can move any more, it has been freed, and word and list were empty.
 *
 *   BUG1  a waiter enters the list without looking whether HELD is set still
 *   BUG2  a candidate that gives up leaves WOKEN set
 *   BUG3  who gives up as the last in the list leaves QUEUED set
 *   BUG4  unlock drops HELD behind the list's lock where it has found nobody: the next holder may have freed the mutex
 *   BUG5  a candidate that has lost goes back without looking whether HELD is set still
 *   BUG6  a candidate that has lost is but a candidate at its next wake
 */
#define USERS 3
#define NOBODY 255

/* what a waiter has been woken with */
#define ASLEEP 0
#define CANDIDATE 1
#define HANDED 2

#ifdef BUG6
#define CANDIDATE_ONLY true
#else
#define CANDIDATE_ONLY !lost[first]
#endif

bool held, queued, woken; /* the word: changed together in atomic steps */
bool locked;              /* mutex->lock */
byte list[USERS] = NOBODY;
byte wake[USERS];
bool lost[USERS];
byte holders;
byte users = USERS; /* under the mutex */
bool freed;

inline lock_list()
{
    atomic {
        !locked -> assert(!freed);
        locked = true
    }
}

inline unlock_list()
{
    atomic {
        assert(!freed);
        locked = false
    }
}

/* As take_or_change: into `taken`. */
inline take_or_queue()
{
    if
    :: held -> queued = true
    :: else -> held = true; taken = true
    fi
}

inline push_back()
{
    wake[me] = ASLEEP;
    lost[me] = false;
    if
    :: list[0] == NOBODY -> list[0] = me
    :: list[0] != NOBODY && list[1] == NOBODY -> list[1] = me
    :: else -> list[2] = me
    fi
}

inline push_front()
{
    wake[me] = ASLEEP;
    lost[me] = true;
    list[2] = list[1];
    list[1] = list[0];
    list[0] = me
}

inline take_out(who)
{
    if
    :: list[0] == who ->
        list[0] = list[1];
        list[1] = list[2]
    :: else ->
        if
        :: list[1] == who -> list[1] = list[2]
        :: else
        fi
    fi;
    list[2] = NOBODY
}

proctype user(byte me; byte rounds)
{
    byte first = NOBODY;
    bool taken, gives_up, gave_up, waits;

again:
    atomic { /* take */
        assert(!freed);
        taken = !held;
        held = true
    };
    if
    :: taken -> goto inside
    :: else
    fi;
    lock_list();
    atomic {
#ifdef BUG1
        queued = true;
#else
        take_or_queue();
#endif
        if
        :: !taken -> push_back()
        :: else
        fi
    };
    unlock_list();
    if
    :: taken -> goto inside
    :: else
    fi;

wait:
    if
    :: wake[me] != ASLEEP
    :: !gave_up -> /* give_up */
        gives_up = true;
        gave_up = true;
        lock_list();
        atomic {
            waits = (list[0] == me || list[1] == me || list[2] == me);
            if
            :: waits -> take_out(me)
            :: else
            fi
        };
#ifndef BUG3
        if
        :: waits && list[0] == NOBODY -> queued = false
        :: else
        fi;
#endif
        unlock_list();
        if
        :: waits ->
            gives_up = false;
            waits = false;
            goto again
        :: else
        fi;
        wake[me] != ASLEEP
    fi;
    if
    :: wake[me] == HANDED -> goto inside
    :: else -> assert(!lost[me])
    fi;
    atomic { /* the candidate tries */
        assert(!freed);
        if
        :: !held ->
            held = true;
            woken = false;
            taken = true
        :: else
        fi
    };
    if
    :: taken -> goto inside
    :: else
    fi;
    lock_list();
    atomic {
        if
        :: gives_up -> /* try_last */
#ifndef BUG2
            woken = false;
#endif
            if
            :: !held ->
                held = true;
                taken = true
            :: else
            fi
        :: else -> /* go_back */
            woken = false;
#ifdef BUG5
            queued = true;
#else
            take_or_queue();
#endif
            if
            :: !taken -> push_front()
            :: else
            fi
        fi
    };
    unlock_list();
    if
    :: taken -> goto inside
    :: !taken && !gives_up -> goto wait
    :: else ->
        gives_up = false;
        goto again
    fi;

inside:
    atomic {
        assert(holders == 0 && held);
        holders = 1;
        taken = false;
        gives_up = false;
        wake[me] = ASLEEP;
        lost[me] = false
    };
    atomic {
        holders = 0;
        rounds--;
        users = users - (rounds == 0 -> 1 : 0);
        waits = (users == 0) /* the last user of all */
    };

unlock:
    atomic {
        assert(!freed);
        if
        :: !queued || woken ->
            held = false;
            goto out
        :: else
        fi
    };
    lock_list();
    first = list[0];
    if
    :: first != NOBODY ->
        take_out(first);
        if
        :: list[0] == NOBODY -> queued = false
        :: else
        fi;
        if
        :: CANDIDATE_ONLY ->
            atomic {
                held = false;
                woken = true
            }
        :: else
        fi;
        unlock_list();
        atomic {
#ifdef BUG6
            wake[first] = CANDIDATE;
#else
            wake[first] = (lost[first] -> HANDED : CANDIDATE);
#endif
            first = NOBODY
        };
        goto out
    :: else ->
#ifdef BUG4
        held = false;
        unlock_list();
        goto out
#else
        assert(!queued); /* or it would not end */
        unlock_list();
        goto unlock
#endif
    fi;

out:
    if
    :: waits ->
        atomic {
            assert(!held && !queued && !woken && !locked && list[0] == NOBODY);
            freed = true
        }
    :: else
    fi;
    if
    :: rounds > 0 -> goto again
    :: else
    fi
}

init
{
    atomic {
        run user(0, 2);
        run user(1, 2);
        run user(2, 1)
    };
    timeout ->
    assert(freed)
}
