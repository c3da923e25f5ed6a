/*
 * order: shows the policy of a scheduler: a line of TURNS letters, one for each time a task was run.   order [TURNS]
 *
 *     NEXUS_SCHED=edf:low=32 ./order
 *
 * Three tasks, of high (h), normal (n) and low (l) priority, are always ready: each writes its letter and yields.
 */
#include <nexus/nexus.h>
#include <stdio.h>
#include <stdlib.h>

static char line[4096];
static int written, turns = 64;

static intptr_t writes(void *letter)
{
    while (written < turns) { /* they share a worker, and none is interrupted: no lock is needed */
        line[written++] = *(const char *)letter;
        nx_yield();
    }
    return 0;
}

static intptr_t start(void *arg)
{
    static const struct {
        char letter;
        enum nx_priority priority;
    } kinds[] = {{'l', NX_PRIO_LOW}, {'n', NX_PRIO_NORMAL}, {'h', NX_PRIO_HIGH}};
    nx_task tasks[3];

    (void)arg;
    for (int i = 0; i < 3; i++) {
        nx_task_options options = {.size = sizeof(options), .priority = kinds[i].priority, .worker_plus_1 = 1};

        tasks[i] = nx_spawn_with(&options, writes, (void *)&kinds[i].letter);
        if (tasks[i] < 0)
            nx_panic("spawn: %s", nx_strerror((int)tasks[i]));
    }
    for (int i = 0; i < 3; i++)
        nx_join(tasks[i], NULL, NX_FOREVER);
    puts(line);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        turns = atoi(argv[1]);
    if (turns < 1 || turns >= (int)sizeof(line)) {
        fprintf(stderr, "usage: order [TURNS], at most %zu\n", sizeof(line) - 1);
        return 2;
    }
    return nx_run(start, NULL);
}
