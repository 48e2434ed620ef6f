#ifndef ENGINE_RV64_RANDOM_H
#define ENGINE_RV64_RANDOM_H
#include "engine/rig.h"
#include <stdio.h>
#include <string.h>
/* For tests: random programs that end. Loops, nested or tangled, take from one store of fuel;
 * branches go forward; functions lie behind, in another page; a trap is folded into a register and
 * its instruction skipped. Accesses go where it is awkward: page ends, read-only and missing pages,
 * a device, no address at all. What a program does depends on nothing but its seed and choices. */
enum {
	RANDOM_HANDLER = 0x0, /* offsets from RIG_RAM */
	RANDOM_CODE = 0x1000,
	RANDOM_CODE_END = 0x5000,
	RANDOM_DATA = 0x10000, /* eight pages */
	RANDOM_TABLES = 0x20000,
	RANDOM_PTES = 0x30000, /* entries to put into the last table */
	RANDOM_TOP = 0x31000,
	RANDOM_FUEL = 2500,
	RANDOM_FUNCTIONS = 3,
	RANDOM_LABELS = 24,
	/* registers that are not for random use; below, anything may happen to them */
	REG_FREE = 24,
	REG_RESUME = 24, /* where to go on when a jump goes astray */
	REG_LINK = 25,
	REG_LOOP = 26, /* to 28 */
	REG_FUEL = 29,
	REG_TRAPS = 30,
	REG_TMP = 31,
};
#define RANDOM_ALIAS 0x40000000ull /* the data pages again, in another order, with other rights */
#define RANDOM_DONE  0x600dull

struct random {
	struct rig *r;
	const uint8_t *data; /* choices, while there are any */
	size_t size;
	uint64_t s;
	bool paged, user; /* S- or U-mode under Sv39 */
	gpa_t function[RANDOM_FUNCTIONS];
	struct label {
		gpa_t from;
		unsigned left; /* so many items from here; 0: free */
	} label[RANDOM_LABELS];
	struct loop_open {
		gpa_t top;
		bool open;
	} loop[3];
};

static inline uint64_t random_bits(struct random *g)
{
	g->s ^= g->s << 13;
	g->s ^= g->s >> 7;
	g->s ^= g->s << 17;
	return g->s;
}
static inline unsigned pick(struct random *g, unsigned n)
{
	if (!g->size) return (unsigned)(random_bits(g) >> 20) % n;
	g->size--;
	return *g->data++ % n;
}
static inline unsigned any_x(struct random *g) { return pick(g, REG_FREE); }

/* Compressed if there is such a form, every other time. */
static inline void random_put(struct random *g, enum rv64_op op, struct rv64_insn i)
{
	uint32_t word = rv64_encode(op, &i);
	rv64_decode(&i, word);
	uint16_t half = pick(g, 2) ? rv64_compress(&i) : 0;
	if (half)
		rig_half(g->r, half);
	else
		rig_word(g->r, word);
}

/* ---- forward branches: patched when their distance has been walked ---- */
static inline void label_patch(struct random *g, struct label *l)
{
	uint32_t word = 0;
	struct rv64_insn i;
	must(gmem_read(g->r->mem, l->from, &word, 4));
	rv64_decode(&i, word);
	i.imm = (int32_t)(g->r->at - l->from);
	word = rv64_encode((enum rv64_op)i.op, &i);
	must(gmem_write(g->r->mem, l->from, &word, 4));
	l->left = 0;
}
static inline void labels_step(struct random *g, bool all)
{
	for (unsigned k = 0; k < RANDOM_LABELS; k++)
		if (g->label[k].left && (!--g->label[k].left || all)) label_patch(g, &g->label[k]);
}
static inline void random_branch(struct random *g)
{
	static const enum rv64_op op[] = {OP_beq, OP_bne, OP_blt, OP_bge, OP_bltu, OP_bgeu, OP_jal};
	for (unsigned k = 0; k < RANDOM_LABELS; k++) {
		struct label *l = &g->label[k];
		if (l->left) continue;
		*l = (struct label){g->r->at, 1 + pick(g, 8)};
		enum rv64_op o = op[pick(g, 7)];
		unsigned a = any_x(g), b = pick(g, 3) ? any_x(g) : 0;
		rig_op(g->r, o, 0, o == OP_jal ? 0 : a, o == OP_jal ? 0 : b, 0);
		return;
	}
}

/* ---- loops ---- */
static inline void loop_begin(struct random *g, unsigned k)
{
	rig_op(g->r, OP_addi, REG_LOOP + k, 0, 0, 1 + (int32_t)pick(g, k ? 12 : 60));
	g->loop[k] = (struct loop_open){g->r->at, true};
}
/* Branches behind a jump, since it may be far. */
static inline void loop_end(struct random *g, unsigned k)
{
	struct rig *r = g->r;
	if (!g->loop[k].open) return;
	int32_t back = (int32_t)(g->loop[k].top - r->at);
	bool far = back < -3900 || pick(g, 4) == 0;
	rig_op(r, OP_addi, REG_LOOP + k, REG_LOOP + k, 0, -1);
	rig_op(r, OP_addi, REG_FUEL, REG_FUEL, 0, -1);
	rig_op(r, OP_bge, 0, 0, REG_FUEL, far ? 12 : 8);
	back -= 12;
	if (far) {
		rig_op(r, OP_bge, 0, 0, REG_LOOP + k, 8);
		rig_op(r, OP_jal, 0, 0, 0, back - 4);
	} else {
		rig_op(r, OP_blt, 0, 0, REG_LOOP + k, back);
	}
	g->loop[k].open = false;
}
static inline void random_loop(struct random *g)
{
	unsigned k = pick(g, 3);
	if (g->loop[k].open)
		loop_end(g, k);
	else
		loop_begin(g, k);
}

/* ---- instructions ---- */
/* What only computes or loads. Stores go where they are aimed, lest they change the program. */
static inline bool is_plain(enum rv64_op op)
{
	static const char *const no[] = {"beq",	   "bne",  "blt", "bge", "jal",	  "ecall", "ebreak",
					 "mret",   "sret", "wfi", "wrs", "fence", "csr",   "sfence",
					 "sinval", "cbo",  "amo", "sc.", "auipc"};
	static const enum rv64_op stores[] = {OP_sb, OP_sh, OP_sw, OP_sd, OP_fsh, OP_fsw, OP_fsd};
	const char *name = rv64_info(op)->name;
	if (*name == 'v' && name[1] == 's' && strstr(rv64_info(op)->syntax, "(s)")) return false;
	for (unsigned k = 0; k < COUNT(no); k++)
		if (!strncmp(name, no[k], strlen(no[k]))) return false;
	for (unsigned k = 0; k < COUNT(stores); k++)
		if (op == stores[k]) return false;
	return op != OP_illegal;
}
struct plain_ops {
	unsigned n;
	uint16_t op[OP__max];
};
static inline void plain_fill(struct plain_ops *p, bool vector)
{
	for (unsigned op = 0; op < OP__max; op++)
		if (is_plain((enum rv64_op)op) &&
		    (*rv64_info((enum rv64_op)op)->name == 'v') == vector)
			p->op[p->n++] = (uint16_t)op;
}
static inline enum rv64_op plain_op(struct random *g, bool vector)
{
	static struct plain_ops ops[2];
	if (!ops[0].n) plain_fill(&ops[0], false), plain_fill(&ops[1], true);
	const struct plain_ops *p = &ops[vector];
	unsigned k = pick(g, 256) * 256 + pick(g, 256);
	return (enum rv64_op)p->op[k % p->n];
}
static inline void random_plain(struct random *g)
{
	enum rv64_op op = plain_op(g, pick(g, 16) == 0);
	struct rv64_insn i = {.rd = (uint8_t)any_x(g),
			      .rs1 = (uint8_t)any_x(g),
			      .rs2 = (uint8_t)any_x(g),
			      .rs3 = (uint8_t)any_x(g),
			      .rm = pick(g, 3) ? RM_DYN : (uint8_t)pick(g, 8)};
	i.imm = pick(g, 2) ? (int32_t)pick(g, 64) - 32
			   : (int32_t)(pick(g, 256) << 8 | pick(g, 256));
	random_put(g, op, i);
}

/* x = an address, awkward more often than not. */
static inline void random_base(struct random *g, unsigned x)
{
	static const uint64_t odd[] = {RIG_STOP + 256, RIG_RAM + RIG_SIZE, 0,
				       1ull << 63,     0x0000008000000000, 0xffffffff80000000,
				       RIG_STOP + 4092};
	uint64_t at = RIG_RAM + RANDOM_DATA + (uint64_t)pick(g, 8) * PAGE_SIZE;
	unsigned how = pick(g, 16);
	if (how < 6 && g->paged) at += RANDOM_ALIAS - RIG_RAM - RANDOM_DATA;
	if (how == 15) at = odd[pick(g, COUNT(odd))];
	at += pick(g, 3) ? 8ull * pick(g, 64) : 4064 + pick(g, 40);
	if (how & 1) at &= ~7ull;
	rig_li(g->r, x, at);
}
/* Accesses to a few places off x; neither it nor y is loaded. */
static inline void random_accesses(struct random *g, unsigned x, unsigned y)
{
	static const enum rv64_op op[] = {
		OP_lb,	     OP_lbu,	   OP_lh,	OP_lhu,	      OP_lw,	   OP_lwu,
		OP_ld,	     OP_sb,	   OP_sh,	OP_sw,	      OP_sd,	   OP_fld,
		OP_flw,	     OP_fsd,	   OP_fsw,	OP_flh,	      OP_fsh,	   OP_ld,
		OP_sd,	     OP_lr_w,	   OP_lr_d,	OP_sc_w,      OP_sc_d,	   OP_amoadd_w,
		OP_amoadd_d, OP_amoswap_w, OP_amoxor_d, OP_amomaxu_w, OP_amomin_d, OP_cbo_zero};
	unsigned n = 1 + pick(g, 4);
	for (int32_t off = (int32_t)pick(g, 5) * 8; n--; off += 8) {
		struct rv64_insn i = {.rd = (uint8_t)any_x(g),
				      .rs1 = (uint8_t)x,
				      .rs2 = (uint8_t)any_x(g),
				      .imm = pick(g, 8) ? off : (int32_t)pick(g, 256) * 8 - 1024};
		if (pick(g, 8) == 0) i.imm += (int32_t)pick(g, 8);
		if (i.rd == x || i.rd == y) i.rd = 0;
		random_put(g, op[pick(g, COUNT(op))], i);
	}
}
static inline void random_memory(struct random *g)
{
	unsigned x = 8 + pick(g, 8);
	random_base(g, x);
	random_accesses(g, x, x);
}
/* A pointer that walks, perhaps over the end of a page; or two, in a loop without another branch.
 */
static inline void random_walk(struct random *g)
{
	unsigned x = 8 + pick(g, 8), y = pick(g, 2) ? x : 8 + pick(g, 8), k = pick(g, 3);
	bool tight = pick(g, 2);
	if (g->loop[k].open) return;
	random_base(g, x);
	if (y != x) random_base(g, y);
	loop_begin(g, k);
	random_accesses(g, x, y);
	rig_op(g->r, OP_addi, x, x, 0, (int32_t)pick(g, 32) - 8);
	if (y != x) random_accesses(g, y, x);
	if (!tight) {
		loop_end(g, k);
		return;
	}
	rig_op(g->r, OP_addi, REG_LOOP + k, REG_LOOP + k, 0, -1);
	rig_op(g->r, OP_blt, 0, 0, REG_LOOP + k, (int32_t)(g->loop[k].top - g->r->at));
	g->loop[k].open = false;
}
/* Vectors of some shape, in registers and in memory. */
static inline void random_vector(struct random *g)
{
	static const enum rv64_op store[] = {OP_vse8_v,	  OP_vse16_v, OP_vse32_v, OP_vse64_v,
					     OP_vsse16_v, OP_vs2r_v,  OP_vle8_v,  OP_vle8ff_v};
	unsigned x = 8 + pick(g, 8), stride = any_x(g);
	random_base(g, x);
	rig_op(g->r, OP_addi, stride == x ? 0 : stride, 0, 0, (int32_t)pick(g, 64) - 32);
	int32_t type = (int32_t)(pick(g, 4) << 3 | pick(g, 8) | pick(g, 4) << 6);
	unsigned how = pick(g, 4), low = pick(g, 3) ? 0 : pick(g, 2) ? 3 : 7;
	if (how < 2)
		rig_op(g->r, OP_vsetivli, 0, pick(g, 32), 0, type);
	else if (how == 2)
		rig_op(g->r, OP_vsetvli, any_x(g), 0, 0, type & ~4);
	else if (pick(g, 2))
		rig_op(g->r, OP_vsetvli, any_x(g), any_x(g), 0, type & ~4);
	for (unsigned n = 1 + pick(g, 6); n--;) {
		enum rv64_op op = pick(g, 6) ? plain_op(g, true) : store[pick(g, COUNT(store))];
		struct rv64_insn i = {.rd = (uint8_t)any_x(g),
				      .rs1 = (uint8_t)any_x(g),
				      .rs2 = (uint8_t)any_x(g),
				      .rm = (uint8_t) !!pick(g, 3)};
		i.rd &= (uint8_t)~low;
		i.rs1 &= (uint8_t)~low;
		i.rs2 &= (uint8_t)~low;
		if (strstr(rv64_info(op)->syntax, "(s)")) {
			i.rs1 = (uint8_t)x;
			if (op == OP_vsse16_v || pick(g, 2)) i.rs2 = (uint8_t)stride;
		}
		if (!strncmp(rv64_info(op)->name, "vset", 4)) op = OP_vadd_vv;
		rig_word(g->r, rv64_encode(op, &i));
	}
}
/* What is reserved and retried: the usual loop, which another iteration of may find broken. */
static inline void random_reserve(struct random *g)
{
	unsigned x = 8 + pick(g, 8), wide = pick(g, 2), y = any_x(g), z = any_x(g);
	random_base(g, x);
	rig_op(g->r, OP_andi, x, x, 0, -8);
	rig_op(g->r, wide ? OP_lr_d : OP_lr_w, y, x, 0, 0);
	if (pick(g, 2)) random_plain(g);
	rig_op(g->r, wide ? OP_sc_d : OP_sc_w, z, x, y, 0);
}
/* As compilers make a quiet compare of a signalling one, and a branch by it. */
static inline void random_quiet(struct random *g)
{
	static const enum rv64_op op[] = {OP_flt_d, OP_fle_d, OP_flt_s, OP_fle_s};
	unsigned x = 1 + pick(g, REG_FREE - 1), y = pick(g, 8) ? x : any_x(g), z = any_x(g);
	rig_op(g->r, OP_csrrs, x, 0, 0, CSR_FFLAGS);
	if (pick(g, 4) == 0) random_plain(g);
	rig_op(g->r, op[pick(g, 4)], z, pick(g, 32), pick(g, 32), 0);
	rig_op(g->r, OP_csrrw, 0, y, 0, CSR_FFLAGS);
	rig_op(g->r, OP_bne, 0, z, 0, 8);
	rig_op(g->r, OP_addi, z, z, 0, 1);
	rig_op(g->r, OP_csrrs, any_x(g), 0, 0, CSR_FFLAGS);
}
static inline void random_csr(struct random *g)
{
	static const uint16_t csr[] = {CSR_FFLAGS, CSR_FRM, CSR_FCSR, CSR_FRM, CSR_FFLAGS};
	static const enum rv64_op op[] = {OP_csrrw,  OP_csrrs,	OP_csrrc,
					  OP_csrrwi, OP_csrrsi, OP_csrrci};
	struct rig *r = g->r;
	unsigned how = pick(g, 10), status = g->paged ? CSR_SSTATUS : CSR_MSTATUS;
	enum rv64_op change = pick(g, 2) ? OP_csrrs : OP_csrrc;
	static const uint64_t bit[] = {MSTATUS_FS, MSTATUS_FS, MSTATUS_SUM, MSTATUS_MXR, 1 << 13};
	if (how < 3) {
		random_quiet(g);
	} else if (how < 6) {
		rig_op(r, op[pick(g, 6)], any_x(g), any_x(g), 0, csr[pick(g, 5)]);
	} else if (how < 8) {
		unsigned b = pick(g, 5);
		rig_li(r, REG_TMP, bit[b]);
		rig_op(r, change, 0, REG_TMP, 0, (int32_t)status);
		if (b < 2) rig_op(r, OP_csrrs, 0, REG_TMP, 0, (int32_t)status);
	} else {
		rig_op(r, op[pick(g, 6)], any_x(g), any_x(g), 0, CSR_SSCRATCH);
	}
}
/* Another entry for a page of the alias, and the fence that it needs. */
static inline void random_remap(struct random *g)
{
	struct rig *r = g->r;
	if (!g->paged) return;
	unsigned k = pick(g, 8);
	rig_li(r, REG_TMP, RIG_RAM + RANDOM_PTES + 8 * pick(g, 16));
	rig_op(r, OP_ld, REG_RESUME, REG_TMP, 0, 0);
	rig_li(r, REG_LINK, RIG_RAM + RANDOM_TABLES + 3 * PAGE_SIZE + 8 * k);
	rig_li(r, REG_TMP, RANDOM_ALIAS + k * PAGE_SIZE);
	if (g->user) {
		rig_op(r, OP_ecall, 0, 0, 0, 0);
		return;
	}
	rig_op(r, OP_sd, 0, REG_LINK, REG_RESUME, 0);
	rig_op(r, OP_sfence_vma, 0, pick(g, 2) ? REG_TMP : 0, 0, 0);
}
static inline void random_astray(struct random *g)
{
	static const uint64_t nowhere[] = {
		0x10,	      1ull << 63, RIG_RAM + RIG_SIZE, RANDOM_ALIAS + (1 << 20),
		0x8000000000, ~1ull};
	struct rig *r = g->r;
	rig_li(r, REG_TMP, nowhere[pick(g, COUNT(nowhere))]);
	rig_op(r, OP_auipc, REG_RESUME, 0, 0, 0);
	rig_op(r, OP_addi, REG_RESUME, REG_RESUME, 0, 12);
	rig_op(r, OP_jalr, pick(g, 2) ? 0 : REG_LINK, REG_TMP, 0, 0);
}
static inline void random_special(struct random *g)
{
	switch (pick(g, 6)) {
	case 0:
		if (!g->user) rig_op(g->r, OP_ecall, 0, 0, 0, 0);
		break;
	case 1: rig_half(g->r, 0x9002); break; /* c.ebreak */
	case 2: rig_op(g->r, OP_fence, 0, 0, 0, 0xff); break;
	case 3: rig_op(g->r, OP_fence_i, 0, 0, 0, 0); break;
	case 4: rig_word(g->r, pick(g, 2) ? 0 : 0xffffffff); break;
	default: random_astray(g);
	}
}
/* A word in the middle of the program changes, each time round to something else. */
static inline void random_patch(struct random *g)
{
	struct rig *r = g->r;
	unsigned x = any_x(g);
	if (g->paged) return;
	gpa_t at = (r->at + 3 * 20 + 4 * 4 + 7) & ~7ull; /* behind what follows, and fillers */
	struct rv64_insn i = {.rd = (uint8_t)x, .rs1 = (uint8_t)x, .imm = (int32_t)pick(g, 64)};
	uint32_t word = rv64_encode(OP_addi, &i), other = rv64_encode(OP_xori, &i);
	rig_li(r, REG_RESUME, word ^ other);
	rig_li(r, REG_TMP, at);
	rig_op(r, OP_amoxor_w, 0, REG_TMP, REG_RESUME, 0);
	rig_op(r, OP_fence_i, 0, 0, 0, 0);
	while (r->at < at) rig_half(r, 0x0001);
	rig_word(r, word);
}
static inline void random_call(struct random *g)
{
	gpa_t f = g->function[pick(g, RANDOM_FUNCTIONS)];
	if (pick(g, 2)) {
		rig_op(g->r, OP_jal, REG_LINK, 0, 0, (int32_t)(f - g->r->at));
	} else {
		rig_li(g->r, REG_LINK, f);
		rig_op(g->r, OP_jalr, REG_LINK, REG_LINK, 0, 0);
	}
}

static inline void random_item(struct random *g, bool leaf)
{
	unsigned how = pick(g, 32);
	labels_step(g, false);
	if (how < 3)
		random_vector(g);
	else if (how < 13)
		random_plain(g);
	else if (how < 18)
		random_memory(g);
	else if (how < 19)
		random_walk(g);
	else if (how < 22 && !leaf)
		random_loop(g);
	else if (how < 25)
		random_branch(g);
	else if (how < 26)
		random_reserve(g);
	else if (how < 28)
		random_csr(g);
	else if (how < 29 && !leaf)
		random_call(g);
	else if (how < 30 && !leaf)
		random_special(g);
	else if (how < 31 && !leaf)
		random_remap(g);
	else if (!leaf)
		random_patch(g);
}

/* ---- the frame ---- */
static inline void random_handler(struct rig *r)
{
	r->at = RIG_RAM + RANDOM_HANDLER;
	rig_op(r, OP_csrrw, 0, REG_TMP, 0, CSR_MSCRATCH);
	rig_op(r, OP_csrrs, REG_TMP, 0, 0, CSR_MTVAL);
	rig_op(r, OP_rori, REG_TRAPS, REG_TRAPS, 0, 57);
	rig_op(r, OP_xor, REG_TRAPS, REG_TRAPS, REG_TMP, 0);
	rig_op(r, OP_csrrs, REG_TMP, 0, 0, CSR_MCAUSE);
	rig_op(r, OP_add, REG_TRAPS, REG_TRAPS, REG_TMP, 0);
	rig_op(r, OP_addi, REG_TMP, REG_TMP, 0, -CAUSE_ECALL_U); /* as random_remap asks */
	rig_op(r, OP_bne, 0, REG_TMP, 0, 20);
	rig_op(r, OP_sd, 0, REG_LINK, REG_RESUME, 0);
	rig_op(r, OP_csrrs, REG_TMP, 0, 0, CSR_MSCRATCH);
	rig_op(r, OP_sfence_vma, 0, REG_TMP, 0, 0);
	rig_op(r, OP_addi, REG_TMP, 0, 0, 0);
	rig_op(r, OP_addi, REG_TMP, REG_TMP, 0, CAUSE_ECALL_U - CAUSE_FETCH_PAGE);
	rig_op(r, OP_beq, 0, REG_TMP, 0, 60);
	rig_op(r, OP_addi, REG_TMP, REG_TMP, 0, CAUSE_FETCH_PAGE - CAUSE_FETCH_ACCESS);
	rig_op(r, OP_beq, 0, REG_TMP, 0, 52);
	rig_op(r, OP_csrrs, REG_TMP, 0, 0, CSR_MEPC);
	rig_op(r, OP_lhu, REG_TMP, REG_TMP, 0, 0);
	rig_op(r, OP_andi, REG_TMP, REG_TMP, 0, 3);
	rig_op(r, OP_sltiu, REG_TMP, REG_TMP, 0, 3);
	rig_op(r, OP_slli, REG_TMP, REG_TMP, 0, 1);
	rig_op(r, OP_csrrw, 0, 1, 0, CSR_MSCRATCH);
	rig_op(r, OP_csrrs, 1, 0, 0, CSR_MEPC);
	rig_op(r, OP_addi, 1, 1, 0, 4);
	rig_op(r, OP_sub, 1, 1, REG_TMP, 0);
	rig_op(r, OP_csrrw, 0, 1, 0, CSR_MEPC);
	rig_op(r, OP_csrrs, 1, 0, 0, CSR_MSCRATCH);
	rig_op(r, OP_mret, 0, 0, 0, 0);
	rig_op(r, OP_csrrw, 0, REG_RESUME, 0, CSR_MEPC);
	rig_op(r, OP_mret, 0, 0, 0, 0);
}

enum { RANDOM_RWX = PTE_V | PTE_R | PTE_W | PTE_X | PTE_A | PTE_D };
static inline uint64_t random_pte(gpa_t at, uint64_t bits) { return at >> 12 << 10 | bits; }

/* Memory at its place, the device too, and the data pages under an alias. */
static inline void random_tables(struct random *g)
{
	static const uint64_t rights[] = {RANDOM_RWX,
					  PTE_V | PTE_R | PTE_A,
					  0,
					  PTE_V | PTE_R | PTE_W,
					  RANDOM_RWX ^ PTE_U,
					  PTE_V | PTE_X | PTE_A,
					  PTE_V | PTE_R | PTE_W | PTE_A,
					  RANDOM_RWX};
	struct rig *r = g->r;
	gpa_t root = RIG_RAM + RANDOM_TABLES, low = root + PAGE_SIZE, alias = low + PAGE_SIZE;
	uint64_t u = g->user ? PTE_U : 0;
	rig_put64(r, root + 8 * (RIG_RAM >> 30), random_pte(RIG_RAM, RANDOM_RWX | u));
	rig_put64(r, root + 8 * (RIG_STOP >> 30), random_pte(low, PTE_V));
	rig_put64(r, low, random_pte(0, RANDOM_RWX | u)); /* 2 MiB, the device among them */
	rig_put64(r, root + 8 * (RANDOM_ALIAS >> 30), random_pte(alias, PTE_V));
	rig_put64(r, alias, random_pte(alias + PAGE_SIZE, PTE_V));
	for (unsigned k = 0; k < 16; k++) {
		uint64_t bits = rights[pick(g, 8)];
		gpa_t at = RIG_RAM + RANDOM_DATA + (uint64_t)pick(g, 8) * PAGE_SIZE;
		if (bits & PTE_V) bits ^= u;
		if (k < 8) rig_put64(r, alias + PAGE_SIZE + 8 * k, random_pte(at, bits));
		rig_put64(r, RIG_RAM + RANDOM_PTES + 8 * k, random_pte(at, rights[pick(g, 8)] ^ u));
	}
}

static inline uint64_t random_value(struct random *g)
{
	static const uint64_t edge[] = {
		0, 1, ~0ull, 1ull << 63, ~0ull >> 1, 0x7fffffff, 0x80000000, 0xffffffff,
		/* and floats: 1, infinity, NaNs, the least numbers, of both sizes */
		0x3ff0000000000000, 0x7ff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001,
		0x000fffffffffffff, 0xffffffff3f800000, 0xffffffff7f800000, 0xffffffff7fa00000,
		0xffffffff00000001, 0xffffffff7fc00000, 0xffffffffffff3c00, 0x43e0000000000000};
	unsigned how = pick(g, 4);
	if (how == 0) return edge[pick(g, COUNT(edge))];
	if (how == 1) return 0xffffffff00000000 | random_bits(g);
	return random_bits(g) >> (how == 2 ? pick(g, 64) : 0);
}

static inline void random_registers(struct random *g)
{
	struct rv64_cpu *c = g->r->c;
	for (unsigned k = 1; k < REG_FREE; k++) c->x[k] = random_value(g);
	for (unsigned k = 0; k < 32; k++) c->f[k] = random_value(g);
	for (unsigned k = 8; k < 16; k++)
		if (pick(g, 2)) c->x[k] = RIG_RAM + RANDOM_DATA + (c->x[k] & 0x7fff);
	c->x[REG_FUEL] = RANDOM_FUEL;
	c->x[REG_LINK] = c->x[REG_RESUME] = RIG_RAM + RANDOM_CODE;
	for (gpa_t at = RANDOM_DATA; at < RANDOM_TABLES; at += 8)
		rig_put64(g->r, RIG_RAM + at, random_bits(g));
}

static inline void random_mode(struct random *g)
{
	struct rv64_cpu *c = g->r->c;
	(void)rv64_cpu_set(c, REG_RV_CSR + CSR_PMPCFG0, PMP_NAPOT | PMP_R | PMP_W | PMP_X);
	(void)rv64_cpu_set(c, REG_RV_CSR + CSR_PMPADDR0, (1ull << 54) - 1);
	(void)rv64_cpu_set(c, REG_RV_CSR + CSR_MTVEC, RIG_RAM + RANDOM_HANDLER);
	(void)rv64_cpu_set(c, REG_RV_CSR + CSR_MENVCFG, pick(g, 2) ? ENVCFG_ADUE | ENVCFG_CBZE : 0);
	(void)rv64_cpu_set(c, REG_RV_CSR + CSR_MSTATUS, MSTATUS_FS | (pick(g, 2) ? MSTATUS_VS : 0));
	(void)rv64_cpu_set(c, REG_RV_CSR + CSR_FRM, pick(g, 3) ? 0 : pick(g, 5));
	if (!g->paged) return;
	random_tables(g);
	(void)rv64_cpu_set(c, REG_RV_CSR + CSR_SATP,
			   8ull << SATP_MODE_SHIFT | (RIG_RAM + RANDOM_TABLES) >> PAGE_SHIFT);
	(void)rv64_cpu_set(c, REG_RV_PRIV, g->user ? PRIV_U : PRIV_S);
}

/* A program for r, which has been reset; it begins at RANDOM_CODE plus something even, in the end
 * stores RANDOM_DONE to the device. */
static inline void random_program(struct rig *r, uint64_t seed, const uint8_t *data, size_t size)
{
	struct random g = {.r = r, .data = data, .size = size, .s = seed * 0x9e3779b97f4a7c15 | 1};
	for (unsigned k = 0; k < 4; k++) (void)random_bits(&g);
	unsigned mode = pick(&g, 6), items = 20 + pick(&g, 100);
	g.paged = mode & 1;
	g.user = mode == 3 || mode == 5;
	for (gpa_t at = 0; at < RANDOM_TOP; at += 8) rig_put64(r, RIG_RAM + at, 0);
	random_mode(&g);
	random_registers(&g);
	random_handler(r);
	r->at = RIG_RAM + RANDOM_CODE_END + 2 * pick(&g, 64);
	for (unsigned k = 0; k < RANDOM_FUNCTIONS; k++) {
		g.function[k] = r->at;
		for (unsigned n = pick(&g, 12); n; n--) random_item(&g, true);
		labels_step(&g, true);
		rig_op(r, OP_jalr, 0, REG_LINK, 0, 0);
	}
	gpa_t first = r->at = RIG_RAM + RANDOM_CODE + (pick(&g, 2) ? 0 : 3900 + 2 * pick(&g, 64));
	loop_begin(&g, 0);
	for (unsigned n = 0; n < items && r->at < RIG_RAM + RANDOM_CODE_END - 512; n++)
		random_item(&g, false);
	for (unsigned k = 3; k--;) loop_end(&g, k);
	labels_step(&g, true);
	rig_li(r, REG_LINK, RANDOM_DONE);
	rig_stop(r, REG_LINK);
	r->c->pc = first;
}

/* Run it to its end, which it comes to. */
static inline void random_run(struct rig *r)
{
	r->told = 0;
	while (r->told != RANDOM_DONE) {
		enum vcpu_exit why = rv64_run(r->c);
		if (why == VCPU_BROKEN) return;
		must(why == VCPU_KICKED);
	}
}

/* Heat as of code that has run for long, in places. The pages come to be by being entered. */
static inline void random_heat(struct rig *r, uint64_t seed)
{
	gva_t pc = r->c->pc;
	for (gpa_t at = 0; at < RANDOM_CODE_END + PAGE_SIZE; at += PAGE_SIZE) {
		r->c->pc = RIG_RAM + at;
		const struct slot *ip = rv64_code_enter(r->c);
		if (!ip) continue;
		uint8_t *heat = code_page_of(ip)->heat;
		for (unsigned k = 0; k < PAGE_SLOTS; k++)
			heat[k] = (uint8_t)(1 + (k * seed >> 3) % 5);
	}
	r->c->pc = pc;
}

/* Clean and Dirty are the same to us: units may say Dirty too early. */
static inline uint64_t random_status(uint64_t v)
{
	if (v & MSTATUS_FS) v |= MSTATUS_FS;
	if (v & MSTATUS_VS) v |= MSTATUS_VS;
	return v & ~MSTATUS_SD;
}
/* What two harts that ran the same program differ in; NULL: nothing. */
static inline const char *random_differ(struct rig *a, struct rig *b)
{
	static const uint16_t csr[] = {CSR_FCSR,  CSR_MSTATUS,	CSR_MEPC, CSR_MCAUSE,
				       CSR_MTVAL, CSR_SSCRATCH, CSR_SATP};
	static char words[200];
	const struct rv64_v *v = &a->c->v, *w = &b->c->v;
	if (memcmp(v, w, offsetof(struct rv64_v, dirty)) != 0 || v->rm != w->rm || v->sat != w->sat)
		return "vector state";
	const char *mem[2] = {gmem_ptr(a->mem, RIG_RAM, RANDOM_TOP, false),
			      gmem_ptr(b->mem, RIG_RAM, RANDOM_TOP, false)};
	for (unsigned reg = 0; reg < REG_RV_PC + COUNT(csr); reg++) {
		unsigned n = reg;
		if (reg >= REG_RV_PC) n = (unsigned)REG_RV_CSR + csr[reg - REG_RV_PC];
		uint64_t x = 0, y = 0;
		(void)rv64_cpu_get(a->c, n, &x);
		(void)rv64_cpu_get(b->c, n, &y);
		if (n == REG_RV_CSR + CSR_MSTATUS) x = random_status(x), y = random_status(y);
		(void)snprintf(words, sizeof(words), "register %#x: %#llx, not %#llx", n,
			       (unsigned long long)x, (unsigned long long)y);
		if (x != y) return words;
	}
	for (size_t at = 0; at < RANDOM_TOP; at += 8) {
		/* Units may mark a page accessed that they will not reach. */
		bool table = at >= RANDOM_TABLES && at < RANDOM_PTES;
		uint64_t x = load_le(mem[0] + at, 8) ^ load_le(mem[1] + at, 8);
		if (!(x & ~(table ? PTE_A : 0))) continue;
		(void)snprintf(words, sizeof(words), "memory at %#zx, bits %#llx of %#llx", at,
			       (unsigned long long)x, (unsigned long long)load_le(mem[0] + at, 8));
		return words;
	}
	return a->loads != b->loads ? "accesses to the device" : NULL;
}
#endif
