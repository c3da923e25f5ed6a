# bench/: load generators, the raw limits and the demo; what drives a server from outside doesn't use the library it
# measures.
if BUILD_LOAD
noinst_PROGRAMS += bench/load/nxload
bench_load_nxload_SOURCES = bench/load/histogram.h bench/load/load.h bench/load/nxload.c bench/load/pattern.h \
	bench/load/procfs.c bench/load/worker.c
bench_load_nxload_CPPFLAGS = $(PLUGIN_CPPFLAGS) $(JANSSON_CFLAGS)
bench_load_nxload_LDADD = $(JANSSON_LIBS)
endif
EXTRA_DIST += bench/demo.sh bench/lib.sh
