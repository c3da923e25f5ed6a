/* Parameters of an instance. */
#include "config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const struct nx_param table[] = {
    {"entries", NX_PARAM_UINT, 0, "64", "how many"},
    {"polled", NX_PARAM_BOOL, 0, "0", "whether"},
    {"label", NX_PARAM_STRING, 0, NULL, "which"},
    {NULL, 0, 0, NULL, NULL},
};
static const struct nx_plugin plugin = {.name = "sample", .params = table};
static const struct nx_plugin plain = {.name = "plain"};

static void refused(const struct nx_plugin *of, const char *key, const char *value, const char *with)
{
    const struct nxi_spec_param given = {key, value};
    struct nx_config *config = NULL;
    char error[512] = "";

    assert_int_equal(nxi_config_new(of, &given, 1, &config, error, sizeof(error)), -EINVAL);
    assert_null(config);
    if (!strstr(error, with))
        fail_msg("\"%s\" doesn't say \"%s\"", error, with);
}

static void defaults_hold_until_something_is_given(void **state)
{
    const struct nxi_spec_param given[] = {{"label", "x,y"}, {"entries", "18446744073709551600"}};
    struct nx_config *config;
    char error[512];

    (void)state;
    assert_int_equal(nxi_config_new(&plugin, NULL, 0, &config, error, sizeof(error)), 0);
    assert_string_equal(nxi_config_param(config, "entries"), "64");
    assert_string_equal(nxi_config_param(config, "label"), "");
    assert_null(nxi_config_param(config, "depth"));
    nxi_config_free(config);

    assert_int_equal(nxi_config_new(&plugin, given, 2, &config, error, sizeof(error)), 0);
    assert_string_equal(nxi_config_param(config, "label"), "x,y");
    assert_string_equal(nxi_config_param(config, "polled"), "0");
    nxi_config_free(config);
    nxi_config_free(NULL);

    assert_int_equal(nxi_config_new(&plain, NULL, 0, &config, error, sizeof(error)), 0);
    assert_null(nxi_config_param(config, "entries"));
    nxi_config_free(config);
}

static void value_outlives_the_text_it_came_from(void **state)
{
    char text[] = "128";
    const struct nxi_spec_param given = {"entries", text};
    struct nx_config *config;
    char error[512];

    (void)state;
    assert_int_equal(nxi_config_new(&plugin, &given, 1, &config, error, sizeof(error)), 0);
    text[0] = 'x';
    assert_string_equal(nxi_config_param(config, "entries"), "128");
    nxi_config_free(config);
}

static void unknown_parameter_is_answered_with_those_there_are(void **state)
{
    (void)state;
    refused(&plugin, "entires", "1", "did you mean 'entries'?");
    refused(&plugin, "depth", "1",
            "sample has no parameter 'depth'; it has: entries (a decimal number, default '64'), ");
    refused(&plugin, "depth", "1", "polled (0 or 1, default '0')");
    refused(&plain, "depth", "1", "plain has no parameters");
}

static void value_must_be_of_its_type(void **state)
{
    (void)state;
    refused(&plugin, "entries", "", "must be a decimal number");
    refused(&plugin, "entries", "-1", "not '-1'");
    refused(&plugin, "entries", "0x10", "a decimal number");
    refused(&plugin, "entries", "1 ", "a decimal number");
    refused(&plugin, "entries", "99999999999999999999", "a decimal number");
    refused(&plugin, "polled", "yes", "must be 0 or 1, not 'yes'");
    refused(&plugin, "polled", "", "there are: entries");
}

static void table_that_is_wrong_is_refused(void **state)
{
    const struct nx_param type[] = {{"x", 9, 0, "", ""}, {NULL, 0, 0, NULL, NULL}};
    const struct nx_param value[] = {{"x", NX_PARAM_BOOL, 0, "maybe", ""}, {NULL, 0, 0, NULL, NULL}};
    struct nx_param endless[NXI_PARAMS_MAX];
    char error[512];

    (void)state;
    for (size_t i = 0; i < NXI_PARAMS_MAX; i++)
        endless[i] = (struct nx_param){"x", NX_PARAM_STRING, 0, "", ""};
    assert_int_equal(nxi_config_check_table(table, error, sizeof(error)), 0);
    assert_int_equal(nxi_config_check_table(NULL, error, sizeof(error)), 0);
    assert_int_equal(nxi_config_check_table(type, error, sizeof(error)), -EINVAL);
    assert_non_null(strstr(error, "unknown type 9"));
    assert_int_equal(nxi_config_check_table(value, error, sizeof(error)), -EINVAL);
    assert_non_null(strstr(error, "its default is 'maybe'"));
    assert_int_equal(nxi_config_check_table(endless, error, sizeof(error)), -EINVAL);
    assert_non_null(strstr(error, "has no end"));
}

static void config_knows_whose_it_is(void **state)
{
    struct nx_config *config;
    char error[512];
    int runtime;

    (void)state;
    assert_int_equal(nxi_config_new(&plain, NULL, 0, &config, error, sizeof(error)), 0);
    assert_null(nxi_config_runtime(config));
    nxi_config_set_runtime(config, &runtime);
    assert_ptr_equal(nxi_config_runtime(config), &runtime);
    nxi_config_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_hold_until_something_is_given),
        cmocka_unit_test(value_outlives_the_text_it_came_from),
        cmocka_unit_test(unknown_parameter_is_answered_with_those_there_are),
        cmocka_unit_test(value_must_be_of_its_type),
        cmocka_unit_test(table_that_is_wrong_is_refused),
        cmocka_unit_test(config_knows_whose_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
