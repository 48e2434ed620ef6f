/* The interpreter's instruction handlers: the table's meanings, compiled over values, in a few
 * versions each. The length makes the way to the next slot a constant; SLOW is where a fast one
 * goes when the TLB has no answer, to do it all again by function calls (nothing has happened
 * before the first access); NEAR is for direct branches that stay within their page. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("optimize-sibling-calls") /* at -O1, too */
#endif
#include "engine/interp_verbs.h"
#include "isa/rv64/rv64.h"

/* The instruction at ip did not go on by itself: c->stop says how. */
__attribute__((noinline)) static HANDLER(op_stop)
{
	bool retired = c->stop != STOP_TRAP && c->stop != STOP_WATCH;
	if (c->stop != STOP_JUMP) c->pc = rv64_pc(c, ip) + (retired ? c->len : 0);
	c->n = n + retired;
	return NULL;
}

__attribute__((noinline)) static HANDLER(op_illegal)
{
	c->stop = (uint8_t)rv64_raise(c, CAUSE_ILLEGAL, rv64_code_raw(ip));
	GO_FN(op_stop, ip, n);
}

HANDLER(rv64_op_decode)
{
	rv64_code_decode(c, ip);
	GO(ip, n);
}

/* Run off the end of the page. */
HANDLER(rv64_op_cross) { FAR(rv64_pc(c, ip), n); }

/* Translated: run() sees what stands here. */
HANDLER(rv64_op_unit) { LEAVE(rv64_pc(c, ip), n); }

/* A breakpoint is here, or at this offset in another page. */
HANDLER(rv64_op_point) { LEAVE(rv64_pc(c, ip), n); }

HANDLER(rv64_op_leave) { LEAVE(rv64_pc(c, ip), n); }

HANDLER(rv64_op_tail)
{
	const struct slot *s = rv64_code_tail(c, ip);
	if (!s) {
		c->stop = STOP_TRAP;
		c->n = n;
		return NULL;
	}
	if (code_page_of(s)->tail_fn) GO_FN(code_page_of(s)->tail_fn, s, n);
	GO(s, n);
}

#define NAME(op) slow_2_##op
#define MISS(op) op_illegal
#define LEN	 2
#define SLOW	 1
#define NEAR	 NEAR_NOT
#include "engine/interp_ops.inc"
#define NAME(op) slow_4_##op
#define MISS(op) op_illegal
#define LEN	 4
#define SLOW	 1
#define NEAR	 NEAR_NOT
#include "engine/interp_ops.inc"
#define NAME(op) fast_2_##op
#define MISS(op) slow_2_##op
#define LEN	 2
#define SLOW	 0
#define NEAR	 NEAR_NOT
#include "engine/interp_ops.inc"
#define NAME(op) fast_4_##op
#define MISS(op) slow_4_##op
#define LEN	 4
#define SLOW	 0
#define NEAR	 NEAR_NOT
#include "engine/interp_ops.inc"

/* Only the direct branches are kept of these. */
#define NAME(op) forward_2_##op
#define MISS(op) op_illegal
#define LEN	 2
#define SLOW	 0
#define NEAR	 NEAR_FORWARD
#include "engine/interp_ops.inc"
#define NAME(op) forward_4_##op
#define MISS(op) op_illegal
#define LEN	 4
#define SLOW	 0
#define NEAR	 NEAR_FORWARD
#include "engine/interp_ops.inc"
#define NAME(op) back_2_##op
#define MISS(op) op_illegal
#define LEN	 2
#define SLOW	 0
#define NEAR	 NEAR_BACK
#include "engine/interp_ops.inc"
#define NAME(op) back_4_##op
#define MISS(op) op_illegal
#define LEN	 4
#define SLOW	 0
#define NEAR	 NEAR_BACK
#include "engine/interp_ops.inc"

typedef HANDLER(handler);
static handler *const handlers[OP__max][2] = {
	[OP_illegal] = {op_illegal, op_illegal},
#define OP(op, ...) [OP_##op] = {fast_2_##op, fast_4_##op},
#include "isa/rv64/rv64.sem.inc"
#undef OP
};
#define DIRECT_OPS(X) X(beq) X(bne) X(blt) X(bge) X(bltu) X(bgeu) X(jal)
static handler *const handlers_near[OP__max][2][2] = {/* by length, then back or forward */
#define X(op) [OP_##op] = {{back_2_##op, forward_2_##op}, {back_4_##op, forward_4_##op}},
						      DIRECT_OPS(X)
#undef X
};

static void lr_fill(struct slot *s, unsigned index)
{
	const struct code_page *p = code_page_of(s);
	s->imm = p->at == NO_PAGE ? LR_UNKNOWN : (int)rv64_lr_way(p->raw, 2 * index, PAGE_SIZE);
}

void rv64_slot_fill(struct slot *s, const struct rv64_insn *i, unsigned index)
{
	unsigned wide = i->len == 4;
	s->imm = i->imm;
	s->rd = i->rd ? i->rd : 32;
	s->rs1 = i->rs1;
	s->rs2 = i->rs2;
	s->rs3 = (uint8_t)(i->rs3 & 31);
	s->rm = (uint8_t)(i->rm & 7);
	s->fn = handlers[i->op][wide];
	if (i->op == OP_lr_w || i->op == OP_lr_d) lr_fill(s, index);
	int64_t to = (int64_t)index + i->imm / 2;
	if (!handlers_near[i->op][wide][0] || to < 0 || to >= PAGE_SLOTS) return;
	s->fn = handlers_near[i->op][wide][i->imm > 0];
	s->imm = i->imm / 2 * (int)sizeof(struct slot);
}

void rv64_go(struct rv64_cpu *c, const struct slot *ip)
{
#if THREADED
	(void)ip->fn(c, ip, c->n);
#else
	while (ip) ip = ip->fn(c, ip, c->n);
#endif
}
