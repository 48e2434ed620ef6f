/* LR and SC between harts: what code needs more than a comparison of values, and pages whose stores
 * are watched for it. */
#include "engine/rv64_reserve.h"
#include "engine/rv64_effects.h"
#include "hw/gmem.h"
#include <pthread.h>
#include <stdlib.h>

/* ---- what follows an LR ---- */
enum { STEPS = 64 };
struct way {
	size_t off;
	bool seen; /* something has been observed since LR */
};
struct scan {
	const uint8_t *code;
	size_t len;
	struct way to[STEPS]; /* all there were; those from `at` on are to be looked at */
	unsigned n;
	bool close, far, out;
};

static void scan_add(struct scan *s, size_t off, bool seen)
{
	for (unsigned i = 0; i < s->n; i++)
		if (s->to[i].off == off && s->to[i].seen == seen) return;
	if (s->n < STEPS) s->to[s->n++] = (struct way){off, seen};
}

static bool scan_decode(const struct scan *s, size_t off, struct rv64_insn *i)
{
	size_t left = off < s->len ? s->len - off : 0;
	if (left < 2 || ((s->code[off] & 3) == 3 && left < 4)) return false;
	rv64_decode(i, (uint32_t)load_le(&s->code[off], (s->code[off] & 3) == 3 ? 4 : 2));
	return true;
}

static void scan_step(struct scan *s, struct way w)
{
	enum { OBSERVES = EFFECT_MEM | EFFECT_HELPER | EFFECT_STOP | EFFECT_CALL };
	struct rv64_insn i;
	struct rv64_effects e;
	if (!scan_decode(s, w.off, &i)) {
		s->out = true;
		return;
	}
	rv64_effects(&i, &e);
	if (i.op == OP_sc_w || i.op == OP_sc_d) {
		s->far |= w.seen;
		s->close |= !w.seen;
		return;
	}
	if (i.op == OP_lr_w || i.op == OP_lr_d || e.flags & EFFECT_ILLEGAL) return;
	bool jump = e.flags & (EFFECT_JUMP | EFFECT_GOTO), call = jump && i.rd;
	bool seen = w.seen || call || e.flags & OBSERVES;
	if (!jump || call) scan_add(s, w.off + i.len, seen);
	if (e.flags & EFFECT_BR || (e.flags & EFFECT_JUMP && !call))
		scan_add(s, w.off + (size_t)(int64_t)i.imm, seen);
}

enum lr_way rv64_lr_way(const uint8_t *code, size_t off, size_t len)
{
	struct scan s = {.code = code, .len = len};
	scan_add(&s, off + 4, false);
	for (unsigned at = 0; at < s.n && !s.far; at++) scan_step(&s, s.to[at]);
	if (s.far) return LR_FAR;
	if (s.close) return LR_CLOSE;
	return s.out ? LR_UNKNOWN : LR_FAR;
}

static size_t code_read(struct rv64_cpu *c, gva_t va, uint8_t *to, size_t n)
{
	struct rv64_page pg;
	if (rv64_peek(c, va, ACCESS_X, c->priv, &pg)) return 0;
	return gmem_read(c->mem, pg.at | (va & ~PAGE_MASK), to, n) ? n : 0;
}

/* As the page's decoding would say it; where that does not know, the next page tells. */
static enum lr_way look(struct rv64_cpu *c, gva_t pc)
{
	enum { BEYOND = 4 * STEPS };
	uint8_t code[PAGE_SIZE + BEYOND];
	gva_t page = pc & PAGE_MASK;
	size_t have = code_read(c, page, code, PAGE_SIZE);
	enum lr_way way = rv64_lr_way(code, pc - page, have);
	if (way != LR_UNKNOWN) return way;
	have += code_read(c, page + PAGE_SIZE, code + PAGE_SIZE, BEYOND);
	return rv64_lr_way(code, pc - page, have);
}

bool rv64_lr_far(struct rv64_cpu *c, const struct slot *ip)
{
	if (!c->reserve || ip->imm == LR_CLOSE) return false;
	return ip->imm == LR_FAR || look(c, rv64_pc(c, ip)) != LR_CLOSE;
}

/* ---- watched pages ---- */
enum { PAGES = 8, HARTS = 64, BORED = 4096 };
struct watched {
	_Atomic gpa_t page; /* NO_PAGE: none */
	bool ready;	    /* nobody writes there without us */
	unsigned stores;    /* since LR was last there */
};
struct rv64_reserve { /* `pages` is read by anybody, all else is under the lock */
	_Atomic unsigned pages;
	pthread_mutex_t lock;
	struct watched at[PAGES];
	unsigned hand;
	struct rv64_cpu *hart[HARTS]; /* fixed before the first one runs */
	unsigned harts;
};

struct rv64_reserve *rv64_reserve_new(void)
{
	struct rv64_reserve *r = calloc(1, sizeof(*r));
	must(r);
	(void)pthread_mutex_init(&r->lock, NULL);
	for (unsigned i = 0; i < PAGES; i++) atomic_init(&r->at[i].page, NO_PAGE);
	return r;
}

void rv64_reserve_free(struct rv64_reserve *r)
{
	if (r) (void)pthread_mutex_destroy(&r->lock);
	free(r);
}

void rv64_reserve_join(struct rv64_reserve *r, struct rv64_cpu *c)
{
	must(r->harts < HARTS);
	r->hart[r->harts++] = c;
	c->reserve = r;
	c->res_at = NO_PAGE;
}

bool rv64_watched_slow(const struct rv64_cpu *c, gpa_t at, uint64_t len)
{
	const struct rv64_reserve *r = c->reserve;
	if (!atomic_load(&r->pages)) return false;
	for (unsigned i = 0; i < PAGES; i++) {
		gpa_t page = atomic_load(&r->at[i].page);
		if (page != NO_PAGE && page < at + len && at < page + PAGE_SIZE) return true;
	}
	return false;
}

static struct watched *watched_at(struct rv64_reserve *r, gpa_t at)
{
	for (unsigned i = 0; i < PAGES; i++)
		if (atomic_load(&r->at[i].page) == (at & PAGE_MASK)) return &r->at[i];
	return NULL;
}

static bool reserved(const struct rv64_reserve *r, gpa_t page)
{
	for (unsigned i = 0; i < r->harts; i++)
		if ((r->hart[i]->res_at & PAGE_MASK) == page) return true;
	return false;
}

/* Whoever has a reservation there loses it. */
static void unwatch(struct rv64_reserve *r, struct watched *w)
{
	gpa_t page = atomic_load(&w->page);
	if (page == NO_PAGE) return;
	for (unsigned i = 0; i < r->harts; i++)
		if ((r->hart[i]->res_at & PAGE_MASK) == page) r->hart[i]->res_at = NO_PAGE;
	atomic_store(&w->page, NO_PAGE);
	w->ready = false;
	atomic_fetch_sub(&r->pages, 1);
}

void rv64_watched_begin(struct rv64_cpu *c) { (void)pthread_mutex_lock(&c->reserve->lock); }
void rv64_watched_end(struct rv64_cpu *c) { (void)pthread_mutex_unlock(&c->reserve->lock); }

void rv64_watched_wrote(struct rv64_cpu *c, gpa_t at, unsigned len)
{
	struct rv64_reserve *r = c->reserve;
	for (unsigned i = 0; i < r->harts; i++) {
		struct rv64_cpu *h = r->hart[i];
		gpa_t line = h->res_at & ~(gpa_t)7;
		if (h != c && h->res_at != NO_PAGE && line < at + len && at < line + 8)
			h->res_at = NO_PAGE;
	}
	struct watched *w = watched_at(r, at);
	if (w && ++w->stores > BORED && (w->stores > 16 * BORED || !reserved(r, at & PAGE_MASK)))
		unwatch(r, w);
}

/* ---- what harts do ---- */
enum rv64_stop rv64_reserve_load(struct rv64_cpu *c, gva_t va, unsigned len)
{
	enum rv64_stop stop = rv64_atomic_ptr(c, va, len, false);
	if (stop) return stop;
	rv64_watched_begin(c);
	struct watched *w = watched_at(c->reserve, c->atomic_at);
	bool ready = w && w->ready;
	if (ready) {
		w->stores = 0;
		c->res_at = c->atomic_at;
		c->val = len == 4 ? __atomic_load_n((uint32_t *)c->ptr, __ATOMIC_SEQ_CST)
				  : __atomic_load_n((uint64_t *)c->ptr, __ATOMIC_SEQ_CST);
	}
	rv64_watched_end(c);
	return ready ? STOP_NOT : STOP_WATCH;
}

static struct watched *watch(struct rv64_reserve *r, gpa_t page)
{
	struct watched *w = watched_at(r, page);
	if (w) return w;
	for (unsigned i = 0; i < PAGES; i++)
		if (atomic_load(&r->at[i].page) == NO_PAGE) w = &r->at[i];
	if (!w) w = &r->at[r->hand++ % PAGES];
	unwatch(r, w);
	w->stores = 0;
	atomic_store(&w->page, page);
	atomic_fetch_add(&r->pages, 1);
	return w;
}

void rv64_reserve_watch(struct rv64_cpu *c)
{
	struct rv64_reserve *r = c->reserve;
	gpa_t page = c->atomic_at & PAGE_MASK;
	rv64_count(c, COUNT_WATCH);
	rv64_watched_begin(c);
	(void)watch(r, page);
	rv64_watched_end(c);
	rv64_fence_all(c, r->hart, r->harts);
	rv64_watched_begin(c);
	struct watched *w = watched_at(r, page);
	if (w) w->ready = true;
	rv64_watched_end(c);
}

void rv64_atomic_end(struct rv64_cpu *c, bool stored, unsigned len)
{
	if (!c->atomic_watched) return;
	c->atomic_watched = false;
	if (stored) rv64_watched_wrote(c, c->atomic_at, len);
	rv64_watched_end(c);
}

bool rv64_reserve_holds(const struct rv64_cpu *c, gva_t va, unsigned len)
{
	if (c->res_va != va) return false;
	if (c->res_len == len) return true;
	return c->res_len == (len | RES_WATCHED) && c->atomic_watched && c->res_at == c->atomic_at;
}
