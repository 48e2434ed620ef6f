/* A debugger's bytes: whatever comes, the stub's memory is bounded, and the target is asked only
 * for what it has. Bytes 0 and 1 of the input say how often CPUs stop by themselves. */
#include "base/buf.h"
#include "base/types.h"
#include "guest/gdb.h"
#include <string.h>

enum { CPUS = 3, REGS = 40, MEMORY = 4096, MOST_OUT = 1 << 20 };
struct toy {
	uint8_t memory[MEMORY];
	uint64_t reg[CPUS][REGS];
	bool runs, attached;
	unsigned resets;
};

static void standing(const struct toy *t) { must(!t->runs && t->attached); }
static unsigned cpus(void *ctx)
{
	(void)ctx;
	return CPUS;
}
static unsigned describe(void *ctx, struct buf *xml)
{
	(void)ctx;
	for (unsigned i = 0; i < 1000; i++) buf_fmt(xml, "<reg name=\"#%u\"/>", i);
	return REGS / 2;
}
static unsigned get(void *ctx, unsigned cpu, unsigned reg, uint8_t *to)
{
	struct toy *t = ctx;
	standing(t);
	must(cpu < CPUS);
	if (reg < REGS) memcpy(to, &t->reg[cpu][reg], 8);
	return reg < REGS ? 8 : 0;
}
static bool set(void *ctx, unsigned cpu, unsigned reg, const uint8_t *from, unsigned n)
{
	struct toy *t = ctx;
	standing(t);
	must(cpu < CPUS && n <= GDB_REG);
	if (reg >= REGS || n != 8) return false;
	memcpy(&t->reg[cpu][reg], from, 8);
	return true;
}
static size_t there(uint64_t at, size_t n)
{
	return at >= MEMORY ? 0 : n < MEMORY - at ? n : MEMORY - at;
}
static size_t mem_read(void *ctx, unsigned cpu, uint64_t at, bool physical, void *to, size_t n)
{
	struct toy *t = ctx;
	(void)physical;
	standing(t);
	must(cpu < CPUS);
	n = there(at, n);
	if (n) memcpy(to, t->memory + at, n);
	return n;
}
static size_t mem_write(void *ctx, unsigned cpu, uint64_t at, bool physical, const void *from,
			size_t n)
{
	struct toy *t = ctx;
	(void)physical;
	standing(t);
	must(cpu < CPUS);
	n = there(at, n);
	if (n) memcpy(t->memory + at, from, n);
	return n;
}
static void attach(void *ctx)
{
	struct toy *t = ctx;
	must(!t->attached);
	t->attached = true;
}
static void detach(void *ctx)
{
	struct toy *t = ctx;
	must(t->attached);
	t->attached = t->runs = false;
}
static bool can(void *ctx, const struct gdb_points *p)
{
	standing(ctx);
	must(p->n && p->n <= GDB_POINTS + GDB_WATCHES);
	return p->at[p->n - 1].at % 3 != 0;
}
static void go(void *ctx, const enum gdb_go *how, const struct gdb_points *p)
{
	struct toy *t = ctx;
	unsigned watches = 0, runs = 0;
	standing(t);
	for (unsigned i = 0; i < p->n; i++) watches += p->at[i].kind >= GDB_WRITE;
	must(watches <= GDB_WATCHES && p->n - watches <= GDB_POINTS);
	for (unsigned i = 0; i < CPUS; i++) runs += how[i] != GDB_HOLD;
	must(runs);
	t->runs = true;
}
static void halt(void *ctx) { ((struct toy *)ctx)->runs = false; }
static void reset(void *ctx) { ((struct toy *)ctx)->resets++; }
static void nothing(void *ctx) { (void)ctx; }
static void name(void *ctx, unsigned cpu, char *to, size_t room)
{
	(void)ctx;
	must(cpu < CPUS && room > 3);
	memcpy(to, "cpu", 4);
}
static bool monitor(void *ctx, unsigned cpu, const char *words, struct buf *out)
{
	(void)ctx, (void)cpu;
	buf_fmt(out, "%s", words);
	return strlen(words) & 1;
}
static const struct gdb_ops ops = {.cpus = cpus,
				   .describe = describe,
				   .get = get,
				   .set = set,
				   .read = mem_read,
				   .write = mem_write,
				   .attach = attach,
				   .detach = detach,
				   .can = can,
				   .go = go,
				   .halt = halt,
				   .reset = reset,
				   .kill = nothing,
				   .name = name,
				   .monitor = monitor};

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static struct toy t;
	auto_buf struct buf out = {0};
	if (n < 1) return 0;
	memset(&t, 0, sizeof(t));
	struct gdb *g = gdb_new(&ops, &t);
	unsigned part = p[0] % 64 + 1u;
	bool stays = true;
	for (size_t at = 1; stays && at < n; at += part) {
		stays = gdb_feed(g, p + at, part < n - at ? part : n - at, &out);
		must(out.len < MOST_OUT);
		out.len = 0;
		if (!stays || !t.runs) continue;
		t.runs = false;
		struct gdb_stop why = {.cpu = p[at] % CPUS, .watched = p[at] & 8};
		why.watch.kind = GDB_WRITE;
		gdb_stopped(g, &why, &out);
		must(out.len);
	}
	gdb_free(g);
	must(!stays || !t.attached);
	return 0;
}
