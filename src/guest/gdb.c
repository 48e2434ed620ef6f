/* The protocol as a machine that takes bytes and answers with bytes. A packet is taken whole or not
 * at all; what is not understood gets the empty answer, as the protocol asks for. */
#include "guest/gdb.h"
#include "base/buf.h"
#include "base/types.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PACKET = 16384, ANSWER = 65536 };
enum { SIGINT_ = 2, SIGTRAP_ = 5 }; /* GDB's own numbers */
enum { CTRL_C = 3 };

struct gdb {
	const struct gdb_ops *ops;
	void *ctx;
	bool attached, running, no_ack, swbreak, hwbreak, physical, gone;
	unsigned cpu;	 /* that other packets are about */
	unsigned go_cpu; /* that c and s are about; ALL */
	unsigned listed; /* of qsThreadInfo */
	struct gdb_points points;
	struct gdb_stop why;
	enum { IDLE, BODY, ESCAPED, SUM1, SUM2 } state;
	bool overlong;
	uint8_t sum, said;
	size_t n;
	char packet[PACKET + 1];
	struct buf last; /* what was said, for a debugger that has not heard it */
	struct buf xml;
	unsigned general;
};
enum { ALL = ~0u };

struct gdb *gdb_new(const struct gdb_ops *ops, void *ctx)
{
	struct gdb *g = calloc(1, sizeof(*g));
	must(g);
	g->ops = ops;
	g->ctx = ctx;
	g->go_cpu = ALL;
	g->why.interrupted = true;
	g->general = ops->describe(ctx, &g->xml);
	return g;
}

void gdb_free(struct gdb *g)
{
	if (!g) return;
	if (g->attached && !g->gone) g->ops->detach(g->ctx);
	buf_done(&g->last);
	buf_done(&g->xml);
	free(g);
}

/* ---- numbers and bytes in text ---- */
static int digit(char c)
{
	if (c >= '0' && c <= '9') return c - '0';
	if (c >= 'a' && c <= 'f') return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* A hexadecimal number of up to 64 bits; *p goes behind it. */
static bool take_hex(const char **p, uint64_t *to)
{
	unsigned n = 0;
	for (*to = 0; digit(**p) >= 0; n++, ++*p) {
		if (*to >> 60) return false;
		*to = *to << 4 | (unsigned)digit(**p);
	}
	return n;
}
static bool take_char(const char **p, char c)
{
	if (**p != c) return false;
	++*p;
	return true;
}
static bool take_two(const char **p, uint64_t *a, uint64_t *b)
{
	return take_hex(p, a) && take_char(p, ',') && take_hex(p, b);
}
static bool take_word(const char **p, const char *word)
{
	size_t n = strlen(word);
	if (strncmp(*p, word, n) != 0) return false;
	*p += n;
	return true;
}
static void put_hex(struct buf *b, const void *from, size_t n)
{
	static const char digits[] = "0123456789abcdef";
	char *to = buf_room(b, 2 * n);
	for (size_t i = 0; i < n; i++) {
		uint8_t v = ((const uint8_t *)from)[i];
		to[2 * i] = digits[v >> 4];
		to[2 * i + 1] = digits[v & 15];
	}
}
/* Pairs of digits up to the text's end or another character. How many, -1: half a pair. */
static int take_bytes(const char **p, uint8_t *to, size_t room)
{
	size_t n = 0;
	for (; digit(**p) >= 0; n++, *p += 2) {
		if (n == room || digit((*p)[1]) < 0) return -1;
		to[n] = (uint8_t)(digit(**p) << 4 | digit((*p)[1]));
	}
	return (int)n;
}
/* A thread's number as a CPU's. */
static bool take_thread(struct gdb *g, const char **p, unsigned *cpu)
{
	uint64_t n;
	*cpu = ALL;
	if (take_word(p, "-1")) return true;
	if (!take_hex(p, &n) || n > g->ops->cpus(g->ctx)) return false;
	if (n) *cpu = (unsigned)n - 1;
	return true;
}

/* ---- saying something ---- */
static void put_escaped(struct buf *b, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool special = p[i] == '$' || p[i] == '#' || p[i] == '}' || p[i] == '*';
		char c = special ? (char)(p[i] ^ 0x20) : p[i];
		if (special) buf_add(b, "}", 1);
		buf_add(b, &c, 1);
	}
}

static void say(struct gdb *g, const struct buf *body, struct buf *out)
{
	uint8_t sum = 0;
	g->last.len = 0;
	buf_add(&g->last, "$", 1);
	if (body->len) put_escaped(&g->last, body->at, body->len);
	for (size_t i = 1; i < g->last.len; i++) sum = (uint8_t)(sum + (uint8_t)g->last.at[i]);
	buf_fmt(&g->last, "#%02x", sum);
	buf_add(out, g->last.at, g->last.len);
}

static void put_ok(struct buf *b) { buf_fmt(b, "OK"); }
static void put_error(struct buf *b, int code) { buf_fmt(b, "E%02x", code & 0xff); }

static void put_why(struct gdb *g, struct buf *b)
{
	static const char *const names[] = {
		[GDB_WRITE] = "watch", [GDB_READ] = "rwatch", [GDB_ACCESS] = "awatch"};
	const struct gdb_stop *w = &g->why;
	buf_fmt(b, "T%02xthread:%x;", w->interrupted ? SIGINT_ : SIGTRAP_, w->cpu + 1);
	if (w->watched && w->watch.kind >= GDB_WRITE)
		buf_fmt(b, "%s:%llx;", names[w->watch.kind], (unsigned long long)w->watch.at);
	if (w->broke && g->swbreak) buf_fmt(b, "swbreak:;");
}

void gdb_stopped(struct gdb *g, const struct gdb_stop *why, struct buf *out)
{
	auto_buf struct buf b = {0};
	if (!g->attached || !g->running) return;
	g->running = false;
	g->why = *why;
	g->cpu = why->cpu;
	put_why(g, &b);
	say(g, &b, out);
}

void gdb_ended(struct gdb *g, struct buf *out)
{
	auto_buf struct buf b = {0};
	if (g->attached && g->running) {
		buf_fmt(&b, "W00");
		say(g, &b, out);
	}
	g->gone = true;
}

/* ---- registers ---- */
static void put_reg(struct gdb *g, unsigned reg, struct buf *b)
{
	uint8_t val[GDB_REG];
	unsigned n = g->ops->get(g->ctx, g->cpu, reg, val);
	if (n)
		put_hex(b, val, n);
	else
		put_error(b, EINVAL);
}

static void do_get_all(struct gdb *g, const char *p, struct buf *b)
{
	(void)p;
	for (unsigned i = 0; i < g->general; i++) put_reg(g, i, b);
}

static void do_set_all(struct gdb *g, const char *p, struct buf *b)
{
	uint8_t was[GDB_REG], val[GDB_REG];
	for (unsigned i = 0; i < g->general && *p; i++) {
		unsigned n = g->ops->get(g->ctx, g->cpu, i, was);
		char part[2 * GDB_REG + 1] = "";
		const char *from = part;
		if (strlen(p) < 2 * (size_t)n) break;
		memcpy(part, p, 2 * (size_t)n);
		p += 2 * (size_t)n;
		if (take_bytes(&from, val, n) == (int)n && memcmp(was, val, n) != 0)
			(void)g->ops->set(g->ctx, g->cpu, i, val, n);
	}
	put_ok(b);
}

static void do_get(struct gdb *g, const char *p, struct buf *b)
{
	uint64_t reg;
	if (take_hex(&p, &reg) && reg < UINT16_MAX)
		put_reg(g, (unsigned)reg, b);
	else
		put_error(b, EINVAL);
}

static void do_set(struct gdb *g, const char *p, struct buf *b)
{
	uint64_t reg;
	uint8_t val[GDB_REG];
	bool good = take_hex(&p, &reg) && reg < UINT16_MAX && take_char(&p, '=');
	int n = good ? take_bytes(&p, val, sizeof(val)) : -1;
	if (n > 0 && g->ops->set(g->ctx, g->cpu, (unsigned)reg, val, (unsigned)n))
		put_ok(b);
	else
		put_error(b, EINVAL);
}

/* ---- memory ---- */
static void do_read(struct gdb *g, const char *p, struct buf *b)
{
	uint64_t at, n;
	uint8_t bytes[PACKET / 2];
	if (!take_two(&p, &at, &n)) {
		put_error(b, EINVAL);
		return;
	}
	if (n > sizeof(bytes)) n = sizeof(bytes);
	size_t got = g->ops->read(g->ctx, g->cpu, at, g->physical, bytes, n);
	if (got || !n)
		put_hex(b, bytes, got);
	else
		put_error(b, EFAULT);
}

static void write_bytes(struct gdb *g, uint64_t at, const void *from, size_t n, struct buf *b)
{
	if (g->ops->write(g->ctx, g->cpu, at, g->physical, from, n) == n)
		put_ok(b);
	else
		put_error(b, EFAULT);
}

static void do_write(struct gdb *g, const char *p, struct buf *b)
{
	uint64_t at, n;
	uint8_t bytes[PACKET / 2];
	bool good = take_two(&p, &at, &n) && take_char(&p, ':');
	int got = good ? take_bytes(&p, bytes, sizeof(bytes)) : -1;
	if (got < 0 || (uint64_t)got != n)
		put_error(b, EINVAL);
	else
		write_bytes(g, at, bytes, n, b);
}

static void do_write_binary(struct gdb *g, const char *p, struct buf *b)
{
	uint64_t at, n;
	bool good = take_two(&p, &at, &n) && take_char(&p, ':');
	if (!good || n != g->n - (size_t)(p - g->packet))
		put_error(b, EINVAL);
	else
		write_bytes(g, at, p, n, b);
}

/* ---- points ---- */
static unsigned points_of(const struct gdb *g, bool watches)
{
	unsigned n = 0;
	for (unsigned i = 0; i < g->points.n; i++)
		n += (g->points.at[i].kind >= GDB_WRITE) == watches;
	return n;
}

static struct gdb_point *point_find(struct gdb *g, const struct gdb_point *p)
{
	for (unsigned i = 0; i < g->points.n; i++) {
		struct gdb_point *o = &g->points.at[i];
		if (o->kind == p->kind && o->at == p->at && o->len == p->len) return o;
	}
	return NULL;
}

static bool take_point(const char **p, struct gdb_point *to)
{
	uint64_t kind;
	if (!take_hex(p, &kind) || kind > GDB_ACCESS || !take_char(p, ',')) return false;
	to->kind = (enum gdb_kind)kind;
	return take_two(p, &to->at, &to->len);
}

static void do_insert(struct gdb *g, const char *p, struct buf *b)
{
	enum { LONGEST = 1 << 20 };
	struct gdb_point new;
	if (!take_point(&p, &new)) return;
	bool watches = new.kind >= GDB_WRITE;
	unsigned most = watches ? GDB_WATCHES : GDB_POINTS;
	if (watches && (!new.len || new.len > LONGEST))
		put_error(b, EINVAL);
	else if (point_find(g, &new))
		put_ok(b);
	else if (points_of(g, watches) == most)
		put_error(b, ENOSPC);
	else {
		g->points.at[g->points.n++] = new;
		if (!g->ops->can || g->ops->can(g->ctx, &g->points)) {
			put_ok(b);
			return;
		}
		g->points.n--;
		put_error(b, ENOSPC);
	}
}

static void do_remove(struct gdb *g, const char *p, struct buf *b)
{
	struct gdb_point old;
	if (!take_point(&p, &old)) return;
	struct gdb_point *at = point_find(g, &old);
	if (at) *at = g->points.at[--g->points.n];
	put_ok(b);
}

/* ---- running ---- */
static void go(struct gdb *g, const enum gdb_go *how)
{
	g->running = true;
	g->ops->go(g->ctx, how, &g->points);
}

/* c, s, C and S are about one CPU, the others go on. */
static void go_one(struct gdb *g, enum gdb_go what)
{
	enum gdb_go how[GDB_CPUS];
	for (unsigned i = 0; i < GDB_CPUS; i++) how[i] = GDB_CONTINUE;
	how[g->go_cpu == ALL ? g->cpu : g->go_cpu] = what;
	go(g, how);
}

static void do_continue(struct gdb *g, const char *p, struct buf *b)
{
	if (*p)
		put_error(b, EINVAL);
	else
		go_one(g, GDB_CONTINUE);
}
static void do_step(struct gdb *g, const char *p, struct buf *b)
{
	if (*p)
		put_error(b, EINVAL);
	else
		go_one(g, GDB_STEP);
}
static void do_continue_signal(struct gdb *g, const char *p, struct buf *b)
{
	(void)p, (void)b; /* no signal reaches a CPU */
	go_one(g, GDB_CONTINUE);
}
static void do_step_signal(struct gdb *g, const char *p, struct buf *b)
{
	(void)p, (void)b;
	go_one(g, GDB_STEP);
}

/* One of ";c", ";s:1", ";C05:2". The leftmost that is about a CPU counts. */
static bool take_action(struct gdb *g, const char **p, enum gdb_go *how, bool *set)
{
	uint64_t sig;
	unsigned cpu = ALL;
	if (!take_char(p, ';')) return false;
	char c = **p;
	if (c != 'c' && c != 's' && c != 'C' && c != 'S') return false;
	++*p;
	if (isupper((unsigned char)c) && !take_hex(p, &sig)) return false;
	if (take_char(p, ':') && !take_thread(g, p, &cpu)) return false;
	for (unsigned i = 0; i < GDB_CPUS; i++) {
		if ((cpu != ALL && cpu != i) || set[i]) continue;
		how[i] = tolower((unsigned char)c) == 's' ? GDB_STEP : GDB_CONTINUE;
		set[i] = true;
	}
	return true;
}

static void do_vcont(struct gdb *g, const char *p, struct buf *b)
{
	enum gdb_go how[GDB_CPUS] = {GDB_HOLD};
	bool set[GDB_CPUS] = {false}, any = false;
	while (*p) {
		if (!take_action(g, &p, how, set)) {
			put_error(b, EINVAL);
			return;
		}
	}
	for (unsigned i = 0; i < g->ops->cpus(g->ctx); i++) any |= how[i] != GDB_HOLD;
	if (any)
		go(g, how);
	else
		put_error(b, EINVAL);
}

static void do_why(struct gdb *g, const char *p, struct buf *b)
{
	(void)p;
	put_why(g, b);
}

static void detach(struct gdb *g)
{
	if (g->attached) g->ops->detach(g->ctx);
	g->attached = g->running = false;
	g->gone = true;
}

static void do_detach(struct gdb *g, const char *p, struct buf *b)
{
	(void)p;
	detach(g);
	put_ok(b);
}

static void do_kill(struct gdb *g, const char *p, struct buf *b)
{
	(void)p;
	g->ops->kill(g->ctx);
	g->gone = true;
	put_ok(b);
}

/* ---- threads ---- */
static void do_select(struct gdb *g, const char *p, struct buf *b)
{
	unsigned cpu;
	char what = *p ? *p++ : 0;
	bool good = take_thread(g, &p, &cpu) && !*p;
	if (good && what == 'g') {
		if (cpu != ALL) g->cpu = cpu;
	} else if (good && what == 'c')
		g->go_cpu = cpu;
	else
		good = false;
	if (good)
		put_ok(b);
	else
		put_error(b, EINVAL);
}

static void do_alive(struct gdb *g, const char *p, struct buf *b)
{
	unsigned cpu;
	if (take_thread(g, &p, &cpu) && cpu != ALL)
		put_ok(b);
	else
		put_error(b, ESRCH);
}

static void do_current(struct gdb *g, const char *p, struct buf *b)
{
	if (!*p) buf_fmt(b, "QC%x", g->cpu + 1);
}

static void do_threads(struct gdb *g, const char *p, struct buf *b)
{
	(void)p;
	for (unsigned i = 0; i < g->ops->cpus(g->ctx); i++)
		buf_fmt(b, "%c%x", i ? ',' : 'm', i + 1);
}
static void do_threads_end(struct gdb *g, const char *p, struct buf *b)
{
	(void)g, (void)p;
	buf_fmt(b, "l");
}

static void do_thread_name(struct gdb *g, const char *p, struct buf *b)
{
	char name[64] = "";
	unsigned cpu;
	if (!take_thread(g, &p, &cpu) || cpu == ALL) return;
	g->ops->name(g->ctx, cpu, name, sizeof(name));
	put_hex(b, name, strlen(name));
}

/* ---- what there is ---- */
static void do_supported(struct gdb *g, const char *p, struct buf *b)
{
	g->swbreak = strstr(p, "swbreak+");
	buf_fmt(b,
		"PacketSize=%x;QStartNoAckMode+;qXfer:features:read+;vContSupported+;swbreak+;"
		"hwbreak+",
		PACKET - 16);
}

static void do_features(struct gdb *g, const char *p, struct buf *b)
{
	uint64_t at, n;
	if (!take_two(&p, &at, &n)) return;
	if (at >= g->xml.len) {
		buf_fmt(b, "l");
		return;
	}
	size_t left = g->xml.len - at;
	if (n > PACKET / 4) n = PACKET / 4;
	buf_fmt(b, "%c", left > n ? 'm' : 'l');
	buf_add(b, g->xml.at + at, left < n ? left : n);
}

static void do_no_ack(struct gdb *g, const char *p, struct buf *b)
{
	(void)p;
	g->no_ack = true;
	put_ok(b);
}

static void do_attached(struct gdb *g, const char *p, struct buf *b)
{
	(void)g, (void)p;
	buf_fmt(b, "1");
}

static void do_vcont_what(struct gdb *g, const char *p, struct buf *b)
{
	(void)g, (void)p;
	buf_fmt(b, "vCont;c;C;s;S");
}

/* QEMU's way to say that addresses are physical. */
static void do_physical(struct gdb *g, const char *p, struct buf *b)
{
	g->physical = *p == '1';
	put_ok(b);
}
static void do_is_physical(struct gdb *g, const char *p, struct buf *b)
{
	(void)p;
	buf_fmt(b, "%d", g->physical);
}

/* ---- monitor ---- */
static void monitor(struct gdb *g, const char *words, struct buf *out)
{
	if (!strcmp(words, "reset"))
		g->ops->reset(g->ctx);
	else if (!strcmp(words, "phys on") || !strcmp(words, "phys off"))
		g->physical = !strcmp(words, "phys on");
	else if (!strcmp(words, "help") || !g->ops->monitor(g->ctx, g->cpu, words, out))
		buf_fmt(out, "monitor reset            start the machine anew, and stop\n"
			     "monitor phys on|off      addresses of memory are physical\n"
			     "and what lodge debug knows: regs, mem, dis, backtrace, pagetable\n");
}

static void do_monitor(struct gdb *g, const char *p, struct buf *b)
{
	uint8_t words[256];
	auto_buf struct buf text = {0};
	int n = take_bytes(&p, words, sizeof(words) - 1);
	if (n < 0) {
		put_error(b, EINVAL);
		return;
	}
	words[n] = 0;
	monitor(g, (const char *)words, &text);
	if (text.len)
		put_hex(b, text.at, text.len < ANSWER ? text.len : ANSWER);
	else
		put_ok(b);
}

/* ---- packets ---- */
static const struct packet {
	const char *begins;
	void (*serve)(struct gdb *g, const char *rest, struct buf *b);
	bool silent; /* it is answered when the CPUs stop */
} packets[] = {
	{"?", do_why, false},
	{"g", do_get_all, false},
	{"G", do_set_all, false},
	{"p", do_get, false},
	{"P", do_set, false},
	{"m", do_read, false},
	{"M", do_write, false},
	{"X", do_write_binary, false},
	{"Z", do_insert, false},
	{"z", do_remove, false},
	{"c", do_continue, true},
	{"s", do_step, true},
	{"C", do_continue_signal, true},
	{"S", do_step_signal, true},
	{"vCont?", do_vcont_what, false},
	{"vCont", do_vcont, true},
	{"vKill", do_kill, false},
	{"k", do_kill, true},
	{"D", do_detach, false},
	{"H", do_select, false},
	{"T", do_alive, false},
	{"qC", do_current, false},
	{"qfThreadInfo", do_threads, false},
	{"qsThreadInfo", do_threads_end, false},
	{"qThreadExtraInfo,", do_thread_name, false},
	{"qSupported", do_supported, false},
	{"qXfer:features:read:target.xml:", do_features, false},
	{"qAttached", do_attached, false},
	{"qRcmd,", do_monitor, false},
	{"Qqemu.PhyMemMode:", do_physical, false},
	{"qqemu.PhyMemMode", do_is_physical, false},
	{"QStartNoAckMode", do_no_ack, false},
};

static void serve(struct gdb *g, struct buf *out)
{
	auto_buf struct buf b = {0};
	const char *p = g->packet;
	for (unsigned i = 0; i < COUNT(packets); i++) {
		if (!take_word(&p, packets[i].begins)) continue;
		packets[i].serve(g, p, &b);
		if (packets[i].silent && !b.len) return;
		break;
	}
	say(g, &b, out);
}

static void attach(struct gdb *g)
{
	g->attached = true;
	g->ops->attach(g->ctx);
}

static void packet_end(struct gdb *g, struct buf *out)
{
	bool good = g->sum == g->said && !g->overlong;
	if (!g->no_ack) buf_add(out, good ? "+" : "-", 1);
	if (!good || g->running) return; /* while CPUs run only an interrupt is heard */
	g->packet[g->n] = 0;
	serve(g, out);
}

static void interrupt(struct gdb *g, struct buf *out)
{
	struct gdb_stop why = {.cpu = g->cpu, .interrupted = true};
	if (!g->running) return;
	g->ops->halt(g->ctx);
	gdb_stopped(g, &why, out);
}

static void between(struct gdb *g, char c, struct buf *out)
{
	if (c == '$') {
		g->state = BODY;
		g->n = 0;
		g->sum = 0;
		g->overlong = false;
	} else if (c == CTRL_C)
		interrupt(g, out);
	else if (c == '-' && !g->no_ack && g->last.len)
		buf_add(out, g->last.at, g->last.len);
}

static void keep(struct gdb *g, char c)
{
	if (g->n == PACKET)
		g->overlong = true;
	else
		g->packet[g->n++] = c;
}

static void take(struct gdb *g, char c, struct buf *out)
{
	switch (g->state) {
	case IDLE: between(g, c, out); return;
	case BODY:
		if (c == '#') {
			g->state = SUM1;
			return;
		}
		g->sum = (uint8_t)(g->sum + (uint8_t)c);
		if (c == '}')
			g->state = ESCAPED;
		else
			keep(g, c);
		return;
	case ESCAPED:
		g->sum = (uint8_t)(g->sum + (uint8_t)c);
		keep(g, (char)(c ^ 0x20));
		g->state = BODY;
		return;
	case SUM1:
		g->said = (uint8_t)((digit(c) & 15) << 4);
		g->state = SUM2;
		return;
	case SUM2:
		g->said |= (uint8_t)(digit(c) & 15);
		g->state = IDLE;
		packet_end(g, out);
		return;
	}
}

bool gdb_feed(struct gdb *g, const void *p, size_t n, struct buf *out)
{
	if (!g->attached && !g->gone) attach(g);
	for (size_t i = 0; i < n && !g->gone; i++) take(g, ((const char *)p)[i], out);
	return !g->gone;
}
