/* values.c: JSON values. An array's items and an object's keys and items lie in one block that doubles. */
#define _GNU_SOURCE
#include "values.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum kind { OBJECT, ARRAY, STRING, INTEGER, TRUE, FALSE, NONE };

struct item {
    char *key; /* an object's */
    json_t *value;
};

struct json {
    enum kind kind;
    unsigned references;
    size_t count, room;
    struct item *items;
    char *string;
    json_int_t integer;
};

static json_t *make(enum kind kind)
{
    json_t *value = calloc(1, sizeof(*value));

    if (value) {
        value->kind = kind;
        value->references = 1;
    }
    return value;
}

json_t *json_object(void)
{
    return make(OBJECT);
}

json_t *json_array(void)
{
    return make(ARRAY);
}

json_t *json_null(void)
{
    return make(NONE);
}

json_t *json_boolean(bool value)
{
    return make(value ? TRUE : FALSE);
}

json_t *json_integer(json_int_t integer)
{
    json_t *value = make(INTEGER);

    if (value)
        value->integer = integer;
    return value;
}

/* The bytes of the character at the place, or 0: it is none. Shortest forms only, no surrogates, up to U+10FFFF. */
static size_t character_size(const unsigned char *at)
{
    size_t size = *at < 0x80 ? 1 : *at >= 0xc2 && *at < 0xe0 ? 2 : *at >= 0xe0 && *at < 0xf0 ? 3 : 4;

    if (size == 1)
        return 1;
    if (*at < 0xc2 || *at > 0xf4)
        return 0;
    for (size_t i = 1; i < size; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    if ((*at == 0xe0 && at[1] < 0xa0) || (*at == 0xed && at[1] > 0x9f) || (*at == 0xf0 && at[1] < 0x90) ||
        (*at == 0xf4 && at[1] > 0x8f))
        return 0;
    return size;
}

static bool is_utf8(const char *bytes)
{
    const unsigned char *at = (const unsigned char *)bytes;

    while (*at) {
        size_t size = character_size(at);

        if (size == 0)
            return false;
        at += size;
    }
    return true;
}

/* The string is the value's from now on, or freed. */
static json_t *take_string(char *string)
{
    json_t *value = string && is_utf8(string) ? make(STRING) : NULL;

    if (value)
        value->string = string;
    else
        free(string);
    return value;
}

json_t *json_string(const char *bytes)
{
    return take_string(bytes ? strdup(bytes) : NULL);
}

json_t *json_sprintf(const char *format, ...)
{
    char *string;
    va_list args;

    va_start(args, format);
    if (vasprintf(&string, format, args) < 0)
        string = NULL;
    va_end(args);
    return take_string(string);
}

json_t *json_incref(json_t *value)
{
    if (value)
        value->references++;
    return value;
}

/* As deep as what is printed: a few levels. */
void json_decref(json_t *value)
{
    if (!value || --value->references > 0)
        return;
    for (size_t i = 0; i < value->count; i++) {
        free(value->items[i].key);
        json_decref(value->items[i].value);
    }
    free(value->items);
    free(value->string);
    free(value);
}

/* ---- items ---- */

/* Key and value are the container's from now on, or freed. */
static int append(json_t *container, char *key, json_t *value)
{
    if (container->count == container->room) {
        size_t room = container->room > 0 ? 2 * container->room : 8;
        struct item *items = realloc(container->items, room * sizeof(*items));

        if (!items) {
            free(key);
            json_decref(value);
            return -1;
        }
        container->items = items;
        container->room = room;
    }
    container->items[container->count++] = (struct item){key, value};
    return 0;
}

int json_array_append_new(json_t *array, json_t *value)
{
    if (array && array->kind == ARRAY && value)
        return append(array, NULL, value);
    json_decref(value);
    return -1;
}

static struct item *find(const json_t *object, const char *key)
{
    for (size_t i = 0; object && object->kind == OBJECT && i < object->count; i++)
        if (strcmp(object->items[i].key, key) == 0)
            return &object->items[i];
    return NULL;
}

int json_object_set_new(json_t *object, const char *key, json_t *value)
{
    struct item *item = find(object, key);
    char *copy = object && object->kind == OBJECT && value && !item && is_utf8(key) ? strdup(key) : NULL;

    if (copy)
        return append(object, copy, value);
    if (!item || !value) {
        json_decref(value);
        return -1;
    }
    json_decref(item->value);
    item->value = value;
    return 0;
}

json_t *json_deep_copy(const json_t *value)
{
    json_t *copy;

    if (!value)
        return NULL;
    if (value->kind == STRING)
        return json_string(value->string);
    copy = make(value->kind);
    if (!copy)
        return NULL;
    copy->integer = value->integer;
    for (size_t i = 0; i < value->count; i++) {
        json_t *item = json_deep_copy(value->items[i].value);
        int r = value->kind == OBJECT ? json_object_set_new(copy, value->items[i].key, item)
                                      : json_array_append_new(copy, item);

        if (r < 0) {
            json_decref(copy);
            return NULL;
        }
    }
    return copy;
}

/* ---- looking ---- */

json_t *json_object_get(const json_t *object, const char *key)
{
    const struct item *item = find(object, key);

    return item ? item->value : NULL;
}

size_t json_object_size(const json_t *object)
{
    return object && object->kind == OBJECT ? object->count : 0;
}

const char *json_object_key(const json_t *object, size_t index, json_t **ret_value)
{
    *ret_value = object->items[index].value;
    return object->items[index].key;
}

size_t json_array_size(const json_t *array)
{
    return array && array->kind == ARRAY ? array->count : 0;
}

json_t *json_array_get(const json_t *array, size_t index)
{
    return index < json_array_size(array) ? array->items[index].value : NULL;
}

const char *json_string_value(const json_t *string)
{
    return string && string->kind == STRING ? string->string : NULL;
}

json_int_t json_integer_value(const json_t *integer)
{
    return json_is_integer(integer) ? integer->integer : 0;
}

bool json_is_integer(const json_t *value)
{
    return value && value->kind == INTEGER;
}

bool json_is_null(const json_t *value)
{
    return value && value->kind == NONE;
}

bool json_is_true(const json_t *value)
{
    return value && value->kind == TRUE;
}

/* ---- writing ---- */

static void write_string(const char *string, FILE *file)
{
    putc('"', file);
    for (const char *at = string; *at; at++) {
        static const char named[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
        const char *name = strchr(named, *at);

        if (name)
            fprintf(file, "\\%c", names[name - named]);
        else if ((unsigned char)*at < 0x20)
            fprintf(file, "\\u%04X", (unsigned)*at);
        else
            putc(*at, file);
    }
    putc('"', file);
}

static void new_line(size_t blanks, FILE *file)
{
    fprintf(file, "\n%*s", (int)blanks, "");
}

static void write_value(const json_t *value, FILE *file, size_t indent, size_t depth);

static void write_items(const json_t *value, FILE *file, size_t indent, size_t depth)
{
    const char *brackets = value->kind == OBJECT ? "{}" : "[]";

    putc(brackets[0], file);
    for (size_t i = 0; i < value->count; i++) {
        if (i > 0)
            putc(',', file);
        new_line(indent * (depth + 1), file);
        if (value->kind == OBJECT) {
            write_string(value->items[i].key, file);
            fputs(": ", file);
        }
        write_value(value->items[i].value, file, indent, depth + 1);
    }
    if (value->count > 0)
        new_line(indent * depth, file);
    putc(brackets[1], file);
}

static void write_value(const json_t *value, FILE *file, size_t indent, size_t depth)
{
    switch (value->kind) {
    case OBJECT:
    case ARRAY:
        write_items(value, file, indent, depth);
        break;
    case STRING:
        write_string(value->string, file);
        break;
    case INTEGER:
        fprintf(file, "%lld", value->integer);
        break;
    case TRUE:
        fputs("true", file);
        break;
    case FALSE:
        fputs("false", file);
        break;
    case NONE:
        fputs("null", file);
        break;
    }
}

int json_dumpf(const json_t *value, FILE *file, size_t indent)
{
    if (!value)
        return -1;
    write_value(value, file, indent, 0);
    return ferror(file) ? -1 : 0;
}
