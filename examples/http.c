/*
 * http: an HTTP/1.1 server with keep-alive and pipelining.   http [ADDRESS [FOLDER]]
 *
 *   GET  /PATH   the file FOLDER/PATH; without a FOLDER every path says hello
 *   POST /echo   the request's body, up to 1 MiB
 *
 * The parser is Node's former http_parser, fed with whatever bytes have come. A connection that waits for a request
 * holds no buffer: bytes are read by loan. SIGINT or SIGTERM lets open requests finish, a second one ends at once.
 */
#include <fcntl.h>
#include <http_parser.h>
#include <nexus/nexus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_MS 30000
#define BODY_MAX (1u << 20)
#define LINGER_MS 2000 /* how long, and how many bytes, what a peer sends after our last answer is still taken */
#define LINGER_MAX (16u << 20)

struct connection {
    nx_stream *stream;
    nx_writer out;
    http_parser parser;
    char url[2048];
    size_t url_len, body_len;
    char *body;
    int status;           /* the error that parsing found, or 0 */
    bool begun, complete; /* a request */
    char room[8192];      /* the writer's */
};

static const char *folder;
static nx_event draining = NX_EVENT_INIT;

/* ---- the parser's callbacks ---- */

static int on_begin(http_parser *parser)
{
    struct connection *c = parser->data;
    c->url_len = c->body_len = 0;
    c->status = 0;
    c->complete = false;
    c->begun = true;
    return 0;
}

static int on_url(http_parser *parser, const char *at, size_t len)
{
    struct connection *c = parser->data;
    if (c->url_len + len >= sizeof c->url) {
        c->status = 414;
        return 1;
    }
    memcpy(c->url + c->url_len, at, len);
    c->url_len += len;
    return 0;
}

static int on_body(http_parser *parser, const char *at, size_t len)
{
    struct connection *c = parser->data;
    if (!c->body)
        c->body = malloc(BODY_MAX);
    if (!c->body || c->body_len + len > BODY_MAX) {
        c->status = c->body ? 413 : 503;
        return 1;
    }
    memcpy(c->body + c->body_len, at, len);
    c->body_len += len;
    return 0;
}

/* One request at a time: its answer is written before the next one is parsed. */
static int on_complete(http_parser *parser)
{
    struct connection *c = parser->data;
    c->url[c->url_len] = 0;
    c->complete = true;
    http_parser_pause(parser, 1);
    return 0;
}

static const http_parser_settings settings = {
    .on_message_begin = on_begin, .on_url = on_url, .on_body = on_body, .on_message_complete = on_complete};

/* ---- answers; < 0: the connection is of no more use ---- */

static nx_time patience(void)
{
    return nx_after_ms(IDLE_MS);
}

static int head(struct connection *c, int status, const char *type, size_t len, bool keep)
{
    ssize_t n = nx_writer_printf(
        &c->out, patience(), "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n", status,
        http_status_str((enum http_status)status), type, len, keep ? "" : "Connection: close\r\n");
    return n < 0 ? (int)n : 0;
}

static int answer(struct connection *c, int status, const char *type, const void *data, size_t len, bool keep)
{
    int error = head(c, status, type, len, keep);
    if (error == 0 && c->parser.method != HTTP_HEAD && nx_writer_write(&c->out, data, len, patience()) != (ssize_t)len)
        error = -EPIPE;
    return error;
}

static int refuse(struct connection *c, int status, bool keep)
{
    char text[64];
    int len = snprintf(text, sizeof text, "%d %s\n", status, http_status_str((enum http_status)status));
    return answer(c, status, "text/plain", text, (size_t)len, keep);
}

static const char *type_of(const char *path)
{
    static const char *const types[][2] = {{".html", "text/html"},
                                           {".txt", "text/plain"},
                                           {".css", "text/css"},
                                           {".js", "text/javascript"},
                                           {".json", "application/json"}};
    const char *dot = strrchr(path, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof types[0]; i++)
        if (strcmp(dot, types[i][0]) == 0)
            return types[i][1];
    return "application/octet-stream";
}

static int send_open_file(struct connection *c, nx_file *file, const char *path, bool keep)
{
    struct stat stat;
    int error = nx_file_stat(file, &stat, patience());
    if (error < 0 || !S_ISREG(stat.st_mode))
        return refuse(c, 404, keep);
    size_t size = (size_t)stat.st_size;
    error = head(c, 200, type_of(path), size, keep);
    if (error == 0)
        error = nx_writer_flush(&c->out, patience());
    if (error == 0 && c->parser.method != HTTP_HEAD &&
        nx_send_file(c->stream, file, 0, size, NX_FOREVER) != (ssize_t)size)
        error = -EPIPE; /* too late for a status */
    return error;
}

static int send_file(struct connection *c, bool keep)
{
    char path[4096];
    nx_file *file;
    if (strstr(c->url, "..") || c->url[0] != '/')
        return refuse(c, 403, keep);
    c->url[strcspn(c->url, "?#")] = 0;
    snprintf(path, sizeof path, "%s%s%s", folder, c->url, c->url[strlen(c->url) - 1] == '/' ? "index.html" : "");
    int error = nx_file_open(path, O_RDONLY, 0, &file, patience());
    if (error < 0)
        return error == -ECANCELED ? error : refuse(c, error == -EACCES ? 403 : 404, keep);
    error = send_open_file(c, file, path, keep);
    nx_file_close(file);
    return error;
}

static int respond(struct connection *c, bool keep)
{
    static const char hello[] = "hello from libnexus\n";
    if (c->parser.method == HTTP_POST && strcmp(c->url, "/echo") == 0)
        return answer(c, 200, "application/octet-stream", c->body, c->body_len, keep);
    if (c->parser.method != HTTP_GET && c->parser.method != HTTP_HEAD)
        return refuse(c, 405, keep);
    return folder ? send_file(c, keep) : answer(c, 200, "text/plain", hello, sizeof hello - 1, keep);
}

/* ---- a connection ---- */

/* Answers all requests in these bytes. True: the connection goes on. */
static bool feed(struct connection *c, const char *data, size_t len)
{
    size_t used = 0;
    do { /* ends: each turn uses bytes up, or fails; len 0 tells the parser of the end of stream */
        used += http_parser_execute(&c->parser, &settings, data + used, len - used);
        if (HTTP_PARSER_ERRNO(&c->parser) == HPE_PAUSED && c->complete) {
            bool keep = http_should_keep_alive(&c->parser) && !nx_event_is_set(&draining);
            http_parser_pause(&c->parser, 0);
            c->complete = c->begun = false;
            if (respond(c, keep) < 0 || !keep)
                return false;
        } else if (HTTP_PARSER_ERRNO(&c->parser) != HPE_OK) {
            refuse(c, c->status ? c->status : 400, false);
            return false;
        }
    } while (used < len);
    return !c->parser.upgrade;
}

/* Closing with bytes unread resets a connection, and a peer that is still sending then loses the answer. */
static void say_goodbye(nx_stream *stream)
{
    nx_loan loan;
    nx_time until = nx_after_ms(LINGER_MS);
    size_t total = 0;
    if (nx_shutdown(stream, NX_SHUT_WRITE) < 0)
        return;
    while (total < LINGER_MAX && nx_read_loan(stream, &loan, until) > 0) {
        total += loan.len;
        nx_loan_return(&loan);
    }
}

/* What has come. Between two requests the end of the server is an end of the connection, too: 0. */
static ssize_t receive(struct connection *c, void *buf, size_t len)
{
    if (c->begun)
        return nx_read(c->stream, buf, len, patience());
    int winner = nx_select(patience(), NX_CASE_READ(c->stream, buf, len), NX_CASE_EVENT(&draining));
    return winner == 0 ? nx_select_result() : winner < 0 ? winner : 0;
}

static void converse(struct connection *c)
{
    char buf[4096];
    ssize_t n = 0;
    bool open = true, peer_open = true;
    while (open && (peer_open = (n = receive(c, buf, sizeof buf)) > 0)) {
        open = feed(c, buf, (size_t)n);
        if (nx_writer_flush(&c->out, patience()) < 0)
            open = peer_open = false;
    }
    if (peer_open)
        say_goodbye(c->stream);
}

static intptr_t serve_connection(nx_stream *stream, void *arg)
{
    (void)arg;
    struct connection *c = calloc(1, sizeof *c);
    if (!c)
        return -ENOMEM;
    c->stream = stream;
    http_parser_init(&c->parser, HTTP_REQUEST);
    c->parser.data = c;
    nx_writer_init(&c->out, stream, c->room, sizeof c->room);
    converse(c);
    free(c->body);
    free(c);
    return 0;
}

static void announce(const nx_addr *addr, void *arg)
{
    (void)arg;
    char text[128];
    nx_addr_format(addr, text, sizeof text);
    printf("http: listening on %s\n", text);
    fflush(stdout);
}

static void tell_idle(void *arg)
{
    (void)arg;
    nx_event_set(&draining);
}

static intptr_t serve(void *addr)
{
    nx_serve_options options = {.size = sizeof options, .on_listen = announce, .on_drain = tell_idle};
    int cut = nx_serve(addr, &options, serve_connection, NULL, NX_FOREVER);
    if (cut < 0)
        fprintf(stderr, "http: %s: %s\n", (char *)addr, nx_strerror(cut));
    return cut < 0;
}

static intptr_t start(void *arg)
{
    char **args = arg;
    char *addr = args[1] ? args[1] : "127.0.0.1:8080";
    folder = args[1] ? args[2] : NULL;
    intptr_t result = 1;
    nx_until_signal(NULL, serve, addr, &result);
    return result;
}

int main(int argc, char **argv)
{
    (void)argc;
    return nx_run(start, argv);
}
