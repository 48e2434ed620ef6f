#ifndef ENGINE_X86_ORACLE_MAKE_H
#define ENGINE_X86_ORACLE_MAKE_H
/* For x86_oracle_test.c: programs, made of a seed. One instruction, or some with branches between
 * them; what they read and write is mostly where there is memory. */
#include "engine/x86_oracle.h"

/* ---- which instructions */

/* Depends on more than we compare, or does more than the host's process bears. */
static inline bool oracle_is_foreign(const struct x86_insn *in)
{
	bool narrow = in->osize == 2; /* what these do is undefined */
	if (narrow && (in->op == X86_OP_bswap || in->op == X86_OP_shld || in->op == X86_OP_shrd))
		return true;
	for (unsigned k = 0; k < in->operands; k++)
		if (in->o[k].kind == X86_FAR) return true;
	switch (in->op) {
	case X86_OP_cpuid: /* other values here and there */
	case X86_OP_rdtsc:
	case X86_OP_rdtscp:
	case X86_OP_rdpmc:
	case X86_OP_rdpid:
	case X86_OP_rdrand:
	case X86_OP_rdseed:
	case X86_OP_xgetbv:
	case X86_OP_xsave:
	case X86_OP_xsaveopt:
	case X86_OP_xsavec:
	case X86_OP_xsaves:
	case X86_OP_xrstor:
	case X86_OP_xrstors:
	case X86_OP_syscall: /* the kernel's */
	case X86_OP_sysret:
	case X86_OP_sysenter:
	case X86_OP_sysexit:
	case X86_OP_vmcall:
	case X86_OP_vmmcall:
	case X86_OP_monitor:
	case X86_OP_mwait:
	case X86_OP_xbegin: /* not offered to guests */
	case X86_OP_xabort:
	case X86_OP_xend:
	case X86_OP_xtest:
	case X86_OP_rdpkru:
	case X86_OP_wrpkru:
	case X86_OP_invept:
	case X86_OP_invvpid:
	case X86_OP_invpcid:
	case X86_OP_getsec:
	case X86_OP_rsm:
	case X86_OP_serialize:
	case X86_OP_sgdt: /* what the kernel does for programs under UMIP */
	case X86_OP_sidt:
	case X86_OP_sldt:
	case X86_OP_str:
	case X86_OP_smsw:
	case X86_OP_verr: /* of descriptors */
	case X86_OP_verw:
	case X86_OP_lar:
	case X86_OP_lsl:
	case X86_OP_movts:
	case X86_OP_pops:
	case X86_OP_les:
	case X86_OP_lds:
	case X86_OP_lss:
	case X86_OP_lfs:
	case X86_OP_lgs:
	case X86_OP_callfi:
	case X86_OP_jmpfi:
	case X86_OP_callf:
	case X86_OP_jmpf:
	case X86_OP_retf:
	case X86_OP_iret: return true;
	default: return false;
	}
}
/* Does something else where CPL is 0. */
static inline bool oracle_is_user(const struct x86_insn *in)
{
	switch (in->op) {
	case X86_OP_popf:
	case X86_OP_cli:
	case X86_OP_sti:
	case X86_OP_ins:
	case X86_OP_outs:
	case X86_OP_movfs:
	case X86_OP_fxrstor:
	case X86_OP_fxsave:
	case X86_OP_wrfsbase:
	case X86_OP_wrgsbase: return true;
	case X86_OP_fldcw:
	case X86_OP_fldenv:
	case X86_OP_frstor:
	case X86_OP_fwait:
	case X86_OP_ldmxcsr:
	case X86_OP_vldmxcsr:
	case X86_OP_rdfsbase:
	case X86_OP_rdgsbase: return false;
	default: break;
	}
	return in->op > X86_OP_rdrand && !(in->op >= X86_OP_fld && in->op <= X86_OP_fidivr) &&
	       !(in->op >= X86_OP_fst && in->op <= X86_OP_ffreep) && in->op < X86_OP_movups &&
	       !(in->op >= X86_OP_ptest && in->op <= X86_OP_vtestpd) && in->op != X86_OP_ud2 &&
	       in->op != X86_OP_ud0 && in->op != X86_OP_ud1;
}
static inline bool oracle_is_dpp(const struct x86_insn *in)
{
	return in->op == X86_OP_dpps || in->op == X86_OP_dppd || in->op == X86_OP_vdpps ||
	       in->op == X86_OP_vdppd;
}
static inline bool oracle_is_gather(const struct x86_insn *in)
{
	return in->op >= X86_OP_vpgatherdd && in->op <= X86_OP_vgatherqpd;
}

/* ---- flags */

static inline bool oracle_is_shift(const struct x86_insn *in)
{
	return (in->op >= X86_OP_shl && in->op <= X86_OP_shrd);
}
/* Flags that have no defined value behind it. */
static inline unsigned oracle_open(const struct x86_insn *in, unsigned open)
{
	const struct x86_op_info *info = x86_op_info(in->op);
	unsigned bits = 8u * in->o[0].size;
	if (in->rep && (in->op == X86_OP_cmps || in->op == X86_OP_scas)) return open;
	if (!oracle_is_shift(in)) return (open & ~(unsigned)info->writes) | info->undefines;
	const struct x86_operand *o = &in->o[in->operands - 1u];
	unsigned n = (unsigned)in->imm & (bits == 64 ? 63 : 31);
	if (o->kind != X86_IMM) return open | X86_OF | info->undefines | X86_CF;
	if (!n) return open;
	open = (open & ~(unsigned)info->writes) | info->undefines;
	if (n > 1) open |= X86_OF;
	return n >= bits ? open | X86_CF : open;
}
/* Flags that count before it, if `live` do behind it. */
static inline unsigned oracle_live(const struct x86_insn *in, unsigned live)
{
	const struct x86_op_info *info = x86_op_info(in->op);
	unsigned kills = info->writes | info->undefines;
	if (oracle_is_shift(in)) {
		const struct x86_operand *o = &in->o[in->operands - 1u];
		if (o->kind != X86_IMM || !(in->imm & (in->o[0].size == 8 ? 63 : 31))) kills = 0;
	}
	if (in->rep && (in->op == X86_OP_cmps || in->op == X86_OP_scas)) kills = 0;
	return ((live & ~kills) | info->reads) & X86_ARITH;
}
static inline bool oracle_goes_on(const struct x86_insn *in)
{
	return in->op != X86_OP_jmp && in->op != X86_OP_jmpi && in->op != X86_OP_ret &&
	       in->op != X86_OP_call && in->op != X86_OP_calli && in->op != X86_OP_ud2;
}
/* Both for all steps. False: the program depends on flags without a defined value. */
static inline bool oracle_flags(struct prog *p)
{
	for (unsigned k = 0; k < p->n; k++) p->step[k].open = p->step[k].live = 0;
	for (unsigned k = 0; k < p->n; k++) {
		struct step *s = &p->step[k];
		const struct x86_insn *in = &s->in;
		if (x86_op_info(in->op)->reads & s->open) return false;
		if (in->op == X86_OP_pushf && s->open) return false;
		unsigned open = oracle_open(in, s->open);
		if (s->to >= 0 && s->to <= (int)k && open & ~p->step[s->to].open) return false;
		if (s->to >= 0) p->step[s->to].open |= (uint16_t)open;
		if (k + 1 < p->n && oracle_goes_on(in)) p->step[k + 1].open |= (uint16_t)open;
		/* A ret may come here. */
		if (k + 1 < p->n && (in->op == X86_OP_call || in->op == X86_OP_calli))
			p->step[k + 1].open = X86_ARITH;
	}
	for (unsigned k = p->n; k-- > 0;) {
		struct step *s = &p->step[k];
		unsigned live = s->to == ANYWHERE || k + 1 == p->n ? X86_ARITH : 0;
		if (s->to >= 0) live |= p->step[s->to].live;
		if (k + 1 < p->n && oracle_goes_on(&s->in)) live |= p->step[k + 1].live;
		s->live = (uint16_t)oracle_live(&s->in, live);
	}
	return true;
}

/* ---- building */

/* NULL: no room. */
static inline struct step *oracle_add(struct prog *p, const uint8_t *bytes)
{
	struct step *s = &p->step[p->n];
	if (p->n == STEPS || p->len + 32 > CODE_ROOM) return NULL;
	if (x86_decode(&s->in, bytes, 16, X86_64) != X86_OK) return NULL;
	s->off = (uint16_t)p->len;
	s->to = NOWHERE;
	memcpy(p->code + p->len, bytes, s->in.len);
	p->len += s->in.len;
	p->n++;
	return s;
}
static inline struct step *oracle_mov(struct prog *p, unsigned reg, uint64_t val)
{
	uint8_t b[16] = {(uint8_t)(0x48 | reg >> 3), (uint8_t)(0xb8 | (reg & 7))};
	memcpy(b + 2, &val, 8);
	return oracle_add(p, b);
}
/* Have reg be val here. */
static inline void oracle_set(struct prog *p, unsigned reg, uint64_t val)
{
	if (p->used)
		(void)oracle_mov(p, reg, val);
	else
		p->r[reg] = val;
}
static inline uint64_t oracle_address(unsigned size, bool low)
{
	uint64_t r = next();
	uint64_t view = oracle_view[(r >> 8) % COUNT(oracle_view)], off;
	if (low) view = oracle_view[r >> 16 & 1 ? 0 : 3];
	switch (r & 15) {
	case 0:
	case 1: off = X86_PAGE - (r >> 20) % (size + 2); break;	    /* from page to page */
	case 2: off = 2 * X86_PAGE - (r >> 20) % (size + 2); break; /* into nothing */
	case 3: off = 3 * X86_PAGE - (r >> 20) % (size + 2); break;
	case 4: off = 3 * X86_PAGE + (r >> 20) % X86_PAGE; break; /* for reading */
	case 5: off = VIEW_BYTES - (r >> 20) % (size + 2); break;
	case 6: off = (r >> 20) % VIEW_BYTES; break;
	default: off = (r >> 20) % (2 * X86_PAGE - 64);
	}
	if (r >> 4 & 1) off &= ~31ull;
	return view + off;
}
static inline uint64_t oracle_near(const struct prog *p, unsigned size)
{
	for (unsigned k = 0; k < COUNT(oracle_code); k++)
		if (p->base - oracle_code[k] < CODE_BYTES)
			return oracle_view[k] + (oracle_address(size, true) & (VIEW_BYTES - 1));
	return 0;
}
/* In its view. */
static inline uint64_t oracle_offset(uint64_t at)
{
	for (unsigned k = 0; k < COUNT(oracle_view); k++)
		if (at - oracle_view[k] < VIEW_BYTES) return at - oracle_view[k];
	return 0;
}
/* Points the memory operand where there is memory, mostly. */
static inline void oracle_aim(struct prog *p, const struct x86_insn *in, uint8_t *bytes)
{
	int op = x86_mem_operand(in);
	unsigned size = op >= 0 && in->o[op].size ? in->o[op].size : 32;
	bool vsib = oracle_is_gather(in), narrow = in->asize == 4;
	uint64_t to = oracle_address(size, narrow), index = 0;
	int64_t disp = in->disp;
	if (in->seg == X86_FS) to -= p->fs;
	if (in->seg == X86_GS) to -= p->gs;
	if (next() % 16 == 0 || (p->used && next() % 3 == 0)) return;
	if (in->base < 16 && in->disp_len == 4 && next() & 1) {
		int32_t d = (int32_t)(next() % 0x3000) - 0x1800;
		memcpy(bytes + in->disp_at, &d, 4);
		disp = d;
	}
	if (in->index < 16 && !vsib) {
		index = next() & 1 ? next() & 63 : corner();
		if (in->base == in->index)
			oracle_set(p, in->base, (to - (uint64_t)disp) / (in->scale + 1u));
		else
			oracle_set(p, in->index, index);
		index *= in->scale;
	}
	if (in->base < 16 && in->base != in->index)
		oracle_set(p, in->base, to - index - (uint64_t)disp);
	else if (in->index < 16 && in->base == X86_NOREG && !vsib)
		oracle_set(p, in->index, (to - (uint64_t)disp) / in->scale);
	if (in->base == X86_RIP) {
		disp = (int64_t)(oracle_near(p, size) - (p->base + p->len + in->len));
		memcpy(bytes + in->disp_at, &disp, 4);
	} else if (in->base == X86_NOREG && in->index == X86_NOREG) {
		uint64_t at = in->disp_len == 8 ? to : oracle_address(size, true);
		memcpy(bytes + in->disp_at, &at, in->disp_len);
		if (in->imm_len == 8) memcpy(bytes + in->imm_at, &to, 8);
	}
}
/* Indexes of a gather: small, but for one now and then. */
static inline void oracle_aim_gather(struct prog *p, const struct x86_insn *in)
{
	for (unsigned i = 0; i < 32; i += 4) {
		uint8_t *at = p->x.bytes + (i < 16 ? X_XMM : X_YMM - 16) + 16u * in->index + i;
		int64_t v = (int64_t)(next() % 64) - 32;
		if (x86_opcode(in) & 1 && i % 8) v = (int32_t)load_le(at - 4, 4) < 0 ? -1 : 0;
		store_le(at, next() % 64 ? (uint64_t)v : next() % 9999, 4);
	}
}
/* Other registers that make sense of the instruction. */
static inline void oracle_aim_rest(struct prog *p, const struct x86_insn *in, uint8_t *bytes)
{
	uint64_t a = oracle_address(8, in->asize == 4), b = oracle_address(8, in->asize == 4);
	switch (in->op) {
	case X86_OP_movs:
	case X86_OP_cmps:
	case X86_OP_scas:
	case X86_OP_stos:
	case X86_OP_lods:
	case X86_OP_ins:
	case X86_OP_outs:
		if (next() & 1) b = a + next() % 64 - 32; /* they overlap */
		/* Not so that only the memory is the same: CPUs move many bytes at once then. */
		if (in->rep && in->op == X86_OP_movs) b = a - oracle_offset(a) + oracle_offset(b);
		oracle_set(p, RSI,
			   in->seg == X86_FS   ? a - p->fs
			   : in->seg == X86_GS ? a - p->gs
					       : a);
		oracle_set(p, RDI, b);
		if (in->rep) {
			uint64_t n = next() & 7 ? next() % 40 : next() % 2000;
			oracle_set(p, RCX, n | (in->asize == 4 ? next() << 32 : 0));
		}
		break;
	case X86_OP_xlat: oracle_set(p, RBX, a - (next() & 0xff)); break;
	case X86_OP_maskmovq:
	case X86_OP_maskmovdqu:
	case X86_OP_vmaskmovdqu: oracle_set(p, RDI, a); break;
	case X86_OP_leave: oracle_set(p, RBP, a); break;
	case X86_OP_loop:
	case X86_OP_loope:
	case X86_OP_loopne:
	case X86_OP_jcxz: oracle_set(p, RCX, next() & 3 ? next() % 3 : next()); break;
	case X86_OP_bt:
	case X86_OP_bts:
	case X86_OP_btr:
	case X86_OP_btc:
		if (in->has_mem && in->o[1].kind == X86_REG && in->o[1].reg != in->base &&
		    in->o[1].reg != in->index)
			oracle_set(p, in->o[1].reg,
				   (uint64_t)((int64_t)next() >> (49 + next() % 15)));
		break;
	case X86_OP_int: bytes[in->imm_at] &= 31; break;
	default: break;
	}
	if (oracle_is_gather(in) && !p->used) oracle_aim_gather(p, in);
}
/* test al, al or so: all flags but AF have values then; cmp: AF too. */
static inline void oracle_compare(struct prog *p)
{
	static const uint8_t cmp[16] = {0x48, 0x39, 0xc8};
	(void)oracle_add(p, cmp);
}
/* ---- branches */

/* Branches that are to lead to a part of the program: its number, or parts behind the last. */
struct branch {
	uint8_t step, part, at, len; /* where in its bytes the number goes */
	bool relative;
};
struct plan {
	struct branch b[32];
	unsigned n, parts, first[16]; /* steps where parts begin */
};
static inline void oracle_branch(struct plan *l, const struct prog *p, unsigned part, unsigned at,
				 unsigned len, bool relative)
{
	if (l->n == COUNT(l->b)) return;
	l->b[l->n++] = (struct branch){(uint8_t)(p->n - 1), (uint8_t)part, (uint8_t)at,
				       (uint8_t)len, relative};
}
static inline void oracle_branch_of(struct plan *l, struct prog *p, const struct step *s,
				    unsigned part)
{
	if (s && s->in.operands && s->in.o[0].kind == X86_REL)
		oracle_branch(l, p, part, s->in.imm_at, s->in.imm_len, true);
}
enum { NO_FORM = 0 };
/* An instruction of that form, or of any; if it is a branch, to that part. */
static inline struct step *oracle_any(struct prog *p, struct plan *l, unsigned form, unsigned part)
{
	for (unsigned k = 0; k < 50; k++) {
		uint8_t b[32] = {0};
		struct x86_insn in;
		unsigned f = form ? form : 1 + (unsigned)(next() % (x86_form_count() - 1));
		if (!x86_form_bytes(f, X86_64, b, next) ||
		    x86_decode(&in, b, 16, X86_64) != X86_OK || oracle_is_foreign(&in))
			continue;
		if (in.has_mem) oracle_aim(p, &in, b);
		oracle_aim_rest(p, &in, b);
		struct step *s = oracle_add(p, b);
		p->used = true;
		if (!s) return NULL;
		p->user |= oracle_is_user(&s->in);
		p->signals |= s->in.op == X86_OP_popf;
		if (s->in.op == X86_OP_jmpi || s->in.op == X86_OP_calli || s->in.op == X86_OP_ret)
			s->to = ANYWHERE;
		oracle_branch_of(l, p, s, part);
		if (oracle_is_dpp(&s->in)) store_le(p->x.bytes + X_MXCSR, 0x1f80, 4);
		return s;
	}
	return NULL;
}

/* ---- programs */

/* mov reg, part; then jmp reg, call reg, or push reg and ret */
static inline void oracle_indirect(struct prog *p, struct plan *l, unsigned part)
{
	static const uint8_t how[3] = {0xe0, 0xd0, 0};
	unsigned reg = next() & 15, n = (unsigned)(next() % 3), d = reg == RSP ? RAX : reg;
	if (!oracle_mov(p, d, 0)) return;
	oracle_branch(l, p, part, 2, 8, false);
	uint8_t b[16] = {0x40 | (uint8_t)(d >> 3), 0xff, (uint8_t)(how[n] | (d & 7))};
	if (n == 2) b[1] = (uint8_t)(0x50 | (d & 7));
	struct step *s = oracle_add(p, b);
	if (n == 2) s = oracle_add(p, (const uint8_t[16]){0xc3});
	if (!s) return;
	s->to = ANYWHERE;
	oracle_branch(l, p, part, 0, 0, false);
}
/* A loop: mov ecx, n; cmp; body; dec ecx, or lea; jnz back */
static inline void oracle_loop(struct prog *p, struct plan *l, unsigned part)
{
	oracle_set(p, RCX, 1 + next() % 4);
	oracle_compare(p);
	unsigned head = p->n;
	(void)oracle_any(p, l, NO_FORM, part);
	if (next() & 1) (void)oracle_any(p, l, NO_FORM, part);
	oracle_compare(p);
	uint8_t loop[16] = {0xe2}, jnz[16] = {0x75};
	if (next() & 1) (void)oracle_add(p, (const uint8_t[16]){0xff, 0xc9});
	bool plain = p->n && p->step[p->n - 1].in.op == X86_OP_dec;
	int back = (int)p->step[head].off - (int)(p->len + 2);
	loop[1] = jnz[1] = (uint8_t)back;
	if (back < -128 || head >= p->n) return;
	struct step *s = oracle_add(p, plain ? jnz : loop);
	if (s) s->to = (int16_t)head;
}
static inline void oracle_part(struct prog *p, struct plan *l, unsigned part)
{
	unsigned ahead = part + 1 + (unsigned)(next() % 3);
	uint8_t b[16] = {0};
	struct step *s;
	switch (next() % 16) {
	case 0: /* jcc */
	case 5:
	case 6:
		b[0] = 0x0f, b[1] = (uint8_t)(0x80 | (next() & 15));
		s = oracle_add(p, next() & 1 ? b : (const uint8_t[16]){0x70 | (b[1] & 15)});
		oracle_branch_of(l, p, s, ahead);
		break;
	case 1:
		b[0] = next() & 1 ? 0xe8 : 0xe9;
		s = oracle_add(p, b);
		oracle_branch_of(l, p, s, ahead);
		break;
	case 2: oracle_indirect(p, l, ahead); break;
	case 3: oracle_loop(p, l, ahead); break;
	case 4:
		(void)oracle_mov(p, next() & 15, next() & 1 ? oracle_address(8, false) : corner());
		break;
	default:
		s = oracle_any(p, l, NO_FORM, ahead);
		if (s && oracle_open(&s->in, 0) && next() % 8) oracle_compare(p);
	}
	p->used = true;
}
static inline bool oracle_link(struct prog *p, struct plan *l)
{
	for (unsigned k = 0; k < l->n; k++) {
		const struct branch *b = &l->b[k];
		struct step *s = &p->step[b->step];
		unsigned to = b->part < l->parts ? l->first[b->part] : p->n - 1;
		int64_t at = p->step[to].off, by = at - (s->off + s->in.len);
		if (b->relative && b->len == 1 && by != (int8_t)by) return false;
		if (!b->relative) by = (int64_t)p->base + at;
		memcpy(p->code + s->off + b->at, &by, b->len);
		if (b->relative || !b->len) s->to = (int16_t)to;
		if (b->relative) s->in.imm = by;
	}
	return true;
}
static inline void oracle_state(struct prog *p)
{
	uint64_t r = next();
	uint64_t code = oracle_code[r % COUNT(oracle_code)];
	p->base =
		code + (r & 0x300 ? (r >> 16) % (X86_PAGE - CODE_ROOM) : X86_PAGE - (r >> 16) % 64);
	for (unsigned k = 0; k < 16; k++)
		p->r[k] = next() & 1 ? corner() : oracle_address(8, false);
	p->r[RSP] = oracle_view[(r >> 32) % COUNT(oracle_view)] + X86_PAGE / 2 + (r >> 36 & 0xff8);
	if (!(r >> 48 & 7)) p->r[RSP] = oracle_address(8, false);
	if (!(r >> 48 & 127)) p->r[RSP] = corner();
	p->fs = next() & 7 ? oracle_address(8, false) : corner();
	p->gs = next() & 7 ? oracle_address(8, false) : corner();
	if (!x86_canonical(p->fs)) p->fs = 0;
	if (!x86_canonical(p->gs)) p->gs = 0;
	p->flags = 0x202 | (next() & X86_ARITH);
	if (!(r >> 56 & 7)) p->flags |= X86_DF;
	if (!(r >> 56 & 63)) p->flags |= X86_AC, p->user = p->signals = true;
	x86_random_xarea(&p->x);
}
static uint64_t oracle_pool[3][DATA_BYTES / 8];
static inline void oracle_pool_make(void)
{
	seed = 5;
	for (unsigned k = 0; k < DATA_BYTES / 8; k++) {
		oracle_pool[0][k] = next() & 7 ? next() >> (next() & 63) : oracle_address(8, false);
		oracle_pool[1][k] = x86_random_float();
		oracle_pool[2][k] = corner();
	}
}
static inline void oracle_data(struct prog *p)
{
	memcpy(p->data, oracle_pool[next() % 3], DATA_BYTES);
	for (unsigned k = 0; k < 48; k++) {
		uint64_t v = next() & 3 ? corner() : x86_random_float();
		store_le(p->data + next() % (DATA_BYTES / 8) * 8, v, 8);
	}
	if (next() & 7) return;
	uint32_t mxcsr = next() & 0xffff;
	for (unsigned i = 0; i + 4 <= DATA_BYTES; i += 8 + (unsigned)(next() & 8))
		store_le(p->data + i, mxcsr, 4);
}
/* It stores where x87's last operand was, which translated code tells as one of the addresses of
 * that memory. */
static inline bool oracle_tells_pointer(const struct prog *p)
{
	enum { X87 = 0xd8 >> 3 };
	bool has = false, tells = false;
	for (unsigned k = 0; k < p->n; k++) {
		const struct x86_insn *in = &p->step[k].in;
		bool is = in->op == X86_OP_fnsave || in->op == X86_OP_fnstenv ||
			  in->op == X86_OP_fxsave;
		has |= in->has_mem && !is && x86_opcode(in) >> 3 == X87;
		tells |= is;
	}
	return has && tells;
}
static inline bool oracle_has_dpp(const struct prog *p)
{
	bool dpp = false, loads = false;
	for (unsigned k = 0; k < p->n; k++) {
		const struct x86_insn *in = &p->step[k].in;
		dpp |= oracle_is_dpp(in);
		loads |= in->op == X86_OP_ldmxcsr || in->op == X86_OP_vldmxcsr ||
			 in->op == X86_OP_fxrstor;
	}
	return dpp && loads;
}
/* ud2; or jmp [rip + 0], which is the way out for the host, and leads to nothing in a guest. */
static inline void oracle_end(struct prog *p)
{
	static const uint8_t ud2[16] = {0x0f, 0x0b}, jmp[16] = {0xff, 0x25};
	struct step *end = oracle_add(p, p->signals ? ud2 : jmp);
	end->to = ANYWHERE;
	if (p->signals) return;
	store_le(p->code + p->len, oracle_out, 8);
	p->len += 8;
}
/* Of every second seed, one instruction of the seed's form. False: nothing came of it. */
static inline bool oracle_make(struct prog *p, uint64_t from)
{
	struct plan l = {0};
	seed = from * 0x9e3779b97f4a7c15;
	oracle_data(p);
	p->seed = from;
	p->n = p->len = 0;
	p->user = p->signals = p->used = false;
	oracle_state(p);
	unsigned form = 1 + (unsigned)(from / 2 % (x86_form_count() - 1));
	if (!oracle_any(p, &l, form, 1 + (unsigned)(next() % 3))) return false;
	l.parts = 1;
	unsigned parts = from & 1 ? 2 + (unsigned)(next() % 11) : 1;
	for (; l.parts < parts && p->n + 16 < STEPS && p->len + 160 < CODE_ROOM; l.parts++) {
		l.first[l.parts] = p->n;
		oracle_part(p, &l, l.parts);
	}
	oracle_end(p);
	return oracle_link(p, &l) && oracle_flags(p) && !oracle_has_dpp(p) &&
	       !oracle_tells_pointer(p);
}
#endif
