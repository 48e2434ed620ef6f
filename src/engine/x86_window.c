/* Pages come when they are missed: SIGSEGV, a walk as the interpreter would do it, a mapping of
 * guest memory. That costs microseconds, so only an address space that computes has the window: one
 * that timer interrupts find at work, and only as long as mapping does not eat what is gained. What
 * is there, the page tables allowed when it came, and no flush has asked for since. */
#include "engine/x86_window.h"
#include "engine/x86_jit.h"
#include "hw/gmem.h"
#include <stdlib.h>
#include <sys/mman.h>

#define GUARD	  (4ull << 30) /* more than a displacement reaches */
#define LOW_FIRST 0x10000ull   /* where hosts let anything be mapped */
#define LOW_ROOM  (2 * X86_LOW_END + (1 << 20))
#define HIGH_ROOM (X86_HIGH_END - X86_HIGH_BEGIN)
#define PAGE_MASK (~(uint64_t)(X86_PAGE - 1))
enum { HASH = 1 << 16, MOST = 24000, AROUND = 8, SPACES = 32 };
/* In timer interrupts: how often one must find a space at work; how long it waits after it lost the
 * window; work (mappings) in one that is too much, and how many such there may be. */
enum { GIVE = 1, WAIT = 64, BAD_WORK = 200, BAD_TICKS = 3 };

struct page {
	uint64_t la; /* 0: none here; the lowest bit: there, and writable */
	gpa_t at;
};
struct space {
	uint64_t cr3;
	unsigned ticks, wait;
	uint64_t last;
};
struct x86_window {
	uint8_t *high; /* with its guards */
	uint64_t cr3;  /* whose it is; 0: nobody's */
	unsigned pages, work, bad;
	uint64_t clock;
	struct space space[SPACES];
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
static uint8_t *host_of(const struct x86_vcpu *v, uint64_t la)
{
	/* Guest addresses are numbers, which two additions make one of ours. */
	return (uint8_t *)(uintptr_t)(la < X86_LOW_END * 2 ? la : la + v->fast.win_add);
}
static void hide(void *at, uint64_t len)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
	/* Were this to fail, code could reach what the guest was told it cannot. */
	must(mmap(at, len, PROT_NONE, flags, -1, 0) == at);
}
static int by_address(const void *a, const void *b)
{
	uint64_t x, y;
	memcpy(&x, a, 8);
	memcpy(&y, b, 8);
	return x < y ? -1 : x > y;
}
static void clear(struct x86_vcpu *v)
{
	struct x86_window *w = v->window;
	static _Thread_local uint64_t all[MOST];
	unsigned n = 0;
	if (!w || !w->pages) return;
	for (unsigned k = 0; k < HASH; k++)
		if (w->page[k].la) all[n++] = w->page[k].la & PAGE_MASK;
	qsort(all, n, sizeof(*all), by_address);
	for (unsigned k = 0, len; k < n; k += len) {
		/* Small holes go along: there is nothing in them. */
		for (len = 1; k + len < n && all[k + len] - all[k + len - 1] < 64 * X86_PAGE &&
			      (all[k] < X86_HIGH_BEGIN) == (all[k + len] < X86_HIGH_BEGIN);
		     len++) {
		}
		hide(host_of(v, all[k]), all[k + len - 1] - all[k] + X86_PAGE);
	}
	memset(w->page, 0, sizeof(w->page));
	w->pages = 0;
}
static void page_drop(struct x86_vcpu *v, struct page *p)
{
	struct x86_window *w = v->window;
	unsigned k = (unsigned)(p - w->page);
	hide(host_of(v, p->la & PAGE_MASK), X86_PAGE);
	p->la = 0;
	w->pages--;
	for (;;) { /* close the gap: open addressing */
		k = (k + 1) % HASH;
		struct page q = w->page[k];
		if (!q.la) return;
		w->page[k].la = 0;
		*page_find(w, q.la & PAGE_MASK) = q;
	}
}

/* ---- who has it */

static struct space *space_of(struct x86_window *w, uint64_t cr3)
{
	struct space *oldest = w->space;
	for (unsigned k = 0; k < SPACES; k++) {
		if (w->space[k].cr3 == cr3) return &w->space[k];
		if (w->space[k].last < oldest->last) oldest = &w->space[k];
	}
	*oldest = (struct space){.cr3 = cr3};
	return oldest;
}
bool x86_window_is_on(const struct x86_vcpu *v)
{
	return v->window && v->window->cr3 == v->cr3 && v->window->cr3;
}
static void take_away(struct x86_vcpu *v)
{
	clear(v);
	v->window->cr3 = 0;
}
bool x86_window_tick(struct x86_vcpu *v)
{
	struct x86_window *w = v->window;
	if (!w || gmem_tracking(v->machine->env.mem)) return false;
	struct space *s = space_of(w, v->cr3);
	s->last = ++w->clock;
	if (w->cr3 == v->cr3) {
		w->bad = w->work > BAD_WORK ? w->bad + 1 : 0;
		w->work = 0;
		if (w->bad < BAD_TICKS) return false;
		take_away(v);
		s->ticks = 0;
		s->wait = WAIT;
		return false;
	}
	if (s->wait) {
		s->wait--;
		return false;
	}
	struct space *owner = w->cr3 ? space_of(w, w->cr3) : NULL;
	if (++s->ticks < GIVE || (owner && owner->last + 2 > w->clock)) return false;
	take_away(v);
	w->cr3 = v->cr3;
	w->bad = w->work = 0;
	return true;
}

/* ---- putting pages in */

static bool has_code(const struct x86_machine *m, gpa_t page)
{
	return m->code && page >> X86_PAGE_SHIFT < m->code_pages && m->code[page >> X86_PAGE_SHIFT];
}
static bool put(struct x86_vcpu *v, uint64_t la, const struct x86_page_found *pg, bool stored)
{
	struct x86_window *w = v->window;
	struct gmem *mem = v->machine->env.mem;
	bool write = pg->writable && pg->dirty && !has_code(v->machine, pg->at) &&
		     gmem_ptr(mem, pg->at, X86_PAGE, true);
	if ((stored && !write) || pg->at == v->apic_page) return false;
	if (w->pages + AROUND >= MOST) clear(v);
	if (!gmem_map(mem, pg->at, X86_PAGE, host_of(v, la), write, true)) return false;
	if (write) gmem_dirty(mem, pg->at, X86_PAGE);
	struct page *p = page_find(w, la);
	if (!p->la) w->pages++;
	*p = (struct page){la | write, pg->at};
	w->work++;
	x86_count(v, X86_STAT_WINDOW);
	return true;
}
bool x86_window_fault(struct x86_vcpu *v, uint64_t at, bool write)
{
	struct x86_window *w = v->window;
	struct x86_page_found pg;
	if (!x86_window_is_on(v)) return false;
	uint64_t la = at < LOW_ROOM ? at : at - v->fast.win_add;
	if (la >= LOW_ROOM && la - X86_HIGH_BEGIN >= HIGH_ROOM) return false;
	la &= PAGE_MASK;
	if (la < LOW_FIRST) return false;
	const struct page *p = page_find(w, la);
	if (p->la && (p->la & 1 || !write)) return false; /* it is not that */
	if (x86_translate(v, la, write ? X86_W : X86_R, X86_VIEW_USER, &pg)) return false;
	return put(v, la, &pg, write);
}

/* ---- taking them out */

void x86_window_cr3(struct x86_vcpu *v, bool keeps)
{
	struct x86_window *w = v->window;
	if (!w || !w->cr3) return;
	bool tagged = v->cr4 & CR4_PCIDE;
	bool same_tag = !((v->cr3 ^ w->cr3) & 0xfff);
	if (!tagged || (!keeps && same_tag)) clear(v);
	/* Another space under the same tag: what was there is not that space's. */
	if (tagged && same_tag && v->cr3 != w->cr3) take_away(v);
}
void x86_window_drop(struct x86_vcpu *v) { clear(v); }
void x86_window_drop_page(struct x86_vcpu *v, uint64_t la)
{
	struct x86_window *w = v->window;
	if (!w || !w->pages) return;
	struct page *p = page_find(w, la & PAGE_MASK);
	if (p->la) page_drop(v, p);
}
void x86_window_readonly(struct x86_vcpu *v, gpa_t page)
{
	struct x86_window *w = v->window;
	if (!w || !w->pages) return;
	for (unsigned k = 0; k < HASH; k++)
		while (w->page[k].la & 1 && w->page[k].at == page) page_drop(v, &w->page[k]);
}

/* ---- life */

struct x86_window *x86_window_new(struct x86_vcpu *v)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	if (atomic_flag_test_and_set(&taken)) return NULL;
	struct x86_window *w = calloc(1, sizeof(*w));
	/* Its address is guest data, a number. */
	void *low = mmap((void *)(uintptr_t)LOW_FIRST, LOW_ROOM - LOW_FIRST, PROT_NONE,
			 flags | MAP_FIXED_NOREPLACE, -1, 0);
	void *high = mmap(NULL, HIGH_ROOM + 2 * GUARD, PROT_NONE, flags, -1, 0);
	bool good = w && high != MAP_FAILED && (uintptr_t)low == LOW_FIRST;
	if (!good) {
		if (low != MAP_FAILED) munmap(low, LOW_ROOM - LOW_FIRST);
		if (high != MAP_FAILED) munmap(high, HIGH_ROOM + 2 * GUARD);
		free(w);
		atomic_flag_clear(&taken);
		return NULL;
	}
	w->high = high;
	v->fast.win_first = X86_HIGH_BEGIN;
	v->fast.win_size = HIGH_ROOM;
	v->fast.win_add = (uintptr_t)high + GUARD - X86_HIGH_BEGIN;
	return w;
}
void x86_window_free(struct x86_window *w)
{
	if (!w) return;
	munmap((void *)(uintptr_t)LOW_FIRST, LOW_ROOM - LOW_FIRST);
	munmap(w->high, HIGH_ROOM + 2 * GUARD);
	free(w);
	atomic_flag_clear(&taken);
}
