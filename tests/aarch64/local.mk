# tests/aarch64/: the suite on another architecture, cross-built here and run by an emulator.
check-aarch64:
	$(SHELL) $(srcdir)/tests/aarch64/run.sh $(srcdir) $(abs_builddir)/aarch64

# What an emulator can run: what is C of the suite. io_uring is not emulated, and sanitizers aren't asked of it.
print-emulated:
	@echo $(cmocka_tests) tests/conform/epoll-local.cell tests/conform/epoll-work_stealing.cell
.PHONY: check-aarch64 print-emulated
EXTRA_DIST += tests/aarch64/run.sh
