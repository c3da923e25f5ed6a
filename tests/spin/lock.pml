/*
 * lock.pml: the lock of channels and mutexes excludes, and nobody sleeps for ever, though it is given back by a store.
 *
 * Stands for libnexus/lock.c and nxi_lock, nxi_unlock in core.h: three users, who lock and unlock, two of them twice; all
 * locks are of one bucket. A user that finds the lock held tries again or goes to sleep. membarrier(2) empties the
 * caller's store buffer and then all others, one after another. The mutex of the bucket is a lock here too.
 * The oracles: never two holders; when nothing can move any more, all have had it and nobody is counted as a sleeper.
 *
 *   BUG1  no barrier between the count and the last look                    (only the TSO twin can tell)
 *   BUG2  the sleeper looks, and is counted after that
 *   BUG3  who gives the lock back looks at the count, and stores after that
 *   BUG4  who gives it back signals without the bucket's mutex
 *   BUG5  the barrier comes before the count                                (only the TSO twin can tell)
 *   BUG6  the sleeper leaves the count while it sleeps
 */
#define USERS 3
#define PROCESSES USERS

#define LOCK 0
#define SLEEPERS 1
#define WORDS 2

#include "memory.pml"

bool mutex;
bool asleep[USERS];
byte holders;
byte done;

inline count_sleeper()
{
    atomic {
        FLUSH(me);
        memory[SLEEPERS]++
    }
}

inline uncount_sleeper()
{
    atomic {
        FLUSH(me);
        memory[SLEEPERS]--
    }
}

inline barrier_everywhere()
{
    atomic { FLUSH(me) };
    atomic { FLUSH(0) };
    atomic { FLUSH(1) };
    atomic { FLUSH(2) }
}

inline try_lock()
{
    atomic {
        FLUSH(me);
        got = (memory[LOCK] == 0);
        memory[LOCK] = 1
    }
}

inline lock_bucket()
{
    atomic {
        !mutex -> FLUSH(me);
        mutex = true
    }
}

inline unlock_bucket()
{
    atomic {
        FLUSH(me);
        mutex = false
    }
}

proctype user(byte me; byte rounds)
{
    bool got;
    byte seen;

again:
    try_lock();
    if
    :: got -> goto inside
    :: !got -> goto again
    :: !got /* has spun for long enough */
    fi;
    lock_bucket();
#ifdef BUG2
    try_lock();
    count_sleeper();
    if
    :: got ->
        uncount_sleeper();
        unlock_bucket();
        goto inside
    :: else -> goto sleeps
    fi;
#endif
#ifdef BUG5
    barrier_everywhere();
#endif
    count_sleeper();
#if !defined(BUG1) && !defined(BUG5)
    barrier_everywhere();
#endif

look:
    try_lock();
    if
    :: got ->
        uncount_sleeper();
        unlock_bucket();
        goto inside
    :: else
    fi;

sleeps:
#ifdef BUG6
    uncount_sleeper();
#endif
    atomic {
        FLUSH(me);
        asleep[me] = true;
        mutex = false
    };
    !asleep[me];
    lock_bucket();
#ifdef BUG6
    count_sleeper();
#endif
    goto look;

inside:
    atomic {
        assert(holders == 0);
        holders++
    };
    holders--;
#ifdef BUG3
    LOAD(me, SLEEPERS, seen);
    STORE(me, LOCK, 0);
#else
    STORE(me, LOCK, 0);
    LOAD(me, SLEEPERS, seen);
#endif
    if
    :: seen > 0 ->
#ifndef BUG4
        lock_bucket();
#endif
        atomic {
            asleep[0] = false;
            asleep[1] = false;
            asleep[2] = false
        };
#ifndef BUG4
        unlock_bucket()
#endif
    :: else
    fi;
    rounds--;
    if
    :: rounds > 0 -> goto again
    :: else -> done++
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
    assert(done == USERS && memory[SLEEPERS] == 0 && memory[LOCK] == 0 && !mutex)
}
