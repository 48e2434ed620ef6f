/* What stands where is in a hash by linear address, and in a list, by which all of it can be taken
 * out in few pieces. */
#include "engine/x86_shadow.h"
#include "hw/gmem.h"
#include <stdlib.h>

#define PAGE_MASK (~(uint64_t)(X86_PAGE - 1))
enum { MOST = X86_SHADOW_MOST, HASH = X86_SHADOW_HASH, LARGE = 512, DROP_WORK = 4 };
enum { IS_WRITABLE = X86_SHADOW_WRITE, IS_LARGE = 2, IS_EXEC = X86_SHADOW_EXEC };

/* ---- what is there */

static unsigned hash(uint64_t la) { return (unsigned)(la * 0x9e3779b97f4a7c15 >> 47); }
static struct x86_shadow_page *page_find(struct x86_shadow *s, uint64_t la)
{
	unsigned k = hash(la);
	while (s->page[k].la && (s->page[k].la & PAGE_MASK) != la) k = (k + 1) % HASH;
	return &s->page[k];
}
static uint64_t size_of(uint64_t entry) { return entry & IS_LARGE ? LARGE * X86_PAGE : X86_PAGE; }
static int by_address(const void *a, const void *b)
{
	uint64_t x, y;
	memcpy(&x, a, 8);
	memcpy(&y, b, 8);
	return x < y ? -1 : x > y;
}
/* Small holes go along: there is nothing in them. */
static bool together(uint64_t a, uint64_t b)
{
	return (b & PAGE_MASK) - (a & PAGE_MASK) < 64 * X86_PAGE + size_of(a) &&
	       (a >> 46) == (b >> 46);
}
static void hide_all(struct x86_shadow *s)
{
	qsort(s->list, s->listed, sizeof(*s->list), by_address);
	for (unsigned k = 0, n; k < s->listed; k += n) {
		uint64_t *l = &s->list[k];
		for (n = 1; k + n < s->listed && together(l[n - 1], l[n]); n++) {
		}
		uint64_t first = l[0] & PAGE_MASK, last = l[n - 1] & PAGE_MASK;
		s->to.hide(s->to.ctx, first, last - first + size_of(l[n - 1]));
	}
}
void x86_shadow_clear(struct x86_shadow *s, bool code)
{
	if (code) memset(s->coded, 0, s->map_size);
	if (!s->listed) return;
	hide_all(s);
	/* Open addressing: nothing may stay behind what goes. */
	for (unsigned k = 0; k < s->listed; k++) {
		unsigned at = hash(s->list[k] & PAGE_MASK);
		for (; s->page[at].la; at = (at + 1) % HASH) s->page[at].la = 0;
	}
	memset(s->writable, 0, s->map_size);
	memset(s->executed, 0, s->map_size);
	s->pages = s->listed = 0;
	s->pieces = false;
}
static void page_drop(struct x86_shadow *s, struct x86_shadow_page *p)
{
	unsigned k = (unsigned)(p - s->page);
	s->to.hide(s->to.ctx, p->la & PAGE_MASK, size_of(p->la));
	p->la = 0;
	s->pages--;
	s->work += DROP_WORK;
	for (;;) { /* close the gap: open addressing */
		k = (k + 1) % HASH;
		struct x86_shadow_page q = s->page[k];
		if (!q.la) return;
		s->page[k].la = 0;
		*page_find(s, q.la & PAGE_MASK) = q;
	}
}
static bool allows(const struct x86_shadow_page *p, enum x86_access access)
{
	return access == X86_R || p->la & (access == X86_W ? IS_WRITABLE : IS_EXEC);
}
bool x86_shadow_has(struct x86_shadow *s, uint64_t la, enum x86_access access)
{
	const struct x86_shadow_page *p = page_find(s, la & PAGE_MASK);
	if (p->la && (p->la & IS_LARGE || allows(p, access))) return allows(p, access);
	p = page_find(s, la & ~(uint64_t)(LARGE * X86_PAGE - 1));
	return p->la & IS_LARGE && allows(p, access);
}

/* ---- putting pages in */

static bool no_code(const struct x86_vcpu *v, const struct x86_shadow *s, gpa_t at, unsigned pages)
{
	for (unsigned k = 0; k < pages; k++, at += X86_PAGE)
		if (x86_has_code(v->machine, at) || x86_marked(s->coded, at)) return false;
	return true;
}
/* n pages from la on: one, or all of a large page's 2 MiB. */
static bool map(struct x86_vcpu *v, struct x86_shadow *s, uint64_t la, gpa_t at, unsigned n,
		unsigned rights)
{
	size_t len = (size_t)n * X86_PAGE;
	if (s->listed == MOST) x86_shadow_clear(s, false);
	if (!s->to.map(s->to.ctx, la, at, len, rights)) return false;
	if (rights & IS_WRITABLE) gmem_dirty(v->machine->env.mem, at, len);
	for (unsigned k = 0; rights & IS_WRITABLE && k < n; k++)
		x86_mark(s->writable, at + k * X86_PAGE, true);
	struct x86_shadow_page *p = page_find(s, la);
	if (!p->la) s->pages++;
	*p = (struct x86_shadow_page){la | rights | (n > 1 ? IS_LARGE : 0), at};
	s->list[s->listed++] = p->la;
	s->work++;
	x86_count(v, X86_STAT_WINDOW);
	return true;
}
static bool put_part(struct x86_vcpu *v, struct x86_shadow *s, uint64_t la, gpa_t at, unsigned n,
		     unsigned rights, bool is_part)
{
	bool came = map(v, s, la, at, n, rights);
	s->pieces |= came && is_part;
	return came;
}
bool x86_shadow_put(struct x86_vcpu *v, struct x86_shadow *s, uint64_t la,
		    const struct x86_page_found *pg, bool stored)
{
	struct gmem *mem = v->machine->env.mem;
	uint64_t in = la & (LARGE - 1) * (uint64_t)X86_PAGE;
	bool tracking = gmem_tracking(mem), write = pg->writable && pg->dirty;
	if (pg->at == v->apic_page || (stored && !write)) return false;
	write = write && (stored || !tracking);
	if (pg->large && !tracking && la - in >= X86_SHADOW_FIRST &&
	    la - in + LARGE * X86_PAGE <= s->to.end &&
	    gmem_ptr(mem, pg->at - in, LARGE * X86_PAGE, write) &&
	    no_code(v, s, pg->at - in, LARGE))
		return put_part(v, s, la - in, pg->at - in, LARGE, write ? IS_WRITABLE : 0,
				pg->giant);
	write = write && gmem_ptr(mem, pg->at, X86_PAGE, true) && no_code(v, s, pg->at, 1);
	return (!stored || write) &&
	       put_part(v, s, la, pg->at, 1, write ? IS_WRITABLE : 0, pg->large);
}
bool x86_shadow_put_code(struct x86_vcpu *v, struct x86_shadow *s, uint64_t la,
			 const struct x86_page_found *pg)
{
	if (pg->at == v->apic_page || !put_part(v, s, la, pg->at, 1, IS_EXEC, pg->large))
		return false;
	x86_mark(s->executed, pg->at, true);
	return true;
}

/* ---- taking them out */

static bool still_is(struct x86_vcpu *v, const struct x86_shadow_page *p)
{
	struct x86_page_found pg;
	uint64_t in = p->la & (LARGE - 1) * (uint64_t)X86_PAGE & PAGE_MASK;
	if (!x86_peek_page(v, p->la & PAGE_MASK, p->la & IS_EXEC ? X86_X : X86_R, X86_VIEW_USER,
			   &pg) ||
	    !pg.accessed) /* the guest wants to hear of the next access */
		return false;
	if (p->la & IS_WRITABLE && !(pg.writable && pg.dirty)) return false;
	if (p->la & IS_LARGE) return pg.large && pg.at == p->at && !in;
	return pg.at == p->at;
}
void x86_shadow_look_over(struct x86_shadow *s)
{
	struct x86_vcpu *v = s->v;
	uint64_t now = v->cr3;
	unsigned n = 0;
	s->stale = false;
	v->cr3 = s->cr3; /* looking changes nothing */
	for (unsigned k = 0; k < s->listed; k++) {
		struct x86_shadow_page *p = page_find(s, s->list[k] & PAGE_MASK);
		if (!p->la) continue;
		if (still_is(v, p))
			s->list[n++] = p->la;
		else
			page_drop(s, p);
	}
	s->listed = n;
	v->cr3 = now;
}
static void fence(struct x86_shadow *s)
{
	unsigned n = 0;
	for (unsigned k = 0; k < s->listed; k++) {
		struct x86_shadow_page *p = page_find(s, s->list[k] & PAGE_MASK);
		unsigned pages = (unsigned)(size_of(p->la) / X86_PAGE);
		if (p->la & IS_WRITABLE && !no_code(s->v, s, p->at, pages))
			page_drop(s, p);
		else if (p->la)
			s->list[n++] = p->la;
	}
	s->listed = n;
}
void x86_shadow_drop_page(struct x86_shadow *s, uint64_t la)
{
	if (!s->pages) return;
	if (s->pieces) {
		x86_shadow_clear(s, false);
		return;
	}
	struct x86_shadow_page *p = page_find(s, la & PAGE_MASK);
	if (p->la) page_drop(s, p);
	p = page_find(s, la & ~(uint64_t)(LARGE * X86_PAGE - 1));
	if (p->la & IS_LARGE) page_drop(s, p);
}
static void readonly(struct x86_shadow *s, gpa_t page)
{
	if (!s->pages || !x86_marked(s->writable, page)) return;
	for (unsigned k = 0; k < s->listed; k++) {
		struct x86_shadow_page *p = page_find(s, s->list[k] & PAGE_MASK);
		if (!(p->la & IS_WRITABLE) || page - p->at >= size_of(p->la)) continue;
		x86_mark(s->coded, page, true);
		page_drop(s, p);
	}
	x86_mark(s->writable, page, false);
}
void x86_shadow_drop_code(struct x86_shadow *s, gpa_t page)
{
	bool all = page == ~(gpa_t)0;
	if (!s->pages || (!all && !x86_marked(s->executed, page))) return;
	for (unsigned k = 0; k < s->listed; k++) {
		struct x86_shadow_page *p = page_find(s, s->list[k] & PAGE_MASK);
		if (p->la & IS_EXEC && (all || p->at == page)) page_drop(s, p);
	}
	if (all)
		memset(s->executed, 0, s->map_size);
	else
		x86_mark(s->executed, page, false);
}

/* ---- of all that a vCPU has */

#define EACH(v, s)                                                                                 \
	for (struct x86_shadow *s = (v)->shadows; s; s = s->next)                                  \
		if (s->cr3)
void x86_shadows_flush(struct x86_vcpu *v)
{
	EACH(v, s)
	{
		s->stale = true;
		if (!s->late) x86_shadow_look_over(s);
	}
}
void x86_shadows_drop_page(struct x86_vcpu *v, uint64_t la)
{
	EACH(v, s) x86_shadow_drop_page(s, la);
}
void x86_shadows_readonly(struct x86_vcpu *v, gpa_t page) { EACH(v, s) readonly(s, page); }
void x86_shadows_fence(struct x86_vcpu *v) { EACH(v, s) fence(s); }
void x86_shadows_empty(struct x86_vcpu *v) { EACH(v, s) x86_shadow_clear(s, false); }

/* ---- life */

bool x86_shadow_init(struct x86_shadow *s, struct x86_vcpu *v, const struct x86_shadow_to *to)
{
	s->v = v;
	s->next = v->shadows;
	v->shadows = s;
	s->to = *to;
	s->map_size = (v->machine->code_pages / 64 + 1) * sizeof(uint64_t);
	s->writable = calloc(1, s->map_size);
	s->executed = calloc(1, s->map_size);
	s->coded = calloc(1, s->map_size);
	return s->writable && s->executed && s->coded;
}
void x86_shadow_done(struct x86_shadow *s)
{
	struct x86_shadow **at = s->v ? &s->v->shadows : &s;
	while (*at && *at != s) at = &(*at)->next;
	if (s->v && *at) *at = s->next;
	free(s->writable);
	free(s->executed);
	free(s->coded);
}
