/* setup.h: what a runtime is made of: options, environment, the chosen plugins and their instances. */
#ifndef NXI_SETUP_H
#define NXI_SETUP_H

#include "core.h"
#include "select.h"

struct nxi_setup {
    char thread_name[32];
    uint32_t cpus[NXI_WORKERS_MAX];
    int cpu_count;
    uint32_t blocking_threads;
    struct nxi_selection net, file, sched; /* file.plugin is NULL when the network driver serves files too */
    char *why;
    size_t why_size;
    bool overflow_installed, sigquit_installed;
    int64_t stall_ns; /* 0: nobody watches */
    struct nxi_stall *stall;
};

/* Fills the runtime in: counts, plugins, instances. On failure a sentence; nxi_setup_close undoes what was done. */
int nxi_setup_open(struct nx_runtime *runtime, const nx_runtime_options *options, char *error, size_t error_size);
void nxi_setup_close(struct nx_runtime *runtime); /* half-made is fine */
void nxi_setup_info(const struct nx_runtime *runtime, struct nx_runtime_info *inout_info);
void nxi_setup_describe_failure(const struct nx_runtime *runtime, const struct nxi_worker *worker, char *error,
                                size_t error_size);
void nxi_setup_give_error(const nx_runtime_options *options, const char *error);
int nxi_setup_refuse_size(const nx_runtime_options *known); /* what nxi_options_copy gave when it failed: -EINVAL */

#endif
