# vector_run without an operating system: started in S-mode with its arguments in a0..a2 and a
# stack; ends in an environment call. A trap in the code under test ends it with scause as its
# outcome, which for an illegal instruction is OUT_ILLEGAL.
	.globl _start
_start:
	lla t0, trap
	csrw stvec, t0
	li t0, 0x6600		# sstatus.FS, VS = Dirty
	csrs sstatus, t0
	fence.i
	call vector_run
	ecall
	.balign 4
trap:
	csrr t1, scause
	csrw sepc, ra
	sret
