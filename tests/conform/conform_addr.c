/* conform_addr.c: every form of address on real sockets: listened on, told, connected to. */
#include "nxt_net.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static intptr_t connect_and_talk(void *arg)
{
    nx_stream *stream;
    char answer[5] = "";
    nxt_require_eq(nx_connect(arg, NULL, &stream, NX_FOREVER), 0, 0);
    nxt_expect_eq(nx_write(stream, "ping", 4, NX_FOREVER), 4);
    nxt_expect_eq(nx_read_exact(stream, answer, 4, NX_FOREVER), 4);
    nxt_expect_str(answer, "pong");
    nx_close(stream);
    return 1;
}

/* Accepts one and answers it; its peer's address. */
static bool answer_one(nx_listener *listener, nx_addr *ret_peer)
{
    nx_stream *stream;
    char question[5] = "";
    nxt_require_eq(nx_accept(listener, &stream, NX_FOREVER), 0, false);
    nxt_expect_eq(nx_stream_peer(stream, ret_peer), 0);
    nxt_expect_eq(nx_read_exact(stream, question, 4, NX_FOREVER), 4);
    nxt_expect_str(question, "ping");
    nxt_expect_eq(nx_write(stream, "pong", 4, NX_FOREVER), 4);
    nx_close(stream);
    return true;
}

/* Listens on addr, and connects to what the listener says it is. */
static bool talk_over(const char *addr, char *ret_text, size_t size, nx_addr *ret_peer)
{
    nx_listener *listener = nxt_listen_on(addr, ret_text, size);
    nxt_require(listener, false);
    nx_task client = nxt_task_on(1, connect_and_talk, ret_text);
    bool good = answer_one(listener, ret_peer);
    good &= nxt_result(client) == 1;
    nx_listener_close(listener);
    return good;
}

NXT_TASK_TEST(ipv4_listens_on_a_port_the_kernel_chose_and_tells_it, .workers = 2)
{
    char text[128];
    nx_addr addr, peer;
    nxt_require(talk_over("127.0.0.1:0", text, sizeof(text), &peer));
    nxt_expect_eq(nx_addr_parse(text, &addr), 0);
    nxt_expect_gt(addr.port, 0);
    nxt_expect_eq(addr.family, NX_AF_INET);
    nxt_expect_mem(addr.data, ((const uint8_t[]){127, 0, 0, 1}), 4);
    nxt_expect_eq(peer.family, NX_AF_INET);
    nxt_expect_mem(peer.data, addr.data, 4);
    nxt_expect(peer.port > 0 && peer.port != addr.port);
}

NXT_TASK_TEST(ipv6_listens_and_connects, .workers = 2)
{
    char text[128];
    nx_addr peer;
    int probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool have = probe >= 0 && bind(probe, (struct sockaddr *)&loopback, sizeof(loopback)) == 0;
    nxt_close_fd(&probe);
    if (!have) {
        nxt_skip("no IPv6 loopback");
        return;
    }
    nxt_require(talk_over("[::1]:0", text, sizeof(text), &peer));
    nxt_expect_contains(text, "[::1]:");
    nxt_expect_eq(peer.family, NX_AF_INET6);
    nxt_expect_eq(peer.len, 16);
    nxt_expect_eq(peer.scope, 0);
}

/* A link-local address of this machine, with its scope. What is sent to it stays here. */
static bool find_link_local(char *ret_text, size_t size)
{
    struct ifaddrs *list, *at;
    bool found = false;
    if (getifaddrs(&list) < 0)
        return false;
    for (at = list; at && !found; at = at->ifa_next) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)at->ifa_addr;
        char host[INET6_ADDRSTRLEN];
        if (!in6 || in6->sin6_family != AF_INET6 || !IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) ||
            (at->ifa_flags & (IFF_UP | IFF_RUNNING)) != (IFF_UP | IFF_RUNNING))
            continue;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        snprintf(ret_text, size, "[%s%%%s]:0", host, at->ifa_name);
        found = true;
    }
    freeifaddrs(list);
    return found;
}

NXT_TASK_TEST(a_link_local_address_needs_and_keeps_its_scope, .workers = 2)
{
    char given[128], text[128];
    nx_addr wanted, addr, peer;
    if (!find_link_local(given, sizeof(given))) {
        nxt_skip("no interface has a link-local address");
        return;
    }
    nxt_require_eq(nx_addr_parse(given, &wanted), 0);
    nxt_expect_gt(wanted.scope, 0);
    nxt_require(talk_over(given, text, sizeof(text), &peer));
    nxt_expect_eq(nx_addr_parse(text, &addr), 0);
    nxt_expect_eq(addr.scope, wanted.scope);
    nxt_expect_eq(peer.scope, wanted.scope);
    *strchr(given, '%') = '\0';
    nx_listener *listener;
    strcat(given, "]:0");
    nxt_expect_eq(nx_listen(given, NULL, &listener), -EINVAL); /* the kernel's: which interface? */
}

NXT_TASK_TEST(a_unix_path_listens_and_is_left_for_the_program_to_remove, .workers = 2)
{
    char path[120], addr[128], text[128];
    nx_addr peer;
    nx_listener *listener;
    snprintf(path, sizeof(path), "%s", nxt_temp_path("path"));
    snprintf(addr, sizeof(addr), "unix:%s", path);
    nxt_require(talk_over(addr, text, sizeof(text), &peer));
    nxt_expect_str(text, addr);
    nxt_expect_eq(peer.family, NX_AF_UNIX);
    nxt_expect_eq(peer.len, 0);                                   /* the connecting end has no name */
    nxt_expect_eq(nx_listen(addr, NULL, &listener), -EADDRINUSE); /* a stale file is the program's business */
    nxt_expect_eq(unlink(path), 0);
    nxt_require_eq(nx_listen(addr, NULL, &listener), 0);
    nx_listener_close(listener);
    nxt_expect_eq(unlink(path), 0);
}

NXT_TASK_TEST(a_unix_path_of_full_length_works, .workers = 2)
{
    char path[120], addr[128], text[128];
    nx_addr peer;
    snprintf(path, sizeof(path), "%s-", nxt_temp_path("long"));
    size_t length = strlen(path);
    memset(path + length, 'p', 107 - length);
    path[107] = '\0';
    snprintf(addr, sizeof(addr), "unix:%s", path);
    nxt_expect(talk_over(addr, text, sizeof(text), &peer));
    nxt_expect_str(text, addr);
    nxt_expect_eq(unlink(path), 0);
}

NXT_TASK_TEST(an_abstract_unix_name_leaves_no_file, .workers = 2)
{
    char addr[128], text[128];
    nx_addr peer;
    snprintf(addr, sizeof(addr), "unix:@nxt-%d-abstract", (int)getpid());
    nxt_require(talk_over(addr, text, sizeof(text), &peer));
    nxt_expect_str(text, addr);
    nxt_expect(access(addr + 6, F_OK) < 0);
    size_t length = strlen(addr); /* the process's id stays: another cell may run this case at the same time */
    memset(addr + length, 'n', 113 - length); /* of full length */
    addr[113] = '\0';
    nxt_expect(talk_over(addr, text, sizeof(text), &peer));
    nxt_expect_str(text, addr);
}

static unsigned mode_of(const char *path)
{
    struct stat status = {.st_mode = 0};
    nxt_expect_eq(stat(path, &status), 0);
    return status.st_mode & 0777;
}

NXT_TASK_TEST(the_mode_of_a_unix_socket_is_that_of_the_options_and_else_by_umask)
{
    static const unsigned modes[] = {0600, 0660, 0400, 0};
    char path[120], addr[128];
    nx_listener *listener;
    mode_t mask = umask(0);
    umask(mask);
    snprintf(path, sizeof(path), "%s", nxt_temp_path("mode"));
    snprintf(addr, sizeof(addr), "unix:%s", path);
    for (size_t i = 0; i < NXT_COUNT(modes); i++) {
        nxt_require_eq(
            nx_listen(addr, &(nx_listen_options){.size = sizeof(nx_listen_options), .mode = modes[i]}, &listener), 0);
        nxt_expect_eq(mode_of(path), (modes[i] ? modes[i] : 0777) & ~mask);
        nx_listener_close(listener);
        unlink(path);
    }
    nxt_expect_eq(nx_listen(addr, &(nx_listen_options){.size = sizeof(nx_listen_options), .mode = 01000}, &listener),
                  -EINVAL);
    nxt_expect(access(path, F_OK) < 0);
}

/* Whether an IPv4 client gets through to a listener on [::]. */
static int connect_by_v4(bool v6_only, nx_addr *ret_peer)
{
    nx_listener *listener;
    nx_addr addr;
    nx_stream *client, *server;
    int error =
        nx_listen("[::]:0", &(nx_listen_options){.size = sizeof(nx_listen_options), .v6_only = v6_only}, &listener);
    if (error < 0)
        return error;
    nxt_expect_eq(nx_listener_addr(listener, &addr), 0);
    error = nx_connect(nxt_loopback(addr.port), NULL, &client, NX_FOREVER);
    if (error == 0) {
        if (nxt_expect_eq(nx_accept(listener, &server, NX_FOREVER), 0)) {
            nxt_expect_eq(nx_stream_peer(server, ret_peer), 0);
            nx_close(server);
        }
        nx_close(client);
    }
    nx_listener_close(listener);
    return error;
}

NXT_TASK_TEST(an_ipv6_listener_takes_ipv4_unless_told_not_to)
{
    nx_addr peer = {.family = 0};
    char text[128];
    int error = connect_by_v4(false, &peer);
    if (error == -EAFNOSUPPORT) {
        nxt_skip("no IPv6");
        return;
    }
    nxt_require_eq(error, 0);
    nx_addr_format(&peer, text, sizeof(text));
    nxt_expect_contains(text, "[::ffff:127.0.0.1]:");
    nxt_expect_eq(connect_by_v4(true, &peer), -ECONNREFUSED);
}

NXT_TASK_TEST(text_that_is_no_address_is_refused_by_all_who_take_one)
{
    static const char *const bad[] = {"", "local host:80", "127.0.0.1", "127.0.0.1:65536", "[::1]", "unix:", "unix:@"};
    nx_listener *listener = (nx_listener *)&listener;
    nx_stream *stream = (nx_stream *)&stream;
    for (size_t i = 0; i < NXT_COUNT(bad); i++) {
        nxt_expect_eq(nx_listen(bad[i], NULL, &listener), -EINVAL);
        nxt_expect_eq(nx_connect(bad[i], NULL, &stream, NX_FOREVER), -EINVAL);
    }
    nxt_expect_eq(nx_listen("localhost:80", NULL, &listener), -EINVAL);
    nxt_expect_eq(nx_listen(NULL, NULL, &listener), -EINVAL);
    nxt_expect_eq(nx_connect(NULL, NULL, &stream, NX_FOREVER), -EINVAL);
    nxt_expect(listener == (nx_listener *)&listener && stream == (nx_stream *)&stream);
}

NXT_TASK_TEST(an_address_that_is_not_this_machines_or_not_allowed_gives_the_kernels_reason)
{
    nx_listener *listener;
    nx_stream *stream;
    nxt_expect_eq(nx_listen("192.0.2.77:0", NULL, &listener), -EADDRNOTAVAIL); /* for documentation: nobody's */
    nxt_expect_eq(nx_listen("unix:/no/such/folder/x", NULL, &listener), -ENOENT);
    nxt_expect_eq(nx_connect("unix:/no/such/folder/x", NULL, &stream, NX_FOREVER), -ENOENT);
}
