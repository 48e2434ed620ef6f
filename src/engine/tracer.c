/* A kernel's developer wants to see what the CPU really did. The engine tells of each instruction
 * before it is executed; the line is kept until it is known what became of it, so that registers
 * stand behind it, and traps below. */
#include "engine/tracer.h"
#include "base/buf.h"
#include "base/own.h"
#include "engine/inspect.h"
#include "engine/symbols.h"
#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INSN = 1, EXEC = 2, REGS = 4, INT = 8, CSR = 16, STEPS = INSN | EXEC | CSR };
enum { TEXT_LEN = 160, FILE_BUFFER = 256 << 10, MORE = 1 << 16 };
#define SIZE_USUAL GIB
struct tracer {
	unsigned events, levels; /* levels 0: all */
	gva_t from, to;		 /* both included */
	char *name;		 /* WHERE, until it is looked up; NULL */
	uint64_t cpu, skip, count, size;
	bool one_cpu;
	char *buffer; /* out's */
	const struct symbols *symbols;
	pthread_mutex_t lock; /* guards what follows */
	FILE *out;
	uint64_t written, seen;
	_Atomic bool over;
};
struct tracer_cpu {
	struct tracer *t;
	unsigned cpu;
	gva_t next;   /* behind the last one, if that was looked at */
	bool pending; /* insn has begun */
	bool tell;    /* and is wanted */
	struct buf line;
	struct tracer_insn insn;
	char text[TEXT_LEN];
	unsigned len;
	uint64_t was[2][32];
};

/* ---- words */
static bool hex(const char **p, gva_t *to)
{
	char *end;
	if (!isdigit((unsigned char)**p)) return false;
	*to = strtoull(*p, &end, 16);
	*p = end;
	return true;
}

static int where_parse(struct tracer *t, const char *text, struct err *e)
{
	const char *p = text;
	if (!isdigit((unsigned char)*text)) {
		free(t->name);
		t->name = strdup(text);
		must(t->name);
		return *text ? 0 : fail(e, -EINVAL, "trace: where? An address or a function");
	}
	bool ok = hex(&p, &t->from);
	t->to = t->from;
	if (ok && *p == '-') {
		p++;
		ok = hex(&p, &t->to);
	}
	if (ok && !*p && t->to >= t->from) return 0;
	return fail(e, -EINVAL, "trace: '%s' is no address, such as 80200000 or 1000-2fff", text);
}

static int number_parse(uint64_t *to, const char *text, struct err *e)
{
	static const char units[] = "kmg";
	char *end;
	uint64_t n = strtoull(text, &end, 10);
	const char *unit = *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
	if (unit) end++;
	if (!isdigit((unsigned char)*text) || *end || n > UINT32_MAX)
		return fail(e, -EINVAL, "trace: '%s' is not a number, such as 1000 or 10M", text);
	for (long i = unit ? unit - units : -1; i >= 0; i--) n *= 1024;
	*to = n;
	return 0;
}

static int event_add(struct tracer *t, const char *word, const char *value, struct err *e)
{
	static const char *const names[] = {"insn", "exec", "regs", "int", "csr"};
	static const char *const levels[] = {"user", "kernel", "machine"};
	for (unsigned i = 0; i < COUNT(names); i++)
		if (!strcmp(word, names[i]) && (!value || i < 2)) {
			t->events |= 1u << i;
			return value ? where_parse(t, value, e) : 0;
		}
	for (unsigned i = 0; i < COUNT(levels); i++)
		if (!strcmp(word, levels[i]) && !value) return t->levels |= 1u << i, 0;
	return fail(e, -EINVAL,
		    "trace: '%s%s%s': there are insn[=WHERE] exec[=WHERE] regs int csr, "
		    "user kernel machine, cpu=N skip=N count=N size=SIZE",
		    word, value ? "=" : "", value ? value : "");
}

static int word_parse(struct tracer *t, char *word, struct err *e)
{
	char *value = strchr(word, '=');
	if (value) *value++ = 0;
	if (value && !strcmp(word, "cpu")) t->one_cpu = true;
	uint64_t *to = !strcmp(word, "cpu")	? &t->cpu
		       : !strcmp(word, "skip")	? &t->skip
		       : !strcmp(word, "count") ? &t->count
		       : !strcmp(word, "size")	? &t->size
						: NULL;
	return to && value ? number_parse(to, value, e) : event_add(t, word, value, e);
}

static int words_parse(struct tracer *t, const char *what, struct err *e)
{
	auto_mem char *all = strdup(what);
	must(all);
	char *rest = all;
	int r = 0;
	for (char *one; !r && (one = strsep(&rest, ","));) r = word_parse(t, one, e);
	if (!r && !(t->events & (INSN | EXEC | INT | CSR)))
		r = fail(e, -EINVAL, "trace: of what? insn, exec, int or csr");
	if (!r && t->events & REGS && !(t->events & (INSN | EXEC)))
		r = fail(e, -EINVAL, "trace: regs are told of with insn or exec");
	if (!r && (t->skip || t->count) && !(t->events & (INSN | EXEC)))
		r = fail(e, -EINVAL, "trace: skip and count are of insn or exec");
	if (!r && t->size < MORE) r = fail(e, -EINVAL, "trace: size is less than 64k");
	return r;
}

/* ---- the file */
static int file_open(struct tracer *t, const char *file, struct err *e)
{
	int fd = file ? -1 : dup(STDERR_FILENO);
	t->out = file ? fopen(file, "we") : fd >= 0 ? fdopen(fd, "we") : NULL;
	if (!t->out) {
		drop_fd(&fd);
		return fail(e, -errno, "trace: %s: %s", file ? file : "stderr", strerror(errno));
	}
	t->buffer = malloc(FILE_BUFFER); /* so that nothing is asked of the file later */
	must(t->buffer);
	(void)setvbuf(t->out, t->buffer, file ? _IOFBF : _IOLBF, FILE_BUFFER);
	return 0;
}

int tracer_open(struct tracer **out, const char *what, const char *file, struct err *e)
{
	struct tracer *t = calloc(1, sizeof(*t));
	must(t && !pthread_mutex_init(&t->lock, NULL));
	t->to = UINT64_MAX;
	t->size = SIZE_USUAL;
	int r = words_parse(t, what, e);
	if (!r) r = file_open(t, file, e);
	if (r)
		tracer_close(t);
	else
		*out = t;
	return r;
}

int tracer_name(struct tracer *t, const struct symbols *s, struct err *e)
{
	t->symbols = s;
	if (!t->name || symbols_range(s, t->name, &t->from, &t->to)) return 0;
	return fail(e, -ENOENT,
		    symbols_count(s) ? "trace: nothing here is called '%s'"
				     : "trace: '%s': nothing tells names: see --symbols",
		    t->name);
}

void tracer_close(struct tracer *t)
{
	if (!t) return;
	if (t->out) (void)fclose(t->out);
	(void)pthread_mutex_destroy(&t->lock);
	free(t->buffer);
	free(t->name);
	free(t);
}

static void end(struct tracer *t, const char *why)
{
	(void)fprintf(t->out, "# no more: %s\n", why);
	(void)fflush(t->out);
	atomic_store(&t->over, true);
}

static void write_line(struct tracer *t, struct buf *b)
{
	(void)pthread_mutex_lock(&t->lock);
	if (!atomic_load(&t->over)) {
		(void)fwrite(b->at, 1, b->len, t->out);
		(void)fputc('\n', t->out);
		t->written += b->len + 1;
		if (t->written >= t->size) end(t, "the file is as large as may be");
	}
	(void)pthread_mutex_unlock(&t->lock);
	b->len = 0;
}

/* ---- a CPU */
struct tracer_cpu *tracer_cpu_new(struct tracer *t, unsigned cpu)
{
	if (!t || (t->one_cpu && t->cpu != cpu)) return NULL;
	struct tracer_cpu *c = calloc(1, sizeof(*c));
	must(c);
	c->t = t;
	c->cpu = cpu;
	return c;
}

void tracer_cpu_free(struct tracer_cpu *c)
{
	if (!c) return;
	tracer_done(c);
	buf_done(&c->line);
	free(c);
}

bool tracer_steps(const struct tracer_cpu *c)
{
	return c && c->t->events & STEPS &&
	       !atomic_load_explicit(&c->t->over, memory_order_relaxed);
}
bool tracer_wants_csr(const struct tracer_cpu *c) { return c->t->events & CSR; }

bool tracer_wants(struct tracer_cpu *c, enum tracer_level level, gva_t pc)
{
	const struct tracer *t = c->t;
	bool in = (!t->levels || t->levels >> level & 1) && pc >= t->from && pc <= t->to;
	if (in) return true;
	tracer_done(c);
	c->next = UINT64_MAX;
	return false;
}

/* Those that are wanted are counted; false: it is not this one's turn. */
static bool is_counted(struct tracer *t)
{
	if (!t->skip && !t->count) return true;
	(void)pthread_mutex_lock(&t->lock);
	uint64_t n = t->seen++;
	bool now = n >= t->skip && (!t->count || n - t->skip < t->count);
	if (t->count && n - t->skip == t->count && n > t->skip) end(t, "count");
	(void)pthread_mutex_unlock(&t->lock);
	return now;
}

static void put_insn(struct tracer_cpu *c)
{
	enum { COLUMN = 16 };
	static const char *const names[][3] = {{"U", "S", "M"}, {"U", "K", "K"}};
	const struct tracer_insn *i = &c->insn;
	char bytes[33] = "";
	uint64_t off = 0;
	unsigned n = c->len ? c->len : i->arch == ARCH_RV64 ? 2 : 1;
	for (unsigned k = 0; k < n && k < i->n; k++)
		(void)snprintf(bytes + 2 * k, 3, "%02x", i->code[k]);
	buf_fmt(&c->line, "%u %s %016llx %-*s %s", c->cpu, names[i->arch != ARCH_RV64][i->level],
		(unsigned long long)i->pc, COLUMN, bytes, c->text);
	const char *name = c->t->symbols ? symbols_find(c->t->symbols, i->pc, &off) : "";
	if (*name) buf_fmt(&c->line, " <%s+0x%llx>", name, (unsigned long long)off);
}

void tracer_begin(struct tracer_cpu *c, const struct tracer_insn *i)
{
	const struct tracer *t = c->t;
	tracer_done(c);
	bool follows = c->next == i->pc;
	c->insn = *i;
	c->next = UINT64_MAX;
	c->pending = t->events & (INSN | EXEC);
	if (!c->pending) return;
	c->len = inspect_instruction(i->arch, i->bits, i->pc, i->code, i->n, c->text,
				     sizeof(c->text));
	c->next = i->pc + (c->len ? c->len : 1);
	c->tell = t->events & INSN || !follows;
	for (unsigned k = 0; k < 2 && c->tell && t->events & REGS; k++)
		if (i->nreg[k]) memcpy(c->was[k], i->reg[k], i->nreg[k] * sizeof(uint64_t));
}

static void put_regs(struct tracer_cpu *c)
{
	const struct tracer_insn *i = &c->insn;
	const char *before = " ; ";
	for (unsigned k = 0; k < 2; k++)
		for (unsigned r = 0; r < i->nreg[k]; r++) {
			unsigned long long is = i->reg[k][r];
			if (is == c->was[k][r]) continue;
			buf_fmt(&c->line, "%s%s=0x%llx", before,
				inspect_register(i->arch, 32 * k + r), is);
			before = " ";
		}
}

void tracer_done(struct tracer_cpu *c)
{
	if (!c->pending) return;
	c->pending = false;
	if (!c->tell || !is_counted(c->t)) return;
	put_insn(c);
	if (c->t->events & REGS) put_regs(c);
	write_line(c->t, &c->line);
}

void tracer_drop(struct tracer_cpu *c)
{
	c->pending = false;
	c->next = UINT64_MAX;
}

/* ---- events */
static void __attribute__((format(printf, 3, 0)))
event(struct tracer_cpu *c, const char *what, const char *fmt, va_list ap)
{
	char text[TEXT_LEN];
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	buf_fmt(&c->line, "%u %s %s", c->cpu, what, text);
	write_line(c->t, &c->line);
}

void tracer_int(struct tracer_cpu *c, const char *fmt, ...)
{
	va_list ap;
	tracer_done(c);
	c->next = UINT64_MAX;
	if (!(c->t->events & INT)) return;
	va_start(ap, fmt);
	event(c, "int", fmt, ap);
	va_end(ap);
}

void tracer_csr(struct tracer_cpu *c, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	event(c, "csr", fmt, ap);
	va_end(ap);
}
