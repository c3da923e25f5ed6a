/* hello: three tasks wait at the same time, on however few threads. Builds as C and as C++. */
#include <nexus/nexus.h>
#include <stdio.h>

static intptr_t greet(void *name)
{
    nx_sleep_ms(100); /* suspends the task, not the thread */
    return printf("hello, %s\n", (const char *)name) > 0 ? 0 : 1;
}

static intptr_t hello(void *arg)
{
    static char names[3][8] = {"kernel", "driver", "task"};
    nx_task tasks[3];
    (void)arg;
    for (int i = 0; i < 3; i++)
        tasks[i] = nx_spawn(greet, names[i]);
    for (int i = 0; i < 3; i++)
        nx_join(tasks[i], NULL, NX_FOREVER);
    return 0;
}

int main(void)
{
    return nx_run(hello, NULL);
}
