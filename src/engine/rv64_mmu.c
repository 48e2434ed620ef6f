/* Address translation and the software TLB behind it (privileged architecture 10.3 to 10.5).
 * Handlers look into the TLB themselves and come here when it has no answer: a walk, the checks,
 * the access, and an entry for the next time wherever one page has one answer. */
#include "engine/debug.h"
#include "engine/rv64_cpu.h"
#include "engine/rv64_reserve.h"
#include "engine/rv64_window.h"
#include "hw/bus.h"
#include "hw/gmem.h"

enum { PTE_SIZE = 8, LEVEL_BITS = 9, NAPOT_BITS = 4 };

static unsigned page_fault(unsigned access)
{
	return access == ACCESS_X   ? CAUSE_FETCH_PAGE
	       : access == ACCESS_W ? CAUSE_STORE_PAGE
				    : CAUSE_LOAD_PAGE;
}
static unsigned access_fault(unsigned access)
{
	return access == ACCESS_X   ? CAUSE_FETCH_ACCESS
	       : access == ACCESS_W ? CAUSE_STORE_ACCESS
				    : CAUSE_LOAD_ACCESS;
}

/* ---- the walk ---- */
static bool leaf_allows(const struct rv64_cpu *c, uint64_t pte, unsigned access, unsigned priv)
{
	bool user = pte & PTE_U, sum = c->mstatus & MSTATUS_SUM;
	if (priv == PRIV_U ? !user : user && (access == ACCESS_X || !sum)) return false;
	if (access == ACCESS_X) return pte & PTE_X;
	if (access == ACCESS_W) return pte & PTE_W;
	return pte & PTE_R || (pte & PTE_X && c->mstatus & MSTATUS_MXR);
}

/* Encodings that are reserved, at any level. */
static bool pte_bad(const struct rv64_cpu *c, uint64_t pte)
{
	uint64_t pbmt = pte & PTE_PBMT;
	if (!(pte & PTE_V) || (pte & (PTE_R | PTE_W)) == PTE_W || pte & PTE_RESERVED) return true;
	if (pbmt && (pbmt == PTE_PBMT || !(c->menvcfg & ENVCFG_PBMTE))) return true;
	bool leaf = pte & (PTE_R | PTE_X);
	return !leaf && pte & (PTE_A | PTE_D | PTE_U | PTE_N | PTE_PBMT);
}

/* How many bits of the virtual address a leaf passes on, besides the page offset; -1: misformed. */
static int leaf_bits(uint64_t pte, unsigned level)
{
	uint64_t ppn = (pte & PTE_PPN) >> PTE_PPN_SHIFT;
	if (pte & PTE_N) /* Svnapot knows 64 KiB only */
		return level == 0 && (ppn & 15) == 8 ? NAPOT_BITS : -1;
	unsigned bits = level * LEVEL_BITS;
	return ppn & ((1ull << bits) - 1) ? -1 : (int)bits;
}

/* Svadu: set A, and D for a store, if the entry still is what we saw. */
static bool pte_mark(struct rv64_cpu *c, gpa_t at, uint64_t *pte, uint64_t want)
{
	_Atomic uint64_t *p = gmem_ptr(c->mem, at, PTE_SIZE, true);
	if (!p || !rv64_pmp_ok(c, at, PTE_SIZE, ACCESS_W, PRIV_S)) return false;
	if (atomic_compare_exchange_strong(p, pte, *pte | want)) {
		gmem_dirty(c->mem, at, PTE_SIZE);
		*pte |= want;
	}
	return true;
}

struct walk {
	gva_t va;
	unsigned access, priv, level;
	bool quiet; /* no marks: an entry without them is as good as none */
	bool look;  /* whatever rights and marks say */
	gpa_t at;   /* of the entry */
};

static unsigned leaf_take(struct rv64_cpu *c, const struct walk *w, uint64_t pte,
			  struct rv64_page *out)
{
	uint64_t want = w->access == ACCESS_W ? PTE_A | PTE_D : PTE_A;
	for (;;) {
		int bits = leaf_bits(pte, w->level);
		if (pte_bad(c, pte) || bits < 0 ||
		    !(w->look || leaf_allows(c, pte, w->access, w->priv)))
			return page_fault(w->access);
		uint64_t mask = (1ull << bits) - 1, ppn = (pte & PTE_PPN) >> PTE_PPN_SHIFT;
		out->at = ((ppn & ~mask) | (w->va >> PAGE_SHIFT & mask)) << PAGE_SHIFT;
		out->user = pte & PTE_U;
		out->global |= pte & PTE_G;
		out->span = bits ? (1ull << (bits + PAGE_SHIFT)) - 1 : 0;
		out->dirty = (pte & (PTE_W | PTE_D)) == (PTE_W | PTE_D);
		if ((pte & want) == want || w->look) return 0;
		if (w->quiet || !(c->menvcfg & ENVCFG_ADUE)) return page_fault(w->access);
		if (!pte_mark(c, w->at, &pte, want)) return access_fault(w->access);
	}
}

enum how { MARK, QUIET, LOOK };
static unsigned translate(struct rv64_cpu *c, gva_t va, unsigned access, unsigned priv,
			  enum how how, struct rv64_page *out)
{
	unsigned mode = (unsigned)(c->satp >> SATP_MODE_SHIFT);
	*out = (struct rv64_page){.at = va & PAGE_MASK, .global = true, .dirty = true};
	if (priv == PRIV_M || !mode) return 0;
	out->global = out->dirty = false;
	struct walk w = {.va = va,
			 .access = access,
			 .priv = priv,
			 .level = mode - 5,
			 .quiet = how == QUIET,
			 .look = how == LOOK};
	unsigned unused = 64 - (PAGE_SHIFT + w.level * LEVEL_BITS);
	if ((uint64_t)((int64_t)(va << unused) >> unused) != va) return page_fault(access);
	gpa_t table = (c->satp & SATP_PPN) << PAGE_SHIFT;
	while (w.level--) {
		uint64_t i = va >> (PAGE_SHIFT + w.level * LEVEL_BITS) & ((1u << LEVEL_BITS) - 1);
		w.at = table + i * PTE_SIZE;
		_Atomic uint64_t *p = gmem_ptr(c->mem, w.at, PTE_SIZE, false);
		if (!p || !rv64_pmp_ok(c, w.at, PTE_SIZE, ACCESS_R, PRIV_S))
			return access_fault(access);
		uint64_t pte = atomic_load_explicit(p, memory_order_relaxed);
		if (pte_bad(c, pte)) return page_fault(access);
		if (pte & (PTE_R | PTE_X)) return leaf_take(c, &w, pte, out);
		out->global |= pte & PTE_G;
		table = (pte & PTE_PPN) >> PTE_PPN_SHIFT << PAGE_SHIFT;
	}
	return page_fault(access);
}

unsigned rv64_translate(struct rv64_cpu *c, gva_t va, unsigned access, unsigned priv,
			struct rv64_page *out)
{
	return translate(c, va, access, priv, MARK, out);
}

unsigned rv64_peek(struct rv64_cpu *c, gva_t va, unsigned access, unsigned priv,
		   struct rv64_page *out)
{
	return translate(c, va, access, priv, QUIET, out);
}

bool rv64_look(struct rv64_cpu *c, gva_t va, struct rv64_page *out)
{
	return !translate(c, va, ACCESS_R, c->priv_data, LOOK, out);
}

/* ---- contexts: what a tag stands for besides the address ---- */
static void tags_clear(struct rv64_cpu *c)
{
	for (unsigned i = 0; i < TLB_SIZE; i++) c->rd[i].tag = c->wr[i].tag = NO_TAG;
	for (unsigned i = 0; i < FETCH_SIZE; i++) c->fetch[i].tag = NO_TAG;
}

static void keys_drop(struct rv64_cpu *c)
{
	for (unsigned i = 0; i < CTX_KEYS; i++) c->ctx[i].id = 0;
	memset(c->ctx_id, 0, sizeof(c->ctx_id));
	memset(c->large, 0, sizeof(c->large));
	c->local_n = 0;
}

static uint32_t ctx_number(struct rv64_cpu *c)
{
	if (c->ctx_next == CTX_MAX || !c->ctx_next) {
		tags_clear(c);
		keys_drop(c);
		c->ctx_next = 1;
	}
	return c->ctx_next++;
}

static uint32_t ctx_find(struct rv64_cpu *c, uint64_t satp, unsigned priv, bool mxr)
{
	for (unsigned i = 0; i < CTX_KEYS; i++) {
		struct ctx_key *k = &c->ctx[i];
		if (k->id && k->satp == satp && k->priv == priv && k->mxr == mxr) return k->id;
	}
	uint32_t id = ctx_number(c);
	c->ctx[c->ctx_hand] = (struct ctx_key){satp, id, (uint8_t)priv, mxr};
	c->ctx_hand = (c->ctx_hand + 1) % CTX_KEYS;
	return id;
}

static uint64_t satp_mode(const struct rv64_cpu *c)
{
	return c->satp >> SATP_MODE_SHIFT << SATP_MODE_SHIFT;
}

static uint32_t ctx_for(struct rv64_cpu *c, unsigned priv, bool mxr)
{
	uint32_t *id = &c->ctx_id[priv][mxr];
	if (!*id) {
		uint64_t satp = priv == PRIV_U ? c->satp : priv == PRIV_S ? satp_mode(c) : 0;
		uint32_t found = ctx_find(c, satp, priv, mxr);
		*id = found; /* after it, for it may have dropped all */
	}
	return *id;
}

void rv64_mode_update(struct rv64_cpu *c)
{
	bool mprv = c->priv == PRIV_M && c->mstatus & MSTATUS_MPRV;
	c->priv_data = mprv ? c->mstatus >> 11 & 3 : c->priv;
	do { /* taking the second number may have made the first one void */
		c->fctx = ctx_for(c, c->priv, false);
		c->dctx = ctx_for(c, c->priv_data, c->mstatus & MSTATUS_MXR);
	} while (c->fctx != c->ctx_id[c->priv][false]);
	if (c->windows) rv64_window_mode(c);
}

void rv64_satp_changed(struct rv64_cpu *c)
{
	memset(c->ctx_id, 0, sizeof(c->ctx_id));
	c->remap = true;
	rv64_local_drop(c);
	if (c->windows) rv64_window_space(c);
	rv64_mode_update(c);
}

static void tables_flush(struct rv64_cpu *c)
{
	keys_drop(c); /* numbers are not given twice before all tags are cleared */
	rv64_mode_update(c);
}

void rv64_tlb_flush(struct rv64_cpu *c)
{
	rv64_window_drop(c);
	tables_flush(c);
}

/* Global mappings stay (10.2.1), which is all that S-mode's context has beside the noted ones. */
void rv64_tlb_flush_asid(struct rv64_cpu *c, unsigned asid)
{
	for (unsigned i = 0; i < CTX_KEYS; i++)
		if (c->ctx[i].priv == PRIV_U &&
		    (c->ctx[i].satp >> SATP_ASID_SHIFT & 0xffff) == asid)
			c->ctx[i].id = 0;
	rv64_window_drop_asid(c, asid);
	memset(c->ctx_id, 0, sizeof(c->ctx_id));
	rv64_local_drop(c);
	rv64_mode_update(c);
}

void rv64_tlb_flush_page(struct rv64_cpu *c, gva_t va)
{
	uint64_t i = va >> PAGE_SHIFT, gib = va / GIB % LARGE_BITS;
	rv64_window_drop_page(c, va);
	if (c->large[gib / 64] >> gib % 64 & 1) {
		tables_flush(c);
		return;
	}
	struct tlb_entry *r = &c->rd[i % TLB_SIZE], *w = &c->wr[i % TLB_SIZE];
	struct fetch_entry *f = &c->fetch[i % FETCH_SIZE];
	if (!((r->tag ^ va) & PAGE_MASK)) r->tag = NO_TAG;
	if (!((w->tag ^ va) & PAGE_MASK)) w->tag = NO_TAG;
	if (!((f->tag ^ va) & PAGE_MASK)) f->tag = NO_TAG;
}

/* One fence must drop all of a large page, whatever its parts were cached under. */
void rv64_tlb_large(struct rv64_cpu *c, gva_t va, uint64_t span)
{
	uint64_t gib = va / GIB % LARGE_BITS;
	if (span < GIB)
		c->large[gib / 64] |= 1ull << gib % 64;
	else
		memset(c->large, 0xff, sizeof(c->large));
}

/* ---- pages of one address space in S-mode's context ---- */
static void local_note(struct rv64_cpu *c, unsigned i)
{
	if (c->local_n < LOCAL_LIST) c->local_list[c->local_n] = (uint16_t)i;
	if (c->local_n <= LOCAL_LIST) c->local_n++;
}

void rv64_local_drop(struct rv64_cpu *c)
{
	for (unsigned i = 0; c->fetch_local && i < FETCH_SIZE; i++) c->fetch[i].tag = NO_TAG;
	c->fetch_local = false;
	if (c->local_n > LOCAL_LIST) {
		tables_flush(c);
		return;
	}
	for (unsigned i = 0; i < c->local_n; i++)
		c->rd[c->local_list[i]].tag = c->wr[c->local_list[i]].tag = NO_TAG;
	c->local_n = 0;
}

/* ---- loads and stores ---- */
struct reach {
	gpa_t at;
	uint8_t *host; /* NULL: a device, or nothing */
	bool watched;  /* writes must be told of */
	bool debugged; /* some of the page has a watchpoint */
};

static void tlb_fill(struct rv64_cpu *c, gva_t va, unsigned access, const struct rv64_page *pg,
		     const void *host)
{
	unsigned i = (unsigned)(va >> PAGE_SHIFT) % TLB_SIZE;
	struct tlb_entry *e = access == ACCESS_W ? &c->wr[i] : &c->rd[i];
	if (!rv64_pmp_whole(c, pg->at)) return;
	if (access == ACCESS_W) rv64_code_writable(c, pg->at, i);
	*e = (struct tlb_entry){(va & PAGE_MASK) | c->dctx, (uintptr_t)host - (va & PAGE_MASK)};
	if (pg->span) rv64_tlb_large(c, va, pg->span);
	if (c->win_limit) rv64_window_fill(c, va, access);
	if ((pg->user || !pg->global) && c->priv_data == PRIV_S) local_note(c, i);
}

/* len bytes within one page. */
static enum rv64_stop reach(struct rv64_cpu *c, gva_t va, unsigned len, unsigned access,
			    struct reach *r)
{
	struct rv64_page pg;
	unsigned off = va & ~PAGE_MASK;
	rv64_count(c, COUNT_TLB_MISS);
	unsigned cause = rv64_translate(c, va, access, c->priv_data, &pg);
	if (cause) return rv64_raise(c, cause, va);
	r->at = pg.at | off;
	if (!rv64_pmp_ok(c, r->at, len, access, c->priv_data))
		return rv64_raise(c, access_fault(access), va);
	r->debugged = unlikely(c->debug != NULL) && debug_watches_page(c->debug, va);
	if (r->debugged) {
		const struct vcpu_watch *w = debug_watch(c->debug, va, len, access == ACCESS_W);
		if (w) return rv64_debug_met(c, w);
	}
	uint8_t *host = gmem_ptr(c->mem, pg.at, PAGE_SIZE, access == ACCESS_W);
	r->host = host ? host + off : NULL;
	if (!host) rv64_count(c, COUNT_DEVICE);
	if (!host) return STOP_NOT;
	r->watched = access == ACCESS_W && rv64_watched(c, pg.at, PAGE_SIZE);
	if (!r->watched && !r->debugged) tlb_fill(c, va, access, &pg, host);
	if (access == ACCESS_W) gmem_dirty(c->mem, r->at, len);
	return STOP_NOT;
}

uint64_t rv64_tlb_find(struct rv64_cpu *c, gva_t va, unsigned access)
{
	struct reach r = {0};
	gva_t page = va & PAGE_MASK;
	if (reach(c, va, 1, access, &r) || !r.host || r.watched || r.debugged ||
	    !rv64_pmp_whole(c, r.at))
		return 1;
	return (uintptr_t)r.host - (va & ~PAGE_MASK) - page;
}

static uint64_t host_load(const void *p, unsigned len)
{
	switch (len) { /* sizes spelt out: each is one access */
	case 1: return load_le(p, 1);
	case 2: return load_le(p, 2);
	case 4: return load_le(p, 4);
	case 8: return load_le(p, 8);
	default: return load_le(p, len);
	}
}

static void host_store(void *p, uint64_t v, unsigned len)
{
	switch (len) {
	case 1: store_le(p, v, 1); break;
	case 2: store_le(p, v, 2); break;
	case 4: store_le(p, v, 4); break;
	case 8: store_le(p, v, 8); break;
	default: store_le(p, v, len);
	}
}

static uint64_t zero_extend(uint64_t v, unsigned len)
{
	return len < 8 ? v & ((1ull << (8 * len)) - 1) : v;
}

static uint64_t read_at(struct rv64_cpu *c, const struct reach *r, unsigned len)
{
	if (r->host) return host_load(r->host, len);
	if (!(len & (len - 1))) return zero_extend(bus_read(c->mmio, r->at, len), len);
	uint64_t v = 0;
	for (unsigned i = 0; i < len; i++) v |= (bus_read(c->mmio, r->at + i, 1) & 0xff) << (8 * i);
	return v;
}

static void write_watched(struct rv64_cpu *c, const struct reach *r, uint64_t v, unsigned len)
{
	rv64_watched_begin(c);
	host_store(r->host, v, len);
	rv64_watched_wrote(c, r->at, len);
	rv64_watched_end(c);
}

static void write_at(struct rv64_cpu *c, const struct reach *r, uint64_t v, unsigned len)
{
	if (unlikely(r->watched))
		write_watched(c, r, v, len);
	else if (r->host)
		host_store(r->host, v, len);
	else if (!(len & (len - 1)))
		bus_write(c->mmio, r->at, zero_extend(v, len), len);
	else
		for (unsigned i = 0; i < len; i++)
			bus_write(c->mmio, r->at + i, v >> (8 * i) & 0xff, 1);
}

/* Bytes of the access that lie in va's page. */
static unsigned first_part(gva_t va, unsigned len)
{
	uint64_t room = PAGE_SIZE - (va & ~PAGE_MASK);
	return room < len ? (unsigned)room : len;
}

enum rv64_stop rv64_load(struct rv64_cpu *c, gva_t va, unsigned len)
{
	struct reach a = {0}, b = {0};
	unsigned n = first_part(va, len);
	if (reach(c, va, n, ACCESS_R, &a)) return STOP_TRAP;
	if (n < len && reach(c, va + n, len - n, ACCESS_R, &b)) return STOP_TRAP;
	uint64_t v = read_at(c, &a, n);
	if (n < len) v |= read_at(c, &b, len - n) << (8 * n);
	c->val = v;
	return STOP_NOT;
}

enum rv64_stop rv64_store(struct rv64_cpu *c, gva_t va, uint64_t val, unsigned len)
{
	struct reach a = {0}, b = {0};
	unsigned n = first_part(va, len);
	if (reach(c, va, n, ACCESS_W, &a)) return STOP_TRAP;
	if (n < len && reach(c, va + n, len - n, ACCESS_W, &b)) return STOP_TRAP;
	write_at(c, &a, val, n);
	if (n < len) write_at(c, &b, val >> (8 * n), len - n);
	if (a.host) return STOP_NOT;
	rv64_count_look(c); /* it may have set a timer */
	return c->counted || atomic_load(&c->poll) ? STOP_NEXT : STOP_NOT;
}

enum rv64_stop rv64_atomic_ptr(struct rv64_cpu *c, gva_t va, unsigned len, bool write)
{
	struct reach r = {0};
	if (va & (len - 1))
		return rv64_raise(c, write ? CAUSE_STORE_MISALIGNED : CAUSE_LOAD_MISALIGNED, va);
	unsigned access = write ? ACCESS_W : ACCESS_R;
	if (reach(c, va, len, access, &r)) return STOP_TRAP;
	if (!r.host) return rv64_raise(c, access_fault(access), va);
	c->ptr = r.host;
	c->atomic_at = r.at;
	c->atomic_watched = r.watched;
	if (r.watched) rv64_watched_begin(c);
	return STOP_NOT;
}

/* ---- cache blocks (Zicboz, Zicbom): 64 bytes ---- */
enum { BLOCK = 64 };

enum rv64_stop rv64_zero_block(struct rv64_cpu *c, gva_t va)
{
	struct reach r = {0};
	gva_t block = va & ~(gva_t)(BLOCK - 1);
	if (reach(c, block, BLOCK, ACCESS_W, &r)) {
		c->tval = va;
		return STOP_TRAP;
	}
	for (unsigned i = 0; r.watched && i < BLOCK; i += 8)
		write_watched(c, &(struct reach){r.at + i, r.host + i, true, false}, 0, 8);
	if (r.host && !r.watched) memset(r.host, 0, BLOCK);
	for (unsigned i = 0; !r.host && i < BLOCK; i += 8) bus_write(c->mmio, r.at + i, 0, 8);
	return STOP_NOT;
}

enum rv64_stop rv64_check_block(struct rv64_cpu *c, gva_t va)
{
	struct reach r = {0};
	gva_t block = va & ~(gva_t)(BLOCK - 1);
	if (!reach(c, block, BLOCK, ACCESS_R, &r) || !reach(c, block, BLOCK, ACCESS_W, &r))
		return STOP_NOT;
	c->tval = va;
	return STOP_TRAP;
}
