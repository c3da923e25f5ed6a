# tools/new/: `nexus new`, and the texts that it writes around the plugins of examples/plugins/. The program has them
# inside, so that it works wherever it is.
new_sources = tools/new/new.c tools/new/new.h
new_texts = tools/new/texts.c
new_templates = tools/new/Makefile.am.in tools/new/bootstrap.in tools/new/ci.in tools/new/configure.ac.in \
	tools/new/conform.sh.in tools/new/driver.md.in tools/new/gitignore.in tools/new/info.sh.in \
	tools/new/scheduler.md.in examples/plugins/edf.c examples/plugins/poll.c

tools/new/texts.c: $(new_templates) tools/new/texts.sh
	$(AM_V_GEN)$(MKDIR_P) tools/new && $(SHELL) $(srcdir)/tools/new/texts.sh $(srcdir) $(new_templates) >$@-t && mv $@-t $@
CLEANFILES += $(new_texts)
EXTRA_DIST += $(new_templates) tools/new/texts.sh
