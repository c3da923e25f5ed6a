/*
 * conform_fault.c: what the world does to a program: no more descriptors, a sandbox without io_uring, an interrupted
 * system call, a peer that is killed. Most of it in a process of its own, under an environment of its own.
 */
#include "nxt_net.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define MIB (1024 * 1024)

static bool cell_is(const char *driver)
{
    const char *backend = getenv("NEXUS_BACKEND");
    return backend && strcmp(backend, driver) == 0;
}

/* ---- no more descriptors ---- */

static atomic_int told;

static void count_told(void *arg, int level, const char *message)
{
    nxt_log(arg, level, message);
    if (strstr(message, "accept on"))
        atomic_fetch_add(&told, level == NX_LOG_WARN);
}

static int told_count(void)
{
    return atomic_load(&told);
}

static int spare = -1; /* the last descriptor of those that use_up has opened */

/* Opens descriptors until there are no more. */
static void use_up(void)
{
    int fd;
    while ((fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
        spare = fd;
    nxt_expect_eq(errno, EMFILE);
}

static intptr_t accept_one(void *arg)
{
    nx_stream *stream;
    int error = nx_accept(arg, &stream, NX_FOREVER);
    if (error == 0)
        nx_close(stream);
    return error;
}

/* A socket that is made while there are descriptors, and connected when there are none. */
static void connect_late(int fd, uint16_t port)
{
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    nxt_expect_eq(connect(fd, (const struct sockaddr *)&to, sizeof(to)), 0);
}

/* An accept waits for room: without cpu, and without losing time when there is some. */
static void starve_and_recover(nx_listener *listener, int worker, int client, uint16_t port)
{
    use_up();
    nxt_require(spare >= 0);
    connect_late(client, port);
    nx_task acceptor = nxt_task_on(worker, accept_one, listener);
    nxt_await_parked(acceptor);
    nxt_expect_idle(nx_sleep_ms, 500, 100000000); /* a hundred looks, be they slow; a loop takes all 500 */
    nxt_expect_eq(nx_join(acceptor, NULL, NX_POLL), -EAGAIN);
    nx_time begin = nxt_clock();
    nxt_close_fd(&spare);
    nxt_expect_eq(nxt_result(acceptor), 0);
    nxt_expect_lt(nxt_clock() - begin, 1000000000); /* it tries every 5 ms; the machine may be busy */
}

static intptr_t live_at_the_limit(void *arg)
{
    char text[64];
    nx_addr addr;
    int clients[3], fds[2];
    nx_stream *stream, *held;
    nx_listener *second, *listener = nxt_listen_on("127.0.0.1:0", text, sizeof(text));
    (void)arg;
    nxt_require(listener && nxt_socketpair(fds), 0);
    nxt_expect_eq(nx_listener_addr(listener, &addr), 0);
    for (size_t i = 0; i < NXT_COUNT(clients); i++)
        clients[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const struct rlimit low = {.rlim_cur = 128, .rlim_max = 128};
    nxt_require_eq(setrlimit(RLIMIT_NOFILE, &low), 0, 0);
    use_up();

    nxt_expect_eq(nx_listen("127.0.0.1:0", NULL, &second), -EMFILE);
    nxt_expect_eq(nx_connect(text, NULL, &stream, NX_FOREVER), -EMFILE);
    nxt_expect_eq(nx_accept(listener, &stream, NX_POLL), -EMFILE); /* whether there is a connection or not */
    nxt_expect_eq(nx_fd_wait(fds[0], NX_WRITABLE, NX_FOREVER), NX_WRITABLE);
    nxt_require_eq(nx_stream_from_fd(fds[0], &held), 0, 0); /* takes none, so there is no limit to it */
    nxt_expect_eq(nx_write(held, "x", 1, NX_FOREVER), 1);
    nxt_expect_eq(nx_read(held, &(char){0}, 1, nx_after_ms(1)), -ETIMEDOUT);

    starve_and_recover(listener, 0, clients[0], addr.port);
    nxt_expect_ge(told_count(), 1);
    starve_and_recover(listener, 1, clients[1], addr.port);
    nxt_expect_le(told_count(), 2); /* once each time it happens, and not for each connection */
    use_up();
    connect_late(clients[2], addr.port);
    nx_time begin = nx_now();
    nxt_expect_eq(nx_accept(listener, &stream, nx_after_ms(20)), -ETIMEDOUT); /* a deadline holds here, too */
    nxt_expect_ge(nx_now() - begin, 20000000);
    nx_close(held);
    nx_listener_close(listener);
    return 0;
}

NXT_CHILD(run_at_the_limit)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = 2, .log = count_told));
    if (runtime)
        nx_block_on(runtime, live_at_the_limit, NULL, NULL);
    nx_runtime_destroy(runtime);
    return 0;
}

static struct nxt_output output;

static void expect_child(const char *name, const char *const *changes)
{
    nxt_run_child_named(name, changes, &output);
    if (!nxt_expect_eq(output.status, 0))
        nxt_show_output(&output);
}

NXT_TEST(at_the_limit_of_open_files_accepts_wait_without_cpu_and_recover)
{
    expect_child("run_at_the_limit", NULL);
}

/* ---- a small server and its clients, in one process, for odd environments ---- */

static intptr_t echo(nx_stream *stream, void *arg)
{
    char *buffer = malloc(65536);
    ssize_t got;
    (void)arg;
    while ((got = nx_read(stream, buffer, 65536, NX_FOREVER)) > 0 &&
           nx_write(stream, buffer, (size_t)got, NX_FOREVER) == got)
        ;
    free(buffer);
    return 0;
}

static char echo_addr[64];
static atomic_int listening;

static void note_address(const nx_addr *addr, void *arg)
{
    (void)arg;
    nx_addr_format(addr, echo_addr, sizeof(echo_addr));
    atomic_store(&listening, 1);
}

static intptr_t serve_echo(void *arg)
{
    (void)arg;
    return nx_serve("127.0.0.1:0", &(nx_serve_options){.size = sizeof(nx_serve_options), .on_listen = note_address},
                    echo, NULL, NX_FOREVER);
}

static intptr_t send_and_shut(void *arg)
{
    struct nxt_stream_flow *flow = arg;
    intptr_t sent = nxt_stream_send(flow);
    nx_shutdown(flow->stream, NX_SHUT_WRITE);
    return sent;
}

static intptr_t send_and_receive(void *arg)
{
    size_t len = (size_t)nxt_scaled(MIB, 100000);
    nx_stream *stream;
    nxt_require_eq(nx_connect(echo_addr, NULL, &stream, NX_FOREVER), 0, 0);
    struct nxt_stream_flow out = {stream, {.len = len, .seed = (uint32_t)(uintptr_t)arg}}, in = {stream, out.flow};
    in.flow.len = 0;
    nx_task sender = nx_spawn(send_and_shut, &out);
    nxt_expect_eq(nxt_stream_receive(&in), len);
    nxt_expect_eq(nxt_result(sender), len);
    nx_close(stream);
    return 0;
}

static intptr_t echo_much(void *arg)
{
    nx_task clients[8], server = nxt_task_on(0, serve_echo, NULL);
    (void)arg;
    nxt_await(atomic_load(&listening));
    for (int i = 0; i < 8; i++)
        clients[i] = nxt_task_on(i % 2, send_and_receive, (void *)(uintptr_t)i);
    for (int i = 0; i < 8; i++)
        nxt_result(clients[i]);
    nx_cancel(server);
    nxt_expect_eq(nxt_result(server), 0);
    nxt_expect_idle(nx_sleep_ms, 200, 10000000); /* idle is idle */
    return 0;
}

static nx_runtime *make_runtime(int *ret_error, char *error, size_t size)
{
    nx_runtime *runtime = NULL;
    *ret_error = nx_runtime_create(NXT_OPTIONS(.workers = 2, .pin = NX_PIN_WORKERS, .error = error, .error_size = size),
                                   &runtime);
    return runtime;
}

/* Says on stdout what it runs on. */
NXT_CHILD(run_echo)
{
    char error[512] = "";
    int result;
    nx_runtime *runtime = make_runtime(&result, error, sizeof(error));
    struct nx_runtime_info info = {.size = sizeof(info)};
    printf("result %d: %s\n", result, error);
    if (!runtime)
        return 0;
    nxt_expect_eq(nx_runtime_info(runtime, &info), 0);
    printf("net %s, files %s\n", info.backend, info.file_backend ? info.file_backend : "-");
    nx_block_on(runtime, echo_much, NULL, NULL);
    nx_runtime_destroy(runtime);
    return 0;
}

static void expect_echo(const char *const *changes, const char *runs_on)
{
    expect_child("run_echo", changes);
    if (!nxt_expect_contains(output.out, "result 0: ") || !nxt_expect_contains(output.out, runs_on))
        nxt_show_output(&output);
}

NXT_TEST(every_way_to_set_the_driver_up_carries_an_echo)
{
    static const char *const ways[] = {
        "NEXUS_BACKEND=iouring:rung=defer", "NEXUS_BACKEND=iouring:rung=coop",
        "NEXUS_BACKEND=iouring:rung=plain", "NEXUS_BACKEND=iouring:entries=4:cq_entries=8",
        "NEXUS_BACKEND=io_uring:rung=auto", "NEXUS_BACKEND=epoll:pwait2=0",
        "NEXUS_BACKEND=epoll:events=1",
    };
    const char *driver = cell_is("iouring") ? "iouring" : "epoll";
    for (size_t i = 0; i < NXT_COUNT(ways); i++)
        if (strstr(ways[i], driver) || (strstr(ways[i], "io_uring") && cell_is("iouring")))
            expect_echo((const char *[]){ways[i], NULL}, cell_is("iouring") ? "net iouring" : "net epoll");
}

NXT_TEST(two_drivers_at_once_carry_an_echo_and_are_idle_when_it_is_over)
{
    if (!cell_is("iouring")) {
        nxt_skip("the cells with io_uring do this, which has both");
        return;
    }
    expect_echo((const char *[]){"NEXUS_BACKEND", "NEXUS_BACKEND_NET=epoll", "NEXUS_BACKEND_FILE=iouring", NULL},
                "net epoll, files iouring");
    /* The other way round files are the blocking pool's. */
    expect_echo((const char *[]){"NEXUS_BACKEND", "NEXUS_BACKEND_NET=iouring", "NEXUS_BACKEND_FILE=epoll", NULL},
                "net iouring, files pool");
}

/* ---- io_uring denied ---- */

NXT_CHILD(run_echo_without_io_uring)
{
    if (!nxt_deny(SYS_io_uring_setup, atoi(getenv("NXT_ERRNO"))))
        return 1;
    return run_echo();
}

static unsigned count_lines(const char *text)
{
    unsigned count = 0;
    for (; *text; text++)
        count += *text == '\n';
    return count;
}

NXT_TEST(without_io_uring_strict_fails_auto_tells_why_and_unset_is_silent)
{
    if (!cell_is("iouring")) {
        nxt_skip("the cells with io_uring do this");
        return;
    }
    for (int i = 0; i < 2; i++) {
        const char *denied = nxt_env("NXT_ERRNO", i ? ENOSYS : EPERM);
        char result[32];
        snprintf(result, sizeof(result), "result %d: ", i ? -ENOSYS : -EPERM);

        expect_child("run_echo_without_io_uring", (const char *[]){denied, "NEXUS_BACKEND=iouring", NULL});
        nxt_expect_contains(output.out, result);
        nxt_expect_contains(output.out, "io_uring_setup");
        nxt_expect_contains(output.out, "NEXUS_BACKEND=epoll"); /* what to do */
        nxt_expect(!strstr(output.out, "net "));

        expect_child("run_echo_without_io_uring", (const char *[]){denied, "NEXUS_BACKEND=iouring,auto", NULL});
        nxt_expect_contains(output.out, "result 0: ");
        nxt_expect_contains(output.out, "net epoll");
        nxt_expect_contains(output.err, "io_uring_setup");
        if (!nxt_expect_eq(count_lines(output.err), 1))
            nxt_show_output(&output);

        expect_child("run_echo_without_io_uring", (const char *[]){denied, "NEXUS_BACKEND", NULL});
        nxt_expect_contains(output.out, "net epoll");
        nxt_expect_str(output.err, "");
    }
}

/* ---- interrupted system calls ---- */

struct command {
    char text[1024], output[4096];
    int status;
};

static bool run_command(struct command *command)
{
    FILE *pipe = popen(command->text, "re");
    if (!nxt_expect(pipe != NULL))
        return false;
    command->output[fread(command->output, 1, sizeof(command->output) - 1, pipe)] = '\0';
    while (fgetc(pipe) != EOF)
        ;
    command->status = pclose(pipe);
    return true;
}

NXT_TEST(calls_that_are_interrupted_by_nothing_are_made_again)
{
    static const char *const calls[] = {"epoll_wait,epoll_pwait2", "io_uring_enter", "recvfrom,recvmsg,sendto,sendmsg",
                                        "accept4"};
    static struct command command;
    char self[512];
    ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
    nxt_require(length > 0);
    self[length] = '\0';
    if (nxt_is_emulated()) {
        nxt_skip("strace would change the emulator's calls");
        return;
    }
    if (NXT_ASAN || NXT_TSAN) {
        nxt_skip("the sanitizers' own checks do not work under strace");
        return;
    }
    snprintf(command.text, sizeof(command.text), "strace -f -o /dev/null -e trace=none true 2>&1");
    if (!run_command(&command) || command.status != 0) {
        nxt_skip("strace is not here, or may not trace: %.100s", command.output);
        return;
    }
    for (size_t i = 0; i < NXT_COUNT(calls); i++) {
        snprintf(command.text, sizeof(command.text),
                 "NXT_SCALE=0.2 strace -f -o /dev/null -e trace=%s -e inject=%s:error=EINTR:when=3+7 '%s' --child "
                 "run_echo 2>&1",
                 calls[i], calls[i], self);
        if (run_command(&command) &&
            !(nxt_expect_eq(command.status, 0) & nxt_expect_contains(command.output, "result 0")))
            printf("# under %s: %s\n", calls[i], command.output);
    }
}

/* ---- a peer that is killed ---- */

/* Connects, tells its pid, and takes what comes slowly, or sends for ever. */
NXT_CHILD(be_a_peer)
{
    int fd = nxt_connect((uint16_t)atoi(getenv("NXT_PORT")));
    pid_t self = getpid();
    static char data[65536];
    if (!nxt_write_all(fd, &self, sizeof(self)))
        return 1;
    if (atoi(getenv("NXT_SENDS")))
        while (nxt_write_all(fd, data, sizeof(data)))
            ;
    nxt_read_all(fd, data, sizeof(data));
    pause();
    return 0;
}

struct victim {
    const char *changes[3];
    struct nxt_output output;
};

static intptr_t run_victim(void *arg)
{
    struct victim *victim = arg;
    nxt_run_child(be_a_peer, victim->changes, &victim->output);
    return 0;
}

static intptr_t write_much(void *arg)
{
    static const char data[MIB];
    intptr_t total = 0;
    ssize_t sent;
    while ((sent = nx_write(arg, data, sizeof(data), NX_FOREVER)) > 0)
        total += sent;
    nxt_expect_gt(total, 0);
    return sent;
}

static intptr_t read_much(void *arg)
{
    char *data = malloc(MIB);
    ssize_t got;
    while ((got = nx_read(arg, data, MIB, NX_FOREVER)) > 0)
        ;
    free(data);
    return got;
}

static void kill_a_peer(bool sends)
{
    static struct victim victim;
    char text[64];
    nx_addr addr;
    nx_stream *stream;
    pid_t pid = 0;
    nx_listener *listener = nxt_listen_on("127.0.0.1:0", text, sizeof(text));
    nxt_require(listener);
    nxt_expect_eq(nx_listener_addr(listener, &addr), 0);
    victim.changes[0] = nxt_env("NXT_PORT", addr.port);
    victim.changes[1] = nxt_env("NXT_SENDS", sends);
    struct nxt_thread *thread = nxt_thread_start(run_victim, &victim);
    nxt_require_eq(nx_accept(listener, &stream, NX_FOREVER), 0);
    nxt_expect_eq(nx_read_exact(stream, &pid, sizeof(pid), NX_FOREVER), sizeof(pid));
    nx_task reader = nxt_task_on(1, read_much, stream), writer = nxt_task_on(0, write_much, stream);
    nx_sleep_ms(20); /* in the middle of it */
    nxt_require(pid > 1);
    nxt_expect_eq(kill(pid, SIGKILL), 0);
    intptr_t ends[2] = {nxt_result(reader), nxt_result(writer)};
    nxt_expect(ends[0] == 0 || ends[0] == -ECONNRESET);
    nxt_expect(ends[1] == -EPIPE || ends[1] == -ECONNRESET);
    nxt_thread_await(thread);
    nxt_expect_eq(victim.output.signal, SIGKILL);
    nx_close(stream);
    nx_listener_close(listener);
}

NXT_TASK_TEST(a_peer_killed_while_it_receives_is_told_to_all_who_use_the_stream, .workers = 2)
{
    kill_a_peer(false);
}

NXT_TASK_TEST(a_peer_killed_while_it_sends_is_told_to_all_who_use_the_stream, .workers = 2)
{
    kill_a_peer(true);
}
