# tools/: the nexus program, a file per subcommand; it has the core linked in and may use its private headers.
conform_sources = tools/conform/conform.c tools/conform/conform.h tools/conform/driver.def \
	tools/conform/driver_address.c tools/conform/driver_borrow.c tools/conform/driver_cancel.c \
	tools/conform/driver_complete.c tools/conform/driver_differ.c tools/conform/driver_handle.c \
	tools/conform/driver_life.c tools/conform/driver_memory.c tools/conform/driver_optional.c \
	tools/conform/driver_outside.c tools/conform/driver_sleep.c tools/conform/driver_stream.c \
	tools/conform/driver_tells.c tools/conform/host.c tools/conform/memory.c tools/conform/net.c \
	tools/conform/rig.c tools/conform/rig.h tools/conform/run.c tools/conform/sched.def \
	tools/conform/sched_answers.c tools/conform/sched_interleave.c tools/conform/sched_laws.c \
	tools/conform/sched_outside.c tools/conform/sched_policy.c tools/conform/sched_rig.c tools/conform/sched_rig.h \
	tools/conform/sched_steps.c tools/conform/tables.c

include $(srcdir)/tools/new/local.mk

if BUILD_TOOLS
bin_PROGRAMS += tools/nexus
tools_nexus_SOURCES = tools/bench.c tools/caps.c tools/caps.h tools/info.c tools/json.h tools/nexus.c tools/nexus.h \
	tools/tested.c tools/tested.h tools/values.c tools/values.h $(conform_sources) $(new_sources)
nodist_tools_nexus_SOURCES = $(new_texts)
tools_nexus_CPPFLAGS = $(AM_CPPFLAGS) -iquote $(srcdir)/tools/new -DNEXUS_LIBEXEC='"$(benchdir)"'
tools_nexus_LDADD = libnexus/libnexus-core.la
endif
