/* Physical memory protection (privileged architecture 3.7). The entries that are on are kept as
 * a list of ranges, so that a check is a short scan; a TLB fill pays for it, an access does not. */
#include "engine/rv64_cpu.h"

#define PMPADDR_BITS ((1ull << 54) - 1) /* address bits 55..2 */
#define PMP_LAST     ((1ull << 56) - 1)

static bool range_of(const struct rv64_cpu *c, unsigned i, struct pmp_range *r)
{
	uint64_t addr = c->pmpaddr[i], size;
	r->cfg = c->pmpcfg[i];
	switch (r->cfg & PMP_A) {
	case PMP_OFF: return false;
	case PMP_TOR:
		r->first = i ? c->pmpaddr[i - 1] << 2 : 0;
		r->last = (addr << 2) - 1;
		return addr << 2 > r->first;
	case PMP_NA4: size = 0; break;
	default: size = addr ^ (addr + 1); break;
	}
	r->first = (addr & ~size) << 2;
	r->last = ((addr | size) << 2) + 3;
	return true;
}

void rv64_pmp_update(struct rv64_cpu *c)
{
	c->pmp_n = 0;
	for (unsigned i = 0; i < PMP_ENTRIES; i++)
		if (range_of(c, i, &c->pmp[c->pmp_n])) c->pmp_n++;
	const struct pmp_range *r = &c->pmp[0];
	c->pmp_open = c->pmp_n && !r->first && r->last >= PMP_LAST &&
		      (r->cfg & (PMP_R | PMP_W | PMP_X)) == (PMP_R | PMP_W | PMP_X);
	rv64_tlb_flush(c);
	c->remap = true;
}

bool rv64_pmp_ok(const struct rv64_cpu *c, gpa_t at, unsigned len, unsigned access, unsigned priv)
{
	gpa_t end = at + len - 1;
	if (likely(c->pmp_open && end <= PMP_LAST)) return true;
	for (unsigned i = 0; i < c->pmp_n; i++) {
		const struct pmp_range *r = &c->pmp[i];
		if (end < r->first || at > r->last) continue;
		if (at < r->first || end > r->last) return false;
		return (priv == PRIV_M && !(r->cfg & PMP_L)) || (r->cfg & access) == access;
	}
	return priv == PRIV_M;
}

bool rv64_pmp_whole(const struct rv64_cpu *c, gpa_t page)
{
	gpa_t end = page + PAGE_SIZE - 1;
	if (likely(c->pmp_open && end <= PMP_LAST)) return true;
	for (unsigned i = 0; i < c->pmp_n; i++) {
		const struct pmp_range *r = &c->pmp[i];
		if (end < r->first || page > r->last) continue;
		return page >= r->first && end <= r->last;
	}
	return true;
}

void rv64_pmpcfg_set(struct rv64_cpu *c, unsigned first, uint64_t val)
{
	for (unsigned i = 0; i < 8; i++) {
		uint8_t v = (uint8_t)(val >> (8 * i)) & (PMP_L | PMP_A | PMP_X | PMP_W | PMP_R);
		if (!(v & PMP_R)) v &= (uint8_t)~PMP_W; /* W without R is reserved */
		if (!(c->pmpcfg[first + i] & PMP_L)) c->pmpcfg[first + i] = v;
	}
	rv64_pmp_update(c);
}

void rv64_pmpaddr_set(struct rv64_cpu *c, unsigned i, uint64_t val)
{
	bool next_locks = i + 1 < PMP_ENTRIES && c->pmpcfg[i + 1] & PMP_L &&
			  (c->pmpcfg[i + 1] & PMP_A) == PMP_TOR;
	if (c->pmpcfg[i] & PMP_L || next_locks) return;
	c->pmpaddr[i] = val & PMPADDR_BITS;
	rv64_pmp_update(c);
}
