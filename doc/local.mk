# doc/: man pages, installed, and the design notes they rest on; nothing generated.
dist_man_MANS = doc/man/nexus-driver.7 doc/man/nexus-sched.7 doc/man/nexus.1 doc/man/nexus.7
EXTRA_DIST += backends/epoll/README.md backends/iouring/README.md backends/readiness/README.md \
	doc/design/drivers.md doc/design/park.md doc/design/selection.md doc/design/stacks.md \
	doc/design/streams.md doc/design/switch.md doc/design/tasks.md doc/design/timers.md sched/README.md
