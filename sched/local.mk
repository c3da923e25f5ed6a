# sched/: the schedulers; ready queues and policy, no clock, no thread, no system call, nothing of the core.
if LOCAL_DL
sched_LTLIBRARIES += sched/local.la
sched_local_la_SOURCES = sched/local.c sched/shares.h
sched_local_la_CPPFLAGS = $(PLUGIN_CPPFLAGS)
sched_local_la_LDFLAGS = $(MODULE_LDFLAGS)
endif
if LOCAL_BUILTIN
libnexus_libnexus_core_la_SOURCES += sched/local.c sched/shares.h
endif

if WORK_STEALING_DL
sched_LTLIBRARIES += sched/work_stealing.la
sched_work_stealing_la_SOURCES = sched/work_stealing.c sched/ring.h sched/shared.h sched/shares.h
sched_work_stealing_la_CPPFLAGS = $(PLUGIN_CPPFLAGS)
sched_work_stealing_la_LDFLAGS = $(MODULE_LDFLAGS)
endif
if WORK_STEALING_BUILTIN
libnexus_libnexus_core_la_SOURCES += sched/work_stealing.c sched/ring.h sched/shared.h sched/shares.h
endif
