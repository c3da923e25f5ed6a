/*
 * tested.h: whether a plugin file is known to have passed the conformance suite. Drivers for systems that this
 * project's own machines are not can be built anywhere, and say nothing of themselves by that: such a one is marked as
 * untested until a run of the suite with this very file has left its record beside it (make check-kqueue).
 */
#ifndef NEXUS_TESTED_H
#define NEXUS_TESTED_H

/* Why it is to be marked, or NULL. path: of the plugin's file, "": it is built in. */
const char *nexus_untested(const char *name, const char *path);

#endif
