/*
 * deque.pml: every task in a ring is given out exactly once.
 *
 * Stands for sched/work_stealing.c (ring_push, ring_spill, ring_take, ring_steal). A ring of two slots; an owner that pushes
 * three tasks, spilling the older half when it is full and popping as it goes; two thieves that each take the oldest, or
 * half, into rings of their own. head moves by compare-and-swap, tail and slots by plain stores. Indices are not wrapped
 * here (the unit tests and the model do that); slots are reused. The oracles: no task is taken twice; when nothing can move
 * any more, none is left.
 *
 *   BUG1  the owner pops the last task by a plain store instead of a compare-and-swap
 *   BUG2  the owner pops by a plain store where two or more are left: a thief may take half meanwhile
 *   BUG3  a thief copies after its compare-and-swap, from a slot that may be written again
 *   BUG4  the owner publishes tail before the slot is written
 */
#define OWNER 0
#define PROCESSES 3
#define SIZE 2
#define TASKS 3

/* words */
#define HEAD 0
#define TAIL 1
#define SLOT(i) (2 + (i) % SIZE)
#define WORDS 4

#include "memory.pml"

byte given[TASKS + 1]; /* tasks are 1 .. TASKS; 0 is an empty slot's */

inline give(task)
{
    atomic {
        assert(task != 0 && given[task] == 0);
        given[task] = 1;
        task = 0
    }
}

/* Of the head: won, and then it is `to`. */
inline compare_and_swap(from, to)
{
    atomic {
        FLUSH(me);
        won = (memory[HEAD] == from);
        memory[HEAD] = (won -> to : memory[HEAD])
    }
}

/* The oldest; the owner's and the thieves'. found: there was one, which may have been lost to another. */
inline take()
{
    LOAD(me, HEAD, head);
    LOAD(me, TAIL, tail);
    found = (head < tail);
    if
    :: found ->
        LOAD(me, SLOT(head), task);
#ifdef BUG1
        if
        :: me == OWNER && tail - head == 1 ->
            STORE(me, HEAD, tail);
            won = true
        :: else -> compare_and_swap(head, head + 1)
        fi;
#else
#ifdef BUG2
        if
        :: me == OWNER && tail - head > 1 ->
            tail = head + 1;
            STORE(me, HEAD, tail);
            won = true
        :: else -> compare_and_swap(head, head + 1)
        fi;
#else
        compare_and_swap(head, head + 1);
#ifdef BUG3
        LOAD(me, SLOT(head), task);
#endif
#endif
#endif
        if
        :: won -> give(task)
        :: else -> task = 0
        fi
    :: else
    fi
}

active proctype owner()
{
    byte me = OWNER, head, tail, task, next = 1;
    bool won, found;

    do
    :: next <= TASKS ->
        LOAD(me, HEAD, head);
        LOAD(me, TAIL, tail);
        if
        :: tail - head == SIZE -> /* spill the older half: it goes to the shared queue, here: it is done */
            compare_and_swap(head, head + SIZE / 2);
            if
            :: won ->
                LOAD(me, SLOT(head), task);
                give(task)
            :: else
            fi
        :: else
        fi;
#ifdef BUG4
        STORE(me, TAIL, tail + 1);
        STORE(me, SLOT(tail), next);
#else
        STORE(me, SLOT(tail), next);
        STORE(me, TAIL, tail + 1);
#endif
        next++;
        if
        :: take()
        :: skip
        fi
    :: else -> break
    od;
    do
    :: take();
        if
        :: found
        :: else -> break
        fi
    od
}

/* Takes one, then up to half of what is left, by one compare-and-swap, as steal_rings does. */
proctype thief(byte me)
{
    byte head, tail, task, more;
    bool won, found;

    take();
    LOAD(me, HEAD, head);
    LOAD(me, TAIL, tail);
    if
    :: tail > head && (tail - head) / 2 > 0 && tail - head <= SIZE ->
        more = 0;
        LOAD(me, SLOT(head), more);
        compare_and_swap(head, head + (tail - head) / 2);
        if
        :: won -> give(more)
        :: else -> more = 0
        fi
    :: else
    fi
}

init
{
    atomic {
        run thief(1);
        run thief(2)
    };
    timeout ->
    assert(given[1] == 1 && given[2] == 1 && given[3] == 1)
}
