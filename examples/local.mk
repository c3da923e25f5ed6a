# examples/: programs as a user of the library would write them: installed headers and libnexus only.
noinst_PROGRAMS += examples/echo examples/hello

examples_echo_CPPFLAGS = $(PUBLIC_CPPFLAGS)
examples_echo_LDADD = libnexus/libnexus.la
examples_echo_LDFLAGS = $(AM_LDFLAGS) -no-install

examples_hello_CPPFLAGS = $(PUBLIC_CPPFLAGS)
examples_hello_LDADD = libnexus/libnexus.la
examples_hello_LDFLAGS = $(AM_LDFLAGS) -no-install
