/* One instruction: fetched, decoded, done. What has been decoded is kept by where its bytes are in
 * the guest's memory, and is good as long as the same bytes are there: nobody need tell of writes.
 */
#include "engine/debug.h"
#include "engine/x86_jit.h"
#include "engine/x86_vcpu.h"
#include "hw/bus.h"
#include <pthread.h>
#include <stdlib.h>

enum { LINES = 4096, LONGEST = 15 };
enum { DR6_BS = 1 << 14 };
struct line {
	uint64_t key, lo, hi;	   /* guest-physical address and mode; bytes */
	uint64_t lo_mask, hi_mask; /* those that are its own */
	struct x86_insn in;
};
struct x86_own {
	struct line line[LINES];
	struct x86_insn last; /* what is not kept */
};
struct x86_own *x86_own_new(void) { return calloc(1, sizeof(struct x86_own)); }

/* ---- who does an operation */
enum group { G_EXEC, G_POPF, G_FAR, G_SYSTEM, G_VECTOR, G_BAD };
static uint8_t groups[X86_OP__max];

static bool begins(const char *s, const char *with) { return !strncmp(s, with, strlen(with)); }

/* What CPUID must offer for a vector instruction. */
static unsigned feature_of(const char *name)
{
	unsigned need = name[0] == 'v' ? X86_HAS_AVX : 0;
	name += need != 0;
	if (begins(name, "aes")) need |= X86_HAS_AES;
	if (begins(name, "pclmul")) need |= X86_HAS_CLMUL;
	if (begins(name, "sha")) need |= X86_HAS_SHA;
	return need;
}

static enum group group_of(enum x86_op op)
{
	switch (op) {
	case X86_OP_illegal:
	case X86_OP_ud0:
	case X86_OP_ud1:
	case X86_OP_ud2:
	case X86_OP_monitor: /* all of these: not in CPUID */
	case X86_OP_mwait:
	case X86_OP_rdpkru:
	case X86_OP_wrpkru:
	case X86_OP_xbegin:
	case X86_OP_xabort:
	case X86_OP_xend:
	case X86_OP_xtest:
	case X86_OP_getsec:
	case X86_OP_rsm:
	case X86_OP_invept:
	case X86_OP_invvpid:
	case X86_OP_xsaves:
	case X86_OP_xrstors: return G_BAD;
	case X86_OP_pushf:
	case X86_OP_popf: return G_POPF;
	case X86_OP_verr:
	case X86_OP_verw:
	case X86_OP_lar:
	case X86_OP_lsl:
	case X86_OP_arpl:
	case X86_OP_iret:
	case X86_OP_sysexit:
	case X86_OP_sysenter:
	case X86_OP_syscall:
	case X86_OP_sysret:
	case X86_OP_rdfsbase:
	case X86_OP_rdgsbase:
	case X86_OP_wrfsbase:
	case X86_OP_wrgsbase:
	case X86_OP_lgdt:
	case X86_OP_lidt:
	case X86_OP_lldt:
	case X86_OP_ltr:
	case X86_OP_sldt:
	case X86_OP_str:
	case X86_OP_sgdt:
	case X86_OP_sidt:
	case X86_OP_callfi:
	case X86_OP_jmpfi:
	case X86_OP_callf:
	case X86_OP_jmpf:
	case X86_OP_retf:
	case X86_OP_pushs:
	case X86_OP_pops:
	case X86_OP_movfs:
	case X86_OP_movts:
	case X86_OP_les:
	case X86_OP_lds:
	case X86_OP_lss:
	case X86_OP_lfs:
	case X86_OP_lgs:
	case X86_OP_int:
	case X86_OP_int3:
	case X86_OP_into:
	case X86_OP_int1:
	case X86_OP_swapgs: return G_FAR;
	case X86_OP_fence:
	case X86_OP_ins:
	case X86_OP_outs:
	case X86_OP_in:
	case X86_OP_out:
	case X86_OP_cli:
	case X86_OP_sti:
	case X86_OP_hlt:
	case X86_OP_rdrand:
	case X86_OP_rdseed:
	case X86_OP_vmcall:
	case X86_OP_vmmcall:
	case X86_OP_cpuid:
	case X86_OP_rdtsc:
	case X86_OP_rdtscp:
	case X86_OP_rdpid:
	case X86_OP_rdpmc:
	case X86_OP_rdmsr:
	case X86_OP_wrmsr:
	case X86_OP_xgetbv:
	case X86_OP_xsetbv:
	case X86_OP_lmsw:
	case X86_OP_smsw:
	case X86_OP_clts:
	case X86_OP_invlpg:
	case X86_OP_invpcid:
	case X86_OP_clflush:
	case X86_OP_clflushopt:
	case X86_OP_clwb:
	case X86_OP_clac:
	case X86_OP_stac:
	case X86_OP_serialize:
	case X86_OP_invd:
	case X86_OP_wbinvd:
	case X86_OP_wbnoinvd:
	case X86_OP_movcr:
	case X86_OP_movdr: return G_SYSTEM;
	default: break;
	}
	if (op <= X86_OP_mulx) return G_EXEC; /* the table has a meaning of it */
	return feature_of(x86_op_info(op)->name) & ~x86_features() ? G_BAD : G_VECTOR;
}

static void groups_fill(void)
{
	for (unsigned op = 0; op < X86_OP__max; op++) groups[op] = (uint8_t)group_of(op);
	if (!(x86_features() & X86_HAS_RDRAND)) groups[X86_OP_rdrand] = G_BAD;
	if (!(x86_features() & X86_HAS_RDSEED)) groups[X86_OP_rdseed] = G_BAD;
}
void x86_groups_init(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	(void)pthread_once(&once, groups_fill);
}

/* ---- segments' limits, outside 64-bit mode; x86_exec() does not know them */
static bool is_flat(const struct x86_segreg *s)
{
	const uint32_t type = SEG_P | SEG_S | SEG_CODE | SEG_EC | SEG_RW | SEG_UNUSABLE;
	return s->limit == UINT32_MAX && (s->access & type) == (SEG_P | SEG_S | SEG_RW);
}

static uint64_t cut(uint64_t val, unsigned bytes)
{
	return bytes >= 8 ? val : val & ((1ull << 8 * bytes) - 1);
}

static bool is_string(enum x86_op op) { return op >= X86_OP_cmps && op <= X86_OP_lods; }
_Static_assert(X86_OP_lods - X86_OP_cmps == 4, "strings stand together");

enum { MOST_AT_ONCE = 64 }; /* elements that x86_exec() does of a REP */

static int string_limit(struct x86_vcpu *v, const struct x86_insn *in, unsigned i, bool *once)
{
	const struct x86_operand *o = &in->o[i];
	unsigned seg = o->kind == X86_DI	   ? X86_ES
		       : in->seg_over == X86_NOREG ? X86_DS
						   : in->seg_over;
	if (is_flat(&v->seg[seg])) return 0;
	bool write = x86_op_info(in->op)->writes_o >> i & 1;
	uint64_t at = cut(v->cpu.r[o->kind == X86_DI ? 7 : 6], in->asize), la, n = 1;
	if (in->rep) n = cut(v->cpu.r[1], in->asize);
	if (n > MOST_AT_ONCE) n = MOST_AT_ONCE;
	if (!n) return 0;
	int e = x86_linear(v, seg, at, o->size, write, &la);
	if (e || n == 1) return e;
	uint64_t span = (n - 1) * o->size, last = v->cpu.flags & X86_DF ? at - span : at + span;
	if (last != cut(last, in->asize) || x86_linear(v, seg, last, o->size, write, &la))
		*once = true;
	v->code = 0;
	return 0;
}

/* Bytes that go onto the stack (negative) or come from it, of what is not an operand. */
static int stack_use(const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_push:
	case X86_OP_call:
	case X86_OP_calli:
	case X86_OP_pushf:
	case X86_OP_enter: return -in->osize;
	case X86_OP_pusha: return -8 * in->osize;
	case X86_OP_pop:
	case X86_OP_ret:
	case X86_OP_popf: return in->osize;
	case X86_OP_popa: return 8 * in->osize;
	default: return 0;
	}
}

static int stack_limit(struct x86_vcpu *v, const struct x86_insn *in)
{
	int n = stack_use(in);
	uint64_t la, sp = v->cpu.r[4];
	if (!n || is_flat(&v->seg[X86_SS])) return 0;
	if (n < 0) sp += (uint64_t)(int64_t)n;
	return x86_linear(v, X86_SS, cut(sp, v->cpu.ssize), (unsigned)abs(n), n < 0, &la);
}

/* Not all that name memory use it, or use it there: bt's register goes far beyond. */
static bool touches(const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_lea:
	case X86_OP_nop:
	case X86_OP_prefetch: return false;
	case X86_OP_bt:
	case X86_OP_bts:
	case X86_OP_btr:
	case X86_OP_btc: return in->o[1].kind == X86_IMM;
	default: return true;
	}
}

static int limits(struct x86_vcpu *v, const struct x86_insn *in, bool *once)
{
	int e = stack_limit(v, in);
	for (unsigned i = 0; !e && i < in->operands; i++) {
		const struct x86_operand *o = &in->o[i];
		uint64_t la;
		if (o->kind == X86_SI || o->kind == X86_DI)
			e = string_limit(v, in, i, once);
		else if (o->kind == X86_MEM && o->size && touches(in) && !is_flat(&v->seg[in->seg]))
			e = x86_operand_la(v, in, o->size, x86_op_info(in->op)->writes_o >> i & 1,
					   &la);
	}
	return e;
}

/* One element of a REP. */
static int repeat_once(struct x86_vcpu *v, const struct x86_insn *in)
{
	struct x86_cpu *c = &v->cpu;
	uint64_t rip = c->rip, was = c->r[1], left = cut(was, in->asize) - 1;
	if (left == UINT64_MAX) return x86_exec(c, in);
	uint64_t keep = in->asize == 2 ? was & ~0xffffull : 0;
	c->r[1] = keep | 1;
	int e = x86_exec(c, in);
	c->r[1] = e ? was : keep | left;
	if (e || !left) return e;
	bool compares = in->op == X86_OP_cmps || in->op == X86_OP_scas;
	if (compares && !(c->flags & X86_ZF) == (in->rep == 0xf3)) return 0;
	c->rip = rip;
	return X86_REPEAT;
}

/* ---- doing it */
static bool is_real(const struct x86_vcpu *v)
{
	return !(v->cr0 & CR0_PE) || v->cpu.flags & X86_VM;
}

static inline int do_exec(struct x86_vcpu *v, const struct x86_insn *in)
{
	bool once = v->cpu.flags & X86_TF || v->stepping || v->watching;
	if (unlikely(in->mode != X86_64)) {
		int e = limits(v, in, &once);
		if (e) return e;
	}
	if (unlikely(once) && in->rep && is_string(in->op)) return repeat_once(v, in);
	return x86_exec(&v->cpu, in);
}

/* What had to wait may come now. */
static void look_again(struct x86_vcpu *v)
{
	uint32_t why = 0;
	if (v->cpu.flags & X86_IF && atomic_load_explicit(&v->intr, memory_order_relaxed))
		why |= X86_POLL_INTR;
	if (v->nmi_waits && !v->nmi_masked) {
		v->nmi_waits = false;
		why |= X86_POLL_NMI;
	}
	if (v->reset_asked) why |= X86_POLL_INTR;
	if (why) (void)atomic_fetch_or(&v->poll, why);
}

/* pushf and popf: in virtual-8086 mode they are privileged by IOPL (SDM 3, 21.2.7). */
static int do_popf(struct x86_vcpu *v, const struct x86_insn *in)
{
	uint64_t was = v->cpu.flags;
	if (v->cr0 & CR0_PE && was & X86_VM && (was & X86_IOPL) != X86_IOPL)
		return x86_raise(v, X86_TRAP_GP, 0);
	int e = do_exec(v, in);
	if ((was ^ v->cpu.flags) & (X86_AC | X86_IOPL)) x86_mode_update(v);
	if (!e) look_again(v);
	return e;
}

/* What reads memory to write it again means to write from the beginning. */
static __attribute__((noinline)) int page_fault(struct x86_vcpu *v, const struct x86_insn *in)
{
	const struct x86_op_info *info = x86_op_info((enum x86_op)in->op);
	for (unsigned k = 0; k < in->operands; k++)
		if (in->o[k].kind == X86_MEM && info->writes_o & info->reads_o & 1u << k)
			v->code |= X86_W;
	return X86_TRAP_PF;
}

int x86_do(struct x86_vcpu *v, const struct x86_insn *in)
{
	int e = X86_OTHER;
	v->code = 0;
	if (unlikely(in->vex) && is_real(v)) return X86_TRAP_UD;
	if (likely(groups[in->op] == G_EXEC)) {
		e = do_exec(v, in);
		return unlikely(e == X86_TRAP_PF) ? page_fault(v, in) : e;
	}
	switch (groups[in->op]) {
	case G_POPF: return do_popf(v, in);
	case G_VECTOR:
		x86_jit_home(v);
		e = x86_do_vector(v, in);
		break;
	case G_FAR:
		e = x86_do_far(v, in);
		look_again(v);
		break;
	case G_SYSTEM:
		e = x86_do_system(v, in);
		look_again(v);
		break;
	default: break;
	}
	return e == X86_OTHER ? x86_raise(v, X86_TRAP_UD, 0) : e;
}

/* ---- fetching */
struct bytes {
	uint64_t lo, hi;
	gpa_t at;
};

static uint64_t low_bytes(unsigned n) { return n >= 8 ? UINT64_MAX : (1ull << 8 * n) - 1; }

static inline bool is_same(const struct line *l, const struct bytes *b)
{
	return !(((l->lo ^ b->lo) & l->lo_mask) | ((l->hi ^ b->hi) & l->hi_mask));
}

/* n bytes from off in the page that fetch_* is about. */
static void page_bytes(struct x86_vcpu *v, unsigned off, uint8_t *to, unsigned n)
{
	if (v->fetch_host)
		memcpy(to, v->fetch_host + off, n);
	else
		for (unsigned i = 0; i < n; i++)
			to[i] = (uint8_t)bus_read(v->machine->env.mmio, v->fetch_gpa + off + i, 1);
}

static uint64_t fetch_la(const struct x86_vcpu *v)
{
	return v->mode == X86_64 ? v->cpu.rip : (uint32_t)(v->seg[X86_CS].base + v->cpu.rip);
}

static int decoded(struct x86_vcpu *v, enum x86_decoded how)
{
	if (how == X86_OK) return 0;
	return how == X86_BAD ? x86_raise(v, X86_TRAP_UD, 0) : x86_raise(v, X86_TRAP_GP, 0);
}

static __attribute__((noinline)) int decode(struct x86_vcpu *v, const struct bytes *b,
					    struct line *l)
{
	uint8_t code[16];
	memcpy(code, &b->lo, 8);
	memcpy(code + 8, &b->hi, 8);
	l->key = 0;
	int e = decoded(v, x86_decode(&l->in, code, LONGEST, v->mode));
	if (e) return e;
	l->lo = b->lo;
	l->hi = b->hi;
	l->lo_mask = low_bytes(l->in.len);
	l->hi_mask = l->in.len > 8 ? low_bytes(l->in.len - 8u) : 0;
	l->key = b->at | (uint64_t)(v->mode + 1) << 60;
	return 0;
}

/* Near the end of a page, or from a device: more of it only if that is part of an instruction. */
static __attribute__((noinline)) int fetch_edge(struct x86_vcpu *v, uint64_t la,
						const struct x86_insn **in)
{
	struct x86_insn *to = &v->own->last;
	uint8_t code[16] = {0};
	unsigned off = la & (X86_PAGE - 1), n = X86_PAGE - off;
	if (n > LONGEST) n = LONGEST;
	page_bytes(v, off, code, n);
	enum x86_decoded how = x86_decode(to, code, n, v->mode);
	if (how == X86_MORE && n < LONGEST) {
		uint64_t next = la + n;
		int e = x86_fetch(v, v->long_mode ? next : (uint32_t)next);
		if (e) return e;
		page_bytes(v, 0, code + n, LONGEST - n);
		how = x86_decode(to, code, LONGEST, v->mode);
	}
	*in = to;
	return decoded(v, how);
}

static inline int fetch_any(struct x86_vcpu *v, const struct x86_insn **in)
{
	uint64_t la = fetch_la(v);
	unsigned off = la & (X86_PAGE - 1);
	if (unlikely(v->fetch_tag != la - off)) {
		int e = x86_fetch(v, la);
		if (e) return e;
	}
	if (unlikely(off > X86_PAGE - 16 || !v->fetch_host)) return fetch_edge(v, la, in);
	struct bytes b = {.at = v->fetch_gpa + off};
	memcpy(&b.lo, v->fetch_host + off, 8);
	memcpy(&b.hi, v->fetch_host + off + 8, 8);
	struct line *l = &v->own->line[(b.at ^ b.at >> 12) & (LINES - 1)];
	*in = &l->in;
	if (likely(l->key == (b.at | (uint64_t)(v->mode + 1) << 60) && is_same(l, &b))) return 0;
	return decode(v, &b, l);
}

/* CS's limit is that of the last byte. */
static inline int fetch(struct x86_vcpu *v, const struct x86_insn **in)
{
	uint64_t limit = v->seg[X86_CS].limit, rip = v->cpu.rip;
	if (likely(v->mode == X86_64)) return fetch_any(v, in);
	if (rip > limit) return x86_raise(v, X86_TRAP_GP, 0);
	int e = fetch_any(v, in);
	if (!e && (*in)->len - 1ull > limit - rip) return x86_raise(v, X86_TRAP_GP, 0);
	return e;
}

int x86_fetched(struct x86_vcpu *v, const struct x86_insn **in) { return fetch(v, in); }

/* ---- steps */
static __attribute__((noinline)) void trap(struct x86_vcpu *v, int e)
{
	v->shadow = 0;
	v->traps++;
	if (e == X86_TRAP_PF && v->cpl == 3) x86_count(v, X86_STAT_FAULTS);
	x86_deliver(v, (unsigned)(e - X86_TRAP), X86_FROM_CPU);
	look_again(v);
}

/* SDM 3, 18.2.4: which of DR0 to DR3 stop an access of that kind, as bits of DR6. */
enum { DR_EXECUTE, DR_WRITE, DR_ACCESS = 3 };
static unsigned breakpoints(const struct x86_vcpu *v, uint64_t la, unsigned n, unsigned kind)
{
	static const uint8_t bytes[4] = {1, 2, 8, 4};
	unsigned hit = 0;
	for (unsigned i = 0; i < 4; i++) {
		unsigned how = v->dr[7] >> (16 + 4 * i) & 15;
		uint64_t len = bytes[how >> 2], at = v->dr[i] & -len;
		bool kinds = (how & 3) == kind || (kind == DR_WRITE && (how & 3) == DR_ACCESS);
		bool on = v->dr[7] >> 2 * i & 3 && kinds;
		if (on && la < at + len && at < la + n) hit |= 1u << i;
	}
	return hit;
}

void x86_watch(struct x86_vcpu *v, uint64_t la, unsigned n, bool write)
{
	if (v->debug && !v->met) v->met = debug_watch(v->debug, la, n, write);
	if (!(v->dr[7] & X86_DR7_ENABLED)) return;
	v->hit |= (uint8_t)breakpoints(v, la, n, write ? DR_WRITE : DR_ACCESS);
}
/* Memory while data breakpoints are set or alignment is checked. */
static int watched(struct x86_cpu *c, int e, uint64_t at, unsigned n, unsigned kind)
{
	struct x86_vcpu *v = x86_vcpu_of(c);
	if (!e) x86_watched(v, at, n, kind == DR_WRITE);
	return e;
}
static bool is_misaligned(struct x86_cpu *c, uint64_t at, unsigned n)
{
	return at & (n - 1) && x86_checks_alignment(x86_vcpu_of(c));
}
static int watched_load(struct x86_cpu *c, uint64_t at, void *to, unsigned n)
{
	if (is_misaligned(c, at, n)) return x86_raise(x86_vcpu_of(c), X86_TRAP_AC, 0);
	return watched(c, x86_mem_ops.load(c, at, to, n), at, n, DR_ACCESS);
}
static int watched_store(struct x86_cpu *c, uint64_t at, const void *from, unsigned n)
{
	if (is_misaligned(c, at, n)) return x86_raise(x86_vcpu_of(c), X86_TRAP_AC, 0);
	return watched(c, x86_mem_ops.store(c, at, from, n), at, n, DR_WRITE);
}
static int watched_cas(struct x86_cpu *c, uint64_t at, void *expected, const void *to, unsigned n)
{
	if (is_misaligned(c, at, n)) return x86_raise(x86_vcpu_of(c), X86_TRAP_AC, 0);
	return watched(c, x86_mem_ops.cas(c, at, expected, to, n), at, n, DR_WRITE);
}
static const struct x86_mem watched_ops = {watched_load, watched_store, watched_cas};

/* TF counts as it was before; but these clear it, or leave it to what they have loaded. */
static bool is_entry(enum x86_op op)
{
	return op == X86_OP_syscall || op == X86_OP_sysenter || op == X86_OP_int ||
	       op == X86_OP_int3 || op == X86_OP_into || op == X86_OP_int1;
}

static int stepped(struct x86_vcpu *v, const struct x86_insn *in, uint64_t was)
{
	v->cpu.mem = &watched_ops;
	v->hit = 0;
	v->met = NULL;
	int e = x86_do(v, in);
	v->cpu.mem = &x86_mem_ops;
	if (e && e != X86_REPEAT) return e;
	if (unlikely(v->met != NULL)) x86_debug_look(v);
	if (!e && in->op != X86_OP_iret) v->cpu.flags &= ~(uint64_t)X86_RF;
	v->n += !e;
	bool steps = was & X86_TF && (!is_entry(in->op) || v->cpu.flags & X86_TF);
	if ((!steps && !v->hit) || v->shadow & 1) return 0;
	v->fault = v->hit | (steps ? DR6_BS : 0);
	return x86_raise(v, X86_TRAP_DB, 0);
}

/* With what most instructions need not look at: breakpoints, TF, RF, a shadow. */
static __attribute__((noinline)) void step_watched(struct x86_vcpu *v)
{
	const struct x86_insn *in;
	if (v->debug && !v->stepping && x86_debug_here(v, fetch_la(v))) return;
	bool bare = v->dr[7] & X86_DR7_ENABLED && !(v->cpu.flags & X86_RF) && !(v->shadow & 1);
	unsigned hit = bare ? breakpoints(v, fetch_la(v), 1, DR_EXECUTE) : 0;
	if (hit) {
		v->fault = hit;
		v->code = 0;
		trap(v, X86_TRAP_DB);
		return;
	}
	int e = fetch(v, &in);
	v->shadow = 0;
	if (!e) e = stepped(v, in, v->cpu.flags);
	if (e) trap(v, e);
}

static inline void step(struct x86_vcpu *v)
{
	const struct x86_insn *in;
	if (unlikely(!x86_is_plain(v) || v->debug)) {
		step_watched(v);
		return;
	}
	int e = fetch(v, &in);
	if (likely(!e)) e = x86_do(v, in);
	if (likely(!e))
		v->n++;
	else if (e != X86_REPEAT)
		trap(v, e);
}

void x86_step(struct x86_vcpu *v)
{
	bool traced = v->trace.steps;
	if (unlikely(traced)) x86_trace_begin(v);
	step(v);
	if (unlikely(traced)) x86_trace_end(v);
}
