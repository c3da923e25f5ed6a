/* conform_process.c: nx_process_...: child processes, their pipes, their ends. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "nxt_net.h"
#include <fcntl.h>
#include <nexus/process.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define ARGV(...) ((const char *const[]){__VA_ARGS__, NULL})
#define WITH(...) (&(const nx_process_options){.size = sizeof(nx_process_options), __VA_ARGS__})
#define SHELL(script) ARGV("/bin/sh", "-c", script)

static nx_process *spawn(const nx_process_options *options)
{
    nx_process *process = NULL;
    nxt_expect_eq(nx_process_spawn(options, &process), 0);
    return process;
}

/* Waits and closes: the status of waitpid(2), or the error. */
static int status_of(nx_process *process)
{
    int status = -1;
    int error = nx_process_wait(process, &status, NX_FOREVER);
    nxt_expect_eq(nx_process_close(process), 0);
    return error < 0 ? error : status;
}

/* All that comes, as text. Closes the stream. */
static void read_text(nx_stream *stream, char *ret_text, size_t size)
{
    size_t used = 0;
    ssize_t n = 0;
    ret_text[0] = '\0';
    nxt_require(stream);
    while (used < size - 1 && (n = nx_read(stream, ret_text + used, size - 1 - used, NX_FOREVER)) > 0)
        used += (size_t)n;
    nxt_expect_ge(n, 0);
    ret_text[used] = '\0';
    nx_close(stream);
}

static void expect_output(const nx_process_options *options, const char *expected)
{
    char text[4096];
    nx_process *process = spawn(options);
    nxt_require(process);
    read_text(nx_process_take_stdout(process), text, sizeof(text));
    nxt_expect_eq(status_of(process), 0);
    nxt_expect_str(text, expected);
}

/* A zombie or a living child: waitpid of anything says that there is one. */
static bool have_children(void)
{
    siginfo_t info = {0};
    return waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0;
}

/* ---- its end ---- */

NXT_TASK_TEST(the_status_is_that_of_waitpid)
{
    nxt_expect_eq(status_of(spawn(WITH(.argv = ARGV("true")))), 0);
    int status = status_of(spawn(WITH(.argv = SHELL("exit 7"))));
    nxt_expect(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    status = status_of(spawn(WITH(.argv = SHELL("kill -TERM $$"))));
    nxt_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    nxt_expect(!have_children());
}

struct waiting {
    nx_process *process;
    int status;
};

static intptr_t wait_for_end(void *arg)
{
    struct waiting *waiting = arg;
    return nx_process_wait(waiting->process, &waiting->status, NX_FOREVER);
}

NXT_TASK_TEST(many_may_wait_and_all_get_the_same, .workers = 2)
{
    nx_process *process = spawn(WITH(.argv = ARGV("cat"), .in = NX_STDIO_PIPE));
    nxt_require(process);
    struct waiting waiting[6];
    nx_task tasks[6];
    for (int i = 0; i < 6; i++) {
        waiting[i] = (struct waiting){process, -1};
        tasks[i] = nxt_task_on(i % 2, wait_for_end, &waiting[i]);
        nxt_await_parked(tasks[i]);
    }
    nx_close(nx_process_take_stdin(process)); /* end of file: cat ends */
    for (int i = 0; i < 6; i++) {
        nxt_expect_eq(nxt_result(tasks[i]), 0);
        nxt_expect_eq(waiting[i].status, 0);
    }
    nxt_expect_eq(status_of(process), 0);
}

NXT_TASK_TEST(a_wait_has_a_deadline_and_heeds_a_cancel_and_may_be_repeated)
{
    nx_process *process = spawn(WITH(.argv = ARGV("sleep", "1000")));
    nxt_require(process);
    int status = 77;
    nxt_expect_eq(nx_process_wait(process, &status, NX_POLL), -EAGAIN);
    nxt_expect_eq(nx_process_wait(process, &status, nx_after_ms(2)), -ETIMEDOUT);
    nxt_expect_eq(nx_process_wait(process, &status, 1), -ETIMEDOUT);
    struct waiting waiting = {process, 77};
    nx_task task = nx_spawn(wait_for_end, &waiting);
    nxt_await_parked(task);
    nx_cancel(task);
    nxt_expect_eq(nxt_result(task), -ECANCELED);
    nxt_expect_eq(status, 77);
    nxt_expect_eq(nx_process_kill(process, SIGKILL), 0);
    nxt_expect_eq(nx_process_wait(process, &status, NX_FOREVER), 0);
    nxt_expect(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    nxt_expect_eq(nx_process_wait(process, NULL, NX_POLL), 0);
    nxt_expect_eq(nx_process_kill(process, SIGKILL), -ESRCH);
    nxt_expect_eq(nx_process_close(process), 0);
}

NXT_TASK_TEST(a_process_that_has_ended_is_not_killed_even_before_it_is_waited_for)
{
    nx_process *process = spawn(WITH(.argv = ARGV("true")));
    nxt_require(process);
    siginfo_t info = {0};
    nxt_await(waitid(P_PID, (id_t)nx_process_pid(process), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid);
    nxt_expect_eq(nx_process_kill(process, SIGTERM), -ESRCH);
    nxt_expect_eq(nx_process_kill(process, -1), -EINVAL);
    nxt_expect_eq(nx_process_kill(NULL, SIGTERM), -EINVAL);
    nxt_expect_eq(status_of(process), 0);
}

/* ---- what can't be started ---- */

NXT_TASK_TEST(exec_errors_are_known_when_spawn_returns)
{
    if (!nxt_can_vfork()) {
        nxt_skip("a child doesn't share its parent's memory here, as vfork(2) promises: its exec's error is lost");
        return;
    }
    nx_process *process = (nx_process *)&process, *untouched = process;
    const char *plain = nxt_temp_path("plain");
    int fd = open(plain, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    nxt_expect_eq(nx_process_spawn(WITH(.argv = ARGV("/nowhere/at/all")), &process), -ENOENT);
    nxt_expect_eq(nx_process_spawn(WITH(.argv = ARGV("no-such-program-in-the-path")), &process), -ENOENT);
    nxt_expect_eq(nx_process_spawn(WITH(.argv = ARGV(plain)), &process), -EACCES);
    nxt_expect_eq(nx_process_spawn(WITH(.argv = ARGV("true"), .cwd = "/nowhere/at/all"), &process), -ENOENT);
    nxt_expect_eq(nx_process_spawn(WITH(.argv = ARGV("/nowhere"), .in = NX_STDIO_PIPE, .out = NX_STDIO_PIPE), &process),
                  -ENOENT);
    nxt_expect(process == untouched);
    nxt_expect(!have_children());
    close(fd);
    unlink(plain);
}

NXT_TASK_TEST(bad_options_are_refused)
{
    nx_process *process;
    nxt_expect_eq(nx_process_spawn(NULL, &process), -EINVAL);
    nxt_expect_eq(nx_process_spawn(WITH(.argv = NULL), &process), -EINVAL);
    nxt_expect_eq(nx_process_spawn(WITH(.argv = (const char *const[]){NULL}), &process), -EINVAL);
    nxt_expect_eq(nx_process_spawn(WITH(.argv = ARGV("true")), NULL), -EINVAL);
    nxt_expect_eq(nx_process_spawn(WITH(.argv = ARGV("true"), .in = 9), &process), -EINVAL);
    nxt_expect_eq(nx_process_spawn(WITH(.argv = ARGV("true"), .out = NX_STDIO_STDOUT), &process), -EINVAL);
    nxt_expect_eq(nx_process_spawn(WITH(.argv = ARGV("true"), .err = NX_STDIO_FD, .err_fd = -1), &process), -EINVAL);
    nxt_expect_eq(nx_process_spawn(WITH(.argv = ARGV("true"), .in = NX_STDIO_FD, .in_fd = 999), &process), -EBADF);
    nxt_expect_eq(nx_process_wait(NULL, NULL, NX_FOREVER), -EINVAL);
    nxt_expect_eq(nx_process_pid(NULL), -EINVAL);
    nxt_expect(nx_process_take_stdin(NULL) == NULL);
    nxt_expect_eq(nx_process_close(NULL), 0);
}

NXT_TEST(outside_a_task_there_is_no_spawning)
{
    nx_process *process;
    nxt_expect_eq(nx_process_spawn(WITH(.argv = ARGV("true")), &process), -NX_ENOTASK);
    nxt_expect_eq(nx_process_wait(NULL, NULL, NX_FOREVER), -NX_ENOTASK);
    nxt_expect_eq(nx_process_close(NULL), -NX_ENOTASK);
}

/* ---- what it gets ---- */

NXT_TASK_TEST(pipes_carry_data_both_ways)
{
    static char sent[100000], got[sizeof(sent) + 1];
    nx_process *process = spawn(WITH(.argv = ARGV("cat"), .in = NX_STDIO_PIPE, .out = NX_STDIO_PIPE));
    nxt_require(process);
    nx_stream *in = nx_process_take_stdin(process), *out = nx_process_take_stdout(process);
    nxt_expect(in && out && nx_process_take_stderr(process) == NULL);
    nxt_expect(nx_process_take_stdin(process) == NULL); /* it is taken once */
    nxt_fill(sent, sizeof(sent), 0, 3);
    struct nxt_stream_flow flow = {in, {.len = sizeof(sent), .seed = 3, .chunk = 5000}};
    nx_task writer = nx_spawn(nxt_stream_send, &flow);
    nxt_expect_eq(nx_read_exact(out, got, sizeof(sent), NX_FOREVER), sizeof(sent));
    nxt_expect_eq(nxt_result(writer), sizeof(sent));
    nxt_expect_eq(nxt_check_fill(got, sizeof(sent), 0, 3), sizeof(sent));
    nx_close(in);
    nxt_expect_eq(nx_read(out, got, 1, NX_FOREVER), 0);
    nx_close(out);
    nxt_expect_eq(status_of(process), 0);
}

NXT_TASK_TEST(stderr_may_go_its_own_way_or_where_stdout_goes)
{
    char text[64];
    nx_process *process =
        spawn(WITH(.argv = SHELL("echo one; echo two >&2"), .out = NX_STDIO_NULL, .err = NX_STDIO_PIPE));
    nxt_require(process);
    read_text(nx_process_take_stderr(process), text, sizeof(text));
    nxt_expect_str(text, "two\n");
    nxt_expect_eq(status_of(process), 0);
    expect_output(WITH(.argv = SHELL("echo one; echo two >&2"), .out = NX_STDIO_PIPE, .err = NX_STDIO_STDOUT),
                  "one\ntwo\n");
}

NXT_TASK_TEST(directory_environment_and_path_are_as_asked)
{
    expect_output(WITH(.argv = ARGV("pwd"), .cwd = "/", .out = NX_STDIO_PIPE), "/\n");
    expect_output(WITH(.argv = ARGV("/usr/bin/env"), .envp = ARGV("A=1", "B=two"), .out = NX_STDIO_PIPE),
                  "A=1\nB=two\n");
    expect_output(WITH(.argv = ARGV("cat"), .in = NX_STDIO_NULL, .out = NX_STDIO_PIPE), "");
}

NXT_TASK_TEST(descriptors_of_the_caller_may_be_exchanged)
{
    int fds[2];
    char text[16] = "";
    nxt_require(nxt_pipe(fds));
    nx_process *process =
        spawn(WITH(.argv = SHELL("echo hello"), .out = NX_STDIO_FD, .out_fd = fds[1], .err = NX_STDIO_NULL));
    nxt_expect_eq(status_of(process), 0);
    nxt_close_fd(&fds[1]); /* still ours */
    nxt_expect_eq(nxt_read_all(fds[0], text, sizeof(text)), 6);
    nxt_expect_str(text, "hello\n");
    nxt_close_fd(&fds[0]);
    /* 2 as its stdout and 1 as its stderr: neither overwrites the other before it is used */
    process = spawn(WITH(.argv = SHELL("[ /proc/self/fd/1 -ef /proc/$PPID/fd/2 ] && [ /proc/self/fd/2 -ef "
                                       "/proc/$PPID/fd/1 ]"),
                         .out = NX_STDIO_FD, .out_fd = 2, .err = NX_STDIO_FD, .err_fd = 1));
    nxt_expect_eq(status_of(process), 0);
}

NXT_TASK_TEST(no_other_descriptor_is_open_in_it)
{
    int open_one = fcntl(0, F_DUPFD, 50); /* without FD_CLOEXEC */
    nxt_expect_ge(open_one, 50);
    /* What the shell itself had open while it listed them is gone by then. */
    expect_output(WITH(.argv = SHELL("for i in /proc/$$/fd/*; do [ ${i##*/} -gt 2 ] && [ -e $i ] && echo $i; done; "
                                     "true"),
                       .out = NX_STDIO_PIPE),
                  "");
    close(open_one);
}

/* A line of /proc/.../status. */
static uint64_t mask_of(const char *text, const char *name)
{
    const char *line = strstr(text, name);
    nxt_require(line, UINT64_MAX);
    return strtoull(line + strlen(name), NULL, 16);
}

NXT_TASK_TEST(signals_are_as_at_a_programs_start)
{
    if (nxt_is_emulated()) {
        nxt_skip("the emulator ignores signals of its own");
        return;
    }
    /* A worker blocks nearly all, and this process ignores one. */
    struct sigaction ignore = {.sa_handler = SIG_IGN}, old;
    sigaction(SIGUSR2, &ignore, &old);
    char text[4096];
    nx_process *process = spawn(WITH(.argv = ARGV("cat", "/proc/self/status"), .out = NX_STDIO_PIPE));
    nxt_require(process);
    read_text(nx_process_take_stdout(process), text, sizeof(text));
    nxt_expect_eq(status_of(process), 0);
    nxt_expect_eq(mask_of(text, "SigBlk:"), 0);
    nxt_expect_eq(mask_of(text, "SigIgn:") & ~UINT64_C(0x180000000), 0); /* glibc's own two */
    sigaction(SIGUSR2, &old, NULL);
}

NXT_TASK_TEST(a_new_session_is_one)
{
    if (!nxt_can_vfork()) {
        nxt_skip("a child has not begun to run its program when its parent goes on, as vfork(2) promises");
        return;
    }
    nx_process *process = spawn(WITH(.argv = ARGV("sleep", "1000"), .new_session = true));
    nxt_require(process);
    nxt_expect_eq(getsid(nx_process_pid(process)), nx_process_pid(process));
    nxt_expect_eq(nx_process_kill(process, SIGKILL), 0);
    nxt_expect(WIFSIGNALED(status_of(process)));
    process = spawn(WITH(.argv = ARGV("sleep", "1000")));
    nxt_require(process);
    nxt_expect_eq(getsid(nx_process_pid(process)), getsid(0));
    nxt_expect_eq(nx_process_kill(process, SIGKILL), 0);
    nxt_expect(WIFSIGNALED(status_of(process)));
}

/* ---- closing ---- */

NXT_TASK_TEST(one_that_is_closed_while_it_runs_goes_on_and_leaves_no_zombie)
{
    const char *mark = nxt_temp_path("mark");
    char script[512];
    snprintf(script, sizeof(script), "read line; echo $line >%s", mark);
    nx_process *process = spawn(WITH(.argv = SHELL(script), .in = NX_STDIO_PIPE));
    nxt_require(process);
    nx_stream *in = nx_process_take_stdin(process);
    nxt_expect_eq(nx_process_close(process), 0);
    nxt_expect(have_children());
    nxt_expect_eq(nx_write(in, "go\n", 3, NX_FOREVER), 3);
    nx_close(in);
    nxt_await(!have_children()); /* it has ended, and was reaped */
    nxt_expect_eq(unlink(mark), 0);
}

NXT_TASK_TEST(many_that_are_closed_at_once_are_all_reaped)
{
    for (int64_t i = 0; i < nxt_scaled(20, 5); i++) {
        nx_process *process = spawn(WITH(.argv = ARGV("true")));
        nxt_require(process);
        nxt_expect_eq(nx_process_close(process), 0);
    }
    nxt_await(!have_children());
}

static intptr_t spawn_and_leave(void *arg)
{
    nx_process *process = spawn(WITH(.argv = ARGV("cat"), .in = NX_STDIO_FD, .in_fd = *(int *)arg));
    nxt_require(process, -1);
    return nx_process_close(process);
}

NXT_TEST(one_that_outlives_the_runtime_is_reaped_too)
{
    int fds[2];
    nxt_require(nxt_pipe(fds));
    nx_runtime *runtime = nxt_start(NULL);
    nxt_require(runtime);
    intptr_t result = -1;
    nxt_expect_eq(nx_block_on(runtime, spawn_and_leave, &fds[0], &result), 0);
    nxt_expect_eq(result, 0);
    nxt_stop(runtime);
    nxt_expect(have_children());
    nxt_close_fd(&fds[1]); /* end of file: it ends */
    nxt_await(!have_children());
    nxt_close_fd(&fds[0]);
}

/* ---- children that others reap ---- */

/* The kernel reaps by itself, and a program that ends fast may be gone before its pidfd can be had. */
NXT_TASK_TEST(a_status_is_not_lost_where_sigchld_is_ignored, .workers = 2)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN}, before;
    siginfo_t info;
    nxt_expect_eq(sigaction(SIGCHLD, &ignore, &before), 0);
    nx_process *process = spawn(WITH(.argv = SHELL("read line; exit 7"), .in = NX_STDIO_PIPE));
    if (nxt_expect(process)) {
        nx_close(nx_process_take_stdin(process));
        int status = status_of(process);
        nxt_expect(status == 7 << 8 || status == -ECHILD); /* before Linux 6.15 it can't be known */
    }
    for (int i = 0; i < 20; i++) {
        int error = nx_process_spawn(WITH(.argv = ARGV("/bin/true")), &process);
        nxt_expect(error == 0 || error == -ECHILD);
        if (error < 0)
            continue;
        int status = status_of(process);
        nxt_expect(status == 0 || status == -ECHILD);
    }
    nxt_expect_eq(waitid(P_ALL, 0, &info, WEXITED | WNOHANG), -1);
    nxt_expect_eq(sigaction(SIGCHLD, &before, NULL), 0);
}
