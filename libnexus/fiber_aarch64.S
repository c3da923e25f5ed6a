/*
 * fiber_aarch64.S: the switch for AArch64, AAPCS64.
 *
 * Saved: x19-x30, d8-d15 and sp, what a call keeps. Not fpcr (struct nxi_fpenv). The return address is signed with the
 * sp it is checked with, so a stack can't be forged; on processors without PAC and BTI these are no-ops.
 */
#if defined(__aarch64__) && !defined(__ILP32__) && !defined(NXI_FIBER_UCONTEXT)

#include "asm.h"

	.text

/* void nxi_fiber_swap(void **ret_sp, void *to_sp) */
	fn_begin nxi_fiber_swap
	.cfi_startproc
	hint	#25			/* paciasp, a landing pad too */
	.cfi_negate_ra_state
	stp	x29, x30, [sp, #-160]!
	.cfi_def_cfa_offset 160
	.cfi_offset x29, -160
	.cfi_offset x30, -152
	stp	x19, x20, [sp, #16]
	stp	x21, x22, [sp, #32]
	stp	x23, x24, [sp, #48]
	stp	x25, x26, [sp, #64]
	stp	x27, x28, [sp, #80]
	stp	d8, d9, [sp, #96]
	stp	d10, d11, [sp, #112]
	stp	d12, d13, [sp, #128]
	stp	d14, d15, [sp, #144]
	.cfi_offset x19, -144
	.cfi_offset x20, -136
	.cfi_offset x21, -128
	.cfi_offset x22, -120
	.cfi_offset x23, -112
	.cfi_offset x24, -104
	.cfi_offset x25, -96
	.cfi_offset x26, -88
	.cfi_offset x27, -80
	.cfi_offset x28, -72
	.cfi_offset d8, -64
	.cfi_offset d9, -56
	.cfi_offset d10, -48
	.cfi_offset d11, -40
	.cfi_offset d12, -32
	.cfi_offset d13, -24
	.cfi_offset d14, -16
	.cfi_offset d15, -8
	mov	x9, sp
	str	x9, [x0]
	mov	sp, x1
	/* from here on it is the other fiber's frame, of the same layout */
	ldp	x19, x20, [sp, #16]
	ldp	x21, x22, [sp, #32]
	ldp	x23, x24, [sp, #48]
	ldp	x25, x26, [sp, #64]
	ldp	x27, x28, [sp, #80]
	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	ldp	x29, x30, [sp], #160
	.cfi_def_cfa_offset 0
	.cfi_restore x29
	.cfi_restore x30
	hint	#29			/* autiasp */
	.cfi_negate_ra_state
	ret
	.cfi_endproc
	fn_end nxi_fiber_swap

/*
 * Where a new fiber begins: entry in x19, its argument in x20, x29 0, sp a multiple of 16. Unwinders stop here.
 * entry returns the fiber to go on with.
 */
	fn_begin nxi_fiber_start
	.cfi_startproc
	.cfi_undefined x30
	hint	#34			/* bti c */
	mov	x0, x20
	blr	x19
	ldr	x9, [x0]
	mov	sp, x9
	ldp	x19, x20, [sp, #16]
	ldp	x21, x22, [sp, #32]
	ldp	x23, x24, [sp, #48]
	ldp	x25, x26, [sp, #64]
	ldp	x27, x28, [sp, #80]
	ldp	d8, d9, [sp, #96]
	ldp	d10, d11, [sp, #112]
	ldp	d12, d13, [sp, #128]
	ldp	d14, d15, [sp, #144]
	ldp	x29, x30, [sp], #160
	hint	#29			/* autiasp */
	ret
	.cfi_endproc
	fn_end nxi_fiber_start

/* void *nxi_fiber_sign(void *pc, void *sp): pc as paciasp would leave it at this sp */
	fn_begin nxi_fiber_sign
	.cfi_startproc
	hint	#34			/* bti c */
	mov	x17, x0
	mov	x16, x1
	hint	#8			/* pacia1716 */
	mov	x0, x17
	ret
	.cfi_endproc
	fn_end nxi_fiber_sign

#ifdef __ELF__
/* GNU_PROPERTY_AARCH64_FEATURE_1_AND: BTI, PAC */
	.section .note.gnu.property, "a", %note
	.p2align 3
	.long	4
	.long	16
	.long	5
	.asciz	"GNU"
	.long	0xc0000000
	.long	4
	.long	3
	.long	0
#endif

#endif
#if defined(__ELF__)
	.section .note.GNU-stack, "", %progbits
#endif
