/* Whose MXCSR it is. The arithmetic is inline in fp.h; here the guest's fcsr and the host's
 * control word are made to say the same. The volatile asms keep their order with those of
 * fp.h, which is what makes the sticky bits belong to the right operations. */
#include "isa/rv64/fp.h"
#include "base/err.h"

enum { /* Intel SDM vol. 1, 10.2.3 */
       MX_STICKY = 0x3f,
       MX_MASKED = 0x1f80,
       MX_ROUND_SHIFT = 13,
};

static uint32_t mxcsr_get(void)
{
	uint32_t v;
	__asm__ volatile("stmxcsr %0" : "=m"(v));
	return v;
}

static void mxcsr_set(uint32_t v) { __asm__ volatile("ldmxcsr %0" : : "m"(v)); }

/* IE DE ZE OE UE PE, from bit 0, to NX UF OF DZ NV; DE is x86's own. */
static uint8_t flags_of(uint32_t mxcsr)
{
	return (uint8_t)((mxcsr & 1) << 4 | (mxcsr & 4) << 1 | (mxcsr & 8) >> 1 |
			 (mxcsr & 16) >> 3 | (mxcsr & 32) >> 5);
}

/* What frm lets the unit do, and the control word for it. RMM and reserved values leave the
 * unit rounding to nearest, for static RNE. */
static uint32_t round_as_guest(struct rv64_fp *fp)
{
	static const uint8_t rc[] = {[RM_RNE] = 0, [RM_RTZ] = 3, [RM_RDN] = 1, [RM_RUP] = 2};
	bool has = fp->frm <= RM_RUP;
	unsigned mode = has ? fp->frm : RM_RNE;
	fp->host = (uint8_t)(1u << mode | (has ? 1u << RM_DYN : 0));
	fp->host_fma = __builtin_cpu_supports("fma") ? fp->host : 0;
	return MX_MASKED | (uint32_t)rc[mode] << MX_ROUND_SHIFT;
}

void fp_enter(struct rv64_fp *fp)
{
	must(!fp->entered);
	fp->mxcsr = mxcsr_get();
	fp->entered = true;
	mxcsr_set(round_as_guest(fp));
}

void fp_leave(struct rv64_fp *fp)
{
	must(fp->entered);
	fp->flags = fp_flags_get(fp);
	fp->entered = false;
	fp->host = fp->host_fma = 0;
	mxcsr_set(fp->mxcsr);
}

void fp_frm_set(struct rv64_fp *fp, unsigned frm)
{
	fp->frm = frm & 7;
	if (fp->entered) mxcsr_set(round_as_guest(fp) | (mxcsr_get() & MX_STICKY));
}

/* The sticky bits stay where they are: adding them twice is harmless, writing MXCSR is slow. */
uint8_t fp_flags_get(struct rv64_fp *fp)
{
	if (fp->entered) fp->flags |= flags_of(mxcsr_get());
	return fp->flags;
}

void fp_flags_set(struct rv64_fp *fp, unsigned flags)
{
	uint32_t v;
	fp->flags = flags & 0x1f;
	if (fp->entered && (v = mxcsr_get()) & MX_STICKY) mxcsr_set(v & ~(uint32_t)MX_STICKY);
}

/* Unpriv. spec, Zfa, table "Immediate values encoded by FLI": -1, smallest normal, 2^-16 ...
 * infinity, NaN. f16 has 2^-16 and 2^-15 as subnormals and infinity for 2^16. */
const uint16_t fp_fli_f16[32] = {
	0xbc00, 0x0400, 0x0100, 0x0200, 0x1c00, 0x2000, 0x2c00, 0x3000, 0x3400, 0x3500, 0x3600,
	0x3700, 0x3800, 0x3900, 0x3a00, 0x3b00, 0x3c00, 0x3d00, 0x3e00, 0x3f00, 0x4000, 0x4100,
	0x4200, 0x4400, 0x4800, 0x4c00, 0x5800, 0x5c00, 0x7800, 0x7c00, 0x7c00, 0x7e00,
};
const uint32_t fp_fli_f32[32] = {
	0xbf800000, 0x00800000, 0x37800000, 0x38000000, 0x3b800000, 0x3c000000, 0x3d800000,
	0x3e000000, 0x3e800000, 0x3ea00000, 0x3ec00000, 0x3ee00000, 0x3f000000, 0x3f200000,
	0x3f400000, 0x3f600000, 0x3f800000, 0x3fa00000, 0x3fc00000, 0x3fe00000, 0x40000000,
	0x40200000, 0x40400000, 0x40800000, 0x41000000, 0x41800000, 0x43000000, 0x43800000,
	0x47000000, 0x47800000, 0x7f800000, 0x7fc00000,
};
#define TOP16(h) ((uint64_t)(h) << 48)
const uint64_t fp_fli_f64[32] = {
	TOP16(0xbff0), TOP16(0x0010), TOP16(0x3ef0), TOP16(0x3f00), TOP16(0x3f70), TOP16(0x3f80),
	TOP16(0x3fb0), TOP16(0x3fc0), TOP16(0x3fd0), TOP16(0x3fd4), TOP16(0x3fd8), TOP16(0x3fdc),
	TOP16(0x3fe0), TOP16(0x3fe4), TOP16(0x3fe8), TOP16(0x3fec), TOP16(0x3ff0), TOP16(0x3ff4),
	TOP16(0x3ff8), TOP16(0x3ffc), TOP16(0x4000), TOP16(0x4004), TOP16(0x4008), TOP16(0x4010),
	TOP16(0x4020), TOP16(0x4030), TOP16(0x4060), TOP16(0x4070), TOP16(0x40e0), TOP16(0x40f0),
	TOP16(0x7ff0), TOP16(0x7ff8),
};
