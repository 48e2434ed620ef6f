/* Lockstep. A unit runs, and a log remembers what memory held before each of its stores; then
 * memory and registers are put back, the interpreter executes as many instructions, and both
 * results are compared. Where other harts or devices wrote meanwhile both are tried again: only
 * what differs every time is wrong. */
#include "engine/rv64_check.h"
#include "base/types.h"
#include "engine/rv64_cpu.h"
#include "engine/rv64_jit.h"
#include "engine/rv64_lift.h"
#include "engine/rv64_window.h"
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { LOG = 1 << 16, FUEL = 3000, TRIES = 4 };
struct was {
	void *at;
	uint64_t old, now;
	uint32_t bytes;
};
struct regs { /* what a unit may change */
	uint64_t x[33], f[32], pc, n, res_va, res_val;
	unsigned res_len;
	uint8_t flags;
	bool fs_dirty;
	struct rv64_v v;
};
struct check {
	struct was log[LOG];
	unsigned n;
	uint64_t units, insns, wrong, again;
	char words[512];
};
/* ---- turns ---- */
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static struct rv64_cpu *_Atomic runner;
static _Atomic unsigned waiting;

static struct timespec soon(void)
{
	struct timespec t;
	(void)clock_gettime(CLOCK_REALTIME, &t);
	t.tv_nsec += 100000;
	if (t.tv_nsec >= 1000000000) t.tv_sec++, t.tv_nsec -= 1000000000;
	return t;
}

/* Who has the turn may be in a loop of the interpreter's, and is told. */
void check_take(struct rv64_cpu *c)
{
	atomic_fetch_add(&waiting, 1);
	for (struct timespec t = soon(); pthread_mutex_timedlock(&turn, &t); t = soon()) {
		struct rv64_cpu *r = atomic_load(&runner);
		if (r) rv64_poke(r, POLL_IRQ);
	}
	atomic_fetch_sub(&waiting, 1);
	atomic_store(&runner, c);
}

void check_give(void)
{
	atomic_store(&runner, NULL);
	(void)pthread_mutex_unlock(&turn);
	if (atomic_load(&waiting)) (void)sched_yield();
}

struct check *check_new(void)
{
	struct check *k = calloc(1, sizeof(*k));
	must(k);
	return k;
}
void check_free(struct check *k) { free(k); }

/* The host's address of a byte that is about to be stored; NULL: it will not be. */
static void *byte_of(struct rv64_cpu *c, gva_t va)
{
	uint64_t h = rv64_tlb_find(c, va, ACCESS_W);
	return h == 1 ? NULL : (void *)(uintptr_t)(h + va);
}

/* Up to 8 bytes. A unit ends in its loops' headers; until it comes there it may store a lot. */
static void log_one(struct rv64_cpu *c, void *at, unsigned bytes)
{
	struct check *k = rv64_jit_checker(c->jit);
	if (k->n >= LOG / 2) c->n_limit = 0;
	must(k->n < LOG);
	k->log[k->n++] = (struct was){at, load_le(at, bytes), 0, bytes};
}

static void log_some(struct rv64_cpu *c, char *at, unsigned bytes)
{
	for (; bytes > 8; at += 8, bytes -= 8) log_one(c, at, 8);
	log_one(c, at, bytes);
}

/* By a window: where the page itself is, which stays when the window loses it. */
static void log_window(struct rv64_cpu *c, gva_t va, unsigned bytes)
{
	char *first = byte_of(c, va), *last = first ? byte_of(c, va + bytes - 1) : NULL;
	if (!last) return;
	if (last == first + bytes - 1) {
		log_some(c, first, bytes);
		return;
	}
	unsigned n = PAGE_SIZE - (unsigned)(va & ~PAGE_MASK);
	for (unsigned i = 0; i < n; i++) log_one(c, first + i, 1);
	for (unsigned i = n; i < bytes; i++) log_one(c, last - (bytes - 1 - i), 1);
}

uint64_t check_log(struct rv64_cpu *c, void *at, uint64_t bytes)
{
	gva_t va;
	if (rv64_window_has(c, at, &va))
		log_window(c, va, (unsigned)bytes);
	else
		log_some(c, at, (unsigned)bytes);
	return 0;
}

static struct regs regs_get(struct rv64_cpu *c)
{
	struct regs r = {.pc = c->pc,
			 .n = c->n,
			 .res_va = c->res_va,
			 .res_val = c->res_val,
			 .res_len = c->res_len,
			 .flags = fp_flags_get(&c->fp),
			 .fs_dirty = c->fs_dirty,
			 .v = c->v};
	memcpy(r.x, c->x, sizeof(r.x));
	memcpy(r.f, c->f, sizeof(r.f));
	r.x[32] = 0;
	return r;
}

static void regs_set(struct rv64_cpu *c, const struct regs *r)
{
	memcpy(c->x, r->x, sizeof(r->x));
	memcpy(c->f, r->f, sizeof(r->f));
	c->pc = r->pc;
	c->n = r->n;
	c->res_va = r->res_va;
	c->res_val = r->res_val;
	c->res_len = r->res_len;
	c->fs_dirty = r->fs_dirty;
	c->v = r->v;
	fp_flags_set(&c->fp, r->flags);
}

/* Newest first, so that what was stored to twice gets its first value back. */
static void undo(struct check *k)
{
	for (unsigned i = 0; i < k->n; i++) k->log[i].now = load_le(k->log[i].at, k->log[i].bytes);
	for (unsigned i = k->n; i--;) store_le(k->log[i].at, k->log[i].old, k->log[i].bytes);
}

/* False: it trapped, or would. */
static bool interpret(struct rv64_cpu *c, uint64_t count)
{
	const struct slot *ip = NULL;
	atomic_fetch_or(&c->poll, POLL_ONCE); /* so that no jump goes on */
	c->stop = STOP_JUMP;
	for (; count && c->stop != STOP_TRAP && (ip = rv64_code_single(c)); count--) rv64_go(c, ip);
	atomic_fetch_and(&c->poll, ~(uint32_t)POLL_ONCE);
	return !count && c->stop != STOP_TRAP;
}

static void say(struct check *k, const char *what, uint64_t jit, uint64_t interp)
{
	size_t used = strlen(k->words);
	(void)snprintf(k->words + used, sizeof(k->words) - used, " %s %#llx, not %#llx;", what,
		       (unsigned long long)jit, (unsigned long long)interp);
}

static bool differ(struct check *k, const char *what, uint64_t jit, uint64_t interp)
{
	if (jit != interp) say(k, what, jit, interp);
	return jit != interp;
}

static bool vectors_differ(struct check *k, const struct rv64_v *a, const struct rv64_v *b)
{
	bool bad = differ(k, "vl", a->vl, b->vl);
	bad |= differ(k, "vtype", a->type, b->type);
	bad |= differ(k, "vstart", a->start, b->start);
	if (b->dirty) bad |= differ(k, "VS dirty", a->dirty, b->dirty);
	for (unsigned i = 0; i < sizeof(a->reg); i += 8) {
		uint64_t x = load_le(a->reg + i, 8), y = load_le(b->reg + i, 8);
		char name[16];
		if (x == y) continue;
		(void)snprintf(name, sizeof(name), "v%u+%u", i / 16, i % 16);
		bad |= differ(k, name, x, y);
	}
	return bad;
}

static bool regs_differ(struct check *k, const struct regs *a, const struct regs *b)
{
	bool bad = differ(k, "pc", a->pc, b->pc);
	for (unsigned i = 1; i < 32; i++) bad |= differ(k, rv64_slots[i].name, a->x[i], b->x[i]);
	for (unsigned i = 0; i < 32; i++)
		bad |= differ(k, rv64_slots[32 + i].name, a->f[i], b->f[i]);
	bad |= differ(k, "fflags", a->flags, b->flags);
	/* A unit may say so too early (3.1.6.6 allows that), but not forget it. */
	if (b->fs_dirty) bad |= differ(k, "FS dirty", a->fs_dirty, b->fs_dirty);
	bad |= vectors_differ(k, &a->v, &b->v);
	bad |= differ(k, "reservation", a->res_len, b->res_len);
	if (a->res_len) bad |= differ(k, "its address", a->res_va, b->res_va);
	if (a->res_len) bad |= differ(k, "its value", a->res_val, b->res_val);
	return bad;
}

static bool memory_differs(struct check *k)
{
	bool bad = false;
	for (unsigned i = 0; i < k->n; i++) {
		const struct was *w = &k->log[i];
		bad |= differ(k, "stored", w->now, load_le(w->at, w->bytes));
	}
	return bad;
}

/* Once: true if both agree. The interpreter's results are what stays. */
static bool attempt(struct check *k, struct rv64_cpu *c, struct jit_cache *cache, const void *entry,
		    struct jit_exit *x)
{
	struct regs before = regs_get(c);
	k->n = 0;
	k->words[0] = 0;
	uint64_t limit = c->n_limit;
	if (c->n + FUEL < limit) c->n_limit = c->n + FUEL;
	*x = jit_enter(cache, c, entry);
	c->n_limit = limit;
	if (x->how == JIT_DEOPT) c->n -= x->why >> WHY_BITS;
	struct regs jit = regs_get(c);
	undo(k);
	regs_set(c, &before);
	(void)snprintf(k->words, sizeof(k->words),
		       "unit at %#llx, %llu instructions:", (unsigned long long)before.pc,
		       (unsigned long long)(jit.n - before.n));
	size_t head = strlen(k->words);
	if (!interpret(c, jit.n - before.n)) say(k, "trap", 0, c->cause);
	struct regs interp = regs_get(c);
	/* The conversion has raised its flags, and will again when it is interpreted. */
	if (x->how == JIT_DEOPT && (x->why & ((1u << WHY_BITS) - 1)) == WHY_RANGE)
		jit.flags &= interp.flags;
	bool bad = k->words[head];
	bad |= regs_differ(k, &jit, &interp);
	bad |= memory_differs(k);
	if (!bad) return true;
	/* back to the start, for another try */
	for (unsigned i = k->n; i--;) store_le(k->log[i].at, k->log[i].old, k->log[i].bytes);
	regs_set(c, &before);
	return false;
}

struct jit_exit check_enter(struct check *k, struct rv64_cpu *c, struct jit_cache *cache,
			    const void *entry)
{
	struct jit_exit x = {0};
	uint64_t n = c->n;
	int tries = 0;
	while (tries < TRIES && !attempt(k, c, cache, entry, &x)) tries++;
	k->units++;
	k->insns += c->n - n;
	k->again += tries && tries < TRIES;
	k->wrong += tries == TRIES;
	return x;
}

uint64_t check_wrong(const struct check *k, const char **words)
{
	if (words) *words = k->words;
	return k->wrong;
}
