/*
 * The decision. One list is worked through item by item:
 *
 *     find → load → domains → parameters → probe → open: runs, and is the choice
 *
 * where each step may say "unavailable" (this system, this build or these files can't: the next item may) or "wrong" (a
 * bad parameter, no memory, no descriptors: nothing else is tried, as it would hide the mistake or fail the same way).
 * After the list, "auto" goes on with all that is there by priority, then name. Each step leaves a line in why.
 */
#define _GNU_SOURCE
#include "select.h"
#include "find.h"
#include "loader.h"
#include "spec.h"

#include <errno.h>
#include <nexus/driver.h>
#include <nexus/runtime.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SENTENCE_MAX 1536

struct chooser {
    const struct nxi_request *request;
    struct nxi_spec_list list;
    const char *value; /* the list as written, or NULL */
    char origin[224];  /* "NEXUS_BACKEND=iouring,auto" */
    char *why;
    size_t why_length;
    struct refused {
        const char *name; /* NULL: the sentence says it */
        char *sentence;
    } refused[NXI_SPEC_ITEMS_MAX]; /* what each of the list's items said, in order */
    size_t refused_count;
    char sentence[SENTENCE_MAX]; /* of the step that said no last */
    bool names_itself;           /* the sentence quotes the item */
    bool stands_alone;           /* and has nothing to do with where the list came from */
    bool kept;                   /* the sentence is among the refused */
    struct nxi_selection choice;
};

/* What a step says, beside 0: it runs. */
enum { UNAVAILABLE = 1, WRONG = 2 };

struct verdict {
    int say;   /* 0, UNAVAILABLE, WRONG */
    int error; /* -errno */
};

static const struct verdict runs = {0, 0};

/* Words that are plugins of ours, built here or not: excluding one that isn't there is no slip. */
static const char *const known_names[] = {"iouring", "epoll", "kqueue", "loop", "local", "work_stealing"};

static void say(const struct chooser *chooser, int level, const char *message)
{
    if (chooser->request->log)
        chooser->request->log(chooser->request->log_arg, level, message);
}

NX_PRINTF(2, 3) static void explain(struct chooser *chooser, const char *format, ...)
{
    char line[SENTENCE_MAX + 256];
    size_t length;
    va_list args;
    char *grown;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    say(chooser, NX_LOG_DEBUG, line);
    length = strlen(line);
    grown = realloc(chooser->why, chooser->why_length + length + 2);
    if (!grown) /* the trace then lacks a line; read_list sees to it that there is one at all */
        return;
    memcpy(grown + chooser->why_length, line, length);
    memcpy(grown + chooser->why_length + length, "\n", 2);
    chooser->why = grown;
    chooser->why_length += length + 1;
}

/* ---- verdicts ---- */

/* Running out of something is not a property of the plugin: the next one would only hide it. */
static bool is_unavailable(int error)
{
    switch (-error) {
    case ENOSYS:
    case EPERM:
    case EACCES:
    case EINVAL:
    case ENOENT:
    case ENOTSUP:
#if EOPNOTSUPP != ENOTSUP
    case EOPNOTSUPP:
#endif
    case ENODEV:
    case ENOEXEC:
        return true;
    default:
        return false;
    }
}

NX_PRINTF(4, 5)
static struct verdict refuse(struct chooser *chooser, int verdict, int error, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(chooser->sentence, sizeof(chooser->sentence), format, args);
    va_end(args);
    chooser->names_itself = false;
    chooser->stands_alone = false;
    chooser->kept = false;
    return (struct verdict){verdict, error};
}

/* For a sentence that quotes what was asked for: messages don't say the name again. */
static struct verdict names_itself(struct chooser *chooser, struct verdict verdict)
{
    chooser->names_itself = true;
    return verdict;
}

/* The directories can't be looked in: NEXUS_PLUGIN_PATH is wrong, whatever was asked for. */
static struct verdict refuse_directories(struct chooser *chooser, int error, const char *sentence)
{
    struct verdict verdict = names_itself(chooser, refuse(chooser, WRONG, error, "%s", sentence));

    chooser->stands_alone = true;
    return verdict;
}

static struct verdict refuse_by_errno(struct chooser *chooser, int error, const char *sentence)
{
    return refuse(chooser, is_unavailable(error) ? UNAVAILABLE : WRONG, error, "%s", sentence);
}

static const char *error_name(int error)
{
#ifdef __GLIBC__
    const char *name = strerrorname_np(error);
#else
    const char *name = NULL;
#endif
    return name ? name : strerror(error);
}

/* The arrays of a reason come from a plugin and may lack their end. */
void nxi_reason_text(const struct nx_reason *reason, int error, char *ret_text, size_t size)
{
    int number = reason->error > 0 ? reason->error : -error;
    int call = (int)strnlen(reason->call, sizeof(reason->call));
    int text = (int)strnlen(reason->text, sizeof(reason->text));
    int remedy = (int)strnlen(reason->remedy, sizeof(reason->remedy));

    if (text > 0 && reason->text[text - 1] == '.')
        text--;
    if (remedy > 0 && reason->remedy[remedy - 1] == '.')
        remedy--;
    snprintf(ret_text, size, "%.*s%s%s (%.*s)%s%.*s", call, reason->call, call ? ": " : "", error_name(number),
             text ? text : (int)strlen(strerror(number)), text ? reason->text : strerror(number), remedy ? ". " : "",
             remedy, reason->remedy);
}

/* ---- one candidate ---- */

static const char *where(const char *path)
{
    return *path ? path : "built in";
}

static bool offers(const struct nx_plugin *plugin, uint32_t domains)
{
    const struct nx_driver_ops *ops = plugin->ops;

    return plugin->kind != NX_PLUGIN_DRIVER || (ops->domains & domains) == domains;
}

static struct verdict run(struct chooser *chooser, const struct nx_plugin *plugin, const struct nx_config *config)
{
    const struct nxi_request *request = chooser->request;
    struct nx_reason reason = {0};
    char text[640];
    int r = plugin->probe ? plugin->probe(request->host, config, &reason) : 0;

    if (r >= 0 && request->open) {
        memset(&reason, 0, sizeof(reason));
        r = request->open(request->open_arg, plugin, config, &reason);
    }
    if (r >= 0)
        return runs;
    nxi_reason_text(&reason, r, text, sizeof(text));
    return refuse_by_errno(chooser, r, text);
}

static struct verdict try_plugin(struct chooser *chooser, const struct nx_plugin *plugin, const char *path,
                                 const struct nxi_spec *spec)
{
    struct nx_config *config;
    struct verdict verdict;
    char error[1024];
    char *path_copy;
    int r;

    /* One without files that is asked for by name means the blocking pool. */
    if (!offers(plugin, chooser->request->domains) && !(spec && chooser->request->domains == NX_DOMAIN_FILES))
        return refuse(chooser, UNAVAILABLE, -ENOTSUP, "it offers no %s",
                      chooser->request->domains & NX_DOMAIN_FILES ? "files" : "network");
    r = nxi_config_new(plugin, spec ? spec->params : NULL, spec ? spec->param_count : 0, &config, error, sizeof(error));
    if (r < 0)
        return names_itself(chooser, refuse(chooser, WRONG, r, "%s", error));
    path_copy = strdup(path);
    if (!path_copy) {
        nxi_config_free(config);
        return refuse(chooser, WRONG, -ENOMEM, "out of memory");
    }
    verdict = run(chooser, plugin, config);
    if (verdict.say != 0) {
        free(path_copy);
        nxi_config_free(config);
        return verdict;
    }
    chooser->choice = (struct nxi_selection){.plugin = plugin, .config = config, .path = path_copy};
    return runs;
}

/* A file that was found by name is named, where its refusal doesn't do that itself. */
static struct verdict try_file(struct chooser *chooser, const char *path, const struct nxi_spec *spec)
{
    const struct nx_plugin *plugin;
    char error[768];
    int r = nxi_loader_open(path, chooser->request->kind, &plugin, error, sizeof(error));

    if (r < 0 && spec && !spec->is_path && !strstr(error, path))
        return refuse(chooser, is_unavailable(r) ? UNAVAILABLE : WRONG, r, "%s: %s", path, error);
    if (r < 0)
        return refuse_by_errno(chooser, r, error);
    return try_plugin(chooser, plugin, path, spec);
}

static struct verdict try_builtin(struct chooser *chooser, const struct nx_plugin *plugin, const struct nxi_spec *spec)
{
    char error[512];
    int r = nxi_loader_check(plugin, chooser->request->kind, error, sizeof(error));

    if (r < 0)
        return refuse_by_errno(chooser, r, error);
    return try_plugin(chooser, plugin, "", spec);
}

int nxi_select_try(const char *path, uint32_t kind, const struct nx_host *host, const struct nx_plugin **io_plugin,
                   char *error, size_t error_size)
{
    const struct nxi_request request = {.kind = kind, .host = host};
    struct chooser *chooser = calloc(1, sizeof(*chooser));
    struct verdict verdict;
    int r;

    if (!chooser) {
        snprintf(error, error_size, "out of memory");
        return -ENOMEM;
    }
    chooser->request = &request;
    if (path && *path) {
        r = nxi_loader_open(path, kind, io_plugin, error, error_size);
        if (r < 0)
            goto out;
    }
    verdict = path && *path ? try_plugin(chooser, *io_plugin, path, NULL) : try_builtin(chooser, *io_plugin, NULL);
    r = verdict.error;
    if (verdict.say != 0)
        snprintf(error, error_size, "%s", chooser->sentence);
    nxi_selection_clear(&chooser->choice);
out:
    free(chooser);
    return r;
}

/* ---- names nobody has ---- */

static bool is_elsewhere(const struct chooser *chooser, uint32_t kind, const char *name)
{
    char *path, ignored[256];

    if (nxi_find_builtin(kind, name))
        return true;
    if (nxi_find_file(kind, chooser->request->plugin_path, name, &path, ignored, sizeof(ignored)) < 0)
        return false;
    free(path);
    return true;
}

/* "there is no backend 'epol' (did you mean 'epoll'?); there are: epoll, iouring" */
static struct verdict refuse_unknown(struct chooser *chooser, const char *name, const char *directories)
{
    const uint32_t kind = chooser->request->kind;
    const uint32_t other = kind == NX_PLUGIN_DRIVER ? NX_PLUGIN_SCHEDULER : NX_PLUGIN_DRIVER;
    const char *names[NXI_FOUND_MAX], *near;
    struct nxi_found_list found;
    char listed[512] = "", hint[160] = "", error[512];
    size_t count = 0, used = 0;
    int r;

    if (is_elsewhere(chooser, other, name))
        return names_itself(chooser, refuse(chooser, UNAVAILABLE, -ENOENT, "'%s' is a %s: that is chosen by %s", name,
                                            nxi_kind_name(other),
                                            other == NX_PLUGIN_SCHEDULER ? "NEXUS_SCHED" : "NEXUS_BACKEND"));
    r = nxi_find_all(kind, chooser->request->plugin_path, &found, error, sizeof(error));
    if (r < 0)
        return refuse_directories(chooser, r, error);
    for (size_t i = 0; i < found.count && count < NXI_FOUND_MAX; i++)
        if (!found.items[i].shadowed && found.items[i].error == 0)
            names[count++] = found.items[i].name;
    for (size_t i = 0; i < count && used < sizeof(listed); i++)
        used += (size_t)snprintf(listed + used, sizeof(listed) - used, "%s%s", i ? ", " : "", names[i]);
    near = nxi_nearest(name, names, count);
    if (near)
        snprintf(hint, sizeof(hint), " (did you mean '%s'?)", near);
    nxi_found_list_clear(&found);
    if (count == 0)
        return names_itself(chooser,
                            refuse(chooser, UNAVAILABLE, -ENOENT, "there is no %s '%s', nor any other; looked in %s",
                                   nxi_kind_name(kind), name, directories));
    return names_itself(chooser, refuse(chooser, UNAVAILABLE, -ENOENT, "there is no %s '%s'%s; there are: %s",
                                        nxi_kind_name(kind), name, hint, listed));
}

/* ---- the list ---- */

static struct verdict try_spec(struct chooser *chooser, const struct nxi_spec *spec)
{
    const struct nxi_request *request = chooser->request;
    const struct nx_plugin *builtin;
    struct verdict verdict;
    char error[1024];
    char *path;
    int r;

    if (spec->is_path)
        return try_file(chooser, spec->name, spec);
    builtin = nxi_find_builtin(request->kind, spec->name);
    if (builtin)
        return try_builtin(chooser, builtin, spec);
    r = nxi_find_file(request->kind, request->plugin_path, spec->name, &path, error, sizeof(error));
    if (r == -ENOENT)
        return refuse_unknown(chooser, spec->name, error);
    if (r < 0)
        return refuse_directories(chooser, r, error);
    verdict = try_file(chooser, path, spec);
    free(path);
    return verdict;
}

/* What is used instead is known only later, so the sentence waits. */
static struct verdict keep_refusal(struct chooser *chooser, const struct nxi_spec *spec, struct verdict verdict)
{
    char *sentence = strdup(chooser->sentence);

    if (!sentence)
        return refuse(chooser, WRONG, -ENOMEM, "out of memory");
    chooser->refused[chooser->refused_count++] =
        (struct refused){.name = chooser->names_itself ? NULL : spec->name, .sentence = sentence};
    chooser->kept = true;
    return verdict;
}

static struct verdict try_list(struct chooser *chooser)
{
    struct verdict verdict = {UNAVAILABLE, -ENOENT};

    for (size_t i = 0; i < chooser->list.count && verdict.say == UNAVAILABLE; i++) {
        const struct nxi_spec *spec = &chooser->list.items[i];

        verdict = try_spec(chooser, spec);
        if (verdict.say == 0) {
            explain(chooser, "%s (%s): runs", chooser->choice.plugin->name, where(chooser->choice.path));
            break;
        }
        explain(chooser, "%s: %s", nxi_quote(spec->name).text, chooser->sentence);
        verdict = keep_refusal(chooser, spec, verdict);
    }
    return verdict;
}

/* ---- automatic ---- */

static bool is_listed(const struct nxi_spec_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++)
        if (!list->items[i].is_path && strcmp(list->items[i].name, name) == 0)
            return true;
    return false;
}

/* Why this one is not even tried, or NULL. */
static const char *passed_over(const struct chooser *chooser, const struct nxi_found *found)
{
    if (found->shadowed)
        return "an earlier one has its name";
    if (found->error < 0)
        return found->refusal;
    if (is_listed(&chooser->list, found->name))
        return chooser->list.negated ? "excluded by '^'" : "was tried";
    if (found->priority < 0)
        return "is used only when asked for";
    return NULL;
}

static struct verdict try_found(struct chooser *chooser, const struct nxi_found_list *found)
{
    char reasons[SENTENCE_MAX / 2] = "";
    size_t used = 0;

    for (size_t i = 0; i < found->count; i++) {
        const struct nxi_found *item = &found->items[i];
        const char *why_not = passed_over(chooser, item);
        struct verdict verdict;

        if (why_not) {
            explain(chooser, "%s (%s): %s", item->name, where(item->path), why_not);
            continue;
        }
        verdict = item->plugin ? try_builtin(chooser, item->plugin, NULL) : try_file(chooser, item->path, NULL);
        if (verdict.say == 0) {
            explain(chooser, "%s (%s), priority %d: runs", item->name, where(item->path), item->priority);
            return verdict;
        }
        explain(chooser, "%s (%s), priority %d: %s", item->name, where(item->path), item->priority, chooser->sentence);
        if (verdict.say == WRONG) {
            char sentence[SENTENCE_MAX];

            snprintf(sentence, sizeof(sentence), "%s", chooser->sentence);
            return refuse(chooser, WRONG, verdict.error, "%s: %s", item->name, sentence);
        }
        if (used < sizeof(reasons))
            used += (size_t)snprintf(reasons + used, sizeof(reasons) - used, "; %s: %s", item->name, chooser->sentence);
    }
    if (used > 0)
        return refuse(chooser, UNAVAILABLE, -ENOTSUP, "no %s can run here%s", nxi_kind_name(chooser->request->kind),
                      reasons);
    return refuse(chooser, UNAVAILABLE, -ENOENT, "there is no%s %s to choose from (nexus info lists what is there)",
                  chooser->list.count ? " other" : "", nxi_kind_name(chooser->request->kind));
}

static struct verdict try_automatic(struct chooser *chooser)
{
    struct nxi_found_list found;
    struct verdict verdict;
    char error[512];
    int r = nxi_find_all(chooser->request->kind, chooser->request->plugin_path, &found, error, sizeof(error));

    if (r < 0)
        return refuse_directories(chooser, r, error);
    explain(chooser, "automatic: by priority, then name");
    verdict = try_found(chooser, &found);
    nxi_found_list_clear(&found);
    return verdict;
}

/* A slip after '^' would let run what was to be excluded. */
static struct verdict check_excluded(struct chooser *chooser)
{
    for (size_t i = 0; i < chooser->list.count; i++) {
        const char *name = chooser->list.items[i].name;
        bool known = is_elsewhere(chooser, chooser->request->kind, name);
        char error[512] = "", *path;

        for (size_t k = 0; k < sizeof(known_names) / sizeof(known_names[0]); k++)
            known |= strcmp(name, known_names[k]) == 0;
        if (known)
            continue;
        if (nxi_find_file(chooser->request->kind, chooser->request->plugin_path, name, &path, error, sizeof(error)) ==
            0)
            free(path);
        return refuse_unknown(chooser, name, error);
    }
    return runs;
}

/* ---- from the request to the list, from the choice to the answer ---- */

static int read_list(struct chooser *chooser)
{
    const struct nxi_request *request = chooser->request;
    bool env = request->env_value && *request->env_value;
    bool option = request->option_value && *request->option_value;
    char error[512];
    int r;

    if (request->pinned && env) {
        snprintf(error, sizeof(error), "%s is set, and ignored: the program pins its choice", request->variable);
        explain(chooser, "%s", error);
        say(chooser, NX_LOG_WARN, error);
        env = false;
    }
    chooser->value = env ? request->env_value : option ? request->option_value : "";
    if (env)
        snprintf(chooser->origin, sizeof(chooser->origin), "%s=%s", request->variable,
                 nxi_quote(request->env_value).text);
    else if (option)
        snprintf(chooser->origin, sizeof(chooser->origin), "the program's %s '%s'", nxi_kind_name(request->kind),
                 nxi_quote(request->option_value).text);
    else
        snprintf(chooser->origin, sizeof(chooser->origin), "%s is not set", request->variable);
    explain(chooser, "%s%s", chooser->origin,
            env && option                ? "; the program's own choice yields to it"
            : request->pinned && !option ? ", and the program pins the automatic choice"
                                         : "");
    if (!chooser->why) {
        refuse(chooser, WRONG, -ENOMEM, "out of memory");
        return -ENOMEM;
    }
    r = nxi_spec_parse(chooser->value, &chooser->list, error, sizeof(error));
    if (r < 0)
        refuse(chooser, WRONG, r, "%s", error);
    return r;
}

/* One WARN for each plugin that was asked for and isn't used. */
static void warn_refused(struct chooser *chooser, const char *instead)
{
    for (size_t i = 0; i < chooser->refused_count; i++) {
        const struct refused *refused = &chooser->refused[i];
        char message[SENTENCE_MAX + 256];

        snprintf(message, sizeof(message), "%s%s%s. Using %s.", refused->name ? nxi_quote(refused->name).text : "",
                 refused->name ? " not used: " : "", refused->sentence, instead);
        say(chooser, NX_LOG_WARN, message);
    }
}

static struct verdict decide(struct chooser *chooser)
{
    const struct nxi_spec_list *list = &chooser->list;
    bool automatic = list->negated || list->automatic || list->count == 0;
    struct verdict verdict = list->negated ? check_excluded(chooser) : runs;
    const char *rule = "first that runs";
    char instead[160];

    if (verdict.say != 0)
        return verdict;
    if (!list->negated && list->count > 0) {
        verdict = try_list(chooser);
        if (verdict.say == 0 || verdict.say == WRONG || !automatic)
            goto out;
    }
    verdict = try_automatic(chooser);
    rule = list->automatic && list->count > 0 ? "allowed by ',auto'" : "automatic";
out:
    if (verdict.say != 0)
        return verdict;
    snprintf(instead, sizeof(instead), "%s (%s)", chooser->choice.plugin->name,
             list->automatic ? "allowed by ',auto'" : "the next in the list");
    warn_refused(chooser, instead);
    explain(chooser, "chosen: %s (%s)", chooser->choice.plugin->name, rule);
    return verdict;
}

/* "NEXUS_BACKEND=iouring,epoll: iouring can't be used: ...; epoll can't be used: ..." */
static void make_error(const struct chooser *chooser, char *error, size_t error_size)
{
    size_t used;

    if (chooser->stands_alone) {
        snprintf(error, error_size, "%s", chooser->sentence);
        return;
    }
    used = (size_t)snprintf(error, error_size, "%s: ", chooser->origin);
    for (size_t i = 0; i < chooser->refused_count && used < error_size; i++) {
        const struct refused *refused = &chooser->refused[i];

        used += (size_t)snprintf(error + used, error_size - used, "%s%s%s%s", i ? "; " : "",
                                 refused->name ? nxi_quote(refused->name).text : "",
                                 refused->name ? " can't be used: " : "", refused->sentence);
    }
    if (used < error_size && !chooser->kept)
        snprintf(error + used, error_size - used, "%s%s", chooser->refused_count ? "; " : "", chooser->sentence);
}

int nxi_select(const struct nxi_request *request, struct nxi_selection *ret_selection, char *error, size_t error_size)
{
    struct chooser *chooser = calloc(1, sizeof(*chooser));
    struct verdict verdict = {WRONG, -ENOMEM};
    char unwanted[1];
    int r;

    if (!error || error_size == 0) {
        error = unwanted;
        error_size = sizeof(unwanted);
    }
    if (!chooser) {
        snprintf(error, error_size, "out of memory");
        return -ENOMEM;
    }
    chooser->request = request;
    r = read_list(chooser);
    if (r == 0) {
        verdict = decide(chooser);
        r = verdict.error;
    }
    if (r < 0)
        make_error(chooser, error, error_size);
    else {
        *ret_selection = chooser->choice;
        ret_selection->why = chooser->why;
        chooser->why = NULL;
    }
    for (size_t i = 0; i < chooser->refused_count; i++)
        free(chooser->refused[i].sentence);
    nxi_spec_clear(&chooser->list);
    free(chooser->why);
    free(chooser);
    return r;
}

void nxi_selection_clear(struct nxi_selection *selection)
{
    if (!selection)
        return;
    nxi_config_free((struct nx_config *)selection->config);
    free(selection->path);
    free(selection->why);
    *selection = (struct nxi_selection){0};
}
