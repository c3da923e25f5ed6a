# libnexus/: the core and all installed headers; it knows no OS event interface (the drivers do) and no policy (the
# schedulers do).
nexusincludedir = $(includedir)/nexus
nexusinclude_HEADERS = libnexus/include/nexus/base.h libnexus/include/nexus/chan.h libnexus/include/nexus/driver.h \
	libnexus/include/nexus/file.h libnexus/include/nexus/host.h libnexus/include/nexus/net.h \
	libnexus/include/nexus/nexus.h libnexus/include/nexus/plugin.h libnexus/include/nexus/process.h \
	libnexus/include/nexus/readiness.h libnexus/include/nexus/runtime.h libnexus/include/nexus/sched.h \
	libnexus/include/nexus/select.h libnexus/include/nexus/sync.h libnexus/include/nexus/task.h \
	libnexus/include/nexus/time.h

noinst_LTLIBRARIES += libnexus/libnexus-core.la
libnexus_libnexus_core_la_CPPFLAGS = $(AM_CPPFLAGS) -DNXI_PLUGIN_DIR=\"$(plugindir)\" -DNXI_VERSION=\"$(VERSION)\"
libnexus_libnexus_core_la_LIBADD =
nodist_libnexus_libnexus_core_la_SOURCES = libnexus/builtin.c
libnexus_libnexus_core_la_SOURCES = libnexus/abi.c libnexus/accept.c libnexus/addr.c libnexus/blocking.c \
	libnexus/blocking.h libnexus/sleeper.h libnexus/broadcast.c libnexus/chan.c libnexus/chan.h \
	libnexus/chan_many.c libnexus/chan_one.c libnexus/chan_parts.h libnexus/cases.c libnexus/cases.h \
	libnexus/choice.c libnexus/choice.h libnexus/cond.c libnexus/config.c libnexus/config.h libnexus/connect.c \
	libnexus/copy.c libnexus/core.h libnexus/cpus.c libnexus/cpus.h libnexus/dir.c libnexus/dump.c libnexus/dump.h \
	libnexus/env.c libnexus/env.h libnexus/error.c libnexus/event.c libnexus/fiber.c libnexus/fiber.h \
	libnexus/file.c libnexus/file.h libnexus/file_emulate.c libnexus/find.c libnexus/find.h libnexus/fork.c \
	libnexus/handle.c libnexus/host.c libnexus/idle.c libnexus/inbox.c libnexus/join.c libnexus/kept.c \
	libnexus/latest.c libnexus/listener.c libnexus/listener.h libnexus/loader.c libnexus/loader.h libnexus/loan.c \
	libnexus/local.c libnexus/lock.c libnexus/log.c libnexus/metrics.c libnexus/mutex.c libnexus/mutex.h \
	libnexus/oneshot.c libnexus/op.c libnexus/overflow.c libnexus/overflow.h libnexus/panic.c libnexus/peek.h \
	libnexus/peek_file.c libnexus/peek_file.h libnexus/pool.c libnexus/process.c libnexus/reaper.c \
	libnexus/resolve.c libnexus/resolve.h libnexus/reaper.h libnexus/runtime.c libnexus/rwlock.c libnexus/scope.c \
	libnexus/second.c libnexus/select.c libnexus/select.h libnexus/sem.c libnexus/serve.c libnexus/setup.c \
	libnexus/setup.h libnexus/signal.c libnexus/signals.h libnexus/sigquit.c libnexus/slots.c libnexus/slots.h \
	libnexus/spec.c libnexus/spec.h libnexus/stack.c libnexus/stack.h libnexus/stack_guard.c \
	libnexus/stack_parts.h libnexus/stack_slab.c libnexus/stall.c libnexus/stream.c libnexus/stream.h \
	libnexus/symbols.c libnexus/sync.c libnexus/sync.h libnexus/task.c libnexus/time.c libnexus/timer.c \
	libnexus/timer.h libnexus/transfer.c libnexus/transfer.h libnexus/trust.c libnexus/trust.h libnexus/udp.c \
	libnexus/unix.c libnexus/until_signal.c libnexus/unwind.c libnexus/unwind.h libnexus/util.h libnexus/waiter.c \
	libnexus/waiter.h libnexus/waitgroup.c libnexus/watch.c libnexus/worker.c libnexus/writer.c
# What systems do differently.
if MACHO
libnexus_libnexus_core_la_SOURCES += libnexus/peek_macho.c
else
libnexus_libnexus_core_la_SOURCES += libnexus/peek.c
endif
libnexus_libnexus_core_la_SOURCES += libnexus/asm.h libnexus/os.h libnexus/os_child.c libnexus/os_context.c \
	libnexus/os_fd.c libnexus/os_pages.c libnexus/os_program.c libnexus/os_random.c libnexus/os_signal.c \
	libnexus/os_snoop.c libnexus/os_spawn.c libnexus/os_thread.c
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
EXTRA_DIST += libnexus/libnexus.map libnexus/plugin.map

pkgconfig_DATA = libnexus/libnexus.pc libnexus/nexus-driver.pc
