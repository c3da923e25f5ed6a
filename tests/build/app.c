/* A user's program, as C and as C++: a task spawns another, sleeps and joins it. */
#include <nexus/nexus.h>
#include <stdio.h>

static intptr_t twice(void *arg)
{
    int *number = (int *)arg;

    if (nx_sleep_ms(1) != 0)
        return -1;
    return 2 * *number;
}

static intptr_t start(void *arg)
{
    int number = 21;
    intptr_t result = 0;
    nx_task task = nx_spawn(twice, &number);

    (void)arg;
    if (task < 0 || nx_join(task, &result, nx_after_ms(10000)) != 0)
        return 1;
    printf("%d\n", (int)result);
    return result == 42 ? 0 : 1;
}

int main(void)
{
    return nx_run(start, NULL);
}
