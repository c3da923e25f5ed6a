/* cpus.h: how many cpus this process may use, and which a worker goes on. */
#ifndef NXI_CPUS_H
#define NXI_CPUS_H

#include <stddef.h>
#include <stdint.h>

/* The cpus of the affinity mask, cut by the cgroup's quota (rounded up). >= 1. */
uint32_t nxi_cpus_usable(void);

/*
 * Reads "auto", "none" or a list such as "0-3,6" into cpus[]: worker i goes on cpus[i % count]. The count; 0 for none;
 * -EINVAL for a bad list; -ENODEV for a cpu this process may not use, which *ret_missing then says.
 */
int nxi_cpus_parse(const char *text, uint32_t *ret_cpus, uint32_t max, uint32_t *ret_missing);

/* Binds the calling thread. 0 or -errno; -ENOTSUP where the system can't. */
int nxi_cpus_bind(uint32_t cpu);

#endif
