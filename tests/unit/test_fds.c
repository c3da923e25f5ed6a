/* The handle table (backends/readiness/fds.c): life of a handle, names of sockets, options, import. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <nexus/readiness.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define DRIVER_ID 5

/* ---- a host that counts ---- */

static atomic_llong live_bytes;
static atomic_bool out_of_memory;

static void *host_alloc(size_t size, size_t align)
{
    void *memory = NULL;
    if (atomic_load(&out_of_memory) || posix_memalign(&memory, align < sizeof(void *) ? sizeof(void *) : align, size))
        return NULL;
    atomic_fetch_add(&live_bytes, (long long)size);
    return memset(memory, 0, size);
}

static void host_free(void *memory, size_t size)
{
    if (memory)
        atomic_fetch_sub(&live_bytes, (long long)size);
    free(memory);
}

static const struct nx_host host = {.size = sizeof(host), .alloc = host_alloc, .free = host_free};

static int open_table(void **state)
{
    struct nx_fd_table *table;
    atomic_store(&out_of_memory, false);
    if (nx_fds_open(&host, DRIVER_ID, &table) < 0)
        return -1;
    *state = table;
    return 0;
}

static int close_table(void **state)
{
    nx_fds_close(*state);
    return atomic_load(&live_bytes) == 0 ? 0 : -1;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static int some_fd(void)
{
    int fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* ---- handles ---- */

static void a_handle_carries_driver_and_generation_and_finds_its_slot(void **state)
{
    nx_handle handle = 0;
    int fd = some_fd();
    assert_int_equal(nx_fds_add(*state, fd, NX_FD_SOCKET, &handle), 0);
    assert_int_equal(NX_HANDLE_DRIVER(handle), DRIVER_ID);
    assert_int_equal(NX_HANDLE_GENERATION(handle) & 1, 1);
    struct nx_fd_slot *slot = nx_fds_get(*state, handle);
    assert_non_null(slot);
    assert_int_equal(slot->fd, fd);
    assert_int_equal(slot->flags, NX_FD_SOCKET);
    for (int i = 0; i < 4; i++)
        assert_int_equal(slot->user[i], 0);
}

static void a_dropped_handle_is_stale_also_when_its_slot_is_used_again(void **state)
{
    nx_handle first, second;
    int fd = some_fd();
    assert_int_equal(nx_fds_add(*state, fd, 0, &first), 0);
    nx_fds_get(*state, first)->user[2] = 77;
    nx_fds_drop(*state, first);
    assert_null(nx_fds_get(*state, first));
    assert_true(is_open(fd));
    assert_int_equal(nx_fds_add(*state, fd, 0, &second), 0);
    assert_int_equal(NX_HANDLE_INDEX(first), NX_HANDLE_INDEX(second));
    assert_true(first != second);
    assert_null(nx_fds_get(*state, first));
    assert_int_equal(nx_fds_get(*state, second)->user[2], 0);
    nx_fds_drop(*state, first); /* of no consequence */
    assert_non_null(nx_fds_get(*state, second));
}

static void no_forged_handle_finds_a_slot(void **state)
{
    nx_handle handle;
    assert_int_equal(nx_fds_add(*state, some_fd(), 0, &handle), 0);
    assert_null(nx_fds_get(*state, 0));
    assert_null(nx_fds_get(*state, NX_HANDLE(DRIVER_ID + 1, NX_HANDLE_GENERATION(handle), NX_HANDLE_INDEX(handle))));
    assert_null(nx_fds_get(*state, NX_HANDLE(DRIVER_ID, NX_HANDLE_GENERATION(handle) + 2, NX_HANDLE_INDEX(handle))));
    assert_null(nx_fds_get(*state, NX_HANDLE(DRIVER_ID, 0, NX_HANDLE_INDEX(handle) + 1)));
    assert_null(nx_fds_get(*state, NX_HANDLE(DRIVER_ID, 1, 5000)));
    assert_null(nx_fds_get(*state, NX_HANDLE(DRIVER_ID, 1, UINT32_MAX)));
}

static void a_slot_whose_generation_would_wrap_is_retired(void **state)
{
    nx_handle handle, next;
    int fd = some_fd();
    assert_int_equal(nx_fds_add(*state, fd, 0, &handle), 0);
    uint32_t index = NX_HANDLE_INDEX(handle);
    nx_fds_get(*state, handle)->generation = 0xfffffd; /* two lives before the end */
    nx_fds_drop(*state, NX_HANDLE(DRIVER_ID, 0xfffffd, index));
    assert_int_equal(nx_fds_add(*state, fd, 0, &handle), 0);
    assert_int_equal(handle, NX_HANDLE(DRIVER_ID, 0xffffff, index));
    nx_fds_drop(*state, handle);
    assert_null(nx_fds_get(*state, handle));
    assert_int_equal(nx_fds_add(*state, fd, 0, &next), 0);
    assert_int_not_equal(NX_HANDLE_INDEX(next), index);
}

static void slots_stay_where_they_are_while_the_table_grows(void **state)
{
    enum { COUNT = 5000 };
    static nx_handle handles[COUNT];
    static struct nx_fd_slot *slots[COUNT];
    int fd = some_fd();
    for (int i = 0; i < COUNT; i++) {
        assert_int_equal(nx_fds_add(*state, fd, NX_FD_FOREIGN, &handles[i]), 0);
        slots[i] = nx_fds_get(*state, handles[i]);
        slots[i]->user[0] = (uintptr_t)i;
    }
    for (int i = 0; i < COUNT; i++) {
        assert_ptr_equal(nx_fds_get(*state, handles[i]), slots[i]);
        assert_int_equal(slots[i]->user[0], i);
    }
    for (int i = 0; i < COUNT; i++)
        nx_fds_drop(*state, handles[i]);
    close(fd);
}

static void without_memory_for_a_segment_add_fails_and_says_so(void **state)
{
    nx_handle handle = 1234;
    int fd = some_fd();
    atomic_store(&out_of_memory, true);
    assert_int_equal(nx_fds_add(*state, fd, 0, &handle), -ENOMEM);
    assert_int_equal(handle, 1234);
    assert_int_equal(nx_fds_socket(*state, NX_AF_INET, NX_SOCK_STREAM, 1, &handle), -ENOMEM);
    assert_false(is_open(fd + 1)); /* the socket that could not be noted */
    atomic_store(&out_of_memory, false);
    close(fd);
}

static void closing_the_table_closes_what_is_ours_and_leaves_the_foreign(void **state)
{
    nx_handle handle;
    int ours = some_fd(), foreign = some_fd(), dropped = some_fd();
    assert_int_equal(nx_fds_import(*state, ours, 0, 0, &handle), 0);
    assert_int_equal(nx_fds_import(*state, foreign, NX_IMPORT_FOREIGN, 0, &handle), 0);
    assert_int_equal(nx_fds_import(*state, dropped, 0, 0, &handle), 0);
    nx_fds_drop(*state, handle);
    nx_fds_close(*state);
    assert_false(is_open(ours));
    assert_true(is_open(foreign));
    assert_true(is_open(dropped));
    close(foreign);
    close(dropped);
    assert_int_equal(open_table(state), 0);
}

/* ---- threads: slots are handed to one owner each, and others look handles up meanwhile ---- */

enum { THREADS = 4, ROUNDS = 20000, HELD = 40 };

struct owner {
    pthread_t thread;
    struct nx_fd_table *table;
    _Atomic nx_handle *shown; /* the last handle of each owner, for the others to look at */
    int id, fd;
    unsigned long wrong;
};

static void *add_and_drop(void *arg)
{
    struct owner *owner = arg;
    nx_handle held[HELD] = {0};
    for (int i = 0; i < ROUNDS; i++) {
        nx_handle *mine = &held[i % HELD];
        if (*mine) {
            struct nx_fd_slot *slot = nx_fds_get(owner->table, *mine);
            owner->wrong += !slot || slot->user[1] != (uintptr_t)owner->id + 1;
            nx_fds_drop(owner->table, *mine);
            owner->wrong += nx_fds_get(owner->table, *mine) != NULL;
        }
        if (nx_fds_add(owner->table, owner->fd, NX_FD_FOREIGN, mine) < 0) {
            owner->wrong++;
            return NULL;
        }
        struct nx_fd_slot *slot = nx_fds_get(owner->table, *mine);
        owner->wrong += slot->user[1] != 0;
        slot->user[1] = (uintptr_t)owner->id + 1;
        atomic_store(&owner->shown[owner->id], *mine);
        int fd = nx_fds_export(owner->table, atomic_load(&owner->shown[(owner->id + 1) % THREADS]));
        owner->wrong += fd != -EBADF && fd != owner->fd;
    }
    return NULL;
}

static void handles_made_by_many_threads_never_share_a_slot(void **state)
{
    struct owner owners[THREADS] = {0};
    _Atomic nx_handle shown[THREADS] = {0};
    int fd = some_fd();
    for (int i = 0; i < THREADS; i++) {
        owners[i] = (struct owner){.table = *state, .shown = shown, .id = i, .fd = fd};
        assert_int_equal(pthread_create(&owners[i].thread, NULL, add_and_drop, &owners[i]), 0);
    }
    unsigned long wrong = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_join(owners[i].thread, NULL);
        wrong += owners[i].wrong;
    }
    assert_int_equal(wrong, 0);
    close(fd);
}

/* ---- addresses ---- */

static struct nx_addr addr_of(uint16_t family, const void *data, uint16_t len, uint16_t port)
{
    struct nx_addr addr = {.family = family, .len = len, .port = port};
    memcpy(addr.data, data, len);
    return addr;
}

static void assert_survives(const struct nx_addr *addr)
{
    struct sockaddr_storage sa;
    struct nx_addr back;
    int len = nx_fds_to_sockaddr(addr, &sa);
    assert_true(len > 0);
    assert_int_equal(nx_fds_from_sockaddr(&sa, (uint32_t)len, &back), addr->len);
    assert_memory_equal(addr, &back, sizeof(back));
}

static void addresses_survive_the_way_to_sockaddr_and_back(void **state)
{
    (void)state;
    struct nx_addr addr = addr_of(NX_AF_INET, "\x7f\0\0\x01", 4, 8080);
    assert_survives(&addr);
    addr = addr_of(NX_AF_INET6, "\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01", 16, 443);
    addr.scope = 2;
    assert_survives(&addr);
    addr = addr_of(NX_AF_UNIX, "/run/x.sock", 11, 0);
    assert_survives(&addr);
    addr = addr_of(NX_AF_UNIX, "\0abstract\0name", 14, 0);
    assert_survives(&addr);
    char path[108];
    memset(path, 'p', sizeof(path));
    addr = addr_of(NX_AF_UNIX, path, 107, 0);
    assert_survives(&addr);
    addr = addr_of(NX_AF_UNIX, path, 108, 0); /* sun_path full, without a NUL */
    assert_survives(&addr);
}

static void addresses_that_have_no_sockaddr_are_refused(void **state)
{
    (void)state;
    char sa[128], path[116];
    memset(path, 'p', sizeof(path));
    struct nx_addr addr = addr_of(NX_AF_UNIX, path, 109, 0);
    assert_int_equal(nx_fds_to_sockaddr(&addr, sa), -ENAMETOOLONG);
    addr = addr_of(NX_AF_UNIX, "/run\0/x", 7, 0);
    assert_int_equal(nx_fds_to_sockaddr(&addr, sa), -EINVAL);
    addr = addr_of(NX_AF_INET, "\x7f\0\0\x01", 3, 1);
    assert_int_equal(nx_fds_to_sockaddr(&addr, sa), -EAFNOSUPPORT);
    addr = addr_of(NX_AF_DRIVER, "x", 1, 1);
    assert_int_equal(nx_fds_to_sockaddr(&addr, sa), -EAFNOSUPPORT);
    struct sockaddr other = {.sa_family = AF_APPLETALK};
    assert_int_equal(nx_fds_from_sockaddr(&other, sizeof(other), &addr), -EAFNOSUPPORT);
    assert_int_equal(nx_fds_from_sockaddr(&other, 1, &addr), -EAFNOSUPPORT);
}

/* ---- sockets ---- */

static nx_handle new_socket(struct nx_fd_table *table, uint32_t family, uint32_t nonblock)
{
    nx_handle handle;
    assert_int_equal(nx_fds_socket(table, family, NX_SOCK_STREAM, nonblock, &handle), 0);
    return handle;
}

static int option_of(struct nx_fd_table *table, nx_handle handle, int level, int name)
{
    int value = -1;
    socklen_t len = sizeof(value);
    assert_int_equal(getsockopt(nx_fds_export(table, handle), level, name, &value, &len), 0);
    return value;
}

static void sockets_are_closed_on_exec_and_nonblocking_when_asked(void **state)
{
    for (uint32_t nonblock = 0; nonblock < 2; nonblock++) {
        int fd = nx_fds_export(*state, new_socket(*state, NX_AF_INET, nonblock));
        assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        assert_int_equal((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0, nonblock);
    }
    nx_handle handle;
    assert_int_equal(nx_fds_socket(*state, 99, NX_SOCK_STREAM, 0, &handle), -EAFNOSUPPORT);
    assert_int_equal(nx_fds_socket(*state, NX_AF_INET, 99, 0, &handle), -EPROTOTYPE);
}

static void a_bound_socket_tells_its_name_and_a_connected_one_its_peer(void **state)
{
    nx_handle server = new_socket(*state, NX_AF_INET, 0), client = new_socket(*state, NX_AF_INET, 0);
    struct nx_addr addr = addr_of(NX_AF_INET, "\x7f\0\0\x01", 4, 0), name, peer;
    struct sockaddr_storage sa;
    assert_int_equal(nx_fds_bind(*state, server, &addr), 0);
    assert_int_equal(nx_fds_listen(*state, server, 8), 0);
    assert_true(nx_fds_get(*state, server)->flags & NX_FD_LISTEN);
    assert_int_equal(nx_fds_name(*state, server, 0, &name), 0);
    assert_int_not_equal(name.port, 0);
    assert_int_equal(nx_fds_name(*state, client, 1, &peer), -ENOTCONN);
    int len = nx_fds_to_sockaddr(&name, &sa);
    assert_int_equal(connect(nx_fds_export(*state, client), (struct sockaddr *)&sa, (socklen_t)len), 0);
    assert_int_equal(nx_fds_name(*state, client, 1, &peer), 0);
    assert_memory_equal(&peer, &name, sizeof(peer));
    assert_int_equal(nx_fds_bind(*state, new_socket(*state, NX_AF_INET, 0), &name), -EADDRINUSE);
}

static void a_stale_handle_is_ebadf_everywhere(void **state)
{
    nx_handle handle = new_socket(*state, NX_AF_INET, 0);
    struct nx_addr addr = addr_of(NX_AF_INET, "\x7f\0\0\x01", 4, 0);
    close(nx_fds_export(*state, handle));
    nx_fds_drop(*state, handle);
    assert_int_equal(nx_fds_bind(*state, handle, &addr), -EBADF);
    assert_int_equal(nx_fds_listen(*state, handle, 1), -EBADF);
    assert_int_equal(nx_fds_option(*state, handle, NX_OPTION_NODELAY, 1), -EBADF);
    assert_int_equal(nx_fds_name(*state, handle, 0, &addr), -EBADF);
    assert_int_equal(nx_fds_export(*state, handle), -EBADF);
}

static void options_reach_the_socket(void **state)
{
    nx_handle v4 = new_socket(*state, NX_AF_INET, 0), v6 = new_socket(*state, NX_AF_INET6, 0);
    assert_int_equal(nx_fds_option(*state, v4, NX_OPTION_REUSE_ADDR, 1), 0);
    assert_int_equal(nx_fds_option(*state, v4, NX_OPTION_REUSE_PORT, 1), 0);
    assert_int_equal(nx_fds_option(*state, v4, NX_OPTION_NODELAY, 1), 0);
    assert_int_equal(nx_fds_option(*state, v6, NX_OPTION_V6_ONLY, 1), 0);
    assert_int_not_equal(option_of(*state, v4, SOL_SOCKET, SO_REUSEADDR), 0);
    assert_int_not_equal(option_of(*state, v4, SOL_SOCKET, SO_REUSEPORT), 0);
    assert_int_not_equal(option_of(*state, v4, IPPROTO_TCP, TCP_NODELAY), 0);
    assert_int_not_equal(option_of(*state, v6, IPPROTO_IPV6, IPV6_V6ONLY), 0);
    assert_int_equal(nx_fds_option(*state, v6, NX_OPTION_V6_ONLY, 0), 0);
    assert_int_equal(option_of(*state, v6, IPPROTO_IPV6, IPV6_V6ONLY), 0);
    assert_int_equal(nx_fds_option(*state, v4, 999, 1), -ENOTSUP);
}

static void nodelay_is_ignored_where_there_is_no_tcp(void **state)
{
    nx_handle unix_socket = new_socket(*state, NX_AF_UNIX, 0), udp, pipe_end;
    int fds[2];
    assert_int_equal(nx_fds_socket(*state, NX_AF_INET, NX_SOCK_DGRAM, 0, &udp), 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(nx_fds_import(*state, fds[0], 0, 0, &pipe_end), 0);
    assert_int_equal(nx_fds_option(*state, unix_socket, NX_OPTION_NODELAY, 1), 0);
    assert_int_equal(nx_fds_option(*state, udp, NX_OPTION_NODELAY, 1), 0);
    assert_int_equal(nx_fds_option(*state, pipe_end, NX_OPTION_NODELAY, 1), 0);
    assert_int_equal(nx_fds_option(*state, pipe_end, NX_OPTION_REUSE_ADDR, 1), -ENOTSOCK);
    close(fds[1]);
}

static void the_mode_of_a_unix_socket_holds_from_its_first_moment(void **state)
{
    char dir[] = "/tmp/nexus-test-fds-XXXXXX", path[64];
    struct stat st;
    assert_non_null(mkdtemp(dir));
    int len = snprintf(path, sizeof(path), "%s/s", dir);
    nx_handle handle = new_socket(*state, NX_AF_UNIX, 0);
    struct nx_addr addr = addr_of(NX_AF_UNIX, path, (uint16_t)len, 0), name;
    assert_int_equal(nx_fds_option(*state, handle, NX_OPTION_UNIX_MODE, 0600), 0);
    assert_int_equal(nx_fds_option(*state, handle, NX_OPTION_UNIX_MODE, 010000), -EINVAL);
    assert_int_equal(nx_fds_option(*state, new_socket(*state, NX_AF_INET, 0), NX_OPTION_UNIX_MODE, 0600), -EINVAL);
    assert_int_equal(nx_fds_bind(*state, handle, &addr), 0);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(nx_fds_name(*state, handle, 0, &name), 0);
    assert_memory_equal(&name, &addr, sizeof(name));
    unlink(path);
    rmdir(dir);
}

/* ---- import ---- */

static void import_finds_out_what_it_got(void **state)
{
    nx_handle handle;
    int pair[2], ends[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(nx_fds_import(*state, pair[0], 0, 0, &handle), 0);
    assert_int_equal(nx_fds_get(*state, handle)->flags, NX_FD_SOCKET);
    assert_int_equal(fcntl(pair[0], F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(nx_fds_import(*state, ends[0], 0, 1, &handle), 0);
    assert_int_equal(nx_fds_get(*state, handle)->flags, 0);
    assert_int_equal(fcntl(ends[0], F_GETFL) & O_NONBLOCK, O_NONBLOCK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(nx_fds_import(*state, listener, 0, 1, &handle), 0);
    assert_int_equal(nx_fds_get(*state, handle)->flags, NX_FD_SOCKET | NX_FD_LISTEN);
    close(pair[1]);
    close(ends[1]);
}

static void a_foreign_descriptor_is_left_as_it_is(void **state)
{
    nx_handle handle;
    struct nx_addr addr = addr_of(NX_AF_INET, "\x7f\0\0\x01", 4, 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(nx_fds_import(*state, fd, NX_IMPORT_FOREIGN, 1, &handle), 0);
    assert_int_equal(nx_fds_get(*state, handle)->flags, NX_FD_FOREIGN);
    assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    assert_int_equal(nx_fds_export(*state, handle), fd);
    assert_int_equal(nx_fds_bind(*state, handle, &addr), -EINVAL);
    assert_int_equal(nx_fds_option(*state, handle, NX_OPTION_NODELAY, 1), -EINVAL);
    close(fd);
}

static void what_is_no_descriptor_is_not_imported(void **state)
{
    nx_handle handle = 42;
    int fd = some_fd();
    close(fd);
    assert_int_equal(nx_fds_import(*state, -1, 0, 1, &handle), -EBADF);
    assert_int_equal(nx_fds_import(*state, fd, NX_IMPORT_FOREIGN, 1, &handle), -EBADF);
    assert_int_equal(nx_fds_import(*state, 0, 0x80, 1, &handle), -EINVAL);
    assert_int_equal(handle, 42);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, open_table, close_table)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_handle_carries_driver_and_generation_and_finds_its_slot),
        TEST(a_dropped_handle_is_stale_also_when_its_slot_is_used_again),
        TEST(no_forged_handle_finds_a_slot),
        TEST(a_slot_whose_generation_would_wrap_is_retired),
        TEST(slots_stay_where_they_are_while_the_table_grows),
        TEST(without_memory_for_a_segment_add_fails_and_says_so),
        TEST(closing_the_table_closes_what_is_ours_and_leaves_the_foreign),
        TEST(handles_made_by_many_threads_never_share_a_slot),
        TEST(addresses_survive_the_way_to_sockaddr_and_back),
        TEST(addresses_that_have_no_sockaddr_are_refused),
        TEST(sockets_are_closed_on_exec_and_nonblocking_when_asked),
        TEST(a_bound_socket_tells_its_name_and_a_connected_one_its_peer),
        TEST(a_stale_handle_is_ebadf_everywhere),
        TEST(options_reach_the_socket),
        TEST(nodelay_is_ignored_where_there_is_no_tcp),
        TEST(the_mode_of_a_unix_socket_holds_from_its_first_moment),
        TEST(import_finds_out_what_it_got),
        TEST(a_foreign_descriptor_is_left_as_it_is),
        TEST(what_is_no_descriptor_is_not_imported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
