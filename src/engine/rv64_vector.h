#ifndef ENGINE_RV64_VECTOR_H
#define ENGINE_RV64_VECTOR_H
#include "engine/rv64_cpu.h"
/* The vector extension (V 1.0, VLEN 128, ELEN 64). The table says of an instruction
 * VECTOR(shape, kernel): the shape is a function that checks what the manual reserves, finds the
 * operands and puts the result where it belongs; the kernel is the arithmetic, a loop over
 * arrays for each width of element. VMEM(shape, bits) are loads and stores, bits being the
 * width that the instruction names.
 *
 * A kernel works on whole blocks, beyond vl and under the mask too; what nobody asked for is
 * thrown away. One that leaves flags is given operands which leave none in those places. */
enum { V_REGS = 32, V_REG = 16, V_GROUP = 8 * V_REG }; /* bytes of a register, of eight */

/* d[i] = f(a[i], b[i], acc[i]) for i < n, n rounded up to blocks: a is vs2, b is vs1 or the scalar,
 * acc the old vd or, as bytes, carries. d may be an operand of its own width. */
typedef void rv64_vfn(struct rv64_cpu *c, void *d, const void *a, const void *b, const void *acc,
		      unsigned n);
enum rv64_vidle { IDLE_ANY, IDLE_ZERO, IDLE_ONE }; /* operands that leave no flags */
struct rv64_vkernel {
	rv64_vfn *fn[4]; /* by log2 of SEW in bytes; NULL: reserved */
	enum rv64_vidle idle;
};

/* clang-format off */
#define RV64_V_SHAPES(X) \
	X(vv) X(vx) X(vi) X(uvv) X(uvx) X(uvi) X(mvv) X(mvx) X(mvi) X(v1) X(wvv) X(wvx) X(wvi) \
	X(wwvv) X(wwvx) X(nvv) X(nvx) X(nvi) X(ext2) X(ext4) X(ext8) X(cvv) X(cvx) X(cvi) \
	X(cmvv) X(cmvx) X(cmvi) X(cuvv) X(cuvx) X(cuvi) X(fvv) X(fvf) X(fuvf) X(fmvf) X(f1) \
	X(fw1) X(fn1) X(fwvv) X(fwvf) X(fwwvv) X(fwwvf) X(fcvv) X(fcvf) X(rvv) X(rwvv) X(frvv) \
	X(frwvv) X(mask) X(cpop) X(first) X(set) X(iota) X(id) X(mv_x_s) X(mv_s_x) X(mv_f_s) \
	X(mv_s_f) X(slideup_vx) X(slideup_vi) X(slidedown_vx) X(slidedown_vi) X(slide1up_vx) \
	X(slide1up_vf) X(slide1down_vx) X(slide1down_vf) X(gather_vv) X(gather_vx) X(gather_vi) \
	X(gather16_vv) X(compress) X(whole1) X(whole2) X(whole4) X(whole8)
#define RV64_V_MEMORY(X) \
	X(load) X(load_first) X(load_stride) X(load_index) X(load_mask) X(load_whole1) \
	X(load_whole2) X(load_whole4) X(load_whole8) X(store) X(store_stride) X(store_index) \
	X(store_mask) X(store_whole1) X(store_whole2) X(store_whole4) X(store_whole8)
#define RV64_V_KERNELS(X) \
	X(none) X(add) X(sub) X(rsub) X(minu) X(min) X(maxu) X(max) X(and) X(or) X(xor) X(sll) \
	X(srl) X(sra) X(mul) X(mulh) X(mulhu) X(mulhsu) X(divu) X(div) X(remu) X(rem) X(macc) \
	X(nmsac) X(madd) X(nmsub) X(adc) X(sbc) X(merge) X(mv) X(fmerge) X(fmv) X(waddu) X(wadd) \
	X(wsubu) X(wsub) X(wmulu) X(wmulsu) X(wmul) X(wadduw) X(waddw) X(wsubuw) X(wsubw) \
	X(wmaccu) X(wmacc) X(wmaccus) X(wmaccsu) X(nsrl) X(nsra) X(zext2) X(sext2) X(zext4) \
	X(sext4) X(zext8) X(sext8) X(seq) X(sne) X(sltu) X(slt) X(sleu) X(sle) X(sgtu) X(sgt) \
	X(madc) X(msbc) X(saddu) X(sadd) X(ssubu) X(ssub) X(aaddu) X(aadd) X(asubu) X(asub) \
	X(smul) X(ssrl) X(ssra) X(nclipu) X(nclip) X(andn) X(rol) X(ror) X(wsll) X(brev8) \
	X(rev8) X(brev) X(clz) X(ctz) X(cpop) X(redsum) X(redand) X(redor) X(redxor) X(redminu) \
	X(redmin) X(redmaxu) X(redmax) X(wredsumu) X(wredsum) X(fadd) X(fsub) X(frsub) X(fmul) \
	X(fdiv) X(frdiv) X(fmin) X(fmax) X(fsgnj) X(fsgnjn) X(fsgnjx) X(fmacc) X(fnmacc) \
	X(fmsac) X(fnmsac) X(fmadd) X(fnmadd) X(fmsub) X(fnmsub) X(fwadd) X(fwsub) X(fwmul) \
	X(fwaddw) X(fwsubw) X(fwmacc) X(fwnmacc) X(fwmsac) X(fwnmsac) X(mfeq) X(mfle) X(mflt) \
	X(mfne) X(mfgt) X(mfge) X(fsqrt) X(frsqrt7) X(frec7) X(fclass) X(fcvt_xu_f) X(fcvt_x_f) \
	X(fcvt_f_xu) X(fcvt_f_x) X(fcvt_rtz_xu_f) X(fcvt_rtz_x_f) X(fwcvt_xu_f) X(fwcvt_x_f) \
	X(fwcvt_f_xu) X(fwcvt_f_x) X(fwcvt_f_f) X(fwcvt_rtz_xu_f) X(fwcvt_rtz_x_f) X(fncvt_xu_f) \
	X(fncvt_x_f) X(fncvt_f_xu) X(fncvt_f_x) X(fncvt_f_f) X(fncvt_rod_f_f) X(fncvt_rtz_xu_f) \
	X(fncvt_rtz_x_f) X(fredsum) X(fredmin) X(fredmax) X(fwredsum) X(mandn) X(mand) X(mor) \
	X(mxor) X(morn) X(mnand) X(mnor) X(mxnor) X(before) X(only) X(including)
/* clang-format on */
#define X(name) RV64_VS_##name,
enum rv64_vshape { RV64_V_SHAPES(X) RV64_V_MEMORY(X) RV64_VS__COUNT };
#undef X
#define X(name) RV64_VK_##name,
enum rv64_vkernel_number { RV64_V_KERNELS(X) RV64_VK__COUNT };
#undef X
#define X(name)                                                                                    \
	enum rv64_stop rv64_v_##name(struct rv64_cpu *c, const struct slot *ip,                    \
				     const struct rv64_vkernel *k);
RV64_V_SHAPES(X)
#undef X
#define X(name)                                                                                    \
	enum rv64_stop rv64_v_##name(struct rv64_cpu *c, const struct slot *ip, unsigned bits);
RV64_V_MEMORY(X)
#undef X
#define X(name) extern const struct rv64_vkernel rv64_vk_##name;
RV64_V_KERNELS(X)
#undef X
enum rv64_stop rv64_do_vsetvli(struct rv64_cpu *c, const struct slot *ip);
enum rv64_stop rv64_do_vsetivli(struct rv64_cpu *c, const struct slot *ip);
enum rv64_stop rv64_do_vsetvl(struct rv64_cpu *c, const struct slot *ip);
void rv64_vtype_set(struct rv64_cpu *c, uint64_t type); /* vl is made to fit */

/* ---- for rv64_vector*.c: registers and groups of them ---- */
#define V_AT(c, number) (&(c)->v.reg[(number)*V_REG])
static inline enum rv64_stop v_illegal(struct rv64_cpu *c, const struct slot *ip)
{
	return rv64_raise(c, CAUSE_ILLEGAL, rv64_code_raw(ip));
}
static inline unsigned v_reg(unsigned slot_field) { return slot_field & (V_REGS - 1); }
/* Some registers, as an operand: emul and eew are log2 of registers and of bytes. */
struct v_group {
	uint8_t reg;
	int8_t emul, eew;
};
static inline unsigned v_regs(int emul) { return emul > 0 ? 1u << emul : 1; }
/* 3.4.2: a group begins at a multiple of its size, which is between 1/8 and 8. */
static inline bool v_fits(struct v_group g)
{
	return g.emul >= -3 && g.emul <= 3 && g.eew <= 3 && !(g.reg & (v_regs(g.emul) - 1));
}
static inline bool v_overlap(unsigned a, unsigned na, unsigned b, unsigned nb)
{
	return a < b + nb && b < a + na;
}
/* 5.2: where a result of one width may lie over an operand of another. A mask's eew is -3. */
static inline bool v_apart(struct v_group d, struct v_group s)
{
	unsigned nd = v_regs(d.emul), ns = v_regs(s.emul);
	if (!v_overlap(d.reg, nd, s.reg, ns) || d.eew == s.eew) return true;
	if (d.eew < s.eew) return d.reg == s.reg;
	return s.emul >= 0 && d.reg + nd == s.reg + ns;
}
static inline bool v_ready(const struct rv64_cpu *c) { return c->v.on && !c->v.ill; }
/* 13: with an invalid frm no floating-point instruction of vectors is legal, round it or not. */
static inline bool v_fp_ready(const struct rv64_cpu *c) { return c->fp_on && c->fp.frm <= RM_RMM; }
/* A scalar operand of SEW bits: the canonical NaN if it is not boxed as one. */
static inline uint64_t v_float(const struct rv64_cpu *c, unsigned reg)
{
	static const uint64_t nan[4] = {0, F16_NAN, F32_NAN, F64_NAN};
	uint64_t f = c->f[v_reg(reg)], box = c->v.sew < 3 ? ~0ull << (8u << c->v.sew) : 0;
	return (f & box) == box ? f : nan[c->v.sew];
}
/* The instruction has happened. */
static inline enum rv64_stop v_done(struct rv64_cpu *c)
{
	c->v.start = 0;
	c->v.dirty = true;
	return STOP_NOT;
}
static inline bool v_bit(const uint8_t *m, unsigned i) { return m[i >> 3] >> (i & 7) & 1; }
static inline bool v_active(const struct rv64_cpu *c, bool masked, unsigned i)
{
	return !masked || v_bit(V_AT(c, 0), i);
}
/* A mask as a number (4.5), and the elements that this instruction is about. */
typedef unsigned __int128 v_mask;
static inline v_mask v_below(unsigned n) { return n < 128 ? ((v_mask)1 << n) - 1 : ~(v_mask)0; }
static inline v_mask v_body(const struct rv64_cpu *c)
{
	return v_below(c->v.vl) & ~v_below(c->v.start);
}
static inline v_mask v_mask_get(const struct rv64_cpu *c, unsigned reg)
{
	v_mask m;
	memcpy(&m, V_AT(c, reg), sizeof(m));
	return m;
}
static inline void v_mask_put(struct rv64_cpu *c, unsigned reg, v_mask v, v_mask where)
{
	v = (v & where) | (v_mask_get(c, reg) & ~where);
	memcpy(V_AT(c, reg), &v, sizeof(v));
}
/* Elements from..to-1 of t become those of vd; masked: those that v0 has. */
void rv64_v_merge(struct rv64_cpu *c, bool masked, void *vd, const void *t, unsigned eew,
		  unsigned from, unsigned to);
#endif
