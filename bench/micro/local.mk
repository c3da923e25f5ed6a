# bench/micro/: one program per subject, on Google Benchmark: what an operation costs, through the public API.
# A program goes to EXTRA_PROGRAMS and bench_programs: built by `make bench-programs` alone.
bench_cases = bench/micro/cases.h bench/micro/cases.cc
micro_sources = $(bench_cases) bench/micro/micro.h bench/micro/micro.cc
micro_cppflags = $(PUBLIC_CPPFLAGS) -iquote $(srcdir)/bench/micro $(BENCHMARK_CFLAGS)
# Those that look at the core's timers and stacks have the core inside; so do the two that are compared to each other.
micro_ldadd = libnexus/libnexus.la $(BENCHMARK_LIBS)
micro_core_ldadd = libnexus/libnexus-core.la $(BENCHMARK_LIBS)
micro_ldflags = $(AM_LDFLAGS) -no-install

micro_programs = bench/micro/spawn bench/micro/switch bench/micro/channel bench/micro/timer bench/micro/wake \
	bench/micro/memory bench/micro/file bench/micro/dispatch
EXTRA_PROGRAMS += $(micro_programs) bench/micro/dispatch_builtin bench/micro/echo bench/micro/echo_builtin
bench_micro_spawn_SOURCES = bench/micro/spawn.cc $(micro_sources)
bench_micro_spawn_CPPFLAGS = $(micro_cppflags)
bench_micro_spawn_LDADD = $(micro_ldadd)
bench_micro_spawn_LDFLAGS = $(micro_ldflags)
bench_micro_switch_SOURCES = bench/micro/switch.cc $(micro_sources)
bench_micro_switch_CPPFLAGS = $(micro_cppflags)
bench_micro_switch_LDADD = $(micro_ldadd)
bench_micro_switch_LDFLAGS = $(micro_ldflags)
bench_micro_channel_SOURCES = bench/micro/channel.cc $(micro_sources)
bench_micro_channel_CPPFLAGS = $(micro_cppflags)
bench_micro_channel_LDADD = $(micro_ldadd)
bench_micro_channel_LDFLAGS = $(micro_ldflags)
bench_micro_wake_SOURCES = bench/micro/wake.cc $(micro_sources)
bench_micro_wake_CPPFLAGS = $(micro_cppflags)
bench_micro_wake_LDADD = $(micro_ldadd)
bench_micro_wake_LDFLAGS = $(micro_ldflags)
bench_micro_file_SOURCES = bench/micro/file.cc bench/micro/pages.h bench/micro/pages.cc $(micro_sources)
bench_micro_file_CPPFLAGS = $(micro_cppflags)
bench_micro_file_LDADD = $(micro_ldadd)
bench_micro_file_LDFLAGS = $(micro_ldflags)
bench_micro_timer_SOURCES = bench/micro/timer.cc bench/micro/wheel.h bench/micro/wheel.c $(micro_sources)
bench_micro_timer_CPPFLAGS = $(micro_cppflags) -iquote $(top_srcdir)/libnexus
bench_micro_timer_LDADD = $(micro_core_ldadd)
bench_micro_memory_SOURCES = bench/micro/memory.cc bench/micro/stacks.h bench/micro/stacks.c $(micro_sources)
bench_micro_memory_CPPFLAGS = $(micro_cppflags) -iquote $(top_srcdir)/libnexus
bench_micro_memory_LDADD = $(micro_core_ldadd)

# Plugins from their files, or inside: the price of the boundary. The echo example likewise, for CPU time a request.
micro_builtin_sources = bench/micro/builtin.c $(epoll_sources) sched/local.c sched/shares.h sched/work_stealing.c
micro_builtin_cppflags = $(AM_CPPFLAGS) $(BENCHMARK_CFLAGS) -iquote $(srcdir)/bench/micro
micro_builtin_ldadd = backends/libreadiness.la
if HAVE_URING
micro_builtin_sources += $(iouring_sources)
micro_builtin_cppflags += -DBENCH_WITH_IOURING $(URING_CFLAGS)
micro_builtin_ldadd += $(URING_LIBS)
endif
bench_micro_dispatch_SOURCES = bench/micro/dispatch.cc $(micro_sources)
bench_micro_dispatch_CPPFLAGS = $(micro_cppflags)
bench_micro_dispatch_LDADD = $(micro_core_ldadd)
bench_micro_dispatch_builtin_SOURCES = bench/micro/dispatch.cc $(micro_sources) $(micro_builtin_sources)
bench_micro_dispatch_builtin_CPPFLAGS = $(micro_builtin_cppflags) -DBENCH_BUILTIN
bench_micro_dispatch_builtin_LDADD = libnexus/libnexus-core.la $(micro_builtin_ldadd) $(BENCHMARK_LIBS)
bench_micro_echo_SOURCES = examples/echo.c
bench_micro_echo_CPPFLAGS = $(PUBLIC_CPPFLAGS)
bench_micro_echo_LDADD = libnexus/libnexus-core.la
bench_micro_echo_builtin_SOURCES = examples/echo.c $(micro_builtin_sources)
bench_micro_echo_builtin_CPPFLAGS = $(micro_builtin_cppflags)
bench_micro_echo_builtin_LDADD = libnexus/libnexus-core.la $(micro_builtin_ldadd)

if HAVE_BENCHMARK
bench_programs += $(micro_programs)
if EPOLL_DL
if LOCAL_DL
if WORK_STEALING_DL
bench_programs += bench/micro/dispatch_builtin bench/micro/echo bench/micro/echo_builtin
endif
endif
endif
endif
