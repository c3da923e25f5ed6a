/* nexus/nexus.h: the whole public API of libnexus. */
#ifndef NEXUS_NEXUS_H
#define NEXUS_NEXUS_H

#include <nexus/base.h>
#include <nexus/chan.h>
#include <nexus/file.h>
#include <nexus/net.h>
#include <nexus/process.h>
#include <nexus/runtime.h>
#include <nexus/select.h>
#include <nexus/sync.h>
#include <nexus/task.h>
#include <nexus/time.h>

#endif
