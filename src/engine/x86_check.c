/* Lockstep. A block runs, and a log keeps what memory held before each of its stores; then all is
 * put back, the interpreter executes as many instructions, and both results are compared. Devices
 * may write meanwhile: only what differs every time is wrong.
 *
 * Three things may differ, and are followed instead. Flags that the translator leaves out because
 * nobody will read them: remembered until something sets them, and wrong if something reads them
 * first; traps and interrupts show them and are let pass. Flags that the manual leaves open: what
 * has read one is not compared. Where x87 says that its last instruction was. */
#include "engine/x86_check.h"
#include "base/err.h"
#include "engine/x86_check_impl.h"
#include "engine/x86_code.h"
#include "engine/x86_jit.h"
#include "engine/x86_vector_impl.h"
#include "isa/x86/x86.h"
#include <stdio.h>
#include <stdlib.h>

enum { FUEL = 300, TRIES = 4 };

struct x86_check *x86_check_new(void) { return calloc(1, sizeof(struct x86_check)); }
void x86_check_free(struct x86_check *k) { free(k); }

/* ---- state */
static void state_get(struct x86_vcpu *v, struct x86_check_state *s)
{
	memcpy(s->r, v->cpu.r, sizeof(s->r));
	memcpy(s->base, v->cpu.base, sizeof(v->cpu.base));
	s->rip = v->cpu.rip;
	s->flags = v->cpu.flags;
	s->n = v->n;
	s->gs = v->seg[X86_GS].base;
	s->kernel_gs = v->kernel_gs;
	s->view = v->view;
	s->x = v->x;
}

static void state_set(struct x86_vcpu *v, const struct x86_check_state *s)
{
	memcpy(v->cpu.r, s->r, sizeof(s->r));
	memcpy(v->cpu.base, s->base, sizeof(v->cpu.base));
	v->cpu.rip = s->rip;
	v->cpu.flags = s->flags;
	v->n = s->n;
	v->seg[X86_GS].base = s->gs;
	v->kernel_gs = s->kernel_gs;
	v->view = s->view;
	v->x = s->x;
}

/* Newest first, so that what was stored to twice gets its first value back. */
static void undo(struct x86_check *k)
{
	for (unsigned i = k->logged; i--;) memcpy(k->log[i].at, k->log[i].old, k->log[i].bytes);
}

/* ---- words */
static void begin_words(struct x86_check *k)
{
	(void)snprintf(k->words, sizeof(k->words),
		       "translated code at %#llx, %llu instructions up to %#llx, differs from the "
		       "interpreter:",
		       (unsigned long long)k->before.rip,
		       (unsigned long long)(k->jit.n - k->before.n),
		       (unsigned long long)k->jit.rip);
}

static bool differ(struct x86_check *k, const char *what, uint64_t jit, uint64_t interp)
{
	if (jit == interp) return false;
	if (!k->words[0]) begin_words(k);
	size_t used = strlen(k->words);
	(void)snprintf(k->words + used, sizeof(k->words) - used, " %s %#llx, not %#llx;", what,
		       (unsigned long long)jit, (unsigned long long)interp);
	return true;
}

/* ---- flags that may differ */
static bool is_shift(enum x86_op op) { return op >= X86_OP_shl && op <= X86_OP_shrd; }

static uint64_t shift_count(const struct x86_vcpu *v, const struct x86_insn *in)
{
	const struct x86_operand *o = &in->o[in->operands - 1];
	uint64_t by = o->kind == X86_IMM ? (uint64_t)in->imm : v->cpu.r[RCX];
	return by & (in->osize == 8 ? 63 : 31);
}

/* Of the flags that are open once it is done, those that the table does not know by itself: by 0
 * a shift sets none, by 1 all. */
static uint64_t flags_follow(const struct x86_vcpu *v, const struct x86_insn *in, uint64_t open)
{
	const struct x86_op_info *f = x86_op_info(in->op);
	uint64_t n = is_shift(in->op) ? shift_count(v, in) : 1;
	uint64_t after = (open | f->undefines) & ~(uint64_t)f->writes;
	if (n == 1) return after;
	if (!n) return open;
	return after | X86_OF | X86_AF | (in->o[0].size < 4 ? X86_CF : 0);
}

static bool stores(const struct x86_insn *in)
{
	unsigned writes = x86_op_info(in->op)->writes_o;
	for (unsigned i = 0; i < in->operands; i++)
		if (in->o[i].kind == X86_MEM && writes >> i & 1) return true;
	return in->op == X86_OP_push || in->op == X86_OP_call || in->op == X86_OP_calli ||
	       in->op == X86_OP_pushf;
}

static unsigned reads(const struct x86_insn *in)
{
	static const uint16_t by_condition[8] = {
		X86_OF, X86_CF, X86_ZF,		 X86_CF | X86_ZF,
		X86_SF, X86_PF, X86_SF | X86_OF, X86_SF | X86_OF | X86_ZF,
	};
	bool by = in->op == X86_OP_jcc || in->op == X86_OP_setcc || in->op == X86_OP_cmovcc;
	return by ? by_condition[in->cc >> 1] : x86_op_info(in->op)->reads;
}

/* The instruction at rip is about to be interpreted. False: it reads what is not there. */
static bool look(struct x86_vcpu *v, struct x86_check *k)
{
	const struct x86_insn *in;
	if (k->traps != v->traps || k->irqs != v->stats[X86_STAT_IRQ]) k->dead = 0;
	k->traps = v->traps;
	k->irqs = v->stats[X86_STAT_IRQ];
	if (x86_fetched(v, &in)) return true; /* a trap, then */
	const struct x86_op_info *f = x86_op_info(in->op);
	k->stores += stores(in);
	unsigned read = reads(in);
	k->unknown |= read & k->open_flags;
	if (read & k->dead) {
		(void)differ(k, "flags that are read", k->dead & read, 0);
		return false;
	}
	if (in->rep || (is_shift(in->op) && !shift_count(v, in))) return true;
	k->open_flags = flags_follow(v, in, k->open_flags);
	k->dead &= ~(uint64_t)(f->writes | f->undefines);
	return true;
}

void x86_check_look(struct x86_vcpu *v)
{
	struct x86_check *k = v->jit->check;
	k->open_flags = 0;
	if (!k->dead) return;
	k->before.rip = k->jit.rip = v->cpu.rip;
	k->before.n = k->jit.n = v->n;
	k->words[0] = 0;
	if (!look(v, k)) v->broken = k->words;
}

/* ---- comparing */
static bool vectors_differ(struct x86_check *k, const uint8_t *a, const uint8_t *b)
{
	static const struct {
		const char *name;
		unsigned at, bytes, each;
	} part[] = {{"fcw", X_FCW, 2, 2},	    {"fsw", X_FSW, 2, 2},  {"ftw", X_FTW, 2, 2},
		    {"mxcsr", X_MXCSR, 4, 4},	    {"st", X_ST, 128, 16}, {"xmm", X_XMM, 256, 16},
		    {"ymm's upper", X_YMM, 256, 16}};
	bool bad = false;
	for (unsigned p = 0; p < COUNT(part); p++)
		for (unsigned i = 0; i < part[p].bytes; i += 8) {
			unsigned n = part[p].bytes < 8 ? part[p].bytes : 8, at = part[p].at + i;
			char name[32];
			if (!memcmp(a + at, b + at, n)) continue;
			if (part[p].at == X_ST && i % 16) n = 2; /* of ten bytes */
			(void)snprintf(name, sizeof(name), "%s%u+%u", part[p].name,
				       i / part[p].each, i % part[p].each);
			bad |= differ(k, name, load_le(a + at, n), load_le(b + at, n));
		}
	return bad;
}

static bool regs_differ(struct x86_check *k, const struct x86_vcpu *v)
{
	static const char *const names[16] = {"rax", "rcx", "rdx", "rbx", "rsp", "rbp",
					      "rsi", "rdi", "r8",  "r9",  "r10", "r11",
					      "r12", "r13", "r14", "r15"};
	const struct x86_check_state *j = &k->jit;
	bool bad = differ(k, "rip", j->rip, v->cpu.rip);
	for (unsigned i = 0; i < 16; i++) bad |= differ(k, names[i], j->r[i], v->cpu.r[i]);
	bad |= differ(k, "rflags", j->flags & ~(uint64_t)X86_ARITH,
		      v->cpu.flags & ~(uint64_t)X86_ARITH);
	bad |= differ(k, "gs", j->base[X86_GS], v->cpu.base[X86_GS]);
	bad |= differ(k, "gs of the segment", j->gs, v->seg[X86_GS].base);
	bad |= differ(k, "kernel_gs", j->kernel_gs, v->kernel_gs);
	bad |= differ(k, "view", j->view, v->view);
	return bad | vectors_differ(k, j->x.bytes, v->x.bytes);
}

static bool memory_differs(struct x86_check *k)
{
	bool bad = false;
	for (unsigned i = 0; i < k->logged; i++) {
		const struct x86_check_was *w = &k->log[i];
		if (!memcmp(w->now, w->at, w->bytes)) continue;
		unsigned n = w->bytes < 8 ? w->bytes : 8;
		char name[32];
		(void)snprintf(name, sizeof(name), "store %u", i);
		bad = true;
		if (!differ(k, name, load_le(w->now, n), load_le(w->at, n)))
			(void)differ(k, name, 1, 0); /* further up */
	}
	return bad;
}

/* The last one may have faulted after it was noted. */
static bool stores_differ(struct x86_check *k)
{
	if (k->logged == k->stores || k->logged == k->stores + 1) return false;
	return differ(k, "stores", k->logged, k->stores);
}

/* As many instructions as were translated. False: one traps, or reads flags that are not there. */
static bool interpret(struct x86_vcpu *v, struct x86_check *k, uint64_t until)
{
	uint64_t traps = v->traps, dead = k->dead;
	k->open_flags = 0;
	k->unknown = false;
	k->stores = 0;
	for (unsigned turns = 0; v->n < until && turns < CHECK_LOG; turns++) {
		if (!look(v, k)) return false;
		x86_step(v);
		if (v->traps == traps) continue;
		k->dead = dead;
		return !differ(k, "trap", 0, v->fault ? v->fault : 1);
	}
	return v->n == until || !differ(k, "instructions", until, v->n);
}

static bool agree(struct x86_vcpu *v, struct x86_check *k)
{
	k->words[0] = 0;
	if (!interpret(v, k, k->jit.n)) return false;
	if (k->unknown) {
		x86_count(v, X86_STAT_UNKNOWN);
		return true;
	}
	bool bad = regs_differ(k, v);
	bad |= memory_differs(k);
	bad |= stores_differ(k);
	k->dead |= (k->jit.flags ^ v->cpu.flags) & X86_ARITH & ~k->open_flags;
	return !bad;
}

/* ---- a stretch */
void x86_check_open(struct x86_vcpu *v)
{
	struct x86_check *k = v->jit->check;
	if (k->open) return;
	x86_jit_home(v);
	state_get(v, &k->before);
	k->open = true;
	k->logged = 0;
	v->jit->limit = v->n + FUEL;
}

static bool again(struct x86_vcpu *v, struct x86_check *k)
{
	undo(k);
	state_set(v, &k->before);
	k->tries = k->tried == v->n ? k->tries + 1 : 1;
	k->tried = v->n;
	if (k->tries < TRIES)
		x86_count(v, X86_STAT_AGAIN);
	else
		v->broken = k->words;
	return false;
}

bool x86_check_close(struct x86_vcpu *v)
{
	struct x86_check *k = v->jit->check;
	if (!k->open) return true;
	k->open = false;
	x86_jit_home(v);
	if (k->logged > CHECK_LOG) return true;
	state_get(v, &k->jit);
	for (unsigned i = 0; i < k->logged; i++)
		memcpy(k->log[i].now, k->log[i].at, k->log[i].bytes);
	undo(k);
	state_set(v, &k->before);
	x86_count_n(v, X86_STAT_CHECKED, k->jit.n - k->before.n);
	return agree(v, k) || again(v, k);
}
