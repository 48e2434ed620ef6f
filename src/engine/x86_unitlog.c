/* A block as text: each of the guest's instructions, and below it what became of it. */
#include "engine/x86_unitlog.h"
#include "engine/unitlog.h"
#include "engine/x86_block.h"
#include "jit/x64/dump.h"

static bool wanted(const struct unitlog *log, const struct tr *t, gva_t page)
{
	for (unsigned k = 0; k < t->n; k++)
		if (unitlog_wants(log, page + t->i[k].off)) return true;
	return false;
}
static void print_host(const struct tr *t, const uint8_t *from, const uint8_t *to, FILE *out)
{
	size_t n = 1;
	for (; n && from < to; from += n) {
		(void)fputs("        ", out);
		n = x64_dump_insn(from, (size_t)(to - from), (uint64_t)(from - t->j->rw), out);
	}
}
static void print_guest(const struct insn *i, gva_t page, FILE *out)
{
	(void)fputs("> ", out);
	(void)x64_dump_insn(i->bytes, i->in.len, page + i->off, out);
}

void x86_unit_log(const struct tr *t, const struct x86_block *b)
{
	struct x86_jit *j = t->j;
	struct unitlog *log = j->v->machine->env.log;
	gva_t page = j->v->cpu.rip & ~(uint64_t)(X86_PAGE - 1);
	const uint8_t *end = t->hot_end, *next = j->rw + b->code;
	struct unit_about about = {.vcpu = j->v->id,
				   .pc = page + t->start,
				   .user = (b->variant & 3) == X86_VIEW_USER,
				   .code = x86_rx(j, b->code),
				   .size = (size_t)(end - next)};
	unitlog_add(log, &about);
	if (!wanted(log, t, page)) return;
	FILE *out = unitlog_begin(log, &about, t->n);
	for (unsigned k = 0; k <= t->n; k++) {
		print_host(t, next, t->i[k].host, out);
		next = t->i[k].host;
		if (k < t->n) print_guest(&t->i[k], page, out);
	}
	print_host(t, next, end, out);
	unitlog_end(log);
}
