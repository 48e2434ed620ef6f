/* A good unit, and each way of spoiling it. */
#include "base/test.h"
#include "ir/ir.h"
#include <string.h>

static const struct ir_slot slots[] = {
	{0, 8, false, "x1"}, {8, 8, true, "f1"}, {16, 4, false, "w"}};
static const ir_val none = {0};
struct unit {
	struct ir_fn *f;
	ir_val x, sum, d, p, n, cond;
	uint32_t map, edge;
};

static void loop(struct unit *u)
{
	struct ir_fn *f = u->f;
	f->at = 1;
	ir_poll(f, u->map);
	u->n = ir_emit(f, IR_add, IR_I64, u->p, ir_konst(f, IR_I64, 1), none);
	u->cond = ir_emit(f, IR_ltu, IR_I64, u->n, u->x, none);
	ir_br(f, u->cond, ir_edge_new(f, 1, &u->n), ir_edge_new(f, 2, NULL));
	f->at = 2;
	ir_exit(f, IR_EXIT_NEAR, ir_map_new(f, &(struct ir_pair){0, u->n.n}, 1, 8, 0));
}

/* x1 counted up in a loop, exits behind it */
static struct unit good(void)
{
	struct unit u = {.f = ir_new(slots, 3)};
	struct ir_fn *f = u.f;
	for (int i = 0; i < 3; i++) (void)ir_block_new(f);
	f->block[1] = (struct ir_block){.loop = 1, .depth = 1};
	f->block[2].idom = 1;
	f->block[2].loop = ~0u;
	u.x = ir_get(f, IR_I64, 0);
	u.d = ir_get(f, IR_F64, 1);
	u.sum = ir_emit(f, IR_fadd, IR_F64, u.d, u.d, none);
	f->at = 1;
	u.p = ir_param(f, IR_I64);
	struct ir_pair pairs[] = {{0, u.p.n}, {1, u.sum.n}};
	u.map = ir_map_new(f, pairs, 2, -4, 0);
	f->at = 0;
	u.edge = ir_edge_new(f, 1, &u.x);
	ir_jump(f, u.edge);
	loop(&u);
	return u;
}
static bool says(const struct unit *u, const char *why)
{
	struct err e = {0};
	int r = ir_verify(u->f, &e);
	return why ? r < 0 && strstr(e.msg, why) : r == 0 && !e.code;
}
#define SPOILT(what, why)                                                                          \
	do {                                                                                       \
		struct unit u = good();                                                            \
		what;                                                                              \
		CHECK(says(&u, why));                                                              \
		ir_free(u.f);                                                                      \
	} while (0)
#define INS(v) u.f->ins[u.v.n]

TEST(ir_verify_accepts) { SPOILT((void)0, NULL); }
TEST(ir_verify_sees_shapes)
{
	SPOILT(u.f->nblocks = 0, "no blocks");
	SPOILT(INS(x).prev = 3, "prev is wrong");
	SPOILT(u.f->block[0].last = u.x.n, "last is wrong");
	SPOILT(INS(p).aux = 1, "out of order");
	SPOILT(u.f->block[1].params = 0, "not the first");
	SPOILT(INS(sum).op = IR_exit, "not where a block ends");
	SPOILT(u.f->block[2].first = u.f->block[1].first, "two places");
	SPOILT(u.f->block[2].first = 9999, "out of range");
	SPOILT(INS(x).op = IR__count, "does not exist");
	SPOILT(u.f->at = 0; (void)ir_param(u.f, IR_I64), "the entry has parameters");
}
TEST(ir_verify_sees_operands)
{
	SPOILT(INS(sum).arg[1] = u.x.n, "wrong type");
	SPOILT(INS(sum).arg[1] = 0, "no such operand");
	SPOILT(INS(sum).arg[1] = 9999, "no such operand");
	SPOILT(INS(sum).arg[1] = u.sum.n, "not computed by then");
	SPOILT(INS(cond).arg[1] = INS(cond).next, "without value");
	SPOILT(u.f->args[u.f->edge[u.edge].args] = u.n.n, "not computed by then");
	SPOILT(u.f->args[u.f->edge[u.edge].args] = u.d.n, "wrong type");
	SPOILT(INS(cond).type = IR_F64, "not its type");
	SPOILT(INS(x).type = IR_I32, "too large");
	SPOILT(INS(d).aux = 2, "too small");
	SPOILT(INS(d).aux = 3, "no such slot");
}
TEST(ir_verify_sees_maps)
{
	SPOILT(u.f->map[u.map].n = 100, "map out of range");
	SPOILT(u.f->pair[1].slot = 0, "twice");
	SPOILT(u.f->pair[1].slot = 3, "no such slot");
	SPOILT(u.f->pair[1].slot = 2, "too small");
	SPOILT(u.f->pair[0].val = u.n.n, "not computed by then");
	SPOILT(INS(x).map = u.map, "a map");
	SPOILT(u.f->ins[u.f->block[2].last].map = 0, "no map");
}
TEST(ir_verify_sees_flow)
{
	SPOILT(u.f->edge[u.edge].to = 3, "no such block");
	SPOILT(u.f->edge[u.edge].args = 9999, "out of range");
	SPOILT(u.f->ins[u.f->block[0].last].arg[0] = 99, "no such edge");
	SPOILT(u.f->ins[u.f->block[1].last].arg[2] = u.edge, "another has");
	SPOILT(u.f->block[1].preds = 1, "preds");
	SPOILT(u.f->block[2].idom = 2, "come before");
	SPOILT(u.f->block[1].loop = ~0u, "no loop");
	SPOILT(u.f->block[1].depth = 0, "no loop");
	SPOILT(u.f->block[2].loop = 0, "header");
}
TEST(ir_verify_recomputes_dominance)
{
	struct ir_fn *f = ir_new(slots, 3);
	for (int i = 0; i < 4; i++) (void)ir_block_new(f);
	ir_val x = ir_get(f, IR_I64, 0), v[2];
	ir_br(f, x, ir_edge_new(f, 1, NULL), ir_edge_new(f, 2, NULL));
	for (uint32_t b = 1; b < 3; b++) {
		f->at = b;
		v[b - 1] = ir_emit(f, IR_add, IR_I64, x, ir_konst(f, IR_I64, b), none);
		ir_jump(f, ir_edge_new(f, 3, NULL));
	}
	f->at = 3;
	ir_goto(f, x, ir_map_new(f, NULL, 0, 0, 0));
	struct unit u = {.f = f};
	CHECK(says(&u, NULL));
	f->block[3].idom = 2;
	CHECK(says(&u, "does not dominate"));
	f->block[3].idom = 0;
	f->ins[f->block[3].last].arg[0] = v[1].n;
	CHECK(says(&u, "not computed by then"));
	ir_free(f);
}
