/* The decoded-code cache: guest-physical pages, decoded instruction by instruction as they are
 * first run. fence.i costs a number; a page is compared with memory when next entered, and its
 * decoding kept if nothing changed.
 * A page begins as a private mapping of one that is clear, so that what of it is never used costs
 * neither memory nor time. */
#include "engine/debug.h"
#include "engine/rv64_cpu.h"
#include "engine/rv64_jit.h"
#include "hw/gmem.h"
#include "isa/rv64/rv64.h"
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CODE_ALL = CODE_PAGES + 1 }; /* and the page for single instructions */

static struct code_page *page_at(const struct rv64_cpu *c, unsigned i)
{
	return (struct code_page *)((char *)c->code + (size_t)i * CODE_STRIDE);
}
static struct code_page *page_alone(const struct rv64_cpu *c) { return page_at(c, CODE_PAGES); }

static void page_clear(const struct rv64_cpu *c, struct code_page *p)
{
	const void *none = rv64_jit_none(c->jit);
	for (unsigned i = 0; i < PAGE_SLOTS; i++) p->entry[i] = none;
	memset(p->heat, c->hot_jumps, sizeof(p->heat));
	for (unsigned i = 0; i < PAGE_SLOTS; i++) p->slot[i].fn = rv64_op_decode;
	p->slot[PAGE_SLOTS].fn = p->slot[PAGE_SLOTS + 1].fn = rv64_op_cross;
	p->tail_fn = NULL;
}

static void alone_clear(struct code_page *p)
{
	for (unsigned i = 0; i < PAGE_SLOTS + 2; i++) p->slot[i].fn = rv64_op_leave;
	p->tail_fn = NULL;
}

/* By who builds: it is not confined yet. */
static bool clear_open(struct rv64_cpu *c)
{
	c->code_fd = memfd_create("code", MFD_CLOEXEC);
	if (c->code_fd < 0 || ftruncate(c->code_fd, CODE_STRIDE)) return false;
	void *p = mmap(NULL, CODE_STRIDE, PROT_READ | PROT_WRITE, MAP_SHARED, c->code_fd, 0);
	c->code_clear = p == MAP_FAILED ? NULL : p;
	return c->code_clear;
}

static void page_put(struct rv64_cpu *c, unsigned i)
{
	const int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_FIXED;
	if (i == 0) page_clear(c, c->code_clear);
	if (mmap(page_at(c, i), CODE_STRIDE, prot, flags, c->code_fd, 0) == MAP_FAILED)
		page_at(c, i)->version = 1; /* too many mappings: it is cleared by hand */
}

int rv64_code_init(struct rv64_cpu *c)
{
	size_t want = (size_t)CODE_ALL * CODE_STRIDE, room = want + CODE_STRIDE;
	char *p = mmap(NULL, room, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) return -ENOMEM;
	size_t skip = -(uintptr_t)p & (CODE_STRIDE - 1);
	if (skip) (void)munmap(p, skip);
	(void)munmap(p + skip + want, room - want - skip);
	c->code = (struct code_page *)(p + skip);
	if (!clear_open(c)) {
		rv64_code_done(c);
		return -ENOMEM;
	}
	alone_clear(page_alone(c));
	page_alone(c)->at = NO_PAGE;
	rv64_code_drop(c);
	return 0;
}

void rv64_code_done(struct rv64_cpu *c)
{
	if (c->code) (void)munmap(c->code, (size_t)CODE_ALL * CODE_STRIDE);
	if (c->code_clear) (void)munmap(c->code_clear, CODE_STRIDE);
	if (c->code_fd > 0) (void)close(c->code_fd);
	c->code = c->code_clear = NULL;
	c->code_put = 0;
	c->code_fd = 0;
}

static void fetch_clear(struct rv64_cpu *c)
{
	for (unsigned i = 0; i < FETCH_SIZE; i++) c->fetch[i].tag = NO_TAG;
}

void rv64_code_drop(struct rv64_cpu *c)
{
	c->code_open_n = 0;
	memset(c->code_hash, 0, sizeof(c->code_hash));
	c->code_used = c->code_hand = 0;
	fetch_clear(c);
	rv64_jit_drop(c->jit);
	count_set(&c->counts[COUNT_CODE_USED], 0);
}

/* ---- pages by address ---- */
static uint32_t *chain_of(struct rv64_cpu *c, gpa_t at)
{
	return &c->code_hash[(at >> PAGE_SHIFT) % CODE_HASH];
}

static struct code_page *page_find(struct rv64_cpu *c, gpa_t at)
{
	for (uint32_t i = *chain_of(c, at); i; i = page_at(c, i - 1)->next)
		if (page_at(c, i - 1)->at == at) return page_at(c, i - 1);
	return NULL;
}

static void page_unlink(struct rv64_cpu *c, uint32_t number)
{
	struct code_page *p = page_at(c, number - 1);
	uint32_t *i = chain_of(c, p->at);
	while (*i != number) i = &page_at(c, *i - 1)->next;
	*i = p->next;
	p->at = NO_PAGE;
}

/* The oldest that has not been entered since it was last passed over. */
static uint32_t page_oldest(struct rv64_cpu *c)
{
	for (;;) {
		uint32_t i = c->code_hand++ % CODE_PAGES;
		if (!page_at(c, i)->used) return i + 1;
		page_at(c, i)->used = false;
	}
}

/* When the cache is full one has to go. */
static struct code_page *page_new(struct rv64_cpu *c, gpa_t at)
{
	uint32_t number;
	if (c->code_used < CODE_PAGES) {
		number = ++c->code_used;
	} else {
		number = page_oldest(c);
		page_unlink(c, number);
		fetch_clear(c);
	}
	if (number > c->code_put) page_put(c, c->code_put++);
	struct code_page *p = page_at(c, number - 1);
	p->at = at;
	p->spread = false;
	p->fetched = 0;
	p->next = *chain_of(c, at);
	*chain_of(c, at) = number;
	return p;
}

static void page_fill(struct rv64_cpu *c, struct code_page *p, const void *from)
{
	rv64_count(c, COUNT_PAGE);
	memcpy(p->raw, from, PAGE_SIZE);
	if (p->version++) page_clear(c, p);
	p->checked = c->code_gen;
}

/* ---- seals ----
 * What was decoded of a page holds until the fence.i behind a write to it. A sealed page has no
 * write entry and no writable window, so that a write to it must pass gmem_dirty(), by whomever;
 * and fence.i need only look after pages whose seal that broke, and after those that have none.
 * With several harts none has: others' write entries are not ours to drop. */
static void note(uint16_t *list, unsigned *n, unsigned i)
{
	if (*n < CODE_LIST) list[*n] = (uint16_t)i;
	if (*n <= CODE_LIST) ++*n;
}

void rv64_code_writable(struct rv64_cpu *c, gpa_t page, unsigned i)
{
	if (!c->reserve && gmem_was_sealed(c->mem, page)) note(c->code_wr, &c->code_wr_n, i);
}

/* Of all that has ever been sealed. */
static void writable_drop(struct rv64_cpu *c)
{
	bool all = c->code_wr_n > CODE_LIST;
	unsigned n = all ? TLB_SIZE : c->code_wr_n;
	for (unsigned i = 0; i < n; i++) c->wr[all ? i : c->code_wr[i]].tag = NO_TAG;
	c->code_wr_n = 0;
}

static void writable_find(struct rv64_cpu *c, const void *host)
{
	for (unsigned i = 0; i < TLB_SIZE; i++)
		if ((c->wr[i].tag & PAGE_MASK) + c->wr[i].host == (uintptr_t)host)
			c->wr[i].tag = NO_TAG;
}

/* Before it is compared, or decoded. */
static void page_seal(struct rv64_cpu *c, struct code_page *p, const void *host)
{
	p->sealed = false;
	if (c->reserve) return;
	if (!gmem_was_sealed(c->mem, p->at)) writable_find(c, host);
	writable_drop(c);
	p->sealed = gmem_seal(c->mem, p->at);
}

static struct code_page *page_get(struct rv64_cpu *c, gpa_t at, const void *host)
{
	struct code_page *p = page_find(c, at);
	if (p && (p->sealed || p->checked == c->code_gen)) return p;
	bool fresh = !p;
	if (fresh) p = page_new(c, at);
	page_seal(c, p, host);
	if (fresh || memcmp(p->raw, host, PAGE_SIZE) != 0) page_fill(c, p, host);
	p->checked = c->code_gen;
	return p;
}

/* False: there may be more entries of it than are known. */
static bool page_unseal(struct rv64_cpu *c, struct code_page *p)
{
	struct fetch_entry *f = &c->fetch[p->fetched];
	bool spread = p->spread;
	if (f->page == p) f->tag = NO_TAG;
	p->sealed = p->spread = false;
	return !spread;
}

/* False: fetch[] must be cleared. */
static bool seals_look(struct rv64_cpu *c)
{
	gpa_t at[GMEM_NOTES];
	bool ok = c->code_open_n <= CODE_LIST;
	int n = gmem_broken(c->mem, &c->code_seen, at);
	for (int i = 0; i < n; i++) {
		struct code_page *p = page_find(c, at[i]);
		if (p) ok &= page_unseal(c, p);
	}
	for (unsigned i = 0; n < 0 && i < c->code_used; i++) (void)page_unseal(c, page_at(c, i));
	for (unsigned i = 0; ok && i < c->code_open_n; i++) c->fetch[c->code_open[i]].tag = NO_TAG;
	c->code_open_n = 0;
	return ok && n >= 0;
}

void rv64_code_fence(struct rv64_cpu *c)
{
	c->code_gen++;
	rv64_count(c, COUNT_FENCE_CODE);
	if (c->reserve || !seals_look(c)) fetch_clear(c);
}

static void fetch_set(struct rv64_cpu *c, gva_t va, struct code_page *p)
{
	unsigned i = (unsigned)(va >> PAGE_SHIFT) % FETCH_SIZE;
	const struct fetch_entry *before = &c->fetch[p->fetched];
	p->spread |= p->fetched != i && before->page == p && before->tag != NO_TAG;
	c->fetch[i] = (struct fetch_entry){(va & PAGE_MASK) | c->fctx, p};
	if (!p->sealed && !c->reserve) note(c->code_open, &c->code_open_n, i);
	p->fetched = (uint16_t)i;
	p->used = true;
}

/* ---- fetching ---- */
struct code_page *rv64_code_fetch(struct rv64_cpu *c, gva_t va)
{
	struct rv64_page pg;
	rv64_count(c, COUNT_FETCH_MISS);
	c->tval = va;
	c->cause = rv64_translate(c, va, ACCESS_X, c->priv, &pg);
	if (c->cause) return NULL;
	const void *host = gmem_ptr(c->mem, pg.at, PAGE_SIZE, false);
	bool whole = rv64_pmp_whole(c, pg.at);
	if (!host || (whole && !rv64_pmp_ok(c, pg.at, PAGE_SIZE, ACCESS_X, c->priv)))
		c->cause = CAUSE_FETCH_ACCESS;
	if (c->cause || !whole) return NULL;
	if (pg.span) rv64_tlb_large(c, va, pg.span);
	c->fetch_local |= !pg.global && c->priv == PRIV_S;
	struct code_page *p = page_get(c, pg.at, host);
	fetch_set(c, va, p);
	return p;
}

static const struct slot *slot_enter(struct rv64_cpu *c, const struct code_page *p)
{
	const struct slot *s = &p->slot[(c->pc & ~PAGE_MASK) >> 1];
	c->bias = c->pc - ((uintptr_t)s >> 3);
	return s;
}

const struct slot *rv64_code_enter(struct rv64_cpu *c)
{
	struct fetch_entry *e = &c->fetch[(c->pc >> PAGE_SHIFT) % FETCH_SIZE];
	struct code_page *p = e->page;
	if (e->tag != ((c->pc & PAGE_MASK) | c->fctx)) p = rv64_code_fetch(c, c->pc);
	if (!p) return c->cause ? NULL : rv64_code_step(c);
	return slot_enter(c, p);
}

/* Two bytes of an instruction where each is asked for on its own; -1: a trap. */
static int fetch_half(struct rv64_cpu *c, gva_t va)
{
	struct rv64_page pg;
	c->tval = va;
	c->cause = rv64_translate(c, va, ACCESS_X, c->priv, &pg);
	if (c->cause) return -1;
	gpa_t at = pg.at | (va & ~PAGE_MASK);
	const void *p = gmem_ptr(c->mem, at, 2, false);
	if (p && rv64_pmp_ok(c, at, 2, ACCESS_X, c->priv)) return (int)load_le(p, 2);
	c->cause = CAUSE_FETCH_ACCESS;
	return -1;
}

const struct slot *rv64_code_step(struct rv64_cpu *c)
{
	int lo = fetch_half(c, c->pc), hi = 0;
	if (lo >= 0 && (lo & 3) == 3) hi = fetch_half(c, c->pc + 2);
	if (lo < 0 || hi < 0) return NULL;
	return rv64_code_alone(c, (uint32_t)lo | (uint32_t)hi << 16);
}

const struct slot *rv64_code_alone(struct rv64_cpu *c, uint32_t word)
{
	struct code_page *p = page_alone(c);
	struct rv64_insn insn;
	p->slot[c->alone].fn = rv64_op_leave;
	c->alone = (unsigned)(c->pc & ~PAGE_MASK) >> 1;
	store_le(&p->raw[2 * c->alone], word, 4);
	rv64_decode(&insn, word);
	rv64_slot_fill(&p->slot[c->alone], &insn, c->alone);
	return slot_enter(c, p);
}

void rv64_code_forget_units(struct rv64_cpu *c)
{
	for (unsigned i = 0; i < c->code_used; i++) {
		struct code_page *p = page_at(c, i);
		for (unsigned k = 0; k < PAGE_SLOTS; k++) {
			if (p->slot[k].fn == rv64_op_unit) p->slot[k].fn = rv64_op_decode;
			p->entry[k] = rv64_jit_none(c->jit);
		}
	}
}

uint32_t rv64_code_raw(const struct slot *ip)
{
	const struct code_page *p = code_page_of(ip);
	const uint8_t *at = &p->raw[2 * (ip - p->slot)];
	return (at[0] & 3) == 3 ? (uint32_t)load_le(at, 4) : (uint32_t)load_le(at, 2);
}

/* ---- the instruction that crosses the end of its page ----
 * Its slot holds it decoded, tail_fn runs it, and each time it is made sure that the next page
 * is there and still begins with what was decoded. */
static void tail_decode(struct code_page *p, const uint8_t *rest)
{
	struct rv64_insn insn;
	struct slot *s = &p->slot[PAGE_SLOTS - 1];
	memcpy(&p->raw[PAGE_SIZE], rest, 2);
	rv64_decode(&insn, (uint32_t)load_le(&p->raw[PAGE_SIZE - 2], 4));
	rv64_slot_fill(s, &insn, PAGE_SLOTS - 1);
	p->tail_fn = s->fn;
	s->fn = rv64_op_tail;
}

const struct slot *rv64_code_tail(struct rv64_cpu *c, const struct slot *ip)
{
	struct code_page *p = code_page_of(ip), *next;
	gpa_t at = p->at;
	c->pc = rv64_pc(c, ip);
	gva_t va = c->pc + 2;
	struct fetch_entry *e = &c->fetch[(va >> PAGE_SHIFT) % FETCH_SIZE];
	next = e->tag == (va | c->fctx) ? e->page : rv64_code_fetch(c, va);
	if (!next) return c->cause ? NULL : rv64_code_step(c);
	if (p->at != at) { /* making room for the next page took this one */
		p = rv64_code_fetch(c, c->pc);
		if (!p) return c->cause ? NULL : rv64_code_step(c);
		ip = slot_enter(c, p);
	}
	if (!p->tail_fn || memcmp(&p->raw[PAGE_SIZE], next->raw, 2) != 0) tail_decode(p, next->raw);
	return ip;
}

void rv64_code_decode(const struct rv64_cpu *c, const struct slot *ip)
{
	struct code_page *p = code_page_of(ip);
	unsigned i = (unsigned)(ip - p->slot);
	uint32_t word = rv64_code_raw(ip);
	struct rv64_insn insn;
	if (debug_cuts(c->debug, 2 * i)) {
		p->slot[i].fn = rv64_op_point;
		return;
	}
	if (i == PAGE_SLOTS - 1 && (word & 3) == 3) {
		p->slot[i].fn = rv64_op_tail;
		return;
	}
	rv64_decode(&insn, word);
	rv64_slot_fill(&p->slot[i], &insn, i);
}

const struct slot *rv64_code_single(struct rv64_cpu *c)
{
	const struct slot *ip = rv64_code_enter(c);
	if (ip && ip->fn == rv64_op_decode) rv64_code_decode(c, ip);
	if (ip && ip->fn == rv64_op_point) return rv64_code_step(c);
	if (ip && ip->fn == rv64_op_tail) ip = rv64_code_tail(c, ip);
	return ip ? rv64_code_alone(c, rv64_code_raw(ip)) : NULL;
}
