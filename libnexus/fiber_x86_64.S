/*
 * fiber_x86_64.S: the switch for x86-64, System V ABI.
 *
 * Saved: rbx rbp r12-r15 and rsp, what a call keeps. Not mxcsr and the x87 control word (struct nxi_fpenv).
 * nxi_fiber_swap ends with ret and not with an indirect jump: two tasks that park in the same function return to the
 * same address, so the return predictor is right. For shadow stacks that is a mismatch, so the file claims IBT only.
 */
#if defined(__x86_64__) && !defined(__ILP32__) && !defined(NXI_FIBER_UCONTEXT)

#include "asm.h"

	.text

/* void nxi_fiber_swap(void **ret_sp, void *to_sp) */
	fn_begin nxi_fiber_swap
	.cfi_startproc
	endbr64
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r15, 0
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	/* from here on it is the other fiber's frame, of the same layout */
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r12
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	ret
	.cfi_endproc
	fn_end nxi_fiber_swap

/*
 * void nxi_fiber_jump(void **ret_sp, void *to_sp): the same by a jump, for tasks that yield at different places: there the
 * return predictor is wrong each time. notrack: user code has no landing pads behind its calls.
 */
	fn_begin nxi_fiber_jump
	.cfi_startproc
	endbr64
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r15, 0
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	/* from here on it is the other fiber's frame, of the same layout */
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r12
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	popq	%rcx
	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %rcx
	notrack jmp	*%rcx
	.cfi_endproc
	fn_end nxi_fiber_jump

/* int nxi_fiber_call(void *a, void *b, void *c, void *d, int (*fn)(void *, void *, void *, void *)) */
	fn_begin nxi_fiber_call
	.cfi_startproc
	endbr64
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	call	*%r8
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	popq	%rcx
	.cfi_adjust_cfa_offset -8
	.cfi_register %rip, %rcx
	notrack jmp	*%rcx
	.cfi_endproc
	fn_end nxi_fiber_call

/*
 * Where a fiber goes on that nxi_fiber_before() has written to: function in r13, its argument in r12, then the fiber's
 * own frame. That was saved in a function, so the stack pointer is 8 off a multiple of 16.
 */
	fn_begin nxi_fiber_interlude
	.cfi_startproc
	.cfi_def_cfa %rsp, 56
	.cfi_offset %rbp, -16
	.cfi_offset %rbx, -24
	.cfi_offset %r12, -32
	.cfi_offset %r13, -40
	.cfi_offset %r14, -48
	.cfi_offset %r15, -56
	endbr64
	subq	$8, %rsp
	.cfi_adjust_cfa_offset 8
	movq	%r12, %rdi
	call	*%r13
	addq	$8, %rsp
	.cfi_adjust_cfa_offset -8
	popq	%r15
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r15
	popq	%r14
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r14
	popq	%r13
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r13
	popq	%r12
	.cfi_adjust_cfa_offset -8
	.cfi_restore %r12
	popq	%rbx
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbx
	popq	%rbp
	.cfi_adjust_cfa_offset -8
	.cfi_restore %rbp
	ret
	.cfi_endproc
	fn_end nxi_fiber_interlude

/*
 * Where a new fiber begins: entry in r13, its argument in r12, rbp 0, rsp a multiple of 16. Unwinders stop here.
 * entry returns the fiber to go on with.
 */
	fn_begin nxi_fiber_start
	.cfi_startproc
	.cfi_undefined %rip
	endbr64
1:
	movq	%r12, %rdi
	call	*%r13
	movq	(%rax), %rsp
	popq	%r15
	popq	%r14
	popq	%r13
	popq	%r12
	popq	%rbx
	popq	%rbp
	ret
	.cfi_endproc
	fn_end nxi_fiber_start

/*
 * void nxi_fiber_enter(void **ret_sp, void *end, struct nxi_fiber *(*entry)(void *), void *arg): nxi_fiber_swap to a
 * fiber that has no frame yet. Its entry is called and, if it does not switch in between, returns to where it was
 * called from: for the return predictor this is a call like any other. By way of a frame both ways are mispredicted.
 */
	fn_begin nxi_fiber_enter
	.cfi_startproc
	endbr64
	pushq	%rbp
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbp, 0
	pushq	%rbx
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %rbx, 0
	pushq	%r12
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r12, 0
	pushq	%r13
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r13, 0
	pushq	%r14
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r14, 0
	pushq	%r15
	.cfi_adjust_cfa_offset 8
	.cfi_rel_offset %r15, 0
	movq	%rsp, (%rdi)
	movq	%rsi, %rsp
	.cfi_undefined %rip
	movq	%rdx, %r13
	movq	%rcx, %r12
	xorl	%ebp, %ebp
	jmp	1b
	.cfi_endproc
	fn_end nxi_fiber_enter

#ifdef __ELF__
/* GNU_PROPERTY_X86_FEATURE_1_AND: IBT */
	.section .note.gnu.property, "a", @note
	.p2align 3
	.long	4
	.long	16
	.long	5
	.asciz	"GNU"
	.long	0xc0000002
	.long	4
	.long	1
	.long	0
#endif

#endif
#if defined(__ELF__)
	.section .note.GNU-stack, "", %progbits
#endif
