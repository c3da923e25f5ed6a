# libnexus/: the core and all installed headers; it knows no OS event interface (the drivers do) and no policy (the
# schedulers do).
nexusincludedir = $(includedir)/nexus
nexusinclude_HEADERS = libnexus/include/nexus/base.h libnexus/include/nexus/driver.h \
	libnexus/include/nexus/host.h libnexus/include/nexus/net.h libnexus/include/nexus/nexus.h \
	libnexus/include/nexus/plugin.h libnexus/include/nexus/process.h libnexus/include/nexus/readiness.h \
	libnexus/include/nexus/runtime.h libnexus/include/nexus/sched.h libnexus/include/nexus/task.h \
	libnexus/include/nexus/time.h

noinst_LTLIBRARIES += libnexus/libnexus-core.la
libnexus_libnexus_core_la_CPPFLAGS = $(AM_CPPFLAGS) -DNXI_PLUGIN_DIR=\"$(plugindir)\" -DNXI_VERSION=\"$(VERSION)\"
libnexus_libnexus_core_la_LIBADD =
nodist_libnexus_libnexus_core_la_SOURCES = libnexus/builtin.c
libnexus_libnexus_core_la_SOURCES = libnexus/abi.c libnexus/addr.c libnexus/config.c libnexus/config.h \
	libnexus/connect.c libnexus/core.h libnexus/cpus.c libnexus/cpus.h libnexus/env.c libnexus/env.h \
	libnexus/error.c libnexus/fiber.c libnexus/fiber.h libnexus/find.c libnexus/find.h libnexus/fork.c \
	libnexus/handle.c libnexus/host.c libnexus/idle.c libnexus/inbox.c libnexus/join.c libnexus/listener.c \
	libnexus/loader.c libnexus/loader.h libnexus/local.c libnexus/log.c libnexus/op.c libnexus/overflow.c \
	libnexus/overflow.h libnexus/panic.c libnexus/peek.c libnexus/peek.h libnexus/runtime.c libnexus/second.c \
	libnexus/select.c libnexus/select.h libnexus/serve.c libnexus/setup.c libnexus/setup.h libnexus/signal.c \
	libnexus/slots.c libnexus/spec.c libnexus/spec.h libnexus/stack.c libnexus/stack.h libnexus/stream.c \
	libnexus/task.c libnexus/time.c libnexus/timer.c libnexus/timer.h libnexus/util.h libnexus/waiter.c \
	libnexus/worker.c
if FIBER_X86_64
libnexus_libnexus_core_la_SOURCES += libnexus/fiber_x86_64.S
endif
if FIBER_AARCH64
libnexus_libnexus_core_la_SOURCES += libnexus/fiber_aarch64.S
endif

# What is installed: the same objects, showing only what the map lists.
lib_LTLIBRARIES += libnexus/libnexus.la
libnexus_libnexus_la_SOURCES =
libnexus_libnexus_la_LIBADD = libnexus/libnexus-core.la
libnexus_libnexus_la_LDFLAGS = $(AM_LDFLAGS) -version-info 0:0:0 -no-undefined $(NX_SYMBOLIC) $(NX_DEFS)
if HAVE_VERSION_SCRIPT
libnexus_libnexus_la_LDFLAGS += -Wl,--version-script=$(srcdir)/libnexus/libnexus.map
endif
EXTRA_libnexus_libnexus_la_DEPENDENCIES = libnexus/libnexus.map
EXTRA_DIST += libnexus/libnexus.map

pkgconfig_DATA = libnexus/libnexus.pc libnexus/nexus-driver.pc
