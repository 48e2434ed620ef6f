/* Address translation (SDM 3, chapter 4) and the software TLB before it. Whoever finds no entry
 * comes here: a walk, the checks, the access, and an entry for the next time if the page is RAM. */
#include "engine/debug.h"
#include "engine/x86_context.h"
#include "engine/x86_direct.h"
#include "engine/x86_jit.h"
#include "engine/x86_shadow.h"
#include "engine/x86_vcpu.h"
#include "engine/x86_window.h"
#include "hw/bus.h"
#include "hw/gmem.h"
#include <sched.h>
#include <sys/mman.h>

enum x86_pte {
	PTE_P = 1 << 0,
	PTE_W = 1 << 1,
	PTE_U = 1 << 2,
	PTE_A = 1 << 5,
	PTE_D = 1 << 6,
	PTE_PS = 1 << 7,
	PTE_G = 1 << 8,
};
#define PTE_NX	  (1ull << 63)
#define PTE_ADDR  (((1ull << X86_PHYS_BITS) - 1) & ~0xfffull)
#define PTE_HIGH  ((1ull << 52) - (1ull << X86_PHYS_BITS)) /* reserved: 51:MAXPHYADDR */
#define PAE_HIGH  ((1ull << 63) - (1ull << X86_PHYS_BITS)) /* and in PAE's up to 62 */
#define PAGE_MASK (~(uint64_t)(X86_PAGE - 1))
enum { PF_P = 1, PF_U = 4, PF_RSVD = 8 };

void x86_wrote(struct x86_vcpu *v, gpa_t at, unsigned n)
{
	struct x86_machine *m = v->machine;
	gmem_log(m->env.mem, at, n); /* code_wrote tells of code, and more exactly than seals */
	if (!m->code || !m->code_wrote) return;
	for (uint64_t p = at >> X86_PAGE_SHIFT; p <= (at + n - 1) >> X86_PAGE_SHIFT; p++)
		if (p < m->code_pages && atomic_load_explicit(&m->code[p], memory_order_relaxed)) {
			m->code_wrote(v, at, n);
			return;
		}
}

/* ---- the walk */
struct walk {
	struct x86_vcpu *v;
	uint64_t la;
	unsigned access;
	enum x86_view as;
	bool quiet; /* no marks */
	bool again; /* an entry changed before it could be marked */
	bool user, writable, nx;
	unsigned bytes; /* of an entry */
	gpa_t at;	/* of the entry */
	uint64_t pte;
};

static int page_fault(const struct walk *w, unsigned code)
{
	struct x86_vcpu *v = w->v;
	bool tells_fetch = v->cr4 & CR4_SMEP || (v->efer & EFER_NXE && v->cr4 & CR4_PAE);
	v->fault = w->la;
	code |= w->access & X86_W;
	if (w->as == X86_VIEW_USER) code |= PF_U;
	if (tells_fetch) code |= w->access & X86_X;
	return x86_raise(v, X86_TRAP_PF, code);
}

/* Tables that are nowhere read as what an empty bus does. */
static void entry_read(struct walk *w)
{
	const void *p = gmem_ptr(w->v->machine->env.mem, w->at, w->bytes, false);
	if (!p)
		w->pte = w->bytes == 8 ? UINT64_MAX : UINT32_MAX;
	else if (w->bytes == 8)
		w->pte = __atomic_load_n((const uint64_t *)p, __ATOMIC_ACQUIRE);
	else
		w->pte = __atomic_load_n((const uint32_t *)p, __ATOMIC_ACQUIRE);
}

/* Set A, D: SDM 3, 4.8. In ROM they stay what they are. */
static void entry_mark(struct walk *w, uint64_t want)
{
	if (w->quiet || (w->pte & want) == want) return;
	void *p = gmem_ptr(w->v->machine->env.mem, w->at, w->bytes, true);
	uint32_t was = (uint32_t)w->pte;
	if (!p) return;
	bool done =
		w->bytes == 8
			? __atomic_compare_exchange_n((uint64_t *)p, &w->pte, w->pte | want, false,
						      __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)
			: __atomic_compare_exchange_n((uint32_t *)p, &was, was | (uint32_t)want,
						      false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	if (done) {
		w->pte |= want;
		x86_wrote(w->v, w->at, w->bytes);
	}
	w->again = !done;
}

static void rights_add(struct walk *w)
{
	w->user &= !!(w->pte & PTE_U);
	w->writable &= !!(w->pte & PTE_W);
	w->nx |= w->bytes == 8 && w->pte & PTE_NX;
}

/* SDM 3, 4.6 */
static bool is_allowed(const struct walk *w)
{
	const struct x86_vcpu *v = w->v;
	bool user = w->as == X86_VIEW_USER;
	if (user && !w->user) return false;
	if (w->access & X86_X) return !w->nx && (user || !w->user || !(v->cr4 & CR4_SMEP));
	if (w->as == X86_VIEW_KERNEL && w->user) return false;
	if (!(w->access & X86_W)) return true;
	return w->writable || (!user && !(v->cr0 & CR0_WP));
}

/* The entry that maps the page; bits: those of the address that it leaves alone. */
static int leaf(struct walk *w, gpa_t base, unsigned bits, struct x86_page_found *out)
{
	const struct x86_vcpu *v = w->v;
	if (!is_allowed(w)) return page_fault(w, PF_P);
	entry_mark(w, w->access & X86_W ? PTE_A | PTE_D : PTE_A);
	uint64_t inside = (1ull << bits) - 1;
	out->at = ((base & ~inside) | (w->la & inside)) & PAGE_MASK;
	out->user = w->user;
	out->global = w->pte & PTE_G && v->cr4 & CR4_PGE;
	out->large = bits > X86_PAGE_SHIFT;
	out->giant = bits > X86_PAGE_SHIFT + 9; /* what one entry of the window is a part of */
	out->writable = w->writable || (w->as != X86_VIEW_USER && !(v->cr0 & CR0_WP));
	out->dirty = w->pte & PTE_D || w->access & X86_W;
	return 0;
}

/* Tables of 512 entries, from `level` (3: PML4) down; reserved: at every level. */
static int walk_wide(struct walk *w, gpa_t table, unsigned level, uint64_t reserved,
		     struct x86_page_found *out)
{
	w->bytes = 8;
	if (!(w->v->efer & EFER_NXE)) reserved |= PTE_NX;
	for (;; level--) {
		unsigned bits = X86_PAGE_SHIFT + 9 * level;
		uint64_t bad = reserved, inside = (1ull << bits) - 1;
		w->at = table + (w->la >> bits & 511) * 8;
		entry_read(w);
		if (!(w->pte & PTE_P)) return page_fault(w, 0);
		bool large = level && w->pte & PTE_PS;
		if (large) bad |= level == 3 ? PTE_PS : inside & ~0x1fffull; /* bit 12: PAT */
		if (w->pte & bad) return page_fault(w, PF_P | PF_RSVD);
		rights_add(w);
		if (!level || large) return leaf(w, w->pte & PTE_ADDR, bits, out);
		entry_mark(w, PTE_A);
		if (w->again) return 0;
		table = w->pte & PTE_ADDR;
	}
}

/* PAE: the four uppermost are registers. SDM 3, 4.4.2 */
static int walk_pae(struct walk *w, struct x86_page_found *out)
{
	uint64_t top = w->v->pdpte[w->la >> 30 & 3];
	if (!(top & PTE_P)) return page_fault(w, 0);
	return walk_wide(w, top & PTE_ADDR, 1, PAE_HIGH, out);
}

/* SDM 3, 4.3 */
static int walk_narrow(struct walk *w, struct x86_page_found *out)
{
	enum { LARGE_BITS = 22, LARGE_RSVD = 1 << 21 };
	w->bytes = 4;
	w->at = (w->v->cr3 & 0xfffff000) + (w->la >> LARGE_BITS & 1023) * 4;
	entry_read(w);
	if (!(w->pte & PTE_P)) return page_fault(w, 0);
	bool large = w->pte & PTE_PS && w->v->cr4 & CR4_PSE;
	if (large && w->pte & LARGE_RSVD) return page_fault(w, PF_P | PF_RSVD);
	rights_add(w);
	if (large) /* bits 39:32 of the address in 20:13 */
		return leaf(w, (w->pte & 0xffc00000) | (w->pte >> 13 & 0xff) << 32, LARGE_BITS,
			    out);
	entry_mark(w, PTE_A);
	if (w->again) return 0;
	w->at = (w->pte & 0xfffff000) + (w->la >> X86_PAGE_SHIFT & 1023) * 4;
	entry_read(w);
	if (!(w->pte & PTE_P)) return page_fault(w, 0);
	rights_add(w);
	return leaf(w, w->pte & 0xfffff000, X86_PAGE_SHIFT, out);
}

static int walk_once(struct walk *w, struct x86_page_found *out)
{
	const struct x86_vcpu *v = w->v;
	w->again = w->nx = false;
	w->user = w->writable = true;
	if (v->long_mode) return walk_wide(w, v->cr3 & PTE_ADDR, 3, PTE_HIGH, out);
	return v->cr4 & CR4_PAE ? walk_pae(w, out) : walk_narrow(w, out);
}

static int translate(struct walk *w, struct x86_page_found *out)
{
	struct x86_vcpu *v = w->v;
	int e;
	if (v->long_mode && !x86_canonical(w->la)) return x86_raise(v, X86_TRAP_GP, 0);
	if (!(v->cr0 & CR0_PG)) {
		*out = (struct x86_page_found){
			.at = w->la & 0xfffff000, .user = true, .writable = true, .dirty = true};
		return 0;
	}
	x86_count(v, X86_STAT_WALK);
	do e = walk_once(w, out);
	while (unlikely(w->again));
	return e;
}

int x86_translate(struct x86_vcpu *v, uint64_t la, unsigned access, enum x86_view as,
		  struct x86_page_found *out)
{
	struct walk w = {.v = v, .la = la, .access = access, .as = as};
	return translate(&w, out);
}

bool x86_peek_page(struct x86_vcpu *v, uint64_t la, unsigned access, enum x86_view as,
		   struct x86_page_found *out)
{
	struct walk w = {.v = v, .la = la, .access = access, .as = as, .quiet = true};
	uint64_t fault = v->fault;
	uint32_t code = v->code;
	bool found = !translate(&w, out);
	out->dirty = w.pte & PTE_D;
	out->accessed = w.pte & PTE_A;
	v->fault = fault;
	v->code = code;
	return found;
}
bool x86_peek(struct x86_vcpu *v, uint64_t la, gpa_t *out)
{
	struct x86_page_found pg;
	bool found = x86_peek_page(v, la, X86_R, X86_VIEW_BOTH, &pg);
	if (found) *out = pg.at | (la & ~PAGE_MASK);
	return found;
}

/* ---- the TLB */

static void entry_drop(struct x86_vcpu *v, unsigned view, unsigned i)
{
	v->tlb[view][i] = (struct x86_tlb_entry){.rd = X86_NO_TAG(i), .wr = X86_NO_TAG(i)};
}

static uint64_t *seen_word(struct x86_vcpu *v, uint64_t la, uint64_t *bit)
{
	uint64_t n = la >> X86_PAGE_SHIFT;
	*bit = 1ull << (n & 63);
	return &v->fetches.seen[la >> 63][(n >> 6 ^ n >> 10) & (COUNT(v->fetches.seen[0]) - 1)];
}
static void seen_note(struct x86_vcpu *v, uint64_t la)
{
	uint64_t bit, *at = seen_word(v, la, &bit);
	*at |= bit;
}
static bool is_seen(struct x86_vcpu *v, uint64_t la)
{
	uint64_t bit;
	return *seen_word(v, la, &bit) & bit;
}
static void fetches_drop(struct x86_vcpu *v, bool globals)
{
	struct x86_fetches *f = &v->fetches;
	f->gen++;
	if (globals) f->gen_global = f->gen;
	memset(f->seen, 0, globals ? sizeof(f->seen) : sizeof(f->seen[0]));
	v->fetch_tag = X86_NO_FETCH;
	x86_jit_flush(v, globals);
}

static void locals_drop(struct x86_vcpu *v, unsigned view)
{
	struct x86_entered *in = &v->entered[view];
	bool all = in->n > COUNT(in->at);
	unsigned n = all ? X86_TLB_SIZE : in->n;
	for (unsigned k = 0; k < n; k++) {
		unsigned i = all ? k : in->at[k];
		if (!(v->tlb[view][i].gpa & X86_TLB_GLOBAL)) entry_drop(v, view, i);
	}
	in->n = 0;
}

void x86_tlb_flush(struct x86_vcpu *v, bool globals)
{
	for (unsigned view = 0; view < X86_VIEWS; view++) {
		if (!globals) locals_drop(v, view);
		for (unsigned i = 0; globals && i < X86_TLB_SIZE; i++) entry_drop(v, view, i);
		v->entered[view].n = 0;
	}
	if (globals) {
		v->large = 0;
		x86_shadows_flush(v);
		x86_contexts_drop(v);
	}
	fetches_drop(v, globals);
}

/* User and kernel addresses each have half of them. */
static uint64_t large_bit(uint64_t la) { return 1ull << ((la >> 30 & 31) | la >> 63 << 5); }

static void larges_drop(struct x86_vcpu *v)
{
	for (unsigned view = 0; view < X86_VIEWS; view++)
		for (unsigned i = 0; i < X86_TLB_SIZE; i++)
			if (v->tlb[view][i].gpa & X86_TLB_LARGE) entry_drop(v, view, i);
	v->large = 0;
}

void x86_tlb_flush_page(struct x86_vcpu *v, uint64_t la)
{
	unsigned i = x86_tlb_index(la);
	for (unsigned view = 0; view < X86_VIEWS; view++) {
		const struct x86_tlb_entry *e = &v->tlb[view][i];
		if (e->rd == (la & PAGE_MASK) || e->wr == (la & PAGE_MASK)) entry_drop(v, view, i);
	}
	bool large = v->large & large_bit(la);
	if (large) {
		larges_drop(v);
		x86_shadows_flush(v);
	}
	x86_shadows_drop_page(v, la);
	if (large || is_seen(v, la)) fetches_drop(v, true);
}

/* NULL: nobody counts. */
static struct x86_writers *writers_of(struct x86_vcpu *v, gpa_t page)
{
	uint64_t k = page >> X86_PAGE_SHIFT;
	return v->writers && k < v->machine->code_pages ? &v->writers[k] : NULL;
}
static void writer_note(struct x86_vcpu *v, gpa_t page, unsigned i)
{
	struct x86_writers *w = writers_of(v, page);
	if (!w || w->at[0] == i + 1) return;
	if (!w->at[0])
		w->at[0] = (uint16_t)(i + 1);
	else if (w->at[1] != i + 1)
		w->at[1] = w->at[1] ? (uint16_t)X86_MANY : (uint16_t)(i + 1);
}
static void flush_writes_at(struct x86_vcpu *v, gpa_t page, unsigned i)
{
	for (unsigned view = 0; view < X86_VIEWS; view++) {
		struct x86_tlb_entry *e = &v->tlb[view][i];
		if ((e->gpa & PAGE_MASK) == page) e->wr = X86_NO_TAG(i);
	}
}
void x86_tlb_flush_writes(struct x86_vcpu *v, gpa_t page)
{
	struct x86_writers *w = writers_of(v, page), was = {{1, X86_MANY}};
	if (w) was = *w;
	if (!was.at[0]) return;
	if (w) *w = (struct x86_writers){0};
	x86_contexts_drop(v);
	bool many = was.at[1] == X86_MANY;
	for (unsigned i = 0; many && i < X86_TLB_SIZE; i++) flush_writes_at(v, page, i);
	for (unsigned k = 0; !many && k < COUNT(was.at) && was.at[k]; k++)
		flush_writes_at(v, page, was.at[k] - 1);
}

void x86_tlb_flush_writes_to_code(struct x86_vcpu *v)
{
	x86_contexts_drop(v);
	x86_shadows_fence(v);
	for (unsigned view = 0; view < X86_VIEWS; view++)
		for (unsigned i = 0; i < X86_TLB_SIZE; i++) {
			struct x86_tlb_entry *e = &v->tlb[view][i];
			if (e->wr != X86_NO_TAG(i) && x86_has_code(v->machine, e->gpa & PAGE_MASK))
				e->wr = X86_NO_TAG(i);
		}
}

static void entered(struct x86_vcpu *v, enum x86_view as, unsigned i)
{
	struct x86_entered *in = &v->entered[as];
	if (in->n < COUNT(in->at)) in->at[in->n] = (uint16_t)i;
	if (in->n <= COUNT(in->at)) in->n++;
}

/* Where writes are logged, only a write makes an entry for writes, and its page is written then. */
static void tlb_fill(struct x86_vcpu *v, uint64_t la, enum x86_view as,
		     const struct x86_page_found *pg, bool stores)
{
	struct gmem *mem = v->machine->env.mem;
	const uint8_t *host = gmem_ptr(mem, pg->at, X86_PAGE, false);
	if (!host || pg->at == v->apic_page || debug_watches_page(v->debug, la)) return;
	unsigned i = x86_tlb_index(la);
	uint64_t page = la & PAGE_MASK;
	bool write = pg->writable && pg->dirty && (stores || !gmem_tracking(mem)) &&
		     gmem_ptr(mem, pg->at, X86_PAGE, true) && !x86_has_code(v->machine, pg->at);
	v->tlb[as][i] = (struct x86_tlb_entry){.rd = page,
					       .wr = write ? page : X86_NO_TAG(i),
					       .add = (uintptr_t)host - page,
					       .gpa = pg->at | (pg->global ? X86_TLB_GLOBAL : 0) |
						      (pg->large ? X86_TLB_LARGE : 0)};
	if (write) {
		writer_note(v, pg->at, i);
		gmem_log(mem, pg->at, X86_PAGE);
	}
	if (!pg->global) entered(v, as, i);
	if (pg->large) v->large |= large_bit(la);
}

void *x86_tlb_find(struct x86_vcpu *v, uint64_t la, bool write, enum x86_view as)
{
	struct x86_page_found pg;
	uint8_t *p = x86_tlb_look(v, la, write, as);
	if (p) return p;
	if (x86_translate(v, la, write ? X86_W : X86_R, as, &pg)) return NULL;
	tlb_fill(v, la, as, &pg, write);
	return x86_tlb_look(v, la, write, as);
}

/* ---- accesses */
/* One host access each, however aligned, as the guest's own CPU would do it. */
typedef uint16_t u16_any __attribute__((may_alias, aligned(1)));
typedef uint32_t u32_any __attribute__((may_alias, aligned(1)));
typedef uint64_t u64_any __attribute__((may_alias, aligned(1)));

static inline void copy(void *to, const void *from, unsigned n)
{
	switch (n) {
	case 1: *(volatile uint8_t *)to = *(const volatile uint8_t *)from; return;
	case 2: *(volatile u16_any *)to = *(const volatile u16_any *)from; return;
	case 4: *(volatile u32_any *)to = *(const volatile u32_any *)from; return;
	case 8: *(volatile u64_any *)to = *(const volatile u64_any *)from; return;
	default: memcpy(to, from, n); return;
	}
}

struct reach {
	gpa_t at;
	uint8_t *host; /* NULL: a device, or nothing */
};

static int reach(struct x86_vcpu *v, uint64_t la, unsigned access, enum x86_view as,
		 struct reach *r)
{
	struct x86_page_found pg;
	int e = x86_translate(v, la, access, as, &pg);
	if (unlikely(e)) return e;
	tlb_fill(v, la, as, &pg, access & X86_W);
	r->at = pg.at | (la & ~PAGE_MASK);
	r->host = pg.at == v->apic_page ? NULL
					: gmem_ptr(v->machine->env.mem, r->at, 1, access & X86_W);
	return 0;
}

/* The local APIC is another one for each CPU: it comes before the bus. */
static struct device *apic_of(struct x86_vcpu *v, gpa_t at)
{
	const struct x86_hooks *h = &v->machine->env.x86;
	return (at & PAGE_MASK) == v->apic_page && h->apic ? h->apic(h->ctx, v->id) : NULL;
}

static uint64_t device_read(struct x86_vcpu *v, gpa_t at, unsigned n)
{
	struct device *d = apic_of(v, at);
	x86_count(v, X86_STAT_MMIO);
	x86_count_look(v);
	if (!d) return bus_read(v->machine->env.mmio, at, n);
	if (!d->ops->read) return 0;
	device_lock(d);
	uint64_t val = d->ops->read(d, at & ~PAGE_MASK, n);
	device_unlock(d);
	return val;
}

static void device_write(struct x86_vcpu *v, gpa_t at, uint64_t val, unsigned n)
{
	struct device *d = apic_of(v, at);
	x86_count(v, X86_STAT_MMIO);
	x86_count_look(v);
	if (!d) {
		bus_write(v->machine->env.mmio, at, val, n);
		return;
	}
	if (!d->ops->write) return;
	device_lock(d);
	d->ops->write(d, at & ~PAGE_MASK, val, n);
	device_unlock(d);
}

/* The longest access that a bus takes, of n bytes. */
static unsigned bus_part(unsigned n) { return n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1; }

static void read_at(struct x86_vcpu *v, const struct reach *r, uint8_t *to, unsigned n)
{
	if (likely(r->host)) {
		copy(to, r->host, n);
		return;
	}
	for (unsigned i = 0, k; i < n; i += k) {
		k = bus_part(n - i);
		store_le(to + i, device_read(v, r->at + i, k), k);
	}
}

static void write_at(struct x86_vcpu *v, const struct reach *r, const uint8_t *from, unsigned n)
{
	if (likely(r->host)) {
		copy(r->host, from, n);
		x86_wrote(v, r->at, n);
		return;
	}
	for (unsigned i = 0, k; i < n; i += k) {
		k = bus_part(n - i);
		device_write(v, r->at + i, load_le(from + i, k), k);
	}
}

/* Bytes of the access that lie in la's page, and where the rest of it is. */
static unsigned first_part(uint64_t la, unsigned n)
{
	uint64_t room = X86_PAGE - (la & ~PAGE_MASK);
	return room < n ? (unsigned)room : n;
}
static uint64_t behind(const struct x86_vcpu *v, uint64_t la, unsigned n)
{
	return v->long_mode ? la + n : (uint32_t)(la + n);
}

static __attribute__((noinline)) int load_slow(struct x86_vcpu *v, uint64_t la, void *to,
					       unsigned n, enum x86_view as)
{
	struct reach a = {0}, b = {0};
	unsigned k = first_part(la, n);
	int e = reach(v, la, X86_R, as, &a);
	if (!e && k < n) e = reach(v, behind(v, la, k), X86_R, as, &b);
	if (e) return e;
	read_at(v, &a, to, k);
	if (k < n) read_at(v, &b, (uint8_t *)to + k, n - k);
	return 0;
}

static __attribute__((noinline)) int store_slow(struct x86_vcpu *v, uint64_t la, const void *from,
						unsigned n, enum x86_view as)
{
	struct reach a = {0}, b = {0};
	unsigned k = first_part(la, n);
	int e = reach(v, la, X86_W, as, &a);
	if (!e && k < n) e = reach(v, behind(v, la, k), X86_W, as, &b);
	if (e) return e;
	write_at(v, &a, from, k);
	if (k < n) write_at(v, &b, (const uint8_t *)from + k, n - k);
	return 0;
}

int x86_load(struct x86_vcpu *v, uint64_t la, void *to, unsigned n, enum x86_view as)
{
	const uint8_t *p = x86_tlb_look(v, la, false, as);
	if (unlikely(!p || first_part(la, n) < n)) return load_slow(v, la, to, n, as);
	copy(to, p, n);
	return 0;
}

int x86_store(struct x86_vcpu *v, uint64_t la, const void *from, unsigned n, enum x86_view as)
{
	uint8_t *p = x86_tlb_look(v, la, true, as);
	if (unlikely(!p || first_part(la, n) < n)) return store_slow(v, la, from, n, as);
	copy(p, from, n);
	return 0;
}

int x86_probe(struct x86_vcpu *v, uint64_t la, unsigned n, unsigned access, enum x86_view as)
{
	struct reach r;
	unsigned k = first_part(la, n);
	int e = 0;
	if (!x86_tlb_look(v, la, access & X86_W, as)) e = reach(v, la, access, as, &r);
	return !e && k < n ? reach(v, behind(v, la, k), access, as, &r) : e;
}

/* ---- compare and swap */
/* LOCK takes any alignment on an x86 host; cmpxchg16b takes its own. */
#if defined(__x86_64__)
#define CAS(T, p, want, to)                                                                        \
	({                                                                                         \
		T was_;                                                                            \
		memcpy(&was_, want, sizeof(T));                                                    \
		T to_;                                                                             \
		memcpy(&to_, to, sizeof(T));                                                       \
		__asm__ volatile("lock cmpxchg %2, %1"                                             \
				 : "+a"(was_), "+m"(*(T *)(void *)(p))                             \
				 : "r"(to_)                                                        \
				 : "memory", "cc");                                                \
		memcpy(want, &was_, sizeof(T));                                                    \
		true;                                                                              \
	})
static bool cas16(uint8_t *p, void *expected, const void *to)
{
	uint64_t e[2], t[2];
	if ((uintptr_t)p & 15) return false;
	memcpy(e, expected, 16);
	memcpy(t, to, 16);
	__asm__ volatile("lock cmpxchg16b %2"
			 : "+a"(e[0]), "+d"(e[1]), "+m"(*(unsigned __int128 *)(void *)p)
			 : "b"(t[0]), "c"(t[1])
			 : "memory", "cc");
	memcpy(expected, e, 16);
	return true;
}
#else
#define CAS(T, p, want, to)                                                                        \
	((uintptr_t)(p) % sizeof(T)                                                                \
		 ? false                                                                           \
		 : (__atomic_compare_exchange_n((T *)(void *)(p), (T *)(want), *(const T *)(to),   \
						false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST),        \
		    true))
static bool cas16(uint8_t *p, void *expected, const void *to)
{
	(void)p, (void)expected, (void)to;
	return false;
}
#endif

/* False: not at once. *expected becomes what was there. */
static bool host_cas(uint8_t *p, void *expected, const void *to, unsigned n)
{
	switch (n) {
	case 1: return CAS(uint8_t, p, expected, to);
	case 2: return CAS(uint16_t, p, expected, to);
	case 4: return CAS(uint32_t, p, expected, to);
	case 8: return CAS(uint64_t, p, expected, to);
	default: return n == 16 && cas16(p, expected, to);
	}
}

/* Two pages beside each other. NULL: memory that is no file. They stay: others are asked for
 * seldom. */
static uint8_t *beside(struct x86_vcpu *v, gpa_t first, gpa_t second)
{
	struct x86_across *x = &v->across;
	struct gmem *m = v->machine->env.mem;
	if (x->two && x->page[0] == first && x->page[1] == second) return x->two;
	void *two = x->two;
	if (!two) two = mmap(NULL, 2 * X86_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (two == MAP_FAILED) return NULL;
	*x = (struct x86_across){{~(gpa_t)0, ~(gpa_t)0}, two};
	if (!gmem_map(m, first, X86_PAGE, two, true, true)) return NULL;
	if (!gmem_map(m, second, X86_PAGE, (uint8_t *)two + X86_PAGE, true, true)) return NULL;
	x->page[0] = first;
	x->page[1] = second;
	return two;
}
void x86_across_free(struct x86_vcpu *v)
{
	if (v->across.two) (void)munmap(v->across.two, 2 * X86_PAGE);
}
/* In two pages, k bytes in the first: as neighbours. Where user code has its own address space, in
 * windows or run directly, they are, and there LOCK is the host's. */
static bool cas_across(struct x86_vcpu *v, const struct reach *a, const struct reach *b, unsigned k,
		       void *expected, const void *to, unsigned n)
{
	if (!a->host || !b->host) return false;
	uint8_t *two = beside(v, a->at & PAGE_MASK, b->at & PAGE_MASK);
	return two && host_cas(two + X86_PAGE - k, expected, to, n);
}

/* What the host cannot do at once, as a device's: one at a time in the machine. */
static int cas_locked(struct x86_vcpu *v, uint64_t la, void *expected, const void *to, unsigned n)
{
	uint8_t was[16];
	while (atomic_exchange_explicit(&v->machine->locked, 1, memory_order_acquire))
		(void)sched_yield();
	int e = x86_load(v, la, was, n, v->view);
	if (!e && !memcmp(was, expected, n)) e = x86_store(v, la, to, n, v->view);
	atomic_store_explicit(&v->machine->locked, 0, memory_order_release);
	if (!e) memcpy(expected, was, n);
	return e;
}

static int cas_slow(struct x86_vcpu *v, uint64_t la, void *expected, const void *to, unsigned n)
{
	struct reach a = {0}, b = {0};
	unsigned k = first_part(la, n);
	int e = reach(v, la, X86_W, v->view, &a);
	if (!e && k < n) e = reach(v, behind(v, la, k), X86_W, v->view, &b);
	if (e) return e;
	bool done = k < n ? cas_across(v, &a, &b, k, expected, to, n)
			  : a.host && host_cas(a.host, expected, to, n);
	if (!done) return cas_locked(v, la, expected, to, n);
	x86_wrote(v, a.at, k);
	if (k < n) x86_wrote(v, b.at, n - k);
	return 0;
}

static int mem_load(struct x86_cpu *c, uint64_t at, void *to, unsigned n)
{
	struct x86_vcpu *v = x86_vcpu_of(c);
	return x86_load(v, at, to, n, v->view);
}
static int mem_store(struct x86_cpu *c, uint64_t at, const void *from, unsigned n)
{
	struct x86_vcpu *v = x86_vcpu_of(c);
	return x86_store(v, at, from, n, v->view);
}
static int mem_cas(struct x86_cpu *c, uint64_t at, void *expected, const void *to, unsigned n)
{
	struct x86_vcpu *v = x86_vcpu_of(c);
	uint8_t *p = x86_tlb_look(v, at, true, v->view);
	if (unlikely(n > 16)) return X86_TRAP_UD;
	if (unlikely(!p || first_part(at, n) < n || !host_cas(p, expected, to, n)))
		return cas_slow(v, at, expected, to, n);
	return 0;
}
const struct x86_mem x86_mem_ops = {mem_load, mem_store, mem_cas};

/* ---- fetches */
static int fetch_walk(struct x86_vcpu *v, uint64_t page, bool user, struct x86_fetched *f)
{
	struct x86_page_found pg;
	int e = x86_translate(v, page, X86_X, user ? X86_VIEW_USER : X86_VIEW_BOTH, &pg);
	if (e) return e;
	f->tag = page | user;
	f->gen = v->fetches.gen;
	f->gpa = pg.at | (pg.global ? X86_TLB_GLOBAL : 0);
	seen_note(v, page);
	if (pg.large) v->large |= large_bit(page);
	f->host = pg.at == v->apic_page ? NULL
					: gmem_ptr(v->machine->env.mem, pg.at, X86_PAGE, false);
	return 0;
}

static struct x86_fetched *fetched(struct x86_vcpu *v, uint64_t page)
{
	return &v->fetches.at[page >> X86_PAGE_SHIFT & (COUNT(v->fetches.at) - 1)];
}
bool x86_fetch_known(struct x86_vcpu *v, uint64_t la)
{
	uint64_t page = la & PAGE_MASK;
	const struct x86_fetched *f = fetched(v, page);
	uint64_t gen = f->gpa & X86_TLB_GLOBAL ? v->fetches.gen_global : v->fetches.gen;
	if (f->tag != (page | (v->cpl == 3)) || f->gen < gen) return false;
	v->fetch_tag = page;
	v->fetch_gpa = f->gpa & PAGE_MASK;
	v->fetch_global = f->gpa & X86_TLB_GLOBAL;
	v->fetch_host = f->host;
	return true;
}
int x86_fetch(struct x86_vcpu *v, uint64_t la)
{
	uint64_t page = la & PAGE_MASK;
	if (x86_fetch_known(v, la)) return 0;
	int e = fetch_walk(v, page, v->cpl == 3, fetched(v, page));
	if (e && v->fault == page && e == X86_TRAP_PF) v->fault = la;
	if (!e) (void)x86_fetch_known(v, la);
	return e;
}

/* ---- what mode it is in */
static uint64_t popf_mask(const struct x86_vcpu *v)
{
	uint64_t mask = X86_ARITH | X86_TF | X86_DF | X86_NT | X86_AC | X86_ID;
	bool v86 = v->cpu.flags & X86_VM && v->cr0 & CR0_PE;
	if (v->cpl <= (v->cpu.flags & X86_IOPL) >> 12) mask |= X86_IF;
	if (!v->cpl && !v86) mask |= X86_IOPL;
	return mask;
}

void x86_mode_update(struct x86_vcpu *v)
{
	uint32_t cs = v->seg[X86_CS].access, ss = v->seg[X86_SS].access;
	v->long_mode = v->efer & EFER_LMA;
	v->mode = v->long_mode && cs & SEG_L ? X86_64 : cs & SEG_DB ? X86_32 : X86_16;
	bool is64 = v->mode == X86_64;
	x86_view_update(v);
	v->cpu.popf_mask = popf_mask(v);
	v->cpu.ssize = is64 ? 8 : ss & SEG_DB ? 4 : 2;
	for (unsigned i = 0; i <= X86_GS; i++)
		v->cpu.base[i] = is64 && i < X86_FS ? 0 : v->seg[i].base;
	v->fetch_tag = X86_NO_FETCH;
}
