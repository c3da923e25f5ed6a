/*
 * What the iouring driver says where io_uring is forbidden, hidden or older: each case in a child of its own, behind a
 * seccomp filter, so that it is the kernel that refuses.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <nexus/driver.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define ENTER_GETEVENTS 1u /* IORING_ENTER_GETEVENTS */

extern const struct nx_plugin nexus_plugin_iouring;

/* ---- the host ---- */

struct nx_config {
    const char *rung, *entries;
};

static nx_time host_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static void *host_alloc(size_t size, size_t align)
{
    void *memory = NULL;
    if (posix_memalign(&memory, align < 16 ? 16 : align, size) != 0)
        return NULL;
    return memset(memory, 0, size);
}

static void host_free(void *memory, size_t size)
{
    (void)size;
    free(memory);
}

static const char *host_param(const struct nx_config *config, const char *name)
{
    if (config->rung && strcmp(name, "rung") == 0)
        return config->rung;
    if (config->entries && strcmp(name, "entries") == 0)
        return config->entries;
    for (const struct nx_param *param = nexus_plugin_iouring.params; param->name; param++)
        if (strcmp(param->name, name) == 0)
            return param->default_value;
    return NULL;
}

static const struct nx_host host = {
    .size = sizeof(host), .now = host_now, .alloc = host_alloc, .free = host_free, .param = host_param};

/* ---- children ---- */

struct outcome { /* shared with the child */
    int32_t result, step;
    int64_t nanoseconds;
    struct nx_reason reason;
};

static struct outcome *outcome;

static void in_child(void (*body)(void))
{
    int status = -1;
    memset(outcome, 0, sizeof(*outcome));
    outcome->result = 1;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        body();
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* From here on system call nr fails with error if one of its argument arg's low bits in mask is set; mask 0: always. */
static void forbid(int nr, unsigned arg, uint32_t mask, int error)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, mask ? 3 : 1),
        mask ? (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
                                            (uint32_t)offsetof(struct seccomp_data, args) + 8 * arg)
             : (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        mask ? (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, mask, 0, 1)
             : (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof(filter) / sizeof(filter[0]), .filter = filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        _exit(77);
}

static void probe_as(const struct nx_config *config)
{
    nx_time before = host_now();
    outcome->result = nexus_plugin_iouring.probe(&host, config, &outcome->reason);
    outcome->nanoseconds = host_now() - before;
}

static void probe_here(void)
{
    const struct nx_config config = {0};
    probe_as(&config);
}

static void probe_without_permission(void)
{
    forbid(__NR_io_uring_setup, 0, 0, EPERM);
    probe_here();
}

static void probe_without_the_call(void)
{
    forbid(__NR_io_uring_setup, 0, 0, ENOSYS);
    probe_here();
}

static void probe_with_enter_forbidden(void)
{
    forbid(__NR_io_uring_enter, 0, 0, EPERM);
    probe_here();
}

static void probe_on_a_kernel_that_refuses_the_flags(void)
{
    const struct nx_config config = {.rung = "defer"};
    forbid(__NR_io_uring_setup, 0, 0, EINVAL);
    probe_as(&config);
}

static void probe_without_descriptors(void)
{
    const struct rlimit limit = {3, 3};
    for (int fd = 3; fd < 64; fd++)
        close(fd);
    setrlimit(RLIMIT_NOFILE, &limit);
    probe_here();
}

static void probe_with_odd_parameters(void)
{
    const struct nx_config rung = {.rung = "deffer"}, entries = {.entries = "12x"};
    probe_as(&rung);
    if (outcome->result == -EINVAL && strstr(outcome->reason.text, "rung"))
        probe_as(&entries);
}

/* ---- tests ---- */

static void probing_here_succeeds_in_time(void **state)
{
    (void)state;
    int64_t best = INT64_MAX;
    for (int i = 0; i < 5; i++) { /* the best of five: other processes use the machine too */
        in_child(probe_here);
        assert_int_equal(outcome->result, 0);
        if (outcome->nanoseconds < best)
            best = outcome->nanoseconds;
    }
    assert_in_range(best, 0, 5000000);
}

static void a_seccomp_filter_is_named_with_its_remedy(void **state)
{
    (void)state;
    in_child(probe_without_permission);
    assert_int_equal(outcome->result, -EPERM);
    assert_int_equal(outcome->reason.error, EPERM);
    assert_string_equal(outcome->reason.call, "io_uring_setup(2)");
    assert_true(strstr(outcome->reason.text, "seccomp") || strstr(outcome->reason.text, "io_uring_disabled"));
    assert_non_null(strstr(outcome->reason.remedy, "NEXUS_BACKEND=epoll"));
}

static void a_filter_on_the_second_call_is_found_too(void **state)
{
    (void)state;
    in_child(probe_with_enter_forbidden);
    assert_int_equal(outcome->result, -EPERM);
    assert_string_equal(outcome->reason.call, "io_uring_enter(2)");
}

static void a_kernel_without_io_uring_is_called_that(void **state)
{
    (void)state;
    in_child(probe_without_the_call);
    assert_int_equal(outcome->result, -ENOSYS);
    assert_int_equal(outcome->reason.error, ENOSYS);
    assert_non_null(strstr(outcome->reason.text, "has no io_uring"));
    assert_non_null(strstr(outcome->reason.remedy, "NEXUS_BACKEND=epoll"));
}

static void a_rung_that_was_asked_for_is_not_replaced(void **state)
{
    (void)state;
    in_child(probe_on_a_kernel_that_refuses_the_flags);
    assert_int_equal(outcome->result, -EINVAL);
    assert_non_null(strstr(outcome->reason.text, "rung defer"));
    assert_non_null(strstr(outcome->reason.text, "6.1"));
    assert_non_null(strstr(outcome->reason.remedy, "rung=auto"));
}

static void exhausted_descriptors_are_not_taken_for_a_missing_feature(void **state)
{
    (void)state;
    in_child(probe_without_descriptors);
    assert_int_equal(outcome->result, -EMFILE);
    assert_non_null(strstr(outcome->reason.remedy, "ulimit -n"));
}

static void odd_parameters_are_refused_with_a_sentence(void **state)
{
    (void)state;
    in_child(probe_with_odd_parameters);
    assert_int_equal(outcome->result, -EINVAL);
    assert_non_null(strstr(outcome->reason.text, "entries"));
}

/* A whole little life of a driver; the step at which it went wrong is left in the outcome. */
#define STEP(condition)                                                                                                \
    do {                                                                                                               \
        outcome->step++;                                                                                               \
        if (!(condition))                                                                                              \
            return;                                                                                                    \
    } while (0)

static bool complete(const struct nx_driver_ops *ops, struct nx_ctx *ctx, struct nx_completion *ret_completion)
{
    for (int turn = 0; turn < 1000; turn++) {
        uint32_t n = ops->arm(ctx) < 0 ? ops->poll(ctx, ret_completion, 1)
                                       : ops->wait(ctx, ret_completion, 1, host_now() + INT64_C(10000000000));
        if (n)
            return true;
    }
    return false;
}

static void live(const struct nx_config *config)
{
    const struct nx_driver_ops *ops = nexus_plugin_iouring.ops;
    struct nx_completion completion;
    struct nx_driver *driver;
    struct nx_ctx *ctx;
    char buffer[4];
    int fds[2];
    nx_handle handle;

    STEP(ops->open(&host, config, 1, &driver, &outcome->reason) == 0);
    STEP(ops->ctx_open(driver, 0, &ctx, &outcome->reason) == 0);
    STEP(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
    STEP(ops->import_fd(ctx, fds[0], 0, &handle) == 0);
    for (int i = 0; i < 100; i++) {
        struct nx_op op = {.handle = handle, .code = NX_OP_READ, .data = buffer, .len = sizeof(buffer)};
        STEP(ops->submit(ctx, &op, &completion) == 0);
        if (i & 1)
            STEP(write(fds[1], "abc", 3) == 3);
        else
            ops->cancel(ctx, &op);
        STEP(complete(ops, ctx, &completion) && completion.result == (i & 1 ? 3 : -ECANCELED));
        nx_time until = host_now() + 100000;
        STEP(ops->arm(ctx) == 0 && ops->wait(ctx, &completion, 1, until) == 0);
        STEP(ops->arm(ctx) == 0);
        ops->wake(ctx);
        STEP(ops->wait(ctx, &completion, 1, NX_FOREVER) == 0);
        while (ops->arm(ctx) < 0)
            STEP(ops->poll(ctx, &completion, 1) == 0);
        ops->disarm(ctx);
    }
    ops->ctx_close(ctx);
    ops->close(driver);
    outcome->result = 0;
}

/* Flags of io_uring_enter(2) that 5.10 doesn't know fail, and so does any io_uring_register(2). */
static void live_on_the_lowest_rung(void)
{
    const struct nx_config config = {.rung = "plain"};
    forbid(__NR_io_uring_enter, 3, ~ENTER_GETEVENTS, EINVAL);
    forbid(__NR_io_uring_register, 0, 0, EINVAL);
    live(&config);
}

static void live_without_registering(void)
{
    const struct nx_config config = {0};
    forbid(__NR_io_uring_register, 0, 0, EPERM);
    live(&config);
}

static void live_on_the_best_rung(void)
{
    const struct nx_config config = {.rung = "defer"};
    forbid(__NR_io_uring_enter, 3, ~ENTER_GETEVENTS, EINVAL);
    live(&config);
}

static void the_lowest_rung_uses_nothing_newer_than_itself(void **state)
{
    (void)state;
    in_child(live_on_the_lowest_rung);
    if (outcome->result)
        fail_msg("step %d: %s %s", outcome->step, outcome->reason.call, outcome->reason.text);
}

static void the_filter_for_the_lowest_rung_bites_on_the_best_one(void **state)
{
    (void)state;
    in_child(live_on_the_best_rung);
    assert_int_not_equal(outcome->result, 0);
}

static void a_sandbox_that_only_forbids_registering_is_lived_with(void **state)
{
    (void)state;
    in_child(live_without_registering);
    if (outcome->result)
        fail_msg("step %d: %s %s", outcome->step, outcome->reason.call, outcome->reason.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(probing_here_succeeds_in_time),
        cmocka_unit_test(a_seccomp_filter_is_named_with_its_remedy),
        cmocka_unit_test(a_filter_on_the_second_call_is_found_too),
        cmocka_unit_test(a_kernel_without_io_uring_is_called_that),
        cmocka_unit_test(a_rung_that_was_asked_for_is_not_replaced),
        cmocka_unit_test(exhausted_descriptors_are_not_taken_for_a_missing_feature),
        cmocka_unit_test(odd_parameters_are_refused_with_a_sentence),
        cmocka_unit_test(the_lowest_rung_uses_nothing_newer_than_itself),
        cmocka_unit_test(the_filter_for_the_lowest_rung_bites_on_the_best_one),
        cmocka_unit_test(a_sandbox_that_only_forbids_registering_is_lived_with),
    };
    struct nx_reason reason;
    const struct nx_config config = {0};
    outcome = mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (outcome == MAP_FAILED)
        return 1;
    if (nexus_plugin_iouring.probe(&host, &config, &reason) < 0) {
        printf("1..0 # SKIP io_uring can't run here: %s: %s\n", reason.call, reason.text);
        return 0;
    }
    return cmocka_run_group_tests_name("iouring_ladder", tests, NULL, NULL);
}
