/*
 * nexus info --caps. A cell is what a program gets: native, inline, emulated by the core, or no. It is made of what the
 * driver says of itself when it is asked (capability, its slots, its domains) and of what the core does about it
 * (setup.c, accept.c, loan.c, transfer.c, watch.c).
 */
#include "caps.h"
#include "config.h"
#include "core.h"
#include "json.h"

#include <errno.h>

#define REASON_SIZE 256u

static const char *const cells[] = {"native", "inline", "emulated", "no", "unknown"};
#define CELLS (sizeof(cells) / sizeof(cells[0]))
enum { NATIVE, INLINE, EMULATED, NO, UNKNOWN };

static const struct {
    uint32_t flag;
    const char *name;
} flag_names[] = {
    {NX_OP_NOWAIT, "nowait"},     {NX_OP_MULTISHOT, "multishot"}, {NX_OP_LOAN, "loan"},
    {NX_OP_ZEROCOPY, "zerocopy"}, {NX_OP_INJECT, "inject"},       {NX_OP_LINK, "link"},
};

/* What an operation may do besides, and what the core does where it doesn't. */
static const struct feature {
    const char *name;
    uint32_t code, flag;
    bool is_told;       /* the driver's reason for the operation speaks of this flag */
    uint32_t otherwise; /* EMULATED, NO */
    const char *how;
} features[] = {
    {"accept, multishot", NX_OP_ACCEPT, NX_OP_MULTISHOT, true, EMULATED, "the core submits one accept after the other"},
    {"read, loan", NX_OP_READ, NX_OP_LOAN, false, EMULATED, "the core lends buffers of its own"},
    {"write, zerocopy", NX_OP_WRITE, NX_OP_ZEROCOPY, false, EMULATED, "the core writes the plain way, which copies"},
    {"poll, edges", NX_OP_POLL, NX_OP_MULTISHOT, true, NO, "nx_watch_open refuses edges"},
};

/* ---- asking ---- */

/* Files are used from all workers at once. */
static bool keeps_files(const struct nx_driver_ops *ops)
{
    return (ops->domains & NX_DOMAIN_FILES) && ops->affinity == NX_AFFINITY_FREE;
}

static bool is_file_code(uint32_t code)
{
    return code >= NX_OP_OPEN && code <= NX_OP_MKDIR;
}

static bool ask(const struct nx_driver_ops *ops, struct nx_driver *driver, uint32_t code,
                struct nx_capability *ret_capability)
{
    *ret_capability = (struct nx_capability){.size = sizeof(*ret_capability)};
    if (!NXI_HAS(ops, capability) || ops->capability(driver, code, ret_capability) < 0)
        return false;
    ret_capability->reason[sizeof(ret_capability->reason) - 1] = '\0';
    return true;
}

static uint32_t cell_of(const struct nx_driver_ops *ops, uint32_t code, bool answered, uint32_t level, char *ret_reason)
{
    if (is_file_code(code) && (!answered || level == NX_CAP_NO || !keeps_files(ops))) {
        if (answered && level != NX_CAP_NO)
            snprintf(ret_reason, REASON_SIZE, "its handles are tied to a worker: done on the blocking pool");
        if (!*ret_reason)
            snprintf(ret_reason, REASON_SIZE, "done on the blocking pool");
        return EMULATED;
    }
    if (!answered)
        return UNKNOWN;
    return level == NX_CAP_NATIVE ? NATIVE : level == NX_CAP_INLINE ? INLINE : NO;
}

static json_t *op_json(const struct nx_driver_ops *ops, struct nx_driver *driver, uint32_t code)
{
    struct nx_capability capability;
    const bool answered = ask(ops, driver, code, &capability);
    json_t *object = checked(json_object()), *flags = checked(json_array());
    char reason[REASON_SIZE];
    uint32_t cell;

    snprintf(reason, sizeof(reason), "%s",
             answered             ? capability.reason
             : is_file_code(code) ? ""
                                  : "the backend doesn't say");
    cell = cell_of(ops, code, answered, capability.level, reason);
    for (size_t i = 0; i < sizeof(flag_names) / sizeof(flag_names[0]); i++)
        if (answered && capability.flags & flag_names[i].flag)
            add(flags, text(flag_names[i].name));
    set(object, "op", text(nx_op_name(code) ? nx_op_name(code) : "?"));
    set(object, "level",
        text(!answered                           ? "unknown"
             : capability.level == NX_CAP_NATIVE ? "native"
             : capability.level == NX_CAP_INLINE ? "inline"
                                                 : "no"));
    set(object, "does", text(cells[cell]));
    set(object, "flags", flags);
    set(object, "reason", text(reason));
    return object;
}

static json_t *feature_object(const char *name, uint32_t cell, const char *reason)
{
    json_t *object = checked(json_object());

    set(object, "feature", text(name));
    set(object, "does", text(cells[cell]));
    set(object, "reason", text(reason));
    return object;
}

static json_t *feature_json(const struct nx_driver_ops *ops, struct nx_driver *driver, const struct feature *feature)
{
    struct nx_capability capability;
    bool has = ask(ops, driver, feature->code, &capability) && capability.level != NX_CAP_NO &&
               (capability.flags & feature->flag);
    char reason[REASON_SIZE];

    if (feature->flag == NX_OP_LOAN)
        has = has && NXI_HAS(ops, loan_return);
    if (has)
        return feature_object(feature->name, NATIVE, "");
    if (feature->is_told && capability.reason[0])
        snprintf(reason, sizeof(reason), "%s; %s", capability.reason, feature->how);
    else
        snprintf(reason, sizeof(reason), "the backend doesn't claim it: %s", feature->how);
    return feature_object(feature->name, feature->otherwise, reason);
}

static json_t *foreign_json(const struct nx_driver_ops *ops)
{
    if (ops->domains & NX_DOMAIN_FOREIGN && NXI_HAS(ops, import_fd))
        return feature_object("foreign fds", NATIVE, "");
    return feature_object("foreign fds", NO,
                          "it takes no descriptors: those of others go to the backend in NEXUS_BACKEND_FILE");
}

void nexus_caps_gather(const struct nx_driver_ops *ops, struct nx_driver *driver, json_t *object)
{
    json_t *list = checked(json_array()), *more = checked(json_array());

    for (uint32_t code = 0; code < NX_OP_COUNT; code++)
        add(list, op_json(ops, driver, code));
    for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
        add(more, feature_json(ops, driver, &features[i]));
    add(more, foreign_json(ops));
    set(object, "ops", list);
    set(object, "features", more);
}

/* ---- printing ---- */

static bool runs(const json_t *driver)
{
    return json_object_get(driver, "ops") != NULL;
}

static int width_of(const json_t *driver)
{
    const int width = (int)strlen(get(driver, "name"));

    return width > 8 ? width : 8; /* "emulated" */
}

static void print_row(const json_t *drivers, const char *list, size_t row, const char *name)
{
    const json_t *driver;
    size_t i;

    printf("%-18s", name);
    json_array_foreach((json_t *)drivers, i, driver)
    {
        const json_t *item = json_array_get(json_object_get(driver, list), row);
        const bool last = i + 1 == json_array_size(drivers);

        printf(" %-*s", last ? 0 : width_of(driver), item ? get(item, "does") : "-");
    }
    putchar('\n');
}

static void print_table(const json_t *drivers, const json_t *example)
{
    const json_t *driver, *item;
    size_t i;

    printf("%-18s", "");
    json_array_foreach((json_t *)drivers, i, driver)
        printf(" %-*s", i + 1 == json_array_size(drivers) ? 0 : width_of(driver), get(driver, "name"));
    putchar('\n');
    json_array_foreach(json_object_get(example, "ops"), i, item) print_row(drivers, "ops", i, get(item, "op"));
    json_array_foreach(json_object_get(example, "features"), i, item)
        print_row(drivers, "features", i, get(item, "feature"));
}

/* Who does this for that reason, in one line, told by the first of them. */
static void print_reason(const json_t *items, const char *key, size_t first)
{
    const json_t *one = json_array_get(items, first), *item;
    const char *between = "";
    size_t i;

    json_array_foreach((json_t *)items, i, item)
    {
        if (strcmp(get(item, "does"), get(one, "does")) != 0 || strcmp(get(item, "reason"), get(one, "reason")) != 0)
            continue;
        if (i < first)
            return;
        if (i == first)
            printf("  %-8s ", get(one, "does"));
        printf("%s%s", between, get(item, key));
        between = strcmp(key, "op") == 0 ? " " : "; ";
    }
    printf(": %s\n", get(one, "reason"));
}

static void print_reasons(const json_t *driver)
{
    static const struct {
        uint32_t cell;
        const char *list, *key;
    } order[] = {{EMULATED, "ops", "op"}, {EMULATED, "features", "feature"},
                 {NO, "ops", "op"},       {NO, "features", "feature"},
                 {UNKNOWN, "ops", "op"},  {INLINE, "ops", "op"},
                 {NATIVE, "ops", "op"}};

    for (size_t k = 0; k < sizeof(order) / sizeof(order[0]); k++) {
        const json_t *items = json_object_get(driver, order[k].list), *item;
        size_t i;

        json_array_foreach((json_t *)items, i, item) if (strcmp(get(item, "does"), cells[order[k].cell]) == 0 &&
                                                         *get(item, "reason")) print_reason(items, order[k].key, i);
    }
}

void nexus_caps_print(const json_t *drivers)
{
    const json_t *driver, *example = NULL;
    size_t i;

    json_array_foreach((json_t *)drivers, i, driver) if (!example && runs(driver)) example = driver;
    if (example) {
        print_table(drivers, example);
        puts("\nnative: it waits in the backend; inline: it never waits; emulated: by the core; -: does not run here");
    }
    json_array_foreach((json_t *)drivers, i, driver)
    {
        printf("\n%s%s%s\n", get(driver, "name"), *get(driver, "error") ? ": " : "", get(driver, "error"));
        print_reasons(driver);
    }
}
