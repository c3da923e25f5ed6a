/* real.h: for plugins of the tests that are made of another one: that one, from its file. */
#ifndef NXT_CONFORM_KIT_REAL_H
#define NXT_CONFORM_KIT_REAL_H

#include <nexus/plugin.h>

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* NULL where there is none, after a sentence. */
static inline const struct nx_plugin *real_plugin(const char *path)
{
    const char *name = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    void *object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    const struct nx_plugin *plugin;
    char symbol[128];

    snprintf(symbol, sizeof(symbol), "nexus_plugin_%.*s", (int)strcspn(name, "."), name);
    plugin = object ? dlsym(object, symbol) : NULL;
    if (!plugin)
        fprintf(stderr, "%s\n", dlerror());
    return plugin;
}

#endif
