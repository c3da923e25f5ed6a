/*
 * values.h: JSON values, for what nexus prints for programs: made, looked at, written. The calls are jansson's, of
 * which this is the part that the program uses, so that it needs no library on any system.
 *
 * Values are counted; ..._new calls take the value over, also when they fail, and fail for NULL. Objects keep the order
 * in which keys were added.
 */
#ifndef NEXUS_VALUES_H
#define NEXUS_VALUES_H

#include <nexus/base.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct json json_t;
typedef long long json_int_t;

/* NULL: out of memory, or a string that is no UTF-8. */
json_t *json_object(void);
json_t *json_array(void);
json_t *json_string(const char *bytes);
json_t *json_sprintf(const char *format, ...) NX_PRINTF(1, 2);
json_t *json_integer(json_int_t value);
json_t *json_boolean(bool value);
json_t *json_null(void);
json_t *json_deep_copy(const json_t *value);

json_t *json_incref(json_t *value);
void json_decref(json_t *value); /* NULL is allowed */

/* 0 or -1. */
int json_object_set_new(json_t *object, const char *key, json_t *value);
int json_array_append_new(json_t *array, json_t *value);

/* NULL, 0 or false of a value of another type, or of NULL. */
json_t *json_object_get(const json_t *object, const char *key);
size_t json_array_size(const json_t *array);
json_t *json_array_get(const json_t *array, size_t index);
const char *json_string_value(const json_t *string);
json_int_t json_integer_value(const json_t *integer);
bool json_is_integer(const json_t *value);
bool json_is_null(const json_t *value);
bool json_is_true(const json_t *value);

/* 0 or -1; indented by so many blanks. */
int json_dumpf(const json_t *value, FILE *file, size_t indent);
#define JSON_INDENT(n) ((size_t)(n))

size_t json_object_size(const json_t *object);
const char *json_object_key(const json_t *object, size_t index, json_t **ret_value);

#define json_array_foreach(array, index, value)                                                                        \
    for ((index) = 0; (index) < json_array_size(array) && ((value) = json_array_get(array, index), 1); (index)++)

#define json_object_foreach(object, key, value)                                                                        \
    for (size_t json_at = 0;                                                                                           \
         json_at < json_object_size(object) && ((key) = json_object_key(object, json_at, &(value)), 1); json_at++)

#endif
