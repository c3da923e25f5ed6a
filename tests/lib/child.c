/*
 * child.c: functions of the test program in a fresh process of it.
 *
 * Not fork(2) alone: a child of a process with a runtime may not use the library, and under the sanitizers a
 * fork of many threads is not worth the trouble. The program is executed again, with the function's name.
 */
#include "nxt.h"
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

#define CHANGES_MAX 64

static struct nxt_child *children;

void nxt_register_child(struct nxt_child *child)
{
    child->next = children;
    children = child;
}

int nxt_child_main(const char *name)
{
    for (const struct nxt_child *child = children; child; child = child->next) {
        if (strcmp(child->name, name) != 0)
            continue;
        nxt_watchdog_start();
        nxt_watchdog_set(name, 20 * (NXT_ASAN || NXT_TSAN ? 4 : 1));
        int status = child->body();
        return nxt_expect_report() > 0 ? NXT_CHILD_FAILED : status;
    }
    fprintf(stderr, "nxt: no child is called %s\n", name);
    return NXT_CHILD_FAILED;
}

/* ---- the environment ---- */

static bool same_name(const char *left, const char *right)
{
    size_t length = strcspn(left, "=");
    return strcspn(right, "=") == length && strncmp(left, right, length) == 0;
}

static bool is_changed(const char *entry, const char *const *changes)
{
    for (size_t i = 0; changes && changes[i]; i++)
        if (same_name(entry, changes[i]))
            return true;
    return false;
}

static char **make_environment(const char *const *changes)
{
    size_t count = 0;
    while (environ[count])
        count++;
    char **made = calloc(count + CHANGES_MAX + 1, sizeof(*made));
    if (!made)
        abort();
    size_t at = 0;
    for (size_t i = 0; i < count; i++)
        if (!is_changed(environ[i], changes))
            made[at++] = environ[i];
    for (size_t i = 0; changes && changes[i] && i < CHANGES_MAX; i++)
        if (strchr(changes[i], '='))
            made[at++] = (char *)changes[i];
    return made;
}

/* ---- its output ---- */

struct reader {
    int fd;
    char *text;
    size_t size, length;
};

/* Takes what is there, also what has no room, or the child would stop. False at the end of the stream. */
static bool take(struct reader *reader)
{
    char chunk[4096];
    ssize_t got = read(reader->fd, chunk, sizeof(chunk));
    if (got <= 0)
        return got < 0 && errno == EINTR;
    size_t room = reader->size - 1 - reader->length, kept = (size_t)got < room ? (size_t)got : room;
    memcpy(reader->text + reader->length, chunk, kept);
    reader->length += kept;
    return true;
}

static void read_both(struct reader *readers)
{
    int open = 2;
    while (open > 0) {
        struct pollfd fds[2] = {{.fd = readers[0].fd, .events = POLLIN}, {.fd = readers[1].fd, .events = POLLIN}};
        if (poll(fds, 2, -1) < 0)
            continue;
        for (int i = 0; i < 2; i++) {
            if (fds[i].revents == 0 || take(&readers[i]))
                continue;
            close(readers[i].fd);
            readers[i].fd = -1;
            open--;
        }
    }
    for (int i = 0; i < 2; i++)
        readers[i].text[readers[i].length] = '\0';
}

/* ---- running ---- */

static int spawn(const char *const *args, char **environment, const int *out, const int *err, pid_t *ret_pid)
{
    static char self[] = "/proc/self/exe";
    char *emulator = getenv("NXT_EMULATOR"), guest[PATH_MAX] = "";
    char *arguments[8] = {self};
    size_t count = 1;
    if (emulator && *emulator && readlink(self, guest, sizeof(guest) - 1) > 0) { /* this machine can't run it itself */
        arguments[0] = emulator;
        arguments[count++] = guest;
    }
    for (size_t i = 0; count < NXT_COUNT(arguments) - 1 && args[i]; i++)
        arguments[count++] = (char *)args[i];
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out[1], 1);
    posix_spawn_file_actions_adddup2(&actions, err[1], 2);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigmask(&attributes, &none); /* a task's thread blocks them */
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int error = posix_spawn(ret_pid, arguments[0], &actions, &attributes, arguments, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -error;
}

int nxt_spawn_self(const char *const *args, const char *const *changes, struct nxt_output *output)
{
    *output = (struct nxt_output){.status = -1};
    int out[2], err[2];
    if (!nxt_pipe(out))
        return -EMFILE;
    if (!nxt_pipe(err)) {
        nxt_close_fd(&out[0]);
        nxt_close_fd(&out[1]);
        return -EMFILE;
    }
    pid_t pid;
    char **environment = make_environment(changes);
    int error = spawn(args, environment, out, err, &pid);
    free(environment);
    nxt_close_fd(&out[1]);
    nxt_close_fd(&err[1]);
    if (error < 0) {
        nxt_close_fd(&out[0]);
        nxt_close_fd(&err[0]);
        return error;
    }
    read_both((struct reader[]){{.fd = out[0], .text = output->out, .size = sizeof(output->out)},
                                {.fd = err[0], .text = output->err, .size = sizeof(output->err)}});
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (WIFEXITED(status))
        output->status = WEXITSTATUS(status);
    else
        output->signal = WTERMSIG(status);
    return 0;
}

void nxt_run_child_named(const char *name, const char *const *changes, struct nxt_output *output)
{
    int error = nxt_spawn_self((const char *[]){"--child", name, NULL}, changes, output);
    if (error < 0)
        nxt_fail(__FILE__, __LINE__, "can't start the child %s: %s", name, strerror(-error));
    if (output->status == NXT_CHILD_FAILED) {
        nxt_fail(__FILE__, __LINE__, "an expectation failed in the child %s", name);
        nxt_show_output(output);
    }
}

void nxt_run_hidden_case(const char *name, const char *const *changes, struct nxt_output *output)
{
    int error = nxt_spawn_self((const char *[]){"--hidden", name, NULL}, changes, output);
    if (error < 0)
        nxt_fail(__FILE__, __LINE__, "can't start the case %s: %s", name, strerror(-error));
}

static void show(const char *which, const char *text)
{
    while (*text) {
        int length = (int)strcspn(text, "\n");
        printf("# %s: %.*s\n", which, length, text);
        text += length + (text[length] == '\n');
    }
}

void nxt_show_output(const struct nxt_output *output)
{
    printf("# child: exit status %d, signal %d\n", output->status, output->signal);
    show("stdout", output->out);
    show("stderr", output->err);
    fflush(stdout);
}
