/* The door to the environment. That a privileged process sees nothing is tests/plugin/test_privileged.sh's. */
#include "env.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char warned[2048];
static unsigned warned_count;

static void warn(void *arg, const char *sentence)
{
    assert_ptr_equal(arg, warned);
    assert_true(strlen(warned) + strlen(sentence) + 2 < sizeof(warned));
    strcat(warned, sentence);
    strcat(warned, "\n");
    warned_count++;
}

static int clean(void **state)
{
    static const char how_to_report[] = "CMOCKA_MESSAGE_OUTPUT"; /* CMocka looks at it case by case */
    const char *value = getenv(how_to_report);
    char kept[16];

    (void)state;
    warned[0] = '\0';
    warned_count = 0;
    snprintf(kept, sizeof(kept), "%s", value ? value : "");
    return clearenv() != 0 || (*kept && setenv(how_to_report, kept, 1) != 0) ? -1 : 0;
}

static void every_variable_of_the_table_reaches_its_field(void **state)
{
    struct nxi_env env;

    (void)state;
    for (const struct nxi_env_variable *variable = nxi_env_variables; variable->name; variable++)
        setenv(variable->name, variable->name, 1);
    nxi_env_read(&env);
    assert_false(env.privileged);
    assert_string_equal(env.backend, "NEXUS_BACKEND");
    assert_string_equal(env.backend_net, "NEXUS_BACKEND_NET");
    assert_string_equal(env.backend_file, "NEXUS_BACKEND_FILE");
    assert_string_equal(env.sched, "NEXUS_SCHED");
    assert_string_equal(env.workers, "NEXUS_WORKERS");
    assert_string_equal(env.cpus, "NEXUS_CPUS");
    assert_string_equal(env.plugin_path, "NEXUS_PLUGIN_PATH");
    assert_string_equal(env.spin, "NEXUS_SPIN");
    assert_string_equal(env.log, "NEXUS_LOG");
    for (const struct nxi_env_variable *variable = nxi_env_variables; variable->name; variable++) {
        assert_string_equal(nxi_env_value(&env, variable), variable->name);
        assert_true(variable->help[0] && variable->default_value);
    }
}

static void unset_and_empty_are_the_same(void **state)
{
    struct nxi_env env;

    (void)state;
    setenv("NEXUS_BACKEND", "", 1);
    nxi_env_read(&env);
    assert_null(env.backend);
    assert_null(env.sched);
}

static void slips_are_reported_with_the_right_name_and_never_the_value(void **state)
{
    (void)state;
    setenv("NEXUS_BAKCEND", "secret", 1);
    setenv("NEXUS_SCHD", "secret", 1);
    setenv("nexus_log", "secret", 1);
    setenv("NEXUS_BACKENDS", "secret", 1);
    nxi_env_warn_near_misses(warn, warned);
    assert_int_equal(warned_count, 4);
    assert_non_null(strstr(warned, "NEXUS_BAKCEND has no meaning: did you mean NEXUS_BACKEND?\n"));
    assert_non_null(strstr(warned, "NEXUS_SCHD has no meaning: did you mean NEXUS_SCHED?\n"));
    assert_non_null(strstr(warned, "nexus_log has no meaning: did you mean NEXUS_LOG?\n"));
    assert_non_null(strstr(warned, "NEXUS_BACKENDS has no meaning: did you mean NEXUS_BACKEND?\n"));
    assert_null(strstr(warned, "secret"));
}

static void other_words_for_the_same_are_reported(void **state)
{
    (void)state;
    setenv("NEXUS_SCHEDULER", "secret", 1);
    setenv("NEXUS_DRIVER", "secret", 1);
    setenv("NEXUS_THREADS", "secret", 1);
    setenv("NEXUS_THREAD", "secret", 1);
    nxi_env_warn_near_misses(warn, warned);
    assert_int_equal(warned_count, 4);
    assert_non_null(strstr(warned, "NEXUS_SCHEDULER has no meaning: did you mean NEXUS_SCHED?\n"));
    assert_non_null(strstr(warned, "NEXUS_DRIVER has no meaning: did you mean NEXUS_BACKEND?\n"));
    assert_non_null(strstr(warned, "NEXUS_THREADS has no meaning: did you mean NEXUS_WORKERS?\n"));
    assert_non_null(strstr(warned, "NEXUS_THREAD has no meaning: did you mean NEXUS_WORKERS?\n"));
    assert_null(strstr(warned, "secret"));
}

static void right_names_and_other_peoples_are_left_alone(void **state)
{
    (void)state;
    for (const struct nxi_env_variable *variable = nxi_env_variables; variable->name; variable++)
        setenv(variable->name, "x", 1);
    setenv("NEXUS_HOME", "/opt/sonatype", 1);
    setenv("NEXUS_TEST_LOG", "1", 1);
    setenv("NXT_SCALE", "1", 1);
    setenv("PATH", "/bin", 1);
    setenv("NEXUS", "x", 1);
    nxi_env_warn_near_misses(warn, warned);
    assert_string_equal(warned, "");
}

static void control_characters_of_a_name_are_not_printed(void **state)
{
    (void)state;
    setenv("NEXUS_BACKEN\033", "x", 1);
    nxi_env_warn_near_misses(warn, warned);
    assert_int_equal(warned_count, 1);
    assert_null(strchr(warned, '\033'));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(every_variable_of_the_table_reaches_its_field, clean),
        cmocka_unit_test_setup(unset_and_empty_are_the_same, clean),
        cmocka_unit_test_setup(slips_are_reported_with_the_right_name_and_never_the_value, clean),
        cmocka_unit_test_setup(other_words_for_the_same_are_reported, clean),
        cmocka_unit_test_setup(right_names_and_other_peoples_are_left_alone, clean),
        cmocka_unit_test_setup(control_characters_of_a_name_are_not_printed, clean),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
