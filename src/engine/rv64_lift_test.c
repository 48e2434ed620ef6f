#include "base/test.h"
#include "engine/rv64_lift.h"
#include "engine/rv64_random.h"
#include "ir/ir.h"
#include <stdlib.h>

/* Units, evaluated as what they say, against the interpreter: no host code in between. */
struct state {
	uint64_t x[32], f[32], pc, res_va, res_val;
	unsigned res_len, flags;
	bool fs_dirty;
	uint8_t memory[RANDOM_TOP];
};
static struct state before, lifted, interpreted;

static void save(struct rig *r, struct state *s)
{
	struct rv64_cpu *c = r->c;
	memcpy(s->x, c->x, sizeof(s->x));
	memcpy(s->f, c->f, sizeof(s->f));
	s->pc = c->pc;
	s->res_va = c->res_va;
	s->res_val = c->res_val;
	s->res_len = c->res_len;
	s->flags = fp_flags_get(&c->fp);
	s->fs_dirty = c->fs_dirty;
	must(gmem_read(r->mem, RIG_RAM, s->memory, RANDOM_TOP));
}
static void restore(struct rig *r, const struct state *s)
{
	struct rv64_cpu *c = r->c;
	memcpy(c->x, s->x, sizeof(s->x));
	memcpy(c->f, s->f, sizeof(s->f));
	c->pc = s->pc;
	c->res_va = s->res_va;
	c->res_val = s->res_val;
	c->res_len = s->res_len;
	fp_flags_set(&c->fp, s->flags);
	c->fs_dirty = s->fs_dirty;
	must(gmem_write(r->mem, RIG_RAM, s->memory, RANDOM_TOP));
	rv64_tlb_flush(c);
}

/* What a unit may say too early: Dirty, and that a page was accessed; and what it may leave as it
 * was if there is no reservation. */
static bool same(struct state *a, struct state *b)
{
	if (!b->fs_dirty) a->fs_dirty = false;
	if (!b->res_len) a->res_va = b->res_va, a->res_val = b->res_val;
	for (size_t at = RANDOM_TABLES; at < RANDOM_PTES; at += 8)
		a->memory[at] |= PTE_A, b->memory[at] |= PTE_A;
	return !memcmp(a, b, sizeof(*a));
}

static bool reach(void *cpu, unsigned space, uint64_t lo, uint64_t hi, uint64_t *h)
{
	(void)hi;
	*h = rv64_tlb_find(cpu, lo, space == SPACE_WRITE ? ACCESS_W : ACCESS_R);
	return *h != 1;
}

/* How many instructions it was; -1: it does not come to an end. */
static int64_t evaluate(struct rig *r, const struct ir_fn *f)
{
	struct rv64_cpu *c = r->c;
	uint64_t n = c->n;
	c->base = c->pc & PAGE_MASK;
	c->n_limit = c->n + 1000;
	struct ir_world w = {.state = c, .xlat = reach, .base = c->base, .steps = 50000};
	fp_enter(&c->fp);
	struct ir_end end = ir_eval(f, &w);
	fp_leave(&c->fp);
	c->pc = end.pc;
	unsigned why = f->map[end.map].why;
	if (end.how == IR_END_DEOPT) c->n -= why >> WHY_BITS;
	if (end.how == IR_END_STEPS) return -1;
	/* the conversion that does not fit has raised its flags, and will again */
	if (end.how == IR_END_DEOPT && (why & ((1u << WHY_BITS) - 1)) == WHY_RANGE) return -1;
	return (int64_t)(c->n - n);
}

static bool interpret(struct rv64_cpu *c, int64_t n)
{
	for (; n > 0; n--) {
		const struct slot *ip = rv64_code_enter(c);
		if (!ip || rv64_exec_one(c, rv64_code_raw(ip))) return false;
	}
	return true;
}

static const struct code_page *page_of(struct rig *r, gpa_t at)
{
	r->c->pc = at;
	const struct slot *ip = rv64_code_enter(r->c);
	must(ip);
	return code_page_of(ip);
}

struct lifter {
	struct region region;
	struct lift *lift;
	struct ir_fn *f;
	struct lift_how how;
	unsigned tried;
};

/* True: nothing to try, or both do the same. */
static bool try_at(struct rig *r, struct lifter *l, gpa_t at)
{
	struct err e = {0};
	const struct code_page *page[REGION_PAGES] = {NULL, page_of(r, at), NULL};
	unsigned off = at & ~PAGE_MASK;
	r->c->pc = at;
	if (off >= PAGE_SIZE - 2 || page[1]->slot[off / 2].fn == rv64_op_decode) return true;
	if (!region_find(&l->region, page, off, REGION_INSNS, false)) return true;
	ir_reset(l->f);
	lift_region(l->lift, l->f, &l->region, &l->how);
	bool good = ir_verify(l->f, &e) == 0;
	if (l->tried & 1) ir_clean(l->f);
	good &= ir_verify(l->f, &e) == 0;
	if (!good) printf("%#llx: %s\n", (unsigned long long)at, e.msg);
	save(r, &before);
	int64_t n = evaluate(r, l->f);
	save(r, &lifted);
	restore(r, &before);
	if (n < 0) return good;
	good &= interpret(r->c, n);
	save(r, &interpreted);
	restore(r, &before);
	l->tried++;
	bool agree = same(&lifted, &interpreted);
	if (!agree)
		printf("%#llx: %lld instructions differ\n", (unsigned long long)at, (long long)n);
	return good && agree;
}

TEST(units_say_what_the_interpreter_does)
{
	static struct lifter l;
	struct rig *r = rig_new(false);
	l.lift = lift_new();
	l.f = ir_new(rv64_slots, SLOT__COUNT);
	for (uint64_t seed = 1; seed <= 100; seed++) {
		struct random g = {.r = r, .s = seed * 0x9e3779b97f4a7c15};
		rv64_cpu_reset(r->c);
		atomic_store(&r->c->poll, 0);
		random_program(r, seed, NULL, 0);
		random_run(r);
		l.how = (struct lift_how){
			.span = seed & 1 ? 192 : 0, .count = true, .alone = seed & 2};
		bool good = true;
		for (gpa_t at = RIG_RAM + RANDOM_CODE; at < RIG_RAM + RANDOM_CODE_END; at += 2) {
			uint64_t x = random_bits(&g);
			for (unsigned k = 1; k < REG_FREE; k++) r->c->x[k] = random_value(&g);
			for (unsigned k = 0; k < 32; k++) r->c->f[k] = random_value(&g);
			for (unsigned k = 0; k < 3; k++) r->c->x[REG_LOOP + k] = x >> 8 * k & 15;
			r->c->x[REG_FUEL] = 100;
			good &= try_at(r, &l, at);
		}
		if (!good) printf("seed %llu\n", (unsigned long long)seed);
		CHECK(good);
	}
	CHECK(l.tried > 8000);
	lift_free(l.lift);
	ir_free(l.f);
	rig_free(r);
}
