# bench/raw/: the limits: the least program that does the same work without any runtime.
noinst_PROGRAMS += bench/raw/echo_epoll
bench_raw_echo_epoll_LDADD =
