/* The grammar of lists, and words. */
#include "spec.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct nxi_spec_list parsed(const char *text)
{
    struct nxi_spec_list list;
    char error[512] = "";
    int r = nxi_spec_parse(text, &list, error, sizeof(error));

    if (r != 0)
        fail_msg("'%s': %s", text, error);
    return list;
}

/* text is refused, and the sentence has all of that in it. */
static void refused(const char *text, const char *with)
{
    struct nxi_spec_list list = {.count = 77};
    char error[512] = "";

    if (nxi_spec_parse(text, &list, error, sizeof(error)) != -EINVAL)
        fail_msg("'%s' was taken", text);
    if (!strstr(error, with))
        fail_msg("'%s': \"%s\" doesn't say \"%s\"", text, error, with);
    assert_int_equal(list.count, 77);
}

static void empty_list_has_no_items(void **state)
{
    struct nxi_spec_list list = parsed("");

    (void)state;
    assert_int_equal(list.count, 0);
    assert_false(list.negated || list.automatic);
    nxi_spec_clear(&list);
    nxi_spec_clear(NULL);
}

static void items_keep_their_order(void **state)
{
    struct nxi_spec_list list = parsed("iouring,epoll,my-driver_2");

    (void)state;
    assert_int_equal(list.count, 3);
    assert_string_equal(list.items[0].name, "iouring");
    assert_string_equal(list.items[1].name, "epoll");
    assert_string_equal(list.items[2].name, "my-driver_2");
    assert_false(list.automatic || list.negated || list.items[0].is_path);
    nxi_spec_clear(&list);
}

static void auto_ends_a_list_and_is_no_item(void **state)
{
    struct nxi_spec_list list = parsed("iouring,auto");

    (void)state;
    assert_int_equal(list.count, 1);
    assert_true(list.automatic);
    nxi_spec_clear(&list);
    list = parsed("auto");
    assert_int_equal(list.count, 0);
    assert_true(list.automatic);
    nxi_spec_clear(&list);
    refused("auto,epoll", "must be the last");
    refused("epoll,auto,auto", "must be the last");
    refused("auto:x=1", "no parameters");
}

static void caret_negates_the_whole_list(void **state)
{
    struct nxi_spec_list list = parsed("^io_uring,epoll");

    (void)state;
    assert_true(list.negated);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.items[0].name, "iouring");
    nxi_spec_clear(&list);
    refused("^", "empty item");
    refused("epoll,^iouring", "first character");
    refused("^iouring,auto", "only names");
    refused("^/opt/x.so", "only names");
    refused("^iouring:entries=4", "only names");
}

static void parameters_are_unescaped(void **state)
{
    struct nxi_spec_list list = parsed("iouring:entries=4096:label=a%2Cb%3a%25=%2B,epoll:empty=");

    (void)state;
    assert_int_equal(list.count, 2);
    assert_int_equal(list.items[0].param_count, 2);
    assert_string_equal(list.items[0].params[0].key, "entries");
    assert_string_equal(list.items[0].params[0].value, "4096");
    assert_string_equal(list.items[0].params[1].value, "a,b:%=+");
    assert_int_equal(list.items[1].param_count, 1);
    assert_string_equal(list.items[1].params[0].key, "empty");
    assert_string_equal(list.items[1].params[0].value, "");
    nxi_spec_clear(&list);
    refused("a:b", "key=value");
    refused("a:", "key=value");
    refused("a:=1", "no parameter's name");
    refused("a:b c=1", "no parameter's name");
    refused("a:b=%2", "hexadecimal");
    refused("a:b=%zz", "hexadecimal");
    refused("a:b=%00", "hexadecimal");
    refused("a:b=1:b=2", "twice");
}

static void paths_are_absolute_and_plain(void **state)
{
    struct nxi_spec_list list = parsed("/opt/my.so:entries=1,epoll");

    (void)state;
    assert_true(list.items[0].is_path);
    assert_string_equal(list.items[0].name, "/opt/my.so");
    assert_int_equal(list.items[0].param_count, 1);
    assert_false(list.items[1].is_path);
    nxi_spec_clear(&list);
    refused("./my.so", "relative path");
    refused("plugins/my.so", "relative path");
    refused("my.so", "absolute path");
    refused("/opt/a%20b.so", "can't contain '%'");
    refused("/opt/c++/my.so", "can't contain '+'");
    refused("/opt/a:b.so", "can't contain ','  ':'");
    refused("/opt/a,b.so", "can't contain ','");
}

static void plus_is_reserved(void **state)
{
    (void)state;
    refused("chaos+epoll", "'+' is reserved for layers");
    refused("chaos:seed=7+epoll", "'+' is reserved for layers");
    refused("epoll:label=a+b", "%2B");
}

static void nonsense_is_refused_and_quoted_harmlessly(void **state)
{
    char *text = malloc(NXI_SPEC_LENGTH_MAX + 2), error[512];
    struct nxi_spec_list list;

    (void)state;
    refused("epoll,,iouring", "empty item");
    refused("epoll,", "empty item");
    refused(",epoll", "empty item");
    refused(" epoll", "without blanks");
    refused("epoll, iouring", "without blanks");
    refused("\033[31m", "'?[31m'");

    memset(text, 'a', NXI_SPEC_LENGTH_MAX + 1);
    text[NXI_SPEC_LENGTH_MAX + 1] = '\0';
    refused(text, "longer than 4096 bytes");
    text[NXI_SPEC_LENGTH_MAX] = '\0';
    refused(text, "longer than 63");
    for (size_t i = 1; i < NXI_SPEC_LENGTH_MAX; i += 2)
        text[i] = ',';
    text[NXI_SPEC_LENGTH_MAX - 1] = '\0';
    refused(text, "more than 32 items");
    strcpy(text, "a");
    for (unsigned i = 0; i <= NXI_SPEC_PARAMS_MAX; i++)
        sprintf(text + strlen(text), ":k%u=1", i);
    refused(text, "more than 32 parameters");
    free(text);
    assert_int_equal(nxi_spec_parse("a,,b", &list, error, 0), -EINVAL); /* nowhere to put the sentence */
}

static void aliases_stand_for_one_name(void **state)
{
    (void)state;
    assert_string_equal(nxi_name_canonical("io_uring"), "iouring");
    assert_string_equal(nxi_name_canonical("work-stealing"), "work_stealing");
    assert_string_equal(nxi_name_canonical("epoll"), "epoll");
    assert_true(nxi_name_valid("work-stealing"));
    assert_false(nxi_name_valid("auto"));
    assert_false(nxi_name_valid(""));
    assert_false(nxi_name_valid("a.b"));
}

static void distance_counts_slips(void **state)
{
    (void)state;
    assert_int_equal(nxi_distance("epoll", "epoll"), 0);
    assert_int_equal(nxi_distance("EPOLL", "epoll"), 0);
    assert_int_equal(nxi_distance("eopll", "epoll"), 1);
    assert_int_equal(nxi_distance("epol", "epoll"), 1);
    assert_int_equal(nxi_distance("epolll", "epoll"), 1);
    assert_int_equal(nxi_distance("uring", "iouring"), 2);
    assert_int_equal(nxi_distance("", "ab"), 2);
    assert_true(nxi_distance("kqueue", "epoll") > NXI_NEAR);
    assert_true(nxi_distance("NEXUS_HOME", "NEXUS_LOG") > NXI_NEAR);
}

static void nearest_word_needs_something_in_common(void **state)
{
    const char *words[] = {"epoll", "iouring", "ab"};

    (void)state;
    assert_ptr_equal(nxi_nearest("epol", words, 3), words[0]);
    assert_ptr_equal(nxi_nearest("ioruing", words, 3), words[1]);
    assert_null(nxi_nearest("xy", words, 3));
    assert_null(nxi_nearest("kqueue", words, 3));
    assert_null(nxi_nearest("epoll", words, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_list_has_no_items),
        cmocka_unit_test(items_keep_their_order),
        cmocka_unit_test(auto_ends_a_list_and_is_no_item),
        cmocka_unit_test(caret_negates_the_whole_list),
        cmocka_unit_test(parameters_are_unescaped),
        cmocka_unit_test(paths_are_absolute_and_plain),
        cmocka_unit_test(plus_is_reserved),
        cmocka_unit_test(nonsense_is_refused_and_quoted_harmlessly),
        cmocka_unit_test(aliases_stand_for_one_name),
        cmocka_unit_test(distance_counts_slips),
        cmocka_unit_test(nearest_word_needs_something_in_common),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
