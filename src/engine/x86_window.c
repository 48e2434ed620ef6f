/* Pages come when they are missed: SIGSEGV, a walk as the interpreter would do it, a mapping of
 * guest memory. That costs microseconds, so only an address space that computes has the window: one
 * that has had the CPU for a while, and only as long as mapping does not eat what is gained. What
 * is there, the page tables allowed when it came, and no flush has asked for since. */
#include "engine/x86_window.h"
#include "engine/x86_jit.h"
#include "hw/gmem.h"
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#define GUARD	  (64ull << 30) /* more than an index of 32 bits and the rest reach */
#define LOW_FIRST 0x10000ull	/* where hosts let anything be mapped */
#define LOW_ROOM  (2 * X86_LOW_END + GUARD)
#define LOW_ALL	  (LOW_ROOM + GUARD)
#define HIGH_ROOM (X86_HIGH_END - X86_HIGH_BEGIN)
#define PAGE_MASK (~(uint64_t)(X86_PAGE - 1))
enum { HASH = 1 << 16, MOST = 24000, SPACES = 32, LARGE = 512 };
/* Work is pages that come, and those that go, which are likely to come back. What is fine between
 * two timer interrupts; how much more there may be, all in all; how many interrupts long the window
 * is not used then, at first. */
enum { DROP_WORK = 4, FINE_WORK = 100, MOST_DEBT = 800, PAUSE = 8, LOSSES = 5 };
enum {
	EARLY_US = 1000,
	IDLE_US = 1000
}; /* of the CPU before it is given; without, before it is taken */

struct page {
	uint64_t
		la; /* 0: none here; bits 0: there, and writable; 1: part of a guest's large page */
	gpa_t at;   /* of a large page: all of it stands there, as one entry */
};
struct space {
	uint64_t tables;     /* CR3 without the PCID: Linux gives one now and then another */
	uint64_t used, last; /* in the host's TSC: all time with the CPU, when that ended */
	unsigned losses;
};
struct x86_window {
	uint8_t *high; /* with its guards */
	uint64_t cr3;  /* whose it is; 0: nobody's */
	unsigned pages, work, debt, listed;
	unsigned paused;  /* not 0: it is not used; in timer interrupts */
	uint64_t pending; /* a page that the guest has been told is missing */
	bool pieces; /* there are parts of the guest's large pages, which invlpg takes as a whole */
	struct space space[SPACES], *now;
	uint64_t since; /* when that got the CPU */
	/* By page of guest memory: may be writable here; has had code and been written to. */
	uint64_t *writable, *coded;
	size_t map_size;     /* bytes of each */
	uint64_t list[MOST]; /* what has been put in, also if it is out again */
	struct page page[HASH];
};
static atomic_flag taken = ATOMIC_FLAG_INIT;

/* ---- what is there */

static unsigned hash(uint64_t la) { return (unsigned)(la * 0x9e3779b97f4a7c15 >> 48); }
static struct page *page_find(struct x86_window *w, uint64_t la)
{
	unsigned k = hash(la);
	while (w->page[k].la && (w->page[k].la & PAGE_MASK) != la) k = (k + 1) % HASH;
	return &w->page[k];
}
enum { IS_WRITABLE = 1, IS_LARGE = 2 };
static uint8_t *host_of(const struct x86_vcpu *v, uint64_t la)
{
	/* Guest addresses are numbers, which two additions make one of ours. */
	return (uint8_t *)(uintptr_t)(la < LOW_ROOM ? la : la + v->fast.win_add);
}
static void hide(void *at, uint64_t len)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
	/* Were this to fail, code could reach what the guest was told it cannot. */
	must(mmap(at, len, PROT_NONE, flags, -1, 0) == at);
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
	       (a < X86_HIGH_BEGIN) == (b < X86_HIGH_BEGIN);
}
static void clear(struct x86_vcpu *v)
{
	struct x86_window *w = v->window;
	if (!w || !w->listed) return;
	qsort(w->list, w->listed, sizeof(*w->list), by_address);
	for (unsigned k = 0, n; k < w->listed; k += n) {
		uint64_t *l = &w->list[k];
		for (n = 1; k + n < w->listed && together(l[n - 1], l[n]); n++) {
		}
		uint64_t first = l[0] & PAGE_MASK, last = l[n - 1] & PAGE_MASK;
		hide(host_of(v, first), last - first + size_of(l[n - 1]));
	}
	/* Open addressing: nothing may stay behind what goes. */
	for (unsigned k = 0; k < w->listed; k++) {
		unsigned at = hash(w->list[k] & PAGE_MASK);
		for (; w->page[at].la; at = (at + 1) % HASH) w->page[at].la = 0;
	}
	memset(w->writable, 0, w->map_size);
	w->pages = w->listed = 0;
	w->pieces = false;
}
static void page_drop(struct x86_vcpu *v, struct page *p)
{
	struct x86_window *w = v->window;
	unsigned k = (unsigned)(p - w->page);
	hide(host_of(v, p->la & PAGE_MASK), size_of(p->la));
	p->la = 0;
	w->pages--;
	w->work += DROP_WORK;
	for (;;) { /* close the gap: open addressing */
		k = (k + 1) % HASH;
		struct page q = w->page[k];
		if (!q.la) return;
		w->page[k].la = 0;
		*page_find(w, q.la & PAGE_MASK) = q;
	}
}

/* ---- who has it */

#define TABLES_MASK (~(uint64_t)0xfff)
static struct space *space_of(struct x86_window *w, uint64_t cr3)
{
	struct space *oldest = w->space;
	for (unsigned k = 0; k < SPACES; k++) {
		if (w->space[k].tables == (cr3 & TABLES_MASK)) return &w->space[k];
		if (w->space[k].last < oldest->last) oldest = &w->space[k];
	}
	*oldest = (struct space){.tables = cr3 & TABLES_MASK};
	return oldest;
}
static uint64_t tsc(void) { return __builtin_ia32_rdtsc(); }
static uint64_t us(const struct x86_vcpu *v, unsigned n) { return v->machine->tsc_khz * n / 1000; }
static void space_runs(struct x86_vcpu *v)
{
	struct x86_window *w = v->window;
	uint64_t now = tsc();
	if (w->now) {
		w->now->used += now - w->since;
		w->now->last = now;
	}
	w->now = space_of(w, v->cr3);
	w->since = now;
}
bool x86_window_is_on(const struct x86_vcpu *v)
{
	return v->window && !v->watching && v->window->cr3 == v->cr3 && v->window->cr3 &&
	       !v->window->paused;
}
static void take_away(struct x86_vcpu *v)
{
	clear(v);
	memset(v->window->coded, 0, v->window->map_size);
	v->window->cr3 = 0;
	v->window->paused = 0;
}
bool x86_window_tick(struct x86_vcpu *v)
{
	struct x86_window *w = v->window;
	if (!w || !w->cr3 || w->cr3 != v->cr3) return false;
	w->debt += w->work;
	w->debt -= w->debt < FINE_WORK ? w->debt : (unsigned)FINE_WORK;
	w->work = 0;
	return w->paused && --w->paused == 0;
}
/* What is there stays: the space may want it again. */
static bool gets_tired(struct x86_vcpu *v)
{
	struct x86_window *w = v->window;
	if (w->paused || w->debt + w->work < MOST_DEBT || v->machine->env.windows == WINDOWS_EARLY)
		return false;
	struct space *s = space_of(w, v->cr3);
	w->paused = (unsigned)PAUSE << s->losses;
	w->debt = w->work = 0;
	if (s->losses < LOSSES) s->losses++;
	return true;
}
static bool is_due(struct x86_vcpu *v)
{
	struct x86_window *w = v->window;
	if (v->machine->env.windows == WINDOWS_EARLY) return true;
	if (!w->now) space_runs(v);
	uint64_t now = tsc();
	if (w->now->used + now - w->since < us(v, EARLY_US)) return false;
	return !w->cr3 || now - space_of(w, w->cr3)->last > us(v, IDLE_US);
}
bool x86_window_turns(struct x86_vcpu *v)
{
	struct x86_window *w = v->window;
	if (!w || v->cpl != 3) return false;
	if (w->cr3 == v->cr3) return gets_tired(v);
	if (gmem_tracking(v->machine->env.mem) || !is_due(v)) return false;
	take_away(v);
	w->cr3 = v->cr3;
	w->debt = w->work = 0;
	x86_count(v, X86_STAT_PROMOTED);
	return true;
}

/* ---- putting pages in */

static bool marked(const uint64_t *map, gpa_t at)
{
	uint64_t k = at >> X86_PAGE_SHIFT;
	return map[k / 64] >> (k & 63) & 1;
}
static void mark(uint64_t *map, gpa_t at, bool on)
{
	uint64_t k = at >> X86_PAGE_SHIFT, bit = 1ull << (k & 63);
	map[k / 64] = on ? map[k / 64] | bit : map[k / 64] & ~bit;
}
static bool no_code(const struct x86_vcpu *v, gpa_t at, unsigned pages)
{
	for (unsigned k = 0; k < pages; k++, at += X86_PAGE)
		if (x86_has_code(v->machine, at) || marked(v->window->coded, at)) return false;
	return true;
}
/* n pages from la on: one, or all of a large page's 2 MiB. */
static bool map(struct x86_vcpu *v, uint64_t la, gpa_t at, unsigned n, bool write)
{
	struct x86_window *w = v->window;
	size_t len = (size_t)n * X86_PAGE;
	if (w->listed == MOST) clear(v);
	if (!gmem_map(v->machine->env.mem, at, len, host_of(v, la), write, true)) return false;
	if (write) gmem_dirty(v->machine->env.mem, at, len);
	for (unsigned k = 0; write && k < n; k++) mark(w->writable, at + k * X86_PAGE, true);
	struct page *p = page_find(w, la);
	if (!p->la) w->pages++;
	*p = (struct page){la | (write ? IS_WRITABLE : 0) | (n > 1 ? IS_LARGE : 0), at};
	w->list[w->listed++] = p->la;
	w->work++;
	x86_count(v, X86_STAT_WINDOW);
	return true;
}
static bool put_part(struct x86_vcpu *v, uint64_t la, gpa_t at, unsigned n, bool write,
		     bool is_part)
{
	bool came = map(v, la, at, n, write);
	v->window->pieces |= came && is_part;
	return came;
}
static bool put(struct x86_vcpu *v, uint64_t la, const struct x86_page_found *pg, bool stored)
{
	struct gmem *mem = v->machine->env.mem;
	uint64_t in = la & (LARGE - 1) * (uint64_t)X86_PAGE;
	bool tracking = gmem_tracking(mem), write = pg->writable && pg->dirty;
	if (pg->at == v->apic_page || (stored && !write)) return false;
	write = write && (stored || !tracking);
	if (pg->large && !tracking && la - in >= LOW_FIRST &&
	    gmem_ptr(mem, pg->at - in, LARGE * X86_PAGE, write) && no_code(v, pg->at - in, LARGE))
		return put_part(v, la - in, pg->at - in, LARGE, write, pg->giant);
	write = write && gmem_ptr(mem, pg->at, X86_PAGE, true) && no_code(v, pg->at, 1);
	return (!stored || write) && put_part(v, la, pg->at, 1, write, pg->large);
}
static bool can_have(struct x86_vcpu *v, uint64_t la)
{
	return x86_window_is_on(v) && la >= LOW_FIRST &&
	       (la < LOW_ROOM || la - X86_HIGH_BEGIN < HIGH_ROOM);
}
static bool is_there(struct x86_window *w, uint64_t la, bool write)
{
	const struct page *p = page_find(w, la);
	if (!p->la)
		p = page_find(w, la & ~(uint64_t)(LARGE * X86_PAGE - 1));
	else if (p->la & IS_LARGE || p->la & IS_WRITABLE || !write)
		return true;
	return p->la & IS_LARGE && (p->la & IS_WRITABLE || !write);
}
enum x86_missing x86_window_fault(struct x86_vcpu *v, uint64_t at, bool write)
{
	struct x86_page_found pg;
	uint64_t la = (at < LOW_ROOM ? at : at - v->fast.win_add) & PAGE_MASK;
	if (!can_have(v, la)) return X86_NOT_HERE;
	if (x86_translate(v, la, write ? X86_W : X86_R, X86_VIEW_USER, &pg)) {
		v->window->pending = la;
		return X86_GUEST_FAULTS;
	}
	if (is_there(v->window, la, write)) return X86_NOT_HERE; /* it is not that */
	return put(v, la, &pg, write) ? X86_CAME : X86_NOT_HERE;
}
static bool is_memory(const struct gmem *m, uint64_t host)
{
	struct gmem_region r;
	for (unsigned k = 0; gmem_region(m, k, &r); k++)
		if (host - (uint64_t)(uintptr_t)r.host < r.len) return true;
	return false;
}
uint64_t x86_window_guest(const struct x86_vcpu *v, uint64_t at)
{
	if (at < LOW_ROOM) return at;
	bool high = at - X86_HIGH_BEGIN < HIGH_ROOM && !is_memory(v->machine->env.mem, at);
	return high ? at : 0;
}
void x86_window_expect(struct x86_vcpu *v)
{
	struct x86_window *w = v->window;
	struct x86_page_found pg;
	uint64_t la = w ? w->pending : 0, fault = v->fault;
	uint32_t code = v->code;
	if (!la) return;
	w->pending = 0;
	if (can_have(v, la) && !is_there(w, la, false) && x86_peek_page(v, la, X86_VIEW_USER, &pg))
		(void)put(v, la, &pg, false);
	v->fault = fault;
	v->code = code;
}

/* ---- taking them out */

static bool still_is(struct x86_vcpu *v, const struct page *p)
{
	struct x86_page_found pg;
	uint64_t in = p->la & (LARGE - 1) * (uint64_t)X86_PAGE & PAGE_MASK;
	if (!x86_peek_page(v, p->la & PAGE_MASK, X86_VIEW_USER, &pg)) return false;
	if (p->la & IS_WRITABLE && !(pg.writable && pg.dirty)) return false;
	if (p->la & IS_LARGE) return pg.large && pg.at == p->at && !in;
	return pg.at == p->at;
}
/* The guest has flushed all there is of the space, as it does when many pages have changed, or one
 * did while another space was current: what did not change stays. */
static void look_over(struct x86_vcpu *v)
{
	struct x86_window *w = v->window;
	unsigned n = 0;
	for (unsigned k = 0; k < w->listed; k++) {
		struct page *p = page_find(w, w->list[k] & PAGE_MASK);
		if (!p->la) continue;
		if (still_is(v, p))
			w->list[n++] = p->la;
		else
			page_drop(v, p);
	}
	w->listed = n;
}

void x86_window_cr3(struct x86_vcpu *v, bool keeps)
{
	struct x86_window *w = v->window;
	if (!w) return;
	space_runs(v);
	bool tagged = v->cr4 & CR4_PCIDE;
	bool same_tag = !((v->cr3 ^ w->cr3) & 0xfff), same = !((v->cr3 ^ w->cr3) & TABLES_MASK);
	if (!w->cr3 || (!same && !(tagged && same_tag))) return;
	/* Another space under the same tag: what was there is not that space's. */
	if (!same) {
		take_away(v);
		return;
	}
	w->cr3 = v->cr3;
	if (!same_tag || !(tagged && keeps)) look_over(v);
}
void x86_window_empty(struct x86_vcpu *v) { clear(v); }

void x86_window_drop(struct x86_vcpu *v)
{
	uint64_t cr3 = v->cr3;
	if (!v->window || !v->window->listed) return;
	v->cr3 = v->window->cr3; /* looking changes nothing */
	look_over(v);
	v->cr3 = cr3;
}
void x86_window_drop_page(struct x86_vcpu *v, uint64_t la)
{
	struct x86_window *w = v->window;
	if (!w || !w->pages) return;
	if (w->pieces) {
		clear(v);
		return;
	}
	uint64_t large = la & ~(uint64_t)(LARGE * X86_PAGE - 1);
	struct page *p = page_find(w, la & PAGE_MASK);
	if (p->la) page_drop(v, p);
	p = page_find(w, large);
	if (p->la & IS_LARGE) page_drop(v, p);
}
void x86_window_readonly(struct x86_vcpu *v, gpa_t page)
{
	struct x86_window *w = v->window;
	if (!w || !w->pages || !marked(w->writable, page)) return;
	for (unsigned k = 0; k < HASH; k++)
		while (w->page[k].la & IS_WRITABLE &&
		       page - w->page[k].at < size_of(w->page[k].la)) {
			mark(w->coded, page, true);
			page_drop(v, &w->page[k]);
		}
	mark(w->writable, page, false);
}

/* ---- life */

static void window_done(struct x86_window *w)
{
	if (!w) return;
	free(w->writable);
	free(w->coded);
	free(w);
}
/* Below where programs stand and above what sanitizers take; see X86_HIGH_BIT. */
static void *high_place(void)
{
	enum { TRIES = 8 };
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
	const uint64_t first = 0x110000000000, step = 0x008000000000;
	for (unsigned k = 0; k < TRIES; k++) {
		uint64_t at = first + k * step;
		void *p = mmap((void *)(uintptr_t)(at - GUARD), HIGH_ROOM + 2 * GUARD, PROT_NONE,
			       flags, -1, 0);
		if ((uintptr_t)p == at - GUARD) return p;
		if (p != MAP_FAILED) munmap(p, HIGH_ROOM + 2 * GUARD);
	}
	return MAP_FAILED;
}
struct x86_window *x86_window_new(struct x86_vcpu *v)
{
	enum { FSGSBASE = 1 << 1 }; /* of AT_HWCAP2: user code may set its segments' bases */
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	if (!(getauxval(AT_HWCAP2) & FSGSBASE)) return NULL;
	if (atomic_flag_test_and_set(&taken)) return NULL;
	struct x86_window *w = calloc(1, sizeof(*w));
	size_t map_size = (v->machine->code_pages / 64 + 1) * sizeof(uint64_t);
	if (w) {
		w->map_size = map_size;
		w->writable = calloc(1, map_size);
		w->coded = calloc(1, map_size);
	}
	/* Its address is guest data, a number. */
	void *low = mmap((void *)(uintptr_t)LOW_FIRST, LOW_ALL - LOW_FIRST, PROT_NONE,
			 flags | MAP_FIXED_NOREPLACE, -1, 0);
	void *high = high_place();
	bool good =
		w && w->writable && w->coded && high != MAP_FAILED && (uintptr_t)low == LOW_FIRST;
	if (!good) {
		if (low != MAP_FAILED) munmap(low, LOW_ALL - LOW_FIRST);
		if (high != MAP_FAILED) munmap(high, HIGH_ROOM + 2 * GUARD);
		window_done(w);
		atomic_flag_clear(&taken);
		return NULL;
	}
	w->high = high;
	v->fast.win_add = (uintptr_t)high + GUARD - X86_HIGH_BEGIN;
	return w;
}
void x86_window_free(struct x86_window *w)
{
	if (!w) return;
	munmap((void *)(uintptr_t)LOW_FIRST, LOW_ALL - LOW_FIRST);
	munmap(w->high, HIGH_ROOM + 2 * GUARD);
	window_done(w);
	atomic_flag_clear(&taken);
}
