# bench/peers/: the same work on other people's runtimes; each one optional, and one that is here but does not build is
# an error. Cases and servers do what those of bench/micro and bench/raw do, under the same names; see README.md.
peers_sources = $(bench_cases) bench/peers/micro_peer.h
peers_cppflags = -iquote $(srcdir)/bench/micro $(BENCHMARK_CFLAGS)
peers_ldadd = $(BENCHMARK_LIBS) -lpthread

EXTRA_PROGRAMS += bench/peers/echo_uv bench/peers/echo_event bench/peers/echo_ev bench/peers/echo_asio \
	bench/peers/micro_uv bench/peers/micro_event bench/peers/micro_ev bench/peers/micro_asio

bench_peers_echo_uv_SOURCES = bench/peers/echo_uv.c bench/peers/peer.h
bench_peers_echo_uv_CPPFLAGS = -D_GNU_SOURCE= $(LIBUV_CFLAGS)
bench_peers_echo_uv_LDADD = $(LIBUV_LIBS) -lpthread
bench_peers_micro_uv_SOURCES = bench/peers/micro_uv.cc bench/micro/pages.h bench/micro/pages.cc $(peers_sources)
bench_peers_micro_uv_CPPFLAGS = $(peers_cppflags) $(LIBUV_CFLAGS)
bench_peers_micro_uv_LDADD = $(LIBUV_LIBS) $(peers_ldadd)

bench_peers_echo_event_SOURCES = bench/peers/echo_event.c bench/peers/peer.h
bench_peers_echo_event_CPPFLAGS = -D_GNU_SOURCE= $(LIBEVENT_CFLAGS)
bench_peers_echo_event_LDADD = $(LIBEVENT_LIBS) -lpthread
bench_peers_micro_event_SOURCES = bench/peers/micro_event.cc $(peers_sources)
bench_peers_micro_event_CPPFLAGS = $(peers_cppflags) $(LIBEVENT_CFLAGS)
bench_peers_micro_event_LDADD = $(LIBEVENT_LIBS) -levent_pthreads $(peers_ldadd)

bench_peers_echo_ev_SOURCES = bench/peers/echo_ev.c bench/peers/peer.h
bench_peers_echo_ev_CPPFLAGS = -D_GNU_SOURCE=
# ev.h keeps its watchers' first member as a type of its own.
bench_peers_echo_ev_CFLAGS = $(AM_CFLAGS) -fno-strict-aliasing
bench_peers_echo_ev_LDADD = -lev -lpthread
bench_peers_micro_ev_SOURCES = bench/peers/micro_ev.cc $(peers_sources)
bench_peers_micro_ev_CPPFLAGS = $(peers_cppflags)
bench_peers_micro_ev_CXXFLAGS = $(AM_CXXFLAGS) -fno-strict-aliasing
bench_peers_micro_ev_LDADD = -lev $(peers_ldadd)

bench_peers_echo_asio_SOURCES = bench/peers/echo_asio.cc bench/peers/peer.h
bench_peers_echo_asio_CPPFLAGS = -DASIO_STANDALONE
bench_peers_echo_asio_LDADD = -lpthread
bench_peers_micro_asio_SOURCES = bench/peers/micro_asio.cc $(peers_sources)
bench_peers_micro_asio_CPPFLAGS = $(peers_cppflags) -DASIO_STANDALONE
bench_peers_micro_asio_LDADD = $(peers_ldadd)

if HAVE_LIBUV
bench_programs += bench/peers/echo_uv
endif
if HAVE_LIBEVENT
bench_programs += bench/peers/echo_event
endif
if HAVE_LIBEV
bench_programs += bench/peers/echo_ev
endif
if HAVE_ASIO
bench_programs += bench/peers/echo_asio
endif
if HAVE_BENCHMARK
if HAVE_LIBUV
bench_programs += bench/peers/micro_uv
endif
if HAVE_LIBEVENT
bench_programs += bench/peers/micro_event
endif
if HAVE_LIBEV
bench_programs += bench/peers/micro_ev
endif
if HAVE_ASIO
bench_programs += bench/peers/micro_asio
endif
endif

# Go and Rust are built by their own tools, from a build folder, with nothing written beside the sources.
peers_go_sources = bench/peers/go/echo/main.go bench/peers/go/micro/harness.go bench/peers/go/micro/main.go
peers_cargo_sources = bench/peers/tokio/Cargo.toml bench/peers/tokio/src/harness.rs \
	bench/peers/tokio/src/bin/echo_tokio.rs bench/peers/tokio/src/bin/micro_tokio.rs
peers_build = $(SHELL) $(srcdir)/bench/peers/build.sh
if HAVE_GO
bench_programs += bench/peers/echo_go bench/peers/micro_go
endif
if HAVE_TOKIO
bench_programs += bench/peers/echo_tokio bench/peers/micro_tokio
endif
bench/peers/echo_go bench/peers/micro_go: $(peers_go_sources) bench/peers/build.sh
	$(AM_V_GEN)GO='$(GO)' $(peers_build) go $(srcdir)/bench/peers/go $@
# Both binaries share cargo's folder, which one cargo at a time may use.
bench/peers/micro_tokio: bench/peers/echo_tokio
bench/peers/echo_tokio bench/peers/micro_tokio: $(peers_cargo_sources) bench/peers/build.sh
	$(AM_V_GEN)CARGO='$(CARGO)' $(peers_build) cargo $(srcdir)/bench/peers/tokio $@

peers_programs = bench/peers/echo_uv bench/peers/echo_event bench/peers/echo_ev bench/peers/echo_asio \
	bench/peers/echo_go bench/peers/echo_tokio bench/peers/micro_uv bench/peers/micro_event bench/peers/micro_ev \
	bench/peers/micro_asio bench/peers/micro_go bench/peers/micro_tokio
clean-local: clean-peers
clean-peers:
	rm -f $(peers_programs)
	rm -rf bench/peers/go-build bench/peers/cargo-build
.PHONY: clean-peers
EXTRA_DIST += bench/peers/README.md bench/peers/build.sh bench/peers/peers.json $(peers_go_sources) \
	$(peers_cargo_sources)
