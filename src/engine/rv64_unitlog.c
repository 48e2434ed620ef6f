/* A unit as text: the guest's instructions, what became of them, and the host's. */
#include "engine/rv64_unitlog.h"
#include "engine/rv64_cpu.h"
#include "engine/rv64_region.h"
#include "engine/unitlog.h"
#include "ir/ir.h"
#include "jit/jit.h"

enum { HALVES = REGION_PAGES * PAGE_SLOTS };
static gva_t pc_of(gva_t page, unsigned half) { return page - PAGE_SIZE + 2 * half; }

static bool wanted(const struct unitlog *log, gva_t page, const struct region *r)
{
	for (unsigned i = 0; i < HALVES; i++)
		if (r->at[i] && unitlog_wants(log, pc_of(page, i))) return true;
	return false;
}

/* Addresses, > where a block begins, bits, words. Gaps are not in the unit. */
static void print_guest(FILE *out, gva_t page, const struct region *r)
{
	char text[96];
	for (unsigned i = 0; i < HALVES; i++) {
		if (!r->at[i]) continue;
		const struct rv64_insn *insn = &r->insn[r->at[i] - 1];
		const uint8_t *raw = &r->page[i / PAGE_SLOTS]->raw[2 * (i % PAGE_SLOTS)];
		gva_t pc = pc_of(page, i);
		(void)rv64_format(text, sizeof(text), insn, pc);
		(void)fprintf(out, "%16llx %c %0*llx%*s  %s\n", (unsigned long long)pc,
			      r->block_at[i] ? '>' : ' ', 2 * insn->len,
			      (unsigned long long)load_le(raw, insn->len), 8 - 2 * insn->len, "",
			      text);
	}
}

void rv64_unit_log(struct unitlog *log, const struct rv64_cpu *c, const struct rv64_unit *u)
{
	gva_t page = c->pc & PAGE_MASK;
	struct unit_about about = {.vcpu = c->id,
				   .pc = page + (unsigned)u->region->block[0].off,
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
