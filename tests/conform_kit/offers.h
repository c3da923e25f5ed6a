/* offers.h: for broken_driver: what no driver of this project has, on top of any: links, registered memory, a timer of
 * its own, writes whose buffer is copied. Without a fault, or with one (71, 72, 74), so that nexus conform is seen to
 * pass what is right as well. */
#ifndef NXT_CONFORM_KIT_OFFERS_H
#define NXT_CONFORM_KIT_OFFERS_H

#include <nexus/driver.h>
#include <stdbool.h>

/* 0 offers all, without a fault; 71, 72 and 74 what they are about, with one; all others nothing. */
void offers_set_up(uint32_t rule, const struct nx_driver_ops *real, const struct nx_host *const *host,
                   void (*keep)(const struct nx_completion *completion));
void offers_add(struct nx_driver_ops *table);
void offers_claim(uint32_t code, struct nx_capability *capability);

/* In submit, cancel and poll, and for each completion on its way out. True: *ret_r is the answer. */
bool offers_submit(struct nx_ctx *ctx, struct nx_op *op, struct nx_completion *ret_inline, int *ret_r);
bool offers_cancel(const struct nx_op *op);
void offers_poll(void);
void offers_complete(const struct nx_completion *completion);

#endif
