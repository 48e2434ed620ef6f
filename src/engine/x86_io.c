/* Ports: in, out, ins, outs. Who may use which: SDM 1, 19.5. */
#include "engine/x86_vcpu.h"
#include "hw/bus.h"

enum { AX, CX, DX, SI = 6, DI = 7 };
enum { TSS_BUSY_OR_NOT = 2, TSS_32 = 9, TSS_MAP = 0x66, AT_ONCE = 64 };

static int refused(struct x86_vcpu *v) { return x86_raise(v, X86_TRAP_GP, 0); }

/* The bitmap in the TSS: a bit a port, 1 refuses; two bytes are read whatever n is. */
static int ask_tss(struct x86_vcpu *v, unsigned port, unsigned n)
{
	const struct x86_segreg *tr = &v->seg[X86_SEG_TR];
	enum x86_view as = x86_system_view(v);
	uint16_t map, bits;
	bool is32 = ((tr->access & 15) & ~(unsigned)TSS_BUSY_OR_NOT) == TSS_32;
	if (!is32 || !(tr->access & SEG_P) || tr->limit < TSS_MAP + 1) return refused(v);
	int e = x86_load(v, tr->base + TSS_MAP, &map, 2, as);
	if (e) return e;
	uint64_t at = map + port / 8;
	if (at + 1 > tr->limit) return refused(v);
	e = x86_load(v, tr->base + at, &bits, 2, as);
	if (e) return e;
	return (uint32_t)bits >> port % 8 & ((1u << n) - 1) ? refused(v) : 0;
}

static int allowed(struct x86_vcpu *v, unsigned port, unsigned n)
{
	bool v86 = v->cpu.flags & X86_VM;
	if (!(v->cr0 & CR0_PE)) return 0;
	if (!v86 && v->cpl <= (v->cpu.flags & X86_IOPL) >> 12) return 0;
	return ask_tss(v, port, n);
}

static void count(struct x86_vcpu *v) { x86_count(v, X86_STAT_PIO); }
static uint32_t port_in(struct x86_vcpu *v, unsigned port, unsigned n)
{
	struct bus *b = v->machine->env.pio;
	count(v);
	x86_count_look(v);
	return b ? (uint32_t)bus_read(b, port, n) : UINT32_MAX;
}
static void port_out(struct x86_vcpu *v, unsigned port, uint32_t val, unsigned n)
{
	struct bus *b = v->machine->env.pio;
	count(v);
	if (b) bus_write(b, port, val, n);
	x86_count_look(v);
}

static unsigned port_of(const struct x86_vcpu *v, const struct x86_operand *o, int64_t imm)
{
	return o->kind == X86_IMM ? imm & 0xff : v->cpu.r[DX] & 0xffff;
}

static int do_in(struct x86_vcpu *v, const struct x86_insn *in)
{
	unsigned n = in->o[0].size, port = port_of(v, &in->o[1], in->imm);
	int e = allowed(v, port, n);
	if (e) return e;
	x86_reg_put(v, AX, n, port_in(v, port, n));
	return x86_next(v, in);
}

static int do_out(struct x86_vcpu *v, const struct x86_insn *in)
{
	unsigned n = in->o[1].size, port = port_of(v, &in->o[0], in->imm);
	int e = allowed(v, port, n);
	if (e) return e;
	port_out(v, port, (uint32_t)v->cpu.r[AX], n);
	return x86_next(v, in);
}

/* ---- strings */
static uint64_t reg_get(const struct x86_vcpu *v, unsigned reg, unsigned n)
{
	return n == 8 ? v->cpu.r[reg] : v->cpu.r[reg] & ((1ull << 8 * n) - 1);
}

/* Memory first, so that nothing has happened at the port when it faults. */
static int one_in(struct x86_vcpu *v, const struct x86_insn *in, unsigned n)
{
	uint64_t la;
	int e = x86_linear(v, X86_ES, reg_get(v, DI, in->asize), n, true, &la);
	if (!e) e = x86_probe(v, la, n, X86_W, v->view);
	if (e) return e;
	uint32_t val = port_in(v, v->cpu.r[DX] & 0xffff, n);
	return x86_store(v, la, &val, n, v->view);
}

static int one_out(struct x86_vcpu *v, const struct x86_insn *in, unsigned n)
{
	unsigned seg = in->seg_over == X86_NOREG ? X86_DS : in->seg_over;
	uint32_t val = 0;
	uint64_t la;
	int e = x86_linear(v, seg, reg_get(v, SI, in->asize), n, false, &la);
	if (!e) e = x86_load(v, la, &val, n, v->view);
	if (!e) port_out(v, v->cpu.r[DX] & 0xffff, val, n);
	return e;
}

static void advance(struct x86_vcpu *v, unsigned reg, unsigned asize, unsigned n)
{
	uint64_t by = v->cpu.flags & X86_DF ? -(uint64_t)n : n;
	x86_reg_put(v, reg, asize, v->cpu.r[reg] + by);
}

static int do_string(struct x86_vcpu *v, const struct x86_insn *in)
{
	bool ins = in->op == X86_OP_ins;
	unsigned n = in->o[ins ? 0 : 1].size, most = v->cpu.flags & X86_TF ? 1 : AT_ONCE;
	int e = allowed(v, v->cpu.r[DX] & 0xffff, n);
	if (!e && in->rep && !reg_get(v, CX, in->asize)) return x86_next(v, in);
	for (unsigned i = 0; !e; i++) {
		if (i == most) return X86_REPEAT;
		e = ins ? one_in(v, in, n) : one_out(v, in, n);
		if (e) break;
		advance(v, ins ? DI : SI, in->asize, n);
		if (!in->rep) return x86_next(v, in);
		x86_reg_put(v, CX, in->asize, v->cpu.r[CX] - 1);
		if (!reg_get(v, CX, in->asize)) return x86_next(v, in);
	}
	return e;
}

int x86_do_io(struct x86_vcpu *v, const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_in: return do_in(v, in);
	case X86_OP_out: return do_out(v, in);
	case X86_OP_ins:
	case X86_OP_outs: return do_string(v, in);
	default: return X86_OTHER;
	}
}
