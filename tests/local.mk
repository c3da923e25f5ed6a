# tests/: what must hold: unit/ (a file per source file), plugin/ (selection, loading, ABI), conform/ (one body for
# every driver and scheduler), build/ (what is installed), load/ (the load generator), lib/ (help for them, nxt_);
# nothing here is installed.
#
# NXT_SCALE scales the sizes of the long cases: 1 is full size, sanitizer builds want less.
LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) $(top_srcdir)/build-aux/tap-driver.sh
AM_TESTS_ENVIRONMENT = \
	NXT_SCALE=$${NXT_SCALE:-1}; export NXT_SCALE; \
	CMOCKA_MESSAGE_OUTPUT=TAP; export CMOCKA_MESSAGE_OUTPUT; \
	NXT_BUILD=$(abs_top_builddir); export NXT_BUILD; \
	NEXUS_PLUGIN_PATH=$(abs_top_builddir)/backends/.libs:$(abs_top_builddir)/sched/.libs; export NEXUS_PLUGIN_PATH; \
	CC='$(CC)' CXX='$(CXX)' NM='$(NM)' MANDOC='$(MANDOC)' CLANG_FORMAT='$(CLANG_FORMAT)' \
	SANITIZE='$(NX_SANITIZE_FLAGS)' MAKE='$(MAKE)' PKG_CONFIG='$(PKG_CONFIG)' prefix='$(prefix)' libdir='$(libdir)' \
	CONFORM='$(conform_programs)' SERVICES='$(loop_services)'; \
	export CC CXX NM MANDOC CLANG_FORMAT SANITIZE MAKE PKG_CONFIG prefix libdir CONFORM SERVICES;
TEST_EXTENSIONS = .sh .cell
SH_LOG_DRIVER = $(LOG_DRIVER)
LOG_COMPILER = $(SHELL) $(srcdir)/tests/run.sh
SH_LOG_COMPILER = $(LOG_COMPILER) $(SHELL)
CELL_LOG_DRIVER = $(LOG_DRIVER)
CELL_LOG_COMPILER = $(SH_LOG_COMPILER) $(srcdir)/tests/conform/cell.sh

# A program of one file is made of that file, with the core inside: unit tests look behind the installed headers.
LDADD = tests/lib/libnxt.la libnexus/libnexus-core.la backends/libreadiness.la $(CMOCKA_LIBS) -lm
check_LTLIBRARIES += tests/lib/libnxt.la
tests_lib_libnxt_la_SOURCES = tests/lib/audit.c tests/lib/child.c tests/lib/expect.c tests/lib/help.c \
	tests/lib/net.c tests/lib/nxt.h tests/lib/nxt_chan.h tests/lib/nxt_net.h tests/lib/peer.c tests/lib/probe.c \
	tests/lib/runner.c tests/lib/users.c tests/lib/watchdog.c

# What looks at texts, at what is installed and at what others build with it; it runs too little of the library for a
# sanitizer to tell more.
build_tests = tests/bench/growth.sh tests/bench/report.sh tests/build/cells.sh tests/build/format.sh \
	tests/build/headers.sh tests/build/install.sh tests/build/man.sh tests/build/pages.sh \
	tests/build/plugins.sh tests/build/symbols.sh tests/load/open_loop.sh tests/model/run.sh
script_tests = tests/plugin/test_privileged.sh tests/loop/no_socket_calls.sh
kit_tests = tests/conform_kit/list.sh
cmocka_tests = tests/unit/test_addr tests/unit/test_config tests/unit/test_env tests/unit/test_fds \
	tests/unit/test_fiber tests/unit/test_histogram tests/unit/test_lock tests/unit/test_overflow \
	tests/unit/test_readiness \
	tests/unit/test_sched_local tests/unit/test_sched_work_stealing tests/unit/test_spec \
	tests/unit/test_stack tests/unit/test_timer tests/unit/test_values
if HAVE_URING
cmocka_tests += tests/unit/test_iouring tests/unit/test_iouring_ladder
endif
if HAVE_BENCHMARK
build_tests += tests/build/bench.sh
check_PROGRAMS += bench/micro/switch
endif
if SHARED
cmocka_tests += tests/unit/test_loader tests/unit/test_proofs tests/unit/test_select
script_tests += tests/plugin/test_hostile.sh tests/plugin/test_info.sh
kit_tests += tests/conform_kit/drivers.sh tests/conform_kit/guests.sh tests/conform_kit/odd.sh \
	tests/conform_kit/schedulers.sh tests/conform_kit/usage.sh
endif
# What holds on every driver and scheduler; a .cell names a pair.
conform_programs = tests/conform/conform_accept tests/conform/conform_account tests/conform/conform_addr \
	tests/conform/conform_blocking tests/conform/conform_buffered tests/conform/conform_cancel \
	tests/conform/conform_cancel_io tests/conform/conform_chan tests/conform/conform_chan_fuzz \
	tests/conform/conform_chan_home tests/conform/conform_chan_kinds tests/conform/conform_chan_use \
	tests/conform/conform_copy tests/conform/conform_dump tests/conform/conform_fault tests/conform/conform_file \
	tests/conform/conform_foreign tests/conform/conform_join tests/conform/conform_metrics \
	tests/conform/conform_net tests/conform/conform_panic tests/conform/conform_pool \
	tests/conform/conform_process tests/conform/conform_resolve tests/conform/conform_rights \
	tests/conform/conform_runtime tests/conform/conform_sanity tests/conform/conform_sched \
	tests/conform/conform_scope tests/conform/conform_select tests/conform/conform_serve \
	tests/conform/conform_share tests/conform/conform_signal tests/conform/conform_stall \
	tests/conform/conform_sync tests/conform/conform_sync_order tests/conform/conform_sync_stress \
	tests/conform/conform_task tests/conform/conform_time tests/conform/conform_transfer \
	tests/conform/conform_udp tests/conform/conform_unix tests/conform/conform_until_signal \
	tests/conform/conform_watch
conform_cells = tests/conform/epoll-local.cell tests/conform/epoll-work_stealing.cell \
	tests/conform/iouring-local.cell tests/conform/iouring-work_stealing.cell
# The driver without a kernel, and the programs that are for it alone.
loop_programs = tests/loop/loop_clock tests/loop/loop_net
loop_cells = tests/loop/loop-iouring_files.cell tests/loop/loop-local.cell tests/loop/loop-short.cell \
	tests/loop/loop-virtual.cell tests/loop/loop-virtual_files.cell tests/loop/loop-work_stealing.cell
tests_loop_loop_kv_SOURCES = tests/loop/loop_kv.c tests/loop/service_kv.c tests/loop/services.h
tests_loop_loop_kv_LDADD = $(HIREDIS_LIBS) $(LDADD)
tests_loop_loop_proxy_SOURCES = tests/loop/loop_proxy.c tests/loop/service_http.c tests/loop/service_proxy.c \
	tests/loop/services.h
tests_loop_loop_proxy_LDADD = -lhttp_parser $(LDADD)
loop_services =
if HAVE_HIREDIS
loop_services += tests/loop/loop_kv
endif
if HAVE_HTTP_PARSER
loop_services += tests/loop/loop_proxy
endif
if HAVE_CMOCKA
check_PROGRAMS += $(loop_programs) $(loop_services) $(cmocka_tests) $(conform_programs) tests/plugin/privileged
endif
tests_unit_test_iouring_SOURCES = tests/unit/test_iouring.c backends/iouring/driver.c backends/iouring/files.c \
	backends/iouring/flight.c backends/iouring/identity.c backends/iouring/inline.c backends/iouring/message.c \
	backends/iouring/probe.c backends/iouring/slots.c
tests_unit_test_iouring_LDADD = $(URING_LIBS) $(LDADD)
tests_unit_test_iouring_ladder_SOURCES = tests/unit/test_iouring_ladder.c backends/iouring/driver.c \
	backends/iouring/files.c backends/iouring/flight.c backends/iouring/identity.c backends/iouring/inline.c \
	backends/iouring/message.c backends/iouring/probe.c backends/iouring/ring.c backends/iouring/slots.c
tests_unit_test_iouring_ladder_LDADD = $(URING_LIBS) $(LDADD)
tests_unit_test_readiness_SOURCES = tests/unit/test_readiness.c backends/epoll/driver.c
tests_unit_test_values_SOURCES = tests/unit/test_values.c tools/values.c tools/values.h
tests_unit_test_sched_local_SOURCES = tests/unit/test_sched_local.c tests/unit/sched_host.h sched/local.c
tests_unit_test_sched_work_stealing_SOURCES = tests/unit/test_sched_work_stealing.c tests/unit/sched_host.h \
	sched/work_stealing.c

if SHARED
check_LTLIBRARIES += tests/plugin/samples.la tests/conform_kit/broken_driver.la \
	tests/conform_kit/broken_sched.la tests/conform_kit/guest_driver.la tests/conform_kit/odd_driver.la
endif
tests_plugin_samples_la_SOURCES = tests/plugin/samples.c tests/plugin/samples.h
tests_plugin_samples_la_CPPFLAGS = $(PUBLIC_CPPFLAGS)
tests_plugin_samples_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere

# Plugins with one fault each, which nexus conform must find.
tests_conform_kit_broken_driver_la_SOURCES = tests/conform_kit/broken_driver.c tests/conform_kit/offers.c \
	tests/conform_kit/offers.h tests/conform_kit/real.h
tests_conform_kit_broken_driver_la_CPPFLAGS = $(PLUGIN_CPPFLAGS)
tests_conform_kit_broken_driver_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere
tests_conform_kit_guest_driver_la_SOURCES = tests/conform_kit/guest_driver.c tests/conform_kit/real.h
tests_conform_kit_guest_driver_la_CPPFLAGS = $(PLUGIN_CPPFLAGS)
tests_conform_kit_guest_driver_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere
tests_conform_kit_odd_driver_la_SOURCES = tests/conform_kit/odd_driver.c tests/conform_kit/real.h
tests_conform_kit_odd_driver_la_CPPFLAGS = $(PLUGIN_CPPFLAGS)
tests_conform_kit_odd_driver_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere
tests_conform_kit_broken_sched_la_SOURCES = tests/conform_kit/broken_sched.c tests/conform_kit/real.h
tests_conform_kit_broken_sched_la_CPPFLAGS = $(PLUGIN_CPPFLAGS)
tests_conform_kit_broken_sched_la_LDFLAGS = $(AM_LDFLAGS) -module -avoid-version -shared -rpath /nowhere

# Each public function is missed by some case; in a build with --enable-enosys-hooks only.
if ENOSYS_HOOKS
script_tests += tests/conform/enosys.sh
endif
# The examples, each driven by clients of other people.
example_tests = tests/examples/crawl.sh tests/examples/fetch.sh tests/examples/http.sh tests/examples/kv.sh \
	tests/examples/pool_redis.sh tests/examples/proxy.sh tests/examples/tls.sh
check_PROGRAMS += tests/examples/pool_redis
tests_examples_pool_redis_CPPFLAGS = $(PUBLIC_CPPFLAGS)
tests_examples_pool_redis_LDADD = libnexus/libnexus.la
tests_examples_pool_redis_LDFLAGS = $(AM_LDFLAGS) -no-install
TESTS += $(build_tests) $(script_tests) $(kit_tests) $(example_tests)
if HAVE_CMOCKA
TESTS += $(loop_cells) $(cmocka_tests) $(conform_cells) tests/conform/epoll-iouring_files.cell \
	tests/conform/iouring_sqpoll-local.cell
endif
EXTRA_DIST += $(loop_cells) $(example_tests) tests/bench/growth.py tests/bench/growth.sh tests/bench/report.py \
	tests/bench/report.sh tests/examples/lib.sh tests/build/app.c tests/build/bench.sh tests/build/cells.sh \
	tests/build/format.sh tests/build/pages.sh tests/build/headers.sh tests/build/install.sh tests/build/man.sh \
	tests/build/plugins.sh tests/build/symbols.sh tests/conform_kit/break.sh tests/conform_kit/drivers.sh \
	tests/conform_kit/guests.sh tests/conform_kit/lib.sh tests/conform_kit/list.sh tests/conform_kit/odd.sh tests/conform_kit/schedulers.sh \
	tests/conform_kit/usage.sh tests/load/open_loop.sh tests/conform/cell.sh tests/conform/enosys.sh \
	tests/conform/epoll-iouring_files.cell tests/conform/epoll-local.cell \
	tests/conform/iouring_sqpoll-local.cell tests/conform/epoll-work_stealing.cell \
	tests/conform/iouring-local.cell tests/conform/iouring-work_stealing.cell tests/fuzz/fuzz_timer.c \
	tests/model/model.c tests/model/run.sh tests/model/stdatomic.h tests/plugin/test_hostile.sh \
	tests/plugin/lib.sh tests/plugin/test_info.sh tests/plugin/test_privileged.sh tests/run.sh tests/spin/deque.pml \
	tests/spin/home.pml tests/spin/lock.pml tests/spin/memory.pml tests/spin/mutex.pml tests/spin/park.pml \
	tests/spin/run.sh tests/loop/no_socket_calls.sh

check-local:
if !HAVE_CMOCKA
	@echo "make check needs cmocka 1.1.5 or newer (Debian: libcmocka-dev); configure did not find it" >&2; exit 1
endif

# The books of select and cancel over a million operations in each cell; NXT_SEED repeats a run.
NXT_ROUNDS = 1000000
.PHONY: check-long
check-long: all tests/conform/conform_account
	@set -e; for cell in $(conform_cells); do $(AM_TESTS_ENVIRONMENT) \
	NXT_ROUNDS=$(NXT_ROUNDS) NXT_SECONDS=1800 $(SHELL) $(srcdir)/tests/conform/cell.sh $(srcdir)/$$cell \
	tests/conform/conform_account; done
