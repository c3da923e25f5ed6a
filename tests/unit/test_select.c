/* The decision: strictness, fallback, sentences, and that open is called for the chosen one. */
#define _GNU_SOURCE
#include "../plugin/samples.h"
#include "find.h"
#include "select.h"

#include <errno.h>
#include <nexus/driver.h>
#include <nexus/runtime.h>
#include <nexus/sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct nx_driver_ops inside_ops = {
    .size = sizeof(struct nx_driver_ops),
    .domains = NX_DOMAIN_NETWORK,
    .open = (void *)1,
    .close = (void *)1,
    .ctx_open = (void *)1,
    .ctx_close = (void *)1,
    .submit = (void *)1,
    .cancel = (void *)1,
    .poll = (void *)1,
    .arm = (void *)1,
    .disarm = (void *)1,
    .wake = (void *)1,
};

static int inside_probe_result;

static int inside_probe(const struct nx_host *host, const struct nx_config *config, struct nx_reason *ret_reason)
{
    (void)host, (void)config, (void)ret_reason;
    return inside_probe_result;
}

static struct nx_plugin inside = {
    /* built in: its kind is 0, nobody's, but where a case wants it */
    .magic = NX_PLUGIN_MAGIC,  .size = sizeof(struct nx_plugin),
    .abi_major = NX_ABI_MAJOR, .abi_minor = NX_ABI_MINOR,
    .name = "inside",          .priority = 1,
    .probe = inside_probe,     .ops = &inside_ops,
};
const struct nx_plugin *const nxi_builtin_plugins[] = {&inside, NULL};

/* ---- a request, and what it leaves ---- */

static struct nxi_request request;
static struct nxi_selection selection;
static char error[2048], warnings[4096], debug[16384];
static char plugin_path[256];
static int open_result;
static unsigned opened;
static char opened_names[256];

static void log_it(void *arg, int level, const char *message)
{
    char *to = level == NX_LOG_WARN ? warnings : debug;
    size_t room = level == NX_LOG_WARN ? sizeof(warnings) : sizeof(debug);

    assert_ptr_equal(arg, &request);
    assert_true(level == NX_LOG_WARN || level == NX_LOG_DEBUG);
    assert_true(strlen(to) + strlen(message) + 2 < room);
    strcat(to, message);
    strcat(to, "\n");
}

static int open_it(void *arg, const struct nx_plugin *plugin, const struct nx_config *config,
                   struct nx_reason *ret_reason)
{
    assert_ptr_equal(arg, &open_result);
    assert_non_null(config);
    opened++;
    strcat(opened_names, plugin->name);
    strcat(opened_names, " ");
    if (open_result < 0) {
        ret_reason->error = -open_result;
        strcpy(ret_reason->call, "sample_open(2)");
    }
    return open_result;
}

static int setup(void **state)
{
    if (nxt_dir_setup(state) < 0)
        return -1;
    snprintf(plugin_path, sizeof(plugin_path), "%s", nxt_dir);
    request = (struct nxi_request){.kind = NX_PLUGIN_DRIVER,
                                   .variable = "NEXUS_BACKEND",
                                   .plugin_path = plugin_path,
                                   .open = open_it,
                                   .open_arg = &open_result,
                                   .log = log_it,
                                   .log_arg = &request};
    selection = (struct nxi_selection){0};
    error[0] = warnings[0] = debug[0] = opened_names[0] = '\0';
    opened = 0;
    open_result = 0;
    inside.kind = 0;
    inside_probe_result = 0;
    nxi_plugin_dir = "/nonexistent/nexus";
    return 0;
}

static int teardown(void **state)
{
    nxi_selection_clear(&selection);
    return nxt_dir_teardown(state);
}

static void put(const char *name)
{
    char file[80];

    snprintf(file, sizeof(file), "%s.so", name);
    if (!nxt_sample(file))
        fail_msg("%s can't be copied", nxt_samples_file());
}

static void contains(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" doesn't say \"%s\"", text, part);
}

static void chooses(const char *name)
{
    int r;

    nxi_selection_clear(&selection);
    warnings[0] = debug[0] = '\0';
    r = nxi_select(&request, &selection, error, sizeof(error));
    if (r != 0)
        fail_msg("%s (%d)", error, r);
    assert_string_equal(selection.plugin->name, name);
    assert_non_null(selection.why);
    assert_non_null(selection.config);
    contains(selection.why, "chosen: ");
}

static void fails(int with, const char *sentence)
{
    int r = nxi_select(&request, &selection, error, sizeof(error));

    if (r != with)
        fail_msg("%d, not %d: %s", r, with, r ? error : selection.plugin->name);
    contains(error, sentence);
    assert_null(selection.plugin);
}

/* ---- asked for ---- */

static void name_chooses_its_file(void **state)
{
    (void)state;
    put("good");
    put("better");
    request.env_value = "good";
    chooses("good");
    assert_string_equal(selection.path, nxt_path("good.so"));
    assert_string_equal(warnings, "");
    assert_int_equal(opened, 1);
    contains(selection.why, "NEXUS_BACKEND=good\ngood (");
    assert_string_equal(selection.why, debug);
}

static void path_chooses_that_file(void **state)
{
    (void)state;
    put("good");
    request.plugin_path = NULL;
    request.env_value = nxt_path("good.so");
    chooses("good");
    request.env_value = nxt_path("nothing.so");
    nxi_selection_clear(&selection);
    fails(-ENOENT, "there is no such file");
}

static void builtin_goes_before_a_file_of_its_name(void **state)
{
    (void)state;
    inside.kind = NX_PLUGIN_DRIVER;
    put("inside");
    request.env_value = "inside";
    chooses("inside");
    assert_string_equal(selection.path, "");
    assert_ptr_equal(selection.plugin, &inside);
}

static void parameters_reach_the_config(void **state)
{
    (void)state;
    put("good");
    request.env_value = "good:entries=7:label=a%2Cb";
    chooses("good");
    assert_string_equal(nxi_config_param(selection.config, "entries"), "7");
    assert_string_equal(nxi_config_param(selection.config, "label"), "a,b");
    assert_string_equal(nxi_config_param(selection.config, "polled"), "0");
}

static void bad_parameter_is_an_error_whatever_follows(void **state)
{
    (void)state;
    put("good");
    put("better");
    request.env_value = "good:entires=7,better,auto";
    fails(-EINVAL,
          "NEXUS_BACKEND=good:entires=7,better,auto: good has no parameter 'entires' (did you mean 'entries'?); "
          "it has: entries (a decimal number, default '64')");
    request.env_value = "good:entries=many,auto";
    fails(-EINVAL, "'entries' must be a decimal number, not 'many'");
    assert_int_equal(opened, 0);
}

static void bad_list_is_an_error_with_the_variable_in_it(void **state)
{
    (void)state;
    request.env_value = "./good.so";
    fails(-EINVAL, "NEXUS_BACKEND=./good.so: './good.so' is a relative path");
    request.env_value = NULL;
    request.option_value = "a+b";
    fails(-EINVAL, "the program's backend 'a+b': 'a+b': '+' is reserved");
}

static void what_cannot_run_is_an_error_with_call_and_remedy(void **state)
{
    (void)state;
    put("denied");
    put("good");
    request.env_value = "denied";
    fails(-EPERM, "NEXUS_BACKEND=denied: denied can't be used: sample_setup(2): EPERM (the system forbids samples). "
                  "Set kernel.sample_disabled to 0");
    assert_string_equal(warnings, "");
    request.env_value = "good,denied";
    chooses("good");
    assert_int_equal(opened, 1);
}

static void unknown_name_is_an_error_with_the_nearest(void **state)
{
    (void)state;
    put("good");
    put("better");
    put("newer_minor");
    request.env_value = "betetr";
    fails(-ENOENT, "there is no backend 'betetr' (did you mean 'better'?); there are: better, good");
    assert_null(strstr(error, "newer_minor")); /* could not be had anyway */
    request.env_value = "kqueue";
    fails(-ENOENT, "there is no backend 'kqueue'; there are: better, good");
    request.plugin_path = NULL;
    fails(-ENOENT, "nor any other; looked in /nonexistent/nexus/backends");
}

static void name_of_the_other_kind_is_said_to_be_one(void **state)
{
    (void)state;
    nxt_mkdir("sched");
    nxt_sample("sched/fair.so");
    request.env_value = "fair";
    fails(-ENOENT, "'fair' is a scheduler: that is chosen by NEXUS_SCHED");
    request.kind = NX_PLUGIN_SCHEDULER;
    request.variable = "NEXUS_SCHED";
    chooses("fair");
}

static void file_that_is_refused_is_named(void **state)
{
    char part[512];

    (void)state;
    put("newer_minor");
    put("good");
    request.env_value = "newer_minor";
    snprintf(part, sizeof(part), "newer_minor can't be used: %s: it was built for plugin ABI 0.3",
             nxt_path("newer_minor.so"));
    fails(-ENOEXEC, part);
    request.env_value = "newer_minor,good";
    chooses("good");
    contains(warnings, "newer_minor not used: ");
    chmod(nxt_path("good.so"), 0777);
    request.env_value = "good";
    nxi_selection_clear(&selection);
    fails(-EACCES, "others can write to it");
}

static void alias_finds_the_one_it_stands_for(void **state)
{
    (void)state;
    request.env_value = "io_uring";
    fails(-ENOENT, "'iouring'");
}

/* ---- lists ---- */

static void list_goes_on_past_what_is_unavailable_and_says_so(void **state)
{
    (void)state;
    put("denied");
    put("good");
    put("better");
    request.env_value = "denied,nothing,good,better";
    chooses("good");
    contains(warnings,
             "denied not used: sample_setup(2): EPERM (the system forbids samples). Set kernel.sample_disabled to "
             "0. Using good (the next in the list).\n");
    contains(warnings, "there is no backend 'nothing'; there are: denied, better, good. Using good");
    assert_string_equal(opened_names, "good ");
    contains(selection.why, "denied: sample_setup(2): EPERM");
}

static void exhausted_list_is_an_error_with_every_reason(void **state)
{
    (void)state;
    put("denied");
    put("mute");
    put("good");
    request.env_value = "denied,mute";
    fails(-ENOSYS, "NEXUS_BACKEND=denied,mute: denied can't be used: sample_setup(2): EPERM");
    contains(error, "; mute can't be used: ENOSYS (Function not implemented)");
    assert_int_equal(opened, 0);
}

static void auto_at_the_end_falls_back_with_a_warning(void **state)
{
    (void)state;
    put("denied");
    put("good");
    put("better");
    request.env_value = "denied,auto";
    chooses("better");
    assert_string_equal(
        warnings, "denied not used: sample_setup(2): EPERM (the system forbids samples). Set kernel.sample_disabled "
                  "to 0. Using better (allowed by ',auto').\n");
    contains(selection.why, "denied (");
    contains(selection.why, "was tried");
    contains(selection.why, "chosen: better (allowed by ',auto')");
}

static void running_out_of_something_never_falls_back(void **state)
{
    static const int errors[] = {-ENOMEM, -EMFILE, -ENFILE, -EAGAIN, -EIO};

    (void)state;
    put("full");
    put("good");
    request.env_value = "full,good,auto";
    fails(-EMFILE, "full can't be used: sample_setup(2): EMFILE (Too many open files)");
    request.env_value = NULL;
    fails(-EMFILE, "full: sample_setup(2): EMFILE");
    assert_int_equal(opened, 0);
    unlink(nxt_path("full.so"));
    put("better");
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        open_result = errors[i];
        request.env_value = "better,good,auto";
        fails(errors[i], "sample_open(2)");
        request.env_value = NULL;
        fails(errors[i], "sample_open(2)");
    }
    assert_string_equal(opened_names, "better better better better better better better better better better ");
}

static void open_that_finds_it_unavailable_passes_on(void **state)
{
    static const int errors[] = {-ENOSYS, -EPERM, -EACCES, -EINVAL, -ENOENT, -ENOTSUP, -EOPNOTSUPP, -ENODEV};

    (void)state;
    put("good");
    put("better");
    request.env_value = "good,better";
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
        opened_names[0] = '\0';
        open_result = errors[i];
        fails(errors[i], "better can't be used: sample_open(2): ");
        assert_string_equal(opened_names, "good better ");
    }
}

/* ---- automatic ---- */

static void unset_chooses_by_priority_then_name_in_silence(void **state)
{
    (void)state;
    put("good");
    put("better");
    put("best");
    put("shy");
    put("denied");
    put("newer_minor");
    inside.kind = NX_PLUGIN_DRIVER;
    chooses("best");
    assert_string_equal(warnings, "");
    assert_string_equal(opened_names, "best ");
    contains(debug, "denied (");
    contains(selection.why, "NEXUS_BACKEND is not set\n");
    unlink(nxt_path("best.so"));
    chooses("better");
    unlink(nxt_path("better.so"));
    chooses("good");
    unlink(nxt_path("good.so"));
    chooses("inside");
    inside.kind = 0;
    nxi_selection_clear(&selection);
    fails(-ENOTSUP, "no backend can run here; denied: sample_setup(2): EPERM");
    request.env_value = "auto";
    fails(-ENOTSUP, "NEXUS_BACKEND=auto: no backend can run here");
    request.env_value = "shy";
    chooses("shy");
}

static void empty_is_unset(void **state)
{
    (void)state;
    put("good");
    request.env_value = "";
    request.option_value = "";
    chooses("good");
    contains(selection.why, "NEXUS_BACKEND is not set");
}

static void nothing_to_choose_from_is_an_error(void **state)
{
    (void)state;
    fails(-ENOENT, "NEXUS_BACKEND is not set: there is no backend to choose from");
}

static void wrong_directories_are_not_blamed_on_the_list(void **state)
{
    static const char *const values[] = {NULL, "good", "auto", "good,better", "^good"};

    (void)state;
    request.plugin_path = "plugins";
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        request.env_value = values[i];
        fails(-EINVAL, "NEXUS_PLUGIN_PATH: 'plugins' begins with a relative path");
        assert_ptr_equal(strstr(error, "NEXUS_"), error);
        assert_null(strstr(error, "NEXUS_BACKEND"));
    }
}

static void caret_excludes(void **state)
{
    (void)state;
    put("good");
    put("better");
    request.env_value = "^better,epoll"; /* epoll is one of ours, built or not */
    chooses("good");
    assert_string_equal(warnings, "");
    contains(selection.why, "excluded by '^'");
    request.env_value = "^beter";
    nxi_selection_clear(&selection);
    fails(-ENOENT, "there is no backend 'beter' (did you mean 'better'?)");
    request.env_value = "^better,good";
    fails(-ENOENT, "there is no other backend to choose from");
}

static void domain_that_is_not_offered_is_passed_over_unless_named(void **state)
{
    (void)state;
    put("files");
    put("better");
    request.domains = NX_DOMAIN_FILES;
    request.variable = "NEXUS_BACKEND_FILE";
    request.env_value = "better";
    chooses("better"); /* asked for by name, it means files without a driver's help */
    request.env_value = NULL;
    chooses("files");
    request.domains = NX_DOMAIN_NETWORK;
    chooses("better");
}

/* ---- whose word counts ---- */

static void environment_wins_over_the_program(void **state)
{
    (void)state;
    put("good");
    put("better");
    request.env_value = "good";
    request.option_value = "better";
    chooses("good");
    contains(selection.why, "NEXUS_BACKEND=good; the program's own choice yields to it");
    request.env_value = NULL;
    chooses("better");
    contains(selection.why, "the program's backend 'better'");
}

static void pin_wins_over_the_environment_and_says_so(void **state)
{
    (void)state;
    put("good");
    put("better");
    request.env_value = "good";
    request.option_value = "better";
    request.pinned = true;
    chooses("better");
    assert_string_equal(warnings, "NEXUS_BACKEND is set, and ignored: the program pins its choice\n");
    contains(selection.why, "ignored: the program pins its choice");
    request.option_value = NULL;
    chooses("better"); /* automatic, pinned */
    contains(selection.why, "pins the automatic choice");
}

/* ---- sentences ---- */

static void reason_is_read_within_its_bounds(void **state)
{
    struct nx_reason reason = {.error = EPERM, .call = "c(2)", .text = "why.", .remedy = "do this."};
    char text[1024];

    (void)state;
    nxi_reason_text(&reason, -EINVAL, text, sizeof(text));
    assert_string_equal(text, "c(2): EPERM (why). do this");
    reason = (struct nx_reason){0};
    nxi_reason_text(&reason, -EINVAL, text, sizeof(text));
    assert_string_equal(text, "EINVAL (Invalid argument)");
    put("endless");
    request.env_value = "endless";
    fails(-EPERM, "endless can't be used: xxxx");
}

static void short_error_buffer_is_cut_and_none_is_fine(void **state)
{
    char small[12];

    (void)state;
    request.env_value = "nothing";
    memset(small, 'x', sizeof(small));
    assert_int_equal(nxi_select(&request, &selection, small, 8), -ENOENT);
    assert_string_equal(small, "NEXUS_B");
    assert_int_equal(small[8], 'x');
    assert_int_equal(nxi_select(&request, &selection, NULL, 0), -ENOENT);
    request.log = NULL;
    put("good");
    request.env_value = "nothing,good";
    chooses("good");
}

static void trying_tells_of_one_plugin(void **state)
{
    const struct nx_plugin *plugin = NULL;

    (void)state;
    put("good");
    put("denied");
    put("newer_minor");
    assert_int_equal(nxi_select_try(nxt_path("good.so"), NX_PLUGIN_DRIVER, NULL, &plugin, error, sizeof(error)), 0);
    assert_string_equal(plugin->name, "good");
    assert_int_equal(nxi_select_try(nxt_path("denied.so"), NX_PLUGIN_DRIVER, NULL, &plugin, error, sizeof(error)),
                     -EPERM);
    contains(error, "sample_setup(2): EPERM");
    assert_int_equal(nxi_select_try(nxt_path("newer_minor.so"), NX_PLUGIN_DRIVER, NULL, &plugin, error, sizeof(error)),
                     -ENOEXEC);
    plugin = &inside;
    inside.kind = NX_PLUGIN_DRIVER;
    assert_int_equal(nxi_select_try("", NX_PLUGIN_DRIVER, NULL, &plugin, error, sizeof(error)), 0);
    inside_probe_result = -ENODEV;
    assert_int_equal(nxi_select_try(NULL, NX_PLUGIN_DRIVER, NULL, &plugin, error, sizeof(error)), -ENODEV);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(name_chooses_its_file),
        CASE(path_chooses_that_file),
        CASE(builtin_goes_before_a_file_of_its_name),
        CASE(parameters_reach_the_config),
        CASE(bad_parameter_is_an_error_whatever_follows),
        CASE(bad_list_is_an_error_with_the_variable_in_it),
        CASE(what_cannot_run_is_an_error_with_call_and_remedy),
        CASE(unknown_name_is_an_error_with_the_nearest),
        CASE(name_of_the_other_kind_is_said_to_be_one),
        CASE(file_that_is_refused_is_named),
        CASE(alias_finds_the_one_it_stands_for),
        CASE(list_goes_on_past_what_is_unavailable_and_says_so),
        CASE(exhausted_list_is_an_error_with_every_reason),
        CASE(auto_at_the_end_falls_back_with_a_warning),
        CASE(running_out_of_something_never_falls_back),
        CASE(open_that_finds_it_unavailable_passes_on),
        CASE(unset_chooses_by_priority_then_name_in_silence),
        CASE(empty_is_unset),
        CASE(nothing_to_choose_from_is_an_error),
        CASE(wrong_directories_are_not_blamed_on_the_list),
        CASE(caret_excludes),
        CASE(domain_that_is_not_offered_is_passed_over_unless_named),
        CASE(environment_wins_over_the_program),
        CASE(pin_wins_over_the_environment_and_says_so),
        CASE(reason_is_read_within_its_bounds),
        CASE(short_error_buffer_is_cut_and_none_is_fine),
        CASE(trying_tells_of_one_plugin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
