/* A unit as text: the guest's instructions, what became of them, and the host's. */
#include "engine/rv64_unitlog.h"
#include "engine/rv64_cpu.h"
#include "engine/rv64_region.h"
#include "engine/unitlog.h"
#include "ir/ir.h"
#include "jit/jit.h"

enum { FIRST = -REGION_BYTES, END = (REGION_PAGES - 1) * REGION_BYTES };

static bool wanted(const struct unitlog *log, gva_t page, const struct region *r)
{
	for (int off = FIRST; off < END; off += 2)
		if (r->at[region_half(off)] && unitlog_wants(log, page + (uint64_t)off))
			return true;
	return false;
}

static unsigned half_at(const struct region *r, int off)
{
	const struct code_page *p = r->page[region_page(off)];
	return p ? (unsigned)load_le(&p->raw[off & (REGION_BYTES - 1)], 2) : 0;
}

/* Addresses, > where a block begins, bits, words. Gaps are not in the unit. */
static void print_guest(FILE *out, gva_t page, const struct region *r)
{
	char text[96];
	for (int off = FIRST; off < END; off += 2) {
		unsigned half = (unsigned)region_half(off), bits;
		if (!r->at[half]) continue;
		const struct rv64_insn *insn = region_insn(r, off);
		gva_t pc = page + (uint64_t)off;
		(void)rv64_format(text, sizeof(text), insn, pc);
		bits = half_at(r, off);
		if (insn->len == 4 && off + 2 < END) bits |= half_at(r, off + 2) << 16;
		(void)fprintf(out, "%16llx %c %0*x%*s  %s\n", (unsigned long long)pc,
			      r->block_at[half] ? '>' : ' ', 2 * insn->len, bits, 8 - 2 * insn->len,
			      "", text);
	}
}

void rv64_unit_log(struct unitlog *log, const struct rv64_cpu *c, const struct rv64_unit *u)
{
	gva_t page = c->base;
	struct unit_about about = {.vcpu = c->id,
				   .pc = page + (uint64_t)u->region->block[0].off,
				   .user = c->priv == PRIV_U,
				   .code = jit_entry(u->unit),
				   .size = jit_size(u->unit)};
	unitlog_add(log, &about);
	if (!wanted(log, page, u->region)) return;
	FILE *out = unitlog_begin(log, &about, (unsigned)u->region->insns);
	(void)fputs("-- guest\n", out);
	print_guest(out, page, u->region);
	(void)fputs("-- ir\n", out);
	ir_print(u->ir, out);
	(void)fputs("-- host\n", out);
	jit_dump(u->cache, u->unit, out);
	unitlog_end(log);
}
