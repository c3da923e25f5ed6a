/* cpus.c: affinity, cgroup quota, cpu lists. */
#include "cpus.h"
#include <ctype.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef __linux__

static uint32_t affinity_count(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof(set), &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 0;
}

static int may_use(uint32_t cpu)
{
    cpu_set_t set;
    return cpu < CPU_SETSIZE && (sched_getaffinity(0, sizeof(set), &set) != 0 || CPU_ISSET(cpu, &set));
}

int nxi_cpus_bind(uint32_t cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return sched_setaffinity(0, sizeof(set), &set) == 0 ? 0 : -errno;
}

/* Reads up to two numbers of a file; "max" is -1. How many were there. */
static int read_numbers(const char *path, long long *ret_a, long long *ret_b)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return 0;
    char a[32] = "", b[32] = "";
    int count = fscanf(file, "%31s %31s", a, b);
    fclose(file);
    *ret_a = strcmp(a, "max") == 0 ? -1 : atoll(a);
    *ret_b = atoll(b);
    return count;
}

/* The path of the process' cgroup for a controller ("" is version 2's), as below /sys/fs/cgroup. */
static int cgroup_path(const char *controller, char *ret_path, size_t size)
{
    char line[512];
    int found = -ENOENT;
    FILE *file = fopen("/proc/self/cgroup", "re");
    while (file && found < 0 && fgets(line, sizeof(line), file)) {
        char *names = strchr(line, ':');
        char *path = names ? strchr(names + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        path[strcspn(path, "\n")] = '\0';
        int matches = *controller ? strstr(names + 1, controller) != NULL : names[1] == '\0';
        if (matches)
            found = snprintf(ret_path, size, "%s", strcmp(path, "/") == 0 ? "" : path) < (int)size ? 0 : -ENAMETOOLONG;
    }
    if (file)
        fclose(file);
    return found;
}

/* Cpus the cgroup's quota stands for, rounded up; 0: no quota. A container sees its own group as the root, hence "". */
static uint32_t quota_count(void)
{
    long long quota = -1, period = 0, ignored;
    char group[384], file[512];
    if (cgroup_path("", group, sizeof(group)) == 0) {
        snprintf(file, sizeof(file), "/sys/fs/cgroup%s/cpu.max", group);
        if (!read_numbers(file, &quota, &period))
            read_numbers("/sys/fs/cgroup/cpu.max", &quota, &period);
    }
    if (period == 0 && cgroup_path("cpu", group, sizeof(group)) == 0) {
        snprintf(file, sizeof(file), "/sys/fs/cgroup/cpu%s/cpu.cfs_quota_us", group);
        if (!read_numbers(file, &quota, &ignored))
            read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", &quota, &ignored);
        snprintf(file, sizeof(file), "/sys/fs/cgroup/cpu%s/cpu.cfs_period_us", group);
        if (!read_numbers(file, &period, &ignored))
            read_numbers("/sys/fs/cgroup/cpu/cpu.cfs_period_us", &period, &ignored);
    }
    return quota > 0 && period > 0 ? (uint32_t)((quota + period - 1) / period) : 0;
}

#else

static uint32_t affinity_count(void)
{
    return 0;
}

static int may_use(uint32_t cpu)
{
    return cpu < (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
}

int nxi_cpus_bind(uint32_t cpu)
{
    (void)cpu;
    return -ENOTSUP;
}

static uint32_t quota_count(void)
{
    return 0;
}

#endif

uint32_t nxi_cpus_usable(void)
{
    uint32_t count = affinity_count(), quota = quota_count();
    if (count == 0) {
        long online = sysconf(_SC_NPROCESSORS_ONLN);
        count = online > 0 ? (uint32_t)online : 1;
    }
    return quota > 0 && quota < count ? quota : count;
}

/* A number at *inout_text, which moves behind it; -1 if there is none. */
static long number(const char **inout_text)
{
    if (!isdigit((unsigned char)**inout_text))
        return -1;
    char *end;
    long value = strtol(*inout_text, &end, 10);
    *inout_text = end;
    return value > 65535 ? -1 : value;
}

static int parse_list(const char *text, uint32_t *ret_cpus, uint32_t max, uint32_t *ret_missing)
{
    uint32_t count = 0;
    do {
        long first = number(&text), last = first;
        if (*text == '-') {
            text++;
            last = number(&text);
        }
        if (first < 0 || last < first)
            return -EINVAL;
        for (long cpu = first; cpu <= last && count < max; cpu++) {
            if (!may_use((uint32_t)cpu)) {
                *ret_missing = (uint32_t)cpu;
                return -ENODEV;
            }
            ret_cpus[count++] = (uint32_t)cpu;
        }
    } while (*text++ == ',');
    return text[-1] == '\0' ? (int)count : -EINVAL;
}

int nxi_cpus_parse(const char *text, uint32_t *ret_cpus, uint32_t max, uint32_t *ret_missing)
{
    if (!text || strcmp(text, "none") == 0)
        return 0;
    if (strcmp(text, "auto") != 0)
        return parse_list(text, ret_cpus, max, ret_missing);
    uint32_t count = 0;
    for (uint32_t cpu = 0; cpu < 65536 && count < max; cpu++)
        if (may_use(cpu))
            ret_cpus[count++] = cpu;
    return (int)count;
}
