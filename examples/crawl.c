/*
 * crawl: follows the links of a site.   crawl http://HOST[:PORT]/PATH [PAGES [SECONDS]]
 *
 * Prints status, size and path of each page, PAGES (100) at most, and gives up what is still under way after SECONDS
 * (30). Eight fetchers, children of one scope, take paths from a channel and send what they found to another one; the
 * crawler waits for results, for the next progress line and for the deadline in one nx_select.
 */
#include <http_parser.h>
#include <nexus/nexus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FETCHERS 8
#define PATH_MAX_BYTES 512
#define LINKS_MAX 64
#define PAGE_MAX (4u << 20)

struct path {
    char text[PATH_MAX_BYTES];
};

struct page {
    char path[PATH_MAX_BYTES];
    int status; /* of HTTP, or -errno */
    size_t size;
    unsigned link_count;
    struct path *links; /* the receiver frees it */
};

struct crawl {
    char host[256], host_port[300];
    nx_chan *todo, *pages;
    struct path *seen;
    size_t seen_count, limit, waiting;
};

/* ---- a page ---- */

struct body {
    char *data;
    size_t len;
    bool complete, failed;
};

static int on_body(http_parser *parser, const char *at, size_t len)
{
    struct body *body = parser->data;
    char *data = body->len + len <= PAGE_MAX ? realloc(body->data, body->len + len + 1) : NULL;
    if (!data) {
        body->failed = true;
        return 1;
    }
    memcpy(data + body->len, at, len);
    body->data = data;
    body->len += len;
    data[body->len] = 0;
    return 0;
}

static int on_complete(http_parser *parser)
{
    ((struct body *)parser->data)->complete = true;
    return 0;
}

/* Reads an answer whole: its status, or -errno. */
static int read_answer(nx_stream *stream, struct body *body)
{
    static const http_parser_settings settings = {.on_body = on_body, .on_message_complete = on_complete};
    http_parser parser = {.data = body};
    char buf[8192];
    ssize_t n;
    http_parser_init(&parser, HTTP_RESPONSE);
    do { /* ends: the answer is complete, the stream at its end, or an error */
        n = nx_read(stream, buf, sizeof buf, NX_FOREVER);
        if (n < 0)
            return (int)n;
        if (http_parser_execute(&parser, &settings, buf, (size_t)n) != (size_t)n || body->failed)
            return body->failed ? -EFBIG : -EPROTO;
    } while (n > 0 && !body->complete);
    return body->complete ? (int)parser.status_code : -EPROTO;
}

static int fetch(const struct crawl *crawl, const char *path, struct body *body)
{
    nx_stream *stream;
    char request[PATH_MAX_BYTES + 400];
    int error = nx_connect(crawl->host_port, NULL, &stream, NX_FOREVER);
    if (error < 0)
        return error;
    int len = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", path,
                       crawl->host_port);
    int status = (int)nx_write(stream, request, (size_t)len, NX_FOREVER);
    if (status >= 0)
        status = read_answer(stream, body);
    nx_close(stream);
    return status;
}

/* The paths on this site that a page links to: absolute ones, and those relative to its folder. */
static void find_links(struct page *page, const char *html)
{
    static const char mark[] = "href=\"";
    page->links = calloc(LINKS_MAX, sizeof *page->links);
    const char *at = html, *slash = strrchr(page->path, '/');
    while (page->links && page->link_count < LINKS_MAX && (at = strstr(at, mark))) {
        at += sizeof mark - 1;
        int len = (int)strcspn(at, "\"#?"), base = *at == '/' ? 0 : (int)(slash - page->path) + 1;
        char *link = page->links[page->link_count].text;
        if (len == 0 || base + len >= PATH_MAX_BYTES || strncmp(at, "//", 2) == 0 || memchr(at, ':', (size_t)len))
            continue;
        snprintf(link, PATH_MAX_BYTES, "%.*s%.*s", base, page->path, len, at);
        page->link_count++;
    }
}

/* Ends when there is nothing more to do, or with the scope. */
static intptr_t fetcher(void *arg)
{
    struct crawl *crawl = arg;
    struct path path;
    int error;
    while ((error = nx_chan_recv(crawl->todo, &path, NX_FOREVER)) == 0) {
        struct body body = {0};
        struct page page = {0};
        memcpy(page.path, path.text, sizeof page.path);
        page.status = fetch(crawl, path.text, &body);
        page.size = body.len;
        if (page.status == 200 && body.data)
            find_links(&page, body.data);
        free(body.data);
        error = nx_chan_send(crawl->pages, &page, NX_FOREVER);
        if (error < 0) {
            free(page.links);
            break;
        }
    }
    return error == -EPIPE ? 0 : error;
}

/* ---- the crawl ---- */

/* Asks for a path unless that has been done. todo is unbounded: this never waits. */
static void want(struct crawl *crawl, const struct path *path)
{
    for (size_t i = 0; i < crawl->seen_count; i++)
        if (strcmp(crawl->seen[i].text, path->text) == 0)
            return;
    if (crawl->seen_count == crawl->limit || nx_chan_send(crawl->todo, path, NX_FOREVER) < 0)
        return;
    crawl->seen[crawl->seen_count++] = *path;
    crawl->waiting++;
}

static void take(struct crawl *crawl, struct page *page)
{
    crawl->waiting--;
    if (page->status < 0)
        printf("%s %s\n", nx_strerror(page->status), page->path);
    else
        printf("%d %zu %s\n", page->status, page->size, page->path);
    for (unsigned i = 0; i < page->link_count; i++)
        want(crawl, &page->links[i]);
    free(page->links);
}

static int follow(struct crawl *crawl)
{
    struct page page;
    nx_time progress = nx_after_ms(1000);
    while (crawl->waiting > 0) {
        switch (nx_select(NX_FOREVER, NX_CASE_RECV(crawl->pages, &page), NX_CASE_TIMER(progress))) {
        case 0:
            take(crawl, &page);
            break;
        case 1:
            fprintf(stderr, "crawl: %zu pages seen, %zu to come\n", crawl->seen_count - crawl->waiting, crawl->waiting);
            progress = nx_after_ms(1000);
            break;
        case -ETIMEDOUT: /* the scope's deadline */
            return -ETIMEDOUT;
        default:
            return -ECANCELED;
        }
    }
    return 0;
}

static int crawl_in_scope(struct crawl *crawl, int64_t seconds)
{
    nx_scope_options options = {.size = sizeof options, .timeout_ns = seconds * 1000000000};
    nx_scope *scope;
    int error = nx_scope_open(&options, &scope);
    if (error < 0)
        return error;
    for (int i = 0; i < FETCHERS && error >= 0; i++) {
        nx_task child = nx_scope_spawn(scope, fetcher, crawl);
        error = child < 0 ? (int)child : 0;
    }
    if (error == 0)
        error = follow(crawl);
    nx_chan_close(crawl->todo);
    nx_chan_close(crawl->pages);
    int closed = nx_scope_close(scope, NX_FOREVER);
    return error < 0 ? error : closed;
}

/* The parts of a URL; false: not one that this program fetches. */
static bool split(struct crawl *crawl, const char *url, struct path *ret_path)
{
    struct http_parser_url parts;
    http_parser_url_init(&parts);
    if (http_parser_parse_url(url, strlen(url), 0, &parts) != 0 || strncmp(url, "http:", 5) != 0)
        return false;
    int port = parts.field_set & (1 << UF_PORT) ? parts.port : 80;
    snprintf(crawl->host, sizeof crawl->host, "%.*s", parts.field_data[UF_HOST].len,
             url + parts.field_data[UF_HOST].off);
    snprintf(crawl->host_port, sizeof crawl->host_port, strchr(crawl->host, ':') ? "[%s]:%d" : "%s:%d", crawl->host,
             port);
    snprintf(ret_path->text, sizeof ret_path->text, "%.*s", parts.field_data[UF_PATH].len,
             url + parts.field_data[UF_PATH].off);
    if (!ret_path->text[0])
        snprintf(ret_path->text, sizeof ret_path->text, "/");
    return true;
}

static intptr_t start(void *arg)
{
    char **args = arg;
    struct crawl crawl = {.limit = args[2] ? (size_t)atoi(args[2]) : 100};
    struct path first;
    struct page page;
    if (!split(&crawl, args[1], &first)) {
        fprintf(stderr, "crawl: %s is not an http:// URL\n", args[1]);
        return 2;
    }
    crawl.seen = calloc(crawl.limit, sizeof *crawl.seen);
    int error = crawl.seen ? nx_chan_create(sizeof(struct path), NX_UNBOUNDED, &crawl.todo) : -ENOMEM;
    if (error == 0)
        error = nx_chan_create(sizeof(struct page), FETCHERS, &crawl.pages);
    if (error == 0) {
        want(&crawl, &first);
        error = crawl_in_scope(&crawl, args[2] && args[3] ? atoi(args[3]) : 30);
        while (nx_chan_recv(crawl.pages, &page, NX_POLL) == 0)
            free(page.links);
    }
    if (error < 0)
        fprintf(stderr, "crawl: %s\n", nx_strerror(error));
    nx_chan_destroy(crawl.todo);
    nx_chan_destroy(crawl.pages);
    free(crawl.seen);
    return error < 0;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fputs("usage: crawl http://HOST[:PORT]/PATH [PAGES [SECONDS]]\n", stderr);
        return 2;
    }
    return nx_run(start, argv);
}
