/* tools/values.c: what is written, and what is kept. */
#include "../../tools/values.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *written(json_t *value, size_t indent)
{
    char *text = NULL;
    size_t size = 0;
    FILE *file = open_memstream(&text, &size);
    assert_true(file && json_dumpf(value, file, indent) == 0);
    fclose(file);
    json_decref(value);
    return text;
}

static void expect_text(json_t *value, const char *expected)
{
    char *text = written(value, 2);
    assert_string_equal(text, expected);
    free(text);
}

static void objects_keep_the_order_of_their_keys_and_are_indented(void **state)
{
    (void)state;
    json_t *object = json_object(), *array = json_array();
    json_object_set_new(object, "z", json_integer(-1));
    json_object_set_new(object, "a", array);
    json_array_append_new(array, json_boolean(true));
    json_array_append_new(array, json_null());
    json_object_set_new(object, "empty", json_object());
    expect_text(object, "{\n  \"z\": -1,\n  \"a\": [\n    true,\n    null\n  ],\n  \"empty\": {}\n}");
}

static void a_key_that_is_set_again_stays_where_it_is(void **state)
{
    (void)state;
    json_t *object = json_object();
    json_object_set_new(object, "a", json_integer(1));
    json_object_set_new(object, "b", json_integer(2));
    json_object_set_new(object, "a", json_string("x"));
    expect_text(object, "{\n  \"a\": \"x\",\n  \"b\": 2\n}");
}

static void what_json_gives_a_meaning_is_escaped(void **state)
{
    (void)state;
    expect_text(json_string("a\"b\\c\n\t\x01/\xc3\xa4"), "\"a\\\"b\\\\c\\n\\t\\u0001/\xc3\xa4\"");
}

static void bytes_that_are_no_utf8_make_no_string(void **state)
{
    (void)state;
    static const char *const bad[] = {"\x80",         "\xc0\xaf",         "\xc3", "\xe2\x82",
                                      "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xff"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_true(json_string(bad[i]) == NULL);
    json_t *good = json_string("\xf0\x9f\x98\x80");
    assert_true(good != NULL);
    json_decref(good);
}

static void a_copy_is_none_of_the_original(void **state)
{
    (void)state;
    json_t *object = json_object();
    json_object_set_new(object, "list", json_array());
    json_t *copy = json_deep_copy(object);
    json_array_append_new(json_object_get(object, "list"), json_integer(7));
    assert_int_equal(json_array_size(json_object_get(copy, "list")), 0);
    assert_int_equal(json_array_size(json_object_get(object, "list")), 1);
    json_decref(object);
    json_decref(copy);
}

static void what_is_not_there_or_of_another_type_has_no_value(void **state)
{
    (void)state;
    json_t *number = json_integer(3);
    assert_true(json_object_get(number, "a") == NULL);
    assert_true(json_string_value(number) == NULL);
    assert_int_equal(json_array_size(NULL), 0);
    assert_int_equal(json_integer_value(NULL), 0);
    assert_int_equal(json_array_append_new(number, json_null()), -1);
    assert_int_equal(json_object_set_new(number, "a", json_null()), -1);
    json_decref(number);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(objects_keep_the_order_of_their_keys_and_are_indented),
        cmocka_unit_test(a_key_that_is_set_again_stays_where_it_is),
        cmocka_unit_test(what_json_gives_a_meaning_is_escaped),
        cmocka_unit_test(bytes_that_are_no_utf8_make_no_string),
        cmocka_unit_test(a_copy_is_none_of_the_original),
        cmocka_unit_test(what_is_not_there_or_of_another_type_has_no_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
