/*
 * memory.pml: shared words under two memories, for the models beside it.
 *
 * Without TSO: sequential consistency. With -DTSO: x86's store buffers, one store deep per process: STORE parks the value,
 * and the process's store_buffer, a process of its own, writes it at any later time; LOAD sees the reader's own parked
 * store; an RMW and a second STORE write what is parked first. One store deep is enough to let a store be overtaken by a
 * later load, which is all that x86 adds.
 *
 * The model defines WORDS and PROCESSES and numbers its processes from 0 (me). An RMW is an atomic step that begins with
 * FLUSH(me) and uses memory[] directly.
 */
byte memory[WORDS];

#ifdef TSO
#define NOTHING 255
byte parked_word[PROCESSES] = NOTHING;
byte parked_value[PROCESSES];

inline FLUSH(me)
{
    if
    :: parked_word[me] != NOTHING ->
        memory[parked_word[me]] = parked_value[me];
        parked_word[me] = NOTHING;
        parked_value[me] = 0
    :: else
    fi
}

inline LOAD(me, word, into)
{
    atomic {
        if
        :: parked_word[me] == word -> into = parked_value[me]
        :: else -> into = memory[word]
        fi
    }
}

inline STORE(me, word, value)
{
    atomic {
        FLUSH(me);
        parked_word[me] = word;
        parked_value[me] = value
    }
}

/* The hardware. The first processes of the model: _pid counts from 0. */
active [PROCESSES] proctype store_buffer()
{
end:
    do
    :: atomic {
        parked_word[_pid] != NOTHING -> FLUSH(_pid)
    }
    od
}
#else
inline FLUSH(me)
{
    skip
}

inline LOAD(me, word, into)
{
    into = memory[word]
}

inline STORE(me, word, value)
{
    memory[word] = value
}
#endif
