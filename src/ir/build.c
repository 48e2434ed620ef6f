/* The builder. Every array doubles when full and is kept for the next unit; a value that was
 * computed already, here or in a block that dominates this one, is found in a hash table instead
 * of being computed again. An instruction's number tells how old it is, which is all that is
 * needed to know whether a state call came between. */
#include "base/own.h"
#include "ir/impl.h"
#include "ir/words.h"
#include <string.h>

enum { HASH_BITS = 9 };

const struct ir_info ir_info[IR__count] = {
#define IR(name, arity, res, flag, val) [IR_##name] = {#name, arity, res, flag},
#include "ir/ops.def"
#undef IR
};

/* ---- arrays */
static void *grow(void *p, uint32_t need, uint32_t *room, size_t size)
{
	uint32_t r = *room ? *room : 64;
	while (r < need) {
		must(r < 1u << 30);
		r *= 2;
	}
	*room = r;
	p = realloc(p, r * size);
	must(p);
	return p;
}
#define make_room(f, what, room, need)                                                             \
	((need) <= (f)->room                                                                       \
		 ? (void)0                                                                         \
		 : (void)((f)->what = grow((f)->what, (need), &(f)->room, sizeof(*(f)->what))))

struct ir_fn *ir_new(const struct ir_slot *slots, unsigned nslots)
{
	struct ir_fn *f = calloc(1, sizeof(*f));
	must(f);
	f->slots = slots;
	f->nslots = nslots;
	f->hash_bits = HASH_BITS;
	f->hash = malloc(sizeof(*f->hash) * 2 << HASH_BITS);
	must(f->hash);
	make_room(f, ins, room, 1);
	make_room(f, map, map_room, 1);
	make_room(f, block, block_room, 1);
	make_room(f, edge, edge_room, 1);
	make_room(f, pair, pair_room, 1);
	make_room(f, args, args_room, 1);
	f->ins[0] = (struct ir_ins){0};
	f->map[0] = (struct ir_map){0};
	ir_reset(f);
	return f;
}

void ir_free(struct ir_fn *f)
{
	if (!f) return;
	free(f->ins);
	free(f->block);
	free(f->edge);
	free(f->map);
	free(f->pair);
	free(f->args);
	free(f->hash);
	free(f);
}

void ir_forget(struct ir_fn *f)
{
	memset(f->hash, 0, sizeof(*f->hash) * 2 << f->hash_bits);
	f->hash_used = 0;
}

/* A table that one large unit needed shrinks again, lest clearing it costs every other unit. */
void ir_reset(struct ir_fn *f)
{
	if (f->hash_bits > HASH_BITS && f->hash_used < 1u << f->hash_bits >> 4) f->hash_bits--;
	ir_forget(f);
	f->n = f->nmaps = 1;
	f->nblocks = f->nedges = f->npairs = f->nargs = 0;
	f->at = f->last_put = f->last_call = 0;
}

uint32_t ir_block_new(struct ir_fn *f)
{
	make_room(f, block, block_room, f->nblocks + 1);
	f->block[f->nblocks] = (struct ir_block){.loop = ~0u};
	return f->nblocks++;
}

uint32_t ir_append(struct ir_fn *f, const struct ir_ins *i)
{
	must(f->at < f->nblocks);
	make_room(f, ins, room, f->n + 1);
	struct ir_block *b = &f->block[f->at];
	struct ir_ins *to = &f->ins[f->n];
	must(!(ir_info[f->ins[b->last].op].flags & IR_ENDS));
	*to = *i;
	to->prev = b->last;
	to->next = 0;
	if (b->last)
		f->ins[b->last].next = f->n;
	else
		b->first = f->n;
	b->last = f->n;
	return f->n++;
}

void ir_unlink(struct ir_fn *f, uint32_t block, uint32_t n)
{
	const struct ir_ins *i = &f->ins[n];
	struct ir_block *b = &f->block[block];
	*(i->prev ? &f->ins[i->prev].next : &b->first) = i->next;
	*(i->next ? &f->ins[i->next].prev : &b->last) = i->prev;
}

void ir_splice(struct ir_fn *f, uint32_t to, uint32_t from)
{
	struct ir_block *a = &f->block[to], *b = &f->block[from];
	f->ins[b->first].prev = a->last;
	*(a->last ? &f->ins[a->last].next : &a->first) = b->first;
	a->last = b->last;
	b->first = b->last = 0;
}

uint32_t ir_args_new(struct ir_fn *f, const ir_val *v, unsigned n)
{
	make_room(f, args, args_room, f->nargs + n);
	for (unsigned k = 0; k < n; k++) f->args[f->nargs + k] = v[k].n;
	f->nargs += n;
	return f->nargs - n;
}

/* ---- merging */
static uint32_t head(const struct ir_ins *i)
{
	return i->op | (uint32_t)i->type << 8 | (uint32_t)i->aux << 16;
}

static uint32_t hash_of(const struct ir_fn *f, const struct ir_ins *i)
{
	uint64_t h = (head(i) ^ i->k) * 0x9e3779b97f4a7c15;
	h = (h ^ h >> 29 ^ i->arg[2]) * 0xbf58476d1ce4e5b9;
	return (uint32_t)(h >> (64 - f->hash_bits));
}

static bool equal(const struct ir_ins *a, const struct ir_ins *b)
{
	return head(a) == head(b) && a->k == b->k && a->arg[2] == b->arg[2] &&
	       a->arg[3] == b->arg[3];
}

static void hash_put(struct ir_fn *f, uint32_t n, uint32_t block)
{
	uint32_t mask = (1u << f->hash_bits) - 1, h = hash_of(f, &f->ins[n]);
	while (f->hash[2 * h]) h = (h + 1) & mask;
	f->hash[2 * h] = n;
	f->hash[2 * h + 1] = block;
}

static void hash_grow(struct ir_fn *f)
{
	uint32_t *old = f->hash, n = 1u << f->hash_bits;
	f->hash = calloc(2 * sizeof(*old), 2 * (size_t)n);
	must(f->hash);
	f->hash_bits++;
	for (uint32_t k = 0; k < n; k++)
		if (old[2 * k]) hash_put(f, old[2 * k], old[2 * k + 1]);
	free(old);
}

/* What reads the state, or the rounding mode, holds until somebody may have changed it: behind it
 * in the block order, or further on in a loop that the older one is not in. */
static bool still_holds(const struct ir_fn *f, uint32_t n, uint32_t block)
{
	unsigned flags = ir_info[f->ins[n].op].flags;
	if (!ir_dominates(f, block, f->at)) return false;
	if (flags & IR_PURE) return true;
	return n > (flags & IR_FLOAT ? f->last_call : f->last_put) &&
	       f->block[block].loop == f->block[f->at].loop;
}

/* One of equal instructions is remembered: the newest, as most blocks follow what they share. */
static ir_val merge(struct ir_fn *f, const struct ir_ins *i)
{
	uint32_t mask = (1u << f->hash_bits) - 1, h = hash_of(f, i), *e;
	for (; (e = &f->hash[2 * h])[0] && !equal(&f->ins[e[0]], i);) h = (h + 1) & mask;
	if (e[0] && still_holds(f, e[0], e[1])) return (ir_val){e[0]};
	bool fresh = !e[0];
	e[0] = ir_append(f, i);
	e[1] = f->at;
	ir_val v = {e[0]};
	if (fresh && ++f->hash_used > mask / 2) hash_grow(f);
	return v;
}

/* ---- values */
static ir_val emit(struct ir_fn *f, struct ir_ins i)
{
	ir_val v;
	return ir_simplify(f, &i, &v) ? v : merge(f, &i);
}

static enum ir_type type_of(const struct ir_fn *f, ir_val v)
{
	return ir_result_type(&f->ins[v.n]);
}

ir_val ir_emit(struct ir_fn *f, enum ir_op op, enum ir_type t, ir_val a, ir_val b, ir_val c)
{
	must(ir_info[op].flags & (IR_PURE | IR_FLOAT));
	struct ir_ins i = {.op = (uint8_t)op, .type = (uint8_t)t, .arg = {a.n, b.n, c.n}};
	if (op == IR_itof) i.aux = (uint16_t)type_of(f, a);
	if (op == IR_ftoi && type_of(f, a) == IR_F32) i.aux = 2;
	return emit(f, i);
}

ir_val ir_lanes(struct ir_fn *f, enum ir_op op, unsigned aux, ir_val a, ir_val b, ir_val c)
{
	must(op >= IR_vadd && op <= IR_vfnan);
	enum ir_type t = op == IR_vlow || op == IR_vbits ? IR_I64 : IR_V128;
	return emit(f, (struct ir_ins){.op = (uint8_t)op,
				       .type = (uint8_t)t,
				       .aux = (uint16_t)aux,
				       .arg = {a.n, b.n, c.n}});
}

ir_val ir_again(struct ir_fn *f, ir_val v)
{
	struct ir_ins i = f->ins[v.n];
	i.next = i.prev = 0;
	return (ir_val){ir_append(f, &i)};
}

ir_val ir_fraised(struct ir_fn *f)
{
	return (ir_val){ir_append(f, &(struct ir_ins){.op = IR_fraised, .type = IR_I64})};
}

void ir_fclear(struct ir_fn *f, ir_val but)
{
	f->last_call = ir_append(f, &(struct ir_ins){.op = IR_fclear, .arg = {but.n}});
}

ir_val ir_ftoi(struct ir_fn *f, enum ir_type t, ir_val a, bool truncate)
{
	unsigned aux = (type_of(f, a) == IR_F32 ? 2u : 0u) | truncate;
	return emit(f,
		    (struct ir_ins){
			    .op = IR_ftoi, .type = (uint8_t)t, .aux = (uint16_t)aux, .arg = {a.n}});
}

ir_val ir_konst(struct ir_fn *f, enum ir_type t, uint64_t k)
{
	return merge(f, &(struct ir_ins){.op = IR_konst, .type = (uint8_t)t, .k = ir_cut(t, k)});
}

ir_val ir_state(struct ir_fn *f, uint64_t off)
{
	return merge(f, &(struct ir_ins){.op = IR_state, .type = IR_I64, .k = off});
}

ir_val ir_param(struct ir_fn *f, enum ir_type t)
{
	make_room(f, ins, room, f->n + 1);
	struct ir_block *b = &f->block[f->at];
	uint32_t n = f->n++, prev = 0, next = b->first;
	for (; next && f->ins[next].op == IR_param; next = f->ins[next].next) prev = next;
	f->ins[n] = (struct ir_ins){
		.op = IR_param, .type = (uint8_t)t, .aux = b->params++, .prev = prev, .next = next};
	*(prev ? &f->ins[prev].next : &b->first) = n;
	*(next ? &f->ins[next].prev : &b->last) = n;
	return (ir_val){n};
}

ir_val ir_param_quiet(struct ir_fn *f, enum ir_type t)
{
	ir_val v = ir_param(f, t);
	f->ins[v.n].arg[0] = IR_QUIET;
	return v;
}

ir_val ir_get(struct ir_fn *f, enum ir_type t, unsigned slot)
{
	must(slot < f->nslots);
	return merge(f, &(struct ir_ins){.op = IR_get, .type = (uint8_t)t, .aux = (uint16_t)slot});
}

void ir_put(struct ir_fn *f, unsigned slot, ir_val v)
{
	must(slot < f->nslots);
	f->last_put = ir_append(f, &(struct ir_ins){.op = IR_put,
						    .type = (uint8_t)type_of(f, v),
						    .aux = (uint16_t)slot,
						    .arg = {v.n}});
}

uint32_t ir_map_new(struct ir_fn *f, const struct ir_pair *p, unsigned n, int32_t pc, uint32_t why)
{
	make_room(f, map, map_room, f->nmaps + 1);
	make_room(f, pair, pair_room, f->npairs + n);
	if (n) memcpy(&f->pair[f->npairs], p, n * sizeof(*p));
	f->map[f->nmaps] = (struct ir_map){.first = f->npairs, .n = n, .pc = pc, .why = why};
	f->npairs += n;
	return f->nmaps++;
}

/* ---- memory */
ir_val ir_xlat(struct ir_fn *f, unsigned space, ir_val base, int32_t lo, int32_t hi, uint32_t map)
{
	return (ir_val){
		ir_append(f, &(struct ir_ins){.op = IR_xlat,
					      .type = IR_I64,
					      .aux = (uint16_t)space,
					      .map = map,
					      .arg = {base.n, (uint32_t)lo, (uint32_t)hi}})};
}

/* Where there is an H, the base is what was looked up, and is likely to be at hand. */
static void absorb(const struct ir_fn *f, ir_val h, ir_val *base, int32_t *disp)
{
	uint64_t k;
	int32_t sum;
	if (!ir_is_konst(f, h, &k)) return;
	for (const struct ir_ins *i; (i = ir_at(f, *base))->op == IR_add;) {
		if (!ir_is_konst(f, (ir_val){i->arg[1]}, &k)) return;
		if (__builtin_add_overflow((int64_t)k, *disp, &sum)) return;
		*disp = sum;
		base->n = i->arg[0];
	}
}

ir_val ir_load(struct ir_fn *f, enum ir_type t, enum ir_mem m, ir_val h, ir_val base, int32_t disp)
{
	absorb(f, h, &base, &disp);
	return (ir_val){ir_append(f, &(struct ir_ins){.op = IR_load,
						      .type = (uint8_t)t,
						      .aux = (uint16_t)m,
						      .arg = {h.n, base.n, (uint32_t)disp}})};
}

void ir_store(struct ir_fn *f, unsigned bytes, ir_val h, ir_val base, int32_t disp, ir_val v)
{
	absorb(f, h, &base, &disp);
	v = ir_low(f, v, 8 * bytes);
	ir_append(f, &(struct ir_ins){.op = IR_store,
				      .type = (uint8_t)type_of(f, v),
				      .aux = (uint16_t)bytes,
				      .arg = {h.n, base.n, (uint32_t)disp, v.n}});
}

void ir_may_exit(struct ir_fn *f, uint32_t map)
{
	struct ir_ins *i = &f->ins[f->n - 1];
	must(i->op == IR_load || i->op == IR_store);
	i->map = map;
}

ir_val ir_atomic(struct ir_fn *f, enum ir_op op, unsigned bytes, ir_val at, ir_val b, ir_val c)
{
	must(op == IR_swap || op == IR_xadd || op == IR_cas);
	return (ir_val){ir_append(f, &(struct ir_ins){.op = (uint8_t)op,
						      .type = IR_I64,
						      .aux = (uint16_t)bytes,
						      .arg = {at.n, b.n, c.n}})};
}

ir_val ir_call(struct ir_fn *f, unsigned aux, const void *fn, const ir_val *args, unsigned n)
{
	must(n <= 5);
	struct ir_ins i = {
		.op = IR_call, .type = IR_I64, .aux = (uint16_t)aux, .k = (uint64_t)(uintptr_t)fn};
	i.arg[2] = ir_args_new(f, args, n);
	i.arg[3] = n;
	uint32_t v = ir_append(f, &i);
	if (aux == IR_CALL_STATE) f->last_put = v;
	if (aux == IR_CALL_STATE || aux == IR_CALL_FLOAT) f->last_call = v;
	return (ir_val){v};
}

void ir_fence(struct ir_fn *f) { ir_append(f, &(struct ir_ins){.op = IR_fence}); }

/* ---- control */
void ir_guard(struct ir_fn *f, ir_val cond, uint32_t map)
{
	uint64_t k;
	if (ir_is_konst(f, cond, &k) && k) return;
	ir_append(f, &(struct ir_ins){.op = IR_guard, .map = map, .arg = {cond.n}});
}

void ir_poll(struct ir_fn *f, uint32_t map)
{
	ir_append(f, &(struct ir_ins){.op = IR_poll, .map = map});
}

uint32_t ir_edge_raw(struct ir_fn *f, uint32_t to, const ir_val *args, unsigned n)
{
	make_room(f, edge, edge_room, f->nedges + 1);
	f->edge[f->nedges] = (struct ir_edge){.to = to, .args = ir_args_new(f, args, n)};
	return f->nedges++;
}

uint32_t ir_edge_new(struct ir_fn *f, uint32_t to, const ir_val *args)
{
	must(to < f->nblocks);
	return ir_edge_raw(f, to, args, f->block[to].params);
}

void ir_jump(struct ir_fn *f, uint32_t edge)
{
	f->block[f->edge[edge].to].preds++;
	ir_append(f, &(struct ir_ins){.op = IR_jump, .arg = {edge}});
}

void ir_br(struct ir_fn *f, ir_val cond, uint32_t yes, uint32_t no)
{
	uint64_t k;
	if (ir_is_konst(f, cond, &k)) {
		ir_jump(f, k ? yes : no);
		return;
	}
	f->block[f->edge[yes].to].preds++;
	f->block[f->edge[no].to].preds++;
	ir_append(f, &(struct ir_ins){.op = IR_br, .arg = {cond.n, yes, no}});
}

void ir_exit(struct ir_fn *f, enum ir_exit how, uint32_t map)
{
	ir_append(f, &(struct ir_ins){.op = IR_exit, .aux = (uint16_t)how, .map = map});
}

void ir_goto(struct ir_fn *f, ir_val pc, uint32_t map)
{
	ir_append(f, &(struct ir_ins){.op = IR_goto, .map = map, .arg = {pc.n}});
}

/* ---- questions */
bool ir_is_konst(const struct ir_fn *f, ir_val v, uint64_t *k)
{
	const struct ir_ins *i = ir_at(f, v);
	if (!v.n || i->op != IR_konst) return false;
	*k = i->k;
	return true;
}

/* Every block stands behind its dominator. */
bool ir_dominates(const struct ir_fn *f, uint32_t a, uint32_t b)
{
	while (b > a) b = f->block[b].idom;
	return b == a;
}

enum ir_type ir_result_type(const struct ir_ins *i)
{
	switch ((enum ir_result)ir_info[i->op].result) {
	case IR_NONE: return IR_VOID;
	case IR_FLAG: return IR_I64;
	default: return i->type;
	}
}
