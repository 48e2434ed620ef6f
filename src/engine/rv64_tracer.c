/* A RISC-V hart under the eyes of a tracer: what is told of an instruction is gathered before it is
 * executed, as nobody knows afterwards. */
#include "engine/inspect.h"
#include "engine/interp.h"
#include "engine/rv64_cpu.h"
#include "engine/tracer.h"
#include "hw/gmem.h"

/* Halfwords as a fetch would find them, which says itself what is wrong if there are none. */
static unsigned code_read(struct rv64_cpu *c, uint8_t *to)
{
	struct rv64_page pg;
	for (unsigned n = 0; n < 4; n += 2) {
		gva_t va = c->pc + n;
		const void *p = rv64_look(c, va, &pg)
					? gmem_ptr(c->mem, pg.at | (va & ~PAGE_MASK), 2, false)
					: NULL;
		if (!p) return n;
		memcpy(to + n, p, 2);
	}
	return 4;
}

static enum tracer_level level(unsigned priv)
{
	return priv == PRIV_M ? TRACER_MACHINE : priv == PRIV_S ? TRACER_KERNEL : TRACER_USER;
}

/* The CSR that one of csrrw and its like names, and what it holds. */
static void csr_note(struct rv64_cpu *c, const struct tracer_insn *i)
{
	enum { SYSTEM = 0x73, FUNCT3 = 3 };
	uint32_t word = (uint32_t)load_le(i->code, 4);
	bool is = i->n == 4 && (word & 0x7f) == SYSTEM && word >> 12 & FUNCT3;
	unsigned csr = word >> 20;
	c->trace.csr = 0;
	if (!is || !tracer_wants_csr(c->trace.to)) return;
	if (!rv64_cpu_get(c, REG_RV_CSR + csr, &c->trace.csr_was)) c->trace.csr = csr;
}

bool rv64_trace_begin(struct rv64_cpu *c)
{
	if (!tracer_wants(c->trace.to, level(c->priv), c->pc)) {
		c->trace.steps = tracer_steps(c->trace.to);
		return false;
	}
	struct tracer_insn i = {.arch = ARCH_RV64,
				.bits = 64,
				.level = level(c->priv),
				.pc = c->pc,
				.reg = {c->x, c->f},
				.nreg = {32, 32}};
	i.n = code_read(c, i.code);
	csr_note(c, &i);
	tracer_begin(c->trace.to, &i);
	return true;
}

static bool was_executed(const struct rv64_cpu *c)
{
	if (c->stop == STOP_WATCH || c->stop == STOP_DEBUG) return false;
	return c->stop != STOP_TRAP || (c->cause != CAUSE_FETCH_ACCESS &&
					c->cause != CAUSE_FETCH_PAGE && c->cause != CAUSE_WATCHED);
}

void rv64_trace_end(struct rv64_cpu *c)
{
	struct tracer_cpu *to = c->trace.to;
	uint64_t is;
	if (!was_executed(c)) {
		tracer_drop(to);
		return;
	}
	tracer_done(to);
	unsigned csr = c->stop == STOP_TRAP ? 0 : c->trace.csr;
	const char *name = csr ? inspect_csr(csr) : NULL;
	if (name && !rv64_cpu_get(c, REG_RV_CSR + csr, &is) && is != c->trace.csr_was)
		tracer_csr(to, "%s 0x%llx -> 0x%llx", name, (unsigned long long)c->trace.csr_was,
			   (unsigned long long)is);
	c->trace.steps = tracer_steps(to);
}

/* 3.1.15 */
static const char *cause_name(uint64_t cause)
{
	static const char *const traps[] = {"misaligned jump",
					    "fetch access fault",
					    "illegal instruction",
					    "breakpoint",
					    "misaligned load",
					    "load access fault",
					    "misaligned store",
					    "store access fault",
					    "call from U",
					    "call from S",
					    "?",
					    "call from M",
					    "fetch page fault",
					    "load page fault",
					    "?",
					    "store page fault"};
	static const char *const interrupts[] = {"?", "software", "?", "software", "?", "timer",
						 "?", "timer",	  "?", "external", "?", "external"};
	uint64_t n = cause & ~CAUSE_INTERRUPT;
	if (cause & CAUSE_INTERRUPT) return n < COUNT(interrupts) ? interrupts[n] : "?";
	return n < COUNT(traps) ? traps[n] : "?";
}

void rv64_trace_trap(struct rv64_cpu *c, uint64_t cause, uint64_t tval, unsigned from, gva_t pc)
{
	static const char names[] = "US?M";
	tracer_int(c->trace.to, "%c->%c %s%llu %s pc=0x%llx tval=0x%llx to=0x%llx", names[from & 3],
		   names[c->priv & 3], cause & CAUSE_INTERRUPT ? "interrupt " : "trap ",
		   (unsigned long long)(cause & ~CAUSE_INTERRUPT), cause_name(cause),
		   (unsigned long long)pc, (unsigned long long)tval, (unsigned long long)c->pc);
}

void rv64_trace_call(struct rv64_cpu *c)
{
	enum { A0 = 10, A1, A6 = 16, A7 };
	tracer_int(c->trace.to, "sbi call a7=0x%llx a6=0x%llx a0=0x%llx a1=0x%llx pc=0x%llx",
		   (unsigned long long)c->x[A7], (unsigned long long)c->x[A6],
		   (unsigned long long)c->x[A0], (unsigned long long)c->x[A1],
		   (unsigned long long)c->pc - 4);
}
