# backends/readiness/: turns readiness into completions for epoll, kqueue and any author's driver; it may use the host
# table and sockets, and nothing of the core.
readiness_sources = backends/readiness/adapter.c backends/readiness/adapter.h backends/readiness/calls.c \
	backends/readiness/context.c backends/readiness/datagram.c backends/readiness/datagram.h \
	backends/readiness/fds.c backends/readiness/fds.h backends/readiness/message.c backends/readiness/message.h \
	backends/readiness/os.h \
	backends/readiness/quick.h

noinst_LTLIBRARIES += backends/libreadiness.la
backends_libreadiness_la_SOURCES = $(readiness_sources)
backends_libreadiness_la_CPPFLAGS = $(PLUGIN_CPPFLAGS)

# Installed for plugin authors, who link it into their module: hence always position-independent.
lib_LIBRARIES += libnexus-readiness.a
libnexus_readiness_a_SOURCES = $(readiness_sources)
libnexus_readiness_a_CPPFLAGS = $(PLUGIN_CPPFLAGS)
libnexus_readiness_a_CFLAGS = $(AM_CFLAGS) -fPIC

if READINESS_BUILTIN
libnexus_libnexus_core_la_LIBADD += backends/libreadiness.la
endif
