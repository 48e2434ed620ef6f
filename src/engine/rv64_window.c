/* A window is 256 GiB of host addresses, half of Sv39, where guest address va stands at base + va.
 * It begins empty. An access to what is not there raises SIGSEGV; the handler translates as the
 * interpreter would and maps guest memory there, or has the unit give up so that the interpreter
 * does the access and takes its trap. Guards of 4 GiB on both sides are never mapped: a look-up
 * compares the base register alone, displacements may reach beyond.
 *
 * A page costs some microseconds to come, so only address spaces that compute get a window: those
 * that timer interrupts find at work, as long as mapping does not eat what is gained. */
#include "engine/rv64_window.h"
#include "engine/debug.h"
#include "engine/rv64_cpu.h"
#include "engine/rv64_jit.h"
#include "engine/rv64_reserve.h"
#include "hw/gmem.h"
#include "jit/jit.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { WINDOWS = 8, SPACES = 32, CHUNK_BITS = 9, AROUND = 16 };
enum { SATP_SV39 = 8 };
#define SIZE   (1ull << 38)
#define GUARD  (4 * GIB)
#define PAGES  (SIZE >> PAGE_SHIFT)
#define CHUNKS (PAGES >> CHUNK_BITS) /* of 2 MiB: one leaf of a guest's page table */
/* When a space gets one and when it loses it, in timer interrupts that found it at work. */
enum { GIVE = 1, WAIT = 64, BAD_TICKS = 3, BAD_WORK = 250 };

enum { USED = 1, LARGE = 2 }; /* of a chunk: it may have pages; parts of a guest's large page */
struct maps {		      /* what is in a window; mostly memory that is never touched */
	uint64_t there[PAGES / 64], writable[PAGES / 64];
	uint8_t chunk[CHUNKS];
};
struct rv64_window {
	char *base;
	uint64_t satp; /* 0: nobody's */
	uint64_t last; /* when it was last current */
	struct maps *maps;
	uint32_t *used, nused, used_room; /* chunks */
	size_t vmas;			  /* at most so many mappings */
	unsigned work, bad;
	bool huge; /* has part of a larger page than a chunk */
};
struct space { /* one that may come to have a window */
	uint64_t satp;
	unsigned ticks, wait;
	uint64_t last;
};
struct rv64_windows {
	bool early;
	struct rv64_window *now, all[WINDOWS];
	unsigned n;
	struct space space[SPACES];
	uint64_t clock;
	size_t budget;
	struct window_stats stats;
};
static _Thread_local struct rv64_cpu *here;
static _Atomic size_t all_vmas; /* of all harts */
static size_t most_vmas;

/* ---- what is there */
static bool is(const uint64_t *map, uint64_t page) { return map[page / 64] >> page % 64 & 1; }
static void set(uint64_t *map, uint64_t page) { map[page / 64] |= 1ull << page % 64; }
static void clear(uint64_t *map, uint64_t page) { map[page / 64] &= ~(1ull << page % 64); }
static bool there(const struct rv64_window *w, uint64_t page)
{
	return page < PAGES && w->maps->chunk[page >> CHUNK_BITS] && is(w->maps->there, page);
}
static char *host_of(const struct rv64_window *w, uint64_t page)
{
	return w->base + (page << PAGE_SHIFT);
}

static void charge(struct rv64_window *w, size_t vmas)
{
	w->vmas += vmas;
	atomic_fetch_add_explicit(&all_vmas, vmas, memory_order_relaxed);
}
static void uncharge(struct rv64_window *w)
{
	atomic_fetch_sub_explicit(&all_vmas, w->vmas, memory_order_relaxed);
	w->vmas = 0;
}

static void chunk_use(struct rv64_window *w, uint32_t chunk)
{
	if (w->maps->chunk[chunk]) return;
	if (w->nused == w->used_room) {
		w->used_room = w->used_room ? 2 * w->used_room : 64;
		w->used = realloc(w->used, w->used_room * sizeof(*w->used));
		must(w->used);
	}
	w->used[w->nused++] = chunk;
	w->maps->chunk[chunk] = USED;
}

/* ---- taking pages out */
static void unmap(struct rv64_window *w, uint64_t page, uint64_t n)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
	void *at = host_of(w, page);
	/* Were this to fail, code could reach what the guest was told it cannot. */
	must(mmap(at, n << PAGE_SHIFT, PROT_NONE, flags, -1, 0) == at);
}

static void chunk_forget(struct rv64_window *w, uint32_t chunk)
{
	uint64_t first = (uint64_t)chunk << CHUNK_BITS;
	memset(&w->maps->there[first / 64], 0, (1u << CHUNK_BITS) / 8);
	memset(&w->maps->writable[first / 64], 0, (1u << CHUNK_BITS) / 8);
}

static int by_number(const void *a, const void *b)
{
	uint32_t x, y;
	memcpy(&x, a, 4);
	memcpy(&y, b, 4);
	return x < y ? -1 : x > y;
}

static void window_clear(struct rv64_windows *ws, struct rv64_window *w)
{
	if (!w->nused) return;
	qsort(w->used, w->nused, sizeof(*w->used), by_number);
	for (uint32_t i = 0, n = 1; i < w->nused; i += n) {
		for (n = 1; i + n < w->nused && w->used[i + n] == w->used[i] + n;) n++;
		unmap(w, (uint64_t)w->used[i] << CHUNK_BITS, (uint64_t)n << CHUNK_BITS);
	}
	for (uint32_t i = 0; i < w->nused; i++) {
		chunk_forget(w, w->used[i]);
		w->maps->chunk[w->used[i]] = 0;
	}
	w->work += w->nused;
	w->nused = 0;
	w->huge = false;
	uncharge(w);
	ws->stats.drops++;
}

void rv64_window_drop(struct rv64_cpu *c)
{
	for (unsigned i = 0; c->windows && i < c->windows->n; i++)
		window_clear(c->windows, &c->windows->all[i]);
}

void rv64_window_drop_asid(struct rv64_cpu *c, unsigned asid)
{
	for (unsigned i = 0; c->windows && i < c->windows->n; i++)
		if ((c->windows->all[i].satp >> SATP_ASID_SHIFT & 0xffff) == asid)
			window_clear(c->windows, &c->windows->all[i]);
}

static void page_drop(struct rv64_windows *ws, struct rv64_window *w, uint64_t page)
{
	uint32_t chunk = (uint32_t)(page >> CHUNK_BITS);
	if (w->huge) {
		window_clear(ws, w);
	} else if (w->maps->chunk[chunk] & LARGE) {
		unmap(w, (uint64_t)chunk << CHUNK_BITS, 1u << CHUNK_BITS);
		chunk_forget(w, chunk);
		w->maps->chunk[chunk] = USED;
		w->work++;
	} else if (there(w, page)) {
		unmap(w, page, 1);
		clear(w->maps->there, page);
		clear(w->maps->writable, page);
		charge(w, 2);
		w->work++;
		ws->stats.page_drops++;
	}
}

void rv64_window_drop_page(struct rv64_cpu *c, gva_t va)
{
	if (!c->windows || va >= SIZE) return;
	for (unsigned i = 0; i < c->windows->n; i++)
		page_drop(c->windows, &c->windows->all[i], va >> PAGE_SHIFT);
}

/* ---- putting pages in */
struct run { /* pages that are mapped at once */
	uint64_t page, n;
	gpa_t at;
	bool write;
};

/* Whether a page may be there, without any change that the guest could see; write: and whether it
 * may be written, then. */
static bool look(struct rv64_cpu *c, uint64_t page, bool stored, struct rv64_page *pg, bool *write)
{
	if (rv64_peek(c, page << PAGE_SHIFT, ACCESS_R, PRIV_U, pg)) return false;
	if (!rv64_pmp_whole(c, pg->at) || !gmem_ptr(c->mem, pg->at, PAGE_SIZE, false) ||
	    !rv64_pmp_ok(c, pg->at, PAGE_SIZE, ACCESS_R, PRIV_U))
		return false;
	*write = pg->dirty && (stored || !gmem_tracking(c->mem)) &&
		 rv64_pmp_ok(c, pg->at, PAGE_SIZE, ACCESS_R | ACCESS_W, PRIV_U) &&
		 gmem_ptr(c->mem, pg->at, PAGE_SIZE, true) && !rv64_watched(c, pg->at, PAGE_SIZE);
	return true;
}

/* Does it become one mapping with what stands before it? */
static bool joins(struct rv64_cpu *c, const struct rv64_window *w, const struct run *r)
{
	struct rv64_page pg;
	bool write;
	return there(w, r->page - 1) && is(w->maps->writable, r->page - 1) == r->write &&
	       look(c, r->page - 1, false, &pg, &write) && pg.at + PAGE_SIZE == r->at;
}

/* A new run splits an empty place in two, or comes next to what is there. */
static bool afford(struct rv64_cpu *c, struct rv64_window *w, const struct run *r)
{
	size_t vmas = 2;
	if (!there(w, r->page)) {
		vmas -= there(w, r->page - 1) + (size_t)there(w, r->page + r->n);
		vmas -= vmas && joins(c, w, r);
	}
	size_t all = atomic_load_explicit(&all_vmas, memory_order_relaxed);
	if (w->vmas + vmas > c->windows->budget || all + vmas > most_vmas) {
		c->windows->stats.over_budget++;
		rv64_window_drop(c);
		w->bad = BAD_TICKS;
		vmas = 2;
		all = atomic_load_explicit(&all_vmas, memory_order_relaxed);
		if (vmas > c->windows->budget || all + vmas > most_vmas) return false;
	}
	charge(w, vmas);
	return true;
}

static bool run_map(struct rv64_cpu *c, struct rv64_window *w, const struct run *r)
{
	struct window_stats *s = &c->windows->stats;
	size_t len = r->n << PAGE_SHIFT;
	if (!afford(c, w, r)) return false;
	for (uint64_t p = r->page; p < r->page + r->n; p++)
		chunk_use(w, (uint32_t)(p >> CHUNK_BITS));
	if (r->write) gmem_open(c->mem, r->at, len);
	if (!gmem_map(c->mem, r->at, len, host_of(w, r->page), r->write, r->n <= AROUND)) {
		unmap(w, r->page, r->n);
		for (uint64_t p = r->page; p < r->page + r->n; p++) clear(w->maps->there, p);
		return false;
	}
	for (uint64_t p = r->page; p < r->page + r->n; p++) {
		set(w->maps->there, p);
		clear(w->maps->writable, p);
		if (r->write) set(w->maps->writable, p);
	}
	if (r->write) gmem_dirty(c->mem, r->at, len);
	w->work++;
	s->maps++;
	s->pages += r->n;
	return true;
}

/* All that a chunk has of a guest's large page, if nothing stands in the way. */
static bool chunk_map(struct rv64_cpu *c, struct rv64_window *w, uint64_t page,
		      const struct rv64_page *pg, bool write)
{
	uint64_t off = page & ((1u << CHUNK_BITS) - 1);
	struct run r = {page - off, 1u << CHUNK_BITS, pg->at - (off << PAGE_SHIFT), write};
	size_t len = r.n << PAGE_SHIFT;
	if (pg->span < len - 1 || gmem_tracking(c->mem) || !gmem_ptr(c->mem, r.at, len, write) ||
	    (write && rv64_watched(c, r.at, len)) ||
	    !rv64_pmp_ok(c, r.at, (unsigned)len, write ? ACCESS_R | ACCESS_W : ACCESS_R, PRIV_U))
		return false;
	return run_map(c, w, &r);
}

static bool next_to(const struct run *r, uint64_t page, gpa_t at, bool write)
{
	return r->n && r->write == write && r->page + r->n == page &&
	       r->at + (r->n << PAGE_SHIFT) == at;
}

/* Its neighbours in one direction, as long as they need no more than being put there. */
static uint64_t reach(struct rv64_cpu *c, struct rv64_window *w, uint64_t page, int64_t step)
{
	struct rv64_page pg;
	bool write;
	for (unsigned k = 0; k < AROUND / 2; k++, page += (uint64_t)step) {
		uint64_t next = page + (uint64_t)step;
		if (next >= PAGES || there(w, next) || !look(c, next, false, &pg, &write)) break;
		if (pg.span) break;
	}
	return page;
}

/* The mark comes last: making room for the pages takes all marks away. */
static bool large_map(struct rv64_cpu *c, struct rv64_window *w, uint64_t page,
		      const struct rv64_page *pg, bool write)
{
	struct run one = {page, 1, pg->at, write};
	if (!chunk_map(c, w, page, pg, write) && !run_map(c, w, &one)) return false;
	w->maps->chunk[page >> CHUNK_BITS] |= LARGE;
	w->huge |= pg->span >= 1ull << (CHUNK_BITS + PAGE_SHIFT);
	return true;
}

/* stored: it is to be written, and its D bit has been set for that. */
static bool page_map(struct rv64_cpu *c, uint64_t page, bool stored)
{
	struct rv64_window *w = c->windows->now;
	struct rv64_page pg;
	bool write, done = false;
	if (!look(c, page, stored, &pg, &write) || (stored && !write)) return false;
	if (pg.span) return large_map(c, w, page, &pg, write);
	uint64_t first = page, last = page;
	if (!there(w, page)) {
		first = reach(c, w, page, -1);
		last = reach(c, w, page, 1);
	}
	struct run r = {0};
	for (uint64_t p = first; p <= last; p++) {
		if (!look(c, p, stored && p == page, &pg, &write) || pg.span) continue;
		if (next_to(&r, p, pg.at, write)) {
			r.n++;
			continue;
		}
		if (r.n && run_map(c, w, &r)) done |= page - r.page < r.n;
		r = (struct run){p, 1, pg.at, write};
	}
	if (r.n && run_map(c, w, &r)) done |= page - r.page < r.n;
	return done && there(w, page);
}

void rv64_window_fill(struct rv64_cpu *c, gva_t va, unsigned access)
{
	uint64_t page = va >> PAGE_SHIFT;
	if (va >= c->win_limit || c->windows->early) return;
	const struct rv64_window *w = c->windows->now;
	if (there(w, page) && (access == ACCESS_R || is(w->maps->writable, page))) return;
	(void)page_map(c, page, access == ACCESS_W);
}

bool rv64_window_has(const struct rv64_cpu *c, const void *host, gva_t *va)
{
	*va = (uint64_t)(uintptr_t)host - c->win_base;
	return c->win_limit && *va + GUARD < SIZE + 2 * GUARD;
}

/* ---- faults */

/* A store that runs into the next page is told of by that page's beginning. It may set D there only
 * if it can also be done in the page before. */
static bool may_cross(const struct rv64_window *w, gva_t va)
{
	uint64_t before = (va >> PAGE_SHIFT) - 1;
	return !(va & ~PAGE_MASK) && !(there(w, before) && is(w->maps->writable, before));
}

static bool serve(struct rv64_cpu *c, gva_t va, bool write)
{
	struct rv64_page pg;
	if (va >= c->win_limit) return false;
	if (write && may_cross(c->windows->now, va)) {
		if (rv64_peek(c, va, ACCESS_W, PRIV_U, &pg)) return false;
	} else if (rv64_translate(c, va, write ? ACCESS_W : ACCESS_R, PRIV_U, &pg)) {
		return false;
	}
	return page_map(c, va >> PAGE_SHIFT, write);
}

static struct sigaction before;

static void pass_on(int sig, siginfo_t *info, void *context)
{
	if (before.sa_flags & SA_SIGINFO)
		before.sa_sigaction(sig, info, context);
	else if (before.sa_handler != SIG_DFL && before.sa_handler != SIG_IGN)
		before.sa_handler(sig);
	else
		(void)sigaction(sig, &before, NULL); /* it comes again when we return */
}

/* Raised by what this thread does, in generated code: nothing of ours was in the middle of
 * anything, and we may do as if called. */
static void on_fault(int sig, siginfo_t *info, void *context)
{
	struct rv64_cpu *c = here;
	struct jit_fault f;
	gva_t va;
	if (!c || !c->windows || !rv64_window_has(c, info->si_addr, &va) ||
	    !jit_faulted(rv64_jit_cache(c->jit), context, &f)) {
		pass_on(sig, info, context);
		return;
	}
	c->windows->stats.faults++;
	c->windows->now->work++;
	if (serve(c, va, f.write)) return;
	c->windows->stats.refused++;
	jit_give_up(rv64_jit_cache(c->jit), context, f.map);
}

static void install(void)
{
	struct sigaction a = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	FILE *f = fopen("/proc/sys/vm/max_map_count", "re");
	if (!f || fscanf(f, "%zu", &most_vmas) != 1) most_vmas = 65530;
	if (f) (void)fclose(f);
	most_vmas = most_vmas / 4 * 3;
	(void)sigemptyset(&a.sa_mask);
	(void)sigaction(SIGSEGV, &a, &before);
}

void rv64_window_thread(struct rv64_cpu *c) { here = c; }

/* ---- who has one */
static struct rv64_window *window_of(struct rv64_windows *ws, uint64_t satp)
{
	for (unsigned i = 0; i < ws->n; i++)
		if (ws->all[i].satp == satp) return &ws->all[i];
	return NULL;
}

static bool reserve(struct rv64_window *w)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	char *p = mmap(NULL, SIZE + 2 * GUARD, PROT_NONE, flags, -1, 0);
	void *maps = mmap(NULL, sizeof(*w->maps), PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p == MAP_FAILED || maps == MAP_FAILED) {
		if (p != MAP_FAILED) (void)munmap(p, SIZE + 2 * GUARD);
		if (maps != MAP_FAILED) (void)munmap(maps, sizeof(*w->maps));
		return false;
	}
	w->base = p + GUARD;
	w->maps = maps;
	return true;
}

static struct rv64_window *window_free(struct rv64_windows *ws)
{
	struct rv64_window *w = window_of(ws, 0);
	if (w) return w;
	if (ws->n < WINDOWS && reserve(&ws->all[ws->n])) return &ws->all[ws->n++];
	for (unsigned i = 0; i < ws->n; i++)
		if (!w || ws->all[i].last < w->last) w = &ws->all[i];
	if (w) window_clear(ws, w);
	return w;
}

static void give(struct rv64_cpu *c)
{
	struct rv64_windows *ws = c->windows;
	struct rv64_window *w = window_free(ws);
	if (!w) return;
	w->satp = c->satp;
	w->last = ++ws->clock;
	w->work = w->bad = 0;
	ws->now = w;
	ws->stats.given++;
}

static struct space *space_of(struct rv64_windows *ws, uint64_t satp)
{
	struct space *oldest = ws->space;
	for (struct space *s = ws->space; s < ws->space + SPACES; s++) {
		if (s->satp == satp) return s;
		if (s->last < oldest->last) oldest = s;
	}
	*oldest = (struct space){.satp = satp, .wait = GIVE};
	return oldest;
}

static bool sv39(const struct rv64_cpu *c) { return c->satp >> SATP_MODE_SHIFT == SATP_SV39; }

/* Mapping has eaten what was gained, for long: the next time it must wait longer. */
static void take(struct rv64_windows *ws, struct rv64_window *w, struct space *s)
{
	window_clear(ws, w);
	w->satp = 0;
	ws->now = NULL;
	s->ticks = 0;
	s->wait = s->wait < WAIT ? WAIT : s->wait < 64 * WAIT ? 2 * s->wait : s->wait;
	ws->stats.taken++;
}

void rv64_window_tick(struct rv64_cpu *c)
{
	struct rv64_windows *ws = c->windows;
	if (!ws || !sv39(c)) return;
	struct space *s = space_of(ws, c->satp);
	struct rv64_window *w = ws->now;
	s->last = ++ws->clock;
	s->ticks++;
	if (!w) {
		if (s->ticks >= s->wait) give(c);
		return;
	}
	if (w->work > BAD_WORK)
		w->bad += w->work / BAD_WORK;
	else if (w->bad)
		w->bad--;
	w->work = 0;
	if (w->bad >= BAD_TICKS && !ws->early) take(ws, w, s);
}

void rv64_window_mode(struct rv64_cpu *c)
{
	struct rv64_windows *ws = c->windows;
	bool user = c->priv == PRIV_U && !(c->mstatus & MSTATUS_MXR);
	if (ws->now && ws->now->satp != c->satp) ws->now = NULL; /* as after a reset */
	if (ws->early && user && sv39(c) && !ws->now) give(c);
	bool on = user && ws->now && ws->now->satp == c->satp && !debug_watching(c->debug);
	c->win_limit = on ? SIZE : 0;
	c->win_base = on ? (uint64_t)(uintptr_t)ws->now->base : 0;
}

void rv64_window_space(struct rv64_cpu *c)
{
	struct rv64_windows *ws = c->windows;
	ws->now = sv39(c) ? window_of(ws, c->satp) : NULL;
	if (ws->now) ws->now->last = ++ws->clock;
}

/* ---- life */
void rv64_windows_new(struct rv64_cpu *c, bool early)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	(void)pthread_once(&once, install);
	c->windows = calloc(1, sizeof(*c->windows));
	must(c->windows);
	c->windows->early = early;
	c->windows->budget = most_vmas;
}

void rv64_windows_free(struct rv64_cpu *c)
{
	struct rv64_windows *ws = c->windows;
	for (unsigned i = 0; ws && i < ws->n; i++) {
		uncharge(&ws->all[i]);
		(void)munmap(ws->all[i].base - GUARD, SIZE + 2 * GUARD);
		(void)munmap(ws->all[i].maps, sizeof(*ws->all[i].maps));
		free(ws->all[i].used);
	}
	free(ws);
	c->windows = NULL;
	c->win_limit = c->win_base = 0;
}

bool rv64_windows_early(const struct rv64_cpu *c) { return c->windows && c->windows->early; }

const struct window_stats *rv64_window_stats(const struct rv64_cpu *c)
{
	return c->windows ? &c->windows->stats : NULL;
}

void rv64_window_budget(struct rv64_cpu *c, size_t mappings)
{
	if (c->windows) c->windows->budget = mappings;
}
