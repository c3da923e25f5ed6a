# backends/loop/: the driver whose network is the process' own memory; it may use the host table, and nothing else: no
# system call, no descriptor, no thread, and not the readiness adapter.
loop_sources = backends/loop/bytes.c backends/loop/datagram.c backends/loop/driver.c backends/loop/ends.c \
	backends/loop/flight.c backends/loop/loop.h backends/loop/names.c

if LOOP_DL
backend_LTLIBRARIES += backends/loop.la
backends_loop_la_SOURCES = $(loop_sources)
backends_loop_la_CPPFLAGS = $(PLUGIN_CPPFLAGS)
backends_loop_la_LDFLAGS = $(MODULE_LDFLAGS)
endif
if LOOP_BUILTIN
libnexus_libnexus_core_la_SOURCES += $(loop_sources)
endif
