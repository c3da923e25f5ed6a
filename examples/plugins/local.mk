# examples/plugins/: plugins of one's own, as people outside of this tree make them: from what is installed, by a
# makefile of their own. Nothing here is part of our build but the text, which `nexus new` writes; tests/authors/ builds
# and uses it.
EXTRA_DIST += examples/plugins/Makefile examples/plugins/README.md examples/plugins/edf.c examples/plugins/order.c \
	examples/plugins/poll.c
