/* Which registers a debugger sees. GDB knows those of its own features by name; what it does not
 * know it shows all the same. */
#include "vm/debugger_regs.h"
#include "base/buf.h"
#include "engine/engine.h"
#include "engine/inspect.h"
#include "engine/x86_regs.h"
#include "vm/vm.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Offsets in XSAVE's area, SDM 1, 10.5.1 and 13.4. */
enum {
	AREA_FCW = 0,
	AREA_FSW = 2,
	AREA_FTW = 4,
	AREA_FOP = 6,
	AREA_FIP = 8,
	AREA_FDP = 16,
	AREA_MXCSR = 24,
	AREA_ST = 32,
	AREA_XMM = 160,
	AREA_BV = 512,
	AREA_YMM = 576,
};

struct row {
	const char *feature, *type, *group;
	unsigned bits;
	enum debugger_how how;
};

__attribute__((format(printf, 4, 5))) static void add(struct debugger_regs *r, const struct row *as,
						      unsigned reg, const char *name, ...)
{
	struct debugger_reg *to = &r->reg[r->n];
	va_list args;
	if (r->n == DEBUGGER_REGS) return;
	*to = (struct debugger_reg){.feature = as->feature,
				    .type = as->type,
				    .group = as->group,
				    .bits = (uint16_t)as->bits,
				    .how = as->how,
				    .reg = reg};
	va_start(args, name);
	(void)vsnprintf(to->name, sizeof(to->name), name, args);
	va_end(args);
	r->n++;
}

/* ---- RISC-V ---- */
static void rv64_general(struct debugger_regs *r)
{
	static const char *const names[] = {"zero", "ra", "sp",	 "gp",	"tp", "t0", "t1", "t2",
					    "fp",   "s1", "a0",	 "a1",	"a2", "a3", "a4", "a5",
					    "a6",   "a7", "s2",	 "s3",	"s4", "s5", "s6", "s7",
					    "s8",   "s9", "s10", "s11", "t3", "t4", "t5", "t6"};
	static const struct row x = {"org.gnu.gdb.riscv.cpu", "int", NULL, 64, REG_PLAIN};
	static const struct row sp = {"org.gnu.gdb.riscv.cpu", "data_ptr", NULL, 64, REG_PLAIN};
	static const struct row pc = {"org.gnu.gdb.riscv.cpu", "code_ptr", NULL, 64, REG_PLAIN};
	for (unsigned i = 0; i < 32; i++) {
		bool points = (i >= 2 && i <= 4) || i == 8;
		add(r, points ? &sp : i == 1 ? &pc : &x, REG_RV_X + i, "%s", names[i]);
	}
	add(r, &pc, REG_RV_PC, "pc");
	r->general = r->n;
}

static void rv64_float(struct debugger_regs *r)
{
	static const struct row f = {"org.gnu.gdb.riscv.fpu", "ieee_double", NULL, 64, REG_PLAIN};
	static const struct row c = {"org.gnu.gdb.riscv.fpu", "int", NULL, 32, REG_PLAIN};
	static const char *const names[] = {
		"ft0", "ft1", "ft2", "ft3", "ft4",  "ft5",  "ft6", "ft7", "fs0",  "fs1", "fa0",
		"fa1", "fa2", "fa3", "fa4", "fa5",  "fa6",  "fa7", "fs2", "fs3",  "fs4", "fs5",
		"fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11"};
	for (unsigned i = 0; i < 32; i++) add(r, &f, REG_RV_F + i, "%s", names[i]);
	add(r, &c, REG_RV_CSR + 1, "fflags");
	add(r, &c, REG_RV_CSR + 2, "frm");
	add(r, &c, REG_RV_CSR + 3, "fcsr");
}

static void rv64_init(struct debugger_regs *r, struct hart *h)
{
	enum { CSRS = 4096, FCSR = 3 };
	static const struct row c = {"org.gnu.gdb.riscv.csr", "int", "csr", 64, REG_PLAIN};
	static const struct row p = {"org.gnu.gdb.riscv.virtual", "int", NULL, 64, REG_PLAIN};
	static const struct row v = {"org.gnu.gdb.riscv.vector", "vector", "vector", 128, REG_PAIR};
	uint64_t val;
	rv64_general(r);
	rv64_float(r);
	for (unsigned i = 0; i < 32; i++) add(r, &v, REG_RV_V + 2 * i, "v%u", i);
	add(r, &p, REG_RV_PRIV, "priv");
	for (unsigned i = FCSR + 1; i < CSRS; i++) {
		const char *name = inspect_csr(i);
		if (name && !h->vm->ops->get(h->cpu, REG_RV_CSR + i, &val))
			add(r, &c, REG_RV_CSR + i, "%s", name);
	}
}

/* ---- x86-64 ---- */
#define CORE "org.gnu.gdb.i386.core"
static void x86_core(struct debugger_regs *r)
{
	static const struct row gpr = {CORE, "int64", NULL, 64, REG_PLAIN};
	static const struct row ptr = {CORE, "data_ptr", NULL, 64, REG_PLAIN};
	static const struct row pc = {CORE, "code_ptr", NULL, 64, REG_PLAIN};
	static const struct row fl = {CORE, "i386_eflags", NULL, 32, REG_PLAIN};
	static const struct row seg = {CORE, "int32", NULL, 32, REG_PLAIN};
	static const char *const names[] = {"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"};
	static const uint8_t number[] = {0, 3, 1, 2, 6, 7, 5, 4};
	static const char *const segs[] = {"cs", "ss", "ds", "es", "fs", "gs"};
	static const uint8_t at[] = {1, 2, 3, 0, 4, 5};
	for (unsigned i = 0; i < 8; i++)
		add(r, i < 6 ? &gpr : &ptr, REG_X86_GPR + number[i], "%s", names[i]);
	for (unsigned i = 8; i < 16; i++) add(r, &gpr, REG_X86_GPR + i, "r%u", i);
	add(r, &pc, REG_X86_RIP, "rip");
	add(r, &fl, REG_X86_RFLAGS, "eflags");
	for (unsigned i = 0; i < 6; i++) add(r, &seg, REG_X86_SEG + 4u * at[i], "%s", segs[i]);
}

static void x86_float(struct debugger_regs *r)
{
	static const struct row st = {CORE, "i387_ext", NULL, 80, REG_AREA};
	static const struct row f = {CORE, "int", "float", 32, REG_AREA};
	static const struct row tags = {CORE, "int", "float", 32, REG_X87_TAGS};
	static const struct row xmm = {"org.gnu.gdb.i386.sse", "vec128", NULL, 128, REG_AREA};
	static const struct row mx = {"org.gnu.gdb.i386.sse", "int", "vector", 32, REG_AREA};
	static const struct row ymm = {"org.gnu.gdb.i386.avx", "uint128", NULL, 128, REG_AREA};
	for (unsigned i = 0; i < 8; i++) add(r, &st, AREA_ST + 16 * i, "st%u", i);
	add(r, &f, AREA_FCW, "fctrl");
	add(r, &f, AREA_FSW, "fstat");
	add(r, &tags, AREA_FTW, "ftag");
	add(r, &f, AREA_FIP + 4, "fiseg");
	add(r, &f, AREA_FIP, "fioff");
	add(r, &f, AREA_FDP + 4, "foseg");
	add(r, &f, AREA_FDP, "fooff");
	add(r, &f, AREA_FOP, "fop");
	r->general = r->n;
	for (unsigned i = 0; i < 16; i++) add(r, &xmm, AREA_XMM + 16 * i, "xmm%u", i);
	add(r, &mx, AREA_MXCSR, "mxcsr");
	for (unsigned i = 0; i < 16; i++) add(r, &ymm, AREA_YMM + 16 * i, "ymm%uh", i);
}

static void x86_system(struct debugger_regs *r)
{
	static const struct row base = {"org.gnu.gdb.i386.segments", "int64", NULL, 64, REG_PLAIN};
	static const struct row s = {"org.lodge.x86.system", "int64", "system", 64, REG_PLAIN};
	static const char *const segs[] = {"es", "cs", "ss", "ds", "fs", "gs", "ldtr", "tr"};
	static const struct {
		const char *name;
		unsigned reg;
	} plain[] = {
		{"cr0", REG_X86_CR},
		{"cr2", REG_X86_CR + 2},
		{"cr3", REG_X86_CR + 3},
		{"cr4", REG_X86_CR + 4},
		{"cr8", REG_X86_CR + 8},
		{"efer", REG_X86_EFER},
		{"xcr0", REG_X86_XCR0},
		{"gdtr_base", REG_X86_GDT_BASE},
		{"gdtr_limit", REG_X86_GDT_LIMIT},
		{"idtr_base", REG_X86_IDT_BASE},
		{"idtr_limit", REG_X86_IDT_LIMIT},
		{"dr0", REG_X86_DR},
		{"dr1", REG_X86_DR + 1},
		{"dr2", REG_X86_DR + 2},
		{"dr3", REG_X86_DR + 3},
		{"dr6", REG_X86_DR + 6},
		{"dr7", REG_X86_DR + 7},
		{"apic_base", REG_X86_APIC_BASE},
		{"activity", REG_X86_ACTIVITY},
		{"star", REG_X86_MSR + 0xc0000081},
		{"lstar", REG_X86_MSR + 0xc0000082},
		{"cstar", REG_X86_MSR + 0xc0000083},
		{"sfmask", REG_X86_MSR + 0xc0000084},
		{"k_gs_base", REG_X86_MSR + 0xc0000102},
	};
	add(r, &base, REG_X86_SEG + 4 * 4 + SEG_BASE, "fs_base");
	add(r, &base, REG_X86_SEG + 4 * 5 + SEG_BASE, "gs_base");
	for (unsigned i = 0; i < COUNT(plain); i++) add(r, &s, plain[i].reg, "%s", plain[i].name);
	for (unsigned i = 0; i < 8; i++) {
		unsigned reg = REG_X86_SEG + 4 * i;
		if (i > 5) add(r, &s, reg, "%s", segs[i]);
		if (i < 4 || i > 5) add(r, &s, reg + SEG_BASE, "%s_base", segs[i]);
		add(r, &s, reg + SEG_LIMIT, "%s_limit", segs[i]);
		add(r, &s, reg + SEG_ACCESS, "%s_access", segs[i]);
	}
}

void debugger_regs_init(struct debugger_regs *r, struct hart *h, enum arch arch)
{
	*r = (struct debugger_regs){.arch = arch};
	if (arch == ARCH_RV64) {
		rv64_init(r, h);
		return;
	}
	x86_core(r);
	x86_float(r);
	x86_system(r);
}

/* ---- the description ---- */
static const char x86_types[] =
	"<flags id=\"i386_eflags\" size=\"4\">"
	"<field name=\"CF\" start=\"0\" end=\"0\"/><field name=\"\" start=\"1\" end=\"1\"/>"
	"<field name=\"PF\" start=\"2\" end=\"2\"/><field name=\"AF\" start=\"4\" end=\"4\"/>"
	"<field name=\"ZF\" start=\"6\" end=\"6\"/><field name=\"SF\" start=\"7\" end=\"7\"/>"
	"<field name=\"TF\" start=\"8\" end=\"8\"/><field name=\"IF\" start=\"9\" end=\"9\"/>"
	"<field name=\"DF\" start=\"10\" end=\"10\"/><field name=\"OF\" start=\"11\" end=\"11\"/>"
	"<field name=\"NT\" start=\"14\" end=\"14\"/><field name=\"RF\" start=\"16\" end=\"16\"/>"
	"<field name=\"VM\" start=\"17\" end=\"17\"/><field name=\"AC\" start=\"18\" end=\"18\"/>"
	"<field name=\"VIF\" start=\"19\" end=\"19\"/><field name=\"VIP\" start=\"20\" end=\"20\"/>"
	"<field name=\"ID\" start=\"21\" end=\"21\"/></flags>\n";
static const char vectors[] = "<vector id=\"v4f\" type=\"ieee_single\" count=\"4\"/>"
			      "<vector id=\"v2d\" type=\"ieee_double\" count=\"2\"/>"
			      "<vector id=\"v16i8\" type=\"int8\" count=\"16\"/>"
			      "<vector id=\"v8i16\" type=\"int16\" count=\"8\"/>"
			      "<vector id=\"v4i32\" type=\"int32\" count=\"4\"/>"
			      "<vector id=\"v2i64\" type=\"int64\" count=\"2\"/>";
static const char x86_vector[] =
	"<union id=\"vec128\"><field name=\"v4_float\" type=\"v4f\"/>"
	"<field name=\"v2_double\" type=\"v2d\"/><field name=\"v16_int8\" type=\"v16i8\"/>"
	"<field name=\"v8_int16\" type=\"v8i16\"/><field name=\"v4_int32\" type=\"v4i32\"/>"
	"<field name=\"v2_int64\" type=\"v2i64\"/><field name=\"uint128\" type=\"uint128\"/>"
	"</union>\n";
static const char rv64_vector[] =
	"<union id=\"vector\"><field name=\"f\" type=\"v4f\"/><field name=\"d\" type=\"v2d\"/>"
	"<field name=\"b\" type=\"v16i8\"/><field name=\"s\" type=\"v8i16\"/>"
	"<field name=\"w\" type=\"v4i32\"/><field name=\"l\" type=\"v2i64\"/>"
	"<field name=\"q\" type=\"uint128\"/></union>\n";

static void feature_begin(const char *name, struct buf *to)
{
	buf_fmt(to, "<feature name=\"%s\">\n", name);
	if (!strcmp(name, CORE)) buf_fmt(to, "%s", x86_types);
	if (!strcmp(name, "org.gnu.gdb.i386.sse")) buf_fmt(to, "%s%s", vectors, x86_vector);
	if (!strcmp(name, "org.gnu.gdb.riscv.vector")) buf_fmt(to, "%s%s", vectors, rv64_vector);
}

void debugger_regs_xml(const struct debugger_regs *r, struct buf *to)
{
	const char *feature = NULL;
	buf_fmt(to,
		"<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n"
		"<target>\n<architecture>%s</architecture>\n",
		r->arch == ARCH_RV64 ? "riscv:rv64" : "i386:x86-64");
	for (unsigned i = 0; i < r->n; i++) {
		const struct debugger_reg *g = &r->reg[i];
		if (feature != g->feature) {
			if (feature) buf_fmt(to, "</feature>\n");
			feature_begin(g->feature, to);
		}
		feature = g->feature;
		buf_fmt(to, "<reg name=\"%s\" bitsize=\"%u\" type=\"%s\" regnum=\"%u\"", g->name,
			g->bits, g->type, i);
		if (g->group) buf_fmt(to, " group=\"%s\"", g->group);
		buf_fmt(to, "/>\n");
	}
	buf_fmt(to, "</feature>\n</target>\n");
}

/* ---- XSAVE's area, in words ---- */
/* The bit of XSTATE_BV that an offset's part has: without it, it is as after reset. */
static unsigned part_of(unsigned off)
{
	if (off >= AREA_YMM) return 4;
	if (off >= AREA_XMM) return 2;
	return off >= AREA_MXCSR && off < AREA_ST ? 0 : 1;
}

static uint8_t area_byte(struct hart *h, unsigned off)
{
	unsigned part = part_of(off);
	if (part && !(hart_get(h, REG_X86_XSAVE + AREA_BV / 8) & part))
		return off == AREA_FCW ? 0x7f : off == AREA_FCW + 1 ? 3 : 0;
	return (uint8_t)(hart_get(h, REG_X86_XSAVE + off / 8) >> 8 * (off % 8));
}

static void area_get(struct hart *h, unsigned off, uint8_t *to, unsigned n)
{
	for (unsigned i = 0; i < n; i++) to[i] = area_byte(h, off + i);
}

static void area_set(struct hart *h, unsigned off, const uint8_t *from, unsigned n)
{
	unsigned bv = REG_X86_XSAVE + AREA_BV / 8;
	for (unsigned i = 0; i < n; i++) {
		unsigned reg = REG_X86_XSAVE + (off + i) / 8, shift = 8 * ((off + i) % 8);
		uint64_t was = hart_get(h, reg) & ~(0xffull << shift);
		hart_set(h, reg, was | (uint64_t)from[i] << shift);
	}
	hart_set(h, bv, hart_get(h, bv) | part_of(off));
}

/* Two bits a register, as fsave has it: valid, zero, special, empty. SDM 1, 8.1.7. */
static unsigned x87_tag(struct hart *h, unsigned st)
{
	uint8_t v[10];
	area_get(h, AREA_ST + 16 * st, v, sizeof(v));
	uint64_t mantissa = load_le(v, 8);
	unsigned exponent = (unsigned)load_le(v + 8, 2) & 0x7fff;
	if (!exponent && !mantissa) return 1;
	return !exponent || exponent == 0x7fff || !(mantissa >> 63) ? 2 : 0;
}

static unsigned x87_tags(struct hart *h)
{
	unsigned used = area_byte(h, AREA_FTW), top = area_byte(h, AREA_FSW + 1) >> 3 & 7, tags = 0;
	for (unsigned i = 0; i < 8; i++)
		tags |= (used >> i & 1 ? x87_tag(h, (i - top) & 7) : 3) << 2 * i;
	return tags;
}

static void x87_tags_set(struct hart *h, unsigned tags)
{
	uint8_t used = 0;
	for (unsigned i = 0; i < 8; i++) used |= (uint8_t)(((tags >> 2 * i & 3) != 3) << i);
	area_set(h, AREA_FTW, &used, 1);
}

/* What x87's are shorter than GDB has them. */
static unsigned area_len(const struct debugger_reg *g)
{
	bool whole =
		g->bits != 32 || g->reg == AREA_MXCSR || g->reg == AREA_FIP || g->reg == AREA_FDP;
	return whole ? g->bits / 8 : 2;
}

/* ---- access ---- */
unsigned debugger_reg_get(const struct debugger_regs *r, struct hart *h, unsigned n, uint8_t *to)
{
	if (n >= r->n) return 0;
	const struct debugger_reg *g = &r->reg[n];
	memset(to, 0, g->bits / 8);
	switch (g->how) {
	case REG_PLAIN: store_le(to, hart_get(h, g->reg), g->bits / 8); break;
	case REG_PAIR:
		store_le(to, hart_get(h, g->reg), 8);
		store_le(to + 8, hart_get(h, g->reg + 1), 8);
		break;
	case REG_AREA: area_get(h, g->reg, to, area_len(g)); break;
	case REG_X87_TAGS: store_le(to, x87_tags(h), g->bits / 8); break;
	}
	return g->bits / 8;
}

bool debugger_reg_set(const struct debugger_regs *r, struct hart *h, unsigned n,
		      const uint8_t *from, unsigned len)
{
	if (n >= r->n || len != r->reg[n].bits / 8) return false;
	const struct debugger_reg *g = &r->reg[n];
	switch (g->how) {
	case REG_PLAIN: return h->vm->ops->set(h->cpu, g->reg, load_le(from, len)) >= 0;
	case REG_PAIR:
		hart_set(h, g->reg, load_le(from, 8));
		hart_set(h, g->reg + 1, load_le(from + 8, 8));
		break;
	case REG_AREA: area_set(h, g->reg, from, area_len(g)); break;
	case REG_X87_TAGS: x87_tags_set(h, (unsigned)load_le(from, 4)); break;
	}
	return true;
}
