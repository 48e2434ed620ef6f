/* See kvm_code.h. Formats: SDM 3, 3.4.5 (descriptors), 4.5 (page tables), 6.14 (gates), 7.7 (TSS).
 */
#include "engine/kvm_code.h"
#include <string.h>

void x86_emit(struct x86_code *c, const uint8_t *bytes, size_t n)
{
	must(gmem_write(c->mem, c->at, bytes, n));
	c->at += n;
}

void x86_emit_le(struct x86_code *c, uint64_t v, unsigned len)
{
	x86_emit(c, (const uint8_t *)&v, len);
}

void x86_mov(struct x86_code *c, unsigned reg, uint64_t v)
{
	X86_EMIT(c, (uint8_t)(0x48 | reg >> 3), (uint8_t)(0xb8 | (reg & 7)));
	x86_emit_le(c, v, 8);
}

void x86_out(struct x86_code *c, uint8_t port, uint8_t byte)
{
	X86_EMIT(c, 0xb0, byte, 0xe6, port);
}

void x86_back(struct x86_code *c, uint8_t op, gpa_t to)
{
	X86_EMIT(c, op, (uint8_t)(to - (c->at + 2)));
}

static void put64(struct gmem *mem, gpa_t at, uint64_t v) { must(gmem_write(mem, at, &v, 8)); }

void x86_tables(struct gmem *mem)
{
	enum { PRESENT_WRITE_USER = 7, LARGE = 0x80, LEN = 0x67 };
	static const uint64_t gdt[] = {
		0,
		0x00af9b000000ffff, /* 64-bit code */
		0x00cf93000000ffff, /* data */
		0x00cff3000000ffff, /* data, ring 3 */
		0x00affb000000ffff, /* 64-bit code, ring 3 */
		0x00008b0000000000 | (uint64_t)X86_TSS << 16 | LEN,
		0,
	};
	put64(mem, X86_PML4, X86_PML4 + 0x1000 + PRESENT_WRITE_USER);
	put64(mem, X86_PML4 + 0x1000, X86_PML4 + 0x2000 + PRESENT_WRITE_USER);
	for (uint64_t i = 0; i < 512; i++)
		put64(mem, X86_PML4 + 0x2000 + i * 8, i << 21 | LARGE | PRESENT_WRITE_USER);
	must(gmem_write(mem, X86_GDT, gdt, sizeof(gdt)));
	put64(mem, X86_TSS + 4, X86_STACK - 0x800); /* the stack of ring 0 */
}

void x86_gate(struct gmem *mem, unsigned vector, gpa_t handler, unsigned dpl)
{
	uint64_t type = 0x8e | dpl << 5;
	put64(mem, X86_IDT + vector * 16,
	      (handler & 0xffff) | X86_KERNEL_CS << 16 | type << 40 |
		      (handler >> 16 & 0xffff) << 48);
	put64(mem, X86_IDT + vector * 16 + 8, handler >> 32);
}

struct pair {
	unsigned reg;
	uint64_t val;
};
static int set_all(const struct engine_ops *ops, struct vcpu *c, const struct pair *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int rc = ops->set(c, p[i].reg, p[i].val);
		if (rc) return rc;
	}
	return 0;
}
#define SEG(n, part) (REG_X86_SEG + 4 * (n) + (part))
#define SEGMENT(n, sel, access)                                                                    \
	{SEG(n, SEG_SELECTOR), sel}, {SEG(n, SEG_BASE), 0}, {SEG(n, SEG_LIMIT), 0xffffffff},       \
	{                                                                                          \
		SEG(n, SEG_ACCESS), access                                                         \
	}

int x86_long_mode(const struct engine_ops *ops, struct vcpu *c, uint64_t rip)
{
	enum { CODE = 0xa09b, DATA = 0xc093, TASK_BUSY = 0x8b };
	const struct pair all[] = {
		SEGMENT(0, X86_KERNEL_SS, DATA),
		SEGMENT(1, X86_KERNEL_CS, CODE),
		SEGMENT(2, X86_KERNEL_SS, DATA),
		SEGMENT(3, X86_KERNEL_SS, DATA),
		SEGMENT(4, X86_KERNEL_SS, DATA),
		SEGMENT(5, X86_KERNEL_SS, DATA),
		{SEG(7, SEG_SELECTOR), X86_TASK},
		{SEG(7, SEG_BASE), X86_TSS},
		{SEG(7, SEG_LIMIT), 0x67},
		{SEG(7, SEG_ACCESS), TASK_BUSY},
		{REG_X86_GDT_BASE, X86_GDT},
		{REG_X86_GDT_LIMIT, 0x37},
		{REG_X86_IDT_BASE, X86_IDT},
		{REG_X86_IDT_LIMIT, 0xfff},
		{REG_X86_CR + 0, 0x80050033}, /* PG AM WP NE ET MP PE */
		{REG_X86_CR + 3, X86_PML4},
		{REG_X86_CR + 4, 0x6a0}, /* OSXMMEXCPT OSFXSR PGE PAE */
		{REG_X86_EFER, 0xd01},	 /* NXE LMA LME SCE */
		{REG_X86_GPR + 4, X86_STACK},
		{REG_X86_RFLAGS, 2},
		{REG_X86_RIP, rip},
	};
	return set_all(ops, c, all, COUNT(all));
}

int x86_real_mode(const struct engine_ops *ops, struct vcpu *c, uint16_t ip)
{
	const struct pair all[] = {
		{SEG(1, SEG_SELECTOR), 0}, {SEG(1, SEG_BASE), 0}, {REG_X86_RFLAGS, 2},
		{REG_X86_GPR + 4, 0x8000}, {REG_X86_RIP, ip},
	};
	return set_all(ops, c, all, COUNT(all));
}
