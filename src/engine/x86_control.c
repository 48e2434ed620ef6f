/* Writes to control registers: which of them a CPU refuses (SDM 3, 2.5, and SDM 2, MOV to control
 * registers), and what they bring about. */
#include "engine/x86_context.h"
#include "engine/x86_direct.h"
#include "engine/x86_vcpu.h"
#include "engine/x86_window.h"
#include "hw/gmem.h"

enum { PDPTES = 4 };
#define PHYS_HIGH   (UINT64_MAX << X86_PHYS_BITS)
#define CR3_NOFLUSH (1ull << 63)
#define PDPTE_RSVD  (PHYS_HIGH | 0x1e6) /* SDM 3, table 4-8 */
#define CR0_KNOWN                                                                                  \
	((uint64_t)CR0_PG | CR0_CD | CR0_NW | CR0_AM | CR0_WP | CR0_NE | CR0_TS | CR0_EM |         \
	 CR0_MP | CR0_PE)
#define CR4_KNOWN                                                                                  \
	((uint64_t)(CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |           \
		    CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE |            \
		    CR4_OSXSAVE | CR4_SMEP | CR4_SMAP))

static int refused(struct x86_vcpu *v) { return x86_raise(v, X86_TRAP_GP, 0); }

/* ---- PAE's four registers, SDM 3, 4.4.1 */
static bool pdptes_read(struct x86_vcpu *v, uint64_t cr3, uint64_t to[PDPTES])
{
	if (!gmem_read(v->machine->env.mem, cr3 & 0xffffffe0, to, PDPTES * sizeof(*to)))
		memset(to, 0xff, PDPTES * sizeof(*to));
	for (unsigned i = 0; i < PDPTES; i++)
		if (to[i] & 1 && to[i] & PDPTE_RSVD) return false;
	return true;
}

bool x86_pdptes_load(struct x86_vcpu *v)
{
	uint64_t to[PDPTES];
	if (!(v->cr0 & CR0_PG) || !(v->cr4 & CR4_PAE) || v->efer & EFER_LMA) return true;
	if (!pdptes_read(v, v->cr3, to)) return false;
	memcpy(v->pdpte, to, sizeof(to));
	return true;
}

/* ---- */
static bool cr0_bad(const struct x86_vcpu *v, uint64_t val)
{
	uint64_t changes = v->cr0 ^ val;
	if (val >> 32) return true;
	if (val & CR0_PG && !(val & CR0_PE)) return true;
	if (val & CR0_NW && !(val & CR0_CD)) return true;
	if (!(changes & CR0_PG)) return false;
	if (!(val & CR0_PG)) return v->mode == X86_64 || v->cr4 & CR4_PCIDE;
	bool in64 = v->seg[X86_CS].access & SEG_L;
	return v->efer & EFER_LME && (in64 || !(v->cr4 & CR4_PAE));
}

int x86_cr0_write(struct x86_vcpu *v, uint64_t val)
{
	uint64_t was = v->cr0, efer = v->efer;
	if (cr0_bad(v, val)) return refused(v);
	v->cr0 = (val & CR0_KNOWN) | CR0_ET;
	if (!(v->cr0 & CR0_PG))
		v->efer &= ~(uint64_t)EFER_LMA;
	else if (v->efer & EFER_LME)
		v->efer |= EFER_LMA;
	if ((was ^ v->cr0) & (CR0_PG | CR0_CD | CR0_NW) && !x86_pdptes_load(v)) {
		v->cr0 = was;
		v->efer = efer;
		return refused(v);
	}
	if ((was ^ v->cr0) & (CR0_PG | CR0_WP | CR0_PE)) x86_tlb_flush(v, true);
	x86_mode_update(v);
	return 0;
}

/* What is not global is forgotten, but for what is kept by PCIDs. */
int x86_cr3_write(struct x86_vcpu *v, uint64_t val)
{
	uint64_t was = v->cr3;
	bool tagged = v->cr4 & CR4_PCIDE, keeps = tagged && val & CR3_NOFLUSH;
	if (tagged) val &= ~CR3_NOFLUSH;
	if (v->mode == X86_64 && val & PHYS_HIGH) return refused(v);
	if (tagged) x86_context_leave(v);
	v->cr3 = val;
	if (!x86_pdptes_load(v)) {
		v->cr3 = was;
		return refused(v);
	}
	x86_tlb_flush(v, false);
	x86_window_cr3(v, keeps);
	x86_direct_cr3(v, keeps);
	if (keeps)
		x86_context_enter(v);
	else if (tagged)
		x86_context_drop(v, val & X86_PCID);
	return 0;
}

static bool cr4_bad(const struct x86_vcpu *v, uint64_t val)
{
	bool starts_pcid = val & CR4_PCIDE && !(v->cr4 & CR4_PCIDE);
	if (val & ~CR4_KNOWN) return true;
	if (v->long_mode && !(val & CR4_PAE)) return true;
	return starts_pcid && (!v->long_mode || v->cr3 & 0xfff);
}

int x86_cr4_write(struct x86_vcpu *v, uint64_t val)
{
	const uint64_t paging = CR4_PGE | CR4_PAE | CR4_PSE | CR4_PCIDE | CR4_SMEP | CR4_SMAP;
	uint64_t was = v->cr4;
	if (cr4_bad(v, val)) return refused(v);
	v->cr4 = val;
	if ((was ^ val) & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP) && !x86_pdptes_load(v)) {
		v->cr4 = was;
		return refused(v);
	}
	if ((was ^ val) & paging) x86_tlb_flush(v, true);
	x86_mode_update(v);
	return 0;
}

/* SDM 3, 2.5 and 10.8.5: what writes never lead to, but somebody may set. */
bool x86_is_possible(const struct x86_vcpu *v)
{
	const uint64_t cr0 = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM |
			     CR0_NW | CR0_CD | CR0_PG;
	const uint64_t efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	bool paging = v->cr0 & CR0_PG, lme = v->efer & EFER_LME, lma = v->efer & EFER_LMA;
	if (v->cr0 & ~cr0 || v->cr4 & ~CR4_KNOWN || v->efer & ~efer) return false;
	if (paging && !(v->cr0 & CR0_PE)) return false;
	if (lma != (lme && paging) || (lma && !(v->cr4 & CR4_PAE))) return false;
	if (lma && v->cpu.flags & X86_VM) return false;
	if (v->cr4 & CR4_PCIDE && !lma) return false;
	if (v->cr3 & PHYS_HIGH || v->xcr0 & ~(uint64_t)X86_XCR0 || !(v->xcr0 & 1)) return false;
	if (v->xcr0 & 4 && !(v->xcr0 & 2)) return false;
	return v->mode == X86_64 || !(v->cpu.rip >> 32);
}

int x86_efer_write(struct x86_vcpu *v, uint64_t val)
{
	const uint64_t known = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
	uint64_t changes = v->efer ^ val;
	if (val & ~known) return refused(v);
	if (changes & EFER_LME && v->cr0 & CR0_PG) return refused(v);
	v->efer = (val & ~(uint64_t)EFER_LMA) | (v->efer & EFER_LMA);
	if (changes & EFER_NXE) x86_tlb_flush(v, true);
	x86_mode_update(v);
	return 0;
}

/* TPR belongs to the local APIC; without one it is just kept. */
unsigned x86_cr8(struct x86_vcpu *v, bool write, unsigned val)
{
	const struct x86_hooks *h = &v->machine->env.x86;
	if (h->cr8) return h->cr8(h->ctx, v->id, write, val);
	if (write) v->cr8 = (uint8_t)val;
	return v->cr8;
}
