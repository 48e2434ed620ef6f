/* Any instructions, translated: a page of code from the input runs under the check engine, which
 * does each unit again by the interpreter and compares. Registers point into memory more often than
 * not, branches stay near, and the code is entered at several places. */
#include "engine/rig.h"
#include "engine/rv64_jit.h"
#include <stdio.h>

enum { WORDS = 200, ENTRIES = 4, DATA = 0x10000 };

/* Most branches and jumps would leave the page: have them stay within 64 bytes. */
static uint32_t tame(uint32_t w)
{
	struct rv64_insn i;
	rv64_decode(&i, w);
	int32_t near = (int32_t)(w >> 7 & 0x3e) - 32;
	switch ((enum rv64_op)i.op) {
	case OP_beq:
	case OP_bne:
	case OP_blt:
	case OP_bge:
	case OP_bltu:
	case OP_bgeu:
	case OP_jal: i.imm = near & ~3; return rv64_encode((enum rv64_op)i.op, &i);
	case OP_wfi:
	case OP_ecall: return 0x13;
	default: return w;
	}
}

static void fill(struct rig *r, const uint8_t *data, size_t size)
{
	for (unsigned k = 0; k < WORDS; k++) {
		uint32_t w = 0x13;
		if (size >= 4) memcpy(&w, data, 4), data += 4, size -= 4;
		rig_word(r, tame(w));
	}
	rig_stop(r, 5);
	for (unsigned k = 1; k < 32; k++) {
		uint64_t v = RIG_RAM + DATA + k * 264;
		if (size >= 8) {
			uint64_t d;
			memcpy(&d, data, 8), data += 8, size -= 8;
			v = d & 1 ? v + (d >> 8 & 0xfff8) : d >> 1;
		}
		r->c->x[k] = v;
		r->c->f[k] = v & 2 ? v | 0xffffffff00000000 : v;
	}
}

/* As if it all had run before, and often. */
static void enter(struct rig *r, unsigned off)
{
	r->c->pc = RIG_RAM + off;
	const struct slot *ip = rv64_code_enter(r->c);
	if (!ip) return;
	const struct code_page *p = code_page_of(ip);
	for (unsigned k = 0; k < 2 * WORDS; k++)
		if (p->slot[k].fn == rv64_op_decode) rv64_code_decode(&p->slot[k]);
	r->c->hot = true;
	atomic_store(&r->c->poll, 0);
	fp_enter(&r->c->fp);
	for (int k = 0; k < 20; k++) {
		rv64_step(r->c);
		if (atomic_load(&r->c->poll)) break;
	}
	fp_leave(&r->c->fp);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e;
	const char *words = "";
	struct rig *r = rig_new(false);
	int bad = rv64_jit_new(r->c, 1 << 20, JIT_CHECK, size & 1, &e);
	must(!bad);
	fill(r, data, size);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_MSTATUS, MSTATUS_FS);
	(void)rv64_cpu_set(r->c, REG_RV_CSR + CSR_FRM, size % 5);
	for (unsigned k = 0; k < ENTRIES; k++) enter(r, k * 4 * (WORDS / ENTRIES));
	if (rv64_jit_wrong(r->c->jit, &words)) {
		fprintf(stderr, "%s\n", words);
		abort();
	}
	rig_free(r);
	return 0;
}
