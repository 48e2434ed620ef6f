/* What an operating system's developer asks of a running guest. Everything that is read is the
 * guest's and may be nonsense: each list has an end of ours. */
#include "vm/show.h"
#include "base/buf.h"
#include "engine/engine.h"
#include "engine/inspect.h"
#include "engine/symbols.h"
#include "engine/x86_regs.h"
#include "guest/guest.h"
#include "hw/gmem.h"
#include "vm/debugger.h"
#include "vm/debugger_regs.h"
#include "vm/vm.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MEM_MOST = 65536, MEM_USUAL = 128, DIS_MOST = 1000, DIS_USUAL = 16, FRAMES = 64 };
#define IMAGE_MOST (192 * MIB)

struct show {
	struct symbols *symbols; /* NULL: not looked for yet */
};
struct look {
	struct vm *vm;
	struct hart *h;
	struct buf *out;
	const struct symbols *symbols;
	char word[4][32];
	unsigned n;
};

void show_free(struct show *s)
{
	if (s) symbols_free(s->symbols);
	free(s);
}

static bool is_rv64(const struct look *k) { return k->vm->guest->spec->arch == ARCH_RV64; }
static uint64_t pc_of(const struct look *k)
{
	return hart_get(k->h, is_rv64(k) ? (unsigned)REG_RV_PC : (unsigned)REG_X86_RIP);
}

/* x86: where rip is without paging. Elsewhere the same. */
static uint64_t linear_pc(const struct look *k)
{
	if (is_rv64(k)) return pc_of(k);
	uint64_t access = hart_get(k->h, REG_X86_SEG + 4 + SEG_ACCESS);
	bool is64 = hart_get(k->h, REG_X86_EFER) & 1 << 10 && access & 1 << 13;
	return is64 ? pc_of(k) : pc_of(k) + hart_get(k->h, REG_X86_SEG + 4 + SEG_BASE);
}

static unsigned code_bits(const struct look *k)
{
	if (is_rv64(k)) return 64;
	uint64_t access = hart_get(k->h, REG_X86_SEG + 4 + SEG_ACCESS);
	if (hart_get(k->h, REG_X86_EFER) & 1 << 10 && access & 1 << 13) return 64;
	return access & 1 << 14 ? 32 : 16;
}

/* ---- names ---- */
/* Somewhere in the kernel: where the CPU is, or where system calls and traps go. */
static gva_t kernel_place(const struct look *k)
{
	enum { STVEC = 0x105 };
	gpa_t at;
	gva_t va = is_rv64(k) ? hart_get(k->h, REG_RV_CSR + STVEC)
			      : hart_get(k->h, REG_X86_MSR + 0xc0000082u);
	return va && k->vm->ops->peek(k->h->cpu, va, &at) ? va : pc_of(k);
}

/* What it calls its functions lies behind its code. */
static void read_image(const struct look *k, struct symbols *to)
{
	struct gmem_region r;
	gpa_t at;
	if (!k->vm->ops->peek(k->h->cpu, kernel_place(k), &at)) return;
	for (unsigned i = 0; gmem_region(k->vm->mem, i, &r); i++) {
		if (at < r.base || at - r.base >= r.len) continue;
		uint64_t skip = (at - r.base) & ~(uint64_t)4095, len = r.len - skip;
		(void)symbols_image(to, (char *)r.host + skip, len < IMAGE_MOST ? len : IMAGE_MOST,
				    NULL);
	}
}

static void find_symbols(struct look *k)
{
	struct show *s = k->vm->show;
	if (!s) s = k->vm->show = calloc(1, sizeof(*s));
	must(s);
	if (s->symbols && symbols_count(s->symbols)) {
		k->symbols = s->symbols;
		return;
	}
	symbols_free(s->symbols);
	k->symbols = s->symbols = symbols_new();
	if (k->vm->guest->spec->symbols)
		(void)symbols_read(s->symbols, k->vm->guest->spec->symbols, NULL);
	else if (k->vm->ops->peek)
		read_image(k, s->symbols);
}

static void put_name(const struct look *k, gva_t va)
{
	uint64_t off;
	const char *name = symbols_find(k->symbols, va, &off);
	if (*name) buf_fmt(k->out, " %s+0x%llx", name, (unsigned long long)off);
}

/* ---- registers ---- */
static void put_reg(const struct look *k, const struct debugger_regs *all, unsigned i)
{
	uint8_t v[16];
	unsigned n = debugger_reg_get(all, k->h, i, v);
	buf_fmt(k->out, "%-10s ", all->reg[i].name);
	while (n--) buf_fmt(k->out, "%02x", v[n]);
}

static int show_regs(struct look *k, struct err *e)
{
	struct debugger_regs *all = malloc(sizeof(*all));
	bool whole = k->n > 1 && !strcmp(k->word[1], "all");
	unsigned column = 0;
	must(all);
	if (k->n > 1 && !whole) {
		free(all);
		return fail(e, -EINVAL, "regs: only 'all' may follow");
	}
	debugger_regs_init(all, k->h, k->vm->guest->spec->arch);
	for (unsigned i = 0; i < all->n; i++) {
		const struct debugger_reg *r = &all->reg[i];
		bool general = strstr(r->feature, ".core") || strstr(r->feature, ".cpu") ||
			       strstr(r->feature, "system") || strstr(r->feature, "virtual");
		if (!whole && (r->how != REG_PLAIN || !general)) continue;
		if (column++ && (column - 1) % 3 == 0) buf_fmt(k->out, "\n");
		if ((column - 1) % 3) buf_fmt(k->out, "   ");
		put_reg(k, all, i);
	}
	buf_fmt(k->out, "\n");
	free(all);
	return 0;
}

/* ---- memory ---- */
static void put_line(const struct look *k, uint64_t at, const uint8_t *p, size_t n)
{
	buf_fmt(k->out, "%016llx ", (unsigned long long)at);
	for (size_t i = 0; i < 16; i++) {
		if (i < n)
			buf_fmt(k->out, "%s%02x", i == 8 ? "  " : " ", p[i]);
		else
			buf_fmt(k->out, "%s  ", i == 8 ? "  " : " ");
	}
	buf_fmt(k->out, "  |");
	for (size_t i = 0; i < n; i++)
		buf_fmt(k->out, "%c", p[i] >= ' ' && p[i] < 127 ? p[i] : '.');
	buf_fmt(k->out, "|\n");
}

static int take_number(const char *word, uint64_t *to, struct err *e)
{
	char *end;
	errno = 0;
	*to = strtoull(word, &end, 0);
	if (!isdigit((unsigned char)*word) || *end || errno)
		return fail(e, -EINVAL, "'%s' is no number; hexadecimal ones begin with 0x", word);
	return 0;
}

static int show_mem(struct look *k, struct err *e)
{
	bool physical = !strcmp(k->word[0], "phys");
	uint64_t at, len = MEM_USUAL;
	uint8_t line[16];
	if (k->n < 2) return fail(e, -EINVAL, "%s: of which address?", k->word[0]);
	int r = take_number(k->word[1], &at, e);
	if (!r && k->n > 2) r = take_number(k->word[2], &len, e);
	if (r) return r;
	if (!physical && !k->vm->ops->peek)
		return fail(e, -ENOTSUP, "mem: engine %s translates no addresses; try phys",
			    k->vm->ops->name);
	if (len > MEM_MOST) len = MEM_MOST;
	for (uint64_t i = 0; i < len; i += 16) {
		size_t want = len - i < 16 ? len - i : 16;
		size_t got = debugger_read(k->h, at + i, physical, line, want);
		if (got) put_line(k, at + i, line, got);
		if (got == want) continue;
		return i + got ? 0
			       : fail(e, -EFAULT, "nothing is at 0x%llx", (unsigned long long)at);
	}
	return 0;
}

/* ---- code ---- */
static int show_dis(struct look *k, struct err *e)
{
	uint64_t at = linear_pc(k), count = DIS_USUAL;
	int r = k->n > 1 ? take_number(k->word[1], &at, e) : 0;
	if (!r && k->n > 2) r = take_number(k->word[2], &count, e);
	if (r) return r;
	find_symbols(k);
	if (count > DIS_MOST) count = DIS_MOST;
	while (count--) {
		uint8_t code[16];
		char text[128];
		size_t n = debugger_read(k->h, at, false, code, 15);
		if (!n) break;
		unsigned len = inspect_instruction(k->vm->guest->spec->arch, code_bits(k), at, code,
						   n, text, sizeof(text));
		buf_fmt(k->out, "%s%016llx", at == linear_pc(k) ? "> " : "  ",
			(unsigned long long)at);
		put_name(k, at);
		buf_fmt(k->out, ":  %s\n", text);
		at += len ? len : is_rv64(k) ? 2 : 1;
	}
	return k->out->len ? 0 : fail(e, -EFAULT, "nothing is at 0x%llx", (unsigned long long)at);
}

/* ---- calls ---- */
static void put_frame(const struct look *k, unsigned i, gva_t pc, bool guess)
{
	buf_fmt(k->out, "#%-2u %s%016llx", i, guess ? "? " : "  ", (unsigned long long)pc);
	put_name(k, guess || i ? pc - 1 : pc);
	buf_fmt(k->out, "\n");
}

/* Two words by the frame pointer: that of the caller, and where it goes on. */
static bool next_frame(const struct look *k, uint64_t *fp, gva_t *pc)
{
	uint64_t w[2], at = is_rv64(k) ? *fp - 16 : *fp, was = *fp;
	if (was & 7 || debugger_read(k->h, at, false, w, sizeof(w)) != sizeof(w)) return false;
	*fp = w[0];
	*pc = w[1];
	return *pc && *fp > was && *fp - was < MIB;
}

/* A kernel may have been built without frame pointers: what on the stack could be a return. */
static void guess_frames(const struct look *k, uint64_t sp, unsigned i)
{
	enum { DEEP = 512 };
	for (unsigned n = 0; n < DEEP && i < FRAMES; n++, sp += 8) {
		uint64_t word, off;
		if (debugger_read(k->h, sp & ~7ull, false, &word, 8) != 8) return;
		if (word >> 63 && *symbols_find(k->symbols, word, &off) && off && off < 65536)
			put_frame(k, i++, word, true);
	}
}

static int show_backtrace(struct look *k, struct err *e)
{
	enum { RV_SP = 2, RV_FP = 8, X86_SP = 4, X86_BP = 5 };
	uint64_t fp = hart_get(k->h, is_rv64(k) ? REG_RV_X + RV_FP : REG_X86_GPR + X86_BP);
	uint64_t sp = hart_get(k->h, is_rv64(k) ? REG_RV_X + RV_SP : REG_X86_GPR + X86_SP);
	gva_t pc = linear_pc(k);
	unsigned i = 0;
	(void)e;
	find_symbols(k);
	put_frame(k, i++, pc, false);
	while (i < FRAMES && next_frame(k, &fp, &pc)) put_frame(k, i++, pc, false);
	if (i < 3) guess_frames(k, sp, i);
	return 0;
}

static int show_tables(struct look *k, struct err *e)
{
	uint64_t va;
	if (k->n < 2) return show_pages(k->h, k->out, e);
	int r = take_number(k->word[1], &va, e);
	return r ? r : show_page(k->h, va, k->out, e);
}

/* ---- words ---- */
static const struct topic {
	const char *name;
	int (*show)(struct look *k, struct err *e);
	bool memory; /* as CPUs see it */
} topics[] = {
	{"regs", show_regs, false},	     {"mem", show_mem, false},
	{"phys", show_mem, false},	     {"dis", show_dis, true},
	{"backtrace", show_backtrace, true}, {"bt", show_backtrace, true},
	{"pagetable", show_tables, false},
};

static int split(struct look *k, const char *words, struct err *e)
{
	for (k->n = 0; *words; k->n++) {
		size_t n = strcspn(words, " ");
		if (k->n == COUNT(k->word) || n >= sizeof(k->word[0]))
			return fail(e, -EINVAL, "too many words, or too long ones");
		memcpy(k->word[k->n], words, n);
		k->word[k->n][n] = 0;
		words += n;
		words += strspn(words, " ");
	}
	return 0;
}

static const struct topic *topic_find(const char *name)
{
	for (unsigned i = 0; i < COUNT(topics); i++)
		if (!strcmp(topics[i].name, name)) return &topics[i];
	return NULL;
}

static int show_one(struct look *k, struct err *e)
{
	const struct topic *t = k->n ? topic_find(k->word[0]) : NULL;
	if (!t)
		return fail(e, -EINVAL,
			    "there are: regs [all], mem ADDR [LEN], phys ADDR [LEN], "
			    "dis [ADDR [COUNT]], backtrace, pagetable [ADDR]");
	if (t->memory && !k->vm->ops->peek)
		return fail(e, -ENOTSUP, "%s: engine %s translates no addresses", t->name,
			    k->vm->ops->name);
	return t->show(k, e);
}

/* "cpu N" in front. */
static int take_cpu(const char **words, const struct vm *vm, unsigned *cpu, struct err *e)
{
	char *end;
	*words += strspn(*words, " ");
	if (strncmp(*words, "cpu ", 4) != 0) return 0;
	unsigned long n = strtoul(*words + 4, &end, 10);
	if (!isdigit((unsigned char)(*words)[4]) || (*end && *end != ' ') || n >= vm->ncpus)
		return fail(e, -EINVAL, "cpu: there are 0 to %u", vm->ncpus - 1);
	*cpu = (unsigned)n;
	*words = end + strspn(end, " ");
	return 0;
}

int show_words(struct vm *vm, unsigned cpu, const char *words, struct buf *out, struct err *e)
{
	int r = take_cpu(&words, vm, &cpu, e);
	struct look k = {.vm = vm, .h = &vm->hart[cpu], .out = out};
	if (!r) r = split(&k, words, e);
	if (r) return r;
	vm_freeze(vm, VM_HELD_TO_LOOK);
	r = show_one(&k, e);
	vm_thaw(vm, VM_HELD_TO_LOOK);
	return r;
}
