/* Why: leaving a block, and leaving a unit. The one idea: paths that are taken rarely (guards,
 * polls) are a jump to a few bytes that name a map; paths that are taken often (exits) store what
 * the map says and go on to the next unit without anyone's help. */
#include "base/types.h"
#include "jit/x64/emit.h"

/* ---- rare exits */

void deopt_stub(struct emit *e, struct stub *s)
{
	uint32_t map = jit_map_put(e->c, e->f, e->f->ins[s->i].map);
	e->failed |= map == ~0u;
	mov_imm(&e->a, S0, map);
	jump_to(&e->a, e->h->deopt);
}

void emit_guard(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	struct cond c = emit_cond(e, e->f->ins[i].arg[0]);
	struct stub *s = stub_new(e, deopt_stub, i);
	stub_jcc(e, s, (enum cc)(c.cc ^ 1));
	if (c.ordered) stub_jcc(e, s, CC_P);
}

void emit_poll(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	alu_imm(&e->a, ALU_CMP, 0, state_at(e, e->c->m.poll), 0);
	stub_jcc(e, stub_new(e, deopt_stub, i), CC_NE);
}

/* ---- edges */

static unsigned edge_moves(struct emit *e, uint32_t edge, struct move *m)
{
	const struct ir_edge *ed = &e->f->edge[edge];
	uint32_t p = e->f->block[ed->to].first;
	unsigned n = 0;
	for (unsigned k = 0; k < e->f->block[ed->to].params; k++, p = e->f->ins[p].next) {
		uint32_t v = root_of(e, e->f->args[ed->args + k]), extend = 0;
		if (e->home[v].on_edge) {
			extend = x64_rules[e->f->ins[v].op].op;
			v = root_of(e, e->f->ins[v].arg[0]);
		}
		uint16_t dst = move_home(&e->home[p]), src = move_home(&e->home[v]);
		if (e->home[p].at == AT_NOWHERE || (dst == src && !extend)) continue;
		if (n == MOVES_MAX) {
			e->failed = true;
			break;
		}
		m[n++] = (struct move){dst, src, v, ir_result_type(&e->f->ins[p]), extend};
	}
	return n;
}

static void go_to(struct emit *e, uint32_t block, bool jump)
{
	if (!jump) return;
	if (e->block_at[block])
		jump_to(&e->a, e->block_at[block]);
	else
		later(e, jump_later(&e->a), block);
}

static void emit_edge(struct emit *e, uint32_t edge, bool jump)
{
	struct move m[MOVES_MAX];
	emit_moves(e, m, edge_moves(e, edge, m));
	go_to(e, e->f->edge[edge].to, jump);
}

void emit_jump(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	uint32_t edge = e->f->ins[i].arg[0];
	emit_edge(e, edge, e->f->edge[edge].to != e->next);
}

static void jcc_block(struct emit *e, enum cc cc, uint32_t block)
{
	if (e->block_at[block])
		jcc_to(&e->a, cc, e->block_at[block]);
	else
		later(e, jcc_later(&e->a, cc), block);
}

/* Jump to the block if c; or if not. */
static void jump_if(struct emit *e, struct cond c, bool want, uint32_t block)
{
	enum cc cc = want ? c.cc : (enum cc)(c.cc ^ 1);
	if (!c.ordered) {
		jcc_block(e, cc, block);
	} else if (!want) {
		jcc_block(e, cc, block);
		jcc_block(e, CC_P, block);
	} else {
		uint8_t *p = jcc_later(&e->a, CC_P);
		jcc_block(e, cc, block);
		set_rel32(p, e->a.p);
	}
}

/* A conditional jump around an edge that has moves. */
static void around(struct emit *e, struct cond c, bool want, uint32_t edge)
{
	enum cc cc = want ? (enum cc)(c.cc ^ 1) : c.cc;
	uint8_t *over[2] = {NULL, NULL}, *in = NULL;
	if (c.ordered && !want) in = jcc_later(&e->a, CC_P);
	over[0] = jcc_later(&e->a, cc);
	if (c.ordered && want) over[1] = jcc_later(&e->a, CC_P);
	if (in) set_rel32(in, e->a.p);
	emit_edge(e, edge, true);
	set_rel32(over[0], e->a.p);
	if (over[1]) set_rel32(over[1], e->a.p);
}

void emit_br(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	struct move m[MOVES_MAX];
	const struct ir_ins *in = &e->f->ins[i];
	uint32_t taken = in->arg[1], other = in->arg[2];
	struct cond c = emit_cond(e, in->arg[0]);
	bool want = true;
	/* What comes next is fallen into, and so is an edge with moves. */
	unsigned nt = edge_moves(e, taken, m), no = edge_moves(e, other, m);
	uint32_t tt = e->f->edge[taken].to, to = e->f->edge[other].to;
	if ((tt == e->next && to != e->next) || (to != e->next && nt && !no)) {
		taken = in->arg[2];
		other = in->arg[1];
		want = false;
	}
	if (edge_moves(e, taken, m))
		around(e, c, want, taken);
	else
		jump_if(e, c, want, e->f->edge[taken].to);
	emit_edge(e, other, e->f->edge[other].to != e->next);
}

/* ---- exits: the slots. Some values stand in other slots, which must be read before they are
 * written; in a ring of such, one waits in the frame. */

static uint32_t sunk_root(struct emit *e, uint32_t v)
{
	for (v = root_of(e, v); e->home[v].at == AT_SUNK; v = root_of(e, v))
		v = e->f->ins[v].arg[0];
	return v;
}

/* The op itself, its operand where it is, its result in a scratch register. */
static void make_sunk(struct emit *e, uint32_t v)
{
	v = root_of(e, v);
	struct home *h = &e->home[v];
	if (h->at != AT_SUNK) return;
	uint32_t a = root_of(e, e->f->ins[v].arg[0]);
	make_sunk(e, a);
	h->at = AT_REG;
	h->reg = h->cls == CLASS_INT ? S0 : V0;
	const struct rule *r = &x64_rules[e->f->ins[v].op];
	r->emit(e, v, r);
}

static void unmake_sunk(struct emit *e, uint32_t v, uint32_t root)
{
	for (v = root_of(e, v); v != root; v = root_of(e, e->f->ins[v].arg[0])) {
		e->home[v].at = AT_SUNK;
		e->home[v].reg = 0xff;
	}
}

/* slot = slot + k */
static bool add_to_slot(struct emit *e, const struct ir_pair *p)
{
	uint32_t sum = root_of(e, p->val);
	const struct ir_ins *i = &e->f->ins[sum];
	const struct ir_slot *s = &e->f->slots[p->slot];
	int32_t k;
	if (i->op != IR_add || e->home[sum].at != AT_SUNK || s->size < 4) return false;
	if (i->type == IR_I32 && s->size != 4) return false;
	uint32_t v = root_of(e, i->arg[0]);
	if (e->home[v].at != AT_STATE || e->f->ins[v].aux != p->slot) return false;
	if (!imm_of(e, i->arg[1], OP_W, &k)) return false;
	alu_imm(&e->a, ALU_ADD, s->size == 8 ? OP_W : 0, state_at(e, s->at), k);
	return true;
}

static void store_pair(struct emit *e, const struct ir_pair *p)
{
	uint32_t root = sunk_root(e, p->val);
	if (add_to_slot(e, p)) return;
	make_sunk(e, p->val);
	emit_to_slot(e, &e->f->slots[p->slot], root_of(e, p->val));
	unmake_sunk(e, p->val, root);
}

static bool stands_in(struct emit *e, const struct ir_pair *p, uint32_t *slot)
{
	uint32_t v = sunk_root(e, p->val);
	*slot = e->f->ins[v].aux;
	return e->home[v].at == AT_STATE;
}

static struct rm waiting(unsigned k)
{
	return rm_mem(RSP, (int32_t)(offsetof(struct jit_frame, ints) + 8 * k));
}

/* Is the slot that pair `skip` goes to still to be read by another? */
static bool awaited(struct emit *e, const struct ir_pair **p, unsigned n, unsigned skip)
{
	uint32_t s;
	for (unsigned k = 0; k < n; k++)
		if (k != skip && stands_in(e, p[k], &s) && s == p[skip]->slot) return true;
	return false;
}

static unsigned store_free(struct emit *e, const struct ir_pair **p, unsigned n)
{
	for (unsigned k = 0; k < n;) {
		if (awaited(e, p, n, k)) {
			k++;
			continue;
		}
		store_pair(e, p[k]);
		p[k] = p[--n];
	}
	return n;
}

static void ring_out(struct emit *e, const struct ir_pair *p, struct rm to)
{
	uint32_t root = sunk_root(e, p->val), v = root_of(e, p->val);
	make_sunk(e, v);
	if (e->home[v].cls == CLASS_INT)
		mov_store(&e->a, OP_W, to, int_reg(e, v, S0));
	else
		vec_store(e, IR_F64, to, vec_reg(e, v, V0));
	unmake_sunk(e, v, root);
}

static void ring_in(struct emit *e, const struct ir_pair *p, struct rm from)
{
	struct home *h = home_of(e, p->val), was = *h;
	h->at = AT_REG;
	h->reg = h->cls == CLASS_INT ? S0 : V0;
	if (h->cls == CLASS_INT)
		mov_load(&e->a, OP_W, S0, from);
	else
		vec_load(e, IR_F64, V0, from);
	emit_to_slot(e, &e->f->slots[p->slot], root_of(e, p->val));
	*h = was;
}

enum { RING_MAX = 16, READERS_MAX = 128 };

/* What reads slots first, as far as it can; then the rest. */
static void store_slots(struct emit *e, uint32_t map)
{
	const struct ir_map *m = &e->f->map[map];
	const struct ir_pair *p = &e->f->pair[m->first], *readers[READERS_MAX];
	unsigned n = 0, before = 0;
	uint32_t s;
	for (unsigned k = 0; k < m->n; k++)
		if (stands_in(e, &p[k], &s) && n < READERS_MAX) readers[n++] = &p[k];
	do {
		before = n;
		n = store_free(e, readers, n);
	} while (n && n != before);
	e->failed |= n > RING_MAX;
	for (unsigned k = 0; k < n && k < RING_MAX; k++) ring_out(e, readers[k], waiting(k));
	for (unsigned k = 0; k < m->n; k++)
		if (!stands_in(e, &p[k], &s)) store_pair(e, &p[k]);
	for (unsigned k = 0; k < n && k < RING_MAX; k++) ring_in(e, readers[k], waiting(k));
}

static void link_stub(struct emit *e, struct stub *s)
{
	uint32_t link = jit_link_new(e->c, s->from[0], e->a.p, e->f->map[e->f->ins[s->i].map].pc);
	e->failed |= link == ~0u;
	mov_imm(&e->a, S0, link);
	jump_to(&e->a, e->h->link);
}

/* rdx is the page, rbx the offset in it, which whoever is found will want if it is nobody. All
 * registers are free. The code's address is at record + offset * 4. esi: bits 8 and up of the page.
 */
static void look_up(struct emit *e, struct rm to)
{
	const struct jit_machine *m = &e->c->m;
	int32_t table = (int32_t)(m->dir_table - m->bias);
	alu_imm(&e->a, ALU_AND, 0, rm_reg(RSI), (int32_t)(((1u << m->dir_bits) - 1) << 4));
	mov_load(&e->a, OP_W, RDI, state_at(e, m->dir_ctx));
	alu_rr(&e->a, ALU_OR, OP_W, RDI, RDX);
	alu_rm(&e->a, ALU_CMP, OP_W, RDI, rm_index(RBP, RSI, 0, table));
	jcc_to(&e->a, CC_NE, e->h->lookup);
	mov_load(&e->a, OP_W, RCX, rm_index(RBP, RSI, 0, table + 8));
	mov_store(&e->a, OP_W, state_at(e, m->base), RDX);
	op_rm(&e->a, OP(0, 0, 0xff), 4, to, 0);
}

static void shift_8(struct emit *e, unsigned d, unsigned s)
{
	if (e->h->bmi2) {
		vex_rm(&e->a, OP(0xf2, 3, 0xf0), d, 0, rm_reg(s), 1); /* rorx */
		put8(&e->a, 8);
	} else {
		mov_rr(&e->a, 0, d, s);
		shift_imm(&e->a, SH_SHR, 0, d, 8);
	}
}

static void exit_far(struct emit *e, int32_t pc)
{
	int32_t off = pc & 4095, entries = (int32_t)e->c->m.dir_entries;
	mov_load(&e->a, OP_W, RDX, state_at(e, e->c->m.base));
	if (pc & ~4095) alu_imm(&e->a, ALU_ADD, OP_W, rm_reg(RDX), pc & ~4095);
	mov_imm(&e->a, RBX, (uint32_t)off);
	shift_8(e, RSI, RDX);
	look_up(e, rm_mem(RCX, off * 4 + entries));
}

static void exit_stop(struct emit *e, const struct ir_map *m)
{
	mov_load(&e->a, OP_W, RAX, state_at(e, e->c->m.base));
	if (m->pc) alu_imm(&e->a, ALU_ADD, OP_W, rm_reg(RAX), m->pc);
	mov_store(&e->a, OP_W, state_at(e, e->c->m.pc), RAX);
	mov_imm(&e->a, RAX, m->why);
	jump_to(&e->a, e->h->stop);
}

void emit_exit(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	store_slots(e, in->map);
	switch (in->aux) {
	case IR_EXIT_NEAR: stub_new(e, link_stub, i)->from[0] = jump_later(&e->a); break;
	case IR_EXIT_FAR: exit_far(e, e->f->map[in->map].pc); break;
	default: exit_stop(e, &e->f->map[in->map]);
	}
}

void emit_goto(struct emit *e, uint32_t i, const struct rule *r)
{
	(void)r;
	const struct ir_ins *in = &e->f->ins[i];
	load_int(e, RDX, in->arg[0]);
	store_slots(e, in->map);
	shift_8(e, RSI, RDX);
	mov_rr(&e->a, 0, RBX, RDX);
	alu_imm(&e->a, ALU_AND, OP_W, rm_reg(RDX), -4096);
	alu_imm(&e->a, ALU_AND, 0, rm_reg(RBX), 4095);
	look_up(e, rm_index(RCX, RBX, 2, (int32_t)e->c->m.dir_entries));
}
