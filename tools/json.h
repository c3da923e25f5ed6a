/* JSON values of nexus info: whatever can't be made for want of memory ends the program. */
#ifndef NEXUS_TOOL_JSON_H
#define NEXUS_TOOL_JSON_H

#include "nexus.h"
#include "values.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static inline void *checked(void *memory)
{
    if (!memory) {
        fputs("nexus: out of memory\n", stderr);
        exit(NEXUS_FAILED);
    }
    return memory;
}

/* Paths and values may be any bytes, and JSON is UTF-8. */
static inline json_t *text(const char *bytes)
{
    json_t *string = json_string(bytes);
    char *copy;

    if (string)
        return string;
    copy = checked(strdup(bytes));
    for (char *c = copy; *c; c++)
        if ((unsigned char)*c >= 0x80)
            *c = '?';
    string = checked(json_string(copy));
    free(copy);
    return string;
}

static inline void set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, checked(value)) < 0)
        checked(NULL);
}

static inline void add(json_t *array, json_t *value)
{
    if (json_array_append_new(array, checked(value)) < 0)
        checked(NULL);
}

static inline const char *get(const json_t *object, const char *key)
{
    const char *string = json_string_value(json_object_get(object, key));

    return string ? string : "";
}

#endif
