/* Units as text, an instruction a line, for people, golden tests and fuzzers. Printing numbers
 * values v1.. and blocks b0.. in the order they stand, so that what was parsed prints as it was.
 * The text may be hostile: whatever it says, parsing ends in a unit (which ir_verify may still
 * refuse) or in an error with its line. */
#include "base/own.h"
#include "ir/impl.h"
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

static const char *const types[] = {"void", "i8", "i16", "i32", "i64", "f32", "f64", "v128", "ref"};
static const char *const mems[] = {"u8", "u16", "u32", "u64", "s8", "s16", "s32"};
static const char *const calls[] = {"plain", "pure", "state", "float"};
static const char *const exits[] = {"near", "far", "stop"};
static const char *const sources[] = {"f64", "f64.trunc", "f32", "f32.trunc"}; /* of ftoi */
#define NAME(table, n) ((n) < sizeof(table) / sizeof((table)[0]) ? (table)[n] : "?")

/* ---- printing */
struct print {
	const struct ir_fn *f;
	FILE *out;
	uint32_t *number; /* of each value */
};

static void print_val(const struct print *p, const char *before, uint32_t v)
{
	(void)fprintf(p->out, "%sv%u", before, p->number[v]);
}

static void print_vals(const struct print *p, const uint32_t *v, uint32_t n)
{
	for (uint32_t k = 0; k < n; k++) print_val(p, k ? ", " : "", v[k]);
}

static void print_slot(const struct print *p, uint32_t slot)
{
	if (slot < p->f->nslots && p->f->slots[slot].name)
		(void)fputs(p->f->slots[slot].name, p->out);
	else
		(void)fprintf(p->out, "slot%u", slot);
}

static void print_map(const struct print *p, uint32_t map)
{
	const struct ir_map *m = &p->f->map[map];
	if (!map) return;
	(void)fprintf(p->out, " [pc%+d why=%u", m->pc, m->why);
	for (const struct ir_pair *q = p->f->pair + m->first; q < p->f->pair + m->first + m->n;
	     q++) {
		(void)fputc(' ', p->out);
		print_slot(p, q->slot);
		print_val(p, "=", q->val);
	}
	(void)fputc(']', p->out);
}

static void print_edge(const struct print *p, uint32_t edge)
{
	const struct ir_edge *g = &p->f->edge[edge];
	uint32_t n = p->f->block[g->to].params;
	(void)fprintf(p->out, "b%u%s", g->to, n ? "(" : "");
	print_vals(p, p->f->args + g->args, n);
	if (n) (void)fputc(')', p->out);
}

static void print_konst(const struct print *p, enum ir_type t, uint64_t k)
{
	int64_t s = t == IR_I32 ? (int32_t)(uint32_t)k : (int64_t)k;
	if (ir_is_int(t) && s > -65536 && s < 65536)
		(void)fprintf(p->out, "%" PRId64, s);
	else
		(void)fprintf(p->out, "0x%" PRIx64, k);
}

static void print_call(const struct print *p, const struct ir_ins *i)
{
	const struct ir_fn *f = p->f;
	const char *name = NULL;
	for (uint32_t k = 0; k < f->ncallees; k++)
		if ((uint64_t)(uintptr_t)f->callees[k].fn == i->k) name = f->callees[k].name;
	if (name)
		(void)fprintf(p->out, " %s %s(", NAME(calls, i->aux), name);
	else
		(void)fprintf(p->out, " %s 0x%" PRIx64 "(", NAME(calls, i->aux), i->k);
	print_vals(p, f->args + i->arg[2], i->arg[3]);
	(void)fputc(')', p->out);
}

/* What stands behind the type. */
static void print_aux(const struct print *p, const struct ir_ins *i)
{
	switch (i->op) {
	case IR_itof: (void)fprintf(p->out, ".%s", NAME(types, i->aux)); break;
	case IR_ftoi: (void)fprintf(p->out, ".%s", NAME(sources, i->aux)); break;
	case IR_load: (void)fprintf(p->out, ".%s", NAME(mems, i->aux)); break;
	case IR_store:
	case IR_swap:
	case IR_xadd:
	case IR_cas: (void)fprintf(p->out, ".%u", i->aux); break;
	default:
		if (i->op >= IR_vadd && i->op <= IR_vfnan) (void)fprintf(p->out, ".%u", i->aux);
		break;
	}
}

static void print_address(const struct print *p, const struct ir_ins *i)
{
	if (i->arg[0])
		print_val(p, " ", i->arg[0]);
	else
		(void)fputs(" 0", p->out);
	print_val(p, ", ", i->arg[1]);
	(void)fprintf(p->out, ", %d", (int32_t)i->arg[2]);
}

static void print_operands(const struct print *p, const struct ir_ins *i)
{
	if (ir_info[i->op].args && i->op != IR_load && i->op != IR_store && i->op != IR_put) {
		(void)fputc(' ', p->out);
		print_vals(p, i->arg, ir_info[i->op].args);
	}
	switch (i->op) {
	case IR_konst:
		(void)fputc(' ', p->out);
		print_konst(p, i->type, i->k);
		break;
	case IR_state: (void)fprintf(p->out, " 0x%" PRIx64, i->k); break;
	case IR_get:
	case IR_put:
		(void)fputc(' ', p->out);
		print_slot(p, i->aux);
		if (i->op == IR_put) print_val(p, ", ", i->arg[0]);
		break;
	case IR_xlat:
		(void)fprintf(p->out, ", %d..%d space=%u", (int32_t)i->arg[1], (int32_t)i->arg[2],
			      i->aux & 3);
		if (i->aux & IR_XLAT_WINDOW) (void)fputs(" window", p->out);
		break;
	case IR_load: print_address(p, i); break;
	case IR_store:
		print_address(p, i);
		print_val(p, ", ", i->arg[3]);
		break;
	case IR_call: print_call(p, i); break;
	case IR_exit: (void)fprintf(p->out, " %s", NAME(exits, i->aux)); break;
	case IR_jump:
		(void)fputc(' ', p->out);
		print_edge(p, i->arg[0]);
		break;
	case IR_br:
		(void)fputs(", ", p->out);
		print_edge(p, i->arg[1]);
		(void)fputs(", ", p->out);
		print_edge(p, i->arg[2]);
		break;
	default: break;
	}
	print_map(p, i->map);
}

static void print_block(const struct print *p, uint32_t b)
{
	const struct ir_block *at = &p->f->block[b];
	uint32_t n = at->first;
	(void)fprintf(p->out, "b%u%s", b, at->params ? "(" : "");
	for (uint32_t k = 0; k < at->params; k++, n = p->f->ins[n].next) {
		print_val(p, k ? ", " : "", n);
		(void)fprintf(p->out, ".%s", NAME(types, p->f->ins[n].type));
	}
	(void)fputs(at->params ? "):" : ":", p->out);
	if (b) (void)fprintf(p->out, " idom=b%u", at->idom);
	if (at->loop != ~0u) (void)fprintf(p->out, " loop=b%u", at->loop);
	if (at->depth) (void)fprintf(p->out, " depth=%u", at->depth);
	(void)fputs(at->cold ? " cold\n" : "\n", p->out);
	for (; n; n = p->f->ins[n].next) {
		const struct ir_ins *i = &p->f->ins[n];
		bool has = ir_result_type(i) != IR_VOID;
		(void)fputc('\t', p->out);
		if (has) (void)fprintf(p->out, "v%u = ", p->number[n]);
		(void)fputs(ir_info[i->op].name, p->out);
		if (has) (void)fprintf(p->out, ".%s", NAME(types, i->type));
		print_aux(p, i);
		print_operands(p, i);
		(void)fputc('\n', p->out);
	}
}

void ir_print(const struct ir_fn *f, FILE *out)
{
	auto_mem uint32_t *number = calloc(f->n, sizeof(*number));
	struct print p = {f, out, number};
	uint32_t values = 0;
	must(number);
	for (uint32_t b = 0; b < f->nblocks; b++)
		for (uint32_t n = f->block[b].first; n; n = f->ins[n].next)
			if (ir_result_type(&f->ins[n]) != IR_VOID) number[n] = ++values;
	for (uint32_t b = 0; b < f->nblocks; b++) print_block(&p, b);
}

/* ---- parsing. Functions say false when something was wrong, which *e then tells. */
enum { LIST = 256, NUMBERS = 1 << 20, WORD = 32 };
struct parse {
	const char *p;
	unsigned line;
	struct ir_fn *f;
	struct err *e;
	uint32_t *value, values; /* by number */
	uint32_t *count, counts; /* arguments of each edge */
	uint32_t at;		 /* instruction being built: its operands */
	struct ir_ins i;
};

static bool wrong(struct parse *p, const char *why)
{
	int n = (int)strcspn(p->p, "\n");
	fail(p->e, -EINVAL, "line %u: %s at '%.*s'", p->line, why, n < 24 ? n : 24, p->p);
	return false;
}

static void skip(struct parse *p)
{
	p->p += strspn(p->p, " \t");
	if (*p->p == '#') p->p += strcspn(p->p, "\n");
}

/* Eat s if it comes next. */
static bool eat(struct parse *p, const char *s)
{
	size_t n = strlen(s);
	skip(p);
	if (strncmp(p->p, s, n)) return false;
	p->p += n;
	return true;
}

static bool need(struct parse *p, const char *s)
{
	char why[24];
	if (eat(p, s)) return true;
	(void)snprintf(why, sizeof(why), "'%s' is missing", s);
	return wrong(p, why);
}

static bool name(struct parse *p, char w[WORD])
{
	size_t n = 0;
	skip(p);
	while (isalnum((unsigned char)p->p[n]) || p->p[n] == '_') n++;
	if (!n || n >= WORD) return wrong(p, "no name");
	memcpy(w, p->p, n);
	w[n] = 0;
	p->p += n;
	return true;
}

static bool number(struct parse *p, uint64_t *k)
{
	bool minus = eat(p, "-");
	char *end;
	if (!isdigit((unsigned char)*p->p)) return wrong(p, "no number");
	errno = 0;
	*k = strtoull(p->p, &end, 0);
	if (errno) return wrong(p, "a number too large");
	if (minus) *k = -*k;
	p->p = end;
	return true;
}

static bool small(struct parse *p, uint32_t max, uint32_t *k)
{
	uint64_t v;
	if (!number(p, &v)) return false;
	*k = (uint32_t)v;
	return v <= max || wrong(p, "a number out of range");
}

static bool int32(struct parse *p, uint32_t *k)
{
	uint64_t v;
	(void)eat(p, "+");
	if (!number(p, &v)) return false;
	*k = (uint32_t)v;
	return (int64_t)v == (int32_t)v || wrong(p, "a number out of range");
}

static bool one_of(struct parse *p, const char *const *table, unsigned n, unsigned *k)
{
	size_t best = 0;
	*k = 0;
	skip(p);
	for (unsigned j = 0; j < n; j++) {
		size_t len = strlen(table[j]);
		if (len > best && !strncmp(p->p, table[j], len)) best = len, *k = j;
	}
	p->p += best;
	return best || wrong(p, "no such word");
}
#define ONE_OF(p, table, k) one_of((p), (table), sizeof(table) / sizeof((table)[0]), (k))

static bool type(struct parse *p, enum ir_type *t)
{
	unsigned k;
	if (!need(p, ".") || !ONE_OF(p, types, &k)) return false;
	*t = k;
	return true;
}

/* A growing table of numbers. */
static uint32_t *entry(uint32_t **table, uint32_t *n, uint32_t k)
{
	if (k >= *n) {
		uint32_t more = k < 128 ? 256 : 2 * k;
		*table = realloc(*table, more * sizeof(**table));
		must(*table);
		memset(*table + *n, 0, (more - *n) * sizeof(**table));
		*n = more;
	}
	return &(*table)[k];
}

static bool val_number(struct parse *p, uint32_t *k)
{
	return need(p, "v") && small(p, NUMBERS, k);
}

static bool val(struct parse *p, uint32_t *v)
{
	uint32_t k;
	if (!val_number(p, &k)) return false;
	*v = k < p->values ? p->value[k] : 0;
	return *v || wrong(p, "no such value yet");
}

static bool define(struct parse *p, uint32_t k, uint32_t v)
{
	uint32_t *at = entry(&p->value, &p->values, k);
	if (*at) return wrong(p, "a value defined twice");
	*at = v;
	return true;
}

static bool operand(struct parse *p)
{
	return (!p->at || need(p, ",")) && val(p, &p->i.arg[p->at++]);
}

static bool slot(struct parse *p, uint32_t *k)
{
	char w[WORD];
	const struct ir_fn *f = p->f;
	const char *from = p->p;
	if (!name(p, w)) return false;
	for (*k = 0; *k < f->nslots; ++*k)
		if (f->slots[*k].name && !strcmp(f->slots[*k].name, w)) return true;
	p->p = from;
	if (eat(p, "slot") && small(p, f->nslots, k) && *k < f->nslots) return true;
	p->p = from;
	return wrong(p, "no such slot");
}

static bool map(struct parse *p)
{
	struct ir_pair pair[LIST];
	uint32_t n = 0, pc, why;
	if (!need(p, "[") || !need(p, "pc") || !int32(p, &pc) || !need(p, "why") || !need(p, "=") ||
	    !small(p, ~0u, &why))
		return false;
	while (!eat(p, "]")) {
		if (n == LIST) return wrong(p, "a map too long");
		if (!slot(p, &pair[n].slot) || !need(p, "=") || !val(p, &pair[n].val)) return false;
		n++;
	}
	p->i.map = ir_map_new(p->f, pair, n, (int32_t)pc, why);
	return true;
}

/* v1, v2) */
static bool vals(struct parse *p, ir_val *v, uint32_t max, uint32_t *n)
{
	for (*n = 0; !eat(p, ")"); ++*n) {
		if (*n == max) return wrong(p, "too many values");
		if ((*n && !need(p, ",")) || !val(p, &v[*n].n)) return false;
	}
	return true;
}

/* Blocks may come later: they are counted, and edges looked at, when all is read. */
static bool edge(struct parse *p, uint32_t *k)
{
	ir_val v[LIST];
	uint32_t to, n = 0;
	if (!need(p, "b") || !small(p, NUMBERS, &to)) return false;
	if (eat(p, "(") && !vals(p, v, LIST, &n)) return false;
	*k = ir_edge_raw(p->f, to, v, n);
	*entry(&p->count, &p->counts, *k) = n;
	return true;
}

static bool callee(struct parse *p)
{
	const struct ir_fn *f = p->f;
	char w[WORD];
	skip(p);
	if (isdigit((unsigned char)*p->p)) return number(p, &p->i.k);
	if (!name(p, w)) return false;
	for (uint32_t k = 0; k < f->ncallees; k++) {
		if (strcmp(f->callees[k].name, w)) continue;
		p->i.k = (uint64_t)(uintptr_t)f->callees[k].fn;
		return true;
	}
	return wrong(p, "no such function");
}

static bool call(struct parse *p)
{
	ir_val v[5];
	unsigned kind;
	uint32_t n;
	if (!ONE_OF(p, calls, &kind) || !callee(p) || !need(p, "(") || !vals(p, v, 5, &n))
		return false;
	p->i.aux = (uint16_t)kind;
	p->i.arg[2] = ir_args_new(p->f, v, n);
	p->i.arg[3] = n;
	return true;
}

static bool aux(struct parse *p)
{
	unsigned k = 0;
	bool ok = true;
	switch (p->i.op) {
	case IR_itof: ok = need(p, ".") && ONE_OF(p, types, &k); break;
	case IR_ftoi: ok = need(p, ".") && ONE_OF(p, sources, &k); break;
	case IR_load: ok = need(p, ".") && ONE_OF(p, mems, &k); break;
	case IR_store:
	case IR_swap:
	case IR_xadd:
	case IR_cas: ok = need(p, ".") && small(p, 16, &k); break;
	default:
		if (p->i.op >= IR_vadd && p->i.op <= IR_vfnan)
			ok = need(p, ".") && small(p, 16, &k);
		break;
	}
	p->i.aux = (uint16_t)k;
	return ok;
}

static bool address(struct parse *p)
{
	if (!eat(p, "0") && !val(p, &p->i.arg[0])) return false;
	return need(p, ",") && val(p, &p->i.arg[1]) && need(p, ",") && int32(p, &p->i.arg[2]);
}

static bool range(struct parse *p)
{
	uint32_t space;
	if (!need(p, ",") || !int32(p, &p->i.arg[1]) || !need(p, "..") || !int32(p, &p->i.arg[2]) ||
	    !need(p, "space") || !need(p, "=") || !small(p, 3, &space))
		return false;
	p->i.aux = (uint16_t)(eat(p, "window") ? space | IR_XLAT_WINDOW : space);
	return true;
}

static bool in_slot(struct parse *p)
{
	uint32_t k;
	if (!slot(p, &k)) return false;
	p->i.aux = (uint16_t)k;
	return p->i.op == IR_get || (need(p, ",") && val(p, &p->i.arg[0]));
}

static bool operands(struct parse *p)
{
	unsigned k, n = ir_info[p->i.op].args;
	if (p->i.op == IR_put || p->i.op == IR_load || p->i.op == IR_store) n = 0;
	while (p->at < n)
		if (!operand(p)) return false;
	switch (p->i.op) {
	case IR_konst:
		if (!number(p, &p->i.k)) return false;
		p->i.k = ir_cut(p->i.type, p->i.k);
		return true;
	case IR_state: return number(p, &p->i.k);
	case IR_get:
	case IR_put: return in_slot(p);
	case IR_xlat: return range(p);
	case IR_load: return address(p);
	case IR_store: return address(p) && need(p, ",") && val(p, &p->i.arg[3]);
	case IR_call: return call(p);
	case IR_jump: return edge(p, &p->i.arg[0]);
	case IR_br:
		return need(p, ",") && edge(p, &p->i.arg[1]) && need(p, ",") &&
		       edge(p, &p->i.arg[2]);
	case IR_exit:
		if (!ONE_OF(p, exits, &k)) return false;
		p->i.aux = (uint16_t)k;
		return true;
	default: return true;
	}
}

static bool operation(struct parse *p, bool has)
{
	char w[WORD];
	unsigned op = 0;
	enum ir_type t = IR_VOID;
	if (!name(p, w)) return false;
	while (op < IR__count && strcmp(ir_info[op].name, w)) op++;
	if (op == IR__count || op == IR_param) return wrong(p, "no such operation");
	p->i = (struct ir_ins){.op = (uint8_t)op};
	p->at = 0;
	if (has != (ir_info[op].result != IR_NONE))
		return wrong(p, "a value, or none, against the rule");
	if (has && !type(p, &t)) return false;
	if (has && t == IR_VOID) return wrong(p, "a value of no type");
	p->i.type = (uint8_t)t;
	if (!aux(p) || !operands(p)) return false;
	if (op == IR_put) p->i.type = (uint8_t)ir_result_type(&p->f->ins[p->i.arg[0]]);
	if (op == IR_store) p->i.type = (uint8_t)ir_result_type(&p->f->ins[p->i.arg[3]]);
	skip(p);
	return *p->p != '[' || map(p);
}

static bool instruction(struct parse *p)
{
	const struct ir_fn *f = p->f;
	uint32_t k = 0;
	bool has = *p->p == 'v' && isdigit((unsigned char)p->p[1]);
	if (!f->nblocks) return wrong(p, "no block yet");
	if (ir_info[f->ins[f->block[f->at].last].op].flags & IR_ENDS)
		return wrong(p, "the block has ended");
	if (has && (!val_number(p, &k) || !need(p, "="))) return false;
	if (!operation(p, has)) return false;
	uint32_t v = ir_append(p->f, &p->i);
	return !has || define(p, k, v);
}

static bool params(struct parse *p)
{
	for (bool first = true; !eat(p, ")"); first = false) {
		uint32_t k;
		enum ir_type t;
		if ((!first && !need(p, ",")) || !val_number(p, &k) || !type(p, &t)) return false;
		if (t == IR_VOID || p->f->block[p->f->at].params == LIST)
			return wrong(p, "no parameter");
		if (!define(p, k, ir_param(p->f, t).n)) return false;
	}
	return true;
}

static bool block(struct parse *p)
{
	uint32_t n, idom = 0, loop = ~0u, depth = 0;
	if (!need(p, "b") || !small(p, NUMBERS, &n)) return false;
	if (n != p->f->nblocks) return wrong(p, "blocks out of order");
	p->f->at = ir_block_new(p->f);
	if ((eat(p, "(") && !params(p)) || !need(p, ":")) return false;
	if (eat(p, "idom") && (!need(p, "=b") || !small(p, NUMBERS, &idom))) return false;
	if (eat(p, "loop") && (!need(p, "=b") || !small(p, NUMBERS, &loop))) return false;
	if (eat(p, "depth") && (!need(p, "=") || !small(p, UINT16_MAX, &depth))) return false;
	struct ir_block *b = &p->f->block[n];
	b->idom = idom;
	b->loop = loop;
	b->depth = (uint16_t)depth;
	b->cold = eat(p, "cold");
	return true;
}

static bool line(struct parse *p)
{
	bool ok = true;
	skip(p);
	if (*p->p == 'b' && isdigit((unsigned char)p->p[1]))
		ok = block(p);
	else if (*p->p && *p->p != '\n')
		ok = instruction(p);
	skip(p);
	if (!ok || (*p->p && *p->p != '\n')) return ok && wrong(p, "more than an instruction");
	if (*p->p) p->p++, p->line++;
	return true;
}

static bool all_edges(struct parse *p)
{
	struct ir_fn *f = p->f;
	for (uint32_t k = 0; k < f->nedges; k++) {
		uint32_t to = f->edge[k].to;
		if (to >= f->nblocks) return wrong(p, "a jump to no block");
		if (f->block[to].params != p->count[k])
			return wrong(p, "a jump with other arguments");
		f->block[to].preds++;
	}
	return true;
}

int ir_parse(struct ir_fn *f, const char *text, struct err *e)
{
	struct parse p = {.p = text, .line = 1, .f = f, .e = e};
	bool ok = true;
	while (ok && *p.p) ok = line(&p);
	ok = ok && all_edges(&p);
	free(p.value);
	free(p.count);
	return ok ? 0 : e->code;
}
