# backends/iouring/: the io_uring driver on liburing; it may use the host table and the adapter's descriptor table, and
# nothing of the core.
iouring_sources = backends/iouring/ctx.h backends/iouring/driver.c backends/iouring/files.c backends/iouring/files.h \
	backends/iouring/flight.c backends/iouring/identity.c backends/iouring/identity.h backends/iouring/inline.c \
	backends/iouring/inline.h backends/iouring/message.c backends/iouring/message.h backends/iouring/probe.c \
	backends/iouring/probe.h backends/iouring/ring.c backends/iouring/ring.h backends/iouring/slots.c \
	backends/iouring/slots.h backends/iouring/uapi.h

if IOURING_DL
backend_LTLIBRARIES += backends/iouring.la
backends_iouring_la_SOURCES = $(iouring_sources)
backends_iouring_la_CPPFLAGS = $(PLUGIN_CPPFLAGS) $(URING_CFLAGS)
backends_iouring_la_LDFLAGS = $(MODULE_LDFLAGS)
backends_iouring_la_LIBADD = backends/libreadiness.la $(URING_LIBS)
endif
if IOURING_BUILTIN
libnexus_libnexus_core_la_SOURCES += $(iouring_sources)
libnexus_libnexus_core_la_CPPFLAGS += $(URING_CFLAGS)
libnexus_libnexus_core_la_LIBADD += $(URING_LIBS)
endif
