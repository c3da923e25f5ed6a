/* Parses a list in place in a copy of it; every refusal is a sentence that quotes the piece it is about. */
#define _GNU_SOURCE
#include "spec.h"

#include <errno.h>
#include <nexus/base.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const aliases[][2] = {
    {"io_uring", "iouring"},
    {"io-uring", "iouring"},
    {"work-stealing", "work_stealing"},
};

struct parser {
    struct nxi_spec_list *list;
    struct nxi_spec_param *params; /* room for every ':' of the text */
    size_t params_used;
    char *error;
    size_t error_size;
};

/* ---- words ---- */

static bool is_word_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static bool is_word(const char *text)
{
    size_t length = 0;

    while (is_word_character(text[length]))
        length++;
    return length > 0 && length <= NXI_NAME_MAX && text[length] == '\0';
}

bool nxi_name_valid(const char *name)
{
    return is_word(name) && strcmp(name, "auto") != 0;
}

const char *nxi_name_canonical(const char *name)
{
    for (size_t i = 0; i < sizeof(aliases) / sizeof(aliases[0]); i++)
        if (strcmp(name, aliases[i][0]) == 0)
            return aliases[i][1];
    return name;
}

struct nxi_quoted nxi_quote(const char *text)
{
    struct nxi_quoted quoted;
    size_t n = 0;

    for (; n < 160 && text[n]; n++)
        quoted.text[n] = (unsigned char)text[n] < ' ' || text[n] == 0x7f ? '?' : text[n];
    strcpy(quoted.text + n, text[n] ? "..." : "");
    return quoted;
}

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Optimal string alignment, three rows: a swap of neighbours, the commonest slip of all, counts as one. */
unsigned nxi_distance(const char *a, const char *b)
{
    unsigned rows[3][NXI_NAME_MAX + 2];
    unsigned *before = rows[0], *above = rows[1], *row = rows[2];
    size_t a_length = strnlen(a, NXI_NAME_MAX + 1), b_length = strnlen(b, NXI_NAME_MAX + 1);

    if (a_length > NXI_NAME_MAX || b_length > NXI_NAME_MAX || a_length > b_length + NXI_NEAR ||
        b_length > a_length + NXI_NEAR)
        return NXI_NEAR + 1;
    for (size_t j = 0; j <= b_length; j++)
        above[j] = (unsigned)j;
    for (size_t i = 1; i <= a_length; i++) {
        unsigned *recycled = before;

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= b_length; j++) {
            unsigned change = lower(a[i - 1]) != lower(b[j - 1]);

            row[j] = least(least(above[j], row[j - 1]) + 1, above[j - 1] + change);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]))
                row[j] = least(row[j], before[j - 2] + 1);
        }
        before = above;
        above = row;
        row = recycled;
    }
    return above[b_length];
}

const char *nxi_nearest(const char *word, const char *const *words, size_t count)
{
    const char *nearest = NULL;
    unsigned nearest_distance = NXI_NEAR + 1;

    for (size_t i = 0; i < count; i++) {
        unsigned distance = nxi_distance(word, words[i]);

        /* "a" is two letters from "xyz", and no slip for it: something of the word must be left. */
        if (distance < nearest_distance && distance < strlen(words[i])) {
            nearest = words[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}

/* ---- the grammar ---- */

NX_PRINTF(2, 3) static int refuse(struct parser *parser, const char *format, ...)
{
    va_list args;

    if (parser->error_size > 0) {
        va_start(args, format);
        vsnprintf(parser->error, parser->error_size, format, args);
        va_end(args);
    }
    return -EINVAL;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* %XX to the byte, in place. */
static int unescape(struct parser *parser, char *value)
{
    char *out = value;

    for (const char *in = value; *in; in++) {
        int high, low;

        if (*in != '%') {
            *out++ = *in;
            continue;
        }
        high = hex_digit(in[1]);
        low = high < 0 ? -1 : hex_digit(in[2]);
        if (low < 0 || (high == 0 && low == 0))
            return refuse(parser, "'%s': in a value '%%' stands before two hexadecimal digits, and is itself %%25",
                          nxi_quote(value).text);
        *out++ = (char)(high * 16 + low);
        in += 2;
    }
    *out = '\0';
    return 0;
}

/* The piece after a ':' */
static int parse_param(struct parser *parser, struct nxi_spec *spec, char *piece)
{
    struct nxi_spec_param *param = &parser->params[parser->params_used];
    char *equals = strchr(piece, '=');

    if (!equals && spec->is_path)
        return refuse(parser, "':%s' is not key=value; a path can't contain ','  ':'  '+' or '%%'",
                      nxi_quote(piece).text);
    if (!equals)
        return refuse(parser, "'%s:%s': what follows ':' must be key=value", nxi_quote(spec->name).text,
                      nxi_quote(piece).text);
    *equals = '\0';
    if (!is_word(piece))
        return refuse(parser, "'%s' is no parameter's name: letters, digits, '_' and '-'", nxi_quote(piece).text);
    if (spec->param_count == NXI_SPEC_PARAMS_MAX)
        return refuse(parser, "'%s' has more than %d parameters", nxi_quote(spec->name).text, NXI_SPEC_PARAMS_MAX);
    for (size_t i = 0; i < spec->param_count; i++)
        if (strcmp(spec->params[i].key, piece) == 0)
            return refuse(parser, "'%s' sets the parameter '%s' twice", nxi_quote(spec->name).text, piece);
    param->key = piece;
    param->value = equals + 1;
    parser->params_used++;
    spec->param_count++;
    return unescape(parser, equals + 1);
}

static int check_name(struct parser *parser, const struct nxi_spec *spec, bool after_path)
{
    const char *name = spec->name;
    const char *dot = strrchr(name, '.');

    if (spec->is_path)
        return strchr(name, '%') ? refuse(parser, "'%s': a path can't contain '%%'", nxi_quote(name).text) : 0;
    if (strchr(name, '/'))
        return refuse(parser, "'%s' is a relative path: a plugin's file is named by its absolute path",
                      nxi_quote(name).text);
    if (is_word(name))
        return 0;
    if (after_path)
        return refuse(parser, "'%s' is no plugin's name, and a path can't contain ','", nxi_quote(name).text);
    if (dot && strcmp(dot, ".so") == 0)
        return refuse(parser, "'%s' is no name: write the plugin's name without .so, or its file's absolute path",
                      nxi_quote(name).text);
    if (strchr(name, '^'))
        return refuse(parser, "'%s': '^' may only be the first character; it negates the whole list",
                      nxi_quote(name).text);
    if (strlen(name) > NXI_NAME_MAX)
        return refuse(parser, "'%s' is longer than %d characters", nxi_quote(name).text, NXI_NAME_MAX);
    return refuse(parser, "'%s' is no plugin's name: letters, digits, '_' and '-', without blanks",
                  nxi_quote(name).text);
}

static int check_plus(struct parser *parser, const char *item)
{
    if (!strchr(item, '+'))
        return 0;
    if (item[0] == '/' && strcspn(item, "+") < strcspn(item, ":"))
        return refuse(parser, "'%s': a path can't contain '+'", nxi_quote(item).text);
    return refuse(parser, "'%s': '+' is reserved for layers, which this version doesn't have; in a value it is %%2B",
                  nxi_quote(item).text);
}

static int parse_item(struct parser *parser, char *item, bool last)
{
    struct nxi_spec_list *list = parser->list;
    struct nxi_spec *spec = &list->items[list->count];
    bool after_path = list->count > 0 && spec[-1].is_path;
    char *rest = item;
    int r;

    if (*item == '\0')
        return refuse(parser, "the list has an empty item");
    r = check_plus(parser, item);
    if (r < 0)
        return r;
    if (list->count == NXI_SPEC_ITEMS_MAX)
        return refuse(parser, "the list has more than %d items", NXI_SPEC_ITEMS_MAX);

    strsep(&rest, ":");
    *spec = (struct nxi_spec){.name = item, .is_path = item[0] == '/', .params = &parser->params[parser->params_used]};
    r = check_name(parser, spec, after_path);
    if (r < 0)
        return r;
    if (list->negated && (spec->is_path || rest || strcmp(item, "auto") == 0))
        return refuse(parser, "'%s': a list that begins with '^' has only names in it: those not to use",
                      nxi_quote(item).text);
    if (strcmp(item, "auto") == 0) {
        if (rest)
            return refuse(parser, "'auto' has no parameters");
        if (!last)
            return refuse(parser, "'auto' must be the last of the list: nothing after it would be tried");
        list->automatic = true;
        return 0;
    }
    while (rest) {
        r = parse_param(parser, spec, strsep(&rest, ":"));
        if (r < 0)
            return r;
    }
    if (!spec->is_path)
        spec->name = nxi_name_canonical(item);
    list->count++;
    return 0;
}

static size_t count_character(const char *text, char c)
{
    size_t count = 0;

    for (; *text; text++)
        count += *text == c;
    return count;
}

static int parse_items(struct parser *parser, char *text)
{
    if (*text == '\0')
        return 0;
    if (*text == '^') {
        parser->list->negated = true;
        text++;
    }
    while (text) { /* ends: strsep sets it to NULL after the last item */
        char *item = strsep(&text, ",");
        int r = parse_item(parser, item, text == NULL);

        if (r < 0)
            return r;
    }
    return 0;
}

int nxi_spec_parse(const char *text, struct nxi_spec_list *ret_list, char *error, size_t error_size)
{
    struct nxi_spec_list list = {0};
    struct parser parser = {.list = &list, .error = error, .error_size = error_size};
    int r;

    if (strnlen(text, NXI_SPEC_LENGTH_MAX + 1) > NXI_SPEC_LENGTH_MAX)
        return refuse(&parser, "the list is longer than %d bytes", NXI_SPEC_LENGTH_MAX);
    list.text = strdup(text);
    list.items = calloc(count_character(text, ',') + 1, sizeof(*list.items));
    list.params = parser.params = calloc(count_character(text, ':') + 1, sizeof(*parser.params));
    if (!list.text || !list.items || !list.params) {
        refuse(&parser, "out of memory");
        r = -ENOMEM;
    } else {
        r = parse_items(&parser, list.text);
    }
    if (r < 0) {
        nxi_spec_clear(&list);
        return r;
    }
    *ret_list = list;
    return 0;
}

void nxi_spec_clear(struct nxi_spec_list *list)
{
    if (!list)
        return;
    free(list->items);
    free(list->params);
    free(list->text);
    *list = (struct nxi_spec_list){0};
}
