# doc/: man pages, installed, and the design notes they rest on. A page per header; each function in a page's NAME gets a
# file that refers to it, so that "man nx_spawn" works.
man3_pages = doc/man/nexus-base.3 doc/man/nexus-chan.3 doc/man/nexus-file.3 doc/man/nexus-net.3 \
	doc/man/nexus-process.3 doc/man/nexus-runtime.3 doc/man/nexus-select.3 doc/man/nexus-sync.3 \
	doc/man/nexus-task.3 doc/man/nexus-time.3
dist_man_MANS = doc/man/nexus-driver.7 doc/man/nexus-bench.1 doc/man/nexus-conform.1 doc/man/nexus-new.1 \
	doc/man/nexus-sched.7 doc/man/nexus.1 doc/man/nexus.7 $(man3_pages)
each_man_link = for page in $(man3_pages); do \
	for name in `awk '/^\.Sh/ { on = $$2 == "NAME" } on && $$1 == ".Nm" && $$2 ~ /^(nx|NX)_/ { print $$2 }' $(srcdir)/$$page`; do
install-data-hook:
	@$(MKDIR_P) "$(DESTDIR)$(man3dir)"
	@$(each_man_link) echo ".so man3/`basename $$page`" >"$(DESTDIR)$(man3dir)/$$name.3" || exit 1; done; done
uninstall-hook:
	@$(each_man_link) rm -f "$(DESTDIR)$(man3dir)/$$name.3"; done; done
EXTRA_DIST += backends/epoll/README.md backends/iouring/README.md backends/kqueue/README.md backends/loop/README.md \
	backends/readiness/README.md doc/design/abi.md doc/design/bench.md doc/design/buffers.md \
	doc/design/channels.md doc/design/drivers.md doc/design/dump.md doc/design/files.md doc/design/metrics.md \
	doc/design/park.md doc/design/performance.md doc/design/pool.md doc/design/portability.md doc/design/scopes.md \
	doc/design/select.md doc/design/selection.md doc/design/stacks.md doc/design/streams.md doc/design/switch.md \
	doc/design/sync.md doc/design/tasks.md doc/design/timers.md sched/README.md
