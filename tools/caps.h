/* nexus info --caps: what an instance of a driver does with each operation, and what the core makes of the rest. */
#ifndef NEXUS_TOOL_CAPS_H
#define NEXUS_TOOL_CAPS_H

#include "values.h"
#include <nexus/driver.h>

/* Adds "ops" and "features" to the driver's object. */
void nexus_caps_gather(const struct nx_driver_ops *ops, struct nx_driver *driver, json_t *object);
/* An array of such objects: a table, an operation a row, a driver a column; then the reasons. */
void nexus_caps_print(const json_t *drivers);

#endif
