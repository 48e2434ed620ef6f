/* Translated code against the CPU that this runs on: each program is executed by the host as it
 * stands, in a process of its own, and translated: as user code, with a window and without, and as
 * kernel code. All registers and memory must come out the same, and every exception: which, where,
 * with what error code and CR2. The interpreter goes first: it says which programs touch only what
 * both have.
 *
 * What translated code does not promise: at a fault, flags that nobody would have read. */
#include "engine/x86_oracle_host.h"
#include "engine/x86_oracle_make.h"
#include "engine/x86_stop_rig.h"
#include "engine/x86_vector_rig.h"
#if defined(__x86_64__)

enum { DATA = 0x200000, CODE = 0x300000 };
enum who { INTERPRETER, WINDOW, TLB, KERNEL_SMAP, KERNEL_BOTH, WHO };
static const char *const who_name[] = {"interpreter", "window", "TLB", "kernel", "kernel, no SMAP"};
static struct x86_rig *rigs[WHO];
/* ---- vCPUs */

static void map_all(struct x86_rig *r, bool user)
{
	uint64_t u = user ? STOP_U : 0;
	for (unsigned k = 0; k < COUNT(oracle_view); k++)
		for (unsigned n = 0; n < 4; n++) {
			uint64_t to = DATA + (n == 3 ? 2 : n) * X86_PAGE;
			if (n == 2) continue;
			(void)x86_rig_map(r, oracle_view[k] + n * X86_PAGE, to,
					  (n == 3 ? STOP_P : STOP_P | STOP_W) | u | STOP_NX, 0);
		}
	for (unsigned k = 0; k < COUNT(oracle_code); k++)
		for (unsigned n = 0; n < CODE_PAGES; n++)
			(void)x86_rig_map(r, oracle_code[k] + n * X86_PAGE, CODE + n * X86_PAGE,
					  STOP_P | u, 0);
}
static struct x86_rig *rig(enum who who)
{
	struct x86_rig *r =
		stop_rig_new(who >= KERNEL_SMAP, who == WINDOW ? WINDOWS_EARLY : WINDOWS_OFF);
	map_all(r, who != KERNEL_SMAP);
	if (who == KERNEL_SMAP) r->v->cr4 |= CR4_SMAP | CR4_SMEP;
	if (who != INTERPRETER) stop_rig_translate(r);
	return r;
}
/* Code, in one page or two. */
static void wrote(struct x86_vcpu *v, unsigned at, unsigned len)
{
	unsigned first = at | (X86_PAGE - 1);
	if (at + len <= first + 1) {
		x86_wrote(v, CODE + at, len);
		return;
	}
	x86_wrote(v, CODE + at, first + 1 - at);
	x86_wrote(v, CODE + first + 1, at + len - first - 1);
}
static struct {
	unsigned at, len;
} last[WHO]; /* where the last program is */
static void load(enum who who, const struct prog *p)
{
	struct x86_rig *r = rigs[who];
	struct x86_vcpu *v = r->v;
	unsigned at = (unsigned)p->base & (CODE_BYTES - 1);
	memset(gmem_host(r->mem, CODE + last[who].at, last[who].len), 0, last[who].len);
	wrote(v, last[who].at, last[who].len);
	memcpy(gmem_host(r->mem, CODE + at, p->len), p->code, p->len);
	wrote(v, at, p->len);
	last[who].at = at, last[who].len = p->len;
}
static void begin(enum who who, const struct prog *p)
{
	struct x86_rig *r = rigs[who];
	struct x86_vcpu *v = r->v;
	memcpy(gmem_host(r->mem, DATA, DATA_BYTES), p->data, DATA_BYTES);
	stop_rig_segments(v, who >= KERNEL_SMAP);
	v->seg[X86_FS].base = p->fs, v->seg[X86_GS].base = p->gs;
	memcpy(v->cpu.r, p->r, sizeof v->cpu.r);
	v->cpu.rip = p->base;
	v->cpu.flags = p->flags;
	v->x = p->x;
	stop_rig_ready(r);
}
static void finish(enum who who, struct outcome *o)
{
	struct x86_rig *r = rigs[who];
	struct x86_vcpu *v = r->v;
	struct stop_frame f = stop_rig_frame(r);
	memcpy(o->r, v->cpu.r, sizeof o->r);
	o->r[RAX] = f.rax;
	o->r[RSP] = f.rsp;
	o->rip = f.rip;
	o->flags = f.flags;
	o->code = f.code;
	o->vector = r->told;
	o->cr2 = v->cr2;
	o->fs = v->seg[X86_FS].base, o->gs = v->seg[X86_GS].base;
	o->x = v->x;
	memcpy(o->data, gmem_host(r->mem, DATA, DATA_BYTES), DATA_BYTES);
}

/* ---- what must be the same */

enum { PF = 14, XM = 19, FAULT_P = 1, FAULT_U = 4 };
static bool is_trap(uint64_t vector) { return vector == 1 || vector == 3 || vector == 4; }
static const struct step *step_at(const struct prog *p, uint64_t rip)
{
	for (unsigned k = 0; k < p->n; k++)
		if (p->base + p->step[k].off == rip) return &p->step[k];
	return NULL;
}
static bool is_code(uint64_t rip)
{
	for (unsigned k = 0; k < COUNT(oracle_code); k++)
		if (rip - oracle_code[k] < CODE_BYTES) return true;
	return false;
}
/* Flags that must be right. */
static uint64_t flags_mask(const struct prog *p, const struct outcome *o, enum who who)
{
	uint64_t mask = X86_ARITH | X86_TF | X86_IF | X86_DF | X86_IOPL | X86_NT | X86_AC | X86_ID;
	const struct step *s = step_at(p, o->rip);
	if (!s && is_code(o->rip)) return mask & ~(uint64_t)X86_ARITH; /* beside the program */
	for (unsigned k = 0; !s && k < p->n; k++)
		if (p->step[k].to == ANYWHERE) mask &= ~(uint64_t)p->step[k].open;
	if (!s) return mask;
	if (who != INTERPRETER && !is_trap(o->vector))
		mask &= ~(uint64_t)(X86_ARITH & ~(unsigned)s->live);
	return mask & ~(uint64_t)s->open;
}
static bool has_mmx(const struct x86_insn *in)
{
	for (unsigned k = 0; k < in->operands; k++)
		if (in->o[k].kind == X86_MMX) return true;
	return false;
}
/* Memory that is read and written in parts, which CPUs look at in their own order. */
static bool has_parts(const struct x86_insn *in)
{
	int op = x86_mem_operand(in);
	return in->op == X86_OP_maskmovq || in->op == X86_OP_maskmovdqu ||
	       in->op == X86_OP_vmaskmovdqu || in->op == X86_OP_vmaskmovps ||
	       in->op == X86_OP_vmaskmovpd || in->op == X86_OP_vpmaskmovd ||
	       in->op == X86_OP_vpmaskmovq || in->op == X86_OP_fldenv || in->op == X86_OP_fnstenv ||
	       in->op == X86_OP_frstor || in->op == X86_OP_fnsave || (op >= 0 && !in->o[op].size);
}
/* What is behind the elements that a gather is about, when it faults. */
static void forgive_gather(const struct x86_insn *in, uint8_t *x, const uint8_t *real)
{
	unsigned size = in->o[1].size, isize = x86_opcode(in) & 1 ? 8 : 4;
	unsigned from = (in->vl ? 32u : 16u) / (size > isize ? size : isize) * size;
	for (unsigned i = from; i < 32; i++)
		for (int o = 0; o < 3; o += 2) {
			unsigned at = (i < 16 ? X_XMM : X_YMM - 16) + 16u * in->o[o].reg + i;
			x[at] = real[at];
		}
}
static bool has_op(const struct prog *p, enum x86_op op)
{
	for (unsigned k = 0; k < p->n; k++)
		if (p->step[k].in.op == op) return true;
	return false;
}
/* Where x87's last operand was is told as one of the addresses of that memory, or not at all; so is
 * where the instruction was. The opcode is that of an exception,
 * which may have been cleared since; and is not known to be new if it was the same before. */
static void forgive_pointers(const struct prog *p, uint8_t *x, const uint8_t *real)
{
	uint64_t ip = load_le(x + X_FIP, 8);
	if (is_code(ip) && !((ip ^ load_le(real + X_FIP, 8)) % CODE_BYTES))
		memcpy(x + X_FIP, real + X_FIP, 8);
	if (!memcmp(x + X_FOP, p->x.bytes + X_FOP, 2) || has_op(p, X86_OP_fnclex))
		memcpy(x + X_FOP, real + X_FOP, 2);
	uint64_t at = load_le(x + X_FDP, 8);
	bool known = !at;
	known |= is_code(at);
	for (unsigned k = 0; k < COUNT(oracle_view); k++) known |= at - oracle_view[k] < VIEW_BYTES;
	if (known) memcpy(x + X_FDP, real + X_FDP, 8);
}
/* What a CPU may do at a fault and we do not: enter MMX; set MXCSR's flags though memory faults;
 * store 10 bytes in two parts; and know whether a result that is too big or small would have been
 * exact. */
static void forgive(const struct prog *p, const struct outcome *real, struct outcome *o,
		    enum who who)
{
	uint8_t *x = o->x.bytes;
	const uint8_t *from = real->x.bytes;
	const struct step *s = step_at(p, real->rip);
	if (who != INTERPRETER) forgive_pointers(p, x, from);
	if (has_op(p, X86_OP_fxrstor)) /* CPUs make it canonical */
		memcpy(x + X_FIP + 6, from + X_FIP + 6, 2);
	if (!s) return;
	if (has_mmx(&s->in)) memcpy(x, from, X_FOP), memcpy(x + X_ST, from + X_ST, 128);
	if (real->vector == PF && o->vector == PF && has_parts(&s->in) &&
	    real->cr2 - o->cr2 + 512 < 1024)
		o->cr2 = real->cr2, o->code = real->code;
	if (real->vector != XM && o->vector == real->vector) memcpy(x + X_MXCSR, from + X_MXCSR, 4);
	if (real->vector == PF && s->in.operands && s->in.o[0].kind == X86_MEM &&
	    s->in.o[0].size == 10)
		memcpy(o->data, real->data, DATA_BYTES);
	if (oracle_is_gather(&s->in)) forgive_gather(&s->in, x, from);
	unsigned over = ~load_le(x + X_MXCSR, 4) >> 7 & x[X_MXCSR] & 0x18;
	if (real->vector == XM && over)
		x[X_MXCSR] = (uint8_t)((x[X_MXCSR] & ~0x20) | (from[X_MXCSR] & 0x20));
}
/* 0, or what differs. */
static const char *differ(const struct prog *p, const struct outcome *real, const struct outcome *o,
			  enum who who)
{
	uint64_t code = real->code ^ o->code;
	if (real->vector != o->vector) return "vector";
	if (real->rip != o->rip) return "rip";
	if (o->vector == PF) {
		if (real->cr2 != o->cr2) return "CR2";
		/* Linux says of all of its own half that it is there. */
		if (real->cr2 >> 47) code &= ~(uint64_t)FAULT_P;
		if (who >= KERNEL_SMAP) code &= ~(uint64_t)FAULT_U;
	}
	if (code) return "error code";
	if (memcmp(real->r, o->r, sizeof o->r)) return "registers";
	if ((real->flags ^ o->flags) & flags_mask(p, o, who)) return "flags";
	if (real->fs != o->fs || real->gs != o->gs) return "bases";
	if (memcmp(real->data, o->data, DATA_BYTES)) return "memory";
	return x86_vector_differs(real->x.bytes, o->x.bytes);
}

/* ---- telling */

static void show_bytes(const char *what, const uint8_t *was, const uint8_t *a, const uint8_t *b,
		       unsigned n, unsigned unit)
{
	for (unsigned k = 0; k < n; k += unit) {
		if (!memcmp(a + k, b + k, unit)) continue;
		(void)printf("  %s+%#x:", what, k);
		const uint8_t *all[3] = {was, a, b};
		for (unsigned i = 0; i < 3; i++) {
			(void)printf(i == 2 ? ", here " : i ? " -> " : " ");
			for (unsigned m = unit; m-- > 0;) printf("%02x", all[i][k + m]);
		}
		(void)printf("\n");
	}
}
static void show(const struct prog *p, const struct outcome *real, const struct outcome *o)
{
	for (unsigned k = 0; k < p->n; k++) {
		const struct step *s = &p->step[k];
		(void)printf(" %s%#lx:", p->base + s->off == real->rip ? ">" : " ",
			     p->base + s->off);
		for (unsigned i = 0; i < s->in.len; i++) (void)printf(" %02x", p->code[s->off + i]);
		(void)printf("  %s\n", x86_op_info((enum x86_op)s->in.op)->name);
	}
	(void)printf("  host: vector %lu code %#lx rip %#lx cr2 %#lx flags %#lx\n", real->vector,
		     real->code, real->rip, real->cr2, real->flags);
	(void)printf("  here: vector %lu code %#lx rip %#lx cr2 %#lx flags %#lx, was %#lx\n",
		     o->vector, o->code, o->rip, o->cr2, o->flags, p->flags);
	show_bytes("r", (const uint8_t *)p->r, (const uint8_t *)real->r, (const uint8_t *)o->r, 128,
		   8);
	show_bytes("x", p->x.bytes, real->x.bytes, o->x.bytes, 512, 8);
	show_bytes("ymm", p->x.bytes + X_YMM, real->x.bytes + X_YMM, o->x.bytes + X_YMM, 256, 8);
	show_bytes("data", p->data, real->data, o->data, DATA_BYTES, 8);
	(void)printf("  fs %#lx %#lx %#lx gs %#lx %#lx %#lx\n", p->fs, real->fs, o->fs, p->gs,
		     real->gs, o->gs);
}

/* ---- the test */

static struct outcome interp[BATCH], jit;
static struct {
	unsigned long cases, programs, wild, endless, failed, vectors[32];
	unsigned forms[2048], bad[X86_OP__max];
} sum;

/* Does the fault say that the host has something else there? */
static bool is_wild(const struct outcome *o)
{
	uint64_t at = o->cr2;
	if (o->vector != PF) return false;
	if (at >> 47 || at < 0x10000 || at == oracle_out) return false;
	for (unsigned k = 0; k < COUNT(oracle_view); k++)
		if (at - oracle_view[k] < VIEW_BYTES) return false;
	for (unsigned k = 0; k < COUNT(oracle_code); k++)
		if (at - oracle_code[k] < CODE_BYTES) return false;
	return true;
}
static void tell(const struct prog *p, const char *how, const struct outcome *real,
		 const struct outcome *o, enum who who)
{
	const struct step *s = step_at(p, real->rip);
	unsigned op = s ? s->in.op : p->step[0].in.op;
	if (sum.bad[op]++ > 1) return;
	sum.failed++;
	char text[100];
	(void)snprintf(text, sizeof text, "seed %lu, %s: %s", p->seed, who_name[who], how);
	test_fail(text, __FILE__, __LINE__);
	show(p, real, o);
}
/* An operand in parts that does not end where addresses do: CPUs look at what comes first, and go
 * on at 0 if the address has 32 bits. */
static bool is_wrapped(const struct prog *p, const struct outcome *real)
{
	enum { LONGEST = 512, EXTENDED = 10 };
	const struct step *s = step_at(p, real->rip);
	if (!s || real->vector != PF) return false;
	bool parts = has_parts(&s->in) || (s->in.operands && s->in.o[0].size == EXTENDED);
	bool low = s->in.asize == 4 && real->cr2 < LONGEST;
	return parts && (low || X86_HIGH_END - real->cr2 < LONGEST);
}
static bool check_once(const struct prog *p, const struct outcome *real, enum who who)
{
	begin(who, p);
	const char *how = stop_rig_run(rigs[who]) ? NULL : "it does not end";
	finish(who, &jit);
	forgive(p, real, &jit, who);
	if (!how) how = differ(p, real, &jit, who);
	if (how && is_wrapped(p, real)) how = NULL;
	if (how) tell(p, how, real, &jit, who);
	sum.cases++;
	return !how;
}
/* Some more than once: by linked blocks, then by those that have been made anew. */
static void check(const struct prog *p, const struct outcome *real, enum who who)
{
	unsigned times = p->seed % 32 == 7 ? 8 : p->seed % 8 == 3 ? 2 : 1;
	load(who, p);
	while (times-- && check_once(p, real, who)) {
	}
}
static void check_all(const struct prog *p, const struct outcome *real, struct outcome *in)
{
	forgive(p, real, in, INTERPRETER);
	const char *how = is_wrapped(p, real) ? NULL : differ(p, real, in, INTERPRETER);
	sum.programs++;
	sum.forms[p->step[0].in.form]++;
	sum.vectors[real->vector & 31]++;
	if (how) {
		tell(p, how, real, in, INTERPRETER);
		return;
	}
	check(p, real, WINDOW);
	check(p, real, TLB);
	if (!p->user) check(p, real, p->seed >> 1 & 1 ? KERNEL_SMAP : KERNEL_BOTH);
}
static bool batch(struct oracle_host *h, uint64_t from)
{
	struct share *s = h->share;
	s->n = BATCH;
	for (unsigned k = 0; k < BATCH; k++) {
		struct prog *p = &s->prog[k];
		s->wanted[k] = false;
		if (!oracle_make(p, from + k)) continue;
		load(INTERPRETER, p);
		begin(INTERPRETER, p);
		bool ends = stop_rig_run(rigs[INTERPRETER]);
		finish(INTERPRETER, &interp[k]);
		s->wanted[k] = ends && !is_wild(&interp[k]);
		sum.endless += !ends;
		sum.wild += ends && !s->wanted[k];
	}
	if (!oracle_host_run(h)) {
		char text[100];
		(void)snprintf(text, sizeof text, "seed %lu: the host's process has died",
			       s->prog[s->at].seed);
		test_fail(text, __FILE__, __LINE__);
		show(&s->prog[s->at], &interp[s->at], &interp[s->at]);
		return false;
	}
	for (unsigned k = 0; k < BATCH; k++)
		if (s->wanted[k]) check_all(&s->prog[k], &s->out[k], &interp[k]);
	return true;
}
static void show_sum(unsigned forms)
{
	(void)printf("%lu cases, %lu programs, %u forms, %lu wild, %lu endless;", sum.cases,
		     sum.programs, forms, sum.wild, sum.endless);
	for (unsigned k = 0; k < 32; k++)
		if (sum.vectors[k]) (void)printf(" #%u: %lu", k, sum.vectors[k]);
	for (unsigned k = WINDOW; k < WHO; k++) {
		const _Atomic uint64_t *n = rigs[k]->v->stats;
		(void)printf("\n%s: %lu units, %lu steps, %lu links, %lu TLB misses, %lu pages in "
			     "the window, %lu refused",
			     who_name[k], n[X86_STAT_UNITS], n[X86_STAT_STEPS], n[X86_STAT_LINKS],
			     n[X86_STAT_FILLS], n[X86_STAT_WINDOW], n[X86_STAT_REFUSED]);
	}
	(void)printf("\n");
}
TEST(x86_oracle_host)
{
	const char *count = getenv("RANDOM_COUNT"), *first = getenv("RANDOM_SEED");
	unsigned long cases = count ? strtoul(count, NULL, 0) : getenv("LONG") ? 20000000 : 250000;
	uint64_t from = first ? strtoul(first, NULL, 0) : 0;
	struct oracle_host h;
	if (host_lacks()) {
		(void)printf("SKIPPED x86_oracle_host: %s\n", host_lacks());
		return;
	}
	if (!oracle_host_open(&h)) {
		(void)printf("SKIPPED x86_oracle_host: addresses are not free\n");
		oracle_host_close(&h);
		return;
	}
	oracle_pool_make();
	for (unsigned k = 0; k < WHO; k++) rigs[k] = rig(k);
	bool good = true;
	for (; good && sum.cases < cases && sum.failed < 40; from += BATCH) good = batch(&h, from);
	if (good) oracle_host_close(&h);
	unsigned forms = 0;
	for (unsigned k = 0; k < COUNT(sum.forms); k++) forms += sum.forms[k] > 0;
	CHECK(count || (forms > 1200 && sum.programs > 10 * sum.wild));
	if (getenv("RANDOM_SHOW")) show_sum(forms);
	for (unsigned k = 0; k < WHO; k++) stop_rig_free(rigs[k]);
}
#endif
