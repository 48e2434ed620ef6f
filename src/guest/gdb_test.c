#include "base/buf.h"
#include "base/test.h"
#include "base/types.h"
#include "guest/gdb.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

struct toy {
	uint8_t memory[64];
	bool runs;
	struct gdb_points points;
	enum gdb_go how[2];
};
static unsigned cpus(void *ctx)
{
	(void)ctx;
	return 2;
}
static unsigned describe(void *ctx, struct buf *xml)
{
	(void)ctx;
	buf_fmt(xml, "<target/>#");
	return 1;
}
static unsigned get(void *ctx, unsigned cpu, unsigned reg, uint8_t *to)
{
	(void)ctx;
	if (reg > 1) return 0;
	to[0] = (uint8_t)(0xa0 + cpu), to[1] = (uint8_t)reg;
	return 2;
}
static size_t mem_write(void *ctx, unsigned cpu, uint64_t at, bool physical, const void *from,
			size_t n)
{
	struct toy *t = ctx;
	(void)cpu, (void)physical;
	if (at >= sizeof(t->memory) || n > sizeof(t->memory) - at) return 0;
	memcpy(t->memory + at, from, n);
	return n;
}
static void nothing(void *ctx) { (void)ctx; }
static void go(void *ctx, const enum gdb_go *how, const struct gdb_points *p)
{
	struct toy *t = ctx;
	t->runs = true;
	t->points = *p;
	memcpy(t->how, how, sizeof(t->how));
}
static void halt(void *ctx) { ((struct toy *)ctx)->runs = false; }
static const struct gdb_ops ops = {.cpus = cpus,
				   .describe = describe,
				   .get = get,
				   .write = mem_write,
				   .attach = nothing,
				   .detach = nothing,
				   .go = go,
				   .halt = halt};

/* What is answered to bytes as they are. */
static bool raw(struct gdb *g, const char *p, size_t n, const char *want)
{
	auto_buf struct buf out = {0};
	(void)gdb_feed(g, p, n, &out);
	const char *got = out.len ? out.at : "";
	if (strcmp(got, want) != 0) printf("%s, not %s\n", got, want);
	return !strcmp(got, want);
}
static size_t packet(char *to, size_t room, const char *body)
{
	uint8_t sum = 0;
	for (const char *p = body; *p; p++) sum = (uint8_t)(sum + (uint8_t)*p);
	return (size_t)snprintf(to, room, "$%s#%02x", body, sum);
}
/* To a packet: "+" and a packet, or "+" alone for NULL. */
static bool says(struct gdb *g, const char *body, const char *answer)
{
	char in[256], out[256] = "+";
	size_t n = packet(in, sizeof(in), body);
	if (answer) (void)packet(out + 1, sizeof(out) - 1, answer);
	return raw(g, in, n, out);
}

TEST(gdb_packets_are_taken_whole)
{
	struct toy t = {0};
	struct gdb *g = gdb_new(&ops, &t);
	CHECK(raw(g, "+", 1, ""));
	CHECK(says(g, "qC", "QC1"));
	CHECK(raw(g, "-", 1, "$QC1#c5")); /* again, please */
	CHECK(raw(g, "$qC#00", 6, "-"));
	CHECK(raw(g, "$q", 2, "") && raw(g, "C#b4", 4, "+$QC1#c5"));
	CHECK(says(g, "nonsense", ""));
	CHECK(says(g, "p0", "a000") && says(g, "Hg2", "OK") && says(g, "p1", "a101"));
	CHECK(says(g, "p2", "E16") && says(g, "Hg3", "E16") && says(g, "T3", "E03"));
	CHECK(says(g, "X4,2:}\x03}\x04", "OK") && t.memory[4] == '#' && t.memory[5] == '$');
	CHECK(says(g, "M4,1:zz", "E16") && says(g, "M40,1:00", "E0e") && says(g, "M3f,1:7f", "OK"));
	CHECK(says(g, "qXfer:features:read:target.xml:0,ffff", "l<target/>}\x03"));
	CHECK(says(g, "QStartNoAckMode", "OK") && raw(g, "$qC#b4", 6, "$QC2#c6"));
	gdb_free(g);
}

TEST(gdb_packets_that_are_too_long_are_refused)
{
	struct toy t = {0};
	struct gdb *g = gdb_new(&ops, &t);
	CHECK(raw(g, "$", 1, ""));
	for (unsigned i = 0; i < 100000; i++) CHECK(raw(g, "\0", 1, ""));
	CHECK(raw(g, "#00", 3, "-") && says(g, "qC", "QC1"));
	gdb_free(g);
}

TEST(gdb_points_are_bounded)
{
	struct toy t = {0};
	struct gdb *g = gdb_new(&ops, &t);
	char text[64];
	for (unsigned i = 0; i < GDB_POINTS; i++) {
		(void)snprintf(text, sizeof(text), "Z%u,%x,2", i & 1, 16 * i);
		CHECK(says(g, text, "OK"));
	}
	CHECK(says(g, "Z0,10000,1", "E1c") && says(g, "z0,0,2", "OK") &&
	      says(g, "Z0,10000,1", "OK"));
	for (unsigned i = 0; i < GDB_WATCHES; i++) {
		(void)snprintf(text, sizeof(text), "Z%u,%x,4", 2 + i % 3, 8 * i);
		CHECK(says(g, text, "OK"));
	}
	CHECK(says(g, "Z2,9999,4", "E1c") && says(g, "Z2,0,4", "OK") && says(g, "Z2,9,0", "E16"));
	CHECK(says(g, "vCont;s:2;c", NULL) && t.points.n == GDB_POINTS + GDB_WATCHES);
	CHECK(t.runs && t.how[0] == GDB_CONTINUE && t.how[1] == GDB_STEP);
	CHECK(says(g, "qC", NULL)); /* nothing is said while it runs */
	auto_buf struct buf out = {0};
	struct gdb_stop why = {.cpu = 1, .watched = true, .watch = {GDB_ACCESS, 0x40, 4}};
	gdb_stopped(g, &why, &out);
	CHECK(out.len && !strncmp(out.at, "$T05thread:2;awatch:40;#", 24));
	CHECK(says(g, "vCont;s:1", NULL) && t.how[0] == GDB_STEP && t.how[1] == GDB_HOLD);
	CHECK(raw(g, "\x03", 1, "$T02thread:2;#d5") && !t.runs);
	CHECK(says(g, "vCont;t", "E16") && says(g, "vCont", "E16") && !t.runs);
	gdb_free(g);
}

static bool two(void *ctx, const struct gdb_points *p)
{
	(void)ctx;
	return p->n <= 2;
}

TEST(gdb_points_are_refused_by_what_is_debugged)
{
	struct gdb_ops few = ops;
	struct toy t = {0};
	few.can = two;
	struct gdb *g = gdb_new(&few, &t);
	CHECK(says(g, "Z0,10,1", "OK") && says(g, "Z2,20,4", "OK") && says(g, "Z1,30,1", "E1c"));
	CHECK(says(g, "z0,10,1", "OK") && says(g, "Z1,30,1", "OK"));
	CHECK(says(g, "c", NULL) && t.points.n == 2 && t.points.at[1].at == 0x30);
	gdb_free(g);
}

TEST(gdb_places_are_checked)
{
	static const char *const good[] = {"1234",	":1234",      "tcp::1234",
					   "0.0.0.0:0", "[::1]:1234", "unix:/tmp/x"};
	static const char *const bad[] = {"", "x", "70000", "1.2.3.4.5:1", "unix:", "localhost:1"};
	struct err e;
	for (unsigned i = 0; i < COUNT(good); i++) CHECK(!gdb_check(good[i], &e));
	for (unsigned i = 0; i < COUNT(bad); i++) CHECK(gdb_check(bad[i], &e) == -EINVAL);
}
