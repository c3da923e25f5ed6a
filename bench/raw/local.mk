# bench/raw/: the limits: the least program that does the same work without any runtime.
noinst_PROGRAMS += bench/raw/echo_epoll
bench_raw_echo_epoll_SOURCES = bench/raw/echo.h bench/raw/echo_epoll.c
bench_raw_echo_epoll_LDADD =
if HAVE_URING
noinst_PROGRAMS += bench/raw/echo_uring
bench_raw_echo_uring_SOURCES = bench/raw/echo.h bench/raw/echo_uring.c
bench_raw_echo_uring_CPPFLAGS = $(AM_CPPFLAGS) $(URING_CFLAGS)
bench_raw_echo_uring_LDADD = $(URING_LIBS)
endif

# Cases of bench/micro's names, on the same bench/micro/cases.h.
raw_cppflags = -iquote $(srcdir)/bench/micro $(BENCHMARK_CFLAGS)
raw_programs = bench/raw/channel bench/raw/timer bench/raw/wake bench/raw/memory bench/raw/file
EXTRA_PROGRAMS += bench/raw/channel bench/raw/timer bench/raw/wake bench/raw/memory bench/raw/file bench/raw/spawn \
	bench/raw/switch
if FIBER_X86_64
raw_programs += bench/raw/spawn bench/raw/switch
endif
if HAVE_BENCHMARK
bench_programs += $(raw_programs)
endif
bench_raw_channel_SOURCES = bench/raw/channel.cc $(bench_cases)
bench_raw_channel_CPPFLAGS = $(raw_cppflags)
bench_raw_channel_LDADD = $(BENCHMARK_LIBS)
bench_raw_timer_SOURCES = bench/raw/timer.cc $(bench_cases)
bench_raw_timer_CPPFLAGS = $(raw_cppflags)
bench_raw_timer_LDADD = $(BENCHMARK_LIBS)
bench_raw_wake_SOURCES = bench/raw/wake.cc $(bench_cases)
bench_raw_wake_CPPFLAGS = $(raw_cppflags)
bench_raw_wake_LDADD = $(BENCHMARK_LIBS)
bench_raw_memory_SOURCES = bench/raw/memory.cc $(bench_cases)
bench_raw_memory_CPPFLAGS = $(raw_cppflags)
bench_raw_memory_LDADD = $(BENCHMARK_LIBS)
bench_raw_file_SOURCES = bench/raw/file.cc bench/micro/pages.h bench/micro/pages.cc $(bench_cases)
bench_raw_file_CPPFLAGS = $(raw_cppflags)
bench_raw_file_LDADD = $(BENCHMARK_LIBS)
bench_raw_spawn_SOURCES = bench/raw/spawn.cc bench/raw/fiber.h $(bench_cases)
bench_raw_spawn_CPPFLAGS = $(raw_cppflags)
bench_raw_spawn_LDADD = $(BENCHMARK_LIBS)
bench_raw_switch_SOURCES = bench/raw/switch.cc bench/raw/fiber.h $(bench_cases)
bench_raw_switch_CPPFLAGS = $(raw_cppflags)
bench_raw_switch_LDADD = $(BENCHMARK_LIBS)
