/* nexus new: the texts that it writes, which the build puts into the program. */
#ifndef NEXUS_NEW_H
#define NEXUS_NEW_H

struct nexus_text {
    const char *name; /* of the file in tools/new/ or examples/plugins/ */
    const char *text; /* with @words@ for what depends on the plugin's name and kind */
};

extern const struct nexus_text nexus_texts[]; /* ends with a NULL name */

#endif
