/*
 * tls: the echo server over TLS.   tls ADDRESS CERTIFICATE KEY
 *
 * OpenSSL is given bytes and asked for bytes, by two memory BIOs; the stream is read and written by us. That is all
 * there is to TLS on an nx_stream: struct tls, tls_read and tls_write below can be taken as they are.
 */
#include <nexus/nexus.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>

#define PATIENCE_MS 10000

struct tls {
    nx_stream *stream;
    SSL *ssl;
    BIO *in, *out; /* from and to the wire; owned by ssl */
};

/* Sends what OpenSSL wants sent. 0, or -errno. */
static int tls_flush(struct tls *tls, nx_time deadline)
{
    char *data;
    long len = BIO_get_mem_data(tls->out, &data);
    if (len <= 0)
        return 0;
    ssize_t sent = nx_write(tls->stream, data, (size_t)len, deadline);
    (void)BIO_reset(tls->out);
    return sent == len ? 0 : sent < 0 ? (int)sent : -EPIPE;
}

/* OpenSSL keeps its errors by thread, and the tasks of a worker share one: clear before each call, look right after
 * it. */
static SSL *fresh(struct tls *tls)
{
    ERR_clear_error();
    return tls->ssl;
}

/* After an SSL_... call that gave result: 0, call again; -errno; -EPIPE also for the end of the stream. */
static int tls_step(struct tls *tls, int result, nx_time deadline)
{
    int reason = SSL_get_error(tls->ssl, result);
    int error = tls_flush(tls, deadline);
    if (error < 0)
        return error;
    if (reason == SSL_ERROR_WANT_WRITE)
        return 0;
    if (reason != SSL_ERROR_WANT_READ)
        return reason == SSL_ERROR_ZERO_RETURN ? -EPIPE : -EPROTO;
    nx_loan loan;
    ssize_t n = nx_read_loan(tls->stream, &loan, deadline);
    if (n <= 0)
        return n < 0 ? (int)n : -EPIPE;
    int taken = BIO_write(tls->in, loan.data, (int)n);
    nx_loan_return(&loan);
    return taken == n ? 0 : -ENOMEM;
}

static int tls_accept(struct tls *tls, SSL_CTX *context, nx_stream *stream, nx_time deadline)
{
    *tls = (struct tls){stream, SSL_new(context), BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem())};
    if (!tls->ssl || !tls->in || !tls->out) {
        BIO_free(tls->in);
        BIO_free(tls->out);
        SSL_free(tls->ssl);
        return -ENOMEM;
    }
    SSL_set_bio(tls->ssl, tls->in, tls->out);
    int result, error = 0;
    while (error == 0 && (result = SSL_accept(fresh(tls))) != 1)
        error = tls_step(tls, result, deadline);
    if (error == 0)
        error = tls_flush(tls, deadline);
    if (error < 0)
        SSL_free(tls->ssl);
    return error;
}

static ssize_t tls_read(struct tls *tls, void *buf, int len, nx_time deadline)
{
    int result, error = 0;
    while ((result = SSL_read(fresh(tls), buf, len)) <= 0) { /* ends: bytes, the end of the stream, an error */
        error = tls_step(tls, result, deadline);
        if (error < 0)
            return error == -EPIPE ? 0 : error;
    }
    return result;
}

static ssize_t tls_write(struct tls *tls, const void *buf, int len, nx_time deadline)
{
    int result, error = 0;
    while ((result = SSL_write(fresh(tls), buf, len)) <= 0) {
        error = tls_step(tls, result, deadline);
        if (error < 0)
            return error;
    }
    error = tls_flush(tls, deadline);
    return error < 0 ? error : result;
}

/* Tells the peer that nothing more comes; doesn't wait for its answer. */
static void tls_close(struct tls *tls)
{
    SSL_shutdown(fresh(tls));
    tls_flush(tls, nx_after_ms(PATIENCE_MS));
    SSL_free(tls->ssl);
}

static intptr_t echo(nx_stream *stream, void *context)
{
    struct tls tls;
    char buf[4096];
    ssize_t n;
    int error = tls_accept(&tls, context, stream, nx_after_ms(PATIENCE_MS));
    if (error < 0)
        return error;
    while ((n = tls_read(&tls, buf, sizeof buf, NX_FOREVER)) > 0 && tls_write(&tls, buf, (int)n, NX_FOREVER) == n)
        ;
    tls_close(&tls);
    return 0;
}

static void announce(const nx_addr *addr, void *arg)
{
    (void)arg;
    char text[128];
    nx_addr_format(addr, text, sizeof text);
    printf("tls: listening on %s\n", text);
    fflush(stdout);
}

struct server {
    const char *addr;
    SSL_CTX *context;
};

static intptr_t serve(void *arg)
{
    struct server *server = arg;
    nx_serve_options options = {.size = sizeof options, .on_listen = announce, .stack_size = 128 << 10};
    int cut = nx_serve(server->addr, &options, echo, server->context, NX_FOREVER);
    if (cut < 0)
        fprintf(stderr, "tls: %s: %s\n", server->addr, nx_strerror(cut));
    return cut < 0;
}

static intptr_t start(void *server)
{
    intptr_t result = 1;
    nx_until_signal(NULL, serve, server, &result);
    return result;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fputs("usage: tls ADDRESS CERTIFICATE KEY\n", stderr);
        return 2;
    }
    struct server server = {argv[1], SSL_CTX_new(TLS_server_method())};
    if (!server.context || SSL_CTX_use_certificate_chain_file(server.context, argv[2]) != 1 ||
        SSL_CTX_use_PrivateKey_file(server.context, argv[3], SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        return 1;
    }
    int status = nx_run(start, &server);
    SSL_CTX_free(server.context);
    return status;
}
