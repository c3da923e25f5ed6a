# tests/cross/: what is built for systems that this machine is not. Not part of make check: the compiler comes by npm.
check-cross:
	ZIG='$(ZIG)' $(SHELL) $(srcdir)/tests/cross/run.sh $(abs_builddir) $(CROSS_TARGETS)

clean-cross:
	rm -rf cross

clean-local: clean-cross
EXTRA_DIST += tests/cross/look.c tests/cross/package.json tests/cross/run.sh
.PHONY: check-cross clean-cross
