/* Units in the life of a hart. The interpreter runs everything first and notes what is hot; that
 * is cut into a region, lifted, compiled, and its first slot and its entry in the page's directory
 * say so from then on. Code is of a page's bytes, not of an address or a mode: it finds its own
 * address in `base`, and rights in the TLB's tags. So it lives as long as those bytes, whoever maps
 * them where. */
#include "engine/rv64_jit.h"
#include "engine/rv64_check.h"
#include "engine/rv64_cpu.h"
#include "engine/rv64_lift.h"
#include "engine/rv64_unitlog.h"
#include "engine/rv64_window.h"
#include "engine/unitlog.h"
#include "jit/jit.h"
#include <stdlib.h>

#define AT(member) ((uint32_t)offsetof(struct rv64_cpu, member))

/* Of a unit as the hart sees it. */
struct unit {
	struct code_page *page;
	uint16_t off;
	bool window;	    /* made of user code, for harts that have windows */
	uint8_t narrow;	    /* how often its look-ups have been made to share less */
	bool busy;	    /* an interrupt found it at work: its loops are unrolled */
	bool saturate;	    /* what does not fit an integer is not left to the interpreter */
	uint8_t ranges;	    /* times that it was */
	uint16_t straddles; /* times that a shared look-up ran over its page's end */
};
enum { UNITS = 1 << 16, STRADDLES = 32, RANGES = 32, NARROWEST = 4 };

struct rv64_jit {
	struct jit_cache *cache;
	struct ir_fn *fn;
	struct lift *lift;
	struct region region;
	struct lift_how how;
	struct unit *unit; /* UNITS of them */
	uint32_t nunits;
	bool straddled;	     /* that is why the last look-up failed */
	struct check *check; /* of JIT_CHECK */
	struct unitlog *log; /* or NULL */
	unsigned vcpu;	     /* of it */
};

/* Has it been stored to, so that another look-up changes nothing that the guest could see? */
static bool is_dirty(struct rv64_cpu *c, gva_t va)
{
	struct rv64_page pg;
	if (c->wr[va / PAGE_SIZE % TLB_SIZE].tag == ((va & PAGE_MASK) | c->dctx)) return true;
	return !rv64_translate(c, va, ACCESS_R, c->priv_data, &pg) && pg.dirty;
}

/* A range may run on into the next page if that lies behind in host memory, too. */
static uint64_t fill(struct rv64_cpu *c, uint64_t lo, uint64_t hi, unsigned access)
{
	if (likely(!((lo ^ hi) & PAGE_MASK))) return rv64_tlb_find(c, lo, access);
	c->jit->straddled = true;
	if (hi < lo || (access == ACCESS_W && !(is_dirty(c, lo) && is_dirty(c, hi)))) return 1;
	uint64_t h = rv64_tlb_find(c, lo, access);
	if (h == 1 || rv64_tlb_find(c, hi, access) != h) return 1;
	c->jit->straddled = false;
	return h;
}
static uint64_t fill_read(void *c, uint64_t lo, uint64_t hi) { return fill(c, lo, hi, ACCESS_R); }
static uint64_t fill_write(void *c, uint64_t lo, uint64_t hi) { return fill(c, lo, hi, ACCESS_W); }

#define WINDOW AT(win_limit), AT(win_base)
#define MACHINE(ctx)                                                                               \
	{                                                                                          \
		.slots = rv64_slots, .nslots = SLOT__COUNT, .bias = 128, /* x0 to x31 */           \
			.poll = AT(poll), .pc = AT(pc), .base = AT(base),                          \
		.space = {[SPACE_READ] = {AT(rd), AT(dctx), 12, fill_read, WINDOW},                \
			  [SPACE_WRITE] = {AT(wr), AT(dctx), 12, fill_write, WINDOW}},             \
		.dir_table = AT(fetch), .dir_ctx = ctx,                                            \
		.dir_entries = offsetof(struct code_page, entry), .dir_bits = 10,                  \
	}
static const struct jit_machine machine = MACHINE(AT(fctx)), machine_alone = MACHINE(AT(never));
_Static_assert(TLB_SIZE == 1 << 12 && FETCH_SIZE == 1 << 10, "as the machine says");
_Static_assert(sizeof(struct tlb_entry) == 16 && sizeof(struct fetch_entry) == 16, "pairs");

enum { SPAN = 192 };

int rv64_jit_new(struct rv64_cpu *c, size_t room, enum jit_mode mode, bool alone, struct err *e)
{
	bool check = mode == JIT_CHECK;
	struct rv64_jit *j = calloc(1, sizeof(*j));
	must(j);
	j->how = (struct lift_how){.span = SPAN,
				   .count = check || c->counted,
				   .alone = alone,
				   .log = check ? check_log : NULL};
	j->check = check ? check_new() : NULL;
	j->cache = jit_cache_new(check ? &machine_alone : &machine, room, e);
	count_set(&c->counts[COUNT_CODE_ROOM], room);
	if (!j->cache) {
		check_free(j->check);
		free(j);
		return e->code;
	}
	j->how.lanes = jit_lanes(j->cache, false);
	j->how.fused = jit_lanes(j->cache, true);
	j->fn = ir_new(rv64_slots, SLOT__COUNT);
	j->lift = lift_new();
	j->unit = calloc(UNITS, sizeof(*j->unit));
	must(j->unit);
	c->jit = j;
	return 0;
}

void rv64_jit_free(struct rv64_jit *j)
{
	if (!j) return;
	jit_cache_free(j->cache);
	ir_free(j->fn);
	lift_free(j->lift);
	check_free(j->check);
	free(j->unit);
	free(j);
}

void rv64_jit_drop(struct rv64_jit *j)
{
	if (!j) return;
	jit_cache_flush(j->cache);
	j->nunits = 0;
	if (j->log) unitlog_flush(j->log, j->vcpu);
}

void rv64_jit_log(struct rv64_jit *j, struct unitlog *log, unsigned vcpu)
{
	j->log = log;
	j->vcpu = vcpu;
}

const void *rv64_jit_none(const struct rv64_jit *j) { return j ? jit_none(j->cache) : NULL; }

/* ---- compiling ---- */
/* Code at va as fetches see it now, if they have seen it lately. */
static const struct code_page *page_at(const struct rv64_cpu *c, gva_t va)
{
	const struct fetch_entry *e = &c->fetch[va / PAGE_SIZE % FETCH_SIZE];
	return e->tag == ((va & PAGE_MASK) | c->fctx) ? e->page : NULL;
}

static const struct jit_unit *compile(struct rv64_cpu *c, const struct unit *t, int limit)
{
	struct rv64_jit *j = c->jit;
	const struct code_page *page[REGION_PAGES] = {page_at(c, c->pc - PAGE_SIZE), t->page,
						      page_at(c, c->pc + PAGE_SIZE)};
	if (!region_find(&j->region, page, t->off, limit, !j->check)) return NULL;
	if (t->window && t->busy) region_unroll(&j->region);
	j->how.tag = j->nunits;
	j->how.window = t->window;
	j->how.saturate = t->saturate || (j->how.count && j->nunits & 1);
	j->how.span = SPAN >> 2 * t->narrow;
	j->how.vtype = c->v.ill ? -1 : c->v.type;
	ir_reset(j->fn);
	lift_region(j->lift, j->fn, &j->region, &j->how);
	ir_ifs(j->fn);
	ir_clean(j->fn);
#ifdef LODGE_SAN
	struct err e = {0};
	if (ir_verify(j->fn, &e)) {
		ir_print(j->fn, stderr);
		must_failed(e.msg, __FILE__, __LINE__);
	}
#endif
	return jit_add(j->cache, j->fn);
}

/* What is too large for the compiler becomes a smaller unit. It has floating point of its own,
 * which must not show in the guest's flags. */
static const struct jit_unit *compile_for(struct rv64_cpu *c, const struct unit *t)
{
	const struct rv64_jit *j = c->jit;
	const struct jit_unit *u = NULL;
	fp_leave(&c->fp);
	for (int limit = REGION_INSNS; limit && !u; limit /= 4) {
		u = compile(c, t, limit);
		if (!j->region.n || (jit_no_room(j->cache) && jit_cache_used(j->cache))) break;
	}
	fp_enter(&c->fp);
	return u;
}

static void forget_all(struct rv64_cpu *c)
{
	rv64_jit_drop(c->jit);
	rv64_code_forget_units(c);
	rv64_count(c, COUNT_FLUSH);
}

static void unit_tell(struct rv64_cpu *c, const struct jit_unit *u)
{
	struct rv64_jit *j = c->jit;
	rv64_count(c, COUNT_UNIT);
	count_add(&c->counts[COUNT_UNIT_INSNS], (unsigned)j->region.insns);
	count_add(&c->counts[COUNT_UNIT_BYTES], jit_size(u));
	count_set(&c->counts[COUNT_CODE_USED], jit_cache_used(j->cache));
	struct rv64_unit all = {&j->region, j->fn, j->cache, u};
	if (unlikely(j->log != NULL)) rv64_unit_log(j->log, c, &all);
}

/* *flushed: to make room, all other units had to go. */
static bool unit_make(struct rv64_cpu *c, struct unit t, bool *flushed)
{
	struct rv64_jit *j = c->jit;
	const struct jit_unit *u = NULL;
	bool full = j->nunits + 1 >= UNITS;
	if (!full) u = compile_for(c, &t);
	if (full || (!u && j->region.n && jit_no_room(j->cache) && jit_cache_used(j->cache))) {
		forget_all(c);
		*flushed = true;
		u = compile_for(c, &t);
	}
	if (!u) return false;
	t.page->entry[t.off / 2] = jit_entry(u);
	t.page->slot[t.off / 2].fn = rv64_op_unit;
	j->unit[j->nunits++] = t;
	unit_tell(c, u);
	return true;
}

static bool translate(struct rv64_cpu *c, const struct slot *ip, bool *flushed)
{
	struct code_page *p = code_page_of(ip);
	unsigned i = (unsigned)(ip - p->slot);
	if (i >= PAGE_SLOTS - 1 || p->at == NO_PAGE) return false; /* the last may be a tail */
	c->base = c->pc & PAGE_MASK;
	struct unit t = {.page = p, .off = (uint16_t)(2 * i)};
	t.window = c->windows && c->priv == PRIV_U;
	t.busy = c->jit->how.count || rv64_windows_early(c); /* tests want it at once */
	return unit_make(c, t, flushed);
}

/* The unit gave up somewhere in its page, and is to be made anew, as t now says. */
static void make_anew(struct rv64_cpu *c, const struct unit *t)
{
	uint16_t i = t->off / 2;
	const void *was = t->page->entry[i];
	bool flushed = false;
	gva_t pc = c->pc;
	if (t->page->slot[i].fn != rv64_op_unit) return;
	c->pc = (c->base & PAGE_MASK) | t->off;
	struct code_page *page = t->page;
	if (unit_make(c, *t, &flushed) && !flushed) jit_replace(c->jit->cache, was, page->entry[i]);
	c->pc = pc;
}

/* Where it lies it keeps running over a page's end: better no sharing at all. */
static void straddled(struct rv64_cpu *c, struct unit *t)
{
	c->jit->straddled = false;
	if (t->narrow == NARROWEST || ++t->straddles < STRADDLES) return;
	t->narrow++;
	t->straddles = 0;
	make_anew(c, t);
}

/* Something waits, most often a tick of the guest's clock: the more it runs the sooner it is found
 * at it. */
static void interrupted(struct rv64_cpu *c, struct unit *t)
{
	if (!t->window || t->busy) return;
	t->busy = true;
	make_anew(c, t);
}

/* What does not fit an integer keeps coming: JavaScript counts on what it becomes. */
static void out_of_range(struct rv64_cpu *c, struct unit *t)
{
	if (t->saturate || ++t->ranges < RANGES) return;
	t->saturate = true;
	make_anew(c, t);
}

void rv64_jit_hot(struct rv64_cpu *c, const struct slot *ip)
{
	bool flushed = false;
	c->hot = false;
	if (c->jit && ip->fn != rv64_op_unit) (void)translate(c, ip, &flushed);
}

/* ---- running ---- */
static const void *entry_of(const struct slot *ip)
{
	const struct code_page *p = code_page_of(ip);
	return p->entry[ip - p->slot];
}

/* Where code left to is translated too, or will be now. NULL: it is not. */
static const struct slot *next_unit(struct rv64_cpu *c, struct jit_exit *x)
{
	const struct slot *ip = rv64_code_enter(c);
	bool flushed = false;
	if (!ip) return NULL;
	if (ip->fn != rv64_op_unit && (!slot_heat(ip) || !translate(c, ip, &flushed))) return NULL;
	if (flushed) x->how = JIT_LOOKUP;
	return ip;
}

/* A function called by the unit has done the instruction at pc, and c->stop is what it said. */
static void called(struct rv64_cpu *c)
{
	if (c->stop != STOP_TRAP && c->stop != STOP_JUMP) c->pc += c->len;
	if (c->jit->how.count) c->n += c->stop != STOP_TRAP;
}

/* Look up the pages around pc. True: that was missing, and now they are there. */
static bool neighbours(struct rv64_cpu *c)
{
	bool found = false;
	for (int i = -1; i <= 1; i += 2) {
		gva_t va = c->pc + (gva_t)(int64_t)(i * PAGE_SIZE);
		if (!page_at(c, va)) found |= rv64_code_fetch(c, va) != NULL;
	}
	return found && page_at(c, c->pc);
}

/* The unit at pc is of two pages that do not lie side by side here, or not any more. */
static void forget(struct rv64_cpu *c)
{
	const struct slot *ip = rv64_code_enter(c);
	if (!ip || ip->fn != rv64_op_unit) return;
	struct code_page *p = code_page_of(ip);
	jit_replace(c->jit->cache, p->entry[ip - p->slot], NULL);
	p->slot[ip - p->slot].fn = rv64_op_decode;
	p->entry[ip - p->slot] = jit_none(c->jit->cache);
}

_Static_assert(COUNT_DEOPT_VECTOR - COUNT_DEOPT == WHY_VECTOR - WHY_POLL &&
		       WHY_VECTOR + 1 == WHY__COUNT,
	       "a counter for each reason");
_Static_assert(COUNT_STOP - COUNT_LINK == JIT_STOP - JIT_LINK, "and for each ordinary end");

/* NULL: there is no tag if instructions are counted, or it is gone. */
static struct unit *unit_by_tag(struct rv64_jit *j, uint32_t tag)
{
	return j->how.count || tag >= j->nunits ? NULL : &j->unit[tag];
}

/* The unit gave up in the middle. */
static void deopt(struct rv64_cpu *c, uint32_t whole)
{
	unsigned why = whole & ((1u << WHY_BITS) - 1);
	rv64_count(c, COUNT_DEOPT + why - WHY_POLL);
	struct unit *t = unit_by_tag(c->jit, whole >> WHY_BITS);
	if (t && c->jit->straddled) straddled(c, t);
	if (t && why == WHY_RANGE) out_of_range(c, t);
	if (t && why == WHY_POLL) interrupted(c, t);
	if (why == WHY_CALL) {
		called(c);
		return;
	}
	c->stop = STOP_JUMP;
	c->solo = why != WHY_POLL && why != WHY_PAGE;
	if (why == WHY_PAGE && !neighbours(c)) forget(c);
}

static struct jit_exit enter(struct rv64_cpu *c, const void *entry)
{
	struct rv64_jit *j = c->jit;
	if (j->check) return check_enter(j->check, c, j->cache, entry);
	struct jit_exit x = jit_enter(j->cache, c, entry);
	if (!j->how.count) c->n += 16; /* what guests may read of it need only grow */
	if (j->how.count && x.how == JIT_DEOPT) c->n -= x.why >> WHY_BITS;
	return x;
}

struct jit_cache *rv64_jit_cache(const struct rv64_jit *j) { return j->cache; }
struct check *rv64_jit_checker(const struct rv64_jit *j) { return j ? j->check : NULL; }

uint64_t rv64_jit_wrong(const struct rv64_jit *j, const char **words)
{
	return j && j->check ? check_wrong(j->check, words) : 0;
}

void rv64_jit_run(struct rv64_cpu *c, const struct slot *ip)
{
	struct rv64_jit *j = c->jit;
	for (;;) {
		const void *entry = entry_of(ip);
		c->base = c->pc & PAGE_MASK;
		rv64_count(c, COUNT_ENTER);
		struct jit_exit x = enter(c, entry);
		if (rv64_jit_wrong(j, NULL)) {
			c->stop = STOP_BROKEN;
			return;
		}
		if (x.how == JIT_DEOPT) {
			deopt(c, x.why);
			return;
		}
		rv64_count(c, COUNT_LINK + x.how - JIT_LINK);
		c->stop = STOP_JUMP;
		if (atomic_load_explicit(&c->poll, memory_order_relaxed)) return;
		if (c->n >= c->n_limit) return;
		ip = next_unit(c, &x);
		if (!ip) return;
		if (x.how == JIT_LINK && !j->check) jit_link(j->cache, x.link, entry_of(ip));
	}
}
