/* Programs of user code that go anywhere: all kinds of instructions on any registers, in slots of
 * 16 bytes; each exception is noted by the kernel, which goes on with the next slot. By the
 * interpreter, by translated code with and without a window, and directly: what comes out must be
 * the same.
 */
#include "engine/x86_code.h"
#include "engine/x86_jit.h"
#include "engine/x86_rig.h"
#include "isa/x86/random_test.h"
#include <stdio.h>

enum {
	GDT = 0x2000,
	IDT = 0x3000,
	TSS = 0x4000,
	STUBS = 0x5000,
	COMMON = 0x6000,
	SERVICE = 0x6100,
	END = 0x6200,
	VARS = 0x7000, /* noted, traps, base, length, and how often code may go back */
	NOTED = VARS,
	TRAPS = VARS + 8,
	BASE = VARS + 16,
	LENGTH = VARS + 24,
	FIRST = 0x8000, /* where the kernel begins */
	DATA = 0x200000,
	PAGES = 16,
	CODE = 0x300000,
	CODE_PAGES = 4,
	COUNTER = DATA + PAGES * X86_PAGE, /* a user page of its own, at COUNTER_LA */
	COUNTER_LA = 0x30000000,
	SLOT = 16,
	SLOTS = 120,
	RIGS = 4,
	FLIP = 2, /* the page that the service maps anew */
};
/* Where the data is seen: at both ends of the window's parts, beyond them, in the kernel's reach.
 */
static const uint64_t view[] = {0x10000000,	0x80000000 - PAGES / 2 * X86_PAGE,
				0x100000000,	0x103ffc000,
				0x54ffffff8000, 0x560000000000,
				0x7fffffff0000, 0x8000000000};
static const uint64_t code_at[] = {0x20000000, 0x555555554000, 0x7ffff7fd0000, 0x400000000};

#define NX (1ull << 63)

static gpa_t flips[2];
static void store(struct x86_rig *r, gpa_t at, uint64_t val) { x86_rig_put(r, at, val, 8); }
static void map_all(struct x86_rig *r)
{
	for (unsigned k = 0; k < X86_RIG_RAM / X86_PAGE; k++)
		x86_rig_map(r, k * X86_PAGE, k * X86_PAGE, 3, 0);
	for (unsigned n = 0; n < COUNT(view); n++)
		for (unsigned k = 0; k < PAGES; k++) {
			/* one is missing, one is for reading, one is the kernel's, one a device */
			uint64_t bits = k == 5 ? 0 : k == 7 ? 5 : k == 9 ? 3 : 7;
			uint64_t to = k == 11 ? X86_RIG_DEVICE : DATA + k * X86_PAGE;
			gpa_t at = x86_rig_map(r, view[n] + k * X86_PAGE, to, bits | NX, 0);
			if (k == FLIP && (n == 0 || n == 5)) flips[n == 5] = at;
		}
	for (unsigned n = 0; n < COUNT(code_at); n++)
		for (unsigned k = 0; k < CODE_PAGES; k++)
			x86_rig_map(r, code_at[n] + k * X86_PAGE, CODE + k * X86_PAGE, 5, 0);
	x86_rig_map(r, COUNTER_LA, COUNTER, 7, 0);
}
static void gate(struct x86_rig *r, unsigned vector, uint64_t to)
{
	store(r, IDT + 16 * vector,
	      (to & 0xffff) | 8 << 16 | 0xeeull << 40 | (to >> 16 & 0xffff) << 48);
	store(r, IDT + 16 * vector + 8, to >> 32);
}
#define A32(a) (uint8_t)(a), (uint8_t)((a) >> 8), (uint8_t)((a) >> 16), (uint8_t)((a) >> 24)
static void jmp(struct x86_rig *r, gpa_t to)
{
	uint32_t d = (uint32_t)(to - (r->at + 5));
	X86_RIG_CODE(r, 0xe9, A32(d));
}
static void kernel(struct x86_rig *r)
{
	enum { HAS_CODE = 1 << 8 | 1 << 10 | 1 << 11 | 1 << 12 | 1 << 13 | 1 << 14 | 1 << 17 };
	for (unsigned k = 0; k < 33; k++) {
		gate(r, k, k == 32 ? (uint64_t)SERVICE : STUBS + 16u * k);
		r->at = STUBS + 16 * k;
		if (k == 32 || !(HAS_CODE >> k & 1)) X86_RIG_CODE(r, 0x6a, 0);
		X86_RIG_CODE(r, 0x6a, (uint8_t)k);
		jmp(r, COMMON);
	}
	r->at = COMMON; /* push rax; rax = error code + vector + rip */
	X86_RIG_CODE(r, 0x50, 0x48, 0x8b, 0x44, 0x24, 16, 0x48, 0x03, 0x44, 0x24, 8);
	X86_RIG_CODE(r, 0x48, 0x03, 0x44, 0x24, 24);
	X86_RIG_CODE(r, 0x48, 0x31, 0x04, 0x25, A32(NOTED));		 /* xor [NOTED], rax */
	X86_RIG_CODE(r, 0x0f, 0x20, 0xd0);				 /* mov rax, cr2 */
	X86_RIG_CODE(r, 0x48, 0x01, 0x04, 0x25, A32(NOTED));		 /* add [NOTED], rax */
	X86_RIG_CODE(r, 0x48, 0xc1, 0x04, 0x25, A32(NOTED), 7);		 /* rol [NOTED], 7 */
	X86_RIG_CODE(r, 0x48, 0xff, 0x04, 0x25, A32(TRAPS));		 /* inc [TRAPS] */
	X86_RIG_CODE(r, 0x48, 0x8b, 0x44, 0x24, 24);			 /* mov rax, [rsp + 24] */
	X86_RIG_CODE(r, 0x48, 0x2b, 0x04, 0x25, A32(BASE));		 /* sub rax, [BASE] */
	X86_RIG_CODE(r, 0x48, 0x83, 0xe0, 0xf0, 0x48, 0x83, 0xc0, SLOT); /* and; add */
	X86_RIG_CODE(r, 0x48, 0x3b, 0x04, 0x25, A32(LENGTH), 0x73, 31);	 /* cmp; jae */
	X86_RIG_CODE(r, 0x48, 0x03, 0x04, 0x25, A32(BASE));
	X86_RIG_CODE(r, 0x48, 0x89, 0x44, 0x24, 24);
	X86_RIG_CODE(r, 0xc7, 0x44, 0x24, 40, 0x02, 0x02, 0, 0); /* flags = 0x202 */
	X86_RIG_CODE(r, 0x48, 0x8b, 0x04, 0x24, 0x48, 0x83, 0xc4, 24, 0x48, 0xcf);
	X86_RIG_CODE(r, 0x90, 0x58); /* it is over: pop rax; mov al, 0x77; out */
	X86_RIG_CODE(r, 0xb0, 0x77, X86_RIG_HALT, 0xf4);
	r->at = SERVICE; /* the pages FLIP of two views are other ones */
	X86_RIG_CODE(r, 0x48, 0x81, 0x34, 0x25, A32((uint32_t)flips[0]), 0, 0x10, 0, 0);
	X86_RIG_CODE(r, 0x48, 0x81, 0x34, 0x25, A32((uint32_t)flips[1]), 0, 0x10, 0, 0);
	X86_RIG_CODE(r, 0x50, 0xb8, A32((uint32_t)view[0] + FLIP * X86_PAGE), 0x0f, 0x01, 0x38);
	X86_RIG_CODE(r, 0x48, 0xb8, A32((uint32_t)view[5] + FLIP * X86_PAGE));
	X86_RIG_CODE(r, A32((uint32_t)(view[5] >> 32)), 0x0f, 0x01, 0x38, 0x58, 0x48, 0xcf);
}
static struct x86_rig *rig(bool jit, enum windows windows, enum direct direct)
{
	struct x86_rig *r = x86_rig_new();
	struct x86_vcpu *v = r->v;
	r->m.env.windows = windows;
	r->m.env.direct = direct;
	x86_rig_flat(r, X86_64, 0);
	map_all(r);
	kernel(r);
	x86_rig_gdt(r, GDT, TSS);
	v->gdt.base = GDT, v->gdt.limit = X86_RIG_GDT_LIMIT;
	v->idt.base = IDT, v->idt.limit = 16 * 33 - 1;
	v->xcr0 = X86_XCR0;
	v->cr4 |= CR4_OSFXSR | CR4_OSXSAVE | CR4_OSXMMEXCPT | CR4_PGE | CR4_FSGSBASE | CR4_UMIP;
	v->efer |= EFER_SCE;
	x86_rig_paging(r);
	if (jit) {
		r->m.code_pages = (1ull << 32) >> X86_PAGE_SHIFT;
		r->m.code = calloc(r->m.code_pages, 1);
		must(r->m.code && !x86_jit_new(v, 4 << 20, X86_JIT_FAST, NULL));
	}
	return r;
}
static void done(struct x86_rig *r)
{
	_Atomic uint8_t *code = r->m.code;
	x86_rig_free(r);
	free((void *)code);
}

/* ---- programs */

struct program {
	uint8_t code[SLOTS * SLOT];
	uint64_t base;
	unsigned off;
};
static uint64_t address(void)
{
	static const uint64_t border[] = {
		1ull << 31, 1ull << 32, X86_HIGH_BEGIN,	    X86_HIGH_END,	0x104000000,
		0,	    0x10000,	0xffff800000000000, 0xffffffff80000000, 0xfffffffffffff000,
		1ull << 63, 0x400000};
	uint64_t r = next();
	uint64_t at = view[r % COUNT(view)] + (r >> 8) % (PAGES * X86_PAGE);
	switch (r >> 40 & 15) {
	case 0: return border[(r >> 8) % COUNT(border)] + (r >> 16) % 128 - 64;
	case 1: return next() >> (r & 63);
	case 2: return at | (X86_PAGE - 8);
	case 3: return view[r % COUNT(view)] + PAGES * X86_PAGE - (r >> 8) % 64;
	default: return r >> 44 & 1 ? at & ~31ull : at;
	}
}
static bool is_wanted(const struct x86_insn *in)
{
	for (unsigned k = 0; k < in->operands; k++)
		if (in->o[k].kind == X86_REL || in->o[k].kind == X86_FAR) return false;
	/* If the store faults, CPUs have set x87's TOP or MXCSR's flags already (SDM 2, VCVTPS2PH).
	 */
	bool early = in->o[1].kind == X86_MMX || in->op == X86_OP_vcvtps2ph;
	if (in->o[0].kind == X86_MEM && early) return false;
	/* CPUs have zero-extended their registers already if one faults. */
	if (in->rep && in->asize == 4) return false;
	/* The host keeps no more than 32 bits of RAX. */
	if (in->op == X86_OP_int && (uint8_t)in->imm == 0x80) return false;
	bool narrow = in->osize == 2; /* what these do is undefined */
	if (narrow && (in->op == X86_OP_bswap || in->op == X86_OP_shld || in->op == X86_OP_shrd))
		return false;
	switch (in->op) {
	case X86_OP_maskmovq: /* early, too */
	case X86_OP_lss:      /* finds more in this computer's GDT than in ours */
	case X86_OP_lfs:
	case X86_OP_lgs:
	case X86_OP_rdtsc:
	case X86_OP_rdtscp:
	case X86_OP_rdrand:
	case X86_OP_rdseed:
	case X86_OP_fldcw: /* what is not masked is another test's */
	case X86_OP_fldenv:
	case X86_OP_frstor:
	case X86_OP_fnstenv:
	case X86_OP_fnsave:
	case X86_OP_fxsave:
	case X86_OP_fxrstor:
	case X86_OP_xsave:
	case X86_OP_xsavec:
	case X86_OP_xsaveopt:
	case X86_OP_xrstor:
	case X86_OP_ldmxcsr:
	case X86_OP_vldmxcsr:
	case X86_OP_jmpi: /* anywhere */
	case X86_OP_calli:
	case X86_OP_ret:
	case X86_OP_retf:
	case X86_OP_iret:
	case X86_OP_syscall: /* what is there, is not a kernel for these */
	case X86_OP_sysenter:
	case X86_OP_sgdt: /* by direct execution, the host's kernel answers */
	case X86_OP_sidt:
	case X86_OP_sldt:
	case X86_OP_str:
	case X86_OP_smsw:
	case X86_OP_xabort:
	case X86_OP_xtest: /* nor is it hidden that the host has it */
	case X86_OP_lar:
	case X86_OP_verr:
	case X86_OP_verw: return false;
	default: return true;
	}
}
static bool leaves_flags_open(const struct x86_insn *in)
{
	return x86_op_info(in->op)->undefines || (in->op >= X86_OP_shl && in->op <= X86_OP_shrd);
}
static uint8_t *mov_const(uint8_t *p, unsigned reg, uint64_t val)
{
	*p++ = (uint8_t)(0x48 | reg >> 3);
	*p++ = (uint8_t)(0xb8 | (reg & 7));
	memcpy(p, &val, 8);
	return p + 8;
}
static void any_insn(uint8_t *p)
{
	for (;;) {
		uint8_t bytes[32] = {0};
		struct x86_insn in;
		unsigned form = (unsigned)(next() % x86_form_count());
		if (!x86_form_bytes(form, X86_64, bytes, next) ||
		    x86_decode(&in, bytes, 16, X86_64) != X86_OK || !is_wanted(&in))
			continue;
		bool open = leaves_flags_open(&in);
		if (in.len > SLOT - 2) continue;
		memcpy(p, bytes, in.len);
		/* cmp eax, ecx */
		if (open) p[in.len] = 0x39, p[in.len + 1] = 0xc8;
		return;
	}
}
static void rel32(uint8_t *p, unsigned len, unsigned from, unsigned to)
{
	uint32_t d = to * SLOT - (from * SLOT + len);
	memcpy(p + len - 4, &d, 4);
}
/* An access, and its base or index moves on: what loops are made of. */
static void walk(uint8_t *c)
{
	static const uint8_t op[] = {0x8b, 0x89, 0x01, 0x03, 0x3b, 0x31};
	unsigned base = 6 + (next() & 1), index = 1 + (next() & 1), at = 0;
	bool far = !(next() & 7), indexed = next() & 1;
	uint32_t by = (uint32_t)next() >> (next() & 24);
	c[at++] = 0x48;
	c[at++] = op[next() % COUNT(op)];
	c[at++] = indexed ? 0x44 : (uint8_t)(0x40 | base);
	if (indexed) c[at++] = (uint8_t)((next() & 3) << 6 | index << 3 | base);
	c[at++] = (uint8_t)next();
	c[at++] = 0x48;
	c[at++] = far ? 0x81 : 0x83; /* add */
	c[at++] = (uint8_t)(0xc0 | (indexed && next() & 1 ? index : base));
	memcpy(c + at, &by, far ? 4 : 1);
}
static void slot(struct program *p, unsigned k)
{
	uint8_t *c = p->code + k * SLOT, *q;
	unsigned to = (unsigned)(next() % SLOTS), ahead = k + 1 + (unsigned)(next() % 6);
	if (ahead >= SLOTS) ahead = SLOTS - 1;
	memset(c, 0x90, SLOT);
	if (next() & 1 && k > 3) to = k - 1 - (next() & 3);
	switch (next() % 28) {
	case 24:
	case 25:
	case 26:
	case 27: walk(c); break;
	case 0: /* back, but not for ever: dec qword [COUNTER]; jg */
		memcpy(c, (uint8_t[]){0x48, 0xff, 0x0c, 0x25, A32(COUNTER_LA), 0x0f, 0x8f}, 10);
		rel32(c, 14, k, to);
		break;
	case 1: /* jcc */
		c[0] = 0x0f, c[1] = (uint8_t)(0x80 | (next() & 15));
		rel32(c, 6, k, ahead);
		break;
	case 2: c[0] = 0xe9, rel32(c, 5, k, ahead); break;
	case 3: c[0] = 0xe8, rel32(c, 5, k, ahead); break;
	case 4: /* mov rbx, there; jmp rbx or call rbx */
		q = mov_const(c, 3, p->base + ahead * SLOT);
		q[0] = 0xff, q[1] = next() & 1 ? 0xe3 : 0xd3;
		break;
	case 5: /* a stack that is one; push or so */
		q = mov_const(c, 4, view[next() % COUNT(view)] + X86_PAGE + next() % 0x300 * 8);
		q[0] = (uint8_t)(0x50 | (next() & 15));
		q[1] = (uint8_t)(0x50 | (next() & 15));
		break;
	case 6: c[0] = 0xcd, c[1] = 32; break; /* the service */
	case 7:				       /* rep movs, stos...: with a count */
		c[0] = 0xb9, c[1] = (uint8_t)next(), c[2] = (uint8_t)(next() & 15), c[3] = c[4] = 0;
		c[5] = next() & 1 ? 0xf3 : 0xf2, c[6] = 0x48;
		c[7] = (uint8_t[]){0xa4, 0xa5, 0xaa, 0xab, 0xa6, 0xa7, 0xae, 0xaf}[next() & 7];
		break;
	case 8:
	case 9:
	case 10:
	case 11: (void)mov_const(c, (unsigned)next() & 15, address()); break;
	case 12: (void)mov_const(c, 6, address()); break;
	case 13: (void)mov_const(c, 7, address()); break;
	case 14: /* dec qword [COUNTER]; jle; and dword [rsp + 4], 0x7f: canonical; ret */
		memcpy(c,
		       (uint8_t[]){0x48, 0xff, 0x0c, 0x25, A32(COUNTER_LA), 0x7e, 6, 0x83, 0x64,
				   0x24, 4, 0x7f, 0xc3},
		       16);
		break;
	case 15: c[0] = 0x9c; break; /* pushf */
	default: any_insn(c);
	}
}
static void make(struct program *p)
{
	p->off = next() & 1 ? 0 : (unsigned)next() % 64;
	p->base = code_at[next() % COUNT(code_at)] + X86_PAGE - 512 + p->off;
	for (unsigned k = 0; k < SLOTS; k++) slot(p, k);
	memcpy(p->code + (SLOTS - 1) * SLOT, (uint8_t[]){0x0f, 0x0b}, 2); /* ud2: the end */
}
static void begin(struct x86_rig *r, const struct program *p, uint64_t from)
{
	struct x86_vcpu *v = r->v;
	seed = from;
	for (unsigned k = 0; k < PAGES * X86_PAGE; k += 8)
		store(r, DATA + k, next() & 7 ? next() >> 17 : address());
	store(r, COUNTER, 40);
	store(r, NOTED, 0), store(r, TRAPS, 0);
	store(r, BASE, p->base), store(r, LENGTH, SLOTS * SLOT);
	must(gmem_write(r->mem, CODE + X86_PAGE - 512 + p->off, p->code, sizeof(p->code)));
	x86_wrote(v, CODE + X86_PAGE - 512 + p->off, 512);
	for (unsigned k = 1; k < CODE_PAGES; k++) x86_wrote(v, CODE + k * X86_PAGE, X86_PAGE);
	x86_rig_flat(r, X86_64, 3);
	v->seg[X86_CS].sel = 0x33, v->seg[X86_SS].sel = 0x2b; /* as Linux has them */
	v->seg[X86_DS].sel = v->seg[X86_ES].sel = v->seg[X86_FS].sel = v->seg[X86_GS].sel = 0;
	v->seg[X86_SEG_TR] = (struct x86_segreg){TSS, 0x67, 0x8b, 0x40};
	v->cr0 |= CR0_PG | CR0_WP;
	x86_mode_update(v);
	x86_vector_reset(v, false);
	v->x.bytes[512] = 7;
	for (unsigned k = 160; k < 416; k += 8) memcpy(v->x.bytes + k, &(uint64_t){next()}, 8);
	for (unsigned k = 576; k < 832; k += 8) memcpy(v->x.bytes + k, &(uint64_t){next()}, 8);
	for (unsigned k = 0; k < 16; k++) v->cpu.r[k] = address();
	v->cpu.r[RSP] = view[next() % COUNT(view)] + X86_PAGE + (next() & 0xff8);
	v->kernel_gs = v->cr2 = 0;
	v->cpu.rip = p->base;
	v->cpu.flags = 0x202;
	v->activity = X86_RUNNING;
	v->reset_asked = false;
	atomic_store(&r->stops, 0);
	atomic_store(&v->poll, 0);
	r->noted = r->noted_at = r->told = 0;
}
static bool go(struct x86_rig *r)
{
	for (unsigned k = 0; k < 1000 && !r->stops; k++)
		if (x86_vcpu_run(r->v) != VCPU_KICKED) return false;
	return r->stops;
}
static const char *differ(struct x86_rig *a, struct x86_rig *b)
{
	const struct x86_vcpu *v = a->v, *w = b->v;
	if (x86_rig_get(a, TRAPS, 8) != x86_rig_get(b, TRAPS, 8)) return "number of traps";
	if (x86_rig_get(a, NOTED, 8) != x86_rig_get(b, NOTED, 8)) return "traps";
	if (memcmp(v->cpu.r, w->cpu.r, sizeof(v->cpu.r))) return "registers";
	if (memcmp(v->x.bytes, w->x.bytes, 6) || memcmp(v->x.bytes + 32, w->x.bytes + 32, 128))
		return "x87";
	if (memcmp(v->x.bytes + 24, w->x.bytes + 24, 4) ||
	    memcmp(v->x.bytes + 160, w->x.bytes + 160, 256) ||
	    memcmp(v->x.bytes + 576, w->x.bytes + 576, 256))
		return "vectors";
	size_t n = (PAGES + 1) * X86_PAGE;
	if (memcmp(gmem_host(a->mem, DATA, n), gmem_host(b->mem, DATA, n), n)) return "memory";
	if (a->noted != b->noted || a->noted_at != b->noted_at) return "device";
	return NULL;
}
static const char *try_once(struct x86_rig *r[RIGS], const struct program *p, uint64_t from,
			    unsigned *who)
{
	bool good = true;
	for (unsigned k = 0; k < RIGS; k++) begin(r[k], p, from), good &= go(r[k]);
	if (!good) return "it does not end";
	for (*who = 1; *who < RIGS; ++*who) {
		const char *how = differ(r[0], r[*who]);
		if (how) return how;
	}
	return NULL;
}
/* Slots that it takes for them to differ. */
static void explain(struct x86_rig *r[RIGS], struct program p, uint64_t from)
{
	unsigned who;
	for (unsigned k = 0; k < SLOTS - 1; k++) {
		uint8_t was[SLOT];
		memcpy(was, p.code + k * SLOT, SLOT);
		memset(p.code + k * SLOT, 0x90, SLOT);
		if (!try_once(r, &p, from, &who)) memcpy(p.code + k * SLOT, was, SLOT);
	}
	fprintf(stderr, "base %#lx; %s:\n", p.base, try_once(r, &p, from, &who));
	for (unsigned k = 0; k < SLOTS - 1; k++) {
		static const uint8_t nops[2] = {0x90, 0x90};
		if (!memcmp(p.code + k * SLOT, nops, 2)) continue;
		fprintf(stderr, "%3u:", k);
		for (unsigned n = 0; n < SLOT; n++) fprintf(stderr, " %02x", p.code[k * SLOT + n]);
		fprintf(stderr, "\n");
	}
	for (unsigned n = 0; n < 16; n++)
		if (r[0]->v->cpu.r[n] != r[who]->v->cpu.r[n])
			fprintf(stderr, " r%u %#lx, jit %#lx\n", n, r[0]->v->cpu.r[n],
				r[who]->v->cpu.r[n]);
	fprintf(stderr, " traps %lu, jit %lu\n", x86_rig_get(r[0], TRAPS, 8),
		x86_rig_get(r[who], TRAPS, 8));
}
TEST(x86_wild_programs)
{
	const char *count = getenv("RANDOM_COUNT"), *first = getenv("RANDOM_SEED");
	unsigned long n = count ? strtoul(count, NULL, 0) : 300, failed = 0;
	uint64_t from = first ? strtoul(first, NULL, 0) : 1;
	struct x86_rig *r[RIGS] = {
		rig(false, WINDOWS_OFF, DIRECT_OFF), rig(true, WINDOWS_OFF, DIRECT_OFF),
		rig(true, WINDOWS_EARLY, DIRECT_OFF), rig(true, WINDOWS_OFF, DIRECT_EARLY)};
	static struct program p;
	unsigned who = 0;
	for (; n-- && failed < 4; from++) {
		seed = from;
		make(&p);
		const char *how = try_once(r, &p, from, &who);
		if (!how) continue;
		failed++;
		fprintf(stderr, "seed %lu: %s, by %u\n", from, how, who);
		explain(r, p, from);
	}
	CHECK(!failed);
	if (getenv("RANDOM_SHOW"))
		for (unsigned k = 0; k < RIGS; k++)
			fprintf(stderr,
				"%u: window %p, %lu pages, %lu misses, %lu steps, %lu units, %lu "
				"direct\n",
				k, (void *)r[k]->v->window, r[k]->v->stats[X86_STAT_WINDOW],
				r[k]->v->stats[X86_STAT_WINDOW_MISSES],
				r[k]->v->stats[X86_STAT_STEPS], r[k]->v->stats[X86_STAT_UNITS],
				r[k]->v->stats[X86_STAT_DIRECT_STOPS]);
	for (unsigned k = 0; k < RIGS; k++) done(r[k]);
}
/* Calls of code that may not run directly, and then a loop in it: direct execution is given up in
 * the middle of a run that has just seen many events. */
TEST(x86_direct_is_given_up_in_a_run)
{
	enum { AWAY = 512 }; /* on the next page, where cpuid is */
	static const uint8_t first[] = {0xb9, 200,
					0,    0,
					0, /* mov ecx, 200 */
					0xe8, A32(AWAY - 10),
					0xff, 0xc9,
					0x75, 0xf7, /* call; dec ecx; jnz */
					0xe8, A32(AWAY + 1 - 19),
					0x0f, 0x0b}; /* call; ud2 */
	static const uint8_t away[] = {0xc3, /* ret; mov edx, 5000; dec edx; jnz; ret; cpuid... */
				       0xba, A32(5000), 0xff, 0xca, 0x75, 0xfc, 0xc3, 0x0f, 0xa2,
				       0x0f, 0xa2,	0x0f, 0xa2, 0x0f, 0xa2, 0x0f, 0xa2};
	struct x86_rig *r = rig(true, WINDOWS_OFF, DIRECT_EARLY);
	static struct program p;
	p.base = code_at[0] + X86_PAGE - AWAY;
	for (unsigned k = 0; k < SLOTS; k++) memcpy(p.code + k * SLOT, (uint8_t[]){0x0f, 0x0b}, 2);
	memcpy(p.code, first, sizeof(first));
	memcpy(p.code + AWAY, away, sizeof(away));
	begin(r, &p, 1);
	r->v->cpu.r[RSP] = view[0] + X86_PAGE + 0x800;
	CHECK(go(r));
	CHECK((uint32_t)r->v->cpu.r[RCX] == 0 && (uint32_t)r->v->cpu.r[RDX] == 0);
	if (r->v->stats[X86_STAT_DIRECT_STOPS])
		CHECK(r->v->stats[X86_STAT_DIRECT_ENDED]);
	else
		fprintf(stderr, "SKIPPED: this host has no place for direct execution\n");
	done(r);
}
/* Two pages of code with three instructions each that tell of the CPU: they run directly all the
 * same, by turns, and what those say is the guest's. */
TEST(x86_direct_stops_where_code_asks_for_its_cpu)
{
	enum { HERE = 64, AWAY = 512 };
	static const uint8_t first[] = {0x41,	 0xbc,
					A32(50),		 /* mov r12d, 50 */
					0xe8,	 A32(HERE - 11), /* call; call */
					0xe8,	 A32(AWAY - 16),
					0x41,	 0xff,
					0xcc,	 0x75,
					0xf1, /* dec r12d; jnz */
					0x0f,	 0x0b};
#define ASK(leaf) /* mov eax, leaf; xor ecx, ecx; cpuid; add r8, rax; ... rbx, rcx, rdx */         \
	0xb8, A32(leaf), 0x31, 0xc9, 0x0f, 0xa2, 0x49, 0x01, 0xc0, 0x49, 0x01, 0xd8, 0x49, 0x01,   \
		0xc8, 0x49, 0x01, 0xd0
	static const uint8_t asks[] = {ASK(1), ASK(7), 0x31, 0xc9, 0x0f, 0x01,
				       0xd0,   0x49,   0x01, 0xc0, 0xc3};
	struct x86_rig *r[2] = {rig(false, WINDOWS_OFF, DIRECT_OFF),
				rig(true, WINDOWS_OFF, DIRECT_EARLY)};
	static struct program p;
	p.base = code_at[0] + X86_PAGE - AWAY;
	for (unsigned k = 0; k < SLOTS; k++) memcpy(p.code + k * SLOT, (uint8_t[]){0x0f, 0x0b}, 2);
	memcpy(p.code, first, sizeof(first));
	memcpy(p.code + HERE, asks, sizeof(asks));
	memcpy(p.code + AWAY, asks, sizeof(asks));
	for (unsigned k = 0; k < COUNT(r); k++) {
		begin(r[k], &p, 1);
		r[k]->v->cpu.r[RSP] = view[0] + X86_PAGE + 0x800;
		CHECK(go(r[k]));
	}
	CHECK((uint32_t)r[1]->v->cpu.r[12] == 0 && !differ(r[0], r[1]));
	if (r[1]->v->stats[X86_STAT_DIRECT_STOPS])
		CHECK(r[1]->v->stats[X86_STAT_DIRECT_STEPS] >= 300);
	else
		fprintf(stderr, "SKIPPED: this host has no place for direct execution\n");
	for (unsigned k = 0; k < COUNT(r); k++) done(r[k]);
}
