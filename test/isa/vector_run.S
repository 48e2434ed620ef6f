# void vector_run(struct vector_case *c, uint64_t n, void *code): the same under qemu and in our
# own virtual machine. The code leaves its outcome in t1.
	.globl vector_run
vector_run:
	addi sp, sp, -32
	sd ra, 0(sp)
	sd s0, 8(sp)
	sd s1, 16(sp)
	sd s2, 24(sp)
	mv s0, a0
	mv s1, a1
	mv s2, a2
1:	beqz s1, 2f
	addi t0, s0, 112
	vl8re8.v v0, (t0)
	addi t0, t0, 128
	vl8re8.v v8, (t0)
	addi t0, t0, 128
	vl8re8.v v16, (t0)
	addi t0, t0, 128
	vl8re8.v v24, (t0)
	ld t0, 80(s0)
	ld t1, 88(s0)
	vsetvl zero, t0, t1
	ld t0, 64(s0)
	fscsr t0
	fld fa2, 32(s0)
	fld fa3, 40(s0)
	fld fa4, 48(s0)
	fld fa5, 56(s0)
	ld a2, 0(s0)
	ld a3, 8(s0)
	ld a4, 16(s0)
	ld a5, 24(s0)
	ld t0, 104(s0)
	csrw vcsr, t0
	ld t0, 96(s0)
	csrw vstart, t0
	jalr s2
	csrr t0, vstart
	sd t0, 96(s0)
	csrr t0, vcsr
	sd t0, 104(s0)
	csrr t0, vl
	sd t0, 80(s0)
	csrr t0, vtype
	sd t0, 88(s0)
	sd a2, 0(s0)
	sd a3, 8(s0)
	sd a4, 16(s0)
	sd a5, 24(s0)
	fsd fa2, 32(s0)
	fsd fa3, 40(s0)
	fsd fa4, 48(s0)
	fsd fa5, 56(s0)
	frcsr t0
	sd t0, 64(s0)
	sd t1, 72(s0)
	csrw vstart, zero
	addi t0, s0, 112
	vs8r.v v0, (t0)
	addi t0, t0, 128
	vs8r.v v8, (t0)
	addi t0, t0, 128
	vs8r.v v16, (t0)
	addi t0, t0, 128
	vs8r.v v24, (t0)
	addi s0, s0, 1648
	addi s1, s1, -1
	j 1b
2:	ld ra, 0(sp)
	ld s0, 8(sp)
	ld s1, 16(sp)
	ld s2, 24(sp)
	addi sp, sp, 32
	ret
