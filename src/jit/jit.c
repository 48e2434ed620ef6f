/* Why: the room's front door. The one idea: a unit is allocated, then emitted behind the last one;
 * if anything does not fit, nothing has happened. */
#include "base/types.h"
#include "jit/impl.h"

static const struct jit_unit *undo(struct jit_cache *c, uint32_t nlinks, uint32_t naccesses,
				   uint32_t nmap)
{
	c->nlinks = nlinks;
	c->naccesses = naccesses;
	c->nmap = nmap;
	return NULL;
}

const struct jit_unit *jit_add(struct jit_cache *c, struct ir_fn *f)
{
	uint32_t nlinks = c->nlinks, naccesses = c->naccesses, nmap = c->nmap;
	c->full = c->size - c->used < 4096;
	if (!jit_grow((void **)&c->unit, &c->unit_room, c->nunits + 1, sizeof(struct jit_unit *)) ||
	    c->full || !alloc_run(&c->alloc, f, jit_host_regs(c)))
		return NULL;
	struct jit_unit *u = (struct jit_unit *)(void *)(c->rw + c->used);
	uint8_t *at = c->rw + ((c->used + sizeof(*u) + 31) & ~(size_t)31);
	uint8_t *end = jit_host_emit(c, f, at, c->rw + c->size);
	if (!end) return undo(c, nlinks, naccesses, nmap);
	u->entry = jit_rx(c, at);
	u->at = (uint32_t)(at - c->rw);
	u->size = (uint32_t)(end - at);
	c->used = (size_t)(end - c->rw + 7) & ~(size_t)7;
	c->unit[c->nunits++] = u;
	return u;
}

const void *jit_entry(const struct jit_unit *u) { return u->entry; }
bool jit_lanes(const struct jit_cache *c, bool fused) { return jit_host_lanes(c, fused); }
const void *jit_none(const struct jit_cache *c) { return jit_host_none(c); }
size_t jit_size(const struct jit_unit *u) { return u->size; }

struct jit_exit jit_enter(struct jit_cache *c, void *state, const void *entry)
{
	struct host_exit x = jit_host_enter(c, state, entry);
	struct jit_exit out = {.how = (enum jit_left)x.how};
	if (out.how == JIT_LINK) {
		out.link = (uint32_t)x.n;
		uint64_t base = load_le((char *)state + c->m.base, 8);
		store_le((char *)state + c->m.pc, base + (uint64_t)c->link[out.link].pc, 8);
	} else {
		out.why = (uint32_t)x.n;
	}
	return out;
}

const struct jit_unit *jit_find(const struct jit_cache *c, const void *at)
{
	size_t off = (size_t)((const uint8_t *)at - c->rx);
	uint32_t lo = 0, n = c->nunits;
	if ((const uint8_t *)at < c->rx || off >= c->used) return NULL;
	while (n) { /* the first that ends behind it */
		uint32_t half = n / 2;
		const struct jit_unit *u = c->unit[lo + half];
		if (off >= (size_t)u->at + u->size) {
			lo += half + 1;
			n -= half + 1;
		} else {
			n = half;
		}
	}
	return lo < c->nunits && off >= c->unit[lo]->at ? c->unit[lo] : NULL;
}

void jit_dump(const struct jit_cache *c, const struct jit_unit *u, FILE *out)
{
	jit_host_dump(c, c->rx + u->at, u->size, out);
}
