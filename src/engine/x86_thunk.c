/* Between translated code and C: the way in, the way out, and the calls in between, which put the
 * guest's registers where C finds them. Made once for each cache. */
#include "engine/x86_check.h"
#include "engine/x86_code.h"

/* Guest registers that are in the host's, and where they are. */
static void gprs(struct x64_asm *a, bool load)
{
	for (unsigned g = 0; g < 16; g++) {
		if (x86_host_of(g) == NOREG) continue;
		if (load)
			mov_load(a, OP_W, x86_host_of(g), x86_reg_slot(g));
		else
			mov_store(a, OP_W, x86_reg_slot(g), x86_host_of(g));
	}
}
enum { VMOVDQU = 0x6f, VMOVDQU_TO = 0x7f, L256 = 4 };
/* VEX.256: as vex_rm(), three bytes, then the bit that says so. */
static void ymm(struct x64_asm *a, uint32_t op, unsigned reg, unsigned v, struct rm rm)
{
	uint8_t *at = a->p;
	vex_rm(a, op, reg, v, rm, 0);
	at[at[0] == 0xc5 ? 1 : 2] |= L256;
}
static struct rm ymm_at(unsigned i)
{
	struct rm m = V_AT(fast.ymm);
	m.disp += 32 * (int32_t)i;
	return m;
}
static void vzeroupper(struct x64_asm *a) { put8(a, 0xc5), put8(a, 0xf8), put8(a, 0x77); }
/* All of YMM to memory, and whether any upper half has anything: loading halves that are 0 would
 * make each legacy SSE instruction behind it slow (Intel, Optimization Manual 15.3.2). */
static void vectors_leave(struct x64_asm *a)
{
	for (unsigned i = 0; i < 16; i++) ymm(a, OP(0xf3, 1, VMOVDQU_TO), i, 0, ymm_at(i));
	for (unsigned by = 8; by; by /= 2)
		for (unsigned i = 0; i < by; i++)
			ymm(a, OP(0x66, 1, 0xeb), i, i, rm_reg(i + by)); /* vpor */
	/* vextractf128 xmm1, ymm0, 1; vpsadbw to one number; vmovq */
	put8(a, 0xc4), put8(a, 0xe3), put8(a, 0x7d), put8(a, 0x19), put8(a, 0xc1), put8(a, 1);
	vex_rm(a, OP(0x66, 1, 0x15), 0, 1, rm_reg(1), 0); /* vunpckhpd: the upper 64 bits */
	vex_rm(a, OP(0x66, 1, 0xeb), 0, 0, rm_reg(1), 0);
	vex_rm(a, OP(0x66, 1, 0xd6), 0, 0, V_AT(fast.upper), 0);
	vzeroupper(a);
}
static void vectors_enter(struct x64_asm *a)
{
	alu_imm(a, ALU_CMP, OP_W, V_AT(fast.upper), 0);
	uint8_t *dirty = jcc_later(a, CC_NE);
	for (unsigned i = 0; i < 16; i++) vex_rm(a, OP(0xf3, 1, VMOVDQU), i, 0, ymm_at(i), 0);
	uint8_t *done = jump_later(a);
	set_rel32(dirty, a->p);
	for (unsigned i = 0; i < 16; i++) ymm(a, OP(0xf3, 1, VMOVDQU), i, 0, ymm_at(i));
	set_rel32(done, a->p);
}
/* What sanitizers put into code may use vectors. */
#ifdef LODGE_SAN
enum { LIGHT = 0 };
#else
enum { LIGHT = 1 };
#endif
static void call_c(struct x64_asm *a, uintptr_t fn)
{
	mov_imm(a, RAX, fn);
	op_rm(a, OP(0, 0, 0xff), 2, rm_reg(RAX), 0);
}
static void call_with_state(struct x64_asm *a, uintptr_t fn)
{
	mov_rr(a, OP_W, RDI, RSP);
	mov_rr(a, OP_W, RSI, S1);
	mov_rr(a, 0, RDX, S2);
	mov_load(a, OP_W, RCX, V_AT(fast.go));
	call_c(a, fn);
}
/* What a block has done before the instruction that the thunk is about. */
static void count(struct x64_asm *a)
{
	mov_rr(a, OP_W, RAX, S2);
	shift_imm(a, SH_SHR, OP_W, RAX, INFO_DONE);
	mov_store(a, OP_W, V_AT(fast.lag), RAX);
	mov_load(a, OP_W, RCX, V_AT(fast.left));
	alu_rr(a, ALU_SUB, OP_W, RCX, RAX);
	mov_store(a, OP_W, V_AT(fast.left), RCX);
}
/* light: of x86_light.c, tried first; 0: none. */
static void thunk(struct x86_jit *j, struct x64_asm *a, enum thunk which, uintptr_t fn,
		  uintptr_t light)
{
	uint8_t *done = NULL;
	j->thunk[which] = a->p;
	op_rm(a, OP(0, 0, 0x8f), 0, V_AT(fast.go), 0); /* pop: rsp is the vCPU's again behind it */
	gprs(a, false);
	put8(a, 0xfc); /* cld */
	if (j->counts) count(a);
	if (light) {
		mov_store(a, OP_W, V_AT(fast.save[0]), S1); /* C may use them */
		mov_store(a, OP_W, V_AT(fast.save[1]), S2);
		call_with_state(a, light);
		op_rm(a, OP(0, 0, 0x85) + OP_W, RAX, rm_reg(RAX), 0); /* test */
		done = jcc_later(a, CC_NE);
		mov_load(a, OP_W, S1, V_AT(fast.save[0]));
		mov_load(a, OP_W, S2, V_AT(fast.save[1]));
	}
	vectors_leave(a);
	call_with_state(a, fn);
	mov_store(a, OP_W, V_AT(fast.go), RAX);
	vectors_enter(a);
	uint8_t *go = jump_later(a);
	if (done) {
		set_rel32(done, a->p);
		mov_store(a, OP_W, V_AT(fast.go), RAX);
	}
	set_rel32(go, a->p);
	gprs(a, true);
	mov_load(a, OP_W, S1, V_AT(fast.save[0]));
	mov_load(a, OP_W, S2, V_AT(fast.save[1]));
	op_rm(a, OP(0, 0, 0xff), 4, V_AT(fast.go), 0);
}
static const uint8_t kept[] = {RBX, RBP, R12, R13, R14, R15};
static void push_pop(struct x64_asm *a, unsigned r, bool pop)
{
	if (r >= 8) put8(a, 0x41);
	put8(a, (pop ? 0x58u : 0x50u) | (r & 7));
}
/* Nothing is lost, flags neither: it comes in the middle of instructions. */
static void log_thunk(struct x86_jit *j, struct x64_asm *a)
{
	static const uint8_t lost[] = {RAX, RCX, RDX, RSI, RDI, R8, R9, R10, R11};
	enum { PUSHED = 8 * (1 + COUNT(lost)) };
	_Static_assert(PUSHED % 16 == 0, "C wants its stack so");
	j->log = a->p;
	op_rm(a, OP(0, 0, 0x8f), 0, V_AT(fast.log_go), 0);
	put8(a, 0x9c); /* pushf */
	for (unsigned k = 0; k < COUNT(lost); k++) push_pop(a, lost[k], false);
	put8(a, 0xfc); /* cld */
	lea(a, OP_W, RDI, rm_mem(RSP, PUSHED));
	mov_rr(a, OP_W, RSI, RAX);
	mov_load(a, OP_W, RDX, rm_mem(RDI, (int32_t)offsetof(struct x86_vcpu, fast.log_bytes)));
	call_c(a, (uintptr_t)x86_check_note);
	for (unsigned k = COUNT(lost); k-- > 0;) push_pop(a, lost[k], true);
	put8(a, 0x9d); /* popf */
	mov_load(a, OP_W, RAX, V_AT(fast.log_rax));
	op_rm(a, OP(0, 0, 0xff), 4, V_AT(fast.log_go), 0);
}
void x86_thunks_make(struct x86_jit *j, struct x64_asm *a)
{
	typedef const void *called(struct x86_vcpu *, uint64_t, uint32_t, const uint8_t *);
	static const struct {
		called *fn, *light;
	} fn[THUNKS] = {
		[THUNK_MEM] = {x86_jit_thunk_mem, NULL},
		[THUNK_STEP] = {x86_jit_thunk_step, NULL},
		[THUNK_END] = {x86_jit_thunk_end, NULL},
		[THUNK_LINK] = {x86_jit_thunk_link, NULL},
		[THUNK_MISS] = {x86_jit_thunk_miss, x86_light_miss},
		[THUNK_REP] = {x86_jit_thunk_rep, x86_light_rep},
		[THUNK_OUT] = {x86_jit_thunk_out, NULL},
		[THUNK_CROSS] = {x86_jit_thunk_cross, NULL},
		[THUNK_POLL] = {x86_jit_thunk_poll, NULL},
		[THUNK_SYSCALL] = {x86_jit_thunk_end, x86_light_syscall},
		[THUNK_SYSRET] = {x86_jit_thunk_end, x86_light_sysret},
	};
	uint8_t *in = a->p; /* rdi: the vCPU, rsi: where to */
	for (unsigned k = 0; k < COUNT(kept); k++) push_pop(a, kept[k], false);
	mov_store(a, OP_W, rm_mem(RDI, (int32_t)offsetof(struct x86_vcpu, fast.host_sp)), RSP);
	mov_rr(a, OP_W, RSP, RDI);
	mov_store(a, OP_W, V_AT(fast.go), RSI);
	vectors_enter(a);
	gprs(a, true);
	op_rm(a, OP(0, 0, 0xff), 4, V_AT(fast.go), 0);
	j->leave = a->p;
	mov_load(a, OP_W, RSP, V_AT(fast.host_sp));
	for (unsigned k = COUNT(kept); k-- > 0;) push_pop(a, kept[k], true);
	vzeroupper(a);
	put8(a, 0xc3);
	for (unsigned t = 0; t < THUNKS; t++) {
		bool light = LIGHT && (!j->counts || t == THUNK_MISS); /* others do instructions */
		thunk(j, a, t, (uintptr_t)fn[t].fn, light ? (uintptr_t)fn[t].light : 0);
	}
	if (j->check) log_thunk(j, a);
	j->miss = a->p;
	call_to(a, j->thunk[THUNK_MISS]);
	const uint8_t *enter = j->rx + (in - j->rw);
	memcpy(&j->enter, &enter, sizeof(enter));
}
