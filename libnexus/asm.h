/*
 * asm.h: what assemblers for ELF and for Mach-O want said differently: fn_begin NAME ... fn_end NAME for a function
 * that C calls by that name, hidden in the library.
 */
#ifndef NXI_ASM_H
#define NXI_ASM_H

/* clang-format off */
#ifdef __APPLE__
.macro fn_begin name
	.globl	_\name
	.private_extern	_\name
	.p2align 4
_\name:
.endm
.macro fn_end name
.endm
#else
.macro fn_begin name
	.globl	\name
	.hidden	\name
	.type	\name, %function
	.p2align 4
\name:
.endm
.macro fn_end name
	.size	\name, . - \name
.endm
#endif

#endif
