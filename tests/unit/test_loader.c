/* Trust, looking, loading, checking; and finding (find.c, peek.c). Each refusal is a sentence that says why. */
#define _GNU_SOURCE
#include "../plugin/samples.h"
#include "find.h"
#include "loader.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>

#include <cmocka.h>

const struct nx_plugin *const nxi_builtin_plugins[] = {NULL};

static const uid_t somebody = 65534;

static int have_samples(void **state)
{
    size_t size;

    if (!nxt_samples_bytes(&size)) {
        print_message("%s is not there\n", nxt_samples_file());
        return -1;
    }
    nxi_plugin_dir = "/nonexistent/nexus";
    (void)state;
    return 0;
}

/* The file at path can't be loaded as that kind, for that errno and with that in the sentence. */
static void refused_as(const char *path, uint32_t kind, int error, const char *with)
{
    const struct nx_plugin *plugin = NULL;
    char sentence[1024] = "";
    int r = nxi_loader_open(path, kind, &plugin, sentence, sizeof(sentence));

    if (r != error)
        fail_msg("%s: %d, not %d (%s)", path, r, error, sentence);
    assert_null(plugin);
    if (!strstr(sentence, with))
        fail_msg("\"%s\" doesn't say \"%s\"", sentence, with);
}

static void refused(const char *path, int error, const char *with)
{
    assert_non_null(path);
    refused_as(path, NX_PLUGIN_DRIVER, error, with);
}

static const struct nx_plugin *loaded(const char *path, uint32_t kind)
{
    const struct nx_plugin *plugin = NULL;
    char sentence[1024] = "";

    assert_non_null(path);
    if (nxi_loader_open(path, kind, &plugin, sentence, sizeof(sentence)) != 0)
        fail_msg("%s: %s", path, sentence);
    return plugin;
}

static void symbol_follows_from_the_file_name(void **state)
{
    static const char *const cases[][2] = {
        {"/x/epoll.so", "nexus_plugin_epoll"},
        {"/x/libepoll.so.1.2", "nexus_plugin_epoll"},
        {"work-stealing.so", "nexus_plugin_work_stealing"},
        {"/x.y/a", "nexus_plugin_a"},
    };
    char symbol[NXI_SYMBOL_MAX];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(nxi_loader_symbol(cases[i][0], symbol, sizeof(symbol)), 0);
        assert_string_equal(symbol, cases[i][1]);
    }
    assert_int_equal(nxi_loader_symbol("/x/.so", symbol, sizeof(symbol)), -EINVAL);
    assert_int_equal(nxi_loader_symbol("/x/lib.so", symbol, sizeof(symbol)), -EINVAL);
    assert_int_equal(nxi_loader_symbol("/x/abc.so", symbol, 8), -EINVAL);
}

static void good_plugin_loads_once_however_often_it_is_asked_for(void **state)
{
    const char *path = nxt_sample("good.so");
    const struct nx_plugin *plugin = loaded(path, NX_PLUGIN_DRIVER);

    (void)state;
    assert_string_equal(plugin->name, "good");
    assert_ptr_equal(loaded(path, NX_PLUGIN_DRIVER), plugin);
    assert_ptr_equal(loaded(path, 0), plugin);
    assert_string_equal(loaded(nxt_sample("libfair.so"), NX_PLUGIN_SCHEDULER)->name, "fair");
}

static void two_copies_are_two_plugins(void **state)
{
    const struct nx_plugin *good = loaded(nxt_sample("good.so"), NX_PLUGIN_DRIVER);
    const struct nx_plugin *better = loaded(nxt_sample("better.so"), NX_PLUGIN_DRIVER);

    (void)state;
    assert_string_equal(good->name, "good");
    assert_string_equal(better->name, "better");
    assert_ptr_not_equal(good->ops, better->ops);
}

static void older_minor_is_welcome(void **state)
{
    (void)state;
    assert_int_equal(loaded(nxt_sample("older.so"), NX_PLUGIN_DRIVER)->abi_minor, NX_ABI_MINOR - 1);
}

static void bad_structs_are_refused_with_a_sentence(void **state)
{
    (void)state;
    refused(nxt_sample("wrong_magic.so"), -ENOEXEC, "magic is 0x12345678");
    refused(nxt_sample("newer_minor.so"), -ENOEXEC, "plugin ABI 0.3, and this libnexus has 0.2: it needs a newer");
    refused(nxt_sample("ancient.so"), -ENOEXEC, "plugin ABI 0.0, and this libnexus has 0.2: rebuild the plugin");
    refused(nxt_sample("other_major.so"), -ENOEXEC, "plugin ABI 1.2, and this libnexus has 0.2");
    refused(nxt_sample("short_struct.so"), -ENOEXEC, "struct nx_plugin says 24 bytes");
    refused(nxt_sample("long_struct.so"), -ENOEXEC, "struct nx_plugin says 4096 bytes");
    refused(nxt_sample("tiny.so"), -ENOEXEC, "is no struct nx_plugin");
    refused(nxt_sample("unknown_kind.so"), -ENOEXEC, "unknown kind 9");
    refused(nxt_sample("a_layer.so"), -ENOEXEC, "it is a layer, not a backend");
    refused_as(nxt_sample("a_layer.so"), 0, -ENOEXEC, "layers are reserved");
    refused(nxt_sample("fair.so"), -ENOEXEC, "it is a scheduler, not a backend");
    refused_as(nxt_sample("good.so"), NX_PLUGIN_SCHEDULER, -ENOEXEC, "it is a backend, not a scheduler");
    refused(nxt_sample("no_name.so"), -ENOEXEC, "the name it gives itself");
    refused(nxt_sample("misnamed.so"), -ENOEXEC, "calls itself 'somebody', so its file must be called somebody.so");
    refused(nxt_sample("no_table.so"), -ENOEXEC, "no table");
    refused(nxt_sample("param_type.so"), -ENOEXEC, "unknown type 7");
    refused(nxt_sample("param_default.so"), -ENOEXEC, "its default is 'many'");
}

static void bad_tables_are_refused_with_the_slot_named(void **state)
{
    (void)state;
    refused(nxt_sample("short_table.so"), -ENOEXEC, "mandatory slot 'wake'");
    refused(nxt_sample("tiny_table.so"), -ENOEXEC, "its table says it has 8 bytes");
    refused(nxt_sample("no_submit.so"), -ENOEXEC, "mandatory slot 'submit'");
    refused(nxt_sample("no_release.so"), -ENOEXEC, "mandatory slot 'release'");
    refused(nxt_sample("no_domain.so"), -ENOEXEC, "no domain");
    refused_as(nxt_sample("no_dequeue.so"), NX_PLUGIN_SCHEDULER, -ENOEXEC, "mandatory slot 'dequeue'");
}

static void slot_beyond_a_table_is_not_there(void **state)
{
    struct nx_driver_ops ops = {.size = offsetof(struct nx_driver_ops, wait_fd)};

    (void)state;
    ops.wait_fd = (int (*)(struct nx_ctx *))(uintptr_t)1;
    ops.wake = (void (*)(struct nx_ctx *))(uintptr_t)1;
    assert_true(NXI_HAS(&ops, wake));
    assert_false(NXI_HAS(&ops, wait_fd));
    assert_false(NXI_HAS(&ops, wait));
    ops.size += sizeof(ops.wait_fd);
    assert_true(NXI_HAS(&ops, wait_fd));
}

static void file_under_another_name_is_refused_with_the_symbol(void **state)
{
    (void)state;
    refused(nxt_sample("renamed.so"), -ENOEXEC, "no symbol nexus_plugin_renamed, but nexus_plugin_");
    refused("/lib/x86_64-linux-gnu/nothing.so", -ENOENT, "no such file");
    refused("relative.so", -EACCES, "relative path");
    refused(nxt_sample(".so"), -ENOEXEC, "no plugin can have this file name");
}

static void what_is_no_regular_file_is_refused_without_opening_it(void **state)
{
    (void)state;
    nxt_mkdir("folder.so");
    refused(nxt_path("folder.so"), -EACCES, "it is a directory");
    assert_int_equal(mkfifo(nxt_path("fifo.so"), 0700), 0);
    refused(nxt_path("fifo.so"), -EACCES, "it is a FIFO");
    refused("/dev/null", -EACCES, "it is a device");
    assert_int_equal(symlink("loop.so", nxt_path("loop.so")), 0);
    refused(nxt_path("loop.so"), -ELOOP, "symbolic links");
}

static void writable_by_others_is_not_trusted(void **state)
{
    const char *path;

    (void)state;
    nxt_mkdir("d");
    path = nxt_sample("d/good.so");
    chmod(path, 0757);
    refused(path, -EACCES, "others can write to it (chmod go-w ");
    chmod(path, 0755);
    chmod(nxt_path("d"), 0777);
    refused(path, -EACCES, "others can write to the directory");
    chmod(nxt_path("d"), 0755);
    loaded(path, NX_PLUGIN_DRIVER);
}

static void link_is_judged_by_what_it_leads_to(void **state)
{
    (void)state;
    nxt_mkdir("open");
    nxt_mkdir("closed");
    nxt_sample("open/good.so");
    chmod(nxt_path("open"), 0777);
    assert_int_equal(symlink("../open/good.so", nxt_path("closed/good.so")), 0);
    refused(nxt_path("closed/good.so"), -EACCES, "/open (chmod");
    chmod(nxt_path("open"), 01777); /* sticky: nobody can replace what isn't theirs */
    loaded(nxt_path("closed/good.so"), NX_PLUGIN_DRIVER);
}

/* Who can repoint a link chooses among all trusted files. */
static void link_is_judged_by_where_it_lies_too(void **state)
{
    (void)state;
    nxt_mkdir("open");
    nxt_mkdir("closed");
    nxt_mkdir("closed/inner");
    nxt_sample("closed/good.so");
    assert_int_equal(symlink("../closed/good.so", nxt_path("open/good.so")), 0);
    assert_int_equal(symlink("../open/good.so", nxt_path("closed/inner/good.so")), 0);
    assert_int_equal(symlink("../open", nxt_path("closed/way")), 0);
    loaded(nxt_path("open/good.so"), NX_PLUGIN_DRIVER);
    chmod(nxt_path("open"), 0777);
    refused(nxt_path("open/good.so"), -EACCES, "/open (chmod go-w)");
    refused(nxt_path("open/../closed/good.so"), -EACCES, "/open (chmod go-w)");
    refused(nxt_path("closed/way/good.so"), -EACCES, "/open (chmod go-w)");
    unlink(nxt_path("closed/inner/good.so"));
    assert_int_equal(symlink("../../open/good.so", nxt_path("closed/inner/good.so")), 0);
    refused(nxt_path("closed/inner/good.so"), -EACCES, "/open (chmod go-w)");
    chmod(nxt_path("open"), 01777); /* sticky: this user's link stays this user's */
    loaded(nxt_path("closed/inner/good.so"), NX_PLUGIN_DRIVER);
    loaded(nxt_path("open/.././closed//good.so"), NX_PLUGIN_DRIVER);
    if (geteuid() == 0) {
        assert_int_equal(lchown(nxt_path("open/good.so"), somebody, (gid_t)-1), 0);
        refused(nxt_path("open/good.so"), -EACCES, "the link /tmp/nxt-plugin-");
        refused(nxt_path("closed/inner/good.so"), -EACCES, "belongs to user 65534, neither root nor this user");
    }
}

static void path_is_walked_as_the_kernel_walks_it(void **state)
{
    char name[64];

    (void)state;
    nxt_mkdir("d");
    nxt_sample("d/good.so");
    assert_int_equal(symlink(nxt_dir, nxt_path("d/back")), 0); /* absolute */
    loaded(nxt_path("d/back/d/back/d/./good.so"), NX_PLUGIN_DRIVER);
    loaded(nxt_path("d/../d/good.so"), NX_PLUGIN_DRIVER);
    refused(nxt_path("d/good.so/"), -ENOTDIR, "Not a directory");
    refused(nxt_path("d/good.so/.."), -ENOTDIR, "Not a directory");
    refused("/", -EACCES, "it is a directory");
    refused("/..", -EACCES, "it is a directory");
    refused(nxt_path("d/.."), -EACCES, "it is a directory");
    assert_int_equal(symlink("good.so", nxt_path("d/link0")), 0);
    for (int i = 1; i < 50; i++) {
        char target[64];

        snprintf(target, sizeof(target), "link%d", i - 1);
        snprintf(name, sizeof(name), "d/link%d", i);
        assert_int_equal(symlink(target, nxt_path(name)), 0);
    }
    rename(nxt_path("d/link30"), nxt_path("d/better.so")); /* 31 links are well */
    loaded(nxt_path("d/better.so"), NX_PLUGIN_DRIVER);
    refused(nxt_path("d/link49"), -ENOENT, "no such file");
    assert_int_equal(symlink("better.so", nxt_path("d/link30")), 0);
    refused(nxt_path("d/link49"), -ELOOP, "symbolic links");
}

static void unreadable_file_is_refused_with_the_right_that_lacks(void **state)
{
    const char *path;

    (void)state;
    if (geteuid() != 0) {
        print_message("only root can become a user without rights\n");
        skip();
    }
    path = nxt_sample("good.so");
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(seteuid(somebody), 0);
    refused(path, -EACCES, "realpath(3): Permission denied: this user needs the right to search its directories");
    assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod(nxt_dir, 0755), 0);
    assert_int_equal(seteuid(somebody), 0);
    refused(path, -EACCES, "open(2): Permission denied: this user needs the right");
    assert_int_equal(seteuid(0), 0);
}

/* /proc/self/exe is this program's file, and not that of an emulator that runs it: what is done to it is undone. */
static bool program_is_its_file(void)
{
    char path[PATH_MAX];
    struct stat runs, named;

    return realpath("/proc/self/exe", path) && stat("/proc/self/exe", &runs) == 0 && stat(path, &named) == 0 &&
           runs.st_dev == named.st_dev && runs.st_ino == named.st_ino;
}

static void owned_by_somebody_else_is_trusted_only_with_the_program(void **state)
{
    const char *path;
    struct stat program;

    (void)state;
    if (geteuid() != 0) {
        print_message("only root can give files away\n");
        skip();
    }
    if (!program_is_its_file()) {
        print_message("the program's file belongs to an emulator\n");
        skip();
    }
    nxt_mkdir("d");
    path = nxt_sample("d/good.so");
    assert_int_equal(chown(path, somebody, (gid_t)-1), 0);
    refused(path, -EACCES, "belongs to user 65534, neither root nor this user");
    assert_int_equal(chown(path, 0, (gid_t)-1), 0);
    assert_int_equal(chown(nxt_path("d"), somebody, (gid_t)-1), 0);
    refused(path, -EACCES, "the directory ");
    assert_int_equal(stat("/proc/self/exe", &program), 0);
    assert_int_equal(chown("/proc/self/exe", somebody, (gid_t)-1),
                     0); /* who could change the program needs no plugin */
    loaded(path, NX_PLUGIN_DRIVER);
    assert_int_equal(chown("/proc/self/exe", program.st_uid, (gid_t)-1), 0);
}

static void writable_by_a_group_is_trusted_only_if_it_could_change_the_program(void **state)
{
    const char *path;
    struct stat program;

    (void)state;
    if (geteuid() != 0) {
        print_message("only root can give files to any group\n");
        skip();
    }
    if (!program_is_its_file()) {
        print_message("the program's file belongs to an emulator\n");
        skip();
    }
    nxt_mkdir("d");
    path = nxt_sample("d/good.so");
    chmod(path, 0775);
    assert_int_equal(chown(path, 0, 65533), 0);
    refused(path, -EACCES, "others can write to it");
    assert_int_equal(stat("/proc/self/exe", &program), 0);
    assert_int_equal(chown("/proc/self/exe", program.st_uid, 65533), 0);
    assert_int_equal(chmod("/proc/self/exe", 0775), 0);
    loaded(path, NX_PLUGIN_DRIVER);
    assert_int_equal(chown("/proc/self/exe", program.st_uid, program.st_gid), 0);
    assert_int_equal(chmod("/proc/self/exe", program.st_mode & 07777), 0);
}

/* Mapped, a file shorter than its segments ends in SIGBUS. */
static void truncated_file_is_refused_at_every_length(void **state)
{
    size_t size = 0, lengths = 0;
    const char *bytes = nxt_samples_bytes(&size);

    (void)state;
    for (size_t length = 0; length < size; length += length < 128 ? 1 : size / 61) {
        const char *path = nxt_path("good.so");

        assert_int_equal(nxt_write(path, bytes, length), 0);
        refused(path, -ENOEXEC, "it ");
        lengths++;
    }
    assert_true(lengths > 128);
    assert_int_equal(
        nxt_write(nxt_path("good.so"), "#!/bin/sh\n# long enough to be one, but no shared object at all\n", 64), 0);
    refused(nxt_path("good.so"), -ENOEXEC, "it is no shared object");
}

static void damaged_file_never_leads_looking_astray(void **state)
{
    size_t size;
    const char *bytes = nxt_samples_bytes(&size);
    char *copy = malloc(size);
    uint64_t random = 0x9e3779b97f4a7c15u;
    unsigned refusals = 0;
    const ElfW(Ehdr) *header = (const void *)bytes;
    size_t tail = size - header->e_shoff < size ? header->e_shoff : 0;

    (void)state;
    for (unsigned round = 0; round < 2000; round++) {
        const char *path = nxt_path("good.so");
        struct nxi_peek peek = {0};
        char sentence[512];
        int r;

        memcpy(copy, bytes, size);
        for (unsigned i = 0; i < 4; i++) {
            random ^= random << 13, random ^= random >> 7, random ^= random << 17;
            /* headers, then section headers, then anywhere */
            copy[i < 2 ? random % 1024 : i < 3 ? tail + random % (size - tail) : random % size] = (char)(random >> 32);
        }
        assert_int_equal(nxt_write(path, copy, size), 0);
        r = nxi_loader_look(path, NX_PLUGIN_DRIVER, &peek, sentence, sizeof(sentence));
        assert_true(r == 0 || r == -ENOEXEC);
        refusals += r < 0;
    }
    assert_true(refusals > 100 && refusals < 2000);
    free(copy);
}

static void file_for_another_machine_is_refused_with_both_named(void **state)
{
    size_t size = 0;
    const char *bytes = nxt_samples_bytes(&size);
    char *copy = malloc(size);
    ElfW(Ehdr) *header = (void *)copy;
    const bool on_arm = ((const ElfW(Ehdr) *)(const void *)bytes)->e_machine == EM_AARCH64;

    (void)state;
    memcpy(copy, bytes, size);
    header->e_machine = on_arm ? EM_X86_64 : EM_AARCH64;
    assert_int_equal(nxt_write(nxt_path("good.so"), copy, size), 0);
    refused(nxt_path("good.so"), -ENOEXEC,
            on_arm ? "built for x86-64 (ELF machine 62)" : "built for aarch64 (ELF machine 183)");
    header->e_machine = EM_VAX;
    assert_int_equal(nxt_write(nxt_path("good.so"), copy, size), 0);
    refused(nxt_path("good.so"), -ENOEXEC, "built for another machine (ELF machine 75)");
    memcpy(copy, bytes, size);
    header->e_ident[EI_CLASS] = ELFCLASS32;
    assert_int_equal(nxt_write(nxt_path("good.so"), copy, size), 0);
    refused(nxt_path("good.so"), -ENOEXEC, "rebuild it for this machine");
    memcpy(copy, bytes, size);
    header->e_ident[EI_DATA] = ELFDATA2MSB;
    header->e_machine = __builtin_bswap16(EM_S390);
    assert_int_equal(nxt_write(nxt_path("good.so"), copy, size), 0);
    refused(nxt_path("good.so"), -ENOEXEC, "built for s390 (ELF machine 22)");
    memcpy(copy, bytes, size);
    header->e_type = ET_REL;
    assert_int_equal(nxt_write(nxt_path("good.so"), copy, size), 0);
    refused(nxt_path("good.so"), -ENOEXEC, "but no shared object");
    free(copy);
}

static void dynamic_linker_is_quoted_when_it_refuses(void **state)
{
    size_t size = 0;
    const char *bytes = nxt_samples_bytes(&size);
    char *copy = malloc(size);

    (void)state;
    memcpy(copy, bytes, size);
    copy[EI_OSABI] = 77;
    assert_int_equal(nxt_write(nxt_path("good.so"), copy, size), 0);
    free(copy);
    refused(nxt_path("good.so"), -ENOEXEC, "dlopen(3): ");
    refused(nxt_path("good.so"), -ENOEXEC, "install what it needs (ldd /tmp/nxt-plugin-");
}

static void running_out_of_descriptors_is_not_the_plugins_fault(void **state)
{
    const char *path = nxt_sample("good.so");
    struct rlimit limit, none;
    int next = dup(0);

    (void)state;
    close(next);
    getrlimit(RLIMIT_NOFILE, &limit);
    none = limit;
    none.rlim_cur = (rlim_t)next;
    setrlimit(RLIMIT_NOFILE, &none);
    refused(path, -EMFILE, "Too many open files");
    none.rlim_cur = (rlim_t)next + 1; /* enough to look, not to load */
    setrlimit(RLIMIT_NOFILE, &none);
    refused(path, -EMFILE, "dlopen(3): ");
    setrlimit(RLIMIT_NOFILE, &limit);
    loaded(path, NX_PLUGIN_DRIVER);
}

/* ---- find.c ---- */

static void directories_are_looked_in_in_order_and_by_kind(void **state)
{
    char path[256], expected[PATH_MAX], error[512], *found;

    (void)state;
    nxt_mkdir("a");
    nxt_mkdir("b");
    nxt_mkdir("b/backends");
    nxt_mkdir("b/sched");
    nxt_sample("b/backends/libgood.so");
    nxt_sample("b/sched/fair.so");
    snprintf(path, sizeof(path), ":%s/a::%s/b:", nxt_dir, nxt_dir);
    assert_int_equal(nxi_find_file(NX_PLUGIN_DRIVER, path, "good", &found, error, sizeof(error)), 0);
    assert_string_equal(found, nxt_path("b/backends/libgood.so"));
    free(found);
    assert_int_equal(nxi_find_file(NX_PLUGIN_DRIVER, path, "fair", &found, error, sizeof(error)), -ENOENT);
    snprintf(expected, sizeof(expected), "%s/a/backends, %s/b, ", nxt_dir, nxt_dir);
    assert_non_null(strstr(error, expected));
    nxt_sample("a/good.so");
    assert_int_equal(nxi_find_file(NX_PLUGIN_DRIVER, path, "good", &found, error, sizeof(error)), 0);
    assert_string_equal(found, nxt_path("a/good.so"));
    free(found);
    nxi_plugin_dir = nxt_path("b");
    assert_int_equal(nxi_find_file(NX_PLUGIN_SCHEDULER, NULL, "fair", &found, error, sizeof(error)), 0);
    free(found);
    nxi_plugin_dir = "/nonexistent/nexus";
}

static void relative_directory_is_an_error(void **state)
{
    char error[512], *found, *longer = malloc(5000);
    struct nxi_found_list list;

    (void)state;
    assert_int_equal(nxi_find_file(NX_PLUGIN_DRIVER, "/opt:plugins", "good", &found, error, sizeof(error)), -EINVAL);
    assert_non_null(strstr(error, "NEXUS_PLUGIN_PATH: 'plugins' begins with a relative path"));
    assert_int_equal(nxi_find_all(NX_PLUGIN_DRIVER, "./x", &list, error, sizeof(error)), -EINVAL);
    memset(longer, 'x', 4999);
    longer[4999] = '\0';
    assert_int_equal(nxi_find_all(NX_PLUGIN_DRIVER, longer, &list, error, sizeof(error)), -EINVAL);
    assert_non_null(strstr(error, "longer than 4096"));
    longer[0] = '\0';
    for (int i = 0; i <= NXI_DIRECTORIES_MAX; i++)
        strcat(longer, "/d:");
    assert_int_equal(nxi_find_all(NX_PLUGIN_DRIVER, longer, &list, error, sizeof(error)), -EINVAL);
    assert_non_null(strstr(error, "more than 64"));
    free(longer);
}

static void list_is_in_the_order_of_the_automatic_choice(void **state)
{
    static const char *const expected[] = {"denied", "best", "better", "good", "newer_minor", "shy"};
    struct nxi_found_list list;
    char path[256], error[512];

    (void)state;
    nxt_mkdir("a");
    nxt_mkdir("b");
    for (size_t i = 0; i < 6; i++) {
        char name[64];

        snprintf(name, sizeof(name), "a/%s.so", expected[(i * 5 + 3) % 6]);
        assert_non_null(nxt_sample(name));
    }
    nxt_sample("a/fair.so"); /* a scheduler: not in this list */
    nxt_sample("b/good.so"); /* shadowed */
    nxt_write(nxt_path("a/README"), "x", 1);
    snprintf(path, sizeof(path), "%s/a:%s/b", nxt_dir, nxt_dir);
    assert_int_equal(nxi_find_all(NX_PLUGIN_DRIVER, path, &list, error, sizeof(error)), 0);
    assert_int_equal(list.count, 7);
    for (size_t i = 0, k = 0; i < list.count; i++) {
        if (list.items[i].shadowed) {
            assert_string_equal(list.items[i].path, nxt_path("b/good.so"));
            continue;
        }
        assert_string_equal(list.items[i].name, expected[k++]);
        assert_int_equal(list.items[i].error, k == 5 ? -ENOEXEC : 0);
        assert_true((list.items[i].refusal != NULL) == (k == 5));
    }
    nxi_found_list_clear(&list);
    nxi_found_list_clear(NULL);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, nxt_dir_setup, nxt_dir_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(symbol_follows_from_the_file_name),
        CASE(good_plugin_loads_once_however_often_it_is_asked_for),
        CASE(two_copies_are_two_plugins),
        CASE(older_minor_is_welcome),
        CASE(bad_structs_are_refused_with_a_sentence),
        CASE(bad_tables_are_refused_with_the_slot_named),
        CASE(slot_beyond_a_table_is_not_there),
        CASE(file_under_another_name_is_refused_with_the_symbol),
        CASE(what_is_no_regular_file_is_refused_without_opening_it),
        CASE(writable_by_others_is_not_trusted),
        CASE(link_is_judged_by_what_it_leads_to),
        CASE(link_is_judged_by_where_it_lies_too),
        CASE(path_is_walked_as_the_kernel_walks_it),
        CASE(unreadable_file_is_refused_with_the_right_that_lacks),
        CASE(owned_by_somebody_else_is_trusted_only_with_the_program),
        CASE(writable_by_a_group_is_trusted_only_if_it_could_change_the_program),
        CASE(truncated_file_is_refused_at_every_length),
        CASE(damaged_file_never_leads_looking_astray),
        CASE(file_for_another_machine_is_refused_with_both_named),
        CASE(dynamic_linker_is_quoted_when_it_refuses),
        CASE(running_out_of_descriptors_is_not_the_plugins_fault),
        CASE(directories_are_looked_in_in_order_and_by_kind),
        CASE(relative_directory_is_an_error),
        CASE(list_is_in_the_order_of_the_automatic_choice),
    };

    return cmocka_run_group_tests(tests, have_samples, NULL);
}
