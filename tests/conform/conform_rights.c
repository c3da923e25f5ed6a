/*
 * conform_rights.c: after a change of the process's credentials no op is carried out with the old ones, whoever carries
 * it out: the worker, a thread of the blocking pool, a thread of the kernel's. (CVE-2024-22017 is what happens
 * otherwise: a server that had opened its ring as root went on opening files as root.)
 *
 * Each case is a child process: what setresuid(2) takes does not come back.
 */
#include "nxt_net.h"
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define WORKERS 3
#define UNREGISTER_PERSONALITY 10 /* of io_uring_register(2) */
#define SOMEBODY 65534u

/* Only root's: folder/secret, and nobody else may look into folder/closed. */
static const char *folder(void)
{
    const char *path = getenv("NXT_FOLDER");
    return path ? path : "/nonexistent";
}

static void in_folder(char ret_path[PATH_MAX], const char *name)
{
    snprintf(ret_path, PATH_MAX, "%s/%s", folder(), name);
}

static bool make_folder(char ret_path[PATH_MAX])
{
    char path[PATH_MAX + 16];
    snprintf(ret_path, PATH_MAX, "%s", nxt_temp_path("rights"));
    if (!nxt_expect_eq(mkdir(ret_path, 0755), 0))
        return false;
    snprintf(path, sizeof(path), "%s/closed", ret_path);
    nxt_expect_eq(mkdir(path, 0700), 0);
    snprintf(path, sizeof(path), "%s/secret", ret_path);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    nxt_expect(fd >= 0 && nxt_write_all(fd, "secret", 6));
    close(fd);
    return true;
}

static void remove_folder(const char *path)
{
    static const char *const names[] = {"secret", "closed", "public.sock", "private.sock"};
    char entry[PATH_MAX + 16];
    for (size_t i = 0; i < NXT_COUNT(names); i++) {
        snprintf(entry, sizeof(entry), "%s/%s", path, names[i]);
        remove(entry);
    }
    nxt_expect_eq(rmdir(path), 0);
}

/* ---- what each worker tries ---- */

static int open_secret(void)
{
    char path[PATH_MAX], text[8] = "";
    nx_file *file;
    in_folder(path, "secret");
    int r = nx_file_open(path, O_RDONLY, 0, &file, NX_FOREVER);
    if (r < 0)
        return r;
    nxt_expect_eq(nx_pread(file, text, sizeof(text), 0, NX_FOREVER), 6);
    nx_file_close(file);
    return 0;
}

static intptr_t open_by_call(void *arg)
{
    char path[PATH_MAX];
    (void)arg;
    in_folder(path, "secret");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    close(fd);
    return 0;
}

/* Every way to a file: 0 where all are open, or the one errno that all gave. */
static intptr_t try_paths(void *arg)
{
    char secret[PATH_MAX], inside[PATH_MAX];
    struct stat stat;
    intptr_t by_pool = 0;
    (void)arg;
    in_folder(secret, "secret");
    in_folder(inside, "closed/x");
    int result = open_secret();
    nxt_expect_eq(nx_blocking(open_by_call, NULL, &by_pool, NX_FOREVER), 0);
    nxt_expect_eq(by_pool, result);
    in_folder(inside, "closed/.");
    nxt_expect_eq(nx_stat(inside, &stat, NX_FOREVER), result);
    if (result == 0)
        return 0;
    in_folder(inside, "closed/x");
    nxt_expect_eq(nx_mkdir(inside, 0700, NX_FOREVER), result);
    nxt_expect_eq(nx_rename(secret, inside, NX_FOREVER), result);
    nxt_expect_eq(nx_unlink(secret, NX_FOREVER), result);
    return result;
}

static void every_worker_gets(int result)
{
    nx_task tasks[WORKERS];
    for (int i = 0; i < WORKERS; i++)
        tasks[i] =
            nx_spawn_with(&(nx_task_options){.size = sizeof(nx_task_options), .worker_plus_1 = i + 1}, try_paths, NULL);
    for (int i = 0; i < WORKERS; i++) {
        intptr_t got = 1;
        nxt_expect_eq(nx_join(tasks[i], &got, NX_FOREVER), 0);
        nxt_expect_eq(got, result);
    }
}

static int in_runtime(nx_task_fn body)
{
    nx_runtime *runtime = nxt_start(NXT_OPTIONS(.workers = WORKERS, .log = nxt_log));
    nxt_require(runtime, NXT_CHILD_FAILED);
    nxt_expect_eq(nx_block_on(runtime, body, NULL, NULL), 0);
    nxt_stop(runtime);
    return 0;
}

static void run_as_root_in(const char *child)
{
    struct nxt_output output;
    char path[PATH_MAX], change[PATH_MAX + 16];
    if (geteuid() != 0) {
        nxt_skip("only root has rights to give up");
        return;
    }
    if (!make_folder(path))
        return;
    snprintf(change, sizeof(change), "NXT_FOLDER=%s", path);
    nxt_run_child_named(child, (const char *const[]){change, NULL}, &output);
    if (!nxt_expect_eq(output.status, 0))
        nxt_show_output(&output);
    remove_folder(path);
}

/* ---- files ---- */

/* A ring's personalities are numbered from 1: one that can be dropped now is one that was kept after its op. Asked on
 * the worker whose ring it is. */
static intptr_t drop_identities(void *arg)
{
    DIR *folder = opendir("/proc/self/fd");
    struct dirent *entry;
    intptr_t kept = 0;
    (void)arg;
    nxt_require(folder, -1);
    while ((entry = readdir(folder))) {
        char path[300], target[64] = "";
        snprintf(path, sizeof(path), "/proc/self/fd/%s", entry->d_name);
        if (readlink(path, target, sizeof(target) - 1) < 0 || !strstr(target, "io_uring"))
            continue;
        for (int id = 1; id <= 1024; id++)
            kept += syscall(SYS_io_uring_register, atoi(entry->d_name), UNREGISTER_PERSONALITY, NULL, id) == 0;
    }
    closedir(folder);
    return kept;
}

static intptr_t give_up_for_a_while(void *arg)
{
    (void)arg;
    every_worker_gets(0); /* rings, pool and kernel threads have worked as root */
    nxt_expect_eq(seteuid(SOMEBODY), 0);
    every_worker_gets(-EACCES);
    nxt_expect_eq(seteuid(0), 0);
    every_worker_gets(0);
    for (int i = 0; i < WORKERS; i++)
        nxt_expect_eq(nxt_result(nxt_task_on(i, drop_identities, NULL)), 0);
    return 0;
}

NXT_CHILD(effective_rights_go_and_come_back)
{
    return in_runtime(give_up_for_a_while);
}

NXT_TEST(ops_have_the_effective_rights_of_their_moment)
{
    run_as_root_in("effective_rights_go_and_come_back");
}

static intptr_t give_up_for_good(void *arg)
{
    (void)arg;
    every_worker_gets(0);
    nxt_expect_eq(setresgid(SOMEBODY, SOMEBODY, SOMEBODY), 0);
    nxt_expect_eq(setresuid(SOMEBODY, SOMEBODY, SOMEBODY), 0);
    for (int i = 0; i < 3; i++)
        every_worker_gets(-EACCES);
    nxt_expect_eq(seteuid(0), -1);
    return 0;
}

NXT_CHILD(all_rights_are_given_up)
{
    return in_runtime(give_up_for_good);
}

NXT_TEST(rights_given_up_are_gone_for_every_op)
{
    run_as_root_in("all_rights_are_given_up");
}

/* A thread that calls setresuid(2) by libc changes all threads, those of the runtime among them. */
static intptr_t give_up_from_outside(void *arg)
{
    (void)arg;
    return setresuid(SOMEBODY, SOMEBODY, SOMEBODY) == 0 ? 0 : -errno;
}

static intptr_t watch_it_from_tasks(void *arg)
{
    (void)arg;
    every_worker_gets(0);
    nxt_expect_eq(nxt_thread_await(nxt_thread_start(give_up_from_outside, NULL)), 0);
    every_worker_gets(-EACCES);
    return 0;
}

NXT_CHILD(another_thread_gives_up)
{
    return in_runtime(watch_it_from_tasks);
}

NXT_TEST(rights_that_another_thread_gives_up_are_gone_for_every_op)
{
    run_as_root_in("another_thread_gives_up");
}

/* ---- Unix sockets: who the peer sees ---- */

static int listen_at(const char *name, mode_t mode)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char path[PATH_MAX];
    in_folder(path, name);
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || chmod(path, mode) < 0 ||
        listen(fd, 16) < 0)
        return -errno;
    return fd;
}

/* Connects to that socket, and is who to its listener? */
static intptr_t connect_as(const char *name, int listener)
{
    char path[PATH_MAX], address[PATH_MAX + 8];
    struct ucred peer = {0};
    socklen_t len = sizeof(peer);
    nx_stream *stream;
    in_folder(path, name);
    snprintf(address, sizeof(address), "unix:%s", path);
    int r = nx_connect(address, NULL, &stream, NX_FOREVER);
    if (r < 0)
        return r;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    nxt_expect_ge(fd, 0);
    nxt_expect_eq(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len), 0);
    close(fd);
    nx_close(stream);
    return (intptr_t)peer.uid;
}

/* The user that a message bears, sent by a task's write; the receiver asked for it. */
static intptr_t sent_as(nx_stream *stream, int peer)
{
    char byte, control[CMSG_SPACE(sizeof(struct ucred))];
    struct iovec iov = {&byte, 1};
    struct msghdr message = {
        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct ucred sender;
    nxt_expect_eq(nx_write(stream, "x", 1, NX_FOREVER), 1);
    if (!nxt_expect_eq(recvmsg(peer, &message, 0), 1))
        return -1;
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    nxt_require(header && header->cmsg_type == SCM_CREDENTIALS, -1);
    memcpy(&sender, CMSG_DATA(header), sizeof(sender));
    return (intptr_t)sender.uid;
}

static intptr_t show_identity(void *arg)
{
    int pair[2], open = listen_at("public.sock", 0666), private = listen_at("private.sock", 0600), yes = 1;
    nx_stream *stream;
    (void)arg;
    nxt_require(open >= 0 && private >= 0 && nxt_socketpair(pair), 0);
    nxt_expect_eq(setsockopt(pair[1], SOL_SOCKET, SO_PASSCRED, &yes, sizeof(yes)), 0);
    nxt_require_eq(nx_stream_from_fd(pair[0], &stream), 0, 0);
    nxt_expect_eq(sent_as(stream, pair[1]), 0);
    nxt_expect_eq(connect_as("public.sock", open), 0);
    nxt_expect_eq(connect_as("private.sock", private), 0);
    nxt_expect_eq(seteuid(SOMEBODY), 0);
    nxt_expect_eq(connect_as("public.sock", open), SOMEBODY);
    nxt_expect_eq(connect_as("private.sock", private), -EACCES);
    nxt_expect_eq(setresuid(SOMEBODY, SOMEBODY, SOMEBODY), 0);
    nxt_expect_eq(sent_as(stream, pair[1]), SOMEBODY);
    nx_close(stream);
    close(pair[1]);
    close(open);
    close(private);
    return 0;
}

NXT_CHILD(peers_look_who_it_is)
{
    return in_runtime(show_identity);
}

NXT_TEST(unix_peers_see_who_the_process_is_now)
{
    run_as_root_in("peers_look_who_it_is");
}
