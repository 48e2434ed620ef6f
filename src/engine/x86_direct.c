/* Who runs directly, and what becomes of what stops it. An event costs some 5 us here (a change to
 * the other process and back), where translated code takes a tenth: hence only spaces that call
 * their kernel seldom, as counted between two timer interrupts. */
#include "engine/x86_direct.h"
#include "base/jail.h"
#include "engine/x86_desc.h"
#include "engine/x86_jit.h"
#include "engine/x86_shadow.h"
#include "engine/x86_stub.h"
#include "engine/x86_window.h"
#include "hw/gmem.h"
#include <cpuid.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE_OF	    (~(uint64_t)(X86_PAGE - 1))
#define TABLES_MASK (~(uint64_t)0xfff)
/* System calls a millisecond up to which it is tried. Then it pays if what it costs more than
 * translated code would (calls, and pages that come) is at most the time that the code had for
 * itself, or hardly anything; that is looked at by timer interrupts, and after so many calls. Timer
 * interrupts without, at first; how much longer after each time that it did not pay. */
enum { RATE = 60, HARDLY_US = 200, BURST = 128, PAUSE = 4, LOSSES = 6 };
/* What they cost more: a page that comes costs translated code much, too. */
enum { CALL_US = 5, FAULT_US = 2, MAP_US = 2, PAGES_US = 2 /* pages a us beside one */ };
/* Units made since it got the CPU: what runs for the first time begins at once, and may map as much
 * as it wants for a while, since translating it would cost more. To a guest that was just restored
 * all code is new, so it has to make some first. */
enum { COLD_UNITS = 300, COLD_MS = 50, FIRST_UNITS = 4000 };
enum { PLACES = 8, SPACES = 32, IDLE_MS = 2, AROUND = 16 };
enum { HELD_MS = 20 };			 /* on one CPU, while the host may have a better one */
enum { STRAY = 2048, STRAY_CALL = 256 }; /* instructions interpreted: at most; as dear as a call */
enum { USER_CS = 0x33, USER_SS = 0x2b, USER_CS32 = 0x23 }; /* Linux's, guest and host */

enum { MOST_LOST = 16 }; /* then there are no new ones */
enum { MADE = 4 };	 /* beforehand, where none can be made later */
/* A page of code that runs but for so many places, where its process has breakpoints. */
enum { SPOTS = X86_STUB_BREAKS };
struct place {
	uint64_t last; /* when it ran, by the host's TSC */
	struct x86_stub *stub;
	uint64_t spotted[X86_STUB_BREAKS]; /* by breakpoint: the page whose it is; 0: none's */
	unsigned turn;			   /* whose breakpoint goes next */
	struct x86_shadow s;
	struct x86_vcpu *v;
};
struct space { /* what is remembered of one */
	uint64_t tables, stack, last;
	uint64_t cold; /* until then by the TSC */
	unsigned paused, losses;
};
struct x86_direct {
	struct place *place[PLACES], *now;
	struct x86_stub *stub[MADE]; /* made beforehand */
	unsigned made;
	struct space space[SPACES];
	bool refused;	  /* by the host */
	unsigned lost;	  /* stubs */
	bool paid;	  /* when that was last looked at */
	uint64_t missing; /* a page that the guest has been told is missing; 0: none */
	uint64_t units;	  /* made when CR3 was written */
	/* At the last timer interrupt in user code: */
	uint64_t tables, at, calls;
	uint64_t own; /* since has_paid() was asked: time for itself, by the TSC */
	uint64_t seen, seen_faults, seen_orders; /* calls, faults, orders until then */
	/* By page of guest memory: code that may run; that may not. */
	uint64_t *plain, *other;
};
static uint64_t tsc(void) { return __builtin_ia32_rdtsc(); }
static uint64_t ms(unsigned n) { return x86_host_tsc_khz() * n; }
static bool is_early(const struct x86_vcpu *v) { return v->machine->env.direct == DIRECT_EARLY; }

/* ---- the pages of a place */

static bool map(void *ctx, uint64_t la, gpa_t at, size_t len, unsigned rights)
{
	struct place *p = ctx;
	unsigned region, prot = PROT_READ;
	uint64_t off;
	if (rights & X86_SHADOW_WRITE) prot |= PROT_WRITE;
	if (rights & X86_SHADOW_EXEC) prot |= PROT_EXEC;
	return gmem_file(p->v->machine->env.mem, at, len, rights & X86_SHADOW_WRITE, &region,
			 &off) &&
	       x86_stub_map(p->stub, la, len, prot, region, off);
}
/* If it fails the stub does not run again. */
static void hide(void *ctx, uint64_t la, uint64_t len)
{
	struct place *p = ctx;
	(void)x86_stub_hide(p->stub, la, len);
}
/* For another space. */
static void place_clear(struct place *p)
{
	x86_shadow_clear(&p->s, true);
	x86_stub_forget(p->stub);
	memset(p->spotted, 0, sizeof(p->spotted));
	for (unsigned k = 0; k < X86_STUB_BREAKS; k++) x86_stub_break(p->stub, k, 0);
	p->s.cr3 = 0;
}
static void place_free(struct place *p)
{
	if (!p) return;
	x86_stub_free(p->stub);
	x86_shadow_done(&p->s);
	free(p);
}
/* Where the monitor is confined there are those that were made before. */
static struct x86_stub *stub_get(struct x86_vcpu *v)
{
	struct x86_direct *d = v->direct;
	if (d->made) return d->stub[--d->made];
	return jail_is_on() ? NULL : x86_stub_new(v->machine->env.mem);
}
static struct place *place_new(struct x86_vcpu *v)
{
	struct place *p = calloc(1, sizeof(*p));
	if (!p) return NULL;
	const struct x86_shadow_to to = {.map = map, .hide = hide, .ctx = p, .end = X86_USER_END};
	p->v = v;
	p->stub = stub_get(v);
	if (p->stub && x86_stub_have(p->stub) && x86_shadow_init(&p->s, v, &to)) {
		p->s.late = true;
		return p;
	}
	if (p->stub || !jail_is_on()) x86_count(v, X86_STAT_DIRECT_REFUSED);
	place_free(p);
	return NULL;
}
/* For the space at CR3. NULL: others use them. */
static struct place *place_for(struct x86_vcpu *v)
{
	struct x86_direct *d = v->direct;
	struct place **empty = NULL, *p = NULL;
	for (unsigned k = 0; k < PLACES; k++) {
		struct place *one = d->place[k];
		if (one && one->s.cr3 == v->cr3) return one;
		if (!one) empty = &d->place[k];
		if (one && (!p || one->last < p->last)) p = one;
	}
	if (empty && !d->refused) {
		*empty = place_new(v);
		d->refused = !*empty;
		if (*empty) p = *empty;
	}
	if (!p || (p->s.cr3 && tsc() - p->last < ms(IDLE_MS))) return NULL;
	place_clear(p);
	p->s.cr3 = v->cr3;
	return p;
}

/* ---- whether it can */

/* Has the guest anything at the stub's own addresses, which are one entry of a page directory? */
static bool is_taken(const struct x86_vcpu *v)
{
	enum { PRESENT = 1, TOP = 39, DIRECTORY = 21, BITS = 9 };
	const uint64_t frame = 0xffffffffff000;
	uint64_t e = v->cr3;
	for (unsigned at = TOP; at >= DIRECTORY; at -= BITS) {
		uint64_t k = X86_STUB_AT >> at & ((1 << BITS) - 1);
		if (!gmem_read(v->machine->env.mem, (e & frame) + k * sizeof(e), &e, sizeof(e)) ||
		    !(e & PRESENT))
			return false;
	}
	return true;
}

/* All that user code can see of its CPU is as the host has it, or is set by us. */
static bool is_usual(const struct x86_vcpu *v)
{
	enum { VECTORS = CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE | CR4_FSGSBASE };
	unsigned data =
		v->seg[X86_ES].sel | v->seg[X86_DS].sel | v->seg[X86_FS].sel | v->seg[X86_GS].sel;
	bool bases = v->seg[X86_FS].base < X86_USER_END && v->seg[X86_GS].base < X86_USER_END;
	return v->cpl == 3 && bases && v->mode == X86_64 && x86_is_plain(v) && !v->debug &&
	       v->efer & EFER_SCE && v->cr4 & CR4_UMIP &&
	       !(v->cpu.flags & (X86_IOPL | X86_NT | X86_AC)) && v->cpu.flags & X86_IF &&
	       v->seg[X86_CS].sel == USER_CS && v->seg[X86_SS].sel == USER_SS && !data &&
	       !(v->cr0 & (CR0_EM | CR0_TS)) && (v->cr4 & VECTORS) == VECTORS &&
	       !(v->cr4 & CR4_TSD) && v->xcr0 == X86_XCR0 && v->cr0 & CR0_PG &&
	       v->cpu.rip < X86_USER_END && !is_taken(v);
}

/* ---- who */

/* Where its stack's tables are: what was one program's top-level table is soon another's. */
static uint64_t stack_of(const struct x86_vcpu *v)
{
	enum { STACK = 255 }; /* the entry of the highest user addresses */
	uint64_t e = 0;
	(void)gmem_read(v->machine->env.mem, (v->cr3 & TABLES_MASK) + STACK * sizeof(e), &e,
			sizeof(e));
	return e & TABLES_MASK;
}
static struct space *space_now(struct x86_vcpu *v)
{
	struct x86_direct *d = v->direct;
	struct space *sp = d->space;
	uint64_t tables = v->cr3 & TABLES_MASK, stack = stack_of(v);
	for (unsigned k = 0; k < SPACES; k++) {
		struct space *one = &d->space[k];
		if (one->tables == tables && one->stack == stack) return one;
		if (one->tables == tables || (one->last < sp->last && sp->tables != tables))
			sp = one;
	}
	*sp = (struct space){.tables = tables, .stack = stack};
	return sp;
}
static void look(struct x86_vcpu *v) { v->runs_direct = v->direct && v->direct->now; }
static void begin_count(struct x86_vcpu *v)
{
	struct x86_direct *d = v->direct;
	d->seen = v->calls;
	d->seen_faults = v->stats[X86_STAT_DIRECT_FAULTS];
	d->seen_orders = x86_stub_orders(d->now->stub);
	d->own = d->now->s.work = 0;
}
static void begin(struct x86_vcpu *v)
{
	struct x86_direct *d = v->direct;
	if (gmem_tracking(v->machine->env.mem)) return;
	d->now = place_for(v);
	d->paid = true;
	if (d->now) begin_count(v);
	look(v);
	if (d->now) x86_count(v, X86_STAT_DIRECT);
}
/* Since it was last asked, or before that: it has paid, or little is known. */
static bool has_paid(struct x86_vcpu *v)
{
	struct x86_direct *d = v->direct;
	uint64_t us = x86_host_tsc_khz() / 1000, orders = x86_stub_orders(d->now->stub);
	uint64_t cost = (v->calls - d->seen) * CALL_US;
	if (tsc() > space_now(v)->cold)
		cost += (v->stats[X86_STAT_DIRECT_FAULTS] - d->seen_faults) * FAULT_US +
			(orders - d->seen_orders) * MAP_US + d->now->s.work / PAGES_US;
	bool paid = cost <= HARDLY_US || cost * us <= d->own;
	bool before = d->paid;
	d->paid = paid;
	begin_count(v);
	return paid || before;
}
/* Its pages stay where they are, for a while. */
static void end(struct x86_vcpu *v)
{
	struct x86_direct *d = v->direct;
	struct space *sp = space_now(v);
	x86_count(v, X86_STAT_DIRECT_ENDED);
	sp->paused = (unsigned)PAUSE << sp->losses;
	if (sp->losses < LOSSES) sp->losses++;
	d->now = NULL;
	look(v);
}
bool x86_direct_turns(struct x86_vcpu *v)
{
	struct x86_direct *d = v->direct;
	if (!d) return false;
	if (v->runs_direct && gmem_tracking(v->machine->env.mem)) d->now = NULL, look(v);
	if (v->runs_direct) return true;
	uint64_t units = v->stats[X86_STAT_UNITS];
	bool is_cold = units - d->units >= COLD_UNITS && units >= FIRST_UNITS;
	if (likely(!is_cold && !is_early(v)) || !is_usual(v)) return false;
	d->units = units; /* not again at once, should it not be possible */
	struct space *sp = space_now(v);
	if (sp->paused && !is_early(v)) return false;
	sp->cold = tsc() + ms(COLD_MS);
	begin(v);
	return v->runs_direct;
}
void x86_direct_tick(struct x86_vcpu *v)
{
	struct x86_direct *d = v->direct;
	if (!d || !v->cr3) return;
	x86_stub_release(ms(HELD_MS));
	struct space *sp = space_now(v);
	uint64_t now = tsc(), took = now - d->at, calls = v->calls - d->calls;
	bool same = d->tables == sp->tables;
	d->at = sp->last = now;
	d->calls = v->calls;
	d->tables = sp->tables;
	if (!same || took < ms(1) / 2) return;
	bool calm = calls * ms(1) <= RATE * took;
	if (d->now && !has_paid(v))
		end(v);
	else if (!d->now && sp->paused)
		sp->paused--;
	else if (!d->now && calm)
		begin(v);
}

/* ---- registers */

static void gprs(struct user_regs_struct *r, unsigned long long *at[16])
{
	unsigned long long *all[] = {&r->rax, &r->rcx, &r->rdx, &r->rbx, &r->rsp, &r->rbp,
				     &r->rsi, &r->rdi, &r->r8,	&r->r9,	 &r->r10, &r->r11,
				     &r->r12, &r->r13, &r->r14, &r->r15};
	memcpy(at, all, sizeof(all));
}
enum { SHOWN = X86_ARITH | X86_DF | X86_TF | X86_AC | X86_ID | X86_NT };
static void regs_to(const struct x86_vcpu *v, struct user_regs_struct *r)
{
	unsigned long long *g[16];
	gprs(r, g);
	for (unsigned k = 0; k < COUNT(g); k++) *g[k] = v->cpu.r[k];
	r->rip = v->cpu.rip;
	r->eflags = (v->cpu.flags & SHOWN) | X86_IF | 2;
	r->cs = USER_CS, r->ss = USER_SS;
	r->ds = r->es = r->fs = r->gs = 0;
	r->fs_base = v->seg[X86_FS].base;
	r->gs_base = v->seg[X86_GS].base;
}
/* A selector that the code has loaded by itself, from a table that Linux has everywhere. */
static void segment_from(struct x86_vcpu *v, unsigned seg, unsigned long long sel)
{
	if (v->seg[seg].sel != (uint16_t)sel && x86_seg_load(v, seg, (uint16_t)sel))
		(void)x86_seg_load(v, seg, 0);
}
static void base_from(struct x86_vcpu *v, unsigned seg, unsigned long long sel, uint64_t base)
{
	segment_from(v, seg, sel);
	v->cpu.base[seg] = v->seg[seg].base = base;
}
static void code_from(struct x86_vcpu *v, unsigned long long sel)
{
	enum { ACCESS = SEG_P | SEG_DPL | SEG_S | SEG_CODE | SEG_RW | SEG_A | SEG_DB | SEG_G };
	if (sel == USER_CS) return;
	v->seg[X86_CS] = x86_seg_flat(USER_CS32, ACCESS);
	x86_mode_update(v);
}
static void regs_from(struct x86_vcpu *v, struct user_regs_struct *r)
{
	unsigned long long *g[16];
	gprs(r, g);
	for (unsigned k = 0; k < COUNT(g); k++) v->cpu.r[k] = *g[k];
	v->cpu.rip = r->rip;
	v->cpu.flags = (v->cpu.flags & ~(uint64_t)SHOWN) | (r->eflags & SHOWN);
	if (r->cs == USER_CS && r->ss == USER_SS && !(r->ds | r->es | r->fs | r->gs)) {
		v->cpu.base[X86_FS] = v->seg[X86_FS].base = r->fs_base;
		v->cpu.base[X86_GS] = v->seg[X86_GS].base = r->gs_base;
		return;
	}
	segment_from(v, X86_SS, r->ss);
	segment_from(v, X86_DS, r->ds);
	segment_from(v, X86_ES, r->es);
	base_from(v, X86_FS, r->fs, r->fs_base);
	base_from(v, X86_GS, r->gs, r->gs_base);
	code_from(v, r->cs);
}

/* ---- pages that come */

static bool can_have(uint64_t la)
{
	return la >= X86_SHADOW_FIRST && la < X86_USER_END &&
	       !(la >= X86_STUB_AT && la < X86_STUB_END);
}
enum code { OTHER, SPOTTED, PLAIN };
/* May code of the page run? From then on writes to it are told of. */
static enum code code_of(struct x86_vcpu *v, gpa_t page, uint16_t spot[SPOTS], unsigned *n)
{
	struct x86_direct *d = v->direct;
	const uint8_t *code = gmem_ptr(v->machine->env.mem, page, X86_PAGE, true);
	if (!code || page >> X86_PAGE_SHIFT >= v->machine->code_pages) return OTHER;
	if (x86_marked(d->plain, page)) return PLAIN;
	if (x86_marked(d->other, page)) return OTHER;
	x86_code_watch(v->jit, page);
	*n = x86_code_spots(code, spot, SPOTS);
	if (*n && *n <= SPOTS) return SPOTTED;
	x86_mark(*n ? d->other : d->plain, page, true);
	return *n ? OTHER : PLAIN;
}
static bool is_plain(struct x86_vcpu *v, gpa_t page)
{
	uint16_t spot[SPOTS];
	unsigned n;
	return code_of(v, page, spot, &n) == PLAIN;
}
/* Its code and that of the page before or behind it, if that is there. */
static bool joins(struct x86_vcpu *v, struct place *p, uint64_t la, gpa_t page, bool behind)
{
	struct gmem *mem = v->machine->env.mem;
	struct x86_page_found pg;
	uint64_t other = behind ? la + X86_PAGE : la - X86_PAGE;
	if (!x86_shadow_has(&p->s, other, X86_X) ||
	    !x86_peek_page(v, other, X86_X, X86_VIEW_USER, &pg))
		return true;
	const uint8_t *this = gmem_ptr(mem, page, X86_PAGE, false);
	const uint8_t *that = gmem_ptr(mem, pg.at, X86_PAGE, false);
	return this && that && x86_code_joins_plainly(behind ? this : that, behind ? that : this);
}
/* If not, it does not run. */
static bool joins_both(struct x86_vcpu *v, struct place *p, uint64_t la, gpa_t page)
{
	if (joins(v, p, la, page, false) && joins(v, p, la, page, true)) return true;
	x86_mark(v->direct->plain, page, false);
	x86_mark(v->direct->other, page, true);
	return false;
}
/* One that is nobody's any more, or the one that has been had longest. */
static unsigned break_free(struct place *p, uint64_t mine)
{
	unsigned k;
	for (k = 0; k < X86_STUB_BREAKS; k++)
		if (!p->spotted[k] || !x86_shadow_has(&p->s, p->spotted[k], X86_X)) return k;
	do k = p->turn++ % X86_STUB_BREAKS;
	while (p->spotted[k] == mine);
	x86_shadow_drop_page(&p->s, p->spotted[k]);
	return k;
}
static bool put_spotted(struct x86_vcpu *v, struct place *p, uint64_t la,
			const struct x86_page_found *pg, const uint16_t *spot, unsigned n)
{
	for (unsigned k = 0; k < X86_STUB_BREAKS; k++)
		if (p->spotted[k] == la) p->spotted[k] = 0;
	if (!joins_both(v, p, la, pg->at) || !x86_shadow_put_code(v, &p->s, la, pg)) return false;
	for (unsigned k = 0; k < n; k++) {
		unsigned b = break_free(p, la);
		p->spotted[b] = la;
		x86_stub_break(p->stub, b, la + spot[k]);
	}
	return x86_shadow_has(&p->s, la, X86_X);
}
static bool put_plain(struct x86_vcpu *v, struct place *p, uint64_t la,
		      const struct x86_page_found *pg)
{
	return joins_both(v, p, la, pg->at) && x86_shadow_put_code(v, &p->s, la, pg);
}
/* What the guest has used already, and is likely to again. */
static void bring_around(struct x86_vcpu *v, struct place *p, uint64_t la, enum x86_access access)
{
	uint64_t first = la & ~(uint64_t)(AROUND * X86_PAGE - 1);
	for (unsigned k = 0; k < AROUND; k++) {
		uint64_t at = first + k * X86_PAGE;
		struct x86_page_found pg;
		if (!can_have(at) || x86_shadow_has(&p->s, at, access) ||
		    !x86_peek_page(v, at, access, X86_VIEW_USER, &pg) || !pg.accessed)
			continue;
		if (access == X86_R)
			(void)x86_shadow_put(v, &p->s, at, &pg, false);
		else if (!(pg.writable && pg.dirty) && is_plain(v, pg.at))
			(void)put_plain(v, p, at, &pg);
	}
}
static bool bring_code(struct x86_vcpu *v, struct place *p, uint64_t la)
{
	struct x86_page_found pg;
	uint16_t spot[SPOTS];
	unsigned n;
	if (x86_translate(v, la, X86_X, X86_VIEW_USER, &pg)) return false;
	enum code what = code_of(v, pg.at, spot, &n);
	if (what == OTHER) return false;
	if (what == SPOTTED) return put_spotted(v, p, la & PAGE_OF, &pg, spot, n);
	bring_around(v, p, la, X86_X);
	return x86_shadow_has(&p->s, la, X86_X) || put_plain(v, p, la & PAGE_OF, &pg);
}
/* A fault says where, not what was wanted: what is there for reading was to be written. */
static bool bring_data(struct x86_vcpu *v, struct place *p, uint64_t la)
{
	struct x86_page_found pg;
	bool write = x86_shadow_has(&p->s, la, X86_R);
	if (write && x86_shadow_has(&p->s, la, X86_W)) return false;
	if (x86_translate(v, la, write ? X86_W : X86_R, X86_VIEW_USER, &pg)) {
		v->direct->missing = la;
		return false;
	}
	if (!write) bring_around(v, p, la, X86_R);
	return (!write && x86_shadow_has(&p->s, la, X86_R)) ||
	       x86_shadow_put(v, &p->s, la & PAGE_OF, &pg, write);
}
/* Is rip in code that may not run by itself? */
static bool is_other(struct x86_vcpu *v)
{
	gpa_t at;
	return x86_peek(v, v->cpu.rip, &at) && at >> X86_PAGE_SHIFT < v->machine->code_pages &&
	       x86_marked(v->direct->other, at & PAGE_OF);
}
/* False: the interpreter is to do the instruction. */
static bool bring(struct x86_vcpu *v, struct place *p, uint64_t la)
{
	enum { LONGEST = 15 };
	if (!can_have(la)) return false;
	if (la - v->cpu.rip < LONGEST && !x86_shadow_has(&p->s, la, X86_X)) {
		if (bring_code(v, p, la)) return true;
		if (is_other(v)) return false;
	}
	return bring_data(v, p, la);
}

/* ---- running */

static bool goes_on(const struct x86_vcpu *v)
{
	return v->cpl == 3 && !v->broken && !v->reset_asked && v->activity == X86_RUNNING &&
	       !atomic_load_explicit(&v->poll, memory_order_relaxed);
}
/* One instruction, and those behind it that may not run either: a clock is read in some hundred. */
static void step(struct x86_vcpu *v)
{
	unsigned n = 0;
	x86_count(v, X86_STAT_DIRECT_STEPS);
	do x86_step(v);
	while (n++ < STRAY && goes_on(v) && is_other(v));
	v->calls += n / STRAY_CALL;
	if (n > STRAY && v->runs_direct) end(v);
}
/* Which of those that bring rip behind them was it, if it was one? */
static void step_back(struct x86_vcpu *v, enum x86_stub_end why)
{
	enum { INT = 0xcd, THREE = 3, FOUR = 4, INTO = 0xce };
	uint8_t code[2] = {0};
	bool is_int3 = why == X86_STUB_INT3;
	if (x86_load(v, v->cpu.rip - 2, code, sizeof(code), X86_VIEW_USER)) code[0] = 0;
	if (code[0] == INT && code[1] == (is_int3 ? THREE : FOUR))
		v->cpu.rip -= 2;
	else
		v->cpu.rip -= is_int3 || (v->mode == X86_32 && code[1] == INTO);
}
static void call(struct x86_vcpu *v, const struct user_regs_struct *r)
{
	enum { CALL_LEN = 2 };
	v->cpu.r[0] = r->orig_rax; /* RAX */
	v->cpu.rip -= CALL_LEN;
	x86_step(v);
}
static void single_step(struct x86_vcpu *v)
{
	enum { DB = 1, DR6_BS = 1 << 14 };
	v->fault = DR6_BS;
	v->code = 0;
	x86_deliver(v, DB, X86_FROM_CPU);
}
/* Its stub is of no use any more: it was killed, or the host did not do as it was told. */
static void lose(struct x86_vcpu *v, struct place *p)
{
	struct x86_direct *d = v->direct;
	for (unsigned k = 0; k < PLACES; k++)
		if (d->place[k] == p) d->place[k] = NULL;
	place_free(p);
	d->refused |= ++d->lost == MOST_LOST;
	d->now = NULL;
	look(v);
	x86_count(v, X86_STAT_DIRECT_LOST);
}
/* True: it is user code's turn again. */
static bool after(struct x86_vcpu *v, struct place *p, enum x86_stub_end why,
		  const struct user_regs_struct *r, uint64_t la)
{
	x86_count(v, X86_STAT_DIRECT_STOPS);
	switch (why) {
	case X86_STUB_FAULT:
		x86_count(v, X86_STAT_DIRECT_FAULTS);
		if (!bring(v, p, la)) {
			v->calls += !v->direct->missing; /* as dear as one */
			step(v);
		}
		break;
	case X86_STUB_OVERFLOW:
	case X86_STUB_INT3:
	case X86_STUB_TRAP:
	case X86_STUB_BREAK:
		v->calls++; /* as dear as one */
		if (why == X86_STUB_OVERFLOW || why == X86_STUB_INT3) step_back(v, why);
		step(v);
		break;
	case X86_STUB_CALL: call(v, r); break;
	case X86_STUB_STEP: single_step(v); break;
	case X86_STUB_POKED: break;
	case X86_STUB_REFUSED: lose(v, p); break;
	case X86_STUB_GONE:
		v->broken = "the process that its programs run in was killed";
		lose(v, p);
		break;
	}
	return v->runs_direct && goes_on(v) && is_usual(v);
}
/* Other threads may signal our threads, not the stub: theirs were confined before it was made. So
 * they signal the vCPU's, and that the stub. */
static _Thread_local _Atomic int stub_here;
static void on_poke(int sig)
{
	int pid = atomic_load(&stub_here), was = errno;
	(void)sig;
	if (pid) x86_stub_poke(pid);
	errno = was;
}
void x86_direct_poke(struct x86_vcpu *v)
{
	int tid = atomic_load(&v->native);
	if (tid) (void)syscall(SYS_tgkill, getpid(), tid, SIGUSR2);
}
static void note_own(struct x86_vcpu *v, uint64_t ran)
{
	uint64_t there = x86_host_tsc_khz() * CALL_US / 1000;
	if (ran > there) v->direct->own += ran - there;
}
static bool run_once(struct x86_vcpu *v, struct place *p)
{
	struct user_regs_struct r = {0};
	uint64_t la = 0;
	regs_to(v, &r);
	atomic_store(&stub_here, x86_stub_pid(p->stub));
	atomic_store(&v->native, gettid());
	bool wanted = atomic_load(&v->poll);
	enum x86_stub_end why =
		wanted ? X86_STUB_POKED : x86_stub_run(p->stub, &r, v->x.bytes, &la);
	atomic_store(&v->native, 0);
	atomic_store(&stub_here, 0);
	if (wanted) return false;
	if (why != X86_STUB_GONE && why != X86_STUB_REFUSED) {
		regs_from(v, &r);
		note_own(v, x86_stub_ran(p->stub));
	}
	return after(v, p, why, &r, la);
}
/* What the guest was told is missing may have come. */
static void expect(struct x86_vcpu *v, struct place *p)
{
	struct x86_page_found pg;
	uint64_t la = v->direct->missing & PAGE_OF;
	if (!la) return;
	v->direct->missing = 0;
	if (!x86_shadow_has(&p->s, la, X86_R) && x86_peek_page(v, la, X86_R, X86_VIEW_USER, &pg) &&
	    pg.accessed)
		(void)x86_shadow_put(v, &p->s, la, &pg, false);
}
static bool is_much(const struct x86_vcpu *v)
{
	const struct x86_direct *d = v->direct;
	return v->runs_direct &&
	       v->calls - d->seen + v->stats[X86_STAT_DIRECT_FAULTS] - d->seen_faults >= BURST;
}
bool x86_direct_run(struct x86_vcpu *v)
{
	struct place *p = v->direct->now;
	if (!is_usual(v)) return false;
	if (p->s.stale) x86_shadow_look_over(&p->s);
	expect(v, p);
	do {
		if (!x86_stub_ready(p->stub)) { /* nothing is lost yet */
			lose(v, p);
			return false;
		}
	} while (run_once(v, p) && !is_much(v));
	if (!v->runs_direct) return true; /* nor need there be a place any more */
	p->last = tsc();
	if (is_much(v) && !has_paid(v) && !is_early(v)) end(v);
	return true;
}

/* ---- what the guest's tables say, what is written */

static struct place *each(struct x86_vcpu *v, unsigned *k)
{
	while (v->direct && *k < PLACES) {
		struct place *p = v->direct->place[(*k)++];
		if (p && p->s.cr3) return p;
	}
	return NULL;
}
void x86_direct_cr3(struct x86_vcpu *v, bool keeps)
{
	struct x86_direct *d = v->direct;
	bool tagged = v->cr4 & CR4_PCIDE;
	if (!d) return;
	x86_stub_release(ms(HELD_MS));
	d->now = NULL;
	d->missing = 0;
	d->units = v->stats[X86_STAT_UNITS];
	for (unsigned k = 0; k < PLACES; k++) {
		struct place *p = d->place[k];
		bool same_tag = p && !((v->cr3 ^ p->s.cr3) & ~TABLES_MASK);
		bool same = p && !((v->cr3 ^ p->s.cr3) & TABLES_MASK);
		if (!p || !p->s.cr3 || (!same && !(tagged && same_tag))) continue;
		if (!same) { /* another space under the same tag */
			place_clear(p);
			continue;
		}
		p->s.cr3 = v->cr3;
		p->s.stale |= !same_tag || !(tagged && keeps);
		if (!space_now(v)->paused) d->now = p;
	}
	look(v);
}
void x86_direct_rest(struct x86_vcpu *v)
{
	if (v->direct) x86_stub_release(0);
}
void x86_direct_drop_code(struct x86_vcpu *v, gpa_t page)
{
	struct x86_direct *d = v->direct;
	struct place *p;
	if (!d) return;
	for (unsigned k = 0; (p = each(v, &k));) x86_shadow_drop_code(&p->s, page);
	if (page == ~(gpa_t)0) {
		size_t size = (v->machine->code_pages / 64 + 1) * sizeof(uint64_t);
		memset(d->plain, 0, size);
		memset(d->other, 0, size);
	} else if (page >> X86_PAGE_SHIFT < v->machine->code_pages) {
		x86_mark(d->plain, page, false);
		x86_mark(d->other, page, false);
	}
}

/* ---- life */

static void make(void *ctx)
{
	struct x86_vcpu *v = ctx;
	struct x86_direct *d = v->direct;
	while (d->made < MADE) {
		struct x86_stub *s = x86_stub_new(v->machine->env.mem);
		if (!s && !d->made) x86_count(v, X86_STAT_DIRECT_REFUSED);
		if (!s) return;
		d->stub[d->made++] = s;
		if (jail_process(x86_stub_pid(s))) continue;
		x86_stub_free(d->stub[--d->made]);
		return;
	}
}
/* VMware answers all user code that reads its port, and tells it what the host's guest is told. */
static bool has_back_door(void)
{
	enum { LEAF = 0x40000000, HYPERVISOR = 1u << 31 };
	unsigned a, c = 0, name[3];
	__cpuid(1, a, name[0], c, name[1]);
	if (!(c & HYPERVISOR)) return false;
	__cpuid(LEAF, a, name[0], name[1], name[2]);
	return !memcmp(name, "VMwareVMware", sizeof(name));
}
static bool is_possible(void)
{
	enum { FSGSBASE = 1 << 1 }; /* of AT_HWCAP2: user code may set its segments' bases */
	return getauxval(AT_HWCAP2) & FSGSBASE && !has_back_door();
}
struct x86_direct *x86_direct_new(struct x86_vcpu *v)
{
	size_t words = v->machine->code_pages / 64 + 1;
	struct x86_direct *d = is_possible() ? calloc(1, sizeof(*d)) : NULL;
	if (!d) x86_count(v, X86_STAT_DIRECT_REFUSED);
	if (!d) return NULL;
	struct sigaction poke = {.sa_handler = on_poke, .sa_flags = SA_RESTART | SA_ONSTACK};
	(void)sigaction(SIGUSR2, &poke, NULL);
	d->plain = calloc(words, sizeof(uint64_t));
	d->other = calloc(words, sizeof(uint64_t));
	if (d->plain && d->other) {
		jail_before_filter(make, v); /* v->direct is set by then */
		return d;
	}
	x86_direct_free(d);
	return NULL;
}
void x86_direct_free(struct x86_direct *d)
{
	for (unsigned k = 0; d && k < PLACES; k++) place_free(d->place[k]);
	for (unsigned k = 0; d && k < d->made; k++) x86_stub_free(d->stub[k]);
	if (!d) return;
	free(d->plain);
	free(d->other);
	free(d);
}
