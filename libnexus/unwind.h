/*
 * unwind.h: looking at memory that others are using, and backtraces of stacks that are not the caller's.
 *
 * Nothing here trusts what it looks at: a stack is copied first, and the copy is unwound. doc/design/dump.md.
 */
#ifndef NXI_UNWIND_H
#define NXI_UNWIND_H

#include "fiber.h"
#include "os.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NXI_FRAMES_MAX 64

/* A copy of the stack from the stack pointer up, as far as there was room. */
struct nxi_stack_copy {
    uintptr_t low; /* where it was */
    size_t size;
    const unsigned char *bytes;
};

#define NXI_REGISTERS 17 /* x86-64, by their DWARF numbers: 3 rbx, 6 rbp, 7 rsp, 12..15, 16 the return address */

struct nxi_registers {
    uintptr_t of[NXI_REGISTERS];
    bool exact; /* the program counter is where it stopped, and no return address */
};

/* What a fiber that does not run goes on with: its stack pointer is in the copy. False: this machine isn't known. */
bool nxi_registers_of_fiber(struct nxi_registers *ret_registers, uintptr_t sp, const struct nxi_stack_copy *copy);

/* Of a thread that a signal has stopped: the handler's third argument. */
bool nxi_registers_of_signal(struct nxi_registers *ret_registers, const void *context);

/* Program counters, innermost first; those but the first of an exact set are return addresses. How many. */
int nxi_unwind(const struct nxi_registers *registers, const struct nxi_stack_copy *copy, uintptr_t *ret_pcs, int max);

/* ---- names (symbols.c) ---- */

struct nxi_symbols;

struct nxi_symbols *nxi_symbols_open(void); /* NULL: out of memory */
void nxi_symbols_close(struct nxi_symbols *symbols);

/* The function of a code address: "name+0x1f (file+0x1234)", what is known of it; *ret_name is the name alone, or "".
 * Both are valid until the next call. is_return: the address is one behind a call. */
const char *nxi_symbols_describe(struct nxi_symbols *symbols, uintptr_t pc, bool is_return, const char **ret_name);

#endif
