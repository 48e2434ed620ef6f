#ifndef ENGINE_X86_VECTOR_IMPL_H
#define ENGINE_X86_VECTOR_IMPL_H
#include "base/types.h"
#include "engine/x86_vector.h"
/* Shared by x86_vector*.c only. */
/* Guest memory, at linear addresses: x86_mmu.c's, or what tests put here. */
struct x86_vector_memory {
	int (*load)(struct x86_vcpu *v, uint64_t la, void *to, unsigned n, enum x86_view as);
	int (*store)(struct x86_vcpu *v, uint64_t la, const void *from, unsigned n,
		     enum x86_view as);
	int (*probe)(struct x86_vcpu *v, uint64_t la, unsigned n, unsigned access,
		     enum x86_view as);
};
extern struct x86_vector_memory x86_vector_memory;
static inline int x86_vector_load(struct x86_vcpu *v, uint64_t la, void *to, unsigned n)
{
	int e = x86_vector_memory.load(v, la, to, n, (enum x86_view)v->view);
	if (!e) x86_watched(v, la, n, false);
	return e;
}
static inline int x86_vector_store(struct x86_vcpu *v, uint64_t la, const void *from, unsigned n)
{
	int e = x86_vector_memory.store(v, la, from, n, (enum x86_view)v->view);
	if (!e) x86_watched(v, la, n, true);
	return e;
}
/* Outside 64 bit mode linear addresses wrap at 4 GiB. */
static inline uint64_t x86_la(const struct x86_vcpu *v, uint64_t la)
{
	return v->mode == X86_64 ? la : (uint32_t)la;
}
/* May it be written? */
static inline int x86_vector_probe(struct x86_vcpu *v, uint64_t la, unsigned n)
{
	return x86_vector_memory.probe(v, la, n, X86_W, (enum x86_view)v->view);
}

enum { X86_TRAP_NM = X86_TRAP + 7, X86_TRAP_MF = X86_TRAP + 16, X86_TRAP_XM = X86_TRAP + 19 };
/* struct x86_xarea: SDM 1, table 13-1 and 13.4. */
enum {
	X_FCW = 0,
	X_FSW = 2,
	X_FTW = 4,
	X_FOP = 6,
	X_FIP = 8,
	X_FDP = 16,
	X_MXCSR = 24,
	X_MXCSR_MASK = 28,
	X_ST = 32,
	X_XMM = 160,
	X_HEADER = 512,
	X_YMM = 576,
};
extern bool x86_vector_has_avx; /* of the host, and its kernel saves it */

/* What a stub takes and gives; the stubs know the offsets. */
struct x86_native {
	uint64_t ax, dx, cx, flags;  /* the general register operand is RAX */
	uint32_t mxcsr, trap, usual; /* trap: exceptions at which no register is written */
	uint32_t spare[5];
	_Alignas(64) uint8_t mem[128]; /* the memory operand */
	_Alignas(64) uint8_t fx[512];  /* FXSAVE64 image, for x87 and MMX */
};
/* Features of the host that an instruction can need. */
enum x86_need {
	NEED_NOTHING, /* SSE2 */
	NEED_SSE3,
	NEED_SSSE3,
	NEED_SSE41,
	NEED_SSE42,
	NEED_AES,
	NEED_PCLMUL,
	NEED_SHA,
	NEED_AVX,
	NEED_AVX2,
	NEED_FMA,
	NEED_F16C,
	NEED_VAES,
	NEED_VPCLMUL,
};
/* An instruction of which only what makes its stub is left. */
struct x86_stub {
	uint64_t key; /* 0: none */
	void (*run)(uint8_t *area, struct x86_native *c);
	const void *insn; /* where the instruction is, as x87 sees it */
	uint8_t modrm;	  /* as it stands there */
	bool floats;	  /* uses MXCSR */
	bool here;	  /* the host can */
};
/* Belongs to a thread and goes with it. */
struct x86_native *x86_native(void); /* NULL: no memory */
/* After x86_native(), never NULL. x87: state is in c->fx, not in the area's registers. */
const struct x86_stub *x86_stub_get(const struct x86_insn *in, bool x87);
/* The number of the operand that is memory; -1: none. */
static inline int x86_mem_operand(const struct x86_insn *in)
{
	for (int i = 0; i < in->operands; i++)
		if (in->o[i].kind == X86_MEM) return i;
	return -1;
}
unsigned x86_opcode(const struct x86_insn *in); /* map << 8 | opcode; a VEX form's has OPCODE_VEX */
unsigned x86_pfx(const struct x86_insn *in);	/* its mandatory prefix */
enum { PFX_NONE, PFX_66, PFX_F3, PFX_F2 };
enum { OPCODE_VEX = 0x400 };
bool x86_uses_mxcsr(const struct x86_insn *in);

/* x86_vector_state.c: what moves the whole state. X86_OTHER: not one of them. */
int x86_do_state(struct x86_vcpu *v, const struct x86_insn *in);
/* fnstenv fldenv fnsave frstor */
int x86_do_env(struct x86_vcpu *v, const struct x86_insn *in);
/* x86_vector_mem.c: those that look at memory element by element. X86_OTHER: not one of them. */
int x86_do_elements(struct x86_vcpu *v, const struct x86_insn *in);
void x86_enter_mmx(struct x86_vcpu *v);
int x86_load_long(struct x86_vcpu *v, uint64_t la, void *to, unsigned n);
int x86_store_long(struct x86_vcpu *v, uint64_t la, const void *from, unsigned n);
/* Runs one of x87 or MMX on the state and on c->mem; c->fx is what came of it. */
const struct x86_stub *x86_run_x87(struct x86_vcpu *v, const struct x86_insn *in,
				   struct x86_native *c);
void x86_commit_x87(struct x86_vcpu *v, const struct x86_insn *in, const struct x86_stub *s,
		    const struct x86_native *c);
int x86_vector_done(struct x86_vcpu *v, const struct x86_insn *in); /* rip moves on */
int x86_may_x87(struct x86_vcpu *v);				    /* 0 or #NM, by CR0 */
int x86_may_sse(struct x86_vcpu *v);				    /* 0 or #UD, #NM */
int x86_may_avx(struct x86_vcpu *v);
void x86_settle_x87(uint8_t *area); /* ES and B follow from flags and masks */
#endif
