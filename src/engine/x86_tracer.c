/* An x86-64 CPU under the eyes of a tracer. A REP that takes several steps is told of once. */
#include "engine/tracer.h"
#include "engine/x86_desc.h"
#include "hw/gmem.h"
#include <stdio.h>

static uint64_t linear_pc(const struct x86_vcpu *v)
{
	return v->mode == X86_64 ? v->cpu.rip : (uint32_t)(v->seg[X86_CS].base + v->cpu.rip);
}

/* As far as they could be fetched. */
static unsigned code_read(struct x86_vcpu *v, uint64_t la, uint8_t *to)
{
	enum { LONGEST = 15 };
	enum x86_view as = v->cpl == 3 ? X86_VIEW_USER : X86_VIEW_KERNEL;
	unsigned n = 0;
	while (n < LONGEST) {
		struct x86_page_found pg;
		uint64_t at = la + n, off = at & (X86_PAGE - 1), left = X86_PAGE - off;
		if (left > LONGEST - n) left = LONGEST - n;
		if (!x86_peek_page(v, at, X86_X, as, &pg)) break;
		const void *p = gmem_ptr(v->machine->env.mem, pg.at + off, left, false);
		if (!p) break;
		memcpy(to + n, p, left);
		n += (unsigned)left;
	}
	return n;
}

static void controls(const struct x86_vcpu *v, uint64_t to[X86_TRACE_CRS])
{
	const uint64_t now[X86_TRACE_CRS] = {v->cr0, v->cr3, v->cr4, v->efer, v->xcr0, v->dr[7]};
	memcpy(to, now, sizeof(now));
}

void x86_trace_begin(struct x86_vcpu *v)
{
	struct x86_trace *t = &v->trace;
	struct tracer_insn i = {.arch = ARCH_X86_64,
				.bits = 16u << v->mode,
				.level = v->cpl == 3 ? TRACER_USER : TRACER_KERNEL,
				.pc = linear_pc(v),
				.reg = {v->cpu.r, &v->cpu.flags},
				.nreg = {16, 1}};
	if (t->goes_on) return;
	t->wanted = tracer_wants(t->to, i.level, i.pc);
	if (!t->wanted) return;
	t->pc = i.pc;
	t->n = v->n;
	t->traps = v->traps;
	i.n = t->got = code_read(v, i.pc, i.code);
	t->msr = i.n > 1 && i.code[0] == 0x0f && i.code[1] == 0x30; /* wrmsr */
	if (t->msr) {
		t->index = (uint32_t)v->cpu.r[1];
		t->val = v->cpu.r[2] << 32 | (uint32_t)v->cpu.r[0];
	}
	controls(v, t->cr);
	if (i.n) tracer_begin(t->to, &i);
}

static void controls_tell(struct x86_vcpu *v)
{
	static const char *const names[X86_TRACE_CRS] = {"cr0",	 "cr3",	 "cr4",
							 "efer", "xcr0", "dr7"};
	struct x86_trace *t = &v->trace;
	uint64_t now[X86_TRACE_CRS];
	controls(v, now);
	for (unsigned i = 0; i < X86_TRACE_CRS; i++)
		if (now[i] != t->cr[i])
			tracer_csr(t->to, "%s 0x%llx -> 0x%llx", names[i],
				   (unsigned long long)t->cr[i], (unsigned long long)now[i]);
	if (t->msr) tracer_csr(t->to, "msr 0x%x = 0x%llx", t->index, (unsigned long long)t->val);
}

void x86_trace_end(struct x86_vcpu *v)
{
	struct x86_trace *t = &v->trace;
	if (!t->wanted) {
		t->steps = tracer_steps(t->to);
		return;
	}
	bool trapped = v->traps != t->traps, went = v->n != t->n;
	if (v->debugged && !went) {
		tracer_drop(t->to);
		t->goes_on = false;
		return;
	}
	t->goes_on = !trapped && !went && linear_pc(v) == t->pc;
	if (t->goes_on) return;
	tracer_done(t->to);
	if (went && tracer_wants_csr(t->to)) controls_tell(v);
	t->steps = tracer_steps(t->to);
}

/* It came before anything of the instruction: its bytes, or a breakpoint there. */
static bool before(const struct x86_vcpu *v, unsigned vector)
{
	const struct x86_trace *t = &v->trace;
	if (v->n != t->n || linear_pc(v) != t->pc) return false;
	return vector == TRAP_DB || (vector == TRAP_PF && v->fault == t->pc + t->got);
}

/* SDM 3, table 7-1 */
static const char *name_of(unsigned vector)
{
	static const char *const names[] = {"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD",
					    "#NM", "#DF", "?",	 "#TS", "#NP", "#SS", "#GP",
					    "#PF", "?",	  "#MF", "#AC", "#MC", "#XM"};
	return vector < COUNT(names) ? names[vector] : "?";
}

void x86_trace_int(struct x86_vcpu *v, unsigned vector, enum x86_source from)
{
	struct x86_trace *t = &v->trace;
	char more[48] = "";
	bool cpu = from == X86_FROM_CPU;
	const char *what = cpu			   ? name_of(vector)
			   : from == X86_FROM_INTN ? "instruction"
			   : vector == TRAP_NMI	   ? "NMI"
						   : "interrupt";
	if (t->steps && t->wanted && cpu && before(v, vector)) tracer_drop(t->to);
	t->goes_on = false;
	if (cpu && vector == TRAP_PF)
		(void)snprintf(more, sizeof(more), " cr2=0x%llx", (unsigned long long)v->cr2);
	tracer_int(t->to, "%u %s error=0x%x%s cpl=%u pc=0x%llx sp=0x%llx", vector, what,
		   cpu ? v->code : 0, more, v->cpl, (unsigned long long)linear_pc(v),
		   (unsigned long long)v->cpu.r[4]);
}
