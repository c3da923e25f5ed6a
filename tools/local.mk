# tools/: the nexus program, a file per subcommand; it has the core linked in and may use its private headers.
if BUILD_TOOLS
bin_PROGRAMS += tools/nexus
tools_nexus_SOURCES = tools/bench.c tools/info.c tools/nexus.c tools/nexus.h
tools_nexus_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) -DNEXUS_LIBEXEC='"$(benchdir)"'
tools_nexus_LDADD = libnexus/libnexus-core.la $(JANSSON_LIBS)
endif
