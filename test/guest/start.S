/* Entry, traps, and calls to lower modes. See rt.h. */
#ifdef SMODE
#define TRAP strap_entry
#define TVEC stvec
#define SCRATCH sscratch
#else
#define TRAP mtrap_entry
#define TVEC mtvec
#define SCRATCH mscratch
#endif
.equ STACK, 16384
.equ HARTS, 4
.section .text.start, "ax"
.global _start
_start:
#ifndef SMODE
	csrr a0, mhartid
	bnez a0, second_start
#endif
	la t0, bss_start
	la t1, bss_end
1:	sd zero, (t0)
	addi t0, t0, 8
	bltu t0, t1, 1b
	call cpu_setup
	call main
	j finish

/* a0: hart. Stacks and trap stacks by hart number; tp is the hart number. */
.global cpu_setup
cpu_setup:
	mv tp, a0
	li t0, STACK
	addi t1, a0, 1
	mul t0, t0, t1
	la sp, stacks
	add sp, sp, t0
	la t1, trap_stacks
	add t1, t1, t0
	csrw SCRATCH, t1
	la t1, TRAP
	csrw TVEC, t1
	ret

.global second_start
second_start:
#ifndef SMODE
	li t0, HARTS
	bgeu a0, t0, 3f
	csrwi mie, 8
2:	la t0, second_fn
	slli t1, a0, 3
	add t0, t0, t1
	ld s1, (t0)
	beqz s1, 2b
	sd zero, (t0)
	call cpu_setup
	jalr s1
	csrr a0, mhartid
	j second_start
3:	wfi
	j 3b
#else
	/* started by HSM: a1 is what to call with a0, the hart */
	mv s1, a1
	call cpu_setup
	jalr s1
4:	wfi
	j 4b
#endif

.macro entry name, scratch, call, ret
.align 4
.global \name
\name:
	csrrw sp, \scratch, sp
	addi sp, sp, -256
	sd x1, 8(sp)
	.irp r, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	sd x\r, 8*\r(sp)
	.endr
	csrr t0, \scratch
	sd t0, 16(sp)
	addi t0, sp, 256
	csrw \scratch, t0
	mv a0, sp
	call \call
	ld x1, 8(sp)
	.irp r, 3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31
	ld x\r, 8*\r(sp)
	.endr
	ld sp, 16(sp)
	\ret
.endm
	entry strap_entry, sscratch, strap_note, sret
#ifndef SMODE
	entry mtrap_entry, mscratch, mtrap_note, mret

/* run_in(priv, fn, arg). The way back is through mtrap_note, which puts these registers back. */
.global run_in
run_in:
	la t0, back
	.irp r, 1,2,3,4,8,9,18,19,20,21,22,23,24,25,26,27
	sd x\r, 8*\r(t0)
	.endr
	sd a1, 0(t0)
	li t1, 3 << 11
	csrc mstatus, t1
	slli t1, a0, 11
	csrs mstatus, t1
	csrw mepc, a1
	mv a0, a2
	la ra, 5f
	mret
5:	li a7, 0x4c4f
	ecall
#endif

.bss
.align 12
stacks:
	.space STACK * HARTS
trap_stacks:
	.space STACK * HARTS
