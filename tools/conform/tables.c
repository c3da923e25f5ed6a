/* conform/tables.c: the requirements, from driver.def and sched.def. */
#include "conform.h"

const struct requirement driver_requirements[] = {
#define NXD(number, function, domains, title, text, consequence, test)                                                 \
    {"NXD-" #number, domains, title, text, consequence, test, driver_##function},
#include "driver.def"
#undef NXD
};

const struct requirement sched_requirements[] = {
#define NXS(number, function, title, text, consequence, test)                                                          \
    {"NXS-" #number, 0, title, text, consequence, test, sched_##function},
#include "sched.def"
#undef NXS
};

const size_t driver_requirement_count = sizeof(driver_requirements) / sizeof(driver_requirements[0]);
const size_t sched_requirement_count = sizeof(sched_requirements) / sizeof(sched_requirements[0]);
