/* The meanings read once more: not for what they compute but for what they touch. */
#include "engine/rv64_effects.h"
#include "base/types.h"
#include "engine/rv64_vector.h"
#include "isa/rv64/csr.h"
#include <stdbool.h>

#define V	  __attribute__((unused)) const int
#define PURE(...) 0
#define XREG(m)	  (1ull << i->m & ~1ull)
#define FREG(m)	  (1ull << (i->m & 31))
#define USES_X(m) (e->use |= XREG(m), 0)
#define USES_F(m) (e->use |= FREG(m) << 32)
#define SETS_F(m) (e->def |= FREG(m) << 32, e->arith |= arith ? (uint32_t)FREG(m) : 0)
#define SINGLE(m) (e->single |= (uint32_t)FREG(m))
#define WIDE(m)	  (e->wide |= (uint32_t)FREG(m))
#define FLAG(f)	  (e->flags |= (unsigned)(f))
#define ROUNDS()                                                                                   \
	arith = true;                                                                              \
	e->rounds |= (uint8_t)(i->rm == 1 ? 0 : 1u << (i->rm & 7)) /* 1 truncates by itself */
#define RESULT(t) V t = 0

#define PC()	  0
#define NEXT_PC() 0
#define IMM()	  0
#define K(k)	  0
#define R(m)	  USES_X(m)
#define FRAW(m)	  (USES_F(m), raw_half(i) ? 0 : (WIDE(m), 0))
#define F64(m)	  (USES_F(m), WIDE(m), 0)
#define F32(m)	  (USES_F(m), SINGLE(m), 0)
#define F16(m)	  (USES_F(m), WIDE(m), 0)
#define FLI64(m)  0
#define FLI32(m)  0
#define FLI16(m)  0
#define ADD	  PURE
#define SUB	  PURE
#define MUL	  PURE
#define MULH	  PURE
#define MULHU	  PURE
#define MULHSU	  PURE
#define DIV	  PURE
#define DIVU	  PURE
#define REM	  PURE
#define REMU	  PURE
#define DIVW	  PURE
#define DIVUW	  PURE
#define REMW	  PURE
#define REMUW	  PURE
#define AND	  PURE
#define OR	  PURE
#define XOR	  PURE
#define NOT	  PURE
#define NEG	  PURE
#define SHL	  PURE
#define SHR	  PURE
#define SAR	  PURE
#define ROL	  PURE
#define ROR	  PURE
#define ROLW	  PURE
#define RORW	  PURE
#define EQ	  PURE
#define NE	  PURE
#define LT	  PURE
#define LE	  PURE
#define LTU	  PURE
#define LEU	  PURE
#define CLZ	  PURE
#define CTZ	  PURE
#define CPOP	  PURE
#define CLZW	  PURE
#define CTZW	  PURE
#define CPOPW	  PURE
#define ORCB	  PURE
#define REV8	  PURE
#define CLMUL	  PURE
#define CLMULH	  PURE
#define CLMULR	  PURE
#define SEL	  PURE
#define SX	  PURE
#define ZX	  PURE
#define LOAD(t, ...)                                                                               \
	RESULT(t);                                                                                 \
	FLAG(EFFECT_MEM)
#define LR(t, ...)  RESULT(t)
#define SC(t, ...)  RESULT(t)
#define AMO(t, ...) LOAD(t)
#define FOP1(t, ...)                                                                               \
	RESULT(t);                                                                                 \
	ROUNDS()
#define FOP2(t, ...)                                                                               \
	RESULT(t);                                                                                 \
	ROUNDS()
#define FOP3(t, ...)                                                                               \
	RESULT(t);                                                                                 \
	arith = true;                                                                              \
	e->fuses |= (uint8_t)(1u << (i->rm & 7))
#define FNR1(t, ...) RESULT(t)
#define FNR2(t, ...) RESULT(t)
#define SET(m, v)    e->def |= XREG(m)
#define SETF64(m, v) SETS_F(m), WIDE(m)
#define SETF32(m, v) SETS_F(m), SINGLE(m)
#define SETF16(m, v) SETS_F(m), WIDE(m)
#define STORE(...)   FLAG(EFFECT_MEM)
#define BR(...)	     FLAG(EFFECT_BR)
#define JUMP(...)    FLAG(EFFECT_JUMP)
#define GOTO(...)    FLAG(EFFECT_GOTO)
#define FP()	     e->fp = true
#define FENCE()	     (void)0
#define HELPER(name) FLAG(EFFECT_HELPER)
#define VECTOR(s, k) e->vector = true, e->shape = RV64_VS_##s, e->kernel = RV64_VK_##k
#define VMEM(s, b)   e->vector = true, e->shape = RV64_VS_##s, e->bits = (b)
#define STOP()	     FLAG(EFFECT_STOP)

/* Looks at the lower half of a register only, though the table says raw. */
static bool raw_half(const struct rv64_insn *i) { return i->op == OP_fsw || i->op == OP_fmv_x_w; }

/* Functions that a unit may call and go on: what they change is rd, modes and rights. */
static bool goes_on(const struct rv64_insn *i)
{
	switch ((enum rv64_op)i->op) {
	case OP_csrrw:
	case OP_csrrs:
	case OP_csrrc:
	case OP_csrrwi:
	case OP_csrrsi:
	case OP_csrrci:
	case OP_vsetvli:
	case OP_vsetivli:
	case OP_vsetvl:
	case OP_cbo_zero:
	case OP_pause: return true;
	default: return false;
	}
}

bool rv64_fp_csr(const struct rv64_insn *i)
{
	bool any = i->op >= OP_csrrw && i->op <= OP_csrrci,
	     swap = i->op == OP_csrrw || i->op == OP_csrrwi;
	if (any && i->imm == CSR_FFLAGS) return true;
	return any && (i->imm == CSR_FRM || i->imm == CSR_FCSR) && !swap && !i->rs1;
}
_Static_assert(OP_csrrci - OP_csrrw == 5, "in a row");

bool rv64_v_csr(const struct rv64_insn *i)
{
	return i->op == OP_csrrs && !i->rs1 && (i->imm == CSR_VL || i->imm == CSR_VLENB);
}

static bool is_vset(const struct rv64_insn *i)
{
	if (i->op != OP_vsetvli && i->op != OP_vsetivli) return false;
	int lmul = (i->imm & 7) - (i->imm << 1 & 8), sew = i->imm >> 3 & 7;
	return i->imm >= 0 && !(i->imm >> 8) && sew <= 3 && lmul != -4 && sew <= lmul + 3;
}

/* Scalars that a vector instruction reads. */
static uint64_t vector_use(const struct rv64_insn *i, const struct rv64_effects *e)
{
	switch (e->shape) {
	case RV64_VS_vx:
	case RV64_VS_uvx:
	case RV64_VS_mvx:
	case RV64_VS_wvx:
	case RV64_VS_wwvx:
	case RV64_VS_nvx:
	case RV64_VS_cvx:
	case RV64_VS_cmvx:
	case RV64_VS_cuvx:
	case RV64_VS_mv_s_x:
	case RV64_VS_slideup_vx:
	case RV64_VS_slidedown_vx:
	case RV64_VS_slide1up_vx:
	case RV64_VS_slide1down_vx:
	case RV64_VS_gather_vx: return XREG(rs1);
	case RV64_VS_fvf:
	case RV64_VS_fuvf:
	case RV64_VS_fmvf:
	case RV64_VS_fwvf:
	case RV64_VS_fwwvf:
	case RV64_VS_fcvf:
	case RV64_VS_mv_s_f:
	case RV64_VS_slide1up_vf:
	case RV64_VS_slide1down_vf: return FREG(rs1) << 32;
	case RV64_VS_load_stride:
	case RV64_VS_store_stride: return XREG(rs1) | XREG(rs2);
	default: return e->bits ? XREG(rs1) : 0;
	}
}

/* Those done in line need this of floating point: all that may round does so as frm says. */
static void vector_fp(struct rv64_effects *e)
{
	bool fp = e->shape >= RV64_VS_fvv && e->shape <= RV64_VS_fcvf;
	if (!fp && e->shape != RV64_VS_mv_f_s && e->shape != RV64_VS_mv_s_f &&
	    e->shape != RV64_VS_frvv)
		return;
	e->fp = true;
	e->rounds |= 1u << RM_DYN;
	if (e->kernel >= RV64_VK_fmacc && e->kernel <= RV64_VK_fnmsub) e->fuses |= 1u << RM_DYN;
}

bool rv64_loads_or_stores(const struct rv64_insn *i)
{
	return (i->op >= OP_lb && i->op <= OP_sd) || i->op == OP_fld || i->op == OP_flw ||
	       i->op == OP_fsd || i->op == OP_fsw;
}
_Static_assert(OP_sd - OP_lb == 10, "all of them are between");

/* Of vector instructions, those whose result is not in vectors. */
static uint64_t scalar_result(const struct rv64_insn *i)
{
	if (i->op == OP_vcpop_m || i->op == OP_vfirst_m || i->op == OP_vmv_x_s) return XREG(rd);
	return i->op == OP_vfmv_f_s ? FREG(rd) << 32 : 0;
}

static bool is_zero(const struct rv64_insn *i)
{
	return (i->op == OP_fmv_d_x || i->op == OP_fmv_w_x) && !i->rs1;
}

void rv64_effects(const struct rv64_insn *i, struct rv64_effects *e)
{
	bool arith = i->op == OP_fli_d || i->op == OP_fli_s || is_zero(i);
	*e = (struct rv64_effects){0};
	switch ((enum rv64_op)i->op) {
#define OP(op, ...)                                                                                \
	case OP_##op: {                                                                            \
		__VA_ARGS__                                                                        \
	} break;
#include "isa/rv64/rv64.sem.inc"
#undef OP
	case OP_illegal:
	case OP__max: FLAG(EFFECT_ILLEGAL | EFFECT_STOP);
	}
	if (rv64_fp_csr(i)) {
		e->flags = 0;
		e->fp = true;
		e->def |= XREG(rd);
		if (i->op <= OP_csrrc) e->use |= XREG(rs1);
		return;
	}
	e->vset = is_vset(i);
	if (e->vset || rv64_v_csr(i)) {
		e->flags = 0;
		e->def |= XREG(rd);
		if (i->op == OP_vsetvli) e->use |= XREG(rs1);
		return;
	}
	if (e->vector) {
		e->flags = EFFECT_MEM; /* nearly all that is not is as likely to be a call */
		e->use |= vector_use(i, e);
		e->def |= scalar_result(i);
		e->wide |= (uint32_t)(e->def >> 32);
		vector_fp(e);
		return;
	}
	if (!goes_on(i)) return;
	e->flags = EFFECT_HELPER | EFFECT_CALL;
	e->def |= XREG(rd);
}
