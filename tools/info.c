/*
 * nexus info. Everything is gathered into JSON values first; the tables for people are printed from those, so that both
 * say the same. Plugins that are found are loaded and probed, which is what a program with this environment would do to
 * those it considers.
 */
#define _GNU_SOURCE
#include "caps.h"
#include "config.h"
#include "core.h"
#include "env.h"
#include "find.h"
#include "json.h"
#include "loader.h"
#include "nexus.h"
#include "select.h"
#include "spec.h"
#include "tested.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One choice that a program would make: of a backend, of another one for files, of a scheduler. */
struct decision {
    const char *what;
    struct nxi_request request;
    struct nxi_selection selection;
    json_t *why;
    char error[2048];
    int result;
    bool asked; /* files have a decision of their own only if there is a variable */
};

enum { NETWORK, FILES, SCHEDULER, DECISIONS };

struct info {
    struct nxi_env env;
    struct decision decisions[DECISIONS];
    struct nxi_found_list found[2];
    json_t *warnings;
};

/* ---- what would be chosen ---- */

static json_t *warnings_of_decision; /* where log_line puts them: one decision is made at a time */

static void log_line(void *arg, int level, const char *message)
{
    struct decision *decision = arg;

    if (level == NX_LOG_DEBUG)
        add(decision->why, text(message));
    else
        add(warnings_of_decision, text(message));
}

static void decide(struct info *info, struct decision *decision)
{
    decision->asked = true;
    decision->why = checked(json_array());
    decision->request.plugin_path = info->env.plugin_path;
    decision->request.host = &nxi_host;
    decision->request.log = log_line;
    decision->request.log_arg = decision;
    warnings_of_decision = info->warnings;
    decision->result = nxi_select(&decision->request, &decision->selection, decision->error, sizeof(decision->error));
}

static void warn_near_miss(void *arg, const char *sentence)
{
    add(arg, text(sentence));
}

static void make_decisions(struct info *info)
{
    const struct nxi_env *env = &info->env;

    info->decisions[NETWORK] = (struct decision){
        .what = "backend",
        .request = {.kind = NX_PLUGIN_DRIVER,
                    .domains = NX_DOMAIN_NETWORK,
                    .variable = env->backend_net ? "NEXUS_BACKEND_NET" : "NEXUS_BACKEND",
                    .env_value = env->backend_net ? env->backend_net : env->backend},
    };
    info->decisions[FILES] = (struct decision){
        .what = "file_backend",
        .request = {.kind = NX_PLUGIN_DRIVER,
                    .domains = NX_DOMAIN_FILES,
                    .variable = "NEXUS_BACKEND_FILE",
                    .env_value = env->backend_file},
    };
    info->decisions[SCHEDULER] = (struct decision){
        .what = "scheduler",
        .request = {.kind = NX_PLUGIN_SCHEDULER, .variable = "NEXUS_SCHED", .env_value = env->sched},
    };
    nxi_env_warn_near_misses(warn_near_miss, info->warnings);
    for (int i = 0; i < DECISIONS; i++)
        if (i != FILES || env->backend_file)
            decide(info, &info->decisions[i]);
}

/* Where files are served: a driver without files of its own leaves them to the blocking pool. */
static json_t *files_json(const struct info *info)
{
    const struct decision *net = &info->decisions[NETWORK], *files = &info->decisions[FILES];
    const struct nx_plugin *plugin = files->asked ? files->selection.plugin : net->selection.plugin;
    const struct nx_driver_ops *ops = plugin ? plugin->ops : NULL;
    json_t *object = checked(json_object());
    char where[128];

    if (ops && ops->domains & NX_DOMAIN_FILES)
        snprintf(where, sizeof(where), "by %s", plugin->name);
    else
        snprintf(where, sizeof(where), "%s", ops ? "on the blocking pool" : "nowhere");
    set(object, "where", text(where));
    return object;
}

static json_t *decisions_json(const struct info *info)
{
    json_t *object = checked(json_object());

    for (int i = 0; i < DECISIONS; i++) {
        const struct decision *decision = &info->decisions[i];
        json_t *choice;

        if (!decision->asked)
            continue;
        choice = checked(json_object());
        if (decision->result == 0) {
            set(choice, "name", text(decision->selection.plugin->name));
            set(choice, "path", text(decision->selection.path));
        } else {
            set(choice, "error", text(decision->error));
        }
        set(object, decision->what, choice);
    }
    set(object, "files", files_json(info));
    return object;
}

static json_t *why_json(const struct info *info)
{
    json_t *object = checked(json_object());

    for (int i = 0; i < DECISIONS; i++)
        if (info->decisions[i].asked)
            set(object, info->decisions[i].what, json_deep_copy(info->decisions[i].why));
    return object;
}

static void print_decisions(const json_t *chosen)
{
    const char *what;
    json_t *choice;

    json_object_foreach((json_t *)chosen, what, choice)
    {
        if (*get(choice, "where"))
            printf("%-12s %s\n", what, get(choice, "where"));
        else if (*get(choice, "error"))
            printf("%-12s none: %s\n", what, get(choice, "error"));
        else
            printf("%-12s %s (%s)\n", what, get(choice, "name"),
                   *get(choice, "path") ? get(choice, "path") : "built in");
    }
}

static void print_why(const json_t *why)
{
    const char *what;
    json_t *lines, *line;
    size_t i;

    json_object_foreach((json_t *)why, what, lines)
    {
        printf("%s\n", what);
        json_array_foreach(lines, i, line) printf("  %s\n", json_string_value(line));
    }
}

/* ---- plugins ---- */

static bool is_chosen(const struct info *info, const struct nx_plugin *plugin)
{
    for (int i = 0; i < DECISIONS; i++)
        if (info->decisions[i].selection.plugin == plugin)
            return true;
    return false;
}

static json_t *plugin_json(const struct info *info, const struct nxi_found *found, uint32_t kind)
{
    const struct nx_plugin *plugin = found->plugin;
    json_t *object = checked(json_object());
    const char *state = "usable", *reason = "";
    bool tested = false;
    char sentence[2048];

    if (found->shadowed) {
        state = "shadowed";
        reason = "an earlier one has its name";
    } else if (found->error < 0) {
        state = "refused";
        reason = found->refusal;
    } else if (nxi_select_try(found->path, kind, &nxi_host, &plugin, sentence, sizeof(sentence)) < 0) {
        state = plugin ? "unusable" : "refused";
        reason = sentence;
    } else {
        const char *untested = nexus_untested(found->name, found->path);

        state = is_chosen(info, plugin) ? "chosen" : state;
        reason = untested ? untested : "";
        tested = !untested;
    }
    set(object, "kind", text(found->kind ? nxi_kind_name(found->kind) : "unknown"));
    set(object, "name", text(found->name));
    set(object, "abi", found->kind ? json_sprintf("%u.%u", found->abi_major, found->abi_minor) : json_null());
    set(object, "priority", found->kind ? json_integer(found->priority) : json_null());
    set(object, "state", text(state));
    set(object, "path", text(found->path));
    set(object, "reason", text(reason));
    set(object, "tested", checked(json_boolean(tested)));
    if (plugin && !found->shadowed && found->error == 0) {
        set(object, "version", text(plugin->version ? plugin->version : ""));
        set(object, "summary", text(plugin->summary ? plugin->summary : ""));
    }
    return object;
}

static const uint32_t kinds[2] = {NX_PLUGIN_DRIVER, NX_PLUGIN_SCHEDULER};

/* Plugins that a list names by their path are nowhere else to be found. */
static void find_named(struct info *info, int which, const char *value)
{
    struct nxi_spec_list list;
    char error[512];

    if (!value || nxi_spec_parse(value, &list, error, sizeof(error)) < 0)
        return; /* the decision says what is wrong with it */
    for (size_t i = 0; i < list.count; i++)
        if (list.items[i].is_path)
            nxi_find_add(&info->found[which], kinds[which], list.items[i].name);
    nxi_spec_clear(&list);
}

static int find(struct info *info)
{
    for (int i = 0; i < 2; i++) {
        char error[512];

        if (nxi_find_all(kinds[i], info->env.plugin_path, &info->found[i], error, sizeof(error)) < 0) {
            fprintf(stderr, "nexus: %s\n", error);
            return NEXUS_FAILED;
        }
    }
    find_named(info, 0, info->env.backend);
    find_named(info, 0, info->env.backend_net);
    find_named(info, 0, info->env.backend_file);
    find_named(info, 1, info->env.sched);
    return NEXUS_OK;
}

static json_t *plugins_json(const struct info *info)
{
    json_t *array = checked(json_array());

    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < info->found[i].count; k++) {
            const struct nxi_found *found = &info->found[i].items[k];

            if (i == 0 || found->kind != 0) /* what is of no kind is in both lists */
                add(array, plugin_json(info, found, kinds[i]));
        }
    return array;
}

static void print_plugins(const json_t *plugins)
{
    json_t *plugin;
    size_t i;

    printf("%-10s %-14s %-5s %-5s %-9s %s\n", "KIND", "NAME", "ABI", "PRIO", "STATE", "WHERE, WHY NOT");
    json_array_foreach((json_t *)plugins, i, plugin)
    {
        char priority[24] = "-";

        if (json_is_integer(json_object_get(plugin, "priority")))
            snprintf(priority, sizeof(priority), "%d", (int)json_integer_value(json_object_get(plugin, "priority")));
        printf("%-10s %-14s %-5s %-5s %-9s %s%s%s\n", get(plugin, "kind"), get(plugin, "name"),
               *get(plugin, "abi") ? get(plugin, "abi") : "-", priority, get(plugin, "state"),
               *get(plugin, "path") ? get(plugin, "path") : "built in", *get(plugin, "reason") ? ": " : "",
               get(plugin, "reason"));
    }
}

/* ---- capabilities ---- */

/* The instance the capabilities are asked of has the parameters of the environment if that chooses this driver. */
static json_t *driver_caps(const struct info *info, const struct nx_plugin *plugin, json_t *object)
{
    const struct nx_driver_ops *ops = plugin->ops;
    const struct nx_config *config = NULL;
    struct nx_config *own = NULL;
    struct nx_driver *driver;
    struct nx_reason reason = {0};
    char sentence[1024];
    int r;

    for (int i = 0; i < DECISIONS; i++)
        if (info->decisions[i].selection.plugin == plugin)
            config = info->decisions[i].selection.config;
    if (!config && nxi_config_new(plugin, NULL, 0, &own, sentence, sizeof(sentence)) < 0)
        checked(NULL);
    r = ops->open(&nxi_host, config ? config : own, 1, &driver, &reason);
    if (r < 0) {
        nxi_reason_text(&reason, r, sentence, sizeof(sentence));
        set(object, "error", text(sentence));
    } else {
        nexus_caps_gather(ops, driver, object);
        ops->close(driver);
    }
    nxi_config_free(own);
    return object;
}

static json_t *caps_json(const struct info *info)
{
    json_t *array = checked(json_array());

    for (size_t i = 0; i < info->found[0].count; i++) {
        const struct nxi_found *found = &info->found[0].items[i];
        const struct nx_plugin *plugin = found->plugin;
        char sentence[2048];
        json_t *object;

        if (found->shadowed || found->error < 0)
            continue;
        object = checked(json_object());
        set(object, "name", text(found->name));
        if (nxi_select_try(found->path, NX_PLUGIN_DRIVER, &nxi_host, &plugin, sentence, sizeof(sentence)) < 0)
            set(object, "error", text(sentence));
        else
            driver_caps(info, plugin, object);
        add(array, object);
    }
    return array;
}

/* ---- environment ---- */

static json_t *env_json(const struct info *info)
{
    json_t *array = checked(json_array());

    for (const struct nxi_env_variable *variable = nxi_env_variables; variable->name; variable++) {
        const char *value = nxi_env_value(&info->env, variable);
        const char *set_to = getenv(variable->name);
        json_t *object = checked(json_object());

        set(object, "name", text(variable->name));
        set(object, "value", value ? text(value) : json_null());
        set(object, "origin",
            text(value                                       ? "environment"
                 : info->env.privileged && set_to && *set_to ? "ignored: privileged"
                                                             : "default"));
        set(object, "default", text(variable->default_value));
        set(object, "help", text(variable->help));
        add(array, object);
    }
    return array;
}

static void print_env(const json_t *env)
{
    json_t *variable;
    size_t i;

    json_array_foreach((json_t *)env, i, variable)
    {
        const char *value =
            json_is_null(json_object_get(variable, "value")) ? get(variable, "default") : get(variable, "value");

        printf("%-20s %-24s %s\n%-20s   %s\n", get(variable, "name"), *value ? nxi_quote(value).text : "(none)",
               get(variable, "origin"), "", get(variable, "help"));
    }
}

/* ---- the command ---- */

#define SHOW_PLUGINS 1u
#define SHOW_WHY 2u
#define SHOW_CAPS 4u
#define SHOW_ENV 8u

static json_t *gather(const struct info *info, unsigned show)
{
    json_t *all = checked(json_object());

    set(all, "version", text(nx_version()));
    set(all, "plugin_abi", json_sprintf("%d.%d", NX_ABI_MAJOR, NX_ABI_MINOR));
    if (show & SHOW_PLUGINS)
        set(all, "plugins", plugins_json(info));
    set(all, "chosen", decisions_json(info));
    if (show & SHOW_WHY)
        set(all, "why", why_json(info));
    if (show & SHOW_CAPS)
        set(all, "capabilities", caps_json(info));
    if (show & SHOW_ENV)
        set(all, "environment", env_json(info));
    json_incref(info->warnings);
    set(all, "warnings", info->warnings);
    return all;
}

static void print_all(const json_t *all, unsigned show)
{
    json_t *warning;
    size_t i;

    if (show & SHOW_PLUGINS) {
        print_plugins(json_object_get(all, "plugins"));
        putchar('\n');
        print_decisions(json_object_get(all, "chosen"));
    }
    if (show & SHOW_WHY)
        print_why(json_object_get(all, "why"));
    if (show & SHOW_CAPS)
        nexus_caps_print(json_object_get(all, "capabilities"));
    if (show & SHOW_ENV)
        print_env(json_object_get(all, "environment"));
    fflush(stdout);
    json_array_foreach(json_object_get(all, "warnings"), i, warning)
        fprintf(stderr, "nexus: %s\n", json_string_value(warning));
}

static int show_info(unsigned show, bool json)
{
    struct info *info = checked(calloc(1, sizeof(*info)));
    json_t *all = NULL;
    int status, kept;

    nxi_env_read(&info->env);
    info->warnings = checked(json_array());
    kept = nexus_output_aside();
    status = find(info);
    if (status == NEXUS_OK) {
        make_decisions(info);
        all = gather(info, show);
    }
    nexus_output_back(kept);
    if (all && !json)
        print_all(all, show);
    else if (all && json_dumpf(all, stdout, JSON_INDENT(2)) == 0)
        putchar('\n');
    json_decref(all);
    for (int i = 0; i < DECISIONS; i++) {
        struct decision *decision = &info->decisions[i];

        if (decision->asked && decision->result < 0)
            status = NEXUS_FAILED;
        if (decision->asked && decision->result < 0 && !json && !(show & SHOW_PLUGINS))
            fprintf(stderr, "nexus: %s\n", decision->error);
        nxi_selection_clear(&decision->selection);
        json_decref(decision->why);
    }
    json_decref(info->warnings);
    nxi_found_list_clear(&info->found[0]);
    nxi_found_list_clear(&info->found[1]);
    free(info);
    return status;
}

static int usage(FILE *to, int status)
{
    fputs("usage: nexus info [--why] [--caps] [--env] [--json]\n\n"
          "Loads and probes the plugins that are there, and tells which would be chosen in this environment.\n\n"
          "  --why   how the choice was made, step by step\n"
          "  --caps  what each backend can do, by operation\n"
          "  --env   every variable, its value and where that comes from\n"
          "  --json  the same as JSON\n\n"
          "Exit status 1: with this environment no program would start.\n",
          to);
    return status;
}

int nexus_info(int argc, char **argv)
{
    static const struct option options[] = {
        {"why", no_argument, NULL, 'w'},  {"caps", no_argument, NULL, 'c'}, {"env", no_argument, NULL, 'e'},
        {"json", no_argument, NULL, 'j'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0},
    };
    unsigned show = 0;
    bool json = false;
    int option;

    while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
        switch (option) {
        case 'w':
            show |= SHOW_WHY;
            break;
        case 'c':
            show |= SHOW_CAPS;
            break;
        case 'e':
            show |= SHOW_ENV;
            break;
        case 'j':
            json = true;
            break;
        case 'h':
            return usage(stdout, NEXUS_OK);
        default:
            nexus_bad_option("nexus info", options, argv);
            return usage(stderr, NEXUS_USAGE);
        }
    }
    if (optind < argc) {
        fprintf(stderr, "nexus info: unexpected '%s'\n", nxi_quote(argv[optind]).text);
        return usage(stderr, NEXUS_USAGE);
    }
    return show_info(show ? show : SHOW_PLUGINS, json);
}
