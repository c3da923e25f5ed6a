/*
 * deque.pml: every task in a ring is given out exactly once.
 *
 * Stands for sched/work_stealing.c (ring_push, ring_room, slot_take, steal_take). A ring of two slots; an owner that pushes
 * three tasks, takes the oldest as it goes, or the youngest from the end, as for a parent that waits for it; two thieves
 * that each look once from head to tail and take what they find. A slot is taken by an exchange, head and tail are plain
 * stores of the owner. Indices are not wrapped here (the unit tests and the model do that); slots are reused. The oracles:
 * no task is taken twice; when nothing can move any more, none is left.
 *
 *   BUG1  the owner takes by a load and a store instead of an exchange
 *   BUG2  a thief does
 *   BUG3  the owner fills a slot without looking whether it is empty
 *   BUG4  after a take from the end, tail goes back over what is before it
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
        assert(given[task] == 0);
        given[task] = 1;
        task = 0
    }
}

inline exchange(index)
{
    atomic {
        FLUSH(me);
        task = memory[SLOT(index)];
        memory[SLOT(index)] = 0
    }
}

inline load_and_store(index)
{
    LOAD(me, SLOT(index), task);
    STORE(me, SLOT(index), 0)
}

/* What is at index, if anything. */
inline take(index)
{
    LOAD(me, SLOT(index), task);
    if
    :: task != 0 ->
#ifdef BUG1
        if
        :: me == OWNER -> load_and_store(index)
        :: else -> exchange(index)
        fi;
#else
#ifdef BUG2
        if
        :: me != OWNER -> load_and_store(index)
        :: else -> exchange(index)
        fi;
#else
        exchange(index);
#endif
#endif
        if
        :: task != 0 -> give(task)
        :: else
        fi
    :: else
    fi
}

active proctype owner()
{
    byte me = OWNER, head, tail, task, next = 1;

    do
    :: next <= TASKS ->
        if
        :: tail - head == SIZE -> /* full: what thieves have emptied is room; else this is spilled */
#ifndef BUG3
            take(head);
#endif
            head++;
            STORE(me, HEAD, head)
        :: else
        fi;
        STORE(me, SLOT(tail), next);
        tail++;
        STORE(me, TAIL, tail);
        next++;
        if
        :: tail > head -> /* the oldest */
            take(head);
            head++;
            STORE(me, HEAD, head)
        :: tail > head -> /* the youngest */
            take(tail - 1);
            tail--;
#ifdef BUG4
            tail = head;
#endif
            STORE(me, TAIL, tail)
        :: skip
        fi
    :: else -> break
    od;
    do
    :: head < tail ->
        take(head);
        head++;
        STORE(me, HEAD, head)
    :: else -> break
    od
}

/* Each pair of head and tail may be older than the slots. */
proctype thief(byte me)
{
    byte head, tail, task;

    LOAD(me, HEAD, head);
    LOAD(me, TAIL, tail);
    do
    :: head < tail ->
        take(head);
        head++
    :: else -> break
    od
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
