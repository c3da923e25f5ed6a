# backends/epoll/: the epoll driver on the readiness adapter; it may use the host table, and nothing of the core.
epoll_sources = backends/epoll/driver.c

if EPOLL_DL
backend_LTLIBRARIES += backends/epoll.la
backends_epoll_la_SOURCES = $(epoll_sources)
backends_epoll_la_CPPFLAGS = $(PLUGIN_CPPFLAGS)
backends_epoll_la_LDFLAGS = $(MODULE_LDFLAGS)
backends_epoll_la_LIBADD = backends/libreadiness.la
endif
if EPOLL_BUILTIN
libnexus_libnexus_core_la_SOURCES += $(epoll_sources)
endif
