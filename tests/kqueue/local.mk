# tests/kqueue/: the conformance suite on the kqueue driver: the system's own kqueue, or libkqueue's on Linux.
kqueue_cells = tests/kqueue/kqueue-local.cell tests/kqueue/kqueue-work_stealing.cell
check-kqueue:
	LIBKQUEUE_PREFIX='$(LIBKQUEUE_PREFIX)' CC='$(CC)' $(SHELL) $(srcdir)/tests/kqueue/run.sh $(srcdir) $(abs_builddir) \
		$(kqueue_cells)

clean-kqueue:
	rm -rf kqueue
	rm -f backends/.libs/kqueue.tested

# The record goes with the file it is about.
install-kqueue-record:
	if test -f backends/.libs/kqueue.tested && test -f backends/kqueue.la; then \
		$(INSTALL_DATA) backends/.libs/kqueue.tested $(DESTDIR)$(backenddir)/kqueue.tested; fi
uninstall-kqueue-record:
	rm -f $(DESTDIR)$(backenddir)/kqueue.tested

install-data-hook: install-kqueue-record
uninstall-hook: uninstall-kqueue-record
clean-local: clean-kqueue
EXTRA_DIST += $(kqueue_cells) tests/kqueue/run.sh
.PHONY: check-kqueue clean-kqueue install-kqueue-record uninstall-kqueue-record
