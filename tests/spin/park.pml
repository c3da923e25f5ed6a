/*
 * park.pml: no worker sleeps while something waits for it, or for anybody.
 *
 * Stands for libnexus/idle.c (announce, retract, claim_sleeper, nxi_wake_one, start_searching, nxi_stop_searching, park),
 * inbox.c (nxi_post, nxi_notify) and a scheduler's enqueue, steal and has_work. Two workers; a poster with a message for
 * worker 0; and a maker: a third worker that enqueues two stealable tasks by plain stores of its ring's tail, and then
 * never parks again, so that the others must run them. The oracle: when nothing can move any more, all three have run.
 * -DLOCAL: under a scheduler that shares nothing, so without the idle word, the search and the maker; one has run.
 *
 *   BUG1  look, then announce: the exchange to IDLE comes after the last look (a message is found all the same, by what
 *         that exchange returns; stealable work is not)
 *   BUG2  that announcement is a plain store and not an exchange             (only LOCAL's TSO twin can tell)
 *   BUG3  the searcher leaves the count of searchers after its last look: a wake that was left to it is lost
 *   BUG4  who made stealable work looks at the idle word by a plain load     (only the TSO twin can tell)
 *   BUG5  the last searcher wakes nobody when it has found something
 */
#define WORKERS 2
#define POSTER 2
#define MAKER 3
#define PROCESSES 4

/* states of a worker */
#define RUNNING 0
#define IDLE 1
#define PARKED 2
#define NOTIFIED 3

/* words */
#define STATE(w) (w)
#define INBOX(w) (2 + (w))
#define HEAD 4
#define TAIL 5
#define IDLE_WORD 6 /* searchers + 16 * sleepers */
#define WORDS 7

#include "memory.pml"

bool asleep[WORKERS];   /* under idle_lock; here: in atomic steps */
bool doorbell[WORKERS]; /* what the driver's wait ends by */
byte ran;

inline notify(w)
{
    atomic {
        FLUSH(me);
        doorbell[w] = doorbell[w] || memory[STATE(w)] == PARKED;
        memory[STATE(w)] = NOTIFIED
    }
}

/* After the load one atomic step, for claim_sleeper's lock. */
inline wake_one()
{
#ifdef BUG4
    LOAD(me, IDLE_WORD, seen);
#else
    atomic {
        FLUSH(me);
        seen = memory[IDLE_WORD]
    };
#endif
    if
    :: atomic {
        seen % 16 == 0 && seen / 16 > 0 -> seen = 0
    };
        atomic {
            FLUSH(me);
            sleeper = WORKERS;
            if
            :: memory[IDLE_WORD] % 16 == 0 && asleep[0] -> sleeper = 0
            :: memory[IDLE_WORD] % 16 == 0 && !asleep[0] && asleep[1] -> sleeper = 1
            :: else
            fi;
            if
            :: sleeper < WORKERS ->
                asleep[sleeper] = false;
                memory[IDLE_WORD] = memory[IDLE_WORD] + 1 - 16
            :: else
            fi
        };
        if
        :: sleeper < WORKERS -> notify(sleeper)
        :: else
        fi;
        sleeper = 0
    :: atomic {
        else -> seen = 0
    }
    fi
}

inline stop_searching()
{
    if
    :: searching ->
        atomic {
            FLUSH(me);
            searching = false;
            last = (memory[IDLE_WORD] % 16 == 1);
            memory[IDLE_WORD] = memory[IDLE_WORD] - 1
        };
#ifndef BUG5
        if
        :: last -> wake_one()
        :: else
        fi;
#endif
        last = false
    :: else
    fi
}

#ifdef LOCAL
#define ALL 1

inline announce()
{
    skip
}

inline retract()
{
    skip
}
#else
#define ALL 3

inline announce()
{
    atomic {
        FLUSH(me);
        asleep[me] = true;
        memory[IDLE_WORD] = memory[IDLE_WORD] + 16 - (searching -> 1 : 0);
        searching = false
    }
}

/* No sleeper any more; a searcher, if it was woken to search. */
inline retract()
{
    atomic {
        FLUSH(me);
        if
        :: asleep[me] -> memory[IDLE_WORD] = memory[IDLE_WORD] - 16
        :: else -> searching = true
        fi;
        asleep[me] = false
    }
}
#endif

inline exchange_state(value)
{
    atomic {
        FLUSH(me);
        notified = (memory[STATE(me)] == NOTIFIED);
        memory[STATE(me)] = value
    }
}

/* The inbox and has_work. */
inline look()
{
    atomic {
        LOAD(me, INBOX(me), seen);
        found = (seen != 0);
        seen = 0
    };
    if
    :: !found ->
        atomic {
            LOAD(me, TAIL, seen);
            found = (memory[HEAD] != seen); /* head moves by compare-and-swap only: never in a store buffer */
            seen = 0
        }
    :: else
    fi
}

proctype worker(byte me)
{
    byte seen, sleeper;
    bool searching, found, last, notified;

again:
    atomic { /* drain the inbox: an exchange */
        FLUSH(me);
        found = (memory[INBOX(me)] != 0);
        memory[INBOX(me)] = 0
    };
    if
#ifndef LOCAL
    :: !found ->
        if
        :: !searching ->
            atomic {
                FLUSH(me);
                if
                :: 2 * (memory[IDLE_WORD] % 16) < WORKERS + 1 ->
                    memory[IDLE_WORD] = memory[IDLE_WORD] + 1;
                    searching = true
                :: else
                fi
            }
        :: else
        fi;
        if
        :: searching ->
            atomic { /* the ring's compare-and-swap */
                FLUSH(me);
                found = (memory[HEAD] != memory[TAIL]);
                memory[HEAD] = memory[HEAD] + (found -> 1 : 0)
            }
        :: else
        fi
#endif
    :: else
    fi;
    if
    :: found ->
        found = false;
        stop_searching();
        atomic { /* on worker 1 the first of two tasks waits for the second: worker 0 must run that */
            ran++;
            if
            :: me == 1 && memory[TAIL] == 2 && memory[HEAD] == 1 -> skip
            :: else -> goto again
            fi
        };
end_stuck:
        ran == ALL;
        goto again
    :: else
    fi;

    /* park */
#ifdef BUG1
    look();
#endif
#ifdef BUG2
    STORE(me, STATE(me), IDLE);
#else
    exchange_state(IDLE);
    if
    :: notified ->
        exchange_state(RUNNING);
        notified = false;
        goto again
    :: else
    fi;
#endif
#ifdef BUG3
    look();
#endif
    announce();
#if !defined(BUG1) && !defined(BUG3)
    look();
#endif
    if
    :: !found ->
        atomic { /* CAS IDLE -> PARKED */
            FLUSH(me);
            if
            :: memory[STATE(me)] == IDLE -> memory[STATE(me)] = PARKED
            :: else -> found = true
            fi
        }
    :: else
    fi;
    if
    :: !found ->
end_wait:
        atomic {
            doorbell[me] -> doorbell[me] = false
        }
    :: else -> found = false
    fi;
    exchange_state(RUNNING);
    notified = false;
    retract();
    goto again
}

proctype poster(byte me)
{
    atomic { /* the push is a compare-and-swap */
        FLUSH(me);
        memory[INBOX(0)] = 1
    };
    notify(0)
}

proctype maker(byte me)
{
    byte seen, sleeper;

    STORE(me, TAIL, 1);
    wake_one();
    STORE(me, TAIL, 2);
    wake_one()
}

init
{
    atomic {
        run worker(0);
        run worker(1);
#ifndef LOCAL
        run maker(MAKER);
#endif
        run poster(POSTER)
    };
    timeout ->
    assert(ran == ALL)
}
