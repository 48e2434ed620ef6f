/* Exceptions as the manual has them, for each way in which instructions use memory, by the
 * interpreter and by translated code: which, with what error code and CR2, at which instruction,
 * and nothing else done. Of user code the host says the same (x86_oracle_test.c); kernel code, and
 * what user code cannot set up, has nobody else to ask. */
#include "engine/x86_shadow.h"
#include "engine/x86_stop_rig.h"
#include <stdio.h>

/* RDI, or whatever says so, points there. */
#define CODE_LA 0x20000000u
#define DATA_LA 0x5a0000000000ull
enum { CODE = 0x200000, DATA = 0x210000, AWAY = 0x400, SIZE = 64 };
enum page { GOOD, MISSING, READ_ONLY, SUPERVISOR, RESERVED, DEVICE_NX, PAGES };
enum how { USER, KERNEL_SMAP, KERNEL_AC, KERNEL_OPEN, KERNEL_NO_WP, HOWS };
enum mode { INTERPRETED, TRANSLATED, IN_WINDOW, ENGINES };
enum use { R = 1, W = 2, X = 4 };

/* What it does at [rdi], or at the stack, which is there, too, if so said. */
struct way {
	const char *name;
	uint8_t use, stack; /* stack: how far RSP is from the address */
	uint8_t code[12];
};
static const struct way ways[] = {
	{"mov load", R, 0, {0x48, 0x8b, 0x07}},
	{"mov load, 16 bits", R, 0, {0x66, 0x8b, 0x07}},
	{"mov load, index", R, 0, {0x8a, 0x04, 0x0f}}, /* rcx is 0 */
	{"mov store", W, 0, {0x48, 0x89, 0x07}},
	{"mov store byte", W, 0, {0x88, 0x07}},
	{"mov store imm", W, 0, {0xc7, 0x07, 1, 0, 0, 0}},
	{"add rmw", W, 0, {0x48, 0x01, 0x07}},
	{"lock add rmw", W, 0, {0xf0, 0x48, 0x01, 0x07}},
	{"add load", R, 0, {0x48, 0x03, 0x07}},
	{"cmp", R, 0, {0x48, 0x39, 0x07}},
	{"test", R, 0, {0x84, 0x07}},
	{"not", W, 0, {0xf7, 0x17}},
	{"shl by 1", W, 0, {0xd1, 0x27}},
	{"xchg", W, 0, {0x87, 0x07}},
	{"cmpxchg", W, 0, {0x0f, 0xb1, 0x0f}},
	{"cmpxchg16b", W, 0, {0x48, 0x0f, 0xc7, 0x0f}},
	{"bt imm", R, 0, {0x0f, 0xba, 0x27, 3}},
	{"bt reg", R, 0, {0x48, 0x0f, 0xa3, 0x0f}},
	{"bts reg", W, 0, {0x48, 0x0f, 0xab, 0x0f}},
	{"setz", W, 0, {0x0f, 0x94, 0x07}},
	{"cmovz", R, 0, {0x48, 0x0f, 0x44, 0x07}},
	{"movzx", R, 0, {0x0f, 0xb6, 0x07}},
	{"imul", R, 0, {0x0f, 0xaf, 0x07}},
	{"div", R, 0, {0xf7, 0x37}},
	{"xlat", R, 0, {0xd7}},
	{"lods", R, 0, {0xac}},
	{"stos", W, 0, {0x48, 0xab}},
	{"scas", R, 0, {0x48, 0xaf}},
	{"rep stos", W, 0, {0xff, 0xc1, 0xf3, 0xaa}},			/* inc ecx */
	{"rep movs", W, 0, {0xff, 0xc1, 0x48, 0x89, 0xe6, 0xf3, 0xa4}}, /* and mov rsi, rsp */
	{"rep movs load", R, 0, {0xff, 0xc1, 0x48, 0x89, 0xe7, 0xf3, 0xa4}},
	{"push mem", R, 0, {0xff, 0x37}},
	{"pop mem", W, 0, {0x8f, 0x07}},
	{"call mem", R, 0, {0xff, 0x17}},
	{"jmp mem", R, 0, {0xff, 0x27}},
	{"movups load", R, 0, {0x0f, 0x10, 0x07}},
	{"movaps store", W, 0, {0x0f, 0x29, 0x07}},
	{"vmovdqu load", R, 0, {0xc5, 0xfe, 0x6f, 0x07}},
	{"vmovdqu store", W, 0, {0xc5, 0xfe, 0x7f, 0x07}},
	{"addsd", R, 0, {0xf2, 0x0f, 0x58, 0x07}},
	{"movq mm", R, 0, {0x0f, 0x6f, 0x07}},
	{"fld", R, 0, {0xdd, 0x07}},
	{"fld m80", R, 0, {0xdb, 0x2f}},
	{"fst", W, 0, {0xdd, 0x17}},
	{"fnstcw", W, 0, {0xd9, 0x3f}},
	{"fldcw", R, 0, {0xd9, 0x2f}},
	{"stmxcsr", W, 0, {0x0f, 0xae, 0x1f}},
	{"fxsave", W, 0, {0x0f, 0xae, 0x07}},
	{"push", W, 8, {0x50}},
	{"push imm", W, 8, {0x6a, 0}},
	{"pushf", W, 8, {0x9c}},
	{"pop", R, 0x80, {0x58}},
	{"popf", R, 0x80, {0x9d}},
	{"call", W, 8, {0xe8, 0, 0, 0, 0}},
	{"ret", R, 0x80, {0xc3}},
	{"enter", W, 8, {0xc8, 0, 0, 0}},
	{"leave", R, 0, {0xc9}}, /* rbp is there */
	{"jmp reg", X, 0, {0xff, 0xe7}},
	{"call reg", X, 0, {0xff, 0xd7}},
};
static struct x86_rig *rigs[ENGINES];
static gpa_t entry; /* of the data's page */

/* Bits of a page table entry; a #PF's error code. */
enum { NOT_THERE = 0, F_P = 1, F_W = 2, F_U = 4, F_RSVD = 8, F_I = 16 };
static uint64_t bits_of(enum page page, enum how how)
{
	uint64_t user = how == KERNEL_NO_WP ? 0 : STOP_U, rw = STOP_P | STOP_W;
	switch (page) {
	case GOOD: return rw | user;
	case MISSING: return NOT_THERE;
	case READ_ONLY: return STOP_P | user;
	case SUPERVISOR: return rw;
	case RESERVED: return rw | user | 1ull << (X86_PHYS_BITS + 1);
	default: return rw | user | STOP_NX;
	}
}
/* SDM 3, 4.6 and 4.7. NOT_THERE means here that there is none. */
static bool faults(enum page page, enum how how, unsigned use, unsigned *code)
{
	uint64_t bits = bits_of(page, how);
	bool user = how == USER, of_user = bits & STOP_U, smap = how == KERNEL_SMAP;
	*code = (user ? F_U : 0) | (use == W ? F_W : 0) | (use == X ? F_I : 0);
	if (page == MISSING) return true;
	*code |= F_P;
	if (page == RESERVED) *code |= F_RSVD;
	if (page == RESERVED) return true;
	if (user && !of_user) return true;
	if (use == W && !(bits & STOP_W) && how != KERNEL_NO_WP) return true;
	if (use == X) return bits & STOP_NX || (!user && of_user && how != KERNEL_OPEN);
	return smap && of_user;
}
static void open_rigs(void)
{
	for (unsigned k = 0; k < ENGINES; k++) {
		struct x86_rig *r =
			stop_rig_new(false, k == IN_WINDOW ? WINDOWS_EARLY : WINDOWS_OFF);
		(void)x86_rig_map(r, CODE_LA, CODE, STOP_P | STOP_U, 0);
		(void)x86_rig_map(r, CODE_LA + X86_PAGE, CODE + X86_PAGE, STOP_P | STOP_U | STOP_W,
				  0);
		entry = x86_rig_map(r, DATA_LA, DATA, STOP_P, 0);
		if (k) stop_rig_translate(r);
		rigs[k] = r;
	}
}
static void close_rigs(void)
{
	for (unsigned k = 0; k < ENGINES; k++) stop_rig_free(rigs[k]);
}
/* Kernel code has pages of its own, for SMEP's and SMAP's sake. */
static void set_page(struct x86_rig *r, enum page page, enum how how)
{
	uint64_t u = how == USER ? STOP_U : 0;
	struct x86_vcpu *v = r->v;
	(void)x86_rig_map(r, CODE_LA, CODE, STOP_P | u, 0);
	(void)x86_rig_map(r, CODE_LA + X86_PAGE, CODE + X86_PAGE, STOP_P | STOP_W | u, 0);
	x86_rig_put(r, entry, DATA | bits_of(page, how), 8);
	v->cr4 &= ~(uint64_t)(CR4_SMAP | CR4_SMEP);
	if (how != USER && how != KERNEL_OPEN) v->cr4 |= CR4_SMAP | CR4_SMEP;
	v->cr0 = how == KERNEL_NO_WP ? v->cr0 & ~(uint64_t)CR0_WP : v->cr0 | CR0_WP;
	x86_tlb_flush(v, true);
	x86_shadows_flush(v);
}
enum { STACK_LA = CODE_LA + X86_PAGE + 0x800 };
static void set_registers(struct x86_vcpu *v, const struct way *w, enum how how)
{
	uint64_t at = DATA_LA + AWAY;
	stop_rig_segments(v, how != USER);
	for (unsigned k = 0; k < 16; k++) v->cpu.r[k] = 0x1000 + k;
	v->cpu.r[RAX] = v->cpu.r[RCX] = v->cpu.r[RDX] = 0;
	v->cpu.r[RSP] = w->stack ? at + (w->stack & 15) : STACK_LA;
	v->cpu.r[RBX] = v->cpu.r[RSI] = v->cpu.r[RDI] = v->cpu.r[RBP] = at;
	v->cpu.rip = CODE_LA;
	v->cpu.flags = how == KERNEL_AC ? 0x202 | X86_AC : 0x202;
	x86_vector_reset(v, false);
	v->x.bytes[0] = 0x7f, v->x.bytes[1] = 3, v->x.bytes[4] = 0, v->x.bytes[512] = 7;
}
/* Of these, the last is what is asked about. */
static unsigned length(const struct way *w, unsigned *last)
{
	struct x86_insn in;
	unsigned n = 0, steps = w->code[0] == 0xff && w->code[1] == 0xc1 ? 2 : 1;
	if (steps == 2 && w->code[2] == 0x48) steps++;
	for (unsigned k = 0; k < steps; k++, n += in.len) {
		*last = n;
		must(x86_decode(&in, w->code + n, sizeof w->code - n, X86_64) == X86_OK);
	}
	return n;
}
static bool is_right(struct x86_rig *r, const struct way *w, enum page page, enum how how)
{
	unsigned last, code, n = length(w, &last);
	bool fault = faults(page, how, w->use, &code);
	uint64_t at = DATA_LA + AWAY, rip = w->use == X ? at : CODE_LA + last;
	struct stop_frame f = stop_rig_frame(r);
	bool is_fault = r->told == 14 && r->v->cr2 == at;
	if (!fault) return !is_fault || w->use == X;
	uint64_t rsp = w->stack ? at + (w->stack & 15) : (uint64_t)STACK_LA;
	if (w->use == X && n && w->code[1] == 0xd7) rsp -= 8;
	return is_fault && f.code == code && f.rip == rip && f.rsp == rsp;
}
static void try_page(const struct way *w, enum page page, enum how how, enum mode mode)
{
	static const uint8_t end[] = {0x0f, 0x0b};
	struct x86_rig *r = rigs[mode];
	unsigned last, n = length(w, &last);
	char text[200];
	r->at = CODE;
	x86_rig_bytes(r, w->code, n);
	x86_rig_bytes(r, end, sizeof end);
	x86_wrote(r->v, CODE, SIZE);
	memset(gmem_host(r->mem, DATA, X86_PAGE), 0, X86_PAGE);
	set_page(r, page, how);
	set_registers(r->v, w, how);
	stop_rig_ready(r);
	bool good = stop_rig_run(r) && is_right(r, w, page, how);
	if (good) return;
	struct stop_frame f = stop_rig_frame(r);
	(void)snprintf(text, sizeof text,
		       "%s, page %u, as %u, engine %u: #%lu code %#lx rip %#lx rsp %#lx cr2 %#lx",
		       w->name, page, how, mode, r->told, f.code, f.rip, f.rsp, r->v->cr2);
	test_fail(text, __FILE__, __LINE__);
}
TEST(x86_fault_pages)
{
	open_rigs();
	for (unsigned k = 0; k < COUNT(ways); k++)
		for (unsigned page = 0; page < PAGES; page++)
			for (unsigned how = 0; how < HOWS; how++)
				for (unsigned e = 0; e < (how == USER ? ENGINES : 2u); e++)
					try_page(&ways[k], page, how, e);
	close_rigs();
}

/* ---- what is not about pages */

enum cause {
	C_NONE = 0,
	C_AWRY = 1, /* RDI is not canonical; RBP and RSP neither */
	C_ODD = 2,  /* RDI is odd, AC is set */
	C_TS = 4,   /* bits of CR0, CR4 */
	C_EM = 8,
	C_NO_SSE = 16,
	C_NO_XM = 32,
	C_BARE = 64,	 /* no exception of x87 and SSE is masked */
	C_STEP = 128,	 /* TF */
	C_DETECT = 256,	 /* DR7.GD */
	C_NO_AVX = 512,	 /* CR4.OSXSAVE */
	C_AT = 1024,	 /* a breakpoint there */
	C_DATA = 2048,	 /* one on [rdi], for reads and writes */
	C_STORES = 4096, /* one on [rdi], for writes */
};
enum { FOR_USER = 1, FOR_KERNEL = 2, FOR_BOTH = 3 };
struct other {
	const char *name;
	uint16_t cause;
	uint8_t whom, vector, off, n; /* RIP, from where the instruction begins; bytes */
	uint16_t code, dr6;	      /* dr6: for #DB */
	uint8_t bytes[12];
};
enum { DE, DB, BP = 3, OF, UD = 6, NM, SS = 12, GP, MF = 16, AC, XM = 19 };
#define B(...)                                                                                     \
	sizeof((const uint8_t[]){__VA_ARGS__}), 0, 0, { __VA_ARGS__ }
#define WITH(code, dr6, ...)                                                                       \
	sizeof((const uint8_t[]){__VA_ARGS__}), code, dr6, { __VA_ARGS__ }
static const struct other others[] = {
	{"div by 0", 0, FOR_BOTH, DE, 0, B(0xf7, 0xf1)},
	{"idiv of INT64_MIN", 0, FOR_BOTH, DE, 9,
	 B(0x6a, 0xff, 0x59, 0x48, 0x0f, 0xba, 0xea, 63, 0x90, 0x48, 0xf7, 0xf9)},
	{"div mem", 0, FOR_BOTH, DE, 0, B(0x48, 0xf7, 0x37)},
	{"ud2", 0, FOR_BOTH, UD, 0, B(0x0f, 0x0b)},
	{"ud1", 0, FOR_BOTH, UD, 0, B(0x0f, 0xb9, 0xc0)},
	{"push es", 0, FOR_BOTH, UD, 0, B(0x06)},
	{"into", 0, FOR_BOTH, UD, 0, B(0xce)},
	{"bound", 0, FOR_BOTH, UD, 0, B(0x62, 0x07)},
	{"aam", 0, FOR_BOTH, UD, 0, B(0xd4, 10)},
	{"lock nop", 0, FOR_BOTH, UD, 0, B(0xf0, 0x90)},
	{"lock mov", 0, FOR_BOTH, UD, 0, B(0xf0, 0x89, 0x07)},
	{"lock add reg", 0, FOR_BOTH, UD, 0, B(0xf0, 0x01, 0xc0)},
	{"lea reg", 0, FOR_BOTH, UD, 0, B(0x8d, 0xc0)},
	{"66 vex", 0, FOR_BOTH, UD, 0, B(0x66, 0xc5, 0xfc, 0x58, 0xc0)},
	{"rex vex", 0, FOR_BOTH, UD, 0, B(0x48, 0xc5, 0xfc, 0x58, 0xc0)},
	{"16 bytes", 0, FOR_BOTH, GP, 0,
	 B(0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66)},
	{"int3", 0, FOR_BOTH, BP, 1, B(0xcc)},
	{"int 3", 0, FOR_BOTH, BP, 2, B(0xcd, 3)},
	{"int 4", 0, FOR_BOTH, OF, 2, B(0xcd, 4)},
	{"int 5 by a user", 0, FOR_USER, GP, 0, WITH(5 * 8 + 2, 0, 0xcd, 5)},
	{"int beyond the table", 0, FOR_BOTH, GP, 0, WITH(0x99 * 8 + 2, 0, 0xcd, 0x99)},
	{"int1", 0, FOR_BOTH, DB, 1, B(0xf1)},
	{"hlt", 0, FOR_USER, GP, 0, B(0xf4)},
	{"cli", 0, FOR_USER, GP, 0, B(0xfa)},
	{"sti", 0, FOR_USER, GP, 0, B(0xfb)},
	{"in", 0, FOR_USER, GP, 0, B(0xec)},
	{"out", 0, FOR_USER, GP, 0, B(0xe6, 0xf8)},
	{"rep outs of nothing", 0, FOR_USER, GP, 0, B(0xf3, 0x6e)},
	{"mov from cr0", 0, FOR_USER, GP, 0, B(0x0f, 0x20, 0xc0)},
	{"mov from cr1", 0, FOR_KERNEL, UD, 0, B(0x0f, 0x20, 0xc8)},
	{"mov to dr7", 0, FOR_USER, GP, 0, B(0x0f, 0x23, 0xf8)},
	{"rdmsr", 0, FOR_USER, GP, 0, B(0x0f, 0x32)},
	{"wrmsr, none such", 0, FOR_KERNEL, GP, 1, B(0x91, 0x0f, 0x30)},
	{"swapgs", 0, FOR_USER, GP, 0, B(0x0f, 0x01, 0xf8)},
	{"invlpg", 0, FOR_USER, GP, 0, B(0x0f, 0x01, 0x3f)},
	{"wbinvd", 0, FOR_USER, GP, 0, B(0x0f, 0x09)},
	{"lgdt", 0, FOR_USER, GP, 0, B(0x0f, 0x01, 0x17)},
	{"sgdt under UMIP", 0, FOR_USER, GP, 0, B(0x0f, 0x01, 0x07)},
	{"stac", 0, FOR_USER, UD, 0, B(0x0f, 0x01, 0xcb)},
	{"xsetbv", 0, FOR_USER, GP, 0, B(0x0f, 0x01, 0xd1)},
	{"movaps, odd", 0, FOR_BOTH, GP, 0, B(0x0f, 0x28, 0x47, 1)},
	{"addps, odd", 0, FOR_BOTH, GP, 0, B(0x0f, 0x58, 0x47, 4)},
	{"vmovaps, odd", 0, FOR_BOTH, GP, 0, B(0xc5, 0xfc, 0x28, 0x47, 16)},
	{"fxsave, odd", 0, FOR_BOTH, GP, 0, B(0x0f, 0xae, 0x47, 8)},
	{"cmpxchg16b, odd", 0, FOR_BOTH, GP, 0, B(0x48, 0x0f, 0xc7, 0x4f, 8)},
	{"ldmxcsr of -1", 0, FOR_BOTH, GP, 3, B(0x83, 0x0f, 0xff, 0x0f, 0xae, 0x17)},
	{"[rbp]", C_AWRY, FOR_BOTH, SS, 0, B(0x8b, 0x45, 0)},
	{"[rsp + 8]", C_AWRY, FOR_BOTH, SS, 0, B(0x8b, 0x44, 0x24, 8)},
	{"ds: [rbp]", C_AWRY, FOR_BOTH, SS, 0, B(0x3e, 0x8b, 0x45, 0)},
	{"gs: [rbp]", C_AWRY, FOR_BOTH, GP, 0, B(0x65, 0x8b, 0x45, 0)},
	{"addsd [rbp]", C_AWRY, FOR_BOTH, SS, 0, B(0xf2, 0x0f, 0x58, 0x45, 0)},
	{"fld [rbp]", C_AWRY, FOR_BOTH, SS, 0, B(0xd9, 0x45, 0)},
	{"push, into what is not canonical", C_AWRY, FOR_BOTH, SS, 0, B(0x50)},
	{"pop", C_AWRY, FOR_BOTH, SS, 0, B(0x58)},
	{"ret", C_AWRY, FOR_BOTH, SS, 0, B(0xc3)},
	{"call", C_AWRY, FOR_BOTH, SS, 0, B(0xe8, 0, 0, 0, 0)},
	{"pushf", C_AWRY, FOR_BOTH, SS, 0, B(0x9c)},
	{"leave", C_AWRY, FOR_BOTH, SS, 0, B(0xc9)},
	{"enter", C_AWRY, FOR_BOTH, SS, 0, B(0xc8, 8, 0, 0)},
	{"fadd, no x87", C_TS, FOR_BOTH, NM, 0, B(0xd8, 0xc1)},
	{"fwait, no x87", C_TS, FOR_BOTH, NM, 0, B(0x9b)},
	{"addps, no SSE now", C_TS, FOR_BOTH, NM, 0, B(0x0f, 0x58, 0xc0)},
	{"vaddps, no AVX now", C_TS, FOR_BOTH, NM, 0, B(0xc5, 0xfc, 0x58, 0xc0)},
	{"paddb, no MMX now", C_TS, FOR_BOTH, NM, 0, B(0x0f, 0xfc, 0xc0)},
	{"fxsave, none now", C_TS, FOR_BOTH, NM, 0, B(0x0f, 0xae, 0x07)},
	{"fadd, emulated", C_EM, FOR_BOTH, NM, 0, B(0xd8, 0xc1)},
	{"addps, emulated", C_EM, FOR_BOTH, UD, 0, B(0x0f, 0x58, 0xc0)},
	{"paddb, emulated", C_EM, FOR_BOTH, UD, 0, B(0x0f, 0xfc, 0xc0)},
	{"addps, no SSE", C_NO_SSE, FOR_BOTH, UD, 0, B(0x0f, 0x58, 0xc0)},
	{"vaddps, no AVX", C_NO_AVX, FOR_BOTH, UD, 0, B(0xc5, 0xfc, 0x58, 0xc0)},
	{"xgetbv, no XSAVE", C_NO_AVX, FOR_BOTH, UD, 0, B(0x0f, 0x01, 0xd0)},
	{"fdiv by 0, then fwait", C_BARE, FOR_BOTH, MF, 6,
	 B(0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x9b)},
	{"fdiv by 0, then fld1", C_BARE, FOR_BOTH, MF, 7,
	 B(0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x90, 0xd9, 0xe8)},
	{"fdiv by 0, then movq", C_BARE, FOR_BOTH, MF, 6,
	 B(0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x0f, 0x6f, 0xc1)},
	{"fdiv by 0, then fnclex", C_BARE, FOR_BOTH, UD, 8,
	 B(0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0xdb, 0xe2)},
	{"divss 0 by 0", C_BARE, FOR_BOTH, XM, 0, B(0xf3, 0x0f, 0x5e, 0xc0)},
	{"divss [rdi]", C_BARE, FOR_BOTH, XM, 0, B(0xf3, 0x0f, 0x5e, 0x07)},
	{"vdivps 0 by 0", C_BARE, FOR_BOTH, XM, 0, B(0xc5, 0xfc, 0x5e, 0xc0)},
	{"divss 0 by 0, no #XM", C_BARE | C_NO_XM, FOR_BOTH, UD, 0, B(0xf3, 0x0f, 0x5e, 0xc0)},
	{"mov, odd", C_ODD, FOR_USER, AC, 0, B(0x8b, 0x07)},
	{"add, odd", C_ODD, FOR_USER, AC, 0, B(0x48, 0x01, 0x07)},
	{"fld, odd", C_ODD, FOR_USER, AC, 0, B(0xdd, 0x07)},
	{"fld m80, odd", C_ODD, FOR_USER, AC, 0, B(0xdb, 0x2f)},
	{"movsd, odd", C_ODD, FOR_USER, AC, 0, B(0xf2, 0x0f, 0x10, 0x07)},
	{"movq, odd", C_ODD, FOR_USER, AC, 0, B(0x0f, 0x6f, 0x07)},
	{"stmxcsr, odd", C_ODD, FOR_USER, AC, 0, B(0x0f, 0xae, 0x1f)},
	{"fnstenv, odd", C_ODD, FOR_USER, AC, 0, B(0xd9, 0x37)},
	{"mov [mem], gs, odd", C_ODD, FOR_USER, AC, 0, B(0x66, 0x8c, 0x2f)},
	{"push gs, odd", C_ODD, FOR_USER, AC, 3, B(0x48, 0x89, 0xfc, 0x0f, 0xa8)},
	{"mov byte, odd", C_ODD, FOR_USER, UD, 2, B(0x8a, 0x07)},
	{"mov, odd", C_ODD, FOR_KERNEL, UD, 2, B(0x8b, 0x07)},
	{"mov, a step", C_STEP, FOR_BOTH, DB, 3, WITH(0, 0x4000, 0x48, 0x8b, 0x07)},
	{"jmp, a step", C_STEP, FOR_BOTH, DB, 3, WITH(0, 0x4000, 0xeb, 1, 0x90, 0x90)},
	{"addps, a step", C_STEP, FOR_BOTH, DB, 3, WITH(0, 0x4000, 0x0f, 0x58, 0xc0)},
	{"rep stosb, a step", C_STEP, FOR_BOTH, DB, 2, WITH(0, 0x4000, 0xf3, 0xaa)},
	{"mov to dr0, detected", C_DETECT, FOR_KERNEL, DB, 0, WITH(0, 0x2000, 0x0f, 0x23, 0xc0)},
	{"mov from dr6, detected", C_DETECT, FOR_KERNEL, DB, 0, WITH(0, 0x2000, 0x0f, 0x21, 0xf0)},
	{"mov from dr7 by a user", C_DETECT, FOR_USER, GP, 0, B(0x0f, 0x21, 0xf8)},
	{"nop, a breakpoint", C_AT, FOR_BOTH, DB, 0, WITH(0, 1, 0x90)},
	{"ud2, a breakpoint", C_AT, FOR_BOTH, DB, 0, WITH(0, 1, 0x0f, 0x0b)},
	{"mov, watched", C_DATA, FOR_BOTH, DB, 2, WITH(0, 2, 0x8b, 0x07)},
	{"mov store, watched", C_STORES, FOR_BOTH, DB, 2, WITH(0, 2, 0x89, 0x07)},
	{"mov, only stores watched", C_STORES, FOR_BOTH, UD, 2, B(0x8b, 0x07)},
	{"mov at 4, not watched", C_DATA, FOR_BOTH, UD, 3, B(0x8b, 0x47, 4)},
	{"mov at 3, watched", C_DATA, FOR_BOTH, DB, 3, WITH(0, 2, 0x8b, 0x47, 3)},
	{"movups, watched", C_DATA, FOR_BOTH, DB, 3, WITH(0, 2, 0x0f, 0x10, 0x07)},
	{"movups store, watched", C_STORES, FOR_BOTH, DB, 3, WITH(0, 2, 0x0f, 0x11, 0x07)},
	{"fld, watched", C_DATA, FOR_BOTH, DB, 2, WITH(0, 2, 0xdd, 0x07)},
	{"fstp, watched", C_STORES, FOR_BOTH, DB, 2, WITH(0, 2, 0xdd, 0x1f)},
	{"mov [mem], gs, watched", C_STORES, FOR_BOTH, DB, 3, WITH(0, 2, 0x66, 0x8c, 0x2f)},
};
static void set_cause(struct x86_vcpu *v, unsigned c, bool on)
{
	enum { NONE_MASKED = 0x340 };
	uint64_t was = v->cr4 & ~(uint64_t)(CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE);
	v->cr0 &= ~(uint64_t)(CR0_TS | CR0_EM);
	v->dr[7] = 0x400;
	v->cr4 = was | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
	if (!on) return;
	if (c & C_TS) v->cr0 |= CR0_TS;
	if (c & C_EM) v->cr0 |= CR0_EM;
	if (c & C_NO_SSE) v->cr4 &= ~(uint64_t)CR4_OSFXSR;
	if (c & C_NO_XM) v->cr4 &= ~(uint64_t)CR4_OSXMMEXCPT;
	if (c & C_NO_AVX) v->cr4 &= ~(uint64_t)CR4_OSXSAVE;
	if (c & C_BARE) store_le(v->x.bytes, NONE_MASKED, 2), store_le(v->x.bytes + 24, 0, 4);
	if (c & C_STEP) v->cpu.flags |= X86_TF;
	if (c & C_DETECT) v->dr[7] |= 1 << 13;
	if (c & C_AT) v->dr[7] |= 2, v->dr[0] = v->cpu.rip;
	if (c & C_DATA) v->dr[7] |= 8 | 0xfu << 20, v->dr[1] = v->cpu.r[RDI];
	if (c & C_STORES) v->dr[7] |= 8 | 0xdu << 20, v->dr[1] = v->cpu.r[RDI];
	if (c & C_ODD) v->cpu.flags |= X86_AC, v->cpu.r[RDI]++;
	if (c & C_AWRY) v->cpu.r[RDI] = v->cpu.r[RBP] = v->cpu.r[RSP] = 1ull << 63 | v->cpu.r[RDI];
}
static void try_other(const struct other *o, bool kernel, enum mode mode)
{
	static const struct way none = {"", R, 0, {0}};
	static const uint8_t end[] = {0x0f, 0x0b};
	struct x86_rig *r = rigs[mode];
	struct x86_vcpu *v = r->v;
	char text[200];
	enum how how = kernel ? KERNEL_NO_WP : USER;
	memset(gmem_host(r->mem, CODE, SIZE), 0x66, SIZE);
	r->at = CODE;
	x86_rig_bytes(r, o->bytes, o->n);
	if (o->bytes[0] != 0x66 || o->n < 12) x86_rig_bytes(r, end, sizeof end);
	x86_wrote(v, CODE, SIZE);
	memset(gmem_host(r->mem, DATA, X86_PAGE), 0, X86_PAGE);
	set_page(r, GOOD, how);
	set_registers(v, &none, how);
	set_cause(v, o->cause, true);
	stop_rig_ready(r);
	bool good = stop_rig_run(r);
	struct stop_frame f = stop_rig_frame(r);
	uint64_t dr6 = v->dr[6] & 0xe00f;
	set_cause(v, 0, false);
	good &= r->told == o->vector && f.rip == CODE_LA + o->off && f.code == o->code &&
		(o->vector != DB || dr6 == o->dr6);
	if (good) return;
	(void)snprintf(text, sizeof text, "%s, %s, engine %u: #%lu code %#lx rip +%#lx dr6 %#lx",
		       o->name, kernel ? "kernel" : "user", mode, r->told, f.code, f.rip - CODE_LA,
		       dr6);
	test_fail(text, __FILE__, __LINE__);
}
TEST(x86_fault_others)
{
	open_rigs();
	for (unsigned k = 0; k < COUNT(others); k++)
		for (unsigned m = 0; m < ENGINES; m++) {
			if (others[k].whom & FOR_USER) try_other(&others[k], false, m);
			if (others[k].whom & FOR_KERNEL && m != IN_WINDOW)
				try_other(&others[k], true, m);
		}
	close_rigs();
}
/* What is not canonical, whatever uses it. */
TEST(x86_fault_not_canonical)
{
	struct other o = {.cause = C_AWRY};
	open_rigs();
	for (unsigned k = 0; k < COUNT(ways); k++) {
		const struct way *w = &ways[k];
		unsigned last;
		if (w->stack || w->use == X || w->code[0] == 0xc9 || w->code[0] == 0xff ||
		    w->code[0] == 0xd7 || w->code[0] == 0xac || w->code[0] == 0x8f)
			continue; /* of the stack, or by other registers */
		o.name = w->name;
		o.n = (uint8_t)length(w, &last);
		o.off = (uint8_t)last;
		o.vector = GP;
		memcpy(o.bytes, w->code, sizeof o.bytes);
		for (unsigned m = 0; m < ENGINES; m++) try_other(&o, false, m);
		for (unsigned m = 0; m < IN_WINDOW; m++) try_other(&o, true, m);
	}
	close_rigs();
}
