# backends/kqueue/: the kqueue driver on the readiness adapter; it may use the host table, and nothing of the core.
kqueue_sources = backends/kqueue/driver.c

if KQUEUE_DL
backend_LTLIBRARIES += backends/kqueue.la
backends_kqueue_la_SOURCES = $(kqueue_sources)
backends_kqueue_la_CPPFLAGS = $(PLUGIN_CPPFLAGS) $(KQUEUE_CFLAGS)
backends_kqueue_la_LDFLAGS = $(MODULE_LDFLAGS)
backends_kqueue_la_LIBADD = backends/libreadiness.la $(KQUEUE_LIBS)
endif
if KQUEUE_BUILTIN
libnexus_libnexus_core_la_SOURCES += $(kqueue_sources)
libnexus_libnexus_core_la_CPPFLAGS += $(KQUEUE_CFLAGS)
libnexus_libnexus_core_la_LIBADD += $(KQUEUE_LIBS)
endif
