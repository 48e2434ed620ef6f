/* Pages come when they are missed: SIGSEGV, a walk as the interpreter would do it, a mapping of
 * guest memory. That costs microseconds, so only an address space that computes has the window: one
 * that has had the CPU for a while, and only as long as mapping does not eat what is gained. What
 * is there, the page tables allowed when it came, and no flush has asked for since. */
#include "engine/x86_window.h"
#include "engine/x86_jit.h"
#include "engine/x86_shadow.h"
#include "hw/gmem.h"
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>

#define GUARD	  (64ull << 30) /* more than an index of 32 bits and the rest reach */
#define LOW_FIRST X86_SHADOW_FIRST
#define LOW_ROOM  (2 * X86_LOW_END + GUARD)
#define LOW_ALL	  (LOW_ROOM + GUARD)
#define HIGH_ROOM (X86_HIGH_END - X86_HIGH_BEGIN)
#define PAGE_MASK (~(uint64_t)(X86_PAGE - 1))
enum { SPACES = 32 };
/* Work is pages that come, and those that go, which are likely to come back. What is fine between
 * two timer interrupts; how much more there may be, all in all; how many interrupts long the window
 * is not used then, at first. */
enum { FINE_WORK = 100, MOST_DEBT = 800, PAUSE = 8, LOSSES = 5 };
enum {
	EARLY_US = 1000,
	IDLE_US = 1000
}; /* of the CPU before it is given; without, before it is taken */

struct space {
	uint64_t tables;     /* CR3 without the PCID: Linux gives one now and then another */
	uint64_t used, last; /* in the host's TSC: all time with the CPU, when that ended */
	unsigned losses;
};
struct x86_window {
	uint8_t *high; /* with its guards */
	unsigned debt;
	unsigned paused;  /* not 0: it is not used; in timer interrupts */
	uint64_t pending; /* a page that the guest has been told is missing */
	struct space space[SPACES], *now;
	uint64_t since; /* when that got the CPU */
	struct x86_shadow s;
};
static atomic_flag taken = ATOMIC_FLAG_INIT;

/* ---- where pages stand */

static uint8_t *host_of(const struct x86_vcpu *v, uint64_t la)
{
	/* Guest addresses are numbers, which two additions make one of ours. */
	return (uint8_t *)(uintptr_t)(la < LOW_ROOM ? la : la + v->fast.win_add);
}
static void hide(void *ctx, uint64_t la, uint64_t len)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
	void *at = host_of(ctx, la);
	/* Were this to fail, code could reach what the guest was told it cannot. */
	must(mmap(at, len, PROT_NONE, flags, -1, 0) == at);
}
static bool map(void *ctx, uint64_t la, gpa_t at, size_t len, unsigned rights)
{
	struct x86_vcpu *v = ctx;
	return gmem_map(v->machine->env.mem, at, len, host_of(v, la), rights & X86_SHADOW_WRITE,
			true);
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
static uint64_t us(unsigned n) { return x86_host_tsc_khz() * n / 1000; }
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
	return v->window && !v->watching && v->window->s.cr3 == v->cr3 && v->window->s.cr3 &&
	       !v->window->paused;
}
static void take_away(struct x86_vcpu *v)
{
	x86_shadow_clear(&v->window->s, true);
	v->window->s.cr3 = 0;
	v->window->paused = 0;
}
bool x86_window_tick(struct x86_vcpu *v)
{
	struct x86_window *w = v->window;
	if (!w || !w->s.cr3 || w->s.cr3 != v->cr3) return false;
	w->debt += w->s.work;
	w->debt -= w->debt < FINE_WORK ? w->debt : (unsigned)FINE_WORK;
	w->s.work = 0;
	return w->paused && --w->paused == 0;
}
/* What is there stays: the space may want it again. */
static bool gets_tired(struct x86_vcpu *v)
{
	struct x86_window *w = v->window;
	if (w->paused || w->debt + w->s.work < MOST_DEBT ||
	    v->machine->env.windows == WINDOWS_EARLY)
		return false;
	struct space *s = space_of(w, v->cr3);
	w->paused = (unsigned)PAUSE << s->losses;
	w->debt = w->s.work = 0;
	if (s->losses < LOSSES) s->losses++;
	return true;
}
static bool is_due(struct x86_vcpu *v)
{
	struct x86_window *w = v->window;
	if (v->machine->env.windows == WINDOWS_EARLY) return true;
	if (!w->now) space_runs(v);
	uint64_t now = tsc();
	if (w->now->used + now - w->since < us(EARLY_US)) return false;
	return !w->s.cr3 || now - space_of(w, w->s.cr3)->last > us(IDLE_US);
}
bool x86_window_turns(struct x86_vcpu *v)
{
	struct x86_window *w = v->window;
	if (!w || v->cpl != 3) return false;
	if (w->s.cr3 == v->cr3) return gets_tired(v);
	if (gmem_tracking(v->machine->env.mem) || !is_due(v)) return false;
	take_away(v);
	w->s.cr3 = v->cr3;
	w->debt = w->s.work = 0;
	x86_count(v, X86_STAT_PROMOTED);
	return true;
}

/* ---- what comes, what goes */

static bool can_have(struct x86_vcpu *v, uint64_t la)
{
	return x86_window_is_on(v) && la >= LOW_FIRST &&
	       (la < LOW_ROOM || la - X86_HIGH_BEGIN < HIGH_ROOM);
}
enum x86_missing x86_window_fault(struct x86_vcpu *v, uint64_t at, bool write)
{
	struct x86_page_found pg;
	uint64_t la = (at < LOW_ROOM ? at : at - v->fast.win_add) & PAGE_MASK;
	if (!can_have(v, la)) return X86_NOT_HERE;
	enum x86_access access = write ? X86_W : X86_R;
	if (x86_translate(v, la, access, X86_VIEW_USER, &pg)) {
		v->window->pending = la;
		return X86_GUEST_FAULTS;
	}
	struct x86_shadow *s = &v->window->s;
	if (x86_shadow_has(s, la, access)) return X86_NOT_HERE; /* it is not that */
	return x86_shadow_put(v, s, la, &pg, write) ? X86_CAME : X86_NOT_HERE;
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
	if (can_have(v, la) && !x86_shadow_has(&w->s, la, X86_R) &&
	    x86_peek_page(v, la, X86_R, X86_VIEW_USER, &pg))
		(void)x86_shadow_put(v, &w->s, la, &pg, false);
	v->fault = fault;
	v->code = code;
}

void x86_window_cr3(struct x86_vcpu *v, bool keeps)
{
	struct x86_window *w = v->window;
	if (!w) return;
	space_runs(v);
	bool tagged = v->cr4 & CR4_PCIDE;
	bool same_tag = !((v->cr3 ^ w->s.cr3) & 0xfff), same = !((v->cr3 ^ w->s.cr3) & TABLES_MASK);
	if (!w->s.cr3 || (!same && !(tagged && same_tag))) return;
	/* Another space under the same tag: what was there is not that space's. */
	if (!same) {
		take_away(v);
		return;
	}
	w->s.cr3 = v->cr3;
	if (!same_tag || !(tagged && keeps)) x86_shadow_look_over(&w->s);
}

/* ---- life */

static void window_done(struct x86_window *w)
{
	if (!w) return;
	x86_shadow_done(&w->s);
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
	const struct x86_shadow_to to = {.map = map, .hide = hide, .ctx = v, .end = X86_HIGH_END};
	/* Its address is guest data, a number. */
	void *low = mmap((void *)(uintptr_t)LOW_FIRST, LOW_ALL - LOW_FIRST, PROT_NONE,
			 flags | MAP_FIXED_NOREPLACE, -1, 0);
	void *high = high_place();
	bool good = w && x86_shadow_init(&w->s, v, &to) && high != MAP_FAILED &&
		    (uintptr_t)low == LOW_FIRST;
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
