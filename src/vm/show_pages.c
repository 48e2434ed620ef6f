/* Page tables as they lie in memory, of both CPUs by one description of their levels. */
#include "base/buf.h"
#include "engine/engine.h"
#include "engine/x86_regs.h"
#include "guest/guest.h"
#include "hw/gmem.h"
#include "vm/show.h"
#include "vm/vm.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { LEVELS = 5, LINES = 4000, VISITS = 1 << 20 };
enum { RV_V = 1, RV_R = 2, RV_W = 4, RV_X = 8, RV_U = 16, RV_G = 32, RV_A = 64, RV_D = 128 };
enum { X_P = 1, X_W = 2, X_U = 4, X_A = 32, X_D = 64, X_PS = 128, X_G = 256 };
#define X_NX   (1ull << 63)
#define X_ADDR 0x000ffffffffff000ull

struct tables {
	struct hart *h;
	bool rv64;
	gpa_t root;
	unsigned levels, bits, bytes; /* bits of an address by level; bytes of an entry */
};

static const char *rights(const struct tables *t, uint64_t pte, char to[12])
{
	const char *names = t->rv64 ? "rwxugad" : "rwxugad";
	static const uint64_t rv[] = {RV_R, RV_W, RV_X, RV_U, RV_G, RV_A, RV_D};
	static const uint64_t x86[] = {X_P, X_W, X_NX, X_U, X_G, X_A, X_D};
	for (unsigned i = 0; i < 7; i++) {
		bool on = pte & (t->rv64 ? rv[i] : x86[i]);
		if (!t->rv64 && i == 2) on = !on;
		to[i] = on ? names[i] : '-';
	}
	to[7] = 0;
	return to;
}

static int rv64_tables(struct tables *t, struct err *e)
{
	enum { SATP = 0x180 };
	uint64_t satp = hart_get(t->h, REG_RV_CSR + SATP), mode = satp >> 60;
	if (!mode) return fail(e, -ENXIO, "the CPU translates no addresses now (satp is 0)");
	t->root = (satp & ((1ull << 44) - 1)) << 12;
	t->levels = (unsigned)mode - 5;
	t->bits = 9;
	t->bytes = 8;
	return 0;
}

static int x86_tables(struct tables *t, struct err *e)
{
	enum { PAE = 1 << 5, LA57 = 1 << 12, LMA = 1 << 10 };
	uint64_t cr4 = hart_get(t->h, REG_X86_CR + 4), cr3 = hart_get(t->h, REG_X86_CR + 3);
	if (!(hart_get(t->h, REG_X86_CR) >> 31 & 1))
		return fail(e, -ENXIO, "the CPU translates no addresses now (CR0.PG is clear)");
	bool is64 = hart_get(t->h, REG_X86_EFER) & LMA, pae = cr4 & PAE;
	t->root = cr3 & X_ADDR;
	t->levels = is64 ? (cr4 & LA57 ? 5 : 4) : pae ? 3 : 2;
	t->bits = pae ? 9 : 10;
	t->bytes = pae ? 8 : 4;
	if (pae && !is64) t->root = cr3 & 0xffffffe0;
	return 0;
}

static int tables_of(struct tables *t, struct hart *h, struct err *e)
{
	*t = (struct tables){.h = h, .rv64 = h->vm->guest->spec->arch == ARCH_RV64};
	int r = t->rv64 ? rv64_tables(t, e) : x86_tables(t, e);
	if (!r && (!t->levels || t->levels > LEVELS)) r = fail(e, -ENOTSUP, "unknown page tables");
	return r;
}

static bool entry(const struct tables *t, gpa_t table, uint64_t i, gpa_t *at, uint64_t *pte)
{
	*pte = 0;
	*at = table + i * t->bytes;
	return gmem_read(t->h->vm->mem, *at, pte, t->bytes);
}

static bool is_there(const struct tables *t, uint64_t pte)
{
	return t->rv64 ? pte & RV_V : pte & X_P;
}
static bool is_leaf(const struct tables *t, uint64_t pte, unsigned level)
{
	if (t->rv64) return pte & (RV_R | RV_X);
	return !level || (level < 3 && pte & X_PS);
}
static gpa_t points_to(const struct tables *t, uint64_t pte)
{
	if (t->rv64) return (pte >> 10 & ((1ull << 44) - 1)) << 12;
	return t->bytes == 4 ? pte & 0xfffff000 : pte & X_ADDR;
}

static unsigned shift_of(const struct tables *t, unsigned level) { return 12 + level * t->bits; }

/* The top of 32-bit tables with PAE has four. */
static uint64_t entries_of(const struct tables *t, unsigned level)
{
	return !t->rv64 && t->levels == 3 && level == 2 ? 4 : 1ull << t->bits;
}

static uint64_t canonical(const struct tables *t, uint64_t va)
{
	unsigned width = shift_of(t, t->levels);
	if (width <= 32 || (!t->rv64 && t->levels == 3)) return va;
	return (uint64_t)((int64_t)(va << (64 - width)) >> (64 - width));
}

int show_page(struct hart *h, gva_t va, struct buf *out, struct err *e)
{
	struct tables t;
	char text[12];
	int r = tables_of(&t, h, e);
	if (r) return r;
	gpa_t table = t.root, at;
	for (unsigned level = t.levels; level--;) {
		uint64_t pte, i = va >> shift_of(&t, level) & (entries_of(&t, level) - 1);
		bool there = entry(&t, table, i, &at, &pte);
		buf_fmt(out, "level %u  entry %3llu at 0x%llx: ", level, (unsigned long long)i,
			(unsigned long long)at);
		if (!there || !is_there(&t, pte)) {
			buf_fmt(out, there ? "%llx, nothing\n" : "%.0llxno memory\n",
				(unsigned long long)pte);
			return 0;
		}
		buf_fmt(out, "%016llx %s\n", (unsigned long long)pte, rights(&t, pte, text));
		table = points_to(&t, pte);
		if (!is_leaf(&t, pte, level)) continue;
		uint64_t mask = (1ull << shift_of(&t, level)) - 1;
		buf_fmt(out, "0x%llx is at 0x%llx, in a page of %llu KiB\n", (unsigned long long)va,
			(unsigned long long)((table & ~mask) | (va & mask)),
			(unsigned long long)((mask + 1) >> 10));
		return 0;
	}
	buf_fmt(out, "the last table points to another: nothing\n");
	return 0;
}

/* ---- all of it ---- */
struct run { /* that go on one behind the other, in both kinds of addresses */
	uint64_t va, len;
	gpa_t at;
	char rights[12];
};
struct list {
	struct tables t;
	struct buf *out;
	struct run run;
	unsigned lines, visits;
};

static void run_end(struct list *l)
{
	const struct run *r = &l->run;
	if (r->len && l->lines++ < LINES)
		buf_fmt(l->out, "%016llx-%016llx  %12llx  %10llu KiB  %s\n",
			(unsigned long long)canonical(&l->t, r->va),
			(unsigned long long)canonical(&l->t, r->va + r->len - 1),
			(unsigned long long)r->at, (unsigned long long)(r->len >> 10), r->rights);
	l->run.len = 0;
}

static void leaf(struct list *l, uint64_t va, uint64_t pte, unsigned level)
{
	struct run *r = &l->run;
	char text[12];
	uint64_t len = 1ull << shift_of(&l->t, level);
	gpa_t at = points_to(&l->t, pte) & ~(len - 1);
	(void)rights(&l->t, pte, text);
	memcpy(&text[5], "\0", 1); /* what has been accessed and written splits too much */
	bool goes_on =
		r->len && va == r->va + r->len && at == r->at + r->len && !strcmp(text, r->rights);
	if (goes_on) {
		r->len += len;
		return;
	}
	run_end(l);
	*r = (struct run){.va = va, .len = len, .at = at};
	memcpy(r->rights, text, sizeof(text));
}

static void walk(struct list *l, gpa_t table, uint64_t va, unsigned level)
{
	for (uint64_t i = 0; i < entries_of(&l->t, level); i++) {
		uint64_t pte, here = va | i << shift_of(&l->t, level);
		gpa_t at;
		if (l->lines > LINES || ++l->visits > VISITS) return;
		if (!entry(&l->t, table, i, &at, &pte)) return;
		if (!is_there(&l->t, pte)) continue;
		if (is_leaf(&l->t, pte, level))
			leaf(l, here, pte, level);
		else if (level)
			walk(l, points_to(&l->t, pte), here, level - 1);
	}
}

int show_pages(struct hart *h, struct buf *out, struct err *e)
{
	struct list l = {.out = out};
	int r = tables_of(&l.t, h, e);
	if (r) return r;
	walk(&l, l.t.root, 0, l.t.levels - 1);
	run_end(&l);
	if (l.lines > LINES || l.visits > VISITS) buf_fmt(out, "and more\n");
	return 0;
}
