/*
 * home.pml: a channel that a worker holds at home, without a lock, is never held by two.
 *
 * Stands for libnexus/chan.h and evict, nxi_chan_consider_home in chan.c: the worker makes three calls, of which one
 * that is under the lock moves it in, if it will; two others make a call each. Each call adds one to a word by a load and a store.
 * The two locks are one here: who evicts has both. It is given back by a store. membarrier(2) empties the caller's
 * store buffer and then all others, one after another.
 * The oracles: never two holders, and no addition is lost.
 *
 *   BUG1  no barrier between home = NULL and the look at inside             (only the TSO twin can tell)
 *   BUG2  who evicts doesn't wait for inside
 *   BUG3  the worker doesn't look at home again once it is inside
 *   BUG4  who evicts waits for inside before it clears home
 *   BUG5  the barrier comes before home = NULL                              (only the TSO twin can tell)
 *   BUG6  who takes the lock doesn't look whether somebody is home
 */
#define PROCESSES 3

#define HOME 0
#define INSIDE 1
#define LOCK 2
#define DATA 3
#define WORDS 4

#include "memory.pml"

byte holders;
byte done;

inline barrier_everywhere()
{
    atomic { FLUSH(me) };
    atomic { FLUSH(0) };
    atomic { FLUSH(1) };
    atomic { FLUSH(2) }
}

inline lock()
{
    atomic {
        memory[LOCK] == 0 -> FLUSH(me);
        memory[LOCK] = 1
    }
}

inline call()
{
    atomic {
        assert(holders == 0);
        holders++
    };
    LOAD(me, DATA, data);
    STORE(me, DATA, data + 1);
    holders--
}

inline wait_outside()
{
    LOAD(me, INSIDE, seen);
    do
    :: seen == 0 -> break
    :: else -> LOAD(me, INSIDE, seen)
    od
}

inline evict()
{
#ifdef BUG5
    barrier_everywhere();
#endif
#ifdef BUG4
    wait_outside();
#endif
    STORE(me, HOME, 0);
#if !defined(BUG1) && !defined(BUG5)
    barrier_everywhere();
#endif
#if !defined(BUG2) && !defined(BUG4)
    wait_outside()
#endif
}

inline enter_locked()
{
    lock();
    LOAD(me, HOME, seen);
#ifndef BUG6
    if
    :: seen == 1 -> evict()
    :: else
    fi
#endif
}

proctype worker(byte me; byte calls)
{
    byte seen, data;

again:
    LOAD(me, HOME, seen);
    if
    :: seen == 0 -> goto shared
    :: else
    fi;
    STORE(me, INSIDE, 1);
#ifndef BUG3
    LOAD(me, HOME, seen);
    if
    :: seen == 0 ->
        STORE(me, INSIDE, 0);
        goto shared
    :: else
    fi;
#endif
    call();
    STORE(me, INSIDE, 0);
    goto next;

shared:
    lock(); /* nobody is home: only the worker itself moves in */
    call();
    if
    :: STORE(me, HOME, 1)
    :: skip
    fi;
    STORE(me, LOCK, 0);

next:
    calls--;
    if
    :: calls > 0 -> goto again
    :: else -> done++
    fi
}

proctype other(byte me)
{
    byte seen, data;

    enter_locked();
    call();
    STORE(me, LOCK, 0);
    done++
}

init
{
    atomic {
        run worker(0, 3);
        run other(1);
        run other(2)
    };
    timeout ->
    atomic {
        FLUSH(0);
        FLUSH(1);
        FLUSH(2);
        assert(done == 3 && memory[DATA] == 5 && memory[LOCK] == 0 && memory[INSIDE] == 0)
    }
}
