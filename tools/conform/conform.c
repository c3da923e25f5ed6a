/* nexus conform: options, finding the plugin, the run, and what is printed of it. */
#define _GNU_SOURCE
#include "conform.h"
#include "../nexus.h"
#include "../values.h"
#include "config.h"
#include "env.h"
#include "find.h"
#include "loader.h"
#include "spec.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_MS 30000u /* of one requirement */
#define ONLY_MAX 128u

struct options {
    bool json, list, first;
    uint32_t profile; /* 0: what the driver declares */
    uint32_t limit_ms;
    uint64_t seed;
    const char *only[ONLY_MAX];
    uint32_t only_count;
};

struct totals {
    uint32_t passed, failed, skipped;
    bool incomplete;
};

/* ---- finding ---- */

static int out_of_memory(void)
{
    fputs("nexus conform: out of memory\n", stderr);
    return NEXUS_USAGE;
}

static int open_file(const char *path, uint32_t kind, const struct nx_plugin **ret_plugin, char *error, size_t size)
{
    const int kept = nexus_output_aside();
    int r = nxi_loader_open(path, kind, ret_plugin, error, size);

    nexus_output_back(kept);
    return r;
}

static int load_file(const char *path, const struct nx_plugin **ret_plugin)
{
    char error[1024];
    int r = open_file(path, 0, ret_plugin, error, sizeof(error));

    if (r == 0)
        return NEXUS_OK;
    fprintf(stderr, "nexus conform: %s: %s\n", nxi_quote(path).text, error);
    return NEXUS_USAGE;
}

/* A name is a driver's or a scheduler's, built in or in the directories of plugins. */
static int load_name(const char *name, const char *plugin_path, const struct nx_plugin **ret_plugin)
{
    static const uint32_t kinds[] = {NX_PLUGIN_DRIVER, NX_PLUGIN_SCHEDULER};
    char error[1024] = "";

    for (size_t i = 0; i < 2; i++) {
        char *path;
        int status;

        *ret_plugin = nxi_find_builtin(kinds[i], name);
        if (*ret_plugin)
            return NEXUS_OK;
        if (nxi_find_file(kinds[i], plugin_path, name, &path, error, sizeof(error)) < 0)
            continue;
        status = load_file(path, ret_plugin);
        free(path);
        return status;
    }
    fprintf(stderr, "nexus conform: there is no plugin '%s' (looked in %s)\n", nxi_quote(name).text, error);
    return NEXUS_USAGE;
}

static int configure(const struct nx_plugin *plugin, const struct nxi_spec *spec, const struct nx_config **ret_config)
{
    struct nx_config *config;
    char error[1024];
    int r =
        nxi_config_new(plugin, spec ? spec->params : NULL, spec ? spec->param_count : 0, &config, error, sizeof(error));

    if (r < 0) {
        fprintf(stderr, "nexus conform: %s: %s\n", plugin->name, error);
        return NEXUS_USAGE;
    }
    *ret_config = config;
    return NEXUS_OK;
}

/*
 * A word with a '/' is a file as people write it, "./foo.so:key=value": of its path nothing is special, so where there
 * are several colons the file is the longest that exists. Its full path, NULL with errno; where its parameters begin.
 */
static char *file_of(const char *word, size_t *ret_length)
{
    int error = ENOENT;

    for (size_t length = strlen(word); length > 0; length--) {
        char *file, *full;

        if (word[length] != ':' && word[length] != '\0')
            continue;
        file = strndup(word, length);
        full = file ? realpath(file, NULL) : NULL;
        error = errno;
        free(file);
        *ret_length = length;
        if (full)
            return full;
    }
    errno = error;
    return NULL;
}

/* The plugin's parameters stand behind a name, in the grammar of NEXUS_BACKEND. */
static int read_spec(const char *word, const char *text, struct nxi_spec_list *ret_list)
{
    char error[1024];

    if (nxi_spec_parse(text, ret_list, error, sizeof(error)) < 0) {
        fprintf(stderr, "nexus conform: %s\n", error);
        return NEXUS_USAGE;
    }
    if (ret_list->count == 1 && !ret_list->negated && !ret_list->automatic)
        return NEXUS_OK;
    fprintf(stderr, "nexus conform: '%s' is not one plugin\n", nxi_quote(word).text);
    return NEXUS_USAGE;
}

static int load_word(const char *word, const char *plugin_path, struct nxi_spec_list *ret_list,
                     const struct nx_plugin **ret_plugin)
{
    char *file, *text = NULL;
    size_t length = 0;
    int status;

    if (!strchr(word, '/')) {
        status = read_spec(word, word, ret_list);
        return status == NEXUS_OK ? load_name(ret_list->items[0].name, plugin_path, ret_plugin) : status;
    }
    file = file_of(word, &length);
    if (!file) {
        fprintf(stderr, "nexus conform: %s: %s\n", nxi_quote(word).text, strerror(errno));
        return NEXUS_USAGE;
    }
    if (asprintf(&text, "plugin%s", word + length) < 0) {
        free(file);
        return out_of_memory();
    }
    status = read_spec(word, text, ret_list);
    if (status == NEXUS_OK)
        status = load_file(file, ret_plugin);
    free(text);
    free(file);
    return status;
}

static int load(const char *word, const char *plugin_path, struct subject *subject)
{
    struct nxi_spec_list list = {0};
    int status = load_word(word, plugin_path, &list, &subject->plugin);

    if (status == NEXUS_OK)
        status = configure(subject->plugin, &list.items[0], &subject->config);
    nxi_spec_clear(&list);
    if (status != NEXUS_OK)
        return status;
    if (subject->plugin->kind == NX_PLUGIN_DRIVER)
        subject->driver = subject->plugin->ops;
    else
        subject->sched = subject->plugin->ops;
    return NEXUS_OK;
}

/* For the differential run. Without it that one is skipped. */
static void load_reference(const char *plugin_path, struct subject *subject)
{
    const struct nx_plugin *plugin = nxi_find_builtin(NX_PLUGIN_DRIVER, "epoll");
    char error[1024], *path;

    if (!plugin && nxi_find_file(NX_PLUGIN_DRIVER, plugin_path, "epoll", &path, error, sizeof(error)) == 0) {
        if (open_file(path, NX_PLUGIN_DRIVER, &plugin, error, sizeof(error)) < 0)
            plugin = NULL;
        free(path);
    }
    if (plugin && configure(plugin, NULL, &subject->reference_config) == NEXUS_OK)
        subject->reference = plugin->ops;
}

/* ---- printing ---- */

/* Wrapped at column 100; what follows the first line stands below its text. */
static void print_words(const char *lead, const char *text)
{
    const int margin = (int)strlen(lead);
    size_t column = (size_t)printf("%s", lead);

    for (bool first = true; *text; first = false) { /* ends: each turn prints a word */
        const size_t length = strcspn(text, " ");

        if (!first && column + 1 + length > 100)
            column = (size_t)printf("\n%s%*s", *lead == '#' ? "#" : "", *lead == '#' ? margin - 1 : margin, "") - 1;
        else if (!first)
            column += (size_t)printf(" ");
        column += (size_t)printf("%.*s", (int)length, text);
        text += length + strspn(text + length, " ");
    }
    putchar('\n');
}

static void list_requirements(const struct requirement *requirements, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        printf("%s %s\n", requirements[i].id, requirements[i].title);
        print_words("    ", requirements[i].text);
        print_words("    If broken: ", requirements[i].consequence);
        print_words("    Tested by: ", requirements[i].test);
        putchar('\n');
    }
}

static void set(json_t *object, const char *key, json_t *value)
{
    if (json_object_set_new(object, key, value) < 0) {
        out_of_memory();
        exit(NEXUS_FAILED);
    }
}

static json_t *requirement_json(const struct requirement *requirement)
{
    json_t *object = json_object();

    set(object, "id", json_string(requirement->id));
    set(object, "title", json_string(requirement->title));
    set(object, "text", json_string(requirement->text));
    set(object, "consequence", json_string(requirement->consequence));
    set(object, "test", json_string(requirement->test));
    return object;
}

static int print_json(json_t *object)
{
    int r = json_dumpf(object, stdout, JSON_INDENT(2));

    putchar('\n');
    json_decref(object);
    return r == 0 ? NEXUS_OK : NEXUS_FAILED;
}

static int list_json(void)
{
    json_t *array = json_array(), *all = json_object();

    for (size_t i = 0; i < driver_requirement_count; i++)
        json_array_append_new(array, requirement_json(&driver_requirements[i]));
    for (size_t i = 0; i < sched_requirement_count; i++)
        json_array_append_new(array, requirement_json(&sched_requirements[i]));
    set(all, "requirements", array);
    return print_json(all);
}

static int show_list(bool json)
{
    if (json)
        return list_json();
    list_requirements(driver_requirements, driver_requirement_count);
    list_requirements(sched_requirements, sched_requirement_count);
    return NEXUS_OK;
}

static const char *man_page(const struct requirement *requirement)
{
    return strncmp(requirement->id, "NXS", 3) == 0 ? "nexus-sched(7)" : "nexus-driver(7)";
}

static void print_result(uint32_t number, const struct requirement *requirement, const struct report *report)
{
    printf("%s %u - %s %s", report->verdict == VERDICT_FAIL ? "not ok" : "ok", number, requirement->id,
           requirement->title);
    if (report->verdict == VERDICT_SKIP)
        printf(" # SKIP %s", report->text);
    putchar('\n');
    if (report->verdict == VERDICT_FAIL) {
        print_words("#   seen: ", report->text);
        print_words("#   law:  ", requirement->text);
        print_words("#   so:   ", requirement->consequence);
        printf("#   see:  %s, REQUIREMENTS, %s\n", man_page(requirement), requirement->id);
    }
    fflush(stdout);
}

static const char *const verdict_names[] = {"none", "pass", "fail", "skip"};

static void add_result(json_t *results, const struct requirement *requirement, const struct report *report)
{
    json_t *object = requirement_json(requirement), *text;

    set(object, "verdict", json_string(verdict_names[report->verdict]));
    if (report->verdict == VERDICT_PASS) {
        json_array_append_new(results, object);
        return;
    }
    text = json_string(report->text);
    set(object, report->verdict == VERDICT_FAIL ? "seen" : "because", text ? text : json_string("not UTF-8"));
    if (report->verdict == VERDICT_FAIL)
        set(object, "see", json_string(man_page(requirement)));
    json_array_append_new(results, object);
}

/* ---- the run ---- */

static bool is_wanted(const struct requirement *requirement, const struct options *options)
{
    for (uint32_t i = 0; i < options->only_count; i++)
        if (strcasecmp(options->only[i], requirement->id) == 0)
            return true;
    return options->only_count == 0;
}

static const char *domain_name(uint32_t domains)
{
    return domains & NX_DOMAIN_NETWORK ? "NX_DOMAIN_NETWORK"
           : domains & NX_DOMAIN_FILES ? "NX_DOMAIN_FILES"
                                       : "NX_DOMAIN_FOREIGN";
}

/* --only is about this kind of plugin: nobody takes a run of nothing for one that holds. */
static bool applies(const struct subject *subject, const struct options *options)
{
    const char *kind = subject->driver ? "NXD" : "NXS";

    for (uint32_t i = 0; i < options->only_count; i++)
        if (strncasecmp(options->only[i], kind, 3) != 0) {
            fprintf(stderr, "nexus conform: %s is a requirement of %s; %s is none\n", options->only[i],
                    subject->driver ? "schedulers" : "drivers", subject->plugin->name);
            return false;
        }
    return true;
}

/* Decided without a child: the driver doesn't say that it has the domain, or nobody asked about it. */
static bool out_of_profile(const struct requirement *requirement, const struct subject *subject,
                           struct report *ret_report)
{
    const uint32_t domains = requirement->domains;

    if (domains == 0 || (domains & subject->profile & subject->driver->domains))
        return false;
    ret_report->verdict = VERDICT_SKIP;
    if (domains & subject->driver->domains)
        snprintf(ret_report->text, sizeof(ret_report->text), "not in this profile");
    else
        snprintf(ret_report->text, sizeof(ret_report->text), "domains lacks %s", domain_name(domains));
    return true;
}

static int run(const struct subject *subject, const struct options *options, struct totals *totals, json_t *results)
{
    const struct requirement *all = subject->driver ? driver_requirements : sched_requirements;
    const size_t count = subject->driver ? driver_requirement_count : sched_requirement_count;
    uint32_t number = 0;

    for (size_t i = 0; i < count; i++) {
        struct report report = {0};

        if (!is_wanted(&all[i], options))
            continue;
        if (!out_of_profile(&all[i], subject, &report)) {
            int r = run_requirement(&all[i], subject, options->limit_ms, &report);
            if (r < 0) {
                fprintf(stderr, "nexus conform: no child for %s: %s; the run ends here\n", all[i].id, strerror(-r));
                totals->incomplete = true;
                break;
            }
        }
        number++;
        totals->passed += report.verdict == VERDICT_PASS;
        totals->failed += report.verdict == VERDICT_FAIL;
        totals->skipped += report.verdict == VERDICT_SKIP;
        if (results)
            add_result(results, &all[i], &report);
        else
            print_result(number, &all[i], &report);
        if (options->first && report.verdict == VERDICT_FAIL)
            break;
    }
    if (!results && totals->incomplete)
        puts("Bail out! A requirement could not be run");
    else if (!results)
        printf("1..%u\n# %s: %u passed, %u failed, %u skipped\n", number, subject->plugin->name, totals->passed,
               totals->failed, totals->skipped);
    if (totals->incomplete)
        return NEXUS_USAGE;
    return totals->failed ? NEXUS_FAILED : NEXUS_OK;
}

static int run_json(const struct subject *subject, const struct options *options)
{
    json_t *results = json_array(), *all = json_object();
    struct totals totals = {0};
    int status = run(subject, options, &totals, results), printed;

    set(all, "plugin", json_string(subject->plugin->name));
    set(all, "kind", json_string(subject->driver ? "driver" : "scheduler"));
    set(all, "seed", json_integer((json_int_t)subject->seed));
    set(all, "passed", json_integer(totals.passed));
    set(all, "failed", json_integer(totals.failed));
    set(all, "skipped", json_integer(totals.skipped));
    set(all, "complete", json_boolean(!totals.incomplete));
    set(all, "results", results);
    printed = print_json(all);
    return status != NEXUS_OK ? status : printed;
}

static int conform_subject(struct subject *subject, const struct options *options, const char *plugin_path)
{
    struct totals totals = {0};

    if (!applies(subject, options))
        return NEXUS_USAGE;
    if (subject->sched && options->profile) {
        fputs("nexus conform: a scheduler has no profiles\n", stderr);
        return NEXUS_USAGE;
    }
    if (subject->driver) {
        subject->profile = options->profile ? options->profile : subject->driver->domains;
        if (options->profile && options->profile != UINT32_MAX && !(subject->driver->domains & options->profile)) {
            fprintf(stderr, "nexus conform: %s does not declare %s\n", subject->plugin->name,
                    domain_name(options->profile));
            return NEXUS_USAGE;
        }
        load_reference(plugin_path, subject);
    }
    if (options->json)
        return run_json(subject, options);
    return run(subject, options, &totals, NULL);
}

static int conform(const char *word, const struct options *options)
{
    struct subject subject = {.seed = options->seed};
    struct nxi_env env;
    int status;

    nxi_env_read(&env);
    status = load(word, env.plugin_path, &subject);
    if (status == NEXUS_OK)
        status = conform_subject(&subject, options, env.plugin_path);
    nxi_config_free((struct nx_config *)(uintptr_t)subject.config);
    nxi_config_free((struct nx_config *)(uintptr_t)subject.reference_config);
    return status;
}

/* ---- options ---- */

static int usage(FILE *to, int status)
{
    fputs("usage: nexus conform [OPTION...] PLUGIN[:KEY=VALUE...]\n"
          "       nexus conform --list [--json]\n\n"
          "Tests a driver or a scheduler, a file or a name, against the numbered requirements of nexus-driver(7) and\n"
          "nexus-sched(7).\n\n"
          "  --profile=WHAT     network, files, foreign or all (default: the domains that the driver declares)\n"
          "  --only=NUMBER,...  these requirements alone: NXD-005\n"
          "  --first            ends with the first that fails\n"
          "  --seed=N           of what is random (default: 1)\n"
          "  --limit=SECONDS    for one requirement (default: 30)\n"
          "  --list             the requirements: text, consequence, test\n"
          "  --json             the result, or the list, as JSON\n\n"
          "Exit status: 0 all hold, 1 one does not, 2 wrong usage, or the plugin can't be loaded or tested.\n",
          to);
    return status;
}

static int read_profile(const char *text, struct options *options)
{
    static const struct {
        const char *name;
        uint32_t profile;
    } profiles[] = {{"network", NX_DOMAIN_NETWORK},
                    {"files", NX_DOMAIN_FILES},
                    {"foreign", NX_DOMAIN_FOREIGN},
                    {"all", UINT32_MAX}};

    for (size_t i = 0; i < sizeof(profiles) / sizeof(profiles[0]); i++)
        if (strcmp(text, profiles[i].name) == 0) {
            options->profile = profiles[i].profile;
            return NEXUS_OK;
        }
    fprintf(stderr, "nexus conform: there is no profile '%s': network, files, foreign, all\n", nxi_quote(text).text);
    return NEXUS_USAGE;
}

static bool is_requirement(const char *id)
{
    for (size_t i = 0; i < driver_requirement_count; i++)
        if (strcasecmp(driver_requirements[i].id, id) == 0)
            return true;
    for (size_t i = 0; i < sched_requirement_count; i++)
        if (strcasecmp(sched_requirements[i].id, id) == 0)
            return true;
    return false;
}

static int read_only(char *text, struct options *options)
{
    char *rest = NULL;

    for (char *id = strtok_r(text, ",", &rest); id; id = strtok_r(NULL, ",", &rest)) {
        if (options->only_count == ONLY_MAX || !is_requirement(id)) {
            fprintf(stderr, "nexus conform: there is no requirement '%s'; --list shows them\n", nxi_quote(id).text);
            return NEXUS_USAGE;
        }
        options->only[options->only_count++] = id;
    }
    if (options->only_count == 0) {
        fputs("nexus conform: --only names no requirement\n", stderr);
        return NEXUS_USAGE;
    }
    return NEXUS_OK;
}

static int read_number(const char *what, const char *text, uint64_t max, uint64_t *ret_number)
{
    char *end;
    unsigned long long number;

    errno = 0;
    number = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end || errno || number > max) {
        fprintf(stderr, "nexus conform: --%s: '%s' is not a number that will do\n", what, nxi_quote(text).text);
        return NEXUS_USAGE;
    }
    *ret_number = number;
    return NEXUS_OK;
}

static int read_option(int option, struct options *options)
{
    uint64_t seconds = 0;
    int status;

    switch (option) {
    case 'p':
        return read_profile(optarg, options);
    case 'o':
        return read_only(optarg, options);
    case 's':
        return read_number("seed", optarg, INT64_MAX, &options->seed);
    case 't':
        status = read_number("limit", optarg, 3600, &seconds);
        if (status == NEXUS_OK)
            options->limit_ms = seconds ? (uint32_t)seconds * 1000 : LIMIT_MS;
        return status;
    case 'f':
        options->first = true;
        break;
    case 'l':
        options->list = true;
        break;
    default:
        options->json = true;
    }
    return NEXUS_OK;
}

int nexus_conform(int argc, char **argv)
{
    static const struct option long_options[] = {
        {"profile", required_argument, NULL, 'p'},
        {"only", required_argument, NULL, 'o'},
        {"seed", required_argument, NULL, 's'},
        {"limit", required_argument, NULL, 't'},
        {"first", no_argument, NULL, 'f'},
        {"list", no_argument, NULL, 'l'},
        {"json", no_argument, NULL, 'j'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    struct options options = {.limit_ms = LIMIT_MS, .seed = 1};
    int option;

    while ((option = getopt_long(argc, argv, ":h", long_options, NULL)) != -1) {
        if (option == 'h')
            return usage(stdout, NEXUS_OK);
        if (option == ':') {
            fprintf(stderr, "nexus conform: '%s' takes a value\n", nxi_quote(argv[optind - 1]).text);
            return usage(stderr, NEXUS_USAGE);
        }
        if (option == '?') {
            nexus_bad_option("nexus conform", long_options, argv);
            return usage(stderr, NEXUS_USAGE);
        }
        if (read_option(option, &options) != NEXUS_OK)
            return NEXUS_USAGE;
    }
    if (options.list && optind == argc)
        return show_list(options.json);
    if (options.list || optind != argc - 1) {
        fputs(options.list ? "nexus conform: --list takes no plugin\n" : "nexus conform: name one plugin\n", stderr);
        return usage(stderr, NEXUS_USAGE);
    }
    return conform(argv[optind], &options);
}
