# examples/: programs as a user of the library would write them: installed headers and libnexus only.
noinst_PROGRAMS += examples/echo examples/hello examples/proxy

examples_echo_CPPFLAGS = $(PUBLIC_CPPFLAGS)
examples_echo_LDADD = libnexus/libnexus.la
examples_echo_LDFLAGS = $(AM_LDFLAGS) -no-install

examples_hello_CPPFLAGS = $(PUBLIC_CPPFLAGS)
examples_hello_LDADD = libnexus/libnexus.la
examples_hello_LDFLAGS = $(AM_LDFLAGS) -no-install

examples_proxy_CPPFLAGS = $(PUBLIC_CPPFLAGS)
examples_proxy_LDADD = libnexus/libnexus.la
examples_proxy_LDFLAGS = $(AM_LDFLAGS) -no-install

if HAVE_HTTP_PARSER
noinst_PROGRAMS += examples/crawl examples/http
endif
examples_crawl_CPPFLAGS = $(PUBLIC_CPPFLAGS)
examples_crawl_LDADD = libnexus/libnexus.la -lhttp_parser
examples_crawl_LDFLAGS = $(AM_LDFLAGS) -no-install
examples_http_CPPFLAGS = $(PUBLIC_CPPFLAGS)
examples_http_LDADD = libnexus/libnexus.la -lhttp_parser
examples_http_LDFLAGS = $(AM_LDFLAGS) -no-install

if HAVE_HIREDIS
noinst_PROGRAMS += examples/kv
endif
examples_kv_CPPFLAGS = $(PUBLIC_CPPFLAGS)
examples_kv_LDADD = libnexus/libnexus.la $(HIREDIS_LIBS)
examples_kv_LDFLAGS = $(AM_LDFLAGS) -no-install

if HAVE_OPENSSL
noinst_PROGRAMS += examples/tls
endif
examples_tls_CPPFLAGS = $(PUBLIC_CPPFLAGS) $(OPENSSL_CFLAGS)
examples_tls_LDADD = libnexus/libnexus.la $(OPENSSL_LIBS)
examples_tls_LDFLAGS = $(AM_LDFLAGS) -no-install

if HAVE_CURL
noinst_PROGRAMS += examples/fetch
endif
examples_fetch_CPPFLAGS = $(PUBLIC_CPPFLAGS) $(CURL_CFLAGS)
examples_fetch_LDADD = libnexus/libnexus.la $(CURL_LIBS)
examples_fetch_LDFLAGS = $(AM_LDFLAGS) -no-install
