/* Control and status registers: one table from number to how it reads, what a write may change
 * and who may ask. Values are WARL-legalised on the way in, so that the rest can trust them. */
#include "engine/rv64_cpu.h"
#include "engine/rv64_vector.h"
#include "hw/clock.h"

struct csr {
	uint64_t (*read)(struct rv64_cpu *c, unsigned csr);
	void (*write)(struct rv64_cpu *c, unsigned csr, uint64_t val);	    /* NULL: ignored */
	bool (*may)(const struct rv64_cpu *c, unsigned csr, unsigned priv); /* NULL: always */
};

/* ---- mstatus and its S-mode view (3.1.6, 10.1.1) ---- */
#define SSTATUS_WRITE                                                                              \
	(MSTATUS_SIE | MSTATUS_SPIE | MSTATUS_SPP | MSTATUS_VS | MSTATUS_FS | MSTATUS_SUM |        \
	 MSTATUS_MXR)
#define SSTATUS_READ (SSTATUS_WRITE | MSTATUS_UXL | MSTATUS_SD)
#define MSTATUS_WRITE                                                                              \
	(SSTATUS_WRITE | MSTATUS_MIE | MSTATUS_MPIE | MSTATUS_MPP | MSTATUS_MPRV | MSTATUS_TVM |   \
	 MSTATUS_TW | MSTATUS_TSR)

uint64_t rv64_mstatus(struct rv64_cpu *c)
{
	if (c->fs_dirty) c->mstatus |= MSTATUS_FS;
	if (c->v.dirty) c->mstatus |= MSTATUS_VS;
	c->fs_dirty = c->v.dirty = false;
	uint64_t v = c->mstatus | MSTATUS_UXL | MSTATUS_SXL;
	bool dirty = (v & MSTATUS_FS) == MSTATUS_FS || (v & MSTATUS_VS) == MSTATUS_VS;
	return dirty ? v | MSTATUS_SD : v;
}
void rv64_mstatus_set(struct rv64_cpu *c, uint64_t val)
{
	uint64_t old = rv64_mstatus(c);
	if ((val & MSTATUS_MPP) == 2ull << 11) val = (val & ~MSTATUS_MPP) | (old & MSTATUS_MPP);
	c->mstatus = val & MSTATUS_WRITE;
	c->fp_on = val & MSTATUS_FS;
	c->v.on = val & MSTATUS_VS;
	if (old & ~val & MSTATUS_SUM) rv64_local_drop(c);
	if ((old ^ val) & (MSTATUS_MPRV | MSTATUS_MPP | MSTATUS_MXR)) rv64_mode_update(c);
}
static uint64_t mstatus_read(struct rv64_cpu *c, unsigned csr)
{
	uint64_t v = rv64_mstatus(c);
	return csr == CSR_SSTATUS ? v & SSTATUS_READ : v;
}
static void mstatus_write(struct rv64_cpu *c, unsigned csr, uint64_t val)
{
	uint64_t mask = csr == CSR_SSTATUS ? SSTATUS_WRITE : MSTATUS_WRITE;
	rv64_mstatus_set(c, (rv64_mstatus(c) & ~mask) | (val & mask));
}

/* ---- interrupts (3.1.8, 3.1.9, 10.1.3) ---- */
bool rv64_stce(const struct rv64_cpu *c) { return c->menvcfg & ENVCFG_STCE; }
static uint64_t mip_read(struct rv64_cpu *c, unsigned csr)
{
	(void)rv64_timer_check(c);
	return csr == CSR_SIP ? rv64_pending(c) & c->mideleg : rv64_pending(c);
}
/* SEIP reads as the input or software's bit, but only software's is changed; and nothing that
 * is not named may be written back, since inputs change all the time. */
static void mip_change(struct rv64_cpu *c, unsigned csr, uint64_t set, uint64_t clear)
{
	uint64_t soft = rv64_stce(c) ? MIP_SEIP : MIP_SEIP | MIP_STIP;
	bool ssip = csr != CSR_SIP || c->mideleg & MIP_SSIP;
	if (ssip && set & MIP_SSIP) atomic_fetch_or(&c->mip, MIP_SSIP);
	if (ssip && clear & MIP_SSIP) atomic_fetch_and(&c->mip, ~(uint64_t)MIP_SSIP);
	if (csr == CSR_MIP) c->mip_soft = (c->mip_soft & ~(clear & soft)) | (set & soft);
}
static void mip_write(struct rv64_cpu *c, unsigned csr, uint64_t val)
{
	mip_change(c, csr, val, ~val);
}
static uint64_t mie_read(struct rv64_cpu *c, unsigned csr)
{
	return csr == CSR_SIE ? c->mie & c->mideleg : c->mie;
}
static void mie_write(struct rv64_cpu *c, unsigned csr, uint64_t val)
{
	uint64_t mask = csr == CSR_SIE ? c->mideleg : MIP_ALL;
	c->mie = (c->mie & ~mask) | (val & mask);
}

/* ---- environment and translation (3.1.18, 10.1.10, 10.1.11) ---- */
static uint64_t envcfg_legal(uint64_t old, uint64_t val, uint64_t mask)
{
	val &= mask;
	if ((val & ENVCFG_CBIE) == 2ull << 4) val = (val & ~ENVCFG_CBIE) | (old & ENVCFG_CBIE);
	return val;
}
#define SENVCFG_WRITE (ENVCFG_FIOM | ENVCFG_CBIE | ENVCFG_CBCFE | ENVCFG_CBZE)
#define MENVCFG_WRITE (SENVCFG_WRITE | ENVCFG_ADUE | ENVCFG_PBMTE | ENVCFG_STCE)
static void menvcfg_write(struct rv64_cpu *c, unsigned csr, uint64_t val)
{
	(void)csr;
	uint64_t old = c->menvcfg;
	c->menvcfg = envcfg_legal(old, val, MENVCFG_WRITE);
	if ((old ^ c->menvcfg) & ENVCFG_STCE) {
		c->mip_soft &= ~(uint64_t)MIP_STIP;
		rv64_timer_arm(c);
	}
	if ((old ^ c->menvcfg) & (ENVCFG_ADUE | ENVCFG_PBMTE)) rv64_tlb_flush(c);
}
static void senvcfg_write(struct rv64_cpu *c, unsigned csr, uint64_t val)
{
	(void)csr;
	c->senvcfg = envcfg_legal(c->senvcfg, val, SENVCFG_WRITE);
}
static void satp_write(struct rv64_cpu *c, unsigned csr, uint64_t val)
{
	(void)csr;
	uint64_t mode = val >> SATP_MODE_SHIFT;
	if (mode && (mode < 8 || mode > c->max_satp)) return;
	c->satp = mode ? val : 0; /* the rest is reserved when Bare: reads as written, 0 */
	rv64_satp_changed(c);
}
static bool satp_may(const struct rv64_cpu *c, unsigned csr, unsigned priv)
{
	(void)csr;
	return priv == PRIV_M || !(c->mstatus & MSTATUS_TVM);
}
static bool stimecmp_may(const struct rv64_cpu *c, unsigned csr, unsigned priv)
{
	(void)csr;
	return priv == PRIV_M || (c->menvcfg & ENVCFG_STCE && c->mcounteren & COUNTER_TM);
}
static uint64_t stimecmp_read(struct rv64_cpu *c, unsigned csr)
{
	(void)csr;
	return atomic_load(&c->stimecmp);
}
static void stimecmp_write(struct rv64_cpu *c, unsigned csr, uint64_t val)
{
	(void)csr;
	atomic_store(&c->stimecmp, val);
	rv64_timer_arm(c);
}

/* ---- counters (3.1.10 to 3.1.12, 10.1.5) ---- */
static uint64_t *counter_off(struct rv64_cpu *c, unsigned csr)
{
	return (csr & 0x1f) == (CSR_INSTRET & 0x1f) ? &c->instret_off : &c->cycle_off;
}
static bool counter_stopped(const struct rv64_cpu *c, unsigned csr)
{
	return c->mcountinhibit >> (csr & 0x1f) & 1;
}
static uint64_t counter_read(struct rv64_cpu *c, unsigned csr)
{
	uint64_t off = *counter_off(c, csr);
	return counter_stopped(c, csr) ? off : c->n + off;
}
/* The write takes the place of this instruction's own tick. */
static void counter_write(struct rv64_cpu *c, unsigned csr, uint64_t val)
{
	*counter_off(c, csr) = counter_stopped(c, csr) ? val : val - (c->n + 1);
}
static void inhibit_write(struct rv64_cpu *c, unsigned csr, uint64_t val)
{
	(void)csr;
	uint64_t cycle = counter_read(c, CSR_CYCLE), instret = counter_read(c, CSR_INSTRET);
	c->mcountinhibit = (uint32_t)val & (COUNTER_CY | COUNTER_IR);
	counter_write(c, CSR_CYCLE, cycle);
	counter_write(c, CSR_INSTRET, instret);
}
static uint64_t time_read(struct rv64_cpu *c, unsigned csr)
{
	(void)csr;
	return vclock_now(c->clock);
}
static bool counter_may(const struct rv64_cpu *c, unsigned csr, unsigned priv)
{
	uint32_t m = c->mcounteren >> (csr & 0x1f) & 1, s = c->scounteren >> (csr & 0x1f) & 1;
	return priv == PRIV_M || (m && (priv == PRIV_S || s));
}

/* ---- floating point (20.2) ---- */
static bool fp_may(const struct rv64_cpu *c, unsigned csr, unsigned priv)
{
	(void)csr, (void)priv;
	return c->fp_on;
}
static uint64_t fcsr_read(struct rv64_cpu *c, unsigned csr)
{
	uint64_t flags = fp_flags_get(&c->fp), frm = c->fp.frm;
	return csr == CSR_FFLAGS ? flags : csr == CSR_FRM ? frm : frm << 5 | flags;
}
static void fcsr_write(struct rv64_cpu *c, unsigned csr, uint64_t val)
{
	if (csr != CSR_FRM) fp_flags_set(&c->fp, val & 0x1f);
	if (csr != CSR_FFLAGS) fp_frm_set(&c->fp, (csr == CSR_FRM ? val : val >> 5) & 7);
	c->fs_dirty = true;
}

/* ---- vectors (V, 3) ---- */
static bool v_may(const struct rv64_cpu *c, unsigned csr, unsigned priv)
{
	(void)csr, (void)priv;
	return c->v.on;
}
static uint64_t v_read(struct rv64_cpu *c, unsigned csr)
{
	switch (csr) {
	case CSR_VSTART: return c->v.start;
	case CSR_VXSAT: return c->v.sat;
	case CSR_VXRM: return c->v.rm;
	case CSR_VCSR: return (uint64_t)c->v.rm << 1 | c->v.sat;
	case CSR_VL: return c->v.vl;
	case CSR_VTYPE: return c->v.ill ? VTYPE_ILL : c->v.type;
	default: return V_REG;
	}
}
static void v_write(struct rv64_cpu *c, unsigned csr, uint64_t val)
{
	if (csr == CSR_VSTART) c->v.start = val & (8 * V_REG - 1);
	if (csr == CSR_VXSAT || csr == CSR_VCSR) c->v.sat = val & 1;
	if (csr == CSR_VXRM || csr == CSR_VCSR) c->v.rm = (csr == CSR_VXRM ? val : val >> 1) & 3;
	c->v.dirty = true;
}

/* ---- physical memory protection (3.7.1) ---- */
static uint64_t pmpcfg_read(struct rv64_cpu *c, unsigned csr)
{
	return load_le(&c->pmpcfg[(csr - CSR_PMPCFG0) * 4], 8);
}
static void pmpcfg_write(struct rv64_cpu *c, unsigned csr, uint64_t val)
{
	rv64_pmpcfg_set(c, (csr - CSR_PMPCFG0) * 4, val);
}
static uint64_t pmpaddr_read(struct rv64_cpu *c, unsigned csr)
{
	return c->pmpaddr[csr - CSR_PMPADDR0];
}
static void pmpaddr_write(struct rv64_cpu *c, unsigned csr, uint64_t val)
{
	rv64_pmpaddr_set(c, csr - CSR_PMPADDR0, val);
}

/* ---- the plain ones: a field, and the bits a write may set ---- */
#define PLAIN(name, mask)                                                                          \
	static uint64_t name##_read(struct rv64_cpu *c, unsigned csr)                              \
	{                                                                                          \
		(void)csr;                                                                         \
		return c->name;                                                                    \
	}                                                                                          \
	static void name##_write(struct rv64_cpu *c, unsigned csr, uint64_t val)                   \
	{                                                                                          \
		(void)csr;                                                                         \
		c->name = (__typeof__(c->name))(val & (mask));                                     \
	}
#define ANY   (~0ull)
#define TVEC  (~2ull) /* modes 2 and 3 are reserved: they become 0 and 1 */
#define EPC   (~1ull) /* IALIGN is 16 */
#define CAUSE (CAUSE_INTERRUPT | 0xff)
/* Page faults, environment calls from U and S, and all below; never the call from M (3.1.8). */
#define MEDELEG 0xb3ff
PLAIN(medeleg, MEDELEG)
PLAIN(mideleg, MIP_S)
PLAIN(mtvec, TVEC)
PLAIN(mscratch, ANY)
PLAIN(mepc, EPC)
PLAIN(mcause, CAUSE)
PLAIN(mtval, ANY)
PLAIN(mcounteren, UINT32_MAX)
PLAIN(stvec, TVEC)
PLAIN(sscratch, ANY)
PLAIN(sepc, EPC)
PLAIN(scause, CAUSE)
PLAIN(stval, ANY)
PLAIN(scounteren, UINT32_MAX)

static uint64_t satp_read(struct rv64_cpu *c, unsigned csr) { return (void)csr, c->satp; }
static uint64_t menvcfg_read(struct rv64_cpu *c, unsigned csr) { return (void)csr, c->menvcfg; }
static uint64_t senvcfg_read(struct rv64_cpu *c, unsigned csr) { return (void)csr, c->senvcfg; }
static uint64_t inhibit_read(struct rv64_cpu *c, unsigned csr)
{
	return (void)csr, c->mcountinhibit;
}
static uint64_t zero_read(struct rv64_cpu *c, unsigned csr) { return (void)c, (void)csr, 0; }
static uint64_t hartid_read(struct rv64_cpu *c, unsigned csr) { return (void)csr, c->id; }
static uint64_t misa_read(struct rv64_cpu *c, unsigned csr)
{
	(void)c, (void)csr;
	uint64_t v = 2ull << 62; /* XLEN 64 */
	for (const char *e = "ABCDFIMSUV"; *e; e++) v |= 1ull << (*e - 'A');
	return v;
}

#define RW(name)                                                                                   \
	{                                                                                          \
		name##_read, name##_write, NULL                                                    \
	}
#define ZERO                                                                                       \
	{                                                                                          \
		zero_read, NULL, NULL                                                              \
	}
#define COUNTER(r)                                                                                 \
	{                                                                                          \
		r, NULL, counter_may                                                               \
	}
static const struct csr csrs[4096] = {
	[CSR_FFLAGS] = {fcsr_read, fcsr_write, fp_may},
	[CSR_FRM] = {fcsr_read, fcsr_write, fp_may},
	[CSR_FCSR] = {fcsr_read, fcsr_write, fp_may},
	[CSR_VSTART] = {v_read, v_write, v_may},
	[CSR_VXSAT] = {v_read, v_write, v_may},
	[CSR_VXRM] = {v_read, v_write, v_may},
	[CSR_VCSR] = {v_read, v_write, v_may},
	[CSR_VL] = {v_read, NULL, v_may},
	[CSR_VTYPE] = {v_read, NULL, v_may},
	[CSR_VLENB] = {v_read, NULL, v_may},
	[CSR_CYCLE] = COUNTER(counter_read),
	[CSR_TIME] = COUNTER(time_read),
	[CSR_INSTRET] = COUNTER(counter_read),
	[CSR_HPMCOUNTER3... CSR_HPMCOUNTER3 + 28] = COUNTER(zero_read),

	[CSR_SSTATUS] = RW(mstatus),
	[CSR_SIE] = RW(mie),
	[CSR_STVEC] = RW(stvec),
	[CSR_SCOUNTEREN] = RW(scounteren),
	[CSR_SENVCFG] = RW(senvcfg),
	[CSR_SSCRATCH] = RW(sscratch),
	[CSR_SEPC] = RW(sepc),
	[CSR_SCAUSE] = RW(scause),
	[CSR_STVAL] = RW(stval),
	[CSR_SIP] = RW(mip),
	[CSR_STIMECMP] = {stimecmp_read, stimecmp_write, stimecmp_may},
	[CSR_SATP] = {satp_read, satp_write, satp_may},

	[CSR_MSTATUS] = RW(mstatus),
	[CSR_MISA] = {misa_read, NULL, NULL},
	[CSR_MEDELEG] = RW(medeleg),
	[CSR_MIDELEG] = RW(mideleg),
	[CSR_MIE] = RW(mie),
	[CSR_MTVEC] = RW(mtvec),
	[CSR_MCOUNTEREN] = RW(mcounteren),
	[CSR_MENVCFG] = RW(menvcfg),
	[CSR_MCOUNTINHIBIT] = RW(inhibit),
	[CSR_MHPMEVENT3... CSR_MHPMEVENT3 + 28] = ZERO,
	[CSR_MSCRATCH] = RW(mscratch),
	[CSR_MEPC] = RW(mepc),
	[CSR_MCAUSE] = RW(mcause),
	[CSR_MTVAL] = RW(mtval),
	[CSR_MIP] = RW(mip),
	[CSR_PMPCFG0] = RW(pmpcfg),
	[CSR_PMPCFG2] = RW(pmpcfg),
	[CSR_PMPADDR0... CSR_PMPADDR0 + PMP_ENTRIES - 1] = RW(pmpaddr),
	[CSR_MCYCLE] = RW(counter),
	[CSR_MINSTRET] = RW(counter),
	[CSR_MHPMCOUNTER3... CSR_MHPMCOUNTER3 + 28] = ZERO,
	[CSR_MVENDORID] = ZERO,
	[CSR_MARCHID] = ZERO,
	[CSR_MIMPID] = ZERO,
	[CSR_MHARTID] = {hartid_read, NULL, NULL},
	[CSR_MCONFIGPTR] = ZERO,
};

/* Bits 9:8 of the number are the lowest privilege, bits 11:10 both set mean read-only (2.1). */
static const struct csr *csr_for(const struct rv64_cpu *c, unsigned csr, unsigned priv)
{
	const struct csr *r = &csrs[csr & 0xfff];
	if (!r->read || (csr >> 8 & 3) > priv) return NULL;
	return priv == PRIV_ANY || !r->may || r->may(c, csr, priv) ? r : NULL;
}

bool rv64_csr_read(struct rv64_cpu *c, unsigned csr, unsigned priv, uint64_t *val)
{
	const struct csr *r = csr_for(c, csr, priv);
	if (r) *val = r->read(c, csr);
	return r;
}

bool rv64_csr_write(struct rv64_cpu *c, unsigned csr, unsigned priv, uint64_t val)
{
	const struct csr *r = csr_for(c, csr, priv);
	if (!r || csr >> 10 == 3) return false;
	if (r->write) r->write(c, csr, val);
	return true;
}

bool rv64_csr_change(struct rv64_cpu *c, unsigned csr, unsigned priv, uint64_t set, uint64_t clear)
{
	const struct csr *r = csr_for(c, csr, priv);
	if (!r || csr >> 10 == 3) return false;
	if (r->write == mip_write)
		mip_change(c, csr, set, clear);
	else if (r->write)
		r->write(c, csr, (r->read(c, csr) & ~clear) | set);
	return true;
}
